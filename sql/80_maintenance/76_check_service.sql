-- maintenance: check of what processes the events.

-- No statement repairs these findings.
CREATE FUNCTION msgstore._check_service()
    RETURNS TABLE (finding text, subject text, detail text, repair text)
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    too_old CONSTANT interval := '1 hour';
    too_long CONSTANT interval := '15 minutes';
    -- The rows of a tenant that has moved are removed under its fence.
    too_long_to_remove CONSTANT interval := '1 day';
    here CONSTANT int := (SELECT n.slot FROM msgstore.node_state n);
    scope CONSTANT text := msgstore._tenant_scope();
    age CONSTANT interval := msgstore._oldest_due(scope);
BEGIN
    IF scope = '' AND NOT (SELECT l.preloaded FROM msgstore._library() l) THEN
        RETURN QUERY VALUES (
            'library not preloaded', 'setting shared_preload_libraries',
            'Without preloading, no worker processes events.', NULL);
    END IF;
    -- Only a person can know whether the tenant has moved.
    IF scope = '' THEN
        RETURN QUERY
        SELECT 'old fence', format('tenant "%s"', left(f.tenant_id, 64)),
            format('Writes of the tenant have been refused since %s. Run the command that moves it again, or call unfence_tenant() if the tenant has not moved.',
                   date_trunc('second', f.fenced_at)), NULL::text
        FROM msgstore.tenant_fences f
        WHERE f.fenced_at < clock_timestamp() - CASE
            WHEN msgstore.tenant_slot(f.tenant_id) <> here THEN too_long_to_remove
            ELSE too_long END;
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
    'Finds that the library is not preloaded, a fence that is older than 15 minutes, or than a day if the tenant has moved, and an event that has been due for more than an hour';
