CREATE FUNCTION msgstore._tenant_scope() RETURNS text
    LANGUAGE c STABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'msgstore_tenant_scope';

CREATE FUNCTION msgstore._owner_scope() RETURNS text
    LANGUAGE c STABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'msgstore_owner_scope';

-- Reports a tenant that exists and one that does not in the same words.
CREATE FUNCTION msgstore._check_tenant(tenant text) RETURNS void
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF tenant IS NULL OR octet_length(tenant) > 255 THEN
        RAISE EXCEPTION 'invalid tenant name %',
            coalesce('"' || left(tenant, 64) || '"', 'null')
            USING ERRCODE = 'MS400',
                  DETAIL = 'A tenant name must not be null and must have at most 255 bytes; the empty string stands for no tenant.';
    END IF;
    IF msgstore._tenant_scope() NOT IN ('', tenant) THEN
        RAISE EXCEPTION 'permission denied for tenant "%"', left(tenant, 64)
            USING ERRCODE = 'MS403',
                  DETAIL = format('This session is limited to tenant "%s".', msgstore._tenant_scope());
    END IF;
END
$$;

CREATE FUNCTION msgstore._check_no_tenant(what text) RETURNS void
    LANGUAGE c STABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'msgstore_check_no_tenant';

-- The router of a cluster calls it before the function that it wants.
CREATE FUNCTION msgstore._name_fields() RETURNS boolean
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'msgstore_name_fields';

-- PUBLIC keeps EXECUTE on _tenant_scope() and _owner_scope(): policies call them
-- with the rights of the reader, and they return no more than SHOW does.
REVOKE ALL ON FUNCTION msgstore._check_tenant(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._check_no_tenant(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._name_fields() FROM PUBLIC;

COMMENT ON FUNCTION msgstore._tenant_scope() IS
    'Returns the tenant that this session works for (setting msgstore.tenant_id). Empty: new rows have no tenant, and the rows of all tenants are visible';
COMMENT ON FUNCTION msgstore._owner_scope() IS
    'Returns the owner whose responses are visible to this session (setting msgstore.owner). Empty: those of all owners, as with msgstore.admin';
COMMENT ON FUNCTION msgstore._check_tenant(text) IS
    'Raises MS400 for an invalid tenant name, MS403 for another tenant than the session''s';
COMMENT ON FUNCTION msgstore._name_fields() IS
    'Adds the column and the constraint of errors to their context, to the end of the statement';
COMMENT ON FUNCTION msgstore._check_no_tenant(text) IS
    'Raises MS403 in a session of a tenant; the argument, in the plural, says what the session cannot change';
