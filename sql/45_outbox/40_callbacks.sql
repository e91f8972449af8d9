-- outbox: what providers report about messages, in callbacks.

CREATE FUNCTION msgstore._clean_detail(detail jsonb) RETURNS jsonb
    LANGUAGE c STABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'msgstore_clean_detail';

CREATE FUNCTION msgstore._callback_tenant(
    channel text,
    provider_message_id text)
    RETURNS text
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
DECLARE
    tenants text[];
BEGIN
    IF msgstore._tenant_scope() <> '' THEN
        RETURN msgstore._tenant_scope();
    END IF;
    PERFORM msgstore._meet_without_tenant(
        _callback_tenant.channel, _callback_tenant.provider_message_id);
    SELECT array_agg(d.tenant_id) INTO tenants
    FROM msgstore._tenants_in_scope() t
    JOIN msgstore.deliveries d
        ON d.tenant_id = t
        AND d.channel = _callback_tenant.channel
        AND d.provider_message_id = _callback_tenant.provider_message_id
    WHERE d.message_id IS NOT NULL;
    IF cardinality(tenants) > 1 THEN
        RAISE EXCEPTION 'provider message id "%" belongs to % tenants',
            _callback_tenant.provider_message_id, cardinality(tenants)
            USING ERRCODE = 'MS409',
                  HINT = 'Set "msgstore.tenant_id" to the tenant that the callback is for.';
    END IF;
    RETURN coalesce(tenants[1], '');
END
$$;

-- The first of the places where providers put an error code or message: Twilio,
-- Vonage, Telnyx and WhatsApp, SendGrid and Mailgun, ours.
CREATE FUNCTION msgstore._first_text(detail jsonb, paths text[]) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT left(detail #>> p.path::text[], 1000)
    FROM unnest(paths) WITH ORDINALITY AS p (path, n)
    WHERE jsonb_typeof(detail #> p.path::text[]) IN ('string', 'number')
        AND btrim(detail #>> p.path::text[]) <> ''
    ORDER BY p.n LIMIT 1
$$;

CREATE FUNCTION msgstore._callback_error(
    detail jsonb,
    OUT code text,
    OUT message text)
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT msgstore._first_text(detail, ARRAY[
               '{error_code}', '{ErrorCode}', '{errorCode}', '{err-code}',
               '{errors,0,code}', '{error,code}', '{delivery-status,code}',
               '{code}']),
           msgstore._first_text(detail, ARRAY[
               '{error_message}', '{ErrorMessage}', '{errorMessage}',
               '{errors,0,detail}', '{errors,0,title}', '{error,message}',
               '{error,title}', '{delivery-status,message}', '{description}',
               '{reason}', '{response}'])
$$;

-- Finds the channel under which a callback is recorded: that of the message or of
-- an earlier callback, if the callback names another channel of the same thread.
CREATE FUNCTION msgstore._callback_channel(
    tenant_id text,
    channel text,
    provider_message_id text)
    RETURNS text
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
DECLARE
    others CONSTANT text[] := msgstore._meet_in_thread(
        _callback_channel.tenant_id, _callback_channel.channel,
        _callback_channel.provider_message_id);
BEGIN
    RETURN coalesce(
        (SELECT d.channel
         FROM msgstore.deliveries d
         WHERE d.tenant_id = _callback_channel.tenant_id
             AND d.channel = ANY (_callback_channel.channel || others)
             AND d.provider_message_id = _callback_channel.provider_message_id
         ORDER BY d.message_id IS NULL, d.channel <> _callback_channel.channel
         LIMIT 1),
        _callback_channel.channel);
END
$$;

-- Providers report complaints, unsubscribed recipients and, by their error codes,
-- recipients who have replied STOP to them.
CREATE FUNCTION msgstore._hear_callback(
    message_id uuid, consent text, word text, error_code text)
    RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_variable
BEGIN
    IF message_id IS NULL OR consent IS NULL AND error_code IS NULL THEN
        RETURN;
    END IF;
    PERFORM msgstore._note_consent(
        m.tenant_id, m.channel, m."to", m."from",
        CASE consent WHEN 'in' THEN 'in' ELSE 'out' END,
        CASE WHEN consent IN ('unsubscribed', 'complaint') THEN consent ELSE 'provider' END,
        CASE WHEN consent IS NULL THEN error_code ELSE word END, m.id)
    FROM msgstore.messages m
    LEFT JOIN msgstore.deliveries d ON d.tenant_id = m.tenant_id AND d.message_id = m.id
    WHERE m.id = _hear_callback.message_id
        AND (consent IS NOT NULL OR EXISTS (
            SELECT FROM msgstore.provider_apis a
            WHERE a.provider = d.provider AND error_code = ANY (a.opt_out_codes)));
END
$$;

-- The body of record_status(): plpgsql does not allow a name to be both an IN and
-- an OUT parameter.
CREATE FUNCTION msgstore._record_status(
    channel text,
    provider_message_id text,
    reported text,
    detail jsonb,
    OUT callback_id uuid,
    OUT message_id uuid,
    OUT status text)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off
    SET enable_bitmapscan = off
    SET jit = off
    AS $$
#variable_conflict use_column
DECLARE
    received_at CONSTANT timestamptz := clock_timestamp();
    word CONSTANT text := msgstore._status_word(reported);
    tenant text;
    place text;
    meaning record;
    error record;
BEGIN
    PERFORM msgstore._check_scope_here();
    PERFORM msgstore._check_text('channel', _record_status.channel, 63);
    -- Raises MS400 for a channel that does not exist.
    PERFORM msgstore.normalize_address(_record_status.channel, '');
    PERFORM msgstore._check_text(
        'provider_message_id', _record_status.provider_message_id, 510);
    PERFORM msgstore._check_text('status', reported, 64);
    IF jsonb_typeof(detail) NOT IN ('object', 'null') THEN
        RAISE EXCEPTION 'field "detail" is not an object'
            USING ERRCODE = 'MS400',
                  DETAIL = 'The field must be null or a JSON object.';
    END IF;

    tenant := msgstore._callback_tenant(
        _record_status.channel, _record_status.provider_message_id);
    -- Unknown here: MS421, unless this slot keeps the callbacks without a message.
    PERFORM msgstore._check_tenant_here(tenant);
    place := msgstore._callback_channel(
        tenant, _record_status.channel, _record_status.provider_message_id);
    meaning := msgstore._find_status(
        (SELECT c.provider FROM msgstore.channels c WHERE c.name = place), word);
    IF meaning.status IN ('failed', 'undelivered') THEN
        error := msgstore._callback_error(detail);
    ELSE
        SELECT NULL AS code, NULL AS message INTO error;
    END IF;
    -- A word without a status moves nothing: queued is the lowest status.
    SELECT d.known_message_id, d.current_status
    INTO _record_status.message_id, _record_status.status
    FROM msgstore._record_delivery(
        tenant, place, _record_status.provider_message_id,
        coalesce(meaning.status, 'queued'), received_at,
        error_code => error.code, error_message => error.message) d;
    PERFORM msgstore._hear_callback(
        _record_status.message_id, meaning.consent, word, error.code);
    IF _record_status.message_id IS NOT NULL THEN
        PERFORM msgstore._tell(tenant, 'message.status', ARRAY[_record_status.message_id]);
    END IF;
    IF NOT meaning.known THEN
        PERFORM msgstore._count('callbacks_unknown_status', 1);
    END IF;
    INSERT INTO msgstore.delivery_statuses AS s
        (tenant_id, channel, provider_message_id, status, detail, received_at,
         word)
    VALUES (tenant, place, _record_status.provider_message_id, meaning.status,
            msgstore._clean_detail(nullif(detail, 'null')), received_at,
            CASE WHEN word IS DISTINCT FROM meaning.status
                 THEN btrim(reported, E' \t\n\r') END)
    RETURNING s.id INTO callback_id;
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
    SELECT r.callback_id, r.message_id, r.status
    FROM msgstore._record_status($1, $2, $3, $4) r
$$;

REVOKE ALL ON FUNCTION msgstore._clean_detail(jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._callback_tenant(text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._first_text(jsonb, text[]) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._callback_error(jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._callback_channel(text, text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._hear_callback(uuid, text, text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._record_status(text, text, text, jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.record_status(text, text, text, jsonb) FROM PUBLIC;

COMMENT ON FUNCTION msgstore._clean_detail(jsonb) IS
    'Returns the object with the values of msgstore.redact_keys replaced. Raises MS413 if it exceeds msgstore.max_payload_bytes';
COMMENT ON FUNCTION msgstore._callback_tenant(text, text) IS
    'Returns the tenant of a callback: that of the session, else the owner of the message, else the empty tenant. Raises MS409 if several tenants have the provider message id';
COMMENT ON FUNCTION msgstore._first_text(jsonb, text[]) IS
    'Returns the first of these paths at which the object has a string or a number, at most 1,000 characters of it';
COMMENT ON FUNCTION msgstore._callback_error(jsonb) IS
    'Returns the error code and message in the detail of a callback; null where it has none';
COMMENT ON FUNCTION msgstore._callback_channel(text, text, text) IS
    'Returns the channel under which a callback is recorded';
COMMENT ON FUNCTION msgstore._hear_callback(uuid, text, text, text) IS
    'Records what a callback about a message says about consent: by its word, or by an error code of its provider';
COMMENT ON FUNCTION msgstore._record_status(text, text, text, jsonb) IS
    'Implements record_status()';
COMMENT ON FUNCTION msgstore.record_status(text, text, text, jsonb) IS
    'Records a provider''s status callback for an outbound message. status: the provider''s word, which status_words maps to a status; an unknown word is recorded and counted, and changes no status. Returns callback_id, message_id (null until the sender has reported the message) and the current status, which never moves backwards. Raises MS400 for an invalid argument, MS409 if it is not clear which tenant''s message it is, MS413 if detail is too large';
