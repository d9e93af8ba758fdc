/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A model of the protocol of lazy VMAs, for spin.  ./run checks it.
 *
 * Documentation/mm/anon_vma_lazy.rst describes what is modelled here, and
 * mm/rmap.c is it.  The names are theirs, shortened.
 *
 * There is one folio, as that is enough to miss a mapping, to lose a migration
 * entry and to look at freed memory.  X is the lazy VMA that the folio names; N
 * and O are of its group, or are forked children.  A define P_... chooses a
 * process, I_... the state to start from, BR_... breaks one rule of the design,
 * and REACH_... asserts that a place is never reached, to show that it is.
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
 *   RESTORE_NO_RECHECK	the same, for who holds it
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
 *   UNLINK_NO_REREAD	with the lock ->anon_vma is not looked at again
 *   UNLINK_LOADS_TWICE	it is loaded twice before
 *   NO_UNLINKED		a head's ->anon_vma does not outlive it for its group
 *   FREE_HEAD		vm_area_free() frees a head
 *   NO_ATOMIC		vm_area_free() overwrites what an upgrade stored
 *   NO_RELEASE		anon_vma_free() does not let the head go
 *   FREE_LOCK_FIRST	it looks whether it is locked before it does
 *   NO_ROOT_REF		a child's anon_vma has no reference to the root
 *
 *   to upgrade, join, fork and move
 *   UPGRADE_NO_LOCK	the mm's lock is not taken
 *   UPGRADE_NO_ROOT	the anon_vma is published unlocked
 *   UPGRADE_MM_FIRST	the mm's lock is taken before the root's
 *   UPGRADE_ONE		one VMA of the group is upgraded
 *   DROP_BITS		UNLINKED and FREE_DEFERRED are lost
 *   UPGRADE_NOT_ATOMIC	they are loaded and stored, while vm_area_free() runs
 *   JOIN_NO_LOCK		a VMA joins without the lock
 *   JOIN_FIRST		it joins as the first, so a walk misses what is moved to it
 *   MOVE_NO_LOCK		pages are moved to one that was there, without the lock
 *   RANGE_NO_LOCK	a VMA's range changes without the lock
 *   FORK_NO_UPGRADE	a fork does not upgrade
 *   CHILD_FIRST		a walk visits the child first
 *   CHILD_JOINS		a lazy child's split joins
 *   KID_NO_ROOT		a lazy child's range changes without its ancestors' lock
 *   MM_THEN_ROOT		that is taken after the mm's
 *   TAKE_ALL_LAZY	mm_take_all_locks() takes an mm's lock
 */

/* What can be in vma->anon_vma.  Of a lazy VMA: LAZY, CHILD perhaps, and the slot. */
#define NUL		0
#define AV		1		/* the anon_vma whose head is X */
#define AV2		2		/* that of a child, which has not the folio */
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

/* X's group, without X, in the order in which they joined. */
byte ring[2], nring;
#ifndef MAXRING
#define MAXRING	2
#endif

/* The anon_vma: its memory, references, and tree in the order of a walk. */
byte avst = NOT_YET, avref;
byte tree[3], ntree;

#ifdef I_CHILD
/*
 * X is a forked child: the root of its ancestors' anon_vmas, with the lock, and how
 * many VMAs are linked to that.
 */
byte rootst, rootref, nroot, rootwait;
#endif

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
	d_step { assert(avst == ALLOC && !ntree); avst = FREED; avwait = rcu };
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

inline ring_add(u)
{
#ifdef BR_JOIN_FIRST
	ring[1] = ring[0]; ring[0] = u; nring++
#else
	ring[nring] = u; nring++
#endif
}
inline ring_del(u)
{
	d_step {
		if
		:: nring && ring[0] == u -> ring[0] = ring[1]; nring--
		:: nring == 2 && ring[1] == u -> nring--
		:: else
		fi;
		/* So that states do not differ in what is not used. */
		if
		:: nring < 2 -> ring[1] = 0
		:: else
		fi;
		if
		:: nring < 1 -> ring[0] = 0
		:: else
		fi
	}
}
inline tree_add(u) { d_step { tree[ntree] = u; ntree++ } }
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
			assert(AV_ALIVE);
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

/* rmap_walk_anon() with l held, and lazy_next_vma() */
inline walk(op)
{
	i = 0;
	if
	:: l == ROOT ->
		assert(avst == ALLOC);
		do
		:: atomic { i < ntree -> v = tree[i] };
			visit(v, op); i++
		:: else -> break
		od;
		assert(avst == ALLOC)
	:: else ->
		d_step { assert(ALIVE(SLOT(fmap))); z = (avma[SLOT(fmap)] == fmap) };
		if
		:: z -> visit(SLOT(fmap), op)
		:: else
		fi;
#ifdef BR_WALK_NO_GROUP
		i = 9;
#endif
#ifdef BR_RESTORE_NO_GROUP
		if :: op == RESTORE -> i = 9 :: else fi;
#endif
		do
		:: atomic { i < nring -> assert(ALIVE(SLOT(fmap))); v = ring[i] };
#ifdef REACH_GROUP
			assert(pte[cover[v]] != PRES);
#endif
#ifdef REACH_HEADLESS
			assert(z || pte[cover[v]] != PRES);
#endif
			visit(v, op); i++
		:: else -> break
		od
	fi;
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
		z = (RESOLVE(n) == n && nring < MAXRING)
	};
	if
	:: z ->
		d_step {
			/* Another fault may have been faster. */
			if
			:: avma[u] == NUL || (avma[u] == n && !att[u]) ->
				avma[u] = n; ring_add(u)
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

/*
 * __anon_vma_upgrade() of n, what X is as a lazy VMA, on behalf of u.  The lock of
 * an anon_vma of its own is held before anybody else can know it.
 */
inline upgrade(n, u)
{
	fin = 0;
	do
	:: !fin ->
		z = (nring > 0);
#if defined(I_CHILD) && !defined(BR_UPGRADE_MM_FIRST)
		down_write(ROOT);
#endif
#ifndef BR_UPGRADE_NO_LOCK
		down_write(MMLOCK(A));
#endif
#if defined(I_CHILD) && defined(BR_UPGRADE_MM_FIRST)
		down_write(ROOT);
#endif
		d_step {
			assert(ALIVE(SLOT(n)));
			fin = (RESOLVE(n) != n)
		};
		if
		:: fin ->
#ifdef REACH_UPGRADE_LOSES
			REACHED;
#endif
			skip
		:: !fin && !z && nring ->
			/* One has joined since we looked. */
#ifdef REACH_UPGRADE_AGAIN
			REACHED;
#endif
			skip
		:: else ->
			d_step {
				assert(avst == NOT_YET);	/* X is upgraded once */
				avst = ALLOC; avref = 1;
				g[0] = ring[0]; g[1] = ring[1]; ng = nring;
#ifdef BR_UPGRADE_ONE
				/* Only the VMA at hand: the others stay where they are. */
				if
				:: nring && u != ring[0] -> ng = 0
				:: nring == 2 && u == ring[0] -> ng = 1; ring[0] = ring[1]; nring = 1
				:: else -> nring = 0
				fi;
#else
				nring = 0; ring[0] = 0; ring[1] = 0;
#endif
#ifdef I_CHILD
#ifndef BR_NO_ROOT_REF
				rootref++
#endif
#elif !defined(BR_UPGRADE_NO_ROOT)
				assert(!rd[ROOT] && !wr[ROOT] && !ww[ROOT]);
				wr[ROOT] = 1; hl = hl | (1 << ROOT)
#endif
			};
			was = avma[SLOT(n)];
			if
			:: was == n ->
#ifdef BR_UPGRADE_NO_ROOT
				avma[SLOT(n)] = AV; tree_add(SLOT(n))
#else
				tree_add(SLOT(n)); avma[SLOT(n)] = AV
#endif
			:: else ->
				/* X was unlinked; vm_area_free() may run just now. */
#ifdef BR_DROP_BITS
				avma[SLOT(n)] = AV
#elif defined(BR_UPGRADE_NOT_ATOMIC)
				avma[SLOT(n)] = AV | (was & (UNL | DEF))
#else
#ifdef REACH_UPGRADE_LATE
				assert(avma[SLOT(n)] == was);
#endif
				d_step { avma[SLOT(n)] = avma[SLOT(n)] - n + AV }
#endif
			fi;
			i = 0;
			do
			:: i < ng -> tree_add(g[i]); avma[g[i]] = AV; i++
			:: else -> break
			od;
			fin = 1; g[0] = 0; g[1] = 0; ng = 0; i = 0
		fi;
#ifndef BR_UPGRADE_NO_LOCK
		up_write(MMLOCK(A));
#endif
		if
		:: hl & (1 << ROOT) -> up_write(ROOT)
		:: else
		fi
	:: else -> break
	od;
	was = 0; z = 0; fin = 0
}

/* anon_vma_clone() */
inline clone(u, from, forking)
{
	lazy = avma[from];
	z = 0;
	if
	:: ISLAZY(lazy) && !forking -> join(u, lazy)
	:: else
	fi;
	if
	:: z == 0 && ISLAZY(lazy) ->
#ifndef BR_FORK_NO_UPGRADE
		upgrade(lazy, from);
#endif
		z = 0
	:: else
	fi;
	if
	:: z == 0 && avma[from] == AV ->
		down_write(ROOT);
#ifdef BR_CHILD_FIRST
		d_step { tree[2] = tree[1]; tree[1] = tree[0]; tree[0] = u; ntree++ };
#else
		tree_add(u);
#endif
		if
		:: forking
		:: else -> avma[u] = AV
		fi;
		up_write(ROOT)
	:: else
	fi
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
		ring_del(u);
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
		z = (!late && avma[SLOT(lazy)] != lazy && ((lazy & CHILD) || nring == 0))
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

/* unlink_anon_vmas() */
inline unlink(u)
{
	lazy = avma[u];
	if
	:: ISLAZY(lazy) -> lazy_unlink(u)
	:: else -> late = (lazy != NUL)
	fi;
	if
	:: late || (lazy & CHILD) ->
		down_write(ROOT);
#ifdef I_CHILD
		d_step {
			nroot--;
			fin = !nroot;
			if
			:: late -> tree_del(u)
			:: else
			fi;
			z = (late && ntree == 0)
		};
#else
		d_step { tree_del(u); z = (ntree == 0) };
#endif
		if
		:: late && avma[u] == AV -> avma[u] = (u == X -> (AV | UNL) : NUL)
		:: else
		fi;
		up_write(ROOT);
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
		lazy = avma[v];
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
		d_step {
			st[O] = ALLOC; cover[O] = 2; vmm[O] = MM_OF_O;
			mmst[MM_OF_O] = ALLOC; mmcount[MM_OF_O] = 1
		};
		clone(O, from, 1);
#ifdef BR_FORK_NO_UPGRADE
		avma[O] = LAZY | O;
#else
		avma[O] = LAZY | CHILD | O;
#endif
		/* copy_page_range() */
		atomic {
			pte[2] = pte[cover[from]];
			if
			:: pte[2] == PRES -> mc++
			:: else
			fi
		}
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
		clone(N, X, 0);
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
			clone(O, N, 0);
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
			:: else
			fi;
			if
			:: z
			:: else ->
				down_write(ROOT);
				d_step {
					if
					:: avma[N] == NUL -> tree_add(N); avma[N] = AV
					:: else
					fi
				};
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

/*
 * A forked child that is lazy: mprotect() that changes its range, which is in
 * its ancestors' trees too, and exit.
 */
#ifdef P_KIDS
proctype kid(byte me; byte c)
{
	LOCALS;
#ifdef BR_UNLINK_NO_BARRIER
	bool early;
#endif

	own = c;	/* MM_OF_N or MM_OF_O */
	lazy = avma[c];
	lock_write(own);
	d_step { tree_del(c) };
	tree_add(c);
	unlock_write(own);
	zap(c);
	unlink(c);
	free_pgtables(c);
	area_free(c);
	mmdrop(own);
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
 * upgraded, and N is linked to its ancestors, as O is.  Then it exits.  Its
 * anon_vma does not matter here.
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
	/* __anon_vma_upgrade() */
#ifdef BR_UPGRADE_MM_FIRST
	down_write(MMLOCK(MM_OF_O));
	down_write(ROOT);
#else
	down_write(ROOT);
	down_write(MMLOCK(MM_OF_O));
#endif
	avma[O] = AV2;
	up_write(MMLOCK(MM_OF_O));
	up_write(ROOT);
	/* anon_vma_clone() */
	avma[N] = AV2;
	down_write(ROOT);
	tree_add(N);
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
		ring[0] = N; nring = 1;
#endif
#ifdef I_GROUP3
		/* O too, before or after N. */
		st[O] = ALLOC; avma[O] = LAZY | X; vmm[O] = A; att[O] = 1; nring = 2;
		if
		:: ring[0] = O; ring[1] = N
		:: ring[0] = N; ring[1] = O
		fi;
#endif
#ifdef I_UNFAULTED
		/* N is X's neighbour and was not touched; the page is not there yet. */
		st[N] = ALLOC; vmm[N] = A; att[N] = 1; cover[N] = 0; cover[X] = NOWHERE;
		fmap = NUL; pte[0] = NONE; mc = 0; fexists = 0;
#endif
#ifdef I_CHILD
		/* X is a forked child, of a parent with an anon_vma. */
		avma[X] = LAZY | CHILD | X; fmap = LAZY | CHILD | X;
		rootst = ALLOC; rootref = 1; nroot = 2;
#endif
#ifdef I_FAMILY
		/* X has forked twice and exited: N and O are its lazy children. */
		st[X] = DEFERRED; avma[X] = AV | UNL | DEF; att[X] = 0; gone[X] = 1;
		cover[X] = NOWHERE; pte[0] = NONE; avst = ALLOC; avref = 1;
		st[N] = ALLOC; avma[N] = LAZY | CHILD | N; cover[N] = 1; pte[1] = PRES;
		st[O] = ALLOC; avma[O] = LAZY | CHILD | O; cover[O] = 2; pte[2] = PRES;
		vmm[N] = MM_OF_N; mmst[MM_OF_N] = ALLOC; mmcount[MM_OF_N] = 1;
		vmm[O] = MM_OF_O; mmst[MM_OF_O] = ALLOC; mmcount[MM_OF_O] = 1;
		tree[0] = N; tree[1] = O; ntree = 2; mc = 2; mmst[A] = FREED;
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
		run kid(4, O); nproc++;
#endif
#ifdef P_PARENT
		run parent(5); nproc++;
#endif
#ifdef P_KID_SPLIT
		/* The other child is gone. */
		st[N] = NOT_YET; avma[N] = NUL; cover[N] = NOWHERE; pte[1] = NONE;
		tree[0] = O; tree[1] = 0; ntree = 1; mc = 1;
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
		       (st[X] == DEFERRED && (avma[X] == (LAZY | X | UNL | DEF) && nring ||
			 avma[X] == (AV | UNL | DEF) && avst == ALLOC)));
		assert(!gone[N] || st[N] == FREED);
		assert(!gone[O] || st[O] == FREED);
		/* The anon_vma too, and what is linked has not been freed. */
		assert(avst != ALLOC || ntree);
		assert(ntree < 1 || !gone[tree[0]]);
		assert(ntree < 2 || !gone[tree[1]]);
		assert(ntree < 3 || !gone[tree[2]]);
		assert(nring < 1 || !gone[ring[0]]);
		assert(nring < 2 || !gone[ring[1]]);
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
