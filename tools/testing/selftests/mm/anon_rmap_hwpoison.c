// SPDX-License-Identifier: GPL-2.0
/*
 * Memory failure: whoever has a page mapped is told that it is lost, and nobody
 * else is. The pages are given back to the allocator afterwards.
 */
#define _GNU_SOURCE
#include "kselftest_harness.h"
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include "anon_rmap.h"

#define UNPOISON "/sys/kernel/debug/hwpoison/unpoison-pfn"

#ifndef PR_MCE_KILL
#define PR_MCE_KILL		33
#define PR_MCE_KILL_SET		1
#define PR_MCE_KILL_EARLY	1
#endif
#ifndef BUS_MCEERR_AR
#define BUS_MCEERR_AR		4
#define BUS_MCEERR_AO		5
#endif

static sigjmp_buf bus_env;
static atomic_int bus_jump;
static atomic_int bus_count;
static atomic_int bus_code;
static atomic_uintptr_t bus_addr;

static void bus_handler(int sig, siginfo_t *si, void *context)
{
	(void)sig;
	(void)context;
	bus_count++;
	bus_code = si->si_code;
	bus_addr = (uintptr_t)si->si_addr;
	if (bus_jump)
		siglongjmp(bus_env, 1);
	if (si->si_code == BUS_MCEERR_AR)
		_exit(99);
}

static void bus_catch(void)
{
	struct sigaction sa = {
		.sa_sigaction = bus_handler,
		.sa_flags = SA_SIGINFO | SA_RESTART,
	};

	sigaction(SIGBUS, &sa, NULL);
}

/* Does reading this page raise SIGBUS? */
static bool bus_on_read(char *p)
{
	bool bus = sigsetjmp(bus_env, 1);

	if (!bus) {
		bus_jump = 1;
		FORCE_READ(*p);
	}
	bus_jump = 0;
	return bus;
}

/* Poison a page of the caller's, whom it may cost a SIGBUS already. */
static int poison(char *p)
{
	int ret = 0;

	if (!sigsetjmp(bus_env, 1)) {
		bus_jump = 1;
		ret = madvise(p, psize(), MADV_HWPOISON) ? -errno : 0;
	}
	bus_jump = 0;
	return ret;
}

/* Only if the page can be given back afterwards. */
static bool may_poison(void)
{
	return !access(UNPOISON, W_OK) && env->pfns;
}

static void unpoison(uint64_t pfn)
{
	if (unpoison_memory(pfn))
		complain("pfn %llx stays poisoned", (unsigned long long)pfn);
}

/* Pages may be on their way to the LRU. That it cannot be done here is for the first to say. */
static int soft_offline_page(char *p)
{
	for (unsigned int i = 0; i < TRIES; i++) {
		usleep(i * i * 1000);
		if (!madvise(p, psize(), MADV_SOFT_OFFLINE))
			return 0;
		if (errno != EBUSY && errno != EAGAIN && errno != EIO)
			break;
	}
	return -errno;
}

ANON_TEST(soft_offline)
{
	char *p = map_filled(slot(0), NP, SEED);
	const unsigned int nr = 4;
	uint64_t pfn[NP], pfn2[NP];
	struct kid k;

	ASSERT_NE(p, NULL);
	if (!may_poison())
		SKIP(return, "no " UNPOISON);
	begin();
	get_pfns(p, NP, pfn);
	for (unsigned int i = 0; i < nr; i++) {
		int ret = soft_offline_page(page(p, i));

		if (!i && (ret == -EINVAL || ret == -EPERM || ret == -EOPNOTSUPP))
			SKIP(return, "MADV_SOFT_OFFLINE: %s", strerror(-ret));
		EXPECT_EQ(ret, 0);
	}
	ASSERT_TRUE(check(p, 0, NP, SEED));
	get_pfns(p, NP, pfn2);
	for (unsigned int i = 0; i < nr; i++) {
		EXPECT_NE(pfn[i], pfn2[i]);
		unpoison(pfn[i]);
	}

	window();
	if (kid_spawn(&k)) {
		bool ok = check(p, 0, NP, SEED);

		kid_pause(&k, ok);
		kid_exit(check(p, 0, NP, SEED));
	}
	ASSERT_GT(k.pid, 0);
	ASSERT_TRUE(kid_paused(&k));
	/* It had been lazy still. */
	EXPECT_UPGRADED(1);
	get_pfns(p, NP, pfn);
	for (unsigned int i = nr; i < 2 * nr; i++)
		EXPECT_EQ(madvise(page(p, i), psize(), MADV_SOFT_OFFLINE), 0);
	get_pfns(p, NP, pfn2);
	for (unsigned int i = nr; i < 2 * nr; i++) {
		EXPECT_NE(pfn[i], pfn2[i]);
		unpoison(pfn[i]);
	}
	EXPECT_TRUE(shared(getpid(), p, k.pid, p, NP, NP));
	ASSERT_TRUE(check(p, 0, NP, SEED));
	ASSERT_TRUE(kid_finish(&k));
	ASSERT_TRUE(shake(p, NP));
	ASSERT_TRUE(check(p, 0, NP, SEED));
}

ANON_TEST(hwpoison_alone)
{
	char *p = map_filled(slot(0), NP, SEED);
	uint64_t pfn[NP];
	int ret;

	ASSERT_NE(p, NULL);
	if (!may_poison())
		SKIP(return, "no " UNPOISON);
	bus_catch();
	begin();
	get_pfns(p, NP, pfn);
	ret = poison(page(p, 3));
	if (ret == -EINVAL || ret == -EPERM)
		SKIP(return, "MADV_HWPOISON: %s", strerror(-ret));
	EXPECT_EQ(ret, 0);
	/* The entry is no page any more: who reads it is told. */
	bus_addr = 0;
	EXPECT_TRUE(bus_on_read(page(p, 3)));
	EXPECT_EQ((int)bus_code, BUS_MCEERR_AR);
	EXPECT_EQ((uintptr_t)bus_addr, (uintptr_t)page(p, 3));
	ASSERT_TRUE(check(p, 0, 3, SEED));
	ASSERT_TRUE(check(page(p, 4), 4, NP - 4, SEED));

	/* Split, move and fork with the entry in it. */
	ASSERT_EQ(munmap(page(p, 4), bytes(1)), 0);
	ASSERT_EQ(mremap(p, bytes(4), bytes(4), MREMAP_MAYMOVE | MREMAP_FIXED,
			 slot(1)), slot(1));
	ASSERT_TRUE(check(slot(1), 0, 3, SEED));
	EXPECT_TRUE(bus_on_read(page(slot(1), 3)));
	ASSERT_EQ(munmap(slot(1), bytes(4)), 0);
	ASSERT_TRUE(shake(page(p, 5), NP - 5));
	ASSERT_TRUE(check(page(p, 5), 5, NP - 5, SEED));
	EXPECT_LAZY_IF(variant->setup && env->groups, page(p, 5), NP - 5);
	unpoison(pfn[3]);
}

/* Who has a page that KSM has merged is told of it, though no folio names its VMA. */
ANON_TEST(hwpoison_ksm)
{
	char *p = map_filled(slot(0), NP, SEED);
	char *q = map_filled(slot(1), NP, SEED);
	char *r = map_filled(slot(2), NP, SEED2);
	const char *reason;
	uint64_t pfn;

	ASSERT_NE(p, NULL);
	ASSERT_NE(q, NULL);
	ASSERT_NE(r, NULL);
	if (!may_poison())
		SKIP(return, "no " UNPOISON);
	reason = ksm_prepare(r, NP);
	if (reason)
		SKIP(return, "%s", reason);
	bus_catch();
	prctl(PR_MCE_KILL, PR_MCE_KILL_SET, PR_MCE_KILL_EARLY, 0, 0);
	begin();
	ASSERT_EQ(madvise(p, bytes(NP), MADV_MERGEABLE), 0);
	ASSERT_EQ(madvise(q, bytes(NP), MADV_MERGEABLE), 0);
	ASSERT_TRUE(ksm_merge(2 * NP));
	ASSERT_EQ(try_write_file(KSM("run"), "0"), 0);

	get_pfns(page(p, 3), 1, &pfn);
	bus_count = 0;
	EXPECT_EQ(poison(page(p, 3)), 0);
	EXPECT_GT((int)bus_count, 0);
	EXPECT_TRUE(bus_on_read(page(p, 3)));
	EXPECT_TRUE(bus_on_read(page(q, 3)));
	ASSERT_TRUE(check(p, 0, 3, SEED));
	ASSERT_TRUE(check(page(q, 4), 4, NP - 4, SEED));
	ASSERT_EQ(munmap(p, bytes(NP)), 0);
	ASSERT_EQ(munmap(q, bytes(NP)), 0);
	ASSERT_EQ(ksm_stop(), 0);
	unpoison(pfn);
}

/* Who has the page mapped is told of it, and nobody else is. */
ANON_TEST(hwpoison_shared)
{
	char *p = map_filled(slot(0), NP, SEED);
	const unsigned int bad = 5;
	struct kid k[3];
	uint64_t pfn[NP];
	int ret;

	ASSERT_NE(p, NULL);
	if (!may_poison())
		SKIP(return, "no " UNPOISON);
	bus_catch();
	begin();
	for (unsigned int i = 0; i < 3; i++) {
		if (kid_spawn(&k[i])) {
			bool ok = check(p, 0, NP, SEED);

			prctl(PR_MCE_KILL, PR_MCE_KILL_SET, PR_MCE_KILL_EARLY,
			      0, 0);
			/* 0 shares it, 1 has its own, 2 does not have it. */
			if (i == 1)
				fill_page(page(p, bad), SEED2, bad);
			if (i == 2)
				ok &= !munmap(page(p, bad), bytes(1));
			kid_pause(&k[i], ok);

			ok = bus_count == (i == 0);
			if (!i) {
				ok &= bus_code == BUS_MCEERR_AO;
				ok &= bus_addr == (uintptr_t)page(p, bad);
				ok &= bus_on_read(page(p, bad));
			} else if (i == 1) {
				ok &= check_page(page(p, bad), SEED2, bad);
			}
			ok &= check(p, 0, bad, SEED);
			ok &= check(page(p, bad + 1), bad + 1, NP - bad - 1,
				    SEED);
			if (!ok)
				complain("kid %u: %d signals, code %d, address %lx",
					 i, bus_count, bus_code, bus_addr);
			kid_exit(ok);
		}
		ASSERT_GT(k[i].pid, 0);
		ASSERT_TRUE(kid_paused(&k[i]));
	}
	get_pfns(p, NP, pfn);
	ret = poison(page(p, bad));
	if (ret == -EINVAL || ret == -EPERM) {
		for (unsigned int i = 0; i < 3; i++)
			kill(k[i].pid, SIGKILL);
		SKIP(return, "MADV_HWPOISON: %s", strerror(-ret));
	}
	EXPECT_EQ(ret, 0);
	EXPECT_TRUE(bus_on_read(page(p, bad)));
	EXPECT_EQ((int)bus_code, BUS_MCEERR_AR);
	EXPECT_EQ((uintptr_t)bus_addr, (uintptr_t)page(p, bad));
	ASSERT_TRUE(check(p, 0, bad, SEED));
	ASSERT_TRUE(check(page(p, bad + 1), bad + 1, NP - bad - 1, SEED));
	for (unsigned int i = 0; i < 3; i++)
		EXPECT_TRUE(kid_finish(&k[i]));
	ASSERT_EQ(munmap(page(p, bad), bytes(1)), 0);
	unpoison(pfn[bad]);
}

/* A page of a child is poisoned: its parent is not concerned. */
ANON_TEST(hwpoison_child)
{
	char *p = map_filled(slot(0), NP, SEED);
	struct kid k;

	ASSERT_NE(p, NULL);
	if (!may_poison())
		SKIP(return, "no " UNPOISON);
	bus_catch();
	prctl(PR_MCE_KILL, PR_MCE_KILL_SET, PR_MCE_KILL_EARLY, 0, 0);
	begin();
	if (kid_spawn(&k)) {
		uint64_t pfn[NP];
		bool ok = true;
		int ret;

		fill(p, 0, NP / 2, SEED2);
		get_pfns(p, NP, pfn);
		ret = poison(page(p, 1));
		if (ret == -EINVAL || ret == -EPERM)
			kid_exit(true);
		ok &= !ret && bus_on_read(page(p, 1));
		ok &= bus_addr == (uintptr_t)page(p, 1);
		ok &= check(p, 0, 1, SEED2);
		ok &= check(page(p, 2), 2, NP / 2 - 2, SEED2);
		ok &= check(page(p, NP / 2), NP / 2, NP / 2, SEED);
		ok &= !munmap(p, bytes(NP));
		unpoison(pfn[1]);
		kid_exit(ok);
	}
	ASSERT_GT(k.pid, 0);
	ASSERT_TRUE(kid_end(&k));
	EXPECT_EQ((int)bus_count, 0);
	ASSERT_TRUE(check(p, 0, NP, SEED));
}

/* Does reading the page raise the signal that it should? */
static bool is_poisoned(char *p)
{
	bus_addr = 0;
	return bus_on_read(p) && bus_code == BUS_MCEERR_AR && bus_addr == (uintptr_t)p;
}

/* Memory failure in both parts of a VMA, before it is cut and after it. */
ANON_TEST(group_poison)
{
	const unsigned int half = NP / 2;
	const unsigned int bad[4] = { 1, NP - 2, 6, NP - 7 };
	const unsigned int soft[4] = { 3, NP - 4, 8, NP - 9 };
	char *p = map_filled(slot(0), NP, SEED);
	uint64_t pfn[4], pfn2;

	ASSERT_NE(p, NULL);
	if (!may_poison())
		SKIP(return, "no " UNPOISON);
	bus_catch();
	prctl(PR_MCE_KILL, PR_MCE_KILL_SET, PR_MCE_KILL_EARLY, 0, 0);
	begin();
	for (unsigned int i = 0; i < 4; i++) {
		int ret;

		if (i == 2)
			ASSERT_TRUE(cut(p, 2, half));
		get_pfns(page(p, soft[i]), 1, &pfn[i]);
		ret = soft_offline_page(page(p, soft[i]));
		if (!i && (ret == -EINVAL || ret == -EPERM || ret == -EOPNOTSUPP))
			SKIP(return, "MADV_SOFT_OFFLINE: %s", strerror(-ret));
		EXPECT_EQ(ret, 0);
		get_pfns(page(p, soft[i]), 1, &pfn2);
		EXPECT_NE(pfn[i], pfn2);
		unpoison(pfn[i]);
		ASSERT_TRUE(check_page(page(p, soft[i]), SEED, soft[i]));

		get_pfns(page(p, bad[i]), 1, &pfn[i]);
		bus_count = 0;
		ret = poison(page(p, bad[i]));
		if (!i && (ret == -EINVAL || ret == -EPERM))
			SKIP(return, "MADV_HWPOISON: %s", strerror(-ret));
		EXPECT_EQ(ret, 0);
		/* Whoever has it mapped is told at once. */
		EXPECT_EQ((int)bus_count, 1);
		EXPECT_TRUE(is_poisoned(page(p, bad[i])));
	}
	for (unsigned int i = 0; i < 2; i++) {
		if (i)
			ASSERT_TRUE(uncut(p, NP));
		for (unsigned int j = 0; j < 4; j++)
			EXPECT_TRUE(is_poisoned(page(p, bad[j])));
		ASSERT_TRUE(check(p, 0, 1, SEED));
		ASSERT_TRUE(sound(page(p, 2), 2, 4, SEED));
		ASSERT_TRUE(sound(page(p, 7), 7, NP - 14, SEED));
		ASSERT_TRUE(sound(page(p, NP - 6), NP - 6, 4, SEED));
		ASSERT_TRUE(sound(page(p, NP - 1), NP - 1, 1, SEED));
	}
	/* The parts move with what is in them. */
	ASSERT_EQ(mremap(p, bytes(half), bytes(half), MREMAP_MAYMOVE | MREMAP_FIXED,
			 slot(1)), slot(1));
	EXPECT_TRUE(is_poisoned(page(slot(1), bad[0])));
	EXPECT_TRUE(is_poisoned(page(p, bad[1])));
	ASSERT_TRUE(check(page(slot(1), 7), 7, half - 7, SEED));
	ASSERT_EQ(munmap(slot(1), bytes(half)), 0);
	EXPECT_LAZY_IF(variant->setup && env->groups, page(p, half), half);
	ASSERT_EQ(munmap(page(p, half), bytes(half)), 0);
	for (unsigned int i = 0; i < 4; i++)
		unpoison(pfn[i]);
}

int main(int argc, char **argv)
{
	return env_main(argc, argv, test_harness_run);
}
