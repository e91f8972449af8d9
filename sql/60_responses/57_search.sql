-- responses: search, with the words and queries of the search of messages.

-- The texts of items, wherever they are in them.
CREATE FUNCTION msgstore._items_text(items jsonb) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT left(coalesce(string_agg(v #>> '{}', E'\n'), ''), 16384)
    FROM unnest(ARRAY['strict $.**.text', 'strict $.**.content',
                      'strict $.**.arguments', 'strict $.**.output']::jsonpath[]) path
    CROSS JOIN LATERAL jsonb_path_query(items, path) v
    WHERE jsonb_typeof(v) = 'string'
    $$;

CREATE FUNCTION msgstore._tenant_term(tenant_id text) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN E'\x01t' || tenant_id;

CREATE FUNCTION msgstore._response_terms(
    configuration text,
    tenant_id text,
    input jsonb,
    output jsonb)
    RETURNS tsvector
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    -- A word of more than two kilobytes is left out.
    SET client_min_messages = warning
    AS $$
DECLARE
    content CONSTANT text := msgstore._fold_case(
        msgstore._items_text(input) || E'\n' || msgstore._items_text(output));
BEGIN
    RETURN array_to_tsvector(ARRAY[msgstore._tenant_term(tenant_id)])
        || to_tsvector(configuration::regconfig, content)
        || msgstore._part_terms(content);
END
$$;

-- Takes up to this many changes. The lock on the response keeps what removes it
-- from passing before the entry is there. What is locked by others stays for later.
CREATE FUNCTION msgstore._index_responses(most int) RETURNS bigint
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    places tid[];
    tenants text[];
    ids text[];
    taken bigint;
BEGIN
    SELECT array_agg(c.ctid) INTO places
    FROM (
        SELECT c.ctid FROM msgstore.response_search_changes c
        WHERE NOT msgstore._is_elsewhere(c.tenant_id) LIMIT most
        FOR UPDATE SKIP LOCKED) c;
    SELECT array_agg(r.tenant_id), array_agg(r.id) INTO tenants, ids
    FROM (
        SELECT r.tenant_id, r.id FROM msgstore.responses r
        WHERE (r.tenant_id, r.id) IN (
            SELECT c.tenant_id, c.response_id
            FROM msgstore.response_search_changes c
            WHERE c.ctid = ANY (places))
        FOR KEY SHARE SKIP LOCKED) r;
    INSERT INTO msgstore.response_search_entries AS e
    SELECT r.tenant_id, r.id, msgstore._response_terms(
        msgstore._search_configuration(r.tenant_id, ''), r.tenant_id, r.input,
        r.output)
    FROM unnest(tenants, ids) t (tenant_id, id)
    JOIN msgstore.responses r ON r.tenant_id = t.tenant_id AND r.id = t.id
    -- Another session can have a second change of the same responses.
    ORDER BY r.tenant_id, r.id
    ON CONFLICT (tenant_id, response_id) DO UPDATE SET terms = excluded.terms;
    DELETE FROM msgstore.response_search_changes c
    WHERE c.ctid = ANY (places)
        AND (EXISTS (
                SELECT FROM unnest(tenants, ids) t (tenant_id, id)
                WHERE t.tenant_id = c.tenant_id AND t.id = c.response_id)
            OR NOT EXISTS (
                SELECT FROM msgstore.responses r
                WHERE r.tenant_id = c.tenant_id AND r.id = c.response_id));
    GET DIAGNOSTICS taken = ROW_COUNT;
    RETURN taken;
END
$$;

CREATE FUNCTION msgstore.index_responses(max_responses int DEFAULT 1000) RETURNS bigint
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    PERFORM msgstore._check_no_tenant('responses to be indexed');
    IF coalesce(max_responses, 0) < 1 THEN
        RAISE EXCEPTION 'max_responses % is not positive',
            coalesce(max_responses::text, 'null')
            USING ERRCODE = 'MS400';
    END IF;
    -- Waits for the worker: what it is indexing is found after the call.
    PERFORM FROM (
        SELECT FROM msgstore.response_search_changes LIMIT max_responses
        FOR UPDATE) c;
    RETURN msgstore._index_responses(max_responses);
END
$$;

CREATE FUNCTION msgstore._response_words(query text, tenant text) RETURNS tsquery
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    words CONSTANT tsquery := msgstore._read_query(
        msgstore._search_configurations(), query);
BEGIN
    RETURN CASE WHEN tenant = '' THEN words
        ELSE msgstore._quote_term(msgstore._tenant_term(tenant))::tsquery
            && words END;
END
$$;

CREATE FUNCTION msgstore.search_responses(
    query text,
    after text DEFAULT NULL,
    before text DEFAULT NULL,
    max_results int DEFAULT 20,
    sort_order text DEFAULT 'desc',
    model text DEFAULT NULL,
    status text DEFAULT NULL,
    background boolean DEFAULT NULL)
    RETURNS jsonb
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    -- The first call loads the module, which defines the setting.
    scope record := msgstore._response_scope();
BEGIN
    IF scope.in_memory THEN
        RAISE EXCEPTION 'responses in memory cannot be searched'
            USING ERRCODE = 'MS400';
    END IF;
    IF NOT current_setting('msgstore.response_search')::boolean THEN
        RAISE EXCEPTION 'responses are not indexed'
            USING ERRCODE = 'MS400',
                  HINT = 'Set "msgstore.response_search" to "on", and call rebuild_response_search().';
    END IF;
    RETURN msgstore._list_responses(
        after, before, max_results, sort_order, model, status, background,
        msgstore._response_words(query, scope.tenant));
END
$$;

CREATE FUNCTION msgstore.rebuild_response_search() RETURNS bigint
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    scope CONSTANT text := msgstore._tenant_scope();
    asked bigint;
BEGIN
    PERFORM msgstore._check_all_here();
    -- Locks changes before entries, as _index_responses() does.
    DELETE FROM msgstore.response_search_changes c WHERE scope IN ('', c.tenant_id);
    DELETE FROM msgstore.response_search_entries e WHERE scope IN ('', e.tenant_id);
    INSERT INTO msgstore.response_search_changes (tenant_id, response_id)
    SELECT r.tenant_id, r.id FROM msgstore.responses r
    WHERE scope IN ('', r.tenant_id) AND r.ended_at IS NOT NULL;
    GET DIAGNOSTICS asked = ROW_COUNT;
    PERFORM msgstore._announce();
    RETURN asked;
END
$$;

REVOKE ALL ON FUNCTION msgstore._items_text(jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._tenant_term(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._response_terms(text, text, jsonb, jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._index_responses(int) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.index_responses(int) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._response_words(text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.search_responses(text, text, text, int, text, text, text, boolean) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.rebuild_response_search() FROM PUBLIC;

COMMENT ON FUNCTION msgstore._items_text(jsonb) IS
    'Returns the texts of items, one a line, at most 16,384 characters';
COMMENT ON FUNCTION msgstore._tenant_term(text) IS
    'Returns the term that all entries of a tenant have';
COMMENT ON FUNCTION msgstore._response_terms(text, text, jsonb, jsonb) IS
    'Returns the terms of a response, of the first 16,384 characters each of its input and output';
COMMENT ON FUNCTION msgstore._index_responses(int) IS
    'Indexes responses of response_search_changes. Takes up to this many changes, and returns how many it took';
COMMENT ON FUNCTION msgstore.index_responses(int) IS
    'Indexes responses for search_responses(), as the worker does. Takes up to max_responses changes, and returns how many it took. Raises MS400 for an invalid number, MS403 in a session of a tenant';
COMMENT ON FUNCTION msgstore._response_words(text, text) IS
    'Returns the query for responses of a tenant, or of all if it is empty. Raises MS400';
COMMENT ON FUNCTION msgstore.search_responses(text, text, text, int, text, text, text, boolean) IS
    'Finds responses of the durable store that have ended, by words of their input and output: a page of list_responses with those that match the query, which is one of search_messages. Raises MS400 for a query without a word, if msgstore.response_search is off, and in a session that uses the in-memory store';
COMMENT ON FUNCTION msgstore.rebuild_response_search() IS
    'Empties the index of responses in scope and has it built again in the background. Returns the number of responses to be indexed';
