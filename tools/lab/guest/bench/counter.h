// SPDX-License-Identifier: GPL-2.0
//
// Counts of what happens in the kernel, by its perf events.

#pragma once

#include "bench.h"

#include <fstream>

#include <linux/perf_event.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

namespace bench {

// A number that is all there is in a file.
inline std::uint64_t number_in(const char *path)
{
	std::ifstream f(path);
	std::uint64_t v;

	if (!(f >> v))
		die(path);
	return v;
}

inline int perf_open(perf_event_attr &a, pid_t pid, int cpu)
{
	a.size = sizeof(a);
	const int fd = syscall(SYS_perf_event_open, &a, pid, cpu, -1, PERF_FLAG_FD_CLOEXEC);

	if (fd < 0)
		die("perf_event_open");
	return fd;
}

// Counts what this thread does, and those that it starts later.
class Counter {
public:
	Counter(std::uint32_t type, std::uint64_t config, const char *filter,
		const char *kprobe = nullptr)
	{
		perf_event_attr a{};

		a.type = type;
		a.config = config;
		a.inherit = 1;
		a.kprobe_func = reinterpret_cast<std::uintptr_t>(kprobe);
		fd_ = perf_open(a, 0, -1);
		if (filter && ioctl(fd_, PERF_EVENT_IOC_SET_FILTER, filter))
			die("a filter for perf");
	}
	~Counter() { close(fd_); }
	Counter(const Counter &) = delete;
	Counter &operator=(const Counter &) = delete;
	std::uint64_t read() const
	{
		std::uint64_t v = 0;

		if (::read(fd_, &v, sizeof(v)) != sizeof(v))
			die("read from perf");
		return v;
	}

private:
	int fd_;
};

// How often the mmap lock is asked for to read, if only by trying it.
inline Counter read_locks()
{
	return {PERF_TYPE_TRACEPOINT,
		number_in("/sys/kernel/tracing/events/mmap_lock/mmap_lock_acquire_returned/id"),
		"write==0"};
}

// How often this thread had to wait for a lock of any kind.
inline Counter waits()
{
	return {PERF_TYPE_TRACEPOINT, number_in("/sys/kernel/tracing/events/lock/contention_begin/id"),
		nullptr};
}

// Faults that could not be handled under the VMA lock.
inline Counter fallbacks()
{
	return {static_cast<std::uint32_t>(number_in("/sys/bus/event_source/devices/kprobe/type")),
		0, nullptr, "lock_mm_and_find_vma"};
}

} // namespace bench
