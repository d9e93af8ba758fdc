// SPDX-License-Identifier: GPL-2.0
/*
 * What takes its time, or what others on the machine notice.
 */
#define _GNU_SOURCE
#include "kselftest_harness.h"
#include <pthread.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/swap.h>
#include "anon_rmap.h"

#define NO_LEAKS "leaks are not seen, neither in /proc/slabinfo nor in debugfs"

/* Pages come back while nobody asks for them. */
ANON_TEST(swap_off)
{
	char *p = map_filled(slot(0), NP, SEED);
	char *q = map_filled(slot(1), NP, SEED2);
	struct kid k;

	if (!env->swap)
		SKIP(return, NO_SWAP);
	ASSERT_NE(p, NULL);
	ASSERT_NE(q, NULL);
	ASSERT_TRUE(swap_out(p, NP));
	ASSERT_TRUE(swap_out(q, NP));
	begin();
	ASSERT_EQ(madvise(p, bytes(NP), MADV_DONTFORK), 0);
	if (kid_spawn(&k)) {
		kid_pause(&k, true);
		kid_exit(count_swapped(getpid(), q, NP) == 0 &&
			 check(q, 0, NP, SEED2));
	}
	ASSERT_GT(k.pid, 0);
	ASSERT_TRUE(kid_paused(&k));
	EXPECT_EQ(count_swapped(k.pid, q, NP), NP);
	if (swapoff(env->swap_dev))
		SKIP(kid_finish(&k); return, "swapoff: %s", strerror(errno));
	EXPECT_EQ(count_present(getpid(), p, NP), NP);
	EXPECT_EQ(count_present(getpid(), q, NP), NP);
	EXPECT_TRUE(shared(getpid(), q, k.pid, q, NP, NP));
	ASSERT_TRUE(check(p, 0, NP, SEED));
	ASSERT_TRUE(check(q, 0, NP, SEED2));
	ASSERT_TRUE(kid_finish(&k));
	ASSERT_TRUE(swap_restore());
	ASSERT_TRUE(shake(p, NP));
	ASSERT_TRUE(shake(q, NP));
	ASSERT_TRUE(check(p, 0, NP, SEED));
	ASSERT_TRUE(check(q, 0, NP, SEED2));
}

/*
 * One thread migrates a region to and fro and another one swaps it out, all
 * the time, while it is split and merged, moved, unmapped, forked. What counts
 * is that each byte is right whenever the owner looks.
 */
struct storm {
	pthread_t migrator;
	pthread_t pager;
	atomic_bool stop;
	atomic_uintptr_t at;
	atomic_uint n;
	atomic_ulong moved;
	atomic_ulong paged;
	unsigned long swapped;
	struct timespec end;
	unsigned int rnd;
	unsigned long rounds;
	uint64_t seed[MAX_PAGES];
};

/* Where it is right now, which may be somewhere else when it is looked at. */
static char *storm_p(struct storm *s)
{
	return (char *)s->at;
}

static void *storm_migrator(void *arg)
{
	static void *pages[MAX_PAGES];
	static int status[MAX_PAGES];
	static int nodes[MAX_PAGES];
	struct storm *s = arg;

	for (unsigned int turn = 0; !s->stop; turn++) {
		unsigned int n = s->n;
		char *p = storm_p(s);

		for (unsigned int i = 0; i < n; i++) {
			pages[i] = page(p, i);
			nodes[i] = env->node[turn & 1];
			status[i] = -1;
		}
		/* Pages may be anywhere, or nowhere: it is not asked for. */
		if (sys_move_pages(0, n, pages, nodes, status,
				   MPOL_MF_MOVE_ALL) < 0)
			continue;
		for (unsigned int i = 0; i < n; i++)
			s->moved += status[i] == nodes[i];
	}
	return NULL;
}

/* In kB. The pagemap has what is on its way to another node for swapped out, too. */
static unsigned long swapped(void)
{
	unsigned long kb = 0;
	char buf[4096];
	char *at;

	if (!read_file("/proc/self/status", buf, sizeof(buf)))
		return 0;
	at = strstr(buf, "VmSwap:");
	return at && sscanf(at, "VmSwap: %lu", &kb) == 1 ? kb : 0;
}

static void *storm_pager(void *arg)
{
	struct storm *s = arg;

	while (!s->stop) {
		char *p = storm_p(s);
		unsigned int n = s->n;

		madvise(p, bytes(n), MADV_PAGEOUT);
		s->paged += swapped() > s->swapped;
		/* Leave something to migrate. */
		usleep(2000);
	}
	return NULL;
}

static unsigned int storm_rnd(struct storm *s, unsigned int n)
{
	s->rnd = s->rnd * 1103515245u + 12345u;
	return (s->rnd >> 16) % n;
}

/* All of the region anew, each page with a seed of its own. */
static void storm_fill(struct storm *s, unsigned int from, unsigned int n)
{
	for (unsigned int i = from; i < from + n; i++)
		set_page(storm_p(s), s->seed, i, SEED + s->rounds);
}

static bool storm_check(struct storm *s)
{
	return check_seeds(storm_p(s), s->seed, s->n);
}

/* From now on storm_goes_on() for a while. */
static void storm_begin(struct storm *s)
{
	memset(s, 0, sizeof(*s));
	s->rnd = getpid();
	clock_gettime(CLOCK_MONOTONIC, &s->end);
	s->end.tv_sec += test_seconds();
}

static bool storm_start(struct storm *s, char *p, unsigned int n)
{
	storm_begin(s);
	s->at = (uintptr_t)p;
	s->n = n;
	s->swapped = swapped();
	storm_fill(s, 0, n);
	sched_setaffinity(0, sizeof(env->cpus), &env->cpus);
	if (env->numa &&
	    pthread_create(&s->migrator, NULL, storm_migrator, s))
		return false;
	return !env->swap || !pthread_create(&s->pager, NULL, storm_pager, s);
}

static bool storm_goes_on(struct storm *s)
{
	struct timespec now;

	s->rounds++;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec < s->end.tv_sec ||
	       (now.tv_sec == s->end.tv_sec && now.tv_nsec < s->end.tv_nsec);
}

static void storm_stop(struct storm *s)
{
	s->stop = true;
	if (env->numa)
		pthread_join(s->migrator, NULL);
	if (env->swap)
		pthread_join(s->pager, NULL);
	ksft_print_msg("%lu rounds, %lu pages migrated\n", s->rounds,
		       (unsigned long)s->moved);
}

/*
 * Once with the switch on, and once with somebody at the switch all the time,
 * so that VMAs of both kinds are beside each other.
 */
static const char *no_storm(const FIXTURE_VARIANT(anon_vma) * variant)
{
	if (!env->numa && !env->swap)
		return "neither NUMA nodes nor swap";
	if (!variant->action)
		return "covered by the other storms";
	return NULL;
}

static void storm_switch(struct storm *s,
			 const FIXTURE_VARIANT(anon_vma) * variant)
{
	if (env->sysctl && variant->setup != variant->action)
		try_write_file(LAZY_SYSCTL, s->rounds & 1 ? "1" : "0");
}

/* A child looks at it, changes a part of it, and is forgotten. */
static bool storm_fork(struct storm *s)
{
	bool ok = true;
	pid_t pid;

	pid = fork();
	if (pid < 0)
		return false;
	if (!pid) {
		unsigned int from = storm_rnd(s, s->n);

		ok = storm_check(s);
		for (unsigned int i = from; i < s->n && i < from + 8; i++)
			set_page(storm_p(s), s->seed, i, SEED3 + i);
		if (env->swap)
			madvise(storm_p(s), bytes(s->n), MADV_PAGEOUT);
		kid_exit(ok && storm_check(s));
	}
	/* Writing, while the child reads. */
	storm_fill(s, storm_rnd(s, s->n / 2), s->n / 4);
	ok = storm_check(s);
	return reap(pid) && ok;
}

/* Write a word to each of @n pages below @p, from the top, and look for it. */
static void mark_down(char *p, unsigned int n, unsigned long mark)
{
	for (unsigned int i = 1; i <= n; i++)
		*(unsigned long *)(p - bytes(i)) = mark + i;
}

static bool marked_down(char *p, unsigned int n, unsigned long mark)
{
	for (unsigned int i = 1; i <= n; i++) {
		unsigned long found = *(unsigned long *)(p - bytes(i));

		if (found != mark + i) {
			complain("%p: found %lu, not %lu", p - bytes(i), found, mark + i);
			return false;
		}
	}
	return true;
}

/* All pages are what they should be, and some of them moved and were out meanwhile. */
#define STORM_ENDS(s)							\
do {									\
	struct storm *__s = (s);					\
									\
	storm_stop(__s);						\
	ASSERT_TRUE(storm_check(__s));					\
	if (env->numa)							\
		EXPECT_GT((unsigned long)__s->moved, 0);		\
	if (env->swap)							\
		EXPECT_GT((unsigned long)__s->paged, 0);		\
} while (0)

ANON_TEST(storm_mprotect)
{
	static struct storm s;
	char *p = map(slot(0), 2 * NP);

	if (no_storm(variant))
		SKIP(return, "%s", no_storm(variant));
	ASSERT_NE(p, NULL);
	ASSERT_TRUE(storm_start(&s, p, 2 * NP));
	while (storm_goes_on(&s)) {
		unsigned int from = storm_rnd(&s, s.n - 1);
		unsigned int n = 1 + storm_rnd(&s, s.n - from);

		storm_switch(&s, variant);
		ASSERT_EQ(mprotect(page(p, from), bytes(n),
				   s.rounds & 2 ? PROT_READ : PROT_NONE), 0);
		if (s.rounds & 2)
			ASSERT_TRUE(storm_check(&s));
		ASSERT_EQ(mprotect(page(p, from), bytes(n),
				   PROT_READ | PROT_WRITE), 0);
		ASSERT_EQ(count_vmas(p, s.n), 1);
		ASSERT_TRUE(storm_check(&s));
		storm_fill(&s, from, n);
		/* A new one from time to time, as the old one may not be lazy any more. */
		if (s.rounds % 8 == 0) {
			ASSERT_NE(map(p, s.n), NULL);
			storm_fill(&s, 0, s.n);
		}
	}
	STORM_ENDS(&s);
}

ANON_TEST(storm_mremap)
{
	const int fixed = MREMAP_MAYMOVE | MREMAP_FIXED;
	static struct storm s;

	if (no_storm(variant))
		SKIP(return, "%s", no_storm(variant));
	ASSERT_NE(map(slot(0), 2 * NP), NULL);
	ASSERT_TRUE(storm_start(&s, slot(0), 2 * NP));
	while (storm_goes_on(&s)) {
		char *p = storm_p(&s), *q = slot(s.rounds & 15);
		unsigned int kind = s.rounds % 5;

		storm_switch(&s, variant);
		if (p == q)
			continue;
		if (kind == 0) {
			/* A part, and back. */
			ASSERT_EQ(mremap(page(p, NP / 2), bytes(NP), bytes(NP),
					 fixed, q), q);
			for (unsigned int i = 0; i < NP; i++)
				ASSERT_TRUE(check_page(page(q, i),
						       s.seed[NP / 2 + i],
						       NP / 2 + i));
			ASSERT_EQ(mremap(q, bytes(NP), bytes(NP), fixed,
					 page(p, NP / 2)), page(p, NP / 2));
		} else if (kind == 1) {
			ASSERT_EQ(mremap(p, bytes(s.n), bytes(s.n),
					 fixed | MREMAP_DONTUNMAP, q), q);
			s.at = (uintptr_t)q;
			fill(p, 0, s.n, SEED2);
			ASSERT_TRUE(check(p, 0, s.n, SEED2));
			ASSERT_EQ(munmap(p, bytes(s.n)), 0);
		} else {
			ASSERT_EQ(mremap(p, bytes(s.n), bytes(s.n), fixed, q),
				  q);
			s.at = (uintptr_t)q;
		}
		ASSERT_TRUE(storm_check(&s));
		storm_fill(&s, storm_rnd(&s, NP), NP);
		if (kind == 3) {
			ASSERT_NE(map(storm_p(&s), s.n), NULL);
			storm_fill(&s, 0, s.n);
		}
	}
	STORM_ENDS(&s);
}

ANON_TEST(storm_munmap)
{
	static struct storm s;
	char *p = map(slot(0), 2 * NP);

	if (no_storm(variant))
		SKIP(return, "%s", no_storm(variant));
	ASSERT_NE(p, NULL);
	ASSERT_TRUE(storm_start(&s, p, 2 * NP));
	while (storm_goes_on(&s)) {
		unsigned int from = storm_rnd(&s, s.n - 1);
		unsigned int n = 1 + storm_rnd(&s, s.n - from);

		storm_switch(&s, variant);
		if (s.rounds & 1) {
			/* All of it, as it is. */
			ASSERT_EQ(munmap(p, bytes(s.n)), 0);
			ASSERT_NE(map(p, s.n), NULL);
			storm_fill(&s, 0, s.n);
		}
		ASSERT_EQ(munmap(page(p, from), bytes(n)), 0);
		for (unsigned int i = 0; i < s.n; i++) {
			if (i < from || i >= from + n)
				ASSERT_TRUE(check_page(page(p, i), s.seed[i],
						       i));
		}
		ASSERT_NE(map(page(p, from), n), NULL);
		storm_fill(&s, from, n);
		ASSERT_TRUE(storm_check(&s));
	}
	STORM_ENDS(&s);
}

ANON_TEST(storm_fork)
{
	static struct storm s;
	char *p = map(slot(0), 2 * NP);

	if (no_storm(variant))
		SKIP(return, "%s", no_storm(variant));
	ASSERT_NE(p, NULL);
	ASSERT_TRUE(storm_start(&s, p, 2 * NP));
	while (storm_goes_on(&s)) {
		storm_switch(&s, variant);
		ASSERT_TRUE(storm_fork(&s));
		ASSERT_TRUE(storm_check(&s));
		if (s.rounds % 4 == 0) {
			ASSERT_NE(map(p, s.n), NULL);
			storm_fill(&s, 0, s.n);
		}
	}
	STORM_ENDS(&s);
}

/* All of it over a huge page, which is split again and again. */
ANON_TEST(storm_thp)
{
	const unsigned int n = env->pmd_size / psize();
	char *p = env->arena + env->pmd_size;
	static struct storm s;

	if (no_storm(variant))
		SKIP(return, "%s", no_storm(variant));
	if (no_thp())
		SKIP(return, "%s", no_thp());
	ASSERT_NE(map(p, n), NULL);
	ASSERT_EQ(madvise(p, env->pmd_size, MADV_HUGEPAGE), 0);
	ASSERT_TRUE(storm_start(&s, p, n));
	while (storm_goes_on(&s)) {
		unsigned int from = storm_rnd(&s, n);

		storm_switch(&s, variant);
		switch (s.rounds % 4) {
		case 0:
			ASSERT_EQ(munmap(p, env->pmd_size), 0);
			ASSERT_NE(map(p, n), NULL);
			madvise(p, env->pmd_size, MADV_HUGEPAGE);
			storm_fill(&s, 0, n);
			break;
		case 1:
			ASSERT_EQ(mprotect(page(p, from), psize(), PROT_READ),
				  0);
			ASSERT_TRUE(storm_check(&s));
			ASSERT_EQ(mprotect(page(p, from), psize(),
					   PROT_READ | PROT_WRITE), 0);
			break;
		case 2:
			/* Whether there is one to be had is not the point. */
			madvise(p, env->pmd_size, MADV_COLLAPSE);
			break;
		case 3:
			ASSERT_TRUE(storm_fork(&s));
			break;
		}
		ASSERT_TRUE(storm_check(&s));
	}
	STORM_ENDS(&s);
}

/* The region is cut into several, some too many, and any of them goes. */
ANON_TEST(storm_group)
{
	static struct storm s;
	char *p = map(slot(0), NP);

	if (no_storm(variant))
		SKIP(return, "%s", no_storm(variant));
	ASSERT_NE(p, NULL);
	ASSERT_TRUE(storm_start(&s, p, NP));
	while (storm_goes_on(&s)) {
		unsigned int nr = 2 + storm_rnd(&s, GROUP_MAX + 1), n = s.n / nr;

		storm_switch(&s, variant);
		/* What replaces a part is not merged with what it differs from. */
		ASSERT_NE(map(p, s.n), NULL);
		storm_fill(&s, 0, s.n);
		ASSERT_TRUE(cut(p, nr, n));
		for (unsigned int i = 0; i < 3; i++) {
			unsigned int from = storm_rnd(&s, nr) * n;

			ASSERT_EQ(munmap(page(p, from), bytes(n)), 0);
			for (unsigned int j = 0; j < s.n; j++) {
				if (j < from || j >= from + n)
					ASSERT_TRUE(check_page(page(p, j), s.seed[j], j));
			}
			ASSERT_NE(map(page(p, from), n), NULL);
			storm_fill(&s, from, n);
		}
		if (s.rounds % 5 == 0)
			ASSERT_TRUE(storm_fork(&s));
		ASSERT_EQ(madvise(p, bytes(s.n), MADV_DODUMP), 0);
		ASSERT_TRUE(storm_check(&s));
	}
	STORM_ENDS(&s);
}

/*
 * Chunks of a region go to and fro between two places, all the time. In either
 * they are merged with what is there, so VMAs of one origin take over pages from
 * each other while these are migrated.
 */
ANON_TEST(storm_chunks)
{
	const unsigned int nr = 4, n = 4;
	static struct storm s;
	char *p = map(slot(0), 2 * nr * n);
	unsigned int place[4] = { 0 };
	uint64_t seed = SEED;

	if (no_storm(variant))
		SKIP(return, "%s", no_storm(variant));
	if (!env->numa)
		SKIP(return, NO_NUMA);
	ASSERT_NE(p, NULL);
	/* What is swapped out is not migrated. */
	env->swap = false;
	/* Its second half is the other place. */
	ASSERT_TRUE(storm_start(&s, p, 2 * nr * n));
	while (storm_goes_on(&s)) {
		unsigned int i = storm_rnd(&s, nr);
		char *from = page(p, (place[i] * nr + i) * n);
		char *to = page(p, (!place[i] * nr + i) * n);

		storm_switch(&s, variant);
		if (s.rounds % 64 == 1) {
			ASSERT_NE(map(p, 2 * nr * n), NULL);
			ASSERT_EQ(munmap(page(p, nr * n), bytes(nr * n)), 0);
			memset(place, 0, sizeof(place));
			fill(p, 0, nr * n, ++seed);
			continue;
		}
		ASSERT_EQ(mremap(from, bytes(n), bytes(n), MREMAP_MAYMOVE | MREMAP_FIXED, to),
			  to);
		place[i] = !place[i];
		for (i = 0; i < nr && s.rounds % 8 == 0; i++)
			ASSERT_TRUE(check(page(p, (place[i] * nr + i) * n), i * n, n, seed));
	}
	storm_stop(&s);
	for (unsigned int i = 0; i < nr; i++)
		ASSERT_TRUE(check(page(p, (place[i] * nr + i) * n), i * n, n, seed));
	EXPECT_GT((unsigned long)s.moved, 0);
}

/*
 * The stacks of a family grow, all at once. Each is in the trees of its ancestors,
 * where its place changes, so it needs their lock.
 */
ANON_TEST(storm_family)
{
	const unsigned int start = 4, n = 4 * SLOT_PAGES;
	static struct storm s;
	struct rlimit limit;
	struct kid k[3];
	char *p = slot(8);

	if (!variant->action)
		SKIP(return, "covered by the other storms");
	/* With large pages it grows to more than is usual. */
	ASSERT_EQ(getrlimit(RLIMIT_STACK, &limit), 0);
	limit.rlim_cur = limit.rlim_max;
	ASSERT_EQ(setrlimit(RLIMIT_STACK, &limit), 0);
	/* Room to grow, and the gap below. */
	ASSERT_EQ(munmap(slot(0), bytes(8 * SLOT_PAGES)), 0);
	sched_setaffinity(0, sizeof(env->cpus), &env->cpus);
	begin();
	storm_begin(&s);
	while (storm_goes_on(&s)) {
		storm_switch(&s, variant);
		ASSERT_EQ(mmap(p, bytes(start), PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_GROWSDOWN,
			       -1, 0), p);
		fill(p, 0, start, SEED);
		for (unsigned int i = 0; i < ARRAY_SIZE(k); i++) {
			if (kid_spawn(&k[i])) {
				bool ok = check(p, 0, start, SEED);

				kid_pause(&k[i], ok);
				mark_down(p, n, i);
				ok = marked_down(p, n, i);
				kid_exit(ok && check(p, 0, start, SEED));
			}
			ASSERT_GT(k[i].pid, 0);
		}
		for (unsigned int i = 0; i < ARRAY_SIZE(k); i++)
			ASSERT_TRUE(kid_paused(&k[i]));
		for (unsigned int i = 0; i < ARRAY_SIZE(k); i++)
			kid_go(&k[i]);
		mark_down(p, n, 100);
		ASSERT_TRUE(marked_down(p, n, 100));
		for (unsigned int i = 0; i < ARRAY_SIZE(k); i++)
			ASSERT_TRUE(kid_end(&k[i]));
		ASSERT_TRUE(sound(p, 0, start, SEED));
		ASSERT_EQ(munmap(p - bytes(n), bytes(n + start)), 0);
	}
}

/*
 * Many VMAs are unmapped while their pages are migrated, and are held for that.
 * Their structs may be freed later then, but they are.
 */
ANON_TEST(storm_holds)
{
	const unsigned int nr = 32, n = 2, rounds = 100, slack = 200;
	unsigned long was = 0, now = 0;
	static struct storm s;
	char *p = map(slot(0), nr * n);
	bool seen;

	if (!variant->action)
		SKIP(return, "covered by the other storms");
	if (!env->numa)
		SKIP(return, NO_NUMA);
	ASSERT_NE(p, NULL);
	seen = leaks_are_seen(slot(1));
	if (!seen && deferred() < 0)
		SKIP(return, NO_LEAKS);
	/* What is swapped out is not migrated. */
	env->swap = false;
	deferred_window();
	ASSERT_TRUE(storm_start(&s, p, nr * n));
	for (; s.rounds < rounds; s.rounds++) {
		storm_switch(&s, variant);
		/* No two that are beside each other are merged. */
		ASSERT_EQ(munmap(p, bytes(nr * n)), 0);
		ASSERT_NE(map(p, nr * n), NULL);
		ASSERT_TRUE(cut(p, nr, n));
		mark_down(page(p, nr * n), nr * n, s.rounds);
		/* Let some be held. */
		usleep(s.rounds % 8 * 500);
		ASSERT_TRUE(marked_down(page(p, nr * n), nr * n, s.rounds));
		/* Some at first fill what the caches hold back. */
		if (s.rounds == rounds / 5)
			was = slab_objects("vm_area_struct");
	}
	storm_stop(&s);
	EXPECT_GT((unsigned long)s.moved, 0);
	for (int i = 0; i < TRIES && seen; i++) {
		now = slab_objects("vm_area_struct");
		if (now < was + slack)
			break;
		usleep(200000);
	}
	if (seen)
		EXPECT_LT(now, was + slack)
			TH_LOG("vm_area_struct: %lu, then %lu", was, now);
	EXPECT_FREED();
}

int main(int argc, char **argv)
{
	return env_main(argc, argv, test_harness_run);
}
