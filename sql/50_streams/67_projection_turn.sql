-- streams: the worker's turn at the projections.

-- Batches are applied without a mark. After a start of the worker, and after a
-- batch failed, as many events are applied one by one, each in two turns: the
-- first commits that the attempt begins, the second makes it. So the attempt
-- counts even if the process dies of it, and an event that kills it is parked
-- like one that fails.
CREATE FUNCTION msgstore._apply_events(
    p msgstore.projections,
    events msgstore.stream_event[],
    OUT again_at timestamptz)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    failed_attempts int;
    code text;
    message text;
    last CONSTANT bigint := events[cardinality(events)].global_position;
BEGIN
    BEGIN
        PERFORM msgstore._call_projection(p.function, p.created_by, p.search_path, events);
        PERFORM msgstore.ack(p.name, last);
        UPDATE msgstore.projections r
        SET attempts = 0, trying = false, next_attempt_at = NULL,
            one_by_one = greatest(r.one_by_one - 1, 0), applied_at = clock_timestamp()
        WHERE r.tenant_id = p.tenant_id AND r.name = p.name;
        RETURN;
    EXCEPTION
        WHEN lock_not_available THEN
            again_at := clock_timestamp() + interval '1 s';
            RETURN;
        WHEN OTHERS OR query_canceled OR assert_failure THEN
            code := SQLSTATE;
            message := left(SQLERRM, 1000);
    END;
    IF cardinality(events) > 1 THEN
        UPDATE msgstore.projections r SET one_by_one = cardinality(events)
        WHERE r.tenant_id = p.tenant_id AND r.name = p.name;
        RETURN;
    END IF;
    failed_attempts := CASE WHEN p.trying THEN p.attempts ELSE p.attempts + 1 END;
    -- Otherwise the next turn parks it.
    IF failed_attempts <= current_setting('msgstore.max_retries')::int THEN
        again_at := clock_timestamp() + msgstore._backoff(failed_attempts);
    END IF;
    UPDATE msgstore.projections r
    SET attempts = failed_attempts, trying = false, next_attempt_at = again_at,
        one_by_one = greatest(r.one_by_one, 1),
        error_code = code, error_message = message
    WHERE r.tenant_id = p.tenant_id AND r.name = p.name;
END
$$;

CREATE FUNCTION msgstore._project(
    name text,
    OUT more boolean,
    OUT again_at timestamptz,
    OUT unsettled boolean)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    tenant CONSTANT text := msgstore._tenant_scope();
    p msgstore.projections;
    events msgstore.stream_event[];
BEGIN
    more := false;
    unsettled := false;
    -- Messages must not wait for a session that moves or renames it.
    PERFORM FROM msgstore.stream_subscriptions s
    JOIN msgstore.stream_consumers c
        ON c.tenant_id = s.tenant_id AND c.subscription = s.name
        AND c.generation = s.generation
    WHERE s.tenant_id = tenant AND s.name = _project.name
    FOR UPDATE OF s, c SKIP LOCKED;
    IF NOT FOUND THEN
        again_at := clock_timestamp() + interval '1 s';
        RETURN;
    END IF;
    SELECT r.* INTO p FROM msgstore.projections r
    WHERE r.tenant_id = tenant AND r.name = _project.name
    FOR UPDATE;
    SELECT array_agg(e ORDER BY e.global_position) INTO events
    FROM msgstore.fetch(name, CASE WHEN p.one_by_one > 0 THEN 1 ELSE p.batch_size END) e;
    IF events IS NULL THEN
        unsettled := (msgstore._subscription_lag(tenant, name, NULL, 1)).events > 0;
        UPDATE msgstore.projections r
        SET rebuilt_at = clock_timestamp()
        WHERE r.tenant_id = tenant AND r.name = p.name
            AND r.rebuild_started_at IS NOT NULL AND r.rebuilt_at IS NULL
            AND NOT unsettled;
        RETURN;
    END IF;
    IF p.attempts > current_setting('msgstore.max_retries')::int THEN
        PERFORM msgstore.park(name, events[1].global_position,
            format('%s: %s', p.error_code, p.error_message));
        PERFORM msgstore.ack(name, events[1].global_position);
        UPDATE msgstore.projections r
        SET attempts = 0, trying = false, next_attempt_at = NULL
        WHERE r.tenant_id = tenant AND r.name = p.name;
        more := true;
    ELSIF p.one_by_one > 0 AND NOT p.trying THEN
        UPDATE msgstore.projections r SET attempts = r.attempts + 1, trying = true
        WHERE r.tenant_id = tenant AND r.name = p.name;
        more := true;
    ELSE
        again_at := msgstore._apply_events(p, events);
        more := again_at IS NULL;
    END IF;
END
$$;

CREATE FUNCTION msgstore._projection_turn(
    starting boolean,
    OUT pause bigint,
    OUT watched text[],
    OUT unsettled boolean)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET msgstore.tenant_id = ''
    AS $$
DECLARE
    -- Messages wait for the turn to end.
    until CONSTANT timestamptz := clock_timestamp() + interval '20 ms';
    next timestamptz;
    has_more boolean := false;
    p record;
    step record;
BEGIN
    unsettled := false;
    IF starting THEN
        UPDATE msgstore.projections r
        SET one_by_one = r.batch_size, trying = false,
            error_code = CASE WHEN r.trying THEN 'MS500' ELSE r.error_code END,
            error_message = CASE WHEN r.trying
                THEN 'the process ended while it applied the event'
                ELSE r.error_message END;
    END IF;
    FOR p IN
        SELECT r.tenant_id, r.name, r.next_attempt_at, s.category
        FROM msgstore.projections r
        JOIN msgstore.stream_subscriptions s USING (tenant_id, name)
        WHERE NOT r.paused AND NOT msgstore._is_elsewhere(r.tenant_id)
        ORDER BY r.turn_at NULLS FIRST, r.tenant_id, r.name
    LOOP
        watched := array_append(watched, p.category);
        IF p.next_attempt_at > clock_timestamp() THEN
            next := least(next, p.next_attempt_at);
            CONTINUE;
        ELSIF clock_timestamp() > until THEN
            has_more := true;
            CONTINUE;
        END IF;
        PERFORM set_config('msgstore.tenant_id', p.tenant_id, true);
        step := msgstore._project(p.name);
        next := least(next, step.again_at);
        has_more := has_more OR step.more;
        unsettled := unsettled OR step.unsettled;
        -- Who had a turn is last in the next one.
        IF step.more THEN
            UPDATE msgstore.projections r SET turn_at = clock_timestamp()
            WHERE r.tenant_id = p.tenant_id AND r.name = p.name;
        END IF;
    END LOOP;
    pause := CASE
        WHEN has_more THEN 0
        WHEN next IS NULL THEN -1
        ELSE greatest(extract(epoch FROM next - clock_timestamp()) * 1000, 1)
    END;
END
$$;

REVOKE ALL ON FUNCTION msgstore._apply_events(msgstore.projections, msgstore.stream_event[]) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._project(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._projection_turn(boolean) FROM PUBLIC;

COMMENT ON FUNCTION msgstore._apply_events(msgstore.projections, msgstore.stream_event[]) IS
    'Calls the function of a projection and advances it. After an error records the failed attempt and returns when to try again';
COMMENT ON FUNCTION msgstore._project(text) IS
    'Applies the next batch of a projection. Returns whether there may be more, when to try again, and whether there are events that are not settled';
COMMENT ON FUNCTION msgstore._projection_turn(boolean) IS
    'Applies events to projections for about 20 ms. Returns the milliseconds until there is more to do (0: at once, -1: not before an append), the categories of the projections (null: all), and whether some wait for events that are not settled. starting: the worker''s process is new';
