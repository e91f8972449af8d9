-- Appending if nothing relevant has happened since the caller decided.

CREATE FUNCTION msgstore._read_query(query jsonb)
    RETURNS TABLE (types text[], tags text[])
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    item jsonb;
BEGIN
    IF jsonb_typeof(query) = 'object' THEN
        query := jsonb_build_array(query);
    END IF;
    IF jsonb_typeof(query) IS DISTINCT FROM 'array' OR query = '[]' THEN
        RAISE EXCEPTION 'argument "query" is not a JSON object or an array of objects'
            USING ERRCODE = 'MS400',
                  DETAIL = 'An object must have "tags" and optionally "types", both arrays of strings.';
    END IF;
    FOR item IN SELECT jsonb_array_elements(query) LOOP
        IF jsonb_typeof(item) <> 'object'
            OR item - ARRAY['types', 'tags'] <> '{}'
            OR jsonb_path_exists(item, 'strict $.* ? (@.type() != "array")', silent => true)
            OR jsonb_path_exists(item, 'strict $.*[*] ? (@.type() != "string")', silent => true)
            OR jsonb_array_length(coalesce(item -> 'tags', '[]')) = 0
        THEN
            RAISE EXCEPTION 'invalid item in the query: %', left(item::text, 200)
                USING ERRCODE = 'MS400',
                      DETAIL = 'An item must have "tags", at least one, and optionally "types", both arrays of strings.';
        END IF;
        types := CASE WHEN item ? 'types' THEN
            ARRAY(SELECT jsonb_array_elements_text(item -> 'types')) END;
        tags := ARRAY(SELECT jsonb_array_elements_text(item -> 'tags'));
        RETURN NEXT;
    END LOOP;
END
$$;

-- Of an item, only the first tag is locked, and looked up: an event that matches
-- has all of them.
CREATE FUNCTION msgstore.append_if(
    events jsonb,
    query jsonb,
    after_position bigint DEFAULT 0)
    RETURNS TABLE (stream text, version bigint, global_position bigint)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = 'force_generic_plan'
    SET enable_seqscan = off
    SET enable_bitmapscan = off
    SET enable_hashjoin = off
    SET enable_mergejoin = off
    AS $$
#variable_conflict use_column
DECLARE
    tenant text := msgstore._tenant_scope();
    relevant record;
BEGIN
    PERFORM msgstore._check_own_tenant();
    IF jsonb_typeof(events) IS DISTINCT FROM 'array' THEN
        RAISE EXCEPTION 'argument "events" is not a JSON array' USING ERRCODE = 'MS400';
    ELSIF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'cannot append with a condition in a transaction that is not READ COMMITTED'
            USING ERRCODE = 'MS400',
                  DETAIL = 'Its snapshot does not show events that are committed after its first statement.',
                  HINT = 'Use a READ COMMITTED transaction.';
    END IF;
    PERFORM msgstore._lock_tags(
        ARRAY(SELECT t FROM jsonb_path_query(events, '$[*].tags[*] ? (@.type() == "string")') j,
              LATERAL (SELECT j #>> '{}') v (t)),
        ARRAY(SELECT q.tags[1] FROM msgstore._read_query(query) q));
    -- A repeated call must not fail because of its own events.
    IF events = '[]' OR NOT EXISTS (
        SELECT FROM jsonb_array_elements(events) e (given)
        WHERE NOT EXISTS (
            SELECT FROM msgstore.stream_events s
            WHERE s.tenant_id = tenant
                -- append_batch() refuses what is no UUID.
                AND s.event_id = CASE
                    WHEN replace(e.given ->> 'event_id', '-', '') ~ '^[0-9A-Fa-f]{32}$'
                    THEN replace(e.given ->> 'event_id', '-', '')::uuid END))
    THEN
        RETURN QUERY SELECT * FROM msgstore.append_batch(events);
        RETURN;
    END IF;
    SELECT c.* INTO relevant
    FROM msgstore._read_query(query) q
    CROSS JOIN LATERAL (
        SELECT e.global_position, e.stream, e.type
        FROM msgstore.stream_event_keys k
        JOIN msgstore.stream_events e
            ON e.tenant_id = k.tenant_id AND e.global_position = k.global_position
        WHERE k.tenant_id = tenant
            AND k.key = (msgstore._event_keys(NULL, q.tags[1:1]))[1]
            AND k.global_position > coalesce(append_if.after_position, 0)
            AND e.tags @> q.tags
            AND (q.types IS NULL OR e.type = ANY (q.types))
        ORDER BY k.global_position LIMIT 1) c
    ORDER BY c.global_position LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'a relevant event was appended at position %', relevant.global_position
            USING ERRCODE = 'MS409',
                  DETAIL = format('It has type "%s" and is in stream "%s"; the condition holds up to position %s.',
                                  relevant.type, relevant.stream, coalesce(after_position, 0)),
                  HINT = 'Read the new events, decide again, and append with the new position.';
    END IF;
    RETURN QUERY SELECT * FROM msgstore.append_batch(events);
END
$$;

-- Volatile: it takes a snapshot after it has determined the settled position. Only
-- open appends of events with these tags stall it.
CREATE FUNCTION msgstore.read_query(
    query jsonb,
    after_position bigint DEFAULT 0,
    max_events bigint DEFAULT 1000)
    RETURNS SETOF msgstore.stream_event
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = 'force_custom_plan'
    AS $$
DECLARE
    settled bigint;
BEGIN
    IF max_events < 0 THEN
        RAISE EXCEPTION 'argument "max_events" is negative: %', max_events
            USING ERRCODE = 'MS400',
                  DETAIL = 'The argument must be a number of events, or null for no limit.';
    END IF;
    SELECT min(msgstore._settled_position('tag-' || q.tags[1])) INTO settled
    FROM msgstore._read_query(query) q;
    RETURN QUERY
        SELECT e.stream, e.version, e.global_position, e.event_id, e.type,
            e.data, e.metadata, e.created_at, e.created_by, e.happened_at, e.tags
        FROM (
            SELECT DISTINCT c.global_position
            FROM msgstore._read_query(query) q
            CROSS JOIN LATERAL (
                SELECT k.global_position
                FROM msgstore.stream_event_keys k
                JOIN msgstore.stream_events m
                    ON m.tenant_id = k.tenant_id AND m.global_position = k.global_position
                WHERE k.tenant_id = msgstore._tenant_scope()
                    AND k.key = (msgstore._event_keys(NULL, q.tags[1:1]))[1]
                    AND k.global_position > coalesce(after_position, 0)
                    AND k.global_position <= settled
                    AND m.tags @> q.tags
                    AND (q.types IS NULL OR m.type = ANY (q.types))
                ORDER BY k.global_position LIMIT max_events) c
            ORDER BY c.global_position LIMIT max_events) n
        JOIN msgstore.stream_events e
            ON e.tenant_id = msgstore._tenant_scope()
            AND e.global_position = n.global_position
        ORDER BY e.global_position;
END
$$;

REVOKE ALL ON FUNCTION msgstore._read_query(jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.append_if(jsonb, jsonb, bigint) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.read_query(jsonb, bigint, bigint) FROM PUBLIC;

COMMENT ON FUNCTION msgstore._read_query(jsonb) IS
    'Returns the items of a query. Raises MS400';
COMMENT ON FUNCTION msgstore.append_if(jsonb, jsonb, bigint) IS
    'Appends events like append_batch(), if no event that matches the query has been appended after a position. The query is an object with tags and optionally types, or an array of these; an event matches an object if it has all of the tags and one of the types. If the event_ids of all events are stored, the condition is not checked. Raises MS409 with the position of the first event that matches, MS400 for an invalid argument or in a transaction that is not READ COMMITTED, and the errors of append_batch()';
COMMENT ON FUNCTION msgstore.read_query(jsonb, bigint, bigint) IS
    'Returns at most max_events (null: no limit) committed events that match the query of append_if(), after a position, in global order. Raises MS400 for an invalid argument';
