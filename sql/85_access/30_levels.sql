-- access: levels of privileges on functions, tables and views.

-- The one place that says which privileges a level has. A privilege that is in
-- several levels is revoked with the last of them.
CREATE FUNCTION msgstore._access_rights()
    RETURNS TABLE (level text, kind text, name text)
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT l.level, r.kind, n.name
    FROM (VALUES
        ('{ingest,read,process,operate}', 'schema', '{msgstore}'),
        ('{ingest,read,process,operate}', 'function', '{
            readiness,_readiness}'),
        ('{ingest,read}', 'function', '{authenticate,has_api_keys,tenant_limit,tenant_slot}'),
        -- Providers report to the gateway or to a sender.
        ('{ingest,process}', 'function', '{record_status}'),
        -- A sender checks its secrets by the list.
        ('{process,operate}', 'function', '{list_accounts}'),
        -- A gateway or a sender that connects to the slots of a cluster.
        ('{ingest,read,process}', 'function', '{_cluster_map,_check_slot_here}'),
        ('{ingest}', 'function', '{
            ingest,ingest_batch,read_payload,send,opt_out,opt_in,receive_webhook,webhook_limits,
            update_conversation,
            append,append_batch,append_if,save_snapshot,
            new_ulid,ulid_after,validate_host,_is_ip_address,_is_hostname,
            append_host_events,append_host_batch,
            save_response,save_background,save_background_request,
            delete_response,cancel_response,
            create_response_conversation,update_response_conversation,
            delete_response_conversation,add_conversation_items,
            delete_conversation_item}'),
        ('{read}', 'function', '{
            list_conversations,list_messages,get_conversation,
            get_attachment,mark_read,mark_unread,wait_for_changes,_live_feed,_live_wait,
            search_messages,search_conversations,search_status,
            _conversation_id,
            read_stream,read_stream_backwards,read_category,read_all,read_query,
            trace,causation_tree,
            wait_for_events,await_events,_find_event,wait_for,
            list_subscriptions,list_members,stream_page,event_page,stream_version,count_events,last_event,list_streams,
            latest_position,latest_event_id,stream_state,stream_category,
            merge_patch,fold,last_known,_last_known,get_snapshot,list_snapshots,
            load_host_events,host_version,host_sequence,count_host_events,
            list_host_ids,latest_host_event_id,list_hosts,host_by_id,
            host_by_ip_and_hostname,search_hosts,hosts_at,hosts_health,
            _uuid_to_ulid,_host_change,_host_time_field,_check_host_events,
            get_response,get_response_for_chain,response_chain,chain_items,
            response_with_chain,get_response_conversation,
            list_conversation_items,get_conversation_item,
            response_events,response_event_stream,
            list_response_usage,_sending_page,_outbox_overview,_status_overview,
            branches,list_responses,search_responses,response_input_items,
            metrics,metrics_detail,channel_metrics,storage_by_tenant,latency_histogram}'),
        ('{read}', 'table', '{
            inbound_events,outbound_messages,conversations,channels,status_words,
            delivery_statuses,host_events,host_entries_current,
            host_entries_history,
            event_queue,event_claims,event_failures,outbox,outbound_payloads,
            deliveries,opt_outs,consent_log}'),
        -- Views run with the rights of the reader, so that row security applies
        -- to them, too; the reader needs their tables.
        ('{read,operate}', 'table', '{event_log,messages,dead_letters}'),
        ('{read}', 'table', '{
            conversation_rows,conversation_activity,conversation_changes,
            conversation_states,read_marks}'),
        ('{process}', 'function', '{
            index_messages,index_responses,
            process,claim,heartbeat,complete,fail,reap_stale,
            claim_outbound,heartbeat_outbound,sent,send_failed,reap_outbound,
            claim_requests,record_answer,claim_notifications,record_notification,
            claim_media,record_media,
            fetch,ack,park,list_parked,replay_parked,
            fetch_page,
            claim_response,heartbeat_response,update_response,
            append_response_events,
            stale_responses,reap_responses}'),
        ('{operate}', 'function', '{
            _enter,requeue,requeue_dead_letters,resubmit_refused,replay,purge,erase_address,check,recount,
            add_handler,remove_handler,pause_workers,resume_workers,list_operations,_operations_page,_dead_letter_page,rebuild_search,set_search_configuration,
            create_subscription,drop_subscription,resize_subscription,
            seek,rename_subscription,
            create_projection,pause_projection,resume_projection,rebuild_projection,
            retry_parked,list_projections,
            set_stream_retention,list_stream_retention,truncate_stream,tombstone_stream,
            erase_events,seal_log,verify_log,
            compact_stream,compact_host,delete_snapshot,apply_snapshot_retention,
            cleanup_responses,purge_responses,hold_response,rebuild_response_search,
            create_api_key,revoke_api_key,list_api_keys,
            set_tenant_limit,list_tenant_limits,_stat_worker,
            create_source,rotate_source_secret,drop_source,list_sources,
            verify_signature,test_source,fetch_attachment,
            create_account,rotate_account_secret,resume_account,drop_account,
            create_destination,rotate_destination_secret,pause_destination,resume_destination,
            drop_destination,test_destination,list_destinations,
            default_slot,set_slot,set_slot_map,slot_map,
            fence_tenant,wait_for_fence,unfence_tenant,
            tenant_publication,export_tenant,import_tenant,align_sequences,tenant_digest,
            drop_tenant,_drop_publication,_drop_rows,publish_settings}'),
        ('{operate}', 'table', '{
            dead_letter_events,refused_events,id_conflicts,operations_log,response_audit,stat_worker,worker_pause,
            providers,provider_rules,signature_schemes,provider_apis,
            provider_requests,notifications,node_state}')
    ) AS r (levels, kind, names),
    unnest(r.levels::text[]) AS l (level),
    unnest(r.names::text[]) AS n (name)
    $$;

-- Returns one row for each kind of object, for one GRANT or REVOKE each.
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
        -- The router of a cluster has few of the tables.
        AND (r.kind <> 'table' OR EXISTS (
            SELECT FROM pg_class c
            WHERE c.relname = r.name AND c.relnamespace = 'msgstore'::regnamespace
                AND c.relkind IN ('r', 'p', 'v')))
        AND NOT EXISTS (
            SELECT FROM msgstore._access_rights() k
            WHERE k.kind = r.kind AND k.name = r.name AND k.level = ANY (kept))
    GROUP BY r.kind
    $$;

-- Reads the role's own privileges from the catalog, which follows the renaming
-- and the dropping of roles; no table of ours has to.
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
    RAISE EXCEPTION 'invalid access level %', coalesce('"' || left(level, 64) || '"', 'null')
        USING ERRCODE = 'MS400',
              DETAIL = 'The access level must be "ingest", "read", "process" or "operate".';
END
$$;

-- Not SECURITY DEFINER: the caller must own the objects.
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
    -- Concurrent calls would fail with "tuple concurrently updated".
    LOCK TABLE msgstore.channels IN SHARE ROW EXCLUSIVE MODE;
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
    LOCK TABLE msgstore.channels IN SHARE ROW EXCLUSIVE MODE;
    FOR r IN
        SELECT c.* FROM msgstore._rights_clause(levels, ARRAY(
            SELECT l FROM unnest(msgstore._levels_of(role)) l
            WHERE l <> ALL (levels))) c
    LOOP
        EXECUTE format('REVOKE %s ON %s FROM %s', r.privilege, r.clause, role);
    END LOOP;
END
$$;

REVOKE ALL ON FUNCTION msgstore._access_rights() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._rights_clause(text[], text[]) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._levels_of(regrole) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._read_level(regrole, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.grant_access(regrole, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.revoke_access(regrole, text) FROM PUBLIC;

COMMENT ON FUNCTION msgstore._access_rights() IS
    'Returns the functions, tables and views of each access level';
COMMENT ON FUNCTION msgstore._rights_clause(text[], text[]) IS
    'Returns the privileges of these levels that are in none of the kept levels, in the words of GRANT and REVOKE';
COMMENT ON FUNCTION msgstore._levels_of(regrole) IS
    'Returns the levels that were granted to the role itself';
COMMENT ON FUNCTION msgstore._read_level(regrole, text) IS
    'Returns the level as an array. Raises MS400 for an invalid level, MS404 for a role that does not exist';
COMMENT ON FUNCTION msgstore.grant_access(regrole, text) IS
    'Grants a role an access level: ingest, read, process, or operate, which includes the others. Raises MS400 for an invalid level, MS404 for a role that does not exist';
COMMENT ON FUNCTION msgstore.revoke_access(regrole, text) IS
    'Revokes an access level from a role, or all levels if the level is null. Raises MS400 for an invalid level, MS404 for a role that does not exist';
