/*
 * networks.c: lists of IP addresses and ranges.
 *
 * IPv4 addresses are kept as the IPv6 addresses that stand for them, because a
 * socket for both reports its IPv4 peers like that.
 */
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "config/networks.h"

#define SEPARATORS ", \t"
#define MAPPED_BITS 96 /* of ::ffff:0.0.0.0 */

static bool parse_network(const char *text, size_t length, Network *network);
static bool parse_address(char *text, Network *network);
static bool contains(const Network *network, const Network *address);

bool
networks_parse(const char *text, Networks *networks)
{
	while (*(text += strspn(text, SEPARATORS)) != '\0')
	{
		size_t length = strcspn(text, SEPARATORS);
		Network *longer =
			realloc(networks->list, (networks->count + 1) * sizeof(*longer));

		if (longer == NULL)
			return false;
		networks->list = longer;
		if (!parse_network(text, length, &longer[networks->count]))
			return false;
		networks->count++;
		text += length;
	}
	return true;
}

bool
networks_contain(const Networks *networks, const char *address)
{
	Network one;

	if (networks->count == 0 || !parse_network(address, strlen(address), &one))
		return false;
	for (size_t i = 0; i < networks->count; i++)
	{
		if (contains(&networks->list[i], &one))
			return true;
	}
	return false;
}

/* ADDRESS or ADDRESS/BITS */
static bool
parse_network(const char *text, size_t length, Network *network)
{
	char copy[INET6_ADDRSTRLEN + sizeof("%eth0123456789ab/128")];
	char *slash;

	if (length >= sizeof(copy))
		return false;
	memcpy(copy, text, length);
	copy[length] = '\0';
	slash = strchr(copy, '/');
	if (slash != NULL)
		*slash = '\0';
	copy[strcspn(copy, "%")] = '\0';
	if (!parse_address(copy, network))
		return false;
	if (slash != NULL && (strlen(slash + 1) > 3 || slash[1] == '\0' ||
						  slash[1 + strspn(slash + 1, "0123456789")] != '\0'))
		return false;
	network->bits = slash != NULL ? network->bits + atoi(slash + 1) : 128;
	return network->bits <= 128;
}

/* Sets bits to those that are the same for all addresses of the family. */
static bool
parse_address(char *text, Network *network)
{
	static const unsigned char mapped[12] = {[10] = 0xff, [11] = 0xff};

	network->bits = 0;
	if (inet_pton(AF_INET6, text, network->address) == 1)
		return true;
	memcpy(network->address, mapped, sizeof(mapped));
	network->bits = MAPPED_BITS;
	return inet_pton(AF_INET, text, network->address + sizeof(mapped)) == 1;
}

static bool
contains(const Network *network, const Network *address)
{
	int bytes = network->bits / 8;
	int rest = network->bits % 8;

	return memcmp(network->address, address->address, (size_t) bytes) == 0 &&
		   (rest == 0 ||
			(network->address[bytes] ^ address->address[bytes]) >> (8 - rest) ==
				0);
}
