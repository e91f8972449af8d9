-- router: the map of tenants to slots.

-- One row. The connections of the slots are the options p0, p1, … of the foreign
-- server "msgstore".
CREATE TABLE msgstore.cluster (
    slots int NOT NULL,
    map_version bigint NOT NULL DEFAULT 1,
    settings_version bigint NOT NULL DEFAULT 1,
    single boolean NOT NULL DEFAULT true,
    CONSTRAINT cluster_pkey PRIMARY KEY (single),
    CONSTRAINT cluster_one_row CHECK (single),
    CONSTRAINT cluster_slots CHECK (slots BETWEEN 1 AND 4096)
);

CREATE TABLE msgstore.slot_exceptions (
    tenant_id text COLLATE "C" NOT NULL,
    slot int NOT NULL,
    CONSTRAINT slot_exceptions_pkey PRIMARY KEY (tenant_id),
    CONSTRAINT slot_exceptions_tenant_id_length CHECK (octet_length(tenant_id) <= 255),
    CONSTRAINT slot_exceptions_slot CHECK (slot >= 0)
);

SELECT pg_catalog.pg_extension_config_dump('msgstore.cluster', '');
SELECT pg_catalog.pg_extension_config_dump('msgstore.slot_exceptions', '');

CREATE FUNCTION msgstore.default_slot(tenant text, slots int) RETURNS int
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'msgstore_default_slot';

CREATE FUNCTION msgstore._no_slots() RETURNS int
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    RAISE EXCEPTION 'the cluster has no slots'
        USING ERRCODE = 'MS503',
              HINT = 'Create the foreign server "msgstore" with the connection of each slot, and call msgstore.set_slots().';
END
$$;

CREATE FUNCTION msgstore._slots() RETURNS int
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN coalesce((SELECT c.slots FROM msgstore.cluster c), msgstore._no_slots());

CREATE FUNCTION msgstore.tenant_slot(tenant text) RETURNS int
    LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    found int;
BEGIN
    -- Every call comes here: an expression costs less than a statement, and one
    -- statement less than two.
    IF tenant IS NULL OR octet_length(tenant) > 255 OR msgstore._tenant_scope() NOT IN ('', tenant) THEN
        PERFORM msgstore._check_tenant(tenant);
    END IF;
    SELECT coalesce(e.slot, msgstore.default_slot(tenant, c.slots)) INTO found
    FROM msgstore.cluster c
    LEFT JOIN msgstore.slot_exceptions e ON e.tenant_id = tenant;
    RETURN coalesce(found, msgstore._no_slots());
END
$$;

-- The slot of a call that stores. Without a tenant, rows have none, which is a
-- tenant like any other.
CREATE FUNCTION msgstore._slot_to_write(tenant text) RETURNS int
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN msgstore.tenant_slot(coalesce(tenant, ''));

-- The slot of a call that reads or changes what is stored. Without a tenant, one
-- database would find it whosever it is; here it may be in any slot.
CREATE FUNCTION msgstore._slot_to_read(tenant text, function text) RETURNS int
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF coalesce(tenant, '') <> '' THEN
        RETURN msgstore.tenant_slot(tenant);
    END IF;
    IF msgstore._slots() = 1 THEN
        RETURN 0;
    END IF;
    RAISE EXCEPTION 'function "%" needs a tenant', function
        USING ERRCODE = 'MS400',
              DETAIL = 'Tenants are stored in several databases, and a call is made in one.',
              HINT = 'Set "msgstore.tenant_id", or use an API key of the tenant.';
END
$$;

CREATE FUNCTION msgstore._check_slot(slot int) RETURNS void
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF slot IS NULL OR slot NOT BETWEEN 0 AND msgstore._slots() - 1 THEN
        RAISE EXCEPTION 'invalid slot %', coalesce(slot::text, 'null')
            USING ERRCODE = 'MS400',
                  DETAIL = format('The slot must be between 0 and %s.', msgstore._slots() - 1);
    END IF;
END
$$;

CREATE FUNCTION msgstore.set_slots(slots int) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    PERFORM msgstore._check_no_tenant('slots');
    IF slots IS NULL OR slots NOT BETWEEN 1 AND 4096 THEN
        RAISE EXCEPTION 'invalid number of slots: %', coalesce(slots::text, 'null')
            USING ERRCODE = 'MS400',
                  DETAIL = 'The number of slots must be between 1 and 4096.';
    END IF;
    INSERT INTO msgstore.cluster (slots) VALUES (set_slots.slots) ON CONFLICT DO NOTHING;
    IF NOT FOUND AND msgstore._slots() <> set_slots.slots THEN
        RAISE EXCEPTION 'the cluster already has % slots', msgstore._slots()
            USING ERRCODE = 'MS409',
                  DETAIL = 'The number of slots is fixed, because a tenant''s slot depends on it.',
                  HINT = 'Move slots to more servers.';
    END IF;
END
$$;

CREATE FUNCTION msgstore.add_exception(tenant text, slot int) RETURNS bigint
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    version bigint;
BEGIN
    PERFORM msgstore._check_no_tenant('slots');
    PERFORM msgstore._check_tenant(tenant);
    PERFORM msgstore._check_slot(slot);
    UPDATE msgstore.cluster SET map_version = map_version + 1
    RETURNING map_version INTO version;
    INSERT INTO msgstore.slot_exceptions AS e (tenant_id, slot)
    VALUES (tenant, add_exception.slot)
    ON CONFLICT (tenant_id) DO UPDATE SET slot = excluded.slot;
    RETURN version;
END
$$;

CREATE FUNCTION msgstore.drop_exception(tenant text) RETURNS bigint
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    version bigint;
BEGIN
    PERFORM msgstore._check_no_tenant('slots');
    UPDATE msgstore.cluster SET map_version = map_version + 1
    RETURNING map_version INTO version;
    DELETE FROM msgstore.slot_exceptions e WHERE e.tenant_id = tenant;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'tenant "%" is in its default slot', left(tenant, 64)
            USING ERRCODE = 'MS404';
    END IF;
    RETURN version;
END
$$;

CREATE FUNCTION msgstore._slot_map() RETURNS jsonb
    LANGUAGE sql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT coalesce(jsonb_object_agg(e.tenant_id, e.slot), '{}') FROM msgstore.slot_exceptions e
    $$;

-- The functions that change keys, limits and sources are those of a node, where they
-- are refused in a cluster.
CREATE FUNCTION msgstore._check_settings_here() RETURNS void
    LANGUAGE sql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS '';

-- Without passwords.
CREATE FUNCTION msgstore._slot_connection(slot int) RETURNS text
    LANGUAGE sql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT msgstore._without_passwords(o.option_value)
    FROM pg_foreign_server f, pg_options_to_table(f.srvoptions) o
    WHERE f.srvname = 'msgstore' AND o.option_name = 'p' || slot
    $$;

-- Exceptions and the tenant of the session's role, if it has one, decide with
-- tenant_slot() where a call runs.
CREATE FUNCTION msgstore._cluster_map() RETURNS jsonb
    LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    RETURN jsonb_build_object(
        'version', (SELECT c.map_version FROM msgstore.cluster c),
        'exceptions', msgstore._slot_map(),
        'connections', (SELECT jsonb_agg(msgstore._slot_connection(s) ORDER BY s)
                        FROM generate_series(0, msgstore._slots() - 1) s),
        'scoped', msgstore._tenant_scope() <> '');
END
$$;

REVOKE ALL ON FUNCTION msgstore._slot_connection(int) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._cluster_map() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.default_slot(text, int) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._no_slots() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._slots() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.tenant_slot(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._slot_to_write(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._slot_to_read(text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._check_slot(int) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.set_slots(int) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.add_exception(text, int) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.drop_exception(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._slot_map() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._check_settings_here() FROM PUBLIC;

COMMENT ON TABLE msgstore.cluster IS
    'The number of slots, and the versions of what the nodes are told. One row';
COMMENT ON COLUMN msgstore.cluster.slots IS
    'Number of slots; fixed';
COMMENT ON COLUMN msgstore.cluster.map_version IS
    'Version of the map of tenants to slots';
COMMENT ON COLUMN msgstore.cluster.settings_version IS
    'Version of channels, limits, keys and sources';
COMMENT ON COLUMN msgstore.cluster.single IS
    'Always true, so that there is one row';
COMMENT ON TABLE msgstore.slot_exceptions IS
    'Tenants that are not in their default slot';
COMMENT ON COLUMN msgstore.slot_exceptions.tenant_id IS
    'Tenant';
COMMENT ON COLUMN msgstore.slot_exceptions.slot IS
    'Slot of the tenant, from 0';
COMMENT ON FUNCTION msgstore.default_slot(text, int) IS
    'Returns the slot of a tenant that is not in slot_exceptions: the first 8 bytes of the SHA-256 of its name, without the sign, modulo the number of slots';
COMMENT ON FUNCTION msgstore._no_slots() IS
    'Raises MS503: the cluster has no slots yet';
COMMENT ON FUNCTION msgstore._slots() IS
    'Returns the number of slots. Raises MS503 if it is not set';
COMMENT ON FUNCTION msgstore.tenant_slot(text) IS
    'Returns the slot of a tenant, from 0. Raises MS400 for an invalid name, MS403 in the session of another tenant, MS503 if the cluster has no slots';
COMMENT ON FUNCTION msgstore._slot_to_write(text) IS
    'Returns the slot of a call that stores for a tenant, or for none';
COMMENT ON FUNCTION msgstore._slot_to_read(text, text) IS
    'Returns the slot of a call that reads for a tenant. Raises MS400 without a tenant, unless there is one slot';
COMMENT ON FUNCTION msgstore._check_slot(int) IS
    'Raises MS400 for a slot that does not exist';
COMMENT ON FUNCTION msgstore.set_slots(int) IS
    'Sets the number of slots, once. Raises MS400 for an invalid number, MS409 if the cluster has another one';
COMMENT ON FUNCTION msgstore.add_exception(text, int) IS
    'Assigns a tenant to a slot other than its default, and returns the new version of the map, which publish() sends to the nodes. Moves no data. Raises MS400 for an invalid tenant or slot';
COMMENT ON FUNCTION msgstore.drop_exception(text) IS
    'Assigns a tenant to its default slot again, and returns the new version of the map. Moves no data. Raises MS404 if it is there';
COMMENT ON FUNCTION msgstore._slot_connection(int) IS
    'Returns the connection string of a slot without passwords';
COMMENT ON FUNCTION msgstore._cluster_map() IS
    'Returns what a gateway or a sender needs to call the slots directly: the version of the map, the exceptions, the connection string of each slot without passwords, and whether the session has a tenant. Raises MS503 if the cluster has no slots';
COMMENT ON FUNCTION msgstore._slot_map() IS
    'Returns the exceptions as set_slot_map() of a node takes them';
COMMENT ON FUNCTION msgstore._check_settings_here() IS
    'Does nothing: the settings of a cluster are changed here';

-- The slots of a call that has something to say about all tenants.
CREATE FUNCTION msgstore._slots_of(tenant text) RETURNS SETOF int
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF tenant <> '' THEN
        RETURN NEXT msgstore.tenant_slot(tenant);
    ELSE
        RETURN QUERY SELECT s FROM generate_series(0, msgstore._slots() - 1) s;
    END IF;
END
$$;

REVOKE ALL ON FUNCTION msgstore._slots_of(text) FROM PUBLIC;

COMMENT ON FUNCTION msgstore._slots_of(text) IS
    'Returns the slot of the tenant, or all slots without one';
