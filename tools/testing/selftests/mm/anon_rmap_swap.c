// SPDX-License-Identifier: GPL-2.0
/*
 * Reclaim and swap: pages are taken from all who have them mapped, and come back.
 */
#define _GNU_SOURCE
#include "kselftest_harness.h"
#include <sys/uio.h>
#include "anon_rmap.h"

#define PAGE_IDLE "/sys/kernel/mm/page_idle/bitmap"

ANON_TEST(swap_alone)
{
	char *p = map_filled(slot(0), NP, SEED);

	if (!env->swap)
		SKIP(return, NO_SWAP);
	ASSERT_NE(p, NULL);
	begin();
	for (unsigned int i = 0; i < 3; i++) {
		ASSERT_TRUE(swap_out(p, NP));
		EXPECT_EQ(count_present(getpid(), p, NP), 0);
		ASSERT_TRUE(check(p, 0, NP, SEED + i));
		EXPECT_EQ(count_present(getpid(), p, NP), NP);
		/* Clean in the swap cache, or written to again. */
		if (i)
			ASSERT_TRUE(swap_out(p, NP));
		fill(p, 0, NP, SEED + i + 1);
	}
	ASSERT_TRUE(swap_out(p, NP));
	ASSERT_TRUE(check(p, 0, NP, SEED + 3));
}

/* Swapped out before the fork, so that it is entries that are shared. */
ANON_TEST(swap_then_fork)
{
	if (!env->swap)
		SKIP(return, NO_SWAP);
	for (unsigned int i = 0; i < 3; i++) {
		char *p = map_filled(slot(i), NP, SEED + i);

		ASSERT_NE(p, NULL);
		ASSERT_TRUE(swap_out(p, NP));
		/* Half of the last one's is in the swap cache, and mapped. */
		if (i == 2)
			ASSERT_TRUE(check(p, 0, NP / 2, SEED + i));
	}

	begin();
	for (unsigned int i = 0; i < 3; i++) {
		char *p = slot(i);
		struct kid k;

		if (kid_spawn(&k)) {
			bool ok = true;

			kid_pause(&k, true);
			/* i == 0: the child is the first to swap in. */
			ok &= check(p, 0, NP, SEED + i);
			fill(p, 0, NP / 2, SEED3);
			kid_pause(&k, ok);
			ok = check(p, 0, NP / 2, SEED3);
			ok &= check(page(p, NP / 2), NP / 2, NP / 2, SEED + i);
			/* The first half is the child's alone. */
			ok &= swap_out(p, NP / 2);
			ok &= check(p, 0, NP / 2, SEED3);
			kid_exit(ok);
		}
		ASSERT_GT(k.pid, 0);
		ASSERT_TRUE(kid_paused(&k));
		if (i)
			ASSERT_TRUE(check(p, 0, NP, SEED + i));
		if (i == 1)
			fill(p, 0, NP, SEED2);
		kid_go(&k);
		ASSERT_TRUE(kid_paused(&k));
		ASSERT_TRUE(check(p, 0, NP, i == 1 ? SEED2 : SEED + i));
		/*
		 * Unless swap is a zram, which gives each a page of its own,
		 * both map what one has swapped in. It is found in both.
		 */
		for (int to = 1; to >= 0 && env->numa && i != 1; to--)
			ASSERT_TRUE(migrate_to(0, page(p, NP / 2), NP / 2,
					       env->node[to], MPOL_MF_MOVE_ALL));
		ASSERT_TRUE(kid_finish(&k));
		ASSERT_TRUE(swap_out(p, NP));
		ASSERT_TRUE(check(p, 0, NP, i == 1 ? SEED2 : SEED + i));
	}
}

/* The child's own copies of shared pages, and then what is left to the parent. */
ANON_TEST(fork_then_swap)
{
	char *p = map_filled(slot(0), NP, SEED);
	struct kid k;

	if (!env->swap)
		SKIP(return, NO_SWAP);
	ASSERT_NE(p, NULL);
	begin();
	if (kid_spawn(&k)) {
		bool ok = check(p, 0, NP, SEED);

		fill(p, 0, NP, SEED2);
		ok &= swap_out(p, NP);
		kid_pause(&k, ok);
		ok = check(p, 0, NP, SEED2);
		ok &= swap_out(p, NP);
		kid_pause(&k, ok);
		ok = check(p, 0, NP, SEED2);
		kid_exit(ok);
	}
	ASSERT_GT(k.pid, 0);
	ASSERT_TRUE(kid_paused(&k));
	EXPECT_EQ(count_swapped(k.pid, p, NP), NP);
	EXPECT_EQ(count_swapped(getpid(), p, NP), 0);
	ASSERT_TRUE(swap_out(p, NP));
	kid_go(&k);
	ASSERT_TRUE(kid_paused(&k));
	ASSERT_TRUE(check(p, 0, NP, SEED));
	ASSERT_TRUE(kid_finish(&k));
	ASSERT_TRUE(check(p, 0, NP, SEED));
}

/* The swap cache may name a VMA of a process that is gone. */
ANON_TEST(swap_parent_exits)
{
	char *p = slot(0);
	pid_t middle;
	struct kid k;

	if (!env->swap)
		SKIP(return, NO_SWAP);
	ASSERT_EQ(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
	ASSERT_TRUE(kid_prepare(&k));
	begin();
	middle = fork();
	if (!middle) {
		bool ok = map_filled(p, NP, SEED) && swap_out(p, NP);

		/* A quarter is in the swap cache, and mapped. */
		ok &= check(p, 0, NP / 4, SEED);
		if (fork())
			_exit(!ok);
		kid_is_me(&k);
		kid_pause(&k, ok);
		ok = check(page(p, NP / 4), NP / 4, NP / 4, SEED);
		fill(page(p, NP / 2), NP / 2, NP / 4, SEED2);
		/* The last quarter is only entries: leave it so. */
		ok &= shake(p, NP - NP / 4);
		ok &= check(p, 0, NP / 2, SEED);
		ok &= check(page(p, NP / 2), NP / 2, NP / 4, SEED2);
		ok &= check(page(p, NP - NP / 4), NP - NP / 4, NP / 4, SEED);
		ok &= shake(p, NP);
		ok &= check(page(p, NP - NP / 4), NP - NP / 4, NP / 4, SEED);
		kid_exit(ok);
	}
	ASSERT_GT(middle, 0);
	kid_is_child(&k, -1);
	ASSERT_TRUE(kid_paused(&k));
	ASSERT_TRUE(reap(middle));
	kid_go(&k);
	ASSERT_TRUE(reap(-1));
}

/* Parts of what is swapped out are split off, moved, unmapped. */
ANON_TEST(swap_then_split)
{
	char *p = map_filled(slot(0), NP, SEED), *q = slot(1);
	const unsigned int n = NP / 4;

	if (!env->swap)
		SKIP(return, NO_SWAP);
	ASSERT_NE(p, NULL);
	ASSERT_TRUE(swap_out(p, NP));
	begin();
	ASSERT_EQ(mprotect(page(p, n), bytes(2 * n), PROT_READ), 0);
	EXPECT_EQ(count_swapped(getpid(), p, NP), NP);
	ASSERT_TRUE(check(page(p, n), n, n, SEED));
	ASSERT_EQ(mremap(page(p, 3 * n), bytes(n), bytes(n),
			 MREMAP_MAYMOVE | MREMAP_FIXED, q), q);
	EXPECT_EQ(count_swapped(getpid(), q, n), n);
	ASSERT_TRUE(check(q, 3 * n, n, SEED));
	ASSERT_TRUE(swap_out(page(p, n), n));
	ASSERT_TRUE(swap_out(q, n));
	ASSERT_EQ(mprotect(page(p, n), bytes(2 * n), PROT_READ | PROT_WRITE), 0);
	EXPECT_EQ(count_vmas(p, NP), 1);
	ASSERT_EQ(munmap(p, bytes(n)), 0);
	ASSERT_TRUE(check(page(p, n), n, 2 * n, SEED));
	ASSERT_TRUE(check(q, 3 * n, n, SEED));
	ASSERT_TRUE(shake(page(p, n), 2 * n));
	ASSERT_TRUE(check(page(p, n), n, 2 * n, SEED));
}

/*
 * Reclaim proper, of pages that several processes have mapped: it has to find
 * all of their page table entries, or it cannot have the page.
 *
 * Then pages that a child was the first to swap in are found in all of them.
 */
ANON_TEST(swap_shared)
{
	char *p = slot(0);
	unsigned int swapped = 0;
	const char *reason;
	struct kid k[3];

	if (!env->swap)
		SKIP(return, NO_SWAP);
	reason = cgroup_enter();
	if (reason)
		SKIP(return, "%s", reason);
	ASSERT_NE(map_filled(p, NP, SEED), NULL);
	begin();
	for (unsigned int i = 0; i < 3; i++) {
		if (kid_spawn(&k[i])) {
			bool ok = check(p, 0, NP, SEED);

			/* The last one has no part in the last quarter. */
			if (i == 2)
				ok &= !munmap(page(p, NP - NP / 4),
					      bytes(NP / 4));
			kid_pause(&k[i], ok);
			ok = check(p, 0, NP - NP / 4, SEED);
			fill(p, 0, NP / (i + 2), SEED2 + i);
			kid_pause(&k[i], ok);
			kid_exit(check(p, 0, NP / (i + 2), SEED2 + i));
		}
		ASSERT_GT(k[i].pid, 0);
		ASSERT_TRUE(kid_paused(&k[i]));
	}

	/* With a disk, they stay in the swap cache until they are met again. */
	for (unsigned int try = 0;
	     try < TRIES && (swapped < NP || cgroup_swapcached()); try++) {
		usleep(try * try * 1000);
		cgroup_reclaim(bytes(4 * NP));
		swapped = count_swapped(getpid(), p, NP);
	}
	EXPECT_EQ(swapped, NP);
	EXPECT_EQ(count_swapped(k[0].pid, p, NP), NP);
	EXPECT_EQ(count_swapped(k[1].pid, p, NP), NP);
	EXPECT_EQ(count_swapped(k[2].pid, p, NP), NP - NP / 4);

	for (unsigned int i = 0; i < 3; i++) {
		kid_go(&k[i]);
		ASSERT_TRUE(kid_paused(&k[i]));
	}
	ASSERT_TRUE(check(p, 0, NP, SEED));
	/*
	 * From a device as fast as memory, each reads a page of its own. From
	 * others, one who is not related to what the page names copies it.
	 */
	if (!strstr(env->swap_dev, "ram") && !strstr(env->swap_dev, "mem"))
		EXPECT_TRUE(shared(k[0].pid, page(p, NP / 2), getpid(), page(p, NP / 2),
				   NP / 4, NP / 4));
	for (int to = 1; to >= 0 && env->numa; to--)
		ASSERT_TRUE(migrate_to(0, p, NP, env->node[to],
				       MPOL_MF_MOVE_ALL));
	for (unsigned int i = 0; i < 3; i++)
		ASSERT_TRUE(kid_finish(&k[i]));
	ASSERT_TRUE(check(p, 0, NP, SEED));
}

ANON_TEST(madv_free)
{
	char *p = map(slot(0), NP);
	unsigned int lost = 0, bad;

	ASSERT_NE(p, NULL);
	/* A folio goes as a whole, or not at all. */
	madvise(p, bytes(NP), MADV_NOHUGEPAGE);
	fill(p, 0, NP, SEED);
	begin();
	ASSERT_EQ(madvise(p, bytes(NP), MADV_FREE), 0);
	/* Written to again: to be kept. */
	for (unsigned int i = 0; i < NP; i += 4)
		fill_page(page(p, i), SEED2, i);
	for (unsigned int i = 0; i < TRIES && !lost; i++) {
		/* They may be on their way to the LRU. */
		usleep(i * i * 1000);
		ASSERT_EQ(madvise(p, bytes(NP), MADV_PAGEOUT), 0);
		lost = NP - count_entries(getpid(), p, NP, PM_PRESENT | PM_SWAP);
	}
	EXPECT_GT(lost, 0u);
	lost = 0;
	for (unsigned int i = 0; i < NP; i++) {
		if (i % 4 == 0) {
			ASSERT_TRUE(check_page(page(p, i), SEED2, i));
		} else if (!page_is(page(p, i), SEED, i, &bad)) {
			/* It may be gone, but then all of it. */
			ASSERT_TRUE(check_zero(page(p, i), 1));
			lost++;
		}
	}
	TH_LOG("%u pages were freed", lost);
	fill(p, 0, NP, SEED3);
	ASSERT_TRUE(shake(p, NP));
	ASSERT_TRUE(check(p, 0, NP, SEED3));
}

/* Another process asks for it, and works on a VMA that is not its own. */
ANON_TEST(process_madvise)
{
	char *p = map_filled(slot(0), NP, SEED);
	unsigned int swapped = 0;
	struct iovec iov;
	struct kid k;
	int fd;

	if (!env->swap)
		SKIP(return, NO_SWAP);
	ASSERT_NE(p, NULL);
	begin();
	if (kid_spawn(&k)) {
		bool ok;

		fill(p, 0, NP, SEED2);
		kid_pause(&k, true);
		ok = check(p, 0, NP, SEED2);
		kid_exit(ok);
	}
	ASSERT_GT(k.pid, 0);
	ASSERT_TRUE(kid_paused(&k));
	fd = syscall(__NR_pidfd_open, k.pid, 0);
	ASSERT_GE(fd, 0);
	iov.iov_base = p;
	iov.iov_len = bytes(NP);
	for (unsigned int i = 0; i < TRIES && swapped < NP; i++) {
		long ret = syscall(__NR_process_madvise, fd, &iov, 1, MADV_PAGEOUT, 0);

		if (ret < 0 && errno == EPERM)
			SKIP(kid_finish(&k); return, "process_madvise() wants CAP_SYS_NICE");
		ASSERT_EQ(ret, (long)bytes(NP));
		swapped = count_swapped(k.pid, p, NP);
	}
	EXPECT_EQ(swapped, NP);
	/* The parent's are the parent's. */
	EXPECT_EQ(count_present(getpid(), p, NP), NP);
	ASSERT_TRUE(check(p, 0, NP, SEED));
	ASSERT_TRUE(kid_finish(&k));
	ASSERT_TRUE(check(p, 0, NP, SEED));
	close(fd);
}

static bool idle_op(int fd, uint64_t pfn, bool set, bool *idle)
{
	uint64_t word = 1ull << pfn % 64;
	off_t off = pfn / 64 * 8;

	if (set)
		return pwrite(fd, &word, sizeof(word), off) == sizeof(word);
	if (pread(fd, &word, sizeof(word), off) != sizeof(word))
		return false;
	*idle = word >> pfn % 64 & 1;
	return true;
}

/* It clears the accessed bits, and finds them set again, by reverse mapping. */
ANON_TEST(page_idle)
{
	char *p = map_filled(slot(0), NP, SEED);
	uint64_t pfn[NP];
	struct kid k;
	bool idle;
	int fd;

	ASSERT_NE(p, NULL);
	fd = open(PAGE_IDLE, O_RDWR);
	if (fd < 0)
		SKIP(return, "no " PAGE_IDLE);
	begin();
	for (unsigned int round = 0; round < 2; round++) {
		/* In the second round a child has them mapped too. */
		if (round && kid_spawn(&k)) {
			bool ok = true;

			kid_pause(&k, true);
			for (unsigned int i = 0; i < NP; i += 2)
				ok &= check_page(page(p, i), SEED, i);
			kid_pause(&k, ok);
			kid_exit(check(p, 0, NP, SEED));
		}
		if (round) {
			ASSERT_GT(k.pid, 0);
			ASSERT_TRUE(kid_paused(&k));
		}
		/* Have the pages on their list: only these are tracked. */
		if (env->numa)
			ASSERT_TRUE(migrate_to(0, p, NP, env->node[!round],
					       MPOL_MF_MOVE_ALL));
		ASSERT_EQ(madvise(p, bytes(NP), MADV_COLD), 0);
		get_pfns(p, NP, pfn);
		for (unsigned int i = 0; i < NP; i++)
			ASSERT_TRUE(idle_op(fd, pfn[i], true, NULL));
		/* The accessed bit may be in a TLB. This empties it. */
		ASSERT_EQ(mprotect(p, bytes(NP), PROT_NONE), 0);
		ASSERT_EQ(mprotect(p, bytes(NP), PROT_READ | PROT_WRITE), 0);
		for (unsigned int i = 0; i < NP; i++) {
			ASSERT_TRUE(idle_op(fd, pfn[i], false, &idle));
			EXPECT_TRUE(idle)
				TH_LOG("round %u page %u", round, i);
		}
		if (round) {
			kid_go(&k);
			ASSERT_TRUE(kid_paused(&k));
		} else {
			for (unsigned int i = 0; i < NP; i += 2)
				ASSERT_TRUE(check_page(page(p, i), SEED, i));
		}
		for (unsigned int i = 0; i < NP; i++) {
			ASSERT_TRUE(idle_op(fd, pfn[i], false, &idle));
			EXPECT_EQ(idle, i % 2 == 1)
				TH_LOG("round %u page %u", round, i);
		}
	}
	ASSERT_TRUE(kid_finish(&k));
	ASSERT_TRUE(check(p, 0, NP, SEED));
	close(fd);
}

int main(int argc, char **argv)
{
	return env_main(argc, argv, test_harness_run);
}
