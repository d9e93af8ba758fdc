// SPDX-License-Identifier: GPL-2.0
/*
 * A module for the guest: /proc/anon_vma_census, which walks all mms and says how
 * their VMAs are linked to anon_vmas.
 *
 *	mms vmas	how many
 *	unfaulted	VMAs without an anon_vma
 *	lone		lazy, of no group, without ancestors
 *	group		lazy, of a group of several
 *	child		lazy, on the list of the anon_vma of its parent
 *	unnamed		of these, those that no folio has named yet
 *	listed		with an anon_vma, on the list of that
 *	own_0 _1 _2 _3	with an anon_vma, and so many entries in their chain
 *	chain_own	entries of VMAs for the anon_vma that is theirs
 *	chain_ancestor	entries of VMAs with an anon_vma for those of ancestors
 *
 * It takes the mmap lock only: the processes are to stand still.
 */
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/proc_fs.h>
#include <linux/rmap.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/seq_file.h>

/* mm/internal.h is not for modules. */
#define CHILD 0x10UL	/* in ->anon_vma */
#define LISTED 0x1UL	/* in ->anon_vma_listed */
#define UNNAMED 0x2UL

static const char * const names[] = {
	"mms", "vmas", "unfaulted", "lone", "group", "child", "unnamed", "listed",
	"own_0", "own_1", "own_2", "own_3", "chain_own", "chain_ancestor",
};
enum {
	MMS, VMAS, UNFAULTED, LONE, GROUP, CHILDREN, UNNAMED_CHILDREN, ON_LIST,
	OWN_0, OWN_1, OWN_2, OWN_3, CHAIN_OWN, CHAIN_ANCESTOR, NR,
};

static void count_vma(const struct vm_area_struct *vma, unsigned long *n)
{
	const unsigned long value = (unsigned long)vma->anon_vma;
	const struct anon_vma_chain *avc;
	int entries = 0;

	n[VMAS]++;
	if (!value) {
		n[UNFAULTED]++;
		return;
	}
#ifdef ANON_VMA_LAZY
	if (value & ANON_VMA_LAZY) {
		if (!(value & CHILD)) {
			n[list_empty(&vma->anon_vma_chain) ? LONE : GROUP]++;
			return;
		}
		n[CHILDREN]++;
		if (vma->anon_vma_listed & UNNAMED)
			n[UNNAMED_CHILDREN]++;
		return;
	}
	/* If it says that of another one, it was there before. */
	if (vma->anon_vma_listed == value + LISTED) {
		n[ON_LIST]++;
		return;
	}
#endif
	list_for_each_entry(avc, &vma->anon_vma_chain, same_vma) {
		entries++;
		if (avc->anon_vma == vma->anon_vma)
			n[CHAIN_OWN]++;
		else
			n[CHAIN_ANCESTOR]++;
	}
	n[OWN_0 + min(entries, 3)]++;
}

static int census_show(struct seq_file *seq, void *unused)
{
	unsigned long n[NR] = {};
	struct task_struct *p;
	int i;

	rcu_read_lock();
	for_each_process(p) {
		struct mm_struct *mm;

		/* Nobody exits, and so p stays. */
		get_task_struct(p);
		rcu_read_unlock();
		mm = get_task_mm(p);
		if (mm) {
			VMA_ITERATOR(vmi, mm, 0);
			struct vm_area_struct *vma;

			n[MMS]++;
			mmap_read_lock(mm);
			for_each_vma(vmi, vma)
				count_vma(vma, n);
			mmap_read_unlock(mm);
			mmput(mm);
		}
		rcu_read_lock();
		put_task_struct(p);
	}
	rcu_read_unlock();
	for (i = 0; i < NR; i++)
		seq_printf(seq, "%s %lu\n", names[i], n[i]);
	return 0;
}

static int __init census_init(void)
{
	return proc_create_single("anon_vma_census", 0444, NULL, census_show) ? 0 : -ENOMEM;
}

static void __exit census_exit(void)
{
	remove_proc_entry("anon_vma_census", NULL);
}

module_init(census_init);
module_exit(census_exit);
MODULE_DESCRIPTION("How VMAs are linked to anon_vmas");
MODULE_LICENSE("GPL");
