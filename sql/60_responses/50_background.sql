-- responses: background responses and the claims of their workers.

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
    tenant text,
    id text,
    before timestamptz,
    retry boolean)
    RETURNS boolean
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'msgstore_reap_response';

-- The one place that says which claims are stale, apart from _reap_response,
-- which checks the response once more.
CREATE FUNCTION msgstore._stale_responses(
    before timestamptz,
    OUT tenant_id text,
    OUT id text)
    RETURNS SETOF record
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE ROWS 10
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
DECLARE
    scope record := msgstore._response_scope();
BEGIN
    IF scope.in_memory THEN
        RETURN QUERY
        SELECT r.tenant_id, r.id FROM msgstore._memory_responses() r
        WHERE r.background AND r.status = 'in_progress'
            AND r.deleted_at IS NULL AND r.worker_heartbeat < before
            AND (scope.tenant = '' OR r.tenant_id = scope.tenant)
            AND NOT msgstore._is_elsewhere(r.tenant_id)
        ORDER BY r.worker_heartbeat, r.id COLLATE "C";
        RETURN;
    END IF;
    RETURN QUERY
    SELECT r.tenant_id, r.id FROM msgstore.responses r
    WHERE r.background AND r.status = 'in_progress'
        AND r.deleted_at IS NULL AND r.worker_heartbeat < before
        AND (scope.tenant = '' OR r.tenant_id = scope.tenant)
        AND NOT msgstore._is_elsewhere(r.tenant_id)
    ORDER BY r.worker_heartbeat, r.id;
END
$$;

-- Skips a row that another session has locked: it may be the worker, whose
-- heartbeat is about to commit.
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
        FROM msgstore._stale_responses(before) stale
        WHERE msgstore._reap_response(
            stale.tenant_id, stale.id, before, retry);
        RETURN reaped;
    END IF;
    -- OFFSET 0 keeps the function out of the scan: it runs on locked rows.
    SELECT count(*) INTO reaped
    FROM (
        SELECT r.tenant_id, r.id FROM msgstore.responses r
        WHERE (r.tenant_id, r.id) IN (
            SELECT s.tenant_id, s.id FROM msgstore._stale_responses(before) s)
        OFFSET 0
        FOR NO KEY UPDATE SKIP LOCKED
    ) stale
    WHERE msgstore._reap_response(stale.tenant_id, stale.id, before, retry);
    RETURN reaped;
END
$$;

CREATE FUNCTION msgstore.stale_responses(stale_after interval DEFAULT NULL)
    RETURNS SETOF text
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER ROWS 10
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    -- The first call loads the module, which defines the setting.
    PERFORM msgstore._memory_is_there();
    RETURN QUERY
    SELECT s.id FROM msgstore._stale_responses(clock_timestamp() - coalesce(
        stale_after,
        current_setting('msgstore.response_stale_after')::interval)) s;
END
$$;

CREATE FUNCTION msgstore.reap_responses(
    stale_after interval DEFAULT interval '60 seconds')
    RETURNS bigint
    LANGUAGE sql VOLATILE STRICT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'SELECT msgstore._check_scope_here(); SELECT msgstore._reap_responses(clock_timestamp() - $1, true)';

REVOKE ALL ON FUNCTION msgstore.save_background(jsonb, jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.save_background_request(text, jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.claim_response(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.heartbeat_response(text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.cancel_response(text, boolean) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._reap_response(text, text, timestamptz, boolean) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._stale_responses(timestamptz) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._reap_responses(timestamptz, boolean) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.stale_responses(interval) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.reap_responses(interval) FROM PUBLIC;

COMMENT ON FUNCTION msgstore.save_background(jsonb, jsonb) IS
    'Saves a queued background response with the request that its worker needs, and returns the ID. Raises the same errors as save_response';
COMMENT ON FUNCTION msgstore.save_background_request(text, jsonb) IS
    'Stores a request with a response. Returns false and does nothing if the response does not exist. Raises MS413';
COMMENT ON FUNCTION msgstore.claim_response(text) IS
    'Claims the oldest queued background response for a worker: moves it to in_progress and returns it with its request. No row if none is queued. Raises MS400 for an empty worker_id';
COMMENT ON FUNCTION msgstore.heartbeat_response(text, text) IS
    'Renews the claim of a worker on a response and returns true. Raises MS400 for an empty worker_id, MS404, MS409 if the worker no longer holds the claim';
COMMENT ON FUNCTION msgstore.cancel_response(text, boolean) IS
    'Cancels a queued or in-progress background response and returns it. Any other response is deleted, and the result is null; with delete_finished false it raises MS409 instead, unless the response is cancelled already. Raises MS404';
COMMENT ON FUNCTION msgstore._reap_response(text, text, timestamptz, boolean) IS
    'Releases the claim of a response if its last heartbeat is older than the given time: queues the response again if it may be retried, otherwise fails it. Returns false if it is not stale';
COMMENT ON FUNCTION msgstore._stale_responses(timestamptz) IS
    'Returns the tenants and IDs of in-progress background responses whose last heartbeat is older, longest silence first';
COMMENT ON FUNCTION msgstore._reap_responses(timestamptz, boolean) IS
    'Calls _reap_response for all stale responses that no other session has locked. Returns how many it released';
COMMENT ON FUNCTION msgstore.stale_responses(interval) IS
    'Returns the IDs of in-progress background responses without a heartbeat for this long (null: msgstore.response_stale_after), longest silence first';
COMMENT ON FUNCTION msgstore.reap_responses(interval) IS
    'Releases claims without a heartbeat for this long. Queues the responses again, or fails those that were retried msgstore.max_retries times. Returns the number of responses';
