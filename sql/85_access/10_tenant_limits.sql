-- access: how many requests a tenant may make.

CREATE TABLE msgstore.tenant_limits (
    tenant_id text COLLATE "C" NOT NULL,
    requests_per_second int NOT NULL,
    burst int NOT NULL,
    CONSTRAINT tenant_limits_pkey PRIMARY KEY (tenant_id),
    CONSTRAINT tenant_limits_rate CHECK (requests_per_second > 0),
    CONSTRAINT tenant_limits_burst CHECK (burst > 0)
);

SELECT pg_catalog.pg_extension_config_dump('msgstore.tenant_limits', '');

CREATE FUNCTION msgstore.set_tenant_limit(
    tenant text,
    requests_per_second int,
    burst int DEFAULT NULL)
    RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
DECLARE
    field CONSTANT text := CASE
        WHEN set_tenant_limit.requests_per_second < 1 THEN 'requests_per_second'
        WHEN set_tenant_limit.burst < 1 THEN 'burst' END;
BEGIN
    PERFORM msgstore._check_no_tenant('tenant limits');
    PERFORM msgstore._check_tenant(tenant);
    PERFORM msgstore._check_settings_here();
    IF field IS NOT NULL THEN
        RAISE EXCEPTION 'invalid value % for "%"', CASE field
                WHEN 'burst' THEN set_tenant_limit.burst
                ELSE set_tenant_limit.requests_per_second END, field
            USING ERRCODE = 'MS400',
                  DETAIL = 'The limit must be at least 1.',
                  HINT = 'To remove the limit, set "requests_per_second" to null.';
    END IF;
    IF set_tenant_limit.requests_per_second IS NULL THEN
        DELETE FROM msgstore.tenant_limits l WHERE l.tenant_id = tenant;
        RETURN;
    END IF;
    INSERT INTO msgstore.tenant_limits (tenant_id, requests_per_second, burst)
    VALUES (tenant, set_tenant_limit.requests_per_second,
            coalesce(set_tenant_limit.burst, set_tenant_limit.requests_per_second))
    ON CONFLICT (tenant_id) DO UPDATE
    SET requests_per_second = excluded.requests_per_second,
        burst = excluded.burst;
END
$$;

CREATE FUNCTION msgstore.list_tenant_limits()
    RETURNS TABLE (tenant_id text, requests_per_second int, burst int)
    LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER ROWS 100
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
DECLARE
    scope CONSTANT text := msgstore._tenant_scope();
BEGIN
    RETURN QUERY
    SELECT l.tenant_id, l.requests_per_second, l.burst
    FROM msgstore.tenant_limits l
    WHERE scope IN ('', l.tenant_id)
    ORDER BY l.tenant_id;
END
$$;

CREATE FUNCTION msgstore.tenant_limit(
    tenant text,
    OUT requests_per_second int,
    OUT burst int)
    LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
BEGIN
    PERFORM msgstore._check_tenant(tenant);
    SELECT l.requests_per_second, l.burst
    INTO tenant_limit.requests_per_second, tenant_limit.burst
    FROM msgstore.tenant_limits l WHERE l.tenant_id = tenant;
END
$$;

REVOKE ALL ON FUNCTION msgstore.set_tenant_limit(text, int, int) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.list_tenant_limits() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.tenant_limit(text) FROM PUBLIC;

COMMENT ON TABLE msgstore.tenant_limits IS
    'Request limits of tenants. The gateway enforces them; a tenant without a row has no limit';
COMMENT ON COLUMN msgstore.tenant_limits.tenant_id IS
    'Tenant; empty for requests without a tenant';
COMMENT ON COLUMN msgstore.tenant_limits.requests_per_second IS
    'Requests per second that the tenant may make on average';
COMMENT ON COLUMN msgstore.tenant_limits.burst IS
    'Requests that the tenant may make at once after a pause';
COMMENT ON FUNCTION msgstore.set_tenant_limit(text, int, int) IS
    'Sets the request limit of a tenant. The default burst is requests_per_second; a null requests_per_second removes the limit. Raises MS400 for an invalid value, MS403 in a session of a tenant, MS421 in a slot of a cluster';
COMMENT ON FUNCTION msgstore.list_tenant_limits() IS
    'Returns the limits of the session''s tenant, or of all tenants for a session without one';
COMMENT ON FUNCTION msgstore.tenant_limit(text) IS
    'Returns the limit of a tenant, nulls if it has none. Raises MS400 for an invalid name, MS403 for another tenant than the session''s';
