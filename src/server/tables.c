/*
 * server/tables.c: opens the extension's tables.
 *
 * Citus leaves an empty table behind when it distributes one, with the same
 * relkind; only its catalog pg_dist_partition knows. Rows that were read or
 * written without a statement would be those of the empty table.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "catalog/index.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_namespace.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"

#include "server/errors.h"
#include "server/tables.h"

/* Tables that are asked about; only these few are opened without statements. */
#define KNOWN_TABLES 16

/*
 * What this backend knows of the tables, forgotten when the server invalidates
 * one: to rename, move or drop it does that.
 */
static struct
{
	NameData name;
	Oid table;
} found[KNOWN_TABLES];
static int nfound = 0;
static struct
{
	Oid table;
	bool distributed;
} known[KNOWN_TABLES];
static int nknown = 0;

static Oid find_table(const char *name);
static void listen_for_changes(void);
static bool is_distributed(Oid table);
static bool find_distributed(Oid table);
static void forget(Datum arg, Oid table);

Relation
tables_open(const char *name, LOCKMODE lock)
{
	return table_open(find_table(name), lock);
}

/* Two lookups in the catalogs cost as much as to open the table. */
static Oid
find_table(const char *name)
{
	Oid table;
	int i;

	for (i = 0; i < nfound; i++)
	{
		if (strcmp(NameStr(found[i].name), name) == 0)
			return found[i].table;
	}
	listen_for_changes();
	table = get_relname_relid(name, get_namespace_oid("msgstore", false));
	if (OidIsValid(table) && nfound < KNOWN_TABLES)
	{
		namestrcpy(&found[nfound].name, name);
		found[nfound++].table = table;
	}
	return table;
}

static void
listen_for_changes(void)
{
	static bool registered = false;

	if (!registered)
		CacheRegisterRelcacheCallback(forget, (Datum) 0);
	registered = true;
}

bool
tables_holds_rows(Relation table)
{
	return table->rd_rel->relkind == RELKIND_RELATION &&
		   !is_distributed(RelationGetRelid(table));
}

Relation
tables_open_rows(const char *name, LOCKMODE lock)
{
	Relation table = tables_open(name, lock);

	if (!tables_holds_rows(table))
		ereport(ERROR,
				(errcode(ERRCODE_MS_UNAVAILABLE),
				 errmsg("table \"msgstore.%s\" cannot be used", name),
				 errdetail("It is partitioned, foreign or distributed by "
						   "another extension."),
				 errhint("The table must be an ordinary table, as CREATE "
						 "EXTENSION created it.")));
	return table;
}

Relation
tables_open_index(Relation table, const char *name)
{
	Oid index = get_relname_relid(name, RelationGetNamespace(table));

	if (!tables_holds_rows(table) || !OidIsValid(index) ||
		IndexGetRelation(index, true) != RelationGetRelid(table))
		return NULL;
	return index_open(index, AccessShareLock);
}

static bool
is_distributed(Oid table)
{
	bool distributed;
	int i;

	for (i = 0; i < nknown; i++)
	{
		if (known[i].table == table)
			return known[i].distributed;
	}
	listen_for_changes();
	distributed = find_distributed(table);
	if (nknown < KNOWN_TABLES)
	{
		known[nknown].table = table;
		known[nknown++].distributed = distributed;
	}
	return distributed;
}

static bool
find_distributed(Oid table)
{
	Oid oid = get_relname_relid("pg_dist_partition", PG_CATALOG_NAMESPACE);
	AttrNumber column;
	Relation catalog;
	SysScanDesc scan;
	ScanKeyData key;
	bool found;

	column =
		OidIsValid(oid) ? get_attnum(oid, "logicalrelid") : InvalidAttrNumber;
	if (column == InvalidAttrNumber)
		return false;
	catalog = table_open(oid, AccessShareLock);
	ScanKeyInit(&key,
				column,
				BTEqualStrategyNumber,
				F_OIDEQ,
				ObjectIdGetDatum(table));
	scan = systable_beginscan(catalog, InvalidOid, false, NULL, 1, &key);
	found = HeapTupleIsValid(systable_getnext(scan));
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return found;
}

/* InvalidOid: any table. */
static void
forget(Datum arg, Oid table)
{
	int i;

	(void) arg;
	for (i = 0; i < nknown; i++)
	{
		if (!OidIsValid(table) || known[i].table == table)
			nknown = 0;
	}
	for (i = 0; i < nfound; i++)
	{
		if (!OidIsValid(table) || found[i].table == table)
			nfound = 0;
	}
}
