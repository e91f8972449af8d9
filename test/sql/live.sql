CREATE EXTENSION msgstore;
SET search_path = msgstore, public;
SET client_min_messages = warning;
CREATE FUNCTION public.put(id text, from_ text DEFAULT '+15550001', channel text DEFAULT 'sms') RETURNS uuid LANGUAGE sql AS
$$ SELECT event_id FROM msgstore.ingest(channel, jsonb_build_object('from', from_, 'to', '+15550002',
    'messaging_provider_id', id, 'body', 'Hello', 'timestamp', '2024-11-01T14:00:00Z')) $$;
CREATE FUNCTION public.refused(command text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE detail text;
BEGIN
    EXECUTE command;
    RETURN 'not refused';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
    RETURN concat_ws(' | ', SQLSTATE, SQLERRM, nullif(detail, ''));
END $$;
-- Remembers the position, and shows changes without what differs between runs.
CREATE TABLE public.place (name text PRIMARY KEY, next text);
CREATE FUNCTION public.follow(name text, VARIADIC options text[] DEFAULT '{}') RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    answer jsonb;
    o jsonb := coalesce(jsonb_object(options), '{}');
BEGIN
    answer := msgstore.wait_for_changes((SELECT next FROM place p WHERE p.name = follow.name), '0',
        o ->> 'conversation', o ->> 'channel', string_to_array(o ->> 'kinds', ','));
    INSERT INTO place VALUES (follow.name, answer ->> 'next')
    ON CONFLICT ON CONSTRAINT place_pkey DO UPDATE SET next = EXCLUDED.next;
    RETURN QUERY SELECT (c - 'id' - 'conversation_id' - 'timestamp')::text FROM jsonb_array_elements(answer -> 'changes') c;
END $$;

-- Without a position a reader gets the present one, and then what changes after it.
SELECT put('before') IS NOT NULL, process();
SELECT public.follow('a');
SELECT public.follow('a');
SELECT put('1') IS NOT NULL, process();
SELECT public.follow('b');
SELECT public.follow('a');
SELECT public.follow('a');

-- The changes of a transaction come together, in order of the transactions.
SELECT put('2'), put('3', '+15550003') \g /dev/null
SELECT process();
SELECT duplicate FROM send('sms', '{"from": "+15550002", "to": "+15550001", "body": "a", "timestamp": "2024-11-01T15:00:00Z"}');
SELECT public.follow('a');

-- A rollback tells nothing, neither of a transaction nor of a subtransaction.
BEGIN;
SELECT duplicate FROM send('sms', '{"from": "+15550002", "to": "+15550001", "body": "b", "timestamp": "2024-11-01T15:00:00Z"}');
ROLLBACK;
BEGIN;
SAVEPOINT s;
SELECT duplicate FROM send('sms', '{"from": "+15550002", "to": "+15550001", "body": "c", "timestamp": "2024-11-01T15:00:00Z"}');
ROLLBACK TO s;
COMMIT;
SELECT public.follow('a');

-- Filters: conversation by number or id, channel, kinds.
INSERT INTO channels (name, address_kind, thread, provider_id_field) VALUES ('chat', 'opaque', 'chat', 'messaging_provider_id');
SELECT public.follow('all'), public.follow('one'), public.follow('chat'), public.follow('kinds');
SELECT put('4'), put('5', '+15550003'), put('6', 'x', 'chat') \g /dev/null
SELECT process();
SELECT public.follow('one', 'conversation', (SELECT number::text FROM conversations WHERE participant_b = '+15550003' OR participant_a = '+15550003'));
SELECT public.follow('chat', 'channel', 'chat');
SELECT public.follow('kinds', 'kinds', 'status,operation');
SELECT count(*) FROM public.follow('all');

-- Statuses of outbound messages: leaving for the provider, its reports, failures.
UPDATE channels SET provider = 'mock' WHERE name = 'sms';
SELECT message_id FROM send('sms', '{"from": "+15550002", "to": "+15550001", "body": "d", "timestamp": "2024-11-01T15:00:00Z"}') \gset
SELECT public.follow('kinds', 'kinds', 'status');
SELECT count(*) FROM claim_outbound('sender');
SELECT sent(:'message_id', 'p-1', 'sender');
SELECT public.follow('kinds', 'kinds', 'status');
SELECT status FROM record_status('sms', 'p-1', 'delivered');
SELECT public.follow('kinds', 'kinds', 'status');
SELECT message_id FROM send('sms', '{"from": "+15550002", "to": "+15550001", "body": "e", "timestamp": "2024-11-01T15:00:00Z"}') \gset
SELECT count(*) FROM claim_outbound('sender');
SELECT send_failed(:'message_id', 'E', 'no such number', 'sender', true);
SELECT public.follow('kinds', 'kinds', 'status,dead_letter');

-- Dead letters and operations.
SELECT requeue_dead_letters();
SELECT public.follow('kinds', 'kinds', 'dead_letter,operation');

-- A tenant sees its own changes only.
SELECT public.follow('all');
SET msgstore.tenant_id = 'x';
SELECT public.follow('x');
SELECT put('7') \g /dev/null
SELECT process();
SELECT public.follow('x');
RESET msgstore.tenant_id;
SELECT put('8', '+15550009') \g /dev/null
SELECT process();
SET msgstore.tenant_id = 'x';
SELECT public.follow('x');
RESET msgstore.tenant_id;
SELECT count(*) FROM public.follow('all');

-- A transaction that changes very much is told as a reset.
SELECT count(*) FROM (SELECT put('many-' || n, '+1666' || n % 50) FROM generate_series(1, 1001) n) s;
SET msgstore.batch_size = 2000;
SELECT process();
SELECT public.follow('all');

-- Whatever the transactions, each change is told once: pages of any size add up.
SELECT public.follow('all');
SELECT count(*) FROM (SELECT put('page-' || n) FROM generate_series(1, 30) n) s;
SELECT 'SELECT msgstore.process(4)' FROM generate_series(1, 8) \gexec
WITH RECURSIVE pages AS (
    SELECT p.next AS id, 0::bigint AS n, false AS ended FROM place p WHERE p.name = 'all'
    UNION ALL
    SELECT r.id, r.n, r.id = pages.id OR r.n = 0
    FROM pages CROSS JOIN LATERAL (
        SELECT max(l.id) FILTER (WHERE l.kind IS NULL) AS id, count(l.kind) AS n
        FROM msgstore._live_page('', pages.id::pg_snapshot, NULL, 5) l) r
    WHERE NOT pages.ended)
SELECT sum(n), max(n) FROM pages;

-- Positions that are too old, of the future, or none.
SELECT public.follow('old');
SELECT set_config('search_path', 'public', false) \g /dev/null
UPDATE msgstore.live_horizon SET read_at = now() - interval '1 day';
SELECT msgstore._purge_live();
SELECT public.put('9') \g /dev/null
SELECT msgstore.process();
-- Purged is what was visible at the purge before.
SELECT public.follow('old');
UPDATE msgstore.live_horizon SET read_at = now() - interval '1 day';
SELECT msgstore._purge_live();
SELECT count(*) FROM msgstore.live_changes;
UPDATE msgstore.live_horizon SET read_at = now() - interval '1 day';
SELECT msgstore._purge_live();
SELECT count(*) FROM msgstore.live_changes;
SELECT public.follow('old');
SELECT public.follow('a');
UPDATE public.place SET next = '900000000:900000000:' WHERE name = 'a';
SELECT public.follow('a');
SELECT public.refused($$SELECT msgstore.wait_for_changes('1:2')$$);
SELECT public.refused($$SELECT msgstore.wait_for_changes('9:2:')$$);
SELECT public.refused($$SELECT msgstore.wait_for_changes('99999999999999999999:1:')$$);
SELECT public.refused($$SELECT msgstore.wait_for_changes(timeout => '-1 s')$$);
SELECT public.refused($$SELECT msgstore.wait_for_changes(kinds => '{messages}')$$);
SELECT public.refused($$SELECT msgstore.wait_for_changes(conversation => '123456789')$$);
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT public.refused($$SELECT msgstore.wait_for_changes()$$);
COMMIT;
-- A crash empties both tables: then no position is good.
TRUNCATE msgstore.live_changes, msgstore.live_horizon;
SELECT public.put('10') \g /dev/null
SELECT msgstore.process();
SELECT public.follow('old');
SELECT public.follow('old');

DROP TABLE public.place;
DROP FUNCTION public.put, public.refused, public.follow;
DROP EXTENSION msgstore;
