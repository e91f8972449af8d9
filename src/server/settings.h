/*
 * server/settings.h: the settings, which every room may read.
 */
#ifndef SERVER_SETTINGS_H
#define SERVER_SETTINGS_H

#include "utils/guc.h"

/* Values of msgstore.response_store. */
typedef enum ResponsesStore
{
	RESPONSES_DURABLE,
	RESPONSES_MEMORY
} ResponsesStore;

/* Values of msgstore.replace_invalid_text. */
typedef enum InvalidText
{
	INVALID_TEXT_REFUSE,
	INVALID_TEXT_REPLACE
} InvalidText;

/* Settings, in alphabetical order. */
extern char *msgstore_actor_name; /* "": the session's user */
extern bool msgstore_admin;
extern int msgstore_backoff_base;	   /* milliseconds */
extern int msgstore_backoff_max;	   /* milliseconds */
extern int msgstore_batch_size;		   /* events */
extern int msgstore_claim_timeout;	   /* milliseconds */
extern int msgstore_conversation_wait; /* milliseconds */
extern bool msgstore_keep_refused;
extern int msgstore_live_history;			  /* seconds, 0: none */
extern int msgstore_max_attachments;		  /* per message */
extern int msgstore_max_clock_skew;			  /* seconds, 0: no limit */
extern int msgstore_max_dead_letters;		  /* kept at most */
extern int msgstore_max_payload_bytes;		  /* bytes */
extern int msgstore_max_refused;			  /* rows per tenant */
extern int msgstore_max_response_bytes;		  /* bytes */
extern int msgstore_max_retries;			  /* failed retries */
extern int msgstore_memory_max_responses;	  /* 0: no limit */
extern int msgstore_memory_size;			  /* kB */
extern char *msgstore_owner;				  /* "" means no scoping */
extern int msgstore_projection_timeout;		  /* milliseconds */
extern int msgstore_purge_batch_size;		  /* rows */
extern int msgstore_purge_dead_letters_after; /* seconds, 0: never */
extern int msgstore_purge_events_after;		  /* seconds, 0: never */
extern int msgstore_purge_payloads_after;	  /* seconds, 0: never */
extern char *msgstore_redact_keys;			  /* comma-separated */
extern int msgstore_replace_invalid_text;	  /* an InvalidText */
extern bool msgstore_response_audit;
extern int msgstore_response_audit_max_age; /* seconds; 0: kept for good */
extern int msgstore_response_cleanup_batch; /* responses */
extern int msgstore_response_max_age;		/* seconds; 0: kept for good */
extern int msgstore_response_max_idle;		/* seconds; 0: kept for good */
extern bool msgstore_response_search;
extern int msgstore_response_stale_after; /* seconds */
extern int msgstore_response_store;		  /* a ResponsesStore */
extern int msgstore_response_ttl;		  /* seconds; 0: kept for good */
extern int msgstore_seal_interval;		  /* seconds */
extern bool msgstore_search;
extern int msgstore_snippet_length; /* grapheme clusters */
extern char *msgstore_tenant_id;	/* "" means no scoping */
extern int msgstore_workers;		/* per database */

/*
 * For _PG_init. The hook is called with each new value of msgstore.redact_keys.
 */
extern void settings_define(GucStringAssignHook assign_redact_keys);

#endif /* SERVER_SETTINGS_H */
