-- responses: who was refused a response of another owner, and who deleted or
-- cancelled one.

CREATE TABLE msgstore.response_audit (
    tenant_id text COLLATE "C" NOT NULL DEFAULT '',
    id uuid NOT NULL DEFAULT msgstore.uuid7(),
    happened_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    event text COLLATE "C" NOT NULL,
    caller text COLLATE "C" NOT NULL,
    operation text COLLATE "C",
    response_id text COLLATE "C" NOT NULL,
    response_owner text COLLATE "C" NOT NULL,
    CONSTRAINT response_audit_pkey PRIMARY KEY (tenant_id, id)
);

-- Serves the removal of old rows.
CREATE INDEX response_audit_happened_at_idx
    ON msgstore.response_audit (happened_at);

SELECT pg_catalog.pg_extension_config_dump('msgstore.response_audit', '');

CREATE FUNCTION msgstore._take_refusals()
    RETURNS TABLE (
        happened_at timestamptz,
        tenant_id text,
        caller text,
        operation text,
        response_id text,
        response_owner text)
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'msgstore_take_refusals';

CREATE FUNCTION msgstore._record_refusals() RETURNS bigint
    LANGUAGE sql VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    WITH recorded AS (
        INSERT INTO msgstore.response_audit (
            tenant_id, happened_at, event, caller, operation, response_id,
            response_owner)
        SELECT r.tenant_id, r.happened_at, 'authz.ownership_denied', r.caller,
            r.operation, r.response_id, r.response_owner
        FROM msgstore._take_refusals() r
        WHERE NOT msgstore._is_elsewhere(r.tenant_id)
        ORDER BY r.happened_at
        RETURNING 1)
    SELECT count(*) FROM recorded
    $$;

CREATE FUNCTION msgstore._purge_audit(max_age interval) RETURNS bigint
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    -- A variable, because an index cannot be searched by a volatile function.
    happened_before CONSTANT timestamptz := clock_timestamp() - max_age;
    removed bigint;
BEGIN
    -- A tenant that is being moved must not lose rows on one side only.
    IF max_age = interval '0' OR EXISTS (SELECT FROM msgstore.tenant_fences) THEN
        RETURN 0;
    END IF;
    DELETE FROM msgstore.response_audit a
    USING (
        SELECT o.tenant_id, o.id FROM msgstore.response_audit o
        WHERE o.happened_at < happened_before
        ORDER BY o.happened_at
        LIMIT current_setting('msgstore.response_cleanup_batch')::int) o
    WHERE a.tenant_id = o.tenant_id AND a.id = o.id;
    GET DIAGNOSTICS removed = ROW_COUNT;
    RETURN removed;
END
$$;

REVOKE ALL ON FUNCTION msgstore._take_refusals() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._purge_audit(interval) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._record_refusals() FROM PUBLIC;

COMMENT ON TABLE msgstore.response_audit IS
    'What msgstore.response_audit records, for msgstore.response_audit_max_age';
COMMENT ON COLUMN msgstore.response_audit.tenant_id IS
    'Tenant of the response';
COMMENT ON COLUMN msgstore.response_audit.id IS
    'ID of the record, by time';
COMMENT ON COLUMN msgstore.response_audit.happened_at IS
    'Time of the event';
COMMENT ON COLUMN msgstore.response_audit.event IS
    'authz.ownership_denied, authz.admin_override, resource.deleted or resource.cancelled';
COMMENT ON COLUMN msgstore.response_audit.caller IS
    'Owner that the session worked for; empty for a session without one';
COMMENT ON COLUMN msgstore.response_audit.operation IS
    'What was refused: get, chain, update, delete, cancel or heartbeat; or what an administrator did; otherwise null';
COMMENT ON COLUMN msgstore.response_audit.response_id IS
    'ID of the response';
COMMENT ON COLUMN msgstore.response_audit.response_owner IS
    'Owner of the response';
COMMENT ON FUNCTION msgstore._take_refusals() IS
    'Returns the refusals of this database that are noted in shared memory, and forgets them; those of fenced tenants stay';
COMMENT ON FUNCTION msgstore._record_refusals() IS
    'Moves the noted refusals to response_audit and returns their number';
COMMENT ON FUNCTION msgstore._purge_audit(interval) IS
    'Removes the oldest rows of response_audit beyond this age (0: none), at most msgstore.response_cleanup_batch; returns their number';
