/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A model of the protocol of lazy VMAs, for spin.  ./run checks it.
 *
 * Documentation/mm/anon_vma_lazy.rst describes what is modelled here, and
 * mm/rmap.c is it.  The names are theirs, shortened.
 *
 * There is one folio, as that is enough to miss a mapping, to lose a migration
 * entry and to look at freed memory.  X is the lazy VMA that the folio names; N
 * and O are of its group, or are forked children.  They are on the list of X, or
 * in the tree of its anon_vma.  A define P_... chooses a process, I_... the state
 * to start from, BR_... breaks one rule of the design, and REACH_... asserts that
 * a place is never reached, to show that it is.
 *
 * What is asserted
 *   - A walk that unmaps leaves no mapping, whoever runs beside it, and one that
 *     finds nothing to lock is right that the folio is not mapped.
 *   - After the restore no migration entry is left.
 *   - No VMA, mm_struct or anon_vma is looked at once it was freed, unless in an
 *     RCU read section that began before; no page table once it was freed.
 *   - Each is freed once, and all are freed in the end.
 *   - At each wait, see may_wait(): who has the lock of an mm waits for nothing at
 *     all.  Who has a root's waits for its own mm's only.  Who waits for one of
 *     these is of the family, or walks for a folio that the family had when it took
 *     its reference.  Nobody waits in an RCU read section.
 *   - No deadlock: spin finds invalid end states by itself.
 *
 * What is not
 *   - Memory order: a step is sequentially consistent.  A barrier is the order of
 *     two steps, and the rule is broken by the other order.  Page table locks: a
 *     step on a PTE is atomic.  Failing allocations, and large folios but for the
 *     lock of their split.
 *   - That an mm has four locks: with one there are more waits, not less.
 *   - The first fault under the VMA lock, which is not about locks of this kind.
 *   - An rwsem lets no reader in while a writer waits, as in the kernel, but
 *     does not keep the order among waiters.  That has more deadlocks, not less.
 *
 * The rules that are broken to see that it is found out.  One with a number is the
 * same, tried in another configuration.
 *
 *   to find and lock what a folio stands for
 *   LOOK_EARLY		a VMA is looked at before the folio was seen to be mapped
 *   NO_MAPPED		with the lock the folio is not looked at again
 *   NO_RECHECK		with the lock what it stands for is not looked at again
 *   LOAD_MM_TWICE	vm_mm is loaded twice: for the lock, and for the reference
 *   NO_MM_TEST		vm_mm may be NULL in a VMA that is just being used anew
 *   MM_NO_RCU		an mm_struct is freed at once
 *   UNLOCK_NO_RCU	a walk unlocks outside of RCU: the mm may go meanwhile
 *   SLEEP_NO_REF		to sleep for a lock, no reference is taken
 *   SLEEP_NO_LOOK	before that, it is not looked whether it is the right one
 *   LOOK_NO_REF		that is done before there is the reference
 *   NO_REF_GIVES_UP	no reference, as the mm is gone: a child may have the folio
 *   LAST_PUT_GIVES_UP	the last reference, as the mm is gone: the same
 *   SHARED_LOCK		one lock for all mms, as a table would have
 *   WALK_NO_GROUP	only X is walked
 *   WALK_UNLINKED	X is, too, when it is unlinked before its group
 *   RESTORE_NO_GROUP	only X is restored
 *   SPLIT_LETS_GO	a THP split unlocks between unmap and remap
 *   COLLAPSE_NO_LOCK	page tables are hidden without the lock
 *
 *   to hold
 *   RESTORE_NO_HOLD	a migration holds nothing
 *   RESTORE_MAPPED	the restore gives up if the folio is not mapped
 *   HOLD_NO_BARRIER	the folio is looked at before the flag is set
 *   HOLD_LATE		the folio is looked at before the SRCU section
 *   UNLINK_NO_BARRIER	the flag is looked at before all is unmapped
 *   UNLINK_NO_HOLDS	the flag is not looked at
 *   HEAD_NOT_HELD	an upgraded head is freed as if nobody could hold it
 *   FREE_NO_SRCU		a struct does not wait for holds
 *   FREE_NO_RCU		it does, but not for walks after that: it may be lazy anew,
 *			with the same ->anon_vma, in another mm
 *
 *   to unlink and to free
 *   UNLINK_NO_LOCK	a VMA is unlinked without the lock
 *   UNLINK_NO_ROOT	one that is listed, without the root's
 *   UNLINK_NO_REREAD	with the lock ->anon_vma is not looked at again
 *   UNLINK_LOADS_TWICE	it is loaded twice before
 *   NO_UNLINKED		a head's ->anon_vma does not outlive it for its group
 *   FREE_HEAD		vm_area_free() frees a head
 *   NO_ATOMIC		vm_area_free() overwrites what an upgrade stored
 *   EMPTY_TREE_ONLY	an anon_vma is freed if its tree is empty,
 *   EMPTY_LIST_ONLY	if its list is,
 *   EMPTY_NO_HEAD	or if both are but for the head, which is on no list
 *   HEAD_TAKES_LIST	the head goes, and takes the list with it
 *   NO_RELEASE		anon_vma_free() does not let the head go
 *   FREE_LOCK_FIRST	it looks whether it is locked before it does
 *   NO_ROOT_REF		a child's anon_vma has no reference to the root
 *
 *   to upgrade, join, fork and move
 *   UPGRADE_NO_LOCK	the mm's lock is not taken
 *   UPGRADE_NO_ROOT	the anon_vma is published unlocked
 *   LISTED_LATE		a VMA has it before it is said to be listed there
 *   UPGRADE_MM_FIRST	the mm's lock is taken before the root's
 *   UPGRADE_ONE		one VMA of the group is upgraded
 *   DROP_BITS		UNLINKED and FREE_DEFERRED are lost
 *   UPGRADE_NOT_ATOMIC	they are loaded and stored, while vm_area_free() runs
 *   JOIN_NO_LOCK		a VMA joins without the lock
 *   JOIN_FIRST		it joins as the first, so a walk misses what is moved to it
 *   LINK_FIRST		it is linked as the first, not behind what it is a copy of:
 *			what is moved to it, or copied by fork, is missed
 *   TREE_FIRST		a walk looks at the tree before the list: the same
 *   COPY_FIRST		fork copies the page tables, and links the child then
 *   LINK_NO_LOCK		a child is linked without the root's lock
 *   MOVE_NO_LOCK		pages are moved to one that was there, without the lock
 *   RANGE_NO_LOCK	a VMA's range changes without the lock
 *   FORK_NO_UPGRADE	a fork does not upgrade
 *   CHILD_JOINS		a lazy child's split joins
 *   KID_NO_ROOT		a lazy child's range changes without the root's lock
 *   KID_UPGRADE_NO_ROOT	it goes from the list to the tree without that
 *   KID_STAYS		it is in the tree, and stays on the list
 *   UPGRADE_CLEARS	its upgrade forgets on which list it was
 *   MM_THEN_ROOT		that is taken after the mm's
 *   TAKE_ALL_LAZY	mm_take_all_locks() takes an mm's lock
 *
 *   to name: an unnamed child has no pages of its own, so fork makes siblings
 *   NAME_NO_CLAIM	a folio names it, and it stays unnamed
 *   SIBLING_NAMED	fork makes a sibling though it was named
 *   SIBLING_NO_LOCK	fork decides that, but does not keep faults off
 *   UNLINK_NAMED	one that was named is unlinked without the mm's lock
 */

/*
 * What can be in vma->anon_vma.  Of a lazy VMA: LAZY, CHILD perhaps, and the slot.
 */
#define NUL		0
#define AV		20		/* the anon_vma whose head is X, which is its slot */
#define AV2		2		/* another: a child's, which has not the folio, or the
					   one of the parent of X */
#define LAZY		8
#define DEAD		15
#define CHILD		32
#define UNL		64
#define DEF		128		/* ANON_VMA_FREE_DEFERRED */
#define ISLAZY(val)	(((val) & LAZY) != 0)
#define LINKED(val)	((val) & 63)
#define SLOT(lazy)	((lazy) & 3)

/* anon_vma_resolve() */
#define RESOLVE(val) \
	(!ISLAZY(val) -> (val) : (LINKED(avma[SLOT(val)]) == (val) -> (val) : \
	 (ISLAZY(avma[SLOT(val)]) -> NUL : LINKED(avma[SLOT(val)]))))

/* The structs of three VMAs. */
#define X	0
#define N	1
#define O	2
#define NV	3

/* What the memory of a struct is. */
#define ALLOC	0
#define DEFERRED 1		/* vm_area_free() left it to the group or anon_vma */
#define WAITING	2		/* for SRCU, and then for RCU */
#define FREED	3
#define NOT_YET	4
#define REUSED	5		/* an anon_vma, by a stranger */

byte st[NV] = NOT_YET;
byte avma[NV];			/* vma->anon_vma */
byte listed[NV];		/* vma->anon_vma_listed */
bool unnamed[NV];		/* and the other bit in it */
byte vmm[NV];			/* vma->vm_mm */
byte cover[NV] = 9;		/* at which address it has the folio, or NOWHERE */
bool att[NV];			/* in the mm's tree of VMAs */
bool gone[NV];			/* vm_area_free() was called */
bool reused;			/* the struct of X is another mm's VMA now */
byte vread[NV];			/* VMA locks held by faults */
bool vwrite[NV];		/* vma_start_write() */
#define NOWHERE	9

/*
 * The mms: A has X, its group and all that run in it; a child has one of its own;
 * B is a stranger.  mm_count; whether MMF_LAZY_HELD is set; and their memory.
 */
#define A	0
#define NOMM	9
#define NOBODY	8
#define MM_OF_N	1
#define MM_OF_O	2
#define B	3
#define NMM	4
byte mmst[NMM] = NOT_YET, mmcount[NMM];
bool mmheld[NMM];

/* The PTEs of the three addresses, and whether their page table was freed. */
#define NONE	0
#define PRES	1
#define MIG	2
#define SWAP	3
byte pte[3];
bool ptfreed[3];

/* The folio: what it names, mapcount and lock. */
byte fmap, mc;
bool flock, fexists;

/*
 * The list of X, which is not on it: its group, and once it has an anon_vma, forked
 * children, too.  In the order of a walk.
 */
byte list[2], nlist;
#ifndef MAXLIST
#define MAXLIST	2		/* of one mm */
#endif

/* The anon_vma: its memory, references, num_active_vmas, and tree in that order. */
byte avst = NOT_YET, avref, nactive;
byte tree[3], ntree;

#ifdef I_CHILD
/*
 * X is a forked child: the anon_vma of its parent, the root, with the lock, and how
 * many VMAs are linked to that.  A child's anon_vma has no list.
 */
byte rootst, rootref, nroot, rootwait;
#define AV_EMPTY	(ntree == 0)
#else
#define AV_EMPTY	(ntree == 0 && nlist == 0 && avma[X] != AV)
#endif

/* vma_listed_anon_vma() */
#define LISTED(u, own)	(listed[u] && (ISLAZY(own) || listed[u] == (own)) -> listed[u] : NUL)

/*
 * Locks: an mm's, the family's root's, the mmap lock of A.  An rwsem: readers,
 * whether a writer has it, writers that wait.
 */
#define ROOT	4
#define MMAP	5
#define NOLOCK	9
#define AGAIN	8
byte rd[6], ww[6];
bool wr[6];
#ifdef BR_SHARED_LOCK
#define MMLOCK(m)	A		/* as if they were in a table */
#else
#define MMLOCK(m)	(m)
#endif
#define IS_MMLOCK(k)	((k) < NMM)
#define MMLOCKS		15		/* as a mask of those held */
#define ALL_RMAP	31

/*
 * RCU and SRCU: who is in a read section, and for each freed struct who was when
 * it was freed and still is.  For those, and only those, it is type-stable.
 */
byte rcu, srcu;
byte rcuwait[NV], srcuwait[NV], mmwait[NMM], avwait;

byte busy;			/* processes that may still attach a VMA */
byte ndone, nproc;

#define ME	(1 << me)
#define ALIVE(s)	(st[s] <= WAITING || (rcuwait[s] & ME))
#define AV_ALIVE	(avst == ALLOC || (avwait & ME))
#define MM_ALIVE(m)	((m) != NOMM && (mmst[m] == ALLOC || (mmwait[m] & ME)))
#ifdef I_CHILD
#define ROOT_ALIVE	(rootst == ALLOC || (rootwait & ME))
#else
#define ROOT_ALIVE	AV_ALIVE
#endif
#define LOCK_ALIVE(k)	((k) == MMAP -> mmst[A] == ALLOC : \
			 ((k) == ROOT -> ROOT_ALIVE : MM_ALIVE(k)))

/*
 * What every process needs as local variables.  hl: the locks that it holds; own:
 * the mm in which it runs, or NOBODY's.
 */
#define LOCALS	byte v, w, w2, i, a, k, was, lazy, l = NOLOCK, z, hl, own; \
		byte g[2], ng; bool fin, late

#define REACHED	assert(false)

/* May it wait for lock k?  See the head. */
inline may_wait(k)
{
	assert(!(rcu & ME) && !(hl & MMLOCKS));
	assert(!IS_MMLOCK(k) || k == (own == NOBODY -> A : own));
	assert(k != ROOT || (!(hl & (1 << ROOT)) && own != B));
	assert(k != MMAP || (!hl && own == A));
	assert(LOCK_ALIVE(k))
}
/* For a VMA lock or the folio lock. */
#define MAY_WAIT_ELSE	assert(!(rcu & ME) && !(hl & ALL_RMAP))

inline down_read(k)
{
	atomic { !wr[k] && !ww[k] -> may_wait(k); rd[k]++; hl = hl | (1 << k) }
}
inline up_read(k)
{
	d_step { assert(rd[k] && LOCK_ALIVE(k)); rd[k]--; hl = hl & ~(1 << k) }
}
inline up_write(k)
{
	d_step { assert(wr[k] && LOCK_ALIVE(k)); wr[k] = 0; hl = hl & ~(1 << k) }
}
inline downgrade(k) { d_step { assert(wr[k]); wr[k] = 0; rd[k]++ } }
inline down_write(k)
{
	if
	:: atomic { !wr[k] && !rd[k] -> may_wait(k); wr[k] = 1; hl = hl | (1 << k) }
	:: atomic { wr[k] || rd[k] -> may_wait(k); ww[k]++ };
		atomic { !wr[k] && !rd[k] -> wr[k] = 1; ww[k]--; hl = hl | (1 << k) }
	fi
}
inline up_any(k) { if :: wr[k] -> up_write(k) :: else -> up_read(k) fi }

inline lock_folio() { atomic { !flock -> MAY_WAIT_ELSE; flock = 1 } }
inline unlock_folio() { flock = 0 }

/* Only a free sees that it is held, so it is one step with what follows. */
inline rcu_lock() { rcu = rcu | ME }
inline rcu_done(s)
{
	rcuwait[s] = rcuwait[s] & ~ME;
	if
	:: st[s] == WAITING && !srcuwait[s] && !rcuwait[s] -> st[s] = FREED
	:: else
	fi
}
inline rcu_unlock()
{
	rcu = rcu & ~ME;
	avwait = avwait & ~ME;
#ifdef I_CHILD
	rootwait = rootwait & ~ME;
#endif
	rcu_done(0);
	rcu_done(1);
	rcu_done(2);
	mmwait[0] = mmwait[0] & ~ME;
	mmwait[1] = mmwait[1] & ~ME;
	mmwait[2] = mmwait[2] & ~ME;
	mmwait[3] = mmwait[3] & ~ME
}

/* The end of a walk.  Who unlocks an rwsem may look at it once it is unlocked. */
inline unlock_walk(k)
{
#ifdef BR_UNLOCK_NO_RCU
	d_step { assert(rd[k] && (k != ROOT || AV_ALIVE)); rd[k]--; hl = 0 };
#else
	d_step { assert(rd[k] && (k != ROOT || AV_ALIVE)); rcu_lock(); rd[k]--; hl = 0 };
#endif
	d_step { assert(LOCK_ALIVE(k)); rcu_unlock() }
}

/* The struct goes back to the slab: once, and by who may do it. */
inline kfree(s, from)
{
	d_step { assert(st[s] == from); st[s] = FREED; rcuwait[s] = rcu }
}
/* lazy_free(): after the holds, and then after the walks that began before */
inline srcu_over(s)
{
	if
	:: st[s] == WAITING && !srcuwait[s] ->
		rcuwait[s] = rcu;
#ifndef BR_FREE_NO_RCU
		if
		:: rcu
		:: else -> st[s] = FREED
		fi
#else
		st[s] = FREED
#endif
	:: else
	fi
}
inline lazy_free(s, from)
{
	d_step {
		assert(st[s] == from);
#ifdef REACH_SRCU
		assert(!srcu);
#endif
		st[s] = WAITING;
#ifndef BR_FREE_NO_SRCU
		srcuwait[s] = srcu;
#endif
		srcu_over(s)
	}
}
inline srcu_done(s)
{
	if
	:: srcuwait[s] & ME -> srcuwait[s] = srcuwait[s] & ~ME; srcu_over(s)
	:: else
	fi
}
/* lazy_put() */
inline lazy_put()
{
	d_step { srcu = srcu & ~ME; srcu_done(0); srcu_done(1); srcu_done(2) }
}

/* __mmdrop() and mmdrop() */
inline mm_free(m)
{
	assert(mmst[m] == ALLOC && !mmcount[m]);
#ifndef BR_MM_NO_RCU
	mmwait[m] = rcu;
#endif
	mmst[m] = FREED
}
inline mmdrop(m)
{
	d_step {
		assert(mmcount[m]);
		mmcount[m]--;
		if
		:: mmcount[m]
		:: else -> mm_free(m)
		fi
	}
}

/* lazy_release(): z says whether it may be held */
inline release(s)
{
	d_step {
		assert(ALIVE(s));
		was = avma[s];
		avma[s] = (z -> DEAD : NUL)
	};
#ifdef REACH_RELEASE_HELD
	assert(!(srcu && (was & DEF)));
#endif
#ifdef REACH_RELEASE_FIRST
	assert(was & DEF);
#endif
	if
	:: was & DEF -> lazy_free(s, DEFERRED)
	:: else
	fi
}

/* A walk may have the lock, and be about to see that the folio is unmapped. */
inline av_wait()
{
	if
	:: rd[ROOT] || wr[ROOT] -> down_write(ROOT); up_write(ROOT)
	:: else
	fi
}

#ifdef I_CHILD
inline root_put()
{
	d_step { assert(rootref); rootref--; z = (rootref == 0) };
	if
	:: z ->
		av_wait();
		d_step { assert(rootst == ALLOC && !nroot); rootst = FREED; rootwait = rcu }
	:: else
	fi;
	z = 0
}
#endif

/* __put_anon_vma() and anon_vma_free(), with the head */
inline av_free()
{
#ifdef BR_FREE_LOCK_FIRST
	av_wait();
#endif
#ifndef BR_NO_RELEASE
#ifdef BR_HEAD_NOT_HELD
	z = 0;
#else
	z = 1;
#endif
	release(X);
#endif
#ifndef BR_FREE_LOCK_FIRST
	av_wait();
#endif
	d_step { assert(avst == ALLOC && AV_EMPTY && !nactive); avst = FREED; avwait = rcu };
#if defined(I_CHILD) && !defined(BR_NO_ROOT_REF)
	root_put()
#endif
}
inline av_put()
{
	d_step { assert(avref); avref--; z = (avref == 0) };
	if
	:: z -> av_free()
	:: else
	fi
}

inline list_add_tail(u)
{
#ifdef BR_JOIN_FIRST
	list[1] = list[0]; list[0] = u;
#else
	list[nlist] = u;
#endif
	nlist++
}
/* list_add(): behind from, which may be the head */
inline list_add(u, from)
{
#ifdef BR_LINK_FIRST
	list[1] = list[0]; list[0] = u;
#else
	if
	:: nlist && from == list[0] -> list[1] = u
	:: else -> list[1] = list[0]; list[0] = u
	fi;
#endif
	nlist++
}
inline list_del(u)
{
	if
	:: nlist && list[0] == u -> list[0] = list[1]; nlist--
	:: nlist == 2 && list[0] != u && list[1] == u -> nlist--
	:: else -> assert(false)	/* it was on none: the list is corrupt */
	fi;
	/* So that states do not differ in what is not used. */
	if
	:: nlist < 2 -> list[1] = 0
	:: else
	fi;
	if
	:: nlist < 1 -> list[0] = 0
	:: else
	fi
}
inline tree_add(u) { tree[ntree] = u; ntree++ }
inline tree_del(u)
{
	if
	:: ntree > 0 && tree[0] == u -> tree[0] = tree[1]; tree[1] = tree[2]; ntree--
	:: ntree > 1 && tree[0] != u && tree[1] == u -> tree[1] = tree[2]; ntree--
	:: ntree > 2 && tree[0] != u && tree[1] != u && tree[2] == u -> ntree--
	:: else -> assert(false)	/* it was in none: the tree is corrupt */
	fi;
	if
	:: ntree < 3 -> tree[2] = 0
	:: else
	fi;
	if
	:: ntree < 2 -> tree[1] = 0
	:: else
	fi;
	if
	:: ntree < 1 -> tree[0] = 0
	:: else
	fi
}

/*
 * The begin of folio_lock_anon_vma_read() and folio_get_anon_vma(), in RCU: w is
 * what the folio stands for.  Then k is the lock, or NOMM, unless it is NUL.
 */
inline look(held)
{
#ifdef BR_LOOK_EARLY
	d_step { rcu_lock(); assert(ALIVE(SLOT(fmap))); w = RESOLVE(fmap) };
	w = (held || mc -> w : NUL);
#else
	d_step { rcu_lock(); w = (held || mc -> fmap : NUL) };
	d_step {
		if
		:: w && ISLAZY(w) ->
#ifdef REACH_SEE_FREED
			assert(st[SLOT(fmap)] != FREED);
#endif
			assert(ALIVE(SLOT(fmap)));
			w = RESOLVE(fmap)
		:: else
		fi
	};
#endif
	d_step {
		if
		:: w && ISLAZY(w) ->
			assert(ALIVE(SLOT(w)));
#ifdef REACH_SEE_REUSED
			assert(!reused || vmm[SLOT(w)] != B);
#endif
#ifdef REACH_SEE_NO_MM
			assert(vmm[SLOT(w)] != NOMM);
#endif
			k = vmm[SLOT(w)];
#ifdef BR_NO_MM_TEST
			assert(k != NOMM)
#else
			w = (k == NOMM -> NUL : w)
#endif
		:: w && !ISLAZY(w) ->
			assert(w == AV && AV_ALIVE);
			k = ROOT;
			w = (avref -> w : NUL)
		:: else
		fi
	}
}

/* Take a reference to what has lock k, if that has any: z. */
inline get_ref(k)
{
	d_step {
		assert(LOCK_ALIVE(k));
		if
		:: k == ROOT -> z = (avref > 0); avref = avref + z
		:: else -> z = (mmcount[k] > 0); mmcount[k] = mmcount[k] + z
		fi
	}
}
#ifdef BR_LOAD_MM_TWICE
#define REF	w2
#else
#define REF	k
#endif
#ifdef HELD_ONLY
#define GIVE_UP	(held -> NOLOCK : AGAIN)	/* see the restore fail, not the unmap */
#else
#define GIVE_UP	NOLOCK
#endif

/*
 * folio_lock_anon_vma_read(): l is what is held, or NOLOCK.  If held then the
 * folio need not be mapped.
 */
inline lock_folio_anon_vma(held)
{
	l = AGAIN;
	do
	:: l == AGAIN ->
		look(held);
		if
		:: w == NUL -> d_step { rcu_unlock(); l = NOLOCK }
		:: else ->
			if
			:: atomic {
				!wr[k] && !ww[k] ->
				assert(LOCK_ALIVE(k)); rd[k]++; hl = 1 << k; z = 1
			   }
			:: atomic { wr[k] || ww[k] -> assert(LOCK_ALIVE(k)); z = 0 };
				/* We have to sleep. */
#ifdef BR_LOOK_NO_REF
				late = (!held -> mc == 0 : RESOLVE(fmap) != w);
#endif
#ifdef BR_LOAD_MM_TWICE
				d_step {
					if
					:: k != ROOT -> assert(ALIVE(SLOT(w))); w2 = vmm[SLOT(w)]
					:: else -> w2 = k
					fi
				};
				get_ref(REF);
#elif defined(BR_SLEEP_NO_REF)
				z = 1;
#else
				get_ref(REF);
#endif
				if
				:: !z ->
#ifdef REACH_NO_REF
					assert(k == ROOT || !mc);
#endif
#ifdef BR_NO_REF_GIVES_UP
					d_step { rcu_unlock(); l = GIVE_UP }
#else
					/* All of an mm may be gone, and a child have the folio. */
					d_step { rcu_unlock() }
#endif
				:: else ->
					/* With the reference: is it what we want? */
					d_step {
#ifdef BR_SLEEP_NO_LOOK
						z = 1;
#elif defined(BR_LOOK_NO_REF)
						z = !late;
						late = 0;
#else
						z = (!held -> mc : RESOLVE(fmap) == w);
#endif
						rcu_unlock()
					};
					if
					:: z ->
						assert(k != ROOT || avst == ALLOC);
						down_read(k);
						d_step {
							rcu_lock();
#ifndef BR_SLEEP_NO_REF
							if
							:: k == ROOT -> avref--; z = (avref > 0)
							:: else -> mmcount[REF]--; z = (mmcount[REF] > 0)
							fi
#endif
						}
						if
						:: z
						:: else ->
							/* The last one. */
							up_read(k);
							d_step { rcu_unlock() };
#ifdef REACH_LAST_PUT
							assert(k == ROOT);
#endif
#ifdef REACH_LAST_PUT_AV
							assert(k != ROOT);
#endif
							if
							:: k == ROOT -> av_free(); z = 0
							:: else ->
#ifdef BR_LAST_PUT_GIVES_UP
								l = GIVE_UP;
#endif
								d_step { mm_free(REF); z = 0 }
							fi
						fi
					:: else ->
#ifdef REACH_STALE
						assert(k == ROOT);
#endif
#ifdef REACH_STALE_AV
						assert(k != ROOT);
#endif
#ifndef BR_SLEEP_NO_REF
						if
						:: k == ROOT -> av_put()
						:: else -> mmdrop(REF)
						fi;
#endif
						z = 0
					fi
				fi
			fi;
			if
			:: z ->
				/* Locked, and in RCU. */
				z = 0;
#ifndef BR_NO_MAPPED
				if
				:: !held && mc == 0 -> up_read(k); d_step { rcu_unlock() }
				:: else ->
#else
				if
				:: true ->
#endif
					d_step {
						assert(ALIVE(SLOT(fmap)));
#ifdef BR_NO_RECHECK
						l = k; rcu_unlock()
#else
						if
						:: RESOLVE(fmap) == w -> l = k; rcu_unlock()
						:: else -> z = 1
						fi
#endif
					};
					if
					:: z ->
#ifdef REACH_WALK_RESTART
						assert(mc == 0);
#endif
						up_read(k);
						d_step { rcu_unlock(); z = 0 }
					:: else
					fi
				fi
			:: else
			fi
		fi
	:: else -> break
	od;
	w = 0; w2 = 0; z = 0; k = 0; was = 0
}

/*
 * folio_get_anon_vma(): w is what is held, the lazy VMA's or AV, or NUL.  Who
 * unlinks the VMA sees the flag if we see the folio mapped afterwards.
 */
inline get_folio_anon_vma()
{
	look(0);
	if
	:: w == NUL -> d_step { rcu_unlock() }
	:: w != NUL && k == ROOT ->
		get_ref(k);
		w = (z -> w : NUL);
		d_step { z = (mc == 0); rcu_unlock() };
		if
		:: w && z -> av_put(); w = NUL
		:: else
		fi
	:: w != NUL && k != ROOT ->
#ifdef BR_HOLD_LATE
		d_step { assert(LOCK_ALIVE(k)); mmheld[k] = 1 };
		z = (mc == 0);
		srcu = srcu | ME;
#elif defined(BR_HOLD_NO_BARRIER)
		srcu = srcu | ME;
		z = (mc == 0);
		d_step { assert(LOCK_ALIVE(k)); mmheld[k] = 1 };
#else
		srcu = srcu | ME;
		d_step { assert(LOCK_ALIVE(k)); mmheld[k] = 1 };
		z = (mc == 0);
#endif
		d_step { rcu_unlock() };
		if
		:: z -> lazy_put(); w = NUL
		:: else
		fi
	fi;
	z = 0; k = 0
}

/* What a walk does to one VMA. */
#define UNMAP	0
#define MIGRATE	1
#define RESTORE	2
inline visit(u, op)
{
	d_step { assert(ALIVE(u)); a = cover[u] };
	if
	:: a == NOWHERE
	:: else ->
		d_step {
			assert(!ptfreed[a]);
			if
			:: op == UNMAP && pte[a] == PRES -> pte[a] = SWAP; mc--
			:: op == MIGRATE && pte[a] == PRES -> pte[a] = MIG; mc--
			:: op == RESTORE && pte[a] == MIG -> pte[a] = PRES; mc++;
#ifdef REACH_RESTORE_UPGRADED
				assert(l != ROOT);
#endif
#ifdef REACH_RESTORE_CHILD
				assert(u != O);
#endif
			:: else
			fi
		}
	fi
}

inline walk_tree(op)
{
	i = 0;
	do
	:: atomic { l == ROOT && i < ntree -> v = tree[i] };
		visit(v, op); i++
	:: else -> break
	od
}
/* listed_next_vma(): the head, if it is not unlinked, and what is on its list */
inline walk_list(op)
{
#ifdef I_CHILD
	d_step { assert(ALIVE(X)); z = (l != ROOT && avma[X] == fmap) };
#else
	d_step { assert(ALIVE(X)); z = (avma[X] == (l == ROOT -> AV : fmap)) };
#endif
#ifdef BR_WALK_UNLINKED
	z = 1;
#endif
	if
	:: z -> visit(X, op)
	:: else
	fi;
	i = 0;
#ifdef BR_WALK_NO_GROUP
	i = 9;
#endif
#ifdef BR_RESTORE_NO_GROUP
	if :: op == RESTORE -> i = 9 :: else fi;
#endif
	do
	:: atomic { i < nlist -> assert(ALIVE(X)); v = list[i] };
#ifdef REACH_GROUP
		assert(l == ROOT || pte[cover[v]] != PRES);
#endif
#ifdef REACH_LIST
		assert(l != ROOT || pte[cover[v]] != PRES);
#endif
#ifdef REACH_HEADLESS
		assert(z || pte[cover[v]] != PRES);
#endif
		visit(v, op); i++
	:: else -> break
	od
}
/* rmap_walk_anon() with l held, and anon_vma_next_vma() */
inline walk(op)
{
	assert(SLOT(fmap) == X && (l != ROOT || avst == ALLOC));
#ifdef BR_TREE_FIRST
	walk_tree(op);
	walk_list(op);
#else
	walk_list(op);
#ifdef REACH_LIST_TREE
	assert(!(l == ROOT && i && ntree && pte[cover[tree[0]]] == PRES));
#endif
	walk_tree(op);
#endif
	assert(l != ROOT || avst == ALLOC);
	i = 0; v = 0; a = 0; z = 0
}

/* lazy_join(): z says whether u has the same ->anon_vma now */
inline join(u, n)
{
	k = vmm[SLOT(n)];
#ifndef BR_JOIN_NO_LOCK
	down_write(MMLOCK(k));
#endif
	d_step {
		assert(ALIVE(SLOT(n)));
		z = (RESOLVE(n) == n && nlist < MAXLIST)
	};
	if
	:: z ->
		d_step {
			/* Another fault may have been faster. */
			if
			:: avma[u] == NUL || (avma[u] == n && !att[u]) ->
				avma[u] = n; list_add_tail(u)
			:: else
			fi
		}
	:: else
	fi;
#ifndef BR_JOIN_NO_LOCK
	up_write(MMLOCK(k));
#endif
	k = 0
}

/* anon_vma_attach() of what is on the list: that it is comes before the anon_vma */
inline attach(u)
{
#ifdef BR_LISTED_LATE
	avma[u] = AV;
	d_step { listed[u] = AV; nactive++ }
#else
	d_step { listed[u] = AV; nactive++ };
	avma[u] = AV
#endif
}

/*
 * __anon_vma_upgrade() of n, what X is as a lazy VMA, on behalf of u.  The list stays
 * as it is.  But a child's VMA has two anon_vmas then, so it has a chain, and is in the
 * tree of its own.  That of its parent is not modelled.
 */
inline upgrade(n, u)
{
	/* The root of a child: that of a group is its own anon_vma, if anything. */
#if defined(I_CHILD) && !defined(BR_UPGRADE_MM_FIRST)
	assert(LISTED(X, n) == AV2);
	down_write(ROOT);
#endif
#ifndef BR_UPGRADE_NO_LOCK
	down_write(MMLOCK(A));
#endif
#if defined(I_CHILD) && defined(BR_UPGRADE_MM_FIRST)
	down_write(ROOT);
#endif
	d_step {
		assert(ALIVE(X));
		z = (RESOLVE(n) != n)
	};
	if
	:: z ->
#ifdef REACH_UPGRADE_LOSES
		REACHED;
#endif
		skip
	:: else ->
		d_step {
			assert(avst == NOT_YET);	/* X is upgraded once */
			avst = ALLOC; avref = 1;
#ifdef I_CHILD
#ifndef BR_NO_ROOT_REF
			rootref++;
#endif
#elif !defined(BR_UPGRADE_NO_ROOT)
			/* Locked before anybody else can know it. */
			assert(!rd[ROOT] && !wr[ROOT] && !ww[ROOT]);
			wr[ROOT] = 1; hl = hl | (1 << ROOT);
#endif
			was = avma[X]
		};
#ifdef I_CHILD
		assert(was == n);
		d_step { tree_add(X); nactive++ };
#ifdef BR_UPGRADE_CLEARS
		listed[X] = NUL;
#endif
		avma[X] = AV;
#else
		if
		:: was == n -> attach(X)
		:: else ->
			/* X was unlinked; vm_area_free() may run just now. */
#ifdef BR_DROP_BITS
			avma[X] = AV
#elif defined(BR_UPGRADE_NOT_ATOMIC)
			avma[X] = AV | (was & (UNL | DEF))
#else
#ifdef REACH_UPGRADE_LATE
			assert(avma[X] == was);
#endif
			d_step { avma[X] = avma[X] - n + AV }
#endif
		fi;
		i = 0;
		do
		:: i < nlist ->
#ifdef BR_UPGRADE_ONE
			/* Only the VMA at hand: the others stay as they are. */
			if
			:: list[i] == u -> attach(list[i])
			:: else
			fi;
#else
			attach(list[i]);
#endif
			i++
		:: else -> break
		od;
		i = 0;
#endif
		was = 0
	fi;
#ifndef BR_UPGRADE_NO_LOCK
	up_write(MMLOCK(A));
#endif
	if
	:: hl & (1 << ROOT) -> up_write(ROOT)
	:: else
	fi;
	z = 0
}

/* vma_set_named(): n is what a folio of u is to name, and then u has that name */
inline anon_name(u, n)
{
	n = avma[u];
	if
	:: ISLAZY(n) && (n & CHILD) ->
#ifndef BR_NAME_NO_CLAIM
		unnamed[u] = 0
#else
		skip
#endif
	:: else
	fi
}

/* anon_vma_clone() for a split or a move in one mm: u is to have what from has */
inline clone(u, from)
{
	lazy = avma[from];
	z = 0;
	if
	:: ISLAZY(lazy) -> join(u, lazy)
	:: else
	fi;
	if
	:: z == 0 && ISLAZY(lazy) -> upgrade(lazy, from)
	:: else
	fi;
	if
	:: z == 0 ->
		assert(avma[from] == AV);
		down_write(ROOT);
		if
		:: LISTED(from, AV) && nlist < MAXLIST ->
			d_step { list_add(u, from) };
			attach(u)
		:: else ->
			d_step { tree_add(u); nactive++; avma[u] = AV }
		fi;
		up_write(ROOT)
	:: else
	fi
}

/*
 * anon_vma_fork(): O is a copy of from, whose mm is the own one.  If that is unnamed
 * they are siblings.
 */
inline link_child(from)
{
	lazy = avma[from];
	if
#ifdef BR_SIBLING_NAMED
	:: ISLAZY(lazy) && !(lazy & CHILD) -> upgrade(lazy, from)
#else
	:: ISLAZY(lazy) && !unnamed[from] -> upgrade(lazy, from)
#endif
	:: else
	fi;
#ifdef BR_LINK_NO_LOCK
	/* The links are loaded, and then there are stores. */
	d_step { g[0] = list[0]; g[1] = list[1]; ng = nlist };
#else
	down_write(ROOT);
#endif
	d_step {
		lazy = avma[from];
		z = LISTED(from, lazy);
#ifdef FORK_TREE
		z = NUL;			/* the child must not be lazy */
#endif
#ifdef BR_LINK_NO_LOCK
		list[0] = g[0]; list[1] = g[1]; nlist = ng;
		g[0] = 0; g[1] = 0; ng = 0;
#endif
#ifdef I_CHILD
		nroot++;
#endif
		if
		:: z ->
#ifndef I_CHILD
			list_add(O, from);
#endif
			listed[O] = z;
			unnamed[O] = 1;
			avma[O] = LAZY | CHILD | O
		:: else ->
			/* It has a chain, and an anon_vma of its own, which does not matter. */
			tree_add(O);
			avma[O] = AV2
		fi
	};
#ifndef BR_LINK_NO_LOCK
	up_write(ROOT);
#endif
	lazy = 0; z = 0
}
/* copy_page_range() */
inline copy_ptes(from)
{
	atomic {
		pte[2] = (cover[from] == NOWHERE -> NONE : pte[cover[from]]);
		if
		:: pte[2] == PRES -> mc++
		:: else
		fi
	}
}
inline fork(from, mm)
{
	d_step {
		st[O] = ALLOC; cover[O] = 2; vmm[O] = mm; mmst[mm] = ALLOC; mmcount[mm] = 1
	};
#ifdef BR_FORK_NO_UPGRADE
	avma[O] = LAZY | O;
#elif !defined(BR_COPY_FIRST)
	link_child(from);
#endif
	copy_ptes(from);
#ifdef BR_COPY_FIRST
	link_child(from);
#endif
	skip
}

/*
 * anon_vma_lock_write() of what lazy is: the family's root first.  vma_prepare()
 * calls it, with mmap held for writing, which keeps it as it is.
 */
inline lock_write(m)
{
	if
	:: ISLAZY(lazy) && (lazy & CHILD) ->
#ifdef BR_MM_THEN_ROOT
		down_write(MMLOCK(m)); down_write(ROOT)
#elif defined(BR_KID_NO_ROOT)
		down_write(MMLOCK(m))
#else
		down_write(ROOT); down_write(MMLOCK(m))
#endif
	:: ISLAZY(lazy) && !(lazy & CHILD) -> down_write(MMLOCK(m))
	:: lazy == AV || lazy == AV2 -> down_write(ROOT)
	:: else
	fi
}
inline unlock_write(m)
{
	if
	:: ISLAZY(lazy) -> up_write(MMLOCK(m))
	:: else
	fi;
	if
	:: wr[ROOT] && (hl & (1 << ROOT)) -> up_write(ROOT)
	:: else
	fi
}
inline vma_lock(u)
{
	atomic { vread[u] == 0 -> MAY_WAIT_ELSE; vwrite[u] = 1 };
	lazy = avma[u];
#ifndef BR_RANGE_NO_LOCK
	lock_write(own)
#endif
}
inline vma_unlock(u)
{
#ifndef BR_RANGE_NO_LOCK
	unlock_write(own);
#endif
	vwrite[u] = 0
}

/* lazy_unlink(): late if it was upgraded meanwhile */
inline lazy_unlink(u)
{
#ifdef BR_UNLINK_LOADS_TWICE
	lazy = avma[u];
#endif
#ifndef BR_UNLINK_NO_LOCK
	down_write(MMLOCK(own));
#endif
	assert(vmm[SLOT(lazy)] == own);
#ifdef BR_UNLINK_NO_REREAD
	late = 0;
#else
	late = (avma[u] != lazy);
#endif
	if
	:: late ->
#ifdef REACH_UNLINK_LATE
		REACHED;
#endif
		skip
	:: !late && u != SLOT(lazy) ->
		d_step { list_del(u) };
		avma[u] = NUL
	:: !late && u == SLOT(lazy) ->
#ifdef BR_NO_UNLINKED
		avma[u] = DEAD
#else
		avma[u] = lazy | UNL
#endif
	fi;
	d_step {
		assert(ALIVE(SLOT(lazy)));
		z = (!late && avma[SLOT(lazy)] != lazy && ((lazy & CHILD) || nlist == 0))
	};
	if
	:: z ->
#ifdef BR_UNLINK_NO_BARRIER
		z = early;
#elif defined(BR_UNLINK_NO_HOLDS)
		z = 0;
#else
		z = mmheld[own];
#endif
		release(SLOT(lazy))
	:: else
	fi;
#ifndef BR_UNLINK_NO_LOCK
	up_write(MMLOCK(own))
#endif
}

/* unlink_listed(): lazy is what u had; z says whether the anon_vma is empty */
inline unlink_listed(u)
{
#ifdef I_CHILD
	assert(a == AV2);
	nroot--
#else
	assert(a == AV);
	if
	:: u != X -> list_del(u)
	:: else ->
#ifdef BR_HEAD_TAKES_LIST
		nlist = 0; list[0] = 0; list[1] = 0;
#endif
		skip
	fi;
	if
	:: lazy == AV ->
		assert(nactive);
		nactive--;
		avma[u] = (u == X -> (AV | UNL) : NUL)
	:: else
	fi;
#if defined(BR_EMPTY_TREE_ONLY)
	z = (ntree == 0)
#elif defined(BR_EMPTY_LIST_ONLY)
	z = (nlist == 0 && avma[X] != AV)
#elif defined(BR_EMPTY_NO_HEAD)
	z = (ntree == 0 && nlist == 0)
#else
	z = AV_EMPTY
#endif
#endif
}

/* unlink_anon_vmas() */
inline unlink(u)
{
	lazy = avma[u];
	late = 0;
	if
#ifdef BR_UNLINK_NAMED
	:: ISLAZY(lazy) && (lazy & CHILD) -> avma[u] = NUL
#else
	:: ISLAZY(lazy) && unnamed[u] -> avma[u] = NUL
#endif
	:: ISLAZY(lazy) &&
#ifdef BR_UNLINK_NAMED
	   !(lazy & CHILD)
#else
	   !unnamed[u]
#endif
	   ->
		lazy_unlink(u);
		if
		:: late -> lazy = avma[u]
		:: !late && !(lazy & CHILD) -> lazy = NUL
		:: else
		fi
	:: else
	fi;
	if
	:: lazy ->
		d_step { a = LISTED(u, lazy); listed[u] = NUL; unnamed[u] = 0 };
#ifndef BR_UNLINK_NO_ROOT
		down_write(ROOT);
#endif
		d_step {
			z = 0;
			if
			:: a -> unlink_listed(u)
			:: else ->
				/* It has a chain. */
				assert(!ISLAZY(lazy));
#ifdef I_CHILD
				nroot--;
#endif
				tree_del(u);
				if
				:: lazy == AV -> nactive--; avma[u] = (u == X -> (AV | UNL) : NUL)
				:: else
				fi;
#if defined(BR_EMPTY_TREE_ONLY)
				z = (ntree == 0)
#else
				z = AV_EMPTY
#endif
			fi;
#ifdef I_CHILD
			fin = !nroot;
#endif
			a = 0
		};
#ifndef BR_UNLINK_NO_ROOT
		up_write(ROOT);
#endif
		if
		:: z -> av_put()
		:: else
		fi;
#ifdef I_CHILD
		if
		:: fin -> root_put()
		:: else
		fi;
		fin = 0
#endif
	:: else
	fi;
	lazy = 0; late = 0; z = 0; was = 0
}

/* vm_area_free() and vma_defer_free() */
inline area_free(u)
{
	gone[u] = 1;
	was = avma[u];
	fin = 0;
	if
#ifndef BR_FREE_HEAD
	:: (was & UNL) || was == DEAD ->
		d_step {
#ifndef BR_NO_ATOMIC
#ifdef REACH_FREE_LATER
			assert(avma[u] == was);
#endif
			was = avma[u];
#endif
			avma[u] = was | DEF;
			if
			:: was & UNL -> st[u] = DEFERRED; fin = 1
			:: else
			fi
		}
#endif
	:: else
	fi;
	if
	:: fin
	:: !fin && was == DEAD -> lazy_free(u, ALLOC)
	:: !fin && was != DEAD -> kfree(u, ALLOC)
	fi;
	was = 0; fin = 0
}

inline zap(u)
{
	atomic {
#ifdef BR_UNLINK_NO_BARRIER
		early = mmheld[own]
	};
	atomic {
#endif
		if
		:: cover[u] != NOWHERE ->
			if
			:: pte[cover[u]] == PRES -> mc--
			:: else
			fi;
			pte[cover[u]] = NONE
		:: else
		fi
	}
}
inline free_pgtables(u)
{
	if
	:: cover[u] != NOWHERE -> ptfreed[cover[u]] = 1
	:: else
	fi
}
inline detach(u) { atomic { vread[u] == 0 -> MAY_WAIT_ELSE; att[u] = 0 } }

inline done() { d_step { assert(!hl); ndone++ } }

/* __anon_vma_upgrade() of a lazy child: from the list to the tree */
inline kid_upgrade(c)
{
#ifdef BR_UPGRADE_MM_FIRST
	down_write(MMLOCK(own));
#endif
#ifndef BR_KID_UPGRADE_NO_ROOT
	down_write(ROOT);
#endif
#ifndef BR_UPGRADE_MM_FIRST
	down_write(MMLOCK(own));
#endif
#ifndef BR_KID_STAYS
	d_step { list_del(c) };
#endif
	d_step { tree_add(c) };
	avma[c] = AV2;
	up_write(MMLOCK(own));
	if
	:: hl & (1 << ROOT) -> up_write(ROOT)
	:: else
	fi
}

/* Reclaim: try_to_unmap(). */
#ifdef P_WALKER
proctype walker(byte me)
{
	LOCALS;

	own = NOBODY;
	fexists;
	lock_folio();
	lock_folio_anon_vma(0);
	if
	:: l != NOLOCK -> walk(UNMAP); assert(mc == 0); unlock_walk(l)
	:: else -> assert(mc == 0)
	fi;
	unlock_folio();
	done()
}
#endif

/* Migration: hold, unmap, restore. */
#ifdef P_MIGRATOR
proctype migrator(byte me)
{
	LOCALS;
	byte held;

	own = NOBODY;
	fexists;
	lock_folio();
#ifdef BR_RESTORE_NO_HOLD
	held = (mc -> fmap : NUL);
#else
	get_folio_anon_vma();
	held = w;
#endif
	if
	:: held ->
		/* try_to_migrate() */
		lock_folio_anon_vma(0);
		if
		:: l != NOLOCK -> walk(MIGRATE); assert(mc == 0); unlock_walk(l)
		:: else -> assert(mc == 0)
		fi;

		/* remove_migration_ptes() */
#ifdef BR_RESTORE_MAPPED
		lock_folio_anon_vma(0);
#else
		lock_folio_anon_vma(1);
#endif
		if
		:: l != NOLOCK -> walk(RESTORE)
		:: else ->
#ifdef REACH_RESTORE_DEAD
			REACHED;
#endif
			skip
		fi;
		assert(pte[0] != MIG && pte[1] != MIG && pte[2] != MIG);
		if
		:: l != NOLOCK -> unlock_walk(l)
		:: else
		fi;
#ifndef BR_RESTORE_NO_HOLD
		/* put_anon_vma() */
		if
		:: ISLAZY(held) -> lazy_put()
		:: else -> av_put()
		fi
#endif
	:: else
	fi;
	unlock_folio();
	held = 0;
	done()
}
#endif

/* Migration of another folio of A. */
#ifdef P_STRANGER
proctype stranger(byte me)
{
	do
	:: mmst[A] == ALLOC ->
		srcu = srcu | ME;
		mmheld[A] = 1;
		lazy_put()
	:: d_step { ndone++ }; break
	od
}
#endif

/* __folio_split(): locked for reading from unmap to remap. */
#ifdef P_THP
proctype thp(byte me)
{
	LOCALS;

	own = NOBODY;
	fexists;
	lock_folio();
	lock_folio_anon_vma(0);
	if
	:: l != NOLOCK ->
		walk(MIGRATE);
		assert(mc == 0);
#ifdef BR_SPLIT_LETS_GO
		unlock_walk(l);
		lock_folio_anon_vma(0);
#endif
		if
		:: l != NOLOCK -> walk(RESTORE)
		:: else
		fi;
		assert(pte[0] != MIG && pte[1] != MIG && pte[2] != MIG);
		if
		:: l != NOLOCK -> unlock_walk(l)
		:: else
		fi
	:: else -> assert(mc == 0)
	fi;
	unlock_folio();
	done()
}
#endif

/* Collapse to a smaller folio: the page table is hidden meanwhile. */
#ifdef P_COLLAPSE
proctype collapse(byte me)
{
	LOCALS;

	own = A;
	down_write(MMAP);
	if
	:: att[N] && avma[N] != NUL && cover[N] != NOWHERE ->
		lazy = avma[N];
#ifndef BR_COLLAPSE_NO_LOCK
		lock_write(A);
#endif
		ptfreed[cover[N]] = 1;
		ptfreed[cover[N]] = 0;
#ifndef BR_COLLAPSE_NO_LOCK
		unlock_write(A)
#endif
	:: else
	fi;
	lazy = 0;
	up_write(MMAP);
	mmdrop(A);
	done()
}
#endif

/* KSM: an upgrade under the mmap read lock, and a reference that it may keep. */
#ifdef P_KSM
proctype ksm(byte me)
{
	LOCALS;

	own = A;
	down_read(MMAP);
	if
	:: att[X] -> v = X
	:: att[N] -> v = N
	:: att[O] && vmm[O] == A -> v = O
	:: !att[X] && !att[N] && !att[O] -> v = NOWHERE
	fi;
	if
	:: v != NOWHERE ->
		/* anon_vma_upgrade() */
		anon_name(v, lazy);
		if
		:: ISLAZY(lazy) -> upgrade(lazy, v)
		:: else
		fi;
		z = 0;
#ifdef KSM_REF
		if
		:: atomic { avma[v] == AV -> assert(avst == ALLOC && avref); avref++; z = 1 }
		:: avma[v] != AV
		fi
#endif
	:: else -> z = 0
	fi;
	v = 0; lazy = 0;
	up_read(MMAP);
	mmdrop(A);
#ifdef KSM_REF
	if
	:: z -> av_put()
	:: else
	fi;
#endif
	z = 0;
	done()
}
#endif

/* munmap() of any of the VMAs in any order, until none is left, and exit. */
#ifdef P_UNMAPPER
proctype unmapper(byte me)
{
	LOCALS;
	byte first, second;
#ifdef BR_UNLINK_NO_BARRIER
	bool early;
#endif

	own = A;
	do
	:: att[X] || att[N] || att[O] ->
		down_write(MMAP);
		first = NOWHERE; second = NOWHERE;
		if
		:: att[X] -> first = X
		:: att[N] -> first = N
		:: att[O] -> first = O
		:: !att[X] && !att[N] && !att[O] -> skip
		fi;
		if
		:: first != NOWHERE ->
			if
			:: first != X && att[X] -> second = X
			:: first != N && att[N] -> second = N
			:: skip
			fi;
			detach(first);
			if
			:: second != NOWHERE -> detach(second)
			:: else
			fi;
			/* exit does not, which leaves the others fewer choices. */
			downgrade(MMAP);
			zap(first);
			if
			:: second != NOWHERE -> zap(second)
			:: else
			fi;
			unlink(first);
			free_pgtables(first);
			if
			:: second != NOWHERE -> unlink(second); free_pgtables(second)
			:: else
			fi;
			area_free(first);
			if
			:: second != NOWHERE -> area_free(second)
			:: else
			fi
		:: else
		fi;
		up_any(MMAP);
		first = 0; second = 0
	:: !att[X] && !att[N] && !att[O] && !busy -> break
	od;
	mmdrop(A);
	done()
}
#endif

/*
 * Another mm, B, takes the memory of X for a VMA of its own.  That is lazy, so its
 * ->anon_vma is the same.  A walk that saw the folio mapped just before that was
 * unmapped for good may take it for X, and must do no harm then.  Or the memory of
 * the anon_vma is reused.
 */
#ifdef P_REUSER
proctype reuser(byte me)
{
	LOCALS;
#ifdef BR_UNLINK_NO_BARRIER
	bool early;
#endif

	own = B;
end:
	if
	:: atomic {
		st[X] == FREED -> st[X] = ALLOC; avma[X] = NUL; vmm[X] = NOMM;
		cover[X] = NOWHERE; reused = 1; mmst[B] = ALLOC; mmcount[B] = 1
	   };
		vmm[X] = B;
		avma[X] = (LAZY | X);
		unlink(X);
		area_free(X);
		mmdrop(B)
	:: atomic { avst == FREED -> avst = REUSED; avref = 1 }
	fi
}
#endif

/* fork(), and the child's exit, before or after its parent's */
#ifdef P_FORKER
proctype forker(byte me)
{
	LOCALS;
	byte from = NOWHERE;
#ifdef BR_UNLINK_NO_BARRIER
	bool early;
#endif

	own = A;
	down_write(MMAP);
	if
	:: att[X] && cover[X] != NOWHERE -> from = X
	:: att[N] && cover[N] != NOWHERE -> from = N
	:: else
	fi;
	if
	:: from != NOWHERE ->
#ifndef BR_SIBLING_NO_LOCK
		/* vma_start_write(): faults are kept off until all is copied. */
		atomic { vread[from] == 0 -> MAY_WAIT_ELSE; vwrite[from] = 1 };
#endif
		fork(from, MM_OF_O);
		vwrite[from] = 0
	:: else
	fi;
	lazy = 0; z = 0;
	up_write(MMAP);
	d_step { busy-- };
	mmdrop(A);
	if
	:: from != NOWHERE ->
		own = MM_OF_O;
		zap(O);
		unlink(O);
		free_pgtables(O);
		area_free(O);
		mmdrop(MM_OF_O)
	:: else
	fi;
	from = 0;
	done()
}
#endif

/* mprotect(): split X, then merge again in one of the ways there are, or not. */
#ifdef P_SPLITTER
proctype splitter(byte me)
{
	LOCALS;

	own = A;
	down_write(MMAP);
	if
	:: att[X] ->
		d_step { st[N] = ALLOC; avma[N] = avma[X]; vmm[N] = A };
		clone(N, X);
		vma_lock(X);
		cover[N] = cover[X];
		cover[X] = NOWHERE;
		vma_unlock(X);
		att[N] = 1
	:: else
	fi;
	up_write(MMAP);

	down_write(MMAP);
	if
	:: att[X] && att[N] ->
		if
		:: /* the boundary moves */
			vma_lock(X);
			atomic { vread[N] == 0 -> vwrite[N] = 1 };
			cover[X] = cover[N];
			cover[N] = NOWHERE;
			vwrite[N] = 0;
			vma_unlock(X)
		:: /* N is merged into X */
			vma_lock(X);
			atomic { vread[N] == 0 -> att[N] = 0 };
			cover[X] = cover[N];
			vma_unlock(X);
			unlink(N);
			area_free(N)
		:: /* X is merged into N */
			vma_lock(N);
			atomic { vread[X] == 0 -> att[X] = 0 };
			vma_unlock(N);
			unlink(X);
			area_free(X)
		:: skip
		fi
	:: else
	fi;
	lazy = 0;
	up_write(MMAP);
	d_step { busy-- };
	mmdrop(A);
	done()
}
#endif

/*
 * mremap(): N goes from address 0 to 1, where it is O.  If O was there before,
 * and is merged with, a walk may visit it first: then the pages are moved with
 * the lock held.
 */
#ifdef P_MOVER
proctype mover(byte me)
{
	LOCALS;
#ifdef BR_UNLINK_NO_BARRIER
	bool early;
#endif

	own = A;
	down_write(MMAP);
	if
	:: att[N] && cover[N] == 0 ->
		if
		:: att[O] ->
			vma_lock(O);
			cover[O] = 1;
			vma_unlock(O);
			fin = 1
		:: else ->
			d_step { st[O] = ALLOC; avma[O] = avma[N]; vmm[O] = A; cover[O] = 1 };
			clone(O, N);
			fin = 0
		fi;
#ifdef BR_MOVE_NO_LOCK
		fin = 0;
#endif
		/* vma_start_write() of N */
		atomic { vread[N] == 0 -> MAY_WAIT_ELSE; vwrite[N] = 1 };
		if
		:: fin -> vma_lock(O)
		:: else
		fi;
		atomic { pte[1] = pte[0]; pte[0] = NONE };
		if
		:: fin -> vma_unlock(O)
		:: else
		fi;
		att[O] = 1;
		detach(N);
		zap(N);
		unlink(N);
		free_pgtables(N);
		area_free(N);
		vwrite[N] = 0
	:: else
	fi;
	lazy = 0;
	up_write(MMAP);
	d_step { busy-- };
	mmdrop(A);
	done()
}
#endif

/*
 * A page fault in N, under the VMA lock.  Where N is unfaulted it joins X, which
 * takes the mmap lock; the page is new then.  Or it is in the swap cache.
 */
#ifdef P_FAULTER
proctype faulter(byte me)
{
	LOCALS;

	own = A;
	if
	:: atomic { att[N] && !vwrite[N] -> vread[N]++; z = 1 }
	:: atomic { !att[N] -> z = 0 }
	fi;
	if
	:: z && avma[N] == NUL ->
		vread[N]--;
		down_read(MMAP);
		if
		:: att[N] && att[X] ->
			/* find_mergeable_anon_vma() */
			lazy = avma[X];
			z = 0;
			if
			:: ISLAZY(lazy) ->
				join(N, lazy);
				if
				:: z
				:: else -> upgrade(lazy, X)
				fi
			:: else -> assert(LISTED(X, lazy))
			fi;
			if
			:: z
			:: else ->
				down_write(ROOT);
				if
				:: avma[N] == NUL && nlist < MAXLIST ->
					d_step { list_add(N, X) };
					attach(N)
				:: avma[N] == NUL && nlist >= MAXLIST ->
					d_step { tree_add(N); nactive++; avma[N] = AV }
				:: else
				fi;
				up_write(ROOT)
			fi
		:: else
		fi;
		z = 0; lazy = 0;
		if
		:: att[N] && avma[N] != NUL -> atomic { !vwrite[N] -> vread[N]++; z = 1 }
		:: else
		fi;
		up_read(MMAP)
	:: else
	fi;
	if
	:: z ->
		if
		:: !fexists && cover[N] != NOWHERE ->
			/* A second load: an upgrade may have come in between. */
			fmap = avma[N];
			atomic { pte[cover[N]] = PRES; mc++; fexists = 1 }
		:: fexists && cover[N] != NOWHERE ->
			/* do_swap_page() */
			if
			:: pte[cover[N]] == SWAP ->
				lock_folio();
				atomic {
					if
					:: pte[cover[N]] == SWAP -> pte[cover[N]] = PRES; mc++
					:: else
					fi
				};
				unlock_folio()
			:: else
			fi
		:: cover[N] == NOWHERE -> skip
		fi;
		vread[N]--
	:: else
	fi;
	z = 0;
	mmdrop(A);
	atomic { assert(!hl); fexists = 1; ndone++ }
}
#endif

/* A forked child that is lazy: its range changes, or it is upgraded; and exit. */
#ifdef P_KIDS
proctype kid(byte me; byte c)
{
	LOCALS;
#ifdef BR_UNLINK_NO_BARRIER
	bool early;
#endif

	own = c;	/* MM_OF_N or MM_OF_O */
	if
#ifndef KID_UPGRADES
	:: lazy = avma[c];
		lock_write(own);
		cover[c] = NOWHERE;
		cover[c] = c;
		unlock_write(own)
#else
	:: kid_upgrade(c)
	:: skip
#endif
	fi;
	zap(c);
	unlink(c);
	free_pgtables(c);
	area_free(c);
	mmdrop(own);
	done()
}
#endif

/*
 * A forked child that is lazy and unnamed, N, forks a sibling, O: that is linked
 * behind it.  Both exit, in either order.
 */
#ifdef P_KID_FORKS
proctype kid_forks(byte me)
{
	LOCALS;
	byte c = N;
#ifdef BR_UNLINK_NO_BARRIER
	bool early;
#endif

	own = MM_OF_N;
	fork(N, MM_OF_O);
	if
	:: c = O
	:: c = N
	fi;
	do
	:: c != NOWHERE ->
		own = c;
		zap(c);
		unlink(c);
		free_pgtables(c);
		area_free(c);
		mmdrop(own);
		if
		:: !gone[N] -> c = N
		:: !gone[O] -> c = O
		:: else -> c = NOWHERE
		fi
	:: else -> break
	od;
	c = 0;
	done()
}
#endif

/* The parent of X, as a lazy child: it changes its VMA, and exits. */
#ifdef P_PARENT
proctype parent(byte me)
{
	LOCALS;

	own = MM_OF_N;
	lazy = AV2;
	lock_write(own);
	unlock_write(own);
	down_write(ROOT);
	d_step { nroot--; z = !nroot };
	up_write(ROOT);
	if
	:: z -> root_put()
	:: else
	fi;
	lazy = 0;
	done()
}
#endif

/*
 * A forked child that is lazy, O, is split: it can have no group, so it is
 * upgraded, and N is in the tree, as O is.  Its own anon_vma does not matter here.
 */
#ifdef P_KID_SPLIT
proctype kid_split(byte me)
{
	LOCALS;
#ifdef BR_UNLINK_NO_BARRIER
	bool early;
#endif

	own = MM_OF_O;
	d_step { st[N] = ALLOC; avma[N] = avma[O]; vmm[N] = MM_OF_O };
#ifdef BR_CHILD_JOINS
	down_write(MMLOCK(MM_OF_O));
	up_write(MMLOCK(MM_OF_O));
#else
	kid_upgrade(O);
	/* anon_vma_clone() */
	avma[N] = AV2;
	down_write(ROOT);
	d_step { tree_add(N) };
	up_write(ROOT);
#endif
	lazy = avma[O];
	lock_write(own);
	cover[N] = cover[O];
	cover[O] = NOWHERE;
	unlock_write(own);
	lazy = 0;
	done()
}
#endif

/*
 * Faults in X, an unnamed child, under the VMA lock.  One has the folio, the other one
 * another: that finds X as well; or shares what it gets with the parent of X, and names
 * lazy_root().
 */
#ifdef P_NAMER
proctype namer(byte me; bool other)
{
	LOCALS;

	own = A;
	if
	:: atomic { att[X] && !vwrite[X] -> vread[X]++; z = 1 }
	:: atomic { !att[X] -> z = 0 }
	fi;
	if
	:: z && !other ->
		anon_name(X, lazy);
		fmap = lazy;
		atomic { pte[0] = PRES; mc++; fexists = 1 };
		vread[X]--
	:: z && other ->
		if
		:: anon_name(X, lazy); assert(RESOLVE(lazy) != NUL)
		:: lazy = avma[X]; assert(!ISLAZY(lazy) || LISTED(X, lazy) == AV2)
		fi;
		vread[X]--
	:: else
	fi;
	z = 0; lazy = 0;
	mmdrop(A);
	atomic { assert(!hl); fexists = fexists || !other; ndone++ }
}
#endif

/* mm_take_all_locks() in an mm with two lazy VMAs, and its family beside it. */
#ifdef P_TAKE_ALL
proctype take_all(byte me; byte m)
{
	LOCALS;

	own = m;
#ifdef BR_TAKE_ALL_LAZY
	/* It is locked as it is, and then an anon_vma. */
	down_write(MMLOCK(m));
	down_write(ROOT);
	up_write(ROOT);
	up_write(MMLOCK(m));
#else
	/* Upgraded: after that it locks anon_vmas only. */
	down_write(ROOT);
	down_write(MMLOCK(m));
	up_write(MMLOCK(m));
	up_write(ROOT);
	down_write(ROOT);
	up_write(ROOT);
#endif
	done()
}
#endif

init
{
	atomic {
		/* X is lazy and has the page. */
		st[X] = ALLOC; avma[X] = LAZY | X; vmm[X] = A; att[X] = 1; cover[X] = 0;
		fmap = LAZY | X; pte[0] = PRES; mc = 1; fexists = 1;
		mmst[A] = ALLOC;
#ifdef I_GROUP
		/* N was split off, with the page. */
		st[N] = ALLOC; avma[N] = LAZY | X; vmm[N] = A; att[N] = 1;
		cover[N] = 0; cover[X] = NOWHERE;
		list[0] = N; nlist = 1;
#endif
#ifdef I_GROUP3
		/* O too, before or after N. */
		st[O] = ALLOC; avma[O] = LAZY | X; vmm[O] = A; att[O] = 1; nlist = 2;
		if
		:: list[0] = O; list[1] = N
		:: list[0] = N; list[1] = O
		fi;
#endif
#ifdef I_KIN
		/* X has forked: N is its child. */
		st[N] = ALLOC; avma[N] = LAZY | CHILD | N; listed[N] = AV;
		cover[N] = 1; pte[1] = PRES; mc = 2; list[0] = N; nlist = 1;
		vmm[N] = MM_OF_N; mmst[MM_OF_N] = ALLOC; mmcount[MM_OF_N] = 1;
#endif
#if defined(I_LISTED) || defined(I_KIN)
		/* They were upgraded. */
		avst = ALLOC; avref = 1; avma[X] = AV; listed[X] = AV; nactive = 1;
#endif
#if defined(I_LISTED) && defined(I_GROUP)
		avma[N] = AV; listed[N] = AV; nactive = 2;
#endif
#if defined(I_LISTED) && defined(I_GROUP3)
		avma[O] = AV; listed[O] = AV; nactive = 3;
#endif
#ifdef I_UNFAULTED
		/* N is X's neighbour and was not touched; the page is not there yet. */
		st[N] = ALLOC; vmm[N] = A; att[N] = 1; cover[N] = 0; cover[X] = NOWHERE;
		fmap = NUL; pte[0] = NONE; mc = 0; fexists = 0;
#endif
#ifdef I_CHILD
		/* X is a forked child, of a parent with an anon_vma. */
		avma[X] = LAZY | CHILD | X; fmap = LAZY | CHILD | X;
		listed[X] = AV2;
		rootst = ALLOC; rootref = 1; nroot = 1;
#ifdef P_PARENT
		nroot = 2;
#endif
#ifdef I_UNNAMED
		/* It was not written to, and so the folio is not there yet. */
		avma[X] = LAZY | CHILD | X; unnamed[X] = 1;
		fmap = NUL; pte[0] = NONE; mc = 0; fexists = 0;
#endif
#endif
#ifdef I_FAMILY
		/* X has forked twice and exited: N and O are its lazy children. */
		st[X] = DEFERRED; avma[X] = AV | UNL | DEF; att[X] = 0; gone[X] = 1;
		cover[X] = NOWHERE; pte[0] = NONE; avst = ALLOC; avref = 1;
		st[N] = ALLOC; avma[N] = LAZY | CHILD | N; cover[N] = 1; pte[1] = PRES;
		st[O] = ALLOC; avma[O] = LAZY | CHILD | O; cover[O] = 2; pte[2] = PRES;
		vmm[N] = MM_OF_N; mmst[MM_OF_N] = ALLOC; mmcount[MM_OF_N] = 1;
		vmm[O] = MM_OF_O; mmst[MM_OF_O] = ALLOC; mmcount[MM_OF_O] = 1;
		list[0] = N; list[1] = O; nlist = 2; mc = 2; mmst[A] = FREED;
		listed[N] = AV; listed[O] = AV;
#ifdef P_KID_FORKS
		/* Once only, and N has no pages but those of X. */
		st[O] = NOT_YET; avma[O] = NUL; listed[O] = NUL; cover[O] = NOWHERE;
		pte[2] = NONE; list[1] = 0; nlist = 1; mc = 1; mmst[MM_OF_O] = NOT_YET;
		mmcount[MM_OF_O] = 0; unnamed[N] = 1;
#endif
#endif
#ifdef P_WALKER
		run walker(0); nproc++;
#endif
#ifdef P_MIGRATOR
		run migrator(1); nproc++;
#endif
#ifdef P_THP
		run thp(1); nproc++;
#endif
#ifdef P_COLLAPSE
		run collapse(5); nproc++; mmcount[A]++;
#endif
#ifdef P_KSM
		run ksm(2); nproc++; mmcount[A]++;
#endif
#ifdef P_KSM2
		run ksm(4); nproc++; mmcount[A]++;
#endif
#ifdef P_UNMAPPER
		run unmapper(3); nproc++; mmcount[A]++;
#endif
#ifdef P_FORKER
		run forker(4); nproc++; busy++; mmcount[A]++;
#endif
#ifdef P_SPLITTER
		run splitter(5); nproc++; busy++; mmcount[A]++;
#endif
#ifdef P_MOVER
		run mover(5); nproc++; busy++; mmcount[A]++;
#endif
#ifdef P_FAULTER
		run faulter(6); nproc++; mmcount[A]++;
#endif
#ifdef P_STRANGER
		run stranger(7); nproc++;
#endif
#ifdef P_KIDS
		run kid(3, N); nproc++;
#ifdef I_FAMILY
		run kid(4, O); nproc++;
#endif
#endif
#ifdef P_KID_FORKS
		run kid_forks(4); nproc++;
#endif
#ifdef P_NAMER
		run namer(6, 0); nproc++; mmcount[A]++;
#endif
#ifdef P_NAMER2
		run namer(7, 1); nproc++; mmcount[A]++;
#endif
#ifdef P_PARENT
		run parent(5); nproc++;
#endif
#ifdef P_KID_SPLIT
		/* The other child is gone. */
		st[N] = NOT_YET; avma[N] = NUL; listed[N] = NUL; cover[N] = NOWHERE;
		pte[1] = NONE; list[0] = O; list[1] = 0; nlist = 1; mc = 1;
		run kid_split(4); nproc++;
#endif
#ifdef P_TAKE_ALL
		run take_all(3, MM_OF_N); nproc++;
		run take_all(4, MM_OF_O); nproc++;
#endif
#ifdef P_REUSER
		run reuser(6);
#endif
#if !defined(P_UNMAPPER) && !defined(I_FAMILY)
		mmcount[A]++;	/* it lives on */
#endif
	};
	atomic {
		ndone == nproc ->
		/* Whoever was freed is, unless its group or anon_vma lives. */
		assert(!gone[X] || st[X] == FREED || reused ||
		       (st[X] == DEFERRED && (avma[X] == (LAZY | X | UNL | DEF) && nlist ||
			 avma[X] == (AV | UNL | DEF) && avst == ALLOC)));
		assert(!gone[N] || st[N] == FREED);
		assert(!gone[O] || st[O] == FREED);
		/* The anon_vma too, and what is linked has not been freed. */
		assert(avst != ALLOC || !AV_EMPTY);
		assert(ntree < 1 || !gone[tree[0]]);
		assert(ntree < 2 || !gone[tree[1]]);
		assert(ntree < 3 || !gone[tree[2]]);
		assert(nlist < 1 || !gone[list[0]]);
		assert(nlist < 2 || !gone[list[1]]);
		/* The mms, unless they live on. */
#if defined(P_UNMAPPER) || defined(I_FAMILY)
		assert(mmst[A] == FREED);
#else
		assert(mmst[A] == ALLOC && mmcount[A] == 1);
#endif
#ifdef P_FORKER
		assert(mmst[MM_OF_O] != ALLOC);
#endif
#ifdef I_CHILD
		assert(rootst == FREED);
#endif
		assert(!srcu && !rcu && !flock);
		assert(pte[0] != MIG && pte[1] != MIG && pte[2] != MIG)
	}
}
