// SPDX-License-Identifier: GPL-2.0
//
// Rows about anonymous pages that are found by rmap: swap, migration,
// compaction, huge pages, reclaim of what forked children share.

#include "bench.h"

#include <algorithm>
#include <cinttypes>
#include <csignal>
#include <cstdio>
#include <fstream>

#include <fcntl.h>
#include <linux/mempolicy.h>
#include <linux/sched.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <ucontext.h>

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

namespace {

using namespace bench;

// MADV_PAGEOUT, and what it takes to have the pages back by writing to them.
// Each page is full of one value, which costs zram little.
void pageout(Run &run)
{
	const std::size_t pages = run.size, n = pages < 1000 ? 16 : pages < 10000 ? 4 : 1;
	const Vmas vmas(n, pages);
	std::uint64_t out = 0, in = 0;

	for (std::size_t i = 0; i < n; i++) {
		std::memset(vmas[i], 0x5a, pages * page);
		const std::uint64_t before = vmstat("pswpout");

		settle(double(i) / n);
		const std::uint64_t t0 = start();

		if (madvise(vmas[i], pages * page, MADV_PAGEOUT))
			die("MADV_PAGEOUT");
		out += since(t0);
		if (vmstat("pswpout") - before < pages * 99 / 100) {
			errno = EAGAIN;
			die("MADV_PAGEOUT left pages");
		}
		settle(double(i) / n);
		const std::uint64_t t1 = start();

		touch(vmas[i], pages);
		in += since(t1);
	}
	run.value("pageout", double(out) / (n * pages));
	run.value("swapin", double(in) / (n * pages));
}

// Pages moved to the other node and back.
void migrate(Run &run)
{
	const std::size_t n = run.size, turns = n < 1000 ? 16 : n < 10000 ? 4 : 1;
	static char *at;
	static std::vector<void *> where;
	std::vector<int> node(n), status(n);
	std::uint64_t sum = 0;

	if (!run.rep) {
		at = map(arena(n * page), n * page);
		touch(at, n);
		for (std::size_t i = 0; i < n; i++)
			where.push_back(at + i * page);
	}
	for (std::size_t j = 0; j < 2 * turns; j++) {
		const int to = (j + 1) % 2;

		std::fill(node.begin(), node.end(), to);
		settle(j / 2 / double(turns));
		const std::uint64_t t = start();

		if (syscall(SYS_move_pages, 0, n, where.data(), node.data(), status.data(), 2) < 0)
			die("move_pages");
		sum += since(t);
		for (int s : status)
			if (s != to) {
				errno = s < 0 ? -s : EBUSY;
				die("move_pages left a page");
			}
	}
	run.value("move_pages", double(sum) / (2 * turns * n));
}

// Compaction of a node, per page moved: all of it is full of small pages, half of the
// first so many MiB are free again, and the kernel moves there what lies lowest.  They
// are free in runs, as where nothing was free it looks at one page of 32 only.
void compact(Run &run)
{
	static const std::string node = "/sys/devices/system/node/node0/";
	constexpr const char *keep = "/proc/sys/vm/percpu_pagelist_high_fraction";
	constexpr std::size_t length = 64, reserve = 32 << 20;	// of a run; above the watermarks
	const std::size_t bytes = run.size << 20;
	const unsigned long nodes = 1;

	// What waits in a processor's list to be used again is not free.
	write_file(keep, "1000000");
	if (syscall(SYS_set_mempolicy, MPOL_BIND, &nodes, 64))
		die("set_mempolicy");
	const std::size_t all = vmstat("nr_free_pages", node + "vmstat") * page - reserve;

	if (all < bytes) {
		errno = ENOMEM;
		die("compaction");
	}
	char *const at = map(arena(all), all);

	touch(at, all / page);
	for (std::size_t i = 0; i < bytes; i += 2 * length * page)
		madvise(at + i, length * page, MADV_DONTNEED);
	const std::uint64_t before = vmstat("pgmigrate_success");
	settle(run.phase());
	std::uint64_t t = start();

	write_file((node + "compact").c_str(), "1");
	t = since(t);
	const std::uint64_t moved = vmstat("pgmigrate_success") - before;

	munmap(at, all);
	write_file(keep, "0");
	syscall(SYS_set_mempolicy, MPOL_DEFAULT, nullptr, 0);
	// The cost of too few would be that of the scan.
	if (moved < bytes / page / 4) {
		std::printf("BENCH-SKIP compaction %ld moved only %lu pages\n", run.size,
			    static_cast<unsigned long>(moved));
		return;
	}
	run.value("compaction", double(t) / moved);
	run.value("compaction_moved", moved, "pages");
}

// Small pages collapsed to huge ones, per huge page; and split.
void collapse(Run &run)
{
	const std::size_t n = run.size, turns = n < 10 ? 32 : n < 100 ? 2 : 1;
	std::uint64_t sum = 0, split = 0;

	for (std::size_t j = 0; j < turns; j++) {
		char *const at = map(arena(n * huge), n * huge);

		touch(at, n * 512);
		madvise(at, n * huge, MADV_HUGEPAGE);
		settle(double(j) / turns);
		std::uint64_t t = start();

		if (madvise(at, n * huge, MADV_COLLAPSE))
			die("MADV_COLLAPSE");
		sum += since(t);

		// A page that is to grow cold must be alone for that.
		const std::uint64_t before = vmstat("thp_split_page");

		settle(double(j) / turns);
		t = start();
		for (std::size_t i = 0; i < n; i++)
			if (madvise(at + i * huge + 3 * page, page, MADV_COLD))
				die("MADV_COLD");
		split += since(t);
		if (vmstat("thp_split_page") - before != n) {
			errno = EAGAIN;
			die("huge pages were not split");
		}
		munmap(at, n * huge);
	}
	run.value("thp_collapse", double(sum) / (turns * n));
	run.value("thp_split", double(split) / (turns * n));
}

// The case from the mailing list: a process with 1000 touched VMAs, and children
// of it, each of which has unmapped all of them but one.  The parent's pages are
// reclaimed, per page; the children are charged elsewhere.
constexpr const char *of_parent = "/sys/fs/cgroup/bench-parent";
constexpr const char *of_children = "/sys/fs/cgroup/bench-children";

std::string in_group(const char *group, const char *file)
{
	return std::string(group) + "/" + file;
}

pid_t fork_into(int cgroup)
{
	clone_args a{};

	a.flags = CLONE_INTO_CGROUP;
	a.exit_signal = SIGCHLD;
	a.cgroup = cgroup;
	return syscall(SYS_clone3, &a, sizeof(a));
}

// What the parent writes between two forks, its stack, is copied for each child,
// and the pages before the copy stay charged to the parent for as long as the
// child has them.  So a child goes on on a stack of its own and leaves that one.
struct Stack {
	char *begin, *end;
};

Stack stack_of_this()
{
	std::ifstream maps("/proc/self/maps");

	for (std::string line; std::getline(maps, line);) {
		std::uintptr_t begin, end;

		if (line.ends_with("[stack]") &&
		    std::sscanf(line.c_str(), "%" SCNxPTR "-%" SCNxPTR, &begin, &end) == 2)
			return {reinterpret_cast<char *>(begin), reinterpret_cast<char *>(end)};
	}
	die("the stack in /proc/self/maps");
}

int child_is_up;
Stack parents_stack;

void stay()
{
	munmap(parents_stack.begin, parents_stack.end - parents_stack.begin);
	if (write(child_is_up, "", 1) != 1)
		die("write");
	for (;;)
		pause();
}

[[noreturn]] void stay_on_own_stack()
{
	static ucontext_t context;
	constexpr std::size_t size = 16 * page;
	void *const own = mmap(nullptr, size, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (own == MAP_FAILED || getcontext(&context))
		die("a stack");
	context.uc_stack.ss_sp = own;
	context.uc_stack.ss_size = size;
	makecontext(&context, stay, 0);
	setcontext(&context);
	die("setcontext");
}

void family(std::size_t children, int ready, int cgroup)
{
	constexpr std::size_t n = 1000, pages = 4;
	const auto *const vmas = new Vmas(n, pages);
	int up[2];
	char c;

	for (std::size_t i = 0; i < n; i++)
		std::memset((*vmas)[i], 0x5a, pages * page);
	if (pipe(up))
		die("pipe");
	child_is_up = up[1];
	parents_stack = stack_of_this();
	for (std::size_t i = 0; i < children; i++) {
		const pid_t pid = fork_into(cgroup);

		if (pid < 0)
			die("clone3");
		if (!pid) {
			char *const first = (*vmas)[0], *const end = (*vmas)[n - 1] + pages * page;
			char *const mine = (*vmas)[i % n];

			if (mine > first)
				munmap(first, mine - first);
			if (mine + pages * page < end)
				munmap(mine + pages * page, end - mine - pages * page);
			stay_on_own_stack();
		}
	}
	for (std::size_t i = 0; i < children; i++)
		if (read(up[0], &c, 1) != 1)
			die("a child");
	if (write(ready, "", 1) != 1)
		die("write");
	for (;;)
		pause();
}

void shared_reclaim(Run &run)
{
	int ready[2];
	char c;

	mkdir(of_parent, 0755);
	mkdir(of_children, 0755);
	const int cgroup = open(of_children, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (pipe(ready) || cgroup < 0)
		die("the cgroups");
	const pid_t pid = child([&] {
		write_file(in_group(of_parent, "cgroup.procs").c_str(), "0");
		family(run.size, ready[1], cgroup);
	});
	if (read(ready[0], &c, 1) != 1)
		die("the parent of the children");

	const std::uint64_t before = vmstat("pswpout");
	settle(run.phase());
	std::uint64_t t = start();

	// Until most are gone: what was touched is given another round.
	for (int i = 0; i < 10 && vmstat("pswpout") - before < 3900; i++)
		write_file(in_group(of_parent, "memory.reclaim").c_str(), "16M", true);
	t = since(t);
	const std::uint64_t pages = vmstat("pswpout") - before;

	if (pages < 3500) {
		errno = EAGAIN;
		die("memory.reclaim took " + std::to_string(pages) + " pages of 4000");
	}
	run.value("shared_reclaim", double(t) / pages);
	run.value("shared_reclaim_pages", pages, "pages");
	write_file(in_group(of_children, "cgroup.kill").c_str(), "1");
	kill(pid, SIGKILL);
	waitpid(pid, nullptr, 0);
	close(cgroup);
	close(ready[0]);
	close(ready[1]);
}

} // namespace

const std::vector<Row> bench::page_rows = {
	{"pageout", {164, 1638, 16384}, 5, pageout},
	{"move_pages", {164, 1638, 16384}, 5, migrate},
	{"compaction", {80, 800}, 9, compact},	// less would be lost in the scan
	{"thp", {1, 10, 100}, 5, collapse},
	{"shared_reclaim", {1, 10}, 3, shared_reclaim},
	{"shared_reclaim", {1000}, 3, shared_reclaim},	// takes long to set up
};
