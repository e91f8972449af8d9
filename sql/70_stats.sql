CREATE FUNCTION msgstore._count(
    counter text,
    n bigint,
    tenant_id text DEFAULT NULL,
    channel text DEFAULT NULL)
    RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'msgstore_count';

CREATE FUNCTION msgstore._move(
    gauge text,
    tenant_id text,
    channel text,
    delta bigint)
    RETURNS void
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'msgstore_move';

CREATE FUNCTION msgstore._gauge(name text) RETURNS bigint
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'msgstore_gauge';

CREATE FUNCTION msgstore._event_age_us(event_id uuid) RETURNS bigint
    LANGUAGE c VOLATILE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'msgstore_event_age_us';

-- By index whatever the statistics say: a queue is empty whenever it is
-- analyzed.
CREATE FUNCTION msgstore._oldest_event(tenant_id text) RETURNS uuid
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off
    SET enable_bitmapscan = off
    SET enable_sort = off
    AS $$
BEGIN
    RETURN (
        SELECT q.event_id FROM msgstore.event_queue q
        WHERE q.tenant_id = _oldest_event.tenant_id
        ORDER BY q.tenant_id, q.event_id LIMIT 1);
END
$$;

-- The oldest event is the first one of some tenant: one probe for each, as far
-- as that is cheap.
CREATE FUNCTION msgstore._work_left(
    OUT oldest_event uuid,
    OUT any_dead boolean)
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off
    SET enable_bitmapscan = off
    SET enable_sort = off
    AS $$
DECLARE
    most_tenants CONSTANT int := 10000;
    first record;
BEGIN
    any_dead := EXISTS (SELECT FROM msgstore.dead_letters);
    SELECT q.tenant_id, q.event_id INTO first FROM msgstore.event_queue q
    ORDER BY q.tenant_id, q.event_id LIMIT 1;
    FOR n IN 1..most_tenants LOOP
        EXIT WHEN first.tenant_id IS NULL;
        oldest_event := least(oldest_event, first.event_id);
        SELECT q.tenant_id, q.event_id INTO first FROM msgstore.event_queue q
        WHERE q.tenant_id > first.tenant_id
        ORDER BY q.tenant_id, q.event_id LIMIT 1;
    END LOOP;
END
$$;

CREATE FUNCTION msgstore._counters()
    RETURNS TABLE (name text, value bigint)
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'msgstore_counters';

CREATE FUNCTION msgstore._channel_counters()
    RETURNS TABLE (
        tenant_id text,
        channel text,
        ingested bigint,
        duplicate bigint,
        processed bigint,
        error bigint,
        dead_letter bigint,
        sent bigint,
        queued bigint,
        dead_letters bigint)
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'msgstore_channel_counters';

CREATE FUNCTION msgstore._stat_worker()
    RETURNS TABLE (
        worker int,
        pid int,
        state text,
        batch int,
        batches bigint,
        claimed bigint,
        processed bigint,
        errors bigint,
        dead_letters bigint,
        last_error text,
        last_error_at timestamptz,
        started_at timestamptz,
        busy_us bigint,
        idle_us bigint)
    LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED
    AS 'MODULE_PATHNAME', 'msgstore_stat_worker';

-- For a tenant, what is counted by tenant: the rest would tell of the others.
CREATE FUNCTION msgstore.metrics() RETURNS jsonb
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    RETURN CASE WHEN msgstore._tenant_scope() = '' THEN (
            SELECT jsonb_object_agg(c.name, c.value) FROM msgstore._counters() c)
        ELSE (
            SELECT jsonb_build_object(
                'events_ingested', coalesce(sum(c.ingested), 0),
                'events_duplicate', coalesce(sum(c.duplicate), 0),
                'messages_sent', coalesce(sum(c.sent), 0),
                'worker_processed', coalesce(sum(c.processed), 0),
                'worker_error', coalesce(sum(c.error), 0),
                'worker_dead_letter', coalesce(sum(c.dead_letter), 0),
                'worker_queued', coalesce(sum(c.queued), 0),
                'dead_letters', coalesce(sum(c.dead_letters), 0),
                'oldest_event_age_us', coalesce(max(c.tenant_oldest_event_age_us), 0))
            FROM msgstore.channel_metrics() c)
        END
        || jsonb_build_object(
            'ts_unix_ms',
            floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint);
END
$$;

CREATE FUNCTION msgstore.channel_metrics()
    RETURNS TABLE (
        tenant_id text,
        channel text,
        ingested bigint,
        duplicate bigint,
        processed bigint,
        error bigint,
        dead_letter bigint,
        sent bigint,
        queued bigint,
        dead_letters bigint,
        tenant_oldest_event_age_us bigint)
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE SECURITY DEFINER ROWS 10
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
DECLARE
    tenant CONSTANT text := msgstore._tenant_scope();
BEGIN
    RETURN QUERY
    WITH c AS MATERIALIZED (
        SELECT * FROM msgstore._channel_counters() c
        WHERE tenant IN ('', c.tenant_id)),
    t AS MATERIALIZED (
        SELECT c.tenant_id,
               msgstore._event_age_us(msgstore._oldest_event(c.tenant_id)) AS age
        FROM c WHERE c.queued > 0 GROUP BY c.tenant_id)
    SELECT c.*, CASE WHEN c.queued > 0 THEN coalesce(t.age, 0) ELSE 0 END
    FROM c LEFT JOIN t ON t.tenant_id = c.tenant_id
    ORDER BY c.tenant_id COLLATE "C", c.channel COLLATE "C";
END
$$;

CREATE FUNCTION msgstore.latency_histogram()
    RETURNS TABLE (le_us bigint, count bigint)
    LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED ROWS 40
    AS 'MODULE_PATHNAME', 'msgstore_latency_histogram';

CREATE VIEW msgstore.stat_worker WITH (security_barrier) AS
SELECT * FROM msgstore._stat_worker()
WHERE msgstore._tenant_scope() = '';

CREATE FUNCTION msgstore.metrics_detail() RETURNS jsonb
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    RETURN jsonb_build_object(
        'channels', (
            SELECT coalesce(jsonb_agg(c), '[]') FROM msgstore.channel_metrics() c),
        'workers', (
            SELECT coalesce(jsonb_agg(
                to_jsonb(w) || jsonb_build_object('up', w.pid IS NOT NULL)
                ORDER BY w.worker), '[]')
            FROM msgstore.stat_worker w),
        'latency', (
            SELECT coalesce(jsonb_agg(h ORDER BY h.le_us), '[]')
            FROM msgstore.latency_histogram() h));
END
$$;

CREATE FUNCTION msgstore.recount() RETURNS void
    LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED
    AS 'MODULE_PATHNAME', 'msgstore_recount';

REVOKE ALL ON FUNCTION msgstore._count(text, bigint, text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._move(text, text, text, bigint) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._gauge(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._event_age_us(uuid) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._oldest_event(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._work_left() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._counters() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._channel_counters() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._stat_worker() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.metrics() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.channel_metrics() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.latency_histogram() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.metrics_detail() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.recount() FROM PUBLIC;

COMMENT ON VIEW msgstore.stat_worker IS
    'This database''s workers: what each does now, and what it did since the server started, whichever process it was; no rows for a session of one tenant';
COMMENT ON COLUMN msgstore.stat_worker.batch IS
    'Events of the batch it works at; 0 when it is idle';
COMMENT ON FUNCTION msgstore._count(text, bigint, text, text) IS
    'Adds to a counter of metrics() when the transaction commits, and to that of tenant and channel';
COMMENT ON FUNCTION msgstore._move(text, text, text, bigint) IS
    'So many rows came into event_queue (gauge queued) or dead_letters (dead_letters), or went when negative: counts when the transaction commits';
COMMENT ON FUNCTION msgstore._gauge(text) IS
    'How many rows event_queue (queued) or dead_letters (dead_letters) has, of all tenants, without counting them';
COMMENT ON FUNCTION msgstore._event_age_us(uuid) IS
    'Microseconds since the event''s id was made; 0 for an id that does not tell';
COMMENT ON FUNCTION msgstore._oldest_event(text) IS
    'The tenant''s oldest event that is queued';
COMMENT ON FUNCTION msgstore._work_left() IS
    'The oldest event that is queued, of all tenants or of the first thousand of them and new events of all; and whether there is a dead letter';
COMMENT ON FUNCTION msgstore._counters() IS
    'This database''s counters since the server started, and its gauges; without preloading, this session''s';
COMMENT ON FUNCTION msgstore._channel_counters() IS
    'The same for each channel of each tenant';
COMMENT ON FUNCTION msgstore._stat_worker() IS
    'What stat_worker shows';
COMMENT ON FUNCTION msgstore.metrics() IS
    'One flat object of integers: counters since the server started (events_*, messages_sent, worker_*, conversations_*), latency from acceptance to processing in microseconds (worker_latency_*_us), and what there is now (worker_queued, dead_letters, oldest_event_age_us, workers_running, ts_unix_ms). A session of one tenant has those of its own events and messages only';
COMMENT ON FUNCTION msgstore.channel_metrics() IS
    'Counters since the server started and what is queued and dead now, for each tenant and channel in scope. What has no room for counters of its own stands under tenant '''' and channel other';
COMMENT ON FUNCTION msgstore.latency_histogram() IS
    'How many events took at most le_us microseconds from acceptance to processing, since the server started; the last row has all of them. No rows for a session of one tenant';
COMMENT ON FUNCTION msgstore.metrics_detail() IS
    'What metrics() has no place for, as an object of arrays: channels (channel_metrics), workers (stat_worker), latency (latency_histogram); a session of one tenant has its channels';
COMMENT ON FUNCTION msgstore.recount() IS
    'Has worker_queued and dead_letters counted anew when they are next read, after their tables were changed by hand';
