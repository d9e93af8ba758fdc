// SPDX-License-Identifier: GPL-2.0
//
// What was measured, as files and as tables.

#pragma once

#include <string>
#include <utility>
#include <vector>

struct Value {
	std::string line;
	long size;
	double value;
	std::string unit;	// "ns", or "ops/s", of which more is better
};

class Results {
public:
	std::string mode, machine, kernel;
	std::vector<std::string> rows;

	// In the order of measuring; config: '0', '1', or 'b' of --record.
	void add(char config, unsigned round, const Value &v);
	// All values, in the form that read() takes.
	std::string samples() const;
	// -> what is wrong with the file, or that it cannot be compared with these
	std::string read(const std::string &path, const Results &with);

	std::string table(const Results *base, bool control) const;
	std::string csv(const Results *base) const;
	std::string recorded() const;

private:
	struct Sample {
		char config;
		unsigned round;
		Value v;
	};
	struct Line {
		std::string name, unit;
		long size;

		bool operator==(const Line &) const = default;
	};

	std::vector<Line> lines() const;
	// For each round the mean time of an operation, in ns whatever the unit.
	std::vector<double> times(const Line &line, char config) const;

	std::vector<Sample> samples_;
};

// -> what is wrong
std::string write_text(const std::string &path, const std::string &text);
