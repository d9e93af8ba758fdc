// SPDX-License-Identifier: GPL-2.0
/*
 * Lone VMAs: their lock, their pin, and how long their structs live.
 *
 * A lone VMA is its own anon_vma. An anon_vma is three things to a folio: a
 * name, a lock, and something to hold on to between two walks. The name of a
 * lone VMA is its address, tagged; its lock is an rwsem in a table, hashed by
 * that address; and to hold on to it is to count a pin next to that rwsem.
 *
 * A name may be shared by a group of VMAs of one mm, as when a lone VMA is split.
 * A walk then looks at each of them, so groups are small.
 *
 * Strangers may share a bucket. That cannot deadlock, as all anon_vma locks are
 * one lockdep class already and nobody holds two of them at once, except for
 * mm_take_all_locks(), which upgrades what is lone instead. Nobody holds two
 * buckets either. The order is bucket, then anon_vma->rwsem.
 */

#include <linux/cpumask.h>
#include <linux/init.h>
#include <linux/memblock.h>
#include <linux/mm.h>
#include <linux/random.h>
#include <linux/rmap.h>
#include <linux/slab.h>
#include <linux/srcu.h>
#include <linux/vmstat.h>

#include "internal.h"

#define LONE_BUCKETS_PER_CPU	256UL

DEFINE_STATIC_KEY_TRUE(anon_vma_lazy_used);

struct lone_bucket *lone_buckets __ro_after_init;
unsigned int lone_bucket_mask __ro_after_init;
unsigned long lone_multiplier __ro_after_init;
static unsigned long lone_nr_buckets __initdata;

/*
 * A pin is a read section of this, which ends with the migration. A struct that
 * may be pinned is freed after a grace period, so however many pins others take
 * in its bucket meanwhile, it does not wait for those.
 */
DEFINE_STATIC_SRCU(lone_srcu);

/* The struct of an unlinked VMA waits for lone_srcu in its empty list head. */
static_assert(sizeof(struct rcu_head) <=
	      sizeof_field(struct vm_area_struct, anon_vma_chain));

/**
 * folio_lock_lone() - lock the lone VMA that maps a folio
 * @folio: the folio, locked, which names a VMA
 * @write: lock for writing, to split the folio, instead of for a walk
 *
 * With the lock held the VMA and its group stay lone and linked, their ranges
 * and page tables stand still, and no other VMA can map the folio.
 *
 * Context: May sleep. Takes lone_rwsem().
 * Return: The VMA's name, or NULL if no lone VMA maps the folio.
 */
struct anon_vma *folio_lock_lone(const struct folio *folio, bool write)
{
	struct anon_vma *lone = (void *)folio->mapping - FOLIO_MAPPING_ANON;
	struct rw_semaphore *rwsem = lone_rwsem(lone);
	bool locked = false;

	/*
	 * That the folio is mapped proves that the struct of the VMA it names
	 * lives, so that is looked at in the same RCU read section, and not
	 * before. The answer is old unless the lock is held. With the lock it is
	 * not, but that the folio may be unmapped for good; what is walked then
	 * does not map it.
	 */
	rcu_read_lock();
	while (folio_mapped(folio) && lone_is_current(lone)) {
		rcu_read_unlock();
		if (locked)
			return lone;
		if (write)
			down_write(rwsem);
		else
			down_read(rwsem);
		locked = true;
		rcu_read_lock();
	}
	rcu_read_unlock();

	/* Upgraded or unmapped, perhaps while we waited. */
	if (locked && write)
		up_write(rwsem);
	else if (locked)
		up_read(rwsem);
	return NULL;
}

/**
 * lone_lock_write() - lock a lone VMA against all walks that may reach it
 * @lone: its name
 *
 * What a forked child shares with its ancestors is walked under their lock, so
 * that is taken too.
 *
 * Context: The mmap lock is held for writing. May sleep.
 */
void lone_lock_write(struct anon_vma *lone)
{
	down_write(lone_rwsem(lone));
	if (lone_is_child(lone))
		anon_vma_lock_write(lone_oldest_anon_vma(lone));
}

/**
 * lone_unlock_write() - undo lone_lock_write()
 * @lone: the name of the VMA
 */
void lone_unlock_write(struct anon_vma *lone)
{
	if (lone_is_child(lone))
		anon_vma_unlock_write(lone_oldest_anon_vma(lone));
	up_write(lone_rwsem(lone));
}

/**
 * lone_pin() - hold on to a lone VMA
 * @lone: its name, locked for reading
 *
 * A pin keeps the struct in memory, not the VMA: it may be upgraded, unlinked
 * and freed. lone_lock_pinned() finds out.
 *
 * The pin is taken under the lock and the VMA unlinked under the lock, so
 * whoever unlinks it sees the pin.
 *
 * Context: lone_rwsem() is held for reading, and is not on return.
 * Return: The pin, for lone_unpin().
 */
struct anon_vma *lone_pin(struct anon_vma *lone)
{
	struct lone_bucket *bucket = lone_bucket(lone);
	unsigned long idx;

	/* Down, not lock: a migration holds more pins than lockdep can count. */
	idx = srcu_down_read(&lone_srcu);
	atomic_inc(&bucket->pins);
	up_read(&bucket->rwsem);

	return (struct anon_vma *)((unsigned long)lone | idx << ANON_VMA_PIN_SHIFT);
}

/**
 * lone_unpin() - undo lone_pin()
 * @pinned: what that returned
 */
void lone_unpin(struct anon_vma *pinned)
{
	struct lone_bucket *bucket = lone_bucket(pinned);
	int idx = ((unsigned long)pinned & ANON_VMA_PIN_IDX) >> ANON_VMA_PIN_SHIFT;

	/* Pairs with lone_maybe_pinned(): what we did with the struct is done. */
	atomic_dec_return_release(&bucket->pins);
	srcu_up_read(&lone_srcu, idx);
}

/* No new pin can be taken on @vma any more. May there be an old one? */
static bool lone_maybe_pinned(const struct vm_area_struct *vma)
{
	return atomic_read_acquire(&lone_bucket(vma_lone_anon_vma(vma))->pins);
}

/**
 * lone_lock_pinned() - lock what a folio's mappings are to be restored through
 * @lone: what the folio names; the caller has a pin from when it was mapped, or
 *	else holds the mmap lock of a VMA that mapped it
 *
 * Context: May sleep.
 * Return: What to walk and to unlock with anon_vma_unlock_read(): @lone, or the
 *	anon_vma that it was upgraded to; NULL if there is nothing to restore,
 *	as everything that mapped the folio is gone.
 */
struct anon_vma *lone_lock_pinned(struct anon_vma *lone)
{
	struct rw_semaphore *rwsem = lone_rwsem(lone);
	struct anon_vma *anon_vma;

	if (lone_is_current(lone)) {
		down_read(rwsem);
		if (lone_is_current(lone))
			return lone;
		up_read(rwsem);
	}

	/* It is not lone any more, and will not be again while it is pinned. */
	for (;;) {
		rcu_read_lock();
		anon_vma = anon_vma_resolve(lone);
		if (!anon_vma)
			break;

		/* The pin is on the founder, not on the anon_vma. */
		if (!atomic_inc_not_zero(&anon_vma->refcount))
			break;
		rcu_read_unlock();

		/* Was that ours, or had it been freed and reused already? */
		if (anon_vma_resolve(lone) != anon_vma) {
			put_anon_vma(anon_vma);
			continue;
		}

		anon_vma_lock_read(anon_vma);
		if (!atomic_dec_and_test(&anon_vma->refcount))
			return anon_vma;

		/* All VMAs went while we waited, see folio_lock_anon_vma_read(). */
		anon_vma_unlock_read(anon_vma);
		__put_anon_vma(anon_vma);
		return NULL;
	}
	rcu_read_unlock();
	return NULL;
}

static void lone_free(struct vm_area_struct *vma)
{
	count_lone_retired(-1);
	kfree(vma);
}

static void lone_free_rcu(struct rcu_head *rcu)
{
	struct list_head *head = (struct list_head *)rcu;

	lone_free(container_of(head, struct vm_area_struct, anon_vma_chain));
}

static void lone_free_after_pins(struct vm_area_struct *vma)
{
	call_srcu(&lone_srcu, (struct rcu_head *)&vma->anon_vma_chain,
		  lone_free_rcu);
}

/**
 * lone_release() - let the founder of an anon_vma, or of a group, go
 * @founder: the VMA; the anon_vma is about to be freed, or the group is empty
 *
 * The struct of a founder is needed until its VMA is freed *and* its anon_vma
 * or group is: folios may name it as long as that lives. Whichever of the two
 * comes last, here or in __vma_defer_free(), goes on to look for pins.
 */
void lone_release(struct vm_area_struct *founder)
{
	bool pinned = lone_maybe_pinned(founder);
	unsigned long was;

	was = (unsigned long)xchg(&founder->anon_vma, pinned ? ANON_VMA_DEAD : NULL);
	VM_WARN_ON_ONCE(!(was & ANON_VMA_UNLINKED));
	if (!(was & ANON_VMA_RETIRED))
		return;
	if (pinned)
		lone_free_after_pins(founder);
	else
		lone_free(founder);
}

/**
 * lone_join() - let a VMA share the name of others
 * @vma: the VMA; unfaulted, or a copy with the name in place already
 * @lone: the name, of a VMA that stays linked
 *
 * Context: The mmap lock is held, for writing unless @vma is unfaulted.
 *	Takes lone_rwsem() and the page_table_lock.
 * Return: false if @vma must not share the name: that is of a forked child, or
 *	of too many VMAs already, or they were upgraded meanwhile.
 */
bool lone_join(struct vm_area_struct *vma, struct anon_vma *lone)
{
	struct vm_area_struct *founder = lone_vma(lone);
	struct rw_semaphore *rwsem = lone_rwsem(lone);
	bool may_join;

	if (lone_is_child(lone))
		return false;

	down_write(rwsem);
	may_join = lone_is_current(lone) &&
		   list_count_nodes(&founder->anon_vma_chain) < LONE_GROUP_MAX - 1;
	if (may_join) {
		spin_lock(&vma->vm_mm->page_table_lock);
		/*
		 * Another fault in @vma may have been faster: then it is in the
		 * group, or even its founder.
		 */
		if (vma != founder && list_empty(&vma->anon_vma_chain) &&
		    (!vma->anon_vma || vma->anon_vma == lone)) {
			list_add_tail(&vma->anon_vma_chain, &founder->anon_vma_chain);
			WRITE_ONCE(vma->anon_vma, lone);
			count_vm_event(ANON_VMA_LONE_JOIN);
		}
		spin_unlock(&vma->vm_mm->page_table_lock);
	}
	up_write(rwsem);

	return may_join;
}

/**
 * lone_unlink() - end a lone VMA's being its own anon_vma, or in a group
 * @vma: the VMA, its anonymous pages unmapped already
 * @lone: the name that the caller saw in it
 *
 * Walks of its pages are over on return, and none starts any more.
 *
 * Context: The VMA is write-locked or detached. May sleep.
 * Return: false if it is not lone any more, as its group was upgraded.
 */
bool lone_unlink(struct vm_area_struct *vma, struct anon_vma *lone)
{
	struct vm_area_struct *founder = lone_vma(lone);
	struct rw_semaphore *rwsem = lone_rwsem(lone);
	bool is_lone;

	down_write(rwsem);
	is_lone = vma->anon_vma == lone;
	if (!is_lone) {
		/* The upgrade was on behalf of another VMA of the group. */
	} else if (vma != founder) {
		list_del_init(&vma->anon_vma_chain);
		WRITE_ONCE(vma->anon_vma, NULL);
		if (founder->anon_vma != lone && list_empty(&founder->anon_vma_chain))
			lone_release(founder);
	} else if (!lone_is_child(lone) && !list_empty(&vma->anon_vma_chain)) {
		WRITE_ONCE(vma->anon_vma, anon_vma_unlinked(lone));
	} else {
		WRITE_ONCE(vma->anon_vma, lone_maybe_pinned(vma) ? ANON_VMA_DEAD : NULL);
	}
	up_write(rwsem);

	return is_lone;
}

/* See vma_defer_free(). */
bool __vma_defer_free(struct vm_area_struct *vma)
{
	struct anon_vma *was = READ_ONCE(vma->anon_vma);
	struct anon_vma *retired;

	/* A lone VMA must have been unlinked. */
	VM_WARN_ON_ONCE_VMA(anon_vma_is_lone(was) && lone_vma(was) == vma &&
			    !((unsigned long)was & ANON_VMA_UNLINKED), vma);

	while ((unsigned long)was & ANON_VMA_UNLINKED) {
		retired = (struct anon_vma *)((unsigned long)was | ANON_VMA_RETIRED);
		if (try_cmpxchg(&vma->anon_vma, &was, retired)) {
			count_vm_event(ANON_VMA_RETIRE);
			count_lone_retired(1);
			return true;
		}
		/* The group was upgraded, or nothing is left: NULL or DEAD. */
	}
	if (was != ANON_VMA_DEAD)
		return false;

	count_lone_retired(1);
	lone_free_after_pins(vma);
	return true;
}

/* See vma_anon_related(). */
bool __vma_anon_related(const struct vm_area_struct *vma,
			const struct anon_vma *anon_vma)
{
	struct anon_vma_chain *avc;
	struct anon_vma *own;

	/* Pairs with the release in __anon_vma_upgrade(): see its new entry. */
	own = smp_load_acquire(&vma->anon_vma);
	if (own == anon_vma)
		return true;
	/* It has no ancestors, and a link to its group in the entries' place. */
	if (anon_vma_is_group(own))
		return false;
	/* An upgrade may add an entry meanwhile, nothing removes one. */
	list_for_each_entry_lockless(avc, &vma->anon_vma_chain, same_vma) {
		if (!anon_vma_is_lone(anon_vma))
			return avc->anon_vma->root == anon_vma->root;
		if (avc->anon_vma->founder == lone_vma(anon_vma))
			return true;
	}
	return false;
}

/**
 * folio_settle_anon_vma() - let a folio name an anon_vma instead of its founder
 * @folio: a folio, locked, that names a VMA
 *
 * Does nothing if that VMA is lone. Otherwise both names are right, and whoever
 * pinned the first one holds the folio lock until it has unpinned it.
 *
 * Context: The mmap lock of a VMA that mapped @folio is held.
 */
void folio_settle_anon_vma(struct folio *folio)
{
	struct anon_vma *anon_vma = anon_vma_resolve(folio_anon_vma(folio));

	VM_WARN_ON_FOLIO(!folio_test_locked(folio), folio);
	/* Lone still: it is first touched by another thread just now. */
	if (!anon_vma || anon_vma_is_lone(anon_vma))
		return;
	WRITE_ONCE(folio->mapping, (void *)anon_vma + FOLIO_MAPPING_ANON);
}

static int __init set_lone_nr_buckets(char *str)
{
	return str ? kstrtoul(str, 0, &lone_nr_buckets) : -EINVAL;
}
early_param("anon_vma_lazy_buckets", set_lone_nr_buckets);

/**
 * anon_vma_lazy_init() - allocate the locks of lone VMAs
 *
 * Context: Boot, before the first process.
 */
void __init anon_vma_lazy_init(void)
{
	unsigned long max = LONE_BUCKETS_PER_CPU * num_possible_cpus();
	unsigned int i;

	/* At most one bucket for each MiB of memory. */
	if (!lone_nr_buckets) {
		lone_nr_buckets = clamp(totalram_pages() >> (20 - PAGE_SHIFT), 1UL, max);
		lone_nr_buckets = rounddown_pow_of_two(lone_nr_buckets);
	}

	lone_buckets = alloc_large_system_hash("anon_vma_lazy", sizeof(*lone_buckets),
					       lone_nr_buckets, 0, 0, NULL,
					       &lone_bucket_mask, 1, 0);
	for (i = 0; i <= lone_bucket_mask; i++) {
		init_rwsem(&lone_buckets[i].rwsem);
		atomic_set(&lone_buckets[i].pins, 0);
	}
	lone_multiplier = get_random_long() | 1;
}
