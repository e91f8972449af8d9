CREATE FUNCTION msgstore._settled_position(category text DEFAULT NULL) RETURNS bigint
    LANGUAGE c VOLATILE PARALLEL RESTRICTED
    AS 'MODULE_PATHNAME', 'msgstore_settled_position';

CREATE FUNCTION msgstore._consumer_of(stream text, group_size bigint) RETURNS bigint
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'msgstore_consumer_of';

CREATE FUNCTION msgstore.read_stream(
    stream text,
    from_version bigint DEFAULT 1,
    max_events bigint DEFAULT 1000,
    types text[] DEFAULT NULL,
    metadata jsonb DEFAULT NULL)
    RETURNS SETOF msgstore.stream_event
    LANGUAGE c STABLE PARALLEL RESTRICTED SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'msgstore_read_stream';

CREATE FUNCTION msgstore.read_stream_backwards(
    stream text,
    from_version bigint DEFAULT NULL,
    max_events bigint DEFAULT 1000,
    types text[] DEFAULT NULL,
    metadata jsonb DEFAULT NULL)
    RETURNS SETOF msgstore.stream_event
    LANGUAGE c STABLE PARALLEL RESTRICTED SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'msgstore_read_stream_backwards';

-- Volatile, because these two take a snapshot of their own after they have
-- determined the settled position.
CREATE FUNCTION msgstore.read_category(
    category text,
    after_position bigint DEFAULT 0,
    max_events bigint DEFAULT 1000,
    consumer_member bigint DEFAULT NULL,
    consumer_size bigint DEFAULT NULL,
    types text[] DEFAULT NULL,
    metadata jsonb DEFAULT NULL)
    RETURNS SETOF msgstore.stream_event
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'msgstore_read_category';

CREATE FUNCTION msgstore.read_all(
    after_position bigint DEFAULT 0,
    max_events bigint DEFAULT 1000,
    consumer_member bigint DEFAULT NULL,
    consumer_size bigint DEFAULT NULL,
    types text[] DEFAULT NULL,
    metadata jsonb DEFAULT NULL)
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

CREATE FUNCTION msgstore._find_event(category text, after_position bigint)
    RETURNS int
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'msgstore_find_event';

-- Not SECURITY DEFINER and without settings: otherwise the server would not let
-- it release its snapshot.
CREATE PROCEDURE msgstore.await_events(
    category text,
    after_position bigint,
    timeout interval DEFAULT '30 s',
    INOUT found boolean DEFAULT NULL)
    LANGUAGE c
    AS 'MODULE_PATHNAME', 'msgstore_await_events';

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

-- The columns are listed here: taking them from a function that returns the row
-- doubled the time of a call, because each plan has to inline it nine times.
CREATE FUNCTION msgstore.last_event(stream text, type text DEFAULT NULL)
    RETURNS SETOF msgstore.stream_event
    LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER ROWS 1
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = 'force_custom_plan'
    AS $$
BEGIN
    RETURN QUERY
        SELECT e.stream, e.version, e.global_position, e.event_id, e.type,
            e.data, e.metadata, e.created_at, e.created_by,
            e.happened_at, e.tags
        FROM msgstore.stream_events e
        WHERE e.tenant_id = msgstore._tenant_scope()
            AND e.stream = last_event.stream
            AND (last_event.type IS NULL OR e.type = last_event.type)
        ORDER BY e.version DESC
        LIMIT 1;
END
$$;

-- Steps from one stream to the next with one index probe each.
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
                  DETAIL = 'The argument must be a number of streams, or null for no limit.';
    END IF;
    PERFORM msgstore._check_category(category);
    -- The character after '-' is '.', so the streams of a category are the one
    -- named like the category and those from "category-" up to "category.".
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

-- In a copy of the log, the sequence may be behind it.
CREATE FUNCTION msgstore._head_position(tenant text) RETURNS bigint
    LANGUAGE plpgsql STABLE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = 'force_custom_plan'
    AS $$
BEGIN
    RETURN greatest(
        pg_sequence_last_value('msgstore.stream_events_position_seq'),
        (SELECT max(e.global_position) FROM msgstore.stream_events e
         WHERE e.tenant_id = tenant), 0);
END
$$;

-- Only a generated event id contains the position. For an event with an id of
-- the caller's this derives one that does, the same at each call.
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

REVOKE ALL ON FUNCTION msgstore._settled_position(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._consumer_of(text, bigint) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.read_stream(text, bigint, bigint, text[], jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.read_stream_backwards(text, bigint, bigint, text[], jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.read_category(text, bigint, bigint, bigint, bigint, text[], jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.read_all(bigint, bigint, bigint, bigint, text[], jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.wait_for_events(text, bigint, interval) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._find_event(text, bigint) FROM PUBLIC;
REVOKE ALL ON PROCEDURE msgstore.await_events(text, bigint, interval, boolean) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.stream_version(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.count_events(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.last_event(text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.list_streams(text, text, int) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.latest_position() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._head_position(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.latest_event_id() FROM PUBLIC;

COMMENT ON FUNCTION msgstore._settled_position(text) IS
    'Returns the position up to which all events of a category (null: of the tenant) are settled: those that a newer snapshot does not show will never appear';
COMMENT ON FUNCTION msgstore._consumer_of(text, bigint) IS
    'Returns the number of the consumer that reads the stream: the first 64 bits of the MD5 of the part of its name after the first hyphen, up to the first +, modulo group_size';
COMMENT ON FUNCTION msgstore.read_stream(text, bigint, bigint, text[], jsonb) IS
    'Returns at most max_events (null: no limit) events of a stream from a version on, oldest first. With types, returns only events of these types; with metadata, only those whose metadata contains it. Raises MS400 if max_events is negative';
COMMENT ON FUNCTION msgstore.read_stream_backwards(text, bigint, bigint, text[], jsonb) IS
    'Returns at most max_events (null: no limit) events of a stream from a version (null: the last one) backwards, newest first. types and metadata as in read_stream(). Raises MS400 if max_events is negative';
COMMENT ON FUNCTION msgstore.read_category(text, bigint, bigint, bigint, bigint, text[], jsonb) IS
    'Returns at most max_events (null: no limit) committed events of a category after a position, in global order. An event that it does not return yet never gets a position below one that it has returned. With consumer_member (from 0) and consumer_size, returns only that consumer''s share of the streams. types and metadata as in read_stream(). Raises MS400 for an invalid argument';
COMMENT ON FUNCTION msgstore.read_all(bigint, bigint, bigint, bigint, text[], jsonb) IS
    'Like read_category(), for all categories. Raises MS400 for an invalid argument';
COMMENT ON FUNCTION msgstore.wait_for_events(text, bigint, interval) IS
    'Waits until read_category() (read_all() if category is null) returns an event after the position, and returns true; returns false after the timeout (null: none). Raises MS400 if the timeout is negative or the transaction is not READ COMMITTED';
COMMENT ON FUNCTION msgstore._find_event(text, bigint) IS
    'Returns 2 if read_category() returns an event after the position, 1 if there is one that is not settled, otherwise 0';
COMMENT ON PROCEDURE msgstore.await_events(text, bigint, interval, boolean) IS
    'Like wait_for_events(), without a snapshot while it waits: it does not keep vacuum from removing dead rows. Raises MS400 like it';
COMMENT ON FUNCTION msgstore.stream_version(text) IS
    'Returns the version of the last event of a stream, 0 if there are none';
COMMENT ON FUNCTION msgstore.count_events(text) IS
    'Returns the number of events of a stream';
COMMENT ON FUNCTION msgstore.last_event(text, text) IS
    'Returns the last event of a stream, or its last event of a type; no row if there is none';
COMMENT ON FUNCTION msgstore.list_streams(text, text, int) IS
    'Returns at most max_streams (null: no limit) streams of a category (null: all) with their versions, sorted by name, beginning after the stream "after". Raises MS400 if max_streams is negative or the category contains a hyphen';
COMMENT ON FUNCTION msgstore.latest_position() IS
    'Returns the global position of the last event that read_all() shows, 0 if there are none';
COMMENT ON FUNCTION msgstore._head_position(text) IS
    'Returns the greatest position that was drawn or that an event of the tenant has, 0 if there is none';
COMMENT ON FUNCTION msgstore.latest_event_id() IS
    'Returns an id that increases whenever latest_position() does, whatever ids callers give to their events; if the id of the last event was generated, returns that one';
