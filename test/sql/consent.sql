-- Consent: opt-outs by keyword, provider, callback and hand; who is not sent what.
SET client_min_messages = warning;
CREATE EXTENSION msgstore;
SET search_path = msgstore, public;
SET client_min_messages = notice;

CREATE FUNCTION receive(id text, body text, channel text DEFAULT 'sms', more jsonb DEFAULT '{}') RETURNS void
LANGUAGE sql BEGIN ATOMIC
    SELECT msgstore.ingest(channel, '{"from": "+18045551234", "to": "+12016661234",
        "timestamp": "2024-11-01T14:00:00Z"}'::jsonb || jsonb_build_object('body', body, 'messaging_provider_id', id) || more);
    SELECT msgstore.process();
END;
CREATE FUNCTION message(body text, recipient text DEFAULT '+18045551234') RETURNS jsonb
LANGUAGE sql RETURN jsonb_build_object('from', '+12016661234', 'to', recipient, 'body', body,
    'timestamp', '2024-11-01T14:00:00Z');
-- The DETAIL of a refusal, without its time.
CREATE FUNCTION why(channel text, payload jsonb) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    detail text;
BEGIN
    PERFORM msgstore.send(channel, payload);
    RETURN 'sent';
EXCEPTION
    WHEN SQLSTATE 'MS403' THEN
        GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
        RETURN regexp_replace(detail, ' [0-9]{4}-[0-9TZ:-]+', ' TIME');
END
$$;
CREATE VIEW ledger AS SELECT action, channel, recipient, sender, reason, word, message_id IS NOT NULL AS has_message
FROM consent_log ORDER BY id;

-- A keyword is a whole message; case, blanks and punctuation do not matter.
SELECT receive('a' || n, body) FROM unnest('{"Please stop", stopping, "the end is near", "", "stop stop"}'::text[])
    WITH ORDINALITY AS b (body, n) WHERE body <> '';
SELECT count(*) FROM opt_outs;
SELECT receive('b', E' Stop!\n');
SELECT channel, recipient, sender, reason, word FROM opt_outs;
-- Again: nothing changes, and nothing is recorded twice.
SELECT receive('c', 'STOPALL');
SELECT * FROM ledger;

-- send() says why; mms from the same number is refused, too.
SELECT why('sms', message('Hello'));
\set VERBOSITY terse
SELECT send('sms', message('Hello'));
SELECT send('mms', message('Hello') || '{"attachments": ["https://x.org/a"]}');
-- Another sender, another channel, another recipient are not concerned.
SELECT duplicate FROM send('sms', message('Hello') || '{"from": "+12016660000"}');
SELECT duplicate FROM send('sms', message('Hello', '+18045550000'));
-- A refused message uses up no idempotency key.
SELECT send('sms', message('Hello'), 'key');
SELECT receive('d', 'START');
SELECT duplicate FROM send('sms', message('Hello'), 'key');
-- START and YES without an opt-out are ordinary messages; HELP is recorded.
SELECT receive('e', 'Yes'), receive('f', 'help');
SELECT * FROM ledger;

-- Queued messages are not sent, not even after a requeue.
SELECT message_id FROM send('sms', message('queued')) \gset
SELECT receive('g', 'quit');
SELECT body FROM claim_outbound('s') ORDER BY body;
SELECT status, error_code, error_message FROM outbound_messages WHERE id = :'message_id';
SELECT requeue(:'message_id');
SELECT count(*) FROM claim_outbound('s');
SELECT status, error_code FROM outbound_messages WHERE id = :'message_id';
-- With consent again, a requeue sends it.
SELECT opt_in('sms', '+1 804 555 1234', '+1 201 666 1234');
SELECT requeue(:'message_id');
SELECT body FROM claim_outbound('s');
SELECT sent(:'message_id', 'P-1', 's');

-- What the provider says counts more than the words.
SELECT receive('h', 'no more please', more => '{"opt_out": "STOP"}');
SELECT reason, word FROM opt_outs;
SELECT receive('i', 'ok', more => '{"opt_out": "START"}'), count(*) FROM opt_outs;

-- Callbacks: complaints and unsubscribed recipients of messages that are known.
SELECT message_id FROM send('email', '{"from": "a@x.org", "to": "b+tag@y.org", "body": "x", "timestamp": "2024-11-01T14:00:00Z"}') \gset
SELECT sent(:'message_id', 'E-1');
SELECT status FROM record_status('email', 'E-0', 'spamreport');
SELECT count(*) FROM opt_outs;
SELECT status FROM record_status('email', 'E-1', 'spamreport');
SELECT channel, recipient, sender, reason, word FROM opt_outs;
SELECT why('email', '{"from": "a@x.org", "to": "b@y.org", "body": "x", "timestamp": "2024-11-01T14:00:00Z"}');
SELECT status FROM record_status('email', 'E-1', 'group_resubscribe');
SELECT count(*) FROM opt_outs;

-- By hand, for all of a tenant's senders. A reply to one sender does not end it.
SELECT opt_out('sms', '+1 804 555 1234'), opt_out('sms', '+18045551234');
SELECT receive('j', 'start'), count(*) FROM opt_outs;
SELECT why('sms', message('x') || '{"from": "+12016660000"}');
SELECT opt_in('sms', '+18045551234'), opt_in('sms', '+18045551234');
SELECT opt_out('fax', 'x');
SELECT opt_out('sms', ' ');
SELECT opt_out('sms', '+1', reason => 'because');

-- Each tenant has its own.
SET msgstore.tenant_id = 'acme';
SELECT opt_out('sms', '+18045551234');
SET msgstore.tenant_id = 'other';
SELECT duplicate FROM send('sms', message('x'));
RESET msgstore.tenant_id;
SELECT tenant_id, recipient FROM opt_outs;

-- Keywords are data.
UPDATE channels SET stop_words = '{basta,arrêt}' WHERE name = 'sms';
SELECT receive('k', 'Basta!'), count(*) FROM opt_outs WHERE tenant_id = '';
SELECT word FROM opt_outs WHERE tenant_id = '';
SELECT opt_in('sms', '+18045551234', '+12016661234'), receive('l', 'arrêt'), receive('m', 'stop');
SELECT word FROM opt_outs WHERE tenant_id = '';
UPDATE channels SET stop_words = '{Basta}' WHERE name = 'sms';
UPDATE channels SET stop_words = '{"no way"}' WHERE name = 'sms';
INSERT INTO channels (name, address_kind) VALUES ('chat', 'phone'), ('letter', 'opaque');
SELECT name, stop_words, start_words, help_words FROM channels WHERE name IN ('chat', 'letter', 'email') ORDER BY name;

-- The ledger is purged only if asked; opt-outs stay.
SELECT sum(removed) FROM purge('0') WHERE kind ~ 'consent';
SELECT kind, removed = (SELECT count(*) FROM consent_log) AS all_of_it FROM purge('0', dry_run => true, kinds => '{consent_log}');
SELECT kind, removed > 0 AS removed FROM purge('0', kinds => '{consent_log}');
SELECT (SELECT count(*) FROM consent_log) AS log, (SELECT count(*) > 0 FROM opt_outs) AS opt_outs;
DROP VIEW ledger;
DROP FUNCTION message, receive, why;
DROP EXTENSION msgstore;
