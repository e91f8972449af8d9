-- maintenance: operations log

-- Who did what to many events at once.
CREATE TABLE msgstore.operations_log (
    tenant_id text COLLATE "C" NOT NULL,
    id uuid NOT NULL DEFAULT msgstore.uuid7(),
    happened_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    performed_by text NOT NULL DEFAULT session_user,
    operation text COLLATE "C" NOT NULL,
    filter jsonb NOT NULL,
    event_count bigint NOT NULL,
    event_ids uuid[],
    CONSTRAINT operations_log_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT operations_log_operation
        CHECK (operation IN ('requeue', 'replay', 'purge', 'erase'))
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
              DETAIL = 'What was done stays on record; only the owner may remove it.';
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
    'Who requeued, replayed, purged or erased what, and when; rows are only added';
COMMENT ON COLUMN msgstore.operations_log.tenant_id IS
    'The tenant of the session that did it; empty: it worked on all of them';
COMMENT ON COLUMN msgstore.operations_log.event_count IS
    'How many events, or rows of a purge, it was done to';
COMMENT ON COLUMN msgstore.operations_log.event_ids IS
    'Which; of a replay at most 10000, of what is gone none';
COMMENT ON FUNCTION msgstore._keep_operations() IS
    'Trigger: MS403 for who would change what is on record and is not the table''s owner.';
COMMENT ON FUNCTION msgstore._log_operation(text, jsonb, bigint, uuid[]) IS
    'Writes a row into operations_log';
