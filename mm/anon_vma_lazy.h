/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Lone VMAs: a VMA whose anonymous pages no other VMA maps is its own anon_vma.
 * Documentation/mm/anon_vma_lazy.rst has the design and its invariants.
 *
 * Without CONFIG_ANON_VMA_LAZY anon_vma_is_lone() is false at compile time, and
 * nothing declared here is called.
 */
#ifndef __MM_ANON_VMA_LAZY_H
#define __MM_ANON_VMA_LAZY_H

#include <linux/rmap.h>

/*
 * VMAs of one mm may share a name: those that were split off a lone VMA X, say.
 * They are X's group, linked through their anon_vma_chain, with X as its head,
 * and X is its founder. A forked child has no group, as its anon_vma_chain leads
 * to its ancestors, which its name says.
 *
 * vma->anon_vma of the founder X goes through
 *
 *   X | LONE			lone, and the head of its group
 *   X | LONE | UNLINKED	X is unlinked, others of its group are not
 *   anon_vma			upgraded, X is the founder of the anon_vma
 *   anon_vma | UNLINKED	X is unlinked, the anon_vma still lives
 *   ... | UNLINKED | RETIRED	and vm_area_free(X) left the struct to either
 *   DEAD			unlinked, the struct may be pinned
 *   NULL			unlinked, nobody will look at the struct
 *
 * and that of another VMA of the group from X | LONE to an anon_vma or NULL.
 */
#define ANON_VMA_UNLINKED	0x1UL
#define ANON_VMA_RETIRED	0x2UL
#define ANON_VMA_DEAD		((struct anon_vma *)ANON_VMA_LONE)

/* A pin, as folio_get_anon_vma() returns it, has the SRCU index in bit 3. */
#define ANON_VMA_PIN_SHIFT	3
#define ANON_VMA_PIN_IDX	BIT(ANON_VMA_PIN_SHIFT)

/* In the name of a lone VMA that was forked: its chain leads to its ancestors. */
#define ANON_VMA_CHILD		0x10UL

/* VMAs are aligned to more than that. */
#define ANON_VMA_NAME_BITS	0x1fUL

/* How many VMAs may share a name, all of which a walk looks at. */
#define LONE_GROUP_MAX		8

/* Why a lone VMA is upgraded, in the order of the vmstat events. */
enum anon_vma_upgrade_cause {
	ANON_VMA_FOR_FORK,	/* fork maps its pages into the child */
	ANON_VMA_FOR_VMA,	/* split, mremap, merge, a neighbour's fault */
	ANON_VMA_FOR_OTHER,	/* KSM, MMU notifiers, device memory */
};

int __anon_vma_upgrade(struct anon_vma *lone, enum anon_vma_upgrade_cause cause);
bool __vma_anon_related(const struct vm_area_struct *vma,
			const struct anon_vma *anon_vma);
void folio_settle_anon_vma(struct folio *folio);

void lone_lock_write(struct anon_vma *lone);
void lone_unlock_write(struct anon_vma *lone);
struct anon_vma *lone_pin(struct anon_vma *lone);
struct anon_vma *lone_lock_pinned(struct anon_vma *lone);
void lone_unpin(struct anon_vma *pinned);
bool lone_join(struct vm_area_struct *vma, struct anon_vma *lone);
bool lone_unlink(struct vm_area_struct *vma, struct anon_vma *lone);

struct anon_vma *folio_lock_lone(const struct folio *folio, bool write);

void lone_release(struct vm_area_struct *founder);
bool __vma_defer_free(struct vm_area_struct *vma);
void anon_vma_lazy_init(void);

/* The structs that vm_area_free() has left, and nobody freed yet. */
extern atomic_t lone_nr_retired;

static inline void count_lone_retired(int more)
{
	if (IS_ENABLED(CONFIG_DEBUG_ANON_VMA_LAZY))
		atomic_add(more, &lone_nr_retired);
}

const char *anon_vma_lazy_verify(struct mm_struct *mm, unsigned long *addr);

static inline struct anon_vma *vma_lone_anon_vma(const struct vm_area_struct *vma)
{
	return (struct anon_vma *)((unsigned long)vma | ANON_VMA_LONE);
}

/* Does a lone VMA's name say that it has ancestors? */
static inline bool lone_is_child(const struct anon_vma *lone)
{
	return (unsigned long)lone & ANON_VMA_CHILD;
}

/* Is it the name of VMAs without ancestors, which others may come to share? */
static inline bool anon_vma_is_group(const struct anon_vma *anon_vma)
{
	return anon_vma_is_lone(anon_vma) && !lone_is_child(anon_vma);
}

/* Another thread may upgrade it, but nothing makes a VMA lone again. */
static inline bool vma_is_lone(const struct vm_area_struct *vma)
{
	return IS_ENABLED(CONFIG_ANON_VMA_LAZY) &&
		anon_vma_is_lone(READ_ONCE(vma->anon_vma));
}

/* The VMA whose name it is, and the founder of the group that has the name. */
static inline struct vm_area_struct *lone_vma(const struct anon_vma *lone)
{
	return (struct vm_area_struct *)((unsigned long)lone & ~ANON_VMA_NAME_BITS);
}

/**
 * struct lone_bucket - what the lone VMAs share whose names hash to it
 * @rwsem: held for reading by who walks such a VMA for a folio, for writing by
 *	who changes its range, moves or frees its page tables, lets it join a
 *	group, upgrades or unlinks it
 * @pins: how many pins there are; they are taken with @rwsem held
 */
struct lone_bucket {
	struct rw_semaphore rwsem;
	atomic_t pins;
} ____cacheline_aligned_in_smp;

extern struct lone_bucket *lone_buckets;
extern unsigned int lone_bucket_mask;
extern unsigned long lone_multiplier;

/*
 * As the multiplier is random and odd, two VMAs share a bucket with a chance of
 * at most two in the number of buckets, wherever their structs are.
 */
static inline struct lone_bucket *lone_bucket(const struct anon_vma *lone)
{
	unsigned long key = (unsigned long)lone / (ANON_VMA_NAME_BITS + 1);

	return &lone_buckets[key * lone_multiplier >> 40 & lone_bucket_mask];
}

/**
 * lone_rwsem() - the lock of a lone VMA
 * @lone: its name, or a pin
 *
 * Return: The rwsem. It is never freed, so it can be waited for without a hold
 *	on the VMA.
 */
static inline struct rw_semaphore *lone_rwsem(const struct anon_vma *lone)
{
	return &lone_bucket(lone)->rwsem;
}

/* A founder's ->anon_vma as it was before the founder was unlinked. */
static inline struct anon_vma *anon_vma_linked(struct anon_vma *anon_vma)
{
	return (struct anon_vma *)((unsigned long)anon_vma &
				   ~(ANON_VMA_UNLINKED | ANON_VMA_RETIRED));
}

/* The anon_vma that a VMA was upgraded to, from its ->anon_vma; or NULL. */
static inline struct anon_vma *founder_anon_vma(struct anon_vma *anon_vma)
{
	/* Lone, dead, or the struct belongs to another VMA by now. */
	return anon_vma_is_lone(anon_vma) ? NULL : anon_vma_linked(anon_vma);
}

/**
 * anon_vma_resolve() - find out what a folio's anon_vma stands for now
 * @anon_vma: an anon_vma, or a VMA that was lone when a folio was named by it
 *
 * Context: If @anon_vma names a VMA then its struct must be kept in memory: by
 *	a pin, by the lock that a walk of the folio takes, by an RCU read section
 *	in which the folio was mapped, or by what keeps a VMA linked that has it.
 * Return: @anon_vma if that is an anon_vma or the group still lone, the anon_vma
 *	that it was upgraded to, or NULL if the VMAs are gone and left none.
 */
static inline struct anon_vma *anon_vma_resolve(struct anon_vma *anon_vma)
{
	struct anon_vma *now;

	if (!anon_vma_is_lone(anon_vma))
		return anon_vma;

	now = READ_ONCE(lone_vma(anon_vma)->anon_vma);
	return anon_vma_linked(now) == anon_vma ? anon_vma : founder_anon_vma(now);
}

/* Is lone still what @lone names? The same holds as for anon_vma_resolve(). */
static inline bool lone_is_current(const struct anon_vma *lone)
{
	return anon_vma_linked(READ_ONCE(lone_vma(lone)->anon_vma)) == lone;
}

/**
 * lone_trylock_read() - lock lone VMAs for a walk, if that can be done at once
 * @lone: their name
 *
 * Context: As for anon_vma_resolve().
 * Return: false if not, or if they are not lone any more.
 */
static inline bool lone_trylock_read(const struct anon_vma *lone)
{
	if (!down_read_trylock(lone_rwsem(lone)))
		return false;
	/* With the lock held it stays lone, if it still is. */
	if (lone_is_current(lone))
		return true;
	up_read(lone_rwsem(lone));
	return false;
}

/**
 * lone_oldest_anon_vma() - what a folio names that a lone VMA does not own alone
 * @lone: the name of the VMA, which was lone when the caller looked
 *
 * Return: The root of the anon_vmas that it inherited, or its own name.
 */
static inline struct anon_vma *lone_oldest_anon_vma(struct anon_vma *lone)
{
	struct anon_vma_chain *avc;

	if (!lone_is_child(lone))
		return lone;
	/* An upgrade may add an entry meanwhile, nothing removes one. */
	avc = list_first_or_null_rcu(&lone_vma(lone)->anon_vma_chain,
				     struct anon_vma_chain, same_vma);
	return avc->anon_vma->root;
}

/**
 * lone_next_vma() - step through the VMAs that a name stands for
 * @lone: the name
 * @vma: the VMA that was returned last, or NULL to begin
 *
 * Who joins a group comes after those that are in it. So a walk that overtakes
 * mremap(), which moves pages from one that is to one that joins, does not miss
 * them.
 *
 * Context: lone_rwsem() is held.
 * Return: A VMA, or NULL after the last one.
 */
static inline struct vm_area_struct *lone_next_vma(const struct anon_vma *lone,
						   struct vm_area_struct *vma)
{
	struct vm_area_struct *founder = lone_vma(lone);

	if (!vma) {
		/* It may be unlinked, and the head of its group still. */
		if (READ_ONCE(founder->anon_vma) == lone)
			return founder;
		vma = founder;
	}
	if (lone_is_child(lone))
		return NULL;

	vma = list_next_entry(vma, anon_vma_chain);
	return vma == founder ? NULL : vma;
}

/**
 * anon_vma_upgrade() - give a lone VMA and its group an anon_vma
 * @vma: the VMA; nothing is done unless it is lone
 * @cause: what needs it, for the statistics
 *
 * To be called before a VMA of no group can map a page of @vma.
 *
 * Context: The mmap lock is held, for reading or writing, or @vma is not in the
 *	tree. May sleep. Takes the bucket's, then the anon_vma's lock.
 * Return: 0, or -ENOMEM with nothing changed.
 */
static inline int anon_vma_upgrade(struct vm_area_struct *vma,
				   enum anon_vma_upgrade_cause cause)
{
	struct anon_vma *lone = READ_ONCE(vma->anon_vma);

	return anon_vma_is_lone(lone) ? __anon_vma_upgrade(lone, cause) : 0;
}

/**
 * vma_anon_related() - may a folio that names an anon_vma be mapped by a VMA?
 * @vma: a VMA with an anon_vma, or lone
 * @anon_vma: what the folio names; the folio may be unmapped
 *
 * An unmapped folio may name a VMA that was freed long ago, so the answer is
 * found from @vma's side, without a look at the VMA that @anon_vma names.
 *
 * Context: The mmap lock, the VMA lock or an rmap lock keeps @vma linked.
 * Return: true if they are of one family.
 */
static inline bool vma_anon_related(const struct vm_area_struct *vma,
				    const struct anon_vma *anon_vma)
{
	if (vma_is_lone(vma) || anon_vma_is_lone(anon_vma))
		return __vma_anon_related(vma, anon_vma);
	return vma->anon_vma->root == anon_vma->root;
}

/**
 * vma_may_name_folio() - may a folio be moved to the anon_vma of a VMA?
 * @folio: an anonymous folio, exclusive to @vma
 * @vma: the VMA
 *
 * Device memory is unmapped and restored without a pin on its anon_vma, so a
 * folio of it never names a lone VMA.
 *
 * Return: false if that would be so.
 */
static inline bool vma_may_name_folio(const struct vm_area_struct *vma,
				      const struct folio *folio)
{
	return !vma_is_lone(vma) || !folio_is_zone_device(folio);
}

/* Is it @vma that was lone before it got @anon_vma? */
static inline bool anon_vma_founded_by(const struct anon_vma *anon_vma,
				       const struct vm_area_struct *vma)
{
#ifdef CONFIG_ANON_VMA_LAZY
	return anon_vma_may_be_lone() && anon_vma->founder == vma;
#else
	return false;
#endif
}

/* Is @vma linked, and the founder of an anon_vma or of a group with others in it? */
static inline bool vma_is_founder(const struct vm_area_struct *vma)
{
	if (!IS_ENABLED(CONFIG_ANON_VMA_LAZY) || !vma->anon_vma)
		return false;
	if (anon_vma_is_lone(vma->anon_vma))
		return vma->anon_vma == vma_lone_anon_vma(vma) &&
			!list_empty(&vma->anon_vma_chain);
	return anon_vma_founded_by(vma->anon_vma, vma);
}

/* What the founder of @anon_vma has in its stead once it is unlinked. */
static inline struct anon_vma *anon_vma_unlinked(const struct anon_vma *anon_vma)
{
	return (struct anon_vma *)((unsigned long)anon_vma | ANON_VMA_UNLINKED);
}

/* Let the founder of an @anon_vma go that is about to be freed. */
static inline void anon_vma_release_founder(struct anon_vma *anon_vma)
{
#ifdef CONFIG_ANON_VMA_LAZY
	if (anon_vma_may_be_lone() && anon_vma->founder)
		lone_release(anon_vma->founder);
#endif
}

/**
 * vma_defer_free() - is the struct of a freed VMA still needed?
 * @vma: the VMA, unlinked, or a copy that was never linked
 *
 * Return: true if the struct is freed later, once the anon_vma that it founded
 *	and all pins are gone. The caller may not touch it any more.
 */
static inline bool vma_defer_free(struct vm_area_struct *vma)
{
	return anon_vma_may_be_lone() && READ_ONCE(vma->anon_vma) &&
		__vma_defer_free(vma);
}

#endif /* __MM_ANON_VMA_LAZY_H */
