/*
 * address/email.c: one spelling for each e-mail address.
 *
 * Two spellings of one address must give the same bytes, or one person has two
 * conversations; two addresses must never give the same bytes, or two people
 * share one. So the grammar is read as RFC 5322 and RFC 6532 have it, obsolete
 * forms included, and what does not follow it is left alone and said to be no
 * address. It is wider in four places, all seen in the mail of providers: dots
 * anywhere in a local part, any unquoted text as a display name, a local name
 * without a domain, and quotation marks around an address. It is narrower in
 * one: a domain has letters, digits, hyphens and underscores, or is a literal.
 *
 * Letters are lowered as ASCII only, so that no locale changes a key.
 */
#include <string.h>

#include <idn2.h>
#include <utf8proc.h>

#include "address/bytes.h"
#include "address/email.h"

/*
 * No domain longer than this, in bytes of UTF-8, has an ASCII form within the
 * limit of the DNS: that has 253 characters, one or more for each of its at
 * most four bytes. Longer ones are not handed to libidn2, whose work grows
 * faster than its input.
 */
#define DOMAIN_BYTES_MAX (4 * 253)

/* The output of one address: text with its quotation marks removed. */
typedef struct Writer
{
	char *out;
	size_t len;
} Writer;

static size_t
write_plain(const char *s, size_t len, bool keep_plus_tags, char *out);
static bool
write_address(Span text, bool is_uri, bool keep_plus_tags, Writer *writer);
static bool strip_quotation_marks(Span *text);
static const char *
write_local_part(Span text, bool keep_plus_tags, Writer *writer);
static const char *
write_quoted(const char *at, const char *end, Writer *writer);
static const char *write_atom(const char *at, const char *end, Writer *writer);
static bool is_dot_atom(Span local);
static bool is_atom_character(const char *s, size_t len, size_t *n);
static void quote(Writer *writer, size_t start);
static void strip_plus_tag(Writer *writer);
static const char *write_domain(Span text, Writer *writer);
static const char *
write_literal(const char *at, const char *end, Writer *writer);
static bool is_domain_character(const char *s, size_t len, size_t *n);
static void make_ascii(Writer *writer, size_t start);
static size_t host_name_from(const char *domain, size_t len, char *out);

size_t
address_write_email(const char *s,
					size_t len,
					bool keep_plus_tags,
					char *out,
					AddressVerdict *verdict)
{
	char *room = out + ADDRESS_RESULT_MAX(len);
	size_t n = write_plain(s, len, keep_plus_tags, out);
	Span text;

	*verdict = ADDRESS_SINGLE;
	if (n > 0)
		return n;
	text = span_trim((Span){s, s + len});
	*verdict =
		email_read(span_clean(text, true, room), keep_plus_tags, out, &n);
	if (*verdict == ADDRESS_SINGLE)
		return n;
	/* A name of several words is no address, but still has one spelling. */
	if (memchr(text.start, '@', span_len(text)) == NULL)
		return span_write_lower(text, out);
	return span_write(text, out);
}

AddressVerdict
email_read(Span text, bool keep_plus_tags, char *out, size_t *len)
{
	AddressVerdict verdict = ADDRESS_MISSING;
	Writer writer = {out, 0};
	bool is_uri = span_strip_scheme(&text, "mailto:");
	Span found;

	/* The fields of a URI are no part of the list, and may hold anything. */
	if (is_uri)
		span_cut(&text, "?");
	if (!email_find(text, &verdict, &found))
		return verdict;
	if (!write_address(found, is_uri, keep_plus_tags, &writer))
		return email_is_spaced_list(found) ? ADDRESS_SEVERAL : ADDRESS_MISSING;
	*len = writer.len;
	return ADDRESS_SINGLE;
}

/*
 * The most frequent form in one pass: local part and host name of ASCII
 * letters, digits and the usual punctuation. Returns 0, having written
 * anything, for all other forms.
 */
static size_t
write_plain(const char *s, size_t len, bool keep_plus_tags, char *out)
{
	const char *end = s + len;
	size_t n = 0;
	size_t domain;
	bool in_tag = false;

	for (; s < end && *s != '@'; s++)
	{
		char c = span_lower(*s);

		if (c == '+')
		{
			if (n == 0)
				return 0;
			in_tag = !keep_plus_tags;
		}
		else if ((c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' &&
				 c != '-' && (c != '.' || n == 0))
			return 0;
		if (!in_tag)
			out[n++] = c;
	}
	if (n == 0 || s == end)
		return 0;
	out[n++] = *s++;
	domain = n;
	for (; s < end; s++)
	{
		char c = span_lower(*s);

		if ((c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' &&
			c != '_' && (c != '.' || n == domain || out[n - 1] == '.'))
			return 0;
		out[n++] = c;
	}
	return n == domain || out[n - 1] == '.' ? 0 : n;
}

/*
 * One address without a name, which must be all that the text holds but for
 * white space and comments. A word alone is a local name.
 */
static bool
write_address(Span text, bool is_uri, bool keep_plus_tags, Writer *writer)
{
	const char *at;

	text = span_trim(text);
	(void) strip_quotation_marks(&text);
	if (span_strip_scheme(&text, "mailto:"))
	{
		span_cut(&text, "?");
		is_uri = true;
	}
	if (is_uri)
	{
		if (!span_decode_percent(&text))
			return false;
		text = span_clean(text, true, (char *) text.start);
	}
	/* The route of RFC 5322, section 4.4: <@a.example,@b.example:user@c> */
	if (text.start < text.end && *text.start == '@')
	{
		at = memchr(text.start, ':', span_len(text));
		if (at == NULL)
			return false;
		text.start = at + 1;
	}
	at = write_local_part(text, keep_plus_tags, writer);
	if (at == NULL)
		return false;
	if (at < text.end)
	{
		writer->out[writer->len++] = '@';
		at = write_domain((Span){at + 1, text.end}, writer);
	}
	else
	{
		/* The name must be read as the same name the next time. */
		Span name = {writer->out, writer->out + writer->len};

		if (!is_dot_atom(name) || strip_quotation_marks(&name))
			return false;
	}
	return at == text.end;
}

/*
 * Quotation marks around an address, of one kind or several. Within double
 * quotes there is no other, so that text is looked through only once.
 */
static bool
strip_quotation_marks(Span *text)
{
	static const char *const marks[][2] = {
		{"'", "'"},
		{"\"", "\""},
		{"\xE2\x80\x98", "\xE2\x80\x99"},
		{"\xE2\x80\x9C", "\xE2\x80\x9D"},
	};
	bool stripped = false;

	for (size_t i = 0; i < 4; i++)
	{
		size_t open = strlen(marks[i][0]);
		size_t close = strlen(marks[i][1]);
		Span inside;

		if (span_len(*text) <= open + close ||
			memcmp(text->start, marks[i][0], open) != 0 ||
			memcmp(text->end - close, marks[i][1], close) != 0)
			continue;
		inside = (Span){text->start + open, text->end - close};
		if (*marks[i][0] == '"' &&
			(memchr(inside.start, '"', span_len(inside)) != NULL ||
			 memchr(inside.start, '\\', span_len(inside)) != NULL))
			continue;
		inside = span_trim(inside);
		if (inside.start == inside.end)
			continue;
		*text = inside;
		stripped = true;
		i = (size_t) -1;
	}
	return stripped;
}

/* Returns where the at sign is, or the end of the text, or NULL. */
static const char *
write_local_part(Span text, bool keep_plus_tags, Writer *writer)
{
	const char *at = text.start;
	bool has_word = false;
	bool is_quoted = false;
	bool behind_word = false;

	for (;;)
	{
		at = email_skip_space(at, text.end);
		if (at == text.end || *at == '@')
			break;
		if (*at == '.')
		{
			writer->out[writer->len++] = *at++;
			behind_word = false;
			continue;
		}
		if (behind_word)
			return NULL;
		is_quoted |= *at == '"';
		at = *at == '"' ? write_quoted(at, text.end, writer)
						: write_atom(at, text.end, writer);
		if (at == NULL)
			return NULL;
		has_word = behind_word = true;
	}
	if (!has_word)
		return NULL;
	/* Joiners have no meaning in a local part. */
	writer->len = span_drop_joiners(writer->out, writer->len, writer->out);
	if (is_quoted)
	{
		Span local = {writer->out, writer->out + writer->len};

		/* "a+b" is not a with the tag b, and must not be read as such. */
		if (!is_dot_atom(local) ||
			(!keep_plus_tags &&
			 memchr(local.start, '+', span_len(local)) != NULL))
			quote(writer, 0);
	}
	else if (!keep_plus_tags && at < text.end)
		strip_plus_tag(writer);
	return at;
}

/*
 * The content of a quoted string. Line breaks are part of folding, and no
 * other control character is allowed but the tab.
 */
static const char *
write_quoted(const char *at, const char *end, Writer *writer)
{
	for (at++; at < end && *at != '"'; at++)
	{
		if (*at == '\\' && ++at == end)
			return NULL;
		if (*at == '\r' || *at == '\n')
			continue;
		if (((unsigned char) *at < ' ' && *at != '\t') || *at == 0x7F)
			return NULL;
		writer->out[writer->len++] = span_lower(*at);
	}
	return at < end ? at + 1 : NULL;
}

/* NULL if there is none. */
static const char *
write_atom(const char *at, const char *end, Writer *writer)
{
	const char *start = at;
	size_t n;

	while (at < end && is_atom_character(at, (size_t) (end - at), &n))
		at += n;
	writer->len +=
		span_write_lower((Span){start, at}, writer->out + writer->len);
	return at > start ? at : NULL;
}

/* Whether the content of a local part can be written without quotes. */
static bool
is_dot_atom(Span local)
{
	bool has_word = false;

	while (local.start < local.end)
	{
		size_t n = 1;

		if (*local.start != '.')
		{
			if (!is_atom_character(local.start, span_len(local), &n))
				return false;
			has_word = true;
		}
		local.start += n;
	}
	return has_word;
}

/* atext of RFC 5322, or of RFC 6532 without white space and controls. */
static bool
is_atom_character(const char *s, size_t len, size_t *n)
{
	int32_t codepoint;

	*n = address_decode(s, len, &codepoint);
	if (codepoint >= 0 && codepoint < 0x80)
		return (codepoint >= 'a' && codepoint <= 'z') ||
			   (codepoint >= 'A' && codepoint <= 'Z') ||
			   (codepoint >= '0' && codepoint <= '9') ||
			   (codepoint != 0 &&
				strchr("!#$%&'*+-/=?^_`{|}~", codepoint) != NULL);
	return codepoint >= 0xA0 && address_count_space(s, *n) == 0;
}

/* Put what was written from start on into quotes, escaping as needed. */
static void
quote(Writer *writer, size_t start)
{
	size_t escapes = 0;
	size_t from = writer->len;
	size_t to;

	for (size_t i = start; i < writer->len; i++)
		escapes += writer->out[i] == '"' || writer->out[i] == '\\';
	writer->len += escapes + 2;
	to = writer->len;
	writer->out[--to] = '"';
	while (from > start)
	{
		char c = writer->out[--from];

		writer->out[--to] = c;
		if (c == '"' || c == '\\')
			writer->out[--to] = '\\';
	}
	writer->out[--to] = '"';
}

/*
 * From the first plus sign on, unless nothing but dots is before it: every such
 * address would become the same participant.
 */
static void
strip_plus_tag(Writer *writer)
{
	char *plus = memchr(writer->out, '+', writer->len);
	size_t before = plus == NULL ? 0 : (size_t) (plus - writer->out);

	for (size_t i = 0; i < before; i++)
	{
		if (writer->out[i] != '.')
		{
			writer->len = before;
			return;
		}
	}
}

/* Returns the end of the text, or NULL if the text is not a domain. */
static const char *
write_domain(Span text, Writer *writer)
{
	const char *at = email_skip_space(text.start, text.end);
	size_t start = writer->len;
	bool behind_label = false;

	if (at < text.end && *at == '[')
		return write_literal(at, text.end, writer);
	while (at < text.end)
	{
		size_t n;

		if (*at == '.')
		{
			if (!behind_label)
				return NULL;
			writer->out[writer->len++] = *at++;
			behind_label = false;
		}
		else
		{
			const char *label = at;

			if (behind_label)
				return NULL;
			while (at < text.end &&
				   is_domain_character(at, (size_t) (text.end - at), &n))
				at += n;
			if (at == label)
				return NULL;
			writer->len +=
				span_write_lower((Span){label, at}, writer->out + writer->len);
			behind_label = true;
		}
		at = email_skip_space(at, text.end);
	}
	if (writer->len == start)
		return NULL;
	/* The final dot of a fully qualified name. */
	if (!behind_label)
		writer->len--;
	make_ascii(writer, start);
	return at;
}

/* [192.0.2.1], without the white space in it. */
static const char *
write_literal(const char *at, const char *end, Writer *writer)
{
	const char *close = memchr(at, ']', (size_t) (end - at));

	if (close == NULL)
		return NULL;
	writer->out[writer->len++] = *at++;
	while (at < close)
	{
		size_t space = address_count_space(at, (size_t) (close - at));

		if (space == 0)
		{
			if (*at == '[' || *at == '\\' || *at == 0x7F ||
				((unsigned char) *at < ' '))
				return NULL;
			writer->out[writer->len++] = span_lower(*at++);
		}
		at += space;
	}
	writer->out[writer->len++] = ']';
	at = email_skip_space(close + 1, end);
	return at == end ? at : NULL;
}

/*
 * Quotation marks and brackets beyond ASCII are in no domain: as its end they
 * could be taken for those around an address.
 */
static bool
is_domain_character(const char *s, size_t len, size_t *n)
{
	if ((unsigned char) *s < 0x80)
	{
		char c = span_lower(*s);

		*n = 1;
		return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' ||
			   c == '_';
	}
	if (is_atom_character(s, len, n))
	{
		int32_t codepoint;

		(void) address_decode(s, len, &codepoint);
		switch (utf8proc_category(codepoint))
		{
			case UTF8PROC_CATEGORY_PI:
			case UTF8PROC_CATEGORY_PF:
				return false;
			default:
				return true;
		}
	}
	return false;
}

/*
 * Replace the domain by the ASCII form under which browsers and mail servers
 * look it up (UTS #46). A joiner stays if the domain needs it, as some do in
 * Persian and in scripts of India; if not, the domain is looked at without. One
 * that has no ASCII form stays as it is: it can still be told from others.
 */
static void
make_ascii(Writer *writer, size_t start)
{
	char *domain = writer->out + start;
	size_t len = writer->len - start;
	size_t host = host_name_from(domain, len, domain);

	if (host == 0)
	{
		size_t less = span_drop_joiners(domain, len, domain);

		if (less < len)
			host = host_name_from(domain, less, domain);
		len = less;
	}
	writer->len = start + (host > 0 ? host : len);
}

/*
 * 0, with nothing written, if the domain is ASCII already, or has no ASCII form
 * or one that is no host name: a full-width bracket or at sign turned into the
 * sign itself would be read as such the next time.
 */
static size_t
host_name_from(const char *domain, size_t len, char *out)
{
	char name[DOMAIN_BYTES_MAX + 1];
	uint8_t *ascii = NULL;
	const char *host;
	size_t n = 0;

	while (n < len && (unsigned char) domain[n] < 0x80)
		n++;
	if (n == len || len > DOMAIN_BYTES_MAX || memchr(domain, '\0', len) != NULL)
		return 0;
	memcpy(name, domain, len);
	name[len] = '\0';
	if (idn2_lookup_u8((const uint8_t *) name,
					   &ascii,
					   IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL) != IDN2_OK)
		return 0;
	host = (const char *) ascii;
	n = strlen(host);
	if (n > 1 && host[n - 1] == '.')
		n--;
	if (n == 0 || n > ADDRESS_HOST_MAX || host[0] == '.' ||
		host[n - 1] == '.' || strstr(host, "..") != NULL ||
		strspn(host, "abcdefghijklmnopqrstuvwxyz0123456789-._") != strlen(host))
		n = 0;
	memcpy(out, host, n);
	idn2_free(ascii);
	return n;
}
