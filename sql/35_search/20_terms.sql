-- search: the terms of a message.
--
-- Terms that begin with a control character are not words: \x01 filters, such as the
-- conversation, \x02 three digits of a number, \x03 two characters of a script without
-- spaces. The parts of a number or a run of characters have consecutive positions, so
-- that a phrase of them finds the number exactly.

CREATE FUNCTION msgstore._quote_term(term text) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN '''' || replace(replace(term, '\', '\\'), '''', '''''') || '''';

-- Thai to Khmer, kana, ideographs.
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

CREATE FUNCTION msgstore._numbers(value text) RETURNS SETOF text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE ROWS 5
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT left(regexp_replace(m[1], '[^0-9]', '', 'g'), 64)
    FROM regexp_matches(value, '([0-9](?:[ ().-]{0,2}[0-9]){2,})', 'g') m
$$;

CREATE FUNCTION msgstore._parts(
    value text,
    mark text,
    size int,
    first_position int)
    RETURNS text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT string_agg(msgstore._quote_term(mark || substr(value, n, size)) || ':'
                      || first_position + n, ' ')
    FROM generate_series(1, greatest(length(value) - size + 1, 1)) n
$$;

-- Positions end at 16383, and so does the search for parts.
CREATE FUNCTION msgstore._part_terms(value text) RETURNS tsvector
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    part text;
    found text := '';
    place int := 0;
BEGIN
    IF value ~ '[0-9][ ().-]{0,2}[0-9][ ().-]{0,2}[0-9]' THEN
        FOR part IN SELECT n FROM msgstore._numbers(value) n LOOP
            found := found || ' ' || msgstore._parts(part, E'\x02', 3, place);
            place := place + length(part) + 2;
            EXIT WHEN place > 4000;
        END LOOP;
    END IF;
    FOR part IN SELECT r FROM msgstore._unspaced_runs(value) r LOOP
        part := left(part, 4000);
        found := found || ' ' || msgstore._parts(part, E'\x03', 2, place);
        -- So that one character is found at the end of a run, too.
        found := found || ' ''' || E'\x03' || right(part, 1) || ''':'
            || place + length(part) + 1;
        place := place + length(part) + 3;
        EXIT WHEN place > 8000;
    END LOOP;
    RETURN found::tsvector;
END
$$;

CREATE FUNCTION msgstore._address_terms(a text, b text) RETURNS tsvector
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT (msgstore._parts(lower(left(a, 255)), E'\x02', 3, 0) || ' '
            || msgstore._parts(lower(left(b, 255)), E'\x02', 3, 300))::tsvector
$$;

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

CREATE FUNCTION msgstore._terms_of(
    configuration text,
    tenant_id text,
    conversation_id uuid,
    channel text,
    direction text,
    subject text,
    body text)
    RETURNS tsvector
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    -- A word of more than two kilobytes is left out.
    SET client_min_messages = warning
    AS $$
DECLARE
    text_of_body CONSTANT text := msgstore._fold_case(left(body, 16384));
    title CONSTANT text := msgstore._fold_case(left(coalesce(subject, ''), 1024));
BEGIN
    RETURN array_to_tsvector(ARRAY[
            E'\x01t' || tenant_id, E'\x01c' || conversation_id,
            E'\x01h' || channel, E'\x01d' || direction])
        || CASE WHEN title <> '' THEN
            setweight(to_tsvector(configuration::regconfig, title), 'A')
            ELSE '' END
        || to_tsvector(configuration::regconfig, text_of_body)
        || msgstore._part_terms(title || E'\n' || text_of_body);
END
$$;

REVOKE ALL ON FUNCTION msgstore._quote_term(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._address_terms(text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._unspaced_runs(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._numbers(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._parts(text, text, int, int) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._part_terms(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._search_configuration(text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._terms_of(text, text, uuid, text, text, text, text) FROM PUBLIC;

COMMENT ON FUNCTION msgstore._quote_term(text) IS
    'Returns a term as the input of tsvector and tsquery takes it';
COMMENT ON FUNCTION msgstore._address_terms(text, text) IS
    'Returns the terms for parts of the addresses of a conversation';
COMMENT ON FUNCTION msgstore._unspaced_runs(text) IS
    'Returns the runs of characters of scripts that are written without spaces';
COMMENT ON FUNCTION msgstore._numbers(text) IS
    'Returns the numbers of at least three digits, without what separates their digits';
COMMENT ON FUNCTION msgstore._parts(text, text, int, int) IS
    'Returns the parts of this size as lexemes with consecutive positions, in the format of tsvector';
COMMENT ON FUNCTION msgstore._part_terms(text) IS
    'Returns the terms for parts of numbers and of scripts without spaces';
COMMENT ON FUNCTION msgstore._search_configuration(text, text) IS
    'Returns the text search configuration for messages of this tenant and channel';
COMMENT ON FUNCTION msgstore._terms_of(text, text, uuid, text, text, text, text) IS
    'Returns the terms of a message, of the first 16,384 characters of its body';
