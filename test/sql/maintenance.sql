CREATE EXTENSION msgstore;
SET search_path = msgstore, public;
SET client_min_messages = warning;
SET timezone = 'UTC';
SET datestyle = 'ISO';
CREATE FUNCTION public.put(id text, changes jsonb DEFAULT '{}', channel text DEFAULT 'sms') RETURNS uuid LANGUAGE sql AS
$$ SELECT event_id FROM msgstore.ingest(channel, jsonb_strip_nulls(jsonb_build_object(
    'from', '+15550001', 'to', '+15550002', 'messaging_provider_id', id, 'xillio_id', id, 'body', 'Hello',
    'timestamp', '2024-11-01T14:00:00Z') || changes)) $$;
CREATE FUNCTION public.event(name text) RETURNS uuid LANGUAGE sql AS
$$ SELECT id FROM msgstore.event_log WHERE provider_message_id = name $$;
CREATE FUNCTION public.refused(command text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE detail text;
BEGIN
    EXECUTE command;
    RETURN 'not refused';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
    RETURN concat_ws(' | ', SQLSTATE, SQLERRM, nullif(detail, ''));
END $$;
-- Difference between the gauges of metrics() and the tables. recounted() first
-- corrects the gauges after the test changed the tables itself.
CREATE FUNCTION public.gauges(OUT queued bigint, OUT dead bigint) LANGUAGE sql AS
$$ SELECT (m ->> 'worker_queued')::bigint - (SELECT count(*) FROM msgstore.event_queue),
    (m ->> 'dead_letters')::bigint - (SELECT count(*) FROM msgstore.dead_letters) FROM msgstore.metrics() m $$;
CREATE FUNCTION public.recounted(OUT queued bigint, OUT dead bigint) LANGUAGE sql AS
$$ SELECT msgstore.recount(); SELECT * FROM public.gauges() $$;
\getenv directory PG_ABS_SRCDIR
\set functions :directory '/backdate.sql'
\i :functions
-- A digest of everything that is stored.
CREATE FUNCTION public.content() RETURNS text LANGUAGE sql AS $$
SELECT md5(coalesce(string_agg(t, E'\n' ORDER BY t), '')) FROM (
    SELECT (m.*)::text AS t FROM msgstore.messages m
    UNION ALL SELECT (c.*)::text FROM msgstore.conversations c
    UNION ALL SELECT (l.*)::text FROM msgstore.event_log l
    UNION ALL SELECT (q.*)::text FROM msgstore.event_queue q
    UNION ALL SELECT (d.*)::text FROM msgstore.dead_letters d
    UNION ALL SELECT (o.*)::text FROM msgstore.operations_log o) all_of_it $$;
CREATE VIEW public.talks AS
SELECT key, message_count, last_activity_at FROM msgstore.conversations ORDER BY key;

--
-- replay
--
SELECT count(put('m-' || n, jsonb_build_object('timestamp', format('2024-11-01T14:0%s:00Z', n)))) FROM generate_series(1, 3) n;
SELECT put('other', '{"from": "+15550003"}') IS NOT NULL;
SELECT put('mail', '{"from": "Ann <ann+shop@x.io>", "to": "desk@x.io", "attachments": ["https://x.io/1"]}', 'email') IS NOT NULL;
SELECT duplicate FROM send('sms', '{"from": "+15550002", "to": "+15550001", "body": "Reply", "timestamp": "2024-11-01T15:00:00Z"}');
SELECT process();
SELECT content() AS before \gset

-- When nothing is wrong, replay changes nothing and logs nothing.
SELECT * FROM replay();
SELECT content() = :'before' AS same;

-- Replay corrects wrong messages under the same ids and adds lost ones. It moves
-- a message to its right conversation and removes a conversation left empty.
UPDATE messages SET body = 'wrong', attachments = '["x"]' WHERE provider_message_id = 'm-1';
UPDATE messages SET "timestamp" = '2030-01-01' WHERE provider_message_id = 'm-2';
DELETE FROM messages WHERE provider_message_id = 'm-3';
SELECT _recount_conversations(array_agg(tenant_id), array_agg(id)) FROM conversations;
UPDATE messages SET "from" = '+1999', conversation_key = 'sms:+15550002<->+1999' WHERE provider_message_id = 'other';
UPDATE conversation_rows SET participant_a = '+15550002', participant_b = '+1999', key = 'sms:+15550002<->+1999'
WHERE key = 'sms:+15550002<->+15550003';
SELECT * FROM talks;
SELECT content() AS broken \gset
SELECT * FROM replay(dry_run => true);
SELECT content() = :'broken' AS dry_run_wrote_nothing;
SELECT * FROM replay();
SELECT * FROM talks;
SELECT provider_message_id, m.id = event(provider_message_id) AS same_id, body, attachments, "from", "timestamp"
FROM messages m WHERE direction = 'inbound' ORDER BY 1;
SELECT operation, filter, event_count, event_ids @> ARRAY[event('m-3')] AS named FROM operations_log;
SELECT * FROM replay();
SELECT * FROM msgstore.check();

-- Addresses are normalized again after the address kind of the channel changed.
SELECT content() AS before \gset
UPDATE channels SET address_kind = 'opaque' WHERE name = 'email';
SELECT * FROM replay('{"channel": "email"}');
SELECT key FROM talks WHERE key LIKE 'email%';
SELECT "from" FROM event_log WHERE channel = 'email';
UPDATE channels SET address_kind = 'email' WHERE name = 'email';
SELECT * FROM replay('{"channel": "email"}');
SELECT key FROM talks WHERE key LIKE 'email%';

-- The logged address is used when the payload has no valid one.
UPDATE event_log SET payload = payload - 'from' || '{"to": " <-> "}' WHERE provider_message_id = 'm-1';
SELECT * FROM replay();
-- Conversations merge and split when the threads of channels change.
SELECT put('mms', '{"type": "mms", "attachments": ["https://x.io/2"]}') IS NOT NULL, process();
UPDATE channels SET thread = 'sms' WHERE name = 'mms';
SELECT * FROM replay();
SELECT * FROM talks;
UPDATE channels SET thread = 'mms' WHERE name = 'mms';
SELECT * FROM replay();
SELECT * FROM talks;

-- Filters: channel, time, event ids, conversation by id or number.
SELECT backdate('m-1', '2024-11-05'), backdate('m-2', '2024-11-06') \g /dev/null
SELECT f, (replay(f, true)).events FROM unnest(ARRAY[
    '{}', '{"channel": "email"}', '{"channel": "sms"}',
    '{"created_from": "2024-11-05", "created_until": "2024-11-06"}',
    '{"created_until": "2024-11-06T00:00:01Z"}',
    '{"event_ids": []}',
    '{"conversation": 1}', '{"conversation": "1", "channel": "email"}']::jsonb[]) f;
SELECT (replay(jsonb_build_object('event_ids', jsonb_build_array(event('m-1'), event('mail'), uuid7())), true)).events;
SELECT (replay(jsonb_build_object('conversation', (SELECT id FROM conversations WHERE number = 1)), true)).events;
SELECT f, refused(format('SELECT msgstore.replay(%L)', f)) FROM unnest(ARRAY[
    '[]', 'null', '{"chanel": "sms"}', '{"channel": "fax"}', '{"channel": null}', '{"created_from": "yesterday noon"}',
    '{"created_until": {}}', '{"created_until": null}', '{"event_ids": "x"}', '{"event_ids": ["x"]}',
    '{"conversation": "99"}', '{"conversation": "x"}']) f;
SELECT refused('SELECT msgstore.replay(NULL)');

-- Replay skips events that are queued, dead letters, of a removed channel, or
-- purged.
SELECT put('queued') IS NOT NULL, put('dead') IS NOT NULL;
SELECT count(_keep_failure('', event('dead'), 'inbound', 'E1', 'no', permanent => true));
INSERT INTO channels (name, address_kind, thread) VALUES ('fax', 'opaque', 'fax');
SELECT put('fax', channel => 'fax') IS NOT NULL;
UPDATE event_queue SET next_attempt_at = 'infinity' WHERE event_id = event('queued');
SELECT process();
DELETE FROM channels WHERE name = 'fax';
UPDATE event_log SET payload = '{}' WHERE provider_message_id = 'other';
SELECT content() AS before \gset
SELECT * FROM replay();
SELECT content() = :'before' AS same;
UPDATE event_queue SET next_attempt_at = NULL;
SELECT process(), requeue(event('dead')), process();
SELECT * FROM msgstore.check();

-- A replay of several batches changes each message once.
SELECT count(put('many-' || n, jsonb_build_object('from', '+1777' || n % 50))) FROM generate_series(1, 2500) n;
SELECT process();
UPDATE messages SET body = 'wrong' WHERE provider_message_id LIKE 'many-%';
SELECT * FROM replay();
SELECT * FROM replay();
SELECT count(*) FROM messages WHERE body = 'wrong';
SELECT event_count, cardinality(event_ids) FROM operations_log ORDER BY id DESC LIMIT 1;

-- A tenant replays only its own events.
SET msgstore.tenant_id = 'acme';
SELECT put('acme-1') IS NOT NULL;
SET msgstore.tenant_id = '';
SELECT process();
UPDATE messages SET body = 'wrong' WHERE provider_message_id IN ('acme-1', 'm-1');
SET msgstore.tenant_id = 'acme';
SELECT * FROM replay();
SET msgstore.tenant_id = '';
SELECT * FROM replay();
SELECT tenant_id, event_count FROM operations_log ORDER BY id DESC LIMIT 2;
SELECT * FROM msgstore.check();
DROP VIEW talks;
DROP EXTENSION msgstore;

--
-- purge
--
CREATE EXTENSION msgstore;
CREATE VIEW public.kept AS
SELECT provider_message_id, status, payload = '{}' AS emptied FROM msgstore.inbound_events;
-- Old and new events in each state: processed, processed after a failure,
-- waiting, claimed, dead letter.
SELECT count(put(age || '-' || what)) FROM unnest('{old,new}'::text[]) age, unnest('{done,dead,retried}'::text[]) what;
SELECT count(_keep_failure('', event(age || '-retried'), 'inbound', 'E1', 'no', wait => interval '0')) FROM unnest('{old,new}'::text[]) age;
SELECT count(_keep_failure('', event(age || '-dead'), 'inbound', 'E1', 'no', permanent => true)) FROM unnest('{old,new}'::text[]) age;
SELECT process();
SELECT count(put(age || '-' || what)) FROM unnest('{old,new}'::text[]) age, unnest('{waiting,claimed}'::text[]) what;
INSERT INTO event_claims SELECT '', id, 'p1', now(), now(), now() + interval '1 h' FROM event_log WHERE provider_message_id LIKE '%claimed';
UPDATE event_queue SET next_attempt_at = 'infinity' WHERE event_id IN (SELECT event_id FROM event_claims);
SELECT backdate('old-%', now() - interval '40 days') \g /dev/null
UPDATE dead_letters SET died_at = now() - interval '40 days' WHERE event_id = event('old-dead');
INSERT INTO deliveries (tenant_id, channel, provider_message_id, message_id, status, status_at)
VALUES ('', 'sms', 'known', uuid7(), 'sent', now()), ('', 'sms', 'unknown', NULL, 'sent', now());
INSERT INTO delivery_statuses (tenant_id, channel, provider_message_id, status, received_at)
VALUES ('', 'sms', 'known', 'sent', now() - interval '40 days'), ('', 'sms', 'known', 'read', now()),
    ('', 'sms', 'unknown', 'sent', now() - interval '40 days');

-- Purge removes nothing that is too young, and nothing in a dry run.
SELECT content() AS before \gset
SELECT * FROM purge('50 days', kinds => '{payloads,events,dead_letters}');
SELECT * FROM purge('30 days', true, '{payloads,events,dead_letters}');
SELECT content() = :'before' AS same;

-- Purging payloads keeps the events, so that duplicates are still detected.
SELECT * FROM purge('30 days', kinds => '{payloads}');
SELECT * FROM purge('30 days', kinds => '{payloads}');
SELECT * FROM kept ORDER BY 1;
SELECT duplicate FROM ingest('sms', '{"from": "+15550001", "to": "+15550002", "messaging_provider_id": "old-done",
    "body": "Hello", "timestamp": "2024-11-01T14:00:00Z"}');
SELECT * FROM replay();

-- Purging events and dead letters keeps queued and claimed events, and all
-- messages.
SELECT * FROM purge('30 days');
SELECT * FROM kept ORDER BY 1;
SELECT provider_message_id FROM messages ORDER BY 1;
SELECT count(*) AS failures FROM event_failures;
SELECT provider_message_id, count(s.id) AS callbacks FROM deliveries LEFT JOIN delivery_statuses s USING (tenant_id, channel, provider_message_id) GROUP BY 1;
DELETE FROM deliveries;
DELETE FROM delivery_statuses;
SELECT * FROM purge('30 days');
SELECT operation, filter, event_count, event_ids FROM operations_log ORDER BY id;
-- Old events wait on.
SELECT finding, subject FROM msgstore.check();

-- Invalid arguments are refused.
SELECT refused(c) FROM unnest(ARRAY[
    $$SELECT msgstore.purge(NULL)$$, $$SELECT msgstore.purge('-1 day')$$,
    $$SELECT msgstore.purge('1 day', kinds => '{events,messages}')$$,
    $$SELECT msgstore.purge('1 day', kinds => '{NULL}')$$, $$SELECT msgstore.purge('1 day', kinds => NULL)$$]) c;
SELECT * FROM purge('1 day', kinds => '{}');

-- A tenant purges only its own events.
SET msgstore.tenant_id = 'acme';
SELECT put('acme-1') IS NOT NULL;
SET msgstore.tenant_id = '';
SELECT process();
SET msgstore.tenant_id = 'acme';
SELECT * FROM purge('0', true);
SELECT * FROM purge('0');
SET msgstore.tenant_id = '';
SELECT provider_message_id FROM kept WHERE status = 'processed' ORDER BY 1;
DROP VIEW kept;
DROP EXTENSION msgstore;

-- Each batch of the worker continues where the last one ended, also among events
-- of the same transaction.
CREATE EXTENSION msgstore;
SELECT count(put('p-' || n)) FROM generate_series(1, 10) n;
SELECT _keep_failure('', event('p-3'), 'inbound', 'E1', 'no', permanent => true) IS NOT NULL;
UPDATE event_queue SET next_attempt_at = 'infinity' WHERE event_id = event('p-5');
SELECT process();
SELECT (_purge_batch('payloads', now(), 4)).* FROM generate_series(1, 4);
SELECT provider_message_id FROM event_log WHERE payload <> '{}' ORDER BY 1;
SELECT kind, count(*) FROM purge_skipped GROUP BY 1;
-- An event that was queued is purged after it was processed, not before.
SELECT (_purge_batch('payloads', now(), 4)).*;
UPDATE event_queue SET next_attempt_at = now();
SELECT requeue(event('p-3')), process();
SELECT (_purge_batch('payloads', now(), 4)).*;
SELECT count(*) FROM event_log WHERE payload <> '{}';
SELECT count(*) FROM purge_skipped;
-- Batches of another kind scan the log from its beginning.
SELECT (_purge_batch('events', now(), 4)).* FROM generate_series(1, 4);
SELECT count(*) AS events, (SELECT count(*) FROM messages) AS messages FROM event_log;
SELECT count(put('q-' || n)) FROM generate_series(1, 3) n;
SELECT count(_keep_failure('', event('q-' || n), 'inbound', 'E1', 'no', permanent => true)) FROM generate_series(1, 3) n;
SELECT * FROM recounted();
SELECT (_purge_batch('dead_letters', now(), 2)).* FROM generate_series(1, 2);
SELECT * FROM gauges();
SELECT count(*) FROM event_log;
SELECT count(*) AS on_record FROM operations_log WHERE operation = 'purge';

-- The payloads of outbound messages are purged with those of events, or with the
-- events themselves, unless the message waits to be sent or is a dead letter.
CREATE FUNCTION public.written(body text) RETURNS uuid LANGUAGE sql AS
$$ SELECT message_id FROM msgstore.send('sms', jsonb_build_object('from', '+15550002', 'to', '+15550001',
    'body', body, 'timestamp', '2024-11-01T14:00:00Z')) $$;
CREATE VIEW public.payloads AS
SELECT payload ->> 'body' AS body FROM msgstore.outbound_payloads ORDER BY 1;
SELECT count(written(what || n)) FROM generate_series(1, 2) n, unnest('{sent,dead,wait,lease}'::text[]) what;
SELECT count(sent(id, body)) FROM messages WHERE body LIKE 'sent%';
SELECT count(send_failed(id, 'E', 'no', permanent => true)) FROM messages WHERE body LIKE 'dead%' AND direction = 'outbound';
UPDATE outbox o SET sender_id = 's', next_attempt_at = now() + interval '1 hour' FROM messages m
WHERE m.id = o.message_id AND m.body LIKE 'lease%';
SELECT * FROM purge('1 hour', kinds => '{payloads,events}');
SELECT * FROM purge('0', true, '{payloads}');
BEGIN;
SELECT * FROM purge('0', kinds => '{events}');
TABLE payloads;
ROLLBACK;
SET msgstore.tenant_id = 'acme';
SELECT written('acme') IS NOT NULL AS acme, * FROM purge('0', kinds => '{payloads}');
SELECT count(sent(id, 'acme')) FROM messages WHERE body = 'acme';
SELECT * FROM purge('0', kinds => '{payloads}');
SET msgstore.tenant_id = '';
TABLE payloads;
SELECT (_purge_batch('outbound_payloads', now(), 3)).* FROM generate_series(1, 4);
TABLE payloads;
SELECT kind, count(*) FROM purge_skipped WHERE kind = 'outbound_payloads' GROUP BY 1;
-- Later, one is sent, another one expires and is requeued, and one dead letter is gone.
SELECT sent(id, 'late') FROM messages WHERE body = 'wait1';
SELECT requeue(id) FROM messages WHERE body = 'dead1' AND direction = 'outbound';
SELECT * FROM purge('0', kinds => '{dead_letters}');
SELECT (_purge_batch('outbound_payloads', now(), 3)).removed FROM generate_series(1, 3);
TABLE payloads;
SELECT kind, count(*) FROM purge_skipped WHERE kind = 'outbound_payloads' GROUP BY 1;
SELECT _next_purge('outbound_payloads', '1 day') BETWEEN now() + interval '59 min' AND now() + interval '61 min' AS rechecked;
SELECT count(written('new-' || n)) FROM generate_series(1, 2) n;
SELECT _next_purge('outbound_payloads', '1 min') BETWEEN now() AND now() + interval '1 min' AS when_it_is_old;
SELECT _time_of_uuid7(_least_uuid7(t)) FROM unnest('{2024-11-01 14:00:00.123456+00,1900-01-01 00:00:00+00,-infinity}'::timestamptz[]) t;
SELECT now() - _time_of_uuid7(uuid7()) < interval '1 min' AS recent;
DROP VIEW payloads;
DROP FUNCTION written;

DROP EXTENSION msgstore;

-- A pass goes through all tenants, also those without old events, and the next
-- one starts where it ended. A new age counts at once.
CREATE EXTENSION msgstore;
CREATE VIEW public.logged AS
SELECT tenant_id, string_agg(provider_message_id, ' ' ORDER BY id) AS events FROM msgstore.event_log GROUP BY 1 ORDER BY 1;
CREATE FUNCTION public.batches(before timestamptz, most int) RETURNS SETOF int LANGUAGE plpgsql AS $$
DECLARE batch record;
BEGIN
    LOOP
        SELECT * INTO batch FROM msgstore._purge_batch('events', before, most);
        RETURN NEXT batch.removed;
        EXIT WHEN NOT batch.more;
    END LOOP;
END $$;
SELECT count(set_config('msgstore.tenant_id', t, false)) + count(put(t || n)) AS events
FROM unnest('{a,b,c}'::text[]) t, generate_series(1, 5) n;
SET msgstore.tenant_id = '';
SELECT process();
SELECT count(backdate(id, at::timestamptz)) FROM (VALUES ('a1', '2024-11-01'), ('a2', '2024-11-03'), ('a3', '2024-11-05'),
    ('c1', '2024-11-02'), ('c2', '2024-11-03'), ('c3', '2024-11-04')) e (id, at);
SELECT removed, more FROM _purge_batch('events', '2024-11-03', 1);
SELECT * FROM batches('2024-11-03', 1);
TABLE logged;
SELECT _time_of_uuid7(next_id), scanned_before, pass_before, walked_tenant FROM purge_progress;
SELECT _next_purge('events', '1 day');
-- In the middle of a pass, with c2 purged, the age becomes longer again.
SELECT removed, more FROM _purge_batch('events', '2024-11-06', 1);
SELECT * FROM batches('2024-11-03T12:00:00Z', 1);
TABLE logged;
SELECT * FROM batches('2024-11-06', 3);
TABLE logged;
SELECT * FROM batches('2024-11-06', 3);
-- Two tenants are old at once.
SELECT count(backdate(id, at::timestamptz)) FROM (VALUES ('a4', '2024-11-07'), ('b1', '2024-11-08')) e (id, at);
SELECT * FROM purge('0', kinds => '{events}') WHERE kind = 'events';
TABLE logged;
DROP FUNCTION batches;
DROP VIEW logged;

-- Without any age set, the worker's turn does nothing.
SELECT _purge_turn();
DROP EXTENSION msgstore;

--
-- erase_address
--
CREATE EXTENSION msgstore;
CREATE FUNCTION public.erased() RETURNS TABLE (what text, n bigint) LANGUAGE plpgsql AS $$
BEGIN
    FOR what IN SELECT c.relname FROM pg_class c WHERE relnamespace = 'msgstore'::regnamespace AND relkind = 'r' ORDER BY 1 LOOP
        EXECUTE format('SELECT count(*) FROM msgstore.%I t WHERE t::text LIKE ''%%+15550001%%''', what) INTO n;
        IF n > 0 THEN RETURN NEXT; END IF;
    END LOOP;
END $$;
SELECT count(put('gone-' || n)) FROM generate_series(1, 2) n;
SELECT put('gone-3', '{"from": "+15550009", "to": "tel:+1 555 0001"}') IS NOT NULL;
SELECT put('stays', '{"from": "+15550003"}') IS NOT NULL;
SELECT put('mms-stays', '{"type": "mms", "attachments": ["https://x.io/2"]}') IS NOT NULL;
SELECT process();
SELECT message_id AS sent FROM send('sms', '{"from": "+15550002", "to": "+15550001", "body": "Reply", "timestamp": "2024-11-01T15:00:00Z"}', 'key-1') \gset
SELECT message_id AS waiting FROM send('sms', '{"from": "+15550002", "to": "+15550001", "body": "Again", "timestamp": "2024-11-01T15:00:00Z"}') \gset
DELETE FROM outbox;
INSERT INTO outbox (tenant_id, message_id) VALUES ('', :'waiting');
INSERT INTO deliveries (tenant_id, channel, provider_message_id, message_id, status, status_at) VALUES ('', 'sms', 'out-1', :'sent', 'sent', now());
INSERT INTO delivery_statuses (tenant_id, channel, provider_message_id, status, detail, received_at) VALUES ('', 'sms', 'out-1', 'sent', '{"to": "+15550001"}', now());
SELECT put('queued'), put('failed'), put('dead'), put('claimed'), put('line') \g /dev/null
SELECT count(_keep_failure('', event('failed'), 'inbound', 'E1', 'no')), count(_keep_failure('', event('dead'), 'inbound', 'E1', 'no', permanent => true));
INSERT INTO event_claims VALUES ('', event('claimed'), 'p1', now(), now(), now() + interval '1 h');
INSERT INTO conversation_holds VALUES ('', 'sms:+15550001<->+15550002', event('claimed')), ('', 'sms:+15550001<->+15550002', event('line'));
UPDATE event_queue SET next_attempt_at = 'infinity' WHERE event_id IN (event('claimed'), event('line'));
SELECT duplicate FROM ingest('sms', '{"from": "+15550001", "to": "+15550002", "messaging_provider_id": "keyed", "body": "x", "timestamp": "2024-11-01T15:00:00Z"}', 'key-2');
-- An event logged with a different spelling of its address is erased, too.
UPDATE event_log SET "from" = 'odd' WHERE provider_message_id = 'queued';
SET msgstore.tenant_id = 'acme';
SELECT put('acme') IS NOT NULL;
SET msgstore.tenant_id = '';

SELECT c, refused(c) FROM unnest(ARRAY[
    $$SELECT msgstore.erase_address('fax', '+15550001')$$, $$SELECT msgstore.erase_address('sms', ' ')$$,
    $$SELECT msgstore.erase_address('sms', NULL)$$, $$SELECT msgstore.erase_address(NULL, '+15550001')$$]) c;
-- A tenant erases only its own data.
SET msgstore.tenant_id = 'acme';
SELECT * FROM erase_address('sms', '+1 555-0001') WHERE removed > 0;
SET msgstore.tenant_id = '';
SELECT * FROM recounted();
SELECT * FROM erase_address('sms', '+1 555-0001');
-- Only the data of other channels is left.
SELECT * FROM erased();
SELECT provider_message_id, status FROM inbound_events ORDER BY 1;
SELECT key, message_count FROM conversations ORDER BY 1;
SELECT count(*) FROM idempotency_keys;
SELECT operation, filter, event_count, event_ids FROM operations_log ORDER BY id;
SELECT process();
SELECT * FROM erase_address('sms', '+1 555-0001') WHERE removed > 0;
SELECT * FROM msgstore.check();
SELECT * FROM gauges();
-- A message that was stored by older rules is found by its given address.
SELECT put('older', '{"from": "tel:+1-555-0001"}') IS NOT NULL, process();
SELECT duplicate FROM send('sms', '{"from": "+15550002", "to": "sms:+15550001", "body": "x", "timestamp": "2024-11-01T15:00:00Z"}');
UPDATE messages SET "from" = 'tel:older' WHERE provider_message_id = 'older';
UPDATE messages SET "to" = 'sms:older' WHERE direction = 'outbound';
UPDATE event_log SET "from" = 'tel:older' WHERE provider_message_id = 'older';
SELECT * FROM erase_address('sms', '+15550001') WHERE removed > 0;
-- Channels that share a thread are erased together.
UPDATE channels SET thread = 'sms' WHERE name = 'mms';
SELECT put('both') IS NOT NULL, process();
SELECT * FROM erase_address('sms', '+15550001') WHERE removed > 0;
SELECT * FROM erased();
DROP FUNCTION erased;
DROP EXTENSION msgstore;

--
-- check
--
CREATE EXTENSION msgstore;
SELECT count(put('c-' || n, jsonb_build_object('from', '+1777' || n % 3))) FROM generate_series(1, 30) n;
SELECT duplicate FROM send('sms', '{"from": "+15550002", "to": "+17771", "body": "Reply", "timestamp": "2024-11-01T15:00:00Z"}');
SELECT process();
SELECT * FROM msgstore.check();
-- repair() executes every proposed repair and checks again.
CREATE FUNCTION public.found() RETURNS TABLE (finding text, subject text, detail text) LANGUAGE sql AS
$$ SELECT finding, regexp_replace(subject, '[0-9a-f-]{36}', '<id>'), detail FROM msgstore.check() ORDER BY 1, 2, 3 $$;
CREATE FUNCTION public.repair(OUT repaired int, OUT left_over int) LANGUAGE plpgsql AS $$
DECLARE command text;
BEGIN
    repaired := 0;
    FOR command IN SELECT repair FROM msgstore.check() LOOP
        EXECUTE command;
        repaired := repaired + 1;
    END LOOP;
    SELECT count(*) INTO left_over FROM msgstore.check();
END $$;

-- Conversations and messages.
SELECT _merge_changes(1000) > 0 AS merged;
UPDATE conversation_activity SET message_count = 99 WHERE conversation_id = (SELECT id FROM conversations WHERE key LIKE '%+17770');
UPDATE conversation_activity SET last_activity_at = '2030-01-01' WHERE conversation_id = (SELECT id FROM conversations WHERE key LIKE '%+17771');
INSERT INTO conversation_rows (channel, participant_a, participant_b, key) VALUES ('sms', '+1', '+2', 'sms:+1<->+2');
SELECT * FROM found();
SELECT * FROM repair();
DELETE FROM conversation_rows WHERE key LIKE '%+17770';
UPDATE messages SET conversation_id = (SELECT id FROM conversations WHERE key LIKE '%+17771') WHERE provider_message_id = 'c-2';
SELECT finding, count(*) FROM found() GROUP BY 1 ORDER BY 1;
SELECT * FROM repair();
SELECT key, message_count FROM conversations ORDER BY 1;

UPDATE conversation_counts SET n = n + 5;
SELECT * FROM found();
SELECT * FROM repair();
DELETE FROM conversation_counts;
SELECT finding, count(*) FROM found() GROUP BY 1;
SELECT * FROM repair();

-- Events in two places or in none.
INSERT INTO event_queue (tenant_id, event_id) SELECT tenant_id, id FROM event_log WHERE provider_message_id IN ('c-1', 'c-4');
INSERT INTO event_claims VALUES ('', event('c-4'), 'p', now(), now(), now());
INSERT INTO dead_letters SELECT tenant_id, id, 'inbound', 1, 'E1', 'no', now(), '[]' FROM event_log WHERE provider_message_id = 'c-5';
SELECT put('two') \g /dev/null
INSERT INTO dead_letters VALUES ('', event('two'), 'inbound', 1, 'E1', 'no', now(), '[]');
DELETE FROM messages WHERE provider_message_id IN ('c-7', 'c-8');
UPDATE event_log SET payload = '{}' WHERE provider_message_id = 'c-8';
SELECT * FROM found();
SELECT * FROM recounted();
SELECT * FROM repair();
SELECT provider_message_id, status FROM inbound_events WHERE status <> 'processed' ORDER BY 1;
SELECT * FROM gauges();
SELECT process();
SELECT * FROM found();

-- Rows whose event is gone, and an event that is never due.
INSERT INTO event_queue (tenant_id, event_id) VALUES ('', uuid7());
INSERT INTO event_claims VALUES ('', uuid7(), 'p', now(), now(), now());
INSERT INTO event_failures VALUES ('', uuid7(), 1, 'E1', 'no', now(), '[]');
INSERT INTO dead_letters VALUES ('', uuid7(), 'inbound', 1, 'E1', 'no', now(), '[]'), ('', uuid7(), 'outbound', 1, 'E1', 'no', now(), '[]');
SELECT put('w-1'), put('w-2'), put('w-3'), put('w-4') \g /dev/null
UPDATE event_queue SET next_attempt_at = 'infinity' WHERE event_id IN (event('w-1'), event('w-2'), event('w-3'));
INSERT INTO event_claims VALUES ('', event('w-2'), 'p', now(), now(), now() + interval '1 h');
INSERT INTO conversation_holds VALUES ('', 'k', event('w-2')), ('', 'k', event('w-3'));
SELECT * FROM found();
SELECT * FROM repair();
SELECT * FROM recounted();
-- When the first event of a held conversation is gone, the next becomes due.
DELETE FROM event_claims;
DELETE FROM event_queue WHERE event_id = event('w-2');
DELETE FROM event_log WHERE provider_message_id = 'w-2';
SELECT * FROM found();
SELECT * FROM repair();
SELECT process();
DELETE FROM conversation_holds;

-- The outbox.
INSERT INTO outbox (tenant_id, message_id) VALUES ('', uuid7());
INSERT INTO deliveries (tenant_id, channel, provider_message_id, message_id, status, status_at) VALUES ('', 'sms', 'd-1', uuid7(), 'sent', now()), ('', 'sms', 'waits', NULL, 'sent', now());
INSERT INTO delivery_statuses (tenant_id, channel, provider_message_id, status, received_at) VALUES ('', 'sms', 'nobody', 'sent', now()), ('', 'sms', 'waits', 'sent', now());
SELECT message_id AS one FROM send('sms', '{"from": "+15550002", "to": "+17771", "body": "1", "timestamp": "2024-11-01T15:00:00Z"}') \gset
SELECT message_id AS two FROM send('sms', '{"from": "+15550002", "to": "+17771", "body": "2", "timestamp": "2024-11-01T15:00:00Z"}') \gset
INSERT INTO outbox (tenant_id, message_id) VALUES ('', :'one'), ('', :'two') ON CONFLICT DO NOTHING;
INSERT INTO deliveries (tenant_id, channel, provider_message_id, message_id, status, status_at) VALUES ('', 'sms', 'd-2', :'one', 'sent', now());
INSERT INTO dead_letters VALUES ('', :'two', 'outbound', 1, 'E1', 'no', now(), '[]');
SELECT * FROM found();
SELECT * FROM repair();

-- Outbound payloads without their message.
INSERT INTO outbound_payloads VALUES ('', uuid7(), '{}'), ('acme', :'one', '{}'),
    ('', (SELECT id FROM messages WHERE provider_message_id = 'c-1'), '{}');
SELECT * FROM found();
SELECT * FROM repair();

-- Addresses that a channel normalizes differently now; replay repairs inbound
-- messages. What is not a single address now keeps its identity.
SELECT count(put(a, jsonb_build_object('from', a, 'subject', 's'), 'email')) FROM unnest('{Ann+a@x.io,ann+b@x.io,<ann@x.io>,bob@x.io}'::text[]) a;
SELECT process();
SELECT count(*) FROM unnest('{Ann+a@x.io,ann@x.io,Bob <bob@x.io>}'::text[]) a,
    send('email', jsonb_build_object('from', '+15550002', 'to', a, 'body', a, 'timestamp', '2024-11-01T15:00:00Z') || '{"from": "desk@x.io"}');
SELECT count(*) FROM msgstore.check();
CREATE VIEW public.identities AS
SELECT direction, coalesce(m.from_given, m."from") AS from_given, m."from", coalesce(m.to_given, m."to") AS to_given, m."to",
    c.key = m.conversation_key AS right_key
FROM messages m JOIN conversations c ON c.id = m.conversation_id WHERE m.channel = 'email' ORDER BY 1, 2, 4;
TABLE identities;
UPDATE channels SET plus_tags = 'keep' WHERE name = 'email';
SELECT * FROM found();
SELECT regexp_replace(repair, '[0-9a-f-]{36}', '<id>') FROM msgstore.check();
SELECT * FROM replay('{"channel": "email"}');
SELECT * FROM repair();
TABLE identities;
UPDATE channels SET address_kind = 'opaque' WHERE name = 'email';
SELECT count(*) FROM found();
-- Without a payload, too.
UPDATE event_log SET payload = '{}' WHERE provider_message_id = 'ann+b@x.io';
SELECT DISTINCT regexp_replace(repair, '[0-9a-f-]{36}', '<id>') FROM msgstore.check();
SELECT * FROM repair();
TABLE identities;
SELECT count(*) FROM messages WHERE "from" = from_given OR "to" = to_given;
SELECT * FROM replay();
UPDATE channels SET address_kind = 'email', plus_tags = 'strip' WHERE name = 'email';
SELECT * FROM repair();
TABLE identities;
UPDATE messages SET "from" = 'a, b', from_given = 'a@x.io, b@x.io', conversation_key = 'email:a, b<->+15550002' WHERE provider_message_id = 'bob@x.io';
SELECT count(*) FROM msgstore.check() WHERE finding = 'outdated address';
SELECT * FROM replay('{"channel": "email"}');
SELECT * FROM found();
DROP VIEW identities;

-- A sequence that is behind its column, as after a restore.
SELECT setval('conversations_number_seq', 1, false) \g /dev/null
SELECT * FROM found();
SELECT * FROM repair();
SELECT nextval('conversations_number_seq') > max(number) AS ahead FROM conversations;

-- Handlers that cannot run: function, privilege or role is missing.
CREATE ROLE maintenance_user;
GRANT USAGE ON SCHEMA msgstore TO maintenance_user;
CREATE FUNCTION public.handler(messages) RETURNS void LANGUAGE sql AS '';
CREATE FUNCTION public.dropped(messages) RETURNS void LANGUAGE sql AS '';
SELECT add_handler('sms', 'public.handler'), add_handler('sms', 'public.dropped'), add_handler('email', 'public.handler');
INSERT INTO handlers SELECT 'mms', handler, 'maintenance_user', search_path FROM handlers WHERE channel = 'email';
SELECT * FROM found();
UPDATE handlers SET registered_by = 4000000000::oid::regrole WHERE channel = 'email';
REVOKE ALL ON FUNCTION public.handler FROM PUBLIC;
DROP FUNCTION public.dropped;
SELECT * FROM found();
SELECT * FROM repair();
SELECT channel, handler FROM handlers ORDER BY 1;
DELETE FROM handlers;
DROP FUNCTION public.handler;
DROP OWNED BY maintenance_user;
DROP ROLE maintenance_user;

-- Missing objects: those that a plain DROP removes, and members of the extension.
DROP INDEX messages_timestamp_idx;
ALTER TABLE messages DROP CONSTRAINT messages_inbound_event;
ALTER TABLE conversation_rows DROP CONSTRAINT conversation_rows_key_parts;
DROP TRIGGER keep_operations ON operations_log;
UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'event_queue_retry_idx'::regclass;
CREATE INDEX left_behind ON messages (body);
UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'left_behind'::regclass;
SELECT * FROM found();
SELECT * FROM repair();
SELECT tgenabled FROM pg_trigger WHERE tgname = 'keep_operations';
ALTER EXTENSION msgstore DROP FUNCTION snippet(text, int);
DROP FUNCTION snippet(text, int);
ALTER EXTENSION msgstore DROP VIEW dead_letter_events;
DROP VIEW dead_letter_events;
ALTER EXTENSION msgstore DROP TABLE conversation_holds;
DROP TABLE conversation_holds;
SELECT * FROM found();
SELECT * FROM repair();
SELECT snippet('Hello'), to_regclass('conversation_holds') = ANY (extconfig) AS dumped
FROM pg_extension WHERE extname = 'msgstore';

-- A tenant sees only findings about its own data.
SET msgstore.tenant_id = 'acme';
SELECT put('acme') \g /dev/null
SET msgstore.tenant_id = '';
SELECT process();
SELECT _merge_changes(1000) > 0 AS merged;
UPDATE conversation_activity SET message_count = message_count + 1;
SET msgstore.tenant_id = 'acme';
SELECT finding, count(*) FROM found() GROUP BY 1;
SET msgstore.tenant_id = '';
SELECT finding, count(*) FROM found() GROUP BY 1;
SELECT * FROM repair();

DROP FUNCTION put, event, refused, content, found, repair, gauges, recounted;
DROP EXTENSION msgstore;
