CREATE FUNCTION msgstore._snapshot_row(snapshot jsonb) RETURNS msgstore.snapshots
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    made msgstore.snapshots;
    field text;
    kind text;
BEGIN
    IF jsonb_typeof(snapshot) IS DISTINCT FROM 'object' THEN
        RAISE EXCEPTION 'argument "snapshot" is not a JSON object'
            USING ERRCODE = 'MS400';
    END IF;
    snapshot := jsonb_strip_nulls(snapshot - 'entries')
        || CASE WHEN snapshot -> 'entries' <> 'null'
                THEN jsonb_build_object('entries', snapshot -> 'entries')
                ELSE '{}' END;
    FOR field, kind IN VALUES ('snapshot_id', 'string'), ('created_at', 'string'),
        ('hosts_content', 'string'), ('trigger', 'string'), ('name', 'string'),
        ('entry_count', 'number'), ('event_log_position', 'number')
    LOOP
        IF jsonb_typeof(snapshot -> field) <> kind THEN
            RAISE EXCEPTION 'field "%" of the snapshot must be a %', field, kind
                USING ERRCODE = 'MS400';
        END IF;
    END LOOP;
    made.tenant_id := msgstore._tenant_scope();
    made.snapshot_id := coalesce(nullif(snapshot ->> 'snapshot_id', ''), msgstore.uuid7()::text);
    made.created_at := coalesce((snapshot ->> 'created_at')::timestamptz, now());
    made.hosts_content := coalesce(snapshot ->> 'hosts_content', '');
    made.entries := snapshot -> 'entries';
    made.entry_count := coalesce((snapshot ->> 'entry_count')::int,
        CASE jsonb_typeof(made.entries) WHEN 'array'
            THEN jsonb_array_length(made.entries) END, 0);
    made.trigger := coalesce(snapshot ->> 'trigger', 'manual');
    made.name := snapshot ->> 'name';
    made.event_log_position := (snapshot ->> 'event_log_position')::bigint;
    IF made.entry_count < 0 THEN
        RAISE EXCEPTION 'field "entry_count" of the snapshot is negative'
            USING ERRCODE = 'MS400';
    END IF;
    RETURN made;
EXCEPTION
    WHEN invalid_text_representation OR invalid_datetime_format
        OR datetime_field_overflow OR numeric_value_out_of_range THEN
        RAISE EXCEPTION 'invalid field in the snapshot: %', SQLERRM
            USING ERRCODE = 'MS400';
END
$$;

CREATE FUNCTION msgstore.save_snapshot(snapshot jsonb) RETURNS text
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    made msgstore.snapshots := msgstore._snapshot_row(snapshot);
BEGIN
    PERFORM msgstore._check_own_tenant();
    INSERT INTO msgstore.snapshots SELECT made.*
    ON CONFLICT ON CONSTRAINT snapshots_pkey DO UPDATE
    SET hosts_content = excluded.hosts_content,
        entries = excluded.entries,
        entry_count = excluded.entry_count,
        trigger = excluded.trigger,
        name = excluded.name,
        event_log_position = excluded.event_log_position;
    RETURN made.snapshot_id;
END
$$;

-- Clients look for "not found" in the message.
CREATE FUNCTION msgstore._raise_no_snapshot(id text) RETURNS void
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    RAISE EXCEPTION 'snapshot "%" not found', left(id, 64)
        USING ERRCODE = 'MS404',
              HINT = 'Use list_snapshots() to find the ids of snapshots.';
END
$$;

CREATE FUNCTION msgstore.get_snapshot(id text) RETURNS jsonb
    LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET timezone = 'UTC'
    AS $$
DECLARE
    found jsonb;
BEGIN
    SELECT to_jsonb(s) - 'tenant_id' INTO found
    FROM msgstore.snapshots s
    WHERE s.tenant_id = msgstore._tenant_scope()
        AND s.snapshot_id = get_snapshot.id;
    IF found IS NULL THEN
        PERFORM msgstore._raise_no_snapshot(coalesce(id, 'null'));
    END IF;
    RETURN found;
END
$$;

CREATE FUNCTION msgstore.list_snapshots(
    max_results int DEFAULT NULL,
    skip int DEFAULT NULL)
    RETURNS TABLE (
        snapshot_id text,
        created_at timestamptz,
        entry_count int,
        trigger text,
        name text,
        event_log_position bigint)
    LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
BEGIN
    IF max_results < 0 OR skip < 0 THEN
        RAISE EXCEPTION 'argument "%" is negative',
            CASE WHEN max_results < 0 THEN 'max_results' ELSE 'skip' END
            USING ERRCODE = 'MS400',
                  DETAIL = 'The argument must be a number of snapshots, or null.';
    END IF;
    RETURN QUERY
        SELECT s.snapshot_id, s.created_at, s.entry_count, s.trigger, s.name,
            s.event_log_position
        FROM msgstore.snapshots s
        WHERE s.tenant_id = msgstore._tenant_scope()
        ORDER BY s.created_at DESC, s.snapshot_id DESC
        LIMIT max_results OFFSET skip;
END
$$;

CREATE FUNCTION msgstore.delete_snapshot(id text) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    PERFORM msgstore._check_own_tenant();
    DELETE FROM msgstore.snapshots s
    WHERE s.tenant_id = msgstore._tenant_scope()
        AND s.snapshot_id = delete_snapshot.id;
    IF NOT FOUND THEN
        PERFORM msgstore._raise_no_snapshot(coalesce(id, 'null'));
    END IF;
END
$$;

CREATE FUNCTION msgstore.apply_snapshot_retention(max_count int, max_age interval)
    RETURNS int
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    deleted int;
BEGIN
    PERFORM msgstore._check_own_tenant();
    -- Clients look for "positive integer" in the message.
    IF max_count <= 0 OR max_age <= interval '0' THEN
        RAISE EXCEPTION 'retention limit "%" must be a positive integer or interval, not "%"',
            CASE WHEN max_count <= 0 THEN 'max_count' ELSE 'max_age' END,
            CASE WHEN max_count <= 0 THEN max_count::text ELSE max_age::text END
            USING ERRCODE = 'MS400',
                  HINT = 'Use null for no limit.';
    END IF;
    DELETE FROM msgstore.snapshots s
    WHERE s.tenant_id = msgstore._tenant_scope()
        AND (s.created_at < now() - max_age
            OR s.snapshot_id IN (
                SELECT n.snapshot_id FROM msgstore.snapshots n
                WHERE n.tenant_id = msgstore._tenant_scope()
                    AND max_count IS NOT NULL
                ORDER BY n.created_at DESC, n.snapshot_id DESC
                OFFSET max_count));
    GET DIAGNOSTICS deleted = ROW_COUNT;
    RETURN deleted;
END
$$;

REVOKE ALL ON FUNCTION msgstore._snapshot_row(jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.save_snapshot(jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._raise_no_snapshot(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.get_snapshot(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.list_snapshots(int, int) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.delete_snapshot(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.apply_snapshot_retention(int, interval) FROM PUBLIC;

COMMENT ON FUNCTION msgstore._snapshot_row(jsonb) IS
    'Returns the row of snapshots for a snapshot given as an object. Raises MS400 for an invalid field';
COMMENT ON FUNCTION msgstore.save_snapshot(jsonb) IS
    'Stores a snapshot and returns its id. Takes an object with hosts_content, entries, entry_count, trigger, name, event_log_position, created_at and snapshot_id, each optional. Replaces a snapshot with the same id, except for its created_at. Raises MS400 for an invalid field';
COMMENT ON FUNCTION msgstore._raise_no_snapshot(text) IS
    'Raises MS404 for a snapshot that does not exist';
COMMENT ON FUNCTION msgstore.get_snapshot(text) IS
    'Returns a snapshot as an object. Raises MS404 if it does not exist';
COMMENT ON FUNCTION msgstore.list_snapshots(int, int) IS
    'Returns at most max_results (null: no limit) snapshots without hosts_content and entries, newest first, after skipping "skip" of them. Raises MS400 if an argument is negative';
COMMENT ON FUNCTION msgstore.delete_snapshot(text) IS
    'Deletes a snapshot. Raises MS404 if it does not exist';
COMMENT ON FUNCTION msgstore.apply_snapshot_retention(int, interval) IS
    'Deletes all but the max_count newest snapshots, and those older than max_age (null: no limit). Returns the number of deleted snapshots. Raises MS400 if a limit is not positive';
