/*
 * server/settings.c: declares the settings to the server.
 */
#include "postgres.h"

#include <limits.h>

#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/guc.h"
#include "utils/guc_tables.h"
#include "utils/memutils.h"

#include "server/settings.h"

bool msgstore_admin;
int msgstore_backoff_base;
int msgstore_backoff_max;
int msgstore_batch_size;
int msgstore_claim_timeout;
int msgstore_max_attachments;
int msgstore_max_dead_letters;
int msgstore_max_payload_bytes;
int msgstore_max_response_bytes;
int msgstore_max_retries;
int msgstore_memory_max_responses;
int msgstore_memory_size;
char *msgstore_owner;
int msgstore_purge_batch_size;
int msgstore_purge_dead_letters_after;
int msgstore_purge_events_after;
int msgstore_purge_payloads_after;
char *msgstore_redact_keys;
int msgstore_response_cleanup_batch;
int msgstore_response_stale_after;
int msgstore_response_store;
int msgstore_response_ttl;
int msgstore_snippet_length;
char *msgstore_tenant_id;
int msgstore_workers;

static const struct config_enum_entry response_stores[] = {
	{"durable", RESPONSES_DURABLE, false},
	{"memory", RESPONSES_MEMORY, false},
	{NULL, 0, false}};

static void refuse_planted_value(const char *name);
static struct config_generic *find_setting(const char *name);
static void define_number(const char *name,
						  const char *description,
						  int *variable,
						  int value,
						  int least,
						  int greatest,
						  GucContext context,
						  int unit);

/* Limits and the worker's rules are the operator's, not a session's. */
void
settings_define(GucStringAssignHook assign_redact_keys)
{
	if (!process_shared_preload_libraries_in_progress)
	{
		refuse_planted_value("msgstore.tenant_id");
		refuse_planted_value("msgstore.owner");
	}
	DefineCustomBoolVariable(
		"msgstore.admin",
		"Whether this session reads and deletes the responses of all owners.",
		NULL,
		&msgstore_admin,
		false,
		PGC_SUSET,
		0,
		NULL,
		NULL,
		NULL);
	define_number(
		"msgstore.backoff_base",
		"Wait after an event's first failure; it doubles with each further one.",
		&msgstore_backoff_base,
		500,
		1,
		INT_MAX,
		PGC_SUSET,
		GUC_UNIT_MS);
	define_number("msgstore.backoff_max",
				  "Longest wait between two attempts, before jitter.",
				  &msgstore_backoff_max,
				  60000,
				  1,
				  INT_MAX,
				  PGC_SUSET,
				  GUC_UNIT_MS);
	define_number("msgstore.batch_size",
				  "Events claimed by one transaction of a worker.",
				  &msgstore_batch_size,
				  500,
				  1,
				  100000,
				  PGC_SUSET,
				  0);
	define_number(
		"msgstore.claim_timeout",
		"A claim from outside without a heartbeat for so long is stale.",
		&msgstore_claim_timeout,
		60000,
		1,
		INT_MAX,
		PGC_SUSET,
		GUC_UNIT_MS);
	define_number("msgstore.max_attachments",
				  "Attachments a message may have.",
				  &msgstore_max_attachments,
				  8,
				  0,
				  10000,
				  PGC_SUSET,
				  0);
	define_number("msgstore.max_dead_letters",
				  "With so many dead letters, what fails is tried on instead.",
				  &msgstore_max_dead_letters,
				  100000,
				  1,
				  INT_MAX,
				  PGC_SUSET,
				  0);
	define_number("msgstore.max_payload_bytes",
				  "Size a payload may have as JSON text without white space.",
				  &msgstore_max_payload_bytes,
				  262144,
				  1024,
				  MaxAllocSize / 4,
				  PGC_SUSET,
				  GUC_UNIT_BYTE);
	define_number("msgstore.max_response_bytes",
				  "Size a response may have, as jsonb.",
				  &msgstore_max_response_bytes,
				  16 * 1024 * 1024,
				  1024,
				  MaxAllocSize / 4,
				  PGC_SUSET,
				  GUC_UNIT_BYTE);
	define_number("msgstore.max_retries",
				  "Failed retries before an event goes to the dead letters.",
				  &msgstore_max_retries,
				  5,
				  0,
				  1000,
				  PGC_SUSET,
				  0);
	define_number("msgstore.memory_max_responses",
				  "Responses the in-memory store keeps; 0 means no limit.",
				  &msgstore_memory_max_responses,
				  10000,
				  0,
				  INT_MAX,
				  PGC_SUSET,
				  0);
	/* A session that loads the library has no shared memory to size. */
	define_number("msgstore.memory_size",
				  "Shared memory for the in-memory store of responses.",
				  &msgstore_memory_size,
				  64 * 1024,
				  1024,
				  INT_MAX,
				  process_shared_preload_libraries_in_progress ? PGC_POSTMASTER
															   : PGC_SIGHUP,
				  GUC_UNIT_KB);
	DefineCustomStringVariable(
		"msgstore.owner",
		"Whose responses this session works on; empty means no scoping.",
		NULL,
		&msgstore_owner,
		"",
		PGC_SUSET,
		0,
		NULL,
		NULL,
		NULL);
	define_number("msgstore.purge_batch_size",
				  "Rows of a kind that a worker purges in one transaction.",
				  &msgstore_purge_batch_size,
				  1000,
				  1,
				  100000,
				  PGC_SIGHUP,
				  0);
	define_number("msgstore.purge_dead_letters_after",
				  "The workers purge dead letters of this age; 0 means never.",
				  &msgstore_purge_dead_letters_after,
				  0,
				  0,
				  INT_MAX,
				  PGC_SIGHUP,
				  GUC_UNIT_S);
	define_number(
		"msgstore.purge_events_after",
		"The workers purge processed events of this age; 0 means never.",
		&msgstore_purge_events_after,
		0,
		0,
		INT_MAX,
		PGC_SIGHUP,
		GUC_UNIT_S);
	define_number(
		"msgstore.purge_payloads_after",
		"The workers empty the payloads of processed events of this age; 0 means never.",
		&msgstore_purge_payloads_after,
		0,
		0,
		INT_MAX,
		PGC_SIGHUP,
		GUC_UNIT_S);
	DefineCustomStringVariable(
		"msgstore.redact_keys",
		"Payload keys whose values are not stored, at any depth and in any case.",
		NULL,
		&msgstore_redact_keys,
		"authorization,x-api-key,cookie,password,token,secret,api_key",
		PGC_SUSET,
		GUC_LIST_INPUT,
		NULL,
		assign_redact_keys,
		NULL);
	define_number("msgstore.response_cleanup_batch",
				  "Background responses that one housekeeping removes at most.",
				  &msgstore_response_cleanup_batch,
				  100,
				  1,
				  100000,
				  PGC_SUSET,
				  0);
	define_number("msgstore.response_stale_after",
				  "Silence after which a background response has failed.",
				  &msgstore_response_stale_after,
				  600,
				  1,
				  INT_MAX,
				  PGC_SUSET,
				  GUC_UNIT_S);
	DefineCustomEnumVariable(
		"msgstore.response_store",
		"Where this session keeps responses: in the table, or in memory.",
		NULL,
		&msgstore_response_store,
		RESPONSES_DURABLE,
		response_stores,
		PGC_USERSET,
		0,
		NULL,
		NULL,
		NULL);
	define_number("msgstore.response_ttl",
				  "Age at which finished background responses are removed; 0 "
				  "keeps them.",
				  &msgstore_response_ttl,
				  86400,
				  0,
				  INT_MAX,
				  PGC_SUSET,
				  GUC_UNIT_S);
	define_number("msgstore.snippet_length",
				  "Grapheme clusters of a body that a list shows.",
				  &msgstore_snippet_length,
				  64,
				  1,
				  4096,
				  PGC_USERSET,
				  0);
	DefineCustomStringVariable(
		"msgstore.tenant_id",
		"The tenant whose data this session works on; empty means no scoping.",
		NULL,
		&msgstore_tenant_id,
		"",
		PGC_SUSET,
		0,
		NULL,
		NULL,
		NULL);
	define_number(
		"msgstore.workers",
		"Background workers for each database that has the extension.",
		&msgstore_workers,
		1,
		0,
		64,
		PGC_SIGHUP,
		0);
	MarkGUCPrefixReserved("msgstore");
}

static void
define_number(const char *name,
			  const char *description,
			  int *variable,
			  int value,
			  int least,
			  int greatest,
			  GucContext context,
			  int unit)
{
	DefineCustomIntVariable(name,
							description,
							NULL,
							variable,
							value,
							least,
							greatest,
							context,
							unit,
							NULL,
							NULL,
							NULL);
}

/*
 * A session that loads the module late may have been begun with a value for
 * one of its settings: the server takes any for a name that it does not know
 * yet. Whoever may not choose it has it thrown away by the definition, and
 * with it what ALTER ROLE or ALTER DATABASE say, over which it stood: the
 * session would see all tenants. With the module preloaded the server refuses
 * such a connection; here the session ends.
 */
static void
refuse_planted_value(const char *name)
{
	struct config_generic *setting = find_setting(name);

	if (setting != NULL && setting->reset_source == PGC_S_CLIENT &&
		setting->reset_scontext != PGC_SUSET &&
		pg_parameter_aclcheck(name, setting->reset_srole, ACL_SET) !=
			ACLCHECK_OK)
		ereport(FATAL,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to set parameter \"%s\"", name),
				 errhint("Connect without choosing it.")));
}

/* The setting as it is before it is defined; null: nobody has named it. */
static struct config_generic *
find_setting(const char *name)
{
#if PG_VERSION_NUM >= 160000
	return find_option(name, false, true, ERROR);
#else
	struct config_generic **settings = get_guc_variables();
	int i;

	for (i = 0; i < GetNumConfigOptions(); i++)
	{
		if (pg_strcasecmp(name, settings[i]->name) == 0)
			return settings[i];
	}
	return NULL;
#endif
}
