# SPDX-License-Identifier: GPL-2.0
#
# Every command that a person types.  Each calls one script of tools/lab, which
# says in its first lines what it does; everything made lands in build/.

ARCH	?= x86_64
KERNEL	?= lazy
LAZY	?= 1
VARIANT	?= plain
# For tests: both architectures and the debug kernel, unless one is named.
ARCHS	:= $(if $(filter file,$(origin ARCH)),x86_64 arm64,$(ARCH))
CHECK_VARIANT := $(if $(filter file,$(origin VARIANT)),debug,$(VARIANT))
export ARCHS CHECK_VARIANT
export ARCH KERNEL LAZY VARIANT KDIR V SMP MEM JOBS FORCE
export MINUTES SEED STRESS

MAKEFLAGS += --no-print-directory
LAB := tools/lab

.PHONY: help
help:			## what can be typed (this text)
	@echo 'make TARGET [VARIABLE=value]...'
	@echo
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1\t/p' Makefile | expand -t 18
	@echo
	@sed -n 's/^## //p' Makefile

## ARCH=x86_64|arm64        of the guest (x86_64; check and check-upstream: both)
## KERNEL=base|lazy         unpatched or patched (lazy)
## LAZY=0|1                 vm.anon_vma_lazy in the guest of 'make boot' (1)
## VARIANT=plain|debug|kasan|kcsan  what kind of kernel (plain; tests and soak: debug)
## KDIR=DIR                 a 7.3.y tree to use as base instead of Debian's
## MINUTES=N SEED=N         of 'make soak' (10, the time)
## STRESS=0                 leave stress-ng out of it
## SMP=N MEM=MB             the guest's processors (2) and memory (3072)
## JOBS=N                   compilers at once (one per processor)
## V=1                      show everything that is run
## MUTANT='NAME...'         the mutants to try; tools/lab/mutants --list has them
## FORCE=1                  let 'make tree' throw unrefreshed commits away

.PHONY: demo
demo:			## build both kernels, run the workloads, print the table of what is saved
	@$(LAB)/demo

.PHONY: check
check:			## all tests, on both architectures, as KTAP; ends with 'N passed, N failed, N skipped'
	@$(LAB)/check

.PHONY: check-quick
check-quick:		## of check what needs no kernel to be built: some minutes
	@$(LAB)/check quick

.PHONY: sanitize
sanitize:		## check-boot of each VARIANT: debug, kasan, kcsan
	@rc=0; for v in debug kasan kcsan; do \
		echo "# VARIANT=$$v"; CHECK_VARIANT=$$v $(LAB)/check boot || rc=1; \
	done; exit $$rc

.PHONY: boot
boot:			## a shell in a guest (KERNEL, LAZY, ARCH, VARIANT); Ctrl-D leaves
	@$(LAB)/boot

.PHONY: kernel
kernel:			## build one kernel (KERNEL, ARCH, VARIANT)
	@$(LAB)/kernel

.PHONY: menuconfig
menuconfig:		## change that kernel's configuration by hand
	@$(LAB)/kernel menuconfig

.PHONY: tree
tree:			## lay out the series as a git tree to work in: build/tree
	@$(LAB)/deps git fetch && $(LAB)/tree

.PHONY: refresh
refresh:		## write build/tree's commits back to patches/ and the new files
	@$(LAB)/refresh

.PHONY: series
series:			## the series as mails, in seconds, with nothing fetched: build/series
	@$(LAB)/deps git && $(LAB)/mailout

.PHONY: check-lint check-vma check-size check-steps check-boot check-series check-core check-64k
check-series:		## only: the series applies, round-trips, and git takes it
	@$(LAB)/check series
check-lint:		## only: checkpatch, sparse, W=1, shell scripts, licences
	@$(LAB)/check lint
check-vma:		## only: the kernel's userland VMA tests
	@$(LAB)/check vma
check-size:		## only: with the option off nothing grows; how many lines the series has
	@$(LAB)/check size
check-boot:		## only: build the kernel (VARIANT=debug), boot it, run the selftest
	@$(LAB)/check boot
check-steps:		## every step of the series builds, option on and off (not in check)
	@$(LAB)/check steps
check-core:		## the parts of the series that can be posted alone pass the selftest (not in check)
	@$(LAB)/check core

check-64k:		## arm64 with pages of 64 KiB passes the selftest (not in check)
	@$(LAB)/check 64k

.PHONY: check-maps
check-maps:		## as many VMAs as on the unpatched kernel, after each of many random calls
	@$(LAB)/maps

.PHONY: check-upstream
check-upstream:		## 7.3's own mm selftests, unpatched against patched (both ARCHs unless given)
	@$(LAB)/upstream --variant $(VARIANT) $(ARCHS:%=--arch %)

.PHONY: bench bench-repeat
bench:			## what operations cost, patched against unpatched: table, CSV, plots
	@$(LAB)/bench
bench-repeat:		## measure once more and say how far that agrees with the last bench
	@$(LAB)/bench --repeat

.PHONY: soak
soak:			## everything at once for MINUTES on a sanitized kernel (VARIANT=debug), each page checked
	@VARIANT=$(CHECK_VARIANT) $(LAB)/soak

.PHONY: interference
interference:		## what a hostile process does to migration, reclaim and strangers, against unpatched
	@$(LAB)/interference

.PHONY: model
model:			## check a model of the protocol exhaustively, and that it fails without each rule
	@$(LAB)/deps model && $(LAB)/model/run

.PHONY: litmus
litmus:			## check the pairs of lockless accesses against the kernel's memory model
	@$(LAB)/litmus/run

.PHONY: mutants
mutants:		## break the patched kernel in many ways, and see the tests catch each (MUTANT='NAME...')
	@$(LAB)/mutants $(MUTANT)

.PHONY: readme-table
readme-table:		## put the last demo's and bench's tables into README.md and the cover letter
	@$(LAB)/readme-table

.PHONY: clean
clean:			## remove what was built; the download and the ccache stay
	@$(LAB)/clean

.PHONY: distclean
distclean:		## remove build/ whole
	@$(LAB)/clean all
