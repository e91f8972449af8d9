-- sources: what the gateway calls for a webhook.

CREATE FUNCTION msgstore._source_of_path(path text) RETURNS msgstore.sources
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
DECLARE
    scope CONSTANT text := msgstore._tenant_scope();
    chosen msgstore.sources;
BEGIN
    IF _source_of_path.path ~ '^wh_[0-9a-f]{40}$' THEN
        SELECT s.* INTO chosen FROM msgstore.sources s
        WHERE sha256(decode(substr(s.path, 4), 'hex'))
                  = sha256(decode(substr(_source_of_path.path, 4), 'hex'))
            AND scope IN ('', s.tenant_id);
    END IF;
    IF chosen.name IS NULL THEN
        RAISE EXCEPTION 'source does not exist' USING ERRCODE = 'MS404';
    END IF;
    RETURN chosen;
END
$$;

-- What the provider is told: by default, by the provider's row, by the source's.
CREATE FUNCTION msgstore._answer(
    source msgstore.sources, provider msgstore.providers, outcome text)
    RETURNS jsonb
    LANGUAGE sql IMMUTABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT ('{"accepted": {"status": 202}, "refused": {"status": 400},
              "unverified": {"status": 401}}'::jsonb -> outcome)
        || coalesce((provider).answers -> outcome, '{}')
        || coalesce((source).answers -> outcome, '{}')
    $$;

-- Uses up a token. Returns false if it was used before. Each call removes two tokens
-- that have expired, so that there are never many.
CREATE FUNCTION msgstore._use_token(
    source msgstore.sources, token text, expires_at timestamptz)
    RETURNS boolean
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_variable
BEGIN
    INSERT INTO msgstore.source_tokens (tenant_id, source, digest, expires_at)
    VALUES (source.tenant_id, source.name, sha256(convert_to(token, 'UTF8')), expires_at)
    ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    DELETE FROM msgstore.source_tokens t
    WHERE t.tenant_id = source.tenant_id AND t.source = source.name
        AND t.digest IN (
            SELECT o.digest FROM msgstore.source_tokens o
            WHERE o.tenant_id = source.tenant_id AND o.source = source.name
                AND o.expires_at < clock_timestamp()
            ORDER BY o.expires_at LIMIT 2 FOR UPDATE SKIP LOCKED);
    RETURN true;
END
$$;

-- Meta's verification of a path.
CREATE FUNCTION msgstore._answer_challenge(source msgstore.sources, query jsonb)
    RETURNS text
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_variable
BEGIN
    IF query ->> 'hub.mode' = 'subscribe' AND query ? 'hub.challenge' AND EXISTS (
        SELECT FROM msgstore.source_secrets s
        WHERE s.tenant_id = (source).tenant_id AND s.source = (source).name
            AND s.purpose = 'challenge'
            AND msgstore._same_bytes(
                sha256(convert_to(s.secret, 'UTF8')),
                sha256(convert_to(coalesce(query ->> 'hub.verify_token', ''), 'UTF8'))))
    THEN
        RETURN left(query ->> 'hub.challenge', 1000);
    END IF;
    RETURN NULL;
END
$$;

-- A message that was sent on another channel than the provider's callback suggests,
-- such as mms, is chosen by its id.
CREATE FUNCTION msgstore._status_channel(
    tenant text, suggested text, provider_message_id text)
    RETURNS text
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    RETURN coalesce(
        (SELECT d.channel FROM msgstore.channels c
         JOIN msgstore.deliveries d ON d.tenant_id = tenant AND d.channel = c.name
             AND d.provider_message_id = _status_channel.provider_message_id
         WHERE d.message_id IS NOT NULL
         ORDER BY d.channel <> suggested LIMIT 1),
        suggested);
END
$$;

-- Returns the id of the first event or callback, and how many items were refused.
CREATE FUNCTION msgstore._store_items(
    items jsonb, source msgstore.sources, correlation_id text,
    OUT first_id uuid, OUT accepted int, OUT refused int)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    status record;
    id uuid;
BEGIN
    SELECT (array_agg(b.event_id ORDER BY b.ordinal) FILTER (WHERE b.event_id IS NOT NULL))[1],
           count(*) FILTER (WHERE b.error_code IS NULL),
           count(*) FILTER (WHERE b.error_code IS NOT NULL)
    INTO first_id, accepted, refused
    FROM msgstore.ingest_batch((
        SELECT coalesce(jsonb_agg(jsonb_build_object(
                   'channel', i.item -> 'channel', 'payload', i.item -> 'payload',
                   'correlation_id', to_jsonb(correlation_id), 'relaxed', true,
                   'max_attachments', to_jsonb((source).max_attachments)) ORDER BY i.n), '[]')
        FROM jsonb_array_elements(items) WITH ORDINALITY AS i (item, n)
        WHERE i.item ->> 'kind' = 'message')) b;
    -- In the order of the ids, so that two batches do not deadlock.
    FOR status IN
        SELECT i.item ->> 'channel' AS channel,
               i.item ->> 'provider_message_id' AS provider_message_id,
               i.item ->> 'status' AS word, i.item -> 'payload' AS detail
        FROM jsonb_array_elements(items) WITH ORDINALITY AS i (item, n)
        WHERE i.item ->> 'kind' = 'status'
        ORDER BY (i.item ->> 'provider_message_id') COLLATE "C", i.n
    LOOP
        BEGIN
            SELECT r.callback_id INTO id
            FROM msgstore.record_status(
                msgstore._status_channel((source).tenant_id, status.channel,
                                         status.provider_message_id),
                status.provider_message_id, status.word, status.detail) r;
            first_id := coalesce(first_id, id);
            accepted := accepted + 1;
        EXCEPTION
            WHEN SQLSTATE 'MS400' OR SQLSTATE 'MS409' OR SQLSTATE 'MS413' THEN
                refused := refused + 1;
        END;
    END LOOP;
END
$$;

-- Returns the reason for which a request is not accepted; null if it is.
CREATE FUNCTION msgstore._admit(
    source msgstore.sources,
    provider msgstore.providers,
    document jsonb,
    url text,
    body bytea)
    RETURNS text
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    scheme CONSTANT msgstore.signature_schemes :=
        msgstore._scheme(coalesce(source.scheme, provider.scheme));
    request_values CONSTANT jsonb := msgstore._signature_values(
        scheme, scheme.options || source.scheme_options, document);
    reason text := msgstore._verify(
        source, provider, scheme, request_values, document, url, body, clock_timestamp());
BEGIN
    -- Longer than the signature is accepted, whatever the clocks say.
    IF reason IS NULL AND request_values ? 'token' AND NOT msgstore._use_token(
        source, request_values ->> 'token', clock_timestamp() + 2 * coalesce(
            source.tolerance, provider.tolerance, interval '5 years'))
    THEN
        reason := 'replayed';
    END IF;
    RETURN reason;
END
$$;

-- Verification comes first; nothing is stored before it, and all that is stored is
-- stored in one transaction.
CREATE FUNCTION msgstore.receive_webhook(
    path text,
    method text,
    url text,
    headers jsonb,
    body bytea,
    correlation_id text DEFAULT NULL,
    OUT status int,
    OUT content_type text,
    OUT answer text,
    OUT outcome text,
    OUT reason text,
    OUT id uuid)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_variable
DECLARE
    scope CONSTANT text := msgstore._tenant_scope();
    source CONSTANT msgstore.sources := msgstore._source_of_path(path);
    provider CONSTANT msgstore.providers := msgstore._provider(source.provider);
    document jsonb := jsonb_build_object(
        'headers', msgstore._lower_names(headers), 'query', msgstore._query_of(url),
        'body', NULL);
    reads_body CONSTANT boolean :=
        (msgstore._scheme(coalesce(source.scheme, provider.scheme))).reads_body;
    items jsonb;
    stored record;
    told jsonb;
BEGIN
    body := coalesce(body, '');
    IF method = 'GET' AND provider.challenge THEN
        answer := msgstore._answer_challenge(source, document -> 'query');
        outcome := CASE WHEN answer IS NULL THEN 'unverified' ELSE 'accepted' END;
        status := CASE WHEN answer IS NULL THEN 403 ELSE 200 END;
        content_type := 'text/plain';
        reason := CASE WHEN answer IS NULL THEN 'challenge token does not match' END;
        RETURN;
    ELSIF method <> ALL (provider.methods) THEN
        RAISE EXCEPTION 'method % is not used by provider "%"', method, provider.name
            USING ERRCODE = 'MS404';
    END IF;

    BEGIN
        IF reads_body THEN
            document := document || msgstore._decode_body(
                provider, coalesce(document -> 'headers' ->> 'content-type', ''), body,
                document -> 'query');
        END IF;
    EXCEPTION
        WHEN SQLSTATE 'MS400' THEN
            -- A body without a signature: mismatch would hide that it is garbled.
            outcome := 'refused';
            reason := SQLERRM;
    END;
    IF outcome IS NULL THEN
        reason := msgstore._admit(source, provider, document, url, body);
        outcome := CASE WHEN reason = 'replayed' THEN 'refused'
                        WHEN reason IS NOT NULL THEN 'unverified' END;
        PERFORM msgstore._count('source_unverified_' || reason, 1);
        reason := coalesce(msgstore._describe_reason(reason), reason);
    END IF;

    IF outcome IS NULL THEN
        BEGIN
            IF NOT reads_body THEN
                document := document || msgstore._decode_body(
                    provider, coalesce(document -> 'headers' ->> 'content-type', ''),
                    body, document -> 'query');
            END IF;
            SELECT jsonb_agg(to_jsonb(m)) INTO items
            FROM msgstore._map_document(source, provider, document, clock_timestamp()) m;
        EXCEPTION
            WHEN data_exception OR SQLSTATE 'MS400' THEN
                outcome := 'refused';
                reason := SQLERRM;
        END;
    END IF;
    IF outcome = 'refused' THEN
        PERFORM msgstore._count('source_refused', 1);
    END IF;

    IF outcome IS NULL THEN
        PERFORM set_config('msgstore.tenant_id', source.tenant_id, true);
        PERFORM msgstore._settle_by_callback(document -> 'query', items);
        stored := msgstore._store_items(items, source, correlation_id);
        PERFORM set_config('msgstore.tenant_id', scope, true);
        id := stored.first_id;
        outcome := CASE WHEN stored.refused > 0 AND stored.accepted = 0
                        THEN 'refused' ELSE 'accepted' END;
        reason := CASE outcome WHEN 'refused' THEN 'webhook cannot be stored' END;
        PERFORM msgstore._count('source_items_refused', stored.refused);
        PERFORM msgstore._count('source_items_ignored', (
            SELECT count(*) FROM jsonb_array_elements(items) i
            WHERE i ->> 'kind' = 'ignored'));
    END IF;
    told := msgstore._answer(source, provider, outcome);
    status := told ->> 'status';
    content_type := told ->> 'type';
    answer := told ->> 'body';
END
$$;

REVOKE ALL ON FUNCTION msgstore._source_of_path(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._answer(msgstore.sources, msgstore.providers, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._use_token(msgstore.sources, text, timestamptz) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._answer_challenge(msgstore.sources, jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._status_channel(text, text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._store_items(jsonb, msgstore.sources, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._admit(msgstore.sources, msgstore.providers, jsonb, text, bytea) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.receive_webhook(text, text, text, jsonb, bytea, text) FROM PUBLIC;

COMMENT ON FUNCTION msgstore._source_of_path(text) IS
    'Returns the source with this path. Raises MS404 if there is none';
COMMENT ON FUNCTION msgstore._answer(msgstore.sources, msgstore.providers, text) IS
    'Returns the answer to a webhook of the source with this outcome: status, type and body';
COMMENT ON FUNCTION msgstore._use_token(msgstore.sources, text, timestamptz) IS
    'Records the token of a webhook. Returns false if it was recorded before';
COMMENT ON FUNCTION msgstore._answer_challenge(msgstore.sources, jsonb) IS
    'Returns hub.challenge if hub.verify_token is that of the source, else null';
COMMENT ON FUNCTION msgstore._status_channel(text, text, text) IS
    'Returns the channel of the message with this provider message id, else the suggested one';
COMMENT ON FUNCTION msgstore._store_items(jsonb, msgstore.sources, text) IS
    'Stores the messages of a webhook by ingest_batch() and its statuses by record_status()';
COMMENT ON FUNCTION msgstore._admit(msgstore.sources, msgstore.providers, jsonb, text, bytea) IS
    'Verifies a webhook and uses up its token. Returns the reason if it is not accepted, else null';
COMMENT ON FUNCTION msgstore.receive_webhook(text, text, text, jsonb, bytea, text) IS
    'Takes a webhook of a provider: verifies it, and stores its messages and statuses in one transaction. path: the source''s. url: as the gateway sees it, with the query. Returns what to answer (status, content_type and answer, null for the default), the outcome (accepted, refused or unverified), the reason if it is not accepted, and the id of the first event or callback. Raises MS404 if there is no such source';
