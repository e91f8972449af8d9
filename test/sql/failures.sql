CREATE EXTENSION msgstore;
SET search_path = msgstore, public;
SET client_min_messages = warning;
CREATE FUNCTION public.put(id text, changes jsonb DEFAULT '{}', channel text DEFAULT 'sms') RETURNS uuid LANGUAGE sql AS
$$ SELECT event_id FROM msgstore.ingest(channel, jsonb_strip_nulls(jsonb_build_object(
    'from', '+15550001', 'to', '+15550002', 'messaging_provider_id', id, 'xillio_id', id, 'body', 'Hello',
    'timestamp', '2024-11-01T14:00:00Z') || changes), correlation_id => 'trace-' || id) $$;
CREATE FUNCTION public.event(name text) RETURNS uuid LANGUAGE sql AS
$$ SELECT id FROM msgstore.event_log WHERE provider_message_id = name $$;
-- The SQLSTATE, message, detail and hint of an error.
CREATE FUNCTION public.refused(command text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE detail text;
BEGIN
    EXECUTE command;
    RETURN 'not refused';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
    RETURN concat_ws(' | ', SQLSTATE, SQLERRM, nullif(detail, ''));
END $$;
-- The error of metrics(); recounted: after the test changed tables by hand.
CREATE FUNCTION public.gauges(OUT queued bigint, OUT dead bigint) LANGUAGE sql AS
$$ SELECT (m ->> 'worker_queued')::bigint - (SELECT count(*) FROM msgstore.event_queue),
    (m ->> 'dead_letters')::bigint - (SELECT count(*) FROM msgstore.dead_letters) FROM msgstore.metrics() m $$;
CREATE FUNCTION public.recounted(OUT queued bigint, OUT dead bigint) LANGUAGE sql AS
$$ SELECT msgstore.recount(); SELECT * FROM public.gauges() $$;
CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE 'not %', NEW.body USING ERRCODE = substr(NEW.body, 1, 5); END $$;
CREATE TRIGGER refuse BEFORE INSERT ON messages FOR EACH ROW
    WHEN (NEW.body LIKE 'P%') EXECUTE FUNCTION public.refuse();

-- Dead letters with two error codes and on two channels.
SET msgstore.max_retries = 1;
SELECT count(put('a-' || n, '{"body": "P0001"}')) FROM generate_series(1, 3) n;
SELECT count(put('b-' || n, '{"body": "P0002"}')) FROM generate_series(1, 2) n;
SELECT count(put('e-1', '{"body": "P0001", "from": "a@x.io", "to": "b@x.io"}', 'email'));
SELECT put('good') IS NOT NULL;
SELECT process();
UPDATE event_queue SET next_attempt_at = now();
SELECT process();

-- dead_letter_events shows the event and the error of every attempt.
SELECT direction, channel, "from", "to", body, payload ->> 'messaging_provider_id' AS payload_id,
    provider_message_id, correlation_id, attempt_count, error_code, error_message,
    jsonb_array_length(attempts) AS attempts, attempts #>> '{0,error_message}' AS first,
    created_at <= died_at AS in_order
FROM dead_letter_events ORDER BY provider_message_id;

-- A dry run counts and changes nothing.
SELECT requeue_dead_letters(dry_run => true) AS all_of_them,
    requeue_dead_letters('email', dry_run => true) AS of_a_channel,
    requeue_dead_letters(error_code => 'P0002', dry_run => true) AS of_an_error,
    requeue_dead_letters('email', 'P0002', dry_run => true) AS of_both,
    requeue_dead_letters(died_from => now() + interval '1 h', dry_run => true) AS later,
    requeue_dead_letters(died_until => now() - interval '1 h', dry_run => true) AS earlier,
    requeue_dead_letters(died_from => now() - interval '1 h', died_until => now() + interval '1 h', dry_run => true) AS between,
    requeue_dead_letters(event_ids => ARRAY[event('a-1'), event('b-1'), event('good'), NULL], dry_run => true) AS by_id;
SELECT count(*) AS dead, (SELECT count(*) FROM operations_log) AS logged, (SELECT count(*) FROM event_queue) AS queued
FROM dead_letters;

-- died_from is inclusive, died_until exclusive.
SELECT requeue_dead_letters(died_from => d.died_at, event_ids => ARRAY[d.event_id], dry_run => true) AS included,
    requeue_dead_letters(died_until => d.died_at, event_ids => ARRAY[d.event_id], dry_run => true) AS excluded
FROM dead_letters d WHERE event_id = event('a-1');

-- A requeued event has status received and no attempts, is in its lane, and is
-- due at once.
SELECT requeue(event('a-1'));
SELECT e.status, e.attempt_count, e.error_code, q.next_attempt_at <= now() AS due,
    q.lane = _lane(e.tenant_id, e.channel, e."from", e."to") AS in_lane
FROM inbound_events e JOIN event_queue q ON q.event_id = e.id WHERE e.provider_message_id = 'a-1';

-- requeue() returns false for a waiting, a processed and an unknown event.
SELECT requeue(event('a-1')), requeue(event('good')), requeue(uuid7()), requeue(NULL);

-- It is retried as often as a new event before it is a dead letter again.
SELECT process();
SELECT status, attempt_count FROM inbound_events WHERE provider_message_id = 'a-1';
UPDATE event_queue SET next_attempt_at = now();
SELECT process();
SELECT status, attempt_count FROM inbound_events WHERE provider_message_id = 'a-1';

-- Requeueing by channel, error and time together leaves the others.
SELECT requeue_dead_letters('sms', 'P0002', now() - interval '1 h', now() + interval '1 h');
SELECT provider_message_id, status FROM inbound_events WHERE status <> 'processed' ORDER BY 1;
SELECT * FROM gauges();
DROP TRIGGER refuse ON messages;
SELECT requeue_dead_letters();
SELECT requeue_dead_letters();
SELECT process();
SELECT status, count(*), count(m.id) AS messages FROM inbound_events e
LEFT JOIN messages m ON m.inbound_event_id = e.id GROUP BY 1;

-- operations_log records each call that requeued something.
SELECT operation, performed_by = session_user AS mine, filter - 'died_from' - 'died_until' - 'event_ids' AS filter,
    event_count, cardinality(event_ids) AS ids, happened_at <= clock_timestamp() AS then
FROM operations_log ORDER BY id;
SELECT event_ids = ARRAY[event('a-1')] AS that_one, filter = jsonb_build_object('event_ids', jsonb_build_array(event('a-1'))) AS as_asked
FROM operations_log ORDER BY id LIMIT 1;

-- Only the owner can change operations_log, whatever privileges are granted.
CREATE ROLE failures_admin;
GRANT USAGE ON SCHEMA msgstore, public TO failures_admin;
GRANT ALL ON ALL TABLES IN SCHEMA msgstore TO failures_admin;
SET ROLE failures_admin;
SELECT count(*) > 0 AS reads FROM operations_log;
SELECT refused('DELETE FROM msgstore.operations_log');
SELECT refused('UPDATE msgstore.operations_log SET performed_by = ''somebody else''');
SELECT refused('TRUNCATE msgstore.operations_log');
RESET ROLE;
SET session_replication_role = replica;
SET ROLE failures_admin;
SELECT refused('DELETE FROM msgstore.operations_log');
RESET ROLE;
RESET session_replication_role;
DELETE FROM operations_log WHERE event_count > 1;
DROP OWNED BY failures_admin;
DROP ROLE failures_admin;

-- A dead outbound message goes back to the outbox; with strict_order it keeps its
-- conversation, so that later messages wait for it.
UPDATE channels SET strict_order = true WHERE name = 'mms';
SELECT message_id AS sms_id FROM send('sms', '{"from": "+1", "to": "+2", "body": "out", "timestamp": "2024-11-01T14:00:00Z"}', correlation_id => 'trace-out') \gset
SELECT message_id AS mms_id FROM send('mms', '{"from": "+1", "to": "+2", "attachments": ["https://x.io/1"], "timestamp": "2024-11-01T14:00:00Z"}') \gset
DELETE FROM outbox;
INSERT INTO outbox (tenant_id, message_id) VALUES ('', :'sms_id'), ('', :'mms_id');
SELECT dead FROM unnest(ARRAY[:'sms_id', :'mms_id']::uuid[]) id,
    _keep_failure('', id, 'outbound', 'E1', 'no route', 'sender-1', permanent => true);
SELECT direction, channel, "from", "to", body, correlation_id, attempt_count, error_message FROM dead_letter_events ORDER BY channel;
SELECT * FROM recounted();
SELECT requeue_dead_letters('sms', dry_run => true), requeue_dead_letters();
SELECT * FROM gauges();
SELECT m.channel, o.next_attempt_at <= now() AS due, o.sender_id, o.conversation_id = m.conversation_id AS in_line
FROM outbox o JOIN messages m ON m.id = o.message_id ORDER BY 1;

-- A tenant requeues only its own dead letters, which its operations_log records.
SET msgstore.tenant_id = 'acme';
SELECT put('t-1') AS own \gset
SET msgstore.tenant_id = '';
SELECT put('t-2') AS others \gset
UPDATE event_queue SET next_attempt_at = now();
SELECT count(_keep_failure(tenant_id, event_id, 'inbound', 'E1', 'no', permanent => true)) FROM event_queue;
SET msgstore.tenant_id = 'acme';
SELECT requeue(:'others'), requeue_dead_letters(dry_run => true), requeue_dead_letters();
SET msgstore.tenant_id = '';
SELECT tenant_id, event_count FROM operations_log ORDER BY id DESC LIMIT 1;
SELECT requeue(:'others');
SELECT * FROM msgstore.check();

DROP FUNCTION put, event, refused, refuse, gauges, recounted;
DROP EXTENSION msgstore;
