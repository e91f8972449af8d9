-- The public functions: what they are called with, what they return, and what
-- the planner may believe of them.
\set QUIET on
SET client_min_messages = warning;
BEGIN;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS msgstore;
SELECT no_plan();

CREATE TEMP TABLE expected (
    name text, arguments text, result text,
    volatility text, strict boolean, parallel text, definer boolean);
INSERT INTO expected VALUES
    -- address: pure, so that they can be indexed and run in parallel; a
    -- message without a body has an empty snippet, not none
    ('normalize_phone', 'address text', 'text',
     'immutable', true, 'safe', false),
    ('normalize_email', 'address text', 'text',
     'immutable', true, 'safe', false),
    ('normalize_address', 'channel text, address text', 'text',
     'immutable', true, 'safe', false),
    ('conversation_key', 'channel text, a text, b text', 'text',
     'immutable', true, 'safe', false),
    ('snippet', 'body text, max_length integer DEFAULT 64', 'text',
     'immutable', false, 'safe', false),
    -- inbox
    ('uuid7', '', 'uuid',
     'volatile', true, 'safe', false),
    ('ingest', 'channel text, payload jsonb, idempotency_key text DEFAULT NULL::text, correlation_id text DEFAULT NULL::text, mock boolean DEFAULT false, OUT event_id uuid, OUT duplicate boolean', 'record',
     'volatile', false, 'unsafe', true),
    ('ingest_batch', 'items jsonb', 'TABLE(ordinal integer, event_id uuid, duplicate boolean, error_code text, error_message text)',
     'volatile', true, 'unsafe', true),
    -- worker
    ('process', 'max_events integer DEFAULT NULL::integer', 'integer',
     'volatile', false, 'unsafe', true),
    -- claims
    ('claim', 'processor_id text, max_events integer DEFAULT 10', 'SETOF msgstore.inbound_events',
     'volatile', false, 'unsafe', true),
    ('heartbeat', 'processor_id text', 'integer',
     'volatile', false, 'unsafe', true),
    ('complete', 'processor_id text, event_ids uuid[]', 'integer',
     'volatile', false, 'unsafe', true),
    ('fail', 'processor_id text, event_id uuid, error_code text, error_message text', 'text',
     'volatile', false, 'unsafe', true),
    ('reap_stale', '', 'integer',
     'volatile', true, 'unsafe', true),
    -- handlers: with the rights of their callers, which a handler is to have
    ('add_handler', 'channel text, handler regproc', 'void',
     'volatile', true, 'unsafe', false),
    ('remove_handler', 'channel text, handler text', 'boolean',
     'volatile', true, 'unsafe', false),
    -- failures
    ('requeue', 'event_id uuid', 'boolean',
     'volatile', false, 'unsafe', true),
    ('requeue_dead_letters', 'channel text DEFAULT NULL::text, error_code text DEFAULT NULL::text, died_from timestamp with time zone DEFAULT NULL::timestamp with time zone, died_until timestamp with time zone DEFAULT NULL::timestamp with time zone, event_ids uuid[] DEFAULT NULL::uuid[], dry_run boolean DEFAULT false', 'integer',
     'volatile', false, 'unsafe', true),
    -- conversations
    ('send', 'channel text, payload jsonb, idempotency_key text DEFAULT NULL::text, correlation_id text DEFAULT NULL::text, OUT message_id uuid, OUT duplicate boolean', 'record',
     'volatile', false, 'unsafe', true),
    ('list_conversations', 'page integer DEFAULT 1, page_size integer DEFAULT 50, after text DEFAULT NULL::text', 'jsonb',
     'stable', false, 'safe', true),
    ('list_messages', 'conversation text, page integer DEFAULT 1, page_size integer DEFAULT 50, after text DEFAULT NULL::text', 'jsonb',
     'stable', false, 'safe', true),
    -- responses
    ('save_response', 'response jsonb', 'text',
     'volatile', true, 'unsafe', true),
    ('save_background', 'response jsonb, request jsonb', 'text',
     'volatile', true, 'unsafe', true),
    ('save_background_request', 'id text, request jsonb', 'boolean',
     'volatile', true, 'unsafe', true),
    ('get_response', 'id text', 'jsonb',
     'volatile', true, 'unsafe', true),
    ('get_response_for_chain', 'id text', 'jsonb',
     'volatile', true, 'unsafe', true),
    ('response_chain', 'id text, max_items integer DEFAULT NULL::integer, max_depth integer DEFAULT 1000', 'TABLE(depth integer, id text, deleted boolean, response jsonb)',
     'volatile', false, 'unsafe', true),
    ('chain_items', 'id text, max_items integer DEFAULT NULL::integer, max_depth integer DEFAULT 1000', 'jsonb',
     'volatile', false, 'unsafe', true),
    ('branches', 'id text', 'TABLE(id text, deleted boolean, response jsonb)',
     'volatile', true, 'unsafe', true),
    ('update_response', 'id text, patch jsonb, worker_id text DEFAULT NULL::text', 'jsonb',
     'volatile', false, 'unsafe', true),
    ('delete_response', 'id text', 'boolean',
     'volatile', true, 'unsafe', true),
    ('cancel_response', 'id text, delete_finished boolean DEFAULT true', 'jsonb',
     'volatile', true, 'unsafe', true),
    ('list_responses', 'after text DEFAULT NULL::text, before text DEFAULT NULL::text, max_results integer DEFAULT 20, sort_order text DEFAULT ''desc''::text, model text DEFAULT NULL::text, status text DEFAULT NULL::text, background boolean DEFAULT NULL::boolean', 'jsonb',
     'volatile', false, 'unsafe', true),
    ('response_input_items', 'id text, after text DEFAULT NULL::text, before text DEFAULT NULL::text, max_results integer DEFAULT 20, sort_order text DEFAULT ''asc''::text', 'jsonb',
     'volatile', false, 'unsafe', true),
    ('claim_response', 'worker_id text', 'TABLE(id text, response jsonb, request jsonb)',
     'volatile', true, 'unsafe', true),
    ('heartbeat_response', 'id text, worker_id text', 'boolean',
     'volatile', true, 'unsafe', true),
    ('stale_responses', 'stale_after interval DEFAULT NULL::interval', 'SETOF text',
     'volatile', false, 'unsafe', true),
    ('reap_responses', 'stale_after interval DEFAULT ''00:01:00''::interval', 'bigint',
     'volatile', true, 'unsafe', true),
    ('cleanup_responses', 'cutoff bigint, batch integer DEFAULT NULL::integer', 'bigint',
     'volatile', false, 'unsafe', true),
    ('purge_responses', 'older_than interval', 'bigint',
     'volatile', true, 'unsafe', true),
    -- outbox
    ('claim_outbound', 'sender_id text, max_messages integer DEFAULT 10', 'TABLE(message_id uuid, tenant_id text, channel text, provider text, "from" text, "to" text, body text, attachments jsonb, "timestamp" timestamp with time zone, correlation_id text, attempt integer)',
     'volatile', false, 'unsafe', true),
    ('heartbeat_outbound', 'sender_id text', 'integer',
     'volatile', false, 'unsafe', true),
    ('sent', 'message_id uuid, provider_message_id text, sender_id text DEFAULT NULL::text', 'text',
     'volatile', false, 'unsafe', true),
    ('send_failed', 'message_id uuid, error_code text, error_message text, sender_id text DEFAULT NULL::text, permanent boolean DEFAULT false', 'text',
     'volatile', false, 'unsafe', true),
    ('reap_outbound', '', 'integer',
     'volatile', true, 'unsafe', true),
    ('record_status', 'channel text, provider_message_id text, status text, detail jsonb DEFAULT NULL::jsonb, OUT callback_id uuid, OUT message_id uuid, OUT status text', 'record',
     'volatile', false, 'unsafe', true),
    -- stats
    ('metrics', '', 'jsonb',
     'volatile', true, 'unsafe', true),
    ('metrics_detail', '', 'jsonb',
     'volatile', true, 'unsafe', true),
    ('channel_metrics', '', 'TABLE(tenant_id text, channel text, ingested bigint, duplicate bigint, processed bigint, error bigint, dead_letter bigint, sent bigint, queued bigint, dead_letters bigint, tenant_oldest_event_age_us bigint)',
     'volatile', true, 'unsafe', true),
    ('latency_histogram', '', 'TABLE(le_us bigint, count bigint)',
     'volatile', true, 'restricted', false),
    ('recount', '', 'void',
     'volatile', true, 'restricted', false),
    -- maintenance
    ('replay', 'filter jsonb DEFAULT ''{}''::jsonb, dry_run boolean DEFAULT false, OUT events integer, OUT added integer, OUT changed integer, OUT moved integer', 'record',
     'volatile', false, 'unsafe', true),
    ('purge', 'older_than interval, dry_run boolean DEFAULT false, kinds text[] DEFAULT ''{events,dead_letters}''::text[]', 'TABLE(kind text, removed bigint)',
     'volatile', false, 'unsafe', true),
    ('erase_address', 'channel text, address text', 'TABLE(what text, removed bigint)',
     'volatile', false, 'unsafe', true),
    ('check', '', 'TABLE(finding text, subject text, detail text, repair text)',
     'stable', false, 'unsafe', true);

CREATE TEMP VIEW actual AS
SELECT p.proname::text AS name,
    pg_get_function_arguments(p.oid) AS arguments,
    pg_get_function_result(p.oid) AS result,
    CASE p.provolatile WHEN 'i' THEN 'immutable' WHEN 's' THEN 'stable'
        ELSE 'volatile' END AS volatility,
    p.proisstrict AS strict,
    CASE p.proparallel WHEN 's' THEN 'safe' WHEN 'r' THEN 'restricted'
        ELSE 'unsafe' END AS parallel,
    p.prosecdef AS definer
FROM pg_proc p
WHERE p.pronamespace = 'msgstore'::regnamespace AND p.proname !~ '^_';

-- No other function is public: what is internal begins with _.
SELECT set_eq(
    'SELECT name FROM actual', 'SELECT name FROM expected',
    'the public functions are these');
SELECT set_eq(
    format('SELECT arguments, result FROM actual WHERE name = %L', name),
    format('SELECT arguments, result FROM expected WHERE name = %L', name),
    format('%s has its arguments and its result', name))
FROM expected ORDER BY name;
SELECT set_eq(
    format('SELECT volatility, strict, parallel FROM actual WHERE name = %L', name),
    format('SELECT volatility, strict, parallel FROM expected WHERE name = %L', name),
    format('%s is %s, %s and parallel %s', name, volatility,
        CASE WHEN strict THEN 'strict' ELSE 'not strict' END, parallel))
FROM expected ORDER BY name;
SELECT set_eq(
    format('SELECT definer FROM actual WHERE name = %L', name),
    ARRAY[definer],
    format('%s runs with the rights of its %s', name,
        CASE WHEN definer THEN 'owner' ELSE 'caller' END))
FROM expected ORDER BY name;

-- What runs with the owner's rights finds nothing of the caller's.
SELECT is_empty(
    $$SELECT p.oid::regprocedure FROM pg_proc p
      WHERE p.pronamespace = 'msgstore'::regnamespace AND p.prosecdef
        AND NOT 'search_path=pg_catalog, pg_temp' = ANY (coalesce(p.proconfig, '{}'))$$,
    'every SECURITY DEFINER function pins its search_path');
SELECT is_empty(
    $$SELECT p.oid::regprocedure FROM pg_proc p
      JOIN pg_language l ON l.oid = p.prolang AND l.lanname = 'plpgsql'
      WHERE p.pronamespace = 'msgstore'::regnamespace
        AND NOT 'search_path=pg_catalog, pg_temp' = ANY (coalesce(p.proconfig, '{}'))$$,
    'every plpgsql function does');

-- A function works whatever the caller's search_path is.
SELECT lives_ok(
    $$SET LOCAL search_path = '';
      SELECT msgstore.ingest('sms', '{"from": "+1", "to": "+2", "body": "a",
        "timestamp": "2024-11-01T14:00:00Z", "messaging_provider_id": "pgtap-1"}');
      SELECT msgstore.send('sms', '{"from": "+1", "to": "+2", "body": "a",
        "timestamp": "2024-11-01T14:00:00Z"}');
      SELECT msgstore.complete('pgtap', array_agg(id)) FROM msgstore.claim('pgtap');
      SELECT msgstore.process(), msgstore.heartbeat('pgtap'), msgstore.reap_stale();
      SELECT msgstore.list_messages((msgstore.list_conversations()
        #>> '{items,0,number}'));
      SELECT msgstore.save_response('{"id": "pgtap", "status": "completed", "model": "m"}');
      SELECT msgstore.update_response('pgtap', '{"output": [1]}');
      SELECT msgstore.list_responses();
      SELECT msgstore.response_input_items('pgtap');
      SELECT msgstore.response_chain('pgtap');
      SELECT msgstore.branches('pgtap');
      SELECT msgstore.claim_response('w');
      SELECT msgstore.reap_responses();
      SELECT msgstore.cleanup_responses(0);
      SELECT msgstore.purge_responses('1 day');
      SELECT msgstore.sent(message_id, 'pgtap-sent', 'pgtap')
      FROM msgstore.claim_outbound('pgtap', 1);
      SELECT msgstore.heartbeat_outbound('pgtap'), msgstore.reap_outbound();
      SELECT msgstore.send_failed(message_id, 'E', 'no')
      FROM msgstore.claim_outbound('pgtap');
      SELECT msgstore.record_status('sms', 'pgtap-sent', 'read', '{"token": 1}');
      SELECT msgstore.metrics(), msgstore.metrics_detail();
      RESET search_path$$,
    'functions work with an empty search_path');

SELECT * FROM finish();
ROLLBACK;
