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
WHERE key NOT LIKE '%\_us' AND key <> 'ts_unix_ms' AND value <> '0' ORDER BY key;

-- All numbers of an unused database are there, and 0.
SELECT jsonb_object_keys(metrics()) AS name ORDER BY name;
SELECT * FROM counted;
SELECT bool_and(jsonb_typeof(value) = 'number' AND value::text !~ '[.]') AS integers
FROM jsonb_each(metrics());

-- Seven events queued, one of them twice.
SELECT count(put('m-' || n)) FROM generate_series(1, 7) n;
SELECT put('m-1');
SELECT * FROM counted;

-- What is rolled back is not counted.
BEGIN;
SELECT put('undone');
SELECT process();
ROLLBACK;
SELECT * FROM counted;

-- Processed: one conversation made, and used again six times.
SELECT process();
SELECT * FROM counted;
SELECT (m ->> 'worker_latency_p50_us')::bigint <= (m ->> 'worker_latency_p95_us')::bigint
    AND (m ->> 'worker_latency_p95_us')::bigint <= (m ->> 'worker_latency_p99_us')::bigint
    AND (m ->> 'worker_latency_p99_us')::bigint <= (m ->> 'worker_latency_max_us')::bigint
    AND (m ->> 'worker_latency_avg_us')::bigint BETWEEN 1 AND (m ->> 'worker_latency_max_us')::bigint AS sound
FROM metrics() m;

-- Five failed retries are errors, the last failure is a dead letter.
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
\c :home
DROP DATABASE regression_stats;
