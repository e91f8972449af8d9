CREATE FUNCTION msgstore._tenant_scope() RETURNS text
    LANGUAGE c STABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'msgstore_tenant_scope';

REVOKE ALL ON FUNCTION msgstore._tenant_scope() FROM PUBLIC;

COMMENT ON FUNCTION msgstore._tenant_scope() IS
    'The tenant whose rows this session writes and reads (setting msgstore.tenant_id); empty: new rows have no tenant and all rows are seen';
