/*
 * streams/filter.h: reads of events of some types or with some metadata.
 */
#ifndef STREAMS_FILTER_H
#define STREAMS_FILTER_H

#include "utils/array.h"
#include "utils/jsonb.h"

#include "server/statement.h"

/*
 * Executes a statement that reads events, for those that have one of the types
 * and metadata that contains the given one; NULL: any. The result is in
 * SPI_tuptable and SPI_processed.
 */
extern void filter_execute(const Statement *statement,
						   const Datum *values,
						   ArrayType *types,
						   Jsonb *metadata);

#endif /* STREAMS_FILTER_H */
