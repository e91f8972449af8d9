/*
 * inbox/inbox.h: what functions that store one item have in common.
 */
#ifndef INBOX_H
#define INBOX_H

#include "access/tupdesc.h"
#include "fmgr.h"

#include "inbox/item.h"

/*
 * Makes an item of a function's first four arguments: channel, payload,
 * idempotency key and correlation id.
 */
extern void inbox_take_arguments(FunctionCallInfo fcinfo, InboxItem *item);

/*
 * Returns the row (id, duplicate) of the item, or raises its refusal. row is
 * the type of the function's result, NULL in the first call; it is kept for the
 * next ones.
 */
extern Datum inbox_return_outcome(FunctionCallInfo fcinfo,
								  const InboxItem *item,
								  TupleDesc *row);

#endif /* INBOX_H */
