-- channels: the rules of each kind of message. A new channel is a row.
CREATE EXTENSION msgstore;
\pset null NULL
\set SHOW_CONTEXT never

-- sms, mms and email are built in.
SELECT * FROM msgstore.channels ORDER BY name;

-- A new channel is one INSERT, no code; it threads by its own name.
BEGIN;
INSERT INTO msgstore.channels (name, address_kind) VALUES ('whatsapp', 'phone');
SELECT * FROM msgstore.channels WHERE name = 'whatsapp';
SELECT msgstore.conversation_key('whatsapp', 'whatsapp:+1 555', '+1 444');
-- A channel that was rolled back does not exist.
ROLLBACK;
SELECT msgstore.conversation_key('whatsapp', '1', '2');

-- An opaque address is only trimmed.
BEGIN;
INSERT INTO msgstore.channels (name, address_kind) VALUES ('pager', 'opaque');
SELECT msgstore.normalize_address('pager', E'\t+1 (A)\u00a0'),
    msgstore.conversation_key('pager', 'b 1', ' B 1 ');
ROLLBACK;

-- Changing thread lets mms share the conversations of sms at once.
SELECT msgstore.conversation_key('mms', '1', '2');
BEGIN;
UPDATE msgstore.channels SET thread = 'sms' WHERE name = 'mms';
SELECT msgstore.conversation_key('mms', '1', '2');
-- Rolling back to a savepoint restores the channel.
SAVEPOINT s;
UPDATE msgstore.channels SET thread = 'both' WHERE name = 'mms';
SELECT msgstore.conversation_key('mms', '1', '2');
ROLLBACK TO s;
SELECT msgstore.conversation_key('mms', '1', '2');
-- A null thread becomes the channel's name.
UPDATE msgstore.channels SET thread = NULL WHERE name = 'mms';
SELECT msgstore.conversation_key('mms', '1', '2');
SELECT name, thread, origin FROM msgstore.channels ORDER BY name;
ROLLBACK;
SELECT msgstore.conversation_key('mms', '1', '2');

-- The next statement of a function sees a change made by the one before.
BEGIN;
DO $$
BEGIN
    INSERT INTO msgstore.channels (name, address_kind) VALUES ('fax', 'phone');
    RAISE INFO '%', msgstore.conversation_key('fax', '1', '2');
    DELETE FROM msgstore.channels WHERE name = 'fax';
    RAISE INFO '%', msgstore.conversation_key('fax', '1', '2');
EXCEPTION WHEN OTHERS THEN
    RAISE INFO '%: %', SQLSTATE, SQLERRM;
END
$$;
ROLLBACK;

-- Parallel workers see the channels of their own transaction.
BEGIN;
INSERT INTO msgstore.channels (name, address_kind) VALUES ('fax', 'phone');
CREATE TABLE many AS SELECT n FROM generate_series(1, 1000) AS n;
ALTER TABLE many SET (parallel_workers = 2);
SET LOCAL parallel_setup_cost = 0;
SET LOCAL parallel_tuple_cost = 0;
SET LOCAL min_parallel_table_scan_size = 0;
SET LOCAL parallel_leader_participation = off;
EXPLAIN (COSTS OFF)
SELECT min(msgstore.conversation_key('fax', n::text, '1')) FROM many;
SELECT min(msgstore.conversation_key('fax', n::text, '1')) FROM many;
ROLLBACK;

-- Many channels.
BEGIN;
INSERT INTO msgstore.channels (name, address_kind, types)
SELECT 'c' || n, 'opaque', ARRAY['c' || n, 'sms'] FROM generate_series(1, 100) AS n;
SELECT msgstore.conversation_key('c1', 'x', 'y'),
    msgstore.conversation_key('c100', 'x', 'y'),
    msgstore.conversation_key('sms', 'x', 'y');
-- An error lists the first twenty.
SELECT msgstore.conversation_key('c101', 'x', 'y');
ROLLBACK;

-- Each rule for a row is a constraint with its own name.
\set VERBOSITY terse
INSERT INTO msgstore.channels (name, address_kind) VALUES ('sms', 'phone');
INSERT INTO msgstore.channels (name, address_kind) VALUES ('Fax', 'phone');
INSERT INTO msgstore.channels (name, address_kind) VALUES ('', 'phone');
INSERT INTO msgstore.channels (name, address_kind) VALUES (repeat('x', 64), 'phone');
INSERT INTO msgstore.channels (name, address_kind) VALUES (NULL, 'phone');
INSERT INTO msgstore.channels (name, address_kind) VALUES ('status', 'phone');
INSERT INTO msgstore.channels (name) VALUES ('fax');
INSERT INTO msgstore.channels (name, address_kind) VALUES ('fax', 'fax');
INSERT INTO msgstore.channels (name, address_kind, thread) VALUES ('fax', 'phone', 'a:b');
INSERT INTO msgstore.channels (name, address_kind, thread) VALUES ('fax', 'phone', '');
INSERT INTO msgstore.channels (name, address_kind, provider_id_field) VALUES ('fax', 'phone', ' ');
INSERT INTO msgstore.channels (name, address_kind, types) VALUES ('fax', 'phone', '{}');
INSERT INTO msgstore.channels (name, address_kind, types) VALUES ('fax', 'phone', '{fax,NULL}');
INSERT INTO msgstore.channels (name, address_kind, types) VALUES ('fax', 'phone', '{"a b"}');
INSERT INTO msgstore.channels (name, address_kind, types) VALUES ('fax', 'phone', '{"a,b"}');
INSERT INTO msgstore.channels (name, address_kind, attachments) VALUES ('fax', 'phone', 'some');
INSERT INTO msgstore.channels (name, address_kind, origin) VALUES ('fax', 'phone', 'mine');
INSERT INTO msgstore.channels (name, address_kind, plus_tags) VALUES ('fax', 'email', 'drop');
INSERT INTO msgstore.channels (name, address_kind, plus_tags) VALUES ('fax', 'email', NULL);
INSERT INTO msgstore.channels (name, address_kind, provider_id_fields) VALUES ('fax', 'phone', '{to,NULL}');
INSERT INTO msgstore.channels (name, address_kind, provider_id_fields) VALUES ('fax', 'phone', '{" "}');
INSERT INTO msgstore.channels (name, address_kind, provider_id_fields) VALUES ('fax', 'phone', '{{a},{b}}');
INSERT INTO msgstore.channels (name, address_kind, volatile_fields) VALUES ('fax', 'phone', '{"",a}');
INSERT INTO msgstore.channels (name, address_kind, volatile_fields) VALUES ('fax', 'phone', NULL);
\set VERBOSITY default

-- A built-in channel can be changed, which origin records. It cannot be deleted:
-- a restored dump would bring it back.
BEGIN;
UPDATE msgstore.channels SET body_required = true WHERE name = 'mms';
UPDATE msgstore.channels SET origin = 'built-in' WHERE name = 'mms';
SELECT name, body_required, origin FROM msgstore.channels WHERE name = 'mms';
ROLLBACK;
DELETE FROM msgstore.channels WHERE name = 'mms';
UPDATE msgstore.channels SET name = 'text' WHERE name = 'sms';
TRUNCATE msgstore.channels;
-- An added channel can be deleted and renamed, and its origin stays added.
BEGIN;
INSERT INTO msgstore.channels (name, address_kind, origin) VALUES ('fax', 'phone', 'built-in');
UPDATE msgstore.channels SET name = 'telex', thread = NULL WHERE name = 'fax';
SELECT name, thread, origin FROM msgstore.channels WHERE address_kind = 'phone' ORDER BY name;
DELETE FROM msgstore.channels WHERE name = 'telex';
SELECT msgstore.normalize_address('telex', '1');
ROLLBACK;

-- The row of a dump replaces the built-in row, once.
BEGIN;
SET LOCAL search_path = '';
SET LOCAL session_replication_role = replica;
COPY msgstore.channels (name, address_kind, thread, provider_id_field, types, body_required, attachments, origin) FROM stdin;
mms	phone	sms	messaging_provider_id	{mms}	f	required	changed
fax	phone	fax	fax_id	\N	f	none	added
\.
SELECT name, thread, origin FROM msgstore.channels ORDER BY name;
SELECT msgstore.conversation_key('mms', '1', '2'), msgstore.conversation_key('fax', '1', '2');
\set VERBOSITY terse
INSERT INTO msgstore.channels (name, address_kind, origin) VALUES ('mms', 'phone', 'changed');
\set VERBOSITY default
ROLLBACK;

-- Every row of the table works everywhere, and all functions agree on the identity
-- of an address.
BEGIN;
INSERT INTO msgstore.channels (name, address_kind, thread, provider_id_field, plus_tags, provider) VALUES
    ('whatsapp', 'phone', 'whatsapp', 'wamid', 'strip', 'wa'), ('work-mail', 'email', 'mail', 'id', 'keep', 'smtp'),
    ('old_mail', 'email', 'mail', 'id', 'strip', 'smtp'), ('chat', 'opaque', 'chat', 'key', 'strip', NULL);
CREATE TEMP TABLE agreed AS
SELECT c.name, a.given, s.message_id, e.event_id
FROM msgstore.channels c
CROSS JOIN unnest(ARRAY['Desk+Tag <Desk+Tag@X.example>', '+1 (555) 000-9999', 'Bank24', 'x@x.example']) a (given)
CROSS JOIN LATERAL (SELECT jsonb_build_object('from', a.given, 'to', '+15550001111', 'body', 'x', 'type', c.name,
        'attachments', CASE WHEN c.attachments = 'required' THEN '["https://x.io/1"]' ELSE '[]' END::jsonb,
        'timestamp', '2024-11-01T14:00:00Z', c.provider_id_field, c.name || a.given)
    || CASE WHEN c.address_kind = 'email' THEN '{"to": "b+c@x.example"}' ELSE '{}' END::jsonb AS payload) p
CROSS JOIN LATERAL msgstore.send(c.name, p.payload) s
CROSS JOIN LATERAL msgstore.ingest(c.name, p.payload) e
WHERE msgstore._address_fault(c.name, a.given) IS NULL;
SELECT msgstore.process() = count(*) AS processed FROM agreed;
-- Each list item, inbound and outbound, against the functions; nothing differs.
WITH items AS (
    SELECT c AS conversation, i AS item
    FROM jsonb_array_elements(msgstore.list_conversations() -> 'items') c
    CROSS JOIN LATERAL jsonb_array_elements(msgstore.list_messages((c ->> 'number')::bigint) -> 'items') i)
SELECT a.name, a.given, count(*) AS items,
    bool_and(item ->> 'from' = msgstore.normalize_address(a.name, a.given)
        AND coalesce(item ->> 'from_given', item ->> 'from') = a.given
        AND (item ? 'from_given') = (item ->> 'from' <> a.given)
        AND item ->> 'channel' = a.name
        AND conversation ->> 'channel' = (SELECT thread FROM msgstore.channels WHERE name = a.name)
        AND conversation ->> 'key' = msgstore.conversation_key(a.name, a.given, coalesce(item ->> 'to_given', item ->> 'to'))
        AND conversation ->> 'key' = msgstore.conversation_key(a.name, item ->> 'to', item ->> 'from')
        AND item ->> 'from' IN (conversation ->> 'participant_a', conversation ->> 'participant_b')) AS agree
FROM agreed a JOIN items ON (item ->> 'id')::uuid IN (a.message_id, a.event_id)
GROUP BY 1, 2 ORDER BY 1, a.given COLLATE "C";
SELECT count(*) FROM msgstore.check();
SELECT channel, count(*) FROM msgstore.claim_outbound('s', 100) GROUP BY 1 ORDER BY 1;
ROLLBACK;

-- The functions need no privileges on the table.
CREATE ROLE regress_msgstore_user;
GRANT USAGE ON SCHEMA msgstore TO regress_msgstore_user;
GRANT EXECUTE ON FUNCTION msgstore.conversation_key(text, text, text) TO regress_msgstore_user;
SET ROLE regress_msgstore_user;
SELECT msgstore.conversation_key('sms', '1', '2');
SELECT count(*) FROM msgstore.channels;
UPDATE msgstore.channels SET thread = 'x';
RESET ROLE;
REVOKE ALL ON FUNCTION msgstore.conversation_key(text, text, text) FROM regress_msgstore_user;
REVOKE ALL ON SCHEMA msgstore FROM regress_msgstore_user;
DROP ROLE regress_msgstore_user;

-- The trigger function cannot be called directly.
SELECT msgstore._invalidate_channels();

-- A session survives dropping and creating the extension.
CREATE FUNCTION key_of_pair(channel text) RETURNS text
LANGUAGE plpgsql
AS $$
BEGIN
    RETURN msgstore.conversation_key(channel, '1', '2');
END
$$;
SELECT key_of_pair('sms');
BEGIN;
DROP EXTENSION msgstore;
ROLLBACK;
SELECT key_of_pair('sms');
DROP EXTENSION msgstore;
CREATE EXTENSION msgstore;
SELECT key_of_pair('sms');
-- A missing table is an error only while it is missing.
BEGIN;
ALTER TABLE msgstore.channels RENAME TO channels_away;
SELECT key_of_pair('sms');
ROLLBACK;
SELECT key_of_pair('sms');
-- An extension that was never committed leaves no cached channel behind.
DROP EXTENSION msgstore;
BEGIN;
CREATE EXTENSION msgstore;
INSERT INTO msgstore.channels (name, address_kind) VALUES ('fax', 'phone');
SELECT key_of_pair('fax');
ROLLBACK;
CREATE EXTENSION msgstore;
SELECT key_of_pair('fax');
DROP FUNCTION key_of_pair(text);
DROP EXTENSION msgstore;
