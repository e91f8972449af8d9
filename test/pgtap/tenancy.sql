-- Nothing that has a tenant is without its guard.
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
    'there are tables that have a tenant');

-- Row security, for the owner too, with the one policy for every command.
SELECT is_empty(
    'SELECT relname FROM tenant_tables WHERE NOT (relrowsecurity AND relforcerowsecurity)',
    'row security is forced on every table that has a tenant');
SELECT set_eq(
    $$SELECT t.relname FROM tenant_tables t
      JOIN pg_policies p ON p.schemaname = 'msgstore' AND p.tablename = t.relname
      GROUP BY t.relname
      HAVING string_agg(concat_ws(' ', p.policyname, p.permissive, p.roles, p.cmd, p.with_check), ', ')
          = 'tenant_scope PERMISSIVE {public} ALL'$$,
    'SELECT relname FROM tenant_tables',
    'and has one policy, for all roles and commands');
SELECT is_empty(
    $$SELECT tablename, qual FROM pg_policies WHERE schemaname = 'msgstore'
      AND (qual !~ '_tenant_scope\(\).* = ''''::text\) OR \(\( SELECT msgstore._tenant_scope\(\).*\) = tenant_id\)'
           OR qual ~ 'current_setting')$$,
    'which asks the module for the tenant, and not for a setting that may be planted');
SELECT is_empty(
    $$SELECT c.oid::regclass FROM pg_class c
      WHERE c.relnamespace = 'msgstore'::regnamespace AND c.relrowsecurity
        AND c.oid NOT IN (SELECT oid FROM tenant_tables)$$,
    'no other table has row security');

-- A key of one tenant says nothing of another's rows.
SELECT is_empty(
    $$SELECT i.indexrelid::regclass FROM pg_index i
      JOIN tenant_tables t ON t.oid = i.indrelid
      WHERE i.indisunique AND i.indkey[0] <> t.attnum$$,
    'the tenant comes first in every unique key');
SELECT results_eq(
    $$SELECT conname FROM pg_constraint k
      WHERE k.connamespace = 'msgstore'::regnamespace AND k.contype = 'x'$$,
    -- Ids of responses are those of all tenants: whoever has one must never
    -- meet another response under it.
    ARRAY['responses_id_excl'::name],
    'but for the ids of responses nothing is exclusive over tenants');

-- A view reads with the rights of who reads it, or filters by itself.
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
    'no view shows more than its reader may see');

-- Functions with the owner's rights are not under row security: each of them
-- says itself whose rows it means, or is known to need none.
CREATE TEMP VIEW definers AS
SELECT p.oid, p.proname, p.prosrc, l.lanname FROM pg_proc p
JOIN pg_language l ON l.oid = p.prolang
WHERE p.pronamespace = 'msgstore'::regnamespace AND p.prosecdef;
SELECT set_eq(
    $$SELECT proname FROM definers
      WHERE lanname <> 'c' AND prosrc !~ '_tenant_scope|_check_tenant|_response_scope|_tenants_in_scope'
      EXCEPT
      -- These read and write by functions that do.
      SELECT unnest(ARRAY['list_messages', 'claim', 'sent', 'send_failed', 'record_status',
        'requeue', 'requeue_dead_letters', 'replay', 'purge', 'reap_responses', 'stale_responses',
        'list_responses', 'branches', 'response_input_items', 'metrics_detail',
        'save_snapshot', 'append_host_events', 'host_version', 'host_sequence',
        'count_host_events', 'list_host_ids', 'hosts_health', '_count_conversations'])$$,
    $$SELECT NULL::name WHERE false$$,
    'every function with the owner''s rights looks to the tenant');

-- Rights.
SELECT is_empty(
    $$SELECT c.oid::regclass, a.privilege_type FROM pg_class c, aclexplode(c.relacl) a
      WHERE c.relnamespace = 'msgstore'::regnamespace AND a.grantee = 0$$,
    'PUBLIC has no right on any table, view or sequence');
SELECT is_empty(
    $$SELECT p.oid::regprocedure FROM pg_proc p
      WHERE p.pronamespace = 'msgstore'::regnamespace
        AND (p.prosecdef OR p.provolatile = 'v' AND p.proname <> 'uuid7')
        AND has_function_privilege('public', p.oid, 'EXECUTE')$$,
    'nor on a function that could change anything');
SELECT is_empty(
    $$SELECT s.name FROM pg_settings s
      WHERE s.name IN ('msgstore.tenant_id', 'msgstore.owner', 'msgstore.admin')
        AND s.context <> 'superuser'$$,
    'who a session is, is a superuser''s to say');

-- Every public function and every relation has its level, or none on purpose.
SELECT set_eq(
    $$SELECT p.proname FROM pg_proc p
      WHERE p.pronamespace = 'msgstore'::regnamespace AND p.proname !~ '^_'
      EXCEPT SELECT r.name FROM msgstore._access_rights() r WHERE r.kind = 'function'$$,
    -- What everybody may do, and what only the owner may.
    ARRAY['normalize_phone', 'normalize_email', 'normalize_address',
        'conversation_key', 'snippet', 'uuid7',
        'grant_access', 'revoke_access', 'install_message_store'],
    'every public function is in a level of access');
SELECT set_eq(
    $$SELECT name FROM msgstore._access_rights() WHERE kind = 'function'
      GROUP BY name HAVING count(*) > 1$$,
    -- What a gateway asks whichever level it has, and what providers report.
    ARRAY['authenticate', 'has_api_keys', 'tenant_limit', 'record_status'],
    'and in one only');
SELECT set_eq(
    $$SELECT name FROM msgstore._access_rights() WHERE level = 'operate' AND kind = 'function'$$,
    ARRAY['requeue', 'requeue_dead_letters', 'replay', 'purge', 'erase_address', 'check',
        'recount', 'add_handler', 'remove_handler', 'create_subscription',
        'drop_subscription', 'resize_subscription', 'compact_stream', 'compact_host',
        'delete_snapshot', 'apply_snapshot_retention', 'cleanup_responses',
        'purge_responses', 'create_api_key', 'revoke_api_key', 'list_api_keys',
        'set_tenant_limit', 'list_tenant_limits', '_stat_worker'],
    'what changes much at once, or gives rights, is for operators');
SELECT is_empty(
    $$SELECT r.name FROM msgstore._access_rights() r
      WHERE r.kind = 'function' AND NOT EXISTS (SELECT FROM pg_proc p
        WHERE p.pronamespace = 'msgstore'::regnamespace AND p.proname = r.name)$$,
    'and what is in a level is there');
SELECT set_eq(
    $$SELECT c.relname FROM pg_class c
      WHERE c.relnamespace = 'msgstore'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm')
      EXCEPT SELECT r.name FROM msgstore._access_rights() r WHERE r.kind = 'table'$$,
    -- Read by functions only.
    ARRAY['api_keys', 'tenant_limits', 'idempotency_keys', 'responses', 'handlers',
        'conversation_counts', 'conversation_holds', 'installed_objects', 'purge_progress', 'purge_skipped',
        'host_entries', 'host_log', 'snapshots', 'parked_events', 'stream_events',
        'stream_consumers', 'stream_subscriptions'],
    'so is every view and table, or nobody reads it');

SELECT * FROM finish();
ROLLBACK;
