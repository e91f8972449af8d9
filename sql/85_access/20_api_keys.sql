-- access: who may do what. Levels of rights on the functions, API keys, limits
-- of tenants, and the policies of every table that has a tenant. It comes last,
-- for it speaks of all that the other rooms have made.

-- A key is shown once; what is kept of it cannot be turned back into it.
CREATE TABLE msgstore.api_keys (
    tenant_id text COLLATE "C" NOT NULL,
    prefix text COLLATE "C" NOT NULL,
    key_hash bytea NOT NULL,
    scopes text[] COLLATE "C" NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at timestamptz,
    last_used_at timestamptz,
    revoked_at timestamptz,
    CONSTRAINT api_keys_pkey PRIMARY KEY (tenant_id, prefix),
    CONSTRAINT api_keys_hash_length CHECK (octet_length(key_hash) = 32)
) WITH (fillfactor = 80);

-- A key says nothing of its tenant.
CREATE INDEX api_keys_prefix_idx ON msgstore.api_keys (prefix);

SELECT pg_catalog.pg_extension_config_dump('msgstore.api_keys', '');

CREATE FUNCTION msgstore._random_hex(bytes int) RETURNS text
    LANGUAGE c VOLATILE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'msgstore_random_hex';

CREATE FUNCTION msgstore._same_bytes(a bytea, b bytea) RETURNS boolean
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'msgstore_same_bytes';

CREATE FUNCTION msgstore._key_scopes() RETURNS text[]
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN '{ingest,send,read,responses,operate}'::text[];

-- The key itself is in expressions only, never in a statement: what logs the
-- statements of functions does not meet it.
CREATE FUNCTION msgstore.create_api_key(
    tenant text,
    scopes text[],
    expires_at timestamptz DEFAULT NULL)
    RETURNS text
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    key_prefix text;
    key text;
    digest bytea;
BEGIN
    PERFORM msgstore._check_tenant(tenant);
    IF scopes IS NULL OR cardinality(scopes) = 0
        OR array_position(scopes, NULL) IS NOT NULL
        OR NOT scopes <@ msgstore._key_scopes()
    THEN
        RAISE EXCEPTION 'scopes % are not those of an API key',
            coalesce('"' || left(scopes::text, 100) || '"', 'null')
            USING ERRCODE = 'MS400',
                  DETAIL = 'A key has at least one of "ingest", "send", "read", "responses", "operate".';
    END IF;
    IF expires_at <= clock_timestamp() THEN
        RAISE EXCEPTION 'value % of "expires_at" is in the past', expires_at
            USING ERRCODE = 'MS400',
                  DETAIL = 'A key ends in the future, or with null never.';
    END IF;

    LOOP
        key_prefix := msgstore._random_hex(8);
        EXIT WHEN NOT EXISTS (
            SELECT FROM msgstore.api_keys k WHERE k.prefix = key_prefix);
    END LOOP;
    key := 'mk_' || key_prefix || '_' || msgstore._random_hex(24);
    digest := sha256(convert_to(key, 'UTF8'));
    INSERT INTO msgstore.api_keys (tenant_id, prefix, key_hash, scopes, expires_at)
    SELECT tenant, key_prefix, digest, array_agg(s ORDER BY n), create_api_key.expires_at
    FROM unnest(msgstore._key_scopes()) WITH ORDINALITY AS u (s, n)
    WHERE s = ANY (create_api_key.scopes);
    RETURN key;
END
$$;

CREATE FUNCTION msgstore.revoke_api_key(prefix text) RETURNS boolean
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    scope CONSTANT text := msgstore._tenant_scope();
BEGIN
    UPDATE msgstore.api_keys k
    SET revoked_at = clock_timestamp()
    WHERE k.prefix = revoke_api_key.prefix
        AND k.revoked_at IS NULL
        AND scope IN ('', k.tenant_id);
    RETURN FOUND;
END
$$;

CREATE FUNCTION msgstore.list_api_keys()
    RETURNS TABLE (
        prefix text,
        tenant_id text,
        scopes text[],
        created_at timestamptz,
        expires_at timestamptz,
        last_used_at timestamptz,
        revoked_at timestamptz)
    LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER ROWS 100
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
DECLARE
    scope CONSTANT text := msgstore._tenant_scope();
BEGIN
    RETURN QUERY
    SELECT k.prefix, k.tenant_id, k.scopes, k.created_at, k.expires_at,
           k.last_used_at, k.revoked_at
    FROM msgstore.api_keys k
    WHERE scope IN ('', k.tenant_id)
    ORDER BY k.tenant_id, k.created_at, k.prefix;
END
$$;

-- For a gateway that would be of no use without.
CREATE FUNCTION msgstore.has_api_keys() RETURNS boolean
    LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    scope CONSTANT text := msgstore._tenant_scope();
BEGIN
    RETURN EXISTS (
        SELECT FROM msgstore.api_keys k
        WHERE k.revoked_at IS NULL
            AND coalesce(k.expires_at, 'infinity') > clock_timestamp()
            AND scope IN ('', k.tenant_id));
END
$$;

-- Once a minute is often enough, and never worth waiting or failing for.
CREATE FUNCTION msgstore._note_key_use(tenant text, key_prefix text) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean THEN
        RETURN;
    END IF;
    UPDATE msgstore.api_keys k
    SET last_used_at = clock_timestamp()
    FROM (
        SELECT u.tenant_id, u.prefix FROM msgstore.api_keys u
        WHERE u.tenant_id = tenant AND u.prefix = key_prefix
            AND u.revoked_at IS NULL
        FOR UPDATE SKIP LOCKED) u
    WHERE k.tenant_id = u.tenant_id AND k.prefix = u.prefix;
EXCEPTION
    WHEN serialization_failure THEN
        RETURN;
END
$$;

-- Whatever is wrong with a key, the same is done before nothing is said.
CREATE FUNCTION msgstore.authenticate(key text)
    RETURNS TABLE (
        prefix text,
        tenant_id text,
        scopes text[],
        expires_at timestamptz,
        requests_per_second int,
        burst int)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER ROWS 1
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
DECLARE
    scope CONSTANT text := msgstore._tenant_scope();
    key_prefix text;
    digest bytea;
    found_key msgstore.api_keys;
    same boolean;
    in_force boolean;
BEGIN
    IF key IS NULL OR key !~ '^mk_[0-9a-f]{16}_[0-9a-f]{48}$' THEN
        RETURN;
    END IF;
    key_prefix := substr(key, 4, 16);
    digest := sha256(convert_to(key, 'UTF8'));
    SELECT * INTO found_key FROM msgstore.api_keys k WHERE k.prefix = key_prefix;
    same := msgstore._same_bytes(
        digest, coalesce(found_key.key_hash, sha256('no such key')));
    in_force := found_key.revoked_at IS NULL
        AND coalesce(found_key.expires_at, 'infinity') > clock_timestamp()
        AND scope IN ('', found_key.tenant_id);
    IF same AND in_force THEN
        NULL;
    ELSE
        RETURN;
    END IF;
    IF found_key.last_used_at IS NULL
        OR found_key.last_used_at < clock_timestamp() - interval '1 minute'
    THEN
        PERFORM msgstore._note_key_use(found_key.tenant_id, key_prefix);
    END IF;
    RETURN QUERY
    SELECT found_key.prefix, found_key.tenant_id, found_key.scopes,
           found_key.expires_at, l.requests_per_second, l.burst
    FROM (SELECT) AS one
    LEFT JOIN msgstore.tenant_limits l ON l.tenant_id = found_key.tenant_id;
END
$$;

REVOKE ALL ON FUNCTION msgstore._random_hex(int) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._same_bytes(bytea, bytea) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._key_scopes() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.create_api_key(text, text[], timestamptz) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.revoke_api_key(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.list_api_keys() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.has_api_keys() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._note_key_use(text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.authenticate(text) FROM PUBLIC;

COMMENT ON TABLE msgstore.api_keys IS
    'API keys of tenants by what they begin with; of the keys themselves only SHA-256';
COMMENT ON COLUMN msgstore.api_keys.prefix IS
    'The second part of the key, by which it is called';
COMMENT ON COLUMN msgstore.api_keys.last_used_at IS
    'Kept to the minute';
COMMENT ON FUNCTION msgstore._random_hex(int) IS
    'So many random bytes, which nobody can guess, in hexadecimal';
COMMENT ON FUNCTION msgstore._same_bytes(bytea, bytea) IS
    'Whether they are equal; the time it takes does not tell where they differ';
COMMENT ON FUNCTION msgstore._key_scopes() IS
    'What API keys can be for';
COMMENT ON FUNCTION msgstore.create_api_key(text, text[], timestamptz) IS
    'A new API key of a tenant, mk_<prefix>_<secret>, which cannot be had again. scopes: of ingest, send, read, responses, operate. Raises MS400, MS403 for another tenant';
COMMENT ON FUNCTION msgstore.revoke_api_key(text) IS
    'Ends the key with this prefix; false if there is none in force';
COMMENT ON FUNCTION msgstore.list_api_keys() IS
    'The API keys of the session''s tenant, without what is secret of them';
COMMENT ON FUNCTION msgstore.has_api_keys() IS
    'Is there a key that is neither revoked nor expired? A gateway that asks for keys wants to know when it starts';
COMMENT ON FUNCTION msgstore._note_key_use(text, text) IS
    'Notes that a key was used, if nothing is in the way';
COMMENT ON FUNCTION msgstore.authenticate(text) IS
    'Whose the API key is, what for and how often it may be used; no row for a key that is unknown, revoked or expired';
