-- search: the query of a search.

-- Parts that follow each other; of one part also its beginning.
CREATE FUNCTION msgstore._parts_query(value text, mark text, size int)
    RETURNS tsquery
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT CASE WHEN length(value) < size
                THEN (msgstore._quote_term(mark || value) || ':*')::tsquery
                ELSE string_agg(msgstore._quote_term(mark || substr(value, n, size)),
                                ' <-> ' ORDER BY n)::tsquery END
    FROM generate_series(1, greatest(length(value) - size + 1, 1)) n
$$;

-- One word or phrase of a query. Returns a query without terms for a stop word.
CREATE FUNCTION msgstore._word_query(
    configurations text[],
    word text,
    quoted boolean)
    RETURNS tsquery
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    SET client_min_messages = warning
    AS $$
DECLARE
    result tsquery := '';
    runs text[] := ARRAY(SELECT msgstore._unspaced_runs(word));
    run text;
BEGIN
    IF word ~ '^[+(]?[0-9][0-9 ().-]*$'
        AND word ~ '[0-9].*[0-9].*[0-9]' THEN
        RETURN msgstore._parts_query(
            left(regexp_replace(word, '[^0-9]', '', 'g'), 64), E'\x02', 3);
    END IF;
    FOREACH run IN ARRAY runs LOOP
        result := result && msgstore._parts_query(left(run, 64), E'\x03', 2);
        word := replace(word, run, ' ');
    END LOOP;
    IF word ~ '^\s*\*?$' THEN
        RETURN result;
    END IF;
    word := msgstore._fold_case(word);
    RETURN result && (
        SELECT coalesce(msgstore._any_of(array_agg(CASE
            WHEN quoted THEN phraseto_tsquery(c::regconfig, word)
            WHEN word ~ '\w\*$' THEN to_tsquery(
                c::regconfig, msgstore._quote_term(rtrim(word, '*')) || ':*')
            ELSE plainto_tsquery(c::regconfig, word) END)), '')
        FROM unnest(configurations) c);
END
$$;

CREATE FUNCTION msgstore._any_of(queries tsquery[]) RETURNS tsquery
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    -- An empty query is noticed.
    SET client_min_messages = warning
    AS $$
DECLARE
    result tsquery := '';
    q tsquery;
BEGIN
    FOREACH q IN ARRAY queries LOOP
        result := CASE WHEN result = q THEN result ELSE result || q END;
    END LOOP;
    RETURN result;
END
$$;

-- Words and "phrases" must all occur; "or" between two means either, a minus before
-- one that it must not occur, an asterisk after a word any word that begins with it.
CREATE FUNCTION msgstore._parse_query(configurations text[], query text)
    RETURNS tsquery
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    -- An empty query is noticed.
    SET client_min_messages = warning
    AS $$
DECLARE
    result tsquery := '';
    alternatives tsquery := '';
    either boolean := false;
    token text[];
    part tsquery;
    words int := 0;
BEGIN
    FOR token IN
        SELECT * FROM regexp_matches(coalesce(query, ''), '(-?)(?:"([^"]*)"?|(\S+))', 'g')
    LOOP
        IF lower(token[3]) = 'or' AND token[1] = '' THEN
            either := numnode(alternatives) > 0;
            CONTINUE;
        END IF;
        words := words + 1;
        IF words > 32 THEN
            RAISE EXCEPTION 'query has more than 32 words'
                USING ERRCODE = 'MS400';
        END IF;
        part := msgstore._word_query(
            configurations, coalesce(token[2], token[3]), token[2] IS NOT NULL);
        CONTINUE WHEN numnode(part) = 0;
        part := CASE WHEN token[1] = '-' THEN !! part ELSE part END;
        IF either THEN
            alternatives := alternatives || part;
        ELSE
            result := result && alternatives;
            alternatives := part;
        END IF;
        either := false;
    END LOOP;
    result := result && alternatives;
    RETURN CASE WHEN querytree(result) NOT IN ('', 'T') THEN result END;
END
$$;

CREATE FUNCTION msgstore._read_query(configurations text[], query text)
    RETURNS tsquery
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    result CONSTANT tsquery := msgstore._parse_query(configurations, query);
BEGIN
    IF result IS NULL THEN
        RAISE EXCEPTION 'query "%" has no word to search for', left(coalesce(query, ''), 64)
            USING ERRCODE = 'MS400',
                  DETAIL = 'A query must have a word that is not excluded and that the text search configuration does not ignore.';
    END IF;
    RETURN result;
END
$$;

CREATE FUNCTION msgstore._headline(
    configuration text,
    value text,
    query tsquery)
    RETURNS text[]
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    SET client_min_messages = warning
    AS $$
DECLARE
    -- ts_headline() leaves out tags, after which the letters would not be found.
    given CONSTANT text := CASE WHEN msgstore._fold_case(value) = value THEN value
                                ELSE regexp_replace(value, '<[^>]*>', ' ', 'g') END;
    folded CONSTANT text := msgstore._fold_case(given);
    pieces text[] := regexp_split_to_array(
        ts_headline(configuration::regconfig, folded, query,
                    E'StartSel="\x02", StopSel="\x03", MaxWords=30, MinWords=10'),
        E'[\x02\x03]');
    place int := strpos(folded, array_to_string(pieces, ''));
BEGIN
    IF folded = given OR length(folded) <> length(given) OR place = 0 THEN
        RETURN pieces;
    END IF;
    -- The letters as they are given.
    FOR n IN 1..cardinality(pieces) LOOP
        place := place + length(pieces[n]);
        pieces[n] := substr(given, place - length(pieces[n]), length(pieces[n]));
    END LOOP;
    RETURN pieces;
END
$$;

-- The beginning of the body around the first hit, in pieces: every second piece is a
-- hit, and the first is not, but may be empty.
CREATE FUNCTION msgstore._hit_snippet(
    configuration text,
    body text,
    query tsquery)
    RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    SET client_min_messages = warning
    AS $$
DECLARE
    -- The marks are not in the text.
    value CONSTANT text := left(translate(body, E'\x02\x03', ''), 16384);
    pattern text;
    place int;
    pieces text[];
BEGIN
    pattern := msgstore._parts_pattern(query);
    IF pattern IS NOT NULL THEN
        place := strpos(value, (regexp_match(value, pattern))[1]);
    END IF;
    IF place > 0 THEN
        pieces := regexp_split_to_array(
            regexp_replace(substr(value, greatest(place - 60, 1), 200), pattern,
                           E'\x02\\1\x03', 'g'),
            E'[\x02\x03]');
    ELSE
        pieces := msgstore._headline(configuration, value, query);
    END IF;
    RETURN (SELECT jsonb_agg(regexp_replace(p, '\s+', ' ', 'g') ORDER BY n)
            FROM unnest(pieces) WITH ORDINALITY p (p, n));
END
$$;

-- A regular expression for the numbers and runs of characters in the query.
CREATE FUNCTION msgstore._parts_pattern(query tsquery) RETURNS text
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    found text;
BEGIN
    SELECT string_agg(
        CASE WHEN p[1] ~ E'\x02'
            THEN array_to_string(regexp_split_to_array(v.joined, ''), '[ ().-]{0,2}')
            ELSE v.joined END, '|')
    INTO found
    FROM regexp_matches(query::text,
             E'((?:''[\x02\x03][^'']*''(?::\\*)?(?: <-> )?)+)', 'g') AS p
    CROSS JOIN LATERAL (
        SELECT string_agg(CASE WHEN n = 1 THEN t[2] ELSE right(t[2], 1) END, ''
                          ORDER BY n) AS joined
        FROM regexp_matches(p[1], E'''([\x02\x03])([^'']*)''', 'g')
            WITH ORDINALITY AS m (t, n)) v;
    RETURN '(' || found || ')';
END
$$;

REVOKE ALL ON FUNCTION msgstore._parts_query(text, text, int) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._word_query(text[], text, boolean) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._any_of(tsquery[]) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._parse_query(text[], text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._read_query(text[], text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._headline(text, text, tsquery) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._hit_snippet(text, text, tsquery) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._parts_pattern(tsquery) FROM PUBLIC;

COMMENT ON FUNCTION msgstore._parts_query(text, text, int) IS
    'Returns the query for a number or a run of characters';
COMMENT ON FUNCTION msgstore._word_query(text[], text, boolean) IS
    'Returns the query for a word or, if it was quoted, a phrase, by any of the configurations';
COMMENT ON FUNCTION msgstore._any_of(tsquery[]) IS
    'Returns the query that any of these matches';
COMMENT ON FUNCTION msgstore._parse_query(text[], text) IS
    'Returns the query that a user has written, null if it has no word to search for. Raises MS400 if it has too many words';
COMMENT ON FUNCTION msgstore._read_query(text[], text) IS
    'Returns the query that a user has written. Raises MS400';
COMMENT ON FUNCTION msgstore._headline(text, text, tsquery) IS
    'Returns what ts_headline() does, in pieces; every second one is a hit';
COMMENT ON FUNCTION msgstore._hit_snippet(text, text, tsquery) IS
    'Returns the part of the text around hits as a JSON array of pieces; every second one is a hit';
COMMENT ON FUNCTION msgstore._parts_pattern(tsquery) IS
    'Returns the pattern of what the query has of numbers and scripts without spaces, null if there is nothing';
