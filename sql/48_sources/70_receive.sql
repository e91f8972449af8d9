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
    items jsonb, source msgstore.sources, correlation_id text, bytes bytea,
    OUT first_id uuid, OUT accepted int, OUT refused int)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    messages jsonb := coalesce((
        SELECT jsonb_agg(i.item ORDER BY i.n)
        FROM jsonb_array_elements(items) WITH ORDINALITY AS i (item, n)
        WHERE i.item ->> 'kind' = 'message'), '[]');
    stored record;
    status record;
    id uuid;
    parts CONSTANT int := jsonb_array_length(messages);
BEGIN
    messages := msgstore._complete_messages(source, messages);
    -- A part that waits for others is durable, too.
    accepted := greatest(parts - jsonb_array_length(messages), 0);
    refused := 0;
    IF jsonb_path_exists(messages, '$[*].payload ? (exists(@.message_id) || exists(@.recipients))') THEN
        PERFORM msgstore._lock_threads(source, messages);
        SELECT jsonb_agg(msgstore._join_thread(source, m.item) ORDER BY m.n) INTO messages
        FROM jsonb_array_elements(messages) WITH ORDINALITY AS m (item, n);
    END IF;
    FOR stored IN
        SELECT b.event_id, b.duplicate, b.error_code,
               messages -> (b.ordinal - 1) AS message
        FROM msgstore.ingest_batch((
            SELECT coalesce(jsonb_agg(jsonb_build_object(
                       'channel', m.item -> 'channel', 'payload', m.item -> 'payload',
                       'correlation_id', to_jsonb(correlation_id), 'relaxed', true,
                       'max_attachments', to_jsonb((source).max_attachments))
                       ORDER BY m.n), '[]')
            FROM jsonb_array_elements(messages) WITH ORDINALITY AS m (item, n))) b
        ORDER BY b.ordinal
    LOOP
        accepted := accepted + (stored.error_code IS NULL)::int;
        refused := refused + (stored.error_code IS NOT NULL)::int;
        first_id := coalesce(first_id, stored.event_id);
        CONTINUE WHEN stored.duplicate OR stored.error_code IS NOT NULL;
        IF stored.message -> 'files' <> '[]' THEN
            PERFORM msgstore._store_files(
                source, stored.event_id, stored.message -> 'files', bytes);
        END IF;
        IF stored.message -> 'payload' ? 'message_id' THEN
            PERFORM msgstore._note_thread(source, stored.event_id, stored.message);
        END IF;
    END LOOP;
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

-- What to answer to a webhook that is too large: 413, or what stops the provider from
-- delivering it again.
CREATE FUNCTION msgstore._answer_too_large(
    source msgstore.sources, provider msgstore.providers)
    RETURNS int
    LANGUAGE sql IMMUTABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT CASE WHEN a.status >= 400 AND a.status <> 401 THEN a.status ELSE 413 END
    FROM (SELECT coalesce((source).answers -> 'refused' ->> 'status',
                          (provider).answers -> 'refused' ->> 'status', '413')::int
         ) AS a (status)
    $$;

-- What the gateway must know before it reads a webhook.
CREATE FUNCTION msgstore.webhook_limits(
    path text,
    OUT tenant_id text,
    OUT max_body_bytes int,
    OUT too_large_status int,
    OUT requests_per_second int,
    OUT burst int,
    OUT source text)
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
DECLARE
    used CONSTANT msgstore.sources := msgstore._source_of_path(webhook_limits.path);
    provider CONSTANT msgstore.providers := msgstore._provider(used.provider);
BEGIN
    source := used.name;
    webhook_limits.tenant_id := used.tenant_id;
    webhook_limits.max_body_bytes :=
        coalesce(used.max_body_bytes, provider.max_body_bytes);
    too_large_status := msgstore._answer_too_large(used, provider);
    SELECT l.requests_per_second, l.burst
    INTO webhook_limits.requests_per_second, webhook_limits.burst
    FROM msgstore.tenant_limits l WHERE l.tenant_id = used.tenant_id;
END
$$;

-- Verification comes first; nothing is stored before it, and all that is stored is
-- stored in one transaction. A whole e-mail is decoded by the gateway once it has
-- been verified: the gateway then calls again, with what it found.
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
    AS $$
#variable_conflict use_variable
DECLARE
    source CONSTANT msgstore.sources := msgstore._source_of_path(path);
    provider CONSTANT msgstore.providers := msgstore._provider(source.provider);
    scheme CONSTANT msgstore.signature_schemes :=
        msgstore._scheme(coalesce(source.scheme, provider.scheme));
    document jsonb := jsonb_build_object(
        'headers', msgstore._lower_names(headers), 'query', msgstore._query_of(url),
        'body', NULL);
    request_values jsonb;
    items jsonb;
    told jsonb;
BEGIN
    PERFORM msgstore._check_scope_here();
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
    ELSIF octet_length(body) > coalesce(source.max_body_bytes, provider.max_body_bytes) THEN
        outcome := 'refused';
        status := msgstore._answer_too_large(source, provider);
        reason := format('body of %s bytes exceeds the limit of the source',
                         octet_length(body));
        PERFORM msgstore._count('source_refused', 1);
        RETURN;
    END IF;

    BEGIN
        -- A body without a signature: mismatch would hide that it is garbled.
        IF scheme.reads_body THEN
            document := msgstore._decode(provider, document, body);
        END IF;
        request_values := msgstore._signature_values(
            scheme, scheme.options || source.scheme_options, document);
        reason := msgstore._verify(
            source, provider, scheme, request_values, document, url, body,
            clock_timestamp());
        IF reason IS NULL AND NOT scheme.reads_body THEN
            document := msgstore._decode(provider, document, body);
        END IF;
    EXCEPTION
        WHEN SQLSTATE 'MS400' THEN
            outcome := 'refused';
            reason := SQLERRM;
    END;
    IF outcome IS NULL AND reason IS NULL AND document ? 'mail' THEN
        IF mail IS NULL THEN
            outcome := 'mail';
            status := 202;
            answer := document ->> 'mail';
            RETURN;
        END IF;
        document := msgstore._add_mail(provider, document, mail);
        body := coalesce(files, '');
    END IF;
    -- Longer than the signature is accepted, whatever the clocks say.
    IF outcome IS NULL AND reason IS NULL AND request_values ? 'token'
        AND NOT msgstore._use_token(
            source, request_values ->> 'token', clock_timestamp() + 2 * coalesce(
                source.tolerance, provider.tolerance, interval '5 years'))
    THEN
        reason := 'replayed';
    END IF;
    IF outcome IS NULL AND reason IS NOT NULL THEN
        PERFORM msgstore._count('source_unverified_' || reason, 1);
        outcome := CASE WHEN reason = 'replayed' THEN 'refused' ELSE 'unverified' END;
        reason := coalesce(msgstore._describe_reason(reason), reason);
    END IF;

    IF outcome IS NULL THEN
        BEGIN
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
    ELSIF outcome IS NULL THEN
        SELECT s.outcome, s.first_id INTO outcome, id
        FROM msgstore._store_document(
            source, document -> 'query', items, correlation_id, body) s;
        reason := CASE outcome WHEN 'refused' THEN 'webhook cannot be stored' END;
    END IF;
    told := msgstore._answer(source, provider, outcome);
    status := told ->> 'status';
    content_type := told ->> 'type';
    answer := told ->> 'body';
END
$$;

-- For the tenant of the source, whatever that of the session is.
CREATE FUNCTION msgstore._store_document(
    source msgstore.sources,
    query jsonb,
    items jsonb,
    correlation_id text,
    bytes bytea,
    OUT outcome text,
    OUT first_id uuid)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    scope CONSTANT text := msgstore._tenant_scope();
    stored record;
BEGIN
    PERFORM set_config('msgstore.tenant_id', source.tenant_id, true);
    PERFORM msgstore._settle_by_callback(query, items);
    stored := msgstore._store_items(items, source, correlation_id, bytes);
    PERFORM set_config('msgstore.tenant_id', scope, true);
    first_id := stored.first_id;
    outcome := CASE WHEN stored.refused > 0 AND stored.accepted = 0
                    THEN 'refused' ELSE 'accepted' END;
    PERFORM msgstore._count('source_items_refused', stored.refused);
    PERFORM msgstore._count('source_items_ignored', (
        SELECT count(*) FROM jsonb_array_elements(items) i
        WHERE i ->> 'kind' = 'ignored'));
END
$$;

CREATE FUNCTION msgstore._decode(
    provider msgstore.providers, document jsonb, body bytea)
    RETURNS jsonb
    LANGUAGE sql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT document || msgstore._decode_body(
        provider, coalesce(document -> 'headers' ->> 'content-type', ''), body,
        document -> 'query')
    $$;

REVOKE ALL ON FUNCTION msgstore._source_of_path(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._answer(msgstore.sources, msgstore.providers, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._use_token(msgstore.sources, text, timestamptz) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._answer_challenge(msgstore.sources, jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._status_channel(text, text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._store_items(jsonb, msgstore.sources, text, bytea) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._answer_too_large(msgstore.sources, msgstore.providers) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.webhook_limits(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.receive_webhook(text, text, text, jsonb, bytea, text, jsonb, bytea) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._store_document(msgstore.sources, jsonb, jsonb, text, bytea) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._decode(msgstore.providers, jsonb, bytea) FROM PUBLIC;

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
COMMENT ON FUNCTION msgstore._store_items(jsonb, msgstore.sources, text, bytea) IS
    'Stores the messages of a webhook by ingest_batch(), with their files, and its statuses by record_status()';
COMMENT ON FUNCTION msgstore._answer_too_large(msgstore.sources, msgstore.providers) IS
    'Returns the HTTP status for a webhook that is too large';
COMMENT ON FUNCTION msgstore.webhook_limits(text) IS
    'Returns the limits of the source with this path: the tenant and its request limit (nulls for none), the greatest size of a body (null for that of the gateway) and the HTTP status for a larger one; and its name. Raises MS404 if there is no such source';
COMMENT ON FUNCTION msgstore._store_document(msgstore.sources, jsonb, jsonb, text, bytea) IS
    'Stores what _map_document() has found, for the tenant of the source. Returns the outcome, accepted or refused, and the id of the first event or callback';
COMMENT ON FUNCTION msgstore._decode(msgstore.providers, jsonb, bytea) IS
    'Returns the document with the decoded body';
COMMENT ON FUNCTION msgstore.receive_webhook(text, text, text, jsonb, bytea, text, jsonb, bytea) IS
    'Takes a webhook of a provider: verifies it, and stores its messages and statuses in one transaction. path: the source''s. url: as the gateway sees it, with the query. mail: the e-mail in the body as the gateway has decoded it, files: the contents of its parts. Returns what to answer (status, content_type and answer, null for the default), the outcome (accepted, refused or unverified; mail if the gateway must decode an e-mail and call again: answer then says where it is, and nothing was stored), the reason if it is not accepted, and the id of the first event or callback. Raises MS404 if there is no such source';
