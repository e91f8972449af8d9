-- cluster: the slot of this database, and the tenants that are in other slots than
-- default_slot() says.

CREATE FUNCTION msgstore._look_again() RETURNS void
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'msgstore_look_again';

CREATE FUNCTION msgstore._wake_for_tenants() RETURNS void
    LANGUAGE sql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT msgstore._look_again();
    SELECT msgstore._wake_senders();
    SELECT msgstore._watch_outbox();
    SELECT msgstore._announce_search();
    $$;

CREATE FUNCTION msgstore.set_slot(slot int, slots int) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_variable
BEGIN
    PERFORM msgstore._check_no_tenant('slots');
    IF (slot IS NULL) <> (slots IS NULL) OR slot < 0 OR slot >= slots THEN
        RAISE EXCEPTION 'invalid slot % of % slots', coalesce(slot::text, 'null'),
            coalesce(slots::text, 'null')
            USING ERRCODE = 'MS400',
                  DETAIL = 'The slot must be between 0 and the number of slots minus 1; both are null for a database outside of a cluster.';
    END IF;
    INSERT INTO msgstore.node_state AS n (slot, slots) VALUES (slot, slots)
    ON CONFLICT (single) DO UPDATE SET slot = excluded.slot, slots = excluded.slots;
    IF slot IS NULL THEN
        DELETE FROM msgstore.slot_exceptions;
        UPDATE msgstore.node_state n SET map_version = 0, settings_version = 0;
    END IF;
    PERFORM msgstore._wake_for_tenants();
END
$$;

CREATE FUNCTION msgstore.set_slot_map(version bigint, exceptions jsonb) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    state msgstore.node_state;
    wrong text;
BEGIN
    PERFORM msgstore._check_no_tenant('slots');
    IF version IS NULL OR jsonb_typeof(exceptions) IS DISTINCT FROM 'object' THEN
        RAISE EXCEPTION 'invalid slot map'
            USING ERRCODE = 'MS400',
                  DETAIL = 'The version must not be null, and the exceptions must be a JSON object with a slot for each tenant.';
    END IF;
    SELECT n.* INTO state FROM msgstore.node_state n FOR UPDATE;
    IF state.slot IS NULL THEN
        RAISE EXCEPTION 'this database has no slot'
            USING ERRCODE = 'MS409',
                  HINT = 'Call set_slot() first.';
    ELSIF version < state.map_version THEN
        RAISE EXCEPTION 'version % of the slot map is older than version % of this database',
            version, state.map_version
            USING ERRCODE = 'MS409';
    END IF;
    SELECT e.key INTO wrong
    FROM jsonb_each(exceptions) e
    WHERE octet_length(e.key) > 255
        OR NOT CASE jsonb_typeof(e.value)
            WHEN 'number' THEN (e.value #>> '{}')::numeric BETWEEN 0 AND state.slots - 1
                AND (e.value #>> '{}')::numeric % 1 = 0
            ELSE false END
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'invalid slot % of tenant "%"', left((exceptions -> wrong)::text, 64),
            left(wrong, 64)
            USING ERRCODE = 'MS400',
                  DETAIL = format('The slot must be a number between 0 and %s.', state.slots - 1);
    END IF;
    DELETE FROM msgstore.slot_exceptions;
    INSERT INTO msgstore.slot_exceptions (tenant_id, slot)
    SELECT e.key, (e.value #>> '{}')::numeric::int FROM jsonb_each(exceptions) e;
    UPDATE msgstore.node_state n SET map_version = version;
    PERFORM msgstore._wake_for_tenants();
END
$$;

CREATE FUNCTION msgstore.slot_map(
    OUT slot int,
    OUT slots int,
    OUT version bigint,
    OUT exceptions jsonb)
    LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
BEGIN
    PERFORM msgstore._check_no_tenant('slots');
    SELECT n.slot, n.slots, n.map_version INTO slot_map.slot, slot_map.slots, slot_map.version
    FROM msgstore.node_state n;
    slot_map.version := coalesce(slot_map.version, 0);
    slot_map.exceptions := (
        SELECT coalesce(jsonb_object_agg(e.tenant_id, e.slot), '{}')
        FROM msgstore.slot_exceptions e);
END
$$;

CREATE FUNCTION msgstore.tenant_slot(tenant text) RETURNS int
    LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    PERFORM msgstore._check_tenant(tenant);
    RETURN (
        SELECT coalesce(e.slot, msgstore.default_slot(tenant, n.slots))
        FROM msgstore.node_state n
        LEFT JOIN msgstore.slot_exceptions e ON e.tenant_id = tenant
        WHERE n.slot IS NOT NULL);
END
$$;

REVOKE ALL ON FUNCTION msgstore._look_again() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._wake_for_tenants() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.set_slot(int, int) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.set_slot_map(bigint, jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.slot_map() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.tenant_slot(text) FROM PUBLIC;

COMMENT ON FUNCTION msgstore._look_again() IS
    'Wakes the workers at the commit; they search all due events and expired claims';
COMMENT ON FUNCTION msgstore._wake_for_tenants() IS
    'Has workers and senders look for work of tenants that they have passed over, once this transaction commits';
COMMENT ON FUNCTION msgstore.set_slot(int, int) IS
    'Makes this database a slot, from 0, of a cluster with so many slots: calls that write rows of a tenant of another slot raise MS421. Nulls make it a database outside of a cluster again. Raises MS400 for an invalid slot, MS403 in a session of a tenant';
COMMENT ON FUNCTION msgstore.set_slot_map(bigint, jsonb) IS
    'Replaces the exceptions: an object with the slot of each tenant that is in another one than default_slot() says. Raises MS400 for invalid exceptions, MS403 in a session of a tenant, MS409 if this database has no slot or a newer map';
COMMENT ON FUNCTION msgstore.slot_map() IS
    'Returns the slot of this database, the number of slots (nulls outside of a cluster), the version of the map (0: none yet) and its exceptions. Raises MS403 in a session of a tenant';
COMMENT ON FUNCTION msgstore.tenant_slot(text) IS
    'Returns the slot of a tenant, by the exceptions or else by default_slot(); null outside of a cluster. Raises MS400 for an invalid name, MS403 in the session of another tenant';
