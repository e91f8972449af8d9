/*
 * mail.h: reads whole e-mails.
 */
#ifndef MAIL_H
#define MAIL_H

#include <stdbool.h>
#include <stddef.h>

#include "text.h"

/* Call it once, before the first e-mail and before threads are started. */
void mail_init(void);

/*
 * Reads an e-mail: writes a JSON object with what it says, and the contents of
 * its attachments one behind the other, to which the object's offsets refer.
 * What is missing or cannot be read is left out. Returns false if memory runs
 * out.
 */
bool mail_read(const char *data, size_t length, Text *json, Text *files);

#endif /* MAIL_H */
