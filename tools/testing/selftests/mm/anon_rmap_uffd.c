// SPDX-License-Identifier: GPL-2.0
/*
 * userfaultfd: pages that change their VMA without any VMA operation, and markers
 * that have to stay with what they mark.
 */
#define _GNU_SOURCE
#include "kselftest_harness.h"
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include "anon_rmap.h"

/* Pages change their VMA without any VMA operation. */
ANON_TEST(uffd_move)
{
	char *p = map_filled(slot(0), NP, SEED);
	char *q = map(slot(1), NP);
	char *r = map(slot(2), NP);
	uint64_t pfn[NP], pfn2[NP];
	struct kid k;
	int fd;

	ASSERT_NE(p, NULL);
	ASSERT_NE(q, NULL);
	ASSERT_NE(r, NULL);
	/* One has pages of its own, the other was not touched yet. */
	fill(r, 0, NP / 2, SEED2);
	fd = uffd_open(UFFD_FEATURE_MOVE);
	if (fd < 0)
		SKIP(return, "no UFFDIO_MOVE");
	ASSERT_EQ(uffd_register(fd, q, bytes(NP), true, false, false), 0);
	ASSERT_EQ(uffd_register(fd, r, bytes(NP), true, false, false), 0);

	begin();
	get_pfns(p, NP, pfn);
	ASSERT_TRUE(uffd_move(fd, q, p, NP));
	get_pfns(q, NP, pfn2);
	EXPECT_EQ(memcmp(pfn, pfn2, sizeof(pfn)), 0);
	ASSERT_TRUE(check(q, 0, NP, SEED));
	ASSERT_TRUE(check_zero(p, NP));
	ASSERT_TRUE(shake(q, NP));
	ASSERT_TRUE(check(q, 0, NP, SEED));
	fill(p, 0, NP, SEED3);

	/* Once more, half of them, to where others are already. */
	ASSERT_TRUE(uffd_move(fd, page(r, NP / 2), page(q, NP / 2), NP / 2));
	ASSERT_EQ(uffd_unregister(fd, q, bytes(NP)), 0);
	ASSERT_EQ(uffd_unregister(fd, r, bytes(NP)), 0);
	for (unsigned int i = 0; i < 2; i++) {
		ASSERT_TRUE(check(p, 0, NP, SEED3));
		ASSERT_TRUE(check(q, 0, NP / 2, SEED));
		ASSERT_TRUE(check_zero(page(q, NP / 2), NP / 2));
		ASSERT_TRUE(check(r, 0, NP / 2, SEED2));
		ASSERT_TRUE(check(page(r, NP / 2), NP / 2, NP / 2, SEED));
		ASSERT_TRUE(shake(p, NP));
		ASSERT_TRUE(shake(q, NP / 2));
		ASSERT_TRUE(shake(r, NP));
	}

	/* Swap entries are moved as well. */
	if (env->swap) {
		ASSERT_EQ(munmap(q, bytes(NP)), 0);
		ASSERT_NE(map(q, NP), NULL);
		ASSERT_EQ(uffd_register(fd, q, bytes(NP), true, false, false),
			  0);
		ASSERT_TRUE(swap_out(r, NP));
		ASSERT_TRUE(uffd_move(fd, q, r, NP));
		ASSERT_EQ(uffd_unregister(fd, q, bytes(NP)), 0);
		ASSERT_TRUE(check(q, 0, NP / 2, SEED2));
		ASSERT_TRUE(check(page(q, NP / 2), NP / 2, NP / 2, SEED));
		ASSERT_TRUE(check_zero(r, NP));
		r = q;
	}

	if (kid_spawn(&k)) {
		bool ok = check(r, 0, NP / 2, SEED2);

		ok &= check(page(r, NP / 2), NP / 2, NP / 2, SEED);
		kid_pause(&k, ok);
		ok = check(r, 0, NP / 2, SEED2);
		ok &= check(page(r, NP / 2), NP / 2, NP / 2, SEED);
		kid_exit(ok && check(p, 0, NP, SEED3));
	}
	ASSERT_GT(k.pid, 0);
	ASSERT_TRUE(kid_paused(&k));
	if (env->numa) {
		ASSERT_TRUE(migrate_to(0, r, NP, env->node[1],
				       MPOL_MF_MOVE_ALL));
		EXPECT_TRUE(shared(getpid(), r, k.pid, r, NP, NP));
	}
	/* p, whose pages went, and the last to have them, by their parent. */
	ASSERT_EQ(munmap(p, bytes(NP)), 0);
	ASSERT_TRUE(check(r, 0, NP / 2, SEED2));
	ASSERT_TRUE(check(page(r, NP / 2), NP / 2, NP / 2, SEED));
	ASSERT_TRUE(kid_finish(&k));
	ASSERT_TRUE(shake(r, NP));
	ASSERT_TRUE(check(r, 0, NP / 2, SEED2));
	ASSERT_TRUE(check(page(r, NP / 2), NP / 2, NP / 2, SEED));
	close(fd);
}

/* UFFDIO_MOVE from one part of what was one VMA to the other, there and back. */
ANON_TEST(group_uffd_move)
{
	const unsigned int half = NP / 2;
	char *p = map_filled(slot(0), NP, SEED);
	char *back = page(p, half);
	int fd;

	ASSERT_NE(p, NULL);
	fd = uffd_open(UFFD_FEATURE_MOVE);
	if (fd < 0)
		SKIP(return, "no UFFDIO_MOVE");
	ASSERT_EQ(madvise(back, bytes(half), MADV_DONTNEED), 0);

	begin();
	/* To watch a part is to split it off. */
	ASSERT_EQ(uffd_register(fd, back, bytes(half), true, false, false), 0);
	EXPECT_EQ(count_vmas(p, NP), 2);
	ASSERT_TRUE(uffd_move(fd, back, p, half));
	ASSERT_TRUE(sound(back, 0, half, SEED));
	ASSERT_TRUE(check_zero(p, half));
	fill(p, 0, half, SEED2);
	ASSERT_TRUE(sound(p, 0, half, SEED2));
	ASSERT_TRUE(check(back, 0, half, SEED));
	ASSERT_EQ(uffd_unregister(fd, back, bytes(half)), 0);
	EXPECT_EQ(count_vmas(p, NP), 1);

	ASSERT_EQ(madvise(p, bytes(half), MADV_DONTNEED), 0);
	ASSERT_EQ(uffd_register(fd, p, bytes(half), true, false, false), 0);
	EXPECT_EQ(count_vmas(p, NP), 2);
	/* Half of them as swap entries. */
	if (env->swap)
		ASSERT_TRUE(swap_out(back, half / 2));
	ASSERT_TRUE(uffd_move(fd, p, back, half));
	ASSERT_EQ(uffd_unregister(fd, p, bytes(half)), 0);
	EXPECT_EQ(count_vmas(p, NP), 1);
	ASSERT_TRUE(sound(p, 0, half, SEED));
	ASSERT_TRUE(check_zero(back, half));
	close(fd);
}

static bool uffd_protect(int fd, char *p, unsigned int n, bool protect)
{
	struct uffdio_writeprotect wp = {
		.range.start = (unsigned long)p,
		.range.len = bytes(n),
		.mode = protect ? UFFDIO_WRITEPROTECT_MODE_WP : 0,
	};

	return !ioctl(fd, UFFDIO_WRITEPROTECT, &wp);
}

/* Marks stay with pages, and where there are none, when a VMA is cut and put together. */
ANON_TEST(group_uffd_wp)
{
	const unsigned int half = NP / 2;
	char *p = map_filled(slot(0), NP, SEED);
	char *back = page(p, half);
	int fd;

	ASSERT_NE(p, NULL);
	ASSERT_EQ(madvise(page(p, half - 2), bytes(4), MADV_DONTNEED), 0);
	fd = uffd_open(UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_WP_UNPOPULATED);
	if (fd < 0 || uffd_register(fd, p, bytes(NP), false, true, false))
		SKIP(return, "no UFFDIO_WRITEPROTECT");

	begin();
	for (unsigned int i = 0; i < NP; i += 4)
		ASSERT_TRUE(uffd_protect(fd, page(p, i), 1, true));
	ASSERT_TRUE(uffd_protect(fd, page(p, half - 2), 4, true));
	ASSERT_EQ(mprotect(back, bytes(half), PROT_READ), 0);
	for (unsigned int i = 0; i < 2; i++) {
		if (i)
			ASSERT_EQ(mprotect(back, bytes(half), PROT_READ | PROT_WRITE), 0);
		EXPECT_EQ(count_vmas(p, NP), i ? 1 : 2);
		/* Once as they were left, once as swapped in. */
		for (unsigned int j = 0; j < 2; j++) {
			for (unsigned int l = 0; l < NP; l++) {
				bool marked = l % 4 == 0 || (l >= half - 2 && l < half + 2);

				ASSERT_EQ(count_entries(getpid(), page(p, l), 1, PM_UFFD_WP),
					  marked)
					TH_LOG("round %u %u page %u", i, j, l);
			}
			ASSERT_TRUE(sound(p, 0, half - 2, SEED));
			ASSERT_TRUE(sound(page(p, half + 2), half + 2, half - 2, SEED));
		}
	}
	ASSERT_TRUE(uffd_protect(fd, p, NP, false));
	EXPECT_EQ(count_entries(getpid(), p, NP, PM_UFFD_WP), 0);
	ASSERT_EQ(uffd_unregister(fd, p, bytes(NP)), 0);
	ASSERT_TRUE(check_zero(page(p, half - 2), 4));
	ASSERT_TRUE(check(p, 0, half - 2, SEED));
	ASSERT_TRUE(check(page(p, half + 2), half + 2, half - 2, SEED));
	fill(p, 0, NP, SEED2);
	ASSERT_TRUE(sound(p, 0, NP, SEED2));
	close(fd);
}

int main(int argc, char **argv)
{
	return env_main(argc, argv, test_harness_run);
}
