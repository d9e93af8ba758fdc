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
 * vma->anon_vma of a VMA that started lone, X, goes through
 *
 *   X | LONE			lone (also in an unlinked copy of X)
 *   anon_vma			upgraded, X is the founder of the anon_vma
 *   anon_vma | UNLINKED	X is unlinked, the anon_vma still lives
 *   anon_vma | UNLINKED | RETIRED
 *				and vm_area_free(X) left the struct to it
 *   DEAD			unlinked, the struct may be pinned
 *   NULL			unlinked, nobody will look at the struct
 */
#define ANON_VMA_UNLINKED	0x1UL
#define ANON_VMA_RETIRED	0x2UL
#define ANON_VMA_DEAD		((struct anon_vma *)ANON_VMA_LONE)

/* A pin, as folio_get_anon_vma() returns it, has the SRCU index in bit 3. */
#define ANON_VMA_PIN_SHIFT	3
#define ANON_VMA_PIN_IDX	BIT(ANON_VMA_PIN_SHIFT)

/* Why a lone VMA is upgraded, in the order of the vmstat events. */
enum anon_vma_upgrade_cause {
	ANON_VMA_FOR_FORK,	/* fork maps its pages into the child */
	ANON_VMA_FOR_VMA,	/* split, mremap, merge, a neighbour's fault */
	ANON_VMA_FOR_OTHER,	/* KSM, MMU notifiers, device memory */
};

int __anon_vma_upgrade(struct vm_area_struct *vma,
		       enum anon_vma_upgrade_cause cause);
bool __vma_anon_related(const struct vm_area_struct *vma,
			const struct anon_vma *anon_vma);
void folio_settle_anon_vma(struct folio *folio);

struct rw_semaphore *lone_rwsem(const struct anon_vma *lone);
void lone_lock_write(struct anon_vma *lone);
void lone_unlock_write(struct anon_vma *lone);
struct anon_vma *lone_lock_pinned(struct anon_vma *lone);
void lone_unpin(struct anon_vma *pinned);
void lone_unlink(struct vm_area_struct *vma);
struct anon_vma *lone_oldest_anon_vma(struct vm_area_struct *vma);
bool lone_is_fork_child(struct vm_area_struct *vma);

struct anon_vma *folio_lock_lone(const struct folio *folio,
				 struct rmap_walk_control *rwc, bool write);
struct anon_vma *folio_pin_lone(const struct folio *folio);

void __anon_vma_release_founder(struct anon_vma *anon_vma);
bool __vma_defer_free(struct vm_area_struct *vma);
void anon_vma_lazy_init(void);

static inline struct anon_vma *vma_lone_anon_vma(const struct vm_area_struct *vma)
{
	return (struct anon_vma *)((unsigned long)vma | ANON_VMA_LONE);
}

/* Another thread may upgrade it, but nothing makes a VMA lone again. */
static inline bool vma_is_lone(const struct vm_area_struct *vma)
{
	return IS_ENABLED(CONFIG_ANON_VMA_LAZY) &&
		anon_vma_is_lone(READ_ONCE(vma->anon_vma));
}

static inline struct vm_area_struct *lone_vma(const struct anon_vma *lone)
{
	return (struct vm_area_struct *)((unsigned long)lone &
					 ~(ANON_VMA_LONE | ANON_VMA_PIN_IDX));
}

/* The VMA that was lone before it got @anon_vma, if there is one. */
static inline struct vm_area_struct *anon_vma_founder(const struct anon_vma *anon_vma)
{
#ifdef CONFIG_ANON_VMA_LAZY
	return anon_vma->founder;
#else
	return NULL;
#endif
}

/* The anon_vma that a VMA was upgraded to, from its ->anon_vma; or NULL. */
static inline struct anon_vma *founder_anon_vma(struct anon_vma *anon_vma)
{
	/* Lone, dead, or the struct belongs to another VMA by now. */
	if (anon_vma_is_lone(anon_vma))
		return NULL;
	return (struct anon_vma *)((unsigned long)anon_vma &
				   ~(ANON_VMA_UNLINKED | ANON_VMA_RETIRED));
}

/**
 * anon_vma_resolve() - find out what a folio's anon_vma stands for now
 * @anon_vma: an anon_vma, or a VMA that was lone when a folio was named by it
 *
 * Context: If @anon_vma names a VMA then its struct must be kept in memory: by
 *	a pin, by the lock that a walk of the folio takes, or by an RCU read
 *	section in which the folio was mapped.
 * Return: @anon_vma if that is an anon_vma or the VMA still lone, the anon_vma
 *	that the VMA was upgraded to, or NULL if the VMA is gone and left none.
 */
static inline struct anon_vma *anon_vma_resolve(struct anon_vma *anon_vma)
{
	struct anon_vma *now;

	if (!anon_vma_is_lone(anon_vma))
		return anon_vma;

	now = READ_ONCE(lone_vma(anon_vma)->anon_vma);
	return now == anon_vma ? now : founder_anon_vma(now);
}

/**
 * anon_vma_upgrade() - give a lone VMA an anon_vma
 * @vma: the VMA; nothing is done unless it is lone
 * @cause: what needs it, for the statistics
 *
 * To be called before a second VMA can map a page of @vma.
 *
 * Context: The mmap lock is held, for reading or writing, or @vma is not in the
 *	tree. May sleep. Takes the bucket's, then the anon_vma's lock.
 * Return: 0, or -ENOMEM with nothing changed.
 */
static inline int anon_vma_upgrade(struct vm_area_struct *vma,
				   enum anon_vma_upgrade_cause cause)
{
	if (!vma_is_lone(vma))
		return 0;
	return __anon_vma_upgrade(vma, cause);
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

/* Is @vma, which is not lone, the founder of its anon_vma? */
static inline bool vma_is_founder(const struct vm_area_struct *vma)
{
	return IS_ENABLED(CONFIG_ANON_VMA_LAZY) && vma->anon_vma &&
		anon_vma_founder(vma->anon_vma) == vma;
}

/* What the founder of @anon_vma has in its stead once it is unlinked. */
static inline struct anon_vma *anon_vma_unlinked(const struct anon_vma *anon_vma)
{
	return (struct anon_vma *)((unsigned long)anon_vma | ANON_VMA_UNLINKED);
}

/* Let the founder of an @anon_vma go that is about to be freed. */
static inline void anon_vma_release_founder(struct anon_vma *anon_vma)
{
	if (anon_vma_founder(anon_vma))
		__anon_vma_release_founder(anon_vma);
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
	return IS_ENABLED(CONFIG_ANON_VMA_LAZY) && READ_ONCE(vma->anon_vma) &&
		__vma_defer_free(vma);
}

#endif /* __MM_ANON_VMA_LAZY_H */
