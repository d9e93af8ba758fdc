// SPDX-License-Identifier: GPL-2.0
/*
 * Lazy VMAs: check the invariants of an mm on request, and count the structs
 * that outlive their VMA.
 *
 * In debugfs, in the directory anon_vma_lazy:
 *
 *   verify	write a process's id to check its mm; -EUCLEAN, and a warning that
 *		says what is wrong and where, if it does not hold
 *   deferred	how many structs of freed VMAs there are: of heads that folios may
 *		still name, and of VMAs that may be held. It comes back to zero,
 *		but not at once, as they wait for a grace period
 *
 * Documentation/mm/anon_vma_lazy.rst has the invariants.
 */

#include <linux/debugfs.h>
#include <linux/init.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/pagewalk.h>
#include <linux/pid.h>
#include <linux/rmap.h>
#include <linux/sched/mm.h>
#include <linux/sched/task.h>

#include "internal.h"

atomic_t lazy_nr_deferred = ATOMIC_INIT(0);

/* @folio is locked and, at @addr in @vma, mapped. */
static const char *verify_folio(struct vm_area_struct *vma, unsigned long addr,
				const struct folio *folio, pgoff_t pgoff)
{
	struct anon_vma_chain *avc;
	struct vm_area_struct *other = NULL;
	struct anon_vma *anon_vma;
	bool found = false;

	if (folio_test_ksm(folio))
		return anon_vma_is_group(vma->anon_vma) ? "a group maps a KSM folio" : NULL;

	/* I1. */
	if (!vma_anon_related(vma, folio_anon_vma(folio)))
		return "a folio does not name what the VMA is linked to";

	/* I2. */
	if (folio_anon_vma(folio) == vma->anon_vma && anon_vma_is_lazy(vma->anon_vma) &&
	    !anon_vma_is_group(vma->anon_vma) && (vma->anon_vma_listed & ANON_VMA_UNNAMED))
		return "a folio names an unnamed child";

	if (folio_is_zone_device(folio) && anon_vma_is_lazy(folio_anon_vma(folio)))
		return "device memory names a lazy VMA, or a head";

	anon_vma = folio_lock_anon_vma_read(folio, NULL);
	if (!anon_vma)
		return "a folio is mapped, but what it names is gone";
	while ((other = anon_vma_next_vma(anon_vma, other, &avc, pgoff, pgoff)))
		found |= other == vma;
	anon_vma_unlock_read(anon_vma);
	return found && vma_anon_address(vma, pgoff, 1) == addr ?
		NULL : "a walk of a folio does not find its mapping";
}

/* Find the anonymous folio at @addr, and take a reference. */
static struct folio *get_anon_folio(struct vm_area_struct *vma, unsigned long addr,
				    pgoff_t *pgoff)
{
	struct folio_walk fw;
	struct folio *folio;

	folio = folio_walk_start(&fw, vma, addr, 0);
	if (!folio)
		return NULL;
	if (folio_test_anon(folio)) {
		folio_get(folio);
		*pgoff = page_pgoff(folio, fw.page);
	} else {
		folio = NULL;
	}
	folio_walk_end(&fw, vma);
	return folio;
}

static const char *verify_address(struct vm_area_struct *vma, unsigned long addr)
{
	struct folio *folio, *now;
	const char *why;
	pgoff_t pgoff;

	do {
		folio = get_anon_folio(vma, addr, &pgoff);
		if (!folio)
			return NULL;
		/*
		 * Until we have the lock it may be swapped out, migrated or
		 * split. Then it is not.
		 */
		folio_lock(folio);
		now = get_anon_folio(vma, addr, &pgoff);
		why = now == folio ? verify_folio(vma, addr, folio, pgoff) : NULL;
		if (why) {
			/* A file is truncated with none of our locks: is it still there? */
			folio_put(now);
			now = get_anon_folio(vma, addr, &pgoff);
			if (now != folio)
				why = NULL;
		}
		if (now)
			folio_put(now);
		folio_unlock(folio);
		folio_put(folio);
	} while (now && now != folio);

	return why;
}

/* What is wrong, and where. */
struct verdict {
	const char *why;
	unsigned long addr;
};

static int verify_pmd(pmd_t *pmd, unsigned long addr, unsigned long end,
		      struct mm_walk *walk)
{
	/* A folio that is mapped as a whole is one to all its pages. */
	const unsigned long step = pmd_trans_huge(pmdp_get_lockless(pmd)) ?
		PMD_SIZE : PAGE_SIZE;
	struct verdict *verdict = walk->private;

	cond_resched();
	for (; addr < end; addr += step) {
		verdict->why = verify_address(walk->vma, addr);
		if (verdict->why) {
			verdict->addr = addr;
			return -EUCLEAN;
		}
	}
	walk->action = ACTION_CONTINUE;
	return 0;
}

static const struct mm_walk_ops verify_ops = {
	.pmd_entry	= verify_pmd,
	.walk_lock	= PGWALK_WRLOCK_VERIFY,
};

static const char *verify_group(const struct vm_area_struct *vma)
{
	const struct vm_area_struct *head = lazy_vma(vma->anon_vma);
	const struct vm_area_struct *other;
	bool linked = vma == head;
	int nr = 1;

	/* I4: the struct of the head is there as @vma is. */
	if (anon_vma_resolve(vma->anon_vma) != vma->anon_vma)
		return "the head of a group is not lazy";
	if (head->vm_mm != vma->vm_mm)
		return "the head of a group is of another mm";
	list_for_each_entry(other, &head->anon_vma_chain, anon_vma_chain) {
		if (other->anon_vma != vma->anon_vma || other->vm_mm != vma->vm_mm)
			return "a group has a VMA of another head or mm";
		linked |= other == vma;
		nr++;
	}
	if (!linked)
		return "a VMA is not linked in its group";
	return nr > LAZY_GROUP_MAX ? "a group is too large" : NULL;
}

static const char *verify_listed(const struct vm_area_struct *vma,
				 struct anon_vma *anon_vma)
{
	const struct vm_area_struct *head = anon_vma_list(anon_vma), *other;
	bool linked = vma == head;
	int nr = linked;

	if (!head)
		return "a VMA is on the list of an anon_vma that has none";
	/* I1: what names the head is to be found through the anon_vma. */
	if (anon_vma_resolve((void *)head + ANON_VMA_LAZY) != anon_vma)
		return "a head does not lead to its anon_vma";
	/* Relatives come and go. */
	down_read(&anon_vma->rwsem);
	list_for_each_entry(other, &head->anon_vma_chain, anon_vma_chain) {
		linked |= other == vma;
		nr += other->vm_mm == vma->vm_mm;
	}
	up_read(&anon_vma->rwsem);
	if (!linked)
		return "a VMA is not on the list of its anon_vma";
	return nr > LAZY_GROUP_MAX ? "a list has too many VMAs of one mm" : NULL;
}

static const char *verify_chain(const struct vm_area_struct *vma)
{
	const struct anon_vma_chain *avc;
	const struct vm_area_struct *head;
	struct anon_vma *root = NULL;
	bool linked = false;

	if (list_empty(&vma->anon_vma_chain))
		return "a VMA has an anon_vma, and is not linked to it";
	list_for_each_entry(avc, &vma->anon_vma_chain, same_vma) {
		linked |= avc->anon_vma == vma->anon_vma;
		if (avc->vma != vma)
			return "the chain of a VMA is of another VMA";
		if (root && avc->anon_vma->root != root)
			return "the chain of a VMA has two roots";
		root = avc->anon_vma->root;
		/* I1: what names the head is to be found through the anon_vma. */
		head = avc->anon_vma->head;
		if (head && anon_vma_resolve((void *)head + ANON_VMA_LAZY) != avc->anon_vma)
			return "a head does not lead to its anon_vma";
	}
	return linked ? NULL : "a VMA is not linked to its anon_vma";
}

static const char *verify_vma(const struct vm_area_struct *vma)
{
	const struct anon_vma *own = vma->anon_vma;
	struct anon_vma *listed = vma_listed_anon_vma(vma, own);

	if (!own)
		return list_empty(&vma->anon_vma_chain) ? NULL :
			"an unfaulted VMA is linked";
	if (anon_vma_is_unlinked(own))
		return "a VMA is marked as unlinked";
	if (anon_vma_is_lazy(own) &&
	    ((vma->vm_flags & VM_HUGETLB) || mm_has_notifiers(vma->vm_mm)))
		return "a VMA must not be lazy";
	if (anon_vma_is_group(own))
		return listed ? "a VMA is in a group and on a list" : verify_group(vma);
	if (anon_vma_is_lazy(own) && lazy_vma(own) != vma)
		return "a forked child has a head that is not itself";
	if (anon_vma_is_lazy(own) && !listed)
		return "a forked child is not on the list of its parent's anon_vma";
	return listed ? verify_listed(vma, listed) : verify_chain(vma);
}

/**
 * anon_vma_lazy_verify() - check the invariants of lazy VMAs in an mm
 * @mm: the mm
 * @addr: where to put the address, of a VMA or a page, at which one is violated
 *
 * The mmap write lock, not the read lock: a VMA that is being unmapped under that
 * one may still be in a group, and KSM upgrade a group. And each VMA is
 * write-locked, for faults not to make it lazy or to change what it maps. What
 * is left are walks: they need the folio lock to change what is mapped, which is
 * taken for each folio; who truncates a file, and unmaps its private copies with
 * the lock of its mappings alone; and relatives in other mms, which come and go in
 * an anon_vma's tree with its lock held, as the walk for each folio has it.
 *
 * Context: May sleep. Takes the mmap lock, VMA locks, and what a walk takes.
 * Return: NULL, or what is wrong.
 */
const char *anon_vma_lazy_verify(struct mm_struct *mm, unsigned long *addr)
{
	VMA_ITERATOR(vmi, mm, 0);
	struct vm_area_struct *vma;
	struct verdict verdict = {};

	mmap_write_lock(mm);
	for_each_vma(vmi, vma) {
		vma_start_write(vma);
		verdict.addr = vma->vm_start;
		verdict.why = verify_vma(vma);
		if (!verdict.why)
			walk_page_range_vma(vma, vma->vm_start, vma->vm_end,
					    &verify_ops, &verdict);
		if (verdict.why)
			break;
	}
	mmap_write_unlock(mm);

	*addr = verdict.addr;
	return verdict.why;
}

static ssize_t verify_write(struct file *file, const char __user *buf,
			    size_t count, loff_t *ppos)
{
	struct task_struct *task;
	struct mm_struct *mm;
	unsigned long addr;
	const char *why;
	pid_t pid;
	int err;

	err = kstrtoint_from_user(buf, count, 10, &pid);
	if (err)
		return err;
	task = find_get_task_by_vpid(pid);
	if (!task)
		return -ESRCH;
	mm = get_task_mm(task);
	put_task_struct(task);
	/* A kernel thread, or a process that has exited. */
	if (!mm)
		return count;

	why = anon_vma_lazy_verify(mm, &addr);
	mmput(mm);
	if (WARN(why, "anon_vma_lazy: process %d at %#lx: %s\n", pid, addr, why))
		return -EUCLEAN;
	return count;
}

static const struct file_operations verify_fops = {
	.owner	= THIS_MODULE,
	.write	= verify_write,
	.llseek	= noop_llseek,
};

static int __init anon_vma_lazy_debug_init(void)
{
	struct dentry *dir = debugfs_create_dir("anon_vma_lazy", NULL);
	struct mm_struct *mm = mm_alloc();

	/* Tell lockdep that reclaim takes these: nothing is allocated with one held. */
	if (mm) {
		fs_reclaim_acquire(GFP_KERNEL);
		might_lock(&mm->anon_vma_rwsem[0]);
		fs_reclaim_release(GFP_KERNEL);
		mmput(mm);
	}

	debugfs_create_file("verify", 0200, dir, NULL, &verify_fops);
	debugfs_create_atomic_t("deferred", 0444, dir, &lazy_nr_deferred);
	return 0;
}
late_initcall(anon_vma_lazy_debug_init);
