CREATE FUNCTION msgstore._counters()
    RETURNS TABLE (name text, value bigint)
    LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED
    AS 'MODULE_PATHNAME', 'msgstore_counters';

CREATE FUNCTION msgstore.metrics() RETURNS jsonb
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL RESTRICTED SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    RETURN (SELECT jsonb_object_agg(c.name, c.value) FROM msgstore._counters() c)
        || jsonb_build_object(
            'worker_queued', (SELECT count(*) FROM msgstore.event_queue),
            'dead_letters', (SELECT count(*) FROM msgstore.dead_letters),
            'ts_unix_ms',
            floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint);
END
$$;

REVOKE ALL ON FUNCTION msgstore._counters() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.metrics() FROM PUBLIC;

COMMENT ON FUNCTION msgstore._counters() IS
    'This database''s counters since the server started; without preloading, this session''s';
COMMENT ON FUNCTION msgstore.metrics() IS
    'One flat object of integers: counters since the server started (events_*, messages_sent, worker_*, conversations_*), latency from acceptance to processing in microseconds (worker_latency_*_us), and what there is now (worker_queued, dead_letters, ts_unix_ms)';
