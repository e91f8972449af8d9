-- maintenance: dead letters with the events and messages they are about.

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
    'Dead letters with the content of their inbound event or outbound message';
COMMENT ON COLUMN msgstore.dead_letter_events.id IS
    'Id of the inbound event or outbound message';
COMMENT ON COLUMN msgstore.dead_letter_events.tenant_id IS
    'Tenant that owns the event or message';
COMMENT ON COLUMN msgstore.dead_letter_events.direction IS
    'inbound for an event, outbound for a message';
COMMENT ON COLUMN msgstore.dead_letter_events.channel IS
    'Name of the channel';
COMMENT ON COLUMN msgstore.dead_letter_events."from" IS
    'Normalized address of the sender';
COMMENT ON COLUMN msgstore.dead_letter_events."to" IS
    'Normalized address of the recipient';
COMMENT ON COLUMN msgstore.dead_letter_events.body IS
    'Body of the message';
COMMENT ON COLUMN msgstore.dead_letter_events.payload IS
    'Stored payload of the event; null for an outbound message';
COMMENT ON COLUMN msgstore.dead_letter_events.provider_message_id IS
    'Id that the provider gave the message; null if it gave none';
COMMENT ON COLUMN msgstore.dead_letter_events.correlation_id IS
    'Correlation id of the request that stored it; null if it had none';
COMMENT ON COLUMN msgstore.dead_letter_events.attempt_count IS
    'Number of failed attempts';
COMMENT ON COLUMN msgstore.dead_letter_events.error_code IS
    'SQLSTATE of the last failure, MS500 if the process died, MS504 if a claim or lease expired, or the code that an external processor or sender reported';
COMMENT ON COLUMN msgstore.dead_letter_events.error_message IS
    'Message of the last failure, at most 1000 characters';
COMMENT ON COLUMN msgstore.dead_letter_events.attempts IS
    'The last 20 failed attempts, oldest first, in the format of event_failures.attempts';
COMMENT ON COLUMN msgstore.dead_letter_events.created_at IS
    'Time at which the event or message was stored';
COMMENT ON COLUMN msgstore.dead_letter_events.died_at IS
    'Time of the last failure, which made it a dead letter';
