CREATE FUNCTION msgstore.save_background(response jsonb, request jsonb)
    RETURNS text
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'msgstore_save_background';

CREATE FUNCTION msgstore.save_background_request(id text, request jsonb)
    RETURNS boolean
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'msgstore_save_background_request';

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

CREATE FUNCTION msgstore._reap_response(
    id text,
    before timestamptz,
    retry boolean)
    RETURNS boolean
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'msgstore_reap_response';

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

REVOKE ALL ON FUNCTION msgstore.save_background(jsonb, jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.save_background_request(text, jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.claim_response(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.heartbeat_response(text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.cancel_response(text, boolean) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._reap_response(text, timestamptz, boolean) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._reap_responses(timestamptz, boolean) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.stale_responses(interval) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.reap_responses(interval) FROM PUBLIC;

COMMENT ON FUNCTION msgstore.save_background(jsonb, jsonb) IS
    'Stores a queued background response with the request that a worker will need. Raises as save_response';
COMMENT ON FUNCTION msgstore.save_background_request(text, jsonb) IS
    'Keeps a request with a response; false, and nothing happens, if there is no such response';
COMMENT ON FUNCTION msgstore.claim_response(text) IS
    'The oldest queued background response, now in progress and this worker''s, with its request; no row if there is none';
COMMENT ON FUNCTION msgstore.heartbeat_response(text, text) IS
    'Says that the worker still works on the response. Raises MS404, MS409 if it no longer holds the claim';
COMMENT ON FUNCTION msgstore.cancel_response(text, boolean) IS
    'Cancels a background response that is queued or in progress and returns it. Any other is deleted (null), or with delete_finished false refused with MS409, unless it is cancelled already. Raises MS404';
COMMENT ON FUNCTION msgstore._reap_response(text, timestamptz, boolean) IS
    'Ends a claim without a heartbeat since then: queued again if it may be retried, else failed; false if it is not stale';
COMMENT ON FUNCTION msgstore._reap_responses(timestamptz, boolean) IS
    'The same for all whose heartbeat is older; those that another session holds are left; returns how many';
COMMENT ON FUNCTION msgstore.stale_responses(interval) IS
    'Background responses in progress whose heartbeat is older; null: older than msgstore.response_stale_after';
COMMENT ON FUNCTION msgstore.reap_responses(interval) IS
    'Queues again what was not heard of for so long, at most msgstore.max_retries times, then marks it failed; returns how many';
