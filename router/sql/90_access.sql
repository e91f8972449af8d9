-- router: row security for the tables that have a tenant. The functions run with
-- the rights of their owner, a superuser, and filter by themselves.
DO $$
DECLARE
    t regclass;
BEGIN
    FOR t IN
        SELECT c.oid::regclass
        FROM pg_catalog.pg_class c
        JOIN pg_catalog.pg_attribute a
            ON a.attrelid = c.oid AND a.attname = 'tenant_id'
        WHERE c.relnamespace = 'msgstore'::pg_catalog.regnamespace AND c.relkind = 'r'
        ORDER BY 1
    LOOP
        EXECUTE pg_catalog.format(
            'ALTER TABLE %s ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', t);
        EXECUTE pg_catalog.format(
            'CREATE POLICY tenant_scope ON %s'
            ' USING ((SELECT msgstore._tenant_scope()) IN ('''', tenant_id))', t);
    END LOOP;
END
$$;
