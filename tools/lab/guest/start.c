// SPDX-License-Identifier: GPL-2.0
//
// What the guest's first process becomes when all is set up: starts /lab/run,
// says how it ended, and powers off.
//
// A program of its own, and posix_spawn(), as service managers do it, so that
// the memory of a shell that has forked is not part of what is measured.
//
// usage: start ID OUTPUT

#define _GNU_SOURCE
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static void say(const char *where, const char *line)
{
	int fd = open(where, O_WRONLY | O_NOCTTY);

	if (fd < 0 || write(fd, line, strlen(line)) < 0)
		perror(where);
	close(fd);
}

int main(int argc, char **argv)
{
	char *const run[] = { "bash", "/lab/run", NULL };
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attr;
	int status, rc = 127;
	char line[128];
	pid_t pid, got;

	if (argc != 3) {
		fprintf(stderr, "usage: start ID OUTPUT\n");
		return 2;
	}

	snprintf(line, sizeof(line), "LAB-BEGIN-%s\n", argv[1]);
	say(argv[2], line);

	posix_spawn_file_actions_init(&files);
	posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_addopen(&files, 1, argv[2], O_WRONLY | O_NOCTTY, 0);
	posix_spawn_file_actions_adddup2(&files, 1, 2);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSID);
	if (!posix_spawnp(&pid, run[0], &files, &attr, run, environ)) {
		/* Orphans end here too. */
		do {
			got = wait(&status);
		} while (got != pid && got > 0);
		rc = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	}

	snprintf(line, sizeof(line), "LAB-END-%s %d\n", argv[1], rc);
	say(argv[2], line);
	if (strcmp(argv[2], "/dev/console"))
		say("/dev/console", line);
	/* Let the line leave before the machine does. */
	usleep(200000);
	sync();
	/* Debian's poweroff belongs to an init system; ask the kernel. */
	say("/proc/sysrq-trigger", "o");
	sleep(10);
	return 1;
}
