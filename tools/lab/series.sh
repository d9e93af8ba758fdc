# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
#
# Reading patches/.  Sourced after lib.sh.
#
# patches/series has a line for each step: a patch, then the new files that the
# step brings, as paths here and in the kernel.  Comment lines in it:
#
#	# base: TAG COMMIT	what the series is for, as others have it; COMMIT is
#				"unknown" if it is
#	# part: NAME [alone]	the steps that follow are part NAME; parts can be left
#				out from the last one on; one that is "alone" needs
#				none of those before it, and can be posted first
#
# A patch is
#
#	Subject: what the step does
#
#	why, as in the mail
#	---
#	git diff, of existing kernel files only, perhaps empty

series_steps()	# -> "patch newfile..." lines
{
	[ -f "$patches/series" ] || return 0
	sed 's/#.*//; s/[[:space:]]*$//; /^$/d' "$patches/series"
}

part_end()	# NAME -> how many steps there are up to the end of this part
{
	awk -v name="$1" '
	/^# part:/ { if (found) exit; found = $3 == name; next }
	/^[^#[:space:]]/ { n++ }
	END { if (!found) exit 1; print n + 0 }' "$patches/series"
}

series_parts()	# -> their names, a line each
{
	sed -n 's/^# part: *\([^ ]*\).*/\1/p' "$patches/series"
}

part_steps()	# NAME -> as series_steps, the steps of an "alone" part, or all to the part's end
{
	awk -v name="$1" '
	/^# part:/ {
		if (found)
			exit
		found = $3 == name
		if (found && $4 == "alone")
			steps = ""
		next
	}
	{ sub(/[[:space:]]*(#.*)?$/, "") }
	NF { steps = steps $0 "\n" }
	END { if (!found) exit 1; printf "%s", steps }' "$patches/series"
}

# Everything after the "---" line.
patch_diff()	# FILE
{
	sed '1,/^---$/d' "$1"
}

# A file that comes whole, as a patch that makes it.
new_file()	# FILE
(
	cd "$newroot" || exit
	git diff --no-index --no-color --no-ext-diff --src-prefix=a/ --dst-prefix=b/ -- /dev/null "$1" |
		sed '/^index [0-9a-f]*\.\./d'
)

# The message: subject, blank line, body without trailing blank lines.
patch_message()	# FILE
{
	sed -n '/^---$/q; p' "$1" | sed '1s/^Subject: *//' | git stripspace
}

# Which files a patch changes.
patch_files()	# FILE
{
	patch_diff "$1" | sed -n 's,^--- a/\([^	]*\).*,\1,p; s,^+++ b/\([^	]*\).*,\1,p' | LC_ALL=C sort -u
}

series_lint()	# is patches/ in order? says what is not
{
	_seen=
	series_steps | while read -r p files; do
		[ -f "$patches/$p" ] || { echo "patches/series names $p, which is not there"; exit 1; }
		head -n 1 "$patches/$p" | grep -q '^Subject: [^ ]' ||
			{ echo "patches/$p does not begin with 'Subject: ...'"; exit 1; }
		grep -q '^---$' "$patches/$p" ||
			{ echo "patches/$p has no '---' line after its message"; exit 1; }
		for f in $files; do
			[ -f "$newroot/$f" ] || { echo "step $p brings $f, which is not there"; exit 1; }
		done
	done
}

# Apply all steps, or the first so many, to the files they touch, copied from SRC
# into DST.
series_apply()	# SRC DST [STEPS]
{
	series_lint >&2 || return 1
	: > "$2.deleted"
	series_steps | head -n "${3:-9999}" | while read -r p files; do
		for f in $(patch_files "$patches/$p"); do
			if [ ! -f "$2/$f" ] && [ -f "$1/$f" ] && ! grep -qx "$f" "$2.deleted"; then
				mkdir -p "$2/$(dirname "$f")"
				cp "$1/$f" "$2/$f"
			fi
		done
		patch_diff "$patches/$p" > "$2.diff"
		if [ -s "$2.diff" ]; then
			patch -p1 --fuzz=0 --no-backup-if-mismatch --force --remove-empty-files \
				-d "$2" < "$2.diff" > "$build/log/patch.log" 2>&1 || {
				_f=$(sed -n 's/^patching file //p' "$build/log/patch.log" | tail -n 1)
				rm -f "$2.diff"
				echo "$me: patches/$p does not apply${_f:+ to $_f}; fix it with 'make tree' and 'make refresh' (log: $build/log/patch.log)" >&2
				exit 1
			}
			for f in $(patch_files "$patches/$p"); do
				[ -f "$2/$f" ] || echo "$f" >> "$2.deleted"
			done
		fi
		rm -f "$2.diff"
		for f in $files; do
			if [ -f "$1/$f" ]; then
				echo "$me: step $p brings $f, which the kernel has already" >&2
				exit 1
			fi
			mkdir -p "$2/$(dirname "$f")"
			cp "$newroot/$f" "$2/$f"
		done
	done
}
