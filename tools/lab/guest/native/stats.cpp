// SPDX-License-Identifier: GPL-2.0

#include "stats.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>
#include <string>

namespace stats {

// The last rank of which not more than this is outside on each side.  Below the first
// value lies tail(0) of the probability, below the k-th tail(0) + ... + tail(k - 1).
static Ranks last_rank(std::size_t most, const std::function<double(std::size_t)> &tail)
{
	const double allowed = (1 - confidence) / 2;
	double below = tail(0);
	std::size_t rank = 1;

	while (rank < most && below + tail(rank) <= allowed)
		below += tail(rank++);
	return {rank, std::max(0.0, 1 - 2 * below)};
}

Ranks median_ranks(std::size_t n)
{
	double p = std::pow(0.5, n);	// that k of n values are below the median
	std::size_t at = 0;

	return last_rank((n + 1) / 2, [&](std::size_t k) {
		for (; at < k; at++)
			p = p * (n - at) / (at + 1);
		return p;
	});
}

Ranks shift_ranks(std::size_t m, std::size_t n)
{
	// p[j][u]: that of i and j values u pairs are in the wrong order.  The largest of
	// all is one of the i, which is then above all j, or one of the j.
	const std::size_t pairs = m * n;
	std::vector<std::vector<double>> p(n + 1, std::vector<double>(pairs + 1));

	for (auto &row : p)
		row[0] = 1;
	for (std::size_t i = 1; i <= m; i++) {
		for (std::size_t j = 1; j <= n; j++) {
			const double of_i = double(i) / (i + j), of_j = double(j) / (i + j);

			// From the end, as p[j][u - j] is still that of i - 1.
			for (std::size_t u = i * j + 1; u-- > 0;)
				p[j][u] = (u >= j ? of_i * p[j][u - j] : 0) + of_j * p[j - 1][u];
		}
		std::fill(p[0].begin() + 1, p[0].end(), 0);
	}
	return last_rank((pairs + 1) / 2, [&](std::size_t u) { return p[n][u]; });
}

double median(std::vector<double> v)
{
	std::sort(v.begin(), v.end());
	return (v[(v.size() - 1) / 2] + v[v.size() / 2]) / 2;
}

static Estimate estimate(std::vector<double> v, Ranks r)
{
	std::sort(v.begin(), v.end());
	return {median(v), v[r.rank - 1], v[v.size() - r.rank], r.covers};
}

Estimate median_estimate(std::vector<double> v)
{
	return estimate(v, median_ranks(v.size()));
}

Estimate paired_ratio(const std::vector<double> &a, const std::vector<double> &b)
{
	std::vector<double> ratios;

	for (std::size_t i = 0; i < a.size(); i++)
		ratios.push_back(b[i] / a[i]);
	return median_estimate(ratios);
}

Estimate unpaired_ratio(const std::vector<double> &a, const std::vector<double> &b)
{
	std::vector<double> ratios;

	for (double x : a)
		for (double y : b)
			ratios.push_back(y / x);
	return estimate(ratios, shift_ranks(a.size(), b.size()));
}

namespace {

bool right;

void is(const std::string &what, double got, double wanted)
{
	if (std::fabs(got - wanted) <= 1e-12)
		return;
	std::printf("%s is %.15g, not %.15g\n", what.c_str(), got, wanted);
	right = false;
}

void is(const std::string &what, Ranks got, std::size_t rank, double covers)
{
	is(what + ": rank", got.rank, rank);
	is(what + ": probability", got.covers, covers);
}

void is(const std::string &what, Estimate got, Estimate wanted)
{
	is(what, got.value, wanted.value);
	is(what + ": from", got.low, wanted.low);
	is(what + ": to", got.high, wanted.high);
	is(what + ": probability", got.covers, wanted.covers);
}

} // namespace

bool selftest()
{
	right = true;
	is("the median of 3", median({3, 1, 2}), 2);
	is("the median of 4", median({4, 1, 3, 2}), 2.5);
	is("the median of 1", median({7}), 7);

	// Of n values 1 of 2^n samples lies all below the median, n have one above, ...
	is("median, 1", median_ranks(1), 1, 0);
	is("median, 2", median_ranks(2), 1, 0.5);
	is("median, 5", median_ranks(5), 1, 1 - 2 * 1 / 32.0);
	is("median, 6", median_ranks(6), 1, 1 - 2 * 1 / 64.0);
	is("median, 8", median_ranks(8), 1, 1 - 2 * 1 / 256.0);
	is("median, 9", median_ranks(9), 2, 1 - 2 * (1 + 9) / 512.0);
	is("median, 15", median_ranks(15), 4, 1 - 2 * (1 + 15 + 105 + 455) / 32768.0);
	is("median, 20", median_ranks(20), 6,
	   1 - 2 * (1 + 20 + 190 + 1140 + 4845 + 15504) / 1048576.0);

	// The critical values of the printed tables, for 5% on both sides: 2 for 5 and 5,
	// 13 for 8 and 8, 64 for 15 and 15, 7 for 5 and 9.  The rank is one more.
	is("shift, 1 and 1", shift_ranks(1, 1), 1, 0);
	is("shift, 3 and 4", shift_ranks(3, 4), 1, 1 - 2 * 1 / 35.0);
	is("shift, 5 and 5", shift_ranks(5, 5), 3, 1 - 2 * (1 + 1 + 2) / 252.0);
	is("shift, 8 and 8: rank", shift_ranks(8, 8).rank, 14);
	is("shift, 15 and 15: rank", shift_ranks(15, 15).rank, 65);
	is("shift, 5 and 9: rank", shift_ranks(5, 9).rank, 8);
	is("shift, 9 and 5: rank", shift_ranks(9, 5).rank, 8);

	is("an interval", median_estimate({9, 1, 8, 2, 7, 3, 6, 4, 5}), {5, 2, 8, 492 / 512.0});
	is("a ratio", paired_ratio({1, 2, 4, 8, 10, 10}, {2, 2, 2, 12, 11, 9}),
	   {1.05, 0.5, 2, 62 / 64.0});
	is("a ratio of values apart", unpaired_ratio({1, 2, 4, 8, 16}, {2, 4, 8, 16, 32}),
	   {2, 0.25, 16, 244 / 252.0});
	is("the other way", unpaired_ratio({2, 4, 8, 16, 32}, {1, 2, 4, 8, 16}),
	   {0.5, 0.0625, 4, 244 / 252.0});
	// Which is on one side of 1 and which is not.
	is("1.01 to 1.03 differs", Estimate{1.02, 1.01, 1.03, 0.95}.differs(), true);
	is("0.97 to 0.99 differs", Estimate{0.98, 0.97, 0.99, 0.95}.differs(), true);
	is("0.99 to 1.01 differs", Estimate{1, 0.99, 1.01, 0.95}.differs(), false);
	return right;
}

} // namespace stats
