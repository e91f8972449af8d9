-- sources: parts of items that several rules need.

-- An item without some of its fields. A name with a period is a path: email.text.
CREATE FUNCTION msgstore._omit(item jsonb, names text[]) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    name text;
BEGIN
    IF jsonb_typeof(item) = 'object' THEN
        FOREACH name IN ARRAY names LOOP
            item := item #- string_to_array(name, '.');
        END LOOP;
    END IF;
    RETURN item;
END
$$;

-- The message ids in a header such as References, without their angle brackets; at
-- most the last 50, because the nearest ones come last. Null if there are none.
CREATE FUNCTION msgstore._message_ids(spec jsonb, item jsonb, variables jsonb)
    RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
BEGIN
    RETURN (
        SELECT jsonb_agg(i.id ORDER BY i.n DESC)
        FROM (
            SELECT m.id[1] AS id, row_number() OVER (ORDER BY v.n DESC, m.n DESC) AS n
            FROM jsonb_array_elements_text(msgstore._field_values(
                spec, item, variables, true)) WITH ORDINALITY AS v (value, n)
            CROSS JOIN LATERAL regexp_matches(left(v.value, 20000),
                                              '<([^<>[:space:]]+)>', 'g')
                WITH ORDINALITY AS m (id, n)
            WHERE length(m.id[1]) <= 998
            ORDER BY 2 LIMIT 50) i);
END
$$;

-- {"reference", "number", "total"} of a message that is one of several parts; null for
-- a whole one.
CREATE FUNCTION msgstore._part_of(spec jsonb, item jsonb, variables jsonb) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
BEGIN
    RETURN (
        SELECT jsonb_build_object('reference', p.reference, 'number', p.number::int,
                                  'total', p.total::int)
        FROM (SELECT msgstore._field(spec -> 'reference', item, variables),
                     msgstore._field(spec -> 'number', item, variables),
                     msgstore._field(spec -> 'total', item, variables)
             ) AS p (reference, number, total)
        WHERE p.reference IS NOT NULL AND p.number ~ '^[0-9]{1,3}$' AND p.total ~ '^[0-9]{1,3}$'
            AND p.total::int > 1 AND p.number::int BETWEEN 1 AND p.total::int);
END
$$;

REVOKE ALL ON FUNCTION msgstore._part_of(jsonb, jsonb, jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._omit(jsonb, text[]) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._message_ids(jsonb, jsonb, jsonb) FROM PUBLIC;

COMMENT ON FUNCTION msgstore._part_of(jsonb, jsonb, jsonb) IS
    'Returns which part of a longer message an item is; null for a whole message';
COMMENT ON FUNCTION msgstore._omit(jsonb, text[]) IS
    'Returns an item without these fields';
COMMENT ON FUNCTION msgstore._message_ids(jsonb, jsonb, jsonb) IS
    'Returns the message ids of a field as an array, the nearest one last; null if there are none';
