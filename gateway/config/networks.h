/*
 * networks.h: lists of IP addresses and ranges, such as "10.0.0.0/8, ::1".
 */
#ifndef NETWORKS_H
#define NETWORKS_H

#include <stdbool.h>
#include <stddef.h>

typedef struct Network
{
	unsigned char address[16]; /* IPv4 as ::ffff:a.b.c.d */
	int bits;				   /* that count, from the left */
} Network;

typedef struct Networks
{
	Network *list;
	size_t count;
} Networks;

/*
 * Reads a list with commas or blanks between its entries. Returns false if an
 * entry is neither an address nor a range, or if memory runs out. The caller
 * frees the list.
 */
bool networks_parse(const char *text, Networks *networks);

/* Whether an address is in one of them; an IPv6 zone is ignored. */
bool networks_contain(const Networks *networks, const char *address);

#endif /* NETWORKS_H */
