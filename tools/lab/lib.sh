# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
#
# What every script of the lab needs.  Sourced, with $0 in tools/lab:
#	. "$(dirname "$0")/lib.sh"

me=$(basename "$0")
lab=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$lab/../.." && pwd)
build=$top/build
if [ -n "${LAB_BUILD:-}" ]; then
	# Scripts that this one calls may be elsewhere when they read it.
	case $LAB_BUILD in
	/*) ;;
	*) LAB_BUILD=$PWD/$LAB_BUILD ;;
	esac
	export LAB_BUILD
	build=${LAB_BUILD%/}
fi
# The series: its patches, and where its new files lie.  Tests point elsewhere.
patches=${LAB_PATCHES:-$top/patches}
newroot=${LAB_NEWROOT:-$top}

# --help is what the script begins with.
case ${1:-} in
--help | -h)
	sed -n '4,/^$/s/^# \{0,1\}//p' "$0"
	exit
	;;
esac

LC_ALL=C.UTF-8
export LC_ALL
umask 022

die()
{
	echo "$me: $*" >&2
	exit 1
}

note()
{
	echo "[$(date +%H:%M:%S)] $*"
}

selftest_programs()	# -> the series' own selftests, a name a line
{
	(cd "$top/tools/testing/selftests/mm" && ls -- anon_*.c | sed 's/\.c$//; /^anon_rmap$/d')
}

elapsed()	# seconds -> 1m02s
{
	printf '%dm%02ds' $(($1 / 60)) $(($1 % 60))
}

# number LABEL VALUE LEAST [MOST]: "LABEL" is how the value was named, as in "SMP=".
number()
{
	case $2 in
	0) ;;
	'' | *[!0-9]* | 0*) die "$1$2 is not a number" ;;
	???????????????????*) die "$1$2 is too large a number" ;;
	esac
	[ "$2" -ge "$3" ] || die "$1$2 is less than $3"
	[ "$2" -le "${4:-$2}" ] || die "$1$2 is more than $4"
}

# takes 'OPTION...' "$@": if the first argument is one of these, it has a value.
takes()
{
	case " $1 " in
	*" ${2:-} "*) [ $# -ge 3 ] || die "$2 wants a value" ;;
	esac
}

one_of()	# NAME WORD...: the variable is one of the words, or not set
{
	_name=$1
	eval "_value=\${$1:-}"
	shift
	[ -n "$_value" ] || return 0
	for _w in "$@"; do
		[ "$_value" != "$_w" ] || return 0
	done
	die "$_name=$_value is not one of $(echo "$*" | sed 's/ /, /g')"
}

# What a person sets is looked at here, for all scripts, before any work.
one_of ARCH x86_64 arm64
one_of KERNEL base lazy
one_of VARIANT plain machine debug kasan kcsan
one_of ACCEL kvm tcg
one_of FLAVOUR cloud-amd64 amd64
for _name in LAZY STRESS FORCE QUICK V DEBUG_INFO; do
	one_of $_name 0 1
done
# As many processors as CONFIG_NR_CPUS in tools/lab/configs.
[ -z "${SMP:-}" ] || number SMP= "$SMP" 1 8
[ -z "${MEM:-}" ] || number MEM= "$MEM" 256 1048576
[ -z "${JOBS:-}" ] || number JOBS= "$JOBS" 1 1024
[ -z "${MINUTES:-}" ] || number MINUTES= "$MINUTES" 1 100000
[ -z "${SEED:-}" ] || number SEED= "$SEED" 0
jobs=${JOBS:-$(nproc)}

# So are the places. The kernel's own Makefile takes no such names.
case $top in
*[[:space:]:]*) die "no kernel can be built below a name with a space or a colon: move this checkout ($top)" ;;
esac
case $build in
*[[:space:]:]*) die "no kernel can be built below a name with a space or a colon: LAB_BUILD=$build" ;;
esac
# A script that only reads says so, with writes=no.
[ "${writes:-}" = no ] ||
	{ mkdir -p "$build" 2> /dev/null && [ -w "$build" ]; } ||
	die "$build cannot be written: LAB_BUILD=DIR names another place"

# busy LABEL LOG COMMAND...
#
# Run a command with its output in LOG, saying every half minute that it still
# runs and how far it is.  With V=1 the output is shown too.  On failure the
# end of the log is shown and the status returned.
busy()
{
	_label=$1 _log=$2
	shift 2
	mkdir -p "$(dirname "$_log")"
	_t0=$(date +%s)
	if [ "${V:-0}" = 1 ]; then
		# The status has to survive the pipe.
		{ "$@" 2>&1; echo $? > "$_log.rc"; } | tee "$_log"
		_rc=$(cat "$_log.rc")
		rm -f "$_log.rc"
	else
		"$@" > "$_log" 2>&1 < /dev/null &
		_pid=$!
		(
			s=
			trap 'kill $s 2> /dev/null; exit' TERM
			while :; do
				sleep 30 & s=$!
				wait $s
				note "$_label: $(elapsed $(($(date +%s) - _t0))), $(wc -l < "$_log") lines of log"
			done
		) &
		_ticker=$!
		trap 'kill $_pid $_ticker 2> /dev/null; exit 130' INT TERM
		_rc=0
		wait $_pid || _rc=$?
		trap - INT TERM
		kill $_ticker 2> /dev/null || :
		wait $_ticker 2> /dev/null || :
	fi
	_t1=$(($(date +%s) - _t0))
	if [ "$_rc" -ne 0 ]; then
		tail -n 15 "$_log" | sed 's/^/    /' >&2
		return "$_rc"
	fi
	[ $_t1 -lt 10 ] || note "$_label: done in $(elapsed $_t1)"
}

# One instance at a time of what writes the same place.
locked()	# NAME
{
	mkdir -p "$build"
	exec 9> "$build/.lock-$1"
	if ! flock -n 9; then
		note "waiting for another run that holds $build/.lock-$1"
		flock 9
	fi
}

has_feature()	# TREE
{
	grep -q '^config ANON_VMA_LAZY$' "$1/mm/Kconfig" 2> /dev/null
}

# Name an architecture in all the ways that are needed.
arch_vars()	# ARCH
{
	case $1 in
	x86_64)
		karch=x86 debarch=amd64 triplet=x86_64-linux-gnu cross=
		image=arch/x86/boot/bzImage
		;;
	arm64)
		karch=arm64 debarch=arm64 triplet=aarch64-linux-gnu
		cross=aarch64-linux-gnu-
		image=arch/arm64/boot/Image
		;;
	*)
		die "ARCH=$1 is not one of x86_64, arm64"
		;;
	esac
	[ "$(uname -m)" != aarch64 ] || die "the lab runs on x86_64 machines only"
}

# Have what these groups of tools/lab/deps name, and what $arch needs.
packages()	# GROUP...
{
	[ "$arch" != arm64 ] || set -- "$@" arm64
	"$lab/deps" "$@"
}

# ccache, and what makes trees at different places share what they compile: the
# lab keeps source and objects side by side, as DIR/src and DIR/OUT.
ccache_vars()	# SRC OUT
{
	CCACHE_DIR=$build/ccache
	CCACHE_BASEDIR=$(dirname "$2")
	CCACHE_NOHASHDIR=1
	# Never CCACHE_DEPEND, which does not see .incbin: a kernel that compresses
	# to as many bytes as another would be taken for it.  The name is not that
	# of the caches from when it was set.
	CCACHE_NAMESPACE=incbin
	CCACHE_MAXSIZE=5G
	CCACHE_SLOPPINESS=include_file_ctime,include_file_mtime,time_macros
	CCACHE_IGNOREOPTIONS='-fmacro-prefix-map=*'
	export CCACHE_DIR CCACHE_BASEDIR CCACHE_NOHASHDIR CCACHE_NAMESPACE \
		CCACHE_MAXSIZE CCACHE_SLOPPINESS CCACHE_IGNOREOPTIONS
	ccache=$(command -v ccache) || ccache=
}

# The Debian mirror in the machine's own apt sources.
debian_mirror()
{
	# shellcheck disable=SC2016 # apt's variables
	_m=$(apt-get indextargets --format '$(ORIGIN) $(CODENAME) $(REPO_URI)' \
			'Created-By: Packages' 2> /dev/null |
		awk '$1 == "Debian" && $2 !~ /-(security|updates|backports)$/ { print $2, $3; exit }')
	if [ -z "$_m" ] && [ "$(id -u)" -eq 0 ]; then
		apt-get update > "$build/log/apt-update.log" 2>&1 || :
		# shellcheck disable=SC2016
		_m=$(apt-get indextargets --format '$(ORIGIN) $(CODENAME) $(REPO_URI)' \
				'Created-By: Packages' 2> /dev/null |
			awk '$1 == "Debian" && $2 !~ /-(security|updates|backports)$/ { print $2, $3; exit }')
	fi
	[ -n "$_m" ] ||
		die "no Debian mirror in this machine's apt sources; run 'apt-get update' as root"
	suite=${_m% *} mirror=${_m#* }
}

version_of()	# TREE -> 7.3.4
{
	awk '$1 ~ /^(VERSION|PATCHLEVEL|SUBLEVEL)$/ && $2 == "=" { v = v "." $3; n++ }
	     n == 3 { print substr(v, 2); exit }' "$1/Makefile" 2> /dev/null
}

# Who makes commits, mails and packages: as this repository's commits say, if it has any.
identity()	# -> _n, _e
{
	_n=$(git -C "$top" config user.name) || _n='ANON_VMA_LAZY lab'
	_e=$(git -C "$top" config user.email) || _e=lab@localhost
}

git_neutral_identity()	# WORKTREE
{
	identity
	git -C "$1" config user.name "$_n"
	git -C "$1" config user.email "$_e"
}
