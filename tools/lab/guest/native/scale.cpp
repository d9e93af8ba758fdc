// SPDX-License-Identifier: GPL-2.0
//
// Rows about scaling: the same operation at the same time by one task on each of SIZE
// processors.  The tasks are threads of one process, or processes.  The value is
// how many operations a second all of them do.

#include "native.h"

#include <memory>
#include <thread>

#include <pthread.h>
#include <sys/prctl.h>

#include <csignal>

namespace {

using namespace bench;

enum class Tasks { threads, processes };

// What one task does over and over: only what once() does is timed.  All it needs is
// mapped by ready(), in the task, at places that were chosen before there were tasks.
class Op {
public:
	virtual ~Op() = default;
	virtual void ready() {}
	virtual void before() {}
	virtual std::uint64_t once() = 0;	// -> how many operations that was
	virtual void after() {}
};

// First touch of VMAs of one page.
class Touch : public Op {
public:
	explicit Touch(unsigned tasks)
		// All of them are VMAs of one process, if these are threads.
		: n_(std::min(128u, 30000 / tasks)), at_(arena(2 * n_ * page)) {}
	void before() override
	{
		for (std::size_t i = 0; i < n_; i++)
			map(at_ + 2 * i * page, page);
	}
	std::uint64_t once() override
	{
		for (std::size_t i = 0; i < n_; i++)
			touch(at_ + 2 * i * page);
		return n_;
	}
	void after() override { munmap(at_, 2 * n_ * page); }

private:
	std::size_t n_;
	char *at_;
};

// mmap + touch one page + munmap.
class Map : public Op {
public:
	explicit Map(unsigned) : at_(arena(huge)) {}
	void ready() override
	{
		map(at_, page);
		touch(at_);
	}
	std::uint64_t once() override
	{
		constexpr int n = 16;

		for (int i = 0; i < n; i++) {
			char *const p = map(at_ + 2 * page, page);

			touch(p);
			munmap(p, page);
		}
		return n;
	}

private:
	char *at_;
};

// Page faults in one big mapping of each task.
class Fault : public Op {
public:
	explicit Fault(unsigned) : at_(arena(n * page)) {}
	void ready() override { map(at_, n * page); }
	std::uint64_t once() override
	{
		touch(at_, n);
		return n;
	}
	void after() override { madvise(at_, n * page, MADV_DONTNEED); }

private:
	static constexpr std::size_t n = 512;
	char *at_;
};

// fork + exit + wait, with 100 touched VMAs: of each process, or of all the threads.
class Fork : public Op {
public:
	explicit Fork(unsigned) { static char *const a = arena(2 * n * page); at_ = a; }
	void ready() override
	{
		for (std::size_t i = 0; i < n; i++) {
			map(at_ + 2 * i * page, page);
			touch(at_ + 2 * i * page);
		}
	}
	std::uint64_t once() override
	{
		// Not fork(), which takes locks of the library.
		const pid_t pid = _Fork();

		if (pid < 0)
			die("fork");
		if (!pid)
			_exit(0);
		reap(pid);
		return 1;
	}

private:
	static constexpr std::size_t n = 100;
	char *at_;
};

struct alignas(128) Count {
	std::uint64_t done, time;
};

void work(Op &op, Count &count, pthread_barrier_t *together)
{
	pthread_barrier_wait(together);
	const std::uint64_t begin = now() + std::uint64_t(native::quick ? 5e6 : 50e6);
	const std::uint64_t end = begin + std::uint64_t(native::quick ? 20e6 : 150e6);
	std::uint64_t t, d;

	// Before it counts, a while to warm up.
	do {
		op.before();
		t = now();
		const std::uint64_t n = op.once();

		d = now() - t;
		op.after();
		if (t >= begin) {
			count.done += n;
			count.time += d;
		}
	} while (t < begin || t + d < end);
}

template <typename T, Tasks tasks> void scale(Run &run, const char *line)
{
	const std::vector<int> cpus = native::allowed_cpus();
	const unsigned n = run.size;
	auto *const counts = shared<Count>(n);
	auto *const together = shared<pthread_barrier_t>();
	pthread_barrierattr_t attr;
	std::vector<std::unique_ptr<Op>> ops;

	pthread_barrierattr_init(&attr);
	pthread_barrierattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	pthread_barrier_init(together, &attr, n);
	for (unsigned i = 0; i < n; i++)
		ops.push_back(std::make_unique<T>(n));
	if constexpr (tasks == Tasks::threads) {
		std::vector<std::jthread> threads;

		for (unsigned i = 0; i < n; i++)
			// What all threads of a Fork share is made once.
			if (!i || !std::is_same_v<T, Fork>)
				ops[i]->ready();
		for (unsigned i = 0; i < n; i++)
			threads.emplace_back([&, i] {
				native::pin(cpus[i]);
				work(*ops[i], counts[i], together);
			});
	} else {
		std::vector<pid_t> pids;

		for (unsigned i = 0; i < n; i++)
			pids.push_back(child([&] {
				prctl(PR_SET_PDEATHSIG, SIGKILL);
				native::pin(cpus[i]);
				ops[i]->ready();
				work(*ops[i], counts[i], together);
			}));
		for (pid_t pid : pids)
			reap(pid);
	}

	double rate = 0;

	for (unsigned i = 0; i < n; i++)
		rate += counts[i].done * 1e9 / counts[i].time;
	run.value(line, rate, "ops/s");
}

template <typename T, Tasks tasks, const char *name> void row(Run &run)
{
	scale<T, tasks>(run, name);
}

constexpr char touch_t[] = "touch_threads", touch_p[] = "touch_processes",
	       map_t[] = "map_threads", map_p[] = "map_processes",
	       fork_t[] = "fork_threads", fork_p[] = "fork_processes",
	       fault_t[] = "fault_threads", fault_p[] = "fault_processes";

} // namespace

std::vector<native::Row> native::scale_rows(unsigned processors)
{
	std::vector<long> sizes;

	for (unsigned n = 1; n < processors; n *= 2)
		sizes.push_back(n);
	sizes.push_back(processors);
	return {
		{touch_t, sizes, row<Touch, Tasks::threads, touch_t>, "first touch of small mappings, by SIZE threads", true},
		{touch_p, sizes, row<Touch, Tasks::processes, touch_p>, "the same, by SIZE processes", true},
		{map_t, sizes, row<Map, Tasks::threads, map_t>, "mmap, touch and munmap, by SIZE threads", true},
		{map_p, sizes, row<Map, Tasks::processes, map_p>, "the same, by SIZE processes", true},
		{fork_t, sizes, row<Fork, Tasks::threads, fork_t>, "fork and exit with 100 mappings, by SIZE threads", true},
		{fork_p, sizes, row<Fork, Tasks::processes, fork_p>, "the same, by SIZE processes", true},
		{fault_t, sizes, row<Fault, Tasks::threads, fault_t>, "page faults in big mappings, by SIZE threads", true},
		{fault_p, sizes, row<Fault, Tasks::processes, fault_p>, "the same, by SIZE processes", true},
	};
}
