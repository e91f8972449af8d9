/*
 * responses/audit.c: who was refused a response of another owner, and who
 * deleted or cancelled one.
 *
 * A refusal is an error, which rolls back what its transaction wrote. So it is
 * noted in shared memory, from where the worker moves it into the table. There
 * is room for some: more between two turns of the worker are counted only.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "responses/audit.h"
#include "responses/permission.h"
#include "server/settings.h"
#include "server/statement.h"
#include "tenancy/placement.h"
#include "wake/wake.h"

#define REFUSALS 256
#define TEXT_BYTES 256
#define OPERATION_BYTES 16

/* Longer texts are cut. */
typedef struct Refusal
{
	Oid database; /* InvalidOid: free */
	TimestampTz at;
	char tenant_id[TEXT_BYTES];
	char caller[TEXT_BYTES];
	char response_id[TEXT_BYTES];
	char response_owner[TEXT_BYTES];
	char operation[OPERATION_BYTES];
} Refusal;

typedef struct Refusals
{
	uint64 lost;
	Refusal refusals[REFUSALS];
} Refusals;

static Refusals *noted = NULL;
static LWLock *noted_lock;

static Statement insert_removal = {
	.sql = "INSERT INTO msgstore.response_audit (tenant_id, event, caller,"
		   " operation, response_id, response_owner)"
		   " VALUES ($1, $2, $3, $4, $5, $6)",
	.nargs = 6,
	.argtypes = {TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID}};

static void note_refusal(const Response *response, const char *operation);
static Refusal *find_free(void);
static void put_back(const Refusal *refusal);
static void copy_text(char *to, const char *text);
static int take_refusals(Refusal *taken);
static void
insert(const Response *response, const char *event, const char *operation);

PG_FUNCTION_INFO_V1(msgstore_take_refusals);

/*
 * Those of this database; they are forgotten, but for tenants that cannot be
 * written now.
 */
Datum
msgstore_take_refusals(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Refusal *taken = palloc(sizeof(Refusal) * REFUSALS);
	int n;

	InitMaterializedSRF(fcinfo, 0);
	n = take_refusals(taken);
	for (int i = 0; i < n; i++)
	{
		Datum values[6];
		bool nulls[6] = {false};

		if (placement_is_fenced(taken[i].tenant_id))
		{
			put_back(&taken[i]);
			continue;
		}
		values[0] = TimestampTzGetDatum(taken[i].at);
		values[1] = CStringGetTextDatum(taken[i].tenant_id);
		values[2] = CStringGetTextDatum(taken[i].caller);
		values[3] = CStringGetTextDatum(taken[i].operation);
		values[4] = CStringGetTextDatum(taken[i].response_id);
		values[5] = CStringGetTextDatum(taken[i].response_owner);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}

bool
audit_admit(const Response *response, bool writing, const char *operation)
{
	if (responses_allow(response->tenant_id, response->owner, writing))
		return true;
	if (msgstore_response_audit && noted != NULL)
		note_refusal(response, operation);
	return false;
}

static void
note_refusal(const Response *response, const char *operation)
{
	Refusal *place;

	/* Another tenant's response does not exist for this session. */
	if (msgstore_tenant_id[0] != '\0' &&
		strcmp(response->tenant_id, msgstore_tenant_id) != 0)
		return;
	LWLockAcquire(noted_lock, LW_EXCLUSIVE);
	place = find_free();
	if (place != NULL)
	{
		place->database = MyDatabaseId;
		place->at = GetCurrentTimestamp();
		copy_text(place->tenant_id, response->tenant_id);
		copy_text(place->caller, msgstore_owner);
		copy_text(place->response_id, response->id);
		copy_text(place->response_owner, response->owner);
		strlcpy(place->operation, operation, OPERATION_BYTES);
	}
	else
		noted->lost++;
	LWLockRelease(noted_lock);
	wake_at_abort();
}

/* NULL: there is no room. */
static Refusal *
find_free(void)
{
	for (int i = 0; i < REFUSALS; i++)
	{
		if (noted->refusals[i].database == InvalidOid)
			return &noted->refusals[i];
	}
	return NULL;
}

static void
put_back(const Refusal *refusal)
{
	Refusal *place;

	LWLockAcquire(noted_lock, LW_EXCLUSIVE);
	place = find_free();
	if (place != NULL)
		*place = *refusal;
	else
		noted->lost++;
	LWLockRelease(noted_lock);
}

void
audit_removal(const Response *response, const char *event)
{
	if (!msgstore_response_audit)
		return;
	insert(response, event, NULL);
	if (msgstore_admin && response->owner[0] != '\0' &&
		strcmp(response->owner, msgstore_owner) != 0)
		insert(response, "authz.admin_override", event);
}

void
audit_shmem_request(void)
{
	RequestAddinShmemSpace(MAXALIGN(sizeof(Refusals)));
	RequestNamedLWLockTranche("msgstore_audit", 1);
}

void
audit_shmem_startup(void)
{
	bool found;

	noted =
		ShmemInitStruct("msgstore response refusals", sizeof(Refusals), &found);
	noted_lock = &GetNamedLWLockTranche("msgstore_audit")->lock;
	if (!found)
		memset(noted, 0, sizeof(Refusals));
}

static void
copy_text(char *to, const char *text)
{
	int length = pg_mbcliplen(text, strlen(text), TEXT_BYTES - 1);

	memcpy(to, text, length);
	to[length] = '\0';
}

static int
take_refusals(Refusal *taken)
{
	int n = 0;

	if (noted == NULL)
		return 0;
	LWLockAcquire(noted_lock, LW_EXCLUSIVE);
	for (int i = 0; i < REFUSALS; i++)
	{
		if (noted->refusals[i].database != MyDatabaseId)
			continue;
		taken[n++] = noted->refusals[i];
		noted->refusals[i].database = InvalidOid;
	}
	LWLockRelease(noted_lock);
	return n;
}

static void
insert(const Response *response, const char *event, const char *operation)
{
	Datum values[6];

	SPI_connect();
	values[0] = CStringGetTextDatum(response->tenant_id);
	values[1] = CStringGetTextDatum(event);
	values[2] = CStringGetTextDatum(msgstore_owner);
	values[3] = operation != NULL ? CStringGetTextDatum(operation) : (Datum) 0;
	values[4] = CStringGetTextDatum(response->id);
	values[5] = CStringGetTextDatum(response->owner);
	statement_execute(&insert_removal,
					  values,
					  operation != NULL ? NULL : "   n  ");
	SPI_finish();
}
