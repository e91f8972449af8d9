-- maintenance: readiness, whether an event that is accepted now would be stored
-- and processed.

CREATE FUNCTION msgstore._library(
    OUT versions text[],
    OUT preloaded boolean,
    OUT processed_outside_at timestamptz)
    LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED
    AS 'MODULE_PATHNAME', 'msgstore_library';

-- For everybody, as version() of the server is.
CREATE FUNCTION msgstore.version() RETURNS text
    LANGUAGE c STABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'msgstore_version';

-- All functions work without preloading, so it is no error.
DO $$
BEGIN
    IF NOT (SELECT l.preloaded FROM msgstore._library() l) THEN
        RAISE WARNING 'library "msgstore" is not preloaded'
            USING ERRCODE = 'MS503',
                  DETAIL = 'Without preloading, no worker processes events.',
                  HINT = 'Add msgstore to "shared_preload_libraries" and restart the server.';
    END IF;
END
$$;

-- Event ids are in order of acceptance, and a retry has the time at which it is
-- due. Looks at a few rows only, so that it costs the same however long the
-- queue is: where nobody processes, the events of every tenant are old.
CREATE FUNCTION msgstore._oldest_due(scope text) RETURNS interval
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off
    SET enable_bitmapscan = off
    SET enable_sort = off
    AS $$
DECLARE
    most_tenants CONSTANT int := 20;
    most_events CONSTANT int := 20;
    tenant text := scope;
    due_since timestamptz;
    age_us bigint := 0;
    tenant_age_us bigint;
BEGIN
    IF scope = '' THEN
        SELECT q.next_attempt_at INTO due_since
        FROM msgstore.event_queue q
        WHERE q.next_attempt_at < now()
        ORDER BY q.next_attempt_at, q.event_id LIMIT 1;
        tenant := (
            SELECT q.tenant_id FROM msgstore.event_queue q
            ORDER BY q.tenant_id, q.event_id LIMIT 1);
    END IF;
    FOR n IN 1..most_tenants LOOP
        EXIT WHEN tenant IS NULL;
        SELECT max(msgstore._event_age_us(e.event_id))
                   FILTER (WHERE e.next_attempt_at IS NULL),
               least(due_since, min(e.next_attempt_at)
                   FILTER (WHERE e.next_attempt_at < now()))
        INTO tenant_age_us, due_since
        FROM (
            SELECT q.event_id, q.next_attempt_at FROM msgstore.event_queue q
            WHERE q.tenant_id = tenant
            ORDER BY q.tenant_id, q.event_id LIMIT most_events) e;
        age_us := greatest(age_us, tenant_age_us);
        EXIT WHEN scope <> '';
        tenant := (
            SELECT q.tenant_id FROM msgstore.event_queue q
            WHERE q.tenant_id > tenant
            ORDER BY q.tenant_id, q.event_id LIMIT 1);
    END LOOP;
    RETURN greatest(age_us * interval '1 microsecond', clock_timestamp() - due_since);
END
$$;

-- Whether a session outside the workers has processed events in this period:
-- as the library has seen it, or as claims and the newest events show.
CREATE FUNCTION msgstore._is_processed_outside(period interval) RETURNS boolean
    LANGUAGE plpgsql STABLE STRICT PARALLEL RESTRICTED
    SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off
    SET enable_bitmapscan = off
    SET enable_sort = off
    AS $$
DECLARE
    since CONSTANT timestamptz := clock_timestamp() - period;
    newest_events CONSTANT int := 5;
BEGIN
    RETURN coalesce((SELECT l.processed_outside_at > since FROM msgstore._library() l), false)
        OR EXISTS (
            SELECT FROM (
                SELECT c.renewed_at FROM msgstore.event_claims c
                ORDER BY c.expires_at DESC LIMIT 1) c
            WHERE c.renewed_at > since)
        OR EXISTS (
            SELECT FROM (
                SELECT l.tenant_id, l.id
                FROM msgstore._log_tenants() t
                CROSS JOIN LATERAL (
                    SELECT l.tenant_id, l.id FROM msgstore.event_log l
                    WHERE l.tenant_id = t
                    ORDER BY l.id DESC LIMIT newest_events) l
                ORDER BY l.id DESC LIMIT newest_events) l
            JOIN msgstore.messages m
                ON m.tenant_id = l.tenant_id AND m.id = l.id
                AND m.inbound_event_id = l.id
            WHERE m.created_at > since);
END
$$;

CREATE FUNCTION msgstore._readiness_of_server(max_event_age interval)
    RETURNS TABLE (finding text, severity text, detail text, hint text)
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    -- First, because it loads the library, which defines the settings.
    library record := msgstore._library();
    -- A processor that does not renew its claims in this time has lost them.
    period CONSTANT interval :=
        greatest(3 * current_setting('msgstore.claim_timeout')::interval, '1 minute');
    preload_hint CONSTANT text :=
        'Add msgstore to "shared_preload_libraries" and restart the server.';
    version CONSTANT text := (
        SELECT e.extversion FROM pg_extension e WHERE e.extname = 'msgstore');
    outside boolean;
    age interval;
BEGIN
    IF version <> ALL (library.versions) THEN
        RETURN QUERY VALUES (
            'unknown extension version', 'error',
            format('The library "msgstore" supports version %s; the extension has version "%s".',
                   (SELECT string_agg('"' || v || '"', ', ') FROM unnest(library.versions) v),
                   version),
            'Run ALTER EXTENSION msgstore UPDATE, or install the library of that version and restart the server.');
    END IF;
    IF pg_is_in_recovery() THEN
        RETURN QUERY VALUES (
            'server in recovery', 'error',
            'The server accepts no events while it is a standby or recovers.',
            'Connect to the primary server.');
        RETURN;
    END IF;
    IF current_setting('default_transaction_read_only')::boolean THEN
        RETURN QUERY VALUES (
            'read-only transactions', 'error',
            'Transactions are read-only, so no events can be stored.',
            'Set "default_transaction_read_only" to off for this role and database.');
    END IF;

    IF NOT EXISTS (SELECT FROM msgstore._stat_worker() w WHERE w.pid IS NOT NULL) THEN
        outside := msgstore._is_processed_outside(period);
        RETURN QUERY
        SELECT CASE WHEN library.preloaded THEN 'no worker' ELSE 'library not preloaded' END,
               CASE WHEN outside THEN 'warning' ELSE 'error' END,
               CASE WHEN library.preloaded
                    THEN 'No worker of this database is running.'
                    ELSE 'Without preloading, no worker processes events.' END
               || CASE WHEN outside
                       THEN ' Other sessions process events.'
                       ELSE format(' No other session has processed events for %s.', period) END,
               CASE WHEN NOT library.preloaded THEN preload_hint
                    WHEN current_setting('msgstore.workers') = '0'
                        THEN 'Set "msgstore.workers" to at least 1, or process events with process() or claim().'
                    ELSE 'Look for errors of the msgstore launcher and workers in the server log.' END;
    END IF;

    IF EXISTS (SELECT FROM msgstore.worker_pause) THEN
        RETURN QUERY
        SELECT 'workers paused', 'warning',
               format('The workers have been paused since %s by %s%s.', p.paused_at, p.paused_by,
                      coalesce(format(' ("%s")', p.reason), '')),
               'Run SELECT msgstore.resume_workers() to go on.'
        FROM msgstore.worker_pause p;
    END IF;

    age := msgstore._oldest_due(msgstore._tenant_scope());
    IF age > max_event_age THEN
        RETURN QUERY VALUES (
            'old event in queue', 'warning',
            format('An event has been due for %s.', date_trunc('second', age)),
            'See stat_worker, event_failures and pg_locks for what keeps the workers.');
    END IF;
END
$$;

-- The functions that the gateway calls, by the access level that grants them. It
-- is inlined, because it has no SET clause.
CREATE FUNCTION msgstore._gateway_functions()
    RETURNS TABLE (level text, severity text, name name)
    LANGUAGE sql IMMUTABLE PARALLEL SAFE ROWS 20
    AS $$
    SELECT g.level, g.severity, n.name
    FROM (VALUES
        ('ingest', 'error', '{ingest_batch,has_api_keys,authenticate,tenant_limit}'),
        ('ingest', 'warning', '{
            send,receive_webhook,webhook_limits,tenant_slot,_cluster_map,_check_slot_here,record_status,update_conversation,
            append_batch,save_response,cancel_response,
            create_response_conversation,update_response_conversation,
            delete_response_conversation,add_conversation_items,
            delete_conversation_item}'),
        ('read', 'warning', '{
            list_conversations,list_messages,get_conversation,mark_read,mark_unread,
            search_messages,search_conversations,
            get_attachment,_conversation_id,_live_feed,_live_wait,stream_page,event_page,list_subscriptions,
            get_response,response_with_chain,list_responses,
            search_responses,response_input_items,response_event_stream,
            get_response_conversation,list_conversation_items,
            get_conversation_item,metrics,metrics_detail,_sending_page}')
    ) AS g (level, severity, names),
    pg_catalog.unnest(g.names::name[]) AS n (name)
    $$;

CREATE FUNCTION msgstore._readiness_of_role(role name)
    RETURNS TABLE (finding text, severity text, detail text, hint text)
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    RETURN QUERY
    SELECT 'missing privileges', g.severity,
           format('Role "%s" has no EXECUTE privilege on %s.', role,
                  string_agg(p.oid::regprocedure::text, ', '
                             ORDER BY p.oid::regprocedure::text COLLATE "C")),
           format('Run SELECT msgstore.grant_access(%L, %L).', quote_ident(role), g.level)
    FROM msgstore._gateway_functions() g
    JOIN pg_proc p ON p.proname = g.name
        AND p.pronamespace = 'msgstore'::regnamespace
    WHERE NOT has_function_privilege(role, p.oid, 'EXECUTE')
    GROUP BY g.level, g.severity
    ORDER BY g.level, g.severity;

    IF NOT has_parameter_privilege(role, 'msgstore.tenant_id', 'SET')
        AND msgstore.has_api_keys()
    THEN
        RETURN QUERY VALUES (
            'tenant cannot be set', 'error',
            format('There are API keys, but role "%s" may not set the tenant of a request.',
                   role),
            format('Run GRANT SET ON PARAMETER msgstore.tenant_id TO %I.', role));
    END IF;
END
$$;

CREATE FUNCTION msgstore._readiness(role name, max_event_age interval)
    RETURNS TABLE (finding text, severity text, detail text, hint text)
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    RETURN QUERY SELECT * FROM msgstore._readiness_of_server(max_event_age);
    RETURN QUERY SELECT * FROM msgstore._readiness_of_role(role);
END
$$;

-- Not SECURITY DEFINER, so that current_user is the caller.
CREATE FUNCTION msgstore.readiness(max_event_age interval DEFAULT '5 minutes')
    RETURNS TABLE (finding text, severity text, detail text, hint text)
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    RETURN QUERY SELECT * FROM msgstore._readiness(current_user, max_event_age);
END
$$;

REVOKE ALL ON FUNCTION msgstore._library() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._oldest_due(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._is_processed_outside(interval) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._readiness_of_server(interval) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._gateway_functions() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._readiness_of_role(name) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._readiness(name, interval) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.readiness(interval) FROM PUBLIC;

COMMENT ON FUNCTION msgstore._library() IS
    'Returns the versions of the extension that the loaded library supports, whether it was preloaded, and when a session other than a worker last called process() or claim()';
COMMENT ON FUNCTION msgstore.version() IS
    'Returns the release of the loaded library. The version of the SQL objects is in pg_extension.extversion';
COMMENT ON FUNCTION msgstore._oldest_due(text) IS
    'Returns how long an event of the tenant, or of any tenant if empty, has been due. Examines the oldest events of at most 20 tenants';
COMMENT ON FUNCTION msgstore._is_processed_outside(interval) IS
    'Returns whether sessions other than workers have processed or claimed events in this period';
COMMENT ON FUNCTION msgstore._readiness_of_server(interval) IS
    'Returns the findings of readiness() that do not depend on the calling role';
COMMENT ON FUNCTION msgstore._gateway_functions() IS
    'Returns the functions that the gateway calls, the access level that includes them, and the severity of a missing privilege';
COMMENT ON FUNCTION msgstore._readiness_of_role(name) IS
    'Returns the findings of readiness() about the privileges of a role';
COMMENT ON FUNCTION msgstore._readiness(name, interval) IS
    'Returns the findings of readiness() for a role';
COMMENT ON FUNCTION msgstore.readiness(interval) IS
    'Returns one row for each reason why an event accepted now might not be stored and processed: its severity (error or warning) and what to do. Examines the library, the workers, the age of the oldest due event (a warning from max_event_age on), and the calling role''s privileges on the functions that the gateway uses. No rows: ready';
