-- sources: names and durations, for sources, accounts and destinations.

CREATE FUNCTION msgstore._check_name(kind text, name text) RETURNS void
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF name IS NULL OR name !~ '^[a-z][a-z0-9_-]{0,62}$' THEN
        RAISE EXCEPTION 'invalid % name %', kind, coalesce('"' || left(name, 64) || '"', 'null')
            USING ERRCODE = 'MS400',
                  DETAIL = 'A name must be a lower-case letter, then lower-case letters, digits, "-" or "_", at most 63 in all.';
    END IF;
END
$$;

-- A session without a tenant sees the rows of all tenants. It must not guess.
CREATE FUNCTION msgstore._check_found(kind text, name text, n int) RETURNS void
    LANGUAGE plpgsql IMMUTABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF n = 0 THEN
        RAISE EXCEPTION '% % does not exist', kind, coalesce('"' || left(name, 64) || '"', 'null')
            USING ERRCODE = 'MS404';
    ELSIF n > 1 THEN
        RAISE EXCEPTION '% "%" exists for several tenants', kind, name
            USING ERRCODE = 'MS409',
                  HINT = 'Set "msgstore.tenant_id" to the tenant that is meant.';
    END IF;
END
$$;

CREATE FUNCTION msgstore._check_overlap(overlap interval) RETURNS void
    LANGUAGE plpgsql IMMUTABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF overlap IS NULL OR overlap < '0' THEN
        RAISE EXCEPTION 'value % of "overlap" is not a duration', coalesce(overlap::text, 'null')
            USING ERRCODE = 'MS400';
    END IF;
END
$$;

REVOKE ALL ON FUNCTION msgstore._check_name(text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._check_found(text, text, int) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._check_overlap(interval) FROM PUBLIC;

COMMENT ON FUNCTION msgstore._check_name(text, text) IS
    'Raises MS400 for an invalid name of something of this kind';
COMMENT ON FUNCTION msgstore._check_found(text, text, int) IS
    'Raises MS404 if nothing of this kind has the name, MS409 if several tenants have one';
COMMENT ON FUNCTION msgstore._check_overlap(interval) IS
    'Raises MS400 if the time for which earlier secrets hold is not a duration';
