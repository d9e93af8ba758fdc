// SPDX-License-Identifier: GPL-2.0
/*
 * Lazy VMAs (CONFIG_ANON_VMA_LAZY) of one process that share folios: a group.
 *
 * When a lazy VMA is split, moved or merged the second VMA joins its group, and
 * both stay lazy. Up to eight can be in a group. A fork upgrades all of it.
 *
 * Most of it is a matter of contents, and can be tested without groups as well.
 * The events and structs are counted as anon_vma_lazy.c says.
 */
#define _GNU_SOURCE
#include "kselftest_harness.h"
#include "anon_rmap.h"

#define NO_LEAKS "leaks are not seen, neither in /proc/slabinfo nor in debugfs"

/*
 * The other tests find out whether there are groups, since they pass without as well.
 * This one wants them. Leave it out (-T) where the series ends before them.
 */
ANON_TEST(group_there)
{
	EXPECT_TRUE(env->groups);
}

/* What the dynamic linker does to the data of each library. */
ANON_TEST(group_relro)
{
	const unsigned int a = NP / 4;
	char *p = slot(0);
	char *file;
	int fd;

	fd = memfd_create("anon_rmap", MFD_CLOEXEC);
	ASSERT_GE(fd, 0);
	ASSERT_EQ(ftruncate(fd, bytes(NP)), 0);
	file = mmap(slot(1), bytes(NP), PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_FIXED, fd, 0);
	ASSERT_EQ(file, slot(1));
	fill(file, 0, NP, SEED3);
	ASSERT_EQ(mmap(p, bytes(NP), PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_FIXED, fd, 0), p);
	ASSERT_TRUE(check(p, 0, NP, SEED3));
	fill(p, 0, NP, SEED);

	begin();
	ASSERT_EQ(mprotect(p, bytes(a), PROT_READ), 0);
	EXPECT_SPLIT(1);
	EXPECT_EQ(count_vmas(p, NP), 2);
	ASSERT_TRUE(sound(p, 0, a, SEED));
	ASSERT_TRUE(sound(page(p, a), a, NP - a, SEED));
	fill(page(p, a), a, NP - a, SEED2);
	ASSERT_TRUE(sound(page(p, a), a, NP - a, SEED2));
	ASSERT_TRUE(sound(p, 0, a, SEED));

	ASSERT_EQ(mprotect(p, bytes(a), PROT_READ | PROT_WRITE), 0);
	EXPECT_EQ(count_vmas(p, NP), 1);
	ASSERT_TRUE(check(page(p, a), a, NP - a, SEED2));
	ASSERT_TRUE(sound(p, 0, a, SEED));
	fill(p, 0, NP, SEED);
	ASSERT_TRUE(sound(p, 0, NP, SEED));
	EXPECT_LAZY_IF(variant->setup && env->groups, p, NP);
	ASSERT_TRUE(check(file, 0, NP, SEED3));
	close(fd);
}

/* A part has no pages, or none has, when it is split off; then a part goes. */
ANON_TEST(group_empty)
{
	for (unsigned int i = 0; i < 6; i++)
		ASSERT_NE(map_filled(slot(i), NP, SEED), NULL);

	begin();
	for (unsigned int i = 0; i < 6; i++) {
		char *p = slot(i), *rest = page(p, i & 1 ? 0 : NP / 2);
		char *half = page(p, NP / 2);
		unsigned int first = i & 1 ? 0 : NP / 2;

		/* Empty is all of it, the front, the back. */
		if (i / 2 != 2)
			ASSERT_EQ(madvise(p, bytes(NP / 2), MADV_DONTNEED), 0);
		if (i / 2 != 1)
			ASSERT_EQ(madvise(half, bytes(NP / 2), MADV_DONTNEED), 0);
		window();
		ASSERT_TRUE(cut(p, 2, NP / 2));
		EXPECT_SPLIT(1);
		ASSERT_TRUE(i / 2 == 1 ? sound(half, NP / 2, NP / 2, SEED) :
					 check_zero(half, NP / 2));
		ASSERT_TRUE(i / 2 == 2 ? sound(p, 0, NP / 2, SEED) :
					 check_zero(p, NP / 2));

		fill(p, 0, NP, SEED2);
		ASSERT_TRUE(sound(p, 0, NP, SEED2));
		ASSERT_EQ(munmap(page(p, i & 1 ? NP / 2 : 0), bytes(NP / 2)), 0);
		ASSERT_TRUE(sound(rest, first, NP / 2, SEED2));
		ASSERT_EQ(madvise(rest, bytes(NP / 2), MADV_DODUMP), 0);
		/* What is mapped anew is part of the one that was left. */
		ASSERT_NE(map(page(p, i & 1 ? NP / 2 : 0), NP / 2), NULL);
		EXPECT_EQ(count_vmas(p, NP), 1);
		fill(p, 0, NP, SEED3);
		ASSERT_TRUE(sound(p, 0, NP, SEED3));
		EXPECT_LAZY_IF(variant->setup && env->groups, p, NP);
	}
}

/* There is a limit; a VMA more is an upgrade, whatever it comes from. */
ANON_TEST(group_full)
{
	const unsigned int n = NP / GROUP_MAX;
	const bool lazy = variant->setup && env->groups;
	struct kid k;

	for (unsigned int i = 0; i < 4; i++)
		ASSERT_NE(map_filled(slot(2 * i) + bytes(NP), NP, SEED + i), NULL);

	begin();
	for (unsigned int i = 0; i < 4; i++) {
		char *p = slot(2 * i) + bytes(NP), *q = slot(2 * i + 1);
		char *last = page(p, NP - n), *before = p - bytes(n);

		window();
		ASSERT_TRUE(cut(p, GROUP_MAX, n));
		EXPECT_SPLIT(1);
		ASSERT_TRUE(sound(p, 0, NP, SEED + i));
		if (i == 2) {
			ASSERT_EQ(mprotect(p, bytes(n), PROT_READ), 0);
			ASSERT_NE(map(before, n), NULL);
		}

		window();
		if (i == 0) {
			ASSERT_EQ(mprotect(p, psize(), PROT_READ), 0);
			EXPECT_EQ(count_vmas(p, NP), GROUP_MAX + 1);
			ASSERT_EQ(mprotect(p, psize(), PROT_READ | PROT_WRITE), 0);
		} else if (i == 1) {
			ASSERT_EQ(mremap(last, bytes(n), bytes(n),
					 MREMAP_MAYMOVE | MREMAP_FIXED, q), q);
			EXPECT_EQ(count_vmas(p, NP), GROUP_MAX - 1);
			ASSERT_TRUE(sound(q, NP - n, n, SEED + i));
			ASSERT_EQ(mremap(q, bytes(n), bytes(n),
					 MREMAP_MAYMOVE | MREMAP_FIXED, last), last);
		} else if (i == 2) {
			fill(before, 0, n, SEED2);
			EXPECT_EQ(count_vmas(before, NP + n), GROUP_MAX + 1);
			ASSERT_EQ(mprotect(p, bytes(n), PROT_READ | PROT_WRITE), 0);
			EXPECT_EQ(count_vmas(before, NP + n), GROUP_MAX);
			ASSERT_TRUE(sound(before, 0, n, SEED2));
		}
		EXPECT_EVENTS(EV_UPGRADE, 1, i < 3 && lazy);
		EXPECT_EQ(count_vmas(p, NP), GROUP_MAX);
		ASSERT_TRUE(sound(p, 0, NP, SEED + i));
	}

	/* One is a group still. It is upgraded as a whole. */
	window();
	if (kid_spawn(&k)) {
		bool ok = true;

		for (unsigned int i = 0; i < 4; i++) {
			char *p = slot(2 * i) + bytes(NP);

			ok &= check(p, 0, NP, SEED + i);
			fill(p, 0, NP / 4, SEED3);
		}
		kid_pause(&k, ok);
		for (unsigned int i = 0; i < 4; i++) {
			char *p = slot(2 * i) + bytes(NP);

			ok &= check(p, 0, NP / 4, SEED3);
			ok &= check(page(p, NP / 4), NP / 4, NP - NP / 4, SEED + i);
		}
		kid_exit(ok);
	}
	ASSERT_GT(k.pid, 0);
	ASSERT_TRUE(kid_paused(&k));
	EXPECT_EVENTS(EV_UPGRADE, 1, lazy);
	for (unsigned int i = 0; i < 4; i++) {
		char *p = slot(2 * i) + bytes(NP);

		ASSERT_TRUE(check(p, 0, NP, SEED + i));
		if (env->numa)
			ASSERT_TRUE(migrate_to(0, p, NP, env->node[1], MPOL_MF_MOVE_ALL));
		EXPECT_TRUE(shared(getpid(), p, k.pid, p, NP, NP - NP / 4));
		fill(page(p, NP / 2), NP / 2, NP / 4, SEED + i);
		ASSERT_TRUE(uncut(p, NP));
		ASSERT_TRUE(check(p, 0, NP, SEED + i));
	}
	ASSERT_TRUE(kid_finish(&k));
	for (unsigned int i = 0; i < 4; i++)
		ASSERT_TRUE(sound(slot(2 * i) + bytes(NP), 0, NP, SEED + i));
}

/*
 * The VMAs of a group go in any order. In some the one that was there first is
 * not the last: its struct is still needed then, and freed later.
 */
ANON_TEST(group_unmap)
{
	unsigned int nr = 0;

	for (unsigned int i = 0; i < 6; i++)
		ASSERT_NE(map_filled(slot(i), 3 * PIECE, SEED + i), NULL);

	begin();
	for (unsigned int i = 0; i < 6; i++) {
		char *p = slot(i), *last = page(p, orders[i][2] * PIECE);
		bool needed = false;

		deferred_window();
		ASSERT_TRUE(cut(p, 3, PIECE));
		for (unsigned int j = 0; j < 3; j++) {
			ASSERT_EQ(munmap(page(p, orders[i][j] * PIECE), bytes(PIECE)), 0);
			needed |= j < 2 && deferred_more() > 0;
			for (unsigned int l = j + 1; l < 3; l++) {
				unsigned int first = orders[i][l] * PIECE;

				ASSERT_TRUE(sound(page(p, first), first, PIECE, SEED + i));
			}
			if (j != 1)
				continue;
			/* The last one is a group again for a while. */
			ASSERT_EQ(mprotect(last, bytes(1), PROT_READ), 0);
			ASSERT_TRUE(sound(last, orders[i][2] * PIECE, PIECE, SEED + i));
			ASSERT_EQ(mprotect(last, bytes(1), PROT_READ | PROT_WRITE), 0);
			EXPECT_EQ(count_vmas(last, PIECE), 1);
			ASSERT_TRUE(sound(last, orders[i][2] * PIECE, PIECE, SEED + i));
		}
		deferred_ends();
		nr += needed;
	}
	EXPECT_SPLIT(6);
	if (deferred() >= 0 && variant->setup)
		EXPECT_GE(nr, 4u);
}

/* And with a fork after the first of them went. */
ANON_TEST(group_unmap_fork)
{
	for (unsigned int i = 0; i < 6; i++)
		ASSERT_NE(map_filled(slot(i), 3 * PIECE, SEED + i), NULL);

	begin();
	for (unsigned int i = 0; i < 6; i++) {
		const unsigned int *at = orders[i];
		char *p = slot(i);
		struct kid k;

		window();
		deferred_window();
		/* The first round's fork upgrades all. */
		ASSERT_TRUE(cut(p, 3, PIECE));
		EXPECT_SHARED(1, variant->setup && !i);
		ASSERT_EQ(munmap(page(p, at[0] * PIECE), bytes(PIECE)), 0);
		if (kid_spawn(&k)) {
			char *q = page(p, at[1] * PIECE), *r = page(p, at[2] * PIECE);
			bool ok = check(q, at[1] * PIECE, PIECE, SEED + i);

			ok &= check(r, at[2] * PIECE, PIECE, SEED + i);
			fill(q, 0, PIECE / 2, SEED3);
			kid_pause(&k, ok);
			/* The parent has none of it any more. */
			ok = check(q, 0, PIECE / 2, SEED3);
			ok &= sound(page(q, PIECE / 2), at[1] * PIECE + PIECE / 2,
				    PIECE / 2, SEED + i);
			ok &= sound(r, at[2] * PIECE, PIECE, SEED + i);
			ok &= !munmap(r, bytes(PIECE));
			ok &= sound(q, 0, PIECE / 2, SEED3);
			kid_exit(ok);
		}
		ASSERT_GT(k.pid, 0);
		ASSERT_TRUE(kid_paused(&k));
		for (unsigned int j = 1; j < 3; j++) {
			char *q = page(p, at[j] * PIECE);

			ASSERT_TRUE(check(q, at[j] * PIECE, PIECE, SEED + i));
			if (env->numa)
				ASSERT_TRUE(migrate_to(0, q, PIECE, env->node[1],
						       MPOL_MF_MOVE_ALL));
			EXPECT_TRUE(shared(getpid(), q, k.pid, q, PIECE,
					   j == 1 ? PIECE / 2 : PIECE));
			ASSERT_EQ(munmap(q, bytes(PIECE)), 0);
		}
		EXPECT_DEFERRED(1, variant->setup);
		ASSERT_TRUE(kid_finish(&k));
		deferred_ends();
	}
}

/* Nothing is left behind when a group is gone, in whatever order it went. */
ANON_TEST(group_leak)
{
	static const char * const name[] = {
		"vm_area_struct", "anon_vma", "anon_vma_chain",
	};
	const unsigned int rounds = 540, slack = 100;
	unsigned long was[3], now;
	char *p = slot(0);
	const bool seen = leaks_are_seen(p);

	if (!seen && deferred() < 0)
		SKIP(return, NO_LEAKS);
	deferred_window();
	begin();
	for (unsigned int round = 0; round < rounds; round++) {
		/* No fork; one of all three; one when the middle one, the head, is gone. */
		const unsigned int kind = round % 3, order = round / 3;
		const unsigned int *at = orders[kind == 2 ? 2 + order % 2 : order % 6];

		/* Some at first, to fill what the caches hold back. */
		for (unsigned int i = 0; i < 3 && round == rounds / 6; i++)
			was[i] = slab_objects(name[i]);
		ASSERT_NE(map(p, 3), NULL);
		fill(p, 0, 3, SEED + round);
		ASSERT_TRUE(cut(p, 3, 1));
		for (unsigned int j = 0; j < 3; j++) {
			if (j + 1 == kind) {
				pid_t pid = fork();

				if (!pid)
					_exit(!check_page(page(p, at[j]), SEED + round, at[j]));
				ASSERT_TRUE(pid > 0 && reap(pid));
			}
			ASSERT_EQ(munmap(page(p, at[j]), psize()), 0);
			for (unsigned int l = j + 1; l < 3; l++)
				ASSERT_TRUE(check_page(page(p, at[l]), SEED + round, at[l]));
		}
	}
	/* The forks upgrade. Without groups it has been done then. */
	EXPECT_EVENTS(EV_UPGRADE, env->groups ? rounds / 3 * 2 : rounds, variant->action);
	if (env->groups)
		EXPECT_EVENTS(EV_UPGRADE, rounds, false);
	EXPECT_FREED();
	for (unsigned int i = 0; i < 3 && seen; i++) {
		/* Others may be at work meanwhile. */
		for (unsigned int t = 0; t < TRIES; t++) {
			now = slab_objects(name[i]);
			if (now < was[i] + slack)
				break;
			usleep(200000);
		}
		EXPECT_LT(now, was[i] + slack)
			TH_LOG("%s: %lu, then %lu", name[i], was[i], now);
	}
}

/* Its VMAs are moved one by one, in any order, and meet again. */
ANON_TEST(group_mremap)
{
	const int fixed = MREMAP_MAYMOVE | MREMAP_FIXED;

	for (unsigned int i = 0; i < 6; i++)
		ASSERT_NE(map_filled(slot(2 * i), 3 * PIECE, SEED + i), NULL);

	begin();
	for (unsigned int i = 0; i < 6; i++) {
		char *p = slot(2 * i), *q = slot(2 * i + 1);

		/* Parts of a VMA, which is what it is again over there. */
		for (unsigned int j = 0; j < 3; j++) {
			unsigned int first = orders[i][j] * PIECE;

			ASSERT_EQ(mremap(page(p, first), bytes(PIECE), bytes(PIECE), fixed,
					 page(q, first)), page(q, first));
			for (unsigned int l = 0; l < 3; l++) {
				char *at = l <= j ? q : p;

				first = orders[i][l] * PIECE;
				ASSERT_TRUE(sound(page(at, first), first, PIECE, SEED + i));
			}
		}
		EXPECT_EQ(count_vmas(p, 3 * PIECE), 0);
		EXPECT_EQ(count_vmas(q, 3 * PIECE), 1);

		/* The VMAs of a group, back to where they were. */
		ASSERT_TRUE(cut(q, 3, PIECE));
		for (unsigned int j = 0; j < 3; j++) {
			unsigned int first = orders[5 - i][j] * PIECE;

			ASSERT_EQ(mremap(page(q, first), bytes(PIECE), bytes(PIECE), fixed,
					 page(p, first)), page(p, first));
			ASSERT_TRUE(sound(page(p, first), first, PIECE, SEED + i));
		}
		EXPECT_EQ(count_vmas(q, 3 * PIECE), 0);
		ASSERT_TRUE(uncut(p, 3 * PIECE));
		ASSERT_TRUE(sound(p, 0, 3 * PIECE, SEED + i));
	}
	EXPECT_SPLIT(6);
	for (unsigned int i = 0; i < 6; i++) {
		EXPECT_LAZY_IF(variant->setup && env->groups, slot(2 * i), 3 * PIECE);
		ASSERT_TRUE(check(slot(2 * i), 0, 3 * PIECE, SEED + i));
	}
}

/*
 * MREMAP_DONTUNMAP of each VMA of a group, then a fork. The source is faulted
 * again, the one or the other is unmapped first.
 */
ANON_TEST(group_dontunmap)
{
	for (unsigned int i = 0; i < 6; i++)
		ASSERT_NE(map_filled(slot(2 * i), 3 * PIECE, SEED + i), NULL);

	begin();
	for (unsigned int i = 0; i < 6; i++) {
		char *p = slot(2 * i), *q = slot(2 * i + 1);
		unsigned int first = i / 2 * PIECE;
		char *src = page(p, first);

		window();
		ASSERT_TRUE(cut(p, 3, PIECE));
		ASSERT_EQ(mremap(src, bytes(PIECE), bytes(PIECE),
				 MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, q), q);
		EXPECT_SPLIT(1);
		ASSERT_TRUE(check_zero(src, PIECE));
		ASSERT_TRUE(sound(q, first, PIECE, SEED + i));
		fill(src, first, PIECE, SEED2);
		ASSERT_TRUE(sound(src, first, PIECE, SEED2));
		for (unsigned int j = 0; j < 3; j++) {
			if (j != i / 2)
				ASSERT_TRUE(sound(page(p, j * PIECE), j * PIECE, PIECE,
						  SEED + i));
		}
		ASSERT_TRUE(check(q, first, PIECE, SEED + i));
	}
	/* All six at once, so that each is a group up to here. The first fork upgrades all. */
	window();
	for (unsigned int i = 0; i < 6; i++) {
		char *p = slot(2 * i), *q = slot(2 * i + 1);
		unsigned int first = i / 2 * PIECE;
		char *src = page(p, first);
		struct kid k;

		if (kid_spawn(&k)) {
			bool ok = check(src, first, PIECE, SEED2);

			ok &= check(q, first, PIECE, SEED + i);
			fill(src, first, 2, SEED3);
			fill(q, first, 2, SEED3);
			kid_pause(&k, ok);
			/* It keeps the source, or what was moved. */
			ok = !munmap(i & 1 ? src : q, bytes(PIECE));
			ok &= sound(i & 1 ? q : src, first, 2, SEED3);
			kid_pause(&k, ok);
			/* By now nobody else has these pages. */
			ok = i & 1 ? sound(page(q, 2), first + 2, PIECE - 2, SEED + i) :
				     sound(page(src, 2), first + 2, PIECE - 2, SEED2);
			kid_exit(ok);
		}
		ASSERT_GT(k.pid, 0);
		ASSERT_TRUE(kid_paused(&k));
		EXPECT_EVENTS(EV_UPGRADE, 6, variant->setup && env->groups);
		if (env->numa) {
			ASSERT_TRUE(migrate_to(0, src, PIECE, env->node[1], MPOL_MF_MOVE_ALL));
			ASSERT_TRUE(migrate_to(0, q, PIECE, env->node[1], MPOL_MF_MOVE_ALL));
		}
		EXPECT_TRUE(shared(getpid(), src, k.pid, src, PIECE, PIECE - 2));
		EXPECT_TRUE(shared(getpid(), q, k.pid, q, PIECE, PIECE - 2));
		ASSERT_EQ(munmap(i & 1 ? src : q, bytes(PIECE)), 0);
		ASSERT_TRUE(i & 1 ? check(q, first, PIECE, SEED + i) :
				    check(src, first, PIECE, SEED2));
		kid_go(&k);
		ASSERT_TRUE(kid_paused(&k));
		ASSERT_EQ(munmap(i & 1 ? q : src, bytes(PIECE)), 0);
		ASSERT_TRUE(kid_finish(&k));
		for (unsigned int j = 0; j < 3; j++) {
			if (j != i / 2)
				ASSERT_TRUE(sound(page(p, j * PIECE), j * PIECE, PIECE,
						  SEED + i));
		}
	}
}

/* A fork upgrades a group once, and all of it. */
ANON_TEST(group_fork)
{
	const unsigned int n = 3 * PIECE;
	char *p = map_filled(slot(0), n, SEED);
	char *q = map_filled(slot(1), n, SEED2);
	uint64_t seed[3 * PIECE];
	struct kid k;

	ASSERT_NE(p, NULL);
	ASSERT_NE(q, NULL);
	for (unsigned int i = 0; i < n; i++)
		seed[i] = SEED;
	begin();
	ASSERT_TRUE(cut(p, 3, PIECE));
	ASSERT_TRUE(cut(q, 3, PIECE));
	EXPECT_SPLIT(2);
	/* Of one it is swap entries that are shared. */
	ASSERT_TRUE(sound(p, 0, n, SEED));
	ASSERT_TRUE(shake(q, n));
	window();
	if (kid_spawn(&k)) {
		bool ok = check_seeds(p, seed, n) && check(q, 0, n, SEED2);

		kid_pause(&k, ok);
		for (unsigned int i = 0; i < n; i += 2)
			set_page(p, seed, i, SEED3);
		kid_pause(&k, check_seeds(p, seed, n));
		kid_exit(check_seeds(p, seed, n) && check(q, 0, n, SEED2));
	}
	ASSERT_GT(k.pid, 0);
	ASSERT_TRUE(kid_paused(&k));
	EXPECT_EVENTS(EV_UPGRADE, 2, variant->setup && env->groups);
	EXPECT_CHILDREN_LAZY(6);
	EXPECT_TRUE(shared(getpid(), p, k.pid, p, n, n));
	if (env->numa)
		ASSERT_TRUE(migrate_to(0, p, n, env->node[1], MPOL_MF_MOVE_ALL));
	EXPECT_TRUE(shared(getpid(), p, k.pid, p, n, n));
	ASSERT_TRUE(check_seeds(p, seed, n));

	kid_go(&k);
	ASSERT_TRUE(kid_paused(&k));
	ASSERT_TRUE(check_seeds(p, seed, n));
	for (unsigned int i = 0; i < n; i += 3)
		set_page(p, seed, i, SEED2);
	EXPECT_TRUE(shared(getpid(), p, k.pid, p, n, n / 3));
	if (env->numa) {
		ASSERT_TRUE(migrate_to(0, p, n, env->node[0], MPOL_MF_MOVE_ALL));
		ASSERT_TRUE(migrate_to(k.pid, p, n, env->node[1], MPOL_MF_MOVE_ALL));
	}
	EXPECT_TRUE(shared(getpid(), p, k.pid, p, n, n / 3));
	ASSERT_TRUE(check_seeds(p, seed, n));
	ASSERT_TRUE(uncut(q, n));
	ASSERT_EQ(munmap(page(q, PIECE), bytes(PIECE)), 0);
	ASSERT_TRUE(kid_finish(&k));
	ASSERT_TRUE(shake(p, n));
	ASSERT_TRUE(check_seeds(p, seed, n));
	ASSERT_TRUE(sound(q, 0, PIECE, SEED2));
	ASSERT_TRUE(sound(page(q, 2 * PIECE), 2 * PIECE, PIECE, SEED2));
}

/* The process whose group it was exits; its child goes on with the pages. */
ANON_TEST(group_parent_exits)
{
	const unsigned int n = 3 * PIECE;
	struct kid k;

	ASSERT_EQ(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
	begin();
	for (unsigned int i = 0; i < 3; i++) {
		char *p = slot(0);

		window();
		deferred_window();
		if (kid_spawn(&k)) {
			pid_t parent = getpid();
			bool ok = map_filled(p, n, SEED) && cut(p, 3, PIECE);

			/* One of its VMAs is gone before the fork. */
			ok &= !munmap(page(p, i * PIECE), bytes(PIECE));
			if (ok && fork())
				_exit(0);
			while (ok && getppid() == parent)
				usleep(1000);
			ok &= deferred_fit(1, variant->action);
			for (unsigned int j = 0; j < 3; j++) {
				char *q = page(p, j * PIECE);

				if (j == i)
					continue;
				ok &= check(q, j * PIECE, PIECE, SEED);
				fill(q, j * PIECE, 2, SEED2);
				ok &= sound(q, j * PIECE, 2, SEED2);
				ok &= sound(page(q, 2), j * PIECE + 2, PIECE - 2, SEED);
				ok &= !mprotect(page(q, 1), bytes(2), PROT_READ);
				ok &= sound(q, j * PIECE, 2, SEED2);
				ok &= sound(page(q, 2), j * PIECE + 2, PIECE - 2, SEED);
			}
			kid_exit(ok);
		}
		ASSERT_GT(k.pid, 0);
		ASSERT_TRUE(kid_end(&k));
		ASSERT_TRUE(reap(-1));
		EXPECT_EVENTS(EV_UPGRADE, 1, variant->action);
		deferred_ends();
	}
}

/*
 * The same calls for memory that is lazy and for memory that is not: there are
 * the same VMAs after each one of them.
 */
#define TWIN_PAGES	48u
#define TWIN_STEPS	160u

struct twin_page {
	bool mapped;
	bool writable;
	uint64_t seed;
	unsigned int index;
};

struct twin {
	/* Two ranges, one after the other in here. */
	struct twin_page page[2 * TWIN_PAGES];
	char *p[2];
	unsigned int rnd;
};

static unsigned int twin_rnd(struct twin *t, unsigned int n)
{
	t->rnd = t->rnd * 1103515245u + 12345u;
	return (t->rnd >> 16) % n;
}

static bool twin_check(struct twin *t)
{
	bool ok = true;

	for (unsigned int i = 0; i < 2 * TWIN_PAGES; i++) {
		char *p = page(t->p[i / TWIN_PAGES], i % TWIN_PAGES);

		if (!t->page[i].mapped)
			continue;
		if (t->page[i].seed)
			ok &= check_page(p, t->page[i].seed, t->page[i].index);
		else
			ok &= check_zero(p, 1);
	}
	return ok;
}

/* One call. Returns false if it or what it did is wrong. */
static bool twin_step(struct twin *t, unsigned int step)
{
	unsigned int which = twin_rnd(t, 2), op = twin_rnd(t, 10);
	unsigned int from = twin_rnd(t, TWIN_PAGES);
	unsigned int n = 1 + twin_rnd(t, (TWIN_PAGES - from + 1) / 2);
	struct twin_page *a = &t->page[which * TWIN_PAGES + from];
	struct twin_page *b = &t->page[!which * TWIN_PAGES + from];
	char *p = page(t->p[which], from), *q = page(t->p[!which], from);
	bool all = true;

	for (unsigned int i = 0; i < n; i++)
		all &= a[i].mapped;

	switch (op) {
	case 0:
		if (munmap(p, bytes(n)))
			return false;
		memset(a, 0, n * sizeof(*a));
		break;
	case 1:
		if (!map(p, n))
			return false;
		for (unsigned int i = 0; i < n; i++)
			a[i] = (struct twin_page){ .mapped = true, .writable = true };
		break;
	case 2:
	case 3:
		/* It stops at a hole, whatever it has done. */
		if (!all)
			break;
		if (mprotect(p, bytes(n), op == 2 ? PROT_READ : PROT_READ | PROT_WRITE))
			return false;
		for (unsigned int i = 0; i < n; i++)
			a[i].writable = op == 3;
		break;
	case 4:
	case 5:
		/* It goes on after a hole. */
		if (!!madvise(p, bytes(n), op == 4 ? MADV_DONTDUMP : MADV_DODUMP) == all)
			return false;
		break;
	case 6:
		if (!all)
			break;
		if (mremap(p, bytes(n), bytes(n), MREMAP_MAYMOVE | MREMAP_FIXED, q) != q)
			return false;
		memcpy(b, a, n * sizeof(*a));
		memset(a, 0, n * sizeof(*a));
		break;
	case 7:
		/* Of one VMA only. It stays, unfaulted; without groups it may not be. */
		if (!env->groups || !all || count_vmas(p, n) > 1)
			break;
		if (mremap(p, bytes(n), bytes(n), MREMAP_MAYMOVE | MREMAP_FIXED |
			   MREMAP_DONTUNMAP, q) != q)
			return false;
		memcpy(b, a, n * sizeof(*a));
		for (unsigned int i = 0; i < n; i++)
			a[i].seed = 0;
		break;
	default:
		for (unsigned int i = 0; i < n; i++) {
			if (!a[i].mapped || !a[i].writable)
				continue;
			a[i].seed = SEED + step;
			a[i].index = i;
			fill_page(page(p, i), a[i].seed, i);
		}
	}
	return true;
}

ANON_TEST(group_same_vmas)
{
	static struct twin twin[2];

	for (unsigned int seed = 0; seed < 4; seed++) {
		memset(twin, 0, sizeof(twin));
		for (unsigned int i = 0; i < 4; i++)
			twin[i / 2].p[i & 1] = slot(4 * seed + i) + bytes(NP);
		ASSERT_EQ(munmap(slot(4 * seed), bytes(4 * SLOT_PAGES)), 0);
		twin[0].rnd = seed + 1;
		twin[1].rnd = seed + 1;
		for (unsigned int step = 1; step <= TWIN_STEPS; step++) {
			bool lazy = step > TWIN_STEPS / 2 ? variant->action : variant->setup;
			unsigned int vmas[2];

			for (unsigned int i = 0; i < 2; i++) {
				struct twin *t = &twin[i];

				try_write_file(LAZY_SYSCTL, i && lazy ? "1" : "0");
				ASSERT_TRUE(twin_step(t, step))
					TH_LOG("seed %u step %u", seed, step);
				vmas[i] = count_vmas(t->p[0], TWIN_PAGES) +
					  count_vmas(t->p[1], TWIN_PAGES);
			}
			ASSERT_EQ(vmas[0], vmas[1])
				TH_LOG("seed %u step %u", seed, step);
			if (step % 8 == 0)
				ASSERT_TRUE(twin_check(&twin[0]) && twin_check(&twin[1]));
		}
		ASSERT_TRUE(twin_check(&twin[0]) && twin_check(&twin[1]));
	}
}

/* Have the @nth allocation fail, of those from now on; or none, for 0. */
static bool fail_nth(int fd, unsigned int nth)
{
	char buf[16];

	return pwrite(fd, buf, snprintf(buf, sizeof(buf), "%u", nth), 0) > 0;
}

/* Has it failed already? */
static bool has_failed(int fd)
{
	char buf[16] = "";

	return pread(fd, buf, sizeof(buf) - 1, 0) > 0 && !atoi(buf);
}

/* Whichever allocation fails on the way to a group, or from it, all goes on. */
ANON_TEST(group_enomem)
{
	/* There is room below. */
	char *p = page(slot(0), PIECE), *q = slot(1);
	unsigned int nr_failed = 0;
	int fd;

	fd = open("/proc/thread-self/fail-nth", O_RDWR);
	if (fd < 0 || try_write_file(FAILSLAB("ignore-gfp-wait"), "N"))
		SKIP(return, "no " FAILSLAB("ignore-gfp-wait"));
	try_write_file(FAILSLAB("verbose"), "0");
	begin();
	for (unsigned int op = 0; op < 8; op++) {
		bool failed = true;

		for (unsigned int nth = 1; failed && nth < 1000; nth += op == 6 ? 3 : 1) {
			unsigned int n = op == 5 || op == 7 ? NP / GROUP_MAX : NP / 4;
			char *below = p - bytes(n);
			pid_t pid = 0;
			int ret = 0;

			ASSERT_NE(map_filled(p, NP, SEED), NULL);
			if (op >= 2)
				ASSERT_TRUE(cut(p, NP / n, n));
			if (op == 7) {
				ASSERT_EQ(mprotect(p, bytes(n), PROT_READ), 0);
				ASSERT_NE(map(below, n), NULL);
			}
			ASSERT_TRUE(fail_nth(fd, nth));
			switch (op) {
			case 0:
				ret = mprotect(page(p, n), bytes(n), PROT_READ);
				break;
			case 1:
				ret = munmap(page(p, n), bytes(n));
				break;
			case 2:
				ret = mprotect(page(p, n + 1), bytes(2), PROT_READ);
				break;
			case 3:
				ret = mremap(page(p, n), bytes(n), bytes(n), MREMAP_MAYMOVE |
					     MREMAP_FIXED, q) != q;
				break;
			case 4:
				ret = mremap(page(p, n), bytes(n), bytes(n), MREMAP_MAYMOVE |
					     MREMAP_FIXED | MREMAP_DONTUNMAP, q) != q;
				break;
			case 5:
				/* This one is too many, so that it allocates. */
				ret = mprotect(p, psize(), PROT_READ);
				break;
			case 6:
				pid = fork();
				if (!pid)
					_exit(!check(p, 0, NP, SEED));
				ret = pid < 0;
				break;
			case 7:
				/* A first fault beside as many. It is tried until it succeeds. */
				fill_page(below, SEED2, 0);
				break;
			}
			failed = has_failed(fd);
			fail_nth(fd, 0);
			nr_failed += failed;
			if (ret) {
				EXPECT_TRUE(failed);
				EXPECT_EQ(errno, ENOMEM);
			}
			ASSERT_TRUE(verify(getpid()));
			if (op == 6 && !ret)
				ASSERT_TRUE(reap(pid));
			if (op == 7) {
				ASSERT_TRUE(check_page(below, SEED2, 0));
				ASSERT_EQ(munmap(below, bytes(n)), 0);
			}

			/* If it has failed then all is as it was. */
			ASSERT_TRUE(check(p, 0, n, SEED));
			ASSERT_TRUE(check(page(p, 2 * n), 2 * n, NP - 2 * n, SEED));
			if (op == 4 && !ret) {
				ASSERT_TRUE(check_zero(page(p, n), n));
				fill(page(p, n), n, n, SEED2);
				ASSERT_TRUE(check(q, n, n, SEED));
			}
			if ((op == 3 || op == 4) && !ret)
				ASSERT_EQ(mremap(q, bytes(n), bytes(n), MREMAP_MAYMOVE |
						 MREMAP_FIXED, page(p, n)), page(p, n));
			if (op == 1 && !ret) {
				ASSERT_NE(map(page(p, n), n), NULL);
				fill(page(p, n), n, n, SEED);
			}
			ASSERT_TRUE(check(p, 0, NP, SEED));
			ASSERT_EQ(mprotect(p, bytes(NP), PROT_READ | PROT_WRITE), 0);
			/* Only what is changed is merged with its neighbours. */
			ASSERT_EQ(madvise(p, bytes(NP), MADV_DONTDUMP), 0);
			ASSERT_TRUE(uncut(p, NP));
			ASSERT_TRUE(nth % 8 ? true : sound(p, 0, NP, SEED));
			EXPECT_LAZY_IF(op < 5 && variant->action && env->groups, p, NP);
		}
		EXPECT_FALSE(failed);
	}
	TH_LOG("%u allocations failed", nr_failed);
	EXPECT_GT(nr_failed, 0u);
	close(fd);
}

int main(int argc, char **argv)
{
	env->lazy_tests = true;
	return env_main(argc, argv, test_harness_run);
}
