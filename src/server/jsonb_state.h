/*
 * server/jsonb_state.h: building jsonb, in the form of PostgreSQL 19 for older
 * versions: the state of the caller holds the result.
 */
#ifndef SERVER_JSONB_STATE_H
#define SERVER_JSONB_STATE_H

#include "utils/jsonb.h"

#if PG_VERSION_NUM < 190000
typedef struct JsonbInState
{
	JsonbValue *result;
	JsonbParseState *parseState;
} JsonbInState;

static inline void
push_jsonb_value(JsonbInState *state,
				 JsonbIteratorToken token,
				 JsonbValue *value)
{
	state->result = pushJsonbValue(&state->parseState, token, value);
}
#define pushJsonbValue push_jsonb_value
#endif

#endif /* SERVER_JSONB_STATE_H */
