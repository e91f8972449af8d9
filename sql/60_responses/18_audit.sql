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
        ORDER BY r.happened_at
        RETURNING 1)
    SELECT count(*) FROM recorded
    $$;

REVOKE ALL ON FUNCTION msgstore._take_refusals() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._record_refusals() FROM PUBLIC;

COMMENT ON TABLE msgstore.response_audit IS
    'What msgstore.response_audit records. Nothing removes rows: delete old ones yourself';
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
    'Returns the refusals of this database that are noted in shared memory, and forgets them';
COMMENT ON FUNCTION msgstore._record_refusals() IS
    'Moves the noted refusals to response_audit and returns their number';
