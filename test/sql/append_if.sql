-- append_if: events with tags, appended if nothing relevant has happened.
CREATE EXTENSION msgstore;
\pset null NULL
\set SHOW_CONTEXT never
CREATE FUNCTION enrolled(student text, course text) RETURNS jsonb LANGUAGE sql IMMUTABLE
RETURN jsonb_build_array(jsonb_build_object('stream', 'enrollment-' || student || '.' || course,
    'type', 'Enrolled', 'data', '{}'::jsonb, 'tags', ARRAY['student:' || student, 'course:' || course]));

-- The condition holds as long as no matching event follows the position.
SELECT stream, version, global_position FROM msgstore.append_if(enrolled('ann', 'math'), '{"tags": ["course:math"]}', 0);
SELECT stream FROM msgstore.append_if(enrolled('bob', 'math'), '{"tags": ["course:math"]}', 0);
SELECT stream FROM msgstore.append_if(enrolled('bob', 'math'), '{"tags": ["course:math"]}', 1);
SELECT msgstore.count_events('enrollment-bob.math');
-- Events with other tags or types are not relevant.
SELECT count(*) FROM msgstore.append_if(enrolled('ann', 'art'), '{"tags": ["course:art"]}');
SELECT count(*) FROM msgstore.append_if(enrolled('cid', 'art'), '{"tags": ["course:art"], "types": ["Closed"]}');
SELECT count(*) FROM msgstore.append_if(enrolled('dan', 'art'), '{"tags": ["course:art", "student:dan"]}');
-- An event matches an item that names some of its tags; any item of a query counts.
SELECT count(*) FROM msgstore.append_if(enrolled('dan', 'latin'), '{"tags": ["course:art", "student:dan"]}');
SELECT count(*) FROM msgstore.append_if(enrolled('eve', 'latin'),
    '[{"tags": ["student:eve"]}, {"tags": ["student:dan"], "types": ["Enrolled", "Left"]}]', 4);
-- Reading the relevant events, and deciding by them.
SELECT global_position, stream, tags FROM msgstore.read_query('[{"tags": ["course:math"]}, {"tags": ["student:ann"]}]');
SELECT global_position FROM msgstore.read_query('[{"tags": ["course:math"]}, {"tags": ["student:ann"]}]', 1, 1);
SELECT global_position FROM msgstore.read_query('{"tags": ["course:art", "student:ann"], "types": ["Enrolled"]}');
SELECT global_position FROM msgstore.read_query('{"tags": ["course:art"], "types": ["Left"]}');

-- Events appended in other ways count, too.
SELECT msgstore.append('note-1', 'Noted', '{}', tags => ARRAY['course:math', 'note']);
SELECT stream FROM msgstore.append_if(enrolled('eve', 'math'), '{"tags": ["note"]}', 2);
-- The condition and the expected version both have to hold.
SELECT stream FROM msgstore.append_if('[{"stream": "note-1", "type": "x", "data": {}, "expected_version": 0}]',
    '{"tags": ["nobody"]}');
-- A repeated call finds its own events, and is not refused because of them.
SELECT version FROM msgstore.append_if('[{"stream": "r-1", "type": "x", "data": {}, "tags": ["r"],
    "event_id": "00000000-0000-4000-8000-0000000000AA"}]', '{"tags": ["r"]}');
SELECT version FROM msgstore.append_if('[{"stream": "r-1", "type": "x", "data": {}, "tags": ["r"],
    "event_id": "00000000-0000-4000-8000-0000000000AA"}]', '{"tags": ["r"]}');
SELECT version FROM msgstore.append_if('[{"stream": "r-1", "type": "x", "data": {}, "tags": ["r"],
    "event_id": "00000000-0000-4000-8000-0000000000AB"}]', '{"tags": ["r"]}');

-- Invalid arguments.
SELECT msgstore.append_if('{}', '{"tags": ["a"]}');
SELECT msgstore.append_if('[]', NULL);
SELECT msgstore.append_if('[]', '[]');
SELECT msgstore.append_if('[]', '{"types": ["x"]}');
SELECT msgstore.append_if('[]', '{"tags": "a"}');
SELECT msgstore.append_if('[]', '{"tags": [1]}');
SELECT msgstore.append_if('[]', '{"tags": ["a"], "type": []}');
SELECT count(*) FROM msgstore.append_if('[]', '{"tags": ["a"]}');
SELECT msgstore.read_query('{"tags": []}');
SELECT msgstore.read_query('{"tags": ["a"]}', 0, -1);
SELECT msgstore.append('t-1', 'x', '{}', tags => ARRAY['a', '']);
SELECT msgstore.append('t-1', 'x', '{}', tags => ARRAY['a', NULL]);
SELECT msgstore.append('t-1', 'x', '{}', tags => ARRAY[repeat('a', 256)]);
SELECT msgstore.append('t-1', 'x', '{}', tags => array_fill('a'::text, ARRAY[51]));
SELECT msgstore.append_batch('[{"stream": "t-1", "type": "x", "data": {}, "tags": "a"}]');
SELECT msgstore.append_batch('[{"stream": "t-1", "type": "x", "data": {}, "tags": [1]}]');
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT msgstore.append_if('[]', '{"tags": ["a"]}');
ROLLBACK;

-- Tags have quotes, commas and any other character, in a batch as well.
SELECT count(*) FROM msgstore.append_batch('[{"stream": "q-1", "type": "x", "data": {}, "tags": ["a\"b", "c,d", "{}", "ä\\", "NULL"]},
    {"stream": "q-1", "type": "x", "data": {}, "tags": []}]');
SELECT tags FROM msgstore.read_stream('q-1');
SELECT tag, (SELECT count(*) FROM msgstore.read_query(jsonb_build_object('tags', ARRAY[tag])))
FROM unnest(ARRAY['a"b', 'c,d', '{}', 'ä\', 'NULL', 'b']) tag;

-- A trigger on the table makes no difference.
CREATE FUNCTION pass() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER pass BEFORE INSERT ON msgstore.stream_events FOR EACH ROW EXECUTE FUNCTION pass();
SELECT msgstore.append('slow-1', 'x', '{}', happened_at => '2020-01-01 00:00Z', tags => ARRAY['slow']);
SELECT msgstore.append('slow-1', 'x', '{}', 1, NULL, '00000000-0000-4000-8000-0000000000AC', tags => ARRAY['slow']);
DROP TRIGGER pass ON msgstore.stream_events;
SELECT version, happened_at AT TIME ZONE 'UTC' AS happened_at FROM msgstore.read_query('{"tags": ["slow"]}');

-- Events that are replaced or changed are no longer found by what they had.
SELECT events_after FROM msgstore.compact_stream('slow-1', '{}');
UPDATE msgstore.stream_events SET tags = '{moved}' WHERE stream = 'note-1';
SELECT tag, (SELECT count(*) FROM msgstore.read_query(jsonb_build_object('tags', ARRAY[tag])))
FROM unnest(ARRAY['slow', 'note', 'moved']) tag;
SELECT count(*) FROM msgstore.stream_event_keys WHERE key IN ('tag:slow', 'tag:note');
-- Lost keys are found by check().
DELETE FROM msgstore.stream_event_keys WHERE key LIKE 'tag:course%';
SELECT finding, subject, detail FROM msgstore.check();
SELECT repair FROM msgstore.check() \gexec
SELECT count(*) FROM msgstore.check();
SELECT count(*) FROM msgstore.read_query('{"tags": ["course:math"]}');

-- Tenants have their own events.
SET msgstore.tenant_id = 'other';
SELECT count(*) FROM msgstore.read_query('{"tags": ["course:math"]}');
SELECT count(*) FROM msgstore.append_if(enrolled('ann', 'math'), '{"tags": ["course:math"]}');
RESET msgstore.tenant_id;
SELECT count(*) FROM msgstore.read_query('{"tags": ["course:math"]}');
DROP FUNCTION enrolled, pass;
DROP EXTENSION msgstore;
