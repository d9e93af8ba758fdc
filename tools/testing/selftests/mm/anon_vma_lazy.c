// SPDX-License-Identifier: GPL-2.0
/*
 * Functional tests for lazy VMAs (CONFIG_ANON_VMA_LAZY).
 *
 * A VMA does without an anon_vma as long as no other process may map its
 * anonymous pages: it is lazy. It gets one (it is "upgraded") right before the
 * first operation that could let another one do so. Nothing of that may be
 * visible to the process: what every test here looks at first are the bytes in
 * memory, all of them, in each process concerned; then where the pages went;
 * and only then, on a kernel that has the feature, the events in /proc/vmstat
 * which tell that the intended path was taken.
 *
 * When a lazy VMA is split, moved or merged the second VMA joins its group, and
 * both stay lazy. No event tells of that, but there is no upgrade, and no VMA
 * becomes lazy. Without groups it is upgraded then, as it is for a fork. Which
 * of the two this kernel does is found out once, when the program starts.
 *
 * The struct of a VMA that pages still name outlives the VMA: its free is
 * deferred. A kernel with CONFIG_DEBUG_ANON_VMA_LAZY tells how many there are.
 *
 * The same tests run with the feature switched on, switched off, and switched
 * between set up and action, since VMAs of both kinds coexist at all times. On
 * a kernel without the feature one pass checks the contents only.
 *
 * The events are counted for the whole system. "Must happen" is therefore
 * tested with >=. "Must not happen" is tested with == in windows in which
 * nothing but the system calls of the test run: that wants a machine on which
 * nobody else forks or maps memory in these milliseconds, such as a test guest.
 *
 * ANON_VMA_LAZY_SECONDS in the environment is the length of each storm test
 * (default 2). ANON_VMA_LAZY_HWPOISON=1 allows to poison pages even if they
 * cannot be given back to the allocator afterwards.
 */
#define _GNU_SOURCE
#include "kselftest_harness.h"
#include <alloca.h>
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
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>
#include "../../../../lib/test_hmm_uapi.h"
#include "../../../../mm/gup_test.h"
#include "hugepage_settings.h"
#include "vm_util.h"

#define SYSCTL		"/proc/sys/vm/anon_vma_lazy"
#define KSM(file)	"/sys/kernel/mm/ksm/" file
#define THP(file)	"/sys/kernel/mm/transparent_hugepage/" file
#define UNPOISON	"/sys/kernel/debug/hwpoison/unpoison-pfn"
#define SPLIT_THP	"/sys/kernel/debug/split_huge_pages"
#define PAGE_IDLE	"/sys/kernel/mm/page_idle/bitmap"
#define GUP_TEST	"/sys/kernel/debug/gup_test"
#define MIRROR		"/dev/hmm_dmirror0"
#define COHERENT	"/dev/hmm_dmirror2"
#define FAILSLAB(file)	"/sys/kernel/debug/failslab/" file
#define DEFERRED	"/sys/kernel/debug/anon_vma_lazy/deferred"
#define VERIFY		"/sys/kernel/debug/anon_vma_lazy/verify"

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
/* So many VMAs may be in a group. */
#define GROUP_MAX	8u

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
	EV_LAZY,
	EV_UPGRADE,
	NR_EVENTS,
};

static const char * const event_name[NR_EVENTS] = {
	[EV_LAZY]	= "anon_vma_lazy",
	[EV_UPGRADE]	= "anon_vma_upgrade",
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
	{ .path = FAILSLAB("ignore-gfp-wait") },
	{ .path = FAILSLAB("verbose") },
};

static pid_t main_pid;

/* Does a split let the second VMA join a group, instead of upgrading the first? */
static bool has_groups;

/* Print a diagnostic in whichever process this is. */
static __printf(1, 2) void complain(const char *fmt, ...)
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

static __noreturn void kid_exit(bool ok)
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
		/* They may be on their way to the LRU, or to the disk. */
		usleep(i * i * 1000);
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
	long deferred;
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
static void window(FIXTURE_DATA(anon_vma) * self)
{
	if (self->events)
		read_events(self->base);
}

static unsigned long events(FIXTURE_DATA(anon_vma) * self, enum event e)
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

/* Did the event happen @n times or more if @cond, and not at all otherwise? */
static bool events_fit(FIXTURE_DATA(anon_vma) * self, enum event e,
		       unsigned long n, bool cond)
{
	unsigned long happened;

	if (!self->events)
		return true;
	happened = events(self, e);
	if (cond ? happened >= n : !happened)
		return true;
	if (cond)
		complain("%s: %lu, not %lu or more", event_name[e], happened, n);
	else
		complain("%s: %lu, not 0", event_name[e], happened);
	return false;
}

/* Since the window started. */
#define EXPECT_EVENTS(e, n, cond) EXPECT_TRUE(events_fit(self, e, n, cond))

/* Exactly that often, whatever the variant. */
#define EXPECT_COUNT(e, n)						\
do {									\
	if (self->events)						\
		EXPECT_EQ(events(self, e), (unsigned long)(n));		\
} while (0)

#define EXPECT_NO_EVENTS(e) EXPECT_EVENTS(e, 0, false)

/* No VMA was upgraded, whatever the kernel. */
#define EXPECT_NO_UPGRADE() EXPECT_NO_EVENTS(EV_UPGRADE)

/* No VMA was upgraded that a kernel with groups leaves lazy. */
#define EXPECT_STAYED_LAZY() EXPECT_TRUE(!has_groups || events_fit(self, EV_UPGRADE, 0, false))

/*
 * A split, move or merge let a second VMA of this process have a lazy one's pages,
 * @n times or more if @cond: it joined the group, which stays lazy. A kernel without
 * groups upgrades the lazy one.
 */
#define EXPECT_SHARED(n, cond)						\
	EXPECT_TRUE(events_fit(self, EV_UPGRADE, n, (cond) && !has_groups))

/* VMAs first touched in the set up were split, moved or merged by the action. */
#define EXPECT_SPLIT(n) EXPECT_SHARED(n, variant->setup)

/* VMAs first touched in the set up were upgraded by the action. */
#define EXPECT_UPGRADED(n) EXPECT_EVENTS(EV_UPGRADE, n, variant->setup)

/* VMAs were first touched by the action. */
#define EXPECT_BECAME_LAZY(n) EXPECT_EVENTS(EV_LAZY, n, variant->action)

/* Of how many structs is the free deferred? Negative if the kernel does not tell. */
static long deferred(void)
{
	char value[64];

	return read_string(DEFERRED, value, sizeof(value)) ? atol(value) : -1;
}

/* Count them from now on. Those from before may wait for a grace period only. */
static void deferred_window(FIXTURE_DATA(anon_vma) * self)
{
	unsigned int same = 0;

	self->deferred = deferred();
	for (int i = 0; i < 100 && same < 4 && self->deferred >= 0; i++) {
		long now;

		usleep(50000);
		now = deferred();
		same = now == self->deferred ? same + 1 : 0;
		self->deferred = now;
	}
}

/* Are there @n more or still more if @cond, and no more otherwise? */
static bool deferred_fit(FIXTURE_DATA(anon_vma) * self, long n, bool cond)
{
	long more = deferred() - self->deferred;

	if (self->deferred < 0 || (cond ? more >= n : more <= 0))
		return true;
	complain("the free of %ld structs is deferred, not of %ld", more, cond ? n : 0);
	return false;
}

/* Are they freed in the end? */
static bool deferred_ends(FIXTURE_DATA(anon_vma) * self)
{
	for (int i = 0; i < 50 && deferred() > self->deferred; i++)
		usleep(100000);
	return deferred_fit(self, 0, false);
}

#define EXPECT_DEFERRED(n, cond) EXPECT_TRUE(deferred_fit(self, n, cond))
#define EXPECT_NOT_DEFERRED() EXPECT_DEFERRED(0, false)
#define EXPECT_FREED() EXPECT_TRUE(deferred_ends(self))

#define NO_SWAP "no swap device in /proc/swaps"
#define NO_NUMA "one NUMA node only, or no NUMA"
#define NO_THP	"no huge page was allocated"

static char *slot(FIXTURE_DATA(anon_vma) * self, unsigned int i)
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

static void __attribute__((constructor)) groups_probe(void)
{
	unsigned long was[NR_EVENTS] = { 0 }, now[NR_EVENTS] = { 0 };
	char *p;

	if (write_string(SYSCTL, "1"))
		return;
	/* On either side is what has no pages, and so nothing to share. */
	p = mmap(NULL, bytes(5), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p != MAP_FAILED && map_filled(page(p, 1), 3, SEED)) {
		read_events(was);
		mprotect(page(p, 2), psize(), PROT_READ);
		read_events(now);
		has_groups = now[EV_UPGRADE] == was[EV_UPGRADE];
		munmap(p, bytes(5));
	}
	complain("a VMA that is split %s", has_groups ? "forms a group" : "is upgraded");
	settings_restore();
}

/*
 * Have reverse mapping work for all these pages, which must be the caller's
 * alone: unless it finds their one page table entry they cannot be migrated or
 * swapped out. The contents are for the caller to check.
 */
static bool shake(FIXTURE_DATA(anon_vma) * self, char *p, unsigned int n)
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

/* Are they there, before and after they were shaken? */
static bool sound(FIXTURE_DATA(anon_vma) * self, char *p, unsigned int first,
		  unsigned int n, uint64_t seed)
{
	return check(p, first, n, seed) && shake(self, p, n) && check(p, first, n, seed);
}

/* Cut the VMA at @p into @nr VMAs of @n pages each, which differ in a flag. */
static bool cut(char *p, unsigned int nr, unsigned int n)
{
	for (unsigned int i = 1; i < nr; i += 2) {
		if (madvise(page(p, i * n), bytes(n), MADV_DONTDUMP))
			return false;
	}
	return count_vmas(p, nr * n) == nr;
}

/* And put them together again. */
static bool uncut(char *p, unsigned int n)
{
	return !madvise(p, bytes(n), MADV_DODUMP) && count_vmas(p, n) == 1;
}

/*
 * Whether a VMA is lazy can be told only by something that ends it: cut it into
 * more VMAs than may be in a group, and put it together again. From then on it is
 * not, so this comes last. It has to have ten pages.
 */
static bool lazy_fit(FIXTURE_DATA(anon_vma) * self, char *p, unsigned int n, bool cond)
{
	bool ok;

	window(self);
	ok = cut(p, GROUP_MAX + 1, 1);
	ok &= events_fit(self, EV_UPGRADE, 1, cond);
	return uncut(p, n) && ok;
}

#define EXPECT_LAZY_IF(cond, p, n) EXPECT_TRUE(lazy_fit(self, p, n, cond))

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

	/* A child that is gone is seen by what it does not answer. */
	signal(SIGPIPE, SIG_IGN);

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
	 * The VMAs of the program itself are likely to be lazy, since it was
	 * forked. Have them upgraded, so that no later fork of this process
	 * counts any but what the test has mapped.
	 */
	pid = fork();
	if (!pid)
		_exit(0);
	ASSERT_TRUE(pid > 0 && reap(pid));
	window(self);
}

static void cgroup_leave(FIXTURE_DATA(anon_vma) * self)
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
	/* It is yes or no: any other number is a yes. What is too large for one is not. */
	static const char * const yes[] = { "2", "-1", "10" };
	static const char * const bad[] = {
		"x", "1x", "4294967296", "4294967297", "18446744073709551617",
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
	for (unsigned int i = 0; i < ARRAY_SIZE(yes); i++) {
		ASSERT_EQ(write_string(SYSCTL, "0"), 0);
		EXPECT_EQ(write_string(SYSCTL, yes[i]), 0)
			TH_LOG("\"%s\"", yes[i]);
		ASSERT_TRUE(read_string(SYSCTL, value, sizeof(value)));
		EXPECT_STREQ(value, "1");
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

/* === The first fault === */

LAZY_TEST(fault_one)
{
	char *p = map(slot(self, 0), NP);

	ASSERT_NE(p, NULL);
	begin();
	deferred_window(self);
	/* Reading maps the zero page, which nobody owns. */
	ASSERT_TRUE(check_zero(p, NP));
	EXPECT_NO_EVENTS(EV_LAZY);

	/* It becomes lazy once, by the first write, however many follow it. */
	fill(p, 0, NP, SEED);
	if (self->events)
		EXPECT_EQ(events(self, EV_LAZY), (unsigned long)variant->action);
	EXPECT_NO_UPGRADE();
	ASSERT_TRUE(check(p, 0, NP, SEED));

	ASSERT_EQ(munmap(p, bytes(NP)), 0);
	/* Nobody else had known of it. */
	EXPECT_NOT_DEFERRED();
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
		EXPECT_EQ(events(self, EV_LAZY), variant->action ? nr : 0UL);
	EXPECT_NO_UPGRADE();

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

/* Several threads are the first to touch a VMA: it becomes lazy once. */
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
	EXPECT_BECAME_LAZY(RACE_ROUNDS);
	if (self->events)
		EXPECT_LE(events(self, EV_LAZY), RACE_ROUNDS + RACE_THREADS);
	EXPECT_NO_UPGRADE();
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
	EXPECT_BECAME_LAZY(1);
	window(self);
	/* As a debugger writes: to a page that its owner may only read. */
	if (pwrite(fd, buf, bytes(NP), (off_t)q) == (ssize_t)bytes(NP)) {
		EXPECT_BECAME_LAZY(1);
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
	EXPECT_NO_EVENTS(EV_LAZY);
	for (unsigned int i = 0; i < NP; i += 2)
		set_page(p, seed, i, SEED2);
	EXPECT_BECAME_LAZY(1);
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
	EXPECT_EVENTS(EV_UPGRADE, 1, variant->action);

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

/* What has no anonymous pages of the usual kind is never lazy. */
LAZY_TEST(fault_never_lazy)
{
	size_t huge = default_huge_page_size();
	unsigned int n;
	char *p, *q;

	begin();
	p = mmap(slot(self, 0), bytes(NP), PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	ASSERT_EQ(p, slot(self, 0));
	fill(p, 0, NP, SEED);
	EXPECT_NO_EVENTS(EV_LAZY);
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
	EXPECT_NO_EVENTS(EV_LAZY);
	ASSERT_TRUE(check(q, 0, n, SEED));
	ASSERT_EQ(munmap(q, huge), 0);
}

/* Nor is what a process has that is watched through MMU notifiers, from then on. */
LAZY_TEST(fault_notifier)
{
	char *p = map_filled(slot(self, 0), NP, SEED);
	char *q = map_filled(slot(self, 1), NP, SEED2);
	char *r = slot(self, 2);
	int fd;

	ASSERT_NE(p, NULL);
	ASSERT_NE(q, NULL);
	ASSERT_TRUE(cut(q, 2, NP / 2));
	begin();
	fd = open(MIRROR, O_RDWR);
	if (fd < 0)
		SKIP(return, "no " MIRROR ", the driver of CONFIG_TEST_HMM");
	/* A single one, and a group. */
	EXPECT_UPGRADED(1 + has_groups);
	window(self);
	ASSERT_NE(map_filled(r, NP, SEED3), NULL);
	EXPECT_NO_EVENTS(EV_LAZY);
	ASSERT_TRUE(sound(self, p, 0, NP, SEED));
	ASSERT_TRUE(sound(self, q, 0, NP, SEED2));
	ASSERT_TRUE(sound(self, r, 0, NP, SEED3));
	close(fd);
	ASSERT_TRUE(sound(self, q, 0, NP, SEED2));
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
	EXPECT_UPGRADED(1);
	EXPECT_BECAME_LAZY(1);
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
	EXPECT_UPGRADED(1);

	window(self);
	if (kid_spawn(&k2)) {
		bool ok = check(p, 0, NP, SEED);

		fill(p, 0, NP, SEED2);
		kid_pause(&k2, ok);
		kid_exit(check(p, 0, NP, SEED2));
	}
	ASSERT_GT(k2.pid, 0);
	ASSERT_TRUE(kid_paused(&k2));
	EXPECT_NO_UPGRADE();
	EXPECT_BECAME_LAZY(1);

	fill(p, 0, NP, SEED3);
	ASSERT_TRUE(kid_finish(&k));
	ASSERT_TRUE(kid_finish(&k2));
	ASSERT_TRUE(check(p, 0, NP, SEED3));
}

/* Nobody has touched it before the fork: parent and child are lazy each. */
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
	EXPECT_NO_UPGRADE();
	window(self);
	kid_go(&k);
	ASSERT_TRUE(kid_paused(&k));
	fill(p, 0, NP, SEED);
	EXPECT_BECAME_LAZY(2);
	ASSERT_TRUE(kid_finish(&k));
	ASSERT_TRUE(check(p, 0, NP, SEED));
	EXPECT_LAZY_IF(variant->action, p, NP);
	ASSERT_TRUE(shake(self, p, NP));
	ASSERT_TRUE(check(p, 0, NP, SEED));
}

#define DEPTH 4u

/* Each generation writes to pages of its own, and checks all before and after. */
static bool generations(FIXTURE_DATA(anon_vma) * self, char *p, uint64_t *seed,
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
	/* A child that is lazy is upgraded by its own fork in turn. */
	if (self->events && variant->setup && variant->action)
		EXPECT_GE(events(self, EV_UPGRADE), (unsigned long)DEPTH);
	EXPECT_BECAME_LAZY(DEPTH);
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
	deferred_window(self);
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
	EXPECT_EVENTS(EV_UPGRADE, 1, variant->action);
	EXPECT_DEFERRED(1, variant->action);

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
	EXPECT_FREED();
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
	EXPECT_UPGRADED(1);
	EXPECT_BECAME_LAZY(4);
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
	EXPECT_UPGRADED(1);
	EXPECT_BECAME_LAZY(WIDTH);

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

/* A VMA that the child does not get is not shared, and stays lazy. */
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
	EXPECT_NO_UPGRADE();
	ASSERT_TRUE(shake(self, p, NP));
	ASSERT_TRUE(check(p, 0, NP, SEED));
	kid_go(&k);
	ASSERT_TRUE(kid_paused(&k));
	ASSERT_TRUE(check(p, 0, NP, SEED));
	ASSERT_TRUE(kid_finish(&k));
	EXPECT_LAZY_IF(variant->setup, p, NP);
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
	EXPECT_NO_UPGRADE();
	window(self);
	kid_go(&k);
	ASSERT_TRUE(kid_paused(&k));
	EXPECT_BECAME_LAZY(1);
	ASSERT_TRUE(check(p, 0, NP, SEED));
	ASSERT_TRUE(shake(self, p, NP));
	ASSERT_TRUE(kid_finish(&k));
	EXPECT_LAZY_IF(variant->setup, p, NP);
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
	EXPECT_NO_UPGRADE();
	ASSERT_TRUE(check(p, 0, NP, SEED));
	EXPECT_LAZY_IF(variant->setup, p, NP);
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
	EXPECT_UPGRADED(1);
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
	EXPECT_SPLIT(1);
	EXPECT_EQ(count_vmas(p, NP), 3);
	ASSERT_TRUE(check(p, 0, NP, SEED));
	ASSERT_TRUE(shake(self, p, NP));
	ASSERT_TRUE(check(p, 0, NP, SEED));

	window(self);
	ASSERT_EQ(mprotect(page(p, a), bytes(b), PROT_READ | PROT_WRITE), 0);
	EXPECT_EQ(count_vmas(p, NP), 1);
	EXPECT_NO_UPGRADE();
	fill(p, 0, NP, SEED2);
	ASSERT_TRUE(shake(self, p, NP));
	ASSERT_TRUE(check(p, 0, NP, SEED2));

	/* However often, and with pages that are not there. */
	for (unsigned int i = 0; i < 20; i++) {
		unsigned int from = i % 8;

		ASSERT_EQ(mprotect(page(p, from), bytes(b), PROT_NONE), 0);
		EXPECT_EQ(count_vmas(p, NP), from ? 3 : 2);
		ASSERT_EQ(mprotect(page(p, from), bytes(b),
				   PROT_READ | PROT_WRITE), 0);
		EXPECT_EQ(count_vmas(p, NP), 1);
		ASSERT_TRUE(check(page(p, from), from, b, SEED2));
	}
	EXPECT_STAYED_LAZY();
	ASSERT_TRUE(sound(self, p, 0, NP, SEED2));
	EXPECT_LAZY_IF(variant->setup && has_groups, p, NP);
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
		EXPECT_SPLIT(1);
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
	EXPECT_SPLIT(1);
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
	EXPECT_SPLIT(1);
	if (kid_spawn(&k)) {
		bool ok = check(p, 0, NP, SEED);

		/* The child's own VMA: its own pages and its parent's. */
		fill(page(p, 2), 2, NP / 4, SEED2);
		window(self);
		ok &= !munmap(page(p, 4), bytes(2));
		/* It has ancestors, so it has no group. */
		ok &= events_fit(self, EV_UPGRADE, 1, variant->action);
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
		EXPECT_SPLIT(1);
		EXPECT_NO_EVENTS(EV_LAZY);
		EXPECT_EQ(count_vmas(p, NP), 2);
		ASSERT_TRUE(check(p, 0, NP, SEED));
		ASSERT_EQ(mprotect(first, bytes(NP / 2),
				   PROT_READ | PROT_WRITE), 0);
		EXPECT_EQ(count_vmas(p, NP), 1);
		ASSERT_TRUE(shake(self, p, NP));
		ASSERT_TRUE(check(p, 0, NP, SEED));
		EXPECT_STAYED_LAZY();
		EXPECT_LAZY_IF(variant->setup && has_groups, p, NP);
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
		EXPECT_SPLIT(1);
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

/* A new mapping beside a VMA becomes part of it, and leaves it lazy. */
LAZY_TEST(merge_new_mapping)
{
	char *p = map_filled(page(slot(self, 0), NP), NP, SEED);
	char *start = slot(self, 0);

	ASSERT_NE(p, NULL);
	begin();
	ASSERT_NE(map(page(p, NP), NP), NULL);
	ASSERT_NE(map(start, NP), NULL);
	EXPECT_EQ(count_vmas(start, 3 * NP), 1);
	EXPECT_NO_UPGRADE();
	fill(start, 0, NP, SEED2);
	fill(page(p, NP), 0, NP, SEED3);
	EXPECT_NO_EVENTS(EV_LAZY);
	ASSERT_TRUE(shake(self, start, 3 * NP));
	ASSERT_TRUE(check(start, 0, NP, SEED2));
	ASSERT_TRUE(check(p, 0, NP, SEED));
	ASSERT_TRUE(check(page(p, NP), 0, NP, SEED3));
	EXPECT_LAZY_IF(variant->setup, start, 3 * NP);
	ASSERT_TRUE(check(page(p, NP), 0, NP, SEED3));
}

/*
 * Neighbours that could not take up with each other when they were first
 * faulted, and have become equal since, are two on an unpatched kernel. There
 * may not be more.
 */
LAZY_TEST(merge_two_faulted)
{
	char *p = map_filled(slot(self, 0), NP, SEED);
	char *q = page(slot(self, 0), NP);

	ASSERT_NE(p, NULL);
	ASSERT_EQ(madvise(p, bytes(NP), MADV_DONTFORK), 0);
	ASSERT_NE(map(q, NP), NULL);
	begin();
	fill(q, 0, NP, SEED2);
	EXPECT_BECAME_LAZY(1);
	EXPECT_NO_UPGRADE();
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

/* A child's neighbour, which could share an anon_vma that has no ancestors. */
LAZY_TEST(merge_beside_child)
{
	char *p = map_filled(slot(self, 0), NP, SEED);
	char *q = page(slot(self, 0), NP);
	struct kid k;

	ASSERT_NE(p, NULL);
	begin();
	if (kid_spawn(&k)) {
		bool ok = !mprotect(p, bytes(NP), PROT_READ);

		ok &= !!map(q, NP);
		fill(q, 0, NP, SEED2);
		ok &= !mprotect(p, bytes(NP), PROT_READ | PROT_WRITE);
		ok &= count_vmas(p, 2 * NP) == 2;
		ok &= check(p, 0, NP, SEED);
		fill(p, 0, NP, SEED3);
		ok &= shake(self, p, 2 * NP);
		ok &= check(p, 0, NP, SEED3) && check(q, 0, NP, SEED2);
		kid_exit(ok);
	}
	ASSERT_GT(k.pid, 0);
	ASSERT_TRUE(kid_finish(&k));
	ASSERT_TRUE(check(p, 0, NP, SEED));
}

/* === mremap === */

LAZY_TEST(mremap_resize)
{
	char *p = map_filled(slot(self, 0), NP, SEED);

	ASSERT_NE(p, NULL);
	ASSERT_EQ(munmap(page(p, NP), bytes(NP)), 0);
	begin();
	ASSERT_EQ(mremap(p, bytes(NP), bytes(2 * NP), 0), p);
	EXPECT_NO_UPGRADE();
	EXPECT_EQ(count_vmas(p, 2 * NP), 1);
	ASSERT_TRUE(check(p, 0, NP, SEED));
	ASSERT_TRUE(check_zero(page(p, NP), NP));
	fill(page(p, NP), 0, NP, SEED2);
	EXPECT_NO_EVENTS(EV_LAZY);
	ASSERT_TRUE(shake(self, p, 2 * NP));
	ASSERT_TRUE(check(p, 0, NP, SEED));
	ASSERT_TRUE(check(page(p, NP), 0, NP, SEED2));

	/* To shrink it is to unmap a part. */
	window(self);
	ASSERT_EQ(mremap(p, bytes(2 * NP), bytes(NP / 2), 0), p);
	EXPECT_SPLIT(1);
	ASSERT_TRUE(shake(self, p, NP / 2));
	ASSERT_TRUE(check(p, 0, NP / 2, SEED));
}

LAZY_TEST(mremap_move)
{
	char *p = map_filled(slot(self, 0), NP, SEED);
	char *q = slot(self, 1), *r = slot(self, 2);
	uint64_t pfn[NP], pfn2[NP];

	ASSERT_NE(p, NULL);
	begin();
	get_pfns(p, NP, pfn);
	ASSERT_EQ(mremap(p, bytes(NP), bytes(NP),
			 MREMAP_MAYMOVE | MREMAP_FIXED, q), q);
	EXPECT_SPLIT(1);
	EXPECT_EQ(count_vmas(p, NP), 0);
	EXPECT_EQ(count_vmas(q, NP), 1);
	/* It is the same pages, elsewhere. */
	get_pfns(q, NP, pfn2);
	EXPECT_EQ(memcmp(pfn, pfn2, sizeof(pfn)), 0);
	ASSERT_TRUE(check(q, 0, NP, SEED));
	ASSERT_TRUE(shake(self, q, NP));
	ASSERT_TRUE(check(q, 0, NP, SEED));

	/* Back again, and to a third place with some growth. */
	ASSERT_EQ(mremap(q, bytes(NP), bytes(NP),
			 MREMAP_MAYMOVE | MREMAP_FIXED, p), p);
	ASSERT_TRUE(check(p, 0, NP, SEED));
	ASSERT_TRUE(shake(self, p, NP));
	ASSERT_EQ(mremap(p, bytes(NP), bytes(2 * NP),
			 MREMAP_MAYMOVE | MREMAP_FIXED, r), r);
	ASSERT_TRUE(check(r, 0, NP, SEED));
	ASSERT_TRUE(check_zero(page(r, NP), NP));
	fill(page(r, NP), NP, NP, SEED);
	ASSERT_TRUE(shake(self, r, 2 * NP));
	ASSERT_TRUE(check(r, 0, 2 * NP, SEED));
	EXPECT_STAYED_LAZY();
	EXPECT_LAZY_IF(variant->setup && has_groups, r, 2 * NP);
}

LAZY_TEST(mremap_unfaulted)
{
	char *p = map(slot(self, 0), NP), *q = slot(self, 1);

	ASSERT_NE(p, NULL);
	begin();
	ASSERT_EQ(mremap(p, bytes(NP), bytes(NP),
			 MREMAP_MAYMOVE | MREMAP_FIXED, q), q);
	EXPECT_NO_UPGRADE();
	EXPECT_NO_EVENTS(EV_LAZY);
	fill(q, 0, NP, SEED);
	EXPECT_BECAME_LAZY(1);
	ASSERT_TRUE(shake(self, q, NP));
	ASSERT_TRUE(check(q, 0, NP, SEED));
}

/* The middle of one goes into the middle of another that has pages too. */
LAZY_TEST(mremap_part)
{
	char *p = map_filled(slot(self, 0), NP, SEED);
	char *q = map_filled(slot(self, 1), NP, SEED2);
	const unsigned int a = NP / 4, n = NP / 2;

	ASSERT_NE(p, NULL);
	ASSERT_NE(q, NULL);
	begin();
	ASSERT_EQ(mremap(page(p, a), bytes(n), bytes(n),
			 MREMAP_MAYMOVE | MREMAP_FIXED, page(q, a)),
		  page(q, a));
	EXPECT_SPLIT(2);
	EXPECT_EQ(count_vmas(p, NP), 2);
	EXPECT_EQ(count_vmas(q, NP), 3);
	for (unsigned int i = 0; i < 2; i++) {
		ASSERT_TRUE(check(p, 0, a, SEED));
		ASSERT_TRUE(check(page(p, a + n), a + n, NP - a - n, SEED));
		ASSERT_TRUE(check(q, 0, a, SEED2));
		ASSERT_TRUE(check(page(q, a), a, n, SEED));
		ASSERT_TRUE(check(page(q, a + n), a + n, NP - a - n, SEED2));
		ASSERT_TRUE(shake(self, p, a));
		ASSERT_TRUE(shake(self, page(p, a + n), NP - a - n));
		ASSERT_TRUE(shake(self, q, NP));
	}

	/* And back to where it was. */
	ASSERT_EQ(mremap(page(q, a), bytes(n), bytes(n),
			 MREMAP_MAYMOVE | MREMAP_FIXED, page(p, a)),
		  page(p, a));
	EXPECT_EQ(count_vmas(p, NP), 1);
	ASSERT_TRUE(check(p, 0, NP, SEED));
	ASSERT_TRUE(shake(self, p, NP));
	ASSERT_TRUE(check(p, 0, NP, SEED));
}

/*
 * The source stays mapped, without its pages. It is faulted again, so that
 * there are pages of one origin in two VMAs, it is forked and both are
 * unmapped, in the one order or the other.
 */
LAZY_TEST(mremap_dontunmap)
{
	for (unsigned int i = 0; i < 2; i++)
		ASSERT_NE(map_filled(slot(self, 3 * i), NP, SEED), NULL);

	begin();
	for (unsigned int i = 0; i < 2; i++) {
		char *p = slot(self, 3 * i), *q = slot(self, 3 * i + 1);
		char *r = slot(self, 3 * i + 2);
		struct kid k;

		window(self);
		ASSERT_EQ(mremap(p, bytes(NP), bytes(NP), MREMAP_MAYMOVE |
				 MREMAP_FIXED | MREMAP_DONTUNMAP, q), q);
		/* The first round's fork has upgraded the second's. */
		EXPECT_SHARED(1, variant->setup && !i);
		ASSERT_TRUE(check(q, 0, NP, SEED));
		ASSERT_TRUE(check_zero(p, NP));
		fill(p, 0, NP, SEED2);
		ASSERT_TRUE(shake(self, p, NP));
		ASSERT_TRUE(shake(self, q, NP));
		ASSERT_TRUE(check(p, 0, NP, SEED2));
		ASSERT_TRUE(check(q, 0, NP, SEED));

		if (kid_spawn(&k)) {
			bool ok = check(p, 0, NP, SEED2);

			ok &= check(q, 0, NP, SEED);
			fill(p, 0, NP / 2, SEED3);
			fill(q, 0, NP / 4, SEED3);
			kid_pause(&k, ok);
			ok = check(p, 0, NP / 2, SEED3);
			ok &= check(page(p, NP / 2), NP / 2, NP / 2, SEED2);
			ok &= check(q, 0, NP / 4, SEED3);
			ok &= check(page(q, NP / 4), NP / 4, NP - NP / 4, SEED);
			ok &= !munmap(i ? p : q, bytes(NP));
			kid_pause(&k, ok);
			/* By now nobody else has the pages. */
			ok = shake(self, i ? q : p, NP);
			if (i) {
				ok &= check(q, 0, NP / 4, SEED3);
				ok &= check(page(q, NP / 4), NP / 4,
					    NP - NP / 4, SEED);
			} else {
				ok &= check(p, 0, NP / 2, SEED3);
				ok &= check(page(p, NP / 2), NP / 2, NP / 2,
					    SEED2);
			}
			kid_exit(ok);
		}
		ASSERT_GT(k.pid, 0);
		ASSERT_TRUE(kid_paused(&k));
		ASSERT_EQ(mprotect(page(p, 2), bytes(2), PROT_READ), 0);
		ASSERT_TRUE(check(p, 0, NP, SEED2));
		ASSERT_TRUE(check(q, 0, NP, SEED));
		ASSERT_EQ(mprotect(page(p, 2), bytes(2),
				   PROT_READ | PROT_WRITE), 0);

		ASSERT_EQ(munmap(i ? q : p, bytes(NP)), 0);
		kid_go(&k);
		ASSERT_TRUE(kid_paused(&k));
		if (i) {
			ASSERT_TRUE(check(p, 0, NP, SEED2));
			/* Once more from the same source. */
			ASSERT_EQ(mremap(p, bytes(NP), bytes(NP),
					 MREMAP_MAYMOVE | MREMAP_FIXED |
					 MREMAP_DONTUNMAP, r), r);
			ASSERT_TRUE(check_zero(p, NP));
			ASSERT_TRUE(check(r, 0, NP, SEED2));
			ASSERT_EQ(munmap(r, bytes(NP)), 0);
			ASSERT_EQ(munmap(p, bytes(NP)), 0);
		} else {
			ASSERT_TRUE(check(q, 0, NP, SEED));
			ASSERT_EQ(munmap(q, bytes(NP)), 0);
		}
		ASSERT_TRUE(kid_finish(&k));
	}
}

/* The source is unfaulted then: it merges with a neighbour that has pages. */
LAZY_TEST(mremap_dontunmap_merge)
{
	char *p = map_filled(slot(self, 0), NP, SEED), *q = slot(self, 1);
	char *s = map_filled(slot(self, 2), NP, SEED), *t = slot(self, 3);
	char *r = page(slot(self, 0), NP);
	unsigned int vmas;

	ASSERT_NE(p, NULL);
	ASSERT_NE(s, NULL);
	ASSERT_EQ(madvise(p, bytes(NP), MADV_DONTFORK), 0);
	ASSERT_NE(map_filled(r, NP, SEED2), NULL);
	begin();
	ASSERT_EQ(mremap(p, bytes(NP), bytes(NP), MREMAP_MAYMOVE | MREMAP_FIXED |
			 MREMAP_DONTUNMAP, q), q);
	EXPECT_SPLIT(1);
	EXPECT_EQ(count_vmas(p, 2 * NP), 2);
	ASSERT_EQ(madvise(p, bytes(NP), MADV_DOFORK), 0);
	vmas = count_vmas(p, 2 * NP);
	/* Without groups the source of a lazy one stays linked. */
	EXPECT_TRUE(vmas == 1 || (vmas == 2 && self->events && variant->setup && !has_groups))
		TH_LOG("%u VMAs", vmas);
	ASSERT_TRUE(check_zero(p, NP));
	ASSERT_TRUE(sound(self, q, 0, NP, SEED));
	ASSERT_TRUE(sound(self, r, 0, NP, SEED2));
	fill(p, 0, NP, SEED3);
	ASSERT_TRUE(sound(self, p, 0, NP, SEED3));
	ASSERT_TRUE(sound(self, q, 0, NP, SEED));
	ASSERT_TRUE(sound(self, r, 0, NP, SEED2));

	/* The front of one is moved to before its back, and merges with that. */
	ASSERT_EQ(mremap(page(s, NP / 2), bytes(NP / 2), bytes(NP / 2),
			 MREMAP_MAYMOVE | MREMAP_FIXED, page(t, NP / 2)), page(t, NP / 2));
	ASSERT_EQ(mremap(s, bytes(NP / 2), bytes(NP / 2), MREMAP_MAYMOVE |
			 MREMAP_FIXED | MREMAP_DONTUNMAP, t), t);
	EXPECT_EQ(count_vmas(t, NP), 1);
	ASSERT_TRUE(check_zero(s, NP / 2));
	fill(s, 0, NP / 2, SEED3);
	ASSERT_TRUE(sound(self, s, 0, NP / 2, SEED3));
	ASSERT_TRUE(sound(self, t, 0, NP, SEED));
}

/* The parent moves what it shares with its child. */
LAZY_TEST(mremap_fork)
{
	char *p = map_filled(slot(self, 0), NP, SEED), *q = slot(self, 1);
	struct kid k;

	ASSERT_NE(p, NULL);
	begin();
	if (kid_spawn(&k)) {
		bool ok = check(p, 0, NP, SEED);

		kid_pause(&k, ok);
		ok = check(p, 0, NP, SEED);
		window(self);
		ok &= mremap(p, bytes(NP), bytes(NP), MREMAP_MAYMOVE |
			     MREMAP_FIXED, page(q, NP)) == page(q, NP);
		ok &= events_fit(self, EV_UPGRADE, 1, variant->action);
		ok &= check(page(q, NP), 0, NP, SEED);
		kid_pause(&k, ok);
		ok = check(page(q, NP), 0, NP, SEED);
		fill(page(q, NP), 0, NP, SEED2);
		kid_exit(shake(self, page(q, NP), NP) &&
			 check(page(q, NP), 0, NP, SEED2) && ok);
	}
	ASSERT_GT(k.pid, 0);
	ASSERT_TRUE(kid_paused(&k));
	ASSERT_EQ(mremap(p, bytes(NP), bytes(NP),
			 MREMAP_MAYMOVE | MREMAP_FIXED, q), q);
	if (self->numa)
		ASSERT_TRUE(migrate_to(0, q, NP, self->node[1],
				       MPOL_MF_MOVE_ALL));
	EXPECT_EQ(count_same(getpid(), q, k.pid, p, NP), NP);
	ASSERT_TRUE(check(q, 0, NP, SEED));
	kid_go(&k);
	ASSERT_TRUE(kid_paused(&k));
	if (self->numa)
		ASSERT_TRUE(migrate_to(0, q, NP, self->node[0],
				       MPOL_MF_MOVE_ALL));
	EXPECT_EQ(count_same(getpid(), q, k.pid, page(q, NP), NP), NP);
	ASSERT_TRUE(check(q, 0, NP, SEED));
	ASSERT_TRUE(kid_finish(&k));
	ASSERT_TRUE(shake(self, q, NP));
	ASSERT_TRUE(check(q, 0, NP, SEED));
}

/* === Growth === */

LAZY_TEST(grow_down)
{
	const unsigned int start = 4;
	char *p = slot(self, 4);
	struct kid k;

	/* Room to grow, with the gap that the kernel wants below a stack. */
	ASSERT_EQ(munmap(slot(self, 0), bytes(4 * SLOT_PAGES)), 0);
	ASSERT_EQ(mmap(p, bytes(start), PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_GROWSDOWN,
		       -1, 0), p);
	fill(p, NP, start, SEED);
	begin();
	for (unsigned int i = 1; i <= NP / 2; i++)
		fill_page(p - bytes(i), SEED, NP - i);
	EXPECT_NO_UPGRADE();
	EXPECT_NO_EVENTS(EV_LAZY);
	p -= bytes(NP / 2);
	EXPECT_EQ(count_vmas(p, NP / 2 + start), 1);
	ASSERT_TRUE(check(p, NP / 2, NP / 2 + start, SEED));
	ASSERT_TRUE(shake(self, p, NP / 2 + start));
	ASSERT_TRUE(check(p, NP / 2, NP / 2 + start, SEED));

	/* Both go on, each for itself. */
	window(self);
	if (kid_spawn(&k)) {
		bool ok = check(p, NP / 2, NP / 2 + start, SEED);

		for (unsigned int i = 1; i <= NP / 4; i++)
			fill_page(p - bytes(i), SEED2, NP / 2 - i);
		kid_pause(&k, ok);
		ok = check(p, NP / 2, NP / 2 + start, SEED);
		p -= bytes(NP / 4);
		ok &= check(p, NP / 4, NP / 4, SEED2);
		ok &= count_vmas(p, NP - NP / 4) == 1;
		ok &= shake(self, p, NP / 4);
		kid_exit(ok && check(p, NP / 4, NP / 4, SEED2));
	}
	ASSERT_GT(k.pid, 0);
	for (unsigned int i = 1; i <= NP / 2; i++)
		fill_page(p - bytes(i), SEED3, NP / 2 - i);
	ASSERT_TRUE(kid_paused(&k));
	EXPECT_UPGRADED(1);
	ASSERT_TRUE(check(p, NP / 2, NP / 2 + start, SEED));
	p -= bytes(NP / 2);
	ASSERT_TRUE(check(p, 0, NP / 2, SEED3));
	ASSERT_TRUE(kid_finish(&k));
	ASSERT_TRUE(shake(self, p, NP + start));
	ASSERT_TRUE(check(p, 0, NP / 2, SEED3));
	ASSERT_TRUE(check(page(p, NP / 2), NP / 2, NP / 2 + start, SEED));
}

static bool brk_is(char *end)
{
	return !brk(end) && sbrk(0) == end;
}

/* Each level has a page on the stack; the deepest one forks. */
static bool recurse(unsigned int depth, pid_t *pid)
{
	char *buf = alloca(psize());
	bool ok = true;

	fill_page(buf, SEED, depth);
	if (depth < NP)
		ok = recurse(depth + 1, pid);
	else
		*pid = fork();
	ok &= check_page(buf, SEED, depth);
	/* What follows on the way up is the child's or the parent's own. */
	fill_page(buf, *pid ? SEED2 : SEED3, depth);
	return ok & check_page(buf, *pid ? SEED2 : SEED3, depth);
}

LAZY_TEST(grow_stack)
{
	struct kid k;

	begin();
	if (kid_spawn(&k)) {
		pid_t pid = -1;
		bool ok;

		ok = recurse(0, &pid);
		if (!pid)
			kid_exit(ok);
		kid_exit(ok && pid > 0 && reap(pid));
	}
	ASSERT_GT(k.pid, 0);
	ASSERT_TRUE(kid_end(&k));
	/* The child's stack was lazy, and then the grandchild's. */
	EXPECT_EVENTS(EV_UPGRADE, 1, variant->action);
	EXPECT_BECAME_LAZY(2);
}

LAZY_TEST(grow_brk)
{
	struct kid k;

	begin();
	if (kid_spawn(&k)) {
		/* No malloc() may come between. */
		unsigned long brk = (unsigned long)sbrk(0);
		char *p = (char *)((brk + psize() - 1) & ~(psize() - 1ul));
		bool ok = brk_is(p);
		struct kid k2;

		for (unsigned int i = 0; i < NP; i += NP / 4) {
			ok &= brk_is(page(p, i + NP / 4));
			fill(page(p, i), i, NP / 4, SEED);
			ok &= count_vmas(p, i + NP / 4) == 1;
		}
		ok &= check(p, 0, NP, SEED);
		if (kid_spawn(&k2)) {
			ok = brk_is(page(p, 2 * NP));
			fill(page(p, NP), 0, NP, SEED2);
			ok &= check(p, 0, NP, SEED);
			kid_pause(&k2, ok);
			ok = check(p, 0, NP, SEED);
			ok &= check(page(p, NP), 0, NP, SEED2);
			kid_exit(ok);
		}
		ok &= k2.pid > 0 && kid_paused(&k2);
		ok &= brk_is(page(p, NP / 2));
		ok &= brk_is(page(p, NP));
		ok &= check(p, 0, NP / 2, SEED);
		ok &= check_zero(page(p, NP / 2), NP / 2);
		ok &= kid_finish(&k2);
		ok &= shake(self, p, NP / 2);
		kid_exit(ok && check(p, 0, NP / 2, SEED));
	}
	ASSERT_GT(k.pid, 0);
	ASSERT_TRUE(kid_end(&k));
}

/* === Swap === */

LAZY_TEST(swap_alone)
{
	char *p = map_filled(slot(self, 0), NP, SEED);

	if (!self->swap)
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
	EXPECT_NO_UPGRADE();
	EXPECT_NO_EVENTS(EV_LAZY);
	ASSERT_TRUE(swap_out(p, NP));
	EXPECT_LAZY_IF(variant->setup, p, NP);
	ASSERT_TRUE(check(p, 0, NP, SEED + 3));
}

/* Swapped out before the fork, so that it is entries that are shared. */
LAZY_TEST(swap_then_fork)
{
	if (!self->swap)
		SKIP(return, NO_SWAP);
	for (unsigned int i = 0; i < 3; i++) {
		char *p = map_filled(slot(self, i), NP, SEED + i);

		ASSERT_NE(p, NULL);
		ASSERT_TRUE(swap_out(p, NP));
		/* Half of the last one's is in the swap cache, and mapped. */
		if (i == 2)
			ASSERT_TRUE(check(p, 0, NP / 2, SEED + i));
	}

	begin();
	for (unsigned int i = 0; i < 3; i++) {
		char *p = slot(self, i);
		struct kid k;

		window(self);
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
		/* The first fork upgrades all there is. */
		EXPECT_EVENTS(EV_UPGRADE, 3, variant->setup && !i);
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
		for (int to = 1; to >= 0 && self->numa && i != 1; to--)
			ASSERT_TRUE(migrate_to(0, page(p, NP / 2), NP / 2,
					       self->node[to], MPOL_MF_MOVE_ALL));
		ASSERT_TRUE(kid_finish(&k));
		ASSERT_TRUE(swap_out(p, NP));
		ASSERT_TRUE(check(p, 0, NP, i == 1 ? SEED2 : SEED + i));
	}
}

/* The child's own copies of shared pages, and then what is left to the parent. */
LAZY_TEST(fork_then_swap)
{
	char *p = map_filled(slot(self, 0), NP, SEED);
	struct kid k;

	if (!self->swap)
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
	EXPECT_UPGRADED(1);
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
LAZY_TEST(swap_parent_exits)
{
	char *p = slot(self, 0);
	pid_t middle;
	struct kid k;

	if (!self->swap)
		SKIP(return, NO_SWAP);
	ASSERT_EQ(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
	ASSERT_TRUE(kid_prepare(&k));
	begin();
	deferred_window(self);
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
		ok &= shake(self, p, NP - NP / 4);
		ok &= check(p, 0, NP / 2, SEED);
		ok &= check(page(p, NP / 2), NP / 2, NP / 4, SEED2);
		ok &= check(page(p, NP - NP / 4), NP - NP / 4, NP / 4, SEED);
		ok &= shake(self, p, NP);
		ok &= check(page(p, NP - NP / 4), NP - NP / 4, NP / 4, SEED);
		kid_exit(ok);
	}
	ASSERT_GT(middle, 0);
	kid_is_child(&k, -1);
	ASSERT_TRUE(kid_paused(&k));
	ASSERT_TRUE(reap(middle));
	EXPECT_DEFERRED(1, variant->action);
	kid_go(&k);
	ASSERT_TRUE(reap(-1));
	EXPECT_FREED();
}

/* Parts of what is swapped out are split off, moved, unmapped. */
LAZY_TEST(swap_then_split)
{
	char *p = map_filled(slot(self, 0), NP, SEED), *q = slot(self, 1);
	const unsigned int n = NP / 4;

	if (!self->swap)
		SKIP(return, NO_SWAP);
	ASSERT_NE(p, NULL);
	ASSERT_TRUE(swap_out(p, NP));
	begin();
	ASSERT_EQ(mprotect(page(p, n), bytes(2 * n), PROT_READ), 0);
	EXPECT_SPLIT(1);
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
	ASSERT_TRUE(shake(self, page(p, n), 2 * n));
	ASSERT_TRUE(check(page(p, n), n, 2 * n, SEED));
	EXPECT_STAYED_LAZY();
}

/* A memory cgroup of its own. Returns a reason why not, or NULL. */
static const char *cgroup_enter(FIXTURE_DATA(anon_vma) * self)
{
	char path[256], buf[256] = "";
	FILE *f;

	strcpy(self->cgroup_root, "/sys/fs/cgroup");
	if (access("/sys/fs/cgroup/cgroup.controllers", F_OK)) {
		strcpy(self->cgroup_root, "/tmp/anon_vma_lazy.XXXXXX");
		if (!mkdtemp(self->cgroup_root)) {
			strcpy(self->cgroup_root, "/anon_vma_lazy.XXXXXX");
			if (!mkdtemp(self->cgroup_root))
				return "no place to mount cgroup2";
		}
		if (mount("none", self->cgroup_root, "cgroup2", 0, NULL)) {
			rmdir(self->cgroup_root);
			return "no cgroup2";
		}
		self->cgroup_mounted = true;
	}
	snprintf(path, sizeof(path), "%s/cgroup.subtree_control",
		 self->cgroup_root);
	f = fopen(path, "r");
	if (!f || !fgets(buf, sizeof(buf), f) || !strstr(buf, "memory")) {
		if (write_string(path, "+memory")) {
			if (f)
				fclose(f);
			return "no memory controller in cgroup2";
		}
		self->cgroup_enabled = true;
	}
	if (f)
		fclose(f);
	snprintf(self->cgroup, sizeof(self->cgroup), "%s/anon_vma_lazy.%d",
		 self->cgroup_root, getpid());
	if (mkdir(self->cgroup, 0755)) {
		*self->cgroup = '\0';
		return "no cgroup could be made";
	}
	snprintf(path, sizeof(path), "%s/cgroup.procs", self->cgroup);
	if (write_string(path, "0"))
		return "the cgroup cannot be entered";
	snprintf(path, sizeof(path), "%s/memory.reclaim", self->cgroup);
	if (access(path, W_OK))
		return "no memory.reclaim";
	return NULL;
}

static void cgroup_reclaim(FIXTURE_DATA(anon_vma) * self, size_t size)
{
	char path[256], buf[64];

	snprintf(path, sizeof(path), "%s/memory.reclaim", self->cgroup);
	snprintf(buf, sizeof(buf), "%zu swappiness=max", size);
	if (write_string(path, buf) == -EINVAL) {
		snprintf(buf, sizeof(buf), "%zu", size);
		write_string(path, buf);
	}
}

/* Bytes of it that are both in memory and in swap. */
static size_t cgroup_swapcached(FIXTURE_DATA(anon_vma) * self)
{
	char path[256], line[128];
	size_t n = 0;
	FILE *f;

	snprintf(path, sizeof(path), "%s/memory.stat", self->cgroup);
	f = fopen(path, "r");
	while (f && fgets(line, sizeof(line), f) &&
	       sscanf(line, "swapcached %zu", &n) != 1)
		;
	if (f)
		fclose(f);
	return n;
}

/*
 * Reclaim proper, of pages that several processes have mapped: it has to find
 * all of their page table entries, or it cannot have the page.
 *
 * Then pages that a child was the first to swap in are found in all of them.
 */
LAZY_TEST(swap_shared)
{
	char *p = slot(self, 0);
	unsigned int swapped = 0;
	const char *reason;
	struct kid k[3];

	if (!self->swap)
		SKIP(return, NO_SWAP);
	reason = cgroup_enter(self);
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
		/* What the last one unmaps is of a lazy child: that upgrades too. */
		if (!i)
			EXPECT_UPGRADED(1);
	}

	/* With a disk, they stay in the swap cache until they are met again. */
	for (unsigned int try = 0;
	     try < TRIES && (swapped < NP || cgroup_swapcached(self)); try++) {
		usleep(try * try * 1000);
		cgroup_reclaim(self, bytes(4 * NP));
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
	if (!strstr(self->swap_dev, "ram") && !strstr(self->swap_dev, "mem"))
		EXPECT_EQ(count_same(k[0].pid, page(p, NP / 2), getpid(),
				     page(p, NP / 2), NP / 4), NP / 4);
	for (int to = 1; to >= 0 && self->numa; to--)
		ASSERT_TRUE(migrate_to(0, p, NP, self->node[to],
				       MPOL_MF_MOVE_ALL));
	for (unsigned int i = 0; i < 3; i++)
		ASSERT_TRUE(kid_finish(&k[i]));
	ASSERT_TRUE(check(p, 0, NP, SEED));
}

/* Pages come back while nobody asks for them. */
LAZY_TEST(swap_off)
{
	char *p = map_filled(slot(self, 0), NP, SEED);
	char *q = map_filled(slot(self, 1), NP, SEED2);
	struct kid k;

	if (!self->swap)
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
	if (swapoff(self->swap_dev))
		SKIP(kid_finish(&k); return, "swapoff: %s", strerror(errno));
	self->swapped_off = true;
	EXPECT_EQ(count_present(getpid(), p, NP), NP);
	EXPECT_EQ(count_present(getpid(), q, NP), NP);
	EXPECT_EQ(count_same(getpid(), q, k.pid, q, NP), NP);
	ASSERT_TRUE(check(p, 0, NP, SEED));
	ASSERT_TRUE(check(q, 0, NP, SEED2));
	ASSERT_TRUE(kid_finish(&k));
	ASSERT_EQ(swapon(self->swap_dev, 0), 0);
	self->swapped_off = false;
	ASSERT_TRUE(shake(self, p, NP));
	ASSERT_TRUE(shake(self, q, NP));
	ASSERT_TRUE(check(p, 0, NP, SEED));
	ASSERT_TRUE(check(q, 0, NP, SEED2));
}

/* === Migration === */

LAZY_TEST(migrate_alone)
{
	char *p = map_filled(slot(self, 0), NP, SEED);
	uint64_t pfn[NP], pfn2[NP];

	if (!self->numa)
		SKIP(return, NO_NUMA);
	ASSERT_NE(p, NULL);
	ASSERT_TRUE(migrate_to(0, p, NP, self->node[0], MPOL_MF_MOVE));
	begin();
	for (unsigned int i = 1; i < 6; i++) {
		get_pfns(p, NP, pfn);
		ASSERT_TRUE(migrate_to(0, p, NP, self->node[i & 1],
				       MPOL_MF_MOVE));
		get_pfns(p, NP, pfn2);
		for (unsigned int j = 0; j < NP; j++)
			EXPECT_NE(pfn[j], pfn2[j]);
		ASSERT_TRUE(check(p, 0, NP, SEED + i - 1));
		fill(p, 0, NP, SEED + i);
	}
	EXPECT_NO_UPGRADE();
	EXPECT_NO_EVENTS(EV_LAZY);
	EXPECT_LAZY_IF(variant->setup, p, NP);
	ASSERT_TRUE(check(p, 0, NP, SEED + 5));
}

LAZY_TEST(migrate_shared)
{
	char *p = map_filled(slot(self, 0), NP, SEED);
	void *pages[NP];
	int status[NP];
	int nodes[NP];
	struct kid k;

	if (!self->numa)
		SKIP(return, NO_NUMA);
	ASSERT_NE(p, NULL);
	ASSERT_TRUE(migrate_to(0, p, NP, self->node[0], MPOL_MF_MOVE));
	begin();
	if (kid_spawn(&k)) {
		bool ok = check(p, 0, NP, SEED);

		kid_pause(&k, ok);
		ok = check(p, 0, NP, SEED);
		ok &= migrate_to(0, p, NP, self->node[0], MPOL_MF_MOVE_ALL);
		ok &= check(p, 0, NP, SEED);
		kid_pause(&k, ok);
		fill(p, 0, NP / 2, SEED2);
		/* Now there are pages of its own, and shared ones. */
		ok &= migrate_to(0, p, NP, self->node[1], MPOL_MF_MOVE_ALL);
		ok &= check(p, 0, NP / 2, SEED2);
		kid_pause(&k, ok);
		ok = check(p, 0, NP / 2, SEED2);
		kid_exit(ok && check(page(p, NP / 2), NP / 2, NP / 2, SEED));
	}
	ASSERT_GT(k.pid, 0);
	ASSERT_TRUE(kid_paused(&k));
	EXPECT_UPGRADED(1);

	/* What somebody else has mapped too is not for MPOL_MF_MOVE. */
	for (unsigned int i = 0; i < NP; i++) {
		pages[i] = page(p, i);
		nodes[i] = self->node[1];
	}
	ASSERT_GE(sys_move_pages(0, NP, pages, nodes, status, MPOL_MF_MOVE), 0);
	for (unsigned int i = 0; i < NP; i++)
		EXPECT_EQ(status[i], -EACCES);

	ASSERT_TRUE(migrate_to(0, p, NP, self->node[1], MPOL_MF_MOVE_ALL));
	EXPECT_EQ(count_same(getpid(), p, k.pid, p, NP), NP);
	ASSERT_TRUE(check(p, 0, NP, SEED));
	kid_go(&k);
	ASSERT_TRUE(kid_paused(&k));
	EXPECT_EQ(count_on_node(0, p, NP, self->node[0]), NP);
	EXPECT_EQ(count_same(getpid(), p, k.pid, p, NP), NP);
	ASSERT_TRUE(check(p, 0, NP, SEED));
	kid_go(&k);
	ASSERT_TRUE(kid_paused(&k));
	EXPECT_EQ(count_on_node(0, p, NP / 2, self->node[0]), NP / 2);
	EXPECT_EQ(count_on_node(0, page(p, NP / 2), NP / 2, self->node[1]),
		  NP / 2);
	ASSERT_TRUE(check(p, 0, NP, SEED));

	/* And on the other's behalf. */
	ASSERT_TRUE(migrate_to(k.pid, p, NP, self->node[0], MPOL_MF_MOVE_ALL));
	EXPECT_EQ(count_same(getpid(), p, k.pid, p, NP), NP / 2);
	ASSERT_TRUE(check(p, 0, NP, SEED));
	ASSERT_TRUE(kid_finish(&k));
	ASSERT_TRUE(migrate_to(0, p, NP, self->node[1], MPOL_MF_MOVE));
	ASSERT_TRUE(check(p, 0, NP, SEED));
}

static long sys_mbind(char *p, size_t len, int mode, int node, int flags)
{
	unsigned long mask[16] = { 0 };

	if (node >= 0)
		mask[node / (8 * sizeof(long))] |= 1ul << node % (8 * sizeof(long));
	return syscall(__NR_mbind, p, len, mode, mask, sizeof(mask) * 8, flags);
}

LAZY_TEST(migrate_mbind)
{
	char *p = map_filled(slot(self, 0), NP, SEED);
	char *q = map_filled(slot(self, 1), NP, SEED2);
	unsigned int there = 0;

	if (!self->numa)
		SKIP(return, NO_NUMA);
	ASSERT_NE(p, NULL);
	ASSERT_NE(q, NULL);
	ASSERT_TRUE(migrate_to(0, p, NP, self->node[0], MPOL_MF_MOVE));
	ASSERT_TRUE(migrate_to(0, q, NP, self->node[0], MPOL_MF_MOVE));
	begin();
	/* All of a VMA is given a policy, which leaves it lazy, ... */
	for (unsigned int i = 0; i < TRIES && there < NP; i++) {
		sys_mbind(p, bytes(NP), MPOL_BIND, self->node[1], MPOL_MF_MOVE);
		there = count_on_node(0, p, NP, self->node[1]);
	}
	EXPECT_EQ(there, NP);
	EXPECT_NO_UPGRADE();
	ASSERT_TRUE(check(p, 0, NP, SEED));
	/* ... or a part, which splits it. */
	there = 0;
	for (unsigned int i = 0; i < TRIES && there < NP / 2; i++) {
		sys_mbind(page(q, NP / 4), bytes(NP / 2), MPOL_BIND,
			  self->node[1], MPOL_MF_MOVE | MPOL_MF_STRICT);
		there = count_on_node(0, page(q, NP / 4), NP / 2,
				      self->node[1]);
	}
	EXPECT_EQ(there, NP / 2);
	EXPECT_SPLIT(1);
	EXPECT_EQ(count_vmas(q, NP), 3);
	EXPECT_EQ(count_on_node(0, q, NP / 4, self->node[0]), NP / 4);
	ASSERT_TRUE(check(q, 0, NP, SEED2));
	ASSERT_EQ(sys_mbind(q, bytes(NP), MPOL_DEFAULT, -1, 0), 0);
	EXPECT_EQ(count_vmas(q, NP), 1);
	ASSERT_TRUE(shake(self, q, NP));
	ASSERT_TRUE(check(q, 0, NP, SEED2));
	EXPECT_LAZY_IF(variant->setup, p, NP);
	ASSERT_TRUE(check(p, 0, NP, SEED));
}

/* All pages of a process at once, with its stack, heap and program. */
LAZY_TEST(migrate_process)
{
	char *p = map_filled(slot(self, 0), NP, SEED);
	struct kid k;

	if (!self->numa)
		SKIP(return, NO_NUMA);
	ASSERT_NE(p, NULL);
	ASSERT_TRUE(migrate_to(0, p, NP, self->node[0], MPOL_MF_MOVE));
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
		int a = self->node[!(i & 1)], b = self->node[i & 1];

		from[a / bits] |= 1ul << a % bits;
		to[b / bits] |= 1ul << b % bits;
		/* Alternately the child, whose own half it is, and all. */
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
LAZY_TEST(migrate_after)
{
	char *p = map_filled(slot(self, 0), NP, SEED), *q = slot(self, 1);
	struct kid k;

	if (!self->numa)
		SKIP(return, NO_NUMA);
	ASSERT_NE(p, NULL);
	ASSERT_TRUE(migrate_to(0, p, NP, self->node[0], MPOL_MF_MOVE));
	begin();
	ASSERT_EQ(mprotect(page(p, NP / 4), bytes(NP / 4), PROT_READ), 0);
	EXPECT_SPLIT(1);
	ASSERT_TRUE(migrate_to(0, p, NP, self->node[1], MPOL_MF_MOVE));
	ASSERT_TRUE(check(p, 0, NP, SEED));
	ASSERT_EQ(mremap(page(p, NP / 2), bytes(NP / 2), bytes(NP / 2),
			 MREMAP_MAYMOVE | MREMAP_FIXED, q), q);
	ASSERT_TRUE(migrate_to(0, p, NP / 2, self->node[0], MPOL_MF_MOVE));
	ASSERT_TRUE(migrate_to(0, q, NP / 2, self->node[0], MPOL_MF_MOVE));
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
	ASSERT_TRUE(migrate_to(0, p, NP / 2, self->node[1], MPOL_MF_MOVE_ALL));
	ASSERT_TRUE(migrate_to(0, q, NP / 2, self->node[1], MPOL_MF_MOVE_ALL));
	EXPECT_EQ(count_same(getpid(), p, k.pid, p, NP / 2), NP / 2);
	EXPECT_EQ(count_same(getpid(), q, k.pid, q, NP / 2), NP / 2);
	ASSERT_TRUE(check(p, 0, NP / 2, SEED));
	ASSERT_TRUE(check(q, NP / 2, NP / 2, SEED));
	ASSERT_TRUE(kid_finish(&k));
	ASSERT_TRUE(migrate_to(0, p, NP / 2, self->node[0], MPOL_MF_MOVE));
	ASSERT_TRUE(check(p, 0, NP / 2, SEED));
	ASSERT_TRUE(check(q, NP / 2, NP / 2, SEED));
}

/* Compaction takes what it likes; contents are all there is to see. */
LAZY_TEST(migrate_compact)
{
	char *p = map_filled(slot(self, 0), MAX_PAGES, SEED);
	struct kid k;

	ASSERT_NE(p, NULL);
	/* Holes, for compaction to have a reason. */
	for (unsigned int i = 0; i < MAX_PAGES; i += 3)
		ASSERT_EQ(madvise(page(p, i), psize(), MADV_DONTNEED), 0);
	begin();
	if (write_string("/proc/sys/vm/compact_memory", "1"))
		SKIP(return, "no compaction");
	EXPECT_NO_UPGRADE();
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
	write_string("/proc/sys/vm/compact_memory", "1");
	for (unsigned int i = 1; i < MAX_PAGES; i += 1 + (i % 3 == 2))
		ASSERT_TRUE(check_page(page(p, i), SEED, i));
	ASSERT_TRUE(kid_finish(&k));
}

/* === Transparent huge pages === */

/*
 * A place for a huge page, in a VMA that starts and ends with it (as long as @i
 * is odd). Returns NULL if none was to be had when it was filled.
 */
static char *map_thp(FIXTURE_DATA(anon_vma) * self, unsigned int i, uint64_t seed)
{
	unsigned int n = self->pmd_size / psize();
	char *p = self->arena + i * self->pmd_size;

	if (!map(p, n) || madvise(p, self->pmd_size, MADV_HUGEPAGE))
		return NULL;
	fill(p, 0, n, seed);
	return check_huge_anon(p, self->pmd_size, 1, self->pmd_size) ? p : NULL;
}

/* Returns why there can be no test of huge pages, or NULL. */
static const char *no_thp(FIXTURE_DATA(anon_vma) * self)
{
	if (!thp_is_enabled() || !self->pmd_size)
		return "no transparent huge pages";
	if (self->pmd_size > MAX_PAGES * (size_t)psize() ||
	    self->pmd_size * 8 > self->arena_size)
		return "huge pages are too large";
	return NULL;
}

LAZY_TEST(thp_fault)
{
	const unsigned int n = self->pmd_size / psize();
	char *p;

	if (no_thp(self))
		SKIP(return, "%s", no_thp(self));
	begin();
	p = map_thp(self, 1, SEED);
	if (!p)
		SKIP(return, NO_THP);
	EXPECT_BECAME_LAZY(1);
	ASSERT_TRUE(check(p, 0, n, SEED));
	ASSERT_TRUE(shake(self, p, n));
	ASSERT_TRUE(check(p, 0, n, SEED));
	EXPECT_LAZY_IF(variant->action, p, n);
	ASSERT_TRUE(check(p, 0, n, SEED));
}

/* A part of a huge page goes, the rest of it stays. */
LAZY_TEST(thp_munmap)
{
	const unsigned int n = self->pmd_size / psize();
	char *p[3];

	if (no_thp(self))
		SKIP(return, "%s", no_thp(self));
	for (unsigned int i = 0; i < 3; i++) {
		p[i] = map_thp(self, 2 * i + 1, SEED + i);
		if (!p[i])
			SKIP(return, NO_THP);
	}
	begin();
	for (unsigned int i = 0; i < 3; i++) {
		/* The end, the start, the middle. */
		unsigned int from = i == 1 ? 0 : i ? n / 4 : n / 2;
		unsigned int end = from + n / 2;

		window(self);
		ASSERT_EQ(munmap(page(p[i], from), bytes(n / 2)), 0);
		EXPECT_SPLIT(1);
		for (unsigned int j = 0; j < 2; j++) {
			ASSERT_TRUE(check(p[i], 0, from, SEED + i));
			ASSERT_TRUE(check(page(p[i], end), end, n - end,
					  SEED + i));
			if (from)
				ASSERT_TRUE(shake(self, p[i], from));
			if (end < n)
				ASSERT_TRUE(shake(self, page(p[i], end),
						  n - end));
		}
		ASSERT_TRUE(check(p[i], 0, from, SEED + i));
		ASSERT_TRUE(check(page(p[i], end), end, n - end, SEED + i));
	}
}

/* One folio in three VMAs. */
LAZY_TEST(thp_mprotect)
{
	const unsigned int n = self->pmd_size / psize();
	char *p;

	if (no_thp(self))
		SKIP(return, "%s", no_thp(self));
	p = map_thp(self, 1, SEED);
	if (!p)
		SKIP(return, NO_THP);
	begin();
	ASSERT_EQ(mprotect(page(p, n / 4), bytes(n / 2), PROT_READ), 0);
	EXPECT_SPLIT(1);
	EXPECT_EQ(count_vmas(p, n), 3);
	ASSERT_TRUE(check(p, 0, n, SEED));
	if (self->numa) {
		ASSERT_TRUE(migrate_to(0, p, n, self->node[1], MPOL_MF_MOVE));
		ASSERT_TRUE(check(p, 0, n, SEED));
	}
	ASSERT_TRUE(shake(self, p, n));
	ASSERT_TRUE(check(p, 0, n, SEED));
	ASSERT_EQ(mprotect(page(p, n / 4), bytes(n / 2),
			   PROT_READ | PROT_WRITE), 0);
	EXPECT_EQ(count_vmas(p, n), 1);
	fill(p, 0, n, SEED2);
	ASSERT_TRUE(shake(self, p, n));
	ASSERT_TRUE(check(p, 0, n, SEED2));
}

LAZY_TEST(thp_fork)
{
	const unsigned int n = self->pmd_size / psize();
	static uint64_t seed[MAX_PAGES];
	struct kid k;
	char *p;

	if (no_thp(self))
		SKIP(return, "%s", no_thp(self));
	p = map_thp(self, 1, SEED);
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
	EXPECT_UPGRADED(1);
	if (self->numa)
		ASSERT_TRUE(migrate_to(0, p, n, self->node[1],
				       MPOL_MF_MOVE_ALL));
	EXPECT_EQ(count_same(getpid(), p, k.pid, p, n), n);
	kid_go(&k);
	ASSERT_TRUE(kid_paused(&k));
	ASSERT_TRUE(check_seeds(p, seed, n));
	if (self->numa)
		ASSERT_TRUE(migrate_to(0, p, n, self->node[0],
				       MPOL_MF_MOVE_ALL));
	EXPECT_EQ(count_same(getpid(), p, k.pid, p, n), n - (n + 6) / 7);
	for (unsigned int i = 0; i < n; i += 5)
		set_page(p, seed, i, SEED3);
	kid_go(&k);
	ASSERT_TRUE(kid_paused(&k));
	ASSERT_TRUE(check_seeds(p, seed, n));
	ASSERT_TRUE(kid_finish(&k));
	ASSERT_TRUE(shake(self, p, n));
	ASSERT_TRUE(check_seeds(p, seed, n));
}

static bool collapse(char *p, size_t size)
{
	for (unsigned int i = 0; i < TRIES; i++) {
		if (i)
			usleep(1000);
		if (!madvise(p, size, MADV_COLLAPSE))
			return true;
		if (errno != EAGAIN && errno != EBUSY && errno != ENOMEM)
			break;
	}
	return false;
}

/* Small pages become a huge one; those of a child that it shares, too. */
LAZY_TEST(thp_collapse)
{
	const unsigned int n = self->pmd_size / psize();
	struct kid k;
	char *p;

	if (no_thp(self))
		SKIP(return, "%s", no_thp(self));
	p = self->arena + self->pmd_size;
	ASSERT_NE(map(p, n), NULL);
	ASSERT_EQ(madvise(p, self->pmd_size, MADV_NOHUGEPAGE), 0);
	fill(p, 0, n, SEED);
	ASSERT_EQ(madvise(p, self->pmd_size, MADV_HUGEPAGE), 0);
	begin();
	if (!collapse(p, self->pmd_size))
		SKIP(return, "MADV_COLLAPSE: %s", strerror(errno));
	EXPECT_TRUE(check_huge_anon(p, self->pmd_size, 1, self->pmd_size));
	EXPECT_NO_UPGRADE();
	ASSERT_TRUE(check(p, 0, n, SEED));
	ASSERT_TRUE(shake(self, p, n));
	ASSERT_TRUE(check(p, 0, n, SEED));

	window(self);
	if (kid_spawn(&k)) {
		bool ok;

		fill(p, 0, n / 2, SEED2);
		kid_pause(&k, true);
		/* Half of it its own, and half its parent's. */
		ok = collapse(p, self->pmd_size);
		ok &= check_huge_anon(p, self->pmd_size, 1, self->pmd_size);
		ok &= check(p, 0, n / 2, SEED2);
		ok &= check(page(p, n / 2), n / 2, n / 2, SEED);
		ok &= shake(self, p, n);
		kid_pause(&k, ok);
		ok = check(p, 0, n / 2, SEED2);
		kid_exit(ok && check(page(p, n / 2), n / 2, n / 2, SEED));
	}
	ASSERT_GT(k.pid, 0);
	ASSERT_TRUE(kid_paused(&k));
	/* It had been lazy still. */
	EXPECT_UPGRADED(1);
	kid_go(&k);
	ASSERT_TRUE(kid_paused(&k));
	ASSERT_TRUE(check(p, 0, n, SEED));
	EXPECT_TRUE(collapse(p, self->pmd_size));
	ASSERT_TRUE(check(p, 0, n, SEED));
	ASSERT_TRUE(kid_finish(&k));
	ASSERT_TRUE(shake(self, p, n));
	ASSERT_TRUE(check(p, 0, n, SEED));
}

LAZY_TEST(thp_swap)
{
	const unsigned int n = self->pmd_size / psize();
	struct kid k;
	char *p, *q;

	if (!self->swap)
		SKIP(return, NO_SWAP);
	if (no_thp(self))
		SKIP(return, "%s", no_thp(self));
	p = map_thp(self, 1, SEED);
	if (!p)
		SKIP(return, NO_THP);
	q = map_thp(self, 3, SEED2);
	if (!q)
		SKIP(return, NO_THP);
	begin();
	ASSERT_TRUE(swap_out(p, n));
	/* A part of one, so that it has to be split. */
	ASSERT_TRUE(swap_out(page(q, n / 4), n / 2));
	EXPECT_EQ(count_present(getpid(), q, n), n / 2);
	EXPECT_NO_UPGRADE();
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
LAZY_TEST(thp_mremap)
{
	const unsigned int n = self->pmd_size / psize();
	char *p, *q, *r;

	if (no_thp(self))
		SKIP(return, "%s", no_thp(self));
	p = map_thp(self, 1, SEED);
	if (!p)
		SKIP(return, NO_THP);
	q = self->arena + 3 * self->pmd_size;
	r = page(self->arena + 5 * self->pmd_size, 3);
	begin();
	ASSERT_EQ(mremap(p, self->pmd_size, self->pmd_size,
			 MREMAP_MAYMOVE | MREMAP_FIXED, q), q);
	EXPECT_SPLIT(1);
	EXPECT_TRUE(check_huge_anon(q, self->pmd_size, 1, self->pmd_size));
	ASSERT_TRUE(check(q, 0, n, SEED));
	if (self->numa) {
		ASSERT_TRUE(migrate_to(0, q, n, self->node[1], MPOL_MF_MOVE));
		ASSERT_TRUE(check(q, 0, n, SEED));
	}
	ASSERT_EQ(mremap(q, self->pmd_size, self->pmd_size,
			 MREMAP_MAYMOVE | MREMAP_FIXED, r), r);
	ASSERT_TRUE(check(r, 0, n, SEED));
	ASSERT_TRUE(shake(self, r, n));
	ASSERT_TRUE(check(r, 0, n, SEED));
	/* Back to where it was mapped first, but half of it. */
	ASSERT_EQ(mremap(page(r, n / 2), bytes(n / 2), bytes(n / 2),
			 MREMAP_MAYMOVE | MREMAP_FIXED, page(p, n / 2)),
		  page(p, n / 2));
	ASSERT_TRUE(shake(self, page(p, n / 2), n / 2));
	ASSERT_TRUE(check(page(p, n / 2), n / 2, n / 2, SEED));
	ASSERT_TRUE(check(r, 0, n / 2, SEED));
}

/* Split the folio itself, while a VMA is lazy, and when two have it mapped. */
LAZY_TEST(thp_split)
{
	const unsigned int n = self->pmd_size / psize();
	char *p, *q, cmd[96];
	struct kid k;

	if (no_thp(self))
		SKIP(return, "%s", no_thp(self));
	if (access(SPLIT_THP, W_OK))
		SKIP(return, "no " SPLIT_THP);
	p = map_thp(self, 1, SEED);
	if (!p)
		SKIP(return, NO_THP);
	q = map_thp(self, 3, SEED2);
	if (!q)
		SKIP(return, NO_THP);
	begin();
	snprintf(cmd, sizeof(cmd), "%d,0x%lx,0x%lx,0", getpid(),
		 (unsigned long)p, (unsigned long)p + self->pmd_size);
	ASSERT_EQ(write_string(SPLIT_THP, cmd), 0);
	EXPECT_TRUE(check_huge_anon(p, self->pmd_size, 0, self->pmd_size));
	EXPECT_NO_UPGRADE();
	ASSERT_TRUE(check(p, 0, n, SEED));
	ASSERT_TRUE(shake(self, p, n));
	ASSERT_TRUE(check(p, 0, n, SEED));

	window(self);
	if (kid_spawn(&k)) {
		bool ok = check(q, 0, n, SEED2);

		kid_pause(&k, ok);
		ok = check(q, 0, n, SEED2);
		fill(q, 0, n / 2, SEED3);
		ok &= check(q, 0, n / 2, SEED3);
		kid_exit(ok && check(page(q, n / 2), n / 2, n / 2, SEED2));
	}
	ASSERT_GT(k.pid, 0);
	ASSERT_TRUE(kid_paused(&k));
	/* Both had been lazy still. */
	EXPECT_UPGRADED(2);
	/* First a split of the VMA, which then has the folio in two. */
	ASSERT_EQ(mprotect(page(q, n / 2), bytes(n / 2), PROT_READ), 0);
	snprintf(cmd, sizeof(cmd), "%d,0x%lx,0x%lx,0", getpid(),
		 (unsigned long)q, (unsigned long)q + self->pmd_size);
	ASSERT_EQ(write_string(SPLIT_THP, cmd), 0);
	EXPECT_EQ(count_same(getpid(), q, k.pid, q, n), n);
	ASSERT_TRUE(check(q, 0, n, SEED2));
	ASSERT_TRUE(kid_finish(&k));
	ASSERT_TRUE(shake(self, q, n));
	ASSERT_TRUE(check(q, 0, n, SEED2));
}

/* Folios of a few pages, over the borders of which VMAs are split. */
LAZY_TEST(thp_small)
{
	static const char path[] = THP("hugepages-64kB/enabled");
	const unsigned int n = 64;
	char *p;

	if (access(path, W_OK) || write_string(path, "madvise"))
		SKIP(return, "no 64 kB folios");
	p = map(slot(self, 0), n);
	ASSERT_NE(p, NULL);
	ASSERT_EQ(madvise(p, bytes(n), MADV_HUGEPAGE), 0);
	fill(p, 0, n, SEED);
	begin();
	ASSERT_TRUE(shake(self, p, n));
	ASSERT_TRUE(check(p, 0, n, SEED));
	fill(p, 0, n, SEED);
	EXPECT_NO_UPGRADE();
	ASSERT_EQ(mprotect(page(p, 9), bytes(30), PROT_READ), 0);
	EXPECT_SPLIT(1);
	ASSERT_TRUE(shake(self, p, n));
	ASSERT_TRUE(check(p, 0, n, SEED));
	ASSERT_EQ(munmap(page(p, 5), bytes(7)), 0);
	ASSERT_TRUE(shake(self, page(p, 12), n - 12));
	ASSERT_TRUE(check(p, 0, 5, SEED));
	ASSERT_TRUE(check(page(p, 12), 12, n - 12, SEED));
	EXPECT_STAYED_LAZY();
}

/* === KSM === */

static bool ksm_merge(long pages)
{
	/* A page has to be found unchanged before it is a candidate. */
	for (unsigned int i = 0; i < 6; i++) {
		if (ksm_start())
			return false;
		if (ksm_get_self_merging_pages() >= pages)
			return true;
	}
	complain("KSM has merged %ld of %ld pages",
		 ksm_get_self_merging_pages(), pages);
	return false;
}

LAZY_TEST(ksm)
{
	char *p = map_filled(slot(self, 0), NP, SEED);
	char *q = map_filled(slot(self, 1), NP, SEED);
	char *r = map_filled(slot(self, 2), NP, SEED2);
	struct kid k;

	if (access(KSM("run"), W_OK) || ksm_get_full_scans() < 0)
		SKIP(return, "no KSM");
	ASSERT_NE(p, NULL);
	ASSERT_NE(q, NULL);
	ASSERT_NE(r, NULL);
	write_string(KSM("sleep_millisecs"), "0");
	write_string(KSM("pages_to_scan"), "1000");
	begin();
	if (madvise(p, bytes(NP), MADV_MERGEABLE))
		SKIP(return, "MADV_MERGEABLE: %s", strerror(errno));
	ASSERT_EQ(madvise(q, bytes(NP), MADV_MERGEABLE), 0);
	ASSERT_EQ(madvise(r, bytes(NP), MADV_MERGEABLE), 0);
	EXPECT_NO_UPGRADE();
	ASSERT_TRUE(ksm_merge(2 * NP));
	/* Pages of p and of q are shared now, though by nobody's fork. */
	EXPECT_UPGRADED(2);
	EXPECT_EQ(count_same(getpid(), p, getpid(), q, NP), NP);
	ASSERT_TRUE(check(p, 0, NP, SEED));
	ASSERT_TRUE(check(q, 0, NP, SEED));
	ASSERT_TRUE(check(r, 0, NP, SEED2));

	/* They stay merged. Who goes on to look at them is in the way of their migration. */
	ASSERT_EQ(write_string(KSM("run"), "0"), 0);
	if (self->numa) {
		ASSERT_TRUE(migrate_to(0, p, NP, self->node[1],
				       MPOL_MF_MOVE_ALL));
		EXPECT_EQ(count_same(getpid(), p, getpid(), q, NP), NP);
		ASSERT_TRUE(migrate_to(0, q, NP, self->node[0],
				       MPOL_MF_MOVE_ALL));
		EXPECT_EQ(count_same(getpid(), p, getpid(), q, NP), NP);
	}

	/* Copies are made for who writes. */
	fill(q, 0, NP / 2, SEED3);
	ASSERT_TRUE(check(p, 0, NP, SEED));
	ASSERT_TRUE(check(q, 0, NP / 2, SEED3));
	ASSERT_TRUE(check(page(q, NP / 2), NP / 2, NP / 2, SEED));
	EXPECT_EQ(count_same(getpid(), p, getpid(), q, NP), NP / 2);

	if (kid_spawn(&k)) {
		bool ok = check(p, 0, NP, SEED);

		fill(p, 0, 4, SEED2);
		kid_pause(&k, ok);
		ok = check(p, 0, 4, SEED2);
		ok &= check(page(p, 4), 4, NP - 4, SEED);
		ok &= check(page(q, NP / 2), NP / 2, NP / 2, SEED);
		kid_exit(ok && check(r, 0, NP, SEED2));
	}
	ASSERT_GT(k.pid, 0);
	ASSERT_TRUE(kid_paused(&k));
	ASSERT_EQ(mprotect(page(p, NP / 4), bytes(NP / 4), PROT_READ), 0);
	ASSERT_EQ(munmap(page(p, NP - 4), bytes(4)), 0);
	ASSERT_TRUE(check(p, 0, NP - 4, SEED));

	/* Everybody gets his own again. */
	ASSERT_EQ(ksm_stop(), 0);
	EXPECT_EQ(count_same(getpid(), p, getpid(), q, NP), 0);
	ASSERT_TRUE(check(p, 0, NP - 4, SEED));
	ASSERT_TRUE(check(q, 0, NP / 2, SEED3));
	ASSERT_TRUE(check(page(q, NP / 2), NP / 2, NP / 2, SEED));
	ASSERT_TRUE(check(r, 0, NP, SEED2));
	ASSERT_TRUE(kid_finish(&k));
	/* The pages from before the merge, which is what r still has. */
	ASSERT_TRUE(shake(self, r, NP));
	ASSERT_TRUE(shake(self, q, NP));
	ASSERT_TRUE(check(q, 0, NP / 2, SEED3));
	ASSERT_TRUE(check(page(q, NP / 2), NP / 2, NP / 2, SEED));
	ASSERT_TRUE(check(r, 0, NP, SEED2));
}

/* KSM remembers pages whose VMA is gone before they ever merged. */
LAZY_TEST(ksm_gone)
{
	char *r = map_filled(slot(self, 2), NP, SEED2);
	struct kid k;

	ASSERT_NE(r, NULL);
	if (access(KSM("run"), W_OK) || ksm_get_full_scans() < 0)
		SKIP(return, "no KSM");
	write_string(KSM("sleep_millisecs"), "0");
	write_string(KSM("pages_to_scan"), "1000");
	/* Without anything to scan ksmd would never come to an end of it. */
	if (madvise(r, bytes(NP), MADV_MERGEABLE))
		SKIP(return, "MADV_MERGEABLE: %s", strerror(errno));
	begin();
	for (unsigned int round = 0; round < 3; round++) {
		if (kid_spawn(&k)) {
			char *p = map_filled(slot(self, 0), NP, SEED);
			char *q = map_filled(slot(self, 1), NP, SEED);
			bool ok = p && q;

			ok &= !madvise(p, bytes(NP), MADV_MERGEABLE);
			ok &= !madvise(q, bytes(NP), MADV_MERGEABLE);
			ok &= ksm_merge(round ? 2 * NP : 0);
			if (round == 1)
				ok &= !munmap(p, bytes(NP));
			else
				ok &= check(p, 0, NP, SEED);
			kid_exit(ok & check(q, 0, NP, SEED));
		}
		ASSERT_GT(k.pid, 0);
		ASSERT_TRUE(kid_end(&k));
	}
	ASSERT_EQ(ksm_start(), 0);
	ASSERT_EQ(ksm_stop(), 0);
	ASSERT_TRUE(check(r, 0, NP, SEED2));
}

/* === userfaultfd === */

static int uffd_open(uint64_t features)
{
	struct uffdio_api api = {
		.api = UFFD_API,
		.features = features,
	};
	int fd = syscall(__NR_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);

	if (fd >= 0 && ioctl(fd, UFFDIO_API, &api)) {
		close(fd);
		fd = -1;
	}
	return fd;
}

static bool uffd_move(int fd, char *dst, char *src, unsigned int n)
{
	for (unsigned int i = 0; i < n; i++) {
		struct uffdio_move move = {
			.dst = (unsigned long)page(dst, i),
			.src = (unsigned long)page(src, i),
			.len = psize(),
		};
		unsigned int try = 0;

		while (ioctl(fd, UFFDIO_MOVE, &move)) {
			if (errno != EAGAIN || try++ > TRIES) {
				complain("UFFDIO_MOVE of page %u: %s", i,
					 strerror(errno));
				return false;
			}
			move.move = 0;
		}
	}
	return true;
}

/* Pages change their VMA without any VMA operation. */
LAZY_TEST(uffd_move)
{
	char *p = map_filled(slot(self, 0), NP, SEED);
	char *q = map(slot(self, 1), NP);
	char *r = map(slot(self, 2), NP);
	uint64_t pfn[NP], pfn2[NP];
	struct kid k;
	int fd;

	ASSERT_NE(p, NULL);
	ASSERT_NE(q, NULL);
	ASSERT_NE(r, NULL);
	/* One has pages of its own, the other was not touched yet. */
	fill(r, 0, NP / 2, SEED2);
	fd = uffd_open(UFFD_FEATURE_MOVE);
	if (fd < 0)
		SKIP(return, "no UFFDIO_MOVE");
	ASSERT_EQ(uffd_register(fd, q, bytes(NP), true, false, false), 0);
	ASSERT_EQ(uffd_register(fd, r, bytes(NP), true, false, false), 0);

	begin();
	get_pfns(p, NP, pfn);
	ASSERT_TRUE(uffd_move(fd, q, p, NP));
	EXPECT_BECAME_LAZY(1);
	EXPECT_NO_UPGRADE();
	get_pfns(q, NP, pfn2);
	EXPECT_EQ(memcmp(pfn, pfn2, sizeof(pfn)), 0);
	ASSERT_TRUE(check(q, 0, NP, SEED));
	ASSERT_TRUE(check_zero(p, NP));
	ASSERT_TRUE(shake(self, q, NP));
	ASSERT_TRUE(check(q, 0, NP, SEED));
	fill(p, 0, NP, SEED3);

	/* Once more, half of them, to where others are already. */
	ASSERT_TRUE(uffd_move(fd, page(r, NP / 2), page(q, NP / 2), NP / 2));
	ASSERT_EQ(uffd_unregister(fd, q, bytes(NP)), 0);
	ASSERT_EQ(uffd_unregister(fd, r, bytes(NP)), 0);
	for (unsigned int i = 0; i < 2; i++) {
		ASSERT_TRUE(check(p, 0, NP, SEED3));
		ASSERT_TRUE(check(q, 0, NP / 2, SEED));
		ASSERT_TRUE(check_zero(page(q, NP / 2), NP / 2));
		ASSERT_TRUE(check(r, 0, NP / 2, SEED2));
		ASSERT_TRUE(check(page(r, NP / 2), NP / 2, NP / 2, SEED));
		ASSERT_TRUE(shake(self, p, NP));
		ASSERT_TRUE(shake(self, q, NP / 2));
		ASSERT_TRUE(shake(self, r, NP));
	}

	/* Swap entries are moved as well. */
	if (self->swap) {
		ASSERT_EQ(munmap(q, bytes(NP)), 0);
		ASSERT_NE(map(q, NP), NULL);
		ASSERT_EQ(uffd_register(fd, q, bytes(NP), true, false, false),
			  0);
		ASSERT_TRUE(swap_out(r, NP));
		ASSERT_TRUE(uffd_move(fd, q, r, NP));
		ASSERT_EQ(uffd_unregister(fd, q, bytes(NP)), 0);
		ASSERT_TRUE(check(q, 0, NP / 2, SEED2));
		ASSERT_TRUE(check(page(q, NP / 2), NP / 2, NP / 2, SEED));
		ASSERT_TRUE(check_zero(r, NP));
		r = q;
	}

	window(self);
	if (kid_spawn(&k)) {
		bool ok = check(r, 0, NP / 2, SEED2);

		ok &= check(page(r, NP / 2), NP / 2, NP / 2, SEED);
		kid_pause(&k, ok);
		ok = check(r, 0, NP / 2, SEED2);
		ok &= check(page(r, NP / 2), NP / 2, NP / 2, SEED);
		kid_exit(ok && check(p, 0, NP, SEED3));
	}
	ASSERT_GT(k.pid, 0);
	ASSERT_TRUE(kid_paused(&k));
	/* Those touched before begin(), and q. */
	EXPECT_EVENTS(EV_UPGRADE, 1, variant->setup || variant->action);
	if (self->numa) {
		ASSERT_TRUE(migrate_to(0, r, NP, self->node[1],
				       MPOL_MF_MOVE_ALL));
		EXPECT_EQ(count_same(getpid(), r, k.pid, r, NP), NP);
	}
	/* p, whose pages went, and the last to have them, by their parent. */
	ASSERT_EQ(munmap(p, bytes(NP)), 0);
	ASSERT_TRUE(check(r, 0, NP / 2, SEED2));
	ASSERT_TRUE(check(page(r, NP / 2), NP / 2, NP / 2, SEED));
	ASSERT_TRUE(kid_finish(&k));
	ASSERT_TRUE(shake(self, r, NP));
	ASSERT_TRUE(check(r, 0, NP / 2, SEED2));
	ASSERT_TRUE(check(page(r, NP / 2), NP / 2, NP / 2, SEED));
	close(fd);
}

/* === Device memory === */

#define NO_COHERENT "no " COHERENT ", for which test_hmm wants spm_addr_dev0 and spm_addr_dev1"

/* Which pages go to the device: one or two, after one to three others. */
static bool for_device(unsigned int i)
{
	return i % 8 == 2 || i % 8 == 5 || i % 8 == 6;
}

/* Have the driver do something with one page. */
static bool mirror(int fd, unsigned long request, char *p, char *buf)
{
	struct hmm_dmirror_cmd cmd = {
		.addr = (unsigned long)p,
		.ptr = (unsigned long)buf,
		.npages = 1,
	};

	return !ioctl(fd, request, &cmd) && cmd.cpages == 1;
}

/*
 * Migrate a page until it is there. Whoever invalidates what the device has mapped, as
 * NUMA balancing does, lets the driver fail after it has migrated the page.
 */
static bool mirror_migrate(int fd, char *p, char *buf, bool device)
{
	const unsigned char local = HMM_DMIRROR_PROT_DEV_COHERENT_LOCAL;

	for (int try = 0; try < TRIES; try++) {
		/* It may be on its way to the disk. */
		usleep(try * try * 1000);
		mirror(fd, device ? HMM_DMIRROR_MIGRATE_TO_DEV : HMM_DMIRROR_MIGRATE_TO_SYS,
		       p, buf);
		if (mirror(fd, HMM_DMIRROR_SNAPSHOT, p, buf) && ((*buf & 0xf0) == local) == device)
			return true;
	}
	complain("%p is not migrated %s the device", p, device ? "to" : "from");
	return false;
}

/*
 * Migrate some of the pages to coherent device memory, which the CPU maps as it does
 * any other. Says which page frames they have there; @pfn of the others is zero.
 */
static bool to_device(int fd, char *p, unsigned int n, char *buf, uint64_t *pfn)
{
	for (unsigned int i = 0; i < n; i++) {
		pfn[i] = 0;
		if (!for_device(i))
			continue;
		if (!mirror_migrate(fd, page(p, i), buf, true))
			return false;
		if (!mirror(fd, HMM_DMIRROR_READ, page(p, i), buf) ||
		    memcmp(buf, page(p, i), psize())) {
			complain("%p: the device reads something else", page(p, i));
			return false;
		}
		get_pfns(page(p, i), 1, &pfn[i]);
	}
	return true;
}

/* How many pages are where to_device() has put them? */
static unsigned int count_there(pid_t pid, char *p, unsigned int n, const uint64_t *pfn)
{
	int fd = pagemap_open(pid);
	unsigned int count = 0;

	for (unsigned int i = 0; i < n; i++) {
		uint64_t entry = pm_entry(fd, page(p, i));

		count += pfn[i] && (entry & PM_PRESENT) && PAGEMAP_PFN(entry) == pfn[i];
	}
	close(fd);
	return count;
}

/* A driver that is closed takes all pages from its device, whoever has them mapped. */
static bool evict(pid_t pid, char *p, char *q, unsigned int n, const uint64_t *pfn)
{
	unsigned int left;

	for (int try = 0; try < TRIES; try++) {
		close(open(COHERENT, O_RDWR));
		left = count_there(pid, p, n, pfn) + count_there(pid, q, n, pfn);
		if (!left)
			return true;
		usleep(1000);
	}
	complain("%u pages of %d stay in device memory", left, pid);
	return false;
}

/* What a debug kernel says of a process. */
static bool verify(pid_t pid)
{
	char value[16];

	snprintf(value, sizeof(value), "%d", pid);
	return write_string(VERIFY, value) != -EUCLEAN;
}

/* A lazy child has device memory from its parent, and takes over some of it. */
LAZY_TEST(fork_coherent)
{
	char *p = map_filled(slot(self, 0), NP, SEED), *half = page(p, NP / 2);
	uint64_t pfn[NP], seed[NP];
	struct kid k;
	int fd;

	ASSERT_NE(p, NULL);
	ASSERT_NE(map(slot(self, 1), 1), NULL);
	for (unsigned int i = 0; i < NP; i++)
		seed[i] = SEED;
	fd = open(COHERENT, O_RDWR);
	if (fd < 0)
		SKIP(return, NO_COHERENT);
	ASSERT_TRUE(to_device(fd, p, NP, slot(self, 1), pfn));

	begin();
	if (kid_spawn(&k)) {
		bool ok = check_seeds(p, seed, NP);

		close(fd);
		kid_pause(&k, ok);
		for (unsigned int i = 0; i < NP; i += 2)
			set_page(p, seed, i, SEED2);
		kid_pause(&k, check_seeds(p, seed, NP));
		kid_pause(&k, check_seeds(p, seed, NP));
		/* Its parent has gone from all of it. */
		ok = shake(self, p, NP) && check_seeds(p, seed, NP);
		fill(p, 0, NP, SEED3);
		kid_exit(ok && sound(self, p, 0, NP, SEED3));
	}
	ASSERT_GT(k.pid, 0);
	ASSERT_TRUE(kid_paused(&k));
	EXPECT_BECAME_LAZY(1);

	/* It writes to what it has alone, which it keeps, and to what it has to copy. */
	ASSERT_EQ(munmap(p, bytes(NP / 2)), 0);
	kid_go(&k);
	ASSERT_TRUE(kid_paused(&k));
	EXPECT_EQ(count_there(k.pid, p, NP / 2, pfn), NP / 2 / 8 * 3);
	EXPECT_EQ(count_there(k.pid, half, NP / 2, pfn + NP / 2), NP / 2 / 8);
	ASSERT_TRUE(check(half, NP / 2, NP / 2, SEED));
	ASSERT_TRUE(verify(getpid()));
	ASSERT_TRUE(verify(k.pid));

	/* All is found, of both, by nothing but what is in device memory. */
	close(fd);
	ASSERT_TRUE(evict(k.pid, p, p, NP, pfn));
	ASSERT_TRUE(evict(getpid(), half, half, NP / 2, pfn + NP / 2));
	ASSERT_TRUE(check(half, NP / 2, NP / 2, SEED));
	ASSERT_TRUE(verify(k.pid));
	kid_go(&k);
	ASSERT_TRUE(kid_paused(&k));
	ASSERT_EQ(munmap(half, bytes(NP / 2)), 0);
	ASSERT_TRUE(kid_finish(&k));
}

/* Move as many pages as it can be done with. What is refused stays where it is. */
static bool uffd_move_some(int fd, char *dst, char *src, unsigned int n, bool *moved)
{
	unsigned int i = 0, try = 0;

	while (i < n) {
		struct uffdio_move move = {
			.dst = (unsigned long)page(dst, i),
			.src = (unsigned long)page(src, i),
			.len = bytes(n - i),
		};
		int err = ioctl(fd, UFFDIO_MOVE, &move) ? errno : 0;

		if (move.move > 0) {
			for (unsigned int j = move.move / psize(); j; j--)
				moved[i++] = true;
			try = 0;
		} else if (err == EBUSY) {
			moved[i++] = false;
		} else if (err != EAGAIN || try++ > TRIES) {
			complain("UFFDIO_MOVE of page %u: %s", i, strerror(err));
			return false;
		}
	}
	return true;
}

/* Is each page where it is said to be? */
static bool check_moved(char *dst, char *src, unsigned int n, const bool *moved, uint64_t seed)
{
	bool ok = true;

	for (unsigned int i = 0; i < n; i++) {
		ok &= check_page(page(moved[i] ? dst : src, i), seed, i);
		ok &= check_zero(page(moved[i] ? src : dst, i), 1);
	}
	return ok;
}

/* Device memory is not moved to a lazy VMA, wherever in the range it is. */
LAZY_TEST(uffd_move_coherent)
{
	char *p = map_filled(slot(self, 0), NP, SEED);
	char *q = map(slot(self, 1), NP);
	char *buf = map(slot(self, 2), 1);
	const bool lazy = self->sysctl && variant->action;
	uint64_t pfn[NP];
	struct kid k;
	int fd;

	ASSERT_NE(p, NULL);
	ASSERT_NE(q, NULL);
	ASSERT_NE(buf, NULL);
	fd = uffd_open(UFFD_FEATURE_MOVE);
	if (fd < 0)
		SKIP(return, "no UFFDIO_MOVE");
	close(fd);
	fd = open(COHERENT, O_RDWR);
	if (fd < 0)
		SKIP(return, NO_COHERENT);
	ASSERT_TRUE(to_device(fd, p, NP, buf, pfn));

	begin();
	/* Who uses the driver has no lazy VMAs. Its child may have some. */
	if (kid_spawn(&k)) {
		bool ok = check(p, 0, NP, SEED), moved[NP];

		close(fd);
		kid_pause(&k, ok);
		fill(p, 0, NP, SEED2);
		kid_pause(&k, true);

		fd = uffd_open(UFFD_FEATURE_MOVE);
		ok = !uffd_register(fd, q, bytes(NP), true, false, false) &&
			uffd_move_some(fd, q, p, NP, moved) &&
			!uffd_unregister(fd, q, bytes(NP));
		for (unsigned int i = 0; i < NP && ok; i++) {
			if (!moved[i] && !(lazy && for_device(i))) {
				complain("page %u was not moved", i);
				ok = false;
			}
		}
		kid_pause(&k, ok && check_moved(q, p, NP, moved, SEED2));
		kid_pause(&k, check_moved(q, p, NP, moved, SEED2));

		/* Without where they came from. */
		ok = !munmap(p, bytes(NP));
		for (unsigned int i = 0; i < NP; i++)
			ok &= !moved[i] || check_page(page(q, i), SEED2, i);
		fill(q, 0, NP, SEED3);
		ok &= sound(self, q, 0, NP, SEED3);

		/* There and back, all by itself. */
		fd = open(COHERENT, O_RDWR);
		ok &= fd >= 0 && to_device(fd, q, NP, buf, pfn) && check(q, 0, NP, SEED3);
		for (unsigned int i = 0; i < NP && ok; i++)
			ok = !pfn[i] || mirror_migrate(fd, page(q, i), buf, false);
		ok &= !count_there(getpid(), q, NP, pfn);
		kid_exit(ok && sound(self, q, 0, NP, SEED3));
	}
	ASSERT_GT(k.pid, 0);
	ASSERT_TRUE(kid_paused(&k));
	EXPECT_BECAME_LAZY(1);

	/* It takes over what nobody else has any more: that may be moved. */
	ASSERT_EQ(munmap(p, bytes(NP)), 0);
	kid_go(&k);
	ASSERT_TRUE(kid_paused(&k));
	EXPECT_EQ(count_there(k.pid, p, NP, pfn), NP / 8 * 3);
	kid_go(&k);
	ASSERT_TRUE(kid_paused(&k));
	EXPECT_EQ(count_there(k.pid, p, NP, pfn) + count_there(k.pid, q, NP, pfn), NP / 8 * 3);

	/* All is found, by nothing but what is in device memory. */
	EXPECT_TRUE(verify(k.pid));
	close(fd);
	ASSERT_TRUE(evict(k.pid, p, q, NP, pfn));
	ASSERT_TRUE(verify(k.pid));
	kid_go(&k);
	ASSERT_TRUE(kid_paused(&k));
	ASSERT_TRUE(kid_finish(&k));
}

/* === Memory failure === */

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

static bool may_poison(void)
{
	const char *env = getenv("ANON_VMA_LAZY_HWPOISON");

	return !access(UNPOISON, W_OK) || (env && *env == '1');
}

static void unpoison(uint64_t pfn)
{
	if (unpoison_memory(pfn))
		complain("pfn %llx stays poisoned", (unsigned long long)pfn);
}

LAZY_TEST(soft_offline)
{
	char *p = map_filled(slot(self, 0), NP, SEED);
	const unsigned int nr = 4;
	uint64_t pfn[NP], pfn2[NP];
	struct kid k;

	ASSERT_NE(p, NULL);
	if (!may_poison())
		SKIP(return, "no " UNPOISON);
	begin();
	get_pfns(p, NP, pfn);
	for (unsigned int i = 0; i < nr; i++) {
		if (madvise(page(p, i), psize(), MADV_SOFT_OFFLINE))
			SKIP(return, "MADV_SOFT_OFFLINE: %s", strerror(errno));
	}
	EXPECT_NO_UPGRADE();
	ASSERT_TRUE(check(p, 0, NP, SEED));
	get_pfns(p, NP, pfn2);
	for (unsigned int i = 0; i < nr; i++) {
		EXPECT_NE(pfn[i], pfn2[i]);
		unpoison(pfn[i]);
	}

	window(self);
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
	EXPECT_EQ(count_same(getpid(), p, k.pid, p, NP), NP);
	ASSERT_TRUE(check(p, 0, NP, SEED));
	ASSERT_TRUE(kid_finish(&k));
	ASSERT_TRUE(shake(self, p, NP));
	ASSERT_TRUE(check(p, 0, NP, SEED));
}

LAZY_TEST(hwpoison_alone)
{
	char *p = map_filled(slot(self, 0), NP, SEED);
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
	EXPECT_NO_UPGRADE();
	ASSERT_TRUE(check(p, 0, 3, SEED));
	ASSERT_TRUE(check(page(p, 4), 4, NP - 4, SEED));

	/* Split, move and fork with the entry in it. */
	ASSERT_EQ(munmap(page(p, 4), bytes(1)), 0);
	ASSERT_EQ(mremap(p, bytes(4), bytes(4), MREMAP_MAYMOVE | MREMAP_FIXED,
			 slot(self, 1)), slot(self, 1));
	ASSERT_TRUE(check(slot(self, 1), 0, 3, SEED));
	EXPECT_TRUE(bus_on_read(page(slot(self, 1), 3)));
	ASSERT_EQ(munmap(slot(self, 1), bytes(4)), 0);
	ASSERT_TRUE(shake(self, page(p, 5), NP - 5));
	ASSERT_TRUE(check(page(p, 5), 5, NP - 5, SEED));
	EXPECT_LAZY_IF(variant->setup && has_groups, page(p, 5), NP - 5);
	unpoison(pfn[3]);
}

/* Who has the page mapped is told of it, and nobody else is. */
LAZY_TEST(hwpoison_shared)
{
	char *p = map_filled(slot(self, 0), NP, SEED);
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
		/* What the last one unmaps is of a lazy child: that upgrades too. */
		if (!i)
			EXPECT_UPGRADED(1);
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

/* A page of a lazy child is poisoned: its parent is not concerned. */
LAZY_TEST(hwpoison_child)
{
	char *p = map_filled(slot(self, 0), NP, SEED);
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

/* === madvise and others === */

LAZY_TEST(madv_free)
{
	char *p = map_filled(slot(self, 0), NP, SEED);
	unsigned int lost = 0, bad;

	ASSERT_NE(p, NULL);
	begin();
	ASSERT_EQ(madvise(p, bytes(NP), MADV_FREE), 0);
	/* Written to again: to be kept. */
	for (unsigned int i = 0; i < NP; i += 4)
		fill_page(page(p, i), SEED2, i);
	madvise(p, bytes(NP), MADV_PAGEOUT);
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
	EXPECT_NO_UPGRADE();
	fill(p, 0, NP, SEED3);
	ASSERT_TRUE(shake(self, p, NP));
	ASSERT_TRUE(check(p, 0, NP, SEED3));
	EXPECT_LAZY_IF(variant->setup, p, NP);
}

LAZY_TEST(madv_dontneed)
{
	char *p = map_filled(slot(self, 0), NP, SEED);

	ASSERT_NE(p, NULL);
	begin();
	/* All pages gone, and still lazy: the next ones find it so. */
	ASSERT_EQ(madvise(p, bytes(NP), MADV_DONTNEED), 0);
	ASSERT_TRUE(check_zero(p, NP));
	fill(p, 0, NP, SEED2);
	EXPECT_NO_EVENTS(EV_LAZY);
	EXPECT_NO_UPGRADE();
	ASSERT_TRUE(shake(self, p, NP));
	ASSERT_TRUE(check(p, 0, NP, SEED2));
	EXPECT_LAZY_IF(variant->setup, p, NP);
}

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL	102
#define MADV_GUARD_REMOVE	103
#endif

/* The kernel reads it for us, so that there is no signal. */
static bool is_guarded(const char *p)
{
	int fd[2];
	bool ret;

	if (pipe(fd))
		return false;
	ret = write(fd[1], p, 1) < 0 && errno == EFAULT;
	close(fd[0]);
	close(fd[1]);
	return ret;
}

LAZY_TEST(guard_regions)
{
	char *p = map_filled(slot(self, 0), NP, SEED);
	char *q = map(slot(self, 1), NP);
	struct kid k;

	ASSERT_NE(p, NULL);
	ASSERT_NE(q, NULL);
	begin();
	if (madvise(page(p, 4), bytes(4), MADV_GUARD_INSTALL))
		SKIP(return, "no MADV_GUARD_INSTALL");
	EXPECT_NO_UPGRADE();
	EXPECT_EQ(count_vmas(p, NP), 1);
	window(self);
	/* The markers are to be inherited, for which it becomes lazy. */
	ASSERT_EQ(madvise(page(q, 4), bytes(4), MADV_GUARD_INSTALL), 0);
	EXPECT_BECAME_LAZY(1);
	window(self);
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
	/* p was there before begin(), q has become lazy after it. */
	EXPECT_EVENTS(EV_UPGRADE, 1, variant->setup || variant->action);
	for (unsigned int i = 0; i < NP; i++) {
		ASSERT_EQ(is_guarded(page(p, i)), i >= 4 && i < 8);
		ASSERT_EQ(is_guarded(page(q, i)), i >= 4 && i < 8);
	}
	ASSERT_TRUE(shake(self, p, 4));
	ASSERT_TRUE(shake(self, page(p, 8), NP - 8));
	ASSERT_EQ(madvise(page(p, 4), bytes(4), MADV_GUARD_REMOVE), 0);
	ASSERT_TRUE(check(p, 0, 4, SEED));
	ASSERT_TRUE(check_zero(page(p, 4), 4));
	ASSERT_TRUE(check(page(p, 8), 8, NP - 8, SEED));
}

LAZY_TEST(mlock)
{
	char *p = map_filled(slot(self, 0), NP, SEED);
	char *q = map(slot(self, 1), NP);
	struct kid k;

	ASSERT_NE(p, NULL);
	ASSERT_NE(q, NULL);
	begin();
	/* Faults it all in, as a lazy one. */
	if (mlock(q, bytes(NP)))
		SKIP(return, "mlock: %s", strerror(errno));
	EXPECT_BECAME_LAZY(1);
	EXPECT_EQ(count_present(getpid(), q, NP), NP);
	ASSERT_TRUE(check_zero(q, NP));
	fill(q, 0, NP, SEED2);
	/* The whole is no split, a part is. */
	window(self);
	ASSERT_EQ(mlock(p, bytes(NP)), 0);
	ASSERT_EQ(munlock(p, bytes(NP)), 0);
	EXPECT_NO_UPGRADE();
	ASSERT_EQ(mlock(page(p, NP / 4), bytes(NP / 2)), 0);
	EXPECT_SPLIT(1);
	EXPECT_EQ(count_vmas(p, NP), 3);
	ASSERT_TRUE(check(p, 0, NP, SEED));
	if (self->numa) {
		ASSERT_TRUE(migrate_to(0, p, NP, self->node[1], MPOL_MF_MOVE));
		ASSERT_TRUE(migrate_to(0, q, NP, self->node[1], MPOL_MF_MOVE));
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
	ASSERT_TRUE(shake(self, p, NP));
	ASSERT_TRUE(shake(self, q, NP));
	ASSERT_TRUE(check(p, 0, NP, SEED));
	ASSERT_TRUE(check(q, 0, NP, SEED2));
}

/* Another process asks for it, and works on a VMA that is not its own. */
LAZY_TEST(process_madvise)
{
	char *p = map_filled(slot(self, 0), NP, SEED);
	unsigned int swapped = 0;
	struct iovec iov;
	struct kid k;
	int fd;

	if (!self->swap)
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
		ASSERT_EQ(syscall(__NR_process_madvise, fd, &iov, 1,
				  MADV_PAGEOUT, 0), (long)bytes(NP));
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

/* === The end of VMAs === */

LAZY_TEST(exit_many)
{
	/* A debug kernel looks at all VMAs whenever there is one more. */
	const unsigned int nr = 400, step = 2;
	char *p = self->arena;
	struct kid k;
	pid_t parent;

	begin();
	deferred_window(self);
	ASSERT_EQ(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
	if (kid_spawn(&k)) {
		bool ok = true;

		window(self);
		for (unsigned int i = 0; i < nr; i++) {
			ok &= !!map(page(p, i * step), 1);
			fill_page(page(p, i * step), SEED, i);
		}
		if (self->events && variant->action)
			ok &= events(self, EV_LAZY) == nr;
		if (self->events && !variant->action)
			ok &= events(self, EV_LAZY) == 0;
		/* A child is left with all of them; it is the one to answer. */
		parent = getpid();
		if (ok && fork())
			_exit(0);
		/* It starts when its parent's address space is no more. */
		while (ok && getppid() == parent)
			usleep(1000);
		ok &= deferred_fit(self, nr, variant->action);
		for (unsigned int i = 0; i < nr; i++)
			ok &= check_page(page(p, i * step), SEED, i);
		for (unsigned int i = 0; i < nr; i += 2)
			fill_page(page(p, i * step), SEED2, i);
		for (unsigned int i = 0; i < nr; i += 100)
			ok &= shake(self, page(p, i * step), 1);
		for (unsigned int i = 0; i < nr; i++)
			ok &= check_page(page(p, i * step),
					 i & 1 ? SEED : SEED2, i);
		kid_exit(ok);
	}
	ASSERT_GT(k.pid, 0);
	ASSERT_TRUE(kid_end(&k));
	EXPECT_EVENTS(EV_UPGRADE, nr, variant->action);
	ASSERT_TRUE(reap(-1));
	EXPECT_FREED();
}

/* A VMA that others' pages still name has to wait for them. */
LAZY_TEST(deferred_fork)
{
	char *p = map_filled(slot(self, 0), NP, SEED);
	struct kid k;

	ASSERT_NE(p, NULL);
	begin();
	deferred_window(self);
	if (kid_spawn(&k)) {
		bool ok = check(p, 0, NP, SEED);

		kid_pause(&k, ok);
		ok = shake(self, p, NP);
		kid_exit(ok && check(p, 0, NP, SEED));
	}
	ASSERT_GT(k.pid, 0);
	ASSERT_TRUE(kid_paused(&k));
	EXPECT_NOT_DEFERRED();
	ASSERT_EQ(munmap(p, bytes(NP)), 0);
	EXPECT_DEFERRED(1, variant->setup);
	/* New memory in the same place has nothing to do with the old. */
	ASSERT_NE(map_filled(p, NP, SEED2), NULL);
	ASSERT_TRUE(kid_finish(&k));
	EXPECT_FREED();
	ASSERT_TRUE(check(p, 0, NP, SEED2));
}

/* Which part of a split is the VMA that was there first is not for us to know. */
LAZY_TEST(deferred_split)
{
	char *p = map_filled(slot(self, 0), NP, SEED);
	char *q = map_filled(slot(self, 1), NP, SEED2);

	ASSERT_NE(p, NULL);
	ASSERT_NE(q, NULL);
	begin();
	deferred_window(self);
	ASSERT_EQ(mprotect(page(p, NP / 2), bytes(NP / 2), PROT_READ), 0);
	ASSERT_EQ(mprotect(page(q, NP / 2), bytes(NP / 2), PROT_READ), 0);
	EXPECT_SPLIT(2);
	EXPECT_NOT_DEFERRED();
	/* So once it is the front that goes, and once the back. */
	ASSERT_EQ(munmap(p, bytes(NP / 2)), 0);
	ASSERT_EQ(munmap(page(q, NP / 2), bytes(NP / 2)), 0);
	EXPECT_DEFERRED(1, variant->setup);
	ASSERT_TRUE(shake(self, page(p, NP / 2), NP / 2));
	ASSERT_TRUE(shake(self, q, NP / 2));
	ASSERT_TRUE(check(page(p, NP / 2), NP / 2, NP / 2, SEED));
	ASSERT_TRUE(check(q, 0, NP / 2, SEED2));
	ASSERT_EQ(munmap(page(p, NP / 2), bytes(NP / 2)), 0);
	ASSERT_EQ(munmap(q, bytes(NP / 2)), 0);
	EXPECT_FREED();
}

/* Of a VMA that loses a part the rest is the VMA that was there first. */
LAZY_TEST(deferred_munmap)
{
	static const unsigned int from[] = { 0, NP / 4, NP / 2 };
	const unsigned int nr = ARRAY_SIZE(from), n = NP / 2;
	char *p[ARRAY_SIZE(from)];

	for (unsigned int i = 0; i < nr; i++) {
		p[i] = map_filled(slot(self, i), NP, SEED + i);
		ASSERT_NE(p[i], NULL);
	}
	begin();
	deferred_window(self);
	for (unsigned int i = 0; i < nr; i++)
		ASSERT_EQ(munmap(page(p[i], from[i]), bytes(n)), 0);
	EXPECT_SPLIT(3);
	EXPECT_NOT_DEFERRED();
	for (unsigned int i = 0; i < nr; i++) {
		unsigned int end = from[i] + n;

		if (from[i])
			ASSERT_TRUE(sound(self, p[i], 0, from[i], SEED + i));
		if (end < NP)
			ASSERT_TRUE(sound(self, page(p[i], end), end, NP - end, SEED + i));
		ASSERT_EQ(munmap(p[i], bytes(NP)), 0);
	}
	EXPECT_FREED();
}

/* === Idle page tracking === */

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
LAZY_TEST(page_idle)
{
	char *p = map_filled(slot(self, 0), NP, SEED);
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
		if (self->numa)
			ASSERT_TRUE(migrate_to(0, p, NP, self->node[!round],
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
		if (!round)
			EXPECT_NO_UPGRADE();
	}
	ASSERT_TRUE(kid_finish(&k));
	ASSERT_TRUE(check(p, 0, NP, SEED));
	close(fd);
}

/* === Groups === */

/* Pages of each piece that a group is cut into. */
#define PIECE	8u

/* What the dynamic linker does to the data of each library. */
LAZY_TEST(group_relro)
{
	const unsigned int a = NP / 4;
	char *p = slot(self, 0);
	char *file;
	int fd;

	fd = memfd_create("anon_vma_lazy", MFD_CLOEXEC);
	ASSERT_GE(fd, 0);
	ASSERT_EQ(ftruncate(fd, bytes(NP)), 0);
	file = mmap(slot(self, 1), bytes(NP), PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_FIXED, fd, 0);
	ASSERT_EQ(file, slot(self, 1));
	fill(file, 0, NP, SEED3);
	ASSERT_EQ(mmap(p, bytes(NP), PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_FIXED, fd, 0), p);
	ASSERT_TRUE(check(p, 0, NP, SEED3));
	fill(p, 0, NP, SEED);

	begin();
	ASSERT_EQ(mprotect(p, bytes(a), PROT_READ), 0);
	EXPECT_SPLIT(1);
	EXPECT_EQ(count_vmas(p, NP), 2);
	ASSERT_TRUE(sound(self, p, 0, a, SEED));
	ASSERT_TRUE(sound(self, page(p, a), a, NP - a, SEED));
	fill(page(p, a), a, NP - a, SEED2);
	ASSERT_TRUE(sound(self, page(p, a), a, NP - a, SEED2));
	ASSERT_TRUE(sound(self, p, 0, a, SEED));
	EXPECT_STAYED_LAZY();

	window(self);
	ASSERT_EQ(mprotect(p, bytes(a), PROT_READ | PROT_WRITE), 0);
	EXPECT_EQ(count_vmas(p, NP), 1);
	EXPECT_NO_UPGRADE();
	ASSERT_TRUE(check(page(p, a), a, NP - a, SEED2));
	ASSERT_TRUE(sound(self, p, 0, a, SEED));
	fill(p, 0, NP, SEED);
	ASSERT_TRUE(sound(self, p, 0, NP, SEED));
	EXPECT_LAZY_IF(variant->setup && has_groups, p, NP);
	ASSERT_TRUE(check(file, 0, NP, SEED3));
	close(fd);
}

/* A part has no pages, or none has, when it is split off; then a part goes. */
LAZY_TEST(group_empty)
{
	for (unsigned int i = 0; i < 6; i++)
		ASSERT_NE(map_filled(slot(self, i), NP, SEED), NULL);

	begin();
	for (unsigned int i = 0; i < 6; i++) {
		char *p = slot(self, i), *rest = page(p, i & 1 ? 0 : NP / 2);
		char *half = page(p, NP / 2);
		unsigned int first = i & 1 ? 0 : NP / 2;

		/* Empty is all of it, the front, the back. */
		if (i / 2 != 2)
			ASSERT_EQ(madvise(p, bytes(NP / 2), MADV_DONTNEED), 0);
		if (i / 2 != 1)
			ASSERT_EQ(madvise(half, bytes(NP / 2), MADV_DONTNEED), 0);
		window(self);
		ASSERT_TRUE(cut(p, 2, NP / 2));
		EXPECT_SPLIT(1);
		ASSERT_TRUE(i / 2 == 1 ? sound(self, half, NP / 2, NP / 2, SEED) :
					 check_zero(half, NP / 2));
		ASSERT_TRUE(i / 2 == 2 ? sound(self, p, 0, NP / 2, SEED) :
					 check_zero(p, NP / 2));

		window(self);
		fill(p, 0, NP, SEED2);
		EXPECT_NO_EVENTS(EV_LAZY);
		EXPECT_NO_UPGRADE();
		ASSERT_TRUE(sound(self, p, 0, NP, SEED2));
		ASSERT_EQ(munmap(page(p, i & 1 ? NP / 2 : 0), bytes(NP / 2)), 0);
		ASSERT_TRUE(sound(self, rest, first, NP / 2, SEED2));
		ASSERT_EQ(madvise(rest, bytes(NP / 2), MADV_DODUMP), 0);
		/* What is mapped anew is part of the one that was left. */
		ASSERT_NE(map(page(p, i & 1 ? NP / 2 : 0), NP / 2), NULL);
		EXPECT_EQ(count_vmas(p, NP), 1);
		fill(p, 0, NP, SEED3);
		ASSERT_TRUE(sound(self, p, 0, NP, SEED3));
		EXPECT_STAYED_LAZY();
	}
}

/* There is a limit; a VMA more is an upgrade, whatever it comes from. */
LAZY_TEST(group_full)
{
	const unsigned int n = NP / GROUP_MAX;
	const bool lazy = variant->setup && has_groups;
	struct kid k;

	for (unsigned int i = 0; i < 4; i++)
		ASSERT_NE(map_filled(slot(self, 2 * i) + bytes(NP), NP, SEED + i), NULL);

	begin();
	for (unsigned int i = 0; i < 4; i++) {
		char *p = slot(self, 2 * i) + bytes(NP), *q = slot(self, 2 * i + 1);
		char *last = page(p, NP - n), *before = p - bytes(n);

		window(self);
		ASSERT_TRUE(cut(p, GROUP_MAX, n));
		EXPECT_SPLIT(1);
		ASSERT_TRUE(sound(self, p, 0, NP, SEED + i));
		if (i == 2) {
			ASSERT_EQ(mprotect(p, bytes(n), PROT_READ), 0);
			ASSERT_NE(map(before, n), NULL);
		}
		EXPECT_STAYED_LAZY();

		window(self);
		if (i == 0) {
			ASSERT_EQ(mprotect(p, psize(), PROT_READ), 0);
			EXPECT_EQ(count_vmas(p, NP), GROUP_MAX + 1);
			ASSERT_EQ(mprotect(p, psize(), PROT_READ | PROT_WRITE), 0);
		} else if (i == 1) {
			ASSERT_EQ(mremap(last, bytes(n), bytes(n),
					 MREMAP_MAYMOVE | MREMAP_FIXED, q), q);
			EXPECT_EQ(count_vmas(p, NP), GROUP_MAX - 1);
			ASSERT_TRUE(sound(self, q, NP - n, n, SEED + i));
			ASSERT_EQ(mremap(q, bytes(n), bytes(n),
					 MREMAP_MAYMOVE | MREMAP_FIXED, last), last);
		} else if (i == 2) {
			fill(before, 0, n, SEED2);
			EXPECT_NO_EVENTS(EV_LAZY);
			EXPECT_EQ(count_vmas(before, NP + n), GROUP_MAX + 1);
			ASSERT_EQ(mprotect(p, bytes(n), PROT_READ | PROT_WRITE), 0);
			EXPECT_EQ(count_vmas(before, NP + n), GROUP_MAX);
			ASSERT_TRUE(sound(self, before, 0, n, SEED2));
		}
		EXPECT_COUNT(EV_UPGRADE, i < 3 && lazy);
		EXPECT_EQ(count_vmas(p, NP), GROUP_MAX);
		ASSERT_TRUE(sound(self, p, 0, NP, SEED + i));
	}

	/* One is a group still. It is upgraded as a whole. */
	window(self);
	if (kid_spawn(&k)) {
		bool ok = true;

		for (unsigned int i = 0; i < 4; i++) {
			char *p = slot(self, 2 * i) + bytes(NP);

			ok &= check(p, 0, NP, SEED + i);
			fill(p, 0, NP / 4, SEED3);
		}
		kid_pause(&k, ok);
		for (unsigned int i = 0; i < 4; i++) {
			char *p = slot(self, 2 * i) + bytes(NP);

			ok &= check(p, 0, NP / 4, SEED3);
			ok &= check(page(p, NP / 4), NP / 4, NP - NP / 4, SEED + i);
		}
		kid_exit(ok);
	}
	ASSERT_GT(k.pid, 0);
	ASSERT_TRUE(kid_paused(&k));
	EXPECT_COUNT(EV_UPGRADE, lazy);
	for (unsigned int i = 0; i < 4; i++) {
		char *p = slot(self, 2 * i) + bytes(NP);

		ASSERT_TRUE(check(p, 0, NP, SEED + i));
		if (self->numa)
			ASSERT_TRUE(migrate_to(0, p, NP, self->node[1], MPOL_MF_MOVE_ALL));
		EXPECT_EQ(count_same(getpid(), p, k.pid, p, NP), NP - NP / 4);
		fill(page(p, NP / 2), NP / 2, NP / 4, SEED + i);
		ASSERT_TRUE(uncut(p, NP));
		ASSERT_TRUE(check(p, 0, NP, SEED + i));
	}
	ASSERT_TRUE(kid_finish(&k));
	for (unsigned int i = 0; i < 4; i++)
		ASSERT_TRUE(sound(self, slot(self, 2 * i) + bytes(NP), 0, NP, SEED + i));
}

/* Of three things, all orders. */
static const unsigned int orders[6][3] = {
	{ 0, 1, 2 }, { 0, 2, 1 }, { 1, 0, 2 }, { 1, 2, 0 }, { 2, 0, 1 }, { 2, 1, 0 },
};

/*
 * The VMAs of a group go in any order. In some the one that was there first is
 * not the last: its struct is still needed then, and freed later.
 */
LAZY_TEST(group_unmap)
{
	unsigned int nr = 0;

	for (unsigned int i = 0; i < 6; i++)
		ASSERT_NE(map_filled(slot(self, i), 3 * PIECE, SEED + i), NULL);

	begin();
	for (unsigned int i = 0; i < 6; i++) {
		char *p = slot(self, i), *last = page(p, orders[i][2] * PIECE);
		bool needed = false;

		deferred_window(self);
		ASSERT_TRUE(cut(p, 3, PIECE));
		for (unsigned int j = 0; j < 3; j++) {
			ASSERT_EQ(munmap(page(p, orders[i][j] * PIECE), bytes(PIECE)), 0);
			needed |= j < 2 && deferred() > self->deferred;
			for (unsigned int l = j + 1; l < 3; l++) {
				unsigned int first = orders[i][l] * PIECE;

				ASSERT_TRUE(sound(self, page(p, first), first, PIECE, SEED + i));
			}
			if (j != 1)
				continue;
			/* The last one is a group again for a while. */
			ASSERT_EQ(mprotect(last, bytes(1), PROT_READ), 0);
			ASSERT_TRUE(sound(self, last, orders[i][2] * PIECE, PIECE, SEED + i));
			ASSERT_EQ(mprotect(last, bytes(1), PROT_READ | PROT_WRITE), 0);
			EXPECT_EQ(count_vmas(last, PIECE), 1);
			ASSERT_TRUE(sound(self, last, orders[i][2] * PIECE, PIECE, SEED + i));
		}
		EXPECT_FREED();
		nr += needed;
	}
	EXPECT_SPLIT(6);
	if (self->deferred >= 0)
		EXPECT_EQ(nr, variant->setup ? 4u : 0u);
}

/* And with a fork after the first of them went. */
LAZY_TEST(group_unmap_fork)
{
	for (unsigned int i = 0; i < 6; i++)
		ASSERT_NE(map_filled(slot(self, i), 3 * PIECE, SEED + i), NULL);

	begin();
	for (unsigned int i = 0; i < 6; i++) {
		const unsigned int *at = orders[i];
		char *p = slot(self, i);
		struct kid k;

		window(self);
		deferred_window(self);
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
			ok &= sound(self, page(q, PIECE / 2), at[1] * PIECE + PIECE / 2,
				    PIECE / 2, SEED + i);
			ok &= sound(self, r, at[2] * PIECE, PIECE, SEED + i);
			ok &= !munmap(r, bytes(PIECE));
			ok &= sound(self, q, 0, PIECE / 2, SEED3);
			kid_exit(ok);
		}
		ASSERT_GT(k.pid, 0);
		ASSERT_TRUE(kid_paused(&k));
		for (unsigned int j = 1; j < 3; j++) {
			char *q = page(p, at[j] * PIECE);

			ASSERT_TRUE(check(q, at[j] * PIECE, PIECE, SEED + i));
			if (self->numa)
				ASSERT_TRUE(migrate_to(0, q, PIECE, self->node[1],
						       MPOL_MF_MOVE_ALL));
			EXPECT_EQ(count_same(getpid(), q, k.pid, q, PIECE),
				  j == 1 ? PIECE / 2 : PIECE);
			ASSERT_EQ(munmap(q, bytes(PIECE)), 0);
		}
		EXPECT_DEFERRED(1, variant->setup);
		ASSERT_TRUE(kid_finish(&k));
		EXPECT_FREED();
	}
}

/* Objects in use, or 0. A slab cache may hold some more back. */
static unsigned long slab_objects(const char *name)
{
	FILE *f = fopen("/proc/slabinfo", "r");
	unsigned long objects = 0;
	size_t n = strlen(name);
	char line[512];

	while (f && fgets(line, sizeof(line), f)) {
		if (!strncmp(line, name, n) && line[n] == ' ')
			objects = strtoul(line + n, NULL, 10);
	}
	if (f)
		fclose(f);
	return objects;
}

/* Do slab objects count that were freed? VMAs are mapped at @p to find out. */
static bool frees_held_back(char *p)
{
	const unsigned long was = slab_objects("vm_area_struct");

	for (unsigned int i = 0; i < 500; i++) {
		if (!map(p, 1) || munmap(p, psize()))
			return true;
	}
	return slab_objects("vm_area_struct") > was + 100;
}

/* Can a leak of VMAs be seen in /proc/slabinfo? KASAN holds back what is freed. */
static bool leaks_are_seen(char *p)
{
	return slab_objects("vm_area_struct") && !frees_held_back(p);
}

#define NO_LEAKS "leaks are not seen, neither in /proc/slabinfo nor in " DEFERRED

/* Nothing is left behind when a group is gone, in whatever order it went. */
LAZY_TEST(group_leak)
{
	static const char * const name[] = {
		"vm_area_struct", "anon_vma", "anon_vma_chain",
	};
	const unsigned int rounds = 540, slack = 100;
	unsigned long was[3], now;
	char *p = slot(self, 0);
	const bool seen = leaks_are_seen(p);

	if (!seen && deferred() < 0)
		SKIP(return, NO_LEAKS);
	begin();
	deferred_window(self);
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
	EXPECT_EVENTS(EV_UPGRADE, has_groups ? rounds / 3 * 2 : rounds, variant->action);
	if (self->events)
		EXPECT_LE(events(self, EV_UPGRADE), has_groups ? rounds / 3 * 2 : rounds);
	EXPECT_FREED();
	for (unsigned int i = 0; i < 3 && seen; i++) {
		now = slab_objects(name[i]);
		EXPECT_LT(now, was[i] + slack)
			TH_LOG("%s: %lu, then %lu", name[i], was[i], now);
	}
}

/* Its VMAs are moved one by one, in any order, and meet again. */
LAZY_TEST(group_mremap)
{
	const int fixed = MREMAP_MAYMOVE | MREMAP_FIXED;

	for (unsigned int i = 0; i < 6; i++)
		ASSERT_NE(map_filled(slot(self, 2 * i), 3 * PIECE, SEED + i), NULL);

	begin();
	for (unsigned int i = 0; i < 6; i++) {
		char *p = slot(self, 2 * i), *q = slot(self, 2 * i + 1);

		/* Parts of a VMA, which is what it is again over there. */
		for (unsigned int j = 0; j < 3; j++) {
			unsigned int first = orders[i][j] * PIECE;

			ASSERT_EQ(mremap(page(p, first), bytes(PIECE), bytes(PIECE), fixed,
					 page(q, first)), page(q, first));
			for (unsigned int l = 0; l < 3; l++) {
				char *at = l <= j ? q : p;

				first = orders[i][l] * PIECE;
				ASSERT_TRUE(sound(self, page(at, first), first, PIECE, SEED + i));
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
			ASSERT_TRUE(sound(self, page(p, first), first, PIECE, SEED + i));
		}
		EXPECT_EQ(count_vmas(q, 3 * PIECE), 0);
		ASSERT_TRUE(uncut(p, 3 * PIECE));
		ASSERT_TRUE(sound(self, p, 0, 3 * PIECE, SEED + i));
	}
	EXPECT_SPLIT(6);
	EXPECT_STAYED_LAZY();
	for (unsigned int i = 0; i < 6; i++) {
		EXPECT_LAZY_IF(variant->setup && has_groups, slot(self, 2 * i), 3 * PIECE);
		ASSERT_TRUE(check(slot(self, 2 * i), 0, 3 * PIECE, SEED + i));
	}
}

/*
 * MREMAP_DONTUNMAP of each VMA of a group, then a fork. The source is faulted
 * again, the one or the other is unmapped first.
 */
LAZY_TEST(group_dontunmap)
{
	for (unsigned int i = 0; i < 6; i++)
		ASSERT_NE(map_filled(slot(self, 2 * i), 3 * PIECE, SEED + i), NULL);

	begin();
	for (unsigned int i = 0; i < 6; i++) {
		char *p = slot(self, 2 * i), *q = slot(self, 2 * i + 1);
		unsigned int first = i / 2 * PIECE;
		char *src = page(p, first);

		window(self);
		ASSERT_TRUE(cut(p, 3, PIECE));
		ASSERT_EQ(mremap(src, bytes(PIECE), bytes(PIECE),
				 MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, q), q);
		EXPECT_SPLIT(1);
		ASSERT_TRUE(check_zero(src, PIECE));
		ASSERT_TRUE(sound(self, q, first, PIECE, SEED + i));
		fill(src, first, PIECE, SEED2);
		ASSERT_TRUE(sound(self, src, first, PIECE, SEED2));
		for (unsigned int j = 0; j < 3; j++) {
			if (j != i / 2)
				ASSERT_TRUE(sound(self, page(p, j * PIECE), j * PIECE, PIECE,
						  SEED + i));
		}
		ASSERT_TRUE(check(q, first, PIECE, SEED + i));
		EXPECT_STAYED_LAZY();
	}
	/* All six at once, so that each is a group up to here. */
	for (unsigned int i = 0; i < 6; i++) {
		char *p = slot(self, 2 * i), *q = slot(self, 2 * i + 1);
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
			ok &= sound(self, i & 1 ? q : src, first, 2, SEED3);
			kid_pause(&k, ok);
			/* By now nobody else has these pages. */
			ok = i & 1 ? sound(self, page(q, 2), first + 2, PIECE - 2, SEED + i) :
				     sound(self, page(src, 2), first + 2, PIECE - 2, SEED2);
			kid_exit(ok);
		}
		ASSERT_GT(k.pid, 0);
		ASSERT_TRUE(kid_paused(&k));
		if (self->numa) {
			ASSERT_TRUE(migrate_to(0, src, PIECE, self->node[1], MPOL_MF_MOVE_ALL));
			ASSERT_TRUE(migrate_to(0, q, PIECE, self->node[1], MPOL_MF_MOVE_ALL));
		}
		EXPECT_EQ(count_same(getpid(), src, k.pid, src, PIECE), PIECE - 2);
		EXPECT_EQ(count_same(getpid(), q, k.pid, q, PIECE), PIECE - 2);
		ASSERT_EQ(munmap(i & 1 ? src : q, bytes(PIECE)), 0);
		ASSERT_TRUE(i & 1 ? check(q, first, PIECE, SEED + i) :
				    check(src, first, PIECE, SEED2));
		kid_go(&k);
		ASSERT_TRUE(kid_paused(&k));
		ASSERT_EQ(munmap(i & 1 ? q : src, bytes(PIECE)), 0);
		ASSERT_TRUE(kid_finish(&k));
		for (unsigned int j = 0; j < 3; j++) {
			if (j != i / 2)
				ASSERT_TRUE(sound(self, page(p, j * PIECE), j * PIECE, PIECE,
						  SEED + i));
		}
	}
}

/* A fork upgrades a group once, and all of it. */
LAZY_TEST(group_fork)
{
	const unsigned int n = 3 * PIECE;
	char *p = map_filled(slot(self, 0), n, SEED);
	char *q = map_filled(slot(self, 1), n, SEED2);
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
	ASSERT_TRUE(sound(self, p, 0, n, SEED));
	ASSERT_TRUE(shake(self, q, n));
	window(self);
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
	EXPECT_COUNT(EV_UPGRADE, variant->setup && has_groups ? 2 : 0);
	EXPECT_BECAME_LAZY(6);
	EXPECT_EQ(count_same(getpid(), p, k.pid, p, n), n);
	if (self->numa)
		ASSERT_TRUE(migrate_to(0, p, n, self->node[1], MPOL_MF_MOVE_ALL));
	EXPECT_EQ(count_same(getpid(), p, k.pid, p, n), n);
	ASSERT_TRUE(check_seeds(p, seed, n));

	kid_go(&k);
	ASSERT_TRUE(kid_paused(&k));
	ASSERT_TRUE(check_seeds(p, seed, n));
	for (unsigned int i = 0; i < n; i += 3)
		set_page(p, seed, i, SEED2);
	EXPECT_EQ(count_same(getpid(), p, k.pid, p, n), n / 3);
	if (self->numa) {
		ASSERT_TRUE(migrate_to(0, p, n, self->node[0], MPOL_MF_MOVE_ALL));
		ASSERT_TRUE(migrate_to(k.pid, p, n, self->node[1], MPOL_MF_MOVE_ALL));
	}
	EXPECT_EQ(count_same(getpid(), p, k.pid, p, n), n / 3);
	ASSERT_TRUE(check_seeds(p, seed, n));
	ASSERT_TRUE(uncut(q, n));
	ASSERT_EQ(munmap(page(q, PIECE), bytes(PIECE)), 0);
	ASSERT_TRUE(kid_finish(&k));
	ASSERT_TRUE(shake(self, p, n));
	ASSERT_TRUE(check_seeds(p, seed, n));
	ASSERT_TRUE(sound(self, q, 0, PIECE, SEED2));
	ASSERT_TRUE(sound(self, page(q, 2 * PIECE), 2 * PIECE, PIECE, SEED2));
}

/* The process whose group it was exits; its child goes on with the pages. */
LAZY_TEST(group_parent_exits)
{
	const unsigned int n = 3 * PIECE;
	struct kid k;

	ASSERT_EQ(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
	begin();
	for (unsigned int i = 0; i < 3; i++) {
		char *p = slot(self, 0);

		window(self);
		deferred_window(self);
		if (kid_spawn(&k)) {
			pid_t parent = getpid();
			bool ok = map_filled(p, n, SEED) && cut(p, 3, PIECE);

			/* One of its VMAs is gone before the fork. */
			ok &= !munmap(page(p, i * PIECE), bytes(PIECE));
			if (ok && fork())
				_exit(0);
			while (ok && getppid() == parent)
				usleep(1000);
			ok &= deferred_fit(self, 1, variant->action);
			for (unsigned int j = 0; j < 3; j++) {
				char *q = page(p, j * PIECE);

				if (j == i)
					continue;
				ok &= check(q, j * PIECE, PIECE, SEED);
				fill(q, j * PIECE, 2, SEED2);
				ok &= sound(self, q, j * PIECE, 2, SEED2);
				ok &= sound(self, page(q, 2), j * PIECE + 2, PIECE - 2, SEED);
				ok &= !mprotect(page(q, 1), bytes(2), PROT_READ);
				ok &= sound(self, q, j * PIECE, 2, SEED2);
				ok &= sound(self, page(q, 2), j * PIECE + 2, PIECE - 2, SEED);
			}
			kid_exit(ok);
		}
		ASSERT_GT(k.pid, 0);
		ASSERT_TRUE(kid_end(&k));
		ASSERT_TRUE(reap(-1));
		EXPECT_EVENTS(EV_UPGRADE, 1, variant->action);
		EXPECT_FREED();
	}
}

/* Threads race to be the first in a VMA that is to join its neighbour. */
LAZY_TEST(group_join_race)
{
	const unsigned int n = RACE_THREADS * RACE_PAGES;
	struct racer racer[RACE_THREADS];
	struct race race;

	sched_setaffinity(0, sizeof(self->cpus), &self->cpus);
	pthread_barrier_init(&race.start, NULL, RACE_THREADS + 1);
	pthread_barrier_init(&race.stop, NULL, RACE_THREADS + 1);
	for (unsigned int i = 0; i < RACE_ROUNDS; i++) {
		char *p = map_filled(slot(self, i), n, SEED3);

		ASSERT_NE(p, NULL);
		ASSERT_EQ(mprotect(p, bytes(n), PROT_READ), 0);
		race.p[i] = map(page(p, n), n);
		ASSERT_NE(race.p[i], NULL);
		ASSERT_EQ(count_vmas(p, 2 * n), 2);
	}
	for (unsigned int i = 0; i < RACE_THREADS; i++) {
		racer[i].race = &race;
		racer[i].nr = i;
		ASSERT_EQ(pthread_create(&racer[i].thread, NULL, race_fn, &racer[i]), 0);
	}
	/* The threads' stacks are VMAs too: let them be faulted in. */
	usleep(100000);
	begin();
	for (unsigned int i = 0; i < RACE_ROUNDS; i++) {
		pthread_barrier_wait(&race.start);
		pthread_barrier_wait(&race.stop);
	}
	EXPECT_SPLIT(RACE_ROUNDS);
	if (self->events)
		EXPECT_LE(events(self, EV_LAZY), RACE_THREADS);
	for (unsigned int i = 0; i < RACE_THREADS; i++)
		ASSERT_EQ(pthread_join(racer[i].thread, NULL), 0);

	for (unsigned int i = 0; i < RACE_ROUNDS; i++) {
		char *p = slot(self, i);

		ASSERT_TRUE(check(race.p[i], 0, n, SEED + i));
		ASSERT_EQ(mprotect(p, bytes(n), PROT_READ | PROT_WRITE), 0);
		EXPECT_EQ(count_vmas(p, 2 * n), 1);
		/* Other CPUs' batches still hold pages: migration drains. */
		if (self->numa)
			ASSERT_TRUE(migrate_to(0, p, 2 * n, self->node[1], MPOL_MF_MOVE));
		ASSERT_TRUE(check(p, 0, n, SEED3));
		ASSERT_TRUE(check(race.p[i], 0, n, SEED + i));
	}
	EXPECT_STAYED_LAZY();
}

/* A huge page that lies across the border, and one within one of the two. */
LAZY_TEST(group_thp)
{
	const unsigned int n = self->pmd_size / psize(), a = n / 2, b = 2 * n - a;
	char *p = self->arena + self->pmd_size, *back = page(p, a);
	char cmd[96];

	if (no_thp(self))
		SKIP(return, "%s", no_thp(self));
	if (2 * n > MAX_PAGES)
		SKIP(return, "huge pages are too large");
	ASSERT_NE(map(p, 2 * n), NULL);
	ASSERT_EQ(madvise(p, 2 * self->pmd_size, MADV_HUGEPAGE), 0);
	fill(p, 0, 2 * n, SEED);
	if (!check_huge_anon(p, 2 * self->pmd_size, 2, self->pmd_size))
		SKIP(return, NO_THP);

	begin();
	ASSERT_EQ(madvise(back, bytes(b), MADV_DONTDUMP), 0);
	EXPECT_SPLIT(1);
	EXPECT_EQ(count_vmas(p, 2 * n), 2);
	/* One is mapped by pages now, one still as a whole. */
	EXPECT_TRUE(check_huge_anon(p, bytes(a), 0, self->pmd_size));
	EXPECT_TRUE(check_huge_anon(back, bytes(b), 1, self->pmd_size));
	ASSERT_TRUE(sound(self, page(p, n), n, n, SEED));
	/* Across the border, as a whole; to swap out a part is to split it. */
	ASSERT_TRUE(check(p, 0, n, SEED));
	if (self->numa)
		ASSERT_TRUE(migrate_to(0, p, n, self->node[1], MPOL_MF_MOVE));
	ASSERT_TRUE(sound(self, p, 0, a, SEED));
	ASSERT_TRUE(sound(self, p, 0, 2 * n, SEED));
	EXPECT_TRUE(collapse(page(p, n), self->pmd_size));
	EXPECT_TRUE(check_huge_anon(back, bytes(b), 1, self->pmd_size));
	ASSERT_TRUE(sound(self, p, 0, 2 * n, SEED));
	EXPECT_STAYED_LAZY();
	ASSERT_TRUE(uncut(p, 2 * n));
	fill(p, 0, 2 * n, SEED2);
	ASSERT_TRUE(sound(self, p, 0, 2 * n, SEED2));

	/* Huge ones anew, where the border is, and one of the VMAs goes. */
	for (unsigned int i = 0; i < 4; i++) {
		ASSERT_NE(map(p, 2 * n), NULL);
		ASSERT_EQ(madvise(p, 2 * self->pmd_size, MADV_HUGEPAGE), 0);
		fill(p, 0, 2 * n, SEED3);
		ASSERT_EQ(madvise(back, bytes(b), MADV_DONTDUMP), 0);
		snprintf(cmd, sizeof(cmd), "%d,0x%lx,0x%lx,0", getpid(),
			 (unsigned long)p, (unsigned long)page(p, 2 * n));
		if (i >= 2 && !access(SPLIT_THP, W_OK)) {
			ASSERT_EQ(write_string(SPLIT_THP, cmd), 0);
			EXPECT_TRUE(check_huge_anon(back, bytes(b), 0, self->pmd_size));
			ASSERT_TRUE(check(p, 0, 2 * n, SEED3));
		}
		if (i & 1) {
			ASSERT_EQ(munmap(p, bytes(a)), 0);
			ASSERT_TRUE(sound(self, back, a, b, SEED3));
		} else {
			ASSERT_EQ(munmap(back, bytes(b)), 0);
			ASSERT_TRUE(sound(self, p, 0, a, SEED3));
		}
	}
	EXPECT_STAYED_LAZY();
}

static bool all_guarded(char *p, unsigned int n)
{
	unsigned int guarded = 0;

	for (unsigned int i = 0; i < n; i++)
		guarded += is_guarded(page(p, i));
	return guarded == n;
}

/* Guard markers at the border and elsewhere stay when VMAs are cut and moved. */
LAZY_TEST(group_guards)
{
	const unsigned int half = NP / 2;
	char *p = map_filled(slot(self, 0), NP, SEED);
	char *q = slot(self, 1), *back = page(p, half);
	struct kid k;

	ASSERT_NE(p, NULL);
	begin();
	/* The first, the last, and two at each side of the border. */
	if (madvise(p, bytes(1), MADV_GUARD_INSTALL))
		SKIP(return, "no MADV_GUARD_INSTALL");
	ASSERT_EQ(madvise(page(p, half - 2), bytes(4), MADV_GUARD_INSTALL), 0);
	ASSERT_EQ(madvise(page(p, NP - 1), bytes(1), MADV_GUARD_INSTALL), 0);
	EXPECT_NO_UPGRADE();
	ASSERT_TRUE(cut(p, 2, half));
	EXPECT_SPLIT(1);
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
		ASSERT_TRUE(sound(self, page(p, 1), 1, half - 3, SEED));
		ASSERT_TRUE(sound(self, page(b, 2), half + 2, half - 3, SEED));
	}
	EXPECT_STAYED_LAZY();

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
	ASSERT_TRUE(sound(self, page(p, 1), 1, half - 3, SEED));
	ASSERT_TRUE(sound(self, page(back, 2), half + 2, half - 3, SEED));
}

static bool uffd_protect(int fd, char *p, unsigned int n, bool protect)
{
	struct uffdio_writeprotect wp = {
		.range.start = (unsigned long)p,
		.range.len = bytes(n),
		.mode = protect ? UFFDIO_WRITEPROTECT_MODE_WP : 0,
	};

	return !ioctl(fd, UFFDIO_WRITEPROTECT, &wp);
}

/* As above, of userfaultfd, on pages and where there are none. */
LAZY_TEST(group_uffd_wp)
{
	const unsigned int half = NP / 2;
	char *p = map_filled(slot(self, 0), NP, SEED);
	char *back = page(p, half);
	int fd;

	ASSERT_NE(p, NULL);
	ASSERT_EQ(madvise(page(p, half - 2), bytes(4), MADV_DONTNEED), 0);
	fd = uffd_open(UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_WP_UNPOPULATED);
	if (fd < 0 || uffd_register(fd, p, bytes(NP), false, true, false))
		SKIP(return, "no UFFDIO_WRITEPROTECT");

	begin();
	for (unsigned int i = 0; i < NP; i += 4)
		ASSERT_TRUE(uffd_protect(fd, page(p, i), 1, true));
	ASSERT_TRUE(uffd_protect(fd, page(p, half - 2), 4, true));
	EXPECT_NO_UPGRADE();
	ASSERT_EQ(mprotect(back, bytes(half), PROT_READ), 0);
	EXPECT_SPLIT(1);
	for (unsigned int i = 0; i < 2; i++) {
		if (i)
			ASSERT_EQ(mprotect(back, bytes(half), PROT_READ | PROT_WRITE), 0);
		EXPECT_EQ(count_vmas(p, NP), i ? 1 : 2);
		/* Once as they were left, once as swapped in. */
		for (unsigned int j = 0; j < 2; j++) {
			for (unsigned int l = 0; l < NP; l++) {
				bool marked = l % 4 == 0 || (l >= half - 2 && l < half + 2);

				ASSERT_EQ(count_entries(getpid(), page(p, l), 1, PM_UFFD_WP),
					  marked)
					TH_LOG("round %u %u page %u", i, j, l);
			}
			ASSERT_TRUE(sound(self, p, 0, half - 2, SEED));
			ASSERT_TRUE(sound(self, page(p, half + 2), half + 2, half - 2, SEED));
		}
	}
	EXPECT_STAYED_LAZY();
	ASSERT_TRUE(uffd_protect(fd, p, NP, false));
	EXPECT_EQ(count_entries(getpid(), p, NP, PM_UFFD_WP), 0);
	ASSERT_EQ(uffd_unregister(fd, p, bytes(NP)), 0);
	ASSERT_TRUE(check_zero(page(p, half - 2), 4));
	ASSERT_TRUE(check(p, 0, half - 2, SEED));
	ASSERT_TRUE(check(page(p, half + 2), half + 2, half - 2, SEED));
	fill(p, 0, NP, SEED2);
	ASSERT_TRUE(sound(self, p, 0, NP, SEED2));
	close(fd);
}

/* UFFDIO_MOVE from one VMA of a group to another, forth and back. */
LAZY_TEST(group_uffd_move)
{
	const unsigned int half = NP / 2;
	char *p = map_filled(slot(self, 0), NP, SEED);
	char *back = page(p, half);
	int fd;

	ASSERT_NE(p, NULL);
	fd = uffd_open(UFFD_FEATURE_MOVE);
	if (fd < 0)
		SKIP(return, "no UFFDIO_MOVE");
	ASSERT_EQ(madvise(back, bytes(half), MADV_DONTNEED), 0);

	begin();
	/* To watch a part is to split it off. */
	ASSERT_EQ(uffd_register(fd, back, bytes(half), true, false, false), 0);
	EXPECT_SPLIT(1);
	EXPECT_EQ(count_vmas(p, NP), 2);
	ASSERT_TRUE(uffd_move(fd, back, p, half));
	ASSERT_TRUE(sound(self, back, 0, half, SEED));
	ASSERT_TRUE(check_zero(p, half));
	fill(p, 0, half, SEED2);
	ASSERT_TRUE(sound(self, p, 0, half, SEED2));
	ASSERT_TRUE(check(back, 0, half, SEED));
	ASSERT_EQ(uffd_unregister(fd, back, bytes(half)), 0);
	EXPECT_EQ(count_vmas(p, NP), 1);

	ASSERT_EQ(madvise(p, bytes(half), MADV_DONTNEED), 0);
	ASSERT_EQ(uffd_register(fd, p, bytes(half), true, false, false), 0);
	EXPECT_EQ(count_vmas(p, NP), 2);
	/* Half of them as swap entries. */
	if (self->swap)
		ASSERT_TRUE(swap_out(back, half / 2));
	ASSERT_TRUE(uffd_move(fd, p, back, half));
	ASSERT_EQ(uffd_unregister(fd, p, bytes(half)), 0);
	EXPECT_EQ(count_vmas(p, NP), 1);
	ASSERT_TRUE(sound(self, p, 0, half, SEED));
	ASSERT_TRUE(check_zero(back, half));
	EXPECT_STAYED_LAZY();
	EXPECT_NO_EVENTS(EV_LAZY);
	EXPECT_NO_UPGRADE();
	EXPECT_LAZY_IF(variant->setup && has_groups, p, NP);
	close(fd);
}

/* Pages that are pinned for long stay, in both VMAs, and all others move. */
LAZY_TEST(group_pinned)
{
	const unsigned int half = NP / 2, nr = 4;
	char *p = map_filled(slot(self, 0), NP, SEED);
	char *buf = map_filled(slot(self, 1), NP, SEED3);
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
	EXPECT_SPLIT(1);
	for (unsigned int i = 0; i < 3; i++) {
		void *pages[NP];
		int status[NP], nodes[NP];

		/* Cut, and as one, and shared with a child that gets copies. */
		if (i == 1) {
			EXPECT_STAYED_LAZY();
			ASSERT_TRUE(uncut(p, NP));
		}
		if (i == 2) {
			ASSERT_TRUE(cut(p, 2, half));
			if (kid_spawn(&k)) {
				kid_pause(&k, check(p, 0, NP, SEED));
				kid_exit(check(p, 0, half - nr / 2, SEED));
			}
			ASSERT_GT(k.pid, 0);
			ASSERT_TRUE(kid_paused(&k));
			EXPECT_EQ(count_same(getpid(), pinned, k.pid, pinned, nr), 0);
			ASSERT_TRUE(kid_finish(&k));
		}
		ASSERT_TRUE(sound(self, p, 0, half - nr / 2, SEED));
		ASSERT_TRUE(sound(self, page(back, nr / 2), half + nr / 2, half - nr / 2, SEED));
		for (unsigned int j = 0; j < nr && self->numa; j++) {
			pages[j] = page(pinned, j);
			nodes[j] = self->node[i & 1];
		}
		if (self->numa)
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
	ASSERT_TRUE(sound(self, p, 0, NP, SEED));
	close(fd);
}

/* Does reading the page raise the signal that it should? */
static bool is_poisoned(char *p)
{
	bus_addr = 0;
	return bus_on_read(p) && bus_code == BUS_MCEERR_AR && bus_addr == (uintptr_t)p;
}

/* Memory failure in both VMAs, before they are cut and after it. */
LAZY_TEST(group_poison)
{
	const unsigned int half = NP / 2;
	const unsigned int bad[4] = { 1, NP - 2, 6, NP - 7 };
	const unsigned int soft[4] = { 3, NP - 4, 8, NP - 9 };
	char *p = map_filled(slot(self, 0), NP, SEED);
	uint64_t pfn[4], pfn2;

	ASSERT_NE(p, NULL);
	if (!may_poison())
		SKIP(return, "no " UNPOISON);
	bus_catch();
	prctl(PR_MCE_KILL, PR_MCE_KILL_SET, PR_MCE_KILL_EARLY, 0, 0);
	begin();
	for (unsigned int i = 0; i < 4; i++) {
		int ret;

		if (i == 2) {
			EXPECT_NO_UPGRADE();
			ASSERT_TRUE(cut(p, 2, half));
			EXPECT_SPLIT(1);
		}
		get_pfns(page(p, soft[i]), 1, &pfn[i]);
		if (madvise(page(p, soft[i]), psize(), MADV_SOFT_OFFLINE))
			SKIP(return, "MADV_SOFT_OFFLINE: %s", strerror(errno));
		get_pfns(page(p, soft[i]), 1, &pfn2);
		EXPECT_NE(pfn[i], pfn2);
		unpoison(pfn[i]);
		ASSERT_TRUE(check_page(page(p, soft[i]), SEED, soft[i]));

		get_pfns(page(p, bad[i]), 1, &pfn[i]);
		bus_count = 0;
		ret = poison(page(p, bad[i]));
		if (ret == -EINVAL || ret == -EPERM)
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
		ASSERT_TRUE(sound(self, page(p, 2), 2, 4, SEED));
		ASSERT_TRUE(sound(self, page(p, 7), 7, NP - 14, SEED));
		ASSERT_TRUE(sound(self, page(p, NP - 6), NP - 6, 4, SEED));
		ASSERT_TRUE(sound(self, page(p, NP - 1), NP - 1, 1, SEED));
	}
	EXPECT_STAYED_LAZY();
	/* The parts move with what is in them. */
	ASSERT_EQ(mremap(p, bytes(half), bytes(half), MREMAP_MAYMOVE | MREMAP_FIXED,
			 slot(self, 1)), slot(self, 1));
	EXPECT_TRUE(is_poisoned(page(slot(self, 1), bad[0])));
	EXPECT_TRUE(is_poisoned(page(p, bad[1])));
	ASSERT_TRUE(check(page(slot(self, 1), 7), 7, half - 7, SEED));
	ASSERT_EQ(munmap(slot(self, 1), bytes(half)), 0);
	ASSERT_EQ(munmap(page(p, half), bytes(half)), 0);
	for (unsigned int i = 0; i < 4; i++)
		unpoison(pfn[i]);
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
		if (!has_groups || !all || count_vmas(p, n) > 1)
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

LAZY_TEST(group_same_vmas)
{
	static struct twin twin[2];

	for (unsigned int seed = 0; seed < 4; seed++) {
		memset(twin, 0, sizeof(twin));
		for (unsigned int i = 0; i < 4; i++)
			twin[i / 2].p[i & 1] = slot(self, 4 * seed + i) + bytes(NP);
		ASSERT_EQ(munmap(slot(self, 4 * seed), bytes(4 * SLOT_PAGES)), 0);
		twin[0].rnd = seed + 1;
		twin[1].rnd = seed + 1;
		for (unsigned int step = 1; step <= TWIN_STEPS; step++) {
			bool lazy = step > TWIN_STEPS / 2 ? variant->action : variant->setup;
			unsigned int vmas[2];

			for (unsigned int i = 0; i < 2; i++) {
				struct twin *t = &twin[i];

				if (self->sysctl)
					write_string(SYSCTL, i && lazy ? "1" : "0");
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
LAZY_TEST(group_enomem)
{
	char *p = slot(self, 0), *q = slot(self, 1);
	unsigned int nr_failed = 0;
	int fd;

	fd = open("/proc/thread-self/fail-nth", O_RDWR);
	if (fd < 0 || write_string(FAILSLAB("ignore-gfp-wait"), "N"))
		SKIP(return, "no " FAILSLAB("ignore-gfp-wait"));
	write_string(FAILSLAB("verbose"), "0");
	begin();
	for (unsigned int op = 0; op < 7; op++) {
		bool failed = true;

		for (unsigned int nth = 1; failed && nth < 1000; nth += op == 6 ? 3 : 1) {
			unsigned int n = op == 5 ? NP / GROUP_MAX : NP / 4;
			pid_t pid = 0;
			int ret = 0;

			ASSERT_NE(map_filled(p, NP, SEED), NULL);
			if (op >= 2)
				ASSERT_TRUE(cut(p, NP / n, n));
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
			}
			failed = has_failed(fd);
			fail_nth(fd, 0);
			nr_failed += failed;
			if (ret) {
				EXPECT_TRUE(failed);
				EXPECT_EQ(errno, ENOMEM);
			}
			if (op == 6 && !ret)
				ASSERT_TRUE(reap(pid));

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
			ASSERT_TRUE(nth % 8 ? true : sound(self, p, 0, NP, SEED));
		}
		EXPECT_FALSE(failed);
		if (op < 5)
			EXPECT_STAYED_LAZY();
	}
	TH_LOG("%u allocations failed", nr_failed);
	EXPECT_GT(nr_failed, 0u);
	close(fd);
}

/* KSM merges pages of some VMAs of a group while others of it go. */
LAZY_TEST(group_ksm)
{
	const char *env = getenv("ANON_VMA_LAZY_SECONDS");
	time_t end = time(NULL) + (env ? atoi(env) : 2);
	char *r = map_filled(slot(self, 2), NP, SEED2);
	unsigned int rounds = 0;
	bool merged = false;

	ASSERT_NE(r, NULL);
	if (access(KSM("run"), W_OK) || ksm_get_full_scans() < 0)
		SKIP(return, "no KSM");
	write_string(KSM("sleep_millisecs"), "0");
	write_string(KSM("pages_to_scan"), "1000");
	/* Without anything to scan ksmd would never come to an end of it. */
	if (madvise(r, bytes(NP), MADV_MERGEABLE))
		SKIP(return, "MADV_MERGEABLE: %s", strerror(errno));
	sched_setaffinity(0, sizeof(self->cpus), &self->cpus);
	begin();
	ASSERT_EQ(write_string(KSM("run"), "1"), 0);
	while (time(NULL) < end || !merged) {
		char *p = map_filled(slot(self, 0), 3 * PIECE, SEED);
		char *q = map_filled(slot(self, 1), 3 * PIECE, SEED);
		const unsigned int *at = orders[rounds % 6];

		ASSERT_TRUE(p && q);
		ASSERT_EQ(madvise(p, bytes(3 * PIECE), MADV_MERGEABLE), 0);
		ASSERT_EQ(madvise(q, bytes(3 * PIECE), MADV_MERGEABLE), 0);
		ASSERT_TRUE(cut(p, 3, PIECE));
		ASSERT_TRUE(cut(q, 3, PIECE));
		/* From before the first page is merged to when all are. */
		usleep(rounds % 16 * 2000);
		merged |= ksm_get_self_merging_pages() > 0;
		for (unsigned int i = 0; i < 3; i++) {
			ASSERT_EQ(munmap(page(p, at[i] * PIECE), bytes(PIECE)), 0);
			for (unsigned int j = i + 1; j < 3; j++) {
				unsigned int first = at[j] * PIECE;

				ASSERT_TRUE(check(page(p, first), first, PIECE, SEED));
				fill(page(p, first), first, 1, SEED);
			}
			ASSERT_TRUE(check(q, 0, 3 * PIECE, SEED));
		}
		rounds++;
		ASSERT_LT(rounds, 100000u);
	}
	TH_LOG("%u rounds", rounds);
	EXPECT_EVENTS(EV_UPGRADE, 1, variant->action);
	ASSERT_EQ(ksm_stop(), 0);
	ASSERT_TRUE(sound(self, slot(self, 1), 0, 3 * PIECE, SEED));
	ASSERT_TRUE(sound(self, r, 0, NP, SEED2));
}

/* === Storms === */

/*
 * One thread migrates a region to and fro and another one swaps it out, all
 * the time, while it is split and merged, moved, unmapped, forked. What counts
 * is that each byte is right whenever the owner looks.
 */
struct storm {
	FIXTURE_DATA(anon_vma) * self;
	pthread_t migrator;
	pthread_t pager;
	atomic_bool stop;
	atomic_uintptr_t at;
	atomic_uint n;
	atomic_ulong moved;
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
			nodes[i] = s->self->node[turn & 1];
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

static void *storm_pager(void *arg)
{
	struct storm *s = arg;

	while (!s->stop) {
		madvise(storm_p(s), bytes(s->n), MADV_PAGEOUT);
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
static void storm_begin(struct storm *s, FIXTURE_DATA(anon_vma) * self)
{
	const char *env = getenv("ANON_VMA_LAZY_SECONDS");
	unsigned int seconds = env ? atoi(env) : 2;

	memset(s, 0, sizeof(*s));
	s->self = self;
	s->rnd = getpid();
	clock_gettime(CLOCK_MONOTONIC, &s->end);
	s->end.tv_sec += seconds;
}

static bool storm_start(struct storm *s, FIXTURE_DATA(anon_vma) * self, char *p,
			unsigned int n)
{
	storm_begin(s, self);
	s->at = (uintptr_t)p;
	s->n = n;
	storm_fill(s, 0, n);
	sched_setaffinity(0, sizeof(self->cpus), &self->cpus);
	if (self->numa &&
	    pthread_create(&s->migrator, NULL, storm_migrator, s))
		return false;
	return !self->swap || !pthread_create(&s->pager, NULL, storm_pager, s);
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
	if (s->self->numa)
		pthread_join(s->migrator, NULL);
	if (s->self->swap)
		pthread_join(s->pager, NULL);
	ksft_print_msg("%lu rounds, %lu pages migrated\n", s->rounds,
		       (unsigned long)s->moved);
}

/*
 * Once with the switch on, and once with somebody at the switch all the time,
 * so that VMAs of both kinds are beside each other.
 */
static const char *no_storm(FIXTURE_DATA(anon_vma) * self,
			    const FIXTURE_VARIANT(anon_vma) * variant)
{
	if (!self->numa && !self->swap)
		return "neither NUMA nodes nor swap";
	if (!variant->action)
		return "covered by the other storms";
	return NULL;
}

static void storm_switch(struct storm *s,
			 const FIXTURE_VARIANT(anon_vma) * variant)
{
	if (s->self->sysctl && variant->setup != variant->action)
		write_string(SYSCTL, s->rounds & 1 ? "1" : "0");
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
		if (s->self->swap)
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

/* All pages are what they should be, and some of them moved meanwhile. */
#define STORM_ENDS(s)							\
do {									\
	struct storm *__s = (s);					\
									\
	storm_stop(__s);						\
	ASSERT_TRUE(storm_check(__s));					\
	if (self->numa)							\
		EXPECT_GT((unsigned long)__s->moved, 0);		\
} while (0)

LAZY_TEST(storm_mprotect)
{
	static struct storm s;
	char *p = map(slot(self, 0), 2 * NP);

	if (no_storm(self, variant))
		SKIP(return, "%s", no_storm(self, variant));
	ASSERT_NE(p, NULL);
	ASSERT_TRUE(storm_start(&s, self, p, 2 * NP));
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
	EXPECT_STAYED_LAZY();
}

LAZY_TEST(storm_mremap)
{
	const int fixed = MREMAP_MAYMOVE | MREMAP_FIXED;
	static struct storm s;

	if (no_storm(self, variant))
		SKIP(return, "%s", no_storm(self, variant));
	ASSERT_NE(map(slot(self, 0), 2 * NP), NULL);
	ASSERT_TRUE(storm_start(&s, self, slot(self, 0), 2 * NP));
	while (storm_goes_on(&s)) {
		char *p = storm_p(&s), *q = slot(self, s.rounds & 15);
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
	EXPECT_STAYED_LAZY();
}

LAZY_TEST(storm_munmap)
{
	static struct storm s;
	char *p = map(slot(self, 0), 2 * NP);

	if (no_storm(self, variant))
		SKIP(return, "%s", no_storm(self, variant));
	ASSERT_NE(p, NULL);
	ASSERT_TRUE(storm_start(&s, self, p, 2 * NP));
	while (storm_goes_on(&s)) {
		unsigned int from = storm_rnd(&s, s.n - 1);
		unsigned int n = 1 + storm_rnd(&s, s.n - from);

		storm_switch(&s, variant);
		if (s.rounds & 1) {
			/* All of it: a lazy one is gone as it was. */
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
	EXPECT_STAYED_LAZY();
}

LAZY_TEST(storm_fork)
{
	static struct storm s;
	char *p = map(slot(self, 0), 2 * NP);

	if (no_storm(self, variant))
		SKIP(return, "%s", no_storm(self, variant));
	ASSERT_NE(p, NULL);
	ASSERT_TRUE(storm_start(&s, self, p, 2 * NP));
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
LAZY_TEST(storm_thp)
{
	const unsigned int n = self->pmd_size / psize();
	char *p = self->arena + self->pmd_size;
	static struct storm s;

	if (no_storm(self, variant))
		SKIP(return, "%s", no_storm(self, variant));
	if (no_thp(self))
		SKIP(return, "%s", no_thp(self));
	ASSERT_NE(map(p, n), NULL);
	ASSERT_EQ(madvise(p, self->pmd_size, MADV_HUGEPAGE), 0);
	ASSERT_TRUE(storm_start(&s, self, p, n));
	while (storm_goes_on(&s)) {
		unsigned int from = storm_rnd(&s, n);

		storm_switch(&s, variant);
		switch (s.rounds % 4) {
		case 0:
			ASSERT_EQ(munmap(p, self->pmd_size), 0);
			ASSERT_NE(map(p, n), NULL);
			madvise(p, self->pmd_size, MADV_HUGEPAGE);
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
			madvise(p, self->pmd_size, MADV_COLLAPSE);
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
LAZY_TEST(storm_group)
{
	static struct storm s;
	char *p = map(slot(self, 0), NP);

	if (no_storm(self, variant))
		SKIP(return, "%s", no_storm(self, variant));
	ASSERT_NE(p, NULL);
	ASSERT_TRUE(storm_start(&s, self, p, NP));
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
 * they are merged with what is there, so VMAs of one group take over pages from
 * each other while these are migrated.
 */
LAZY_TEST(storm_chunks)
{
	const unsigned int nr = 4, n = 4;
	static struct storm s;
	char *p = map(slot(self, 0), 2 * nr * n);
	unsigned int place[4] = { 0 };
	uint64_t seed = SEED;

	if (no_storm(self, variant))
		SKIP(return, "%s", no_storm(self, variant));
	if (!self->numa)
		SKIP(return, NO_NUMA);
	ASSERT_NE(p, NULL);
	/* What is swapped out is not migrated. */
	self->swap = false;
	/* Its second half is the other place. */
	ASSERT_TRUE(storm_start(&s, self, p, 2 * nr * n));
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
	EXPECT_STAYED_LAZY();
	for (unsigned int i = 0; i < nr; i++)
		ASSERT_TRUE(check(page(p, (place[i] * nr + i) * n), i * n, n, seed));
	EXPECT_GT((unsigned long)s.moved, 0);
}

/*
 * The stacks of a family grow, all at once. Each is in the trees of its ancestors,
 * where its place changes, so it needs their lock.
 */
LAZY_TEST(storm_family)
{
	const unsigned int start = 4, n = 4 * SLOT_PAGES;
	static struct storm s;
	struct rlimit limit;
	struct kid k[3];
	char *p = slot(self, 8);

	if (!variant->action)
		SKIP(return, "covered by the other storms");
	/* With large pages it grows to more than is usual. */
	ASSERT_EQ(getrlimit(RLIMIT_STACK, &limit), 0);
	limit.rlim_cur = limit.rlim_max;
	ASSERT_EQ(setrlimit(RLIMIT_STACK, &limit), 0);
	/* Room to grow, and the gap below. */
	ASSERT_EQ(munmap(slot(self, 0), bytes(8 * SLOT_PAGES)), 0);
	sched_setaffinity(0, sizeof(self->cpus), &self->cpus);
	begin();
	storm_begin(&s, self);
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
		ASSERT_TRUE(sound(self, p, 0, start, SEED));
		ASSERT_EQ(munmap(p - bytes(n), bytes(n + start)), 0);
	}
	EXPECT_BECAME_LAZY(1);
}

/*
 * Many VMAs are unmapped while their pages are migrated, and are held for that.
 * Their structs may be freed later then, but they are.
 */
LAZY_TEST(storm_holds)
{
	const unsigned int nr = 32, n = 2, rounds = 100, slack = 200;
	unsigned long was = 0, now = 0;
	static struct storm s;
	char *p = map(slot(self, 0), nr * n);
	bool seen;

	if (!variant->action)
		SKIP(return, "covered by the other storms");
	if (!self->numa)
		SKIP(return, NO_NUMA);
	ASSERT_NE(p, NULL);
	seen = leaks_are_seen(slot(self, 1));
	if (!seen && deferred() < 0)
		SKIP(return, NO_LEAKS);
	/* What is swapped out is not migrated. */
	self->swap = false;
	deferred_window(self);
	ASSERT_TRUE(storm_start(&s, self, p, nr * n));
	for (; s.rounds < rounds; s.rounds++) {
		storm_switch(&s, variant);
		/* No two that are beside each other can be a group. */
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

TEST_HARNESS_MAIN
