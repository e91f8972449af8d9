-- A seed whose event id another event has is a conflict.
CREATE FUNCTION msgstore._append_seed(stream text, version bigint, seed jsonb)
    RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
BEGIN
    IF jsonb_typeof(seed -> 'type') <> 'string' OR seed ->> 'type' = '' THEN
        RAISE EXCEPTION 'field "type" of the seed is not a non-empty string'
            USING ERRCODE = 'MS400';
    ELSIF starts_with(seed ->> 'type', 'msgstore:') THEN
        RAISE EXCEPTION 'event type "%" is reserved for msgstore', seed ->> 'type'
            USING ERRCODE = 'MS400',
                  HINT = 'Use tombstone_stream() to end a stream.';
    END IF;
    INSERT INTO msgstore.stream_events (global_position, horizon, version,
        created_at, event_id, tenant_id, stream, category, type, created_by,
        data, metadata)
    VALUES (msgstore._take_position(msgstore.stream_category(_append_seed.stream)), msgstore._horizon(), _append_seed.version,
        coalesce((seed ->> 'created_at')::timestamptz, clock_timestamp()),
        coalesce((seed ->> 'event_id')::uuid, msgstore._event_id()),
        msgstore._tenant_scope(), _append_seed.stream,
        msgstore.stream_category(_append_seed.stream), seed ->> 'type',
        seed ->> 'created_by', seed -> 'data', seed -> 'metadata');
    PERFORM msgstore._wake_at_commit(msgstore.stream_category(_append_seed.stream));
EXCEPTION
    WHEN unique_violation THEN
        RAISE EXCEPTION 'event id "%" was used with different content',
            seed ->> 'event_id'
            USING ERRCODE = 'MS409',
                  DETAIL = 'The same event id must come with the same stream, type, data and metadata.',
                  HINT = 'Repeat the event unchanged, or use another event id.';
    WHEN invalid_text_representation OR invalid_datetime_format THEN
        RAISE EXCEPTION 'invalid field in the seed: %', SQLERRM
            USING ERRCODE = 'MS400';
END
$$;

-- Waits for a session that is compacting the same stream, and then finds the
-- one event that it left.
CREATE FUNCTION msgstore.compact_stream(
    stream text,
    seed jsonb,
    expected_version bigint DEFAULT NULL,
    OUT events_before bigint,
    OUT events_after bigint,
    OUT version bigint)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = 'force_custom_plan'
    AS $$
#variable_conflict use_column
DECLARE
    tenant text := msgstore._tenant_scope();
    locked bigint;
    removed bigint[];
BEGIN
    PERFORM msgstore._check_own_tenant();
    IF stream IS NULL OR jsonb_typeof(seed) IS DISTINCT FROM 'object' THEN
        RAISE EXCEPTION 'argument "%" is %',
            CASE WHEN stream IS NULL THEN 'stream' ELSE 'seed' END,
            CASE WHEN stream IS NULL THEN 'null' ELSE 'not a JSON object' END
            USING ERRCODE = 'MS400',
                  DETAIL = 'The seed must be an event with the fields type and data and optionally metadata, event_id and created_by, or the data alone.';
    END IF;
    IF starts_with(stream, 'msgstore:') THEN
        RAISE EXCEPTION 'stream name "%" is reserved for msgstore', stream
            USING ERRCODE = 'MS400',
                  HINT = 'Use append_host_events() and the other functions for hosts.';
    END IF;
    IF NOT seed ?& ARRAY['type', 'data'] THEN
        seed := jsonb_build_object('type', 'Compacted', 'data', seed);
    END IF;
    LOOP
        PERFORM FROM msgstore.stream_events e
        WHERE e.tenant_id = tenant AND e.stream = compact_stream.stream
        ORDER BY e.version FOR UPDATE;
        GET DIAGNOSTICS locked = ROW_COUNT;
        SELECT count(*), coalesce(max(e.version), 0)
        INTO events_before, version
        FROM msgstore.stream_events e
        WHERE e.tenant_id = tenant AND e.stream = compact_stream.stream;
        EXIT WHEN events_before = locked;
    END LOOP;
    IF expected_version <> version THEN
        RAISE EXCEPTION 'version conflict on stream "%": expected %, got %',
            stream, expected_version, version
            USING ERRCODE = 'MS409',
                  DETAIL = format('The stream is at version %s.', version),
                  HINT = 'Read the new events, then compact the stream with its current version.';
    END IF;
    events_after := least(events_before, 1);
    IF events_before <= 1 THEN
        RETURN;
    END IF;
    PERFORM msgstore._report_progress(
        'compact', 'removing events', 0, events_before);
    WITH removed AS (
        DELETE FROM msgstore.stream_events e
        WHERE e.tenant_id = tenant AND e.stream = compact_stream.stream
            AND e.version <= compact_stream.version
        RETURNING e.global_position)
    SELECT array_agg(r.global_position ORDER BY r.global_position) INTO removed
    FROM removed r;
    PERFORM msgstore._note_removal(tenant, 'compaction', removed);
    PERFORM msgstore._append_seed(stream, version, seed);
END
$$;

REVOKE ALL ON FUNCTION msgstore._append_seed(text, bigint, jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.compact_stream(text, jsonb, bigint) FROM PUBLIC;

COMMENT ON FUNCTION msgstore._append_seed(text, bigint, jsonb) IS
    'Appends the seed event of a compacted stream. Raises MS400, MS409';
COMMENT ON FUNCTION msgstore.compact_stream(text, jsonb, bigint) IS
    'Replaces the events of a stream with one seed event of the same version, if there are two or more. Returns the number of events before and after, and the version. seed is an event (type, data and optionally metadata, event_id, created_by) or its data alone, which gets the type Compacted. Raises MS400 for an invalid argument, MS409 if the stream is not at expected_version (null: any) or the event_id belongs to another event';
