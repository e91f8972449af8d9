-- router: webhooks of providers, and events of several tenants.

-- The router knows the tenant of a path; the slot has the source, too.
CREATE FUNCTION msgstore.receive_webhook(
    path text,
    method text,
    url text,
    headers jsonb,
    body bytea,
    correlation_id text DEFAULT NULL,
    mail jsonb DEFAULT NULL,
    files bytea DEFAULT NULL,
    OUT status int,
    OUT content_type text,
    OUT answer text,
    OUT outcome text,
    OUT reason text,
    OUT id uuid)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET client_min_messages = error
    AS $$
DECLARE
    slot CONSTANT int := msgstore.tenant_slot((msgstore._source_of_path($1)).tenant_id);
    detail text;
    hint text;
    context text;
BEGIN
    SELECT * INTO receive_webhook.status, receive_webhook.content_type,
        receive_webhook.answer, receive_webhook.outcome, receive_webhook.reason,
        receive_webhook.id
    FROM msgstore._at_receive_webhook(slot, msgstore._tenant_scope(), msgstore._owner_scope(),
        $1, $2, $3, $4, $5, $6, $7, $8);
EXCEPTION WHEN OTHERS OR query_canceled THEN
    GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT,
        context = PG_EXCEPTION_CONTEXT;
    PERFORM msgstore._raise_of_node(slot, SQLSTATE, SQLERRM, detail, hint, context);
END
$$;

-- The slots trust the router's role, so the caller is checked here. session_user
-- does not follow SET ROLE, and current_user is the owner.
CREATE FUNCTION msgstore._check_named_tenants(items jsonb) RETURNS void
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF EXISTS (SELECT FROM jsonb_array_elements(items) i WHERE i ->> 'tenant_id' <> '')
        AND NOT has_parameter_privilege(
            coalesce(nullif(current_setting('role'), 'none'), session_user),
            'msgstore.tenant_id', 'SET')
    THEN
        RAISE EXCEPTION 'permission denied for tenants of items'
            USING ERRCODE = 'MS403',
                  DETAIL = 'Only roles with SET on parameter msgstore.tenant_id can name the tenant of an item.';
    END IF;
END
$$;

-- Not a transaction if it were sent to several slots: a slot that refuses its items
-- would make the caller send those of the others again.
CREATE FUNCTION msgstore._slot_of_items(items jsonb) RETURNS int
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    scope CONSTANT text := msgstore._tenant_scope();
    slots int[];
BEGIN
    IF scope = '' AND jsonb_typeof(items) = 'array' THEN
        PERFORM msgstore._check_named_tenants(items);
        SELECT array_agg(DISTINCT msgstore.tenant_slot(t.tenant)) INTO slots
        FROM (SELECT DISTINCT coalesce(i ->> 'tenant_id', '') AS tenant
              FROM jsonb_array_elements(items) i) t;
    END IF;
    IF cardinality(slots) > 1 THEN
        RAISE EXCEPTION 'items of one batch belong to % slots', cardinality(slots)
            USING ERRCODE = 'MS400',
                  DETAIL = 'A batch is stored in one database, or not at all.',
                  HINT = 'Send the items of each slot by themselves; msgstore.tenant_slot() returns the slot of a tenant.';
    END IF;
    RETURN coalesce(slots[1], msgstore._slot_to_write(scope));
END
$$;

CREATE FUNCTION msgstore.ingest_batch(items jsonb)
    RETURNS TABLE (
        ordinal int,
        event_id uuid,
        duplicate boolean,
        error_code text,
        error_message text,
        error_detail text)
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET client_min_messages = error
    AS $$
DECLARE
    slot CONSTANT int := msgstore._slot_of_items($1);
    detail text;
    hint text;
    context text;
BEGIN
    RETURN QUERY SELECT * FROM msgstore._at_ingest_batch(
        slot, msgstore._tenant_scope(), msgstore._owner_scope(), $1);
EXCEPTION WHEN OTHERS OR query_canceled THEN
    GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT,
        context = PG_EXCEPTION_CONTEXT;
    PERFORM msgstore._raise_of_node(slot, SQLSTATE, SQLERRM, detail, hint, context);
END
$$;

REVOKE ALL ON FUNCTION msgstore.receive_webhook(text, text, text, jsonb, bytea, text, jsonb, bytea) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._check_named_tenants(jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._slot_of_items(jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.ingest_batch(jsonb) FROM PUBLIC;

COMMENT ON FUNCTION msgstore.receive_webhook(text, text, text, jsonb, bytea, text, jsonb, bytea) IS
    'Calls receive_webhook() in the slot of the source''s tenant. Raises MS404 if the router has no such source';
COMMENT ON FUNCTION msgstore._check_named_tenants(jsonb) IS
    'Raises MS403 if items name tenants that the caller may not set';
COMMENT ON FUNCTION msgstore._slot_of_items(jsonb) IS
    'Returns the slot of the items of a batch. Raises MS400 if they belong to several slots';
COMMENT ON FUNCTION msgstore.ingest_batch(jsonb) IS
    'Calls ingest_batch() in the slot of the session''s tenant; in a session without one, in that of the tenants that the items name. Raises MS400 if they belong to several slots';

CREATE FUNCTION msgstore._media_failed(tenant text, source text) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN NULL::bigint;

REVOKE ALL ON FUNCTION msgstore._media_failed(text, text) FROM PUBLIC;

COMMENT ON FUNCTION msgstore._media_failed(text, text) IS
    'Returns null: the files of a source are in the slot of its tenant';
