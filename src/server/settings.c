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

char *msgstore_actor_name;
bool msgstore_admin;
int msgstore_backoff_base;
int msgstore_backoff_max;
int msgstore_batch_size;
int msgstore_claim_timeout;
int msgstore_conversation_wait;
bool msgstore_keep_refused;
int msgstore_live_history;
int msgstore_max_attachments;
int msgstore_max_clock_skew;
int msgstore_max_dead_letters;
int msgstore_max_payload_bytes;
int msgstore_max_refused;
int msgstore_max_response_bytes;
int msgstore_max_retries;
int msgstore_memory_max_responses;
int msgstore_memory_size;
char *msgstore_owner;
int msgstore_projection_timeout;
int msgstore_purge_batch_size;
int msgstore_purge_dead_letters_after;
int msgstore_purge_events_after;
int msgstore_purge_payloads_after;
char *msgstore_redact_keys;
int msgstore_replace_invalid_text;
bool msgstore_response_audit;
int msgstore_response_audit_max_age;
int msgstore_response_cleanup_batch;
int msgstore_response_max_age;
int msgstore_response_max_idle;
bool msgstore_response_search;
int msgstore_response_stale_after;
int msgstore_response_store;
int msgstore_response_ttl;
int msgstore_seal_interval;
bool msgstore_search;
int msgstore_snippet_length;
char *msgstore_tenant_id;
int msgstore_workers;

static const struct config_enum_entry invalid_texts[] = {
	{"refuse", INVALID_TEXT_REFUSE, false},
	{"replace", INVALID_TEXT_REPLACE, false},
	{NULL, 0, false}};

static const struct config_enum_entry response_stores[] = {
	{"durable", RESPONSES_DURABLE, false},
	{"memory", RESPONSES_MEMORY, false},
	{NULL, 0, false}};

/* A setting of type int. Limits are the operator's, not a session's. */
typedef struct NumberSetting
{
	const char *name;
	const char *description;
	int *variable;
	int value;
	int least;
	int greatest;
	GucContext context;
	int unit;
} NumberSetting;

static const NumberSetting number_settings[] = {
	{"msgstore.backoff_base",
	 "Delay before the first retry of an event; it doubles with each further failure.",
	 &msgstore_backoff_base,
	 500,
	 1,
	 INT_MAX,
	 PGC_SUSET,
	 GUC_UNIT_MS},
	{"msgstore.backoff_max",
	 "Longest delay between two attempts, before jitter.",
	 &msgstore_backoff_max,
	 60000,
	 1,
	 INT_MAX,
	 PGC_SUSET,
	 GUC_UNIT_MS},
	{"msgstore.batch_size",
	 "Number of events that a worker claims in one transaction.",
	 &msgstore_batch_size,
	 500,
	 1,
	 100000,
	 PGC_SUSET,
	 0},
	{"msgstore.claim_timeout",
	 "External claims without a heartbeat for this long are released.",
	 &msgstore_claim_timeout,
	 60000,
	 1,
	 INT_MAX,
	 PGC_SUSET,
	 GUC_UNIT_MS},
	{"msgstore.conversation_wait",
	 "Time that a response waits for another one that is in progress in its conversation.",
	 &msgstore_conversation_wait,
	 0,
	 0,
	 INT_MAX,
	 PGC_USERSET,
	 GUC_UNIT_MS},
	{"msgstore.live_history",
	 "How long live changes are kept for readers that resume; 0 records none.",
	 &msgstore_live_history,
	 900,
	 0,
	 86400,
	 PGC_SIGHUP,
	 GUC_UNIT_S},
	{"msgstore.max_attachments",
	 "Maximum number of attachments of a message.",
	 &msgstore_max_attachments,
	 8,
	 0,
	 10000,
	 PGC_SUSET,
	 0},
	{"msgstore.max_clock_skew",
	 "Maximum time by which the timestamp of a message may be in the future; 0 means no limit.",
	 &msgstore_max_clock_skew,
	 86400,
	 0,
	 INT_MAX,
	 PGC_SUSET,
	 GUC_UNIT_S},
	{"msgstore.max_dead_letters",
	 "At this number of dead letters, failing events are retried instead of becoming dead letters.",
	 &msgstore_max_dead_letters,
	 100000,
	 1,
	 INT_MAX,
	 PGC_SUSET,
	 0},
	{"msgstore.max_payload_bytes",
	 "Maximum size of a payload, as JSON text without white space.",
	 &msgstore_max_payload_bytes,
	 262144,
	 1024,
	 MaxAllocSize / 4,
	 PGC_SUSET,
	 GUC_UNIT_BYTE},
	{"msgstore.max_refused",
	 "Maximum number of refused events that are kept for a tenant.",
	 &msgstore_max_refused,
	 10000,
	 1,
	 INT_MAX,
	 PGC_SUSET,
	 0},
	{"msgstore.max_response_bytes",
	 "Maximum size of a response, as jsonb.",
	 &msgstore_max_response_bytes,
	 16 * 1024 * 1024,
	 1024,
	 MaxAllocSize / 4,
	 PGC_SUSET,
	 GUC_UNIT_BYTE},
	{"msgstore.max_retries",
	 "Number of failed retries after which an event becomes a dead letter.",
	 &msgstore_max_retries,
	 5,
	 0,
	 1000,
	 PGC_SUSET,
	 0},
	{"msgstore.memory_max_responses",
	 "Maximum number of responses in the in-memory store; 0 means no limit.",
	 &msgstore_memory_max_responses,
	 10000,
	 0,
	 INT_MAX,
	 PGC_SUSET,
	 0},
	{"msgstore.projection_timeout",
	 "Maximum time of one call of a projection's function in a worker; 0 means no limit.",
	 &msgstore_projection_timeout,
	 5000,
	 0,
	 INT_MAX,
	 PGC_SIGHUP,
	 GUC_UNIT_MS},
	{"msgstore.purge_batch_size",
	 "Number of rows of each kind that a worker purges in one transaction.",
	 &msgstore_purge_batch_size,
	 1000,
	 1,
	 100000,
	 PGC_SIGHUP,
	 0},
	{"msgstore.purge_dead_letters_after",
	 "Age at which workers purge dead letters; 0 means never.",
	 &msgstore_purge_dead_letters_after,
	 0,
	 0,
	 INT_MAX,
	 PGC_SIGHUP,
	 GUC_UNIT_S},
	{"msgstore.purge_events_after",
	 "Age at which workers purge processed events; 0 means never.",
	 &msgstore_purge_events_after,
	 0,
	 0,
	 INT_MAX,
	 PGC_SIGHUP,
	 GUC_UNIT_S},
	{"msgstore.purge_payloads_after",
	 "Age at which workers empty the payloads of processed events; 0 means never.",
	 &msgstore_purge_payloads_after,
	 0,
	 0,
	 INT_MAX,
	 PGC_SIGHUP,
	 GUC_UNIT_S},
	{"msgstore.response_audit_max_age",
	 "Age at which a row of response_audit is removed; 0 means never.",
	 &msgstore_response_audit_max_age,
	 0,
	 0,
	 INT_MAX,
	 PGC_SUSET,
	 GUC_UNIT_S},
	{"msgstore.response_cleanup_batch",
	 "Maximum number of background responses removed in one transaction.",
	 &msgstore_response_cleanup_batch,
	 100,
	 1,
	 100000,
	 PGC_SUSET,
	 0},
	{"msgstore.response_max_age",
	 "Time after its end after which a response is removed; 0 means never.",
	 &msgstore_response_max_age,
	 0,
	 0,
	 INT_MAX,
	 PGC_SUSET,
	 GUC_UNIT_S},
	{"msgstore.response_max_idle",
	 "Time after its last use after which a response that has ended is removed; 0 means never.",
	 &msgstore_response_max_idle,
	 0,
	 0,
	 INT_MAX,
	 PGC_SUSET,
	 GUC_UNIT_S},
	{"msgstore.response_stale_after",
	 "A background response without a heartbeat for this long has failed.",
	 &msgstore_response_stale_after,
	 600,
	 1,
	 INT_MAX,
	 PGC_SUSET,
	 GUC_UNIT_S},
	{"msgstore.response_ttl",
	 "Age at which finished background responses are removed; 0 means never.",
	 &msgstore_response_ttl,
	 86400,
	 0,
	 INT_MAX,
	 PGC_SUSET,
	 GUC_UNIT_S},
	{"msgstore.seal_interval",
	 "Time between two seals of new events of streams; 0 means never.",
	 &msgstore_seal_interval,
	 0,
	 0,
	 86400,
	 PGC_SIGHUP,
	 GUC_UNIT_S},
	{"msgstore.snippet_length",
	 "Length of the snippets in lists, in grapheme clusters.",
	 &msgstore_snippet_length,
	 64,
	 1,
	 4096,
	 PGC_USERSET,
	 0},
	{"msgstore.workers",
	 "Number of background workers for each database that has the extension.",
	 &msgstore_workers,
	 1,
	 0,
	 64,
	 PGC_SIGHUP,
	 0},
};

static void refuse_planted_value(const char *name);
static struct config_generic *find_setting(const char *name);
static void define_number(const NumberSetting *setting);
static void define_text(const char *name,
						const char *description,
						char **variable,
						const char *value,
						int flags,
						GucStringAssignHook assign);
static void
define_switch(const char *name, const char *description, bool *variable);
static void define_search(void);
static void define_choice(const char *name,
						  const char *description,
						  int *variable,
						  int value,
						  const struct config_enum_entry *choices);

void
settings_define(GucStringAssignHook assign_redact_keys)
{
	/* A session that loads the library has no shared memory to size. */
	NumberSetting memory_size = {
		"msgstore.memory_size",
		"Size of the shared memory of the in-memory response store.",
		&msgstore_memory_size,
		64 * 1024,
		1024,
		INT_MAX,
		process_shared_preload_libraries_in_progress ? PGC_POSTMASTER
													 : PGC_SIGHUP,
		GUC_UNIT_KB};
	Size i;

	if (!process_shared_preload_libraries_in_progress)
	{
		refuse_planted_value("msgstore.actor");
		refuse_planted_value("msgstore.tenant_id");
		refuse_planted_value("msgstore.owner");
	}
	for (i = 0; i < lengthof(number_settings); i++)
		define_number(&number_settings[i]);
	define_number(&memory_size);
	/* For msgstore._enter(), which the router of a cluster calls. */
	define_text("msgstore.actor",
				"Caller of the router, to the end of its transaction.",
				&msgstore_actor_name,
				"",
				GUC_NO_SHOW_ALL | GUC_NOT_IN_SAMPLE | GUC_DISALLOW_IN_FILE,
				NULL);
	define_text(
		"msgstore.owner",
		"Owner whose responses this session can access; empty means no restriction.",
		&msgstore_owner,
		"",
		0,
		NULL);
	define_text(
		"msgstore.redact_keys",
		"Keys whose values are replaced in payloads, at any depth and in any case.",
		&msgstore_redact_keys,
		"authorization,x-api-key,cookie,password,token,secret,api_key",
		GUC_LIST_INPUT,
		assign_redact_keys);
	define_text(
		"msgstore.tenant_id",
		"Tenant whose data this session can access; empty means no restriction.",
		&msgstore_tenant_id,
		"",
		0,
		NULL);
	define_switch(
		"msgstore.admin",
		"Lets this session read and delete the responses of all owners.",
		&msgstore_admin);
	define_switch(
		"msgstore.keep_refused",
		"Keeps the events that ingest_batch() refuses in refused_events.",
		&msgstore_keep_refused);
	define_switch(
		"msgstore.response_audit",
		"Records who was refused a response of another owner, and who deleted or cancelled one.",
		&msgstore_response_audit);
	define_switch("msgstore.response_search",
				  "Indexes responses of the table for search_responses().",
				  &msgstore_response_search);
	define_choice(
		"msgstore.replace_invalid_text",
		"What read_payload() does with characters that PostgreSQL cannot store: refuse or replace.",
		&msgstore_replace_invalid_text,
		INVALID_TEXT_REFUSE,
		invalid_texts);
	define_choice(
		"msgstore.response_store",
		"Where this session stores responses: in the table or in memory.",
		&msgstore_response_store,
		RESPONSES_DURABLE,
		response_stores);
	define_search();
	MarkGUCPrefixReserved("msgstore");
}

static void
define_number(const NumberSetting *setting)
{
	DefineCustomIntVariable(setting->name,
							setting->description,
							NULL,
							setting->variable,
							setting->value,
							setting->least,
							setting->greatest,
							setting->context,
							setting->unit,
							NULL,
							NULL,
							NULL);
}

static void
define_text(const char *name,
			const char *description,
			char **variable,
			const char *value,
			int flags,
			GucStringAssignHook assign)
{
	DefineCustomStringVariable(name,
							   description,
							   NULL,
							   variable,
							   value,
							   PGC_SUSET,
							   flags,
							   NULL,
							   assign,
							   NULL);
}

/* Off by default, and the operator's. */
static void
define_switch(const char *name, const char *description, bool *variable)
{
	DefineCustomBoolVariable(name,
							 description,
							 NULL,
							 variable,
							 false,
							 PGC_SUSET,
							 0,
							 NULL,
							 NULL,
							 NULL);
}

/* Not for one session: messages of any may be merged by any other. */
static void
define_search(void)
{
	DefineCustomBoolVariable("msgstore.search",
							 "Indexes messages for search_messages().",
							 NULL,
							 &msgstore_search,
							 true,
							 PGC_SIGHUP,
							 0,
							 NULL,
							 NULL,
							 NULL);
}

static void
define_choice(const char *name,
			  const char *description,
			  int *variable,
			  int value,
			  const struct config_enum_entry *choices)
{
	DefineCustomEnumVariable(name,
							 description,
							 NULL,
							 variable,
							 value,
							 choices,
							 PGC_USERSET,
							 0,
							 NULL,
							 NULL,
							 NULL);
}

/*
 * A client can name a setting of the library in its connection options before
 * the library is loaded: the server accepts any value for a name that it does
 * not know yet. When the setting is then defined, a value that the role may
 * not choose is discarded, and the values of ALTER ROLE and ALTER DATABASE
 * that it replaced do not come back: the session would see all tenants. With
 * preloading the server refuses such a connection; without it this function
 * ends the session.
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
				 errhint("Connect without setting this parameter.")));
}

/* Returns the placeholder of a setting, or NULL if no client has named it. */
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
