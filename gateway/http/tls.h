/*
 * tls.h: the certificate that clients are shown, and the protocol's bounds.
 */
#ifndef TLS_H
#define TLS_H

#include <stdbool.h>

#include "config/config.h"
#include "text.h"

typedef struct Tls Tls;

/* Reads the files. On failure error says what is wrong with which of them. */
Tls *tls_create(const Config *config, Text *error);
void tls_free(Tls *tls);

/* Reads them again; if that fails, what was read before stays in use. */
bool tls_reload(Tls *tls, Text *error);

/* An SSL_CTX for the listener; it belongs to the Tls. */
void *tls_context(Tls *tls);

#endif /* TLS_H */
