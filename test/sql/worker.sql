CREATE EXTENSION msgstore;
SET search_path = msgstore, public;
CREATE FUNCTION public.put(id text, changes jsonb DEFAULT '{}') RETURNS boolean LANGUAGE sql AS
$$ SELECT duplicate FROM msgstore.ingest('sms', jsonb_strip_nulls(jsonb_build_object(
    'from', '+15550001', 'to', '+15550002', 'messaging_provider_id', id, 'body', 'Hello',
    'timestamp', '2024-11-01T14:00:00Z') || changes)) $$;
CREATE VIEW public.places AS
SELECT provider_message_id, status, attempt_count, next_attempt_at IS NOT NULL AS waits,
    error_code, error_message, processed_at IS NOT NULL AS done
FROM msgstore.inbound_events;

-- The worker is off: events wait until process() is called, which returns how
-- many left the queue.
SELECT put('m-' || n) FROM generate_series(1, 3) n;
SELECT process(2), process(2), process(2);
SELECT * FROM places ORDER BY 1;
SELECT process();

-- An invalid max_events is refused.
DO $$ BEGIN PERFORM msgstore.process(0); EXCEPTION WHEN SQLSTATE 'MS400' THEN RAISE NOTICE '% %', SQLSTATE, SQLERRM; END $$;

-- One transaction adds the message, updates the conversation and deletes the row
-- in the queue.
SELECT m.id = m.inbound_event_id AS same_id, m.direction, m.channel, m."from", m."to", m.body,
    m.attachments, m."timestamp" = '2024-11-01T14:00:00Z' AS same_time, c.message_count
FROM messages m JOIN conversations c ON c.id = m.conversation_id
WHERE m.provider_message_id = 'm-1';

-- A rollback undoes process().
SELECT put('back');
BEGIN;
SELECT process();
ROLLBACK;
SELECT * FROM places WHERE provider_message_id = 'back';
SELECT process();

-- A bad event does not affect the others of its batch: it waits for its retry,
-- with its SQLSTATE and message, and everything else it did is rolled back.
CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE 'no % today', NEW.body USING ERRCODE = 'P0042'; END $$;
CREATE TRIGGER fail BEFORE INSERT ON messages FOR EACH ROW
    WHEN (NEW.body = 'bad') EXECUTE FUNCTION public.refuse();
SET client_min_messages = error;
SELECT message_count AS before FROM conversations \gset
SELECT count(put('n-' || n, CASE WHEN n = 5 THEN '{"body": "bad"}' ELSE '{}' END::jsonb))
FROM generate_series(1, 10) n;
SELECT process();
SELECT * FROM places WHERE provider_message_id = 'n-5';
SELECT message_count - :before AS added FROM conversations;
SELECT count(*) FROM conversations c
WHERE message_count <> (SELECT count(*) FROM messages m WHERE m.conversation_id = c.id);

-- It is not tried before its retry is due.
SELECT process();
SELECT attempt_count FROM places WHERE provider_message_id = 'n-5';

-- After attempt n an event waits for base × 2^(n-1), half more or less, up to the
-- limit; after the retries it is a dead letter with all its attempts counted.
CREATE FUNCTION public.attempt(id text, OUT attempt int, OUT status text, OUT left_queue int,
    OUT in_bounds boolean, OUT code text)
LANGUAGE plpgsql AS $$
DECLARE
    nominal interval;
    wait interval;
BEGIN
    UPDATE msgstore.event_queue SET next_attempt_at = now();
    left_queue := msgstore.process();
    SELECT e.attempt_count, e.status, e.next_attempt_at - e.updated_at, e.error_code
    INTO attempt, status, wait, code
    FROM msgstore.inbound_events e WHERE e.provider_message_id = attempt.id;
    nominal := least(current_setting('msgstore.backoff_base')::interval * 2 ^ (attempt - 1),
                     current_setting('msgstore.backoff_max')::interval);
    in_bounds := wait BETWEEN nominal * 0.5 AND nominal * 1.5 + interval '50 ms';
END $$;
SET msgstore.backoff_max = '3s';
SELECT a.* FROM generate_series(2, 6) n, LATERAL attempt('n-' || 5 + 0 * n) a;
RESET msgstore.backoff_max;
SELECT process(), * FROM places WHERE provider_message_id = 'n-5';
SELECT attempt_count, error_code, error_message FROM dead_letters;
SELECT count(*) AS rest FROM event_failures;

-- Twenty events that fail together are not retried together.
SELECT count(put('j-' || n, '{"body": "bad"}')) FROM generate_series(1, 20) n;
SELECT process();
SELECT count(DISTINCT next_attempt_at - updated_at) > 1 AS jitter,
    min(next_attempt_at - updated_at) >= interval '0.25 s' AS not_below,
    max(next_attempt_at - updated_at) <= interval '0.8 s' AS not_above
FROM inbound_events WHERE status = 'error';

-- Events that keep failing take at most half of a batch.
SELECT put('fresh-' || n) FROM generate_series(1, 2) n;
UPDATE event_queue SET next_attempt_at = now() WHERE next_attempt_at IS NOT NULL;
SELECT process(4);

-- An event that fails and then succeeds keeps its number of failed attempts.
DROP TRIGGER fail ON messages;
UPDATE event_queue SET next_attempt_at = now() WHERE next_attempt_at IS NOT NULL;
SELECT process();
SELECT status, attempt_count, error_code, done, count(*) FROM places
WHERE provider_message_id LIKE 'j-%' GROUP BY 1, 2, 3, 4 ORDER BY 2;

-- A deadlock or lock timeout is retried and the attempt not counted.
CREATE FUNCTION public.clash() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE SQLSTATE '40P01'; END $$;
CREATE TRIGGER clash BEFORE INSERT ON messages FOR EACH ROW EXECUTE FUNCTION public.clash();
SELECT put('clash');
SELECT process();
SELECT * FROM places WHERE provider_message_id = 'clash';
DROP TRIGGER clash ON messages;

-- An error that no event can cause ends the call and changes nothing.
CREATE FUNCTION public.full_disk() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE SQLSTATE '53100'; END $$;
CREATE TRIGGER full_disk BEFORE INSERT ON messages FOR EACH ROW EXECUTE FUNCTION public.full_disk();
SELECT put('full');
\set VERBOSITY terse
SELECT process();
\set VERBOSITY default
SELECT * FROM places WHERE provider_message_id IN ('clash', 'full') ORDER BY 1;
DROP TRIGGER full_disk ON messages;
UPDATE event_queue SET next_attempt_at = now() WHERE next_attempt_at IS NOT NULL;
SELECT process();

-- An event that can never succeed is a dead letter at once.
INSERT INTO event_log (tenant_id, id, channel, "from", "to", provider_message_id, payload)
VALUES ('', uuid7(), 'fax', '1', '2', 'fax', '{}');
INSERT INTO event_queue SELECT tenant_id, id FROM event_log WHERE channel = 'fax';
SELECT process();
SELECT * FROM places WHERE provider_message_id = 'fax';

-- A row inserted into event_log without ingest() makes a message of its valid
-- fields.
INSERT INTO event_log (tenant_id, id, channel, "from", "to", provider_message_id, payload)
VALUES ('', uuid7(), 'email', 'a@x.io', 'b@x.io', 'odd',
    '{"timestamp": "yesterday", "attachments": ["a", 1, {"b": 2}, "c"]}');
INSERT INTO event_queue SELECT tenant_id, id FROM event_log WHERE provider_message_id = 'odd';
SELECT process();
SELECT body, attachments, now() - "timestamp" < interval '10 s' AS now
FROM messages WHERE provider_message_id = 'odd';

-- The same addresses have a conversation per channel, until mms is set to thread
-- with sms.
SELECT put('mms-1', '{"type": "mms", "attachments": ["https://example.com/1"]}');
SELECT process();
UPDATE channels SET thread = 'sms' WHERE name = 'mms';
SELECT put('mms-2', '{"type": "mms", "attachments": ["https://example.com/2"]}');
SELECT process();
SELECT provider_message_id, channel, conversation_key FROM messages
WHERE provider_message_id LIKE 'mms-%' ORDER BY 1;

-- Each event is in one place, and each processed event has one message.
SELECT status, count(*), count(m.id) AS messages
FROM inbound_events e LEFT JOIN messages m ON m.inbound_event_id = e.id
GROUP BY 1 ORDER BY 1;

-- Constraints added by users are enforced.
ALTER TABLE messages ADD CONSTRAINT polite CHECK (body <> 'rude');
SELECT put('polite-1'), put('rude-1', '{"body": "rude"}');
SELECT process();
SELECT provider_message_id, status, error_code, error_message FROM inbound_events
WHERE provider_message_id IN ('polite-1', 'rude-1') ORDER BY 1;
ALTER TABLE messages DROP CONSTRAINT polite;
UPDATE event_queue SET next_attempt_at = now();
SELECT process();

-- The log has many events between those that wait, several versions of some, and
-- one has left it.
SELECT count(put('far-' || n, '{"to": "+15550003"}')) FROM generate_series(1, 300) n;
DELETE FROM event_queue q USING event_log l
WHERE l.id = q.event_id AND l.provider_message_id LIKE 'far-%'
    AND substr(l.provider_message_id, 5)::int <> ALL ('{1,2,3,40,150,151,299,300}');
UPDATE event_log SET correlation_id = 'new' WHERE provider_message_id IN ('far-2', 'far-150');
UPDATE event_log SET provider_message_id = 'far-151b' WHERE provider_message_id = 'far-151';
DELETE FROM event_log WHERE provider_message_id = 'far-3';
SET msgstore.tenant_id = 'acme';
SELECT put('far-1');
RESET msgstore.tenant_id;
SELECT process();
SELECT tenant_id, provider_message_id, correlation_id FROM messages
WHERE provider_message_id LIKE 'far-%' ORDER BY tenant_id, id;
DELETE FROM event_queue;

-- A queue with a user's trigger is processed the same way.
CREATE TABLE public.gone (event_id uuid);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN INSERT INTO public.gone VALUES (OLD.event_id); RETURN OLD; END';
CREATE TRIGGER note BEFORE DELETE ON event_queue FOR EACH ROW EXECUTE FUNCTION note();
SELECT put('noted-' || n) FROM generate_series(1, 3) n;
SELECT process();
SELECT e.provider_message_id, e.status FROM public.gone g JOIN inbound_events e ON e.id = g.event_id ORDER BY 1;
DROP TRIGGER note ON event_queue;

-- A session remembers where the rows of conversations are. A row that is gone, another
-- one in its place, or the end of the table before it is noticed.
CREATE FUNCTION public.revisit(id text, sender text) RETURNS TABLE (processed int, sender_is_right boolean)
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM public.put(revisit.id, jsonb_build_object('from', revisit.sender));
    processed := msgstore.process();
    SELECT c.participant_b = revisit.sender INTO STRICT sender_is_right
    FROM msgstore.messages m JOIN msgstore.conversations c ON c.id = m.conversation_id
    WHERE m.provider_message_id = revisit.id;
    RETURN NEXT;
END $$;
TRUNCATE conversation_rows, messages, conversation_activity, conversation_changes;
SELECT * FROM revisit('at-1', '+15550009');
SELECT * FROM revisit('at-2', '+15550009');
DELETE FROM conversation_rows;
SELECT * FROM revisit('at-3', '+15550009');
SELECT * FROM revisit('at-4', '+15550009');
DELETE FROM conversation_rows;
VACUUM (TRUNCATE false) conversation_rows;
SELECT * FROM revisit('at-5', '+15550008');
SELECT * FROM revisit('at-6', '+15550007');
SELECT * FROM revisit('at-7', '+15550009');
SELECT * FROM revisit('at-8', '+15550009');
TRUNCATE conversation_rows;
SELECT * FROM revisit('at-9', '+15550009');
DROP FUNCTION public.revisit;

-- The index by time finds the first and the last message of a batch, in any order.
CREATE FUNCTION public.put_day(day int) RETURNS boolean LANGUAGE sql AS
$$ SELECT public.put('day-' || day, jsonb_build_object('timestamp', make_timestamptz(2020, 1, day, 0, 0, 0, 'UTC'))) $$;
TRUNCATE messages;
SELECT put_day(3);
SELECT process();
SELECT brin_summarize_range('messages_timestamp_idx', 0) >= 0 AS summarized;
SELECT count(put_day(n)) FROM unnest('{4,1,6,2,5}'::int[]) n;
SELECT process();
BEGIN;
-- Leave no other way to find them.
SET LOCAL enable_seqscan = off;
UPDATE pg_index SET indisvalid = indexrelid = 'messages_timestamp_idx'::regclass WHERE indrelid = 'messages'::regclass;
SELECT provider_message_id FROM messages WHERE "timestamp" = '2020-01-01 00:00Z';
SELECT provider_message_id FROM messages WHERE "timestamp" = '2020-01-06 00:00Z';
ROLLBACK;
DROP FUNCTION public.put_day;

DROP VIEW places;
DROP TABLE public.gone;
DROP FUNCTION note;
DROP FUNCTION put, refuse, clash, full_disk, attempt;
DROP EXTENSION msgstore;
