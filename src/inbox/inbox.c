/*
 * inbox/inbox.c: stores events durably, each of them once.
 *
 * A call takes the same steps for one item or hundreds: it claims their
 * idempotency keys, determines which provider message ids are new while it
 * holds a lock on them (see guard.c), appends the new events to the log and
 * the queue, and looks up the ids of the others. When several sessions store
 * the same event at the same time, the others wait for the first and then read
 * its id. The unique constraint of the log also covers writers that do not
 * come through here.
 *
 * Items are stored in the order of their provider message ids, so that two
 * batches with the same events do not deadlock.
 *
 * The inbox owns event_log, event_queue and idempotency_keys. It uses channels
 * and address to validate, wake to tell the workers, and stats to count. It
 * knows nothing of the messages that are made from its events.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/tuplestore.h"

#include "inbox/check.h"
#include "inbox/conflicts.h"
#include "inbox/guard.h"
#include "inbox/identity.h"
#include "inbox/inbox.h"
#include "inbox/insert.h"
#include "inbox/keys.h"
#include "inbox/payload.h"
#include "inbox/refused.h"
#include "inbox/tenants.h"
#include "inbox/uuid7.h"
#include "server/errors.h"
#include "server/settings.h"
#include "server/statement.h"
#include "stats/stats.h"
#include "tenancy/placement.h"
#include "wake/wake.h"

static Statement find_events = {
	.sql = "SELECT n.ordinal, l.id, l.payload"
		   " FROM unnest($2, $3, $4) WITH ORDINALITY"
		   " AS n (channel, id, identity, ordinal)"
		   " JOIN msgstore.event_log l ON l.tenant_id = $1"
		   " AND l.channel = n.channel AND l.provider_message_id = n.id"
		   " AND l.identity = n.identity",
	.nargs = 4,
	.argtypes = {TEXTOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID},
	.table = "event_log"};

static TupleDesc find_row_type(FunctionCallInfo fcinfo);
static void raise_refusal(const InboxRefusal *refusal);
static void store_all(InboxItem *items, int n);
static void store(InboxItem *items, int n);
static int keep_new(InboxItem **items, int n);
static void store_new(InboxItem **items, int n);
static int insert_events(InboxItem **items, int n);
static void count_stored(const char *name, int n);
static int find_duplicates(InboxItem **items, int n);
static int compare_items(const void *a, const void *b);
static void read_items(JsonbContainer *list, InboxItem *items);
static void read_item(Jsonb *given, InboxItem *item);
static char *read_string(Jsonb *given, const char *field, InboxItem *item);
static void read_relaxation(Jsonb *given, InboxItem *item);
static void put_results(ReturnSetInfo *result, InboxItem *items, int n);

PG_FUNCTION_INFO_V1(msgstore_ingest);
PG_FUNCTION_INFO_V1(msgstore_ingest_batch);

Datum
msgstore_ingest(PG_FUNCTION_ARGS)
{
	static TupleDesc row = NULL;
	InboxItem item;

	PreventCommandIfReadOnly("ingest()");
	placement_check_own();
	inbox_take_arguments(fcinfo, &item);
	item.mock = !PG_ARGISNULL(4) && PG_GETARG_BOOL(4);
	store(&item, 1);
	if (item.refusal != NULL)
		stats_count_now(item.checked, 1);
	return inbox_return_outcome(fcinfo, &item, &row);
}

Datum
msgstore_ingest_batch(PG_FUNCTION_ARGS)
{
	Jsonb *given = PG_GETARG_JSONB_P(0);
	InboxItem *items;
	int n;

	PreventCommandIfReadOnly("ingest_batch()");
	if (!JB_ROOT_IS_ARRAY(given) || JB_ROOT_IS_SCALAR(given))
		ereport(ERROR,
				(errcode(ERRCODE_MS_BAD_REQUEST),
				 errmsg("argument \"items\" is not a JSON array")));
	n = JB_ROOT_COUNT(given);
	items = palloc0(sizeof(InboxItem) * Max(n, 1));
	read_items(&given->root, items);
	inbox_store_by_tenant(items, n, store_all);
	InitMaterializedSRF(fcinfo, 0);
	put_results((ReturnSetInfo *) fcinfo->resultinfo, items, n);
	return (Datum) 0;
}

void
inbox_take_arguments(FunctionCallInfo fcinfo, InboxItem *item)
{
	memset(item, 0, sizeof(InboxItem));
	item->ordinal = 1;
	if (!PG_ARGISNULL(0))
		item->channel = text_to_cstring(PG_GETARG_TEXT_PP(0));
	if (!PG_ARGISNULL(1))
		item->payload = PG_GETARG_JSONB_P(1);
	if (!PG_ARGISNULL(2))
		item->idempotency_key = text_to_cstring(PG_GETARG_TEXT_PP(2));
	if (!PG_ARGISNULL(3))
		item->correlation_id = text_to_cstring(PG_GETARG_TEXT_PP(3));
}

Datum
inbox_return_outcome(FunctionCallInfo fcinfo,
					 const InboxItem *item,
					 TupleDesc *row)
{
	bool nulls[2] = {false, false};
	Datum values[2];

	if (item->refusal != NULL)
		raise_refusal(item->refusal);
	values[0] = UUIDPGetDatum(&item->id);
	values[1] = BoolGetDatum(item->duplicate);
	if (*row == NULL)
		*row = find_row_type(fcinfo);
	return HeapTupleGetDatum(heap_form_tuple(*row, values, nulls));
}

/* The lookup in the catalogs costs a tenth of an ingest(). */
static TupleDesc
find_row_type(FunctionCallInfo fcinfo)
{
	MemoryContext caller = MemoryContextSwitchTo(TopMemoryContext);
	TupleDesc row;

	if (get_call_result_type(fcinfo, NULL, &row) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	row = BlessTupleDesc(CreateTupleDescCopy(row));
	MemoryContextSwitchTo(caller);
	return row;
}

static void
raise_refusal(const InboxRefusal *refusal)
{
	ereport(ERROR,
			(errcode(refusal->sqlstate),
			 errmsg("%s", refusal->message),
			 refusal->detail ? errdetail("%s", refusal->detail) : 0,
			 refusal->hint ? errhint("%s", refusal->hint) : 0));
}

static void
store_all(InboxItem *items, int n)
{
	int i;

	store(items, n);
	for (i = 0; i < n; i++)
	{
		if (items[i].refusal != NULL)
			stats_count(items[i].checked, 1);
	}
	inbox_keep_refused(items, n);
}

/* Sets in each item either the refusal or the id under which it is stored. */
static void
store(InboxItem *items, int n)
{
	MemoryContext caller = CurrentMemoryContext;
	InboxItem **valid = palloc(sizeof(InboxItem *) * Max(n, 1));
	text *tenant_id = cstring_to_text(msgstore_tenant_id);
	int nvalid = 0;
	int i;

	for (i = 0; i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (items[i].refusal != NULL || !inbox_check_item(&items[i], true))
			continue;
		inbox_make_uuid7(&items[i].id);
		valid[nvalid++] = &items[i];
	}
	if (nvalid == 0)
		return;
	SPI_connect();
	/* What is allocated for the items must outlive the SPI connection. */
	MemoryContextSwitchTo(caller);
	inbox_claim_keys(valid, nvalid, "inbound");
	nvalid = keep_new(valid, nvalid);
	store_new(valid, nvalid);
	inbox_record_conflicts(items, n);
	SPI_finish();
	for (i = 0; i < n; i++)
	{
		if (items[i].first != NULL)
		{
			items[i].id = items[i].first->id;
			items[i].duplicate = true;
		}
		if (items[i].duplicate)
			stats_count_for(STATS_EVENTS_DUPLICATE,
							tenant_id,
							cstring_to_text(items[i].channel),
							1);
	}
}

/* Keeps the items whose key was not used before; returns how many. */
static int
keep_new(InboxItem **items, int n)
{
	int kept = 0;
	int i;

	for (i = 0; i < n; i++)
	{
		if (items[i]->refusal == NULL && !items[i]->duplicate &&
			items[i]->first == NULL)
			items[kept++] = items[i];
	}
	return kept;
}

/*
 * If an event is known but cannot be found, it was deleted in between and is
 * stored now. With a transaction-wide snapshot, an event that is newer than
 * the snapshot can never be found.
 */
static void
store_new(InboxItem **items, int n)
{
	if (n > 1)
		qsort(items, n, sizeof(InboxItem *), compare_items);
	while (n > 0)
	{
		int known = insert_events(items, n);

		n = known > 0 ? find_duplicates(items, known) : 0;
		if (n > 0 && IsolationUsesXactSnapshot())
			ereport(
				ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg(
					 "could not serialize access due to concurrent update")));
		CHECK_FOR_INTERRUPTS();
	}
}

/* Moves the items that are already known to the front; returns how many. */
static int
insert_events(InboxItem **items, int n)
{
	const char *channel = NULL;
	int stored = 0;
	int known = 0;
	int i;

	inbox_insert(items, n);
	for (i = 0; i < n; i++)
	{
		if (!items[i]->stored)
		{
			items[known++] = items[i];
			continue;
		}
		wake_for_event(&items[i]->id, items[i]->lane);
		if (stored > 0 && strcmp(channel, items[i]->channel) != 0)
		{
			count_stored(channel, stored);
			stored = 0;
		}
		channel = items[i]->channel;
		stored++;
	}
	if (stored > 0)
		count_stored(channel, stored);
	return known;
}

static void
count_stored(const char *name, int n)
{
	const text *tenant_id = cstring_to_text(msgstore_tenant_id);
	const text *channel = cstring_to_text(name);

	stats_count_for(STATS_EVENTS_INGESTED, tenant_id, channel, n);
	stats_move(STATS_QUEUED, tenant_id, channel, n);
}

/* Moves the items that were not found to the front; returns how many. */
static int
find_duplicates(InboxItem **items, int n)
{
	Datum *channels = palloc(sizeof(Datum) * n);
	Datum *ids = palloc(sizeof(Datum) * n);
	Datum *identities = palloc(sizeof(Datum) * n);
	Datum values[4];
	bool isnull;
	uint64 row;
	int left = 0;
	int i;

	for (i = 0; i < n; i++)
	{
		channels[i] = CStringGetTextDatum(items[i]->channel);
		ids[i] = PointerGetDatum(items[i]->provider_message_id);
		identities[i] = PointerGetDatum(items[i]->identity);
	}
	values[0] = CStringGetTextDatum(msgstore_tenant_id);
	values[1] = statement_array(TEXTOID, channels, NULL, n);
	values[2] = statement_array(TEXTOID, ids, NULL, n);
	values[3] = statement_array(TEXTOID, identities, NULL, n);
	statement_execute(&find_events, values, NULL);
	for (row = 0; row < SPI_processed; row++)
	{
		i = (int) DatumGetInt64(statement_value(row, 1, &isnull)) - 1;
		items[i]->id = *DatumGetUUIDP(statement_value(row, 2, &isnull));
		items[i]->duplicate = true;
		inbox_compare_payload(items[i],
							  DatumGetJsonbP(statement_value(row, 3, &isnull)));
	}
	for (i = 0; i < n; i++)
	{
		if (!items[i]->duplicate)
			items[left++] = items[i];
		else if (items[i]->idempotency_key != NULL)
			inbox_correct_key(items[i], "inbound");
	}
	return left;
}

/* By event, then by position in the call. Items without an id come last. */
static int
compare_items(const void *a, const void *b)
{
	const InboxItem *left = *(InboxItem *const *) a;
	const InboxItem *right = *(InboxItem *const *) b;
	int order = inbox_compare_events(left, right);

	return order != 0 ? order : left->ordinal - right->ordinal;
}

static void
read_items(JsonbContainer *list, InboxItem *items)
{
	JsonbIterator *it = JsonbIteratorInit(list);
	JsonbIteratorToken token;
	JsonbValue value;
	int i = 0;

	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		if (token != WJB_ELEM)
			continue;
		items[i].ordinal = i + 1;
		items[i].checked = STATS_REFUSED_PAYLOAD;
		if (value.type == jbvBinary &&
			JsonContainerIsObject(value.val.binary.data))
			read_item(JsonbValueToJsonb(&value), &items[i]);
		else
		{
			/* what refused_events keeps */
			items[i].payload = JsonbValueToJsonb(&value);
			inbox_refuse(
				&items[i],
				ERRCODE_MS_BAD_REQUEST,
				"An item must be an object with the fields channel, payload, idempotency_key, correlation_id, mock and tenant_id.",
				NULL,
				"item %d is not a JSON object",
				i + 1);
		}
		i++;
	}
}

static void
read_item(Jsonb *given, InboxItem *item)
{
	JsonbValue value;

	item->tenant = read_string(given, "tenant_id", item);
	item->channel = read_string(given, "channel", item);
	item->idempotency_key = read_string(given, "idempotency_key", item);
	item->correlation_id = read_string(given, "correlation_id", item);
	if (inbox_find_field(given, "payload", &value))
		item->payload = JsonbValueToJsonb(&value);
	read_relaxation(given, item);
	if (!inbox_find_field(given, "mock", &value))
		return;
	if (value.type == jbvBool)
		item->mock = value.val.boolean;
	else
		inbox_refuse(item,
					 ERRCODE_MS_BAD_REQUEST,
					 NULL,
					 NULL,
					 "field \"mock\" is not a boolean");
}

/*
 * "relaxed": the item is what a provider delivered and will not deliver in
 * another form, so that the channel's rules for people's requests do not hold.
 */
static void
read_relaxation(Jsonb *given, InboxItem *item)
{
	JsonbValue value;

	item->max_attachments = msgstore_max_attachments;
	item->relaxed = inbox_find_field(given, "relaxed", &value) &&
					value.type == jbvBool && value.val.boolean;
	if (inbox_find_field(given, "max_attachments", &value) &&
		value.type == jbvNumeric)
		item->max_attachments = DatumGetInt32(
			DirectFunctionCall1(numeric_int4,
								NumericGetDatum(value.val.numeric)));
}

static char *
read_string(Jsonb *given, const char *field, InboxItem *item)
{
	JsonbValue value;

	if (!inbox_find_field(given, field, &value))
		return NULL;
	if (value.type == jbvString)
		return pnstrdup(value.val.string.val, value.val.string.len);
	inbox_refuse(item,
				 ERRCODE_MS_BAD_REQUEST,
				 NULL,
				 NULL,
				 "field \"%s\" is not a string",
				 field);
	return NULL;
}

static void
put_results(ReturnSetInfo *result, InboxItem *items, int n)
{
	int i;

	for (i = 0; i < n; i++)
	{
		InboxRefusal *refusal = items[i].refusal;
		bool refused = refusal != NULL;
		bool nulls[6] = {false, refused, refused, !refused, !refused, true};
		Datum values[6] = {0};

		values[0] = Int32GetDatum(items[i].ordinal);
		if (refused)
		{
			values[3] =
				CStringGetTextDatum(unpack_sql_state(refusal->sqlstate));
			values[4] = CStringGetTextDatum(refusal->message);
			nulls[5] = refusal->detail == NULL;
			if (refusal->detail != NULL)
				values[5] = CStringGetTextDatum(refusal->detail);
		}
		else
		{
			values[1] = UUIDPGetDatum(&items[i].id);
			values[2] = BoolGetDatum(items[i].duplicate);
		}
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
}
