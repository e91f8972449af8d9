-- sender: status callbacks that hold the id of their message.

-- A provider that reports on a message has it, whether or not the sender could say
-- so: an uncertain message is settled, and one that is still under way is known.
CREATE FUNCTION msgstore._settle_by_callback(query jsonb, items jsonb) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    told CONSTANT text := query ->> 'message_id';
    ids CONSTANT text[] := ARRAY(
        SELECT DISTINCT i.value ->> 'provider_message_id' FROM jsonb_array_elements(items) i
        WHERE i.value ->> 'kind' = 'status' AND i.value ->> 'provider_message_id' IS NOT NULL);
BEGIN
    IF told IS NULL OR told !~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' OR cardinality(ids) <> 1
        OR EXISTS (
            SELECT FROM msgstore.deliveries d
            WHERE d.tenant_id = msgstore._tenant_scope() AND d.message_id = told::uuid)
    THEN
        RETURN;
    END IF;
    PERFORM msgstore.sent(told::uuid, ids[1]);
EXCEPTION
    WHEN SQLSTATE 'MS400' OR SQLSTATE 'MS404' OR SQLSTATE 'MS409' THEN
        -- Another message, or one of another source: the status is recorded anyway.
        NULL;
END
$$;

REVOKE ALL ON FUNCTION msgstore._settle_by_callback(jsonb, jsonb) FROM PUBLIC;

COMMENT ON FUNCTION msgstore._settle_by_callback(jsonb, jsonb) IS
    'Reports as sent the message whose id is in the URL of a status callback, unless that is known';
