-- conflicts: a provider sends different content under the id of a stored event.
CREATE EXTENSION msgstore;
SET search_path = msgstore, public;

-- A valid payload, with changes.
CREATE FUNCTION public.sms(changes jsonb DEFAULT '{}') RETURNS jsonb LANGUAGE sql AS
$$ SELECT jsonb_strip_nulls('{"from": "+1 (804) 555-1234", "to": "+12016661234",
    "messaging_provider_id": "m-1", "body": "Hello",
    "timestamp": "2024-11-01T14:00:00Z"}' || changes) $$;
-- The conflicts, with what the digests are of.
CREATE FUNCTION public.conflicts(received jsonb DEFAULT NULL) RETURNS TABLE (
    id text, conflicts bigint, stored boolean, received boolean, first_is_last boolean)
LANGUAGE sql AS $$
SELECT l.provider_message_id, c.conflict_count,
    c.stored_digest = sha256(convert_to(l.payload::text, 'UTF8')),
    c.received_digest = sha256(convert_to(conflicts.received::text, 'UTF8')),
    c.first_seen_at = c.last_seen_at
FROM msgstore.id_conflicts c
JOIN msgstore.event_log l ON l.tenant_id = c.tenant_id AND l.id = c.event_id
ORDER BY l.id $$;
CREATE TEMP TABLE before AS SELECT msgstore.metrics() AS metrics;
CREATE FUNCTION public.counted(name text) RETURNS bigint LANGUAGE sql AS
$$ SELECT (msgstore.metrics() ->> name)::bigint - (metrics ->> name)::bigint FROM before $$;

-- The same content again is a duplicate and no conflict: also with another order
-- of keys, and numbers that are equal.
SELECT duplicate FROM ingest('sms', sms('{"n": 1, "list": [1, {"a": 2.50}]}'));
SELECT duplicate FROM ingest('sms', sms('{"list": [1.0, {"a": 2.5}], "n": 1.00}'));
SELECT * FROM conflicts();

-- Different content does not change the event; the difference is kept.
SELECT duplicate FROM ingest('sms', sms('{"n": 1, "list": [1, {"a": 2.50}], "body": "other"}'));
SELECT payload ->> 'body' AS body FROM event_log;
SELECT * FROM conflicts(sms('{"n": 1, "list": [1, {"a": 2.50}], "body": "other"}'));
-- Once more, and in a later transaction with other content.
SELECT duplicate FROM ingest('sms', sms('{"from": "+15550001"}'));
SELECT * FROM conflicts(sms('{"from": "+15550001"}'));
SELECT counted('events_conflicting') AS conflicting, counted('events_duplicate') AS duplicates;

-- What is rolled back is not kept.
BEGIN;
SELECT duplicate FROM ingest('sms', sms('{"body": "undone"}'));
ROLLBACK;
SELECT conflicts, counted('events_conflicting') AS conflicting FROM conflicts();

-- In a batch: with events stored before, and within the batch. An idempotency key
-- of its own does not hide the conflict.
SELECT ordinal, duplicate, error_code FROM ingest_batch(jsonb_build_array(
    jsonb_build_object('channel', 'sms', 'payload', sms('{"body": "a"}')),
    jsonb_build_object('channel', 'sms', 'payload', sms('{"body": "b"}'), 'idempotency_key', 'b'),
    jsonb_build_object('channel', 'sms', 'payload', sms('{"messaging_provider_id": "m-2", "body": "first"}')),
    jsonb_build_object('channel', 'sms', 'payload', sms('{"messaging_provider_id": "m-2", "body": "second"}')),
    jsonb_build_object('channel', 'sms', 'payload', sms('{"messaging_provider_id": "m-2", "body": "first"}')),
    jsonb_build_object('channel', 'sms', 'payload', sms('{"messaging_provider_id": "m-2", "body": "third"}')),
    jsonb_build_object('channel', 'sms', 'payload', sms('{"messaging_provider_id": "m-3"}')),
    jsonb_build_object('channel', 'sms', 'payload', sms('{"messaging_provider_id": "m-3"}'))));
SELECT * FROM conflicts(sms('{"messaging_provider_id": "m-2", "body": "third"}'));
SELECT payload ->> 'body' AS body FROM event_log WHERE provider_message_id = 'm-2';

-- The same through statements: a user's trigger on the log.
CREATE FUNCTION pass() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER pass BEFORE INSERT ON event_log FOR EACH ROW EXECUTE FUNCTION pass();
SELECT ordinal, duplicate FROM ingest_batch(jsonb_build_array(
    jsonb_build_object('channel', 'sms', 'payload', sms('{"messaging_provider_id": "m-4"}')),
    jsonb_build_object('channel', 'sms', 'payload', sms('{"messaging_provider_id": "m-4", "body": "x"}')),
    jsonb_build_object('channel', 'sms', 'payload', sms('{"messaging_provider_id": "m-3", "body": "x"}'))));
DROP TRIGGER pass ON event_log;
SELECT id, conflicts FROM conflicts();

-- Redacted values are not compared, also if the setting has changed since.
SELECT duplicate FROM ingest('sms', sms('{"messaging_provider_id": "secret", "token": "a", "meta": {"pin": 1}}'));
SELECT duplicate FROM ingest('sms', sms('{"messaging_provider_id": "secret", "token": "b", "meta": {"pin": 1}}'));
SET msgstore.redact_keys = 'token, pin';
SELECT duplicate FROM ingest('sms', sms('{"messaging_provider_id": "secret", "token": "b", "meta": {"pin": 2}}'));
RESET msgstore.redact_keys;
SELECT id FROM conflicts() WHERE id = 'secret';

-- A channel says which fields change with each delivery.
UPDATE channels SET volatile_fields = '{attempt,sent_at}' WHERE name = 'sms';
SELECT duplicate FROM ingest('sms', sms('{"messaging_provider_id": "again"}'));
SELECT duplicate FROM ingest('sms', sms('{"messaging_provider_id": "again", "attempt": 2, "sent_at": "now"}'));
SELECT duplicate FROM ingest('sms', sms('{"messaging_provider_id": "again", "attempt": 3}'));
SELECT id FROM conflicts() WHERE id = 'again';
SELECT duplicate FROM ingest('sms', sms('{"messaging_provider_id": "again", "attempt": 3, "meta": {"attempt": 3}}'));
SELECT id, conflicts FROM conflicts() WHERE id = 'again';

-- A payload that was purged cannot be compared.
SELECT process() > 0 AS processed;
UPDATE event_log SET payload = '{}' WHERE provider_message_id = 'm-3';
SELECT conflicts FROM conflicts() WHERE id = 'm-3';
SELECT duplicate FROM ingest('sms', sms('{"messaging_provider_id": "m-3", "body": "y"}'));
SELECT conflicts FROM conflicts() WHERE id = 'm-3';

-- Conflicts belong to the tenant.
SET msgstore.tenant_id = 'acme';
SELECT duplicate FROM ingest('sms', sms());
SELECT duplicate FROM ingest('sms', sms('{"body": "acme"}'));
RESET msgstore.tenant_id;
SELECT tenant_id, count(*) FROM id_conflicts GROUP BY 1 ORDER BY 1;

-- They go with the event: when it is erased or purged. check() finds those that
-- are left behind.
SELECT what FROM erase_address('sms', '+15550009') WHERE removed > 0;
SELECT removed > 0 AS erased FROM erase_address('sms', '+18045551234') WHERE what = 'id_conflicts';
SELECT count(*) FROM id_conflicts;
SELECT duplicate FROM ingest('sms', sms());
SELECT duplicate FROM ingest('sms', sms('{"body": "x"}'));
SELECT process();
SELECT * FROM purge('0', kinds => '{events}');
SELECT count(*) FROM id_conflicts;
INSERT INTO id_conflicts (tenant_id, event_id, stored_digest, received_digest)
VALUES ('acme', '00000000-0000-7000-8000-000000000001', '', '');
SELECT finding, subject, repair FROM msgstore.check();

DROP FUNCTION sms, conflicts, counted, pass;
DROP EXTENSION msgstore;
