-- Every table, view and function that has tenants is protected.
\set QUIET on
SET client_min_messages = warning;
BEGIN;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS msgstore;
SELECT no_plan();

CREATE TEMP VIEW tenant_tables AS
SELECT c.oid, c.relname, c.relrowsecurity, c.relforcerowsecurity, a.attnum
FROM pg_class c
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped
WHERE c.relnamespace = 'msgstore'::regnamespace AND c.relkind IN ('r', 'p');
SELECT cmp_ok((SELECT count(*) FROM tenant_tables), '>=', 22::bigint,
    'the tables with a tenant are found');

-- Row security, also for the owner, with one policy for all commands.
SELECT is_empty(
    'SELECT relname FROM tenant_tables WHERE NOT (relrowsecurity AND relforcerowsecurity)',
    'row security is forced on every table with a tenant');
SELECT set_eq(
    $$SELECT t.relname FROM tenant_tables t
      JOIN pg_policies p ON p.schemaname = 'msgstore' AND p.tablename = t.relname
      GROUP BY t.relname
      HAVING string_agg(concat_ws(' ', p.policyname, p.permissive, p.roles, p.cmd, p.with_check), ', ')
          = 'tenant_scope PERMISSIVE {public} ALL'$$,
    'SELECT relname FROM tenant_tables',
    'each has one policy, for all roles and commands');
SELECT is_empty(
    $$SELECT tablename, qual FROM pg_policies WHERE schemaname = 'msgstore'
      AND (qual !~ '_tenant_scope\(\).* = ''''::text\) OR \(\( SELECT msgstore._tenant_scope\(\).*\) = tenant_id\)'
           OR qual ~ 'current_setting')$$,
    'policies get the tenant from the module, not from a setting that a user can set');
SELECT is_empty(
    $$SELECT c.oid::regclass FROM pg_class c
      WHERE c.relnamespace = 'msgstore'::regnamespace AND c.relrowsecurity
        AND c.oid NOT IN (SELECT oid FROM tenant_tables)$$,
    'no other table has row security');

-- A unique key never compares rows of two tenants.
SELECT is_empty(
    $$SELECT i.indexrelid::regclass FROM pg_index i
      JOIN tenant_tables t ON t.oid = i.indrelid
      WHERE i.indisunique AND i.indkey[0] <> t.attnum$$,
    'the tenant comes first in every unique key');
SELECT is_empty(
    $$SELECT conname FROM pg_constraint k
      WHERE k.connamespace = 'msgstore'::regnamespace AND k.contype = 'x'$$,
    'nor does an exclusion');

-- A view runs with the rights of the reader, or filters by itself.
SELECT is_empty(
    $$SELECT c.oid::regclass FROM pg_class c
      WHERE c.relnamespace = 'msgstore'::regnamespace AND c.relkind IN ('v', 'm')
        AND NOT coalesce(c.reloptions && '{security_invoker=true,security_invoker=on}', false)
        AND NOT (coalesce(c.reloptions && '{security_barrier=true,security_barrier=on}', false)
                 AND (pg_get_viewdef(c.oid) ~ 'WHERE .*_tenant_scope\(\)'
                      OR EXISTS (
                        SELECT FROM pg_rewrite r
                        JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass
                            AND d.objid = r.oid AND d.refclassid = 'pg_class'::regclass
                            AND d.refobjid <> c.oid
                        WHERE r.ev_class = c.oid
                        HAVING bool_and(d.refobjid = 'msgstore.host_events'::regclass))))$$,
    'no view shows more than the reader can see');

-- Row security does not apply to functions with the owner's rights: each of them
-- filters by tenant, or is listed here.
CREATE TEMP VIEW definers AS
SELECT p.oid, p.proname, p.prosrc, l.lanname FROM pg_proc p
JOIN pg_language l ON l.oid = p.prolang
WHERE p.pronamespace = 'msgstore'::regnamespace AND p.prosecdef;
SELECT set_eq(
    $$SELECT proname FROM definers
      WHERE lanname <> 'c' AND prosrc !~ '_tenant_scope|_check_tenant\(|_check_no_tenant|_response_scope|_tenants_in_scope|_log_tenant'
      EXCEPT
      -- These call functions that do.
      SELECT unnest(ARRAY['search_messages', 'search_conversations', 'index_messages', 'index_responses', 'list_messages', 'get_conversation', 'update_conversation', 'mark_read', 'mark_unread', 'claim', 'sent', 'send_failed', 'record_status',
        'requeue', 'requeue_dead_letters', 'replay', 'purge', 'reap_responses', 'stale_responses',
        'list_responses', 'branches', 'response_input_items', 'response_with_chain', 'metrics_detail',
        'get_response_conversation', 'update_response_conversation', 'delete_response_conversation',
        'add_conversation_items', 'list_conversation_items', 'get_conversation_item', 'delete_conversation_item',
        'append_response_events', 'response_events',
        'save_snapshot', 'append_host_events', 'load_host_events', 'host_version', 'host_sequence',
        'count_host_events', 'list_host_ids', 'hosts_health', '_count_conversations', '_readiness',
        'verify_signature', 'test_source', 'rotate_source_secret', 'drop_source',
        'stream_page', 'event_page', 'fetch_page', 'list_projections', 'rebuild_projection', 'retry_parked', 'seal_log',
        'rotate_account_secret', 'resume_account', 'drop_account', 'claim_requests', 'record_answer',
        'opt_out', 'opt_in', 'rotate_destination_secret', 'pause_destination', 'resume_destination',
        'drop_destination', 'test_destination',
        'receive_webhook', 'webhook_limits', 'wait_for_changes', '_conversation_id',
        -- A trigger, which records the tenant of each row.
        '_tell_changes', '_tally_states',
        'list_conversations', 'pause_workers', 'resume_workers',
        -- These write the keys of the rows that a statement has changed.
        '_delete_event_keys', '_insert_event_keys'])$$,
    $$SELECT NULL::name WHERE false$$,
    'every function with the owner''s rights filters by tenant');

-- Privileges.
SELECT is_empty(
    $$SELECT c.oid::regclass, a.privilege_type FROM pg_class c, aclexplode(c.relacl) a
      WHERE c.relnamespace = 'msgstore'::regnamespace AND a.grantee = 0$$,
    'PUBLIC has no privilege on any table, view or sequence');
SELECT is_empty(
    $$SELECT p.oid::regprocedure FROM pg_proc p
      WHERE p.pronamespace = 'msgstore'::regnamespace
        AND (p.prosecdef OR p.provolatile = 'v' AND p.proname <> 'uuid7')
        AND has_function_privilege('public', p.oid, 'EXECUTE')$$,
    'nor on a function that can change anything');
SELECT is_empty(
    $$SELECT s.name FROM pg_settings s
      WHERE s.name IN ('msgstore.tenant_id', 'msgstore.owner', 'msgstore.admin')
        AND s.context <> 'superuser'$$,
    'only superusers can set the identity of a session');

-- Every public function and relation has a level, or is listed here.
SELECT set_eq(
    $$SELECT p.proname FROM pg_proc p
      WHERE p.pronamespace = 'msgstore'::regnamespace AND p.proname !~ '^_'
      EXCEPT SELECT r.name FROM msgstore._access_rights() r WHERE r.kind = 'function'$$,
    -- For everybody, and for the owner only.
    ARRAY['normalize_phone', 'normalize_email', 'normalize_address',
        'conversation_key', 'snippet', 'uuid7', 'version',
        'grant_access', 'revoke_access', 'install_message_store'],
    'every public function has an access level');
SELECT set_eq(
    $$SELECT name FROM msgstore._access_rights() WHERE kind = 'function'
      GROUP BY name HAVING count(*) > 1$$,
    -- A gateway calls the first ones with any level; providers report statuses; senders check their secrets;
    -- gateways and senders connect to slots.
    ARRAY['readiness', '_readiness', 'authenticate', 'has_api_keys', 'tenant_limit', 'record_status',
        'list_accounts', 'tenant_slot', '_cluster_map', '_check_slot_here'],
    'and only one');
SELECT set_eq(
    $$SELECT name FROM msgstore._access_rights() WHERE level = 'operate' AND kind = 'function'$$,
    ARRAY['requeue', 'requeue_dead_letters', 'resubmit_refused', 'replay', 'purge', 'erase_address', 'check',
        'recount', 'add_handler', 'remove_handler', 'pause_workers', 'resume_workers', 'list_operations', '_operations_page', '_dead_letter_page', 'create_subscription',
        'drop_subscription', 'resize_subscription', 'seek', 'rename_subscription', 'create_projection', 'pause_projection', 'resume_projection', 'rebuild_projection', 'retry_parked', 'list_projections', 'set_stream_retention', 'list_stream_retention', 'truncate_stream', 'tombstone_stream', 'erase_events', 'seal_log', 'verify_log', 'compact_stream', 'compact_host',
        'delete_snapshot', 'apply_snapshot_retention', 'cleanup_responses',
        'purge_responses', 'hold_response', 'rebuild_response_search', 'create_api_key', 'revoke_api_key', 'list_api_keys',
        'set_tenant_limit', 'list_tenant_limits', '_stat_worker', 'rebuild_search', 'set_search_configuration', 'readiness', '_readiness',
        'create_source', 'rotate_source_secret', 'drop_source', 'list_sources',
        'verify_signature', 'test_source', 'fetch_attachment',
        'create_account', 'rotate_account_secret', 'resume_account', 'drop_account', 'list_accounts',
        'create_destination', 'rotate_destination_secret', 'pause_destination', 'resume_destination',
        'drop_destination', 'test_destination', 'list_destinations',
        'default_slot', 'set_slot', 'set_slot_map', 'slot_map', '_enter',
        'fence_tenant', 'wait_for_fence', 'unfence_tenant',
        'tenant_publication', 'export_tenant', 'import_tenant', 'align_sequences', 'tenant_digest',
        'drop_tenant', '_drop_publication', '_drop_rows', 'publish_settings'],
    'functions that change much at once, or grant access, are for operators');
SELECT is_empty(
    $$SELECT r.name FROM msgstore._access_rights() r
      WHERE r.kind = 'function' AND NOT EXISTS (SELECT FROM pg_proc p
        WHERE p.pronamespace = 'msgstore'::regnamespace AND p.proname = r.name)$$,
    'every function of a level exists');
SELECT set_eq(
    $$SELECT c.relname FROM pg_class c
      WHERE c.relnamespace = 'msgstore'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm')
      EXCEPT SELECT r.name FROM msgstore._access_rights() r WHERE r.kind = 'table'$$,
    -- Only functions read these.
    ARRAY['search_entries', 'search_addresses', 'search_changes', 'search_configurations',
        'sources', 'source_secrets', 'source_tokens', 'attachments', 'thread_ids', 'message_parts', 'accounts', 'account_secrets',
        'destinations', 'destination_secrets', 'destination_news',
        'api_keys', 'tenant_limits', 'idempotency_keys', 'responses', 'response_conversations',
        'response_conversation_items', 'response_turns', 'response_events', 'response_usage', 'response_usage_changes', 'response_search_changes', 'response_search_entries', 'handlers', '_sendable_messages',
        'conversation_counts', 'conversation_tallies', 'conversation_holds', 'installed_objects', 'purge_progress', 'purge_skipped',
        'host_entries', 'host_log', 'snapshots', 'parked_events', 'projections', 'stream_retention', 'stream_seals', 'stream_removals', 'stream_events', 'stream_event_keys',
        'stream_consumers', 'stream_subscriptions', 'live_changes', 'live_horizon',
        'slot_exceptions', 'tenant_fences'],
    'every view and table has an access level, or no role can read it');

SELECT * FROM finish();
ROLLBACK;
