-- maintenance: the worker's purge, one small batch in each transaction.

-- Goes through purge_skipped in the order of its key, and starts over at its end.
CREATE FUNCTION msgstore._recheck_skipped(kind text, most int) RETURNS int
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    progress msgstore.purge_progress;
    free record;
BEGIN
    SELECT p.* INTO progress FROM msgstore.purge_progress p
    WHERE p.kind = _recheck_skipped.kind;
    WITH seen AS MATERIALIZED (
        SELECT s.tenant_id, s.event_id, row_number() OVER () AS n,
               EXISTS (
                   SELECT FROM msgstore.event_queue q
                   WHERE q.tenant_id = s.tenant_id AND q.event_id = s.event_id)
               OR EXISTS (
                   SELECT FROM msgstore.dead_letters d
                   WHERE d.tenant_id = s.tenant_id AND d.event_id = s.event_id)
               OR EXISTS (
                   SELECT FROM msgstore.outbox o
                   WHERE o.tenant_id = s.tenant_id AND o.message_id = s.event_id)
                   AS busy
        FROM (
            SELECT s.tenant_id, s.event_id
            FROM msgstore.purge_skipped s
            WHERE s.kind = _recheck_skipped.kind
                AND (s.tenant_id, s.event_id)
                    > (progress.rechecked_tenant, progress.rechecked_id)
            ORDER BY s.tenant_id, s.event_id
            LIMIT most) s)
    SELECT array_agg(s.tenant_id) FILTER (WHERE NOT s.busy) AS tenants,
           array_agg(s.event_id) FILTER (WHERE NOT s.busy) AS ids,
           (array_agg(s.tenant_id ORDER BY s.n DESC))[1] AS last_tenant,
           (array_agg(s.event_id ORDER BY s.n DESC))[1] AS last_id,
           count(*) AS n
    INTO free
    FROM seen s;
    UPDATE msgstore.purge_progress p
    SET rechecked_tenant = CASE WHEN free.n < most THEN '' ELSE free.last_tenant END,
        rechecked_id = CASE
            WHEN free.n < most THEN '00000000-0000-0000-0000-000000000000'
            ELSE free.last_id
        END
    WHERE p.kind = _recheck_skipped.kind;
    DELETE FROM msgstore.purge_skipped s
    USING unnest(free.tenants, free.ids) AS f (tenant_id, event_id)
    WHERE s.tenant_id = f.tenant_id AND s.kind = _recheck_skipped.kind
        AND s.event_id = f.event_id;
    RETURN msgstore._purge_events(kind, free.tenants, free.ids);
END
$$;

-- SKIP LOCKED: only one worker purges a kind at a time; the others do nothing.
CREATE FUNCTION msgstore._purge_batch(
    kind text,
    before timestamptz,
    most int,
    OUT removed int,
    OUT more boolean)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    progress msgstore.purge_progress;
    bound uuid;
    step record;
    statuses int;
    refused int;
    notifications int;
BEGIN
    removed := 0;
    more := false;
    IF kind = 'dead_letters' THEN
        removed := msgstore._purge_dead_letters(before, most, false);
        notifications := msgstore._purge_rows(
            'notifications', 'dead_at', before, most, false);
        more := greatest(removed, notifications) >= most;
        removed := removed + notifications;
        RETURN;
    END IF;
    INSERT INTO msgstore.purge_progress (kind) VALUES (_purge_batch.kind)
    ON CONFLICT DO NOTHING;
    SELECT p.* INTO progress
    FROM msgstore.purge_progress p
    WHERE p.kind = _purge_batch.kind
    FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN;
    END IF;

    IF kind = 'outbound_payloads' THEN
        SELECT w.removed, w.busy_tenants, w.busy_ids, w.met >= most AS more,
               w.walked_id
        INTO step
        FROM msgstore._walk_outbound(before, most, false, progress.walked_id) w;
        progress.walked_id := step.walked_id;
    ELSE
        -- The age may have become longer since the pass began.
        bound := least(progress.pass_before, msgstore._least_uuid7(before));
        SELECT w.*, w.walked_tenant IS NOT NULL AS more INTO step
        FROM msgstore._walk_log(
            kind, progress.scanned_before, bound, most, false,
            progress.walked_tenant, progress.walked_id,
            CASE WHEN progress.pass_before IS NOT NULL THEN progress.next_id END) w;
        progress.walked_tenant := step.walked_tenant;
        progress.walked_id := step.walked_id;
        progress.next_id := step.next_id;
        progress.pass_before := CASE WHEN step.more THEN bound END;
        IF NOT step.more THEN
            progress.scanned_before := greatest(progress.scanned_before, bound);
        END IF;
    END IF;
    removed := step.removed;
    more := step.more;
    INSERT INTO msgstore.purge_skipped (tenant_id, kind, event_id)
    SELECT b.tenant_id, _purge_batch.kind, b.id
    FROM unnest(step.busy_tenants, step.busy_ids) AS b (tenant_id, id)
    ON CONFLICT DO NOTHING;
    UPDATE msgstore.purge_progress p
    SET scanned_before = progress.scanned_before,
        pass_before = progress.pass_before,
        walked_tenant = progress.walked_tenant,
        walked_id = progress.walked_id,
        next_id = progress.next_id
    WHERE p.kind = _purge_batch.kind;
    IF NOT more THEN
        removed := removed + msgstore._recheck_skipped(kind, most);
    END IF;
    IF kind = 'events' THEN
        statuses := msgstore._purge_statuses(before, most, false);
        refused := msgstore._purge_rows(
            'refused_events', 'received_at', before, most, false);
        removed := removed + statuses + refused;
        more := more OR statuses >= most OR refused >= most;
    END IF;
END
$$;

CREATE FUNCTION msgstore._next_purge(kind text, age interval)
    RETURNS timestamptz
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    progress msgstore.purge_progress;
BEGIN
    SELECT p.* INTO progress FROM msgstore.purge_progress p
    WHERE p.kind = _next_purge.kind;
    IF kind = 'dead_letters' THEN
        RETURN least((SELECT min(d.died_at) FROM msgstore.dead_letters d),
                     (SELECT min(n.dead_at) FROM msgstore.notifications n)) + age;
    END IF;
    RETURN least(
        CASE WHEN kind = 'outbound_payloads' THEN
            (SELECT min(msgstore._time_of_uuid7(next.message_id))
             FROM msgstore._tenants_in_scope() t
             CROSS JOIN LATERAL (
                 SELECT p.message_id FROM msgstore.outbound_payloads p
                 WHERE p.tenant_id = t AND p.message_id > coalesce(
                     progress.walked_id, '00000000-0000-0000-0000-000000000000')
                 ORDER BY p.message_id LIMIT 1) next) + age
        ELSE
            msgstore._time_of_uuid7(progress.next_id) + age
        END,
        CASE WHEN kind = 'events' THEN
            least(
                (SELECT min(s.received_at) FROM msgstore.delivery_statuses s),
                (SELECT min(r.received_at) FROM msgstore.refused_events r)) + age
        END,
        -- Nothing announces that a skipped event is done, so check every hour.
        CASE WHEN EXISTS (SELECT FROM msgstore.purge_skipped s
                          WHERE s.kind = _next_purge.kind) THEN
            clock_timestamp() + interval '1 hour'
        END);
END
$$;

-- Errors, such as one from a user's trigger, become warnings: the worker must
-- go on with its events.
CREATE FUNCTION msgstore._purge_turn() RETURNS bigint
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    -- A batch reads by index whatever the statistics say: it must cost the same
    -- however large the tables are.
    SET enable_seqscan = off
    SET enable_bitmapscan = off
    SET enable_hashjoin = off
    SET enable_mergejoin = off
    SET enable_sort = off
    SET jit = off
    AS $$
<<turn>>
DECLARE
    most CONSTANT int := current_setting('msgstore.purge_batch_size')::int;
    next timestamptz;
    pause interval := '1 minute';
    has_more boolean := false;
    continued boolean;
    kind text;
    age interval;
BEGIN
    -- A tenant that is being moved must not lose rows on one side only.
    IF msgstore._any_tenant_moves() THEN
        RETURN 1000;
    END IF;
    FOREACH kind IN ARRAY
        '{payloads,events,dead_letters,outbound_payloads}'::text[]
    LOOP
        -- Outbound payloads are purged with inbound ones, at the latest with the
        -- events.
        SELECT min(nullif(current_setting(
                   format('msgstore.purge_%s_after', s))::interval, '0'))
        INTO age
        FROM unnest(CASE kind WHEN 'outbound_payloads' THEN '{payloads,events}'
                              ELSE ARRAY[kind] END) s;
        CONTINUE WHEN age IS NULL;
        -- See purge(). The worker does not wait for an erasure, a replay or
        -- another purge: it tries again a second later.
        BEGIN
            LOCK TABLE msgstore.operations_log
                IN SHARE UPDATE EXCLUSIVE MODE NOWAIT;
        EXCEPTION WHEN lock_not_available THEN
            RETURN 1000;
        END;
        BEGIN
            continued := EXISTS (
                SELECT FROM msgstore.purge_progress p
                WHERE p.kind = turn.kind AND p.pass_before IS NOT NULL);
            IF (msgstore._purge_batch(kind, clock_timestamp() - age, most)).more THEN
                has_more := true;
            ELSE
                next := least(next, msgstore._next_purge(kind, age),
                              clock_timestamp() + age);
                -- After a pass of several batches, so much becomes old that a
                -- minute of it would be purged, and its space be reused, in bursts.
                IF continued THEN
                    pause := '5 seconds';
                END IF;
            END IF;
        EXCEPTION WHEN OTHERS THEN
            RAISE WARNING 'could not purge %: %', kind, SQLERRM
                USING DETAIL = format('SQLSTATE %s.', SQLSTATE);
            next := least(next, clock_timestamp() + interval '1 minute');
        END;
    END LOOP;
    RETURN CASE
        WHEN has_more THEN 0
        WHEN next IS NULL THEN -1
        ELSE extract(epoch FROM least(
            greatest(next - clock_timestamp(), pause),
            interval '1 day')) * 1000
    END;
END
$$;

REVOKE ALL ON FUNCTION msgstore._recheck_skipped(text, int) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._purge_batch(text, timestamptz, int) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._next_purge(text, interval) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._purge_turn() FROM PUBLIC;

COMMENT ON FUNCTION msgstore._recheck_skipped(text, int) IS
    'Purges skipped events that have been processed since, and returns the number of rows';
COMMENT ON FUNCTION msgstore._purge_batch(text, timestamptz, int) IS
    'Purges one batch of a kind for the worker; more is true when another batch may follow';
COMMENT ON FUNCTION msgstore._next_purge(text, interval) IS
    'Returns the time at which the oldest row not yet purged reaches this age; null if there is no row';
COMMENT ON FUNCTION msgstore._purge_turn() IS
    'Purges one batch of each kind whose msgstore.purge_..._after is set. Returns the milliseconds until the next batch is due: 0 for at once, -1 for never';
