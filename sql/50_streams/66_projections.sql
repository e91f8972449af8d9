-- streams: projections, which are subscriptions with a function that the worker
-- calls.

CREATE FUNCTION msgstore._call_projection(
    function text,
    role oid,
    search_path text,
    events msgstore.stream_event[])
    RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'msgstore_call_projection';

CREATE FUNCTION msgstore._create_projection(
    name text,
    category text,
    function text,
    reset text,
    after_position bigint,
    batch_size int,
    role oid,
    search_path text)
    RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF batch_size IS NULL OR batch_size NOT BETWEEN 1 AND 10000 THEN
        RAISE EXCEPTION 'invalid batch size of a projection: %', coalesce(batch_size::text, 'null')
            USING ERRCODE = 'MS400',
                  DETAIL = 'The batch size must be between 1 and 10000.';
    END IF;
    PERFORM msgstore.create_subscription(name, category, 1, after_position);
    INSERT INTO msgstore.projections
        (tenant_id, name, function, reset_function, created_by, search_path, batch_size)
    VALUES (msgstore._tenant_scope(), _create_projection.name,
            _create_projection.function, _create_projection.reset, role,
            _create_projection.search_path, _create_projection.batch_size);
    PERFORM msgstore._announce();
END
$$;

-- Not SECURITY DEFINER: the function will run with the rights and search_path of
-- the caller, which would be hidden then.
CREATE FUNCTION msgstore.create_projection(
    name text,
    category text,
    function regproc,
    reset regproc DEFAULT NULL,
    after_position bigint DEFAULT 0,
    batch_size int DEFAULT 100)
    RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'msgstore_create_projection';

-- Waits for the worker's turn; it takes no turn before the transaction ends.
CREATE FUNCTION msgstore._lock_projection(name text) RETURNS msgstore.projections
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    projection msgstore.projections;
BEGIN
    PERFORM msgstore._lock_subscription(name);
    SELECT p.* INTO projection FROM msgstore.projections p
    WHERE p.tenant_id = msgstore._tenant_scope()
        AND p.name = _lock_projection.name
    FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'subscription "%" is not a projection', name
            USING ERRCODE = 'MS404',
                  HINT = 'Use the name of a projection created with create_projection().';
    END IF;
    PERFORM msgstore._announce();
    RETURN projection;
END
$$;

CREATE FUNCTION msgstore.pause_projection(name text) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    PERFORM msgstore._check_own_tenant();
    PERFORM msgstore._lock_projection(name);
    UPDATE msgstore.projections p SET paused = true
    WHERE p.tenant_id = msgstore._tenant_scope() AND p.name = pause_projection.name;
END
$$;

CREATE FUNCTION msgstore.resume_projection(name text) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    PERFORM msgstore._check_own_tenant();
    PERFORM msgstore._lock_projection(name);
    UPDATE msgstore.projections p
    SET paused = false, next_attempt_at = NULL, attempts = 0, trying = false
    WHERE p.tenant_id = msgstore._tenant_scope() AND p.name = resume_projection.name;
END
$$;

-- The parked events are among those that come again.
CREATE FUNCTION msgstore.rebuild_projection(name text) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = 'force_custom_plan'
    AS $$
DECLARE
    p msgstore.projections;
    subscribed text;
BEGIN
    PERFORM msgstore._check_own_tenant();
    p := msgstore._lock_projection(name);
    subscribed := msgstore._check_subscription(name);
    IF p.reset_function IS NOT NULL THEN
        PERFORM msgstore._call_projection(p.reset_function, p.created_by, p.search_path, NULL);
    END IF;
    PERFORM msgstore.seek(name, 0);
    DELETE FROM msgstore.parked_events e
    WHERE e.tenant_id = p.tenant_id AND e.subscription = p.name;
    UPDATE msgstore.projections r
    SET rebuild_until = (
            SELECT max(e.global_position) FROM msgstore.stream_events e
            WHERE e.tenant_id = p.tenant_id
                AND (subscribed IS NULL OR e.category = subscribed)),
        rebuild_started_at = clock_timestamp(), rebuilt_at = NULL,
        paused = false, next_attempt_at = NULL, attempts = 0, trying = false
    WHERE r.tenant_id = p.tenant_id AND r.name = p.name;
END
$$;

-- In the caller's transaction: an error of the function leaves all of them parked.
CREATE FUNCTION msgstore.retry_parked(
    name text,
    max_events bigint DEFAULT 100,
    "position" bigint DEFAULT NULL)
    RETURNS bigint
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    p msgstore.projections;
    events msgstore.stream_event[];
BEGIN
    PERFORM msgstore._check_own_tenant();
    p := msgstore._lock_projection(name);
    SELECT array_agg(e ORDER BY e.global_position) INTO events
    FROM msgstore.replay_parked(name, max_events, "position") e;
    IF events IS NOT NULL THEN
        PERFORM msgstore._call_projection(p.function, p.created_by, p.search_path, events);
    END IF;
    RETURN coalesce(cardinality(events), 0);
END
$$;

CREATE FUNCTION msgstore.list_projections()
    RETURNS TABLE (
        tenant_id text,
        name text,
        category text,
        function text,
        state text,
        "position" bigint,
        head bigint,
        lag_events bigint,
        lag_seconds double precision,
        parked_events bigint,
        attempts int,
        next_attempt_at timestamptz,
        error_code text,
        error_message text,
        applied_at timestamptz,
        rebuild_progress double precision)
    LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
        SELECT s.tenant_id, s.name, s.category, p.function,
            CASE WHEN p.paused THEN 'paused'
                 WHEN p.next_attempt_at IS NOT NULL THEN 'retrying'
                 WHEN p.rebuild_started_at IS NOT NULL AND p.rebuilt_at IS NULL
                     THEN 'rebuilding'
                 ELSE 'running' END,
            s.position, s.head, s.lag_events, s.lag_seconds, s.parked_events,
            p.attempts, p.next_attempt_at, p.error_code, p.error_message, p.applied_at,
            CASE WHEN p.rebuilt_at IS NOT NULL THEN 1
                 WHEN p.rebuild_started_at IS NOT NULL THEN
                     least(s.position / nullif(p.rebuild_until, 0)::double precision, 1)
            END
        FROM msgstore.projections p
        JOIN msgstore.list_subscriptions() s
            ON s.tenant_id = p.tenant_id AND s.name = p.name
        ORDER BY s.tenant_id, s.name;
END
$$;

REVOKE ALL ON FUNCTION msgstore._call_projection(text, oid, text, msgstore.stream_event[]) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._create_projection(text, text, text, text, bigint, int, oid, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.create_projection(text, text, regproc, regproc, bigint, int) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._lock_projection(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.pause_projection(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.resume_projection(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.rebuild_projection(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.retry_parked(text, bigint, bigint) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.list_projections() FROM PUBLIC;

COMMENT ON FUNCTION msgstore._call_projection(text, oid, text, msgstore.stream_event[]) IS
    'Calls a function of a projection as that role, with these events or, if they are null, without arguments';
COMMENT ON FUNCTION msgstore._create_projection(text, text, text, text, bigint, int, oid, text) IS
    'Stores a projection whose functions have been checked. Raises MS400 and MS409';
COMMENT ON FUNCTION msgstore.create_projection(text, text, regproc, regproc, bigint, int) IS
    'Creates a subscription to a category (null: all) whose events the worker applies by calling the function, at most batch_size in a transaction. The function runs as the caller''s role and takes a stream_event or an array of them; reset, without arguments, empties what it maintains. Raises MS400 for an invalid argument, MS409 if the subscription already exists';
COMMENT ON FUNCTION msgstore._lock_projection(text) IS
    'Locks a projection until the transaction ends, makes the worker look at it after that, and returns it. Raises MS404';
COMMENT ON FUNCTION msgstore.pause_projection(text) IS
    'Stops the worker from applying events to a projection. Raises MS404 if it does not exist';
COMMENT ON FUNCTION msgstore.resume_projection(text) IS
    'Makes the worker go on with a projection that is paused, or try a failed event again at once. Raises MS404 if it does not exist';
COMMENT ON FUNCTION msgstore.rebuild_projection(text) IS
    'Calls the reset function of a projection and makes the worker apply all events again, from the first. Raises MS404 if it does not exist';
COMMENT ON FUNCTION msgstore.retry_parked(text, bigint, bigint) IS
    'Applies at most max_events parked events of a projection, or the one at the position, in the caller''s transaction, and returns their number. Raises MS404 if it does not exist, and the error of the function';
COMMENT ON FUNCTION msgstore.list_projections() IS
    'Returns the projections of the session''s tenant, or of all tenants: their state (running, retrying, rebuilding, paused), position and lag as in list_subscriptions(), failed attempts of the next event with the last error, and the progress of the last rebuild from 0 to 1';
