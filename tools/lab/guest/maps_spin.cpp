// SPDX-License-Identifier: GPL-2.0
//
// A reader of /proc/self/maps that preempts who changes the VMAs, on the same processor.
//
// mas_topiary_replace() of 7.3 puts a node into the tree, and only then tells the
// node's children who their parent is. A reader in between starts again whenever it
// comes to the parent that is dead. lock_next_vma() is in an RCU read section, so
// without PREEMPT_RCU it cannot be preempted, and starts again for ever if it has
// preempted the writer. This has nothing to do with anon_vma: it is here since a soak
// came to stand still so. The unpatched kernel does within seconds.
//
// usage: maps_spin [SECONDS]
//
// Exit status: 0, or 1 if the reader did nothing for 15 seconds.

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <thread>
#include <time.h>
#include <unistd.h>

namespace {

constexpr unsigned pages = 3000, page = 4096;
std::atomic<unsigned long> changes, reads;

void pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set)) {
		std::perror("maps_spin: needs two processors");
		std::exit(2);
	}
}

unsigned next(unsigned &rnd)
{
	rnd = rnd * 1103515245u + 12345u;
	return rnd >> 8;
}

// Split and merge VMAs, many enough for the tree to have several levels.
void change(char *p)
{
	unsigned rnd = 1;

	for (pin(1);; changes++) {
		char *at = p + next(rnd) % (pages - 2) * page;
		const unsigned what = next(rnd) % 4;

		if (what < 2) {
			mprotect(at, page, what ? PROT_READ : PROT_NONE);
		} else {
			munmap(at, page * (what - 1));
			mmap(at, 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
		}
	}
}

void read_maps()
{
	const sched_param fifo{.sched_priority = 1};
	static char buf[page];
	unsigned rnd = 7;

	pin(1);
	if (sched_setscheduler(0, SCHED_FIFO, &fifo)) {
		std::perror("maps_spin: SCHED_FIFO");
		std::exit(2);
	}
	for (;; reads++) {
		const timespec pause{0, static_cast<long>(200000 + next(rnd) % 3000000)};

		nanosleep(&pause, nullptr);
		const int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
		for (int i = 0; i < 8 && read(fd, buf, sizeof(buf)) > 0; i++)
			;
		close(fd);
	}
}

} // namespace

int main(int argc, char **argv)
{
	if (argc > 1 && !std::strcmp(argv[1], "--help")) {
		std::puts("usage: maps_spin [SECONDS]\nDoes a reader of /proc/self/maps spin for ever?");
		return 0;
	}
	const int seconds = argc > 1 ? std::atoi(argv[1]) : 60;
	char *p = static_cast<char *>(mmap(nullptr, pages * page, PROT_NONE,
					   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	unsigned long last = 0;

	if (p == MAP_FAILED)
		return 2;
	std::thread(change, p).detach();
	std::thread(read_maps).detach();
	pin(0);
	for (int i = 0, same = 0; i < seconds; i++) {
		sleep(1);
		same = reads == last ? same + 1 : 0;
		last = reads;
		if (i % 10 == 9 || same == 15) {
			std::printf("%d s: %lu changes, %lu reads\n", i + 1, changes.load(), last);
			std::fflush(stdout);
		}
		if (same == 15) {
			std::puts("the reader has done nothing for 15 s");
			std::fflush(stdout);
			_exit(1);
		}
	}
	std::puts("the reader has not come to stand still");
	std::fflush(stdout);
	_exit(0);
}
