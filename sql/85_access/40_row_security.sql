-- access: row security for every table with a tenant. Comes last, because it
-- needs the tables of all rooms.

-- Limits every table with a tenant to the rows of the session's tenant, and
-- responses and their conversations to those of the session's owner as well. FORCE applies the policy to
-- the owner of the table, too. Superusers, and with them the functions of the
-- extension, are exempt; the functions filter by themselves. The subquery makes
-- the executor read the setting once for each statement.
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
            CASE WHEN t IN ('msgstore.responses'::pg_catalog.regclass,
                            'msgstore.response_conversations'::pg_catalog.regclass) THEN
                ' AND ((SELECT msgstore._owner_scope()) = '''''
                ' OR (SELECT msgstore._owner_scope()) = owner OR owner = '''')'
            END);
    END LOOP;
END
$$;

SELECT msgstore._note_objects();
