-- sender: creation of accounts, their secrets, the list.

-- The custom row of a provider, else the built-in one.
CREATE FUNCTION msgstore._provider_api(name text) RETURNS msgstore.provider_apis
    LANGUAGE plpgsql STABLE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
DECLARE
    chosen msgstore.provider_apis;
BEGIN
    SELECT a.* INTO chosen FROM msgstore.provider_apis a
    WHERE a.provider = _provider_api.name ORDER BY a.origin DESC LIMIT 1;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'provider "%" cannot send messages', left(_provider_api.name, 64)
            USING ERRCODE = 'MS400',
                  DETAIL = (SELECT 'Providers that can: ' || string_agg(DISTINCT a.provider, ', ') || '.'
                            FROM msgstore.provider_apis a),
                  HINT = 'Insert rows for it into msgstore.provider_apis and msgstore.provider_requests.';
    END IF;
    RETURN chosen;
END
$$;

CREATE FUNCTION msgstore._account(name text) RETURNS msgstore.accounts
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
DECLARE
    scope CONSTANT text := msgstore._tenant_scope();
    chosen msgstore.accounts[];
BEGIN
    chosen := ARRAY(
        SELECT a FROM msgstore.accounts a
        WHERE a.name = _account.name AND scope IN ('', a.tenant_id) LIMIT 2);
    PERFORM msgstore._check_found('account', _account.name, cardinality(chosen));
    RETURN chosen[1];
END
$$;

CREATE FUNCTION msgstore._keep_account_secret(
    tenant text, account text, secret text)
    RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_variable
BEGIN
    IF secret !~ '[^[:space:]]' OR secret ~ '[\r\n]' OR octet_length(secret) > 4096 THEN
        RAISE EXCEPTION 'invalid secret for account "%"', account
            USING ERRCODE = 'MS400',
                  DETAIL = 'A secret must be a non-blank line of at most 4096 bytes.';
    END IF;
    INSERT INTO msgstore.account_secrets AS s (tenant_id, account, secret)
    VALUES (tenant, account, secret)
    ON CONFLICT ON CONSTRAINT account_secrets_pkey DO UPDATE
    SET secret = excluded.secret, created_at = excluded.created_at;
END
$$;

-- Raises MS400 for what could not send anything.
CREATE FUNCTION msgstore._check_account(account msgstore.accounts) RETURNS void
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    api CONSTANT msgstore.provider_apis := msgstore._provider_api(account.provider);
    needed text[];
    channel text;
BEGIN
    PERFORM msgstore._check_name('account', account.name);
    PERFORM msgstore._check_name('secret', account.secret_name);
    IF coalesce(cardinality(account.channels), 0) = 0 THEN
        RAISE EXCEPTION 'account "%" has no channels', account.name
            USING ERRCODE = 'MS400';
    END IF;
    FOREACH channel IN ARRAY account.channels LOOP
        -- Raises MS400 for a channel that does not exist.
        PERFORM msgstore.normalize_address(coalesce(channel, ''), '');
    END LOOP;
    IF coalesce(account.base_url, api.base_url) IS NULL
        OR account.base_url !~* (CASE api.protocol WHEN 'smtp' THEN '^smtps?' ELSE '^https?' END
                                 || '://[^/?#[:space:]]+(/[^?#[:space:]]*)?$')
    THEN
        RAISE EXCEPTION 'invalid base URL % of account "%"',
            coalesce('"' || left(account.base_url, 200) || '"', 'null'), account.name
            USING ERRCODE = 'MS400',
                  DETAIL = CASE api.protocol
                      WHEN 'smtp' THEN 'The URL must be that of a mail server, such as smtp://mail.example.com:587.'
                      ELSE 'The URL must begin with http:// or https:// and a host, and must not have a query.' END;
    END IF;
    IF jsonb_typeof(account.options) IS DISTINCT FROM 'object' OR account.rate <= 0
        OR account.timeout IS NULL
        OR account.timeout NOT BETWEEN interval '1 second' AND interval '10 minutes'
    THEN
        RAISE EXCEPTION 'invalid settings of account "%"', account.name
            USING ERRCODE = 'MS400',
                  DETAIL = 'The options must be an object, the rate must be positive, and the timeout 1 second to 10 minutes.';
    END IF;
    -- Options that are part of a URL are required.
    needed := ARRAY(
        SELECT DISTINCT p.name[1]
        FROM msgstore._request_rows(account.provider) r,
             regexp_matches(r.url, '\{options\.([a-z_]+)\}', 'g') AS p (name)
        WHERE NOT (api.defaults || account.options) ? p.name[1]
        ORDER BY 1);
    IF cardinality(needed) > 0 THEN
        RAISE EXCEPTION 'account "%" lacks the option "%"', account.name,
            array_to_string(needed, '", "')
            USING ERRCODE = 'MS400',
                  DETAIL = format('Provider "%s" needs it in its URL.', account.provider);
    END IF;
END
$$;

CREATE FUNCTION msgstore._request_rows(provider text)
    RETURNS SETOF msgstore.provider_requests
    LANGUAGE sql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT r.*
    FROM msgstore.provider_requests r
    WHERE r.provider = _request_rows.provider
        AND r.origin = (SELECT max(o.origin COLLATE "C") FROM msgstore.provider_requests o
                        WHERE o.provider = _request_rows.provider)
    ORDER BY r.position
    $$;

CREATE FUNCTION msgstore.create_account(
    name text,
    provider text,
    channels text[],
    secret text DEFAULT NULL,
    options jsonb DEFAULT '{}',
    tenant text DEFAULT NULL,
    addresses text[] DEFAULT '{}',
    source text DEFAULT NULL,
    base_url text DEFAULT NULL,
    secret_name text DEFAULT NULL,
    rate numeric DEFAULT NULL,
    resend boolean DEFAULT NULL,
    timeout interval DEFAULT '30 seconds')
    RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_variable
DECLARE
    account msgstore.accounts;
BEGIN
    PERFORM msgstore._check_scope_here();
    account.tenant_id := coalesce(tenant, msgstore._tenant_scope());
    account.name := name;
    account.provider := provider;
    account.channels := channels;
    account.options := coalesce(options, '{}');
    account.base_url := rtrim(base_url, '/');
    account.source := source;
    account.secret_name := coalesce(secret_name, name);
    account.rate := rate;
    account.resend := resend;
    account.timeout := timeout;
    account.created_at := clock_timestamp();
    account.failures := 0;
    PERFORM msgstore._check_tenant(account.tenant_id);
    PERFORM msgstore._check_tenant_here(account.tenant_id);
    PERFORM msgstore._check_text('provider', provider, 63);
    PERFORM msgstore._check_account(account);
    account.addresses := ARRAY(
        SELECT DISTINCT msgstore.normalize_address(channels[1], a)
        FROM unnest(addresses) a ORDER BY 1);
    IF source IS NOT NULL AND (
        SELECT count(*) FROM msgstore.sources s
        WHERE s.tenant_id = account.tenant_id AND s.name = source
            AND s.public_url IS NOT NULL) = 0
    THEN
        RAISE EXCEPTION 'source "%" with a public URL does not exist', left(source, 64)
            USING ERRCODE = 'MS404';
    END IF;
    INSERT INTO msgstore.accounts SELECT (account).* ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'account "%" already exists', name USING ERRCODE = 'MS409';
    END IF;
    IF secret IS NOT NULL THEN
        PERFORM msgstore._keep_account_secret(account.tenant_id, name, secret);
    END IF;
    -- A message is queued only if its channel has a provider.
    UPDATE msgstore.channels c SET provider = create_account.provider
    WHERE c.name = ANY (channels) AND c.provider IS NULL;
    PERFORM msgstore._wake_senders();
END
$$;

CREATE FUNCTION msgstore.rotate_account_secret(account text, secret text) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_variable
DECLARE
    used msgstore.accounts;
BEGIN
    PERFORM msgstore._check_scope_here();
    used := msgstore._account(account);
    IF secret IS NULL THEN
        DELETE FROM msgstore.account_secrets s
        WHERE s.tenant_id = used.tenant_id AND s.account = used.name;
    ELSE
        PERFORM msgstore._keep_account_secret(used.tenant_id, used.name, secret);
    END IF;
    PERFORM msgstore._resume_account(used.tenant_id, used.name);
END
$$;

-- After a repair, an operator need not wait for the end of the pause.
CREATE FUNCTION msgstore.resume_account(account text) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_variable
DECLARE
    used msgstore.accounts;
BEGIN
    PERFORM msgstore._check_scope_here();
    used := msgstore._account(account);
    PERFORM msgstore._resume_account(used.tenant_id, used.name);
END
$$;

-- The messages that wait for the account are due at once: the first of them, because
-- there may be very many, and not those that wait for their turn by a rate.
CREATE FUNCTION msgstore._resume_account(tenant text, account text) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_variable
BEGIN
    UPDATE msgstore.outbox o SET next_attempt_at = clock_timestamp()
    FROM (
        SELECT q.tenant_id, q.message_id FROM msgstore.outbox q
        WHERE q.account = account AND tenant IN ('', q.tenant_id)
            AND q.sender_id IS NULL AND q.next_attempt_at > clock_timestamp()
            AND NOT EXISTS (
                SELECT FROM msgstore.accounts a
                WHERE a.tenant_id = tenant AND a.name = account AND a.rate IS NOT NULL)
        ORDER BY q.next_attempt_at, q.message_id LIMIT 1000 FOR UPDATE SKIP LOCKED) w
    WHERE o.tenant_id = w.tenant_id AND o.message_id = w.message_id;
    UPDATE msgstore.accounts a
    SET failures = 0, paused_until = NULL, next_slot_at = NULL,
        queued_until = NULL, last_error = NULL
    WHERE a.tenant_id = tenant AND a.name = account;
    PERFORM msgstore._wake_senders(), msgstore._watch_outbox();
END
$$;

CREATE FUNCTION msgstore.drop_account(account text) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_variable
DECLARE
    used msgstore.accounts;
BEGIN
    PERFORM msgstore._check_scope_here();
    used := msgstore._account(account);
    DELETE FROM msgstore.accounts a
    WHERE a.tenant_id = used.tenant_id AND a.name = used.name;
    DELETE FROM msgstore.account_secrets s
    WHERE s.tenant_id = used.tenant_id AND s.account = used.name;
END
$$;

CREATE FUNCTION msgstore.list_accounts()
    RETURNS TABLE (
        name text,
        tenant_id text,
        provider text,
        channels text[],
        addresses text[],
        options jsonb,
        base_url text,
        source text,
        secret_name text,
        has_secret boolean,
        rate numeric,
        resend boolean,
        failures int,
        paused_until timestamptz,
        last_error text,
        created_at timestamptz)
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE SECURITY DEFINER ROWS 100
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
DECLARE
    scope CONSTANT text := msgstore._tenant_scope();
BEGIN
    RETURN QUERY
    SELECT a.name, a.tenant_id, a.provider, a.channels, a.addresses, a.options,
           coalesce(a.base_url, p.base_url), a.source, a.secret_name,
           s.secret IS NOT NULL, a.rate,
           coalesce(a.resend, p.idempotency_header IS NOT NULL), a.failures,
           CASE WHEN a.paused_until > clock_timestamp() THEN a.paused_until END,
           a.last_error, a.created_at
    FROM msgstore.accounts a
    CROSS JOIN LATERAL msgstore._provider_api(a.provider) p
    LEFT JOIN msgstore.account_secrets s
        ON s.tenant_id = a.tenant_id AND s.account = a.name
    WHERE scope IN ('', a.tenant_id)
    ORDER BY a.tenant_id, a.name;
END
$$;

REVOKE ALL ON FUNCTION msgstore._provider_api(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._account(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._keep_account_secret(text, text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._check_account(msgstore.accounts) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._request_rows(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.create_account(text, text, text[], text, jsonb, text, text[], text, text, text, numeric, boolean, interval) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.rotate_account_secret(text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.resume_account(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._resume_account(text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.drop_account(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.list_accounts() FROM PUBLIC;

COMMENT ON FUNCTION msgstore._provider_api(text) IS
    'Returns the row of provider_apis that holds for this provider. Raises MS400 if there is none';
COMMENT ON FUNCTION msgstore._account(text) IS
    'Returns the account with this name that the session can see. Raises MS404 if there is none, MS409 if several tenants have one';
COMMENT ON FUNCTION msgstore._keep_account_secret(text, text, text) IS
    'Sets the secret of an account. Raises MS400 if it is invalid';
COMMENT ON FUNCTION msgstore._check_account(msgstore.accounts) IS
    'Raises MS400 if the account has invalid settings';
COMMENT ON FUNCTION msgstore._request_rows(text) IS
    'Returns the templates of a provider: its custom rows, or else the built-in ones';
COMMENT ON FUNCTION msgstore.create_account(text, text, text[], text, jsonb, text, text[], text, text, text, numeric, boolean, interval) IS
    'Creates an account at a provider, through which msgstore-sender sends the messages of these channels. secret: key, token or user:password, kept in the database; if null, the sender looks it up under secret_name. source: the source that receives the provider''s status callbacks. rate: messages a second. resend: whether to send again when it is not known whether the provider has accepted a message. Raises MS400 for an invalid argument, MS403 for another tenant than the session''s, MS404 for a source that does not exist, MS409 if the tenant has an account with this name';
COMMENT ON FUNCTION msgstore.rotate_account_secret(text, text) IS
    'Replaces the secret of an account; null removes it from the database. Ends a pause. Raises MS400 for an invalid secret, MS404 if there is no such account, MS409 if several tenants have one';
COMMENT ON FUNCTION msgstore.resume_account(text) IS
    'Ends the pause of an account: its messages are sent at once. Raises MS404 if there is no such account, MS409 if several tenants have one';
COMMENT ON FUNCTION msgstore._resume_account(text, text) IS
    'Ends the pause of an account of this tenant';
COMMENT ON FUNCTION msgstore.drop_account(text) IS
    'Removes an account and its secret. Raises MS404 if there is no such account, MS409 if several tenants have one';
COMMENT ON FUNCTION msgstore.list_accounts() IS
    'Returns the accounts of the session''s tenant, or of all tenants for a session without one. has_secret: whether the database has the secret, which is not returned';
