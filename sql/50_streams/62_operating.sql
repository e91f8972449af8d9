-- streams: operating subscriptions.

-- Counts what fetch() would return: each member's share after its position, but
-- not what members of earlier generations have handled. For a single member the
-- conditions fold away, and an index alone answers.
CREATE FUNCTION msgstore._subscription_lag(
    tenant text,
    name text,
    until_position bigint,
    most bigint,
    OUT events bigint,
    OUT oldest timestamptz)
    LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = 'force_custom_plan'
    AS $$
DECLARE
    s msgstore.stream_subscriptions;
    lowest bigint;
    alone boolean;
    first bigint;
BEGIN
    SELECT * INTO s FROM msgstore.stream_subscriptions r
    WHERE r.tenant_id = tenant AND r.name = _subscription_lag.name;
    SELECT min(c.position) INTO lowest
    FROM msgstore.stream_consumers c
    WHERE c.tenant_id = tenant AND c.subscription = s.name
        AND c.generation = s.generation;
    alone := s.group_size = 1 AND NOT EXISTS (
        SELECT FROM msgstore.stream_consumers c
        WHERE c.tenant_id = tenant AND c.subscription = s.name
            AND c.generation < s.generation AND c.position > lowest);
    SELECT count(*), min(p.global_position) INTO events, first
    FROM (
        SELECT e.global_position FROM msgstore.stream_events e
        WHERE e.tenant_id = tenant AND e.global_position > lowest
            AND (s.category IS NULL OR e.category = s.category)
            AND (until_position IS NULL OR e.global_position <= until_position)
            AND (alone OR NOT EXISTS (
                SELECT FROM msgstore.stream_consumers c
                WHERE c.tenant_id = tenant AND c.subscription = s.name
                    AND c.member = msgstore._consumer_of(e.stream, c.group_size)
                    AND c.position >= e.global_position))
        ORDER BY e.global_position LIMIT most) p;
    SELECT e.created_at INTO oldest FROM msgstore.stream_events e
    WHERE e.tenant_id = tenant AND e.global_position = first;
END
$$;

-- Without a tenant, the subscriptions of all tenants: for operators.
CREATE FUNCTION msgstore.list_subscriptions(max_lag bigint DEFAULT 100000)
    RETURNS TABLE (
        tenant_id text,
        name text,
        category text,
        members bigint,
        "position" bigint,
        head bigint,
        lag_events bigint,
        lag_seconds double precision,
        last_fetch_at timestamptz,
        parked_events bigint,
        created_at timestamptz)
    LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = 'force_custom_plan'
    AS $$
#variable_conflict use_column
DECLARE
    scope CONSTANT text := msgstore._tenant_scope();
    s record;
BEGIN
    FOR s IN
        SELECT r.*, c.position, c.fetched_at, p.n AS parked
        FROM msgstore.stream_subscriptions r
        CROSS JOIN LATERAL (
            SELECT min(c.position) AS position, max(c.fetched_at) AS fetched_at
            FROM msgstore.stream_consumers c
            WHERE c.tenant_id = r.tenant_id AND c.subscription = r.name
                AND c.generation = r.generation) c
        CROSS JOIN LATERAL (
            SELECT count(*) AS n FROM msgstore.parked_events p
            WHERE p.tenant_id = r.tenant_id AND p.subscription = r.name) p
        WHERE scope IN ('', r.tenant_id)
        ORDER BY r.tenant_id, r.name
    LOOP
        RETURN QUERY
            SELECT s.tenant_id, s.name, s.category, s.group_size, s.position,
                coalesce((
                    SELECT max(e.global_position)
                    FROM msgstore.stream_events e
                    WHERE e.tenant_id = s.tenant_id
                        AND (s.category IS NULL OR e.category = s.category)), 0),
                l.events,
                coalesce(greatest(extract(epoch FROM clock_timestamp() - l.oldest), 0),
                         0)::double precision,
                s.fetched_at, s.parked, s.created_at
            FROM msgstore._subscription_lag(s.tenant_id, s.name, NULL, max_lag) l;
    END LOOP;
END
$$;

-- Members of the current generation.
CREATE FUNCTION msgstore.list_members(name text)
    RETURNS TABLE (
        member bigint,
        "position" bigint,
        last_fetch_at timestamptz)
    LANGUAGE plpgsql STABLE STRICT PARALLEL RESTRICTED SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
BEGIN
    PERFORM msgstore._check_subscription(name);
    RETURN QUERY
        SELECT c.member, c.position, c.fetched_at
        FROM msgstore.stream_subscriptions s
        JOIN msgstore.stream_consumers c
            ON c.tenant_id = s.tenant_id AND c.subscription = s.name
            AND c.generation = s.generation
        WHERE s.tenant_id = msgstore._tenant_scope()
            AND s.name = list_members.name
        ORDER BY c.member;
END
$$;

-- Excludes the members until the transaction ends.
CREATE FUNCTION msgstore._lock_subscription(name text) RETURNS int
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    generation int;
BEGIN
    FOR attempt IN 1..2 LOOP
        SELECT s.generation INTO generation
        FROM msgstore.stream_subscriptions s
        WHERE s.tenant_id = msgstore._tenant_scope()
            AND s.name = _lock_subscription.name
        FOR UPDATE;
        EXIT WHEN FOUND;
    END LOOP;
    IF generation IS NULL THEN
        PERFORM msgstore._raise_no_subscription(name);
    END IF;
    RETURN generation;
END
$$;

CREATE FUNCTION msgstore.seek(name text, "position" bigint) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    current int;
    settled bigint;
BEGIN
    PERFORM msgstore._check_own_tenant();
    current := msgstore._lock_subscription(name);
    settled := msgstore._settled_position(msgstore._check_subscription(name));
    IF "position" IS NULL OR "position" NOT BETWEEN 0 AND settled THEN
        RAISE EXCEPTION 'subscription "%" cannot continue after position %', name,
            coalesce("position"::text, 'null')
            USING ERRCODE = 'MS400',
                  DETAIL = format('The position must be between 0 and %s.', settled);
    END IF;
    -- What earlier generations have handled is to be handled again.
    DELETE FROM msgstore.stream_consumers c
    WHERE c.tenant_id = msgstore._tenant_scope()
        AND c.subscription = seek.name AND c.generation < current;
    UPDATE msgstore.stream_consumers c SET position = seek.position
    WHERE c.tenant_id = msgstore._tenant_scope()
        AND c.subscription = seek.name AND c.generation = current;
    -- The failed attempts were those of another event.
    UPDATE msgstore.projections p
    SET attempts = 0, trying = false, next_attempt_at = NULL
    WHERE p.tenant_id = msgstore._tenant_scope() AND p.name = seek.name;
    PERFORM msgstore._wake_for_ack(name), msgstore._announce();
END
$$;

CREATE FUNCTION msgstore.rename_subscription(name text, new_name text) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    tenant CONSTANT text := msgstore._tenant_scope();
BEGIN
    PERFORM msgstore._check_own_tenant();
    IF coalesce(new_name, '') = '' THEN
        RAISE EXCEPTION 'argument "new_name" is empty' USING ERRCODE = 'MS400';
    END IF;
    PERFORM msgstore._lock_subscription(name);
    BEGIN
        UPDATE msgstore.stream_subscriptions s SET name = new_name
        WHERE s.tenant_id = tenant AND s.name = rename_subscription.name;
    EXCEPTION WHEN unique_violation THEN
        RAISE EXCEPTION 'subscription "%" already exists', new_name
            USING ERRCODE = 'MS409',
                  HINT = 'Rename that one first, in the same transaction.';
    END;
    UPDATE msgstore.stream_consumers c SET subscription = new_name
    WHERE c.tenant_id = tenant AND c.subscription = rename_subscription.name;
    UPDATE msgstore.parked_events p SET subscription = new_name
    WHERE p.tenant_id = tenant AND p.subscription = rename_subscription.name;
    UPDATE msgstore.projections p SET name = new_name
    WHERE p.tenant_id = tenant AND p.name = rename_subscription.name;
    PERFORM msgstore._wake_for_ack(name), msgstore._wake_for_ack(new_name);
END
$$;

-- Settled first: an event that appears later is not acknowledged.
CREATE FUNCTION msgstore._has_acknowledged(subscription text, "position" bigint)
    RETURNS int
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    settled CONSTANT bigint := msgstore._settled_position(
        msgstore._check_subscription(subscription));
BEGIN
    IF "position" > settled THEN
        RETURN 1;
    END IF;
    RETURN CASE (msgstore._subscription_lag(
                     msgstore._tenant_scope(), subscription, "position", 1)).events
           WHEN 0 THEN 2 ELSE 0 END;
END
$$;

CREATE FUNCTION msgstore.wait_for(
    subscription text,
    "position" bigint,
    timeout interval DEFAULT '30 s')
    RETURNS boolean
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'msgstore_wait_for';

REVOKE ALL ON FUNCTION msgstore._subscription_lag(text, text, bigint, bigint) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.list_subscriptions(bigint) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.list_members(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._lock_subscription(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.seek(text, bigint) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.rename_subscription(text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._has_acknowledged(text, bigint) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.wait_for(text, bigint, interval) FROM PUBLIC;

COMMENT ON FUNCTION msgstore._subscription_lag(text, text, bigint, bigint) IS
    'Returns the number of events that a subscription has not acknowledged, up to a position (null: all) and at most "most" (null: no limit), and the time of the oldest one';
COMMENT ON FUNCTION msgstore.list_subscriptions(bigint) IS
    'Returns the subscriptions of the session''s tenant, or of all tenants: the position of the slowest member, the position of the last event (head), the number of events not yet acknowledged, counted up to max_lag (null: no limit), the age of the oldest of them, the time of the last fetch(), and the number of parked events';
COMMENT ON FUNCTION msgstore.list_members(text) IS
    'Returns the members of a subscription with their positions and the times of their last fetch(). Raises MS404 if it does not exist';
COMMENT ON FUNCTION msgstore._lock_subscription(text) IS
    'Locks a subscription until the transaction ends and returns its generation. Raises MS404';
COMMENT ON FUNCTION msgstore.seek(text, bigint) IS
    'Moves all members of a subscription to a position, back or forward; the next fetch() continues after it. Waits for open transactions that have called fetch() or ack(). Raises MS400 for a position that no event has reached, MS404 if the subscription does not exist';
COMMENT ON FUNCTION msgstore.rename_subscription(text, text) IS
    'Renames a subscription with its positions and parked events. Waits like seek(). Raises MS400 if the new name is empty, MS404 if the subscription does not exist, MS409 if the new name is in use';
COMMENT ON FUNCTION msgstore._has_acknowledged(text, bigint) IS
    'Returns 2 if the subscription has acknowledged all its events up to the position, 1 if some of them are not settled, otherwise 0. Raises MS404';
COMMENT ON FUNCTION msgstore.wait_for(text, bigint, interval) IS
    'Waits until a subscription has acknowledged all its events up to the position, and returns true; returns false after the timeout (null: none). Raises MS400 if an argument is invalid or the transaction is not READ COMMITTED, MS404 if the subscription does not exist';
