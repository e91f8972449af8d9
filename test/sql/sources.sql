-- Sources: creation, secrets, why a signature is not accepted, what a body becomes.
SET client_min_messages = warning;
CREATE EXTENSION msgstore;
SET search_path = msgstore, public;
\set VERBOSITY terse

CREATE FUNCTION github(secret text, body text) RETURNS jsonb LANGUAGE sql
RETURN jsonb_build_object('X-Hub-Signature-256', 'sha256=' || encode(
    msgstore._hmac_sha256(convert_to(secret, 'UTF8'), convert_to(body, 'UTF8')), 'hex'));
-- Signed with a time, of which the source accepts five minutes.
CREATE FUNCTION slack(secret text, body text, at timestamptz) RETURNS jsonb LANGUAGE sql
RETURN jsonb_build_object('X-Slack-Request-Timestamp', extract(epoch FROM at)::bigint, 'X-Slack-Signature', 'v0=' || encode(
    msgstore._hmac_sha256(convert_to(secret, 'UTF8'), convert_to(
        format('v0:%s:%s', extract(epoch FROM at)::bigint, body), 'UTF8')), 'hex'));
CREATE FUNCTION receive(name text, body text, headers jsonb DEFAULT '{}', query text DEFAULT '') RETURNS text
LANGUAGE sql
RETURN (
    SELECT concat_ws(' ', r.status, r.outcome, r.reason)
    FROM msgstore.list_sources() s, msgstore.receive_webhook(s.path, 'POST', 'http://x/' || query,
        '{"content-type": "application/json"}'::jsonb || headers, convert_to(body, 'UTF8')) r
    WHERE s.name = receive.name);

-- What a source must have.
SELECT create_source('Shop', 'generic', 'key');
SELECT create_source(NULL, 'generic', 'key');
SELECT create_source('shop', 'pigeon', 'key');
SELECT create_source('shop', 'generic');
SELECT create_source('shop', 'generic', ' ');
SELECT create_source('shop', 'generic', 'key', scheme => 'wax');
SELECT create_source('shop', 'generic', 'key', 'hooks.example.com');
SELECT create_source('shop', 'generic', 'key', 'https://hooks.example.com/#a');
SELECT create_source('shop', 'generic', 'key', time_zone => 'Mars');
SELECT create_source('shop', 'generic', 'key', tolerance => '-1 s');
SELECT create_source('shop', 'generic', 'key', max_attachments => -1);
SELECT create_source('shop', 'generic', 'key', mapping => '{}');
SELECT create_source('shop', 'generic', 'key', mapping => '[{"kind": "letter", "fields": {}}]');
SELECT create_source('shop', 'generic', 'key', mapping => '[{"kind": "message", "fields": {"from": "$..["}}]');
SELECT create_source('shop', 'generic', 'key', mapping => '[{"kind": "message", "item_path": "$[", "fields": {}}]');
SELECT create_source('shop', 'generic', 'key', answers => '{"accepted": {"status": 302}}');
SELECT create_source('shop', 'generic', 'key', answers => '{"ok": {"status": 200}}');
SET msgstore.tenant_id = 'acme';
SELECT create_source('shop', 'generic', 'key', tenant => 'other');
RESET msgstore.tenant_id;
SELECT count(*) FROM list_sources();

-- The path cannot be guessed, and is part of the URL unless that is given.
SELECT path ~ '^wh_[0-9a-f]{40}$' AS path, url IS NULL AS unknown_url, verify_token IS NULL AS no_token
FROM create_source('shop', 'generic', 'key', scheme => 'github');
SELECT create_source('shop', 'generic', 'key');
SELECT replace(url, path, 'PATH') AS url FROM create_source('host', 'generic', 'key', 'https://hooks.example.com/');
SELECT replace(url, path, 'PATH') AS url FROM create_source('url', 'twilio', 'key', 'https://hooks.example.com/in?a=b');
SELECT length(verify_token) FROM create_source('wa', 'whatsapp-cloud', 'key');
SELECT create_source('open', 'generic', scheme => 'none') \g /dev/null
SELECT create_source('slack', 'generic', 'key', scheme => 'slack') \g /dev/null
SELECT create_source('mail', 'mailgun-events', 'key') \g /dev/null
SELECT create_source('tx', 'telnyx', 'AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=') \g /dev/null
SELECT name, provider, scheme, signed, secrets, tolerance FROM list_sources();

-- Why a signature is not accepted.
CREATE TABLE requests (n serial, source text, headers jsonb, body text, url text DEFAULT '', at timestamptz DEFAULT '2024-07-01 12:00Z');
INSERT INTO requests (source, headers, body) VALUES
    ('shop', github('key', '{}'), '{}'),
    ('shop', '{}', '{}'),
    ('shop', '{"x-hub-signature-256": "sha256=xyz"}', '{}'),
    ('shop', '{"x-hub-signature-256": "none"}', '{}'),
    ('shop', github('key', '{}'), '{ }'),
    ('shop', github('other', '{}'), '{}'),
    ('slack', slack('key', '{}', '2024-07-01 11:56Z'), '{}'),
    ('slack', slack('key', '{}', '2024-07-01 11:54Z'), '{}'),
    ('slack', slack('key', '{}', '2024-07-01 12:06Z'), '{}'),
    ('slack', slack('key', '{}', '2024-07-01 12:00Z') || '{"X-Slack-Request-Timestamp": "noon"}', '{}'),
    ('slack', slack('key', '{}', '2024-07-01 12:00Z') - 'X-Slack-Request-Timestamp', '{}'),
    ('tx', '{"Telnyx-Signature-Ed25519": "***", "Telnyx-Timestamp": "1"}', '{}'),
    ('open', '{}', '{}');
SELECT r.n, r.source, v.verified, v.reason
FROM requests r, verify_signature(r.source, r.headers, convert_to(r.body, 'UTF8'), r.url, r.at) v ORDER BY r.n;
SELECT DISTINCT v.reason, v.detail
FROM requests r, verify_signature(r.source, r.headers, convert_to(r.body, 'UTF8'), r.url, r.at) v WHERE NOT v.verified ORDER BY 1;
SELECT verify_signature('none', '{}', '');

-- A token counts once. verify_signature() does not use it up.
CREATE VIEW event AS
SELECT jsonb_build_object('signature', jsonb_build_object('token', 't1', 'timestamp', s.at, 'signature', encode(
        _hmac_sha256('key', convert_to(s.at || 't1', 'UTF8')), 'hex')),
    'event-data', '{"event": "delivered", "message": {"headers": {"message-id": "m1@x"}}}'::jsonb)::text AS body
FROM (SELECT extract(epoch FROM now())::bigint::text AS at) s;
BEGIN;
SELECT verified, reason FROM event, verify_signature('mail', '{"content-type": "application/json"}', convert_to(body, 'UTF8'));
SELECT verified, reason FROM event, verify_signature('mail', '{"content-type": "application/json"}', convert_to(body, 'UTF8'));
SELECT receive('mail', body) FROM event;
SELECT verified, reason FROM event, verify_signature('mail', '{"content-type": "application/json"}', convert_to(body, 'UTF8'));
SELECT receive('mail', body) FROM event;
SELECT count(*) FROM delivery_statuses;
ROLLBACK;

-- During a rotation both secrets hold; after it, the new one.
SELECT rotate_source_secret('shop', 'new', '-1 s');
SELECT rotate_source_secret('shop', '');
SELECT rotate_source_secret('none', 'new');
SELECT rotate_source_secret('shop', 'new', '1 hour');
SELECT secrets, next_secret_end BETWEEN now() AND now() + interval '1 hour' AS ends FROM list_sources() WHERE name = 'shop';
SELECT s.secret, v.verified FROM unnest('{key,new,other}'::text[]) s (secret), verify_signature('shop', github(s.secret, '{}'), '{}') v;
SELECT s.secret, v.verified
FROM unnest('{key,new}'::text[]) s (secret), verify_signature('shop', github(s.secret, '{}'), '{}', at => now() + interval '2 hours') v;
SELECT rotate_source_secret('shop', 'newest', '0');
SELECT s.secret, v.verified FROM unnest('{key,new,newest}'::text[]) s (secret), verify_signature('shop', github(s.secret, '{}'), '{}') v;
UPDATE source_secrets SET not_after = now() WHERE source = 'shop';
SELECT verified, reason FROM verify_signature('shop', github('newest', '{}'), '{}');
SELECT receive('shop', '{}', github('newest', '{}'));

-- Nothing unverified is stored; what is verified is stored once.
SELECT receive('slack', '{"from": "+1", "to": "+2", "id": "a"}', slack('other', '{"from": "+1", "to": "+2", "id": "a"}', now()));
SELECT receive('slack', '{"from": "+1", "to": "+2", "id": "b", "body": "x"}', slack('key', '{"from": "+1", "to": "+2", "id": "b", "body": "x"}', now()))
FROM generate_series(1, 2);
SELECT receive('slack', 'no json', slack('key', 'no json', now()));
SELECT channel, provider_message_id, payload ->> 'source' AS source FROM inbound_events;

-- What a body would become.
SELECT item, kind, channel, provider_message_id, status, problem
FROM test_source('open', '{}', '[{"from": "+1", "to": "+2", "id": "a"}, {"provider_message_id": "b", "status": "sent"}, {"to": "+2"},
    {"from": "+1", "to": "+2", "id": "c", "attachments": ["http://x/1"]}, {"from": " ", "to": "+2"}]');
SELECT kind, problem FROM test_source('open', '{}', '{}');
SELECT test_source('open', '{}', '{');
SELECT test_source('none', '{}', '{}');
SELECT kind, payload ->> 'timestamp' AS "timestamp" FROM test_source('open', '{}',
    '[{"from": "+1", "to": "+2", "timestamp": "2024-07-01 12:00"}, {"from": "+1", "to": "+2", "timestamp": 1719835200000},
      {"from": "+1", "to": "+2", "timestamp": "Mon, 1 Jul 2024 14:00:00 +0200 (CEST)"}]');
SELECT count(*) FROM inbound_events;

-- Sources of tenants.
SELECT create_source('shop', 'generic', scheme => 'none', tenant => 'acme') \g /dev/null
SELECT drop_source('shop');
SET msgstore.tenant_id = 'acme';
SELECT name, tenant_id FROM list_sources();
SELECT drop_source('open');
SELECT drop_source('shop');
RESET msgstore.tenant_id;
SELECT drop_source('shop');
SELECT drop_source('shop');

-- Media are leased, and the attempt of a sender that dies counts.
SELECT create_account('gen', 'generic', '{mms}', 'secret', base_url => 'http://api.example.com/v1');
SELECT create_source('media', 'generic', scheme => 'none', media_account => 'gen') \g /dev/null
SELECT receive('media', '{"from": "+1", "to": "+2", "id": "m", "attachments":
    ["http://api.example.com/1", "http://api.example.com:81/2", "http://api.example.com.evil.example/3", "http://user@api.example.com/4",
     "http://api.example.com@evil.example/5", "https://api.example.com:443@evil.example/6"]}');
SELECT attempt, account, url, auth, secret, max_bytes FROM claim_media('s');
SELECT count(*) FROM claim_media('s');
UPDATE attachments SET next_fetch_at = now() - interval '1 s' WHERE position = 1;
SELECT attachment_id AS id, attempt FROM claim_media('s') \gset
SELECT :attempt AS attempt;
SELECT record_media('s', :'id', 503, 'Retry-After: 100', '') AS told, problem FROM get_attachment(:'id');
SELECT problem, url FROM get_attachment(:'id');
SELECT next_fetch_at > now() + interval '95 s' AS waits FROM attachments WHERE id = :'id';
SELECT fetch_attachment(:'id');
UPDATE attachments SET fetch_attempts = 7 WHERE id = :'id';
SELECT count(*) FROM claim_media('s');
SELECT record_media('s', :'id', 0, '', NULL, 'no route') AS told;
SELECT record_media('s', :'id', 200, '', 'late') AS told;
SELECT problem FROM get_attachment(:'id');
SELECT fetch_attachment(:'id');
SELECT record_media('s', :'id', 200, E'Content-Type: text/html; charset=x\r\n', 'now') AS told;
SELECT media_type, disposition, size_bytes, content, problem FROM get_attachment(:'id');
SELECT fetch_attachment(:'id');
SELECT claim_media('s', 0);
SELECT drop_source('media');
SELECT DISTINCT problem FROM attachments a, get_attachment(a.id) WHERE a.id <> :'id';

-- An e-mail with more bytes than a request can have is refused before it is made.
UPDATE attachments SET content = convert_to(repeat('x', 1000000), 'UTF8'), size_bytes = 1000000 WHERE id = :'id';
SELECT n, count(*), count(f ->> 'content') AS contents, min(f ->> 'problem') AS problem
FROM unnest('{2,101}'::int[]) n
CROSS JOIN jsonb_populate_record(NULL::messages, jsonb_build_object('tenant_id', '', 'attachments',
    (SELECT jsonb_agg('/api/attachments/' || :'id') FROM generate_series(1, n)))) m
CROSS JOIN jsonb_array_elements(_mail_files(m, '{}')) f
GROUP BY n ORDER BY n;
SELECT * FROM msgstore.check();
DROP EXTENSION msgstore CASCADE;
