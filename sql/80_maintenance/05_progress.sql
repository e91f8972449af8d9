-- maintenance: how far long operations are.

CREATE FUNCTION msgstore._report_progress(
    operation text,
    phase text,
    done bigint DEFAULT 0,
    total bigint DEFAULT NULL)
    RETURNS void
    LANGUAGE c VOLATILE PARALLEL RESTRICTED
    AS 'MODULE_PATHNAME', 'msgstore_report_progress';

CREATE FUNCTION msgstore._progress()
    RETURNS TABLE (
        tenant_id text,
        operation text,
        phase text,
        done bigint,
        total bigint,
        started_at timestamptz,
        pid int)
    LANGUAGE c VOLATILE PARALLEL RESTRICTED ROWS 1
    AS 'MODULE_PATHNAME', 'msgstore_progress';

-- Operations of sessions, and what the worker does step by step.
CREATE FUNCTION msgstore.list_operations()
    RETURNS TABLE (
        tenant_id text,
        operation text,
        phase text,
        done bigint,
        total bigint,
        started_at timestamptz,
        pid int)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = 'force_custom_plan'
    AS $$
#variable_conflict use_column
DECLARE
    own CONSTANT text := msgstore._tenant_scope();
BEGIN
    RETURN QUERY
    SELECT p.* FROM msgstore._progress() p WHERE own IN ('', p.tenant_id)
    ORDER BY p.started_at, p.pid;
    IF EXISTS (SELECT FROM msgstore.projections p
               WHERE p.rebuild_started_at IS NOT NULL AND p.rebuilt_at IS NULL) THEN
        RETURN QUERY
        SELECT p.tenant_id, 'rebuild_projection', p.name, s.position, p.rebuild_until,
               p.rebuild_started_at, NULL::int
        FROM msgstore.projections p
        JOIN msgstore.list_subscriptions() s
            ON s.tenant_id = p.tenant_id AND s.name = p.name
        WHERE p.rebuild_started_at IS NOT NULL AND p.rebuilt_at IS NULL
        ORDER BY p.tenant_id, p.name;
    END IF;
    -- What was asked for has the id of no time.
    RETURN QUERY
    SELECT c.tenant_id, 'index_messages', 'messages that are left', NULL::bigint,
           sum(r.message_count), NULL::timestamptz, NULL::int
    FROM msgstore.search_changes c
    CROSS JOIN msgstore._read_changes(c.changes) r
    WHERE own IN ('', c.tenant_id) AND c.id < '00000000-0001-0000-0000-000000000000'
    GROUP BY c.tenant_id
    ORDER BY c.tenant_id;
END
$$;

REVOKE ALL ON FUNCTION msgstore._report_progress(text, text, bigint, bigint) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._progress() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.list_operations() FROM PUBLIC;

COMMENT ON FUNCTION msgstore._report_progress(text, text, bigint, bigint) IS
    'Tells list_operations() how far this transaction''s operation is. Does nothing if the library is not preloaded';
COMMENT ON FUNCTION msgstore._progress() IS
    'Returns the operations of sessions of this database that are in progress';
COMMENT ON FUNCTION msgstore.list_operations() IS
    'Returns the long operations in scope that are in progress: replay, purge, erase, check, compact, verify_log, rebuild_projection, index_messages. done of total (null: unknown) events, messages, rows or steps of the phase are done; pid: the session, null if the worker does it step by step';
