/*
 * server/random.h: random bytes for ids.
 */
#ifndef SERVER_RANDOM_H
#define SERVER_RANDOM_H

/* Each byte is returned once. n is at most 16. */
extern void random_take(unsigned char *bytes, int n);

#endif /* SERVER_RANDOM_H */
