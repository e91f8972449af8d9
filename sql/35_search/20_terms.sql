-- search: the terms of a message.
--
-- Terms that begin with a control character are not words: see src/search/terms.c.

CREATE FUNCTION msgstore._quote_term(term text) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN '''' || replace(replace(term, '\', '\\'), '''', '''''') || '''';

-- Thai to Khmer, kana, ideographs, as in src/search/terms.c.
CREATE FUNCTION msgstore._unspaced_runs(value text) RETURNS SETOF text
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE ROWS 5
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF octet_length(value) = length(value)
        OR getdatabaseencoding() <> 'UTF8' THEN
        RETURN;
    END IF;
    RETURN QUERY
    SELECT m[1] FROM regexp_matches(
        value, '[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]+', 'g') m;
END
$$;

CREATE FUNCTION msgstore._part_terms(value text) RETURNS tsvector
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'msgstore_part_terms';

CREATE FUNCTION msgstore._address_terms(a text, b text) RETURNS tsvector
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'msgstore_address_terms';

CREATE FUNCTION msgstore._search_configuration(tenant_id text, channel text)
    RETURNS text
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
BEGIN
    RETURN coalesce((
        SELECT c.configuration FROM msgstore.search_configurations c
        WHERE c.tenant_id = _search_configuration.tenant_id
            AND c.channel IN (_search_configuration.channel, '')
        ORDER BY c.channel DESC LIMIT 1), 'simple');
END
$$;

-- Of a title and a content whose letters are small. The server notices words of more
-- than two kilobytes, which are left out.
CREATE FUNCTION msgstore._terms_of(
    configuration text,
    tenant_id text,
    conversation_id uuid,
    channel text,
    direction text,
    title text,
    content text)
    RETURNS tsvector
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'msgstore_terms_of';

REVOKE ALL ON FUNCTION msgstore._quote_term(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._address_terms(text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._unspaced_runs(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._part_terms(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._search_configuration(text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._terms_of(text, text, uuid, text, text, text, text) FROM PUBLIC;

COMMENT ON FUNCTION msgstore._quote_term(text) IS
    'Returns a term as the input of tsvector and tsquery takes it';
COMMENT ON FUNCTION msgstore._address_terms(text, text) IS
    'Returns the terms for parts of the addresses of a conversation';
COMMENT ON FUNCTION msgstore._unspaced_runs(text) IS
    'Returns the runs of characters of scripts that are written without spaces';
COMMENT ON FUNCTION msgstore._part_terms(text) IS
    'Returns the terms for parts of numbers and of scripts without spaces';
COMMENT ON FUNCTION msgstore._search_configuration(text, text) IS
    'Returns the text search configuration for messages of this tenant and channel';
COMMENT ON FUNCTION msgstore._terms_of(text, text, uuid, text, text, text, text) IS
    'Returns the terms of a message';
