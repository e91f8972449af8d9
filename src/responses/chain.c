/*
 * responses/chain.c: from a response back to the first of its chain.
 *
 * Each step is one lookup by ID. A deleted response is part of the chain, or a
 * conversation would lose its middle. A missing ancestor ends the chain and is
 * reported. An ancestor that is not visible to the session fails the call, as
 * an unknown response does. A cycle, which links can form by mistake, is an
 * error.
 */
#include "postgres.h"

#include <limits.h>

#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/pg_list.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/tuplestore.h"

#include "responses/audit.h"
#include "responses/compose.h"
#include "responses/document.h"
#include "responses/durable.h"
#include "responses/fields.h"
#include "responses/memory.h"
#include "responses/permission.h"
#include "responses/store.h"
#include "responses/use.h"
#include "server/errors.h"
#include "server/jsonb_state.h"
#include "server/settings.h"

/* As little as possible of a response, because a chain can be long. */
typedef struct Step
{
	char *id;
	bool missing; /* then the rest is unset */
	bool deleted;
	Jsonb *document; /* the whole response, */
	Jsonb *input;	 /* or only its items */
	Jsonb *output;
} Step;

/* Responses that were read ahead and not walked yet. */
typedef struct Ahead
{
	MemoryContext context;
	List *responses;
	int next;
	int size; /* number asked for */
} Ahead;

/* How much of a chain to read, and in what form. */
typedef struct Extent
{
	int max_depth; /* steps back from the response */
	int max_steps; /* responses */
	int max_items; /* of all inputs and outputs */
	int64 max_bytes;
	bool only_items; /* instead of whole documents */
} Extent;

static List *walk(const char *id, const Extent *extent);
static bool is_within(const Extent *extent, int steps, int64 items, Size bytes);
static void
report_cut(const Extent *extent, const List *steps, const char *id, Size bytes);
static Size step_bytes(const Step *step);
static Response *
find_step(Ahead *ahead, const char *tenant_id, const char *id, int max_steps);
static Step *make_step(const char *id,
					   const Response *response,
					   bool only_items,
					   MemoryContext context);
static void note_steps(const char *tenant_id, List *steps);
static int count_items(const Step *step);
static Jsonb *copy_jsonb(MemoryContext context, const Jsonb *jsonb);
static HTAB *make_set(void);
static void refuse_cycle(const char *id);
static int read_limit(FunctionCallInfo fcinfo, int argument, const char *name);
static void put_step(ReturnSetInfo *result, const Step *step, int depth);
static int push_items(JsonbInState *state, Jsonb *items, int skip);

PG_FUNCTION_INFO_V1(msgstore_response_chain);
PG_FUNCTION_INFO_V1(msgstore_chain_items);

/* Oldest first; the response itself has depth 0. */
Datum
msgstore_response_chain(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Extent extent = {.max_steps = read_limit(fcinfo, 1, "max_items"),
					 .max_depth = read_limit(fcinfo, 2, "max_depth"),
					 .max_items = INT_MAX,
					 .max_bytes = PG_INT64_MAX};
	List *steps;

	InitMaterializedSRF(fcinfo, 0);
	if (PG_NARGS() > 3)
		extent.max_bytes = PG_GETARG_INT64(3);
	if (PG_ARGISNULL(0) || extent.max_steps == 0)
		return (Datum) 0;
	steps = walk(text_to_cstring(PG_GETARG_TEXT_PP(0)), &extent);
	for (int depth = list_length(steps) - 1; depth >= 0; depth--)
		put_step(result, list_nth(steps, depth), depth);
	return (Datum) 0;
}

/* Oldest first; skips the oldest items if there are more than max_items. */
Datum
msgstore_chain_items(PG_FUNCTION_ARGS)
{
	Extent extent = {.max_items = read_limit(fcinfo, 1, "max_items"),
					 .max_depth = read_limit(fcinfo, 2, "max_depth"),
					 .max_steps = INT_MAX,
					 .max_bytes = PG_INT64_MAX,
					 .only_items = true};
	JsonbInState state = {0};
	List *steps;
	int skip = 0;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	steps = walk(text_to_cstring(PG_GETARG_TEXT_PP(0)), &extent);
	for (int i = 0; i < list_length(steps); i++)
	{
		Step *step = list_nth(steps, i);

		if (step->missing)
			ereport(NOTICE,
					(errmsg("response chain ends at missing response \"%s\"",
							step->id),
					 errdetail("It was purged or never saved. The result "
							   "begins with the response after it.")));
		else
			skip += JB_ROOT_COUNT(step->input) + JB_ROOT_COUNT(step->output);
	}
	skip = Max(skip - extent.max_items, 0);
	pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	for (int i = list_length(steps) - 1; i >= 0; i--)
	{
		Step *step = list_nth(steps, i);

		if (step->missing)
			continue;
		skip = push_items(&state, step->input, skip);
		skip = push_items(&state, step->output, skip);
	}
	pushJsonbValue(&state, WJB_END_ARRAY, NULL);
	PG_RETURN_JSONB_P(JsonbValueToJsonb(state.result));
}

/* The steps back, the response itself first. */
static List *
walk(const char *id, const Extent *extent)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext context = AllocSetContextCreate(caller,
												  "step of a response chain",
												  ALLOCSET_DEFAULT_SIZES);
	Ahead ahead = {.context = AllocSetContextCreate(caller,
													"response chain ahead",
													ALLOCSET_DEFAULT_SIZES)};
	const char *tenant_id = responses_find_tenant(id);
	HTAB *seen = make_set();
	List *steps = NIL;
	int64 items = 0;
	Size bytes = 0;

	while (id != NULL && is_within(extent, list_length(steps), items, bytes))
	{
		Response *response;
		Step *step;
		bool again;

		CHECK_FOR_INTERRUPTS();
		(void) hash_search(seen, id, HASH_ENTER, &again);
		if (again)
			refuse_cycle(id);
		response = tenant_id == NULL
					   ? NULL
					   : find_step(&ahead,
								   tenant_id,
								   id,
								   extent->max_steps - list_length(steps));
		if (response == NULL ? steps == NIL
							 : !audit_admit(response, false, "chain"))
			responses_refuse_unknown(id);
		MemoryContextSwitchTo(context);
		step = make_step(id, response, extent->only_items, caller);
		id = response != NULL && response->previous_response_id != NULL
				 ? MemoryContextStrdup(caller, response->previous_response_id)
				 : NULL;
		MemoryContextSwitchTo(caller);
		steps = lappend(steps, step);
		items += count_items(step);
		bytes += step_bytes(step);
		MemoryContextReset(context);
	}
	if (id != NULL)
		report_cut(extent, steps, id, bytes);
	if (!responses_are_in_memory())
		note_steps(tenant_id, steps);
	MemoryContextDelete(context);
	MemoryContextDelete(ahead.context);
	hash_destroy(seen);
	return steps;
}

/* The response itself is always within. */
static bool
is_within(const Extent *extent, int steps, int64 items, Size bytes)
{
	return steps == 0 ||
		   (steps < extent->max_steps && steps - 1 < extent->max_depth &&
			items < extent->max_items && bytes < (Size) extent->max_bytes);
}

/* Not if the caller got the number of responses or items it asked for. */
static void
report_cut(const Extent *extent, const List *steps, const char *id, Size bytes)
{
	if (list_length(steps) - 1 < extent->max_depth &&
		bytes < (Size) extent->max_bytes)
		return;
	ereport(NOTICE,
			(errmsg_plural("response chain was cut after %d response",
						   "response chain was cut after %d responses",
						   list_length(steps),
						   list_length(steps)),
			 errdetail("It goes on with response \"%s\".", id)));
}

/* Reads ahead from the table: 10 at first, then up to 250 at once. */
static Response *
find_step(Ahead *ahead, const char *tenant_id, const char *id, int max_steps)
{
	if (ahead->next == list_length(ahead->responses))
	{
		MemoryContext caller;

		MemoryContextReset(ahead->context);
		ahead->responses = NIL;
		ahead->next = 0;
		ahead->size = Min(Min(Max(ahead->size, 2) * 5, 250), max_steps);
		caller = MemoryContextSwitchTo(ahead->context);
		if (!responses_are_in_memory())
			ahead->responses =
				responses_durable_find_chain(tenant_id, id, ahead->size);
		else
		{
			Response *response = responses_memory_find(tenant_id, id, true);

			if (response != NULL)
				ahead->responses = list_make1(response);
		}
		MemoryContextSwitchTo(caller);
		if (ahead->responses == NIL)
			return NULL;
	}
	return list_nth(ahead->responses, ahead->next++);
}

/* Allocates the step in the given context, all else in the current one. */
static Step *
make_step(const char *id,
		  const Response *response,
		  bool only_items,
		  MemoryContext context)
{
	Step *step = MemoryContextAllocZero(context, sizeof(Step));

	step->id = MemoryContextStrdup(context, id);
	step->missing = response == NULL;
	if (response == NULL)
		return step;
	step->deleted = responses_are_deleted(response);
	if (only_items)
	{
		step->input = copy_jsonb(context, response->input);
		step->output = copy_jsonb(context, response->output);
	}
	else
		step->document = copy_jsonb(context, responses_make_document(response));
	return step;
}

static void
note_steps(const char *tenant_id, List *steps)
{
	List *ids = NIL;

	for (int i = 0; i < list_length(steps); i++)
	{
		Step *step = list_nth(steps, i);

		if (!step->missing)
			ids = lappend(ids, step->id);
	}
	use_note(tenant_id, ids);
}

static int
count_items(const Step *step)
{
	return step->input == NULL ? 0
							   : (int) (JB_ROOT_COUNT(step->input) +
										JB_ROOT_COUNT(step->output));
}

static Size
step_bytes(const Step *step)
{
	return step->document != NULL ? responses_measure(step->document) : 0;
}

static Jsonb *
copy_jsonb(MemoryContext context, const Jsonb *jsonb)
{
	Jsonb *copy = MemoryContextAlloc(context, VARSIZE(jsonb));

	memcpy(copy, jsonb, VARSIZE(jsonb));
	return copy;
}

static HTAB *
make_set(void)
{
	HASHCTL info = {.keysize = RESPONSES_MAX_ID_BYTES + 1,
					.entrysize = RESPONSES_MAX_ID_BYTES + 1,
					.hcxt = CurrentMemoryContext};

	return hash_create("responses of a chain",
					   64,
					   &info,
					   HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
}

static void
refuse_cycle(const char *id)
{
	ereport(
		ERROR,
		(errcode(ERRCODE_MS_BAD_REQUEST),
		 errmsg("cycle detected in response chain"),
		 errdetail("The ancestors of response \"%s\" lead back to it.", id)));
}

/* Null means no limit. */
static int
read_limit(FunctionCallInfo fcinfo, int argument, const char *name)
{
	int limit;

	if (PG_ARGISNULL(argument))
		return INT_MAX;
	limit = PG_GETARG_INT32(argument);
	if (limit < 0)
		responses_refuse_field(name,
							   "is negative",
							   "The value must be 0 or more, or null for no "
							   "limit.");
	return limit;
}

static void
put_step(ReturnSetInfo *result, const Step *step, int depth)
{
	Datum values[4];
	bool nulls[4] = {false};

	values[0] = Int32GetDatum(depth);
	values[1] = CStringGetTextDatum(step->id);
	nulls[2] = nulls[3] = step->missing;
	values[2] = BoolGetDatum(step->deleted);
	values[3] = JsonbPGetDatum(step->document);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/* Pushes all items but the first ones; returns how many are left to skip. */
static int
push_items(JsonbInState *state, Jsonb *items, int skip)
{
	JsonbIterator *it = JsonbIteratorInit(&items->root);
	JsonbValue item;

	if (skip >= (int) JB_ROOT_COUNT(items))
		return skip - (int) JB_ROOT_COUNT(items);
	(void) JsonbIteratorNext(&it, &item, true);
	while (JsonbIteratorNext(&it, &item, true) == WJB_ELEM)
	{
		if (skip > 0)
			skip--;
		else
			pushJsonbValue(state, WJB_ELEM, &item);
	}
	return 0;
}
