/*
 * worker/handler_name.c: the names under which handlers are stored.
 *
 * A name has its schema and argument types, and quotes only where they are
 * needed, whatever the session's search_path and quote_all_identifiers are.
 * Names that a caller gives are read here and not by the server's
 * to_regprocedure(), which for invalid ones raises other errors in some
 * versions, and none in others.
 */
#include "postgres.h"

#include <ctype.h>

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "nodes/makefuncs.h"
#include "nodes/value.h"
#include "parser/parse_func.h"
#include "parser/parse_type.h"
#include "parser/scansup.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/regproc.h"
#include "utils/varlena.h"

#include "server/errors.h"
#include "server/statement.h"
#include "worker/handler_name.h"

static Oid find_function(const char *name, bool *has_arguments);
static List *read_name(const char **string);
static const char *skip_identifier(const char *s);
static Oid find_only_function(const char *name);

/* As handlers are stored: quoted only where needed, whatever the session does.
 */
char *
handler_name(Oid function)
{
	int nest_level = NewGUCNestLevel();
	char *name;

	(void) set_config_option("quote_all_identifiers",
							 "off",
							 PGC_USERSET,
							 PGC_S_SESSION,
							 GUC_ACTION_SAVE,
							 true,
							 0,
							 false);
	name = format_procedure_qualified(function);
	AtEOXact_GUC(true, nest_level);
	return name;
}

Datum
handler_names(text *given)
{
	const char *name = text_to_cstring(given);
	bool has_arguments;
	Oid function = find_function(name, &has_arguments);
	Datum names[2];
	int n = 0;

	if (OidIsValid(function))
		names[n++] = CStringGetTextDatum(handler_name(function));
	else if (has_arguments)
		names[n++] = CStringGetTextDatum(name);
	else
	{
		names[n++] =
			CStringGetTextDatum(psprintf("%s(msgstore.messages)", name));
		names[n++] = CStringGetTextDatum(
			psprintf("%s(msgstore.messages,pg_catalog.jsonb)", name));
	}
	return statement_array(TEXTOID, names, NULL, n);
}

/*
 * Returns InvalidOid if there is no such function, or several. Raises MS400 for
 * what is not the name of a function with or without types of arguments.
 */
static Oid
find_function(const char *name, bool *has_arguments)
{
	const char *rest = name;
	List *function = read_name(&rest);
	Oid types[FUNC_MAX_ARGS];
	bool valid = function != NIL;
	bool known = true;
	int n = 0;

	*has_arguments = *rest == '(';
	while (valid && (n == 0 ? *rest == '(' : *rest == ','))
	{
		List *type;

		rest++;
		type = read_name(&rest);
		valid = type != NIL && n < FUNC_MAX_ARGS;
		if (!valid)
			break;
		types[n] =
			LookupTypeNameOid(NULL, makeTypeNameFromNameList(type), true);
		known = known && OidIsValid(types[n++]);
	}
	if (valid && *has_arguments)
	{
		valid = *rest++ == ')';
		while (valid && scanner_isspace(*rest))
			rest++;
	}
	if (!valid || *rest != '\0')
		ereport(
			ERROR,
			(errcode(ERRCODE_MS_BAD_REQUEST),
			 errmsg("invalid handler name \"%s\"", name),
			 errdetail(
				 "The name must be that of a function, optionally with its schema and argument types.")));
	if (!*has_arguments)
		return find_only_function(name);
	return known ? LookupFuncName(function, n, types, true) : InvalidOid;
}

/*
 * Reads a name with or without a schema and returns its parts, or NIL. Leaves
 * the string after it and the white space that follows.
 */
static List *
read_name(const char **string)
{
	const char *start = *string;
	const char *end = skip_identifier(start);
	List *parts = NIL;
	List *names = NIL;
	ListCell *cell;

	if (end != NULL && *end == '.')
		end = skip_identifier(end + 1);
	if (end == NULL ||
		!SplitIdentifierString(pnstrdup(start, end - start), '.', &parts))
		return NIL;
	foreach (cell, parts)
		names = lappend(names, makeString(lfirst(cell)));
	*string = end;
	return names;
}

/* Returns what follows an identifier and white space around it, or NULL. */
static const char *
skip_identifier(const char *s)
{
	const char *start;

	while (scanner_isspace(*s))
		s++;
	start = s;
	if (*s == '"')
	{
		/* Two quotation marks stand for one. */
		do
			s = strchr(s + 1, '"');
		while (s != NULL && *++s == '"');
		if (s == NULL || s == start + 2)
			return NULL;
	}
	else
	{
		while (isalnum((unsigned char) *s) || *s == '_' || *s == '$' ||
			   IS_HIGHBIT_SET(*s))
			s++;
		if (s == start || isdigit((unsigned char) *start) || *start == '$')
			return NULL;
	}
	while (scanner_isspace(*s))
		s++;
	return s;
}

/* Returns InvalidOid if there are several. */
static Oid
find_only_function(const char *name)
{
	LOCAL_FCINFO(fcinfo, 1);
	Datum function;

	InitFunctionCallInfoData(*fcinfo, NULL, 1, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = CStringGetTextDatum(name);
	fcinfo->args[0].isnull = false;
	function = to_regproc(fcinfo);
	return fcinfo->isnull ? InvalidOid : DatumGetObjectId(function);
}
