-- router: what the nodes are told: the map of tenants, channels, limits, keys and
-- sources.

CREATE FUNCTION msgstore._at_slot_map(
    int,
    OUT slot int,
    OUT slots int,
    OUT map_version bigint,
    OUT settings_version bigint)
    RETURNS record
    LANGUAGE plproxy VOLATILE PARALLEL UNSAFE
    AS $$
    CLUSTER 'msgstore';
    RUN ON $1;
    SELECT m.slot, m.slots, m.version AS map_version,
           coalesce((SELECT n.settings_version FROM msgstore.node_state n), 0) AS settings_version
    FROM msgstore.slot_map() m;
    $$;

CREATE FUNCTION msgstore._at_publish(int, bigint, jsonb, bigint, jsonb) RETURNS text
    LANGUAGE plproxy VOLATILE PARALLEL UNSAFE
    AS $$
    CLUSTER 'msgstore';
    RUN ON $1;
    SELECT pg_catalog.concat(msgstore.set_slot_map($2::bigint, $3::jsonb),
                             msgstore.publish_settings($4::bigint, $5::jsonb));
    $$;

-- Rows as the tables have them. Built-in rows are on every node.
CREATE FUNCTION msgstore.export_settings() RETURNS jsonb
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    PERFORM msgstore._check_no_tenant('settings');
    RETURN jsonb_build_object(
        'channels', (SELECT coalesce(jsonb_agg(r), '[]') FROM msgstore.channels r
                     WHERE r.origin <> 'built-in'),
        'tenant_limits', (SELECT coalesce(jsonb_agg(r), '[]') FROM msgstore.tenant_limits r),
        'api_keys', (SELECT coalesce(jsonb_agg(r), '[]') FROM msgstore.api_keys r),
        'signature_schemes', (SELECT coalesce(jsonb_agg(r), '[]') FROM msgstore.signature_schemes r
                              WHERE r.origin <> 'built-in'),
        'providers', (SELECT coalesce(jsonb_agg(r), '[]') FROM msgstore.providers r
                      WHERE r.origin <> 'built-in'),
        'provider_rules', (SELECT coalesce(jsonb_agg(r), '[]') FROM msgstore.provider_rules r
                           WHERE r.origin <> 'built-in'),
        'sources', (SELECT coalesce(jsonb_agg(r), '[]') FROM msgstore.sources r),
        'source_secrets', (SELECT coalesce(jsonb_agg(r), '[]') FROM msgstore.source_secrets r));
END
$$;

-- The row of the cluster is locked to the end, so that two calls do not send
-- different settings with the same version.
CREATE FUNCTION msgstore.publish()
    RETURNS TABLE (slot int, map_version bigint, settings_version bigint, error text)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET client_min_messages = error
    AS $$
#variable_conflict use_column
DECLARE
    cluster msgstore.cluster;
    n int;
BEGIN
    PERFORM msgstore._check_no_tenant('settings');
    UPDATE msgstore.cluster c SET settings_version = c.settings_version + 1
    RETURNING c.* INTO cluster;
    FOR n IN SELECT s FROM msgstore._slots_of('') s LOOP
        slot := n;
        map_version := NULL;
        settings_version := NULL;
        error := NULL;
        BEGIN
            PERFORM msgstore._at_publish(n, cluster.map_version, msgstore._slot_map(),
                cluster.settings_version, msgstore.export_settings());
            map_version := cluster.map_version;
            settings_version := cluster.settings_version;
        EXCEPTION WHEN OTHERS THEN
            error := SQLERRM;
        END;
        RETURN NEXT;
    END LOOP;
END
$$;

-- What a slot is and says. Passwords of connections are not shown.
CREATE FUNCTION msgstore.slots()
    RETURNS TABLE (
        slot int,
        connection text,
        reachable boolean,
        map_version bigint,
        settings_version bigint,
        error text)
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET client_min_messages = error
    AS $$
#variable_conflict use_column
DECLARE
    count CONSTANT int := msgstore._slots();
    told record;
BEGIN
    PERFORM msgstore._check_no_tenant('slots');
    FOR n IN 0 .. count - 1 LOOP
        slot := n;
        connection := (
            SELECT regexp_replace(o.option_value,
                '\m(ssl)?password\s*=\s*(''(\\.|[^''\\])*''|\S+)', '\1password=***', 'g')
            FROM pg_foreign_server f, pg_options_to_table(f.srvoptions) o
            WHERE f.srvname = 'msgstore' AND o.option_name = 'p' || n);
        reachable := false;
        map_version := NULL;
        settings_version := NULL;
        error := NULL;
        BEGIN
            told := msgstore._at_slot_map(n);
            reachable := true;
            map_version := told.map_version;
            settings_version := told.settings_version;
            IF told.slot IS DISTINCT FROM n OR told.slots IS DISTINCT FROM count THEN
                error := format('the database is slot %s of %s', coalesce(told.slot::text, 'null'),
                                coalesce(told.slots::text, 'null'));
            END IF;
        EXCEPTION WHEN OTHERS THEN
            error := SQLERRM;
        END;
        RETURN NEXT;
    END LOOP;
END
$$;

REVOKE ALL ON FUNCTION msgstore._at_slot_map(int) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._at_publish(int, bigint, jsonb, bigint, jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.export_settings() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.publish() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.slots() FROM PUBLIC;

COMMENT ON FUNCTION msgstore._at_slot_map(int) IS
    'Returns what a slot says of itself';
COMMENT ON FUNCTION msgstore._at_publish(int, bigint, jsonb, bigint, jsonb) IS
    'Sends a slot (1) a version (2) of the map (3), and a version (4) of the settings (5)';
COMMENT ON FUNCTION msgstore.export_settings() IS
    'Returns the channels, tenant limits, API keys and sources of the router, with their secrets, as publish_settings() of a node takes them. Raises MS403 in a session of a tenant';
COMMENT ON FUNCTION msgstore.publish() IS
    'Sends the map of tenants and the settings to all slots. Returns the versions that each slot now has, or why it does not; call it again then. Raises MS403 in a session of a tenant';
COMMENT ON FUNCTION msgstore.slots() IS
    'Returns the connection of each slot, whether it answers, the versions of its map and its settings, and what is wrong with it. Raises MS403 in a session of a tenant';
