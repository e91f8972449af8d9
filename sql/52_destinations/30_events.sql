-- destinations: what has happened becomes notifications.

-- Called where it happens: one row, and only if somebody wants to know.
CREATE FUNCTION msgstore._tell(tenant text, event text, subjects uuid[]) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_variable
BEGIN
    INSERT INTO msgstore.destination_news (tenant_id, event, subjects)
    SELECT tenant, event, subjects
    WHERE EXISTS (
        SELECT FROM msgstore.destinations d
        WHERE d.tenant_id = tenant AND event = ANY (d.events));
    IF FOUND THEN
        PERFORM msgstore._wake_senders();
    END IF;
END
$$;

-- The messages of a batch of a worker, by tenant.
CREATE FUNCTION msgstore._tell_received(tenants text[], messages uuid[]) RETURNS void
    LANGUAGE sql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    INSERT INTO msgstore.destination_news (tenant_id, event, subjects)
    SELECT m.tenant, 'message.received', array_agg(m.id ORDER BY m.n)
    FROM unnest(tenants, messages) WITH ORDINALITY AS m (tenant, id, n)
    WHERE m.tenant IN (
        SELECT d.tenant_id FROM msgstore.destinations d
        WHERE d.events && '{message.received,conversation.created}')
    GROUP BY m.tenant
    $$;

CREATE FUNCTION msgstore._forget_destinations() RETURNS trigger
    LANGUAGE c VOLATILE
    AS 'MODULE_PATHNAME', 'msgstore_forget_destinations';

CREATE TRIGGER forget_destinations
AFTER INSERT OR UPDATE OR DELETE ON msgstore.destinations
FOR EACH ROW EXECUTE FUNCTION msgstore._forget_destinations();

ALTER TABLE msgstore.destinations ENABLE ALWAYS TRIGGER forget_destinations;

-- A conversation is new if it was created in the transaction that told of its first
-- message. One session at a time: the order of notifications is that of the news.
CREATE FUNCTION msgstore._spread_news() RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM msgstore.destination_news)
        OR NOT pg_try_advisory_xact_lock(hashtextextended('msgstore destination news', 0))
    THEN
        RETURN;
    END IF;
    WITH news AS MATERIALIZED (
        DELETE FROM msgstore.destination_news n
        WHERE (n.tenant_id, n.id) IN (
            SELECT o.tenant_id, o.id FROM msgstore.destination_news o
            WHERE NOT msgstore._is_elsewhere(o.tenant_id) ORDER BY o.id LIMIT 100)
        RETURNING n.*
    ), subjects AS (
        SELECT n.tenant_id, n.id AS news_id, s.n, n.event, s.id, n.happened_at,
               coalesce(m.conversation_id, s.id) AS line_id
        FROM news n
        CROSS JOIN LATERAL unnest(n.subjects) WITH ORDINALITY AS s (id, n)
        LEFT JOIN msgstore.messages m ON m.tenant_id = n.tenant_id AND m.id = s.id
    ), told AS (
        SELECT s.tenant_id, s.news_id, 2 * s.n AS n, s.event, s.id AS subject_id, s.line_id,
               s.happened_at
        FROM subjects s
        UNION ALL
        SELECT s.tenant_id, s.news_id, 2 * min(s.n) - 1, 'conversation.created', s.line_id,
               s.line_id, s.happened_at
        FROM subjects s
        JOIN msgstore.conversation_rows c ON c.tenant_id = s.tenant_id AND c.id = s.line_id
        WHERE s.event = 'message.received' AND c.created_at = s.happened_at
        GROUP BY s.tenant_id, s.news_id, s.line_id, s.happened_at)
    INSERT INTO msgstore.notifications
        (tenant_id, destination, event, subject_id, line_id, happened_at)
    SELECT t.tenant_id, d.name, t.event, t.subject_id, t.line_id, t.happened_at
    FROM told t
    JOIN msgstore.destinations d ON d.tenant_id = t.tenant_id AND t.event = ANY (d.events)
    ORDER BY t.news_id, t.n;
END
$$;

CREATE FUNCTION msgstore._message_document(tenant text, message uuid) RETURNS jsonb
    LANGUAGE sql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT jsonb_strip_nulls(jsonb_build_object(
        'id', m.id, 'direction', m.direction, 'channel', m.channel,
        'from', coalesce(m.from_given, m."from"), 'to', coalesce(m.to_given, m."to"),
        'conversation_id', m.conversation_id, 'conversation_key', m.conversation_key,
        'subject', m.subject, 'body', m.body, 'attachments', m.attachments,
        'timestamp', m."timestamp", 'provider_message_id', m.provider_message_id,
        'correlation_id', m.correlation_id))
    FROM msgstore.messages m
    WHERE m.tenant_id = tenant AND m.id = message
    $$;

-- Null if what it is about is gone, by an erasure or a purge.
CREATE FUNCTION msgstore._notification_data(notification msgstore.notifications) RETURNS jsonb
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    CASE notification.event
        WHEN 'message.received' THEN
            RETURN msgstore._message_document(notification.tenant_id, notification.subject_id);
        WHEN 'message.status' THEN
            RETURN (
                SELECT jsonb_strip_nulls(jsonb_build_object(
                    'id', o.id, 'status', o.status, 'channel', o.channel, 'from', o."from",
                    'to', o."to", 'provider', o.provider, 'error_code', o.error_code,
                    'provider_message_id', o.provider_message_id,
                    'error_message', o.error_message, 'attempt_count', o.attempt_count,
                    'updated_at', o.updated_at, 'correlation_id', o.correlation_id))
                FROM msgstore.outbound_messages o
                WHERE o.tenant_id = notification.tenant_id AND o.id = notification.subject_id);
        WHEN 'conversation.created' THEN
            RETURN (
                SELECT jsonb_build_object(
                    'id', c.id, 'number', c.number, 'key', c.key, 'channel', c.channel,
                    'participant_a', c.participant_a, 'participant_b', c.participant_b,
                    'created_at', c.created_at)
                FROM msgstore.conversation_rows c
                WHERE c.tenant_id = notification.tenant_id AND c.id = notification.subject_id);
        WHEN 'event.dead' THEN
            RETURN (
                SELECT jsonb_strip_nulls(jsonb_build_object(
                    'id', l.event_id, 'direction', l.direction, 'channel', e.channel,
                    'from', e."from", 'to', e."to", 'error_code', l.error_code,
                    'error_message', l.error_message, 'attempt_count', l.attempt_count,
                    'died_at', l.died_at))
                FROM msgstore.dead_letters l
                LEFT JOIN msgstore.event_log e ON e.tenant_id = l.tenant_id AND e.id = l.event_id
                WHERE l.tenant_id = notification.tenant_id AND l.event_id = notification.subject_id);
        ELSE
            RETURN jsonb_build_object('destination', notification.destination);
    END CASE;
END
$$;

REVOKE ALL ON FUNCTION msgstore._tell(text, text, uuid[]) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._tell_received(text[], uuid[]) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._forget_destinations() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._spread_news() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._message_document(text, uuid) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._notification_data(msgstore.notifications) FROM PUBLIC;

COMMENT ON FUNCTION msgstore._tell(text, text, uuid[]) IS
    'Records what happened to these messages or events, if a destination of the tenant wants to know';
COMMENT ON FUNCTION msgstore._tell_received(text[], uuid[]) IS
    'Records the messages of a batch, for tenants that have a destination';
COMMENT ON FUNCTION msgstore._forget_destinations() IS
    'Trigger function that makes every session look again whether there are destinations';
COMMENT ON FUNCTION msgstore._spread_news() IS
    'Makes notifications of what happened, one for each destination that wants to know';
COMMENT ON FUNCTION msgstore._message_document(text, uuid) IS
    'Returns a message as destinations see it';
COMMENT ON FUNCTION msgstore._notification_data(msgstore.notifications) IS
    'Returns what a notification tells; null if it is gone';
