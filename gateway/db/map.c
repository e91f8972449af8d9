/*
 * map.c: which slot of a cluster each tenant is in, and where the slots are.
 *
 * The router has the map, and its functions use the same rule: the exception
 * of the tenant, or else the first 63 bits of the SHA-256 digest of its name,
 * modulo the number of slots.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>
#include <libpq-fe.h>
#include <openssl/sha.h>

#include "db/map.h"
#include "text.h"

typedef struct Exception
{
	const char *tenant;
	int slot;
} Exception;

struct SlotMap
{
	cJSON *json; /* owns the strings */
	int slots;
	const char **connections;
	Exception *exceptions; /* by tenant */
	size_t exception_count;
	bool scoped;
};

const char map_sql[] = "SELECT msgstore._cluster_map()";

static bool read_connections(SlotMap *map);
static bool read_exceptions(SlotMap *map);
static int compare_exceptions(const void *left, const void *right);
static void add_options(const PQconninfoOption *options,
						const char *const *left_out,
						Text *out);
static bool is_listed(const char *const *names, const char *name);
static bool has_host(const PQconninfoOption *options);

SlotMap *
map_parse(const char *json)
{
	SlotMap *map = calloc(1, sizeof(*map));

	if (map == NULL)
		return NULL;
	map->json = cJSON_Parse(json);
	map->scoped =
		!cJSON_IsFalse(cJSON_GetObjectItemCaseSensitive(map->json, "scoped"));
	if (read_connections(map) && read_exceptions(map))
		return map;
	map_free(map);
	return NULL;
}

void
map_free(SlotMap *map)
{
	if (map == NULL)
		return;
	cJSON_Delete(map->json);
	free(map->connections);
	free(map->exceptions);
	free(map);
}

int
map_slots(const SlotMap *map)
{
	return map->slots;
}

const char *
map_connection(const SlotMap *map, int slot)
{
	return map->connections[slot];
}

bool
map_is_scoped(const SlotMap *map)
{
	return map->scoped;
}

int
map_tenant_slot(const SlotMap *map, const char *tenant)
{
	const Exception key = {.tenant = tenant};
	const Exception *found = bsearch(&key,
									 map->exceptions,
									 map->exception_count,
									 sizeof(key),
									 compare_exceptions);
	unsigned char digest[SHA256_DIGEST_LENGTH];
	uint64_t number = 0;

	if (found != NULL)
		return found->slot;
	SHA256((const unsigned char *) tenant, strlen(tenant), digest);
	for (int i = 0; i < 8; i++)
		number = number << 8 | digest[i];
	return (int) ((number & INT64_MAX) % (uint64_t) map->slots);
}

char *
map_join_connection(const char *own, const char *slot)
{
	static const char *const places[] =
		{"host", "hostaddr", "port", "dbname", "target_session_attrs", NULL};
	static const char *const database[] = {"dbname", NULL};
	/* The router's role is not the gateway's. */
	static const char *const identity[] = {"user",
										   "password",
										   "passfile",
										   NULL};
	PQconninfoOption *mine = PQconninfoParse(own, NULL);
	PQconninfoOption *its = PQconninfoParse(slot, NULL);
	Text text = {0};

	if (mine != NULL && its != NULL)
	{
		/* libpq takes the last of two values. A slot without a host is on the
		 * router's server. */
		add_options(mine, has_host(its) ? places : database, &text);
		add_options(its, identity, &text);
	}
	PQconninfoFree(mine);
	PQconninfoFree(its);
	if (!text.failed && text.length > 0)
		return text.data;
	text_free(&text);
	return NULL;
}

static bool
read_connections(SlotMap *map)
{
	const cJSON *list =
		cJSON_GetObjectItemCaseSensitive(map->json, "connections");
	const cJSON *each;
	int n = 0;

	map->slots = cJSON_GetArraySize(list);
	if (map->slots == 0)
		return false;
	map->connections = calloc((size_t) map->slots, sizeof(char *));
	if (map->connections == NULL)
		return false;
	cJSON_ArrayForEach(each, list)
	{
		if (!cJSON_IsString(each))
			return false;
		map->connections[n++] = each->valuestring;
	}
	return true;
}

static bool
read_exceptions(SlotMap *map)
{
	const cJSON *list =
		cJSON_GetObjectItemCaseSensitive(map->json, "exceptions");
	const cJSON *each;
	size_t n = 0;

	if (!cJSON_IsObject(list))
		return false;
	map->exception_count = (size_t) cJSON_GetArraySize(list);
	map->exceptions = calloc(map->exception_count + 1, sizeof(Exception));
	if (map->exceptions == NULL)
		return false;
	cJSON_ArrayForEach(each, list)
	{
		if (!cJSON_IsNumber(each) || each->valueint < 0 ||
			each->valueint >= map->slots)
			return false;
		map->exceptions[n++] = (Exception){each->string, each->valueint};
	}
	qsort(map->exceptions, n, sizeof(Exception), compare_exceptions);
	return true;
}

static int
compare_exceptions(const void *left, const void *right)
{
	return strcmp(((const Exception *) left)->tenant,
				  ((const Exception *) right)->tenant);
}

static void
add_options(const PQconninfoOption *options,
			const char *const *left_out,
			Text *out)
{
	for (const PQconninfoOption *each = options; each->keyword != NULL; each++)
	{
		if (each->val == NULL || is_listed(left_out, each->keyword))
			continue;
		text_addf(out, "%s%s='", out->length > 0 ? " " : "", each->keyword);
		for (const char *at = each->val; *at != '\0'; at++)
		{
			if (*at == '\'' || *at == '\\')
				text_add(out, "\\", 1);
			text_add(out, at, 1);
		}
		text_add(out, "'", 1);
	}
}

static bool
is_listed(const char *const *names, const char *name)
{
	while (*names != NULL && strcmp(*names, name) != 0)
		names++;
	return *names != NULL;
}

static bool
has_host(const PQconninfoOption *options)
{
	for (const PQconninfoOption *each = options; each->keyword != NULL; each++)
	{
		if (each->val != NULL && (strcmp(each->keyword, "host") == 0 ||
								  strcmp(each->keyword, "hostaddr") == 0))
			return true;
	}
	return false;
}
