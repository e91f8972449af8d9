-- Traces: events whose metadata has the same correlation_id, and what caused them:
-- causation_id, the event_id of another event.

-- The depth is that below an event without a cause in the trace.
CREATE FUNCTION msgstore.trace(correlation_id text, max_events bigint DEFAULT 1000)
    RETURNS TABLE (
        depth int,
        caused_by uuid,
        stream text,
        version bigint,
        global_position bigint,
        event_id uuid,
        type text,
        data jsonb,
        metadata jsonb,
        created_at timestamptz)
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = 'force_custom_plan'
    AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
        WITH RECURSIVE members AS MATERIALIZED (
            SELECT e.*, msgstore._cause(e.metadata) AS cause
            FROM msgstore.stream_event_keys k
            JOIN msgstore.stream_events e
                ON e.tenant_id = k.tenant_id AND e.global_position = k.global_position
            WHERE k.tenant_id = msgstore._tenant_scope()
                AND k.key = (msgstore._event_keys(
                    jsonb_build_object('correlation_id', trace.correlation_id), NULL))[1]
                AND e.metadata ->> 'correlation_id' = trace.correlation_id
            ORDER BY k.global_position LIMIT max_events
        ), tree AS (
            SELECT 0 AS depth, NULL::uuid AS caused_by, m.event_id, m.global_position
            FROM members m
            WHERE NOT EXISTS (
                SELECT FROM members p
                WHERE p.event_id::text = m.cause AND p.global_position < m.global_position)
            UNION ALL
            SELECT t.depth + 1, t.event_id, m.event_id, m.global_position
            FROM tree t
            JOIN members m ON m.cause = t.event_id::text
                AND m.global_position > t.global_position
        )
        SELECT t.depth, t.caused_by, m.stream, m.version, m.global_position,
            m.event_id, m.type, m.data, m.metadata, m.created_at
        FROM tree t
        JOIN members m ON m.event_id = t.event_id
        ORDER BY m.global_position;
END
$$;

-- Depth first. A cause is always earlier, so a circle in the metadata ends.
CREATE FUNCTION msgstore.causation_tree(root_id uuid, max_depth int DEFAULT 100)
    RETURNS TABLE (
        depth int,
        caused_by uuid,
        stream text,
        version bigint,
        global_position bigint,
        event_id uuid,
        type text,
        data jsonb,
        metadata jsonb,
        created_at timestamptz)
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = 'force_custom_plan'
    AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
        WITH RECURSIVE tree AS (
            SELECT 0 AS depth, NULL::uuid AS caused_by, e.global_position,
                e.event_id, ARRAY[e.global_position] AS path
            FROM msgstore.stream_events e
            WHERE e.tenant_id = msgstore._tenant_scope()
                AND e.event_id = root_id
            UNION ALL
            SELECT t.depth + 1, t.event_id, e.global_position, e.event_id,
                t.path || e.global_position
            FROM tree t
            JOIN msgstore.stream_event_keys k
                ON k.tenant_id = msgstore._tenant_scope()
                AND k.key = 'causation_id:' || t.event_id
                AND k.global_position > t.global_position
            JOIN msgstore.stream_events e
                ON e.tenant_id = k.tenant_id AND e.global_position = k.global_position
            WHERE t.depth < max_depth
        )
        SELECT t.depth, t.caused_by, e.stream, e.version, e.global_position,
            e.event_id, e.type, e.data, e.metadata, e.created_at
        FROM tree t
        JOIN msgstore.stream_events e
            ON e.tenant_id = msgstore._tenant_scope()
            AND e.global_position = t.global_position
        ORDER BY t.path;
END
$$;

REVOKE ALL ON FUNCTION msgstore.trace(text, bigint) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.causation_tree(uuid, int) FROM PUBLIC;

COMMENT ON FUNCTION msgstore.trace(text, bigint) IS
    'Returns the first max_events events whose metadata has this correlation_id, in global order. caused_by is the event that causation_id in the metadata names, if it belongs to the trace, and depth the number of causes above the event';
COMMENT ON FUNCTION msgstore.causation_tree(uuid, int) IS
    'Returns an event and the events that it has caused, down to max_depth: those whose metadata names it in causation_id, and so on. Each event is followed by those it has caused';
