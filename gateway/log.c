/*
 * log.c: JSON lines on standard error, one per request and per event.
 *
 * Events are written at once. A write for each request took 9 of the gateway's
 * 56 microseconds, so the lines of requests are collected, and a thread writes
 * them together, a few milliseconds later. None is lost when the gateway stops,
 * or ends by a signal that it can catch: the handler writes those that are
 * left.
 *
 * All text is escaped by text_add_json, so a client cannot end or forge a line.
 * Lines are written whole, under a mutex. Bodies, query strings and header
 * values other than the ids and the client address are never logged.
 */
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "log.h"

/* How long a line may wait for others. */
#define DELAY_US (20 * 1000)

/* How long a dying process waits for a write in progress, in milliseconds. */
#define DYING_WAIT_MS 100

static const int deadly_signals[] =
	{SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGQUIT};

#define DEADLY_SIGNALS (sizeof(deadly_signals) / sizeof(deadly_signals[0]))

/* For the signal handler, which gets no argument. */
static Log *dying_log;
static struct sigaction former_actions[DEADLY_SIGNALS];

static const char *const level_names[] = {"debug", "info", "warn", "error"};

static void start_line(Text *line, LogLevel level);
static void end_line(Log *log, Text *line, bool at_once);
static void *run_writer(void *argument);
static void write_buffer(Log *log);
static void write_all(const char *bytes, size_t length);
static void write_dying(int number);

void
log_init(Log *log)
{
	log->level = LOG_INFO;
	pthread_mutex_init(&log->mutex, NULL);
}

void
log_start_writer(Log *log)
{
	struct sigaction action = {.sa_handler = write_dying};

	clock_init_condition(&log->changed);
	if (pthread_create(&log->writer, NULL, run_writer, log) != 0)
	{
		pthread_cond_destroy(&log->changed);
		return;
	}
	dying_log = log;
	for (size_t i = 0; i < DEADLY_SIGNALS; i++)
		sigaction(deadly_signals[i], &action, &former_actions[i]);
	pthread_mutex_lock(&log->mutex);
	log->buffered = true;
	pthread_mutex_unlock(&log->mutex);
}

void
log_stop_writer(Log *log)
{
	if (!log->buffered)
		return;
	pthread_mutex_lock(&log->mutex);
	log->stopping = true;
	pthread_cond_signal(&log->changed);
	pthread_mutex_unlock(&log->mutex);
	pthread_join(log->writer, NULL);
	pthread_mutex_lock(&log->mutex);
	log->buffered = false;
	write_buffer(log);
	pthread_mutex_unlock(&log->mutex);
	for (size_t i = 0; i < DEADLY_SIGNALS; i++)
		sigaction(deadly_signals[i], &former_actions[i], NULL);
	pthread_cond_destroy(&log->changed);
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
	end_line(log, &line, true);
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
	end_line(log, &line, false);
}

static void
start_line(Text *line, LogLevel level)
{
	static _Thread_local char stamp[32];
	static _Thread_local time_t stamped;
	struct timespec now;
	struct tm utc;

	clock_gettime(CLOCK_REALTIME, &now);
	if (now.tv_sec != stamped)
	{
		gmtime_r(&now.tv_sec, &utc);
		strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &utc);
		stamped = now.tv_sec;
	}
	text_addf(line,
			  "{\"ts\":\"%s.%03ldZ\",\"level\":\"%s\"",
			  stamp,
			  now.tv_nsec / 1000000,
			  level_names[level]);
}

static void
end_line(Log *log, Text *line, bool at_once)
{
	text_add_string(line, "}\n");
	if (!line->failed)
	{
		pthread_mutex_lock(&log->mutex);
		if (line->length > LOG_BUFFER_BYTES - log->length)
			write_buffer(log);
		if (line->length > LOG_BUFFER_BYTES)
			write_all(line->data, line->length);
		else
		{
			memcpy(log->buffer + log->length, line->data, line->length);
			log->length += line->length;
		}
		if (at_once || !log->buffered)
			write_buffer(log);
		else if (log->length == line->length)
			pthread_cond_signal(&log->changed);
		pthread_mutex_unlock(&log->mutex);
	}
	text_free(line);
}

static void *
run_writer(void *argument)
{
	Log *log = argument;

	pthread_mutex_lock(&log->mutex);
	while (!log->stopping)
	{
		struct timespec until;

		if (log->length == 0)
		{
			pthread_cond_wait(&log->changed, &log->mutex);
			continue;
		}
		until = clock_timespec(clock_us() + DELAY_US);
		while (!log->stopping &&
			   pthread_cond_timedwait(&log->changed, &log->mutex, &until) == 0)
			continue;
		write_buffer(log);
	}
	pthread_mutex_unlock(&log->mutex);
	return NULL;
}

/* The caller holds the mutex. */
static void
write_buffer(Log *log)
{
	log->writing = true;
	write_all(log->buffer, log->length);
	log->length = 0;
	log->writing = false;
}

static void
write_all(const char *bytes, size_t length)
{
	size_t written = 0;

	while (written < length)
	{
		ssize_t n = write(STDERR_FILENO, bytes + written, length - written);

		if (n <= 0)
			break;
		written += (size_t) n;
	}
}

/*
 * Writes what is left and lets the signal do what it did before. The mutex may
 * be held by the thread that was interrupted, so another thread may still add a
 * line: the one that is being added can be missing.
 */
static void
write_dying(int number)
{
	const struct timespec pause = {.tv_nsec = 1000000};

	for (size_t i = 0; i < DEADLY_SIGNALS; i++)
	{
		if (deadly_signals[i] == number)
			sigaction(number, &former_actions[i], NULL);
	}
	for (int i = 0; i < DYING_WAIT_MS && dying_log->writing; i++)
		nanosleep(&pause, NULL);
	if (!dying_log->writing)
		write_all(dying_log->buffer, atomic_exchange(&dying_log->length, 0));
	raise(number);
}
