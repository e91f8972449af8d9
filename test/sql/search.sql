-- Search: an index of messages, filled behind the hot path.
\set VERBOSITY terse
CREATE EXTENSION msgstore;
SET search_path = msgstore, public;
CREATE FUNCTION public.receive(n int, body text, subject text DEFAULT NULL, channel text DEFAULT 'email') RETURNS void LANGUAGE sql AS $$
    SELECT FROM msgstore.ingest(channel, jsonb_strip_nulls(jsonb_build_object(
        'from', CASE channel WHEN 'sms' THEN '+1555000' || n ELSE 'customer' || n || '@mail.example' END,
        'to', CASE channel WHEN 'sms' THEN '+18045551234' ELSE 'desk@shop.example' END,
        'body', body, 'subject', subject, 'timestamp', '2024-11-01T14:00:00Z'::timestamptz + n * interval '1 min')), mock => true) $$;
-- The hits of a search by their time, with their marks.
CREATE FUNCTION public.hits(found jsonb) RETURNS text LANGUAGE sql AS $$
    SELECT coalesce(string_agg(to_char((item ->> 'timestamp')::timestamptz AT TIME ZONE 'UTC', 'MI') || ': ' || (
        SELECT string_agg(CASE WHEN n % 2 = 0 THEN '[' || p || ']' ELSE p END, '' ORDER BY n)
        FROM jsonb_array_elements_text(item -> 'snippet') WITH ORDINALITY s (p, n)), E'\n' ORDER BY i), '-')
    FROM jsonb_array_elements(found -> 'items') WITH ORDINALITY items (item, i) $$;
CREATE FUNCTION public.find(query text) RETURNS text LANGUAGE sql AS $$ SELECT hits(msgstore.search_messages(query)) $$;

SELECT receive(1, 'The invoice 2024-0117 is still unpaid, please call +1 (555) 867-5309.', 'Invoice overdue');
SELECT receive(2, 'Thank you for the invoicing software.');
SELECT receive(3, 'Payment of the invoice was made yesterday. Invoice paid.');
SELECT receive(4, '東京タワーへの行き方を教えてください');
SELECT receive(5, 'สวัสดีครับ ขอใบเสร็จ');
SELECT receive(6, E'Ünïcode ''quotes'' \\ <b>bold</b> & a:b | c !d', 'Weird');
SELECT receive(7, 'invoice by sms', channel => 'sms');
SELECT process();
SELECT count(*) FROM send('email', '{"from": "desk@shop.example", "to": "customer1@mail.example", "body": "Your invoice is attached.",
    "timestamp": "2024-11-01T14:30:00Z"}');
-- Nothing is indexed before the worker has its turn; the status says so.
SELECT find('invoice');
SELECT waiting, indexed_until < now() AS stale FROM search_status();
SELECT (metrics() ->> 'search_lag_us')::bigint > 0 AS lags;
SELECT index_messages(3), waiting FROM search_status();
SELECT index_messages();
SELECT waiting, indexed_until = now() AS fresh FROM search_status();
SELECT metrics() ->> 'search_lag_us' AS lag;
SELECT index_messages(), (search_messages('invoice') #>> '{meta,indexed_until}')::timestamptz = now() AS fresh;
-- A batch looks up the entries of its messages, not all of the tenant, also while the
-- planner takes these to be few.
ANALYZE search_entries, search_addresses;
BEGIN;
INSERT INTO conversation_rows (tenant_id, channel, participant_a, participant_b, key)
SELECT 'many', 'sms', a, b, 'sms:' || a || '<->' || b FROM (SELECT '+1555' AS a, '+1556' || n AS b FROM generate_series(1000, 1999) n) p;
INSERT INTO messages (tenant_id, conversation_id, "timestamp", direction, channel, conversation_key, "from", "to", body)
SELECT c.tenant_id, c.id, now(), 'outbound', 'sms', c.key, c.participant_a, c.participant_b, 'many' FROM conversation_rows c WHERE c.tenant_id = 'many';
SELECT FROM _ask_for_entries((SELECT array_agg(tenant_id) FROM conversation_rows WHERE tenant_id = 'many'),
    (SELECT array_agg(id) FROM conversation_rows WHERE tenant_id = 'many'), array_fill(1::bigint, ARRAY[1000])) \g /dev/null
SELECT sum(_index_batch(100)) > 500 AS indexed FROM generate_series(1, 8);
SELECT pg_stat_get_xact_tuples_returned('search_entries_pkey'::regclass) < 100 AS entries,
    pg_stat_get_xact_tuples_returned('search_addresses_pkey'::regclass) < 100 AS addresses;
ROLLBACK;
-- The parts of addresses.
SELECT _address_terms('+15', E'O''B\\\u00e9'), _address_terms('', repeat('a', 300)) = _address_terms('', repeat('A', 256));
-- Words, phrases, alternatives, exclusions, prefixes; any case.
SELECT find('INVOICE');
SELECT find('invoice paid');
SELECT find('"invoice was made"');
SELECT find('"was invoice made"');
SELECT find('software or attached');
SELECT find('invoice -paid -sms');
SELECT find('invoi*');
SELECT find('Ünïc*');
SELECT find('overdue');
SELECT find('c:d');
SELECT find('<b>');
SELECT find('''quotes'' \ &');
-- Numbers, by any part, however they are written.
SELECT find('8675309');
SELECT find('555 867'), find('"(555) 867-5309"'), find('5309'), find('0117'), find('8675308'), find('55');
-- Scripts without spaces.
SELECT find('東京');
SELECT find('タワー'), find('行'), find('い'), find('京東');
SELECT find('ใบเสร็จ');
-- Filters.
SELECT hits(search_messages('invoice', channel => 'sms')) AS sms, hits(search_messages('invoice', direction => 'outbound')) AS outbound;
SELECT hits(search_messages('invoice', since => '2024-11-01 14:03Z', until => '2024-11-01 14:30Z')) AS period;
SELECT hits(search_messages('invoice', conversation => (SELECT number::text FROM conversations WHERE key LIKE '%customer1@%')));
-- Best first: the words of the subject, and close to each other, count most.
SELECT hits(search_messages('invoice', ranked => true));
-- Pages.
SELECT hits(p1) AS first, hits(p2) AS second, p2 #>> '{meta,next_cursor}' AS end
FROM search_messages('invoice', max_results => 2) p1,
    search_messages('invoice', max_results => 2, after => p1 #>> '{meta,next_cursor}') p2;
SELECT hits(p1) AS first, hits(p2) AS second
FROM search_messages('invoice', max_results => 2, ranked => true) p1,
    search_messages('invoice', max_results => 2, ranked => true, after => p1 #>> '{meta,next_cursor}') p2;
SELECT search_messages('');
SELECT search_messages(NULL);
SELECT search_messages('-invoice');
SELECT search_messages('!');
SELECT search_messages('x', direction => 'up');
SELECT search_messages('x', conversation => '99');
SELECT search_messages('x', after => 'y');
SELECT search_messages('x', after => 'y', ranked => true);
SELECT search_messages((SELECT string_agg('w' || n, ' ') FROM generate_series(1, 33) n));
SELECT index_messages(0);
-- An item.
SELECT (search_messages('overdue') #> '{items,0}') - '{id,conversation_id}'::text[];

-- Conversations by a part of an address, by name, by subject.
CREATE FUNCTION public.conversations_of(query text) RETURNS text LANGUAGE sql AS $$
    SELECT coalesce(string_agg(item ->> 'key', ' ' ORDER BY n), '-')
    FROM jsonb_array_elements(msgstore.search_conversations(query) -> 'items') WITH ORDINALITY i (item, n) $$;
SELECT conversations_of('customer1@'), conversations_of('tomer2'), conversations_of('(555) 0007'), conversations_of('0007');
SELECT conversations_of('overdue'), conversations_of('yesterday'), conversations_of('-x');
SELECT count(update_conversation(number::text, '{"contact_name": "Ada Lovelace"}')) FROM conversations WHERE key LIKE '%customer3@%';
SELECT conversations_of('lovelace');
SELECT search_conversations(' ');

-- A configuration for a channel, or for all others.
SELECT set_search_configuration('english', 'email');
SELECT find('invoices');
SELECT index_messages();
SELECT find('invoices');
SELECT set_search_configuration('klingon');
SELECT set_search_configuration('english', 'fax');
SELECT set_search_configuration('simple', 'email');
SELECT index_messages();

-- A replay indexes what it changes again; late messages and moved ones are found.
UPDATE messages SET body = 'wrong' WHERE body LIKE 'Thank you%';
SELECT added, changed FROM replay();
SELECT find('software'), waiting FROM search_status();
SELECT index_messages();
SELECT find('software');
-- Erasure removes it at once.
SELECT * FROM erase_address('email', 'customer1@mail.example') WHERE what LIKE 'search%';
SELECT find('overdue'), conversations_of('customer1@');
SELECT count(*) FROM search_entries e WHERE NOT EXISTS (SELECT FROM messages m WHERE m.id = e.message_id);
-- What is missing or too much in the index is found and repaired.
SELECT count(*) AS findings FROM msgstore.check();
DELETE FROM search_entries e USING messages m WHERE m.id = e.message_id AND m.channel = 'sms';
UPDATE search_entries SET message_id = uuid7() WHERE message_id = (SELECT id FROM messages WHERE body LIKE 'Payment%');
SELECT finding, count(*), min(detail) AS detail, count(DISTINCT repair ~ '_reindex') FROM msgstore.check() GROUP BY 1 ORDER BY 1;
SELECT count(_reindex(ARRAY[tenant_id], ARRAY[id])) FROM (SELECT tenant_id, id FROM messages UNION SELECT tenant_id, message_id FROM search_entries) m;
SELECT index_messages();
SELECT count(*) AS findings FROM msgstore.check();
SELECT find('payment');

-- Tenants find their own, and rebuild their own.
SET msgstore.tenant_id = 'acme';
SELECT receive(8, 'invoice of acme', 'Acme invoice');
SELECT process();
SELECT index_messages();
SELECT find('invoice'), conversations_of('desk@');
RESET msgstore.tenant_id;
SELECT index_messages();
SET msgstore.tenant_id = 'acme';
SELECT find('invoice'), conversations_of('desk@'), conversations_of('invoice');
SELECT rebuild_search(), set_search_configuration('english', tenant => 'other');
SELECT rebuild_search();
SET msgstore.tenant_id = 'other';
SELECT find('invoice'), conversations_of('desk@'), waiting FROM search_status();
RESET msgstore.tenant_id;
SELECT rebuild_search() > 5 AS all;
SELECT find('invoice');
-- To index again what is old is no lag.
SELECT waiting > 5 AS waits, metrics() ->> 'search_lag_us' AS lag FROM search_status();
SELECT _search_is_late();
BEGIN;
UPDATE search_changes SET id = overlay(id::text PLACING '0193' FROM 1)::uuid;
SELECT _search_is_late();
ROLLBACK;
SELECT index_messages() > 5 AS all;
SELECT find('invoice');

-- Letters beyond ASCII have two cases, whatever the database's locale.
SELECT receive(9, 'Der ÜBERSCHUSS des Öls', 'Ärger') \g /dev/null
SELECT process(), index_messages();
SELECT find('überschuss'), find('"DES öLS"'), find('ärger'), find('Überschu*');
SELECT item -> 'snippet' FROM jsonb_array_elements(search_messages('überschuss') -> 'items') item;
SELECT count(update_conversation(number::text, '{"contact_name": "Émile"}')) FROM conversations WHERE key LIKE '%customer9@%';
SELECT conversations_of('éMILE'), list_conversations(contact_name => 'émilE') #>> '{meta,total}' AS listed;

-- Words of any frequency are found in the same order, whichever way is taken.
INSERT INTO messages (tenant_id, conversation_id, "timestamp", direction, channel, conversation_key, "from", "to", body)
SELECT c.tenant_id, c.id, '2023-01-01Z'::timestamptz + n * interval '1 min', 'outbound', 'email', c.key, c.participant_a, c.participant_b,
    CASE WHEN n % 2 = 1 THEN 'odd ' WHEN n % 4 = 0 THEN 'even pair ' ELSE 'pair of even ' END
    || CASE WHEN n % 3 = 0 THEN 'third ' ELSE '' END || CASE WHEN n % 25 = 0 THEN 'medium ' ELSE '' END
    || CASE WHEN n % 300 = 7 THEN 'rare ' ELSE '' END || n
FROM generate_series(1, 7000) n
JOIN (SELECT DISTINCT ON (tenant_id) * FROM conversation_rows WHERE tenant_id IN ('', 'acme')) c ON (c.tenant_id = '') = (n % 7 = 0);
SELECT count(_ask_for_entries(ARRAY[tenant_id], ARRAY[id], ARRAY[7000])) FROM conversation_rows WHERE tenant_id IN ('', 'acme');
SELECT index_messages();
ANALYZE search_entries;
PREPARE exactness(text) AS SELECT word, ranked, max_results, jsonb_array_length(found) AS hits, found = wanted AS exact
FROM unnest(ARRAY['even', 'even pair', 'third', 'medium', 'rare', 'missing']) word, unnest(ARRAY[false, true]) ranked, unnest(ARRAY[3, 50]) max_results
CROSS JOIN LATERAL (SELECT jsonb_path_query_array(search_messages('"' || word || '"', ranked => ranked, max_results => max_results), '$.items[*].id') AS found) s
CROSS JOIN LATERAL (SELECT coalesce(jsonb_agg(id), '[]') AS wanted FROM (
    SELECT id FROM messages WHERE $1 IN ('', tenant_id) AND body ~ ('\m' || word || '\M') ORDER BY "timestamp" DESC, id DESC LIMIT max_results) m) w
ORDER BY 1, 2, 3;
SET msgstore.tenant_id = 'acme';
EXECUTE exactness('acme');
RESET msgstore.tenant_id;
EXECUTE exactness('');
DEALLOCATE exactness;
SELECT _without_phrases($$'a' <-> 'b' & !( 'c':* <2> 'd':A ) | 'e'$$);

DROP FUNCTION receive, hits, find, conversations_of;
DROP EXTENSION msgstore;
