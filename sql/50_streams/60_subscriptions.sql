CREATE FUNCTION msgstore._wake_for_ack(subscription text) RETURNS void
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'msgstore_wake_for_ack';

CREATE FUNCTION msgstore._raise_no_subscription(name text) RETURNS void
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    RAISE EXCEPTION 'subscription "%" does not exist', name
        USING ERRCODE = 'MS404',
              HINT = 'Use the name of a subscription created with create_subscription().';
END
$$;

-- Locks the rows until the transaction ends: the group cannot be resized while a
-- consumer works, and no two sessions work as the same consumer.
CREATE FUNCTION msgstore._lock_consumer(
    subscription text,
    member bigint,
    OUT category text,
    OUT generation int,
    OUT group_size bigint,
    OUT "position" bigint,
    OUT fetched_at timestamptz)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    -- While this waits for the row, it may get another name, and another row
    -- this one: the second look has a newer snapshot.
    FOR attempt IN 1..2 LOOP
        SELECT s.category, s.generation, s.group_size
        INTO category, generation, group_size
        FROM msgstore.stream_subscriptions s
        WHERE s.tenant_id = msgstore._tenant_scope() AND s.name = subscription
        FOR SHARE;
        EXIT WHEN FOUND;
    END LOOP;
    IF generation IS NULL THEN
        PERFORM msgstore._raise_no_subscription(subscription);
    END IF;
    SELECT c.position, c.fetched_at INTO "position", fetched_at
    FROM msgstore.stream_consumers c
    WHERE c.tenant_id = msgstore._tenant_scope()
        AND c.subscription = _lock_consumer.subscription
        AND c.generation = _lock_consumer.generation
        AND c.member = _lock_consumer.member
    FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'subscription "%" has no member %', subscription,
            coalesce(member::text, 'null')
            USING ERRCODE = 'MS404',
                  DETAIL = format('Its group size is %s; members are numbered from 0.', group_size);
    END IF;
END
$$;

CREATE FUNCTION msgstore._check_group_size(group_size bigint) RETURNS void
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF group_size BETWEEN 1 AND 1000 THEN
        RETURN;
    END IF;
    RAISE EXCEPTION 'invalid consumer group size: %', coalesce(group_size::text, 'null')
        USING ERRCODE = 'MS400',
              DETAIL = 'The group size must be between 1 and 1000.';
END
$$;

CREATE FUNCTION msgstore.create_subscription(
    name text,
    category text DEFAULT NULL,
    group_size bigint DEFAULT 1,
    after_position bigint DEFAULT 0)
    RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    PERFORM msgstore._check_own_tenant();
    IF coalesce(name, '') = '' THEN
        RAISE EXCEPTION 'argument "name" is empty' USING ERRCODE = 'MS400';
    END IF;
    PERFORM msgstore._check_group_size(group_size);
    PERFORM msgstore._check_category(category);
    IF after_position > msgstore._head_position(msgstore._tenant_scope()) THEN
        RAISE EXCEPTION 'position % is past the end of the log', after_position
            USING ERRCODE = 'MS400',
                  DETAIL = format('The last position is %s.',
                                  msgstore._head_position(msgstore._tenant_scope()));
    END IF;
    INSERT INTO msgstore.stream_subscriptions (tenant_id, name, category, group_size)
    VALUES (msgstore._tenant_scope(), create_subscription.name,
            create_subscription.category, create_subscription.group_size)
    ON CONFLICT ON CONSTRAINT stream_subscriptions_pkey DO NOTHING;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'subscription "%" already exists', name
            USING ERRCODE = 'MS409',
                  HINT = 'Use it, or remove it with drop_subscription().';
    END IF;
    INSERT INTO msgstore.stream_consumers
        (tenant_id, subscription, generation, member, group_size, position)
    SELECT msgstore._tenant_scope(), create_subscription.name, 1, m,
        create_subscription.group_size, coalesce(after_position, 0)
    FROM generate_series(0, create_subscription.group_size - 1) m;
END
$$;

CREATE FUNCTION msgstore.drop_subscription(name text) RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    PERFORM msgstore._check_own_tenant();
    DELETE FROM msgstore.stream_subscriptions s
    WHERE s.tenant_id = msgstore._tenant_scope()
        AND s.name = drop_subscription.name;
    IF NOT FOUND THEN
        PERFORM msgstore._raise_no_subscription(name);
    END IF;
    DELETE FROM msgstore.stream_consumers c
    WHERE c.tenant_id = msgstore._tenant_scope()
        AND c.subscription = drop_subscription.name;
    DELETE FROM msgstore.parked_events p
    WHERE p.tenant_id = msgstore._tenant_scope()
        AND p.subscription = drop_subscription.name;
    DELETE FROM msgstore.projections p
    WHERE p.tenant_id = msgstore._tenant_scope()
        AND p.name = drop_subscription.name;
END
$$;

-- The new members start at the position of the slowest old one. The rows of the
-- old generation keep recording what the others had handled beyond it.
CREATE FUNCTION msgstore.resize_subscription(name text, group_size bigint)
    RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    former int;
    lowest bigint;
BEGIN
    PERFORM msgstore._check_own_tenant();
    PERFORM msgstore._check_group_size(group_size);
    IF group_size > 1 AND EXISTS (
        SELECT FROM msgstore.projections p
        WHERE p.tenant_id = msgstore._tenant_scope()
            AND p.name = resize_subscription.name)
    THEN
        RAISE EXCEPTION 'projection "%" cannot have several members', name
            USING ERRCODE = 'MS409',
                  DETAIL = 'One worker applies its events.';
    END IF;
    UPDATE msgstore.stream_subscriptions s
    SET generation = s.generation + 1, group_size = resize_subscription.group_size
    WHERE s.tenant_id = msgstore._tenant_scope()
        AND s.name = resize_subscription.name
    RETURNING s.generation - 1 INTO former;
    IF NOT FOUND THEN
        PERFORM msgstore._raise_no_subscription(name);
    END IF;
    SELECT min(c.position) INTO lowest
    FROM msgstore.stream_consumers c
    WHERE c.tenant_id = msgstore._tenant_scope()
        AND c.subscription = resize_subscription.name
        AND c.generation = former;
    DELETE FROM msgstore.stream_consumers c
    WHERE c.tenant_id = msgstore._tenant_scope()
        AND c.subscription = resize_subscription.name
        AND c.position <= lowest;
    INSERT INTO msgstore.stream_consumers
        (tenant_id, subscription, generation, member, group_size, position)
    SELECT msgstore._tenant_scope(), resize_subscription.name, former + 1, m,
        resize_subscription.group_size, lowest
    FROM generate_series(0, resize_subscription.group_size - 1) m;
END
$$;

-- Skips what earlier generations have handled, page by page, so that an empty
-- result always means that there are no events.
CREATE FUNCTION msgstore.fetch(
    name text,
    max_events bigint DEFAULT 100,
    member bigint DEFAULT 0)
    RETURNS SETOF msgstore.stream_event
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    consumer record;
    own_member bigint;
    own_size bigint;
    place bigint;
    page msgstore.stream_event[];
    fresh msgstore.stream_event[];
BEGIN
    PERFORM msgstore._check_own_tenant();
    consumer := msgstore._lock_consumer(name, member);
    own_member := CASE WHEN consumer.group_size > 1 THEN member END;
    own_size := CASE WHEN consumer.group_size > 1 THEN consumer.group_size END;
    place := consumer.position;
    IF max_events IS NULL OR max_events < 1 THEN
        RAISE EXCEPTION 'argument "max_events" must be positive, not %',
            coalesce(max_events::text, 'null')
            USING ERRCODE = 'MS400';
    END IF;
    -- A second is exact enough for an operator, and saves a row version each.
    IF coalesce(consumer.fetched_at, '-infinity') < now() - interval '1 s' THEN
        UPDATE msgstore.stream_consumers c
        SET fetched_at = now()
        WHERE c.tenant_id = msgstore._tenant_scope()
            AND c.subscription = "fetch".name
            AND c.generation = consumer.generation
            AND c.member = "fetch".member;
    END IF;
    LOOP
        IF consumer.category IS NULL THEN
            SELECT array_agg(e ORDER BY e.global_position) INTO page
            FROM msgstore.read_all(place, max_events, own_member, own_size) e;
        ELSE
            SELECT array_agg(e ORDER BY e.global_position) INTO page
            FROM msgstore.read_category(consumer.category, place, max_events,
                                        own_member, own_size) e;
        END IF;
        EXIT WHEN page IS NULL;
        SELECT array_agg(e ORDER BY e.global_position) INTO fresh
        FROM unnest(page) e
        WHERE NOT EXISTS (
            SELECT FROM msgstore.stream_consumers c
            WHERE c.tenant_id = msgstore._tenant_scope()
                AND c.subscription = "fetch".name
                AND c.generation < consumer.generation
                AND c.member = msgstore._consumer_of(e.stream, c.group_size)
                AND c.position >= e.global_position);
        EXIT WHEN fresh IS NOT NULL;
        place := page[cardinality(page)].global_position;
    END LOOP;
    RETURN QUERY SELECT * FROM unnest(fresh);
END
$$;

CREATE FUNCTION msgstore.ack(name text, "position" bigint, member bigint DEFAULT 0)
    RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    consumer record;
BEGIN
    PERFORM msgstore._check_own_tenant();
    consumer := msgstore._lock_consumer(name, member);
    IF "position" IS NULL OR "position" > msgstore._settled_position(consumer.category) THEN
        RAISE EXCEPTION 'position % cannot be acknowledged', coalesce("position"::text, 'null')
            USING ERRCODE = 'MS400',
                  DETAIL = 'The position must not be greater than that of the last event returned by fetch().';
    END IF;
    IF "position" < consumer.position THEN
        RAISE EXCEPTION 'position % of subscription "%" is already acknowledged',
            "position", name
            USING ERRCODE = 'MS409',
                  DETAIL = format('Member %s is at position %s.', member,
                                  consumer.position);
    END IF;
    UPDATE msgstore.stream_consumers c
    SET position = ack.position
    WHERE c.tenant_id = msgstore._tenant_scope()
        AND c.subscription = ack.name
        AND c.generation = consumer.generation
        AND c.member = ack.member;
    PERFORM msgstore._wake_for_ack(name);
END
$$;

CREATE FUNCTION msgstore._check_subscription(name text) RETURNS text
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    category text;
BEGIN
    SELECT s.category INTO category FROM msgstore.stream_subscriptions s
    WHERE s.tenant_id = msgstore._tenant_scope()
        AND s.name = _check_subscription.name;
    IF NOT FOUND THEN
        PERFORM msgstore._raise_no_subscription(name);
    END IF;
    RETURN category;
END
$$;

CREATE FUNCTION msgstore.park(name text, "position" bigint, reason text)
    RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = 'force_custom_plan'
    AS $$
DECLARE
    subscribed text;
BEGIN
    PERFORM msgstore._check_own_tenant();
    subscribed := msgstore._check_subscription(name);
    IF NOT EXISTS (
        SELECT FROM msgstore.stream_events e
        WHERE e.tenant_id = msgstore._tenant_scope()
            AND e.global_position = park.position
            AND (subscribed IS NULL OR e.category = subscribed))
    THEN
        RAISE EXCEPTION 'subscription "%" has no event at position %', name,
            coalesce("position"::text, 'null')
            USING ERRCODE = 'MS404';
    END IF;
    INSERT INTO msgstore.parked_events AS p
        (tenant_id, subscription, global_position, reason)
    VALUES (msgstore._tenant_scope(), park.name, park.position,
            coalesce(park.reason, ''))
    ON CONFLICT ON CONSTRAINT parked_events_pkey
        DO UPDATE SET reason = excluded.reason, parked_at = now();
END
$$;

CREATE FUNCTION msgstore.list_parked(name text)
    RETURNS TABLE (global_position bigint, reason text, parked_at timestamptz)
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
BEGIN
    PERFORM msgstore._check_subscription(name);
    RETURN QUERY
        SELECT p.global_position, p.reason, p.parked_at
        FROM msgstore.parked_events p
        WHERE p.tenant_id = msgstore._tenant_scope()
            AND p.subscription = list_parked.name
        ORDER BY p.global_position;
END
$$;

-- Events are unparked with the caller's transaction; after a rollback they are
-- still parked. Two sessions get different events. Events that were replaced by
-- a compaction are not returned.
CREATE FUNCTION msgstore.replay_parked(
    name text,
    max_events bigint DEFAULT 100,
    "position" bigint DEFAULT NULL)
    RETURNS SETOF msgstore.stream_event
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = 'force_custom_plan'
    AS $$
BEGIN
    PERFORM msgstore._check_own_tenant();
    PERFORM msgstore._check_subscription(name);
    RETURN QUERY
        WITH chosen AS (
            SELECT p.global_position
            FROM msgstore.parked_events p
            WHERE p.tenant_id = msgstore._tenant_scope()
                AND p.subscription = replay_parked.name
                AND (replay_parked.position IS NULL
                    OR p.global_position = replay_parked.position)
            ORDER BY p.global_position
            LIMIT max_events
            FOR UPDATE SKIP LOCKED
        ), unparked AS (
            DELETE FROM msgstore.parked_events p
            USING chosen c
            WHERE p.tenant_id = msgstore._tenant_scope()
                AND p.subscription = replay_parked.name
                AND p.global_position = c.global_position
            RETURNING p.global_position
        )
        SELECT e.stream, e.version, e.global_position, e.event_id, e.type,
            e.data, e.metadata, e.created_at, e.created_by,
            e.happened_at, e.tags
        FROM unparked u
        JOIN msgstore.stream_events e
            ON e.tenant_id = msgstore._tenant_scope()
            AND e.global_position = u.global_position
        ORDER BY e.global_position;
END
$$;

REVOKE ALL ON FUNCTION msgstore._wake_for_ack(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._raise_no_subscription(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._lock_consumer(text, bigint) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._check_group_size(bigint) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.create_subscription(text, text, bigint, bigint) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.drop_subscription(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.resize_subscription(text, bigint) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.fetch(text, bigint, bigint) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.ack(text, bigint, bigint) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._check_subscription(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.park(text, bigint, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.list_parked(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.replay_parked(text, bigint, bigint) FROM PUBLIC;

COMMENT ON FUNCTION msgstore._wake_for_ack(text) IS
    'At commit, wakes the sessions that wait_for() the subscription';
COMMENT ON FUNCTION msgstore._raise_no_subscription(text) IS
    'Raises MS404 for a subscription that does not exist';
COMMENT ON FUNCTION msgstore._lock_consumer(text, bigint) IS
    'Returns the state of a consumer and locks it until the transaction ends. Raises MS404';
COMMENT ON FUNCTION msgstore._check_group_size(bigint) IS
    'Raises MS400 for an invalid consumer group size';
COMMENT ON FUNCTION msgstore.create_subscription(text, text, bigint, bigint) IS
    'Creates a subscription to a category (null: all) with group_size consumers, beginning after a position. Raises MS400 if the name is empty, the category contains a hyphen, after_position is past the end of the log, or group_size is not between 1 and 1000, MS409 if the subscription already exists';
COMMENT ON FUNCTION msgstore.drop_subscription(text) IS
    'Removes a subscription with its positions and parked events. Raises MS404 if it does not exist';
COMMENT ON FUNCTION msgstore.resize_subscription(text, bigint) IS
    'Changes the number of consumers of a subscription; no event is lost or handled twice. Waits for open transactions that have called fetch() or ack(). Raises MS400 if group_size is not between 1 and 1000, MS404 if the subscription does not exist, MS409 for a projection';
COMMENT ON FUNCTION msgstore.fetch(text, bigint, bigint) IS
    'Returns the next events of a consumer (member, from 0), at most max_events, and locks the consumer until the transaction ends. Call ack() to advance. Raises MS400 if max_events is not positive, MS404 if the subscription or the member does not exist';
COMMENT ON FUNCTION msgstore.ack(text, bigint, bigint) IS
    'Advances a consumer to a position, in the caller''s transaction. Raises MS400 for a position that no event has reached, MS404 if the subscription or the member does not exist, MS409 if the consumer is already past it';
COMMENT ON FUNCTION msgstore._check_subscription(text) IS
    'Returns the category of a subscription. Raises MS404';
COMMENT ON FUNCTION msgstore.park(text, bigint, text) IS
    'Sets an event aside with a reason, so that the subscription can continue after it. Raises MS404 if the subscription does not exist or has no event at the position';
COMMENT ON FUNCTION msgstore.list_parked(text) IS
    'Returns the parked events of a subscription, by position. Raises MS404 if it does not exist';
COMMENT ON FUNCTION msgstore.replay_parked(text, bigint, bigint) IS
    'Unparks at most max_events (null: no limit) events, or the one at the position, in the caller''s transaction and returns them, by position, to be handled again. Raises MS404 if the subscription does not exist';
