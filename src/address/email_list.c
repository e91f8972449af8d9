/*
 * address/email_list.c: find the one address in a list of them.
 *
 * The field From or To of a message is a list with commas, in which names,
 * groups, comments and quoted strings surround the addresses. Everything is
 * looked at once, from left to right, so time is linear.
 */
#include <string.h>

#include "address/bytes.h"
#include "address/email.h"

/* One part of a list: what is between two commas or semicolons. */
typedef struct Item
{
	Span text;
	Span angle;		   /* within < >, of zero length if there is none */
	const char *colon; /* the first, which can end the name of a group */
	int angle_ats;	   /* brackets that hold an at sign */
	int ats;		   /* at signs outside of them */
	int ats_behind;	   /* of these, the ones behind a bracket */
	bool in_group;	   /* set at the end: a semicolon ended the group */
} Item;

/* What is known of a list so far. */
typedef struct List
{
	Item address; /* the only item that is an address */
	int addresses;
	Item word; /* the last item without an at sign */
	int words;
	bool word_behind; /* an item without an at sign follows an address */
	bool group_is_open;
} List;

static bool split_list(Span text, List *list);
static const char *take_token(const char *at, const char *end, Item *item);
static const char *take_angle(const char *at, const char *end, Item *item);
static void end_item(List *list, Item *item, const char *end, char separator);
static const char *skip_quoted(const char *at, const char *end);
static const char *skip_comment(const char *at, const char *end);

bool
email_find(Span text, AddressVerdict *verdict, Span *found)
{
	List list = {0};
	const Item *item = &list.address;

	*verdict = ADDRESS_MISSING;
	if (!split_list(text, &list))
		return false;
	if (list.addresses == 0)
	{
		if (list.words != 1)
			return false;
		item = &list.word;
	}
	else if (list.addresses > 1 || list.word_behind ||
			 (item->angle.start == NULL && list.words > 0))
	{
		/* Only the name of an address in brackets may contain a comma. */
		*verdict = ADDRESS_SEVERAL;
		return false;
	}
	*found = item->text;
	if (item->angle.start != NULL)
		*found = item->angle;
	else if (item->in_group)
		found->start = item->colon + 1;
	return true;
}

/* False if a quoted string, a comment or a bracket has no end. */
static bool
split_list(Span text, List *list)
{
	const char *at = text.start;
	Item item = {.text = text};

	while (at < text.end)
	{
		if (*at == ',' || *at == ';')
		{
			end_item(list, &item, at, *at);
			item = (Item){.text = {at + 1, text.end}};
			at++;
		}
		else if ((at = take_token(at, text.end, &item)) == NULL)
			return false;
	}
	end_item(list, &item, at, '\0');
	return true;
}

/* Returns where the next token begins, or NULL if this one has no end. */
static const char *
take_token(const char *at, const char *end, Item *item)
{
	switch (*at)
	{
		case '"':
			return skip_quoted(at, end);
		case '(':
			return skip_comment(at, end);
		case '<':
			return take_angle(at, end, item);
		case '[':
			at = memchr(at, ']', (size_t) (end - at));
			return at == NULL ? NULL : at + 1;
		case ':':
			if (item->colon == NULL)
				item->colon = at;
			break;
		case '@':
			item->ats++;
			if (item->angle.start != NULL)
				item->ats_behind++;
			break;
	}
	return at + 1;
}

/*
 * Of brackets within brackets the innermost counts, and of several pairs the
 * last with an at sign. One that is empty is none.
 */
static const char *
take_angle(const char *at, const char *end, Item *item)
{
	Span inside = {at + 1, end};
	bool has_at = false;

	for (at++; at < end && *at != '>';)
	{
		if (*at == '"')
			at = skip_quoted(at, end);
		else if (*at == '(')
			at = skip_comment(at, end);
		else
		{
			if (*at == '<')
			{
				inside.start = at + 1;
				has_at = false;
			}
			has_at |= *at++ == '@';
		}
		if (at == NULL)
			return NULL;
	}
	if (at == end)
		return NULL;
	inside.end = at;
	inside = span_trim(inside);
	if (inside.start < inside.end && (has_at || item->angle_ats == 0))
		item->angle = inside;
	item->angle_ats += has_at;
	return at + 1;
}

static void
end_item(List *list, Item *item, const char *end, char separator)
{
	item->text.end = end;
	list->group_is_open |= item->colon != NULL;
	if (item->angle_ats > 0 || item->ats > 0)
	{
		list->addresses +=
			item->angle_ats > 0 ? item->angle_ats + item->ats_behind : 1;
		list->address = *item;
		/* Until the address itself has ended, its name has no separator. */
		if (item->angle_ats == 0)
			list->address.angle.start = NULL;
		list->word_behind = false;
	}
	else if (email_skip_space(item->text.start, end) != end)
	{
		list->word = *item;
		list->words++;
		list->word_behind = list->addresses > 0;
	}
	if (separator == ';' && list->group_is_open)
	{
		list->address.in_group = list->address.colon != NULL;
		list->group_is_open = false;
	}
}

/* Both return what is behind the closing character, or NULL without one. */
static const char *
skip_quoted(const char *at, const char *end)
{
	for (at++; at < end; at++)
	{
		if (*at == '"')
			return at + 1;
		if (*at == '\\' && end - at > 1)
			at++;
	}
	return NULL;
}

static const char *
skip_comment(const char *at, const char *end)
{
	size_t depth = 0;

	for (; at < end; at++)
	{
		if (*at == '(')
			depth++;
		else if (*at == ')' && --depth == 0)
			return at + 1;
		else if (*at == '\\' && end - at > 1)
			at++;
	}
	return NULL;
}

const char *
email_skip_space(const char *at, const char *end)
{
	while (at < end)
	{
		const char *behind = at;

		if (*at == '(')
			behind = skip_comment(at, end);
		else
			behind += address_count_space(at, (size_t) (end - at));
		if (behind == NULL || behind == at)
			break;
		at = behind;
	}
	return at;
}

bool
email_is_spaced_list(Span text)
{
	int ats = 0;
	bool has_space = false;

	while (text.start < text.end)
	{
		size_t space = address_count_space(text.start, span_len(text));

		ats += *text.start == '@';
		has_space |= space > 0 && ats > 0;
		text.start += space > 0 ? space : 1;
	}
	return has_space && ats > 1;
}
