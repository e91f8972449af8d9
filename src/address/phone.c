/*
 * address/phone.c: one spelling for each phone number and sender of messages.
 *
 * A number is its digits, with a plus sign in front if it has a country code.
 * Senders that are not numbers (a name, an e-mail address, an agent) stay what
 * they are: the digits of a name are never taken for a number, or two senders
 * would share a conversation. Nor are the numbers of a list ever joined.
 *
 * What is read without a scheme is read the same way again, so normalizing
 * twice is normalizing once.
 */
#include <string.h>

#include "address/bytes.h"
#include "address/email.h"
#include "address/phone.h"
#include "address/span.h"

/*
 * RFC 3966 (tel), 5724 (sms), 3261 (sip); smsto, mmsto and callto are what
 * phones and scanners write, whatsapp and rcs what providers put in front.
 */
static const char *const schemes[] = {"tel:",
									  "sms:",
									  "smsto:",
									  "mms:",
									  "mmsto:",
									  "whatsapp:",
									  "rcs:",
									  "callto:",
									  "sip:",
									  "sips:",
									  NULL};

/* The length of the longest of them. */
#define SCHEME_BYTES_MAX 9

static size_t write_plain(const char *s, size_t len, char *out);
static Reading read_text(Phone *phone, Span text);
static Reading read_uri(Phone *phone, Span text, bool is_sip);
static bool strip_schemes(Span *text, bool *is_sip);
static bool is_scheme(Span text);
static Reading read_part(Phone *phone, Span text);
static bool read_jid(Phone *phone, Span text);
static Reading read_email(Phone *phone, Span text);
static bool find_bracketed(Span text, Span *before, Span *inside);
static Reading read_bracketed(Phone *phone, Span before, Span inside);
static bool has_character(Span text, const char *characters);
static bool has_word(Span text, const char *word);

size_t
address_write_phone(const char *s,
					size_t len,
					bool keep_plus_tags,
					char *out,
					AddressVerdict *verdict)
{
	size_t n = write_plain(s, len, out);
	Phone phone = {.keep_plus_tags = keep_plus_tags, .out = out};
	Span text;
	Span number;
	bool is_sip = false;

	*verdict = ADDRESS_SINGLE;
	if (n > 0)
		return n;
	text = span_trim((Span){s, s + len});
	number = text;
	if (strip_schemes(&number, &is_sip))
		n = write_plain(number.start, span_len(number), out);
	if (n > 0)
		return n;
	switch (read_text(&phone,
					  span_clean(text, true, out + ADDRESS_RESULT_MAX(len))))
	{
		case READING_NUMBER:
		case READING_EMAIL:
			return phone.len;
		case READING_NAME:
			return span_write(phone.name, out);
		case READING_FAULT:
			break;
	}
	*verdict = phone.verdict;
	return span_write(text, out);
}

/* The most frequent form in one pass. Returns 0 for all others. */
static size_t
write_plain(const char *s, size_t len, char *out)
{
	size_t n = 0;
	size_t digits = 0;

	for (size_t i = 0; i < len; i++)
	{
		char c = s[i];

		if (c >= '0' && c <= '9')
		{
			if (++digits > PHONE_DIGITS_MAX)
				return 0;
			out[n++] = c;
		}
		else if (c == '+' && i == 0)
			out[n++] = c;
		else if (c != ' ' && c != '-' && c != '(' && c != ')' && c != '.')
			return 0;
	}
	return digits > 0 ? n : 0;
}

static Reading
read_text(Phone *phone, Span text)
{
	bool is_sip = false;

	phone->verdict = ADDRESS_MISSING;
	if (text.start == text.end)
		return READING_FAULT;
	if (strip_schemes(&text, &is_sip))
		return read_uri(phone, text, is_sip);
	return read_part(phone, text);
}

/*
 * Behind the scheme of a URI: its fields and parameters are cut off, escapes
 * decoded once. What then would have a scheme again is no URI.
 */
static Reading
read_uri(Phone *phone, Span text, bool is_sip)
{
	Span address;
	Span parameters;
	Reading reading;

	while (text.start < text.end && *text.start == '/')
		text.start++;
	span_cut(&text, "?");
	address = text;
	span_cut(&address, ";");
	parameters = (Span){address.end, text.end};
	if (!span_decode_percent(&address))
		return READING_FAULT;
	address = span_clean(address, true, (char *) address.start);
	text = address;
	if (address.start == address.end || strip_schemes(&text, &is_sip))
		return READING_FAULT;
	if (is_sip && has_word(parameters, ";user=phone"))
	{
		const char *at = memchr(address.start, '@', span_len(address));

		if (at != NULL)
			address = span_trim((Span){address.start, at});
		if (address.start == address.end)
			return READING_FAULT;
	}
	reading = read_part(phone, address);
	if (reading == READING_NUMBER && phone->context.start == NULL &&
		phone_take_parameters(parameters, &phone->context) &&
		!phone_add_context(phone))
		return READING_FAULT;
	return reading;
}

static bool
strip_schemes(Span *text, bool *is_sip)
{
	bool stripped = false;
	size_t before;

	do
	{
		before = span_len(*text);
		/* Most texts have no colon where a scheme could end. */
		if (memchr(text->start,
				   ':',
				   before < SCHEME_BYTES_MAX ? before : SCHEME_BYTES_MAX) ==
			NULL)
			break;
		for (size_t i = 0; schemes[i] != NULL; i++)
		{
			if (!span_strip_scheme(text, schemes[i]))
				continue;
			stripped = true;
			*is_sip |= strncmp(schemes[i], "sip", 3) == 0;
		}
	} while (span_len(*text) < before);
	return stripped;
}

/* Whether the text is nothing but a scheme. */
static bool
is_scheme(Span text)
{
	if (text.end[-1] != ':')
		return false;
	for (size_t i = 0; schemes[i] != NULL; i++)
		if (span_len(text) == strlen(schemes[i]) &&
			span_begins(text, schemes[i]))
			return true;
	return false;
}

/* A part has no scheme, but what is in its brackets may have one. */
static Reading
read_part(Phone *phone, Span text)
{
	Reading reading = READING_NAME;
	bool has_at = has_character(text, "@");
	bool is_sip = false;
	Span before;
	Span inside;
	Span address;

	if (is_scheme(text))
		return READING_FAULT;
	if (find_bracketed(text, &before, &inside))
	{
		address = inside;
		if (strip_schemes(&address, &is_sip))
			return read_bracketed(phone, before, inside);
	}
	if (has_at && read_jid(phone, text))
		return READING_NUMBER;
	if (has_at || span_begins(text, "mailto:"))
		reading = read_email(phone, text);
	if (reading != READING_NAME)
		return reading;
	/* Joiners matter to domains only. The caller's memory is writable. */
	text.end =
		text.start +
		span_drop_joiners(text.start, span_len(text), (char *) text.start);
	if (!has_at && find_bracketed(text, &before, &inside))
		reading = read_bracketed(phone, before, inside);
	if (reading != READING_NAME)
		return reading;
	return phone_read_number(phone, text);
}

/*
 * The number of a WhatsApp user: digits, maybe an agent and a device, and the
 * server, as in 5511999998888:12@s.whatsapp.net. Groups and hidden users have
 * other servers and no number.
 */
static bool
read_jid(Phone *phone, Span text)
{
	const char *start = text.start;
	const char *at = start;
	const char *server = memchr(start, '@', span_len(text));
	size_t digits = 0;

	if (server == NULL)
		return false;
	text.start = server;
	if (!(span_begins(text, "@s.whatsapp.net") && span_len(text) == 15) &&
		!(span_begins(text, "@c.us") && span_len(text) == 5))
		return false;
	while (at[digits] >= '0' && at[digits] <= '9')
		digits++;
	at += digits;
	while ((*at == ':' || *at == '_' || *at == '.') && at[1] >= '0' &&
		   at[1] <= '9')
		for (at++; *at >= '0' && *at <= '9';)
			at++;
	if (at != server || digits == 0 || digits > PHONE_DIGITS_MAX)
		return false;
	/* The text may be what was written before. */
	memmove(phone->out, start, digits);
	phone->len = digits;
	return true;
}

/* READING_NAME if the text is neither an e-mail address nor several. */
static Reading
read_email(Phone *phone, Span text)
{
	bool is_uri = has_word(text, "mailto:");
	Span email;

	phone->verdict =
		email_read(text, phone->keep_plus_tags, phone->out, &phone->len);
	email = (Span){phone->out, phone->out + phone->len};
	if (phone->verdict == ADDRESS_SINGLE &&
		memchr(email.start, '@', span_len(email)) != NULL)
		return read_jid(phone, email) ? READING_NUMBER : READING_EMAIL;
	if (phone->verdict == ADDRESS_SEVERAL)
		return READING_FAULT;
	phone->verdict = ADDRESS_MISSING;
	/* The escapes of a URI may have been decoded: the text is lost. */
	return is_uri ? READING_FAULT : READING_NAME;
}

/* "Ann <+15550001234>": what is behind the last "<", if ">" ends the text. */
static bool
find_bracketed(Span text, Span *before, Span *inside)
{
	if (text.end[-1] != '>')
		return false;
	*before = text;
	for (const char *at = text.start; at < text.end; at++)
		if (*at == '<')
			before->end = at;
	if (before->end == text.end)
		return false;
	*inside = span_trim((Span){before->end + 1, text.end - 1});
	return true;
}

/* READING_NAME if what is in the brackets is a name, too. */
static Reading
read_bracketed(Phone *phone, Span before, Span inside)
{
	Span number = inside;
	bool is_sip = false;
	bool is_uri = strip_schemes(&number, &is_sip);
	Reading reading;

	if (has_character(before, ">") || phone_has_listed_number(before) ||
		(has_character(before, "@") && has_character(before, ",;")))
	{
		phone->verdict = ADDRESS_SEVERAL;
		return READING_FAULT;
	}
	reading = read_text(phone, inside);
	/* The escapes of a URI may have been decoded: the text is lost. */
	return reading == READING_NAME && is_uri ? READING_FAULT : reading;
}

static bool
has_character(Span text, const char *characters)
{
	for (; text.start < text.end; text.start++)
		if (*text.start != '\0' && strchr(characters, *text.start) != NULL)
			return true;
	return false;
}

static bool
has_word(Span text, const char *word)
{
	for (; text.start < text.end; text.start++)
		if (span_begins(text, word))
			return true;
	return false;
}
