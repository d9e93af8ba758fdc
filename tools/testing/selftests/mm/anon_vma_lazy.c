// SPDX-License-Identifier: GPL-2.0
/*
 * Lazy VMAs (CONFIG_ANON_VMA_LAZY), looked at from inside.
 *
 * A VMA does without an anon_vma as long as no other process may map its
 * anonymous pages: it is lazy. It gets one (it is "upgraded") right before the
 * first operation that could let another one do so. Nothing of that is visible
 * to the process, which the anon_rmap tests see to. The tests here want to know
 * whether VMAs become lazy, and stay so, where they should.
 *
 * The events in /proc/vmstat tell. They are counted for all of the system, so a
 * test asks for as many events as it has caused, or more. That an operation
 * upgrades nothing is found out later: the VMA can still be upgraded.
 *
 * When a lazy VMA is split, moved or merged the second VMA joins its group, and
 * both stay lazy. No event tells of that. Without groups it is upgraded then, as
 * it is for a fork; which of the two this kernel does is found out first.
 *
 * The struct of a VMA that pages still name outlives the VMA: its free is
 * deferred. A kernel with CONFIG_DEBUG_ANON_VMA_LAZY tells how many there are.
 */
#define _GNU_SOURCE
#include "kselftest_harness.h"
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include "anon_rmap.h"
#include "hugepage_settings.h"

#define MIRROR "/dev/hmm_dmirror0"

ANON_TEST(sysctl_values)
{
	/* It is yes or no: any other number is a yes. What is too large for one is not. */
	static const char * const yes[] = { "2", "-1", "10" };
	static const char * const bad[] = {
		"x", "1x", "4294967296", "4294967297", "18446744073709551617",
	};
	char value[64];
	struct stat st;
	pid_t pid;

	for (int on = 0; on < 2; on++) {
		const char *good = on ? "1" : "0";

		ASSERT_EQ(try_write_file(LAZY_SYSCTL, good), 0);
		for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++) {
			EXPECT_EQ(try_write_file(LAZY_SYSCTL, bad[i]), -EINVAL)
				TH_LOG("\"%s\"", bad[i]);
			ASSERT_TRUE(read_setting(LAZY_SYSCTL, value, sizeof(value)));
			EXPECT_STREQ(value, good);
		}
	}
	for (unsigned int i = 0; i < ARRAY_SIZE(yes); i++) {
		ASSERT_EQ(try_write_file(LAZY_SYSCTL, "0"), 0);
		EXPECT_EQ(try_write_file(LAZY_SYSCTL, yes[i]), 0)
			TH_LOG("\"%s\"", yes[i]);
		ASSERT_TRUE(read_setting(LAZY_SYSCTL, value, sizeof(value)));
		EXPECT_STREQ(value, "1");
	}

	ASSERT_EQ(stat(LAZY_SYSCTL, &st), 0);
	EXPECT_EQ(st.st_mode & 0777, 0644);
	EXPECT_EQ(st.st_uid, 0);

	pid = fork();
	if (!pid)
		_exit(setgid(65534) || setuid(65534) ||
		      try_write_file(LAZY_SYSCTL, "0") != -EACCES);
	ASSERT_GT(pid, 0);
	EXPECT_TRUE(reap(pid));
	ASSERT_TRUE(read_setting(LAZY_SYSCTL, value, sizeof(value)));
	EXPECT_STREQ(value, "1");
}

/* VMAs that are the first to be touched by the action. Enough not to be others'. */
#define MANY 32u

/* Reading maps the zero page. It takes a write, and only the first one counts. */
ANON_TEST(fault_one)
{
	for (unsigned int i = 0; i < MANY; i++)
		ASSERT_NE(map(slot(i), NP), NULL);
	deferred_window();
	begin();
	for (unsigned int i = 0; i < MANY; i++)
		ASSERT_TRUE(check_zero(slot(i), NP));
	EXPECT_EVENTS(EV_LAZY, MANY, false);

	for (unsigned int i = 0; i < MANY; i++)
		fill(slot(i), 0, NP, SEED + i);
	EXPECT_BECAME_LAZY(MANY);
	EXPECT_EVENTS(EV_LAZY, 2 * MANY, false);
	EXPECT_EVENTS(EV_UPGRADE, MANY, false);
	for (unsigned int i = 0; i < MANY; i++)
		ASSERT_TRUE(check(slot(i), 0, NP, SEED + i));

	EXPECT_LAZY_IF(variant->action, slot(0), NP);
	for (unsigned int i = 0; i < MANY; i++)
		ASSERT_EQ(munmap(slot(i), bytes(NP)), 0);
	/* Nobody else had known of them. */
	EXPECT_DEFERRED(MANY, false);
}

ANON_TEST(fault_many)
{
	const unsigned int nr = 500, n = 2, step = 4;
	char *p = env->arena;

	for (unsigned int i = 0; i < nr; i++)
		ASSERT_NE(map(page(p, i * step), n), NULL);
	begin();
	for (unsigned int i = 0; i < nr; i++)
		fill(page(p, i * step), i, n, SEED);
	EXPECT_BECAME_LAZY(nr);
	EXPECT_EVENTS(EV_LAZY, MANY + (variant->action ? nr : 0), false);
	EXPECT_EVENTS(EV_UPGRADE, MANY, false);

	for (unsigned int i = 0; i < nr; i++)
		ASSERT_TRUE(check(page(p, i * step), i, n, SEED));
	for (unsigned int i = 0; i < nr; i += 50)
		ASSERT_TRUE(shake(page(p, i * step), n));
	for (unsigned int i = 0; i < nr; i++)
		ASSERT_TRUE(check(page(p, i * step), i, n, SEED));
}

#define RACE_THREADS	4u
#define RACE_ROUNDS	32u
#define RACE_PAGES	4u

struct race {
	pthread_barrier_t start;
	pthread_barrier_t stop;
	char *p[RACE_ROUNDS];
};

struct racer {
	pthread_t thread;
	struct race *race;
	unsigned int nr;
};

static void *race_fn(void *arg)
{
	struct racer *r = arg;

	for (unsigned int i = 0; i < RACE_ROUNDS; i++) {
		pthread_barrier_wait(&r->race->start);
		fill(page(r->race->p[i], r->nr * RACE_PAGES),
		     r->nr * RACE_PAGES, RACE_PAGES, SEED + i);
		pthread_barrier_wait(&r->race->stop);
	}
	return NULL;
}

static void race_prepare(struct race *race)
{
	sched_setaffinity(0, sizeof(env->cpus), &env->cpus);
	pthread_barrier_init(&race->start, NULL, RACE_THREADS + 1);
	pthread_barrier_init(&race->stop, NULL, RACE_THREADS + 1);
}

static bool race_start(struct race *race, struct racer *racer)
{
	bool ok = true;

	for (unsigned int i = 0; i < RACE_THREADS; i++) {
		racer[i].race = race;
		racer[i].nr = i;
		ok &= !pthread_create(&racer[i].thread, NULL, race_fn, &racer[i]);
	}
	/* The threads' stacks are VMAs too: let them be faulted in. */
	usleep(100000);
	return ok;
}

static void race_run(struct race *race)
{
	for (unsigned int i = 0; i < RACE_ROUNDS; i++) {
		pthread_barrier_wait(&race->start);
		pthread_barrier_wait(&race->stop);
	}
}

/* Several threads are the first to touch a VMA: it becomes lazy once. */
ANON_TEST(fault_race)
{
	const unsigned int n = RACE_THREADS * RACE_PAGES;
	struct racer racer[RACE_THREADS];
	struct race race;

	race_prepare(&race);
	for (unsigned int i = 0; i < RACE_ROUNDS; i++) {
		race.p[i] = map(slot(i), n);
		ASSERT_NE(race.p[i], NULL);
	}
	ASSERT_TRUE(race_start(&race, racer));
	begin();
	race_run(&race);
	EXPECT_BECAME_LAZY(RACE_ROUNDS);
	EXPECT_EVENTS(EV_LAZY, 2 * RACE_ROUNDS, false);
	EXPECT_EVENTS(EV_UPGRADE, RACE_ROUNDS, false);
	for (unsigned int i = 0; i < RACE_THREADS; i++)
		ASSERT_EQ(pthread_join(racer[i].thread, NULL), 0);

	for (unsigned int i = 0; i < RACE_ROUNDS; i++)
		ASSERT_TRUE(check(race.p[i], 0, n, SEED + i));
	for (unsigned int i = 0; i < RACE_ROUNDS; i += 8) {
		/* Other CPUs' batches still hold pages: migration drains. */
		if (env->numa)
			ASSERT_TRUE(migrate_to(0, race.p[i], n, env->node[1],
					       MPOL_MF_MOVE));
		ASSERT_TRUE(check(race.p[i], 0, n, SEED + i));
	}
}

/* Threads race to be the first in a VMA that is to join its neighbour. */
ANON_TEST(group_join_race)
{
	const unsigned int n = RACE_THREADS * RACE_PAGES;
	struct racer racer[RACE_THREADS];
	struct race race;

	race_prepare(&race);
	for (unsigned int i = 0; i < RACE_ROUNDS; i++) {
		char *p = map_filled(slot(i), n, SEED3);

		ASSERT_NE(p, NULL);
		ASSERT_EQ(mprotect(p, bytes(n), PROT_READ), 0);
		race.p[i] = map(page(p, n), n);
		ASSERT_NE(race.p[i], NULL);
		ASSERT_EQ(count_vmas(p, 2 * n), 2);
	}
	ASSERT_TRUE(race_start(&race, racer));
	begin();
	race_run(&race);
	EXPECT_SPLIT(RACE_ROUNDS);
	EXPECT_EVENTS(EV_LAZY, RACE_ROUNDS, false);
	for (unsigned int i = 0; i < RACE_THREADS; i++)
		ASSERT_EQ(pthread_join(racer[i].thread, NULL), 0);

	for (unsigned int i = 0; i < RACE_ROUNDS; i++) {
		char *p = slot(i);

		ASSERT_TRUE(check(race.p[i], 0, n, SEED + i));
		ASSERT_EQ(mprotect(p, bytes(n), PROT_READ | PROT_WRITE), 0);
		EXPECT_EQ(count_vmas(p, 2 * n), 1);
		/* Other CPUs' batches still hold pages: migration drains. */
		if (env->numa)
			ASSERT_TRUE(migrate_to(0, p, 2 * n, env->node[1], MPOL_MF_MOVE));
		ASSERT_TRUE(check(p, 0, n, SEED3));
		ASSERT_TRUE(check(race.p[i], 0, n, SEED + i));
	}
}

/* What has no anonymous pages of the usual kind is never lazy. */
ANON_TEST(fault_never_lazy)
{
	size_t huge = default_huge_page_size();
	unsigned int n = huge / psize();

	begin();
	for (unsigned int i = 0; i < MANY; i++) {
		ASSERT_EQ(mmap(slot(i), bytes(NP), PROT_READ | PROT_WRITE,
			       MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0), slot(i));
		fill(slot(i), 0, NP, SEED);
	}
	EXPECT_EVENTS(EV_LAZY, MANY, false);
	for (unsigned int i = 0; i < MANY; i++)
		ASSERT_TRUE(check(slot(i), 0, NP, SEED));

	if (!huge || huge > (32 << 20)) {
		TH_LOG("no huge pages of hugetlbfs that are small enough");
		return;
	}
	/* The pages of the system are restored with the other settings. */
	if (hugetlb_free_pages(huge) < 1)
		try_write_file("/proc/sys/vm/nr_hugepages", "2");
	window();
	for (unsigned int i = 0; i < MANY; i++) {
		char *p = mmap(NULL, huge, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);

		if (p == MAP_FAILED) {
			TH_LOG("%u huge pages of hugetlbfs were to be had", i);
			return;
		}
		fill_page(page(p, n / 2), SEED, i);
		ASSERT_TRUE(check_page(page(p, n / 2), SEED, i));
		ASSERT_EQ(munmap(p, huge), 0);
	}
	EXPECT_EVENTS(EV_LAZY, MANY, false);
}

/* Nor is what a process has that is watched through MMU notifiers, from then on. */
ANON_TEST(fault_notifier)
{
	char *p = map_filled(slot(0), NP, SEED);
	char *q = map_filled(slot(1), NP, SEED2);
	int fd;

	ASSERT_NE(p, NULL);
	ASSERT_NE(q, NULL);
	ASSERT_TRUE(cut(q, 2, NP / 2));
	begin();
	fd = open(MIRROR, O_RDWR);
	if (fd < 0)
		SKIP(return, "no " MIRROR ", the driver of CONFIG_TEST_HMM");
	/* A single one, and a group. */
	EXPECT_UPGRADED(1 + env->groups);
	window();
	for (unsigned int i = 0; i < MANY; i++)
		ASSERT_NE(map_filled(slot(2 + i), NP, SEED3), NULL);
	EXPECT_EVENTS(EV_LAZY, MANY, false);
	ASSERT_TRUE(sound(p, 0, NP, SEED));
	ASSERT_TRUE(sound(q, 0, NP, SEED2));
	for (unsigned int i = 0; i < MANY; i += MANY / 4)
		ASSERT_TRUE(sound(slot(2 + i), 0, NP, SEED3));
	close(fd);
	ASSERT_TRUE(sound(q, 0, NP, SEED2));
}

/* Ways in which an untouched VMA gets its first page. They return false if they fail. */
static bool by_populate(char *p)
{
	return !madvise(p, bytes(NP), MADV_POPULATE_WRITE);
}

static bool by_mlock(char *p)
{
	return !mlock(p, bytes(NP)) && !munlock(p, bytes(NP));
}

/* The markers are to be inherited. */
static bool by_guard(char *p)
{
	return !madvise(p, bytes(1), MADV_GUARD_INSTALL) &&
		!madvise(p, bytes(1), MADV_GUARD_REMOVE);
}

static bool by_kernel(char *p)
{
	int fd = open("/dev/zero", O_RDONLY);
	ssize_t len = read(fd, p, bytes(NP));

	close(fd);
	return len == (ssize_t)bytes(NP);
}

static bool by_growth(char *p)
{
	return !munmap(page(p, NP), bytes(NP)) &&
		mremap(p, bytes(NP), bytes(2 * NP), 0) == p && by_kernel(p);
}

static bool by_move(char *p)
{
	char *q = page(p, SLOT_PAGES);

	return mremap(p, bytes(NP), bytes(NP), MREMAP_MAYMOVE | MREMAP_FIXED, q) == q &&
		mremap(q, bytes(NP), bytes(NP), MREMAP_MAYMOVE | MREMAP_FIXED, p) == p &&
		by_kernel(p);
}

/* A page of a second VMA, by which the first one has to be lazy as well. */
static bool by_uffd_move(char *p)
{
	char *q = map_filled(page(p, SLOT_PAGES), NP, SEED);
	int fd = uffd_open(UFFD_FEATURE_MOVE);
	bool ok;

	if (fd < 0)
		return map_filled(p, NP, SEED);
	window();
	ok = q && !uffd_register(fd, p, bytes(NP), true, false, false) &&
		uffd_move(fd, p, q, NP) && !uffd_unregister(fd, p, bytes(NP));
	close(fd);
	return ok && check(p, 0, NP, SEED);
}

/* A private mapping of a file: what is only read is the file's. */
static bool by_file(char *p)
{
	int fd = memfd_create("anon_rmap", MFD_CLOEXEC);
	bool ok;

	ok = fd >= 0 && !ftruncate(fd, bytes(NP)) &&
		mmap(p, bytes(NP), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, fd, 0) == p &&
		check_zero(p, NP);
	close(fd);
	return ok && by_kernel(p);
}

/* As a debugger writes: to a page that its owner may only read. */
static bool by_debugger(char *p)
{
	char *buf = map_filled(page(p, SLOT_PAGES), NP, SEED);
	int fd = open("/proc/self/mem", O_RDWR);
	bool ok = buf && fd >= 0 && !mprotect(p, bytes(NP), PROT_READ);

	window();
	/* Where that is not allowed the owner has to write. */
	if (pwrite(fd, buf, bytes(NP), (off_t)p) == (ssize_t)bytes(NP))
		ok &= check(p, 0, NP, SEED) && !mprotect(p, bytes(NP), PROT_READ | PROT_WRITE);
	else
		ok &= !mprotect(p, bytes(NP), PROT_READ | PROT_WRITE) && by_kernel(p);
	close(fd);
	return ok;
}

/* Page by page, as a stack grows. */
static bool by_stack(char *p)
{
	if (munmap(p, bytes(NP)) ||
	    mmap(page(p, NP - 1), psize(), PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_GROWSDOWN, -1, 0) == MAP_FAILED)
		return false;
	for (unsigned int i = NP; i--; )
		fill_page(page(p, i), SEED, i);
	return count_vmas(p, NP) == 1 && check(p, 0, NP, SEED);
}

/* Its neighbour has pages, but can never be one with it. */
static bool by_stranger(char *p)
{
	char *q = page(p, NP);

	if (!map(q, NP) || madvise(q, bytes(NP), MADV_DONTFORK))
		return false;
	fill(q, 0, NP, SEED2);
	window();
	return by_kernel(p) && count_vmas(p, 2 * NP) == 2 && check(q, 0, NP, SEED2);
}

static bool forked(void)
{
	pid_t pid = fork();

	if (!pid)
		_exit(0);
	return pid > 0 && reap(pid);
}

/* Who has no pages yet shares none. */
static bool by_parent(char *p)
{
	bool ok = forked();

	window();
	return ok && by_kernel(p);
}

struct way {
	const char *name;
	bool (*act)(char *p);
};

static const struct way first_page[] = {
	{ "MADV_POPULATE_WRITE", by_populate },
	/* There is nothing near below it. */
	{ "growth of a stack", by_stack },
	{ "mlock", by_mlock },
	{ "MADV_GUARD_INSTALL", by_guard },
	{ "read", by_kernel },
	{ "mremap that grows", by_growth },
	{ "mremap that moves", by_move },
	{ "UFFDIO_MOVE", by_uffd_move },
	{ "write to a file mapping", by_file },
	{ "write to /proc/self/mem", by_debugger },
	{ "beside one of another kind", by_stranger },
	{ "after a fork", by_parent },
};

/* The first page comes not by a fault of its user, but by someone's request. */
ANON_TEST(becomes_lazy)
{
	begin();
	for (unsigned int i = 0; i < ARRAY_SIZE(first_page); i++) {
		char *p = map(slot(3 * i), NP);

		ASSERT_NE(p, NULL);
		window();
		EXPECT_TRUE(first_page[i].act(p))
			TH_LOG("%s: %s", first_page[i].name, strerror(errno));
		EXPECT_BECAME_LAZY(1)
			TH_LOG("%s", first_page[i].name);
		EXPECT_LAZY_IF(variant->action, p, NP)
			TH_LOG("%s", first_page[i].name);
		ASSERT_TRUE(sound(map_filled(p, NP, SEED2), 0, NP, SEED2));
	}
}

/* What a VMA survives as it was. */
static bool survives_dontneed(char *p)
{
	if (madvise(p, bytes(NP), MADV_DONTNEED) || !check_zero(p, NP))
		return false;
	fill(p, 0, NP, SEED);
	return true;
}

static bool survives_free(char *p)
{
	if (madvise(p, bytes(NP), MADV_FREE) || madvise(p, bytes(NP), MADV_PAGEOUT))
		return false;
	fill(p, 0, NP, SEED);
	return true;
}

static bool survives_swap(char *p)
{
	return !env->swap || (swap_out(p, NP) && check(p, 0, NP, SEED));
}

static bool survives_migration(char *p)
{
	return !env->numa || (migrate_to(0, p, NP, env->node[1], MPOL_MF_MOVE) &&
			      migrate_to(0, p, NP, env->node[0], MPOL_MF_MOVE));
}

static bool survives_mbind(char *p)
{
	unsigned long mask = 0;

	if (env->numa)
		mask = 1ul << env->node[1];
	return !env->numa ||
		(!syscall(__NR_mbind, p, bytes(NP), MPOL_PREFERRED, &mask, sizeof(mask) * 8,
			  MPOL_MF_MOVE) && check(p, 0, NP, SEED));
}

static bool survives_growth(char *p)
{
	char *q = page(p, NP);

	return !munmap(q, bytes(NP)) && mremap(p, bytes(NP), bytes(2 * NP), 0) == p &&
		by_kernel(q) && count_vmas(p, 2 * NP) == 1 && check(p, 0, NP, SEED);
}

static bool survives_mprotect(char *p)
{
	return !mprotect(p, bytes(NP), PROT_READ) && check(p, 0, NP, SEED) &&
		!mprotect(p, bytes(NP), PROT_READ | PROT_WRITE);
}

static bool survives_neighbours(char *p)
{
	return !madvise(p, bytes(NP), MADV_DOFORK) &&
		map_filled(page(p, NP), NP, SEED2) && count_vmas(p, 2 * NP) == 1 &&
		check(p, 0, NP, SEED) && check(page(p, NP), 0, NP, SEED2);
}

static bool survives_dontfork(char *p)
{
	return forked() && check(p, 0, NP, SEED);
}

static bool survives_wipeonfork(char *p)
{
	return !madvise(p, bytes(NP), MADV_DOFORK) &&
		!madvise(p, bytes(NP), MADV_WIPEONFORK) && forked() &&
		!madvise(p, bytes(NP), MADV_KEEPONFORK) && check(p, 0, NP, SEED);
}

static bool survives_vfork(char *p)
{
	pid_t pid = vfork();

	if (!pid)
		_exit(0);
	return pid > 0 && reap(pid);
}

static const struct way harmless[] = {
	{ "MADV_DONTNEED", survives_dontneed },
	{ "MADV_FREE", survives_free },
	{ "swap", survives_swap },
	{ "migration", survives_migration },
	{ "mbind", survives_mbind },
	{ "mremap that grows", survives_growth },
	{ "mprotect", survives_mprotect },
	{ "mlock", by_mlock },
	{ "MADV_GUARD_INSTALL", by_guard },
	{ "new neighbours", survives_neighbours },
	{ "MADV_DONTFORK", survives_dontfork },
	{ "MADV_WIPEONFORK", survives_wipeonfork },
	{ "vfork", survives_vfork },
};

ANON_TEST(stays_lazy)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(harmless); i++) {
		ASSERT_NE(map_filled(slot(2 * i), NP, SEED), NULL);
		/* Some of what follows forks. */
		ASSERT_EQ(madvise(slot(2 * i), bytes(NP), MADV_DONTFORK), 0);
	}
	begin();
	for (unsigned int i = 0; i < ARRAY_SIZE(harmless); i++) {
		EXPECT_TRUE(harmless[i].act(slot(2 * i)))
			TH_LOG("%s: %s", harmless[i].name, strerror(errno));
		EXPECT_LAZY_IF(variant->setup, slot(2 * i), NP)
			TH_LOG("%s", harmless[i].name);
	}
}

/* What has two VMAs of one process share folios. It comes to one VMA again. */
static bool cuts_mprotect(char *p)
{
	return !mprotect(page(p, 4), bytes(4), PROT_READ) && count_vmas(p, NP) == 3 &&
		!mprotect(page(p, 4), bytes(4), PROT_READ | PROT_WRITE);
}

static bool cuts_munmap(char *p)
{
	return !munmap(page(p, 4), bytes(4)) && map_filled(page(p, 4), 4, SEED2);
}

static bool cuts_madvise(char *p)
{
	return cut(p, GROUP_MAX, NP / GROUP_MAX) && uncut(p, NP);
}

static bool cuts_mlock(char *p)
{
	return !mlock(page(p, 4), bytes(4)) && count_vmas(p, NP) == 3 && !munlock(p, bytes(NP));
}

static bool moves(char *p)
{
	return mremap(p, bytes(NP), bytes(NP), MREMAP_MAYMOVE | MREMAP_FIXED,
		      page(p, SLOT_PAGES)) == page(p, SLOT_PAGES) &&
		mremap(page(p, SLOT_PAGES), bytes(NP), bytes(NP),
		       MREMAP_MAYMOVE | MREMAP_FIXED, p) == p;
}

static bool moves_part(char *p)
{
	return mremap(page(p, 4), bytes(4), bytes(4), MREMAP_MAYMOVE | MREMAP_FIXED,
		      page(p, SLOT_PAGES)) == page(p, SLOT_PAGES) &&
		count_vmas(p, NP) == 2 &&
		mremap(page(p, SLOT_PAGES), bytes(4), bytes(4),
		       MREMAP_MAYMOVE | MREMAP_FIXED, page(p, 4)) == page(p, 4);
}

static bool joins_neighbour(char *p)
{
	char *q = page(p, NP);

	/* It is different when it is touched, and merged when it is not. */
	return !mprotect(p, bytes(NP), PROT_READ) && map_filled(q, NP, SEED2) &&
		count_vmas(p, 2 * NP) == 2 && !mprotect(p, bytes(NP), PROT_READ | PROT_WRITE) &&
		count_vmas(p, 2 * NP) == 1 && check(q, 0, NP, SEED2) && !munmap(q, bytes(NP));
}

static bool joins_untouched(char *p)
{
	char *q = page(p, NP);

	return !mprotect(p, bytes(NP), PROT_READ) && map(q, NP) && count_vmas(p, 2 * NP) == 2 &&
		!mprotect(p, bytes(NP), PROT_READ | PROT_WRITE) && count_vmas(p, 2 * NP) == 1 &&
		check(p, 0, NP, SEED) && map_filled(q, NP, SEED2) && !munmap(q, bytes(NP));
}

static bool cuts_mbind(char *p)
{
	unsigned long mask;

	if (!env->numa)
		return cuts_mprotect(p);
	mask = 1ul << env->node[1];
	return !syscall(__NR_mbind, page(p, 4), bytes(4), MPOL_PREFERRED, &mask,
			sizeof(mask) * 8, MPOL_MF_MOVE) && count_vmas(p, NP) == 3 &&
		!syscall(__NR_mbind, p, bytes(NP), MPOL_DEFAULT, NULL, 0, 0);
}

static bool shrinks(char *p)
{
	return mremap(p, bytes(NP), bytes(NP / 2), 0) == p &&
		map_filled(page(p, NP / 2), NP / 2, SEED2) && check(p, 0, NP / 2, SEED);
}

static bool cuts_uffd(char *p)
{
	int fd = uffd_open(0);
	bool ok;

	if (fd < 0)
		return cuts_mprotect(p);
	ok = !uffd_register(fd, page(p, 4), bytes(4), true, false, false) &&
		count_vmas(p, NP) == 3 && !uffd_unregister(fd, page(p, 4), bytes(4));
	close(fd);
	return ok;
}

/* Of one VMA of a group to another, where the next fault finds it. */
static bool moves_uffd(char *p)
{
	int fd = uffd_open(UFFD_FEATURE_MOVE);
	bool ok;

	if (fd < 0)
		return cuts_mprotect(p);
	ok = !madvise(page(p, 4), bytes(4), MADV_DONTNEED) &&
		!uffd_register(fd, page(p, 4), bytes(4), true, false, false) &&
		count_vmas(p, NP) == 3 && uffd_move(fd, page(p, 4), p, 4) &&
		!uffd_unregister(fd, page(p, 4), bytes(4)) && check(page(p, 4), 0, 4, SEED);
	close(fd);
	return ok && check_zero(p, 4);
}

static const struct way splits[] = {
	{ "mprotect", cuts_mprotect },
	{ "munmap", cuts_munmap },
	{ "madvise", cuts_madvise },
	{ "mlock", cuts_mlock },
	{ "mremap", moves },
	{ "mremap of a part", moves_part },
	{ "a neighbour's first page", joins_neighbour },
	{ "an untouched neighbour", joins_untouched },
	{ "mbind", cuts_mbind },
	{ "mremap that shrinks", shrinks },
	{ "userfaultfd", cuts_uffd },
	{ "UFFDIO_MOVE", moves_uffd },
};

ANON_TEST(stays_lazy_in_group)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(splits); i++)
		ASSERT_NE(map_filled(slot(2 * i), NP, SEED), NULL);
	begin();
	for (unsigned int i = 0; i < ARRAY_SIZE(splits); i++) {
		char *p = slot(2 * i);

		window();
		EXPECT_TRUE(splits[i].act(p))
			TH_LOG("%s: %s", splits[i].name, strerror(errno));
		EXPECT_SPLIT(1)
			TH_LOG("%s", splits[i].name);
		EXPECT_EQ(count_vmas(p, NP), 1)
			TH_LOG("%s", splits[i].name);
	}
	for (unsigned int i = 0; i < ARRAY_SIZE(splits); i++) {
		EXPECT_LAZY_IF(variant->setup && env->groups, slot(2 * i), NP)
			TH_LOG("%s", splits[i].name);
	}
}

struct toucher {
	pthread_t thread;
	char *p;
	atomic_bool stop;
};

static void *touch_fn(void *arg)
{
	struct toucher *t = arg;

	while (!t->stop) {
		for (unsigned int i = 0; i < NP; i++)
			__atomic_store_n(page(t->p, i), 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

/* The VMAs of a group come and go while another thread faults pages into them. */
ANON_TEST(stays_lazy_beside_faults)
{
	struct toucher t = { .p = map_filled(slot(0), NP, SEED) };

	ASSERT_NE(t.p, NULL);
	sched_setaffinity(0, sizeof(env->cpus), &env->cpus);
	begin();
	ASSERT_EQ(pthread_create(&t.thread, NULL, touch_fn, &t), 0);
	for (unsigned int i = 0; i < 50; i++) {
		EXPECT_TRUE(cut(t.p, NP / PIECE, PIECE));
		EXPECT_EQ(madvise(t.p, bytes(NP), MADV_DONTNEED), 0);
		EXPECT_TRUE(uncut(t.p, NP));
	}
	t.stop = true;
	ASSERT_EQ(pthread_join(t.thread, NULL), 0);
	EXPECT_LAZY_IF(variant->setup && env->groups, t.p, NP);
	fill(t.p, 0, NP, SEED2);
	/* Other CPUs' batches still hold pages: migration drains. */
	ASSERT_TRUE(env->numa ? sound(t.p, 0, NP, SEED2) : check(t.p, 0, NP, SEED2));
}

#define FIRST_TURNS 960u

struct first_toucher {
	pthread_t thread;
	char *p;
	atomic_ulong ns;
	atomic_uint turn;
	atomic_uint touched;
};

static unsigned long now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ul + t.tv_nsec;
}

/* In each turn one page: before what is changed, in it, or behind it; at any moment. */
static void *first_touch_fn(void *arg)
{
	struct first_toucher *t = arg;

	for (unsigned int turn = 1; turn <= FIRST_TURNS; turn++) {
		static const unsigned int at[3] = { 0, PIECE, NP - 1 };
		unsigned long end;

		while (t->turn != turn)
			;
		end = now_ns() + t->ns * (turn / 9 % 64) / 64;
		while (now_ns() < end)
			;
		if (turn % 3 != 1 || turn / 3 % 3 != 1)
			__atomic_store_n(page(t->p, at[turn / 3 % 3]), 1, __ATOMIC_RELAXED);
		t->touched = turn;
	}
	return NULL;
}

/*
 * A VMA is cut, put together or unmapped in part while its first fault is in another
 * thread. That takes the VMA lock alone. So a VMA must not be copied, or taken for
 * unfaulted, without its lock.
 */
ANON_TEST(first_fault_beside_changes)
{
	struct first_toucher t = { .p = slot(0), .ns = 1000000 };

	sched_setaffinity(0, sizeof(env->cpus), &env->cpus);
	begin();
	ASSERT_EQ(pthread_create(&t.thread, NULL, first_touch_fn, &t), 0);
	for (unsigned int turn = 1; turn <= FIRST_TURNS; turn++) {
		char *middle = page(t.p, PIECE);
		unsigned long from;
		int ret;

		EXPECT_NE(map(t.p, NP), NULL);
		if (turn % 3 == 2)
			EXPECT_EQ(madvise(middle, bytes(PIECE), MADV_DONTDUMP), 0);
		t.turn = turn;
		from = now_ns();
		if (turn % 3 == 0)
			ret = madvise(middle, bytes(PIECE), MADV_DONTDUMP);
		else if (turn % 3 == 1)
			ret = munmap(middle, bytes(PIECE));
		else
			ret = madvise(middle, bytes(PIECE), MADV_DODUMP);
		/* So long it takes, unless the other one is met. */
		from = now_ns() - from;
		if (from < t.ns)
			t.ns = from;
		EXPECT_EQ(ret, 0);
		while (t.touched != turn)
			;
		/* Two that are touched at once need not merge. */
		if (turn % 3 != 2)
			EXPECT_EQ(count_vmas(t.p, NP), turn % 3 ? 2 : 3);
		EXPECT_TRUE(verify(getpid()));
	}
	ASSERT_NE(map(t.p, NP), NULL);
	ASSERT_EQ(pthread_join(t.thread, NULL), 0);
	fill(t.p, 0, NP, SEED);
	/* Other CPUs' batches still hold pages: migration drains. */
	ASSERT_TRUE(env->numa ? sound(t.p, 0, NP, SEED) : check(t.p, 0, NP, SEED));
}

struct truncator {
	pthread_t thread;
	int fd;
	atomic_uint turn;
	atomic_uint truncated;
	atomic_bool failed;
	atomic_bool stop;
};

/* In each turn once, sooner or later. */
static void *truncate_fn(void *arg)
{
	struct truncator *t = arg;

	while (!t->stop) {
		const unsigned int turn = t->turn;
		unsigned long until = now_ns() + turn * 7919 % 4000 * 1000;

		if (turn == t->truncated)
			continue;
		while (now_ns() < until)
			;
		if (ftruncate(t->fd, 0))
			t->failed = true;
		t->truncated = turn;
	}
	return NULL;
}

/* Private copies of a file go with it, whatever is locked by who looks at them. */
ANON_TEST(verify_beside_truncate)
{
	struct truncator t = { .fd = memfd_create("anon_rmap", MFD_CLOEXEC) };
	char *p = slot(0);
	unsigned long end;
	bool ok = true;

	if (deferred() < 0)
		SKIP(return, "no CONFIG_DEBUG_ANON_VMA_LAZY");
	ASSERT_GE(t.fd, 0);
	ASSERT_EQ(mmap(p, bytes(NP), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, t.fd, 0), p);
	sched_setaffinity(0, sizeof(env->cpus), &env->cpus);
	begin();
	ASSERT_EQ(pthread_create(&t.thread, NULL, truncate_fn, &t), 0);
	end = now_ns() + test_seconds() * 1000000000ul;
	while (ok && now_ns() < end) {
		ASSERT_EQ(ftruncate(t.fd, bytes(NP)), 0);
		fill(p, 0, NP, SEED);
		t.turn++;
		ok = verify(getpid());
		while (t.truncated != t.turn)
			;
	}
	t.stop = true;
	ASSERT_EQ(pthread_join(t.thread, NULL), 0);
	EXPECT_TRUE(ok);
	EXPECT_FALSE(t.failed);
	EXPECT_GT((unsigned int)t.turn, 1u);
	close(t.fd);
}

static char *moved_slot(unsigned int i)
{
	return page(slot(i), 2 * NP);
}

/*
 * Fork upgrades, once; what the child gets is lazy, until it is split or moved, or is
 * written to and forked.
 */
ANON_TEST(fork_upgrades)
{
	struct kid k, k2;

	for (unsigned int i = 0; i < MANY; i++) {
		ASSERT_NE(map_filled(slot(i), NP, SEED + i), NULL);
		/* Of some it is swap entries that are shared. */
		if (env->swap && i % 8 == 0)
			ASSERT_TRUE(swap_out(slot(i), NP));
	}
	begin();
	if (kid_spawn(&k)) {
		bool ok = true;

		kid_pause(&k, ok);
		window();
		for (unsigned int i = 0; i < MANY; i++) {
			if (i & 1)
				ok &= mremap(slot(i), bytes(NP), bytes(NP), MREMAP_MAYMOVE |
					     MREMAP_FIXED, moved_slot(i)) == moved_slot(i);
			else
				ok &= !munmap(page(slot(i), 4), bytes(4));
		}
		/* They have ancestors, so they have no groups. */
		ok &= children_fit(EV_UPGRADE, MANY);
		kid_pause(&k, ok);
		for (unsigned int i = 0; i < MANY; i++)
			ok &= check(i & 1 ? moved_slot(i) : slot(i), 0, 4, SEED + i);
		kid_exit(ok);
	}
	ASSERT_GT(k.pid, 0);
	ASSERT_TRUE(kid_paused(&k));
	EXPECT_UPGRADED(MANY);
	EXPECT_CHILDREN_LAZY(MANY);

	window();
	if (kid_spawn(&k2)) {
		kid_pause(&k2, true);
		for (unsigned int i = 0; i < MANY; i++)
			fill_page(slot(i), SEED2, i);
		window();
		kid_exit(forked() && children_fit(EV_UPGRADE, MANY));
	}
	ASSERT_GT(k2.pid, 0);
	ASSERT_TRUE(kid_paused(&k2));
	EXPECT_EVENTS(EV_UPGRADE, MANY, false);
	EXPECT_CHILDREN_LAZY(MANY);
	kid_go(&k);
	ASSERT_TRUE(kid_paused(&k));
	ASSERT_TRUE(kid_finish(&k));
	ASSERT_TRUE(kid_finish(&k2));
	for (unsigned int i = 0; i < MANY; i++)
		ASSERT_TRUE(check(slot(i), 0, NP, SEED + i));
}

/* Pages become shared, though by nobody's fork. */
ANON_TEST(ksm_upgrades)
{
	char *p = map_filled(slot(0), NP, SEED);
	char *q = map_filled(slot(1), NP, SEED);
	char *r = map_filled(slot(2), NP, SEED2);
	const char *reason;

	ASSERT_TRUE(p && q && r);
	reason = ksm_prepare(r, NP);
	if (reason)
		SKIP(return, "%s", reason);
	/* A single one, and a group. */
	ASSERT_TRUE(cut(q, 2, NP / 2));
	begin();
	ASSERT_EQ(madvise(p, bytes(NP), MADV_MERGEABLE), 0);
	ASSERT_EQ(madvise(q, bytes(NP), MADV_MERGEABLE), 0);
	for (int i = 0; i < 6 && ksm_get_self_merging_pages() < 2 * NP; i++)
		ASSERT_EQ(ksm_start(), 0);
	EXPECT_EQ(ksm_get_self_merging_pages(), 2 * NP);
	EXPECT_UPGRADED(1 + env->groups);
	ASSERT_EQ(ksm_stop(), 0);
	/* What it has looked at, but not merged. */
	EXPECT_LAZY_IF(variant->setup, r, NP);
	ASSERT_TRUE(sound(r, 0, NP, SEED2));
}

/* A huge page comes, is split, or is made of small ones. */
ANON_TEST(thp_stays_lazy)
{
	const unsigned int n = env->pmd_size / psize();
	char *p, *q, *r, cmd[96];

	if (no_thp())
		SKIP(return, "%s", no_thp());
	p = map_thp(1, SEED);
	if (!p)
		SKIP(return, NO_THP);
	q = env->arena + 3 * env->pmd_size;
	ASSERT_NE(map(q, n), NULL);
	ASSERT_EQ(madvise(q, env->pmd_size, MADV_NOHUGEPAGE), 0);
	fill(q, 0, n, SEED2);
	ASSERT_EQ(madvise(q, env->pmd_size, MADV_HUGEPAGE), 0);
	r = map_thp(5, SEED3);
	begin();
	/* Parts of it in two VMAs, then all of it elsewhere. */
	if (r) {
		ASSERT_EQ(mprotect(page(r, n / 4), bytes(n / 2), PROT_READ), 0);
		ASSERT_EQ(mprotect(page(r, n / 4), bytes(n / 2), PROT_READ | PROT_WRITE), 0);
		ASSERT_EQ(mremap(r, env->pmd_size, env->pmd_size, MREMAP_MAYMOVE | MREMAP_FIXED,
				 r + 2 * env->pmd_size), r + 2 * env->pmd_size);
		r += 2 * env->pmd_size;
	}
	snprintf(cmd, sizeof(cmd), "%d,0x%lx,0x%lx,0", getpid(),
		 (unsigned long)p, (unsigned long)p + env->pmd_size);
	if (!access(SPLIT_THP, W_OK)) {
		ASSERT_EQ(try_write_file(SPLIT_THP, cmd), 0);
		EXPECT_TRUE(check_huge_anon(p, env->pmd_size, 0, env->pmd_size));
	}
	ASSERT_TRUE(shake(p, n));
	EXPECT_TRUE(collapse(q, env->pmd_size) ?
		    check_huge_anon(q, env->pmd_size, 1, env->pmd_size) : errno == ENOMEM);
	ASSERT_TRUE(check(p, 0, n, SEED));
	ASSERT_TRUE(check(q, 0, n, SEED2));
	EXPECT_LAZY_IF(variant->setup, p, n);
	EXPECT_LAZY_IF(variant->setup, q, n);
	if (r) {
		ASSERT_TRUE(check(r, 0, n, SEED3));
		EXPECT_LAZY_IF(variant->setup && env->groups, r, n);
	}
}

/* A VMA that others' pages still name has to wait for them. */
ANON_TEST(deferred_fork)
{
	struct kid k;

	for (unsigned int i = 0; i < MANY; i++)
		ASSERT_NE(map_filled(slot(i), NP, SEED + i), NULL);
	deferred_window();
	begin();
	if (kid_spawn(&k)) {
		bool ok = true;

		kid_pause(&k, true);
		for (unsigned int i = 0; i < MANY; i++)
			ok &= check(slot(i), 0, NP, SEED + i);
		kid_exit(ok && shake(slot(0), NP) && check(slot(0), 0, NP, SEED));
	}
	ASSERT_GT(k.pid, 0);
	ASSERT_TRUE(kid_paused(&k));
	EXPECT_DEFERRED(MANY, false);
	for (unsigned int i = 0; i < MANY; i++)
		ASSERT_EQ(munmap(slot(i), bytes(NP)), 0);
	EXPECT_DEFERRED(MANY, variant->setup);
	/* New memory in the same place has nothing to do with the old. */
	ASSERT_NE(map_filled(slot(0), NP, SEED2), NULL);
	ASSERT_TRUE(kid_finish(&k));
	EXPECT_FREED();
	ASSERT_TRUE(check(slot(0), 0, NP, SEED2));
}

/* Which part of a split is the VMA that was there first is not for us to know. */
ANON_TEST(deferred_split)
{
	const unsigned int half = NP / 2;

	for (unsigned int i = 0; i < 2 * MANY; i++)
		ASSERT_NE(map_filled(slot(i), NP, SEED + i), NULL);
	deferred_window();
	begin();
	for (unsigned int i = 0; i < 2 * MANY; i++)
		ASSERT_EQ(mprotect(page(slot(i), half), bytes(half), PROT_READ), 0);
	EXPECT_SPLIT(2 * MANY);
	EXPECT_DEFERRED(MANY, false);
	/* So in every second it is the front that goes. */
	for (unsigned int i = 0; i < 2 * MANY; i++)
		ASSERT_EQ(munmap(page(slot(i), i & 1 ? 0 : half), bytes(half)), 0);
	EXPECT_DEFERRED(MANY, variant->setup);
	for (unsigned int i = 0; i < 2 * MANY; i++) {
		char *p = page(slot(i), i & 1 ? half : 0);

		ASSERT_TRUE(check(p, i & 1 ? half : 0, half, SEED + i));
		if (i < 2)
			ASSERT_TRUE(sound(p, i & 1 ? half : 0, half, SEED + i));
		ASSERT_EQ(munmap(p, bytes(half)), 0);
	}
	EXPECT_FREED();
}

/* Of a VMA that loses a part the rest is the VMA that was there first. */
ANON_TEST(deferred_munmap)
{
	static const unsigned int from[] = { 0, NP / 4, NP / 2 };
	const unsigned int n = NP / 2;

	for (unsigned int i = 0; i < 2 * MANY; i++)
		ASSERT_NE(map_filled(slot(i), NP, SEED + i), NULL);
	deferred_window();
	begin();
	for (unsigned int i = 0; i < 2 * MANY; i++)
		ASSERT_EQ(munmap(page(slot(i), from[i % 3]), bytes(n)), 0);
	EXPECT_SPLIT(2 * MANY);
	/* That is a third of them. */
	EXPECT_DEFERRED(MANY / 2, false);
	for (unsigned int i = 0; i < 2 * MANY; i++) {
		unsigned int f = from[i % 3], end = f + n;

		if (f)
			ASSERT_TRUE(check(slot(i), 0, f, SEED + i));
		if (end < NP)
			ASSERT_TRUE(check(page(slot(i), end), end, NP - end, SEED + i));
		if (f && i < 3)
			ASSERT_TRUE(sound(slot(i), 0, f, SEED + i));
		ASSERT_EQ(munmap(slot(i), bytes(NP)), 0);
	}
	EXPECT_FREED();
}

/* A process ends, and its child has all of its pages. */
ANON_TEST(deferred_exit)
{
	/* A debug kernel looks at all VMAs whenever there is one more. */
	const unsigned int nr = 400, step = 2;
	char *p = env->arena;
	struct kid k;
	pid_t parent;

	deferred_window();
	begin();
	ASSERT_EQ(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
	if (kid_spawn(&k)) {
		bool ok = true;

		for (unsigned int i = 0; i < nr; i++)
			ok &= !!map_filled(page(p, i * step), 1, SEED + i);
		/* A child is left with all of them; it is the one to answer. */
		parent = getpid();
		if (ok && fork())
			_exit(0);
		/* It starts when its parent's address space is no more. */
		while (ok && getppid() == parent)
			usleep(1000);
		ok &= deferred_fit(nr, variant->action);
		for (unsigned int i = 0; i < nr; i++)
			ok &= check(page(p, i * step), 0, 1, SEED + i);
		kid_exit(ok);
	}
	ASSERT_GT(k.pid, 0);
	ASSERT_TRUE(kid_end(&k));
	ASSERT_TRUE(reap(-1));
	EXPECT_BECAME_LAZY(nr);
	EXPECT_EVENTS(EV_UPGRADE, nr, variant->action);
	EXPECT_FREED();
}

/* Lines of this process's events that have both texts in them. */
static unsigned int traced(const char *event, const char *text)
{
	FILE *f = fopen(TRACES "/trace", "r");
	unsigned int n = 0;
	char line[512];

	while (f && fgets(line, sizeof(line), f))
		n += line[0] != '#' && strstr(line, event) && strstr(line, text);
	if (f)
		fclose(f);
	return n;
}

/* What events say of a VMA that is there. */
static const char *traced_range(char *p, unsigned int n)
{
	static char text[64];

	snprintf(text, sizeof(text), "range=%lx-%lx", (unsigned long)p,
		 (unsigned long)page(p, n));
	return text;
}

/*
 * Each of the events in its place, but anon_vma_free_deferred: a struct is freed later,
 * and not by this process. At fork there are others' too: the stack's, the C
 * library's.
 */
ANON_TEST(trace_events)
{
	const unsigned int half = NP / 2, lazy = variant->action;
	char filter[32], *p = slot(0), *moved = slot(4);
	struct kid k;

	if (access("/sys/kernel/tracing/instances", W_OK))
		SKIP(return, "no tracefs, or no root");
	ASSERT_EQ(mkdir(TRACES, 0700), 0);
	if (access(TRACES "/events/anon_vma", F_OK))
		SKIP(return, "no events of anon_vma");
	/* set_event_pid and the recording of names would trace the scheduler as well. */
	snprintf(filter, sizeof(filter), "common_pid == %d", getpid());
	ASSERT_EQ(try_write_file(TRACES "/events/anon_vma/filter", filter), 0);
	ASSERT_EQ(try_write_file(TRACES "/trace_options", "norecord-cmd"), 0);
	ASSERT_EQ(try_write_file(TRACES "/events/anon_vma/enable", "1"), 0);

	begin();
	ASSERT_NE(map_filled(p, NP, SEED), NULL);
	EXPECT_EQ(traced("anon_vma_become_lazy:", traced_range(p, NP)), lazy);
	ASSERT_EQ(mprotect(page(p, half), bytes(half), PROT_READ), 0);
	EXPECT_EQ(traced("anon_vma_join_group:", ""), env->groups ? lazy : 0);
	EXPECT_EQ(traced("anon_vma_upgrade:", ""), env->groups ? 0 : lazy);

	/* Its head goes now, or when the other one does. */
	ASSERT_EQ(mremap(p, bytes(half), bytes(half), MREMAP_MAYMOVE | MREMAP_FIXED, moved),
		  moved);
	ASSERT_EQ(munmap(page(p, half), bytes(half)), 0);
	EXPECT_EQ(traced("anon_vma_defer_free:", ""), lazy);

	if (kid_spawn(&k)) {
		kid_pause(&k, check(moved, 0, half, SEED));
		kid_exit(check(moved, 0, half, SEED));
	}
	ASSERT_GT(k.pid, 0);
	ASSERT_TRUE(kid_paused(&k));
	EXPECT_EQ(traced("anon_vma_upgrade:", traced_range(p, half)) +
		  traced("anon_vma_upgrade:", traced_range(page(p, half), half)) +
		  traced("anon_vma_upgrade:", traced_range(p, NP)), lazy);
	EXPECT_EQ(traced("anon_vma_become_lazy:", traced_range(moved, half)), lazy);
	ASSERT_TRUE(kid_finish(&k));

	ASSERT_EQ(try_write_file(TRACES "/events/anon_vma/enable", "0"), 0);
	EXPECT_EQ(rmdir(TRACES), 0);
}

int main(int argc, char **argv)
{
	env->lazy_tests = true;
	return env_main(argc, argv, test_harness_run);
}
