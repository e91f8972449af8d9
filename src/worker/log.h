/*
 * worker/log.h: reads events of the log in the order of their ids.
 */
#ifndef WORKER_LOG_H
#define WORKER_LOG_H

#include "executor/tuptable.h"
#include "utils/relcache.h"

#include "conversations/message.h"

typedef struct LogReader
{
	Relation table;
	Relation index;
	struct IndexScanDescData *scan;
	TupleTableSlot *slot;
	const text *tenant_id; /* of the scan; NULL: it has not begun */
	bool more;			   /* the scan is at an entry */
	pg_uuid_t at;		   /* the id of this entry */
	bool sparse;		   /* many ids between those that are asked for */
} LogReader;

/*
 * Reads with the active snapshot. Returns false if a statement must read the
 * log: see tables_open_index().
 */
extern bool log_open(LogReader *log);
extern void log_close(LogReader *log);

/*
 * Reads the message of an event, as event_read_message(). The tenant's name
 * must last as long as the reader. Returns false if there is no such event.
 */
extern bool log_read(LogReader *log,
					 const text *tenant_id,
					 const pg_uuid_t *id,
					 ConversationMessage *message,
					 TimestampTz *accepted_at);

#endif /* WORKER_LOG_H */
