/*
 * inbox/item.c: refusals of items.
 */
#include "postgres.h"

#include "lib/stringinfo.h"

#include "inbox/item.h"

bool
inbox_refuse(InboxItem *item,
			 int sqlstate,
			 const char *detail,
			 const char *hint,
			 const char *format,
			 ...)
{
	InboxRefusal *refusal = palloc0(sizeof(InboxRefusal));
	StringInfoData message;
	int needed;

	initStringInfo(&message);
	do
	{
		va_list args;

		va_start(args, format);
		needed = appendStringInfoVA(&message, format, args);
		va_end(args);
		if (needed > 0)
			enlargeStringInfo(&message, needed);
	} while (needed > 0);
	refusal->sqlstate = sqlstate;
	refusal->message = message.data;
	refusal->detail = detail ? pstrdup(detail) : NULL;
	refusal->hint = hint ? pstrdup(hint) : NULL;
	item->refusal = refusal;
	return false;
}
