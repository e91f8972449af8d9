/*
 * maintenance/maintenance.c: the worker's turn at the purge.
 *
 * Replay, retention, erasure and check are in sql/80_maintenance. C has only
 * this entry point of the worker and, in replay.c, the messages of a replay,
 * which are read by the code that the worker uses. Calls nothing above the
 * conversations.
 */
#include "postgres.h"

#include "maintenance/maintenance.h"
#include "server/settings.h"
#include "server/statement.h"

static Statement take_turn = {.sql = "SELECT msgstore._purge_turn()"};

long
maintenance_purge_turn(void)
{
	bool isnull;

	if (msgstore_purge_payloads_after == 0 &&
		msgstore_purge_events_after == 0 &&
		msgstore_purge_dead_letters_after == 0)
		return -1;
	statement_execute(&take_turn, NULL, NULL);
	return (long) DatumGetInt64(statement_value(0, 1, &isnull));
}
