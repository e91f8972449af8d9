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

-- The router of a cluster calls it before the function that it wants. A null would be
-- an error of the router: the call must not be made without a tenant then.
CREATE FUNCTION msgstore._enter(tenant text, owner text, actor text) RETURNS boolean
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'msgstore_enter';

CREATE FUNCTION msgstore._actor() RETURNS text
    LANGUAGE c STABLE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'msgstore_actor';

-- PUBLIC keeps EXECUTE on _tenant_scope() and _owner_scope(): policies call them
-- with the rights of the reader, and they return no more than SHOW does.
REVOKE ALL ON FUNCTION msgstore._check_tenant(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._check_no_tenant(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._enter(text, text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._actor() FROM PUBLIC;

COMMENT ON FUNCTION msgstore._tenant_scope() IS
    'Returns the tenant that this session works for (setting msgstore.tenant_id). Empty: new rows have no tenant, and the rows of all tenants are visible';
COMMENT ON FUNCTION msgstore._owner_scope() IS
    'Returns the owner whose responses are visible to this session (setting msgstore.owner). Empty: those of all owners, as with msgstore.admin';
COMMENT ON FUNCTION msgstore._check_tenant(text) IS
    'Raises MS400 for an invalid tenant name, MS403 for another tenant than the session''s';
COMMENT ON FUNCTION msgstore._enter(text, text, text) IS
    'For a router: sets the tenant, the owner and the caller of the router to the end of the transaction, and adds the column and the constraint of errors to their context, to the end of the statement. Needs SET on parameters msgstore.tenant_id and msgstore.owner';
COMMENT ON FUNCTION msgstore._actor() IS
    'Returns who has called: the role that logged in to this session (session_user), or to the router that calls';
COMMENT ON FUNCTION msgstore._check_no_tenant(text) IS
    'Raises MS403 in a session of a tenant; the argument, in the plural, says what the session cannot change';
