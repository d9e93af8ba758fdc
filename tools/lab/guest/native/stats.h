// SPDX-License-Identifier: GPL-2.0
//
// Medians, and the intervals that hold what they estimate.  All by ranks: nothing
// is assumed of how times are distributed, and nothing is drawn at random.

#pragma once

#include <cstddef>
#include <vector>

namespace stats {

inline constexpr double confidence = 0.95;

// Of values in order, the interval is from the rank-th to the rank-th from the end.
// It holds the truth with at least this probability, if any does: of few values the
// widest one is taken, and its probability is less than asked for.
struct Ranks {
	std::size_t rank;	// from 1
	double covers;
};

// For the median of n values, by the binomial distribution.
Ranks median_ranks(std::size_t n);
// For the shift between m and n values, among their m * n differences: those of
// Mann and Whitney's test.
Ranks shift_ranks(std::size_t m, std::size_t n);

struct Estimate {
	double value, low, high, covers;

	// Is the interval on one side of 1?
	bool differs() const { return low > 1 || high < 1; }
};

double median(std::vector<double> v);
Estimate median_estimate(std::vector<double> v);
// What b is times a: both have as many values, and b[i] was measured with a[i].
Estimate paired_ratio(const std::vector<double> &a, const std::vector<double> &b);
// The same of values measured apart: the median of all b[j] / a[i] (Hodges and Lehmann).
Estimate unpaired_ratio(const std::vector<double> &a, const std::vector<double> &b);

// True if all of this gives what it has to on known data; says what does not.
bool selftest();

} // namespace stats
