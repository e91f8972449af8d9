/*
 * conversations/consent.c: who has opted out of whose messages.
 *
 * A keyword is a message of its own. So of most messages only the length is
 * looked at, and SQL runs only for those that are a keyword of their channel,
 * or for which the provider has said so.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/uuid.h"
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

#include "conversations/consent.h"
#include "inbox/payload.h"
#include "server/statement.h"

/* A longer message is no keyword. */
#define KEYWORD_BYTES_MAX 40

static Statement read_consent = {
	.sql = "SELECT msgstore._read_consent($1, $2, $3, $4, $5, $6, $7)",
	.nargs = 7,
	.argtypes =
		{TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, UUIDOID}};

static Statement find_opt_out = {
	.sql = "SELECT msgstore._refuse_opted_out($1, $2, $3, $4)"
		   " FROM msgstore.opt_outs o"
		   " WHERE o.tenant_id = $1"
		   "  AND o.channel = msgstore._consent_channel($2)"
		   "  AND o.recipient = $3 AND o.sender IN ($4, '') LIMIT 1",
	.nargs = 4,
	.argtypes = {TEXTOID, TEXTOID, TEXTOID, TEXTOID}};

static bool is_keyword(const Channel *channel, const text *body, char *word);
static int plain_word(const text *body, char *word);
static bool is_one_of(char *const *words, int n, const char *word);

void
consent_read(const ConversationMessage *messages, int n)
{
	for (int i = 0; i < n; i++)
	{
		const ConversationMessage *message = &messages[i];
		const Channel *channel =
			channels_find(VARDATA_ANY(message->channel),
						  VARSIZE_ANY_EXHDR(message->channel));
		char word[KEYWORD_BYTES_MAX + 1] = "";
		JsonbValue told;
		Datum values[7];
		bool keyword;

		if (channel == NULL)
			continue;
		keyword = is_keyword(channel, message->body, word);
		if (!inbox_find_field(message->payload, "opt_out", &told) ||
			told.type != jbvString)
			told.type = jbvNull;
		if (!keyword && told.type == jbvNull)
			continue;
		values[0] = PointerGetDatum(message->tenant_id);
		values[1] = PointerGetDatum(message->channel);
		values[2] = PointerGetDatum(message->from);
		values[3] = PointerGetDatum(message->to);
		values[4] = CStringGetTextDatum(word);
		values[5] =
			told.type == jbvString
				? PointerGetDatum(cstring_to_text_with_len(told.val.string.val,
														   told.val.string.len))
				: CStringGetTextDatum("");
		values[6] = UUIDPGetDatum(&message->id);
		statement_execute(&read_consent, values, NULL);
	}
}

void
consent_check(const ConversationMessage *message)
{
	Datum values[4];

	values[0] = PointerGetDatum(message->tenant_id);
	values[1] = PointerGetDatum(message->channel);
	values[2] = PointerGetDatum(message->to);
	values[3] = PointerGetDatum(message->from);
	statement_execute(&find_opt_out, values, NULL);
}

static bool
is_keyword(const Channel *channel, const text *body, char *word)
{
	return body != NULL && VARSIZE_ANY_EXHDR(body) <= KEYWORD_BYTES_MAX &&
		   plain_word(body, word) > 0 &&
		   (is_one_of(channel->stop_words, channel->nstop_words, word) ||
			is_one_of(channel->start_words, channel->nstart_words, word) ||
			is_one_of(channel->help_words, channel->nhelp_words, word));
}

/* In lower case, without ASCII's blanks and punctuation; returns its length. */
static int
plain_word(const text *body, char *word)
{
	const char *bytes = VARDATA_ANY(body);
	int length = (int) VARSIZE_ANY_EXHDR(body);
	int n = 0;

	for (int i = 0; i < length; i++)
	{
		char c = bytes[i];

		if (c >= 'A' && c <= 'Z')
			c += 'a' - 'A';
		if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
			IS_HIGHBIT_SET(c))
			word[n++] = c;
	}
	word[n] = '\0';
	return n;
}

static bool
is_one_of(char *const *words, int n, const char *word)
{
	for (int i = 0; i < n; i++)
	{
		if (strcmp(words[i], word) == 0)
			return true;
	}
	return false;
}
