// SPDX-License-Identifier: GPL-2.0
//
// Rows for two processors: how long who changes a VMA has to wait for those who
// walk its pages, or a stranger's; faults beside mmap and munmap; reclaim of what
// forked children own.
//
// The instruction clock of an emulator goes on for both.

#include "bench.h"
#include "counter.h"
#include "../metronome.h"

#include <algorithm>
#include <barrier>
#include <csignal>
#include <random>
#include <thread>

#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

namespace {

using namespace bench;

void on_cpu(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		die("the row wants two processors");
}

void short_turns()
{
	static const bool ticks = metronome();

	if (!ticks)
		die("perf_event_open");
}

// Does something over and over on the second processor until it is gone.
class Neighbour {
public:
	template <typename F> explicit Neighbour(F &&f)
	{
		pid_ = child([&] {
			on_cpu(1);
			for (;;)
				f();
		});
	}
	~Neighbour()
	{
		kill(pid_, SIGKILL);
		waitpid(pid_, nullptr, 0);
	}
	Neighbour(const Neighbour &) = delete;
	Neighbour &operator=(const Neighbour &) = delete;

private:
	pid_t pid_;
};

// The one who is made to wait changes VMAs in turn, each of which was touched
// a while ago: splits and merges it, unmaps it, and maps and touches it anew.
constexpr std::size_t nr_pages = 16;

void report(Run &run, const std::string &line, std::vector<std::uint64_t> &t)
{
	std::sort(t.begin(), t.end());
	run.value((line + "_p99").c_str(), t[t.size() * 99 / 100]);
	run.value((line + "_max").c_str(), t.back());
}

void change_vmas(Run &run, const std::string &line, const Vmas &vmas)
{
	const unsigned turns = run.rep ? 1500 : vmas.size();
	std::vector<std::uint64_t> protect, unmap;
	const Counter waited = waits();
	std::uint64_t in_calls = 0;

	on_cpu(0);
	for (unsigned i = 0; i < turns; i++) {
		char *const p = vmas[i % vmas.size()];
		const std::uint64_t before = waited.read();
		std::uint64_t t = now();

		mprotect(p + 5 * page, 5 * page, PROT_READ);
		protect.push_back(now() - t);
		t = now();
		mprotect(p + 5 * page, 5 * page, PROT_READ | PROT_WRITE);
		protect.push_back(now() - t);
		t = now();
		munmap(p, nr_pages * page);
		unmap.push_back(now() - t);
		in_calls += waited.read() - before;
		map(p, nr_pages * page);
		std::memset(p, 0x5a, nr_pages * page);
	}
	report(run, line + "_mprotect", protect);
	report(run, line + "_munmap", unmap);
	run.value((line + "_waits").c_str(), in_calls * 1000.0 / (3 * turns), "per_1000");
}

void wait_quiet(Run &run)
{
	short_turns();
	const Vmas vmas(run.size, nr_pages);
	vmas.touch();
	const Neighbour spins([] {});

	change_vmas(run, "wait_quiet", vmas);
}

// All its pages are moved between the nodes and reclaimed all the while.
void wait_busy(Run &run)
{
	constexpr const char *group = "/sys/fs/cgroup/bench-wait";
	const pid_t self = getpid();

	short_turns();
	const std::string procs = std::string(group) + "/cgroup.procs",
			  reclaim = std::string(group) + "/memory.reclaim";
	mkdir(group, 0755);
	write_file(procs.c_str(), "0");
	const Vmas vmas(run.size, nr_pages);
	vmas.touch();
	write_file("/sys/fs/cgroup/cgroup.procs", "0");
	std::vector<void *> where;
	for (std::size_t i = 0; i < vmas.size(); i++)
		for (std::size_t j = 0; j < nr_pages; j++)
			where.push_back(vmas[i] + j * page);
	std::vector<int> node(where.size()), status(where.size());
	unsigned turn = 0;
	const Neighbour moves([&] {
		// All in turns to the one node, then to the other.
		const std::size_t parts = 16, n = where.size() / parts;

		std::fill(node.begin(), node.end(), 1 - turn / parts % 2);
		syscall(SYS_move_pages, self, n, &where[turn % parts * n], node.data(),
			status.data(), 2);
		turn++;
	});
	const Neighbour reclaims([&] { write_file(reclaim.c_str(), "256K", true); });

	write_file(procs.c_str(), "0");
	const std::uint64_t migrated = vmstat("pgmigrate_success"), out = vmstat("pswpout");
	change_vmas(run, "wait_busy", vmas);
	run.value("wait_busy_migrated", vmstat("pgmigrate_success") - migrated, "pages");
	run.value("wait_busy_reclaimed", vmstat("pswpout") - out, "pages");
	write_file("/sys/fs/cgroup/cgroup.procs", "0");
}

// A stranger splits huge pages of its own, which holds their lock for long, and
// collapses and moves them.
void wait_hostile(Run &run)
{
	short_turns();
	const Vmas vmas(run.size, nr_pages);
	vmas.touch();
	char *const at = arena(2 * huge);
	bool first = true;
	const std::uint64_t split = vmstat("thp_split_page");
	const Neighbour hostile([&] {
		if (first) {
			map(at, huge);
			touch(at, 512);
			first = false;
		}
		if (madvise(at, huge, MADV_COLLAPSE) && errno != EAGAIN && errno != EBUSY && errno != EINVAL)
			die("MADV_COLLAPSE");
		madvise(at + 7 * page, page, MADV_COLD);
	});

	change_vmas(run, "wait_hostile", vmas);
	run.value("wait_hostile_split", vmstat("thp_split_page") - split, "pages");
}

// Eight threads that map, touch and unmap a VMA each, again and again.
void smp_touch(Run &run)
{
	constexpr int nr = 8;
	const unsigned turns = run.size;
	char *const at = arena(nr * 4 * page);
	const Counter fallback = fallbacks();

	short_turns();
	const std::uint64_t t = now();
	{
		std::barrier<> start(nr);
		std::vector<std::jthread> threads;

		for (int i = 0; i < nr; i++)
			threads.emplace_back([&, i] {
				on_cpu(i % 2);
				start.arrive_and_wait();
				for (unsigned j = 0; j < turns; j++) {
					char *const p = map(at + i * 4 * page, page);

					touch(p);
					munmap(p, page);
				}
			});
	}
	run.value("smp_touch_8", double(now() - t) / (nr * turns));
	run.value("smp_fallback", fallback.read() * 1000.0 / (nr * turns), "per_1000");
}

// A process with 24 forked children that have written to all of what they got, so
// that the pages are their own, and that change a VMA now and then.  Both
// processors reclaim from them; what the children do is part of the cost.
void smp_family(Run &run)
{
	constexpr const char *group = "/sys/fs/cgroup/bench-family";
	constexpr std::size_t nr_children = 24, vmas = 16, pages = 16;
	const std::uint64_t wanted = run.size;
	const std::string procs = std::string(group) + "/cgroup.procs",
			  reclaim = std::string(group) + "/memory.reclaim";
	int ready[2];
	char c;

	mkdir(group, 0755);
	if (pipe(ready))
		die("pipe");
	const pid_t family = child([&] {
		write_file(procs.c_str(), "0");
		const Vmas of(vmas, pages);

		of.touch();
		for (std::size_t i = 0; i < nr_children; i++) {
			const pid_t pid = fork();

			if (pid < 0)
				die("fork");
			if (pid)
				continue;
			on_cpu(i % 2);
			for (std::size_t j = 0; j < vmas; j++)
				std::memset(of[j], 0x5a, pages * page);
			if (write(ready[1], "", 1) != 1)
				die("write");
			// At random, or all would fall into step.
			std::minstd_rand random(i + 1);
			for (std::size_t j = 0;; j++) {
				usleep(500 + random() % 1000);
				mprotect(of[j % vmas], pages / 2 * page, PROT_READ);
				mprotect(of[j % vmas], pages / 2 * page, PROT_READ | PROT_WRITE);
			}
		}
		for (;;)
			pause();
	});
	for (std::size_t i = 0; i < nr_children; i++)
		if (read(ready[0], &c, 1) != 1)
			die("a child");
	short_turns();
	const Counter waited = waits();
	const std::uint64_t before = vmstat("pswpout"), t = now();
	{
		std::vector<std::jthread> threads;

		for (int cpu = 0; cpu < 2; cpu++)
			threads.emplace_back([&, cpu] {
				on_cpu(cpu);
				while (vmstat("pswpout") - before < wanted)
					write_file(reclaim.c_str(), "512K", true);
			});
	}
	const double took = now() - t, out = vmstat("pswpout") - before;

	write_file((std::string(group) + "/cgroup.kill").c_str(), "1");
	waitpid(family, nullptr, 0);
	close(ready[0]);
	close(ready[1]);
	run.value("smp_family", took / out);
	run.value("smp_family_waits", waited.read() * 1000.0 / out, "per_1000");
}

} // namespace

const std::vector<Row> bench::wait_rows = {
	{"smp_touch", {3000}, 4, smp_touch, true},
	{"smp_family", {4000}, 16, smp_family, true},
	{"wait_quiet", {256}, 9, wait_quiet, true},
	{"wait_busy", {256}, 9, wait_busy, true},
	{"wait_hostile", {256}, 9, wait_hostile, true},
};
