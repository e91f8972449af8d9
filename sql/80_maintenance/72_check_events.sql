-- maintenance: check of events, the queue, and dead letters.

CREATE FUNCTION msgstore._check_events()
    RETURNS TABLE (finding text, subject text, detail text, repair text)
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
DECLARE
    scope CONSTANT text := msgstore._tenant_scope();
BEGIN
    RETURN QUERY
    SELECT 'event in no place', format('event %s', l.id),
           'The event is not queued, is not a dead letter, and has no message.',
           CASE WHEN l.payload <> '{}'
               THEN format('SELECT msgstore._enqueue(ARRAY[%L], ARRAY[%L::uuid])',
                           l.tenant_id, l.id)
               -- An empty payload was purged; no message can be made.
               ELSE format('DELETE FROM msgstore.event_log'
                           ' WHERE tenant_id = %L AND id = %L', l.tenant_id, l.id)
           END
    FROM msgstore.event_log l
    WHERE scope IN ('', l.tenant_id)
        AND NOT EXISTS (
            SELECT FROM msgstore.messages m
            WHERE m.tenant_id = l.tenant_id AND m.id = l.id
                AND m.inbound_event_id = l.id)
        AND NOT EXISTS (
            SELECT FROM msgstore.event_queue q
            WHERE q.tenant_id = l.tenant_id AND q.event_id = l.id)
        AND NOT EXISTS (
            SELECT FROM msgstore.dead_letters d
            WHERE d.tenant_id = l.tenant_id AND d.event_id = l.id);

    RETURN QUERY
    SELECT 'conflict without event', format('event %s', c.event_id),
           'event_log does not contain the event.',
           format('DELETE FROM msgstore.id_conflicts'
                  ' WHERE tenant_id = %L AND event_id = %L',
                  c.tenant_id, c.event_id)
    FROM msgstore.id_conflicts c
    WHERE scope IN ('', c.tenant_id)
        AND NOT EXISTS (
            SELECT FROM msgstore.event_log l
            WHERE l.tenant_id = c.tenant_id AND l.id = c.event_id);

    RETURN QUERY
    SELECT 'failures without event', format('event or message %s', f.event_id),
           'Neither event_log nor messages contains this id.',
           format('DELETE FROM msgstore.event_failures'
                  ' WHERE tenant_id = %L AND event_id = %L',
                  f.tenant_id, f.event_id)
    FROM msgstore.event_failures f
    WHERE scope IN ('', f.tenant_id)
        AND NOT EXISTS (
            SELECT FROM msgstore.event_log l
            WHERE l.tenant_id = f.tenant_id AND l.id = f.event_id)
        AND NOT EXISTS (
            SELECT FROM msgstore.messages m
            WHERE m.tenant_id = f.tenant_id AND m.id = f.event_id);

    RETURN QUERY
    SELECT 'attachment without event', format('attachment %s', a.id),
           'event_log does not contain the event of its message.',
           format('DELETE FROM msgstore.attachments WHERE tenant_id = %L AND id = %L',
                  a.tenant_id, a.id)
    FROM msgstore.attachments a
    WHERE scope IN ('', a.tenant_id)
        AND NOT EXISTS (
            SELECT FROM msgstore.event_log l
            WHERE l.tenant_id = a.tenant_id AND l.id = a.message_id);
END
$$;

-- One long query, because all findings about a queue row need the same joins.
CREATE FUNCTION msgstore._check_queue()
    RETURNS TABLE (finding text, subject text, detail text, repair text)
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
DECLARE
    scope CONSTANT text := msgstore._tenant_scope();
BEGIN
    RETURN QUERY
    SELECT w.finding, format('event %s', q.event_id), w.detail,
           CASE w.finding
               WHEN 'event in two places' THEN
                   CASE WHEN m.id IS NULL
                       THEN format('SELECT msgstore._drop_dead_letter(%L, %L)',
                                   q.tenant_id, q.event_id)
                       ELSE format('SELECT msgstore._drop_work(%L, %L)',
                                   q.tenant_id, q.event_id)
                   END
               WHEN 'event that waits for nothing' THEN
                   format('UPDATE msgstore.event_queue SET next_attempt_at = now()'
                          ' WHERE tenant_id = %L AND event_id = %L',
                          q.tenant_id, q.event_id)
               ELSE format('SELECT msgstore._drop_work(%L, %L)',
                           q.tenant_id, q.event_id)
           END
    FROM msgstore.event_queue q
    LEFT JOIN msgstore.event_log l
        ON l.tenant_id = q.tenant_id AND l.id = q.event_id
    LEFT JOIN msgstore.messages m
        ON m.tenant_id = q.tenant_id AND m.id = q.event_id
        AND m.inbound_event_id = q.event_id
    LEFT JOIN msgstore.dead_letters d
        ON d.tenant_id = q.tenant_id AND d.event_id = q.event_id
    LEFT JOIN msgstore.event_claims c
        ON c.tenant_id = q.tenant_id AND c.event_id = q.event_id
    LEFT JOIN msgstore.conversation_holds h
        ON h.tenant_id = q.tenant_id AND h.event_id = q.event_id
    CROSS JOIN LATERAL (VALUES
        (m.id IS NOT NULL, 'event in two places',
         'The event is queued although its message exists.'),
        (m.id IS NULL AND d.event_id IS NOT NULL, 'event in two places',
         'The event is both queued and a dead letter.'),
        (m.id IS NULL AND l.id IS NULL, 'queue row without event',
         'event_log does not contain the event.'),
        (l.id IS NOT NULL AND m.id IS NULL AND c.event_id IS NULL
         AND q.next_attempt_at = 'infinity'
         AND NOT EXISTS (
             SELECT FROM msgstore.conversation_holds earlier
             WHERE earlier.tenant_id = h.tenant_id
                 AND earlier.conversation_key = h.conversation_key
                 AND earlier.event_id < h.event_id),
         'event that waits for nothing',
         'The event is never due, although it is not claimed and no earlier event holds its conversation.')
    ) AS w (holds, finding, detail)
    WHERE w.holds AND scope IN ('', q.tenant_id);

    RETURN QUERY
    SELECT w.finding, format('event %s', w.event_id), 'event_queue does not contain the event.',
           format('SELECT msgstore._drop_work(%L, %L)', w.tenant_id, w.event_id)
    FROM (
        SELECT 'claim without queue row' AS finding, c.tenant_id, c.event_id
        FROM msgstore.event_claims c
        UNION ALL
        SELECT 'hold without queue row', h.tenant_id, h.event_id
        FROM msgstore.conversation_holds h) w
    WHERE scope IN ('', w.tenant_id)
        AND NOT EXISTS (
            SELECT FROM msgstore.event_queue q
            WHERE q.tenant_id = w.tenant_id AND q.event_id = w.event_id);
END
$$;

CREATE FUNCTION msgstore._check_dead_letters()
    RETURNS TABLE (finding text, subject text, detail text, repair text)
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
DECLARE
    scope CONSTANT text := msgstore._tenant_scope();
BEGIN
    RETURN QUERY
    SELECT CASE WHEN m.id IS NOT NULL THEN 'event in two places'
                ELSE 'dead letter without event' END,
           format('%s %s', CASE d.direction WHEN 'inbound' THEN 'event'
                                            ELSE 'message' END, d.event_id),
           CASE WHEN m.id IS NOT NULL THEN 'The event is a dead letter although its message exists.'
                ELSE 'The event or message no longer exists.' END,
           format('SELECT msgstore._drop_dead_letter(%L, %L)',
                  d.tenant_id, d.event_id)
    FROM msgstore.dead_letters d
    LEFT JOIN msgstore.event_log l
        ON l.tenant_id = d.tenant_id AND l.id = d.event_id
    LEFT JOIN msgstore.messages m ON d.direction = 'inbound'
        AND m.tenant_id = d.tenant_id AND m.id = d.event_id
        AND m.inbound_event_id = d.event_id
    LEFT JOIN msgstore.messages o ON d.direction = 'outbound'
        AND o.tenant_id = d.tenant_id AND o.id = d.event_id
    WHERE scope IN ('', d.tenant_id)
        AND (m.id IS NOT NULL
             OR CASE d.direction WHEN 'inbound' THEN l.id ELSE o.id END IS NULL);
END
$$;

REVOKE ALL ON FUNCTION msgstore._check_events() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._check_queue() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._check_dead_letters() FROM PUBLIC;

COMMENT ON FUNCTION msgstore._check_events() IS
    'Finds events that are in no place, failures without their event or message, and attachments without their event';
COMMENT ON FUNCTION msgstore._check_queue() IS
    'Finds queued events that are also elsewhere or never due, and queue rows, claims, and holds without their event';
COMMENT ON FUNCTION msgstore._check_dead_letters() IS
    'Finds dead letters whose message exists, or whose event or message is gone';
