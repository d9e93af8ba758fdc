// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of lone VMAs: what vma->anon_vma goes through and what it refuses,
 * what a folio leads to, who frees a founder, what a failing allocation leaves
 * behind, and that the checker sees what is wrong.
 *
 * The VMAs are those of an mm of the test's own, mapped, touched, split, forked
 * and unmapped by the kernel's functions. Only where a struct is to be seen freed
 * is it from a cache of the test's own, and not in an mm's tree.
 *
 * To be run with vm.anon_vma_lazy at 1.
 */

#include <kunit/test.h>
#include <linux/completion.h>
#include <linux/debugfs.h>
#include <linux/delay.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/mmu_notifier.h>
#include <linux/rmap.h>
#include <linux/sched/mm.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/workqueue.h>

#include "../internal.h"
#include "../slab.h"

/* --- VMAs of an mm --------------------------------------------------------- */

static struct vm_area_struct *vma_at(struct mm_struct *mm, unsigned long addr)
{
	struct vm_area_struct *vma;

	mmap_read_lock(mm);
	vma = vma_lookup(mm, addr);
	mmap_read_unlock(mm);
	return vma;
}

/* Map @nr pages, far enough from all others not to merge. */
static unsigned long map_area(struct kunit *test, unsigned int nr)
{
	unsigned long want = SZ_1G + (unsigned long)test->priv++ * SZ_1M;
	unsigned long addr;

	addr = kunit_vm_mmap(test, NULL, want, nr * PAGE_SIZE, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, 0);
	KUNIT_ASSERT_EQ(test, addr, want);
	return addr;
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

/* Map and touch @nr pages: a lone VMA. */
static struct vm_area_struct *map_lone(struct kunit *test, unsigned int nr)
{
	unsigned long addr = map_area(test, nr);
	struct vm_area_struct *vma;
	unsigned int i;

	for (i = 0; i < nr; i++)
		folio_put(touch(test, current->mm, addr + i * PAGE_SIZE));
	vma = vma_at(current->mm, addr);
	KUNIT_ASSERT_PTR_EQ_MSG(test, vma->anon_vma, vma_lone_anon_vma(vma),
				"not lone: is vm.anon_vma_lazy 0?");
	return vma;
}

/* Map @nr pages that are VMAs of one group; the first one is at the result. */
static unsigned long map_group(struct kunit *test, unsigned int nr)
{
	struct anon_vma *lone = map_lone(test, nr)->anon_vma;
	unsigned long addr = lone_vma(lone)->vm_start;
	unsigned int i;

	for (i = 1; i < nr; i += 2)
		KUNIT_ASSERT_EQ(test, do_madvise(current->mm, addr + i * PAGE_SIZE,
						 PAGE_SIZE, MADV_DONTDUMP), 0);
	if (!vma_is_lone(lone_vma(lone)))
		kunit_skip(test, "a split upgrades in this kernel");
	for (i = 0; i < nr; i++) {
		struct vm_area_struct *vma = vma_at(current->mm, addr + i * PAGE_SIZE);

		KUNIT_ASSERT_EQ(test, vma_pages(vma), 1);
		KUNIT_ASSERT_PTR_EQ(test, vma->anon_vma, lone);
	}
	return addr;
}

static size_t group_size(const struct anon_vma *lone)
{
	return 1 + list_count_nodes(&lone_vma(lone)->anon_vma_chain);
}

static int upgrade(struct vm_area_struct *vma)
{
	int err;

	mmap_write_lock(vma->vm_mm);
	err = anon_vma_upgrade(vma, ANON_VMA_FOR_OTHER);
	mmap_write_unlock(vma->vm_mm);
	return err;
}

static bool join(struct vm_area_struct *vma, struct anon_vma *lone)
{
	bool joined;

	mmap_write_lock(vma->vm_mm);
	vma_start_write(vma);
	joined = lone_join(vma, lone);
	mmap_write_unlock(vma->vm_mm);
	return joined;
}

static bool related(struct vm_area_struct *vma, struct anon_vma *anon_vma)
{
	bool is;

	mmap_read_lock(vma->vm_mm);
	is = vma_anon_related(vma, anon_vma);
	mmap_read_unlock(vma->vm_mm);
	return is;
}

KUNIT_DEFINE_ACTION_WRAPPER(put_mm, mmput, struct mm_struct *);

/* It goes with the test, if not before. */
static struct mm_struct *fork_mm(struct kunit *test, struct mm_struct *mm)
{
	struct mm_struct *child = mm_alloc();

	KUNIT_ASSERT_NOT_NULL(test, child);
	KUNIT_ASSERT_EQ(test, kunit_add_action_or_reset(test, put_mm, child), 0);
	KUNIT_ASSERT_EQ(test, dup_mmap(child, mm), 0);
	return child;
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

/* --- names ------------------------------------------------------------------- */

/* All of an address's states, as the struct may lie anywhere in its slab. */
static void names_of_vmas(struct kunit *test)
{
	const unsigned long bits[] = {
		ANON_VMA_UNLINKED, ANON_VMA_RETIRED, ANON_VMA_LONE,
		ANON_VMA_PIN_IDX, ANON_VMA_CHILD,
	};
	struct folio *folio = kunit_kzalloc(test, sizeof(*folio), GFP_KERNEL);
	unsigned long page, at, all = 0;
	int i;

	KUNIT_ASSERT_NOT_NULL(test, folio);
	for (i = 0; i < ARRAY_SIZE(bits); i++) {
		KUNIT_EXPECT_EQ(test, hweight_long(bits[i]), 1);
		KUNIT_EXPECT_EQ(test, all & bits[i], 0);
		all |= bits[i];
	}
	KUNIT_EXPECT_EQ(test, all, ANON_VMA_NAME_BITS);
	/* What a name is made of, folio->mapping does not use for itself. */
	KUNIT_EXPECT_EQ(test, (ANON_VMA_LONE | ANON_VMA_CHILD) & FOLIO_MAPPING_FLAGS, 0);

	page = (unsigned long)page_address(ZERO_PAGE(0));
	for (at = page; at < page + PAGE_SIZE; at += ANON_VMA_NAME_BITS + 1) {
		struct vm_area_struct *vma = (struct vm_area_struct *)at;

		for (i = 0; i < 2; i++) {
			struct anon_vma *lone = vma_lone_anon_vma(vma);
			struct anon_vma *name = (void *)lone + (i ? ANON_VMA_CHILD : 0);
			struct anon_vma *unlinked = anon_vma_unlinked(name);
			struct anon_vma *retired = (void *)unlinked + ANON_VMA_RETIRED;
			struct anon_vma *pin = (void *)name + ANON_VMA_PIN_IDX;

			KUNIT_EXPECT_TRUE(test, anon_vma_is_lone(name));
			KUNIT_EXPECT_EQ(test, lone_is_child(name), i);
			KUNIT_EXPECT_EQ(test, anon_vma_is_group(name), !i);
			KUNIT_EXPECT_TRUE(test, anon_vma_is_lone(unlinked));
			KUNIT_EXPECT_TRUE(test, anon_vma_is_lone(retired));
			KUNIT_EXPECT_TRUE(test, anon_vma_is_lone(pin));

			KUNIT_EXPECT_PTR_EQ(test, lone_vma(name), vma);
			KUNIT_EXPECT_PTR_EQ(test, lone_vma(unlinked), vma);
			KUNIT_EXPECT_PTR_EQ(test, lone_vma(retired), vma);
			KUNIT_EXPECT_PTR_EQ(test, lone_vma(pin), vma);

			KUNIT_EXPECT_PTR_EQ(test, anon_vma_linked(name), name);
			KUNIT_EXPECT_PTR_EQ(test, anon_vma_linked(unlinked), name);
			KUNIT_EXPECT_PTR_EQ(test, anon_vma_linked(retired), name);
			KUNIT_EXPECT_NULL(test, founder_anon_vma(name));
			KUNIT_EXPECT_NULL(test, founder_anon_vma(retired));

			folio->mapping = (void *)name + FOLIO_MAPPING_ANON;
			KUNIT_EXPECT_TRUE(test, folio_test_anon(folio));
			KUNIT_EXPECT_FALSE(test, folio_test_ksm(folio));
			KUNIT_EXPECT_TRUE(test, folio_names_vma(folio));
			KUNIT_EXPECT_PTR_EQ(test, folio_anon_vma(folio), name);
		}
	}

	KUNIT_EXPECT_TRUE(test, anon_vma_is_lone(ANON_VMA_DEAD));
	KUNIT_EXPECT_NULL(test, lone_vma(ANON_VMA_DEAD));
	KUNIT_EXPECT_NULL(test, founder_anon_vma(ANON_VMA_DEAD));
}

/* An anon_vma is aligned to a pointer, and must not be taken for a name. */
static void names_of_anon_vmas(struct kunit *test)
{
	struct folio *folio = kunit_kzalloc(test, sizeof(*folio), GFP_KERNEL);
	unsigned long page, at;

	KUNIT_ASSERT_NOT_NULL(test, folio);
	page = (unsigned long)page_address(ZERO_PAGE(0));
	for (at = page; at < page + PAGE_SIZE; at += sizeof(long)) {
		struct anon_vma *anon_vma = (struct anon_vma *)at;
		struct anon_vma *unlinked = anon_vma_unlinked(anon_vma);
		struct anon_vma *retired = (void *)unlinked + ANON_VMA_RETIRED;

		KUNIT_EXPECT_FALSE(test, anon_vma_is_lone(anon_vma));
		KUNIT_EXPECT_FALSE(test, anon_vma_is_group(anon_vma));
		KUNIT_EXPECT_PTR_EQ(test, anon_vma_resolve(anon_vma), anon_vma);
		KUNIT_EXPECT_PTR_EQ(test, founder_anon_vma(anon_vma), anon_vma);
		KUNIT_EXPECT_PTR_EQ(test, founder_anon_vma(unlinked), anon_vma);
		KUNIT_EXPECT_PTR_EQ(test, founder_anon_vma(retired), anon_vma);

		folio->mapping = (void *)anon_vma + FOLIO_MAPPING_ANON;
		KUNIT_EXPECT_FALSE(test, folio_names_vma(folio));
		KUNIT_EXPECT_PTR_EQ(test, folio_anon_vma(folio), anon_vma);
	}
}

/* The caches give what the names need, all over a few slabs. */
static void names_fit_structs(struct kunit *test)
{
	const int nr = 128;
	struct vm_area_struct **vmas;
	int i;

	vmas = kunit_kcalloc(test, nr, sizeof(*vmas), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, vmas);
	for (i = 0; i < nr; i++) {
		vmas[i] = vm_area_alloc(NULL);
		KUNIT_EXPECT_NOT_NULL(test, vmas[i]);
		KUNIT_EXPECT_EQ(test, (unsigned long)vmas[i] & ANON_VMA_NAME_BITS, 0);
	}
	while (i--) {
		if (vmas[i])
			vm_area_free(vmas[i]);
	}

	for (i = 0; i < nr / 2; i++) {
		struct vm_area_struct *vma = map_lone(test, 1);

		KUNIT_ASSERT_EQ(test, upgrade(vma), 0);
		KUNIT_EXPECT_EQ(test, (unsigned long)vma->anon_vma % sizeof(long), 0);
	}
	expect_sound(test, current->mm);
}

/* --- states ---------------------------------------------------------------- */

static void state_lone(struct kunit *test)
{
	unsigned long addr = map_area(test, 2);
	struct vm_area_struct *vma = vma_at(current->mm, addr);
	struct anon_vma *lone = vma_lone_anon_vma(vma);
	struct mm_struct *mm = current->mm;
	struct folio *folio;

	KUNIT_EXPECT_NULL(test, vma->anon_vma);
	KUNIT_EXPECT_FALSE(test, vma_is_lone(vma));

	folio = touch(test, mm, addr);
	KUNIT_EXPECT_PTR_EQ(test, vma->anon_vma, lone);
	KUNIT_EXPECT_TRUE(test, vma_is_lone(vma));
	KUNIT_EXPECT_FALSE(test, vma_is_founder(vma));
	KUNIT_EXPECT_TRUE(test, list_empty(&vma->anon_vma_chain));
	KUNIT_EXPECT_PTR_EQ(test, anon_vma_resolve(lone), lone);
	KUNIT_EXPECT_PTR_EQ(test, folio_anon_vma(folio), lone);
	folio_put(folio);
	folio_put(touch(test, mm, addr + PAGE_SIZE));
	KUNIT_EXPECT_PTR_EQ(test, vma->anon_vma, lone);
	expect_sound(test, mm);

	/* As mremap(MREMAP_DONTUNMAP) leaves it: unfaulted, and lone once more. */
	KUNIT_ASSERT_EQ(test, do_madvise(mm, addr, 2 * PAGE_SIZE, MADV_DONTNEED), 0);
	mmap_write_lock(mm);
	vma_start_write(vma);
	unlink_anon_vmas(vma);
	mmap_write_unlock(mm);
	KUNIT_EXPECT_NULL(test, vma->anon_vma);
	expect_sound(test, mm);
	folio_put(touch(test, mm, addr));
	KUNIT_EXPECT_PTR_EQ(test, vma->anon_vma, lone);
	expect_sound(test, mm);
}

/* The VMA that a walk for a page comes to after @vma. */
static struct vm_area_struct *next_with_page(struct anon_vma *lone,
					     struct vm_area_struct *vma, pgoff_t pgoff)
{
	do {
		vma = lone_next_vma(lone, vma);
	} while (vma && vma_anon_address(vma, pgoff, 1) == -EFAULT);
	return vma;
}

static void state_group(struct kunit *test)
{
	unsigned long addr = map_group(test, 3);
	struct anon_vma *lone = vma_at(current->mm, addr)->anon_vma;
	struct mm_struct *mm = current->mm;
	struct vm_area_struct *vma;
	pgoff_t first;
	int i, nr = 0;

	first = vma_start_anon_pgoff(vma_at(mm, addr));
	KUNIT_EXPECT_EQ(test, group_size(lone), 3);
	for (i = 0; i < 3; i++) {
		vma = vma_at(mm, addr + i * PAGE_SIZE);
		KUNIT_EXPECT_EQ(test, vma_is_founder(vma), vma == lone_vma(lone));
		KUNIT_EXPECT_FALSE(test, list_empty(&vma->anon_vma_chain));
		/* A walk of its page finds it, and no other. */
		KUNIT_EXPECT_PTR_EQ(test, next_with_page(lone, NULL, first + i), vma);
		KUNIT_EXPECT_NULL(test, next_with_page(lone, vma, first + i));
	}
	/* A walk of all of them finds each, and the founder before those that joined. */
	vma = NULL;
	while ((vma = lone_next_vma(lone, vma)))
		KUNIT_EXPECT_EQ(test, nr++ == 0, vma == lone_vma(lone));
	KUNIT_EXPECT_EQ(test, nr, 3);
	KUNIT_EXPECT_NULL(test, next_with_page(lone, NULL, first + 3));
	expect_sound(test, mm);

	/* Merged again it has the same name, whoever of them is left. */
	KUNIT_ASSERT_EQ(test, do_madvise(mm, addr, 3 * PAGE_SIZE, MADV_DODUMP), 0);
	vma = vma_at(mm, addr);
	KUNIT_EXPECT_EQ(test, vma_pages(vma), 3);
	KUNIT_EXPECT_PTR_EQ(test, vma->anon_vma, lone);
	expect_sound(test, mm);
}

/* A group outlives its founder, which stays as its head until the last one goes. */
static void state_group_retired(struct kunit *test)
{
	unsigned long addr = map_group(test, 3);
	struct anon_vma *lone = vma_at(current->mm, addr)->anon_vma;
	struct vm_area_struct *founder = lone_vma(lone), *other, *last;
	struct mm_struct *mm = current->mm;
	struct folio *folio;
	pgoff_t pgoff;

	KUNIT_ASSERT_EQ(test, group_size(lone), 3);
	other = list_first_entry(&founder->anon_vma_chain, struct vm_area_struct, anon_vma_chain);
	last = list_last_entry(&founder->anon_vma_chain, struct vm_area_struct, anon_vma_chain);
	folio = touch(test, mm, other->vm_start);
	pgoff = folio_pgoff(folio);

	KUNIT_ASSERT_EQ(test, vm_munmap(founder->vm_start, PAGE_SIZE), 0);
	KUNIT_EXPECT_PTR_EQ(test, READ_ONCE(founder->anon_vma),
			    (void *)lone + (ANON_VMA_UNLINKED | ANON_VMA_RETIRED));
	KUNIT_EXPECT_PTR_EQ(test, anon_vma_resolve(lone), lone);
	KUNIT_EXPECT_EQ(test, group_size(lone), 3);
	expect_sound(test, mm);

	/* A walk goes on through it, and does not return it. */
	folio_lock(folio);
	KUNIT_EXPECT_PTR_EQ(test, folio_lock_anon_vma_read(folio, NULL), lone);
	KUNIT_EXPECT_PTR_EQ(test, lone_next_vma(lone, NULL), other);
	KUNIT_EXPECT_PTR_EQ(test, next_with_page(lone, NULL, pgoff), other);
	up_read(lone_rwsem(lone));
	folio_unlock(folio);
	folio_put(folio);

	KUNIT_ASSERT_EQ(test, vm_munmap(other->vm_start, PAGE_SIZE), 0);
	KUNIT_EXPECT_EQ(test, group_size(lone), 2);
	KUNIT_EXPECT_PTR_EQ(test, anon_vma_resolve(lone), lone);

	/* Upgraded now, the one that is left is not the founder of the anon_vma. */
	KUNIT_ASSERT_EQ(test, upgrade(last), 0);
	KUNIT_EXPECT_PTR_EQ(test, READ_ONCE(founder->anon_vma),
			    (void *)last->anon_vma + (ANON_VMA_UNLINKED | ANON_VMA_RETIRED));
	KUNIT_EXPECT_PTR_EQ(test, anon_vma_resolve(lone), last->anon_vma);
	KUNIT_EXPECT_FALSE(test, vma_is_founder(last));
	expect_sound(test, mm);
}

static void state_upgraded(struct kunit *test)
{
	unsigned long addr = map_group(test, 3);
	struct anon_vma *lone = vma_at(current->mm, addr)->anon_vma;
	struct vm_area_struct *founder = lone_vma(lone);
	struct mm_struct *mm = current->mm;
	struct anon_vma_chain *avc;
	struct anon_vma *anon_vma;
	struct folio *folio;
	int i, nr = 0;

	folio = touch(test, mm, addr);
	KUNIT_ASSERT_EQ(test, upgrade(vma_at(mm, addr)), 0);
	anon_vma = founder->anon_vma;
	KUNIT_ASSERT_FALSE(test, anon_vma_is_lone(anon_vma));
	KUNIT_EXPECT_PTR_EQ(test, anon_vma->founder, founder);
	KUNIT_EXPECT_PTR_EQ(test, anon_vma->root, anon_vma);
	KUNIT_EXPECT_EQ(test, anon_vma->num_active_vmas, 3);
	KUNIT_EXPECT_EQ(test, anon_vma->num_children, 1);
	for (i = 0; i < 3; i++) {
		struct vm_area_struct *vma = vma_at(mm, addr + i * PAGE_SIZE);

		KUNIT_EXPECT_PTR_EQ(test, vma->anon_vma, anon_vma);
		KUNIT_EXPECT_TRUE(test, list_is_singular(&vma->anon_vma_chain));
		KUNIT_EXPECT_EQ(test, vma_is_founder(vma), vma == founder);
	}
	anon_vma_lock_read(anon_vma);
	anon_rmap_tree_foreach(avc, anon_vma, 0, ULONG_MAX)
		nr++;
	anon_vma_unlock_read(anon_vma);
	KUNIT_EXPECT_EQ(test, nr, 3);

	/* The folio names the founder, which forwards it. */
	KUNIT_EXPECT_PTR_EQ(test, folio_anon_vma(folio), lone);
	KUNIT_EXPECT_PTR_EQ(test, anon_vma_resolve(lone), anon_vma);

	/* Once is enough, also for who has not seen the first one. */
	KUNIT_EXPECT_EQ(test, upgrade(founder), 0);
	mmap_write_lock(mm);
	KUNIT_EXPECT_EQ(test, __anon_vma_upgrade(lone, ANON_VMA_FOR_OTHER), 0);
	mmap_write_unlock(mm);
	KUNIT_EXPECT_PTR_EQ(test, founder->anon_vma, anon_vma);
	KUNIT_EXPECT_EQ(test, anon_vma->num_active_vmas, 3);

	/* Device memory is let to name the anon_vma. */
	folio_lock(folio);
	folio_settle_anon_vma(folio);
	KUNIT_EXPECT_PTR_EQ(test, folio_anon_vma(folio), anon_vma);
	folio_unlock(folio);
	folio_put(folio);
	expect_sound(test, mm);
}

/* The founder of an anon_vma is unmapped by the parent, and the child lives on. */
static void state_retired(struct kunit *test)
{
	struct vm_area_struct *vma = map_lone(test, 2), *child_vma;
	unsigned long addr = vma->vm_start;
	struct anon_vma *lone = vma->anon_vma;
	struct anon_vma *anon_vma, *child_lone;
	struct anon_vma_chain *avc;
	struct mm_struct *child;
	struct folio *folio;
	pgoff_t pgoff;

	folio = touch(test, current->mm, addr);
	pgoff = folio_pgoff(folio);
	child = fork_mm(test, current->mm);
	child_vma = vma_at(child, addr);
	anon_vma = vma->anon_vma;
	KUNIT_ASSERT_FALSE(test, anon_vma_is_lone(anon_vma));
	KUNIT_EXPECT_PTR_EQ(test, anon_vma->founder, vma);
	KUNIT_EXPECT_PTR_EQ(test, folio_anon_vma(folio), lone);
	child_lone = (void *)vma_lone_anon_vma(child_vma) + ANON_VMA_CHILD;
	KUNIT_EXPECT_PTR_EQ(test, child_vma->anon_vma, child_lone);
	KUNIT_EXPECT_TRUE(test, list_is_singular(&child_vma->anon_vma_chain));
	KUNIT_EXPECT_FALSE(test, vma_is_founder(child_vma));
	expect_sound(test, current->mm);
	expect_sound(test, child);

	KUNIT_ASSERT_EQ(test, vm_munmap(addr, 2 * PAGE_SIZE), 0);
	KUNIT_EXPECT_PTR_EQ(test, READ_ONCE(vma->anon_vma),
			    (void *)anon_vma + (ANON_VMA_UNLINKED | ANON_VMA_RETIRED));
	KUNIT_EXPECT_PTR_EQ(test, anon_vma_resolve(lone), anon_vma);
	expect_sound(test, child);

	/* What the child still maps names it, and leads to the child. */
	folio_lock(folio);
	KUNIT_EXPECT_PTR_EQ(test, folio_anon_vma(folio), lone);
	KUNIT_EXPECT_NULL(test, folio_lock_lone(folio, false));
	KUNIT_EXPECT_PTR_EQ(test, folio_lock_anon_vma_read(folio, NULL), anon_vma);
	avc = anon_rmap_tree_iter_first(anon_vma, pgoff, pgoff);
	KUNIT_ASSERT_NOT_NULL(test, avc);
	KUNIT_EXPECT_PTR_EQ(test, avc->vma, child_vma);
	KUNIT_EXPECT_NULL(test, anon_rmap_tree_iter_next(avc, pgoff, pgoff));
	anon_vma_unlock_read(anon_vma);
	folio_unlock(folio);
	folio_put(folio);

	/* Its own pages name the child. */
	folio = touch(test, child, addr + PAGE_SIZE);
	KUNIT_EXPECT_PTR_EQ(test, folio_anon_vma(folio), child_lone);
	folio_put(folio);
	expect_sound(test, child);
}

/* --- refusals ---------------------------------------------------------------- */

static void join_group(struct kunit *test)
{
	unsigned long addr = map_group(test, 2);
	struct anon_vma *lone = vma_at(current->mm, addr)->anon_vma;
	struct vm_area_struct *founder = lone_vma(lone);
	struct vm_area_struct *member, *vma, *stranger;
	struct mm_struct *mm = current->mm;
	struct folio *folio;

	member = list_first_entry(&founder->anon_vma_chain, struct vm_area_struct,
				  anon_vma_chain);
	vma = vma_at(mm, map_area(test, 1));
	stranger = map_lone(test, 1);

	/* They are in it. */
	KUNIT_EXPECT_TRUE(test, join(founder, lone));
	KUNIT_EXPECT_TRUE(test, join(member, lone));
	KUNIT_EXPECT_EQ(test, group_size(lone), 2);

	/* This one was faster, and is lone by itself. */
	KUNIT_EXPECT_TRUE(test, join(stranger, lone));
	KUNIT_EXPECT_PTR_EQ(test, stranger->anon_vma, vma_lone_anon_vma(stranger));
	KUNIT_EXPECT_EQ(test, group_size(lone), 2);

	/* And this one is welcome, behind the others. */
	KUNIT_EXPECT_TRUE(test, join(vma, lone));
	KUNIT_EXPECT_PTR_EQ(test, vma->anon_vma, lone);
	KUNIT_EXPECT_EQ(test, group_size(lone), 3);
	KUNIT_EXPECT_PTR_EQ(test, list_last_entry(&founder->anon_vma_chain,
						  struct vm_area_struct, anon_vma_chain), vma);
	folio = touch(test, mm, vma->vm_start);
	KUNIT_EXPECT_PTR_EQ(test, folio_anon_vma(folio), lone);
	folio_put(folio);
	expect_sound(test, mm);
}

static void join_full(struct kunit *test)
{
	unsigned long addr = map_group(test, LONE_GROUP_MAX);
	struct anon_vma *lone = vma_at(current->mm, addr)->anon_vma;
	struct vm_area_struct *vma = vma_at(current->mm, map_area(test, 1));

	KUNIT_EXPECT_EQ(test, group_size(lone), LONE_GROUP_MAX);
	KUNIT_EXPECT_FALSE(test, join(vma, lone));
	KUNIT_EXPECT_NULL(test, vma->anon_vma);
	KUNIT_EXPECT_TRUE(test, list_empty(&vma->anon_vma_chain));
	KUNIT_EXPECT_EQ(test, group_size(lone), LONE_GROUP_MAX);
	expect_sound(test, current->mm);
}

static void join_child(struct kunit *test)
{
	unsigned long lone_addr = map_lone(test, 1)->vm_start, addr = map_area(test, 1);
	struct mm_struct *child = fork_mm(test, current->mm);
	struct anon_vma *lone = vma_at(child, lone_addr)->anon_vma;
	struct vm_area_struct *vma = vma_at(child, addr);

	KUNIT_ASSERT_TRUE(test, lone_is_child(lone));
	KUNIT_EXPECT_FALSE(test, join(vma, lone));
	KUNIT_EXPECT_NULL(test, vma->anon_vma);
	KUNIT_EXPECT_TRUE(test, list_is_singular(&lone_vma(lone)->anon_vma_chain));
	expect_sound(test, child);
}

static void join_upgraded(struct kunit *test)
{
	struct vm_area_struct *founder = map_lone(test, 1);
	struct anon_vma *lone = founder->anon_vma;
	struct vm_area_struct *vma = vma_at(current->mm, map_area(test, 1));

	KUNIT_ASSERT_EQ(test, upgrade(founder), 0);
	KUNIT_EXPECT_FALSE(test, join(vma, lone));
	KUNIT_EXPECT_NULL(test, vma->anon_vma);
	KUNIT_EXPECT_TRUE(test, list_is_singular(&founder->anon_vma_chain));
	expect_sound(test, current->mm);
}

/*
 * A VMA that joins is walked after the one that pages are moved from. One that is in
 * the group already may not be: then mremap() has to hold off walks.
 */
/* What mremap() does before it moves @nr of @vma's pages, from @first on, to @to. */
static struct vm_area_struct *copy_pages(struct vm_area_struct **vma, unsigned long to,
					 unsigned int first, unsigned int nr, bool *locks)
{
	struct vm_area_struct *copy;

	copy = copy_vma(vma, to, nr * PAGE_SIZE, (*vma)->vm_pgoff + first,
			vma_start_anon_pgoff(*vma) + first, locks, false);
	if (copy) {
		vm_stat_account(copy->vm_mm, copy->vm_flags, nr);
		vm_acct_memory(nr);
	}
	return copy;
}

static void copy_to_group(struct kunit *test)
{
	struct vm_area_struct *vma = map_lone(test, 4), *copy;
	unsigned long to = vma->vm_start + SZ_512K;
	struct anon_vma *lone = vma->anon_vma;
	struct mm_struct *mm = current->mm;
	bool locks;
	int i;

	mmap_write_lock(mm);
	vma_start_write(vma);
	/* First the last two pages; then another, which is merged with them. */
	for (i = 2; i > 0; i--) {
		copy = copy_pages(&vma, to + i * PAGE_SIZE, i, i, &locks);
		if (!copy)
			break;
		KUNIT_EXPECT_PTR_EQ(test, copy->anon_vma, lone);
		KUNIT_EXPECT_EQ(test, copy->vm_start, to + i * PAGE_SIZE);
		KUNIT_EXPECT_EQ(test, copy->vm_end, to + 4 * PAGE_SIZE);
		KUNIT_EXPECT_EQ(test, locks, i == 1);
	}
	mmap_write_unlock(mm);
	KUNIT_EXPECT_NOT_NULL(test, copy);
	expect_sound(test, mm);
}

/* It was lone when it was looked at; KSM upgrades its group on behalf of another. */
static void unlink_upgraded(struct kunit *test)
{
	unsigned long addr = map_group(test, 2);
	struct anon_vma *lone = vma_at(current->mm, addr)->anon_vma;
	struct mm_struct *mm = current->mm;
	struct anon_vma *anon_vma;
	int i;

	KUNIT_ASSERT_EQ(test, upgrade(vma_at(mm, addr)), 0);
	anon_vma = vma_at(mm, addr)->anon_vma;
	for (i = 0; i < 2; i++) {
		struct vm_area_struct *vma = vma_at(mm, addr + i * PAGE_SIZE);

		mmap_write_lock(mm);
		vma_start_write(vma);
		KUNIT_EXPECT_FALSE(test, lone_unlink(vma, lone));
		mmap_write_unlock(mm);
		KUNIT_EXPECT_PTR_EQ(test, vma->anon_vma, anon_vma);
		KUNIT_EXPECT_TRUE(test, list_is_singular(&vma->anon_vma_chain));
	}
	expect_sound(test, mm);
}

/* --- families ---------------------------------------------------------------- */

static void family(struct kunit *test)
{
	struct vm_area_struct *vma = map_lone(test, 1), *stranger = map_lone(test, 1);
	struct anon_vma *lone = vma->anon_vma, *stranger_lone = stranger->anon_vma;
	struct vm_area_struct *child_vma, *grandchild_vma, *dup;
	struct anon_vma *anon_vma, *child_lone, *child_anon_vma, *grandchild_lone;
	struct mm_struct *child, *grandchild;
	struct folio *folio;

	/* Nothing shared: what it owns is the oldest that there is. */
	KUNIT_EXPECT_PTR_EQ(test, lone_oldest_anon_vma(lone), lone);
	KUNIT_EXPECT_TRUE(test, related(vma, lone));
	KUNIT_EXPECT_FALSE(test, related(vma, stranger_lone));

	/* A copy of a group's VMA has the name before it is linked. */
	mmap_read_lock(vma->vm_mm);
	dup = vm_area_dup(vma);
	mmap_read_unlock(vma->vm_mm);
	KUNIT_ASSERT_NOT_NULL(test, dup);
	KUNIT_EXPECT_TRUE(test, related(dup, lone));
	dup->anon_vma = NULL;
	vm_area_free(dup);

	child = fork_mm(test, current->mm);
	child_vma = vma_at(child, vma->vm_start);
	child_lone = child_vma->anon_vma;
	anon_vma = vma->anon_vma;
	KUNIT_ASSERT_TRUE(test, lone_is_child(child_lone));
	KUNIT_EXPECT_PTR_EQ(test, lone_oldest_anon_vma(child_lone), anon_vma);

	grandchild = fork_mm(test, child);
	grandchild_vma = vma_at(grandchild, vma->vm_start);
	grandchild_lone = grandchild_vma->anon_vma;
	child_anon_vma = child_vma->anon_vma;
	KUNIT_ASSERT_TRUE(test, lone_is_child(grandchild_lone));
	KUNIT_ASSERT_FALSE(test, anon_vma_is_lone(child_anon_vma));
	KUNIT_EXPECT_PTR_EQ(test, child_anon_vma->root, anon_vma);
	KUNIT_EXPECT_PTR_EQ(test, child_anon_vma->parent, anon_vma);
	/* The first on its chain is the parent's; the oldest is the root. */
	KUNIT_EXPECT_PTR_EQ(test, list_first_entry(&grandchild_vma->anon_vma_chain,
						   struct anon_vma_chain, same_vma)->anon_vma,
			    child_anon_vma);
	KUNIT_EXPECT_PTR_EQ(test, lone_oldest_anon_vma(grandchild_lone), anon_vma);

	/* What it swaps in may be all of theirs. */
	folio = folio_alloc(GFP_KERNEL, 0);
	KUNIT_ASSERT_NOT_NULL(test, folio);
	folio_lock(folio);
	mmap_read_lock(grandchild);
	folio_add_new_anon_rmap(folio, grandchild_vma, vma->vm_start, RMAP_NONE);
	KUNIT_EXPECT_PTR_EQ(test, folio_anon_vma(folio), anon_vma);
	folio_remove_rmap_pte(folio, &folio->page, grandchild_vma);
	mmap_read_unlock(grandchild);
	folio_unlock(folio);
	folio_put(folio);

	/* Everything that a folio which it maps may name, */
	KUNIT_EXPECT_TRUE(test, related(vma, lone));
	KUNIT_EXPECT_TRUE(test, related(vma, anon_vma));
	KUNIT_EXPECT_TRUE(test, related(child_vma, lone));
	KUNIT_EXPECT_TRUE(test, related(child_vma, anon_vma));
	KUNIT_EXPECT_TRUE(test, related(child_vma, child_lone));
	KUNIT_EXPECT_TRUE(test, related(child_vma, child_anon_vma));
	KUNIT_EXPECT_TRUE(test, related(grandchild_vma, lone));
	KUNIT_EXPECT_TRUE(test, related(grandchild_vma, anon_vma));
	KUNIT_EXPECT_TRUE(test, related(grandchild_vma, child_lone));
	KUNIT_EXPECT_TRUE(test, related(grandchild_vma, child_anon_vma));
	KUNIT_EXPECT_TRUE(test, related(grandchild_vma, grandchild_lone));
	/* and nothing of a descendant, */
	KUNIT_EXPECT_FALSE(test, related(vma, child_lone));
	KUNIT_EXPECT_FALSE(test, related(vma, grandchild_lone));
	KUNIT_EXPECT_FALSE(test, related(child_vma, grandchild_lone));
	/* or of strangers. */
	KUNIT_EXPECT_FALSE(test, related(vma, stranger_lone));
	KUNIT_EXPECT_FALSE(test, related(vma, stranger->anon_vma));
	KUNIT_EXPECT_FALSE(test, related(stranger, lone));
	KUNIT_EXPECT_FALSE(test, related(stranger, grandchild_lone));
	KUNIT_EXPECT_FALSE(test, related(grandchild_vma, stranger_lone));
	KUNIT_EXPECT_FALSE(test, related(grandchild_vma, stranger->anon_vma));
	expect_sound(test, current->mm);
	expect_sound(test, child);
	expect_sound(test, grandchild);
}

/* --- folios -------------------------------------------------------------------- */

/* Strangers that share it have it for a moment only. */
static bool rwsem_is_free(struct rw_semaphore *rwsem)
{
	int i;

	for (i = 0; i < 50; i++) {
		if (down_write_trylock(rwsem)) {
			up_write(rwsem);
			return true;
		}
		msleep(20);
	}
	return false;
}

static void folio_lock_states(struct kunit *test)
{
	struct vm_area_struct *vma = map_lone(test, 1);
	struct anon_vma *lone = vma->anon_vma, *anon_vma;
	struct rw_semaphore *rwsem = lone_rwsem(lone);
	struct rmap_walk_control rwc = { .try_lock = true };
	struct folio *folio = touch(test, current->mm, vma->vm_start);

	/* Lone: the bucket, for reading, */
	folio_lock(folio);
	anon_vma = folio_lock_lone(folio, false);
	KUNIT_EXPECT_PTR_EQ(test, anon_vma, lone);
	KUNIT_EXPECT_FALSE(test, down_write_trylock(rwsem));
	if (anon_vma)
		up_read(rwsem);
	anon_vma = folio_lock_anon_vma_read(folio, NULL);
	KUNIT_EXPECT_PTR_EQ(test, anon_vma, lone);
	KUNIT_EXPECT_FALSE(test, down_write_trylock(rwsem));
	if (anon_vma)
		anon_vma_unlock_read(anon_vma);

	/* and for writing, */
	anon_vma = folio_lock_anon_vma_write(folio);
	KUNIT_EXPECT_PTR_EQ(test, anon_vma, lone);
	KUNIT_EXPECT_FALSE(test, down_read_trylock(rwsem));
	if (anon_vma)
		folio_unlock_anon_vma_write(anon_vma);
	KUNIT_EXPECT_TRUE(test, rwsem_is_free(rwsem));

	/* or not at all if somebody has it. */
	down_write(rwsem);
	KUNIT_EXPECT_NULL(test, folio_lock_anon_vma_read(folio, &rwc));
	KUNIT_EXPECT_TRUE(test, rwc.contended);
	up_write(rwsem);
	folio_unlock(folio);

	/* Upgraded: the anon_vma, and not the bucket. */
	KUNIT_ASSERT_EQ(test, upgrade(vma), 0);
	folio_lock(folio);
	KUNIT_EXPECT_NULL(test, folio_lock_lone(folio, false));
	KUNIT_EXPECT_NULL(test, folio_lock_lone(folio, true));
	anon_vma = folio_lock_anon_vma_read(folio, NULL);
	KUNIT_EXPECT_PTR_EQ(test, anon_vma, vma->anon_vma);
	KUNIT_EXPECT_TRUE(test, rwsem_is_free(rwsem));
	if (anon_vma)
		anon_vma_unlock_read(anon_vma);
	anon_vma = folio_lock_anon_vma_write(folio);
	KUNIT_EXPECT_PTR_EQ(test, anon_vma, vma->anon_vma);
	if (anon_vma)
		folio_unlock_anon_vma_write(anon_vma);
	KUNIT_EXPECT_EQ(test, atomic_read(&vma->anon_vma->refcount), 1);
	folio_unlock(folio);

	/* Unmapped: nothing. */
	KUNIT_ASSERT_EQ(test, vm_munmap(vma->vm_start, PAGE_SIZE), 0);
	folio_lock(folio);
	KUNIT_EXPECT_NULL(test, folio_lock_anon_vma_read(folio, NULL));
	KUNIT_EXPECT_NULL(test, folio_lock_anon_vma_write(folio));
	KUNIT_EXPECT_NULL(test, folio_get_anon_vma(folio));
	folio_unlock(folio);
	folio_put(folio);

	/* The same of one that was never upgraded. */
	vma = map_lone(test, 1);
	rwsem = lone_rwsem(vma->anon_vma);
	folio = touch(test, current->mm, vma->vm_start);
	KUNIT_ASSERT_EQ(test, vm_munmap(vma->vm_start, PAGE_SIZE), 0);
	folio_lock(folio);
	KUNIT_EXPECT_NULL(test, folio_lock_lone(folio, false));
	KUNIT_EXPECT_NULL(test, folio_lock_lone(folio, true));
	KUNIT_EXPECT_NULL(test, folio_lock_anon_vma_read(folio, NULL));
	KUNIT_EXPECT_NULL(test, folio_get_anon_vma(folio));
	KUNIT_EXPECT_TRUE(test, rwsem_is_free(rwsem));
	folio_unlock(folio);
	folio_put(folio);
}

static struct anon_vma *pin_folio(struct kunit *test, struct folio *folio)
{
	struct anon_vma *pin;

	folio_lock(folio);
	pin = folio_get_anon_vma(folio);
	folio_unlock(folio);
	KUNIT_ASSERT_NOT_NULL(test, pin);
	KUNIT_EXPECT_PTR_EQ(test, lone_vma(pin), lone_vma(folio_anon_vma(folio)));
	/* A pin is not the lock. */
	KUNIT_EXPECT_TRUE(test, rwsem_is_free(lone_rwsem(pin)));
	return pin;
}

struct holder {
	struct work_struct work;
	struct rw_semaphore *rwsem;
	struct completion held;
	bool done;
};

static void hold_for_a_while(struct work_struct *work)
{
	struct holder *holder = container_of(work, struct holder, work);

	down_write(holder->rwsem);
	complete(&holder->held);
	msleep(100);
	WRITE_ONCE(holder->done, true);
	up_write(holder->rwsem);
}

static void start_holder(struct holder *holder)
{
	holder->done = false;
	reinit_completion(&holder->held);
	schedule_work(&holder->work);
	wait_for_completion(&holder->held);
}

/* Who may sleep waits for the bucket, and then has what it came for. */
static void lock_waits(struct kunit *test)
{
	struct vm_area_struct *vma = map_lone(test, 1);
	struct anon_vma *lone = vma->anon_vma, *anon_vma;
	struct folio *folio = touch(test, current->mm, vma->vm_start);
	struct holder holder = { .rwsem = lone_rwsem(lone) };

	INIT_WORK_ONSTACK(&holder.work, hold_for_a_while);
	init_completion(&holder.held);
	folio_lock(folio);

	start_holder(&holder);
	anon_vma = folio_get_anon_vma(folio);
	KUNIT_EXPECT_PTR_EQ(test, lone_vma(anon_vma), vma);
	flush_work(&holder.work);
	KUNIT_EXPECT_TRUE(test, rwsem_is_free(holder.rwsem));
	if (anon_vma)
		put_anon_vma(anon_vma);

	start_holder(&holder);
	anon_vma = folio_lock_anon_vma_read(folio, NULL);
	KUNIT_EXPECT_PTR_EQ(test, anon_vma, lone);
	flush_work(&holder.work);
	KUNIT_EXPECT_FALSE(test, down_write_trylock(holder.rwsem));
	if (anon_vma)
		anon_vma_unlock_read(anon_vma);

	start_holder(&holder);
	anon_vma = folio_lock_anon_vma_write(folio);
	KUNIT_EXPECT_PTR_EQ(test, anon_vma, lone);
	flush_work(&holder.work);
	KUNIT_EXPECT_FALSE(test, down_read_trylock(holder.rwsem));
	if (anon_vma)
		folio_unlock_anon_vma_write(anon_vma);

	folio_unlock(folio);
	folio_put(folio);
	destroy_work_on_stack(&holder.work);
}

/* Page tables are moved under the lock of what the VMA has, lone or upgraded. */
static void move_locks(struct kunit *test)
{
	struct vm_area_struct *vma = map_lone(test, 1), *copy;
	struct holder holder = { .rwsem = lone_rwsem(vma->anon_vma) };
	unsigned long to = vma->vm_start + SZ_512K;
	struct mm_struct *mm = current->mm;
	int i;

	INIT_WORK_ONSTACK(&holder.work, hold_for_a_while);
	init_completion(&holder.held);
	mmap_write_lock(mm);
	vma_start_write(vma);
	for (i = 0; i < 2; i++) {
		bool locks;

		copy = copy_pages(&vma, to, 0, 1, &locks);
		if (!copy)
			break;

		PAGETABLE_MOVE(pmc, vma, copy, vma->vm_start, to, PAGE_SIZE);
		pmc.need_rmap_locks = true;
		start_holder(&holder);
		KUNIT_EXPECT_EQ(test, move_page_tables(&pmc), PAGE_SIZE);
		KUNIT_EXPECT_TRUE(test, READ_ONCE(holder.done));
		flush_work(&holder.work);

		/* On to another place. */
		vma = copy;
		to += SZ_512K;
		if (anon_vma_upgrade(vma, ANON_VMA_FOR_OTHER))
			break;
		holder.rwsem = &vma->anon_vma->root->rwsem;
	}
	mmap_write_unlock(mm);
	KUNIT_EXPECT_EQ(test, i, 2);
	expect_sound(test, mm);
	destroy_work_on_stack(&holder.work);
}

/* What is found to restore a folio's mappings through, unlocked again. */
static struct anon_vma *found_by_pin(struct anon_vma *lone)
{
	struct anon_vma *anon_vma = lone_lock_pinned(lone);

	if (anon_vma)
		anon_vma_unlock_read(anon_vma);
	return anon_vma;
}

static void pin_lone(struct kunit *test)
{
	struct vm_area_struct *vma = map_lone(test, 1);
	struct anon_vma *lone = vma->anon_vma, *pin, *second;
	struct folio *folio = touch(test, current->mm, vma->vm_start);

	pin = pin_folio(test, folio);
	second = pin_folio(test, folio);
	KUNIT_EXPECT_PTR_EQ(test, found_by_pin(lone), lone);
	lone_unpin(second);
	KUNIT_ASSERT_EQ(test, vm_munmap(vma->vm_start, PAGE_SIZE), 0);
	/* The pin keeps the struct, which says that nothing is left. */
	KUNIT_EXPECT_PTR_EQ(test, READ_ONCE(vma->anon_vma), ANON_VMA_DEAD);
	KUNIT_EXPECT_NULL(test, found_by_pin(lone));
	put_anon_vma(pin);
	folio_put(folio);
}

static void pin_upgraded(struct kunit *test)
{
	struct vm_area_struct *vma = map_lone(test, 1);
	struct anon_vma *lone = vma->anon_vma, *pin;
	unsigned long addr = vma->vm_start;
	struct folio *folio = touch(test, current->mm, addr);
	struct anon_vma *anon_vma;
	struct mm_struct *child;

	pin = pin_folio(test, folio);
	child = fork_mm(test, current->mm);
	anon_vma = vma->anon_vma;
	KUNIT_ASSERT_FALSE(test, anon_vma_is_lone(anon_vma));
	KUNIT_EXPECT_PTR_EQ(test, found_by_pin(lone), anon_vma);
	KUNIT_EXPECT_EQ(test, atomic_read(&anon_vma->refcount), 1);
	/* The founder goes, and the child is to be found all the same. */
	KUNIT_ASSERT_EQ(test, vm_munmap(addr, PAGE_SIZE), 0);
	KUNIT_EXPECT_PTR_EQ(test, READ_ONCE(vma->anon_vma),
			    (void *)anon_vma + (ANON_VMA_UNLINKED | ANON_VMA_RETIRED));
	KUNIT_EXPECT_PTR_EQ(test, found_by_pin(lone), anon_vma);
	/* Then the child goes, and with it the anon_vma. */
	kunit_release_action(test, put_mm, child);
	KUNIT_EXPECT_PTR_EQ(test, READ_ONCE(vma->anon_vma), ANON_VMA_DEAD);
	KUNIT_EXPECT_NULL(test, found_by_pin(lone));
	lone_unpin(pin);
	folio_put(folio);
}

static void pin_group(struct kunit *test)
{
	unsigned long addr = map_group(test, 2);
	struct anon_vma *lone = vma_at(current->mm, addr)->anon_vma, *pin;
	struct vm_area_struct *founder = lone_vma(lone);
	unsigned long gone = founder->vm_start;
	struct folio *folio;

	folio = touch(test, current->mm, gone == addr ? addr + PAGE_SIZE : addr);
	pin = pin_folio(test, folio);
	KUNIT_ASSERT_EQ(test, vm_munmap(gone, PAGE_SIZE), 0);
	KUNIT_EXPECT_PTR_EQ(test, found_by_pin(lone), lone);
	KUNIT_ASSERT_EQ(test, vm_munmap(addr, 2 * PAGE_SIZE), 0);
	KUNIT_EXPECT_PTR_EQ(test, READ_ONCE(founder->anon_vma), ANON_VMA_DEAD);
	KUNIT_EXPECT_NULL(test, found_by_pin(lone));
	lone_unpin(pin);
	folio_put(folio);
}

/* --- who frees a founder --------------------------------------------------- */

/* When the struct of the founder was left by vm_area_free(). */
enum left {
	LEFT_FIRST,	/* while its group or anon_vma is still there */
	LEFT_LAST,	/* after that was gone */
};

struct lifetime {
	const char *desc;
	bool group;		/* it has a group, of one more */
	bool upgrade_linked;	/* while it is linked */
	bool upgrade_unlinked;	/* after it was unlinked: it has a group */
	bool upgrade_retired;	/* after it was left: it has a group */
	enum left left;
	bool pinned;
};

static const struct lifetime lifetimes[] = {
	{ .desc = "lone", .left = LEFT_LAST },
	{ .desc = "lone, pinned", .left = LEFT_LAST, .pinned = true },
	{ .desc = "group, VMA first", .group = true, .left = LEFT_FIRST },
	{ .desc = "group, VMA first, pinned", .group = true, .left = LEFT_FIRST,
	  .pinned = true },
	{ .desc = "group, VMA last", .group = true, .left = LEFT_LAST },
	{ .desc = "group, VMA last, pinned", .group = true, .left = LEFT_LAST,
	  .pinned = true },
	{ .desc = "anon_vma, VMA first", .upgrade_linked = true, .left = LEFT_FIRST },
	{ .desc = "anon_vma, VMA first, pinned", .upgrade_linked = true,
	  .left = LEFT_FIRST, .pinned = true },
	{ .desc = "anon_vma, VMA last", .upgrade_linked = true, .left = LEFT_LAST },
	{ .desc = "anon_vma, VMA last, pinned", .upgrade_linked = true,
	  .left = LEFT_LAST, .pinned = true },
	{ .desc = "upgraded group, VMA first", .group = true, .upgrade_linked = true,
	  .left = LEFT_FIRST },
	{ .desc = "upgraded group, VMA last, pinned", .group = true,
	  .upgrade_linked = true, .left = LEFT_LAST, .pinned = true },
	{ .desc = "group upgraded once unlinked, VMA first", .group = true,
	  .upgrade_unlinked = true, .left = LEFT_FIRST },
	{ .desc = "group upgraded once unlinked, VMA last", .group = true,
	  .upgrade_unlinked = true, .left = LEFT_LAST },
	{ .desc = "group upgraded once retired", .group = true,
	  .upgrade_retired = true, .left = LEFT_FIRST },
	{ .desc = "group upgraded once retired, pinned", .group = true,
	  .upgrade_retired = true, .left = LEFT_FIRST, .pinned = true },
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

/* A VMA that is in no tree, of a cache in which nobody else has one. */
static struct vm_area_struct *new_vma(struct kunit *test, struct kmem_cache *cache,
				      unsigned long addr)
{
	struct vm_area_struct *vma = kmem_cache_alloc(cache, GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, vma);
	vma_init(vma, current->mm);
	vm_flags_init(vma, VM_READ | VM_WRITE | VM_MAYREAD | VM_MAYWRITE);
	vma->vm_start = addr;
	vma->vm_end = addr + PAGE_SIZE;
	vma->vm_pgoff = addr >> PAGE_SHIFT;
	__vma_set_anon_pgoff(vma, addr >> PAGE_SHIFT);
	return vma;
}

static void unlink_vma(struct vm_area_struct *vma)
{
	mmap_write_lock(vma->vm_mm);
	unlink_anon_vmas(vma);
	mmap_write_unlock(vma->vm_mm);
}

/* As vm_area_free() does: is the struct left to others? */
static bool free_vma(struct kmem_cache *cache, struct vm_area_struct *vma)
{
	if (vma_defer_free(vma))
		return true;
	kmem_cache_free(cache, vma);
	return false;
}

KUNIT_DEFINE_ACTION_WRAPPER(destroy_cache, kmem_cache_destroy, struct kmem_cache *);

static void founder_lifetime(struct kunit *test)
{
	const struct lifetime *p = test->param_value;
	const bool upgraded = p->upgrade_linked || p->upgrade_unlinked || p->upgrade_retired;
	struct anon_vma *lone, *anon_vma = NULL, *pin = NULL, *was;
	struct vm_area_struct *vma, *other = NULL;
	const unsigned long addr = PAGE_SIZE * 16;
	struct kmem_cache *cache;
	struct folio *folio;
	int i;

	KUNIT_ASSERT_EQ(test, kunit_attach_mm(), 0);
	cache = kmem_cache_create("anon_vma_lazy_kunit", sizeof(*vma), 0,
				  SLAB_HWCACHE_ALIGN | SLAB_NO_MERGE, NULL);
	KUNIT_ASSERT_NOT_NULL(test, cache);
	KUNIT_ASSERT_EQ(test, kunit_add_action_or_reset(test, destroy_cache, cache), 0);

	/* Lone, with a page, and a group. */
	vma = new_vma(test, cache, addr);
	lone = vma_lone_anon_vma(vma);
	vma->anon_vma = lone;
	folio = folio_alloc(GFP_KERNEL, 0);
	KUNIT_ASSERT_NOT_NULL(test, folio);
	folio_add_new_anon_rmap(folio, vma, addr, RMAP_EXCLUSIVE);
	if (p->group) {
		other = new_vma(test, cache, addr + PAGE_SIZE);
		mmap_write_lock(current->mm);
		KUNIT_EXPECT_TRUE(test, lone_join(other, lone));
		mmap_write_unlock(current->mm);
	}
	if (p->pinned)
		pin = pin_folio(test, folio);
	KUNIT_EXPECT_EQ(test, nr_structs(cache), 1 + p->group);

	if (p->upgrade_linked) {
		KUNIT_ASSERT_EQ(test, upgrade(vma), 0);
		anon_vma = vma->anon_vma;
		/* A relative of another mm, say, if there is none here. */
		if (p->left == LEFT_FIRST && !other)
			get_anon_vma(anon_vma);
	}
	folio_lock(folio);
	folio_remove_rmap_pte(folio, &folio->page, vma);
	folio_unlock(folio);
	folio_put(folio);

	/* The VMA is unlinked. */
	unlink_vma(vma);
	if (!other && !(anon_vma && p->left == LEFT_FIRST))
		was = pin ? ANON_VMA_DEAD : NULL;
	else
		was = anon_vma_unlinked(anon_vma ? anon_vma : lone);
	KUNIT_EXPECT_PTR_EQ(test, vma->anon_vma, was);
	if (p->upgrade_unlinked) {
		KUNIT_EXPECT_EQ(test, upgrade(other), 0);
		anon_vma = other->anon_vma;
		KUNIT_EXPECT_PTR_EQ(test, vma->anon_vma, anon_vma_unlinked(anon_vma));
	}

	/* And left, if the rest is to go after it. */
	if (p->left == LEFT_FIRST) {
		KUNIT_EXPECT_TRUE(test, free_vma(cache, vma));
		if (p->upgrade_retired) {
			KUNIT_EXPECT_EQ(test, upgrade(other), 0);
			anon_vma = other->anon_vma;
		}
		KUNIT_EXPECT_PTR_EQ(test, vma->anon_vma,
				    (void *)anon_vma_unlinked(anon_vma ? anon_vma : lone) +
				    ANON_VMA_RETIRED);
		KUNIT_EXPECT_PTR_EQ(test, anon_vma_resolve(lone), anon_vma ? anon_vma : lone);
		KUNIT_EXPECT_EQ(test, nr_structs(cache), 1 + p->group);
	}

	/* The rest goes: its group, or its anon_vma. */
	if (other) {
		unlink_vma(other);
		KUNIT_EXPECT_NULL(test, other->anon_vma);
		KUNIT_EXPECT_FALSE(test, free_vma(cache, other));
	} else if (upgraded && p->left == LEFT_FIRST) {
		put_anon_vma(anon_vma);
	}

	if (p->left == LEFT_LAST) {
		KUNIT_EXPECT_PTR_EQ(test, vma->anon_vma, pin ? ANON_VMA_DEAD : NULL);
		KUNIT_EXPECT_EQ(test, nr_structs(cache), 1);
		KUNIT_EXPECT_EQ(test, free_vma(cache, vma), p->pinned);
	}

	/* Now nobody has the struct, but who has pinned it. */
	if (pin) {
		msleep(200);
		KUNIT_EXPECT_EQ(test, nr_structs(cache), 1);
		lone_unpin(pin);
		for (i = 0; i < 1000 && nr_structs(cache); i++)
			msleep(20);
	}
	KUNIT_EXPECT_EQ(test, nr_structs(cache), 0);
}

/* --- out of memory ----------------------------------------------------------- */

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
 * Upgrade @vma with the @nth allocation of an anon_vma or a chain entry failing,
 * also if it may wait. @left is how many more it would have taken to fail one.
 */
static int upgrade_failing(struct kunit *test, struct vm_area_struct *vma,
			   struct vm_area_struct *upgraded, unsigned int nth,
			   unsigned int *left)
{
	struct kmem_cache *caches[] = {
		virt_to_slab(upgraded->anon_vma)->slab_cache,
		virt_to_slab(list_first_entry(&upgraded->anon_vma_chain,
					      struct anon_vma_chain, same_vma))->slab_cache,
	};
	bool *only_flagged = failslab_option(test, "cache-filter");
	bool *not_waiting = failslab_option(test, "ignore-gfp-wait");
	const bool were[] = { *only_flagged, *not_waiting };
	int i, err;

	mmap_write_lock(vma->vm_mm);
	for (i = 0; i < ARRAY_SIZE(caches); i++)
		caches[i]->flags |= SLAB_FAILSLAB;
	*only_flagged = true;
	*not_waiting = false;
	current->fail_nth = nth;
	err = anon_vma_upgrade(vma, ANON_VMA_FOR_OTHER);
	*left = current->fail_nth;
	current->fail_nth = 0;
	*only_flagged = were[0];
	*not_waiting = were[1];
	for (i = 0; i < ARRAY_SIZE(caches); i++)
		caches[i]->flags &= ~SLAB_FAILSLAB;
	mmap_write_unlock(vma->vm_mm);
	return err;
}

/*
 * Fail the first allocation of an upgrade, then the second, and so on, until none
 * is left: there must be @nr. Each time the VMAs that @make has made anew, @nr_vmas
 * from the address on, must be as they were, and be upgraded after that.
 */
static void fail_upgrades(struct kunit *test,
			  struct mm_struct *(*make)(struct kunit *test, unsigned long *addr),
			  unsigned int nr_vmas, unsigned int nr)
{
	struct vm_area_struct *upgraded = map_lone(test, 1);
	unsigned int nth = 1, tries, i, left = 0;
	int err = 0;

	KUNIT_ASSERT_EQ(test, upgrade(upgraded), 0);
	for (tries = 0; tries < 50; tries++) {
		unsigned long addr;
		struct mm_struct *mm = make(test, &addr);
		struct anon_vma *lone = vma_at(mm, addr)->anon_vma, *anon_vma;
		struct folio *folio = touch(test, mm, addr);
		size_t size = group_size(lone);

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
		KUNIT_EXPECT_EQ(test, group_size(lone), size);
		for (i = 0; i < nr_vmas; i++)
			KUNIT_EXPECT_PTR_EQ(test, vma_at(mm, addr + i * PAGE_SIZE)->anon_vma, lone);
		KUNIT_EXPECT_TRUE(test, rwsem_is_free(lone_rwsem(lone)));
		folio_lock(folio);
		anon_vma = folio_lock_anon_vma_read(folio, NULL);
		KUNIT_EXPECT_PTR_EQ(test, anon_vma, lone);
		if (anon_vma)
			anon_vma_unlock_read(anon_vma);
		folio_unlock(folio);
		folio_put(folio);
		expect_sound(test, mm);

		KUNIT_EXPECT_EQ(test, upgrade(vma_at(mm, addr)), 0);
		anon_vma = vma_at(mm, addr)->anon_vma;
		KUNIT_ASSERT_FALSE(test, anon_vma_is_lone(anon_vma));
		KUNIT_EXPECT_EQ(test, anon_vma->num_active_vmas, nr_vmas);
		for (i = 0; i < nr_vmas; i++)
			KUNIT_EXPECT_PTR_EQ(test, vma_at(mm, addr + i * PAGE_SIZE)->anon_vma,
					    anon_vma);
		expect_sound(test, mm);
	}
	KUNIT_EXPECT_EQ(test, err, 0);
	KUNIT_EXPECT_EQ(test, left, 1);
	KUNIT_EXPECT_EQ(test, nth - 1, nr);
}
#else
static void fail_upgrades(struct kunit *test,
			  struct mm_struct *(*make)(struct kunit *test, unsigned long *addr),
			  unsigned int nr_vmas, unsigned int nr)
{
	kunit_skip(test, "needs CONFIG_FAILSLAB");
}
#endif

static struct mm_struct *make_lone(struct kunit *test, unsigned long *addr)
{
	*addr = map_lone(test, 1)->vm_start;
	return current->mm;
}

static struct mm_struct *make_group(struct kunit *test, unsigned long *addr)
{
	*addr = map_group(test, 4);
	return current->mm;
}

static struct mm_struct *make_child(struct kunit *test, unsigned long *addr)
{
	struct mm_struct *child;

	*addr = map_lone(test, 1)->vm_start;
	child = fork_mm(test, current->mm);
	/* A page of its own. */
	folio_put(touch(test, child, *addr));
	return child;
}

static void enomem_lone(struct kunit *test)
{
	/* The anon_vma, and a chain entry. */
	fail_upgrades(test, make_lone, 1, 2);
}

static void enomem_group(struct kunit *test)
{
	/* The anon_vma, and a chain entry for each. */
	fail_upgrades(test, make_group, 4, 5);
}

static void enomem_child(struct kunit *test)
{
	/* The anon_vma, and a chain entry. */
	fail_upgrades(test, make_child, 1, 2);
}

/* --- the checker --------------------------------------------------------------- */

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

static void needs_checker(struct kunit *test)
{
	if (!IS_ENABLED(CONFIG_DEBUG_ANON_VMA_LAZY))
		kunit_skip(test, "needs CONFIG_DEBUG_ANON_VMA_LAZY");
}

static void checker_vma(struct kunit *test)
{
	struct vm_area_struct *vma, *unfaulted;
	struct mm_struct *mm;
	LIST_HEAD(other);

	needs_checker(test);
	vma = map_lone(test, 1);
	unfaulted = vma_at(current->mm, map_area(test, 1));
	mm = current->mm;
	expect_sound(test, mm);

	list_add(&other, &unfaulted->anon_vma_chain);
	expect_unsound(test, mm, "an unfaulted VMA is linked");
	list_del(&other);

	expect_unsound_if(test, mm, &vma->anon_vma, ANON_VMA_DEAD, "a VMA is marked as unlinked");
	expect_unsound_if(test, mm, &vma->anon_vma, anon_vma_unlinked(vma->anon_vma),
			  "a VMA is marked as unlinked");
#ifdef CONFIG_MMU_NOTIFIER
	expect_unsound_if(test, mm, &mm->notifier_subscriptions, vma, "a VMA must not be lone");
#endif
#ifdef CONFIG_HUGETLB_PAGE
	mmap_write_lock(mm);
	vm_flags_set(vma, VM_HUGETLB);
	mmap_write_unlock(mm);
	expect_unsound(test, mm, "a VMA must not be lone");
	mmap_write_lock(mm);
	vm_flags_clear(vma, VM_HUGETLB);
	mmap_write_unlock(mm);
#endif
	expect_sound(test, mm);
}

static void checker_group(struct kunit *test)
{
	struct vm_area_struct *founder, *first = NULL, *last = NULL, *more[LONE_GROUP_MAX];
	struct anon_vma *lone;
	struct mm_struct *mm;
	unsigned long addr;
	int i;

	needs_checker(test);
	addr = map_group(test, 3);
	mm = current->mm;
	lone = vma_at(mm, addr)->anon_vma;
	founder = lone_vma(lone);
	KUNIT_ASSERT_EQ(test, vm_munmap(founder->vm_start, PAGE_SIZE), 0);
	for (i = 0; i < 3; i++) {
		struct vm_area_struct *vma = vma_at(mm, addr + i * PAGE_SIZE);

		if (vma && !first)
			first = vma;
		if (vma)
			last = vma;
	}
	expect_sound(test, mm);

	expect_unsound_if(test, mm, &founder->anon_vma, ANON_VMA_DEAD,
			  "the founder of a group does not have its name");
	expect_unsound_if(test, mm, &founder->vm_mm, NULL,
			  "the founder of a group is of another mm");
	expect_unsound_if(test, mm, &last->anon_vma, vma_lone_anon_vma(last),
			  "a group has a VMA of another name or mm");
	list_del(&first->anon_vma_chain);
	expect_unsound(test, mm, "a VMA is not linked in its group");
	list_add(&first->anon_vma_chain, &founder->anon_vma_chain);
	expect_sound(test, mm);

	for (i = 0; i < ARRAY_SIZE(more); i++) {
		more[i] = vm_area_alloc(mm);
		KUNIT_ASSERT_NOT_NULL(test, more[i]);
		more[i]->anon_vma = lone;
		list_add_tail(&more[i]->anon_vma_chain, &founder->anon_vma_chain);
	}
	expect_unsound(test, mm, "a group is too large");
	while (i--) {
		list_del(&more[i]->anon_vma_chain);
		more[i]->anon_vma = NULL;
		vm_area_free(more[i]);
	}
	expect_sound(test, mm);
}

static void checker_chain(struct kunit *test)
{
	struct vm_area_struct *vma, *stranger, *child_vma;
	struct anon_vma_chain *avc;
	struct mm_struct *mm, *child;
	struct anon_vma *anon_vma;
	LIST_HEAD(chain);

	needs_checker(test);
	vma = map_lone(test, 1);
	stranger = map_lone(test, 1);
	mm = current->mm;
	child = fork_mm(test, mm);
	child_vma = vma_at(child, vma->vm_start);
	expect_sound(test, child);

	expect_unsound_if(test, child, &child_vma->anon_vma,
			  (void *)vma_lone_anon_vma(vma) + ANON_VMA_CHILD,
			  "a forked child has the name of another VMA");
	list_splice_init(&child_vma->anon_vma_chain, &chain);
	expect_unsound(test, child, "a VMA has ancestors or an anon_vma, and no chain");
	list_splice(&chain, &child_vma->anon_vma_chain);
	expect_sound(test, child);
	avc = list_first_entry(&child_vma->anon_vma_chain, struct anon_vma_chain, same_vma);
	expect_unsound_if(test, child, &avc->vma, vma, "the chain of a VMA is of another VMA");
	expect_unsound_if(test, child, &vma->anon_vma, stranger->anon_vma,
			  "a founder does not lead to its anon_vma");
	expect_unsound_if(test, mm, &vma->anon_vma, stranger->anon_vma,
			  "a founder does not lead to its anon_vma");

	KUNIT_ASSERT_EQ(test, upgrade(child_vma), 0);
	expect_sound(test, child);
	expect_unsound_if(test, child, &child_vma->anon_vma->root, stranger->anon_vma,
			  "the chain of a VMA has two roots");
	expect_unsound_if(test, child, &child_vma->anon_vma->founder, stranger,
			  "a founder does not lead to its anon_vma");

	/* A VMA that is no founder has to be found in its anon_vma, too. */
	anon_vma = vma->anon_vma;
	anon_vma->founder = NULL;
	vma->anon_vma = stranger->anon_vma;
	expect_unsound(test, mm, "a VMA is not linked to its anon_vma");
	vma->anon_vma = anon_vma;
	anon_vma->founder = vma;
	expect_sound(test, mm);
}

static void checker_folio(struct kunit *test)
{
	struct vm_area_struct *vma, *stranger;
	struct anon_vma_chain *avc;
	struct anon_vma *anon_vma;
	struct mm_struct *mm;
	struct folio *folio;

	needs_checker(test);
	vma = map_lone(test, 2);
	stranger = map_lone(test, 1);
	mm = current->mm;
	folio = touch(test, mm, vma->vm_start + PAGE_SIZE);
	expect_sound(test, mm);

	/* While it is lone, */
	expect_unsound_if(test, mm, &folio->mapping,
			  (void *)vma->anon_vma + FOLIO_MAPPING_KSM,
			  "a group maps a KSM folio");
	expect_unsound_if(test, mm, &folio->mapping,
			  (void *)stranger->anon_vma + FOLIO_MAPPING_ANON,
			  "a folio does not name what the VMA is linked to");
	expect_unsound_if(test, mm, &folio->index, (void *)(folio->index - 1),
			  "a walk of a folio does not find its mapping");
	atomic_set(&folio->_mapcount, -1);
	expect_unsound(test, mm, "a folio is mapped, but what it names is gone");
	atomic_set(&folio->_mapcount, 0);
	expect_sound(test, mm);

	/* and upgraded. */
	KUNIT_ASSERT_EQ(test, upgrade(vma), 0);
	expect_sound(test, mm);
	anon_vma = vma->anon_vma;
	expect_unsound_if(test, mm, &folio->mapping,
			  (void *)stranger->anon_vma + FOLIO_MAPPING_ANON,
			  "a folio does not name what the VMA is linked to");
	expect_unsound_if(test, mm, &folio->index, (void *)(folio->index - 1),
			  "a walk of a folio does not find its mapping");
	atomic_set(&folio->_mapcount, -1);
	expect_unsound(test, mm, "a folio is mapped, but what it names is gone");
	atomic_set(&folio->_mapcount, 0);
	expect_sound(test, mm);
	avc = list_first_entry(&vma->anon_vma_chain, struct anon_vma_chain, same_vma);
	anon_vma_lock_write(anon_vma);
	anon_rmap_tree_remove(avc, anon_vma);
	anon_vma_unlock_write(anon_vma);
	expect_unsound(test, mm, "a walk of a folio does not find its mapping");
	anon_vma_lock_write(anon_vma);
	anon_rmap_tree_insert(avc, anon_vma);
	anon_vma_unlock_write(anon_vma);
	expect_sound(test, mm);
	folio_put(folio);
}

static struct kunit_case anon_vma_lazy_test_cases[] = {
	KUNIT_CASE(names_of_vmas),
	KUNIT_CASE(names_of_anon_vmas),
	KUNIT_CASE(names_fit_structs),
	KUNIT_CASE(state_lone),
	KUNIT_CASE(state_group),
	KUNIT_CASE(state_group_retired),
	KUNIT_CASE(state_upgraded),
	KUNIT_CASE(state_retired),
	KUNIT_CASE(join_group),
	KUNIT_CASE(join_full),
	KUNIT_CASE(join_child),
	KUNIT_CASE(join_upgraded),
	KUNIT_CASE(copy_to_group),
	KUNIT_CASE(unlink_upgraded),
	KUNIT_CASE(family),
	KUNIT_CASE(folio_lock_states),
	KUNIT_CASE(lock_waits),
	KUNIT_CASE(move_locks),
	KUNIT_CASE(pin_lone),
	KUNIT_CASE(pin_upgraded),
	KUNIT_CASE(pin_group),
	KUNIT_CASE_PARAM(founder_lifetime, lifetime_gen_params),
	KUNIT_CASE(enomem_lone),
	KUNIT_CASE(enomem_group),
	KUNIT_CASE(enomem_child),
	KUNIT_CASE(checker_vma),
	KUNIT_CASE(checker_group),
	KUNIT_CASE(checker_chain),
	KUNIT_CASE(checker_folio),
	{}
};

static struct kunit_suite anon_vma_lazy_test_suite = {
	.name = "anon_vma_lazy",
	.test_cases = anon_vma_lazy_test_cases,
};

kunit_test_suite(anon_vma_lazy_test_suite);
