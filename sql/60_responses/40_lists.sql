-- responses: lists of responses and of input items, page by page.

CREATE FUNCTION msgstore._response_place(id text) RETURNS bigint
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'msgstore_response_place';

-- Finds each tenant by one index probe.
CREATE FUNCTION msgstore._response_tenants(scope text) RETURNS SETOF text
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE ROWS 1
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    tenant text := scope;
BEGIN
    IF scope <> '' THEN
        RETURN NEXT scope;
        RETURN;
    END IF;
    SELECT min(r.tenant_id) INTO tenant FROM msgstore.responses r;
    WHILE tenant IS NOT NULL LOOP
        RETURN NEXT tenant;
        SELECT min(r.tenant_id) INTO tenant FROM msgstore.responses r
        WHERE r.tenant_id > tenant;
    END LOOP;
END
$$;

-- The statement differs by store, direction and scope and is built from
-- constants. All values are parameters, and each call plans for its own.
CREATE FUNCTION msgstore._find_responses(
    place bigint,
    place_id text,
    descending boolean,
    wanted int,
    model text,
    status text,
    background boolean,
    words tsquery,
    OUT tenants text[],
    OUT ids text[])
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    scope record := msgstore._response_scope();
    owners text[] := ARRAY['', scope.owner];
    direction text := CASE WHEN descending THEN 'DESC' ELSE 'ASC' END;
    beyond text := CASE WHEN descending THEN '<' ELSE '>' END;
    -- Not below an OR, which would test each response in turn instead of starting
    -- with those that have rare words.
    matching text := CASE WHEN words IS NULL THEN '$9 IS NULL' ELSE $q$ EXISTS (
        SELECT FROM msgstore.response_search_entries e
        WHERE e.tenant_id = r.tenant_id AND e.response_id = r.id AND e.terms @@ $9) $q$ END;
    source text;
BEGIN
    IF scope.in_memory THEN
        source := $q$ FROM msgstore._memory_responses() r
            WHERE ($7 = '' OR r.tenant_id = $7)
                AND ($8 IS NULL OR r.owner = ANY ($8)) $q$;
    ELSIF scope.owner IS NULL THEN
        source := ' FROM msgstore.responses r WHERE r.tenant_id = t.tenant_id ';
    ELSE
        source := ' FROM msgstore.responses r
            WHERE r.tenant_id = t.tenant_id AND r.owner = t.owner ';
    END IF;
    source := format(
        $q$ SELECT r.created_at, r.id COLLATE "C" AS id, r.tenant_id %1$s
            AND r.deleted_at IS NULL
            AND ($4 IS NULL OR r.model = $4)
            AND ($5 IS NULL OR r.status = $5)
            AND ($6 IS NULL OR r.background = $6)
            AND %4$s
            AND ($1 IS NULL
                OR (r.created_at, r.id COLLATE "C") %2$s ($1, $2))
            ORDER BY r.created_at %3$s, r.id COLLATE "C" %3$s LIMIT $3 $q$,
        source, beyond, direction, matching);
    IF NOT scope.in_memory THEN
        source := format(
            $q$ SELECT page.* FROM (
                    SELECT t AS tenant_id, o AS owner
                    FROM msgstore._response_tenants($7) t,
                        unnest(CASE WHEN $8 IS NULL THEN ARRAY[''] ELSE $8 END)
                            o) t
                CROSS JOIN LATERAL (%1$s) page
                ORDER BY page.created_at %2$s, page.id %2$s LIMIT $3 $q$,
            source, direction);
    END IF;
    EXECUTE format(
        $q$ SELECT coalesce(array_agg(page.tenant_id
                    ORDER BY page.created_at %1$s, page.id %1$s, page.tenant_id), '{}'),
                coalesce(array_agg(page.id
                    ORDER BY page.created_at %1$s, page.id %1$s, page.tenant_id), '{}')
            FROM (%2$s) page $q$, direction, source)
    INTO tenants, ids
    USING place, place_id, wanted, model, status, background,
        scope.tenant,
        CASE WHEN scope.owner IS NOT NULL THEN owners END, words;
END
$$;

CREATE FUNCTION msgstore._response_list(
    data jsonb,
    has_more boolean)
    RETURNS jsonb
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN jsonb_build_object(
        'object', 'list',
        'data', data,
        'first_id', coalesce(data -> 0 ->> 'id', ''),
        'last_id', coalesce(data -> -1 ->> 'id', ''),
        'has_more', has_more);

-- A page before a cursor is read backwards.
CREATE FUNCTION msgstore._in_order(elements jsonb[], backwards boolean)
    RETURNS jsonb
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT coalesce(
        jsonb_agg(e.element ORDER BY CASE WHEN backwards THEN -e.n ELSE e.n END), '[]')
    FROM unnest(elements) WITH ORDINALITY e (element, n)
    $$;

CREATE FUNCTION msgstore._response_page(
    max_results int,
    sort_order text,
    OUT size int,
    OUT descending boolean)
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    size := CASE WHEN max_results > 0 THEN least(max_results, 100) ELSE 20 END;
    IF sort_order IS NULL OR sort_order NOT IN ('asc', 'desc') THEN
        RAISE EXCEPTION 'invalid sort order %',
            coalesce('"' || left(sort_order, 64) || '"', 'null')
            USING ERRCODE = 'MS400',
                  DETAIL = 'The sort order must be asc or desc.',
                  COLUMN = 'order';
    END IF;
    descending := sort_order = 'desc';
END
$$;

-- Those that match the words, or all if they are null.
CREATE FUNCTION msgstore._list_responses(
    after text,
    before text,
    max_results int,
    sort_order text,
    model text,
    status text,
    background boolean,
    words tsquery)
    RETURNS jsonb
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    page record := msgstore._response_page(max_results, sort_order);
    backwards boolean := after IS NULL AND before IS NOT NULL;
    place_id text := coalesce(after, before);
    place bigint := msgstore._response_place(place_id);
    found_page record;
    documents jsonb[] := '{}';
    document jsonb;
    bytes bigint := 0;
    n int := 0;
BEGIN
    IF place_id IS NOT NULL AND place IS NULL THEN
        RETURN msgstore._response_list('[]', false);
    END IF;
    found_page := msgstore._find_responses(
        place, place_id, page.descending <> backwards, page.size + 1,
        model, status, background, words);
    WHILE n < least(cardinality(found_page.ids), page.size) LOOP
        document := msgstore._response_document(
            found_page.tenants[n + 1], found_page.ids[n + 1]);
        bytes := bytes + coalesce(msgstore._document_bytes(document), 0);
        -- At least one, so that a walk over all pages comes to an end.
        EXIT WHEN cardinality(documents) > 0
            AND bytes > msgstore._max_page_bytes();
        n := n + 1;
        IF document IS NOT NULL THEN
            documents := documents || document;
        END IF;
    END LOOP;
    RETURN msgstore._response_list(msgstore._in_order(documents, backwards),
                                   cardinality(found_page.ids) > n);
END
$$;

CREATE FUNCTION msgstore.list_responses(
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
BEGIN
    RETURN msgstore._list_responses(
        after, before, max_results, sort_order, model, status, background, NULL);
END
$$;

CREATE FUNCTION msgstore.response_input_items(
    id text,
    after text DEFAULT NULL,
    before text DEFAULT NULL,
    max_results int DEFAULT 20,
    sort_order text DEFAULT 'asc')
    RETURNS jsonb
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    page record := msgstore._response_page(max_results, sort_order);
    backwards boolean := after IS NULL AND before IS NOT NULL;
    place_id text := coalesce(after, before);
    items jsonb[];
    place bigint;
    data jsonb;
    found int := 0;
BEGIN
    -- An item without an id gets one from its position, so that it can serve
    -- as a cursor.
    SELECT array_agg(CASE WHEN jsonb_typeof(i.item) = 'object'
                               AND i.item ->> 'id' IS NULL
                          THEN i.item || jsonb_build_object('id', 'item_' || i.n)
                          ELSE i.item END
                     ORDER BY CASE WHEN page.descending THEN -i.n ELSE i.n END)
    INTO items
    FROM jsonb_array_elements(
        msgstore.get_response(response_input_items.id) -> 'input')
        WITH ORDINALITY i (item, n);
    SELECT min(i.n) INTO place
    FROM unnest(items) WITH ORDINALITY i (item, n)
    WHERE i.item ->> 'id' = place_id;
    IF place_id IS NULL OR place IS NOT NULL THEN
        SELECT jsonb_agg(p.item ORDER BY p.n) FILTER (WHERE p.rank <= page.size),
            count(*)
        INTO data, found
        FROM (
            SELECT i.item, i.n, row_number() OVER (
                       ORDER BY CASE WHEN backwards THEN -i.n ELSE i.n END)
                       AS rank
            FROM unnest(items) WITH ORDINALITY i (item, n)
            WHERE place IS NULL
                OR CASE WHEN backwards THEN i.n < place ELSE i.n > place END
        ) p;
    END IF;
    RETURN msgstore._response_list(coalesce(data, '[]'), found > page.size);
END
$$;

REVOKE ALL ON FUNCTION msgstore._response_place(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._response_tenants(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._find_responses(bigint, text, boolean, int, text, text, boolean, tsquery) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._response_list(jsonb, boolean) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._in_order(jsonb[], boolean) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._response_page(int, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._list_responses(text, text, int, text, text, text, boolean, tsquery) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.list_responses(text, text, int, text, text, text, boolean) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.response_input_items(text, text, text, int, text) FROM PUBLIC;

COMMENT ON FUNCTION msgstore._response_place(text) IS
    'Returns the creation time of a response that is visible to the session, deleted or not; otherwise null';
COMMENT ON FUNCTION msgstore._response_tenants(text) IS
    'Returns the tenant of the session, or all tenants that have responses for a session without one';
COMMENT ON FUNCTION msgstore._find_responses(bigint, text, boolean, int, text, text, boolean, tsquery) IS
    'Returns the tenants and IDs of one page of visible responses, starting after the given position';
COMMENT ON FUNCTION msgstore._response_list(jsonb, boolean) IS
    'Returns the list object for these elements';
COMMENT ON FUNCTION msgstore._in_order(jsonb[], boolean) IS
    'Returns the elements as a JSON array, in reverse if they were read backwards';
COMMENT ON FUNCTION msgstore._response_page(int, text) IS
    'Returns the page size, limited to the allowed range, and the sort direction. Raises MS400 for an invalid sort order';
COMMENT ON FUNCTION msgstore._list_responses(text, text, int, text, text, text, boolean, tsquery) IS
    'Implements list_responses and search_responses: only responses that match the words, if there are any';
COMMENT ON FUNCTION msgstore.list_responses(text, text, int, text, text, text, boolean) IS
    'Returns one page of responses by creation time and ID: {object, data, first_id, last_id, has_more}. The cursors after and before are IDs; after takes precedence. max_results is limited to 100, and 20 if it is null or less than 1; a page ends early where its documents exceed msgstore.max_response_bytes. Raises MS400 for an invalid sort order';
COMMENT ON FUNCTION msgstore.response_input_items(text, text, text, int, text) IS
    'Returns one page of the input items of a response, in the order they were saved, as {object, data, first_id, last_id, has_more}. Cursors and limits are those of list_responses. Raises MS400 for an invalid sort order, MS404';
