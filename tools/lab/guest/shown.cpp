// SPDX-License-Identifier: GPL-2.0
//
// Mappings of which it is known what they are, for tools/mm/show_anon_vma_lazy.py.
//
// usage: shown
//
// Prints three process numbers, of itself and of two children, and the range that the
// mappings are in. Then it waits to be killed. In the range are ten mappings of two pages,
// each with an unfaulted page or more before and after it:
//
//	1, 2	split, then one half is unmapped: of the one it is the head that stays, of
//		the other the head goes and its struct is kept
//	3	split
//	5	forked: the first child leaves it as it is, the second writes to it
//	9	first touched while vm.anon_vma_lazy is 0
//	others	touched

#include <cstdio>
#include <cstdlib>
#include <sys/mman.h>
#include <unistd.h>

namespace {

constexpr std::size_t page = 4096, step = 4 * page, mapping = 2 * page;
constexpr int mappings = 10;
char *area;

void must(bool ok, const char *what)
{
	if (!ok) {
		std::perror(what);
		std::exit(1);
	}
}

char *at(int i)
{
	return area + page + i * step;
}

void touch(int i)
{
	for (std::size_t o = 0; o < mapping; o += page)
		at(i)[o] = 1;
}

void sysctl(char value)
{
	std::FILE *f = std::fopen("/proc/sys/vm/anon_vma_lazy", "w");
	must(f && std::fputc(value, f) == value && !std::fclose(f), "vm.anon_vma_lazy");
}

pid_t child(bool writes)
{
	int ready[2];
	char c = 0;
	must(!pipe(ready), "pipe");
	const pid_t pid = fork();
	must(pid >= 0, "fork");
	if (!pid) {
		if (writes)
			touch(5);
		must(write(ready[1], &c, 1) == 1, "write");
		for (;;)
			pause();
	}
	must(read(ready[0], &c, 1) == 1, "read");
	return pid;
}

}

int main()
{
	area = static_cast<char *>(mmap(nullptr, (mappings + 1) * step, PROT_NONE,
					MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	must(area != MAP_FAILED, "mmap");
	for (int i = 0; i < mappings; i++) {
		must(!mprotect(at(i), mapping, PROT_READ | PROT_WRITE), "mprotect");
		must(!madvise(at(i), mapping, MADV_NOHUGEPAGE), "madvise");
	}
	for (int i = 0; i < mappings; i++) {
		if (i == 9)
			sysctl('0');
		touch(i);
	}
	sysctl('1');
	for (int i = 1; i <= 3; i++)
		must(!mprotect(at(i), page, PROT_READ), "mprotect");
	must(!munmap(at(1), page), "munmap");
	must(!munmap(at(2) + page, page), "munmap");
	for (int i = 0; i < mappings; i++) {
		if (i == 1 || i == 2)
			must(!madvise(at(i) + (i == 1) * page, page, MADV_DONTFORK), "madvise");
		else if (i != 5)
			must(!madvise(at(i), mapping, MADV_DONTFORK), "madvise");
	}

	const pid_t first = child(false);
	const pid_t second = child(true);
	std::printf("%d %d %d %lx %lx\n", getpid(), first, second,
		    reinterpret_cast<unsigned long>(area),
		    reinterpret_cast<unsigned long>(area + (mappings + 1) * step));
	std::fflush(stdout);
	for (;;)
		pause();
}
