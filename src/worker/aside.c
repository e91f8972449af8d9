/*
 * worker/aside.c: workers step aside for commands that need their database to
 * themselves.
 *
 * DROP DATABASE, ALTER DATABASE … RENAME and SET TABLESPACE, and CREATE
 * DATABASE … TEMPLATE refuse to run while anybody is connected. Before such a
 * command its workers are asked to end, and none is started there until its
 * transaction has ended; then the launcher looks at the database again, if it
 * is still there.
 *
 * Three more things that only a hook sees: an update of the extension, for
 * which workers wait, COMMIT PREPARED, which makes events and messages visible
 * whose session is long gone, and DROP EXTENSION, which leaves nothing to do.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_extension.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/lmgr.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/timestamp.h"

#include "stats/stats.h"
#include "wake/outbox.h"
#include "wake/shared.h"
#include "wake/wake.h"
#include "worker/aside.h"

/* A worker ends after the batch it is in; the command itself waits for 5 s. */
#define LONGEST_WAIT 5000 /* milliseconds */

static ProcessUtility_hook_type next_utility = NULL;
static object_access_hook_type next_object_access = NULL;

/* The places in wake_shared->aside that the open transaction has taken. */
static bool noted[WORKER_MAX_ASIDE];

/* The database that it has dropped. */
static Oid dropped = InvalidOid;

static void watch_utility(PlannedStmt *statement,
						  const char *query,
						  bool read_only,
						  ProcessUtilityContext context,
						  ParamListInfo parameters,
						  QueryEnvironment *environment,
						  DestReceiver *destination,
						  QueryCompletion *completion);
static void watch_drop(ObjectAccessType access,
					   Oid class,
					   Oid object,
					   int sub,
					   void *argument);
static Oid database_needed_alone(Node *statement);
static const char *template_of(CreatedbStmt *statement);
static bool sets_tablespace(AlterDatabaseStmt *statement);
static void step_aside(Oid database);
static void hold_back_workers(void);
static void ask_to_stop(Oid database);
static bool has_worker(Oid database);
static void come_back(XactEvent event, void *arg);

void
aside_init(void)
{
	next_utility = ProcessUtility_hook;
	ProcessUtility_hook = watch_utility;
	next_object_access = object_access_hook;
	object_access_hook = watch_drop;
	RegisterXactCallback(come_back, NULL);
}

static void
watch_utility(PlannedStmt *statement,
			  const char *query,
			  bool read_only,
			  ProcessUtilityContext context,
			  ParamListInfo parameters,
			  QueryEnvironment *environment,
			  DestReceiver *destination,
			  QueryCompletion *completion)
{
	Node *node = statement->utilityStmt;
	Oid database = InvalidOid;

	if (wake_shared != NULL)
		database = database_needed_alone(node);
	if (OidIsValid(database))
		step_aside(database);
	if (IsA(node, AlterExtensionStmt) &&
		strcmp(((AlterExtensionStmt *) node)->extname, "msgstore") == 0)
		hold_back_workers();
	if (IsA(node, TransactionStmt) &&
		(((TransactionStmt *) node)->kind == TRANS_STMT_COMMIT_PREPARED ||
		 ((TransactionStmt *) node)->kind == TRANS_STMT_ROLLBACK_PREPARED))
	{
		wake_at_commit();
		wake_outbox_at_commit();
		wake_watch_outbox_at_commit();
	}
	(next_utility ? next_utility : standard_ProcessUtility)(statement,
															query,
															read_only,
															context,
															parameters,
															environment,
															destination,
															completion);
	if (OidIsValid(database) && IsA(node, DropdbStmt))
		dropped = database;
}

/* A worker that is woken finds the extension gone, and ends. */
static void
watch_drop(ObjectAccessType access,
		   Oid class,
		   Oid object,
		   int sub,
		   void *argument)
{
	if (next_object_access)
		next_object_access(access, class, object, sub, argument);
	if (access == OAT_DROP && class == ExtensionRelationId &&
		object == get_extension_oid("msgstore", true))
		wake_at_commit();
}

/* InvalidOid: none, or one that is not there. */
static Oid
database_needed_alone(Node *statement)
{
	const char *name = NULL;

	if (IsA(statement, DropdbStmt))
		name = ((DropdbStmt *) statement)->dbname;
	else if (IsA(statement, RenameStmt) &&
			 ((RenameStmt *) statement)->renameType == OBJECT_DATABASE)
		name = ((RenameStmt *) statement)->subname;
	else if (IsA(statement, CreatedbStmt))
		name = template_of((CreatedbStmt *) statement);
	else if (IsA(statement, AlterDatabaseStmt) &&
			 sets_tablespace((AlterDatabaseStmt *) statement))
		name = ((AlterDatabaseStmt *) statement)->dbname;
	return name != NULL ? get_database_oid(name, true) : InvalidOid;
}

static const char *
template_of(CreatedbStmt *statement)
{
	ListCell *cell;

	foreach (cell, statement->options)
	{
		DefElem *option = lfirst_node(DefElem, cell);

		if (strcmp(option->defname, "template") == 0 && option->arg != NULL)
			return defGetString(option);
	}
	return NULL;
}

static bool
sets_tablespace(AlterDatabaseStmt *statement)
{
	ListCell *cell;

	foreach (cell, statement->options)
	{
		if (strcmp(lfirst_node(DefElem, cell)->defname, "tablespace") == 0)
			return true;
	}
	return false;
}

/*
 * Until the end of the transaction: only then others see what became of the
 * database. Without a place to note it the command must do without.
 */
static void
step_aside(Oid database)
{
	TimestampTz deadline =
		TimestampTzPlusMilliseconds(GetCurrentTimestamp(), LONGEST_WAIT);
	int i;

	LWLockAcquire(wake_shared->lock, LW_EXCLUSIVE);
	for (i = 0; i < WORKER_MAX_ASIDE; i++)
	{
		if (OidIsValid(wake_shared->aside[i]))
			continue;
		wake_shared->aside[i] = database;
		noted[i] = true;
		ask_to_stop(database);
		break;
	}
	LWLockRelease(wake_shared->lock);

	ConditionVariablePrepareToSleep(&wake_shared->ended);
	while (i < WORKER_MAX_ASIDE && has_worker(database))
	{
		long left =
			TimestampDifferenceMilliseconds(GetCurrentTimestamp(), deadline);

		if (left <= 0)
			break;
		(void) ConditionVariableTimedSleep(&wake_shared->ended,
										   left,
										   PG_WAIT_EXTENSION);
	}
	ConditionVariableCancelSleep();
}

/*
 * An update changes tables one after the other, each as soon as nobody uses it;
 * a worker in the middle of a batch has used some and is about to use others,
 * and the two would wait for each other. So it is let in between two batches,
 * and workers wait where they hold nothing, until it is done: see worker.c.
 */
static void
hold_back_workers(void)
{
	Oid extension = get_extension_oid("msgstore", true);
	bool allowed;

	if (!OidIsValid(extension))
		return;
#if PG_VERSION_NUM >= 160000
	allowed = object_ownercheck(ExtensionRelationId, extension, GetUserId());
#else
	allowed = pg_extension_ownercheck(extension, GetUserId());
#endif
	/* Who may not update is told so by the command itself. */
	if (allowed)
		LockDatabaseObject(ExtensionRelationId,
						   extension,
						   0,
						   AccessExclusiveLock);
}

static void
ask_to_stop(Oid database)
{
	int i;

	for (i = 0; i < wake_shared->nslots; i++)
	{
		WorkerSlot *slot = &wake_shared->slots[i];

		if (slot->database != database)
			continue;
		slot->stop = true;
		if (slot->latch != NULL)
			SetLatch(slot->latch);
	}
}

/* A process that is gone from its slot is gone from its database as well. */
static bool
has_worker(Oid database)
{
	bool found = false;
	int i;

	LWLockAcquire(wake_shared->lock, LW_SHARED);
	for (i = 0; i < wake_shared->nslots; i++)
		found |= wake_shared->slots[i].database == database;
	LWLockRelease(wake_shared->lock);
	return found;
}

/* Also after an error: the places are this session's, whatever happened. */
static void
come_back(XactEvent event, void *arg)
{
	int i;

	(void) arg;
	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT &&
		event != XACT_EVENT_PREPARE)
		return;
	if (OidIsValid(dropped) && event == XACT_EVENT_COMMIT)
		stats_forget_database(dropped);
	dropped = InvalidOid;
	for (i = 0; i < WORKER_MAX_ASIDE; i++)
	{
		if (!noted[i])
			continue;
		noted[i] = false;
		LWLockAcquire(wake_shared->lock, LW_EXCLUSIVE);
		wake_request_worker(wake_shared->aside[i]);
		wake_shared->aside[i] = InvalidOid;
		LWLockRelease(wake_shared->lock);
	}
}
