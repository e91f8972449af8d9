/*
 * responses/use.c: notes that responses of the durable store were read.
 *
 * Only if the setting says that unused responses leave: writing at each read
 * would make reads as expensive as writes. A response is noted again only after
 * a part of that time, and not if another session has locked it, so that a read
 * waits for nothing.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "responses/use.h"
#include "server/settings.h"
#include "server/statement.h"
#include "tenancy/placement.h"

/* A note may be late by this part of the time. */
#define LATENESS 8

static Statement note_use = {
	.sql = "UPDATE msgstore.responses r SET last_used_at = clock_timestamp()"
		   " FROM (SELECT o.tenant_id, o.id FROM msgstore.responses o"
		   " WHERE o.tenant_id = $1 AND o.id = ANY ($2)"
		   " AND coalesce(o.last_used_at, o.ended_at) < clock_timestamp()"
		   " - make_interval(secs => $3)"
		   " ORDER BY o.id FOR NO KEY UPDATE SKIP LOCKED) u"
		   " WHERE r.tenant_id = u.tenant_id AND r.id = u.id",
	.nargs = 3,
	.argtypes = {TEXTOID, TEXTARRAYOID, INT4OID},
	.table = "responses"};

void
use_note(const char *tenant_id, List *ids)
{
	Datum *elements;
	Datum values[3];
	int n = list_length(ids);

	/* A transaction-wide snapshot could fail where a read must not. */
	if (msgstore_response_max_idle == 0 || n == 0 || XactReadOnly ||
		IsolationUsesXactSnapshot() || placement_is_elsewhere(tenant_id))
		return;
	elements = palloc(sizeof(Datum) * n);
	for (int i = 0; i < n; i++)
		elements[i] = CStringGetTextDatum(list_nth(ids, i));
	SPI_connect();
	values[0] = CStringGetTextDatum(tenant_id);
	values[1] = statement_array(TEXTOID, elements, NULL, n);
	values[2] = Int32GetDatum(msgstore_response_max_idle / LATENESS);
	statement_execute(&note_use, values, NULL);
	SPI_finish();
}
