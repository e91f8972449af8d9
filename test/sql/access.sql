-- access: API keys, tenant limits and access levels.
\pset format unaligned
\pset tuples_only on
SET client_min_messages = warning;
SET timezone = 'UTC';
SET datestyle = 'ISO';
CREATE EXTENSION msgstore;
CREATE FUNCTION public.refused(command text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE detail text;
    hint text;
BEGIN
    EXECUTE command;
    RETURN 'not refused';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    RETURN concat_ws(' | ', SQLSTATE, SQLERRM, nullif(detail, ''), nullif(hint, ''));
END $$;

-- A key is returned once, in a form that scanners can recognize.
SELECT msgstore.create_api_key('a', '{send,ingest,send}') AS key_a,
       msgstore.create_api_key('b', '{read}', now() + interval '1 day') AS key_b \gset
SELECT :'key_a' ~ '^mk_[0-9a-f]{16}_[0-9a-f]{48}$' AS form, :'key_a' <> :'key_b' AS differ;
SELECT split_part(:'key_a', '_', 2) AS prefix_a, split_part(:'key_b', '_', 2) AS prefix_b \gset
SELECT prefix = :'prefix_a', tenant_id, scopes, created_at <= clock_timestamp(),
       expires_at > now(), last_used_at, revoked_at
FROM msgstore.list_api_keys();
-- A single scope, or several, can be given as text.
BEGIN;
SELECT count(create_api_key) FROM msgstore.create_api_key('c', 'ingest'), unnest(ARRAY[
    msgstore.create_api_key('c', 'read, ingest'), msgstore.create_api_key('c', ARRAY['send']),
    msgstore.create_api_key('c', '{read,send}'::text), msgstore.create_api_key(tenant => 'c', scopes => 'operate',
        expires_at => now() + interval '1 day')]);
SELECT scopes, expires_at IS NOT NULL AS expires FROM msgstore.list_api_keys() WHERE tenant_id = 'c' ORDER BY scopes;
ROLLBACK;
SELECT public.refused($$SELECT msgstore.create_api_key('c', 'fly')$$);
SELECT public.refused($$SELECT msgstore.create_api_key('c', 'ingest,')$$);
SELECT public.refused($$SELECT msgstore.create_api_key('c', '')$$);
-- The table holds the hash and no part of the secret.
SELECT key_hash = sha256(convert_to(:'key_a', 'UTF8')),
       strpos(k::text, split_part(:'key_a', '_', 3)) AS secret_at
FROM msgstore.api_keys k WHERE tenant_id = 'a';

-- authenticate returns the tenant, the scopes and the limit.
SELECT prefix = :'prefix_a', tenant_id, scopes, expires_at, requests_per_second, burst
FROM msgstore.authenticate(:'key_a');
SELECT tenant_id, scopes, expires_at > now() FROM msgstore.authenticate(:'key_b');

-- No row for anything else: null, an empty string, another form, an unknown
-- prefix, a wrong secret, another key's secret, extra characters, upper case.
SELECT count(*) FROM unnest(ARRAY[NULL, '', 'mk_', 'mk__', :'prefix_a',
    'mk_0123456789abcdef_' || split_part(:'key_a', '_', 3),
    left(:'key_a', -1) || CASE right(:'key_a', 1) WHEN '0' THEN '1' ELSE '0' END,
    'mk_' || :'prefix_a' || '_' || split_part(:'key_b', '_', 3),
    :'key_a' || '0', :'key_a' || E'\n', ' ' || :'key_a', upper(:'key_a')]) k,
    msgstore.authenticate(k);

-- The time of use is recorded once a minute.
SELECT tenant_id, clock_timestamp() - last_used_at < '1 minute' AS noted, last_used_at AS used_at
FROM msgstore.list_api_keys() WHERE tenant_id = 'a' \gset
SELECT :'noted';
SELECT count(*) FROM msgstore.authenticate(:'key_a');
SELECT last_used_at = :'used_at' FROM msgstore.list_api_keys() WHERE tenant_id = 'a';
UPDATE msgstore.api_keys SET last_used_at = last_used_at - interval '61 s';
SELECT count(*) FROM msgstore.authenticate(:'key_a');
SELECT last_used_at > :'used_at' FROM msgstore.list_api_keys() WHERE tenant_id = 'a';
-- A read-only transaction does not record it and does not fail.
UPDATE msgstore.api_keys SET last_used_at = NULL;
BEGIN READ ONLY;
SELECT count(*) FROM msgstore.authenticate(:'key_a');
COMMIT;
SELECT tenant_id, last_used_at FROM msgstore.list_api_keys();

-- An expired or revoked key returns no row.
UPDATE msgstore.api_keys SET expires_at = now() - interval '1 s' WHERE tenant_id = 'b';
SELECT count(*) FROM msgstore.authenticate(:'key_b');
UPDATE msgstore.api_keys SET expires_at = NULL WHERE tenant_id = 'b';
SELECT count(*) FROM msgstore.authenticate(:'key_b');
SELECT msgstore.revoke_api_key(:'prefix_b');
SELECT count(*) FROM msgstore.authenticate(:'key_b');
SELECT tenant_id, revoked_at <= clock_timestamp() FROM msgstore.list_api_keys() WHERE revoked_at IS NOT NULL;
SELECT msgstore.revoke_api_key(:'prefix_b'), msgstore.revoke_api_key('nothing'), msgstore.revoke_api_key(NULL);

-- Invalid arguments are refused.
SELECT public.refused($$SELECT msgstore.create_api_key('a', '{ingest,fly}')$$);
SELECT public.refused($$SELECT msgstore.create_api_key('a', '{}')$$);
SELECT public.refused($$SELECT msgstore.create_api_key('a', NULL)$$);
SELECT public.refused($$SELECT msgstore.create_api_key('a', '{ingest,NULL}')$$);
SELECT public.refused($$SELECT msgstore.create_api_key('a', '{read}', '2020-01-01 00:00:00+00')$$);
SELECT public.refused($$SELECT msgstore.create_api_key(NULL, '{read}')$$);
SELECT public.refused($$SELECT msgstore.create_api_key(repeat('a', 256), '{read}')$$);

-- A session of a tenant sees and creates keys of that tenant only.
SELECT msgstore.create_api_key('b', '{operate}') AS key_b \gset
SELECT split_part(:'key_b', '_', 2) AS prefix_b \gset
SET msgstore.tenant_id = 'a';
SELECT tenant_id FROM msgstore.list_api_keys();
SELECT count(*) FROM msgstore.authenticate(:'key_b');
SELECT count(*) FROM msgstore.authenticate(:'key_a');
SELECT msgstore.revoke_api_key(:'prefix_b');
SELECT public.refused($$SELECT msgstore.create_api_key('b', '{read}')$$);
SELECT public.refused($$SELECT msgstore.create_api_key('never seen', '{read}')$$);
SELECT public.refused($$SELECT msgstore.create_api_key('', '{read}')$$);
SELECT msgstore.create_api_key('a', '{read}') ~ '^mk_';
RESET msgstore.tenant_id;
SELECT count(*) FROM msgstore.authenticate(:'key_b');

-- Limits: the default burst is the rate; a null rate removes the limit.
SELECT msgstore.set_tenant_limit('a', 10), msgstore.set_tenant_limit('b', 5, 50),
       msgstore.set_tenant_limit('', 1, 2);
SELECT * FROM msgstore.list_tenant_limits();
SELECT requests_per_second, burst FROM msgstore.authenticate(:'key_a');
SELECT * FROM msgstore.tenant_limit('b');
SELECT msgstore.set_tenant_limit('b', 6), msgstore.set_tenant_limit('a', NULL), msgstore.set_tenant_limit('nobody', NULL);
SELECT * FROM msgstore.list_tenant_limits();
SELECT * FROM msgstore.tenant_limit('a');
SELECT requests_per_second, burst FROM msgstore.authenticate(:'key_a');
SELECT public.refused($$SELECT msgstore.set_tenant_limit('a', 0)$$);
SELECT public.refused($$SELECT msgstore.set_tenant_limit('a', 1, 0)$$);
SELECT public.refused($$SELECT msgstore.set_tenant_limit(NULL, 1)$$);
SELECT public.refused($$SELECT * FROM msgstore.tenant_limit(NULL)$$);
-- A tenant sees its own limit and cannot change any.
SELECT msgstore.set_tenant_limit('a', 3);
SET msgstore.tenant_id = 'a';
SELECT * FROM msgstore.list_tenant_limits();
SELECT * FROM msgstore.tenant_limit('a');
SELECT public.refused($$SELECT * FROM msgstore.tenant_limit('b')$$);
SELECT public.refused($$SELECT * FROM msgstore.tenant_limit('never seen')$$);
SELECT public.refused($$SELECT msgstore.set_tenant_limit('a', 1000)$$);
-- Handlers apply to all tenants, so that a tenant cannot add or remove one.
CREATE FUNCTION public.handle(m msgstore.messages) RETURNS void LANGUAGE sql AS '';
SELECT public.refused($$SELECT msgstore.add_handler('sms', 'public.handle')$$);
SELECT public.refused($$SELECT msgstore.remove_handler('sms', 'public.handle')$$);
DROP FUNCTION public.handle;
RESET msgstore.tenant_id;

-- Levels add up, and revoking one leaves the others intact.
CREATE ROLE regress_app;
CREATE FUNCTION pg_temp.levels(role regrole) RETURNS TABLE (levels text[], functions bigint, tables bigint, usage boolean)
LANGUAGE sql AS $$
    SELECT ARRAY(SELECT level FROM (SELECT level, count(*) AS n, count(*) FILTER (
                     WHERE CASE kind WHEN 'table' THEN has_table_privilege(role, 'msgstore.' || name, 'SELECT')
                         WHEN 'schema' THEN has_schema_privilege(role, name, 'USAGE')
                         ELSE (SELECT bool_and(has_function_privilege(role, p.oid, 'EXECUTE')) FROM pg_proc p
                               WHERE p.proname = name AND p.pronamespace = 'msgstore'::regnamespace) END) AS has
                 FROM msgstore._access_rights() GROUP BY level) l WHERE has = n ORDER BY 1),
        (SELECT count(*) FROM pg_proc p, aclexplode(p.proacl) a
         WHERE p.pronamespace = 'msgstore'::regnamespace AND a.grantee = role),
        (SELECT count(*) FROM pg_class c, aclexplode(c.relacl) a
         WHERE c.relnamespace = 'msgstore'::regnamespace AND a.grantee = role),
        has_schema_privilege(role, 'msgstore', 'USAGE')
$$;
SELECT levels, functions > 0, tables > 0, usage FROM pg_temp.levels('regress_app');
SELECT msgstore.grant_access('regress_app', 'ingest');
SELECT levels FROM pg_temp.levels('regress_app');
SELECT msgstore.grant_access('regress_app', 'ingest'), msgstore.grant_access('regress_app', 'read');
SELECT levels FROM pg_temp.levels('regress_app');
SELECT msgstore.revoke_access('regress_app', 'ingest');
SELECT levels, has_function_privilege('regress_app', 'msgstore.authenticate(text)', 'EXECUTE') FROM pg_temp.levels('regress_app');
SELECT msgstore.grant_access('regress_app', 'operate');
SELECT levels FROM pg_temp.levels('regress_app');
-- operate is granted with the other levels and revoked alone.
SELECT msgstore.revoke_access('regress_app', 'operate');
SELECT levels FROM pg_temp.levels('regress_app');
SELECT msgstore.revoke_access('regress_app', 'process'), msgstore.revoke_access('regress_app', 'process');
SELECT levels FROM pg_temp.levels('regress_app');
-- Revoking all levels leaves nothing, even for a renamed role.
ALTER ROLE regress_app RENAME TO "Regress app";
SELECT msgstore.grant_access('"Regress app"', 'process');
SELECT levels FROM pg_temp.levels('"Regress app"');
SELECT msgstore.revoke_access('"Regress app"');
SELECT * FROM pg_temp.levels('"Regress app"');
DROP ROLE "Regress app";

-- Invalid levels and roles.
CREATE ROLE regress_app;
SELECT public.refused($$SELECT msgstore.grant_access('regress_app', 'root')$$);
SELECT public.refused($$SELECT msgstore.grant_access('regress_app', NULL)$$);
SELECT public.refused($$SELECT msgstore.revoke_access('regress_app', 'root')$$);
SELECT public.refused($$SELECT msgstore.grant_access('regress_nobody', 'read')$$);
SELECT public.refused($$SELECT msgstore.grant_access('-', 'read')$$);
SELECT public.refused($$SELECT msgstore.revoke_access(NULL)$$);

-- EXECUTE on grant_access does not let a role grant what it does not own.
GRANT USAGE ON SCHEMA msgstore TO regress_app;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA msgstore TO regress_app;
SET ROLE regress_app;
SELECT msgstore.grant_access('regress_app', 'operate') AS refused;
RESET ROLE;
DROP OWNED BY regress_app;
DROP ROLE regress_app;

-- check() finds missing row security, policies and views, and its statements
-- restore them.
CREATE FUNCTION public.guards() RETURNS text LANGUAGE sql AS $$
    SELECT md5(string_agg(g, E'\n' ORDER BY g)) FROM (
        SELECT concat_ws(' ', tablename, policyname, permissive, roles, cmd, qual, with_check) AS g
        FROM pg_policies WHERE schemaname = 'msgstore'
        UNION ALL SELECT concat_ws(' ', oid::regclass, relrowsecurity, relforcerowsecurity, reloptions)
        FROM pg_class WHERE relnamespace = 'msgstore'::regnamespace AND relkind IN ('r', 'v')) all_of_them $$;
SELECT public.guards() AS guards \gset
ALTER TABLE msgstore.messages DISABLE ROW LEVEL SECURITY;
ALTER TABLE msgstore.event_log NO FORCE ROW LEVEL SECURITY;
ALTER VIEW msgstore.inbound_events RESET (security_invoker);
DROP POLICY tenant_scope ON msgstore.responses;
ALTER EXTENSION msgstore DROP VIEW msgstore.host_entries_current;
DROP VIEW msgstore.host_entries_current;
ALTER EXTENSION msgstore DROP VIEW msgstore.dead_letter_events;
DROP VIEW msgstore.dead_letter_events;
SELECT finding, subject, detail FROM msgstore.check();
DO $$
DECLARE
    f record;
BEGIN
    FOR f IN SELECT * FROM msgstore.check() LOOP
        EXECUTE f.repair;
    END LOOP;
END $$;
SELECT finding, subject FROM msgstore.check();
SELECT public.guards() = :'guards' AS as_before;
DROP FUNCTION public.guards;
DROP FUNCTION public.refused;
DROP EXTENSION msgstore;
