-- cluster: what becomes of each table when a tenant moves to another database.

-- The one place that says so; a test fails when a table has no class. replicated: by
-- logical replication, while the tenant is in use. exported: queues, which would be
-- replicated twice for each row. rebuilt: from other tables. published: by
-- publish_settings(), as the router keeps them. local: they belong to the database.
CREATE FUNCTION msgstore._table_classes() RETURNS TABLE (class text, name text)
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT c.class, n.name
    FROM (VALUES
        ('replicated', '{
            event_log,idempotency_keys,id_conflicts,refused_events,dead_letters,
            conversation_rows,conversation_activity,conversation_changes,
            conversation_states,read_marks,messages,
            search_entries,search_addresses,search_changes,search_configurations,
            outbound_payloads,deliveries,delivery_statuses,opt_outs,consent_log,
            source_tokens,attachments,thread_ids,message_parts,
            accounts,account_secrets,destinations,destination_secrets,
            stream_events,stream_event_keys,snapshots,
            stream_subscriptions,stream_consumers,parked_events,
            stream_retention,stream_seals,stream_removals,host_log,host_entries,
            responses,response_conversations,response_conversation_items,
            response_turns,response_events,response_usage,response_usage_changes,
            response_audit,response_search_changes,response_search_entries,
            operations_log}'),
        ('exported', '{
            event_queue,event_claims,conversation_holds,event_failures,outbox,
            destination_news,notifications}'),
        ('rebuilt', '{conversation_counts,conversation_tallies}'),
        ('published', '{
            channels,tenant_limits,api_keys,signature_schemes,providers,
            provider_rules,sources,source_secrets}'),
        ('local', '{
            live_changes,live_horizon,purge_progress,purge_skipped,projections,
            handlers,worker_pause,status_words,provider_apis,provider_requests,
            installed_objects,node_state,slot_exceptions,tenant_fences}')
    ) AS c (class, names),
    unnest(c.names::text[]) AS n (name)
    $$;

-- Their rows of a tenant are removed by drop_tenant().
CREATE FUNCTION msgstore._tenant_tables() RETURNS TABLE (class text, name text)
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT c.class, c.name FROM msgstore._table_classes() c
    WHERE c.class IN ('replicated', 'exported', 'rebuilt')
        OR c.name IN ('live_changes', 'purge_skipped', 'projections')
    $$;

CREATE FUNCTION msgstore._publication_name(tenant text) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT 'msgstore_tenant_' || left(encode(sha256(convert_to(tenant, 'UTF8')), 'hex'), 16)
    $$;

CREATE FUNCTION msgstore.tenant_publication(tenant text) RETURNS text
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    publication CONSTANT text := msgstore._publication_name(tenant);
BEGIN
    PERFORM msgstore._check_no_tenant('publications');
    PERFORM msgstore._check_tenant(tenant);
    IF current_setting('wal_level') <> 'logical' THEN
        RAISE EXCEPTION 'tenant "%" cannot be replicated', left(tenant, 64)
            USING ERRCODE = 'MS409',
                  DETAIL = format('The setting wal_level is "%s".', current_setting('wal_level')),
                  HINT = 'Set wal_level to "logical" and restart the server.';
    END IF;
    EXECUTE format('DROP PUBLICATION IF EXISTS %I', publication);
    EXECUTE (
        SELECT format('CREATE PUBLICATION %I FOR TABLE %s', publication,
                      string_agg(format('msgstore.%I WHERE (tenant_id = %L)', t.name, tenant), ', '))
        FROM msgstore._tenant_tables() t
        WHERE t.class = 'replicated');
    RETURN publication;
END
$$;

CREATE FUNCTION msgstore._digest_table(name text, tenant text, OUT row_count bigint, OUT digest text)
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    -- A row as text must be the same on both sides.
    SET timezone = 'UTC'
    SET datestyle = 'ISO'
    SET intervalstyle = 'postgres'
    SET bytea_output = 'hex'
    SET extra_float_digits = 1
    AS $$
BEGIN
    -- Keys that expire are removed by any call, on either side.
    EXECUTE format(
        'SELECT count(*), coalesce(sum((''x'' || left(md5(t::text), 16))::bit(64)::bigint), 0)::text'
        ' FROM msgstore.%I t WHERE t.tenant_id = $1 %s', name,
        CASE name WHEN 'idempotency_keys' THEN 'AND t.expires_at IS NULL' END)
    INTO row_count, digest USING tenant;
END
$$;

CREATE FUNCTION msgstore.tenant_digest(tenant text)
    RETURNS TABLE (table_name text, row_count bigint, digest text)
    LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    PERFORM msgstore._check_tenant(tenant);
    RETURN QUERY
    SELECT t.name, d.row_count, d.digest
    FROM msgstore._tenant_tables() t
    CROSS JOIN LATERAL msgstore._digest_table(t.name, tenant) d
    WHERE t.class IN ('replicated', 'exported')
    ORDER BY t.name COLLATE "C";
END
$$;

REVOKE ALL ON FUNCTION msgstore._table_classes() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._tenant_tables() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._publication_name(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.tenant_publication(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._digest_table(text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.tenant_digest(text) FROM PUBLIC;

COMMENT ON FUNCTION msgstore._table_classes() IS
    'Returns what becomes of each table when a tenant moves: replicated, exported, rebuilt, published or local';
COMMENT ON FUNCTION msgstore._tenant_tables() IS
    'Returns the tables whose rows belong to a tenant in this database';
COMMENT ON FUNCTION msgstore._publication_name(text) IS
    'Returns the name of a tenant''s publication';
COMMENT ON FUNCTION msgstore.tenant_publication(text) IS
    'Creates a publication of the tenant''s rows, for a subscription of the database that the tenant moves to, and returns its name. Replaces a former one. Raises MS400 for an invalid name, MS403 in a session of a tenant, MS409 if wal_level is not logical';
COMMENT ON FUNCTION msgstore._digest_table(text, text) IS
    'Returns the number of a tenant''s rows in a table and a digest that does not depend on their order';
COMMENT ON FUNCTION msgstore.tenant_digest(text) IS
    'Returns, for each table that moves with a tenant, the number of its rows and a digest of them: equal in two databases with the same rows. Idempotency keys that expire are left out. Reads all rows of the tenant. Raises MS400 for an invalid name, MS403 in the session of another tenant';
