// SPDX-License-Identifier: GPL-2.0
/*
 * VMAs that are split, merged, unmapped in part, or grow: each page stays what it
 * was, and is found where it is mapped.
 */
#define _GNU_SOURCE
#include "kselftest_harness.h"
#include "anon_rmap.h"

ANON_TEST(split_mprotect)
{
	char *p = map_filled(slot(0), NP, SEED);
	const unsigned int a = NP / 4, b = NP / 2;

	ASSERT_NE(p, NULL);
	begin();
	ASSERT_EQ(mprotect(page(p, a), bytes(b), PROT_READ), 0);
	EXPECT_EQ(count_vmas(p, NP), 3);
	ASSERT_TRUE(check(p, 0, NP, SEED));
	ASSERT_TRUE(shake(p, NP));
	ASSERT_TRUE(check(p, 0, NP, SEED));

	ASSERT_EQ(mprotect(page(p, a), bytes(b), PROT_READ | PROT_WRITE), 0);
	EXPECT_EQ(count_vmas(p, NP), 1);
	fill(p, 0, NP, SEED2);
	ASSERT_TRUE(shake(p, NP));
	ASSERT_TRUE(check(p, 0, NP, SEED2));

	/* However often, and with pages that are not there. */
	for (unsigned int i = 0; i < 20; i++) {
		unsigned int from = i % 8;

		ASSERT_EQ(mprotect(page(p, from), bytes(b), PROT_NONE), 0);
		EXPECT_EQ(count_vmas(p, NP), from ? 3 : 2);
		ASSERT_EQ(mprotect(page(p, from), bytes(b),
				   PROT_READ | PROT_WRITE), 0);
		EXPECT_EQ(count_vmas(p, NP), 1);
		ASSERT_TRUE(check(page(p, from), from, b, SEED2));
	}
	ASSERT_TRUE(sound(p, 0, NP, SEED2));
	ASSERT_TRUE(check(p, 0, NP, SEED2));
}

/* A VMA is left by some of its pages at one end, at the other, or between. */
ANON_TEST(split_munmap)
{
	static const struct {
		unsigned int from, n;
	} cut[] = {
		{ 0, NP / 4 },
		{ NP / 4, NP / 2 },
		{ NP - NP / 4, NP / 4 },
	};
	const unsigned int nr = ARRAY_SIZE(cut);
	char *p[ARRAY_SIZE(cut)];

	for (unsigned int i = 0; i < nr; i++) {
		p[i] = map_filled(slot(i), NP, SEED + i);
		ASSERT_NE(p[i], NULL);
	}
	begin();
	for (unsigned int i = 0; i < nr; i++) {
		unsigned int from = cut[i].from, n = cut[i].n;
		unsigned int end = from + n;

		ASSERT_EQ(munmap(page(p[i], from), bytes(n)), 0);
		EXPECT_EQ(count_vmas(p[i], NP), 1 + (from && end < NP));
		ASSERT_TRUE(check(p[i], 0, from, SEED + i));
		ASSERT_TRUE(check(page(p[i], end), end, NP - end, SEED + i));
		if (from)
			ASSERT_TRUE(shake(p[i], from));
		if (end < NP)
			ASSERT_TRUE(shake(page(p[i], end), NP - end));
		ASSERT_TRUE(check(p[i], 0, from, SEED + i));
		ASSERT_TRUE(check(page(p[i], end), end, NP - end, SEED + i));

		/* Fill the hole: all is one VMA again, with fresh pages there. */
		ASSERT_NE(map(page(p[i], from), n), NULL);
		ASSERT_TRUE(check_zero(page(p[i], from), n));
		fill(page(p[i], from), from, n, SEED + i);
		EXPECT_EQ(count_vmas(p[i], NP), 1);
		ASSERT_TRUE(shake(p[i], NP));
		ASSERT_TRUE(check(p[i], 0, NP, SEED + i));
	}
}

ANON_TEST(split_madvise)
{
	char *p = map_filled(slot(0), NP, SEED);

	ASSERT_NE(p, NULL);
	begin();
	ASSERT_EQ(madvise(page(p, NP / 4), bytes(NP / 2), MADV_DONTDUMP), 0);
	EXPECT_EQ(count_vmas(p, NP), 3);
	ASSERT_TRUE(check(p, 0, NP, SEED));
	ASSERT_TRUE(shake(p, NP));
	ASSERT_EQ(madvise(page(p, NP / 4), bytes(NP / 2), MADV_DODUMP), 0);
	EXPECT_EQ(count_vmas(p, NP), 1);
	ASSERT_TRUE(check(p, 0, NP, SEED));
}

/* Both ends of a split are forked, and split again in the child. */
ANON_TEST(split_fork)
{
	char *p = map_filled(slot(0), NP, SEED);
	struct kid k;

	ASSERT_NE(p, NULL);
	begin();
	ASSERT_EQ(mprotect(page(p, NP / 2), bytes(NP / 2), PROT_READ), 0);
	if (kid_spawn(&k)) {
		bool ok = check(p, 0, NP, SEED);

		/* The child's own VMA: its own pages and its parent's. */
		fill(page(p, 2), 2, NP / 4, SEED2);
		ok &= !munmap(page(p, 4), bytes(2));
		ok &= !munmap(page(p, NP - 4), bytes(2));
		kid_pause(&k, ok);
		ok = check(p, 0, 2, SEED);
		ok &= check(page(p, 2), 2, 2, SEED2);
		ok &= check(page(p, 6), 6, NP / 4 - 4, SEED2);
		ok &= check(page(p, 2 + NP / 4), 2 + NP / 4,
			    NP - 6 - NP / 4, SEED);
		ok &= check(page(p, NP - 2), NP - 2, 2, SEED);
		kid_exit(ok);
	}
	ASSERT_GT(k.pid, 0);
	ASSERT_TRUE(kid_paused(&k));
	ASSERT_TRUE(check(p, 0, NP, SEED));
	if (env->numa) {
		ASSERT_TRUE(migrate_to(0, p, NP, env->node[1],
				       MPOL_MF_MOVE_ALL));
		EXPECT_TRUE(shared(getpid(), p, k.pid, p, NP, NP - NP / 4 - 2));
	}
	ASSERT_EQ(mprotect(page(p, NP / 2), bytes(NP / 2),
			   PROT_READ | PROT_WRITE), 0);
	EXPECT_EQ(count_vmas(p, NP), 1);
	ASSERT_TRUE(check(p, 0, NP, SEED));
	ASSERT_TRUE(kid_finish(&k));
	ASSERT_TRUE(check(p, 0, NP, SEED));
}

/*
 * Two neighbours which differ in what mprotect() can change, and have pages of
 * their own each, become one once they are equal. That is so because the
 * second one's first fault takes up with the first one.
 */
ANON_TEST(merge_neighbour_fault)
{
	for (unsigned int i = 0; i < 2; i++) {
		char *p = slot(2 * i);
		char *first = page(p, i ? NP / 2 : 0);
		char *second = page(p, i ? 0 : NP / 2);

		ASSERT_NE(map(first, NP / 2), NULL);
		fill(first, i ? NP / 2 : 0, NP / 2, SEED);
		ASSERT_EQ(mprotect(first, bytes(NP / 2), PROT_READ), 0);
		ASSERT_NE(map(second, NP / 2), NULL);
		ASSERT_EQ(count_vmas(p, NP), 2);
	}

	begin();
	for (unsigned int i = 0; i < 2; i++) {
		char *p = slot(2 * i);
		char *first = page(p, i ? NP / 2 : 0);
		char *second = page(p, i ? 0 : NP / 2);

		fill(second, i ? 0 : NP / 2, NP / 2, SEED);
		EXPECT_EQ(count_vmas(p, NP), 2);
		ASSERT_TRUE(check(p, 0, NP, SEED));
		ASSERT_EQ(mprotect(first, bytes(NP / 2),
				   PROT_READ | PROT_WRITE), 0);
		EXPECT_EQ(count_vmas(p, NP), 1);
		ASSERT_TRUE(shake(p, NP));
		ASSERT_TRUE(check(p, 0, NP, SEED));
	}
}

/* The VMA without pages swallows the one that has some. */
ANON_TEST(merge_into_unfaulted)
{
	for (unsigned int i = 0; i < 2; i++) {
		char *p = slot(2 * i);
		char *full = page(p, i ? 0 : NP / 2);

		ASSERT_NE(map(full, NP / 2), NULL);
		fill(full, 0, NP / 2, SEED);
		ASSERT_EQ(mprotect(full, bytes(NP / 2), PROT_READ), 0);
		ASSERT_NE(map(page(p, i ? NP / 2 : 0), NP / 2), NULL);
		ASSERT_EQ(count_vmas(p, NP), 2);
	}

	begin();
	for (unsigned int i = 0; i < 2; i++) {
		char *p = slot(2 * i);
		char *full = page(p, i ? 0 : NP / 2);
		char *empty = page(p, i ? NP / 2 : 0);

		ASSERT_EQ(mprotect(full, bytes(NP / 2),
				   PROT_READ | PROT_WRITE), 0);
		EXPECT_EQ(count_vmas(p, NP), 1);
		ASSERT_TRUE(check(full, 0, NP / 2, SEED));
		ASSERT_TRUE(check_zero(empty, NP / 2));
		fill(empty, 0, NP / 2, SEED2);
		ASSERT_TRUE(shake(p, NP));
		ASSERT_TRUE(check(full, 0, NP / 2, SEED));
		ASSERT_TRUE(check(empty, 0, NP / 2, SEED2));
	}
}

/* A VMA without pages between two which have some of their own each. */
ANON_TEST(merge_gap)
{
	char *p = map_filled(slot(0), NP, SEED);
	char *q = map_filled(page(p, 2 * NP), NP, SEED2);
	char *gap = page(p, NP);

	ASSERT_NE(p, NULL);
	ASSERT_NE(q, NULL);
	begin();
	ASSERT_NE(map(gap, NP), NULL);
	/*
	 * It went to one of them. The two of them are of different anon_vmas,
	 * or none, and do not become one on an unpatched kernel.
	 */
	EXPECT_LE(count_vmas(p, 3 * NP), 2);
	ASSERT_TRUE(check_zero(gap, NP));
	fill(gap, 0, NP, SEED3);
	EXPECT_LE(count_vmas(p, 3 * NP), 2);
	ASSERT_TRUE(check(p, 0, NP, SEED));
	ASSERT_TRUE(check(q, 0, NP, SEED2));
	ASSERT_TRUE(shake(p, 3 * NP));
	ASSERT_TRUE(check(p, 0, NP, SEED));
	ASSERT_TRUE(check(gap, 0, NP, SEED3));
	ASSERT_TRUE(check(q, 0, NP, SEED2));
}

/* A new mapping beside a VMA becomes part of it. */
ANON_TEST(merge_new_mapping)
{
	char *p = map_filled(page(slot(0), NP), NP, SEED);
	char *start = slot(0);

	ASSERT_NE(p, NULL);
	begin();
	ASSERT_NE(map(page(p, NP), NP), NULL);
	ASSERT_NE(map(start, NP), NULL);
	EXPECT_EQ(count_vmas(start, 3 * NP), 1);
	fill(start, 0, NP, SEED2);
	fill(page(p, NP), 0, NP, SEED3);
	ASSERT_TRUE(shake(start, 3 * NP));
	ASSERT_TRUE(check(start, 0, NP, SEED2));
	ASSERT_TRUE(check(p, 0, NP, SEED));
	ASSERT_TRUE(check(page(p, NP), 0, NP, SEED3));
}

/*
 * Neighbours that could not take up with each other when they were first
 * faulted, and have become equal since, are two on an unpatched kernel. There
 * may not be more.
 */
ANON_TEST(merge_two_faulted)
{
	char *p = map_filled(slot(0), NP, SEED);
	char *q = page(slot(0), NP);

	ASSERT_NE(p, NULL);
	ASSERT_EQ(madvise(p, bytes(NP), MADV_DONTFORK), 0);
	ASSERT_NE(map(q, NP), NULL);
	begin();
	fill(q, 0, NP, SEED2);
	EXPECT_EQ(count_vmas(p, 2 * NP), 2);
	ASSERT_EQ(madvise(p, bytes(NP), MADV_DOFORK), 0);
	EXPECT_LE(count_vmas(p, 2 * NP), 2);
	ASSERT_TRUE(shake(p, 2 * NP));
	ASSERT_TRUE(check(p, 0, NP, SEED));
	ASSERT_TRUE(check(q, 0, NP, SEED2));

	/* Parts that cross the border, forth and back. */
	for (unsigned int i = 0; i < 4; i++) {
		ASSERT_EQ(mprotect(page(p, NP / 2), bytes(NP), PROT_READ), 0);
		ASSERT_TRUE(check(p, 0, NP, SEED));
		ASSERT_EQ(mprotect(page(p, NP / 2), bytes(NP),
				   PROT_READ | PROT_WRITE), 0);
		EXPECT_LE(count_vmas(p, 2 * NP), 2);
	}
	ASSERT_TRUE(shake(p, 2 * NP));
	ASSERT_TRUE(check(p, 0, NP, SEED));
	ASSERT_TRUE(check(q, 0, NP, SEED2));
}

/* Neighbours in a child, one of which it has from its parent, one is its own. */
ANON_TEST(merge_in_child)
{
	char *p = map_filled(slot(0), NP, SEED);
	char *q = page(slot(0), NP);
	struct kid k;

	ASSERT_NE(p, NULL);
	begin();
	if (kid_spawn(&k)) {
		bool ok;

		/* It is extended, and not shared but in the first part. */
		ok = !!map(q, NP);
		ok &= count_vmas(p, 2 * NP) <= 2;
		fill(q, 0, NP, SEED2);
		fill(p, 0, NP / 2, SEED3);
		ok &= count_vmas(p, 2 * NP) <= 2;
		ok &= !mprotect(page(p, NP / 4), bytes(NP), PROT_READ);
		ok &= !mprotect(page(p, NP / 4), bytes(NP),
				PROT_READ | PROT_WRITE);
		ok &= count_vmas(p, 2 * NP) <= 2;
		kid_pause(&k, ok);
		ok = shake(p, NP / 2) && shake(q, NP);
		ok &= check(p, 0, NP / 2, SEED3);
		ok &= check(page(p, NP / 2), NP / 2, NP / 2, SEED);
		ok &= check(q, 0, NP, SEED2);
		kid_exit(ok);
	}
	ASSERT_GT(k.pid, 0);
	ASSERT_TRUE(kid_paused(&k));
	ASSERT_TRUE(check(p, 0, NP, SEED));
	ASSERT_TRUE(kid_finish(&k));
	ASSERT_TRUE(check(p, 0, NP, SEED));
}

/* A child's neighbour, which could share an anon_vma that has no ancestors. */
ANON_TEST(merge_beside_child)
{
	char *p = map_filled(slot(0), NP, SEED);
	char *q = page(slot(0), NP);
	struct kid k;

	ASSERT_NE(p, NULL);
	begin();
	if (kid_spawn(&k)) {
		bool ok = !mprotect(p, bytes(NP), PROT_READ);

		ok &= !!map(q, NP);
		fill(q, 0, NP, SEED2);
		ok &= !mprotect(p, bytes(NP), PROT_READ | PROT_WRITE);
		ok &= count_vmas(p, 2 * NP) == 2;
		ok &= check(p, 0, NP, SEED);
		fill(p, 0, NP, SEED3);
		ok &= shake(p, 2 * NP);
		ok &= check(p, 0, NP, SEED3) && check(q, 0, NP, SEED2);
		kid_exit(ok);
	}
	ASSERT_GT(k.pid, 0);
	ASSERT_TRUE(kid_finish(&k));
	ASSERT_TRUE(check(p, 0, NP, SEED));
}

ANON_TEST(grow_down)
{
	const unsigned int start = 4;
	char *p = slot(4);
	struct kid k;

	/* Room to grow, with the gap that the kernel wants below a stack. */
	ASSERT_EQ(munmap(slot(0), bytes(4 * SLOT_PAGES)), 0);
	ASSERT_EQ(mmap(p, bytes(start), PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_GROWSDOWN,
		       -1, 0), p);
	fill(p, NP, start, SEED);
	begin();
	for (unsigned int i = 1; i <= NP / 2; i++)
		fill_page(p - bytes(i), SEED, NP - i);
	p -= bytes(NP / 2);
	EXPECT_EQ(count_vmas(p, NP / 2 + start), 1);
	ASSERT_TRUE(check(p, NP / 2, NP / 2 + start, SEED));
	ASSERT_TRUE(shake(p, NP / 2 + start));
	ASSERT_TRUE(check(p, NP / 2, NP / 2 + start, SEED));

	/* Both go on, each for itself. */
	if (kid_spawn(&k)) {
		bool ok = check(p, NP / 2, NP / 2 + start, SEED);

		for (unsigned int i = 1; i <= NP / 4; i++)
			fill_page(p - bytes(i), SEED2, NP / 2 - i);
		kid_pause(&k, ok);
		ok = check(p, NP / 2, NP / 2 + start, SEED);
		p -= bytes(NP / 4);
		ok &= check(p, NP / 4, NP / 4, SEED2);
		ok &= count_vmas(p, NP - NP / 4) == 1;
		ok &= shake(p, NP / 4);
		kid_exit(ok && check(p, NP / 4, NP / 4, SEED2));
	}
	ASSERT_GT(k.pid, 0);
	for (unsigned int i = 1; i <= NP / 2; i++)
		fill_page(p - bytes(i), SEED3, NP / 2 - i);
	ASSERT_TRUE(kid_paused(&k));
	ASSERT_TRUE(check(p, NP / 2, NP / 2 + start, SEED));
	p -= bytes(NP / 2);
	ASSERT_TRUE(check(p, 0, NP / 2, SEED3));
	ASSERT_TRUE(kid_finish(&k));
	ASSERT_TRUE(shake(p, NP + start));
	ASSERT_TRUE(check(p, 0, NP / 2, SEED3));
	ASSERT_TRUE(check(page(p, NP / 2), NP / 2, NP / 2 + start, SEED));
}

int main(int argc, char **argv)
{
	return env_main(argc, argv, test_harness_run);
}
