-- outbox: the state of every outbound message.

CREATE VIEW msgstore.outbound_messages WITH (security_invoker) AS
SELECT m.id,
       m.tenant_id,
       m.channel,
       coalesce(d.provider, c.provider) AS provider,
       m."from",
       m."to",
       CASE
           WHEN d.message_id IS NOT NULL THEN d.status
           WHEN l.error_code = 'uncertain' THEN 'uncertain'
           WHEN l.event_id IS NOT NULL THEN 'failed'
           WHEN o.message_id IS NOT NULL THEN 'queued'
       END AS status,
       d.provider_message_id,
       coalesce(l.attempt_count, f.attempt_count, 0) AS attempt_count,
       o.next_attempt_at,
       o.sender_id,
       coalesce(d.error_code, l.error_code, f.error_code) AS error_code,
       coalesce(d.error_message, l.error_message, f.error_message)
           AS error_message,
       m.correlation_id,
       m.created_at,
       coalesce(d.status_at, l.died_at, f.failed_at, m.created_at) AS updated_at,
       m.from_given,
       m.to_given,
       m.subject
FROM msgstore.messages m
LEFT JOIN msgstore.channels c ON c.name = m.channel
LEFT JOIN msgstore.deliveries d
    ON d.tenant_id = m.tenant_id AND d.message_id = m.id
LEFT JOIN msgstore.outbox o
    ON o.tenant_id = m.tenant_id AND o.message_id = m.id
LEFT JOIN msgstore.dead_letters l
    ON l.tenant_id = m.tenant_id AND l.event_id = m.id
LEFT JOIN msgstore.event_failures f
    ON f.tenant_id = m.tenant_id AND f.event_id = m.id
WHERE m.direction = 'outbound';

COMMENT ON VIEW msgstore.outbound_messages IS
    'Every outbound message with its status';
COMMENT ON COLUMN msgstore.outbound_messages.id IS
    'Id of the message (UUID version 7)';
COMMENT ON COLUMN msgstore.outbound_messages.tenant_id IS
    'Tenant that owns the message';
COMMENT ON COLUMN msgstore.outbound_messages.channel IS
    'Name of the channel';
COMMENT ON COLUMN msgstore.outbound_messages.provider IS
    'Provider that sent the message, or until it is sent the current provider of the channel';
COMMENT ON COLUMN msgstore.outbound_messages."from" IS
    'Normalized address of the sender';
COMMENT ON COLUMN msgstore.outbound_messages."to" IS
    'Normalized address of the recipient';
COMMENT ON COLUMN msgstore.outbound_messages.status IS
    'queued, sent, delivered, read, failed, undelivered, or uncertain if it is not known whether the provider has the message; null if the channel had no provider and no report was made';
COMMENT ON COLUMN msgstore.outbound_messages.provider_message_id IS
    'Message id assigned by the provider; null until the sender has reported it';
COMMENT ON COLUMN msgstore.outbound_messages.attempt_count IS
    'Number of failed attempts so far';
COMMENT ON COLUMN msgstore.outbound_messages.next_attempt_at IS
    'Time of the next attempt, or for a leased message the time at which the lease expires; null for a new or finished message';
COMMENT ON COLUMN msgstore.outbound_messages.sender_id IS
    'Name of the sender that holds the lease';
COMMENT ON COLUMN msgstore.outbound_messages.error_code IS
    'Code of the last failure: the one in the provider''s callback for a failed or undelivered message, the one that the sender reported, or MS504 for an expired lease';
COMMENT ON COLUMN msgstore.outbound_messages.error_message IS
    'Message of the last failure';
COMMENT ON COLUMN msgstore.outbound_messages.correlation_id IS
    'Correlation id passed to send()';
COMMENT ON COLUMN msgstore.outbound_messages.created_at IS
    'Time at which the message was stored';
COMMENT ON COLUMN msgstore.outbound_messages.updated_at IS
    'Time of the last change of status or the last failed attempt';
COMMENT ON COLUMN msgstore.outbound_messages.from_given IS
    'Address of the sender as given to send(); null if it equals "from"';
COMMENT ON COLUMN msgstore.outbound_messages.to_given IS
    'Address of the recipient as given to send(); null if it equals "to"';
COMMENT ON COLUMN msgstore.outbound_messages.subject IS
    'Subject given in the payload; null if there is none';
