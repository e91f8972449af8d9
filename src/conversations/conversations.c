/*
 * conversations/conversations.c: adds messages to their conversations.
 *
 * A call finds the existing conversations, creates the missing ones by one
 * statement, inserts the messages, and adds what they change to
 * conversation_changes. All of that is one transaction, and it updates no row,
 * so nobody who adds messages waits for somebody else who does: only for one
 * who creates the same conversation.
 *
 * Conversations are created in the order of tenant and key, so that two batches
 * do not deadlock. A call that locks existing ones must not wait for the lock
 * of one that another session has created meanwhile, out of this order: it
 * raises lock_not_available then, and complete() starts over.
 *
 * Conversations owns messages, conversation_rows, conversation_activity,
 * conversation_changes and conversation_counts. send.c adds outbound messages,
 * the worker those of inbound events.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "address/address.h"
#include "channels/channels.h"
#include "conversations/conversations.h"
#include "conversations/insert.h"
#include "conversations/touch.h"
#include "inbox/uuid7.h"
#include "live/live.h"
#include "server/statement.h"
#include "server/triggers.h"
#include "server/versions.h"

/*
 * Waits for sessions that are creating one of them. A session that loses the
 * race to create a conversation wastes a number.
 */
static Statement make_conversations = {
	.sql =
		"INSERT INTO msgstore.conversation_rows (tenant_id, key, id, channel,"
		" participant_a, participant_b)"
		" SELECT n.* FROM unnest($1, $2, $3, $4, $5, $6) AS n"
		" ON CONFLICT (tenant_id, key) DO NOTHING"
		" RETURNING id, tenant_id, key, channel, participant_a,"
		" participant_b",
	.nargs = 6,
	.argtypes = {TEXTARRAYOID,
				 TEXTARRAYOID,
				 UUIDARRAYOID,
				 TEXTARRAYOID,
				 TEXTARRAYOID,
				 TEXTARRAYOID}};

#define MAKE_COLUMNS 6
static const Oid make_types[] =
	{TEXTOID, TEXTOID, UUIDOID, TEXTOID, TEXTOID, TEXTOID};

/* Whether the last call raised the error of refuse_overtaken(). */
static bool overtaken = false;

static void tell_readers(const ConversationMessage *messages, int n);
static void set_key(ConversationMessage *message);
static int compare_keys(const void *a, const void *b);
static int gather(ConversationMessage **sorted, int n, Touch *touches);
static void begin_touch(Touch *touch, const ConversationMessage *message);
static int create_missing(Touch *touches, int n, bool wait);
static int create(Touch *touches, int n);
static bool take_created(Touch *touch, uint64 row);
static bool is_same(uint64 row, int column, const text *value);
static bool find_overtaken(Touch *touches, int n, bool wait);
pg_noreturn static void refuse_overtaken(void);
static void assign(const Touch *touches, int n, ConversationMessage **sorted);
static void log_assignment(const ConversationMessage *message, bool is_new);

int
conversations_add(ConversationMessage *messages, int n, bool wait)
{
	ConversationMessage **sorted = palloc(sizeof(ConversationMessage *) * n);
	Touch *touches = palloc(sizeof(Touch) * n);
	int ntouches;
	int created;
	int i;

	overtaken = false;
	for (i = 0; i < n; i++)
	{
		set_key(&messages[i]);
		sorted[i] = &messages[i];
	}
	qsort(sorted, n, sizeof(ConversationMessage *), compare_keys);
	ntouches = gather(sorted, n, touches);
	conversations_find(touches, ntouches, wait);
	created = create_missing(touches, ntouches, wait);
	assign(touches, ntouches, sorted);
	conversations_insert(messages, n);
	conversations_put_changes(touches, ntouches);
	tell_readers(messages, n);
	return created;
}

static void
tell_readers(const ConversationMessage *messages, int n)
{
	LiveChange *changes = palloc(sizeof(LiveChange) * n);
	int i;

	for (i = 0; i < n; i++)
	{
		changes[i].tenant_id = messages[i].tenant_id;
		changes[i].id = messages[i].id;
	}
	live_put("message", changes, n);
}

bool
conversations_were_overtaken(const ErrorData *error)
{
	return overtaken && error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE;
}

static void
set_key(ConversationMessage *message)
{
	const Channel *channel = channels_get(VARDATA_ANY(message->channel),
										  VARSIZE_ANY_EXHDR(message->channel));

	message_set_key(channel, message);
}

static int
compare_keys(const void *a, const void *b)
{
	const ConversationMessage *left = *(ConversationMessage *const *) a;
	const ConversationMessage *right = *(ConversationMessage *const *) b;
	int order = address_compare(left->tenant_id, right->tenant_id);

	if (order == 0)
		order =
			address_compare(left->conversation_key, right->conversation_key);
	return order;
}

/* Makes one touch for each conversation of the sorted messages. */
static int
gather(ConversationMessage **sorted, int n, Touch *touches)
{
	int ntouches = 0;
	int i;

	for (i = 0; i < n; i++)
	{
		Touch *last;

		if (i == 0 || compare_keys(&sorted[i - 1], &sorted[i]) != 0)
			begin_touch(&touches[ntouches++], sorted[i]);
		last = &touches[ntouches - 1];
		last->message_count++;
		last->inbound_count += sorted[i]->inbound;
		last->last_activity_at =
			Max(last->last_activity_at, sorted[i]->timestamp);
	}
	return ntouches;
}

static void
begin_touch(Touch *touch, const ConversationMessage *message)
{
	const Channel *channel = channels_get(VARDATA_ANY(message->channel),
										  VARSIZE_ANY_EXHDR(message->channel));

	touch->sample = message;
	touch->thread = cstring_to_text(channel->thread);
	touch->participant_a = message->participant_a;
	touch->participant_b = message->participant_b;
	touch->is_known = false;
	touch->is_created = false;
	touch->message_count = 0;
	touch->inbound_count = 0;
	touch->last_activity_at = message->timestamp;
}

/* Returns how many were created. */
static int
create_missing(Touch *touches, int n, bool wait)
{
	Touch *missing = palloc(sizeof(Touch) * n);
	int nmissing = 0;
	int created = 0;
	int i;
	int k;

	for (i = 0; i < n; i++)
	{
		if (!touches[i].is_known)
			missing[nmissing++] = touches[i];
	}
	if (nmissing == 0)
		return 0;
	while ((created = create(missing, nmissing)) < nmissing)
	{
		if (wait && n > 1)
			refuse_overtaken();
		if (find_overtaken(missing, nmissing, wait))
			break;
		/* One was removed again. Who holds no other can start over. */
		if (!wait)
			refuse_overtaken();
		CHECK_FOR_INTERRUPTS();
	}
	for (i = 0, k = 0; i < n; i++)
	{
		if (!touches[i].is_known)
			touches[i] = missing[k++];
	}
	return created;
}

/* Leaves is_known false for those that it created, and their id set. */
static int
create(Touch *touches, int n)
{
	Datum *columns = palloc(sizeof(Datum) * n * MAKE_COLUMNS);
	Datum values[MAKE_COLUMNS];
	uint64 row = 0;
	int i;

	for (i = 0; i < n; i++)
	{
		Touch *touch = &touches[i];

		inbox_make_uuid7(&touch->id);
		columns[i] = PointerGetDatum(touch->sample->tenant_id);
		columns[n + i] = PointerGetDatum(touch->sample->conversation_key);
		columns[2 * n + i] = UUIDPGetDatum(&touch->id);
		columns[3 * n + i] = PointerGetDatum(touch->thread);
		columns[4 * n + i] = PointerGetDatum(touch->participant_a);
		columns[5 * n + i] = PointerGetDatum(touch->participant_b);
	}
	for (i = 0; i < MAKE_COLUMNS; i++)
		values[i] = statement_array(make_types[i], columns + i * n, NULL, n);
	statement_execute(&make_conversations, values, NULL);
	for (i = 0; i < n; i++)
	{
		touches[i].is_created =
			row < SPI_processed && take_created(&touches[i], row);
		row += touches[i].is_created;
	}
	if (row < SPI_processed)
		triggers_report("conversation_rows", TRIGGER_TYPE_INSERT);
	return (int) row;
}

/* Whether the row is that of the touch, as it was given. */
static bool
take_created(Touch *touch, uint64 row)
{
	bool isnull;
	pg_uuid_t *id = DatumGetUUIDP(statement_value(row, 1, &isnull));

	return memcmp(id, &touch->id, sizeof(pg_uuid_t)) == 0 &&
		   is_same(row, 2, touch->sample->tenant_id) &&
		   is_same(row, 3, touch->sample->conversation_key) &&
		   is_same(row, 4, touch->thread) &&
		   is_same(row, 5, touch->participant_a) &&
		   is_same(row, 6, touch->participant_b);
}

static bool
is_same(uint64 row, int column, const text *value)
{
	bool isnull;
	Datum stored = statement_value(row, column, &isnull);

	return !isnull && address_compare(DatumGetTextPP(stored), value) == 0;
}

/* Whether it found all that other sessions have created meanwhile. */
static bool
find_overtaken(Touch *touches, int n, bool wait)
{
	Touch *others = palloc(sizeof(Touch) * n);
	int nothers = 0;
	int i;
	int k;

	for (i = 0; i < n; i++)
	{
		if (!touches[i].is_created)
			others[nothers++] = touches[i];
	}
	conversations_find(others, nothers, wait);
	for (i = 0, k = 0; i < n; i++)
	{
		if (touches[i].is_created)
			continue;
		touches[i] = others[k++];
		if (touches[i].is_known)
			continue;
		if (triggers_may_alter("conversation_rows", TRIGGER_TYPE_INSERT))
			triggers_report("conversation_rows", TRIGGER_TYPE_INSERT);
		return false;
	}
	return true;
}

static void
refuse_overtaken(void)
{
	overtaken = true;
	ereport(ERROR,
			(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
			 errmsg("another session created a conversation of these "
					"messages")));
}

/* The state of a conversation that another session created is not known. */
static void
assign(const Touch *touches, int n, ConversationMessage **sorted)
{
	int i;
	int j;
	int k;

	for (i = 0, j = 0; i < n; i++)
	{
		for (k = 0; k < touches[i].message_count; k++, j++)
		{
			sorted[j]->conversation_id = touches[i].id;
			if (message_level_is_interesting(DEBUG1))
				log_assignment(sorted[j], touches[i].is_created);
		}
	}
}

static void
log_assignment(const ConversationMessage *message, bool is_new)
{
	char *id = DatumGetCString(
		DirectFunctionCall1(uuid_out, UUIDPGetDatum(&message->id)));

	ereport(DEBUG1,
			(errmsg_internal("message \"%s\" %s conversation \"%s\"",
							 id,
							 is_new ? "creates" : "joins",
							 text_to_cstring(message->conversation_key))));
}
