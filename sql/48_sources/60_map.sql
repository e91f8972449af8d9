-- sources: the messages and statuses in the body of a webhook.

-- The value of a field: spec is a jsonpath, an array of which the first that finds
-- something counts, or an object with further steps. Null for what is blank.
CREATE FUNCTION msgstore._field(spec jsonb, item jsonb, variables jsonb) RETURNS text
    LANGUAGE plpgsql IMMUTABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    chosen jsonb;
    value text;
    part jsonb;
BEGIN
    CASE jsonb_typeof(spec)
        WHEN 'string' THEN
            chosen := jsonb_path_query_first(
                item, (spec #>> '{}')::jsonpath, variables, true);
            IF jsonb_typeof(chosen) IN ('string', 'number', 'boolean') THEN
                value := chosen #>> '{}';
            END IF;
        WHEN 'array' THEN
            FOR part IN SELECT jsonb_array_elements(spec) LOOP
                value := msgstore._field(part, item, variables);
                EXIT WHEN value IS NOT NULL;
            END LOOP;
        WHEN 'object' THEN
            IF spec ? 'text' THEN
                value := spec ->> 'text';
            ELSIF spec ? 'all' THEN
                SELECT string_agg(msgstore._field(a.part, item, variables),
                                  coalesce(spec ->> 'separator', ' ') ORDER BY a.n)
                INTO value
                FROM jsonb_array_elements(spec -> 'all') WITH ORDINALITY AS a (part, n);
            ELSE
                value := msgstore._finish_field(
                    spec, msgstore._field(spec -> 'path', item, variables));
            END IF;
        ELSE
            NULL;
    END CASE;
    RETURN CASE WHEN value ~ '[^[:space:]]' THEN value END;
END
$$;

-- Providers that leave out the "+" of an international number mean one anyway; a
-- short code or a name is no such number.
CREATE FUNCTION msgstore._finish_field(spec jsonb, value text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT CASE
        WHEN (spec -> 'phone')::boolean AND m.value ~ '^[0-9][0-9 ().-]{7,24}$'
            THEN '+' || regexp_replace(m.value, '[^0-9]', '', 'g')
        ELSE m.value
    END
    FROM (SELECT CASE WHEN spec ? 'match' THEN substring(value FROM spec ->> 'match')
                      ELSE value END) AS m (value)
    $$;

-- All values of a field. Of an array of paths, the first that finds something, or
-- the values of every one.
CREATE FUNCTION msgstore._field_values(
    spec jsonb, item jsonb, variables jsonb, every boolean)
    RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    chosen jsonb := '[]';
    part jsonb;
BEGIN
    CASE jsonb_typeof(spec)
        WHEN 'string' THEN
            chosen := jsonb_path_query_array(
                item, (spec #>> '{}')::jsonpath, variables, true);
        WHEN 'array' THEN
            FOR part IN SELECT jsonb_array_elements(spec) LOOP
                chosen := chosen || msgstore._field_values(part, item, variables, every);
                EXIT WHEN chosen <> '[]' AND NOT every;
            END LOOP;
        WHEN 'object' THEN
            SELECT coalesce(jsonb_agg(msgstore._finish_field(spec, v.value #>> '{}')
                                      ORDER BY v.n), '[]')
            INTO chosen
            FROM jsonb_array_elements(msgstore._field_values(
                spec -> 'path', item, variables, every)) WITH ORDINALITY AS v (value, n)
            WHERE jsonb_typeof(v.value) IN ('string', 'number');
        ELSE
            NULL;
    END CASE;
    RETURN chosen;
END
$$;

-- All forms in which providers write a time: RFC 3339, RFC 2822, Unix seconds,
-- milliseconds or microseconds, and a date and time in the given zone. Null for
-- anything else, and outside the years 1 to 9999.
CREATE FUNCTION msgstore._read_time(value text, zone text) RETURNS timestamptz
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET DateStyle = 'ISO, DMY'
    AS $$
DECLARE
    given CONSTANT text := btrim(value, E' \t\r\n');
    instant timestamptz;
BEGIN
    IF given ~ '^[0-9]{9,16}(\.[0-9]{1,9})?$' THEN
        instant := to_timestamp(
            given::numeric / CASE WHEN given::numeric < 1e11 THEN 1
                                  WHEN given::numeric < 1e14 THEN 1000
                                  ELSE 1000000 END);
    ELSIF given ~* '^[0-9]{4}-[0-9]{2}-[0-9]{2}[t ][0-9]{2}:[0-9]{2}(:[0-9]{2}([.,][0-9]+)?)? ?(z|utc|gmt|[+-][0-9]{2}(:?[0-9]{2})?)$' THEN
        instant := replace(given, ',', '.')::timestamptz;
    ELSIF given ~* '^[0-9]{4}-[0-9]{2}-[0-9]{2}([t ][0-9]{2}:[0-9]{2}(:[0-9]{2}([.,][0-9]+)?)?)?$' THEN
        instant := replace(given, ',', '.')::timestamp AT TIME ZONE zone;
    ELSIF given ~* '^([a-z]{3}, *)?[0-9]{1,2} +[a-z]{3} +[0-9]{4} +[0-9]{1,2}:[0-9]{2}(:[0-9]{2})?' THEN
        -- The weekday says nothing, and a comment may follow: (UTC).
        instant := regexp_replace(
            regexp_replace(given, '^[a-z]{3}, *', '', 'i'), ' *\(.*$', '')::timestamptz;
    END IF;
    RETURN CASE WHEN instant >= '0001-01-02 00:00:00+00'
                     AND instant < '9999-12-31 00:00:00+00' THEN instant END;
EXCEPTION
    WHEN data_exception THEN
        RETURN NULL;
END
$$;

-- {"url", "type", "size", "name", "id"} of each attachment, under the names that
-- providers use for them unless the rule says other ones; and where its content is,
-- if it came with the webhook.
CREATE FUNCTION msgstore._attachments(fields jsonb, item jsonb, variables jsonb)
    RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
BEGIN
    RETURN (
        SELECT coalesce(jsonb_agg(
            CASE WHEN jsonb_typeof(a.value) = 'object' THEN (
                SELECT coalesce(jsonb_object_agg(f.key, f.value), '{}')
                FROM (SELECT s.key, msgstore._field(s.value, a.value, variables) AS value
                      FROM jsonb_each('{
                          "url": ["$.url", "$.link", "$.media_url", "$.Url"],
                          "type": ["$.content_type", "$.mime_type", "$.ContentType", "$.type"],
                          "size": ["$.size", "$.file_size", "$.ContentLength"],
                          "name": ["$.name", "$.filename", "$.file_name", "$.Name"],
                          "id": ["$.id", "$.ContentID"],
                          "inline": ["$.inline", "$.ContentID"],
                          "offset": "$.offset", "base64": "$.Content"}'
                          || coalesce(fields -> 'attachment', '{}')) s) f
                WHERE f.value IS NOT NULL)
            ELSE jsonb_build_object('url', a.value #>> '{}') END ORDER BY a.n), '[]')
        FROM jsonb_array_elements(msgstore._field_values(
            fields -> 'attachments', item, variables, true)) WITH ORDINALITY AS a (value, n)
        WHERE jsonb_typeof(a.value) IN ('object', 'string'));
END
$$;

-- An id that an index entry can hold.
CREATE FUNCTION msgstore._fit_id(id text) RETURNS text
    LANGUAGE sql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT CASE WHEN octet_length(id) <= 255 THEN id
                ELSE 'sha256:' || encode(sha256(convert_to(id, 'UTF8')), 'hex') END
    $$;

-- The recipients of a message, by the rule.
CREATE FUNCTION msgstore._recipients(
    rule msgstore.provider_rules,
    source msgstore.sources,
    channel text,
    item jsonb,
    variables jsonb)
    RETURNS text[]
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    chosen text[] := ARRAY(
        SELECT v.value #>> '{}'
        FROM jsonb_array_elements(msgstore._field_values(
            (rule).fields -> 'to', item, variables, false)) WITH ORDINALITY AS v (value, n)
        WHERE jsonb_typeof(v.value) IN ('string', 'number')
            AND v.value #>> '{}' ~ '[^[:space:]]'
        ORDER BY v.n);
    own text[];
BEGIN
    IF (rule).recipients = 'each' THEN
        RETURN chosen;
    ELSIF (rule).recipients = 'own' AND (source).own_addresses <> '{}' THEN
        own := ARRAY(
            SELECT f.address FROM unnest(chosen || ARRAY(
                SELECT jsonb_array_elements_text(msgstore._field_values(
                    (rule).fields -> 'recipients', item, variables, true))))
                WITH ORDINALITY AS f (address, n)
            WHERE msgstore.normalize_address(channel, f.address) = ANY (ARRAY(
                SELECT msgstore.normalize_address(channel, o)
                FROM unnest((source).own_addresses) o))
            ORDER BY f.n);
        chosen := own || chosen;
    END IF;
    RETURN chosen[1:1];
END
$$;

-- A text that is longer is cut in the payload, and kept as a file.
CREATE FUNCTION msgstore._longest_body() RETURNS int
    LANGUAGE sql IMMUTABLE PARALLEL UNSAFE
    RETURN 50000;

-- The payload of a message, for ingest_batch(), without recipient, id and files: what
-- it needs, and what is left of the item without its text and files.
CREATE FUNCTION msgstore._message_payload(
    rule msgstore.provider_rules,
    source msgstore.sources,
    provider msgstore.providers,
    item jsonb,
    variables jsonb,
    body text,
    received_at timestamptz)
    RETURNS jsonb
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    fields CONSTANT jsonb := (rule).fields;
    sent_at CONSTANT timestamptz := msgstore._read_time(
        msgstore._field(fields -> 'timestamp', item, variables), (source).time_zone);
BEGIN
    RETURN jsonb_strip_nulls(jsonb_build_object(
        'from', msgstore._field(fields -> 'from', item, variables),
        'subject', msgstore._field(fields -> 'subject', item, variables),
        'opt_out', msgstore._field(fields -> 'opt_out', item, variables),
        'body', left(body, msgstore._longest_body()),
        'message_id', msgstore._field(fields -> 'message_id', item, variables),
        'in_reply_to', msgstore._message_ids(fields -> 'in_reply_to', item, variables),
        'references', msgstore._message_ids(fields -> 'references', item, variables),
        'recipients', nullif(msgstore._field_values(
            fields -> 'recipients', item, variables, true), '[]'),
        'cc', nullif(msgstore._field_values(fields -> 'cc', item, variables, false), '[]'),
        'part', msgstore._part_of(fields -> 'part', item, variables),
        'timestamp', to_char(coalesce(sent_at, received_at) AT TIME ZONE 'UTC',
                             'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
        'timestamp_from', CASE WHEN sent_at IS NULL THEN 'arrival' END,
        'source', (source).name,
        'provider', (source).provider))
        || jsonb_build_object('original', msgstore._omit(item, (provider).omitted));
END
$$;

-- A provider keeps media at a URL, or under an id by which the URL is looked up.
CREATE FUNCTION msgstore._can_fetch(source msgstore.sources, file jsonb) RETURNS boolean
    LANGUAGE sql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT (source).media_account IS NOT NULL AND NOT file ?| '{offset,base64}'
        AND (file ->> 'url' ~* '^https?://[^/?#:@]' OR NOT file ? 'url' AND file ? 'id')
    $$;

-- The files of a message, in the order in which they are stored.
CREATE FUNCTION msgstore._message_files(
    source msgstore.sources,
    provider_message_id text,
    media jsonb,
    html text,
    body text)
    RETURNS jsonb
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
BEGIN
    RETURN (
        SELECT coalesce(jsonb_agg(
            f.file || jsonb_build_object('attachment_id',
                msgstore._attachment_id(source, $2, f.n::int)) ORDER BY f.n), '[]')
        FROM (
            SELECT (m.value - 'inline') || jsonb_build_object('kind',
                       CASE WHEN coalesce(m.value ->> 'inline', 'false') <> 'false'
                            THEN 'inline' ELSE 'attachment' END)
                   || CASE WHEN msgstore._can_fetch(source, m.value)
                           THEN '{"fetch": true}' ELSE '{}' END::jsonb, m.n
            FROM jsonb_array_elements(media) WITH ORDINALITY AS m (value, n)
            UNION ALL
            SELECT jsonb_build_object('kind', 'html', 'type', 'text/html; charset=utf-8',
                                      'text', html), 1000001
            WHERE html IS NOT NULL
            UNION ALL
            SELECT jsonb_build_object('kind', 'text', 'type', 'text/plain; charset=utf-8',
                                      'text', body), 1000002
            WHERE length(body) > msgstore._longest_body()) AS f (file, n));
END
$$;

-- What the payload says of the files. Those that are stored here have a path of the
-- gateway.
CREATE FUNCTION msgstore._describe_files(files jsonb) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
BEGIN
    RETURN (
        SELECT jsonb_strip_nulls(jsonb_build_object(
            'attachments', jsonb_agg(p.path ORDER BY f.n) FILTER (
                WHERE f.file ->> 'kind' IN ('attachment', 'inline') AND p.path IS NOT NULL),
            'media', jsonb_agg(f.file - CASE WHEN f.file ?| '{offset,base64,fetch}'
                THEN '{offset,base64,fetch,kind}'::text[]
                ELSE '{kind,attachment_id}' END ORDER BY f.n) FILTER (
                WHERE f.file ->> 'kind' IN ('attachment', 'inline')),
            'html', min(p.path) FILTER (WHERE f.file ->> 'kind' = 'html'),
            'full_text', min(p.path) FILTER (WHERE f.file ->> 'kind' = 'text')))
        FROM jsonb_array_elements(files) WITH ORDINALITY AS f (file, n)
        CROSS JOIN LATERAL (SELECT CASE
            WHEN f.file ?| '{offset,base64,text,fetch}' THEN
                '/api/attachments/' || (f.file ->> 'attachment_id')
            WHEN f.file ->> 'url' ~* '^https?://[^/?#:@][^[:space:][:cntrl:]"<>\\]*$' THEN
                f.file ->> 'url'
            END) AS p (path));
END
$$;

-- One row for each event of a message; several for one with several recipients.
CREATE FUNCTION msgstore._map_message(
    rule msgstore.provider_rules,
    source msgstore.sources,
    provider msgstore.providers,
    item jsonb,
    variables jsonb,
    received_at timestamptz)
    RETURNS TABLE (channel text, provider_message_id text, payload jsonb, problem text,
                   files jsonb)
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    fields CONSTANT jsonb := (rule).fields;
    media CONSTANT jsonb := msgstore._attachments(fields, item, variables);
    html CONSTANT text := msgstore._field(fields -> 'html', item, variables);
    body CONSTANT text := coalesce(
        msgstore._field(fields -> 'body', item, variables),
        msgstore._html_to_text(html), '');
    place text := coalesce(lower(msgstore._field(fields -> 'channel', item, variables)),
                           (rule).channel);
    id text := coalesce(
        msgstore._field(fields -> 'id', item, variables),
        msgstore._field(fields -> 'message_id', item, variables),
        'sha256:' || encode(sha256(convert_to(item::text, 'UTF8')), 'hex'));
    common jsonb;
    chosen text[];
    recipient text;
BEGIN
    IF media <> '[]' AND place = (rule).channel THEN
        place := coalesce((rule).media_channel, place);
    END IF;
    common := msgstore._message_payload(
        rule, source, provider, item, variables, body, received_at);
    chosen := msgstore._recipients(rule, source, place, item, variables);
    IF cardinality(chosen) = 0 THEN
        chosen := ARRAY[NULL];
    END IF;
    FOREACH recipient IN ARRAY chosen LOOP
        channel := place;
        provider_message_id := msgstore._fit_id(
            CASE (rule).recipients
                WHEN 'each' THEN id || coalesce(' ' || lower(btrim(recipient)), '')
                ELSE id
            END);
        files := msgstore._message_files(source, provider_message_id, media, html, body);
        payload := common || msgstore._describe_files(files)
            || jsonb_strip_nulls(jsonb_build_object(
                'to', recipient,
                coalesce((SELECT c.provider_id_field FROM msgstore.channels c
                          WHERE c.name = place), 'messaging_provider_id'),
                provider_message_id));
        problem := CASE
            WHEN NOT payload ? 'from' THEN 'no sender'
            WHEN recipient IS NULL THEN 'no recipient'
            WHEN jsonb_array_length(media) > (source).max_attachments
                THEN 'too many attachments'
        END;
        RETURN NEXT;
    END LOOP;
END
$$;

-- The status that a word of the provider stands for, if it means another one with
-- this provider than with the channel's.
CREATE FUNCTION msgstore._provider_status(provider text, reported text) RETURNS text
    LANGUAGE sql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT coalesce((
        SELECT w.status FROM msgstore.status_words w
        WHERE w.provider = $1 AND w.word = msgstore._status_word($2)
        ORDER BY w.origin DESC LIMIT 1), $2)
    $$;

CREATE FUNCTION msgstore._map_status(
    rule msgstore.provider_rules,
    source msgstore.sources,
    provider msgstore.providers,
    item jsonb,
    variables jsonb)
    RETURNS TABLE (channel text, provider_message_id text, payload jsonb, status text,
                   problem text)
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    fields CONSTANT jsonb := (rule).fields;
    word CONSTANT text := msgstore._field(fields -> 'status', item, variables);
    sent_at CONSTANT timestamptz := msgstore._read_time(
        msgstore._field(fields -> 'timestamp', item, variables), (source).time_zone);
BEGIN
    channel := coalesce(
        lower(msgstore._field(fields -> 'channel', item, variables)), (rule).channel);
    provider_message_id := msgstore._fit_id(msgstore._field(fields -> 'id', item, variables));
    status := msgstore._provider_status((source).provider, word);
    payload := jsonb_strip_nulls(jsonb_build_object(
        'error_code', msgstore._field(fields -> 'error_code', item, variables),
        'error_message', msgstore._field(fields -> 'error_message', item, variables),
        'word', word,
        'occurred_at', to_char(sent_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
        'source', (source).name,
        'provider', (source).provider))
        || jsonb_build_object('original', item - (provider).omitted);
    problem := CASE
        WHEN provider_message_id IS NULL THEN 'no message id'
        WHEN status IS NULL THEN 'no status'
    END;
    RETURN NEXT;
END
$$;

-- document: the variables of the rules. What no rule takes is one row of kind
-- "ignored" for each item, or one if there are no items at all.
CREATE FUNCTION msgstore._map_document(
    source msgstore.sources,
    provider msgstore.providers,
    document jsonb,
    received_at timestamptz)
    RETURNS TABLE (item int, kind text, channel text, provider_message_id text,
                   status text, payload jsonb, problem text, files jsonb)
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_variable
DECLARE
    rules CONSTANT msgstore.provider_rules[] := ARRAY(
        SELECT r FROM msgstore._rules(source) r ORDER BY r.position);
    split record;
    outer_value jsonb;
    variables jsonb;
    value jsonb;
    rule msgstore.provider_rules;
BEGIN
    item := 0;
    FOR split IN
        SELECT r.outer_path::text AS outer_path, r.item_path::text AS item_path
        FROM unnest(rules) r
        GROUP BY 1, 2 ORDER BY min(r.position)
    LOOP
        FOR outer_value IN
            SELECT o FROM jsonb_path_query(
                document -> 'body', split.outer_path::jsonpath, document, true) o
        LOOP
            variables := document || jsonb_build_object('outer', outer_value);
            FOR value IN
                SELECT i FROM jsonb_path_query(
                    outer_value, split.item_path::jsonpath, variables, true) i
            LOOP
                item := item + 1;
                rule := msgstore._choose_rule(
                    rules, split.outer_path, split.item_path, value, variables);
                channel := NULL;
                provider_message_id := NULL;
                status := NULL;
                payload := NULL;
                problem := NULL;
                files := NULL;
                kind := coalesce(rule.kind, 'ignored');
                IF kind = 'message' THEN
                    FOR channel, provider_message_id, payload, problem, files IN
                        SELECT m.channel, m.provider_message_id, m.payload, m.problem,
                               m.files
                        FROM msgstore._map_message(
                            rule, source, provider, value, variables, received_at) m
                    LOOP
                        RETURN NEXT;
                    END LOOP;
                    CONTINUE;
                ELSIF kind = 'status' THEN
                    SELECT s.channel, s.provider_message_id, s.payload, s.status, s.problem
                    INTO channel, provider_message_id, payload, status, problem
                    FROM msgstore._map_status(rule, source, provider, value, variables) s;
                END IF;
                RETURN NEXT;
            END LOOP;
        END LOOP;
    END LOOP;
    IF item = 0 THEN
        item := 1;
        kind := 'ignored';
        RETURN NEXT;
    END IF;
END
$$;

CREATE FUNCTION msgstore._choose_rule(
    rules msgstore.provider_rules[],
    outer_path text,
    item_path text,
    item jsonb,
    variables jsonb)
    RETURNS msgstore.provider_rules
    LANGUAGE sql IMMUTABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT r.*
    FROM unnest(rules) r
    WHERE r.outer_path::text = $2 AND r.item_path::text = $3
        AND (r.condition IS NULL
             OR coalesce(jsonb_path_match(item, r.condition, variables, true), false))
    ORDER BY r.position LIMIT 1
    $$;

CREATE FUNCTION msgstore.test_source(
    source text,
    headers jsonb,
    body bytea,
    url text DEFAULT NULL)
    RETURNS TABLE (item int, kind text, channel text, provider_message_id text,
                   status text, payload jsonb, problem text)
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE SECURITY DEFINER ROWS 10
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    used CONSTANT msgstore.sources := msgstore._source(source);
    provider CONSTANT msgstore.providers := msgstore._provider(used.provider);
    document jsonb := jsonb_build_object(
        'headers', msgstore._lower_names(headers), 'query', msgstore._query_of(url));
BEGIN
    document := document || msgstore._decode_body(
        provider, coalesce(document -> 'headers' ->> 'content-type', ''),
        coalesce(body, ''), document -> 'query');
    IF document ? 'mail' THEN
        RETURN QUERY
        SELECT 1, 'mail', NULL::text, NULL::text, NULL::text, NULL::jsonb,
               'a whole e-mail is decoded by the gateway';
        RETURN;
    END IF;
    RETURN QUERY
    SELECT m.item, m.kind, m.channel, m.provider_message_id, m.status, m.payload,
           m.problem
    FROM msgstore._map_document(used, provider, document, now()) m;
END
$$;

REVOKE ALL ON FUNCTION msgstore._field(jsonb, jsonb, jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._finish_field(jsonb, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._field_values(jsonb, jsonb, jsonb, boolean) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._read_time(text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._attachments(jsonb, jsonb, jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._fit_id(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._recipients(msgstore.provider_rules, msgstore.sources, text, jsonb, jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._longest_body() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._message_payload(msgstore.provider_rules, msgstore.sources, msgstore.providers, jsonb, jsonb, text, timestamptz) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._can_fetch(msgstore.sources, jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._message_files(msgstore.sources, text, jsonb, text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._describe_files(jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._map_message(msgstore.provider_rules, msgstore.sources, msgstore.providers, jsonb, jsonb, timestamptz) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._provider_status(text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._map_status(msgstore.provider_rules, msgstore.sources, msgstore.providers, jsonb, jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._map_document(msgstore.sources, msgstore.providers, jsonb, timestamptz) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._choose_rule(msgstore.provider_rules[], text, text, jsonb, jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.test_source(text, jsonb, bytea, text) FROM PUBLIC;

COMMENT ON FUNCTION msgstore._field(jsonb, jsonb, jsonb) IS
    'Returns the value of a field of an item, as provider_rules.fields describes it; null if it is blank';
COMMENT ON FUNCTION msgstore._finish_field(jsonb, text) IS
    'Applies match and phone of a field to its value';
COMMENT ON FUNCTION msgstore._field_values(jsonb, jsonb, jsonb, boolean) IS
    'Returns all values of a field of an item as an array';
COMMENT ON FUNCTION msgstore._read_time(text, text) IS
    'Returns the time that a provider wrote, in the zone if it names none; null if it cannot be read';
COMMENT ON FUNCTION msgstore._attachments(jsonb, jsonb, jsonb) IS
    'Returns the attachments of an item as objects with url, type, size, name and id, and offset or base64 if their content came with it';
COMMENT ON FUNCTION msgstore._fit_id(text) IS
    'Returns an id, or its SHA-256 digest if it has more than 255 bytes';
COMMENT ON FUNCTION msgstore._recipients(msgstore.provider_rules, msgstore.sources, text, jsonb, jsonb) IS
    'Returns the recipients of a message for which there is an event';
COMMENT ON FUNCTION msgstore._longest_body() IS
    'Returns how many characters of a message''s text its payload has at most';
COMMENT ON FUNCTION msgstore._message_payload(msgstore.provider_rules, msgstore.sources, msgstore.providers, jsonb, jsonb, text, timestamptz) IS
    'Returns the payload of a message without its recipient, id and files';
COMMENT ON FUNCTION msgstore._can_fetch(msgstore.sources, jsonb) IS
    'Returns whether msgstore-sender fetches this file from the provider';
COMMENT ON FUNCTION msgstore._message_files(msgstore.sources, text, jsonb, text, text) IS
    'Returns the files of a message as objects with attachment_id, kind, name, type, size, id, and url, offset, base64 or text; fetch if the provider has it';
COMMENT ON FUNCTION msgstore._describe_files(jsonb) IS
    'Returns the fields of the payload that name the files of a message: attachments, media, html, full_text';
COMMENT ON FUNCTION msgstore._map_message(msgstore.provider_rules, msgstore.sources, msgstore.providers, jsonb, jsonb, timestamptz) IS
    'Returns the events of a message';
COMMENT ON FUNCTION msgstore._provider_status(text, text) IS
    'Returns the status that a word stands for with this provider, else the word';
COMMENT ON FUNCTION msgstore._map_status(msgstore.provider_rules, msgstore.sources, msgstore.providers, jsonb, jsonb) IS
    'Returns the arguments of record_status() for a status';
COMMENT ON FUNCTION msgstore._map_document(msgstore.sources, msgstore.providers, jsonb, timestamptz) IS
    'Returns the messages, statuses and ignored items of a decoded body; of a message also its files';
COMMENT ON FUNCTION msgstore._choose_rule(msgstore.provider_rules[], text, text, jsonb, jsonb) IS
    'Returns the first rule that takes an item; null if there is none';
COMMENT ON FUNCTION msgstore.test_source(text, jsonb, bytea, text) IS
    'Returns what a webhook would become, without verifying or storing anything: for each item its kind (message, status or ignored; mail for a whole e-mail, which only the gateway decodes), channel, provider message id, the status, the payload of ingest_batch() or detail of record_status(), and the problem for which it would be refused. Raises MS400 for a body that cannot be decoded, MS404 if there is no such source, MS409 if several tenants have one';
