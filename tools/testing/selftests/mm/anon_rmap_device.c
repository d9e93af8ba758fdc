// SPDX-License-Identifier: GPL-2.0
/*
 * Coherent device memory, which the CPU maps as it does any other: shared by a
 * fork, taken over by a write, moved, migrated to the device and back. And private
 * memory of a device, which comes back when the CPU touches it.
 */
#define _GNU_SOURCE
#include "kselftest_harness.h"
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include "../../../../lib/test_hmm_uapi.h"
#include "anon_rmap.h"

#define PRIVATE "/dev/hmm_dmirror0"
#define COHERENT "/dev/hmm_dmirror2"

#define COHERENT_LOCAL HMM_DMIRROR_PROT_DEV_COHERENT_LOCAL

#define NO_PRIVATE "no " PRIVATE ", which is of test_hmm"
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
static bool mirror_migrate(int fd, char *p, char *buf, bool device, unsigned char local)
{
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
		if (!mirror_migrate(fd, page(p, i), buf, true, COHERENT_LOCAL))
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
		uint64_t entry = pagemap_get_entry(fd, page(p, i));

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

/* A child has device memory from its parent, and takes over some of it. */
ANON_TEST(fork_coherent)
{
	char *p = map_filled(slot(0), NP, SEED), *half = page(p, NP / 2);
	uint64_t pfn[NP], seed[NP];
	struct kid k;
	int fd;

	ASSERT_NE(p, NULL);
	ASSERT_NE(map(slot(1), 1), NULL);
	for (unsigned int i = 0; i < NP; i++)
		seed[i] = SEED;
	fd = open(COHERENT, O_RDWR);
	if (fd < 0)
		SKIP(return, NO_COHERENT);
	ASSERT_TRUE(to_device(fd, p, NP, slot(1), pfn));

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
		ok = shake(p, NP) && check_seeds(p, seed, NP);
		fill(p, 0, NP, SEED3);
		kid_exit(ok && sound(p, 0, NP, SEED3));
	}
	ASSERT_GT(k.pid, 0);
	ASSERT_TRUE(kid_paused(&k));

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

/* A child touches what its parent has in private memory of a device: it comes back. */
ANON_TEST(fork_private)
{
	char *p = map_filled(slot(0), NP, SEED), *half = page(p, NP / 2);
	char *buf = map(slot(1), 1);
	/* The parent's VMA has no chain, if the sysctl was on when it was touched. */
	const bool lazy = env->sysctl && variant->setup && variant->action;
	struct kid k;
	int fd;

	ASSERT_NE(p, NULL);
	ASSERT_NE(buf, NULL);
	fd = open(PRIVATE, O_RDWR);
	if (fd < 0)
		SKIP(return, NO_PRIVATE);
	for (unsigned int i = 0; i < NP; i++)
		ASSERT_TRUE(mirror_migrate(fd, page(p, i), buf, true,
					   HMM_DMIRROR_PROT_DEV_PRIVATE_LOCAL));
	EXPECT_EQ(count_present(getpid(), p, NP), 0);

	begin();
	if (kid_spawn(&k)) {
		bool ok = check(p, 0, NP / 2, SEED) && verify(getpid());

		/* That took no anon_vma: it is lazy until it is cut. */
		window();
		ok &= !mprotect(p, bytes(1), PROT_READ) && events_fit(EV_UPGRADE, 1, lazy) &&
			!mprotect(p, bytes(1), PROT_READ | PROT_WRITE);
		fill(half, NP / 2, NP / 2, SEED2);
		kid_pause(&k, ok);
		kid_exit(check(p, 0, NP / 2, SEED) && sound(half, NP / 2, NP / 2, SEED2));
	}
	ASSERT_GT(k.pid, 0);
	ASSERT_TRUE(kid_paused(&k));
	ASSERT_TRUE(check(p, 0, NP, SEED));
	ASSERT_TRUE(kid_finish(&k));
	close(fd);
	ASSERT_TRUE(check(p, 0, NP, SEED));
}

/* Where a file was only read there is nothing anonymous, whatever a driver has tried. */
ANON_TEST(file_coherent)
{
	char *p = slot(0), *buf = map(slot(1), 1), *shared;
	int fd, file;

	ASSERT_NE(buf, NULL);
	file = memfd_create("anon_rmap", MFD_CLOEXEC);
	ASSERT_GE(file, 0);
	ASSERT_EQ(ftruncate(file, bytes(3)), 0);
	shared = mmap(slot(2), bytes(3), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, file, 0);
	ASSERT_NE(shared, MAP_FAILED);
	fill(shared, 0, 3, SEED);
	fd = open(COHERENT, O_RDWR);
	if (fd < 0)
		SKIP(return, NO_COHERENT);

	begin();
	/* Between two pieces is a third. Nothing keeps them from being one again. */
	ASSERT_EQ(mmap(p, bytes(3), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, file, 0), p);
	ASSERT_TRUE(check(p, 0, 3, SEED));
	ASSERT_EQ(mprotect(page(p, 1), bytes(1), PROT_NONE), 0);
	mirror(fd, HMM_DMIRROR_MIGRATE_TO_DEV, page(p, 0), buf);
	mirror(fd, HMM_DMIRROR_MIGRATE_TO_DEV, page(p, 2), buf);
	ASSERT_EQ(mprotect(page(p, 1), bytes(1), PROT_READ | PROT_WRITE), 0);
	EXPECT_EQ(count_vmas(p, 3), 1);
	EXPECT_TRUE(check(p, 0, 3, SEED));

	/* One that has copies does migrate them, and has them back when the device goes. */
	fill(p, 0, 3, SEED2);
	ASSERT_TRUE(mirror_migrate(fd, page(p, 1), buf, true, COHERENT_LOCAL));
	ASSERT_TRUE(check(p, 0, 3, SEED2));
	close(fd);
	close(open(COHERENT, O_RDWR));
	EXPECT_TRUE(sound(p, 0, 3, SEED2));
	EXPECT_TRUE(check(shared, 0, 3, SEED));
	close(file);
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

/* Device memory may stay where it is, wherever in the range: it is not moved to a lazy VMA. */
ANON_TEST(uffd_move_coherent)
{
	char *p = map_filled(slot(0), NP, SEED);
	char *q = map(slot(1), NP);
	char *buf = map(slot(2), 1);
	const bool lazy = env->sysctl && variant->action;
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
		ok &= sound(q, 0, NP, SEED3);

		/* There and back, all by itself. */
		fd = open(COHERENT, O_RDWR);
		ok &= fd >= 0 && to_device(fd, q, NP, buf, pfn) && check(q, 0, NP, SEED3);
		for (unsigned int i = 0; i < NP && ok; i++)
			ok = !pfn[i] || mirror_migrate(fd, page(q, i), buf, false, COHERENT_LOCAL);
		ok &= !count_there(getpid(), q, NP, pfn);
		kid_exit(ok && sound(q, 0, NP, SEED3));
	}
	ASSERT_GT(k.pid, 0);
	ASSERT_TRUE(kid_paused(&k));

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

int main(int argc, char **argv)
{
	return env_main(argc, argv, test_harness_run);
}
