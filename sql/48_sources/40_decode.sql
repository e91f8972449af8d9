-- sources: the body of a webhook as jsonb.

CREATE FUNCTION msgstore._decode_form(body bytea) RETURNS jsonb
    LANGUAGE c STABLE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'msgstore_decode_form';

CREATE FUNCTION msgstore._decode_multipart(
    content_type text, body bytea, mail_field text)
    RETURNS jsonb
    LANGUAGE c STABLE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'msgstore_decode_multipart';

CREATE FUNCTION msgstore._html_to_text(html text) RETURNS text
    LANGUAGE c STABLE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'msgstore_html_to_text';

-- With the names in lower case, as the rules have them.
CREATE FUNCTION msgstore._lower_names(headers jsonb) RETURNS jsonb
    LANGUAGE sql IMMUTABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT coalesce(jsonb_object_agg(lower(h.key), h.value), '{}')
    FROM jsonb_each(CASE jsonb_typeof(headers) WHEN 'object' THEN headers ELSE '{}' END) h
    $$;

CREATE FUNCTION msgstore._query_of(url text) RETURNS jsonb
    LANGUAGE sql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT msgstore._decode_form(
        convert_to(coalesce(split_part(substr(url, nullif(strpos(url, '?'), 0) + 1), '#', 1), ''), 'UTF8'))
    $$;

-- MediaUrl0, MediaUrl1, ... become an array of objects.
CREATE FUNCTION msgstore._collect_numbered(body jsonb, numbered jsonb) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
BEGIN
    RETURN (
        SELECT body || coalesce((
            SELECT jsonb_object_agg(a.key, a.elements)
            FROM (
                SELECT n.key, jsonb_agg(e.element ORDER BY e.i) AS elements
                FROM jsonb_each(numbered) n
                CROSS JOIN LATERAL (
                    SELECT i, jsonb_object_agg(f.key, body -> (f.value || i::text)) AS element
                    FROM generate_series(0, 99) i
                    CROSS JOIN LATERAL jsonb_each_text(n.value) f
                    WHERE body ? (f.value || i::text)
                    GROUP BY i) e
                GROUP BY n.key) a), '{}'));
END
$$;

-- Fields of a form that hold JSON. What is not JSON remains text.
CREATE FUNCTION msgstore._decode_json_fields(body jsonb, names text[]) RETURNS jsonb
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    field text;
BEGIN
    FOREACH field IN ARRAY names LOOP
        CONTINUE WHEN jsonb_typeof(body -> field) IS DISTINCT FROM 'string';
        BEGIN
            body := jsonb_set(body, ARRAY[field], msgstore.read_payload(body ->> field));
        EXCEPTION
            WHEN SQLSTATE 'MS400' THEN
                NULL;
        END;
    END LOOP;
    RETURN body;
END
$$;

-- Returns {"body", "files"}, and for a whole e-mail "mail": where it is in the body.
-- What is in it is decoded by the gateway, see _add_mail().
CREATE FUNCTION msgstore._decode_body(
    provider msgstore.providers,
    content_type text,
    body bytea,
    query jsonb)
    RETURNS jsonb
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    media_type CONSTANT text := lower(btrim(split_part(content_type, ';', 1)));
    mail_field CONSTANT text := coalesce((provider).mail_field, '');
    decoded jsonb;
BEGIN
    IF octet_length(body) = 0 THEN
        decoded := jsonb_build_object('body', query);
    ELSIF media_type = 'application/x-www-form-urlencoded' THEN
        decoded := jsonb_build_object('body', msgstore._decode_form(body));
        IF decoded -> 'body' ? mail_field THEN
            decoded := decoded || jsonb_build_object(
                'mail', jsonb_build_object('field', mail_field));
        END IF;
    ELSIF media_type = 'message/rfc822' THEN
        decoded := jsonb_build_object(
            'body', NULL,
            'mail', jsonb_build_object('offset', 0, 'size', octet_length(body)));
    ELSIF media_type = 'multipart/form-data' THEN
        decoded := msgstore._decode_multipart(content_type, body, mail_field);
        IF decoded IS NULL THEN
            RAISE EXCEPTION 'body is not multipart/form-data'
                USING ERRCODE = 'MS400',
                      DETAIL = 'The parts must be separated by the boundary in the header "Content-Type", and each must have a name.';
        END IF;
    ELSE
        BEGIN
            decoded := jsonb_build_object(
                'body', msgstore.read_payload(convert_from(body, 'UTF8')));
        EXCEPTION
            WHEN data_exception OR SQLSTATE 'MS400' THEN
                RAISE EXCEPTION 'body is neither JSON nor a form'
                    USING ERRCODE = 'MS400', DETAIL = SQLERRM || '.';
        END;
    END IF;
    IF jsonb_typeof(decoded -> 'body') = 'object' THEN
        decoded := jsonb_set(decoded, '{body}', msgstore._collect_numbered(
            msgstore._decode_json_fields(decoded -> 'body', provider.json_fields),
            provider.numbered));
    END IF;
    RETURN '{"files": []}' || decoded;
END
$$;

-- Puts an e-mail that the gateway has parsed where the rules read it: in its field,
-- or in place of the body.
CREATE FUNCTION msgstore._add_mail(
    provider msgstore.providers, document jsonb, mail jsonb)
    RETURNS jsonb
    LANGUAGE sql IMMUTABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT (document - 'mail') || jsonb_build_object('body', CASE
        WHEN jsonb_typeof(document -> 'body') = 'object' THEN
            document -> 'body' || jsonb_build_object((provider).mail_field, mail)
        ELSE mail END)
    $$;

REVOKE ALL ON FUNCTION msgstore._decode_form(bytea) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._decode_multipart(text, bytea, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._html_to_text(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._lower_names(jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._query_of(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._collect_numbered(jsonb, jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._decode_json_fields(jsonb, text[]) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._decode_body(msgstore.providers, text, bytea, jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._add_mail(msgstore.providers, jsonb, jsonb) FROM PUBLIC;

COMMENT ON FUNCTION msgstore._decode_form(bytea) IS
    'Returns the fields of an application/x-www-form-urlencoded body as an object; a repeated field becomes an array';
COMMENT ON FUNCTION msgstore._decode_multipart(text, bytea, text) IS
    'Returns the fields (body) and files of a multipart/form-data body, files with field, name, type, and offset and size in bytes; and where the field mail_field is (mail). Null if the body is malformed';
COMMENT ON FUNCTION msgstore._html_to_text(text) IS
    'Returns the text of an HTML document, without style sheets, scripts and comments';
COMMENT ON FUNCTION msgstore._lower_names(jsonb) IS
    'Returns the object with its names in lower case';
COMMENT ON FUNCTION msgstore._query_of(text) IS
    'Returns the parameters in the query of a URL as an object';
COMMENT ON FUNCTION msgstore._collect_numbered(jsonb, jsonb) IS
    'Returns the body with the arrays that providers.numbered describes';
COMMENT ON FUNCTION msgstore._decode_json_fields(jsonb, text[]) IS
    'Returns the body with these fields decoded from JSON text';
COMMENT ON FUNCTION msgstore._decode_body(msgstore.providers, text, bytea, jsonb) IS
    'Returns the body of a webhook (body) and its files as jsonb, and where it has a whole e-mail (mail); the query for an empty body. Raises MS400 for a body that cannot be decoded';
COMMENT ON FUNCTION msgstore._add_mail(msgstore.providers, jsonb, jsonb) IS
    'Returns the decoded body of a webhook with its e-mail as the gateway has parsed it';
