-- What an insert is made of. The three belong together, in this order: the
-- table's columns are in the order in which they are to be called.
CREATE FUNCTION msgstore._take_position() RETURNS bigint
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
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
    AS 'MODULE_PATHNAME', 'msgstore_append';

CREATE FUNCTION msgstore.stream_category(stream text) RETURNS text
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'msgstore_stream_category';

CREATE FUNCTION msgstore.append(
    stream text,
    type text,
    data jsonb,
    expected_version bigint DEFAULT NULL,
    metadata jsonb DEFAULT NULL,
    event_id uuid DEFAULT NULL,
    created_by text DEFAULT NULL)
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

REVOKE ALL ON FUNCTION msgstore._take_position() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._horizon() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._event_id() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._append_at(text, text, jsonb, bigint, jsonb, uuid, text, timestamptz) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.stream_category(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.append(text, text, jsonb, bigint, jsonb, uuid, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.append_batch(jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._wake_at_commit(text) FROM PUBLIC;

COMMENT ON FUNCTION msgstore._take_position() IS
    'Draws the next global position and publishes it until the transaction ends';
COMMENT ON FUNCTION msgstore._horizon() IS
    'What says, with a snapshot''s xmin, when all smaller positions than the one drawn last are settled';
COMMENT ON FUNCTION msgstore._event_id() IS
    'An id for the event whose position was drawn last; such ids sort as their positions';
COMMENT ON FUNCTION msgstore._append_at(text, text, jsonb, bigint, jsonb, uuid, text, timestamptz) IS
    'append() at a given time';
COMMENT ON FUNCTION msgstore.stream_category(text) IS
    'What stands before the first - of a stream''s name, or all of it';
COMMENT ON FUNCTION msgstore.append(text, text, jsonb, bigint, jsonb, uuid, text) IS
    'Appends an event and returns the stream''s new version. expected_version is the version before it (0: no events) or null for any; an event_id seen before with the same content returns its version and stores nothing. Raises MS400, MS409';
COMMENT ON FUNCTION msgstore.append_batch(jsonb) IS
    'Appends events of any streams, all or none, in their order: objects with stream, type, data and perhaps metadata, expected_version, event_id, created_by. Raises MS400, MS409';
COMMENT ON FUNCTION msgstore._wake_at_commit(text) IS
    'At commit, wakes who waits for events of the category';
