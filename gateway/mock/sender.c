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
#include "db/outbox.h"
#include "guard/breaker.h"
#include "mock/sender.h"

/* Workers send the notifications, and there may be no worker. */
#define NEWS_US (5 * SECOND_US)

/* Messages claimed at a time. */
#define BATCH_MAX 10

/* At a stop, a database call that hangs is cancelled after STOP_US. */
#define STOP_US SECOND_US
#define CANCEL_TRIES 5
#define CANCEL_US (SECOND_US / 10)

static const char claim_sql[] =
	"SELECT message_id, provider, channel, attempt, correlation_id"
	" FROM msgstore.claim_outbound($1, $2::int)";
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
	CORRELATION_ID
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

struct Sender
{
	const Config *_Atomic config; /* replaced by sender_reload() */
	Log *log;
	Metrics *metrics;
	Provider *provider;
	pthread_t thread;
	atomic_bool stopping;
	int wake; /* an eventfd: readable once we stop */

	Outbox outbox;

	/* Used by the thread only. */
	Breaker breakers[PROVIDER_COUNT];
	PGresult *batch; /* rows of claim_sql, NULL if there are none */
	int row;		 /* of the current message */
	Step step;
	int64_t answer_us; /* when the provider answers */
	Answer answer;
};

static void *run_sender(void *argument);
static bool take_turn(Sender *sender);
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
static void wait_for_news(Sender *sender);
static void wait_until(const Sender *sender, int file, int64_t deadline);
static const char *column(const Sender *sender, Column column);
static void log_answer(Sender *sender, const char *status);

Sender *
sender_create(const Config *config,
			  Log *log,
			  Metrics *metrics,
			  Provider *provider)
{
	Sender *sender = calloc(1, sizeof(*sender));

	if (sender == NULL)
		return NULL;
	sender->config = config;
	sender->log = log;
	sender->metrics = metrics;
	sender->provider = provider;
	if (!outbox_init(&sender->outbox,
					 config,
					 log,
					 "mock sender: ",
					 &sender->stopping))
	{
		free(sender);
		return NULL;
	}
	sender->wake = eventfd(0, EFD_CLOEXEC);
	if (sender->wake >= 0 &&
		pthread_create(&sender->thread, NULL, run_sender, sender) == 0)
		return sender;
	if (sender->wake >= 0)
		close(sender->wake);
	outbox_free(&sender->outbox);
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
		if (!ended)
			outbox_cancel(&sender->outbox);
	}
	if (!ended)
		pthread_join(sender->thread, NULL);
	outbox_free(&sender->outbox);
	PQclear(sender->batch);
	close(sender->wake);
	free(sender);
}

static void *
run_sender(void *argument)
{
	Sender *sender = argument;

	while (!sender->stopping)
	{
		if (!take_turn(sender))
			wait_until(sender,
					   -1,
					   clock_us() + outbox_note_trouble(&sender->outbox));
	}
	if (sender->batch != NULL)
		log_event(sender->log,
				  LOG_WARN,
				  "mock sender stopped with %d claimed messages; another "
				  "sender takes them when the lease expires",
				  PQntuples(sender->batch) - sender->row);
	return NULL;
}

/* Works, or waits for work; false: wait for the database first. */
static bool
take_turn(Sender *sender)
{
	if (!outbox_connect(&sender->outbox))
		return false;
	if (sender->batch == NULL && !claim_batch(sender))
		return false;
	if (sender->batch != NULL)
		return finish_batch(sender);
	wait_for_news(sender);
	return true;
}

/* Leaves the batch NULL if there is nothing to send. */
static bool
claim_batch(Sender *sender)
{
	PGresult *rows;

	if (outbox_claim(&sender->outbox, claim_sql, BATCH_MAX, &rows) !=
		OUTBOX_DONE)
		return false;
	outbox_note_recovery(&sender->outbox);
	if (PQntuples(rows) == 0)
	{
		PQclear(rows);
		return true;
	}
	sender->batch = rows;
	sender->row = 0;
	sender->step = STEP_TAKEN;
	return true;
}

/* Not cut short by a stop: the rest would wait for the lease to expire. */
static bool
finish_batch(Sender *sender)
{
	while (sender->row < PQntuples(sender->batch))
	{
		if (outbox_heartbeat(&sender->outbox) == OUTBOX_LATER ||
			!send_message(sender))
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
				   sender->answer_us < sender->outbox.heartbeat_us
					   ? sender->answer_us
					   : sender->outbox.heartbeat_us);
		if (outbox_heartbeat(&sender->outbox) == OUTBOX_LATER)
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
	const char *sent[] = {id, answer->provider_message_id, sender->outbox.id};
	const char *failed[] = {id,
							answer->error_code,
							answer->error_message,
							sender->outbox.id,
							answer->permanent ? "true" : "false"};
	PGresult *rows = NULL;
	OutboxResult result =
		answer->error_code == NULL
			? outbox_call(&sender->outbox, sent_sql, 3, sent, &rows)
			: outbox_call(&sender->outbox, failed_sql, 5, failed, &rows);

	if (result == OUTBOX_LATER)
		return false;
	sender->step = STEP_DONE;
	if (result == OUTBOX_REFUSED)
		sender->outbox.strays = true;
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

	return outbox_call(&sender->outbox, delivered_sql, 2, values, NULL) !=
		   OUTBOX_LATER;
}

static void
wait_for_news(Sender *sender)
{
	/* A notification may have arrived with the answer to a call. */
	if (outbox_take_news(&sender->outbox))
		return;
	wait_until(sender,
			   PQsocket(sender->outbox.session.pg),
			   clock_us() + NEWS_US);
	outbox_take_news(&sender->outbox);
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
