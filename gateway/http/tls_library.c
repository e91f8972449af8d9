/*
 * tls_library.c: has civetweb find the OpenSSL that this program is linked to.
 *
 * civetweb looks for OpenSSL only when it is asked for TLS: by the file names
 * libssl.so and libcrypto.so, which the packages for development have and the
 * libraries' own have not. And Debian's civetweb 1.15 looks for a function by
 * the name that it had before OpenSSL 3; it goes on without it and jumps to
 * nowhere at the first connection. So it is given this program instead of the
 * two files: everything is in there, the old name below too.
 *
 * Only the program's own dlopen can do that. All other names go where they
 * would have gone.
 */
#include <dlfcn.h>
#include <string.h>

#include <openssl/ssl.h>

/* A macro where the function has its new name. */
#undef SSL_get_peer_certificate
X509 *SSL_get_peer_certificate(const SSL *ssl);

X509 *
SSL_get_peer_certificate(const SSL *ssl)
{
	return SSL_get1_peer_certificate(ssl);
}

void *
dlopen(const char *file, int mode)
{
	if (file != NULL &&
		(strcmp(file, "libssl.so") == 0 || strcmp(file, "libcrypto.so") == 0))
		file = NULL;
	return dlmopen(LM_ID_BASE, file, mode);
}
