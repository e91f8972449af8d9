-- The tables and views that users read, and rules for all tables.
\set QUIET on
SET client_min_messages = warning;
BEGIN;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS msgstore;
SELECT no_plan();

CREATE TEMP TABLE expected (relation text, columns text);
INSERT INTO expected VALUES
    ('inbound_events', 'id uuid, tenant_id text, channel text, from text, to text, provider_message_id text, payload jsonb, status text, attempt_count integer, next_attempt_at timestamptz, processor_id text, error_code text, error_message text, correlation_id text, created_at timestamptz, updated_at timestamptz, processed_at timestamptz'),
    ('outbound_messages', 'id uuid, tenant_id text, channel text, provider text, from text, to text, status text, provider_message_id text, attempt_count integer, next_attempt_at timestamptz, sender_id text, error_code text, error_message text, correlation_id text, created_at timestamptz, updated_at timestamptz, from_given text, to_given text, subject text'),
    ('outbound_payloads', 'tenant_id text, message_id uuid, payload jsonb'),
    ('delivery_statuses', 'tenant_id text, id uuid, channel text, provider_message_id text, status text, detail jsonb, received_at timestamptz, word text'),
    ('status_words', 'provider text, word text, status text, origin text'),
    ('messages', 'id uuid, tenant_id text, conversation_id uuid, conversation_key text, direction text, channel text, from text, to text, body text, attachments jsonb, timestamp timestamptz, provider_message_id text, inbound_event_id uuid, created_at timestamptz, from_given text, to_given text, subject text'),
    ('conversations', 'id uuid, tenant_id text, number bigint, channel text, participant_a text, participant_b text, key text, message_count integer, last_activity_at timestamptz, created_at timestamptz, inbound_count integer, state text, assignee text, contact_name text, labels text[]'),
    ('conversation_rows', 'tenant_id text, id uuid, number bigint, channel text, participant_a text, participant_b text, key text, created_at timestamptz'),
    ('conversation_activity', 'tenant_id text, conversation_id uuid, message_count integer, inbound_count integer, last_activity_at timestamptz'),
    ('conversation_changes', 'tenant_id text, id uuid, changes bytea'),
    ('conversation_states', 'tenant_id text, conversation_id uuid, is_closed boolean, closed_inbound_count integer, assignee text, contact_name text, labels text[], updated_at timestamptz'),
    ('search_entries', 'tenant_id text, message_id uuid, timestamp timestamptz, terms tsvector'),
    ('search_addresses', 'tenant_id text, conversation_id uuid, terms tsvector'),
    ('search_changes', 'tenant_id text, id uuid, changes bytea'),
    ('search_configurations', 'tenant_id text, channel text, configuration text'),
    ('read_marks', 'tenant_id text, reader text, conversation_id uuid, inbound_count integer, is_current boolean, read_at timestamptz'),
    ('conversation_counts', 'tenant_id text, part bigint, n bigint'),
    ('conversation_tallies', 'tenant_id text, kind text, name text, part bigint, n bigint'),
    ('event_claims', 'tenant_id text, event_id uuid, processor_id text, claimed_at timestamptz, renewed_at timestamptz, expires_at timestamptz'),
    ('conversation_holds', 'tenant_id text, conversation_key text, event_id uuid'),
    ('handlers', 'channel text, handler text, registered_by regrole, search_path text, created_at timestamptz'),
    ('responses', 'id text, tenant_id text, owner text, status text, model text, previous_response_id text, input jsonb, output jsonb, usage_input_tokens integer, usage_output_tokens integer, usage_total_tokens integer, error jsonb, extensions jsonb, created_at bigint, completed_at bigint, deleted_at timestamptz, background boolean, background_request jsonb, worker_id text, worker_heartbeat timestamptz'),
    ('stream_events', 'tenant_id text, stream text, version bigint, global_position bigint, event_id uuid, category text, type text, data jsonb, metadata jsonb, created_at timestamptz, created_by text, horizon bigint, happened_at timestamptz, tags text[]'),
    ('stream_event_keys', 'tenant_id text, key text, global_position bigint'),
    ('snapshots', 'tenant_id text, snapshot_id text, created_at timestamptz, hosts_content text, entries jsonb, entry_count integer, trigger text, name text, event_log_position bigint'),
    ('host_events', 'event_id text, aggregate_id text, event_type text, event_version text, ip_address text, hostname text, comment text, tags text, aliases text, event_timestamp timestamptz, metadata text, created_at timestamptz, created_by text, expected_version text, seq bigint'),
    ('host_entries_current', 'id text, ip_address text, hostname text, comment text, tags text[], created_at timestamptz, updated_at timestamptz, event_version text, aliases text[]'),
    ('host_entries_history', 'event_id text, aggregate_id text, seq bigint'),
    ('stat_worker', 'worker integer, pid integer, state text, batch integer, batches bigint, claimed bigint, processed bigint, errors bigint, dead_letters bigint, last_error text, last_error_at timestamptz, started_at timestamptz, busy_us bigint, idle_us bigint'),
    ('dead_letter_events', 'id uuid, tenant_id text, direction text, channel text, from text, to text, body text, payload jsonb, provider_message_id text, correlation_id text, attempt_count integer, error_code text, error_message text, attempts jsonb, created_at timestamptz, died_at timestamptz'),
    ('id_conflicts', 'tenant_id text, event_id uuid, stored_digest bytea, received_digest bytea, conflict_count bigint, first_seen_at timestamptz, last_seen_at timestamptz'),
    ('refused_events', 'tenant_id text, id uuid, channel text, error_code text, error_message text, error_detail text, payload jsonb, payload_bytes bigint, idempotency_key text, correlation_id text, mock boolean, received_at timestamptz'),
    ('providers', 'name text, scheme text, tolerance interval, methods text[], challenge boolean, json_fields text[], numbered jsonb, omitted text[], added_channels jsonb, answers jsonb, page text, page_date date, origin text'),
    ('provider_rules', 'provider text, position integer, kind text, outer_path jsonpath, item_path jsonpath, condition jsonpath, channel text, media_channel text, recipients text, fields jsonb, origin text'),
    ('signature_schemes', 'name text, method text, find jsonb, options jsonb, reads_body boolean, page text, page_date date, origin text'),
    ('worker_pause', 'single boolean, paused_at timestamptz, paused_by text, reason text'),
    ('operations_log', 'tenant_id text, id uuid, happened_at timestamptz, performed_by text, operation text, filter jsonb, event_count bigint, event_ids uuid[]'),
    ('live_changes', 'tenant_id text, xid xid8, id uuid, kind text, ids bytea'),
    ('channels', 'name text, address_kind text, thread text, provider_id_field text, types text[], body_required boolean, attachments text, provider_id_fields text[], volatile_fields text[]');
CREATE TEMP VIEW expected_columns AS
SELECT e.relation, split_part(c, ' ', 1) AS name,
    split_part(c, ' ', 2)::regtype::oid AS type
FROM expected e, regexp_split_to_table(e.columns, ', ') c;
CREATE TEMP VIEW actual_columns AS
SELECT c.relname::text AS relation, a.attname::text AS name, a.atttypid AS type,
    a.attnotnull AS not_null
FROM pg_class c
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relnamespace = 'msgstore'::regnamespace AND c.relkind IN ('r', 'v', 'p');

SELECT set_has(
    format('SELECT name, type::regtype FROM actual_columns WHERE relation = %L', relation),
    format('SELECT name, type::regtype FROM expected_columns WHERE relation = %L', relation),
    format('%s has its columns', relation))
FROM expected ORDER BY relation;
SELECT set_eq(
    $$SELECT relation, name FROM actual_columns
      WHERE relation IN ('messages', 'conversation_rows', 'conversation_activity', 'conversation_changes') AND NOT not_null$$,
    $$VALUES ('messages', 'inbound_event_id'), ('messages', 'provider_message_id'),
        ('messages', 'correlation_id'), ('messages', 'attachments'),
        ('messages', 'from_given'), ('messages', 'to_given'), ('messages', 'subject')$$,
    'only these columns of messages and conversations are nullable');

-- Keys begin with the tenant, so that tables can be distributed by it.
SELECT is_empty(
    $$SELECT k.conrelid::regclass, k.conname FROM pg_constraint k
      JOIN actual_columns c ON c.relation = (SELECT relname FROM pg_class
          WHERE oid = k.conrelid) AND c.name = 'tenant_id'
      WHERE k.connamespace = 'msgstore'::regnamespace AND k.contype IN ('p', 'u')
        AND k.conkey[1] <> (SELECT attnum FROM pg_attribute
            WHERE attrelid = k.conrelid AND attname = 'tenant_id')$$,
    'every primary key and unique constraint begins with tenant_id');
SELECT is_empty(
    $$SELECT i.indexrelid::regclass FROM pg_index i
      JOIN pg_class c ON c.oid = i.indrelid
      JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id'
      WHERE c.relnamespace = 'msgstore'::regnamespace AND i.indisunique
        AND i.indkey[0] <> a.attnum$$,
    'every unique index begins with tenant_id');
SELECT is_empty(
    $$SELECT c.oid::regclass FROM pg_class c
      WHERE c.relnamespace = 'msgstore'::regnamespace AND c.relkind IN ('r', 'p')
        AND NOT EXISTS (SELECT FROM pg_constraint k
            WHERE k.conrelid = c.oid AND k.contype = 'p')$$,
    'every table has a primary key, by which a subscriber finds rows');
SELECT set_eq(
    $$SELECT relname FROM pg_class c
      WHERE c.relnamespace = 'msgstore'::regnamespace AND c.relkind IN ('r', 'p')
        AND NOT EXISTS (SELECT FROM pg_attribute a
            WHERE a.attrelid = c.oid AND a.attname = 'tenant_id')$$,
    ARRAY['channels', 'status_words', 'handlers', 'installed_objects', 'purge_progress', 'node_state',
          'providers', 'provider_rules', 'signature_schemes', 'provider_apis', 'provider_requests',
          'live_horizon', 'worker_pause'],
    'only tables of the operator have no tenant_id');

-- Unique constraints behind the guarantees.
SELECT col_is_pk('msgstore', 'messages', ARRAY['tenant_id', 'id'],
    'an event makes at most one message, which has its id');
SELECT is(pg_get_constraintdef(oid), 'CHECK ((inbound_event_id = id))',
    'an inbound message has the id of its event')
FROM pg_constraint WHERE conname = 'messages_inbound_event';
SELECT col_is_unique('msgstore', 'conversation_rows', ARRAY['tenant_id', 'key'],
    'a key identifies one conversation');
SELECT col_is_unique('msgstore', 'event_log',
    ARRAY['tenant_id', 'provider_message_id', 'channel', 'identity'],
    'a provider''s message is stored once');
SELECT col_is_pk('msgstore', 'stream_events', ARRAY['tenant_id', 'stream', 'version'],
    'a stream has one event per version');
SELECT col_is_unique('msgstore', 'stream_events', ARRAY['tenant_id', 'event_id'],
    'an event id identifies one event');
SELECT col_is_unique('msgstore', 'deliveries', ARRAY['tenant_id', 'message_id'],
    'a message is delivered once');
SELECT col_is_unique('msgstore', 'deliveries',
    ARRAY['tenant_id', 'channel', 'provider_message_id'],
    'a provider''s id identifies one message');
SELECT col_not_null('msgstore', 'messages', 'conversation_id',
    'a message is in a conversation');

-- The table of responses holds only what can be read again, whoever inserts it.
CREATE FUNCTION pg_temp.insert_response(id text, status text, input text, output text, extensions text) RETURNS text LANGUAGE sql
RETURN format('INSERT INTO msgstore.responses (id, status, model, input, output, extensions, created_at) VALUES (%L, %L, ''m'', %L, %L, %L, 1)',
    id, status, input, output, extensions);
SELECT throws_ok(pg_temp.insert_response(id, status, input, output, extensions), '23514', NULL, 'a response with ' || what || ' is refused')
FROM (VALUES ('', 'failed', '[]', '[]', NULL, 'an empty ID'), (repeat('x', 256), 'failed', '[]', '[]', NULL, 'a long ID'),
    ('a', 'done', '[]', '[]', NULL, 'an unknown status'), ('a', 'failed', '{}', '[]', NULL, 'an object as input'),
    ('a', 'failed', '1', '[]', NULL, 'a number as input'), ('a', 'failed', '[]', '"[]"', NULL, 'a string as output'),
    ('a', 'failed', '[]', '[]', '[]', 'an array of extensions')) r (id, status, input, output, extensions, what);
SELECT lives_ok(pg_temp.insert_response(repeat('x', 255), 'requires_action', format('["%s"]', repeat('x', 100000)), '[]', '{}'),
    'others are not');

-- check() compares with a complete list of objects.
SELECT set_eq(
    'SELECT type, identity FROM msgstore.installed_objects',
    'SELECT type, identity FROM msgstore._present_objects()',
    'installed_objects lists every object');
SELECT is_empty(
    'SELECT * FROM msgstore.check()', 'check() finds nothing in a new database');

-- Keys and addresses are compared byte by byte in a database of any locale.
SELECT is_empty(
    $$SELECT c.oid::regclass, a.attname FROM pg_class c
      JOIN pg_index i ON i.indrelid = c.oid
      JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY (i.indkey::int2[])
      WHERE c.relnamespace = 'msgstore'::regnamespace
        AND a.attcollation NOT IN (0, 'pg_catalog."C"'::regcollation)$$,
    'every indexed text column has the collation C');

-- Dumps include all tables but conversation_counts and _tallies, which a restore recomputes,
-- and unlogged ones.
-- All objects have comments.
SELECT is_empty(
    $$SELECT c.oid::regclass FROM pg_class c
      WHERE c.relnamespace = 'msgstore'::regnamespace
        AND c.relkind IN ('r', 'p', 'S')
        AND c.relname !~ '^conversation_(counts|tallies)' AND c.relpersistence = 'p'
        AND NOT EXISTS (SELECT FROM pg_extension e
            WHERE e.extname = 'msgstore' AND c.oid = ANY (e.extconfig))$$,
    'every table and sequence is registered for dumps');
SELECT is_empty(
    $$SELECT c.oid::regclass FROM pg_class c
      WHERE c.relnamespace = 'msgstore'::regnamespace
        AND c.relkind IN ('r', 'p', 'v', 'm')
        AND obj_description(c.oid, 'pg_class') IS NULL$$,
    'every table and view has a comment');
SELECT is_empty(
    $$SELECT c.oid::regclass, a.attname FROM pg_class c
      JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
      WHERE c.relnamespace = 'msgstore'::regnamespace
        AND c.relkind IN ('r', 'p', 'v', 'm') AND c.relname NOT LIKE '\_%'
        AND col_description(c.oid, a.attnum) IS NULL$$,
    'every column has a comment');
SELECT is_empty(
    $$SELECT p.oid::regprocedure FROM pg_proc p
      WHERE p.pronamespace = 'msgstore'::regnamespace
        AND obj_description(p.oid, 'pg_proc') IS NULL$$,
    'every function has a comment');
SELECT is_empty(
    $$SELECT classid::regclass, objid FROM pg_depend d
      WHERE d.refclassid = 'pg_namespace'::regclass
        AND d.refobjid = 'msgstore'::regnamespace AND d.deptype = 'n'
        AND NOT EXISTS (SELECT FROM pg_depend e
            WHERE e.classid = d.classid AND e.objid = d.objid
                AND e.refclassid = 'pg_extension'::regclass AND e.deptype = 'e')
        AND d.classid IN ('pg_class'::regclass, 'pg_proc'::regclass)
        AND NOT (d.classid = 'pg_class'::regclass AND EXISTS (
            SELECT FROM pg_class c WHERE c.oid = d.objid AND c.relkind IN ('i', 't')))$$,
    'everything in the schema belongs to the extension');

SELECT * FROM finish();
ROLLBACK;
