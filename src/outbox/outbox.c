/*
 * outbox/outbox.c: C functions of the outbox, which is otherwise written in
 * SQL.
 *
 * The outbox owns outbox, deliveries and delivery_statuses. Its retries and
 * dead letters are those of sql/25_failures.sql; wake notifies the senders.
 */
#include "postgres.h"

#include "fmgr.h"

#include "inbox/payload.h"
#include "server/errors.h"
#include "server/settings.h"
#include "wake/outbox.h"
#include "wake/wake.h"

PG_FUNCTION_INFO_V1(msgstore_wake_senders);
PG_FUNCTION_INFO_V1(msgstore_watch_outbox);
PG_FUNCTION_INFO_V1(msgstore_clean_detail);

Datum
msgstore_wake_senders(PG_FUNCTION_ARGS)
{
	(void) fcinfo;
	wake_outbox_at_commit();
	PG_RETURN_VOID();
}

Datum
msgstore_watch_outbox(PG_FUNCTION_ARGS)
{
	(void) fcinfo;
	wake_watch_outbox_at_commit();
	PG_RETURN_VOID();
}

Datum
msgstore_clean_detail(PG_FUNCTION_ARGS)
{
	Jsonb *detail = PG_GETARG_JSONB_P(0);
	bool has_secret;
	Size bytes = inbox_measure_payload(detail, &has_secret);

	if (bytes > (Size) msgstore_max_payload_bytes)
		ereport(
			ERROR,
			(errcode(ERRCODE_MS_TOO_LARGE),
			 errmsg("detail of %zu bytes exceeds the limit of %d bytes",
					bytes,
					msgstore_max_payload_bytes),
			 errhint(
				 "Send a smaller detail or raise \"msgstore.max_payload_bytes\".")));
	PG_RETURN_JSONB_P(has_secret ? inbox_redact_payload(detail) : detail);
}
