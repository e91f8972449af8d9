-- streams: pages of events as JSON, for the gateway and for other HTTP servers.

CREATE FUNCTION msgstore._event_document(e msgstore.stream_event) RETURNS jsonb
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    RETURN jsonb_build_object(
        'stream', e.stream, 'version', e.version, 'position', e.global_position,
        'event_id', e.event_id, 'type', e.type, 'data', e.data,
        'metadata', e.metadata, 'created_at', e.created_at,
        'created_by', e.created_by);
END
$$;

CREATE FUNCTION msgstore._check_page_size(max_events bigint) RETURNS void
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF max_events IS NULL OR max_events NOT BETWEEN 1 AND 1000 THEN
        RAISE EXCEPTION 'invalid number of events: %', coalesce(max_events::text, 'null')
            USING ERRCODE = 'MS400',
                  DETAIL = 'The number must be between 1 and 1000.';
    END IF;
END
$$;

-- A page ends before it is larger than about 1 MB, but has at least one event.
CREATE FUNCTION msgstore._event_page(events msgstore.stream_event[], OUT page jsonb, OUT last bigint)
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    SELECT coalesce(jsonb_agg(p.document ORDER BY p.n), '[]'),
           max((p.document ->> 'position')::bigint)
    INTO page, last
    FROM (
        SELECT d.n, d.document,
               sum(octet_length(d.document::text)) OVER (ORDER BY d.n) AS bytes
        FROM (
            SELECT e.n, msgstore._event_document((e.stream, e.version,
                e.global_position, e.event_id, e.type, e.data, e.metadata,
                e.created_at, e.created_by, e.happened_at, e.tags)::msgstore.stream_event) AS document
            FROM unnest(events) WITH ORDINALITY
                AS e (stream, version, global_position, event_id, type, data,
                      metadata, created_at, created_by, happened_at, tags, n)) d) p
    WHERE p.n = 1 OR p.bytes <= 1048576;
END
$$;

CREATE FUNCTION msgstore.stream_page(
    stream text,
    from_version bigint DEFAULT NULL,
    max_events bigint DEFAULT 100,
    backwards boolean DEFAULT false)
    RETURNS jsonb
    LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    events msgstore.stream_event[];
    current bigint := msgstore.stream_version(stream);
BEGIN
    PERFORM msgstore._check_page_size(max_events);
    IF current = 0 THEN
        RAISE EXCEPTION 'stream "%" has no events', stream USING ERRCODE = 'MS404';
    END IF;
    IF backwards THEN
        SELECT array_agg(e ORDER BY e.version DESC) INTO events
        FROM msgstore.read_stream_backwards(stream, from_version, max_events) e;
    ELSE
        SELECT array_agg(e ORDER BY e.version) INTO events
        FROM msgstore.read_stream(stream, coalesce(from_version, 1), max_events) e;
    END IF;
    RETURN jsonb_build_object('stream', stream, 'version', current,
                              'events', (msgstore._event_page(events)).page);
END
$$;

CREATE FUNCTION msgstore.event_page(
    category text DEFAULT NULL,
    after_position bigint DEFAULT 0,
    max_events bigint DEFAULT 100,
    wait interval DEFAULT '0')
    RETURNS jsonb
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    events msgstore.stream_event[];
    place CONSTANT bigint := coalesce(after_position, 0);
    found record;
BEGIN
    PERFORM msgstore._check_page_size(max_events);
    FOR attempt IN 1..2 LOOP
        IF category IS NULL THEN
            SELECT array_agg(e ORDER BY e.global_position) INTO events
            FROM msgstore.read_all(place, max_events) e;
        ELSE
            SELECT array_agg(e ORDER BY e.global_position) INTO events
            FROM msgstore.read_category(category, place, max_events) e;
        END IF;
        EXIT WHEN events IS NOT NULL OR wait = '0';
        EXIT WHEN NOT msgstore.wait_for_events(category, place, wait);
    END LOOP;
    found := msgstore._event_page(events);
    RETURN jsonb_build_object('events', found.page,
                              'next', coalesce(found.last, place));
END
$$;

-- Does not keep the member locked while it waits: the block that finds nothing is
-- rolled back, which releases its row.
CREATE FUNCTION msgstore.fetch_page(
    name text,
    max_events bigint DEFAULT 100,
    member bigint DEFAULT 0,
    wait interval DEFAULT '0')
    RETURNS jsonb
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    deadline CONSTANT timestamptz := clock_timestamp() + wait;
    category text;
    head bigint;
    events msgstore.stream_event[];
    found record;
BEGIN
    PERFORM msgstore._check_own_tenant();
    PERFORM msgstore._check_page_size(max_events);
    LOOP
        head := msgstore.latest_position();
        BEGIN
            SELECT array_agg(e ORDER BY e.global_position) INTO events
            FROM msgstore.fetch(name, max_events, member) e;
            EXIT WHEN events IS NOT NULL OR clock_timestamp() >= deadline;
            category := msgstore._check_subscription(name);
            RAISE EXCEPTION USING ERRCODE = 'MS001';
        EXCEPTION WHEN SQLSTATE 'MS001' THEN
            -- Events up to the head are not this member's.
            EXIT WHEN NOT msgstore.wait_for_events(
                category, head, greatest(deadline - clock_timestamp(), '0'));
        END;
    END LOOP;
    found := msgstore._event_page(events);
    RETURN jsonb_build_object('events', found.page, 'next', found.last);
END
$$;

REVOKE ALL ON FUNCTION msgstore._event_document(msgstore.stream_event) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._check_page_size(bigint) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._event_page(msgstore.stream_event[]) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.stream_page(text, bigint, bigint, boolean) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.event_page(text, bigint, bigint, interval) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.fetch_page(text, bigint, bigint, interval) FROM PUBLIC;

COMMENT ON FUNCTION msgstore._event_document(msgstore.stream_event) IS
    'Returns an event as JSON';
COMMENT ON FUNCTION msgstore._check_page_size(bigint) IS
    'Raises MS400 unless the number of events is between 1 and 1000';
COMMENT ON FUNCTION msgstore._event_page(msgstore.stream_event[]) IS
    'Returns the first events as a JSON array of about 1 MB at most, and the position of the last of them';
COMMENT ON FUNCTION msgstore.stream_page(text, bigint, bigint, boolean) IS
    'Returns events of a stream as JSON with its version, from a version on, oldest or newest first. Stops at about 1 MB. Raises MS400 unless max_events is between 1 and 1000, MS404 if the stream has no events';
COMMENT ON FUNCTION msgstore.event_page(text, bigint, bigint, interval) IS
    'Returns the events of a category (null: all) after a position as JSON, and the position for the next call. If there are none, waits for them. Stops at about 1 MB. Raises MS400 unless max_events is between 1 and 1000, or for a negative wait';
COMMENT ON FUNCTION msgstore.fetch_page(text, bigint, bigint, interval) IS
    'Returns the next events of a subscription''s member as JSON, and the position to acknowledge (null: none). If there are none, waits for them without a lock. Stops at about 1 MB. Raises MS400 unless max_events is between 1 and 1000, or for a negative wait, MS404 if the subscription or the member does not exist';
