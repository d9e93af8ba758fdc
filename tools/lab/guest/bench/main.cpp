// SPDX-License-Identifier: GPL-2.0
//
// The benchmark's program in the guest: what operations on VMAs and anonymous
// pages cost, in instructions where the clock counts those, else nanoseconds.
//
// usage: bench [ROW[:SIZE]]...		(default: all rows for one processor)
//        bench --list
//
// Prints one line for each value:  BENCH LINE SIZE REPETITION VALUE UNIT
// Repetition 0 is to warm up.  Each row at each size has a fresh process.

#include "bench.h"

#include <algorithm>
#include <fstream>

#include <fcntl.h>
#include <linux/membarrier.h>
#include <sys/syscall.h>
#ifdef __x86_64__
#include <cpuid.h>
#endif

namespace bench {

bool instructions;

extern "C" [[gnu::noinline, gnu::noipa]] void bench_begin()
{
	asm volatile("");
}

extern "C" [[gnu::noinline, gnu::noipa]] void bench_end()
{
	asm volatile("");
}

std::uint64_t vmstat(std::string_view name, const std::string &path)
{
	std::ifstream f(path);
	std::string key;
	std::uint64_t value;

	while (f >> key >> value)
		if (key == name)
			return value;
	errno = ENOENT;
	die(path + ": " + std::string(name));
}

void write_file(const char *path, std::string_view what, bool may_fail)
{
	const int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		die(path);
	if (write(fd, what.data(), what.size()) < 0 && !(may_fail && errno == EAGAIN))
		die(path);
	close(fd);
}

// A tick came at some time, and comes again after each period.
static std::uint64_t some_tick, period = ~std::uint64_t{0};

void find_ticks()
{
	for (int i = 0; i < 6; i++) {
		const std::uint64_t was = tick(), last = some_tick;

		while (tick() == was)
			;
		some_tick = now();
		if (last)
			period = std::min(period, some_tick - last);
	}
}

void settle(double phase)
{
	usleep(20000);
	for (int i = 0; i < 2; i++)
		syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0);
	usleep(20000);
	// Most of the wait is slept through, which costs an emulator nothing.
	constexpr std::uint64_t margin = 150000;
	std::uint64_t at = some_tick + std::uint64_t(phase * period), t = now();

	at += (t + 2 * margin - at + period - 1) / period * period;
	usleep((at - t - margin) / 1000);
	while (now() < at)
		;
}

} // namespace bench

namespace {

using namespace bench;

// Does the time stamp counter count instructions?  A loop of two of them knows
// how many there were.  An interrupt may come in between, so the best of some.
bool calibrate()
{
#ifdef __x86_64__
	constexpr std::uint64_t turns = 500000;
	std::uint64_t best = ~std::uint64_t{0};

	for (int i = 0; i < 8; i++) {
		std::uint64_t n = turns;
		const std::uint64_t t = __builtin_ia32_rdtsc();

		asm volatile("1: dec %0\n\tjnz 1b" : "+r"(n) : : "cc");
		const std::uint64_t d = __builtin_ia32_rdtsc() - t;

		if (d < best)
			best = d;
	}
	std::printf("BENCH-CLOCK a loop of %lu instructions took %lu\n",
		    static_cast<unsigned long>(2 * turns), static_cast<unsigned long>(best));
	return best >= 2 * turns && best < 2 * turns + 100;
#else
	return false;
#endif
}

template <typename F> void each_row(F &&f)
{
	for (const auto *rows : {&vma_rows, &page_rows, &wait_rows})
		for (const Row &r : *rows)
			f(r);
}

// As a process that has nothing of what was measured before.
bool run_fresh(const char *self, const Row &r, long size)
{
	const std::string arg = std::string(r.name) + ":" + std::to_string(size);
	int status;

	// Nor its memory in the state that the last row left it in.
	write_file("/proc/sys/vm/drop_caches", "3");
	write_file("/proc/sys/vm/compact_memory", "1");
	write_file("/proc/sys/vm/percpu_pagelist_high_fraction", "1000000");
	write_file("/proc/sys/vm/percpu_pagelist_high_fraction", "0");
	std::fflush(stdout);
	const pid_t pid = fork();
	if (pid < 0)
		die("fork");
	if (!pid) {
		execl(self, self, "--one", arg.c_str(), instructions ? "insn" : "ns", nullptr);
		die(self);
	}
	const std::uint64_t t = now();
	if (waitpid(pid, &status, 0) != pid || status) {
		std::printf("BENCH-FAILED %s ended with status %d\n", arg.c_str(), status);
		return false;
	}
	std::printf("BENCH-DONE %s %.2f s\n", arg.c_str(), (now() - t) / 1e9);
	return true;
}

// Emulated, the clock has to count instructions, or nothing of it repeats.
bool emulated()
{
#ifdef __x86_64__
	constexpr unsigned signature_TCG = 0x54474354;	// "TCGT"
	unsigned a, b, c, d;

	__cpuid(0x40000000, a, b, c, d);
	return b == signature_TCG;
#else
	return false;
#endif
}

} // namespace

int main(int argc, char **argv)
{
	const std::vector<std::string_view> args(argv + 1, argv + argc);
	unsigned found = 0;
	bool failed = false;

	setvbuf(stdout, nullptr, _IOFBF, 1 << 16);
	if (args.size() == 1 && args[0] == "--list") {
		each_row([](const Row &r) {
			std::printf("%s", r.name);
			for (long s : r.sizes)
				std::printf(" %ld", s);
			std::printf("\n");
		});
		return 0;
	}
	if (args.size() == 3 && args[0] == "--one") {
		instructions = args[2] == "insn";
		find_ticks();
		each_row([&](const Row &r) {
			const std::string name = std::string(r.name) + ":";

			if (!args[1].starts_with(name))
				return;
			const long size = std::strtol(args[1].data() + name.size(), nullptr, 10);
			if (std::find(r.sizes.begin(), r.sizes.end(), size) == r.sizes.end())
				return;
			Run run{size, r.reps + 1};
			for (; run.rep < run.reps; run.rep++)
				r.run(run);
		});
		return 0;
	}

	instructions = calibrate();
	if (!instructions && emulated()) {
		errno = 0;
		die("emulated, but the clock does not count instructions");
	}
	each_row([&](const Row &r) {
		for (long s : r.sizes) {
			const std::string with = std::string(r.name) + ":" + std::to_string(s);
			bool wanted = args.empty() && !r.asked;

			for (std::string_view a : args)
				wanted |= a == r.name || a == with;
			if (!wanted)
				continue;
			found++;
			failed |= !run_fresh(argv[0], r, s);
		}
	});
	if (!found) {
		errno = ENOENT;
		die("no row of that name; bench --list has them");
	}
	return failed;
}
