/* SPDX-License-Identifier: GPL-2.0 */
/*
 * One of the libraries of prog.c, number N: data that is written to, data that
 * is relocated and then protected, and a call of libc.
 */
#include <stdlib.h>

#define PASTE(a, b) a##b
#define NAME(a, b) PASTE(a, b)

int NAME(bench_data_, N) = N;
static const char *const names[] = { "a", "b", "c", "d" };

const char *NAME(bench_name_, N)(int i)
{
	return names[i & 3];
}

static void __attribute__((constructor)) init(void)
{
	NAME(bench_data_, N) += getenv("BENCH") ? 1 : 2;
}
