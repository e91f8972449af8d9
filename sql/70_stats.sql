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

-- Forced to use the index: the queue is usually empty when it is analyzed, so
-- the planner would choose a sequential scan.
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

-- The oldest event is the first event of some tenant: one index probe per
-- tenant, for at most 10,000 tenants.
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

-- Without its indexes, and without a lock: pg_relation_size() waits for a session
-- that rewrites the table.
CREATE FUNCTION msgstore._file_bytes(relation oid) RETURNS bigint
    LANGUAGE sql VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    WITH RECURSIVE segments AS (
        SELECT f.path, 0 AS segment, (pg_stat_file(f.path, true)).size
        FROM unnest(ARRAY['', '_fsm', '_vm']) fork
        CROSS JOIN LATERAL (SELECT pg_relation_filepath(relation) || fork) f (path)
        UNION ALL
        SELECT s.path, s.segment + 1,
            (pg_stat_file(s.path || '.' || s.segment + 1, true)).size
        FROM segments s
        WHERE s.size >= pg_size_bytes(current_setting('segment_size'))
    )
    SELECT coalesce(sum(s.size), 0)::bigint FROM segments s
    $$;

CREATE FUNCTION msgstore._stored_bytes(relation oid) RETURNS bigint
    LANGUAGE sql VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    WITH heaps AS (
        SELECT h.oid
        FROM pg_class c
        CROSS JOIN LATERAL (VALUES (c.oid), (c.reltoastrelid)) h (oid)
        WHERE c.oid = relation AND h.oid <> 0
    )
    SELECT sum(msgstore._file_bytes(f.oid))::bigint
    FROM (SELECT h.oid FROM heaps h
          UNION ALL
          SELECT i.indexrelid FROM pg_index i JOIN heaps h ON h.oid = i.indrelid) f
    $$;

-- From the server's statistics and the sizes of files: no table is read. The rows
-- are those of the main table, the bytes those of all tables with their indexes.
CREATE FUNCTION msgstore._storage_parts()
    RETURNS TABLE (part text, row_count bigint, bytes bigint)
    LANGUAGE sql VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT p.part,
        -- The statistics are empty after a crash, the catalog is not.
        sum(coalesce(nullif(pg_stat_get_live_tuples(c.oid), 0),
                     greatest(c.reltuples, 0)::bigint))
            FILTER (WHERE c.relname = p.main)::bigint,
        sum(msgstore._stored_bytes(c.oid))::bigint
    FROM (VALUES ('responses', 'responses', '^response'),
                 ('streams', 'stream_events', '^(stream|snapshot|parked|projection)'))
        p (part, main, pattern)
    JOIN pg_class c ON c.relnamespace = 'msgstore'::regnamespace
        AND c.relkind = 'r' AND c.relname ~ p.pattern
    GROUP BY p.part
    $$;

CREATE FUNCTION msgstore._storage() RETURNS TABLE (name text, value bigint)
    LANGUAGE sql VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT format('storage_%s_%s', p.part, v.unit), v.value
    FROM (SELECT * FROM msgstore._storage_parts()
          UNION ALL
          SELECT 'response_memory', m.responses, m.bytes FROM msgstore._memory_usage() m)
        p (part, row_count, bytes)
    CROSS JOIN LATERAL (VALUES ('rows', p.row_count), ('bytes', p.bytes)) v (unit, value)
    $$;

-- Reads a sample of pages, so that the cost does not grow with the tables. What a
-- part takes in all is shared out by the bytes of the sampled rows.
CREATE FUNCTION msgstore.storage_by_tenant(sample_pages int DEFAULT 10000)
    RETURNS TABLE (tenant_id text, part text, row_count bigint, bytes bigint)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER ROWS 100
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
DECLARE
    scope CONSTANT text := msgstore._tenant_scope();
    block CONSTANT numeric := current_setting('block_size')::numeric;
    responses float8;
    streams float8;
BEGIN
    IF sample_pages IS NULL OR sample_pages < 1 THEN
        RAISE EXCEPTION 'sample_pages % is not positive', coalesce(sample_pages::text, 'null')
            USING ERRCODE = 'MS400';
    END IF;
    SELECT least(100, 100 * sample_pages * block / greatest(1,
        msgstore._file_bytes('msgstore.responses'::regclass))) INTO responses;
    SELECT least(100, 100 * sample_pages * block / greatest(1,
        msgstore._file_bytes('msgstore.stream_events'::regclass))) INTO streams;
    RETURN QUERY
    WITH sampled AS (
        SELECT r.tenant_id, 'responses'::text AS part, count(*) * 100 / responses AS n,
            sum(200 + octet_length(r.id) + pg_column_size(r.input) + pg_column_size(r.output)
                + coalesce(pg_column_size(r.extensions), 0)
                + coalesce(pg_column_size(r.background_request), 0)) AS size
        FROM msgstore.responses r TABLESAMPLE SYSTEM (responses)
        GROUP BY r.tenant_id
        UNION ALL
        SELECT e.tenant_id, 'streams', count(*) * 100 / streams,
            sum(200 + 2 * octet_length(e.stream) + coalesce(pg_column_size(e.data), 0)
                + coalesce(pg_column_size(e.metadata), 0))
        FROM msgstore.stream_events e TABLESAMPLE SYSTEM (streams)
        GROUP BY e.tenant_id
    ), shares AS (
        SELECT s.tenant_id, s.part, s.n, s.size / sum(s.size) OVER (PARTITION BY s.part) AS share
        FROM sampled s
    )
    SELECT s.tenant_id, s.part, round(s.n)::bigint, round(s.share * p.bytes)::bigint
    FROM shares s
    JOIN msgstore._storage_parts() p ON p.part = s.part
    WHERE scope IN ('', s.tenant_id)
    ORDER BY 4 DESC, 1, 2;
END
$$;

-- A session with a tenant gets only what is counted per tenant: the other
-- numbers would reveal activity of other tenants.
CREATE FUNCTION msgstore.metrics() RETURNS jsonb
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    RETURN CASE WHEN msgstore._tenant_scope() = '' THEN (
            SELECT jsonb_object_agg(c.name, c.value) FROM (
                SELECT * FROM msgstore._counters()
                UNION ALL
                SELECT * FROM msgstore._storage()) c)
            || jsonb_build_object(
                'workers_paused', (SELECT count(*) FROM msgstore.worker_pause),
                'search_lag_us', msgstore._search_lag_us())
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
        'subscriptions', (
            SELECT coalesce(jsonb_agg(jsonb_build_object(
                'tenant_id', s.tenant_id, 'name', s.name,
                'lag_events', s.lag_events, 'lag_seconds', s.lag_seconds,
                'parked_events', s.parked_events,
                'last_fetch', coalesce(extract(epoch FROM s.last_fetch_at), 0))), '[]')
            FROM msgstore.list_subscriptions() s),
        'projections', (
            SELECT coalesce(jsonb_agg(jsonb_build_object(
                'tenant_id', p.tenant_id, 'name', p.name, 'attempts', p.attempts,
                'paused', p.paused)), '[]')
            FROM msgstore.projections p
            WHERE msgstore._tenant_scope() IN ('', p.tenant_id)),
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
REVOKE ALL ON FUNCTION msgstore._file_bytes(oid) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._stored_bytes(oid) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._storage_parts() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.storage_by_tenant(int) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._storage() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.metrics() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.channel_metrics() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.latency_histogram() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.metrics_detail() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.recount() FROM PUBLIC;

COMMENT ON VIEW msgstore.stat_worker IS
    'One row per worker of this database: its current state and its totals since the server started, which survive a restart of the worker. Empty for a session with a tenant';
COMMENT ON COLUMN msgstore.stat_worker.worker IS
    'Number of the worker, from 1';
COMMENT ON COLUMN msgstore.stat_worker.pid IS
    'Process ID; null if the worker is not running';
COMMENT ON COLUMN msgstore.stat_worker.state IS
    'starting, idle, claiming, applying, retrying one by one, purging, projecting or stopped';
COMMENT ON COLUMN msgstore.stat_worker.batch IS
    'Number of events in the current batch; 0 when idle';
COMMENT ON COLUMN msgstore.stat_worker.batches IS
    'Number of batches claimed';
COMMENT ON COLUMN msgstore.stat_worker.claimed IS
    'Number of events claimed; each attempt counts';
COMMENT ON COLUMN msgstore.stat_worker.processed IS
    'Number of events that became messages';
COMMENT ON COLUMN msgstore.stat_worker.errors IS
    'Number of failed attempts that will be retried';
COMMENT ON COLUMN msgstore.stat_worker.dead_letters IS
    'Number of events moved to dead_letters';
COMMENT ON COLUMN msgstore.stat_worker.last_error IS
    'Message of the last failure of an event or of the worker itself, at most 511 bytes';
COMMENT ON COLUMN msgstore.stat_worker.last_error_at IS
    'Time of that failure';
COMMENT ON COLUMN msgstore.stat_worker.started_at IS
    'Start time of the current or last process';
COMMENT ON COLUMN msgstore.stat_worker.busy_us IS
    'Time spent working, in microseconds';
COMMENT ON COLUMN msgstore.stat_worker.idle_us IS
    'Time spent waiting for work, in microseconds';
COMMENT ON FUNCTION msgstore._count(text, bigint, text, text) IS
    'At commit, adds n to a counter of metrics() and, if tenant and channel are given, to theirs';
COMMENT ON FUNCTION msgstore._move(text, text, text, bigint) IS
    'At commit, adds delta to a gauge: queued (rows of event_queue) or dead_letters';
COMMENT ON FUNCTION msgstore._gauge(text) IS
    'Returns the number of rows in event_queue (queued) or dead_letters (dead_letters), for all tenants, without counting them';
COMMENT ON FUNCTION msgstore._event_age_us(uuid) IS
    'Returns the microseconds since a version 7 UUID was generated; 0 for other UUIDs';
COMMENT ON FUNCTION msgstore._oldest_event(text) IS
    'Returns the id of the tenant''s oldest queued event, or null';
COMMENT ON FUNCTION msgstore._work_left() IS
    'Returns the id of the oldest queued event, among the first 10,000 tenants that have any, and whether there are dead letters';
COMMENT ON FUNCTION msgstore._counters() IS
    'Returns the counters of this database since the server started, and its gauges. Without preloading, returns those of the session';
COMMENT ON FUNCTION msgstore._channel_counters() IS
    'Returns the counters and gauges of each tenant and channel';
COMMENT ON FUNCTION msgstore._stat_worker() IS
    'Returns the rows of stat_worker';
COMMENT ON FUNCTION msgstore._file_bytes(oid) IS
    'Returns the bytes of a table or index without what belongs to it; waits for no lock';
COMMENT ON FUNCTION msgstore._stored_bytes(oid) IS
    'Returns the bytes of a table with its indexes and long values; waits for no lock';
COMMENT ON FUNCTION msgstore._storage_parts() IS
    'Returns the estimated number of rows and the bytes that responses and streams take; waits for no lock';
COMMENT ON FUNCTION msgstore._storage() IS
    'Returns the estimated number of rows and the bytes of responses, of the in-memory store (of all databases), and of streams';
COMMENT ON FUNCTION msgstore.storage_by_tenant(int) IS
    'Returns the number of rows and the bytes that the responses and streams of each tenant take, with their share of all indexes, the largest first. Exact for tables of up to sample_pages pages, and for others estimated from about that many random pages. A session with a tenant gets its own. Raises MS400 for an invalid number';
COMMENT ON FUNCTION msgstore.metrics() IS
    'Returns one flat JSON object of integers: counters since the server started (events_*, messages_sent, worker_*, conversations_*), processing latency in microseconds (worker_latency_*_us), rows and bytes stored (storage_*, estimated), and current values (worker_queued, dead_letters, oldest_event_age_us, workers_running, workers_paused, search_lag_us, ts_unix_ms). A session with a tenant gets only the numbers that are kept per tenant';
COMMENT ON FUNCTION msgstore.channel_metrics() IS
    'Returns counters since the server started and current queue and dead letter counts, one row per tenant and channel. The age of the oldest event (microseconds) is per tenant. Pairs beyond the limit of 1024 are added up in a row with an empty tenant and channel other';
COMMENT ON FUNCTION msgstore.latency_histogram() IS
    'Returns, for each limit le_us, the number of events processed within le_us microseconds of their acceptance since the server started. The last row counts all events. Returns no rows for a session with a tenant';
COMMENT ON FUNCTION msgstore.metrics_detail() IS
    'Returns a JSON object with the arrays channels (channel_metrics), workers (stat_worker), subscriptions (list_subscriptions), projections and latency (latency_histogram). Workers and latency are empty for a session with a tenant';
COMMENT ON FUNCTION msgstore.recount() IS
    'Discards the cached base of worker_queued and dead_letters, so that the next reading counts the rows. Use it after the tables were changed by hand';
