-- outbox: what operators look at. Both functions read a bounded number of rows,
-- however many other tenants have.

-- In the order of sending.
CREATE FUNCTION msgstore._outbox_overview(most int) RETURNS jsonb
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = 'force_custom_plan'
    SET enable_seqscan = off
    SET enable_sort = off
    SET timezone = 'UTC'
    AS $$
DECLARE
    own CONSTANT text := msgstore._tenant_scope();
    tenants text[];
    ids uuid[];
    leased boolean[];
BEGIN
    IF own = '' THEN
        SELECT array_agg(o.tenant_id), array_agg(o.message_id),
               array_agg(o.sender_id IS NOT NULL)
        INTO tenants, ids, leased
        FROM (
            SELECT * FROM msgstore.outbox o
            ORDER BY o.next_attempt_at, o.message_id LIMIT most + 1) o;
    ELSE
        SELECT array_agg(o.tenant_id), array_agg(o.message_id),
               array_agg(o.sender_id IS NOT NULL)
        INTO tenants, ids, leased
        FROM (
            SELECT * FROM msgstore.outbox o
            WHERE o.tenant_id = own
            ORDER BY o.tenant_id, o.message_id LIMIT most + 1) o;
    END IF;
    RETURN (
        SELECT jsonb_build_object(
            'items', coalesce(jsonb_agg(i ORDER BY i.channel), '[]'),
            'complete', coalesce(cardinality(ids), 0) <= most)
        FROM (
            SELECT m.channel, count(*) AS waiting,
                   count(*) FILTER (WHERE o.leased) AS leased,
                   min(m.created_at) AS oldest_at
            FROM unnest(tenants[:most], ids[:most], leased[:most])
                AS o (tenant_id, message_id, leased)
            CROSS JOIN LATERAL (
                SELECT m.channel, m.created_at FROM msgstore.messages m
                WHERE m.tenant_id = o.tenant_id AND m.id = o.message_id
                LIMIT 1) m
            GROUP BY m.channel) i);
END
$$;

CREATE FUNCTION msgstore._status_overview(most int) RETURNS jsonb
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = 'force_custom_plan'
    SET enable_seqscan = off
    SET enable_bitmapscan = off
    SET enable_sort = off
    SET timezone = 'UTC'
    AS $$
DECLARE
    own CONSTANT text := msgstore._tenant_scope();
    latest msgstore.delivery_statuses[];
BEGIN
    IF own = '' THEN
        latest := ARRAY(
            SELECT s FROM msgstore.delivery_statuses s
            ORDER BY s.received_at DESC LIMIT most);
    ELSE
        -- The ids are in the order of the time.
        latest := ARRAY(
            SELECT s FROM msgstore.delivery_statuses s
            WHERE s.tenant_id = own
            ORDER BY s.tenant_id DESC, s.id DESC LIMIT most);
    END IF;
    RETURN (
        SELECT jsonb_build_object(
            'items', coalesce(jsonb_agg(i ORDER BY i.channel, i.status), '[]'))
        FROM (
            SELECT s.channel, coalesce(s.status, s.word) AS status,
                   count(*) AS reports, max(s.received_at) AS latest_at
            FROM unnest(latest) s
            GROUP BY 1, 2) i);
END
$$;

REVOKE ALL ON FUNCTION msgstore._outbox_overview(int) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._status_overview(int) FROM PUBLIC;

COMMENT ON FUNCTION msgstore._outbox_overview(int) IS
    'Returns {"items", "complete"}: by channel, how many messages in scope wait to be sent, how many of them are leased, and since when the oldest waits. Counts at most so many messages; complete is false if there are more';
COMMENT ON FUNCTION msgstore._status_overview(int) IS
    'Returns {"items"}: the latest status reports in scope, at most so many, counted by channel and status';
