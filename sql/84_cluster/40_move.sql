-- cluster: exports the queues of a fenced tenant, and imports them.

CREATE FUNCTION msgstore._check_elsewhere(tenant text) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    PERFORM msgstore._check_tenant(tenant);
    IF NOT msgstore._is_elsewhere(tenant) THEN
        RAISE EXCEPTION 'tenant "%" is in use in this database', left(tenant, 64)
            USING ERRCODE = 'MS409',
                  DETAIL = 'The tenant must be fenced or belong to another slot.',
                  HINT = 'Call fence_tenant() first.';
    END IF;
END
$$;

-- Pages of 5,000 rows: the first empties the target's tables, so that an import can be
-- repeated, and the last one finishes it. There is at least one.
CREATE FUNCTION msgstore.export_tenant(tenant text) RETURNS SETOF jsonb
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    page jsonb := jsonb_build_object('format', 1, 'tenant', tenant, 'first', true);
    rows jsonb;
    source text;
BEGIN
    PERFORM msgstore._check_no_tenant('exports');
    PERFORM msgstore._check_elsewhere(tenant);
    FOR source IN
        SELECT t.name FROM msgstore._tenant_tables() t WHERE t.class = 'exported'
    LOOP
        FOR rows IN EXECUTE format(
            'SELECT jsonb_agg(to_jsonb(r) - ''n'') FROM ('
            ' SELECT t.*, row_number() OVER () AS n FROM msgstore.%I t WHERE t.tenant_id = $1) r'
            ' GROUP BY r.n / 5000', source) USING tenant
        LOOP
            RETURN NEXT page || jsonb_build_object('table', source, 'rows', rows);
            page := page - 'first';
        END LOOP;
    END LOOP;
    RETURN NEXT page || jsonb_build_object('last', true);
END
$$;

CREATE FUNCTION msgstore._begin_import(tenant text) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    target text;
BEGIN
    FOR target IN
        SELECT t.name FROM msgstore._tenant_tables() t WHERE t.class = 'exported'
    LOOP
        EXECUTE format('DELETE FROM msgstore.%I t WHERE t.tenant_id = $1', target) USING tenant;
    END LOOP;
END
$$;

-- The scans of the purge begin again: they have passed the age of the tenant's events.
CREATE FUNCTION msgstore._finish_import(tenant text) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    PERFORM msgstore._recount_tenant(tenant), msgstore._recount_tallies(tenant);
    DELETE FROM msgstore.purge_progress;
    PERFORM msgstore.recount();
    PERFORM msgstore._wake_for_tenants();
END
$$;

-- The columns that rows of a page are refused for: those of the constraint, or the first
-- one whose values are not of its type.
CREATE FUNCTION msgstore._invalid_fields(target text, rows jsonb, constraint_name text)
    RETURNS text
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    fields text := (
        SELECT string_agg(format('"%s"', a.attname), ', ' ORDER BY a.attnum)
        FROM pg_constraint c
        JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = ANY (c.conkey)
        WHERE c.conrelid = ('msgstore.' || target)::regclass AND c.conname = constraint_name);
    field record;
BEGIN
    IF fields IS NOT NULL THEN
        RETURN fields;
    ELSIF jsonb_path_exists(rows, 'strict $ ? (@.type() != "array" || exists (@[*] ? (@.type() != "object")))') THEN
        RETURN '"rows"';
    END IF;
    FOR field IN
        SELECT a.attname AS name, format_type(a.atttypid, a.atttypmod) AS type
        FROM pg_attribute a
        WHERE a.attrelid = ('msgstore.' || target)::regclass AND a.attnum > 0 AND NOT a.attisdropped
        ORDER BY a.attnum
    LOOP
        BEGIN
            EXECUTE format('SELECT count(r.%1$I) FROM jsonb_to_recordset($1) AS r (%1$I %2$s)',
                           field.name, field.type) USING rows;
        EXCEPTION WHEN data_exception THEN
            RETURN format('"%s"', field.name);
        END;
    END LOOP;
    RETURN '"rows"';
END
$$;

CREATE FUNCTION msgstore._import_rows(target text, rows jsonb) RETURNS bigint
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    imported bigint;
    field text;
    violated text;
BEGIN
    EXECUTE format(
        'INSERT INTO msgstore.%1$I SELECT * FROM jsonb_populate_recordset(NULL::msgstore.%1$I, $1)',
        target) USING rows;
    GET DIAGNOSTICS imported = ROW_COUNT;
    RETURN imported;
EXCEPTION
    WHEN data_exception OR integrity_constraint_violation OR program_limit_exceeded THEN
        GET STACKED DIAGNOSTICS field = COLUMN_NAME, violated = CONSTRAINT_NAME;
        RAISE EXCEPTION 'invalid % in a page of table "%"',
            coalesce('"' || nullif(field, '') || '"',
                     msgstore._invalid_fields(target, rows, violated)), target
            USING ERRCODE = 'MS400',
                  DETAIL = format('The server says: %s.', SQLERRM);
END
$$;

CREATE FUNCTION msgstore.import_tenant(tenant text, page jsonb) RETURNS bigint
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    target CONSTANT text := page ->> 'table';
    imported bigint := 0;
BEGIN
    PERFORM msgstore._check_no_tenant('imports');
    PERFORM msgstore._check_elsewhere(tenant);
    IF page ->> 'format' IS DISTINCT FROM '1' OR page ->> 'tenant' IS DISTINCT FROM tenant
        OR target IS NOT NULL AND NOT EXISTS (
            SELECT FROM msgstore._tenant_tables() t
            WHERE t.class = 'exported' AND t.name = target)
        OR EXISTS (
            SELECT FROM jsonb_path_query(page, '$.rows[*].tenant_id') r
            WHERE r #>> '{}' IS DISTINCT FROM tenant)
    THEN
        RAISE EXCEPTION 'invalid page of tenant "%"', left(tenant, 64)
            USING ERRCODE = 'MS400',
                  DETAIL = 'The page must be one that export_tenant() returned for this tenant.';
    END IF;
    IF page ? 'first' THEN
        PERFORM msgstore._begin_import(tenant);
    END IF;
    IF target IS NOT NULL THEN
        imported := msgstore._import_rows(target, page -> 'rows');
    END IF;
    IF page ? 'last' THEN
        PERFORM msgstore._finish_import(tenant);
    END IF;
    RETURN imported;
END
$$;

-- Others draw from the sequence meanwhile: after a large gap it is set so far ahead
-- that it is not set back.
CREATE FUNCTION msgstore._align_sequence(name text, least_value bigint) RETURNS bigint
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    sequence CONSTANT regclass := ('msgstore.' || name)::regclass;
    gap CONSTANT bigint := coalesce(least_value, 0) - coalesce(pg_sequence_last_value(sequence), 0);
BEGIN
    IF gap > 10000 THEN
        PERFORM setval(sequence, least_value + 1000000);
    ELSIF gap > 0 THEN
        PERFORM nextval(sequence) FROM generate_series(1, gap);
    END IF;
    RETURN pg_sequence_last_value(sequence);
END
$$;

CREATE FUNCTION msgstore.align_sequences(
    tenant text,
    OUT conversation_number bigint,
    OUT stream_position bigint)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    PERFORM msgstore._check_no_tenant('sequences');
    PERFORM msgstore._check_tenant(tenant);
    conversation_number := msgstore._align_sequence('conversations_number_seq', (
        SELECT max(c.number) FROM msgstore.conversation_rows c WHERE c.tenant_id = tenant));
    stream_position := msgstore._align_sequence('stream_events_position_seq', (
        SELECT max(e.global_position) FROM msgstore.stream_events e WHERE e.tenant_id = tenant));
END
$$;

REVOKE ALL ON FUNCTION msgstore._check_elsewhere(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.export_tenant(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._begin_import(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._finish_import(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._invalid_fields(text, jsonb, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._import_rows(text, jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.import_tenant(text, jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._align_sequence(text, bigint) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.align_sequences(text) FROM PUBLIC;

COMMENT ON FUNCTION msgstore._check_elsewhere(text) IS
    'Raises MS409 unless the tenant is fenced or belongs to another slot';
COMMENT ON FUNCTION msgstore.export_tenant(text) IS
    'Returns the queued events of a tenant, with their claims and failures, its outbox and its notifications, as pages for import_tenant(). Raises MS400 for an invalid name, MS403 in a session of a tenant, MS409 if the tenant is neither fenced nor in another slot';
COMMENT ON FUNCTION msgstore._begin_import(text) IS
    'Removes what a former import has left of a tenant';
COMMENT ON FUNCTION msgstore._finish_import(text) IS
    'Corrects the counters of a tenant after an import, has the purge scan the events again, and wakes workers and senders';
COMMENT ON FUNCTION msgstore._invalid_fields(text, jsonb, text) IS
    'Returns the names of the fields that rows cannot be inserted for, in quotes';
COMMENT ON FUNCTION msgstore._import_rows(text, jsonb) IS
    'Inserts rows into a table and returns their number. Raises MS400 with the name of the field for an invalid value';
COMMENT ON FUNCTION msgstore.import_tenant(text, jsonb) IS
    'Imports a page of export_tenant(): call it for all pages, in their order. The first page removes what a former import has left, so the whole can be repeated. Returns the number of rows. Raises MS400 for an invalid page, MS403 in a session of a tenant, MS409 if the tenant is neither fenced nor in another slot';
COMMENT ON FUNCTION msgstore._align_sequence(text, bigint) IS
    'Moves a sequence past this value if it is behind it, and returns its last value';
COMMENT ON FUNCTION msgstore.align_sequences(text) IS
    'Moves the sequences of conversation numbers and stream positions past those of a tenant that came from another database, and returns their last values. Raises MS400 for an invalid name, MS403 in a session of a tenant';
