-- What users' triggers, rules and constraints on the extension's tables do. A
-- BEFORE trigger that suppresses or changes a row is reported by name: nothing
-- loops, and no event is lost.
CREATE EXTENSION msgstore;
SET search_path = msgstore, public;
SET statement_timeout = '10s';
\set SHOW_CONTEXT never

CREATE FUNCTION public.event(id text, sender text DEFAULT '+15550000001') RETURNS jsonb
LANGUAGE sql AS
$$ SELECT jsonb_build_object('from', sender, 'to', '+15550009999', 'body', 'Hello ' || id,
    'messaging_provider_id', id, 'timestamp', '2024-11-01T14:00:00Z') $$;
-- Returns the row with these fields changed, or no row without fields.
CREATE FUNCTION public.alter_row() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_NARGS = 0 THEN
        RETURN NULL;
    END IF;
    RETURN jsonb_populate_record(NEW, TG_ARGV[0]::jsonb);
END
$$;
-- The outcome of a statement while a table has a trigger, rolled back.
CREATE FUNCTION public.with_trigger(
    relation text, operation text, changes text, statement text) RETURNS text
LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('CREATE TRIGGER meddle BEFORE %s ON msgstore.%I FOR EACH ROW'
        ' EXECUTE FUNCTION public.alter_row(%s)',
        operation, relation, quote_literal(changes));
    EXECUTE statement;
    RAISE EXCEPTION 'no error' USING ERRCODE = 'P0000';
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE || ' ' || SQLERRM;
END
$$;

-- Whatever the trigger does to a row that is stored, the call fails.
SELECT ingest('sms', event('old')) IS NOT NULL AS stored;
SELECT process();
SELECT append('s-1', 'x', '{}');
SELECT c.relation, c.changes, with_trigger(c.relation, c.operation, c.changes, c.statement)
FROM (VALUES
    ('event_log', 'INSERT', NULL, $$SELECT ingest('sms', event('a'))$$),
    ('event_log', 'INSERT', NULL,
     $$SELECT ingest('sms', event('a') - 'messaging_provider_id', mock => true)$$),
    ('event_log', 'INSERT', NULL,
     $$SELECT ingest_batch(jsonb_build_array(
        jsonb_build_object('channel', 'sms', 'payload', event('old')),
        jsonb_build_object('channel', 'sms', 'payload', event('a'))))$$),
    ('event_log', 'INSERT', '{"id": "00000000-0000-0000-0000-000000000000"}',
     $$SELECT ingest('sms', event('a'))$$),
    ('event_log', 'INSERT', '{"payload": {}}', $$SELECT ingest('sms', event('a'))$$),
    ('event_log', 'INSERT', '{"provider_message_id": null}', $$SELECT ingest('sms', event('a'))$$),
    ('event_log', 'INSERT', '{"provider_message_id": "old"}', $$SELECT ingest('sms', event('a'))$$),
    ('event_log', 'INSERT', '{"tenant_id": "t"}', $$SELECT ingest('sms', event('a'))$$),
    ('event_queue', 'INSERT', NULL, $$SELECT ingest('sms', event('a'))$$),
    ('event_queue', 'INSERT', '{"next_attempt_at": "infinity"}', $$SELECT ingest('sms', event('a'))$$),
    ('event_queue', 'INSERT', '{"lane": 64}', $$SELECT ingest('sms', event('a'))$$),
    ('idempotency_keys', 'INSERT', NULL, $$SELECT ingest('sms', event('a'), 'key')$$),
    ('idempotency_keys', 'INSERT', '{"key": "other"}', $$SELECT ingest('sms', event('a'), 'key')$$),
    ('idempotency_keys', 'INSERT', '{"expires_at": null}', $$SELECT ingest('sms', event('a'), 'key')$$),
    ('idempotency_keys', 'INSERT', NULL, $$SELECT send('sms', event('a'))$$),
    ('idempotency_keys', 'INSERT', '{"result_id": "00000000-0000-0000-0000-000000000000"}',
     $$SELECT send('sms', event('a'))$$),
    ('messages', 'INSERT', NULL, $$SELECT send('sms', event('a'))$$),
    ('messages', 'INSERT', '{"body": "changed"}', $$SELECT send('sms', event('a'))$$),
    ('messages', 'INSERT', '{"conversation_id": "00000000-0000-0000-0000-000000000000"}',
     $$SELECT send('sms', event('a'))$$),
    ('conversation_rows', 'INSERT', NULL, $$SELECT send('sms', event('a', '+15550000002'))$$),
    ('conversation_rows', 'INSERT', '{"id": "00000000-0000-0000-0000-000000000000"}',
     $$SELECT send('sms', event('a', '+15550000002'))$$),
    ('conversation_rows', 'INSERT', '{"participant_b": "+15550000003", "key": "sms:+15550000002<->+15550000003"}',
     $$SELECT send('sms', event('a', '+15550000002'))$$),
    ('conversation_changes', 'INSERT', NULL, $$SELECT send('sms', event('a'))$$),
    ('conversation_changes', 'INSERT', '{"tenant_id": "t"}', $$SELECT send('sms', event('a'))$$),
    ('outbox', 'INSERT', NULL, $$SELECT send('sms', event('a'))$$),
    ('outbox', 'INSERT', '{"next_attempt_at": "infinity"}', $$SELECT send('sms', event('a'))$$),
    ('outbound_payloads', 'INSERT', NULL, $$SELECT send('sms', event('a'))$$),
    ('stream_events', 'INSERT', NULL, $$SELECT append('s-1', 'x', '{}')$$),
    ('stream_events', 'INSERT', NULL, $$SELECT append('s-1', 'x', '{}', 1)$$),
    ('stream_events', 'INSERT', NULL, $$SELECT append_batch('[{"stream": "s-1", "type": "x", "data": {}}]')$$),
    ('event_claims', 'INSERT', NULL,
     $$SELECT ingest('sms', event('a')); SELECT claim('p')$$),
    ('event_queue', 'UPDATE', NULL,
     $$SELECT ingest('sms', event('a')); SELECT claim('p')$$)
) AS c (relation, operation, changes, statement);

-- All triggers that may have done it are named, and what to do.
BEGIN;
CREATE TRIGGER a BEFORE INSERT ON event_log FOR EACH ROW EXECUTE FUNCTION alter_row();
CREATE TRIGGER b BEFORE INSERT OR UPDATE ON event_log FOR EACH ROW EXECUTE FUNCTION alter_row('{"channel": "x"}');
CREATE TRIGGER c BEFORE INSERT ON event_log FOR EACH STATEMENT EXECUTE FUNCTION alter_row();
CREATE TRIGGER d AFTER INSERT ON event_log FOR EACH ROW EXECUTE FUNCTION alter_row();
CREATE TRIGGER e BEFORE INSERT ON event_log FOR EACH ROW EXECUTE FUNCTION alter_row();
ALTER TABLE event_log DISABLE TRIGGER e;
SELECT ingest('sms', event('a'));
ROLLBACK;
-- The server refuses rules that the rows would be lost in.
BEGIN;
CREATE RULE lose AS ON INSERT TO messages DO INSTEAD NOTHING;
SELECT send('sms', event('a'));
ROLLBACK;

-- In the worker the event fails, is retried, and ends in the dead letters.
SET msgstore.max_retries = 1;
SET msgstore.backoff_base = '1ms';
CREATE FUNCTION public.process_until_dead() RETURNS TABLE (status text, attempts int, error text)
LANGUAGE plpgsql AS $$
BEGIN
    FOR n IN 1..3 LOOP
        PERFORM msgstore.process();
        PERFORM pg_sleep(0.01);
    END LOOP;
    RETURN QUERY
    SELECT e.status, e.attempt_count, concat_ws(' ', e.error_code, e.error_message)
    FROM msgstore.inbound_events e WHERE e.provider_message_id = 'poison';
END
$$;
SELECT ingest('sms', event('poison')) IS NOT NULL AS stored;
CREATE TRIGGER meddle BEFORE INSERT ON messages FOR EACH ROW
    WHEN (NEW.provider_message_id = 'poison') EXECUTE FUNCTION alter_row();
SELECT ingest('sms', event('good')) IS NOT NULL AS stored;
SELECT * FROM process_until_dead();
SELECT provider_message_id, status FROM inbound_events ORDER BY id;
DROP TRIGGER meddle ON messages;
SELECT requeue_dead_letters();
CREATE TRIGGER meddle BEFORE INSERT ON messages FOR EACH ROW
    WHEN (NEW.provider_message_id = 'poison')
    EXECUTE FUNCTION alter_row('{"direction": "outbound", "inbound_event_id": null}');
SELECT * FROM process_until_dead();
DROP TRIGGER meddle ON messages;
SELECT requeue_dead_letters();
CREATE TRIGGER meddle BEFORE INSERT ON conversation_changes FOR EACH ROW EXECUTE FUNCTION alter_row();
SELECT * FROM process_until_dead();
DROP TRIGGER meddle ON conversation_changes;
SELECT requeue_dead_letters();
-- What the failure itself needs cannot be written: the call fails, and nothing is lost.
SELECT t.relation, with_trigger(t.relation, t.operation, NULL,
    'CREATE TRIGGER fail BEFORE INSERT ON msgstore.messages FOR EACH ROW EXECUTE FUNCTION alter_row();
     SELECT msgstore.process(); SELECT pg_sleep(0.01); SELECT msgstore.process()')
FROM (VALUES ('event_queue', 'DELETE'), ('event_queue', 'UPDATE'),
    ('event_failures', 'INSERT'), ('event_failures', 'UPDATE'), ('dead_letters', 'INSERT')) AS t (relation, operation);
SELECT process();
SELECT finding, subject FROM msgstore.check();

-- Triggers that leave the extension's columns alone are welcome: audit, checks,
-- columns of one's own; likewise deferrable and foreign keys.
ALTER TABLE messages ADD COLUMN note text;
CREATE TRIGGER note BEFORE INSERT ON messages FOR EACH ROW EXECUTE FUNCTION alter_row('{"note": "seen"}');
CREATE TRIGGER pass BEFORE INSERT ON conversation_rows FOR EACH ROW EXECUTE FUNCTION alter_row('{}');
CREATE TRIGGER pass BEFORE INSERT OR UPDATE ON event_queue FOR EACH ROW EXECUTE FUNCTION alter_row('{}');
CREATE TRIGGER pass BEFORE INSERT ON idempotency_keys FOR EACH ROW EXECUTE FUNCTION alter_row('{}');
ALTER TABLE event_log ADD CONSTRAINT one UNIQUE (tenant_id, id, channel) DEFERRABLE;
ALTER TABLE messages ADD CONSTRAINT two UNIQUE (tenant_id, id, channel) DEFERRABLE INITIALLY DEFERRED;
SELECT duplicate FROM ingest('sms', event('b'), 'k');
SELECT duplicate FROM ingest('sms', event('b'), 'k');
SELECT duplicate FROM send('sms', event('b'));
SELECT process();
SELECT direction, note FROM messages WHERE provider_message_id = 'b' OR direction = 'outbound';
SELECT finding, subject FROM msgstore.check() WHERE finding <> 'missing object';
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT duplicate FROM ingest('sms', event('c'));
SELECT duplicate FROM ingest('sms', event('c'));
SELECT process();
COMMIT;

-- A session that has stored rows uses the indexes that the table has now.
SELECT append('s-2', 'x', '{}'), (SELECT version FROM append_batch('[{"stream": "s-2", "type": "x", "data": {}}]'));
BEGIN;
CREATE INDEX late ON stream_events (created_by);
SELECT append('s-2', 'x', '{}', created_by => 'undone');
ROLLBACK;
CREATE INDEX late ON stream_events (created_by) WHERE created_by <> 'nobody';
SELECT append('s-2', 'x', '{}', created_by => 'me'),
    (SELECT version FROM append_batch('[{"stream": "s-2", "type": "x", "data": {}, "created_by": "me"}]'));
REINDEX INDEX CONCURRENTLY late;
SELECT append('s-2', 'x', '{}', created_by => 'me');
SET enable_seqscan = off;
EXPLAIN (COSTS OFF) SELECT FROM stream_events WHERE created_by = 'me' AND created_by <> 'nobody';
SELECT count(*) FROM stream_events WHERE created_by = 'me' AND created_by <> 'nobody';
RESET enable_seqscan;
DROP INDEX late;
-- A unique index of one's own refuses an event, and is not tried again.
CREATE UNIQUE INDEX late ON stream_events (tenant_id, created_by) WHERE version < 3;
SELECT append('s-3', 'x', '{}', created_by => 'me');
SELECT append('s-4', 'x', '{}', created_by => 'me');
SELECT * FROM append_batch('[{"stream": "s-4", "type": "x", "data": {}, "created_by": "me"}]');
DROP INDEX late;
\set VERBOSITY terse
ALTER TABLE stream_events ADD CONSTRAINT polite CHECK (type <> 'rude');
SELECT append('s-2', 'rude', '{}');
SELECT * FROM append_batch('[{"stream": "s-3", "type": "rude", "data": {}}]');
ALTER TABLE stream_events DROP CONSTRAINT polite;
SELECT append('s-2', 'rude', '{}');
\set VERBOSITY default

-- A trigger that keeps rows from being deleted does not make a purge endless.
CREATE TRIGGER keep BEFORE DELETE ON event_log FOR EACH ROW EXECUTE FUNCTION alter_row();
SELECT * FROM purge('0');
DROP TRIGGER keep ON event_log;

-- A partition takes only the rows that its bounds allow.
TRUNCATE outbound_payloads;
CREATE TABLE public.whole (LIKE outbound_payloads INCLUDING ALL) PARTITION BY LIST (tenant_id);
ALTER TABLE public.whole ATTACH PARTITION outbound_payloads FOR VALUES IN ('t');
\set VERBOSITY terse
SELECT send('sms', event('d'));
\set VERBOSITY default
SET msgstore.tenant_id = 't';
SELECT duplicate FROM send('sms', event('d'));
RESET msgstore.tenant_id;
ALTER TABLE public.whole DETACH PARTITION outbound_payloads;

-- A published queue without a replica identity: the server's own error.
-- The text of the warning about wal_level depends on the version.
SET client_min_messages = error;
CREATE PUBLICATION everything FOR ALL TABLES;
RESET client_min_messages;
ALTER TABLE event_queue REPLICA IDENTITY NOTHING;
DROP TRIGGER pass ON event_queue;
SELECT duplicate FROM ingest('sms', event('e'));
SELECT process();
ALTER TABLE event_queue REPLICA IDENTITY DEFAULT;
SELECT process();
DROP PUBLICATION everything;

-- A deferred trigger fails with the event of its message, and not with the commit
-- of a whole batch.
CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.body = 'Hello refused' THEN
        RAISE 'refused later';
    END IF;
    RETURN NULL;
END
$$;
CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON messages DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION public.refuse();
SELECT count(*) FROM unnest('{f,refused,g}'::text[]) AS id, ingest('sms', event(id));
SELECT process();
SELECT l.provider_message_id, m.id IS NOT NULL AS processed, f.error_code, f.error_message
FROM event_log l
LEFT JOIN messages m ON m.tenant_id = l.tenant_id AND m.id = l.id
LEFT JOIN event_failures f ON f.tenant_id = l.tenant_id AND f.event_id = l.id
WHERE l.provider_message_id IN ('f', 'refused', 'g') ORDER BY 1;
DROP TRIGGER refuse ON messages;

SET client_min_messages = warning;
DROP EXTENSION msgstore CASCADE;
DROP TABLE public.whole;
DROP FUNCTION public.event, public.alter_row, public.refuse, public.with_trigger, public.process_until_dead;
