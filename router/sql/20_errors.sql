-- router: errors of nodes.

-- A connection, or an error that shows one.
CREATE FUNCTION msgstore._without_passwords(said text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT regexp_replace(said, '\m(ssl)?password\s*=\s*(''(\\.|[^''\\])*''|\S+)', '\1password=***', 'g')
    $$;

-- PL/Proxy raises a node's error with its SQLSTATE, but puts the names of function
-- and database before the message. An error without "REMOTE" is PL/Proxy's own:
-- the node could not be reached, or its connection was lost.
CREATE FUNCTION msgstore._read_error(code text, message text, OUT unreachable boolean, OUT said text)
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    remote CONSTANT text :=
        substring(message FROM '^msgstore\._at_\w+\(\d+\): \[[^]]*\] REMOTE \S+: (.*)$');
BEGIN
    unreachable := (remote IS NULL AND code = 'XX000' AND message ~ '^PL/Proxy function ')
        -- libpq has no SQLSTATE for a connection that is lost during a call.
        OR message ~ '^msgstore\._at_\w+\(\d+\): \[[^]]*\] REMOTE \(null\)'
        OR code LIKE '57P%' OR code LIKE '08%';
    said := coalesce(remote, msgstore._without_passwords(message));
END
$$;

-- For answers about all slots.
CREATE FUNCTION msgstore._describe_error(code text, message text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT CASE WHEN e.unreachable THEN 'The database of the slot did not answer.'
                ELSE format('The database of the slot raised %s: %s.', code, e.said) END
    FROM msgstore._read_error(code, message) e
    $$;

CREATE FUNCTION msgstore._raise_of_node(
    slot int,
    code text,
    message text,
    detail text,
    hint text,
    context text)
    RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    error CONSTANT record := msgstore._read_error(code, message);
    fields CONSTANT text[] := regexp_match(context, 'msgstore field "(\w*)" code "(\w*)"');
BEGIN
    IF error.unreachable THEN
        RAISE LOG 'slot % is not reachable: %', slot, error.said;
        RAISE EXCEPTION 'slot % is not reachable', slot
            USING ERRCODE = 'MS503',
                  DETAIL = 'The database of the tenant did not answer.',
                  HINT = 'Try again.';
    END IF;
    -- The node has another map: the tenant has just been moved, or is about to be.
    IF code = 'MS421' THEN
        RAISE EXCEPTION '%', error.said
            USING ERRCODE = 'MS503',
                  DETAIL = 'The tenant is being moved.',
                  HINT = 'Try again. If the error remains, call msgstore.publish() on the router.';
    END IF;
    -- An option of RAISE must not be null, and an empty DETAIL is not none.
    EXECUTE format('DO %L', format('BEGIN RAISE EXCEPTION USING %s; END', (
        SELECT string_agg(format('%s = %L', o.name, o.value), ', ')
        FROM (VALUES
            ('ERRCODE', code),
            ('MESSAGE', error.said),
            ('DETAIL', regexp_replace(nullif(detail, ''), '^Remote detail: ', '')),
            ('HINT', regexp_replace(nullif(hint, ''), '^Remote hint: ', '')),
            ('COLUMN', nullif(fields[1], '')),
            ('CONSTRAINT', nullif(fields[2], ''))) AS o (name, value)
        WHERE o.value IS NOT NULL)));
END
$$;

CREATE FUNCTION msgstore._raise_not_offered(function text) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    RAISE EXCEPTION 'function "%" is not available on the router', function
        USING ERRCODE = 'MS400',
              HINT = 'Call it in the database of the slot.';
END
$$;

REVOKE ALL ON FUNCTION msgstore._without_passwords(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._read_error(text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._describe_error(text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._raise_of_node(int, text, text, text, text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._raise_not_offered(text) FROM PUBLIC;

COMMENT ON FUNCTION msgstore._without_passwords(text) IS
    'Returns a text without the passwords of the connections that it shows';
COMMENT ON FUNCTION msgstore._read_error(text, text) IS
    'Returns whether the error of a call of a slot means that it cannot be reached, and the message as the slot raised it, without passwords';
COMMENT ON FUNCTION msgstore._describe_error(text, text) IS
    'Returns what a slot has raised, as a sentence; of a slot that is not reachable nothing that a tenant must not know';
COMMENT ON FUNCTION msgstore._raise_of_node(int, text, text, text, text, text) IS
    'Raises the error of a slot as if it had been called directly; MS503 if the slot is not reachable or does not have the tenant';
COMMENT ON FUNCTION msgstore._raise_not_offered(text) IS
    'Raises MS400 for a function that must be called in the database of a slot';
