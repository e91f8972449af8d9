-- sources: which rows hold.

-- The custom row of a name, else the built-in one.
CREATE FUNCTION msgstore._provider(name text) RETURNS msgstore.providers
    LANGUAGE plpgsql STABLE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
DECLARE
    chosen msgstore.providers;
BEGIN
    SELECT p.* INTO chosen FROM msgstore.providers p
    WHERE p.name = _provider.name ORDER BY p.origin DESC LIMIT 1;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'provider "%" does not exist', left(_provider.name, 64)
            USING ERRCODE = 'MS400',
                  DETAIL = (SELECT 'Providers: ' || string_agg(DISTINCT p.name, ', ') || '.'
                            FROM msgstore.providers p),
                  HINT = 'Insert rows for it into msgstore.providers and msgstore.provider_rules.';
    END IF;
    RETURN chosen;
END
$$;

CREATE FUNCTION msgstore._scheme(name text) RETURNS msgstore.signature_schemes
    LANGUAGE plpgsql STABLE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
DECLARE
    chosen msgstore.signature_schemes;
BEGIN
    SELECT s.* INTO chosen FROM msgstore.signature_schemes s
    WHERE s.name = _scheme.name ORDER BY s.origin DESC LIMIT 1;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'signature scheme "%" does not exist', left(_scheme.name, 64)
            USING ERRCODE = 'MS400',
                  DETAIL = (SELECT 'Schemes: ' || string_agg(DISTINCT s.name, ', ') || '.'
                            FROM msgstore.signature_schemes s);
    END IF;
    RETURN chosen;
END
$$;

-- A mapping of the source, else the custom rules of its provider, else the built-in.
CREATE FUNCTION msgstore._rules(source msgstore.sources)
    RETURNS SETOF msgstore.provider_rules
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT r.*
    FROM msgstore.provider_rules r
    WHERE (source).mapping IS NULL AND r.provider = (source).provider
        AND r.origin = (SELECT max(m.origin COLLATE "C") FROM msgstore.provider_rules m
                        WHERE m.provider = (source).provider)
    UNION ALL
    SELECT (source).provider, m.n::int, m.rule ->> 'kind',
           coalesce(m.rule ->> 'outer_path', '$')::jsonpath,
           coalesce(m.rule ->> 'item_path', '$')::jsonpath,
           (m.rule ->> 'condition')::jsonpath, m.rule ->> 'channel',
           m.rule ->> 'media_channel', coalesce(m.rule ->> 'recipients', 'first'),
           coalesce(m.rule -> 'fields', '{}'), 'custom'
    FROM jsonb_array_elements((source).mapping) WITH ORDINALITY AS m (rule, n)
    ORDER BY 2;
END
$$;

CREATE FUNCTION msgstore._source(name text) RETURNS msgstore.sources
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
DECLARE
    scope CONSTANT text := msgstore._tenant_scope();
    chosen msgstore.sources[];
BEGIN
    chosen := ARRAY(
        SELECT s FROM msgstore.sources s
        WHERE s.name = _source.name AND scope IN ('', s.tenant_id) LIMIT 2);
    PERFORM msgstore._check_found('source', _source.name, cardinality(chosen));
    RETURN chosen[1];
END
$$;

REVOKE ALL ON FUNCTION msgstore._provider(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._scheme(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._rules(msgstore.sources) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._source(text) FROM PUBLIC;

COMMENT ON FUNCTION msgstore._provider(text) IS
    'Returns the row of providers that holds for this name. Raises MS400 if there is none';
COMMENT ON FUNCTION msgstore._scheme(text) IS
    'Returns the row of signature_schemes that holds for this name. Raises MS400 if there is none';
COMMENT ON FUNCTION msgstore._rules(msgstore.sources) IS
    'Returns the rules that map the webhooks of a source, in their order';
COMMENT ON FUNCTION msgstore._source(text) IS
    'Returns the source with this name that the session can see. Raises MS404 if there is none, MS409 if several tenants have one';
