/*
 * slow_flush.c: simulates a slow disk for a server that preloads it: each
 * fdatasync, which flushes the WAL, takes a millisecond longer. Data files are
 * flushed with fsync, which is unchanged.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <time.h>

int
fdatasync(int fd)
{
	static int (*flush)(int);
	struct timespec delay = {0, 1000000};

	if (flush == NULL)
		flush = (int (*)(int)) dlsym(RTLD_NEXT, "fdatasync");
	clock_nanosleep(CLOCK_MONOTONIC, 0, &delay, NULL);
	return flush(fd);
}
