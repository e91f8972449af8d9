/*
 * log.h: JSON lines on standard error, one per request and per event.
 */
#ifndef LOG_H
#define LOG_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "text.h"

typedef enum LogLevel
{
	LOG_DEBUG,
	LOG_INFO,
	LOG_WARN,
	LOG_ERROR
} LogLevel;

#define LOG_BUFFER_BYTES 65536

typedef struct Log
{
	_Atomic LogLevel level; /* lines below it are dropped */
	bool plain;				/* for a person, on standard output */
	pthread_t writer;

	/* Guards standard error, so that a line is never split, and the rest. */
	pthread_mutex_t mutex;
	pthread_cond_t changed; /* the buffer has a first line, or we stop */
	bool buffered;			/* the writer runs */
	bool stopping;

	/* Whole lines; after a deadly signal they are read without the mutex. */
	atomic_bool writing;
	atomic_size_t length;
	char buffer[LOG_BUFFER_BYTES];
} Log;

void log_init(Log *log);

/*
 * Starts a thread that writes lines of requests, those of 20 ms together.
 * Without it each line is written at once. There can be one such log.
 */
void log_start_writer(Log *log);
void log_stop_writer(Log *log);

bool log_parse_level(const char *name, LogLevel *level);
const char *log_level_name(LogLevel level);

/* Is a line of this level written? */
bool log_is_on(const Log *log, LogLevel level);

/* Writes a line {"ts","level","message"}; the message may contain any bytes. */
void log_event(Log *log, LogLevel level, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Adds a line with these members: JSON without the braces. */
void log_members(Log *log, LogLevel level, const Text *members);

#endif /* LOG_H */
