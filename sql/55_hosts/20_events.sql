CREATE FUNCTION msgstore.new_ulid() RETURNS text
    LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED
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

-- append() refuses stream names that begin with "msgstore:".
CREATE FUNCTION msgstore._host_stream(aggregate_id text) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN 'msgstore:host-' || aggregate_id;

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

-- The last field in each list above.
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

CREATE FUNCTION msgstore._is_time(value text) RETURNS boolean
    LANGUAGE c STABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'msgstore_is_time';

-- Immutable, because whether a text is a time depends on these settings alone.
CREATE FUNCTION msgstore._host_event_fault(type text, data jsonb) RETURNS text
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    SET datestyle = 'ISO'
    SET timezone = 'UTC'
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
                RETURN format('event of type "%s" has no field "%s"', type, f.field);
            END IF;
        ELSIF f.kind = 'time' THEN
            IF NOT msgstore._is_time(data ->> f.field) THEN
                RETURN format('field "%s" of event of type "%s" is not a time', f.field, type);
            END IF;
        ELSIF jsonb_typeof(value) <> replace(f.kind, 'list', 'array')
            OR (f.kind = 'list' AND jsonb_path_exists(value, '$[*] ? (@.type() != "string")'))
        THEN
            RETURN format('field "%s" of event of type "%s" is not a %s',
                f.field, type, CASE f.kind WHEN 'list' THEN 'list of strings' ELSE f.kind END);
        END IF;
    END LOOP;
    RETURN CASE WHEN NOT known THEN
        format('unknown event type "%s"', coalesce(left(type, 64), 'null')) END;
END
$$;

-- Serves hosts_at().
CREATE INDEX stream_events_host_time_idx
    ON msgstore.stream_events (tenant_id, created_at)
    WHERE category = 'msgstore:host';

-- Almost empty: readers of hosts look whether an event cannot be read.
CREATE INDEX stream_events_host_fault_idx
    ON msgstore.stream_events (tenant_id, stream)
    WHERE category = 'msgstore:host'
        AND msgstore._host_event_fault(type, data) IS NOT NULL;

-- A field that the event does not change is null; one that it clears is JSON
-- null. An event that creates a host sets all fields.
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

CREATE VIEW msgstore.host_entries_history WITH (security_barrier) AS
SELECT * FROM msgstore.host_events
ORDER BY aggregate_id, seq;

-- Reads an event that is given alone or in the field "event" of an envelope, and
-- fills in missing values. Given fields of the event stay unchanged.
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
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
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
            fault := format('the event belongs to aggregate "%s", not to "%s"',
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

REVOKE ALL ON FUNCTION msgstore.new_ulid() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.ulid_after(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._next_ulid(uuid) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._ulid_to_uuid(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._uuid_to_ulid(uuid) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._host_stream(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._host_event_fields(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._host_time_field(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._is_time(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._host_event_fault(text, jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._host_change(text, jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._text_array(jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._read_host_event(text, jsonb) FROM PUBLIC;

COMMENT ON FUNCTION msgstore.new_ulid() IS
    'Returns a ULID of the current time, greater than all that this session has generated';
COMMENT ON FUNCTION msgstore.ulid_after(text) IS
    'Returns a ULID of the current time, or the next greater one if that is not greater than the argument. Raises MS400 for an invalid ULID or the greatest one';
COMMENT ON FUNCTION msgstore._next_ulid(uuid) IS
    'Like ulid_after(), for the 128 bits as a uuid';
COMMENT ON FUNCTION msgstore._ulid_to_uuid(text) IS
    'Returns the 128 bits of a ULID as a uuid. Raises MS400';
COMMENT ON FUNCTION msgstore._uuid_to_ulid(uuid) IS
    'Returns 128 bits as a ULID';
COMMENT ON FUNCTION msgstore._host_stream(text) IS
    'Returns the name of the stream that holds the events of a host';
COMMENT ON FUNCTION msgstore._host_event_fields(text) IS
    'Returns the fields of an event type, each with its kind and whether it is required; no rows for an unknown type';
COMMENT ON FUNCTION msgstore._host_time_field(text) IS
    'Returns the name of the field that contains the time of the event itself';
COMMENT ON FUNCTION msgstore._is_time(text) IS
    'Returns whether the text can be converted to timestamptz';
COMMENT ON FUNCTION msgstore._host_event_fault(text, jsonb) IS
    'Returns an error message for an invalid event, null for a valid one';
COMMENT ON FUNCTION msgstore._host_change(text, jsonb) IS
    'Returns the fields of the host that an event sets, null for the others; touches is false for events that concern no host';
COMMENT ON FUNCTION msgstore._text_array(jsonb) IS
    'Returns a JSON array of strings as text[]';
COMMENT ON FUNCTION msgstore._read_host_event(text, jsonb) IS
    'Returns the parts of an event given for a host, with missing values filled in. Raises MS400';
COMMENT ON VIEW msgstore.host_events IS
    'Events of all hosts of the session''s tenant';
COMMENT ON COLUMN msgstore.host_events.event_id IS
    'Id of the event (ULID)';
COMMENT ON COLUMN msgstore.host_events.aggregate_id IS
    'Id of the host';
COMMENT ON COLUMN msgstore.host_events.event_type IS
    'Type of the event';
COMMENT ON COLUMN msgstore.host_events.event_version IS
    'Version of the event (text)';
COMMENT ON COLUMN msgstore.host_events.ip_address IS
    'Address that the event sets, or that a HostDeleted event names; null: none';
COMMENT ON COLUMN msgstore.host_events.hostname IS
    'Hostname that the event sets, or that a HostDeleted event names; null: none';
COMMENT ON COLUMN msgstore.host_events.comment IS
    'Comment that the event sets; null: none';
COMMENT ON COLUMN msgstore.host_events.tags IS
    'Tags that the event sets, as JSON text; null: none';
COMMENT ON COLUMN msgstore.host_events.event_timestamp IS
    'Time of the event itself';
COMMENT ON COLUMN msgstore.host_events.metadata IS
    'Metadata of the event and its remaining fields, such as previous values, as JSON text';
COMMENT ON COLUMN msgstore.host_events.created_at IS
    'Time at which the event was recorded';
COMMENT ON COLUMN msgstore.host_events.created_by IS
    'Author of the event as given by the caller; null: not given';
COMMENT ON COLUMN msgstore.host_events.expected_version IS
    'Version that the caller expected before the event; null: none';
COMMENT ON COLUMN msgstore.host_events.aliases IS
    'Aliases that the event sets, as JSON text; null: none';
COMMENT ON COLUMN msgstore.host_events.seq IS
    'Number of the event among those of the host, counted from 1';
COMMENT ON COLUMN msgstore.host_events.event IS
    'Event as JSON, with its type';
COMMENT ON COLUMN msgstore.host_events.global_position IS
    'Position of the event among the events of all streams';
COMMENT ON COLUMN msgstore.host_events.stream IS
    'Name of the stream that holds the event';
COMMENT ON VIEW msgstore.host_entries_history IS
    'Events of all hosts of the session''s tenant, sorted by host and number';
COMMENT ON COLUMN msgstore.host_entries_history.event_id IS
    'Id of the event (ULID)';
COMMENT ON COLUMN msgstore.host_entries_history.aggregate_id IS
    'Id of the host';
COMMENT ON COLUMN msgstore.host_entries_history.event_type IS
    'Type of the event';
COMMENT ON COLUMN msgstore.host_entries_history.event_version IS
    'Version of the event (text)';
COMMENT ON COLUMN msgstore.host_entries_history.ip_address IS
    'Address that the event sets, or that a HostDeleted event names; null: none';
COMMENT ON COLUMN msgstore.host_entries_history.hostname IS
    'Hostname that the event sets, or that a HostDeleted event names; null: none';
COMMENT ON COLUMN msgstore.host_entries_history.comment IS
    'Comment that the event sets; null: none';
COMMENT ON COLUMN msgstore.host_entries_history.tags IS
    'Tags that the event sets, as JSON text; null: none';
COMMENT ON COLUMN msgstore.host_entries_history.event_timestamp IS
    'Time of the event itself';
COMMENT ON COLUMN msgstore.host_entries_history.metadata IS
    'Metadata of the event and its remaining fields, such as previous values, as JSON text';
COMMENT ON COLUMN msgstore.host_entries_history.created_at IS
    'Time at which the event was recorded';
COMMENT ON COLUMN msgstore.host_entries_history.created_by IS
    'Author of the event as given by the caller; null: not given';
COMMENT ON COLUMN msgstore.host_entries_history.expected_version IS
    'Version that the caller expected before the event; null: none';
COMMENT ON COLUMN msgstore.host_entries_history.aliases IS
    'Aliases that the event sets, as JSON text; null: none';
COMMENT ON COLUMN msgstore.host_entries_history.seq IS
    'Number of the event among those of the host, counted from 1';
COMMENT ON COLUMN msgstore.host_entries_history.event IS
    'Event as JSON, with its type';
COMMENT ON COLUMN msgstore.host_entries_history.global_position IS
    'Position of the event among the events of all streams';
COMMENT ON COLUMN msgstore.host_entries_history.stream IS
    'Name of the stream that holds the event';
