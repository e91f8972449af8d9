-- streams: appending events with an expected version, reading them in a reliable
-- order, and folding them into a state.
CREATE EXTENSION msgstore;
\pset null NULL
\set SHOW_CONTEXT never
-- An event without the columns that differ between runs.
CREATE FUNCTION shown(e msgstore.stream_event) RETURNS text LANGUAGE sql
RETURN format('%s@%s #%s %s %s', e.stream, e.version, e.global_position, e.type, e.data);

-- The first event of a stream has version 1, the next one 2.
SELECT msgstore.stream_version('account-1');
SELECT msgstore.append('account-1', 'Opened', '{"owner": "ann"}', 0);
SELECT msgstore.append('account-1', 'Deposited', '{"amount": 10}', 1);
-- Without an expected version, the event is appended at any version.
SELECT msgstore.append('account-1', 'Deposited', '{"amount": 5}');
SELECT msgstore.stream_version('account-1'), msgstore.count_events('account-1');

-- An unexpected version is a conflict, and nothing is stored.
\set VERBOSITY sqlstate
SELECT msgstore.append('account-1', 'Deposited', '{}', 2);
\set VERBOSITY default
SELECT msgstore.append('account-1', 'Opened', '{}', 0);
SELECT msgstore.append('account-9', 'Opened', '{}', 4);
SELECT msgstore.append('account-1', 'Opened', '{}', -1);
SELECT msgstore.count_events('account-1'), msgstore.count_events('account-9');

-- Appending the same event again returns its version and stores nothing, even with
-- its original expected version. The same id with other content is a conflict.
SELECT msgstore.append('account-1', 'Withdrawn', '{"amount": 3}', 3,
    '{"by": "web"}', '00000000-0000-4000-8000-000000000001', 'ann');
SELECT msgstore.append('account-1', 'Withdrawn', '{"amount": 3.0}', 3,
    '{"by": "web"}', '00000000-0000-4000-8000-000000000001', 'ann');
SELECT msgstore.append('account-1', 'Withdrawn', '{"amount": 4}', 3,
    '{"by": "web"}', '00000000-0000-4000-8000-000000000001', 'ann');
SELECT msgstore.append('account-2', 'Withdrawn', '{"amount": 3}', NULL,
    '{"by": "web"}', '00000000-0000-4000-8000-000000000001', 'ann');
SELECT msgstore.append('account-1', 'Withdrawn', '{"amount": 3}', NULL,
    NULL, '00000000-0000-4000-8000-000000000001', 'ann');
SELECT msgstore.stream_version('account-1'), msgstore.stream_version('account-2');

-- Stream, type and data are required; names have a maximum length.
SELECT msgstore.append(NULL, 'x', '{}');
SELECT msgstore.append('', 'x', '{}');
SELECT msgstore.append('a', '', '{}');
SELECT msgstore.append('a', NULL, '{}');
SELECT msgstore.append('a', 'x', NULL);
SELECT msgstore.append(repeat('a', 1001), 'x', '{}');
SELECT msgstore.append(repeat('a', 1000), repeat('x', 1000), 'null');

-- A batch appends events to several streams in the given order.
SELECT stream, version, global_position > 0 AS placed FROM msgstore.append_batch('[
    {"stream": "order-2", "type": "Placed", "data": {"n": 1}, "expected_version": 0},
    {"stream": "order-1", "type": "Placed", "data": {"n": 2}},
    {"stream": "order-2", "type": "Paid", "data": {"n": 3}, "expected_version": 1, "created_by": "bob"},
    {"stream": "order-1", "type": "Paid", "data": {"n": 4}, "metadata": {"k": 1},
     "event_id": "00000000-0000-4000-8000-000000000002"}]');
SELECT data, created_by, metadata FROM msgstore.read_category('order');
-- After one conflict, no event of the batch is stored.
SELECT * FROM msgstore.append_batch('[
    {"stream": "order-3", "type": "Placed", "data": {}},
    {"stream": "order-2", "type": "Shipped", "data": {}, "expected_version": 1}]');
SELECT msgstore.stream_version('order-3');
-- In a repeated batch, events with known ids are duplicates and the others new.
SELECT stream, version FROM msgstore.append_batch('[
    {"stream": "order-1", "type": "Paid", "data": {"n": 4}, "metadata": {"k": 1},
     "expected_version": 0, "event_id": "00000000-0000-4000-8000-000000000002"},
    {"stream": "order-1", "type": "Shipped", "data": {"n": 5}}]');
-- The same event twice in one batch is stored once.
SELECT stream, version FROM msgstore.append_batch('[
    {"stream": "order-4", "type": "Placed", "data": {"n": 6}, "event_id": "00000000-0000-4000-8000-000000000003"},
    {"stream": "order-4", "type": "Placed", "data": {"n": 6}, "event_id": "00000000000040008000000000000003"},
    {"stream": "order-4", "type": "Placed", "data": {"n": 6}}]');
SELECT * FROM msgstore.append_batch('[
    {"stream": "order-5", "type": "Placed", "data": {"n": 6}, "event_id": "00000000-0000-4000-8000-000000000004"},
    {"stream": "order-5", "type": "Placed", "data": {"n": 7}, "event_id": "00000000-0000-4000-8000-000000000004"}]');
SELECT * FROM msgstore.append_batch('[
    {"stream": "order-5", "type": "Placed", "data": {"n": 8}, "event_id": "00000000-0000-4000-8000-000000000003"}]');
SELECT * FROM msgstore.append_batch('[]');
-- A transaction can roll back to a savepoint after a conflict in a batch.
BEGIN;
SAVEPOINT s;
SELECT * FROM msgstore.append_batch('[{"stream": "order-1", "type": "x", "data": {}, "expected_version": 9}]');
ROLLBACK TO s;
SELECT stream, version FROM msgstore.append_batch('[{"stream": "order-1", "type": "x", "data": {}}]');
ROLLBACK;

-- Invalid batches are refused.
SELECT * FROM msgstore.append_batch('{}');
SELECT * FROM msgstore.append_batch('"x"');
SELECT * FROM msgstore.append_batch('[1]');
SELECT * FROM msgstore.append_batch('[{"stream": "a", "type": "x", "data": {}}, {"stream": "a", "data": {}}]');
SELECT * FROM msgstore.append_batch('[{"stream": "a", "type": "x"}]');
SELECT * FROM msgstore.append_batch('[{"type": "x", "data": {}}]');
SELECT * FROM msgstore.append_batch('[{"stream": "", "type": "x", "data": {}}]');
SELECT * FROM msgstore.append_batch('[{"stream": 1, "type": "x", "data": {}}]');
SELECT * FROM msgstore.append_batch('[{"stream": "a", "type": "x", "data": {}, "version": 1}]');
SELECT * FROM msgstore.append_batch('[{"stream": "a", "type": "x", "data": {}, "expected_version": "1"}]');
SELECT * FROM msgstore.append_batch('[{"stream": "a", "type": "x", "data": {}, "expected_version": 1.5}]');
SELECT * FROM msgstore.append_batch('[{"stream": "a", "type": "x", "data": {}, "expected_version": -1}]');
SELECT * FROM msgstore.append_batch('[{"stream": "a", "type": "x", "data": {}, "event_id": "1"}]');
SELECT * FROM msgstore.append_batch('[{"stream": "a", "type": "x", "data": {}, "event_id": "0000000000004000800000000000000g"}]');

-- The same rules hold if the table has a trigger, and in a SERIALIZABLE transaction.
CREATE FUNCTION pass() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER pass BEFORE INSERT ON msgstore.stream_events FOR EACH ROW EXECUTE FUNCTION pass();
SELECT msgstore.append('slow-1', 'x', '{"n": 1}', 0);
SELECT msgstore.append('slow-1', 'x', '{"n": 2}', 0);
SELECT msgstore.append('slow-1', 'x', '{"n": 2}', NULL, '[]', '00000000-0000-4000-8000-000000000005', 'ann');
SELECT msgstore.append('slow-1', 'x', '{"n": 2}', 0, '[]', '00000000-0000-4000-8000-000000000005', 'ann');
SELECT msgstore.append('slow-1', 'x', '{"n": 3}', 0, '[]', '00000000-0000-4000-8000-000000000005', 'ann');
DROP TRIGGER pass ON msgstore.stream_events;
DROP FUNCTION pass;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT msgstore.append('slow-1', 'x', '{"n": 3}', 2);
SELECT msgstore.append('slow-1', 'x', '{"n": 4}', 3);
SELECT version, data, metadata, created_by, global_position > 0 AS placed FROM msgstore.read_stream('slow-1');
ROLLBACK;
BEGIN READ ONLY;
SELECT msgstore.append('slow-1', 'x', '{}');
ROLLBACK;
-- Appends in one statement see each other.
SELECT msgstore.append('slow-2', 'x', '{}', n - 1) FROM generate_series(1, 3) n;

-- A stream is read forwards or backwards.
SELECT shown(e) FROM msgstore.read_stream('account-1') e;
SELECT shown(e) FROM msgstore.read_stream('account-1', 2, 2) e;
SELECT shown(e) FROM msgstore.read_stream_backwards('account-1', max_events => 2) e;
SELECT shown(e) FROM msgstore.read_stream_backwards('account-1', 2) e;
SELECT count(*) FROM msgstore.read_stream('account-1', max_events => NULL);
SELECT count(*) FROM msgstore.read_stream('account-1', max_events => 0);
SELECT count(*) FROM msgstore.read_stream('none');
SELECT count(*) FROM msgstore.read_stream('account-1', max_events => -1);
SELECT shown(e) FROM msgstore.last_event('account-1') e;
SELECT shown(e) FROM msgstore.last_event('account-1', 'Deposited') e;
SELECT shown(e) FROM msgstore.last_event('account-1', 'Closed') e;
-- The category is the name up to the first hyphen.
SELECT msgstore.stream_category('a-b-c'), msgstore.stream_category('abc'), msgstore.stream_category('-a');
SELECT msgstore.append('order', 'x', '{}'), msgstore.append('order!-1', 'x', '{}'),
    msgstore.append('orders-1', 'x', '{}'), msgstore.append('order-1-2+3', 'x', '{}');
SELECT * FROM msgstore.list_streams('order');
SELECT count(*) FROM msgstore.list_streams();
SELECT * FROM msgstore.list_streams('order', 'order-1', 2);
SELECT stream FROM msgstore.list_streams(after => 'order-4', max_streams => NULL);
SELECT * FROM msgstore.list_streams('none');
SELECT * FROM msgstore.list_streams(max_streams => -1);

-- Categories and all streams are read in global order, page by page.
SELECT count(*), bool_and(ordered) FROM (
    SELECT global_position > lag(global_position, 1, 0::bigint) OVER () AS ordered
    FROM msgstore.read_all()) e;
SELECT shown(e) FROM msgstore.read_category('account', 0, 2) e;
SELECT shown(e) FROM msgstore.read_category('account', 2) e;
SELECT shown(e) FROM msgstore.read_all(2, 2) e;
SELECT count(*) FROM msgstore.read_category('acc');
SELECT count(*) FROM msgstore.read_category(NULL);
-- The name of a stream is refused where a category is expected.
SELECT msgstore.read_category('order-1');
SELECT msgstore.list_streams('order-1');
SELECT msgstore.create_subscription('stream', 'order-1');

-- Uncommitted events of the reader's own transaction are not returned.
BEGIN;
SELECT msgstore.append('account-1', 'x', '{}');
SELECT max(version) FROM msgstore.read_stream('account-1');
SELECT max(version) FROM msgstore.read_category('account');
ROLLBACK;
-- It also works in a REPEATABLE READ transaction.
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT count(*) FROM msgstore.read_category('account');
ROLLBACK;
-- The consumers of a group share the streams; each stream has one consumer.
SELECT count(*), count(DISTINCT stream) FROM (
    SELECT e.stream FROM generate_series(0, 2) m
    CROSS JOIN LATERAL msgstore.read_all(0, 1000, m, 3) e) e;
SELECT msgstore._consumer_of('a-1+x', 1000) = msgstore._consumer_of('b-1+y', 1000) AS together,
    msgstore._consumer_of('a-1', 1000);
SELECT msgstore.read_all(consumer_member => 0);
SELECT msgstore.read_all(consumer_size => 1);
SELECT msgstore.read_all(0, 10, 2, 2);
SELECT msgstore.read_all(0, 10, -1, 2);
SELECT msgstore.read_category('a', 0, 10, 0, 0);
SELECT msgstore.read_all(max_events => -1);

-- Latest position and id increase with each commit, whatever id a caller gives.
CREATE TABLE seen AS SELECT msgstore.latest_position() AS place, msgstore.latest_event_id() AS id;
SELECT msgstore.append('x-1', 'x', '{}', NULL, NULL, '00000000-0000-0000-0000-000000000000');
SELECT msgstore.latest_position() > place AS place, msgstore.latest_event_id() > id AS id FROM seen;
UPDATE seen SET place = msgstore.latest_position(), id = msgstore.latest_event_id();
SELECT msgstore.append('x-1', 'x', '{}', NULL, NULL, 'ffffffff-ffff-ffff-ffff-ffffffffffff');
SELECT msgstore.latest_position() > place AS place, msgstore.latest_event_id() > id AS id FROM seen;
UPDATE seen SET place = msgstore.latest_position(), id = msgstore.latest_event_id();
SELECT msgstore.append('x-1', 'x', '{}');
SELECT msgstore.latest_position() > place AS place, msgstore.latest_event_id() > id AS id,
    msgstore.latest_event_id() = (SELECT event_id FROM msgstore.last_event('x-1')) AS its_own
FROM seen;

-- Waiting returns at once if there is an event; a timeout is not an error.
SELECT msgstore.wait_for_events('account', 0);
SELECT msgstore.wait_for_events(NULL, 0, NULL);
SELECT msgstore.wait_for_events('account', 100000, '10 ms');
SELECT msgstore.wait_for_events('account', 100000, '0');
SELECT msgstore.wait_for_events('account', 0, '-1 s');
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT msgstore.wait_for_events('account', 0);
ROLLBACK;

-- Merge patches: the examples from RFC 7396, appendix A.
SELECT target, patch, msgstore.merge_patch(target, patch) AS result,
    msgstore.merge_patch(target, patch) = expected AS ok
FROM (VALUES
    ('{"a":"b"}'::jsonb, '{"a":"c"}'::jsonb, '{"a":"c"}'::jsonb),
    ('{"a":"b"}', '{"b":"c"}', '{"a":"b","b":"c"}'),
    ('{"a":"b"}', '{"a":null}', '{}'),
    ('{"a":"b","b":"c"}', '{"a":null}', '{"b":"c"}'),
    ('{"a":["b"]}', '{"a":"c"}', '{"a":"c"}'),
    ('{"a":"c"}', '{"a":["b"]}', '{"a":["b"]}'),
    ('{"a":{"b":"c"}}', '{"a":{"b":"d","c":null}}', '{"a":{"b":"d"}}'),
    ('{"a":[{"b":"c"}]}', '{"a":[1]}', '{"a":[1]}'),
    ('["a","b"]', '["c","d"]', '["c","d"]'),
    ('{"a":"b"}', '["c"]', '["c"]'),
    ('{"a":"foo"}', 'null', 'null'),
    ('{"a":"foo"}', '"bar"', '"bar"'),
    ('{"e":null}', '{"a":1}', '{"e":null,"a":1}'),
    ('[1,2]', '{"a":"b","c":null}', '{"a":"b"}'),
    ('{}', '{"a":{"bb":{"ccc":null}}}', '{"a":{"bb":{}}}'),
    (NULL, '{"a":null,"b":{"c":null,"d":[null]}}', '{"b":{"d":[null]}}'),
    ('{"a":1}', NULL, '{"a":1}')) AS v (target, patch, expected);
SELECT msgstore.merge_patch(NULL, NULL);

-- last_known() and fold() follow the ORDER BY of the call.
SELECT msgstore.last_known(v ORDER BY n) AS text, msgstore.last_known(n ORDER BY n DESC) AS number,
    msgstore.last_known(ARRAY[n] ORDER BY n) AS list,
    msgstore.fold(jsonb_build_object(coalesce(v, 'none'), n) ORDER BY n) AS folded
FROM (VALUES (1, 'a'), (2, 'b'), (3, 'a'), (4, NULL)) AS t (n, v);
SELECT msgstore.last_known(NULL::text), msgstore.fold(NULL) FROM generate_series(1, 3);
SELECT msgstore.last_known(n), msgstore.fold('{}') FROM generate_series(1, 0) n;
SELECT g, msgstore.last_known(v ORDER BY n) FROM (
    SELECT n % 3 AS g, n, CASE WHEN n < 10 THEN repeat('x', n) END AS v
    FROM generate_series(1, 100) n) t GROUP BY g ORDER BY g;

-- The state of a stream, now and at an earlier time.
SELECT msgstore.append('state-1', 'x', '{"a": 1, "b": {"c": 1}}');
CREATE TABLE past AS SELECT created_at FROM msgstore.last_event('state-1');
SELECT msgstore.append('state-1', 'x', '{"b": {"d": 2, "c": null}, "e": null}');
SELECT msgstore.stream_state('state-1'), msgstore.stream_state('state-1', created_at),
    msgstore.stream_state('state-1', created_at - interval '1 s'), msgstore.stream_state('none')
FROM past;

-- Compaction leaves one event with the same version and a new position.
UPDATE seen SET place = msgstore.latest_position(), id = msgstore.latest_event_id();
SELECT * FROM msgstore.compact_stream('account-1', '{"type": "Compacted", "data": {"balance": 12}, "created_by": "ann"}', 4);
SELECT stream, version, type, data, created_by FROM msgstore.read_stream('account-1');
SELECT msgstore.latest_position() > place AS place, msgstore.latest_event_id() > id AS id FROM seen;
SELECT msgstore.stream_version('account-1'), msgstore.count_events('account-1');
SELECT msgstore.append('account-1', 'Deposited', '{"amount": 1}', 4);
-- The seed may be the data alone.
SELECT * FROM msgstore.compact_stream('account-1', '{"balance": 13}');
SELECT type, data FROM msgstore.read_stream('account-1');
-- With at most one event, nothing changes.
UPDATE seen SET place = msgstore.latest_position();
SELECT * FROM msgstore.compact_stream('account-1', '{"balance": 14}');
SELECT * FROM msgstore.compact_stream('none', '{}');
SELECT msgstore.latest_position() = place AS same FROM seen;
SELECT * FROM msgstore.compact_stream('order-1', '{}', 1);
SELECT * FROM msgstore.compact_stream('order-1', '[]');
SELECT * FROM msgstore.compact_stream('order-1', NULL);
SELECT * FROM msgstore.compact_stream(NULL, '{}');
SELECT * FROM msgstore.compact_stream('order-1', '{"type": 1, "data": {}}');
SELECT * FROM msgstore.compact_stream('order-1', '{"type": "x", "data": {}, "event_id": "x"}');
SELECT * FROM msgstore.compact_stream('order-1',
    '{"type": "x", "data": {}, "event_id": "ffffffff-ffff-ffff-ffff-ffffffffffff"}');
SELECT msgstore.count_events('order-1');

-- A subscription's position advances in the consumer's transaction.
SELECT msgstore.create_subscription('mailer', 'order');
SELECT msgstore.create_subscription('mailer');
SELECT msgstore.create_subscription('');
SELECT msgstore.create_subscription('big', NULL, 1001);
BEGIN;
SELECT shown(e) FROM msgstore.fetch('mailer', 2) e;
SELECT msgstore.ack('mailer', max(global_position)) FROM msgstore.fetch('mailer', 2);
SELECT shown(e) FROM msgstore.fetch('mailer', 1) e;
ROLLBACK;
SELECT shown(e) FROM msgstore.fetch('mailer', 1) e;
SELECT msgstore.ack('mailer', max(global_position)) FROM msgstore.fetch('mailer', 4);
SELECT msgstore.ack('mailer', 1);
SELECT msgstore.ack('mailer', 100000);
SELECT msgstore.ack('mailer', NULL);
SELECT msgstore.fetch('mailer', 0);
SELECT msgstore.fetch('none');
SELECT msgstore.ack('none', 1);
SELECT msgstore.fetch('mailer', 1, 1);
-- An event that fails can be parked and replayed.
SELECT msgstore.park('mailer', min(global_position), 'no address') FROM msgstore.fetch('mailer');
SELECT reason, global_position = (SELECT min(global_position) FROM msgstore.fetch('mailer')) AS its
FROM msgstore.list_parked('mailer');
SELECT msgstore.park('mailer', 1, 'not of this category');
SELECT msgstore.park('none', 1, 'x');
SELECT msgstore.list_parked('none');
SELECT msgstore.replay_parked('none');
BEGIN;
SELECT stream, version FROM msgstore.replay_parked('mailer');
ROLLBACK;
SELECT stream, version FROM msgstore.replay_parked('mailer');
SELECT count(*) FROM msgstore.list_parked('mailer');

-- However a group is resized, each event is handled once.
SELECT msgstore.create_subscription('group', NULL, 3);
CREATE TABLE handled (member int, stream text, global_position bigint);
CREATE FUNCTION handle(member int, most int) RETURNS bigint LANGUAGE sql AS $$
    INSERT INTO handled SELECT member, e.stream, e.global_position
    FROM msgstore.fetch('group', most, member) e;
    SELECT msgstore.ack('group', (SELECT max(h.global_position) FROM handled h WHERE h.member = $1), $1);
    SELECT count(*) FROM handled;
$$;
SELECT handle(0, 3), handle(1, 1);
SELECT msgstore.resize_subscription('group', 2);
SELECT handle(0, 4) > 4, handle(1, 2) > 6;
SELECT msgstore.resize_subscription('group', 4);
SELECT handle(0, 2) > 6, handle(1, 2) > 6, handle(2, 2) > 6;
SELECT msgstore.resize_subscription('group', 3);
SELECT handle(m, 100) > 6 FROM generate_series(0, 2) m;
SELECT count(*), count(DISTINCT h.global_position), count(*) = (SELECT count(*) FROM msgstore.read_all())
FROM handled h;
SELECT msgstore.resize_subscription('group', 1);
SELECT count(*) FROM msgstore.fetch('group');
SELECT count(*) FROM msgstore.stream_consumers WHERE subscription = 'group';
SELECT msgstore.resize_subscription('group', 0);
SELECT msgstore.resize_subscription('none', 2);
SELECT msgstore.drop_subscription('group'), msgstore.drop_subscription('mailer');
SELECT msgstore.drop_subscription('group');
SELECT count(*) FROM msgstore.stream_consumers;

-- A snapshot is returned unchanged; saving the same id again keeps created_at.
SELECT msgstore.save_snapshot('{"snapshot_id": "s-1", "hosts_content": "127.0.0.1 localhost",
    "entries": [{"ip": "127.0.0.1", "comment": null}], "entry_count": 1, "trigger": "daily", "name": "first",
    "event_log_position": 42, "created_at": "2024-01-01T00:00:00Z"}');
SELECT msgstore.get_snapshot('s-1');
SELECT msgstore.save_snapshot('{"snapshot_id": "s-1", "hosts_content": "new", "created_at": "2025-01-01T00:00:00Z"}');
SELECT msgstore.get_snapshot('s-1');
SELECT msgstore.save_snapshot('{}') ~ '^[0-9a-f-]{36}$';
SELECT count(*) FROM msgstore.list_snapshots();
SELECT msgstore.apply_snapshot_retention(1, NULL);
SELECT msgstore.save_snapshot(jsonb_build_object('snapshot_id', 't-' || n, 'trigger', 'test',
    'created_at', '2024-02-01T00:00:00Z', 'entries', '[1, 2]'::jsonb)) FROM generate_series(1, 5) n;
SELECT snapshot_id, entry_count, trigger, name FROM msgstore.list_snapshots(2, 1);
SELECT snapshot_id FROM msgstore.list_snapshots(NULL, 4);
SELECT snapshot_id FROM msgstore.list_snapshots(2, 3);
SELECT * FROM msgstore.list_snapshots(-1);
SELECT * FROM msgstore.list_snapshots(1, -1);
SELECT msgstore.delete_snapshot('t-1');
SELECT msgstore.delete_snapshot('t-1');
SELECT msgstore.get_snapshot('t-1');
SELECT msgstore.get_snapshot(NULL);
SELECT msgstore.apply_snapshot_retention(NULL, NULL);
SELECT msgstore.apply_snapshot_retention(0, NULL);
SELECT msgstore.apply_snapshot_retention(2, '-1 day');
SELECT msgstore.apply_snapshot_retention(NULL, '1 day');
SELECT msgstore.apply_snapshot_retention(10, '365 days');
SELECT msgstore.save_snapshot(jsonb_build_object('snapshot_id', 'u-' || n)) FROM generate_series(1, 5) n;
SELECT msgstore.apply_snapshot_retention(2, '30 days');
SELECT count(*) FROM msgstore.list_snapshots();
SELECT msgstore.save_snapshot('[]');
SELECT msgstore.save_snapshot(NULL);
SELECT msgstore.save_snapshot('{"name": 1}');
SELECT msgstore.save_snapshot('{"created_at": "yesterday or so"}');
SELECT msgstore.save_snapshot('{"entry_count": -1}');
SELECT msgstore.save_snapshot('{"entry_count": 1e20}');

-- Tenants do not see each other's streams and may use the same names.
SET msgstore.tenant_id = 'a';
SELECT msgstore.append('order-1', 'x', '{"tenant": "a"}', 0, NULL, '00000000-0000-4000-8000-000000000002');
SELECT shown(e) ~ '"a"' FROM msgstore.read_all() e;
SELECT msgstore.stream_state('order-1'), msgstore.stream_version('order-2');
SELECT * FROM msgstore.list_streams();
SELECT msgstore.latest_position() > 0, (SELECT count(*) FROM msgstore.list_snapshots());
SELECT msgstore.create_subscription('mailer');
SET msgstore.tenant_id = 'b';
SELECT count(*) FROM msgstore.read_category('order');
SELECT msgstore.fetch('mailer');
SELECT msgstore.latest_position(), msgstore.latest_event_id();
RESET msgstore.tenant_id;
SELECT msgstore.stream_state('order-1');
SELECT msgstore.fetch('mailer');

DROP TABLE seen, past, handled;
DROP FUNCTION shown(msgstore.stream_event), handle(int, int);
DROP EXTENSION msgstore;
