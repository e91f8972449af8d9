-- maintenance: check of what processes the events.

-- No statement repairs these findings.
CREATE FUNCTION msgstore._check_service()
    RETURNS TABLE (finding text, subject text, detail text, repair text)
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    too_old CONSTANT interval := '1 hour';
    scope CONSTANT text := msgstore._tenant_scope();
    age CONSTANT interval := msgstore._oldest_due(scope);
BEGIN
    IF scope = '' AND NOT (SELECT l.preloaded FROM msgstore._library() l) THEN
        RETURN QUERY VALUES (
            'library not preloaded', 'setting shared_preload_libraries',
            'Without preloading, no worker processes events.', NULL);
    END IF;
    IF age > too_old THEN
        RETURN QUERY VALUES (
            'old event in queue', 'table msgstore.event_queue',
            format('An event has been due for %s.', date_trunc('second', age)), NULL);
    END IF;
END
$$;

REVOKE ALL ON FUNCTION msgstore._check_service() FROM PUBLIC;

COMMENT ON FUNCTION msgstore._check_service() IS
    'Finds that the library is not preloaded, and an event that has been due for more than an hour';
