/*
 * server/triggers.h: what users' triggers and rules do to the extension's rows.
 *
 * A BEFORE trigger for each row may suppress or change it, and the server says
 * nothing about that. Whoever writes rows therefore compares what was written
 * with what was to be written, and reports a difference here.
 */
#ifndef SERVER_TRIGGERS_H
#define SERVER_TRIGGERS_H

#include "catalog/pg_trigger.h"

#include "server/versions.h"

/*
 * Whether the table of the schema msgstore has triggers that may suppress or
 * change rows. Operations are one or more of TRIGGER_TYPE_INSERT,
 * TRIGGER_TYPE_UPDATE and TRIGGER_TYPE_DELETE. Cheap if there are none.
 */
extern bool triggers_may_alter(const char *table, int operations);

/*
 * Raises MS503 for a row that was suppressed or changed, naming the triggers
 * and rules of the table that may have done it.
 */
pg_noreturn extern void triggers_report(const char *table, int operations);

#endif /* SERVER_TRIGGERS_H */
