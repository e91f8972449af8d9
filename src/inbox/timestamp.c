/*
 * inbox/timestamp.c: read the instants that webhooks send.
 *
 * The format is RFC 3339 (a profile of ISO 8601), slightly extended: seconds
 * are optional, and the zone may be written +01 or +0100. The server's own
 * input function accepts far more ("yesterday", and times without a zone, which
 * mean a different instant in each session) and cannot refuse without an error.
 */
#include "postgres.h"

#include "datatype/timestamp.h"
#include "pgtime.h"
#include "utils/datetime.h"
#include "utils/timestamp.h"

#include "inbox/timestamp.h"

/*
 * The years 0001 to 9999 UTC, as days from 2000-01-01. Other instants would be
 * listed with five digits or "BC", which few clients can read.
 */
#define FIRST_INSTANT (INT64CONST(-730119) * USECS_PER_DAY)
#define END_OF_INSTANTS (INT64CONST(2921940) * USECS_PER_DAY)

typedef struct Scan
{
	const char *at;
	const char *end;
} Scan;

static bool take_number(Scan *scan, int digits, int *value);
static bool take_one_of(Scan *scan, const char *set);
static bool take_time(Scan *scan, struct pg_tm *tm, fsec_t *fraction);
static bool take_zone(Scan *scan, int *zone);

bool
inbox_parse_timestamp(const char *s, int len, TimestampTz *instant)
{
	Scan scan = {s, s + len};
	struct pg_tm tm = {0};
	fsec_t fraction = 0;
	int zone;

	if (!take_number(&scan, 4, &tm.tm_year) || !take_one_of(&scan, "-") ||
		!take_number(&scan, 2, &tm.tm_mon) || !take_one_of(&scan, "-") ||
		!take_number(&scan, 2, &tm.tm_mday) || !take_one_of(&scan, "Tt ") ||
		!take_time(&scan, &tm, &fraction) || !take_zone(&scan, &zone) ||
		scan.at != scan.end)
		return false;
	if (tm.tm_year < 1 || tm.tm_mon < 1 || tm.tm_mon > MONTHS_PER_YEAR ||
		tm.tm_mday < 1 ||
		tm.tm_mday > day_tab[isleap(tm.tm_year)][tm.tm_mon - 1])
		return false;
	return tm2timestamp(&tm, fraction, &zone, instant) == 0 &&
		   *instant >= FIRST_INSTANT && *instant < END_OF_INSTANTS;
}

static bool
take_number(Scan *scan, int digits, int *value)
{
	*value = 0;
	for (; digits > 0; digits--, scan->at++)
	{
		if (scan->at == scan->end || *scan->at < '0' || *scan->at > '9')
			return false;
		*value = *value * 10 + (*scan->at - '0');
	}
	return true;
}

static bool
take_one_of(Scan *scan, const char *set)
{
	if (scan->at == scan->end || *scan->at == '\0' ||
		strchr(set, *scan->at) == NULL)
		return false;
	scan->at++;
	return true;
}

/* Fractions beyond microseconds are cut; second 60 is a leap second. */
static bool
take_time(Scan *scan, struct pg_tm *tm, fsec_t *fraction)
{
	int unit = USECS_PER_SEC / 10;

	if (!take_number(scan, 2, &tm->tm_hour) || !take_one_of(scan, ":") ||
		!take_number(scan, 2, &tm->tm_min))
		return false;
	if (take_one_of(scan, ":"))
	{
		if (!take_number(scan, 2, &tm->tm_sec))
			return false;
		if (take_one_of(scan, ".,"))
		{
			int digit;

			if (!take_number(scan, 1, &digit))
				return false;
			do
			{
				*fraction += digit * unit;
				unit /= 10;
			} while (take_number(scan, 1, &digit));
		}
	}
	return tm->tm_hour <= 23 && tm->tm_min <= 59 && tm->tm_sec <= 60;
}

/* The server counts zones westward: +01:00 is -3600. */
static bool
take_zone(Scan *scan, int *zone)
{
	bool east;
	int hours;
	int minutes = 0;

	*zone = 0;
	if (take_one_of(scan, "Zz"))
		return true;
	east = scan->at < scan->end && *scan->at == '+';
	if (!take_one_of(scan, "+-") || !take_number(scan, 2, &hours))
		return false;
	if (take_one_of(scan, ":") || scan->at < scan->end)
	{
		if (!take_number(scan, 2, &minutes))
			return false;
	}
	if (hours > MAX_TZDISP_HOUR || minutes > 59)
		return false;
	*zone = (hours * MINS_PER_HOUR + minutes) * SECS_PER_MINUTE;
	if (east)
		*zone = -*zone;
	return true;
}
