// SPDX-License-Identifier: GPL-2.0
/*
 * KSM: pages that are shared by nobody's fork, and VMAs that go meanwhile.
 */
#define _GNU_SOURCE
#include "kselftest_harness.h"
#include "anon_rmap.h"

ANON_TEST(ksm)
{
	char *p = map_filled(slot(0), NP, SEED);
	char *q = map_filled(slot(1), NP, SEED);
	char *r = map_filled(slot(2), NP, SEED2);
	const char *reason;
	struct kid k;

	ASSERT_NE(p, NULL);
	ASSERT_NE(q, NULL);
	ASSERT_NE(r, NULL);
	reason = ksm_prepare(r, NP);
	if (reason)
		SKIP(return, "%s", reason);
	begin();
	ASSERT_EQ(madvise(p, bytes(NP), MADV_MERGEABLE), 0);
	ASSERT_EQ(madvise(q, bytes(NP), MADV_MERGEABLE), 0);
	ASSERT_TRUE(ksm_merge(2 * NP));
	/* Pages of p and of q are shared now, though by nobody's fork. */
	EXPECT_TRUE(shared(getpid(), p, getpid(), q, NP, NP));
	ASSERT_TRUE(check(p, 0, NP, SEED));
	ASSERT_TRUE(check(q, 0, NP, SEED));
	ASSERT_TRUE(check(r, 0, NP, SEED2));

	/* They stay merged. Who goes on to look at them is in the way of their migration. */
	ASSERT_EQ(try_write_file(KSM("run"), "0"), 0);
	if (env->numa) {
		ASSERT_TRUE(migrate_to(0, p, NP, env->node[1],
				       MPOL_MF_MOVE_ALL));
		EXPECT_TRUE(shared(getpid(), p, getpid(), q, NP, NP));
		ASSERT_TRUE(migrate_to(0, q, NP, env->node[0],
				       MPOL_MF_MOVE_ALL));
		EXPECT_TRUE(shared(getpid(), p, getpid(), q, NP, NP));
	}

	/* Copies are made for who writes. */
	fill(q, 0, NP / 2, SEED3);
	ASSERT_TRUE(check(p, 0, NP, SEED));
	ASSERT_TRUE(check(q, 0, NP / 2, SEED3));
	ASSERT_TRUE(check(page(q, NP / 2), NP / 2, NP / 2, SEED));
	EXPECT_TRUE(shared(getpid(), p, getpid(), q, NP, NP / 2));

	if (kid_spawn(&k)) {
		bool ok = check(p, 0, NP, SEED);

		fill(p, 0, 4, SEED2);
		kid_pause(&k, ok);
		ok = check(p, 0, 4, SEED2);
		ok &= check(page(p, 4), 4, NP - 4, SEED);
		ok &= check(page(q, NP / 2), NP / 2, NP / 2, SEED);
		kid_exit(ok && check(r, 0, NP, SEED2));
	}
	ASSERT_GT(k.pid, 0);
	ASSERT_TRUE(kid_paused(&k));
	ASSERT_EQ(mprotect(page(p, NP / 4), bytes(NP / 4), PROT_READ), 0);
	ASSERT_EQ(munmap(page(p, NP - 4), bytes(4)), 0);
	ASSERT_TRUE(check(p, 0, NP - 4, SEED));

	/* Everybody gets his own again. */
	ASSERT_EQ(ksm_stop(), 0);
	EXPECT_TRUE(shared(getpid(), p, getpid(), q, NP, 0));
	ASSERT_TRUE(check(p, 0, NP - 4, SEED));
	ASSERT_TRUE(check(q, 0, NP / 2, SEED3));
	ASSERT_TRUE(check(page(q, NP / 2), NP / 2, NP / 2, SEED));
	ASSERT_TRUE(check(r, 0, NP, SEED2));
	ASSERT_TRUE(kid_finish(&k));
	/* The pages from before the merge, which is what r still has. */
	ASSERT_TRUE(shake(r, NP));
	ASSERT_TRUE(shake(q, NP));
	ASSERT_TRUE(check(q, 0, NP / 2, SEED3));
	ASSERT_TRUE(check(page(q, NP / 2), NP / 2, NP / 2, SEED));
	ASSERT_TRUE(check(r, 0, NP, SEED2));
}

/* KSM remembers pages whose VMA is gone before they ever merged. */
ANON_TEST(ksm_gone)
{
	char *r = map_filled(slot(2), NP, SEED2);
	const char *reason;
	struct kid k;

	ASSERT_NE(r, NULL);
	reason = ksm_prepare(r, NP);
	if (reason)
		SKIP(return, "%s", reason);
	begin();
	for (unsigned int round = 0; round < 3; round++) {
		if (kid_spawn(&k)) {
			char *p = map_filled(slot(0), NP, SEED);
			char *q = map_filled(slot(1), NP, SEED);
			bool ok = p && q;

			ok &= !madvise(p, bytes(NP), MADV_MERGEABLE);
			ok &= !madvise(q, bytes(NP), MADV_MERGEABLE);
			ok &= ksm_merge(round ? 2 * NP : 0);
			if (round == 1)
				ok &= !munmap(p, bytes(NP));
			else
				ok &= check(p, 0, NP, SEED);
			kid_exit(ok & check(q, 0, NP, SEED));
		}
		ASSERT_GT(k.pid, 0);
		ASSERT_TRUE(kid_end(&k));
	}
	ASSERT_EQ(ksm_start(), 0);
	ASSERT_EQ(ksm_stop(), 0);
	ASSERT_TRUE(check(r, 0, NP, SEED2));
}

/* KSM takes pages of a VMA that had forked before it had any of its own. */
ANON_TEST(ksm_siblings)
{
	char *p = map_filled(slot(1), NP, SEED);
	char *r = map_filled(slot(2), NP, SEED2);
	const char *reason;
	struct kid k;

	ASSERT_NE(p, NULL);
	ASSERT_NE(r, NULL);
	reason = ksm_prepare(r, NP);
	if (!reason && !env->numa)
		reason = "no second node to migrate to";
	if (reason)
		SKIP(return, "%s", reason);
	begin();
	if (kid_spawn(&k)) {
		struct kid g;
		char *q;
		bool ok;

		if (kid_spawn(&g)) {
			kid_pause(&g, true);
			kid_exit(check(p, 0, NP, SEED));
		}
		kid_pause(&k, g.pid > 0 && kid_paused(&g));

		/* q is scanned first, so it is p's pages that stay. */
		q = map_filled(slot(0), NP, SEED);
		ok = q && !madvise(q, bytes(NP), MADV_MERGEABLE);
		ok &= !madvise(p, bytes(NP), MADV_MERGEABLE);
		ok &= ksm_merge(2 * NP);
		ok &= !try_write_file(KSM("run"), "0");
		ok &= shared(getpid(), p, g.pid, p, NP, NP);

		/* The other process has no part in KSM, but its mappings are found. */
		for (unsigned int i = 0; i < 2; i++)
			ok &= migrate_to(0, p, NP, env->node[!i], MPOL_MF_MOVE_ALL);
		ok &= shared(getpid(), p, g.pid, p, NP, NP);
		ok &= kid_finish(&g);
		kid_exit(ok & check(p, 0, NP, SEED) & check(q, 0, NP, SEED));
	}
	ASSERT_GT(k.pid, 0);
	ASSERT_TRUE(kid_paused(&k));
	ASSERT_EQ(munmap(p, bytes(NP)), 0);
	ASSERT_TRUE(kid_finish(&k));
	ASSERT_EQ(ksm_stop(), 0);
	ASSERT_TRUE(check(r, 0, NP, SEED2));
}

/* KSM merges pages of some parts of what was one VMA while other parts go. */
ANON_TEST(group_ksm)
{
	time_t end = time(NULL) + test_seconds();
	char *r = map_filled(slot(2), NP, SEED2);
	unsigned int rounds = 0;
	bool merged = false;
	const char *reason;

	ASSERT_NE(r, NULL);
	reason = ksm_prepare(r, NP);
	if (reason)
		SKIP(return, "%s", reason);
	sched_setaffinity(0, sizeof(env->cpus), &env->cpus);
	begin();
	ASSERT_EQ(try_write_file(KSM("run"), "1"), 0);
	while (time(NULL) < end || !merged) {
		char *p = map_filled(slot(0), 3 * PIECE, SEED);
		char *q = map_filled(slot(1), 3 * PIECE, SEED);
		const unsigned int *at = orders[rounds % 6];

		ASSERT_TRUE(p && q);
		ASSERT_EQ(madvise(p, bytes(3 * PIECE), MADV_MERGEABLE), 0);
		ASSERT_EQ(madvise(q, bytes(3 * PIECE), MADV_MERGEABLE), 0);
		ASSERT_TRUE(cut(p, 3, PIECE));
		ASSERT_TRUE(cut(q, 3, PIECE));
		/* From before the first page is merged to when all are. */
		usleep(rounds % 16 * 2000);
		merged |= ksm_get_self_merging_pages() > 0;
		for (unsigned int i = 0; i < 3; i++) {
			ASSERT_EQ(munmap(page(p, at[i] * PIECE), bytes(PIECE)), 0);
			for (unsigned int j = i + 1; j < 3; j++) {
				unsigned int first = at[j] * PIECE;

				ASSERT_TRUE(check(page(p, first), first, PIECE, SEED));
				fill(page(p, first), first, 1, SEED);
			}
			ASSERT_TRUE(check(q, 0, 3 * PIECE, SEED));
		}
		rounds++;
		ASSERT_LT(rounds, 100000u);
	}
	TH_LOG("%u rounds", rounds);
	ASSERT_EQ(ksm_stop(), 0);
	ASSERT_TRUE(sound(slot(1), 0, 3 * PIECE, SEED));
	ASSERT_TRUE(sound(r, 0, NP, SEED2));
}

int main(int argc, char **argv)
{
	return env_main(argc, argv, test_harness_run);
}
