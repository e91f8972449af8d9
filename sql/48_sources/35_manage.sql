-- sources: creation, secrets, list.

-- Raises MS400 for a mapping that cannot work, while someone is there to read it.
CREATE FUNCTION msgstore._check_mapping(mapping jsonb) RETURNS void
    LANGUAGE plpgsql IMMUTABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    rule jsonb;
BEGIN
    IF mapping IS NULL THEN
        RETURN;
    END IF;
    IF jsonb_typeof(mapping) <> 'array' OR mapping = '[]' THEN
        RAISE EXCEPTION 'mapping is not an array of rules'
            USING ERRCODE = 'MS400',
                  DETAIL = 'A mapping must be an array of objects with the columns of msgstore.provider_rules.';
    END IF;
    FOR rule IN SELECT jsonb_array_elements(mapping) LOOP
        IF rule ->> 'kind' IS NULL OR rule ->> 'kind' NOT IN ('message', 'status')
            OR jsonb_typeof(rule -> 'fields') IS DISTINCT FROM 'object'
            OR coalesce(rule ->> 'recipients', 'first') NOT IN ('first', 'each', 'own')
        THEN
            RAISE EXCEPTION 'invalid mapping rule %', left(rule::text, 100)
                USING ERRCODE = 'MS400',
                      DETAIL = 'A rule must have "kind" ("message" or "status") and "fields", an object; "recipients" must be "first", "own" or "each".';
        END IF;
        BEGIN
            PERFORM (rule ->> 'outer_path')::jsonpath, (rule ->> 'item_path')::jsonpath,
                    (rule ->> 'condition')::jsonpath;
            PERFORM f.value::text FROM jsonb_each(rule -> 'fields') f
            WHERE jsonb_typeof(f.value) = 'string'
                AND (f.value #>> '{}')::jsonpath IS NULL;
        EXCEPTION
            WHEN syntax_error OR data_exception THEN
                RAISE EXCEPTION 'invalid jsonpath in mapping rule %', left(rule::text, 100)
                    USING ERRCODE = 'MS400', DETAIL = SQLERRM || '.';
        END;
    END LOOP;
END
$$;

CREATE FUNCTION msgstore._check_answers(answers jsonb) RETURNS void
    LANGUAGE plpgsql IMMUTABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    outcome text;
    answer jsonb;
BEGIN
    FOR outcome, answer IN SELECT * FROM jsonb_each(coalesce(answers, '{}')) LOOP
        IF outcome NOT IN ('accepted', 'refused', 'unverified')
            OR jsonb_typeof(answer) <> 'object'
            OR coalesce(answer ->> 'status', '200')
               NOT IN ('200', '201', '202', '204', '400', '401', '403', '404', '406', '409', '503')
            OR coalesce(answer ->> 'type', 'text/plain')
               NOT IN ('application/json', 'text/plain', 'text/xml')
        THEN
            RAISE EXCEPTION 'invalid answer "%": %', left(outcome, 64), left(answer::text, 100)
                USING ERRCODE = 'MS400',
                      DETAIL = 'An answer must be an object with "status", "type" (application/json, text/plain or text/xml) and "body", for one of "accepted", "refused" and "unverified".';
        END IF;
    END LOOP;
END
$$;

CREATE FUNCTION msgstore._add_secret(
    tenant text, source text, purpose text, secret text)
    RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF secret IS NULL OR secret !~ '[^[:space:]]' OR octet_length(secret) > 4096 THEN
        RAISE EXCEPTION 'invalid secret for source "%"', source
            USING ERRCODE = 'MS400',
                  DETAIL = 'A secret must be a non-blank string of at most 4096 bytes.';
    END IF;
    INSERT INTO msgstore.source_secrets (tenant_id, source, id, purpose, secret)
    VALUES (tenant, source, msgstore.uuid7(), purpose, secret);
END
$$;

-- A complete URL, or only scheme and host of one.
CREATE FUNCTION msgstore._complete_url(public_url text, path text) RETURNS text
    LANGUAGE plpgsql IMMUTABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF public_url !~* '^https?://[^/?#[:space:]]+(/[^#[:space:]]*)?$' THEN
        RAISE EXCEPTION 'invalid public URL "%"', left(public_url, 200)
            USING ERRCODE = 'MS400',
                  DETAIL = 'The URL must begin with http:// or https:// and a host, and must not have a fragment.';
    END IF;
    IF public_url ~ '^[^/]+//[^/]+/?$' THEN
        RETURN rtrim(public_url, '/') || '/api/webhooks/' || path;
    END IF;
    RETURN public_url;
END
$$;

CREATE FUNCTION msgstore.create_source(
    name text,
    provider text,
    secret text DEFAULT NULL,
    public_url text DEFAULT NULL,
    tenant text DEFAULT NULL,
    scheme text DEFAULT NULL,
    scheme_options jsonb DEFAULT '{}',
    tolerance interval DEFAULT NULL,
    time_zone text DEFAULT 'UTC',
    own_addresses text[] DEFAULT '{}',
    max_attachments int DEFAULT 50,
    mapping jsonb DEFAULT NULL,
    answers jsonb DEFAULT '{}',
    max_body_bytes int DEFAULT NULL,
    max_attachment_bytes int DEFAULT 31457280,
    media_account text DEFAULT NULL,
    OUT path text,
    OUT url text,
    OUT verify_token text)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_variable
DECLARE
    owner CONSTANT text := coalesce(tenant, msgstore._tenant_scope());
    used msgstore.providers;
    method text;
BEGIN
    PERFORM msgstore._check_tenant(owner);
    PERFORM msgstore._check_settings_here();
    PERFORM msgstore._check_name('source', name);
    PERFORM msgstore._check_text('provider', provider, 63);
    used := msgstore._provider(provider);
    method := (msgstore._scheme(coalesce(scheme, used.scheme))).method;
    IF method <> 'none' AND secret IS NULL THEN
        RAISE EXCEPTION 'source "%" needs a secret', name
            USING ERRCODE = 'MS400',
                  DETAIL = format('Scheme "%s" of provider "%s" verifies a signature.',
                                  coalesce(scheme, used.scheme), provider),
                  HINT = 'Pass the secret or public key as "secret", or "none" as "scheme" to rely on the path alone.';
    END IF;
    IF NOT EXISTS (SELECT FROM pg_timezone_names z WHERE lower(z.name) = lower(time_zone)) THEN
        RAISE EXCEPTION 'invalid time zone %', coalesce('"' || left(time_zone, 64) || '"', 'null')
            USING ERRCODE = 'MS400';
    END IF;
    IF tolerance < '0' OR max_attachments IS NULL OR max_attachments NOT BETWEEN 0 AND 1000
        OR jsonb_typeof(scheme_options) IS DISTINCT FROM 'object'
        OR max_body_bytes < 1 OR max_attachment_bytes IS NULL OR max_attachment_bytes < 0
    THEN
        RAISE EXCEPTION 'invalid settings of source "%"', name
            USING ERRCODE = 'MS400',
                  DETAIL = 'The tolerance must not be negative, max_attachments must be 0 to 1000, scheme_options an object, and the sizes positive.';
    END IF;
    PERFORM msgstore._check_mapping(mapping);
    PERFORM msgstore._check_answers(answers);
    path := 'wh_' || msgstore._random_hex(20);
    url := msgstore._complete_url(public_url, path);
    INSERT INTO msgstore.sources
        (tenant_id, name, provider, path, scheme, scheme_options, public_url,
         tolerance, time_zone, own_addresses, max_attachments, mapping, answers,
         max_body_bytes, max_attachment_bytes, media_account)
    VALUES (owner, name, provider, path, scheme, scheme_options, url, tolerance,
            time_zone, coalesce(own_addresses, '{}'), max_attachments, mapping,
            coalesce(answers, '{}'), max_body_bytes, max_attachment_bytes, media_account)
    ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'source "%" already exists', name
            USING ERRCODE = 'MS409';
    END IF;
    IF secret IS NOT NULL THEN
        PERFORM msgstore._add_secret(owner, name, 'signature', secret);
    END IF;
    IF used.challenge THEN
        verify_token := msgstore._random_hex(20);
        PERFORM msgstore._add_secret(owner, name, 'challenge', verify_token);
    END IF;
    INSERT INTO msgstore.channels (name, address_kind)
    SELECT c.key, c.value FROM jsonb_each_text(used.added_channels) c
    WHERE NOT EXISTS (SELECT FROM msgstore.channels o WHERE o.name = c.key)
    ON CONFLICT DO NOTHING;
END
$$;

CREATE FUNCTION msgstore.rotate_source_secret(
    source text,
    secret text,
    overlap interval DEFAULT '1 day')
    RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    used CONSTANT msgstore.sources := msgstore._source(source);
BEGIN
    PERFORM msgstore._check_settings_here();
    PERFORM msgstore._check_overlap(overlap);
    UPDATE msgstore.source_secrets s
    SET not_after = least(s.not_after, clock_timestamp() + overlap)
    WHERE s.tenant_id = used.tenant_id AND s.source = used.name
        AND s.purpose = 'signature';
    PERFORM msgstore._add_secret(used.tenant_id, used.name, 'signature', secret);
    DELETE FROM msgstore.source_secrets s
    WHERE s.tenant_id = used.tenant_id AND s.source = used.name
        AND s.not_after <= clock_timestamp();
END
$$;

CREATE FUNCTION msgstore.drop_source(source text) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    used CONSTANT msgstore.sources := msgstore._source(source);
BEGIN
    PERFORM msgstore._check_settings_here();
    DELETE FROM msgstore.sources s
    WHERE s.tenant_id = used.tenant_id AND s.name = used.name;
    DELETE FROM msgstore.source_secrets s
    WHERE s.tenant_id = used.tenant_id AND s.source = used.name;
    -- The router of a cluster has sources, but no messages.
    IF to_regclass('msgstore.message_parts') IS NOT NULL THEN
        DELETE FROM msgstore.message_parts p
        WHERE p.tenant_id = used.tenant_id AND p.source = used.name AND p.joined;
        UPDATE msgstore.attachments a
        SET next_fetch_at = NULL, fetch_error = 'the source was dropped'
        WHERE a.tenant_id = used.tenant_id AND a.source = used.name
            AND a.next_fetch_at IS NOT NULL;
    END IF;
    DELETE FROM msgstore.source_tokens t
    WHERE t.tenant_id = used.tenant_id AND t.source = used.name;
END
$$;

CREATE FUNCTION msgstore.list_sources()
    RETURNS TABLE (
        name text,
        tenant_id text,
        provider text,
        scheme text,
        signed boolean,
        path text,
        public_url text,
        tolerance interval,
        secrets int,
        next_secret_end timestamptz,
        media_failed bigint,
        created_at timestamptz)
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE SECURITY DEFINER ROWS 100
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
DECLARE
    scope CONSTANT text := msgstore._tenant_scope();
BEGIN
    RETURN QUERY
    SELECT s.name, s.tenant_id, s.provider, h.name, h.method <> 'none', s.path,
           s.public_url, coalesce(s.tolerance, p.tolerance), k.n, k.first_end,
           msgstore._media_failed(s.tenant_id, s.name),
           s.created_at
    FROM msgstore.sources s
    CROSS JOIN LATERAL msgstore._provider(s.provider) p
    CROSS JOIN LATERAL msgstore._scheme(coalesce(s.scheme, p.scheme)) h
    CROSS JOIN LATERAL (
        SELECT count(*)::int AS n, min(x.not_after) AS first_end
        FROM msgstore.source_secrets x
        WHERE x.tenant_id = s.tenant_id AND x.source = s.name
            AND x.purpose = 'signature'
            AND coalesce(x.not_after, 'infinity') > clock_timestamp()) k
    WHERE scope IN ('', s.tenant_id)
    ORDER BY s.tenant_id, s.name;
END
$$;

REVOKE ALL ON FUNCTION msgstore._check_mapping(jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._check_answers(jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._add_secret(text, text, text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._complete_url(text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.create_source(text, text, text, text, text, text, jsonb, interval, text, text[], int, jsonb, jsonb, int, int, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.rotate_source_secret(text, text, interval) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.drop_source(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.list_sources() FROM PUBLIC;

COMMENT ON FUNCTION msgstore._check_mapping(jsonb) IS
    'Raises MS400 if the mapping of a source is not an array of rules';
COMMENT ON FUNCTION msgstore._check_answers(jsonb) IS
    'Raises MS400 if the answers of a source are invalid';
COMMENT ON FUNCTION msgstore._add_secret(text, text, text, text) IS
    'Adds a secret to a source. Raises MS400 if it is invalid';
COMMENT ON FUNCTION msgstore._complete_url(text, text) IS
    'Returns the URL of a source: the given one, with the path of the gateway if it has none. Raises MS400 if it is invalid';
COMMENT ON FUNCTION msgstore.create_source(text, text, text, text, text, text, jsonb, interval, text, text[], int, jsonb, jsonb, int, int, text) IS
    'Creates a path at which a provider can deliver webhooks to POST /api/webhooks/<path>. secret: the key, token, user:password or public key with which the provider signs. public_url: what the provider calls, or its scheme and host; null if the gateway sees the same URL. media_account: the account with whose secret msgstore-sender fetches media; null if they stay with the provider. Returns the path, the URL if it is known, and for providers that send a challenge the token to configure. Raises MS400 for an invalid argument, MS403 for another tenant than the session''s, MS409 if the tenant has a source with this name, MS421 in a slot of a cluster';
COMMENT ON FUNCTION msgstore.rotate_source_secret(text, text, interval) IS
    'Adds a secret to a source. The earlier ones are accepted for the time of the overlap. Raises MS400 for an invalid argument, MS404 if there is no such source, MS409 if several tenants have one, MS421 in a slot of a cluster';
COMMENT ON FUNCTION msgstore.drop_source(text) IS
    'Removes a source and its secrets; what it has received remains. Raises MS404 if there is no such source, MS409 if several tenants have one, MS421 in a slot of a cluster';
COMMENT ON FUNCTION msgstore.list_sources() IS
    'Returns the sources of the session''s tenant, or of all tenants for a session without one. signed is false if only the path protects the source. media_failed is the number of files that could not be fetched from the provider. Does not return secrets';
