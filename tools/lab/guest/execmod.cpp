// SPDX-License-Identifier: GPL-2.0
//
// May a modified page of a file become executable behind SELinux's back?
//
// SELinux asks for "execmod" if a private file mapping becomes executable that
// was written to. That it was, it sees by vma->anon_vma. A first fault under the
// VMA lock must not set it between the question and the change.
//
// usage: execmod policy	print the policy that the test needs, for checkpolicy
//	  execmod FILE		load this policy, enforce it, test; prints KTAP
//
// Needs a guest booted with "lsm=selinux". Enforces the policy until it ends.
//
// The time between the question and the change is made long by the policy. What
// it says of a task and a file is looked up for each pair of an attribute of the
// one and an attribute of the other, and it gives both very many. The answer is
// cached; the cache is emptied before each round.

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csetjmp>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <fcntl.h>
#include <iterator>
#include <string>
#include <string_view>
#include <sys/mman.h>
#include <sys/mount.h>
#include <thread>
#include <unistd.h>

namespace {

constexpr unsigned ATTRIBUTES = 200;
const char selinuxfs[] = "/sys/fs/selinux";
const size_t psize = sysconf(_SC_PAGESIZE);

// --- the policy ----------------------------------------------------------------

// Classes and permissions that a policy does not know are allowed (checkpolicy -U
// allow), so what is to be refused is all that has to be named. The kernel
// insists on process transition.
void print_policy()
{
	const char *const types[] = { "task", "file" };

	puts("class process\nclass file\n"
	     "sid kernel\nsid security\nsid unlabeled\n"
	     "class process { transition dyntransition }\n"
	     "class file { execute execmod }\n");
	for (const char *t : types) {
		for (unsigned i = 0; i < ATTRIBUTES; i++)
			printf("attribute %s%u;\n", t, i);
	}
	for (const char *t : types) {
		printf("type %s_t", t);
		for (unsigned i = 0; i < ATTRIBUTES; i++)
			printf(", %s%u", t, i);
		puts(";");
	}
	puts("role all_r;\n"
	     "role all_r types { task_t file_t };\n"
	     "allow task_t task_t:process { transition dyntransition };\n"
	     "allow task_t file_t:file execute;\n"
	     "user all_u roles { all_r };\n"
	     "sid kernel all_u:all_r:task_t\n"
	     "sid security all_u:object_r:file_t\n"
	     "sid unlabeled all_u:object_r:file_t");
}

// --- what the tests need -----------------------------------------------------------

[[noreturn]] void bail_out(const std::string &what)
{
	printf("Bail out! %s: %s\n", what.c_str(), strerror(errno));
	exit(1);
}

void write_file(const std::string &path, std::string_view text)
{
	int fd = open(path.c_str(), O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, text.data(), text.size()) != ssize_t(text.size()))
		bail_out(path);
	close(fd);
}

std::string read_file(const char *path)
{
	std::string text;
	char buf[65536];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = -1;

	while (fd >= 0 && (n = read(fd, buf, sizeof(buf))) > 0)
		text.append(buf, n);
	if (n)
		bail_out(path);
	close(fd);
	return text;
}

void enforce(bool on) { write_file(std::string(selinuxfs) + "/enforce", on ? "1" : "0"); }

// To enforce anew empties the cache.
void forget_answers()
{
	enforce(false);
	enforce(true);
}

int64_t now()
{
	timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

void spin_until(int64_t t)
{
	while (now() < t)
		;
}

int fd;		// of a file that has 'F' everywhere

// A new private mapping of the file, writable.
class mapping {
public:
	mapping()
	{
		p = static_cast<char *>(mmap(nullptr, psize, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0));
		if (p == MAP_FAILED)
			bail_out("mmap");
	}
	~mapping() { munmap(const_cast<char *>(p), psize); }
	mapping(const mapping &) = delete;

	void write() { *p = 'W'; }
	bool modified() { return *p != 'F'; }

	// 0 or an errno
	int make_executable() { return mprotect(const_cast<char *>(p), psize, PROT_READ | PROT_EXEC) ? errno : 0; }

private:
	volatile char *p;
};

// --- the tests ----------------------------------------------------------------------

bool failed(const std::string &why)
{
	printf("# %s\n", why.c_str());
	return false;
}

bool refused_if_written()
{
	mapping m;

	m.write();
	int error = m.make_executable();
	return error == EACCES || failed("mprotect() says: " + std::string(strerror(error)));
}

bool allowed_if_unfaulted()
{
	mapping m;

	int error = m.make_executable();
	return !error || failed(strerror(error));
}

bool allowed_if_read()
{
	mapping m;

	m.modified();
	int error = m.make_executable();
	return !error || failed(strerror(error));
}

thread_local sigjmp_buf on_segv;

void segv(int) { siglongjmp(on_segv, 1); }

// One thread writes, the other wants the page to be executable. It is one or the
// other, whoever comes first.
struct race {
	bool read_first = false;		// so that the write is no first access
	unsigned both = 0, neither = 0;		// must be 0
	unsigned writes = 0, changes = 0;	// who has won
	unsigned met = 0;			// the write began during mprotect()
	unsigned wrong = 0;			// another errno than EACCES
	int64_t longest = 0;			// of mprotect()

	void round(int64_t writer_waits, int64_t changer_waits)
	{
		mapping m;
		std::atomic<int> ready = 0;
		std::atomic<int64_t> start = 0;
		int64_t begun = 0;

		if (read_first)
			m.modified();
		std::thread writer([&] {
			int64_t t;

			ready = 1;
			while (!(t = start))
				;
			spin_until(t + writer_waits);
			begun = now();
			if (!sigsetjmp(on_segv, 1))
				m.write();
		});
		while (!ready)
			;
		forget_answers();

		int64_t t = now();
		start = t;
		spin_until(t + changer_waits);
		int64_t t0 = now();
		int error = m.make_executable();
		int64_t t1 = now();

		writer.join();
		longest = std::max(longest, t1 - t0);
		met += begun > t0 && begun < t1;
		wrong += error && error != EACCES;
		if (m.modified())
			++(error ? writes : both);
		else
			++(error ? neither : changes);
	}

	bool verdict()
	{
		printf("# the write was first: %u, mprotect(): %u, both: %u, neither: %u; "
		       "%u writes began during mprotect(), which took up to %.1f ms\n",
		       writes, changes, both, neither, met, longest / 1e6);
		if (both)
			return failed("a modified page became executable");
		if (neither || wrong)
			return failed("mprotect() failed for another reason");
		return true;
	}
};

constexpr int64_t MS = 1000000;

// How long does mprotect() take if SELinux has to look up the answer?
int64_t window()
{
	int64_t shortest = INT64_MAX;

	for (int i = 0; i < 3; i++) {
		mapping m;

		forget_answers();
		int64_t t0 = now();
		m.make_executable();
		shortest = std::min(shortest, now() - t0);
	}
	return shortest;
}

// Ten writes spread over mprotect(). On a machine that has too much to do a write
// may come late, and so does not count.
bool write_during(bool read_first)
{
	const unsigned WRITES = 10, MOST_ROUNDS = 60;
	const int64_t w = window();
	race r{ .read_first = read_first };

	for (unsigned i = 0; i < MOST_ROUNDS && r.met < WRITES; i++)
		r.round(w * (i % WRITES + 1) / (WRITES + 1), 0);
	if (!r.verdict())
		return false;
	return r.met == WRITES || failed("too few writes began during mprotect()");
}

bool first_access_during() { return write_during(false); }
bool first_write_during() { return write_during(true); }

// Around the moment at which mprotect() begins.
bool any_time()
{
	const unsigned ROUNDS = 40;
	race r;

	for (unsigned i = 0; i < ROUNDS; i++) {
		r.read_first = i & 1;
		r.round(5 * MS, 10 * MS * i / ROUNDS);
	}
	return r.verdict();
}

} // namespace

int main(int argc, char **argv)
{
	static const struct {
		bool (*run)();
		const char *name;
	} tests[] = {
#define TEST(name) { name, #name }
		TEST(refused_if_written),
		TEST(allowed_if_unfaulted),
		TEST(allowed_if_read),
		TEST(first_access_during),
		TEST(first_write_during),
		TEST(any_time),
	};
	unsigned number = 0, bad = 0;

	if (argc != 2) {
		fputs("usage: execmod policy | FILE\n", stderr);
		return 2;
	}
	if (!strcmp(argv[1], "policy")) {
		print_policy();
		return 0;
	}

	setvbuf(stdout, nullptr, _IOLBF, 0);
	printf("KTAP version 1\n1..%zu\n", std::size(tests));
	fd = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0700);
	if (fd < 0 || write(fd, std::string(psize, 'F').data(), psize) != ssize_t(psize))
		bail_out("a file");
	if (mount("selinuxfs", selinuxfs, "selinuxfs", 0, nullptr))
		bail_out(selinuxfs);
	write_file(std::string(selinuxfs) + "/load", read_file(argv[1]));
	enforce(true);
	signal(SIGSEGV, segv);

	for (auto &t : tests) {
		const bool good = t.run();

		bad += !good;
		printf("%s %u %s\n", good ? "ok" : "not ok", ++number, t.name);
	}
	enforce(false);
	return bad != 0;
}
