-- sender: media that providers keep, fetched into attachments. The gateway and the
-- server open no connections to others.

-- The secret goes to the host of the account's API and to those that the provider
-- keeps media on, and nowhere else, whatever a webhook says.
CREATE FUNCTION msgstore._is_media_host(
    url text, account msgstore.accounts, api msgstore.provider_apis)
    RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT coalesce(
        lower(substring(url FROM '^https://([^/?#:@]+)(?:[/?#]|$)')) = ANY (api.media_hosts)
        OR lower(substring(url FROM '^(https?://[^/?#@]+)(?:[/?#]|$)'))
           = lower(substring(coalesce(account.base_url, api.base_url) FROM '^https?://[^/?#@]+')),
        false)
    $$;

-- Five seconds, then four times as long, up to six hours; given up after eight
-- attempts, in about thirteen hours.
CREATE FUNCTION msgstore._note_media_failure(
    file msgstore.attachments, reason text, final boolean, rest interval DEFAULT NULL)
    RETURNS text
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    gives_up CONSTANT boolean := final OR file.fetch_attempts >= 8;
BEGIN
    UPDATE msgstore.attachments a
    SET fetch_error = left(reason, 1000),
        next_fetch_at = CASE WHEN NOT gives_up THEN clock_timestamp() + greatest(rest,
            least(interval '5 seconds' * 4 ^ greatest(file.fetch_attempts - 1, 0),
                  interval '6 hours')) END
    WHERE a.tenant_id = file.tenant_id AND a.id = file.id;
    PERFORM msgstore._watch_outbox();
    RETURN CASE WHEN gives_up THEN 'failed' ELSE 'waiting' END;
END
$$;

-- The lease is longer than a request can take, so it needs no heartbeat; an attempt is
-- counted when it begins.
CREATE FUNCTION msgstore.claim_media(
    sender_id text,
    max_files int DEFAULT 10,
    OUT attachment_id uuid,
    OUT tenant_id text,
    OUT account text,
    OUT attempt int,
    OUT url text,
    OUT auth text,
    OUT secret_name text,
    OUT secret text,
    OUT timeout_ms int,
    OUT max_bytes int,
    OUT again boolean)
    RETURNS SETOF record
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off
    SET enable_bitmapscan = off
    SET jit = off
    AS $$
#variable_conflict use_column
DECLARE
    scope CONSTANT text := msgstore._tenant_scope();
    due CONSTANT timestamptz := clock_timestamp();
    time_limit CONSTANT interval := '2 minutes';
    file msgstore.attachments;
    source msgstore.sources;
    used msgstore.accounts;
    api msgstore.provider_apis;
BEGIN
    PERFORM msgstore._check_claim(claim_media.sender_id, 'max_files', max_files);
    again := false;
    timeout_ms := extract(epoch FROM time_limit) * 1000;
    FOR file IN
        SELECT a.* FROM msgstore.attachments a
        WHERE a.next_fetch_at <= due AND scope IN ('', a.tenant_id)
            AND NOT msgstore._is_elsewhere(a.tenant_id)
        ORDER BY a.next_fetch_at LIMIT max_files FOR UPDATE SKIP LOCKED
    LOOP
        file.fetch_attempts := file.fetch_attempts + 1;
        UPDATE msgstore.attachments a
        SET fetch_attempts = file.fetch_attempts, next_fetch_at = due + 2 * time_limit
        WHERE a.tenant_id = file.tenant_id AND a.id = file.id;
        SELECT s.* INTO source FROM msgstore.sources s
        WHERE s.tenant_id = file.tenant_id AND s.name = file.source;
        SELECT a.* INTO used FROM msgstore.accounts a
        WHERE a.name = source.media_account AND a.tenant_id IN (file.tenant_id, '')
        ORDER BY a.tenant_id DESC LIMIT 1;
        IF used.name IS NULL THEN
            PERFORM msgstore._note_media_failure(
                file, format('account "%s" does not exist', source.media_account), false);
            CONTINUE;
        END IF;
        api := msgstore._provider_api(used.provider);
        url := coalesce(file.url, msgstore._fill_text(api.media_url, jsonb_build_object(
            'base', coalesce(used.base_url, api.base_url),
            'options', api.defaults || used.options, 'id', file.content_id), true));
        IF url IS NULL OR api.protocol <> 'http' THEN
            PERFORM msgstore._note_media_failure(
                file, format('provider "%s" of account "%s" has no URL for it', used.provider, used.name), true);
            CONTINUE;
        END IF;
        attachment_id := file.id;
        tenant_id := file.tenant_id;
        account := used.name;
        attempt := file.fetch_attempts;
        auth := CASE WHEN msgstore._is_media_host(url, used, api) THEN api.auth ELSE 'none' END;
        secret_name := used.secret_name;
        secret := (SELECT s.secret FROM msgstore.account_secrets s
                   WHERE s.tenant_id = used.tenant_id AND s.account = used.name AND auth <> 'none');
        max_bytes := source.max_attachment_bytes;
        RETURN NEXT;
    END LOOP;
    PERFORM msgstore._watch_outbox();
END
$$;

-- Returns stored, found (the URL, which is fetched next), waiting, failed or gone.
CREATE FUNCTION msgstore.record_media(
    sender_id text,
    attachment_id uuid,
    status int,
    headers text,
    body bytea,
    failure text DEFAULT NULL)
    RETURNS text
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off
    SET enable_bitmapscan = off
    SET jit = off
    AS $$
#variable_conflict use_column
DECLARE
    scope CONSTANT text := msgstore._tenant_scope();
    told CONSTANT jsonb := msgstore._header_object(headers);
    given CONSTANT text := nullif(split_part(told ->> 'content-type', ';', 1), 'application/octet-stream');
    file msgstore.attachments;
    found text;
BEGIN
    PERFORM msgstore._check_scope_here();
    PERFORM msgstore._check_text('sender_id', record_media.sender_id, 255);
    SELECT a.* INTO file FROM msgstore.attachments a
    WHERE a.id = record_media.attachment_id AND a.next_fetch_at IS NOT NULL
        AND scope IN ('', a.tenant_id)
    FOR UPDATE;
    IF file.id IS NULL THEN
        RETURN 'gone';
    END IF;
    PERFORM msgstore._check_tenant_here(file.tenant_id);
    IF status NOT BETWEEN 200 AND 299 THEN
        -- A URL that was looked up may have expired.
        UPDATE msgstore.attachments a SET url = NULL
        WHERE a.tenant_id = file.tenant_id AND a.id = file.id AND a.url_found;
        RETURN msgstore._note_media_failure(
            file, coalesce(nullif(failure, ''), 'the provider answered ' || status),
            status = 413, msgstore._retry_after(jsonb_build_object('headers', told)));
    ELSIF file.url IS NULL THEN
        found := msgstore._first_of(
            msgstore._answer_document(status, headers, body), '{$.body.url}');
        IF found IS NULL OR found !~* '^https?://[^/?#:@]' THEN
            RETURN msgstore._note_media_failure(file, 'the provider has no URL for it', false);
        END IF;
        UPDATE msgstore.attachments a
        SET url = found, url_found = true, next_fetch_at = clock_timestamp()
        WHERE a.tenant_id = file.tenant_id AND a.id = file.id;
        PERFORM msgstore._wake_senders();
        RETURN 'found';
    END IF;
    UPDATE msgstore.attachments a
    SET content = coalesce(body, ''), sha256 = sha256(coalesce(body, '')),
        size_bytes = octet_length(coalesce(body, '')),
        media_type = coalesce(given, a.media_type), next_fetch_at = NULL, fetch_error = NULL
    WHERE a.tenant_id = file.tenant_id AND a.id = file.id;
    RETURN 'stored';
END
$$;

CREATE FUNCTION msgstore.fetch_attachment(id uuid) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
DECLARE
    scope CONSTANT text := msgstore._tenant_scope();
BEGIN
    PERFORM msgstore._check_scope_here();
    UPDATE msgstore.attachments a
    SET next_fetch_at = clock_timestamp(), fetch_attempts = 0,
        url = CASE WHEN NOT a.url_found THEN a.url END
    WHERE a.id = fetch_attachment.id AND scope IN ('', a.tenant_id)
        AND a.content IS NULL AND a.source IS NOT NULL
        AND (a.url IS NOT NULL OR a.content_id IS NOT NULL);
    IF NOT FOUND THEN
        RAISE EXCEPTION 'attachment "%" cannot be fetched', fetch_attachment.id
            USING ERRCODE = 'MS404',
                  DETAIL = 'No attachment with this id is kept by a provider.';
    END IF;
    PERFORM msgstore._wake_senders();
END
$$;

REVOKE ALL ON FUNCTION msgstore._is_media_host(text, msgstore.accounts, msgstore.provider_apis) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._note_media_failure(msgstore.attachments, text, boolean, interval) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.claim_media(text, int) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.record_media(text, uuid, int, text, bytea, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.fetch_attachment(uuid) FROM PUBLIC;

COMMENT ON FUNCTION msgstore._is_media_host(text, msgstore.accounts, msgstore.provider_apis) IS
    'Returns whether the secret of the account may be sent to this URL';
COMMENT ON FUNCTION msgstore._note_media_failure(msgstore.attachments, text, boolean, interval) IS
    'Records that a file could not be fetched; returns waiting, or failed if it is given up';
COMMENT ON FUNCTION msgstore.claim_media(text, int) IS
    'For msgstore-sender: returns files that are to be fetched from providers, at once. auth is none if the secret must not be sent to the URL. Report each with record_media(). Raises MS400 for an invalid argument';
COMMENT ON FUNCTION msgstore.record_media(text, uuid, int, text, bytea, text) IS
    'For msgstore-sender: records the answer to a request of claim_media(). status: that of HTTP, 0 for none, 413 if the file is larger than max_bytes. Returns stored, found (only the URL), waiting (for the next attempt), failed, or gone. Raises MS400 for an invalid argument';
COMMENT ON FUNCTION msgstore.fetch_attachment(uuid) IS
    'Fetches an attachment again that a provider keeps, from the first attempt on. Raises MS404 if there is no such attachment';
