// SPDX-License-Identifier: GPL-2.0
//
// What the rows of the benchmark share: the clock, places for VMAs, children.

#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

namespace bench {

inline constexpr std::size_t page = 4096;
inline constexpr std::size_t huge = 512 * page;

[[noreturn]] inline void die(const std::string &what)
{
	std::fprintf(stderr, "bench: %s: %s\n", what.c_str(), std::strerror(errno));
	std::printf("BENCH-FAILED %s: %s\n", what.c_str(), std::strerror(errno));
	std::fflush(stdout);
	_exit(1);
}

// The clock.  Emulated with an instruction clock the time stamp counter counts
// instructions, which main() makes sure of; elsewhere it is nanoseconds.
extern bool instructions;

inline std::uint64_t now()
{
#ifdef __x86_64__
	if (instructions)
		return __builtin_ia32_rdtsc();
#endif
	timespec t;
	clock_gettime(CLOCK_MONOTONIC_RAW, &t);
	return t.tv_sec * std::uint64_t{1000000000} + t.tv_nsec;
}

// What is measured lies between these two, so that a profile can be made of it.
extern "C" void bench_begin(), bench_end();

inline std::uint64_t start()
{
	bench_begin();
	return now();
}

inline std::uint64_t since(std::uint64_t t)
{
	t = now() - t;
	bench_end();
	return t;
}

// Lets what was put off end: what RCU frees, what kernel threads were given.
// Then waits for a timer tick, and for this part of the time until the next, so
// that what takes longer than that meets ticks as often as it does on average.
void settle(double phase = 0);
void find_ticks();

// How often the tick has come; reading it costs some twenty instructions.
inline std::uint64_t tick()
{
	timespec t;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
	return t.tv_sec * std::uint64_t{1000000000} + t.tv_nsec;
}

// The mean of many short operations, without those that a tick came into.
class Meter {
public:
	template <typename F> void operator()(F &&f)
	{
		const std::uint64_t before = tick(), t = start();

		f();
		const std::uint64_t d = since(t);

		all_ += d;
		n_++;
		if (tick() == before) {
			calm_ += d;
			calm_n_++;
		}
	}
	// Of each of the parts of an operation; if there was a tick in all, with them.
	double mean(double parts = 1) const
	{
		return (calm_n_ ? double(calm_) / calm_n_ : double(all_) / n_) / parts;
	}

private:
	std::uint64_t all_ = 0, n_ = 0, calm_ = 0, calm_n_ = 0;
};

// One row's run: so many repetitions at one size, of which the first is to warm
// up.  A repetition gives one value for each of the row's lines in the table.
struct Run {
	long size;
	unsigned reps;
	unsigned rep = 0;

	// Where between two ticks to start, spread over the repetitions.
	double phase() const { return rep ? double(rep - 1) / (reps - 1) : 0; }
	void value(const char *line, double v, const char *unit = nullptr) const
	{
		std::printf("BENCH %s %ld %u %.2f %s\n", line, size, rep, v,
			    unit ? unit : instructions ? "insn" : "ns");
	}
};

struct Row {
	const char *name;
	std::vector<long> sizes;
	unsigned reps;
	void (*run)(Run &);
	bool asked = false;	// only when asked for: wants two processors, or fails
};

extern const std::vector<Row> vma_rows, page_rows, wait_rows;

// Addresses far from all else; each call gets fresh page tables below.
inline char *arena(std::size_t bytes)
{
	static std::uintptr_t next = 0x200000000000;
	const std::uintptr_t at = next;

	next += (bytes + (std::size_t{2} << 30)) & ~((std::size_t{1} << 30) - 1);
	return reinterpret_cast<char *>(at);
}

inline char *map(char *at, std::size_t bytes, int prot = PROT_READ | PROT_WRITE)
{
	void *const p = mmap(at, bytes, prot,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE |
				     (at ? MAP_FIXED_NOREPLACE : 0), -1, 0);

	if (p == MAP_FAILED)
		die("mmap");
	return static_cast<char *>(p);
}

inline void touch(char *p)
{
	*reinterpret_cast<volatile char *>(p) = 1;
}

inline void touch(char *p, std::size_t pages)
{
	for (std::size_t i = 0; i < pages; i++)
		touch(p + i * page);
}

// N VMAs of some pages each, kept apart by a hole.
class Vmas {
public:
	Vmas(std::size_t n, std::size_t pages = 1)
		: n_(n), pages_(pages), at_(arena(n * (pages + 1) * page))
	{
		map();
	}
	~Vmas() { unmap(); }
	Vmas(const Vmas &) = delete;
	Vmas &operator=(const Vmas &) = delete;

	char *operator[](std::size_t i) const { return at_ + i * (pages_ + 1) * page; }
	std::size_t size() const { return n_; }
	std::size_t pages() const { return pages_; }

	void map()
	{
		for (std::size_t i = 0; i < n_; i++)
			bench::map((*this)[i], pages_ * page);
	}
	void unmap() { munmap(at_, n_ * (pages_ + 1) * page); }
	void touch() const
	{
		for (std::size_t i = 0; i < n_; i++)
			bench::touch((*this)[i], pages_);
	}

private:
	std::size_t n_, pages_;
	char *at_;
};

// What a child may write its results to.
template <typename T> T *shared(std::size_t n = 1)
{
	void *const p = mmap(nullptr, n * sizeof(T), PROT_READ | PROT_WRITE,
			     MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		die("mmap of shared memory");
	return static_cast<T *>(p);
}

inline void reap(pid_t pid)
{
	int status;

	if (waitpid(pid, &status, 0) != pid)
		die("waitpid");
	if (status) {
		errno = ECHILD;
		die("a child failed, status " + std::to_string(status));
	}
}

template <typename F> pid_t child(F &&f)
{
	std::fflush(nullptr);
	const pid_t pid = fork();

	if (pid < 0)
		die("fork");
	if (!pid) {
		f();
		_exit(0);
	}
	return pid;
}

template <typename F> void in_child(F &&f)
{
	reap(child(f));
}

// A number out of /proc/vmstat or a file like it.
std::uint64_t vmstat(std::string_view name, const std::string &path = "/proc/vmstat");
// Write to a file of the kernel's; may_fail: EAGAIN is no failure.
void write_file(const char *path, std::string_view what, bool may_fail = false);

} // namespace bench
