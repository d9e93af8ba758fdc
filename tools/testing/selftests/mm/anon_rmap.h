/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the tests of anonymous memory and its reverse mapping have in common.
 *
 * A test changes VMAs, processes or pages. Then it looks at every byte in each
 * process concerned, has the kernel find all pages by their reverse mapping, to
 * migrate them and to swap them out, and looks at every byte again. It does so
 * on any kernel, if there are two nodes, or swap.
 *
 * A kernel with CONFIG_ANON_VMA_LAZY does without an anon_vma as long as no other
 * process may map the anonymous pages of a VMA: it is lazy. On such a kernel each
 * test runs with vm.anon_vma_lazy switched on, switched off, and switched between
 * set up and action, since VMAs of both kinds coexist. On other kernels there is
 * one variant to run.
 */
#ifndef __ANON_RMAP_H__
#define __ANON_RMAP_H__

#include <asm-generic/mman.h> /* Force the import of the tools version. */
#include <errno.h>
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "vm_util.h"

#define KSM(file)	"/sys/kernel/mm/ksm/" file
#define THP(file)	"/sys/kernel/mm/transparent_hugepage/" file
#define FAILSLAB(file)	"/sys/kernel/debug/failslab/" file
#define SPLIT_THP	"/sys/kernel/debug/split_huge_pages"
#define LAZY_SYSCTL	"/proc/sys/vm/anon_vma_lazy"
#define TRACES		"/sys/kernel/tracing/instances/anon_rmap"

/* Pages per region, unless a test says otherwise. */
#define NP		32u
/* Regions are placed this far apart, so that there is room to grow. */
#define SLOT_PAGES	128u
#define NR_SLOTS	64u
/* The largest region of which the place of each page is looked at. */
#define MAX_PAGES	1024u
/* Best effort operations are repeated that often before it is a failure. */
#define TRIES		20
/* Seconds, for a debug kernel in an emulator. */
#define TIMEOUT		90
/* So many lazy VMAs of a process may share folios: they are a group. */
#define GROUP_MAX	8u
/* Pages of each piece that a region is cut into. */
#define PIECE		8u

#define SEED		0x1a2f0000ul
#define SEED2		0x2b3e0000ul
#define SEED3		0x3c4d0000ul

#define NO_SWAP	"no swap device in /proc/swaps"
#define NO_NUMA	"one NUMA node only, no NUMA, or no CAP_SYS_NICE"
#define NO_PFNS	"page frame numbers want CAP_SYS_ADMIN"
#define NO_THP	"no huge page was allocated"

/* What this machine has, and what a test may use. */
struct test_env {
	char *arena;
	size_t arena_size;
	size_t pmd_size;
	cpu_set_t cpus;
	int node[2];
	bool numa;
	bool swap;
	bool pfns;
	char swap_dev[256];
	/* Can vm.anon_vma_lazy be changed, and are there its events to count? */
	bool sysctl;
	bool events;
	/* Does a split leave a VMA lazy, as one of a group? */
	bool groups;
	/* Of a program whose tests say nothing of a kernel that has no such events. */
	bool lazy_tests;
};

extern struct test_env *env;

__printf(1, 2) void complain(const char *fmt, ...);

/* Settings, and what else of the system has to be restored. */
int env_main(int argc, char **argv, int (*run)(int argc, char **argv));
const char *env_setup(bool setup, bool action);
bool env_action(bool setup, bool action);
void env_restore(void);
bool read_setting(const char *path, char *value, size_t size);
const char *cgroup_enter(void);
void cgroup_reclaim(size_t size);
size_t cgroup_swapcached(void);

/* Patterns. */
void fill_page(char *page, uint64_t seed, unsigned int index);
bool page_is(const char *page, uint64_t seed, unsigned int index, unsigned int *bad);
bool check_page(const char *page, uint64_t seed, unsigned int index);
void fill(char *p, unsigned int first, unsigned int n, uint64_t seed);
bool check(const char *p, unsigned int first, unsigned int n, uint64_t seed);
bool check_seeds(const char *p, const uint64_t *seed, unsigned int n);
void set_page(char *p, uint64_t *seeds, unsigned int i, uint64_t seed);
bool check_zero(const char *p, unsigned int n);

/* Child processes, which go on step by step as their parent tells them. */
struct kid {
	pid_t pid;
	int go[2];
	int ack[2];
};

bool kid_prepare(struct kid *k);
void kid_is_me(struct kid *k);
void kid_is_child(struct kid *k, pid_t pid);
bool kid_spawn(struct kid *k);
__noreturn void kid_exit(bool ok);
void kid_pause(struct kid *k, bool ok);
bool kid_paused(struct kid *k);
void kid_go(struct kid *k);
bool reap(pid_t pid);
bool kid_end(struct kid *k);
bool kid_finish(struct kid *k);

/* Where pages are. */
unsigned int count_entries(pid_t pid, char *p, unsigned int n, uint64_t flag);
unsigned int count_swapped(pid_t pid, char *p, unsigned int n);
unsigned int count_present(pid_t pid, char *p, unsigned int n);
bool shared(pid_t pid, char *p, pid_t pid2, char *p2, unsigned int n, unsigned int want);
void get_pfns(char *p, unsigned int n, uint64_t *pfn);
unsigned int count_vmas(char *p, unsigned int n);

long sys_move_pages(pid_t pid, unsigned long count, void **pages, const int *nodes,
		    int *status, int flags);
unsigned int count_on_node(pid_t pid, char *p, unsigned int n, int node);
bool migrate_to(pid_t pid, char *p, unsigned int n, int node, int flags);
bool swap_out(char *p, unsigned int n);
bool shake(char *p, unsigned int n);
bool sound(char *p, unsigned int first, unsigned int n, uint64_t seed);

/* VMAs. */
char *map(char *at, unsigned int n);
char *map_filled(char *at, unsigned int n, uint64_t seed);
bool cut(char *p, unsigned int nr, unsigned int n);
bool uncut(char *p, unsigned int n);
const char *no_thp(void);
char *map_thp(unsigned int i, uint64_t seed);
bool collapse(char *p, size_t size);
const char *ksm_prepare(char *p, unsigned int n);
bool ksm_merge(long pages);
int uffd_open(uint64_t features);
bool uffd_move(int fd, char *dst, char *src, unsigned int n);
bool is_guarded(char *p);

/* What a kernel with CONFIG_ANON_VMA_LAZY counts in /proc/vmstat. */
enum event {
	EV_LAZY,
	EV_UPGRADE,
	EV_FAULT,	/* Of any kernel that counts at all. */
	NR_EVENTS,
};

void window(void);
unsigned long events(enum event e);
bool events_fit(enum event e, unsigned long n, bool cond);
bool lazy_fit(char *p, unsigned int n, bool cond);

/* And what one with CONFIG_DEBUG_ANON_VMA_LAZY tells besides. */
long deferred(void);
long deferred_more(void);
void deferred_window(void);
bool deferred_fit(long n, bool cond);
bool deferred_ends(void);
bool verify(pid_t pid);
bool swap_restore(void);
unsigned long slab_objects(const char *name);
bool leaks_are_seen(char *p);

/* Of three things, all orders. */
extern const unsigned int orders[6][3];

static inline char *page(char *p, unsigned int i)
{
	return p + (size_t)i * psize();
}

static inline size_t bytes(unsigned int n)
{
	return (size_t)n * psize();
}

static inline char *slot(unsigned int i)
{
	return page(env->arena, i * SLOT_PAGES);
}

/* How long a test goes on that has no end of its own. */
static inline unsigned int test_seconds(void)
{
	const char *seconds = getenv("ANON_RMAP_SECONDS");

	return seconds ? atoi(seconds) : 2;
}

#ifdef __KSELFTEST_HARNESS_H

FIXTURE(anon_vma)
{
};

FIXTURE_VARIANT(anon_vma)
{
	/* vm.anon_vma_lazy while a test sets up, and from its begin() on. */
	bool setup;
	bool action;
};

FIXTURE_VARIANT_ADD(anon_vma, lazy)
{
	.setup = true,
	.action = true,
};

FIXTURE_VARIANT_ADD(anon_vma, off)
{
	.setup = false,
	.action = false,
};

FIXTURE_VARIANT_ADD(anon_vma, switch_off)
{
	.setup = true,
	.action = false,
};

FIXTURE_VARIANT_ADD(anon_vma, switch_on)
{
	.setup = false,
	.action = true,
};

FIXTURE_SETUP(anon_vma)
{
	const char *reason = env_setup(variant->setup, variant->action);

	if (reason)
		SKIP(return, "%s", reason);
	ASSERT_NE(env->arena, NULL);
}

/* In the parent: a test may have been killed. */
FIXTURE_TEARDOWN_PARENT(anon_vma)
{
	env_restore();
}

#define ANON_TEST(name) TEST_F_TIMEOUT(anon_vma, name, TIMEOUT)

/* Set up is done, the action begins. */
#define begin() ASSERT_TRUE(env_action(variant->setup, variant->action))

/*
 * Did the event happen @n times or more, since the window began, if @cond? Others'
 * VMAs have events as well: see events_fit().
 */
#define EXPECT_EVENTS(e, n, cond) EXPECT_TRUE(events_fit(e, n, cond))

/* VMAs were first touched by the action. */
#define EXPECT_BECAME_LAZY(n) EXPECT_EVENTS(EV_LAZY, n, variant->action)

/* As above, forked off VMAs of the set up. If those were not lazy, they need not be. */
#define children_fit(e, n) \
	((variant->action && !variant->setup) || events_fit(e, n, variant->action))
#define EXPECT_CHILDREN_LAZY(n) EXPECT_TRUE(children_fit(EV_LAZY, n))

/* VMAs first touched in the set up were upgraded by the action. */
#define EXPECT_UPGRADED(n) EXPECT_EVENTS(EV_UPGRADE, n, variant->setup)

/*
 * A split, move or merge let a second VMA of this process have a lazy one's pages,
 * @n times or more if @cond: it joined the group, which stays lazy. A kernel without
 * groups upgrades the lazy one.
 */
#define EXPECT_SHARED(n, cond) EXPECT_EVENTS(EV_UPGRADE, n, (cond) && !env->groups)

/* VMAs first touched in the set up were split, moved or merged by the action. */
#define EXPECT_SPLIT(n) EXPECT_SHARED(n, variant->setup)

#define EXPECT_LAZY_IF(cond, p, n) EXPECT_TRUE(lazy_fit(p, n, cond))
#define EXPECT_DEFERRED(n, cond) EXPECT_TRUE(deferred_fit(n, cond))
#define EXPECT_FREED() EXPECT_TRUE(deferred_ends())

#endif /* __KSELFTEST_HARNESS_H */

#endif /* __ANON_RMAP_H__ */
