// SPDX-License-Identifier: GPL-2.0
/*
 * Large folios: mapped as a whole, in part, by several VMAs and by several
 * processes; split, collapsed, moved, swapped and migrated.
 */
#define _GNU_SOURCE
#include "kselftest_harness.h"
#include "anon_rmap.h"

ANON_TEST(thp_fault)
{
	const unsigned int n = env->pmd_size / psize();
	char *p;

	if (no_thp())
		SKIP(return, "%s", no_thp());
	begin();
	p = map_thp(1, SEED);
	if (!p)
		SKIP(return, NO_THP);
	ASSERT_TRUE(check(p, 0, n, SEED));
	ASSERT_TRUE(shake(p, n));
	ASSERT_TRUE(check(p, 0, n, SEED));
}

/* A part of a huge page goes, the rest of it stays. */
ANON_TEST(thp_munmap)
{
	const unsigned int n = env->pmd_size / psize();
	char *p[3];

	if (no_thp())
		SKIP(return, "%s", no_thp());
	for (unsigned int i = 0; i < 3; i++) {
		p[i] = map_thp(2 * i + 1, SEED + i);
		if (!p[i])
			SKIP(return, NO_THP);
	}
	begin();
	for (unsigned int i = 0; i < 3; i++) {
		/* The end, the start, the middle. */
		unsigned int from = i == 1 ? 0 : i ? n / 4 : n / 2;
		unsigned int end = from + n / 2;

		ASSERT_EQ(munmap(page(p[i], from), bytes(n / 2)), 0);
		for (unsigned int j = 0; j < 2; j++) {
			ASSERT_TRUE(check(p[i], 0, from, SEED + i));
			ASSERT_TRUE(check(page(p[i], end), end, n - end,
					  SEED + i));
			if (from)
				ASSERT_TRUE(shake(p[i], from));
			if (end < n)
				ASSERT_TRUE(shake(page(p[i], end),
						  n - end));
		}
		ASSERT_TRUE(check(p[i], 0, from, SEED + i));
		ASSERT_TRUE(check(page(p[i], end), end, n - end, SEED + i));
	}
}

/* One folio in three VMAs. */
ANON_TEST(thp_mprotect)
{
	const unsigned int n = env->pmd_size / psize();
	char *p;

	if (no_thp())
		SKIP(return, "%s", no_thp());
	p = map_thp(1, SEED);
	if (!p)
		SKIP(return, NO_THP);
	begin();
	ASSERT_EQ(mprotect(page(p, n / 4), bytes(n / 2), PROT_READ), 0);
	EXPECT_EQ(count_vmas(p, n), 3);
	ASSERT_TRUE(check(p, 0, n, SEED));
	if (env->numa) {
		ASSERT_TRUE(migrate_to(0, p, n, env->node[1], MPOL_MF_MOVE));
		ASSERT_TRUE(check(p, 0, n, SEED));
	}
	ASSERT_TRUE(shake(p, n));
	ASSERT_TRUE(check(p, 0, n, SEED));
	ASSERT_EQ(mprotect(page(p, n / 4), bytes(n / 2),
			   PROT_READ | PROT_WRITE), 0);
	EXPECT_EQ(count_vmas(p, n), 1);
	fill(p, 0, n, SEED2);
	ASSERT_TRUE(shake(p, n));
	ASSERT_TRUE(check(p, 0, n, SEED2));
}

ANON_TEST(thp_fork)
{
	const unsigned int n = env->pmd_size / psize();
	static uint64_t seed[MAX_PAGES];
	struct kid k;
	char *p;

	if (no_thp())
		SKIP(return, "%s", no_thp());
	p = map_thp(1, SEED);
	if (!p)
		SKIP(return, NO_THP);
	for (unsigned int i = 0; i < n; i++)
		seed[i] = SEED;
	begin();
	if (kid_spawn(&k)) {
		bool ok = check_seeds(p, seed, n);

		kid_pause(&k, ok);
		for (unsigned int i = 0; i < n; i += 7)
			set_page(p, seed, i, SEED2);
		kid_pause(&k, check_seeds(p, seed, n));
		ok = check_seeds(p, seed, n);
		ok &= !munmap(page(p, n / 2), bytes(n / 2));
		kid_pause(&k, ok);
		kid_exit(check_seeds(p, seed, n / 2));
	}
	ASSERT_GT(k.pid, 0);
	ASSERT_TRUE(kid_paused(&k));
	if (env->numa)
		ASSERT_TRUE(migrate_to(0, p, n, env->node[1],
				       MPOL_MF_MOVE_ALL));
	EXPECT_TRUE(shared(getpid(), p, k.pid, p, n, n));
	kid_go(&k);
	ASSERT_TRUE(kid_paused(&k));
	ASSERT_TRUE(check_seeds(p, seed, n));
	if (env->numa)
		ASSERT_TRUE(migrate_to(0, p, n, env->node[0],
				       MPOL_MF_MOVE_ALL));
	EXPECT_TRUE(shared(getpid(), p, k.pid, p, n, n - (n + 6) / 7));
	for (unsigned int i = 0; i < n; i += 5)
		set_page(p, seed, i, SEED3);
	kid_go(&k);
	ASSERT_TRUE(kid_paused(&k));
	ASSERT_TRUE(check_seeds(p, seed, n));
	ASSERT_TRUE(kid_finish(&k));
	ASSERT_TRUE(shake(p, n));
	ASSERT_TRUE(check_seeds(p, seed, n));
}

/* Small pages become a huge one; those of a child that it shares, too. */
ANON_TEST(thp_collapse)
{
	const unsigned int n = env->pmd_size / psize();
	struct kid k;
	char *p;

	if (no_thp())
		SKIP(return, "%s", no_thp());
	p = env->arena + env->pmd_size;
	ASSERT_NE(map(p, n), NULL);
	ASSERT_EQ(madvise(p, env->pmd_size, MADV_NOHUGEPAGE), 0);
	fill(p, 0, n, SEED);
	ASSERT_EQ(madvise(p, env->pmd_size, MADV_HUGEPAGE), 0);
	begin();
	if (!collapse(p, env->pmd_size)) {
		ASSERT_EQ(errno, ENOMEM);
		SKIP(return, "MADV_COLLAPSE: %s", strerror(errno));
	}
	EXPECT_TRUE(check_huge_anon(p, env->pmd_size, 1, env->pmd_size));
	ASSERT_TRUE(check(p, 0, n, SEED));
	ASSERT_TRUE(shake(p, n));
	ASSERT_TRUE(check(p, 0, n, SEED));

	if (kid_spawn(&k)) {
		bool ok;

		fill(p, 0, n / 2, SEED2);
		kid_pause(&k, true);
		/* Half of it its own, and half its parent's. */
		ok = collapse(p, env->pmd_size);
		ok &= check_huge_anon(p, env->pmd_size, 1, env->pmd_size);
		ok &= check(p, 0, n / 2, SEED2);
		ok &= check(page(p, n / 2), n / 2, n / 2, SEED);
		ok &= shake(p, n);
		kid_pause(&k, ok);
		ok = check(p, 0, n / 2, SEED2);
		kid_exit(ok && check(page(p, n / 2), n / 2, n / 2, SEED));
	}
	ASSERT_GT(k.pid, 0);
	ASSERT_TRUE(kid_paused(&k));
	kid_go(&k);
	ASSERT_TRUE(kid_paused(&k));
	ASSERT_TRUE(check(p, 0, n, SEED));
	EXPECT_TRUE(collapse(p, env->pmd_size));
	ASSERT_TRUE(check(p, 0, n, SEED));
	ASSERT_TRUE(kid_finish(&k));
	ASSERT_TRUE(shake(p, n));
	ASSERT_TRUE(check(p, 0, n, SEED));
}

ANON_TEST(thp_swap)
{
	const unsigned int n = env->pmd_size / psize();
	struct kid k;
	char *p, *q;

	if (!env->swap)
		SKIP(return, NO_SWAP);
	if (no_thp())
		SKIP(return, "%s", no_thp());
	p = map_thp(1, SEED);
	if (!p)
		SKIP(return, NO_THP);
	q = map_thp(3, SEED2);
	if (!q)
		SKIP(return, NO_THP);
	begin();
	ASSERT_TRUE(swap_out(p, n));
	/* A part of one, so that it has to be split. */
	ASSERT_TRUE(swap_out(page(q, n / 4), n / 2));
	EXPECT_EQ(count_present(getpid(), q, n), n / 2);
	ASSERT_TRUE(check(p, 0, n / 2, SEED));
	ASSERT_TRUE(check(q, 0, n / 2, SEED2));
	if (kid_spawn(&k)) {
		bool ok = check(p, 0, n, SEED);

		ok &= check(q, 0, n, SEED2);
		kid_pause(&k, ok);
		fill(p, 0, n, SEED3);
		ok = swap_out(p, n);
		kid_exit(ok && check(p, 0, n, SEED3));
	}
	ASSERT_GT(k.pid, 0);
	ASSERT_TRUE(kid_paused(&k));
	ASSERT_TRUE(check(p, 0, n, SEED));
	ASSERT_TRUE(check(q, 0, n, SEED2));
	ASSERT_TRUE(kid_finish(&k));
	ASSERT_TRUE(check(p, 0, n, SEED));
	ASSERT_TRUE(check(q, 0, n, SEED2));
}

/* By page tables, and by an offset at which it cannot stay huge. */
ANON_TEST(thp_mremap)
{
	const unsigned int n = env->pmd_size / psize();
	char *p, *q, *r;

	if (no_thp())
		SKIP(return, "%s", no_thp());
	p = map_thp(1, SEED);
	if (!p)
		SKIP(return, NO_THP);
	q = env->arena + 3 * env->pmd_size;
	r = page(env->arena + 5 * env->pmd_size, 3);
	begin();
	ASSERT_EQ(mremap(p, env->pmd_size, env->pmd_size,
			 MREMAP_MAYMOVE | MREMAP_FIXED, q), q);
	EXPECT_TRUE(check_huge_anon(q, env->pmd_size, 1, env->pmd_size));
	ASSERT_TRUE(check(q, 0, n, SEED));
	if (env->numa) {
		ASSERT_TRUE(migrate_to(0, q, n, env->node[1], MPOL_MF_MOVE));
		ASSERT_TRUE(check(q, 0, n, SEED));
	}
	ASSERT_EQ(mremap(q, env->pmd_size, env->pmd_size,
			 MREMAP_MAYMOVE | MREMAP_FIXED, r), r);
	ASSERT_TRUE(check(r, 0, n, SEED));
	ASSERT_TRUE(shake(r, n));
	ASSERT_TRUE(check(r, 0, n, SEED));
	/* Back to where it was mapped first, but half of it. */
	ASSERT_EQ(mremap(page(r, n / 2), bytes(n / 2), bytes(n / 2),
			 MREMAP_MAYMOVE | MREMAP_FIXED, page(p, n / 2)),
		  page(p, n / 2));
	ASSERT_TRUE(shake(page(p, n / 2), n / 2));
	ASSERT_TRUE(check(page(p, n / 2), n / 2, n / 2, SEED));
	ASSERT_TRUE(check(r, 0, n / 2, SEED));
}

/* Split the folio itself, when one process has it mapped, and when two have. */
ANON_TEST(thp_split)
{
	const unsigned int n = env->pmd_size / psize();
	char *p, *q, cmd[96];
	struct kid k;

	if (no_thp())
		SKIP(return, "%s", no_thp());
	if (access(SPLIT_THP, W_OK))
		SKIP(return, "no " SPLIT_THP);
	p = map_thp(1, SEED);
	if (!p)
		SKIP(return, NO_THP);
	q = map_thp(3, SEED2);
	if (!q)
		SKIP(return, NO_THP);
	begin();
	snprintf(cmd, sizeof(cmd), "%d,0x%lx,0x%lx,0", getpid(),
		 (unsigned long)p, (unsigned long)p + env->pmd_size);
	ASSERT_EQ(try_write_file(SPLIT_THP, cmd), 0);
	EXPECT_TRUE(check_huge_anon(p, env->pmd_size, 0, env->pmd_size));
	ASSERT_TRUE(check(p, 0, n, SEED));
	ASSERT_TRUE(shake(p, n));
	ASSERT_TRUE(check(p, 0, n, SEED));

	if (kid_spawn(&k)) {
		bool ok = check(q, 0, n, SEED2);

		ok &= check_huge_anon(q, env->pmd_size, 1, env->pmd_size);
		kid_pause(&k, ok);
		/* Only a split of the folio has split this mapping. */
		ok = check_huge_anon(q, env->pmd_size, 0, env->pmd_size);
		ok &= check(q, 0, n, SEED2);
		fill(q, 0, n / 2, SEED3);
		ok &= check(q, 0, n / 2, SEED3);
		kid_exit(ok && check(page(q, n / 2), n / 2, n / 2, SEED2));
	}
	ASSERT_GT(k.pid, 0);
	ASSERT_TRUE(kid_paused(&k));
	/* First a split of the VMA, which then has the folio in two. */
	ASSERT_EQ(mprotect(page(q, n / 2), bytes(n / 2), PROT_READ), 0);
	snprintf(cmd, sizeof(cmd), "%d,0x%lx,0x%lx,0", getpid(),
		 (unsigned long)q, (unsigned long)q + env->pmd_size);
	ASSERT_EQ(try_write_file(SPLIT_THP, cmd), 0);
	EXPECT_TRUE(shared(getpid(), q, k.pid, q, n, n));
	ASSERT_TRUE(check(q, 0, n, SEED2));
	ASSERT_TRUE(kid_finish(&k));
	ASSERT_TRUE(shake(q, n));
	ASSERT_TRUE(check(q, 0, n, SEED2));
}

/* Folios of a few pages, over the borders of which VMAs are split. */
ANON_TEST(thp_small)
{
	static const char path[] = THP("hugepages-64kB/enabled");
	const unsigned int n = 64, each = (64 << 10) / psize();
	uint64_t pfn[64];
	char *p;

	if (access(path, W_OK) || try_write_file(path, "madvise"))
		SKIP(return, "no 64 kB folios");
	p = map(slot(0), n);
	ASSERT_NE(p, NULL);
	ASSERT_EQ(madvise(p, bytes(n), MADV_HUGEPAGE), 0);
	fill(p, 0, n, SEED);
	get_pfns(p, n, pfn);
	for (unsigned int i = 0; i < n; i++) {
		if (pfn[i] % each != i % each || pfn[i] - i % each != pfn[i - i % each])
			SKIP(return, "64 kB folios were not to be had");
	}
	begin();
	ASSERT_EQ(mprotect(page(p, 9), bytes(30), PROT_READ), 0);
	ASSERT_TRUE(shake(p, n));
	ASSERT_TRUE(check(p, 0, n, SEED));
	ASSERT_EQ(munmap(page(p, 5), bytes(7)), 0);
	ASSERT_TRUE(shake(page(p, 12), n - 12));
	ASSERT_TRUE(check(p, 0, 5, SEED));
	ASSERT_TRUE(check(page(p, 12), 12, n - 12, SEED));
}

/* A huge page that lies across the border, and one within one of the two. */
ANON_TEST(group_thp)
{
	const unsigned int n = env->pmd_size / psize(), a = n / 2, b = 2 * n - a;
	char *p = env->arena + env->pmd_size, *back = page(p, a);
	char cmd[96];

	if (no_thp())
		SKIP(return, "%s", no_thp());
	if (2 * n > MAX_PAGES)
		SKIP(return, "huge pages are too large");
	ASSERT_NE(map(p, 2 * n), NULL);
	ASSERT_EQ(madvise(p, 2 * env->pmd_size, MADV_HUGEPAGE), 0);
	fill(p, 0, 2 * n, SEED);
	if (!check_huge_anon(p, 2 * env->pmd_size, 2, env->pmd_size))
		SKIP(return, NO_THP);

	begin();
	ASSERT_EQ(madvise(back, bytes(b), MADV_DONTDUMP), 0);
	EXPECT_EQ(count_vmas(p, 2 * n), 2);
	/* One is mapped by pages now, one still as a whole. */
	EXPECT_TRUE(check_huge_anon(p, bytes(a), 0, env->pmd_size));
	EXPECT_TRUE(check_huge_anon(back, bytes(b), 1, env->pmd_size));
	ASSERT_TRUE(sound(page(p, n), n, n, SEED));
	/* Across the border, as a whole; to swap out a part is to split it. */
	ASSERT_TRUE(check(p, 0, n, SEED));
	if (env->numa)
		ASSERT_TRUE(migrate_to(0, p, n, env->node[1], MPOL_MF_MOVE));
	ASSERT_TRUE(sound(p, 0, a, SEED));
	ASSERT_TRUE(sound(p, 0, 2 * n, SEED));
	EXPECT_TRUE(collapse(page(p, n), env->pmd_size));
	EXPECT_TRUE(check_huge_anon(back, bytes(b), 1, env->pmd_size));
	ASSERT_TRUE(sound(p, 0, 2 * n, SEED));
	ASSERT_TRUE(uncut(p, 2 * n));
	fill(p, 0, 2 * n, SEED2);
	ASSERT_TRUE(sound(p, 0, 2 * n, SEED2));

	/* Huge ones anew, where the border is, and one of the VMAs goes. */
	for (unsigned int i = 0; i < 4; i++) {
		ASSERT_NE(map(p, 2 * n), NULL);
		ASSERT_EQ(madvise(p, 2 * env->pmd_size, MADV_HUGEPAGE), 0);
		fill(p, 0, 2 * n, SEED3);
		ASSERT_EQ(madvise(back, bytes(b), MADV_DONTDUMP), 0);
		snprintf(cmd, sizeof(cmd), "%d,0x%lx,0x%lx,0", getpid(),
			 (unsigned long)p, (unsigned long)page(p, 2 * n));
		if (i >= 2 && !access(SPLIT_THP, W_OK)) {
			ASSERT_EQ(try_write_file(SPLIT_THP, cmd), 0);
			EXPECT_TRUE(check_huge_anon(back, bytes(b), 0, env->pmd_size));
			ASSERT_TRUE(check(p, 0, 2 * n, SEED3));
		}
		if (i & 1) {
			ASSERT_EQ(munmap(p, bytes(a)), 0);
			ASSERT_TRUE(sound(back, a, b, SEED3));
		} else {
			ASSERT_EQ(munmap(back, bytes(b)), 0);
			ASSERT_TRUE(sound(p, 0, a, SEED3));
		}
	}
}

int main(int argc, char **argv)
{
	return env_main(argc, argv, test_harness_run);
}
