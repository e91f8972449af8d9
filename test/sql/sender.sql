-- Accounts: who sends what, templates, what answers mean, rates, callbacks.
SET client_min_messages = warning;
CREATE EXTENSION msgstore;
SET search_path = msgstore, public;
SET msgstore.backoff_base = '1ms';
\set VERBOSITY terse

CREATE FUNCTION message(body text, sender text DEFAULT '+12016661234', channel text DEFAULT 'sms', more jsonb DEFAULT '{}')
RETURNS uuid LANGUAGE sql BEGIN ATOMIC
    SELECT message_id FROM msgstore.send(channel, '{"timestamp": "2024-11-01T14:00:00Z"}'::jsonb
        || jsonb_build_object('from', sender, 'to', CASE channel WHEN 'email' THEN 'b@y.org' ELSE '+18045551234' END, 'body', body)
        || more);
END;
CREATE VIEW outcome AS
SELECT m.body, o.status, o.attempt_count AS failed, o.error_code, o.error_message, 
    CASE o.provider_message_id WHEN o.id::text THEN 'own' ELSE o.provider_message_id END AS id
FROM outbound_messages o JOIN messages m USING (tenant_id, id) ORDER BY m.id;

-- What an account must have.
SELECT create_account('Main', 'twilio', '{sms}');
SELECT create_account('main', 'pigeon', '{sms}');
SELECT create_account('main', 'twilio', '{sms}');
SELECT create_account('main', 'twilio', '{fax}', options => '{"account_sid": "AC1"}');
SELECT create_account('main', 'twilio', '{}', options => '{"account_sid": "AC1"}');
SELECT create_account('main', 'generic', '{sms}');
SELECT create_account('main', 'generic', '{sms}', base_url => 'ftp://x');
SELECT create_account('main', 'smtp', '{email}', base_url => 'http://x');
SELECT create_account('main', 'generic', '{sms}', base_url => 'http://x', rate => 0);
SELECT create_account('main', 'generic', '{sms}', E'a\nb', base_url => 'http://x');
SELECT create_account('main', 'generic', '{sms}', base_url => 'http://x', source => 'none');
SELECT create_account('main', 'generic', '{sms}', base_url => 'http://x', timeout => '1 hour');
SELECT rotate_account_secret('main', 'x');
SELECT claim_requests('s');

-- By tenant, then by the sender's address.
SELECT create_account('shared', 'generic', '{sms}', 'secret', base_url => 'http://shared');
SELECT create_account('shared', 'generic', '{sms}', base_url => 'http://shared');
SELECT create_account('number', 'generic', '{sms}', base_url => 'http://number', addresses => '{+1 201 666 0001}');
SELECT create_account('acme', 'generic', '{sms}', base_url => 'http://acme', tenant => 'acme');
SELECT message('one'), message('two', '+12016660001') IS NOT NULL \g /dev/null
SET msgstore.tenant_id = 'acme';
SELECT message('three', '+12016660001') \g /dev/null
RESET msgstore.tenant_id;
SELECT body::jsonb ->> 'body' AS body, account, url, secret, secret_name FROM claim_requests('s') ORDER BY 1;
-- A tenant sees its own accounts only.
SET msgstore.tenant_id = 'acme';
SELECT name FROM list_accounts();
SELECT drop_account('shared');
RESET msgstore.tenant_id;
SELECT name, tenant_id, has_secret, resend FROM list_accounts();
SELECT drop_account(name) FROM list_accounts() \g /dev/null
TRUNCATE outbox;

-- Values that would break a URL, a form or a header are encoded.
SELECT _fill_text('{base}/a/{x}?b={y}', '{"base": "http://h", "x": "a/b c", "y": "ü&="}', true);
SELECT _fill_text('{base}/{missing}', '{"base": "http://h"}', true);
SELECT _fill('{"a": "{x}", "b": "n {x}", "c": ["{y}"], "d": {"e": "{y}"}, "f": {"each": "l", "item": {"v": "{item}"}}, "g": 1, "h": "{l}"}',
    '{"x": "1", "l": ["p", "q"]}');
SELECT _form_of('{"a": ["1", "2"], "b b": "ü&", "c": 3}');
SELECT _mail_words('plain'), _mail_words('ünïcode =?'), _mail_words(E'a\r\nBcc: x');
SELECT _mail_address('{"email": "a@x.org", "name": "O\"Hara, \\"}'), _mail_address('{"email": "a@x.org"}');

-- What answers mean, for a provider without idempotency keys.
SELECT create_account('t', 'twilio', '{sms,mms}', 'AC1:x', '{"account_sid": "AC1"}');
CREATE FUNCTION answer(body text, status int, answer text DEFAULT '', headers text DEFAULT '', failure text DEFAULT NULL, was_sent boolean DEFAULT true)
RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    id uuid := message(body);
BEGIN
    UPDATE msgstore.accounts SET failures = 0, paused_until = NULL;
    PERFORM FROM msgstore.claim_requests('s');
    RETURN msgstore.record_answer('s', id, status, headers, convert_to(answer, 'UTF8'), failure, was_sent);
END
$$;
SELECT answer('accepted', 201, '{"sid": "SM1"}'), answer('without an id', 200, 'fine'), answer('refused', 400, '{"code": 21211, "message": "bad number"}'),
    answer('opted out', 400, '{"code": 21610, "message": "unsubscribed"}');
SELECT recipient, reason, word FROM opt_outs;
SELECT opt_in('sms', '+18045551234', '+12016661234');
SELECT answer('broken', 500, '<html>'), answer('busy', 429, '', E'HTTP/1.1 429\r\nRetry-After: 60'), answer('unavailable', 503),
    answer('wrong secret', 401, '{"code": 20003, "message": "Authenticate"}'), answer('gateway', 502), answer('timed out', 0, failure => 'timeout'),
    answer('not connected', 0, failure => 'refused', was_sent => false), answer('odd', 302);
SELECT * FROM outcome WHERE body NOT IN ('one', 'two', 'three');
SELECT m.body, next_attempt_at > now() + interval '30 s' AS waits FROM outbox o JOIN messages m ON m.id = o.message_id
WHERE body = 'busy';
SELECT failures, paused_until > now() AS paused, last_error FROM list_accounts();
-- A person decides.
SELECT sent(id, 'found') FROM outbound_messages WHERE status = 'uncertain' ORDER BY id LIMIT 1;
SELECT requeue(id) FROM outbound_messages WHERE status = 'uncertain' ORDER BY id LIMIT 1;
SELECT body, status, id FROM outcome WHERE body IN ('gateway', 'timed out');
TRUNCATE outbox;

-- A lease that expires.
SELECT message('lost') AS id \gset
UPDATE accounts SET failures = 0, paused_until = NULL;
SELECT count(*) FROM claim_requests('s');
UPDATE outbox SET next_attempt_at = now() - interval '1 s';
SELECT reap_outbound();
SELECT body, status, error_code FROM outcome WHERE body = 'lost';
SELECT record_answer('s', :'id', 201, '', '{"sid": "SM2"}');
SELECT body, status, id FROM outcome WHERE body = 'lost';
-- Reports of others.
SELECT message('held') AS id \gset
SELECT count(*) FROM claim_requests('s');
\set VERBOSITY sqlstate
SELECT record_answer('other', :'id', 400, '', '');
SELECT record_answer('s', uuid7(), 400, '', '');
SELECT record_answer(' ', :'id', 400, '', '');
\set VERBOSITY terse
TRUNCATE outbox;

-- A rate: a burst of two, then a place in the queue for each.
UPDATE accounts SET rate = 0.01;
SELECT message('r' || n) FROM generate_series(1, 5) n \g /dev/null
SELECT count(*) FILTER (WHERE message_id IS NOT NULL) AS requests, bool_or(again) AS again FROM claim_requests('s');
SELECT m.body, round(extract(epoch FROM o.next_attempt_at - now()) / 100) AS hundreds_of_seconds
FROM outbox o JOIN messages m ON m.id = o.message_id WHERE o.sender_id IS NULL ORDER BY m.id;
SELECT count(*) FROM claim_requests('s');
TRUNCATE outbox;

-- After three failures, one message finds out whether the provider is back.
UPDATE accounts SET rate = NULL, failures = 3, paused_until = now() - interval '1 s';
SELECT message('p' || n) FROM generate_series(1, 3) n \g /dev/null
SELECT count(message_id) FROM claim_requests('s');
SELECT record_answer('s', message_id, 201, '', '{"sid": "SM3"}') FROM outbox WHERE sender_id = 's';
SELECT failures FROM list_accounts();
SELECT count(message_id) FROM claim_requests('s');
TRUNCATE outbox;

-- A callback finds its message by its URL, also an uncertain one.
SELECT url FROM create_source('cb', 'generic', scheme => 'none', public_url => 'https://hooks.example.com') \gset
SELECT drop_account('t');
SELECT create_account('g', 'generic', '{sms}', 'token', base_url => 'http://x', source => 'cb', resend => false);
SELECT message('called back') AS id \gset
SELECT body::jsonb ->> 'callback_url' = :'url' || '?message_id=' || :'id' AS passed FROM claim_requests('s');
SELECT record_answer('s', :'id', 0, '', '', 'timeout');
SELECT body, status FROM outcome WHERE body = 'called back';
SELECT r.status, outcome FROM list_sources() s, receive_webhook(s.path, 'POST', :'url' || '?message_id=' || :'id',
    '{"content-type": "application/json"}', '{"provider_message_id": "P-9", "status": "delivered", "channel": "sms"}') r;
SELECT body, status, id FROM outcome WHERE body = 'called back';
-- Of another message, or garbage: the status is recorded anyway.
SELECT r.status, outcome FROM list_sources() s, unnest(ARRAY[uuid7()::text, 'x', :'id']) m, receive_webhook(s.path, 'POST',
    :'url' || '?message_id=' || m, '{"content-type": "application/json"}', '{"provider_message_id": "P-10", "status": "delivered", "channel": "sms"}') r;
SELECT count(*) FROM deliveries WHERE provider_message_id = 'P-10';

-- Destinations: refusals, one secret each, signatures.
SELECT create_destination('crm', 'ftp://x');
SELECT create_destination('crm', 'http://user:password@x');
SELECT create_destination('crm', 'http://x', '{everything}');
SELECT create_destination('crm', 'http://x', secret => 'short');
SELECT create_destination('crm', 'http://x', timeout => '1 hour');
SELECT create_destination('crm', 'http://x', secret => 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw');
SELECT create_destination('crm', 'http://x');
SELECT pause_destination('other');
SELECT encode(_hmac_sha256('key', 'The quick brown fox jumps over the lazy dog'), 'hex');
SELECT encode(_hmac_sha256(convert_to(repeat('k', 100), 'UTF8'), 'x'), 'hex');
\set VERBOSITY sqlstate
SELECT record_notification('s', uuid7(), 200);
\set VERBOSITY terse
SELECT claim_notifications('s', 0);

-- Notifications that were given up are purged with the dead letters.
SELECT create_destination('gone', 'http://x') IS NOT NULL AS created, test_destination('gone') IS NOT NULL AS queued;
UPDATE notifications SET dead_at = now() - interval '2 days', next_attempt_at = 'infinity';
SELECT test_destination('gone') \g /dev/null
SELECT kind, removed FROM purge('3 days', kinds => '{dead_letters}');
SELECT (_purge_batch('dead_letters', now() - interval '3 days', 10)).*;
SELECT _next_purge('dead_letters', '3 days') > now() AS later;
SELECT (_purge_batch('dead_letters', now() - interval '1 day', 10)).*;
SELECT dead, waiting FROM list_destinations();
DROP VIEW outcome;
DROP FUNCTION message, answer;
DROP EXTENSION msgstore;
