-- router: functions whose answer is made of the answers of all slots.

-- The last answer of each slot, so that the counters of a slot that does not answer
-- do not go back to 0. Unlogged: it is asked again after a crash.
CREATE UNLOGGED TABLE msgstore.slot_metrics (
    slot int NOT NULL,
    metrics jsonb NOT NULL,
    detail jsonb NOT NULL,
    CONSTRAINT slot_metrics_pkey PRIMARY KEY (slot)
);

SELECT pg_catalog.pg_extension_config_dump('msgstore.slot_metrics', 'WHERE false');

-- Asks each slot, and returns null for one that is not reachable.
CREATE FUNCTION msgstore._metrics_of_slots()
    RETURNS TABLE (slot int, up boolean, metrics jsonb, detail jsonb)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET client_min_messages = error
    AS $$
#variable_conflict use_column
DECLARE
    n int;
BEGIN
    FOR n IN SELECT s FROM msgstore._slots_of('') s LOOP
        slot := n;
        BEGIN
            metrics := msgstore._at_metrics(n, '', '', session_user);
            detail := msgstore._at_metrics_detail(n, '', '', session_user);
            up := true;
            IF NOT pg_is_in_recovery() THEN
                INSERT INTO msgstore.slot_metrics AS m (slot, metrics, detail)
                VALUES (n, _metrics_of_slots.metrics, _metrics_of_slots.detail)
                ON CONFLICT (slot) DO UPDATE
                SET metrics = excluded.metrics, detail = excluded.detail;
            END IF;
        EXCEPTION WHEN OTHERS THEN
            RAISE LOG 'slot % has no metrics: %', n, (msgstore._read_error(SQLSTATE, SQLERRM)).said;
            up := false;
            SELECT m.metrics, m.detail INTO metrics, detail
            FROM msgstore.slot_metrics m WHERE m.slot = n;
        END;
        RETURN NEXT;
    END LOOP;
END
$$;

CREATE FUNCTION msgstore._sum_latencies(details jsonb) RETURNS TABLE (le_us bigint, count bigint)
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT (b ->> 'le_us')::bigint, sum((b ->> 'count')::bigint)::bigint
    FROM jsonb_array_elements(details) d,
        jsonb_array_elements(coalesce(nullif(d -> 'latency', 'null'), '[]')) b
    GROUP BY 1 ORDER BY 1
    $$;

-- The smallest bound that so many hundredths of the events are not above.
CREATE FUNCTION msgstore._percentile(details jsonb, hundredths int) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT coalesce((
        SELECT l.le_us FROM msgstore._sum_latencies(details) l
        WHERE l.count > 0 AND l.count * 100 >= hundredths * (
            SELECT max(t.count) FROM msgstore._sum_latencies(details) t)
        ORDER BY l.le_us LIMIT 1), 0)
    $$;

-- Of the session's tenant: the answer of its slot.
CREATE FUNCTION msgstore._tenant_metrics(name text) RETURNS jsonb
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET client_min_messages = error
    AS $$
DECLARE
    tenant CONSTANT text := msgstore._tenant_scope();
    slot CONSTANT int := msgstore.tenant_slot(tenant);
    detail text;
    hint text;
BEGIN
    RETURN CASE name WHEN 'metrics' THEN msgstore._at_metrics(slot, tenant, '', session_user)
                     ELSE msgstore._at_metrics_detail(slot, tenant, '', session_user) END;
EXCEPTION WHEN OTHERS OR query_canceled THEN
    GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    PERFORM msgstore._raise_of_node(slot, SQLSTATE, SQLERRM, detail, hint, NULL);
    RETURN NULL;
END
$$;

CREATE FUNCTION msgstore.metrics() RETURNS jsonb
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    scope CONSTANT text := msgstore._tenant_scope();
    sums jsonb;
    details jsonb;
    total bigint;
    highest bigint;
BEGIN
    IF scope <> '' THEN
        RETURN msgstore._tenant_metrics('metrics');
    END IF;
    WITH answers AS MATERIALIZED (SELECT * FROM msgstore._metrics_of_slots()),
    numbers AS (
        SELECT e.key,
               CASE WHEN e.key IN ('ts_unix_ms', 'oldest_event_age_us', 'search_lag_us',
                                  'worker_latency_max_us')
                    THEN max(e.value::numeric) ELSE sum(e.value::numeric) END AS value
        FROM answers a, jsonb_each_text(a.metrics) e
        GROUP BY e.key)
    SELECT (SELECT jsonb_object_agg(n.key, n.value) FROM numbers n)
           || (SELECT jsonb_build_object('slots', count(*), 'slots_up', count(*) FILTER (WHERE a.up))
               FROM answers a),
           (SELECT coalesce(jsonb_agg(a.detail), '[]') FROM answers a WHERE a.detail IS NOT NULL)
    INTO sums, details;
    SELECT max(l.count) INTO total FROM msgstore._sum_latencies(details) l;
    -- The limit of a bucket can be above all events in it.
    highest := sums ->> 'worker_latency_max_us';
    RETURN sums || jsonb_build_object(
        'worker_latency_avg_us', CASE WHEN total > 0
            THEN ((sums ->> 'worker_latency_sum_us')::bigint / total) ELSE 0 END,
        'worker_latency_p50_us', least(msgstore._percentile(details, 50), highest),
        'worker_latency_p95_us', least(msgstore._percentile(details, 95), highest),
        'worker_latency_p99_us', least(msgstore._percentile(details, 99), highest));
END
$$;

-- A tenant that was moved has counters in two slots: they are added, for a list of
-- metrics must not have a line twice.
CREATE FUNCTION msgstore.metrics_detail() RETURNS jsonb
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    scope CONSTANT text := msgstore._tenant_scope();
BEGIN
    IF scope <> '' THEN
        RETURN msgstore._tenant_metrics('metrics_detail');
    END IF;
    RETURN (
        WITH answers AS MATERIALIZED (SELECT * FROM msgstore._metrics_of_slots())
        SELECT jsonb_build_object(
            'slots', (
                SELECT jsonb_agg(jsonb_build_object(
                    'slot', a.slot, 'up', a.up,
                    'queued', coalesce(a.metrics -> 'worker_queued', '0'),
                    'dead_letters', coalesce(a.metrics -> 'dead_letters', '0'),
                    'oldest_event_age_us', coalesce(a.metrics -> 'oldest_event_age_us', '0'),
                    'workers_running', coalesce(a.metrics -> 'workers_running', '0'))
                    ORDER BY a.slot)
                FROM answers a),
            'channels', (
                SELECT coalesce(jsonb_agg(c), '[]') FROM (
                    SELECT r.tenant_id, r.channel, sum(r.ingested) AS ingested,
                           sum(r.duplicate) AS duplicate, sum(r.processed) AS processed,
                           sum(r.error) AS error, sum(r.dead_letter) AS dead_letter,
                           sum(r.sent) AS sent, sum(r.queued) AS queued,
                           sum(r.dead_letters) AS dead_letters,
                           max(r.tenant_oldest_event_age_us) AS tenant_oldest_event_age_us
                    FROM answers a, jsonb_to_recordset(a.detail -> 'channels') AS r (
                        tenant_id text, channel text, ingested bigint, duplicate bigint,
                        processed bigint, error bigint, dead_letter bigint, sent bigint,
                        queued bigint, dead_letters bigint, tenant_oldest_event_age_us bigint)
                    GROUP BY r.tenant_id, r.channel
                    ORDER BY r.tenant_id COLLATE "C", r.channel COLLATE "C") c),
            'workers', (
                SELECT coalesce(jsonb_agg(w || jsonb_build_object('slot', a.slot)
                                ORDER BY a.slot, (w ->> 'worker')::int), '[]')
                FROM answers a, jsonb_array_elements(a.detail -> 'workers') w),
            'subscriptions', (
                SELECT coalesce(jsonb_agg(s.value), '[]') FROM (
                    SELECT DISTINCT ON (v ->> 'tenant_id', v ->> 'name') v AS value
                    FROM answers a, jsonb_array_elements(a.detail -> 'subscriptions') v
                    ORDER BY v ->> 'tenant_id', v ->> 'name', (v ->> 'last_fetch')::numeric DESC) s),
            'projections', (
                SELECT coalesce(jsonb_agg(p.value), '[]') FROM (
                    SELECT DISTINCT ON (v ->> 'tenant_id', v ->> 'name') v AS value
                    FROM answers a, jsonb_array_elements(a.detail -> 'projections') v
                    ORDER BY v ->> 'tenant_id', v ->> 'name') p),
            'latency', (
                SELECT coalesce(jsonb_agg(l ORDER BY l.le_us), '[]')
                FROM msgstore._sum_latencies((
                    SELECT coalesce(jsonb_agg(a.detail), '[]') FROM answers a
                    WHERE a.detail IS NOT NULL)) l)));
END
$$;

CREATE FUNCTION msgstore.latency_histogram() RETURNS TABLE (le_us bigint, count bigint)
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    RETURN QUERY SELECT l.le_us, l.count FROM msgstore._sum_latencies((
        SELECT jsonb_agg(m.detail) FROM msgstore._metrics_of_slots() m WHERE m.detail IS NOT NULL)) l;
END
$$;

-- The findings of each slot, with its number before the subject, and the slots that do
-- not have the map and the settings of the router.
CREATE FUNCTION msgstore.check()
    RETURNS TABLE (finding text, subject text, detail text, repair text)
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET client_min_messages = error
    AS $$
DECLARE
    scope CONSTANT text := msgstore._tenant_scope();
    n int;
BEGIN
    FOR n IN SELECT s FROM msgstore._slots_of(scope) s LOOP
        BEGIN
            RETURN QUERY
            SELECT c.finding, format('slot %s: %s', n, c.subject), c.detail, c.repair
            FROM msgstore._at_check(n, scope, '', session_user) c;
        EXCEPTION WHEN OTHERS THEN
            RAISE LOG 'slot % cannot be checked: %', n, (msgstore._read_error(SQLSTATE, SQLERRM)).said;
            RETURN QUERY
            SELECT CASE WHEN e.unreachable THEN 'slot not reachable' ELSE 'slot not checked' END,
                   format('slot %s', n), msgstore._describe_error(SQLSTATE, SQLERRM), NULL::text
            FROM msgstore._read_error(SQLSTATE, SQLERRM) e;
        END;
    END LOOP;
    IF scope = '' THEN
        RETURN QUERY
        SELECT 'slot differs from router', format('slot %s', s.slot), s.error,
               'SELECT * FROM msgstore.publish()'
        FROM msgstore.slots() s WHERE s.reachable AND s.error IS NOT NULL;
    END IF;
END
$$;

-- A slot that is not available concerns its tenants only: it is an error when no
-- slot is.
CREATE FUNCTION msgstore._readiness_of_slots(max_event_age interval)
    RETURNS TABLE (finding text, severity text, detail text, hint text)
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET client_min_messages = error
    AS $$
#variable_conflict use_column
DECLARE
    slots int := (SELECT c.slots FROM msgstore.cluster c);
    -- What keeps no event from being stored.
    harmless CONSTANT text[] := '{no worker}';
    found jsonb := '[]';
    failed int := 0;
    one jsonb;
    n int;
BEGIN
    IF slots IS NULL THEN
        RETURN QUERY VALUES ('no slots', 'error', 'The cluster has no slots.',
            'Create the foreign server "msgstore", and call msgstore.set_slots().');
        RETURN;
    END IF;
    FOR n IN 0 .. slots - 1 LOOP
        BEGIN
            SELECT coalesce(jsonb_agg(r), '[]') INTO one
            FROM msgstore._at_readiness(n, '', '', session_user, max_event_age) r;
        EXCEPTION WHEN OTHERS THEN
            RAISE LOG 'slot % is not ready: %', n, (msgstore._read_error(SQLSTATE, SQLERRM)).said;
            SELECT jsonb_build_array(jsonb_build_object(
                'finding', CASE WHEN e.unreachable THEN 'not reachable' ELSE 'not ready' END,
                'severity', 'error',
                'detail', msgstore._describe_error(SQLSTATE, SQLERRM),
                'hint', 'Look for the cause in the log of the router''s server.'))
            INTO one FROM msgstore._read_error(SQLSTATE, SQLERRM) e;
        END;
        failed := failed + (EXISTS (
            SELECT FROM jsonb_array_elements(one) o
            WHERE o ->> 'severity' = 'error' AND o ->> 'finding' <> ALL (harmless)))::int;
        found := found || (
            SELECT coalesce(jsonb_agg(o || jsonb_build_object('slot', n)), '[]')
            FROM jsonb_array_elements(one) o);
    END LOOP;
    RETURN QUERY
    SELECT format('slot %s: %s', o ->> 'slot', o ->> 'finding'),
           CASE WHEN o ->> 'finding' <> ALL (harmless) AND failed = slots
                THEN o ->> 'severity' ELSE 'warning' END,
           o ->> 'detail', o ->> 'hint'
    FROM jsonb_array_elements(found) o;
END
$$;

CREATE FUNCTION msgstore._readiness(role name, max_event_age interval)
    RETURNS TABLE (finding text, severity text, detail text, hint text)
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF NOT (msgstore._library()).preloaded THEN
        RETURN QUERY VALUES ('library not preloaded', 'error',
            'Without preloading, the tenant of a session cannot be set safely.',
            'Add msgstore to "shared_preload_libraries" and restart the server.');
    END IF;
    RETURN QUERY SELECT * FROM msgstore._readiness_of_slots(max_event_age);
    RETURN QUERY SELECT * FROM msgstore._readiness_of_role(role);
END
$$;

-- Not SECURITY DEFINER, so that current_user is the caller.
CREATE FUNCTION msgstore.readiness(max_event_age interval DEFAULT '5 minutes')
    RETURNS TABLE (finding text, severity text, detail text, hint text)
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    RETURN QUERY SELECT * FROM msgstore._readiness(current_user, max_event_age);
END
$$;

REVOKE ALL ON FUNCTION msgstore._metrics_of_slots() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._sum_latencies(jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._percentile(jsonb, int) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._tenant_metrics(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.metrics() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.metrics_detail() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.latency_histogram() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.check() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._readiness_of_slots(interval) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._readiness(name, interval) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.readiness(interval) FROM PUBLIC;

COMMENT ON TABLE msgstore.slot_metrics IS
    'The last metrics of each slot, which metrics() uses while the slot does not answer';
COMMENT ON COLUMN msgstore.slot_metrics.slot IS
    'Slot, from 0';
COMMENT ON COLUMN msgstore.slot_metrics.metrics IS
    'Its answer to metrics()';
COMMENT ON COLUMN msgstore.slot_metrics.detail IS
    'Its answer to metrics_detail()';
COMMENT ON FUNCTION msgstore._metrics_of_slots() IS
    'Returns the metrics of each slot; the last ones of a slot that does not answer, which is not up';
COMMENT ON FUNCTION msgstore._sum_latencies(jsonb) IS
    'Returns the sum of the latency histograms in an array of results of metrics_detail()';
COMMENT ON FUNCTION msgstore._percentile(jsonb, int) IS
    'Returns a percentile of the summed latency histograms, in microseconds';
COMMENT ON FUNCTION msgstore._tenant_metrics(text) IS
    'Returns the metrics, or metrics_detail, of the slot of the session''s tenant';
COMMENT ON FUNCTION msgstore.metrics() IS
    'Returns the sums of the metrics of all slots, their number (slots) and how many of them answer (slots_up); for a session with a tenant, the metrics of its slot. A slot that does not answer counts with its last values';
COMMENT ON FUNCTION msgstore.metrics_detail() IS
    'Returns the metrics of all slots by channel, worker, subscription and projection, the latency histogram, and the state of each slot; for a session with a tenant, those of its slot';
COMMENT ON FUNCTION msgstore.latency_histogram() IS
    'Returns the sum of the latency histograms of all slots: events up to each limit, in microseconds';
COMMENT ON FUNCTION msgstore.check() IS
    'Returns the findings of check() of all slots, or of the slot of the session''s tenant, and the slots that are not reachable';
COMMENT ON FUNCTION msgstore._readiness_of_slots(interval) IS
    'Returns the findings of readiness() of each slot. They are warnings while another slot can store events';
COMMENT ON FUNCTION msgstore._readiness(name, interval) IS
    'Returns the findings of readiness() for a role';
COMMENT ON FUNCTION msgstore.readiness(interval) IS
    'Returns one row for each reason why an event accepted now might not be stored and processed, as in one database, for each slot and for the router: whether the library is preloaded, and the calling role''s privileges. No rows: ready';
