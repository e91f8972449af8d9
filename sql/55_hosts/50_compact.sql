-- The state of the host does not change, so neither does host_entries.
CREATE FUNCTION msgstore.compact_host(
    aggregate_id text,
    OUT events_before bigint,
    OUT events_after bigint,
    OUT version bigint,
    OUT event_version text)
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = 'force_custom_plan'
    SET timezone = 'UTC'
    AS $$
#variable_conflict use_column
DECLARE
    tenant text := msgstore._tenant_scope();
    own_stream text := msgstore._host_stream(aggregate_id);
    latest uuid := msgstore._lock_hosts();
    entry msgstore.host_entries;
    removed bigint[];
BEGIN
    PERFORM msgstore._check_own_tenant();
    SELECT * INTO version, event_version FROM msgstore._host_head(aggregate_id);
    version := coalesce(version, 0);
    events_before := msgstore.count_events(own_stream);
    events_after := events_before;
    SELECT * INTO entry FROM msgstore.host_entries h
    WHERE h.tenant_id = tenant AND h.id = compact_host.aggregate_id;
    IF events_before <= 1 OR entry.id IS NULL THEN
        RETURN;
    END IF;
    PERFORM msgstore._check_host_events(aggregate_id);
    events_after := 1;
    WITH removed AS (
        DELETE FROM msgstore.stream_events s
        WHERE s.tenant_id = tenant AND s.stream = own_stream
        RETURNING s.global_position)
    SELECT array_agg(r.global_position ORDER BY r.global_position) INTO removed
    FROM removed r;
    PERFORM msgstore._note_removal(tenant, 'compaction', removed);
    latest := msgstore._next_ulid(latest);
    PERFORM msgstore._append_seed(own_stream, version, jsonb_build_object(
        'type', 'HostCompacted',
        'event_id', latest,
        'metadata', jsonb_build_object('event_version', event_version),
        'data', jsonb_build_object(
            'ip_address', entry.ip_address,
            'hostname', entry.hostname,
            'aliases', entry.aliases,
            'comment', entry.comment,
            'tags', entry.tags,
            'deleted', entry.deleted,
            'created_at', entry.created_at,
            'updated_at', entry.updated_at,
            'compacted_at', clock_timestamp(),
            'folded_event_count', events_before)));
    UPDATE msgstore.host_log l SET latest_event_id = latest
    WHERE l.tenant_id = tenant;
END
$$;

REVOKE ALL ON FUNCTION msgstore.compact_host(text) FROM PUBLIC;

COMMENT ON FUNCTION msgstore.compact_host(text) IS
    'Replaces the events of a host with one HostCompacted event of the same version, if there are two or more. Returns the number of events before and after, and the number and version of the last event. Raises XX001 if an event is invalid, and keeps all of them';
