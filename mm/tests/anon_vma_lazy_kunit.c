// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of lazy VMAs: what vma->anon_vma goes through and what it refuses,
 * what a folio leads to, who waits for which lock, who frees a head, what a failing
 * allocation leaves behind, and that the checker sees what is wrong.
 *
 * The VMAs are those of an mm of the test's own, mapped, touched, split, forked
 * and unmapped by the kernel's functions. Only where a struct is to be seen freed
 * is it from a cache of the test's own, and not in an mm's tree.
 */

#include <kunit/test.h>
#include <linux/anon_inodes.h>
#include <linux/debugfs.h>
#include <linux/delay.h>
#include <linux/file.h>
#include <linux/mm.h>
#include <linux/mm_inline.h>
#include <linux/mman.h>
#include <linux/mmu_notifier.h>
#include <linux/rmap.h>
#include <linux/sched/mm.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/workqueue.h>

#include "../internal.h"
#include "../slab.h"
#include "../vma.h"

/* --- VMAs of an mm --------------------------------------------------------- */

static struct vm_area_struct *vma_at(struct mm_struct *mm, unsigned long addr)
{
	struct vm_area_struct *vma;

	mmap_read_lock(mm);
	vma = vma_lookup(mm, addr);
	mmap_read_unlock(mm);
	return vma;
}

static void map_at(struct kunit *test, unsigned long addr, unsigned int nr,
		   unsigned long prot, unsigned long flag, struct file *file)
{
	KUNIT_ASSERT_EQ(test, kunit_vm_mmap(test, file, addr, nr * PAGE_SIZE, prot,
					    MAP_PRIVATE | flag, 0), addr);
}

/* Far enough from all others not to merge. */
static unsigned long new_addr(struct kunit *test)
{
	return SZ_1G + (unsigned long)test->priv++ * SZ_1M;
}

/* Map @nr pages. */
static unsigned long map_area(struct kunit *test, unsigned int nr)
{
	unsigned long addr = new_addr(test);

	map_at(test, addr, nr, PROT_READ | PROT_WRITE,
	       MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, NULL);
	return addr;
}

/* Map @nr pages that are VMAs which do not merge, but share an anon_vma. */
static void map_neighbours(struct kunit *test, struct vm_area_struct **vmas,
			   unsigned int nr)
{
	unsigned long addr = new_addr(test);
	unsigned int i;

	for (i = 0; i < nr; i++) {
		map_at(test, addr + i * PAGE_SIZE, 1, PROT_READ | (i & 1 ? PROT_EXEC : 0),
		       MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, NULL);
		vmas[i] = vma_at(current->mm, addr + i * PAGE_SIZE);
		KUNIT_ASSERT_EQ(test, vma_pages(vmas[i]), 1);
	}
}

/* Write to a page, and take a reference to its folio. */
static struct folio *touch(struct kunit *test, struct mm_struct *mm, unsigned long addr)
{
	struct page *page;
	long nr;

	mmap_read_lock(mm);
	nr = get_user_pages_remote(mm, addr, 1, FOLL_WRITE, &page, NULL);
	mmap_read_unlock(mm);
	KUNIT_ASSERT_EQ(test, nr, 1);
	return page_folio(page);
}

/* What is in ->anon_vma of a lazy VMA that has no group, or is its head. */
static struct anon_vma *identity(const struct vm_area_struct *vma)
{
	return (void *)vma + ANON_VMA_LAZY;
}

static struct anon_vma *child_identity(const struct vm_area_struct *vma)
{
	return (void *)vma + (ANON_VMA_LAZY | LAZY_CHILD);
}

/* Map and touch @nr pages: a lazy VMA. */
static struct vm_area_struct *map_lazy(struct kunit *test, unsigned int nr)
{
	unsigned long addr = map_area(test, nr);
	struct vm_area_struct *vma;
	unsigned int i;

	for (i = 0; i < nr; i++)
		folio_put(touch(test, current->mm, addr + i * PAGE_SIZE));
	vma = vma_at(current->mm, addr);
	KUNIT_ASSERT_PTR_EQ(test, vma->anon_vma, identity(vma));
	return vma;
}

/* Map @nr pages that are VMAs of one group; the first one is at the result. */
static unsigned long map_group(struct kunit *test, unsigned int nr)
{
	struct anon_vma *lazy = map_lazy(test, nr)->anon_vma;
	unsigned long addr = lazy_vma(lazy)->vm_start;
	unsigned int i;

	for (i = 1; i < nr; i += 2)
		KUNIT_ASSERT_EQ(test, do_madvise(current->mm, addr + i * PAGE_SIZE,
						 PAGE_SIZE, MADV_DONTDUMP), 0);
	for (i = 0; i < nr; i++) {
		struct vm_area_struct *vma = vma_at(current->mm, addr + i * PAGE_SIZE);

		KUNIT_ASSERT_EQ(test, vma_pages(vma), 1);
		KUNIT_ASSERT_PTR_EQ(test, vma->anon_vma, lazy);
	}
	return addr;
}

/* What is in ->anon_vma of a head that is gone, and that @anon_vma needs. */
static struct anon_vma *deferred(struct anon_vma *anon_vma)
{
	return (void *)anon_vma + (ANON_VMA_UNLINKED | ANON_VMA_FREE_DEFERRED);
}

static size_t group_size(const struct anon_vma *lazy)
{
	return 1 + list_count_nodes(&lazy_vma(lazy)->anon_vma_chain);
}

/* It is in a group of @size. */
static void expect_group(struct kunit *test, struct vm_area_struct *vma,
			 struct anon_vma *lazy, size_t size)
{
	KUNIT_EXPECT_PTR_EQ(test, vma->anon_vma, lazy);
	KUNIT_EXPECT_PTR_EQ(test, anon_vma_resolve(lazy), lazy);
	KUNIT_EXPECT_EQ(test, list_empty(&vma->anon_vma_chain), size == 1);
	KUNIT_EXPECT_EQ(test, group_size(lazy), size);
}

static struct vm_area_struct *first_member(const struct vm_area_struct *head)
{
	return list_first_entry(&head->anon_vma_chain, struct vm_area_struct, anon_vma_chain);
}

static struct vm_area_struct *last_member(const struct vm_area_struct *head)
{
	return list_last_entry(&head->anon_vma_chain, struct vm_area_struct, anon_vma_chain);
}

/* The anon_vma on whose list it is. */
static struct anon_vma *listed(const struct vm_area_struct *vma)
{
	return vma_listed_anon_vma(vma, vma->anon_vma);
}

/* What else it may have, or NULL: a chain. */
static struct anon_vma_chain *chain(const struct vm_area_struct *vma)
{
	if (!vma->anon_vma || anon_vma_is_lazy(vma->anon_vma) || listed(vma))
		return NULL;
	return list_first_entry(&vma->anon_vma_chain, struct anon_vma_chain, same_vma);
}

static size_t chain_length(struct vm_area_struct *vma)
{
	return chain(vma) ? list_count_nodes(&vma->anon_vma_chain) : 0;
}

static bool has_tree(const struct anon_vma *anon_vma)
{
	return !RB_EMPTY_ROOT(&anon_vma->rb_root.rb_root);
}

/* It is a child that has no page of its own, or one that has. */
static void expect_unnamed(struct kunit *test, const struct vm_area_struct *vma)
{
	KUNIT_EXPECT_PTR_EQ(test, vma->anon_vma, child_identity(vma));
	KUNIT_EXPECT_TRUE(test, vma->anon_vma_listed & ANON_VMA_UNNAMED);
}

static void expect_named(struct kunit *test, const struct vm_area_struct *vma)
{
	KUNIT_EXPECT_PTR_EQ(test, vma->anon_vma, child_identity(vma));
	KUNIT_EXPECT_FALSE(test, vma->anon_vma_listed & ANON_VMA_UNNAMED);
}

/* As a first fault does. */
static int prepare(struct vm_area_struct *vma)
{
	int err;

	mmap_read_lock(vma->vm_mm);
	err = __anon_vma_prepare(vma);
	mmap_read_unlock(vma->vm_mm);
	return err;
}

static int upgrade(struct vm_area_struct *vma)
{
	int err;

	mmap_read_lock(vma->vm_mm);
	err = anon_vma_upgrade(vma);
	mmap_read_unlock(vma->vm_mm);
	return err;
}

static void unlink_vma(struct vm_area_struct *vma)
{
	mmap_read_lock(vma->vm_mm);
	unlink_anon_vmas(vma);
	mmap_read_unlock(vma->vm_mm);
}

static void unmap_pages(struct vm_area_struct *vma)
{
	mmap_read_lock(vma->vm_mm);
	zap_vma(vma);
	mmap_read_unlock(vma->vm_mm);
}

/* What a driver might do. */
static void set_pfnmap(struct vm_area_struct *vma)
{
	mmap_write_lock(vma->vm_mm);
	vm_flags_set(vma, VM_PFNMAP);
	mmap_write_unlock(vma->vm_mm);
}

KUNIT_DEFINE_ACTION_WRAPPER(put_mm, mmput, struct mm_struct *);

/* It goes with the test, if not before. */
static struct mm_struct *new_mm(struct kunit *test)
{
	struct mm_struct *mm = mm_alloc();

	KUNIT_ASSERT_NOT_NULL(test, mm);
	KUNIT_ASSERT_EQ(test, kunit_add_action_or_reset(test, put_mm, mm), 0);
	return mm;
}

static struct mm_struct *fork_mm(struct kunit *test, struct mm_struct *mm)
{
	struct mm_struct *child = new_mm(test);

	KUNIT_ASSERT_EQ(test, dup_mmap(child, mm), 0);
	return child;
}

static void exit_mm(struct kunit *test, struct mm_struct *mm)
{
	kunit_release_action(test, put_mm, mm);
}

static void expect_sound(struct kunit *test, struct mm_struct *mm)
{
	unsigned long addr;
	const char *why;

	if (!IS_ENABLED(CONFIG_DEBUG_ANON_VMA_LAZY))
		return;
	why = anon_vma_lazy_verify(mm, &addr);
	KUNIT_EXPECT_NULL_MSG(test, why, "at %#lx: %s", addr, why);
}

/* @anon_vma, of which the test has a reference, is kept by VMAs, or only by that. */
static void expect_kept(struct kunit *test, const struct anon_vma *anon_vma, bool kept)
{
	KUNIT_EXPECT_EQ(test, atomic_read(&anon_vma->refcount), 1 + kept);
}

/* Drop that, the last one. The struct of its head, which is gone, goes with it. */
static void put_last(struct kunit *test, struct anon_vma *anon_vma, int nr_deferred)
{
	int i;

	expect_kept(test, anon_vma, false);
	KUNIT_EXPECT_PTR_EQ(test, READ_ONCE(anon_vma->head->anon_vma), deferred(anon_vma));
	put_anon_vma(anon_vma);
	if (!IS_ENABLED(CONFIG_DEBUG_ANON_VMA_LAZY))
		return;
	for (i = 0; i < 1000 && atomic_read(&lazy_nr_deferred) > nr_deferred; i++)
		msleep(20);
	KUNIT_EXPECT_LE(test, atomic_read(&lazy_nr_deferred), nr_deferred);
}

static int get_nr_deferred(void)
{
	return IS_ENABLED(CONFIG_DEBUG_ANON_VMA_LAZY) ? atomic_read(&lazy_nr_deferred) : 0;
}

/* They share @anon_vma, and nothing else. */
static void expect_upgraded(struct kunit *test, struct mm_struct *mm, unsigned long addr,
			    unsigned int nr, const struct anon_vma *anon_vma)
{
	unsigned int i;

	KUNIT_ASSERT_FALSE(test, anon_vma_is_lazy(anon_vma));
	KUNIT_EXPECT_EQ(test, anon_vma->num_active_vmas, nr);
	for (i = 0; i < nr; i++) {
		struct vm_area_struct *vma = vma_at(mm, addr + i * PAGE_SIZE);

		KUNIT_EXPECT_PTR_EQ(test, vma->anon_vma, anon_vma);
		KUNIT_EXPECT_EQ(test, vma_is_head(vma, vma->anon_vma), vma == anon_vma->head);
	}
	expect_sound(test, mm);
}

/* --- walks ------------------------------------------------------------------ */

/* Walks of others that share it have it for a moment only. */
static bool rwsem_is_free(struct rw_semaphore *rwsem)
{
	int i;

	for (i = 0; i < 20; i++) {
		if (down_write_trylock(rwsem)) {
			up_write(rwsem);
			return true;
		}
		msleep(20);
	}
	return false;
}

/* What a walk of @folio has locked, or one by who holds what it names. */
static struct anon_vma *find(struct kunit *test, struct folio *folio, bool held)
{
	struct rmap_walk_control rwc = { .held = held };
	struct anon_vma *anon_vma;

	folio_lock(folio);
	anon_vma = folio_lock_anon_vma_read(folio, &rwc);
	if (anon_vma) {
		KUNIT_EXPECT_FALSE(test, down_write_trylock(anon_vma_rwsem(anon_vma)));
		anon_vma_unlock_read(anon_vma);
	}
	folio_unlock(folio);
	return anon_vma;
}

static void expect_not_found(struct kunit *test, struct folio *folio)
{
	KUNIT_EXPECT_NULL(test, find(test, folio, false));
	folio_lock(folio);
	KUNIT_EXPECT_NULL(test, folio_get_anon_vma(folio));
	folio_unlock(folio);
}

/* @folio names @named. A walk locks what that stands for, and comes to @want alone. */
static void expect_walk(struct kunit *test, struct folio *folio,
			const struct anon_vma *named, const struct anon_vma *now,
			const struct vm_area_struct *want)
{
	const pgoff_t pgoff = folio_pgoff(folio);
	struct vm_area_struct *vma = NULL, *found = NULL;
	struct anon_vma_chain *avc;
	struct anon_vma *anon_vma;
	int nr = 0;

	KUNIT_EXPECT_PTR_EQ(test, folio_anon_vma(folio), named);
	KUNIT_EXPECT_PTR_EQ(test, anon_vma_resolve(folio_anon_vma(folio)), now);
	KUNIT_EXPECT_PTR_EQ(test, find(test, folio, false), now);
	folio_lock(folio);
	anon_vma = folio_lock_anon_vma_read(folio, NULL);
	if (anon_vma) {
		while ((vma = anon_vma_next_vma(anon_vma, vma, &avc, pgoff, pgoff))) {
			found = vma;
			nr++;
		}
		anon_vma_unlock_read(anon_vma);
	}
	folio_unlock(folio);
	KUNIT_EXPECT_PTR_EQ(test, found, want);
	KUNIT_EXPECT_EQ(test, nr, 1);
}

/* Find the VMAs of @anon_vma, upgraded, in the order of a walk: at most @max. */
static int walk_all(struct anon_vma *anon_vma, struct vm_area_struct **found, int max)
{
	struct vm_area_struct *vma = NULL;
	struct anon_vma_chain *avc;
	int nr = 0;

	anon_vma_lock_read(anon_vma);
	while ((vma = anon_vma_next_vma(anon_vma, vma, &avc, 0, ULONG_MAX))) {
		if (nr < max)
			found[nr] = vma;
		nr++;
	}
	anon_vma_unlock_read(anon_vma);
	return nr;
}

/* Those are @want, of which some may be NULL, in that order. */
static void expect_order(struct kunit *test, struct anon_vma *anon_vma,
			 struct vm_area_struct **want, int nr)
{
	struct vm_area_struct *found[32];
	int nr_found = walk_all(anon_vma, found, ARRAY_SIZE(found));
	int i, n = 0;

	for (i = 0; i < nr; i++) {
		if (!want[i])
			continue;
		if (n < nr_found)
			KUNIT_EXPECT_PTR_EQ_MSG(test, found[n], want[i], "%d of %d", i, nr);
		n++;
	}
	KUNIT_EXPECT_EQ(test, nr_found, n);
}

static struct anon_vma *hold(struct kunit *test, struct folio *folio)
{
	struct anon_vma *held;

	folio_lock(folio);
	held = folio_get_anon_vma(folio);
	folio_unlock(folio);
	KUNIT_ASSERT_NOT_NULL(test, held);
	KUNIT_EXPECT_TRUE(test, anon_vma_is_lazy(held));
	KUNIT_EXPECT_PTR_EQ(test, lazy_vma(held), lazy_vma(folio_anon_vma(folio)));
	KUNIT_EXPECT_TRUE(test, mm_flags_test(MMF_LAZY_HELD, lazy_vma(held)->vm_mm));
	return held;
}

/* --- others, who wait ------------------------------------------------------- */

struct other {
	struct task_struct *task;
	struct work_struct work;
	void (*act)(struct other *other);
	struct kunit *test;
	struct vm_area_struct *vma, *to;
	struct folio *folio;
	struct anon_vma *found;
	struct rw_semaphore *rwsem;
	bool stop, done;
};

static void act_prepare(struct other *other)
{
	KUNIT_EXPECT_EQ(other->test, prepare(other->vma), 0);
}

static void act_upgrade(struct other *other)
{
	KUNIT_EXPECT_EQ(other->test, upgrade(other->vma), 0);
}

static void act_unlink(struct other *other)
{
	unlink_vma(other->vma);
}

static void act_lock(struct other *other)
{
	anon_vma_lock_write(other->vma->anon_vma);
	anon_vma_unlock_write(other->vma->anon_vma);
}

static void act_find(struct other *other)
{
	other->found = find(other->test, other->folio, false);
}

static void act_restore(struct other *other)
{
	other->found = find(other->test, other->folio, true);
}

static void act_move(struct other *other)
{
	struct vm_area_struct *vma = other->vma, *to = other->to;

	PAGETABLE_MOVE(pmc, vma, to, vma->vm_start, to->vm_start, PAGE_SIZE);
	pmc.need_rmap_locks = true;
	mmap_write_lock(vma->vm_mm);
	vma_start_write(vma);
	vma_start_write(to);
	KUNIT_EXPECT_EQ(other->test, move_page_tables(&pmc), PAGE_SIZE);
	mmap_write_unlock(vma->vm_mm);
}

/* Until it is to stop. Then its rwsem may be freed at any moment. */
static void act_have_lock(struct other *other)
{
	down_write(other->rwsem);
	while (!READ_ONCE(other->stop))
		msleep(20);
	guard(rcu)();
	up_write(other->rwsem);
}

static void other_acts(struct work_struct *work)
{
	struct other *other = container_of(work, struct other, work);

	WRITE_ONCE(other->task, current);
	other->act(other);
	WRITE_ONCE(other->done, true);
}

/* Until finish() the test must not end. */
static void start(struct other *other)
{
	other->done = false;
	other->task = NULL;
	INIT_WORK_ONSTACK(&other->work, other_acts);
	/* On any processor: the test may wait for one that does not sleep. */
	queue_work(system_dfl_wq, &other->work);
}

static bool other_sleeps(const struct other *other)
{
	struct task_struct *task = READ_ONCE(other->task);

	return task && READ_ONCE(task->__state) == TASK_UNINTERRUPTIBLE;
}

static void finish(struct other *other)
{
	flush_work(&other->work);
	destroy_work_on_stack(&other->work);
}

/* It waits for @rwsem, which the test has, and is behind whoever does already. */
static void start_waiting(struct other *other, struct rw_semaphore *rwsem)
{
	int i;

	start(other);
	for (i = 0; i < 500 && !(other_sleeps(other) && rwsem_is_contended(rwsem)); i++)
		msleep(20);
	msleep(100);
	KUNIT_EXPECT_TRUE(other->test, other_sleeps(other));
	KUNIT_EXPECT_TRUE(other->test, rwsem_is_contended(rwsem));
	KUNIT_EXPECT_FALSE(other->test, READ_ONCE(other->done));
}

/* --- bits ------------------------------------------------------------------- */

/* One bit each, and those that folios have are not in use there. */
static_assert((ANON_VMA_UNLINKED ^ ANON_VMA_FREE_DEFERRED ^ ANON_VMA_LAZY ^
	       LAZY_HOLD_IDX ^ LAZY_CHILD) == LAZY_BITS);
static_assert(!((ANON_VMA_LAZY | LAZY_CHILD) & FOLIO_MAPPING_FLAGS));

/* The caches leave room for them, all over a few slabs. */
static void bits_fit_structs(struct kunit *test)
{
	struct vm_area_struct *vmas[64], *vma;
	int i;

	for (i = 0; i < ARRAY_SIZE(vmas); i++) {
		vma = map_lazy(test, 1);
		KUNIT_ASSERT_EQ(test, upgrade(vma), 0);
		KUNIT_EXPECT_FALSE(test, anon_vma_is_lazy(vma->anon_vma));
		KUNIT_EXPECT_FALSE(test, anon_vma_is_unlinked(vma->anon_vma));
		vmas[i] = vm_area_alloc(NULL);
		KUNIT_EXPECT_NOT_NULL(test, vmas[i]);
		KUNIT_EXPECT_EQ(test, (unsigned long)vmas[i] & LAZY_BITS, 0);
	}
	while (i--) {
		if (vmas[i])
			vm_area_free(vmas[i]);
	}
	KUNIT_EXPECT_TRUE(test, anon_vma_is_lazy(ANON_VMA_DEAD));
	KUNIT_EXPECT_TRUE(test, anon_vma_is_unlinked(ANON_VMA_DEAD));
	KUNIT_EXPECT_FALSE(test, anon_vma_is_group(ANON_VMA_DEAD));
	KUNIT_EXPECT_NULL(test, lazy_vma(ANON_VMA_DEAD));
}

/* --- states ----------------------------------------------------------------- */

static void state_lazy(struct kunit *test)
{
	unsigned long addr = map_area(test, 2);
	struct vm_area_struct *vma = vma_at(current->mm, addr);
	struct anon_vma *lazy = identity(vma);
	int i;

	KUNIT_EXPECT_NULL(test, vma->anon_vma);
	KUNIT_EXPECT_FALSE(test, vma_is_head(vma, vma->anon_vma));
	for (i = 0; i < 2; i++) {
		struct folio *folio = touch(test, current->mm, addr + i * PAGE_SIZE);

		expect_group(test, vma, lazy, 1);
		KUNIT_EXPECT_TRUE(test, vma_is_head(vma, vma->anon_vma));
		KUNIT_EXPECT_NULL(test, lazy_root(lazy));
		expect_walk(test, folio, lazy, lazy, vma);
		folio_put(folio);
		expect_sound(test, current->mm);
	}

	/* Unfaulted again, which once more does not change, and lazy once more. */
	unmap_pages(vma);
	for (i = 0; i < 2; i++) {
		unlink_vma(vma);
		KUNIT_EXPECT_NULL(test, vma->anon_vma);
		expect_sound(test, current->mm);
	}
	folio_put(touch(test, current->mm, addr));
	expect_group(test, vma, lazy, 1);
	expect_sound(test, current->mm);
}

/* If a part is unmapped, what is left is what folios name, and alone as before. */
static void state_cut(struct kunit *test)
{
	struct vm_area_struct *vma = map_lazy(test, 4);
	const unsigned long addr = vma->vm_start;

	KUNIT_ASSERT_EQ(test, vm_munmap(addr + 3 * PAGE_SIZE, PAGE_SIZE), 0);
	KUNIT_ASSERT_EQ(test, vm_munmap(addr, PAGE_SIZE), 0);
	KUNIT_ASSERT_PTR_EQ(test, vma_at(current->mm, addr + PAGE_SIZE), vma);
	KUNIT_EXPECT_EQ(test, vma_pages(vma), 2);
	expect_group(test, vma, identity(vma), 1);
	expect_sound(test, current->mm);
}

static void state_group(struct kunit *test)
{
	unsigned long addr = map_group(test, 3);
	struct mm_struct *mm = current->mm;
	struct vm_area_struct *vma = vma_at(mm, addr);
	const pgoff_t end = vma_start_anon_pgoff(vma) + 3;
	struct anon_vma *lazy = vma->anon_vma;
	struct anon_vma_chain *avc;
	int i, nr = 0;

	for (i = 0; i < 3; i++) {
		struct folio *folio = touch(test, mm, addr + i * PAGE_SIZE);

		vma = vma_at(mm, addr + i * PAGE_SIZE);
		expect_group(test, vma, lazy, 3);
		KUNIT_EXPECT_EQ(test, vma_is_head(vma, vma->anon_vma), vma == lazy_vma(lazy));
		expect_walk(test, folio, lazy, lazy, vma);
		folio_put(folio);
	}
	/* A walk of all of them finds each, and the head before those that joined. */
	vma = NULL;
	while ((vma = anon_vma_next_vma(lazy, vma, &avc, 0, ULONG_MAX)))
		KUNIT_EXPECT_EQ(test, nr++ == 0, vma == lazy_vma(lazy));
	KUNIT_EXPECT_EQ(test, nr, 3);
	KUNIT_EXPECT_NULL(test, anon_vma_next_vma(lazy, NULL, &avc, end, end));
	expect_sound(test, mm);

	/* Merged again it is the same, whoever of them is left. */
	KUNIT_ASSERT_EQ(test, do_madvise(mm, addr, 3 * PAGE_SIZE, MADV_DODUMP), 0);
	vma = vma_at(mm, addr);
	KUNIT_EXPECT_EQ(test, vma_pages(vma), 3);
	KUNIT_EXPECT_PTR_EQ(test, vma->anon_vma, lazy);
	expect_sound(test, mm);
}

/* A group outlives its head, whose struct stays until the last one goes. */
static void state_group_deferred(struct kunit *test)
{
	unsigned long addr = map_group(test, 3);
	struct mm_struct *mm = current->mm;
	struct anon_vma *lazy = vma_at(mm, addr)->anon_vma;
	struct vm_area_struct *head = lazy_vma(lazy);
	struct vm_area_struct *other = first_member(head), *last = last_member(head);
	struct folio *folio = touch(test, mm, other->vm_start);
	struct anon_vma_chain *avc;

	/* What else it has is freed at once. */
#ifdef CONFIG_ANON_VMA_NAME
	struct anon_vma_name *name = anon_vma_name_alloc("kunit");

	KUNIT_ASSERT_NOT_NULL(test, name);
	anon_vma_name_get(name);
	head->anon_name = name;
#endif
	KUNIT_ASSERT_EQ(test, vm_munmap(head->vm_start, PAGE_SIZE), 0);
#ifdef CONFIG_ANON_VMA_NAME
	KUNIT_EXPECT_EQ(test, kref_read(&name->kref), 1);
	anon_vma_name_put(name);
#endif
	KUNIT_EXPECT_PTR_EQ(test, READ_ONCE(head->anon_vma), deferred(lazy));
	expect_group(test, other, lazy, 3);
	expect_sound(test, mm);
	/* A walk goes on through it, and does not return it. */
	expect_walk(test, folio, lazy, lazy, other);
	folio_put(folio);
	KUNIT_EXPECT_PTR_EQ(test, anon_vma_next_vma(lazy, NULL, &avc, 0, ULONG_MAX), other);
	KUNIT_ASSERT_EQ(test, vm_munmap(other->vm_start, PAGE_SIZE), 0);
	expect_group(test, last, lazy, 2);

	/* Upgraded now, the one that is left is not the head of the anon_vma. */
	folio = touch(test, mm, last->vm_start);
	KUNIT_ASSERT_EQ(test, upgrade(last), 0);
	KUNIT_EXPECT_PTR_EQ(test, last->anon_vma->head, head);
	KUNIT_EXPECT_PTR_EQ(test, READ_ONCE(head->anon_vma), deferred(last->anon_vma));
	KUNIT_EXPECT_PTR_EQ(test, listed(last), last->anon_vma);
	KUNIT_EXPECT_PTR_EQ(test, first_member(head), last);
	expect_walk(test, folio, lazy, last->anon_vma, last);
	folio_put(folio);
	expect_upgraded(test, mm, last->vm_start, 1, last->anon_vma);
}

static void state_upgraded(struct kunit *test)
{
	unsigned long addr = map_group(test, 3);
	struct mm_struct *mm = current->mm;
	struct anon_vma *lazy = vma_at(mm, addr)->anon_vma, *anon_vma;
	struct vm_area_struct *head = lazy_vma(lazy), *vma;
	struct folio *folio = touch(test, mm, addr);
	int i;

	KUNIT_EXPECT_EQ(test, upgrade(first_member(head)), 0);
	anon_vma = head->anon_vma;
	KUNIT_EXPECT_EQ(test, upgrade(head), 0);
	expect_upgraded(test, mm, addr, 3, anon_vma);
	KUNIT_EXPECT_PTR_EQ(test, anon_vma->head, head);
	KUNIT_EXPECT_PTR_EQ(test, anon_vma->root, anon_vma);
	KUNIT_EXPECT_EQ(test, anon_vma->num_children, 1);
	KUNIT_EXPECT_EQ(test, list_count_nodes(&head->anon_vma_chain), 2);
	KUNIT_EXPECT_FALSE(test, has_tree(anon_vma));

	/* The folio names the head, which leads to it. */
	expect_walk(test, folio, lazy, anon_vma, vma_at(mm, addr));
	expect_sound(test, mm);

	/* Merged again it is the same, and when a part is split off that is listed too. */
	KUNIT_ASSERT_EQ(test, do_madvise(mm, addr, 3 * PAGE_SIZE, MADV_DODUMP), 0);
	vma = vma_at(mm, addr);
	KUNIT_EXPECT_EQ(test, vma_pages(vma), 3);
	expect_order(test, anon_vma, &vma, 1);
	expect_upgraded(test, mm, addr, 1, anon_vma);
	KUNIT_ASSERT_EQ(test, do_madvise(mm, addr + PAGE_SIZE, PAGE_SIZE, MADV_DONTDUMP), 0);
	expect_upgraded(test, mm, addr, 3, anon_vma);
	for (i = 0; i < 3; i++)
		KUNIT_EXPECT_PTR_EQ(test, listed(vma_at(mm, addr + i * PAGE_SIZE)), anon_vma);
	KUNIT_EXPECT_FALSE(test, has_tree(anon_vma));
	expect_walk(test, folio, lazy, anon_vma, vma_at(mm, addr));
	folio_put(folio);
}

/* An upgrade leaves the list as it is, and it is kept until the last one goes. */
static void list_survives_upgrade(struct kunit *test)
{
	int head_last, i, j;

	for (head_last = 0; head_last < 2; head_last++) {
		const unsigned long addr = map_group(test, 4);
		struct vm_area_struct *vmas[4], *vma;
		struct mm_struct *mm = current->mm;
		int nr_deferred = get_nr_deferred();
		struct anon_vma *lazy, *anon_vma;
		struct anon_vma_chain *avc;

		lazy = vma_at(mm, addr)->anon_vma;
		vma = NULL;
		for (i = 0; i < 4; i++) {
			vma = anon_vma_next_vma(lazy, vma, &avc, 0, ULONG_MAX);
			KUNIT_ASSERT_NOT_NULL(test, vma);
			vmas[i] = vma;
		}
		KUNIT_ASSERT_EQ(test, upgrade(vmas[2]), 0);
		anon_vma = vmas[0]->anon_vma;
		expect_upgraded(test, mm, addr, 4, anon_vma);
		KUNIT_EXPECT_PTR_EQ(test, anon_vma->head, vmas[0]);
		expect_order(test, anon_vma, vmas, 4);
		KUNIT_EXPECT_FALSE(test, has_tree(anon_vma));
		for (i = 0; i < 4; i++) {
			struct folio *folio = touch(test, mm, addr + i * PAGE_SIZE);

			KUNIT_EXPECT_PTR_EQ(test, listed(vmas[i]), anon_vma);
			expect_walk(test, folio, lazy, anon_vma, vma_at(mm, addr + i * PAGE_SIZE));
			folio_put(folio);
		}

		get_anon_vma(anon_vma);
		for (i = 0; i < 4; i++) {
			j = head_last ? 3 - i : i;
			expect_kept(test, anon_vma, true);
			KUNIT_EXPECT_EQ(test, anon_vma->num_active_vmas, 4 - i);
			vma = vmas[j];
			vmas[j] = NULL;
			KUNIT_ASSERT_EQ(test, vm_munmap(vma->vm_start, PAGE_SIZE), 0);
			expect_order(test, anon_vma, vmas, 4);
			expect_sound(test, mm);
		}
		KUNIT_EXPECT_EQ(test, anon_vma->num_active_vmas, 0);
		put_last(test, anon_vma, nr_deferred);
	}
}

/* The head of an anon_vma is unmapped by the parent, and the child lives on. */
static void state_deferred(struct kunit *test)
{
	struct vm_area_struct *vma = map_lazy(test, 2), *child_vma;
	struct anon_vma *lazy = vma->anon_vma, *anon_vma;
	unsigned long addr = vma->vm_start;
	struct folio *folio = touch(test, current->mm, addr);
	struct mm_struct *child = fork_mm(test, current->mm);

	child_vma = vma_at(child, addr);
	anon_vma = vma->anon_vma;
	expect_upgraded(test, current->mm, addr, 1, anon_vma);
	KUNIT_EXPECT_PTR_EQ(test, anon_vma->head, vma);
	expect_unnamed(test, child_vma);
	KUNIT_EXPECT_PTR_EQ(test, listed(child_vma), anon_vma);
	KUNIT_EXPECT_PTR_EQ(test, first_member(vma), child_vma);
	KUNIT_EXPECT_TRUE(test, vma_is_head(child_vma, child_vma->anon_vma));
	expect_sound(test, child);

	KUNIT_ASSERT_EQ(test, vm_munmap(addr, 2 * PAGE_SIZE), 0);
	KUNIT_EXPECT_PTR_EQ(test, READ_ONCE(vma->anon_vma), deferred(anon_vma));
	expect_sound(test, child);

	/* What the child still maps names it, and leads to the child. */
	expect_walk(test, folio, lazy, anon_vma, child_vma);
	folio_put(folio);
	/* Its own pages name the child, from the first one on. */
	expect_unnamed(test, child_vma);
	folio = touch(test, child, addr + PAGE_SIZE);
	expect_named(test, child_vma);
	expect_walk(test, folio, child_vma->anon_vma, child_vma->anon_vma, child_vma);
	folio_put(folio);
	expect_sound(test, child);
}

/* --- refusals --------------------------------------------------------------- */

static void join_group(struct kunit *test)
{
	struct vm_area_struct *vmas[4];
	struct anon_vma *lazy, *second;
	int i;

	map_neighbours(test, vmas, 4);
	lazy = identity(vmas[0]);
	second = identity(vmas[3]);
	KUNIT_ASSERT_EQ(test, prepare(vmas[0]), 0);
	expect_group(test, vmas[0], lazy, 1);
	/* This one is welcome, */
	KUNIT_ASSERT_EQ(test, prepare(vmas[1]), 0);
	expect_group(test, vmas[1], lazy, 2);
	/* and this one has no neighbour to join, but the next one has two. */
	KUNIT_ASSERT_EQ(test, prepare(vmas[3]), 0);
	expect_group(test, vmas[3], second, 1);
	KUNIT_ASSERT_EQ(test, prepare(vmas[2]), 0);
	expect_group(test, vmas[2], second, 2);

	/* As if each had two faults: they are in a group already. */
	for (i = 0; i < 4; i++)
		KUNIT_EXPECT_EQ(test, prepare(vmas[i]), 0);
	for (i = 0; i < 4; i++)
		expect_group(test, vmas[i], i < 2 ? lazy : second, 2);
	expect_sound(test, current->mm);
}

/* What mremap() does before it moves a page of @vma, the @nth, to @to. */
static struct vm_area_struct *__move_copy(struct kunit *test, struct vm_area_struct **vma,
					  unsigned int nth, unsigned long to,
					  bool keep_source, bool *locks)
{
	struct mm_struct *mm = (*vma)->vm_mm;
	struct vm_area_struct *copy;

	mmap_write_lock(mm);
	vma_start_write(*vma);
	copy = copy_vma(vma, to, PAGE_SIZE, (*vma)->vm_pgoff + nth,
			vma_start_anon_pgoff(*vma) + nth, locks, keep_source);
	if (copy) {
		vm_stat_account(mm, copy->vm_flags, 1);
		vm_acct_memory(1);
	}
	mmap_write_unlock(mm);
	KUNIT_ASSERT_NOT_NULL(test, copy);
	return copy;
}

static struct vm_area_struct *move_copy(struct kunit *test, struct vm_area_struct *vma)
{
	bool locks;

	return __move_copy(test, &vma, 0, new_addr(test), false, &locks);
}

/* Too many at a fault, and too many as a part is moved. */
static void join_full(struct kunit *test)
{
	struct vm_area_struct *vmas[LAZY_GROUP_MAX + 1], *vma, *copy;
	int i;

	map_neighbours(test, vmas, ARRAY_SIZE(vmas));
	for (i = 0; i < LAZY_GROUP_MAX; i++)
		KUNIT_ASSERT_EQ(test, prepare(vmas[i]), 0);
	expect_group(test, vmas[i - 1], identity(vmas[0]), LAZY_GROUP_MAX);
	expect_sound(test, current->mm);
	KUNIT_ASSERT_EQ(test, prepare(vmas[i]), 0);
	expect_upgraded(test, current->mm, vmas[0]->vm_start, LAZY_GROUP_MAX + 1,
			vmas[0]->anon_vma);
	KUNIT_EXPECT_NULL(test, listed(vmas[i]));

	vma = vma_at(current->mm, map_group(test, LAZY_GROUP_MAX));
	expect_group(test, vma, vma->anon_vma, LAZY_GROUP_MAX);
	copy = move_copy(test, vma);
	KUNIT_ASSERT_FALSE(test, anon_vma_is_lazy(vma->anon_vma));
	KUNIT_EXPECT_PTR_EQ(test, copy->anon_vma, vma->anon_vma);
	KUNIT_EXPECT_EQ(test, vma->anon_vma->num_active_vmas, LAZY_GROUP_MAX + 1);
	KUNIT_EXPECT_NULL(test, listed(copy));
	expect_sound(test, current->mm);
}

/* What does not fit on the list of an upgraded one has a chain, and children as of old. */
static void list_full(struct kunit *test)
{
	struct vm_area_struct *vmas[LAZY_GROUP_MAX + 1], *last, *vma;
	struct vm_area_struct *found[2 * ARRAY_SIZE(vmas)];
	int nr_deferred = get_nr_deferred(), i;
	struct anon_vma *anon_vma;
	struct mm_struct *mm, *child;

	map_neighbours(test, vmas, ARRAY_SIZE(vmas));
	mm = current->mm;
	for (i = 0; i < LAZY_GROUP_MAX; i++)
		KUNIT_ASSERT_EQ(test, prepare(vmas[i]), 0);
	KUNIT_ASSERT_EQ(test, upgrade(vmas[0]), 0);
	anon_vma = vmas[0]->anon_vma;
	KUNIT_EXPECT_FALSE(test, has_tree(anon_vma));
	last = vmas[LAZY_GROUP_MAX];
	KUNIT_ASSERT_EQ(test, prepare(last), 0);
	expect_upgraded(test, mm, vmas[0]->vm_start, LAZY_GROUP_MAX + 1, anon_vma);
	KUNIT_EXPECT_TRUE(test, has_tree(anon_vma));
	KUNIT_EXPECT_NULL(test, listed(last));
	KUNIT_EXPECT_EQ(test, chain_length(last), 1);
	/* The list is walked first. */
	expect_order(test, anon_vma, vmas, ARRAY_SIZE(vmas));

	child = fork_mm(test, mm);
	KUNIT_EXPECT_EQ(test, walk_all(anon_vma, found, ARRAY_SIZE(found)), ARRAY_SIZE(found));
	for (i = 0; i < LAZY_GROUP_MAX; i++) {
		vma = vma_at(child, vmas[i]->vm_start);
		expect_unnamed(test, vma);
		KUNIT_EXPECT_PTR_EQ(test, listed(vma), anon_vma);
		KUNIT_EXPECT_PTR_EQ(test, found[2 * i], vmas[i]);
		KUNIT_EXPECT_PTR_EQ(test, found[2 * i + 1], vma);
	}
	vma = vma_at(child, last->vm_start);
	KUNIT_EXPECT_FALSE(test, anon_vma_is_lazy(vma->anon_vma));
	KUNIT_EXPECT_EQ(test, chain_length(vma), 2);
	KUNIT_EXPECT_PTR_EQ(test, vma->anon_vma->root, anon_vma);
	KUNIT_EXPECT_EQ(test, anon_vma->num_children, 2);
	KUNIT_EXPECT_PTR_EQ(test, found[2 * i], last);
	KUNIT_EXPECT_PTR_EQ(test, found[2 * i + 1], vma);
	expect_sound(test, child);
	expect_sound(test, mm);
	exit_mm(test, child);
	KUNIT_EXPECT_EQ(test, anon_vma->num_children, 1);

	/* What is in the tree is enough to keep it. */
	get_anon_vma(anon_vma);
	for (i = 0; i < ARRAY_SIZE(vmas); i++) {
		expect_kept(test, anon_vma, true);
		vma = vmas[i];
		vmas[i] = NULL;
		KUNIT_ASSERT_EQ(test, vm_munmap(vma->vm_start, PAGE_SIZE), 0);
		expect_order(test, anon_vma, vmas, ARRAY_SIZE(vmas));
		expect_sound(test, mm);
	}
	put_last(test, anon_vma, nr_deferred);
}

/* A neighbour that faults shares the anon_vma of one that is on a list, by a chain. */
static void list_neighbour(struct kunit *test)
{
	struct vm_area_struct *vmas[3];
	struct anon_vma *anon_vma;
	int i;

	map_neighbours(test, vmas, 3);
	KUNIT_ASSERT_EQ(test, prepare(vmas[0]), 0);
	KUNIT_ASSERT_EQ(test, upgrade(vmas[0]), 0);
	anon_vma = vmas[0]->anon_vma;
	for (i = 1; i < 3; i++) {
		KUNIT_ASSERT_EQ(test, prepare(vmas[i]), 0);
		KUNIT_EXPECT_PTR_EQ(test, vmas[i]->anon_vma, anon_vma);
		KUNIT_EXPECT_NULL(test, listed(vmas[i]));
		KUNIT_EXPECT_EQ(test, vmas[i]->anon_vma_listed, 0);
		KUNIT_EXPECT_EQ(test, chain_length(vmas[i]), 1);
	}
	expect_order(test, anon_vma, vmas, 3);
	for (i = 0; i < 3; i++)
		KUNIT_EXPECT_EQ(test, prepare(vmas[i]), 0);
	expect_order(test, anon_vma, vmas, 3);
	expect_upgraded(test, current->mm, vmas[0]->vm_start, 3, anon_vma);
}

/* A driver may not remap all of a VMA that is, or may be, on a list. */
static void expect_no_remap(struct kunit *test, struct vm_area_struct *vma)
{
#ifdef __HAVE_PFNMAP_TRACKING
	const unsigned long was = vma->anon_vma_listed, vm_pgoff = vma->vm_pgoff;
	const vm_flags_t flags = vma->vm_flags;

	mmap_write_lock(vma->vm_mm);
	vma_start_write(vma);
	KUNIT_EXPECT_EQ(test, remap_pfn_range(vma, vma->vm_start, 0, PAGE_SIZE,
					      vma->vm_page_prot), -EINVAL);
	KUNIT_EXPECT_EQ(test, vma->anon_vma_listed, was);
	/* It has changed these first. */
	vma->vm_pgoff = vm_pgoff;
	vm_flags_reset(vma, flags);
	mmap_write_unlock(vma->vm_mm);
#endif
}

/* There may be what ->anon_vma_listed is for otherwise: so it is never set. */
static void pfnmap(struct kunit *test)
{
	unsigned long addr = map_area(test, 1), other = map_area(test, 1);
	struct vm_area_struct *vma = vma_at(current->mm, addr), *child_vma;
	struct vm_area_struct *shared = vma_at(current->mm, other), *vmas[2];
	struct mm_struct *child;

	set_pfnmap(vma);
	mmap_read_lock(current->mm);
	KUNIT_EXPECT_FALSE(test, __anon_vma_prepare_lazy(vma));
	mmap_read_unlock(current->mm);
	KUNIT_EXPECT_NULL(test, vma->anon_vma);
	KUNIT_ASSERT_EQ(test, prepare(vma), 0);
	KUNIT_ASSERT_FALSE(test, anon_vma_is_lazy(vma->anon_vma));
	KUNIT_EXPECT_NULL(test, vma->anon_vma->head);
	KUNIT_EXPECT_EQ(test, vma->anon_vma_listed, 0);
	KUNIT_EXPECT_EQ(test, chain_length(vma), 1);

	/* Not even if the parent is on a list, from before. */
	KUNIT_ASSERT_EQ(test, prepare(shared), 0);
	KUNIT_ASSERT_EQ(test, upgrade(shared), 0);
	KUNIT_EXPECT_PTR_EQ(test, listed(shared), shared->anon_vma);
	set_pfnmap(shared);
	child = fork_mm(test, current->mm);
	child_vma = vma_at(child, addr);
	KUNIT_EXPECT_FALSE(test, anon_vma_is_lazy(child_vma->anon_vma));
	KUNIT_EXPECT_EQ(test, child_vma->anon_vma_listed, 0);
	KUNIT_EXPECT_EQ(test, chain_length(child_vma), 2);
	child_vma = vma_at(child, other);
	KUNIT_EXPECT_FALSE(test, anon_vma_is_lazy(child_vma->anon_vma));
	KUNIT_EXPECT_EQ(test, child_vma->anon_vma_listed, 0);
	KUNIT_EXPECT_EQ(test, chain_length(child_vma), 2);
	expect_sound(test, child);
	expect_sound(test, current->mm);

	/* Not even beside one that was lazy before: it gets an anon_vma for that. */
	map_neighbours(test, vmas, 2);
	KUNIT_ASSERT_EQ(test, prepare(vmas[0]), 0);
	KUNIT_EXPECT_TRUE(test, anon_vma_is_lazy(vmas[0]->anon_vma));
	set_pfnmap(vmas[0]);
	set_pfnmap(vmas[1]);
	KUNIT_ASSERT_EQ(test, prepare(vmas[1]), 0);
	KUNIT_ASSERT_FALSE(test, anon_vma_is_lazy(vmas[1]->anon_vma));
	KUNIT_EXPECT_PTR_EQ(test, vmas[1]->anon_vma, vmas[0]->anon_vma);
	KUNIT_EXPECT_EQ(test, vmas[1]->anon_vma_listed, 0);
	KUNIT_EXPECT_EQ(test, chain_length(vmas[1]), 1);

	/* Nor is it replaced, or there first if it may have to be set later. */
	expect_no_remap(test, shared);
	vma = vma_at(current->mm, map_area(test, 1));
	KUNIT_ASSERT_EQ(test, prepare(vma), 0);
	expect_no_remap(test, vma);
	expect_sound(test, current->mm);
}

/* A forked child has no group: not for a neighbour, and not for a part of it. */
static void join_child(struct kunit *test)
{
	unsigned long addr = map_lazy(test, 2)->vm_start;
	struct vm_area_struct *vmas[2], *vma;
	struct mm_struct *child;
	int i;

	map_neighbours(test, vmas, 2);
	KUNIT_ASSERT_EQ(test, prepare(vmas[0]), 0);
	child = fork_mm(test, current->mm);
	for (i = 0; i < 2; i++)
		vmas[i] = vma_at(child, vmas[i]->vm_start);
	expect_unnamed(test, vmas[0]);
	KUNIT_ASSERT_EQ(test, prepare(vmas[1]), 0);
	KUNIT_EXPECT_PTR_EQ(test, vmas[1]->anon_vma, identity(vmas[1]));

	vma = vma_at(child, addr);
	expect_unnamed(test, vma);
	KUNIT_ASSERT_EQ(test, do_madvise(child, addr, PAGE_SIZE, MADV_DONTDUMP), 0);
	for (i = 0; i < 2; i++) {
		vma = vma_at(child, addr + i * PAGE_SIZE);
		KUNIT_EXPECT_EQ(test, vma_pages(vma), 1);
		KUNIT_EXPECT_EQ(test, chain_length(vma), 2);
	}
	expect_upgraded(test, child, addr, 2, vma->anon_vma);
}

struct race {
	const char *desc;
	void (*act)(struct other *other);
	bool upgrade_first;
};

static const struct race races[] = {
	{ "a VMA joins, upgraded before", act_prepare, true },
	{ "a VMA joins, upgraded after", act_prepare, false },
	{ "a VMA goes, upgraded before", act_unlink, true },
	{ "a VMA goes, upgraded after", act_unlink, false },
	{ "upgraded twice", act_upgrade, true },
};

KUNIT_ARRAY_PARAM_DESC(race, races, desc);

/* Who has seen a group may find it upgraded, or larger, once it has the lock. */
static void race_with_upgrade(struct kunit *test)
{
	const struct race *p = test->param_value;
	struct other first = { .test = test }, second = { .test = test };
	struct vm_area_struct *vmas[2];
	struct rw_semaphore *rwsem;

	map_neighbours(test, vmas, 2);
	KUNIT_ASSERT_EQ(test, prepare(vmas[0]), 0);
	if (p->act != act_prepare)
		KUNIT_ASSERT_EQ(test, prepare(vmas[1]), 0);

	first.act = p->upgrade_first ? act_upgrade : p->act;
	first.vma = vmas[!p->upgrade_first];
	second.act = p->upgrade_first ? p->act : act_upgrade;
	second.vma = vmas[p->upgrade_first];
	rwsem = anon_vma_rwsem(vmas[0]->anon_vma);
	down_read(rwsem);
	start_waiting(&first, rwsem);
	start_waiting(&second, rwsem);
	up_read(rwsem);
	finish(&first);
	finish(&second);

	if (p->act == act_unlink) {
		KUNIT_EXPECT_NULL(test, vmas[1]->anon_vma);
		KUNIT_EXPECT_TRUE(test, list_empty(&vmas[1]->anon_vma_chain));
	}
	expect_upgraded(test, current->mm, vmas[0]->vm_start, p->act == act_unlink ? 1 : 2,
			vmas[0]->anon_vma);
	expect_order(test, vmas[0]->anon_vma, vmas, p->act == act_unlink ? 1 : 2);
	KUNIT_EXPECT_EQ(test, has_tree(vmas[0]->anon_vma),
			p->act == act_prepare && p->upgrade_first);
}

/* --- families --------------------------------------------------------------- */

static void family(struct kunit *test)
{
	/*
	 * The parent; a child that has pages, and its child; one that has none, and its
	 * sibling, which is that one's child; and a stranger, a head with a member.
	 */
	enum { PARENT, CHILD, GRANDCHILD, UNNAMED, SIBLING, STRANGER, NR };
	struct vm_area_struct *vmas[NR] = {
		[PARENT] = map_lazy(test, 1),
		[STRANGER] = vma_at(current->mm, map_group(test, 2)),
	};
	/* What folios name: each of them while it was lazy, and its anon_vma. */
	struct anon_vma *named[2 * NR];
	/* Never asked for: -. */
	static const char * const related[NR] = {
		[PARENT]	= "yn-nnnyyy--n",
		[CHILD]		= "yy-nnnyyy--n",
		[GRANDCHILD]	= "yy-nnnyyy--n",
		[UNNAMED]	= "yn--nnynn--n",
		[SIBLING]	= "yn-nynynn--n",
		[STRANGER]	= "nn-nnynnn--y",
	};
	const unsigned long addr = vmas[PARENT]->vm_start;
	struct mm_struct *mm, *child;
	struct anon_vma *root;
	struct folio *folio;
	int i, j;

	vmas[STRANGER] = lazy_vma(vmas[STRANGER]->anon_vma);
	mmap_read_lock(current->mm);
	for (i = 0; i < NR; i += STRANGER) {
		named[i] = vmas[i]->anon_vma;
		KUNIT_EXPECT_TRUE(test, vma_anon_related(vmas[PARENT], named[i]) == !i);
		KUNIT_EXPECT_TRUE(test, vma_anon_related(vmas[STRANGER], named[i]) == !!i);
	}
	mmap_read_unlock(current->mm);

	child = fork_mm(test, current->mm);
	root = vmas[PARENT]->anon_vma;
	vmas[CHILD] = vma_at(child, addr);
	expect_unnamed(test, vmas[CHILD]);
	KUNIT_EXPECT_PTR_EQ(test, lazy_root(vmas[CHILD]->anon_vma), root);
	folio_put(touch(test, child, addr));
	expect_named(test, vmas[CHILD]);
	named[CHILD] = vmas[CHILD]->anon_vma;

	/* It has pages of its own, so it is upgraded, and its child has an anon_vma. */
	vmas[GRANDCHILD] = vma_at(fork_mm(test, child), addr);
	KUNIT_ASSERT_FALSE(test, anon_vma_is_lazy(vmas[GRANDCHILD]->anon_vma));
	KUNIT_EXPECT_EQ(test, chain_length(vmas[CHILD]), 2);
	KUNIT_EXPECT_EQ(test, chain_length(vmas[GRANDCHILD]), 3);
	KUNIT_EXPECT_PTR_EQ(test, vmas[CHILD]->anon_vma->parent, root);
	KUNIT_EXPECT_PTR_EQ(test, vmas[GRANDCHILD]->anon_vma->parent, vmas[CHILD]->anon_vma);
	KUNIT_EXPECT_PTR_EQ(test, vmas[GRANDCHILD]->anon_vma->root, root);
	KUNIT_EXPECT_NULL(test, vmas[GRANDCHILD]->anon_vma->head);

	/* This one has none: so is its child, as if it was the parent's. */
	child = fork_mm(test, current->mm);
	vmas[UNNAMED] = vma_at(child, addr);
	mm = fork_mm(test, child);
	vmas[SIBLING] = vma_at(mm, addr);
	for (i = UNNAMED; i <= SIBLING; i++) {
		expect_unnamed(test, vmas[i]);
		KUNIT_EXPECT_PTR_EQ(test, lazy_root(vmas[i]->anon_vma), root);
		named[i] = child_identity(vmas[i]);
	}

	/* What they swap in may be all of theirs. That is no page of their own. */
	for (i = CHILD; i <= SIBLING; i++) {
		folio = folio_alloc(GFP_KERNEL, 0);
		KUNIT_ASSERT_NOT_NULL(test, folio);
		folio_lock(folio);
		mmap_read_lock(vmas[i]->vm_mm);
		folio_add_new_anon_rmap(folio, vmas[i], addr, RMAP_NONE);
		KUNIT_EXPECT_PTR_EQ(test, folio_anon_vma(folio), root);
		folio_remove_rmap_pte(folio, &folio->page, vmas[i]);
		mmap_read_unlock(vmas[i]->vm_mm);
		folio_unlock(folio);
		folio_put(folio);
	}
	expect_unnamed(test, vmas[SIBLING]);
	folio_put(touch(test, mm, addr));
	expect_named(test, vmas[SIBLING]);

	for (i = 0; i < NR; i++)
		named[NR + i] = vmas[i]->anon_vma;
	for (i = 0; i < NR; i++) {
		mmap_read_lock(vmas[i]->vm_mm);
		for (j = 0; j < 2 * NR; j++) {
			if (related[i][j] != '-')
				KUNIT_EXPECT_EQ_MSG(test, vma_anon_related(vmas[i], named[j]),
						    related[i][j] == 'y', "%d, %d", i, j);
		}
		mmap_read_unlock(vmas[i]->vm_mm);
		expect_sound(test, vmas[i]->vm_mm);
	}
}

/* A parent, two children, and a child of the first one, exit in each order. */
static void list_children(struct kunit *test)
{
	enum { NR = 4, PERMUTATIONS = 24 };
	int order, i, j, rest;

	for (order = 0; order < PERMUTATIONS; order++) {
		/* A walk comes to each after the one that it was forked off. */
		struct vm_area_struct *vmas[NR] = { map_lazy(test, 1) };
		struct mm_struct *mms[NR] = { current->mm };
		const unsigned long addr = vmas[0]->vm_start;
		struct folio *folio = touch(test, mms[0], addr);
		int left[NR] = { 0, 1, 2, 3 }, nr_deferred = get_nr_deferred();
		struct anon_vma *anon_vma;

		mms[2] = fork_mm(test, mms[0]);
		mms[1] = fork_mm(test, mms[0]);
		mms[3] = fork_mm(test, mms[2]);
		anon_vma = vmas[0]->anon_vma;
		KUNIT_ASSERT_FALSE(test, anon_vma_is_lazy(anon_vma));
		get_anon_vma(anon_vma);
		KUNIT_EXPECT_EQ(test, folio_mapcount(folio), NR);
		KUNIT_EXPECT_PTR_EQ(test, listed(vmas[0]), anon_vma);
		for (i = 1; i < NR; i++) {
			vmas[i] = vma_at(mms[i], addr);
			expect_unnamed(test, vmas[i]);
			KUNIT_EXPECT_PTR_EQ(test, listed(vmas[i]), anon_vma);
			if (!order)
				expect_sound(test, mms[i]);
		}
		KUNIT_EXPECT_EQ(test, anon_vma->num_active_vmas, 1);
		KUNIT_EXPECT_EQ(test, anon_vma->num_children, 1);
		KUNIT_EXPECT_FALSE(test, has_tree(anon_vma));
		expect_order(test, anon_vma, vmas, NR);

		for (i = NR, rest = order; i; rest /= i, i--) {
			j = left[rest % i];
			left[rest % i] = left[i - 1];
			expect_kept(test, anon_vma, true);
			KUNIT_EXPECT_PTR_EQ(test, find(test, folio, false), anon_vma);
			vmas[j] = NULL;
			if (j)
				exit_mm(test, mms[j]);
			else
				KUNIT_ASSERT_EQ(test, vm_munmap(addr, PAGE_SIZE), 0);
			expect_order(test, anon_vma, vmas, NR);
			KUNIT_EXPECT_EQ(test, anon_vma->num_active_vmas, !!vmas[0]);
		}
		expect_not_found(test, folio);
		folio_put(folio);
		put_last(test, anon_vma, nr_deferred);
	}
}

/* It leaves the list for two trees. That it was on it is forgotten when it goes. */
static void child_upgrade(struct kunit *test)
{
	struct vm_area_struct *vmas[4] = { map_lazy(test, 2) }, *vma;
	const unsigned long addr = vmas[0]->vm_start;
	struct folio *shared = touch(test, current->mm, addr + PAGE_SIZE), *folio;
	struct mm_struct *child = fork_mm(test, current->mm), *grandchild;
	struct anon_vma *root = vmas[0]->anon_vma, *lazy, *anon_vma;
	unsigned long was;
	int i;

	vma = vma_at(child, addr);
	vmas[1] = vma;
	folio = touch(test, child, addr);
	was = vma->anon_vma_listed;
	lazy = child_identity(vma);
	expect_walk(test, folio, lazy, lazy, vma);
	KUNIT_EXPECT_PTR_EQ(test, listed(vma), root);
	expect_order(test, root, vmas, 2);

	KUNIT_ASSERT_EQ(test, upgrade(vma), 0);
	anon_vma = vma->anon_vma;
	expect_upgraded(test, child, addr, 1, anon_vma);
	KUNIT_EXPECT_PTR_EQ(test, anon_vma->root, root);
	KUNIT_EXPECT_PTR_EQ(test, anon_vma->parent, root);
	KUNIT_EXPECT_PTR_EQ(test, anon_vma->head, vma);
	KUNIT_EXPECT_EQ(test, root->num_children, 2);
	KUNIT_EXPECT_TRUE(test, list_empty(&vmas[0]->anon_vma_chain));
	KUNIT_EXPECT_EQ(test, chain_length(vma), 2);
	/* Its own is the first one. */
	KUNIT_EXPECT_PTR_EQ(test, chain(vma)->anon_vma, anon_vma);
	expect_order(test, root, vmas, 2);
	expect_order(test, anon_vma, vmas + 1, 1);
	expect_walk(test, folio, lazy, anon_vma, vma);
	folio_put(folio);
	KUNIT_EXPECT_EQ(test, vma->anon_vma_listed, was);
	KUNIT_EXPECT_NULL(test, listed(vma));

	/* Split, merged, forked: as one that has never been on a list. */
	KUNIT_ASSERT_EQ(test, do_madvise(child, addr, PAGE_SIZE, MADV_DONTDUMP), 0);
	expect_upgraded(test, child, addr, 2, anon_vma);
	for (i = 0; i < 2; i++) {
		vmas[1 + i] = vma_at(child, addr + i * PAGE_SIZE);
		KUNIT_EXPECT_EQ(test, chain_length(vmas[1 + i]), 2);
		KUNIT_EXPECT_EQ(test, vmas[1 + i]->anon_vma_listed, vmas[1 + i] == vma ? was : 0);
	}
	expect_order(test, root, vmas, 3);
	expect_order(test, anon_vma, vmas + 1, 2);
	KUNIT_ASSERT_EQ(test, do_madvise(child, addr + PAGE_SIZE, PAGE_SIZE, MADV_DONTDUMP), 0);
	KUNIT_ASSERT_PTR_EQ(test, vma_at(child, addr + PAGE_SIZE), vma);
	vmas[1] = vma;
	expect_order(test, root, vmas, 2);
	grandchild = fork_mm(test, child);
	vmas[2] = vma_at(grandchild, addr);
	KUNIT_EXPECT_EQ(test, chain_length(vmas[2]), 3);
	KUNIT_EXPECT_EQ(test, vmas[2]->anon_vma_listed, 0);
	expect_order(test, root, vmas, 3);
	expect_order(test, anon_vma, vmas + 1, 2);
	expect_sound(test, grandchild);
	exit_mm(test, grandchild);
	KUNIT_EXPECT_EQ(test, folio_mapcount(shared), 2);
	folio_put(shared);

	unmap_pages(vma);
	unlink_vma(vma);
	KUNIT_EXPECT_EQ(test, vma->anon_vma_listed, 0);
	KUNIT_EXPECT_TRUE(test, list_empty(&vma->anon_vma_chain));
	KUNIT_EXPECT_PTR_EQ(test, vma->anon_vma, ANON_VMA_DEAD);
	KUNIT_EXPECT_EQ(test, root->num_children, 1);
	expect_order(test, root, vmas, 1);
	/* As if it was new. */
	vma->anon_vma = NULL;
	folio_put(touch(test, child, addr));
	expect_group(test, vma, identity(vma), 1);
	expect_sound(test, child);
	expect_sound(test, current->mm);
}

/* A child forks siblings until it has a page of its own. */
static void unnamed(struct kunit *test)
{
	/* The parent; children, each forked off the one before; and more of the first. */
	struct vm_area_struct *vmas[5] = { map_lazy(test, 2) };
	const unsigned long addr = vmas[0]->vm_start;
	struct folio *shared = touch(test, current->mm, addr + PAGE_SIZE), *folio;
	struct mm_struct *mms[5] = { current->mm };
	struct vm_area_struct *want[5];
	struct anon_vma *root;
	struct page *page;
	int i;

	for (i = 1; i < 4; i++) {
		mms[i] = fork_mm(test, mms[i - 1]);
		vmas[i] = vma_at(mms[i], addr);
		/* To read does not change that. */
		mmap_read_lock(mms[i]);
		KUNIT_EXPECT_EQ(test, get_user_pages_remote(mms[i], addr, 1, 0, &page, NULL), 1);
		mmap_read_unlock(mms[i]);
		put_page(page);
	}
	root = vmas[0]->anon_vma;
	KUNIT_ASSERT_FALSE(test, anon_vma_is_lazy(root));
	expect_order(test, root, vmas, 4);
	for (i = 1; i < 4; i++) {
		expect_unnamed(test, vmas[i]);
		KUNIT_EXPECT_PTR_EQ(test, listed(vmas[i]), root);
		expect_sound(test, mms[i]);
	}
	KUNIT_EXPECT_EQ(test, root->num_children, 1);
	KUNIT_EXPECT_TRUE(test, vmas[1]->anon_vma_listed & ANON_VMA_FORKED);
	KUNIT_EXPECT_FALSE(test, vmas[3]->anon_vma_listed & ANON_VMA_FORKED);

	/* With one it is upgraded: its child may share that. What it forked before may not. */
	folio = touch(test, mms[1], addr);
	KUNIT_EXPECT_PTR_EQ(test, folio_anon_vma(folio), child_identity(vmas[1]));
	expect_named(test, vmas[1]);
	expect_unnamed(test, vmas[2]);
	mms[4] = fork_mm(test, mms[1]);
	vmas[4] = vma_at(mms[4], addr);
	KUNIT_ASSERT_FALSE(test, anon_vma_is_lazy(vmas[1]->anon_vma));
	KUNIT_ASSERT_FALSE(test, anon_vma_is_lazy(vmas[4]->anon_vma));
	KUNIT_EXPECT_TRUE(test, vmas[1]->anon_vma->forked_siblings);
	KUNIT_EXPECT_FALSE(test, vmas[4]->anon_vma->forked_siblings);
	KUNIT_EXPECT_EQ(test, chain_length(vmas[4]), 3);
	KUNIT_EXPECT_EQ(test, folio_mapcount(folio), 2);
	KUNIT_EXPECT_PTR_EQ(test, find(test, folio, false), vmas[1]->anon_vma);
	want[0] = vmas[1];
	want[1] = vmas[4];
	expect_order(test, vmas[1]->anon_vma, want, 2);
	folio_put(folio);

	/* What all of them share is found in all of them: first on the list. */
	KUNIT_EXPECT_EQ(test, folio_mapcount(shared), 5);
	KUNIT_EXPECT_PTR_EQ(test, find(test, shared, false), root);
	want[0] = vmas[0];
	want[1] = vmas[2];
	want[2] = vmas[3];
	want[3] = vmas[1];
	want[4] = vmas[4];
	expect_order(test, root, want, 5);
	for (i = 0; i < 5; i++)
		expect_sound(test, mms[i]);

	/* Also once the parent has gone. Then a page that is left to one is its own. */
	KUNIT_ASSERT_EQ(test, vm_munmap(addr, 2 * PAGE_SIZE), 0);
	for (i = 1; i < 5; i++) {
		if (i != 3)
			exit_mm(test, mms[i]);
	}
	expect_walk(test, shared, identity(root->head), root, vmas[3]);
	expect_unnamed(test, vmas[3]);
	folio_put(shared);
	folio = touch(test, mms[3], addr + PAGE_SIZE);
	KUNIT_EXPECT_PTR_EQ(test, folio_anon_vma(folio), child_identity(vmas[3]));
	expect_named(test, vmas[3]);
	expect_sound(test, mms[3]);
	folio_put(folio);
}

/* --- locks ------------------------------------------------------------------ */

static void walk_states(struct kunit *test)
{
	struct vm_area_struct *vma = map_lazy(test, 1);
	struct rw_semaphore *rwsem = lazy_rwsem(current->mm, vma->anon_vma);
	struct folio *folio = touch(test, current->mm, vma->vm_start);
	struct rmap_walk_control rwc = { .try_lock = true };

	/* Lazy: the lock of the mm, or none if somebody has it. A hold does without. */
	KUNIT_EXPECT_PTR_EQ(test, anon_vma_rwsem(vma->anon_vma), rwsem);
	KUNIT_EXPECT_PTR_EQ(test, find(test, folio, false), vma->anon_vma);
	down_write(rwsem);
	folio_lock(folio);
	KUNIT_EXPECT_NULL(test, folio_lock_anon_vma_read(folio, &rwc));
	folio_unlock(folio);
	KUNIT_EXPECT_TRUE(test, rwc.contended);
	put_anon_vma(hold(test, folio));
	up_write(rwsem);

	/* Upgraded: that of the anon_vma. */
	KUNIT_ASSERT_EQ(test, upgrade(vma), 0);
	down_write(rwsem);
	KUNIT_EXPECT_PTR_EQ(test, find(test, folio, false), vma->anon_vma);
	up_write(rwsem);
	KUNIT_EXPECT_EQ(test, atomic_read(&vma->anon_vma->refcount), 1);
	folio_lock(folio);
	KUNIT_EXPECT_PTR_EQ(test, folio_get_anon_vma(folio), vma->anon_vma);
	folio_unlock(folio);
	KUNIT_EXPECT_EQ(test, atomic_read(&vma->anon_vma->refcount), 2);
	put_anon_vma(vma->anon_vma);

	/* Unmapped: none. */
	KUNIT_ASSERT_EQ(test, vm_munmap(vma->vm_start, PAGE_SIZE), 0);
	expect_not_found(test, folio);
	folio_put(folio);

	/* The same if it is lazy all the while, and the lock free; and if it is gone. */
	vma = map_lazy(test, 1);
	folio = touch(test, current->mm, vma->vm_start);
	unmap_pages(vma);
	KUNIT_EXPECT_PTR_EQ(test, anon_vma_resolve(folio_anon_vma(folio)), identity(vma));
	KUNIT_EXPECT_TRUE(test, rwsem_is_free(lazy_rwsem(current->mm, vma->anon_vma)));
	expect_not_found(test, folio);
	KUNIT_ASSERT_EQ(test, vm_munmap(vma->vm_start, PAGE_SIZE), 0);
	expect_not_found(test, folio);
	folio_put(folio);
}

/* Who may sleep waits for the lock, and asks again when it has it. */
static void walk_waits(struct kunit *test)
{
	enum { AS_BEFORE, UPGRADED, UNMAPPED, NR } now;

	for (now = AS_BEFORE; now < NR; now++) {
		struct vm_area_struct *vma = map_lazy(test, 1);
		struct folio *folio = touch(test, current->mm, vma->vm_start);
		struct rw_semaphore *rwsem = anon_vma_rwsem(vma->anon_vma);
		struct other walker = { .test = test, .act = act_find, .folio = folio };
		struct other first = { .test = test, .vma = vma,
				       .act = now == UPGRADED ? act_upgrade : act_lock };

		/* Not as the owner, for whom lockdep would forbid the mmap lock. */
		down_read_non_owner(rwsem);
		start_waiting(&first, rwsem);
		start_waiting(&walker, rwsem);
		if (now == UNMAPPED)
			unmap_pages(vma);
		up_read_non_owner(rwsem);
		finish(&first);
		finish(&walker);
		KUNIT_EXPECT_EQ(test, anon_vma_is_lazy(vma->anon_vma), now != UPGRADED);
		KUNIT_EXPECT_PTR_EQ(test, walker.found, now == UNMAPPED ? NULL : vma->anon_vma);
		KUNIT_EXPECT_TRUE(test, rwsem_is_free(rwsem));
		folio_put(folio);
	}
	expect_sound(test, current->mm);
}

/*
 * Who waits for its ancestors does not have a lock of the mm: neither to change a lazy
 * child, nor to upgrade or unlink it.
 */
static void wait_without_lock(struct kunit *test)
{
	static void (* const acts[])(struct other *other) = { act_lock, act_upgrade, act_unlink };
	struct vm_area_struct *vma = map_lazy(test, 1);
	int i;

	for (i = 0; i < ARRAY_SIZE(acts); i++) {
		struct mm_struct *child = fork_mm(test, current->mm);
		struct other other = { .test = test, .act = acts[i] };
		struct rw_semaphore *root, *rwsem;

		other.vma = vma_at(child, vma->vm_start);
		expect_unnamed(test, other.vma);
		KUNIT_ASSERT_NOT_NULL(test, lazy_root(other.vma->anon_vma));
		root = &lazy_root(other.vma->anon_vma)->rwsem;
		rwsem = lazy_rwsem(child, other.vma->anon_vma);
		if (acts[i] == act_unlink)
			unmap_pages(other.vma);

		down_read(root);
		start_waiting(&other, root);
		KUNIT_EXPECT_TRUE(test, rwsem_is_free(rwsem));
		up_read(root);
		finish(&other);
		KUNIT_EXPECT_TRUE(test, rwsem_is_free(rwsem));
		if (acts[i] == act_unlink) {
			KUNIT_EXPECT_NULL(test, other.vma->anon_vma);
			KUNIT_EXPECT_EQ(test, other.vma->anon_vma_listed, 0);
			KUNIT_EXPECT_TRUE(test, list_empty(&other.vma->anon_vma_chain));
		}
		if (acts[i] == act_upgrade)
			expect_upgraded(test, child, vma->vm_start, 1, other.vma->anon_vma);
		expect_sound(test, child);
	}
	expect_sound(test, current->mm);
}

/* To change a lazy child or its page tables takes the lock of either kind of walk. */
static void lock_child(struct kunit *test)
{
	unsigned long addr = map_lazy(test, 2)->vm_start;
	struct folio *shared = touch(test, current->mm, addr + PAGE_SIZE);
	struct mm_struct *child = fork_mm(test, current->mm);
	struct vm_area_struct *vma = vma_at(child, addr);
	struct folio *own = touch(test, child, addr);
	struct rmap_walk_control rwc = { .try_lock = true };

	KUNIT_ASSERT_PTR_EQ(test, folio_anon_vma(own), child_identity(vma));
	folio_lock(own);
	folio_lock(shared);
	anon_vma_lock_write(vma->anon_vma);
	KUNIT_EXPECT_NULL(test, folio_lock_anon_vma_read(own, &rwc));
	KUNIT_EXPECT_NULL(test, folio_lock_anon_vma_read(shared, &rwc));
	anon_vma_unlock_write(vma->anon_vma);
	folio_unlock(shared);
	folio_unlock(own);
	KUNIT_EXPECT_PTR_EQ(test, find(test, own, false), vma->anon_vma);
	KUNIT_EXPECT_PTR_EQ(test, find(test, shared, false), lazy_root(vma->anon_vma));
	folio_put(shared);
	folio_put(own);
}

/* Page tables are moved under the lock of what the VMA has, lazy or upgraded. */
static void move_locks(struct kunit *test)
{
	struct other mover = { .test = test, .act = act_move, .to = map_lazy(test, 1) };
	int i;

	for (i = 0; i < 2; i++) {
		struct rw_semaphore *rwsem;

		mover.vma = mover.to;
		mover.to = move_copy(test, mover.vma);
		KUNIT_EXPECT_PTR_EQ(test, mover.to->anon_vma, mover.vma->anon_vma);
		rwsem = anon_vma_rwsem(mover.vma->anon_vma);
		down_read(rwsem);
		start_waiting(&mover, rwsem);
		up_read(rwsem);
		finish(&mover);
		expect_sound(test, current->mm);
		KUNIT_ASSERT_EQ(test, upgrade(mover.to), 0);
	}
}

/*
 * They are if a walk may come to where a page is moved before it comes to where the page
 * is: that is so of what is merged, and if the head of a group changes places. An upgrade
 * does not change that.
 */
static void copy_locks(struct kunit *test)
{
	int i;

	for (i = 0; i < 2; i++) {
		struct vm_area_struct *vma = map_lazy(test, 3), *head = vma, *copy, *merged;
		unsigned long to = new_addr(test);
		struct vm_area_struct *vmas[3];
		struct anon_vma *anon_vma;
		bool locks;

		if (i)
			KUNIT_ASSERT_EQ(test, upgrade(vma), 0);
		anon_vma = vma->anon_vma;
		copy = __move_copy(test, &vma, 1, to, false, &locks);
		KUNIT_EXPECT_FALSE(test, locks);
		/* In a tree it would be walked after @vma. */
		merged = __move_copy(test, &vma, 2, to + PAGE_SIZE, false, &locks);
		KUNIT_EXPECT_PTR_EQ(test, merged, copy);
		KUNIT_EXPECT_EQ(test, vma_pages(merged), 2);
		KUNIT_EXPECT_TRUE(test, locks);
		KUNIT_EXPECT_PTR_EQ(test, vma, head);
		KUNIT_EXPECT_PTR_EQ(test, merged->anon_vma, anon_vma);
		KUNIT_EXPECT_EQ(test, group_size(identity(head)), 2);
		KUNIT_EXPECT_PTR_EQ(test, first_member(head), merged);
		vmas[0] = head;
		vmas[1] = merged;
		if (i)
			expect_order(test, anon_vma, vmas, 2);
		/* A walk comes to what is not the head before it comes to a copy of that. */
		vmas[2] = move_copy(test, merged);
		if (i)
			expect_order(test, anon_vma, vmas, 3);
		else
			KUNIT_EXPECT_PTR_EQ(test, last_member(head), vmas[2]);
		expect_sound(test, current->mm);

		vma = map_lazy(test, 1);
		head = vma;
		to = new_addr(test);
		if (i)
			KUNIT_ASSERT_EQ(test, upgrade(vma), 0);
		anon_vma = vma->anon_vma;
		copy = __move_copy(test, &vma, 0, to, true, &locks);
		KUNIT_EXPECT_TRUE(test, locks);
		KUNIT_EXPECT_PTR_EQ(test, copy, head);
		KUNIT_EXPECT_PTR_EQ(test, vma_at(current->mm, to), head);
		KUNIT_EXPECT_PTR_EQ(test, vma_at(current->mm, vma->vm_start), vma);
		KUNIT_EXPECT_PTR_EQ(test, vma->anon_vma, anon_vma);
		KUNIT_EXPECT_PTR_EQ(test, head->anon_vma, anon_vma);
		KUNIT_EXPECT_EQ(test, group_size(identity(head)), 2);
		KUNIT_EXPECT_PTR_EQ(test, first_member(head), vma);
		vmas[0] = head;
		vmas[1] = vma;
		if (i)
			expect_order(test, anon_vma, vmas, 2);
		expect_sound(test, current->mm);
	}
}

/* Who is interrupted at once leaves groups as they were, and no lock. */
static void all_locks_interrupted(struct kunit *test)
{
	unsigned long addr = map_group(test, 3);
	struct anon_vma *lazy = vma_at(current->mm, addr)->anon_vma;
	struct mm_struct *mm = current->mm;
	int err;

	mmap_write_lock(mm);
	set_thread_flag(TIF_SIGPENDING);
	KUNIT_EXPECT_EQ(test, mm_take_all_locks(mm), -EINTR);
	clear_thread_flag(TIF_SIGPENDING);
	KUNIT_EXPECT_PTR_EQ(test, vma_lookup(mm, addr)->anon_vma, lazy);
	err = mm_take_all_locks(mm);
	KUNIT_EXPECT_EQ(test, err, 0);
	if (!err)
		mm_drop_all_locks(mm);
	mmap_write_unlock(mm);
	expect_upgraded(test, mm, addr, 3, vma_at(mm, addr)->anon_vma);
	KUNIT_EXPECT_FALSE(test, has_tree(vma_at(mm, addr)->anon_vma));
}

/* @vma is replaced by a mapping of @file: it is unlinked, and still in the mm. */
static int mmap_all_locks(struct file *file, struct vm_area_struct *vma)
{
	struct vm_area_struct *old = vma_lookup(vma->vm_mm, vma->vm_start);
	struct kunit *test = file->private_data;
	int err;

	KUNIT_EXPECT_TRUE(test, anon_vma_is_unlinked(old->anon_vma));
	err = mm_take_all_locks(vma->vm_mm);
	KUNIT_EXPECT_EQ(test, err, 0);
	if (!err)
		mm_drop_all_locks(vma->vm_mm);
	return 0;
}

static const struct file_operations all_locks_fops = {
	.mmap	= mmap_all_locks,
};

/*
 * A driver's mmap() may want all locks. What is replaced may be dead, or a head: of a
 * group, or of an anon_vma, and then others are on its list.
 */
static void take_all_locks(struct kunit *test)
{
	struct vm_area_struct *dead = map_lazy(test, 1), *heads[2];
	struct folio *folio = touch(test, current->mm, dead->vm_start);
	unsigned long addrs[2], gone[2];
	struct file *file;
	int i, j;

	put_anon_vma(hold(test, folio));
	folio_put(folio);
	for (j = 0; j < 2; j++) {
		addrs[j] = map_group(test, 3);
		heads[j] = lazy_vma(vma_at(current->mm, addrs[j])->anon_vma);
		gone[j] = heads[j]->vm_start;
	}
	KUNIT_ASSERT_EQ(test, upgrade(heads[1]), 0);
	file = anon_inode_getfile("anon_vma_lazy_kunit", &all_locks_fops, test, O_RDWR);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, file);
	map_at(test, gone[0], 1, PROT_READ, MAP_FIXED, file);
	map_at(test, gone[1], 1, PROT_READ, MAP_FIXED, file);
	map_at(test, dead->vm_start, 1, PROT_READ, MAP_FIXED, file);
	fput(file);
	for (i = 0; i < 6; i++) {
		unsigned long addr = addrs[i / 3] + i % 3 * PAGE_SIZE;

		if (addr != gone[i / 3])
			KUNIT_EXPECT_PTR_EQ(test, anon_vma_resolve(identity(heads[i / 3])),
					    vma_at(current->mm, addr)->anon_vma);
	}
	expect_sound(test, current->mm);
}

/* A VMA is replaced, the one before it is unfaulted, and in the group is one more. */
static int mmap_neighbour(struct file *file, struct vm_area_struct *vma)
{
	struct vm_area_struct *old = vma_lookup(vma->vm_mm, vma->vm_start);
	struct vm_area_struct *before = vma_lookup(vma->vm_mm, vma->vm_start - 1);
	struct kunit *test = file->private_data;

	KUNIT_EXPECT_TRUE(test, anon_vma_is_unlinked(old->anon_vma));
	KUNIT_EXPECT_EQ(test, __anon_vma_prepare(before), 0);
	KUNIT_EXPECT_PTR_EQ(test, before->anon_vma, identity(before));
	return 0;
}

static const struct file_operations neighbour_fops = {
	.mmap	= mmap_neighbour,
};

/* A driver's mmap() may fault. What it replaces is not joined, be it lazy or upgraded. */
static void join_unlinked(struct kunit *test)
{
	struct vm_area_struct *vmas[3];
	struct file *file;
	int i;

	file = anon_inode_getfile("anon_vma_lazy_kunit", &neighbour_fops, test, O_RDWR);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, file);
	for (i = 0; i < 2; i++) {
		map_neighbours(test, vmas, 3);
		KUNIT_ASSERT_EQ(test, prepare(vmas[1]), 0);
		KUNIT_ASSERT_EQ(test, prepare(vmas[2]), 0);
		expect_group(test, vmas[2], identity(vmas[1]), 2);
		if (i)
			KUNIT_ASSERT_EQ(test, upgrade(vmas[1]), 0);
		/* Then one is left on its list, as if that were the only chain that it has. */
		map_at(test, vmas[1]->vm_start, 1, PROT_READ, MAP_FIXED, file);
	}
	fput(file);
	expect_sound(test, current->mm);
}

/* --- holds ------------------------------------------------------------------ */

/*
 * It marks the mm, and takes no lock. Who unlinks a VMA then marks that as dead, as its
 * struct may be held; and nobody unlinks it a second time.
 */
static void hold_marks(struct kunit *test)
{
	struct vm_area_struct *vma = map_lazy(test, 1);
	struct folio *folio = touch(test, current->mm, vma->vm_start);
	struct anon_vma *held;

	KUNIT_EXPECT_FALSE(test, mm_flags_test(MMF_LAZY_HELD, current->mm));
	held = hold(test, folio);
	KUNIT_EXPECT_TRUE(test, rwsem_is_free(anon_vma_rwsem(vma->anon_vma)));
	put_anon_vma(hold(test, folio));
	put_anon_vma(held);
	folio_put(folio);
	KUNIT_EXPECT_TRUE(test, mm_flags_test(MMF_LAZY_HELD, current->mm));
	/* As of a forked child. */
	KUNIT_EXPECT_FALSE(test, mm_flags_test(MMF_LAZY_HELD, new_mm(test)));

	unmap_pages(vma);
	unlink_vma(vma);
	KUNIT_EXPECT_PTR_EQ(test, vma->anon_vma, ANON_VMA_DEAD);
	KUNIT_EXPECT_EQ(test, upgrade(vma), 0);
	kunit_warning_suppress(test) {
		unlink_vma(vma);
		KUNIT_EXPECT_SUPPRESSED_WARNING_COUNT(test, 1);
	}
	KUNIT_EXPECT_PTR_EQ(test, vma->anon_vma, ANON_VMA_DEAD);
	/* As if it was new. */
	vma->anon_vma = NULL;
	expect_sound(test, current->mm);
}

/* --- who frees a head ------------------------------------------------------- */

#define GROUP			BIT(0)	/* it has a group, of one more */
#define UPGRADE_LINKED		BIT(1)	/* while it is linked */
#define UPGRADE_UNLINKED	BIT(2)	/* after it was unlinked: it has a group */
#define UPGRADE_DEFERRED	BIT(3)	/* after it was freed: it has a group */
#define FREE_FIRST		BIT(4)	/* the VMA, before its group or anon_vma is gone */
#define HELD			BIT(5)

static const struct lifetime {
	const char *desc;
	unsigned int flags;
} lifetimes[] = {
	{ "lazy", 0 },
	{ "lazy, held", HELD },
	{ "group, VMA first", GROUP | FREE_FIRST },
	{ "group, VMA first, held", GROUP | FREE_FIRST | HELD },
	{ "group, VMA last", GROUP },
	{ "group, VMA last, held", GROUP | HELD },
	{ "anon_vma, VMA first", UPGRADE_LINKED | FREE_FIRST },
	{ "anon_vma, VMA first, held", UPGRADE_LINKED | FREE_FIRST | HELD },
	{ "anon_vma, VMA last", UPGRADE_LINKED },
	{ "anon_vma, VMA last, held", UPGRADE_LINKED | HELD },
	{ "upgraded group, VMA first", GROUP | UPGRADE_LINKED | FREE_FIRST },
	{ "upgraded group, VMA last, held", GROUP | UPGRADE_LINKED | HELD },
	{ "group upgraded once unlinked, VMA first", GROUP | UPGRADE_UNLINKED | FREE_FIRST },
	{ "group upgraded once unlinked, VMA last", GROUP | UPGRADE_UNLINKED },
	{ "group upgraded once deferred", GROUP | UPGRADE_DEFERRED | FREE_FIRST },
	{ "group upgraded once deferred, held", GROUP | UPGRADE_DEFERRED | FREE_FIRST | HELD },
};

KUNIT_ARRAY_PARAM_DESC(lifetime, lifetimes, desc);

/* How many structs there are; caches have some that are free, too. */
static unsigned long nr_structs(struct kmem_cache *cache)
{
	struct slabinfo info;

	kmem_cache_shrink(cache);
	get_slabinfo(cache, &info);
	return info.active_objs;
}

KUNIT_DEFINE_ACTION_WRAPPER(destroy_cache, kmem_cache_destroy, struct kmem_cache *);

static struct kmem_cache *new_cache(struct kunit *test)
{
	struct kmem_cache *cache;

	cache = kmem_cache_create("anon_vma_lazy_kunit", sizeof(struct vm_area_struct), 0,
				  SLAB_HWCACHE_ALIGN | SLAB_NO_MERGE, NULL);
	KUNIT_ASSERT_NOT_NULL(test, cache);
	KUNIT_ASSERT_EQ(test, kunit_add_action_or_reset(test, destroy_cache, cache), 0);
	return cache;
}

/* A VMA that is in no tree, of a cache in which nobody else has one. */
static struct vm_area_struct *new_vma(struct kunit *test, struct kmem_cache *cache,
				      struct mm_struct *mm)
{
	struct vm_area_struct *vma = kmem_cache_alloc(cache, GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, vma);
	vma_init(vma, mm);
	vm_flags_init(vma, VM_READ | VM_WRITE | VM_MAYREAD | VM_MAYWRITE);
	vma->vm_start = PAGE_SIZE;
	vma->vm_end = 2 * PAGE_SIZE;
	vma->vm_pgoff = 1;
	__vma_set_anon_pgoff(vma, 1);
	return vma;
}

/* Let it be lazy, and map a page. */
static struct folio *map_folio(struct kunit *test, struct vm_area_struct *vma)
{
	struct folio *folio = folio_alloc(GFP_KERNEL, 0);

	KUNIT_ASSERT_NOT_NULL(test, folio);
	vma->anon_vma = identity(vma);
	folio_add_new_anon_rmap(folio, vma, vma->vm_start, RMAP_EXCLUSIVE);
	return folio;
}

/* As vm_area_free() does: is the struct left to others? */
static bool free_vma(struct kmem_cache *cache, struct vm_area_struct *vma)
{
	if (vma_defer_free(vma))
		return true;
	kmem_cache_free(cache, vma);
	return false;
}

static void expect_all_freed(struct kunit *test, struct kmem_cache *cache)
{
	int i;

	for (i = 0; i < 1000 && nr_structs(cache); i++)
		msleep(20);
	KUNIT_EXPECT_EQ(test, nr_structs(cache), 0);
}

/* A lazy child with a page of its own is held by that, as others are, when it exits. */
static void child_held(struct kunit *test)
{
	struct vm_area_struct *vma = map_lazy(test, 1), *child_vma;
	struct mm_struct *child = fork_mm(test, current->mm);
	struct anon_vma *held;
	struct folio *folio;

	child_vma = vma_at(child, vma->vm_start);
	folio = touch(test, child, vma->vm_start);
	KUNIT_EXPECT_PTR_EQ(test, folio_anon_vma(folio), child_identity(child_vma));
	held = hold(test, folio);
	exit_mm(test, child);

	/* The struct is left to who has it. */
	KUNIT_EXPECT_PTR_EQ(test, READ_ONCE(child_vma->anon_vma),
			    (void *)ANON_VMA_DEAD + ANON_VMA_FREE_DEFERRED);
	KUNIT_EXPECT_NULL(test, find(test, folio, true));
	put_anon_vma(held);
	folio_put(folio);
}

static void head_lifetime(struct kunit *test)
{
	const unsigned int flags = ((const struct lifetime *)test->param_value)->flags;
	struct anon_vma *lazy, *now, *held = NULL, *end;
	const bool free_first = flags & FREE_FIRST;
	struct vm_area_struct *vma, *other = NULL;
	struct kmem_cache *cache;
	struct folio *folio;

	KUNIT_ASSERT_EQ(test, kunit_attach_mm(), 0);
	cache = new_cache(test);

	/* Lazy, with a page, and a group. */
	vma = new_vma(test, cache, current->mm);
	folio = map_folio(test, vma);
	lazy = vma->anon_vma;
	now = lazy;
	if (flags & GROUP) {
		other = new_vma(test, cache, current->mm);
		other->anon_vma = lazy;
		mmap_write_lock(current->mm);
		KUNIT_EXPECT_EQ(test, anon_vma_clone(other, vma, VMA_OP_SPLIT), 0);
		mmap_write_unlock(current->mm);
		KUNIT_EXPECT_EQ(test, group_size(lazy), 2);
	}
	if (flags & HELD)
		held = hold(test, folio);
	if (flags & UPGRADE_LINKED) {
		KUNIT_ASSERT_EQ(test, upgrade(vma), 0);
		now = vma->anon_vma;
		/* A relative of another mm, say, if there is none here. */
		if (free_first && !other)
			get_anon_vma(now);
	}
	folio_remove_rmap_pte(folio, &folio->page, vma);
	if (held)
		KUNIT_EXPECT_PTR_EQ(test, find(test, folio, true), now);

	/* The VMA is unlinked. An anon_vma's head may be held by who found it so. */
	unlink_vma(vma);
	end = flags & (HELD | UPGRADE_LINKED | UPGRADE_UNLINKED) ? ANON_VMA_DEAD : NULL;
	KUNIT_EXPECT_PTR_EQ(test, vma->anon_vma, other || free_first ?
			    (void *)now + ANON_VMA_UNLINKED : end);
	if (flags & UPGRADE_UNLINKED) {
		KUNIT_EXPECT_EQ(test, upgrade(other), 0);
		now = other->anon_vma;
		KUNIT_EXPECT_PTR_EQ(test, vma->anon_vma, (void *)now + ANON_VMA_UNLINKED);
	}

	/* And freed, if the rest is to go after it. */
	if (free_first) {
		KUNIT_EXPECT_TRUE(test, free_vma(cache, vma));
		if (flags & UPGRADE_DEFERRED) {
			KUNIT_EXPECT_EQ(test, upgrade(other), 0);
			now = other->anon_vma;
		}
		KUNIT_EXPECT_PTR_EQ(test, vma->anon_vma, deferred(now));
		KUNIT_EXPECT_PTR_EQ(test, anon_vma_resolve(lazy), now);
		KUNIT_EXPECT_EQ(test, nr_structs(cache), other ? 2 : 1);
		if (held)
			KUNIT_EXPECT_PTR_EQ(test, find(test, folio, true), now);
	}

	/* The rest goes: its group, or its anon_vma. */
	if (other) {
		unlink_vma(other);
		KUNIT_EXPECT_NULL(test, other->anon_vma);
		KUNIT_EXPECT_FALSE(test, free_vma(cache, other));
	} else if (free_first) {
		put_anon_vma(now);
	}

	/* Freed at once if nobody can hold it. */
	if (!free_first) {
		KUNIT_EXPECT_PTR_EQ(test, vma->anon_vma, end);
		KUNIT_EXPECT_EQ(test, nr_structs(cache), 1);
		KUNIT_EXPECT_EQ(test, free_vma(cache, vma), !!end);
		if (!end)
			KUNIT_EXPECT_EQ(test, nr_structs(cache), 0);
	}

	/* Now nobody has the struct, but who holds it. */
	if (held) {
		msleep(200);
		KUNIT_EXPECT_EQ(test, nr_structs(cache), 1);
		KUNIT_EXPECT_NULL(test, find(test, folio, true));
		/* A restore may be about to walk the list. */
		KUNIT_EXPECT_TRUE(test, list_empty(&vma->anon_vma_chain));
		put_anon_vma(held);
	}
	expect_all_freed(test, cache);
	folio_put(folio);
}

/* Somebody has @rwsem, until finish_both(), and @walker waits for it, and nobody else. */
static void start_both(struct other *first, struct other *walker, struct rw_semaphore *rwsem)
{
	first->rwsem = rwsem;
	start(first);
	while (!rwsem_is_locked(rwsem))
		msleep(20);
	start_waiting(walker, rwsem);
}

static void finish_both(struct other *first, struct other *walker)
{
	WRITE_ONCE(first->stop, true);
	finish(first);
	finish(walker);
}

/* A restore waits as well, though its folio is not mapped. */
static void restore_waits(struct kunit *test)
{
	struct vm_area_struct *vma = map_lazy(test, 1);
	struct folio *folio = touch(test, current->mm, vma->vm_start);
	struct other walker = { .test = test, .act = act_restore, .folio = folio };
	struct other first = { .test = test, .act = act_have_lock };
	struct anon_vma *held = hold(test, folio);

	unmap_pages(vma);
	start_both(&first, &walker, anon_vma_rwsem(vma->anon_vma));
	finish_both(&first, &walker);
	KUNIT_EXPECT_PTR_EQ(test, walker.found, vma->anon_vma);
	put_anon_vma(held);
	folio_put(folio);
}

/* A walk that waits keeps the anon_vma. It may be the last to have it. */
static void anon_vma_lifetime(struct kunit *test)
{
	struct other walker = { .test = test, .act = act_find };
	struct other first = { .test = test, .act = act_have_lock };
	struct anon_vma *anon_vma;
	struct vm_area_struct *vma;
	struct kmem_cache *cache;
	struct folio *folio;

	KUNIT_ASSERT_EQ(test, kunit_attach_mm(), 0);
	cache = new_cache(test);
	vma = new_vma(test, cache, current->mm);
	folio = map_folio(test, vma);
	KUNIT_ASSERT_EQ(test, upgrade(vma), 0);
	anon_vma = vma->anon_vma;
	/* As a relative has it. */
	get_anon_vma(anon_vma);
	unlink_vma(vma);
	walker.folio = folio;
	start_both(&first, &walker, &anon_vma->rwsem);
	KUNIT_EXPECT_EQ(test, atomic_read(&anon_vma->refcount), 2);
	folio_remove_rmap_pte(folio, &folio->page, vma);
	put_anon_vma(anon_vma);
	finish_both(&first, &walker);
	KUNIT_EXPECT_NULL(test, walker.found);
	KUNIT_EXPECT_PTR_EQ(test, vma->anon_vma, ANON_VMA_DEAD);
	KUNIT_EXPECT_TRUE(test, free_vma(cache, vma));
	expect_all_freed(test, cache);
	folio_put(folio);
}

/* A walk that waits keeps the mm, but not the VMA. It may be the last to have it. */
static void mm_lifetime(struct kunit *test)
{
	struct other walker = { .test = test, .act = act_find };
	struct other first = { .test = test, .act = act_have_lock };
	struct kmem_cache *cache = new_cache(test);
	struct mm_struct *mm = new_mm(test);
	struct vm_area_struct *vma = new_vma(test, cache, mm);
	struct folio *folio = map_folio(test, vma);
#ifdef CONFIG_MM_ID
	const mm_id_t id = mm->mm_id;
	struct mm_struct *next;
#endif

	walker.folio = folio;
	start_both(&first, &walker, lazy_rwsem(mm, vma->anon_vma));
	KUNIT_EXPECT_EQ(test, atomic_read(&mm->mm_count), 2);
	folio_remove_rmap_pte(folio, &folio->page, vma);
	vma->anon_vma = NULL;
	KUNIT_EXPECT_FALSE(test, free_vma(cache, vma));
	expect_all_freed(test, cache);
	kunit_release_action(test, put_mm, mm);
	KUNIT_EXPECT_EQ(test, atomic_read(&mm->mm_count), 1);
	finish_both(&first, &walker);
	KUNIT_EXPECT_NULL(test, walker.found);
	folio_put(folio);
#ifdef CONFIG_MM_ID
	/* The mm is freed: another one has its number, the lowest that is free. */
	do
		next = new_mm(test);
	while (next->mm_id < id);
	KUNIT_EXPECT_EQ(test, next->mm_id, id);
#endif
}

/*
 * Before it waits the VMA may be upgraded, and its mm go: then it looks again, and does
 * not take the folio for one that is not mapped. Here it finds that the mm is back.
 */
static void mm_gone(struct kunit *test)
{
	struct other walker = { .test = test, .act = act_find };
	struct rw_semaphore *rwsem;
	struct vm_area_struct *vma;
	struct kmem_cache *cache;
	struct mm_struct *mm;
	struct folio *folio;
	int i;

	/* What is quickly over elsewhere lasts here, and the walk may not be preempted. */
	if (num_online_cpus() == 1)
		kunit_skip(test, "needs two processors");
	mm = new_mm(test);
	cache = new_cache(test);
	vma = new_vma(test, cache, mm);
	folio = map_folio(test, vma);
	rwsem = lazy_rwsem(mm, vma->anon_vma);
	walker.folio = folio;
	down_write(rwsem);
	atomic_set(&mm->mm_count, 0);
	start(&walker);
	/* With the folio locked it is about to look. */
	for (i = 0; i < 500 && !folio_test_locked(folio); i++)
		msleep(20);
	KUNIT_EXPECT_TRUE(test, folio_test_locked(folio));
	msleep(100);
	KUNIT_EXPECT_FALSE(test, READ_ONCE(walker.done));
	KUNIT_EXPECT_FALSE(test, other_sleeps(&walker));
	atomic_set(&mm->mm_count, 1);
	for (i = 0; i < 500 && !other_sleeps(&walker); i++)
		msleep(20);
	KUNIT_EXPECT_TRUE(test, other_sleeps(&walker));
	KUNIT_EXPECT_FALSE(test, READ_ONCE(walker.done));
	up_write(rwsem);
	finish(&walker);
	KUNIT_EXPECT_PTR_EQ(test, walker.found, identity(vma));
	KUNIT_EXPECT_EQ(test, atomic_read(&mm->mm_count), 1);
	folio_remove_rmap_pte(folio, &folio->page, vma);
	vma->anon_vma = NULL;
	KUNIT_EXPECT_FALSE(test, free_vma(cache, vma));
	folio_put(folio);
}

/* --- out of memory ---------------------------------------------------------- */

static const struct enomem {
	const char *desc;
	unsigned int nr;
	bool child;
	unsigned int allocations;
} enomems[] = {
	{ "lazy", 1, false, 1 },
	{ "group", 4, false, 1 },
	/* It gets chain entries, at once. */
	{ "child", 1, true, 2 },
};

KUNIT_ARRAY_PARAM_DESC(enomem, enomems, desc);

#ifdef CONFIG_FAILSLAB
static bool *failslab_option(struct kunit *test, const char *name)
{
	struct dentry *dir = debugfs_lookup("failslab", NULL), *file;
	bool *option;

	if (!dir)
		kunit_skip(test, "needs CONFIG_FAULT_INJECTION_DEBUG_FS");
	file = debugfs_lookup(name, dir);
	dput(dir);
	KUNIT_ASSERT_NOT_NULL(test, file);
	option = d_inode(file)->i_private;
	dput(file);
	return option;
}

/*
 * Upgrade @vma with the @nth allocation of an anon_vma or of chain entries failing,
 * also if it may wait. @left is how many more it would have taken to fail one.
 */
static int upgrade_failing(struct kunit *test, struct vm_area_struct *vma,
			   struct vm_area_struct *upgraded, unsigned int nth,
			   unsigned int *left)
{
	struct kmem_cache *caches[] = {
		virt_to_slab(upgraded->anon_vma)->slab_cache,
		virt_to_slab(chain(upgraded))->slab_cache,
	};
	bool *only_flagged = failslab_option(test, "cache-filter");
	bool *not_waiting = failslab_option(test, "ignore-gfp-wait");
	const bool were[] = { *only_flagged, *not_waiting };
	int i, err;

	for (i = 0; i < ARRAY_SIZE(caches); i++)
		caches[i]->flags |= SLAB_FAILSLAB;
	*only_flagged = true;
	*not_waiting = false;
	current->fail_nth = nth;
	err = upgrade(vma);
	*left = current->fail_nth;
	current->fail_nth = 0;
	*only_flagged = were[0];
	*not_waiting = were[1];
	for (i = 0; i < ARRAY_SIZE(caches); i++)
		caches[i]->flags &= ~SLAB_FAILSLAB;
	return err;
}

/*
 * Fail the first allocation of an upgrade, then the second, and so on, until none
 * is left. Each time the VMAs are made anew, must be as they were, and be upgraded
 * after that.
 */
static void upgrade_enomem(struct kunit *test)
{
	const struct enomem *p = test->param_value;
	struct vm_area_struct *upgraded = map_lazy(test, 1);
	unsigned int nth = 1, tries, i, left = 0;
	int err = 0;

	/* A child, as that has chain entries. */
	upgraded = vma_at(fork_mm(test, current->mm), upgraded->vm_start);
	KUNIT_ASSERT_EQ(test, upgrade(upgraded), 0);
	for (tries = 0; tries < 50; tries++) {
		unsigned long addr = map_group(test, p->nr);
		struct mm_struct *mm = p->child ? fork_mm(test, current->mm) : current->mm;
		struct folio *folio = touch(test, mm, addr);
		struct anon_vma *lazy = vma_at(mm, addr)->anon_vma;
		size_t size = group_size(lazy);

		err = upgrade_failing(test, vma_at(mm, addr), upgraded, nth, &left);
		if (!err) {
			folio_put(folio);
			if (left)
				break;
			/* What failed was a page for another slab. */
			continue;
		}

		nth++;
		KUNIT_EXPECT_EQ(test, err, -ENOMEM);
		KUNIT_EXPECT_EQ(test, left, 0);
		for (i = 0; i < p->nr; i++)
			expect_group(test, vma_at(mm, addr + i * PAGE_SIZE), lazy, size);
		KUNIT_EXPECT_TRUE(test, rwsem_is_free(anon_vma_rwsem(lazy)));
		expect_walk(test, folio, lazy, lazy, vma_at(mm, addr));
		folio_put(folio);
		expect_sound(test, mm);

		KUNIT_EXPECT_EQ(test, upgrade(vma_at(mm, addr)), 0);
		expect_upgraded(test, mm, addr, p->nr, vma_at(mm, addr)->anon_vma);
	}
	KUNIT_EXPECT_EQ(test, err, 0);
	KUNIT_EXPECT_EQ(test, left, 1);
	KUNIT_EXPECT_EQ(test, nth - 1, p->allocations);
}
#else
static void upgrade_enomem(struct kunit *test)
{
	kunit_skip(test, "needs CONFIG_FAILSLAB");
}
#endif

/* --- the checker ------------------------------------------------------------ */

#ifdef CONFIG_DEBUG_ANON_VMA_LAZY

static void expect_unsound(struct kunit *test, struct mm_struct *mm, const char *want)
{
	unsigned long addr;

	KUNIT_EXPECT_STREQ(test, anon_vma_lazy_verify(mm, &addr), want);
}

/* With @value in the pointer, or long, that is at @at. */
static void expect_unsound_if(struct kunit *test, struct mm_struct *mm, void *at,
			      const void *value, const char *want)
{
	const void **pointer = at;
	const void *was = *pointer;

	*pointer = value;
	expect_unsound(test, mm, want);
	*pointer = was;
	expect_sound(test, mm);
}

static void checker_vma(struct kunit *test)
{
	struct vm_area_struct *vma = map_lazy(test, 1);
	struct vm_area_struct *unfaulted = vma_at(current->mm, map_area(test, 1));
	struct mm_struct *mm = current->mm;

	expect_unsound_if(test, mm, &unfaulted->anon_vma_chain.next, &vma->anon_vma_chain,
			  "an unfaulted VMA is linked");
	expect_unsound_if(test, mm, &vma->anon_vma, ANON_VMA_DEAD, "a VMA is marked as unlinked");
	expect_unsound_if(test, mm, &vma->anon_vma, (void *)vma->anon_vma + ANON_VMA_UNLINKED,
			  "a VMA is marked as unlinked");
#ifdef CONFIG_MMU_NOTIFIER
	expect_unsound_if(test, mm, &mm->notifier_subscriptions, vma, "a VMA must not be lazy");
#endif
#ifdef CONFIG_HUGETLB_PAGE
	expect_unsound_if(test, mm, (void *)&vma->vm_flags, (void *)(vma->vm_flags | VM_HUGETLB),
			  "a VMA must not be lazy");
#endif
	expect_unsound_if(test, mm, &vma->anon_vma_listed, (void *)vma + ANON_VMA_LISTED,
			  "a VMA is in a group and on a list");
}

/* Put as many as a group may have on the list of @head, of @mm. */
static void add_many(struct kunit *test, struct vm_area_struct *head, struct mm_struct *mm,
		     struct vm_area_struct **more)
{
	int i;

	for (i = 0; i < LAZY_GROUP_MAX; i++) {
		more[i] = vm_area_alloc(mm);
		KUNIT_ASSERT_NOT_NULL(test, more[i]);
		more[i]->anon_vma = head->anon_vma;
		list_add_tail(&more[i]->anon_vma_chain, &head->anon_vma_chain);
	}
}

static void remove_many(struct vm_area_struct **more)
{
	int i;

	for (i = 0; i < LAZY_GROUP_MAX; i++) {
		list_del(&more[i]->anon_vma_chain);
		more[i]->anon_vma = NULL;
		vm_area_free(more[i]);
	}
}

static void checker_group(struct kunit *test)
{
	unsigned long addr = map_group(test, 3);
	struct anon_vma *lazy = vma_at(current->mm, addr)->anon_vma;
	struct vm_area_struct *head = lazy_vma(lazy), *first = first_member(head);
	struct vm_area_struct *last = last_member(head), *more[LAZY_GROUP_MAX];
	struct mm_struct *mm = current->mm;

	add_many(test, head, mm, more);
	expect_unsound(test, mm, "a group is too large");
	remove_many(more);
	expect_sound(test, mm);

	KUNIT_ASSERT_EQ(test, vm_munmap(head->vm_start, PAGE_SIZE), 0);
	expect_sound(test, mm);
	expect_unsound_if(test, mm, &head->anon_vma, ANON_VMA_DEAD,
			  "the head of a group is not lazy");
	expect_unsound_if(test, mm, &head->vm_mm, NULL,
			  "the head of a group is of another mm");
	/* The lower one is the first to be checked. */
	expect_unsound_if(test, mm, &(first->vm_start < last->vm_start ? last : first)->anon_vma,
			  identity(last), "a group has a VMA of another head or mm");
	expect_unsound_if(test, mm, &head->anon_vma_chain.next, &last->anon_vma_chain,
			  "a VMA is not linked in its group");
}

static void checker_list(struct kunit *test)
{
	struct vm_area_struct *vma = map_lazy(test, 1), *stranger = map_lazy(test, 1);
	struct mm_struct *mm = current->mm, *child = fork_mm(test, mm);
	struct vm_area_struct *child_vma = vma_at(child, vma->vm_start);
	struct vm_area_struct *alone, *more[LAZY_GROUP_MAX];
	struct anon_vma *anon_vma = vma->anon_vma;

	expect_unsound_if(test, child, &child_vma->anon_vma, child_identity(vma),
			  "a forked child has a head that is not itself");
	expect_unsound_if(test, child, &child_vma->anon_vma_listed, NULL,
			  "a forked child is not on the list of its parent's anon_vma");
	expect_unsound_if(test, child, &child_vma->anon_vma_listed,
			  (void *)stranger->anon_vma + ANON_VMA_LISTED,
			  "a VMA is not on the list of its anon_vma");
	expect_unsound_if(test, child, &vma->anon_vma_chain.next, &vma->anon_vma_chain,
			  "a VMA is not on the list of its anon_vma");
	expect_unsound_if(test, child, &anon_vma->head, NULL,
			  "a VMA is on the list of an anon_vma that has none");
	expect_unsound_if(test, mm, &anon_vma->head, NULL,
			  "a VMA is on the list of an anon_vma that has none");
	expect_unsound_if(test, child, &vma->anon_vma, stranger->anon_vma,
			  "a head does not lead to its anon_vma");
	/* With a page of its own it is not unnamed. */
	folio_put(touch(test, child, child_vma->vm_start));
	expect_unsound_if(test, child, &child_vma->anon_vma_listed,
			  (void *)(child_vma->anon_vma_listed | ANON_VMA_UNNAMED),
			  "a folio names an unnamed child");

	/* Those of others do not count. */
	add_many(test, vma, child, more);
	expect_sound(test, mm);
	expect_unsound(test, child, "a list has too many VMAs of one mm");
	remove_many(more);
	expect_sound(test, child);
	add_many(test, vma, mm, more);
	expect_sound(test, child);
	expect_unsound(test, mm, "a list has too many VMAs of one mm");
	remove_many(more);
	expect_sound(test, mm);

	alone = map_lazy(test, 1);
	KUNIT_ASSERT_EQ(test, upgrade(alone), 0);
	expect_unsound_if(test, mm, &alone->anon_vma_listed, NULL,
			  "a VMA has an anon_vma, and is not linked to it");
}

static void checker_chain(struct kunit *test)
{
	struct vm_area_struct *vma = map_lazy(test, 1), *stranger = map_lazy(test, 1);
	struct mm_struct *mm = current->mm, *child = fork_mm(test, mm);
	struct vm_area_struct *child_vma = vma_at(child, vma->vm_start);
	struct anon_vma *anon_vma;

	KUNIT_ASSERT_EQ(test, upgrade(child_vma), 0);
	anon_vma = child_vma->anon_vma;
	expect_sound(test, child);
	expect_unsound_if(test, child, &child_vma->anon_vma_chain.next,
			  &child_vma->anon_vma_chain,
			  "a VMA has an anon_vma, and is not linked to it");
	expect_unsound_if(test, child, &chain(child_vma)->vma, vma,
			  "the chain of a VMA is of another VMA");
	expect_unsound_if(test, child, &vma->anon_vma, stranger->anon_vma,
			  "a head does not lead to its anon_vma");
	expect_unsound_if(test, child, &anon_vma->root, stranger->anon_vma,
			  "the chain of a VMA has two roots");
	expect_unsound_if(test, child, &anon_vma->head, stranger,
			  "a head does not lead to its anon_vma");

	/* A VMA that is no head has to be found in its anon_vma, too. */
	anon_vma->head = NULL;
	child_vma->anon_vma = stranger->anon_vma;
	expect_unsound(test, child, "a VMA is not linked to its anon_vma");
	child_vma->anon_vma = anon_vma;
	anon_vma->head = child_vma;
	expect_sound(test, child);
}

static void checker_folio(struct kunit *test)
{
	struct vm_area_struct *vma = map_lazy(test, 2), *stranger = map_lazy(test, 1);
	struct mm_struct *mm = current->mm, *child;
	struct folio *folio = touch(test, mm, vma->vm_start + PAGE_SIZE);
	struct anon_vma *anon_vma;
	int i;

	if (IS_ENABLED(CONFIG_KSM))
		expect_unsound_if(test, mm, &folio->mapping,
				  (void *)vma->anon_vma + FOLIO_MAPPING_KSM,
				  "a group maps a KSM folio");
	expect_unsound_if(test, mm, &vma->anon_vma, NULL,
			  "a folio does not name what the VMA is linked to");
	/* While it is lazy, and upgraded. */
	for (i = 0; i < 2; i++) {
		expect_unsound_if(test, mm, &folio->mapping,
				  (void *)stranger->anon_vma + FOLIO_MAPPING_ANON,
				  "a folio does not name what the VMA is linked to");
		expect_unsound_if(test, mm, &folio->index, (void *)(folio->index - 1),
				  "a walk of a folio does not find its mapping");
		atomic_set(&folio->_mapcount, -1);
		expect_unsound(test, mm, "a folio is mapped, but what it names is gone");
		atomic_set(&folio->_mapcount, 0);
		expect_sound(test, mm);
		KUNIT_ASSERT_EQ(test, upgrade(vma), 0);
	}
	folio_put(folio);

	/* A child that has a page knows that it is named, and is in a tree if upgraded. */
	child = fork_mm(test, mm);
	folio_put(touch(test, child, vma->vm_start));
	vma = vma_at(child, vma->vm_start);
	KUNIT_ASSERT_EQ(test, upgrade(vma), 0);
	anon_vma = vma->anon_vma;
	anon_vma_lock_write(anon_vma);
	anon_rmap_tree_remove(chain(vma), anon_vma);
	anon_vma_unlock_write(anon_vma);
	expect_unsound(test, child, "a walk of a folio does not find its mapping");
	anon_vma_lock_write(anon_vma);
	anon_rmap_tree_insert(chain(vma), anon_vma);
	anon_vma_unlock_write(anon_vma);
	expect_sound(test, child);
}

#endif /* CONFIG_DEBUG_ANON_VMA_LAZY */

static struct kunit_case anon_vma_lazy_test_cases[] = {
	KUNIT_CASE(bits_fit_structs),
	KUNIT_CASE(state_lazy),
	KUNIT_CASE(state_cut),
	KUNIT_CASE(state_group),
	KUNIT_CASE(state_group_deferred),
	KUNIT_CASE(state_upgraded),
	KUNIT_CASE(list_survives_upgrade),
	KUNIT_CASE(state_deferred),
	KUNIT_CASE(join_group),
	KUNIT_CASE(join_full),
	KUNIT_CASE(list_full),
	KUNIT_CASE(list_neighbour),
	KUNIT_CASE(pfnmap),
	KUNIT_CASE(join_child),
	KUNIT_CASE_PARAM(race_with_upgrade, race_gen_params),
	KUNIT_CASE(family),
	KUNIT_CASE(list_children),
	KUNIT_CASE(child_upgrade),
	KUNIT_CASE(unnamed),
	KUNIT_CASE(walk_states),
	KUNIT_CASE(walk_waits),
	KUNIT_CASE(wait_without_lock),
	KUNIT_CASE(lock_child),
	KUNIT_CASE(move_locks),
	KUNIT_CASE(copy_locks),
	KUNIT_CASE(all_locks_interrupted),
	KUNIT_CASE(take_all_locks),
	KUNIT_CASE(join_unlinked),
	KUNIT_CASE(hold_marks),
	KUNIT_CASE_PARAM(head_lifetime, lifetime_gen_params),
	KUNIT_CASE(child_held),
	KUNIT_CASE(restore_waits),
	KUNIT_CASE(anon_vma_lifetime),
	KUNIT_CASE(mm_lifetime),
	KUNIT_CASE(mm_gone),
	KUNIT_CASE_PARAM(upgrade_enomem, enomem_gen_params),
#ifdef CONFIG_DEBUG_ANON_VMA_LAZY
	KUNIT_CASE(checker_vma),
	KUNIT_CASE(checker_group),
	KUNIT_CASE(checker_list),
	KUNIT_CASE(checker_chain),
	KUNIT_CASE(checker_folio),
#endif
	{}
};

static bool sysctl_was;

static int force_lazy(struct kunit_suite *suite)
{
	sysctl_was = sysctl_anon_vma_lazy;
	WRITE_ONCE(sysctl_anon_vma_lazy, true);
	return 0;
}

static void restore_sysctl(struct kunit_suite *suite)
{
	WRITE_ONCE(sysctl_anon_vma_lazy, sysctl_was);
}

/* What the case before has left is no part of what this one counts. */
static int wait_deferred(struct kunit *test)
{
	int now, was = get_nr_deferred(), same = 0, i;

	for (i = 0; i < 100 && was && same < 10; i++) {
		msleep(50);
		now = get_nr_deferred();
		same = now == was ? same + 1 : 0;
		was = now;
	}
	return 0;
}

static struct kunit_suite anon_vma_lazy_test_suite = {
	.name = "anon_vma_lazy",
	.init = wait_deferred,
	.suite_init = force_lazy,
	.suite_exit = restore_sysctl,
	.test_cases = anon_vma_lazy_test_cases,
};

kunit_test_suite(anon_vma_lazy_test_suite);
