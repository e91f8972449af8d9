-- refused: refused events are counted, and kept if the operator wants it.
CREATE EXTENSION msgstore;
SET search_path = msgstore, public;

-- A valid payload, with changes.
CREATE FUNCTION public.sms(changes jsonb DEFAULT '{}') RETURNS jsonb LANGUAGE sql AS
$$ SELECT jsonb_strip_nulls('{"from": "+1 (804) 555-1234", "to": "+12016661234",
    "messaging_provider_id": "m-1", "body": "Hello",
    "timestamp": "2024-11-01T14:00:00Z"}' || changes) $$;
CREATE FUNCTION public.item(channel text, payload jsonb) RETURNS jsonb LANGUAGE sql AS
$$ SELECT jsonb_build_object('channel', channel, 'payload', payload) $$;
-- The error that a statement raises.
CREATE FUNCTION public.refused(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    message text; detail text;
BEGIN
    EXECUTE statement;
    RETURN 'not refused';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL;
    RETURN concat_ws(' | ', SQLSTATE || ' ' || message, nullif(detail, ''));
END $$;
CREATE TEMP TABLE before AS SELECT * FROM jsonb_each_text(msgstore.metrics());
CREATE FUNCTION public.counts() RETURNS TABLE (reason text, n bigint) LANGUAGE sql AS
$$ SELECT substr(m.key, 16), m.value::bigint - b.value::bigint
   FROM jsonb_each_text(msgstore.metrics()) m JOIN before b USING (key)
   WHERE key LIKE 'events_refused_%' AND m.value <> b.value ORDER BY 1 $$;

-- Each refusal is counted by what is wrong with the event. By default nothing is
-- kept.
SELECT ordinal, error_code FROM ingest_batch(jsonb_build_array(
    item('sms', sms()), item('fax', sms()), item(NULL, sms()), 3,
    item('sms', '[]'), item('sms', sms('{"from": null}')),
    item('sms', sms('{"to": "+15550001, +15550002"}')),
    item('sms', sms('{"messaging_provider_id": " "}')),
    item('sms', sms('{"timestamp": "now"}')), item('sms', sms('{"body": ""}')),
    item('mms', sms()), item('sms', sms('{"type": "fax"}')),
    item('sms', sms() || jsonb_build_object('body', repeat('x', 300000))),
    item('sms', sms()) || '{"idempotency_key": " "}',
    item('sms', sms()) || '{"mock": 1}', item('sms', sms())));
SELECT * FROM counts();
SELECT count(*) FROM refused_events;

-- ingest() raises an error, and counts it although its transaction fails.
SELECT refused($$ SELECT ingest('sms', sms('{"timestamp": "now"}')) $$);
SELECT refused($$ SELECT ingest('sms', sms('{"body": 1}')) $$);
SELECT refused($$ SELECT ingest('sms', sms('{"messaging_provider_id": "k"}'), 'k') $$);
SELECT refused($$ SELECT ingest('sms', sms('{"messaging_provider_id": "l"}'), 'k') $$);
SELECT * FROM counts() WHERE reason IN ('timestamp', 'body', 'key');
-- A batch that is rolled back did not refuse anything.
BEGIN;
SELECT error_code FROM ingest_batch(jsonb_build_array(item('fax', sms())));
ROLLBACK;
-- Outbound messages are not counted.
SELECT refused($$ SELECT send('fax', sms()) $$);
SELECT * FROM counts() WHERE reason = 'channel';

-- With keep_refused, ingest_batch() keeps what it refuses, redacted.
SET msgstore.keep_refused = on;
SELECT ordinal, duplicate, error_code FROM ingest_batch(jsonb_build_array(
    item('fax', sms('{"messaging_provider_id": "f-1", "token": "t", "x": {"Password": [1]}}'))
        || '{"idempotency_key": "f", "correlation_id": "r-1"}',
    item('sms', sms()),
    item('sms', sms() || jsonb_build_object('body', repeat('x', 300000))),
    item('sms', NULL), 3,
    item('sms', sms('{"messaging_provider_id": "f-2", "from": "a@x.example, b@x.example"}')),
    item('sms', sms() - 'messaging_provider_id') || '{"mock": true, "channel": "telex"}',
    item(repeat('ö', 200), sms()) || jsonb_build_object('idempotency_key', repeat('k', 300),
        'correlation_id', repeat('c', 300))));
SELECT channel, error_code, error_message, error_detail, payload, payload_bytes > 0 AS has_bytes, idempotency_key, correlation_id, mock
FROM refused_events WHERE length(channel) IS DISTINCT FROM 127 ORDER BY id;
SELECT length(channel), error_code, idempotency_key, length(correlation_id)
FROM refused_events WHERE length(channel) = 127;
SELECT refused($$ SELECT ingest('fax', sms()) $$);
SELECT count(*), count(DISTINCT received_at) AS transactions FROM refused_events;

-- After a repair it is submitted again, as the event that it was.
SELECT id AS fax FROM refused_events WHERE channel = 'fax' \gset
SELECT id AS telex FROM refused_events WHERE channel = 'telex' \gset
SELECT refused(format('SELECT resubmit_refused(%L)', :'fax'));
SELECT count(*) FROM refused_events WHERE channel = 'fax';
INSERT INTO channels (name, address_kind) VALUES ('fax', 'phone'), ('telex', 'opaque');
SELECT event_id, duplicate FROM resubmit_refused(:'fax') \gset
SELECT :'duplicate' AS duplicate, id = :'event_id' AS same_id, channel, provider_message_id, correlation_id, payload -> 'token' AS token FROM inbound_events
WHERE channel = 'fax';
SELECT key FROM idempotency_keys WHERE key = 'f';
SELECT duplicate FROM resubmit_refused(:'telex');
SELECT count(*) FROM refused_events WHERE channel IN ('fax', 'telex');
-- Once.
SELECT regexp_replace(refused(format('SELECT resubmit_refused(%L)', :'fax')), '"[^"]+"', '"..."');
SELECT refused('SELECT resubmit_refused(NULL)');
-- What is stored by now is a duplicate.
SELECT error_code FROM ingest_batch(jsonb_build_array(item('pager', sms('{"messaging_provider_id": "p"}'))));
INSERT INTO channels (name, address_kind) VALUES ('pager', 'phone');
SELECT duplicate FROM ingest('pager', sms('{"messaging_provider_id": "p"}'));
SELECT duplicate FROM refused_events r, resubmit_refused(r.id) WHERE r.channel = 'pager';
-- A payload that was too large was not kept.
SELECT regexp_replace(refused(format('SELECT resubmit_refused(%L)', id)), '"[^"]+"', '"..."')
FROM refused_events WHERE error_code = 'MS413';
-- The operator can correct what is wrong.
UPDATE refused_events SET payload = payload || '{"from": "+15550003"}' WHERE payload ->> 'from' LIKE 'a@%';
SELECT duplicate FROM refused_events r, resubmit_refused(r.id) WHERE r.payload ->> 'from' = '+15550003';

-- Tenants keep their own; an event is submitted again for its tenant.
SET msgstore.tenant_id = 'acme';
SELECT error_code FROM ingest_batch(jsonb_build_array(item('sms', sms('{"timestamp": ""}'))));
SELECT error_code FROM ingest_batch(jsonb_build_array(item('sms', sms('{"timestamp": ""}'))));
RESET msgstore.tenant_id;
UPDATE refused_events SET payload = sms('{"messaging_provider_id": "of acme"}') WHERE tenant_id = 'acme';
SET msgstore.tenant_id = 'other';
SELECT left(refused(format('SELECT resubmit_refused(%L)', id)), 5) FROM refused_events WHERE tenant_id = 'acme' LIMIT 1;
RESET msgstore.tenant_id;
SELECT duplicate FROM refused_events r, resubmit_refused(r.id)
WHERE r.id = (SELECT max(id::text)::uuid FROM refused_events WHERE tenant_id = 'acme');
SHOW msgstore.tenant_id;
SET msgstore.tenant_id = 'acme';
SELECT duplicate FROM refused_events r, resubmit_refused(r.id) WHERE tenant_id = 'acme';
SHOW msgstore.tenant_id;
RESET msgstore.tenant_id;
SELECT tenant_id FROM event_log WHERE provider_message_id = 'of acme';

-- The oldest go when there are too many, each tenant's by themselves.
SET msgstore.max_refused = 3;
SET msgstore.tenant_id = 'acme';
SELECT count(*) FROM ingest_batch((SELECT jsonb_agg(item('none', sms(jsonb_build_object('n', n)))) FROM generate_series(1, 5) n));
RESET msgstore.tenant_id;
SELECT tenant_id, count(*) FROM refused_events GROUP BY 1 ORDER BY 1;
SELECT count(*) FROM ingest_batch((SELECT jsonb_agg(item('none', sms(jsonb_build_object('n', n)))) FROM generate_series(6, 9) n));
SELECT tenant_id, string_agg(payload ->> 'n', ' ' ORDER BY id) FROM refused_events GROUP BY 1 ORDER BY 1;
RESET msgstore.max_refused;

-- purge() removes old ones.
UPDATE refused_events SET received_at = now() - interval '2 days' WHERE payload ->> 'n' IN ('4', '8');
SELECT * FROM purge('1 day', dry_run => true) WHERE removed > 0;
SELECT * FROM purge('1 day');
SELECT string_agg(payload ->> 'n', ' ' ORDER BY id) FROM refused_events;

-- Erasing an address removes refused events that name it: also in a list, in
-- JSON, and on a channel that does not exist.
DELETE FROM refused_events;
SELECT count(*) FROM ingest_batch(jsonb_build_array(
    item('sms', sms('{"from": "+1 555 000 7777", "body": "1", "timestamp": ""}')),
    item('sms', sms('{"to": "+15550008888; +1 (555) 000-7777", "body": "2"}')),
    item('sms', sms('{"from": ["+15550007777"], "body": "3"}')),
    item('sms', sms('{"to": {"number": "tel:+15550007777"}, "body": "4"}')),
    item('none', sms('{"to": "+15550007777", "body": "5"}')),
    item('sms', '"+15550007777"'),
    item('pager', sms('{"to": "+15550007777", "body": "7", "timestamp": ""}')),
    item('sms', sms('{"to": "+155500077771", "body": "8", "timestamp": ""}'))));
SELECT * FROM erase_address('sms', '+15550007777') WHERE removed > 0;
SELECT payload FROM refused_events ORDER BY id;

SELECT * FROM msgstore.check();
DROP FUNCTION sms, item, refused, counts;
DROP EXTENSION msgstore;
