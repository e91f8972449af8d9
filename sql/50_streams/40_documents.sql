CREATE FUNCTION msgstore.merge_patch(target jsonb, patch jsonb) RETURNS jsonb
    LANGUAGE c IMMUTABLE PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'msgstore_merge_patch';

CREATE AGGREGATE msgstore.fold(patch jsonb) (
    SFUNC = msgstore.merge_patch,
    STYPE = jsonb,
    PARALLEL = SAFE
);

CREATE FUNCTION msgstore._last_known(known anyelement, value anyelement)
    RETURNS anyelement
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'msgstore_last_known';

-- The transition function is strict: nulls are skipped, and the first value
-- that is not null becomes the initial state.
CREATE AGGREGATE msgstore.last_known(value anyelement) (
    SFUNC = msgstore._last_known,
    STYPE = anyelement,
    PARALLEL = SAFE
);

CREATE FUNCTION msgstore.stream_state(stream text, at timestamptz DEFAULT NULL)
    RETURNS jsonb
    LANGUAGE c STABLE PARALLEL RESTRICTED SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'msgstore_stream_state';

REVOKE ALL ON FUNCTION msgstore.merge_patch(jsonb, jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.fold(jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._last_known(anyelement, anyelement) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.last_known(anyelement) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.stream_state(text, timestamptz) FROM PUBLIC;

COMMENT ON FUNCTION msgstore.merge_patch(jsonb, jsonb) IS
    'Returns the document with the JSON merge patch applied (RFC 7396). A null target is an absent document, a null patch changes nothing';
COMMENT ON AGGREGATE msgstore.fold(jsonb) IS
    'Applies JSON merge patches (RFC 7396) one after another: fold(patch ORDER BY version)';
COMMENT ON FUNCTION msgstore._last_known(anyelement, anyelement) IS
    'Transition function of last_known()';
COMMENT ON AGGREGATE msgstore.last_known(anyelement) IS
    'Returns the last value that is not null: last_known(value ORDER BY version)';
COMMENT ON FUNCTION msgstore.stream_state(text, timestamptz) IS
    'Applies the data of a stream''s events in order as merge patches and returns the result, null without events. at limits it to events appended until then';
