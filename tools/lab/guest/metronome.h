// SPDX-License-Identifier: GPL-2.0
//
// An emulator with an instruction clock lets a processor run until its next
// timer, and then the other.  A metronome makes these turns short, so that each
// meets the other in the middle of what it does.  Its two periods differ, else
// their phase would decide for good who has how much of the time.

#pragma once

#include <linux/perf_event.h>
#include <sys/syscall.h>
#include <unistd.h>

// It goes on for as long as this process lives.  False: errno says why not.
inline bool metronome()
{
	for (int cpu = 0; cpu < 2; cpu++) {
		perf_event_attr a{};

		a.size = sizeof(a);
		a.type = PERF_TYPE_SOFTWARE;
		a.config = PERF_COUNT_SW_CPU_CLOCK;
		a.sample_period = cpu ? 29009 : 23003;
		if (syscall(SYS_perf_event_open, &a, -1, cpu, -1, PERF_FLAG_FD_CLOEXEC) < 0)
			return false;
	}
	return true;
}
