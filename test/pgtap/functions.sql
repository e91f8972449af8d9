-- The public functions: arguments, result types, and planner properties.
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
    -- address: immutable and parallel safe, so that expressions on them can be
    -- indexed; snippet is not strict, because a null body has an empty snippet
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
    -- each greater than all that the session made before, so not in workers
    ('uuid7', '', 'uuid',
     'volatile', true, 'restricted', false),
    ('ingest', 'channel text, payload jsonb, idempotency_key text DEFAULT NULL::text, correlation_id text DEFAULT NULL::text, mock boolean DEFAULT false, OUT event_id uuid, OUT duplicate boolean', 'record',
     'volatile', false, 'unsafe', true),
    ('ingest_batch', 'items jsonb', 'TABLE(ordinal integer, event_id uuid, duplicate boolean, error_code text, error_message text, error_detail text)',
     'volatile', true, 'unsafe', true),
    ('resubmit_refused', 'id uuid, OUT event_id uuid, OUT duplicate boolean', 'record',
     'volatile', false, 'unsafe', true),
    ('read_payload', 'payload text', 'jsonb',
     'stable', true, 'safe', false),
    -- worker
    ('pause_workers', 'reason text DEFAULT NULL::text', 'boolean',
     'volatile', false, 'unsafe', true),
    ('list_operations', '', 'TABLE(tenant_id text, operation text, phase text, done bigint, total bigint, started_at timestamp with time zone, pid integer)',
     'volatile', false, 'unsafe', true),
    ('resume_workers', '', 'boolean',
     'volatile', false, 'unsafe', true),
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
    -- handlers: run with the caller's rights, which the handler will have
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
    ('list_conversations', 'page integer DEFAULT 1, page_size integer DEFAULT 50, after text DEFAULT NULL::text, state text DEFAULT NULL::text, assignee text DEFAULT NULL::text, label text DEFAULT NULL::text, contact_name text DEFAULT NULL::text, reader text DEFAULT NULL::text, unread boolean DEFAULT false', 'jsonb',
     'stable', false, 'safe', true),
    ('search_messages', 'query text, conversation text DEFAULT NULL::text, channel text DEFAULT NULL::text, direction text DEFAULT NULL::text, since timestamp with time zone DEFAULT NULL::timestamp with time zone, until timestamp with time zone DEFAULT NULL::timestamp with time zone, after text DEFAULT NULL::text, max_results integer DEFAULT 20, ranked boolean DEFAULT false', 'jsonb',
     'stable', false, 'safe', true),
    ('search_conversations', 'query text, max_results integer DEFAULT 20, reader text DEFAULT NULL::text', 'jsonb',
     'stable', false, 'safe', true),
    ('search_status', 'OUT waiting bigint, OUT indexed_until timestamp with time zone', 'record',
     'stable', false, 'safe', true),
    ('index_messages', 'max_messages integer DEFAULT 10000', 'integer',
     'volatile', false, 'unsafe', true),
    ('rebuild_search', '', 'bigint',
     'volatile', false, 'unsafe', true),
    ('set_search_configuration', 'configuration text, channel text DEFAULT NULL::text, tenant text DEFAULT NULL::text', 'bigint',
     'volatile', false, 'unsafe', true),
    ('get_conversation', 'conversation text, reader text DEFAULT NULL::text', 'jsonb',
     'stable', false, 'safe', true),
    ('update_conversation', 'conversation text, changes jsonb, reader text DEFAULT NULL::text', 'jsonb',
     'volatile', false, 'unsafe', true),
    ('mark_read', 'conversation text, reader text, message uuid DEFAULT NULL::uuid', 'jsonb',
     'volatile', false, 'unsafe', true),
    ('mark_unread', 'conversation text, reader text', 'jsonb',
     'volatile', false, 'unsafe', true),
    ('list_messages', 'conversation text, page integer DEFAULT 1, page_size integer DEFAULT 50, after text DEFAULT NULL::text, newest_first boolean DEFAULT false', 'jsonb',
     'stable', false, 'safe', true),
    ('list_messages', 'conversation bigint, page integer DEFAULT 1, page_size integer DEFAULT 50, after text DEFAULT NULL::text, newest_first boolean DEFAULT false', 'jsonb',
     'stable', false, 'safe', false),
    -- responses
    ('save_response', 'response jsonb', 'text',
     'volatile', true, 'unsafe', true),
    ('save_background', 'response jsonb, request jsonb', 'text',
     'volatile', true, 'unsafe', true),
    ('save_background_request', 'id text, request jsonb', 'boolean',
     'volatile', true, 'unsafe', true),
    ('get_response', 'id text', 'jsonb',
     'volatile', true, 'unsafe', false),
    ('get_response_for_chain', 'id text', 'jsonb',
     'volatile', true, 'unsafe', false),
    ('response_chain', 'id text, max_items integer DEFAULT NULL::integer, max_depth integer DEFAULT 1000', 'TABLE(depth integer, id text, deleted boolean, response jsonb)',
     'volatile', false, 'unsafe', true),
    ('chain_items', 'id text, max_items integer DEFAULT NULL::integer, max_depth integer DEFAULT 1000', 'jsonb',
     'volatile', false, 'unsafe', true),
    ('response_with_chain', 'id text', 'jsonb',
     'volatile', true, 'unsafe', true),
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
    ('search_responses', 'query text, after text DEFAULT NULL::text, before text DEFAULT NULL::text, max_results integer DEFAULT 20, sort_order text DEFAULT ''desc''::text, model text DEFAULT NULL::text, status text DEFAULT NULL::text, background boolean DEFAULT NULL::boolean', 'jsonb',
     'volatile', false, 'unsafe', true),
    ('index_responses', 'max_responses integer DEFAULT 1000', 'bigint',
     'volatile', false, 'unsafe', true),
    ('rebuild_response_search', '', 'bigint',
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
    ('create_response_conversation', 'conversation jsonb DEFAULT ''{}''::jsonb', 'jsonb',
     'volatile', true, 'unsafe', true),
    ('get_response_conversation', 'id text', 'jsonb',
     'volatile', true, 'unsafe', true),
    ('update_response_conversation', 'id text, metadata jsonb', 'jsonb',
     'volatile', true, 'unsafe', true),
    ('delete_response_conversation', 'id text', 'boolean',
     'volatile', true, 'unsafe', true),
    ('add_conversation_items', 'conversation text, items jsonb', 'jsonb',
     'volatile', true, 'unsafe', true),
    ('list_conversation_items', 'conversation text, after text DEFAULT NULL::text, before text DEFAULT NULL::text, max_results integer DEFAULT 20, sort_order text DEFAULT ''desc''::text', 'jsonb',
     'volatile', false, 'unsafe', true),
    ('get_conversation_item', 'conversation text, id text', 'jsonb',
     'volatile', true, 'unsafe', true),
    ('delete_conversation_item', 'conversation text, id text', 'jsonb',
     'volatile', true, 'unsafe', true),
    ('append_response_events', 'id text, events jsonb, worker_id text DEFAULT NULL::text', 'bigint',
     'volatile', false, 'unsafe', true),
    ('response_events', 'id text, after bigint DEFAULT NULL::bigint, max_results integer DEFAULT 1000', 'TABLE(sequence_number bigint, event jsonb)',
     'volatile', false, 'unsafe', true),
    ('hold_response', 'id text, hold boolean DEFAULT true', 'boolean',
     'volatile', true, 'unsafe', true),
    ('list_response_usage', 'since date DEFAULT NULL::date, until date DEFAULT NULL::date', 'TABLE(tenant_id text, model text, day date, response_count bigint, input_tokens numeric, output_tokens numeric, total_tokens numeric)',
     'stable', false, 'safe', true),
    ('response_event_stream', 'id text, starting_after bigint DEFAULT NULL::bigint', 'text',
     'volatile', false, 'unsafe', true),
    -- streams: functions of documents are parallel safe; readers of the log take
    -- their own snapshot and are not
    ('stream_category', 'stream text', 'text',
     'immutable', true, 'safe', false),
    ('append', 'stream text, type text, data jsonb, expected_version bigint DEFAULT NULL::bigint, metadata jsonb DEFAULT NULL::jsonb, event_id uuid DEFAULT NULL::uuid, created_by text DEFAULT NULL::text, happened_at timestamp with time zone DEFAULT NULL::timestamp with time zone, tags text[] DEFAULT NULL::text[]', 'bigint',
     'volatile', false, 'unsafe', true),
    ('append_batch', 'events jsonb', 'TABLE(stream text, version bigint, global_position bigint)',
     'volatile', true, 'unsafe', true),
    ('append_if', 'events jsonb, query jsonb, after_position bigint DEFAULT 0', 'TABLE(stream text, version bigint, global_position bigint)',
     'volatile', false, 'unsafe', true),
    ('read_query', 'query jsonb, after_position bigint DEFAULT 0, max_events bigint DEFAULT 1000', 'SETOF msgstore.stream_event',
     'volatile', false, 'unsafe', true),
    ('trace', 'correlation_id text, max_events bigint DEFAULT 1000', 'TABLE(depth integer, caused_by uuid, stream text, version bigint, global_position bigint, event_id uuid, type text, data jsonb, metadata jsonb, created_at timestamp with time zone)',
     'stable', true, 'safe', true),
    ('causation_tree', 'root_id uuid, max_depth integer DEFAULT 100', 'TABLE(depth integer, caused_by uuid, stream text, version bigint, global_position bigint, event_id uuid, type text, data jsonb, metadata jsonb, created_at timestamp with time zone)',
     'stable', true, 'safe', true),
    ('read_stream', 'stream text, from_version bigint DEFAULT 1, max_events bigint DEFAULT 1000, types text[] DEFAULT NULL::text[], metadata jsonb DEFAULT NULL::jsonb', 'SETOF msgstore.stream_event',
     'stable', false, 'restricted', true),
    ('read_stream_backwards', 'stream text, from_version bigint DEFAULT NULL::bigint, max_events bigint DEFAULT 1000, types text[] DEFAULT NULL::text[], metadata jsonb DEFAULT NULL::jsonb', 'SETOF msgstore.stream_event',
     'stable', false, 'restricted', true),
    ('read_category', 'category text, after_position bigint DEFAULT 0, max_events bigint DEFAULT 1000, consumer_member bigint DEFAULT NULL::bigint, consumer_size bigint DEFAULT NULL::bigint, types text[] DEFAULT NULL::text[], metadata jsonb DEFAULT NULL::jsonb', 'SETOF msgstore.stream_event',
     'volatile', false, 'unsafe', true),
    ('read_all', 'after_position bigint DEFAULT 0, max_events bigint DEFAULT 1000, consumer_member bigint DEFAULT NULL::bigint, consumer_size bigint DEFAULT NULL::bigint, types text[] DEFAULT NULL::text[], metadata jsonb DEFAULT NULL::jsonb', 'SETOF msgstore.stream_event',
     'volatile', false, 'unsafe', true),
    ('wait_for_events', 'category text, after_position bigint, timeout interval DEFAULT ''00:00:30''::interval', 'boolean',
     'volatile', false, 'unsafe', true),
    -- a procedure that gives up its snapshot cannot be SECURITY DEFINER
    ('await_events', 'IN category text, IN after_position bigint, IN timeout interval DEFAULT ''00:00:30''::interval, INOUT found boolean DEFAULT NULL::boolean', NULL,
     'volatile', false, 'unsafe', false),
    ('wait_for_changes', 'after text DEFAULT NULL::text, timeout interval DEFAULT ''00:00:30''::interval, conversation text DEFAULT NULL::text, channel text DEFAULT NULL::text, kinds text[] DEFAULT NULL::text[]', 'jsonb',
     'volatile', false, 'unsafe', true),
    ('stream_version', 'stream text', 'bigint',
     'stable', true, 'restricted', true),
    ('count_events', 'stream text', 'bigint',
     'stable', true, 'safe', true),
    ('last_event', 'stream text, type text DEFAULT NULL::text', 'SETOF msgstore.stream_event',
     'stable', false, 'safe', true),
    ('list_streams', 'category text DEFAULT NULL::text, after text DEFAULT NULL::text, max_streams integer DEFAULT 1000', 'TABLE(stream text, version bigint)',
     'stable', false, 'safe', true),
    ('latest_position', '', 'bigint',
     'volatile', true, 'unsafe', true),
    ('latest_event_id', '', 'uuid',
     'volatile', true, 'unsafe', true),
    ('merge_patch', 'target jsonb, patch jsonb', 'jsonb',
     'immutable', false, 'safe', false),
    ('fold', 'patch jsonb', 'jsonb',
     'immutable', false, 'safe', false),
    ('last_known', 'value anyelement', 'anyelement',
     'immutable', false, 'safe', false),
    ('stream_state', 'stream text, at timestamp with time zone DEFAULT NULL::timestamp with time zone', 'jsonb',
     'stable', false, 'restricted', true),
    ('compact_stream', 'stream text, seed jsonb, expected_version bigint DEFAULT NULL::bigint, OUT events_before bigint, OUT events_after bigint, OUT version bigint', 'record',
     'volatile', false, 'unsafe', true),
    ('create_subscription', 'name text, category text DEFAULT NULL::text, group_size bigint DEFAULT 1, after_position bigint DEFAULT 0', 'void',
     'volatile', false, 'unsafe', true),
    ('drop_subscription', 'name text', 'void',
     'volatile', true, 'unsafe', true),
    ('resize_subscription', 'name text, group_size bigint', 'void',
     'volatile', false, 'unsafe', true),
    ('fetch', 'name text, max_events bigint DEFAULT 100, member bigint DEFAULT 0', 'SETOF msgstore.stream_event',
     'volatile', false, 'unsafe', true),
    ('ack', 'name text, "position" bigint, member bigint DEFAULT 0', 'void',
     'volatile', false, 'unsafe', true),
    ('park', 'name text, "position" bigint, reason text', 'void',
     'volatile', false, 'unsafe', true),
    ('list_parked', 'name text', 'TABLE(global_position bigint, reason text, parked_at timestamp with time zone)',
     'stable', true, 'safe', true),
    ('stream_page', 'stream text, from_version bigint DEFAULT NULL::bigint, max_events bigint DEFAULT 100, backwards boolean DEFAULT false', 'jsonb',
     'stable', false, 'restricted', true),
    ('event_page', 'category text DEFAULT NULL::text, after_position bigint DEFAULT 0, max_events bigint DEFAULT 100, wait interval DEFAULT ''00:00:00''::interval', 'jsonb',
     'volatile', false, 'unsafe', true),
    ('fetch_page', 'name text, max_events bigint DEFAULT 100, member bigint DEFAULT 0, wait interval DEFAULT ''00:00:00''::interval', 'jsonb',
     'volatile', false, 'unsafe', true),
    ('list_subscriptions', 'max_lag bigint DEFAULT 100000', 'TABLE(tenant_id text, name text, category text, members bigint, "position" bigint, head bigint, lag_events bigint, lag_seconds double precision, last_fetch_at timestamp with time zone, parked_events bigint, created_at timestamp with time zone)',
     'stable', false, 'restricted', true),
    ('list_members', 'name text', 'TABLE(member bigint, "position" bigint, last_fetch_at timestamp with time zone)',
     'stable', true, 'restricted', true),
    ('seek', 'name text, "position" bigint', 'void',
     'volatile', false, 'unsafe', true),
    ('rename_subscription', 'name text, new_name text', 'void',
     'volatile', false, 'unsafe', true),
    ('wait_for', 'subscription text, "position" bigint, timeout interval DEFAULT ''00:00:30''::interval', 'boolean',
     'volatile', false, 'unsafe', true),
    -- with the caller's rights, which the projection will have
    ('create_projection', 'name text, category text, function regproc, reset regproc DEFAULT NULL::regproc, after_position bigint DEFAULT 0, batch_size integer DEFAULT 100', 'void',
     'volatile', false, 'unsafe', false),
    ('pause_projection', 'name text', 'void',
     'volatile', false, 'unsafe', true),
    ('resume_projection', 'name text', 'void',
     'volatile', false, 'unsafe', true),
    ('rebuild_projection', 'name text', 'void',
     'volatile', false, 'unsafe', true),
    ('retry_parked', 'name text, max_events bigint DEFAULT 100, "position" bigint DEFAULT NULL::bigint', 'bigint',
     'volatile', false, 'unsafe', true),
    ('set_stream_retention', 'category text, max_age interval DEFAULT NULL::interval, max_count bigint DEFAULT NULL::bigint', 'void',
     'volatile', false, 'unsafe', true),
    ('list_stream_retention', '', 'TABLE(tenant_id text, category text, max_age interval, max_count bigint, removed_events bigint)',
     'stable', false, 'restricted', true),
    ('truncate_stream', 'stream text, before_version bigint', 'bigint',
     'volatile', false, 'unsafe', true),
    ('tombstone_stream', 'stream text, expected_version bigint DEFAULT NULL::bigint', 'bigint',
     'volatile', false, 'unsafe', true),
    ('erase_events', 'stream text DEFAULT NULL::text, metadata jsonb DEFAULT NULL::jsonb, data jsonb DEFAULT NULL::jsonb', 'bigint',
     'volatile', false, 'unsafe', true),
    ('seal_log', '', 'bigint',
     'volatile', false, 'unsafe', true),
    ('verify_log', 'known_hash bytea DEFAULT NULL::bytea, OUT intact boolean, OUT seals bigint, OUT events bigint, OUT removed bigint, OUT unsealed bigint, OUT "position" bigint, OUT problem text, OUT last_hash bytea', 'record',
     'stable', false, 'restricted', true),
    ('list_projections', '', 'TABLE(tenant_id text, name text, category text, function text, state text, "position" bigint, head bigint, lag_events bigint, lag_seconds double precision, parked_events bigint, attempts integer, next_attempt_at timestamp with time zone, error_code text, error_message text, applied_at timestamp with time zone, rebuild_progress double precision)',
     'stable', false, 'restricted', true),
    ('replay_parked', 'name text, max_events bigint DEFAULT 100, "position" bigint DEFAULT NULL::bigint', 'SETOF msgstore.stream_event',
     'volatile', false, 'unsafe', true),
    ('save_snapshot', 'snapshot jsonb', 'text',
     'volatile', false, 'unsafe', true),
    ('get_snapshot', 'id text', 'jsonb',
     'stable', false, 'safe', true),
    ('list_snapshots', 'max_results integer DEFAULT NULL::integer, skip integer DEFAULT NULL::integer', 'TABLE(snapshot_id text, created_at timestamp with time zone, entry_count integer, trigger text, name text, event_log_position bigint)',
     'stable', false, 'safe', true),
    ('delete_snapshot', 'id text', 'void',
     'volatile', false, 'unsafe', true),
    ('apply_snapshot_retention', 'max_count integer, max_age interval', 'integer',
     'volatile', false, 'unsafe', true),
    ('install_message_store', '', 'void',
     'volatile', false, 'unsafe', false),
    -- hosts
    ('new_ulid', '', 'text',
     'volatile', true, 'restricted', false),
    ('ulid_after', 'ulid text', 'text',
     'volatile', true, 'safe', false),
    ('append_host_batch', 'batch jsonb', 'SETOF msgstore.host_append',
     'volatile', false, 'unsafe', true),
    ('append_host_events', 'aggregate_id text, events jsonb, expected_version text DEFAULT NULL::text', 'SETOF msgstore.host_append',
     'volatile', false, 'unsafe', true),
    ('load_host_events', 'aggregate_id text', 'SETOF msgstore.host_events',
     'stable', false, 'unsafe', true),
    ('host_version', 'aggregate_id text', 'text',
     'stable', true, 'safe', true),
    ('host_sequence', 'aggregate_id text', 'bigint',
     'stable', true, 'safe', true),
    ('count_host_events', 'aggregate_id text', 'bigint',
     'stable', true, 'safe', true),
    ('list_host_ids', '', 'SETOF text',
     'stable', true, 'safe', true),
    ('latest_host_event_id', '', 'text',
     'stable', true, 'safe', true),
    ('compact_host', 'aggregate_id text, OUT events_before bigint, OUT events_after bigint, OUT version bigint, OUT event_version text', 'record',
     'volatile', true, 'unsafe', true),
    ('list_hosts', '', 'SETOF msgstore.host_entry',
     'stable', true, 'safe', true),
    ('host_by_id', 'id text', 'msgstore.host_entry',
     'stable', false, 'safe', true),
    ('host_by_ip_and_hostname', 'ip_address text, hostname text', 'SETOF msgstore.host_entry',
     'stable', true, 'safe', true),
    ('search_hosts', 'filter jsonb', 'SETOF msgstore.host_entry',
     'stable', false, 'safe', true),
    ('hosts_at', 'at timestamp with time zone', 'SETOF msgstore.host_entry',
     'stable', true, 'safe', true),
    ('validate_host', 'host jsonb', 'TABLE(field text, code text, message text)',
     'immutable', false, 'safe', false),
    ('hosts_health', '', 'jsonb',
     'stable', true, 'safe', true),
    -- outbox
    ('claim_outbound', 'sender_id text, max_messages integer DEFAULT 10, channels text[] DEFAULT NULL::text[]', 'TABLE(message_id uuid, tenant_id text, channel text, provider text, "from" text, "to" text, body text, attachments jsonb, "timestamp" timestamp with time zone, correlation_id text, attempt integer, payload jsonb)',
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
    -- consent
    ('opt_out', 'channel text, recipient text, sender text DEFAULT NULL::text, reason text DEFAULT ''manual''::text', 'boolean',
     'volatile', false, 'unsafe', true),
    ('opt_in', 'channel text, recipient text, sender text DEFAULT NULL::text', 'boolean',
     'volatile', false, 'unsafe', true),
    -- stats
    ('metrics', '', 'jsonb',
     'volatile', true, 'unsafe', true),
    ('metrics_detail', '', 'jsonb',
     'volatile', true, 'unsafe', true),
    ('channel_metrics', '', 'TABLE(tenant_id text, channel text, ingested bigint, duplicate bigint, processed bigint, error bigint, dead_letter bigint, sent bigint, queued bigint, dead_letters bigint, tenant_oldest_event_age_us bigint)',
     'volatile', true, 'unsafe', true),
    ('storage_by_tenant', 'sample_pages integer DEFAULT 10000', 'TABLE(tenant_id text, part text, row_count bigint, bytes bigint)',
     'volatile', false, 'unsafe', true),
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
     'stable', false, 'unsafe', true),
    -- readiness: examines the caller's rights
    ('readiness', 'max_event_age interval DEFAULT ''00:05:00''::interval', 'TABLE(finding text, severity text, detail text, hint text)',
     'stable', false, 'unsafe', false),
    ('version', '', 'text',
     'stable', true, 'safe', false),
    -- sources
    ('create_source', 'name text, provider text, secret text DEFAULT NULL::text, public_url text DEFAULT NULL::text, tenant text DEFAULT NULL::text, scheme text DEFAULT NULL::text, scheme_options jsonb DEFAULT ''{}''::jsonb, tolerance interval DEFAULT NULL::interval, time_zone text DEFAULT ''UTC''::text, own_addresses text[] DEFAULT ''{}''::text[], max_attachments integer DEFAULT 50, mapping jsonb DEFAULT NULL::jsonb, answers jsonb DEFAULT ''{}''::jsonb, max_body_bytes integer DEFAULT NULL::integer, max_attachment_bytes integer DEFAULT 31457280, media_account text DEFAULT NULL::text, OUT path text, OUT url text, OUT verify_token text', 'record',
     'volatile', false, 'unsafe', true),
    ('rotate_source_secret', 'source text, secret text, overlap interval DEFAULT ''1 day''::interval', 'void',
     'volatile', false, 'unsafe', true),
    ('drop_source', 'source text', 'void',
     'volatile', false, 'unsafe', true),
    ('list_sources', '', 'TABLE(name text, tenant_id text, provider text, scheme text, signed boolean, path text, public_url text, tolerance interval, secrets integer, next_secret_end timestamp with time zone, media_failed bigint, created_at timestamp with time zone)',
     'stable', false, 'unsafe', true),
    ('verify_signature', 'source text, headers jsonb, body bytea, url text DEFAULT NULL::text, at timestamp with time zone DEFAULT clock_timestamp(), OUT verified boolean, OUT reason text, OUT detail text', 'record',
     'stable', false, 'unsafe', true),
    ('test_source', 'source text, headers jsonb, body bytea, url text DEFAULT NULL::text', 'TABLE(item integer, kind text, channel text, provider_message_id text, status text, payload jsonb, problem text)',
     'stable', false, 'unsafe', true),
    ('webhook_limits', 'path text, OUT tenant_id text, OUT max_body_bytes integer, OUT too_large_status integer, OUT requests_per_second integer, OUT burst integer, OUT source text', 'record',
     'stable', false, 'unsafe', true),
    ('get_attachment', 'id uuid, OUT message_id uuid, OUT kind text, OUT name text, OUT media_type text, OUT disposition text, OUT size_bytes bigint, OUT url text, OUT content bytea, OUT problem text', 'record',
     'stable', false, 'unsafe', true),
    ('receive_webhook', 'path text, method text, url text, headers jsonb, body bytea, correlation_id text DEFAULT NULL::text, mail jsonb DEFAULT NULL::jsonb, files bytea DEFAULT NULL::bytea, OUT status integer, OUT content_type text, OUT answer text, OUT outcome text, OUT reason text, OUT id uuid', 'record',
     'volatile', false, 'unsafe', true),
    -- sender
    ('create_account', 'name text, provider text, channels text[], secret text DEFAULT NULL::text, options jsonb DEFAULT ''{}''::jsonb, tenant text DEFAULT NULL::text, addresses text[] DEFAULT ''{}''::text[], source text DEFAULT NULL::text, base_url text DEFAULT NULL::text, secret_name text DEFAULT NULL::text, rate numeric DEFAULT NULL::numeric, resend boolean DEFAULT NULL::boolean, timeout interval DEFAULT ''00:00:30''::interval', 'void',
     'volatile', false, 'unsafe', true),
    ('rotate_account_secret', 'account text, secret text', 'void',
     'volatile', false, 'unsafe', true),
    ('resume_account', 'account text', 'void',
     'volatile', false, 'unsafe', true),
    ('drop_account', 'account text', 'void',
     'volatile', false, 'unsafe', true),
    ('list_accounts', '', 'TABLE(name text, tenant_id text, provider text, channels text[], addresses text[], options jsonb, base_url text, source text, secret_name text, has_secret boolean, rate numeric, resend boolean, failures integer, paused_until timestamp with time zone, last_error text, created_at timestamp with time zone)',
     'stable', false, 'unsafe', true),
    ('claim_requests', 'sender_id text, max_requests integer DEFAULT 10, OUT message_id uuid, OUT tenant_id text, OUT account text, OUT attempt integer, OUT correlation_id text, OUT method text, OUT url text, OUT headers text, OUT body text, OUT auth text, OUT secret_name text, OUT secret text, OUT timeout_ms integer, OUT again boolean', 'SETOF record',
     'volatile', false, 'unsafe', true),
    ('record_answer', 'sender_id text, message_id uuid, status integer, headers text, body bytea, failure text DEFAULT NULL::text, was_sent boolean DEFAULT true', 'text',
     'volatile', false, 'unsafe', true),
    ('claim_media', 'sender_id text, max_files integer DEFAULT 10, OUT attachment_id uuid, OUT tenant_id text, OUT account text, OUT attempt integer, OUT url text, OUT auth text, OUT secret_name text, OUT secret text, OUT timeout_ms integer, OUT max_bytes integer, OUT again boolean', 'SETOF record',
     'volatile', false, 'unsafe', true),
    ('record_media', 'sender_id text, attachment_id uuid, status integer, headers text, body bytea, failure text DEFAULT NULL::text', 'text',
     'volatile', false, 'unsafe', true),
    ('fetch_attachment', 'id uuid', 'void',
     'volatile', false, 'unsafe', true),
    -- destinations
    ('create_destination', 'name text, url text, events text[] DEFAULT ''{message.received}''::text[], secret text DEFAULT NULL::text, tenant text DEFAULT NULL::text, timeout interval DEFAULT ''00:00:15''::interval, retry_after interval[] DEFAULT ''{00:00:05,00:05:00,00:30:00,02:00:00,05:00:00,10:00:00,14:00:00,20:00:00,24:00:00}''::interval[]', 'text',
     'volatile', false, 'unsafe', true),
    ('rotate_destination_secret', 'destination text, secret text DEFAULT NULL::text, overlap interval DEFAULT ''1 day''::interval', 'text',
     'volatile', false, 'unsafe', true),
    ('pause_destination', 'destination text', 'void',
     'volatile', false, 'unsafe', true),
    ('resume_destination', 'destination text, redrive boolean DEFAULT false', 'bigint',
     'volatile', false, 'unsafe', true),
    ('drop_destination', 'destination text', 'void',
     'volatile', false, 'unsafe', true),
    ('test_destination', 'destination text', 'uuid',
     'volatile', false, 'unsafe', true),
    ('list_destinations', '', 'TABLE(name text, tenant_id text, url text, events text[], paused boolean, paused_until timestamp with time zone, failures integer, last_error text, waiting bigint, dead bigint, created_at timestamp with time zone)',
     'stable', false, 'unsafe', true),
    ('claim_notifications', 'sender_id text, max_notifications integer DEFAULT 10, OUT notification_id uuid, OUT tenant_id text, OUT destination text, OUT attempt integer, OUT url text, OUT headers text, OUT body text, OUT timeout_ms integer, OUT again boolean', 'SETOF record',
     'volatile', false, 'unsafe', true),
    ('record_notification', 'sender_id text, notification_id uuid, status integer, failure text DEFAULT NULL::text', 'text',
     'volatile', false, 'unsafe', true),
    -- cluster
    ('default_slot', 'tenant text, slots integer', 'integer',
     'immutable', true, 'safe', false),
    ('set_slot', 'slot integer, slots integer', 'void',
     'volatile', false, 'unsafe', true),
    ('set_slot_map', 'version bigint, exceptions jsonb', 'void',
     'volatile', false, 'unsafe', true),
    ('slot_map', 'OUT slot integer, OUT slots integer, OUT version bigint, OUT exceptions jsonb', 'record',
     'stable', false, 'safe', true),
    ('tenant_slot', 'tenant text', 'integer',
     'stable', false, 'safe', true),
    ('fence_tenant', 'tenant text', 'void',
     'volatile', false, 'unsafe', true),
    ('wait_for_fence', 'tenant text, timeout interval DEFAULT ''00:00:30''::interval', 'void',
     'volatile', false, 'unsafe', true),
    ('unfence_tenant', 'tenant text', 'boolean',
     'volatile', false, 'unsafe', true),
    ('tenant_publication', 'tenant text', 'text',
     'volatile', false, 'unsafe', true),
    ('tenant_digest', 'tenant text', 'TABLE(table_name text, row_count bigint, digest text)',
     'stable', false, 'safe', true),
    ('export_tenant', 'tenant text', 'SETOF jsonb',
     'volatile', false, 'unsafe', true),
    ('import_tenant', 'tenant text, page jsonb', 'bigint',
     'volatile', false, 'unsafe', true),
    ('align_sequences', 'tenant text, OUT conversation_number bigint, OUT stream_position bigint', 'record',
     'volatile', false, 'unsafe', true),
    ('publish_settings', 'version bigint, settings jsonb', 'void',
     'volatile', false, 'unsafe', true),
    -- a procedure that commits cannot be SECURITY DEFINER
    ('drop_tenant', 'IN tenant text', NULL,
     'volatile', false, 'unsafe', false),
    -- access: privileges are granted with the caller's rights
    ('create_api_key', 'tenant text, scopes text[], expires_at timestamp with time zone DEFAULT NULL::timestamp with time zone, owner text DEFAULT ''''::text', 'text',
     'volatile', false, 'unsafe', true),
    ('create_api_key', 'tenant text, scopes text, expires_at timestamp with time zone DEFAULT NULL::timestamp with time zone, owner text DEFAULT ''''::text', 'text',
     'volatile', false, 'unsafe', false),
    ('revoke_api_key', 'prefix text', 'boolean',
     'volatile', false, 'unsafe', true),
    ('list_api_keys', '', 'TABLE(prefix text, tenant_id text, scopes text[], created_at timestamp with time zone, expires_at timestamp with time zone, last_used_at timestamp with time zone, revoked_at timestamp with time zone, owner text)',
     'stable', false, 'safe', true),
    ('has_api_keys', '', 'boolean',
     'stable', false, 'safe', true),
    ('authenticate', 'key text', 'TABLE(prefix text, tenant_id text, scopes text[], expires_at timestamp with time zone, requests_per_second integer, burst integer, owner text)',
     'volatile', false, 'unsafe', true),
    ('set_tenant_limit', 'tenant text, requests_per_second integer, burst integer DEFAULT NULL::integer', 'void',
     'volatile', false, 'unsafe', true),
    ('list_tenant_limits', '', 'TABLE(tenant_id text, requests_per_second integer, burst integer)',
     'stable', false, 'safe', true),
    ('tenant_limit', 'tenant text, OUT requests_per_second integer, OUT burst integer', 'record',
     'stable', false, 'safe', true),
    ('grant_access', 'role regrole, level text', 'void',
     'volatile', false, 'unsafe', false),
    ('revoke_access', 'role regrole, level text DEFAULT NULL::text', 'void',
     'volatile', false, 'unsafe', false);

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

-- Names of internal functions begin with _; there are no other public functions.
SELECT set_eq(
    'SELECT name FROM actual', 'SELECT name FROM expected',
    'the list of public functions is complete');
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
    format('SELECT definer FROM actual WHERE name = %L AND arguments = %L', name, arguments),
    ARRAY[definer],
    format('%s runs with the rights of its %s', name,
        CASE WHEN definer THEN 'owner' ELSE 'caller' END))
FROM expected ORDER BY name;

-- Functions with the owner's rights must not resolve names through the caller's
-- search_path. Those that store events pin it by themselves: test/sql/inbox.sql.
SELECT is_empty(
    $$SELECT p.oid::regprocedure FROM pg_proc p
      WHERE p.pronamespace = 'msgstore'::regnamespace AND p.prosecdef
        AND p.proname NOT IN ('ingest', 'ingest_batch')
        AND NOT 'search_path=pg_catalog, pg_temp' = ANY (coalesce(p.proconfig, '{}'))$$,
    'every SECURITY DEFINER function pins its search_path');
SELECT is_empty(
    $$SELECT p.oid::regprocedure FROM pg_proc p
      JOIN pg_language l ON l.oid = p.prolang AND l.lanname = 'plpgsql'
      WHERE p.pronamespace = 'msgstore'::regnamespace
        AND NOT 'search_path=pg_catalog, pg_temp' = ANY (coalesce(p.proconfig, '{}'))
        -- A procedure that commits cannot.
        AND p.proname <> 'drop_tenant'$$,
    'every plpgsql function pins its search_path');

-- Functions work with any search_path of the caller.
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
      SELECT msgstore.metrics();
      SELECT msgstore.append('pgtap-1', 'x', '{}'), msgstore.stream_state('pgtap-1');
      SELECT msgstore.append_batch('[{"stream": "pgtap-1", "type": "x", "data": {}}]');
      SELECT msgstore.append_if('[{"stream": "pgtap-1", "type": "x", "data": {}, "tags": ["t"]}]', '{"tags": ["t"]}');
      SELECT msgstore.read_query('{"tags": ["t"]}'), msgstore.trace('t'), msgstore.causation_tree(gen_random_uuid());
      SELECT msgstore.read_all(), msgstore.read_category('pgtap'), msgstore.list_streams();
      SELECT msgstore.compact_stream('pgtap-1', '{}'), msgstore.latest_event_id();
      SELECT msgstore.save_snapshot('{}'), msgstore.list_snapshots();
      SELECT msgstore.create_subscription('pgtap');
      SELECT msgstore.fetch('pgtap'), msgstore.ack('pgtap', 0);
      SELECT msgstore.append_host_events('pgtap', '[{"type": "HostCreated", "ip_address": "::1", "hostname": "h"},
        {"type": "CommentUpdated", "new_comment": "c"}]');
      SELECT msgstore.load_host_events('pgtap'), msgstore.list_hosts(), msgstore.host_version('pgtap');
      SELECT msgstore.search_hosts('{"query": "h"}'), msgstore.hosts_at(now()), msgstore.validate_host('{}');
      SELECT msgstore.compact_host('pgtap'), msgstore.list_host_ids(), msgstore.host_by_id('pgtap');
      SELECT count(*) FROM msgstore.host_entries_history;
      SELECT msgstore.sent(message_id, 'pgtap-sent', 'pgtap')
      FROM msgstore.claim_outbound('pgtap', 1);
      SELECT msgstore.heartbeat_outbound('pgtap'), msgstore.reap_outbound();
      SELECT msgstore.send_failed(message_id, 'E', 'no')
      FROM msgstore.claim_outbound('pgtap');
      SELECT msgstore.record_status('sms', 'pgtap-sent', 'read', '{"token": 1}');
      SELECT msgstore.metrics(), msgstore.metrics_detail();
      SELECT msgstore.authenticate(msgstore.create_api_key('', '{read}'));
      SELECT msgstore.set_tenant_limit('', 1), msgstore.tenant_limit('');
      SELECT msgstore.list_tenant_limits(), msgstore.has_api_keys();
      SELECT msgstore.revoke_api_key(prefix)
      FROM msgstore.list_api_keys();
      SELECT msgstore.create_source('pgtap', 'generic', 'secret');
      SELECT msgstore.rotate_source_secret('pgtap', 'another');
      SELECT msgstore.verify_signature('pgtap', '{}', '{}'), msgstore.test_source('pgtap', '{}',
        '{"from": "+1", "to": "+2", "body": "a"}');
      SELECT msgstore.receive_webhook(path, 'POST', '', '{}', '{}'), msgstore.webhook_limits(path)
      FROM msgstore.list_sources();
      SELECT msgstore.drop_source('pgtap');
      SELECT msgstore.opt_out('sms', '+3'), msgstore.opt_in('sms', '+3');
      SELECT msgstore.create_account('pgtap', 'generic', '{sms,mms,email}', 'secret', base_url => 'http://x');
      SELECT msgstore.send('sms', '{"from": "+1", "to": "+2", "body": "b", "timestamp": "2024-11-01T14:00:00Z"}');
      SELECT msgstore.record_answer('pgtap', message_id, 200, '', '{}') FROM msgstore.claim_requests('pgtap');
      SELECT msgstore.rotate_account_secret('pgtap', 'another'), msgstore.resume_account('pgtap'),
          msgstore.list_accounts();
      SELECT msgstore.receive_webhook(path, 'POST', '', '{}',
          '{"from": "+1", "to": "+2", "id": "media", "attachments": ["http://x/1"]}')
      FROM msgstore.create_source('pgtap', 'generic', scheme => 'none', media_account => 'pgtap');
      SELECT msgstore.record_media('pgtap', attachment_id, 500, '', ''), msgstore.fetch_attachment(attachment_id)
      FROM msgstore.claim_media('pgtap');
      SELECT msgstore.drop_account('pgtap'), msgstore.drop_source('pgtap');
      SELECT msgstore.create_destination('pgtap', 'http://x'), msgstore.rotate_destination_secret('pgtap');
      SELECT msgstore.test_destination('pgtap'), msgstore.pause_destination('pgtap'), msgstore.resume_destination('pgtap');
      SELECT msgstore.record_notification('pgtap', notification_id, 200) FROM msgstore.claim_notifications('pgtap');
      SELECT msgstore.list_destinations();
      SELECT msgstore.drop_destination('pgtap');
      SELECT msgstore.set_slot(0, 1), msgstore.set_slot_map(1, '{"a": 0}'), msgstore.slot_map(),
          msgstore.tenant_slot('a'), msgstore.fence_tenant('a');
      SELECT msgstore.import_tenant('a', p) FROM msgstore.export_tenant('a') p;
      SELECT msgstore.align_sequences('a'), msgstore.tenant_digest('a'), msgstore._drop_rows('a', 1);
      SELECT msgstore.unfence_tenant('a'), msgstore.publish_settings(1, '{}');
      SELECT msgstore.grant_access('pg_monitor', 'operate'), msgstore.revoke_access('pg_monitor');
      RESET search_path$$,
    'functions work with an empty search_path');

SELECT * FROM finish();
ROLLBACK;
