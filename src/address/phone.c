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

#include <utf8proc.h>

#include "address/bytes.h"
#include "address/email.h"
#include "address/span.h"

/* E.164: a number has at most so many digits, country code included. */
#define NUMBER_DIGITS_MAX 15

/* A list has a number in it if one of its parts has so many digits. */
#define LISTED_DIGITS_MIN 3

/* What "x" and "#" may separate: a full number and a short extension. */
#define EXTENDED_DIGITS_MIN 7
#define SHORT_EXTENSION_DIGITS_MAX 9
#define EXTENSION_DIGITS_MAX 20

#define PHONE_CONTEXT ";phone-context="

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

/* What a character is to a number. */
typedef enum Sign
{
	SIGN_DIGIT,
	SIGN_PLUS,
	SIGN_SEPARATOR, /* of numbers in a list */
	SIGN_FILLER,	/* punctuation, white space and what cannot be seen */
	SIGN_LETTER		/* a letter, or anything else that no number has */
} Sign;

/* What a text was found to be. */
typedef enum Reading
{
	READING_NUMBER,
	READING_EMAIL,
	READING_NAME,
	READING_FAULT /* the verdict says which */
} Reading;

typedef struct Phone
{
	bool keep_plus_tags;
	char *out;
	size_t len;
	size_t digits;
	Span context; /* the value of phone-context, empty if there is none */
	Span name;	  /* set for READING_NAME */
	AddressVerdict verdict;
} Phone;

static size_t write_plain(const char *s, size_t len, char *out);
static Reading read_text(Phone *phone, Span text);
static Reading read_uri(Phone *phone, Span text, bool is_sip);
static bool strip_schemes(Span *text, bool *is_sip);
static bool is_scheme(Span text);
static Reading read_part(Phone *phone, Span text);
static bool read_jid(Phone *phone, Span text);
static Reading read_email(Phone *phone, Span text);
static Reading read_bracketed(Phone *phone, Span text);
static Reading read_number(Phone *phone, Span text);
static Reading end_number(Phone *phone);
static bool has_listed_number(Span text);
static size_t
take_sign(const char *s, const char *end, Sign *sign, char *digit);
static int decimal_value(int32_t codepoint);
static bool is_extension(const Phone *phone, Span rest);
static void skip_space(Span *text);
static bool skip_digits(Span *text, size_t max);
static bool take_parameters(Span rest, Span *context);
static bool has_word(Span text, const char *word);
static bool add_context(Phone *phone);
static bool is_mms_type(Span rest);

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
			if (++digits > NUMBER_DIGITS_MAX)
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
			address.end = at;
	}
	reading = read_part(phone, address);
	if (reading == READING_NUMBER && phone->context.start == NULL &&
		take_parameters(parameters, &phone->context) && !add_context(phone))
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

/* A part has no scheme. */
static Reading
read_part(Phone *phone, Span text)
{
	Reading reading = READING_NAME;
	bool has_at = memchr(text.start, '@', span_len(text)) != NULL;

	if (is_scheme(text))
		return READING_FAULT;
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
	if (!has_at && text.end[-1] == '>')
		reading = read_bracketed(phone, text);
	if (reading != READING_NAME)
		return reading;
	return read_number(phone, text);
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
	if (at != server || digits == 0 || digits > NUMBER_DIGITS_MAX)
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

/* What is in the brackets of "Ann <+15550001234>", if it is a number. */
static Reading
read_bracketed(Phone *phone, Span text)
{
	Span before = text;
	Span inside;
	bool is_sip = false;
	bool is_uri;
	Reading reading;

	for (inside = text; inside.start < inside.end; inside.start++)
		if (*inside.start == '<')
			before.end = inside.start;
	if (before.end == text.end)
		return READING_NAME;
	if (memchr(before.start, '>', span_len(before)) != NULL ||
		has_listed_number(before))
	{
		phone->verdict = ADDRESS_SEVERAL;
		return READING_FAULT;
	}
	inside = span_trim((Span){before.end + 1, text.end - 1});
	text = inside;
	is_uri = strip_schemes(&text, &is_sip);
	reading = read_text(phone, inside);
	/* The escapes of a URI may have been decoded: the text is lost. */
	return reading == READING_NAME && is_uri ? READING_FAULT : reading;
}

/*
 * Digits, as far as they are followed by nothing but an extension, parameters
 * or the type of an MMS address. Any letter elsewhere makes the text a name.
 */
static Reading
read_number(Phone *phone, Span text)
{
	bool separated = false;
	const char *at = text.start;

	phone->len = 0;
	phone->digits = 0;
	phone->context = (Span){NULL, NULL};
	while (at < text.end)
	{
		Span rest = {at, text.end};
		Sign sign;
		char digit;

		at += take_sign(at, text.end, &sign, &digit);
		if (sign == SIGN_DIGIT)
		{
			if (separated)
			{
				phone->verdict = ADDRESS_SEVERAL;
				return READING_FAULT;
			}
			phone->out[phone->len++] = digit;
			phone->digits++;
		}
		else if (sign == SIGN_PLUS && phone->len == 0)
			phone->out[phone->len++] = '+';
		else if (phone->digits > 0 &&
				 ((*rest.start == ';' &&
				   take_parameters(rest, &phone->context)) ||
				  (*rest.start == '/' && is_mms_type(rest)) ||
				  ((sign == SIGN_LETTER || *rest.start == '#') &&
				   is_extension(phone, rest))))
			break;
		else if (sign == SIGN_SEPARATOR)
			separated = phone->digits > 0;
		else if (sign == SIGN_LETTER)
		{
			if (has_listed_number(text))
			{
				phone->verdict = ADDRESS_SEVERAL;
				return READING_FAULT;
			}
			phone->name = text;
			return READING_NAME;
		}
	}
	return end_number(phone);
}

static Reading
end_number(Phone *phone)
{
	if (phone->digits == 0)
		phone->verdict = ADDRESS_MISSING;
	else if (phone->digits > NUMBER_DIGITS_MAX)
		phone->verdict = ADDRESS_TOO_LONG;
	else if (add_context(phone))
		return READING_NUMBER;
	return READING_FAULT;
}

/* Whether one of several parts is nothing but a number. */
static bool
has_listed_number(Span text)
{
	bool is_list = false;
	bool is_number = true;
	bool found = false;
	size_t digits = 0;

	while (text.start < text.end)
	{
		Sign sign;
		char digit;

		text.start += take_sign(text.start, text.end, &sign, &digit);
		digits += sign == SIGN_DIGIT;
		is_number &= sign != SIGN_LETTER;
		if (sign == SIGN_SEPARATOR)
		{
			found |= is_number && digits >= LISTED_DIGITS_MIN;
			is_list = is_number = true;
			digits = 0;
		}
	}
	found |= is_number && digits >= LISTED_DIGITS_MIN;
	return is_list && found;
}

/*
 * What the first character is, and how many bytes it takes. Every ASCII
 * character but a letter may be in a number; beyond ASCII only punctuation,
 * white space and invisible characters may. Full-width forms are what Japanese
 * keyboards write.
 */
static size_t
take_sign(const char *s, const char *end, Sign *sign, char *digit)
{
	int32_t codepoint;
	size_t n = address_decode(s, (size_t) (end - s), &codepoint);
	int value;

	if (codepoint >= 0xFF01 && codepoint <= 0xFF5E)
		codepoint -= 0xFF01 - '!';
	value = decimal_value(codepoint);
	if (value >= 0)
	{
		*sign = SIGN_DIGIT;
		*digit = (char) ('0' + value);
		return n;
	}
	switch (codepoint)
	{
		case '+':
		case 0xFE62: /* small plus sign */
			*sign = SIGN_PLUS;
			return n;
		case ',':
		case ';':
		case 0x060C: /* Arabic comma */
		case 0x061B: /* Arabic semicolon */
		case 0x3001: /* ideographic comma */
			*sign = SIGN_SEPARATOR;
			return n;
	}
	*sign = SIGN_LETTER;
	if (codepoint < 0x80)
	{
		char c = span_lower((char) codepoint);

		if (c < 'a' || c > 'z')
			*sign = SIGN_FILLER;
		return n;
	}
	switch (utf8proc_category(codepoint))
	{
		case UTF8PROC_CATEGORY_PC:
		case UTF8PROC_CATEGORY_PD:
		case UTF8PROC_CATEGORY_PS:
		case UTF8PROC_CATEGORY_PE:
		case UTF8PROC_CATEGORY_PI:
		case UTF8PROC_CATEGORY_PF:
		case UTF8PROC_CATEGORY_PO:
		case UTF8PROC_CATEGORY_ZS:
		case UTF8PROC_CATEGORY_ZL:
		case UTF8PROC_CATEGORY_ZP:
		case UTF8PROC_CATEGORY_CC:
		case UTF8PROC_CATEGORY_CF:
			*sign = SIGN_FILLER;
			break;
		default:
			break;
	}
	return n;
}

/*
 * The value of a decimal digit of any script, or -1. Unicode keeps the digits
 * of a script together, in order and from zero on; where several sets follow
 * each other, as in the mathematical ones, each still has ten.
 */
static int
decimal_value(int32_t codepoint)
{
	int32_t first = codepoint;

	if (codepoint < 0x80)
		return codepoint >= '0' && codepoint <= '9' ? codepoint - '0' : -1;
	if (utf8proc_category(codepoint) != UTF8PROC_CATEGORY_ND)
		return -1;
	while (utf8proc_category(first - 1) == UTF8PROC_CATEGORY_ND)
		first--;
	return (codepoint - first) % 10;
}

/*
 * Whether the rest of a number is its extension: "ext. 123", "x123", "#123".
 * The short marks need a full number before them and a short one behind: "24x7"
 * is a name.
 */
static bool
is_extension(const Phone *phone, Span rest)
{
	static const char *const words[] = {"extension",
										"extn",
										"ext",
										"xtn",
										"anexo",
										"\xD0\xB4\xD0\xBE\xD0\xB1", /* доб */
										NULL};
	size_t max = EXTENSION_DIGITS_MAX;
	size_t i = 0;

	while (words[i] != NULL && !span_begins(rest, words[i]))
		i++;
	if (words[i] != NULL)
		rest.start += strlen(words[i]);
	else if (phone->digits >= EXTENDED_DIGITS_MIN &&
			 (*rest.start == '#' || span_lower(*rest.start) == 'x'))
	{
		rest.start++;
		max = SHORT_EXTENSION_DIGITS_MAX;
	}
	else
		return false;
	skip_space(&rest);
	if (rest.start < rest.end && strchr(".:=#", *rest.start) != NULL &&
		*rest.start != '\0')
		rest.start++;
	skip_space(&rest);
	if (!skip_digits(&rest, max))
		return false;
	skip_space(&rest);
	if (rest.start < rest.end && *rest.start == '#')
		rest.start++;
	return rest.start == rest.end;
}

static void
skip_space(Span *text)
{
	text->start += address_count_space(text->start, span_len(*text));
}

/* False if there is no digit, or are more than max. */
static bool
skip_digits(Span *text, size_t max)
{
	size_t digits = 0;

	while (text->start < text->end && digits <= max)
	{
		Sign sign;
		char digit;
		size_t n = take_sign(text->start, text->end, &sign, &digit);

		if (sign != SIGN_DIGIT)
			break;
		text->start += n;
		digits++;
	}
	return digits > 0 && digits <= max;
}

/*
 * Whether the rest is parameters of RFC 3966, ";name" or ";name=value" each.
 * Sets the context to the value of phone-context, if that is among them.
 */
static bool
take_parameters(Span rest, Span *context)
{
	const char *at = rest.start;
	Span found = {NULL, NULL};

	while (at < rest.end && *at == ';')
	{
		Span parameter = {at, rest.end};
		const char *end = memchr(at + 1, ';', (size_t) (rest.end - at - 1));
		const char *name = at + 1;

		if (end != NULL)
			parameter.end = end;
		at = parameter.end;
		if (name == at || span_lower(*name) < 'a' || span_lower(*name) > 'z' ||
			memchr(name, ',', (size_t) (at - name)) != NULL)
			return false;
		while (name < at &&
			   ((span_lower(*name) >= 'a' && span_lower(*name) <= 'z') ||
				(*name >= '0' && *name <= '9') || *name == '-'))
			name++;
		if (name < at && *name != '=')
			return false;
		if (found.start == NULL && span_begins(parameter, PHONE_CONTEXT))
			found =
				span_trim((Span){parameter.start + strlen(PHONE_CONTEXT), at});
	}
	if (at != rest.end)
		return false;
	*context = found;
	return true;
}

static bool
has_word(Span text, const char *word)
{
	for (; text.start < text.end; text.start++)
		if (span_begins(text, word))
			return true;
	return false;
}

/*
 * A local number is another one in each context, which is a domain or the
 * beginning of global numbers. False if it is neither. A global number needs
 * no context.
 */
static bool
add_context(Phone *phone)
{
	Span context = phone->context;
	char *out = phone->out + phone->len;
	bool is_global;

	if (context.start == NULL || *phone->out == '+')
		return true;
	if (context.start == context.end)
		return false;
	memcpy(out, PHONE_CONTEXT, strlen(PHONE_CONTEXT));
	out += strlen(PHONE_CONTEXT);
	is_global = *context.start == '+';
	if (is_global)
		*out++ = *context.start++;
	for (; context.start < context.end; context.start++)
	{
		char c = span_lower(*context.start);

		if ((c >= '0' && c <= '9') ||
			(!is_global && ((c >= 'a' && c <= 'z') || c == '-' || c == '.')))
			*out++ = c;
		else if (!is_global || strchr("-.() ", c) == NULL || c == '\0')
			return false;
	}
	phone->len = (size_t) (out - phone->out);
	return phone->out[phone->len - 1] != '+';
}

/* The type of an address in MMS, as in +15550001234/TYPE=PLMN. */
static bool
is_mms_type(Span rest)
{
	if (!span_begins(rest, "/type=") || span_len(rest) == strlen("/type="))
		return false;
	for (rest.start += strlen("/type="); rest.start < rest.end; rest.start++)
	{
		char c = span_lower(*rest.start);

		if ((c < 'a' || c > 'z') && (c < '0' || c > '9'))
			return false;
	}
	return true;
}
