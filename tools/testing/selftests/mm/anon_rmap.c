// SPDX-License-Identifier: GPL-2.0
/* What the tests of anonymous memory and its reverse mapping have in common. */
#define _GNU_SOURCE
#include <linux/userfaultfd.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include "hugepage_settings.h"
#include "anon_rmap.h"

#define DEFERRED	"/sys/kernel/debug/anon_vma_lazy/deferred"
#define VERIFY		"/sys/kernel/debug/anon_vma_lazy/verify"

static struct test_env the_env;
struct test_env *env = &the_env;

const unsigned int orders[6][3] = {
	{ 0, 1, 2 }, { 0, 2, 1 }, { 1, 0, 2 }, { 1, 2, 0 }, { 2, 0, 1 }, { 2, 1, 0 },
};

/*
 * Settings that tests change. They are read before the first test, and put back
 * after each one, before each one in case the one before was killed, and when
 * there is no test any more.
 */
static struct setting {
	const char *path;
	char value[64];
	bool valid;
} settings[] = {
	{ .path = LAZY_SYSCTL },
	{ .path = KSM("run") },
	{ .path = KSM("sleep_millisecs") },
	{ .path = KSM("pages_to_scan") },
	{ .path = THP("hugepages-64kB/enabled") },
	{ .path = "/proc/sys/vm/nr_hugepages" },
	{ .path = FAILSLAB("ignore-gfp-wait") },
	{ .path = FAILSLAB("verbose") },
};

/* What else is to be undone. Who does that may be another process. */
static struct undo {
	char cgroup_root[64];
	char cgroup[128];
	bool cgroup_mounted;
	bool cgroup_enabled;
} *undo;

/* The first swap device, as it was at first. */
static char swap_dev[256];
static int swap_prio;

/* Print a diagnostic in whichever process this is. */
__printf(1, 2) void complain(const char *fmt, ...)
{
	char buf[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(buf, sizeof(buf), fmt, ap);
	va_end(ap);
	/* One write(), and no stdio lock that a fork may have left locked. */
	dprintf(STDERR_FILENO, "# pid %d: %s\n", getpid(), buf);
}

/* Read a setting: of "always [madvise] never" what is in brackets. */
bool read_setting(const char *path, char *value, size_t size)
{
	char buf[256], *start;

	if (!read_file(path, buf, sizeof(buf)))
		return false;
	start = strchr(buf, '[');
	start = start ? start + 1 : buf;
	start[strcspn(start, "]\n")] = '\0';
	return snprintf(value, size, "%s", start) < (int)size;
}

/* The first swap device, or @want if that is one. */
static bool find_swap(const char *want, char *dev, int *prio)
{
	FILE *f = fopen("/proc/swaps", "r");
	bool found = false;
	char line[512];

	if (!f)
		return false;
	/* The first line says what the columns are. */
	for (unsigned int i = 0; !found && fgets(line, sizeof(line), f); i++)
		found = i && sscanf(line, "%255s %*s %*s %*s %d", dev, prio) == 2 &&
			(!want || !strcmp(dev, want));
	fclose(f);
	return found;
}

static void settings_save(void)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(settings); i++) {
		struct setting *s = &settings[i];

		s->valid = read_setting(s->path, s->value, sizeof(s->value));
	}
	if (!find_swap(NULL, swap_dev, &swap_prio))
		*swap_dev = '\0';
}

/* Switch the first swap device on as it was, if it is off. */
bool swap_restore(void)
{
	/* A priority that is negative was given by the kernel. */
	const int prio = swap_prio < 0 ? 0 : SWAP_FLAG_PREFER | swap_prio;
	char now[256];

	return !*swap_dev || find_swap(swap_dev, now, &(int){ 0 }) || !swapon(swap_dev, prio);
}

static void settings_restore(void)
{
	char now[256];

	for (unsigned int i = 0; i < ARRAY_SIZE(settings); i++) {
		struct setting *s = &settings[i];

		if (!s->valid || !read_setting(s->path, now, sizeof(now)))
			continue;
		if (strcmp(now, s->value) && try_write_file(s->path, s->value))
			complain("%s was not restored", s->path);
	}
	if (!swap_restore())
		complain("swapon %s: %s", swap_dev, strerror(errno));
}

static void cgroup_remove(void)
{
	char path[256];

	if (*undo->cgroup) {
		/* Whoever is in it was killed, or is left over. */
		snprintf(path, sizeof(path), "%s/cgroup.kill", undo->cgroup);
		try_write_file(path, "1");
		for (int i = 0; i < TRIES && rmdir(undo->cgroup) && errno == EBUSY; i++)
			usleep(i * 1000);
		*undo->cgroup = '\0';
	}
	if (undo->cgroup_enabled) {
		snprintf(path, sizeof(path), "%s/cgroup.subtree_control", undo->cgroup_root);
		try_write_file(path, "-memory");
		undo->cgroup_enabled = false;
	}
	if (undo->cgroup_mounted) {
		umount(undo->cgroup_root);
		rmdir(undo->cgroup_root);
		undo->cgroup_mounted = false;
	}
}

void env_restore(void)
{
	cgroup_remove();
	rmdir(TRACES);
	settings_restore();
}

static void kill_children(int sig)
{
	char path[64], buf[4096] = "";
	char *at, *end;

	snprintf(path, sizeof(path), "/proc/self/task/%d/children", getpid());
	read_file(path, buf, sizeof(buf));
	for (at = buf; ; at = end) {
		pid_t pid = strtol(at, &end, 10);

		if (end == at)
			break;
		kill(pid, sig);
	}
}

static void on_signal(int sig)
{
	kill_children(SIGKILL);
}

static bool find_nodes(int *node)
{
	unsigned long mask[16] = { 0 };
	unsigned int found = 0;

	/* Migration of what is shared takes a capability. */
	if (sys_move_pages(0, 0, NULL, NULL, NULL, MPOL_MF_MOVE_ALL) < 0)
		return false;
	if (syscall(__NR_get_mempolicy, NULL, mask, sizeof(mask) * 8, NULL,
		    MPOL_F_MEMS_ALLOWED))
		return false;
	for (unsigned int i = 0; i < sizeof(mask) * 8 && found < 2; i++) {
		if (mask[i / (8 * sizeof(long))] >> i % (8 * sizeof(long)) & 1)
			node[found++] = i;
	}
	return found == 2;
}

/*
 * Run all tests in a child. Settings are restored when it has ended, whatever
 * it was that ended it.
 */
int env_main(int argc, char **argv, int (*run)(int argc, char **argv))
{
	int status = 0, node[2];
	pid_t child;

	undo = mmap(NULL, sizeof(*undo), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		    -1, 0);
	if (undo == MAP_FAILED)
		ksft_exit_fail_perror("mmap()");
	settings_save();
	if (!*swap_dev && !find_nodes(node))
		complain(NO_SWAP "; " NO_NUMA ": pages are looked at, but not moved");

	/* Of a child that was killed its own children come here. */
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	child = fork();
	if (child < 0)
		ksft_exit_fail_perror("fork()");
	if (!child)
		exit(run(argc, argv));

	signal(SIGHUP, on_signal);
	signal(SIGINT, on_signal);
	signal(SIGTERM, on_signal);
	while (waitpid(child, &status, 0) != child)
		;
	do {
		kill_children(SIGKILL);
	} while (waitpid(-1, NULL, 0) > 0);
	env_restore();
	return WIFEXITED(status) ? WEXITSTATUS(status) : KSFT_FAIL;
}

#define ALL_EVENTS ((1u << NR_EVENTS) - 1)

static unsigned int read_events(unsigned long *value);

/*
 * Does a split let the second VMA join a group, instead of upgrading the first? So
 * many are split that others' upgrades hardly matter.
 */
static bool find_groups(void)
{
	const unsigned int nr = 32;
	char *p = env->arena;
	bool groups = false;

	/* With groups, others may yet have as many. Without, it is always as many. */
	for (unsigned int turn = 0; turn < 3 && !groups; turn++) {
		for (unsigned int i = 0; i < nr; i++) {
			if (!map_filled(page(p, 4 * i), 3, SEED))
				return false;
		}
		window();
		for (unsigned int i = 0; i < nr; i++)
			mprotect(page(p, 4 * i + 1), psize(), PROT_READ);
		groups = events(EV_UPGRADE) < nr;
	}
	mmap(p, bytes(4 * nr), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED,
	     -1, 0);
	return groups;
}

/* Returns why there can be no test, or NULL. There is no env->arena if this fails. */
const char *env_setup(bool setup, bool action)
{
	unsigned long value[NR_EVENTS];
	unsigned int found;
	uint64_t pfn = 0;
	cpu_set_t one;
	size_t align;
	int prio;
	pid_t pid;
	char *p;

	/* What a test has left that was killed. */
	env_restore();

	if (access(LAZY_SYSCTL, F_OK)) {
		if (!setup || !action || env->lazy_tests)
			return "no " LAZY_SYSCTL;
	} else if (access(LAZY_SYSCTL, W_OK)) {
		if (setup != action || read_num(LAZY_SYSCTL) != setup || env->lazy_tests)
			return LAZY_SYSCTL " wants root";
	} else {
		env->sysctl = true;
		found = read_events(value);
		env->events = found == ALL_EVENTS;
		/* Who counts faults, but not the others, has a bug. */
		if (found && !env->events)
			return NULL;
		if (!found && env->lazy_tests)
			return "no CONFIG_VM_EVENT_COUNTERS";
		if (try_write_file(LAZY_SYSCTL, "1"))
			return NULL;
	}

	/* A child that is gone is seen by what it does not answer. */
	signal(SIGPIPE, SIG_IGN);

	env->swap = find_swap(NULL, env->swap_dev, &prio);
	env->numa = find_nodes(env->node);
	env->pmd_size = read_pmd_pagesize();
	get_pfns((char *)&pfn, 1, &pfn);
	env->pfns = pfn;

	/*
	 * Reserve address space: what is mapped in it has no neighbours, and is
	 * not merged with anything, but as the test arranges it.
	 */
	align = env->pmd_size ?: psize();
	env->arena_size = bytes(NR_SLOTS * SLOT_PAGES);
	p = mmap(NULL, env->arena_size + 2 * align, PROT_NONE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return NULL;
	/* A page or more is left on either side. */
	env->arena = (char *)(((unsigned long)p + psize() + align - 1) & ~(align - 1));

	/*
	 * Freshly faulted pages wait in a batch of their CPU before they are on
	 * an LRU list, and operations that take them off it drain only the
	 * batch of the CPU they run on. Stay on one, where nothing is to race.
	 */
	sched_getaffinity(0, sizeof(env->cpus), &env->cpus);
	CPU_ZERO(&one);
	for (int i = 0; i < CPU_SETSIZE && !CPU_COUNT(&one); i++) {
		if (CPU_ISSET(i, &env->cpus))
			CPU_SET(i, &one);
	}
	sched_setaffinity(0, sizeof(one), &one);

	env->groups = env->events && find_groups();
	if (env->sysctl)
		try_write_file(LAZY_SYSCTL, setup ? "1" : "0");

	/*
	 * The VMAs of the program itself are likely to be lazy, since it was
	 * forked. Have them upgraded, so that no later fork of this process
	 * counts any but what the test has mapped.
	 */
	pid = fork();
	if (!pid)
		_exit(0);
	if (pid < 0 || !reap(pid))
		env->arena = NULL;
	window();
	return NULL;
}

bool env_action(bool setup, bool action)
{
	bool ok = true;

	if (env->sysctl && setup != action)
		ok = !try_write_file(LAZY_SYSCTL, action ? "1" : "0");
	window();
	return ok;
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

void fill_page(char *page, uint64_t seed, unsigned int index)
{
	uint64_t *word = (uint64_t *)page;
	uint64_t x = page_start(seed, index);

	for (unsigned int i = 0; i < psize() / sizeof(*word); i++) {
		x = next_word(x);
		word[i] = x;
	}
}

bool page_is(const char *page, uint64_t seed, unsigned int index, unsigned int *bad)
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

bool check_page(const char *page, uint64_t seed, unsigned int index)
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
void fill(char *p, unsigned int first, unsigned int n, uint64_t seed)
{
	for (unsigned int i = 0; i < n; i++)
		fill_page(page(p, i), seed, first + i);
}

bool check(const char *p, unsigned int first, unsigned int n, uint64_t seed)
{
	bool ok = true;

	for (unsigned int i = 0; i < n; i++)
		ok &= check_page(page((char *)p, i), seed, first + i);
	return ok;
}

/* As check(), but each page has a seed of its own. */
bool check_seeds(const char *p, const uint64_t *seed, unsigned int n)
{
	bool ok = true;

	for (unsigned int i = 0; i < n; i++)
		ok &= check_page(page((char *)p, i), seed[i], i);
	return ok;
}

void set_page(char *p, uint64_t *seeds, unsigned int i, uint64_t seed)
{
	fill_page(page(p, i), seed, i);
	seeds[i] = seed;
}

bool check_zero(const char *p, unsigned int n)
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

/* To be called before the fork, which need not be the caller's own. */
bool kid_prepare(struct kid *k)
{
	k->pid = -1;
	return !pipe(k->go) && !pipe(k->ack);
}

void kid_is_me(struct kid *k)
{
	close(k->go[1]);
	close(k->ack[0]);
}

void kid_is_child(struct kid *k, pid_t pid)
{
	k->pid = pid;
	close(k->go[0]);
	close(k->ack[1]);
}

/* Returns true in the child. In the parent k->pid is -1 if there is none. */
bool kid_spawn(struct kid *k)
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

__noreturn void kid_exit(bool ok)
{
	_exit(ok ? 0 : 1);
}

/* The child says how far it came, and waits to be told to go on. */
void kid_pause(struct kid *k, bool ok)
{
	char byte = ok;

	if (write(k->ack[1], &byte, 1) != 1 || read(k->go[0], &byte, 1) != 1)
		kid_exit(false);
}

/* Wait until the child pauses; false if it failed so far or has died. */
bool kid_paused(struct kid *k)
{
	char byte = 0;

	return read(k->ack[0], &byte, 1) == 1 && byte;
}

void kid_go(struct kid *k)
{
	char byte = 1;

	if (write(k->go[1], &byte, 1) != 1)
		complain("child %d is not there", k->pid);
}

/* As waitpid(): -1 stands for whichever child is next. */
bool reap(pid_t pid)
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
bool kid_end(struct kid *k)
{
	bool ok = reap(k->pid);

	close(k->go[1]);
	close(k->ack[0]);
	return ok;
}

bool kid_finish(struct kid *k)
{
	kid_go(k);
	return kid_end(k);
}

/* Where pages are. */
unsigned int count_entries(pid_t pid, char *p, unsigned int n, uint64_t flag)
{
	unsigned int count = 0;
	int fd = pagemap_open(pid);

	for (unsigned int i = 0; i < n; i++)
		count += !!(pagemap_get_entry(fd, page(p, i)) & flag);
	close(fd);
	return count;
}

unsigned int count_swapped(pid_t pid, char *p, unsigned int n)
{
	return count_entries(pid, p, n, PM_SWAP);
}

unsigned int count_present(pid_t pid, char *p, unsigned int n)
{
	return count_entries(pid, p, n, PM_PRESENT);
}

/*
 * Have two processes the same page mapped in @want of the @n pages? Who may not
 * see page frame numbers takes it for granted.
 */
bool shared(pid_t pid, char *p, pid_t pid2, char *p2, unsigned int n, unsigned int want)
{
	int fd = pagemap_open(pid), fd2 = pagemap_open(pid2);
	unsigned int count = 0;

	for (unsigned int i = 0; i < n; i++) {
		unsigned long a = pagemap_get_pfn(fd, page(p, i));
		unsigned long b = pagemap_get_pfn(fd2, page(p2, i));

		count += a != -1ul && a == b;
	}
	close(fd);
	close(fd2);
	if (!env->pfns || count == want)
		return true;
	complain("%d and %d share %u of %u pages, not %u", pid, pid2, count, n, want);
	return false;
}

void get_pfns(char *p, unsigned int n, uint64_t *pfn)
{
	int fd = pagemap_open(getpid());

	for (unsigned int i = 0; i < n; i++)
		pfn[i] = PAGEMAP_PFN(pagemap_get_entry(fd, page(p, i)));
	close(fd);
}

/* How many VMAs have a part in the range? */
unsigned int count_vmas(char *p, unsigned int n)
{
	char *end = page(p, n), *at = p;
	struct procmap_fd procmap;
	unsigned int count = 0;

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

/* NUMA. Raw system calls, for the sake of machines without libnuma. */
long sys_move_pages(pid_t pid, unsigned long count, void **pages, const int *nodes,
		    int *status, int flags)
{
	return syscall(__NR_move_pages, pid, count, pages, nodes, status, flags);
}

unsigned int count_on_node(pid_t pid, char *p, unsigned int n, int node)
{
	static void *pages[MAX_PAGES];
	static int status[MAX_PAGES];
	unsigned int count = 0;

	for (unsigned int i = 0; i < n; i++)
		pages[i] = page(p, i);
	if (sys_move_pages(pid, n, pages, NULL, status, 0))
		return 0;
	for (unsigned int i = 0; i < n; i++)
		count += status[i] == node;
	return count;
}

/* All @n pages have to arrive; migration may want more than one attempt. */
bool migrate_to(pid_t pid, char *p, unsigned int n, int node, int flags)
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
			pages[i] = page(p, i);
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

/* Swap. MADV_PAGEOUT takes no page that a second process has mapped. */
bool swap_out(char *p, unsigned int n)
{
	for (int i = 0; i < TRIES; i++) {
		/* They may be on their way to the LRU, or to the disk. */
		usleep(i * i * 1000);
		if (madvise(p, bytes(n), MADV_PAGEOUT)) {
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

/*
 * Have reverse mapping work for all these pages, which must be the caller's
 * alone: unless it finds their one page table entry they cannot be migrated or
 * swapped out. The contents are for the caller to check.
 */
bool shake(char *p, unsigned int n)
{
	/* A debug kernel walks to each page, even without swap and nodes. */
	bool ok = verify(getpid());

	if (env->numa) {
		ok &= migrate_to(0, p, n, env->node[1], MPOL_MF_MOVE_ALL);
		ok &= migrate_to(0, p, n, env->node[0], MPOL_MF_MOVE_ALL);
	}
	if (env->swap)
		ok &= swap_out(p, n);
	return ok;
}

/* Are they there, before and after they were shaken? */
bool sound(char *p, unsigned int first, unsigned int n, uint64_t seed)
{
	return check(p, first, n, seed) && shake(p, n) && check(p, first, n, seed);
}

/* Private anonymous memory at @at, over whatever is there; NULL if it fails. */
char *map(char *at, unsigned int n)
{
	char *p = mmap(at, bytes(n), PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

char *map_filled(char *at, unsigned int n, uint64_t seed)
{
	char *p = map(at, n);

	if (p)
		fill(p, 0, n, seed);
	return p;
}

/* Cut the VMA at @p into @nr VMAs of @n pages each, which differ in a flag. */
bool cut(char *p, unsigned int nr, unsigned int n)
{
	for (unsigned int i = 1; i < nr; i += 2) {
		if (madvise(page(p, i * n), bytes(n), MADV_DONTDUMP))
			return false;
	}
	return count_vmas(p, nr * n) == nr;
}

/* And put them together again. */
bool uncut(char *p, unsigned int n)
{
	return !madvise(p, bytes(n), MADV_DODUMP) && count_vmas(p, n) == 1;
}

/*
 * A place for a huge page, in a VMA that starts and ends with it (as long as @i
 * is odd). Returns NULL if none was to be had when it was filled.
 */
char *map_thp(unsigned int i, uint64_t seed)
{
	const unsigned int n = env->pmd_size / psize();
	char *p = env->arena + i * env->pmd_size;

	if (!map(p, n) || madvise(p, env->pmd_size, MADV_HUGEPAGE))
		return NULL;
	fill(p, 0, n, seed);
	return check_huge_anon(p, env->pmd_size, 1, env->pmd_size) ? p : NULL;
}

/* Returns why there can be no test of huge pages, or NULL. */
const char *no_thp(void)
{
	if (!thp_is_enabled() || !env->pmd_size)
		return "no transparent huge pages";
	if (env->pmd_size > MAX_PAGES * (size_t)psize() ||
	    env->pmd_size * 8 > env->arena_size)
		return "huge pages are too large";
	return NULL;
}

bool collapse(char *p, size_t size)
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

/* Have KSM scan fast, and something to scan. Returns a reason why not, or NULL. */
const char *ksm_prepare(char *p, unsigned int n)
{
	if (access(KSM("run"), W_OK) || ksm_get_full_scans() < 0)
		return "no KSM, or no root";
	try_write_file(KSM("sleep_millisecs"), "0");
	try_write_file(KSM("pages_to_scan"), "1000");
	/* Without anything to scan ksmd would never come to an end of it. */
	return madvise(p, bytes(n), MADV_MERGEABLE) ? "no MADV_MERGEABLE" : NULL;
}

bool ksm_merge(long pages)
{
	/* A page has to be found unchanged before it is a candidate. */
	for (unsigned int i = 0; i < 6; i++) {
		if (ksm_start())
			return false;
		if (ksm_get_self_merging_pages() >= pages)
			return true;
	}
	complain("KSM has merged %ld of %ld pages", ksm_get_self_merging_pages(), pages);
	return false;
}

int uffd_open(uint64_t features)
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

bool uffd_move(int fd, char *dst, char *src, unsigned int n)
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

/* The kernel reads it for us, so that there is no signal. */
bool is_guarded(char *p)
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

/* A memory cgroup of its own. Returns a reason why not, or NULL. */
const char *cgroup_enter(void)
{
	char path[256], buf[256] = "";
	FILE *f;

	snprintf(undo->cgroup_root, sizeof(undo->cgroup_root), "/sys/fs/cgroup");
	if (access("/sys/fs/cgroup/cgroup.controllers", F_OK)) {
		snprintf(undo->cgroup_root, sizeof(undo->cgroup_root), "/tmp/anon_rmap.XXXXXX");
		if (!mkdtemp(undo->cgroup_root)) {
			snprintf(undo->cgroup_root, sizeof(undo->cgroup_root), "/anon_rmap.XXXXXX");
			if (!mkdtemp(undo->cgroup_root))
				return "no place to mount cgroup2";
		}
		if (mount("none", undo->cgroup_root, "cgroup2", 0, NULL)) {
			rmdir(undo->cgroup_root);
			return "no cgroup2";
		}
		undo->cgroup_mounted = true;
	}
	snprintf(path, sizeof(path), "%s/cgroup.subtree_control",
		 undo->cgroup_root);
	f = fopen(path, "r");
	if (!f || !fgets(buf, sizeof(buf), f) || !strstr(buf, "memory")) {
		if (try_write_file(path, "+memory")) {
			if (f)
				fclose(f);
			return "no memory controller in cgroup2";
		}
		undo->cgroup_enabled = true;
	}
	if (f)
		fclose(f);
	snprintf(undo->cgroup, sizeof(undo->cgroup), "%s/anon_rmap.%d",
		 undo->cgroup_root, getpid());
	if (mkdir(undo->cgroup, 0755)) {
		*undo->cgroup = '\0';
		return "no cgroup could be made";
	}
	snprintf(path, sizeof(path), "%s/cgroup.procs", undo->cgroup);
	if (try_write_file(path, "0"))
		return "the cgroup cannot be entered";
	snprintf(path, sizeof(path), "%s/memory.reclaim", undo->cgroup);
	if (access(path, W_OK))
		return "no memory.reclaim";
	return NULL;
}

void cgroup_reclaim(size_t size)
{
	char path[256], buf[64];

	snprintf(path, sizeof(path), "%s/memory.reclaim", undo->cgroup);
	snprintf(buf, sizeof(buf), "%zu swappiness=max", size);
	if (try_write_file(path, buf) == -EINVAL) {
		snprintf(buf, sizeof(buf), "%zu", size);
		try_write_file(path, buf);
	}
}

/* Bytes of it that are both in memory and in swap. */
size_t cgroup_swapcached(void)
{
	char path[256], line[128];
	size_t n = 0;
	FILE *f;

	snprintf(path, sizeof(path), "%s/memory.stat", undo->cgroup);
	f = fopen(path, "r");
	while (f && fgets(line, sizeof(line), f) &&
	       sscanf(line, "swapcached %zu", &n) != 1)
		;
	if (f)
		fclose(f);
	return n;
}

/*
 * What a kernel with lazy VMAs counts. The events are counted for all of the
 * system, and others may have VMAs that become lazy, or are upgraded. That an
 * event has happened is therefore tested with >=. That it has not is tested only
 * where it would have happened often, and others' are not as many.
 */
#define OFTEN	16u

static const char * const event_name[NR_EVENTS] = {
	[EV_LAZY]	= "anon_vma_lazy",
	[EV_UPGRADE]	= "anon_vma_upgrade",
	[EV_FAULT]	= "pgfault",
};

static unsigned long base[NR_EVENTS];
static long deferred_base;

static unsigned int read_events(unsigned long *value)
{
	/* Static: no part of a test may grow a stack or map memory for it. */
	static char buf[65536];
	int fd = open("/proc/vmstat", O_RDONLY);
	unsigned int found = 0;
	size_t len = 0;
	ssize_t ret;
	char *line;

	if (fd < 0)
		return 0;
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
	return found;
}

/* Start a window, in which events are counted. */
void window(void)
{
	if (env->events)
		read_events(base);
}

unsigned long events(enum event e)
{
	unsigned long now[NR_EVENTS] = { 0 };

	read_events(now);
	return now[e] - base[e];
}

/* Did the event happen @n times or more if @cond, and less often otherwise? */
bool events_fit(enum event e, unsigned long n, bool cond)
{
	unsigned long happened;

	if (!env->events || (!cond && n < OFTEN))
		return true;
	happened = events(e);
	if (cond ? happened >= n : happened < n)
		return true;
	complain("%s: %lu, not %lu or %s", event_name[e], happened, n, cond ? "more" : "less");
	return false;
}

/*
 * Is the VMA lazy, if @cond says that it should be? That can be told only by
 * something that ends it: cut it into more VMAs than may be in a group, and put
 * it together again. From then on it is not lazy, so this comes last. It has to
 * have ten pages.
 */
bool lazy_fit(char *p, unsigned int n, bool cond)
{
	bool ok;

	window();
	ok = cut(p, GROUP_MAX + 1, 1);
	ok &= events_fit(EV_UPGRADE, 1, cond);
	return uncut(p, n) && ok;
}

/* Of how many structs is the free deferred? Negative if the kernel does not tell. */
long deferred(void)
{
	char value[64];

	return read_setting(DEFERRED, value, sizeof(value)) ? atol(value) : -1;
}

/* Count them from now on. Those from before may wait for a grace period only. */
void deferred_window(void)
{
	unsigned int same = 0;

	deferred_base = deferred();
	for (int i = 0; i < 100 && same < 4 && deferred_base >= 0; i++) {
		long now;

		usleep(50000);
		now = deferred();
		same = now == deferred_base ? same + 1 : 0;
		deferred_base = now;
	}
}

/* How many more of them are there than when the window began? */
long deferred_more(void)
{
	return deferred_base < 0 ? -1 : deferred() - deferred_base;
}

/* Are there @n more or still more if @cond, and less otherwise? */
bool deferred_fit(long n, bool cond)
{
	long more = deferred() - deferred_base;

	if (deferred_base < 0 || (cond ? more >= n : more < n))
		return true;
	complain("the free of %ld structs is deferred, not of %ld or %s", more, n,
		 cond ? "more" : "less");
	return false;
}

/* Wait for them to be freed. Are they, in the end? Others have some of their own. */
bool deferred_ends(void)
{
	for (int i = 0; i < 50 && deferred() > deferred_base; i++)
		usleep(100000);
	return deferred_fit(OFTEN, false);
}

/* What a debug kernel says of a process. */
bool verify(pid_t pid)
{
	char value[16];

	snprintf(value, sizeof(value), "%d", pid);
	return try_write_file(VERIFY, value) != -EUCLEAN;
}

/*
 * Objects in use, or 0. Those that the cache keeps for the next one to ask count
 * too, as many as ever were in use at once: it is told to let go of them.
 */
unsigned long slab_objects(const char *name)
{
	unsigned long objects = 0;
	size_t n = strlen(name);
	char line[512];
	FILE *f;

	snprintf(line, sizeof(line), "/sys/kernel/slab/%s/shrink", name);
	try_write_file(line, "1");
	f = fopen("/proc/slabinfo", "r");
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

/* Can a leak of VMAs be seen in /proc/slabinfo? It may be that frees are held back. */
bool leaks_are_seen(char *p)
{
	return slab_objects("vm_area_struct") && !frees_held_back(p);
}
