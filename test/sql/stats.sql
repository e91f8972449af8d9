\set home :DBNAME
CREATE DATABASE regression_stats TEMPLATE template0 ENCODING 'UTF8';
\c regression_stats
CREATE EXTENSION msgstore;
SET search_path = msgstore, public;
CREATE FUNCTION public.put(id text, body text DEFAULT 'Hello') RETURNS boolean LANGUAGE sql AS
$$ SELECT duplicate FROM msgstore.ingest('sms', jsonb_build_object('from', '+15550001',
    'to', '+15550002', 'messaging_provider_id', id, 'body', body, 'timestamp', '2024-11-01T14:00:00Z')) $$;
CREATE VIEW public.counted AS
SELECT key, value FROM jsonb_each(msgstore.metrics())
WHERE key NOT LIKE '%\_us' AND key <> 'ts_unix_ms' AND key NOT LIKE 'storage\_%' AND value <> '0' ORDER BY key;

-- In an unused database all metrics exist and are 0.
SELECT jsonb_object_keys(metrics()) AS name ORDER BY name;
SELECT * FROM counted;
SELECT bool_and(jsonb_typeof(value) = 'number' AND value::text !~ '[.]') AS integers
FROM jsonb_each(metrics());
-- What is stored has a size. The number of rows is an estimate.
CREATE TABLE public.before AS SELECT part, (metrics() ->> ('storage_' || part || '_bytes'))::bigint AS bytes
FROM unnest(ARRAY['responses', 'response_memory', 'streams']) part;
CREATE FUNCTION public.grown(part text) RETURNS TABLE (bytes boolean, counted bigint) LANGUAGE sql AS
$$ SELECT (m ->> ('storage_' || part || '_bytes'))::bigint > b.bytes, (m ->> ('storage_' || part || '_rows'))::bigint
   FROM msgstore.metrics() m, public.before b WHERE b.part = grown.part $$;
SELECT count(append('order-' || n, 'Placed', '{}')) FROM generate_series(1, 200) n;
SELECT count(save_response(jsonb_build_object('id', 'r' || n, 'status', 'completed', 'model', 'm'))) FROM generate_series(1, 200) n;
SELECT pg_stat_force_next_flush();
ANALYZE responses, stream_events;
SELECT * FROM grown('responses');
SELECT * FROM grown('streams');
-- By tenant: exact for small tables, in a session of a tenant only its own.
SET msgstore.tenant_id = 'small';
SELECT count(append('order-' || n, 'Placed', '{}')) FROM generate_series(1, 20) n;
SELECT tenant_id, part, row_count FROM storage_by_tenant();
RESET msgstore.tenant_id;
SELECT tenant_id, part, row_count FROM storage_by_tenant() ORDER BY 1, 2;
SELECT part, sum(s.bytes) BETWEEN 0.99 * b.bytes AND 1.01 * b.bytes AS all_bytes
FROM storage_by_tenant() s
JOIN (SELECT part, (metrics() ->> format('storage_%s_bytes', part))::bigint AS bytes
      FROM unnest('{responses,streams}'::text[]) part) b USING (part)
GROUP BY part, b.bytes ORDER BY part;
\set SHOW_CONTEXT never
SELECT storage_by_tenant(0);
\set SHOW_CONTEXT errors
SET msgstore.response_store = memory;
SELECT save_response('{"id": "one", "status": "completed", "model": "m"}');
SELECT bytes FROM grown('response_memory');
SELECT purge_responses('-1 min');
RESET msgstore.response_store;
DELETE FROM responses;
DELETE FROM stream_events;

-- Seven events queued, and one duplicate.
SELECT count(put('m-' || n)) FROM generate_series(1, 7) n;
SELECT put('m-1');
SELECT * FROM counted;

-- Work that is rolled back is not counted.
BEGIN;
SELECT put('undone');
SELECT process();
ROLLBACK;
SELECT * FROM counted;

-- Processed: one conversation created, and reused six times.
SELECT process();
SELECT * FROM counted;
SELECT (m ->> 'worker_latency_p50_us')::bigint <= (m ->> 'worker_latency_p95_us')::bigint
    AND (m ->> 'worker_latency_p95_us')::bigint <= (m ->> 'worker_latency_p99_us')::bigint
    AND (m ->> 'worker_latency_p99_us')::bigint <= (m ->> 'worker_latency_max_us')::bigint
    AND (m ->> 'worker_latency_avg_us')::bigint BETWEEN 1 AND (m ->> 'worker_latency_max_us')::bigint AS sound
FROM metrics() m;

-- Failures that are retried count as errors, the last one as a dead letter.
CREATE FUNCTION public.fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$;
CREATE TRIGGER fail BEFORE INSERT ON messages FOR EACH ROW EXECUTE FUNCTION public.fail();
SET client_min_messages = error;
SELECT put('bad');
DO $$ BEGIN FOR n IN 1..6 LOOP
    UPDATE msgstore.event_queue SET next_attempt_at = now();
    PERFORM msgstore.process();
END LOOP; END $$;
SELECT * FROM counted;
DROP TRIGGER fail ON messages;

-- Another session sees the same numbers.
\c -
SET search_path = msgstore, public;
SELECT * FROM counted;

-- channel_metrics() agrees; the age is that of queued events only.
SELECT tenant_id, channel, ingested, duplicate, processed, error, dead_letter,
    sent, queued, dead_letters, tenant_oldest_event_age_us AS age
FROM channel_metrics();

-- The histogram counts each processed event once.
SELECT count(*), bool_and(count >= before) AS cumulative,
    max(count) = (metrics() ->> 'worker_processed')::bigint AS complete,
    bool_and(le_us = 2 * before_us) AS powers_of_two
FROM (SELECT le_us, count, lag(count, 1, 0::bigint) OVER w AS before,
        lag(le_us, 1, le_us / 2) OVER w AS before_us
      FROM latency_histogram() WINDOW w AS (ORDER BY le_us)) h;

-- Without workers the view is empty.
SELECT count(*) FROM stat_worker;

-- Gauges agree with a count, whatever is rolled back, and at every reading.
CREATE VIEW public.gauges AS
SELECT _gauge('queued') AS queued, _gauge('dead_letters') AS dead,
    (metrics() ->> 'worker_queued')::int AS in_metrics,
    (SELECT sum(queued) FROM channel_metrics()) AS by_channel,
    (SELECT count(*) FROM event_queue) AS counted,
    (SELECT count(*) FROM dead_letters) AS counted_dead;
SELECT count(put('g-' || n)) FROM generate_series(1, 7) n;
SELECT * FROM gauges;
DO $$
BEGIN
    PERFORM public.put('kept');
    BEGIN
        PERFORM public.put('lost');
        RAISE division_by_zero;
    EXCEPTION WHEN division_by_zero THEN
        BEGIN
            PERFORM public.put('kept too');
        END;
    END;
    BEGIN
        PERFORM public.put('kept as well');
    EXCEPTION WHEN division_by_zero THEN
        NULL;
    END;
END $$;
SELECT * FROM gauges;
SELECT metrics() ->> 'events_ingested' AS ingested;

-- A transaction sees its own changes.
BEGIN;
SELECT count(put('own-' || n)) FROM generate_series(1, 2) n;
SELECT * FROM gauges;
SELECT process(4);
SELECT * FROM gauges;
ROLLBACK;
SELECT * FROM gauges;

-- The age of the oldest event, also of one that waits for its retry.
SELECT (metrics() ->> 'oldest_event_age_us')::bigint > 0 AS aged,
    (SELECT min(tenant_oldest_event_age_us) FROM channel_metrics() WHERE queued > 0)
        >= (metrics() ->> 'oldest_event_age_us')::bigint - 10000000 AS agree;
UPDATE event_queue SET next_attempt_at = 'infinity';
SELECT (SELECT id FROM event_log JOIN event_queue ON event_id = id ORDER BY id LIMIT 1)
    = (SELECT oldest_event FROM _work_left()) AS is_oldest;
SELECT put('new');
SELECT (SELECT event_id FROM event_queue ORDER BY event_id LIMIT 1)
    = (SELECT oldest_event FROM _work_left()) AS is_oldest;
SELECT _event_age_us('00000000-0000-4000-8000-000000000000') AS no_time;

-- Changes by hand are not seen until recount() ...
DELETE FROM event_queue WHERE event_id IN (SELECT event_id FROM event_queue LIMIT 3);
SELECT queued - counted AS wrong_by FROM gauges;
SELECT recount();
SELECT * FROM gauges;
-- ... or until the table is empty,
DELETE FROM event_queue;
SELECT metrics() ->> 'worker_queued' AS queued, metrics() ->> 'oldest_event_age_us' AS age;
SELECT * FROM gauges;
-- ... or until it has rows where the gauge says none,
INSERT INTO event_queue (tenant_id, event_id)
SELECT tenant_id, id FROM event_log ORDER BY id LIMIT 5;
SELECT metrics() ->> 'worker_queued' AS queued;
SELECT * FROM gauges;
-- ... or until it is truncated.
DELETE FROM event_queue WHERE event_id IN (SELECT event_id FROM event_queue LIMIT 1);
TRUNCATE dead_letters;
VACUUM FULL event_queue;
SELECT * FROM gauges;

-- Functions that move events update the gauges.
BEGIN;
INSERT INTO dead_letters
SELECT tenant_id, event_id, 'inbound', 1, 'P0001', 'no', now(), '[]' FROM event_queue;
DELETE FROM event_queue;
SELECT _move('queued', l.tenant_id, l.channel, -1), _move('dead_letters', l.tenant_id, l.channel, 1),
    _count('worker_dead_letter', 1, l.tenant_id, l.channel)
FROM dead_letters d JOIN event_log l ON l.id = d.event_id;
COMMIT;
SELECT * FROM gauges;
SELECT metrics() ->> 'worker_dead_letter' AS dead_letter;
SELECT _count('conversations_reused', 2);
SELECT metrics() ->> 'conversations_reused' AS reused;
SELECT _count('conversation', 1);
SELECT _gauge('events');

-- So do functions of the outbox: a message that becomes a dead letter, is sent
-- after all, or is requeued and sent.
SELECT message_id AS first FROM send('sms', '{"from": "+1", "to": "+2", "body": "a", "timestamp": "2024-11-01T14:00:00Z"}') \gset
SELECT message_id AS second FROM send('email', '{"from": "a@x.org", "to": "b@x.org", "body": "b", "timestamp": "2024-11-01T14:00:00Z"}') \gset
SELECT count(send_failed(message_id, 'E1', 'no', permanent => true)) FROM claim_outbound('s');
SELECT * FROM gauges;
SELECT channel, dead_letters FROM channel_metrics() WHERE dead_letters > 0;
SELECT sent(:'first', 'p-1');
SELECT * FROM gauges;
SELECT requeue(:'second');
SELECT * FROM gauges;
DELETE FROM outbox;
DELETE FROM dead_letters;
SELECT recount();

-- A session with a tenant sees only that tenant's numbers.
SET msgstore.tenant_id = 'acme';
SELECT put('t-1'), put('t-1');
SELECT duplicate FROM send('email', '{"from": "a@x.org", "to": "b@x.org", "body": "Hi",
    "timestamp": "2024-11-01T14:00:00Z"}');
SELECT tenant_id, channel, ingested, duplicate, sent, queued, tenant_oldest_event_age_us > 0 AS aged
FROM channel_metrics();
SELECT duplicate FROM send('email', '{"from": "a@x.org", "to": "b@x.org", "body": "Hi",
    "timestamp": "2024-11-01T14:00:00Z"}');
RESET msgstore.tenant_id;
SELECT tenant_id, channel, ingested, duplicate, sent, queued FROM channel_metrics();
SELECT jsonb_path_query_array(metrics_detail(), '$.channels[*].tenant_id') AS channels,
    metrics_detail() -> 'workers' AS workers,
    jsonb_array_length(metrics_detail() -> 'latency') AS limits;

-- A tenant with too long a name, and tenants beyond the limit, are counted
-- together.
SELECT _count('events_ingested', 1, repeat('x', 64), 'sms');
SELECT _count('events_ingested', 2, repeat('x', 63), 'sms');
SELECT left(tenant_id, 2) AS tenant, channel, ingested FROM channel_metrics()
WHERE tenant_id LIKE 'xx%' OR channel = 'other' ORDER BY 1;
SELECT count(_count('events_ingested', 1, 'many-' || n, 'sms')) FROM generate_series(1, 2000) n;
SELECT sum(ingested) FILTER (WHERE tenant_id = '' AND channel = 'other') > 900 AS rest,
    sum(ingested) FILTER (WHERE tenant_id LIKE 'many-%' OR (tenant_id = '' AND channel = 'other')) AS all
FROM channel_metrics();
\c :home
DROP DATABASE regression_stats;
