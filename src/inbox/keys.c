/*
 * inbox/keys.c: recognizes requests that were made before.
 *
 * A request claims its key by inserting the key's row before it stores
 * anything else, in the same transaction. A second request with the key waits
 * for the end of that transaction and then finds the first one's id; a request
 * that fails in any way has claimed nothing. Keys are claimed in sort order,
 * so that two batches with the same keys do not deadlock. Each claim also
 * deletes a few expired keys, so that the table holds little more than two
 * hours of keys and needs no periodic cleanup.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

#include "inbox/digest.h"
#include "inbox/keys.h"
#include "server/errors.h"
#include "server/settings.h"
#include "server/statement.h"
#include "server/triggers.h"

#define CLAIM_KEYS                                                             \
	"INSERT INTO msgstore.idempotency_keys AS k"                               \
	" (tenant_id, scope, key, request_digest, result_id, expires_at)"          \
	" SELECT $1, $2, n.key, n.digest, n.id, $6"                                \
	" FROM unnest($3, $4, $5) AS n (key, digest, id)"                          \
	" ON CONFLICT (tenant_id, scope, key) DO UPDATE"                           \
	" SET request_digest = excluded.request_digest,"                           \
	" result_id = excluded.result_id, expires_at = excluded.expires_at"        \
	" WHERE k.expires_at <= pg_catalog.now() RETURNING result_id"

#define CLAIM_TYPES                                                            \
	{                                                                          \
		TEXTOID, TEXTOID, TEXTARRAYOID, BYTEAARRAYOID, UUIDARRAYOID,           \
			TIMESTAMPTZOID                                                     \
	}

static Statement claim_keys = {.sql = CLAIM_KEYS,
							   .nargs = 6,
							   .argtypes = CLAIM_TYPES};

/* The same where a trigger may change the rows. */
static Statement claim_watched = {
	.sql = CLAIM_KEYS ", key, request_digest, tenant_id = $1"
					  " AND scope = $2 AND expires_at IS NOT DISTINCT FROM $6",
	.nargs = 6,
	.argtypes = CLAIM_TYPES};

static Statement find_keys = {
	.sql = "SELECT n.ordinal, k.request_digest = n.digest, k.result_id"
		   " FROM unnest($3, $4) WITH ORDINALITY AS n (key, digest, ordinal)"
		   " JOIN msgstore.idempotency_keys k"
		   " ON k.tenant_id = $1 AND k.scope = $2 AND k.key = n.key",
	.nargs = 4,
	.argtypes = {TEXTOID, TEXTOID, TEXTARRAYOID, BYTEAARRAYOID}};

static Statement remove_expired = {
	.sql = "DELETE FROM msgstore.idempotency_keys k"
		   " USING (SELECT tenant_id, scope, key"
		   "  FROM msgstore.idempotency_keys"
		   "  WHERE expires_at <= pg_catalog.now()"
		   "  ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED) old"
		   " WHERE k.tenant_id = old.tenant_id AND k.scope = old.scope"
		   " AND k.key = old.key",
	.nargs = 1,
	.argtypes = {INT8OID}};

static Statement correct_key = {
	.sql = "UPDATE msgstore.idempotency_keys SET result_id = $4"
		   " WHERE tenant_id = $1 AND scope = $2 AND key = $3",
	.nargs = 4,
	.argtypes = {TEXTOID, TEXTOID, TEXTOID, UUIDOID}};

/* Keys are remembered for two hours. */
#define KEY_LIFETIME (2 * USECS_PER_HOUR)

/* For triggers_report(). */
#define TABLE "idempotency_keys"
#define UPSERT (TRIGGER_TYPE_INSERT | TRIGGER_TYPE_UPDATE)

/* A key to claim, and the request that claims it. */
typedef struct KeyClaim
{
	InboxItem *item;
	char *key;
	bytea *digest;
	bool won;
} KeyClaim;

static int compare_claims(const void *a, const void *b);
static void claim(KeyClaim *claims, int n, const char *scope, bool expires);
static int
insert_claims(KeyClaim *claims, int n, const char *scope, bool expires);
static bool is_own_row(const KeyClaim *claim, uint64 row, bool watched);
static void find_first(KeyClaim *claims, int n, const char *scope);
static void remove_expired_keys(int64 most);

void
inbox_claim_keys(InboxItem **items, int n, const char *scope)
{
	KeyClaim *claims = palloc(sizeof(KeyClaim) * Max(n, 1));
	int nclaims = 0;
	int nkeys = 0;
	int i;

	for (i = 0; i < n; i++)
	{
		if (items[i]->idempotency_key == NULL)
			continue;
		claims[nclaims].item = items[i];
		claims[nclaims].key = items[i]->idempotency_key;
		claims[nclaims].digest = inbox_digest_request(items[i]);
		claims[nclaims++].won = false;
	}
	if (nclaims == 0)
		return;
	qsort(claims, nclaims, sizeof(KeyClaim), compare_claims);
	for (i = 0; i < nclaims; i++)
	{
		KeyClaim *first = nkeys > 0 ? &claims[nkeys - 1] : NULL;

		if (first == NULL || strcmp(first->key, claims[i].key) != 0)
			claims[nkeys++] = claims[i];
		else if (DatumGetBool(
					 DirectFunctionCall2(byteaeq,
										 PointerGetDatum(first->digest),
										 PointerGetDatum(claims[i].digest))))
			claims[i].item->first = first->item;
		else
			inbox_refuse_key(claims[i].item);
	}
	claim(claims, nkeys, scope, true);
	remove_expired_keys(2 * nkeys);
}

void
inbox_claim_content(InboxItem *item, const char *scope)
{
	KeyClaim content = {.item = item, .digest = inbox_digest_content(item)};

	content.key = text_to_cstring(DatumGetTextPP(
		DirectFunctionCall2(binary_encode,
							PointerGetDatum(content.digest),
							PointerGetDatum(cstring_to_text("hex")))));
	claim(&content, 1, scope, false);
}

void
inbox_correct_key(const InboxItem *item, const char *scope)
{
	Datum values[4];

	values[0] = CStringGetTextDatum(msgstore_tenant_id);
	values[1] = CStringGetTextDatum(scope);
	values[2] = CStringGetTextDatum(item->idempotency_key);
	values[3] = UUIDPGetDatum(&item->id);
	statement_execute(&correct_key, values, NULL);
}

/* By key, then by position in the call. */
static int
compare_claims(const void *a, const void *b)
{
	const KeyClaim *left = a;
	const KeyClaim *right = b;
	int order = strcmp(left->key, right->key);

	if (order != 0)
		return order;
	return left->item->ordinal - right->item->ordinal;
}

/*
 * A claim is lost to a row that is looked up next. If that row was deleted
 * between the two statements, the key is claimed again.
 */
static void
claim(KeyClaim *claims, int n, const char *scope, bool expires)
{
	bool again = false;

	while (n > 0)
	{
		int lost = 0;
		int i;

		if (insert_claims(claims, n, scope, expires) == n)
			return;
		for (i = 0; i < n; i++)
		{
			if (!claims[i].won)
				claims[lost++] = claims[i];
		}
		find_first(claims, lost, scope);
		for (i = 0, n = 0; i < lost; i++)
		{
			if (!claims[i].item->duplicate && claims[i].item->refusal == NULL)
				claims[n++] = claims[i];
		}
		if (again && n > 0 && triggers_may_alter(TABLE, UPSERT))
			triggers_report(TABLE, UPSERT);
		again = true;
		CHECK_FOR_INTERRUPTS();
	}
}

/* The first four arguments of both statements. */
static void
set_arguments(const KeyClaim *claims, int n, const char *scope, Datum *values)
{
	Datum *keys = palloc(sizeof(Datum) * n);
	Datum *digests = palloc(sizeof(Datum) * n);
	int i;

	for (i = 0; i < n; i++)
	{
		keys[i] = CStringGetTextDatum(claims[i].key);
		digests[i] = PointerGetDatum(claims[i].digest);
	}
	values[0] = CStringGetTextDatum(msgstore_tenant_id);
	values[1] = CStringGetTextDatum(scope);
	values[2] = statement_array(TEXTOID, keys, NULL, n);
	values[3] = statement_array(BYTEAOID, digests, NULL, n);
}

/* Returns the number of claims won. Their rows come back in the same order. */
static int
insert_claims(KeyClaim *claims, int n, const char *scope, bool expires)
{
	Datum *ids = palloc(sizeof(Datum) * n);
	Datum values[6];
	bool watched;
	uint64 row;
	int i;

	for (i = 0; i < n; i++)
		ids[i] = UUIDPGetDatum(&claims[i].item->id);
	set_arguments(claims, n, scope, values);
	values[4] = statement_array(UUIDOID, ids, NULL, n);
	values[5] = TimestampTzGetDatum(GetCurrentTransactionStartTimestamp() +
									KEY_LIFETIME);
	watched = triggers_may_alter(TABLE, UPSERT);
	statement_execute(watched ? &claim_watched : &claim_keys,
					  values,
					  expires ? NULL : "     n");
	for (row = 0, i = 0; row < SPI_processed && i < n; i++)
	{
		claims[i].won = is_own_row(&claims[i], row, watched);
		row += claims[i].won;
	}
	if (row != SPI_processed)
		triggers_report(TABLE, UPSERT);
	return (int) SPI_processed;
}

/* Whether the row that was returned is that of the claim. */
static bool
is_own_row(const KeyClaim *claim, uint64 row, bool watched)
{
	bool isnull;
	Datum key;
	Datum digest;

	if (memcmp(DatumGetUUIDP(statement_value(row, 1, &isnull)),
			   &claim->item->id,
			   sizeof(pg_uuid_t)) != 0)
		return false;
	if (!watched)
		return true;
	key = statement_value(row, 2, &isnull);
	digest = statement_value(row, 3, &isnull);
	return strcmp(TextDatumGetCString(key), claim->key) == 0 &&
		   datum_image_eq(digest, PointerGetDatum(claim->digest), false, -1) &&
		   DatumGetBool(statement_value(row, 4, &isnull));
}

static void
find_first(KeyClaim *claims, int n, const char *scope)
{
	Datum values[4];
	bool isnull;
	uint64 row;

	set_arguments(claims, n, scope, values);
	statement_execute(&find_keys, values, NULL);
	for (row = 0; row < SPI_processed; row++)
	{
		int64 ordinal = DatumGetInt64(statement_value(row, 1, &isnull));
		InboxItem *item = claims[ordinal - 1].item;

		if (DatumGetBool(statement_value(row, 2, &isnull)))
		{
			item->duplicate = true;
			item->id = *DatumGetUUIDP(statement_value(row, 3, &isnull));
		}
		else
			inbox_refuse_key(item);
	}
}

void
inbox_refuse_key(InboxItem *item)
{
	inbox_refuse(
		item,
		ERRCODE_MS_CONFLICT,
		"An idempotency key identifies one request: its channel and payload.",
		"Repeat the original request, or use another key.",
		"idempotency key \"%s\" was used with a different payload",
		item->idempotency_key);
}

static void
remove_expired_keys(int64 most)
{
	Datum values[1];

	values[0] = Int64GetDatum(most);
	statement_execute(&remove_expired, values, NULL);
}
