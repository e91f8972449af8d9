-- sources: verification of signatures.

CREATE FUNCTION msgstore._check_signature(
    method text,
    options jsonb,
    secrets text[],
    request_values jsonb,
    url text,
    content_type text,
    body bytea,
    at timestamptz,
    tolerance_s double precision)
    RETURNS text
    LANGUAGE c STABLE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'msgstore_check_signature';

-- What the provider signed: the source's own URL with the query of the request, or
-- the request's URL for a source without one.
CREATE FUNCTION msgstore._signed_url(source msgstore.sources, url text) RETURNS text
    LANGUAGE plpgsql IMMUTABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
BEGIN
    RETURN (
        SELECT CASE
            WHEN (source).public_url IS NULL THEN coalesce(url, '')
            WHEN strpos((source).public_url, '?') > 0 OR strpos(url, '?') = 0
                THEN (source).public_url
            ELSE (source).public_url || coalesce(substr(url, strpos(url, '?')), '')
        END);
END
$$;

-- Where the request has the values that the scheme needs. Options of the source can
-- name another header.
CREATE FUNCTION msgstore._signature_values(
    scheme msgstore.signature_schemes,
    options jsonb,
    document jsonb)
    RETURNS jsonb
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
BEGIN
    RETURN (
        SELECT coalesce(jsonb_object_agg(f.key, v.value), '{}')
        FROM jsonb_each_text(
            (scheme).find
            || coalesce((
                SELECT jsonb_object_agg(n.value, format('$headers.%s', to_jsonb(lower(options ->> n.option))))
                FROM (VALUES ('header', 'signature'), ('timestamp_header', 'timestamp'),
                             ('id_header', 'id')) n (option, value)
                WHERE options ? n.option), '{}')) f
        CROSS JOIN LATERAL (
            SELECT jsonb_path_query_first('null', f.value::jsonpath, document, true) AS value) v
        WHERE v.value IS NOT NULL);
END
$$;

-- Returns why the signature is not accepted, or null. Repeated verification of the
-- same request gives the same result; tokens are used up elsewhere.
CREATE FUNCTION msgstore._verify(
    source msgstore.sources,
    provider msgstore.providers,
    scheme msgstore.signature_schemes,
    request_values jsonb,
    document jsonb,
    url text,
    body bytea,
    at timestamptz)
    RETURNS text
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
DECLARE
    known text[];
BEGIN
    IF scheme.method = 'none' THEN
        RETURN NULL;
    END IF;
    known := ARRAY(
        SELECT s.secret FROM msgstore.source_secrets s
        WHERE s.tenant_id = source.tenant_id AND s.source = source.name
            AND s.purpose = 'signature'
            AND coalesce(s.not_after, 'infinity') > at);
    IF cardinality(known) = 0 THEN
        RETURN 'no_secret';
    END IF;
    RETURN msgstore._check_signature(
        scheme.method, scheme.options || source.scheme_options, known, request_values,
        msgstore._signed_url(source, url),
        coalesce(document -> 'headers' ->> 'content-type', ''), body, at,
        coalesce(extract(epoch FROM coalesce(source.tolerance, provider.tolerance)), 0));
END
$$;

CREATE FUNCTION msgstore._is_token_used(
    source msgstore.sources, token text)
    RETURNS boolean
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_variable
BEGIN
    RETURN EXISTS (
        SELECT FROM msgstore.source_tokens t
        WHERE t.tenant_id = (source).tenant_id AND t.source = (source).name
            AND t.digest = sha256(convert_to(token, 'UTF8')));
END
$$;

CREATE FUNCTION msgstore._describe_reason(reason text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL UNSAFE
    RETURN CASE reason
        WHEN 'missing' THEN 'The request has no signature, or lacks a value that is signed.'
        WHEN 'malformed' THEN 'The signature or its timestamp cannot be read.'
        WHEN 'mismatch' THEN 'The signature belongs to another secret, URL or body.'
        WHEN 'body_changed' THEN 'The signature is valid but does not cover this body.'
        WHEN 'expired' THEN 'The signature is valid but older or newer than the tolerance.'
        WHEN 'replayed' THEN 'The token of the request was used before.'
        WHEN 'no_secret' THEN 'The source has no secret in force.'
    END;

CREATE FUNCTION msgstore.verify_signature(
    source text,
    headers jsonb,
    body bytea,
    url text DEFAULT NULL,
    at timestamptz DEFAULT clock_timestamp(),
    OUT verified boolean,
    OUT reason text,
    OUT detail text)
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    used CONSTANT msgstore.sources := msgstore._source(source);
    provider CONSTANT msgstore.providers := msgstore._provider(used.provider);
    scheme CONSTANT msgstore.signature_schemes :=
        msgstore._scheme(coalesce(used.scheme, provider.scheme));
    document jsonb := jsonb_build_object(
        'headers', msgstore._lower_names(headers), 'query', msgstore._query_of(url),
        'body', NULL);
    request_values jsonb;
BEGIN
    body := coalesce(body, '');
    IF scheme.reads_body THEN
        document := document || msgstore._decode_body(
            provider, coalesce(document -> 'headers' ->> 'content-type', ''), body,
            document -> 'query');
    END IF;
    request_values := msgstore._signature_values(
        scheme, scheme.options || used.scheme_options, document);
    reason := msgstore._verify(
        used, provider, scheme, request_values, document, url, body, coalesce(at, now()));
    IF reason IS NULL AND msgstore._is_token_used(used, request_values ->> 'token') THEN
        reason := 'replayed';
    END IF;
    verified := reason IS NULL;
    detail := msgstore._describe_reason(reason);
END
$$;

REVOKE ALL ON FUNCTION msgstore._check_signature(text, jsonb, text[], jsonb, text, text, bytea, timestamptz, double precision) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._signed_url(msgstore.sources, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._signature_values(msgstore.signature_schemes, jsonb, jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._verify(msgstore.sources, msgstore.providers, msgstore.signature_schemes, jsonb, jsonb, text, bytea, timestamptz) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._is_token_used(msgstore.sources, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._describe_reason(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.verify_signature(text, jsonb, bytea, text, timestamptz) FROM PUBLIC;

COMMENT ON FUNCTION msgstore._check_signature(text, jsonb, text[], jsonb, text, text, bytea, timestamptz, double precision) IS
    'Verifies a signature. Returns null if it is valid, else missing, malformed, mismatch, body_changed or expired';
COMMENT ON FUNCTION msgstore._signed_url(msgstore.sources, text) IS
    'Returns the URL that the provider of the source has called';
COMMENT ON FUNCTION msgstore._signature_values(msgstore.signature_schemes, jsonb, jsonb) IS
    'Returns the signature, timestamp, id and token that a request has';
COMMENT ON FUNCTION msgstore._verify(msgstore.sources, msgstore.providers, msgstore.signature_schemes, jsonb, jsonb, text, bytea, timestamptz) IS
    'Returns why the signature of a request is not accepted; null if it is';
COMMENT ON FUNCTION msgstore._is_token_used(msgstore.sources, text) IS
    'Returns whether an accepted webhook of the source had this token';
COMMENT ON FUNCTION msgstore._describe_reason(text) IS
    'Describes a reason of verify_signature() in a sentence';
COMMENT ON FUNCTION msgstore.verify_signature(text, jsonb, bytea, text, timestamptz) IS
    'Verifies the signature of a webhook without storing anything. headers: an object; names in any case. url: what the provider called, with its query. at: the time to which the tolerance applies. Returns verified, and the reason if it is false: missing, malformed, mismatch, body_changed, expired, replayed or no_secret, with a description. Raises MS400 for a body that cannot be decoded if the signature is in it, MS404 if there is no such source, MS409 if several tenants have one';
