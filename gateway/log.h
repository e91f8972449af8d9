/*
 * log.h: JSON lines on standard error, one per request and per event.
 */
#ifndef LOG_H
#define LOG_H

#include <pthread.h>
#include <stdbool.h>

#include "text.h"

typedef enum LogLevel
{
	LOG_DEBUG,
	LOG_INFO,
	LOG_WARN,
	LOG_ERROR
} LogLevel;

typedef struct Log
{
	_Atomic LogLevel level; /* lines below it are dropped */
	bool plain;				/* for a person, on standard output */
	pthread_mutex_t mutex;	/* guards standard error: a line is never split */
} Log;

void log_init(Log *log);
bool log_parse_level(const char *name, LogLevel *level);
const char *log_level_name(LogLevel level);

/* Is a line of this level written? */
bool log_is_on(const Log *log, LogLevel level);

/* One line {"ts","level","message"}; the message may contain any bytes. */
void log_event(Log *log, LogLevel level, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* One line with further members: JSON without the braces. */
void log_members(Log *log, LogLevel level, const Text *members);

#endif /* LOG_H */
