// SPDX-License-Identifier: GPL-2.0
//
// What a process that changes its VMAs all the time, the hostile one, does to
// those who migrate, compact or reclaim memory, or take a block or pages of it offline:
// its own, or that of a quiet neighbour; and how long it has to wait for them.
//
// usage: interfere REPS WINDOW PAUSE [ROW...]
//
// In each row an actor on the first processor does one thing over and over for
// WINDOW instructions of the guest, after one such time to warm up; what it takes to
// make ready for that does not count.  On the second runs the hostile process, or one
// that only spins; it rests after each VMA, for up to PAUSE instructions drawn at
// random, or it and the actor would fall into step.  The row's case is
//
//	alone		the neighbour's memory, and nobody is hostile
//	neighbour	the neighbour's memory
//	own		the hostile process's
//
// The row family is about a parent and what it has forked.  The hostile process is one
// of these: it has pages moved that it shares with the others, and changes the VMAs
// that have them.  The actor changes VMAs whose pages are all its own.  It is
//
//	alone		a neighbour, and nobody is hostile
//	neighbour	a neighbour
//	family		another child of the parent: the VMAs are those that it inherited
//
// One line is printed for each figure: INTER row case figure repetition value unit.
// It is to run in an emulator with an instruction clock: a nanosecond of the
// guest is an instruction.

#include "metronome.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include <fcntl.h>
#include <linux/mempolicy.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

namespace {

using u64 = std::uint64_t;

constexpr std::size_t psize = 4096, nr_vmas = 64, nr_pages = 16, stride = 4 * nr_pages * psize;
constexpr unsigned max_samples = 1 << 16;
char *const arena = reinterpret_cast<char *>(0x200000000000);

enum call { MPROTECT, MREMAP, MUNMAP, TOUCH, FORK, NR_CALLS };
constexpr const char *call_names[] = {"mprotect", "mremap", "munmap", "touch", "fork"};

// What the actor sees of the hostile one; in the row family the calls are the actor's.
struct shared {
	std::atomic<u64> turns;		// VMAs changed
	std::atomic<unsigned> n[NR_CALLS];
	u64 took[NR_CALLS][max_samples];
	std::atomic<bool> ready, go, refill;
} *hostile;

[[noreturn]] void die(const std::string &what)
{
	std::printf("INTER-FAILED %s: %s\n", what.c_str(), std::strerror(errno));
	std::fflush(stdout);
	_exit(1);
}

u64 now()
{
	timespec t;

	clock_gettime(CLOCK_MONOTONIC_RAW, &t);
	return t.tv_sec * u64{1000000000} + t.tv_nsec;
}

void on_cpu(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		die("two processors are needed");
}

int put(const std::string &path, std::string_view what)
{
	const int fd = open(path.c_str(), O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		die(path);
	const int err = write(fd, what.data(), what.size()) < 0 ? errno : 0;
	close(fd);
	return err;
}

// A number after a name, in a file of such lines.
u64 number(const char *path, std::string_view name)
{
	char line[256];
	u64 v = 0;
	FILE *f = std::fopen(path, "re");

	if (!f)
		die(path);
	while (std::fgets(line, sizeof(line), f)) {
		const std::size_t n = std::strcspn(line, " \t:");

		if (std::string_view(line, n) == name) {
			v = std::strtoull(line + n + 1, nullptr, 10);
			break;
		}
	}
	std::fclose(f);
	return v;
}

u64 vmstat(const char *name) { return number("/proc/vmstat", name); }

char *vma(std::size_t i) { return arena + i * stride; }

void map(char *at, std::size_t pages = nr_pages)
{
	if (mmap(at, pages * psize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) ==
	    MAP_FAILED)
		die("mmap");
}

void touch(char *at, std::size_t pages = nr_pages)
{
	for (std::size_t k = 0; k < pages; k++)
		*reinterpret_cast<volatile u64 *>(at + k * psize) = 1 + k;
}

void touch_all()
{
	for (std::size_t i = 0; i < nr_vmas; i++)
		touch(vma(i));
}

// All memory of the first node that is free, but for a reserve, in small pages; then
// every second run of 64 of them is given back: compaction looks at one page of 32
// only where nothing was free.
constexpr std::size_t run_length = 64 * psize, reserve = 32 << 20;
char *const filled = reinterpret_cast<char *>(0x300000000000);
std::size_t fill_size;

void fill()
{
	const unsigned long node = 1;

	if (fill_size)
		munmap(filled, fill_size);
	fill_size = number("/sys/devices/system/node/node0/vmstat", "nr_free_pages") * psize;
	if (fill_size < 2 * reserve) {
		errno = ENOMEM;
		die("the first node");
	}
	fill_size -= reserve;
	if (mmap(filled, fill_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) ==
		    MAP_FAILED ||
	    syscall(SYS_mbind, filled, fill_size, MPOL_BIND, &node, 64, 0))
		die("mmap");
	for (std::size_t at = 0; at < fill_size; at += psize)
		filled[at] = 1;
	for (std::size_t at = 0; at < fill_size; at += 2 * run_length)
		madvise(filled + at, run_length, MADV_DONTNEED);
}

// The one on the second processor stops here while the memory to be compacted is made
// ready, and does that if it is its own.
void wait_to_go()
{
	while (!hostile->go) {
		if (hostile->refill) {
			fill();
			hostile->refill = false;
		}
		usleep(100);
	}
}

template <typename F> void timed(call c, F &&f)
{
	const u64 t = now();

	f();
	const unsigned n = hostile->n[c].fetch_add(1);
	if (n < max_samples)
		hostile->took[c][n] = now() - t;
}

// All of a batch of pages to one node.
constexpr std::size_t batch = 256;

template <typename F> void move_pages(pid_t pid, int to, F &&page)
{
	static void *where[batch];
	static int node[batch], status[batch];

	for (std::size_t k = 0; k < batch; k++) {
		where[k] = page(k);
		node[k] = to;
	}
	syscall(SYS_move_pages, pid, batch, where, node, status, MPOL_MF_MOVE_ALL);
}

void rest(std::minstd_rand &random, u64 pause_max)
{
	for (const u64 until = now() + random() % (pause_max + 1); now() < until;)
		;
}

[[noreturn]] void be_hostile(u64 pause_max)
{
	std::minstd_rand random;

	for (u64 turn = 0;; turn++) {
		for (std::size_t i = 0; i < nr_vmas; i++) {
			char *const p = vma(i), *const q = p + 2 * nr_pages * psize;
			char *const part = (fill_size ? filled + i * run_length : p) + 5 * psize;

			wait_to_go();
			timed(MPROTECT, [&] { mprotect(part, 5 * psize, PROT_READ); });
			timed(MPROTECT, [&] { mprotect(part, 5 * psize, PROT_READ | PROT_WRITE); });
			timed(MREMAP, [&] {
				if (mremap(p, nr_pages * psize, nr_pages * psize, MREMAP_MAYMOVE | MREMAP_FIXED, q) ==
				    MAP_FAILED)
					die("mremap");
			});
			timed(MUNMAP, [&] { munmap(q, nr_pages * psize); });
			map(p);
			timed(TOUCH, [&] { touch(p); });
			hostile->turns++;
			rest(random, pause_max);
		}
		// Makes them ordinary, until they are mapped anew.
		if (turn % 4 == 3)
			timed(FORK, [&] {
				const pid_t pid = fork();

				if (!pid) {
					touch(vma(turn % nr_vmas));
					_exit(0);
				}
				if (pid < 0 || waitpid(pid, nullptr, 0) != pid)
					die("fork");
			});
	}
}

// What a family shares: some VMAs, each with a lock of its own for the whole family.
constexpr std::size_t nr_inherited = 8;

char *inherited(std::size_t i) { return reinterpret_cast<char *>(0x400000000000) + (i << 30); }

void map_inherited()
{
	for (std::size_t i = 0; i < nr_inherited; i++)
		map(inherited(i), batch);
}

void touch_inherited()
{
	for (std::size_t i = 0; i < nr_inherited; i++)
		touch(inherited(i), batch);
}

// This process, and its children but for the hostile one and the actor.
struct family {
	std::vector<pid_t> children;

	family()
	{
		map_inherited();
		touch_inherited();
		for (int i = 0; i < 8; i++) {
			const pid_t pid = fork();

			if (pid < 0)
				die("fork");
			while (!pid)
				pause();
			children.push_back(pid);
		}
	}
	~family()
	{
		for (pid_t pid : children) {
			kill(pid, SIGKILL);
			waitpid(pid, nullptr, 0);
		}
		for (std::size_t i = 0; i < nr_inherited; i++)
			munmap(inherited(i), batch * psize);
	}
	family(const family &) = delete;
	family &operator=(const family &) = delete;
};

void split_and_merge(char *at)
{
	timed(MPROTECT, [&] { mprotect(at + 5 * psize, 5 * psize, PROT_READ); });
	timed(MPROTECT, [&] { mprotect(at + 5 * psize, 5 * psize, PROT_READ | PROT_WRITE); });
}

[[noreturn]] void be_hostile_child(u64 pause_max)
{
	std::minstd_rand random;

	for (unsigned turn = 0;; turn++) {
		char *const p = inherited(turn % nr_inherited);

		wait_to_go();
		move_pages(getpid(), turn / nr_inherited % 2, [p](std::size_t k) { return p + k * psize; });
		mprotect(p + 5 * psize, 5 * psize, PROT_READ);
		mprotect(p + 5 * psize, 5 * psize, PROT_READ | PROT_WRITE);
		hostile->turns++;
		rest(random, pause_max);
	}
}

// A forked child's lazy VMA gets an anon_vma when it is split.  So half of them only
// grow, and stay lazy.
void change_inherited()
{
	static std::size_t pages = batch;
	constexpr std::size_t half = nr_inherited / 2;

	for (int n = 0; n < 4; n++, pages++)
		for (std::size_t i = 0; i < half; i++) {
			split_and_merge(inherited(half + i));
			timed(MREMAP, [&] {
				if (mremap(inherited(i), pages * psize, (pages + 1) * psize, 0) == MAP_FAILED)
					die("mremap");
			});
		}
}

// A process in a cgroup of its own; the quiet one touches its pages (or whatever
// it is to do again) when told.
struct process {
	pid_t pid;
	std::string group;
	int tell[2], told[2];

	process(const char *name, int cpu, const std::function<void()> &body, void (*again)() = touch_all)
		: group("/sys/fs/cgroup/" + std::string(name))
	{
		mkdir(group.c_str(), 0755);
		if (pipe(tell) || pipe(told))
			die("pipe");
		pid = fork();
		if (pid < 0)
			die("fork");
		if (!pid) {
			put(group + "/cgroup.procs", "0");
			on_cpu(cpu);
			body();
			char c = 1;
			do {
				again();
				if (write(told[1], &c, 1) != 1)
					_exit(1);
			} while (read(tell[0], &c, 1) == 1);
			_exit(0);
		}
	}
	void done() const
	{
		char c;

		if (read(told[0], &c, 1) != 1)
			die("the neighbour is gone");
	}
	void do_again() const
	{
		if (write(tell[1], "x", 1) != 1)
			die("the neighbour is gone");
		done();
	}
	~process()
	{
		kill(pid, SIGKILL);
		waitpid(pid, nullptr, 0);
		for (int fd : {tell[0], tell[1], told[0], told[1]})
			close(fd);
		rmdir(group.c_str());
	}
	process(const process &) = delete;
	process &operator=(const process &) = delete;
};

struct outcome {
	u64 asked = 0, done = 0, making_ready = 0;
};

struct target {
	const process &p;
	bool quiet;	// does something only when told
	unsigned turn = 0;
};

u64 pfn_of(pid_t pid, const void *at)
{
	u64 e = 0;
	const int fd = open(("/proc/" + std::to_string(pid) + "/pagemap").c_str(), O_RDONLY | O_CLOEXEC);

	if (fd < 0 || pread(fd, &e, 8, reinterpret_cast<std::uintptr_t>(at) / psize * 8) != 8)
		e = 0;
	close(fd);
	return e >> 63 & 1 ? e & ((u64{1} << 55) - 1) : 0;
}

template <typename F> outcome count_migrated(F &&f)
{
	const u64 ok = vmstat("pgmigrate_success"), bad = vmstat("pgmigrate_fail");
	outcome o;

	f();
	o.done = vmstat("pgmigrate_success") - ok;
	o.asked = o.done + vmstat("pgmigrate_fail") - bad;
	return o;
}

// All pages to one node, in batches, then to the other.
outcome migrate(target &t)
{
	constexpr std::size_t parts = nr_vmas * nr_pages / batch;
	const unsigned turn = t.turn++;

	return count_migrated([&] {
		move_pages(t.p.pid, 1 - turn / parts % 2, [&](std::size_t k) {
			const std::size_t x = turn % parts * batch + k;

			return vma(x / nr_pages) + x % nr_pages * psize;
		});
	});
}

// The quiet one is the actor.
outcome change(target &t)
{
	outcome o;

	t.p.do_again();
	o.done = 4 * nr_inherited;
	return o;
}

outcome compact(target &t)
{
	const u64 start = now();

	hostile->go = false;
	if (t.quiet) {
		t.p.do_again();
	} else {
		hostile->refill = true;
		while (hostile->refill)
			usleep(1000);
	}
	hostile->go = true;
	const u64 ready = now();
	outcome o = count_migrated([] { put("/sys/devices/system/node/node0/compact", "1"); });
	o.making_ready = ready - start;
	return o;
}

// Most of the first node is left out, as filling it anew takes long.
void leave_to_compact(std::size_t bytes)
{
	const std::string node = "/sys/devices/system/node/node0/";
	const u64 have = bytes ? number((node + "vmstat").c_str(), "nr_free_pages") * psize : 0;

	// What waits in a processor's list to be used again is not free.
	put("/proc/sys/vm/percpu_pagelist_high_fraction", bytes ? "1000000" : "0");
	put(node + "hugepages/hugepages-2048kB/nr_hugepages", std::to_string((have - bytes) >> 21));
}

outcome reclaim(target &t)
{
	const std::string stat = t.p.group + "/memory.stat";
	outcome o;

	if (t.quiet)
		t.p.do_again();
	const u64 scan = number(stat.c_str(), "pgscan"), steal = number(stat.c_str(), "pgsteal");
	put(t.p.group + "/memory.reclaim", "1M");
	o.asked = number(stat.c_str(), "pgscan") - scan;
	o.done = number(stat.c_str(), "pgsteal") - steal;
	return o;
}

outcome soft_offline(target &t)
{
	std::vector<u64> gone;
	outcome o;

	for (unsigned k = 0; k < 16; k++) {
		const u64 pfn = pfn_of(t.p.pid, vma(t.turn++ % nr_vmas) + k * psize);
		char line[32];

		if (!pfn)
			continue;
		std::snprintf(line, sizeof(line), "0x%lx", static_cast<unsigned long>(pfn * psize));
		o.asked++;
		if (!put("/sys/devices/system/memory/soft_offline_page", line)) {
			o.done++;
			gone.push_back(pfn);
		}
	}
	for (u64 pfn : gone)
		put("/sys/kernel/debug/hwpoison/unpoison-pfn", std::to_string(pfn));
	return o;
}

// A block of memory, of 128 MiB, off and on again: has it been off?
bool off_and_on(u64 block)
{
	const std::string state = "/sys/devices/system/memory/memory" + std::to_string(block) + "/state";

	if (put(state, "offline"))
		return false;
	if (put(state, "online_movable"))
		die(state);
	return true;
}

// Three blocks of each node become movable, so that all that is measured is in these:
// the kernel keeps things of its own in the others.  The lab's guest of two nodes and
// 3 GiB has blocks of those numbers.
void make_movable()
{
	for (u64 from : {4, 33}) {
		unsigned have = 0;

		for (u64 n = from; n < from + 5 && have < 3; n++)
			have += off_and_on(n);
		if (have < 3)
			die("no block of memory can be taken offline");
	}
}

// The block that has a page of the target's, which goes to the other node.
outcome offline(target &t)
{
	const u64 pfn = pfn_of(t.p.pid, vma(t.turn++ % nr_vmas));
	outcome o;

	if (pfn) {
		o.asked = 1;
		o.done = off_and_on(pfn * psize >> 27);
	}
	return o;
}

struct row {
	const char *name;
	outcome (*act)(target &);
	const char *unit;
};

constexpr row rows[] = {
	{"migrate", migrate, "pages"},
	{"reclaim", reclaim, "pages"},
	{"soft_offline", soft_offline, "pages"},
	{"family", change, "vmas"},
	{"compact", compact, "pages"},
	{"offline", offline, "blocks"},	// last, as it leaves a movable zone behind
};

// In use, or kept by a processor to be used again; exact without those.
u64 vma_structs(bool exact = false)
{
	if (exact)
		put("/sys/kernel/slab/vm_area_struct/shrink", "1");
	return number("/proc/slabinfo", "vm_area_struct");
}

void figure(const row &r, const char *how, const char *what, unsigned rep, double v, const char *unit)
{
	std::printf("INTER %s %s %s %u %.4f %s\n", r.name, how, what, rep, v, unit);
}

void run(const row &r, const char *how, unsigned reps, u64 window, u64 pause_max)
{
	const bool is_hostile = std::strcmp(how, "alone"), own = !std::strcmp(how, "own");
	const bool compacts = r.act == compact, changes = r.act == change;
	const auto fresh = [&r, compacts] {
		const unsigned long node = 1UL << compacts;

		if ((compacts || r.act == offline) && syscall(SYS_set_mempolicy, MPOL_BIND, &node, 64))
			die("set_mempolicy");
		for (std::size_t i = 0; i < nr_vmas; i++)
			map(vma(i));
	};
	hostile->ready = hostile->go = false;
	const bool related = !std::strcmp(how, "family");
	std::optional<family> parent;
	if (related)
		parent.emplace();
	const process quiet(
		"quiet", 0,
		[&] {
			if (!changes)
				return fresh();
			if (!related)
				map_inherited();
			touch_inherited();
		},
		changes ? change_inherited : compacts && !own ? fill : touch_all);
	quiet.done();
	if (changes && !related)
		parent.emplace();
	const process other("hostile", 1, [&] {
		if (!changes) {
			fresh();
			touch_all();
		}
		hostile->ready = true;
		wait_to_go();
		if (is_hostile && changes)
			be_hostile_child(pause_max);
		if (is_hostile)
			be_hostile(pause_max);
		for (;;)
			wait_to_go();
	});
	while (!hostile->ready)
		usleep(1000);

	usleep(200000);
	const u64 at_rest = vma_structs(true);
	hostile->go = true;

	target t{own ? other : quiet, !own};
	for (unsigned rep = 0; rep <= reps; rep++) {
		u64 most = 0, acts = 0;
		outcome sum;

		hostile->turns = 0;
		for (std::atomic<unsigned> &n : hostile->n)
			n = 0;
		const u64 start = now();
		while (now() - start - sum.making_ready < window) {
			const outcome o = r.act(t);

			sum.asked += o.asked;
			sum.done += o.done;
			sum.making_ready += o.making_ready;
			acts++;
			if (acts % 8 == 0)
				most = std::max(most, vma_structs());
		}
		const double took = now() - start - sum.making_ready;
		const u64 turns = hostile->turns;
		std::vector<u64> took_calls[NR_CALLS];
		for (unsigned c = 0; c < NR_CALLS; c++)
			took_calls[c].assign(hostile->took[c], hostile->took[c] + std::min(hostile->n[c].load(), max_samples));
		if (!rep)
			continue;

		figure(r, how, "done", rep, sum.done * 1e6 / took, (std::string(r.unit) + "_per_M").c_str());
		if (sum.asked)
			figure(r, how, "success", rep, double(sum.done) / sum.asked, "of_asked");
		if (is_hostile)
			figure(r, how, "hostile", rep, turns * 1e6 / took, "turns_per_M");
		for (unsigned c = 0; c < NR_CALLS; c++) {
			std::vector<u64> &v = took_calls[c];

			if (v.empty())
				continue;
			std::sort(v.begin(), v.end());
			if (changes)
				figure(r, how, (std::string(call_names[c]) + "_p50").c_str(), rep, v[v.size() / 2],
				       "insn");
			figure(r, how, (std::string(call_names[c]) + "_p99").c_str(), rep, v[v.size() * 99 / 100], "insn");
			figure(r, how, (std::string(call_names[c]) + "_max").c_str(), rep, v.back(), "insn");
		}
		if (is_hostile && most)
			figure(r, how, "vma_structs_max", rep, most, "objects");
	}
	// Are all structs given back soon, while pages go on being migrated?
	if (is_hostile && r.act == migrate) {
		kill(other.pid, SIGSTOP);
		unsigned batches = 0;
		const u64 t0 = now();

		while (vma_structs(true) > at_rest + 4 && now() - t0 < 20 * window) {
			migrate(t);
			batches++;
		}
		figure(r, how, "drain", 1, now() - t0, "insn");
		figure(r, how, "drain_batches", 1, batches, "batches");
	}
	std::fflush(stdout);
}

} // namespace

int main(int argc, char **argv)
{
	if (argc < 4) {
		std::fprintf(stderr, "usage: interfere REPS WINDOW PAUSE [ROW...]\n");
		return 2;
	}
	void *const p = mmap(nullptr, sizeof(shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		die("mmap");
	hostile = new (p) shared{};
	setvbuf(stdout, nullptr, _IOLBF, 0);
	put("/sys/fs/cgroup/cgroup.subtree_control", "+memory");
	if (!metronome())
		die("perf_event_open");
	on_cpu(0);
	for (const row &r : rows) {
		bool wanted = argc == 4;

		for (int i = 4; i < argc; i++)
			wanted |= !std::strcmp(argv[i], r.name);
		if (!wanted)
			continue;
		if (r.act == offline)
			make_movable();
		if (r.act == compact)
			leave_to_compact(160 << 20);
		for (const char *how : {"alone", "neighbour", r.act == change ? "family" : "own"})
			run(r, how, std::atoi(argv[1]), std::strtoull(argv[2], nullptr, 0),
			    std::strtoull(argv[3], nullptr, 0));
		if (r.act == compact)
			leave_to_compact(0);
	}
	return 0;
}
