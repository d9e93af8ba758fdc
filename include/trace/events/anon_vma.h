/* SPDX-License-Identifier: GPL-2.0 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM anon_vma

#if !defined(_TRACE_ANON_VMA_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TRACE_ANON_VMA_H

#include <linux/mm_types.h>
#include <linux/tracepoint.h>

/*
 * How lazy VMAs come and go, see Documentation/admin-guide/mm/anon_vma_lazy.rst. The
 * VMAs, @vma and the one that folios name, may be gone, with their structs kept: what
 * these point to may not be looked at. So they are no vm_area_struct to a BPF program,
 * which would trust their vm_mm and vm_file.
 */
#ifdef CONFIG_ANON_VMA_LAZY
#define DECLARE_EVENT_CLASS_LAZY	DECLARE_EVENT_CLASS
#define DEFINE_EVENT_LAZY		DEFINE_EVENT
#define TRACE_EVENT_LAZY		TRACE_EVENT
#else
#define DECLARE_EVENT_CLASS_LAZY	DECLARE_EVENT_CLASS_NOP
#define DEFINE_EVENT_LAZY		DEFINE_EVENT_NOP
#define TRACE_EVENT_LAZY		TRACE_EVENT_NOP
#endif

DECLARE_EVENT_CLASS_LAZY(anon_vma_lazy,

	TP_PROTO(const void *vma, const void *named),

	TP_ARGS(vma, named),

	TP_STRUCT__entry(
		__field(const void *, mm)
		__field(const void *, vma)
		__field(const void *, head)
		__field(unsigned long, start)
		__field(unsigned long, end)
	),

	TP_fast_assign(
		const struct vm_area_struct *v = vma;

		__entry->mm = v->vm_mm;
		__entry->vma = v;
		__entry->head = named;
		__entry->start = v->vm_start;
		__entry->end = v->vm_end;
	),

	TP_printk("mm=%p vma=%p head=%p range=%lx-%lx",
		  __entry->mm, __entry->vma, __entry->head, __entry->start, __entry->end)
);

/* @vma became lazy: as a forked child, if @named is another VMA, its parent's head. */
DEFINE_EVENT_LAZY(anon_vma_lazy, anon_vma_become_lazy,
	TP_PROTO(const void *vma, const void *named),
	TP_ARGS(vma, named)
);

/* @vma, which may be a copy in the making, joined the group whose head is @named. */
DEFINE_EVENT_LAZY(anon_vma_lazy, anon_vma_join_group,
	TP_PROTO(const void *vma, const void *named),
	TP_ARGS(vma, named)
);

/* @vma is freed, and its struct kept: for folios, or if @named is NULL for holds only. */
DEFINE_EVENT_LAZY(anon_vma_lazy, anon_vma_defer_free,
	TP_PROTO(const void *vma, const void *named),
	TP_ARGS(vma, named)
);

/* And that struct is freed as well. */
DEFINE_EVENT_LAZY(anon_vma_lazy, anon_vma_free_deferred,
	TP_PROTO(const void *vma, const void *named),
	TP_ARGS(vma, named)
);

/* @caller had the group whose head is @named, or that child, upgraded. */
TRACE_EVENT_LAZY(anon_vma_upgrade,

	TP_PROTO(const void *named, unsigned long caller),

	TP_ARGS(named, caller),

	TP_STRUCT__entry(
		__field(const void *, mm)
		__field(const void *, head)
		__field(unsigned long, start)
		__field(unsigned long, end)
		__field(unsigned long, caller)
	),

	TP_fast_assign(
		const struct vm_area_struct *v = named;

		__entry->mm = v->vm_mm;
		__entry->head = v;
		__entry->start = v->vm_start;
		__entry->end = v->vm_end;
		__entry->caller = caller;
	),

	TP_printk("mm=%p head=%p range=%lx-%lx caller=%pS",
		  __entry->mm, __entry->head, __entry->start, __entry->end,
		  (void *)__entry->caller)
);

#endif /* _TRACE_ANON_VMA_H */

#include <trace/define_trace.h>
