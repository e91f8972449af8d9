/*
 * tls.h: the server's certificate and the accepted versions of TLS.
 */
#ifndef TLS_H
#define TLS_H

#include <stdbool.h>

#include "config/config.h"
#include "text.h"

typedef struct Tls Tls;

/* Reads the files. On failure error says which one is wrong, and why. */
Tls *tls_create(const Config *config, Text *error);
void tls_free(Tls *tls);

/* Reads the files again; on failure the old certificate stays in use. */
bool tls_reload(Tls *tls, const Config *config, Text *error);

/* The SSL_CTX for the listener; it belongs to the Tls. */
void *tls_context(Tls *tls);

#endif /* TLS_H */
