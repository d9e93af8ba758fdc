// SPDX-License-Identifier: GPL-2.0
/*
 * mremap(): pages are the same ones in another place, and are found there.
 */
#define _GNU_SOURCE
#include "kselftest_harness.h"
#include "anon_rmap.h"

ANON_TEST(mremap_resize)
{
	char *p = map_filled(slot(0), NP, SEED);

	ASSERT_NE(p, NULL);
	ASSERT_EQ(munmap(page(p, NP), bytes(NP)), 0);
	begin();
	ASSERT_EQ(mremap(p, bytes(NP), bytes(2 * NP), 0), p);
	EXPECT_EQ(count_vmas(p, 2 * NP), 1);
	ASSERT_TRUE(check(p, 0, NP, SEED));
	ASSERT_TRUE(check_zero(page(p, NP), NP));
	fill(page(p, NP), 0, NP, SEED2);
	ASSERT_TRUE(shake(p, 2 * NP));
	ASSERT_TRUE(check(p, 0, NP, SEED));
	ASSERT_TRUE(check(page(p, NP), 0, NP, SEED2));

	/* To shrink it is to unmap a part. */
	ASSERT_EQ(mremap(p, bytes(2 * NP), bytes(NP / 2), 0), p);
	ASSERT_TRUE(shake(p, NP / 2));
	ASSERT_TRUE(check(p, 0, NP / 2, SEED));
}

ANON_TEST(mremap_move)
{
	char *p = map_filled(slot(0), NP, SEED);
	char *q = slot(1), *r = slot(2);
	uint64_t pfn[NP], pfn2[NP];

	ASSERT_NE(p, NULL);
	begin();
	get_pfns(p, NP, pfn);
	ASSERT_EQ(mremap(p, bytes(NP), bytes(NP),
			 MREMAP_MAYMOVE | MREMAP_FIXED, q), q);
	EXPECT_EQ(count_vmas(p, NP), 0);
	EXPECT_EQ(count_vmas(q, NP), 1);
	/* It is the same pages, elsewhere. */
	get_pfns(q, NP, pfn2);
	EXPECT_EQ(memcmp(pfn, pfn2, sizeof(pfn)), 0);
	ASSERT_TRUE(check(q, 0, NP, SEED));
	ASSERT_TRUE(shake(q, NP));
	ASSERT_TRUE(check(q, 0, NP, SEED));

	/* Back again, and to a third place with some growth. */
	ASSERT_EQ(mremap(q, bytes(NP), bytes(NP),
			 MREMAP_MAYMOVE | MREMAP_FIXED, p), p);
	ASSERT_TRUE(check(p, 0, NP, SEED));
	ASSERT_TRUE(shake(p, NP));
	ASSERT_EQ(mremap(p, bytes(NP), bytes(2 * NP),
			 MREMAP_MAYMOVE | MREMAP_FIXED, r), r);
	ASSERT_TRUE(check(r, 0, NP, SEED));
	ASSERT_TRUE(check_zero(page(r, NP), NP));
	fill(page(r, NP), NP, NP, SEED);
	ASSERT_TRUE(shake(r, 2 * NP));
	ASSERT_TRUE(check(r, 0, 2 * NP, SEED));
}

ANON_TEST(mremap_unfaulted)
{
	char *p = map(slot(0), NP), *q = slot(1);

	ASSERT_NE(p, NULL);
	begin();
	ASSERT_EQ(mremap(p, bytes(NP), bytes(NP),
			 MREMAP_MAYMOVE | MREMAP_FIXED, q), q);
	fill(q, 0, NP, SEED);
	ASSERT_TRUE(shake(q, NP));
	ASSERT_TRUE(check(q, 0, NP, SEED));
}

/* The middle of one goes into the middle of another that has pages too. */
ANON_TEST(mremap_part)
{
	char *p = map_filled(slot(0), NP, SEED);
	char *q = map_filled(slot(1), NP, SEED2);
	const unsigned int a = NP / 4, n = NP / 2;

	ASSERT_NE(p, NULL);
	ASSERT_NE(q, NULL);
	begin();
	ASSERT_EQ(mremap(page(p, a), bytes(n), bytes(n),
			 MREMAP_MAYMOVE | MREMAP_FIXED, page(q, a)),
		  page(q, a));
	EXPECT_EQ(count_vmas(p, NP), 2);
	EXPECT_EQ(count_vmas(q, NP), 3);
	for (unsigned int i = 0; i < 2; i++) {
		ASSERT_TRUE(check(p, 0, a, SEED));
		ASSERT_TRUE(check(page(p, a + n), a + n, NP - a - n, SEED));
		ASSERT_TRUE(check(q, 0, a, SEED2));
		ASSERT_TRUE(check(page(q, a), a, n, SEED));
		ASSERT_TRUE(check(page(q, a + n), a + n, NP - a - n, SEED2));
		ASSERT_TRUE(shake(p, a));
		ASSERT_TRUE(shake(page(p, a + n), NP - a - n));
		ASSERT_TRUE(shake(q, NP));
	}

	/* And back to where it was. */
	ASSERT_EQ(mremap(page(q, a), bytes(n), bytes(n),
			 MREMAP_MAYMOVE | MREMAP_FIXED, page(p, a)),
		  page(p, a));
	EXPECT_EQ(count_vmas(p, NP), 1);
	ASSERT_TRUE(check(p, 0, NP, SEED));
	ASSERT_TRUE(shake(p, NP));
	ASSERT_TRUE(check(p, 0, NP, SEED));
}

/*
 * The source stays mapped, without its pages. It is faulted again, so that
 * there are pages of one origin in two VMAs, it is forked and both are
 * unmapped, in the one order or the other.
 */
ANON_TEST(mremap_dontunmap)
{
	for (unsigned int i = 0; i < 2; i++)
		ASSERT_NE(map_filled(slot(3 * i), NP, SEED), NULL);

	begin();
	for (unsigned int i = 0; i < 2; i++) {
		char *p = slot(3 * i), *q = slot(3 * i + 1);
		char *r = slot(3 * i + 2);
		struct kid k;

		ASSERT_EQ(mremap(p, bytes(NP), bytes(NP), MREMAP_MAYMOVE |
				 MREMAP_FIXED | MREMAP_DONTUNMAP, q), q);
		ASSERT_TRUE(check(q, 0, NP, SEED));
		ASSERT_TRUE(check_zero(p, NP));
		fill(p, 0, NP, SEED2);
		ASSERT_TRUE(shake(p, NP));
		ASSERT_TRUE(shake(q, NP));
		ASSERT_TRUE(check(p, 0, NP, SEED2));
		ASSERT_TRUE(check(q, 0, NP, SEED));

		if (kid_spawn(&k)) {
			bool ok = check(p, 0, NP, SEED2);

			ok &= check(q, 0, NP, SEED);
			fill(p, 0, NP / 2, SEED3);
			fill(q, 0, NP / 4, SEED3);
			kid_pause(&k, ok);
			ok = check(p, 0, NP / 2, SEED3);
			ok &= check(page(p, NP / 2), NP / 2, NP / 2, SEED2);
			ok &= check(q, 0, NP / 4, SEED3);
			ok &= check(page(q, NP / 4), NP / 4, NP - NP / 4, SEED);
			ok &= !munmap(i ? p : q, bytes(NP));
			kid_pause(&k, ok);
			/* By now nobody else has the pages. */
			ok = shake(i ? q : p, NP);
			if (i) {
				ok &= check(q, 0, NP / 4, SEED3);
				ok &= check(page(q, NP / 4), NP / 4,
					    NP - NP / 4, SEED);
			} else {
				ok &= check(p, 0, NP / 2, SEED3);
				ok &= check(page(p, NP / 2), NP / 2, NP / 2,
					    SEED2);
			}
			kid_exit(ok);
		}
		ASSERT_GT(k.pid, 0);
		ASSERT_TRUE(kid_paused(&k));
		ASSERT_EQ(mprotect(page(p, 2), bytes(2), PROT_READ), 0);
		ASSERT_TRUE(check(p, 0, NP, SEED2));
		ASSERT_TRUE(check(q, 0, NP, SEED));
		ASSERT_EQ(mprotect(page(p, 2), bytes(2),
				   PROT_READ | PROT_WRITE), 0);

		ASSERT_EQ(munmap(i ? q : p, bytes(NP)), 0);
		kid_go(&k);
		ASSERT_TRUE(kid_paused(&k));
		if (i) {
			ASSERT_TRUE(check(p, 0, NP, SEED2));
			/* Once more from the same source. */
			ASSERT_EQ(mremap(p, bytes(NP), bytes(NP),
					 MREMAP_MAYMOVE | MREMAP_FIXED |
					 MREMAP_DONTUNMAP, r), r);
			ASSERT_TRUE(check_zero(p, NP));
			ASSERT_TRUE(check(r, 0, NP, SEED2));
			ASSERT_EQ(munmap(r, bytes(NP)), 0);
			ASSERT_EQ(munmap(p, bytes(NP)), 0);
		} else {
			ASSERT_TRUE(check(q, 0, NP, SEED));
			ASSERT_EQ(munmap(q, bytes(NP)), 0);
		}
		ASSERT_TRUE(kid_finish(&k));
	}
}

/* The source is unfaulted then: it merges with a neighbour that has pages. */
ANON_TEST(mremap_dontunmap_merge)
{
	char *p = map_filled(slot(0), NP, SEED), *q = slot(1);
	char *s = map_filled(slot(2), NP, SEED), *t = slot(3);
	char *r = page(slot(0), NP);
	unsigned int vmas;

	ASSERT_NE(p, NULL);
	ASSERT_NE(s, NULL);
	ASSERT_EQ(madvise(p, bytes(NP), MADV_DONTFORK), 0);
	ASSERT_NE(map_filled(r, NP, SEED2), NULL);
	begin();
	ASSERT_EQ(mremap(p, bytes(NP), bytes(NP), MREMAP_MAYMOVE | MREMAP_FIXED |
			 MREMAP_DONTUNMAP, q), q);
	EXPECT_EQ(count_vmas(p, 2 * NP), 2);
	ASSERT_EQ(madvise(p, bytes(NP), MADV_DOFORK), 0);
	vmas = count_vmas(p, 2 * NP);
	/* A kernel with lazy VMAs, but without groups, does not merge it. */
	EXPECT_TRUE(vmas == 1 || (vmas == 2 && env->events && variant->setup && !env->groups))
		TH_LOG("%u VMAs", vmas);
	ASSERT_TRUE(check_zero(p, NP));
	ASSERT_TRUE(sound(q, 0, NP, SEED));
	ASSERT_TRUE(sound(r, 0, NP, SEED2));
	fill(p, 0, NP, SEED3);
	ASSERT_TRUE(sound(p, 0, NP, SEED3));
	ASSERT_TRUE(sound(q, 0, NP, SEED));
	ASSERT_TRUE(sound(r, 0, NP, SEED2));

	/* The front of one is moved to before its back, and merges with that. */
	ASSERT_EQ(mremap(page(s, NP / 2), bytes(NP / 2), bytes(NP / 2),
			 MREMAP_MAYMOVE | MREMAP_FIXED, page(t, NP / 2)), page(t, NP / 2));
	ASSERT_EQ(mremap(s, bytes(NP / 2), bytes(NP / 2), MREMAP_MAYMOVE |
			 MREMAP_FIXED | MREMAP_DONTUNMAP, t), t);
	EXPECT_EQ(count_vmas(t, NP), 1);
	ASSERT_TRUE(check_zero(s, NP / 2));
	fill(s, 0, NP / 2, SEED3);
	ASSERT_TRUE(sound(s, 0, NP / 2, SEED3));
	ASSERT_TRUE(sound(t, 0, NP, SEED));
}

/* The parent moves what it shares with its child. */
ANON_TEST(mremap_fork)
{
	char *p = map_filled(slot(0), NP, SEED), *q = slot(1);
	struct kid k;

	ASSERT_NE(p, NULL);
	begin();
	if (kid_spawn(&k)) {
		bool ok = check(p, 0, NP, SEED);

		kid_pause(&k, ok);
		ok = check(p, 0, NP, SEED);
		ok &= mremap(p, bytes(NP), bytes(NP), MREMAP_MAYMOVE |
			     MREMAP_FIXED, page(q, NP)) == page(q, NP);
		ok &= check(page(q, NP), 0, NP, SEED);
		kid_pause(&k, ok);
		ok = check(page(q, NP), 0, NP, SEED);
		fill(page(q, NP), 0, NP, SEED2);
		kid_exit(shake(page(q, NP), NP) &&
			 check(page(q, NP), 0, NP, SEED2) && ok);
	}
	ASSERT_GT(k.pid, 0);
	ASSERT_TRUE(kid_paused(&k));
	ASSERT_EQ(mremap(p, bytes(NP), bytes(NP),
			 MREMAP_MAYMOVE | MREMAP_FIXED, q), q);
	if (env->numa)
		ASSERT_TRUE(migrate_to(0, q, NP, env->node[1],
				       MPOL_MF_MOVE_ALL));
	EXPECT_TRUE(shared(getpid(), q, k.pid, p, NP, NP));
	ASSERT_TRUE(check(q, 0, NP, SEED));
	kid_go(&k);
	ASSERT_TRUE(kid_paused(&k));
	if (env->numa)
		ASSERT_TRUE(migrate_to(0, q, NP, env->node[0],
				       MPOL_MF_MOVE_ALL));
	EXPECT_TRUE(shared(getpid(), q, k.pid, page(q, NP), NP, NP));
	ASSERT_TRUE(check(q, 0, NP, SEED));
	ASSERT_TRUE(kid_finish(&k));
	ASSERT_TRUE(shake(q, NP));
	ASSERT_TRUE(check(q, 0, NP, SEED));
}

int main(int argc, char **argv)
{
	return env_main(argc, argv, test_harness_run);
}
