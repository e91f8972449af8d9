CREATE EXTENSION msgstore;
SET search_path = msgstore, public;
-- Long times: the test makes retries and leases due by hand.
SET msgstore.backoff_base = '1h';
SET msgstore.backoff_max = '1h';
SET msgstore.claim_timeout = '1h';

CREATE FUNCTION public.message(body text, recipient text DEFAULT '+18045551234') RETURNS jsonb LANGUAGE sql AS
$$ SELECT jsonb_build_object('from', '+12016661234', 'to', recipient, 'body', body,
    'timestamp', '2024-11-01T14:00:00Z') $$;
-- The id of a message by its body.
CREATE FUNCTION public.id(body text) RETURNS uuid LANGUAGE sql AS
$$ SELECT m.id FROM msgstore.messages m WHERE m.body = id.body $$;
-- The state of each message.
CREATE VIEW public.state AS
SELECT m.body, o.status, o.provider, o.provider_message_id AS provider_id, o.attempt_count AS failed,
    o.sender_id AS sender, o.error_code, o.error_message
FROM msgstore.outbound_messages o JOIN msgstore.messages m USING (id) ORDER BY o.id;
-- Makes all retries due and all leases expire.
CREATE FUNCTION public.time_passes() RETURNS bigint LANGUAGE sql AS
$$ WITH due AS (UPDATE msgstore.outbox SET next_attempt_at = now() - interval '1 s'
                WHERE next_attempt_at IS NOT NULL RETURNING 1)
   SELECT count(*) FROM due $$;

-- A message is queued if its channel has a provider.
INSERT INTO channels (name, address_kind) VALUES ('pigeon', 'opaque');
SELECT duplicate FROM send('sms', message('one'), correlation_id => 'request-1');
SELECT duplicate FROM send('pigeon', message('coo'));
SELECT * FROM state;
-- A duplicate is not queued again, and a rolled back message not at all.
SELECT duplicate FROM send('sms', message('one'));
BEGIN;
SELECT duplicate FROM send('sms', message('nothing'));
ROLLBACK;
SELECT count(*) FROM outbox;

-- A sender claims the oldest messages first, with all it needs to send them.
SELECT count(*) FROM unnest('{two,three}'::text[]) body, send('sms', message(body));
SELECT duplicate FROM send('email', '{"from": "a@x.org", "to": "b@x.org", "body": "<p>four</p>",
    "attachments": ["https://x.org/1"], "timestamp": "2024-11-01T15:00:00+01:00"}');
SELECT message_id = id('one') AS same, tenant_id, channel, provider, "from", "to", body, attachments,
    "timestamp", correlation_id, attempt, payload = message('one') AS payload FROM claim_outbound('a', 1);
SELECT channel, provider, "from", "to", body, attachments, attempt FROM claim_outbound('b');
-- A claimed message cannot be claimed by others.
SELECT count(*) FROM claim_outbound('c');
SELECT body, status, sender FROM state;

-- The sender gets the addresses as they were given, and the whole payload; keys and
-- the order of a conversation go by the identity.
BEGIN;
UPDATE channels SET strict_order = true WHERE name IN ('email', 'sms');
SELECT count(*) FROM unnest('{reply+AB12Token@reply.example,MixedCase+Tok@x.example,
    "Ann <ann@x.example>"}'::text[]) a, send('email', jsonb_build_object('from', '"Desk" <Desk+1@x.example>', 'to', a,
    'subject', 'Hi', 'cc', '["c@x.example"]'::jsonb, 'body', 'five', 'timestamp', '2024-11-01T14:00:00Z'));
SELECT count(*) FROM unnest('{Bank24,+1 (804) 555-9999,whatsapp:+18045559999}'::text[]) a, send('sms', message('six', a));
SELECT "from", "to", body, payload - 'body' - 'timestamp' - 'from' AS payload FROM claim_outbound('given');
SELECT "from", from_given, "to", to_given, subject FROM outbound_messages WHERE sender_id = 'given' ORDER BY id;
ROLLBACK;
-- A message without a payload is claimed, too.
BEGIN;
DELETE FROM outbound_payloads;
SELECT duplicate FROM send('sms', message('seven'));
DELETE FROM outbound_payloads;
SELECT body, "to", payload FROM claim_outbound('purged');
ROLLBACK;
-- A table that somebody has altered gets its rows by a statement.
BEGIN;
CREATE FUNCTION public.see() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE NOTICE '% %', TG_TABLE_NAME, to_jsonb(NEW) - 'message_id' - 'conversation_id'; RETURN NEW; END $$;
CREATE TRIGGER see BEFORE INSERT ON outbox FOR EACH ROW EXECUTE FUNCTION see();
CREATE TRIGGER see BEFORE INSERT ON outbound_payloads FOR EACH ROW EXECUTE FUNCTION see();
SELECT duplicate FROM send('sms', message('eight'));
UPDATE channels SET strict_order = true WHERE name = 'sms';
SELECT duplicate FROM send('sms', message('nine'));
SELECT body, o.conversation_id IS NOT NULL AS ordered FROM outbox o JOIN messages m ON m.id = message_id
    JOIN outbound_payloads USING (message_id) WHERE body IN ('eight', 'nine') ORDER BY body;
ROLLBACK;

-- A sent message leaves the outbox and has the provider's id.
SELECT sent(id('one'), 'p-1', 'a');
SELECT body, status, provider, provider_id, sender FROM state WHERE body = 'one';
SELECT count(*) FROM outbox;
-- The same report again changes nothing; another id is a conflict.
SELECT sent(id('one'), 'p-1', 'a');
SELECT sent(id('one'), 'p-1');
-- Errors, without ids: another id for a sent message, an id that belongs to another
-- message, a message that another sender holds, one that does not exist or is not
-- outbound, a failure of a message that was sent or is not in the outbox, and
-- blank or too long arguments.
SELECT duplicate FROM ingest('sms', message('in') || '{"messaging_provider_id": "in-1"}');
SELECT process();
CREATE FUNCTION public.refusal(command text, OUT code text, OUT message text, OUT detail text, OUT hint text)
LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE command;
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, message = MESSAGE_TEXT,
        detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    message := regexp_replace(message, '[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}', 'ID');
END $$;
\x
SELECT r.* FROM unnest(ARRAY[
    $$SELECT sent(id('one'), 'p-2', 'a')$$,
    $$SELECT sent(id('two'), 'p-1', 'b')$$,
    $$SELECT sent(id('two'), 'p-2', 'a')$$,
    $$SELECT send_failed(id('two'), 'E1', 'no', 'a')$$,
    $$SELECT sent('00000000-0000-0000-0000-000000000000', 'p-2', 'a')$$,
    $$SELECT sent(NULL, 'p-2', 'a')$$,
    $$SELECT sent(id('in'), 'p-2', 'a')$$,
    $$SELECT send_failed('00000000-0000-0000-0000-000000000000', 'E1', 'no', 'a')$$,
    $$SELECT send_failed(id('one'), 'E1', 'no', 'a')$$,
    $$SELECT send_failed(id('coo'), 'E1', 'no')$$,
    $$SELECT sent(id('two'), ' ', 'b')$$,
    $$SELECT sent(id('two'), NULL, 'b')$$,
    $$SELECT sent(id('two'), repeat('x', 511), 'b')$$,
    $$SELECT send_failed(id('two'), '', 'no', 'b')$$,
    $$SELECT claim_outbound(' ')$$,
    $$SELECT claim_outbound(NULL)$$,
    $$SELECT claim_outbound(repeat('x', 256))$$,
    $$SELECT claim_outbound('a', 0)$$,
    $$SELECT claim_outbound('a', NULL)$$,
    $$SELECT heartbeat_outbound('')$$]) WITH ORDINALITY c (command, n), refusal(command) r ORDER BY n;
\x

-- A failed attempt is recorded and retried, with the number of the attempt.
SELECT send_failed(id('two'), 'E1', 'line is busy', 'b');
SELECT body, status, failed, sender, error_code, error_message FROM state WHERE body = 'two';
SELECT count(*) FROM claim_outbound('a');
SELECT time_passes();
SELECT body, attempt FROM claim_outbound('a', 1);
-- A sender that has reported a failure has lost the message.
SELECT (refusal($$SELECT send_failed(id('two'), 'E1', 'no', 'b')$$)).message;
SELECT sent(id('two'), 'p-2', 'a');
-- The failure is still shown after the message was sent.
SELECT body, status, failed, error_code FROM state WHERE body = 'two';

-- After max_retries failed retries, or a permanent failure, the message is given up.
SET msgstore.max_retries = 1;
SELECT reap_outbound();
SELECT send_failed(id('three'), 'E2', 'no such number', NULL, true);
SELECT count(*) FROM send('sms', message('five'));
SELECT body, send_failed(message_id, 'E3', 'no', 'a') FROM claim_outbound('a') WHERE body = 'five';
SELECT count(*) FROM time_passes();
SELECT body, attempt, send_failed(message_id, 'E4', repeat('x', 2000), 'a')
FROM claim_outbound('a') WHERE body = 'five';
SELECT body, status, failed, error_code, length(error_message) FROM state WHERE status = 'failed';
SELECT direction, attempt_count, jsonb_array_length(attempts) AS attempts, attempts -> 0 ->> 'processor_id' AS sender
FROM dead_letters ORDER BY died_at;
RESET msgstore.max_retries;
-- Queued again, it starts over.
WITH dead AS (DELETE FROM dead_letters WHERE event_id = id('five') RETURNING tenant_id, event_id)
INSERT INTO outbox (tenant_id, message_id) SELECT * FROM dead;
SELECT body, attempt FROM claim_outbound('a');

-- A lease without a heartbeat expires, which counts as a failed attempt.
SELECT heartbeat_outbound('a'), heartbeat_outbound('nobody');
SELECT reap_outbound();
SELECT time_passes();
-- A heartbeat in time renews it.
SELECT heartbeat_outbound('a');
SELECT reap_outbound();
SELECT time_passes();
SELECT reap_outbound();
SELECT body, status, failed, sender, error_code, error_message FROM state WHERE error_code = 'MS504';
SELECT heartbeat_outbound('a');
-- The message can be claimed at once; a claim reaps expired leases first.
SELECT body, attempt FROM claim_outbound('b', 1);
SELECT time_passes();
SELECT body, attempt FROM claim_outbound('c', 1);
-- A late report of success is accepted unless another sender holds the message.
SELECT (refusal($$SELECT sent(id('five'), 'p-5', 'b')$$)).message;
SELECT time_passes();
SELECT sent(id('five'), 'p-5', 'b');
SELECT (refusal($$SELECT send_failed(id('five'), 'E5', 'no', 'c')$$)).message;
-- A dead letter that was sent after all is not sent again.
SELECT sent(id('three'), 'p-3', 'b');
SELECT body, status, failed FROM state WHERE body IN ('three', 'five') ORDER BY body;
SELECT count(*) FROM dead_letters;
-- A message of a channel without a provider can be reported, too.
SELECT sent(id('coo'), 'wing-1');
SELECT body, status, provider FROM state WHERE body = 'coo';

-- Callbacks advance the status and never move it back; all are kept.
TRUNCATE outbox, deliveries, delivery_statuses, messages, conversation_rows, conversation_activity, conversation_changes, idempotency_keys;
SELECT count(*) FROM send('sms', message('six')), LATERAL sent(message_id, 'p-6');
SELECT status, id('six') = message_id AS known, callback_id IS NOT NULL AS kept
FROM record_status('sms', 'p-6', 'DELIVERED', '{"carrier": "x"}');
SELECT status FROM record_status('sms', 'p-6', ' sent ');
SELECT status FROM record_status('sms', 'p-6', 'queued');
SELECT status FROM record_status('sms', 'p-6', 'failed');
SELECT status FROM record_status('sms', 'p-6', 'undelivered');
SELECT status FROM record_status('sms', 'p-6', 'Read', 'null');
SELECT status FROM record_status('sms', 'p-6', 'delivered');
SELECT status, detail FROM delivery_statuses ORDER BY id;
-- From each status to each.
SELECT known, string_agg(_later_status(known, reported), ' ' ORDER BY n) AS then
FROM unnest('{queued,sent,delivered,read,failed,undelivered}'::text[]) WITH ORDINALITY k (known, m),
    unnest('{queued,sent,delivered,read,failed,undelivered}'::text[]) WITH ORDINALITY r (reported, n)
GROUP BY known, m ORDER BY m;
-- status_at is the time of the first callback with that status.
SELECT d.status, d.status_at = s.received_at AS first_told
FROM deliveries d, delivery_statuses s WHERE s.status = 'read';

-- A callback that arrives before the sender's report is matched later.
SELECT status, message_id FROM record_status('sms', 'p-7', 'delivered');
SELECT count(*) FROM send('sms', message('seven'));
SELECT status FROM state WHERE body = 'seven';
SELECT sent(id('seven'), 'p-7');
SELECT status, message_id = id('seven') AS known FROM record_status('sms', 'p-7', 'read');
SELECT body, status, provider, provider_id FROM state WHERE body = 'seven';
-- On another channel, the id belongs to another message.
SELECT status, message_id FROM record_status('mms', 'p-7', 'failed');

-- Providers' words stand for a status; a word that is not known is recorded and
-- counted, and changes nothing.
SELECT sum(value::bigint) AS unknown_before FROM jsonb_each_text(metrics()) WHERE key = 'callbacks_unknown_status' \gset
SELECT r.word, s.status, s.message_id IS NOT NULL AS known
FROM unnest('{accepted,Scheduled,sending,submitted,teleported,delivery-unconfirmed,"Delivery Failed",bounced,delivered}'::text[])
         WITH ORDINALITY AS r (word, n),
    LATERAL record_status('sms', 'p-words', r.word) s ORDER BY r.n;
SELECT word, status FROM delivery_statuses WHERE provider_message_id = 'p-words' ORDER BY id;
SELECT value::bigint - :unknown_before AS unknown FROM jsonb_each_text(metrics()) WHERE key = 'callbacks_unknown_status';
SELECT o.status FROM record_status('sms', 'p-odd', 'teleported'), LATERAL record_status('sms', 'p-odd', 'opened') o;
SELECT c.status FROM record_status('sms', 'p-complaint', 'delivered'), LATERAL record_status('sms', 'p-complaint', 'complained') c;
-- Every common word is known, however it is written.
SELECT f.status, f.known, string_agg(w.word, ' ' ORDER BY w.n) AS words
FROM unnest('{queued,Accepted,scheduled,created,pending,enqueued,processing,processed,SENDING,sent,submitted,Buffered,dispatched,
    deferred,"delivery unconfirmed",delivered,complained,spamreport,read,seen,opened,clicked,failed,canceled,cancelled,
    rejected,dropped,undelivered,delivery-failed,expired,bounced,blocked,hard_bounce,unsubscribed,teleported}'::text[])
         WITH ORDINALITY AS w (word, n), LATERAL _find_status('', _status_word(w.word)) f
GROUP BY f.status, f.known ORDER BY min(w.n);
-- An installation adds words, and changes them for all providers or for one.
INSERT INTO status_words (provider, word, status) VALUES ('', 'teleported', 'delivered'), ('', 'dropped', 'undelivered'), ('mock', 'dropped', 'sent');
SELECT (_find_status('mock', 'teleported')).*, (_find_status('mock', 'dropped')).status AS of_mock,
    (_find_status('pigeon', 'dropped')).status AS of_others, (_find_status('vonage', 'accepted')).status AS of_vonage;
DELETE FROM status_words WHERE origin = 'custom';
INSERT INTO status_words (word, status) VALUES ('Upper', 'sent');
INSERT INTO status_words (word, status) VALUES ('fine', 'arrived');

-- The error of a failed or undelivered message is on the message, from wherever
-- its provider puts it; the first failure counts.
TRUNCATE outbox, deliveries, delivery_statuses, messages, conversation_rows, conversation_activity, conversation_changes, idempotency_keys;
SELECT count(*) FROM unnest('{twilio,telnyx,vonage,whatsapp,mailgun,ours,none}'::text[]) AS p,
    LATERAL send('sms', message(p)), LATERAL sent(message_id, p);
SELECT r.id, s.status FROM (VALUES
    (1, 'twilio', 'undelivered', '{"ErrorCode": "30003", "ErrorMessage": "unreachable"}'::jsonb),
    (2, 'twilio', 'failed', '{"ErrorCode": "30008"}'),
    (3, 'telnyx', 'delivery_failed', '{"errors": [{"code": "40300", "title": "blocked", "detail": "by opt-out"}]}'),
    (4, 'vonage', 'expired', '{"err-code": "5"}'),
    (5, 'whatsapp', 'failed', '{"errors": [{"code": 131026, "title": "not a user"}]}'),
    (6, 'mailgun', 'rejected', '{"delivery-status": {"code": 550, "message": "no such user"}}'),
    (7, 'ours', 'failed', '{"error_code": "E1", "error_message": "no"}'),
    (8, 'none', 'failed', '{"ErrorCode": " ", "errors": []}')) AS r (n, id, word, detail),
    LATERAL record_status('sms', r.id, r.word, r.detail) s ORDER BY r.n;
SELECT provider_message_id, status, error_code, error_message FROM outbound_messages ORDER BY provider_message_id;
-- The message was delivered after all: a late failure leaves no error.
SELECT count(*) FROM send('sms', message('late')), LATERAL sent(message_id, 'late');
SELECT status FROM record_status('sms', 'late', 'delivered');
SELECT status FROM record_status('sms', 'late', 'failed', '{"ErrorCode": "1"}');
SELECT status, error_code FROM outbound_messages WHERE provider_message_id = 'late';

-- A callback that names another channel of the same thread finds its message,
-- before and after the sender's report.
UPDATE channels SET thread = 'sms' WHERE name = 'mms';
UPDATE channels SET provider = 'mock' WHERE name = 'mms';
CREATE FUNCTION picture(body text) RETURNS jsonb LANGUAGE sql AS $$
    SELECT message(body) || '{"attachments": ["https://files.example/1.png"]}'
$$;
SELECT count(*) FROM send('mms', picture('after')), LATERAL sent(message_id, 'mms-1');
SELECT status, message_id IS NOT NULL AS known FROM record_status('sms', 'mms-1', 'delivered');
SELECT status, message_id FROM record_status('sms', 'mms-2', 'undelivered', '{"ErrorCode": "30005"}');
SELECT count(*) FROM send('mms', picture('before')), LATERAL sent(message_id, 'mms-2');
SELECT status, message_id IS NOT NULL AS known FROM record_status('mms', 'mms-2', 'failed');
SELECT provider_message_id, channel, status, error_code FROM outbound_messages WHERE channel = 'mms' ORDER BY 1;
SELECT provider_message_id, channel, status FROM delivery_statuses WHERE provider_message_id LIKE 'mms-%' ORDER BY id;
-- A message of the named channel itself wins.
SELECT count(*) FROM send('sms', message('same id')), LATERAL sent(message_id, 'mms-1');
SELECT count(*) FROM record_status('sms', 'mms-1', 'read');
SELECT channel, status FROM outbound_messages WHERE provider_message_id = 'mms-1' ORDER BY 1;
UPDATE channels SET thread = 'mms' WHERE name = 'mms';
-- Nothing of another thread is found.
SELECT message_id, status FROM record_status('sms', 'mms-2', 'read');
DROP FUNCTION picture(text);

-- Secrets are redacted at any depth, and the size is limited.
SELECT count(*) FROM record_status('sms', 'p-8', 'sent', '{"Token": "x", "a": [{"password": {"b": 1}}], "c": 2}');
SELECT detail FROM delivery_statuses WHERE provider_message_id = 'p-8';
SET msgstore.max_payload_bytes = 1024;
SELECT (refusal($$SELECT record_status('sms', 'p-8', 'sent', jsonb_build_object('a', repeat('x', 2000)))$$)).*;
RESET msgstore.max_payload_bytes;
\x
SELECT r.* FROM unnest(ARRAY[
    $$SELECT record_status('fax', 'p-9', 'sent')$$,
    $$SELECT record_status(NULL, 'p-9', 'sent')$$,
    $$SELECT record_status('sms', ' ', 'sent')$$,
    $$SELECT record_status('sms', NULL, 'sent')$$,
    $$SELECT record_status('sms', repeat('x', 511), 'sent')$$,
    $$SELECT record_status('sms', 'p-9', ' ')$$,
    $$SELECT record_status('sms', 'p-9', repeat('x', 65))$$,
    $$SELECT record_status('sms', 'p-9', NULL)$$,
    $$SELECT record_status('sms', 'p-9', 'sent', '[1]')$$]) WITH ORDINALITY c (command, n), refusal(command) r ORDER BY n;
\x
-- A refused callback is not stored.
SELECT count(*) FROM deliveries WHERE provider_message_id = 'p-9';

-- A list of messages shows their status and the error code of a failure.
SELECT duplicate FROM ingest('sms', message('eight', '+12016661234')
    || '{"from": "+18045551234", "messaging_provider_id": "in-8", "timestamp": "2024-11-01T14:00:01Z"}');
SELECT process();
SELECT count(*) FROM unnest('{nine,ten}'::text[]) body, send('sms', message(body));
SELECT send_failed(id('ten'), 'E', 'no', NULL, true);
SELECT i.* FROM conversations c, list_messages(c.id::text) l,
    jsonb_to_recordset(l -> 'items') i (direction text, body text, status text, provider_message_id text, error_code text)
WHERE c.key = 'sms:+12016661234<->+18045551234';

-- Retries take at most half of a claim, so that new messages are not held back.
TRUNCATE outbox, deliveries, delivery_statuses, messages, conversation_rows, conversation_activity, conversation_changes, idempotency_keys, dead_letters, event_failures;
SELECT count(*) FROM generate_series(1, 8) n, send('sms', message('m' || n));
SELECT count(send_failed(message_id, 'E', 'no')) FROM claim_outbound('a', 6);
SELECT time_passes();
SELECT string_agg(body, ' ' ORDER BY n) FROM claim_outbound('a', 4) WITH ORDINALITY
    c (a, b, c, d, e, f, body, g, h, i, attempt, n);

-- With strict_order, the messages of a conversation are claimed one at a time.
TRUNCATE outbox, messages, conversation_rows, conversation_activity, conversation_changes, idempotency_keys, event_failures;
UPDATE channels SET strict_order = true WHERE name = 'sms';
SELECT count(*) FROM unnest('{a1,a2,a3}'::text[]) body, send('sms', message(body));
SELECT count(*) FROM unnest('{b1,b2}'::text[]) body, send('sms', message(body, '+18045550000'));
SELECT body FROM claim_outbound('a');
SELECT body FROM claim_outbound('b');
-- While the first one waits for its retry, the later ones wait, too.
SELECT send_failed(id('a1'), 'E', 'no', 'a'), sent(id('b1'), 'p-b1', 'a');
SELECT body FROM claim_outbound('b');
SELECT count(*) FROM time_passes();
SELECT body FROM claim_outbound('a');
-- Sent or given up, it no longer blocks the others.
SELECT sent(id('b2'), 'p-b2'), send_failed(id('a1'), 'E', 'no', permanent => true);
SELECT body FROM claim_outbound('a');
-- Without strict_order, all are claimed.
UPDATE channels SET strict_order = false WHERE name = 'sms';
SELECT count(*) FROM unnest('{c1,c2}'::text[]) body, send('sms', message(body, '+18045550001'));
SELECT body FROM claim_outbound('a');
-- If a channel loses its provider, its messages stay in the outbox.
SELECT count(*) FROM send('sms', message('d1', '+18045550001'));
UPDATE channels SET provider = NULL WHERE name = 'sms';
SELECT body FROM claim_outbound('a');
UPDATE channels SET provider = 'sms-mms' WHERE name = 'sms';
SELECT body FROM claim_outbound('a');

-- A session that is scoped to a tenant sees and changes only that tenant's messages.
TRUNCATE outbox, deliveries, delivery_statuses, messages, conversation_rows, conversation_activity, conversation_changes, idempotency_keys, dead_letters, event_failures;
SET msgstore.tenant_id = 'acme';
SELECT count(*) FROM unnest('{acme 1,acme 2}'::text[]) body, send('sms', message(body));
SET msgstore.tenant_id = 'other';
SELECT count(*) FROM send('sms', message('other 1'));
SELECT tenant_id, body FROM claim_outbound('a');
SELECT (refusal($$SELECT sent(id('acme 1'), 'p-1')$$)).message;
SELECT (refusal($$SELECT send_failed(id('acme 1'), 'E', 'no')$$)).message;
SELECT sent(id('other 1'), 'p-1', 'a');
RESET msgstore.tenant_id;
-- An unscoped session sees all.
SELECT tenant_id, body FROM claim_outbound('a', 1);
SET msgstore.tenant_id = 'other';
SELECT heartbeat_outbound('a');
SELECT count(*) FROM time_passes();
SELECT reap_outbound();
RESET msgstore.tenant_id;
SELECT heartbeat_outbound('a');
-- The same provider message id of two tenants means two messages.
SELECT sent(id('acme 1'), 'p-1', 'a');
SET msgstore.tenant_id = 'acme';
SELECT status FROM record_status('sms', 'p-1', 'read');
RESET msgstore.tenant_id;
SELECT tenant_id, status FROM deliveries ORDER BY tenant_id;
-- So an unscoped callback with that id is ambiguous.
SELECT (refusal($$SELECT record_status('sms', 'p-1', 'read')$$)).*;
-- If one tenant has the id, the callback is for that tenant, even if it arrives
-- before the sender's report.
SELECT message_id, status FROM record_status('sms', 'p-2', 'delivered', '{"a": 1}');
SELECT sent(id('acme 2'), 'p-2');
SELECT message_id = id('acme 2') AS known, status FROM record_status('sms', 'p-2', 'read');
SELECT tenant_id, status FROM deliveries WHERE provider_message_id = 'p-2';
SELECT tenant_id, status FROM delivery_statuses WHERE provider_message_id = 'p-2' ORDER BY id;

-- The overviews read a bounded number of rows, whatever other tenants have.
INSERT INTO delivery_statuses (tenant_id, channel, provider_message_id, status, received_at)
SELECT 'large', 'sms', 'p-' || n, 'sent', now() FROM generate_series(1, 3000) n;
INSERT INTO outbox (tenant_id, message_id) SELECT 'large', uuid7() FROM generate_series(1, 3000) n;
CREATE FUNCTION public.rows_read() RETURNS numeric LANGUAGE sql AS $$
    SELECT sum(coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0)) FROM pg_stat_xact_user_tables
    WHERE relname IN ('delivery_statuses', 'outbox', 'messages') $$;
SET msgstore.tenant_id = 'acme';
SELECT count(*) FROM unnest('{acme 3,acme 4}'::text[]) body, send('sms', message(body));
BEGIN;
SELECT rows_read() AS before \gset
SELECT jsonb_path_query_array(_status_overview(1000), '$.items[*].status');
SELECT jsonb_path_query_array(o, '$.items[*].waiting') AS waiting, o -> 'complete' AS complete, o #> '{items,0,oldest_at}' IS NOT NULL AS aged
FROM _outbox_overview(2) o;
SELECT o #> '{items,0,waiting}' AS waiting, o -> 'complete' AS complete FROM _outbox_overview(1) o;
SELECT rows_read() - :before < 100 AS few;
RESET msgstore.tenant_id;
SELECT jsonb_path_query_array(_status_overview(10), '$.items[*].reports') AS reports, _outbox_overview(10) -> 'complete' AS complete;
SELECT rows_read() - :before < 100 AS few;
COMMIT;
DROP FUNCTION rows_read;

DROP VIEW state;
DROP FUNCTION message, id, time_passes, refusal;
DROP EXTENSION msgstore;
