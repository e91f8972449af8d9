-- What people set for conversations: state, assignee, labels, contact name, and what
-- they have read.
\set VERBOSITY terse
CREATE EXTENSION msgstore;
SET search_path = msgstore, public;
CREATE FUNCTION public.receive(n int, body text DEFAULT 'Hi', at timestamptz DEFAULT now()) RETURNS uuid LANGUAGE sql AS $$
    SELECT event_id FROM msgstore.ingest('sms', jsonb_build_object('from', '+1555000' || n, 'to', '+18045551234',
        'body', body, 'timestamp', at), mock => true) $$;
CREATE FUNCTION public.reply(n int, body text DEFAULT 'Hello') RETURNS uuid LANGUAGE sql AS $$
    SELECT message_id FROM msgstore.send('sms', jsonb_build_object('to', '+1555000' || n, 'from', '+18045551234',
        'body', body, 'timestamp', now())) $$;
-- The numbers of a page, and how many there are.
CREATE FUNCTION public.page(list jsonb) RETURNS text LANGUAGE sql AS $$
    SELECT coalesce((SELECT string_agg(item ->> 'number', ' ' ORDER BY n)
                     FROM jsonb_array_elements(list -> 'items') WITH ORDINALITY i (item, n)), '-')
        || ' of ' || (list #>> '{meta,total}') $$;
CREATE FUNCTION public.shown(item jsonb) RETURNS jsonb LANGUAGE sql AS $$
    SELECT item - '{id,key,channel,participant_a,participant_b,last_activity_at}'::text[] $$;

-- One to six, the newest last; 6 has only an outbound message.
SELECT count(receive(n, at => '2024-11-01T14:00:00Z'::timestamptz + n * interval '1 min')) FROM generate_series(1, 5) n;
SELECT process();
SELECT count(reply(6));
SELECT shown(get_conversation('1', 'ann')), shown(get_conversation('6', 'ann')) ->> 'unread_count' AS outbound;
SELECT shown(get_conversation('1')) ? 'unread_count' AS counted;
SELECT get_conversation('99');

-- A change names what changes; null clears.
SELECT shown(update_conversation('1', '{"state": "closed", "assignee": "ann", "labels": ["vip", "refund", "vip"], "contact_name": "Ada L."}', 'ann'));
SELECT shown(update_conversation('1', '{"add_labels": ["new"], "remove_labels": ["vip", "none"]}'));
SELECT shown(update_conversation('1', '{"assignee": null}'));
SELECT shown(update_conversation('1', '{}'));
SELECT update_conversation('1', '{"assignee": " "}');
SELECT update_conversation('1', '{"assignee": 7}');
SELECT update_conversation('1', jsonb_build_object('contact_name', repeat('x', 256)));
SELECT update_conversation('1', '{"state": "gone"}');
SELECT update_conversation('1', '{"state": null}');
SELECT update_conversation('1', '{"labels": "vip"}');
SELECT update_conversation('1', '{"labels": ["", "a"]}');
SELECT update_conversation('1', '{"labels": null}');
SELECT update_conversation('1', jsonb_build_object('labels', (SELECT jsonb_agg('l' || n) FROM generate_series(1, 51) n)));
SELECT update_conversation('1', '{"nickname": "x"}');
SELECT update_conversation('1', '[]');
SELECT update_conversation('1', NULL);
SELECT update_conversation('1', '{"state": "closed", "up_to": "x"}');
SELECT update_conversation('1', '{"state": "closed", "up_to": "00000000-0000-0000-0000-000000000000"}');
SELECT update_conversation('99', '{}');
SELECT shown(get_conversation('1'));

-- An inbound message opens a closed conversation again, an outbound one does not;
-- in the snapshot that shows it, merged or not.
SELECT count(reply(1));
SELECT state FROM conversations WHERE number = 1;
SELECT receive(1, 'Again') AS again \gset
SELECT process();
SELECT state, (SELECT is_closed FROM conversation_states s WHERE s.conversation_id = c.id) FROM conversations c WHERE number = 1;
SELECT _merge_changes(100) > 0 AS merged;
SELECT state, (SELECT is_closed FROM conversation_states s WHERE s.conversation_id = c.id) FROM conversations c WHERE number = 1;
-- Who closes it has seen all but what came last.
SELECT receive(1, 'Once more') AS more \gset
SELECT process();
SELECT update_conversation('1', jsonb_build_object('state', 'closed', 'up_to', :'again')) ->> 'state' AS unseen,
    update_conversation('1', jsonb_build_object('state', 'closed', 'up_to', :'more')) ->> 'state' AS seen;
SELECT update_conversation('1', '{"state": "open"}') ->> 'state' AS state;

-- Unread are the inbound messages after those that a reader has read.
SELECT get_conversation('1', 'ann') ->> 'unread_count' AS ann, mark_read('1', 'bob') ->> 'unread_count' AS bob;
SELECT mark_read('1', 'ann', :'again') ->> 'unread_count' AS ann;
-- A mark does not go back.
SELECT mark_read('1', 'bob', :'again') ->> 'unread_count' AS bob;
SELECT count(reply(1, 'Fine'));
SELECT get_conversation('1', 'bob') ->> 'unread_count' AS bob;
SELECT receive(1, 'Late', '2024-10-01T14:00:00Z') AS late \gset
SELECT process();
SELECT get_conversation('1', 'bob') ->> 'unread_count' AS late;
SELECT mark_read('1', 'bob') ->> 'unread_count' AS bob, mark_unread('1', 'bob') ->> 'unread_count' AS unread;
SELECT mark_unread('1', 'eve') ->> 'unread_count' AS eve;
SELECT mark_read('1', 'ann', :'late') ->> 'unread_count' AS ann;
SELECT mark_read('2', 'ann', '00000000-0000-0000-0000-000000000000');
SELECT mark_read('1', ' ');
SELECT mark_read('1', NULL);
SELECT mark_read('99', 'ann');
SELECT mark_unread('99', 'ann');
SELECT mark_unread('1', '');

-- Filters, alone and together.
SELECT count(update_conversation(n, c::jsonb)) FROM (VALUES ('2', '{"state": "closed", "assignee": "ann", "labels": ["vip"]}'),
    ('3', '{"assignee": "ann", "labels": ["vip", "new"], "contact_name": "Bob Stone"}'), ('4', '{"assignee": "bob", "labels": ["vip"]}'),
    ('5', '{"state": "closed"}')) v (n, c);
SELECT count(mark_read(n::text, 'ann')) FROM generate_series(2, 3) n;
CREATE VIEW public.filtered AS
SELECT page(list_conversations()) AS "all", page(list_conversations(state => 'open')) AS open,
    page(list_conversations(state => 'closed')) AS closed, page(list_conversations(assignee => 'ann')) AS ann,
    page(list_conversations(assignee => '')) AS nobody, page(list_conversations(label => 'vip')) AS vip,
    page(list_conversations(contact_name => 'STONE')) AS stone, page(list_conversations(reader => 'ann', unread => true)) AS unread,
    page(list_conversations(state => 'open', assignee => 'ann')) AS "open, ann",
    page(list_conversations(state => 'open', assignee => '')) AS "open, nobody",
    page(list_conversations(state => 'open', label => 'vip')) AS "open, vip",
    page(list_conversations(state => 'closed', assignee => 'ann')) AS "closed, ann",
    page(list_conversations(state => 'closed', assignee => '')) AS "closed, nobody",
    page(list_conversations(state => 'closed', label => 'vip')) AS "closed, vip",
    page(list_conversations(state => 'open', reader => 'ann', unread => true)) AS "open, unread",
    page(list_conversations(assignee => 'bob', label => 'vip', reader => 'ann', unread => true)) AS "bob, vip, unread",
    page(list_conversations(label => 'none')) AS none,
    page(list_conversations(reader => 'eve', unread => true)) AS eve;
TABLE filtered \gx
-- The same after a merge, and after messages that are not merged.
CREATE TEMP TABLE before AS TABLE filtered;
SELECT _merge_changes(100) > 0 AS merged;
SELECT count(*) AS same FROM (TABLE before INTERSECT TABLE filtered) s;
SELECT count(receive(n)) FROM (VALUES (2), (3)) v (n);
SELECT process();
TABLE filtered \gx
TRUNCATE before;
INSERT INTO before TABLE filtered;
SELECT _merge_changes(100) > 0 AS merged;
SELECT count(*) AS same FROM (TABLE before INTERSECT TABLE filtered) s;
-- By page and by cursor.
SELECT page(list_conversations(1, 2, state => 'open')) AS first, page(list_conversations(2, 2, state => 'open')) AS second,
    page(list_conversations(3, 2, state => 'open')) AS third,
    page(list_conversations(page_size => 2, state => 'open',
        after => list_conversations(1, 2, state => 'open') #>> '{meta,next_cursor}')) AS after,
    page(list_conversations(page_size => 2, label => 'vip',
        after => list_conversations(1, 2, label => 'vip') #>> '{meta,next_cursor}')) AS vip;
SELECT list_conversations(2, 4, state => 'open') #>> '{meta,next_cursor}' AS last;
SELECT list_conversations(state => 'x');
SELECT list_conversations(unread => true);

-- Tenants see their own.
SET msgstore.tenant_id = 'acme';
SELECT count(receive(1));
SELECT process();
SELECT page(list_conversations(label => 'vip')), page(list_conversations(reader => 'ann', unread => true)),
    page(list_conversations(state => 'closed'));
SELECT update_conversation('1', '{}');
SELECT mark_read('1', 'ann');
RESET msgstore.tenant_id;

-- Removed messages were read and answered: as many new ones open the conversation.
SELECT count(receive(n, 'Other')) FROM generate_series(2, 2) n;
SELECT process();
SELECT update_conversation('2', '{"state": "closed"}') ->> 'state' AS state, mark_read('2', 'ann') ->> 'unread_count' AS unread;
WITH gone AS (DELETE FROM messages WHERE body = 'Other' RETURNING id)
DELETE FROM event_log l USING gone WHERE l.id = gone.id;
SELECT finding, repair ~ '_recount_conversations' AS recounts FROM msgstore.check();
SELECT _recount_conversations(ARRAY[tenant_id], ARRAY[id]) FROM conversations WHERE number = 2;
SELECT count(*) AS findings FROM msgstore.check();
SELECT count(receive(2, 'New'));
SELECT process();
SELECT state, get_conversation('2', 'ann') ->> 'unread_count' AS unread FROM conversations WHERE number = 2;

-- Filters that no number is kept for are counted among 10,000 conversations.
SELECT list_conversations(contact_name => 'stone') -> 'meta' ? 'total_is_minimum' AS is_minimum;
BEGIN;
INSERT INTO conversation_rows (tenant_id, channel, participant_a, participant_b, key)
SELECT '', 'sms', '+1', '+' || n, 'sms:+1<->+' || n FROM generate_series(20001, 30001) n;
INSERT INTO conversation_activity SELECT tenant_id, id, 1, 1, '2024-01-01' FROM conversation_rows WHERE participant_a = '+1';
SELECT m ->> 'total_is_minimum' AS is_minimum, (m ->> 'total')::int BETWEEN 9990 AND 10001 AS about, i AS items
FROM (SELECT l -> 'meta', jsonb_array_length(l -> 'items')
      FROM list_conversations(state => 'open', reader => 'eve', unread => true, after => _cursor('2024-01-02', uuid7())) l) l (m, i);
SELECT list_conversations(state => 'open') #>> '{meta,total}' AS open;
ROLLBACK;

-- Wrong numbers, and what is left of conversations that do not exist, are found and repaired.
UPDATE conversation_tallies SET n = n + 1 WHERE kind = 'label';
INSERT INTO conversation_states (tenant_id, conversation_id, assignee) VALUES ('', '00000000-0000-0000-0000-000000000001', 'eve');
INSERT INTO read_marks VALUES ('', 'eve', '00000000-0000-0000-0000-000000000002', 1, true);
SELECT finding, subject, detail FROM msgstore.check() ORDER BY 1, 2, 3;
SELECT DISTINCT repair FROM msgstore.check() ORDER BY 1 \gexec
SELECT count(*) AS findings FROM msgstore.check();

-- Erasure removes all of it.
SELECT * FROM erase_address('sms', '+15550002') WHERE removed > 0;
SELECT count(*) FROM conversation_states s WHERE NOT EXISTS (SELECT FROM conversation_rows c WHERE c.id = s.conversation_id);
SELECT count(*) FROM read_marks s WHERE NOT EXISTS (SELECT FROM conversation_rows c WHERE c.id = s.conversation_id);
SELECT count(*) AS findings FROM msgstore.check();

SELECT kind, name, sum(n) FROM conversation_tallies GROUP BY 1, 2 ORDER BY 1, 2;

DROP VIEW filtered;
DROP FUNCTION receive, reply, page, shown;
DROP EXTENSION msgstore;
