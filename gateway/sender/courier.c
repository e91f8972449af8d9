/*
 * courier.c: the loop that claims, sends and reports.
 *
 * One thread: libcurl carries many requests at a time, and calls of the
 * database are short. A claim is committed before the first byte is sent, and
 * an answer is kept until it is recorded: if the database goes away in between,
 * it is recorded when the database is back. If this process dies, its leases
 * expire, and the database decides by the account whether the message is sent
 * again or left to a person.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "sender/courier.h"

/* Workers send the notifications, and there may be no worker. */
#define NEWS_US (60 * SECOND_US)

/* How the log names them. */
typedef struct KindWords
{
	const char *id;
	const char *party;
	const char *done;
	const char *failed;
} KindWords;

static const KindWords kind_words[KIND_COUNT] = {
	[KIND_MESSAGE] = {"message_id", "account", "sent", "could not send"},
	[KIND_NOTIFICATION] = {"notification_id",
						   "destination",
						   "sent",
						   "could not send"},
	[KIND_MEDIA] = {"attachment_id", "account", "fetched", "could not fetch"}};

static bool report_all(Courier *courier);
static bool claim_all(Courier *courier);
static bool has_room(const Courier *courier);
static bool is_hungry(const Courier *courier);
static bool take_news(Courier *courier);
static bool claim(Courier *courier, Kind kind);
static void start_transfer(Courier *courier, Kind kind, Batch *batch, int row);
static void carry(Courier *courier);
static void move(Transfer *transfer, Transfer **from, Transfer **to);
static bool report(Courier *courier, Transfer *transfer);
static void
log_answer(Courier *courier, const Transfer *transfer, const char *status);
static bool is_done(const char *status);
static void wait_for_work(Courier *courier, int64_t deadline);

bool
courier_init(Courier *courier,
			 const Config *config,
			 Log *log,
			 const atomic_bool *stopping,
			 int wake)
{
	memset(courier, 0, sizeof(*courier));
	courier->config = config;
	courier->log = log;
	courier->stopping = stopping;
	courier->wake = wake;
	courier->multi = curl_multi_init();
	return courier->multi != NULL &&
		   outbox_init(&courier->outbox, config, log, "", stopping);
}

void
courier_turn(Courier *courier)
{
	int64_t deadline = clock_us() + NEWS_US;
	bool connected = outbox_is_connected(&courier->outbox);
	bool done = outbox_connect(&courier->outbox);

	/* Whatever was missed while nobody listened. */
	for (int i = 0; i < KIND_COUNT && done && !connected; i++)
		courier->hungry[i] = true;
	done = done && outbox_heartbeat(&courier->outbox) != OUTBOX_LATER &&
		   report_all(courier) && claim_all(courier);
	if (done)
	{
		outbox_note_recovery(&courier->outbox);
		if (courier->count > 0 && courier->outbox.heartbeat_us < deadline)
			deadline = courier->outbox.heartbeat_us;
	}
	else
		deadline = clock_us() + outbox_note_trouble(&courier->outbox);
	carry(courier);
	/* A notification may have arrived with the answer to a call. */
	if (!done ||
		(courier->ended == NULL && !take_news(courier) && !is_hungry(courier)))
		wait_for_work(courier, deadline);
	carry(courier);
}

void
courier_stop(Courier *courier)
{
	int64_t deadline = clock_us() + courier->config->stop_timeout * SECOND_US;

	while (courier->running != NULL && clock_us() < deadline)
	{
		carry(courier);
		outbox_heartbeat(&courier->outbox);
		report_all(courier);
		if (courier->running != NULL)
			wait_for_work(courier, deadline);
	}
	while (courier->running != NULL)
	{
		transfer_abandon(courier->running,
						 courier->multi,
						 "the sender was stopped");
		move(courier->running, &courier->running, &courier->ended);
	}
	if (!report_all(courier))
		log_event(courier->log,
				  LOG_WARN,
				  "could not report %d answers: the database is away",
				  courier->count);
}

void
courier_free(Courier *courier)
{
	while (courier->ended != NULL)
	{
		Transfer *transfer = courier->ended;

		courier->ended = transfer->next;
		transfer_free(transfer);
	}
	curl_multi_cleanup(courier->multi);
	outbox_free(&courier->outbox);
}

/* False: the database is away. */
static bool
report_all(Courier *courier)
{
	while (courier->ended != NULL)
	{
		Transfer *transfer = courier->ended;

		if (!outbox_is_connected(&courier->outbox) ||
			!report(courier, transfer))
			return false;
		courier->ended = transfer->next;
		courier->count--;
		transfer_free(transfer);
	}
	return true;
}

/* One claim of each kind: the requests under way must not wait for many. */
static bool
claim_all(Courier *courier)
{
	take_news(courier);
	for (int i = 0; i < KIND_COUNT; i++)
	{
		if (courier->hungry[i] && has_room(courier) &&
			!claim(courier, (Kind) i))
			return false;
	}
	return true;
}

static bool
has_room(const Courier *courier)
{
	return !*courier->stopping &&
		   courier->count < courier->config->send_connections;
}

static bool
is_hungry(const Courier *courier)
{
	bool hungry = false;

	for (int i = 0; i < KIND_COUNT; i++)
		hungry = hungry || courier->hungry[i];
	return hungry && has_room(courier);
}

static bool
take_news(Courier *courier)
{
	bool any = outbox_is_connected(&courier->outbox) &&
			   outbox_take_news(&courier->outbox);

	for (int i = 0; i < KIND_COUNT && any; i++)
		courier->hungry[i] = true;
	return any;
}

/* A full claim, or one that gave messages back, is followed by another. */
static bool
claim(Courier *courier, Kind kind)
{
	int most = (int) courier->config->send_connections - courier->count;
	OutboxResult result;
	Batch *batch = calloc(1, sizeof(*batch));
	int count;

	if (batch == NULL)
		return false;
	result = store_claim(&courier->outbox, kind, most, &batch->rows);
	courier->hungry[kind] = false;
	if (result != OUTBOX_DONE)
	{
		courier->hungry[kind] = result == OUTBOX_LATER;
		free(batch);
		return result == OUTBOX_REFUSED;
	}
	count = PQntuples(batch->rows);
	courier->hungry[kind] = count >= most;
	batch->users = 1;
	for (int row = 0; row < count; row++)
	{
		if (strcmp(PQgetvalue(batch->rows, row, COLUMN_AGAIN), "t") == 0)
			courier->hungry[kind] = true;
		else
			start_transfer(courier, kind, batch, row);
	}
	if (--batch->users == 0)
	{
		PQclear(batch->rows);
		free(batch);
	}
	return true;
}

/* Without memory for it, the lease is left to expire. */
static void
start_transfer(Courier *courier, Kind kind, Batch *batch, int row)
{
	Transfer *transfer = transfer_create(courier->config, kind, batch, row);
	Transfer **list = &courier->running;

	if (transfer == NULL)
	{
		courier->outbox.strays = true;
		return;
	}
	if (transfer->easy == NULL)
		list = &courier->ended;
	else if (curl_multi_add_handle(courier->multi, transfer->easy) != CURLM_OK)
	{
		transfer_end(transfer, NULL, CURLE_FAILED_INIT);
		list = &courier->ended;
	}
	transfer->next = *list;
	*list = transfer;
	courier->count++;
}

/* Sends and receives what is possible without waiting. */
static void
carry(Courier *courier)
{
	CURLMsg *message;
	int running;
	int left;

	curl_multi_perform(courier->multi, &running);
	while ((message = curl_multi_info_read(courier->multi, &left)) != NULL)
	{
		Transfer *transfer = NULL;
		CURLcode code = message->data.result;

		if (message->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &transfer);
		transfer_end(transfer, courier->multi, code);
		move(transfer, &courier->running, &courier->ended);
	}
}

static void
move(Transfer *transfer, Transfer **from, Transfer **to)
{
	while (*from != transfer)
		from = &(*from)->next;
	*from = transfer->next;
	transfer->next = *to;
	*to = transfer;
}

static bool
report(Courier *courier, Transfer *transfer)
{
	const Answer answer = {
		.kind = transfer->kind,
		.id = transfer_column(transfer, COLUMN_ID),
		.status = transfer->status,
		.headers = transfer->answer_headers.length > 0
					   ? transfer->answer_headers.data
					   : "",
		.body = transfer->answer_body.data,
		.body_length = transfer->answer_body.length,
		.failure = transfer->failure.data,
		.was_sent = transfer->was_sent,
	};
	char status[64];
	OutboxResult result =
		store_record(&courier->outbox, &answer, status, sizeof(status));

	if (result == OUTBOX_LATER)
		return false;
	if (result == OUTBOX_REFUSED)
		courier->outbox.strays = true;
	log_answer(courier, transfer, status);
	return true;
}

static void
log_answer(Courier *courier, const Transfer *transfer, const char *status)
{
	const char *account = transfer_column(transfer, COLUMN_ACCOUNT);
	const char *request = transfer_column(transfer, COLUMN_CORRELATION_ID);
	const KindWords *words = &kind_words[transfer->kind];
	bool done = is_done(status);
	Text line = {0};

	text_addf(&line,
			  "\"message\":\"%s\",\"%s\":\"%s\",\"attempt\":%s,"
			  "\"status\":\"%s\",\"answer\":%ld,\"duration_ms\":%ld,"
			  "\"%s\":",
			  done ? words->done : words->failed,
			  words->id,
			  transfer_column(transfer, COLUMN_ID),
			  transfer_column(transfer, COLUMN_ATTEMPT),
			  status,
			  transfer->status,
			  (long) ((transfer->ended_us - transfer->started_us) / 1000),
			  words->party);
	text_add_json(&line, account, strlen(account));
	if (transfer->failure.length > 0)
	{
		text_add_string(&line, ",\"failure\":");
		text_add_json(&line, transfer->failure.data, transfer->failure.length);
	}
	text_add_string(&line, ",\"request_id\":");
	text_add_json(&line, request, strlen(request));
	log_members(courier->log, done ? LOG_INFO : LOG_WARN, &line);
	text_free(&line);
}

static bool
is_done(const char *status)
{
	static const char *const words[] = {"sent",
										"delivered",
										"read",
										"found",
										"stored"};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
	{
		if (strcmp(status, words[i]) == 0)
			return true;
	}
	return false;
}

/* Until a transfer or a notification moves, a signal comes, or the deadline. */
static void
wait_for_work(Courier *courier, int64_t deadline)
{
	struct curl_waitfd files[2] = {
		{.fd = courier->wake, .events = CURL_WAIT_POLLIN}};
	int64_t left = deadline - clock_us();
	unsigned int count = 1;

	if (outbox_is_connected(&courier->outbox))
	{
		files[1].fd = PQsocket(courier->outbox.session.pg);
		files[1].events = CURL_WAIT_POLLIN;
		count = 2;
	}
	if (left > 0)
		curl_multi_poll(courier->multi,
						files,
						count,
						(int) (left / 1000 + 1),
						NULL);
}
