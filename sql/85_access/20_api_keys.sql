-- access: API keys, and who they belong to.

-- access: who may do what. Levels of rights on the functions, API keys, limits
-- of tenants, and the policies of every table that has a tenant. It comes last,
-- for it speaks of all that the other rooms have made.

-- Only a hash of each key is stored: the key cannot be recovered from it.
CREATE TABLE msgstore.api_keys (
    tenant_id text COLLATE "C" NOT NULL,
    prefix text COLLATE "C" NOT NULL,
    key_hash bytea NOT NULL,
    scopes text[] COLLATE "C" NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at timestamptz,
    last_used_at timestamptz,
    revoked_at timestamptz,
    owner text COLLATE "C" NOT NULL DEFAULT '',
    CONSTRAINT api_keys_owner_length CHECK (octet_length(owner) <= 255),
    CONSTRAINT api_keys_pkey PRIMARY KEY (tenant_id, prefix),
    CONSTRAINT api_keys_hash_length CHECK (octet_length(key_hash) = 32)
) WITH (fillfactor = 80);

-- A key does not contain its tenant, so authenticate searches by prefix alone.
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
    RETURN '{ingest,send,read,responses,append,consume,operate}'::text[];

-- The key appears in expressions only, never in a statement, so that nothing
-- that logs the statements of functions records it.
CREATE FUNCTION msgstore.create_api_key(
    tenant text,
    scopes text[],
    expires_at timestamptz DEFAULT NULL,
    owner text DEFAULT '')
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
    PERFORM msgstore._check_settings_here();
    IF scopes IS NULL OR cardinality(scopes) = 0
        OR array_position(scopes, NULL) IS NOT NULL
        OR NOT scopes <@ msgstore._key_scopes()
    THEN
        RAISE EXCEPTION 'invalid API key scopes %',
            coalesce('"' || left(scopes::text, 100) || '"', 'null')
            USING ERRCODE = 'MS400',
                  DETAIL = 'Scopes must be one or more of "ingest", "send", "read", "responses", "append", "consume" and "operate".';
    END IF;
    IF expires_at <= clock_timestamp() THEN
        RAISE EXCEPTION 'value % of "expires_at" is in the past', expires_at
            USING ERRCODE = 'MS400',
                  DETAIL = 'The expiry time must be in the future, or null for a key that does not expire.';
    END IF;
    IF octet_length(owner) > 255 THEN
        RAISE EXCEPTION 'owner of % bytes exceeds the limit of 255 bytes',
            octet_length(owner)
            USING ERRCODE = 'MS400';
    END IF;

    LOOP
        key_prefix := msgstore._random_hex(8);
        EXIT WHEN NOT EXISTS (
            SELECT FROM msgstore.api_keys k WHERE k.prefix = key_prefix);
    END LOOP;
    key := 'mk_' || key_prefix || '_' || msgstore._random_hex(24);
    digest := sha256(convert_to(key, 'UTF8'));
    INSERT INTO msgstore.api_keys (
        tenant_id, prefix, key_hash, scopes, expires_at, owner)
    SELECT tenant, key_prefix, digest, array_agg(s ORDER BY n),
        create_api_key.expires_at, coalesce(create_api_key.owner, '')
    FROM unnest(msgstore._key_scopes()) WITH ORDINALITY AS u (s, n)
    WHERE s = ANY (create_api_key.scopes);
    RETURN key;
END
$$;

-- A string literal is taken for text, so this must read the text of an array, too.
CREATE FUNCTION msgstore.create_api_key(
    tenant text,
    scopes text,
    expires_at timestamptz DEFAULT NULL,
    owner text DEFAULT '')
    RETURNS text
    LANGUAGE sql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT msgstore.create_api_key(
        $1,
        CASE WHEN $2 LIKE '{%' THEN $2::text[] ELSE regexp_split_to_array($2, '\s*,\s*') END,
        $3,
        $4)
$$;

CREATE FUNCTION msgstore.revoke_api_key(prefix text) RETURNS boolean
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    scope CONSTANT text := msgstore._tenant_scope();
BEGIN
    PERFORM msgstore._check_settings_here();
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
        revoked_at timestamptz,
        owner text)
    LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER ROWS 100
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
DECLARE
    scope CONSTANT text := msgstore._tenant_scope();
BEGIN
    RETURN QUERY
    SELECT k.prefix, k.tenant_id, k.scopes, k.created_at, k.expires_at,
           k.last_used_at, k.revoked_at, k.owner
    FROM msgstore.api_keys k
    WHERE scope IN ('', k.tenant_id)
    ORDER BY k.tenant_id, k.created_at, k.prefix;
END
$$;

-- A gateway that requires API keys warns, or refuses to start, if there are none.
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

-- Recorded once a minute at most. Never waits for a lock, and a failure to
-- record does not fail the request.
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

-- Takes the same steps for every invalid key, so that the time it takes does
-- not tell what is wrong with it.
CREATE FUNCTION msgstore.authenticate(key text)
    RETURNS TABLE (
        prefix text,
        tenant_id text,
        scopes text[],
        expires_at timestamptz,
        requests_per_second int,
        burst int,
        owner text)
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
           found_key.expires_at, l.requests_per_second, l.burst,
           found_key.owner
    FROM (SELECT) AS one
    LEFT JOIN msgstore.tenant_limits l ON l.tenant_id = found_key.tenant_id;
END
$$;

REVOKE ALL ON FUNCTION msgstore._random_hex(int) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._same_bytes(bytea, bytea) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._key_scopes() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.create_api_key(text, text[], timestamptz, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.create_api_key(text, text, timestamptz, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.revoke_api_key(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.list_api_keys() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.has_api_keys() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._note_key_use(text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.authenticate(text) FROM PUBLIC;

COMMENT ON TABLE msgstore.api_keys IS
    'API keys of tenants. Holds the SHA-256 of each key, not the key';
COMMENT ON COLUMN msgstore.api_keys.tenant_id IS
    'Tenant that the key belongs to; empty for a key without a tenant';
COMMENT ON COLUMN msgstore.api_keys.prefix IS
    'Second part of the key, 16 hexadecimal digits, which identifies it';
COMMENT ON COLUMN msgstore.api_keys.key_hash IS
    'SHA-256 of the whole key, 32 bytes';
COMMENT ON COLUMN msgstore.api_keys.scopes IS
    'What the key may be used for: ingest, send, read, responses, append, consume, operate';
COMMENT ON COLUMN msgstore.api_keys.created_at IS
    'Creation time';
COMMENT ON COLUMN msgstore.api_keys.expires_at IS
    'Expiry time; null for a key that does not expire';
COMMENT ON COLUMN msgstore.api_keys.last_used_at IS
    'Time of the last use, recorded once a minute at most; null for an unused key';
COMMENT ON COLUMN msgstore.api_keys.revoked_at IS
    'Time of revocation; null for a key that is not revoked';
COMMENT ON FUNCTION msgstore._random_hex(int) IS
    'Returns this many cryptographically random bytes in hexadecimal. Raises MS503 if the server has no randomness';
COMMENT ON FUNCTION msgstore._same_bytes(bytea, bytea) IS
    'Returns whether two byte strings are equal, in a time that does not depend on where they differ';
COMMENT ON FUNCTION msgstore._key_scopes() IS
    'Returns all scopes that an API key can have';
COMMENT ON FUNCTION msgstore.create_api_key(text, text, timestamptz, text) IS
    'Is create_api_key() for scopes that are given as text: one, or several separated by commas';
COMMENT ON COLUMN msgstore.api_keys.owner IS
    'Owner of the responses that requests with the key save and see; empty for requests without an owner';
COMMENT ON FUNCTION msgstore.create_api_key(text, text[], timestamptz, text) IS
    'Creates an API key for a tenant and returns it as mk_<prefix>_<secret>. The key cannot be retrieved later. Scopes: ingest, send, read, responses, append, consume, operate. A null expires_at means that it does not expire. Requests with the key work for the owner, if there is one. Raises MS400 for an invalid argument, MS403 for another tenant than the session''s, MS421 in a slot of a cluster';
COMMENT ON FUNCTION msgstore.revoke_api_key(text) IS
    'Revokes the API key with this prefix. Returns false if there is no such key or it is revoked already. Raises MS421 in a slot of a cluster';
COMMENT ON FUNCTION msgstore.list_api_keys() IS
    'Returns the API keys of the session''s tenant, or of all tenants for a session without one. Does not return secrets';
COMMENT ON FUNCTION msgstore.has_api_keys() IS
    'Returns whether there is an API key that is neither revoked nor expired';
COMMENT ON FUNCTION msgstore._note_key_use(text, text) IS
    'Records the time of use of a key, unless the transaction is read-only or another session has locked the row';
COMMENT ON FUNCTION msgstore.authenticate(text) IS
    'Returns the tenant, scopes and request limit of an API key. No row if the key is unknown, malformed, revoked, expired, or of another tenant than the session''s';
