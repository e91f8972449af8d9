-- maintenance: check of database objects against those that the install script
-- created, of sequences, and of handlers.

CREATE TABLE msgstore.installed_objects (
    type text COLLATE "C" NOT NULL,
    identity text COLLATE "C" NOT NULL,
    statements text[] NOT NULL,
    CONSTRAINT installed_objects_pkey PRIMARY KEY (type, identity)
);

-- CREATE EXTENSION fills it again on restore.
SELECT pg_catalog.pg_extension_config_dump(
    'msgstore.installed_objects', 'WHERE false');

-- Constraints, indexes, triggers and policies are not members of an extension:
-- they are found through their table. One long query, a branch for each catalog,
-- because all branches need the same list of relations.
CREATE FUNCTION msgstore._present_objects()
    RETURNS TABLE (type text, identity text, statements text[])
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    SET quote_all_identifiers = off
    AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH members AS (
        SELECT d.classid, d.objid, e.extconfig, e.extcondition
        FROM pg_extension e
        JOIN pg_depend d ON d.refclassid = 'pg_extension'::regclass
            AND d.refobjid = e.oid AND d.deptype = 'e'
        WHERE e.extname = 'msgstore'
    ), relations AS (
        SELECT c.*, m.extcondition[array_position(m.extconfig, c.oid)] AS dumped
        FROM members m
        JOIN pg_class c ON c.oid = m.objid
        WHERE m.classid = 'pg_class'::regclass AND c.relkind IN ('r', 'S', 'v')
    ), columns AS (
        SELECT a.attrelid,
               string_agg(format('%I %s%s%s%s', a.attname,
                   format_type(a.atttypid, a.atttypmod),
                   CASE WHEN a.attcollation <> t.typcollation
                        THEN ' COLLATE ' || a.attcollation::regcollation END,
                   ' DEFAULT ' || pg_get_expr(f.adbin, f.adrelid),
                   CASE WHEN a.attnotnull THEN ' NOT NULL' END),
                   ', ' ORDER BY a.attnum) AS list
        FROM pg_attribute a
        JOIN pg_type t ON t.oid = a.atttypid
        LEFT JOIN pg_attrdef f ON f.adrelid = a.attrelid AND f.adnum = a.attnum
        WHERE a.attnum > 0 AND NOT a.attisdropped
        GROUP BY a.attrelid
    ), objects AS (
        SELECT 'pg_class'::regclass AS class, r.oid,
            (ARRAY[
                CASE r.relkind
                    WHEN 'S' THEN format('CREATE SEQUENCE %s', r.oid::regclass)
                    -- Without security_invoker a view would show all tenants' rows.
                    WHEN 'v' THEN format('CREATE VIEW %s%s AS %s', r.oid::regclass,
                        ' WITH (' || array_to_string(r.reloptions, ', ') || ')',
                        pg_get_viewdef(r.oid))
                    ELSE format('CREATE TABLE %s (%s)%s', r.oid::regclass, c.list,
                        ' WITH (' || array_to_string(r.reloptions, ', ') || ')')
                END,
                format('ALTER EXTENSION msgstore ADD %s %s',
                       CASE r.relkind WHEN 'S' THEN 'SEQUENCE' WHEN 'v' THEN 'VIEW'
                                      ELSE 'TABLE' END,
                       r.oid::regclass),
                -- pg_extension_config_dump() works in an install script only.
                format('UPDATE pg_catalog.pg_extension SET'
                       ' extconfig = array_append(extconfig, %L::pg_catalog.regclass::oid),'
                       ' extcondition = array_append(extcondition, %L)'
                       ' WHERE extname = ''msgstore''',
                       r.oid::regclass, r.dumped)])
                [:CASE WHEN r.dumped IS NULL THEN 2 ELSE 3 END]
            || CASE WHEN r.relforcerowsecurity
                    THEN ARRAY[format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY,'
                                      ' FORCE ROW LEVEL SECURITY', r.oid::regclass)]
               END AS statements
        FROM relations r
        LEFT JOIN columns c ON c.attrelid = r.oid
        UNION ALL
        SELECT 'pg_proc'::regclass, p.oid,
            ARRAY[pg_get_functiondef(p.oid),
                  format('ALTER EXTENSION msgstore ADD FUNCTION %s',
                         p.oid::regprocedure)]
            || CASE WHEN p.proacl IS NOT NULL
                    THEN ARRAY[format('REVOKE ALL ON FUNCTION %s FROM PUBLIC',
                                      p.oid::regprocedure)]
               END
        FROM members m
        JOIN pg_proc p ON p.oid = m.objid
        -- pg_get_functiondef() does not support aggregates.
        WHERE m.classid = 'pg_proc'::regclass AND p.prokind = 'f'
        UNION ALL
        SELECT 'pg_constraint'::regclass, k.oid,
            ARRAY[format('ALTER TABLE %s ADD CONSTRAINT %I %s', r.oid::regclass,
                         k.conname, pg_get_constraintdef(k.oid))]
        FROM relations r
        JOIN pg_constraint k ON k.conrelid = r.oid
        WHERE k.contype IN ('p', 'u', 'c', 'f', 'x')
        UNION ALL
        SELECT 'pg_class'::regclass, i.indexrelid,
            ARRAY[pg_get_indexdef(i.indexrelid)]
        FROM relations r
        JOIN pg_index i ON i.indrelid = r.oid
        WHERE NOT EXISTS (
            SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid
                AND k.contype IN ('p', 'u', 'x'))
        UNION ALL
        SELECT 'pg_trigger'::regclass, t.oid,
            ARRAY[pg_get_triggerdef(t.oid)]
            || CASE WHEN t.tgenabled = 'A'
                    THEN ARRAY[format('ALTER TABLE %s ENABLE ALWAYS TRIGGER %I',
                                      r.oid::regclass, t.tgname)]
               END
        FROM relations r
        JOIN pg_trigger t ON t.tgrelid = r.oid
        WHERE NOT t.tgisinternal
        UNION ALL
        -- Every policy here applies to PUBLIC and to all commands.
        SELECT 'pg_policy'::regclass, y.oid,
            ARRAY[format('CREATE POLICY %I ON %s USING (%s)', y.polname,
                         r.oid::regclass, pg_get_expr(y.polqual, y.polrelid))]
        FROM relations r
        JOIN pg_policy y ON y.polrelid = r.oid)
    SELECT i.type, i.identity, o.statements
    FROM objects o, pg_identify_object(o.class, o.oid, 0) i;
END
$$;

-- Every install and upgrade script calls this last.
CREATE FUNCTION msgstore._note_objects() RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    DELETE FROM msgstore.installed_objects;
    INSERT INTO msgstore.installed_objects (type, identity, statements)
    SELECT p.type, p.identity, p.statements FROM msgstore._present_objects() p;
END
$$;

CREATE FUNCTION msgstore._as_one_statement(statements text[]) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN CASE
        WHEN cardinality(statements) = 1 THEN statements[1]
        ELSE format('DO %L', 'BEGIN ' || (
            SELECT string_agg(format('EXECUTE %L; ', s), '' ORDER BY n)
            FROM unnest(statements) WITH ORDINALITY AS u (s, n)) || 'END')
    END;

CREATE FUNCTION msgstore._check_objects()
    RETURNS TABLE (finding text, subject text, detail text, repair text)
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
BEGIN
    -- Ordered so that each repair finds the objects that it depends on.
    RETURN QUERY
    SELECT 'missing object', format('%s %s', i.type, i.identity),
           'CREATE EXTENSION created this object, but it no longer exists.',
           msgstore._as_one_statement(i.statements)
    FROM msgstore.installed_objects i
    LEFT JOIN msgstore._present_objects() p USING (type, identity)
    WHERE p.type IS NULL
    ORDER BY array_position('{sequence,function,table,table constraint,index,trigger,policy,view}',
                            i.type), i.identity;

    RETURN QUERY
    SELECT 'row security is off', format('table %s', c.oid::regclass),
           'Roles that may read the table can read the rows of all tenants.',
           format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY',
                  c.oid::regclass)
    FROM msgstore.installed_objects i
    JOIN pg_class c ON i.type = 'policy'
        AND c.oid = to_regclass(split_part(i.identity, ' on ', 2))
    WHERE NOT (c.relrowsecurity AND c.relforcerowsecurity)
    ORDER BY c.oid::regclass::text;

    RETURN QUERY
    SELECT 'view without its options', format('view %s', c.oid::regclass),
           'The view may show rows of other tenants.',
           format('ALTER VIEW %s SET (%s)', c.oid::regclass, o.options)
    FROM msgstore.installed_objects i
    JOIN pg_class c ON i.type = 'view' AND c.oid = to_regclass(i.identity)
    CROSS JOIN LATERAL (
        SELECT substring(i.statements[1] FROM '^CREATE VIEW \S+ WITH \(([^)]*)\)')
    ) AS o (options)
    WHERE NOT string_to_array(o.options, ', ') <@ coalesce(c.reloptions, '{}')
    ORDER BY c.oid::regclass::text;

    RETURN QUERY
    SELECT 'invalid index', x.indexrelid::regclass::text,
           'Queries do not use this index, or it is not kept up to date.',
           format(CASE WHEN k.type IS NULL THEN 'DROP INDEX %s'
                       ELSE 'REINDEX INDEX %s' END, x.indexrelid::regclass)
    FROM pg_index x
    JOIN pg_class c ON c.oid = x.indexrelid
        AND c.relnamespace = 'msgstore'::regnamespace
    -- An unknown index is what a failed CREATE INDEX CONCURRENTLY left behind.
    LEFT JOIN msgstore.installed_objects k
        ON k.identity IN (x.indexrelid::regclass::text,
                          c.relname || ' on ' || x.indrelid::regclass)
    WHERE NOT (x.indisvalid AND x.indisready AND x.indislive);
END
$$;

CREATE FUNCTION msgstore._check_sequences()
    RETURNS TABLE (finding text, subject text, detail text, repair text)
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
DECLARE
    numbered record;
    greatest_used bigint;
    given bigint;
BEGIN
    FOR numbered IN
        SELECT s.oid::regclass::text AS sequence, t.oid::regclass::text AS relation,
               a.attname AS name
        FROM pg_class s
        JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = s.oid
            AND d.refclassid = 'pg_class'::regclass AND d.refobjsubid > 0
            AND d.deptype IN ('a', 'i')
        JOIN pg_class t ON t.oid = d.refobjid
            AND t.relnamespace = 'msgstore'::regnamespace
        JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = d.refobjsubid
        WHERE s.relkind = 'S'
    LOOP
        EXECUTE format('SELECT max(%I) FROM %s', numbered.name, numbered.relation)
            INTO greatest_used;
        EXECUTE format('SELECT last_value - (NOT is_called)::int FROM %s',
                       numbered.sequence)
            INTO given;
        CONTINUE WHEN greatest_used IS NULL OR greatest_used <= given;
        finding := 'sequence behind';
        subject := numbered.sequence;
        detail := format('The last value is %s, but %s.%I already contains %s.', given,
                         numbered.relation, numbered.name, greatest_used);
        repair := format('SELECT setval(%L, %s)', numbered.sequence, greatest_used);
        RETURN NEXT;
    END LOOP;
END
$$;

CREATE FUNCTION msgstore._check_handlers()
    RETURNS TABLE (finding text, subject text, detail text, repair text)
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT 'unusable handler', format('%s for channel %s', h.handler, h.channel),
           w.why,
           coalesce(w.grant_it, format(
               'DELETE FROM msgstore.handlers WHERE channel = %L AND handler = %L',
               h.channel, h.handler))
    FROM msgstore.handlers h
    CROSS JOIN LATERAL (
        SELECT CASE WHEN strpos(h.handler, '(') > 0
                    THEN to_regprocedure(h.handler) END AS oid) f
    LEFT JOIN pg_roles r ON r.oid = h.registered_by
    CROSS JOIN LATERAL (
        SELECT CASE
                   WHEN f.oid IS NULL THEN 'The function does not exist.'
                   WHEN r.oid IS NULL THEN 'The role that registered it does not exist.'
                   WHEN NOT has_function_privilege(r.oid, f.oid, 'EXECUTE')
                       THEN 'The role that registered it has no EXECUTE privilege on it.'
               END AS why,
               CASE
                   WHEN f.oid IS NOT NULL AND r.oid IS NOT NULL
                       THEN format('GRANT EXECUTE ON FUNCTION %s TO %I',
                                   f.oid::regprocedure, r.rolname)
               END AS grant_it) w
    WHERE w.why IS NOT NULL;
END
$$;

CREATE FUNCTION msgstore._check_projections()
    RETURNS TABLE (finding text, subject text, detail text, repair text)
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT 'unusable projection', format('%s of projection %s', f.name, p.name), w.why, NULL::text
    FROM msgstore.projections p
    CROSS JOIN LATERAL unnest(ARRAY[p.function, p.reset_function]) f (name)
    LEFT JOIN pg_roles r ON r.oid = p.created_by
    CROSS JOIN LATERAL (
        SELECT CASE
            WHEN to_regprocedure(f.name) IS NULL THEN 'The function does not exist.'
            WHEN r.oid IS NULL THEN 'The role that created the projection does not exist.'
            WHEN NOT has_function_privilege(r.oid, to_regprocedure(f.name)::oid, 'EXECUTE')
                THEN 'The role that created the projection has no EXECUTE privilege on it.'
        END AS why) w
    WHERE f.name IS NOT NULL AND w.why IS NOT NULL
        AND msgstore._tenant_scope() IN ('', p.tenant_id)
    UNION ALL
    SELECT 'projection without subscription', format('projection %s', p.name),
        'The worker cannot apply its events.',
        format('DELETE FROM msgstore.projections WHERE tenant_id = %L AND name = %L',
               p.tenant_id, p.name)
    FROM msgstore.projections p
    WHERE msgstore._tenant_scope() IN ('', p.tenant_id) AND NOT EXISTS (
        SELECT FROM msgstore.stream_subscriptions s
        WHERE s.tenant_id = p.tenant_id AND s.name = p.name);
END
$$;

REVOKE ALL ON FUNCTION msgstore._check_projections() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._present_objects() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._note_objects() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._as_one_statement(text[]) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._check_objects() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._check_sequences() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._check_handlers() FROM PUBLIC;

COMMENT ON TABLE msgstore.installed_objects IS
    'Objects that CREATE EXTENSION or ALTER EXTENSION UPDATE created; check() compares them with those that exist';
COMMENT ON COLUMN msgstore.installed_objects.type IS
    'Type of the object, as pg_identify_object returns it';
COMMENT ON COLUMN msgstore.installed_objects.identity IS
    'Identity of the object, as pg_identify_object returns it';
COMMENT ON COLUMN msgstore.installed_objects.statements IS
    'Statements that create the object, in order';
COMMENT ON FUNCTION msgstore._present_objects() IS
    'Returns the tables, sequences, views, functions, constraints, indexes, triggers, and policies of the extension, with the statements that create them';
COMMENT ON FUNCTION msgstore._note_objects() IS
    'Stores the result of _present_objects in installed_objects; the last statement of an install or upgrade script';
COMMENT ON FUNCTION msgstore._as_one_statement(text[]) IS
    'Returns one statement that executes all of these';
COMMENT ON FUNCTION msgstore._check_objects() IS
    'Finds missing objects, disabled row security, changed view options, and invalid indexes';
COMMENT ON FUNCTION msgstore._check_sequences() IS
    'Finds sequences that are behind the column that they number';
COMMENT ON FUNCTION msgstore._check_projections() IS
    'Finds projections that cannot run, because a function, its privilege, its role or the subscription is missing';
COMMENT ON FUNCTION msgstore._check_handlers() IS
    'Finds handlers that cannot run, because the function, its privilege or its role is missing';
