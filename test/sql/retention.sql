-- retention: retention of streams, tombstones, erasure, and seals.
CREATE EXTENSION msgstore;
\pset null NULL
\set SHOW_CONTEXT never
CREATE VIEW log AS
SELECT stream, version, type, data, metadata FROM msgstore.stream_events ORDER BY global_position;
CREATE FUNCTION turns() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    pause bigint;
BEGIN
    FOR n IN 1..100 LOOP
        pause := msgstore._retention_turn();
        EXIT WHEN pause <> 0;
    END LOOP;
    RETURN pause;
END $$;

-- Without a retention, the worker has nothing to do.
SELECT turns();
-- max_count keeps the last events of each stream.
SELECT count(msgstore.append('order-' || n % 2, 'x', jsonb_build_object('n', n))) FROM generate_series(1, 10) n;
SELECT count(msgstore.append('other-1', 'x', '{}')) FROM generate_series(1, 3) n;
SELECT msgstore.set_stream_retention('order', max_count => 2);
SELECT turns() BETWEEN 1 AND 60000 AS within_a_minute;
SELECT stream, version FROM log;
SELECT * FROM msgstore.list_stream_retention();
-- Versions continue.
SELECT msgstore.append('order-1', 'x', '{}', 5);
SELECT turns() > 0 AS waits;
SELECT stream, version FROM log WHERE stream = 'order-1';
-- A step looks at so many events, and says whether there may be more.
SELECT count(msgstore.append('order-1', 'x', '{}')) FROM generate_series(1, 4) n;
SELECT s.removed, s.more FROM msgstore._walk_category('', 'order', 0, 1000, NULL, 2, 3) s;
SELECT s.removed, s.more FROM msgstore._walk_category('', 'order', 0, 1000, NULL, 2, 100) s;
SELECT stream, version FROM log WHERE stream = 'order-1';

-- max_age removes old events, but not the last one of a stream; when another event
-- follows, that goes too.
SELECT msgstore.set_stream_retention('order');
SELECT msgstore.set_stream_retention('aged', '1 hour');
SELECT count(msgstore.append('aged-' || n % 2, 'x', '{}')) FROM generate_series(1, 6) n;
UPDATE msgstore.stream_events SET created_at = now() - interval '2 hours' WHERE category = 'aged';
SELECT msgstore.append('aged-2', 'x', '{}');
SELECT turns() > 0 AS waits;
SELECT stream, version FROM log WHERE stream LIKE 'aged%';
SELECT count(msgstore.append('aged-0', 'x', '{}')) FROM generate_series(1, 2) n;
UPDATE msgstore.stream_events SET created_at = now() - interval '2 hours' WHERE stream = 'aged-0' AND version = 4;
UPDATE msgstore.stream_events SET created_at = now() - interval '90 minutes' WHERE stream = 'aged-2';
SELECT turns() > 0 AS waits;
SELECT stream, version FROM log WHERE stream LIKE 'aged%';
SELECT msgstore.append('aged-1', 'x', '{}');
SELECT turns() > 0 AS waits;
SELECT stream, version FROM log WHERE stream LIKE 'aged%';
SELECT removed_events FROM msgstore.list_stream_retention();

-- Invalid arguments.
SELECT msgstore.set_stream_retention('order', max_count => 0);
SELECT msgstore.set_stream_retention('order', '-1 s');
SELECT msgstore.set_stream_retention('', '1 s');
SELECT msgstore.set_stream_retention('order-1', '1 s');
SELECT msgstore.set_stream_retention('msgstore:host', '1 s');

-- A stream is truncated before a version; its last event stays.
SELECT msgstore.truncate_stream('other-1', 3);
SELECT msgstore.truncate_stream('other-1', 99);
SELECT stream, version FROM log WHERE stream = 'other-1';
SELECT msgstore.truncate_stream('none-1', 2);
SELECT msgstore.truncate_stream('other-1', -9223372036854775808);
SELECT msgstore.truncate_stream('other-1', NULL);

-- A tombstone ends a stream for ever; readers of the category see it.
SELECT msgstore.append('dead-1', 'x', '{}'), msgstore.append('dead-1', 'x', '{}');
SELECT msgstore.tombstone_stream('dead-1', 1);
SELECT msgstore.tombstone_stream('dead-1', 2);
SELECT msgstore.tombstone_stream('dead-1');
SELECT version, type FROM msgstore.read_category('dead');
SELECT msgstore.append('dead-1', 'x', '{}');
SELECT msgstore.append('dead-1', 'x', '{}', 2);
SELECT * FROM msgstore.append_batch('[{"stream": "dead-1", "type": "x", "data": {}}]');
SELECT msgstore.append('dead-2', 'msgstore:Tombstone', '{}');
SELECT * FROM msgstore.append_batch('[{"stream": "dead-2", "type": "msgstore:Tombstone", "data": {}}]');
SELECT msgstore.compact_stream('order-1', '{"type": "msgstore:Tombstone", "data": {}}');
CREATE FUNCTION pass() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER pass BEFORE INSERT ON msgstore.stream_events FOR EACH ROW EXECUTE FUNCTION pass();
SELECT msgstore.append('dead-1', 'x', '{}');
CREATE OR REPLACE FUNCTION pass() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
SELECT msgstore.tombstone_stream('other-1');
DROP TRIGGER pass ON msgstore.stream_events;
SELECT msgstore.tombstone_stream('none-1');

-- Erasure overwrites content and keeps positions and versions; it is logged
-- without the values.
SELECT msgstore.append('person-1', 'Named', '{"name": "Ann"}', metadata => '{"subject": 1}', created_by => 'ann');
SELECT msgstore.append('person-1', 'Moved', '{"city": "X"}', metadata => '{"subject": 2}');
SELECT msgstore.append('note-1', 'Noted', '{"about": {"name": "Ann"}}');
SELECT msgstore.erase_events(metadata => '{"subject": 1}');
SELECT msgstore.erase_events(metadata => '{"subject": 1}');
SELECT msgstore.erase_events(data => '{"about": {"name": "Ann"}}');
SELECT stream, version, type, data, metadata FROM log WHERE stream LIKE 'person%' OR stream LIKE 'note%';
SELECT msgstore.erase_events('person-1');
SELECT msgstore.erase_events();
SELECT msgstore.erase_events('msgstore:x');
SELECT operation, filter, event_count FROM msgstore.operations_log ORDER BY id;

-- Seals: an intact log, and its hash.
SELECT count(msgstore.append('sealed-' || n % 3, 'x', jsonb_build_object('n', n))) FROM generate_series(1, 6) n;
SELECT msgstore.seal_log() > 0 AS sealed;
SELECT msgstore.seal_log();
CREATE VIEW verified AS SELECT intact, seals, removed, unsealed, problem FROM msgstore.verify_log();
SELECT * FROM verified;
SELECT msgstore.append('sealed-1', 'x', '{"n": 7}');
SELECT * FROM verified;
SELECT last_hash AS hash FROM msgstore.verify_log() \gset
SELECT msgstore.seal_log();
SELECT intact, problem FROM msgstore.verify_log(:'hash');
SELECT intact, problem FROM msgstore.verify_log('\x00');
-- Each change of an event is found, with the position of the first one.
CREATE FUNCTION after(change text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    result text;
BEGIN
    BEGIN
        EXECUTE change;
        SELECT format('%s %s %s', v.intact, (SELECT format('%s@%s', e.stream, e.version) FROM msgstore.stream_events e
            WHERE e.global_position = v.position), v.problem) INTO result FROM msgstore.verify_log() v;
        RAISE EXCEPTION USING ERRCODE = 'XX999';
    EXCEPTION WHEN SQLSTATE 'XX999' THEN
        RETURN result;
    END;
END $$;
SELECT after($$UPDATE msgstore.stream_events SET data = '{"n": 70}' WHERE stream = 'sealed-1' AND version = 2$$);
SELECT after($$UPDATE msgstore.stream_events SET type = 'y' WHERE stream LIKE 'sealed%'$$);
SELECT after($$UPDATE msgstore.stream_events SET created_at = created_at - interval '1 us' WHERE stream = 'sealed-2' AND version = 1$$);
SELECT after($$UPDATE msgstore.stream_events SET metadata = '{}' WHERE stream = 'sealed-2' AND version = 2$$);
SELECT after($$UPDATE msgstore.stream_events SET version = 9 WHERE stream = 'sealed-2' AND version = 2$$);
SELECT after($$DELETE FROM msgstore.stream_events WHERE stream = 'sealed-0'$$);
SELECT after($$UPDATE msgstore.stream_events SET global_position = 1 WHERE stream = 'sealed-0' AND version = 1$$);
SELECT after($$UPDATE msgstore.stream_seals SET hash = sha256('x') WHERE seal = 1$$);
SELECT after($$UPDATE msgstore.stream_seals SET hashes = overlay(hashes placing '\x00' from 1) WHERE seal = 1$$);
SELECT after($$DELETE FROM msgstore.stream_seals WHERE seal = 1$$);
-- What the functions of msgstore remove is known, and they say so only for that.
SELECT msgstore.truncate_stream('sealed-0', 2);
SELECT msgstore.erase_events('sealed-1');
SELECT msgstore.compact_stream('sealed-2', '{}');
SELECT * FROM verified;
SELECT kind, cardinality(positions) FROM msgstore.stream_removals ORDER BY id;
SELECT msgstore.seal_log();
SELECT * FROM verified;
SELECT after($$UPDATE msgstore.stream_events SET data = '{"n": 1}' WHERE stream = 'sealed-1' AND version = 1$$);
SELECT after($$DELETE FROM msgstore.stream_events WHERE stream = 'sealed-1' AND version = 2$$);
SELECT after($$DELETE FROM msgstore.stream_removals WHERE kind = 'truncate'$$);
SELECT after($$UPDATE msgstore.stream_removals SET positions = positions || 1::bigint WHERE kind = 'truncate'$$);
-- A tenant has a log of its own.
SET msgstore.tenant_id = 'acme';
SELECT msgstore.append('sealed-1', 'x', '{}');
SELECT msgstore.seal_log();
SELECT * FROM verified;
RESET msgstore.tenant_id;
SELECT * FROM verified;

DROP VIEW log, verified;
DROP FUNCTION turns, pass, after;
DROP EXTENSION msgstore;
