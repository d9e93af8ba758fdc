// SPDX-License-Identifier: GPL-2.0
/*
 * Anonymous memory that is locked, guarded, pinned, freed on request.
 */
#define _GNU_SOURCE
#include "kselftest_harness.h"
#include <sys/ioctl.h>
#include "../../../../mm/gup_test.h"
#include "anon_rmap.h"

#define GUP_TEST "/sys/kernel/debug/gup_test"

/* The first page comes not by a fault of its user, but by someone's request. */
ANON_TEST(fault_by_request)
{
	char *p = map(slot(0), NP);
	char *q = map(slot(1), NP);
	char *buf = map_filled(slot(2), NP, SEED2);
	int fd;

	ASSERT_NE(p, NULL);
	ASSERT_NE(q, NULL);
	ASSERT_NE(buf, NULL);
	ASSERT_EQ(mprotect(q, bytes(NP), PROT_READ), 0);
	fd = open("/proc/self/mem", O_RDWR);
	ASSERT_GE(fd, 0);

	begin();
	ASSERT_EQ(madvise(p, bytes(NP), MADV_POPULATE_WRITE), 0);
	EXPECT_EQ(count_present(getpid(), p, NP), NP);
	/* As a debugger writes: to a page that its owner may only read. */
	if (pwrite(fd, buf, bytes(NP), (off_t)q) == (ssize_t)bytes(NP)) {
		ASSERT_TRUE(check(q, 0, NP, SEED2));
		ASSERT_TRUE(shake(q, NP));
		ASSERT_TRUE(check(q, 0, NP, SEED2));
	}
	close(fd);

	ASSERT_TRUE(check_zero(p, NP));
	fill(p, 0, NP, SEED);
	ASSERT_TRUE(shake(p, NP));
	ASSERT_TRUE(check(p, 0, NP, SEED));
}

ANON_TEST(madv_dontneed)
{
	char *p = map_filled(slot(0), NP, SEED);

	ASSERT_NE(p, NULL);
	begin();
	/* All pages are gone, and others take their places. */
	ASSERT_EQ(madvise(p, bytes(NP), MADV_DONTNEED), 0);
	ASSERT_TRUE(check_zero(p, NP));
	fill(p, 0, NP, SEED2);
	ASSERT_TRUE(shake(p, NP));
	ASSERT_TRUE(check(p, 0, NP, SEED2));
}

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL	102
#define MADV_GUARD_REMOVE	103
#endif

ANON_TEST(guard_regions)
{
	char *p = map_filled(slot(0), NP, SEED);
	char *q = map(slot(1), NP);
	struct kid k;

	ASSERT_NE(p, NULL);
	ASSERT_NE(q, NULL);
	begin();
	if (madvise(page(p, 4), bytes(4), MADV_GUARD_INSTALL))
		SKIP(return, "no MADV_GUARD_INSTALL");
	EXPECT_EQ(count_vmas(p, NP), 1);
	/* The markers are to be inherited, also where there was no page. */
	ASSERT_EQ(madvise(page(q, 4), bytes(4), MADV_GUARD_INSTALL), 0);
	if (kid_spawn(&k)) {
		bool ok = true;

		for (unsigned int i = 0; i < NP; i++) {
			ok &= is_guarded(page(p, i)) == (i >= 4 && i < 8);
			ok &= is_guarded(page(q, i)) == (i >= 4 && i < 8);
		}
		ok &= check(p, 0, 4, SEED);
		kid_exit(ok && check(page(p, 8), 8, NP - 8, SEED));
	}
	ASSERT_GT(k.pid, 0);
	ASSERT_TRUE(kid_end(&k));
	for (unsigned int i = 0; i < NP; i++) {
		ASSERT_EQ(is_guarded(page(p, i)), i >= 4 && i < 8);
		ASSERT_EQ(is_guarded(page(q, i)), i >= 4 && i < 8);
	}
	ASSERT_TRUE(shake(p, 4));
	ASSERT_TRUE(shake(page(p, 8), NP - 8));
	ASSERT_EQ(madvise(page(p, 4), bytes(4), MADV_GUARD_REMOVE), 0);
	ASSERT_TRUE(check(p, 0, 4, SEED));
	ASSERT_TRUE(check_zero(page(p, 4), 4));
	ASSERT_TRUE(check(page(p, 8), 8, NP - 8, SEED));
}

ANON_TEST(mlock)
{
	char *p = map_filled(slot(0), NP, SEED);
	char *q = map(slot(1), NP);
	struct kid k;

	ASSERT_NE(p, NULL);
	ASSERT_NE(q, NULL);
	begin();
	/* Faults it all in. */
	if (mlock(q, bytes(NP)))
		SKIP(return, "mlock: %s", strerror(errno));
	EXPECT_EQ(count_present(getpid(), q, NP), NP);
	ASSERT_TRUE(check_zero(q, NP));
	fill(q, 0, NP, SEED2);
	ASSERT_EQ(mlock(p, bytes(NP)), 0);
	ASSERT_EQ(munlock(p, bytes(NP)), 0);
	ASSERT_EQ(mlock(page(p, NP / 4), bytes(NP / 2)), 0);
	EXPECT_EQ(count_vmas(p, NP), 3);
	ASSERT_TRUE(check(p, 0, NP, SEED));
	if (env->numa) {
		ASSERT_TRUE(migrate_to(0, p, NP, env->node[1], MPOL_MF_MOVE));
		ASSERT_TRUE(migrate_to(0, q, NP, env->node[1], MPOL_MF_MOVE));
	}
	if (kid_spawn(&k)) {
		bool ok = check(p, 0, NP, SEED);

		fill(q, 0, NP / 2, SEED3);
		ok &= check(q, 0, NP / 2, SEED3);
		kid_exit(ok && check(page(q, NP / 2), NP / 2, NP / 2, SEED2));
	}
	ASSERT_GT(k.pid, 0);
	ASSERT_TRUE(kid_end(&k));
	ASSERT_EQ(munlock(p, bytes(NP)), 0);
	EXPECT_EQ(count_vmas(p, NP), 1);
	ASSERT_EQ(munlock(q, bytes(NP)), 0);
	ASSERT_TRUE(shake(p, NP));
	ASSERT_TRUE(shake(q, NP));
	ASSERT_TRUE(check(p, 0, NP, SEED));
	ASSERT_TRUE(check(q, 0, NP, SEED2));
}

static bool all_guarded(char *p, unsigned int n)
{
	unsigned int guarded = 0;

	for (unsigned int i = 0; i < n; i++)
		guarded += is_guarded(page(p, i));
	return guarded == n;
}

/* Guard markers at the border and elsewhere stay when VMAs are cut and moved. */
ANON_TEST(group_guards)
{
	const unsigned int half = NP / 2;
	char *p = map_filled(slot(0), NP, SEED);
	char *q = slot(1), *back = page(p, half);
	struct kid k;

	ASSERT_NE(p, NULL);
	begin();
	/* The first, the last, and two at each side of the border. */
	if (madvise(p, bytes(1), MADV_GUARD_INSTALL))
		SKIP(return, "no MADV_GUARD_INSTALL");
	ASSERT_EQ(madvise(page(p, half - 2), bytes(4), MADV_GUARD_INSTALL), 0);
	ASSERT_EQ(madvise(page(p, NP - 1), bytes(1), MADV_GUARD_INSTALL), 0);
	ASSERT_TRUE(cut(p, 2, half));
	for (unsigned int i = 0; i < 3; i++) {
		/* As it was cut; with the back elsewhere; as one. */
		char *b = i == 1 ? q : back;

		if (i == 1)
			ASSERT_EQ(mremap(back, bytes(half), bytes(half),
					 MREMAP_MAYMOVE | MREMAP_FIXED, q), q);
		if (i == 2) {
			ASSERT_EQ(mremap(q, bytes(half), bytes(half),
					 MREMAP_MAYMOVE | MREMAP_FIXED, back), back);
			ASSERT_TRUE(uncut(p, NP));
		}
		ASSERT_TRUE(all_guarded(p, 1));
		ASSERT_TRUE(all_guarded(page(p, half - 2), 2));
		ASSERT_TRUE(all_guarded(b, 2));
		ASSERT_TRUE(all_guarded(page(b, half - 1), 1));
		ASSERT_TRUE(sound(page(p, 1), 1, half - 3, SEED));
		ASSERT_TRUE(sound(page(b, 2), half + 2, half - 3, SEED));
	}

	ASSERT_TRUE(cut(p, 2, half));
	if (kid_spawn(&k)) {
		bool ok = all_guarded(p, 1) && all_guarded(page(p, half - 2), 4);

		ok &= all_guarded(page(p, NP - 1), 1);
		ok &= check(page(p, 1), 1, half - 3, SEED);
		kid_exit(ok && check(page(back, 2), half + 2, half - 3, SEED));
	}
	ASSERT_GT(k.pid, 0);
	ASSERT_TRUE(kid_end(&k));
	ASSERT_EQ(madvise(page(p, half - 2), bytes(4), MADV_GUARD_REMOVE), 0);
	ASSERT_TRUE(check_zero(page(p, half - 2), 4));
	ASSERT_TRUE(sound(page(p, 1), 1, half - 3, SEED));
	ASSERT_TRUE(sound(page(back, 2), half + 2, half - 3, SEED));
}

/* Pages that are pinned for long stay, in both VMAs, and all others move. */
ANON_TEST(group_pinned)
{
	const unsigned int half = NP / 2, nr = 4;
	char *p = map_filled(slot(0), NP, SEED);
	char *buf = map_filled(slot(1), NP, SEED3);
	char *back = page(p, half), *pinned = page(p, half - nr / 2);
	struct pin_longterm_test pin = {
		.addr = (unsigned long)pinned,
		.size = bytes(nr),
		.flags = PIN_LONGTERM_TEST_FLAG_USE_WRITE,
	};
	uint64_t pfn[NP], pfn2[NP], to = (unsigned long)buf;
	struct kid k;
	int fd;

	ASSERT_NE(p, NULL);
	ASSERT_NE(buf, NULL);
	fd = open(GUP_TEST, O_RDWR);
	if (fd < 0)
		SKIP(return, "no " GUP_TEST);

	begin();
	ASSERT_EQ(ioctl(fd, PIN_LONGTERM_TEST_START, &pin), 0);
	get_pfns(pinned, nr, pfn);
	ASSERT_TRUE(cut(p, 2, half));
	for (unsigned int i = 0; i < 3; i++) {
		void *pages[NP];
		int status[NP], nodes[NP];

		/* Cut, and as one, and shared with a child that gets copies. */
		if (i == 1)
			ASSERT_TRUE(uncut(p, NP));
		if (i == 2) {
			ASSERT_TRUE(cut(p, 2, half));
			if (kid_spawn(&k)) {
				kid_pause(&k, check(p, 0, NP, SEED));
				kid_exit(check(p, 0, half - nr / 2, SEED));
			}
			ASSERT_GT(k.pid, 0);
			ASSERT_TRUE(kid_paused(&k));
			EXPECT_TRUE(shared(getpid(), pinned, k.pid, pinned, nr, 0));
			ASSERT_TRUE(kid_finish(&k));
		}
		ASSERT_TRUE(sound(p, 0, half - nr / 2, SEED));
		ASSERT_TRUE(sound(page(back, nr / 2), half + nr / 2, half - nr / 2, SEED));
		for (unsigned int j = 0; j < nr && env->numa; j++) {
			pages[j] = page(pinned, j);
			nodes[j] = env->node[i & 1];
		}
		if (env->numa)
			sys_move_pages(0, nr, pages, nodes, status, MPOL_MF_MOVE_ALL);
		madvise(pinned, bytes(nr), MADV_PAGEOUT);
		EXPECT_EQ(count_present(getpid(), pinned, nr), nr);
		get_pfns(pinned, nr, pfn2);
		EXPECT_EQ(memcmp(pfn, pfn2, nr * sizeof(*pfn)), 0);

		/* What we write is what who has pinned it reads. */
		fill(pinned, i, nr, SEED2);
		ASSERT_EQ(ioctl(fd, PIN_LONGTERM_TEST_READ, &to), 0);
		ASSERT_TRUE(check(buf, i, nr, SEED2));
		fill(pinned, half - nr / 2, nr, SEED);
		ASSERT_EQ(ioctl(fd, PIN_LONGTERM_TEST_READ, &to), 0);
		ASSERT_TRUE(check(buf, half - nr / 2, nr, SEED));
	}
	ASSERT_EQ(ioctl(fd, PIN_LONGTERM_TEST_STOP), 0);
	ASSERT_TRUE(sound(p, 0, NP, SEED));
	close(fd);
}

int main(int argc, char **argv)
{
	return env_main(argc, argv, test_harness_run);
}
