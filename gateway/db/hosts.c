/*
 * hosts.c: the order in which the servers of a connection string are tried.
 *
 * libpq goes on to the next server when one refuses a connection. When one does
 * not answer at all, because its machine is gone, libpq leaves the time limit
 * to us, and with it the servers after the silent one: the next attempt must
 * begin behind it.
 */
#include <stdio.h>
#include <string.h>

#include "db/hosts.h"

static const char *find_option(const PQconninfoOption *options,
							   const char *keyword);
static int count_items(const char *list);
static const char *item(const char *list, int number, size_t *length);
static bool is_item(const char *list, int number, const char *text);
static void rotate(const char *list, int first, char *out);

int
hosts_count(PGconn *pg)
{
	PQconninfoOption *options = PQconninfo(pg);
	int hosts = count_items(find_option(options, "host"));
	int addresses = count_items(find_option(options, "hostaddr"));

	PQconninfoFree(options);
	return hosts > addresses ? hosts : addresses;
}

void
hosts_pass_over(HostOrder *order, PGconn *pg)
{
	PQconninfoOption *options = PQconninfo(pg);
	const char *host = find_option(options, "host");
	const char *hostaddr = find_option(options, "hostaddr");
	const char *port = find_option(options, "port");
	const char *names = count_items(host) > 0 ? host : hostaddr;
	int count = count_items(names);
	int silent = 0;

	if (count > 1 && strlen(host) < HOST_LIST_SIZE &&
		strlen(hostaddr) < HOST_LIST_SIZE && strlen(port) < HOST_LIST_SIZE)
	{
		while (silent < count - 1 && !(is_item(names, silent, PQhost(pg)) &&
									   is_item(port, silent, PQport(pg))))
			silent++;
		rotate(host, silent + 1, order->host);
		rotate(hostaddr, silent + 1, order->hostaddr);
		rotate(port, silent + 1, order->port);
	}
	PQconninfoFree(options);
}

/* "": not set. */
static const char *
find_option(const PQconninfoOption *options, const char *keyword)
{
	for (; options != NULL && options->keyword != NULL; options++)
	{
		if (strcmp(options->keyword, keyword) == 0)
			return options->val != NULL ? options->val : "";
	}
	return "";
}

/* An empty list has none; "a,,b" has three. */
static int
count_items(const char *list)
{
	int count = list[0] != '\0';

	for (; *list != '\0'; list++)
		count += *list == ',';
	return count;
}

static const char *
item(const char *list, int number, size_t *length)
{
	while (number > 0 && *list != '\0')
		number -= *list++ == ',';
	*length = strcspn(list, ",");
	return list;
}

/* One port is that of all servers, and an empty item is libpq's default. */
static bool
is_item(const char *list, int number, const char *text)
{
	size_t length;
	const char *one = item(list, count_items(list) > 1 ? number : 0, &length);

	return length == 0 ||
		   (strlen(text) == length && memcmp(one, text, length) == 0);
}

/* A list of one item, as of a port for all servers, stays as it is. */
static void
rotate(const char *list, int first, char *out)
{
	int count = count_items(list);
	size_t used = 0;

	out[0] = '\0';
	for (int i = 0; i < count; i++)
	{
		size_t length;
		const char *one = item(list, (first + i) % count, &length);

		used += (size_t) snprintf(out + used,
								  HOST_LIST_SIZE - used,
								  "%s%.*s",
								  i > 0 ? "," : "",
								  (int) length,
								  one);
	}
}
