/*
 * hosts.h: the order in which the servers of a connection string are tried.
 */
#ifndef HOSTS_H
#define HOSTS_H

#include <stdbool.h>

#include <libpq-fe.h>

/* Longer lists are tried in the order of the connection string only. */
#define HOST_LIST_SIZE 512

/* Lists as libpq's parameters have them; empty: as in the connection string. */
typedef struct HostOrder
{
	char host[HOST_LIST_SIZE];
	char hostaddr[HOST_LIST_SIZE];
	char port[HOST_LIST_SIZE];
} HostOrder;

/* The number of servers in a connection's parameters. */
int hosts_count(PGconn *pg);

/*
 * Moves the server that the connection is waiting for, and those before it, to
 * the end of the order. Changes nothing if there is no other server.
 */
void hosts_pass_over(HostOrder *order, PGconn *pg);

#endif /* HOSTS_H */
