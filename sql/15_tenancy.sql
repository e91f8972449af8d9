CREATE FUNCTION msgstore._tenant_scope() RETURNS text
    LANGUAGE c STABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'msgstore_tenant_scope';

CREATE FUNCTION msgstore._owner_scope() RETURNS text
    LANGUAGE c STABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'msgstore_owner_scope';

-- The same words for a tenant that exists as for one that does not.
CREATE FUNCTION msgstore._check_tenant(tenant text) RETURNS void
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF tenant IS NULL OR octet_length(tenant) > 255 THEN
        RAISE EXCEPTION 'tenant % is not a name',
            coalesce('"' || left(tenant, 64) || '"', 'null')
            USING ERRCODE = 'MS400',
                  DETAIL = 'A tenant''s name has at most 255 bytes; no tenant is an empty text.';
    END IF;
    IF msgstore._tenant_scope() NOT IN ('', tenant) THEN
        RAISE EXCEPTION 'tenant "%" is not this session''s', left(tenant, 64)
            USING ERRCODE = 'MS403',
                  DETAIL = format('This session works for tenant "%s".', msgstore._tenant_scope());
    END IF;
END
$$;

-- For what concerns all tenants at once.
CREATE FUNCTION msgstore._check_no_tenant(what text) RETURNS void
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF msgstore._tenant_scope() <> '' THEN
        RAISE EXCEPTION '% is not a tenant''s to change', what
            USING ERRCODE = 'MS403',
                  DETAIL = format('This session works for tenant "%s".', msgstore._tenant_scope()),
                  HINT = 'Ask the operator of the database.';
    END IF;
END
$$;

-- _tenant_scope() and _owner_scope() stay everybody's: policies call them with
-- the rights of who reads, and they say no more than SHOW does.
REVOKE ALL ON FUNCTION msgstore._check_tenant(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._check_no_tenant(text) FROM PUBLIC;

COMMENT ON FUNCTION msgstore._tenant_scope() IS
    'The tenant whose rows this session writes and reads (setting msgstore.tenant_id); empty: new rows have no tenant and all rows are seen';
COMMENT ON FUNCTION msgstore._owner_scope() IS
    'The owner whose responses this session sees (setting msgstore.owner); empty: those of all owners, as for msgstore.admin';
COMMENT ON FUNCTION msgstore._check_tenant(text) IS
    'Raises MS400 for what is no tenant''s name, MS403 for another tenant than the session''s';
COMMENT ON FUNCTION msgstore._check_no_tenant(text) IS
    'Raises MS403 when this session works for one tenant';
