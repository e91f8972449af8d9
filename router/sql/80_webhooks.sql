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
    SET client_min_messages = warning
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
        session_user, $1, $2, $3, $4, $5, $6, $7, $8);
EXCEPTION WHEN OTHERS OR query_canceled THEN
    GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT,
        context = PG_EXCEPTION_CONTEXT;
    PERFORM msgstore._raise_of_node(slot, SQLSTATE, SQLERRM, detail, hint, context);
END
$$;

-- The slots trust the router's role, so the caller is checked here. session_user
-- does not follow SET ROLE, and current_user is the owner.
CREATE FUNCTION msgstore._forbidden_items(items jsonb) RETURNS int[]
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    named CONSTANT int[] := (
        SELECT array_agg(i.n)
        FROM jsonb_array_elements(items) WITH ORDINALITY AS i (item, n)
        WHERE jsonb_typeof(i.item -> 'tenant_id') = 'string'
            AND octet_length(i.item ->> 'tenant_id') BETWEEN 1 AND 255);
BEGIN
    IF named IS NULL OR has_parameter_privilege(
        coalesce(nullif(current_setting('role'), 'none'), session_user),
        'msgstore.tenant_id', 'SET')
    THEN
        RETURN '{}';
    END IF;
    RETURN named;
END
$$;

-- Items that any slot refuses have none. It would not be a transaction if items were
-- sent to several slots: a slot that refuses its items would make the caller send those
-- of the others again.
CREATE FUNCTION msgstore._slot_of_items(items jsonb) RETURNS int
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    slots CONSTANT int[] := (
        SELECT array_agg(DISTINCT msgstore.tenant_slot(t.tenant))
        FROM (SELECT DISTINCT coalesce(i ->> 'tenant_id', '') AS tenant
              FROM jsonb_array_elements(items) i
              WHERE jsonb_typeof(i) = 'object'
                  AND coalesce(jsonb_typeof(i -> 'tenant_id'), 'null') IN ('string', 'null')
                  AND octet_length(coalesce(i ->> 'tenant_id', '')) <= 255) t);
BEGIN
    IF cardinality(slots) > 1 THEN
        RAISE EXCEPTION 'items of one batch belong to % slots', cardinality(slots)
            USING ERRCODE = 'MS400',
                  DETAIL = 'A batch is stored in one database, or not at all.',
                  HINT = 'Send the items of each slot by themselves; msgstore.tenant_slot() returns the slot of a tenant.';
    END IF;
    RETURN coalesce(slots[1], msgstore._slot_to_write(''));
END
$$;

CREATE FUNCTION msgstore._refusals_of_items(items jsonb, ordinals int[])
    RETURNS TABLE (
        ordinal int,
        event_id uuid,
        duplicate boolean,
        error_code text,
        error_message text,
        error_detail text)
    LANGUAGE sql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT o, NULL::uuid, NULL::boolean, 'MS403',
           format('permission denied for tenant "%s"', items -> (o - 1) ->> 'tenant_id'),
           'Only roles with SET on parameter msgstore.tenant_id can name the tenant of an item.'
    FROM unnest(ordinals) o
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
    SET client_min_messages = warning
    AS $$
DECLARE
    scope CONSTANT text := msgstore._tenant_scope();
    named CONSTANT boolean := scope = '' AND jsonb_typeof($1) = 'array';
    forbidden CONSTANT int[] := CASE WHEN named THEN msgstore._forbidden_items($1) ELSE '{}' END;
    -- The ordinals of the others.
    sent CONSTANT int[] := CASE WHEN forbidden <> '{}' THEN ARRAY(
        SELECT n FROM generate_series(1, jsonb_array_length($1)) n WHERE n <> ALL (forbidden)) END;
    items CONSTANT jsonb := CASE WHEN forbidden = '{}' THEN $1 ELSE (
        SELECT coalesce(jsonb_agg($1 -> (n - 1) ORDER BY n), '[]') FROM unnest(sent) n) END;
    slot CONSTANT int := CASE WHEN named THEN msgstore._slot_of_items(items)
                              ELSE msgstore._slot_to_write(scope) END;
    detail text;
    hint text;
    context text;
BEGIN
    IF forbidden = '{}' THEN
        RETURN QUERY SELECT * FROM msgstore._at_ingest_batch(
            slot, scope, msgstore._owner_scope(), session_user, items);
    ELSE
        RETURN QUERY
        SELECT * FROM (
            SELECT sent[b.ordinal] AS ordinal, b.event_id, b.duplicate, b.error_code,
                   b.error_message, b.error_detail
            FROM msgstore._at_ingest_batch(
                slot, scope, msgstore._owner_scope(), session_user, items) b
            UNION ALL
            SELECT * FROM msgstore._refusals_of_items($1, forbidden)) r
        ORDER BY r.ordinal;
    END IF;
EXCEPTION WHEN OTHERS OR query_canceled THEN
    GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT,
        context = PG_EXCEPTION_CONTEXT;
    PERFORM msgstore._raise_of_node(slot, SQLSTATE, SQLERRM, detail, hint, context);
END
$$;

REVOKE ALL ON FUNCTION msgstore.receive_webhook(text, text, text, jsonb, bytea, text, jsonb, bytea) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._forbidden_items(jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._refusals_of_items(jsonb, int[]) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._slot_of_items(jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.ingest_batch(jsonb) FROM PUBLIC;

COMMENT ON FUNCTION msgstore.receive_webhook(text, text, text, jsonb, bytea, text, jsonb, bytea) IS
    'Calls receive_webhook() in the slot of the source''s tenant. Raises MS404 if the router has no such source';
COMMENT ON FUNCTION msgstore._forbidden_items(jsonb) IS
    'Returns the ordinals of the items that name a tenant, if the caller may not set the tenant';
COMMENT ON FUNCTION msgstore._refusals_of_items(jsonb, int[]) IS
    'Returns what ingest_batch() returns for items whose tenant the caller may not name';
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
