-- Some libraries write a UUID in upper case.
CREATE FUNCTION msgstore._cause(metadata jsonb) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN lower((metadata ->> 'causation_id') COLLATE "C");

-- C has the same names of fields: see streams_has_keys().
CREATE FUNCTION msgstore._event_keys(metadata jsonb, tags text[]) RETURNS text[]
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (
        SELECT array_agg(DISTINCT k.name || ':'
            || CASE WHEN octet_length(k.value) > 255 THEN md5(k.value) ELSE k.value END)
        FROM (
            SELECT 'tag', t FROM unnest(tags) t
            UNION ALL
            SELECT 'correlation_id', metadata ->> 'correlation_id'
            UNION ALL
            SELECT 'causation_id', msgstore._cause(metadata)) k (name, value)
        WHERE k.value IS NOT NULL);

CREATE FUNCTION msgstore._lock_tags(shared text[], alone text[]) RETURNS void
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'msgstore_lock_tags';

-- For events that are deleted, by a compaction for example, or changed. They run
-- once for each statement, so that they do not slow down its rows.
CREATE FUNCTION msgstore._delete_event_keys() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    DELETE FROM msgstore.stream_event_keys k
    USING gone g
    CROSS JOIN LATERAL unnest(msgstore._event_keys(g.metadata, g.tags)) n (key)
    WHERE k.tenant_id = g.tenant_id AND k.key = n.key
        AND k.global_position = g.global_position;
    RETURN NULL;
END
$$;

CREATE FUNCTION msgstore._insert_event_keys() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    INSERT INTO msgstore.stream_event_keys (tenant_id, key, global_position)
    SELECT p.tenant_id, n.key, p.global_position
    FROM present p
    CROSS JOIN LATERAL unnest(msgstore._event_keys(p.metadata, p.tags)) n (key)
    ON CONFLICT ON CONSTRAINT stream_event_keys_pkey DO NOTHING;
    RETURN NULL;
END
$$;

CREATE TRIGGER stream_events_delete_keys AFTER DELETE ON msgstore.stream_events
    REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION msgstore._delete_event_keys();

-- Triggers of one operation run in the order of their names.
CREATE TRIGGER stream_events_update_keys_1 AFTER UPDATE ON msgstore.stream_events
    REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION msgstore._delete_event_keys();

CREATE TRIGGER stream_events_update_keys_2 AFTER UPDATE ON msgstore.stream_events
    REFERENCING NEW TABLE AS present
    FOR EACH STATEMENT EXECUTE FUNCTION msgstore._insert_event_keys();

REVOKE ALL ON FUNCTION msgstore._cause(jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._event_keys(jsonb, text[]) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._lock_tags(text[], text[]) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._delete_event_keys() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._insert_event_keys() FROM PUBLIC;

COMMENT ON FUNCTION msgstore._cause(jsonb) IS
    'Returns the causation_id of an event''s metadata in lower case, as event_id is written; null: none';
COMMENT ON FUNCTION msgstore._event_keys(jsonb, text[]) IS
    'Returns the keys that an event is found by: its tags, and correlation_id and causation_id of its metadata; null: none';
COMMENT ON FUNCTION msgstore._lock_tags(text[], text[]) IS
    'Locks tags until the transaction ends: those of events to be appended, shared with others who append such events, and those that a condition asks for alone';
COMMENT ON FUNCTION msgstore._delete_event_keys() IS
    'Trigger: deletes the keys of events that were deleted or changed';
COMMENT ON FUNCTION msgstore._insert_event_keys() IS
    'Trigger: adds the keys of events that were changed';
