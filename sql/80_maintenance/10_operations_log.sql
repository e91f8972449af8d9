-- maintenance: the record of calls that requeued, replayed, purged or erased, and
-- that paused the workers.

CREATE TABLE msgstore.operations_log (
    tenant_id text COLLATE "C" NOT NULL,
    id uuid NOT NULL DEFAULT msgstore.uuid7(),
    happened_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    performed_by text NOT NULL DEFAULT msgstore._actor(),
    operation text COLLATE "C" NOT NULL,
    filter jsonb NOT NULL,
    event_count bigint NOT NULL,
    event_ids uuid[],
    CONSTRAINT operations_log_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT operations_log_operation
        CHECK (operation IN ('requeue', 'replay', 'purge', 'erase', 'pause', 'resume'))
);

SELECT pg_catalog.pg_extension_config_dump('msgstore.operations_log', '');

CREATE FUNCTION msgstore._keep_operations() RETURNS trigger
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF current_user = (SELECT r.rolname FROM pg_roles r
                       JOIN pg_class c ON c.relowner = r.oid
                       WHERE c.oid = TG_RELID) THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION 'cannot change table "msgstore.operations_log"'
        USING ERRCODE = 'MS403',
              DETAIL = 'Rows are only added. Only the table''s owner may change or remove them.';
END
$$;

CREATE TRIGGER keep_operations
BEFORE UPDATE OR DELETE OR TRUNCATE ON msgstore.operations_log
FOR EACH STATEMENT EXECUTE FUNCTION msgstore._keep_operations();

ALTER TABLE msgstore.operations_log ENABLE ALWAYS TRIGGER keep_operations;

CREATE FUNCTION msgstore._log_operation(
    operation text,
    filter jsonb,
    event_count bigint,
    event_ids uuid[])
    RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    INSERT INTO msgstore.operations_log
        (tenant_id, operation, filter, event_count, event_ids)
    VALUES
        (msgstore._tenant_scope(), operation, filter, event_count, event_ids);
END
$$;

REVOKE ALL ON FUNCTION msgstore._keep_operations() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._log_operation(text, jsonb, bigint, uuid[]) FROM PUBLIC;

COMMENT ON TABLE msgstore.operations_log IS
    'Calls that requeued, replayed, purged or erased events, or paused or resumed the workers. Rows are only added; only the owner may change or remove them. Purges by the worker are not logged';
COMMENT ON COLUMN msgstore.operations_log.tenant_id IS
    'Tenant of the calling session; empty if the session was unscoped, so that the call covered all tenants';
COMMENT ON COLUMN msgstore.operations_log.id IS
    'Id of the row, a UUIDv7';
COMMENT ON COLUMN msgstore.operations_log.happened_at IS
    'Time of the call';
COMMENT ON COLUMN msgstore.operations_log.performed_by IS
    'Role that logged in to the calling session (session_user), or to the router that called';
COMMENT ON COLUMN msgstore.operations_log.operation IS
    'requeue, replay, purge, erase, pause or resume (of the workers)';
COMMENT ON COLUMN msgstore.operations_log.filter IS
    'Arguments of the call. Of an erasure only the channel, never the address';
COMMENT ON COLUMN msgstore.operations_log.event_count IS
    'Number of affected events; for a purge the number of rows, for an erasure the number of messages and events';
COMMENT ON COLUMN msgstore.operations_log.event_ids IS
    'Ids of the affected events, for a replay the first 10000; null for other operations than requeue and replay';
COMMENT ON FUNCTION msgstore._keep_operations() IS
    'Trigger function that raises MS403 unless the current user owns the table';
COMMENT ON FUNCTION msgstore._log_operation(text, jsonb, bigint, uuid[]) IS
    'Adds a row to operations_log';
