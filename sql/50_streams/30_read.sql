CREATE FUNCTION msgstore._settled_position() RETURNS bigint
    LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED
    AS 'MODULE_PATHNAME', 'msgstore_settled_position';

CREATE FUNCTION msgstore._consumer_of(stream text, group_size bigint) RETURNS bigint
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'msgstore_consumer_of';

CREATE FUNCTION msgstore.read_stream(
    stream text,
    from_version bigint DEFAULT 1,
    max_events bigint DEFAULT 1000)
    RETURNS SETOF msgstore.stream_event
    LANGUAGE c STABLE PARALLEL RESTRICTED SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'msgstore_read_stream';

CREATE FUNCTION msgstore.read_stream_backwards(
    stream text,
    from_version bigint DEFAULT NULL,
    max_events bigint DEFAULT 1000)
    RETURNS SETOF msgstore.stream_event
    LANGUAGE c STABLE PARALLEL RESTRICTED SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'msgstore_read_stream_backwards';

-- These two take a snapshot of their own, after they have read how far events
-- are settled.
CREATE FUNCTION msgstore.read_category(
    category text,
    after_position bigint DEFAULT 0,
    max_events bigint DEFAULT 1000,
    consumer_member bigint DEFAULT NULL,
    consumer_size bigint DEFAULT NULL)
    RETURNS SETOF msgstore.stream_event
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'msgstore_read_category';

CREATE FUNCTION msgstore.read_all(
    after_position bigint DEFAULT 0,
    max_events bigint DEFAULT 1000,
    consumer_member bigint DEFAULT NULL,
    consumer_size bigint DEFAULT NULL)
    RETURNS SETOF msgstore.stream_event
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'msgstore_read_all';

CREATE FUNCTION msgstore.wait_for_events(
    category text,
    after_position bigint,
    timeout interval DEFAULT '30 s')
    RETURNS boolean
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'msgstore_wait_for_events';

CREATE FUNCTION msgstore.stream_version(stream text) RETURNS bigint
    LANGUAGE c STABLE STRICT PARALLEL RESTRICTED SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'msgstore_stream_version';

CREATE FUNCTION msgstore.count_events(stream text) RETURNS bigint
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    RETURN (
        SELECT count(*) FROM msgstore.stream_events e
        WHERE e.tenant_id = msgstore._tenant_scope()
            AND e.stream = count_events.stream);
END
$$;

CREATE FUNCTION msgstore.last_event(stream text, type text DEFAULT NULL)
    RETURNS SETOF msgstore.stream_event
    LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER ROWS 1
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = 'force_custom_plan'
    AS $$
BEGIN
    RETURN QUERY
        SELECT e.stream, e.version, e.global_position, e.event_id, e.type,
            e.data, e.metadata, e.created_at, e.created_by
        FROM msgstore.stream_events e
        WHERE e.tenant_id = msgstore._tenant_scope()
            AND e.stream = last_event.stream
            AND (last_event.type IS NULL OR e.type = last_event.type)
        ORDER BY e.version DESC
        LIMIT 1;
END
$$;

-- From one stream to the next by one index probe each.
CREATE FUNCTION msgstore.list_streams(
    category text DEFAULT NULL,
    after text DEFAULT NULL,
    max_streams int DEFAULT 1000)
    RETURNS TABLE (stream text, version bigint)
    LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = 'force_custom_plan'
    AS $$
#variable_conflict use_column
DECLARE
    tenant text := msgstore._tenant_scope();
BEGIN
    IF max_streams < 0 THEN
        RAISE EXCEPTION 'argument "max_streams" is negative: %', max_streams
            USING ERRCODE = 'MS400',
                  DETAIL = 'It is a number of streams, or null for no limit.';
    END IF;
    -- '-' is followed by '.': a category's streams are its own name and what
    -- stands between "category-" and "category.".
    RETURN QUERY
        WITH RECURSIVE streams AS (
            (SELECT e.stream, e.version, 1 AS n
             FROM msgstore.stream_events e
             WHERE e.tenant_id = tenant
                 AND e.stream > coalesce(after, '')
                 AND e.stream >= coalesce(list_streams.category, '')
             ORDER BY e.stream, e.version LIMIT 1)
            UNION ALL
            SELECT next.stream, next.version, s.n + 1
            FROM streams s
            CROSS JOIN LATERAL (
                SELECT e.stream, e.version
                FROM msgstore.stream_events e
                WHERE e.tenant_id = tenant AND e.stream > s.stream
                    AND (list_streams.category IS NULL
                        OR e.stream >= list_streams.category || '-')
                ORDER BY e.stream, e.version LIMIT 1) next
            WHERE list_streams.category IS NULL
                OR next.stream < list_streams.category || '.'
        )
        SELECT s.stream, (
            SELECT e.version FROM msgstore.stream_events e
            WHERE e.tenant_id = tenant AND e.stream = s.stream
            ORDER BY e.version DESC LIMIT 1)
        FROM streams s
        WHERE list_streams.category IS NULL
            OR msgstore.stream_category(s.stream) = list_streams.category
        LIMIT max_streams;
END
$$;

CREATE FUNCTION msgstore.latest_position() RETURNS bigint
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = 'force_custom_plan'
    AS $$
DECLARE
    settled bigint := msgstore._settled_position();
BEGIN
    RETURN coalesce((
        SELECT max(e.global_position) FROM msgstore.stream_events e
        WHERE e.tenant_id = msgstore._tenant_scope()
            AND e.global_position <= settled), 0);
END
$$;

-- The id of an event says its position only where it was made here; for
-- others an id is made that does, and that is the same each time.
CREATE FUNCTION msgstore.latest_event_id() RETURNS uuid
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = 'force_custom_plan'
    AS $$
DECLARE
    latest bigint := msgstore.latest_position();
    own text;
    prefix text;
BEGIN
    IF latest = 0 THEN
        RETURN '00000000-0000-0000-0000-000000000000';
    END IF;
    SELECT e.event_id INTO own FROM msgstore.stream_events e
    WHERE e.tenant_id = msgstore._tenant_scope()
        AND e.global_position = latest;
    prefix := lpad(to_hex(latest), 15, '0');
    prefix := left(prefix, 8) || '-' || substr(prefix, 9, 4) || '-8' || right(prefix, 3);
    IF own LIKE prefix || '%' THEN
        RETURN own;
    END IF;
    RETURN prefix || '-8' || substr(md5(own), 1, 3) || '-' || substr(md5(own), 4, 12);
END
$$;

REVOKE ALL ON FUNCTION msgstore._settled_position() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._consumer_of(text, bigint) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.read_stream(text, bigint, bigint) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.read_stream_backwards(text, bigint, bigint) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.read_category(text, bigint, bigint, bigint, bigint) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.read_all(bigint, bigint, bigint, bigint) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.wait_for_events(text, bigint, interval) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.stream_version(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.count_events(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.last_event(text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.list_streams(text, text, int) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.latest_position() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.latest_event_id() FROM PUBLIC;

COMMENT ON FUNCTION msgstore._settled_position() IS
    'Up to here all events are settled: what a newer snapshot does not show of them never will be';
COMMENT ON FUNCTION msgstore._consumer_of(text, bigint) IS
    'The member of a consumer group that has the stream: by the first 64 bits of the MD5 of its id up to the first +';
COMMENT ON FUNCTION msgstore.read_stream(text, bigint, bigint) IS
    'A stream''s events from a version on, oldest first';
COMMENT ON FUNCTION msgstore.read_stream_backwards(text, bigint, bigint) IS
    'A stream''s events from a version (null: the last) back, newest first';
COMMENT ON FUNCTION msgstore.read_category(text, bigint, bigint, bigint, bigint) IS
    'Committed events of a category in global order after a position; a later call never shows an event before one shown already. With consumer_member and consumer_size only the streams of that member of a group. Raises MS400';
COMMENT ON FUNCTION msgstore.read_all(bigint, bigint, bigint, bigint) IS
    'The same for all categories';
COMMENT ON FUNCTION msgstore.wait_for_events(text, bigint, interval) IS
    'Waits until read_category() (with a null category: read_all()) has an event after the position; false when the timeout passed before. Raises MS400';
COMMENT ON FUNCTION msgstore.stream_version(text) IS
    'The version of a stream''s last event, 0 without events';
COMMENT ON FUNCTION msgstore.count_events(text) IS
    'How many events a stream has';
COMMENT ON FUNCTION msgstore.last_event(text, text) IS
    'A stream''s last event, or its last one of a type; no row when there is none';
COMMENT ON FUNCTION msgstore.list_streams(text, text, int) IS
    'Streams by name, all or a category''s, after a name, with their versions. Raises MS400';
COMMENT ON FUNCTION msgstore.latest_position() IS
    'The position of the last event that read_all() shows; 0 without events';
COMMENT ON FUNCTION msgstore.latest_event_id() IS
    'An id that grows whenever latest_position() does, whatever ids callers gave their events; that of the last event where it was made here';
