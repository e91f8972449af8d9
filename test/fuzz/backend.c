/*
 * backend.c: libFuzzer inside a real server process.
 *
 * What reads payloads calls the server everywhere: its memory contexts, its
 * errors, its jsonb. None of that can be linked into a program, and a copy of
 * it would be fuzzed in the place of the real one. So the sources of the
 * extension that are to be tried are built once more, unchanged but with the
 * sanitizers and libFuzzer's coverage, into a module together with libFuzzer
 * itself, and "postgres --single" loads the module. The server is not
 * instrumented; AddressSanitizer's runtime is preloaded into it. Memory in
 * contexts is not watched byte by byte, therefore what is read from is given
 * to the targets in pieces of malloc.
 *
 * Left out are the files that need the extension's tables: the channels are
 * the constants below, and the settings are variables.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"

#include "backend.h"
#include "channels/channels.h"
#include "server/errors.h"
#include "server/settings.h"

PG_MODULE_MAGIC;

extern int LLVMFuzzerRunDriver(int *argc,
							   char ***argv,
							   int (*run)(const uint8_t *data, size_t size));

static int run_input(const uint8_t *data, size_t size);
static bool is_data_error(int sqlstate);

static const struct
{
	const char *name;
	BackendTarget target;
} targets[] = {
	{"form", backend_form},
	{"json", backend_json},
	{"payload", backend_payload},
	{"redaction", backend_redaction},
	{"timestamp", backend_timestamp},
};

static char *phone_types[] = {"sms", "mms"};

static const Channel channels[] = {
	{.name = "sms",
	 .address_kind = ADDRESS_PHONE,
	 .thread = "sms",
	 .provider_id_field = "messaging_provider_id",
	 .types = phone_types,
	 .ntypes = 2,
	 .body_required = true,
	 .attachments = ATTACHMENTS_NONE},
	{.name = "mms",
	 .address_kind = ADDRESS_PHONE,
	 .thread = "mms",
	 .provider_id_field = "messaging_provider_id",
	 .types = &phone_types[1],
	 .ntypes = 1,
	 .attachments = ATTACHMENTS_REQUIRED},
	{.name = "email",
	 .address_kind = ADDRESS_EMAIL,
	 .thread = "email",
	 .provider_id_field = "xillio_id",
	 .body_required = true,
	 .attachments = ATTACHMENTS_OPTIONAL},
	{.name = "chat",
	 .address_kind = ADDRESS_OPAQUE,
	 .thread = "chat",
	 .provider_id_field = "id",
	 .attachments = ATTACHMENTS_OPTIONAL},
};

int msgstore_max_attachments = 8;
int msgstore_max_payload_bytes = 262144;
char *msgstore_redact_keys =
	"authorization,x-api-key,cookie,password,token,secret,api_key";

static BackendTarget target;
static MemoryContext input_context;

PG_FUNCTION_INFO_V1(fuzz_run);

/*
 * fuzz_run(target text, arguments text[]): runs libFuzzer with the arguments,
 * which ends the process with its own exit code.
 */
Datum
fuzz_run(PG_FUNCTION_ARGS)
{
	char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Datum *words;
	int nwords;
	char **argv;
	int argc = 0;

	for (int i = 0; i < (int) lengthof(targets); i++)
		if (strcmp(targets[i].name, name) == 0)
			target = targets[i].target;
	if (target == NULL)
		elog(ERROR, "there is no target \"%s\"", name);
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(1),
					  TEXTOID,
					  -1,
					  false,
					  TYPALIGN_INT,
					  &words,
					  NULL,
					  &nwords);
	argv = palloc0(sizeof(char *) * (nwords + 2));
	argv[argc++] = name;
	for (int i = 0; i < nwords; i++)
		argv[argc++] = TextDatumGetCString(words[i]);
	input_context =
		AllocSetContextCreate(TopMemoryContext, "input", ALLOCSET_SMALL_SIZES);
	PG_RETURN_INT32(LLVMFuzzerRunDriver(&argc, &argv, run_input));
}

const Channel *
channels_find(const char *name, int len)
{
	for (int i = 0; i < (int) lengthof(channels); i++)
		if ((int) strlen(channels[i].name) == len &&
			memcmp(channels[i].name, name, len) == 0)
			return &channels[i];
	return NULL;
}

char *
channels_list(void)
{
	return pstrdup("");
}

const Channel *
channels_get(const char *name, int len)
{
	const Channel *channel = channels_find(name, len);

	PROMISE(channel != NULL);
	return channel;
}

Jsonb *
backend_parse_json(const char *text, size_t size)
{
	MemoryContext caller = CurrentMemoryContext;
	char *string = backend_take_text(text, size);
	Jsonb *volatile result = NULL;

	if (string == NULL)
		return NULL;
	PG_TRY();
	{
		Datum parsed = DirectFunctionCall1(jsonb_in, CStringGetDatum(string));

		result = malloc(VARSIZE(DatumGetPointer(parsed)));
		memcpy(result,
			   DatumGetPointer(parsed),
			   VARSIZE(DatumGetPointer(parsed)));
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(caller);
		if (!is_data_error(geterrcode()))
			PG_RE_THROW();
		FlushErrorState();
	}
	PG_END_TRY();
	return result;
}

char *
backend_take_text(const char *data, size_t size)
{
	if (memchr(data, '\0', size) != NULL ||
		!pg_verify_mbstr(PG_UTF8, data, (int) size, true))
		return NULL;
	return pnstrdup(data, size);
}

char *
backend_take_line(const char **data, size_t *size)
{
	const char *end = memchr(*data, '\n', *size);
	size_t length = end != NULL ? (size_t) (end - *data) : *size;
	char *line = backend_take_text(*data, length);

	length += end != NULL;
	*data += length;
	*size -= length;
	return line != NULL ? line : pstrdup("");
}

/* libFuzzer calls this for every input. */
static int
run_input(const uint8_t *data, size_t size)
{
	MemoryContext caller = MemoryContextSwitchTo(input_context);

	PG_TRY();
	{
		target((const char *) data, size);
	}
	PG_CATCH();
	{
		EmitErrorReport();
		fprintf(stderr, "an error got out\n");
		abort();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	MemoryContextReset(input_context);
	return 0;
}

/* Data exceptions and exceeded limits; what else is wrong is our fault. */
static bool
is_data_error(int sqlstate)
{
	int category = ERRCODE_TO_CATEGORY(sqlstate);

	return category == ERRCODE_DATA_EXCEPTION ||
		   category == ERRCODE_PROGRAM_LIMIT_EXCEEDED;
}
