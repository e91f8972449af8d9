CREATE EXTENSION msgstore;
SET search_path = msgstore, public;
CREATE FUNCTION public.message(changes jsonb DEFAULT '{}') RETURNS jsonb LANGUAGE sql AS
$$ SELECT jsonb_strip_nulls('{"from": "+12016661234", "to": "+18045551234", "type": "sms",
    "body": "Hello", "attachments": null, "timestamp": "2024-11-01T14:00:00Z"}' || changes) $$;

-- An outbound message is in its conversation when send returns.
SELECT message_id AS first FROM send('sms', message(), correlation_id => 'request-1') \gset
SELECT direction, channel, "from", "to", body, attachments, inbound_event_id,
    conversation_key, correlation_id FROM messages;
SELECT number, channel, participant_a, participant_b, key, message_count,
    last_activity_at = '2024-11-01T14:00:00Z' AS last FROM conversations;

-- The same content is a duplicate, even if it is written differently.
SELECT message_id = :'first' AS same_id, duplicate FROM send('sms', message());
SELECT message_id = :'first' AS same_id, duplicate FROM send('sms', message(
    '{"type": "SMS", "timestamp": "2024-11-01T15:00:00+01:00"}'));
SELECT message_id = :'first' AS same_id, duplicate FROM send('sms', message() - 'type' || '{"cc": null}');
-- A different body, time, channel or direction makes a different message.
SELECT duplicate FROM send('sms', message('{"body": "Hello!"}'));
SELECT duplicate FROM send('sms', message('{"timestamp": "2024-11-01T14:00:01Z"}'));
SELECT duplicate FROM send('sms', message('{"from": "+18045551234", "to": "+12016661234"}'));
SELECT duplicate FROM send('sms', message('{"type": "mms", "attachments": ["https://example.com/1"]}'));
SELECT key, message_count FROM conversations ORDER BY number;

-- With a key, the same content is a new message; the same key is a duplicate, or
-- with other content a conflict.
SELECT message_id AS keyed FROM send('sms', message(), 'key') \gset
SELECT :'keyed' <> :'first' AS another, message_id = :'keyed' AS same_id, duplicate
FROM send('sms', message(), 'key');
SELECT duplicate FROM send('sms', message('{"body": "other"}'), 'key');
-- Inbound and outbound keys are separate.
SELECT duplicate FROM ingest('sms', message('{"messaging_provider_id": "1"}'), 'key');
SELECT process();

-- A refused message leaves no trace, and the error says what is expected.
SELECT count(*) AS messages FROM messages \gset
SELECT send('sms', message('{"body": " "}'));
SELECT send('sms', message('{"type": "fax"}'));
SELECT send('sms', message('{"type": "mms"}'));
SELECT send('email', message('{"timestamp": "soon"}'));
SELECT send('fax', message());
SELECT count(*) = :messages AS nothing_stored FROM messages;

-- An older message that arrives late does not lower the last activity.
SELECT duplicate FROM send('sms', message('{"timestamp": "2024-11-01T13:00:00Z"}'));
SELECT count(*) FROM conversations c WHERE last_activity_at <>
    (SELECT max("timestamp") FROM messages m WHERE m.conversation_id = c.id);
SELECT count(*) FROM conversations c WHERE message_count <>
    (SELECT count(*) FROM messages m WHERE m.conversation_id = c.id);

-- A body is stored byte for byte, even one of 200 kB.
SELECT duplicate FROM send('email', message(jsonb_build_object('from', 'Front <Desk@Example.COM>',
    'to', 'user+tag@x.org', 'body', E'<script>alert("1")</script>\n' || repeat('é', 100000))));
SELECT "from", "to", length(body), md5(body) = md5(E'<script>alert("1")</script>\n' || repeat('é', 100000))
FROM messages WHERE channel = 'email';

-- Without the context and the failing row.
\set VERBOSITY terse

-- Constraints enforce the same rules on direct writes.
INSERT INTO conversation_rows (channel, participant_a, participant_b, key)
SELECT channel, participant_a, participant_b, key FROM conversations WHERE number = 1;
INSERT INTO conversation_rows (channel, participant_a, participant_b, key)
VALUES ('sms', 'b', 'a', 'sms:b<->a');
INSERT INTO conversation_rows (channel, participant_a, participant_b, key)
VALUES ('sms', 'a', 'b', 'sms:other');
INSERT INTO messages (conversation_id, "timestamp", direction, channel, conversation_key, "from", "to")
SELECT id, now(), 'Inbound', channel, key, 'a', 'b' FROM conversations WHERE number = 1;
INSERT INTO messages (conversation_id, "timestamp", direction, channel, conversation_key, "from", "to", attachments)
SELECT id, now(), 'inbound', channel, key, 'a', 'b', '{"a": 1}' FROM conversations WHERE number = 1;
INSERT INTO messages (conversation_id, inbound_event_id, "timestamp", direction, channel, conversation_key, "from", "to")
SELECT conversation_id, inbound_event_id, now(), 'inbound', channel, conversation_key, 'a', 'b'
FROM messages WHERE provider_message_id = '1';
INSERT INTO messages (id, conversation_id, inbound_event_id, "timestamp", direction, channel, conversation_key, "from", "to")
SELECT inbound_event_id, conversation_id, inbound_event_id, now(), 'inbound', channel, conversation_key, 'a', 'b'
FROM messages WHERE provider_message_id = '1';

-- Lists: seven conversations with one message each, newest first.
TRUNCATE conversation_rows, conversation_activity, conversation_changes, messages;
ALTER SEQUENCE conversations_number_seq RESTART;
SELECT list_conversations();
SELECT count(*) FROM generate_series(1, 7) n, send('sms', message(jsonb_build_object(
    'from', '+1555000' || n, 'timestamp', format('2024-11-01T14:00:0%sZ', n / 2))));
CREATE FUNCTION public.page(list jsonb, OUT numbers text, OUT meta jsonb) LANGUAGE sql AS
$$ SELECT (SELECT string_agg(item ->> 'number', ' ' ORDER BY n)
           FROM jsonb_array_elements(list -> 'items') WITH ORDINALITY i (item, n)),
          (list -> 'meta') - 'next_cursor' $$;
SELECT n, (page(list_conversations(n, 2))).* FROM generate_series(1, 5) n;
-- Defaults and limits of a page.
SELECT page, size, (page(list_conversations(page, size))).meta
FROM (VALUES (NULL, NULL), (1, 0), (1, 500), (1, -1), (0, 10), (-5, 50), (2147483647, 50)) v (page, size);
-- Pages by number reach the first 10,000 items.
SELECT _is_in_reach(200, 50, 9950, 20000), _is_in_reach(1000, 50, 49950, 9950);
SELECT _is_in_reach(201, 50, 10000, 20000);
-- The lists are the same whatever is merged: nothing, some conversations, all.
BEGIN;
CREATE TEMP TABLE unmerged AS SELECT n, list_conversations(n, 2) AS page FROM generate_series(1, 5) n;
SELECT _merge_changes(3);
SELECT count(*) AS same FROM unmerged WHERE page = list_conversations(n, 2);
SELECT count(*) FROM generate_series(1, 7, 2) n, send('sms', message(jsonb_build_object(
    'from', '+1555000' || n, 'body', 'late', 'timestamp', '2024-11-01T13:00:00Z')));
SELECT n, (page(list_conversations(n, 2))).* FROM generate_series(1, 4) n;
SELECT _merge_changes(5);
SELECT count(*) FROM send('sms', message('{"from": "+15550002", "body": "new", "timestamp": "2024-11-01T15:00:00Z"}'));
SELECT n, (page(list_conversations(n, 2))).* FROM generate_series(1, 4) n;
SELECT number, message_count, to_char(last_activity_at AT TIME ZONE 'UTC', 'HH24:MI:SS') AS last FROM conversations ORDER BY 1;
SELECT _merge_changes(100), count(*) FROM conversation_changes;
SELECT n, (page(list_conversations(n, 2))).* FROM generate_series(1, 4) n;
SELECT number, message_count, to_char(last_activity_at AT TIME ZONE 'UTC', 'HH24:MI:SS') AS last FROM conversations ORDER BY 1;
SELECT _merge_changes(100), count(*) FROM conversation_changes;
ROLLBACK;
-- Cursors lead through the same pages, and new rows do not shift them.
CREATE FUNCTION public.walk(size int, OUT numbers text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    list jsonb;
    place text;
BEGIN
    LOOP
        list := msgstore.list_conversations(1, size, place);
        numbers := (page(list)).numbers;
        RETURN NEXT;
        place := list -> 'meta' ->> 'next_cursor';
        EXIT WHEN place IS NULL;
        PERFORM msgstore.send('sms', message(jsonb_build_object('from', '+1666' || place,
            'timestamp', '2025-01-01T00:00:00Z')));
    END LOOP;
END $$;
SELECT * FROM walk(2);
SELECT list_conversations(after => 'nonsense');
SELECT list_conversations(after => '99999999999999999999~x');
SELECT list_conversations(after => '-999999999999999999~00000000-0000-0000-0000-000000000000');

-- Pages of messages, oldest first; they do not overlap at equal timestamps.
TRUNCATE conversation_rows, conversation_activity, conversation_changes, messages, idempotency_keys;
ALTER SEQUENCE conversations_number_seq RESTART;
SELECT count(*) FROM generate_series(1, 5) n, send('sms', message(jsonb_build_object(
    'body', 'Message ' || n, 'timestamp', format('2024-11-01T14:00:0%sZ', n / 3))));
SELECT duplicate FROM ingest('sms', message('{"from": "+18045551234", "to": "+12016661234",
    "messaging_provider_id": "2", "body": "  line1\n\nline2  line3 👍🏽 ", "timestamp": "2024-11-01T14:00:09Z"}'));
SELECT process();
SELECT (list_messages('1') -> 'items' -> 5) - ARRAY['id', 'conversation_id', 'created_at'] AS item;
SELECT page, (page(list)).meta,
    (SELECT string_agg(item ->> 'body', ', ' ORDER BY n)
     FROM jsonb_array_elements(list -> 'items') WITH ORDINALITY i (item, n)
     WHERE item ->> 'direction' = 'outbound') AS bodies
FROM generate_series(1, 4) page, list_messages('1', page, 2) list;
SELECT jsonb_array_length(second -> 'items') AS items, second -> 'meta' ->> 'next_cursor' AS next
FROM list_messages('1', page_size => 4) first,
    list_messages('1', page_size => 4, after => first -> 'meta' ->> 'next_cursor') second;
-- A conversation is identified by its number or its id.
SELECT list_messages(id::text) = list_messages(number::text) AS same FROM conversations;
SELECT list_messages(number) = list_messages(number::text) AS same, list_messages(1) = list_messages('1') AS one,
    list_messages(1::smallint, page_size => 2) = list_messages('1', page_size => 2) AS small,
    list_messages(conversation => 1, after => NULL) = list_messages('1') AS named FROM conversations;
SELECT list_messages(-1);
SELECT list_messages(NULL::bigint);
SELECT list_messages(9223372036854775807);
-- Lists can be called in a parallel query.
BEGIN;
SELECT count(set_config(name, 'on', true)) FROM pg_settings WHERE name IN ('force_parallel_mode', 'debug_parallel_query');
SELECT DISTINCT list_messages(1) = list_messages('1') AS same, list_conversations(1, 10) #> '{meta,total}' AS total
FROM generate_series(1, 3);
ROLLBACK;
-- The length of a snippet is a setting.
SET msgstore.snippet_length = 7;
SELECT list_messages('1') -> 'items' -> 5 ->> 'snippet' AS snippet;
SET msgstore.snippet_length = 0;
SET msgstore.snippet_length = 4097;
RESET msgstore.snippet_length;
-- A conversation that does not exist, and invalid ids.
SELECT list_messages('2');
SELECT list_messages('abc');
SELECT list_messages('99999999999999999999');
SELECT list_messages('00000000-0000-0000-0000-000000000000');
SELECT list_messages('1', after => 'x');
-- Times are in UTC, whatever the session's time zone.
SET timezone = 'Asia/Kathmandu';
SELECT list_conversations() -> 'items' -> 0 ->> 'last_activity_at' AS last_activity_at;
RESET timezone;

-- A tenant sees its own conversations, an unscoped session sees all.
SET msgstore.tenant_id = 'acme';
SELECT (page(list_conversations())).*;
SELECT list_messages('1');
SELECT duplicate FROM send('sms', message());
SELECT (page(list_conversations())).*;
SET msgstore.tenant_id = 'other';
SELECT (page(list_conversations())).*;
RESET msgstore.tenant_id;
SELECT (page(list_conversations())).*;
SELECT tenant_id, key, message_count FROM conversations ORDER BY tenant_id;

-- The total follows insertions, deletions and TRUNCATE.
SELECT count(*) AS counted FROM (SELECT tenant_id, sum(n) FROM conversation_counts GROUP BY 1) c
JOIN (SELECT tenant_id, count(*) FROM conversations GROUP BY 1) t USING (tenant_id)
WHERE sum = count;
BEGIN;
SAVEPOINT before;
DELETE FROM conversation_rows WHERE tenant_id = 'acme';
SELECT (page(list_conversations())).*;
ROLLBACK TO before;
TRUNCATE conversation_rows;
SELECT list_conversations() #> '{meta,total}' AS total;
ROLLBACK;
SELECT (page(list_conversations())).*;


-- Processing an event adds rows, and removes that of the queue. It updates nothing: no
-- row of a conversation in particular. These are the indexes that it writes to.
SELECT count(*) FROM unnest('{1,2,3}'::int[]) n, ingest('sms', message(jsonb_build_object('messaging_provider_id', 'w-' || n)));
SELECT pg_stat_force_next_flush();
BEGIN;
SELECT process();
SELECT relname, n_tup_ins AS inserted, n_tup_upd AS updated, n_tup_del AS deleted FROM pg_stat_xact_user_tables
WHERE schemaname = 'msgstore' AND n_tup_ins + n_tup_upd + n_tup_del > 0 ORDER BY 1;
COMMIT;
SELECT tablename, indexname FROM pg_indexes
WHERE schemaname = 'msgstore' AND tablename IN ('conversation_changes', 'messages') ORDER BY 1, 2;

-- The outbound payload is kept whole, with secrets replaced, and nothing is kept
-- twice: the given form of an address only where it differs.
SELECT message_id AS rich FROM send('email', '{"from": "Ann Lee <ann@x.example>", "to": "bob@x.example",
    "subject": "Hi", "body": "Hello", "timestamp": "2024-11-01T14:00:00Z", "cc": ["c@x.example"],
    "bcc": "d@x.example", "reply_to": "r@x.example", "in_reply_to": "<1@x>", "references": ["<0@x>", "<1@x>"],
    "metadata": {"order": 7.50, "api_key": "abc"}, "x": null}') \gset
SELECT "from", "to", from_given, to_given, subject FROM messages WHERE id = :'rich';
SELECT payload FROM outbound_payloads WHERE message_id = :'rich';
SELECT count(*) FROM outbound_payloads p JOIN messages m ON m.id = p.message_id WHERE m.direction = 'inbound';
-- Lists show the identity, and where it differs the given form.
CREATE FUNCTION public.listed(message uuid) RETURNS jsonb LANGUAGE sql AS
$$ SELECT item FROM msgstore.messages m, jsonb_array_elements(msgstore.list_messages(
       m.conversation_id::text) -> 'items') item WHERE m.id = message AND item ->> 'id' = message::text $$;
SELECT l ->> 'from' AS "from", l ->> 'from_given' AS from_given, l ->> 'to' AS "to", l ? 'to_given' AS has_to_given,
    l ->> 'subject' AS subject FROM listed(:'rich') l;
CREATE FUNCTION public.given(channel text, addresses text[]) RETURNS TABLE
    (to_given text, "to" text, listed text, inbound text, subject text) LANGUAGE plpgsql AS $$
DECLARE
    a text;
    message uuid;
    event uuid;
BEGIN
    FOREACH a IN ARRAY addresses LOOP
        message := (SELECT message_id FROM msgstore.send(channel, jsonb_build_object('from', 'x@x.example', 'to', a,
            'body', 'x', 'timestamp', '2024-11-01T14:00:00Z')));
        SELECT m.to_given, m."to", listed(m.id) ->> 'to_given' INTO to_given, "to", listed
        FROM msgstore.messages m WHERE m.id = message;
        -- An inbound message keeps the same.
        event := (SELECT event_id FROM msgstore.ingest(channel, jsonb_build_object('from', a, 'to', a, 'body', 'x',
            'subject', a, 'timestamp', '2024-11-01T14:00:00Z'), mock => true));
        PERFORM msgstore.process();
        SELECT listed(m.id) ->> 'from_given', listed(m.id) ->> 'subject' INTO inbound, subject
        FROM msgstore.messages m WHERE m.id = event;
        RETURN NEXT;
    END LOOP;
END $$;
SELECT * FROM given('email', '{reply+AB12Token@reply.example,MixedCase+Tok@x.example,plain@x.example,
    "\"Mü, Jörg\" <JM@Mail.example>","ann@example.com (Ann)","mailto:ann%40example.com"}');
SELECT * FROM given('sms', '{Bank24,+15550001234,+1 (555) 000-1234,tel:+1-555-000-1234;ext=9,whatsapp:+15550001234," ACME "}');
-- Identities are the same, but another given address is another message.
SELECT given, duplicate FROM unnest('{team+a@x.example,team+b@x.example,Team+a@x.example,Team <team+a@x.example>,
    team+a@x.example}'::text[]) WITH ORDINALITY g (given, n), send('email', message(jsonb_build_object(
    'from', 'x@x.example', 'to', given, 'type', null))) ORDER BY n;
SELECT given, duplicate FROM unnest('{+15550009876,+1 555 000 9876,tel:+15550009876,+15550009876}'::text[])
    WITH ORDINALITY g (given, n), send('sms', message(jsonb_build_object('to', given))) ORDER BY n;
SELECT key, message_count FROM conversations WHERE key IN (conversation_key('email', 'x@x.example', 'team@x.example'),
    conversation_key('sms', '+12016661234', '+15550009876')) ORDER BY key;
-- Every field counts, at any depth, and numbers are compared as jsonb compares them.
SELECT field, duplicate FROM unnest(ARRAY['{"subject": "a"}', '{"subject": "b"}', '{"cc": ["a@x.org"]}',
    '{"cc": ["b@x.org"]}', '{"cc": ["b@x.org", "a@x.org"]}', '{"metadata": {"n": 1}}', '{"metadata": {"n": 1.0}}',
    '{"metadata": {"n": 1.000, "m": null}}', '{"metadata": {"n": "1"}}', '{"metadata": {"n": [1]}}',
    '{"metadata": {"n": 100}}', '{"metadata": {"n": 1e2}}', '{"metadata": {"n": -0.0}}', '{"metadata": {"n": 0}}',
    '{"metadata": {"n": true}}', '{"metadata": {"n": false}}', '{"metadata": {}}', '{"metadata": []}',
    '{"metadata": {"type": "a"}}', '{"metadata": {"type": "b"}}', '{"metadata": {"timestamp": null}}'
    ]) WITH ORDINALITY f (field, n), send('sms', message() || field::jsonb) ORDER BY n;
SELECT n, duplicate FROM unnest('{1,1.0,10e-1}'::text[]) n, send('sms', message('{"n": 0}')
    || format('{"n": %s}', n)::jsonb, 'numbers');
SELECT send('sms', message('{"n": 2}'), 'numbers');
SELECT n, duplicate FROM unnest('{1,1.0,10e-1}'::text[]) n, ingest('sms', message('{"messaging_provider_id": "n"}')
    || format('{"n": %s}', n)::jsonb, 'numbers');
SELECT count(*) FROM msgstore.ingest_batch((SELECT jsonb_agg(jsonb_build_object('channel', 'sms', 'idempotency_key',
    'numbers', 'payload', message('{"messaging_provider_id": "n"}') || format('{"n": %s}', n)::jsonb))
    FROM unnest('{1.00,1}'::text[]) n)) WHERE duplicate;

-- A timestamp too far in the future is replaced by the time of acceptance; the
-- payload keeps it.
TRUNCATE conversation_rows, conversation_activity, conversation_changes, messages, idempotency_keys, event_log, event_queue, outbox, outbound_payloads;
CREATE VIEW public.times AS
SELECT body, CASE WHEN "timestamp" = created_at OR "timestamp" = l.accepted_at THEN 'accepted'
        ELSE ("timestamp" - statement_timestamp() > interval '1 h')::text END AS future
FROM msgstore.messages m LEFT JOIN LATERAL (SELECT created_at AS accepted_at FROM msgstore.event_log l
    WHERE l.id = m.inbound_event_id) l ON true ORDER BY direction, body;
CREATE FUNCTION public.ahead(body text, ahead interval, OUT sent boolean, OUT ingested boolean) LANGUAGE sql AS
$$ SELECT s.duplicate, i.duplicate FROM (SELECT message(jsonb_build_object('body', body,
       'timestamp', now() + ahead, 'messaging_provider_id', body)) AS payload) p,
       msgstore.send('sms', payload) s, msgstore.ingest('sms', payload) i $$;
SET timezone = 'UTC';
SELECT ahead('past', '-1 day'), ahead('soon', '23 hours'), ahead('late', '25 hours'), ahead('month', '30 days');
SELECT count(*) FROM unnest('{sms,mms}'::text[]) c, send(c, message(jsonb_build_object('type', c, 'body', c, 'timestamp', '9999-12-31T23:59:59Z',
    'attachments', CASE c WHEN 'mms' THEN '["https://x.io/1"]'::jsonb END)));
SELECT process();
TABLE times;
SELECT count(*) FROM conversations c WHERE last_activity_at > now() + interval '1 day' OR last_activity_at <>
    (SELECT max("timestamp") FROM messages m WHERE m.conversation_id = c.id);
SELECT payload ->> 'timestamp' FROM outbound_payloads JOIN messages ON id = message_id WHERE body = 'mms';
-- The same message later is still a duplicate, and a replay changes nothing.
SELECT duplicate FROM send('sms', message('{"body": "sms", "timestamp": "9999-12-31T23:59:59Z"}'));
SELECT * FROM replay();
-- Another limit, and none.
SET msgstore.max_clock_skew = '1min';
SELECT ahead('2 minutes', '2 min'), ahead('half a minute', '30 s');
SET msgstore.max_clock_skew = 0;
SELECT duplicate FROM send('sms', message('{"body": "far", "timestamp": "9999-12-31T23:59:59Z"}'));
SELECT changed > 0 AS changed FROM replay();
SELECT body, "timestamp" > now() + interval '7000 years' AS far FROM messages WHERE body = 'far';
RESET msgstore.max_clock_skew;
SELECT body FROM times WHERE future = 'accepted';
-- The text of the message depends on the version.
\set VERBOSITY sqlstate
SET msgstore.max_clock_skew = -1;
\set VERBOSITY terse
SET ROLE pg_monitor;
SET msgstore.max_clock_skew = 0;
RESET ROLE;
DROP VIEW times;

DROP FUNCTION message, page, walk, listed, given, ahead;
DROP EXTENSION msgstore;
