/*
 * responses/items.h: the items of a response's input.
 */
#ifndef RESPONSES_ITEMS_H
#define RESPONSES_ITEMS_H

#include "utils/jsonb.h"

/*
 * Raises MS400 unless all items are objects and their IDs can serve as cursors:
 * non-blank strings, each used once. An item without an ID (or with null) gets
 * one from its position when items are listed, which counts, too.
 */
extern void responses_check_items(const char *field, Jsonb *items);

/* The one message that an input stands for which is a string. */
extern Jsonb *responses_make_message(const JsonbValue *text);

#endif /* RESPONSES_ITEMS_H */
