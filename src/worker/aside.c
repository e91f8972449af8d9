/*
 * worker/aside.c: makes workers step aside for commands that need their
 * database without connections.
 *
 * DROP DATABASE, ALTER DATABASE … RENAME, ALTER DATABASE … SET TABLESPACE and
 * CREATE DATABASE … TEMPLATE fail while anyone is connected to the database. So
 * a hook asks its workers to exit before such a command, and none is started
 * until the transaction has ended. Then the launcher checks the database again,
 * if it still exists.
 *
 * Hooks also handle ALTER EXTENSION … UPDATE, for which workers wait; COMMIT
 * PREPARED, which makes events and messages visible whose session may be gone;
 * and DROP EXTENSION, after which the workers exit.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_database.h"
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
#include "worker/recorder.h"

/* Workers finish their batch first. The command itself waits another 5 s. */
#define LONGEST_WAIT 5000 /* milliseconds */

static ProcessUtility_hook_type next_utility = NULL;
static object_access_hook_type next_object_access = NULL;

/* The elements of wake_shared->aside that this transaction has set. */
static bool noted[WORKER_MAX_ASIDE];

/* The database that this transaction has dropped. */
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

/* After DROP EXTENSION, wakes the workers; they find it gone and exit. */
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

/*
 * Returns the database that the command needs without connections; InvalidOid
 * if it needs none, or the database does not exist.
 */
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
 * Keeps workers away until the end of the transaction: only then do others see
 * the outcome of the command. If the list is full, the workers stay, and the
 * command fails.
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
 * ALTER EXTENSION … UPDATE locks tables one after the other. A worker in the
 * middle of a batch has locked some of them and is about to lock others, so the
 * two would deadlock. The lock on the extension lets the update run between two
 * batches; workers wait for it where they hold nothing: see hold_extension().
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
	/* Without the privilege, the command itself reports the error. */
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

/* A slot is freed after its process has ended and left the database. */
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

/* Also runs after an error: the elements must be cleared in any case. */
static void
come_back(XactEvent event, void *arg)
{
	int i;

	(void) arg;
	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT &&
		event != XACT_EVENT_PREPARE)
		return;
	if (OidIsValid(dropped) && event == XACT_EVENT_COMMIT)
	{
		stats_forget_database(dropped);
		recorder_forget(dropped);
	}
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
