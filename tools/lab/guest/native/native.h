// SPDX-License-Identifier: GPL-2.0
//
// What the files of the benchmark for hardware share.  Places for VMAs, the clock
// and children are those of the benchmark that counts instructions.

#pragma once

#include "../bench/bench.h"

#include <vector>

namespace native {

// One row: what is measured at each of these sizes.  A run gives one value for each of
// its lines in the table.
struct Row {
	const char *name;
	std::vector<long> sizes;
	void (*run)(bench::Run &);
	const char *what;
	bool scales = false;	// its sizes are numbers of processors
};

extern const std::vector<Row> vma_rows;
// The rows about scaling, from one processor to this many.
std::vector<Row> scale_rows(unsigned processors);

// The processors that this program was started on, in order.
std::vector<int> allowed_cpus();
void pin(int cpu);

// A run of seconds: less of everything.
extern bool quick;

// Operations are repeated until their time is over, so that a run takes as long on
// any machine; but once at least.
class Turns {
public:
	explicit Turns(double ms) : end_(bench::now() + std::uint64_t(ms * 1e6)) {}
	bool more()
	{
		const bool first = !turns_++;

		return first || bench::now() < end_;
	}

private:
	std::uint64_t end_, turns_ = 0;
};

// How many milliseconds a row on one processor goes on; the first repetition is to
// warm up, if there is another.
inline double row_ms(const bench::Run &run)
{
	return quick ? 2 : run.rep ? 50 : 10;
}

} // namespace native
