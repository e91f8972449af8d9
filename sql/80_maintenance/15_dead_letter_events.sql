-- maintenance: dead letter events

CREATE VIEW msgstore.dead_letter_events WITH (security_invoker) AS
SELECT d.event_id AS id,
       d.tenant_id,
       d.direction,
       coalesce(l.channel, m.channel) AS channel,
       coalesce(l."from", m."from") AS "from",
       coalesce(l."to", m."to") AS "to",
       coalesce(m.body, l.payload ->> 'body') AS body,
       l.payload,
       coalesce(l.provider_message_id, m.provider_message_id)
           AS provider_message_id,
       coalesce(l.correlation_id, m.correlation_id) AS correlation_id,
       d.attempt_count,
       d.error_code,
       d.error_message,
       d.attempts,
       coalesce(l.created_at, m.created_at) AS created_at,
       d.died_at
FROM msgstore.dead_letters d
LEFT JOIN msgstore.event_log l
    ON d.direction = 'inbound'
    AND l.tenant_id = d.tenant_id AND l.id = d.event_id
LEFT JOIN msgstore.messages m
    ON d.direction = 'outbound'
    AND m.tenant_id = d.tenant_id AND m.id = d.event_id;

COMMENT ON VIEW msgstore.dead_letter_events IS
    'Every dead letter with the event or the outbound message that it is about';
