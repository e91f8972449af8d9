/*
 * log.c: JSON lines on standard error, one per request and per event.
 *
 * All text is escaped by text_add_json, so a client cannot end or forge a line.
 * Lines are written whole, under a mutex. Bodies, query strings and header
 * values other than the ids and the client address are never logged.
 */
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include "log.h"

static const char *const level_names[] = {"debug", "info", "warn", "error"};

static void start_line(Text *line, LogLevel level);
static void write_line(Log *log, Text *line);

void
log_init(Log *log)
{
	log->level = LOG_INFO;
	pthread_mutex_init(&log->mutex, NULL);
}

bool
log_parse_level(const char *name, LogLevel *level)
{
	for (int i = LOG_DEBUG; i <= LOG_ERROR; i++)
	{
		if (strcasecmp(name, level_names[i]) == 0)
		{
			*level = (LogLevel) i;
			return true;
		}
	}
	return false;
}

const char *
log_level_name(LogLevel level)
{
	return level_names[level];
}

bool
log_is_on(const Log *log, LogLevel level)
{
	return level >= log->level;
}

void
log_event(Log *log, LogLevel level, const char *format, ...)
{
	char message[2048];
	va_list arguments;
	Text line = {0};

	if (!log_is_on(log, level))
		return;
	va_start(arguments, format);
	vsnprintf(message, sizeof(message), format, arguments);
	va_end(arguments);
	if (log->plain)
	{
		/* libpq ends its messages with line breaks. */
		size_t length = strlen(message);

		while (length > 0 && message[length - 1] == '\n')
			length--;
		printf("%s: %.*s\n", level_names[level], (int) length, message);
		return;
	}
	start_line(&line, level);
	text_add_string(&line, ",\"message\":");
	text_add_json(&line, message, strlen(message));
	write_line(log, &line);
}

void
log_members(Log *log, LogLevel level, const Text *members)
{
	Text line = {0};

	if (!log_is_on(log, level) || members->failed)
		return;
	start_line(&line, level);
	text_add_string(&line, ",");
	text_add(&line, members->data, members->length);
	write_line(log, &line);
}

static void
start_line(Text *line, LogLevel level)
{
	struct timespec now;
	struct tm utc;
	char stamp[32];

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &utc);
	strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &utc);
	text_addf(line,
			  "{\"ts\":\"%s.%03ldZ\",\"level\":\"%s\"",
			  stamp,
			  now.tv_nsec / 1000000,
			  level_names[level]);
}

static void
write_line(Log *log, Text *line)
{
	size_t written = 0;

	text_add_string(line, "}\n");
	if (!line->failed)
	{
		pthread_mutex_lock(&log->mutex);
		while (written < line->length)
		{
			ssize_t n = write(STDERR_FILENO,
							  line->data + written,
							  line->length - written);

			if (n <= 0)
				break;
			written += (size_t) n;
		}
		pthread_mutex_unlock(&log->mutex);
	}
	text_free(line);
}
