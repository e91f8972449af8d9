-- access: who may do what. Levels of rights on the functions, API keys, limits
-- of tenants, and the policies of every table that has a tenant. It comes last,
-- for it speaks of all that the other rooms have made.

-- A key is shown once; what is kept of it cannot be turned back into it.
CREATE TABLE msgstore.api_keys (
    tenant_id text COLLATE "C" NOT NULL,
    prefix text COLLATE "C" NOT NULL,
    key_hash bytea NOT NULL,
    scopes text[] COLLATE "C" NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at timestamptz,
    last_used_at timestamptz,
    revoked_at timestamptz,
    CONSTRAINT api_keys_pkey PRIMARY KEY (tenant_id, prefix),
    CONSTRAINT api_keys_hash_length CHECK (octet_length(key_hash) = 32)
) WITH (fillfactor = 80);

-- A key says nothing of its tenant.
CREATE INDEX api_keys_prefix_idx ON msgstore.api_keys (prefix);

CREATE TABLE msgstore.tenant_limits (
    tenant_id text COLLATE "C" NOT NULL,
    requests_per_second int NOT NULL,
    burst int NOT NULL,
    CONSTRAINT tenant_limits_pkey PRIMARY KEY (tenant_id),
    CONSTRAINT tenant_limits_rate CHECK (requests_per_second > 0),
    CONSTRAINT tenant_limits_burst CHECK (burst > 0)
);

SELECT pg_catalog.pg_extension_config_dump('msgstore.api_keys', '');
SELECT pg_catalog.pg_extension_config_dump('msgstore.tenant_limits', '');

CREATE FUNCTION msgstore._random_hex(bytes int) RETURNS text
    LANGUAGE c VOLATILE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'msgstore_random_hex';

CREATE FUNCTION msgstore._same_bytes(a bytea, b bytea) RETURNS boolean
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'msgstore_same_bytes';

CREATE FUNCTION msgstore._key_scopes() RETURNS text[]
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN '{ingest,send,read,responses,operate}'::text[];

-- The key itself is in expressions only, never in a statement: what logs the
-- statements of functions does not meet it.
CREATE FUNCTION msgstore.create_api_key(
    tenant text,
    scopes text[],
    expires_at timestamptz DEFAULT NULL)
    RETURNS text
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    key_prefix text;
    key text;
    digest bytea;
BEGIN
    PERFORM msgstore._check_tenant(tenant);
    IF scopes IS NULL OR cardinality(scopes) = 0
        OR array_position(scopes, NULL) IS NOT NULL
        OR NOT scopes <@ msgstore._key_scopes()
    THEN
        RAISE EXCEPTION 'scopes % are not those of an API key',
            coalesce('"' || left(scopes::text, 100) || '"', 'null')
            USING ERRCODE = 'MS400',
                  DETAIL = 'A key has at least one of "ingest", "send", "read", "responses", "operate".';
    END IF;
    IF expires_at <= clock_timestamp() THEN
        RAISE EXCEPTION 'value % of "expires_at" is in the past', expires_at
            USING ERRCODE = 'MS400',
                  DETAIL = 'A key ends in the future, or with null never.';
    END IF;

    LOOP
        key_prefix := msgstore._random_hex(8);
        EXIT WHEN NOT EXISTS (
            SELECT FROM msgstore.api_keys k WHERE k.prefix = key_prefix);
    END LOOP;
    key := 'mk_' || key_prefix || '_' || msgstore._random_hex(24);
    digest := sha256(convert_to(key, 'UTF8'));
    INSERT INTO msgstore.api_keys (tenant_id, prefix, key_hash, scopes, expires_at)
    SELECT tenant, key_prefix, digest, array_agg(s ORDER BY n), create_api_key.expires_at
    FROM unnest(msgstore._key_scopes()) WITH ORDINALITY AS u (s, n)
    WHERE s = ANY (create_api_key.scopes);
    RETURN key;
END
$$;

CREATE FUNCTION msgstore.revoke_api_key(prefix text) RETURNS boolean
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    scope CONSTANT text := msgstore._tenant_scope();
BEGIN
    UPDATE msgstore.api_keys k
    SET revoked_at = clock_timestamp()
    WHERE k.prefix = revoke_api_key.prefix
        AND k.revoked_at IS NULL
        AND scope IN ('', k.tenant_id);
    RETURN FOUND;
END
$$;

CREATE FUNCTION msgstore.list_api_keys()
    RETURNS TABLE (
        prefix text,
        tenant_id text,
        scopes text[],
        created_at timestamptz,
        expires_at timestamptz,
        last_used_at timestamptz,
        revoked_at timestamptz)
    LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER ROWS 100
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
DECLARE
    scope CONSTANT text := msgstore._tenant_scope();
BEGIN
    RETURN QUERY
    SELECT k.prefix, k.tenant_id, k.scopes, k.created_at, k.expires_at,
           k.last_used_at, k.revoked_at
    FROM msgstore.api_keys k
    WHERE scope IN ('', k.tenant_id)
    ORDER BY k.tenant_id, k.created_at, k.prefix;
END
$$;

-- For a gateway that would be of no use without.
CREATE FUNCTION msgstore.has_api_keys() RETURNS boolean
    LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    scope CONSTANT text := msgstore._tenant_scope();
BEGIN
    RETURN EXISTS (
        SELECT FROM msgstore.api_keys k
        WHERE k.revoked_at IS NULL
            AND coalesce(k.expires_at, 'infinity') > clock_timestamp()
            AND scope IN ('', k.tenant_id));
END
$$;

-- Once a minute is often enough, and never worth waiting or failing for.
CREATE FUNCTION msgstore._note_key_use(tenant text, key_prefix text) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean THEN
        RETURN;
    END IF;
    UPDATE msgstore.api_keys k
    SET last_used_at = clock_timestamp()
    FROM (
        SELECT u.tenant_id, u.prefix FROM msgstore.api_keys u
        WHERE u.tenant_id = tenant AND u.prefix = key_prefix
            AND u.revoked_at IS NULL
        FOR UPDATE SKIP LOCKED) u
    WHERE k.tenant_id = u.tenant_id AND k.prefix = u.prefix;
EXCEPTION
    WHEN serialization_failure THEN
        RETURN;
END
$$;

-- Whatever is wrong with a key, the same is done before nothing is said.
CREATE FUNCTION msgstore.authenticate(key text)
    RETURNS TABLE (
        prefix text,
        tenant_id text,
        scopes text[],
        expires_at timestamptz,
        requests_per_second int,
        burst int)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER ROWS 1
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
DECLARE
    scope CONSTANT text := msgstore._tenant_scope();
    key_prefix text;
    digest bytea;
    found_key msgstore.api_keys;
    same boolean;
    in_force boolean;
BEGIN
    IF key IS NULL OR key !~ '^mk_[0-9a-f]{16}_[0-9a-f]{48}$' THEN
        RETURN;
    END IF;
    key_prefix := substr(key, 4, 16);
    digest := sha256(convert_to(key, 'UTF8'));
    SELECT * INTO found_key FROM msgstore.api_keys k WHERE k.prefix = key_prefix;
    same := msgstore._same_bytes(
        digest, coalesce(found_key.key_hash, sha256('no such key')));
    in_force := found_key.revoked_at IS NULL
        AND coalesce(found_key.expires_at, 'infinity') > clock_timestamp()
        AND scope IN ('', found_key.tenant_id);
    IF same AND in_force THEN
        NULL;
    ELSE
        RETURN;
    END IF;
    IF found_key.last_used_at IS NULL
        OR found_key.last_used_at < clock_timestamp() - interval '1 minute'
    THEN
        PERFORM msgstore._note_key_use(found_key.tenant_id, key_prefix);
    END IF;
    RETURN QUERY
    SELECT found_key.prefix, found_key.tenant_id, found_key.scopes,
           found_key.expires_at, l.requests_per_second, l.burst
    FROM (SELECT) AS one
    LEFT JOIN msgstore.tenant_limits l ON l.tenant_id = found_key.tenant_id;
END
$$;

CREATE FUNCTION msgstore.set_tenant_limit(
    tenant text,
    requests_per_second int,
    burst int DEFAULT NULL)
    RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
DECLARE
    field CONSTANT text := CASE
        WHEN set_tenant_limit.requests_per_second < 1 THEN 'requests_per_second'
        WHEN set_tenant_limit.burst < 1 THEN 'burst' END;
BEGIN
    PERFORM msgstore._check_no_tenant('the limit of a tenant');
    PERFORM msgstore._check_tenant(tenant);
    IF field IS NOT NULL THEN
        RAISE EXCEPTION 'value % of "%" is not a limit', CASE field
                WHEN 'burst' THEN set_tenant_limit.burst
                ELSE set_tenant_limit.requests_per_second END, field
            USING ERRCODE = 'MS400',
                  DETAIL = 'A limit is at least 1.',
                  HINT = 'A null "requests_per_second" removes the limit.';
    END IF;
    IF set_tenant_limit.requests_per_second IS NULL THEN
        DELETE FROM msgstore.tenant_limits l WHERE l.tenant_id = tenant;
        RETURN;
    END IF;
    INSERT INTO msgstore.tenant_limits (tenant_id, requests_per_second, burst)
    VALUES (tenant, set_tenant_limit.requests_per_second,
            coalesce(set_tenant_limit.burst, set_tenant_limit.requests_per_second))
    ON CONFLICT (tenant_id) DO UPDATE
    SET requests_per_second = excluded.requests_per_second,
        burst = excluded.burst;
END
$$;

CREATE FUNCTION msgstore.list_tenant_limits()
    RETURNS TABLE (tenant_id text, requests_per_second int, burst int)
    LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER ROWS 100
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
DECLARE
    scope CONSTANT text := msgstore._tenant_scope();
BEGIN
    RETURN QUERY
    SELECT l.tenant_id, l.requests_per_second, l.burst
    FROM msgstore.tenant_limits l
    WHERE scope IN ('', l.tenant_id)
    ORDER BY l.tenant_id;
END
$$;

CREATE FUNCTION msgstore.tenant_limit(
    tenant text,
    OUT requests_per_second int,
    OUT burst int)
    LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
BEGIN
    PERFORM msgstore._check_tenant(tenant);
    SELECT l.requests_per_second, l.burst
    INTO tenant_limit.requests_per_second, tenant_limit.burst
    FROM msgstore.tenant_limits l WHERE l.tenant_id = tenant;
END
$$;

-- The one place that says which right belongs to which level. What is in
-- several stays while one of them does.
CREATE FUNCTION msgstore._access_rights()
    RETURNS TABLE (level text, kind text, name text)
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT l.level, r.kind, n.name
    FROM (VALUES
        ('{ingest,read,process,operate}', 'schema', '{msgstore}'),
        ('{ingest,read}', 'function', '{authenticate,has_api_keys,tenant_limit}'),
        -- Providers report to a gateway, or to whoever sends.
        ('{ingest,process}', 'function', '{record_status}'),
        ('{ingest}', 'function', '{
            ingest,ingest_batch,send,
            append,append_batch,save_snapshot,
            new_ulid,ulid_after,validate_host,_is_ip_address,_is_hostname,
            append_host_events,append_host_batch,
            save_response,save_background,save_background_request,
            delete_response,cancel_response}'),
        ('{read}', 'function', '{
            list_conversations,list_messages,
            read_stream,read_stream_backwards,read_category,read_all,
            wait_for_events,stream_version,count_events,last_event,list_streams,
            latest_position,latest_event_id,stream_state,stream_category,
            merge_patch,fold,last_known,_last_known,get_snapshot,list_snapshots,
            load_host_events,host_version,host_sequence,count_host_events,
            list_host_ids,latest_host_event_id,list_hosts,host_by_id,
            host_by_ip_and_hostname,search_hosts,hosts_at,hosts_health,
            _uuid_to_ulid,_host_change,_host_time_field,
            get_response,get_response_for_chain,response_chain,chain_items,
            branches,list_responses,response_input_items,
            metrics,metrics_detail,channel_metrics,latency_histogram}'),
        ('{read}', 'table', '{
            inbound_events,outbound_messages,conversations,channels,
            delivery_statuses,host_events,host_entries_current,
            host_entries_history,
            event_queue,event_claims,event_failures,outbox,deliveries}'),
        -- Views read with the reader's rights, so that policies hold there too.
        ('{read,operate}', 'table', '{event_log,messages,dead_letters}'),
        ('{process}', 'function', '{
            process,claim,heartbeat,complete,fail,reap_stale,
            claim_outbound,heartbeat_outbound,sent,send_failed,reap_outbound,
            fetch,ack,park,list_parked,replay_parked,
            claim_response,heartbeat_response,update_response,
            stale_responses,reap_responses}'),
        ('{operate}', 'function', '{
            requeue,requeue_dead_letters,replay,purge,erase_address,check,recount,
            add_handler,remove_handler,
            create_subscription,drop_subscription,resize_subscription,
            compact_stream,compact_host,delete_snapshot,apply_snapshot_retention,
            cleanup_responses,purge_responses,
            create_api_key,revoke_api_key,list_api_keys,
            set_tenant_limit,list_tenant_limits,_stat_worker}'),
        ('{operate}', 'table', '{
            dead_letter_events,operations_log,stat_worker}')
    ) AS r (levels, kind, names),
    unnest(r.levels::text[]) AS l (level),
    unnest(r.names::text[]) AS n (name)
    $$;

-- Objects of these levels, as GRANT and REVOKE name them; null for none.
CREATE FUNCTION msgstore._rights_clause(levels text[], kept text[])
    RETURNS TABLE (privilege text, clause text)
    LANGUAGE sql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT CASE r.kind WHEN 'schema' THEN 'USAGE' WHEN 'table' THEN 'SELECT'
                       ELSE 'EXECUTE' END,
           CASE r.kind WHEN 'function' THEN 'ROUTINE ' ELSE r.kind || ' ' END
           || string_agg(DISTINCT CASE r.kind
                  WHEN 'schema' THEN quote_ident(r.name)
                  WHEN 'table' THEN format('msgstore.%I', r.name)
                  ELSE p.oid::regprocedure::text END, ', ')
    FROM msgstore._access_rights() r
    LEFT JOIN pg_proc p ON r.kind = 'function'
        AND p.proname = r.name AND p.pronamespace = 'msgstore'::regnamespace
    WHERE r.level = ANY (levels)
        AND NOT EXISTS (
            SELECT FROM msgstore._access_rights() k
            WHERE k.kind = r.kind AND k.name = r.name AND k.level = ANY (kept))
    GROUP BY r.kind
    $$;

-- By what was granted to the role itself: the catalog keeps it, under whatever
-- name the role has, and forgets it with the role.
CREATE FUNCTION msgstore._levels_of(role regrole) RETURNS text[]
    LANGUAGE sql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT coalesce(array_agg(DISTINCT r.level), '{}')
    FROM msgstore._access_rights() r
    JOIN pg_proc p ON p.proname = r.name
        AND p.pronamespace = 'msgstore'::regnamespace
    CROSS JOIN LATERAL aclexplode(p.proacl) a
    WHERE r.kind = 'function' AND a.grantee = role
        AND (SELECT count(*) FROM msgstore._access_rights() o
             WHERE o.kind = 'function' AND o.name = r.name) = 1
    $$;

CREATE FUNCTION msgstore._read_level(role regrole, level text) RETURNS text[]
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles r WHERE r.oid = role) THEN
        RAISE EXCEPTION 'role % does not exist', coalesce('"' || role || '"', 'null')
            USING ERRCODE = 'MS404';
    END IF;
    IF level IN ('ingest', 'read', 'process', 'operate') THEN
        RETURN ARRAY[level];
    END IF;
    RAISE EXCEPTION 'level % is unknown', coalesce('"' || left(level, 64) || '"', 'null')
        USING ERRCODE = 'MS400',
              DETAIL = 'A level is one of "ingest", "read", "process", "operate".';
END
$$;

-- Not SECURITY DEFINER: rights are given by who owns them.
CREATE FUNCTION msgstore.grant_access(role regrole, level text) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    levels text[] := msgstore._read_level(role, level);
    r record;
BEGIN
    IF level = 'operate' THEN
        levels := '{ingest,read,process,operate}';
    END IF;
    -- Two at a time would meet in the catalog.
    LOCK TABLE msgstore.installed_objects IN SHARE ROW EXCLUSIVE MODE;
    FOR r IN SELECT * FROM msgstore._rights_clause(levels, '{}') LOOP
        EXECUTE format('GRANT %s ON %s TO %s', r.privilege, r.clause, role);
    END LOOP;
END
$$;

CREATE FUNCTION msgstore.revoke_access(role regrole, level text DEFAULT NULL)
    RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    levels text[] := msgstore._read_level(role, coalesce(level, 'operate'));
    r record;
BEGIN
    IF level IS NULL THEN
        levels := '{ingest,read,process,operate}';
    END IF;
    LOCK TABLE msgstore.installed_objects IN SHARE ROW EXCLUSIVE MODE;
    FOR r IN
        SELECT c.* FROM msgstore._rights_clause(levels, ARRAY(
            SELECT l FROM unnest(msgstore._levels_of(role)) l
            WHERE l <> ALL (levels))) c
    LOOP
        EXECUTE format('REVOKE %s ON %s FROM %s', r.privilege, r.clause, role);
    END LOOP;
END
$$;

-- Every table that has a tenant is read and written within the session's. The
-- owner, too: only who is exempt from row security altogether sees more, as the
-- functions do, which look to it themselves. The setting is read once for each
-- statement. Responses have an owner besides.
DO $$
DECLARE
    t regclass;
BEGIN
    FOR t IN
        SELECT c.oid::regclass
        FROM pg_catalog.pg_class c
        JOIN pg_catalog.pg_attribute a
            ON a.attrelid = c.oid AND a.attname = 'tenant_id'
        WHERE c.relnamespace = 'msgstore'::pg_catalog.regnamespace AND c.relkind IN ('r', 'p')
        ORDER BY 1
    LOOP
        EXECUTE pg_catalog.format(
            'ALTER TABLE %s ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', t);
        EXECUTE pg_catalog.format(
            'CREATE POLICY tenant_scope ON %s'
            ' USING ((SELECT msgstore._tenant_scope()) IN ('''', tenant_id)%s)', t,
            CASE WHEN t = 'msgstore.responses'::pg_catalog.regclass THEN
                ' AND ((SELECT msgstore._owner_scope()) = '''''
                ' OR (SELECT msgstore._owner_scope()) = owner OR owner = '''')'
            END);
    END LOOP;
END
$$;

REVOKE ALL ON FUNCTION msgstore._random_hex(int) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._same_bytes(bytea, bytea) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._key_scopes() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.create_api_key(text, text[], timestamptz) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.revoke_api_key(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.list_api_keys() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.has_api_keys() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._note_key_use(text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.authenticate(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.set_tenant_limit(text, int, int) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.list_tenant_limits() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.tenant_limit(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._access_rights() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._rights_clause(text[], text[]) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._levels_of(regrole) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._read_level(regrole, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.grant_access(regrole, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.revoke_access(regrole, text) FROM PUBLIC;

COMMENT ON TABLE msgstore.api_keys IS
    'API keys of tenants by what they begin with; of the keys themselves only SHA-256';
COMMENT ON TABLE msgstore.tenant_limits IS
    'How many requests a tenant may make; a gateway enforces it';
COMMENT ON COLUMN msgstore.api_keys.prefix IS
    'The second part of the key, by which it is called';
COMMENT ON COLUMN msgstore.api_keys.last_used_at IS
    'Kept to the minute';
COMMENT ON COLUMN msgstore.tenant_limits.burst IS
    'How many at once after a pause';
COMMENT ON FUNCTION msgstore._random_hex(int) IS
    'So many random bytes, which nobody can guess, in hexadecimal';
COMMENT ON FUNCTION msgstore._same_bytes(bytea, bytea) IS
    'Whether they are equal; the time it takes does not tell where they differ';
COMMENT ON FUNCTION msgstore._key_scopes() IS
    'What API keys can be for';
COMMENT ON FUNCTION msgstore.create_api_key(text, text[], timestamptz) IS
    'A new API key of a tenant, mk_<prefix>_<secret>, which cannot be had again. scopes: of ingest, send, read, responses, operate. Raises MS400, MS403 for another tenant';
COMMENT ON FUNCTION msgstore.revoke_api_key(text) IS
    'Ends the key with this prefix; false if there is none in force';
COMMENT ON FUNCTION msgstore.list_api_keys() IS
    'The API keys of the session''s tenant, without what is secret of them';
COMMENT ON FUNCTION msgstore._note_key_use(text, text) IS
    'Notes that a key was used, if nothing is in the way';
COMMENT ON FUNCTION msgstore.authenticate(text) IS
    'Whose the API key is, what for and how often it may be used; no row for a key that is unknown, revoked or expired';
COMMENT ON FUNCTION msgstore.has_api_keys() IS
    'Is there a key that is neither revoked nor expired? A gateway that asks for keys wants to know when it starts';
COMMENT ON FUNCTION msgstore.set_tenant_limit(text, int, int) IS
    'Limits the requests of a tenant; burst is requests_per_second unless given, a null requests_per_second removes the limit. Raises MS400, MS403';
COMMENT ON FUNCTION msgstore.list_tenant_limits() IS
    'The limits of the tenants in scope';
COMMENT ON FUNCTION msgstore.tenant_limit(text) IS
    'The limit of a tenant; nulls: none. Raises MS400, MS403 for another tenant';
COMMENT ON FUNCTION msgstore._access_rights() IS
    'Which functions, tables and views each level of grant_access gives';
COMMENT ON FUNCTION msgstore._rights_clause(text[], text[]) IS
    'The objects of some levels that are in none of the others, for GRANT and REVOKE';
COMMENT ON FUNCTION msgstore._levels_of(regrole) IS
    'The levels that were granted to the role';
COMMENT ON FUNCTION msgstore._read_level(regrole, text) IS
    'The level, when it and the role are there. Raises MS400, MS404';
COMMENT ON FUNCTION msgstore.grant_access(regrole, text) IS
    'Gives a role the rights of a level: ingest, read, process, or operate, which has the others. Raises MS400, MS404';
COMMENT ON FUNCTION msgstore.revoke_access(regrole, text) IS
    'Takes from a role the rights of one level, or of all. Raises MS400, MS404';

SELECT msgstore._note_objects();
