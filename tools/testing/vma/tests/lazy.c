// SPDX-License-Identifier: GPL-2.0-or-later

#define LAZY_FLAGS mk_vma_flags(VMA_READ_BIT, VMA_WRITE_BIT, VMA_MAYREAD_BIT, VMA_MAYWRITE_BIT)
#define OTHER_FLAGS mk_vma_flags(VMA_READ_BIT, VMA_MAYREAD_BIT, VMA_MAYWRITE_BIT)

/* What a VMA is when something happens to it. */
enum lazy_state {
	NEW,		/* not there yet: it is just being mapped */
	UNFAULTED,
	FAULTING,	/* lazy as soon as it is write-locked, unfaulted before */
	LAZY,
	MEMBER,		/* of the group of the VMA beside it */
	CHILD,		/* lazy and forked, on the list of its parent's anon_vma */
	LISTED,		/* on that list, too, but of the mm whose anon_vma that is */
};

/* What was a group once has an anon_vma, and its list. Others' children are on it. */
static struct vm_area_struct listed_head, listed_children[2];
static struct anon_vma listed_anon_vma;

static void reset_list(void)
{
	listed_anon_vma = (struct anon_vma) { .root = &listed_anon_vma, .head = &listed_head };
	listed_head.anon_vma = &listed_anon_vma;
	INIT_LIST_HEAD(&listed_head.anon_vma_chain);
	for (int i = 0; i < ARRAY_SIZE(listed_children); i++)
		list_add(&listed_children[i].anon_vma_chain, &listed_head.anon_vma_chain);
}

static int list_length(void)
{
	struct list_head *pos;
	int nr = 0;

	list_for_each(pos, &listed_head.anon_vma_chain)
		nr++;
	return nr - ARRAY_SIZE(listed_children);
}

static void set_lazy_state(struct vm_area_struct *vma, enum lazy_state state,
			   struct vm_area_struct *other)
{
	INIT_LIST_HEAD(&vma->anon_vma_chain);
	if (state == FAULTING)
		faulting_vma = vma;
	else if (state == MEMBER)
		lazy_join(vma, other->anon_vma);
	else if (state == LAZY || state == CHILD)
		lazy_become(vma, state == CHILD ? LAZY_CHILD : 0);

	if (state >= CHILD)
		list_add(&vma->anon_vma_chain, &listed_head.anon_vma_chain);
	if (state == CHILD)
		vma_set_listed(vma, (unsigned long)&listed_anon_vma |
			       ANON_VMA_LISTED | ANON_VMA_UNNAMED);
	if (state == LISTED)
		list_attach(vma, &listed_anon_vma);
}

static const struct {
	enum lazy_state vma, beside;
	bool merges;
} lazy_merges[] = {
	{ NEW,		UNFAULTED,	true },
	{ NEW,		FAULTING,	true },
	{ NEW,		LAZY,		true },
	/* What is new would not be found through the ancestor's anon_vma. */
	{ NEW,		CHILD,		false },
	{ NEW,		LISTED,		true },
	{ UNFAULTED,	UNFAULTED,	true },
	{ UNFAULTED,	FAULTING,	true },
	{ UNFAULTED,	LAZY,		true },
	{ UNFAULTED,	CHILD,		false },
	{ UNFAULTED,	LISTED,		true },
	{ FAULTING,	UNFAULTED,	true },
	/* Each has folios that name it. */
	{ FAULTING,	LAZY,		false },
	{ FAULTING,	CHILD,		false },
	{ FAULTING,	LISTED,		false },
	{ LAZY,		UNFAULTED,	true },
	{ LAZY,		FAULTING,	false },
	{ LAZY,		LAZY,		false },
	{ LAZY,		CHILD,		false },
	{ LAZY,		LISTED,		false },
	{ MEMBER,	LAZY,		true },
	{ CHILD,	UNFAULTED,	false },
	{ CHILD,	FAULTING,	false },
	{ CHILD,	LAZY,		false },
	{ CHILD,	CHILD,		false },
	/* They are on one list. */
	{ CHILD,	LISTED,		false },
	{ LISTED,	CHILD,		false },
	/* As with a chain of one, whoever else is on the list. */
	{ LISTED,	UNFAULTED,	true },
	{ LISTED,	FAULTING,	false },
	{ LISTED,	LAZY,		false },
	{ LISTED,	LISTED,		true },
};

/* Does a VMA at 0x3000 that gets the flags of the one beside it merge into that? */
static bool __test_merge_lazy(enum lazy_state state, enum lazy_state beside_state,
			      bool merges, unsigned long beside_start)
{
	const unsigned long start = min(0x3000UL, beside_start);
	vma_flags_t flags = LAZY_FLAGS;
	struct vm_area_struct *vma = NULL, *beside, *merged;
	struct anon_vma *anon_vma = NULL;
	struct mm_struct mm = {};

	VMA_ITERATOR(vmi, &mm, 0x3000);
	struct vma_merge_struct vmg = {
		.mm = &mm,
		.vmi = &vmi,
	};

	reset_list();
	beside = alloc_and_link_vma(&mm, beside_start, beside_start + 0x3000,
				    beside_start >> PAGE_SHIFT, flags);
	set_lazy_state(beside, beside_state, NULL);
	if (state == NEW) {
		vmg_set_range(&vmg, 0x3000, 0x6000, 3, flags);
		if (beside_start)
			vmg.next = beside;
		else
			vmg.prev = beside;
		merged = vma_merge_new_range(&vmg);
	} else {
		vma = alloc_and_link_vma(&mm, 0x3000, 0x6000, 3, OTHER_FLAGS);
		set_lazy_state(vma, state, beside);
		anon_vma = vma->anon_vma;
		vma_iter_set(&vmi, 0x3000);
		merged = vma_modify_flags(&vmi, beside_start ? NULL : beside, vma,
					  0x3000, 0x6000, &flags);
	}

	/* Nobody is taken for unfaulted who might fault. */
	ASSERT_EQ(faulting_vma, NULL);
	if (beside_state == UNFAULTED)
		ASSERT_TRUE(vma_write_started(beside));
	if (beside_state == LISTED)
		anon_vma = &listed_anon_vma;
	else if (beside_state >= LAZY || beside_state == FAULTING)
		anon_vma = (void *)beside + ANON_VMA_LAZY +
			(beside_state == CHILD ? LAZY_CHILD : 0);
	else if (state == FAULTING)
		anon_vma = (void *)vma + ANON_VMA_LAZY;
	ASSERT_EQ(merged, merges ? beside : vma);
	ASSERT_EQ(beside->anon_vma, merges || beside_state != UNFAULTED ? anon_vma : NULL);
	ASSERT_EQ(beside->vm_start, merges ? start : beside_start);
	ASSERT_EQ(beside->vm_end, (merges ? start + 0x3000 : beside_start) + 0x3000);
	/* What is on the list is what is left. */
	if (merges) {
		const bool listed = state == LISTED || beside_state == LISTED;

		ASSERT_EQ(!!vma_listed_anon_vma(beside, beside->anon_vma), listed);
		ASSERT_EQ(listed_anon_vma.nr_listed, listed);
		ASSERT_EQ(list_length(), listed);
	} else {
		ASSERT_EQ(list_length(), (state >= CHILD) + (beside_state >= CHILD));
	}
	ASSERT_EQ(cleanup_mm(&mm, &vmi), merges || !vma ? 1 : 2);
	ASSERT_EQ(list_length(), 0);
	return true;
}

/* Lazy VMAs merge where others would, and no more. */
static bool test_merge_lazy(void)
{
	for (int i = 0; i < ARRAY_SIZE(lazy_merges); i++) {
		const enum lazy_state state = lazy_merges[i].vma;
		const enum lazy_state beside = lazy_merges[i].beside;
		const bool merges = lazy_merges[i].merges;

		if (!__test_merge_lazy(state, beside, merges, 0) ||
		    !__test_merge_lazy(state, beside, merges, 0x6000)) {
			fprintf(stderr, "lazy_merges[%d]\n", i);
			return false;
		}
	}
	return true;
}

/* A VMA is cut into @nr VMAs of two pages, and put together again. */
static bool __test_split_lazy(int nr, enum lazy_state state)
{
	vma_flags_t vma_flags = LAZY_FLAGS;
	const bool fits = nr <= LAZY_GROUP_MAX && state != CHILD;
	const bool group = fits && state == LAZY;
	struct vm_area_struct *vma, *head, *prev;
	struct anon_vma *anon_vma;
	struct mm_struct mm = {};
	int i;

	VMA_ITERATOR(vmi, &mm, 0);

	reset_list();
	head = alloc_and_link_vma(&mm, 0, nr * 0x2000, 0, vma_flags);
	set_lazy_state(head, state, NULL);

	/* Cut from the end: the head is what is left at the start. */
	for (i = nr - 1; i > 0; i--) {
		vma_flags_t flags = (nr - i) & 1 ? OTHER_FLAGS : vma_flags;

		vma_iter_set(&vmi, 0);
		ASSERT_EQ(vma_modify_flags(&vmi, NULL, head, 0, i * 0x2000, &flags),
			  head);
		/* As the caller does. */
		head->flags = flags;
	}
	ASSERT_EQ(mm.map_count, nr);

	/* All are of the head's group still, or have the anon_vma that they got. */
	anon_vma = head->anon_vma;
	ASSERT_EQ(anon_vma_is_group(anon_vma), group);
	ASSERT_EQ(anon_vma_is_lazy(anon_vma), group);
	vma_iter_set(&vmi, 0);
	for_each_vma(vmi, vma)
		ASSERT_EQ(vma->anon_vma, anon_vma);
	if (state == LISTED)
		ASSERT_EQ(anon_vma, &listed_anon_vma);
	if (state == LISTED || (state == LAZY && !group))
		ASSERT_EQ(anon_vma->nr_listed, min(nr, LAZY_GROUP_MAX));

	/* So they merge: every other one into what is beside it. */
	for (i = nr - 2; fits && i >= 0; i -= 2) {
		vma_iter_set(&vmi, i * 0x2000);
		prev = vma_prev(&vmi);
		vma = vma_next(&vmi);
		ASSERT_EQ(vma->vm_start, i * 0x2000);
		vma = vma_modify_flags(&vmi, prev, vma, vma->vm_start, vma->vm_end,
				       &vma_flags);
		ASSERT_FALSE(IS_ERR(vma));
		ASSERT_EQ(vma->anon_vma, anon_vma);
		ASSERT_EQ(mm.map_count, max(i, 1));
	}

	/* The head, if it was merged into another, is the head of a group still. */
	if (group && vma != head)
		ASSERT_TRUE(list_is_singular(&head->anon_vma_chain));
	else if (group)
		ASSERT_TRUE(list_empty(&head->anon_vma_chain));
	else if (fits)
		ASSERT_EQ(list_length(), 1);

	cleanup_mm(&mm, &vmi);
	ASSERT_EQ(list_length(), 0);
	if (!group && state != LISTED)
		free(anon_vma);
	return true;
}

static bool test_split_lazy(void)
{
	for (int nr = 2; nr < LAZY_GROUP_MAX + 4; nr++) {
		ASSERT_TRUE(__test_split_lazy(nr, LAZY));
		ASSERT_TRUE(__test_split_lazy(nr, CHILD));
		ASSERT_TRUE(__test_split_lazy(nr, LISTED));
	}
	return true;
}

/*
 * Unmap from @start to @end of a VMA of six pages. What stays of it is [@first, @last)
 * and the VMA that folios name, and perhaps, behind a hole, a new one of its group.
 */
static bool __test_munmap_lazy(enum lazy_state state, unsigned long start, unsigned long end,
			       unsigned long first, unsigned long last)
{
	const bool hole = start > 0x1000 && end < 0x7000;
	struct vm_area_struct *vma, *rest;
	struct anon_vma *anon_vma;
	struct mm_struct mm = { .total_vm = 6, .data_vm = 6 };

	VMA_ITERATOR(vmi, &mm, start);

	reset_list();
	current->mm = &mm;
	vma = alloc_and_link_vma(&mm, 0x1000, 0x7000, 1, LAZY_FLAGS);
	set_lazy_state(vma, state, NULL);
	ASSERT_EQ(do_vmi_munmap(&vmi, &mm, start, end - start, NULL, false), 0);
	ASSERT_EQ(faulting_vma, NULL);
	ASSERT_EQ(mm.map_count, hole ? 2 : 1);
	vma_iter_set(&vmi, first);
	ASSERT_EQ(vma_iter_load(&vmi), vma);
	ASSERT_EQ(vma->vm_start, first);
	ASSERT_EQ(vma->vm_end, last);
	anon_vma = vma->anon_vma;
	ASSERT_EQ(lazy_vma(anon_vma) == vma, state < CHILD);
	if (state < CHILD)
		ASSERT_EQ(list_is_singular(&vma->anon_vma_chain), hole);
	if (state == LISTED) {
		ASSERT_EQ(anon_vma, &listed_anon_vma);
		ASSERT_EQ(anon_vma->nr_listed, mm.map_count);
		ASSERT_EQ(list_length(), mm.map_count);
	}
	if (hole) {
		vma_iter_set(&vmi, end);
		rest = vma_iter_load(&vmi);
		ASSERT_NE(rest, NULL);
		ASSERT_EQ(rest->vm_start, end);
		ASSERT_EQ(rest->anon_vma, anon_vma);
	}
	cleanup_mm(&mm, &vmi);
	if (state == CHILD)
		free(anon_vma);
	return true;
}

/* The struct that folios name is the part that stays. */
static bool test_munmap_lazy(void)
{
	const enum lazy_state states[] = { FAULTING, LAZY, CHILD, LISTED };

	for (int i = 0; i < ARRAY_SIZE(states); i++) {
		ASSERT_TRUE(__test_munmap_lazy(states[i], 0x1000, 0x3000, 0x3000, 0x7000));
		ASSERT_TRUE(__test_munmap_lazy(states[i], 0x5000, 0x7000, 0x1000, 0x5000));
		ASSERT_TRUE(__test_munmap_lazy(states[i], 0x3000, 0x5000, 0x1000, 0x3000));
	}
	return true;
}

/* A VMA that is to be faulted may share what a neighbour has, but not a child's. */
static bool __test_reuse_lazy(enum lazy_state state, unsigned long beside_start)
{
	struct vm_area_struct *vma, *beside;
	struct anon_vma *want = NULL;
	struct mm_struct mm = {};

	VMA_ITERATOR(vmi, &mm, 0);

	reset_list();
	vma = alloc_and_link_vma(&mm, 0x3000, 0x6000, 3, OTHER_FLAGS);
	set_lazy_state(vma, UNFAULTED, NULL);
	beside = alloc_and_link_vma(&mm, beside_start, beside_start + 0x3000,
				    beside_start >> PAGE_SHIFT, LAZY_FLAGS);
	set_lazy_state(beside, state, NULL);
	if (state == LAZY || state == LISTED)
		want = beside->anon_vma;
	ASSERT_EQ(find_mergeable_anon_vma(vma), want);
	cleanup_mm(&mm, &vmi);
	return true;
}

static bool test_reuse_lazy(void)
{
	const enum lazy_state states[] = { UNFAULTED, LAZY, CHILD, LISTED };

	for (int i = 0; i < ARRAY_SIZE(states); i++) {
		ASSERT_TRUE(__test_reuse_lazy(states[i], 0));
		ASSERT_TRUE(__test_reuse_lazy(states[i], 0x6000));
	}
	return true;
}

static void run_lazy_tests(int *num_tests, int *num_fail)
{
	TEST(merge_lazy);
	TEST(split_lazy);
	TEST(munmap_lazy);
	TEST(reuse_lazy);
}
