-- sender: requests from templates.

-- Each byte but letters, digits and -._~ becomes %XX.
CREATE FUNCTION msgstore._url_encode(value text) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT coalesce(string_agg(
        CASE WHEN b.byte BETWEEN 48 AND 57 OR b.byte BETWEEN 65 AND 90
                  OR b.byte BETWEEN 97 AND 122 OR b.byte IN (45, 46, 95, 126)
             THEN chr(b.byte) ELSE '%' || upper(lpad(to_hex(b.byte), 2, '0')) END,
        '' ORDER BY b.n), '')
    FROM (SELECT n, get_byte(convert_to(value, 'UTF8'), n) AS byte
          FROM generate_series(0, octet_length(convert_to(value, 'UTF8')) - 1) n) b
    $$;

-- Replaces {name} and {name.member}. Returns null if a value is missing.
CREATE FUNCTION msgstore._fill_text(template text, filling jsonb, encoded boolean DEFAULT false)
    RETURNS text
    LANGUAGE plpgsql IMMUTABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    filled text := '';
    rest text := template;
    name text;
    value text;
BEGIN
    LOOP
        name := substring(rest FROM '\{([a-z_]+(?:\.[a-z0-9_]+)*)\}');
        EXIT WHEN name IS NULL;
        value := filling #>> string_to_array(name, '.');
        IF value IS NULL THEN
            RETURN NULL;
        END IF;
        IF encoded AND name <> 'base' THEN
            value := msgstore._url_encode(value);
        END IF;
        filled := filled || split_part(rest, '{' || name || '}', 1) || value;
        rest := substr(rest, strpos(rest, '{' || name || '}') + length(name) + 2);
    END LOOP;
    RETURN filled || rest;
END
$$;

-- A text that is one placeholder becomes its value, whatever its type. What has no
-- value is left out, and with it an object or array of which nothing remains. The
-- object {"each": name, "item": template} becomes an array.
CREATE FUNCTION msgstore._fill(template jsonb, filling jsonb) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    filled jsonb;
    name text;
BEGIN
    CASE jsonb_typeof(template)
        WHEN 'string' THEN
            name := substring(template #>> '{}' FROM '^\{([a-z_]+(?:\.[a-z0-9_]+)*)\}$');
            IF name IS NOT NULL THEN
                RETURN nullif(filling #> string_to_array(name, '.'), 'null');
            END IF;
            RETURN to_jsonb(msgstore._fill_text(template #>> '{}', filling));
        WHEN 'array' THEN
            SELECT jsonb_agg(f.value ORDER BY f.n) INTO filled
            FROM (SELECT e.n, msgstore._fill(e.value, filling) AS value
                  FROM jsonb_array_elements(template) WITH ORDINALITY AS e (value, n)) f
            WHERE f.value IS NOT NULL;
            RETURN filled;
        WHEN 'object' THEN
            IF template ?& '{each,item}' THEN
                SELECT jsonb_agg(msgstore._fill(template -> 'item',
                                                filling || jsonb_build_object('item', e.value))
                                 ORDER BY e.n) INTO filled
                FROM jsonb_array_elements(nullif(filling -> (template ->> 'each'), 'null'))
                     WITH ORDINALITY AS e (value, n);
                RETURN filled;
            END IF;
            SELECT jsonb_object_agg(f.key, f.value) INTO filled
            FROM (SELECT msgstore._fill_text(e.key, filling) AS key,
                         msgstore._fill(e.value, filling) AS value
                  FROM jsonb_each(template) e) f
            WHERE f.key IS NOT NULL AND f.value IS NOT NULL;
            RETURN filled;
        ELSE
            RETURN template;
    END CASE;
END
$$;

-- An array becomes a field for each of its elements.
CREATE FUNCTION msgstore._form_of(body jsonb) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT coalesce(string_agg(msgstore._url_encode(f.key) || '=' || msgstore._url_encode(v.value),
                               '&' ORDER BY f.key COLLATE "C", v.n), '')
    FROM jsonb_each(body) f
    CROSS JOIN LATERAL jsonb_array_elements_text(
        CASE jsonb_typeof(f.value) WHEN 'array' THEN f.value
             ELSE jsonb_build_array(f.value) END) WITH ORDINALITY AS v (value, n)
    $$;

-- A string or an array of strings as an array; null without any.
CREATE FUNCTION msgstore._list_of(value jsonb) RETURNS jsonb
    LANGUAGE sql IMMUTABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT jsonb_agg(v.value ORDER BY v.n)
    FROM jsonb_array_elements(CASE jsonb_typeof(value) WHEN 'array' THEN value
                              ELSE jsonb_build_array(value) END) WITH ORDINALITY AS v (value, n)
    WHERE jsonb_typeof(v.value) = 'string' AND v.value #>> '{}' ~ '[^[:space:]]'
    $$;

-- "Name <address>" as {"email", "name"}.
CREATE FUNCTION msgstore._party_of(address text) RETURNS jsonb
    LANGUAGE sql IMMUTABLE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT jsonb_strip_nulls(jsonb_build_object(
        'email', coalesce(substring(address FROM '<([^<>]+)>'), btrim(address)),
        'name', nullif(btrim(substring(address FROM '^([^<]*)<'), E' "\t'), '')))
    $$;

CREATE FUNCTION msgstore._parties_of(addresses jsonb) RETURNS jsonb
    LANGUAGE sql IMMUTABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT jsonb_agg(msgstore._party_of(a.value) ORDER BY a.n)
    FROM jsonb_array_elements_text(addresses) WITH ORDINALITY AS a (value, n)
    $$;

-- What kind of message carries the file, by the end of its URL.
CREATE FUNCTION msgstore._media_kind(url text) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT CASE
        WHEN e.extension IN ('jpg', 'jpeg', 'png', 'gif', 'webp') THEN 'image'
        WHEN e.extension IN ('mp4', '3gp', 'mov') THEN 'video'
        WHEN e.extension IN ('mp3', 'm4a', 'aac', 'amr', 'ogg', 'opus') THEN 'audio'
        ELSE 'document' END
    FROM (SELECT lower(substring(split_part(split_part(url, '?', 1), '#', 1)
                                 FROM '\.([A-Za-z0-9]+)$')) AS extension) e
    $$;

-- An id with angle brackets, as mail headers have it.
CREATE FUNCTION msgstore._bracketed(id text) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL UNSAFE
    RETURN CASE WHEN id ~ '<' THEN id ELSE '<' || btrim(id) || '>' END;

-- The files of an e-mail: those in the payload, then attachments that are stored here.
-- Content is in base64 without line breaks; without it there is a problem. Header is that
-- of a mail. A request with more bytes would exceed the size of a jsonb, and the error would
-- end the claim of all messages.
CREATE FUNCTION msgstore._mail_files(message msgstore.messages, payload jsonb)
    RETURNS jsonb
    LANGUAGE sql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT jsonb_agg(jsonb_strip_nulls(jsonb_build_object(
        'name', n.name,
        'type', coalesce(substring(lower(f.type) FROM '^[a-z0-9.+-]{1,60}/[a-z0-9.+-]{1,60}'),
                         'application/octet-stream'),
        'content', CASE WHEN f.bytes <= 100000000
                        THEN replace(encode(f.content, 'base64'), E'\n', '') END,
        'problem', CASE WHEN f.content IS NULL
                        THEN format('attachment "%s" has no content here', f.path)
                        WHEN f.bytes > 100000000
                        THEN 'the attachments have more than 100 MB in all' END,
        -- Of two names, readers of mail take the first.
        'header', 'Content-Disposition: ' || regexp_replace(
            msgstore._content_disposition('attachment', n.name), 'filename="[^"]*"; (?=filename[*])', '')))
        ORDER BY f.kind, f.n)
    FROM (SELECT e.*, sum(octet_length(e.content)) OVER () AS bytes FROM (
        SELECT 1 AS kind, e.n, format('files[%s]', e.n - 1) AS path, e.value ->> 'name' AS name,
               e.value ->> 'type' AS type,
               msgstore._decode_base64(e.value ->> 'content') AS content
        FROM jsonb_array_elements(CASE jsonb_typeof(payload -> 'files')
                                  WHEN 'array' THEN payload -> 'files' ELSE '[]' END)
             WITH ORDINALITY AS e (value, n)
        UNION ALL
        SELECT 2, e.n, e.value, a.name, a.media_type, a.content
        FROM jsonb_array_elements_text(msgstore._list_of(message.attachments))
             WITH ORDINALITY AS e (value, n)
        LEFT JOIN msgstore.attachments a
            ON a.tenant_id = message.tenant_id
            AND a.id = substring(e.value FROM '^/api/attachments/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})$')::uuid
        WHERE e.value ~ '^/api/attachments/') e) f
    CROSS JOIN LATERAL (
        SELECT coalesce(nullif(regexp_replace(regexp_replace(f.name, '^.*[/\\]', ''),
                                              '[[:cntrl:]"]', '', 'g'), ''), 'file')) AS n (name)
    $$;

-- Values of e-mail. A body with tags is HTML, and its text is made of it.
CREATE FUNCTION msgstore._mail_values(
    message msgstore.messages, payload jsonb, sender text, recipient text)
    RETURNS jsonb
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    is_html CONSTANT boolean := payload ->> 'html' IS NULL
        AND message.body ~ '</?[A-Za-z][A-Za-z0-9]*([[:space:]][^<>]*)?/?>';
    html CONSTANT text := nullif(coalesce(payload ->> 'html',
                                          CASE WHEN is_html THEN message.body END), '');
    plain CONSTANT text := nullif(CASE WHEN is_html THEN msgstore._html_to_text(message.body)
                                       ELSE message.body END, '');
    parent CONSTANT text := msgstore._bracketed(nullif(btrim(payload ->> 'in_reply_to'), ''));
    refs CONSTANT text := coalesce(
        (SELECT string_agg(msgstore._bracketed(r.value), ' ' ORDER BY r.n)
         FROM jsonb_array_elements_text(msgstore._list_of(payload -> 'references'))
              WITH ORDINALITY AS r (value, n)), parent);
    copies CONSTANT jsonb := msgstore._list_of(payload -> 'cc');
    blind CONSTANT jsonb := msgstore._list_of(payload -> 'bcc');
    files CONSTANT jsonb := msgstore._mail_files(message, payload);
BEGIN
    RETURN jsonb_build_object(
        'files', files,
        'problem', (
            SELECT f.value ->> 'problem' FROM jsonb_array_elements(files) f
            WHERE f.value ? 'problem' LIMIT 1),
        'html', html, 'text', plain,
        'contents', (
            SELECT jsonb_agg(jsonb_build_object('type', c.type, 'value', c.value) ORDER BY c.n)
            FROM (VALUES (1, 'text/plain', plain), (2, 'text/html', html)) AS c (n, type, value)
            WHERE c.value IS NOT NULL),
        'subject_line', coalesce(nullif(message.subject, ''), '(no subject)'),
        'cc', copies, 'bcc', blind,
        'cc_list', (SELECT string_agg(a, ', ') FROM jsonb_array_elements_text(copies) a),
        'bcc_list', (SELECT string_agg(a, ', ') FROM jsonb_array_elements_text(blind) a),
        'cc_parties', msgstore._parties_of(copies),
        'bcc_parties', msgstore._parties_of(blind),
        'from_party', msgstore._party_of(sender),
        'to_parties', jsonb_build_array(msgstore._party_of(recipient)),
        'reply_to', nullif(btrim(payload ->> 'reply_to'), ''),
        'reply_to_party', msgstore._party_of(nullif(btrim(payload ->> 'reply_to'), '')),
        'in_reply_to', parent, 'references', refs,
        'thread_headers', (
            SELECT jsonb_agg(jsonb_build_object('name', h.name, 'value', h.value) ORDER BY h.name)
            FROM (VALUES ('In-Reply-To', parent), ('References', refs)) AS h (name, value)
            WHERE h.value IS NOT NULL));
END
$$;

-- What the placeholders of a template can name.
CREATE FUNCTION msgstore._message_values(
    message msgstore.messages,
    payload jsonb,
    account msgstore.accounts,
    api msgstore.provider_apis)
    RETURNS jsonb
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    kind CONSTANT text := (SELECT c.address_kind FROM msgstore.channels c
                           WHERE c.name = message.channel);
    sender text := coalesce(message.from_given, message."from");
    recipient text := coalesce(message.to_given, message."to");
    media CONSTANT jsonb := msgstore._list_of(message.attachments);
    filling jsonb;
BEGIN
    payload := coalesce(payload, '{}');
    -- A provider wants numbers as normalized; names of senders as they were given.
    IF kind = 'phone' THEN
        sender := CASE WHEN message."from" ~ '^\+?[0-9]+$' THEN message."from" ELSE sender END;
        recipient := CASE WHEN message."to" ~ '^\+?[0-9]+$' THEN message."to" ELSE recipient END;
    END IF;
    filling := jsonb_build_object(
        'base', coalesce(account.base_url, api.base_url),
        'options', api.defaults || account.options,
        'message_id', message.id, 'channel', message.channel,
        'from', sender, 'to', recipient,
        'from_digits', ltrim(sender, '+'), 'to_digits', ltrim(recipient, '+'),
        'body', nullif(message.body, ''), 'subject', nullif(message.subject, ''),
        'media', media, 'media_kind', msgstore._media_kind(media ->> 0),
        'payload', payload,
        'callback_url', (
            SELECT s.public_url || CASE WHEN strpos(s.public_url, '?') > 0 THEN '&' ELSE '?' END
                   || 'message_id=' || message.id
            FROM msgstore.sources s
            WHERE s.tenant_id = account.tenant_id AND s.name = account.source));
    IF kind = 'email' THEN
        filling := filling || msgstore._mail_values(message, payload, sender, recipient);
    END IF;
    -- A value that is missing does not exist for a condition either.
    RETURN (SELECT jsonb_object_agg(v.key, v.value) FROM jsonb_each(filling) v
            WHERE v.value <> 'null');
END
$$;

-- Returns {"url", "method", "headers", "body"}, or {"problem"}. The program makes
-- multipart/form-data of JSON.
CREATE FUNCTION msgstore._http_request(
    account msgstore.accounts, api msgstore.provider_apis, filling jsonb)
    RETURNS jsonb
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    used msgstore.provider_requests;
    url text;
    body jsonb;
    headers text;
BEGIN
    SELECT r.* INTO used FROM msgstore._request_rows(account.provider) r
    WHERE r.condition IS NULL OR jsonb_path_match(filling, r.condition, silent => true)
    ORDER BY r.position LIMIT 1;
    url := msgstore._fill_text(used.url, filling, true);
    body := coalesce(msgstore._fill(used.body, filling), '{}');
    SELECT string_agg(h.line, E'\n') INTO headers
    FROM (
        SELECT 'Content-Type: ' || CASE used.content
                   WHEN 'form' THEN 'application/x-www-form-urlencoded'
                   WHEN 'json' THEN 'application/json' END AS line
        UNION ALL
        SELECT api.idempotency_header || ': ' || (filling ->> 'message_id')
        UNION ALL
        SELECT e.key || ': ' || msgstore._fill_text(e.value, filling)
        FROM jsonb_each_text(used.headers) e) h
    WHERE h.line IS NOT NULL AND h.line !~ '[\r\n]';
    IF url IS NULL THEN
        RETURN jsonb_build_object('problem', format(
            'provider "%s" has no request for the message, or an option of account "%s" is missing',
            account.provider, account.name));
    END IF;
    RETURN jsonb_build_object(
        'url', url, 'headers', headers,
        'method', CASE used.content WHEN 'multipart' THEN 'MULTIPART' ELSE used.method END,
        'body', CASE used.content WHEN 'form' THEN msgstore._form_of(body) ELSE body::text END);
END
$$;

-- A mail for libcurl. The Message-ID is that of every attempt, so that a mail server
-- that gets the message twice can know it.
CREATE FUNCTION msgstore._mail_request(
    account msgstore.accounts, api msgstore.provider_apis, filling jsonb)
    RETURNS jsonb
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    plain CONSTANT text := '^[^[:space:][:cntrl:]<>]+$';
    sender CONSTANT text := filling -> 'from_party' ->> 'email';
    recipients CONSTANT jsonb := (
        SELECT jsonb_agg(DISTINCT p -> 'email')
        FROM (VALUES (filling -> 'to_parties'), (filling -> 'cc_parties'),
                     (filling -> 'bcc_parties')) AS l (parties)
        CROSS JOIN LATERAL jsonb_array_elements(
            CASE jsonb_typeof(l.parties) WHEN 'array' THEN l.parties ELSE '[]' END) p);
    mail_id CONSTANT text := format('%s@%s', filling ->> 'message_id',
        coalesce(substring(sender FROM '@([A-Za-z0-9.-]+)$'), 'localhost'));
BEGIN
    -- They are arguments of SMTP commands: a line break would begin another command.
    IF sender IS NULL OR sender !~ '@' OR sender !~ plain THEN
        RETURN jsonb_build_object('problem', 'the message has no address of a sender');
    ELSIF EXISTS (SELECT FROM jsonb_array_elements_text(recipients) r WHERE r !~ plain) THEN
        RETURN jsonb_build_object('problem', 'the address of a recipient is invalid');
    END IF;
    RETURN jsonb_build_object(
        'url', filling ->> 'base', 'method', 'MAIL',
        'headers', NULL, 'mail_id', mail_id,
        'body', jsonb_build_object(
            'from', sender, 'to', recipients, 'text', filling -> 'text', 'html', filling -> 'html',
            'files', filling -> 'files',
            'headers', (
                SELECT jsonb_agg(to_jsonb(h.name || ': ' || h.value) ORDER BY h.n)
                FROM (VALUES
                    (1, 'From', msgstore._mail_address(filling -> 'from_party')),
                    (2, 'To', (SELECT string_agg(msgstore._mail_address(p), ', ')
                               FROM jsonb_array_elements(filling -> 'to_parties') p)),
                    (3, 'Cc', (SELECT string_agg(msgstore._mail_address(p), ', ')
                               FROM jsonb_array_elements(nullif(filling -> 'cc_parties', 'null')) p)),
                    (4, 'Reply-To', msgstore._mail_address(nullif(filling -> 'reply_to_party', 'null'))),
                    (5, 'Subject', msgstore._mail_words(filling ->> 'subject')),
                    (6, 'Message-ID', '<' || mail_id || '>'),
                    (7, 'In-Reply-To', filling ->> 'in_reply_to'),
                    (8, 'References', filling ->> 'references'),
                    (9, 'Date', msgstore._mail_date(clock_timestamp()))) AS h (n, name, value)
                WHERE h.value IS NOT NULL AND h.value !~ '[\r\n]'))::text);
END
$$;

-- RFC 5322 names days and months in English, whatever the locale of the server is.
CREATE FUNCTION msgstore._mail_date(at timestamptz) RETURNS text
    LANGUAGE sql STABLE STRICT PARALLEL UNSAFE
    RETURN to_char(at AT TIME ZONE 'UTC', 'Dy, DD Mon YYYY HH24:MI:SS') || ' +0000';

-- As words of RFC 2047 if it is not ASCII: at most 45 bytes in each, so that a word
-- has at most 75 characters, and whole characters.
CREATE FUNCTION msgstore._mail_words(value text) RETURNS text
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    clean CONSTANT text := regexp_replace(value, '[[:cntrl:][:space:]]+', ' ', 'g');
    words text[] := '{}';
    part text := '';
    letter text;
BEGIN
    IF clean ~ '^[ -~]*$' AND clean !~ '=\?' THEN
        RETURN clean;
    END IF;
    FOREACH letter IN ARRAY regexp_split_to_array(clean, '') LOOP
        IF octet_length(convert_to(part || letter, 'UTF8')) > 45 THEN
            words := words || part;
            part := '';
        END IF;
        part := part || letter;
    END LOOP;
    RETURN (SELECT string_agg('=?UTF-8?B?' || encode(convert_to(w.word, 'UTF8'), 'base64') || '?=', ' ' ORDER BY w.n)
            FROM unnest(words || part) WITH ORDINALITY AS w (word, n));
END
$$;

CREATE FUNCTION msgstore._mail_address(party jsonb) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT CASE
        WHEN party ->> 'name' IS NULL THEN party ->> 'email'
        WHEN party ->> 'name' ~ '^[ -~]*$' THEN
            '"' || regexp_replace(party ->> 'name', '(["\\])', '\\\1', 'g') || '" <' || (party ->> 'email') || '>'
        ELSE msgstore._mail_words(party ->> 'name') || ' <' || (party ->> 'email') || '>' END
    $$;

REVOKE ALL ON FUNCTION msgstore._url_encode(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._fill_text(text, jsonb, boolean) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._fill(jsonb, jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._form_of(jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._list_of(jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._party_of(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._parties_of(jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._media_kind(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._bracketed(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._mail_files(msgstore.messages, jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._mail_values(msgstore.messages, jsonb, text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._message_values(msgstore.messages, jsonb, msgstore.accounts, msgstore.provider_apis) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._http_request(msgstore.accounts, msgstore.provider_apis, jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._mail_request(msgstore.accounts, msgstore.provider_apis, jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._mail_date(timestamptz) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._mail_words(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._mail_address(jsonb) FROM PUBLIC;

COMMENT ON FUNCTION msgstore._url_encode(text) IS
    'Returns the text in percent-encoding';
COMMENT ON FUNCTION msgstore._fill_text(text, jsonb, boolean) IS
    'Returns the text with its placeholders replaced, percent-encoded if asked; null if a value is missing';
COMMENT ON FUNCTION msgstore._fill(jsonb, jsonb) IS
    'Returns the template with its placeholders replaced, without the members that have no value';
COMMENT ON FUNCTION msgstore._form_of(jsonb) IS
    'Returns an object as application/x-www-form-urlencoded';
COMMENT ON FUNCTION msgstore._list_of(jsonb) IS
    'Returns a string or an array of strings as an array of those that are not blank; null if there are none';
COMMENT ON FUNCTION msgstore._party_of(text) IS
    'Returns an e-mail address as an object of email and name';
COMMENT ON FUNCTION msgstore._parties_of(jsonb) IS
    'Returns e-mail addresses as objects of email and name';
COMMENT ON FUNCTION msgstore._media_kind(text) IS
    'Returns image, video, audio or document for the URL of a file';
COMMENT ON FUNCTION msgstore._bracketed(text) IS
    'Returns a message id in angle brackets';
COMMENT ON FUNCTION msgstore._mail_files(msgstore.messages, jsonb) IS
    'Returns the files of an e-mail as objects with name, type, header, and either content (base64) or problem';
COMMENT ON FUNCTION msgstore._mail_values(msgstore.messages, jsonb, text, text) IS
    'Returns the values of an e-mail for templates';
COMMENT ON FUNCTION msgstore._message_values(msgstore.messages, jsonb, msgstore.accounts, msgstore.provider_apis) IS
    'Returns the values of a message for templates';
COMMENT ON FUNCTION msgstore._http_request(msgstore.accounts, msgstore.provider_apis, jsonb) IS
    'Returns the request that sends a message by HTTP, or a problem';
COMMENT ON FUNCTION msgstore._mail_request(msgstore.accounts, msgstore.provider_apis, jsonb) IS
    'Returns the mail that sends a message by SMTP, or a problem';
COMMENT ON FUNCTION msgstore._mail_date(timestamptz) IS
    'Returns the time as in the header Date of a mail';
COMMENT ON FUNCTION msgstore._mail_words(text) IS
    'Returns the text as in a header of a mail';
COMMENT ON FUNCTION msgstore._mail_address(jsonb) IS
    'Returns an object of email and name as in a header of a mail';
