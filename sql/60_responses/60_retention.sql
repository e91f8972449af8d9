-- responses: removing old responses, and the periodic work of the worker.

-- Events and search entries are removed by later statements, whose snapshots have
-- those that others added before they let go of the response.
-- A response that was put on hold after it was chosen stays.
CREATE FUNCTION msgstore._remove_responses(tenants text[], ids text[])
    RETURNS bigint
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    gone_tenants text[];
    gone_ids text[];
BEGIN
    WITH gone AS (
        DELETE FROM msgstore.responses r
        USING unnest(tenants, ids) g (tenant_id, id)
        WHERE r.tenant_id = g.tenant_id AND r.id = g.id AND NOT r.on_hold
        RETURNING r.tenant_id, r.id
    )
    SELECT array_agg(g.tenant_id), array_agg(g.id) INTO gone_tenants, gone_ids
    FROM gone g;
    DELETE FROM msgstore.response_events e
    USING unnest(gone_tenants, gone_ids) g (tenant_id, id)
    WHERE e.tenant_id = g.tenant_id AND e.response_id = g.id;
    DELETE FROM msgstore.response_search_entries e
    USING unnest(gone_tenants, gone_ids) g (tenant_id, id)
    WHERE e.tenant_id = g.tenant_id AND e.response_id = g.id;
    RETURN coalesce(cardinality(gone_ids), 0);
END
$$;

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
    tenants text[];
    ids text[];
BEGIN
    PERFORM msgstore._check_all_here();
    IF scope.in_memory THEN
        SELECT count(*) INTO removed
        FROM (
            SELECT r.tenant_id, r.id, r.version FROM msgstore._memory_responses() r
            WHERE r.background
                AND r.status IN ('completed', 'failed', 'cancelled')
                AND r.created_at < cutoff
                AND (scope.tenant = '' OR r.tenant_id = scope.tenant)
            ORDER BY r.created_at, r.id COLLATE "C" LIMIT most
        ) o
        WHERE msgstore._forget_response(o.tenant_id, o.id, o.version);
        RETURN removed;
    END IF;
    SELECT array_agg(o.tenant_id), array_agg(o.id) INTO tenants, ids
    FROM (
        SELECT o.tenant_id, o.id
        FROM unnest(ARRAY['completed', 'failed', 'cancelled']) done (status)
        CROSS JOIN LATERAL (
            SELECT r.tenant_id, r.id, r.created_at
            FROM msgstore.responses r
            WHERE r.background AND r.status = done.status
                AND r.created_at < cutoff AND NOT r.on_hold
                AND (scope.tenant = '' OR r.tenant_id = scope.tenant)
            ORDER BY r.created_at, r.id LIMIT most
            FOR UPDATE SKIP LOCKED
        ) o
        ORDER BY o.created_at, o.id LIMIT most
    ) o;
    RETURN msgstore._remove_responses(tenants, ids);
END
$$;

-- What cleanup_responses() removes, but by the time at which it ended in the
-- store: a client may store a response long after it was created.
CREATE FUNCTION msgstore._expire_responses(ended_before timestamptz)
    RETURNS bigint
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    most CONSTANT int :=
        current_setting('msgstore.response_cleanup_batch')::int;
    removed bigint;
    tenants text[];
    ids text[];
BEGIN
    IF (msgstore._response_scope()).in_memory THEN
        SELECT count(*) INTO removed
        FROM (
            SELECT r.tenant_id, r.id, r.version FROM msgstore._memory_responses() r
            WHERE r.background
                AND r.status IN ('completed', 'failed', 'cancelled')
                AND r.ended_at < ended_before
            ORDER BY r.ended_at LIMIT most
        ) o
        WHERE msgstore._forget_response(o.tenant_id, o.id, o.version);
        RETURN removed;
    END IF;
    SELECT array_agg(o.tenant_id), array_agg(o.id) INTO tenants, ids
    FROM (
        SELECT o.tenant_id, o.id
        FROM msgstore.responses o
        WHERE o.background AND o.status IN ('completed', 'failed', 'cancelled')
            AND o.ended_at < ended_before AND NOT o.on_hold
        ORDER BY o.ended_at LIMIT most
        FOR UPDATE SKIP LOCKED
    ) o;
    RETURN msgstore._remove_responses(tenants, ids);
END
$$;

CREATE FUNCTION msgstore.purge_responses(older_than interval) RETURNS bigint
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    scope record := msgstore._response_scope();
    removed bigint;
    tenants text[];
    ids text[];
BEGIN
    PERFORM msgstore._check_all_here();
    -- An ancestor of a response that stays must stay, too.
    EXECUTE
        $q$ WITH RECURSIVE known AS $q$
        || CASE WHEN scope.in_memory
                THEN $q$ MATERIALIZED (
                    SELECT r.*, false AS on_hold
                    FROM msgstore._memory_responses() r) $q$
                ELSE $q$ NOT MATERIALIZED (
                    SELECT r.*, 0 AS version FROM msgstore.responses r) $q$
           END
        || $q$, doomed AS MATERIALIZED (
                SELECT k.tenant_id, k.id, k.previous_response_id, k.version
                FROM known k
                WHERE NOT k.on_hold AND ($1 = '' OR k.tenant_id = $1)
                    AND ($2 IS NULL OR k.owner IN ('', $2))
                    AND (k.deleted_at IS NOT NULL
                        OR k.created_at < $3
                            AND k.status NOT IN ('queued', 'in_progress'))
            ), needed AS (
                SELECT d.tenant_id, d.id, d.previous_response_id
                FROM doomed d
                WHERE EXISTS (
                    SELECT FROM known k
                    WHERE k.previous_response_id = d.id
                        AND k.tenant_id = d.tenant_id
                        AND NOT EXISTS (
                            SELECT FROM doomed o
                            WHERE o.tenant_id = k.tenant_id AND o.id = k.id))
                UNION
                SELECT d.tenant_id, d.id, d.previous_response_id
                FROM needed n
                JOIN doomed d ON d.tenant_id = n.tenant_id
                    AND d.id = n.previous_response_id
            -- Complete before the first removal, because _forget_response
            -- changes what _memory_responses returns.
            ), leaving AS MATERIALIZED (
                SELECT d.* FROM doomed d
                WHERE NOT EXISTS (
                    SELECT FROM needed n
                    WHERE n.tenant_id = d.tenant_id AND n.id = d.id)
            ) $q$
        || CASE WHEN scope.in_memory
                THEN $q$ SELECT count(*), NULL::text[], NULL::text[]
                    FROM leaving l
                    WHERE msgstore._forget_response(
                        l.tenant_id, l.id, l.version) $q$
                ELSE $q$ SELECT 0, array_agg(l.tenant_id), array_agg(l.id)
                    FROM leaving l $q$
           END
    INTO removed, tenants, ids
    USING scope.tenant, scope.owner,
        extract(epoch FROM now() - older_than)::bigint;
    RETURN removed + msgstore._remove_responses(tenants, ids);
END
$$;

CREATE FUNCTION msgstore.hold_response(id text, hold boolean DEFAULT true)
    RETURNS boolean
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
DECLARE
    tenant text;
BEGIN
    PERFORM msgstore._check_scope_here();
    IF (msgstore._response_scope()).in_memory THEN
        RAISE EXCEPTION 'response in memory cannot be held'
            USING ERRCODE = 'MS400',
                  DETAIL = 'The in-memory store evicts responses when it is full.';
    END IF;
    -- Raises MS404 for a response that is not visible to the session.
    PERFORM msgstore.get_response_for_chain(hold_response.id);
    tenant := msgstore._response_tenant(hold_response.id);
    UPDATE msgstore.responses r SET on_hold = hold
    WHERE r.tenant_id = tenant AND r.id = hold_response.id;
    RETURN hold;
END
$$;

-- Removes what has ended, or was last used, too long ago: at most
-- msgstore.response_cleanup_batch of each. Ancestors are removed as well: data
-- that must go does not stay for a chain. Each branch reads one index, because
-- an unused response is in another one than a used one.
CREATE FUNCTION msgstore._expire_by_age(max_age interval, max_idle interval)
    RETURNS bigint
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    most CONSTANT int :=
        current_setting('msgstore.response_cleanup_batch')::int;
    -- Variables, because an index cannot be searched by a volatile function.
    ended_before CONSTANT timestamptz := CASE WHEN max_age > interval '0'
        THEN clock_timestamp() - max_age END;
    used_before CONSTANT timestamptz := CASE WHEN max_idle > interval '0'
        THEN clock_timestamp() - max_idle END;
    removed bigint;
    tenants text[];
    ids text[];
BEGIN
    SELECT array_agg(o.tenant_id), array_agg(o.id) INTO tenants, ids
    FROM (
        SELECT r.tenant_id, r.id FROM msgstore.responses r
        WHERE r.ended_at < greatest(ended_before, used_before)
            AND r.last_used_at IS NULL AND NOT r.on_hold
        ORDER BY r.ended_at LIMIT most
        FOR UPDATE SKIP LOCKED) o;
    removed := msgstore._remove_responses(tenants, ids);
    IF ended_before IS NOT NULL THEN
        SELECT array_agg(o.tenant_id), array_agg(o.id) INTO tenants, ids
        FROM (
            SELECT r.tenant_id, r.id FROM msgstore.responses r
            WHERE r.ended_at < ended_before
                AND r.last_used_at IS NOT NULL AND NOT r.on_hold
            ORDER BY r.ended_at LIMIT most
            FOR UPDATE SKIP LOCKED) o;
        removed := removed + msgstore._remove_responses(tenants, ids);
    END IF;
    IF used_before IS NOT NULL THEN
        SELECT array_agg(o.tenant_id), array_agg(o.id) INTO tenants, ids
        FROM (
            SELECT r.tenant_id, r.id FROM msgstore.responses r
            WHERE r.last_used_at < used_before AND NOT r.on_hold
            ORDER BY r.last_used_at LIMIT most
            FOR UPDATE SKIP LOCKED) o;
        removed := removed + msgstore._remove_responses(tenants, ids);
    END IF;
    RETURN removed;
END
$$;

-- Maintains both stores, whichever the session uses.
CREATE FUNCTION msgstore._response_housekeeping() RETURNS bigint
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET msgstore.response_store = 'durable'
    AS $$
DECLARE
    -- Must come first: the call loads the module, which defines the settings.
    stores int := CASE WHEN msgstore._memory_is_there() THEN 2 ELSE 1 END;
    ttl interval := current_setting('msgstore.response_ttl')::interval;
    before timestamptz := clock_timestamp()
        - current_setting('msgstore.response_stale_after')::interval;
    changed bigint;
BEGIN
    -- A tenant that is being moved must not lose rows on one side only.
    IF msgstore._any_tenant_moves() THEN
        RETURN 0;
    END IF;
    changed := msgstore._expire_by_age(
        current_setting('msgstore.response_max_age')::interval,
        current_setting('msgstore.response_max_idle')::interval);
    FOR store IN 1 .. stores LOOP
        IF store = 2 THEN
            PERFORM set_config('msgstore.response_store', 'memory', true);
        END IF;
        changed := changed + msgstore._reap_responses(before, false);
        IF ttl > interval '0' THEN
            changed := changed
                + msgstore._expire_responses(clock_timestamp() - ttl);
        END IF;
    END LOOP;
    RETURN changed;
END
$$;

-- A check every minute is enough, unless there is more to do than fits into one
-- transaction. Responses are indexed sooner, in batches of some milliseconds that
-- leave most of the time to events.
CREATE FUNCTION msgstore._response_turn() RETURNS bigint
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off
    SET jit = off
    AS $$
DECLARE
    index_batch CONSTANT int := 25;
    changed CONSTANT bigint := msgstore._response_housekeeping();
    merged CONSTANT bigint := msgstore._merge_usage();
    recorded CONSTANT bigint := msgstore._record_refusals();
    audit_age CONSTANT interval :=
        current_setting('msgstore.response_audit_max_age')::interval;
    purged CONSTANT bigint := msgstore._purge_audit(audit_age);
    indexed CONSTANT bigint := msgstore._index_responses(index_batch);
BEGIN
    RETURN CASE
        WHEN indexed = index_batch THEN 100
        WHEN indexed > 0
            OR greatest(changed, purged)
                >= current_setting('msgstore.response_cleanup_batch')::bigint
            THEN 1000
        -- A session that has just asked for a turn does not ask again, although its
        -- first transaction may have been rolled back, or the second committed late.
        WHEN merged + recorded > 0
            OR current_setting('msgstore.response_search')::boolean
            OR greatest(
                audit_age,
                current_setting('msgstore.response_max_age')::interval,
                current_setting('msgstore.response_max_idle')::interval)
                > interval '0'
            OR EXISTS (SELECT FROM msgstore.responses r WHERE r.background)
            OR msgstore._memory_has_background()
            THEN 60000
        ELSE -1 END;
END
$$;

REVOKE ALL ON FUNCTION msgstore._remove_responses(text[], text[]) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.cleanup_responses(bigint, int) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._expire_responses(timestamptz) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.purge_responses(interval) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.hold_response(text, boolean) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._expire_by_age(interval, interval) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._response_housekeeping() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._response_turn() FROM PUBLIC;

COMMENT ON FUNCTION msgstore._remove_responses(text[], text[]) IS
    'Removes those of these responses that are not on hold, with their events and search entries, from the durable store; returns their number';
COMMENT ON FUNCTION msgstore.cleanup_responses(bigint, int) IS
    'Removes completed, failed and cancelled background responses created before the cutoff, a time in Unix seconds: the oldest, at most batch of them (null: msgstore.response_cleanup_batch). Returns the number removed';
COMMENT ON FUNCTION msgstore._expire_responses(timestamptz) IS
    'Removes up to msgstore.response_cleanup_batch background responses that ended before this time; returns their number';
COMMENT ON FUNCTION msgstore.purge_responses(interval) IS
    'Removes deleted responses, and responses older than this that are neither queued nor in progress. Keeps ancestors of responses that stay. Returns the number removed';
COMMENT ON FUNCTION msgstore.hold_response(text, boolean) IS
    'Puts a response of the durable store under legal hold, or with false releases it. A response on hold is never removed. Returns whether it is on hold now. Raises MS404, MS400 in a session that uses the in-memory store';
COMMENT ON FUNCTION msgstore._expire_by_age(interval, interval) IS
    'Removes responses that ended, or were last used, longer ago than this (0: none), at most msgstore.response_cleanup_batch of each; returns their number';
COMMENT ON FUNCTION msgstore._response_housekeeping() IS
    'Maintains both stores for the worker: fails responses without a heartbeat for msgstore.response_stale_after and removes finished background responses older than msgstore.response_ttl, and by msgstore.response_max_age and msgstore.response_max_idle. Returns the number of responses changed';
COMMENT ON FUNCTION msgstore._response_turn() IS
    'Runs _response_housekeeping, _merge_usage, _record_refusals, _purge_audit and _index_responses. Returns the milliseconds until the worker must call it again, or -1 if there is nothing to look after';
