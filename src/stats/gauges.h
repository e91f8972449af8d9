/*
 * stats/gauges.h: how much there is now, without counting it each time.
 */
#ifndef STATS_GAUGES_H
#define STATS_GAUGES_H

#include "utils/uuid.h"

#include "stats/shared.h"

typedef struct StatsGauges
{
	int64 values[STATS_GAUGES];
	bool has_oldest;
	pg_uuid_t oldest; /* event that is queued */
} StatsGauges;

/* What this session would count, looked at once. Connects to SPI. */
extern void stats_read_gauges(StatsGauges *gauges);

/*
 * The same of one gauge, and of each channel: values of the channels that
 * stats_own_channels() lists now, palloc'd. Returns how many.
 */
extern int64 stats_read_gauge(StatsGauge gauge);
extern int stats_read_channels(StatsChannel ***channels,
							   int64 (**values)[STATS_GAUGES]);

/* Forgets the bases: what there is is counted again when it is next asked. */
extern void stats_recount(void);

#endif /* STATS_GAUGES_H */
