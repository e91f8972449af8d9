CREATE FUNCTION msgstore.response_chain(
    id text,
    max_items int DEFAULT NULL,
    max_depth int DEFAULT 1000)
    RETURNS TABLE (depth int, id text, deleted boolean, response jsonb)
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER ROWS 10
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'msgstore_response_chain';

CREATE FUNCTION msgstore.chain_items(
    id text,
    max_items int DEFAULT NULL,
    max_depth int DEFAULT 1000)
    RETURNS jsonb
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'msgstore_chain_items';

-- The responses that continue from one, in the order they were made.
CREATE FUNCTION msgstore._branches(
    parent text,
    OUT id text,
    OUT deleted boolean,
    OUT response jsonb)
    RETURNS SETOF record
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = 'force_custom_plan'
    AS $$
#variable_conflict use_column
DECLARE
    scope record := msgstore._response_scope();
BEGIN
    -- Raises MS404 for a parent that the session may not see.
    PERFORM msgstore.get_response_for_chain(parent);
    IF scope.in_memory THEN
        RETURN QUERY
        SELECT r.id, r.deleted_at IS NOT NULL, d.document
        FROM msgstore._memory_responses() r
        CROSS JOIN LATERAL (
            SELECT msgstore._response_document(r.id) AS document) d
        WHERE r.previous_response_id = parent
            AND (scope.tenant = '' OR r.tenant_id = scope.tenant)
            AND (scope.owner IS NULL OR r.owner IN ('', scope.owner))
            AND d.document IS NOT NULL
        ORDER BY r.created_at, r.id COLLATE "C";
        RETURN;
    END IF;
    RETURN QUERY
    SELECT r.id, r.deleted_at IS NOT NULL, msgstore._response_document(r.id)
    FROM msgstore.responses r
    WHERE r.previous_response_id = parent
        AND (scope.tenant = '' OR r.tenant_id = scope.tenant)
        AND (scope.owner IS NULL OR r.owner IN ('', scope.owner))
    ORDER BY r.created_at, r.id;
END
$$;

CREATE FUNCTION msgstore.branches(id text)
    RETURNS TABLE (id text, deleted boolean, response jsonb)
    LANGUAGE sql VOLATILE STRICT PARALLEL UNSAFE SECURITY DEFINER ROWS 10
    SET search_path = pg_catalog, pg_temp
    AS 'SELECT b.id, b.deleted, b.response FROM msgstore._branches($1) b';

REVOKE ALL ON FUNCTION msgstore.response_chain(text, int, int) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.chain_items(text, int, int) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._branches(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.branches(text) FROM PUBLIC;

COMMENT ON FUNCTION msgstore.response_chain(text, int, int) IS
    'The response and what it continues from, oldest first, deleted ones included; depth counts the steps back. A missing ancestor is a last row with a null response. At most max_items rows, the newest, and max_depth steps. Raises MS404, MS400 for a circle';
COMMENT ON FUNCTION msgstore.chain_items(text, int, int) IS
    'The items of the chain as one array, input before output, oldest first; at most max_items, the newest. A notice names a missing ancestor. Raises MS404, MS400';
COMMENT ON FUNCTION msgstore._branches(text) IS
    'The rows of branches()';
COMMENT ON FUNCTION msgstore.branches(text) IS
    'The responses that continue from it, in the order they were made, deleted ones marked. Raises MS404';
