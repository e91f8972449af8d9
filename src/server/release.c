/*
 * server/release.c: the release that this library belongs to.
 *
 * It is compiled into this file alone, by the Makefile, which reads META.json.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"

#include "server/release.h"

const char *const release_name = MSGSTORE_RELEASE;

PG_FUNCTION_INFO_V1(msgstore_version);

Datum
msgstore_version(PG_FUNCTION_ARGS)
{
	(void) fcinfo;
	PG_RETURN_TEXT_P(cstring_to_text(release_name));
}
