/*
 * map.h: which slot of a cluster each tenant is in, and where the slots are.
 */
#ifndef MAP_H
#define MAP_H

#include <stdbool.h>

typedef struct SlotMap SlotMap;

/* Asks a router for its map. */
extern const char map_sql[];

/* Returns NULL if the router's answer is not a map, or out of memory. */
SlotMap *map_parse(const char *json);
void map_free(SlotMap *map);

int map_slots(const SlotMap *map);

/* A connection string without user and password. */
const char *map_connection(const SlotMap *map, int slot);

/* Does the router's session have a tenant of its own? */
bool map_is_scoped(const SlotMap *map);

/* The slot of a tenant, as tenant_slot() of the router says. */
int map_tenant_slot(const SlotMap *map, const char *tenant);

/*
 * The connection string of a slot, with user, password and what else the
 * gateway's own has. Returns NULL if one of them is invalid, or out of memory;
 * the caller frees it.
 */
char *map_join_connection(const char *own, const char *slot);

#endif /* MAP_H */
