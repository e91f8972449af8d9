CREATE FUNCTION msgstore._lock_hosts() RETURNS uuid
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    latest uuid;
BEGIN
    LOOP
        SELECT l.latest_event_id INTO latest FROM msgstore.host_log l
        WHERE l.tenant_id = msgstore._tenant_scope() FOR UPDATE;
        IF FOUND THEN
            RETURN latest;
        END IF;
        INSERT INTO msgstore.host_log (tenant_id, latest_event_id)
        VALUES (msgstore._tenant_scope(), '00000000-0000-0000-0000-000000000000')
        ON CONFLICT ON CONSTRAINT host_log_pkey DO NOTHING;
    END LOOP;
END
$$;

CREATE FUNCTION msgstore._raise_duplicate_entry(
    ip_address text,
    hostname text,
    id text)
    RETURNS void
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    RAISE EXCEPTION 'duplicate entry: "%" with hostname "%"', ip_address, hostname
        USING ERRCODE = 'MS409',
              DETAIL = CASE WHEN id IS NULL
                  THEN 'Another host has this address and name.'
                  ELSE format('Host "%s" has this address and name.', id) END,
              HINT = 'Delete or change that host first.';
END
$$;

-- The expected version is null or 0 for a host without events, -1 for any host,
-- otherwise the version (text) or number of its last event. Clients look for
-- "version conflict" in the message, and for "duplicate entry" in the one above.
CREATE FUNCTION msgstore._check_host_version(
    aggregate_id text,
    expected_version text,
    seq bigint,
    event_version text)
    RETURNS void
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF expected_version = '-1' OR expected_version = event_version
        OR coalesce(expected_version, '0') = seq::text
    THEN
        RETURN;
    END IF;
    RAISE EXCEPTION 'version conflict on %: expected %, got %', aggregate_id,
        coalesce(expected_version, 'none'),
        CASE WHEN seq = 0 THEN 'none'
            WHEN coalesce(expected_version, '0') ~ '^[0-9]{1,18}$' THEN seq::text
            ELSE event_version END
        USING ERRCODE = 'MS409',
              DETAIL = CASE WHEN seq = 0 THEN 'The host has no events.'
                  ELSE format('The last event of the host is number %s with version "%s".',
                      seq, event_version) END,
              HINT = 'Load the new events, then append with the current version.';
END
$$;

-- For each field the last new event that sets it wins; other fields stay. Changes
-- before the host is created have no effect. Not split, because each call of a
-- function with SET clauses adds to the time of every append.
CREATE FUNCTION msgstore._project_host(aggregate_id text, after_seq bigint) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = 'force_generic_plan'
    SET enable_seqscan = off
    SET enable_sort = off
    AS $$
DECLARE
    change record;
BEGIN
    SELECT msgstore.last_known(c.ip_address) AS ip_address,
        msgstore.last_known(c.hostname) AS hostname,
        msgstore.last_known(c.comment) AS comment,
        msgstore._text_array(msgstore.last_known(c.aliases)) AS aliases,
        msgstore._text_array(msgstore.last_known(c.tags)) AS tags,
        msgstore.last_known(c.deleted) AS deleted,
        msgstore.last_known(c.created_at) AS created_at,
        msgstore.last_known(coalesce(c.updated_at, e.created_at)) AS updated_at,
        msgstore.last_known(e.metadata ->> 'event_version') AS event_version
    INTO change
    FROM (
        SELECT * FROM msgstore.stream_events s
        WHERE s.tenant_id = msgstore._tenant_scope()
            AND s.stream = msgstore._host_stream(aggregate_id)
            AND s.version > after_seq
        ORDER BY s.version) e
    CROSS JOIN LATERAL msgstore._host_change(e.type, e.data) c
    WHERE c.touches;
    IF change.event_version IS NULL THEN
        RETURN;
    END IF;
    IF change.created_at IS NULL THEN
        UPDATE msgstore.host_entries h
        SET ip_address = coalesce(change.ip_address, h.ip_address),
            hostname = coalesce(change.hostname, h.hostname),
            comment = CASE WHEN change.comment IS NULL THEN h.comment
                ELSE change.comment #>> '{}' END,
            aliases = coalesce(change.aliases, h.aliases),
            tags = coalesce(change.tags, h.tags),
            deleted = coalesce(change.deleted, h.deleted),
            updated_at = change.updated_at,
            event_version = change.event_version
        WHERE h.tenant_id = msgstore._tenant_scope() AND h.id = aggregate_id;
    ELSE
        INSERT INTO msgstore.host_entries AS h (tenant_id, id, ip_address,
            hostname, comment, aliases, tags, created_at, updated_at,
            event_version, deleted)
        VALUES (msgstore._tenant_scope(), aggregate_id, change.ip_address,
            change.hostname, change.comment #>> '{}', change.aliases,
            change.tags, change.created_at, change.updated_at,
            change.event_version, change.deleted)
        ON CONFLICT ON CONSTRAINT host_entries_pkey DO UPDATE
        SET ip_address = excluded.ip_address,
            hostname = excluded.hostname,
            comment = excluded.comment,
            aliases = excluded.aliases,
            tags = excluded.tags,
            created_at = excluded.created_at,
            updated_at = excluded.updated_at,
            event_version = excluded.event_version,
            deleted = excluded.deleted;
    END IF;
EXCEPTION
    WHEN unique_violation THEN
        PERFORM msgstore._raise_duplicate_entry(
            coalesce(change.ip_address, h.ip_address),
            coalesce(change.hostname, h.hostname), NULL)
        FROM (SELECT) one
        LEFT JOIN msgstore.host_entries h
            ON h.tenant_id = msgstore._tenant_scope() AND h.id = aggregate_id;
END
$$;

-- Needs _lock_hosts(). latest is the greatest event id so far. Not split, for the
-- reason given for _project_host().
CREATE FUNCTION msgstore._append_host(
    aggregate_id text,
    events jsonb,
    expected_version text,
    INOUT latest uuid,
    OUT appended msgstore.host_append[])
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = 'force_generic_plan'
    SET enable_seqscan = off
    SET enable_bitmapscan = off
    SET enable_sort = off
    AS $$
DECLARE
    own_stream text := msgstore._host_stream(aggregate_id);
    head record;
    before bigint;
    seq bigint;
    version text;
    given jsonb;
    e record;
    occupant text;
    made text[] := '{}';
    gone boolean := false;
BEGIN
    SELECT s.version, s.metadata ->> 'event_version' AS event_version INTO head
    FROM msgstore.stream_events s
    WHERE s.tenant_id = msgstore._tenant_scope() AND s.stream = own_stream
    ORDER BY s.version DESC LIMIT 1;
    before := coalesce(head.version, 0);
    seq := before;
    PERFORM msgstore._check_host_version(aggregate_id, expected_version, seq, head.event_version);
    FOR given IN SELECT jsonb_array_elements(events) LOOP
        e := msgstore._read_host_event(aggregate_id, given);
        IF e.type IN ('HostCreated', 'HostImported') THEN
            SELECT h.id INTO occupant FROM msgstore.host_entries h
            WHERE h.tenant_id = msgstore._tenant_scope()
                AND h.ip_address = e.data ->> 'ip_address'
                AND h.hostname = e.data ->> 'hostname' AND NOT h.deleted;
            IF FOUND AND NOT (gone AND occupant = aggregate_id)
                OR jsonb_build_array(e.data -> 'ip_address', e.data -> 'hostname')::text = ANY (made)
            THEN
                PERFORM msgstore._raise_duplicate_entry(e.data ->> 'ip_address',
                    e.data ->> 'hostname', coalesce(occupant, aggregate_id));
            END IF;
            made := made || jsonb_build_array(e.data -> 'ip_address', e.data -> 'hostname')::text;
        ELSIF e.type = 'HostDeleted' THEN
            made := '{}';
            gone := true;
        END IF;
        latest := CASE WHEN e.event_id > latest THEN e.event_id
            ELSE msgstore._next_ulid(latest) END;
        version := coalesce(e.event_version, msgstore._uuid_to_ulid(latest));
        IF e.event_version IS NOT NULL AND EXISTS (
            SELECT FROM msgstore.stream_events s
            WHERE s.tenant_id = msgstore._tenant_scope()
                AND s.stream = own_stream
                AND s.metadata ->> 'event_version' = e.event_version)
        THEN
            RAISE EXCEPTION 'version conflict on %: version % is already used',
                aggregate_id, e.event_version USING ERRCODE = 'MS409';
        END IF;
        seq := msgstore._append_at(own_stream, e.type, e.data, seq,
            jsonb_build_object('event_version', version,
                'expected_version', coalesce(e.expected_version, expected_version),
                'given', e.metadata),
            latest, e.created_by, e.created_at);
        appended := appended || (aggregate_id, msgstore._uuid_to_ulid(latest),
            version, seq)::msgstore.host_append;
    END LOOP;
    PERFORM msgstore._project_host(aggregate_id, before);
END
$$;

CREATE FUNCTION msgstore.append_host_batch(batch jsonb)
    RETURNS SETOF msgstore.host_append
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    item jsonb;
    one record;
    latest uuid;
BEGIN
    PERFORM msgstore._check_own_tenant();
    IF jsonb_typeof(batch) IS DISTINCT FROM 'array' THEN
        RAISE EXCEPTION 'argument "batch" is not a JSON array'
            USING ERRCODE = 'MS400',
                  DETAIL = 'The items must be objects with the fields aggregate_id, events and expected_version.';
    END IF;
    IF batch = '[]' THEN
        RETURN;
    END IF;
    latest := msgstore._lock_hosts();
    FOR item IN SELECT jsonb_array_elements(batch) LOOP
        IF jsonb_typeof(item -> 'events') IS DISTINCT FROM 'array' THEN
            RAISE EXCEPTION 'events must be a JSON array' USING ERRCODE = 'MS400';
        END IF;
        IF coalesce(item ->> 'aggregate_id', '') = '' THEN
            item := item || jsonb_build_object('aggregate_id', msgstore.new_ulid());
        END IF;
        IF octet_length(item ->> 'aggregate_id') > 900 THEN
            RAISE EXCEPTION 'aggregate id "%..." has more than 900 bytes',
                left(item ->> 'aggregate_id', 64) USING ERRCODE = 'MS400';
        END IF;
        CONTINUE WHEN item -> 'events' = '[]';
        one := msgstore._append_host(item ->> 'aggregate_id', item -> 'events',
            item ->> 'expected_version', latest);
        latest := one.latest;
        RETURN QUERY SELECT * FROM unnest(one.appended);
    END LOOP;
    UPDATE msgstore.host_log l SET latest_event_id = latest
    WHERE l.tenant_id = msgstore._tenant_scope();
END
$$;

CREATE FUNCTION msgstore.append_host_events(
    aggregate_id text,
    events jsonb,
    expected_version text DEFAULT NULL)
    RETURNS SETOF msgstore.host_append
    LANGUAGE sql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    BEGIN ATOMIC
        SELECT * FROM msgstore.append_host_batch(jsonb_build_array(
            jsonb_build_object('aggregate_id', aggregate_id,
                'events', events, 'expected_version', expected_version)));
    END;

REVOKE ALL ON FUNCTION msgstore._lock_hosts() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._raise_duplicate_entry(text, text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._check_host_version(text, text, bigint, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._project_host(text, bigint) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._append_host(text, jsonb, text, uuid) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.append_host_batch(jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.append_host_events(text, jsonb, text) FROM PUBLIC;

COMMENT ON FUNCTION msgstore._lock_hosts() IS
    'Locks the hosts of the tenant until the transaction ends and returns the greatest event id';
COMMENT ON FUNCTION msgstore._raise_duplicate_entry(text, text, text) IS
    'Raises MS409 for an address and name that belong to another host (id; null: not known)';
COMMENT ON FUNCTION msgstore._check_host_version(text, text, bigint, text) IS
    'Raises MS409 if a host is not at the expected version';
COMMENT ON FUNCTION msgstore._project_host(text, bigint) IS
    'Applies the events of a host after a number to its row of host_entries. Raises MS409 for an address and name that belong to another host';
COMMENT ON FUNCTION msgstore._append_host(text, jsonb, text, uuid) IS
    'Appends events to a host; returns the new greatest event id and the appended events. Raises MS400, MS409';
COMMENT ON FUNCTION msgstore.append_host_batch(jsonb) IS
    'Appends events to one or more hosts, all or none, and returns the appended events. Takes an array of objects with aggregate_id (generated if missing), events and expected_version. Raises MS400 and MS409 like append_host_events()';
COMMENT ON FUNCTION msgstore.append_host_events(text, jsonb, text) IS
    'Appends events to a host and returns them. Takes an array of events (objects with type and fields) or envelopes (objects with event and optionally event_id, event_version, aggregate_id, created_at, created_by, expected_version and metadata). expected_version is the version (text) or number of the last event, null or 0 for a host without events, -1 for any. Raises MS400 for an invalid event, MS409 for another version than expected or an address and name that belong to another host';
