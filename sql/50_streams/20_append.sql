-- An insert calls these three in this order. The columns of stream_events are
-- in the same order, so that the executor evaluates them that way.
CREATE FUNCTION msgstore._take_position(category text, tags text[] DEFAULT NULL)
    RETURNS bigint
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'msgstore_take_position';

CREATE FUNCTION msgstore._horizon() RETURNS bigint
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'msgstore_horizon';

CREATE FUNCTION msgstore._event_id() RETURNS uuid
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'msgstore_event_id';

CREATE FUNCTION msgstore._append_at(
    stream text,
    type text,
    data jsonb,
    expected_version bigint,
    metadata jsonb,
    event_id uuid,
    created_by text,
    created_at timestamptz)
    RETURNS bigint
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'msgstore_append_at';

CREATE FUNCTION msgstore.stream_category(stream text) RETURNS text
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'msgstore_stream_category';

CREATE FUNCTION msgstore._check_category(category text) RETURNS void
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'msgstore_check_category';

CREATE FUNCTION msgstore.append(
    stream text,
    type text,
    data jsonb,
    expected_version bigint DEFAULT NULL,
    metadata jsonb DEFAULT NULL,
    event_id uuid DEFAULT NULL,
    created_by text DEFAULT NULL,
    happened_at timestamptz DEFAULT NULL,
    tags text[] DEFAULT NULL)
    RETURNS bigint
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'msgstore_append';

CREATE FUNCTION msgstore.append_batch(events jsonb)
    RETURNS TABLE (stream text, version bigint, global_position bigint)
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'msgstore_append_batch';

CREATE FUNCTION msgstore._wake_at_commit(category text) RETURNS void
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'msgstore_wake_at_commit';

REVOKE ALL ON FUNCTION msgstore._take_position(text, text[]) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._horizon() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._event_id() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._append_at(text, text, jsonb, bigint, jsonb, uuid, text, timestamptz) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.stream_category(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._check_category(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.append(text, text, jsonb, bigint, jsonb, uuid, text, timestamptz, text[]) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.append_batch(jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._wake_at_commit(text) FROM PUBLIC;

COMMENT ON FUNCTION msgstore._take_position(text, text[]) IS
    'Draws and returns the next global position for an event with this category and these tags, and publishes it until the transaction ends';
COMMENT ON FUNCTION msgstore._horizon() IS
    'Returns the horizon of the position drawn last: compared with the xmin of a snapshot, it tells whether all smaller positions are settled';
COMMENT ON FUNCTION msgstore._event_id() IS
    'Returns a new id for the event whose position was drawn last; such ids sort by position';
COMMENT ON FUNCTION msgstore.stream_category(text) IS
    'Returns the category of a stream: its name up to the first hyphen, or the whole name';
COMMENT ON FUNCTION msgstore._check_category(text) IS
    'Raises MS400 for a name that contains a hyphen and so cannot be a category';
COMMENT ON FUNCTION msgstore._append_at(text, text, jsonb, bigint, jsonb, uuid, text, timestamptz) IS
    'append() with a given time, also for streams reserved for msgstore';
COMMENT ON FUNCTION msgstore.append(text, text, jsonb, bigint, jsonb, uuid, text, timestamptz, text[]) IS
    'Appends an event and returns its version in the stream. expected_version is the version before it (0: no events; null: any). If an event with the same event_id and content is stored, returns its version and stores nothing. happened_at is the own time of an imported event; tags are what append_if() and read_query() find it by. Raises MS400 for an invalid argument, MS409 for another version than expected or an event_id used with different content, 40001 in REPEATABLE READ and SERIALIZABLE if the stream changed after the snapshot';
COMMENT ON FUNCTION msgstore.append_batch(jsonb) IS
    'Appends events to one or more streams, all or none, in the given order, and returns their versions and positions. Takes an array of objects with stream, type, data and optionally metadata, expected_version, event_id, created_by, happened_at and tags. Raises MS400, MS409 and 40001 like append()';
COMMENT ON FUNCTION msgstore._wake_at_commit(text) IS
    'At commit, wakes the sessions that wait for events of the category';
