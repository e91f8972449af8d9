/*
 * conversations/conversations.c: adds messages to their conversations.
 *
 * Many messages are added by a few statements: one updates the existing
 * conversations, once for all messages of a conversation, one creates the
 * missing conversations, and then the messages are inserted. All of that is
 * one transaction, so that message count and last activity are right in every
 * snapshot.
 *
 * Conversations are locked in the order of tenant and key, so that two batches
 * do not deadlock: first the existing ones, then those that are created. A
 * batch that creates conversations holds existing ones, so it must not wait for
 * one that another session has created and locked meanwhile: it raises
 * lock_not_available then. The worker tries the events one by one, and
 * complete() starts over.
 *
 * Conversations owns messages, conversations and conversation_counts. send.c
 * adds outbound messages, the worker those of inbound events.
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
#include "inbox/uuid7.h"
#include "server/statement.h"
#include "server/triggers.h"
#include "server/versions.h"

/* Locks the conversations in the order of the given rows. */
static Statement move_conversations = {
	.sql = "UPDATE msgstore.conversations AS c"
		   " SET message_count = c.message_count + n.message_count,"
		   " last_activity_at ="
		   " greatest(c.last_activity_at, n.last_activity_at)"
		   " FROM unnest($1, $2, $3, $4) WITH ORDINALITY AS n (tenant_id, key,"
		   " message_count, last_activity_at, ordinal)"
		   " WHERE c.tenant_id = n.tenant_id AND c.key = n.key"
		   " RETURNING n.ordinal, c.id",
	.nargs = 4,
	.argtypes = {TEXTARRAYOID, TEXTARRAYOID, INT4ARRAYOID, TIMESTAMPTZARRAYOID},
	.table = "conversations"};

/* The same where a trigger may change the rows; also whether one did not. */
static Statement move_watched = {
	.sql =
		"WITH old AS MATERIALIZED (SELECT n.ordinal, n.message_count AS added,"
		" n.last_activity_at AS activity, c.*"
		" FROM unnest($1, $2, $3, $4) WITH ORDINALITY AS n (tenant_id, key,"
		" message_count, last_activity_at, ordinal)"
		" JOIN msgstore.conversations AS c"
		" ON c.tenant_id = n.tenant_id AND c.key = n.key"
		" ORDER BY n.ordinal FOR NO KEY UPDATE OF c)"
		" UPDATE msgstore.conversations AS c"
		" SET message_count = c.message_count + o.added,"
		" last_activity_at = greatest(c.last_activity_at, o.activity)"
		" FROM old o WHERE c.tenant_id = o.tenant_id AND c.id = o.id"
		" RETURNING o.ordinal, c.id,"
		" (c.tenant_id, c.id, c.number, c.channel, c.participant_a,"
		" c.participant_b, c.key, c.message_count, c.last_activity_at,"
		" c.created_at) = (o.tenant_id, o.id, o.number, o.channel,"
		" o.participant_a, o.participant_b, o.key,"
		" o.message_count + o.added,"
		" greatest(o.last_activity_at, o.activity), o.created_at)",
	.nargs = 4,
	.argtypes = {TEXTARRAYOID, TEXTARRAYOID, INT4ARRAYOID, TIMESTAMPTZARRAYOID},
	.table = "conversations"};

#define MAKE_CONVERSATIONS(on_conflict)                                        \
	"INSERT INTO msgstore.conversations AS c (tenant_id, key,"                 \
	" message_count, last_activity_at, id, channel, participant_a,"            \
	" participant_b)"                                                          \
	" SELECT n.* FROM unnest($1, $2, $3, $4, $5, $6, $7, $8) AS n"             \
	" ON CONFLICT (tenant_id, key) " on_conflict                               \
	" RETURNING id, tenant_id, key, message_count, last_activity_at"

/* A session that loses the race to create a conversation wastes a number. */
static Statement make_conversation = {
	.sql = MAKE_CONVERSATIONS(
		"DO UPDATE"
		" SET message_count = c.message_count + excluded.message_count,"
		" last_activity_at = greatest(c.last_activity_at,"
		" excluded.last_activity_at)"),
	.nargs = 8,
	.argtypes = {TEXTARRAYOID,
				 TEXTARRAYOID,
				 INT4ARRAYOID,
				 TIMESTAMPTZARRAYOID,
				 UUIDARRAYOID,
				 TEXTARRAYOID,
				 TEXTARRAYOID,
				 TEXTARRAYOID}};

/* Does not lock a conversation that another session has created. */
static Statement make_conversations = {.sql = MAKE_CONVERSATIONS("DO NOTHING"),
									   .nargs = 8,
									   .argtypes = {TEXTARRAYOID,
													TEXTARRAYOID,
													INT4ARRAYOID,
													TIMESTAMPTZARRAYOID,
													UUIDARRAYOID,
													TEXTARRAYOID,
													TEXTARRAYOID,
													TEXTARRAYOID}};

/* The messages of a call that belong to one conversation. */
typedef struct Touch
{
	const ConversationMessage *sample;
	text *thread;
	text *participant_a;
	text *participant_b;
	pg_uuid_t id;  /* first proposed, then actual */
	bool is_known; /* existed before */
	int message_count;
	TimestampTz last_activity_at;
} Touch;

/* The columns of make_conversations; move_conversations has the first four. */
static const Oid touch_types[] = {TEXTOID,
								  TEXTOID,
								  INT4OID,
								  TIMESTAMPTZOID,
								  UUIDOID,
								  TEXTOID,
								  TEXTOID,
								  TEXTOID};

/* Whether the last call raised the error of refuse_overtaken(). */
static bool overtaken = false;

static void set_key(ConversationMessage *message);
static int compare_keys(const void *a, const void *b);
static int gather(ConversationMessage **sorted, int n, Touch *touches);
static void begin_touch(Touch *touch, const ConversationMessage *message);
static int touch(Touch *touches, int n, ConversationMessage **sorted);
static void move(Touch *touches, int n);
static int make(Touch **touches, int n, bool only);
pg_noreturn static void refuse_overtaken(void);
static void check_made(const Touch *touch, int row);
static void put_state(const Touch *touch, Datum *columns, int i, int n);
static void log_assignment(const ConversationMessage *message, bool is_new);

int
conversations_add(ConversationMessage *messages, int n)
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
	created = touch(touches, ntouches, sorted);
	conversations_insert(messages, n);
	return created;
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

	message->conversation_key =
		address_join_key(channel->thread, message->from, message->to);
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
	bool in_order = address_compare(message->from, message->to) <= 0;

	touch->sample = message;
	touch->thread = cstring_to_text(channel->thread);
	touch->participant_a = in_order ? message->from : message->to;
	touch->participant_b = in_order ? message->to : message->from;
	touch->is_known = false;
	touch->message_count = 0;
	touch->last_activity_at = message->timestamp;
}

/* Updates or creates the conversations; returns how many were created. */
static int
touch(Touch *touches, int n, ConversationMessage **sorted)
{
	Touch **missing = palloc(sizeof(Touch *) * n);
	int nmissing = 0;
	int created;
	int i;
	int j;
	int k;

	move(touches, n);
	for (i = 0; i < n; i++)
	{
		if (!touches[i].is_known)
			missing[nmissing++] = &touches[i];
	}
	created = make(missing, nmissing, n == 1);
	for (i = 0, j = 0; i < n; i++)
	{
		for (k = 0; k < touches[i].message_count; k++, j++)
		{
			sorted[j]->conversation_id = touches[i].id;
			if (message_level_is_interesting(DEBUG1))
				log_assignment(sorted[j], !touches[i].is_known);
		}
	}
	return created;
}

static void
move(Touch *touches, int n)
{
	Datum *columns = palloc(sizeof(Datum) * n * 4);
	Datum values[4];
	bool isnull;
	bool watched;
	uint64 row;
	int i;

	for (i = 0; i < n; i++)
		put_state(&touches[i], columns, i, n);
	for (i = 0; i < 4; i++)
		values[i] = statement_array(touch_types[i], columns + i * n, NULL, n);
	watched = triggers_may_alter("conversations", TRIGGER_TYPE_UPDATE);
	statement_execute(watched ? &move_watched : &move_conversations,
					  values,
					  NULL);
	for (row = 0; row < SPI_processed; row++)
	{
		if (watched && !DatumGetBool(statement_value(row, 3, &isnull)))
			triggers_report("conversations", TRIGGER_TYPE_UPDATE);
		i = (int) DatumGetInt64(statement_value(row, 1, &isnull)) - 1;
		touches[i].id = *DatumGetUUIDP(statement_value(row, 2, &isnull));
		touches[i].is_known = true;
	}
}

/*
 * If it is the only conversation of the call, another session may have created
 * it in the meantime. It is new if it has the proposed id.
 */
static int
make(Touch **touches, int n, bool only)
{
	Datum *columns = palloc(sizeof(Datum) * Max(n, 1) * 8);
	Datum values[8];
	bool isnull;
	bool may_wait;
	int created = 0;
	int i;

	if (n == 0)
		return 0;
	for (i = 0; i < n; i++)
	{
		inbox_make_uuid7(&touches[i]->id);
		put_state(touches[i], columns, i, n);
		columns[4 * n + i] = UUIDPGetDatum(&touches[i]->id);
		columns[5 * n + i] = PointerGetDatum(touches[i]->thread);
		columns[6 * n + i] = PointerGetDatum(touches[i]->participant_a);
		columns[7 * n + i] = PointerGetDatum(touches[i]->participant_b);
	}
	for (i = 0; i < 8; i++)
		values[i] = statement_array(touch_types[i], columns + i * n, NULL, n);
	/* Only the first statement shows whether a trigger suppressed a row. */
	may_wait = only || triggers_may_alter("conversations",
										  TRIGGER_TYPE_INSERT |
											  TRIGGER_TYPE_UPDATE);
	statement_execute(may_wait ? &make_conversation : &make_conversations,
					  values,
					  NULL);
	/* An upsert returns every row unless something suppressed it. */
	if (SPI_processed != (uint64) n && may_wait)
		triggers_report("conversations",
						TRIGGER_TYPE_INSERT | TRIGGER_TYPE_UPDATE);
	if (SPI_processed != (uint64) n)
		refuse_overtaken();
	for (i = 0; i < n; i++)
	{
		pg_uuid_t *id = DatumGetUUIDP(statement_value(i, 1, &isnull));

		touches[i]->is_known =
			memcmp(id, &touches[i]->id, sizeof(pg_uuid_t)) != 0;
		touches[i]->id = *id;
		check_made(touches[i], i);
		created += !touches[i]->is_known;
	}
	return created;
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
check_made(const Touch *touch, int row)
{
	bool isnull;
	Datum tenant_id = statement_value(row, 2, &isnull);
	Datum key = statement_value(row, 3, &isnull);
	Datum message_count = statement_value(row, 4, &isnull);
	Datum last_activity_at = statement_value(row, 5, &isnull);

	if (address_compare(DatumGetTextPP(tenant_id), touch->sample->tenant_id) !=
			0 ||
		address_compare(DatumGetTextPP(key), touch->sample->conversation_key) !=
			0 ||
		(!touch->is_known &&
		 (DatumGetInt32(message_count) != touch->message_count ||
		  DatumGetTimestampTz(last_activity_at) != touch->last_activity_at)))
		triggers_report("conversations",
						TRIGGER_TYPE_INSERT | TRIGGER_TYPE_UPDATE);
}

/* The columns that are common to both statements. */
static void
put_state(const Touch *touch, Datum *columns, int i, int n)
{
	columns[i] = PointerGetDatum(touch->sample->tenant_id);
	columns[n + i] = PointerGetDatum(touch->sample->conversation_key);
	columns[2 * n + i] = Int32GetDatum(touch->message_count);
	columns[3 * n + i] = TimestampTzGetDatum(touch->last_activity_at);
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
