-- An event that cannot be read is an error for whatever depends on it, rather than
-- skipped: nobody knows what it changed.
CREATE FUNCTION msgstore._check_host_events(
    aggregate_id text DEFAULT NULL,
    at timestamptz DEFAULT NULL)
    RETURNS boolean
    LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = 'force_custom_plan'
    AS $$
DECLARE
    bad record;
BEGIN
    SELECT msgstore._uuid_to_ulid(s.event_id) AS event_id, substr(s.stream, 15) AS host,
        msgstore._host_event_fault(s.type, s.data) AS fault INTO bad
    FROM msgstore.stream_events s
    WHERE s.tenant_id = msgstore._tenant_scope()
        AND s.category = 'msgstore:host'
        AND msgstore._host_event_fault(s.type, s.data) IS NOT NULL
        AND (aggregate_id IS NULL
            OR s.stream = msgstore._host_stream(_check_host_events.aggregate_id))
        AND (at IS NULL OR s.created_at <= at)
    -- By a row value: the planner takes most events for damaged, and would read an
    -- index in this order until it met the first, instead of the almost empty one.
    ORDER BY ROW(s.stream, s.version) LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'cannot read event "%" of host "%": %', bad.event_id, bad.host, bad.fault
            USING ERRCODE = 'data_corrupted',
                  HINT = 'check() lists all such events.';
    END IF;
    RETURN true;
END
$$;

CREATE VIEW msgstore.host_entries_current WITH (security_barrier) AS
SELECT h.id, h.ip_address, h.hostname, h.comment, h.tags, h.created_at,
    h.updated_at, h.event_version, h.aliases
FROM msgstore.host_entries h
WHERE h.tenant_id = msgstore._tenant_scope() AND NOT h.deleted
    AND (SELECT msgstore._check_host_events());

CREATE FUNCTION msgstore.load_host_events(aggregate_id text)
    RETURNS SETOF msgstore.host_events
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = 'force_custom_plan'
    AS $$
BEGIN
    IF aggregate_id IS NULL THEN
        RETURN;
    END IF;
    PERFORM msgstore._check_host_events(aggregate_id);
    RETURN QUERY
        SELECT * FROM msgstore.host_events e
        WHERE e.stream = msgstore._host_stream(load_host_events.aggregate_id)
        ORDER BY e.seq;
END
$$;

CREATE FUNCTION msgstore._host_head(
    aggregate_id text,
    OUT seq bigint,
    OUT event_version text)
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = 'force_custom_plan'
    AS $$
BEGIN
    SELECT s.version, s.metadata ->> 'event_version' INTO seq, event_version
    FROM msgstore.stream_events s
    WHERE s.tenant_id = msgstore._tenant_scope()
        AND s.stream = msgstore._host_stream(aggregate_id)
    ORDER BY s.version DESC LIMIT 1;
END
$$;

CREATE FUNCTION msgstore.host_version(aggregate_id text) RETURNS text
    LANGUAGE sql STABLE STRICT PARALLEL SAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    RETURN (msgstore._host_head(aggregate_id)).event_version;

CREATE FUNCTION msgstore.host_sequence(aggregate_id text) RETURNS bigint
    LANGUAGE sql STABLE STRICT PARALLEL SAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    RETURN coalesce((msgstore._host_head(aggregate_id)).seq, 0);

CREATE FUNCTION msgstore.count_host_events(aggregate_id text) RETURNS bigint
    LANGUAGE sql STABLE STRICT PARALLEL SAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    RETURN msgstore.count_events(msgstore._host_stream(aggregate_id));

CREATE FUNCTION msgstore.list_host_ids() RETURNS SETOF text
    LANGUAGE sql STABLE STRICT PARALLEL SAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    BEGIN ATOMIC
        SELECT substr(s.stream, 15)
        FROM msgstore.list_streams('msgstore:host', NULL, NULL) s;
    END;

CREATE FUNCTION msgstore.latest_host_event_id() RETURNS text
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    RETURN coalesce((
        SELECT msgstore._uuid_to_ulid(l.latest_event_id)
        FROM msgstore.host_log l
        WHERE l.tenant_id = msgstore._tenant_scope()), repeat('0', 26));
END
$$;

CREATE FUNCTION msgstore._host_entry(h msgstore.host_entries) RETURNS msgstore.host_entry
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN ROW(h.id, h.ip_address, h.hostname, h.aliases, h.comment, h.tags,
        h.created_at, h.updated_at, h.event_version)::msgstore.host_entry;

CREATE FUNCTION msgstore.list_hosts() RETURNS SETOF msgstore.host_entry
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    PERFORM msgstore._check_host_events();
    RETURN QUERY
        SELECT (msgstore._host_entry(h)).* FROM msgstore.host_entries h
        WHERE h.tenant_id = msgstore._tenant_scope() AND NOT h.deleted
        ORDER BY h.ip_address, h.hostname;
END
$$;

CREATE FUNCTION msgstore.host_by_id(id text) RETURNS msgstore.host_entry
    LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    entry msgstore.host_entry;
    is_corrupt boolean;
BEGIN
    -- One statement: a call of _check_host_events() would take as long again.
    SELECT h.id, h.ip_address, h.hostname, h.aliases, h.comment, h.tags,
        h.created_at, h.updated_at, h.event_version,
        EXISTS (
            SELECT FROM msgstore.stream_events s
            WHERE s.tenant_id = h.tenant_id
                AND s.stream = msgstore._host_stream(h.id)
                AND s.category = 'msgstore:host'
                AND msgstore._host_event_fault(s.type, s.data) IS NOT NULL)
    INTO entry.id, entry.ip_address, entry.hostname, entry.aliases,
        entry.comment, entry.tags, entry.created_at, entry.updated_at,
        entry.version, is_corrupt
    FROM msgstore.host_entries h
    WHERE h.tenant_id = msgstore._tenant_scope() AND h.id = host_by_id.id
        AND NOT h.deleted;
    IF is_corrupt IS DISTINCT FROM false AND id IS NOT NULL THEN
        PERFORM msgstore._check_host_events(id);
    END IF;
    IF is_corrupt IS NULL THEN
        RAISE EXCEPTION 'host "%" not found', coalesce(left(id, 64), 'null')
            USING ERRCODE = 'MS404';
    END IF;
    RETURN entry;
END
$$;

CREATE FUNCTION msgstore.host_by_ip_and_hostname(ip_address text, hostname text)
    RETURNS SETOF msgstore.host_entry
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE SECURITY DEFINER ROWS 1
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    PERFORM msgstore._check_host_events();
    RETURN QUERY
        SELECT (msgstore._host_entry(h)).* FROM msgstore.host_entries h
        WHERE h.tenant_id = msgstore._tenant_scope()
            AND h.ip_address = host_by_ip_and_hostname.ip_address
            AND h.hostname = host_by_ip_and_hostname.hostname
            AND NOT h.deleted;
END
$$;

CREATE FUNCTION msgstore._check_host_filter(filter jsonb) RETURNS void
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    field text;
BEGIN
    IF jsonb_typeof(filter) IS DISTINCT FROM 'object' THEN
        RAISE EXCEPTION 'argument "filter" is not a JSON object' USING ERRCODE = 'MS400';
    END IF;
    FOREACH field IN ARRAY ARRAY['ip_pattern', 'hostname_pattern', 'query'] LOOP
        IF jsonb_typeof(filter -> field) NOT IN ('string', 'null') THEN
            RAISE EXCEPTION '% must be a string', field USING ERRCODE = 'MS400';
        ELSIF filter ->> field = '' THEN
            RAISE EXCEPTION '% must not be an empty string', field
                USING ERRCODE = 'MS400',
                      HINT = 'Leave the field out to ignore it.';
        END IF;
    END LOOP;
    IF jsonb_typeof(filter -> 'tags') NOT IN ('array', 'null')
        OR jsonb_path_exists(nullif(filter -> 'tags', 'null'), '$[*] ? (@.type() != "string")')
    THEN
        RAISE EXCEPTION 'tags must be a list of strings' USING ERRCODE = 'MS400';
    END IF;
    SELECT k INTO field FROM jsonb_object_keys(filter) k
    WHERE k NOT IN ('ip_pattern', 'hostname_pattern', 'tags', 'query')
    ORDER BY k LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'filter has an unknown field "%"', left(field, 64)
            USING ERRCODE = 'MS400',
                  DETAIL = 'The fields of a filter are ip_pattern, hostname_pattern, tags and query.';
    END IF;
END
$$;

-- Patterns contain no wildcards.
CREATE FUNCTION msgstore.search_hosts(filter jsonb)
    RETURNS SETOF msgstore.host_entry
    LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = 'force_custom_plan'
    AS $$
DECLARE
    ip text := filter ->> 'ip_pattern';
    name text := lower(filter ->> 'hostname_pattern');
    query text := lower(filter ->> 'query');
    wanted text[];
BEGIN
    PERFORM msgstore._check_host_filter(filter);
    PERFORM msgstore._check_host_events();
    wanted := nullif(ARRAY(SELECT jsonb_array_elements_text(
        nullif(filter -> 'tags', 'null'))), '{}');
    RETURN QUERY
        SELECT (msgstore._host_entry(h)).* FROM msgstore.host_entries h
        WHERE h.tenant_id = msgstore._tenant_scope() AND NOT h.deleted
            AND (ip IS NULL OR starts_with(h.ip_address, ip))
            AND (name IS NULL OR strpos(lower(h.hostname), name) > 0
                OR EXISTS (SELECT FROM unnest(h.aliases) a
                           WHERE strpos(lower(a), name) > 0))
            AND (wanted IS NULL OR h.tags && wanted)
            AND (query IS NULL OR strpos(lower(h.ip_address), query) > 0
                OR strpos(lower(h.hostname), query) > 0
                OR strpos(lower(h.comment), query) > 0
                OR EXISTS (SELECT FROM unnest(h.tags) t
                           WHERE strpos(lower(t), query) > 0))
        ORDER BY h.ip_address, h.hostname;
END
$$;

CREATE FUNCTION msgstore.hosts_at(at timestamptz)
    RETURNS SETOF msgstore.host_entry
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = 'force_custom_plan'
    AS $$
BEGIN
    PERFORM msgstore._check_host_events(at => hosts_at.at);
    RETURN QUERY
        SELECT substr(f.stream, 15), f.ip_address, f.hostname,
            msgstore._text_array(f.aliases), f.comment #>> '{}',
            msgstore._text_array(f.tags), f.created_at, f.updated_at,
            f.event_version
        FROM (
            SELECT e.stream,
                msgstore.last_known(c.ip_address ORDER BY e.version) AS ip_address,
                msgstore.last_known(c.hostname ORDER BY e.version) AS hostname,
                msgstore.last_known(c.comment ORDER BY e.version) AS comment,
                msgstore.last_known(c.aliases ORDER BY e.version) AS aliases,
                msgstore.last_known(c.tags ORDER BY e.version) AS tags,
                msgstore.last_known(c.deleted ORDER BY e.version) AS deleted,
                msgstore.last_known(c.created_at ORDER BY e.version) AS created_at,
                msgstore.last_known(coalesce(c.updated_at, e.created_at)
                    ORDER BY e.version) AS updated_at,
                msgstore.last_known(e.metadata ->> 'event_version'
                    ORDER BY e.version) AS event_version
            FROM msgstore.stream_events e
            CROSS JOIN LATERAL msgstore._host_change(e.type, e.data) c
            WHERE e.tenant_id = msgstore._tenant_scope()
                AND e.category = 'msgstore:host'
                AND e.created_at <= hosts_at.at
                AND c.touches
            GROUP BY e.stream) f
        WHERE f.created_at IS NOT NULL AND NOT f.deleted
        ORDER BY f.ip_address COLLATE "C", f.hostname COLLATE "C";
END
$$;

CREATE FUNCTION msgstore.hosts_health() RETURNS jsonb
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    PERFORM FROM msgstore.stream_events LIMIT 1;
    PERFORM FROM msgstore.host_entries LIMIT 1;
    PERFORM FROM msgstore.snapshots LIMIT 1;
    RETURN '{"status": "ok", "backend": "postgresql"}';
END
$$;

REVOKE ALL ON FUNCTION msgstore._check_host_events(text, timestamptz) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.load_host_events(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._host_head(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.host_version(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.host_sequence(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.count_host_events(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.list_host_ids() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.latest_host_event_id() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._host_entry(msgstore.host_entries) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.list_hosts() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.host_by_id(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.host_by_ip_and_hostname(text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._check_host_filter(jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.search_hosts(jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.hosts_at(timestamptz) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.hosts_health() FROM PUBLIC;

COMMENT ON VIEW msgstore.host_entries_current IS
    'Hosts of the session''s tenant that are not deleted. Raises XX001 if an event of a host is invalid';
COMMENT ON COLUMN msgstore.host_entries_current.id IS
    'Aggregate id of the host';
COMMENT ON COLUMN msgstore.host_entries_current.ip_address IS
    'IPv4 or IPv6 address as text';
COMMENT ON COLUMN msgstore.host_entries_current.hostname IS
    'Hostname';
COMMENT ON COLUMN msgstore.host_entries_current.comment IS
    'Comment; null: none';
COMMENT ON COLUMN msgstore.host_entries_current.tags IS
    'Tags of the host';
COMMENT ON COLUMN msgstore.host_entries_current.created_at IS
    'Time at which the host was created, from the creating event';
COMMENT ON COLUMN msgstore.host_entries_current.updated_at IS
    'Time at which the last event of the host was appended';
COMMENT ON COLUMN msgstore.host_entries_current.event_version IS
    'Version (text) of the last event of the host';
COMMENT ON COLUMN msgstore.host_entries_current.aliases IS
    'Other names of the host';
COMMENT ON FUNCTION msgstore._check_host_events(text, timestamptz) IS
    'Returns true, or raises XX001 if an event of the host (null: of any host of the tenant), appended until a time (null: at any time), is invalid';
COMMENT ON FUNCTION msgstore.load_host_events(text) IS
    'Returns the events of a host, oldest first. Raises XX001 if one of them is invalid';
COMMENT ON FUNCTION msgstore._host_head(text) IS
    'Returns number and version of the last event of a host, null without events';
COMMENT ON FUNCTION msgstore.host_version(text) IS
    'Returns the version (text) of the last event of a host, null without events';
COMMENT ON FUNCTION msgstore.host_sequence(text) IS
    'Returns the number of the last event of a host, 0 without events';
COMMENT ON FUNCTION msgstore.count_host_events(text) IS
    'Returns the number of events of a host';
COMMENT ON FUNCTION msgstore.list_host_ids() IS
    'Returns the ids of all hosts that have events, including deleted ones';
COMMENT ON FUNCTION msgstore.latest_host_event_id() IS
    'Returns the greatest event id of all hosts (ULID), 26 zeros without events. It increases with every commit that changes hosts';
COMMENT ON FUNCTION msgstore._host_entry(msgstore.host_entries) IS
    'Returns a row of host_entries in the form for users';
COMMENT ON FUNCTION msgstore.list_hosts() IS
    'Returns all hosts that are not deleted, by address and name in byte order. Raises XX001 if an event of a host is invalid';
COMMENT ON FUNCTION msgstore.host_by_id(text) IS
    'Returns a host. Raises MS404 if it does not exist or is deleted, XX001 if one of its events is invalid';
COMMENT ON FUNCTION msgstore.host_by_ip_and_hostname(text, text) IS
    'Returns the host with this address and name; no row if there is none or it is deleted. Raises XX001 if an event of a host is invalid';
COMMENT ON FUNCTION msgstore._check_host_filter(jsonb) IS
    'Raises MS400 for an invalid filter';
COMMENT ON FUNCTION msgstore.search_hosts(jsonb) IS
    'Returns the hosts that match all fields of the filter: ip_pattern (address begins with it), hostname_pattern (name or an alias contains it), tags (has any of them), query (address, name, comment or a tag contains it). Raises MS400 for an invalid filter, XX001 if an event of a host is invalid';
COMMENT ON FUNCTION msgstore.hosts_at(timestamptz) IS
    'Returns the hosts as of a time, from the events recorded until then. Raises XX001 if one of these is invalid';
COMMENT ON FUNCTION msgstore.hosts_health() IS
    'Returns {"status": "ok", "backend": "postgresql"} if the tables for hosts can be read';
