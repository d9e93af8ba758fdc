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
export MINUTES SEED STRESS QUICK PART PREVIOUS SERIES DEBUG_INFO

MAKEFLAGS += --no-print-directory
LAB := tools/lab

# What is set on the command line is one of these, or misspelt.
VARIABLES := ARCH KERNEL LAZY VARIANT KDIR V SMP MEM JOBS FORCE MINUTES SEED STRESS \
	QUICK MUTANT ACCEL PART PREFIX PREVIOUS SERIES DEBUG_INFO FLAVOUR LAB_BUILD
unknown := $(filter-out $(VARIABLES) -%,$(foreach v,$(.VARIABLES), \
	$(if $(filter command,$(firstword $(origin $v))),$v)))
$(foreach v,$(unknown),$(warning $v= is no variable of this Makefile: \
	$(if $(filter O,$v),LAB_BUILD=DIR names another place than build/,make help-vars lists them)))

.PHONY: help help-vars
help:			## 1 s | what can be typed (this text)
	@echo 'make TARGET [VARIABLE=value]...'
	@sed -n 's/^#: /\n/p; s/^\([a-z0-9-]*\):[^#]*## *\([^|]*[^| ]\|\) *| /  \1\t\2\t/p' Makefile | \
		expand -t 18,28
	@echo
	@echo 'Times are on two processors; the first build of a kernel takes 10 minutes more.'
	@echo 'tools/lab/README.md says what calls what.'
help-vars:		## 1 s | the variables
	@sed -n 's/^## //p' Makefile

## ARCH=x86_64|arm64   of the guest (x86_64; check, check-upstream, bench-native: both)
## KERNEL=base|lazy    unpatched or patched (lazy)
## LAZY=0|1            vm.anon_vma_lazy in the guest of 'make boot' (1)
## VARIANT=plain|machine|debug|kasan|kcsan
##                     what kind of kernel (plain; tests and soak: debug; machine is
##                     plain with what a whole Debian needs)
## QUICK=1             leave the whole machine out of 'make demo'
## DEBUG_INFO=1        of 'make kernel' and 'make boot': debug information: drgn, bpftrace, gdb
## FLAVOUR=cloud-amd64|amd64
##                     of 'make deb': which of Debian's configurations (cloud-amd64)
## KDIR=DIR            a 7.3.y tree to use as base instead of Debian's
## LAB_BUILD=DIR       another place than build/
## MINUTES=N SEED=N    of 'make soak' (10, the time)
## STRESS=0            leave stress-ng out of it
## SMP=N MEM=MB        the guest's processors (2) and memory (3072)
## ACCEL=kvm|tcg       virtualize or emulate (kvm where a guest has run under it)
## JOBS=N              compilers at once (one per processor)
## V=1                 show everything that is run
## MUTANT='NAME...'    the mutants to try (all; 'make mutants-list')
## PART=tests          'make series' of these alone; of core, groups ...: up to the part's end
## PREFIX='RFC PATCH'  what the subjects of 'make series' begin with
## PREVIOUS=REF|DIR   of 'make bundle': an earlier version, a commit here or its mails
## SERIES=7.2          of 'make applies': Debian's linux-source of this version
## FORCE=1             let 'make tree' or 'make clean' throw unrefreshed commits away

#: Start

.PHONY: demo
demo:			## 15 min | what is saved: both kernels, a whole machine and workloads in a table
	@$(LAB)/demo

.PHONY: boot
boot:			## 1 min | a shell in a guest (KERNEL, LAZY, ARCH, VARIANT); Ctrl-D leaves
	@$(LAB)/boot

.PHONY: kernel
kernel:			## 10 min | build one kernel (KERNEL, ARCH, VARIANT; DEBUG_INFO=1 for drgn and gdb)
	@$(LAB)/kernel

.PHONY: menuconfig
menuconfig:		## by hand | change that kernel's configuration in its menus
	@$(LAB)/kernel menuconfig

.PHONY: clean
clean:			## 1 min | remove what was built, and the logs; the download and the ccache stay
	@$(LAB)/clean

.PHONY: distclean
distclean:		## 1 min | remove build/ whole
	@$(LAB)/clean all

#: Test

.PHONY: check
check:			## 1 h | all tests, on both architectures, as KTAP; the last line counts them
	@$(LAB)/check

.PHONY: check-quick
check-quick:		## 1 min | the tests that build no kernel; some more, if one is built: 5 min
	@$(LAB)/check quick

.PHONY: check-lab check-lint check-vma check-size check-steps check-boot check-series check-core
.PHONY: check-64k
check-lab:		## 20 s | only: what can be typed wrong is answered with what to do
	@$(LAB)/check lab
check-series:		## 1 min | only: the series applies, round-trips, and git takes it
	@$(LAB)/check series
check-lint:		## 5 min | only: checkpatch, sparse, W=1, shell scripts, licences
	@$(LAB)/check lint
check-vma:		## 1 min | only: the kernel's userland VMA tests
	@$(LAB)/check vma
check-size:		## 4 min | only: with the option off nothing grows; lines of the series
	@$(LAB)/check size
check-boot:		## 25 min | only: build the kernel (VARIANT=debug), boot it, run the selftest
	@$(LAB)/check boot

.PHONY: sanitize
sanitize:		## 2 h | check-boot of each VARIANT: debug, kasan, kcsan
	@rc=0; for v in debug kasan kcsan; do \
		echo "# VARIANT=$$v"; CHECK_VARIANT=$$v $(LAB)/check boot || rc=1; \
	done; exit $$rc

check-steps:		## 1 h | every step of the series builds, option on and off (not in check)
	@$(LAB)/check steps
check-core:		## 30 min | the parts that can be posted alone pass the selftest (not in check)
	@$(LAB)/check core
check-64k:		## 20 min | arm64 with pages of 64 KiB passes the selftest (not in check)
	@$(LAB)/check 64k

.PHONY: check-maps
check-maps:		## 4 min | as many VMAs as unpatched, after each of many random calls
	@$(LAB)/maps

.PHONY: check-upstream
check-upstream:		## 1 h | 7.3's own mm selftests, unpatched against patched (both ARCHs)
	@$(LAB)/upstream --variant $(VARIANT) $(ARCHS:%=--arch %)

#: Measure

.PHONY: bench bench-repeat
bench:			## 35 min | what operations cost, patched against unpatched: table, CSV, plots
	@$(LAB)/bench
bench-repeat:		## 35 min | measure once more and say how far that agrees with the last bench
	@$(LAB)/bench --repeat

.PHONY: bench-native
bench-native:		## 1 min | the benchmark for hardware, in time: build/bench-native.tar.gz
	@$(LAB)/native

.PHONY: interference
interference:		## 10 min | what a hostile process does to migration, reclaim and strangers
	@$(LAB)/interference

.PHONY: soak
soak:			## 10 min | everything at once for MINUTES (VARIANT=debug), each page checked
	@VARIANT=$(CHECK_VARIANT) $(LAB)/soak

#: Prove

.PHONY: model
model:			## 7 min | check a model of the protocol exhaustively; without a rule it fails
	@$(LAB)/deps model && $(LAB)/model/run

.PHONY: litmus
litmus:			## 1 min | check pairs of lockless accesses with the kernel's memory model
	@$(LAB)/litmus/run

.PHONY: mutants mutants-list
mutants:		## hours | break the kernel in many ways; the tests catch each (MUTANT='NAME...')
	@$(LAB)/mutants $(MUTANT)
mutants-list:		## 1 s | what can be broken
	@$(LAB)/mutants --list

#: The patches

.PHONY: series
series:			## 5 s | the series, or a PART of it, as mails; nothing is fetched: build/series
	@$(LAB)/deps git && $(LAB)/mailout

.PHONY: bundle
bundle:			## 10 s | the series as a git bundle to fetch from; what changed since PREVIOUS
	@$(LAB)/deps git && $(LAB)/bundle

.PHONY: applies
applies:		## 1 min | which patches apply to another kernel (KDIR=DIR or SERIES=7.2)
	@$(LAB)/deps git && $(LAB)/applies

.PHONY: deb check-deb
deb:			## 90 min | the kernel as packages: Debian's configuration and the option (FLAVOUR)
	@$(LAB)/deb
check-deb:		## 15 min | these packages install and boot in a guest, and log in (not in check)
	@$(LAB)/deb check

.PHONY: tree
tree:			## 2 min | lay out the series as a git tree to work in: build/tree
	@$(LAB)/deps git fetch && $(LAB)/tree

.PHONY: refresh
refresh:		## 1 s | write build/tree's commits back to patches/ and the new files
	@$(LAB)/refresh

.PHONY: readme-table
readme-table:		## 1 s | put the last demo's and bench's tables into the documentation
	@$(LAB)/readme-table
