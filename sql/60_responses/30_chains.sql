-- responses: from a response back to its ancestors, and on to its successors.

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

CREATE FUNCTION msgstore._response_chain(
    id text,
    max_items int,
    max_depth int,
    max_bytes bigint)
    RETURNS TABLE (depth int, id text, deleted boolean, response jsonb)
    LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 10
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'msgstore_response_chain';

-- The first row is cut off if its response continues from one that is not in
-- the chain.
CREATE FUNCTION msgstore.response_with_chain(id text) RETURNS jsonb
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET client_min_messages = warning
    AS $$
DECLARE
    document CONSTANT jsonb := msgstore.get_response_for_chain(id);
BEGIN
    RETURN (
        SELECT document || jsonb_build_object(
            'chain', jsonb_agg(to_jsonb(c) - 'last' ORDER BY c.depth DESC),
            'chain_truncated', coalesce(bool_or(c.depth = c.last
                AND c.response ->> 'previous_response_id' IS NOT NULL), false))
        FROM (
            SELECT s.*, max(s.depth) OVER () AS last
            FROM msgstore._response_chain(
                response_with_chain.id, NULL, 1000,
                msgstore._max_page_bytes()) s
        ) c);
END
$$;

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
    tenant text;
BEGIN
    -- Raises MS404 for a parent that is not visible to the session.
    PERFORM msgstore.get_response_for_chain(parent);
    tenant := msgstore._response_tenant(parent);
    IF scope.in_memory THEN
        RETURN QUERY
        SELECT r.id, r.deleted_at IS NOT NULL, d.document
        FROM msgstore._memory_responses() r
        CROSS JOIN LATERAL (
            SELECT msgstore._response_document(tenant, r.id) AS document) d
        WHERE r.previous_response_id = parent AND r.tenant_id = tenant
            AND (scope.owner IS NULL OR r.owner IN ('', scope.owner))
            AND d.document IS NOT NULL
        ORDER BY r.created_at, r.id COLLATE "C";
        RETURN;
    END IF;
    RETURN QUERY
    SELECT r.id, r.deleted_at IS NOT NULL,
        msgstore._response_document(tenant, r.id)
    FROM msgstore.responses r
    WHERE r.previous_response_id = parent AND r.tenant_id = tenant
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
REVOKE ALL ON FUNCTION msgstore._response_chain(text, int, int, bigint) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.response_with_chain(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._branches(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.branches(text) FROM PUBLIC;

COMMENT ON FUNCTION msgstore.response_chain(text, int, int) IS
    'Returns a response and its ancestors, deleted ones included, oldest first; depth counts the steps back. At most max_items rows, the newest, and max_depth steps; null means no limit. A notice says that max_depth cut the chain. A missing ancestor is returned as the first row, with a null response. Raises MS400 for a cycle or a negative limit, MS404';
COMMENT ON FUNCTION msgstore.chain_items(text, int, int) IS
    'Returns the items of a chain as one JSON array, oldest first, the input of each response before its output. At most the newest max_items items and max_depth steps; null means no limit. Raises a notice for a missing ancestor and for a chain that max_depth cut, MS400 for a cycle or a negative limit, MS404';
COMMENT ON FUNCTION msgstore._response_chain(text, int, int, bigint) IS
    'Implements response_chain with a limit for the size of the documents together, in bytes';
COMMENT ON FUNCTION msgstore.response_with_chain(text) IS
    'Returns a response, deleted or not, with the rows of response_chain as chain, at most as many as msgstore.max_response_bytes holds. chain_truncated tells whether older ancestors are missing. Raises MS400 for a cycle, MS404';
COMMENT ON FUNCTION msgstore._branches(text) IS
    'Implements branches';
COMMENT ON FUNCTION msgstore.branches(text) IS
    'Returns the responses that continue from this one, oldest first, deleted ones included and marked. Raises MS404';
