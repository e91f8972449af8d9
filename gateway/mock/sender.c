/*
 * sender.c: the mock sender: sends outbound messages through the mock provider.
 *
 * It is an example for other senders and does what each of them must do: it
 * listens for notifications, claims a few messages under a lease, passes them
 * to the provider outside of any transaction, and records the provider's
 * answer. An answer is kept until it is recorded: if the database goes away in
 * between, the answer is recorded when it is back, and the message is not sent
 * again. Only if this process dies, or cannot reach the database before the
 * lease expires, does another sender send the message again.
 *
 * A message that the mock provider accepted is also reported as delivered by
 * record_status, in its own transaction, as a callback would do it.
 *
 * One thread and one session; only what is needed to stop it is shared.
 */
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "clock.h"
#include "db/session.h"
#include "guard/breaker.h"
#include "mock/sender.h"

/* Workers send the notifications, and there may be no worker. */
#define NEWS_US (5 * SECOND_US)

/* While the database is away, attempts back off from the first to the max. */
#define REST_FIRST_US (SECOND_US / 10)
#define REST_MAX_US (5 * SECOND_US)

/* At a stop, a database call that hangs is cancelled after STOP_US. */
#define STOP_US SECOND_US
#define CANCEL_TRIES 5
#define CANCEL_US (SECOND_US / 10)

static const char listen_sql[] = "LISTEN msgstore_outbox";
/* The last column: a heartbeat is due three times in a lease. */
static const char claim_sql[] =
	"SELECT message_id, provider, channel, attempt, correlation_id,"
	" (extract(epoch FROM current_setting('msgstore.claim_timeout')::interval)"
	" * 1000000 / 3)::bigint"
	" FROM msgstore.claim_outbound($1, 10)";
static const char heartbeat_sql[] = "SELECT msgstore.heartbeat_outbound($1)";
static const char sent_sql[] = "SELECT msgstore.sent($1::uuid, $2, $3)";
static const char failed_sql[] =
	"SELECT msgstore.send_failed($1::uuid, $2, $3, $4, $5::boolean)";
static const char delivered_sql[] =
	"SELECT callback_id FROM msgstore.record_status("
	"$1, $2, 'delivered', '{\"mock\": true}')";

/* The columns of claim_sql. */
typedef enum Column
{
	MESSAGE_ID,
	PROVIDER,
	CHANNEL,
	ATTEMPT,
	CORRELATION_ID,
	HEARTBEAT_US
} Column;

/* Progress of the current message. */
typedef enum Step
{
	STEP_TAKEN,
	STEP_ASKED,	   /* the provider has not answered yet */
	STEP_ANSWERED, /* the answer is not recorded yet */
	STEP_SENT,	   /* recorded as sent; delivery is not reported yet */
	STEP_DONE
} Step;

/* The provider's answer to the current message. */
typedef struct Answer
{
	const char *error_code; /* NULL: sent */
	char error_message[256];
	bool permanent;
	char provider_message_id[64];
} Answer;

/* The outcome of a database call. */
typedef enum Result
{
	RESULT_DONE,
	RESULT_REFUSED, /* a retry would be refused as well */
	RESULT_LATER	/* a retry may succeed */
} Result;

struct Sender
{
	const Config *_Atomic config; /* replaced by sender_reload() */
	Log *log;
	Metrics *metrics;
	Provider *provider;
	char name[96];
	pthread_t thread;
	atomic_bool stopping;
	int wake; /* an eventfd: readable once we stop */

	pthread_mutex_t mutex; /* guards session.cancel against being freed */
	Session session;

	/* Used by the thread only. */
	char id[128]; /* it claims under: its name, with a number from 2 on */
	int number;
	bool strays; /* this id may hold leases that we do not know of */
	Breaker breakers[PROVIDER_COUNT];
	int64_t rest_us;	  /* the next wait while the database is away */
	bool troubled;		  /* the failure has been logged already */
	int64_t heartbeat_us; /* when the next heartbeat is due */
	PGresult *batch;	  /* rows of claim_sql, NULL if there are none */
	int row;			  /* of the current message */
	Step step;
	int64_t answer_us; /* when the provider answers */
	Answer answer;
};

static void *run_sender(void *argument);
static bool take_turn(Sender *sender);
static void take_rest(Sender *sender);
static bool open_session(Sender *sender);
static void close_session(Sender *sender);
static bool claim_batch(Sender *sender);
static bool finish_batch(Sender *sender);
static bool send_message(Sender *sender);
static void ask_provider(Sender *sender);
static bool await_answer(Sender *sender);
static void take_answer(Sender *sender);
static void
refuse(Sender *sender, const char *error_code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
static bool write_answer(Sender *sender);
static bool report_delivery(Sender *sender);
static bool keep_lease(Sender *sender);
static void set_heartbeat(Sender *sender);
static void wait_for_news(Sender *sender);
static bool take_news(Sender *sender);
static void wait_until(const Sender *sender, int file, int64_t deadline);
static Result call(Sender *sender,
				   const char *sql,
				   int count,
				   const char *const *values,
				   PGresult **rows);
static bool is_passing(const char *sqlstate);
static const char *column(const Sender *sender, Column column);
static void log_answer(Sender *sender, const char *status);

Sender *
sender_create(const Config *config,
			  Log *log,
			  Metrics *metrics,
			  Provider *provider)
{
	Sender *sender = calloc(1, sizeof(*sender));
	char host[64] = "localhost";

	if (sender == NULL)
		return NULL;
	sender->config = config;
	sender->log = log;
	sender->metrics = metrics;
	sender->provider = provider;
	gethostname(host, sizeof(host) - 1);
	snprintf(sender->name,
			 sizeof(sender->name),
			 "%s:%ld",
			 host,
			 (long) getpid());
	snprintf(sender->id, sizeof(sender->id), "%s", sender->name);
	sender->session =
		(Session){.config = config, .log = log, .stopping = &sender->stopping};
	sender->number = 1;
	sender->rest_us = REST_FIRST_US;
	pthread_mutex_init(&sender->mutex, NULL);
	sender->wake = eventfd(0, EFD_CLOEXEC);
	if (sender->wake >= 0 &&
		pthread_create(&sender->thread, NULL, run_sender, sender) == 0)
		return sender;
	if (sender->wake >= 0)
		close(sender->wake);
	free(sender);
	return NULL;
}

void
sender_reload(Sender *sender, const Config *config)
{
	sender->config = config;
}

void
sender_refuse(Sender *sender)
{
	sender->stopping = true;
	eventfd_write(sender->wake, 1);
}

void
sender_stop(Sender *sender)
{
	char ignored[256];
	bool ended = false;

	sender_refuse(sender);
	for (int i = 0; i <= CANCEL_TRIES && !ended; i++)
	{
		struct timespec until =
			clock_timespec(clock_us() + (i == 0 ? STOP_US : CANCEL_US));

		ended = pthread_clockjoin_np(sender->thread,
									 NULL,
									 CLOCK_MONOTONIC,
									 &until) == 0;
		pthread_mutex_lock(&sender->mutex);
		if (!ended && sender->session.cancel != NULL)
			PQcancel(sender->session.cancel, ignored, sizeof(ignored));
		pthread_mutex_unlock(&sender->mutex);
	}
	if (!ended)
		pthread_join(sender->thread, NULL);
	session_close(&sender->session);
	PQclear(sender->batch);
	close(sender->wake);
	pthread_mutex_destroy(&sender->mutex);
	free(sender);
}

static void *
run_sender(void *argument)
{
	Sender *sender = argument;

	while (!sender->stopping)
	{
		if (!take_turn(sender))
			take_rest(sender);
	}
	if (sender->batch != NULL)
		log_event(sender->log,
				  LOG_WARN,
				  "mock sender stopped with %d claimed messages; another "
				  "sender takes them when the lease expires",
				  PQntuples(sender->batch) - sender->row);
	close_session(sender);
	return NULL;
}

/* Works, or waits for work; false: wait for the database first. */
static bool
take_turn(Sender *sender)
{
	if (sender->session.pg == NULL && !open_session(sender))
		return false;
	if (sender->batch == NULL && !claim_batch(sender))
		return false;
	if (sender->batch != NULL)
		return finish_batch(sender);
	wait_for_news(sender);
	return true;
}

static void
take_rest(Sender *sender)
{
	sender->troubled = true;
	wait_until(sender, -1, clock_us() + sender->rest_us);
	sender->rest_us *= 2;
	if (sender->rest_us > REST_MAX_US)
		sender->rest_us = REST_MAX_US;
}

/* Listens before the first claim, so that no message is missed. */
static bool
open_session(Sender *sender)
{
	Session session = sender->session;

	if (!session_open(&session,
					  "msgstore-sender",
					  sender->troubled ? LOG_DEBUG : LOG_ERROR))
		return false;
	pthread_mutex_lock(&sender->mutex);
	sender->session = session;
	pthread_mutex_unlock(&sender->mutex);
	if (call(sender, listen_sql, 0, NULL, NULL) == RESULT_DONE)
		return true;
	close_session(sender);
	return false;
}

static void
close_session(Sender *sender)
{
	Session session = sender->session;

	pthread_mutex_lock(&sender->mutex);
	sender->session.pg = NULL;
	sender->session.cancel = NULL;
	pthread_mutex_unlock(&sender->mutex);
	session_close(&session);
}

/*
 * Leaves the batch NULL if there is nothing to send. A claim whose answer was
 * lost may have succeeded. The next one uses another id, so that its heartbeats
 * do not renew those unknown leases, which then expire.
 */
static bool
claim_batch(Sender *sender)
{
	const char *values[] = {sender->id};
	PGresult *rows;

	if (sender->strays)
		snprintf(sender->id,
				 sizeof(sender->id),
				 "%s:%d",
				 sender->name,
				 ++sender->number);
	sender->strays = false;
	if (call(sender, claim_sql, 1, values, &rows) != RESULT_DONE)
	{
		sender->strays = sender->session.pg == NULL;
		return false;
	}
	if (sender->troubled)
		log_event(sender->log, LOG_INFO, "mock sender resumed");
	sender->troubled = false;
	sender->rest_us = REST_FIRST_US;
	if (PQntuples(rows) == 0)
	{
		PQclear(rows);
		return true;
	}
	sender->batch = rows;
	sender->row = 0;
	sender->step = STEP_TAKEN;
	set_heartbeat(sender);
	return true;
}

/* Not cut short by a stop: the rest would wait for the lease to expire. */
static bool
finish_batch(Sender *sender)
{
	while (sender->row < PQntuples(sender->batch))
	{
		if (!keep_lease(sender) || !send_message(sender))
			return false;
		sender->row++;
		sender->step = STEP_TAKEN;
	}
	PQclear(sender->batch);
	sender->batch = NULL;
	return true;
}

/* Continues where it stopped; false: wait for the database first. */
static bool
send_message(Sender *sender)
{
	if (sender->step == STEP_TAKEN)
		ask_provider(sender);
	if (sender->step == STEP_ASKED && !await_answer(sender))
		return false;
	if (sender->step == STEP_ANSWERED && !write_answer(sender))
		return false;
	return sender->step != STEP_SENT || report_delivery(sender);
}

static void
ask_provider(Sender *sender)
{
	ProviderName name;
	long seconds;

	if (!provider_find(column(sender, PROVIDER), &name))
	{
		metrics_add(sender->metrics, METRIC_INVALID_ROUTING, 1);
		refuse(sender,
			   "invalid_routing",
			   "channel \"%s\" has no known provider",
			   column(sender, CHANNEL));
		sender->answer.permanent = true;
	}
	else if (!breaker_enter(&sender->breakers[name], &seconds))
	{
		/* Counted as an attempt, so that attempts are the sum of outcomes. */
		provider_count(sender->metrics, name, OUTCOME_ERROR);
		refuse(sender,
			   "breaker_open",
			   "provider \"%s\" failed repeatedly and is paused",
			   column(sender, PROVIDER));
	}
	else
	{
		sender->answer_us =
			clock_us() + sender->config->provider_latency * 1000;
		sender->step = STEP_ASKED;
	}
}

/* A stop ends the simulated latency. */
static bool
await_answer(Sender *sender)
{
	while (!sender->stopping && clock_us() < sender->answer_us)
	{
		wait_until(sender,
				   -1,
				   sender->answer_us < sender->heartbeat_us
					   ? sender->answer_us
					   : sender->heartbeat_us);
		if (!keep_lease(sender))
			return false;
	}
	take_answer(sender);
	return true;
}

/* A rate limit does not mean that the provider is broken. */
static void
take_answer(Sender *sender)
{
	static const char *const codes[] = {NULL,
										"rate_limited",
										"error",
										"timeout"};
	static const BreakerVerdict verdicts[] = {BREAKER_SUCCESS,
											  BREAKER_NEITHER,
											  BREAKER_FAILURE,
											  BREAKER_FAILURE};
	ProviderName name = PROVIDER_SMS_MMS;
	Outcome outcome;

	provider_find(column(sender, PROVIDER), &name);
	outcome = provider_roll(sender->provider, name);
	provider_count(sender->metrics, name, outcome);
	if (breaker_leave(&sender->breakers[name],
					  sender->config,
					  verdicts[outcome]))
		provider_count_transition(sender->metrics, name);
	if (outcome != OUTCOME_SUCCESS)
	{
		refuse(sender, codes[outcome], "%s", provider_describe(outcome));
		return;
	}
	sender->answer = (Answer){.error_code = NULL};
	snprintf(sender->answer.provider_message_id,
			 sizeof(sender->answer.provider_message_id),
			 "mock-%s-%s",
			 column(sender, MESSAGE_ID),
			 column(sender, ATTEMPT));
	sender->step = STEP_ANSWERED;
}

static void
refuse(Sender *sender, const char *error_code, const char *format, ...)
{
	va_list arguments;

	sender->answer = (Answer){.error_code = error_code};
	va_start(arguments, format);
	vsnprintf(sender->answer.error_message,
			  sizeof(sender->answer.error_message),
			  format,
			  arguments);
	va_end(arguments);
	sender->step = STEP_ANSWERED;
}

/* Refused if the lease expired and another sender has the message. */
static bool
write_answer(Sender *sender)
{
	const Answer *answer = &sender->answer;
	const char *id = column(sender, MESSAGE_ID);
	const char *sent[] = {id, answer->provider_message_id, sender->id};
	const char *failed[] = {id,
							answer->error_code,
							answer->error_message,
							sender->id,
							answer->permanent ? "true" : "false"};
	PGresult *rows = NULL;
	Result result = answer->error_code == NULL
						? call(sender, sent_sql, 3, sent, &rows)
						: call(sender, failed_sql, 5, failed, &rows);

	if (result == RESULT_LATER)
		return false;
	sender->step = STEP_DONE;
	if (result == RESULT_REFUSED)
		sender->strays = true;
	else
	{
		log_answer(sender, PQntuples(rows) == 1 ? PQgetvalue(rows, 0, 0) : "");
		if (answer->error_code == NULL)
			sender->step = STEP_SENT;
	}
	PQclear(rows);
	return true;
}

static bool
report_delivery(Sender *sender)
{
	const char *values[] = {column(sender, CHANNEL),
							sender->answer.provider_message_id};

	return call(sender, delivered_sql, 2, values, NULL) != RESULT_LATER;
}

static bool
keep_lease(Sender *sender)
{
	const char *values[] = {sender->id};

	if (clock_us() < sender->heartbeat_us)
		return true;
	if (call(sender, heartbeat_sql, 1, values, NULL) == RESULT_LATER)
		return false;
	set_heartbeat(sender);
	return true;
}

static void
set_heartbeat(Sender *sender)
{
	sender->heartbeat_us = clock_us() + atoll(column(sender, HEARTBEAT_US));
}

static void
wait_for_news(Sender *sender)
{
	/* A notification may have arrived with the answer to a call. */
	if (take_news(sender))
		return;
	wait_until(sender, PQsocket(sender->session.pg), clock_us() + NEWS_US);
	take_news(sender);
}

/* A lost connection is noticed by the next call. */
static bool
take_news(Sender *sender)
{
	PGnotify *news;
	bool any = false;

	PQconsumeInput(sender->session.pg);
	while ((news = PQnotifies(sender->session.pg)) != NULL)
	{
		PQfreemem(news);
		any = true;
	}
	return any;
}

/* Or until the file is readable, or we stop. */
static void
wait_until(const Sender *sender, int file, int64_t deadline)
{
	struct pollfd files[] = {{.fd = sender->wake, .events = POLLIN},
							 {.fd = file, .events = POLLIN}};
	int64_t left = deadline - clock_us();

	if (left > 0)
		poll(files, 2, (int) (left / 1000 + 1));
}

/* On RESULT_DONE the caller owns *rows, unless rows is NULL. */
static Result
call(Sender *sender,
	 const char *sql,
	 int count,
	 const char *const *values,
	 PGresult **rows)
{
	QueryOutcome outcome = session_query(&sender->session, sql, count, values);
	bool owned = strncmp(outcome.sqlstate, "MS", 2) == 0;
	bool done = strcmp(outcome.sqlstate, "00000") == 0;

	if (done && rows != NULL)
		*rows = outcome.result;
	if (!done && outcome.result != NULL)
		log_event(sender->log,
				  owned				 ? LOG_WARN
				  : sender->troubled ? LOG_DEBUG
									 : LOG_ERROR,
				  "mock sender: database error %s: %s",
				  outcome.sqlstate,
				  PQresultErrorField(outcome.result, PG_DIAG_MESSAGE_PRIMARY));
	if (!done || rows == NULL)
		PQclear(outcome.result);
	if (strncmp(outcome.sqlstate, "08", 2) == 0 ||
		session_lost_primary(outcome.sqlstate) ||
		PQstatus(sender->session.pg) == CONNECTION_BAD)
		close_session(sender);
	return done							  ? RESULT_DONE
		   : is_passing(outcome.sqlstate) ? RESULT_LATER
										  : RESULT_REFUSED;
}

/*
 * The server is away, full or stopping, or a timeout or a lock got in the way.
 * After any other error a retry is useless; the lease is left to expire.
 */
static bool
is_passing(const char *sqlstate)
{
	static const char *const classes[] = {"08", "40", "53", "55", "57", "58"};

	for (size_t i = 0; i < sizeof(classes) / sizeof(classes[0]); i++)
	{
		if (strncmp(sqlstate, classes[i], 2) == 0)
			return true;
	}
	return session_lost_primary(sqlstate);
}

static const char *
column(const Sender *sender, Column column)
{
	return PQgetvalue(sender->batch, sender->row, column);
}

static void
log_answer(Sender *sender, const char *status)
{
	const char *error_code = sender->answer.error_code;
	Text line = {0};

	text_addf(&line,
			  "\"message\":\"%s\",\"message_id\":\"%s\",\"attempt\":%s,"
			  "\"status\":",
			  error_code == NULL ? "sent" : "could not send",
			  column(sender, MESSAGE_ID),
			  column(sender, ATTEMPT));
	text_add_json(&line, status, strlen(status));
	if (error_code != NULL)
		text_addf(&line, ",\"error_code\":\"%s\"", error_code);
	text_add_string(&line, ",\"provider\":");
	text_add_json(&line,
				  column(sender, PROVIDER),
				  strlen(column(sender, PROVIDER)));
	text_add_string(&line, ",\"request_id\":");
	text_add_json(&line,
				  column(sender, CORRELATION_ID),
				  strlen(column(sender, CORRELATION_ID)));
	text_add_string(&line, ",\"mock\":true");
	log_members(sender->log, error_code == NULL ? LOG_INFO : LOG_WARN, &line);
	text_free(&line);
}
