-- router: makes a function of a node callable here. router/sql/50_functions.sql names
-- the functions; what they have in common is written once, here.

-- Creates msgstore._at_<name>(), which calls a slot, and msgstore.<name>(), which finds
-- the slot. Numbers stand for arguments, so that no name of an argument can be taken for
-- a column; $1 to $4 of a call of a slot are the slot, the tenant, the owner and the actor.
-- PL/pgSQL does not take an argument and a result of the same name: then msgstore._<name>()
-- finds the slot, without names of arguments, and msgstore.<name>() calls it in SQL.
CREATE FUNCTION msgstore._route(
    class text,
    name text,
    arguments text,
    result text,
    properties text,
    comment text)
    RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $route$
#variable_conflict use_variable
DECLARE
    f record;
    signature text;
    inner_name text := name;
    inner_arguments text := arguments;
    inner_result text := result;
    entered CONSTANT text := 'msgstore._enter($2, $3, $4)';
BEGIN
    -- The catalog takes the arguments apart. A function without a comment is new.
    EXECUTE format('CREATE FUNCTION msgstore.%I(%s) RETURNS %s LANGUAGE plpgsql AS ''BEGIN END''',
                   name, arguments, result);
    SELECT p.oid, p.proretset, p.prorettype, t.typtype = 'c' AS composite,
           p.prorettype = 'void'::regtype AS void,
           EXISTS (SELECT FROM unnest(p.proargnames, p.proargmodes) AS a (name, mode)
                   WHERE a.mode IN ('o', 't') AND a.name = ANY (p.proargnames[:p.pronargs])) AS same_names,
           i.*, o.*
    INTO STRICT f
    FROM pg_proc p
    JOIN pg_type t ON t.oid = p.prorettype
    CROSS JOIN LATERAL (
        SELECT coalesce(string_agg(', ' || format_type(u.type, NULL), '' ORDER BY u.n), '') AS types,
            coalesce(string_agg(', $' || u.n, '' ORDER BY u.n), '') AS given,
            coalesce(string_agg('$' || u.n + 4, ', ' ORDER BY u.n), '') AS remote,
            coalesce(min(format('coalesce($%s, msgstore._tenant_scope())', u.n))
                         FILTER (WHERE p.proargnames[u.n] = 'tenant'),
                     'msgstore._tenant_scope()') AS tenant
        FROM unnest(p.proargtypes) WITH ORDINALITY AS u (type, n)) i
    CROSS JOIN LATERAL (
        SELECT count(*) AS outputs,
            string_agg(format('r.%I', u.name), ', ' ORDER BY u.n) AS columns,
            string_agg(format('(r.f).%I', u.name), ', ' ORDER BY u.n) AS fields,
            string_agg(format(', OUT %I %s', u.name, u.type), '' ORDER BY u.n) AS definitions,
            string_agg(format('%I', u.name), ',' ORDER BY u.n) AS names
        FROM (
            SELECT a.name, format_type(a.type, NULL) AS type, a.n
            FROM unnest(p.proargnames, p.proallargtypes, p.proargmodes) WITH ORDINALITY AS a (name, type, mode, n)
            WHERE a.mode IN ('o', 't')
            UNION ALL
            SELECT a.attname, format_type(a.atttypid, a.atttypmod), a.attnum
            FROM pg_attribute a
            WHERE a.attrelid = t.typrelid AND t.typtype = 'c' AND a.attnum > 0 AND NOT a.attisdropped) u) o
    WHERE p.pronamespace = 'msgstore'::regnamespace AND p.proname = name
        AND obj_description(p.oid, 'pg_proc') IS NULL;
    signature := format('msgstore.%I(%s)', name, substr(f.types, 3));

    -- PL/Proxy prepares nothing: the slot parses and plans each call, which costs more
    -- than ingest(). So the statement is as simple as it can be, with a function in FROM
    -- rather than its fields, and without a subquery. _enter() comes before the function,
    -- because an argument and WHERE do, and it has an effect for this statement only,
    -- which is a transaction. PL/Proxy adds the types of the arguments.
    EXECUTE format($$
        CREATE FUNCTION msgstore.%1$I(int, text, text, text%2$s%3$s) RETURNS %4$s
        LANGUAGE plproxy VOLATILE PARALLEL UNSAFE
        AS $at$
        CLUSTER 'msgstore';
        RUN ON $1;
        %5$s;
        $at$;
        REVOKE ALL ON FUNCTION msgstore.%1$I(int, text, text, text%2$s) FROM PUBLIC;
        COMMENT ON FUNCTION msgstore.%1$I(int, text, text, text%2$s) IS %6$L$$,
        '_at_' || name, f.types,
        CASE WHEN f.prorettype = 'record'::regtype THEN f.definitions END,
        CASE WHEN f.proretset THEN 'SETOF ' ELSE '' END
            || CASE WHEN f.void THEN 'text' ELSE format_type(f.prorettype, NULL) END,
        format(CASE
            WHEN f.outputs < 2 AND NOT f.composite THEN 'SELECT msgstore.%1$I(%2$s)%3$s WHERE %4$s'
            WHEN f.types = '' THEN
                'SELECT %6$s FROM (SELECT msgstore.%1$I() AS f WHERE %4$s OFFSET 0) r'
            ELSE 'SELECT %5$s FROM msgstore.%1$I(%7$s) r' END,
            name, f.remote, CASE WHEN f.void THEN '::text' ELSE '' END, entered, f.columns, f.fields,
            regexp_replace(f.remote, '^\$5', format('CASE WHEN %s THEN $5 END', entered))),
        format('Calls %s() on a slot (1), for a tenant (2), an owner (3) and a caller (4)', name));

    -- This one is in router/sql.
    IF class = 'own' THEN
        EXECUTE format('DROP FUNCTION %s', signature);
        RETURN;
    END IF;

    IF f.same_names THEN
        inner_name := '_' || name;
        inner_arguments := substr(f.types || f.definitions, 3);
        inner_result := CASE WHEN f.proretset THEN 'SETOF record' ELSE 'record' END;
        EXECUTE format($$
            CREATE OR REPLACE FUNCTION msgstore.%1$I(%2$s) RETURNS %3$s
            LANGUAGE sql %4$s PARALLEL UNSAFE SECURITY DEFINER
            SET search_path = pg_catalog, pg_temp
            AS 'SELECT * FROM msgstore.%5$I(%6$s)';
            REVOKE ALL ON FUNCTION %7$s FROM PUBLIC;
            COMMENT ON FUNCTION %7$s IS %8$L$$,
            name, arguments, result, properties, inner_name, substr(f.given, 3), signature, comment);
        signature := format('msgstore.%I(%s)', inner_name, substr(f.types, 3));
        properties := replace(properties, ' STRICT', '');
        comment := format('Calls %s() in the slot of the session''s tenant', name);
    END IF;

    -- Warnings of a node are for the caller: that a commit did not wait for a standby is
    -- one. PL/Proxy's notices about its connections are not.
    EXECUTE format($$
        CREATE OR REPLACE FUNCTION msgstore.%1$I(%2$s) RETURNS %3$s
        LANGUAGE plpgsql %4$s PARALLEL UNSAFE SECURITY DEFINER
        SET search_path = pg_catalog, pg_temp
        SET client_min_messages = warning
        AS $body$
DECLARE
    slot %5$s;
    detail text;
    hint text;
    context text;
BEGIN
    %6$s
EXCEPTION WHEN OTHERS OR query_canceled THEN
    GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT,
        context = PG_EXCEPTION_CONTEXT;
    PERFORM msgstore._raise_of_node(slot, SQLSTATE, SQLERRM, detail, hint, context);
%7$sEND
$body$;
        REVOKE ALL ON FUNCTION %8$s FROM PUBLIC;
        COMMENT ON FUNCTION %8$s IS %9$L$$,
        inner_name, inner_arguments, inner_result, properties,
        CASE class
            WHEN 'write' THEN format('CONSTANT int := msgstore._slot_to_write(%s)', f.tenant)
            WHEN 'read' THEN format('CONSTANT int := msgstore._slot_to_read(%s, %L)', f.tenant, name)
            ELSE 'int' END,
        format(CASE
            WHEN class = 'all' THEN
                E'FOR slot IN SELECT s FROM msgstore._slots_of(msgstore._tenant_scope()) s LOOP\n'
                '        RETURN QUERY SELECT * FROM %1$s;\n    END LOOP;'
            WHEN f.proretset THEN 'RETURN QUERY SELECT * FROM %1$s;'
            WHEN f.void THEN 'PERFORM %1$s;'
            WHEN f.outputs > 0 AND NOT f.composite THEN 'SELECT * INTO %2$s FROM %1$s;'
            ELSE 'RETURN %1$s;' END,
            format('msgstore.%I(slot, msgstore._tenant_scope(), msgstore._owner_scope(), session_user%s)',
                   '_at_' || name, f.given),
            (SELECT string_agg(format('%I.%s', inner_name, n), ', ') FROM string_to_table(f.names, ',') n)),
        CASE WHEN class <> 'all' AND NOT f.proretset AND NOT f.void AND (f.outputs = 0 OR f.composite)
             THEN E'    RETURN NULL;\n' ELSE '' END,
        signature, comment);
END
$route$;

-- Creates a function that must be called in the database of a slot.
CREATE FUNCTION msgstore._refuse(name text, arguments text, result text) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $refuse$
DECLARE
    signature regprocedure;
BEGIN
    EXECUTE format($$
        CREATE FUNCTION msgstore.%1$I(%2$s) RETURNS %3$s
        LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
        SET search_path = pg_catalog, pg_temp
        AS $body$ BEGIN PERFORM msgstore._raise_not_offered(%4$L); END $body$
        $$,
        name, arguments, result, name);
    SELECT p.oid INTO STRICT signature FROM pg_proc p
    WHERE p.pronamespace = 'msgstore'::regnamespace AND p.proname = _refuse.name
        AND obj_description(p.oid, 'pg_proc') IS NULL;
    EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC; COMMENT ON FUNCTION %1$s IS %L', signature,
        format('Raises MS400: %s() must be called in the database of a slot', name));
END
$refuse$;
