-- responses: save, get, update and delete one response, in the store that the
-- session uses.

CREATE FUNCTION msgstore._response_scope(
    OUT tenant text,
    OUT owner text,
    OUT in_memory boolean,
    OUT caller text,
    OUT is_admin boolean)
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

CREATE FUNCTION msgstore._memory_has_background() RETURNS boolean
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'msgstore_memory_has_background';

CREATE FUNCTION msgstore._memory_usage(OUT responses bigint, OUT bytes bigint)
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'msgstore_memory_usage';

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
        ended_at timestamptz,
        version bigint)
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'msgstore_memory_responses';

CREATE FUNCTION msgstore._forget_response(
    tenant text,
    id text,
    version bigint)
    RETURNS boolean
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'msgstore_forget_response';

CREATE FUNCTION msgstore._document_bytes(document jsonb) RETURNS bigint
    LANGUAGE c STABLE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'msgstore_document_bytes';

CREATE FUNCTION msgstore._max_page_bytes() RETURNS bigint
    LANGUAGE c STABLE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'msgstore_max_page_bytes';

CREATE FUNCTION msgstore._response_tenant(id text) RETURNS text
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'msgstore_response_tenant';

CREATE FUNCTION msgstore._response_document(tenant text, id text) RETURNS jsonb
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

-- Runs with the caller's rights, because reading from memory needs no others
-- and switching the user costs more than the read. For the table it calls
-- _durable_document.
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
REVOKE ALL ON FUNCTION msgstore._memory_has_background() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._memory_usage() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._memory_responses() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._forget_response(text, text, bigint) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._document_bytes(jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._max_page_bytes() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._response_tenant(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._response_document(text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._durable_document(text, boolean) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.save_response(jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.get_response(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.get_response_for_chain(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.update_response(text, jsonb, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.delete_response(text) FROM PUBLIC;

COMMENT ON FUNCTION msgstore._response_scope() IS
    'Returns the session''s tenant (empty: all tenants), its owner (null: all owners), whether it uses the in-memory store, its owner as set, and whether it is an administrator. Raises MS503 if the in-memory store is not available';
COMMENT ON FUNCTION msgstore._owner_allows(text, boolean, text, boolean) IS
    'Returns whether a caller may read, delete or cancel (writing: update) a response that has this owner';
COMMENT ON FUNCTION msgstore._check_response_move(text, text) IS
    'Raises MS400 if a response cannot move from the old status to the new one';
COMMENT ON FUNCTION msgstore._memory_is_there() IS
    'Returns whether the in-memory store exists, that is, whether msgstore was preloaded';
COMMENT ON FUNCTION msgstore._memory_has_background() IS
    'Returns whether this database has background responses in memory, whichever store the session uses';
COMMENT ON FUNCTION msgstore._memory_usage() IS
    'Returns the number of responses in memory and the bytes that they take, of all databases';
COMMENT ON FUNCTION msgstore._memory_responses() IS
    'Returns this database''s responses in memory, without their documents. No rows in a session that uses the durable store';
COMMENT ON FUNCTION msgstore._forget_response(text, text, bigint) IS
    'Removes a response from memory if it still has this version. Returns whether it did';
COMMENT ON FUNCTION msgstore._document_bytes(jsonb) IS
    'Returns about the number of bytes that a document takes when it is printed';
COMMENT ON FUNCTION msgstore._max_page_bytes() IS
    'Returns the number of bytes after which a page or a chain ends, msgstore.max_response_bytes';
COMMENT ON FUNCTION msgstore._response_tenant(text) IS
    'Returns the tenant of the response with this ID that the session sees: the session''s, or for a session without a tenant the only one; null if there is none. Raises MS409 if there are several';
COMMENT ON FUNCTION msgstore._response_document(text, text) IS
    'Returns the document of a response of any owner, deleted or not; null if there is none';
COMMENT ON FUNCTION msgstore._durable_document(text, boolean) IS
    'Implements get_response and get_response_for_chain for the durable store. Raises MS404';
COMMENT ON FUNCTION msgstore.save_response(jsonb) IS
    'Saves a response and returns its ID. With "store": false saves nothing, returns null and raises a notice. Raises MS400 for an invalid document, MS409 for an ID that the tenant uses or has used, MS413 for a document that is too large, MS503 if the in-memory store is not available';
COMMENT ON FUNCTION msgstore.get_response(text) IS
    'Returns the whole response. Raises MS404 if it does not exist, is deleted, or belongs to another tenant or owner';
COMMENT ON FUNCTION msgstore.get_response_for_chain(text) IS
    'Returns the whole response, even if it is deleted. Raises MS404 if it does not exist or belongs to another tenant or owner';
COMMENT ON FUNCTION msgstore.update_response(text, jsonb, text) IS
    'Changes the fields in the patch and returns the response. The patch can hold status, output, error, usage, completed_at, worker_heartbeat and fields without a column. With a worker_id, the worker must hold the claim. Raises MS400 for an invalid patch, MS404, MS409 without the claim, MS413';
COMMENT ON FUNCTION msgstore.delete_response(text) IS
    'Deletes a response softly: get_response and lists no longer return it, chains do. Returns true. Raises MS404, also for a second delete';
