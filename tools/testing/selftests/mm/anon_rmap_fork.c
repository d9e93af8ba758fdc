// SPDX-License-Identifier: GPL-2.0
/*
 * Fork: what parent, children and grandchildren find in memory that was theirs
 * before a fork, and what the kernel finds that looks for its pages.
 */
#define _GNU_SOURCE
#include "kselftest_harness.h"
#include <alloca.h>
#include "anon_rmap.h"

/* Copies of a file's pages in a private mapping of it are anonymous. */
ANON_TEST(fault_file_private)
{
	uint64_t seed[NP], child_seed[NP];
	char *p = slot(0);
	struct kid k;
	int fd;

	fd = memfd_create("anon_rmap", MFD_CLOEXEC);
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
	for (unsigned int i = 0; i < NP; i += 2)
		set_page(p, seed, i, SEED2);
	ASSERT_TRUE(check_seeds(p, seed, NP));

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

	ASSERT_EQ(mprotect(page(p, NP / 4), bytes(NP / 2), PROT_READ), 0);
	ASSERT_EQ(mremap(p, bytes(NP / 4), bytes(NP / 4),
			 MREMAP_MAYMOVE | MREMAP_FIXED, slot(1)),
		  slot(1));
	ASSERT_TRUE(check_seeds(slot(1), seed, NP / 4));
	for (unsigned int i = NP / 4; i < NP; i++)
		ASSERT_TRUE(check_page(page(p, i), seed[i], i));
	ASSERT_TRUE(kid_finish(&k));
	for (unsigned int i = NP / 4; i < NP; i++)
		ASSERT_TRUE(check_page(page(p, i), seed[i], i));
	close(fd);
}

ANON_TEST(fork_cow)
{
	char *p = map_filled(slot(0), NP, SEED);
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
	EXPECT_TRUE(shared(getpid(), p, k.pid, p, NP, NP));

	/* The child writes to every second page, the parent to every third. */
	kid_go(&k);
	ASSERT_TRUE(kid_paused(&k));
	ASSERT_TRUE(check_seeds(p, seed, NP));
	EXPECT_TRUE(shared(getpid(), p, k.pid, p, NP, NP / 2));
	for (unsigned int i = 0; i < NP; i += 3)
		set_page(p, seed, i, SEED3);
	ASSERT_TRUE(check_seeds(p, seed, NP));
	EXPECT_TRUE(shared(getpid(), p, k.pid, p, NP, NP / 2 - (NP + 2) / 6));
	ASSERT_TRUE(kid_finish(&k));
	ASSERT_TRUE(check_seeds(p, seed, NP));
	ASSERT_TRUE(shake(p, NP));
	ASSERT_TRUE(check_seeds(p, seed, NP));
}

/* A second fork, while the first child is there. */
ANON_TEST(fork_again)
{
	char *p = map_filled(slot(0), NP, SEED);
	struct kid k, k2;

	ASSERT_NE(p, NULL);
	begin();
	if (kid_spawn(&k)) {
		kid_pause(&k, check(p, 0, NP, SEED));
		kid_exit(check(p, 0, NP, SEED));
	}
	ASSERT_GT(k.pid, 0);
	ASSERT_TRUE(kid_paused(&k));

	if (kid_spawn(&k2)) {
		bool ok = check(p, 0, NP, SEED);

		fill(p, 0, NP, SEED2);
		kid_pause(&k2, ok);
		kid_exit(check(p, 0, NP, SEED2));
	}
	ASSERT_GT(k2.pid, 0);
	ASSERT_TRUE(kid_paused(&k2));

	fill(p, 0, NP, SEED3);
	ASSERT_TRUE(kid_finish(&k));
	ASSERT_TRUE(kid_finish(&k2));
	ASSERT_TRUE(check(p, 0, NP, SEED3));
}

/* Nobody has touched it before the fork: parent and child share nothing. */
ANON_TEST(fork_unfaulted)
{
	char *p = map(slot(0), NP);
	struct kid k;

	ASSERT_NE(p, NULL);
	begin();
	if (kid_spawn(&k)) {
		bool ok = check_zero(p, NP);

		kid_pause(&k, ok);
		fill(p, 0, NP, SEED2);
		ok = check(p, 0, NP, SEED2);
		kid_pause(&k, ok);
		kid_exit(shake(p, NP) && check(p, 0, NP, SEED2));
	}
	ASSERT_GT(k.pid, 0);
	ASSERT_TRUE(kid_paused(&k));
	kid_go(&k);
	ASSERT_TRUE(kid_paused(&k));
	fill(p, 0, NP, SEED);
	ASSERT_TRUE(kid_finish(&k));
	ASSERT_TRUE(check(p, 0, NP, SEED));
	ASSERT_TRUE(shake(p, NP));
	ASSERT_TRUE(check(p, 0, NP, SEED));
}

#define DEPTH 4u

/* Each generation writes to pages of its own, and checks all before and after. */
static bool generations(char *p, uint64_t *seed, unsigned int level)
{
	bool ok = check_seeds(p, seed, NP);
	struct kid k;

	for (unsigned int i = level; i < NP; i += DEPTH + 2)
		set_page(p, seed, i, SEED + level);
	if (level == DEPTH)
		return ok && check_seeds(p, seed, NP);

	if (kid_spawn(&k)) {
		ok = generations(p, seed, level + 1);
		kid_pause(&k, ok);
		kid_exit(ok && check_seeds(p, seed, NP));
	}
	if (k.pid < 0)
		return false;
	ok &= kid_paused(&k);
	ok &= check_seeds(p, seed, NP);
	/* All generations are alive, and share what nobody has written to. */
	if (env->numa)
		ok &= migrate_to(0, p, NP, env->node[level & 1],
				 MPOL_MF_MOVE_ALL);
	ok &= check_seeds(p, seed, NP);
	ok &= shared(getpid(), page(p, DEPTH + 1), k.pid, page(p, DEPTH + 1), 1, 1);
	ok &= kid_finish(&k);
	return ok && check_seeds(p, seed, NP);
}

ANON_TEST(fork_grandchildren)
{
	char *p = map_filled(slot(0), NP, SEED3);
	uint64_t seed[NP];

	ASSERT_NE(p, NULL);
	for (unsigned int i = 0; i < NP; i++)
		seed[i] = SEED3;
	begin();
	ASSERT_TRUE(generations(p, seed, 0));
	ASSERT_TRUE(check_seeds(p, seed, NP));
}

/*
 * The parent of whom the pages came exits, the children go on with them: pages
 * still say that they belong to a VMA which is gone.
 */
ANON_TEST(fork_parent_exits)
{
	char *p = slot(0);
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
				ok = shake(p, NP) && check(p, 0, NP, SEED);
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

ANON_TEST(fork_child_exits)
{
	char *p = map_filled(slot(0), NP, SEED);
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
		ASSERT_TRUE(shake(p, NP));
		ASSERT_TRUE(check(p, 0, NP, SEED));
	}
}

#define WIDTH 16u

ANON_TEST(fork_wide)
{
	char *p = map_filled(slot(0), NP, SEED);
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

	/* Each page is mapped by sixteen or seventeen processes. */
	if (env->numa) {
		ASSERT_TRUE(migrate_to(0, p, NP, env->node[1],
				       MPOL_MF_MOVE_ALL));
		for (unsigned int i = 0; i < WIDTH; i++)
			EXPECT_TRUE(shared(getpid(), p, k[i].pid, p, NP, NP - 1));
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
	ASSERT_TRUE(shake(p, NP));
	ASSERT_TRUE(check(p, 0, NP, SEED));
}

/* A VMA that the child does not get is not shared. */
ANON_TEST(fork_dontfork)
{
	char *p = map_filled(slot(0), NP, SEED);
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
	ASSERT_TRUE(shake(p, NP));
	ASSERT_TRUE(check(p, 0, NP, SEED));
	kid_go(&k);
	ASSERT_TRUE(kid_paused(&k));
	ASSERT_TRUE(check(p, 0, NP, SEED));
	ASSERT_TRUE(kid_finish(&k));
	ASSERT_TRUE(check(p, 0, NP, SEED));
}

/* The child gets the VMA, but none of the pages. */
ANON_TEST(fork_wipeonfork)
{
	char *p = map_filled(slot(0), NP, SEED);
	struct kid k;

	ASSERT_NE(p, NULL);
	ASSERT_EQ(madvise(p, bytes(NP), MADV_WIPEONFORK), 0);
	begin();
	if (kid_spawn(&k)) {
		bool ok = check_zero(p, NP);

		kid_pause(&k, ok);
		fill(p, 0, NP, SEED2);
		kid_pause(&k, true);
		kid_exit(shake(p, NP) && check(p, 0, NP, SEED2));
	}
	ASSERT_GT(k.pid, 0);
	ASSERT_TRUE(kid_paused(&k));
	kid_go(&k);
	ASSERT_TRUE(kid_paused(&k));
	ASSERT_TRUE(check(p, 0, NP, SEED));
	ASSERT_TRUE(shake(p, NP));
	ASSERT_TRUE(kid_finish(&k));
	ASSERT_TRUE(check(p, 0, NP, SEED));
}

/* A child that shares the address space shares no page with another VMA. */
ANON_TEST(fork_vfork)
{
	char *p = map_filled(slot(0), NP, SEED);
	pid_t pid;

	ASSERT_NE(p, NULL);
	begin();
	pid = vfork();
	if (!pid)
		_exit(0);
	ASSERT_GT(pid, 0);
	ASSERT_TRUE(reap(pid));
	ASSERT_TRUE(check(p, 0, NP, SEED));
}

/* exec moves the stack that it has filled: its first one is a temporary one. */
ANON_TEST(fork_exec)
{
	char *p = map_filled(slot(0), NP, SEED);

	ASSERT_NE(p, NULL);
	begin();
	for (unsigned int i = 0; i < 4; i++) {
		pid_t pid = fork();
		int status;

		if (!pid) {
			int null = open("/dev/null", O_WRONLY);

			dup2(null, STDOUT_FILENO);
			dup2(null, STDERR_FILENO);
			execl("/proc/self/exe", "anon_rmap_fork", "-h", NULL);
			_exit(1);
		}
		ASSERT_GT(pid, 0);
		ASSERT_EQ(waitpid(pid, &status, 0), pid);
		ASSERT_TRUE(WIFEXITED(status));
		/* The harness leaves with this after its usage message. */
		EXPECT_EQ(WEXITSTATUS(status), KSFT_SKIP);
		ASSERT_TRUE(check(p, 0, NP, SEED));
	}
	ASSERT_TRUE(shake(p, NP));
	ASSERT_TRUE(check(p, 0, NP, SEED));
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

ANON_TEST(grow_stack)
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
}

ANON_TEST(grow_brk)
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
		ok &= shake(p, NP / 2);
		kid_exit(ok && check(p, 0, NP / 2, SEED));
	}
	ASSERT_GT(k.pid, 0);
	ASSERT_TRUE(kid_end(&k));
}

/* A process ends, and its child has all of its pages. */
ANON_TEST(exit_many)
{
	/* A debug kernel may look at all VMAs whenever there is one more. */
	const unsigned int nr = 400, step = 2;
	char *p = env->arena;
	struct kid k;
	pid_t parent;

	begin();
	ASSERT_EQ(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
	if (kid_spawn(&k)) {
		bool ok = true;

		for (unsigned int i = 0; i < nr; i++) {
			ok &= !!map(page(p, i * step), 1);
			fill_page(page(p, i * step), SEED, i);
		}
		/* A child is left with all of them; it is the one to answer. */
		parent = getpid();
		if (ok && fork())
			_exit(0);
		/* It starts when its parent's address space is no more. */
		while (ok && getppid() == parent)
			usleep(1000);
		for (unsigned int i = 0; i < nr; i++)
			ok &= check_page(page(p, i * step), SEED, i);
		for (unsigned int i = 0; i < nr; i += 2)
			fill_page(page(p, i * step), SEED2, i);
		for (unsigned int i = 0; i < nr; i += 100)
			ok &= shake(page(p, i * step), 1);
		for (unsigned int i = 0; i < nr; i++)
			ok &= check_page(page(p, i * step),
					 i & 1 ? SEED : SEED2, i);
		kid_exit(ok);
	}
	ASSERT_GT(k.pid, 0);
	ASSERT_TRUE(kid_end(&k));
	ASSERT_TRUE(reap(-1));
}

int main(int argc, char **argv)
{
	return env_main(argc, argv, test_harness_run);
}
