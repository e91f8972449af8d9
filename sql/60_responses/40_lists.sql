CREATE TABLE msgstore.responses (
    tenant_id text COLLATE "C" NOT NULL DEFAULT '',
    id text COLLATE "C" NOT NULL,
    owner text COLLATE "C" NOT NULL DEFAULT '',
    status text COLLATE "C" NOT NULL,
    model text COLLATE "C" NOT NULL,
    previous_response_id text COLLATE "C",
    input jsonb NOT NULL DEFAULT '[]',
    output jsonb NOT NULL DEFAULT '[]',
    usage_input_tokens int NOT NULL DEFAULT 0,
    usage_output_tokens int NOT NULL DEFAULT 0,
    usage_total_tokens int NOT NULL DEFAULT 0,
    error jsonb,
    extensions jsonb,
    created_at bigint NOT NULL,
    completed_at bigint,
    deleted_at timestamptz,
    background boolean NOT NULL DEFAULT false,
    background_request jsonb,
    worker_id text,
    worker_heartbeat timestamptz,
    attempt_count int NOT NULL DEFAULT 0,
    CONSTRAINT responses_pkey PRIMARY KEY (tenant_id, id),
    -- Ids are those of all tenants, and a response is found by nothing else.
    -- No unique constraint, so that the table could still be distributed by
    -- tenant: there this one would be left out.
    CONSTRAINT responses_id_excl EXCLUDE USING btree (id WITH =),
    CONSTRAINT responses_id_length
        CHECK (octet_length(id) BETWEEN 1 AND 255),
    CONSTRAINT responses_status_known
        CHECK (status IN ('queued', 'in_progress', 'completed', 'incomplete',
                          'failed', 'cancelled', 'requires_action')),
    CONSTRAINT responses_input_array CHECK (jsonb_typeof(input) = 'array'),
    CONSTRAINT responses_output_array CHECK (jsonb_typeof(output) = 'array'),
    CONSTRAINT responses_extensions_object
        CHECK (jsonb_typeof(extensions) = 'object')
);

-- The lists, of a tenant and of an owner in it.
CREATE INDEX responses_tenant_idx
    ON msgstore.responses (tenant_id, created_at, id)
    WHERE deleted_at IS NULL;
CREATE INDEX responses_owner_idx
    ON msgstore.responses (tenant_id, owner, created_at, id)
    WHERE deleted_at IS NULL;
-- Branches, and what a purge must leave.
CREATE INDEX responses_previous_idx
    ON msgstore.responses (previous_response_id, created_at, id)
    WHERE previous_response_id IS NOT NULL;
CREATE INDEX responses_created_at_idx ON msgstore.responses (created_at);
-- Claims take the oldest that is queued, the cleanup the oldest that is done.
CREATE INDEX responses_background_idx
    ON msgstore.responses (status, created_at, id)
    WHERE background;
CREATE INDEX responses_heartbeat_idx
    ON msgstore.responses (worker_heartbeat)
    WHERE background AND status = 'in_progress';

SELECT pg_catalog.pg_extension_config_dump('msgstore.responses', '');

CREATE FUNCTION msgstore._response_scope(
    OUT tenant text,
    OUT owner text,
    OUT in_memory boolean)
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'msgstore_response_scope';

CREATE FUNCTION msgstore._memory_is_there() RETURNS boolean
    LANGUAGE c STABLE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'msgstore_memory_is_there';

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

CREATE FUNCTION msgstore._response_document(id text) RETURNS jsonb
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'msgstore_response_document';

CREATE FUNCTION msgstore._durable_document(id text, deleted_too boolean)
    RETURNS jsonb
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'msgstore_durable_document';

CREATE FUNCTION msgstore._response_place(id text) RETURNS bigint
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'msgstore_response_place';

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

CREATE FUNCTION msgstore._reap_response(
    id text,
    before timestamptz,
    retry boolean)
    RETURNS boolean
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'msgstore_reap_response';

-- The tenants whose responses this session sees, found by one index probe for
-- each.
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

-- The ids from a place on, in the order of a list. What differs between the
-- stores, the directions and the scopes is put together of constants; values
-- are parameters, and the plan is made for them.
CREATE FUNCTION msgstore._find_responses(
    place bigint,
    place_id text,
    descending boolean,
    wanted int,
    model text,
    status text,
    background boolean)
    RETURNS text[]
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    scope record := msgstore._response_scope();
    owners text[] := ARRAY['', scope.owner];
    direction text := CASE WHEN descending THEN 'DESC' ELSE 'ASC' END;
    beyond text := CASE WHEN descending THEN '<' ELSE '>' END;
    source text;
    ids text[];
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
        $q$ SELECT r.created_at, r.id COLLATE "C" AS id %1$s
            AND r.deleted_at IS NULL
            AND ($4 IS NULL OR r.model = $4)
            AND ($5 IS NULL OR r.status = $5)
            AND ($6 IS NULL OR r.background = $6)
            AND ($1 IS NULL
                OR (r.created_at, r.id COLLATE "C") %2$s ($1, $2))
            ORDER BY r.created_at %3$s, r.id COLLATE "C" %3$s LIMIT $3 $q$,
        source, beyond, direction);
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
        $q$ SELECT array_agg(page.id ORDER BY page.created_at %1$s, page.id %1$s)
            FROM (%2$s) page $q$, direction, source)
    INTO ids
    USING place, place_id, wanted, model, status, background,
        scope.tenant,
        CASE WHEN scope.owner IS NOT NULL THEN owners END;
    RETURN coalesce(ids, '{}');
END
$$;

-- The answer of a list from its elements, their ids, and whether there are
-- more.
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

-- What a page asks for, put right or refused.
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
        RAISE EXCEPTION 'sort order "%" does not exist', left(sort_order, 64)
            USING ERRCODE = 'MS400',
                  DETAIL = 'An order is asc or desc.',
                  COLUMN = 'order';
    END IF;
    descending := sort_order = 'desc';
END
$$;

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

-- All that are stale and not just held by another session: perhaps by the
-- worker, whose heartbeat it is.
CREATE FUNCTION msgstore._reap_responses(before timestamptz, retry boolean)
    RETURNS bigint
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    scope record := msgstore._response_scope();
    reaped bigint;
BEGIN
    IF scope.in_memory THEN
        SELECT count(*) INTO reaped
        FROM msgstore._memory_responses() r
        WHERE r.background AND r.status = 'in_progress'
            AND r.deleted_at IS NULL AND r.worker_heartbeat < before
            AND (scope.tenant = '' OR r.tenant_id = scope.tenant)
            AND msgstore._reap_response(r.id, before, retry);
        RETURN reaped;
    END IF;
    -- OFFSET: first the locks, then the function.
    SELECT count(*) INTO reaped
    FROM (
        SELECT r.id FROM msgstore.responses r
        WHERE r.background AND r.status = 'in_progress'
            AND r.deleted_at IS NULL AND r.worker_heartbeat < before
            AND (scope.tenant = '' OR r.tenant_id = scope.tenant)
        OFFSET 0
        FOR NO KEY UPDATE SKIP LOCKED
    ) stale
    WHERE msgstore._reap_response(stale.id, before, retry);
    RETURN reaped;
END
$$;

CREATE FUNCTION msgstore.save_response(response jsonb) RETURNS text
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'msgstore_save_response';

CREATE FUNCTION msgstore.save_background(response jsonb, request jsonb)
    RETURNS text
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'msgstore_save_background';

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

CREATE FUNCTION msgstore.branches(id text)
    RETURNS TABLE (id text, deleted boolean, response jsonb)
    LANGUAGE sql VOLATILE STRICT PARALLEL UNSAFE SECURITY DEFINER ROWS 10
    SET search_path = pg_catalog, pg_temp
    AS 'SELECT b.id, b.deleted, b.response FROM msgstore._branches($1) b';

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
DECLARE
    page record := msgstore._response_page(max_results, sort_order);
    backwards boolean := after IS NULL AND before IS NOT NULL;
    place_id text := coalesce(after, before);
    place bigint := msgstore._response_place(place_id);
    ids text[] := '{}';
    data jsonb;
BEGIN
    IF place_id IS NULL OR place IS NOT NULL THEN
        ids := msgstore._find_responses(
            place, place_id, page.descending <> backwards, page.size + 1,
            model, status, background);
    END IF;
    SELECT jsonb_agg(d.document
                     ORDER BY CASE WHEN backwards THEN -i.n ELSE i.n END)
    INTO data
    FROM unnest(ids[:page.size]) WITH ORDINALITY i (id, n)
    CROSS JOIN LATERAL (
        SELECT msgstore._response_document(i.id) AS document) d
    WHERE d.document IS NOT NULL;
    RETURN msgstore._response_list(coalesce(data, '[]'),
                                   cardinality(ids) > page.size);
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
    -- An item without an id gets one by its place, or no page could go on
    -- after it.
    SELECT array_agg(CASE WHEN jsonb_typeof(i.item) = 'object'
                               AND NOT i.item ? 'id'
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

CREATE FUNCTION msgstore.purge_responses(older_than interval) RETURNS bigint
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    scope record := msgstore._response_scope();
    removed bigint;
BEGIN
    -- What something that stays continues from stays with it.
    EXECUTE
        $q$ WITH RECURSIVE known AS $q$
        || CASE WHEN scope.in_memory
                THEN $q$ MATERIALIZED (
                    SELECT r.* FROM msgstore._memory_responses() r) $q$
                ELSE $q$ NOT MATERIALIZED (
                    SELECT r.*, 0 AS version FROM msgstore.responses r) $q$
           END
        || $q$, doomed AS MATERIALIZED (
                SELECT k.tenant_id, k.id, k.previous_response_id, k.version
                FROM known k
                WHERE ($1 = '' OR k.tenant_id = $1)
                    AND ($2 IS NULL OR k.owner IN ('', $2))
                    AND (k.deleted_at IS NOT NULL
                        OR k.created_at < $3
                            AND k.status NOT IN ('queued', 'in_progress'))
            ), needed AS (
                SELECT d.id, d.previous_response_id
                FROM doomed d
                WHERE EXISTS (
                    SELECT FROM known k
                    WHERE k.previous_response_id = d.id
                        AND k.tenant_id = d.tenant_id
                        AND NOT EXISTS (SELECT FROM doomed o WHERE o.id = k.id))
                UNION
                SELECT d.id, d.previous_response_id
                FROM needed n
                JOIN doomed d ON d.id = n.previous_response_id
            -- Before anything is forgotten it is known what all leaves.
            ), leaving AS MATERIALIZED (
                SELECT d.* FROM doomed d
                WHERE NOT EXISTS (SELECT FROM needed n WHERE n.id = d.id)
            ) $q$
        || CASE WHEN scope.in_memory
                THEN $q$ SELECT count(*) FROM leaving l
                    WHERE msgstore._forget_response(l.id, l.version) $q$
                ELSE $q$, gone AS (
                        DELETE FROM msgstore.responses r USING leaving l
                        WHERE r.tenant_id = l.tenant_id AND r.id = l.id
                        RETURNING 1)
                    SELECT count(*) FROM gone $q$
           END
    INTO removed
    USING scope.tenant, scope.owner,
        extract(epoch FROM now() - older_than)::bigint;
    RETURN removed;
END
$$;

CREATE FUNCTION msgstore.claim_response(worker_id text)
    RETURNS TABLE (id text, response jsonb, request jsonb)
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE SECURITY DEFINER ROWS 1
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'msgstore_claim_response';

CREATE FUNCTION msgstore.heartbeat_response(id text, worker_id text)
    RETURNS boolean
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'msgstore_heartbeat_response';

CREATE FUNCTION msgstore.cancel_response(
    id text,
    delete_finished boolean DEFAULT true)
    RETURNS jsonb
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'msgstore_cancel_response';

CREATE FUNCTION msgstore.save_background_request(id text, request jsonb)
    RETURNS boolean
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'msgstore_save_background_request';

CREATE FUNCTION msgstore.stale_responses(stale_after interval DEFAULT NULL)
    RETURNS SETOF text
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER ROWS 10
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    scope record := msgstore._response_scope();
    before timestamptz := clock_timestamp() - coalesce(
        stale_after, current_setting('msgstore.response_stale_after')::interval);
BEGIN
    IF scope.in_memory THEN
        RETURN QUERY
        SELECT r.id FROM msgstore._memory_responses() r
        WHERE r.background AND r.status = 'in_progress'
            AND r.deleted_at IS NULL AND r.worker_heartbeat < before
            AND (scope.tenant = '' OR r.tenant_id = scope.tenant)
        ORDER BY r.worker_heartbeat, r.id COLLATE "C";
        RETURN;
    END IF;
    RETURN QUERY
    SELECT r.id FROM msgstore.responses r
    WHERE r.background AND r.status = 'in_progress'
        AND r.deleted_at IS NULL AND r.worker_heartbeat < before
        AND (scope.tenant = '' OR r.tenant_id = scope.tenant)
    ORDER BY r.worker_heartbeat, r.id;
END
$$;

CREATE FUNCTION msgstore.reap_responses(
    stale_after interval DEFAULT interval '60 seconds')
    RETURNS bigint
    LANGUAGE sql VOLATILE STRICT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'SELECT msgstore._reap_responses(clock_timestamp() - $1, true)';

CREATE FUNCTION msgstore.cleanup_responses(
    cutoff bigint,
    batch int DEFAULT NULL)
    RETURNS bigint
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    scope record := msgstore._response_scope();
    most int := coalesce(
        batch, current_setting('msgstore.response_cleanup_batch')::int);
    removed bigint;
BEGIN
    IF scope.in_memory THEN
        SELECT count(*) INTO removed
        FROM (
            SELECT r.id, r.version FROM msgstore._memory_responses() r
            WHERE r.background
                AND r.status IN ('completed', 'failed', 'cancelled')
                AND r.created_at < cutoff
                AND (scope.tenant = '' OR r.tenant_id = scope.tenant)
            ORDER BY r.created_at, r.id COLLATE "C" LIMIT most
        ) o
        WHERE msgstore._forget_response(o.id, o.version);
        RETURN removed;
    END IF;
    DELETE FROM msgstore.responses r
    USING (
        SELECT o.tenant_id, o.id
        FROM unnest(ARRAY['completed', 'failed', 'cancelled']) done (status)
        CROSS JOIN LATERAL (
            SELECT r.tenant_id, r.id, r.created_at
            FROM msgstore.responses r
            WHERE r.background AND r.status = done.status
                AND r.created_at < cutoff
                AND (scope.tenant = '' OR r.tenant_id = scope.tenant)
            ORDER BY r.created_at, r.id LIMIT most
            FOR UPDATE SKIP LOCKED
        ) o
        ORDER BY o.created_at, o.id LIMIT most
    ) o
    WHERE r.tenant_id = o.tenant_id AND r.id = o.id;
    GET DIAGNOSTICS removed = ROW_COUNT;
    RETURN removed;
END
$$;

-- For the worker: both stores, whichever the session's is.
CREATE FUNCTION msgstore._response_housekeeping() RETURNS bigint
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET msgstore.response_store = 'durable'
    AS $$
DECLARE
    -- First of all: the call loads the module, and with it its settings.
    stores int := CASE WHEN msgstore._memory_is_there() THEN 2 ELSE 1 END;
    ttl interval := current_setting('msgstore.response_ttl')::interval;
    before timestamptz := clock_timestamp()
        - current_setting('msgstore.response_stale_after')::interval;
    changed bigint := 0;
BEGIN
    FOR store IN 1 .. stores LOOP
        IF store = 2 THEN
            PERFORM set_config('msgstore.response_store', 'memory', true);
        END IF;
        changed := changed + msgstore._reap_responses(before, false);
        IF ttl > interval '0' THEN
            changed := changed + msgstore.cleanup_responses(
                extract(epoch FROM now() - ttl)::bigint);
        END IF;
    END LOOP;
    RETURN changed;
END
$$;

-- Background responses are rare, and a minute is soon enough for them.
CREATE FUNCTION msgstore._response_turn() RETURNS bigint
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off
    AS $$
BEGIN
    PERFORM msgstore._response_housekeeping();
    IF EXISTS (SELECT FROM msgstore.responses r WHERE r.background)
        OR (msgstore._memory_is_there()
            AND EXISTS (SELECT FROM msgstore._memory_responses() m
                        WHERE m.background))
    THEN
        RETURN 60000;
    END IF;
    RETURN -1;
END
$$;

REVOKE ALL ON FUNCTION msgstore._response_scope() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._memory_is_there() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._owner_allows(text, boolean, text, boolean) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._check_response_move(text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._response_document(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._durable_document(text, boolean) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._response_place(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._memory_responses() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._forget_response(text, bigint) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._reap_response(text, timestamptz, boolean) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._reap_responses(timestamptz, boolean) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._response_tenants(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._find_responses(bigint, text, boolean, int, text, text, boolean) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._response_list(jsonb, boolean) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._response_page(int, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._branches(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._response_housekeeping() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._response_turn() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.save_response(jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.save_background(jsonb, jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.save_background_request(text, jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.get_response(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.get_response_for_chain(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.response_chain(text, int, int) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.chain_items(text, int, int) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.branches(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.update_response(text, jsonb, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.delete_response(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.cancel_response(text, boolean) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.list_responses(text, text, int, text, text, text, boolean) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.response_input_items(text, text, text, int, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.claim_response(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.heartbeat_response(text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.stale_responses(interval) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.reap_responses(interval) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.cleanup_responses(bigint, int) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.purge_responses(interval) FROM PUBLIC;

COMMENT ON TABLE msgstore.responses IS
    'Responses of an assistant, each linked to the one it continues from; deleted ones stay for the chains. Empty while msgstore.response_store is memory';
COMMENT ON COLUMN msgstore.responses.extensions IS
    'The fields of the document that have no column, as they were saved';
COMMENT ON COLUMN msgstore.responses.created_at IS 'Unix seconds';
COMMENT ON COLUMN msgstore.responses.completed_at IS 'Unix seconds';
COMMENT ON COLUMN msgstore.responses.attempt_count IS
    'How often a worker has claimed it';
COMMENT ON FUNCTION msgstore.save_response(jsonb) IS
    'Stores a response under its id, which it returns; null and a notice if its "store" is false. Raises MS400, MS409 for an id that was ever used, MS413';
COMMENT ON FUNCTION msgstore.save_background(jsonb, jsonb) IS
    'Stores a queued background response with the request that a worker will need. Raises as save_response';
COMMENT ON FUNCTION msgstore.save_background_request(text, jsonb) IS
    'Keeps a request with a response; false, and nothing happens, if there is no such response';
COMMENT ON FUNCTION msgstore.get_response(text) IS
    'The response with all its fields. Raises MS404 if it is unknown, deleted, or another tenant''s or owner''s';
COMMENT ON FUNCTION msgstore.get_response_for_chain(text) IS
    'The same, also for a deleted response';
COMMENT ON FUNCTION msgstore.response_chain(text, int, int) IS
    'The response and what it continues from, oldest first, deleted ones included; depth counts the steps back. A missing ancestor is a last row with a null response. At most max_items rows, the newest, and max_depth steps. Raises MS404, MS400 for a circle';
COMMENT ON FUNCTION msgstore.chain_items(text, int, int) IS
    'The items of the chain as one array, input before output, oldest first; at most max_items, the newest. A notice names a missing ancestor. Raises MS404, MS400';
COMMENT ON FUNCTION msgstore.branches(text) IS
    'The responses that continue from it, in the order they were made, deleted ones marked. Raises MS404';
COMMENT ON FUNCTION msgstore.update_response(text, jsonb, text) IS
    'Changes the fields given: status, output, error, usage, completed_at, worker_heartbeat and what has no column; returns the response. With worker_id only if that worker holds the claim. Raises MS400, MS404, MS409';
COMMENT ON FUNCTION msgstore.delete_response(text) IS
    'Deletes the response for get_response and the lists; chains keep it. Raises MS404, also the second time';
COMMENT ON FUNCTION msgstore.cancel_response(text, boolean) IS
    'Cancels a background response that is queued or in progress and returns it. Any other is deleted (null), or with delete_finished false refused with MS409, unless it is cancelled already. Raises MS404';
COMMENT ON FUNCTION msgstore.list_responses(text, text, int, text, text, text, boolean) IS
    'A page of responses by the time they were made: {object, data, first_id, last_id, has_more}. after and before are ids, after wins; max_results is held to 1..100. Raises MS400 for a bad order';
COMMENT ON FUNCTION msgstore.response_input_items(text, text, text, int, text) IS
    'A page of a response''s input items, in the order they were saved, in the same shape. Raises MS404, MS400 for a bad order';
COMMENT ON FUNCTION msgstore.claim_response(text) IS
    'The oldest queued background response, now in progress and this worker''s, with its request; no row if there is none';
COMMENT ON FUNCTION msgstore.heartbeat_response(text, text) IS
    'Says that the worker still works on the response. Raises MS404, MS409 if it no longer holds the claim';
COMMENT ON FUNCTION msgstore.stale_responses(interval) IS
    'Background responses in progress whose heartbeat is older; null: older than msgstore.response_stale_after';
COMMENT ON FUNCTION msgstore.reap_responses(interval) IS
    'Queues again what was not heard of for so long, at most msgstore.max_retries times, then marks it failed; returns how many';
COMMENT ON FUNCTION msgstore.cleanup_responses(bigint, int) IS
    'Removes finished background responses made before that Unix second, at most batch of them (null: msgstore.response_cleanup_batch); returns how many';
COMMENT ON FUNCTION msgstore.purge_responses(interval) IS
    'Removes for good what is deleted, or was made longer ago and is not being made; but nothing that a response which stays continues from. Returns how many';
COMMENT ON FUNCTION msgstore._response_housekeeping() IS
    'For the worker, in both stores: marks responses failed that were silent for msgstore.response_stale_after, removes finished background responses older than msgstore.response_ttl; returns how many';
COMMENT ON FUNCTION msgstore._response_turn() IS
    'The housekeeping, and in how many milliseconds the worker is to do it again; -1: there are no background responses';
COMMENT ON FUNCTION msgstore._response_scope() IS
    'The tenant whose responses the session sees (empty: all), the owner (null: all), and whether they are in memory. Raises MS503';
COMMENT ON FUNCTION msgstore._memory_is_there() IS
    'Whether the library was preloaded and has its shared memory';
COMMENT ON FUNCTION msgstore._owner_allows(text, boolean, text, boolean) IS
    'Whether a caller may read (delete, cancel) or write a response of the stored owner';
COMMENT ON FUNCTION msgstore._check_response_move(text, text) IS
    'Raises MS400 unless a response may go from one status to the other';
COMMENT ON FUNCTION msgstore._response_document(text) IS
    'The document of a response, whoever''s and deleted or not; null if there is none';
COMMENT ON FUNCTION msgstore._durable_document(text, boolean) IS
    'What get_response and get_response_for_chain find in the table. Raises MS404';
COMMENT ON FUNCTION msgstore._response_place(text) IS
    'When a response was made that the session may see, deleted or not; else null';
COMMENT ON FUNCTION msgstore._memory_responses() IS
    'This database''s responses in memory, without their documents';
COMMENT ON FUNCTION msgstore._forget_response(text, bigint) IS
    'Removes a response from memory if it is still that version';
COMMENT ON FUNCTION msgstore._reap_response(text, timestamptz, boolean) IS
    'Ends a claim without a heartbeat since then: queued again if it may be retried, else failed; false if it is not stale';
COMMENT ON FUNCTION msgstore._reap_responses(timestamptz, boolean) IS
    'The same for all whose heartbeat is older; those that another session holds are left; returns how many';
COMMENT ON FUNCTION msgstore._response_tenants(text) IS
    'The tenant of the scope, or all that have responses';
COMMENT ON FUNCTION msgstore._find_responses(bigint, text, boolean, int, text, text, boolean) IS
    'Ids of responses that the session sees, from a place on';
COMMENT ON FUNCTION msgstore._response_list(jsonb, boolean) IS
    'A list''s answer from its elements';
COMMENT ON FUNCTION msgstore._response_page(int, text) IS
    'A page''s size put right and its order; raises MS400 for a bad order';
COMMENT ON FUNCTION msgstore._branches(text) IS
    'The rows of branches()';
