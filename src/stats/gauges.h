/*
 * stats/gauges.h: numbers of queued events and dead letters, without counting
 * rows.
 */
#ifndef STATS_GAUGES_H
#define STATS_GAUGES_H

#include "utils/uuid.h"

#include "stats/shared.h"

typedef struct StatsGauges
{
	int64 values[STATS_GAUGES];
	bool has_oldest;
	pg_uuid_t oldest; /* queued event */
} StatsGauges;

/* Returns what this session would count in one snapshot. Connects to SPI. */
extern void stats_read_gauges(StatsGauges *gauges);

/*
 * The same for one gauge, and for each channel: stats_read_channels() returns
 * the number of channels of this database, and palloc'd arrays of them and
 * their values.
 */
extern int64 stats_read_gauge(StatsGauge gauge);
extern int stats_read_channels(StatsChannel ***channels,
							   int64 (**values)[STATS_GAUGES]);

/* Discards the bases, so that the next reading counts the rows. */
extern void stats_recount(void);

#endif /* STATS_GAUGES_H */
