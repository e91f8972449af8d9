/*
 * slow_flush.c: a disk that is slower, for a server that it is preloaded into:
 * each fdatasync, with which the WAL is flushed, takes a millisecond more. Data
 * files are flushed with fsync, which stays as it is.
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
