/*
 * sources/twilio_url.h: the forms of a URL that Twilio may have signed.
 */
#ifndef SOURCES_TWILIO_URL_H
#define SOURCES_TWILIO_URL_H

#include "nodes/pg_list.h"

/* A list of strings, without repeated ones. */
extern List *twilio_url_forms(const char *url);

#endif /* SOURCES_TWILIO_URL_H */
