-- responses: the events of a response, from which a client resumes a stream.

-- Finds a response of the durable store that the session may read, or write
-- and then locks it. Raises MS404.
CREATE FUNCTION msgstore._locate_response(
    wanted text,
    writing boolean,
    OUT tenant_id text,
    OUT status text,
    OUT worker_id text,
    OUT conversation text)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
DECLARE
    scope record := msgstore._response_scope();
    tenant text;
    found_row record;
BEGIN
    IF scope.in_memory THEN
        RAISE EXCEPTION 'response in memory has no events'
            USING ERRCODE = 'MS400',
                  DETAIL = 'Events are stored only with the responses of the durable store.';
    END IF;
    tenant := msgstore._response_tenant(wanted);
    IF writing THEN
        PERFORM FROM msgstore.responses r
        WHERE r.tenant_id = tenant AND r.id = wanted
        FOR NO KEY UPDATE;
    END IF;
    SELECT r.tenant_id, r.status, r.worker_id,
        r.extensions #>> '{conversation,id}' AS conversation
    INTO found_row
    FROM msgstore.responses r
    WHERE r.tenant_id = tenant AND r.id = wanted AND r.deleted_at IS NULL
        AND msgstore._owner_allows(scope.caller, scope.is_admin, r.owner, writing);
    IF NOT FOUND THEN
        RAISE EXCEPTION 'response not found'
            USING ERRCODE = 'MS404',
                  DETAIL = format('No response with the ID "%s" is visible to this session.',
                                  left(wanted, 255));
    END IF;
    tenant_id := found_row.tenant_id;
    status := found_row.status;
    worker_id := found_row.worker_id;
    conversation := found_row.conversation;
END
$$;

CREATE FUNCTION msgstore.append_response_events(
    id text,
    events jsonb,
    worker_id text DEFAULT NULL)
    RETURNS bigint
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
DECLARE
    response record;
    event jsonb;
    last bigint;
    number bigint;
BEGIN
    PERFORM msgstore._check_scope_here();
    IF id IS NULL OR events IS NULL THEN
        RETURN NULL;
    END IF;
    response := msgstore._locate_response(id, true);
    IF append_response_events.worker_id IS NOT NULL
        AND (response.status <> 'in_progress'
            OR response.worker_id IS DISTINCT FROM append_response_events.worker_id)
    THEN
        RAISE EXCEPTION 'response "%" is not claimed by "%"', id, append_response_events.worker_id
            USING ERRCODE = 'MS409',
                  DETAIL = 'The response is finished or cancelled, or its claim expired or belongs to another worker.';
    END IF;
    SELECT max(e.sequence_number) INTO last
    FROM msgstore.response_events e
    WHERE e.tenant_id = response.tenant_id AND e.response_id = append_response_events.id;
    last := coalesce(last, -1);
    FOR event IN SELECT value FROM jsonb_array_elements(
        CASE jsonb_typeof(events) WHEN 'array' THEN events
            ELSE jsonb_build_array(events) END)
    LOOP
        number := CASE
            WHEN event ->> 'sequence_number' IS NULL THEN last + 1
            WHEN (event -> 'sequence_number')::text ~ '^[0-9]{1,18}$'
            THEN (event ->> 'sequence_number')::bigint END;
        IF jsonb_typeof(event) <> 'object'
            OR coalesce((event -> 'type')::text, '') !~ '^"[a-zA-Z0-9_.-]+"$'
            OR coalesce(number, -1) <= last
            OR msgstore._document_bytes(event) > msgstore._max_page_bytes()
        THEN
            RAISE EXCEPTION 'invalid event after sequence number %', last
                USING ERRCODE = 'MS400',
                      DETAIL = 'An event must be an object of at most "msgstore.max_response_bytes" with a "type" of letters, digits and "_.-". Its "sequence_number", if any, must be greater than the one before.',
                      COLUMN = 'events';
        END IF;
        INSERT INTO msgstore.response_events (
            tenant_id, response_id, sequence_number, event)
        VALUES (response.tenant_id, append_response_events.id, number,
                event || jsonb_build_object('sequence_number', number));
        last := number;
    END LOOP;
    IF response.conversation IS NOT NULL THEN
        PERFORM msgstore._renew_turn(
            response.tenant_id, response.conversation, id);
    END IF;
    RETURN nullif(last, -1);
END
$$;

CREATE FUNCTION msgstore.response_events(
    id text,
    after bigint DEFAULT NULL,
    max_results int DEFAULT 1000)
    RETURNS TABLE (sequence_number bigint, event jsonb)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER ROWS 100
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
DECLARE
    response record := msgstore._locate_response(id, false);
BEGIN
    RETURN QUERY
    SELECT e.sequence_number, e.event
    FROM msgstore.response_events e
    WHERE e.tenant_id = response.tenant_id
        AND e.response_id = response_events.id
        AND e.sequence_number > coalesce(response_events.after, -1)
    ORDER BY e.sequence_number
    LIMIT CASE WHEN max_results IS NOT NULL THEN greatest(max_results, 0) END;
END
$$;

CREATE FUNCTION msgstore._event_text(event jsonb) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$ SELECT format(E'event: %s\ndata: %s\n\n', event ->> 'type', event) $$;

-- A client waits for the event with which a response ends. The state of the
-- response stands for it, and for the events of a response that has none.
CREATE FUNCTION msgstore.response_event_stream(
    id text,
    starting_after bigint DEFAULT NULL)
    RETURNS text
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    document CONSTANT jsonb := msgstore.get_response(id);
    in_memory CONSTANT boolean := (msgstore._response_scope()).in_memory;
    stream text := '';
    last bigint := -1;
    has_ended boolean := false;
    found_row record;
BEGIN
    IF NOT in_memory THEN
        SELECT e.sequence_number, e.event ->> 'type' IN (
            'response.completed', 'response.failed', 'response.incomplete',
            'response.cancelled', 'error') AS is_end
        INTO found_row
        FROM msgstore._locate_response(id, false) r
        JOIN msgstore.response_events e
            ON e.tenant_id = r.tenant_id AND e.response_id = id
        ORDER BY e.sequence_number DESC LIMIT 1;
        last := coalesce(found_row.sequence_number, -1);
        has_ended := coalesce(found_row.is_end, false);
        FOR found_row IN
            SELECT e.event FROM msgstore.response_events(id, starting_after, NULL) e
        LOOP
            stream := stream || msgstore._event_text(found_row.event);
            -- The client resumes after the last event.
            IF octet_length(stream) > msgstore._max_page_bytes() THEN
                RETURN stream;
            END IF;
        END LOOP;
    END IF;
    IF last + 1 > coalesce(starting_after, -1) AND NOT has_ended
        AND (last = -1
            OR document ->> 'status' NOT IN ('queued', 'in_progress'))
    THEN
        stream := stream || msgstore._event_text(jsonb_build_object(
            'type', 'response.' || (document ->> 'status'),
            'sequence_number', last + 1, 'response', document));
    END IF;
    RETURN stream;
END
$$;

REVOKE ALL ON FUNCTION msgstore._locate_response(text, boolean) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.append_response_events(text, jsonb, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.response_events(text, bigint, int) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._event_text(jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.response_event_stream(text, bigint) FROM PUBLIC;

COMMENT ON FUNCTION msgstore._locate_response(text, boolean) IS
    'Returns the tenant, the status, the worker and the conversation of a response of the durable store that the session may read, or with writing change, which also locks it. Raises MS400 in a session that uses the in-memory store, MS404';
COMMENT ON FUNCTION msgstore.append_response_events(text, jsonb, text) IS
    'Appends an event, or an array of events, to those of a response and returns the sequence number of the last. An event without a sequence_number gets the next one. With a worker_id, the worker must hold the claim. Raises MS400 for an invalid event, MS404, MS409 without the claim';
COMMENT ON FUNCTION msgstore.response_events(text, bigint, int) IS
    'Returns the events of a response after a sequence number (null: from the first), at most max_results (null: all). Raises MS404';
COMMENT ON FUNCTION msgstore._event_text(jsonb) IS
    'Returns an event in the format of server-sent events';
COMMENT ON FUNCTION msgstore.response_event_stream(text, bigint) IS
    'Returns the events of a response after a sequence number (null: from the first) as server-sent events, at most as many as msgstore.max_response_bytes holds. A response without events, or whose last event is missing, ends with an event that holds it. Raises MS404';
