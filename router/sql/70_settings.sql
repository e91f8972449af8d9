-- router: what the nodes are told: the map of tenants, channels, limits, keys and
-- sources.

-- A version belongs to one state of the settings: the row of the cluster is locked to
-- the end of the transaction that changes them.
CREATE FUNCTION msgstore._settings_changed() RETURNS trigger
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    UPDATE msgstore.cluster SET settings_version = settings_version + 1;
    RETURN NULL;
END
$$;

-- Not when a key is used.
DO $$
DECLARE
    target text;
BEGIN
    FOREACH target IN ARRAY '{
        channels,tenant_limits,api_keys,signature_schemes,providers,provider_rules,
        sources,source_secrets}'::text[]
    LOOP
        EXECUTE (
            SELECT pg_catalog.format(
                'CREATE TRIGGER settings_changed AFTER INSERT OR DELETE OR TRUNCATE OR UPDATE OF %s'
                ' ON msgstore.%I FOR EACH STATEMENT EXECUTE FUNCTION msgstore._settings_changed()',
                pg_catalog.string_agg(pg_catalog.quote_ident(a.attname), ', '), target)
            FROM pg_catalog.pg_attribute a
            WHERE a.attrelid = ('msgstore.' || target)::pg_catalog.regclass AND a.attnum > 0
                AND NOT a.attisdropped AND a.attname <> 'last_used_at');
    END LOOP;
END
$$;

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

-- Nodes are sent committed rows only: they keep what they are sent, even if this
-- transaction is rolled back. Versions and rows are of one snapshot.
CREATE FUNCTION msgstore.publish()
    RETURNS TABLE (slot int, map_version bigint, settings_version bigint, error text)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET client_min_messages = error
    AS $$
#variable_conflict use_column
DECLARE
    sent record;
    n int;
BEGIN
    PERFORM msgstore._check_no_tenant('settings');
    IF pg_current_xact_id_if_assigned() IS NOT NULL THEN
        RAISE EXCEPTION 'cannot publish in a transaction that has changed rows'
            USING ERRCODE = 'MS400',
                  DETAIL = 'The slots would keep what is rolled back here.',
                  HINT = 'Commit first, and call publish() in the next transaction.';
    END IF;
    SELECT c.map_version, c.settings_version, msgstore._slot_map() AS map,
           msgstore.export_settings() AS settings
    INTO sent FROM msgstore.cluster c;
    FOR n IN SELECT s FROM msgstore._slots_of('') s LOOP
        slot := n;
        map_version := NULL;
        settings_version := NULL;
        error := NULL;
        BEGIN
            PERFORM msgstore._at_publish(n, sent.map_version, sent.map,
                sent.settings_version, sent.settings);
            map_version := sent.map_version;
            settings_version := sent.settings_version;
        EXCEPTION WHEN OTHERS THEN
            error := (msgstore._read_error(SQLSTATE, SQLERRM)).said;
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
    known CONSTANT msgstore.cluster := (SELECT c FROM msgstore.cluster c);
    told record;
BEGIN
    PERFORM msgstore._check_no_tenant('slots');
    FOR n IN 0 .. count - 1 LOOP
        slot := n;
        connection := msgstore._slot_connection(n);
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
            ELSIF told.map_version <> known.map_version THEN
                error := format('its map is %s than the router''s',
                    CASE WHEN told.map_version < known.map_version THEN 'older' ELSE 'newer' END);
            ELSIF told.settings_version <> known.settings_version THEN
                error := format('its settings are %s than the router''s',
                    CASE WHEN told.settings_version < known.settings_version THEN 'older' ELSE 'newer' END);
            END IF;
        EXCEPTION WHEN OTHERS THEN
            error := (msgstore._read_error(SQLSTATE, SQLERRM)).said;
        END;
        RETURN NEXT;
    END LOOP;
END
$$;

REVOKE ALL ON FUNCTION msgstore._settings_changed() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._at_slot_map(int) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._at_publish(int, bigint, jsonb, bigint, jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.export_settings() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.publish() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.slots() FROM PUBLIC;

COMMENT ON FUNCTION msgstore._settings_changed() IS
    'Trigger function that raises the version of the settings, so that slots() shows who has older ones';
COMMENT ON FUNCTION msgstore._at_slot_map(int) IS
    'Returns what a slot says of itself';
COMMENT ON FUNCTION msgstore._at_publish(int, bigint, jsonb, bigint, jsonb) IS
    'Sends a slot (1) a version (2) of the map (3), and a version (4) of the settings (5)';
COMMENT ON FUNCTION msgstore.export_settings() IS
    'Returns the channels, tenant limits, API keys and sources of the router, with their secrets, as publish_settings() of a node takes them. Raises MS403 in a session of a tenant';
COMMENT ON FUNCTION msgstore.publish() IS
    'Sends the map of tenants and the settings to all slots. Returns the versions that each slot now has, or why it does not; call it again then. Raises MS400 in a transaction that has changed rows, MS403 in a session of a tenant';
COMMENT ON FUNCTION msgstore.slots() IS
    'Returns the connection of each slot, whether it answers, the versions of its map and its settings, and what is wrong with it. Raises MS403 in a session of a tenant';
