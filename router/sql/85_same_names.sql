-- router: functions with an argument and a result of the same name, which PL/pgSQL does
-- not take.

CREATE FUNCTION msgstore._record_status(
    channel text,
    provider_message_id text,
    word text,
    details jsonb,
    OUT callback_id uuid,
    OUT message_id uuid,
    OUT status text)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET client_min_messages = warning
    AS $$
DECLARE
    slot CONSTANT int := msgstore._slot_to_read(msgstore._tenant_scope(), 'record_status');
    detail text;
    hint text;
    context text;
BEGIN
    SELECT * INTO _record_status.callback_id, _record_status.message_id, _record_status.status
    FROM msgstore._at_record_status(slot, msgstore._tenant_scope(), msgstore._owner_scope(),
        session_user, $1, $2, $3, $4);
EXCEPTION WHEN OTHERS OR query_canceled THEN
    GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT,
        context = PG_EXCEPTION_CONTEXT;
    PERFORM msgstore._raise_of_node(slot, SQLSTATE, SQLERRM, detail, hint, context);
END
$$;

CREATE FUNCTION msgstore.record_status(
    channel text,
    provider_message_id text,
    status text,
    detail jsonb DEFAULT NULL,
    OUT callback_id uuid,
    OUT message_id uuid,
    OUT status text)
    LANGUAGE sql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT * FROM msgstore._record_status($1, $2, $3, $4)
    $$;

REVOKE ALL ON FUNCTION msgstore._record_status(text, text, text, jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.record_status(text, text, text, jsonb) FROM PUBLIC;

COMMENT ON FUNCTION msgstore._record_status(text, text, text, jsonb) IS
    'Calls record_status() in the slot of the session''s tenant';
COMMENT ON FUNCTION msgstore.record_status(text, text, text, jsonb) IS
    'Records a provider''s status callback for an outbound message, in the slot of the session''s tenant, and returns what record_status() returns there. Raises MS400 without a tenant, unless there is one slot';

CREATE FUNCTION msgstore._branches(text)
    RETURNS TABLE (id text, deleted boolean, response jsonb)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET client_min_messages = warning
    AS $$
DECLARE
    slot CONSTANT int := msgstore._slot_to_read(msgstore._tenant_scope(), 'branches');
    detail text;
    hint text;
    context text;
BEGIN
    RETURN QUERY SELECT * FROM msgstore._at_branches(
        slot, msgstore._tenant_scope(), msgstore._owner_scope(), session_user, $1);
EXCEPTION WHEN OTHERS OR query_canceled THEN
    GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT,
        context = PG_EXCEPTION_CONTEXT;
    PERFORM msgstore._raise_of_node(slot, SQLSTATE, SQLERRM, detail, hint, context);
END
$$;

CREATE FUNCTION msgstore.branches(id text)
    RETURNS TABLE (id text, deleted boolean, response jsonb)
    LANGUAGE sql VOLATILE STRICT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT * FROM msgstore._branches($1)
    $$;

REVOKE ALL ON FUNCTION msgstore._branches(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.branches(text) FROM PUBLIC;

COMMENT ON FUNCTION msgstore._branches(text) IS
    'Calls branches() in the slot of the session''s tenant';
COMMENT ON FUNCTION msgstore.branches(text) IS
    'Returns what branches() returns in the slot of the session''s tenant. Raises MS400 without a tenant, unless there is one slot';

CREATE FUNCTION msgstore._response_chain(text, int, int)
    RETURNS TABLE (depth int, id text, deleted boolean, response jsonb)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET client_min_messages = warning
    AS $$
DECLARE
    slot CONSTANT int := msgstore._slot_to_read(msgstore._tenant_scope(), 'response_chain');
    detail text;
    hint text;
    context text;
BEGIN
    RETURN QUERY SELECT * FROM msgstore._at_response_chain(
        slot, msgstore._tenant_scope(), msgstore._owner_scope(), session_user, $1, $2, $3);
EXCEPTION WHEN OTHERS OR query_canceled THEN
    GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT,
        context = PG_EXCEPTION_CONTEXT;
    PERFORM msgstore._raise_of_node(slot, SQLSTATE, SQLERRM, detail, hint, context);
END
$$;

CREATE FUNCTION msgstore.response_chain(id text, max_items int DEFAULT NULL, max_depth int DEFAULT 1000)
    RETURNS TABLE (depth int, id text, deleted boolean, response jsonb)
    LANGUAGE sql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT * FROM msgstore._response_chain($1, $2, $3)
    $$;

REVOKE ALL ON FUNCTION msgstore._response_chain(text, int, int) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.response_chain(text, int, int) FROM PUBLIC;

COMMENT ON FUNCTION msgstore._response_chain(text, int, int) IS
    'Calls response_chain() in the slot of the session''s tenant';
COMMENT ON FUNCTION msgstore.response_chain(text, int, int) IS
    'Returns what response_chain() returns in the slot of the session''s tenant. Raises MS400 without a tenant, unless there is one slot';
