CREATE EXTENSION msgstore;
SET search_path = msgstore, public;
CREATE FUNCTION public.put(id text, body text DEFAULT 'Hello', other text DEFAULT '+15550001')
RETURNS uuid LANGUAGE sql AS
$$ SELECT event_id FROM msgstore.ingest('sms', jsonb_build_object('from', other, 'to', '+15550002',
    'messaging_provider_id', id, 'body', body, 'timestamp', '2024-11-01T14:00:00Z')) $$;
CREATE FUNCTION public.id_of(name text) RETURNS uuid LANGUAGE sql AS
$$ SELECT id FROM msgstore.event_log WHERE provider_message_id = name $$;
CREATE FUNCTION public.ids_of(VARIADIC names text[]) RETURNS uuid[] LANGUAGE sql AS
$$ SELECT array_agg(id_of(n)) FROM unnest(names) n $$;
-- The error of a command, with provider message ids for event ids.
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
CREATE VIEW public.places AS
SELECT provider_message_id AS event, status, processor_id, attempt_count AS attempts,
    next_attempt_at IS NOT NULL AS waits, error_code, error_message
FROM msgstore.inbound_events ORDER BY id;
CREATE VIEW public.history AS
SELECT l.provider_message_id AS event, a ->> 'processor_id' AS processor_id,
    a ->> 'error_code' AS error_code, a ->> 'error_message' AS error_message,
    (a ->> 'failed_at')::timestamptz <= clock_timestamp() AS in_past
FROM (SELECT event_id, attempts FROM msgstore.event_failures
      UNION ALL SELECT event_id, attempts FROM msgstore.dead_letters) f
JOIN msgstore.event_log l ON l.id = f.event_id,
    jsonb_array_elements(f.attempts) WITH ORDINALITY AS u (a, n)
ORDER BY l.id, n;
-- Makes claims expire.
CREATE FUNCTION public.expire() RETURNS void LANGUAGE sql AS
$$ UPDATE msgstore.event_claims SET expires_at = now() - interval '1 s' $$;

-- A processor claims the oldest due events, at most max_events, and gets them as
-- rows of inbound_events after the claim.
SELECT count(put('m-' || n)) FROM generate_series(1, 5) n;
SELECT provider_message_id, channel, "from", payload ->> 'body' AS body, status, processor_id,
    attempt_count, next_attempt_at, updated_at > created_at AS updated, processed_at
FROM claim('p1', 2);
SELECT * FROM places;
SELECT expires_at - claimed_at AS timeout, renewed_at = claimed_at AS fresh, count(*)
FROM event_claims GROUP BY 1, 2;

-- Neither another processor, nor the same one, nor a worker gets them.
SELECT provider_message_id FROM claim('p2', 1);
SELECT provider_message_id FROM claim('p1', 1);
SELECT process();
SELECT count(*) FROM claim('p1');
SELECT * FROM places;

-- complete() creates the messages, all or none, and returns their number.
SELECT complete('p1', ids_of('m-1', 'm-2'));
SELECT status, processor_id, attempt_count, processed_at IS NOT NULL AS done,
    updated_at = processed_at AS updated, m.provider_message_id, m.body
FROM inbound_events e JOIN messages m ON m.inbound_event_id = e.id
WHERE e.provider_message_id IN ('m-1', 'm-2') ORDER BY e.id;
SELECT complete('p1', '{}'), complete('p1', NULL);
-- An id given twice is one event.
SELECT complete('p1', ids_of('m-4', 'm-4'));

-- Only the holder can end a claim: completed, held by another, unknown event.
SELECT refusal($$SELECT msgstore.complete('p1', ids_of('m-1'))$$);
SELECT refusal($$SELECT msgstore.complete('p1', ids_of('m-3'))$$);
SELECT refusal($$SELECT msgstore.fail('p1', id_of('m-3'), 'boom', 'x')$$);
SELECT refusal($$SELECT msgstore.complete('p1', '{00000000-0000-7000-8000-000000000000}')$$);
-- With one event that is not its own, none is completed.
SELECT count(put(id)) FROM unnest('{m-6,m-7}'::text[]) id;
SELECT count(*) FROM claim('p1');
SELECT refusal($$SELECT msgstore.complete('p1', ids_of('m-6', 'm-3', 'm-7'))$$);
SELECT * FROM places WHERE event IN ('m-3', 'm-6', 'm-7');
SELECT complete('p1', ids_of('m-7', 'm-6'));
SELECT complete('p2', ids_of('m-3'));
SELECT status, count(*) FROM places GROUP BY 1;
SELECT count(*) AS claims FROM event_claims;

-- Invalid arguments are refused.
SELECT refusal($$SELECT count(*) FROM msgstore.claim('p1', 0)$$);
SELECT refusal($$SELECT count(*) FROM msgstore.claim(E' \t')$$);
SELECT refusal($$SELECT count(*) FROM msgstore.claim(NULL)$$);
SELECT refusal($$SELECT count(*) FROM msgstore.claim(repeat('p', 256))$$);
SELECT refusal($$SELECT msgstore.complete('', '{}')$$);
SELECT refusal($$SELECT msgstore.complete(NULL, '{}')$$);
SELECT refusal($$SELECT msgstore.complete('p1', '{NULL}')$$);
SELECT refusal($$SELECT msgstore.complete('p1', ARRAY[ids_of('m-1'), ids_of('m-2')])$$);
SELECT refusal($$SELECT msgstore.fail('p1', NULL, 'boom', 'x')$$);
SELECT refusal($$SELECT msgstore.fail('p1', id_of('m-1'), ' ', 'x')$$);
SELECT refusal($$SELECT msgstore.fail('p1', id_of('m-1'), NULL, 'x')$$);
SELECT refusal($$SELECT msgstore.fail('p1', id_of('m-1'), repeat('x', 256), 'x')$$);
SELECT refusal($$SELECT msgstore.fail(NULL, id_of('m-1'), 'boom', 'x')$$);
-- A name of the maximum length, which does not compress.
SELECT put('named') IS NOT NULL AS put;
SELECT count(*), max(length(processor_id)) FROM claim(rpad('ü', 254, md5('a') || md5('b')), NULL);
SELECT complete(processor_id, ARRAY[event_id]) FROM event_claims;

-- A failure is counted and retried like one in a worker. The message is optional.
SELECT put('f-1') IS NOT NULL AS put;
SELECT count(*) FROM claim('p1');
SELECT fail('p1', id_of('f-1'), 'upstream', 'no answer from the bank');
SELECT * FROM places WHERE event = 'f-1';
SELECT next_attempt_at - updated_at BETWEEN interval '0.25 s' AND interval '0.8 s' AS backoff
FROM inbound_events WHERE provider_message_id = 'f-1';
SELECT count(*) FROM claim('p1');
UPDATE event_queue SET next_attempt_at = now();
SELECT provider_message_id, status, attempt_count, error_code, next_attempt_at FROM claim('p2');
SELECT refusal($$SELECT msgstore.fail('p1', id_of('f-1'), 'late', 'x')$$);
SELECT fail('p2', id_of('f-1'), 'upstream', NULL);
SELECT refusal($$SELECT msgstore.fail('p2', id_of('f-1'), 'again', 'x')$$);
SELECT * FROM history WHERE event = 'f-1';
-- The retry can succeed in the server.
UPDATE event_queue SET next_attempt_at = now();
SELECT process();
SELECT * FROM places WHERE event = 'f-1';

-- Error code MS400 makes a dead letter at once.
SELECT put('f-2') IS NOT NULL AS put;
SELECT count(*) FROM claim('p1');
SELECT fail('p1', id_of('f-2'), 'MS400', 'not a booking');
SELECT * FROM places WHERE event = 'f-2';

-- After the retries the event is a dead letter with the number of attempts, and
-- the last twenty in detail, each with the first thousand characters.
SET msgstore.max_retries = 24;
SELECT put('f-3') IS NOT NULL AS put;
CREATE FUNCTION public.fail_again(n int) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    UPDATE msgstore.event_queue SET next_attempt_at = now();
    PERFORM FROM msgstore.claim('p' || n);
    RETURN msgstore.fail('p' || n, id_of('f-3'), 'E' || n, repeat('x', 1000 + n));
END $$;
SELECT fail_again(n), count(*) FROM generate_series(1, 25) n GROUP BY 1 ORDER BY 2;
SELECT event, status, attempts, error_code, length(error_message) FROM places WHERE event = 'f-3';
SELECT count(*), min(error_code), max(error_code), max(length(error_message)) FROM history
WHERE event = 'f-3';
RESET msgstore.max_retries;

-- A heartbeat renews all claims of its processor and no others.
SELECT count(put('h-' || n)) FROM generate_series(1, 3) n;
SELECT count(*) FROM claim('p1', 2);
SELECT count(*) FROM claim('p2', 1);
UPDATE event_claims SET claimed_at = now() - interval '1 h', renewed_at = now() - interval '1 h',
    expires_at = now() + interval '1 s';
SELECT heartbeat('p1'), heartbeat('p3'), heartbeat(NULL);
SELECT processor_id, renewed_at > now() - interval '1 min' AS renewed,
    expires_at > now() + interval '50 s' AS lasts, claimed_at < now() - interval '1 min' AS old, count(*)
FROM event_claims GROUP BY 1, 2, 3, 4 ORDER BY 1;
SELECT provider_message_id, updated_at > now() - interval '1 min' AS updated FROM inbound_events
WHERE status = 'processing' ORDER BY 1;
-- It never shortens a claim.
SET msgstore.claim_timeout = '1 s';
SELECT heartbeat('p1');
SELECT bool_and(expires_at > now() + interval '50 s') AS lasts FROM event_claims
WHERE processor_id = 'p1';
RESET msgstore.claim_timeout;
-- It renews an expired claim that was not released yet.
SELECT expire();
SELECT heartbeat('p1');
SELECT reap_stale();
SELECT * FROM places WHERE event LIKE 'h-%';

-- An expired claim counts as a failed attempt, and its event is due at once:
-- claim() releases it without a call of reap_stale().
SELECT heartbeat('p1');
SELECT count(*) FROM claim('p3');
SELECT put('h-4') IS NOT NULL AS put;
SELECT expire();
SELECT provider_message_id, status, processor_id, attempt_count, error_code FROM claim('p4', 3);
SELECT * FROM places WHERE event LIKE 'h-%';
SELECT * FROM history WHERE event LIKE 'h-%';
-- A processor that lost a claim cannot complete or fail the event, whoever has it
-- now, so nothing is processed twice.
SELECT refusal($$SELECT msgstore.complete('p1', ids_of('h-1'))$$);
SELECT refusal($$SELECT msgstore.complete('p1', ids_of('h-1', 'h-2'))$$);
SELECT refusal($$SELECT msgstore.fail('p2', id_of('h-3'), 'late', 'x')$$);
SELECT heartbeat('p1');
SELECT complete('p4', ids_of('h-1', 'h-2'));
SELECT refusal($$SELECT msgstore.complete('p4', ids_of('h-1'))$$);
SELECT expire();
SELECT reap_stale();
SELECT refusal($$SELECT msgstore.complete('p4', ids_of('h-3'))$$);
SELECT process();
SELECT status, count(*), count(DISTINCT m.id) AS messages FROM inbound_events e
LEFT JOIN messages m ON m.inbound_event_id = e.id WHERE e.provider_message_id LIKE 'h-%' GROUP BY 1;

-- An event that crashes its processors becomes a dead letter.
SET msgstore.max_retries = 1;
SELECT put('killer') IS NOT NULL AS put;
SELECT count(*) FROM claim('p1');
SELECT expire();
SELECT reap_stale(), reap_stale();
SELECT * FROM places WHERE event = 'killer';
SELECT count(*) FROM claim('p2');
SELECT expire();
SELECT reap_stale();
SELECT * FROM places WHERE event = 'killer';
SELECT * FROM history WHERE event = 'killer';
RESET msgstore.max_retries;

-- All expired claims are released, more than one statement handles.
SELECT count(put('many-' || n)) FROM generate_series(1, 1100) n;
SELECT count(*) FROM claim('p1', 2000);
SELECT expire();
SELECT reap_stale();
SELECT count(*) AS claims FROM event_claims;
SELECT status, attempts, error_code, count(*) FROM places WHERE event LIKE 'many-%' GROUP BY 1, 2, 3;
SELECT process();

-- A rollback undoes claim(), complete() and fail().
SELECT put('back') IS NOT NULL AS put;
BEGIN;
SELECT count(*) FROM claim('p1');
ROLLBACK;
SELECT count(*) FROM claim('p1');
BEGIN;
SELECT complete('p1', ids_of('back'));
ROLLBACK;
BEGIN;
SELECT fail('p1', id_of('back'), 'boom', 'x');
ROLLBACK;
SELECT * FROM places WHERE event = 'back';
SELECT count(*) FROM messages WHERE provider_message_id = 'back';
SELECT complete('p1', ids_of('back'));

-- If complete() cannot create a message, the processor keeps its claim.
CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE 'no % today', NEW.body USING ERRCODE = 'P0042'; END $$;
CREATE TRIGGER refuse BEFORE INSERT ON messages FOR EACH ROW
    WHEN (NEW.body = 'bad') EXECUTE FUNCTION public.refuse();
SELECT put('good') IS NOT NULL AS good, put('bad', 'bad') IS NOT NULL AS bad;
SELECT count(*) FROM claim('p1');
SELECT refusal($$SELECT msgstore.complete('p1', ids_of('good', 'bad'))$$);
SELECT * FROM places WHERE event IN ('good', 'bad');
SELECT complete('p1', ids_of('good'));
SELECT fail('p1', id_of('bad'), 'MS400', 'as complete() said');
DROP TRIGGER refuse ON messages;

-- A session with a tenant sees and claims only that tenant's events.
SET msgstore.tenant_id = 'acme';
SELECT put('t-1') IS NOT NULL AS put;
SET msgstore.tenant_id = 'other';
SELECT put('t-2') IS NOT NULL AS put;
SELECT provider_message_id, tenant_id FROM claim('p1');
SELECT refusal($$SELECT msgstore.complete('p1', ids_of('t-1'))$$);
SET msgstore.tenant_id = 'acme';
SELECT count(*) FROM claim('p1');
SELECT expire();
SELECT refusal($$SELECT msgstore.complete('p1', ids_of('t-2'))$$);
SELECT refusal($$SELECT msgstore.fail('p1', id_of('t-2'), 'boom', 'x')$$);
SELECT heartbeat('p1');
SELECT expire();
SELECT reap_stale();
SELECT tenant_id, event, status FROM places JOIN event_log ON provider_message_id = event
WHERE event LIKE 't-%';
SELECT count(*) FROM claim('p1');
SELECT complete('p1', ids_of('t-1'));
-- A session without a tenant claims events of all tenants.
RESET msgstore.tenant_id;
SELECT heartbeat('p1');
SELECT complete('p1', ids_of('t-2'));
SELECT tenant_id, provider_message_id FROM messages WHERE provider_message_id LIKE 't-%' ORDER BY 2;

-- A processor needs EXECUTE on the functions and no privilege on a table.
CREATE ROLE regress_processor;
GRANT USAGE ON SCHEMA msgstore TO regress_processor;
SET ROLE regress_processor;
SELECT count(*) FROM msgstore.claim('p1');
SELECT msgstore.heartbeat('p1');
SELECT msgstore.complete('p1', '{}');
SELECT msgstore.fail('p1', msgstore.uuid7(), 'boom', 'x');
SELECT msgstore.reap_stale();
RESET ROLE;
GRANT EXECUTE ON FUNCTION claim, heartbeat, complete, fail, reap_stale TO regress_processor;
SELECT put('r-1') IS NOT NULL AS one, put('r-2') IS NOT NULL AS two;
-- The caller's search_path does not matter.
CREATE SCHEMA mine AUTHORIZATION regress_processor;
SET ROLE regress_processor;
CREATE FUNCTION mine.clock_timestamp() RETURNS timestamptz LANGUAGE plpgsql AS
$$ BEGIN RAISE 'called as %', current_user; END $$;
CREATE FUNCTION mine.unnest(text[], uuid[]) RETURNS SETOF record LANGUAGE plpgsql AS
$$ BEGIN RAISE 'called as %', current_user; END $$;
SET search_path = mine, pg_catalog;
SELECT pg_catalog.array_agg(id)::text AS ids FROM msgstore.claim('p1') \gset
SELECT msgstore.heartbeat('p1');
SELECT msgstore.complete('p1', (:'ids'::uuid[])[1:1]), msgstore.fail('p1', (:'ids'::uuid[])[2], 'boom', 'x');
SELECT msgstore.reap_stale();
SELECT count(*) FROM msgstore.event_claims;
RESET ROLE;
SET search_path = msgstore, public;
SELECT * FROM places WHERE event LIKE 'r-%';

-- Every event is in exactly one place.
UPDATE event_queue SET next_attempt_at = now();
SELECT process();
SELECT status, count(*), count(m.id) AS messages
FROM inbound_events e LEFT JOIN messages m ON m.inbound_event_id = e.id
GROUP BY 1 ORDER BY 1;
SELECT count(*) AS claims FROM event_claims;

DROP OWNED BY regress_processor;
DROP VIEW places, history;
DROP FUNCTION put, id_of, ids_of, refusal, expire, fail_again, refuse;
DROP EXTENSION msgstore;
DROP ROLE regress_processor;
