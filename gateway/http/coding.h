/*
 * coding.h: bodies that were compressed for transport.
 */
#ifndef CODING_H
#define CODING_H

#include <stdbool.h>
#include <stddef.h>

#include "exchange.h"

/* Answers with 415 and returns false if the body cannot be decoded. */
bool coding_check(Request *request);

/*
 * Replaces a compressed body by its content, of at most "limit" bytes; other
 * bodies stay as they are. Returns false after answering.
 */
bool coding_decode(Request *request, size_t limit);

#endif /* CODING_H */
