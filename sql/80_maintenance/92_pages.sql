-- maintenance: what the gateway shows to operators, a page of JSON each. The router of
-- a cluster has the same functions. Not SECURITY DEFINER: the reader's privileges apply.
-- Row security does not apply to superusers, as which a router may connect: the functions
-- filter by the tenant of the session.

CREATE FUNCTION msgstore._dead_letter_page(channel text, before timestamptz, after uuid)
    RETURNS jsonb
    LANGUAGE sql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT jsonb_build_object(
        'items', coalesce((
            SELECT jsonb_agg(to_jsonb(i)) FROM (
                SELECT d.id, d.direction, d.channel, d."from", d."to",
                       left(d.body, 200) AS body, d.attempt_count, d.error_code,
                       d.error_message, d.attempts, d.created_at, d.died_at
                FROM msgstore.dead_letter_events d
                WHERE msgstore._tenant_scope() IN ('', d.tenant_id)
                    AND ($1 IS NULL OR d.channel = $1)
                    AND (after IS NULL OR (d.died_at, d.id) < (before, after))
                ORDER BY d.died_at DESC, d.id DESC
                LIMIT 50) i), '[]'),
        'total', (SELECT count(*) FROM msgstore.dead_letters d
                  WHERE msgstore._tenant_scope() IN ('', d.tenant_id)))
    $$;

CREATE FUNCTION msgstore._operations_page(
    page text,
    channel text DEFAULT NULL,
    after uuid DEFAULT NULL,
    before timestamptz DEFAULT NULL)
    RETURNS jsonb
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    CASE page
    WHEN 'dead_letters' THEN
        RETURN msgstore._dead_letter_page(channel, coalesce(before, (
            SELECT d.died_at FROM msgstore.dead_letters d
            WHERE d.event_id = after AND msgstore._tenant_scope() IN ('', d.tenant_id) LIMIT 1)), after);
    -- When the last item of a page died, which may be in another slot than the next.
    WHEN 'died_at' THEN
        RETURN (SELECT to_jsonb(d.died_at) FROM msgstore.dead_letters d
                WHERE d.event_id = after AND msgstore._tenant_scope() IN ('', d.tenant_id) LIMIT 1);
    WHEN 'workers' THEN
        RETURN jsonb_build_object(
            'items', (SELECT coalesce(jsonb_agg(to_jsonb(w) ORDER BY w.worker), '[]')
                      FROM msgstore.stat_worker w),
            'paused', (SELECT to_jsonb(p) - 'single' FROM msgstore.worker_pause p));
    WHEN 'operations' THEN
        RETURN jsonb_build_object('items', (
            SELECT coalesce(jsonb_agg(to_jsonb(i)), '[]') FROM (
                SELECT o.id, o.happened_at, o.performed_by, o.operation, o.filter, o.event_count
                FROM msgstore.operations_log o
                WHERE msgstore._tenant_scope() IN ('', o.tenant_id)
                ORDER BY o.happened_at DESC, o.id DESC
                LIMIT 50) i));
    END CASE;
END
$$;

CREATE FUNCTION msgstore._sending_page(page text) RETURNS jsonb
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    CASE page
    WHEN 'outbox' THEN
        RETURN msgstore._outbox_overview(10000);
    WHEN 'reports' THEN
        RETURN msgstore._status_overview(1000);
    END CASE;
END
$$;

REVOKE ALL ON FUNCTION msgstore._dead_letter_page(text, timestamptz, uuid) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._operations_page(text, text, uuid, timestamptz) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._sending_page(text) FROM PUBLIC;

COMMENT ON FUNCTION msgstore._dead_letter_page(text, timestamptz, uuid) IS
    'Returns 50 dead letters, the latest first, after the one that died at this time with this id, and the number of all';
COMMENT ON FUNCTION msgstore._operations_page(text, text, uuid, timestamptz) IS
    'Returns a page for operators: dead_letters, workers or operations; died_at is the time of the dead letter "after"';
COMMENT ON FUNCTION msgstore._sending_page(text) IS
    'Returns a page about sending: outbox or reports';
