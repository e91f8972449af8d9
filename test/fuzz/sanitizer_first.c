/*
 * sanitizer_first.c: starts AddressSanitizer before the server's libraries.
 *
 * It starts itself with the first call of malloc(), which in a server that is
 * not built with it comes from inside bindtextdomain(), called by a library's
 * constructor. There the start asks for translated texts, unlocks what
 * bindtextdomain() has locked, and the next caller waits for ever. This
 * library is preloaded too, is initialized first (-z initfirst) and calls
 * malloc() where nothing is locked.
 */
#include <stdlib.h>

__attribute__((constructor)) static void
start_sanitizer(void)
{
	void *volatile memory = malloc(1);

	free(memory);
}
