/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A model of the protocol of lone VMAs, for spin.  ./run checks it.
 *
 * Documentation/mm/anon_vma_lazy.rst describes what is modelled here, and
 * mm/anon_vma_lazy.c and mm/rmap.c are it.  The names are theirs, shortened.
 *
 * There is one page, as that is enough to miss a mapping, to lose a migration
 * entry and to look at freed memory.  X is the lone VMA that the page names; N
 * and O are of its group, or are forked children.  A define P_... chooses a
 * process, I_... the state to start from, BR_... breaks one rule of the design,
 * and REACH_... asserts that a place is never reached, to show that it is.
 *
 * What is asserted
 *   - A walk that unmaps leaves no mapping, whoever runs beside it, and one that
 *     finds nothing to lock is right that the page is not mapped.
 *   - After the restore no migration entry is left.
 *   - No struct is looked at once it was freed, unless in an RCU read section
 *     that began before; no page table once it was freed.
 *   - Each struct is freed once, and all are freed in the end.
 *   - No deadlock: spin finds invalid end states by itself.
 *
 * What is not
 *   - Memory order: a step is sequentially consistent.  Page table locks: a step
 *     on a PTE is atomic.  Failing allocations, and large folios but for the
 *     lock of their split.
 *   - An rwsem lets no reader in while a writer waits, as in the kernel, but
 *     does not keep the order among waiters.  That has more deadlocks, not less.
 *
 * Where the attacks on the design are answered.  "1.n" is attacks.md #n, "1.B"
 * its part B, "2.n" is attacks-2.md Hn:
 *
 *   attack                                            configuration                broken rule
 *   1.2   X looked at before it is known to live      walk-unmap                   LOOK_EARLY
 *   1.3   X upgraded, freed or reused while we wait   walk-upgrade                 NO_RECHECK
 *   1.5   restore does not know what X became         migrate-upgrade              RESTORE_NO_UPGRADE, RESTORE_NO_REF
 *   1.6, 2.8  device memory: restore without a pin    migrate-unmap                RESTORE_NO_PIN
 *   1.12a vm_area_free() decides who frees            release                      NO_CMPXCHG, NO_LOOP
 *   1.12b anon_vma_free() lets the founder go         release                      NO_RELEASE
 *   1.14  the name is loaded twice in a fault         fault-join                   - (it may be)
 *   1.14  insert and publish in one section           walk-upgrade                 UPGRADE_NO_ROOT
 *   1.14  two racing upgraders                        upgrade-twice                UPGRADE_NO_BUCKET_2
 *   2.1   mm_take_all_locks() takes buckets           take-all, take-all-one       TAKE_ALL_BUCKETS, TAKE_ALL_SELF
 *   2.2   VMA side: the lock of a child's ancestors   family                       KID_NO_ROOT
 *   2.3a  founder freed while its anon_vma lives      founder                      FREE_FOUNDER
 *   2.3b  founder freed while pinned                  migrate-unmap                RELEASE_NO_PINS
 *   2.4   no RCU after sleeping for the bucket        walk-upgrade                 NO_RCU_AFTER_SLEEP
 *   2.5   split: upgrade between pin and lock         split-folio                  THP_PIN_THEN_LOCK
 *   2.6   pins of strangers without end               pins                         PINS_COUNT_ONLY
 *   2.7   unlink does not see the pin                 migrate-unmap                UNLINK_NO_PINS, PIN_NO_BUCKET
 *   2.11  bucket and root in both orders              family-one                   ROOT_THEN_BUCKET
 *   2.15  AVCs are allocated before the bucket        fault-full, migrate-split    -
 *   1.B   fork copies a migration entry               migrate-fork, founder        FORK_NO_UPGRADE, CHILD_FIRST
 *   1.B   split between unmap and restore             migrate-split                RANGE_NO_BUCKET
 *   1.B   munmap with downgraded mmap lock            walk-unmap                   UNLINK_NO_BUCKET
 *   1.B   mremap() without need_rmap_locks            walk-move, walk-move-merged  JOIN_FIRST, MOVE_NO_LOCK
 *   1.B   X is reused by another mm, same name        walk-upgrade, migrate-*      reach SEE_REUSED
 *   group: the head dies before its members           walk-unmap                   NO_UNLINKED
 *   group: a relative's upgrade overtakes munmap      release, walk-upgrade        UNLINK_NO_REREAD, UNLINK_LOADS_TWICE
 *   group: the upgrade finds X unlinked or retired    release                      DROP_BITS
 *   group: the upgrade must take all of it            walk-upgrade                 UPGRADE_ONE, UPGRADE_NO_BUCKET
 *   group: a walk must visit all of it                walk-unmap, migrate-unmap    WALK_NO_GROUP, RESTORE_NO_GROUP
 *   group: a join while an upgrade runs               fault-join                   JOIN_NO_BUCKET
 *   group: the last one to leave frees X, pinned      migrate-unmap                RELEASE_NO_PINS
 *   group: a child's split joins                      kid-split                    CHILD_JOINS
 *
 * Of the others 1.4 (comparing) and 1.9 (the child's parent) are no walks; 1.1,
 * 1.8, 1.10, 1.11, 1.15-1.18 and 1.23 went with the per-VMA lock; 1.7, 1.13,
 * 1.19-1.22, 1.25, 2.9, 2.10 and 2.12-2.14, 2.16 are not about order.
 */

/* What can be in vma->anon_vma.  A name is LONE, CHILD perhaps, and the slot. */
#define NUL		0
#define AV		1		/* the anon_vma that X founds */
#define LONE		8
#define DEAD		15
#define CHILD		32
#define UNL		64
#define RET		128
#define ISLONE(val)	(((val) & LONE) != 0)
#define LINKED(val)	((val) & 63)
#define SLOT(name)	((name) & 3)

/* anon_vma_resolve() */
#define RESOLVE(name)	(LINKED(avma[SLOT(name)]) == (name) -> (name) : \
			 (ISLONE(avma[SLOT(name)]) -> NUL : LINKED(avma[SLOT(name)])))

/* The structs of three VMAs. */
#define X	0
#define N	1
#define O	2
#define NV	3

/* What the memory of a struct is. */
#define ALLOC	0
#define RETIRED	1		/* vm_area_free() left it to the group or anon_vma */
#define WAITING	2		/* for SRCU */
#define FREED	3
#define NOT_YET	4

byte st[NV] = NOT_YET;
byte avma[NV];			/* vma->anon_vma */
byte cover[NV] = 9;		/* at which address it has the page, or NOWHERE */
bool att[NV];			/* in the mm's tree of VMAs */
bool gone[NV];			/* vm_area_free() was called */
bool reused;			/* the struct of X is another mm's VMA now */
byte vread[NV];			/* VMA locks held by faults */
bool vwrite[NV];		/* vma_start_write() */
#define NOWHERE	9

/* The PTEs of the three addresses, and whether their page table was freed. */
#define NONE	0
#define PRES	1
#define MIG	2
#define SWAP	3
byte pte[3];
bool ptfreed[3];

/* The folio: its name, mapcount and lock. */
byte fmap, mc;
bool flock, fexists;

/* X's group, without X, in the order in which they joined. */
byte ring[2], nring;
#ifndef MAXRING
#define MAXRING	2
#endif

/* The anon_vma: its memory, references, and tree in the order of a walk. */
#define REUSED	5		/* by a stranger */
byte avst = NOT_YET, avref;
byte tree[3], ntree;

/* Locks.  An rwsem: readers, whether a writer has it, writers that wait. */
#define ROOT	3
#define MM	4
#define NOLOCK	9
#define AGAIN	8
byte rd[5], ww[5];
bool wr[5];
#ifdef COLLIDE
#define BUCKET(name)	0
#else
#define BUCKET(name)	SLOT(name)
#endif
byte pins[3];

/*
 * RCU and SRCU: who is in a read section, and for each freed struct who was when
 * it was freed and still is.  For those, and only those, it is type-stable.
 */
byte rcu, srcu;
byte rcuwait[NV], srcuwait[NV], avwait;

byte busy;			/* processes that may still attach a VMA */
byte ndone, nproc;

#define ME	(1 << me)
#define ALIVE(s)	(st[s] <= WAITING || (rcuwait[s] & ME))
#define AV_ALIVE	(avst == ALLOC || (avwait & ME))

/* What every process needs as local variables. */
#define LOCALS	byte v, w, w2, i, a, was, name, l = NOLOCK, z, need, have; \
		byte g[2], ng; bool fin, late

#define REACHED	assert(false)

inline down_read(k) { atomic { !wr[k] && !ww[k] -> rd[k]++ } }
inline up_read(k) { d_step { assert(rd[k]); rd[k]-- } }
inline up_write(k) { d_step { assert(wr[k]); wr[k] = 0 } }
inline downgrade(k) { d_step { assert(wr[k]); wr[k] = 0; rd[k]++ } }
inline down_write(k)
{
	if
	:: atomic { !wr[k] && !rd[k] -> wr[k] = 1 }
	:: atomic { wr[k] || rd[k] -> ww[k]++ };
		atomic { !wr[k] && !rd[k] -> wr[k] = 1; ww[k]-- }
	fi
}
inline up_any(k) { if :: wr[k] -> up_write(k) :: else -> up_read(k) fi }

inline lock_folio() { atomic { !flock -> flock = 1 } }
inline unlock_folio() { flock = 0 }

/* Only a free sees that it is held, so it is one step with what follows. */
inline rcu_lock() { rcu = rcu | ME }
inline rcu_unlock()
{
	rcu = rcu & ~ME;
	avwait = avwait & ~ME;
	rcuwait[0] = rcuwait[0] & ~ME;
	rcuwait[1] = rcuwait[1] & ~ME;
	rcuwait[2] = rcuwait[2] & ~ME
}

/* The struct goes back to the slab: once, and by who may do it. */
inline kfree(s, from)
{
	d_step { assert(st[s] == from); st[s] = FREED; rcuwait[s] = rcu }
}
inline call_srcu(s, from)
{
	d_step {
		assert(st[s] == from);
#ifdef REACH_SRCU
		assert(!srcu);
#endif
		srcuwait[s] = srcu;
		if
		:: srcu -> st[s] = WAITING
		:: else -> st[s] = FREED; rcuwait[s] = rcu
		fi
	}
}
inline srcu_done(s)
{
	srcuwait[s] = srcuwait[s] & ~ME;
	if
	:: st[s] == WAITING && !srcuwait[s] -> st[s] = FREED; rcuwait[s] = rcu
	:: else
	fi
}
inline unpin(b)
{
	d_step { assert(pins[b]); pins[b]-- };
	d_step {
		srcu = srcu & ~ME;
#ifdef BR_PINS_COUNT_ONLY
		/* What waits is freed once the bucket has no pins: not before. */
		if
		:: pins[b]
		:: else -> srcuwait[0] = 0; srcuwait[1] = 0; srcuwait[2] = 0;
			srcu_done(0); srcu_done(1); srcu_done(2)
		fi
#else
		srcu_done(0);
		srcu_done(1);
		srcu_done(2)
#endif
	}
}

/* lone_release() */
inline release(s)
{
	d_step {
		assert(ALIVE(s));
#ifdef BR_RELEASE_NO_PINS
		z = 0
#else
		z = pins[BUCKET(LONE | s)]
#endif
	};
	d_step {
		assert(ALIVE(s));
		was = avma[s];
		avma[s] = (z -> DEAD : NUL)
	};
#ifdef REACH_RELEASE_PINNED
	assert(!(z && (was & RET)));
#endif
#ifdef REACH_RELEASE_FIRST
	assert(was & RET);
#endif
	if
	:: (was & RET) && z -> call_srcu(s, RETIRED)
	:: (was & RET) && !z -> kfree(s, RETIRED)
	:: else
	fi
}

/* __put_anon_vma(), with the founder */
inline av_free()
{
	/* A walk may have the lock, and be about to see that the folio is unmapped. */
	if
	:: rd[ROOT] || wr[ROOT] -> down_write(ROOT); up_write(ROOT)
	:: else
	fi;
#ifndef BR_NO_RELEASE
	release(X);
#endif
	d_step { assert(avst == ALLOC && !ntree); avst = FREED; avwait = rcu }
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

/* folio_lone_anon_vma(): the name if the folio is mapped and it is lone, or NUL */
inline look(res)
{
#ifdef BR_LOOK_EARLY
	d_step { rcu_lock(); assert(ALIVE(SLOT(fmap))); res = RESOLVE(fmap) };
	atomic { res = ((mc == 0 || res != fmap) -> NUL : res); rcu_unlock() }
#else
	d_step {
		rcu_lock();
		res = ((mc == 0 || !ISLONE(fmap)) -> NUL : fmap)
	};
	d_step {
		if
		:: res ->
#ifdef REACH_SEE_FREED
			assert(st[SLOT(fmap)] != FREED);
#endif
#ifdef REACH_SEE_REUSED
			assert(!reused || avma[SLOT(fmap)] != fmap);
#endif
			assert(ALIVE(SLOT(fmap)));
			res = (RESOLVE(fmap) == fmap -> fmap : NUL)
		:: else
		fi;
		rcu_unlock()
	}
#endif
}

/* Look again, once the bucket is held. */
inline look_again(res)
{
#if defined(BR_NO_RECHECK)
	res = fmap;
#elif defined(BR_NO_RCU_AFTER_SLEEP)
	if
	:: mc == 0 -> res = NUL
	:: else -> d_step { assert(ALIVE(SLOT(fmap))); res = RESOLVE(fmap) }
	fi;
#else
	look(res);
#endif
}

/* folio_lock_lone(): l is the bucket, held, or NOLOCK */
inline lock_lone(writing)
{
	l = AGAIN;
	do
	:: l == AGAIN ->
		look(w);
		if
		:: w == NUL -> l = NOLOCK
		:: else ->
			if
			:: writing -> down_write(BUCKET(w))
			:: else -> down_read(BUCKET(w))
			fi;
			look_again(w2);
			if
			:: w2 == w -> l = BUCKET(w)
			:: else ->
#ifdef REACH_WALK_RESTART
				assert(mc == 0);
#endif
				up_any(BUCKET(w))
			fi
		fi
	:: else -> break
	od
}

/* What a mapped folio names that is not lone: w is AV or NUL.  In RCU. */
inline look_av()
{
	if
	:: w && ISLONE(fmap) ->
		assert(ALIVE(SLOT(fmap)));
		w = LINKED(avma[SLOT(fmap)]);
		w = (ISLONE(w) -> NUL : w)
	:: else
	fi
}

/* folio_get_anon_vma() of what is not lone: w is AV with a reference, or NUL */
inline get_av()
{
	d_step { rcu_lock(); w = (mc == 0 -> NUL : fmap) };
	d_step { look_av() };
	d_step {
		if
		:: w ->
			assert(AV_ALIVE);
			w = (avref -> AV : NUL);
			avref = avref + (w != NUL)
		:: else
		fi
	};
	d_step { z = (mc == 0); rcu_unlock() };
	if
	:: w && z -> av_put(); w = NUL
	:: else
	fi;
	z = 0
}

/* folio_lock_anon_vma_read(): l is what is held, or NOLOCK if it is not mapped */
inline lock_folio_anon_vma()
{
	l = AGAIN;
	do
	:: l == AGAIN ->
		d_step { rcu_lock(); w = (mc == 0 -> NUL : fmap) };
		d_step {
			if
			:: w && ISLONE(fmap) -> assert(ALIVE(SLOT(fmap))); w = RESOLVE(fmap)
			:: else
			fi;
			if
			:: w == NUL -> rcu_unlock(); l = NOLOCK
			:: else
			fi
		};
		if
		:: w == NUL
		:: w && ISLONE(w) ->
			if
			:: atomic { !wr[BUCKET(w)] && !ww[BUCKET(w)] -> rd[BUCKET(w)]++ };
#ifdef BR_TRY_NO_RECHECK
				d_step { l = BUCKET(w); rcu_unlock() }
#else
				d_step {
					assert(ALIVE(SLOT(w)));
					if
					:: RESOLVE(w) == w -> l = BUCKET(w)
					:: else ->
#ifdef REACH_TRY_LATE
						assert(mc == 0);
#endif
						rd[BUCKET(w)]--
					fi;
					rcu_unlock()
				}
#endif
			:: d_step { wr[BUCKET(w)] || ww[BUCKET(w)] -> rcu_unlock() };
				lock_lone(0);
				l = (l == NOLOCK -> AGAIN : l)
			fi
		:: w && !ISLONE(w) ->
			if
			:: atomic { !wr[ROOT] && !ww[ROOT] -> assert(AV_ALIVE); rd[ROOT]++ };
				d_step {
					if
					:: mc == 0 -> rd[ROOT]--; l = NOLOCK
					:: else -> l = ROOT
					fi;
					rcu_unlock()
				}
			:: atomic { wr[ROOT] || ww[ROOT] -> assert(AV_ALIVE);
					z = (avref > 0); avref = avref + z };
				d_step { i = (mc == 0); rcu_unlock() };
				l = NOLOCK;
				if
				:: !z
				:: z && i -> av_put()
				:: z && !i ->
					down_read(ROOT);
					d_step { avref--; z = (avref == 0) };
					if
					:: z ->
#ifdef REACH_WALK_LAST_PUT
						REACHED;
#endif
						up_read(ROOT); av_free()
					:: else -> l = ROOT
					fi
				fi
			fi
		fi
	:: else -> break
	od;
	w = 0; w2 = 0; z = 0; i = 0
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

/* rmap_walk_anon() with l held */
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
		od
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

/* lone_lock_pinned() */
inline lock_pinned()
{
	l = AGAIN;
	do
	:: l == AGAIN ->
		d_step {
			rcu_lock();
			assert(ALIVE(SLOT(fmap)));
			w = RESOLVE(fmap);
#ifdef BR_RESTORE_NO_UPGRADE
			w = (w == AV -> fmap : w);
#endif
			if
#ifndef BR_RESTORE_NO_RCU
			:: w == AV
#endif
			:: else -> rcu_unlock()
			fi
		};
		if
		:: w == NUL ->
#ifdef REACH_RESTORE_DEAD
			REACHED;
#endif
			l = NOLOCK
		:: w == fmap ->
			down_read(BUCKET(fmap));
#ifdef BR_RESTORE_NO_UPGRADE
			w2 = fmap;
#else
			d_step { assert(ALIVE(SLOT(fmap))); w2 = RESOLVE(fmap) };
#endif
			if
			:: w2 == fmap -> l = BUCKET(fmap)
			:: else -> up_read(BUCKET(fmap))
			fi
		:: w != NUL && w != fmap ->
			d_step {
				assert(AV_ALIVE);
#ifdef BR_RESTORE_NO_REF
				z = 1;
#else
				z = (avref > 0); avref = avref + z;
#endif
				rcu_unlock()
			};
			if
			:: !z -> l = NOLOCK
			:: else ->
				d_step { assert(ALIVE(SLOT(fmap))); w2 = RESOLVE(fmap) };
				if
				:: w2 != w ->
#ifdef REACH_AV_REUSED
					REACHED;
#endif
					av_put()
				:: else ->
					down_read(ROOT);
#ifdef BR_RESTORE_NO_REF
					z = 0;
#else
					d_step { avref--; z = (avref == 0) };
#endif
					if
					:: z -> up_read(ROOT); av_free(); l = NOLOCK
					:: else -> l = ROOT
					fi
				fi
			fi
		fi
	:: else -> break
	od;
	w = 0; w2 = 0; z = 0; was = 0
}

/* lone_join(): z says whether u shares the name now */
inline join(u, n)
{
#ifndef BR_JOIN_NO_BUCKET
	down_write(BUCKET(n));
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
#ifndef BR_JOIN_NO_BUCKET
	up_write(BUCKET(n))
#endif
}

/* __anon_vma_upgrade() of the name n, on behalf of u */
inline upgrade(n, u)
{
	need = 1; fin = 0;
	do
	:: !fin ->
		have = need;
#ifndef BR_UPGRADE_NO_BUCKET
		down_write(BUCKET(n));
#endif
		d_step {
			assert(ALIVE(SLOT(n)));
			fin = (RESOLVE(n) != n);
			need = 1 + nring
		};
		if
		:: fin ->
#ifdef REACH_UPGRADE_LOSES
			REACHED;
#endif
			skip
		:: !fin && have < need ->
#ifdef REACH_UPGRADE_AGAIN
			assert(need < 3);
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
				fi
#else
				nring = 0; ring[0] = 0; ring[1] = 0
#endif
			};
#ifndef BR_UPGRADE_NO_ROOT
			down_write(ROOT);
#endif
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
				do
				:: atomic {
					avma[SLOT(n)] == was ->
#ifdef BR_DROP_BITS
					avma[SLOT(n)] = AV
#else
					avma[SLOT(n)] = AV | (was & (UNL | RET))
#endif
				   };
				   break
				:: atomic {
					avma[SLOT(n)] != was ->
#ifdef REACH_UPGRADE_RETRY
					REACHED;
#endif
					was = avma[SLOT(n)]
				   }
				od
			fi;
			i = 0;
			do
			:: i < ng -> tree_add(g[i]); avma[g[i]] = AV; i++
			:: else -> break
			od;
#ifndef BR_UPGRADE_NO_ROOT
			up_write(ROOT);
#endif
			fin = 1; g[0] = 0; g[1] = 0; ng = 0; i = 0
		fi;
#ifndef BR_UPGRADE_NO_BUCKET
		up_write(BUCKET(n));
#endif
	:: else -> break
	od;
	was = 0; need = 0; have = 0
}

/* anon_vma_clone() */
inline clone(u, from, forking)
{
	name = avma[from];
	z = 0;
	if
	:: ISLONE(name) && !forking -> join(u, name)
	:: else
	fi;
	if
	:: z == 0 && ISLONE(name) ->
#ifndef BR_FORK_NO_UPGRADE
		upgrade(name, from);
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

/* vma_prepare() and vma_complete(): lock what the value says, mmap write held */
inline vma_lock(u)
{
	atomic { vread[u] == 0 -> vwrite[u] = 1 };
	name = avma[u];
#ifndef BR_RANGE_NO_BUCKET
	if
	:: ISLONE(name) -> down_write(BUCKET(name))
	:: name == AV -> down_write(ROOT)
	:: else
	fi
#endif
}
inline vma_unlock(u)
{
#ifndef BR_RANGE_NO_BUCKET
	if
	:: ISLONE(name) -> up_write(BUCKET(name))
	:: name == AV -> up_write(ROOT)
	:: else
	fi;
#endif
	vwrite[u] = 0
}

/* unlink_anon_vmas(): from the anon_vma's tree; the value stays a child's */
inline tree_unlink(u, is_child)
{
	down_write(ROOT);
	d_step { tree_del(u); z = (ntree == 0) };
	if
	:: is_child
	:: else -> avma[u] = (u == X -> (AV | UNL) : NUL)
	fi;
	up_write(ROOT);
	if
	:: z -> av_put()
	:: else
	fi
}

/* unlink_anon_vmas() and lone_unlink() */
inline unlink(u)
{
	name = avma[u];
	late = !ISLONE(name);
	if
	:: name == NUL -> late = 0
	:: name != NUL && ISLONE(name) ->
#ifdef BR_UNLINK_LOADS_TWICE
		name = avma[u];
#endif
#ifndef BR_UNLINK_NO_BUCKET
		down_write(BUCKET(name));
#endif
		if
#ifdef BR_UNLINK_NO_REREAD
		:: true ->
#else
		:: avma[u] == name ->
#endif
			if
			:: u != SLOT(name) ->
				ring_del(u);
				avma[u] = NUL;
				d_step {
					assert(ALIVE(SLOT(name)));
					z = (avma[SLOT(name)] != name && nring == 0)
				};
				if
				:: z -> release(SLOT(name))
				:: else
				fi
#ifndef BR_NO_UNLINKED
			:: u == SLOT(name) && !(name & CHILD) && nring ->
				avma[u] = name | UNL
			:: u == SLOT(name) && ((name & CHILD) || !nring) ->
#else
			:: u == SLOT(name) ->
#endif
#ifdef BR_UNLINK_NO_PINS
				avma[u] = NUL
#else
				avma[u] = (pins[BUCKET(name)] -> DEAD : NUL)
#endif
			fi
		:: else ->
#ifdef REACH_UNLINK_LATE
			REACHED;
#endif
			late = 1
		fi;
#ifndef BR_UNLINK_NO_BUCKET
		up_write(BUCKET(name))
#endif
	:: else
	fi;
	if
	:: name & CHILD -> tree_unlink(u, 1)
	:: late && !(name & CHILD) -> tree_unlink(u, 0)
	:: else
	fi;
	name = 0; late = 0; z = 0; was = 0
}

/* vm_area_free() and __vma_defer_free() */
inline area_free(u)
{
	gone[u] = 1;
	was = avma[u];
	fin = 0;
	do
#ifndef BR_FREE_FOUNDER
	:: !fin && (was & UNL) ->
#ifdef BR_NO_CMPXCHG
		d_step { avma[u] = was | RET; st[u] = RETIRED; fin = 1 }
#else
		atomic {
			if
			:: avma[u] == was -> avma[u] = was | RET; st[u] = RETIRED; fin = 1
			:: else ->
#ifdef REACH_FREE_RETRY
				REACHED;
#endif
				was = avma[u];
#ifdef BR_NO_LOOP
				/* Tried once, as if only the anon_vma could have been faster. */
				break
#endif
			fi
		}
#endif
#endif
	:: else -> break
	od;
	if
	:: fin
	:: !fin && was == DEAD -> call_srcu(u, ALLOC)
	:: !fin && was != DEAD -> kfree(u, ALLOC)
	fi;
	was = 0; fin = 0
}

inline zap(u)
{
	atomic {
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
inline detach(u) { atomic { vread[u] == 0 -> att[u] = 0 } }

inline done() { d_step { ndone++ } }

/* Reclaim: try_to_unmap(). */
#ifdef P_WALKER
proctype walker(byte me)
{
	LOCALS;

	fexists;
	lock_folio();
	lock_folio_anon_vma();
	if
	:: l != NOLOCK -> walk(UNMAP); assert(mc == 0); up_any(l)
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
	byte pin;

	fexists;
	lock_folio();

	/* folio_get_anon_vma() */
#ifdef BR_RESTORE_NO_PIN
	pin = (mc -> fmap : NUL);
#else
	lock_lone(0);
	if
	:: l != NOLOCK ->
#ifdef BR_PIN_NO_BUCKET
		up_read(l);
#endif
		srcu = srcu | ME;
		pins[l]++;
		pin = fmap;
#ifndef BR_PIN_NO_BUCKET
		up_read(l)
#endif
	:: else -> get_av(); pin = w
	fi;
#endif
	if
	:: pin ->
		/* try_to_migrate() */
		lock_folio_anon_vma();
		if
		:: l != NOLOCK -> walk(MIGRATE); assert(mc == 0); up_any(l)
		:: else -> assert(mc == 0)
		fi;

		/* remove_migration_ptes() */
		if
		:: ISLONE(fmap) -> lock_pinned()
		:: else -> assert(AV_ALIVE); down_read(ROOT); l = ROOT
		fi;
		if
		:: l != NOLOCK -> walk(RESTORE)
		:: else
		fi;
		assert(pte[0] != MIG && pte[1] != MIG && pte[2] != MIG);
		if
		:: l != NOLOCK -> up_any(l)
		:: else
		fi;
#ifndef BR_RESTORE_NO_PIN
		/* lone_unpin() or put_anon_vma() */
		if
		:: ISLONE(pin) -> unpin(BUCKET(pin))
		:: else -> av_put()
		fi
#endif
	:: else
	fi;
	unlock_folio();
	done()
}
#endif

/*
 * Migration of a stranger's page, whose VMA has the same bucket: pins only, once
 * or without end.  What waits for pins must be freed nevertheless.
 */
#ifdef P_STRANGER
proctype stranger(byte me)
{
	do
	:: true ->
		down_read(0);
		srcu = srcu | ME;
		pins[0]++;
		up_read(0);
		unpin(0)
#ifndef ENDLESS
	:: done(); break
#endif
	od
}
#ifdef ENDLESS
ltl freed { [] (st[X] == WAITING -> <> (st[X] == FREED)) }
#endif
#endif

/* __folio_split(): locked for writing from unmap to remap. */
#ifdef P_THP
proctype thp(byte me)
{
	LOCALS;

	fexists;
	lock_folio();
#ifdef BR_THP_PIN_THEN_LOCK
	lock_lone(0);
	if
	:: l != NOLOCK -> srcu = srcu | ME; pins[l]++; up_read(l);
		i = l;
		down_write(i);
		/* The walk finds out by itself what X is now. */
		d_step { assert(ALIVE(SLOT(fmap))); w = RESOLVE(fmap) };
		if
		:: w == AV -> l = ROOT
		:: else
		fi;
		walk(MIGRATE); assert(mc == 0); walk(RESTORE);
		up_write(BUCKET(fmap)); unpin(BUCKET(fmap))
	:: else
	fi;
#else
	lock_lone(1);
	if
	:: l != NOLOCK -> walk(MIGRATE); assert(mc == 0); walk(RESTORE); up_any(l)
	:: else ->
		get_av();
		if
		:: w -> down_write(ROOT); l = ROOT;
			walk(MIGRATE); assert(mc == 0); walk(RESTORE);
			up_write(ROOT); av_put()
		:: else -> assert(mc == 0)
		fi
	fi;
#endif
	unlock_folio();
	done()
}
#endif

/* KSM: an upgrade under the mmap read lock, and a reference that it may keep. */
#ifdef P_KSM
proctype ksm(byte me)
{
	LOCALS;

	down_read(MM);
	if
	:: att[X] -> v = X
	:: att[N] -> v = N
	:: att[O] -> v = O
	:: !att[X] && !att[N] && !att[O] -> v = NOWHERE
	fi;
	if
	:: v != NOWHERE ->
		name = avma[v];
		if
		:: ISLONE(name) -> upgrade(name, v)
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
	v = 0;
	up_read(MM);
#ifdef KSM_REF
	if
	:: z -> av_put()
	:: else
	fi;
#endif
	done()
}
#endif

/* munmap() of any of the VMAs in any order, or exit, until none is left. */
#ifdef P_UNMAPPER
proctype unmapper(byte me)
{
	LOCALS;
	byte first, second;

	do
	:: att[X] || att[N] || att[O] ->
		down_write(MM);
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
			downgrade(MM);
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
		up_any(MM);
		first = 0; second = 0
	:: !att[X] && !att[N] && !att[O] && !busy -> break
	od;
	done()
}
#endif

/*
 * Another mm takes the memory of X for a VMA of its own.  That is lone, so it has
 * the same name.  A walk that saw the folio mapped just before that was unmapped
 * for good may take it for X, and must do no harm then.  Or the memory of the
 * anon_vma is reused.
 */
#ifdef P_REUSER
proctype reuser(byte me)
{
	LOCALS;

end:
	if
	:: atomic {
		st[X] == FREED -> st[X] = ALLOC; avma[X] = (LONE | X);
		cover[X] = NOWHERE; reused = 1
	   };
		unlink(X);
		area_free(X)
	:: atomic { avst == FREED -> avst = REUSED; avref = 1 }
	fi
}
#endif

/* fork(), and the child's exit */
#ifdef P_FORKER
proctype forker(byte me)
{
	LOCALS;
	byte from = NOWHERE;

	down_write(MM);
	if
	:: att[X] && cover[X] != NOWHERE -> from = X
	:: att[N] && cover[N] != NOWHERE -> from = N
	:: else
	fi;
	if
	:: from != NOWHERE ->
		d_step { st[O] = ALLOC; cover[O] = 2 };
		clone(O, from, 1);
#ifdef BR_FORK_NO_UPGRADE
		avma[O] = LONE | O;
#else
		avma[O] = LONE | CHILD | O;
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
	up_write(MM);
	if
	:: from != NOWHERE ->
		zap(O);
		unlink(O);
		free_pgtables(O);
		area_free(O)
	:: else
	fi;
	d_step { busy--; ndone++ }
}
#endif

/* mprotect(): split X, then merge again in one of the ways there are, or not. */
#ifdef P_SPLITTER
proctype splitter(byte me)
{
	LOCALS;

	down_write(MM);
	if
	:: att[X] ->
		d_step { st[N] = ALLOC; avma[N] = avma[X] };
		clone(N, X, 0);
		vma_lock(X);
		cover[N] = cover[X];
		cover[X] = NOWHERE;
		vma_unlock(X);
		att[N] = 1
	:: else
	fi;
	up_write(MM);

	down_write(MM);
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
			detach(N);
			cover[X] = cover[N];
			vma_unlock(X);
			unlink(N);
			area_free(N)
		:: /* X is merged into N */
			vma_lock(N);
			detach(X);
			vma_unlock(N);
			unlink(X);
			area_free(X)
		:: skip
		fi
	:: else
	fi;
	up_write(MM);
	d_step { busy--; ndone++ }
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

	down_write(MM);
	if
	:: att[N] && cover[N] == 0 ->
		if
		:: att[O] ->
			vma_lock(O);
			cover[O] = 1;
			vma_unlock(O);
			fin = 1
		:: else ->
			d_step { st[O] = ALLOC; avma[O] = avma[N]; cover[O] = 1 };
			clone(O, N, 0);
			fin = 0
		fi;
#ifdef BR_MOVE_NO_LOCK
		fin = 0;
#endif
		/* vma_start_write() of N */
		atomic { vread[N] == 0 -> vwrite[N] = 1 };
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
	up_write(MM);
	d_step { busy--; ndone++ }
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

	if
	:: atomic { att[N] && !vwrite[N] -> vread[N]++; z = 1 }
	:: atomic { !att[N] -> z = 0 }
	fi;
	if
	:: z && avma[N] == NUL ->
		vread[N]--;
		down_read(MM);
		if
		:: att[N] && att[X] ->
			/* find_mergeable_anon_vma() */
			name = avma[X];
			z = 0;
			if
			:: ISLONE(name) ->
				join(N, name);
				if
				:: z
				:: else -> upgrade(name, X)
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
		z = 0;
		if
		:: att[N] && avma[N] != NUL -> atomic { !vwrite[N] -> vread[N]++; z = 1 }
		:: else
		fi;
		up_read(MM)
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
	atomic { fexists = 1; ndone++ }
}
#endif

/*
 * A forked child that is lone: mprotect() that changes its range, which is in
 * its ancestors' trees too, and exit.
 */
#ifdef P_KIDS
proctype kid(byte me; byte c)
{
	LOCALS;

	name = LONE | CHILD | c;
	/* lone_lock_write() */
	down_write(BUCKET(name));
#ifndef BR_KID_NO_ROOT
	down_write(ROOT);
#endif
	d_step { tree_del(c) };
	tree_add(c);
#ifndef BR_KID_NO_ROOT
	up_write(ROOT);
#endif
	up_write(BUCKET(name));
	zap(c);
#ifdef BR_ROOT_THEN_BUCKET
	down_write(ROOT);
	down_write(BUCKET(name));
	up_write(BUCKET(name));
	up_write(ROOT);
#endif
	unlink(c);
	free_pgtables(c);
	area_free(c);
	done()
}
#endif

/*
 * A forked child that is lone, O, is split: N is linked to its ancestors, as O
 * is, whose pages it may have.  What O owns alone does not matter here.
 */
#ifdef P_KID_SPLIT
proctype kid_split(byte me)
{
	LOCALS;

	d_step { st[N] = ALLOC; avma[N] = LONE | CHILD | N };
#ifndef BR_CHILD_JOINS
	down_write(ROOT);
	tree_add(N);
	up_write(ROOT);
#endif
	down_write(BUCKET(LONE | CHILD | O));
	down_write(ROOT);
	cover[N] = cover[O];
	cover[O] = NOWHERE;
	up_write(ROOT);
	up_write(BUCKET(LONE | CHILD | O));
	done()
}
#endif

/* mm_take_all_locks() in an mm with two lone VMAs, in the order of their addresses */
#ifdef P_TAKE_ALL
proctype take_all(byte me; byte one; byte other)
{
#ifdef BR_TAKE_ALL_BUCKETS
	down_write(BUCKET(one));
	down_write(BUCKET(other));
	up_write(BUCKET(other));
	up_write(BUCKET(one));
#else
	/* Both are upgraded: after that it locks anon_vmas of this mm only. */
	down_write(BUCKET(one));
	up_write(BUCKET(one));
	down_write(BUCKET(other));
	up_write(BUCKET(other));
#endif
	done()
}
#endif

init
{
	atomic {
		/* X is lone and has the page. */
		st[X] = ALLOC; avma[X] = LONE | X; att[X] = 1; cover[X] = 0;
		fmap = LONE | X; pte[0] = PRES; mc = 1; fexists = 1;
#ifdef I_GROUP
		/* N was split off, with the page. */
		st[N] = ALLOC; avma[N] = LONE | X; att[N] = 1;
		cover[N] = 0; cover[X] = NOWHERE;
		ring[0] = N; nring = 1;
#endif
#ifdef I_GROUP3
		/* O too, before or after N. */
		st[O] = ALLOC; avma[O] = LONE | X; att[O] = 1; nring = 2;
		if
		:: ring[0] = O; ring[1] = N
		:: ring[0] = N; ring[1] = O
		fi;
#endif
#ifdef I_UNFAULTED
		/* N is X's neighbour and was not touched; the page is not there yet. */
		st[N] = ALLOC; att[N] = 1; cover[N] = 0; cover[X] = NOWHERE;
		fmap = NUL; pte[0] = NONE; mc = 0; fexists = 0;
#endif
#ifdef I_FAMILY
		/* X has forked twice and exited: N and O are its lone children. */
		st[X] = RETIRED; avma[X] = AV | UNL | RET; att[X] = 0; gone[X] = 1;
		cover[X] = NOWHERE; pte[0] = NONE; avst = ALLOC; avref = 1;
		st[N] = ALLOC; avma[N] = LONE | CHILD | N; cover[N] = 1; pte[1] = PRES;
		st[O] = ALLOC; avma[O] = LONE | CHILD | O; cover[O] = 2; pte[2] = PRES;
		tree[0] = N; tree[1] = O; ntree = 2; mc = 2;
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
#ifdef P_KSM
		run ksm(2); nproc++;
#endif
#ifdef P_KSM2
		run ksm(4); nproc++;
#endif
#ifdef P_UNMAPPER
		run unmapper(3); nproc++;
#endif
#ifdef P_FORKER
		run forker(4); nproc++; busy++;
#endif
#ifdef P_SPLITTER
		run splitter(5); nproc++; busy++;
#endif
#ifdef P_MOVER
		run mover(5); nproc++; busy++;
#endif
#ifdef P_FAULTER
		run faulter(6); nproc++;
#endif
#ifdef P_STRANGER
		run stranger(7); nproc++;
#ifdef ENDLESS
		run stranger(6); nproc++;
#endif
#endif
#ifdef P_KIDS
		run kid(3, N); nproc++;
		run kid(4, O); nproc++;
#endif
#ifdef P_KID_SPLIT
		/* The other child is gone. */
		st[N] = NOT_YET; avma[N] = NUL; cover[N] = NOWHERE; pte[1] = NONE;
		tree[0] = O; tree[1] = 0; ntree = 1; mc = 1;
		run kid_split(4); nproc++;
#endif
#ifdef P_TAKE_ALL
		run take_all(3, X, N); nproc++;
		run take_all(4, N, X); nproc++;
#endif
#ifdef P_REUSER
		run reuser(6);
#endif
	};
	atomic {
		ndone == nproc ->
		/* Whoever was freed is, unless its group or anon_vma lives. */
		assert(!gone[X] || st[X] == FREED || reused ||
		       (st[X] == RETIRED && (avma[X] == (LONE | X | UNL | RET) && nring ||
			 avma[X] == (AV | UNL | RET) && avst == ALLOC)));
		assert(!gone[N] || st[N] == FREED);
		assert(!gone[O] || st[O] == FREED);
		/* The anon_vma too, and what is linked has not been freed. */
		assert(avst != ALLOC || ntree);
		assert(ntree < 1 || !gone[tree[0]]);
		assert(ntree < 2 || !gone[tree[1]]);
		assert(ntree < 3 || !gone[tree[2]]);
		assert(nring < 1 || !gone[ring[0]]);
		assert(nring < 2 || !gone[ring[1]]);
		assert(!pins[0] && !pins[1] && !pins[2] && !srcu && !rcu && !flock);
		assert(pte[0] != MIG && pte[1] != MIG && pte[2] != MIG)
	}
}
