/*
 * server/times.c: times given as text, for which the caller has its own error.
 */
#include "postgres.h"

#include "utils/datetime.h"
#include "utils/timestamp.h"

#include "server/times.h"

bool
times_parse(char *value, TimestampTz *result)
{
	char work[MAXDATELEN + MAXDATEFIELDS];
	char *fields[MAXDATEFIELDS];
	int types[MAXDATEFIELDS];
	struct pg_tm tm;
	fsec_t fraction;
	int nfields;
	int kind;
	int zone;
	int error;
#if PG_VERSION_NUM >= 160000
	DateTimeErrorExtra extra;
#endif

	error = ParseDateTime(value,
						  work,
						  sizeof(work),
						  fields,
						  types,
						  MAXDATEFIELDS,
						  &nfields);
	if (error == 0)
		error = DecodeDateTime(fields,
							   types,
							   nfields,
							   &kind,
							   &tm,
							   &fraction,
							   &zone
#if PG_VERSION_NUM >= 160000
							   ,
							   &extra
#endif
		);
	if (error != 0)
		return false;
	if (kind == DTK_DATE)
		return tm2timestamp(&tm, fraction, &zone, result) == 0;
	if (kind == DTK_EPOCH)
		*result = SetEpochTimestamp();
	else if (kind == DTK_LATE)
		*result = DT_NOEND;
	else if (kind == DTK_EARLY)
		*result = DT_NOBEGIN;
	else
		return false;
	return true;
}
