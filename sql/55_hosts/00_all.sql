-- What all events come to, host by host; written in the transaction that
-- appends them, so that it is right in every snapshot.
CREATE TABLE msgstore.host_entries (
    tenant_id text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    ip_address text COLLATE "C" NOT NULL,
    hostname text COLLATE "C" NOT NULL,
    comment text,
    aliases text[] NOT NULL,
    tags text[] NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    event_version text COLLATE "C" NOT NULL,
    deleted boolean NOT NULL,
    CONSTRAINT host_entries_pkey PRIMARY KEY (tenant_id, id)
) WITH (fillfactor = 80);

-- No two entries that are in force have the same address and name.
CREATE UNIQUE INDEX host_entries_active_key
    ON msgstore.host_entries (tenant_id, ip_address, hostname)
    WHERE NOT deleted;

-- The greatest event id of a tenant's log. Its row is locked from the making of
-- an id to the commit: ids are committed in their order, and no two sessions
-- change the hosts at the same time.
CREATE TABLE msgstore.host_log (
    tenant_id text COLLATE "C" NOT NULL,
    latest_event_id uuid NOT NULL,
    CONSTRAINT host_log_pkey PRIMARY KEY (tenant_id)
) WITH (fillfactor = 20);

CREATE TYPE msgstore.host_entry AS (
    id text,
    ip_address text,
    hostname text,
    aliases text[],
    comment text,
    tags text[],
    created_at timestamptz,
    updated_at timestamptz,
    version text
);

-- An event that has been appended.
CREATE TYPE msgstore.host_append AS (
    aggregate_id text,
    event_id text,
    event_version text,
    seq bigint
);

SELECT pg_catalog.pg_extension_config_dump('msgstore.host_entries', '');
SELECT pg_catalog.pg_extension_config_dump('msgstore.host_log', '');

CREATE FUNCTION msgstore.new_ulid() RETURNS text
    LANGUAGE c VOLATILE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'msgstore_new_ulid';

CREATE FUNCTION msgstore.ulid_after(ulid text) RETURNS text
    LANGUAGE c VOLATILE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'msgstore_ulid_after';

CREATE FUNCTION msgstore._next_ulid(after uuid) RETURNS uuid
    LANGUAGE c VOLATILE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'msgstore_next_ulid';

CREATE FUNCTION msgstore._ulid_to_uuid(ulid text) RETURNS uuid
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'msgstore_ulid_to_uuid';

CREATE FUNCTION msgstore._uuid_to_ulid(id uuid) RETURNS text
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'msgstore_uuid_to_ulid';

CREATE FUNCTION msgstore._is_ip_address(address text) RETURNS boolean
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'msgstore_is_ip_address';

-- The stream of a host. Names that begin like this are kept from append().
CREATE FUNCTION msgstore._host_stream(aggregate_id text) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN 'msgstore:host-' || aggregate_id;

-- The fields of each type of event.
CREATE FUNCTION msgstore._host_event_fields(type text)
    RETURNS TABLE (field text, kind text, required boolean)
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    AS $$
    SELECT split_part(f, ' ', 1), split_part(f, ' ', 2), split_part(f, ' ', 3) = '!'
    FROM unnest(CASE type
        WHEN 'HostCreated' THEN ARRAY['ip_address string !', 'hostname string !',
            'aliases list', 'comment string', 'tags list', 'created_at time']
        WHEN 'HostImported' THEN ARRAY['ip_address string !', 'hostname string !',
            'aliases list', 'comment string', 'tags list', 'occurred_at time']
        WHEN 'IpAddressChanged' THEN ARRAY['old_ip string', 'new_ip string !',
            'changed_at time']
        WHEN 'HostnameChanged' THEN ARRAY['old_hostname string',
            'new_hostname string !', 'changed_at time']
        WHEN 'CommentUpdated' THEN ARRAY['old_comment string',
            'new_comment string', 'updated_at time']
        WHEN 'TagsModified' THEN ARRAY['old_tags list', 'new_tags list !',
            'modified_at time']
        WHEN 'AliasesModified' THEN ARRAY['old_aliases list',
            'new_aliases list !', 'modified_at time']
        WHEN 'HostDeleted' THEN ARRAY['ip_address string', 'hostname string',
            'reason string', 'deleted_at time']
        WHEN 'HostCompacted' THEN ARRAY['ip_address string !',
            'hostname string !', 'aliases list', 'comment string', 'tags list',
            'deleted boolean !', 'created_at time !', 'updated_at time !',
            'folded_event_count number', 'compacted_at time']
        WHEN 'SnapshotCreated' THEN ARRAY['snapshot_id string !', 'name string',
            'trigger string', 'entry_count number', 'occurred_at time']
        WHEN 'SnapshotRolledBack' THEN ARRAY['snapshot_id string !',
            'name string', 'restored_entries number', 'occurred_at time']
        WHEN 'SnapshotDeleted' THEN ARRAY['snapshot_id string !', 'name string',
            'occurred_at time']
        END) f
    $$;

-- The field with the event's own time: the last one of each list above.
CREATE FUNCTION msgstore._host_time_field(type text) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN CASE type
        WHEN 'HostCreated' THEN 'created_at'
        WHEN 'IpAddressChanged' THEN 'changed_at'
        WHEN 'HostnameChanged' THEN 'changed_at'
        WHEN 'CommentUpdated' THEN 'updated_at'
        WHEN 'TagsModified' THEN 'modified_at'
        WHEN 'AliasesModified' THEN 'modified_at'
        WHEN 'HostDeleted' THEN 'deleted_at'
        WHEN 'HostCompacted' THEN 'compacted_at'
        ELSE 'occurred_at' END;

-- What is wrong with an event, or null.
CREATE FUNCTION msgstore._host_event_fault(type text, data jsonb) RETURNS text
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    known boolean := false;
    f record;
    value jsonb;
BEGIN
    FOR f IN SELECT * FROM msgstore._host_event_fields(type) LOOP
        known := true;
        value := data -> f.field;
        IF value IS NULL OR value = 'null' THEN
            IF f.required THEN
                RETURN format('event of type "%s" has no "%s"', type, f.field);
            END IF;
        ELSIF f.kind = 'time' THEN
            PERFORM (data ->> f.field)::timestamptz;
        ELSIF jsonb_typeof(value) <> replace(f.kind, 'list', 'array')
            OR (f.kind = 'list' AND jsonb_path_exists(value, '$[*] ? (@.type() != "string")'))
        THEN
            RETURN format('field "%s" of event of type "%s" is not a %s',
                f.field, type, CASE f.kind WHEN 'list' THEN 'list of strings' ELSE f.kind END);
        END IF;
    END LOOP;
    RETURN CASE WHEN NOT known THEN
        format('event type "%s" is not known', coalesce(left(type, 64), 'null')) END;
EXCEPTION
    WHEN invalid_datetime_format OR datetime_field_overflow THEN
        RETURN format('field "%s" of event of type "%s" is not a time', f.field, type);
END
$$;

-- What an event says of its host: a field that it does not touch is null, one
-- that it clears is JSON null. Who makes a host says everything of it.
CREATE FUNCTION msgstore._host_change(type text, data jsonb)
    RETURNS TABLE (
        ip_address text,
        hostname text,
        comment jsonb,
        aliases jsonb,
        tags jsonb,
        deleted boolean,
        created_at timestamptz,
        updated_at timestamptz,
        touches boolean)
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$
    SELECT
        CASE WHEN makes THEN data ->> 'ip_address'
            WHEN type = 'IpAddressChanged' THEN data ->> 'new_ip' END,
        CASE WHEN makes THEN data ->> 'hostname'
            WHEN type = 'HostnameChanged' THEN data ->> 'new_hostname' END,
        CASE WHEN makes THEN coalesce(data -> 'comment', 'null')
            WHEN type = 'CommentUpdated' THEN coalesce(data -> 'new_comment', 'null') END,
        CASE WHEN makes THEN coalesce(nullif(data -> 'aliases', 'null'), '[]')
            WHEN type = 'AliasesModified' THEN data -> 'new_aliases' END,
        CASE WHEN makes THEN coalesce(nullif(data -> 'tags', 'null'), '[]')
            WHEN type = 'TagsModified' THEN data -> 'new_tags' END,
        CASE type WHEN 'HostDeleted' THEN true
            WHEN 'HostCompacted' THEN (data ->> 'deleted')::boolean
            ELSE CASE WHEN makes THEN false END END,
        CASE type WHEN 'HostCreated' THEN (data ->> 'created_at')::timestamptz
            WHEN 'HostImported' THEN (data ->> 'occurred_at')::timestamptz
            WHEN 'HostCompacted' THEN (data ->> 'created_at')::timestamptz END,
        CASE type WHEN 'HostCompacted' THEN (data ->> 'updated_at')::timestamptz END,
        type NOT LIKE 'Snapshot%'
    FROM (SELECT type IN ('HostCreated', 'HostImported', 'HostCompacted')) m (makes)
    $$;

CREATE FUNCTION msgstore._text_array(list jsonb) RETURNS text[]
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN ARRAY(SELECT jsonb_array_elements_text(list));

-- The events of all hosts as rows.
CREATE VIEW msgstore.host_events WITH (security_barrier) AS
SELECT
    msgstore._uuid_to_ulid(e.event_id) AS event_id,
    substr(e.stream, 15) COLLATE "C" AS aggregate_id,
    e.type AS event_type,
    e.metadata ->> 'event_version' AS event_version,
    c.ip_address,
    c.hostname,
    c.comment #>> '{}' AS comment,
    c.tags::text AS tags,
    (e.data ->> msgstore._host_time_field(e.type))::timestamptz AS event_timestamp,
    (coalesce(nullif(e.metadata -> 'given', 'null'), '{}') || jsonb_strip_nulls(jsonb_build_object(
        'previous_ip', e.data -> 'old_ip',
        'previous_hostname', e.data -> 'old_hostname',
        'previous_comment', e.data -> 'old_comment',
        'previous_tags', e.data -> 'old_tags',
        'previous_aliases', e.data -> 'old_aliases'))
        || (e.data - ARRAY['ip_address', 'hostname', 'comment', 'tags', 'aliases', 'old_ip',
            'new_ip', 'old_hostname', 'new_hostname', 'old_comment', 'new_comment', 'old_tags',
            'new_tags', 'old_aliases', 'new_aliases']))::text AS metadata,
    e.created_at,
    e.created_by,
    e.metadata ->> 'expected_version' AS expected_version,
    c.aliases::text AS aliases,
    e.version AS seq,
    e.data || jsonb_build_object('type', e.type) AS event,
    e.global_position,
    e.stream
FROM msgstore.stream_events e
CROSS JOIN LATERAL (
    SELECT coalesce(h.ip_address, CASE WHEN e.type = 'HostDeleted' THEN e.data ->> 'ip_address' END) AS ip_address,
        coalesce(h.hostname, CASE WHEN e.type = 'HostDeleted' THEN e.data ->> 'hostname' END) AS hostname,
        h.comment, h.tags, h.aliases
    FROM msgstore._host_change(e.type, e.data) h) c
WHERE e.tenant_id = msgstore._tenant_scope() AND e.category = 'msgstore:host';

CREATE VIEW msgstore.host_entries_current WITH (security_barrier) AS
SELECT h.id, h.ip_address, h.hostname, h.comment, h.tags, h.created_at,
    h.updated_at, h.event_version, h.aliases
FROM msgstore.host_entries h
WHERE h.tenant_id = msgstore._tenant_scope() AND NOT h.deleted;

CREATE VIEW msgstore.host_entries_history WITH (security_barrier) AS
SELECT * FROM msgstore.host_events
ORDER BY aggregate_id, seq;

-- Locks the hosts of the tenant; returns the greatest event id there is.
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
              HINT = 'Delete that host before, or change it.';
END
$$;

-- One event as it is given, with what was left out filled in: the event alone,
-- or in an envelope as its field "event". The event's own fields stay as they
-- are given.
CREATE FUNCTION msgstore._read_host_event(
    aggregate_id text,
    given jsonb,
    OUT type text,
    OUT data jsonb,
    OUT event_id uuid,
    OUT event_version text,
    OUT created_at timestamptz,
    OUT created_by text,
    OUT expected_version text,
    OUT metadata jsonb)
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    SET timezone = 'UTC'
    AS $$
DECLARE
    fault text;
    time_field text;
BEGIN
    IF jsonb_typeof(given) IS DISTINCT FROM 'object' THEN
        fault := 'an event is not a JSON object';
    ELSIF given ? 'event' THEN
        data := given -> 'event';
        event_id := msgstore._ulid_to_uuid(given ->> 'event_id');
        event_version := nullif(given ->> 'event_version', '');
        created_at := (given ->> 'created_at')::timestamptz;
        created_by := given ->> 'created_by';
        expected_version := given ->> 'expected_version';
        metadata := given -> 'metadata';
        IF given ->> 'aggregate_id' <> _read_host_event.aggregate_id THEN
            fault := format('the event is of aggregate "%s", not of "%s"',
                left(given ->> 'aggregate_id', 64), _read_host_event.aggregate_id);
        ELSIF jsonb_typeof(data) IS DISTINCT FROM 'object' THEN
            fault := 'field "event" of the envelope is not a JSON object';
        ELSIF jsonb_typeof(metadata) NOT IN ('object', 'null') THEN
            fault := 'field "metadata" of the envelope is not a JSON object';
        END IF;
    ELSE
        data := given;
    END IF;
    IF fault IS NULL THEN
        type := data ->> 'type';
        data := data - 'type';
        created_at := coalesce(created_at, clock_timestamp());
        fault := msgstore._host_event_fault(type, data);
    END IF;
    IF fault IS NOT NULL THEN
        RAISE EXCEPTION '%', fault USING ERRCODE = 'MS400';
    END IF;
    time_field := msgstore._host_time_field(type);
    IF coalesce(data -> time_field, 'null') = 'null' THEN
        data := data || jsonb_build_object(time_field, created_at);
    END IF;
EXCEPTION
    WHEN invalid_datetime_format OR datetime_field_overflow THEN
        RAISE EXCEPTION 'field "created_at" of the envelope is not a time: %', SQLERRM
            USING ERRCODE = 'MS400';
END
$$;

-- Raises MS409 where the host is not as expected: null or 0 is no event yet, -1
-- is anything, else the text or the number of the last version.
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
              DETAIL = format('The host has %s; its last one has version %s.',
                  CASE WHEN seq = 1 THEN '1 event' ELSE seq || ' events' END,
                  coalesce(event_version, 'none')),
              HINT = 'Load what the host has got since, and append with its version.';
END
$$;

-- What new events come to is what they say last of each field, and what they do
-- not say stays. Before a host is made there is nothing to change.
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
            coalesce(change.ip_address, 'its address'),
            coalesce(change.hostname, 'its name'), NULL);
END
$$;

-- Appends to one host whose tenant's hosts are locked; latest is the greatest
-- event id so far.
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
            RAISE EXCEPTION 'version conflict on %: it has an event of version %',
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
    IF jsonb_typeof(batch) IS DISTINCT FROM 'array' THEN
        RAISE EXCEPTION 'argument "batch" is not a JSON array'
            USING ERRCODE = 'MS400',
                  DETAIL = 'Its items have the fields aggregate_id, events and expected_version.';
    END IF;
    IF batch = '[]' THEN
        RETURN;
    END IF;
    latest := msgstore._lock_hosts();
    FOR item IN SELECT jsonb_array_elements(batch) LOOP
        IF jsonb_typeof(item -> 'events') IS DISTINCT FROM 'array' THEN
            RAISE EXCEPTION 'the events are not a JSON array' USING ERRCODE = 'MS400';
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

-- An event that cannot be read is an error, and is not passed over.
CREATE FUNCTION msgstore.load_host_events(aggregate_id text)
    RETURNS SETOF msgstore.host_events
    LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = 'force_custom_plan'
    AS $$
DECLARE
    fault record;
BEGIN
    SELECT msgstore._uuid_to_ulid(s.event_id) AS event_id, f.fault INTO fault
    FROM msgstore.stream_events s
    CROSS JOIN LATERAL msgstore._host_event_fault(s.type, s.data) f (fault)
    WHERE s.tenant_id = msgstore._tenant_scope()
        AND s.stream = msgstore._host_stream(load_host_events.aggregate_id)
        AND f.fault IS NOT NULL
    ORDER BY s.version LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'event "%" of host "%" cannot be read: %', fault.event_id,
            load_host_events.aggregate_id, fault.fault
            USING ERRCODE = 'data_corrupted';
    END IF;
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

-- The entry is what it was, so the projection is not touched.
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
BEGIN
    SELECT * INTO version, event_version FROM msgstore._host_head(aggregate_id);
    version := coalesce(version, 0);
    events_before := msgstore.count_events(own_stream);
    events_after := events_before;
    SELECT * INTO entry FROM msgstore.host_entries h
    WHERE h.tenant_id = tenant AND h.id = compact_host.aggregate_id;
    IF events_before <= 1 OR entry.id IS NULL THEN
        RETURN;
    END IF;
    events_after := 1;
    DELETE FROM msgstore.stream_events s
    WHERE s.tenant_id = tenant AND s.stream = own_stream;
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

CREATE FUNCTION msgstore._host_entry(h msgstore.host_entries) RETURNS msgstore.host_entry
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN ROW(h.id, h.ip_address, h.hostname, h.aliases, h.comment, h.tags,
        h.created_at, h.updated_at, h.event_version)::msgstore.host_entry;

CREATE FUNCTION msgstore.list_hosts() RETURNS SETOF msgstore.host_entry
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
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
    entry msgstore.host_entries;
BEGIN
    SELECT * INTO entry FROM msgstore.host_entries h
    WHERE h.tenant_id = msgstore._tenant_scope() AND h.id = host_by_id.id
        AND NOT h.deleted;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'host "%" not found', coalesce(left(id, 64), 'null')
            USING ERRCODE = 'MS404';
    END IF;
    RETURN msgstore._host_entry(entry);
END
$$;

CREATE FUNCTION msgstore.host_by_ip_and_hostname(ip_address text, hostname text)
    RETURNS SETOF msgstore.host_entry
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE SECURITY DEFINER ROWS 1
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
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
                      HINT = 'Leave it out to search without it.';
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
                  DETAIL = 'A filter may have ip_pattern, hostname_pattern, tags and query.';
    END IF;
END
$$;

-- Patterns are taken as they are written: nothing in them is a wildcard.
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

CREATE FUNCTION msgstore._is_hostname(name text) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN coalesce(octet_length(name) <= 253
        AND name COLLATE "C" ~ '^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*$',
        false);

-- No row is no fault.
CREATE FUNCTION msgstore.validate_host(host jsonb)
    RETURNS TABLE (field text, code text, message text)
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    alias text;
    seen text[] := '{}';
BEGIN
    IF NOT coalesce(msgstore._is_ip_address(host ->> 'ip_address'), false) THEN
        RETURN QUERY VALUES ('ip_address', 'invalid_ip_address',
            format('"%s" is not an IPv4 or IPv6 address', left(host ->> 'ip_address', 64)));
    END IF;
    IF NOT msgstore._is_hostname(host ->> 'hostname') THEN
        RETURN QUERY VALUES ('hostname', 'invalid_hostname',
            format('"%s" is not a hostname', left(host ->> 'hostname', 64)));
    END IF;
    IF jsonb_typeof(host -> 'aliases') NOT IN ('array', 'null') THEN
        RETURN QUERY VALUES ('aliases', 'invalid_alias', 'aliases are not a list');
        RETURN;
    END IF;
    IF jsonb_array_length(nullif(host -> 'aliases', 'null')) > 50 THEN
        RETURN QUERY VALUES ('aliases', 'too_many_aliases',
            format('%s aliases are more than 50', jsonb_array_length(host -> 'aliases')));
    END IF;
    FOR alias IN SELECT jsonb_array_elements_text(nullif(host -> 'aliases', 'null')) LOOP
        IF msgstore._is_ip_address(alias) THEN
            RETURN QUERY VALUES ('aliases', 'alias_is_ip_address',
                format('alias "%s" is an IP address', left(alias, 64)));
        ELSIF NOT msgstore._is_hostname(alias) THEN
            RETURN QUERY VALUES ('aliases', 'invalid_alias',
                format('alias "%s" is not a hostname', left(alias, 64)));
        ELSIF lower(alias) = lower(host ->> 'hostname') THEN
            RETURN QUERY VALUES ('aliases', 'alias_matches_hostname',
                format('alias "%s" is the hostname', alias));
        ELSIF lower(alias) = ANY (seen) THEN
            RETURN QUERY VALUES ('aliases', 'duplicate_alias',
                format('alias "%s" is there twice', alias));
        END IF;
        seen := seen || lower(alias);
    END LOOP;
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

REVOKE ALL ON FUNCTION msgstore.new_ulid() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.ulid_after(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._next_ulid(uuid) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._ulid_to_uuid(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._uuid_to_ulid(uuid) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._is_ip_address(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._host_stream(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._host_event_fields(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._host_time_field(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._host_event_fault(text, jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._host_change(text, jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._text_array(jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._lock_hosts() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._raise_duplicate_entry(text, text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._read_host_event(text, jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._check_host_version(text, text, bigint, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._project_host(text, bigint) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._append_host(text, jsonb, text, uuid) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.append_host_batch(jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.append_host_events(text, jsonb, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.load_host_events(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._host_head(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.host_version(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.host_sequence(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.count_host_events(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.list_host_ids() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.latest_host_event_id() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.compact_host(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._host_entry(msgstore.host_entries) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.list_hosts() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.host_by_id(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.host_by_ip_and_hostname(text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._check_host_filter(jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.search_hosts(jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.hosts_at(timestamptz) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._is_hostname(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.validate_host(jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.hosts_health() FROM PUBLIC;

COMMENT ON TABLE msgstore.host_entries IS
    'What the events of each host come to, deleted ones too; right in every snapshot';
COMMENT ON TABLE msgstore.host_log IS
    'The greatest event id of each tenant; its row is locked while hosts are changed';
COMMENT ON TYPE msgstore.host_entry IS
    'A host as the reading functions return it';
COMMENT ON TYPE msgstore.host_append IS
    'An event that has been appended to a host';
COMMENT ON VIEW msgstore.host_events IS
    'The events of all hosts of this session''s tenant';
COMMENT ON VIEW msgstore.host_entries_current IS
    'The hosts in force of this session''s tenant';
COMMENT ON VIEW msgstore.host_entries_history IS
    'The events of all hosts, by host and in their order';
COMMENT ON FUNCTION msgstore.new_ulid() IS
    'A ULID of now, greater than all this session made before';
COMMENT ON FUNCTION msgstore.ulid_after(text) IS
    'A ULID of now that is greater than the given one. Raises MS400';
COMMENT ON FUNCTION msgstore._next_ulid(uuid) IS
    'The same, as a uuid';
COMMENT ON FUNCTION msgstore._ulid_to_uuid(text) IS
    'The 128 bits of a ULID. Raises MS400';
COMMENT ON FUNCTION msgstore._uuid_to_ulid(uuid) IS
    '128 bits as a ULID';
COMMENT ON FUNCTION msgstore._is_ip_address(text) IS
    'Whether the text is an IPv4 or IPv6 address';
COMMENT ON FUNCTION msgstore._host_stream(text) IS
    'The stream that holds a host''s events';
COMMENT ON FUNCTION msgstore._host_event_fields(text) IS
    'The fields that an event of the type has, with their kinds';
COMMENT ON FUNCTION msgstore._host_time_field(text) IS
    'The field of an event with its own time';
COMMENT ON FUNCTION msgstore._host_event_fault(text, jsonb) IS
    'What is wrong with an event, or null';
COMMENT ON FUNCTION msgstore._host_change(text, jsonb) IS
    'What an event says of its host; null where it says nothing';
COMMENT ON FUNCTION msgstore._text_array(jsonb) IS
    'A JSON list of strings as an array';
COMMENT ON FUNCTION msgstore._lock_hosts() IS
    'Locks the tenant''s hosts until the transaction ends; the greatest event id there is';
COMMENT ON FUNCTION msgstore._raise_duplicate_entry(text, text, text) IS
    'Raises MS409 for an address and name that a host in force has';
COMMENT ON FUNCTION msgstore._read_host_event(text, jsonb) IS
    'An event as it was given, completed. Raises MS400';
COMMENT ON FUNCTION msgstore._check_host_version(text, text, bigint, text) IS
    'Raises MS409 where a host is not at the expected version';
COMMENT ON FUNCTION msgstore._project_host(text, bigint) IS
    'Brings a host''s entry up to date with its events after a number. Raises MS409';
COMMENT ON FUNCTION msgstore._append_host(text, jsonb, text, uuid) IS
    'Appends events to one host. Raises MS400, MS409';
COMMENT ON FUNCTION msgstore.append_host_batch(jsonb) IS
    'Appends to several hosts, all or none: objects with aggregate_id, events, expected_version. Raises MS400, MS409';
COMMENT ON FUNCTION msgstore.append_host_events(text, jsonb, text) IS
    'Appends events to a host: objects with type and fields, or envelopes with event, event_id, event_version, created_at, created_by, metadata. expected_version is the text or number of the last version, null or 0 for a new host, -1 for any. Raises MS400, MS409';
COMMENT ON FUNCTION msgstore.load_host_events(text) IS
    'A host''s events, oldest first. Raises XX001 for one that cannot be read';
COMMENT ON FUNCTION msgstore._host_head(text) IS
    'Number and version of a host''s last event';
COMMENT ON FUNCTION msgstore.host_version(text) IS
    'The version of a host''s last event, null without events';
COMMENT ON FUNCTION msgstore.host_sequence(text) IS
    'The number of a host''s last event, 0 without events';
COMMENT ON FUNCTION msgstore.count_host_events(text) IS
    'How many events a host has';
COMMENT ON FUNCTION msgstore.list_host_ids() IS
    'All hosts that have events, deleted ones too';
COMMENT ON FUNCTION msgstore.latest_host_event_id() IS
    'The greatest event id in the log of hosts, 26 zeros without events; it rises with every commit that changes the log';
COMMENT ON FUNCTION msgstore.compact_host(text) IS
    'Replaces a host''s events by one HostCompacted event of the same version; the entry stays what it is';
COMMENT ON FUNCTION msgstore._host_entry(msgstore.host_entries) IS
    'A row of host_entries as users see it';
COMMENT ON FUNCTION msgstore.list_hosts() IS
    'All hosts in force, by address and name in byte order';
COMMENT ON FUNCTION msgstore.host_by_id(text) IS
    'A host in force. Raises MS404';
COMMENT ON FUNCTION msgstore.host_by_ip_and_hostname(text, text) IS
    'The host in force with this address and name, if there is one';
COMMENT ON FUNCTION msgstore._check_host_filter(jsonb) IS
    'Raises MS400 for a filter that cannot be';
COMMENT ON FUNCTION msgstore.search_hosts(jsonb) IS
    'Hosts in force that meet all of ip_pattern (prefix), hostname_pattern (contained, aliases too), tags (any of them) and query (contained in address, name, comment or a tag). Raises MS400';
COMMENT ON FUNCTION msgstore.hosts_at(timestamptz) IS
    'The hosts that were in force at a time, by the events recorded until then';
COMMENT ON FUNCTION msgstore._is_hostname(text) IS
    'Whether the text is a hostname: 1 to 253 characters, labels of 1 to 63';
COMMENT ON FUNCTION msgstore.validate_host(jsonb) IS
    'What is wrong with address, hostname and aliases of a host: a row for each fault';
COMMENT ON FUNCTION msgstore.hosts_health() IS
    'That the store of hosts answers, and which backend it is';
