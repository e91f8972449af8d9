-- hosts: the store of a hosts-file manager: events, current hosts, search, and
-- hosts at earlier times.
CREATE EXTENSION msgstore;
\pset null NULL
\set SHOW_CONTEXT never
SET timezone = 'UTC';
SET datestyle = 'ISO';
CREATE FUNCTION created(ip text, name text, more jsonb DEFAULT '{}') RETURNS jsonb LANGUAGE sql
RETURN jsonb_build_object('type', 'HostCreated', 'ip_address', ip, 'hostname', name,
    'tags', '[]'::jsonb, 'aliases', '[]'::jsonb, 'created_at', '2024-01-01T00:00:00Z') || more;
CREATE FUNCTION moved(ip text) RETURNS jsonb LANGUAGE sql
RETURN jsonb_build_object('type', 'IpAddressChanged', 'old_ip', '10.0.0.1', 'new_ip', ip,
    'changed_at', '2024-01-02T00:00:00Z');
CREATE FUNCTION commented(comment text) RETURNS jsonb LANGUAGE sql
RETURN jsonb_build_object('type', 'CommentUpdated', 'old_comment', NULL, 'new_comment', comment,
    'updated_at', '2024-01-03T00:00:00Z');
CREATE FUNCTION deleted() RETURNS jsonb LANGUAGE sql
RETURN jsonb_build_object('type', 'HostDeleted', 'ip_address', '10.0.0.1', 'hostname', 'a',
    'deleted_at', '2024-01-04T00:00:00Z', 'reason', 'gone');
CREATE FUNCTION events(VARIADIC e jsonb[]) RETURNS jsonb LANGUAGE sql RETURN to_jsonb(e);
-- Ids and versions are generated ULIDs, so this shows only the number of events.
CREATE FUNCTION appended(id text, e jsonb, expected text DEFAULT NULL) RETURNS text LANGUAGE sql
AS $$ SELECT format('%s events, last %s', count(*), max(seq))
    FROM msgstore.append_host_events(id, e, expected)
    WHERE event_id ~ '^[0-9A-HJKMNP-TV-Z]{26}$' AND aggregate_id = id $$;

-- An empty log.
SELECT msgstore.latest_host_event_id(), msgstore.host_version('nope'), msgstore.host_sequence('nope'),
    msgstore.count_host_events('nope');
SELECT * FROM msgstore.load_host_events('nope');
SELECT * FROM msgstore.list_hosts();

-- A new host expects no version, or 0.
SELECT appended('A', events(created('10.0.0.1', 'a', '{"comment": "first", "tags": ["x", "y"]}')));
SELECT appended('B', events(created('10.0.0.1', 'b')), '0');
SELECT id, ip_address, hostname, aliases, comment, tags, created_at, updated_at > now() - interval '1 minute' AS updated
FROM msgstore.host_by_id('A') \gx
-- Any other expected version is a conflict, and nothing is written. DETAIL contains
-- the last version, which is generated.
\set VERBOSITY terse
SELECT appended('A', events(moved('10.0.0.9')), '999');
SELECT appended('A', events(moved('10.0.0.9')));
SELECT appended('A', events(moved('10.0.0.9')), '0');
SELECT appended('NEW', events(created('10.0.0.3', 'n')), '3');
\set VERBOSITY sqlstate
SELECT appended('A', events(moved('10.0.0.9')), '999');
\set VERBOSITY default
SELECT msgstore.count_host_events('A'), msgstore.count_host_events('NEW');
-- The expected version is the text or the number of the last one; -1 is any.
SELECT appended('A', events(moved('10.0.0.2')), msgstore.host_version('A'));
DO $$ BEGIN PERFORM appended('A', '[{"type": "HostDeleted"}]', 'x'); EXCEPTION WHEN SQLSTATE 'MS409' THEN
    RAISE NOTICE '%', replace(SQLERRM, msgstore.host_version('A'), '(last)'); END $$;
SELECT appended('A', events(commented('second')), '2');
SELECT appended('A', events(commented(NULL)), '-1');
SELECT msgstore.host_sequence('A'), msgstore.host_version('A') = max(event_version) AS last
FROM msgstore.load_host_events('A');

-- Each event changes its own field.
SELECT appended('A', events(
    '{"type": "HostnameChanged", "old_hostname": "a", "new_hostname": "alpha"}',
    '{"type": "TagsModified", "old_tags": ["x", "y"], "new_tags": []}',
    '{"type": "AliasesModified", "old_aliases": [], "new_aliases": ["al", "pha"]}'), '4');
SELECT id, ip_address, hostname, aliases, comment, tags, created_at, version = msgstore.host_version('A') AS last
FROM msgstore.host_by_id('A');
SELECT seq, event_type, ip_address, hostname, comment, tags, aliases FROM msgstore.load_host_events('A');
SELECT seq, CASE WHEN seq < 5 THEN metadata END AS metadata, event ->> 'type' AS type,
    event_timestamp > created_at - interval '1 s' AS filled_in,
    expected_version IS NOT NULL AS expected FROM msgstore.load_host_events('A') WHERE seq IN (2, 3, 5);
SELECT expected_version FROM msgstore.load_host_events('A') WHERE seq IN (1, 3, 4);

-- Only one host that is not deleted may have an address and name.
SELECT appended('C', events(created('10.0.0.1', 'b')));
SELECT appended('C', events(created('10.0.0.5', 'c'), created('10.0.0.5', 'c')));
SELECT * FROM msgstore.append_host_batch(jsonb_build_array(
    jsonb_build_object('aggregate_id', 'C', 'events', events(created('10.0.0.5', 'c'))),
    jsonb_build_object('aggregate_id', 'D', 'events', events(created('10.0.0.5', 'c')))));
SELECT appended('B', events(moved('10.0.0.2'), '{"type": "HostnameChanged", "new_hostname": "alpha"}'), '1');
SELECT msgstore.count_host_events('C'), msgstore.count_host_events('D'), msgstore.count_host_events('B');
-- The message names the unchanged part, too.
BEGIN;
SELECT appended('C', events(created('10.0.0.2', 'c'), '{"type": "HostnameChanged", "new_hostname": "d"}'));
SELECT appended('C', events('{"type": "HostnameChanged", "new_hostname": "alpha"}'), '2');
ROLLBACK;
SELECT appended('B', events(deleted()), '1');
SELECT appended('C', events(created('10.0.0.1', 'b')));
-- A deleted host is not listed, its events are. A change does not restore it.
SELECT appended('B', events(commented('back?')), '2');
SELECT id FROM msgstore.list_hosts();
SELECT * FROM msgstore.host_by_id('B');
SELECT * FROM msgstore.host_by_id('none');
SELECT id FROM msgstore.host_by_ip_and_hostname('10.0.0.1', 'b');
SELECT id FROM msgstore.host_by_ip_and_hostname('10.0.0.1', 'none');
SELECT event_type, metadata FROM msgstore.load_host_events('B') WHERE seq = 2;
SELECT * FROM msgstore.list_host_ids();
SELECT id, event_version = msgstore.host_version(id) AS last FROM msgstore.host_entries_current ORDER BY id;
SELECT aggregate_id, seq FROM msgstore.host_entries_history WHERE aggregate_id = 'B';
-- Changes before the creation have no effect, nor have events about snapshots.
SELECT appended('E', events(moved('10.9.9.9')), '-1');
SELECT count(*) FROM msgstore.host_entries_current WHERE id = 'E';
CREATE TABLE before AS SELECT * FROM msgstore.host_by_id('C');
SELECT appended('C', events('{"type": "SnapshotCreated", "snapshot_id": "s", "name": "n", "trigger": "t", "entry_count": 3, "occurred_at": "2024-01-01T00:00:00Z"}'), '1');
SELECT (SELECT before FROM before) = (SELECT h FROM msgstore.host_by_id('C') h) AS same;

-- The events of one call are stored all or none, after one version check.
SELECT * FROM msgstore.append_host_events('A', '[]', 'whatever');
SELECT appended('A', (SELECT jsonb_agg(commented('Batch update ' || n)) FROM generate_series(0, 99) n), '7');
SELECT comment FROM msgstore.host_by_id('A');
SELECT array_agg(seq ORDER BY n) = array_agg(n) AS in_order
FROM msgstore.load_host_events('A') WITH ORDINALITY AS e (a, b, c, d, e, f, g, h, i, j, k, l, m, o, seq, p, q, r, n);
\set VERBOSITY terse
SELECT * FROM msgstore.append_host_batch(jsonb_build_array(
    jsonb_build_object('aggregate_id', 'F', 'events', events(created('10.0.0.6', 'f'))),
    jsonb_build_object('aggregate_id', 'A', 'events', events(commented('no')), 'expected_version', '5')));
\set VERBOSITY default
SELECT msgstore.count_host_events('F');
-- A later item of a batch sees the events of an earlier one.
SELECT aggregate_id, seq FROM msgstore.append_host_batch(jsonb_build_array(
    jsonb_build_object('aggregate_id', 'F', 'events', events(created('10.0.0.6', 'f')), 'expected_version', '0'),
    jsonb_build_object('aggregate_id', 'F', 'events', events(commented('yes')), 'expected_version', '1')));
-- A missing aggregate id is generated.
SELECT aggregate_id ~ '^[0-9A-HJKMNP-TV-Z]{26}$' AS made, seq
FROM msgstore.append_host_events(NULL, events(created('10.0.0.7', 'g')));

-- The fields of an envelope are stored.
SELECT appended('H', events(jsonb_build_object('event', created('10.0.0.8', 'h'), 'aggregate_id', 'H',
    'event_id', '7ZZZZZZZZZ0000000000000001', 'event_version', 'v1', 'created_by', 'ann',
    'created_at', '2024-02-01T00:00:00Z', 'expected_version', 'none', 'metadata', '{"source": "cli"}'::jsonb)));
SELECT event_id, event_version, created_by, created_at, event_timestamp, expected_version, metadata
FROM msgstore.load_host_events('H');
SELECT appended('H', events(jsonb_build_object('event', commented('x'), 'event_version', 'v2')), 'v1');
SELECT appended('H', events(jsonb_build_object('event', commented('x'), 'event_version', 'v1')), 'v2');
SELECT created_by FROM msgstore.load_host_events('H') WHERE seq = 2;
-- The latest id increases with every commit, whatever ids are proposed.
SELECT msgstore.latest_host_event_id();
SELECT appended('H', events(jsonb_build_object('event', commented(n::text), 'event_id', id)), '-1')
FROM (VALUES (1, '00000000000000000000000000'), (2, '01ARZ3NDEKTSV4RRFFQ69G5FAV'), (3, '7ZZZZZZZZZ0000000000000001')) v (n, id);
SELECT msgstore.latest_host_event_id(), count(*) FROM msgstore.load_host_events('H');

-- Compaction leaves one event with the same version, and the same host.
CREATE TABLE entries AS SELECT * FROM msgstore.list_hosts();
CREATE TABLE latest AS SELECT msgstore.latest_host_event_id() AS id;
SELECT events_before, events_after, version, event_version = msgstore.host_version('A') AS same
FROM msgstore.compact_host('A');
SELECT events_before, events_after, version FROM msgstore.compact_host('B');
SELECT events_before, events_after, version FROM msgstore.compact_host('H');
SELECT msgstore.latest_host_event_id() > id AS risen FROM latest;
SELECT msgstore.count_host_events('A'), msgstore.host_sequence('A');
SELECT count(*) FROM (TABLE entries EXCEPT SELECT * FROM msgstore.list_hosts()) changed;
SELECT count(*) FROM (TABLE entries EXCEPT SELECT * FROM msgstore.hosts_at('infinity')) changed;
SELECT event_type, event - 'compacted_at' - 'created_at' - 'updated_at' AS event FROM msgstore.load_host_events('B');
SELECT events_before, events_after, version FROM msgstore.compact_host('A');
SELECT events_before, events_after, version FROM msgstore.compact_host('none');
SELECT appended('A', events(commented('after')), '107');
\set VERBOSITY terse
SELECT appended('A', events(commented('stale')), '107');
\set VERBOSITY default
SELECT comment FROM msgstore.host_by_id('A');
SELECT count(*) FROM (SELECT * FROM msgstore.list_hosts() EXCEPT SELECT * FROM msgstore.hosts_at('infinity')) changed;

-- Imported hosts behave like created ones.
SELECT appended('I', events('{"type": "HostImported", "ip_address": "10.1.0.1", "hostname": "imported", "comment": "c",
    "tags": ["t"], "aliases": ["i"], "occurred_at": "2023-01-01T00:00:00Z"}'));
SELECT ip_address, hostname, aliases, comment, tags, created_at FROM msgstore.host_by_id('I');

-- Invalid events are refused.
SELECT appended('X', events('{"type": "FutureEventV99"}'));
SELECT appended('X', events('{"ip_address": "10.0.0.1"}'));
SELECT appended('X', events('1'));
SELECT appended('X', '{}');
SELECT appended('X', NULL);
SELECT appended('X', events('{"type": "HostCreated", "hostname": "x"}'));
SELECT appended('X', events(created('10.0.0.1', 'x', '{"tags": [1]}')));
SELECT appended('X', events(created('10.0.0.1', 'x', '{"tags": "t"}')));
SELECT appended('X', events(created('10.0.0.1', 'x', '{"hostname": 1}')));
SELECT appended('X', events(created('10.0.0.1', 'x', '{"created_at": "soon"}')));
SELECT appended('X', events(jsonb_build_object('event', created('10.0.0.1', 'x'), 'aggregate_id', 'Y')));
SELECT appended('X', events(jsonb_build_object('event', created('10.0.0.1', 'x'), 'event_id', '1')));
SELECT appended('X', events(jsonb_build_object('event', created('10.0.0.1', 'x'), 'created_at', 'soon')));
SELECT appended('X', events('{"event": 1}'));
SELECT appended(repeat('X', 901), events(created('10.0.0.1', 'x'))) ~ 'never';
SELECT * FROM msgstore.append_host_batch('{}');
SELECT * FROM msgstore.append_host_batch('[]');
SELECT msgstore.count_host_events('X');
-- Streams of hosts cannot be changed in any other way.
SELECT msgstore.append('msgstore:host-A', 'HostDeleted', '{}');
SELECT * FROM msgstore.append_batch('[{"stream": "msgstore:host-A", "type": "HostDeleted", "data": {}}]');
SELECT * FROM msgstore.compact_stream('msgstore:host-A', '{}');
UPDATE msgstore.host_events SET comment = 'x';
-- They can be read like other streams.
SELECT count(*) > 0 FROM msgstore.read_category('msgstore:host');
-- An invalid event in the table is an error for all that depends on it, in each
-- function, and compaction keeps it.
BEGIN;
SELECT count(*) FROM msgstore.append_host_events('BAD', events(created('10.9.0.1', 'bad.example', '{}'),
    '{"type": "CommentUpdated", "new_comment": "x"}'));
SELECT count(*) FROM msgstore.append_host_events('GOOD', events(created('10.9.0.2', 'good.example', '{}')));
UPDATE msgstore.stream_events SET type = 'IpAddressChanged' WHERE stream = 'msgstore:host-BAD' AND version = 2;
\set VERBOSITY terse
DO $$
DECLARE
    call text;
BEGIN
    FOREACH call IN ARRAY ARRAY['load_host_events(''BAD'')', 'host_by_id(''BAD'')', 'list_hosts()',
        'search_hosts(''{"query": "good"}'')', 'host_by_ip_and_hostname(''10.9.0.2'', ''good.example'')', 'host_entries_current',
        'hosts_at(now() + interval ''1 day'')', 'compact_host(''BAD'')']
    LOOP
        BEGIN
            EXECUTE 'SELECT FROM msgstore.' || call;
            RAISE NOTICE '% is not refused', call;
        EXCEPTION WHEN data_corrupted THEN
            RAISE NOTICE '%: %', call, regexp_replace(SQLERRM, '[0-9A-Z]{26}', '(id)');
        END;
    END LOOP;
END
$$;
\set VERBOSITY default
SELECT count(*) FROM msgstore.stream_events WHERE stream = 'msgstore:host-BAD';
SELECT finding, subject, regexp_replace(detail, '[0-9A-Z]{26}', '(id)') AS detail, repair FROM msgstore.check();
-- What does not depend on it can be read.
SELECT hostname FROM msgstore.host_by_id('GOOD');
SELECT event_type FROM msgstore.load_host_events('GOOD');
SELECT count(*) >= 0 AS readable FROM msgstore.hosts_at('2020-01-01');
UPDATE msgstore.stream_events SET type = 'Unheard', data = '{}' WHERE stream = 'msgstore:host-BAD' AND version = 2;
SELECT regexp_replace(detail, '[0-9A-Z]{26}', '(id)') AS detail FROM msgstore.check();
-- An almost empty index shows whether there are invalid events. The planner, which
-- takes most events for invalid, must prefer it to reading all events of many hosts.
-- Without incremental sorts, so that it does not prefer it at some sizes only.
INSERT INTO msgstore.stream_events (global_position, horizon, version, created_at, event_id, tenant_id, stream, category, type, data)
SELECT n, e.horizon, 1, e.created_at, gen_random_uuid(), 'large', 'msgstore:host-' || n, e.category, e.type, e.data
FROM msgstore.stream_events e, generate_series(1, 200) n
WHERE e.stream = 'msgstore:host-GOOD' AND e.version = 1;
ANALYZE msgstore.stream_events;
SET LOCAL msgstore.tenant_id = 'large';
SET LOCAL enable_incremental_sort = off;
SELECT pg_stat_get_xact_numscans('msgstore.stream_events_host_fault_idx'::regclass) AS before \gset
SELECT count(*) FROM msgstore.host_entries_current;
SELECT pg_stat_get_xact_numscans('msgstore.stream_events_host_fault_idx'::regclass) - :before AS scans;
-- An index serves hosts_at(), and that one serves readers with any tenant.
SET LOCAL enable_seqscan = off;
EXPLAIN (COSTS OFF) SELECT FROM msgstore.stream_events
WHERE tenant_id = 'x' AND category = 'msgstore:host' AND created_at <= '2020-01-01';
EXPLAIN (COSTS OFF) SELECT FROM msgstore.stream_events
WHERE tenant_id = 'x' AND category = 'msgstore:host' AND msgstore._host_event_fault(type, data) IS NOT NULL;
ROLLBACK;
DROP TABLE entries, latest, before;

-- Lists and searches are sorted by address and name in byte order.
SET msgstore.tenant_id = 'suite';
SELECT count(*) FROM (VALUES
    ('192.168.1.1', 'gamma', '{"tags": ["production"]}'::jsonb), ('10.0.0.1', 'beta', '{"comment": "the Search-Target"}'),
    ('192.168.10.1', 'zebra', '{"tags": ["production-eu"]}'), ('10.0.0.1', 'alpha', '{"aliases": ["www.prod.local"]}'),
    ('172.16.0.1', 'epsilon', '{"comment": "100%wildcard%_x\\"}'), ('192.168.1.1', 'delta', '{"comment": "it''s"}')) v (ip, name, more)
CROSS JOIN LATERAL msgstore.append_host_events(NULL, events(created(ip, name, more)));
SELECT ip_address, hostname FROM msgstore.list_hosts();
CREATE FUNCTION found(filter jsonb) RETURNS text LANGUAGE sql
RETURN (SELECT string_agg(hostname, ' ') FROM msgstore.search_hosts(filter));
SELECT filter, found(filter) FROM (VALUES ('{}'::jsonb), ('{"ip_pattern": "192.168.1"}'), ('{"ip_pattern": "168"}'),
    ('{"hostname_pattern": "PROD.local"}'), ('{"hostname_pattern": "ta"}'), ('{"tags": ["production"]}'),
    ('{"tags": ["production", "production-eu"]}'), ('{"tags": []}'), ('{"query": "search-target"}'),
    ('{"query": "prod.local"}'), ('{"query": "production"}'), ('{"query": "%wildcard%"}'), ('{"query": "_"}'),
    ('{"query": "''"}'), ('{"query": "\\"}'), ('{"ip_pattern": "192", "tags": ["production"], "query": "GAM"}'),
    ('{"ip_pattern": "10.", "tags": ["production"]}'), ('{"ip_pattern": "255.255.255.255"}'),
    ('{"ip_pattern": null, "tags": null}')) v (filter);
SELECT found('{"ip_pattern": "", "query": ""}');
SELECT found('{"hostname_pattern": ""}');
SELECT found('{"query": ""}');
SELECT found('{"query": 1}');
SELECT found('{"tags": "x"}');
SELECT found('{"tags": [1]}');
SELECT found('{"color": "red"}');
SELECT found('[]');

-- hosts_at() uses the time at which events were recorded.
SET msgstore.tenant_id = 'times';
SELECT count(*) FROM msgstore.append_host_events('T', events(
    jsonb_build_object('event', created('10.0.0.1', 't'), 'created_at', '2024-01-01T00:00:00Z'),
    jsonb_build_object('event', moved('10.0.0.2'), 'created_at', '2024-01-03T00:00:00Z'),
    jsonb_build_object('event', deleted(), 'created_at', '2024-01-05T00:00:00Z')));
SELECT count(*) FROM msgstore.append_host_events('S', events(
    jsonb_build_object('event', created('10.0.0.1', 's'), 'created_at', '2024-01-02T00:00:00Z')));
SELECT at::date, hostname, ip_address, updated_at::date
FROM generate_series('2023-12-31 UTC', '2024-01-06 UTC', interval '1 day') at,
    msgstore.hosts_at(at) ORDER BY at, ip_address, hostname;
SELECT (SELECT array_agg(h) FROM msgstore.hosts_at(now() + interval '1 year') h)
    = (SELECT array_agg(h) FROM msgstore.list_hosts() h) AS same;
-- A compacted host exists only from the time of its compaction on.
SELECT events_before FROM msgstore.compact_host('T');
SELECT hostname FROM msgstore.hosts_at('2024-01-04 UTC');
RESET msgstore.tenant_id;

-- Validation of addresses, names and aliases.
SELECT ip, array_agg(v.code) FROM unnest(ARRAY['10.0.0.1', '256.1.1.1', '192.168.1', '192.168.1.1.1', 'not-an-ip', '',
    'gggg::1', '::::::', '::1', 'fe80::1', '::ffff:192.168.1.1']) WITH ORDINALITY i (ip, n)
LEFT JOIN LATERAL msgstore.validate_host(jsonb_build_object('ip_address', ip, 'hostname', 'h')) v ON true
GROUP BY ip, n ORDER BY n;
SELECT left(name, 20), length(name), array_agg(v.code) FROM unnest(ARRAY[repeat('a', 63), repeat('a', 64),
    repeat('a', 63) || repeat('.' || repeat('a', 63), 2) || '.' || repeat('a', 61),
    repeat('a', 63) || repeat('.' || repeat('a', 63), 2) || '.' || repeat('a', 62), 'in..valid', 'invalid_host', '-a', 'a-',
    '.a', 'a.', '', 'localhost', '123.456', 'a-b.c']) WITH ORDINALITY i (name, n)
LEFT JOIN LATERAL msgstore.validate_host(jsonb_build_object('ip_address', '::1', 'hostname', name)) v ON true
GROUP BY name, n ORDER BY n;
SELECT (SELECT array_agg(v.code) FROM msgstore.validate_host(
    jsonb_build_object('ip_address', '::1', 'hostname', 'server.local', 'aliases', to_jsonb(aliases))) v)
FROM (VALUES (ARRAY['srv', 'db']), (ARRAY['::1']), (ARRAY['SERVER.LOCAL']), (ARRAY['srv', 'SRV']), (ARRAY['a_b']),
    (ARRAY(SELECT 'a' || n FROM generate_series(1, 50) n)), (ARRAY(SELECT 'a' || n FROM generate_series(1, 51) n))) v (aliases);
SELECT * FROM msgstore.validate_host('{}');

-- ULIDs increase, even within a millisecond or if the clock is behind.
SELECT count(*), count(DISTINCT id), bool_and(id > last) FROM (
    SELECT id, lag(id, 1, '') OVER (ORDER BY n) AS last
    FROM (SELECT n, msgstore.new_ulid() AS id FROM generate_series(1, 1000) n) made) u;
SELECT msgstore.ulid_after('7YYYYYYYYYZZZZZZZZZZZZZZZZ'), msgstore.ulid_after('01ARZ3NDEKTSV4RRFFQ69G5FAV') > '01ARZ3NDEKTSV4RRFFQ69G5FAV';
SELECT msgstore._uuid_to_ulid(msgstore._ulid_to_uuid('01arz3ndektsv4rrffq69g5fav')), msgstore._ulid_to_uuid('01ARZ3NDEKTSV4RRFFQ69G5FAV');
SELECT msgstore.ulid_after('7ZZZZZZZZZZZZZZZZZZZZZZZZZ');
SELECT msgstore.ulid_after('8ZZZZZZZZZZZZZZZZZZZZZZZZZ');
SELECT msgstore.ulid_after('01ARZ3NDEKTSV4RRFFQ69G5FAU');
SELECT msgstore.ulid_after('');
SELECT msgstore.hosts_health();

DROP FUNCTION created, moved, commented, deleted, events, appended, found;
DROP EXTENSION msgstore;
