/*
 * fuzz.h: what the targets share: how a broken promise ends the run.
 */
#ifndef FUZZ_H
#define FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/*
 * libFuzzer takes the abort for the crash it is, keeps the input in a file and
 * ends with an exit code.
 */
#define PROMISE(kept)                                                          \
	do                                                                         \
	{                                                                          \
		if (!(kept))                                                           \
		{                                                                      \
			fprintf(stderr,                                                    \
					"%s:%d: broken promise: %s\n",                             \
					__FILE__,                                                  \
					__LINE__,                                                  \
					#kept);                                                    \
			abort();                                                           \
		}                                                                      \
	} while (0)

#endif /* FUZZ_H */
