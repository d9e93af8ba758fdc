/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What exec_libs starts: linked to many libraries, it says on the file
 * descriptor of its first argument when main() was reached, and ends.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	uint64_t now = 0;

	if (argc < 3)
		return 2;
#ifdef __x86_64__
	if (!strcmp(argv[2], "insn"))
		now = __builtin_ia32_rdtsc();
#endif
	if (!now) {
		struct timespec t;

		clock_gettime(CLOCK_MONOTONIC_RAW, &t);
		now = t.tv_sec * UINT64_C(1000000000) + t.tv_nsec;
	}
	return write(atoi(argv[1]), &now, sizeof(now)) != sizeof(now);
}
