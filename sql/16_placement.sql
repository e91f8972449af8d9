-- tenancy: whether a tenant's rows can be written in this database. In a cluster, a
-- database is a slot; a fence refuses a tenant while it is moved.

-- At most one row.
CREATE TABLE msgstore.node_state (
    single boolean NOT NULL DEFAULT true,
    slot int,
    slots int,
    map_version bigint NOT NULL DEFAULT 0,
    settings_version bigint NOT NULL DEFAULT 0,
    CONSTRAINT node_state_pkey PRIMARY KEY (single),
    CONSTRAINT node_state_single CHECK (single),
    CONSTRAINT node_state_slot
        CHECK ((slot IS NULL) = (slots IS NULL) AND slot >= 0 AND slot < slots)
);

CREATE TABLE msgstore.slot_exceptions (
    tenant_id text COLLATE "C" NOT NULL,
    slot int NOT NULL,
    CONSTRAINT slot_exceptions_pkey PRIMARY KEY (tenant_id),
    CONSTRAINT slot_exceptions_slot CHECK (slot >= 0)
);

CREATE TABLE msgstore.tenant_fences (
    tenant_id text COLLATE "C" NOT NULL,
    fenced_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT tenant_fences_pkey PRIMARY KEY (tenant_id)
);

SELECT pg_catalog.pg_extension_config_dump('msgstore.node_state', '');
SELECT pg_catalog.pg_extension_config_dump('msgstore.slot_exceptions', '');
SELECT pg_catalog.pg_extension_config_dump('msgstore.tenant_fences', '');

CREATE FUNCTION msgstore._invalidate_placement() RETURNS trigger
    LANGUAGE c VOLATILE
    AS 'MODULE_PATHNAME', 'msgstore_invalidate_placement';

-- ALWAYS and FOR EACH ROW: as for the channels.
CREATE TRIGGER invalidate_placement
AFTER INSERT OR UPDATE OR DELETE ON msgstore.node_state
FOR EACH ROW EXECUTE FUNCTION msgstore._invalidate_placement();
CREATE TRIGGER invalidate_placement
AFTER INSERT OR UPDATE OR DELETE ON msgstore.slot_exceptions
FOR EACH ROW EXECUTE FUNCTION msgstore._invalidate_placement();
CREATE TRIGGER invalidate_placement
AFTER INSERT OR UPDATE OR DELETE ON msgstore.tenant_fences
FOR EACH ROW EXECUTE FUNCTION msgstore._invalidate_placement();

ALTER TABLE msgstore.node_state ENABLE ALWAYS TRIGGER invalidate_placement;
ALTER TABLE msgstore.slot_exceptions ENABLE ALWAYS TRIGGER invalidate_placement;
ALTER TABLE msgstore.tenant_fences ENABLE ALWAYS TRIGGER invalidate_placement;

CREATE FUNCTION msgstore._check_tenant_here(tenant text) RETURNS void
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'msgstore_check_tenant_here';

CREATE FUNCTION msgstore._check_own_tenant() RETURNS void
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'msgstore_check_own_tenant';

CREATE FUNCTION msgstore._check_scope_here() RETURNS void
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'msgstore_check_scope_here';

CREATE FUNCTION msgstore._check_all_here() RETURNS void
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'msgstore_check_all_here';

CREATE FUNCTION msgstore._is_elsewhere(tenant text) RETURNS boolean
    LANGUAGE c STABLE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'msgstore_is_elsewhere';

-- Not strict: without a tenant, only the slot is checked.
CREATE FUNCTION msgstore._check_slot_here(tenant text, slot int) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'msgstore_check_slot_here';

-- So that the levels of access have the same functions here and on a router.
CREATE FUNCTION msgstore._cluster_map() RETURNS jsonb
    LANGUAGE sql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS 'SELECT NULL::jsonb';

-- A tenant that moves is fenced here, or its rows arrive here by a subscription to
-- the publication of tenant_publication().
CREATE FUNCTION msgstore._any_tenant_moves() RETURNS boolean
    LANGUAGE sql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT EXISTS (SELECT FROM msgstore.tenant_fences)
        OR EXISTS (SELECT FROM pg_subscription s
                   JOIN pg_database d ON d.oid = s.subdbid AND d.datname = current_database()
                   CROSS JOIN unnest(s.subpublications) p
                   WHERE starts_with(p, 'msgstore_tenant_'))
    $$;

-- A router has published: it would undo what is changed here. The router has a
-- function of this name that does nothing.
CREATE FUNCTION msgstore._check_settings_here() RETURNS void
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    slot CONSTANT int := (
        SELECT n.slot FROM msgstore.node_state n WHERE n.settings_version > 0);
BEGIN
    IF slot IS NOT NULL THEN
        RAISE EXCEPTION 'the settings of slot % are kept by the router', slot
            USING ERRCODE = 'MS421',
                  DETAIL = 'API keys, limits and sources of a cluster are changed on its router, which would undo a change in a slot.',
                  HINT = 'Call the function on the router, and then msgstore.publish().';
    END IF;
END
$$;

-- The router has the same function.
CREATE FUNCTION msgstore.default_slot(tenant text, slots int) RETURNS int
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'msgstore_default_slot';

REVOKE ALL ON FUNCTION msgstore._invalidate_placement() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._check_tenant_here(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._check_own_tenant() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._check_scope_here() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._check_all_here() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._is_elsewhere(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._check_slot_here(text, int) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._cluster_map() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._any_tenant_moves() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._check_settings_here() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.default_slot(text, int) FROM PUBLIC;

COMMENT ON TABLE msgstore.node_state IS
    'The slot of this database in a cluster, in one row; no row if it never had a slot';
COMMENT ON COLUMN msgstore.node_state.single IS
    'Always true: there is at most one row';
COMMENT ON COLUMN msgstore.node_state.slot IS
    'Number of the slot, from 0; null if the database is not part of a cluster';
COMMENT ON COLUMN msgstore.node_state.slots IS
    'Number of slots in the cluster';
COMMENT ON COLUMN msgstore.node_state.map_version IS
    'Version of the exceptions that set_slot_map() stored last';
COMMENT ON COLUMN msgstore.node_state.settings_version IS
    'Version of the settings that publish_settings() stored last';
COMMENT ON TABLE msgstore.slot_exceptions IS
    'Tenants of the cluster that are in another slot than default_slot() says';
COMMENT ON COLUMN msgstore.slot_exceptions.tenant_id IS
    'Name of the tenant';
COMMENT ON COLUMN msgstore.slot_exceptions.slot IS
    'Slot of the tenant, from 0';
COMMENT ON TABLE msgstore.tenant_fences IS
    'Tenants whose rows cannot be written, because they are being moved';
COMMENT ON COLUMN msgstore.tenant_fences.tenant_id IS
    'Name of the tenant';
COMMENT ON COLUMN msgstore.tenant_fences.fenced_at IS
    'Time of fence_tenant()';
COMMENT ON FUNCTION msgstore._invalidate_placement() IS
    'Trigger function that makes every session read the slot, its exceptions and the fences again';
COMMENT ON FUNCTION msgstore._check_tenant_here(text) IS
    'Raises MS421 if the tenant belongs to another slot, MS503 while it is fenced';
COMMENT ON FUNCTION msgstore._check_own_tenant() IS
    'Raises MS421 if the session''s tenant belongs to another slot, MS503 while it is fenced. The empty tenant is a tenant like the others';
COMMENT ON FUNCTION msgstore._check_scope_here() IS
    'As _check_own_tenant(), but accepts a session without a tenant, which works on the rows of all tenants';
COMMENT ON FUNCTION msgstore._check_all_here() IS
    'As _check_own_tenant(); in a session without a tenant, raises MS503 while any tenant is fenced';
COMMENT ON FUNCTION msgstore._is_elsewhere(text) IS
    'Returns whether claims and periodic tasks must leave the rows of the tenant alone: it belongs to another slot or is fenced';
COMMENT ON FUNCTION msgstore._check_slot_here(text, int) IS
    'Raises MS421 unless this database is that slot, and the tenant, if it is not null, belongs to it. Accepts a fenced tenant, which can be read';
COMMENT ON FUNCTION msgstore._cluster_map() IS
    'Returns null: only a router has the map of a cluster';
COMMENT ON FUNCTION msgstore._any_tenant_moves() IS
    'Returns whether a tenant is fenced in this database, or being copied to it';
COMMENT ON FUNCTION msgstore._check_settings_here() IS
    'Raises MS421 if this database is a slot and a router has published its settings';
COMMENT ON FUNCTION msgstore.default_slot(text, int) IS
    'Returns the slot of a tenant without an exception: the first 8 bytes of the SHA-256 digest of its name in UTF-8, without the first bit, modulo the number of slots';
