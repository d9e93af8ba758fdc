#!/usr/bin/env drgn
# SPDX-License-Identifier: GPL-2.0-only
"""
Show what the VMAs of a process are: unfaulted, lazy, a lazy child, listed or ordinary,
in the terms of Documentation/mm/anon_vma_lazy.rst. And count them, with what the structs
take: of the process, or without a PID of the machine.

    drgn SCRIPT [PID]                         this machine
    drgn -c CORE -s VMLINUX SCRIPT [PID]      a core of one

The kernel goes on meanwhile. What changes under the reader is counted as "unclear".
"""

import argparse
import os
import sys

from drgn import FaultError, Object, ProgramFlags, sizeof
from drgn.helpers.linux.list import list_for_each_entry

# As in include/linux/rmap.h and mm/internal.h: of ->anon_vma,
ANON_VMA_UNLINKED = 0x1
ANON_VMA_LAZY = 0x4
LAZY_CHILD = 0x10
LAZY_BITS = 0x1f
# and of ->anon_vma_listed.
ANON_VMA_LISTED = 0x1
ANON_VMA_UNNAMED = 0x2
ANON_VMA_LISTED_BITS = 0x7

KINDS = ("unfaulted", "lazy", "child", "listed", "ordinary", "unclear")


def vma_at(address):
    return Object(prog, "struct vm_area_struct *", address)


def anon_vma_at(address):
    return Object(prog, "struct anon_vma *", address)


def maple_entries(node, top):
    """
    Yield what a maple tree holds. Each node ends where its range does: what is in the
    slots behind that means nothing. (Newer versions of drgn have for_each_vma().)
    """
    address = node & ~0xff
    kind = (node >> 3) & 0xf
    if kind == prog.constant("maple_arange_64").value_():
        data = Object(prog, "struct maple_arange_64", address=address)
    else:
        data = Object(prog, "struct maple_range_64", address=address)
    data = data.read_()
    pivots = [p.value_() for p in data.pivot]
    for i, slot in enumerate(data.slot):
        last = pivots[i] if i < len(pivots) else top
        if i and not last:
            last = top
        entry = slot.value_()
        if entry:
            if kind == prog.constant("maple_leaf_64").value_():
                yield entry
            else:
                yield from maple_entries(entry, last)
        if last == top:
            break


def vmas_of(mm):
    root = mm.mm_mt.ma_root.value_()
    # A tree of one entry has that in its root. A node has bit 1 set there.
    if root & 3 != 2:
        return [vma_at(root)] if root else []
    # What is no pointer, as XA_ZERO_ENTRY in a fork that failed, is no VMA.
    return [vma_at(e) for e in maple_entries(root, 2**64 - 1) if not e & 3]


def where(vma):
    return f"{vma.vm_start.value_():x}-{vma.vm_end.value_():x}"


def name_of(vma):
    if vma.vm_file:
        return vma.vm_file.f_path.dentry.d_name.name.string_().decode(errors="replace")
    mm = vma.vm_mm
    if vma.vm_start <= mm.brk and vma.vm_end >= mm.start_brk:
        return "[heap]"
    if vma.vm_start <= mm.start_stack and vma.vm_end >= mm.start_stack:
        return "[stack]"
    return ""


def head_name(head, vma):
    """Say which VMA a head is. Nothing of a head that is unlinked is to be looked at."""
    if not head:
        return "none"
    if head.value_() == vma.value_():
        return "this VMA"
    if head.anon_vma.value_() & ANON_VMA_UNLINKED:
        return "a VMA that is gone"
    if head.vm_mm == vma.vm_mm:
        return where(head)
    try:
        return f"{where(head)} of {head.vm_mm.owner.tgid.value_()}"
    except (AttributeError, FaultError):
        return f"{where(head)} of another mm"


class Tally:
    """VMAs of one process, or of all, and the structs that they lead to."""

    def __init__(self):
        self.kinds = dict.fromkeys(KINDS, 0)
        self.mms = 0
        self.groups = set()
        self.unnamed = 0
        self.chains = 0
        self.anon_vmas = set()
        self.kept = set()

    def head(self, head):
        if head and head.anon_vma.value_() & ANON_VMA_UNLINKED:
            self.kept.add(head.value_())

    def anon_vma(self, anon_vma, ancestors):
        while anon_vma and anon_vma.value_() not in self.anon_vmas:
            self.anon_vmas.add(anon_vma.value_())
            self.head(anon_vma.head)
            if not ancestors:
                break
            self.anon_vma(anon_vma.root, ancestors)
            anon_vma = anon_vma.parent

    def mm(self, mm, show=False, ancestors=True):
        """
        With @ancestors what the VMAs share with other processes is counted too, without
        only what is their own.
        """
        self.mms += 1
        # Each field once, as an upgrade may come between two loads.
        vmas = [(v, v.anon_vma.value_(), v.anon_vma_listed.value_()) for v in vmas_of(mm)]
        members = {}
        for _, own, _ in vmas:
            members[own] = members.get(own, 0) + 1
        for vma, own, listed in vmas:
            try:
                kind, text = self.vma(vma, own, listed, members[own], ancestors)
            except FaultError:
                kind, text = "unclear", "changes just now"
            self.kinds[kind] += 1
            if show:
                print(f"{where(vma):33} {text:60} {name_of(vma)}".rstrip())

    def vma(self, vma, own, listed, members, ancestors):
        """Count the VMA, and say what it is."""
        if not own:
            return "unfaulted", "unfaulted"

        if own & ANON_VMA_LAZY:
            head = vma_at(own & ~LAZY_BITS)
            if own & ANON_VMA_UNLINKED:
                return "unclear", "unlinked just now"
            if own & LAZY_CHILD:
                anon_vma = anon_vma_at(listed & ~ANON_VMA_LISTED_BITS)
                if ancestors:
                    self.anon_vma(anon_vma, ancestors)
                text = "child of " + head_name(anon_vma.head, vma)
                if listed & ANON_VMA_UNNAMED:
                    self.unnamed += 1
                    text += ", unnamed"
                return "child", text
            self.groups.add(own)
            self.head(head)
            if head == vma:
                text = "lazy, alone" if members == 1 else f"lazy, head of {members} VMAs"
            else:
                text = f"lazy, group of {members} VMAs, head " + head_name(head, vma)
            return "lazy", text

        anon_vma = anon_vma_at(own)
        self.anon_vma(anon_vma, ancestors)
        if listed == own + ANON_VMA_LISTED:
            text = f"listed: anon_vma {own:x}, head " + head_name(anon_vma.head, vma)
            return "listed", text
        chains = 0
        for chain in list_for_each_entry("struct anon_vma_chain",
                                         vma.anon_vma_chain.address_of_(), "same_vma"):
            chains += 1
            if ancestors:
                self.anon_vma(chain.anon_vma, ancestors)
        self.chains += chains
        return "ordinary", f"ordinary: anon_vma {own:x}, {chains} chains"

    def print(self):
        # What 7.3 would have: of a child at least an anon_vma, a chain to that and one to
        # the parent's. Its anon_vma is as large, its mm_struct has none of the locks.
        anon_vma_size = prog["anon_vma_cachep"].size.value_()
        chain_size = prog["anon_vma_chain_cachep"].size.value_()

        kinds = self.kinds
        anon_vmas, chains = len(self.anon_vmas), self.chains
        now = (anon_vmas * anon_vma_size + chains * chain_size +
               len(self.kept) * prog["vm_area_cachep"].size.value_())
        anon_vmas_before = anon_vmas + len(self.groups) + kinds["child"]
        chains_before = chains + kinds["lazy"] + 2 * kinds["child"] + kinds["listed"]
        before = anon_vmas_before * anon_vma_size + chains_before * chain_size
        locks = self.mms * mm_growth()

        print(f"{sum(kinds.values())} VMAs: " +
              ", ".join(f"{n} {k}" for k, n in kinds.items() if n))
        print(f"{len(self.groups)} lazy groups; {self.unnamed} children are unnamed")
        print(f"now:           {anon_vmas} anon_vma, {chains} anon_vma_chain, "
              f"{len(self.kept)} VMA structs kept: {now} bytes")
        print(f"7.3, at least: {anon_vmas_before} anon_vma, {chains_before} anon_vma_chain: "
              f"{before} bytes")
        print(f"saved:         {before - now - locks} bytes, "
              f"with {locks} more in mm_structs taken off")


def mm_growth():
    """By how much the lock and the RCU head make an mm_struct larger."""
    inner = prog.type("struct mm_struct").members[0].type
    return sum(sizeof(m.type) for m in inner.members
               if m.name in ("anon_vma_rwsem", "delayed_drop"))


def processes():
    init = prog["init_task"]
    for task in list_for_each_entry("struct task_struct", init.tasks.address_of_(), "tasks"):
        if task.mm:
            yield task


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pid", metavar="PID", nargs="?", type=int, help="the process to show")
    pid = parser.parse_args().pid

    try:
        prog.type("struct vm_area_struct").member("anon_vma_listed")
    except LookupError:
        sys.exit("This kernel has no CONFIG_ANON_VMA_LAZY.")

    tally = Tally()
    if pid is None:
        seen = set()
        live = prog.flags & ProgramFlags.IS_LIVE
        for task in processes():
            # What is running this is not counted.
            if task.mm.value_() in seen or live and task.tgid == os.getpid():
                continue
            seen.add(task.mm.value_())
            try:
                tally.mm(task.mm)
            except FaultError:
                tally.kinds["unclear"] += 1
        print(f"{len(seen)} address spaces")
    else:
        for task in processes():
            if task.tgid == pid:
                tally.mm(task.mm, show=True, ancestors=False)
                break
        else:
            sys.exit(f"There is no process {pid}, or it has no memory of its own.")
        print()
    tally.print()


main()
