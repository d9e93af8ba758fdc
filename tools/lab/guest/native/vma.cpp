// SPDX-License-Identifier: GPL-2.0
//
// Rows about VMAs, on one processor.  A line has the name that the benchmark that counts
// instructions has for the same operation.  There the number of turns is fixed, as they
// are to repeat exactly; here it is what there is time for.

#include "native.h"

#include <algorithm>

namespace {

using namespace bench;
using native::Turns;
using native::row_ms;

// First touch of fresh VMAs of one page each.
void first_touch(Run &run)
{
	constexpr std::size_t chunk = 50;
	const std::size_t n = run.size;
	Turns turns(row_ms(run));
	Meter cost;

	while (turns.more()) {
		const Vmas vmas(n);

		for (std::size_t i = 0; i < n; i += chunk)
			cost([&] {
				for (std::size_t j = i; j < i + chunk; j++)
					touch(vmas[j]);
			});
	}
	run.value("first_touch", cost.mean(chunk));
}

// mmap + touch one page + munmap, beside others that keep the page table there.
void map_touch_unmap(Run &run)
{
	char *const at = arena(huge);
	Turns turns(row_ms(run));
	Meter cost;

	map(at, page);
	touch(at);
	while (turns.more())
		for (int i = 0; i < 20; i++)
			cost([&] {
				char *const p = map(at + 2 * page, page);

				touch(p);
				munmap(p, page);
			});
	run.value("map_touch_unmap", cost.mean());
}

// Touch of a further page of a VMA that has one.
void touch_again(Run &run)
{
	constexpr std::size_t chunk = 50;
	const std::size_t pages = run.size;
	char *const at = map(arena((pages + 1) * page), (pages + 1) * page);
	Turns turns(row_ms(run));
	Meter cost;

	while (turns.more()) {
		madvise(at, (pages + 1) * page, MADV_DONTNEED);
		touch(at);
		for (std::size_t i = 1; i <= pages; i += chunk)
			cost([&] { touch(at + i * page, chunk); });
	}
	run.value("touch_again", cost.mean(chunk));
}

// fork + exit of a process with touched VMAs, the child's end waited for: the
// first time and the tenth.
void fork_exit(Run &run)
{
	auto *const cost = shared<Meter>(10);
	Turns turns(2 * row_ms(run));

	std::fill(cost, cost + 10, Meter());
	while (turns.more())
		in_child([&] {
			const Vmas vmas(run.size);

			vmas.touch();
			for (int i = 0; i < 10; i++) {
				settle();
				cost[i]([] { in_child([] {}); });
			}
		});
	run.value("fork_first", cost[0].mean());
	run.value("fork_tenth", cost[9].mean());
}

// The same, but that the child becomes another program, which does nothing.
void fork_exec(Run &run)
{
	const Vmas vmas(run.size);
	Turns turns(row_ms(run));
	Meter cost;

	vmas.touch();
	while (turns.more()) {
		settle();
		cost([] {
			in_child([] {
				execl("/proc/self/exe", "native", "--nothing", nullptr);
				die("exec of this program");
			});
		});
	}
	run.value("fork_exec_exit", cost.mean());
}

// The end of a process with touched VMAs, per VMA.
void exit_vmas(Run &run)
{
	auto *const t = shared<std::uint64_t>();
	Turns turns(2 * row_ms(run));
	std::uint64_t sum = 0, n = 0;

	while (turns.more()) {
		in_child([&] {
			const auto *const vmas = new Vmas(run.size);

			vmas->touch();
			settle();
			*t = start();
			_exit(0);
		});
		sum += since(*t);
		n++;
	}
	run.value("exit", double(sum) / n / run.size);
}

// mprotect that splits a VMA of three parts, all touched, in three; and merges
// it again.  Each VMA the first time, and again.
void mprotect_split(Run &run)
{
	const std::size_t part = run.size, n = part < 100 ? 20 : 5;
	Turns turns(2 * row_ms(run));
	Meter cost[4];

	while (turns.more()) {
		const Vmas vmas(n, 3 * part);

		vmas.touch();
		for (int i = 0; i < 4; i++)
			for (std::size_t j = 0; j < n; j++)
				cost[i]([&] {
					if (mprotect(vmas[j] + part * page, part * page,
						     i % 2 ? PROT_READ | PROT_WRITE : PROT_READ))
						die("mprotect");
				});
	}
	run.value("mprotect_split", cost[0].mean());
	run.value("mprotect_merge", cost[1].mean());
	run.value("mprotect_split_again", cost[2].mean());
	run.value("mprotect_merge_again", cost[3].mean());
}

// mremap to another place, and back: of one page, of 512 page by page as they are not
// aligned alike, and of 1 GiB with a page in each table.
void move_vma(Run &run)
{
	const std::size_t pages = run.size, n = pages == 1 ? 20 : pages == 512 ? 5 : 1;
	const std::size_t bytes = pages * page, stride = pages == 1 ? 2 * page : bytes + huge;
	char *const from = arena(n * stride);
	char *const to = arena(n * stride + huge) + (pages == 512 ? 16 * page : pages == 1 ? 0 : huge);
	Turns turns(2 * row_ms(run));
	Meter cost[2];

	while (turns.more()) {
		for (std::size_t i = 0; i < n; i++) {
			map(from + i * stride, bytes);
			for (std::size_t j = 0; j < bytes; j += pages > 512 ? huge : page)
				touch(from + i * stride + j);
		}
		for (int back = 0; back < 2; back++)
			for (std::size_t i = 0; i < n; i++)
				cost[back]([&] {
					if (mremap((back ? to : from) + i * stride, bytes, bytes,
						   MREMAP_MAYMOVE | MREMAP_FIXED,
						   (back ? from : to) + i * stride) == MAP_FAILED)
						die("mremap");
				});
		munmap(from, n * stride);
	}
	run.value("mremap", cost[0].mean());
	run.value("mremap_again", cost[1].mean());
}

} // namespace

const std::vector<native::Row> native::vma_rows = {
	{"first_touch", {100, 1000, 10000}, first_touch, "first touch of SIZE mappings, each"},
	{"map_touch_unmap", {1}, map_touch_unmap, "mmap, touch and munmap of a page"},
	{"touch_again", {100, 10000}, touch_again, "page fault in one mapping of SIZE pages"},
	{"fork_exit", {50, 500, 5000}, fork_exit, "fork and exit, with SIZE mappings: 1st, 10th time"},
	{"fork_exec", {50, 500, 5000}, fork_exec, "fork, exec and exit, with SIZE mappings"},
	{"exit", {100, 1000, 10000}, exit_vmas, "exit of a process, each of SIZE mappings"},
	{"mprotect", {1, 10, 100}, mprotect_split, "mprotect that splits and merges, thirds of SIZE pages"},
	{"mremap", {1, 512, 262144}, move_vma, "mremap of SIZE pages, and back"},
};
