// SPDX-License-Identifier: GPL-2.0
/*
 * Functional tests for lone VMAs (CONFIG_ANON_VMA_LAZY).
 *
 * A VMA whose anonymous pages were never shared with another VMA does without
 * an anon_vma. It gets one (it is "upgraded") right before the first operation
 * which could let a second VMA map one of its pages. Nothing of that may be
 * visible to the process: what every test here looks at first are the bytes in
 * memory, all of them, in each process concerned; then where the pages went;
 * and only then, on a kernel that has the feature, the events in /proc/vmstat
 * which tell that the intended path was taken.
 *
 * The same tests run with the feature switched on, switched off, and switched
 * between set up and action, since VMAs of both kinds coexist at all times. On
 * a kernel without the feature one pass checks the contents only.
 *
 * The events are counted for the whole system. "Must happen" is therefore
 * tested with >=. "Must not happen" is tested with == in windows in which
 * nothing but the system calls of the test run: that wants a machine on which
 * nobody else forks or founds VMAs in these milliseconds, such as a test guest.
 *
 * ANON_VMA_LAZY_SECONDS in the environment is the length of each storm test
 * (default 2). ANON_VMA_LAZY_HWPOISON=1 allows to poison pages even if they
 * cannot be given back to the allocator afterwards.
 */
#define _GNU_SOURCE
#include "kselftest_harness.h"
#include <asm-generic/mman.h> /* Force the import of the tools version. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>
#include "hugepage_settings.h"
#include "vm_util.h"

#define SYSCTL		"/proc/sys/vm/anon_vma_lazy"
#define KSM(file)	"/sys/kernel/mm/ksm/" file
#define THP(file)	"/sys/kernel/mm/transparent_hugepage/" file
#define UNPOISON	"/sys/kernel/debug/hwpoison/unpoison-pfn"
#define SPLIT_THP	"/sys/kernel/debug/split_huge_pages"
#define PAGE_IDLE	"/sys/kernel/mm/page_idle/bitmap"

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
#define TIMEOUT		240

#define SEED		0x1a2f0000ul
#define SEED2		0x2b3e0000ul
#define SEED3		0x3c4d0000ul

#ifndef PR_MCE_KILL
#define PR_MCE_KILL		33
#define PR_MCE_KILL_SET		1
#define PR_MCE_KILL_EARLY	1
#endif
#ifndef BUS_MCEERR_AR
#define BUS_MCEERR_AR		4
#define BUS_MCEERR_AO		5
#endif

enum event {
	EV_LONE,
	EV_FORK,
	EV_VMA,
	EV_OTHER,
	EV_RETIRED,
	NR_EVENTS,
};

static const char * const event_name[NR_EVENTS] = {
	[EV_LONE]	= "anon_vma_lone",
	[EV_FORK]	= "anon_vma_upgrade_fork",
	[EV_VMA]	= "anon_vma_upgrade_vma",
	[EV_OTHER]	= "anon_vma_upgrade_other",
	[EV_RETIRED]	= "anon_vma_retired",
};

/*
 * Settings that tests change. They are read when the program starts and put
 * back after each test, and once more at exit for a test that was killed.
 */
static struct setting {
	const char *path;
	char value[64];
	bool valid;
} settings[] = {
	{ .path = SYSCTL },
	{ .path = KSM("run") },
	{ .path = KSM("sleep_millisecs") },
	{ .path = KSM("pages_to_scan") },
	{ .path = THP("hugepages-64kB/enabled") },
	{ .path = "/proc/sys/vm/nr_hugepages" },
};

static pid_t main_pid;

/* Print a diagnostic in whichever process this is. */
__attribute__((format(printf, 1, 2)))
static void complain(const char *fmt, ...)
{
	char buf[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(buf, sizeof(buf), fmt, ap);
	va_end(ap);
	/* One write(), and no stdio lock that a fork may have left locked. */
	dprintf(STDERR_FILENO, "# pid %d: %s\n", getpid(), buf);
}

/* Returns 0 or a negative error. */
static int write_string(const char *path, const char *value)
{
	int fd = open(path, O_WRONLY);
	int ret = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, value, strlen(value)) != (ssize_t)strlen(value))
		ret = -errno;
	close(fd);
	return ret;
}

/* Read a setting: of "always [madvise] never" what is in brackets. */
static bool read_string(const char *path, char *value, size_t size)
{
	int fd = open(path, O_RDONLY);
	char buf[256], *start, *end;
	ssize_t len;

	if (fd < 0)
		return false;
	len = read(fd, buf, sizeof(buf) - 1);
	close(fd);
	if (len <= 0)
		return false;
	buf[len] = '\0';

	start = strchr(buf, '[');
	start = start ? start + 1 : buf;
	end = start + strcspn(start, "]\n");
	*end = '\0';
	if (strlen(start) >= size)
		return false;
	strcpy(value, start);
	return true;
}

static void settings_restore(void)
{
	char now[64];

	for (unsigned int i = 0; i < ARRAY_SIZE(settings); i++) {
		struct setting *s = &settings[i];

		if (!s->valid || !read_string(s->path, now, sizeof(now)))
			continue;
		if (strcmp(now, s->value) && write_string(s->path, s->value))
			complain("%s was not restored", s->path);
	}
}

static void __attribute__((constructor)) settings_save(void)
{
	main_pid = getpid();
	for (unsigned int i = 0; i < ARRAY_SIZE(settings); i++)
		settings[i].valid = read_string(settings[i].path,
						settings[i].value,
						sizeof(settings[i].value));
}

static void __attribute__((destructor)) settings_restore_at_exit(void)
{
	if (getpid() == main_pid)
		settings_restore();
}

/*
 * Patterns.
 *
 * Each page is known by a seed (who wrote it, and when) and an index (which
 * page it was when it was written, which it stays wherever it is moved). Each
 * of its words follows from these and from the word before it, so that no two
 * words of a test are alike and a page that was lost, zeroed, exchanged,
 * shifted or half copied is found by looking at it alone.
 */
static uint64_t page_start(uint64_t seed, unsigned int index)
{
	uint64_t x = seed + (index + 1) * 0x9e3779b97f4a7c15ull;

	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
	return x ^ (x >> 31);
}

static uint64_t next_word(uint64_t x)
{
	return x * 6364136223846793005ull + 1442695040888963407ull;
}

static void fill_page(char *page, uint64_t seed, unsigned int index)
{
	uint64_t *word = (uint64_t *)page;
	uint64_t x = page_start(seed, index);

	for (unsigned int i = 0; i < psize() / sizeof(*word); i++) {
		x = next_word(x);
		word[i] = x;
	}
}

static bool page_is(const char *page, uint64_t seed, unsigned int index,
		    unsigned int *bad)
{
	const uint64_t *word = (const uint64_t *)page;
	uint64_t x = page_start(seed, index);

	for (unsigned int i = 0; i < psize() / sizeof(*word); i++) {
		x = next_word(x);
		if (word[i] != x) {
			*bad = i * sizeof(*word);
			return false;
		}
	}
	return true;
}

static bool check_page(const char *page, uint64_t seed, unsigned int index)
{
	unsigned int bad;

	if (page_is(page, seed, index, &bad))
		return true;
	complain("%p: page %u of seed %llx differs at offset %u, found %llx",
		 page, index, (unsigned long long)seed, bad,
		 (unsigned long long)*(const uint64_t *)(page + bad));
	return false;
}

/* Fill @n pages at @p with pages @first... of @seed. */
static void fill(char *p, unsigned int first, unsigned int n, uint64_t seed)
{
	for (unsigned int i = 0; i < n; i++)
		fill_page(p + (size_t)i * psize(), seed, first + i);
}

static bool check(const char *p, unsigned int first, unsigned int n,
		  uint64_t seed)
{
	bool ok = true;

	for (unsigned int i = 0; i < n; i++)
		ok &= check_page(p + (size_t)i * psize(), seed, first + i);
	return ok;
}

/* As check(), but each page has a seed of its own. */
static bool check_seeds(const char *p, const uint64_t *seed, unsigned int n)
{
	bool ok = true;

	for (unsigned int i = 0; i < n; i++)
		ok &= check_page(p + (size_t)i * psize(), seed[i], i);
	return ok;
}

static void set_page(char *p, uint64_t *seeds, unsigned int i, uint64_t seed)
{
	fill_page(p + (size_t)i * psize(), seed, i);
	seeds[i] = seed;
}

static bool check_zero(const char *p, unsigned int n)
{
	const uint64_t *word = (const uint64_t *)p;

	for (size_t i = 0; i < (size_t)n * psize() / sizeof(*word); i++) {
		if (word[i]) {
			complain("%p: not zero: %llx", &word[i],
				 (unsigned long long)word[i]);
			return false;
		}
	}
	return true;
}

/* Child processes, which go on step by step as their parent tells them. */
struct kid {
	pid_t pid;
	int go[2];
	int ack[2];
};

/* To be called before the fork, which need not be the caller's own. */
static bool kid_prepare(struct kid *k)
{
	k->pid = -1;
	return !pipe(k->go) && !pipe(k->ack);
}

static void kid_is_me(struct kid *k)
{
	close(k->go[1]);
	close(k->ack[0]);
}

static void kid_is_child(struct kid *k, pid_t pid)
{
	k->pid = pid;
	close(k->go[0]);
	close(k->ack[1]);
}

/* Returns true in the child. In the parent k->pid is -1 if there is none. */
static bool kid_spawn(struct kid *k)
{
	pid_t pid;

	if (!kid_prepare(k))
		return false;
	pid = fork();
	if (pid < 0)
		return false;
	if (pid) {
		kid_is_child(k, pid);
		return false;
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	kid_is_me(k);
	return true;
}

static void __attribute__((noreturn)) kid_exit(bool ok)
{
	_exit(ok ? 0 : 1);
}

/* The child says how far it came, and waits to be told to go on. */
static void kid_pause(struct kid *k, bool ok)
{
	char byte = ok;

	if (write(k->ack[1], &byte, 1) != 1 || read(k->go[0], &byte, 1) != 1)
		kid_exit(false);
}

/* Wait until the child pauses; false if it failed so far or has died. */
static bool kid_paused(struct kid *k)
{
	char byte = 0;

	return read(k->ack[0], &byte, 1) == 1 && byte;
}

static void kid_go(struct kid *k)
{
	char byte = 1;

	if (write(k->go[1], &byte, 1) != 1)
		complain("child %d is not there", k->pid);
}

/* As waitpid(): -1 stands for whichever child is next. */
static bool reap(pid_t pid)
{
	int status;
	pid_t ret;

	ret = waitpid(pid, &status, 0);
	if (ret < 0 || (pid > 0 && ret != pid)) {
		complain("child %d is lost", pid);
		return false;
	}
	if (WIFEXITED(status) && !WEXITSTATUS(status))
		return true;
	if (WIFSIGNALED(status))
		complain("child %d was killed by signal %d", pid,
			 WTERMSIG(status));
	return false;
}

/* Wait for the end of the child; false if anything was wrong in it. */
static bool kid_end(struct kid *k)
{
	bool ok = reap(k->pid);

	close(k->go[1]);
	close(k->ack[0]);
	return ok;
}

static bool kid_finish(struct kid *k)
{
	kid_go(k);
	return kid_end(k);
}

/* Where pages are. */
static int pagemap_open(pid_t pid)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/pagemap", pid);
	return open(path, O_RDONLY);
}

static uint64_t pm_entry(int fd, const char *p)
{
	uint64_t entry = 0;

	if (pread(fd, &entry, sizeof(entry),
		  (unsigned long)p / psize() * sizeof(entry)) != sizeof(entry))
		complain("pagemap of %p cannot be read", p);
	return entry;
}

static unsigned int count_entries(pid_t pid, const char *p, unsigned int n,
				  uint64_t flag)
{
	unsigned int count = 0;
	int fd = pagemap_open(pid);

	for (unsigned int i = 0; i < n; i++)
		count += !!(pm_entry(fd, p + (size_t)i * psize()) & flag);
	close(fd);
	return count;
}

static unsigned int count_swapped(pid_t pid, const char *p, unsigned int n)
{
	return count_entries(pid, p, n, PM_SWAP);
}

static unsigned int count_present(pid_t pid, const char *p, unsigned int n)
{
	return count_entries(pid, p, n, PM_PRESENT);
}

/* In how many of the @n pages have two processes the same page mapped? */
static unsigned int count_same(pid_t pid, const char *p,
			       pid_t pid2, const char *p2, unsigned int n)
{
	int fd = pagemap_open(pid), fd2 = pagemap_open(pid2);
	unsigned int count = 0;

	for (unsigned int i = 0; i < n; i++) {
		uint64_t a = pm_entry(fd, p + (size_t)i * psize());
		uint64_t b = pm_entry(fd2, p2 + (size_t)i * psize());

		if ((a & PM_PRESENT) && (b & PM_PRESENT))
			count += PAGEMAP_PFN(a) == PAGEMAP_PFN(b);
	}
	close(fd);
	close(fd2);
	return count;
}

static void get_pfns(const char *p, unsigned int n, uint64_t *pfn)
{
	int fd = pagemap_open(getpid());

	for (unsigned int i = 0; i < n; i++)
		pfn[i] = PAGEMAP_PFN(pm_entry(fd, p + (size_t)i * psize()));
	close(fd);
}

/* How many VMAs have a part in the range? */
static unsigned int count_vmas(const char *p, unsigned int n)
{
	char *end = (char *)p + (size_t)n * psize();
	struct procmap_fd procmap;
	unsigned int count = 0;
	char *at = (char *)p;

	if (open_self_procmap(&procmap))
		return 0;
	while (at < end) {
		if (find_vma_procmap(&procmap, at)) {
			count++;
			at = (char *)(unsigned long)procmap.query.vma_end;
		} else {
			at += psize();
		}
	}
	close_procmap(&procmap);
	return count;
}

/* Swap. MADV_PAGEOUT takes no page that a second process has mapped. */
static bool swap_out(char *p, unsigned int n)
{
	for (int i = 0; i < TRIES; i++) {
		/* Pages may be on their way to the LRU: try again then. */
		if (i)
			usleep(1000);
		if (madvise(p, (size_t)n * psize(), MADV_PAGEOUT)) {
			complain("MADV_PAGEOUT: %s", strerror(errno));
			return false;
		}
		if (count_swapped(getpid(), p, n) == n)
			return true;
	}
	complain("%u of %u pages at %p are swapped out",
		 count_swapped(getpid(), p, n), n, p);
	return false;
}

/* NUMA. Raw system calls, for the sake of machines without libnuma. */
static long sys_move_pages(pid_t pid, unsigned long count, void **pages,
			   const int *nodes, int *status, int flags)
{
	return syscall(__NR_move_pages, pid, count, pages, nodes, status, flags);
}

static unsigned int count_on_node(pid_t pid, char *p, unsigned int n, int node)
{
	static void *pages[MAX_PAGES];
	static int status[MAX_PAGES];
	unsigned int count = 0;

	for (unsigned int i = 0; i < n; i++)
		pages[i] = p + (size_t)i * psize();
	if (sys_move_pages(pid, n, pages, NULL, status, 0))
		return 0;
	for (unsigned int i = 0; i < n; i++)
		count += status[i] == node;
	return count;
}

/* All @n pages have to arrive; migration may want more than one attempt. */
static bool migrate_to(pid_t pid, char *p, unsigned int n, int node, int flags)
{
	static void *pages[MAX_PAGES];
	static int status[MAX_PAGES];
	static int nodes[MAX_PAGES];
	unsigned int failed = n;

	for (int try = 0; try < TRIES && failed; try++) {
		long ret;

		if (try)
			usleep(1000);
		for (unsigned int i = 0; i < n; i++) {
			pages[i] = p + (size_t)i * psize();
			nodes[i] = node;
		}
		ret = sys_move_pages(pid, n, pages, nodes, status, flags);
		if (ret < 0) {
			complain("move_pages: %s", strerror(errno));
			return false;
		}
		failed = n - count_on_node(pid, p, n, node);
	}
	for (unsigned int i = 0; i < n && failed; i++) {
		if (status[i] != node)
			complain("page %u at %p: status %d, not node %d", i,
				 pages[i], status[i], node);
	}
	return !failed;
}

FIXTURE(anon_vma)
{
	char *arena;
	size_t arena_size;
	size_t pmd_size;
	cpu_set_t cpus;
	int node[2];
	bool numa;
	bool swap;
	char swap_dev[256];
	bool swapped_off;
	char cgroup[128];
	char cgroup_root[64];
	bool cgroup_mounted;
	bool cgroup_enabled;
	bool events;
	bool sysctl;
	unsigned long base[NR_EVENTS];
};

FIXTURE_VARIANT(anon_vma)
{
	/* vm.anon_vma_lazy while a test sets up, and from its begin() on. */
	int setup;
	int action;
};

FIXTURE_VARIANT_ADD(anon_vma, lazy)
{
	.setup = 1,
	.action = 1,
};

FIXTURE_VARIANT_ADD(anon_vma, off)
{
	.setup = 0,
	.action = 0,
};

FIXTURE_VARIANT_ADD(anon_vma, switch_off)
{
	.setup = 1,
	.action = 0,
};

FIXTURE_VARIANT_ADD(anon_vma, switch_on)
{
	.setup = 0,
	.action = 1,
};

#define LAZY_TEST(name) TEST_F_TIMEOUT(anon_vma, name, TIMEOUT)

static bool read_events(unsigned long *value)
{
	/* Static: no part of a test may grow a stack or map memory for it. */
	static char buf[65536];
	int fd = open("/proc/vmstat", O_RDONLY);
	unsigned int found = 0;
	size_t len = 0;
	ssize_t ret;
	char *line;

	if (fd < 0)
		return false;
	while ((ret = read(fd, buf + len, sizeof(buf) - 1 - len)) > 0)
		len += ret;
	close(fd);
	buf[len] = '\0';

	for (line = buf; line && *line; line = strchr(line, '\n')) {
		line += *line == '\n';
		for (int i = 0; i < NR_EVENTS; i++) {
			size_t n = strlen(event_name[i]);

			if (!strncmp(line, event_name[i], n) && line[n] == ' ') {
				value[i] = strtoul(line + n, NULL, 10);
				found |= 1u << i;
			}
		}
	}
	return found == (1u << NR_EVENTS) - 1;
}

/* Start a window, in which events are counted. */
static void window(FIXTURE_DATA(anon_vma) *self)
{
	if (self->events)
		read_events(self->base);
}

static unsigned long events(FIXTURE_DATA(anon_vma) *self, enum event e)
{
	unsigned long now[NR_EVENTS] = { 0 };

	read_events(now);
	return now[e] - self->base[e];
}

/* Set up is done, the action begins. */
#define begin()								\
do {									\
	if (self->sysctl && variant->action != variant->setup) {	\
		ASSERT_EQ(write_string(SYSCTL,				\
				       variant->action ? "1" : "0"), 0);\
	}								\
	window(self);							\
} while (0)

/*
 * The event must have happened @n times or more since the window started if
 * @cond, and not at all otherwise.
 */
#define EXPECT_EVENTS(e, n, cond)					\
do {									\
	if (self->events && (cond)) {					\
		EXPECT_GE(events(self, e), (unsigned long)(n));		\
	} else if (self->events) {					\
		EXPECT_EQ(events(self, e), 0UL);			\
	}								\
} while (0)

#define EXPECT_NO_EVENTS(e) EXPECT_EVENTS(e, 0, false)

/* VMAs first touched in the set up were upgraded by the action. */
#define EXPECT_UPGRADED(e, n) EXPECT_EVENTS(e, n, variant->setup)

/* VMAs were first touched by the action. */
#define EXPECT_FOUNDED(n) EXPECT_EVENTS(EV_LONE, n, variant->action)

/*
 * Whether a VMA is lone can be told only by something that upgrades it: cut
 * the last page off and put it back.
 */
#define EXPECT_LONE_IF(cond, p, n)					\
do {									\
	char *__last = (p) + ((n) - 1) * (size_t)psize();		\
									\
	window(self);							\
	ASSERT_EQ(mprotect(__last, psize(), PROT_READ), 0);		\
	EXPECT_EVENTS(EV_VMA, 1, cond);					\
	ASSERT_EQ(mprotect(__last, psize(), PROT_READ | PROT_WRITE), 0);\
} while (0)

#define ASSERT_SWAP()							\
do {									\
	if (!self->swap)						\
		SKIP(return, "no swap device in /proc/swaps");		\
} while (0)

#define ASSERT_NUMA()							\
do {									\
	if (!self->numa)						\
		SKIP(return, "one NUMA node only, or no NUMA");		\
} while (0)

static char *slot(FIXTURE_DATA(anon_vma) *self, unsigned int i)
{
	return self->arena + (size_t)i * SLOT_PAGES * psize();
}

static char *page(char *p, unsigned int i)
{
	return p + (size_t)i * psize();
}

static size_t bytes(unsigned int n)
{
	return (size_t)n * psize();
}

/* Private anonymous memory at @at, over whatever is there; NULL if it fails. */
static char *map(char *at, unsigned int n)
{
	char *p = mmap(at, bytes(n), PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static char *map_filled(char *at, unsigned int n, uint64_t seed)
{
	char *p = map(at, n);

	if (p)
		fill(p, 0, n, seed);
	return p;
}

/*
 * Have reverse mapping work for all these pages, which must be the caller's
 * alone: unless it finds their one page table entry they cannot be migrated or
 * swapped out. The contents are for the caller to check.
 */
static bool shake(FIXTURE_DATA(anon_vma) *self, char *p, unsigned int n)
{
	bool ok = true;

	if (self->numa) {
		ok &= migrate_to(0, p, n, self->node[1], MPOL_MF_MOVE_ALL);
		ok &= migrate_to(0, p, n, self->node[0], MPOL_MF_MOVE_ALL);
	}
	if (self->swap)
		ok &= swap_out(p, n);
	return ok;
}

static bool find_swap(char *dev, size_t size)
{
	FILE *f = fopen("/proc/swaps", "r");
	bool found = false;
	char line[512];

	if (!f)
		return false;
	if (fgets(line, sizeof(line), f) && fgets(line, sizeof(line), f)) {
		line[strcspn(line, " \t\n")] = '\0';
		found = *line && strlen(line) < size;
		if (found)
			strcpy(dev, line);
	}
	fclose(f);
	return found;
}

static bool find_nodes(int *node)
{
	unsigned long mask[16] = { 0 };
	unsigned int found = 0;

	if (syscall(__NR_get_mempolicy, NULL, mask, sizeof(mask) * 8, NULL,
		    MPOL_F_MEMS_ALLOWED))
		return false;
	for (unsigned int i = 0; i < sizeof(mask) * 8 && found < 2; i++) {
		if (mask[i / (8 * sizeof(long))] >> i % (8 * sizeof(long)) & 1)
			node[found++] = i;
	}
	return found == 2;
}

FIXTURE_SETUP(anon_vma)
{
	size_t align;
	cpu_set_t one;
	pid_t pid;
	char *p;

	if (geteuid())
		SKIP(return, "needs root");

	self->sysctl = !access(SYSCTL, F_OK);
	if (!self->sysctl && !(variant->setup && variant->action))
		SKIP(return, "no " SYSCTL " to switch");
	if (self->sysctl) {
		ASSERT_EQ(write_string(SYSCTL, variant->setup ? "1" : "0"), 0);
		/* Who has the one but not the others has a bug. */
		self->events = read_events(self->base);
		ASSERT_TRUE(self->events);
	}

	self->swap = find_swap(self->swap_dev, sizeof(self->swap_dev));
	self->numa = find_nodes(self->node);
	self->pmd_size = read_pmd_pagesize();

	/*
	 * Reserve address space: what is mapped in it has no neighbours, and is
	 * not merged with anything, but as the test arranges it.
	 */
	align = self->pmd_size ?: psize();
	self->arena_size = bytes(NR_SLOTS * SLOT_PAGES);
	p = mmap(NULL, self->arena_size + align, PROT_NONE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	ASSERT_NE(p, MAP_FAILED);
	self->arena = (char *)(((unsigned long)p + align - 1) & ~(align - 1));

	/*
	 * Freshly faulted pages wait in a batch of their CPU before they are on
	 * an LRU list, and operations that take them off it drain only the
	 * batch of the CPU they run on. Stay on one, where nothing is to race.
	 */
	ASSERT_EQ(sched_getaffinity(0, sizeof(self->cpus), &self->cpus), 0);
	CPU_ZERO(&one);
	for (int i = 0; i < CPU_SETSIZE && !CPU_COUNT(&one); i++) {
		if (CPU_ISSET(i, &self->cpus))
			CPU_SET(i, &one);
	}
	sched_setaffinity(0, sizeof(one), &one);

	/*
	 * The VMAs of the program itself are likely to be lone, since it was
	 * forked. Have them upgraded, so that no later fork of this process
	 * counts any but what the test has mapped.
	 */
	pid = fork();
	if (!pid)
		_exit(0);
	ASSERT_TRUE(pid > 0 && reap(pid));
	window(self);
}

static void cgroup_leave(FIXTURE_DATA(anon_vma) *self)
{
	char path[256];

	if (*self->cgroup) {
		snprintf(path, sizeof(path), "%s/cgroup.procs",
			 self->cgroup_root);
		write_string(path, "0");
		rmdir(self->cgroup);
	}
	if (self->cgroup_enabled) {
		snprintf(path, sizeof(path), "%s/cgroup.subtree_control",
			 self->cgroup_root);
		write_string(path, "-memory");
	}
	if (self->cgroup_mounted) {
		umount(self->cgroup_root);
		rmdir(self->cgroup_root);
	}
}

FIXTURE_TEARDOWN(anon_vma)
{
	if (self->swapped_off && swapon(self->swap_dev, 0))
		complain("swapon %s: %s", self->swap_dev, strerror(errno));
	cgroup_leave(self);
	settings_restore();
}

/* === The switch === */

LAZY_TEST(sysctl_values)
{
	static const char * const bad[] = {
		"2", "-1", "x", "1x", "10", "4294967296", "4294967297",
		"18446744073709551617",
	};
	char value[64];
	struct stat st;
	pid_t pid;

	if (!self->sysctl)
		SKIP(return, "no " SYSCTL);

	for (int on = 0; on < 2; on++) {
		const char *good = on ? "1" : "0";

		ASSERT_EQ(write_string(SYSCTL, good), 0);
		for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++) {
			EXPECT_EQ(write_string(SYSCTL, bad[i]), -EINVAL)
				TH_LOG("\"%s\"", bad[i]);
			ASSERT_TRUE(read_string(SYSCTL, value, sizeof(value)));
			EXPECT_STREQ(value, good);
		}
	}

	ASSERT_EQ(stat(SYSCTL, &st), 0);
	EXPECT_EQ(st.st_mode & 0777, 0644);
	EXPECT_EQ(st.st_uid, 0);

	pid = fork();
	if (!pid)
		_exit(setgid(65534) || setuid(65534) ||
		      write_string(SYSCTL, "0") != -EACCES);
	ASSERT_GT(pid, 0);
	EXPECT_TRUE(reap(pid));
	ASSERT_TRUE(read_string(SYSCTL, value, sizeof(value)));
	EXPECT_STREQ(value, "1");
}

/* === Founding === */

LAZY_TEST(fault_one)
{
	char *p = map(slot(self, 0), NP);

	ASSERT_NE(p, NULL);
	begin();
	/* Reading maps the zero page, which nobody owns. */
	ASSERT_TRUE(check_zero(p, NP));
	EXPECT_NO_EVENTS(EV_LONE);

	/* One founding, by the first write, however many follow it. */
	fill(p, 0, NP, SEED);
	if (self->events)
		EXPECT_EQ(events(self, EV_LONE), (unsigned long)variant->action);
	EXPECT_NO_EVENTS(EV_VMA);
	EXPECT_NO_EVENTS(EV_FORK);
	EXPECT_NO_EVENTS(EV_OTHER);
	ASSERT_TRUE(check(p, 0, NP, SEED));

	ASSERT_EQ(munmap(p, bytes(NP)), 0);
	/* Nobody else had known of it. */
	EXPECT_NO_EVENTS(EV_RETIRED);
}

LAZY_TEST(fault_many)
{
	const unsigned int nr = 500, n = 2, step = 4;
	char *p = self->arena;

	for (unsigned int i = 0; i < nr; i++)
		ASSERT_NE(map(page(p, i * step), n), NULL);
	begin();
	for (unsigned int i = 0; i < nr; i++)
		fill(page(p, i * step), i, n, SEED);
	/* Exactly: only stores lie between the two looks at the counters. */
	if (self->events)
		EXPECT_EQ(events(self, EV_LONE), variant->action ? nr : 0UL);
	EXPECT_NO_EVENTS(EV_VMA);

	for (unsigned int i = 0; i < nr; i++)
		ASSERT_TRUE(check(page(p, i * step), i, n, SEED));
	for (unsigned int i = 0; i < nr; i += 50)
		ASSERT_TRUE(shake(self, page(p, i * step), n));
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

/* Several threads are the first to touch a VMA: it is founded once. */
LAZY_TEST(fault_race)
{
	const unsigned int n = RACE_THREADS * RACE_PAGES;
	struct racer racer[RACE_THREADS];
	struct race race;

	sched_setaffinity(0, sizeof(self->cpus), &self->cpus);
	pthread_barrier_init(&race.start, NULL, RACE_THREADS + 1);
	pthread_barrier_init(&race.stop, NULL, RACE_THREADS + 1);
	for (unsigned int i = 0; i < RACE_ROUNDS; i++) {
		race.p[i] = map(slot(self, i), n);
		ASSERT_NE(race.p[i], NULL);
	}
	for (unsigned int i = 0; i < RACE_THREADS; i++) {
		racer[i].race = &race;
		racer[i].nr = i;
		ASSERT_EQ(pthread_create(&racer[i].thread, NULL, race_fn,
					 &racer[i]), 0);
	}
	/* The threads' stacks are VMAs too: let them be faulted in. */
	usleep(100000);
	begin();
	for (unsigned int i = 0; i < RACE_ROUNDS; i++) {
		pthread_barrier_wait(&race.start);
		pthread_barrier_wait(&race.stop);
	}
	EXPECT_FOUNDED(RACE_ROUNDS);
	if (self->events)
		EXPECT_LE(events(self, EV_LONE), RACE_ROUNDS + RACE_THREADS);
	EXPECT_NO_EVENTS(EV_VMA);
	for (unsigned int i = 0; i < RACE_THREADS; i++)
		ASSERT_EQ(pthread_join(racer[i].thread, NULL), 0);

	for (unsigned int i = 0; i < RACE_ROUNDS; i++)
		ASSERT_TRUE(check(race.p[i], 0, n, SEED + i));
	for (unsigned int i = 0; i < RACE_ROUNDS; i += 8) {
		/* Other CPUs' batches still hold pages: migration drains. */
		if (self->numa)
			ASSERT_TRUE(migrate_to(0, race.p[i], n, self->node[1],
					       MPOL_MF_MOVE));
		ASSERT_TRUE(check(race.p[i], 0, n, SEED + i));
	}
}

/* The first page comes not by a fault of its user, but by someone's request. */
LAZY_TEST(fault_by_request)
{
	char *p = map(slot(self, 0), NP);
	char *q = map(slot(self, 1), NP);
	char *buf = map_filled(slot(self, 2), NP, SEED2);
	int fd;

	ASSERT_NE(p, NULL);
	ASSERT_NE(q, NULL);
	ASSERT_NE(buf, NULL);
	ASSERT_EQ(mprotect(q, bytes(NP), PROT_READ), 0);
	fd = open("/proc/self/mem", O_RDWR);
	ASSERT_GE(fd, 0);

	begin();
	ASSERT_EQ(madvise(p, bytes(NP), MADV_POPULATE_WRITE), 0);
	EXPECT_FOUNDED(1);
	window(self);
	/* As a debugger writes: to a page that its owner may only read. */
	if (pwrite(fd, buf, bytes(NP), (off_t)q) == (ssize_t)bytes(NP)) {
		EXPECT_FOUNDED(1);
		ASSERT_TRUE(check(q, 0, NP, SEED2));
		ASSERT_TRUE(shake(self, q, NP));
		ASSERT_TRUE(check(q, 0, NP, SEED2));
	}
	close(fd);

	ASSERT_TRUE(check_zero(p, NP));
	fill(p, 0, NP, SEED);
	ASSERT_TRUE(shake(self, p, NP));
	ASSERT_TRUE(check(p, 0, NP, SEED));
}

/* Copies of a file's pages in a private mapping of it are anonymous. */
LAZY_TEST(fault_file_private)
{
	uint64_t seed[NP], child_seed[NP];
	char *p = slot(self, 0);
	struct kid k;
	int fd;

	fd = memfd_create("anon_vma_lazy", MFD_CLOEXEC);
	ASSERT_GE(fd, 0);
	ASSERT_EQ(ftruncate(fd, bytes(NP)), 0);
	ASSERT_EQ(mmap(p, bytes(NP), PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_FIXED, fd, 0), p);
	fill(p, 0, NP, SEED);
	ASSERT_EQ(mmap(p, bytes(NP), PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_FIXED, fd, 0), p);
	for (unsigned int i = 0; i < NP; i++)
		seed[i] = SEED;

	begin();
	ASSERT_TRUE(check_seeds(p, seed, NP));
	EXPECT_NO_EVENTS(EV_LONE);
	for (unsigned int i = 0; i < NP; i += 2)
		set_page(p, seed, i, SEED2);
	EXPECT_FOUNDED(1);
	ASSERT_TRUE(check_seeds(p, seed, NP));

	window(self);
	memcpy(child_seed, seed, sizeof(seed));
	if (kid_spawn(&k)) {
		bool ok = check_seeds(p, child_seed, NP);

		for (unsigned int i = 0; i < NP; i += 3)
			set_page(p, child_seed, i, SEED3);
		kid_pause(&k, ok);
		kid_exit(check_seeds(p, child_seed, NP));
	}
	ASSERT_GT(k.pid, 0);
	ASSERT_TRUE(kid_paused(&k));
	EXPECT_EVENTS(EV_FORK, 1, variant->action);

	ASSERT_EQ(mprotect(page(p, NP / 4), bytes(NP / 2), PROT_READ), 0);
	ASSERT_EQ(mremap(p, bytes(NP / 4), bytes(NP / 4),
			 MREMAP_MAYMOVE | MREMAP_FIXED, slot(self, 1)),
		  slot(self, 1));
	ASSERT_TRUE(check_seeds(slot(self, 1), seed, NP / 4));
	for (unsigned int i = NP / 4; i < NP; i++)
		ASSERT_TRUE(check_page(page(p, i), seed[i], i));
	ASSERT_TRUE(kid_finish(&k));
	for (unsigned int i = NP / 4; i < NP; i++)
		ASSERT_TRUE(check_page(page(p, i), seed[i], i));
	close(fd);
}

/* What has no anonymous pages of the usual kind is never lone. */
LAZY_TEST(fault_never_lone)
{
	size_t huge = default_huge_page_size();
	unsigned int n;
	char *p, *q;

	begin();
	p = mmap(slot(self, 0), bytes(NP), PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	ASSERT_EQ(p, slot(self, 0));
	fill(p, 0, NP, SEED);
	EXPECT_NO_EVENTS(EV_LONE);
	ASSERT_TRUE(check(p, 0, NP, SEED));

	if (!huge || huge > (32 << 20))
		return;
	/* The pages of the system are restored with the other settings. */
	if (hugetlb_free_pages(huge) < 1)
		write_string("/proc/sys/vm/nr_hugepages", "2");
	q = mmap(NULL, huge, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
	if (q == MAP_FAILED)
		return;
	n = huge / psize();
	window(self);
	fill(q, 0, n, SEED);
	EXPECT_NO_EVENTS(EV_LONE);
	ASSERT_TRUE(check(q, 0, n, SEED));
	ASSERT_EQ(munmap(q, huge), 0);
}

/* === Fork === */

LAZY_TEST(fork_cow)
{
	char *p = map_filled(slot(self, 0), NP, SEED);
	uint64_t seed[NP];
	struct kid k;

	ASSERT_NE(p, NULL);
	for (unsigned int i = 0; i < NP; i++)
		seed[i] = SEED;

	begin();
	if (kid_spawn(&k)) {
		bool ok = check(p, 0, NP, SEED);

		kid_pause(&k, ok);
		for (unsigned int i = 0; i < NP; i += 2)
			set_page(p, seed, i, SEED2);
		kid_pause(&k, check_seeds(p, seed, NP));
		kid_exit(check_seeds(p, seed, NP));
	}
	ASSERT_GT(k.pid, 0);
	ASSERT_TRUE(kid_paused(&k));
	EXPECT_UPGRADED(EV_FORK, 1);
	EXPECT_FOUNDED(1);
	EXPECT_NO_EVENTS(EV_VMA);
	EXPECT_EQ(count_same(getpid(), p, k.pid, p, NP), NP);

	/* The child writes to every second page, the parent to every third. */
	kid_go(&k);
	ASSERT_TRUE(kid_paused(&k));
	ASSERT_TRUE(check_seeds(p, seed, NP));
	EXPECT_EQ(count_same(getpid(), p, k.pid, p, NP), NP / 2);
	for (unsigned int i = 0; i < NP; i += 3)
		set_page(p, seed, i, SEED3);
	ASSERT_TRUE(check_seeds(p, seed, NP));
	EXPECT_EQ(count_same(getpid(), p, k.pid, p, NP),
		  NP / 2 - (NP + 2) / 6);
	ASSERT_TRUE(kid_finish(&k));
	ASSERT_TRUE(check_seeds(p, seed, NP));
	ASSERT_TRUE(shake(self, p, NP));
	ASSERT_TRUE(check_seeds(p, seed, NP));
}

/* Once upgraded a VMA stays so: a second fork has nothing to do. */
LAZY_TEST(fork_again)
{
	char *p = map_filled(slot(self, 0), NP, SEED);
	struct kid k, k2;

	ASSERT_NE(p, NULL);
	begin();
	if (kid_spawn(&k)) {
		kid_pause(&k, check(p, 0, NP, SEED));
		kid_exit(check(p, 0, NP, SEED));
	}
	ASSERT_GT(k.pid, 0);
	ASSERT_TRUE(kid_paused(&k));
	EXPECT_UPGRADED(EV_FORK, 1);

	window(self);
	if (kid_spawn(&k2)) {
		bool ok = check(p, 0, NP, SEED);

		fill(p, 0, NP, SEED2);
		kid_pause(&k2, ok);
		kid_exit(check(p, 0, NP, SEED2));
	}
	ASSERT_GT(k2.pid, 0);
	ASSERT_TRUE(kid_paused(&k2));
	EXPECT_NO_EVENTS(EV_FORK);
	EXPECT_FOUNDED(1);

	fill(p, 0, NP, SEED3);
	ASSERT_TRUE(kid_finish(&k));
	ASSERT_TRUE(kid_finish(&k2));
	ASSERT_TRUE(check(p, 0, NP, SEED3));
}

/* Nobody has touched it before the fork: parent and child found their own. */
LAZY_TEST(fork_unfaulted)
{
	char *p = map(slot(self, 0), NP);
	struct kid k;

	ASSERT_NE(p, NULL);
	begin();
	if (kid_spawn(&k)) {
		bool ok = check_zero(p, NP);

		kid_pause(&k, ok);
		fill(p, 0, NP, SEED2);
		ok = check(p, 0, NP, SEED2);
		kid_pause(&k, ok);
		kid_exit(shake(self, p, NP) && check(p, 0, NP, SEED2));
	}
	ASSERT_GT(k.pid, 0);
	ASSERT_TRUE(kid_paused(&k));
	EXPECT_NO_EVENTS(EV_FORK);
	window(self);
	kid_go(&k);
	ASSERT_TRUE(kid_paused(&k));
	fill(p, 0, NP, SEED);
	EXPECT_FOUNDED(2);
	ASSERT_TRUE(kid_finish(&k));
	ASSERT_TRUE(check(p, 0, NP, SEED));
	EXPECT_LONE_IF(variant->action, p, NP);
	ASSERT_TRUE(shake(self, p, NP));
	ASSERT_TRUE(check(p, 0, NP, SEED));
}

#define DEPTH 4u

/* Each generation writes to pages of its own, and checks all before and after. */
static bool generations(FIXTURE_DATA(anon_vma) *self, char *p, uint64_t *seed,
			unsigned int level)
{
	bool ok = check_seeds(p, seed, NP);
	struct kid k;

	for (unsigned int i = level; i < NP; i += DEPTH + 2)
		set_page(p, seed, i, SEED + level);
	if (level == DEPTH)
		return ok && check_seeds(p, seed, NP);

	if (kid_spawn(&k)) {
		ok = generations(self, p, seed, level + 1);
		kid_pause(&k, ok);
		kid_exit(ok && check_seeds(p, seed, NP));
	}
	if (k.pid < 0)
		return false;
	ok &= kid_paused(&k);
	ok &= check_seeds(p, seed, NP);
	/* All generations are alive, and share what nobody has written to. */
	if (self->numa)
		ok &= migrate_to(0, p, NP, self->node[level & 1],
				 MPOL_MF_MOVE_ALL);
	ok &= check_seeds(p, seed, NP);
	ok &= count_same(getpid(), page(p, DEPTH + 1), k.pid,
			 page(p, DEPTH + 1), 1) == 1;
	ok &= kid_finish(&k);
	return ok && check_seeds(p, seed, NP);
}

LAZY_TEST(fork_grandchildren)
{
	char *p = map_filled(slot(self, 0), NP, SEED3);
	uint64_t seed[NP];

	ASSERT_NE(p, NULL);
	for (unsigned int i = 0; i < NP; i++)
		seed[i] = SEED3;
	begin();
	ASSERT_TRUE(generations(self, p, seed, 0));
	/* A child that is lone is upgraded by its own fork in turn. */
	if (self->events && variant->setup && variant->action)
		EXPECT_GE(events(self, EV_FORK), (unsigned long)DEPTH);
	EXPECT_FOUNDED(DEPTH);
	ASSERT_TRUE(check_seeds(p, seed, NP));
}

/*
 * The parent of whom the pages came exits, the children go on with them: pages
 * still say that they belong to a VMA which is gone.
 */
LAZY_TEST(fork_parent_exits)
{
	char *p = slot(self, 0);
	struct kid k, k2;
	pid_t middle;

	ASSERT_EQ(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
	ASSERT_TRUE(kid_prepare(&k));
	ASSERT_TRUE(kid_prepare(&k2));
	begin();
	middle = fork();
	if (!middle) {
		if (!map_filled(p, NP, SEED))
			_exit(1);
		for (int i = 0; i < 2; i++) {
			struct kid *me = i ? &k2 : &k;
			bool ok;

			if (fork())
				continue;
			kid_is_me(me);
			kid_pause(me, check(p, 0, NP, SEED));
			/* The parent is gone by now. */
			ok = check(p, 0, NP, SEED);
			if (!i)
				fill(p, 0, NP / 2, SEED2);
			kid_pause(me, ok);
			if (!i)
				ok &= check(p, 0, NP / 2, SEED2);
			else
				ok &= check(p, 0, NP / 2, SEED);
			ok &= check(page(p, NP / 2), NP / 2, NP / 2, SEED);
			kid_pause(me, ok);
			/* The last one is alone with the pages. */
			if (i)
				ok = shake(self, p, NP) && check(p, 0, NP, SEED);
			kid_exit(ok);
		}
		_exit(0);
	}
	ASSERT_GT(middle, 0);
	kid_is_child(&k, -1);
	kid_is_child(&k2, -1);
	ASSERT_TRUE(kid_paused(&k));
	ASSERT_TRUE(kid_paused(&k2));
	ASSERT_TRUE(reap(middle));
	EXPECT_EVENTS(EV_FORK, 1, variant->action);
	EXPECT_EVENTS(EV_RETIRED, 1, variant->action);

	kid_go(&k);
	kid_go(&k2);
	ASSERT_TRUE(kid_paused(&k));
	ASSERT_TRUE(kid_paused(&k2));
	kid_go(&k);
	kid_go(&k2);
	ASSERT_TRUE(kid_paused(&k));
	ASSERT_TRUE(kid_paused(&k2));
	kid_go(&k);
	ASSERT_TRUE(reap(-1));
	kid_go(&k2);
	ASSERT_TRUE(reap(-1));
}

LAZY_TEST(fork_child_exits)
{
	char *p = map_filled(slot(self, 0), NP, SEED);
	struct kid k;

	ASSERT_NE(p, NULL);
	begin();
	for (unsigned int round = 0; round < 4; round++) {
		if (kid_spawn(&k)) {
			bool ok = check(p, 0, NP, SEED);

			fill(page(p, round), round, NP / 2, SEED2);
			ok &= check(page(p, round), round, NP / 2, SEED2);
			kid_pause(&k, ok);
			kid_exit(check(page(p, round), round, NP / 2, SEED2));
		}
		ASSERT_GT(k.pid, 0);
		ASSERT_TRUE(kid_paused(&k));
		ASSERT_TRUE(check(p, 0, NP, SEED));
		ASSERT_TRUE(kid_finish(&k));
		/* The pages are the parent's alone again. */
		ASSERT_TRUE(shake(self, p, NP));
		ASSERT_TRUE(check(p, 0, NP, SEED));
	}
	EXPECT_UPGRADED(EV_FORK, 1);
	EXPECT_FOUNDED(4);
}

#define WIDTH 16u

LAZY_TEST(fork_wide)
{
	char *p = map_filled(slot(self, 0), NP, SEED);
	struct kid k[WIDTH];
	uint64_t seed[NP];

	ASSERT_NE(p, NULL);
	begin();
	for (unsigned int i = 0; i < WIDTH; i++) {
		for (unsigned int j = 0; j < NP; j++)
			seed[j] = SEED;
		if (kid_spawn(&k[i])) {
			bool ok = check_seeds(p, seed, NP);

			set_page(p, seed, i, SEED2 + i);
			kid_pause(&k[i], ok);
			ok = check_seeds(p, seed, NP);
			set_page(p, seed, NP - 1 - i, SEED3 + i);
			kid_pause(&k[i], ok);
			kid_exit(check_seeds(p, seed, NP));
		}
		ASSERT_GT(k[i].pid, 0);
	}
	for (unsigned int i = 0; i < WIDTH; i++)
		ASSERT_TRUE(kid_paused(&k[i]));
	EXPECT_UPGRADED(EV_FORK, 1);
	EXPECT_FOUNDED(WIDTH);

	/* Each page is mapped by sixteen or seventeen processes. */
	if (self->numa) {
		ASSERT_TRUE(migrate_to(0, p, NP, self->node[1],
				       MPOL_MF_MOVE_ALL));
		for (unsigned int i = 0; i < WIDTH; i++)
			EXPECT_EQ(count_same(getpid(), p, k[i].pid, p, NP),
				  NP - 1);
	}
	ASSERT_TRUE(check(p, 0, NP, SEED));
	for (unsigned int i = 0; i < WIDTH; i++)
		kid_go(&k[i]);
	for (unsigned int i = 0; i < WIDTH; i++)
		ASSERT_TRUE(kid_paused(&k[i]));
	/* Neither the order in which they came nor the reverse. */
	for (unsigned int i = 0; i < WIDTH; i++)
		ASSERT_TRUE(kid_finish(&k[i * 5 % WIDTH]));
	ASSERT_TRUE(check(p, 0, NP, SEED));
	ASSERT_TRUE(shake(self, p, NP));
	ASSERT_TRUE(check(p, 0, NP, SEED));
}

/* A VMA that the child does not get is not shared, and stays lone. */
LAZY_TEST(fork_dontfork)
{
	char *p = map_filled(slot(self, 0), NP, SEED);
	unsigned char vec[NP];
	struct kid k;

	ASSERT_NE(p, NULL);
	ASSERT_EQ(madvise(p, bytes(NP), MADV_DONTFORK), 0);
	begin();
	if (kid_spawn(&k)) {
		/* There is nothing. */
		bool ok = mincore(p, bytes(NP), vec) && errno == ENOMEM;

		kid_pause(&k, ok);
		ok &= !!map_filled(p, NP, SEED2);
		kid_pause(&k, ok);
		kid_exit(check(p, 0, NP, SEED2));
	}
	ASSERT_GT(k.pid, 0);
	ASSERT_TRUE(kid_paused(&k));
	EXPECT_NO_EVENTS(EV_FORK);
	ASSERT_TRUE(shake(self, p, NP));
	ASSERT_TRUE(check(p, 0, NP, SEED));
	kid_go(&k);
	ASSERT_TRUE(kid_paused(&k));
	ASSERT_TRUE(check(p, 0, NP, SEED));
	ASSERT_TRUE(kid_finish(&k));
	EXPECT_LONE_IF(variant->setup, p, NP);
	ASSERT_TRUE(check(p, 0, NP, SEED));
}

/* The child gets the VMA, but none of the pages. */
LAZY_TEST(fork_wipeonfork)
{
	char *p = map_filled(slot(self, 0), NP, SEED);
	struct kid k;

	ASSERT_NE(p, NULL);
	ASSERT_EQ(madvise(p, bytes(NP), MADV_WIPEONFORK), 0);
	begin();
	if (kid_spawn(&k)) {
		bool ok = check_zero(p, NP);

		kid_pause(&k, ok);
		fill(p, 0, NP, SEED2);
		kid_pause(&k, true);
		kid_exit(shake(self, p, NP) && check(p, 0, NP, SEED2));
	}
	ASSERT_GT(k.pid, 0);
	ASSERT_TRUE(kid_paused(&k));
	EXPECT_NO_EVENTS(EV_FORK);
	window(self);
	kid_go(&k);
	ASSERT_TRUE(kid_paused(&k));
	EXPECT_FOUNDED(1);
	ASSERT_TRUE(check(p, 0, NP, SEED));
	ASSERT_TRUE(shake(self, p, NP));
	ASSERT_TRUE(kid_finish(&k));
	EXPECT_LONE_IF(variant->setup, p, NP);
	ASSERT_TRUE(check(p, 0, NP, SEED));
}

/* A child that shares the address space shares no page with another VMA. */
LAZY_TEST(fork_vfork)
{
	char *p = map_filled(slot(self, 0), NP, SEED);
	pid_t pid;

	ASSERT_NE(p, NULL);
	begin();
	pid = vfork();
	if (!pid)
		_exit(0);
	ASSERT_GT(pid, 0);
	ASSERT_TRUE(reap(pid));
	EXPECT_NO_EVENTS(EV_FORK);
	EXPECT_NO_EVENTS(EV_VMA);
	ASSERT_TRUE(check(p, 0, NP, SEED));
	EXPECT_LONE_IF(variant->setup, p, NP);
	ASSERT_TRUE(check(p, 0, NP, SEED));
}

/* exec moves the stack that it has filled: its first one is a temporary one. */
LAZY_TEST(fork_exec)
{
	char *p = map_filled(slot(self, 0), NP, SEED);

	ASSERT_NE(p, NULL);
	begin();
	for (unsigned int i = 0; i < 4; i++) {
		pid_t pid = fork();
		int status;

		if (!pid) {
			int null = open("/dev/null", O_WRONLY);

			dup2(null, STDOUT_FILENO);
			dup2(null, STDERR_FILENO);
			execl("/proc/self/exe", "anon_vma_lazy", "-h", NULL);
			_exit(1);
		}
		ASSERT_GT(pid, 0);
		ASSERT_EQ(waitpid(pid, &status, 0), pid);
		ASSERT_TRUE(WIFEXITED(status));
		/* The harness leaves with this after its usage message. */
		EXPECT_EQ(WEXITSTATUS(status), KSFT_SKIP);
		ASSERT_TRUE(check(p, 0, NP, SEED));
	}
	EXPECT_UPGRADED(EV_FORK, 1);
	ASSERT_TRUE(shake(self, p, NP));
	ASSERT_TRUE(check(p, 0, NP, SEED));
}

/* === Split === */

LAZY_TEST(split_mprotect)
{
	char *p = map_filled(slot(self, 0), NP, SEED);
	const unsigned int a = NP / 4, b = NP / 2;

	ASSERT_NE(p, NULL);
	begin();
	ASSERT_EQ(mprotect(page(p, a), bytes(b), PROT_READ), 0);
	EXPECT_UPGRADED(EV_VMA, 1);
	EXPECT_EQ(count_vmas(p, NP), 3);
	ASSERT_TRUE(check(p, 0, NP, SEED));
	ASSERT_TRUE(shake(self, p, NP));
	ASSERT_TRUE(check(p, 0, NP, SEED));

	window(self);
	ASSERT_EQ(mprotect(page(p, a), bytes(b), PROT_READ | PROT_WRITE), 0);
	EXPECT_EQ(count_vmas(p, NP), 1);
	EXPECT_NO_EVENTS(EV_VMA);
	fill(p, 0, NP, SEED2);
	ASSERT_TRUE(shake(self, p, NP));
	ASSERT_TRUE(check(p, 0, NP, SEED2));

	/* However often, and with pages that are not there. */
	for (unsigned int i = 0; i < 8; i++) {
		ASSERT_EQ(mprotect(page(p, i), bytes(b), PROT_NONE), 0);
		EXPECT_EQ(count_vmas(p, NP), i ? 3 : 2);
		ASSERT_EQ(mprotect(page(p, i), bytes(b),
				   PROT_READ | PROT_WRITE), 0);
		EXPECT_EQ(count_vmas(p, NP), 1);
		ASSERT_TRUE(check(page(p, i), i, b, SEED2));
	}
	ASSERT_TRUE(check(p, 0, NP, SEED2));
}

/* A VMA is left by some of its pages at one end, at the other, or between. */
LAZY_TEST(split_munmap)
{
	static const struct {
		unsigned int from, n;
	} cut[] = {
		{ 0, NP / 4 },
		{ NP / 4, NP / 2 },
		{ NP - NP / 4, NP / 4 },
	};
	const unsigned int nr = ARRAY_SIZE(cut);
	char *p[ARRAY_SIZE(cut)];

	for (unsigned int i = 0; i < nr; i++) {
		p[i] = map_filled(slot(self, i), NP, SEED + i);
		ASSERT_NE(p[i], NULL);
	}
	begin();
	for (unsigned int i = 0; i < nr; i++) {
		unsigned int from = cut[i].from, n = cut[i].n;
		unsigned int end = from + n;

		window(self);
		ASSERT_EQ(munmap(page(p[i], from), bytes(n)), 0);
		EXPECT_UPGRADED(EV_VMA, 1);
		EXPECT_EQ(count_vmas(p[i], NP), 1 + (from && end < NP));
		ASSERT_TRUE(check(p[i], 0, from, SEED + i));
		ASSERT_TRUE(check(page(p[i], end), end, NP - end, SEED + i));
		if (from)
			ASSERT_TRUE(shake(self, p[i], from));
		if (end < NP)
			ASSERT_TRUE(shake(self, page(p[i], end), NP - end));
		ASSERT_TRUE(check(p[i], 0, from, SEED + i));
		ASSERT_TRUE(check(page(p[i], end), end, NP - end, SEED + i));

		/* Fill the hole: all is one VMA again, with fresh pages there. */
		ASSERT_NE(map(page(p[i], from), n), NULL);
		ASSERT_TRUE(check_zero(page(p[i], from), n));
		fill(page(p[i], from), from, n, SEED + i);
		EXPECT_EQ(count_vmas(p[i], NP), 1);
		ASSERT_TRUE(shake(self, p[i], NP));
		ASSERT_TRUE(check(p[i], 0, NP, SEED + i));
	}
}

LAZY_TEST(split_madvise)
{
	char *p = map_filled(slot(self, 0), NP, SEED);

	ASSERT_NE(p, NULL);
	begin();
	ASSERT_EQ(madvise(page(p, NP / 4), bytes(NP / 2), MADV_DONTDUMP), 0);
	EXPECT_UPGRADED(EV_VMA, 1);
	EXPECT_EQ(count_vmas(p, NP), 3);
	ASSERT_TRUE(check(p, 0, NP, SEED));
	ASSERT_TRUE(shake(self, p, NP));
	ASSERT_EQ(madvise(page(p, NP / 4), bytes(NP / 2), MADV_DODUMP), 0);
	EXPECT_EQ(count_vmas(p, NP), 1);
	ASSERT_TRUE(check(p, 0, NP, SEED));
}

/* Both ends of a split are forked, and split again in the child. */
LAZY_TEST(split_fork)
{
	char *p = map_filled(slot(self, 0), NP, SEED);
	struct kid k;

	ASSERT_NE(p, NULL);
	begin();
	ASSERT_EQ(mprotect(page(p, NP / 2), bytes(NP / 2), PROT_READ), 0);
	EXPECT_UPGRADED(EV_VMA, 1);
	if (kid_spawn(&k)) {
		bool ok = check(p, 0, NP, SEED);

		/* The child's own VMA: its own pages and its parent's. */
		fill(page(p, 2), 2, NP / 4, SEED2);
		window(self);
		ok &= !munmap(page(p, 4), bytes(2));
		if (self->events && variant->action)
			ok &= events(self, EV_VMA) >= 1;
		ok &= !munmap(page(p, NP - 4), bytes(2));
		kid_pause(&k, ok);
		ok = check(p, 0, 2, SEED);
		ok &= check(page(p, 2), 2, 2, SEED2);
		ok &= check(page(p, 6), 6, NP / 4 - 4, SEED2);
		ok &= check(page(p, 2 + NP / 4), 2 + NP / 4,
			    NP - 6 - NP / 4, SEED);
		ok &= check(page(p, NP - 2), NP - 2, 2, SEED);
		kid_exit(ok);
	}
	ASSERT_GT(k.pid, 0);
	ASSERT_TRUE(kid_paused(&k));
	ASSERT_TRUE(check(p, 0, NP, SEED));
	if (self->numa) {
		ASSERT_TRUE(migrate_to(0, p, NP, self->node[1],
				       MPOL_MF_MOVE_ALL));
		EXPECT_EQ(count_same(getpid(), p, k.pid, p, NP),
			  NP - NP / 4 - 2);
	}
	ASSERT_EQ(mprotect(page(p, NP / 2), bytes(NP / 2),
			   PROT_READ | PROT_WRITE), 0);
	EXPECT_EQ(count_vmas(p, NP), 1);
	ASSERT_TRUE(check(p, 0, NP, SEED));
	ASSERT_TRUE(kid_finish(&k));
	ASSERT_TRUE(check(p, 0, NP, SEED));
}

/* === Merge === */

/*
 * Two neighbours which differ in what mprotect() can change, and have pages of
 * their own each, become one once they are equal. That is so because the
 * second one's first fault takes up with the first one.
 */
LAZY_TEST(merge_neighbour_fault)
{
	for (unsigned int i = 0; i < 2; i++) {
		char *p = slot(self, 2 * i);
		char *first = page(p, i ? NP / 2 : 0);
		char *second = page(p, i ? 0 : NP / 2);

		ASSERT_NE(map(first, NP / 2), NULL);
		fill(first, i ? NP / 2 : 0, NP / 2, SEED);
		ASSERT_EQ(mprotect(first, bytes(NP / 2), PROT_READ), 0);
		ASSERT_NE(map(second, NP / 2), NULL);
		ASSERT_EQ(count_vmas(p, NP), 2);
	}

	begin();
	for (unsigned int i = 0; i < 2; i++) {
		char *p = slot(self, 2 * i);
		char *first = page(p, i ? NP / 2 : 0);
		char *second = page(p, i ? 0 : NP / 2);

		window(self);
		fill(second, i ? 0 : NP / 2, NP / 2, SEED);
		EXPECT_UPGRADED(EV_VMA, 1);
		EXPECT_NO_EVENTS(EV_LONE);
		EXPECT_EQ(count_vmas(p, NP), 2);
		ASSERT_TRUE(check(p, 0, NP, SEED));
		ASSERT_EQ(mprotect(first, bytes(NP / 2),
				   PROT_READ | PROT_WRITE), 0);
		EXPECT_EQ(count_vmas(p, NP), 1);
		ASSERT_TRUE(shake(self, p, NP));
		ASSERT_TRUE(check(p, 0, NP, SEED));
	}
}

/* The VMA without pages swallows the one that has some. */
LAZY_TEST(merge_into_unfaulted)
{
	for (unsigned int i = 0; i < 2; i++) {
		char *p = slot(self, 2 * i);
		char *full = page(p, i ? 0 : NP / 2);

		ASSERT_NE(map(full, NP / 2), NULL);
		fill(full, 0, NP / 2, SEED);
		ASSERT_EQ(mprotect(full, bytes(NP / 2), PROT_READ), 0);
		ASSERT_NE(map(page(p, i ? NP / 2 : 0), NP / 2), NULL);
		ASSERT_EQ(count_vmas(p, NP), 2);
	}

	begin();
	for (unsigned int i = 0; i < 2; i++) {
		char *p = slot(self, 2 * i);
		char *full = page(p, i ? 0 : NP / 2);
		char *empty = page(p, i ? NP / 2 : 0);

		window(self);
		ASSERT_EQ(mprotect(full, bytes(NP / 2),
				   PROT_READ | PROT_WRITE), 0);
		EXPECT_EQ(count_vmas(p, NP), 1);
		EXPECT_UPGRADED(EV_VMA, 1);
		ASSERT_TRUE(check(full, 0, NP / 2, SEED));
		ASSERT_TRUE(check_zero(empty, NP / 2));
		fill(empty, 0, NP / 2, SEED2);
		ASSERT_TRUE(shake(self, p, NP));
		ASSERT_TRUE(check(full, 0, NP / 2, SEED));
		ASSERT_TRUE(check(empty, 0, NP / 2, SEED2));
	}
}

/* A VMA without pages between two which have some of their own each. */
LAZY_TEST(merge_gap)
{
	char *p = map_filled(slot(self, 0), NP, SEED);
	char *q = map_filled(page(p, 2 * NP), NP, SEED2);
	char *gap = page(p, NP);

	ASSERT_NE(p, NULL);
	ASSERT_NE(q, NULL);
	begin();
	ASSERT_NE(map(gap, NP), NULL);
	/*
	 * It went to one of them. The two of them are of different anon_vmas,
	 * or none, and do not become one on an unpatched kernel.
	 */
	EXPECT_LE(count_vmas(p, 3 * NP), 2);
	ASSERT_TRUE(check_zero(gap, NP));
	fill(gap, 0, NP, SEED3);
	EXPECT_LE(count_vmas(p, 3 * NP), 2);
	ASSERT_TRUE(check(p, 0, NP, SEED));
	ASSERT_TRUE(check(q, 0, NP, SEED2));
	ASSERT_TRUE(shake(self, p, 3 * NP));
	ASSERT_TRUE(check(p, 0, NP, SEED));
	ASSERT_TRUE(check(gap, 0, NP, SEED3));
	ASSERT_TRUE(check(q, 0, NP, SEED2));
}

/* A new mapping beside a VMA becomes part of it, and leaves it lone. */
LAZY_TEST(merge_new_mapping)
{
	char *p = map_filled(page(slot(self, 0), NP), NP, SEED);
	char *start = slot(self, 0);

	ASSERT_NE(p, NULL);
	begin();
	ASSERT_NE(map(page(p, NP), NP), NULL);
	ASSERT_NE(map(start, NP), NULL);
	EXPECT_EQ(count_vmas(start, 3 * NP), 1);
	EXPECT_NO_EVENTS(EV_VMA);
	fill(start, 0, NP, SEED2);
	fill(page(p, NP), 0, NP, SEED3);
	EXPECT_NO_EVENTS(EV_LONE);
	ASSERT_TRUE(shake(self, start, 3 * NP));
	ASSERT_TRUE(check(start, 0, NP, SEED2));
	ASSERT_TRUE(check(p, 0, NP, SEED));
	ASSERT_TRUE(check(page(p, NP), 0, NP, SEED3));
	EXPECT_LONE_IF(variant->setup, start, 3 * NP);
	ASSERT_TRUE(check(page(p, NP), 0, NP, SEED3));
}

/*
 * Neighbours that could not take up with each other when they were first
 * faulted, and have become equal since, are two on an unpatched kernel. There
 * may not be more.
 */
LAZY_TEST(merge_two_founded)
{
	char *p = map_filled(slot(self, 0), NP, SEED);
	char *q = page(slot(self, 0), NP);

	ASSERT_NE(p, NULL);
	ASSERT_EQ(madvise(p, bytes(NP), MADV_DONTFORK), 0);
	ASSERT_NE(map(q, NP), NULL);
	begin();
	fill(q, 0, NP, SEED2);
	EXPECT_FOUNDED(1);
	EXPECT_NO_EVENTS(EV_VMA);
	EXPECT_EQ(count_vmas(p, 2 * NP), 2);
	ASSERT_EQ(madvise(p, bytes(NP), MADV_DOFORK), 0);
	EXPECT_LE(count_vmas(p, 2 * NP), 2);
	ASSERT_TRUE(shake(self, p, 2 * NP));
	ASSERT_TRUE(check(p, 0, NP, SEED));
	ASSERT_TRUE(check(q, 0, NP, SEED2));

	/* Parts that cross the border, forth and back. */
	for (unsigned int i = 0; i < 4; i++) {
		ASSERT_EQ(mprotect(page(p, NP / 2), bytes(NP), PROT_READ), 0);
		ASSERT_TRUE(check(p, 0, NP, SEED));
		ASSERT_EQ(mprotect(page(p, NP / 2), bytes(NP),
				   PROT_READ | PROT_WRITE), 0);
		EXPECT_LE(count_vmas(p, 2 * NP), 2);
	}
	ASSERT_TRUE(shake(self, p, 2 * NP));
	ASSERT_TRUE(check(p, 0, NP, SEED));
	ASSERT_TRUE(check(q, 0, NP, SEED2));
}

/* Neighbours in a child, one of which it has from its parent, one is its own. */
LAZY_TEST(merge_in_child)
{
	char *p = map_filled(slot(self, 0), NP, SEED);
	char *q = page(slot(self, 0), NP);
	struct kid k;

	ASSERT_NE(p, NULL);
	begin();
	if (kid_spawn(&k)) {
		bool ok;

		/* It is extended, and not shared but in the first part. */
		ok = !!map(q, NP);
		ok &= count_vmas(p, 2 * NP) <= 2;
		fill(q, 0, NP, SEED2);
		fill(p, 0, NP / 2, SEED3);
		ok &= count_vmas(p, 2 * NP) <= 2;
		ok &= !mprotect(page(p, NP / 4), bytes(NP), PROT_READ);
		ok &= !mprotect(page(p, NP / 4), bytes(NP),
				PROT_READ | PROT_WRITE);
		ok &= count_vmas(p, 2 * NP) <= 2;
		kid_pause(&k, ok);
		ok = shake(self, p, NP / 2) && shake(self, q, NP);
		ok &= check(p, 0, NP / 2, SEED3);
		ok &= check(page(p, NP / 2), NP / 2, NP / 2, SEED);
		ok &= check(q, 0, NP, SEED2);
		kid_exit(ok);
	}
	ASSERT_GT(k.pid, 0);
	ASSERT_TRUE(kid_paused(&k));
	ASSERT_TRUE(check(p, 0, NP, SEED));
	ASSERT_TRUE(kid_finish(&k));
	ASSERT_TRUE(check(p, 0, NP, SEED));
}

TEST_HARNESS_MAIN
