CREATE EXTENSION msgstore;
SET search_path = msgstore, public;

-- Valid payloads, with changes.
CREATE FUNCTION public.sms(changes jsonb DEFAULT '{}') RETURNS jsonb LANGUAGE sql AS
$$ SELECT jsonb_strip_nulls('{"from": "+1 (804) 555-1234", "to": "+12016661234",
    "type": "sms", "messaging_provider_id": "message-1", "body": "Hello",
    "timestamp": "2024-11-01T14:00:00Z"}' || changes) $$;
CREATE FUNCTION public.email(changes jsonb DEFAULT '{}') RETURNS jsonb LANGUAGE sql AS
$$ SELECT jsonb_strip_nulls('{"from": "Contact <contact@Gmail.com>",
    "to": "user+tag@usehatchapp.com", "xillio_id": "message-1",
    "body": "<b>Hello</b>", "attachments": [],
    "timestamp": "2024-11-01T14:00:00Z"}' || changes) $$;
-- The error that a statement raises.
CREATE FUNCTION public.refused(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    message text; detail text; hint text;
BEGIN
    EXECUTE statement;
    RETURN 'not refused';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS message = MESSAGE_TEXT,
        detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    RETURN concat_ws(' | ', SQLSTATE || ' ' || message,
        'DETAIL ' || nullif(detail, ''), 'HINT ' || nullif(hint, ''));
END $$;

-- An event is stored with normalized addresses, and queued.
SELECT duplicate FROM ingest('sms', sms(), NULL, 'request-1');
SELECT channel, "from", "to", provider_message_id, status, attempt_count,
    next_attempt_at, processor_id, error_code, correlation_id, processed_at
FROM inbound_events;

-- The same provider message id again returns the first event's id and changes
-- nothing.
SELECT i.duplicate, i.event_id = e.id AS same_id, e.payload ->> 'body' AS body
FROM ingest('sms', sms('{"body": "other"}')) i, inbound_events e;
SELECT count(*) FROM inbound_events;

-- The same id on another channel is a different event.
SELECT duplicate FROM ingest('email', email());
SELECT channel, "from", "to" FROM inbound_events ORDER BY channel;

-- A duplicate of a processed event is not processed again.
SELECT process();
SELECT duplicate FROM ingest('sms', sms());
SELECT process(), (SELECT count(*) FROM messages) AS messages;

-- The type in the payload moves an event from channel sms to mms, in any case.
SELECT duplicate FROM ingest('sms', sms('{"type": "MMS",
    "messaging_provider_id": "message-2", "body": " ",
    "attachments": ["https://example.com/image.jpg"]}'));
SELECT channel, provider_message_id FROM event_log ORDER BY id DESC LIMIT 1;

-- ingest is part of the caller's transaction.
BEGIN;
SELECT duplicate FROM ingest('sms', sms('{"messaging_provider_id": "undone"}'));
ROLLBACK;
SELECT count(*) FROM event_log WHERE provider_message_id = 'undone';

-- It works with any search_path.
SET search_path = '';
SELECT duplicate FROM msgstore.ingest('sms', public.sms());
SET search_path = msgstore, public;

-- Mock events may lack a provider message id, and are never duplicates then.
SELECT duplicate FROM ingest('sms', sms('{"messaging_provider_id": null}'), mock => true);
SELECT duplicate FROM ingest('sms', sms('{"messaging_provider_id": null}'), mock => true);
SELECT count(*) FROM event_log WHERE provider_message_id IS NULL;

-- A refused event leaves no trace, and the error names the field.
SELECT count(*) AS events FROM event_log \gset
SELECT refused('SELECT ' || call) FROM (VALUES
    ($c$ingest(NULL, sms())$c$),
    ($c$ingest('fax', sms())$c$),
    ($c$ingest('SMS', sms())$c$),
    ($c$ingest('sms ', sms())$c$),
    ($c$ingest('sms', NULL)$c$),
    ($c$ingest('sms', '[]')$c$),
    ($c$ingest('sms', '"text"')$c$),
    ($c$ingest('sms', sms() - 'from')$c$),
    ($c$ingest('sms', sms('{"from": " "}'))$c$),
    ($c$ingest('sms', sms('{"from": 15550001}'))$c$),
    ($c$ingest('sms', sms('{"to": ""}'))$c$),
    ($c$ingest('sms', sms('{"from": "a<->b"}'))$c$),
    ($c$ingest('sms', sms() || jsonb_build_object('from', repeat('x', 511)))$c$),
    ($c$ingest('sms', sms('{"type": "smsx"}'))$c$),
    ($c$ingest('sms', sms('{"type": 1}'))$c$),
    ($c$ingest('mms', sms())$c$),
    ($c$ingest('sms', sms() - 'messaging_provider_id')$c$),
    ($c$ingest('sms', sms('{"messaging_provider_id": ""}'))$c$),
    ($c$ingest('sms', sms('{"messaging_provider_id": ""}'), mock => true)$c$),
    ($c$ingest('email', email() - 'xillio_id' || '{"messaging_provider_id": "x"}')$c$),
    ($c$ingest('sms', sms() - 'body')$c$),
    ($c$ingest('sms', sms('{"body": " \n\t "}'))$c$),
    ($c$ingest('sms', sms('{"body": 5}'))$c$),
    ($c$ingest('email', email('{"body": "\u3000"}'))$c$),
    ($c$ingest('sms', sms() - 'timestamp')$c$),
    ($c$ingest('sms', sms('{"timestamp": "yesterday"}'))$c$),
    ($c$ingest('mms', sms('{"type": "mms"}'))$c$),
    ($c$ingest('mms', sms('{"type": "mms", "attachments": []}'))$c$),
    ($c$ingest('sms', sms('{"attachments": ["https://example.com/a"]}'))$c$),
    ($c$ingest('email', email('{"attachments": "https://example.com/a"}'))$c$),
    ($c$ingest('email', email('{"attachments": {"a": 1}}'))$c$),
    ($c$ingest('email', email('{"attachments": [1]}'))$c$),
    ($c$ingest('email', email('{"attachments": ["file:///etc/passwd"]}'))$c$),
    ($c$ingest('email', email('{"attachments": ["javascript:x"]}'))$c$),
    ($c$ingest('email', email('{"attachments": ["https://"]}'))$c$),
    ($c$ingest('email', email('{"attachments": ["http://a b"]}'))$c$),
    ($c$ingest('email', email() || jsonb_build_object('attachments',
    (SELECT jsonb_agg('https://example.com/' || n) FROM generate_series(1, 9) n)))$c$),
    ($c$ingest('sms', sms(), ' ')$c$),
    ($c$ingest('sms', sms(), repeat('k', 256))$c$),
    ($c$ingest('sms', sms() || jsonb_build_object('body', repeat('x', 300000)))$c$)) AS c (call);
SELECT count(*) = :events AS nothing_stored FROM event_log;

-- Eight attachments are allowed, and so is an address of letters only.
SELECT duplicate FROM ingest('email', email('{"xillio_id": "eight"}')
    || jsonb_build_object('attachments',
    (SELECT jsonb_agg('https://example.com/' || n) FROM generate_series(1, 8) n)));
SELECT duplicate FROM ingest('sms', sms('{"messaging_provider_id": "letters", "from": "ACME"}'));
SELECT "from" FROM event_log WHERE provider_message_id = 'letters';

-- A timestamp is an ISO 8601 time with a zone.
SELECT t AS "timestamp", (ingest_batch(jsonb_build_array(jsonb_build_object(
    'channel', 'sms', 'payload', sms(jsonb_build_object('timestamp', t)))))).error_code
FROM unnest(ARRAY['2024-11-01T14:00:00Z', '2024-11-01t14:00:00.123456789z',
    '2024-11-01 14:00:00+01:00', '2024-11-01T14:00-0530', '2024-11-01T14:00:00+01',
    '2024-02-29T23:59:60Z', '2024-11-01', '2024-11-01T14:00:00', '2023-02-29T00:00:00Z',
    '2024-13-01T00:00:00Z', '2024-11-01T24:00:00Z', '2024-11-01T14:60:00Z',
    '2024-11-01T14:00:00Z ', '0000-11-01T14:00:00Z', '2024-11-01T14:00:00.Z',
    '2024-11-01T14:00:00+99:00', '2024-11-01T14:00:00+1', 'now', '']) t;

-- After its offset is applied, the year must be 0001 to 9999.
SELECT t AS "timestamp", (ingest_batch(jsonb_build_array(jsonb_build_object(
    'channel', 'sms', 'payload', sms(jsonb_build_object('timestamp', t)))))).error_code
FROM unnest(ARRAY['0001-01-01T00:00:00Z', '0001-01-01T01:00:00+01:00',
    '0001-01-01T00:00:00+01:00', '0001-01-01T00:29:59.999999+00:30',
    '0001-01-01T00:00:00-01:00', '9999-12-31T23:59:59.999999Z',
    '9999-12-31T23:59:59-01:00', '9999-12-31T23:59:60Z', '9999-12-31T20:00:00-05:00',
    '9999-12-31T23:59:59+01:00']) t;

-- The size limit applies to JSON text without white space: a payload of exactly
-- that size is accepted, one byte more is refused.
SELECT octet_length('{"from":"+1 (804) 555-1234","to":"+12016661234","type":"sms","messaging_provider_id":"size-0","body":"","timestamp":"2024-11-01T14:00:00Z"}') AS rest \gset
SELECT size, (ingest_batch(jsonb_build_array(jsonb_build_object('channel', 'sms',
    'payload', sms() || jsonb_build_object('messaging_provider_id', 'size-' || size - 262144,
        'body', repeat('x', size - :rest)))))).error_message
FROM (VALUES (262144), (262145)) AS v (size);

-- A number has the size of its printed form, and measuring stops at the first one
-- beyond the limit: each of these twenty thousand prints as 128 kB.
SELECT error_message FROM ingest_batch(jsonb_build_array(jsonb_build_object(
    'channel', 'sms', 'payload',
    sms() || ('{"n":[' || repeat('1e131071,', 20000) || '0]}')::jsonb)));

-- Secrets are redacted at any depth and in any case; the rest is stored.
SELECT duplicate FROM ingest('sms', sms('{"messaging_provider_id": "secret",
    "Authorization": "Bearer x", "headers": [{"X-API-Key": {"a": 1}, "host": "h"},
    {"deep": {"deeper": {"password": null, "pass": "p"}}}], "token": ["t"]}'));
SELECT payload - 'from' - 'to' FROM event_log WHERE provider_message_id = 'secret';
SET msgstore.redact_keys = 'Host, pass';
SELECT duplicate FROM ingest('sms', sms('{"messaging_provider_id": "host",
    "host": "h", "pass": 1, "password": "kept"}'));
SELECT payload -> 'host' AS host, payload -> 'pass' AS pass, payload -> 'password' AS password
FROM event_log WHERE provider_message_id = 'host';
RESET msgstore.redact_keys;

-- The same idempotency key returns the first event's id; with another payload it
-- is a conflict.
SELECT event_id AS first FROM ingest('sms', sms('{"messaging_provider_id": "key-1"}'), 'key') \gset
SELECT event_id = :'first' AS same_id, duplicate
FROM ingest('sms', sms('{"messaging_provider_id": "key-1"}'), 'key');
SELECT refused($$ SELECT ingest('sms', sms('{"messaging_provider_id": "key-2"}'), 'key') $$);
SELECT count(*) FROM event_log WHERE provider_message_id LIKE 'key-%';
-- A new key for a known event maps to that event.
SELECT event_id = :'first' AS same_id, duplicate
FROM ingest('sms', sms('{"messaging_provider_id": "key-1"}'), 'other key');
SELECT event_id = :'first' AS same_id, duplicate
FROM ingest('sms', sms('{"messaging_provider_id": "key-1"}'), 'other key');
-- A refused request does not use up its key.
SELECT refused($$ SELECT ingest('sms', sms('{"messaging_provider_id": "key-3", "body": ""}'), 'key 3') $$);
SELECT duplicate FROM ingest('sms', sms('{"messaging_provider_id": "key-3"}'), 'key 3');
-- After two hours a key can be used again, and expired rows are deleted.
UPDATE idempotency_keys SET expires_at = now() - interval '1 second';
SELECT duplicate FROM ingest('sms', sms('{"messaging_provider_id": "key-4"}'), 'key');
SELECT key, expires_at > now() + interval '119 minutes' AS fresh FROM idempotency_keys ORDER BY key;

-- A batch returns a row for each item; bad items do not affect the others, and
-- duplicates within the batch are found.
CREATE TEMP TABLE answers AS
SELECT * FROM ingest_batch(jsonb_build_array(
    jsonb_build_object('channel', 'sms', 'payload', sms('{"messaging_provider_id": "b-1"}')),
    jsonb_build_object('channel', 'fax', 'payload', sms()),
    3,
    jsonb_build_object('channel', 'sms', 'payload', sms('{"messaging_provider_id": "b-1"}')),
    jsonb_build_object('channel', 'email', 'payload', email('{"xillio_id": "b-1"}'), 'idempotency_key', 'b'),
    jsonb_build_object('channel', 'email', 'payload', email('{"xillio_id": "b-1"}'), 'idempotency_key', 'b'),
    jsonb_build_object('channel', 'email', 'payload', email('{"xillio_id": "b-2"}'), 'idempotency_key', 'b'),
    jsonb_build_object('channel', 'sms', 'payload', sms()),
    jsonb_build_object('channel', 'sms', 'payload', sms('{"messaging_provider_id": null}'), 'mock', true),
    jsonb_build_object('channel', 'sms', 'payload', sms(), 'mock', 'yes'),
    jsonb_build_object('channel', 1),
    '{}'::jsonb, 'null'::jsonb, '[]'::jsonb));
SELECT ordinal, event_id IS NOT NULL AS has_id, duplicate, error_code, error_message
FROM answers ORDER BY ordinal;
SELECT (SELECT event_id FROM answers WHERE ordinal = 1)
    = (SELECT event_id FROM answers WHERE ordinal = 4) AS same_event,
    (SELECT event_id FROM answers WHERE ordinal = 5)
    = (SELECT event_id FROM answers WHERE ordinal = 6) AS same_key;
SELECT channel, provider_message_id FROM event_log WHERE provider_message_id LIKE 'b-%' ORDER BY 1, 2;
SELECT * FROM ingest_batch('[]');
SELECT * FROM ingest_batch(NULL);
SELECT refused($$ SELECT * FROM ingest_batch('{}') $$);
SELECT refused($$ SELECT * FROM ingest_batch('1') $$);

-- A type that is not the name of a channel affects its item only.
INSERT INTO channels (name, address_kind, types) VALUES ('chat', 'opaque', '{chat,room}');
SELECT ordinal, error_code, error_message, error_detail FROM ingest_batch(jsonb_build_array(
    jsonb_build_object('channel', 'chat', 'payload', sms('{"type": "room", "messaging_provider_id": "c-1"}')),
    jsonb_build_object('channel', 'chat', 'payload', sms('{"type": "Chat", "messaging_provider_id": "c-2"}'))));
SELECT process() > 0 AS processed;

-- Each event is in exactly one place.
SELECT count(*) = (SELECT count(*) FROM event_queue) + (SELECT count(*) FROM messages) AS one_place
FROM event_log;

-- Ids are UUIDs of version 7 and ascend, even within a microsecond.
SELECT bool_and(id > before) AS rising,
    bool_and(id::text ~ '^.{14}7.{4}[89ab]') AS version_7,
    max(abs(extract(epoch FROM clock_timestamp()) * 1000
        - ('x' || translate(left(id::text, 13), '-', ''))::bit(48)::bigint)) < 60000 AS is_time
FROM (SELECT id, lag(id) OVER (ORDER BY n) AS before
      FROM (SELECT n, uuid7() AS id FROM generate_series(1, 10000) n) made) compared
WHERE before IS NOT NULL;

-- An event's time is in its id: an id and created_at are on the same side of any
-- time.
SELECT count(*) > 5 AS several,
    bool_and(created_at BETWEEN now() - interval '1 h' AND clock_timestamp()) AS recent,
    bool_and(date_trunc('milliseconds', created_at) = _time_of_uuid7(id)) AS is_time,
    bool_and((id >= _least_uuid7(at)) = (created_at >= at)) AS same_side
FROM event_log,
    LATERAL (SELECT created_at + n * interval '1 microsecond' AS at FROM generate_series(-500, 500) n) near;
SELECT at, _least_uuid7(at) FROM unnest('{-infinity,1969-12-31,1970-01-01T00:00:00.000001Z,2024-11-01T14:00:00.123456Z,infinity}'::timestamptz[]) at;

-- Further fields of the payload can be part of an event's identity. from and to
-- count as normalized, other values as text, and an absent field as itself. The
-- provider's id stays what it is.
UPDATE channels SET provider_id_fields = '{to,provider,part}' WHERE name = 'email';
SELECT changes, duplicate
FROM (VALUES (1, '{}'::jsonb), (2, '{"to": "USER+other@usehatchapp.com"}'), (3, '{"to": "b@x.example"}'),
    (4, '{"to": "B <b@X.example>"}'), (5, '{"provider": "one"}'), (6, '{"provider": "two"}'),
    (7, '{"provider": "two", "part": 1}'), (8, '{"provider": "two", "part": 1.0}'),
    (9, '{"provider": "two", "part": "1"}'), (10, '{"provider": "two", "part": [1]}'),
    (11, '{"provider": "two", "part": false}')) AS v (n, changes),
    ingest('email', email(changes || '{"xillio_id": "shared"}'))
ORDER BY n;
SELECT identity, provider_message_id FROM event_log WHERE channel = 'email' AND identity <> ''
ORDER BY id;
-- The same in a batch.
SELECT ordinal, duplicate, error_code FROM ingest_batch(jsonb_build_array(
    jsonb_build_object('channel', 'email', 'payload', email('{"xillio_id": "both", "to": "a@x.example"}')),
    jsonb_build_object('channel', 'email', 'payload', email('{"xillio_id": "both", "to": "b@x.example"}')),
    jsonb_build_object('channel', 'email', 'payload', email('{"xillio_id": "both", "to": "a@x.example"}')),
    jsonb_build_object('channel', 'email', 'payload', email('{"to": "a@x.example"}') - 'xillio_id', 'mock', true),
    jsonb_build_object('channel', 'email', 'payload', email('{"to": "a@x.example"}') - 'xillio_id', 'mock', true),
    jsonb_build_object('channel', 'email', 'payload', email('{"xillio_id": "shared"}'))));
-- A long identity is kept as a digest.
SELECT duplicate FROM generate_series(1, 2) AS n, ingest('email', email('{"xillio_id": "long"}')
    || jsonb_build_object('provider', repeat('x', 1000), 'n', n));
SELECT length(identity) FROM event_log WHERE provider_message_id = 'long';
SELECT provider_message_id, count(*) FROM inbound_events
WHERE provider_message_id IN ('shared', 'both', 'long') GROUP BY 1 ORDER BY 1;
UPDATE channels SET provider_id_fields = DEFAULT WHERE name = 'email';

-- read_payload() converts JSON text. Characters that PostgreSQL cannot store are
-- refused, with their position in characters, or replaced, at any depth and in
-- keys, too. An escaped backslash before u0000 is none of them.
SELECT name, refused(format('SELECT read_payload(%L)', json)) FROM (VALUES
    ('NUL', '{"body": "a\u0000b"}'),
    ('NUL after other letters', '{"bödy": "äö", "x": ["\u0041\u0000"]}'),
    ('NUL in a key', '{"a": {"k\u0000": 1}}'),
    ('high half', '{"body": "\ud83d"}'),
    ('high half, then a letter', '{"body": "\uD83Dx"}'),
    ('two high halves', '{"body": "\ud83d\ud83d\ude00"}'),
    ('low half', '{"body": "\uDE00 \ud83d\ude00"}'),
    ('low half before high half', '["\ude00\ud83d"]')) AS v (name, json);
-- What else is wrong with the text is MS400, too, in the server's words.
SELECT name, left(refused(format('SELECT read_payload(%L)', json)), 5) FROM (VALUES
    ('no JSON', '{"body": }'),
    ('text that ends early', '{"body": "x'),
    ('half an escape', '{"body": "\u00"}'),
    ('a number that is too long', '{"n": 1e400000}'),
    ('two marks', U&'\FEFF\FEFF{}')) AS v (name, json);
SELECT read_payload(NULL) IS NULL AS "null",
    read_payload(U&'\FEFF{"a": 1}') AS mark,
    read_payload('{"a": "\\u0000 \ud83d\ude00 \ufffd"}') AS fine;
SET msgstore.replace_invalid_text = 'replace';
SELECT read_payload(json) FROM (VALUES
    ('{"body": "a\u0000b"}'),
    ('{"a": {"k\u0000": [{"\ud83d": "\udE00"}]}}'),
    ('{"a": "\ud83d\ud83d\ude00\ude00"}'),
    ('{"a": "\\u0000 \\\u0000"}'),
    ('{"a\u0000": 1, "a\ud800": 2}'),
    (U&'\FEFF"\005Cudead"')) AS v (json);
SELECT left(refused($$ SELECT read_payload('{"a": "\u0000"') $$), 5);
SELECT duplicate FROM ingest('sms', read_payload('{"from": "+1 (804) 555-1234", "to": "+12016661234",
    "messaging_provider_id": "replaced", "body": "a\u0000b\ud83d",
    "timestamp": "2024-11-01T14:00:00Z"}'));
SELECT payload ->> 'body' AS body FROM event_log WHERE provider_message_id = 'replaced';
RESET msgstore.replace_invalid_text;

-- For another tenant, the same provider message id is a different event.
SET msgstore.tenant_id = 'acme';
SELECT duplicate FROM ingest('sms', sms());
SELECT duplicate FROM ingest('sms', sms());
RESET msgstore.tenant_id;
SELECT tenant_id, count(*) FROM event_log WHERE provider_message_id = 'message-1'
GROUP BY 1 ORDER BY 1;

-- The results are the same for a table with a user's trigger, and with a
-- transaction-wide snapshot.
CREATE FUNCTION pass() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER pass BEFORE INSERT ON event_log FOR EACH ROW EXECUTE FUNCTION pass();
SELECT duplicate FROM ingest('sms', sms('{"messaging_provider_id": "t-1"}'));
SELECT ordinal, duplicate, error_code FROM ingest_batch(jsonb_build_array(
    jsonb_build_object('channel', 'sms', 'payload', sms('{"messaging_provider_id": "t-1"}')),
    jsonb_build_object('channel', 'sms', 'payload', sms('{"messaging_provider_id": "t-2"}')),
    jsonb_build_object('channel', 'sms', 'payload', sms('{"messaging_provider_id": "t-2"}'))));
DROP TRIGGER pass ON event_log;
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT duplicate FROM ingest('sms', sms('{"messaging_provider_id": "t-2"}'));
SELECT duplicate FROM ingest('sms', sms('{"messaging_provider_id": "t-3"}'));
COMMIT;
SELECT duplicate FROM ingest('sms', sms('{"messaging_provider_id": "t-3"}'));
SELECT l.provider_message_id, q.lane = _lane(l.tenant_id, l.channel, l."from", l."to") AS in_its_lane
FROM event_log l JOIN event_queue q ON q.event_id = l.id
WHERE l.provider_message_id LIKE 't-%' ORDER BY 1;

-- Ids ascend in a batch, whatever the provider's message ids are, and fill the pages of
-- the keys: each entry takes 36 bytes. A null at the end of a row takes no space.
BEGIN;
TRUNCATE event_log, event_queue;
SELECT count(*) FROM generate_series(1, 40) b, ingest_batch((
    SELECT jsonb_agg(jsonb_build_object('channel', 'sms', 'payload', sms(jsonb_build_object('messaging_provider_id', md5(b || '-' || n)))))
    FROM generate_series(1, 100) n)) WHERE NOT duplicate;
SELECT relname, pg_relation_size(oid) / current_setting('block_size')::int AS pages
FROM pg_class WHERE relname IN ('event_log_pkey', 'event_queue_pkey') ORDER BY 1;
SELECT pg_relation_size('event_log') / current_setting('block_size')::int < 162 AS is_short;
ROLLBACK;

-- Names are not looked up in the caller's search_path: not by statements, and
-- not by what users add to the table.
CREATE SCHEMA hostile;
CREATE FUNCTION hostile.equal(text, text) RETURNS boolean LANGUAGE plpgsql AS
    $$BEGIN RAISE EXCEPTION 'the operator of the caller was called'; END$$;
CREATE OPERATOR hostile.= (LEFTARG = text, RIGHTARG = text, FUNCTION = hostile.equal);
CREATE FUNCTION keep_path(text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS
    $$BEGIN RETURN set_config('test.' || $1, current_setting('search_path'), false) <> ''; END$$;
SELECT sms('{"messaging_provider_id": "path-0"}') AS payload \gset
SET search_path = hostile, pg_catalog;
SELECT duplicate FROM msgstore.ingest('sms', :'payload', 'key-of-a-caller');
SELECT duplicate FROM msgstore.ingest('sms', :'payload', 'key-of-a-caller');
SELECT duplicate, error_code FROM msgstore.ingest_batch(jsonb_build_array(
    jsonb_build_object('channel', 'sms', 'payload', :'payload'::jsonb, 'idempotency_key', 'another')));
ALTER TABLE msgstore.event_log ADD CONSTRAINT path CHECK (msgstore.keep_path('row' || left(identity, 0)));
CREATE INDEX path ON msgstore.event_queue (msgstore.keep_path('index' || left(tenant_id, 0)))
    WHERE msgstore.keep_path('condition' || left(tenant_id, 0));
SET test.row = '';
SET test.index = '';
SET test.condition = '';
SELECT duplicate FROM msgstore.ingest('sms', jsonb_set(:'payload', '{messaging_provider_id}', '"path-1"'));
SELECT current_setting('test.row') AS "row", current_setting('test.index') AS index,
    current_setting('test.condition') AS condition;
SHOW search_path;
SET search_path = msgstore, public;
ALTER TABLE event_log DROP CONSTRAINT path;
DROP INDEX path;

DROP FUNCTION sms, email, refused, pass, keep_path;
DROP SCHEMA hostile CASCADE;
DROP EXTENSION msgstore;
