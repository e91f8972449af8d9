CREATE FUNCTION msgstore._response_scope(
    OUT tenant text,
    OUT owner text,
    OUT in_memory boolean)
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'msgstore_response_scope';

CREATE FUNCTION msgstore._owner_allows(
    caller text,
    is_admin boolean,
    stored text,
    writing boolean)
    RETURNS boolean
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'msgstore_owner_allows';

CREATE FUNCTION msgstore._check_response_move(old_status text, new_status text)
    RETURNS void
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'msgstore_check_response_move';

CREATE FUNCTION msgstore._memory_is_there() RETURNS boolean
    LANGUAGE c STABLE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'msgstore_memory_is_there';

CREATE FUNCTION msgstore._memory_responses()
    RETURNS TABLE (
        id text,
        tenant_id text,
        owner text,
        status text,
        model text,
        previous_response_id text,
        created_at bigint,
        background boolean,
        worker_heartbeat timestamptz,
        deleted_at timestamptz,
        version bigint)
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'msgstore_memory_responses';

CREATE FUNCTION msgstore._forget_response(id text, version bigint)
    RETURNS boolean
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'msgstore_forget_response';

CREATE FUNCTION msgstore._response_document(id text) RETURNS jsonb
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'msgstore_response_document';

CREATE FUNCTION msgstore._durable_document(id text, deleted_too boolean)
    RETURNS jsonb
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'msgstore_durable_document';

CREATE FUNCTION msgstore.save_response(response jsonb) RETURNS text
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'msgstore_save_response';

-- With the caller's rights: for what is in memory no others are needed, and for
-- the table there is _durable_document.
CREATE FUNCTION msgstore.get_response(id text) RETURNS jsonb
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'msgstore_get_response';

CREATE FUNCTION msgstore.get_response_for_chain(id text) RETURNS jsonb
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'msgstore_get_response_for_chain';

CREATE FUNCTION msgstore.update_response(
    id text,
    patch jsonb,
    worker_id text DEFAULT NULL)
    RETURNS jsonb
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'msgstore_update_response';

CREATE FUNCTION msgstore.delete_response(id text) RETURNS boolean
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'msgstore_delete_response';

REVOKE ALL ON FUNCTION msgstore._response_scope() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._owner_allows(text, boolean, text, boolean) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._check_response_move(text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._memory_is_there() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._memory_responses() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._forget_response(text, bigint) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._response_document(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._durable_document(text, boolean) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.save_response(jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.get_response(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.get_response_for_chain(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.update_response(text, jsonb, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.delete_response(text) FROM PUBLIC;

COMMENT ON FUNCTION msgstore._response_scope() IS
    'The tenant whose responses the session sees (empty: all), the owner (null: all), and whether they are in memory. Raises MS503';
COMMENT ON FUNCTION msgstore._owner_allows(text, boolean, text, boolean) IS
    'Whether a caller may read (delete, cancel) or write a response of the stored owner';
COMMENT ON FUNCTION msgstore._check_response_move(text, text) IS
    'Raises MS400 unless a response may go from one status to the other';
COMMENT ON FUNCTION msgstore._memory_is_there() IS
    'Whether the library was preloaded and has its shared memory';
COMMENT ON FUNCTION msgstore._memory_responses() IS
    'This database''s responses in memory, without their documents';
COMMENT ON FUNCTION msgstore._forget_response(text, bigint) IS
    'Removes a response from memory if it is still that version';
COMMENT ON FUNCTION msgstore._response_document(text) IS
    'The document of a response, whoever''s and deleted or not; null if there is none';
COMMENT ON FUNCTION msgstore._durable_document(text, boolean) IS
    'What get_response and get_response_for_chain find in the table. Raises MS404';
COMMENT ON FUNCTION msgstore.save_response(jsonb) IS
    'Stores a response under its id, which it returns; null and a notice if its "store" is false. Raises MS400, MS409 for an id that was ever used, MS413';
COMMENT ON FUNCTION msgstore.get_response(text) IS
    'The response with all its fields. Raises MS404 if it is unknown, deleted, or another tenant''s or owner''s';
COMMENT ON FUNCTION msgstore.get_response_for_chain(text) IS
    'The same, also for a deleted response';
COMMENT ON FUNCTION msgstore.update_response(text, jsonb, text) IS
    'Changes the fields given: status, output, error, usage, completed_at, worker_heartbeat and what has no column; returns the response. With worker_id only if that worker holds the claim. Raises MS400, MS404, MS409';
COMMENT ON FUNCTION msgstore.delete_response(text) IS
    'Deletes the response for get_response and the lists; chains keep it. Raises MS404, also the second time';
