/*
 * msgstore.c: the door of the module: magic, settings, shared memory hooks.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/guc.h"

#include "msgstore.h"

PG_MODULE_MAGIC;

int msgstore_backoff_base;
int msgstore_backoff_max;
int msgstore_batch_size;
int msgstore_max_attachments;
int msgstore_max_payload_bytes;
int msgstore_max_retries;
char *msgstore_redact_keys;
int msgstore_snippet_length;
char *msgstore_tenant_id;
int msgstore_workers;

void _PG_init(void);

void
_PG_init(void)
{
	MarkGUCPrefixReserved("msgstore");
}
