// SPDX-License-Identifier: GPL-2.0
//
// Processes that hold anonymous memory in shapes that programs give it: touched, cut,
// moved, protected in part, forked once or often.  What a shape costs in slab objects
// is counted from outside, with N and with fewer mappings: the difference is what N
// mappings of that shape cost, and nothing else.
//
// usage: shapes --list		a name and a line for each
//        shapes NAME N		with N mappings of four pages, a hole between any two
//
// It makes itself leader of a process group, for its end to be the end of all.  When
// all of it is in place it prints SHAPE and its process id, and stays.

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string_view>

#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

namespace {

constexpr std::size_t page = 4096;
constexpr std::size_t pages = 4;		// of each mapping
constexpr std::size_t stride = (pages + 1) * page;

int ready[2];
pid_t leader;

[[noreturn]] void die(const char *what)
{
	std::fprintf(stderr, "shapes: %s: %s\n", what, std::strerror(errno));
	_exit(1);
}

// Room for n mappings, none of which is there yet.
char *room(std::size_t n)
{
	void *const at = mmap(nullptr, n * stride, PROT_NONE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (at == MAP_FAILED)
		die("mmap");
	munmap(at, n * stride);
	return static_cast<char *>(at);
}

class Mappings {
public:
	explicit Mappings(std::size_t n) : n_(n), at_(room(n))
	{
		each([](char *m) {
			if (mmap(m, pages * page, PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) != m)
				die("mmap of one");
		});
		write();
	}

	void each(const std::function<void(char *)> &act, std::size_t step = 1) const
	{
		for (std::size_t i = 0; i < n_; i += step)
			act(at_ + i * stride);
	}

	void write(std::size_t nr = pages, std::size_t step = 1) const
	{
		each([nr](char *m) {
			for (std::size_t i = 0; i < nr; i++)
				static_cast<volatile char *>(m)[i * page] = 1;
		}, step);
	}

	void unmap(std::size_t first, std::size_t nr) const
	{
		each([=](char *m) {
			if (munmap(m + first * page, nr * page))
				die("munmap");
		});
	}

	void protect(std::size_t first, std::size_t nr) const
	{
		each([=](char *m) {
			if (mprotect(m + first * page, nr * page, PROT_READ))
				die("mprotect");
		});
	}

	void shrink() const
	{
		each([](char *m) {
			if (mremap(m, pages * page, pages / 2 * page, 0) == MAP_FAILED)
				die("mremap");
		});
	}

	void move() const
	{
		char *const to = room(n_);

		each([=, this](char *m) {
			if (mremap(m, pages * page, pages * page, MREMAP_MAYMOVE | MREMAP_FIXED,
				   to + (m - at_)) == MAP_FAILED)
				die("mremap");
		});
	}

private:
	const std::size_t n_;
	char *const at_;
};

[[noreturn]] void stay()
{
	for (;;)
		pause();
}

[[noreturn]] void in_place()
{
	if (write(ready[1], "x", 1) != 1)
		die("pipe");
	stay();
}

bool forked()		// true in the child
{
	const pid_t pid = fork();

	if (pid < 0)
		die("fork");
	return !pid;
}

// The child goes on; the parent is gone when it does.
void replace()
{
	const pid_t parent = getpid();

	if (!forked())
		_exit(0);
	while (getppid() == parent)
		usleep(1000);
}

// The child goes on, beside the parent.
void beside()
{
	if (!forked())
		stay();
}

struct Shape {
	const char *name, *what;
	void (*make)(const Mappings &m);
	int processes = 1;		// that say when they are in place
};

constexpr Shape shapes[] = {
	{ "touched", "each page written", [](const Mappings &) {} },
	{ "tail", "the second half unmapped", [](const Mappings &m) { m.unmap(2, 2); } },
	{ "head", "the first half unmapped", [](const Mappings &m) { m.unmap(0, 2); } },
	{ "hole", "two pages in the middle unmapped", [](const Mappings &m) { m.unmap(1, 2); } },
	{ "shrunk", "mremap() to half the size", [](const Mappings &m) { m.shrink(); } },
	{ "moved", "mremap() to elsewhere", [](const Mappings &m) { m.move(); } },
	{ "relro", "the first page made read-only", [](const Mappings &m) { m.protect(0, 1); } },
	{ "daemon_idle", "fork, the parent exits", [](const Mappings &) { replace(); } },
	{ "daemon", "fork, the parent exits, the child writes", [](const Mappings &m) {
		replace();
		m.write();
	} },
	{ "double_idle", "a daemon that forks twice", [](const Mappings &) {
		replace();
		replace();
	} },
	{ "double", "forked twice, each writes", [](const Mappings &m) {
		replace();
		m.write();
		replace();
		m.write();
	} },
	{ "generations_idle", "six times: fork, and the parent exits", [](const Mappings &) {
		for (int i = 0; i < 6; i++)
			replace();
	} },
	{ "generations", "six times: fork, the parent exits, the child writes", [](const Mappings &m) {
		for (int i = 0; i < 6; i++) {
			replace();
			m.write();
		}
	} },
	{ "child_idle", "parent and child", [](const Mappings &) { beside(); } },
	{ "child", "parent and child, which writes", [](const Mappings &m) {
		beside();
		m.write();
	} },
	{ "child_piece", "parent and child, which unmaps all but a page", [](const Mappings &m) {
		beside();
		m.unmap(1, 3);
	} },
	{ "child_relro", "parent and child, which makes a page read-only", [](const Mappings &m) {
		beside();
		m.protect(0, 1);
	} },
	{ "relro_child", "the first page read-only, then parent and child", [](const Mappings &m) {
		m.protect(0, 1);
		beside();
	} },
	{ "prefork", "four children that write to a sixth", [](const Mappings &m) {
		for (int i = 0; i < 4; i++) {
			if (forked()) {
				m.write(1, 6);
				return;
			}
		}
		stay();
	}, 4 },
};

} // namespace

int main(int argc, char **argv)
{
	if (argc == 2 && !std::strcmp(argv[1], "--list")) {
		for (const Shape &s : shapes)
			std::printf("%-18s %s\n", s.name, s.what);
		return 0;
	}
	const std::size_t n = argc == 3 ? std::strtoul(argv[2], nullptr, 10) : 0;
	if (!n) {
		std::fprintf(stderr, "usage: shapes --list | shapes NAME N\n");
		return 2;
	}
	for (const Shape &s : shapes) {
		if (std::string_view(argv[1]) != s.name)
			continue;
		leader = getpid();
		if (setpgid(0, 0) || prctl(PR_SET_CHILD_SUBREAPER, 1) || pipe(ready))
			die("setup");
		if (forked()) {
			s.make(Mappings(n));
			in_place();
		}
		for (int i = 0; i < s.processes; i++) {
			char c;

			if (read(ready[0], &c, 1) != 1)
				die("a process of the shape ended");
		}
		// Those that have exited are gone, down to their mm.
		while (waitpid(-1, nullptr, WNOHANG) > 0)
			;
		std::printf("SHAPE %d\n", leader);
		std::fflush(stdout);
		stay();
	}
	std::fprintf(stderr, "shapes: no shape %s; see shapes --list\n", argv[1]);
	return 2;
}
