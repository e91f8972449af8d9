CREATE EXTENSION msgstore;
SET search_path = msgstore, public;
CREATE FUNCTION public.put(id text, other text DEFAULT '+15550001', channel text DEFAULT 'sms')
RETURNS uuid LANGUAGE sql AS
$$ SELECT event_id FROM msgstore.ingest(channel, jsonb_strip_nulls(jsonb_build_object('from', other,
    'to', '+15550002', 'messaging_provider_id', id, 'body', id, 'timestamp', '2024-11-01T14:00:00Z',
    'attachments', CASE channel WHEN 'mms' THEN '["https://example.com/1"]'::jsonb END))) $$;
CREATE FUNCTION public.id_of(name text) RETURNS uuid LANGUAGE sql AS
$$ SELECT id FROM msgstore.event_log WHERE provider_message_id = name $$;
CREATE FUNCTION public.refusal(command text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    message text;
    detail text;
    event record;
BEGIN
    EXECUTE command;
    RETURN 'accepted';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL;
    FOR event IN SELECT id, provider_message_id AS name FROM msgstore.event_log LOOP
        message := replace(message, event.id::text, event.name);
    END LOOP;
    RETURN concat_ws(' | ', SQLSTATE || ' ' || message, nullif(detail, ''));
END $$;
-- Unfinished events: status, and whether they wait for a time or for another.
CREATE VIEW public.waiting AS
SELECT l.provider_message_id AS event, e.status, e.attempt_count AS attempts,
    CASE WHEN q.next_attempt_at = 'infinity' THEN 'for ever' WHEN q.next_attempt_at > now() THEN 'a while'
        WHEN q.next_attempt_at IS NOT NULL THEN 'due again' ELSE 'due' END AS waits,
    h.event_id IS NOT NULL AS in_line
FROM msgstore.event_log l
JOIN msgstore.inbound_events e ON e.id = l.id
JOIN msgstore.event_queue q ON q.event_id = l.id
LEFT JOIN msgstore.conversation_holds h ON h.event_id = l.id
ORDER BY l.id;
-- Makes retries due.
CREATE FUNCTION public.pass() RETURNS void LANGUAGE sql AS
$$ UPDATE msgstore.event_queue SET next_attempt_at = now() WHERE next_attempt_at < 'infinity' $$;
-- The order in which messages were added. Events named here fail.
CREATE TABLE public.applied (n serial, event text);
CREATE TABLE public.failing (event text);
CREATE FUNCTION public.apply(m msgstore.messages) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM public.failing f WHERE f.event = m.provider_message_id) THEN
        RAISE '% fails', m.provider_message_id;
    END IF;
    INSERT INTO public.applied (event) VALUES (m.provider_message_id);
END $$;
CREATE FUNCTION public.order_of(pattern text) RETURNS text LANGUAGE sql AS
$$ SELECT string_agg(event, ' ' ORDER BY n) FROM public.applied WHERE event ~ pattern $$;
SELECT add_handler('sms', 'apply'), add_handler('mms', 'apply');

-- The events of a conversation are in one lane, whatever their direction and the
-- spelling of addresses. The lane also depends on the tenant.
SELECT put('lane-1') IS NOT NULL AND put('lane-2', '+1 (555) 0001') IS NOT NULL AS put;
SELECT lane BETWEEN 0 AND 63 AS valid, lane = _lane('', 'sms', '+15550002', '+15550001') AS same
FROM event_queue;
SELECT count(DISTINCT _lane('t' || n, 'sms', '+15550001', '+15550002')) > 50 AS spread,
    count(DISTINCT _lane('', 'sms', '+1555' || n, '+15550002')) AS lanes
FROM generate_series(1, 1000) n;
SELECT _lane('', 'no such channel', 'a', 'b');
SELECT process();

-- Events of a conversation are processed in the order of acceptance.
SELECT count(put('a-' || n)) FROM generate_series(1, 5) n;
SELECT process(2), process(2), process(2);
SELECT order_of('^a-');

-- Without strict_order, the default, later events overtake one that failed.
SELECT DISTINCT strict_order FROM channels;
INSERT INTO failing VALUES ('b-1');
SELECT count(put('b-' || n)) FROM generate_series(1, 3) n;
SELECT process();
SELECT * FROM waiting;
DELETE FROM failing;
SELECT pass(), process();
SELECT order_of('^b-');

-- With strict_order they wait for it; other conversations continue.
UPDATE channels SET strict_order = true WHERE name = 'sms';
INSERT INTO failing VALUES ('c-2');
SELECT count(put('c-' || n)) FROM generate_series(1, 4) n;
SELECT put('d-1', '+15559999') IS NOT NULL AS put;
SELECT process();
SELECT order_of('^[cd]-');
SELECT * FROM waiting;
SELECT provider_message_id, status, next_attempt_at FROM inbound_events
WHERE provider_message_id IN ('c-3', 'c-4') ORDER BY id;
-- New events wait as well, for workers and for claims.
SELECT put('c-5') IS NOT NULL AS put;
SELECT process();
SELECT put('c-6') IS NOT NULL AS put;
SELECT count(*) FROM claim('p1');
SELECT * FROM waiting;
-- If it fails again, they keep waiting. If it succeeds, they are due in order.
SELECT pass(), process();
SELECT * FROM waiting;
DELETE FROM failing;
SELECT pass(), process();
SELECT * FROM waiting;
SELECT put('c-7') IS NOT NULL AS put;
SELECT process(2), process();
SELECT order_of('^c-');
SELECT count(*) AS holds FROM conversation_holds;

-- They are also released when the first becomes a dead letter.
SET msgstore.max_retries = 1;
INSERT INTO failing VALUES ('e-1'), ('e-3');
SELECT count(put('e-' || n)) FROM generate_series(1, 4) n;
SELECT process();
SELECT pass(), process();
SELECT * FROM waiting;
SELECT process();
SELECT * FROM waiting;
SELECT pass(), process();
SELECT process();
SELECT order_of('^e-');
SELECT count(*) AS holds FROM conversation_holds;
RESET msgstore.max_retries;
TRUNCATE failing;

-- An event postponed because of a lock also makes later events wait.
CREATE FUNCTION public.clash(m msgstore.messages) RETURNS void LANGUAGE plpgsql AS
$$ BEGIN IF m.body = 'f-1' THEN RAISE SQLSTATE '40P01'; END IF; END $$;
SELECT add_handler('sms', 'clash');
SELECT count(put('f-' || n)) FROM generate_series(1, 3) n;
SELECT process();
SELECT * FROM waiting;
SELECT remove_handler('sms', 'clash');
SELECT pass(), process();
SELECT process();
SELECT order_of('^f-');

-- A claimed event makes later events wait.
SELECT count(put('g-' || n)) FROM generate_series(1, 3) n;
SELECT provider_message_id FROM claim('p1', 1);
SELECT process();
SELECT * FROM waiting;
-- Other processors cannot claim them, but events of other conversations.
SELECT put('h-1', '+15559999') IS NOT NULL AS put;
SELECT provider_message_id FROM claim('p2', 2);
SELECT complete('p2', ARRAY[id_of('h-1')]);
SELECT complete('p1', ARRAY[id_of('g-1')]);
SELECT * FROM waiting;
SELECT process();
SELECT order_of('^g-');

-- A processor completes several events of a conversation in order, or together.
SELECT count(put('i-' || n)) FROM generate_series(1, 5) n;
SELECT count(*) FROM claim('p1', 4);
SELECT refusal($$SELECT msgstore.complete('p1', ARRAY[id_of('i-2')])$$);
SELECT complete('p1', ARRAY[id_of('i-1')]);
SELECT refusal($$SELECT msgstore.complete('p1', ARRAY[id_of('i-3'), id_of('i-4')])$$);
SELECT complete('p1', ARRAY[id_of('i-3'), id_of('i-2')]);
SELECT process();
SELECT order_of('^i-');
-- If the first fails or expires, the next cannot be completed before it.
SELECT fail('p1', id_of('i-4'), 'boom', 'x');
SELECT process();
SELECT * FROM waiting;
SELECT pass();
SELECT count(*) FROM claim('p1');
UPDATE event_claims SET expires_at = now();
SELECT reap_stale();
SELECT * FROM waiting;
SELECT process();
SELECT process();
SELECT order_of('^i-');

-- An event that failed is due before an earlier one whose claim expired later;
-- processed together they keep their order.
SELECT count(put('j-' || n)) FROM generate_series(1, 3) n;
SELECT count(*) FROM claim('p1', 2);
SELECT fail('p1', id_of('j-2'), 'boom', 'x');
SELECT pass();
UPDATE event_claims SET expires_at = now();
SELECT reap_stale();
SELECT process();
SELECT process();
SELECT order_of('^j-');

-- A permanent failure reported by a processor releases the later events.
SELECT count(put('k-' || n)) FROM generate_series(1, 2) n;
SELECT count(*) FROM claim('p1', 1);
SELECT process();
SELECT fail('p1', id_of('k-1'), 'MS400', 'x');
SELECT process();
SELECT order_of('^k-');
SELECT count(*) AS holds FROM conversation_holds;

-- After strict_order is turned off, waiting events are released when the first
-- leaves: by a retry, by complete(), by becoming a dead letter.
INSERT INTO failing VALUES ('l-1');
SELECT count(put('l-' || n)) FROM generate_series(1, 3) n;
SELECT process();
SELECT count(put('m-' || n, '+15550003')) FROM generate_series(1, 2) n;
SELECT provider_message_id FROM claim('p1', 1);
SELECT count(put('n-' || n, '+15550004')) FROM generate_series(1, 2) n;
SELECT provider_message_id FROM claim('p1', 2);
SELECT process();
SELECT * FROM waiting;
UPDATE channels SET strict_order = false WHERE name = 'sms';
TRUNCATE failing;
SELECT pass(), process();
SELECT complete('p1', ARRAY[id_of('m-1')]), fail('p1', id_of('n-1'), 'MS400', 'x');
SELECT * FROM waiting;
SELECT process();
SELECT order_of('^[lmn]-');
SELECT count(*) AS holds FROM conversation_holds;

-- The same if the conversation gets another key, or the channel is deleted.
INSERT INTO channels (name, address_kind, strict_order) VALUES ('pigeon', 'opaque', true), ('raven', 'opaque', true);
SELECT add_handler('pigeon', 'apply');
INSERT INTO failing VALUES ('o-1');
SELECT count(put('o-' || n, 'loft', 'pigeon')) FROM generate_series(1, 3) n;
SELECT count(put('p-' || n, 'tower', 'raven')) FROM generate_series(1, 3) n;
SELECT count(*) FROM claim('p1', 1);
SELECT fail('p1', id_of('o-1'), 'boom', 'x');
SELECT process(3);
SELECT * FROM waiting WHERE event ~ '^o';
UPDATE channels SET thread = 'birds' WHERE name = 'pigeon';
TRUNCATE failing;
SELECT pass(), process();
SELECT process();
SELECT order_of('^o-');
SELECT put('q-1', 'tower', 'raven') IS NOT NULL AND put('q-2', 'tower', 'raven') IS NOT NULL AS put;
SELECT provider_message_id FROM claim('p1', 1);
SELECT process();
DELETE FROM channels WHERE name = 'raven';
SELECT fail('p1', id_of('q-1'), 'MS400', 'x');
SELECT process();
SELECT status, count(*) FROM inbound_events WHERE channel = 'raven' GROUP BY 1;
SELECT * FROM waiting;
SELECT count(*) AS holds FROM conversation_holds;

-- A channel that shares a thread with a strict one is not strict itself.
UPDATE channels SET strict_order = true WHERE name = 'sms';
UPDATE channels SET thread = 'sms' WHERE name = 'mms';
INSERT INTO failing VALUES ('r-1');
SELECT put('r-1') IS NOT NULL AND put('r-2', channel => 'mms') IS NOT NULL AND put('r-3') IS NOT NULL AS put;
SELECT process();
SELECT pass(), process();
SELECT order_of('^r-');
TRUNCATE failing;
SELECT pass(), process();
SELECT process();
SELECT order_of('^r-');

-- Conversations of other tenants do not wait.
INSERT INTO failing VALUES ('s-1');
SET msgstore.tenant_id = 'acme';
SELECT put('s-1') IS NOT NULL AS put;
SET msgstore.tenant_id = 'other';
SELECT put('s-2') IS NOT NULL AS put;
RESET msgstore.tenant_id;
SELECT process();
SELECT order_of('^s-');
TRUNCATE failing;
SELECT pass(), process();

-- Nothing is left behind.
SELECT * FROM waiting;
SELECT count(*) AS holds FROM conversation_holds;
SELECT count(*) AS claims FROM event_claims;

DROP VIEW waiting;
DROP EXTENSION msgstore CASCADE;
DROP TABLE applied, failing;
DROP FUNCTION put, id_of, refusal, pass, order_of;
