-- sources: the files of messages that were received.

-- EXTERNAL: most files are compressed already, and a part is read without the rest.
CREATE TABLE msgstore.attachments (
    tenant_id text COLLATE "C" NOT NULL,
    id uuid NOT NULL,
    message_id uuid NOT NULL,
    position int NOT NULL,
    kind text COLLATE "C" NOT NULL,
    name text,
    media_type text,
    content_id text,
    size_bytes bigint,
    url text,
    sha256 bytea,
    content bytea,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    source text COLLATE "C",
    next_fetch_at timestamptz,
    fetch_attempts int NOT NULL DEFAULT 0,
    fetch_error text,
    url_found boolean NOT NULL DEFAULT false,
    CONSTRAINT attachments_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT attachments_position_key UNIQUE (tenant_id, message_id, position),
    CONSTRAINT attachments_kind CHECK (kind IN ('attachment', 'inline', 'html', 'text')),
    CONSTRAINT attachments_size CHECK (size_bytes >= 0),
    CONSTRAINT attachments_content_size CHECK (octet_length(content) = size_bytes),
    CONSTRAINT attachments_sha256_length CHECK (octet_length(sha256) = 32),
    CONSTRAINT attachments_fetch CHECK (next_fetch_at IS NULL OR content IS NULL)
);

-- Only files that wait to be fetched, or could not be: few.
CREATE INDEX attachments_next_fetch_at_idx
    ON msgstore.attachments (next_fetch_at) WHERE next_fetch_at IS NOT NULL;
CREATE INDEX attachments_fetching_idx
    ON msgstore.attachments (id) WHERE next_fetch_at IS NOT NULL;
CREATE INDEX attachments_fetch_error_idx
    ON msgstore.attachments (tenant_id, source) WHERE fetch_error IS NOT NULL;

ALTER TABLE msgstore.attachments ALTER COLUMN content SET STORAGE EXTERNAL;

SELECT pg_catalog.pg_extension_config_dump('msgstore.attachments', '');

-- Derived from the message, so that a webhook that is delivered again has the same
-- ids, and is not taken for one with other content.
CREATE FUNCTION msgstore._attachment_id(
    source msgstore.sources, provider_message_id text, number int)
    RETURNS uuid
    LANGUAGE sql IMMUTABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT encode(set_byte(set_byte(h.bytes, 6, 128 | (get_byte(h.bytes, 6) & 15)),
                           8, 128 | (get_byte(h.bytes, 8) & 63)), 'hex')::uuid
    FROM (SELECT substr(sha256(convert_to(
              jsonb_build_array((source).tenant_id, (source).name,
                                provider_message_id, number)::text, 'UTF8')), 1, 16)
         ) AS h (bytes)
    $$;

CREATE FUNCTION msgstore._decode_base64(encoded text) RETURNS bytea
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    RETURN decode(encoded, 'base64');
EXCEPTION
    WHEN data_exception THEN
        RETURN NULL;
END
$$;

-- The bytes of a file, if they came with the webhook: at an offset of the body or of
-- the parts of an e-mail, in base64, or as text.
CREATE FUNCTION msgstore._file_content(file jsonb, bytes bytea, most bigint)
    RETURNS bytea
    LANGUAGE sql IMMUTABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT CASE WHEN octet_length(c.content) <= most THEN c.content END
    FROM (SELECT CASE
        WHEN file ? 'offset' THEN
            CASE WHEN (file ->> 'size')::bigint <= most THEN
                substring(bytes FROM (file ->> 'offset')::int + 1
                          FOR (file ->> 'size')::int) END
        WHEN file ? 'base64' THEN msgstore._decode_base64(file ->> 'base64')
        WHEN file ? 'text' THEN convert_to(file ->> 'text', 'UTF8')
    END) AS c (content)
    $$;

-- files: as _map_message() returns them. bytes: what their offsets refer to.
CREATE FUNCTION msgstore._store_files(
    source msgstore.sources, message_id uuid, files jsonb, bytes bytea)
    RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    INSERT INTO msgstore.attachments
        (tenant_id, id, message_id, position, kind, name, media_type, content_id,
         size_bytes, url, sha256, content, source, next_fetch_at)
    SELECT (source).tenant_id, (f.file ->> 'attachment_id')::uuid, $2,
           f.n::int, f.file ->> 'kind', f.file ->> 'name', f.file ->> 'type',
           f.file ->> 'id',
           CASE WHEN c.content IS NOT NULL THEN octet_length(c.content)
                WHEN f.file ->> 'size' ~ '^[0-9]{1,15}$' THEN (f.file ->> 'size')::bigint
           END,
           f.file ->> 'url', sha256(c.content), c.content, (source).name,
           CASE WHEN f.file ? 'fetch' THEN clock_timestamp() END
    FROM jsonb_array_elements(files) WITH ORDINALITY AS f (file, n)
    CROSS JOIN LATERAL (
        SELECT msgstore._file_content(f.file, bytes, (source).max_attachment_bytes)
    ) AS c (content)
    ON CONFLICT DO NOTHING;
    IF files @> '[{"fetch": true}]' THEN
        PERFORM msgstore._wake_senders();
    END IF;
END
$$;

-- What a browser shows in place must not be able to run anything.
CREATE FUNCTION msgstore._is_shown_safely(media_type text) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL UNSAFE
    RETURN media_type IN ('image/png', 'image/jpeg', 'image/gif', 'image/webp');

-- RFC 6266: the name for old programs in ASCII, then in UTF-8.
CREATE FUNCTION msgstore._content_disposition(kind text, name text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT kind || coalesce(
        '; filename="' || regexp_replace(n.name, '[^A-Za-z0-9._ ()-]', '_', 'g') || '"'
        || CASE WHEN n.name ~ '[^A-Za-z0-9._ ()-]' THEN
            '; filename*=UTF-8''''' || (
                SELECT string_agg(CASE WHEN b.byte = ANY ('{45,46,95}')
                                            OR b.byte BETWEEN 48 AND 57
                                            OR b.byte BETWEEN 65 AND 90
                                            OR b.byte BETWEEN 97 AND 122
                                       THEN chr(b.byte)
                                       ELSE '%' || upper(lpad(to_hex(b.byte), 2, '0')) END,
                                  '' ORDER BY b.i)
                FROM (SELECT i, get_byte(convert_to(n.name, 'UTF8'), i) AS byte
                      FROM generate_series(0, octet_length(convert_to(n.name, 'UTF8')) - 1) i) b)
            ELSE '' END, '')
    FROM (SELECT nullif(left(regexp_replace(name, '^.*[/\\]', ''), 150), '')) AS n (name)
    $$;

-- media_type and disposition are those to serve it with: a type that could run in a
-- browser is not told, and only images are shown in place.
CREATE FUNCTION msgstore.get_attachment(
    id uuid,
    OUT message_id uuid,
    OUT kind text,
    OUT name text,
    OUT media_type text,
    OUT disposition text,
    OUT size_bytes bigint,
    OUT url text,
    OUT content bytea,
    OUT problem text)
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
DECLARE
    scope CONSTANT text := msgstore._tenant_scope();
    tenant text := scope;
    given text;
BEGIN
    IF scope = '' THEN
        SELECT min(a.tenant_id) INTO tenant FROM msgstore.attachments a;
    END IF;
    LOOP
        SELECT a.message_id, a.kind, a.name,
               lower(btrim(split_part(a.media_type, ';', 1))), a.size_bytes, a.url,
               a.content,
               CASE
                   WHEN a.content IS NOT NULL THEN NULL
                   WHEN a.fetch_error IS NOT NULL THEN format('It could not be fetched%s: %s.',
                       CASE WHEN a.next_fetch_at IS NOT NULL THEN ' yet' END, a.fetch_error)
                   WHEN a.next_fetch_at IS NOT NULL THEN 'It has not been fetched yet.'
                   WHEN a.url IS NOT NULL THEN 'The provider has it at its URL.'
                   ELSE 'It was larger than the source allows.'
               END
        INTO get_attachment.message_id, get_attachment.kind, get_attachment.name,
             given, get_attachment.size_bytes, get_attachment.url,
             get_attachment.content, get_attachment.problem
        FROM msgstore.attachments a
        WHERE a.tenant_id = tenant AND a.id = get_attachment.id;
        EXIT WHEN FOUND;
        IF scope = '' THEN
            SELECT min(a.tenant_id) INTO tenant FROM msgstore.attachments a
            WHERE a.tenant_id > tenant;
        END IF;
        IF scope <> '' OR tenant IS NULL THEN
            RAISE EXCEPTION 'attachment "%" does not exist', get_attachment.id
                USING ERRCODE = 'MS404';
        END IF;
    END LOOP;
    media_type := CASE
        WHEN msgstore._is_shown_safely(given)
            OR given ~ '^(audio|video)/[a-z0-9.+-]{1,60}$'
            OR given IN ('application/pdf', 'text/plain', 'text/csv') THEN given
        ELSE 'application/octet-stream'
    END;
    disposition := msgstore._content_disposition(
        CASE WHEN msgstore._is_shown_safely(given) THEN 'inline' ELSE 'attachment' END,
        get_attachment.name);
END
$$;

REVOKE ALL ON FUNCTION msgstore._attachment_id(msgstore.sources, text, int) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._decode_base64(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._file_content(jsonb, bytea, bigint) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._store_files(msgstore.sources, uuid, jsonb, bytea) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._is_shown_safely(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._content_disposition(text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.get_attachment(uuid) FROM PUBLIC;

COMMENT ON TABLE msgstore.attachments IS
    'Files of messages that sources received: their content, or a URL of the provider. Removed with the event of the message';
COMMENT ON COLUMN msgstore.attachments.tenant_id IS
    'Tenant that owns the message';
COMMENT ON COLUMN msgstore.attachments.id IS
    'Id of the attachment, derived from the message and its position';
COMMENT ON COLUMN msgstore.attachments.message_id IS
    'Id of the message and its event';
COMMENT ON COLUMN msgstore.attachments.position IS
    'Place in the message, from 1';
COMMENT ON COLUMN msgstore.attachments.kind IS
    'attachment; inline, for a file that the HTML of the message shows; html, for that HTML; text, for a text that is too long for the payload';
COMMENT ON COLUMN msgstore.attachments.name IS
    'File name as the sender gave it; null if there is none';
COMMENT ON COLUMN msgstore.attachments.media_type IS
    'Media type as the sender gave it; null if unknown';
COMMENT ON COLUMN msgstore.attachments.content_id IS
    'Content-ID with which the HTML refers to it, or the provider''s id; null if there is none';
COMMENT ON COLUMN msgstore.attachments.size_bytes IS
    'Size in bytes; null if unknown';
COMMENT ON COLUMN msgstore.attachments.url IS
    'URL at which the provider has it; null if it came with the webhook';
COMMENT ON COLUMN msgstore.attachments.sha256 IS
    'SHA-256 digest of the content; null without content';
COMMENT ON COLUMN msgstore.attachments.content IS
    'The file; null if it was larger than sources.max_attachment_bytes, is at a URL, or has not been fetched';
COMMENT ON COLUMN msgstore.attachments.created_at IS
    'Time of arrival';
COMMENT ON COLUMN msgstore.attachments.source IS
    'Source that received it';
COMMENT ON COLUMN msgstore.attachments.next_fetch_at IS
    'Time at which msgstore-sender fetches it from the provider; null if it does not';
COMMENT ON COLUMN msgstore.attachments.fetch_attempts IS
    'Number of attempts to fetch it';
COMMENT ON COLUMN msgstore.attachments.fetch_error IS
    'Why the last attempt failed; null after a success, and before the first attempt';
COMMENT ON COLUMN msgstore.attachments.url_found IS
    'Whether the URL was looked up by content_id, so that it may expire';
COMMENT ON FUNCTION msgstore._attachment_id(msgstore.sources, text, int) IS
    'Returns the id of an attachment (UUID version 8)';
COMMENT ON FUNCTION msgstore._decode_base64(text) IS
    'Decodes base64; null if it is invalid';
COMMENT ON FUNCTION msgstore._file_content(jsonb, bytea, bigint) IS
    'Returns the content of a file of a webhook; null if it has none, or more bytes than the limit';
COMMENT ON FUNCTION msgstore._store_files(msgstore.sources, uuid, jsonb, bytea) IS
    'Stores the files of a message';
COMMENT ON FUNCTION msgstore._is_shown_safely(text) IS
    'Returns whether a browser can show this media type in place without running anything';
COMMENT ON FUNCTION msgstore._content_disposition(text, text) IS
    'Returns the header Content-Disposition for a file of this name';
COMMENT ON FUNCTION msgstore.get_attachment(uuid) IS
    'Returns an attachment with its content, and the media type and disposition with which it can be served safely. content is null if it was too large to be kept, is at a URL, or has not been fetched; problem says which. Raises MS404 if there is no such attachment';

-- The router of a cluster has another one: its sources have no attachments there.
CREATE FUNCTION msgstore._media_failed(tenant text, source text) RETURNS bigint
    LANGUAGE sql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT count(*) FROM msgstore.attachments a
    WHERE a.tenant_id = tenant AND a.source = _media_failed.source AND a.fetch_error IS NOT NULL
    $$;

REVOKE ALL ON FUNCTION msgstore._media_failed(text, text) FROM PUBLIC;

COMMENT ON FUNCTION msgstore._media_failed(text, text) IS
    'Returns the number of files of a source that could not be fetched';
