// SPDX-License-Identifier: GPL-2.0
/*
 * Migration between NUMA nodes, and compaction, of pages that one or several
 * processes have mapped.
 */
#define _GNU_SOURCE
#include "kselftest_harness.h"
#include "anon_rmap.h"

ANON_TEST(migrate_alone)
{
	char *p = map_filled(slot(0), NP, SEED);
	uint64_t pfn[NP], pfn2[NP];

	if (!env->numa)
		SKIP(return, NO_NUMA);
	ASSERT_NE(p, NULL);
	ASSERT_TRUE(migrate_to(0, p, NP, env->node[0], MPOL_MF_MOVE));
	begin();
	for (unsigned int i = 1; i < 6; i++) {
		get_pfns(p, NP, pfn);
		ASSERT_TRUE(migrate_to(0, p, NP, env->node[i & 1],
				       MPOL_MF_MOVE));
		get_pfns(p, NP, pfn2);
		for (unsigned int j = 0; j < NP; j++)
			EXPECT_TRUE(!env->pfns || pfn[j] != pfn2[j]);
		ASSERT_TRUE(check(p, 0, NP, SEED + i - 1));
		fill(p, 0, NP, SEED + i);
	}
	ASSERT_TRUE(check(p, 0, NP, SEED + 5));
}

ANON_TEST(migrate_shared)
{
	char *p = map_filled(slot(0), NP, SEED);
	void *pages[NP];
	int status[NP];
	int nodes[NP];
	struct kid k;

	if (!env->numa)
		SKIP(return, NO_NUMA);
	ASSERT_NE(p, NULL);
	ASSERT_TRUE(migrate_to(0, p, NP, env->node[0], MPOL_MF_MOVE));
	begin();
	if (kid_spawn(&k)) {
		bool ok = check(p, 0, NP, SEED);

		kid_pause(&k, ok);
		ok = check(p, 0, NP, SEED);
		ok &= migrate_to(0, p, NP, env->node[0], MPOL_MF_MOVE_ALL);
		ok &= check(p, 0, NP, SEED);
		kid_pause(&k, ok);
		fill(p, 0, NP / 2, SEED2);
		/* Now there are pages of its own, and shared ones. */
		ok &= migrate_to(0, p, NP, env->node[1], MPOL_MF_MOVE_ALL);
		ok &= check(p, 0, NP / 2, SEED2);
		kid_pause(&k, ok);
		ok = check(p, 0, NP / 2, SEED2);
		kid_exit(ok && check(page(p, NP / 2), NP / 2, NP / 2, SEED));
	}
	ASSERT_GT(k.pid, 0);
	ASSERT_TRUE(kid_paused(&k));

	/* What somebody else has mapped too is not for MPOL_MF_MOVE. */
	for (unsigned int i = 0; i < NP; i++) {
		pages[i] = page(p, i);
		nodes[i] = env->node[1];
	}
	ASSERT_GE(sys_move_pages(0, NP, pages, nodes, status, MPOL_MF_MOVE), 0);
	for (unsigned int i = 0; i < NP; i++)
		EXPECT_EQ(status[i], -EACCES);

	ASSERT_TRUE(migrate_to(0, p, NP, env->node[1], MPOL_MF_MOVE_ALL));
	EXPECT_TRUE(shared(getpid(), p, k.pid, p, NP, NP));
	ASSERT_TRUE(check(p, 0, NP, SEED));
	kid_go(&k);
	ASSERT_TRUE(kid_paused(&k));
	EXPECT_EQ(count_on_node(0, p, NP, env->node[0]), NP);
	EXPECT_TRUE(shared(getpid(), p, k.pid, p, NP, NP));
	ASSERT_TRUE(check(p, 0, NP, SEED));
	kid_go(&k);
	ASSERT_TRUE(kid_paused(&k));
	EXPECT_EQ(count_on_node(0, p, NP / 2, env->node[0]), NP / 2);
	EXPECT_EQ(count_on_node(0, page(p, NP / 2), NP / 2, env->node[1]),
		  NP / 2);
	ASSERT_TRUE(check(p, 0, NP, SEED));

	/* And on the other's behalf. */
	ASSERT_TRUE(migrate_to(k.pid, p, NP, env->node[0], MPOL_MF_MOVE_ALL));
	EXPECT_TRUE(shared(getpid(), p, k.pid, p, NP, NP / 2));
	ASSERT_TRUE(check(p, 0, NP, SEED));
	ASSERT_TRUE(kid_finish(&k));
	ASSERT_TRUE(migrate_to(0, p, NP, env->node[1], MPOL_MF_MOVE));
	ASSERT_TRUE(check(p, 0, NP, SEED));
}

static long sys_mbind(char *p, size_t len, int mode, int node, int flags)
{
	unsigned long mask[16] = { 0 };

	if (node >= 0)
		mask[node / (8 * sizeof(long))] |= 1ul << node % (8 * sizeof(long));
	return syscall(__NR_mbind, p, len, mode, mask, sizeof(mask) * 8, flags);
}

ANON_TEST(migrate_mbind)
{
	char *p = map_filled(slot(0), NP, SEED);
	char *q = map_filled(slot(1), NP, SEED2);
	unsigned int there = 0;

	if (!env->numa)
		SKIP(return, NO_NUMA);
	ASSERT_NE(p, NULL);
	ASSERT_NE(q, NULL);
	ASSERT_TRUE(migrate_to(0, p, NP, env->node[0], MPOL_MF_MOVE));
	ASSERT_TRUE(migrate_to(0, q, NP, env->node[0], MPOL_MF_MOVE));
	begin();
	/* All of a VMA is given a policy, ... */
	for (unsigned int i = 0; i < TRIES && there < NP; i++) {
		sys_mbind(p, bytes(NP), MPOL_BIND, env->node[1], MPOL_MF_MOVE);
		there = count_on_node(0, p, NP, env->node[1]);
	}
	EXPECT_EQ(there, NP);
	ASSERT_TRUE(check(p, 0, NP, SEED));
	/* ... or a part, which splits it. */
	there = 0;
	for (unsigned int i = 0; i < TRIES && there < NP / 2; i++) {
		sys_mbind(page(q, NP / 4), bytes(NP / 2), MPOL_BIND,
			  env->node[1], MPOL_MF_MOVE | MPOL_MF_STRICT);
		there = count_on_node(0, page(q, NP / 4), NP / 2,
				      env->node[1]);
	}
	EXPECT_EQ(there, NP / 2);
	EXPECT_EQ(count_vmas(q, NP), 3);
	EXPECT_EQ(count_on_node(0, q, NP / 4, env->node[0]), NP / 4);
	ASSERT_TRUE(check(q, 0, NP, SEED2));
	ASSERT_EQ(sys_mbind(q, bytes(NP), MPOL_DEFAULT, -1, 0), 0);
	EXPECT_EQ(count_vmas(q, NP), 1);
	ASSERT_TRUE(shake(q, NP));
	ASSERT_TRUE(check(q, 0, NP, SEED2));
	ASSERT_TRUE(check(p, 0, NP, SEED));
}

/* All pages of a process at once, with its stack, heap and program. */
ANON_TEST(migrate_process)
{
	char *p = map_filled(slot(0), NP, SEED);
	struct kid k;

	if (!env->numa)
		SKIP(return, NO_NUMA);
	ASSERT_NE(p, NULL);
	ASSERT_TRUE(migrate_to(0, p, NP, env->node[0], MPOL_MF_MOVE));
	begin();
	if (kid_spawn(&k)) {
		bool ok = check(p, 0, NP, SEED);

		fill(p, 0, NP / 2, SEED2);
		kid_pause(&k, ok);
		ok = check(p, 0, NP / 2, SEED2);
		ok &= check(page(p, NP / 2), NP / 2, NP / 2, SEED);
		kid_exit(ok);
	}
	ASSERT_GT(k.pid, 0);
	ASSERT_TRUE(kid_paused(&k));
	for (unsigned int i = 1; i < 5; i++) {
		unsigned long from[16] = { 0 }, to[16] = { 0 };
		unsigned int bits = 8 * sizeof(long), there = 0;
		int a = env->node[!(i & 1)], b = env->node[i & 1];

		from[a / bits] |= 1ul << a % bits;
		to[b / bits] |= 1ul << b % bits;
		/* To and fro: the half that is the child's own has to arrive. */
		for (unsigned int t = 0; t < TRIES && there < NP / 2; t++) {
			ASSERT_GE(syscall(__NR_migrate_pages, k.pid,
					  sizeof(from) * 8, from, to), 0);
			there = count_on_node(k.pid, p, NP / 2, b);
		}
		EXPECT_EQ(there, NP / 2);
		ASSERT_TRUE(check(p, 0, NP, SEED));
	}
	ASSERT_TRUE(kid_finish(&k));
	ASSERT_TRUE(check(p, 0, NP, SEED));
}

/* After a split, a move and a merge, and over the borders of VMAs. */
ANON_TEST(migrate_after)
{
	char *p = map_filled(slot(0), NP, SEED), *q = slot(1);
	struct kid k;

	if (!env->numa)
		SKIP(return, NO_NUMA);
	ASSERT_NE(p, NULL);
	ASSERT_TRUE(migrate_to(0, p, NP, env->node[0], MPOL_MF_MOVE));
	begin();
	ASSERT_EQ(mprotect(page(p, NP / 4), bytes(NP / 4), PROT_READ), 0);
	ASSERT_TRUE(migrate_to(0, p, NP, env->node[1], MPOL_MF_MOVE));
	ASSERT_TRUE(check(p, 0, NP, SEED));
	ASSERT_EQ(mremap(page(p, NP / 2), bytes(NP / 2), bytes(NP / 2),
			 MREMAP_MAYMOVE | MREMAP_FIXED, q), q);
	ASSERT_TRUE(migrate_to(0, p, NP / 2, env->node[0], MPOL_MF_MOVE));
	ASSERT_TRUE(migrate_to(0, q, NP / 2, env->node[0], MPOL_MF_MOVE));
	ASSERT_TRUE(check(p, 0, NP / 2, SEED));
	ASSERT_TRUE(check(q, NP / 2, NP / 2, SEED));
	if (kid_spawn(&k)) {
		bool ok = check(p, 0, NP / 2, SEED);

		kid_pause(&k, ok);
		ok = check(p, 0, NP / 2, SEED);
		kid_exit(ok && check(q, NP / 2, NP / 2, SEED));
	}
	ASSERT_GT(k.pid, 0);
	ASSERT_TRUE(kid_paused(&k));
	ASSERT_EQ(mprotect(page(p, NP / 4), bytes(NP / 4),
			   PROT_READ | PROT_WRITE), 0);
	ASSERT_TRUE(migrate_to(0, p, NP / 2, env->node[1], MPOL_MF_MOVE_ALL));
	ASSERT_TRUE(migrate_to(0, q, NP / 2, env->node[1], MPOL_MF_MOVE_ALL));
	EXPECT_TRUE(shared(getpid(), p, k.pid, p, NP / 2, NP / 2));
	EXPECT_TRUE(shared(getpid(), q, k.pid, q, NP / 2, NP / 2));
	ASSERT_TRUE(check(p, 0, NP / 2, SEED));
	ASSERT_TRUE(check(q, NP / 2, NP / 2, SEED));
	ASSERT_TRUE(kid_finish(&k));
	ASSERT_TRUE(migrate_to(0, p, NP / 2, env->node[0], MPOL_MF_MOVE));
	ASSERT_TRUE(check(p, 0, NP / 2, SEED));
	ASSERT_TRUE(check(q, NP / 2, NP / 2, SEED));
}

/*
 * Compaction takes what it likes, or nothing, if memory is compact already. It is said
 * how much that was; contents are all that can be asked for.
 */
static int compact(char *p, unsigned int n, unsigned int *moved)
{
	static uint64_t from[MAX_PAGES], to[MAX_PAGES];
	int ret;

	get_pfns(p, n, from);
	ret = try_write_file("/proc/sys/vm/compact_memory", "1");
	get_pfns(p, n, to);
	*moved = 0;
	for (unsigned int i = 0; i < n; i++)
		*moved += from[i] != to[i];
	return ret;
}

ANON_TEST(migrate_compact)
{
	char *p = map_filled(slot(0), MAX_PAGES, SEED);
	unsigned int alone, shared;
	struct kid k;

	ASSERT_NE(p, NULL);
	/* Holes, for compaction to have a reason. */
	for (unsigned int i = 0; i < MAX_PAGES; i += 3)
		ASSERT_EQ(madvise(page(p, i), psize(), MADV_DONTNEED), 0);
	begin();
	if (compact(p, MAX_PAGES, &alone))
		SKIP(return, "no compaction");
	for (unsigned int i = 1; i < MAX_PAGES; i += 1 + (i % 3 == 2))
		ASSERT_TRUE(check_page(page(p, i), SEED, i));
	if (kid_spawn(&k)) {
		bool ok = true;

		kid_pause(&k, true);
		for (unsigned int i = 1; i < MAX_PAGES; i += 1 + (i % 3 == 2))
			ok &= check_page(page(p, i), SEED, i);
		kid_exit(ok);
	}
	ASSERT_GT(k.pid, 0);
	ASSERT_TRUE(kid_paused(&k));
	EXPECT_EQ(compact(p, MAX_PAGES, &shared), 0);
	for (unsigned int i = 1; i < MAX_PAGES; i += 1 + (i % 3 == 2))
		ASSERT_TRUE(check_page(page(p, i), SEED, i));
	ASSERT_TRUE(kid_finish(&k));
	TH_LOG("%u pages were moved, and %u that are shared", alone, shared);
}

int main(int argc, char **argv)
{
	return env_main(argc, argv, test_harness_run);
}
