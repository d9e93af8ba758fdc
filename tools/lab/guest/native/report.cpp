// SPDX-License-Identifier: GPL-2.0

#include "report.h"
#include "stats.h"

#include <algorithm>
#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <sstream>

namespace {

// What the file of --record begins with; the number is that of the rows' meaning.
constexpr const char *magic = "# bench-native samples 1";
constexpr const char *end_mark = "# end";

std::string format(const char *how, ...) __attribute__((format(printf, 1, 2)));
std::string format(const char *how, ...)
{
	char text[512];
	va_list args;

	va_start(args, how);
	std::vsnprintf(text, sizeof(text), how, args);
	va_end(args);
	return text;
}

// A time in the row's unit, which may be its inverse.
std::string in_unit(double ns, const std::string &unit, const char *how_ns, const char *how_ops)
{
	char text[64];
	const bool ops = unit == "ops/s";

	std::snprintf(text, sizeof(text), ops ? how_ops : how_ns, ops ? 1e9 / ns : ns);
	return text;
}

std::string shown(double ns, const std::string &unit)
{
	return in_unit(ns, unit, "%12.1f", "%12.0f");
}

std::string shown(const stats::Estimate &e)
{
	if (e.covers <= 0)	// of one round
		return format("%8.3f %7s %7s  ", e.value, "-", "-");
	return format("%8.3f %7.3f %7.3f %s", e.value, e.low, e.high,
		      e.differs() && e.covers >= stats::confidence ? "*" : " ");
}

// A line of a table.
std::string line_of(std::string text)
{
	return text.substr(0, text.find_last_not_of(' ') + 1) + "\n";
}

std::string how_sure(double covers)
{
	return format("%.1f%%", 100 * covers);
}

} // namespace

void Results::add(char config, unsigned round, const Value &v)
{
	samples_.push_back({config, round, v});
}

std::vector<Results::Line> Results::lines() const
{
	std::vector<Line> found;

	for (const Sample &s : samples_) {
		const Line line{s.v.line, s.v.unit, s.v.size};

		if (std::find(found.begin(), found.end(), line) == found.end())
			found.push_back(line);
	}
	return found;
}

std::vector<double> Results::times(const Line &line, char config) const
{
	std::vector<double> sum, n;

	for (const Sample &s : samples_) {
		if (s.config != config || Line{s.v.line, s.v.unit, s.v.size} != line)
			continue;
		if (sum.size() < s.round) {
			sum.resize(s.round);
			n.resize(s.round);
		}
		sum[s.round - 1] += s.v.unit == "ops/s" ? 1e9 / s.v.value : s.v.value;
		n[s.round - 1]++;
	}
	for (std::size_t i = 0; i < sum.size(); i++)
		sum[i] /= n[i];
	return sum;
}

std::string Results::samples() const
{
	std::string text = std::string(magic) + "\n# mode: " + mode + "\n# machine: " + machine +
			   "\n# kernel: " + kernel + "\n# rows:";

	for (const std::string &r : rows)
		text += " " + r;
	text += "\nrow,size,config,round,value,unit\n";
	for (const Sample &s : samples_)
		text += format("%s,%ld,%s,%u,%.2f,%s\n", s.v.line.c_str(), s.v.size,
			       s.config == 'b' ? "base" : s.config == '0' ? "0" : "1", s.round, s.v.value,
			       s.v.unit.c_str());
	return text + end_mark + "\n";
}

std::string Results::read(const std::string &path, const Results &with)
{
	std::ifstream f(path);
	std::string line;

	if (!f)
		return std::string("cannot be read: ") + std::strerror(errno);
	if (!std::getline(f, line) || line != magic)
		return "is no file of this program's --record";
	while (std::getline(f, line) && line.starts_with("# ")) {
		const std::size_t colon = line.find(':');
		const std::string key = line.substr(2, colon - 2);
		const std::string value = colon == line.npos ? "" : line.substr(std::min(colon + 2, line.size()));

		if (key == "mode")
			mode = value;
		else if (key == "machine")
			machine = value;
		else if (key == "kernel")
			kernel = value;
		else if (key == "rows") {
			std::istringstream words(value);

			for (std::string w; words >> w;)
				rows.push_back(w);
		}
	}
	if (machine != with.machine)
		return "was recorded on another machine: " + machine + "; this one is " + with.machine;
	if (mode != with.mode)
		return mode == "quick" ? "was recorded with --quick" : "was recorded without --quick";
	for (const std::string &r : with.rows)
		if (std::find(rows.begin(), rows.end(), r) == rows.end())
			return "has no row " + r;
	while (std::getline(f, line)) {
		Sample s;
		char name[64], config[16], unit[16];

		if (line == end_mark)
			return samples_.empty() ? "is empty" : "";
		if (std::sscanf(line.c_str(), "%63[^,],%ld,%15[^,],%u,%lf,%15s", name, &s.v.size, config,
				&s.round, &s.v.value, unit) != 6 || !(s.v.value > 0) || !s.round || s.round > 1000)
			return "has a line that is none: " + line;
		if (config != std::string("base"))
			return "holds results of the patched kernel: one of --record is wanted";
		s.config = 'b';
		s.v.line = name;
		s.v.unit = unit;
		samples_.push_back(s);
	}
	return "is cut short";
}

std::string Results::table(const Results *base, bool control) const
{
	const std::vector<Line> all = lines();
	const std::size_t n = all.empty() ? 0 : times(all[0], '0').size();
	const double covers = stats::median_ranks(n).covers;
	std::size_t differ = 0;
	std::string text = "vm.anon_vma_lazy " + std::string(control ? "the same on both sides" : "1 against 0") + "\n" +
			   machine + "\nLinux " + kernel + "\n" +
			   format("%zu round%s%s\n\n", n, n == 1 ? "" : "s", mode == "quick" ? ", --quick" : "") +
			   format("%-22s %7s %-5s %12s %12s %8s %7s %7s\n", "row", "size", "unit", "0",
				  control ? "0" : "1", "ratio", "from", "to");

	for (const Line &l : all) {
		const std::vector<double> a = times(l, '0'), b = times(l, '1');
		const stats::Estimate e = stats::paired_ratio(a, b);

		differ += e.differs() && covers >= stats::confidence;
		text += line_of(format("%-22s %7ld %-5s %s %s %s", l.name.c_str(), l.size, l.unit.c_str(),
				       shown(stats::median(a), l.unit).c_str(),
				       shown(stats::median(b), l.unit).c_str(), shown(e).c_str()));
	}
	const std::size_t rank = stats::median_ranks(n).rank;

	text += "\nRatio: of times, " + std::string(control ? "second over first" : "1 over 0") +
		", also where the unit is ops/s; less than 1 is faster.\n"
		"It is the median of the rounds' ratios; ";
	if (covers > 0)
		text += "from ... to holds the true one with " + how_sure(covers) + ",\n" +
			format("by ranks (%zu and %zu of %zu).", rank, n + 1 - rank, n);
	else
		text += "of one there is no interval.";
	if (covers < stats::confidence)
		text += "  95% needs 6 rounds.\n";
	else
		text += format("  *: 1 is outside, in %zu rows of %zu.\n"
			       "By chance alone it would be in %.1f.\n",
			       differ, all.size(), (1 - covers) * all.size());
	if (!base)
		return text;

	double least = 1;
	text += "\nAgainst Linux " + base->kernel + "\n\n" +
		format("%-22s %7s %-5s %12s %8s %7s %7s   %8s %7s %7s\n", "row", "size", "unit", "base", "0/base", "from",
		       "to", "1/base", "from", "to");
	for (const Line &l : all) {
		const std::vector<double> b = base->times(l, 'b');
		const stats::Estimate e0 = stats::unpaired_ratio(b, times(l, '0'));
		const stats::Estimate e1 = stats::unpaired_ratio(b, times(l, '1'));

		least = std::min({least, e0.covers, e1.covers});
		text += line_of(format("%-22s %7ld %-5s %s %s %s", l.name.c_str(), l.size, l.unit.c_str(),
				       shown(stats::median(b), l.unit).c_str(), shown(e0).c_str(),
				       shown(e1).c_str()));
	}
	text += "\nThis is between two boots: a difference may be the boot's, which no number of rounds\n"
		"shows.  The ratio is the median of all ratios of a round here and one there, its interval\n"
		"that of Mann and Whitney's test: it holds the true one with " + how_sure(least) + ".\n";
	return text;
}

std::string Results::csv(const Results *base) const
{
	std::string text = "row,size,unit,median_0,median_1,ratio,low,high,covers";

	if (base)
		text += ",median_base,ratio_0_base,low_0_base,high_0_base,ratio_1_base,low_1_base,high_1_base,covers_base";
	text += "\n";
	for (const Line &l : lines()) {
		const std::vector<double> a = times(l, '0'), b = times(l, '1');
		const stats::Estimate e = stats::paired_ratio(a, b);

		text += format("%s,%ld,%s,%s,%s,%.5f,%.5f,%.5f,%.5f", l.name.c_str(), l.size, l.unit.c_str(),
			       in_unit(stats::median(a), l.unit, "%.2f", "%.2f").c_str(),
			       in_unit(stats::median(b), l.unit, "%.2f", "%.2f").c_str(), e.value, e.low, e.high,
			       e.covers);
		if (base) {
			const std::vector<double> c = base->times(l, 'b');
			const stats::Estimate e0 = stats::unpaired_ratio(c, a), e1 = stats::unpaired_ratio(c, b);

			text += format(",%s,%.5f,%.5f,%.5f,%.5f,%.5f,%.5f,%.5f",
				       in_unit(stats::median(c), l.unit, "%.2f", "%.2f").c_str(), e0.value, e0.low, e0.high,
				       e1.value, e1.low, e1.high, std::min(e0.covers, e1.covers));
		}
		text += "\n";
	}
	return text;
}

std::string Results::recorded() const
{
	std::size_t n = 0;
	double covers = 0;
	std::string text = machine + "\nLinux " + kernel + "\n\n" +
			   format("%-22s %7s %-5s %12s %12s %12s\n", "row", "size", "unit", "median", "from", "to");

	for (const Line &l : lines()) {
		const stats::Estimate e = stats::median_estimate(times(l, 'b'));
		const bool ops = l.unit == "ops/s";

		text += format("%-22s %7ld %-5s %s %s %s\n", l.name.c_str(), l.size, l.unit.c_str(),
			       shown(e.value, l.unit).c_str(), shown(ops ? e.high : e.low, l.unit).c_str(),
			       shown(ops ? e.low : e.high, l.unit).c_str());
		covers = e.covers;
		n = times(l, 'b').size();
	}
	text += format("\n%zu round%s; from ... to holds the true median with ", n, n == 1 ? "" : "s") +
		how_sure(covers) + ".\n";
	return text;
}

std::string write_text(const std::string &path, const std::string &text)
{
	std::ofstream f(path);

	f << text;
	f.close();
	return f ? "" : path + " cannot be written: " + std::strerror(errno);
}
