-- maintenance: check of the outbox and deliveries.

CREATE FUNCTION msgstore._check_outbox()
    RETURNS TABLE (finding text, subject text, detail text, repair text)
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
DECLARE
    scope CONSTANT text := msgstore._tenant_scope();
BEGIN
    RETURN QUERY
    SELECT w.finding, format('message %s', o.message_id), w.detail,
           format(CASE w.finding
                      WHEN 'message in two places' THEN
                          'SELECT msgstore._drop_dead_letter(%L, %L)'
                      ELSE
                          'DELETE FROM msgstore.outbox'
                          ' WHERE tenant_id = %L AND message_id = %L'
                  END, o.tenant_id, o.message_id)
    FROM msgstore.outbox o
    LEFT JOIN msgstore.messages m
        ON m.tenant_id = o.tenant_id AND m.id = o.message_id
        AND m.direction = 'outbound'
    LEFT JOIN msgstore.deliveries d
        ON d.tenant_id = o.tenant_id AND d.message_id = o.message_id
    LEFT JOIN msgstore.dead_letters l
        ON l.tenant_id = o.tenant_id AND l.event_id = o.message_id
    CROSS JOIN LATERAL (VALUES
        (m.id IS NULL, 'outbox row without message',
         'The outbound message does not exist.'),
        (m.id IS NOT NULL AND d.id IS NOT NULL, 'sent message in the outbox',
         'The message waits to be sent although it was sent.'),
        (m.id IS NOT NULL AND d.id IS NULL AND l.event_id IS NOT NULL,
         'message in two places', 'The message is both in the outbox and a dead letter.')
    ) AS w (holds, finding, detail)
    WHERE w.holds AND scope IN ('', o.tenant_id);

    RETURN QUERY
    SELECT 'payload without message', format('message %s', p.message_id),
           'The outbound message does not exist.',
           format('DELETE FROM msgstore.outbound_payloads'
                  ' WHERE tenant_id = %L AND message_id = %L',
                  p.tenant_id, p.message_id)
    FROM msgstore.outbound_payloads p
    WHERE scope IN ('', p.tenant_id)
        AND NOT EXISTS (
            SELECT FROM msgstore.messages m
            WHERE m.tenant_id = p.tenant_id AND m.id = p.message_id
                AND m.direction = 'outbound');

    RETURN QUERY
    SELECT 'delivery without message', format('message %s', d.message_id),
           'The outbound message does not exist.',
           format('DELETE FROM msgstore.deliveries WHERE tenant_id = %L AND id = %L',
                  d.tenant_id, d.id)
    FROM msgstore.deliveries d
    WHERE d.message_id IS NOT NULL AND scope IN ('', d.tenant_id)
        AND NOT EXISTS (
            SELECT FROM msgstore.messages m
            WHERE m.tenant_id = d.tenant_id AND m.id = d.message_id
                AND m.direction = 'outbound');

    RETURN QUERY
    SELECT 'callback without delivery', format('callback %s', s.id),
           format('No delivery has provider_message_id "%s" on channel %s.',
                  s.provider_message_id, s.channel),
           format('DELETE FROM msgstore.delivery_statuses'
                  ' WHERE tenant_id = %L AND id = %L', s.tenant_id, s.id)
    FROM msgstore.delivery_statuses s
    WHERE scope IN ('', s.tenant_id)
        AND NOT EXISTS (
            SELECT FROM msgstore.deliveries d
            WHERE d.tenant_id = s.tenant_id AND d.channel = s.channel
                AND d.provider_message_id = s.provider_message_id);
END
$$;

REVOKE ALL ON FUNCTION msgstore._check_outbox() FROM PUBLIC;

COMMENT ON FUNCTION msgstore._check_outbox() IS
    'Finds outbound messages in two places, and outbox rows, payloads, deliveries, and delivery statuses without their message or delivery';
