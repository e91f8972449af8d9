/*
 * server/triggers.c: what users' triggers and rules do to the extension's rows.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_rewrite.h"
#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "rewrite/prs2lock.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"

#include "server/errors.h"
#include "server/tables.h"
#include "server/triggers.h"

static bool may_alter(const Trigger *trigger, int operations);
static char *list_suspects(Relation table, int operations);
static int operation_of(CmdType command);
static void add_suspect(StringInfo list, const char *kind, const char *name);
static char *rule_name(Oid rule);

PG_FUNCTION_INFO_V1(msgstore_report_trigger);

/* _report_trigger(table, operations): INSERT, UPDATE, DELETE, or several */
Datum
msgstore_report_trigger(PG_FUNCTION_ARGS)
{
	char *table = text_to_cstring(PG_GETARG_TEXT_PP(0));
	char *given = text_to_cstring(PG_GETARG_TEXT_PP(1));
	int operations = 0;

	if (strstr(given, "INSERT") != NULL)
		operations |= TRIGGER_TYPE_INSERT;
	if (strstr(given, "UPDATE") != NULL)
		operations |= TRIGGER_TYPE_UPDATE;
	if (strstr(given, "DELETE") != NULL)
		operations |= TRIGGER_TYPE_DELETE;
	triggers_report(table, operations);
	PG_RETURN_VOID();
}

bool
triggers_may_alter(const char *name, int operations)
{
	Relation table = tables_open(name, AccessShareLock);
	const TriggerDesc *triggers = table->trigdesc;
	bool any = table->rd_rules != NULL;

	if (triggers != NULL)
		any |= triggers->trig_insert_before_row ||
			   triggers->trig_update_before_row ||
			   triggers->trig_delete_before_row;
	any = any && list_suspects(table, operations) != NULL;
	table_close(table, NoLock);
	return any;
}

void
triggers_report(const char *name, int operations)
{
	Relation table = tables_open(name, AccessShareLock);
	char *suspects = list_suspects(table, operations);

	table_close(table, NoLock);
	if (suspects == NULL)
		elog(ERROR, "a row of table \"msgstore.%s\" was not written", name);
	ereport(ERROR,
			(errcode(ERRCODE_MS_UNAVAILABLE),
			 errmsg("%s suppressed or changed a row of table \"msgstore.%s\"",
					suspects,
					name),
			 errdetail("The columns of the extension must be written as the "
					   "extension sets them."),
			 errhint("Drop the trigger or rule, let it raise an error instead, "
					 "or use an AFTER trigger.")));
}

/* Returns NULL if there are none. */
static char *
list_suspects(Relation table, int operations)
{
	StringInfoData list;
	int i;

	initStringInfo(&list);
	for (i = 0; table->trigdesc != NULL && i < table->trigdesc->numtriggers;
		 i++)
	{
		const Trigger *trigger = &table->trigdesc->triggers[i];

		if (may_alter(trigger, operations))
			add_suspect(&list, "trigger", trigger->tgname);
	}
	for (i = 0; table->rd_rules != NULL && i < table->rd_rules->numLocks; i++)
	{
		const RewriteRule *rule = table->rd_rules->rules[i];

		if (rule->isInstead && (operation_of(rule->event) & operations) != 0)
			add_suspect(&list, "rule", rule_name(rule->ruleId));
	}
	return list.len > 0 ? list.data : NULL;
}

static bool
may_alter(const Trigger *trigger, int operations)
{
	int16 type = trigger->tgtype;

	return TRIGGER_FOR_ROW(type) && TRIGGER_FOR_BEFORE(type) &&
		   (type & operations) != 0 && trigger->tgenabled != TRIGGER_DISABLED;
}

static int
operation_of(CmdType command)
{
	switch (command)
	{
		case CMD_INSERT:
			return TRIGGER_TYPE_INSERT;
		case CMD_UPDATE:
			return TRIGGER_TYPE_UPDATE;
		case CMD_DELETE:
			return TRIGGER_TYPE_DELETE;
		default:
			return 0;
	}
}

static void
add_suspect(StringInfo list, const char *kind, const char *name)
{
	appendStringInfo(list,
					 "%s%s \"%s\"",
					 list->len > 0 ? " or " : "",
					 kind,
					 name);
}

static char *
rule_name(Oid rule)
{
	Relation rules = table_open(RewriteRelationId, AccessShareLock);
	char *name = "";
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple found;

	ScanKeyInit(&key,
				Anum_pg_rewrite_oid,
				BTEqualStrategyNumber,
				F_OIDEQ,
				ObjectIdGetDatum(rule));
	scan = systable_beginscan(rules, RewriteOidIndexId, true, NULL, 1, &key);
	found = systable_getnext(scan);
	if (HeapTupleIsValid(found))
		name = pstrdup(NameStr(((Form_pg_rewrite) GETSTRUCT(found))->rulename));
	systable_endscan(scan);
	table_close(rules, AccessShareLock);
	return name;
}
