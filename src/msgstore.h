/*
 * msgstore.h: the settings and SQLSTATEs that every room may use.
 */
#ifndef MSGSTORE_H
#define MSGSTORE_H

/* Settings, in alphabetical order; msgstore.c declares them to the server. */
extern bool msgstore_admin;
extern int msgstore_backoff_base;			  /* milliseconds */
extern int msgstore_backoff_max;			  /* milliseconds */
extern int msgstore_batch_size;				  /* events */
extern int msgstore_claim_timeout;			  /* milliseconds */
extern int msgstore_max_attachments;		  /* per message */
extern int msgstore_max_dead_letters;		  /* kept at most */
extern int msgstore_max_payload_bytes;		  /* bytes */
extern int msgstore_max_response_bytes;		  /* bytes */
extern int msgstore_max_retries;			  /* failed retries */
extern int msgstore_memory_max_responses;	  /* 0: no limit */
extern int msgstore_memory_size;			  /* kB */
extern char *msgstore_owner;				  /* "" means no scoping */
extern int msgstore_purge_batch_size;		  /* rows */
extern int msgstore_purge_dead_letters_after; /* seconds, 0: never */
extern int msgstore_purge_events_after;		  /* seconds, 0: never */
extern int msgstore_purge_payloads_after;	  /* seconds, 0: never */
extern char *msgstore_redact_keys;			  /* comma-separated */
extern int msgstore_response_cleanup_batch;	  /* responses */
extern int msgstore_response_stale_after;	  /* seconds */
extern int msgstore_response_store;			  /* a ResponsesStore */
extern int msgstore_response_ttl;			  /* seconds; 0: kept for good */
extern int msgstore_snippet_length;			  /* grapheme clusters */
extern char *msgstore_tenant_id;			  /* "" means no scoping */
extern int msgstore_workers;				  /* per database */

/* Class MS: the digits are the HTTP status the gateway answers with. */
#define ERRCODE_MS_BAD_REQUEST MAKE_SQLSTATE('M', 'S', '4', '0', '0')
#define ERRCODE_MS_FORBIDDEN MAKE_SQLSTATE('M', 'S', '4', '0', '3')
#define ERRCODE_MS_NOT_FOUND MAKE_SQLSTATE('M', 'S', '4', '0', '4')
#define ERRCODE_MS_CONFLICT MAKE_SQLSTATE('M', 'S', '4', '0', '9')
#define ERRCODE_MS_TOO_LARGE MAKE_SQLSTATE('M', 'S', '4', '1', '3')
#define ERRCODE_MS_UNAVAILABLE MAKE_SQLSTATE('M', 'S', '5', '0', '3')

#endif /* MSGSTORE_H */
