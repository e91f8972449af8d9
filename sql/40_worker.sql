CREATE FUNCTION msgstore.process(max_events int DEFAULT NULL) RETURNS int
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'msgstore_process';

CREATE FUNCTION msgstore._announce() RETURNS void
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'msgstore_announce';

CREATE VIEW msgstore.inbound_events AS
SELECT l.id,
       l.tenant_id,
       l.channel,
       l."from",
       l."to",
       l.provider_message_id,
       l.payload,
       CASE
           WHEN d.event_id IS NOT NULL THEN 'dead_letter'
           WHEN q.event_id IS NULL THEN 'processed'
           WHEN f.event_id IS NOT NULL THEN 'error'
           ELSE 'received'
       END AS status,
       coalesce(d.attempt_count, f.attempt_count, 0) AS attempt_count,
       q.next_attempt_at,
       NULL::text AS processor_id,
       coalesce(d.error_code, f.error_code) AS error_code,
       coalesce(d.error_message, f.error_message) AS error_message,
       l.correlation_id,
       l.created_at,
       coalesce(d.died_at, m.created_at, f.failed_at, l.created_at) AS updated_at,
       m.created_at AS processed_at
FROM msgstore.event_log l
LEFT JOIN msgstore.event_queue q
    ON q.tenant_id = l.tenant_id AND q.event_id = l.id
LEFT JOIN msgstore.dead_letters d
    ON d.tenant_id = l.tenant_id AND d.event_id = l.id
LEFT JOIN msgstore.event_failures f
    ON f.tenant_id = l.tenant_id AND f.event_id = l.id
LEFT JOIN msgstore.messages m
    ON m.tenant_id = l.tenant_id AND m.inbound_event_id = l.id;

REVOKE ALL ON FUNCTION msgstore.process(int) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._announce() FROM PUBLIC;

COMMENT ON FUNCTION msgstore.process(int) IS
    'Does in this session and transaction what the worker does: applies the events that are due when the call begins, at most max_events (null: all). Returns how many left the queue, for a conversation or for the dead letters. Raises MS400';
COMMENT ON FUNCTION msgstore._announce() IS
    'At commit the launcher looks at this database: the extension has come';
COMMENT ON VIEW msgstore.inbound_events IS
    'Every accepted event with its state: received, error (waits for a retry), dead_letter or processed';
COMMENT ON COLUMN msgstore.inbound_events.attempt_count IS
    'Failed attempts so far';

-- The last statement that can fail is behind us: tell the launcher.
SELECT msgstore._announce();
