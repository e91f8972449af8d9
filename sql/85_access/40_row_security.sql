-- Every table that has a tenant is read and written within the session's. The
-- owner, too: only who is exempt from row security altogether sees more, as the
-- functions do, which look to it themselves. The setting is read once for each
-- statement. Responses have an owner besides.
DO $$
DECLARE
    t regclass;
BEGIN
    FOR t IN
        SELECT c.oid::regclass
        FROM pg_catalog.pg_class c
        JOIN pg_catalog.pg_attribute a
            ON a.attrelid = c.oid AND a.attname = 'tenant_id'
        WHERE c.relnamespace = 'msgstore'::pg_catalog.regnamespace AND c.relkind IN ('r', 'p')
        ORDER BY 1
    LOOP
        EXECUTE pg_catalog.format(
            'ALTER TABLE %s ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', t);
        EXECUTE pg_catalog.format(
            'CREATE POLICY tenant_scope ON %s'
            ' USING ((SELECT msgstore._tenant_scope()) IN ('''', tenant_id)%s)', t,
            CASE WHEN t = 'msgstore.responses'::pg_catalog.regclass THEN
                ' AND ((SELECT msgstore._owner_scope()) = '''''
                ' OR (SELECT msgstore._owner_scope()) = owner OR owner = '''')'
            END);
    END LOOP;
END
$$;

SELECT msgstore._note_objects();
