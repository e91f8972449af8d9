/*
 * maintenance/readiness.c: what only the library itself knows of its state.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "stats/stats.h"
#include "wake/shared.h"

/*
 * Versions of the extension whose SQL functions this library implements. The
 * first one is that of the control file, given by the Makefile; append older
 * ones that it still serves until ALTER EXTENSION UPDATE.
 */
static const char *const versions[] = {MSGSTORE_VERSION};

PG_FUNCTION_INFO_V1(msgstore_library);

Datum
msgstore_library(PG_FUNCTION_ARGS)
{
	TimestampTz outside_at = stats_outside_at();
	Datum known[lengthof(versions)];
	bool nulls[3] = {false};
	Datum values[3];
	TupleDesc row;
	size_t i;

	if (get_call_result_type(fcinfo, NULL, &row) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	for (i = 0; i < lengthof(versions); i++)
		known[i] = CStringGetTextDatum(versions[i]);
	values[0] = PointerGetDatum(
		construct_array(known, lengthof(versions), TEXTOID, -1, false, 'i'));
	values[1] = BoolGetDatum(wake_shared != NULL);
	values[2] = TimestampTzGetDatum(outside_at);
	nulls[2] = outside_at == 0;
	row = BlessTupleDesc(row);
	return HeapTupleGetDatum(heap_form_tuple(row, values, nulls));
}
