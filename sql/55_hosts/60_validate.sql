CREATE FUNCTION msgstore._is_ip_address(address text) RETURNS boolean
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'msgstore_is_ip_address';

CREATE FUNCTION msgstore._is_hostname(name text) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN coalesce(octet_length(name) <= 253
        AND name COLLATE "C" ~ '^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*$',
        false);

CREATE FUNCTION msgstore.validate_host(host jsonb)
    RETURNS TABLE (field text, code text, message text)
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    alias text;
    seen text[] := '{}';
BEGIN
    IF NOT coalesce(msgstore._is_ip_address(host ->> 'ip_address'), false) THEN
        RETURN QUERY VALUES ('ip_address', 'invalid_ip_address',
            format('"%s" is not an IPv4 or IPv6 address', left(host ->> 'ip_address', 64)));
    END IF;
    IF NOT msgstore._is_hostname(host ->> 'hostname') THEN
        RETURN QUERY VALUES ('hostname', 'invalid_hostname',
            format('"%s" is not a valid hostname', left(host ->> 'hostname', 64)));
    END IF;
    IF jsonb_typeof(host -> 'aliases') NOT IN ('array', 'null') THEN
        RETURN QUERY VALUES ('aliases', 'invalid_alias', 'aliases must be a list');
        RETURN;
    END IF;
    IF jsonb_array_length(nullif(host -> 'aliases', 'null')) > 50 THEN
        RETURN QUERY VALUES ('aliases', 'too_many_aliases',
            format('%s aliases exceed the limit of 50', jsonb_array_length(host -> 'aliases')));
    END IF;
    FOR alias IN SELECT jsonb_array_elements_text(nullif(host -> 'aliases', 'null')) LOOP
        IF msgstore._is_ip_address(alias) THEN
            RETURN QUERY VALUES ('aliases', 'alias_is_ip_address',
                format('alias "%s" is an IP address', left(alias, 64)));
        ELSIF NOT msgstore._is_hostname(alias) THEN
            RETURN QUERY VALUES ('aliases', 'invalid_alias',
                format('alias "%s" is not a valid hostname', left(alias, 64)));
        ELSIF lower(alias) = lower(host ->> 'hostname') THEN
            RETURN QUERY VALUES ('aliases', 'alias_matches_hostname',
                format('alias "%s" equals the hostname', alias));
        ELSIF lower(alias) = ANY (seen) THEN
            RETURN QUERY VALUES ('aliases', 'duplicate_alias',
                format('alias "%s" is repeated', alias));
        END IF;
        seen := seen || lower(alias);
    END LOOP;
END
$$;

REVOKE ALL ON FUNCTION msgstore._is_ip_address(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._is_hostname(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.validate_host(jsonb) FROM PUBLIC;

COMMENT ON FUNCTION msgstore._is_ip_address(text) IS
    'Returns whether the text is an IPv4 or IPv6 address';
COMMENT ON FUNCTION msgstore._is_hostname(text) IS
    'Returns whether the text is a valid hostname: at most 253 characters, in labels of 1 to 63 letters, digits and hyphens';
COMMENT ON FUNCTION msgstore.validate_host(jsonb) IS
    'Returns a row for each fault in ip_address, hostname and aliases of a host; no rows for a valid one';
