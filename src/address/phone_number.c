/*
 * address/phone_number.c: read a phone number, with its extension and
 * parameters, and tell it from a name and from a list of numbers.
 */
#include <string.h>

#include <utf8proc.h>

#include "address/bytes.h"
#include "address/phone.h"
#include "address/span.h"

/* A list has a number in it if one of its parts has so many digits. */
#define LISTED_DIGITS_MIN 3

/* What "x" and "#" may separate: a full number and a short extension. */
#define EXTENDED_DIGITS_MIN 7
#define SHORT_EXTENSION_DIGITS_MAX 9
#define EXTENSION_DIGITS_MAX 20

#define PHONE_CONTEXT ";phone-context="

/* What a character is to a number. */
typedef enum Sign
{
	SIGN_DIGIT,
	SIGN_PLUS,
	SIGN_SEPARATOR, /* of numbers in a list */
	SIGN_FILLER,	/* punctuation, white space and what cannot be seen */
	SIGN_LETTER		/* a letter, or anything else that no number has */
} Sign;

static Reading end_number(Phone *phone);
static size_t
take_sign(const char *s, const char *end, Sign *sign, char *digit);
static int decimal_value(int32_t codepoint);
static bool is_extension(const Phone *phone, Span rest);
static void skip_space(Span *text);
static bool skip_digits(Span *text, size_t max);
static bool is_mms_type(Span rest);

/*
 * A second plus sign begins a second number, if the first number has one, too.
 * The digits may be followed only by an extension, parameters or the type of an
 * MMS address. A letter anywhere else makes the text a name.
 */
Reading
phone_read_number(Phone *phone, Span text)
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
		else if (sign == SIGN_PLUS && *phone->out == '+' &&
				 phone->digits >= LISTED_DIGITS_MIN)
			separated = true;
		else if (phone->digits > 0 &&
				 ((*rest.start == ';' &&
				   phone_take_parameters(rest, &phone->context)) ||
				  (*rest.start == '/' && is_mms_type(rest)) ||
				  ((sign == SIGN_LETTER || *rest.start == '#') &&
				   is_extension(phone, rest))))
			break;
		else if (sign == SIGN_SEPARATOR)
			separated = phone->digits > 0;
		else if (sign == SIGN_LETTER)
		{
			if (phone_has_listed_number(text))
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
	else if (phone->digits > PHONE_DIGITS_MAX)
		phone->verdict = ADDRESS_TOO_LONG;
	else if (phone_add_context(phone))
		return READING_NUMBER;
	return READING_FAULT;
}

bool
phone_has_listed_number(Span text)
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

bool
phone_take_parameters(Span rest, Span *context)
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

bool
phone_add_context(Phone *phone)
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
