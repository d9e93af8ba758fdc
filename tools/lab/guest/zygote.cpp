// SPDX-License-Identifier: GPL-2.0
//
// The zygote workload: a process that prepares many private mappings and forks
// children that share them, as a runtime does that preloads its libraries and
// heaps once for all of its applications.
//
// usage: zygote [--vmas N] [--preload PERMILLE] [--children N] [--part N]
//
// Of N private mappings, a third of files, the parent writes to some
// (--preload, in thousandths); each child writes to one in --part of all of
// them, another share for each child.  So a child inherits some anonymous
// memory and adds some of its own.  With the defaults, 17% and a sixth, that
// leaves 31% of a child's mappings with an anon_vma, with 1.55 chains each on a
// kernel that allocates them eagerly.
//
// When all children are ready, one line says so, with what was counted in
// /proc/self/maps; everything then stays until standard input ends.

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

namespace {

constexpr std::size_t page = 4096;
constexpr std::size_t pages = 4;		// of each mapping
constexpr std::size_t stride = pages + 1;	// a hole keeps neighbours apart

[[noreturn]] void die(const char *what)
{
	std::fprintf(stderr, "zygote: %s: %s\n", what, std::strerror(errno));
	std::exit(1);
}

struct Options {
	unsigned vmas = 1000;
	unsigned preload = 172;
	unsigned children = 24;
	unsigned part = 6;
};

Options parse(int argc, char **argv)
{
	Options o;

	for (int i = 1; i + 1 < argc; i += 2) {
		const std::string_view name = argv[i];
		const unsigned value = std::strtoul(argv[i + 1], nullptr, 10);

		if (name == "--vmas")
			o.vmas = value;
		else if (name == "--preload")
			o.preload = value;
		else if (name == "--children")
			o.children = value;
		else if (name == "--part" && value)
			o.part = value;
		else {
			std::fprintf(stderr, "zygote: unknown option %s\n", argv[i]);
			std::exit(2);
		}
	}
	return o;
}

// Is mapping i among those that the parent writes to?  Spread evenly.
bool preloaded(const Options &o, unsigned i)
{
	return i * std::uint64_t{o.preload} / 1000 !=
	       (i + 1) * std::uint64_t{o.preload} / 1000;
}

class Mappings {
public:
	explicit Mappings(unsigned n)
	{
		// Find room for all, then use it piece by piece.
		const std::size_t room = n * stride * page;
		void *const at = mmap(nullptr, room, PROT_NONE,
				      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

		if (at == MAP_FAILED)
			die("mmap");
		munmap(at, room);

		const int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			die("/proc/self/exe");
		for (unsigned i = 0; i < n; i++) {
			char *const want = static_cast<char *>(at) + i * stride * page;
			const bool file = i % 3 == 2;
			void *const got = mmap(want, pages * page, PROT_READ | PROT_WRITE,
					       MAP_PRIVATE | MAP_FIXED_NOREPLACE |
						       (file ? 0 : MAP_ANONYMOUS),
					       file ? fd : -1, 0);

			if (got == MAP_FAILED)
				die("mmap of one piece");
			// Small mappings: no huge page may decide who gets memory.
			where_.push_back(static_cast<volatile char *>(got));
		}
		close(fd);
	}

	void write(unsigned i, char value) const { where_[i][0] = value; }
	char read(unsigned i) const { return where_[i][0]; }
	unsigned size() const { return where_.size(); }

private:
	std::vector<volatile char *> where_;
};

unsigned count_vmas()
{
	std::ifstream maps("/proc/self/maps");
	unsigned n = 0;

	for (std::string line; std::getline(maps, line);)
		n++;
	return n;
}

// Returns when the other end of the pipe is closed.
void wait_for_close(int fd)
{
	char c;

	while (::read(fd, &c, 1) < 0 && errno == EINTR)
		;
}

} // namespace

int main(int argc, char **argv)
{
	const Options o = parse(argc, argv);
	const Mappings maps(o.vmas);
	int ready[2], stay[2];

	for (unsigned i = 0; i < maps.size(); i++)
		if (preloaded(o, i))
			maps.write(i, 'p');

	if (pipe(ready) || pipe(stay))
		die("pipe");

	std::vector<pid_t> pids;
	for (unsigned c = 0; c < o.children; c++) {
		const pid_t pid = fork();

		if (pid < 0)
			die("fork");
		if (!pid) {
			close(ready[0]);
			close(stay[1]);
			for (unsigned i = c % o.part; i < maps.size(); i += o.part)
				maps.write(i, 'c');
			// Nobody sees another's writes.
			for (unsigned i = 0; i < maps.size(); i++) {
				const bool mine = i % o.part == c % o.part;

				if (mine ? maps.read(i) != 'c'
					 : preloaded(o, i) && maps.read(i) != 'p')
					_exit(3);
			}
			if (::write(ready[1], "r", 1) != 1)
				_exit(4);
			close(ready[1]);
			wait_for_close(stay[0]);
			_exit(0);
		}
		pids.push_back(pid);
	}
	close(ready[1]);
	close(stay[0]);

	unsigned n = 0;
	for (char c; n < o.children && ::read(ready[0], &c, 1) == 1;)
		n++;

	std::printf("ZYGOTE children %u vmas %u\n", n, count_vmas());
	std::fflush(stdout);
	wait_for_close(STDIN_FILENO);
	close(stay[1]);

	int bad = n != o.children;
	for (const pid_t pid : pids) {
		int status;

		waitpid(pid, &status, 0);
		bad |= status != 0;
	}
	return bad;
}
