-- cluster: settings that the router keeps and publishes to the slots.

CREATE FUNCTION msgstore._published_columns(name text, OUT keys text[], OUT others text[])
    LANGUAGE sql STABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT array_agg(a.attname::text ORDER BY a.attnum) FILTER (WHERE a.attnum = ANY (i.indkey)),
           array_agg(a.attname::text ORDER BY a.attnum) FILTER (
               WHERE a.attnum <> ALL (i.indkey)
                   -- Each database notes the use of a key by itself.
                   AND a.attname <> 'last_used_at')
    FROM pg_index i
    JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum > 0 AND NOT a.attisdropped
    WHERE i.indrelid = ('msgstore.' || name)::regclass AND i.indisprimary
    $$;

-- Until the router has published for the first time, the rows of a database are its own.
CREATE FUNCTION msgstore._check_not_own(name text, removed bigint) RETURNS void
    LANGUAGE plpgsql STABLE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF removed > 0 AND NOT EXISTS (
        SELECT FROM msgstore.node_state n WHERE n.settings_version > 0)
    THEN
        RAISE EXCEPTION 'table "%" of this database has rows that the router does not have', name
            USING ERRCODE = 'MS409',
                  DETAIL = format('The first settings of a router would remove %s of them.', removed),
                  HINT = 'Create them on the router, or remove them here, and publish again.';
    END IF;
END
$$;

-- Makes the table equal to the rows. Rows that the extension has created stay as they
-- are.
CREATE FUNCTION msgstore._publish_table(name text, rows jsonb) RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    columns CONSTANT record := msgstore._published_columns(name);
    given CONSTANT text := format(
        'jsonb_populate_recordset(NULL::msgstore.%I, $1) AS r%s', name,
        CASE WHEN 'origin' = ANY (columns.keys) THEN ' WHERE r.origin = ''custom''' ELSE '' END);
    same CONSTANT text := (
        SELECT string_agg(format('r.%1$I = t.%1$I', k), ' AND ') FROM unnest(columns.keys) k);
    removed bigint;
BEGIN
    EXECUTE format(
        'DELETE FROM msgstore.%I t WHERE %s AND NOT EXISTS ('
        ' SELECT FROM (SELECT r.* FROM %s) r WHERE %s)', name,
        CASE WHEN 'origin' = ANY (columns.keys) THEN 't.origin = ''custom''' ELSE 'true' END,
        given, same)
    USING rows;
    GET DIAGNOSTICS removed = ROW_COUNT;
    PERFORM msgstore._check_not_own(name, removed);
    EXECUTE (
        SELECT format(
            'INSERT INTO msgstore.%I AS t SELECT r.* FROM %s ON CONFLICT (%s) DO UPDATE SET %s'
            ' WHERE (%s) IS DISTINCT FROM (%s)', name, given,
            (SELECT string_agg(format('%I', k), ', ') FROM unnest(columns.keys) k),
            string_agg(format('%1$I = excluded.%1$I', o), ', '),
            -- As text: jsonpath has no equality.
            string_agg(format('t.%I::text', o), ', '), string_agg(format('excluded.%I::text', o), ', '))
        FROM unnest(columns.others) o)
    USING rows;
END
$$;

-- A channel is changed in place: triggers keep the built-in ones, and its origin.
CREATE FUNCTION msgstore._publish_channels(rows jsonb) RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    others CONSTANT text[] := array_remove(
        (msgstore._published_columns('channels')).others, 'origin');
    removed bigint;
BEGIN
    DELETE FROM msgstore.channels c
    WHERE c.origin = 'added' AND NOT EXISTS (
        SELECT FROM jsonb_populate_recordset(NULL::msgstore.channels, rows) r
        WHERE r.name = c.name);
    GET DIAGNOSTICS removed = ROW_COUNT;
    PERFORM msgstore._check_not_own('channels', removed);
    EXECUTE (
        SELECT format(
            'UPDATE msgstore.channels t SET %s'
            ' FROM jsonb_populate_recordset(NULL::msgstore.channels, $1) r'
            ' WHERE r.name = t.name AND (%s) IS DISTINCT FROM (%s)',
            string_agg(format('%1$I = r.%1$I', o), ', '),
            string_agg(format('t.%I', o), ', '), string_agg(format('r.%I', o), ', '))
        FROM unnest(others) o)
    USING rows;
    INSERT INTO msgstore.channels
    SELECT (jsonb_populate_record(r, '{"origin": "added"}')).*
    FROM jsonb_populate_recordset(NULL::msgstore.channels, rows) r
    WHERE NOT EXISTS (SELECT FROM msgstore.channels c WHERE c.name = r.name);
END
$$;

CREATE FUNCTION msgstore.publish_settings(version bigint, settings jsonb) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    known CONSTANT bigint := (SELECT n.settings_version FROM msgstore.node_state n FOR UPDATE);
    wrong text;
    target text;
BEGIN
    PERFORM msgstore._check_no_tenant('settings');
    SELECT s.key INTO wrong
    FROM jsonb_each(CASE jsonb_typeof(settings) WHEN 'object' THEN settings ELSE '{"settings": 0}' END) s
    WHERE jsonb_typeof(s.value) <> 'array' OR NOT EXISTS (
        SELECT FROM msgstore._table_classes() c
        WHERE c.class = 'published' AND c.name = s.key)
    LIMIT 1;
    IF version IS NULL OR settings IS NULL OR wrong IS NOT NULL THEN
        RAISE EXCEPTION 'invalid %', coalesce('settings "' || left(wrong, 64) || '"', 'version or settings')
            USING ERRCODE = 'MS400',
                  DETAIL = 'The settings must be an object with an array of rows for each table that is published, and the version must not be null.';
    ELSIF version < known THEN
        RAISE EXCEPTION 'version % of the settings is older than version % of this database',
            version, known
            USING ERRCODE = 'MS409';
    END IF;
    FOR target IN
        SELECT c.name FROM msgstore._table_classes() c
        WHERE c.class = 'published' AND settings ? c.name
    LOOP
        IF target = 'channels' THEN
            PERFORM msgstore._publish_channels(settings -> target);
        ELSE
            PERFORM msgstore._publish_table(target, settings -> target);
        END IF;
    END LOOP;
    INSERT INTO msgstore.node_state (settings_version) VALUES (version)
    ON CONFLICT (single) DO UPDATE SET settings_version = excluded.settings_version;
EXCEPTION
    WHEN integrity_constraint_violation OR data_exception THEN
        RAISE EXCEPTION 'invalid row in the settings of table "%"', target
            USING ERRCODE = 'MS400', DETAIL = SQLERRM;
END
$$;

REVOKE ALL ON FUNCTION msgstore._published_columns(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._check_not_own(text, bigint) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._publish_table(text, jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._publish_channels(jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.publish_settings(bigint, jsonb) FROM PUBLIC;

COMMENT ON FUNCTION msgstore._published_columns(text) IS
    'Returns the columns of a published table: its primary key, and the others that are published';
COMMENT ON FUNCTION msgstore._check_not_own(text, bigint) IS
    'Raises MS409 if the first settings that a router publishes would remove rows';
COMMENT ON FUNCTION msgstore._publish_table(text, jsonb) IS
    'Makes a table equal to an array of its rows';
COMMENT ON FUNCTION msgstore._publish_channels(jsonb) IS
    'Makes the channels equal to an array of rows; built-in channels that are not among them stay';
COMMENT ON FUNCTION msgstore.publish_settings(bigint, jsonb) IS
    'Makes channels, tenant_limits, api_keys, signature_schemes, providers, provider_rules, sources and source_secrets equal to those of the router, in one transaction: an object with an array of rows for each table. A table that is missing stays as it is. Raises MS400 for invalid settings, MS403 in a session of a tenant, MS409 if this database has a newer version, or if these are its first settings and it has rows that are not among them';
