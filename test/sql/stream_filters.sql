-- Reading events of some types or with some metadata, traces, and imported events
-- with their own time.
CREATE EXTENSION msgstore;
\pset null NULL
\set SHOW_CONTEXT never
CREATE FUNCTION shown(e msgstore.stream_event) RETURNS text LANGUAGE sql
RETURN format('%s@%s %s', e.stream, e.version, e.type);
SELECT msgstore.append('order-' || n % 2, CASE WHEN n % 5 = 0 THEN 'Paid' ELSE 'Changed' END, jsonb_build_object('n', n),
    metadata => jsonb_build_object('region', CASE WHEN n % 3 = 0 THEN 'EU' ELSE 'US' END, 'n', n)) > 0 AS appended
FROM generate_series(1, 12) n \g /dev/null

-- The first range of the index of types has no summary that appends would have to
-- change: one is new now, and can be removed again.
SELECT brin_summarize_range('msgstore.stream_events_type_idx', 0);
SELECT brin_desummarize_range('msgstore.stream_events_type_idx', 0);

-- By type, by metadata, by both; in each read.
SELECT shown(e), data FROM msgstore.read_stream('order-0', types => '{Paid}') e;
SELECT shown(e), data FROM msgstore.read_stream('order-0', 2, 2, metadata => '{"region": "US"}') e;
SELECT shown(e), data FROM msgstore.read_stream_backwards('order-0', NULL, 1, types => '{Changed}', metadata => '{"region": "EU"}') e;
SELECT shown(e), data FROM msgstore.read_category('order', 5, types => '{Paid,Unknown}') e;
SELECT shown(e), data FROM msgstore.read_category('order', 0, 2, 0, 2, '{Changed}') e;
SELECT shown(e), data FROM msgstore.read_all(0, 2, metadata => '{"region": "EU"}') e;
SELECT count(*) FROM msgstore.read_all(types => '{}');
SELECT count(*) FROM msgstore.read_all(metadata => '{}');

-- A trace: all events with a correlation_id, and what caused them.
SELECT msgstore.append(stream, type, '{}', NULL, jsonb_strip_nulls(jsonb_build_object('correlation_id', 'c-1', 'causation_id', cause)), id::uuid) > 0 AS appended
FROM (VALUES
    ('cart-1', 'Submitted', NULL, '00000000-0000-4000-8000-000000000001'),
    ('order-7', 'Placed', '00000000-0000-4000-8000-000000000001', '00000000-0000-4000-8000-000000000002'),
    ('bill-7', 'Sent', '00000000-0000-4000-8000-000000000002', '00000000-0000-4000-8000-000000000003'),
    ('stock-3', 'Reserved', '00000000-0000-4000-8000-000000000002', '00000000-0000-4000-8000-000000000004'),
    ('bill-7', 'Paid', '00000000-0000-4000-8000-000000000003', '00000000-0000-4000-8000-000000000005'),
    ('mail-1', 'Sent', '00000000-0000-4000-8000-00000000000f', '00000000-0000-4000-8000-000000000006')) v (stream, type, cause, id)
\g /dev/null
SELECT msgstore.append('mail-2', 'Sent', '{}', NULL, '{"causation_id": "00000000-0000-4000-8000-000000000003"}', '00000000-0000-4000-8000-000000000007');
-- A cause in upper case is the same.
SELECT msgstore.append('upper-1', 'x', '{}', NULL, '{"correlation_id": "upper"}', 'abcdef00-0000-4000-8000-000000000001'),
    msgstore.append('upper-1', 'y', '{}', NULL, '{"correlation_id": "upper", "causation_id": "ABCDEF00-0000-4000-8000-000000000001"}');
SELECT depth, caused_by, type FROM msgstore.trace('upper');
SELECT depth, type FROM msgstore.causation_tree('abcdef00-0000-4000-8000-000000000001');
SELECT depth, stream, type, right(caused_by::text, 1) AS caused_by FROM msgstore.trace('c-1');
SELECT depth, stream FROM msgstore.trace('c-1', 2);
SELECT count(*) FROM msgstore.trace('c-2');
-- Depth first, beyond the trace.
SELECT repeat('  ', depth) || stream || ' ' || type AS tree FROM msgstore.causation_tree('00000000-0000-4000-8000-000000000002');
SELECT count(*) FROM msgstore.causation_tree('00000000-0000-4000-8000-000000000002', 1);
SELECT count(*) FROM msgstore.causation_tree('00000000-0000-4000-8000-0000000000ff');
-- Events that name each other are a circle that ends.
SELECT msgstore.append('ring-1', 'x', '{}', NULL, jsonb_build_object('correlation_id', 'ring', 'causation_id', cause), id::uuid)
FROM (VALUES ('00000000-0000-4000-8000-00000000000b', '00000000-0000-4000-8000-00000000000a'),
    ('00000000-0000-4000-8000-00000000000a', '00000000-0000-4000-8000-00000000000b')) v (cause, id);
SELECT depth, version FROM msgstore.trace('ring');
SELECT depth, version FROM msgstore.causation_tree('00000000-0000-4000-8000-00000000000a');
-- Long ids work, too.
SELECT msgstore.append('long-1', 'x', '{}', NULL, jsonb_build_object('correlation_id', repeat('x', 5000)));
SELECT count(*) FROM msgstore.trace(repeat('x', 5000));
SELECT count(*) FROM msgstore.read_all(metadata => jsonb_build_object('correlation_id', repeat('x', 5000)));
SELECT count(*) FROM msgstore.read_all(metadata => '{"correlation_id": "c-1"}', types => '{Sent}');
-- Message DB's interface writes traces, too.
SELECT msgstore.install_message_store();
SELECT message_store.write_message(gen_random_uuid()::varchar, 'mdb-1', 'x', '{}', '{"correlation_id": "mdb"}');
SELECT stream FROM msgstore.trace('mdb');
SET client_min_messages = warning;
DROP SCHEMA message_store CASCADE;
RESET client_min_messages;

-- An imported event keeps its own time beside that of the append. The state at a
-- time goes by it.
SELECT msgstore.append('import-1', 'Opened', '{"v": 1}', happened_at => '2020-01-01 00:00Z');
SELECT count(*) FROM msgstore.append_batch('[{"stream": "import-1", "type": "Changed", "data": {"v": 2}, "happened_at": "2021-01-01T00:00:00Z"},
    {"stream": "import-1", "type": "Changed", "data": {"v": 3}}]');
SELECT version, happened_at AT TIME ZONE 'UTC' AS happened_at, created_at > now() - interval '1 hour' AS appended_now
FROM msgstore.read_stream('import-1');
SELECT msgstore.stream_state('import-1', '2020-06-01'), msgstore.stream_state('import-1', '2022-01-01'), msgstore.stream_state('import-1');
SELECT msgstore.append_batch('[{"stream": "import-1", "type": "x", "data": {}, "happened_at": "soon"}]');
SELECT msgstore.append_batch('[{"stream": "import-1", "type": "x", "data": {}, "happened_at": 5}]');

-- Indexes serve filters by type and by the ids of traces.
INSERT INTO msgstore.stream_events (global_position, horizon, version, created_at, event_id, tenant_id, stream, category, type, data, metadata)
SELECT nextval('msgstore.stream_events_position_seq'), 0, n, now(), gen_random_uuid(), '', 'mass-1', 'mass',
    CASE WHEN n BETWEEN 20000 AND 20002 THEN 'Rare' ELSE 'Common' END, '{"some": "content of the event, not short"}', '{"region": "EU"}'
FROM generate_series(1, 40000) n;
VACUUM ANALYZE msgstore.stream_events;
CREATE FUNCTION scans(index text, call text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    before bigint := pg_stat_get_xact_numscans(index::regclass);
    n bigint;
BEGIN
    EXECUTE 'SELECT count(*) FROM ' || call INTO n;
    RAISE NOTICE '% events', n;
    RETURN pg_stat_get_xact_numscans(index::regclass) - before;
END
$$;
SELECT scans('msgstore.stream_events_type_idx', $$msgstore.read_all(types => '{Rare}')$$);
SELECT scans('msgstore.stream_events_type_idx', $$msgstore.read_category('mass', types => '{Rare}')$$);
SELECT scans('msgstore.stream_events_type_idx', $$msgstore.read_all(types => '{Common}')$$);
SELECT scans('msgstore.stream_event_keys_pkey', $$msgstore.read_all(metadata => '{"correlation_id": "c-1"}')$$) > 0 AS used;
DROP FUNCTION shown(msgstore.stream_event), scans(text, text);
DROP EXTENSION msgstore;
