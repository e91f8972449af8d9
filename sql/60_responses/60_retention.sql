-- responses: removing old responses, and the periodic work of the worker.

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
BEGIN
    IF (msgstore._response_scope()).in_memory THEN
        SELECT count(*) INTO removed
        FROM (
            SELECT r.id, r.version FROM msgstore._memory_responses() r
            WHERE r.background
                AND r.status IN ('completed', 'failed', 'cancelled')
                AND r.ended_at < ended_before
            ORDER BY r.ended_at LIMIT most
        ) o
        WHERE msgstore._forget_response(o.id, o.version);
        RETURN removed;
    END IF;
    DELETE FROM msgstore.responses r
    USING (
        SELECT o.tenant_id, o.id
        FROM msgstore.responses o
        WHERE o.background AND o.status IN ('completed', 'failed', 'cancelled')
            AND o.ended_at < ended_before
        ORDER BY o.ended_at LIMIT most
        FOR UPDATE SKIP LOCKED
    ) o
    WHERE r.tenant_id = o.tenant_id AND r.id = o.id;
    GET DIAGNOSTICS removed = ROW_COUNT;
    RETURN removed;
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
    -- An ancestor of a response that stays must stay, too.
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
            -- Complete before the first removal, because _forget_response
            -- changes what _memory_responses returns.
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
    changed bigint := 0;
BEGIN
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

-- Background responses are rare, and a check every minute is enough for them.
CREATE FUNCTION msgstore._response_turn() RETURNS bigint
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off
    AS $$
BEGIN
    PERFORM msgstore._response_housekeeping();
    IF EXISTS (SELECT FROM msgstore.responses r WHERE r.background)
        OR msgstore._memory_has_background()
    THEN
        RETURN 60000;
    END IF;
    RETURN -1;
END
$$;

REVOKE ALL ON FUNCTION msgstore.cleanup_responses(bigint, int) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._expire_responses(timestamptz) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.purge_responses(interval) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._response_housekeeping() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._response_turn() FROM PUBLIC;

COMMENT ON FUNCTION msgstore.cleanup_responses(bigint, int) IS
    'Removes completed, failed and cancelled background responses created before the cutoff, a time in Unix seconds: the oldest, at most batch of them (null: msgstore.response_cleanup_batch). Returns the number removed';
COMMENT ON FUNCTION msgstore._expire_responses(timestamptz) IS
    'Removes up to msgstore.response_cleanup_batch background responses that ended before this time; returns their number';
COMMENT ON FUNCTION msgstore.purge_responses(interval) IS
    'Removes deleted responses, and responses older than this that are neither queued nor in progress. Keeps ancestors of responses that stay. Returns the number removed';
COMMENT ON FUNCTION msgstore._response_housekeeping() IS
    'Maintains both stores for the worker: fails responses without a heartbeat for msgstore.response_stale_after and removes finished background responses older than msgstore.response_ttl. Returns the number of responses changed';
COMMENT ON FUNCTION msgstore._response_turn() IS
    'Runs _response_housekeeping. Returns the milliseconds until the worker must call it again, or -1 if there are no background responses';
