// SPDX-License-Identifier: GPL-2.0
//
// Rows about VMAs: mapping, faulting, fork, exec, exit, mprotect, mremap.

#include "bench.h"
#include "counter.h"

#include <algorithm>
#include <barrier>
#include <thread>

#include <sched.h>

namespace {

using namespace bench;

// mmap + touch one page + munmap, beside others that keep the page table there.
void map_touch_unmap_as(Run &run, const char *name)
{
	constexpr int turns = 5000;
	static char *const at = arena(huge);

	if (!run.rep) {
		map(at, page);
		touch(at);
	}
	settle();
	Meter cost;
	for (int i = 0; i < turns; i++)
		cost([] {
			char *const p = map(at + 2 * page, page);

			touch(p);
			munmap(p, page);
		});
	run.value(name, cost.mean());
}

void map_touch_unmap(Run &run)
{
	map_touch_unmap_as(run, "map_touch_unmap");
}

// The same in a process of which a page was migrated.
void unmap_migrated(Run &run)
{
	if (!run.rep) {
		void *where = map(arena(page), page);

		touch(static_cast<char *>(where));
		for (int to : {1, 0}) {
			int status;

			if (syscall(SYS_move_pages, 0, 1, &where, &to, &status, 2) || status != to)
				die("move_pages");
		}
	}
	map_touch_unmap_as(run, "unmap_migrated");
}

// First touch of fresh VMAs of one page, size of them in each of 8 threads.
constexpr int nr_threads = 8;

std::uint64_t touch_by_threads(const Vmas &vmas, double phase = 0)
{
	const std::size_t share = vmas.size() / nr_threads;
	std::barrier<> ready(nr_threads + 1), start(nr_threads + 1), end(nr_threads + 1);
	std::vector<std::jthread> threads;

	for (int n = 0; n < nr_threads; n++)
		threads.emplace_back([&, n] {
			ready.arrive_and_wait();
			start.arrive_and_wait();
			for (std::size_t i = n * share; i < (n + 1) * share; i++)
				touch(vmas[i]);
			end.arrive_and_wait();
		});
	ready.arrive_and_wait();
	settle(phase);
	const std::uint64_t t = bench::start();
	start.arrive_and_wait();
	end.arrive_and_wait();
	return since(t);
}

void first_touch(Run &run)
{
	const std::size_t n = run.size * nr_threads;
	const Vmas vmas(n);

	run.value("first_touch_8", double(touch_by_threads(vmas, run.phase())) / n);
}

// The same, counting instead how often the mmap lock is asked for by it, and how
// many faults could not be handled under the VMA lock.
void first_touch_locks(Run &run)
{
	const std::size_t n = run.size * nr_threads;
	const Vmas vmas(n);
	const Counter asked = read_locks(), fallback = fallbacks();

	touch_by_threads(vmas);
	run.value("first_touch_mmap_lock", asked.read() * 1000.0 / n, "per_1000");
	run.value("first_touch_fallback", fallback.read() * 1000.0 / n, "per_1000");
}

// Touch of a further page of a VMA that has one.
void touch_again(Run &run)
{
	constexpr std::size_t want = 10000, chunk = 50;
	static char *const at = arena(10000 * page);
	const std::size_t pages = run.size, turns = want / pages;
	Meter cost;

	if (!run.rep)
		map(at, (pages + 1) * page);
	settle();
	for (std::size_t i = 0; i < turns; i++) {
		madvise(at, (pages + 1) * page, MADV_DONTNEED);
		touch(at);
		for (std::size_t j = 1; j <= pages; j += chunk)
			cost([&] { touch(at + j * page, chunk); });
	}
	run.value("touch_again", cost.mean(chunk));
}

// fork + exit of a process with touched VMAs, the child's end waited for: the
// first time and the tenth.
void fork_exit(Run &run)
{
	static auto *const cost = shared<Meter>(10);
	const int turns = run.size < 500 ? 16 : run.size < 5000 ? 8 : 2;

	std::fill(cost, cost + 10, Meter());
	for (int turn = 0; turn < turns; turn++)
		in_child([&] {
			const Vmas vmas(run.size);

			vmas.touch();
			for (int i = 0; i < 10; i++) {
				settle(double(turn) / turns);
				cost[i]([] { in_child([] {}); });
			}
		});
	run.value("fork_first", cost[0].mean());
	run.value("fork_tenth", cost[9].mean());
}

// exec of a dynamically linked program, until its main(); and from fork until
// its end is waited for.
void exec_libs(Run &run)
{
	const std::string program = "/lab/bench-exec/prog" + std::to_string(run.size);
	const int turns = run.size < 40 ? 16 : run.size < 400 ? 8 : 2;
	std::uint64_t exec = 0, sum = 0;
	int fds[2];

	if (pipe(fds))
		die("pipe");
	const std::string to = std::to_string(fds[1]), how = instructions ? "insn" : "ns";
	for (int i = 0; i < turns; i++) {
		std::uint64_t at[2];

		settle(double(i) / turns);
		const std::uint64_t t = start();
		in_child([&] {
			const std::uint64_t t0 = now();

			if (write(fds[1], &t0, sizeof(t0)) != sizeof(t0))
				die("write");
			execl(program.c_str(), program.c_str(), to.c_str(), how.c_str(), nullptr);
			die(program);
		});
		sum += since(t);
		if (read(fds[0], at, sizeof(at)) != sizeof(at))
			die(program + " did not say when it started");
		exec += at[1] - at[0];
	}
	run.value("fork_exec_exit", double(sum) / turns);
	run.value("exec", double(exec) / turns);
	close(fds[0]);
	close(fds[1]);
}

// The end of a process with touched VMAs, per VMA.
void exit_vmas(Run &run)
{
	static auto *const t = shared<std::uint64_t>();
	const int turns = run.size < 1000 ? 16 : run.size < 10000 ? 8 : 2;
	std::uint64_t sum = 0;

	for (int i = 0; i < turns; i++) {
		in_child([&] {
			const auto *const vmas = new Vmas(run.size);

			vmas->touch();
			settle(double(i) / turns);
			*t = start();
			_exit(0);
		});
		sum += since(*t);
	}
	run.value("exit", double(sum) / turns / run.size);
}

// mprotect that splits a VMA of three parts, all touched, in three; and merges
// it again.  Each VMA the first time, and again.
void mprotect_split(Run &run)
{
	const std::size_t part = run.size, n = part < 10 ? 1000 : part < 100 ? 300 : 60;
	const Vmas vmas(n, 3 * part);
	const auto all = [&](const char *line, int prot) {
		Meter cost;

		settle();
		for (std::size_t i = 0; i < n; i++)
			cost([&] {
				if (mprotect(vmas[i] + part * page, part * page, prot))
					die("mprotect");
			});
		run.value(line, cost.mean());
	};

	vmas.touch();
	all("mprotect_split", PROT_READ);
	all("mprotect_merge", PROT_READ | PROT_WRITE);
	all("mprotect_split_again", PROT_READ);
	all("mprotect_merge_again", PROT_READ | PROT_WRITE);
}

// mremap to another place: of one page, of 512 page by page as they are not
// aligned alike, and of 1 GiB with a page in each table.
void move_vma(Run &run)
{
	const std::size_t pages = run.size, n = pages == 1 ? 2000 : pages == 512 ? 60 : 4;
	const std::size_t bytes = pages * page, stride = pages == 1 ? 2 * page : bytes + huge;
	char *const from = arena(n * stride);
	char *const to = arena(n * stride + huge) + (pages == 512 ? 16 * page : pages == 1 ? 0 : huge);

	for (std::size_t i = 0; i < n; i++) {
		map(from + i * stride, bytes);
		for (std::size_t j = 0; j < bytes; j += pages > 512 ? huge : page)
			touch(from + i * stride + j);
	}
	const auto all = [&](const char *line, char *a, char *b) {
		Meter cost;

		settle();
		for (std::size_t i = 0; i < n; i++)
			cost([&] {
				if (mremap(a + i * stride, bytes, bytes,
					   MREMAP_MAYMOVE | MREMAP_FIXED, b + i * stride) == MAP_FAILED)
					die("mremap");
			});
		run.value(line, cost.mean());
	};
	all("mremap", from, to);
	all("mremap_again", to, from);
	munmap(from, n * stride);
}

} // namespace

const std::vector<Row> bench::vma_rows = {
	{"map_touch_unmap", {1}, 12, map_touch_unmap},
	{"unmap_migrated", {1}, 12, unmap_migrated},
	{"first_touch", {25, 250, 2500}, 5, first_touch},
	{"first_touch_locks", {250}, 3, first_touch_locks},
	{"touch_again", {100, 1000, 10000}, 12, touch_again},
	{"fork_exit", {50, 500, 5000}, 5, fork_exit},
	{"exec_libs", {4, 40, 400}, 5, exec_libs},
	{"exit", {100, 1000, 10000}, 5, exit_vmas},
	{"mprotect", {1, 10, 100}, 7, mprotect_split},
	{"mremap", {1, 512, 262144}, 7, move_vma},
};
