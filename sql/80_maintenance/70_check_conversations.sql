-- maintenance: check of conversations and their messages.

-- Long, because each finding is a query of its own.
CREATE FUNCTION msgstore._check_conversations()
    RETURNS TABLE (finding text, subject text, detail text, repair text)
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
DECLARE
    scope CONSTANT text := msgstore._tenant_scope();
BEGIN
    RETURN QUERY
    SELECT CASE WHEN m.n IS NULL THEN 'conversation without messages'
                WHEN (m.n, m.inbound) <> (c.message_count, c.inbound_count)
                    THEN 'wrong message count'
                ELSE 'wrong last activity' END,
           format('conversation %s', c.id),
           format('Stored: %s messages, %s of them inbound, last activity %s. Actual: %s, %s, %s.',
                  c.message_count, c.inbound_count,
                  coalesce(c.last_activity_at::text, 'none'),
                  coalesce(m.n, 0), coalesce(m.inbound, 0),
                  coalesce(m.last::text, 'none')),
           format('SELECT msgstore._recount_conversations(ARRAY[%L], ARRAY[%L::uuid])',
                  c.tenant_id, c.id)
    FROM msgstore.conversations c
    LEFT JOIN (
        SELECT m.tenant_id, m.conversation_id, count(*) AS n,
               count(*) FILTER (WHERE m.direction = 'inbound') AS inbound,
               max(m."timestamp") AS last
        FROM msgstore.messages m
        WHERE scope IN ('', m.tenant_id)
        GROUP BY m.tenant_id, m.conversation_id) m
        ON m.tenant_id = c.tenant_id AND m.conversation_id = c.id
    WHERE scope IN ('', c.tenant_id)
        AND (m.n, m.inbound, m.last) IS DISTINCT FROM
            (c.message_count::bigint, c.inbound_count::bigint, c.last_activity_at);

    RETURN QUERY
    SELECT 'activity without conversation', format('conversation %s', a.id),
           'Its message count and last activity are stored, but the conversation does not exist.',
           format('SELECT msgstore._recount_conversations(ARRAY[%L], ARRAY[%L::uuid])',
                  a.tenant_id, a.id)
    FROM (
        SELECT a.tenant_id, a.conversation_id
        FROM msgstore.conversation_activity a
        UNION
        SELECT n.tenant_id, r.conversation_id
        FROM msgstore.conversation_changes n
        CROSS JOIN msgstore._read_changes(n.changes) r) AS a (tenant_id, id)
    WHERE scope IN ('', a.tenant_id)
        AND NOT EXISTS (
            SELECT FROM msgstore.conversation_rows c
            WHERE c.tenant_id = a.tenant_id AND c.id = a.id);

    RETURN QUERY
    SELECT 'wrong number of conversations', format('tenant "%s"', t.tenant_id),
           format('Stored: %s. Actual: %s.', sum(t.stored), sum(t.n)),
           format('SELECT msgstore._recount_tenant(%L)', t.tenant_id)
    FROM (
        SELECT c.tenant_id, c.n AS stored, 0 AS n
        FROM msgstore.conversation_counts c
        WHERE scope IN ('', c.tenant_id)
        UNION ALL
        SELECT c.tenant_id, 0, 1
        FROM msgstore.conversation_rows c
        WHERE scope IN ('', c.tenant_id)) t
    GROUP BY t.tenant_id
    HAVING sum(t.stored) <> sum(t.n);

    RETURN QUERY
    SELECT 'wrong tally of conversations', format('tenant "%s"', t.tenant_id),
           format('Kind %s, name "%s". Stored: %s. Actual: %s.',
                  t.kind, t.name, sum(t.stored), sum(t.n)),
           format('SELECT msgstore._recount_tallies(%L)', t.tenant_id)
    FROM (
        SELECT c.tenant_id, c.kind, c.name, c.n AS stored, 0 AS n
        FROM msgstore.conversation_tallies c
        WHERE scope IN ('', c.tenant_id)
        UNION ALL
        SELECT s.tenant_id, f.kind, f.name, 0, 1
        FROM msgstore.conversation_states s
        CROSS JOIN msgstore._tallied(s.is_closed, s.assignee, s.labels) f
        WHERE scope IN ('', s.tenant_id)) t
    GROUP BY t.tenant_id, t.kind, t.name
    HAVING sum(t.stored) <> sum(t.n);

    RETURN QUERY
    SELECT s.finding, format('conversation %s', s.conversation_id),
           'It does not exist, and neither does a message of it.',
           format('SELECT msgstore._recount_conversations(ARRAY[%L], ARRAY[%L::uuid])',
                  s.tenant_id, s.conversation_id)
    FROM (
        SELECT 'state without conversation' AS finding, s.tenant_id, s.conversation_id
        FROM msgstore.conversation_states s
        UNION
        SELECT 'read mark without conversation', r.tenant_id, r.conversation_id
        FROM msgstore.read_marks r) s
    WHERE scope IN ('', s.tenant_id)
        AND NOT EXISTS (
            SELECT FROM msgstore.conversation_rows c
            WHERE c.tenant_id = s.tenant_id AND c.id = s.conversation_id)
        AND NOT EXISTS (
            SELECT FROM msgstore.messages m
            WHERE m.tenant_id = s.tenant_id AND m.conversation_id = s.conversation_id);

    RETURN QUERY
    SELECT CASE WHEN c.id IS NULL THEN 'message without conversation'
                ELSE 'message in another conversation' END,
           format('message %s', m.id),
           format('Its conversation_key is %s.', m.conversation_key),
           format('SELECT msgstore._rehome_message(%L, %L)', m.tenant_id, m.id)
    FROM msgstore.messages m
    LEFT JOIN msgstore.conversation_rows c
        ON c.tenant_id = m.tenant_id AND c.id = m.conversation_id
    WHERE scope IN ('', m.tenant_id)
        AND c.key IS DISTINCT FROM m.conversation_key;

    RETURN QUERY
    SELECT 'outdated address', format('message %s', m.id),
           format('Stored: from %s to %s. By the present rules of channel %s: from %s to %s.',
                  m."from", m."to", m.channel, n."from", n."to"),
           CASE WHEN l.payload <> '{}'
               THEN format('SELECT * FROM msgstore.replay(%L)',
                           jsonb_build_object('event_ids', jsonb_build_array(m.id)))
               ELSE format('SELECT msgstore._renormalize_message(%L, %L)',
                           m.tenant_id, m.id)
           END
    FROM msgstore.messages m
    CROSS JOIN LATERAL (
        SELECT msgstore._identity(m.channel, coalesce(m.from_given, m."from"),
                                  m."from"),
               msgstore._identity(m.channel, coalesce(m.to_given, m."to"), m."to")
    ) AS n ("from", "to")
    LEFT JOIN msgstore.event_log l
        ON l.tenant_id = m.tenant_id AND l.id = m.inbound_event_id
    WHERE scope IN ('', m.tenant_id)
        AND (n."from" <> m."from" OR n."to" <> m."to");
END
$$;

REVOKE ALL ON FUNCTION msgstore._check_conversations() FROM PUBLIC;

COMMENT ON FUNCTION msgstore._check_conversations() IS
    'Finds wrong counts and tallies, wrong last activity, empty conversations, activity, states and read marks without a conversation, messages that are not in the conversation of their key, and messages whose addresses the channel normalizes differently now';
