\echo Use "CREATE EXTENSION msgstore_router" to load this file. \quit

-- Nodes store names in UTF-8, and the slot of a tenant is a hash of its bytes.
DO $$
BEGIN
    IF pg_catalog.current_setting('server_encoding') <> 'UTF8' THEN
        RAISE EXCEPTION 'cannot create msgstore_router in a database with encoding "%"',
            pg_catalog.current_setting('server_encoding')
            USING ERRCODE = 'MS400',
                  DETAIL = 'The encoding of the database must be UTF8.';
    END IF;
END
$$;

-- channels: the rules of each kind of message. A new channel is a row.

CREATE TABLE msgstore.channels
(
    name text COLLATE "C" NOT NULL,
    address_kind text NOT NULL,
    thread text COLLATE "C" NOT NULL,
    provider_id_field text NOT NULL DEFAULT 'messaging_provider_id',
    types text[] COLLATE "C",
    body_required boolean NOT NULL DEFAULT false,
    attachments text NOT NULL DEFAULT 'optional',
    origin text NOT NULL DEFAULT 'added',
    strict_order boolean NOT NULL DEFAULT false,
    provider text COLLATE "C",
    plus_tags text NOT NULL DEFAULT 'strip',
    provider_id_fields text[] COLLATE "C" NOT NULL DEFAULT '{}',
    volatile_fields text[] COLLATE "C" NOT NULL DEFAULT '{}',
    stop_words text[] COLLATE "C" NOT NULL,
    start_words text[] COLLATE "C" NOT NULL,
    help_words text[] COLLATE "C" NOT NULL,
    CONSTRAINT channels_pkey PRIMARY KEY (name),
    CONSTRAINT channels_name_is_word
        CHECK (name ~ '^[a-z][a-z0-9_-]{0,62}$'),
    -- The gateway's paths of status callbacks and of sources.
    CONSTRAINT channels_name_not_reserved
        CHECK (name <> 'status' AND name NOT LIKE 'wh\_%'),
    -- No colon: the first colon of a conversation key ends the thread.
    CONSTRAINT channels_thread_is_word
        CHECK (thread ~ '^[a-z][a-z0-9_-]{0,62}$'),
    CONSTRAINT channels_address_kind_known
        CHECK (address_kind IN ('phone', 'email', 'opaque')),
    CONSTRAINT channels_provider_id_field_not_blank
        CHECK (provider_id_field ~ '[^[:space:]]'),
    CONSTRAINT channels_types_are_words
        -- Rejects nulls, a second dimension and quoted elements.
        CHECK (types::text
               ~ '^\{[a-z][a-z0-9_-]{0,62}(,[a-z][a-z0-9_-]{0,62})*\}$'),
    CONSTRAINT channels_attachments_known
        CHECK (attachments IN ('none', 'optional', 'required')),
    CONSTRAINT channels_origin_known
        CHECK (origin IN ('built-in', 'changed', 'added')),
    CONSTRAINT channels_provider_is_word
        CHECK (provider ~ '^[a-z][a-z0-9_-]{0,62}$'),
    CONSTRAINT channels_plus_tags_known
        CHECK (plus_tags IN ('strip', 'keep')),
    CONSTRAINT channels_provider_id_fields_named
        -- Rejects nulls, blank names and a second dimension.
        CHECK (cardinality(provider_id_fields) = 0
               OR array_ndims(provider_id_fields) = 1
                   AND cardinality(provider_id_fields) <= 16
                   AND (E'\n' || array_to_string(provider_id_fields, E'\n', '') || E'\n')
                       !~ '\n\s*\n'),
    CONSTRAINT channels_volatile_fields_named
        CHECK (cardinality(volatile_fields) = 0
               OR array_ndims(volatile_fields) = 1
                   AND cardinality(volatile_fields) <= 16
                   AND (E'\n' || array_to_string(volatile_fields, E'\n', '') || E'\n')
                       !~ '\n\s*\n'),
    -- Rejects nulls, a second dimension, and characters that are not compared.
    CONSTRAINT channels_stop_words_plain
        CHECK (stop_words::text ~ '^\{([^{}", [:punct:]A-Z]+(,[^{}", [:punct:]A-Z]+)*)?\}$'),
    CONSTRAINT channels_start_words_plain
        CHECK (start_words::text ~ '^\{([^{}", [:punct:]A-Z]+(,[^{}", [:punct:]A-Z]+)*)?\}$'),
    CONSTRAINT channels_help_words_plain
        CHECK (help_words::text ~ '^\{([^{}", [:punct:]A-Z]+(,[^{}", [:punct:]A-Z]+)*)?\}$')
);

-- Keywords that carriers demand of senders of text messages.
CREATE FUNCTION msgstore._default_words(
    address_kind text,
    OUT stop_words text[],
    OUT start_words text[],
    OUT help_words text[])
    LANGUAGE sql IMMUTABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT CASE address_kind WHEN 'phone' THEN
               '{stop,stopall,unsubscribe,cancel,end,quit,revoke,optout}'::text[] ELSE '{}' END,
           CASE address_kind WHEN 'phone' THEN '{start,unstop,yes}'::text[] ELSE '{}' END,
           CASE address_kind WHEN 'phone' THEN '{help,info}'::text[] ELSE '{}' END
    $$;

INSERT INTO msgstore.channels
    (name, address_kind, thread, provider_id_field,
     types, body_required, attachments, origin, provider, stop_words, start_words,
     help_words)
SELECT c.*, w.stop_words, w.start_words, w.help_words
FROM (VALUES
    ('sms', 'phone', 'sms', 'messaging_provider_id',
     '{sms,mms}'::text[], true, 'none', 'built-in', 'sms-mms'),
    ('mms', 'phone', 'mms', 'messaging_provider_id',
     '{mms}', false, 'required', 'built-in', 'sms-mms'),
    ('email', 'email', 'email', 'xillio_id',
     NULL, true, 'optional', 'built-in', 'email')) AS c (name, kind)
CROSS JOIN LATERAL msgstore._default_words(c.kind) w;

-- A dump omits the rows that CREATE EXTENSION inserts again.
SELECT pg_catalog.pg_extension_config_dump(
    'msgstore.channels', $$WHERE origin <> 'built-in'$$);

CREATE FUNCTION msgstore._complete_channel() RETURNS trigger
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    NEW.thread := coalesce(NEW.thread, NEW.name);
    SELECT coalesce(NEW.stop_words, w.stop_words), coalesce(NEW.start_words, w.start_words),
           coalesce(NEW.help_words, w.help_words)
    INTO NEW.stop_words, NEW.start_words, NEW.help_words
    FROM msgstore._default_words(NEW.address_kind) w;
    IF TG_OP = 'INSERT' THEN
        -- A dump contains the built-in channels that were changed. When it is
        -- restored, CREATE EXTENSION has just inserted their defaults.
        IF NEW.origin = 'changed' THEN
            DELETE FROM msgstore.channels AS c
            WHERE c.name = NEW.name AND c.origin = 'built-in';
        ELSIF NEW.origin = 'built-in' THEN
            -- A dump would omit it.
            NEW.origin := 'added';
        END IF;
        RETURN NEW;
    END IF;
    IF OLD.origin <> 'added' AND NEW.name <> OLD.name THEN
        RAISE EXCEPTION 'cannot rename built-in channel "%"', OLD.name
            USING ERRCODE = 'MS400',
                  DETAIL = 'A restored dump would contain the channel under its old name again.',
                  HINT = 'Insert a row for the new channel.';
    END IF;
    NEW.origin := CASE OLD.origin
                      WHEN 'built-in' THEN 'changed'
                      ELSE OLD.origin
                  END;
    RETURN NEW;
END
$$;

CREATE FUNCTION msgstore._keep_channel() RETURNS trigger
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        RAISE EXCEPTION 'cannot truncate table "msgstore.channels"'
            USING ERRCODE = 'MS400',
                  DETAIL = 'A restored dump would contain the built-in channels again.',
                  HINT = 'Delete the channels that were added.';
    END IF;
    -- Nested, this is the DELETE of _complete_channel.
    IF OLD.origin = 'added' OR pg_trigger_depth() > 1 THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'cannot delete built-in channel "%"', OLD.name
        USING ERRCODE = 'MS400',
              DETAIL = 'A restored dump would contain the channel again.';
END
$$;

CREATE FUNCTION msgstore._invalidate_channels() RETURNS trigger
LANGUAGE c VOLATILE
AS 'MODULE_PATHNAME', 'msgstore_invalidate_channels';

CREATE TRIGGER complete_channel
BEFORE INSERT OR UPDATE ON msgstore.channels
FOR EACH ROW EXECUTE FUNCTION msgstore._complete_channel();

CREATE TRIGGER keep_channel
BEFORE DELETE ON msgstore.channels
FOR EACH ROW EXECUTE FUNCTION msgstore._keep_channel();

CREATE TRIGGER keep_channels
BEFORE TRUNCATE ON msgstore.channels
FOR EACH STATEMENT EXECUTE FUNCTION msgstore._keep_channel();

-- FOR EACH ROW: the apply worker of a subscription fires only row triggers.
CREATE TRIGGER invalidate_channels
AFTER INSERT OR UPDATE OR DELETE ON msgstore.channels
FOR EACH ROW EXECUTE FUNCTION msgstore._invalidate_channels();

-- ALWAYS: a restore with session_replication_role = replica needs them, too.
ALTER TABLE msgstore.channels ENABLE ALWAYS TRIGGER complete_channel;
ALTER TABLE msgstore.channels ENABLE ALWAYS TRIGGER keep_channel;
ALTER TABLE msgstore.channels ENABLE ALWAYS TRIGGER keep_channels;
ALTER TABLE msgstore.channels ENABLE ALWAYS TRIGGER invalidate_channels;

REVOKE ALL ON FUNCTION msgstore._default_words(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._complete_channel() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._keep_channel() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._invalidate_channels() FROM PUBLIC;

COMMENT ON TABLE msgstore.channels IS
'One row per channel. Insert a row to add a channel; every session sees a change as soon as it is committed. The built-in channels sms, mms and email can be changed but not deleted or renamed.';
COMMENT ON COLUMN msgstore.channels.name IS
'Name of the channel, as passed to ingest, send and the other functions';
COMMENT ON COLUMN msgstore.channels.address_kind IS
'How addresses are normalized: phone, email, or opaque (only trimmed)';
COMMENT ON COLUMN msgstore.channels.thread IS
'First part of the conversation keys. Channels with the same thread share conversations. Null becomes the name of the channel';
COMMENT ON COLUMN msgstore.channels.provider_id_field IS
'Payload field that holds the provider''s message id';
COMMENT ON COLUMN msgstore.channels.types IS
'Allowed values of the payload field "type", compared without regard to case. Each is the name of the channel that the event is stored under. If null, the field is ignored';
COMMENT ON COLUMN msgstore.channels.body_required IS
'Whether a message must have a non-blank body';
COMMENT ON COLUMN msgstore.channels.attachments IS
'Whether a message may or must have attachments: none, optional or required';
COMMENT ON COLUMN msgstore.channels.origin IS
'built-in, changed (a built-in channel that was updated) or added. Maintained by a trigger';
COMMENT ON COLUMN msgstore.channels.strict_order IS
'Whether later events of a conversation wait while an earlier one waits for a retry or is claimed by an external processor';
COMMENT ON COLUMN msgstore.channels.provider IS
'Provider that carries the outbound messages of the channel. If null, they are not sent';
COMMENT ON COLUMN msgstore.channels.plus_tags IS
'Whether the tag of an e-mail address (user+tag@example.com) is part of the identity of a participant: strip or keep';
COMMENT ON COLUMN msgstore.channels.provider_id_fields IS
'Further payload fields whose values identify an event beside the provider''s message id. from and to count as normalized addresses';
COMMENT ON COLUMN msgstore.channels.volatile_fields IS
'Payload fields that the provider changes when it delivers an event again. They are ignored when a duplicate is compared with the stored event';
COMMENT ON COLUMN msgstore.channels.stop_words IS
'Messages by which a recipient opts out, in lower case and without punctuation and white space; null becomes the default: that of phone numbers, or none';
COMMENT ON COLUMN msgstore.channels.start_words IS
'Messages by which a recipient opts in again, likewise';
COMMENT ON COLUMN msgstore.channels.help_words IS
'Messages by which a recipient asks for help, likewise';
COMMENT ON FUNCTION msgstore._default_words(text) IS
'Returns the keywords of a new channel.';
COMMENT ON FUNCTION msgstore._complete_channel() IS
'Trigger function that fills in thread, origin and keywords. Raises MS400 if a built-in channel is renamed.';
COMMENT ON FUNCTION msgstore._keep_channel() IS
'Trigger function that raises MS400 if a built-in channel is deleted or the table is truncated.';
COMMENT ON FUNCTION msgstore._invalidate_channels() IS
'Trigger function that makes every session read the channels again.';
-- address: normalized addresses, conversation keys and snippets.

CREATE FUNCTION msgstore.normalize_phone(address text) RETURNS text
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'msgstore_normalize_phone';

CREATE FUNCTION msgstore.normalize_email(address text) RETURNS text
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'msgstore_normalize_email';

CREATE FUNCTION msgstore.normalize_address(channel text, address text)
RETURNS text
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'msgstore_normalize_address';

CREATE FUNCTION msgstore._address_fault(channel text, address text)
RETURNS text
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'msgstore_address_fault';

CREATE FUNCTION msgstore.conversation_key(channel text, a text, b text)
RETURNS text
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'msgstore_conversation_key';

-- Not strict: the snippet of a message without a body is empty, not null.
CREATE FUNCTION msgstore.snippet(body text, max_length int DEFAULT 64)
RETURNS text
LANGUAGE c IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'msgstore_snippet';

REVOKE ALL ON FUNCTION msgstore._address_fault(text, text) FROM PUBLIC;

COMMENT ON FUNCTION msgstore.normalize_phone(text) IS
'Returns the digits of a phone number, with a leading + if it has one. Removes URI schemes (tel:, sms:, whatsapp:, ...), parameters and extensions, and converts the decimal digits of every script. An e-mail address is normalized as such; a sender name, and text that is not a single address, is only trimmed. Returns null for null.';
COMMENT ON FUNCTION msgstore.normalize_email(text) IS
'Returns the address without display name, comments, mailto: and plus-tag, in lower case (ASCII letters only) and with an internationalized domain in its ASCII form. Text that is not a single address is only trimmed, and lowered if it has no @. Returns null for null.';
COMMENT ON FUNCTION msgstore.normalize_address(text, text) IS
'Returns the address, normalized by the address_kind and plus_tags of the channel. Returns null for null. Raises MS400 if the channel does not exist.';
COMMENT ON FUNCTION msgstore._address_fault(text, text) IS
'Returns why ingest and send refuse the address on that channel, or null if it is a single address. Raises MS400 if the channel does not exist.';
COMMENT ON FUNCTION msgstore.conversation_key(text, text, text) IS
'Returns the key of the conversation between two addresses on a channel: the channel''s thread and the two normalized addresses in byte order, so the key is the same in both directions. Returns null for null. Raises MS400 if the channel does not exist.';
COMMENT ON FUNCTION msgstore.snippet(text, integer) IS
'Returns the first max_length user-perceived characters (grapheme clusters) of the body, after collapsing and trimming white space. Returns an empty string for a null or blank body, and uses 64 for a null max_length. Raises MS400 if max_length is negative.';
CREATE FUNCTION msgstore._tenant_scope() RETURNS text
    LANGUAGE c STABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'msgstore_tenant_scope';

CREATE FUNCTION msgstore._owner_scope() RETURNS text
    LANGUAGE c STABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'msgstore_owner_scope';

-- Reports a tenant that exists and one that does not in the same words.
CREATE FUNCTION msgstore._check_tenant(tenant text) RETURNS void
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF tenant IS NULL OR octet_length(tenant) > 255 THEN
        RAISE EXCEPTION 'invalid tenant name %',
            coalesce('"' || left(tenant, 64) || '"', 'null')
            USING ERRCODE = 'MS400',
                  DETAIL = 'A tenant name must not be null and must have at most 255 bytes; the empty string stands for no tenant.';
    END IF;
    IF msgstore._tenant_scope() NOT IN ('', tenant) THEN
        RAISE EXCEPTION 'permission denied for tenant "%"', left(tenant, 64)
            USING ERRCODE = 'MS403',
                  DETAIL = format('This session is limited to tenant "%s".', msgstore._tenant_scope());
    END IF;
END
$$;

CREATE FUNCTION msgstore._check_no_tenant(what text) RETURNS void
    LANGUAGE c STABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'msgstore_check_no_tenant';

-- The router of a cluster calls it before the function that it wants. A null would be
-- an error of the router: the call must not be made without a tenant then.
CREATE FUNCTION msgstore._enter(tenant text, owner text, actor text) RETURNS boolean
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'msgstore_enter';

CREATE FUNCTION msgstore._actor() RETURNS text
    LANGUAGE c STABLE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'msgstore_actor';

-- PUBLIC keeps EXECUTE on _tenant_scope() and _owner_scope(): policies call them
-- with the rights of the reader, and they return no more than SHOW does.
REVOKE ALL ON FUNCTION msgstore._check_tenant(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._check_no_tenant(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._enter(text, text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._actor() FROM PUBLIC;

COMMENT ON FUNCTION msgstore._tenant_scope() IS
    'Returns the tenant that this session works for (setting msgstore.tenant_id). Empty: new rows have no tenant, and the rows of all tenants are visible';
COMMENT ON FUNCTION msgstore._owner_scope() IS
    'Returns the owner whose responses are visible to this session (setting msgstore.owner). Empty: those of all owners, as with msgstore.admin';
COMMENT ON FUNCTION msgstore._check_tenant(text) IS
    'Raises MS400 for an invalid tenant name, MS403 for another tenant than the session''s';
COMMENT ON FUNCTION msgstore._enter(text, text, text) IS
    'For a router: sets the tenant, the owner and the caller of the router to the end of the transaction, and adds the column and the constraint of errors to their context, to the end of the statement. Needs SET on parameters msgstore.tenant_id and msgstore.owner';
COMMENT ON FUNCTION msgstore._actor() IS
    'Returns who has called: the role that logged in to this session (session_user), or to the router that calls';
COMMENT ON FUNCTION msgstore._check_no_tenant(text) IS
    'Raises MS403 in a session of a tenant; the argument, in the plural, says what the session cannot change';
-- sources: webhooks of providers, verified and mapped.

-- How a signature is made. Rows of an installation win over the built-in row of the
-- same name, so that a dump needs only the former; providers likewise.
CREATE TABLE msgstore.signature_schemes (
    name text COLLATE "C" NOT NULL,
    method text COLLATE "C" NOT NULL,
    find jsonb NOT NULL DEFAULT '{}',
    options jsonb NOT NULL DEFAULT '{}',
    reads_body boolean NOT NULL DEFAULT false,
    page text,
    page_date date,
    origin text COLLATE "C" NOT NULL DEFAULT 'custom',
    CONSTRAINT signature_schemes_pkey PRIMARY KEY (name, origin),
    CONSTRAINT signature_schemes_name CHECK (name ~ '^[a-z][a-z0-9_-]{0,62}$'),
    CONSTRAINT signature_schemes_method
        CHECK (method IN ('hmac', 'twilio', 'ecdsa', 'ed25519', 'jwt', 'sorted',
                          'basic', 'token', 'none')),
    CONSTRAINT signature_schemes_find CHECK (jsonb_typeof(find) = 'object'),
    CONSTRAINT signature_schemes_options CHECK (jsonb_typeof(options) = 'object'),
    CONSTRAINT signature_schemes_origin CHECK (origin IN ('built-in', 'custom'))
);

CREATE TABLE msgstore.providers (
    name text COLLATE "C" NOT NULL,
    scheme text COLLATE "C" NOT NULL,
    tolerance interval,
    methods text[] COLLATE "C" NOT NULL DEFAULT '{POST}',
    challenge boolean NOT NULL DEFAULT false,
    json_fields text[] COLLATE "C" NOT NULL DEFAULT '{}',
    numbered jsonb NOT NULL DEFAULT '{}',
    omitted text[] COLLATE "C" NOT NULL DEFAULT '{}',
    added_channels jsonb NOT NULL DEFAULT '{}',
    answers jsonb NOT NULL DEFAULT '{}',
    mail_field text COLLATE "C",
    max_body_bytes int,
    page text,
    page_date date,
    origin text COLLATE "C" NOT NULL DEFAULT 'custom',
    CONSTRAINT providers_pkey PRIMARY KEY (name, origin),
    CONSTRAINT providers_name CHECK (name ~ '^[a-z][a-z0-9_-]{0,62}$'),
    CONSTRAINT providers_tolerance CHECK (tolerance >= '0'),
    CONSTRAINT providers_methods CHECK (methods <@ '{GET,POST}'),
    CONSTRAINT providers_numbered CHECK (jsonb_typeof(numbered) = 'object'),
    CONSTRAINT providers_added_channels
        CHECK (jsonb_typeof(added_channels) = 'object'),
    CONSTRAINT providers_answers CHECK (jsonb_typeof(answers) = 'object'),
    CONSTRAINT providers_max_body_bytes CHECK (max_body_bytes > 0),
    CONSTRAINT providers_origin CHECK (origin IN ('built-in', 'custom'))
);

CREATE TABLE msgstore.provider_rules (
    provider text COLLATE "C" NOT NULL,
    position int NOT NULL,
    kind text COLLATE "C" NOT NULL,
    outer_path jsonpath NOT NULL DEFAULT '$',
    item_path jsonpath NOT NULL DEFAULT '$',
    condition jsonpath,
    channel text COLLATE "C",
    media_channel text COLLATE "C",
    recipients text COLLATE "C" NOT NULL DEFAULT 'first',
    fields jsonb NOT NULL DEFAULT '{}',
    origin text COLLATE "C" NOT NULL DEFAULT 'custom',
    CONSTRAINT provider_rules_pkey PRIMARY KEY (provider, position, origin),
    CONSTRAINT provider_rules_kind CHECK (kind IN ('message', 'status')),
    CONSTRAINT provider_rules_recipients
        CHECK (recipients IN ('first', 'each', 'own')),
    CONSTRAINT provider_rules_fields CHECK (jsonb_typeof(fields) = 'object'),
    CONSTRAINT provider_rules_origin CHECK (origin IN ('built-in', 'custom'))
);

CREATE TABLE msgstore.sources (
    tenant_id text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    provider text COLLATE "C" NOT NULL,
    path text COLLATE "C" NOT NULL,
    scheme text COLLATE "C",
    scheme_options jsonb NOT NULL DEFAULT '{}',
    public_url text COLLATE "C",
    tolerance interval,
    time_zone text NOT NULL DEFAULT 'UTC',
    own_addresses text[] COLLATE "C" NOT NULL DEFAULT '{}',
    max_attachments int NOT NULL DEFAULT 50,
    max_attachment_bytes int NOT NULL DEFAULT 31457280,
    max_body_bytes int,
    media_account text COLLATE "C",
    mapping jsonb,
    answers jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT sources_pkey PRIMARY KEY (tenant_id, name),
    CONSTRAINT sources_name CHECK (name ~ '^[a-z][a-z0-9_-]{0,62}$'),
    -- Twenty random bytes. Nothing else admits a provider that signs nothing.
    CONSTRAINT sources_path CHECK (path ~ '^wh_[0-9a-f]{40}$'),
    CONSTRAINT sources_scheme_options
        CHECK (jsonb_typeof(scheme_options) = 'object'),
    CONSTRAINT sources_public_url CHECK (public_url ~* '^https?://[^/?#[:space:]]+/[^#[:space:]]*$'),
    CONSTRAINT sources_tolerance CHECK (tolerance >= '0'),
    CONSTRAINT sources_max_attachments CHECK (max_attachments BETWEEN 0 AND 1000),
    CONSTRAINT sources_max_attachment_bytes CHECK (max_attachment_bytes >= 0),
    CONSTRAINT sources_max_body_bytes CHECK (max_body_bytes > 0),
    CONSTRAINT sources_mapping CHECK (jsonb_typeof(mapping) = 'array'),
    CONSTRAINT sources_answers CHECK (jsonb_typeof(answers) = 'object')
);

-- By a digest, so that the time of a search tells nothing about the path.
CREATE INDEX sources_path_idx
    ON msgstore.sources (sha256(decode(substr(path, 4), 'hex')));

-- No foreign key: parallel jobs of pg_restore load the tables in any order.
CREATE TABLE msgstore.source_secrets (
    tenant_id text COLLATE "C" NOT NULL,
    source text COLLATE "C" NOT NULL,
    id uuid NOT NULL,
    purpose text COLLATE "C" NOT NULL,
    secret text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    not_after timestamptz,
    CONSTRAINT source_secrets_pkey PRIMARY KEY (tenant_id, source, id),
    CONSTRAINT source_secrets_purpose CHECK (purpose IN ('signature', 'challenge')),
    CONSTRAINT source_secrets_secret
        CHECK (secret <> '' AND octet_length(secret) <= 4096)
);

-- Tokens that a request may use once, until their signature has expired.
CREATE TABLE msgstore.source_tokens (
    tenant_id text COLLATE "C" NOT NULL,
    source text COLLATE "C" NOT NULL,
    digest bytea NOT NULL,
    expires_at timestamptz NOT NULL,
    CONSTRAINT source_tokens_pkey PRIMARY KEY (tenant_id, source, digest),
    CONSTRAINT source_tokens_digest_length CHECK (octet_length(digest) = 32)
);

CREATE INDEX source_tokens_expires_at_idx
    ON msgstore.source_tokens (tenant_id, source, expires_at);

SELECT pg_catalog.pg_extension_config_dump(
    'msgstore.signature_schemes', $$WHERE origin = 'custom'$$);
SELECT pg_catalog.pg_extension_config_dump(
    'msgstore.providers', $$WHERE origin = 'custom'$$);
SELECT pg_catalog.pg_extension_config_dump(
    'msgstore.provider_rules', $$WHERE origin = 'custom'$$);
SELECT pg_catalog.pg_extension_config_dump('msgstore.sources', '');
SELECT pg_catalog.pg_extension_config_dump('msgstore.source_secrets', '');
SELECT pg_catalog.pg_extension_config_dump('msgstore.source_tokens', '');

COMMENT ON TABLE msgstore.signature_schemes IS
    'How webhooks are signed. Insert a row to add a scheme';
COMMENT ON COLUMN msgstore.signature_schemes.name IS
    'Name of the scheme, as in providers.scheme and create_source()';
COMMENT ON COLUMN msgstore.signature_schemes.method IS
    'hmac (of the body, or of a template with it), twilio, ecdsa (P-256 with SHA-256), ed25519, jwt (HS256), sorted (parameters of the Vonage SMS API), basic (Basic authentication), token (the secret itself) or none';
COMMENT ON COLUMN msgstore.signature_schemes.find IS
    'Where the request has the signature, timestamp, id, token: an object of jsonpath expressions with the variables $headers (names in lower case), $query and $body';
COMMENT ON COLUMN msgstore.signature_schemes.options IS
    'Options of the method: digest, encoding (hex or base64), prefix of the signature, list (pairs or versions), signed (template, such as {timestamp}.{body}), secret (how it is written: text, base64 or hex), curve';
COMMENT ON COLUMN msgstore.signature_schemes.reads_body IS
    'Whether the signature is in the body, so that the body is decoded before it is verified';
COMMENT ON COLUMN msgstore.signature_schemes.page IS
    'Page of the provider''s documentation';
COMMENT ON COLUMN msgstore.signature_schemes.page_date IS
    'Date on which the page was read; null if the scheme or fields come from the provider''s package or samples';
COMMENT ON COLUMN msgstore.signature_schemes.origin IS
    'built-in for rows of the extension, which dumps leave out; custom for rows of the installation, which are preferred';
COMMENT ON TABLE msgstore.providers IS
    'Providers of webhooks. Insert a row, and rows into provider_rules, to add one';
COMMENT ON COLUMN msgstore.providers.name IS
    'Name of the provider, as passed to create_source()';
COMMENT ON COLUMN msgstore.providers.scheme IS
    'How it signs webhooks: a name in signature_schemes';
COMMENT ON COLUMN msgstore.providers.tolerance IS
    'How far the timestamp of a signature may be from now; null if any time is accepted';
COMMENT ON COLUMN msgstore.providers.methods IS
    'HTTP methods that carry events: POST, or GET and POST';
COMMENT ON COLUMN msgstore.providers.challenge IS
    'Whether a GET with hub.challenge verifies the path';
COMMENT ON COLUMN msgstore.providers.json_fields IS
    'Form fields that hold JSON; they are decoded before the rules read them';
COMMENT ON COLUMN msgstore.providers.numbered IS
    'Arrays that the provider sends as numbered fields: {"media": {"url": "MediaUrl", "type": "MediaContentType"}} makes the array media of MediaUrl0, MediaContentType0 and so on';
COMMENT ON COLUMN msgstore.providers.omitted IS
    'Fields at the top level of an item that are not kept in the payload';
COMMENT ON COLUMN msgstore.providers.added_channels IS
    'Channels that create_source() adds if they do not exist: an object of name and address_kind';
COMMENT ON COLUMN msgstore.providers.answers IS
    'Answers to a webhook by outcome (accepted, refused, unverified): objects with status, type and body';
COMMENT ON COLUMN msgstore.providers.mail_field IS
    'Form field that holds a whole e-mail (MIME), which the gateway parses: the rules read it as an object';
COMMENT ON COLUMN msgstore.providers.max_body_bytes IS
    'Greatest size of a webhook in bytes; null for that of the gateway';
COMMENT ON COLUMN msgstore.providers.page IS
    'Page of the provider''s documentation';
COMMENT ON COLUMN msgstore.providers.page_date IS
    'Date on which the page was read; null if the scheme or fields come from the provider''s package or samples';
COMMENT ON COLUMN msgstore.providers.origin IS
    'built-in for rows of the extension, which dumps leave out; custom for rows of the installation, which are preferred';
COMMENT ON TABLE msgstore.provider_rules IS
    'How the body of a webhook is split into messages and statuses. The first rule of the same paths whose condition holds takes an item; an item without one is acknowledged and counted. If an installation has rules for a provider, they replace the built-in ones';
COMMENT ON COLUMN msgstore.provider_rules.provider IS
    'Name of the provider';
COMMENT ON COLUMN msgstore.provider_rules.position IS
    'Order of the rules of a provider';
COMMENT ON COLUMN msgstore.provider_rules.kind IS
    'message or status';
COMMENT ON COLUMN msgstore.provider_rules.outer_path IS
    'Objects around the items, from the decoded body. Variables: $headers, $query, $files, $body';
COMMENT ON COLUMN msgstore.provider_rules.item_path IS
    'Items, from the outer object. Variable $outer is the outer object';
COMMENT ON COLUMN msgstore.provider_rules.condition IS
    'Predicate on the item that selects the rule; null selects every item';
COMMENT ON COLUMN msgstore.provider_rules.channel IS
    'Channel of the item, unless fields has "channel"';
COMMENT ON COLUMN msgstore.provider_rules.media_channel IS
    'Channel of a message that has attachments; null for the same';
COMMENT ON COLUMN msgstore.provider_rules.recipients IS
    'Which recipient a message with several has: first, own (the first that is in sources.own_addresses, else the first), or each: one event for each';
COMMENT ON COLUMN msgstore.provider_rules.fields IS
    'Where an item has from, to, id, body, html, subject, attachments, timestamp, status, error_code, error_message, message_id, recipients (all of them, whichever rule selects one), cc, references, in_reply_to, part (an object of reference, number and total), channel, opt_out (STOP, START or HELP, if the provider says so): a jsonpath from the item, an array of which the first that finds something counts, or an object with path, text, match, phone, all and separator';
COMMENT ON COLUMN msgstore.provider_rules.origin IS
    'built-in for rows of the extension, which dumps leave out; custom for rows of the installation, which are preferred';
COMMENT ON TABLE msgstore.sources IS
    'Paths at which providers deliver webhooks. See create_source() and list_sources()';
COMMENT ON COLUMN msgstore.sources.tenant_id IS
    'Tenant that owns the source and all that it receives; empty if tenants are not used';
COMMENT ON COLUMN msgstore.sources.name IS
    'Name of the source, unique in the tenant';
COMMENT ON COLUMN msgstore.sources.provider IS
    'Provider that delivers to it: a name in providers';
COMMENT ON COLUMN msgstore.sources.path IS
    'Last part of its URL, which cannot be guessed';
COMMENT ON COLUMN msgstore.sources.scheme IS
    'How webhooks are signed, if not as the provider says: a name in signature_schemes';
COMMENT ON COLUMN msgstore.sources.scheme_options IS
    'Options of the scheme that differ from signature_schemes.options';
COMMENT ON COLUMN msgstore.sources.public_url IS
    'URL that the provider calls; null if it is that of the request';
COMMENT ON COLUMN msgstore.sources.tolerance IS
    'How far the timestamp of a signature may be from now; null for the provider''s';
COMMENT ON COLUMN msgstore.sources.time_zone IS
    'Time zone of timestamps that have none';
COMMENT ON COLUMN msgstore.sources.own_addresses IS
    'Addresses of the tenant, for rules that select a recipient';
COMMENT ON COLUMN msgstore.sources.max_attachments IS
    'Greatest number of attachments of a message';
COMMENT ON COLUMN msgstore.sources.max_attachment_bytes IS
    'Greatest size of an attachment that is kept, in bytes';
COMMENT ON COLUMN msgstore.sources.max_body_bytes IS
    'Greatest size of a webhook in bytes; null for the provider''s';
COMMENT ON COLUMN msgstore.sources.media_account IS
    'Account with whose secret msgstore-sender fetches media that the provider keeps; null if they stay there';
COMMENT ON COLUMN msgstore.sources.mapping IS
    'Rules that replace those of the provider: an array of objects with the columns of provider_rules; null for the provider''s';
COMMENT ON COLUMN msgstore.sources.answers IS
    'Answers that differ from those of the provider';
COMMENT ON COLUMN msgstore.sources.created_at IS
    'Creation time';
COMMENT ON TABLE msgstore.source_secrets IS
    'Secrets and public keys of sources, as they were given: a dump contains them';
COMMENT ON COLUMN msgstore.source_secrets.tenant_id IS
    'Tenant that owns the source';
COMMENT ON COLUMN msgstore.source_secrets.source IS
    'Name of the source';
COMMENT ON COLUMN msgstore.source_secrets.id IS
    'Id of the secret (UUID version 7)';
COMMENT ON COLUMN msgstore.source_secrets.purpose IS
    'signature, or challenge: the token with which a provider verifies the path';
COMMENT ON COLUMN msgstore.source_secrets.secret IS
    'The secret or public key';
COMMENT ON COLUMN msgstore.source_secrets.created_at IS
    'Creation time';
COMMENT ON COLUMN msgstore.source_secrets.not_after IS
    'Time from which it is no longer accepted; null for no end';
COMMENT ON TABLE msgstore.source_tokens IS
    'Tokens of webhooks that were accepted, so that none is accepted twice';
COMMENT ON COLUMN msgstore.source_tokens.tenant_id IS
    'Tenant that owns the source';
COMMENT ON COLUMN msgstore.source_tokens.source IS
    'Name of the source';
COMMENT ON COLUMN msgstore.source_tokens.digest IS
    'SHA-256 of the token';
COMMENT ON COLUMN msgstore.source_tokens.expires_at IS
    'Time from which the signature of the token has expired, so that the row is not needed';
-- sources: the signature schemes of providers.

INSERT INTO msgstore.signature_schemes
    (name, method, reads_body, find, options, page, page_date, origin)
SELECT name, method, reads_body, find::jsonb, options::jsonb, page, page_date::date,
       'built-in'
FROM (VALUES
    ('none', 'none', false, '{}', '{}', NULL, NULL),
    ('basic', 'basic', false,
     '{"signature": "$headers.authorization"}', '{}', NULL, NULL),
    ('token', 'token', false,
     '{"signature": "$headers.\"x-webhook-token\""}', '{}', NULL, NULL),
    ('hmac', 'hmac', false,
     '{"signature": "$headers.\"x-signature\""}',
     '{"digest": "sha256", "encoding": "hex"}', NULL, NULL),
    ('twilio', 'twilio', false,
     '{"signature": "$headers.\"x-twilio-signature\"",
       "settings": "$headers.\"x-twilio-webhooks-signature-settings\""}',
     '{}', 'twilio.com/docs/usage/webhooks/webhooks-security', '2026-11-27'),
    ('sendgrid', 'ecdsa', false,
     '{"signature": "$headers.\"x-twilio-email-event-webhook-signature\"",
       "timestamp": "$headers.\"x-twilio-email-event-webhook-timestamp\""}',
     '{"signed": "{timestamp}{body}"}',
     'twilio.com/docs/sendgrid/for-developers/tracking-events/getting-started-event-webhook-security-features',
     '2026-11-27'),
    ('mailgun', 'hmac', true,
     '{"signature": "$body.signature.signature",
       "timestamp": "$body.signature.timestamp", "token": "$body.signature.token"}',
     '{"digest": "sha256", "encoding": "hex", "signed": "{timestamp}{token}"}',
     'documentation.mailgun.com/docs/mailgun/user-manual/webhooks/securing-webhooks',
     '2026-11-27'),
    ('mailgun-form', 'hmac', true,
     '{"signature": "$body.signature", "timestamp": "$body.timestamp",
       "token": "$body.token"}',
     '{"digest": "sha256", "encoding": "hex", "signed": "{timestamp}{token}"}',
     'documentation.mailgun.com/docs/mailgun/user-manual/webhooks/securing-webhooks',
     '2026-11-27'),
    ('telnyx', 'ed25519', false,
     '{"signature": "$headers.\"telnyx-signature-ed25519\"",
       "timestamp": "$headers.\"telnyx-timestamp\""}',
     '{"curve": "ed25519", "signed": "{timestamp}|{body}"}',
     'developers.telnyx.com/docs/messaging/messages/receiving-webhooks',
     '2026-11-27'),
    ('vonage', 'jwt', false,
     '{"signature": "$headers.authorization"}', '{}',
     'developer.vonage.com/en/getting-started/concepts/webhooks', '2026-11-27'),
    ('vonage-sms', 'sorted', true,
     '{"signature": "$body.sig", "timestamp": "$body.timestamp"}',
     '{"digest": "md5hash"}',
     'developer.vonage.com/en/getting-started/concepts/signing-messages',
     '2026-11-27'),
    ('meta', 'hmac', false,
     '{"signature": "$headers.\"x-hub-signature-256\""}',
     '{"digest": "sha256", "encoding": "hex", "prefix": "sha256="}',
     'developers.facebook.com/docs/graph-api/webhooks/getting-started',
     NULL),
    ('github', 'hmac', false,
     '{"signature": "$headers.\"x-hub-signature-256\""}',
     '{"digest": "sha256", "encoding": "hex", "prefix": "sha256="}',
     'docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries',
     NULL),
    ('stripe', 'hmac', false,
     '{"signature": "$headers.\"stripe-signature\""}',
     '{"digest": "sha256", "encoding": "hex", "list": "pairs", "prefix": "v1=",
       "signed": "{timestamp}.{body}"}',
     'docs.stripe.com/webhooks/signature', NULL),
    ('slack', 'hmac', false,
     '{"signature": "$headers.\"x-slack-signature\"",
       "timestamp": "$headers.\"x-slack-request-timestamp\""}',
     '{"digest": "sha256", "encoding": "hex", "prefix": "v0=",
       "signed": "v0:{timestamp}:{body}"}',
     'docs.slack.dev/authentication/verifying-requests-from-slack', NULL),
    ('standard-webhooks', 'hmac', false,
     '{"signature": "$headers.\"webhook-signature\"",
       "timestamp": "$headers.\"webhook-timestamp\"",
       "id": "$headers.\"webhook-id\""}',
     '{"digest": "sha256", "encoding": "base64", "list": "versions",
       "prefix": "v1,", "secret": "base64", "signed": "{id}.{timestamp}.{body}"}',
     'github.com/standard-webhooks/standard-webhooks', NULL),
    ('svix', 'hmac', false,
     '{"signature": "$headers.\"svix-signature\"",
       "timestamp": "$headers.\"svix-timestamp\"", "id": "$headers.\"svix-id\""}',
     '{"digest": "sha256", "encoding": "base64", "list": "versions",
       "prefix": "v1,", "secret": "base64", "signed": "{id}.{timestamp}.{body}"}',
     'docs.svix.com/receiving/verifying-payloads/how-manual', NULL)
) AS s (name, method, reads_body, find, options, page, page_date);
-- sources: the providers that are built in.
--
-- Most providers deliver a webhook again for hours unless the answer is what they
-- want. So a webhook that can never be stored is refused with the status that stops
-- them; one with a wrong signature gets 401 or 403, so that the provider delivers it
-- again once the secret has been corrected.

INSERT INTO msgstore.providers
    (name, scheme, tolerance, methods, challenge, json_fields, numbered, omitted,
     added_channels, answers, mail_field, max_body_bytes, page, page_date, origin)
SELECT p.name, p.scheme, p.tolerance::interval, p.methods::text[], p.challenge,
       p.json_fields::text[], p.numbered::jsonb, p.omitted::text[],
       p.added_channels::jsonb, p.answers::jsonb, m.field, m.max_body_bytes, p.page,
       p.page_date::date, 'built-in'
FROM (VALUES
    ('twilio', 'twilio', NULL, '{GET,POST}', false, '{}',
     '{"media": {"url": "MediaUrl", "type": "MediaContentType"}}', '{}',
     '{"whatsapp": "phone"}',
     '{"accepted": {"status": 200, "type": "text/xml",
         "body": "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Response></Response>"},
       "unverified": {"status": 403}}',
     'twilio.com/docs/messaging/guides/webhook-request', NULL),
    ('telnyx', 'telnyx', '5 minutes', '{POST}', false, '{}', '{}', '{}', '{}',
     '{"accepted": {"status": 200}}',
     'developers.telnyx.com/docs/messaging/messages/receiving-webhooks', '2026-11-27'),
    ('vonage', 'vonage', '25 hours', '{GET,POST}', false, '{}', '{}', '{sig,nonce}',
     '{"whatsapp": "phone"}',
     '{"accepted": {"status": 200}, "refused": {"status": 204}}',
     'developer.vonage.com/en/verify/concepts/webhooks', '2026-11-27'),
    ('bandwidth', 'basic', NULL, '{POST}', false, '{}', '{}', '{}', '{}',
     '{"accepted": {"status": 200}, "refused": {"status": 204}}',
     'dev.bandwidth.com/docs/messaging/webhooks', '2026-11-27'),
    ('whatsapp-cloud', 'meta', NULL, '{POST}', true, '{}', '{}', '{}',
     '{"whatsapp": "phone"}',
     '{"accepted": {"status": 200}, "refused": {"status": 200}}',
     'developers.facebook.com/docs/whatsapp/cloud-api/webhooks', NULL),
    ('sendgrid-inbound', 'none', NULL, '{POST}', false,
     '{envelope,charsets,attachment-info}', '{}',
     '{text,html,email.text,email.html,email.attachments}', '{}',
     '{"accepted": {"status": 200}, "refused": {"status": 200}}',
     'twilio.com/docs/sendgrid/for-developers/parsing-email/inbound-email', '2026-11-27'),
    ('sendgrid-events', 'sendgrid', '25 hours', '{POST}', false, '{}', '{}', '{}', '{}',
     '{"accepted": {"status": 200}, "refused": {"status": 200}}',
     'twilio.com/docs/sendgrid/for-developers/tracking-events/event', '2026-11-27'),
    ('mailgun-routes', 'mailgun-form', '12 hours', '{POST}', false,
     '{message-headers,content-id-map,attachments}', '{}',
     '{signature,token,timestamp,body-plain,body-html,stripped-text,stripped-html,body-mime.text,body-mime.html,body-mime.attachments}',
     '{}',
     '{"accepted": {"status": 200}, "refused": {"status": 406}}',
     'documentation.mailgun.com/docs/mailgun/user-manual/webhooks/webhook-retries',
     '2026-11-27'),
    ('mailgun-events', 'mailgun', '12 hours', '{POST}', false, '{}', '{}', '{}', '{}',
     '{"accepted": {"status": 200}, "refused": {"status": 406}}',
     'documentation.mailgun.com/docs/mailgun/user-manual/webhooks/webhook-retries',
     '2026-11-27'),
    ('postmark', 'basic', NULL, '{POST}', false, '{}', '{}',
     '{TextBody,HtmlBody,Attachments,RawEmail}', '{}',
     '{"accepted": {"status": 200}, "refused": {"status": 403}}',
     'postmarkapp.com/developer/user-guide/inbound/parse-an-email', '2026-11-27'),
    ('raw-email', 'basic', NULL, '{POST}', false, '{}', '{}',
     '{text,html,attachments}', '{}', '{"accepted": {"status": 200}}', NULL, NULL),
    ('standard-webhooks', 'standard-webhooks', '5 minutes', '{POST}', false,
     '{}', '{}', '{}', '{}', '{"accepted": {"status": 202}}',
     'github.com/standard-webhooks/standard-webhooks', NULL),
    ('generic', 'hmac', '5 minutes', '{POST}', false, '{}', '{}', '{}', '{}', '{}',
     NULL, NULL)
) AS p (name, scheme, tolerance, methods, challenge, json_fields, numbered, omitted,
        added_channels, answers, page, page_date)
-- What SendGrid delivers at most is 30 MB, Mailgun 25 MB, Postmark 35 MB in base64.
LEFT JOIN (VALUES
    ('sendgrid-inbound', 'email', 31457280),
    ('mailgun-routes', 'body-mime', 31457280),
    ('postmark', NULL, 50331648),
    ('raw-email', NULL, 31457280)) AS m (provider, field, max_body_bytes)
    ON m.provider = p.name;

INSERT INTO msgstore.provider_rules
    (provider, position, kind, outer_path, item_path, condition, channel,
     media_channel, recipients, fields, origin)
SELECT r.provider, r.position, r.kind, r.outer_path::jsonpath, r.item_path::jsonpath,
       r.condition::jsonpath, r.channel, r.media_channel, r.recipients, r.fields::jsonb,
       'built-in'
FROM (VALUES
    -- MessageSid begins with SM or MM; a callback has no other hint of the channel.
    ('twilio', 10, 'status', '$', '$',
     'exists($.MessageStatus) && !($.MessageStatus == "received") && ($.From starts with "whatsapp:" || $.To starts with "whatsapp:")',
     'whatsapp', NULL, 'first',
     '{"id": "$.MessageSid", "status": "$.MessageStatus", "error_code": "$.ErrorCode",
       "error_message": ["$.ErrorMessage", "$.ChannelStatusMessage"]}'),
    ('twilio', 20, 'status', '$', '$',
     'exists($.MessageStatus) && !($.MessageStatus == "received") && $.MessageSid starts with "MM"',
     'mms', NULL, 'first',
     '{"id": "$.MessageSid", "status": "$.MessageStatus", "error_code": "$.ErrorCode",
       "error_message": "$.ErrorMessage"}'),
    ('twilio', 30, 'status', '$', '$',
     'exists($.MessageStatus) && !($.MessageStatus == "received")',
     'sms', NULL, 'first',
     '{"id": "$.MessageSid", "status": "$.MessageStatus", "error_code": "$.ErrorCode",
       "error_message": "$.ErrorMessage"}'),
    ('twilio', 40, 'message', '$', '$', '$.From starts with "whatsapp:"',
     'whatsapp', NULL, 'first',
     '{"id": ["$.MessageSid", "$.SmsMessageSid"], "from": "$.From", "to": "$.To",
       "body": "$.Body", "attachments": "$.media[*]", "opt_out": "$.OptOutType"}'),
    ('twilio', 50, 'message', '$', '$', 'exists($.MessageSid) && exists($.From)',
     'sms', 'mms', 'first',
     '{"id": ["$.MessageSid", "$.SmsMessageSid"], "from": "$.From", "to": "$.To",
       "body": "$.Body", "attachments": "$.media[*]", "opt_out": "$.OptOutType"}'),

    ('telnyx', 10, 'message', '$.data', '$.payload',
     '$outer.event_type == "message.received"', 'sms', 'mms', 'own',
     '{"id": "$.id", "from": "$.from.phone_number", "to": "$.to[*].phone_number",
       "recipients": ["$.to[*].phone_number", "$.cc[*].phone_number"],
       "body": "$.text", "subject": "$.subject", "attachments": "$.media[*]",
       "timestamp": ["$.received_at", "$outer.occurred_at"]}'),
    ('telnyx', 20, 'status', '$.data', '$.payload',
     '($outer.event_type == "message.sent" || $outer.event_type == "message.finalized") && $.type == "MMS"',
     'mms', NULL, 'first',
     '{"id": "$.id", "status": "$.to[0].status", "error_code": "$.errors[0].code",
       "error_message": ["$.errors[0].detail", "$.errors[0].title"],
       "timestamp": "$outer.occurred_at"}'),
    ('telnyx', 30, 'status', '$.data', '$.payload',
     '$outer.event_type == "message.sent" || $outer.event_type == "message.finalized"',
     'sms', NULL, 'first',
     '{"id": "$.id", "status": "$.to[0].status", "error_code": "$.errors[0].code",
       "error_message": ["$.errors[0].detail", "$.errors[0].title"],
       "timestamp": "$outer.occurred_at"}'),

    -- The Messages API, then the SMS API.
    ('vonage', 10, 'status', '$', '$', 'exists($.message_uuid) && exists($.status)',
     'sms', NULL, 'first',
     '{"channel": "$.channel", "id": "$.message_uuid", "status": "$.status",
       "error_code": ["$.error.title", "$.error.type"], "error_message": "$.error.detail",
       "timestamp": "$.timestamp"}'),
    ('vonage', 20, 'message', '$', '$',
     'exists($.message_uuid) && (exists($.message_type) || exists($.message))',
     'sms', 'mms', 'first',
     '{"channel": "$.channel", "id": "$.message_uuid",
       "from": {"path": ["$.from.number", "$.from"], "phone": true},
       "to": {"path": ["$.to.number", "$.to"], "phone": true},
       "body": ["$.text", "$.message.content.text", "$.image.caption",
                "$.video.caption", "$.file.caption", "$.reply.title", "$.button.text"],
       "attachments": ["$.image", "$.video", "$.audio", "$.file", "$.vcard"],
       "timestamp": "$.timestamp"}'),
    ('vonage', 30, 'status', '$', '$', 'exists($.messageId) && exists($.status)',
     'sms', NULL, 'first',
     '{"id": "$.messageId", "status": "$.status",
       "error_code": {"path": "$.\"err-code\"", "match": "^.*[^0].*$"},
       "timestamp": ["$.\"message-timestamp\"", "$.timestamp"]}'),
    ('vonage', 40, 'message', '$', '$', 'exists($.messageId) && exists($.msisdn)',
     'sms', NULL, 'first',
     '{"id": "$.messageId", "from": {"path": "$.msisdn", "phone": true},
       "to": {"path": "$.to", "phone": true}, "body": "$.text",
       "part": {"reference": "$.\"concat-ref\"", "number": "$.\"concat-part\"",
                "total": "$.\"concat-total\""},
       "timestamp": ["$.\"message-timestamp\"", "$.timestamp"]}'),

    ('bandwidth', 10, 'message', '$', '$[*]', '$.type == "message-received"',
     'sms', 'mms', 'own',
     '{"id": "$.message.id", "from": "$.message.from",
       "to": ["$.to", "$.message.owner", "$.message.to[*]"],
       "recipients": "$.message.to[*]", "body": "$.message.text",
       "attachments": "$.message.media[*]", "timestamp": ["$.message.time", "$.time"]}'),
    ('bandwidth', 20, 'status', '$', '$[*]',
     '$.type starts with "message-" && exists($.message.media[*])',
     'mms', NULL, 'first',
     '{"id": "$.message.id", "status": "$.type", "error_code": "$.errorCode",
       "error_message": "$.description", "timestamp": "$.time"}'),
    ('bandwidth', 30, 'status', '$', '$[*]', '$.type starts with "message-"',
     'sms', NULL, 'first',
     '{"id": "$.message.id", "status": "$.type", "error_code": "$.errorCode",
       "error_message": "$.description", "timestamp": "$.time"}'),

    ('whatsapp-cloud', 10, 'message', '$.entry[*].changes[*].value', '$.messages[*]',
     NULL, 'whatsapp', NULL, 'first',
     '{"id": "$.id", "from": {"path": "$.from", "phone": true},
       "to": {"path": "$outer.metadata.display_phone_number", "phone": true},
       "body": ["$.text.body", "$.button.text", "$.interactive.button_reply.title",
                "$.interactive.list_reply.title", "$.image.caption", "$.video.caption",
                "$.document.caption", "$.reaction.emoji", "$.location.name"],
       "attachments": ["$.image", "$.video", "$.audio", "$.document", "$.sticker"],
       "timestamp": "$.timestamp"}'),
    ('whatsapp-cloud', 20, 'status', '$.entry[*].changes[*].value', '$.statuses[*]',
     NULL, 'whatsapp', NULL, 'first',
     '{"id": "$.id", "status": "$.status", "error_code": "$.errors[0].code",
       "error_message": ["$.errors[0].error_data.details", "$.errors[0].message",
                         "$.errors[0].title"],
       "timestamp": "$.timestamp"}'),

    -- The raw form has the whole message in the field "email".
    ('sendgrid-inbound', 10, 'message', '$', '$', '$.email.type() == "object"',
     'email', NULL, 'each',
     '{"message_id": "$.email.message_id", "in_reply_to": "$.email.in_reply_to", "references": "$.email.references",
       "from": ["$.email.from", "$.envelope.from"], "to": ["$.envelope.to[*]", "$.email.to[*]"], "recipients": "$.email.to[*]", "cc": "$.email.cc[*]",
       "subject": "$.email.subject", "body": "$.email.text", "html": "$.email.html",
       "attachments": "$.email.attachments[*]", "timestamp": "$.email.date"}'),
    ('sendgrid-inbound', 20, 'message', '$', '$', 'exists($.envelope) || exists($.from)',
     'email', NULL, 'each',
     '{"message_id": {"path": "$.headers",
                      "match": "(?in)^message-id:[[:space:]]*<?([^<>[:space:]]+)"},
       "in_reply_to": {"path": "$.headers", "match": "(?in)^in-reply-to:(.*)$"},
       "references": {"path": "$.headers",
                      "match": "(?in)^references:((?:.*)(?:\\n[ \\t]+.*)*)"},
       "from": ["$.from", "$.envelope.from"], "to": ["$.envelope.to[*]", "$.to"],
       "recipients": "$.to", "cc": "$.cc", "subject": "$.subject", "body": "$.text",
       "html": "$.html", "attachments": "$files[*]",
       "timestamp": {"path": "$.headers", "match": "(?in)^date:[ \\t]*(.*)$"}}'),

    -- By SMTP without a provider: the envelope''s recipient is in the query or a header.
    ('raw-email', 10, 'message', '$', '$', NULL, 'email', NULL, 'each',
     '{"message_id": "$.message_id", "in_reply_to": "$.in_reply_to", "references": "$.references",
       "from": "$.from", "to": ["$query.to", "$headers.\"x-envelope-to\"", "$.to[*]"], "recipients": "$.to[*]", "cc": "$.cc[*]",
       "subject": "$.subject", "body": "$.text", "html": "$.html",
       "attachments": "$.attachments[*]", "timestamp": "$.date"}'),

    ('sendgrid-events', 10, 'status', '$', '$[*]',
     'exists($.event) && exists($.sg_message_id)', 'email', NULL, 'first',
     '{"id": {"path": "$.sg_message_id", "match": "^[^.]+"}, "status": "$.event",
       "error_code": "$.status", "error_message": ["$.reason", "$.response"],
       "timestamp": "$.timestamp"}'),

    ('mailgun-routes', 10, 'message', '$', '$', '$."body-mime".type() == "object"',
     'email', NULL, 'each',
     '{"message_id": "$.\"body-mime\".message_id", "in_reply_to": "$.\"body-mime\".in_reply_to", "references": "$.\"body-mime\".references",
       "from": ["$.\"body-mime\".from", "$.from", "$.sender"], "to": ["$.recipient", "$.\"body-mime\".to[*]"], "recipients": "$.\"body-mime\".to[*]",
       "cc": "$.\"body-mime\".cc[*]",
       "subject": "$.\"body-mime\".subject", "body": "$.\"body-mime\".text", "html": "$.\"body-mime\".html",
       "attachments": "$.\"body-mime\".attachments[*]", "timestamp": "$.\"body-mime\".date"}'),
    ('mailgun-routes', 20, 'message', '$', '$', 'exists($.recipient)',
     'email', NULL, 'each',
     '{"message_id": {"path": "$.\"Message-Id\"", "match": "[^<>[:space:]]+"},
       "in_reply_to": "$.\"In-Reply-To\"", "references": "$.References",
       "from": ["$.from", "$.sender"], "to": "$.recipient", "recipients": "$.To",
       "cc": ["$.Cc", "$.cc"],
       "subject": "$.subject",
       "body": "$.\"body-plain\"", "html": "$.\"body-html\"", "attachments": "$files[*]",
       "timestamp": ["$.Date", "$.timestamp"]}'),

    -- A temporary failure is no end: Mailgun tries again.
    ('mailgun-events', 10, 'status', '$', '$."event-data"',
     '$.event == "failed" && $.severity == "temporary"', 'email', NULL, 'first',
     '{"id": "$.message.headers.\"message-id\"", "status": {"text": "deferred"},
       "timestamp": "$.timestamp"}'),
    ('mailgun-events', 20, 'status', '$', '$."event-data"',
     'exists($.event) && exists($.message.headers."message-id")', 'email', NULL, 'first',
     '{"id": "$.message.headers.\"message-id\"", "status": "$.event",
       "error_code": "$.\"delivery-status\".code",
       "error_message": ["$.\"delivery-status\".message",
                         "$.\"delivery-status\".description", "$.reason"],
       "timestamp": "$.timestamp"}'),

    ('postmark', 10, 'status', '$', '$', 'exists($.RecordType)', 'email', NULL, 'first',
     '{"id": "$.MessageID", "status": "$.RecordType", "error_code": "$.Type",
       "error_message": ["$.Details", "$.Description"],
       "timestamp": ["$.DeliveredAt", "$.BouncedAt", "$.ReceivedAt", "$.ChangedAt"]}'),
    ('postmark', 20, 'message', '$', '$', 'exists($.MessageID)', 'email', NULL, 'each',
     '{"message_id": {"path": ["$.Headers[*] ? (@.Name == \"Message-ID\").Value", "$.MessageID"],
                      "match": "[^<>[:space:]]+"},
       "from": ["$.From", "$.FromFull.Email"],
       "in_reply_to": "$.Headers[*] ? (@.Name == \"In-Reply-To\").Value",
       "references": "$.Headers[*] ? (@.Name == \"References\").Value",
       "to": ["$.OriginalRecipient", "$.ToFull[*].Email"],
       "recipients": "$.ToFull[*].Email", "cc": "$.CcFull[*].Email",
       "subject": "$.Subject",
       "body": "$.TextBody", "html": "$.HtmlBody", "attachments": "$.Attachments[*]",
       "timestamp": "$.Date"}'),

    ('standard-webhooks', 10, 'status', '$', '$.data',
     'exists($.provider_message_id) && exists($.status)', 'sms', NULL, 'first',
     '{"channel": "$.channel", "id": "$.provider_message_id", "status": "$.status",
       "error_code": "$.error_code", "error_message": "$.error_message",
       "timestamp": ["$.timestamp", "$outer.timestamp"]}'),
    ('standard-webhooks', 20, 'message', '$', '$.data',
     'exists($.from) && exists($.to)', 'sms', 'mms', 'own',
     '{"channel": "$.channel", "id": ["$.id", "$headers.\"webhook-id\""],
       "from": "$.from", "to": "$.to[*]", "recipients": "$.to[*]",
       "subject": "$.subject", "body": ["$.body", "$.text"],
       "html": "$.html", "attachments": "$.attachments[*]",
       "timestamp": ["$.timestamp", "$outer.timestamp"]}'),

    ('generic', 10, 'status', '$', '$[*]',
     'exists($.provider_message_id) && exists($.status)', 'sms', NULL, 'first',
     '{"channel": "$.channel", "id": "$.provider_message_id", "status": "$.status",
       "error_code": "$.error_code", "error_message": "$.error_message",
       "timestamp": "$.timestamp"}'),
    ('generic', 20, 'message', '$', '$[*]', 'exists($.from) && exists($.to)',
     'sms', 'mms', 'own',
     '{"channel": ["$.channel", "$.type"],
       "id": ["$.messaging_provider_id", "$.xillio_id", "$.message_id", "$.id"],
       "from": "$.from", "to": "$.to[*]", "recipients": "$.to[*]",
       "subject": "$.subject", "body": ["$.body", "$.text"],
       "html": "$.html", "attachments": "$.attachments[*]", "timestamp": "$.timestamp"}')
) AS r (provider, position, kind, outer_path, item_path, condition, channel,
        media_channel, recipients, fields);
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
-- sources: creation, secrets, list.

-- Raises MS400 for a mapping that cannot work, while someone is there to read it.
CREATE FUNCTION msgstore._check_mapping(mapping jsonb) RETURNS void
    LANGUAGE plpgsql IMMUTABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    rule jsonb;
BEGIN
    IF mapping IS NULL THEN
        RETURN;
    END IF;
    IF jsonb_typeof(mapping) <> 'array' OR mapping = '[]' THEN
        RAISE EXCEPTION 'mapping is not an array of rules'
            USING ERRCODE = 'MS400',
                  DETAIL = 'A mapping must be an array of objects with the columns of msgstore.provider_rules.';
    END IF;
    FOR rule IN SELECT jsonb_array_elements(mapping) LOOP
        IF rule ->> 'kind' IS NULL OR rule ->> 'kind' NOT IN ('message', 'status')
            OR jsonb_typeof(rule -> 'fields') IS DISTINCT FROM 'object'
            OR coalesce(rule ->> 'recipients', 'first') NOT IN ('first', 'each', 'own')
        THEN
            RAISE EXCEPTION 'invalid mapping rule %', left(rule::text, 100)
                USING ERRCODE = 'MS400',
                      DETAIL = 'A rule must have "kind" ("message" or "status") and "fields", an object; "recipients" must be "first", "own" or "each".';
        END IF;
        BEGIN
            PERFORM (rule ->> 'outer_path')::jsonpath, (rule ->> 'item_path')::jsonpath,
                    (rule ->> 'condition')::jsonpath;
            PERFORM f.value::text FROM jsonb_each(rule -> 'fields') f
            WHERE jsonb_typeof(f.value) = 'string'
                AND (f.value #>> '{}')::jsonpath IS NULL;
        EXCEPTION
            WHEN syntax_error OR data_exception THEN
                RAISE EXCEPTION 'invalid jsonpath in mapping rule %', left(rule::text, 100)
                    USING ERRCODE = 'MS400', DETAIL = SQLERRM || '.';
        END;
    END LOOP;
END
$$;

CREATE FUNCTION msgstore._check_answers(answers jsonb) RETURNS void
    LANGUAGE plpgsql IMMUTABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    outcome text;
    answer jsonb;
BEGIN
    FOR outcome, answer IN SELECT * FROM jsonb_each(coalesce(answers, '{}')) LOOP
        IF outcome NOT IN ('accepted', 'refused', 'unverified')
            OR jsonb_typeof(answer) <> 'object'
            OR coalesce(answer ->> 'status', '200')
               NOT IN ('200', '201', '202', '204', '400', '401', '403', '404', '406', '409', '503')
            OR coalesce(answer ->> 'type', 'text/plain')
               NOT IN ('application/json', 'text/plain', 'text/xml')
        THEN
            RAISE EXCEPTION 'invalid answer "%": %', left(outcome, 64), left(answer::text, 100)
                USING ERRCODE = 'MS400',
                      DETAIL = 'An answer must be an object with "status", "type" (application/json, text/plain or text/xml) and "body", for one of "accepted", "refused" and "unverified".';
        END IF;
    END LOOP;
END
$$;

CREATE FUNCTION msgstore._add_secret(
    tenant text, source text, purpose text, secret text)
    RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF secret IS NULL OR secret !~ '[^[:space:]]' OR octet_length(secret) > 4096 THEN
        RAISE EXCEPTION 'invalid secret for source "%"', source
            USING ERRCODE = 'MS400',
                  DETAIL = 'A secret must be a non-blank string of at most 4096 bytes.';
    END IF;
    INSERT INTO msgstore.source_secrets (tenant_id, source, id, purpose, secret)
    VALUES (tenant, source, msgstore.uuid7(), purpose, secret);
END
$$;

-- A complete URL, or only scheme and host of one.
CREATE FUNCTION msgstore._complete_url(public_url text, path text) RETURNS text
    LANGUAGE plpgsql IMMUTABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF public_url !~* '^https?://[^/?#[:space:]]+(/[^#[:space:]]*)?$' THEN
        RAISE EXCEPTION 'invalid public URL "%"', left(public_url, 200)
            USING ERRCODE = 'MS400',
                  DETAIL = 'The URL must begin with http:// or https:// and a host, and must not have a fragment.';
    END IF;
    IF public_url ~ '^[^/]+//[^/]+/?$' THEN
        RETURN rtrim(public_url, '/') || '/api/webhooks/' || path;
    END IF;
    RETURN public_url;
END
$$;

CREATE FUNCTION msgstore.create_source(
    name text,
    provider text,
    secret text DEFAULT NULL,
    public_url text DEFAULT NULL,
    tenant text DEFAULT NULL,
    scheme text DEFAULT NULL,
    scheme_options jsonb DEFAULT '{}',
    tolerance interval DEFAULT NULL,
    time_zone text DEFAULT 'UTC',
    own_addresses text[] DEFAULT '{}',
    max_attachments int DEFAULT 50,
    mapping jsonb DEFAULT NULL,
    answers jsonb DEFAULT '{}',
    max_body_bytes int DEFAULT NULL,
    max_attachment_bytes int DEFAULT 31457280,
    media_account text DEFAULT NULL,
    OUT path text,
    OUT url text,
    OUT verify_token text)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_variable
DECLARE
    owner CONSTANT text := coalesce(tenant, msgstore._tenant_scope());
    used msgstore.providers;
    method text;
BEGIN
    PERFORM msgstore._check_tenant(owner);
    PERFORM msgstore._check_settings_here();
    PERFORM msgstore._check_name('source', name);
    PERFORM msgstore._check_text('provider', provider, 63);
    used := msgstore._provider(provider);
    method := (msgstore._scheme(coalesce(scheme, used.scheme))).method;
    IF method <> 'none' AND secret IS NULL THEN
        RAISE EXCEPTION 'source "%" needs a secret', name
            USING ERRCODE = 'MS400',
                  DETAIL = format('Scheme "%s" of provider "%s" verifies a signature.',
                                  coalesce(scheme, used.scheme), provider),
                  HINT = 'Pass the secret or public key as "secret", or "none" as "scheme" to rely on the path alone.';
    END IF;
    IF NOT EXISTS (SELECT FROM pg_timezone_names z WHERE lower(z.name) = lower(time_zone)) THEN
        RAISE EXCEPTION 'invalid time zone %', coalesce('"' || left(time_zone, 64) || '"', 'null')
            USING ERRCODE = 'MS400';
    END IF;
    IF tolerance < '0' OR max_attachments IS NULL OR max_attachments NOT BETWEEN 0 AND 1000
        OR jsonb_typeof(scheme_options) IS DISTINCT FROM 'object'
        OR max_body_bytes < 1 OR max_attachment_bytes IS NULL OR max_attachment_bytes < 0
    THEN
        RAISE EXCEPTION 'invalid settings of source "%"', name
            USING ERRCODE = 'MS400',
                  DETAIL = 'The tolerance must not be negative, max_attachments must be 0 to 1000, scheme_options an object, and the sizes positive.';
    END IF;
    PERFORM msgstore._check_mapping(mapping);
    PERFORM msgstore._check_answers(answers);
    path := 'wh_' || msgstore._random_hex(20);
    url := msgstore._complete_url(public_url, path);
    INSERT INTO msgstore.sources
        (tenant_id, name, provider, path, scheme, scheme_options, public_url,
         tolerance, time_zone, own_addresses, max_attachments, mapping, answers,
         max_body_bytes, max_attachment_bytes, media_account)
    VALUES (owner, name, provider, path, scheme, scheme_options, url, tolerance,
            time_zone, coalesce(own_addresses, '{}'), max_attachments, mapping,
            coalesce(answers, '{}'), max_body_bytes, max_attachment_bytes, media_account)
    ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'source "%" already exists', name
            USING ERRCODE = 'MS409';
    END IF;
    IF secret IS NOT NULL THEN
        PERFORM msgstore._add_secret(owner, name, 'signature', secret);
    END IF;
    IF used.challenge THEN
        verify_token := msgstore._random_hex(20);
        PERFORM msgstore._add_secret(owner, name, 'challenge', verify_token);
    END IF;
    INSERT INTO msgstore.channels (name, address_kind)
    SELECT c.key, c.value FROM jsonb_each_text(used.added_channels) c
    WHERE NOT EXISTS (SELECT FROM msgstore.channels o WHERE o.name = c.key)
    ON CONFLICT DO NOTHING;
END
$$;

CREATE FUNCTION msgstore.rotate_source_secret(
    source text,
    secret text,
    overlap interval DEFAULT '1 day')
    RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    used CONSTANT msgstore.sources := msgstore._source(source);
BEGIN
    PERFORM msgstore._check_settings_here();
    PERFORM msgstore._check_overlap(overlap);
    UPDATE msgstore.source_secrets s
    SET not_after = least(s.not_after, clock_timestamp() + overlap)
    WHERE s.tenant_id = used.tenant_id AND s.source = used.name
        AND s.purpose = 'signature';
    PERFORM msgstore._add_secret(used.tenant_id, used.name, 'signature', secret);
    DELETE FROM msgstore.source_secrets s
    WHERE s.tenant_id = used.tenant_id AND s.source = used.name
        AND s.not_after <= clock_timestamp();
END
$$;

CREATE FUNCTION msgstore.drop_source(source text) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    used CONSTANT msgstore.sources := msgstore._source(source);
BEGIN
    PERFORM msgstore._check_settings_here();
    DELETE FROM msgstore.sources s
    WHERE s.tenant_id = used.tenant_id AND s.name = used.name;
    DELETE FROM msgstore.source_secrets s
    WHERE s.tenant_id = used.tenant_id AND s.source = used.name;
    -- The router of a cluster has sources, but no messages.
    IF to_regclass('msgstore.message_parts') IS NOT NULL THEN
        DELETE FROM msgstore.message_parts p
        WHERE p.tenant_id = used.tenant_id AND p.source = used.name AND p.joined;
        UPDATE msgstore.attachments a
        SET next_fetch_at = NULL, fetch_error = 'the source was dropped'
        WHERE a.tenant_id = used.tenant_id AND a.source = used.name
            AND a.next_fetch_at IS NOT NULL;
    END IF;
    DELETE FROM msgstore.source_tokens t
    WHERE t.tenant_id = used.tenant_id AND t.source = used.name;
END
$$;

CREATE FUNCTION msgstore.list_sources()
    RETURNS TABLE (
        name text,
        tenant_id text,
        provider text,
        scheme text,
        signed boolean,
        path text,
        public_url text,
        tolerance interval,
        secrets int,
        next_secret_end timestamptz,
        media_failed bigint,
        created_at timestamptz)
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE SECURITY DEFINER ROWS 100
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
DECLARE
    scope CONSTANT text := msgstore._tenant_scope();
BEGIN
    RETURN QUERY
    SELECT s.name, s.tenant_id, s.provider, h.name, h.method <> 'none', s.path,
           s.public_url, coalesce(s.tolerance, p.tolerance), k.n, k.first_end,
           msgstore._media_failed(s.tenant_id, s.name),
           s.created_at
    FROM msgstore.sources s
    CROSS JOIN LATERAL msgstore._provider(s.provider) p
    CROSS JOIN LATERAL msgstore._scheme(coalesce(s.scheme, p.scheme)) h
    CROSS JOIN LATERAL (
        SELECT count(*)::int AS n, min(x.not_after) AS first_end
        FROM msgstore.source_secrets x
        WHERE x.tenant_id = s.tenant_id AND x.source = s.name
            AND x.purpose = 'signature'
            AND coalesce(x.not_after, 'infinity') > clock_timestamp()) k
    WHERE scope IN ('', s.tenant_id)
    ORDER BY s.tenant_id, s.name;
END
$$;

REVOKE ALL ON FUNCTION msgstore._check_mapping(jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._check_answers(jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._add_secret(text, text, text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._complete_url(text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.create_source(text, text, text, text, text, text, jsonb, interval, text, text[], int, jsonb, jsonb, int, int, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.rotate_source_secret(text, text, interval) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.drop_source(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.list_sources() FROM PUBLIC;

COMMENT ON FUNCTION msgstore._check_mapping(jsonb) IS
    'Raises MS400 if the mapping of a source is not an array of rules';
COMMENT ON FUNCTION msgstore._check_answers(jsonb) IS
    'Raises MS400 if the answers of a source are invalid';
COMMENT ON FUNCTION msgstore._add_secret(text, text, text, text) IS
    'Adds a secret to a source. Raises MS400 if it is invalid';
COMMENT ON FUNCTION msgstore._complete_url(text, text) IS
    'Returns the URL of a source: the given one, with the path of the gateway if it has none. Raises MS400 if it is invalid';
COMMENT ON FUNCTION msgstore.create_source(text, text, text, text, text, text, jsonb, interval, text, text[], int, jsonb, jsonb, int, int, text) IS
    'Creates a path at which a provider can deliver webhooks to POST /api/webhooks/<path>. secret: the key, token, user:password or public key with which the provider signs. public_url: what the provider calls, or its scheme and host; null if the gateway sees the same URL. media_account: the account with whose secret msgstore-sender fetches media; null if they stay with the provider. Returns the path, the URL if it is known, and for providers that send a challenge the token to configure. Raises MS400 for an invalid argument, MS403 for another tenant than the session''s, MS409 if the tenant has a source with this name, MS421 in a slot of a cluster';
COMMENT ON FUNCTION msgstore.rotate_source_secret(text, text, interval) IS
    'Adds a secret to a source. The earlier ones are accepted for the time of the overlap. Raises MS400 for an invalid argument, MS404 if there is no such source, MS409 if several tenants have one, MS421 in a slot of a cluster';
COMMENT ON FUNCTION msgstore.drop_source(text) IS
    'Removes a source and its secrets; what it has received remains. Raises MS404 if there is no such source, MS409 if several tenants have one, MS421 in a slot of a cluster';
COMMENT ON FUNCTION msgstore.list_sources() IS
    'Returns the sources of the session''s tenant, or of all tenants for a session without one. signed is false if only the path protects the source. media_failed is the number of files that could not be fetched from the provider. Does not return secrets';
-- access: how many requests a tenant may make.

CREATE TABLE msgstore.tenant_limits (
    tenant_id text COLLATE "C" NOT NULL,
    requests_per_second int NOT NULL,
    burst int NOT NULL,
    CONSTRAINT tenant_limits_pkey PRIMARY KEY (tenant_id),
    CONSTRAINT tenant_limits_rate CHECK (requests_per_second > 0),
    CONSTRAINT tenant_limits_burst CHECK (burst > 0)
);

SELECT pg_catalog.pg_extension_config_dump('msgstore.tenant_limits', '');

CREATE FUNCTION msgstore.set_tenant_limit(
    tenant text,
    requests_per_second int,
    burst int DEFAULT NULL)
    RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
DECLARE
    field CONSTANT text := CASE
        WHEN set_tenant_limit.requests_per_second < 1 THEN 'requests_per_second'
        WHEN set_tenant_limit.burst < 1 THEN 'burst' END;
BEGIN
    PERFORM msgstore._check_no_tenant('tenant limits');
    PERFORM msgstore._check_tenant(tenant);
    PERFORM msgstore._check_settings_here();
    IF field IS NOT NULL THEN
        RAISE EXCEPTION 'invalid value % for "%"', CASE field
                WHEN 'burst' THEN set_tenant_limit.burst
                ELSE set_tenant_limit.requests_per_second END, field
            USING ERRCODE = 'MS400',
                  DETAIL = 'The limit must be at least 1.',
                  HINT = 'To remove the limit, set "requests_per_second" to null.';
    END IF;
    IF set_tenant_limit.requests_per_second IS NULL THEN
        DELETE FROM msgstore.tenant_limits l WHERE l.tenant_id = tenant;
        RETURN;
    END IF;
    INSERT INTO msgstore.tenant_limits (tenant_id, requests_per_second, burst)
    VALUES (tenant, set_tenant_limit.requests_per_second,
            coalesce(set_tenant_limit.burst, set_tenant_limit.requests_per_second))
    ON CONFLICT (tenant_id) DO UPDATE
    SET requests_per_second = excluded.requests_per_second,
        burst = excluded.burst;
END
$$;

CREATE FUNCTION msgstore.list_tenant_limits()
    RETURNS TABLE (tenant_id text, requests_per_second int, burst int)
    LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER ROWS 100
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
DECLARE
    scope CONSTANT text := msgstore._tenant_scope();
BEGIN
    RETURN QUERY
    SELECT l.tenant_id, l.requests_per_second, l.burst
    FROM msgstore.tenant_limits l
    WHERE scope IN ('', l.tenant_id)
    ORDER BY l.tenant_id;
END
$$;

CREATE FUNCTION msgstore.tenant_limit(
    tenant text,
    OUT requests_per_second int,
    OUT burst int)
    LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
BEGIN
    PERFORM msgstore._check_tenant(tenant);
    SELECT l.requests_per_second, l.burst
    INTO tenant_limit.requests_per_second, tenant_limit.burst
    FROM msgstore.tenant_limits l WHERE l.tenant_id = tenant;
END
$$;

REVOKE ALL ON FUNCTION msgstore.set_tenant_limit(text, int, int) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.list_tenant_limits() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.tenant_limit(text) FROM PUBLIC;

COMMENT ON TABLE msgstore.tenant_limits IS
    'Request limits of tenants. The gateway enforces them; a tenant without a row has no limit';
COMMENT ON COLUMN msgstore.tenant_limits.tenant_id IS
    'Tenant; empty for requests without a tenant';
COMMENT ON COLUMN msgstore.tenant_limits.requests_per_second IS
    'Requests per second that the tenant may make on average';
COMMENT ON COLUMN msgstore.tenant_limits.burst IS
    'Requests that the tenant may make at once after a pause';
COMMENT ON FUNCTION msgstore.set_tenant_limit(text, int, int) IS
    'Sets the request limit of a tenant. The default burst is requests_per_second; a null requests_per_second removes the limit. Raises MS400 for an invalid value, MS403 in a session of a tenant, MS421 in a slot of a cluster';
COMMENT ON FUNCTION msgstore.list_tenant_limits() IS
    'Returns the limits of the session''s tenant, or of all tenants for a session without one';
COMMENT ON FUNCTION msgstore.tenant_limit(text) IS
    'Returns the limit of a tenant, nulls if it has none. Raises MS400 for an invalid name, MS403 for another tenant than the session''s';
-- access: API keys, and who they belong to.

-- access: who may do what. Levels of rights on the functions, API keys, limits
-- of tenants, and the policies of every table that has a tenant. It comes last,
-- for it speaks of all that the other rooms have made.

-- Only a hash of each key is stored: the key cannot be recovered from it.
CREATE TABLE msgstore.api_keys (
    tenant_id text COLLATE "C" NOT NULL,
    prefix text COLLATE "C" NOT NULL,
    key_hash bytea NOT NULL,
    scopes text[] COLLATE "C" NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at timestamptz,
    last_used_at timestamptz,
    revoked_at timestamptz,
    owner text COLLATE "C" NOT NULL DEFAULT '',
    CONSTRAINT api_keys_owner_length CHECK (octet_length(owner) <= 255),
    CONSTRAINT api_keys_pkey PRIMARY KEY (tenant_id, prefix),
    CONSTRAINT api_keys_hash_length CHECK (octet_length(key_hash) = 32)
) WITH (fillfactor = 80);

-- A key does not contain its tenant, so authenticate searches by prefix alone.
CREATE INDEX api_keys_prefix_idx ON msgstore.api_keys (prefix);

SELECT pg_catalog.pg_extension_config_dump('msgstore.api_keys', '');

CREATE FUNCTION msgstore._random_hex(bytes int) RETURNS text
    LANGUAGE c VOLATILE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'msgstore_random_hex';

CREATE FUNCTION msgstore._same_bytes(a bytea, b bytea) RETURNS boolean
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'msgstore_same_bytes';

CREATE FUNCTION msgstore._key_scopes() RETURNS text[]
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN '{ingest,send,read,responses,append,consume,operate}'::text[];

-- The key appears in expressions only, never in a statement, so that nothing
-- that logs the statements of functions records it.
CREATE FUNCTION msgstore.create_api_key(
    tenant text,
    scopes text[],
    expires_at timestamptz DEFAULT NULL,
    owner text DEFAULT '')
    RETURNS text
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    key_prefix text;
    key text;
    digest bytea;
BEGIN
    PERFORM msgstore._check_tenant(tenant);
    PERFORM msgstore._check_settings_here();
    IF scopes IS NULL OR cardinality(scopes) = 0
        OR array_position(scopes, NULL) IS NOT NULL
        OR NOT scopes <@ msgstore._key_scopes()
    THEN
        RAISE EXCEPTION 'invalid API key scopes %',
            coalesce('"' || left(scopes::text, 100) || '"', 'null')
            USING ERRCODE = 'MS400',
                  DETAIL = 'Scopes must be one or more of "ingest", "send", "read", "responses", "append", "consume" and "operate".';
    END IF;
    IF expires_at <= clock_timestamp() THEN
        RAISE EXCEPTION 'value % of "expires_at" is in the past', expires_at
            USING ERRCODE = 'MS400',
                  DETAIL = 'The expiry time must be in the future, or null for a key that does not expire.';
    END IF;
    IF octet_length(owner) > 255 THEN
        RAISE EXCEPTION 'owner of % bytes exceeds the limit of 255 bytes',
            octet_length(owner)
            USING ERRCODE = 'MS400';
    END IF;

    LOOP
        key_prefix := msgstore._random_hex(8);
        EXIT WHEN NOT EXISTS (
            SELECT FROM msgstore.api_keys k WHERE k.prefix = key_prefix);
    END LOOP;
    key := 'mk_' || key_prefix || '_' || msgstore._random_hex(24);
    digest := sha256(convert_to(key, 'UTF8'));
    INSERT INTO msgstore.api_keys (
        tenant_id, prefix, key_hash, scopes, expires_at, owner)
    SELECT tenant, key_prefix, digest, array_agg(s ORDER BY n),
        create_api_key.expires_at, coalesce(create_api_key.owner, '')
    FROM unnest(msgstore._key_scopes()) WITH ORDINALITY AS u (s, n)
    WHERE s = ANY (create_api_key.scopes);
    RETURN key;
END
$$;

-- A string literal is taken for text, so this must read the text of an array, too.
CREATE FUNCTION msgstore.create_api_key(
    tenant text,
    scopes text,
    expires_at timestamptz DEFAULT NULL,
    owner text DEFAULT '')
    RETURNS text
    LANGUAGE sql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT msgstore.create_api_key(
        $1,
        CASE WHEN $2 LIKE '{%' THEN $2::text[] ELSE regexp_split_to_array($2, '\s*,\s*') END,
        $3,
        $4)
$$;

CREATE FUNCTION msgstore.revoke_api_key(prefix text) RETURNS boolean
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    scope CONSTANT text := msgstore._tenant_scope();
BEGIN
    PERFORM msgstore._check_settings_here();
    UPDATE msgstore.api_keys k
    SET revoked_at = clock_timestamp()
    WHERE k.prefix = revoke_api_key.prefix
        AND k.revoked_at IS NULL
        AND scope IN ('', k.tenant_id);
    RETURN FOUND;
END
$$;

CREATE FUNCTION msgstore.list_api_keys()
    RETURNS TABLE (
        prefix text,
        tenant_id text,
        scopes text[],
        created_at timestamptz,
        expires_at timestamptz,
        last_used_at timestamptz,
        revoked_at timestamptz,
        owner text)
    LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER ROWS 100
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
DECLARE
    scope CONSTANT text := msgstore._tenant_scope();
BEGIN
    RETURN QUERY
    SELECT k.prefix, k.tenant_id, k.scopes, k.created_at, k.expires_at,
           k.last_used_at, k.revoked_at, k.owner
    FROM msgstore.api_keys k
    WHERE scope IN ('', k.tenant_id)
    ORDER BY k.tenant_id, k.created_at, k.prefix;
END
$$;

-- A gateway that requires API keys warns, or refuses to start, if there are none.
CREATE FUNCTION msgstore.has_api_keys() RETURNS boolean
    LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    scope CONSTANT text := msgstore._tenant_scope();
BEGIN
    RETURN EXISTS (
        SELECT FROM msgstore.api_keys k
        WHERE k.revoked_at IS NULL
            AND coalesce(k.expires_at, 'infinity') > clock_timestamp()
            AND scope IN ('', k.tenant_id));
END
$$;

-- Recorded once a minute at most. Never waits for a lock, and a failure to
-- record does not fail the request.
CREATE FUNCTION msgstore._note_key_use(tenant text, key_prefix text) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean THEN
        RETURN;
    END IF;
    UPDATE msgstore.api_keys k
    SET last_used_at = clock_timestamp()
    FROM (
        SELECT u.tenant_id, u.prefix FROM msgstore.api_keys u
        WHERE u.tenant_id = tenant AND u.prefix = key_prefix
            AND u.revoked_at IS NULL
        FOR UPDATE SKIP LOCKED) u
    WHERE k.tenant_id = u.tenant_id AND k.prefix = u.prefix;
EXCEPTION
    WHEN serialization_failure THEN
        RETURN;
END
$$;

-- Takes the same steps for every invalid key, so that the time it takes does
-- not tell what is wrong with it.
CREATE FUNCTION msgstore.authenticate(key text)
    RETURNS TABLE (
        prefix text,
        tenant_id text,
        scopes text[],
        expires_at timestamptz,
        requests_per_second int,
        burst int,
        owner text)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER ROWS 1
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
DECLARE
    scope CONSTANT text := msgstore._tenant_scope();
    key_prefix text;
    digest bytea;
    found_key msgstore.api_keys;
    same boolean;
    in_force boolean;
BEGIN
    IF key IS NULL OR key !~ '^mk_[0-9a-f]{16}_[0-9a-f]{48}$' THEN
        RETURN;
    END IF;
    key_prefix := substr(key, 4, 16);
    digest := sha256(convert_to(key, 'UTF8'));
    SELECT * INTO found_key FROM msgstore.api_keys k WHERE k.prefix = key_prefix;
    same := msgstore._same_bytes(
        digest, coalesce(found_key.key_hash, sha256('no such key')));
    in_force := found_key.revoked_at IS NULL
        AND coalesce(found_key.expires_at, 'infinity') > clock_timestamp()
        AND scope IN ('', found_key.tenant_id);
    IF same AND in_force THEN
        NULL;
    ELSE
        RETURN;
    END IF;
    IF found_key.last_used_at IS NULL
        OR found_key.last_used_at < clock_timestamp() - interval '1 minute'
    THEN
        PERFORM msgstore._note_key_use(found_key.tenant_id, key_prefix);
    END IF;
    RETURN QUERY
    SELECT found_key.prefix, found_key.tenant_id, found_key.scopes,
           found_key.expires_at, l.requests_per_second, l.burst,
           found_key.owner
    FROM (SELECT) AS one
    LEFT JOIN msgstore.tenant_limits l ON l.tenant_id = found_key.tenant_id;
END
$$;

REVOKE ALL ON FUNCTION msgstore._random_hex(int) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._same_bytes(bytea, bytea) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._key_scopes() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.create_api_key(text, text[], timestamptz, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.create_api_key(text, text, timestamptz, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.revoke_api_key(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.list_api_keys() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.has_api_keys() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._note_key_use(text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.authenticate(text) FROM PUBLIC;

COMMENT ON TABLE msgstore.api_keys IS
    'API keys of tenants. Holds the SHA-256 of each key, not the key';
COMMENT ON COLUMN msgstore.api_keys.tenant_id IS
    'Tenant that the key belongs to; empty for a key without a tenant';
COMMENT ON COLUMN msgstore.api_keys.prefix IS
    'Second part of the key, 16 hexadecimal digits, which identifies it';
COMMENT ON COLUMN msgstore.api_keys.key_hash IS
    'SHA-256 of the whole key, 32 bytes';
COMMENT ON COLUMN msgstore.api_keys.scopes IS
    'What the key may be used for: ingest, send, read, responses, append, consume, operate';
COMMENT ON COLUMN msgstore.api_keys.created_at IS
    'Creation time';
COMMENT ON COLUMN msgstore.api_keys.expires_at IS
    'Expiry time; null for a key that does not expire';
COMMENT ON COLUMN msgstore.api_keys.last_used_at IS
    'Time of the last use, recorded once a minute at most; null for an unused key';
COMMENT ON COLUMN msgstore.api_keys.revoked_at IS
    'Time of revocation; null for a key that is not revoked';
COMMENT ON FUNCTION msgstore._random_hex(int) IS
    'Returns this many cryptographically random bytes in hexadecimal. Raises MS503 if the server has no randomness';
COMMENT ON FUNCTION msgstore._same_bytes(bytea, bytea) IS
    'Returns whether two byte strings are equal, in a time that does not depend on where they differ';
COMMENT ON FUNCTION msgstore._key_scopes() IS
    'Returns all scopes that an API key can have';
COMMENT ON FUNCTION msgstore.create_api_key(text, text, timestamptz, text) IS
    'Is create_api_key() for scopes that are given as text: one, or several separated by commas';
COMMENT ON COLUMN msgstore.api_keys.owner IS
    'Owner of the responses that requests with the key save and see; empty for requests without an owner';
COMMENT ON FUNCTION msgstore.create_api_key(text, text[], timestamptz, text) IS
    'Creates an API key for a tenant and returns it as mk_<prefix>_<secret>. The key cannot be retrieved later. Scopes: ingest, send, read, responses, append, consume, operate. A null expires_at means that it does not expire. Requests with the key work for the owner, if there is one. Raises MS400 for an invalid argument, MS403 for another tenant than the session''s, MS421 in a slot of a cluster';
COMMENT ON FUNCTION msgstore.revoke_api_key(text) IS
    'Revokes the API key with this prefix. Returns false if there is no such key or it is revoked already. Raises MS421 in a slot of a cluster';
COMMENT ON FUNCTION msgstore.list_api_keys() IS
    'Returns the API keys of the session''s tenant, or of all tenants for a session without one. Does not return secrets';
COMMENT ON FUNCTION msgstore.has_api_keys() IS
    'Returns whether there is an API key that is neither revoked nor expired';
COMMENT ON FUNCTION msgstore._note_key_use(text, text) IS
    'Records the time of use of a key, unless the transaction is read-only or another session has locked the row';
COMMENT ON FUNCTION msgstore.authenticate(text) IS
    'Returns the tenant, scopes and request limit of an API key. No row if the key is unknown, malformed, revoked, expired, or of another tenant than the session''s';
-- access: levels of privileges on functions, tables and views.

-- The one place that says which privileges a level has. A privilege that is in
-- several levels is revoked with the last of them.
CREATE FUNCTION msgstore._access_rights()
    RETURNS TABLE (level text, kind text, name text)
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT l.level, r.kind, n.name
    FROM (VALUES
        ('{ingest,read,process,operate}', 'schema', '{msgstore}'),
        ('{ingest,read,process,operate}', 'function', '{
            readiness,_readiness}'),
        ('{ingest,read}', 'function', '{authenticate,has_api_keys,tenant_limit,tenant_slot}'),
        -- Providers report to the gateway or to a sender.
        ('{ingest,process}', 'function', '{record_status}'),
        -- A sender checks its secrets by the list.
        ('{process,operate}', 'function', '{list_accounts}'),
        -- A gateway or a sender that connects to the slots of a cluster.
        ('{ingest,read,process}', 'function', '{_cluster_map,_check_slot_here}'),
        ('{ingest}', 'function', '{
            ingest,ingest_batch,read_payload,send,opt_out,opt_in,receive_webhook,webhook_limits,
            update_conversation,
            append,append_batch,append_if,save_snapshot,
            new_ulid,ulid_after,validate_host,_is_ip_address,_is_hostname,
            append_host_events,append_host_batch,
            save_response,save_background,save_background_request,
            delete_response,cancel_response,
            create_response_conversation,update_response_conversation,
            delete_response_conversation,add_conversation_items,
            delete_conversation_item}'),
        ('{read}', 'function', '{
            list_conversations,list_messages,get_conversation,
            get_attachment,mark_read,mark_unread,wait_for_changes,_live_feed,_live_wait,
            search_messages,search_conversations,search_status,
            _conversation_id,
            read_stream,read_stream_backwards,read_category,read_all,read_query,
            trace,causation_tree,
            wait_for_events,await_events,_find_event,wait_for,
            list_subscriptions,list_members,stream_page,event_page,stream_version,count_events,last_event,list_streams,
            latest_position,latest_event_id,stream_state,stream_category,
            merge_patch,fold,last_known,_last_known,get_snapshot,list_snapshots,
            load_host_events,host_version,host_sequence,count_host_events,
            list_host_ids,latest_host_event_id,list_hosts,host_by_id,
            host_by_ip_and_hostname,search_hosts,hosts_at,hosts_health,
            _uuid_to_ulid,_host_change,_host_time_field,_check_host_events,
            get_response,get_response_for_chain,response_chain,chain_items,
            response_with_chain,get_response_conversation,
            list_conversation_items,get_conversation_item,
            response_events,response_event_stream,
            list_response_usage,_sending_page,_outbox_overview,_status_overview,
            branches,list_responses,search_responses,response_input_items,
            metrics,metrics_detail,channel_metrics,storage_by_tenant,latency_histogram}'),
        ('{read}', 'table', '{
            inbound_events,outbound_messages,conversations,channels,status_words,
            delivery_statuses,host_events,host_entries_current,
            host_entries_history,
            event_queue,event_claims,event_failures,outbox,outbound_payloads,
            deliveries,opt_outs,consent_log}'),
        -- Views run with the rights of the reader, so that row security applies
        -- to them, too; the reader needs their tables.
        ('{read,operate}', 'table', '{event_log,messages,dead_letters}'),
        ('{read}', 'table', '{
            conversation_rows,conversation_activity,conversation_changes,
            conversation_states,read_marks}'),
        ('{process}', 'function', '{
            index_messages,index_responses,
            process,claim,heartbeat,complete,fail,reap_stale,
            claim_outbound,heartbeat_outbound,sent,send_failed,reap_outbound,
            claim_requests,record_answer,claim_notifications,record_notification,
            claim_media,record_media,
            fetch,ack,park,list_parked,replay_parked,
            fetch_page,
            claim_response,heartbeat_response,update_response,
            append_response_events,
            stale_responses,reap_responses}'),
        ('{operate}', 'function', '{
            _enter,requeue,requeue_dead_letters,resubmit_refused,replay,purge,erase_address,check,recount,
            add_handler,remove_handler,pause_workers,resume_workers,list_operations,_operations_page,_dead_letter_page,rebuild_search,set_search_configuration,
            create_subscription,drop_subscription,resize_subscription,
            seek,rename_subscription,
            create_projection,pause_projection,resume_projection,rebuild_projection,
            retry_parked,list_projections,
            set_stream_retention,list_stream_retention,truncate_stream,tombstone_stream,
            erase_events,seal_log,verify_log,
            compact_stream,compact_host,delete_snapshot,apply_snapshot_retention,
            cleanup_responses,purge_responses,hold_response,rebuild_response_search,
            create_api_key,revoke_api_key,list_api_keys,
            set_tenant_limit,list_tenant_limits,_stat_worker,
            create_source,rotate_source_secret,drop_source,list_sources,
            verify_signature,test_source,fetch_attachment,
            create_account,rotate_account_secret,resume_account,drop_account,
            create_destination,rotate_destination_secret,pause_destination,resume_destination,
            drop_destination,test_destination,list_destinations,
            default_slot,set_slot,set_slot_map,slot_map,
            fence_tenant,wait_for_fence,unfence_tenant,
            tenant_publication,export_tenant,import_tenant,align_sequences,tenant_digest,
            drop_tenant,_drop_publication,_drop_rows,publish_settings}'),
        ('{operate}', 'table', '{
            dead_letter_events,refused_events,id_conflicts,operations_log,response_audit,stat_worker,worker_pause,
            providers,provider_rules,signature_schemes,provider_apis,
            provider_requests,notifications,node_state}')
    ) AS r (levels, kind, names),
    unnest(r.levels::text[]) AS l (level),
    unnest(r.names::text[]) AS n (name)
    $$;

-- Returns one row for each kind of object, for one GRANT or REVOKE each.
CREATE FUNCTION msgstore._rights_clause(levels text[], kept text[])
    RETURNS TABLE (privilege text, clause text)
    LANGUAGE sql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT CASE r.kind WHEN 'schema' THEN 'USAGE' WHEN 'table' THEN 'SELECT'
                       ELSE 'EXECUTE' END,
           CASE r.kind WHEN 'function' THEN 'ROUTINE ' ELSE r.kind || ' ' END
           || string_agg(DISTINCT CASE r.kind
                  WHEN 'schema' THEN quote_ident(r.name)
                  WHEN 'table' THEN format('msgstore.%I', r.name)
                  ELSE p.oid::regprocedure::text END, ', ')
    FROM msgstore._access_rights() r
    LEFT JOIN pg_proc p ON r.kind = 'function'
        AND p.proname = r.name AND p.pronamespace = 'msgstore'::regnamespace
    WHERE r.level = ANY (levels)
        -- The router of a cluster has few of the tables.
        AND (r.kind <> 'table' OR EXISTS (
            SELECT FROM pg_class c
            WHERE c.relname = r.name AND c.relnamespace = 'msgstore'::regnamespace
                AND c.relkind IN ('r', 'p', 'v')))
        AND NOT EXISTS (
            SELECT FROM msgstore._access_rights() k
            WHERE k.kind = r.kind AND k.name = r.name AND k.level = ANY (kept))
    GROUP BY r.kind
    $$;

-- Reads the role's own privileges from the catalog, which follows the renaming
-- and the dropping of roles; no table of ours has to.
CREATE FUNCTION msgstore._levels_of(role regrole) RETURNS text[]
    LANGUAGE sql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT coalesce(array_agg(DISTINCT r.level), '{}')
    FROM msgstore._access_rights() r
    JOIN pg_proc p ON p.proname = r.name
        AND p.pronamespace = 'msgstore'::regnamespace
    CROSS JOIN LATERAL aclexplode(p.proacl) a
    WHERE r.kind = 'function' AND a.grantee = role
        AND (SELECT count(*) FROM msgstore._access_rights() o
             WHERE o.kind = 'function' AND o.name = r.name) = 1
    $$;

CREATE FUNCTION msgstore._read_level(role regrole, level text) RETURNS text[]
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles r WHERE r.oid = role) THEN
        RAISE EXCEPTION 'role % does not exist', coalesce('"' || role || '"', 'null')
            USING ERRCODE = 'MS404';
    END IF;
    IF level IN ('ingest', 'read', 'process', 'operate') THEN
        RETURN ARRAY[level];
    END IF;
    RAISE EXCEPTION 'invalid access level %', coalesce('"' || left(level, 64) || '"', 'null')
        USING ERRCODE = 'MS400',
              DETAIL = 'The access level must be "ingest", "read", "process" or "operate".';
END
$$;

-- Not SECURITY DEFINER: the caller must own the objects.
CREATE FUNCTION msgstore.grant_access(role regrole, level text) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    levels text[] := msgstore._read_level(role, level);
    r record;
BEGIN
    IF level = 'operate' THEN
        levels := '{ingest,read,process,operate}';
    END IF;
    -- Concurrent calls would fail with "tuple concurrently updated".
    LOCK TABLE msgstore.channels IN SHARE ROW EXCLUSIVE MODE;
    FOR r IN SELECT * FROM msgstore._rights_clause(levels, '{}') LOOP
        EXECUTE format('GRANT %s ON %s TO %s', r.privilege, r.clause, role);
    END LOOP;
END
$$;

CREATE FUNCTION msgstore.revoke_access(role regrole, level text DEFAULT NULL)
    RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    levels text[] := msgstore._read_level(role, coalesce(level, 'operate'));
    r record;
BEGIN
    IF level IS NULL THEN
        levels := '{ingest,read,process,operate}';
    END IF;
    LOCK TABLE msgstore.channels IN SHARE ROW EXCLUSIVE MODE;
    FOR r IN
        SELECT c.* FROM msgstore._rights_clause(levels, ARRAY(
            SELECT l FROM unnest(msgstore._levels_of(role)) l
            WHERE l <> ALL (levels))) c
    LOOP
        EXECUTE format('REVOKE %s ON %s FROM %s', r.privilege, r.clause, role);
    END LOOP;
END
$$;

REVOKE ALL ON FUNCTION msgstore._access_rights() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._rights_clause(text[], text[]) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._levels_of(regrole) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._read_level(regrole, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.grant_access(regrole, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.revoke_access(regrole, text) FROM PUBLIC;

COMMENT ON FUNCTION msgstore._access_rights() IS
    'Returns the functions, tables and views of each access level';
COMMENT ON FUNCTION msgstore._rights_clause(text[], text[]) IS
    'Returns the privileges of these levels that are in none of the kept levels, in the words of GRANT and REVOKE';
COMMENT ON FUNCTION msgstore._levels_of(regrole) IS
    'Returns the levels that were granted to the role itself';
COMMENT ON FUNCTION msgstore._read_level(regrole, text) IS
    'Returns the level as an array. Raises MS400 for an invalid level, MS404 for a role that does not exist';
COMMENT ON FUNCTION msgstore.grant_access(regrole, text) IS
    'Grants a role an access level: ingest, read, process, or operate, which includes the others. Raises MS400 for an invalid level, MS404 for a role that does not exist';
COMMENT ON FUNCTION msgstore.revoke_access(regrole, text) IS
    'Revokes an access level from a role, or all levels if the level is null. Raises MS400 for an invalid level, MS404 for a role that does not exist';
-- router: the map of tenants to slots.

-- One row. The connections of the slots are the options p0, p1, … of the foreign
-- server "msgstore".
CREATE TABLE msgstore.cluster (
    slots int NOT NULL,
    map_version bigint NOT NULL DEFAULT 1,
    settings_version bigint NOT NULL DEFAULT 1,
    single boolean NOT NULL DEFAULT true,
    CONSTRAINT cluster_pkey PRIMARY KEY (single),
    CONSTRAINT cluster_one_row CHECK (single),
    CONSTRAINT cluster_slots CHECK (slots BETWEEN 1 AND 4096)
);

CREATE TABLE msgstore.slot_exceptions (
    tenant_id text COLLATE "C" NOT NULL,
    slot int NOT NULL,
    CONSTRAINT slot_exceptions_pkey PRIMARY KEY (tenant_id),
    CONSTRAINT slot_exceptions_tenant_id_length CHECK (octet_length(tenant_id) <= 255),
    CONSTRAINT slot_exceptions_slot CHECK (slot >= 0)
);

SELECT pg_catalog.pg_extension_config_dump('msgstore.cluster', '');
SELECT pg_catalog.pg_extension_config_dump('msgstore.slot_exceptions', '');

CREATE FUNCTION msgstore.default_slot(tenant text, slots int) RETURNS int
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'msgstore_default_slot';

CREATE FUNCTION msgstore._no_slots() RETURNS int
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    RAISE EXCEPTION 'the cluster has no slots'
        USING ERRCODE = 'MS503',
              HINT = 'Create the foreign server "msgstore" with the connection of each slot, and call msgstore.set_slots().';
END
$$;

CREATE FUNCTION msgstore._slots() RETURNS int
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN coalesce((SELECT c.slots FROM msgstore.cluster c), msgstore._no_slots());

CREATE FUNCTION msgstore.tenant_slot(tenant text) RETURNS int
    LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    found int;
BEGIN
    -- Every call comes here: an expression costs less than a statement, and one
    -- statement less than two.
    IF tenant IS NULL OR octet_length(tenant) > 255 OR msgstore._tenant_scope() NOT IN ('', tenant) THEN
        PERFORM msgstore._check_tenant(tenant);
    END IF;
    SELECT coalesce(e.slot, msgstore.default_slot(tenant, c.slots)) INTO found
    FROM msgstore.cluster c
    LEFT JOIN msgstore.slot_exceptions e ON e.tenant_id = tenant;
    RETURN coalesce(found, msgstore._no_slots());
END
$$;

-- The slot of a call that stores. Without a tenant, rows have none, which is a
-- tenant like any other.
CREATE FUNCTION msgstore._slot_to_write(tenant text) RETURNS int
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN msgstore.tenant_slot(coalesce(tenant, ''));

-- The slot of a call that reads or changes what is stored. Without a tenant, one
-- database would find it whosever it is; here it may be in any slot.
CREATE FUNCTION msgstore._slot_to_read(tenant text, function text) RETURNS int
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF coalesce(tenant, '') <> '' THEN
        RETURN msgstore.tenant_slot(tenant);
    END IF;
    IF msgstore._slots() = 1 THEN
        RETURN 0;
    END IF;
    RAISE EXCEPTION 'function "%" needs a tenant', function
        USING ERRCODE = 'MS400',
              DETAIL = 'Tenants are stored in several databases, and a call is made in one.',
              HINT = 'Set "msgstore.tenant_id", or use an API key of the tenant.';
END
$$;

CREATE FUNCTION msgstore._check_slot(slot int) RETURNS void
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF slot IS NULL OR slot NOT BETWEEN 0 AND msgstore._slots() - 1 THEN
        RAISE EXCEPTION 'invalid slot %', coalesce(slot::text, 'null')
            USING ERRCODE = 'MS400',
                  DETAIL = format('The slot must be between 0 and %s.', msgstore._slots() - 1);
    END IF;
END
$$;

CREATE FUNCTION msgstore.set_slots(slots int) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    PERFORM msgstore._check_no_tenant('slots');
    IF slots IS NULL OR slots NOT BETWEEN 1 AND 4096 THEN
        RAISE EXCEPTION 'invalid number of slots: %', coalesce(slots::text, 'null')
            USING ERRCODE = 'MS400',
                  DETAIL = 'The number of slots must be between 1 and 4096.';
    END IF;
    INSERT INTO msgstore.cluster (slots) VALUES (set_slots.slots) ON CONFLICT DO NOTHING;
    IF NOT FOUND AND msgstore._slots() <> set_slots.slots THEN
        RAISE EXCEPTION 'the cluster already has % slots', msgstore._slots()
            USING ERRCODE = 'MS409',
                  DETAIL = 'The number of slots is fixed, because a tenant''s slot depends on it.',
                  HINT = 'Move slots to more servers.';
    END IF;
END
$$;

CREATE FUNCTION msgstore.add_exception(tenant text, slot int) RETURNS bigint
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    version bigint;
BEGIN
    PERFORM msgstore._check_no_tenant('slots');
    PERFORM msgstore._check_tenant(tenant);
    PERFORM msgstore._check_slot(slot);
    UPDATE msgstore.cluster SET map_version = map_version + 1
    RETURNING map_version INTO version;
    INSERT INTO msgstore.slot_exceptions AS e (tenant_id, slot)
    VALUES (tenant, add_exception.slot)
    ON CONFLICT (tenant_id) DO UPDATE SET slot = excluded.slot;
    RETURN version;
END
$$;

CREATE FUNCTION msgstore.drop_exception(tenant text) RETURNS bigint
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    version bigint;
BEGIN
    PERFORM msgstore._check_no_tenant('slots');
    UPDATE msgstore.cluster SET map_version = map_version + 1
    RETURNING map_version INTO version;
    DELETE FROM msgstore.slot_exceptions e WHERE e.tenant_id = tenant;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'tenant "%" is in its default slot', left(tenant, 64)
            USING ERRCODE = 'MS404';
    END IF;
    RETURN version;
END
$$;

CREATE FUNCTION msgstore._slot_map() RETURNS jsonb
    LANGUAGE sql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT coalesce(jsonb_object_agg(e.tenant_id, e.slot), '{}') FROM msgstore.slot_exceptions e
    $$;

-- The functions that change keys, limits and sources are those of a node, where they
-- are refused in a cluster.
CREATE FUNCTION msgstore._check_settings_here() RETURNS void
    LANGUAGE sql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS '';

-- Without passwords.
CREATE FUNCTION msgstore._slot_connection(slot int) RETURNS text
    LANGUAGE sql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT msgstore._without_passwords(o.option_value)
    FROM pg_foreign_server f, pg_options_to_table(f.srvoptions) o
    WHERE f.srvname = 'msgstore' AND o.option_name = 'p' || slot
    $$;

-- Exceptions and the tenant of the session's role, if it has one, decide with
-- tenant_slot() where a call runs.
CREATE FUNCTION msgstore._cluster_map() RETURNS jsonb
    LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    RETURN jsonb_build_object(
        'version', (SELECT c.map_version FROM msgstore.cluster c),
        'exceptions', msgstore._slot_map(),
        'connections', (SELECT jsonb_agg(msgstore._slot_connection(s) ORDER BY s)
                        FROM generate_series(0, msgstore._slots() - 1) s),
        'scoped', msgstore._tenant_scope() <> '');
END
$$;

REVOKE ALL ON FUNCTION msgstore._slot_connection(int) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._cluster_map() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.default_slot(text, int) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._no_slots() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._slots() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.tenant_slot(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._slot_to_write(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._slot_to_read(text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._check_slot(int) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.set_slots(int) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.add_exception(text, int) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.drop_exception(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._slot_map() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._check_settings_here() FROM PUBLIC;

COMMENT ON TABLE msgstore.cluster IS
    'The number of slots, and the versions of what the nodes are told. One row';
COMMENT ON COLUMN msgstore.cluster.slots IS
    'Number of slots; fixed';
COMMENT ON COLUMN msgstore.cluster.map_version IS
    'Version of the map of tenants to slots';
COMMENT ON COLUMN msgstore.cluster.settings_version IS
    'Version of channels, limits, keys and sources';
COMMENT ON COLUMN msgstore.cluster.single IS
    'Always true, so that there is one row';
COMMENT ON TABLE msgstore.slot_exceptions IS
    'Tenants that are not in their default slot';
COMMENT ON COLUMN msgstore.slot_exceptions.tenant_id IS
    'Tenant';
COMMENT ON COLUMN msgstore.slot_exceptions.slot IS
    'Slot of the tenant, from 0';
COMMENT ON FUNCTION msgstore.default_slot(text, int) IS
    'Returns the slot of a tenant that is not in slot_exceptions: the first 8 bytes of the SHA-256 of its name, without the sign, modulo the number of slots';
COMMENT ON FUNCTION msgstore._no_slots() IS
    'Raises MS503: the cluster has no slots yet';
COMMENT ON FUNCTION msgstore._slots() IS
    'Returns the number of slots. Raises MS503 if it is not set';
COMMENT ON FUNCTION msgstore.tenant_slot(text) IS
    'Returns the slot of a tenant, from 0. Raises MS400 for an invalid name, MS403 in the session of another tenant, MS503 if the cluster has no slots';
COMMENT ON FUNCTION msgstore._slot_to_write(text) IS
    'Returns the slot of a call that stores for a tenant, or for none';
COMMENT ON FUNCTION msgstore._slot_to_read(text, text) IS
    'Returns the slot of a call that reads for a tenant. Raises MS400 without a tenant, unless there is one slot';
COMMENT ON FUNCTION msgstore._check_slot(int) IS
    'Raises MS400 for a slot that does not exist';
COMMENT ON FUNCTION msgstore.set_slots(int) IS
    'Sets the number of slots, once. Raises MS400 for an invalid number, MS409 if the cluster has another one';
COMMENT ON FUNCTION msgstore.add_exception(text, int) IS
    'Assigns a tenant to a slot other than its default, and returns the new version of the map, which publish() sends to the nodes. Moves no data. Raises MS400 for an invalid tenant or slot';
COMMENT ON FUNCTION msgstore.drop_exception(text) IS
    'Assigns a tenant to its default slot again, and returns the new version of the map. Moves no data. Raises MS404 if it is there';
COMMENT ON FUNCTION msgstore._slot_connection(int) IS
    'Returns the connection string of a slot without passwords';
COMMENT ON FUNCTION msgstore._cluster_map() IS
    'Returns what a gateway or a sender needs to call the slots directly: the version of the map, the exceptions, the connection string of each slot without passwords, and whether the session has a tenant. Raises MS503 if the cluster has no slots';
COMMENT ON FUNCTION msgstore._slot_map() IS
    'Returns the exceptions as set_slot_map() of a node takes them';
COMMENT ON FUNCTION msgstore._check_settings_here() IS
    'Does nothing: the settings of a cluster are changed here';

-- The slots of a call that has something to say about all tenants.
CREATE FUNCTION msgstore._slots_of(tenant text) RETURNS SETOF int
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF tenant <> '' THEN
        RETURN NEXT msgstore.tenant_slot(tenant);
    ELSE
        RETURN QUERY SELECT s FROM generate_series(0, msgstore._slots() - 1) s;
    END IF;
END
$$;

REVOKE ALL ON FUNCTION msgstore._slots_of(text) FROM PUBLIC;

COMMENT ON FUNCTION msgstore._slots_of(text) IS
    'Returns the slot of the tenant, or all slots without one';
-- router: errors of nodes.

-- A connection, or an error that shows one.
CREATE FUNCTION msgstore._without_passwords(said text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT regexp_replace(said, '\m(ssl)?password\s*=\s*(''(\\.|[^''\\])*''|\S+)', '\1password=***', 'g')
    $$;

-- PL/Proxy raises a node's error with its SQLSTATE, but puts the names of function
-- and database before the message. An error without "REMOTE" is PL/Proxy's own:
-- the node could not be reached, or its connection was lost.
CREATE FUNCTION msgstore._read_error(code text, message text, OUT unreachable boolean, OUT said text)
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    remote CONSTANT text :=
        substring(message FROM '^msgstore\._at_\w+\(\d+\): \[[^]]*\] REMOTE \S+: (.*)$');
BEGIN
    unreachable := (remote IS NULL AND code = 'XX000' AND message ~ '^PL/Proxy function ')
        -- libpq has no SQLSTATE for a connection that is lost during a call.
        OR message ~ '^msgstore\._at_\w+\(\d+\): \[[^]]*\] REMOTE \(null\)'
        OR code LIKE '57P%' OR code LIKE '08%';
    said := coalesce(remote, msgstore._without_passwords(message));
END
$$;

-- For answers about all slots.
CREATE FUNCTION msgstore._describe_error(code text, message text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT CASE WHEN e.unreachable THEN 'The database of the slot did not answer.'
                ELSE format('The database of the slot raised %s: %s.', code, e.said) END
    FROM msgstore._read_error(code, message) e
    $$;

CREATE FUNCTION msgstore._raise_of_node(
    slot int,
    code text,
    message text,
    detail text,
    hint text,
    context text)
    RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    error CONSTANT record := msgstore._read_error(code, message);
    fields CONSTANT text[] := regexp_match(context, 'msgstore field "(\w*)" code "(\w*)"');
BEGIN
    IF error.unreachable THEN
        RAISE LOG 'slot % is not reachable: %', slot, error.said;
        RAISE EXCEPTION 'slot % is not reachable', slot
            USING ERRCODE = 'MS503',
                  DETAIL = 'The database of the tenant did not answer.',
                  HINT = 'Try again.';
    END IF;
    -- The node has another map: the tenant has just been moved, or is about to be.
    IF code = 'MS421' THEN
        RAISE EXCEPTION '%', error.said
            USING ERRCODE = 'MS503',
                  DETAIL = 'The tenant is being moved.',
                  HINT = 'Try again. If the error remains, call msgstore.publish() on the router.';
    END IF;
    -- An option of RAISE must not be null, and an empty DETAIL is not none.
    EXECUTE format('DO %L', format('BEGIN RAISE EXCEPTION USING %s; END', (
        SELECT string_agg(format('%s = %L', o.name, o.value), ', ')
        FROM (VALUES
            ('ERRCODE', code),
            ('MESSAGE', error.said),
            ('DETAIL', regexp_replace(nullif(detail, ''), '^Remote detail: ', '')),
            ('HINT', regexp_replace(nullif(hint, ''), '^Remote hint: ', '')),
            ('COLUMN', nullif(fields[1], '')),
            ('CONSTRAINT', nullif(fields[2], ''))) AS o (name, value)
        WHERE o.value IS NOT NULL)));
END
$$;

CREATE FUNCTION msgstore._raise_not_offered(function text) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    RAISE EXCEPTION 'function "%" is not available on the router', function
        USING ERRCODE = 'MS400',
              HINT = 'Call it in the database of the slot.';
END
$$;

REVOKE ALL ON FUNCTION msgstore._without_passwords(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._read_error(text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._describe_error(text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._raise_of_node(int, text, text, text, text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._raise_not_offered(text) FROM PUBLIC;

COMMENT ON FUNCTION msgstore._without_passwords(text) IS
    'Returns a text without the passwords of the connections that it shows';
COMMENT ON FUNCTION msgstore._read_error(text, text) IS
    'Returns whether the error of a call of a slot means that it cannot be reached, and the message as the slot raised it, without passwords';
COMMENT ON FUNCTION msgstore._describe_error(text, text) IS
    'Returns what a slot has raised, as a sentence; of a slot that is not reachable nothing that a tenant must not know';
COMMENT ON FUNCTION msgstore._raise_of_node(int, text, text, text, text, text) IS
    'Raises the error of a slot as if it had been called directly; MS503 if the slot is not reachable or does not have the tenant';
COMMENT ON FUNCTION msgstore._raise_not_offered(text) IS
    'Raises MS400 for a function that must be called in the database of a slot';
-- router: makes a function of a node callable here. router/sql/50_functions.sql names
-- the functions; what they have in common is written once, here.

-- Creates msgstore._at_<name>(), which calls a slot, and msgstore.<name>(), which finds
-- the slot. Numbers stand for arguments, so that no name of an argument can be taken for
-- a column; $1 to $4 of a call of a slot are the slot, the tenant, the owner and the actor.
-- PL/pgSQL does not take an argument and a result of the same name: then msgstore._<name>()
-- finds the slot, without names of arguments, and msgstore.<name>() calls it in SQL.
CREATE FUNCTION msgstore._route(
    class text,
    name text,
    arguments text,
    result text,
    properties text,
    comment text)
    RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $route$
#variable_conflict use_variable
DECLARE
    f record;
    signature text;
    inner_name text := name;
    inner_arguments text := arguments;
    inner_result text := result;
    entered CONSTANT text := 'msgstore._enter($2, $3, $4)';
BEGIN
    -- The catalog takes the arguments apart. A function without a comment is new.
    EXECUTE format('CREATE FUNCTION msgstore.%I(%s) RETURNS %s LANGUAGE plpgsql AS ''BEGIN END''',
                   name, arguments, result);
    SELECT p.oid, p.proretset, p.prorettype, t.typtype = 'c' AS composite,
           p.prorettype = 'void'::regtype AS void,
           EXISTS (SELECT FROM unnest(p.proargnames, p.proargmodes) AS a (name, mode)
                   WHERE a.mode IN ('o', 't') AND a.name = ANY (p.proargnames[:p.pronargs])) AS same_names,
           i.*, o.*
    INTO STRICT f
    FROM pg_proc p
    JOIN pg_type t ON t.oid = p.prorettype
    CROSS JOIN LATERAL (
        SELECT coalesce(string_agg(', ' || format_type(u.type, NULL), '' ORDER BY u.n), '') AS types,
            coalesce(string_agg(', $' || u.n, '' ORDER BY u.n), '') AS given,
            coalesce(string_agg('$' || u.n + 4, ', ' ORDER BY u.n), '') AS remote,
            coalesce(min(format('coalesce($%s, msgstore._tenant_scope())', u.n))
                         FILTER (WHERE p.proargnames[u.n] = 'tenant'),
                     'msgstore._tenant_scope()') AS tenant
        FROM unnest(p.proargtypes) WITH ORDINALITY AS u (type, n)) i
    CROSS JOIN LATERAL (
        SELECT count(*) AS outputs,
            string_agg(format('r.%I', u.name), ', ' ORDER BY u.n) AS columns,
            string_agg(format('(r.f).%I', u.name), ', ' ORDER BY u.n) AS fields,
            string_agg(format(', OUT %I %s', u.name, u.type), '' ORDER BY u.n) AS definitions,
            string_agg(format('%I', u.name), ',' ORDER BY u.n) AS names
        FROM (
            SELECT a.name, format_type(a.type, NULL) AS type, a.n
            FROM unnest(p.proargnames, p.proallargtypes, p.proargmodes) WITH ORDINALITY AS a (name, type, mode, n)
            WHERE a.mode IN ('o', 't')
            UNION ALL
            SELECT a.attname, format_type(a.atttypid, a.atttypmod), a.attnum
            FROM pg_attribute a
            WHERE a.attrelid = t.typrelid AND t.typtype = 'c' AND a.attnum > 0 AND NOT a.attisdropped) u) o
    WHERE p.pronamespace = 'msgstore'::regnamespace AND p.proname = name
        AND obj_description(p.oid, 'pg_proc') IS NULL;
    signature := format('msgstore.%I(%s)', name, substr(f.types, 3));

    -- PL/Proxy prepares nothing: the slot parses and plans each call, which costs more
    -- than ingest(). So the statement is as simple as it can be, with a function in FROM
    -- rather than its fields, and without a subquery. _enter() comes before the function,
    -- because an argument and WHERE do, and it has an effect for this statement only,
    -- which is a transaction. PL/Proxy adds the types of the arguments.
    EXECUTE format($$
        CREATE FUNCTION msgstore.%1$I(int, text, text, text%2$s%3$s) RETURNS %4$s
        LANGUAGE plproxy VOLATILE PARALLEL UNSAFE
        AS $at$
        CLUSTER 'msgstore';
        RUN ON $1;
        %5$s;
        $at$;
        REVOKE ALL ON FUNCTION msgstore.%1$I(int, text, text, text%2$s) FROM PUBLIC;
        COMMENT ON FUNCTION msgstore.%1$I(int, text, text, text%2$s) IS %6$L$$,
        '_at_' || name, f.types,
        CASE WHEN f.prorettype = 'record'::regtype THEN f.definitions END,
        CASE WHEN f.proretset THEN 'SETOF ' ELSE '' END
            || CASE WHEN f.void THEN 'text' ELSE format_type(f.prorettype, NULL) END,
        format(CASE
            WHEN f.outputs < 2 AND NOT f.composite THEN 'SELECT msgstore.%1$I(%2$s)%3$s WHERE %4$s'
            WHEN f.types = '' THEN
                'SELECT %6$s FROM (SELECT msgstore.%1$I() AS f WHERE %4$s OFFSET 0) r'
            ELSE 'SELECT %5$s FROM msgstore.%1$I(%7$s) r' END,
            name, f.remote, CASE WHEN f.void THEN '::text' ELSE '' END, entered, f.columns, f.fields,
            regexp_replace(f.remote, '^\$5', format('CASE WHEN %s THEN $5 END', entered))),
        format('Calls %s() on a slot (1), for a tenant (2), an owner (3) and a caller (4)', name));

    -- This one is in router/sql.
    IF class = 'own' THEN
        EXECUTE format('DROP FUNCTION %s', signature);
        RETURN;
    END IF;

    IF f.same_names THEN
        inner_name := '_' || name;
        inner_arguments := substr(f.types || f.definitions, 3);
        inner_result := CASE WHEN f.proretset THEN 'SETOF record' ELSE 'record' END;
        EXECUTE format($$
            CREATE OR REPLACE FUNCTION msgstore.%1$I(%2$s) RETURNS %3$s
            LANGUAGE sql %4$s PARALLEL UNSAFE SECURITY DEFINER
            SET search_path = pg_catalog, pg_temp
            AS 'SELECT * FROM msgstore.%5$I(%6$s)';
            REVOKE ALL ON FUNCTION %7$s FROM PUBLIC;
            COMMENT ON FUNCTION %7$s IS %8$L$$,
            name, arguments, result, properties, inner_name, substr(f.given, 3), signature, comment);
        signature := format('msgstore.%I(%s)', inner_name, substr(f.types, 3));
        properties := replace(properties, ' STRICT', '');
        comment := format('Calls %s() in the slot of the session''s tenant', name);
    END IF;

    -- Warnings of a node are for the caller: that a commit did not wait for a standby is
    -- one. PL/Proxy's notices about its connections are not.
    EXECUTE format($$
        CREATE OR REPLACE FUNCTION msgstore.%1$I(%2$s) RETURNS %3$s
        LANGUAGE plpgsql %4$s PARALLEL UNSAFE SECURITY DEFINER
        SET search_path = pg_catalog, pg_temp
        SET client_min_messages = warning
        AS $body$
DECLARE
    slot %5$s;
    detail text;
    hint text;
    context text;
BEGIN
    %6$s
EXCEPTION WHEN OTHERS OR query_canceled THEN
    GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT,
        context = PG_EXCEPTION_CONTEXT;
    PERFORM msgstore._raise_of_node(slot, SQLSTATE, SQLERRM, detail, hint, context);
%7$sEND
$body$;
        REVOKE ALL ON FUNCTION %8$s FROM PUBLIC;
        COMMENT ON FUNCTION %8$s IS %9$L$$,
        inner_name, inner_arguments, inner_result, properties,
        CASE class
            WHEN 'write' THEN format('CONSTANT int := msgstore._slot_to_write(%s)', f.tenant)
            WHEN 'read' THEN format('CONSTANT int := msgstore._slot_to_read(%s, %L)', f.tenant, name)
            ELSE 'int' END,
        format(CASE
            WHEN class = 'all' THEN
                E'FOR slot IN SELECT s FROM msgstore._slots_of(msgstore._tenant_scope()) s LOOP\n'
                '        RETURN QUERY SELECT * FROM %1$s;\n    END LOOP;'
            WHEN f.proretset THEN 'RETURN QUERY SELECT * FROM %1$s;'
            WHEN f.void THEN 'PERFORM %1$s;'
            WHEN f.outputs > 0 AND NOT f.composite THEN 'SELECT * INTO %2$s FROM %1$s;'
            ELSE 'RETURN %1$s;' END,
            format('msgstore.%I(slot, msgstore._tenant_scope(), msgstore._owner_scope(), session_user%s)',
                   '_at_' || name, f.given),
            (SELECT string_agg(format('%I.%s', inner_name, n), ', ') FROM string_to_table(f.names, ',') n)),
        CASE WHEN class <> 'all' AND NOT f.proretset AND NOT f.void AND (f.outputs = 0 OR f.composite)
             THEN E'    RETURN NULL;\n' ELSE '' END,
        signature, comment);
END
$route$;

-- Creates a function that must be called in the database of a slot.
CREATE FUNCTION msgstore._refuse(name text, arguments text, result text) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $refuse$
DECLARE
    signature regprocedure;
BEGIN
    EXECUTE format($$
        CREATE FUNCTION msgstore.%1$I(%2$s) RETURNS %3$s
        LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
        SET search_path = pg_catalog, pg_temp
        AS $body$ BEGIN PERFORM msgstore._raise_not_offered(%4$L); END $body$
        $$,
        name, arguments, result, name);
    SELECT p.oid INTO STRICT signature FROM pg_proc p
    WHERE p.pronamespace = 'msgstore'::regnamespace AND p.proname = _refuse.name
        AND obj_description(p.oid, 'pg_proc') IS NULL;
    EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC; COMMENT ON FUNCTION %1$s IS %L', signature,
        format('Raises MS400: %s() must be called in the database of a slot', name));
END
$refuse$;
-- Generated by router/generate from the functions of msgstore. Do not edit.

CREATE TYPE msgstore.host_append AS (
    aggregate_id text,
    event_id text,
    event_version text,
    seq bigint
);

CREATE TYPE msgstore.host_entry AS (
    id text,
    ip_address text,
    hostname text,
    aliases text[],
    comment text,
    tags text[],
    created_at timestamp with time zone,
    updated_at timestamp with time zone,
    version text
);

CREATE TYPE msgstore.host_events AS (
    event_id text,
    aggregate_id text,
    event_type text,
    event_version text,
    ip_address text,
    hostname text,
    comment text,
    tags text,
    event_timestamp timestamp with time zone,
    metadata text,
    created_at timestamp with time zone,
    created_by text,
    expected_version text,
    aliases text,
    seq bigint,
    event jsonb,
    global_position bigint,
    stream text
);

CREATE TYPE msgstore.inbound_events AS (
    id uuid,
    tenant_id text,
    channel text,
    "from" text,
    "to" text,
    provider_message_id text,
    payload jsonb,
    status text,
    attempt_count integer,
    next_attempt_at timestamp with time zone,
    processor_id text,
    error_code text,
    error_message text,
    correlation_id text,
    created_at timestamp with time zone,
    updated_at timestamp with time zone,
    processed_at timestamp with time zone
);

CREATE TYPE msgstore.stream_event AS (
    stream text,
    version bigint,
    global_position bigint,
    event_id uuid,
    type text,
    data jsonb,
    metadata jsonb,
    created_at timestamp with time zone,
    created_by text,
    happened_at timestamp with time zone,
    tags text[]
);

-- class, name, arguments, result, properties, comment
SELECT msgstore._route('read', '_conversation_id', 'conversation text', 'uuid', 'STABLE',
    'Returns the id of the conversation with this id or number. Raises MS404');
SELECT msgstore._route('read', '_find_event', 'category text, after_position bigint', 'integer', 'VOLATILE',
    'Returns 2 if read_category() returns an event after the position, 1 if there is one that is not settled, otherwise 0');
SELECT msgstore._route('own', '_operations_page', 'page text, channel text DEFAULT NULL::text, after uuid DEFAULT NULL::uuid, before timestamp with time zone DEFAULT NULL::timestamp with time zone', 'jsonb', 'STABLE',
    NULL);
SELECT msgstore._route('own', '_sending_page', 'page text', 'jsonb', 'STABLE',
    NULL);
SELECT msgstore._route('read', 'ack', 'name text, "position" bigint, member bigint DEFAULT 0', 'void', 'VOLATILE',
    'Advances a consumer to a position, in the caller''s transaction. Raises MS400 for a position that no event has reached, MS404 if the subscription or the member does not exist, MS409 if the consumer is already past it');
SELECT msgstore._route('read', 'add_conversation_items', 'conversation text, items jsonb', 'jsonb', 'VOLATILE STRICT',
    'Adds an array of items at the end of a conversation and returns them as a list. Raises MS400, MS404, MS409 for an ID that is in use');
SELECT msgstore._route('write', 'append', 'stream text, type text, data jsonb, expected_version bigint DEFAULT NULL::bigint, metadata jsonb DEFAULT NULL::jsonb, event_id uuid DEFAULT NULL::uuid, created_by text DEFAULT NULL::text, happened_at timestamp with time zone DEFAULT NULL::timestamp with time zone, tags text[] DEFAULT NULL::text[]', 'bigint', 'VOLATILE',
    'Appends an event and returns its version in the stream. expected_version is the version before it (0: no events; null: any). If an event with the same event_id and content is stored, returns its version and stores nothing. happened_at is the own time of an imported event; tags are what append_if() and read_query() find it by. Raises MS400 for an invalid argument, MS409 for another version than expected or an event_id used with different content, 40001 in REPEATABLE READ and SERIALIZABLE if the stream changed after the snapshot');
SELECT msgstore._route('write', 'append_batch', 'events jsonb', 'TABLE(stream text, version bigint, global_position bigint)', 'VOLATILE STRICT',
    'Appends events to one or more streams, all or none, in the given order, and returns their versions and positions. Takes an array of objects with stream, type, data and optionally metadata, expected_version, event_id, created_by, happened_at and tags. Raises MS400, MS409 and 40001 like append()');
SELECT msgstore._route('write', 'append_host_batch', 'batch jsonb', 'SETOF msgstore.host_append', 'VOLATILE',
    'Appends events to one or more hosts, all or none, and returns the appended events. Takes an array of objects with aggregate_id (generated if missing), events and expected_version. Raises MS400 and MS409 like append_host_events()');
SELECT msgstore._route('write', 'append_host_events', 'aggregate_id text, events jsonb, expected_version text DEFAULT NULL::text', 'SETOF msgstore.host_append', 'VOLATILE',
    'Appends events to a host and returns them. Takes an array of events (objects with type and fields) or envelopes (objects with event and optionally event_id, event_version, aggregate_id, created_at, created_by, expected_version and metadata). expected_version is the version (text) or number of the last event, null or 0 for a host without events, -1 for any. Raises MS400 for an invalid event, MS409 for another version than expected or an address and name that belong to another host');
SELECT msgstore._route('write', 'append_if', 'events jsonb, query jsonb, after_position bigint DEFAULT 0', 'TABLE(stream text, version bigint, global_position bigint)', 'VOLATILE',
    'Appends events like append_batch(), if no event that matches the query has been appended after a position. The query is an object with tags and optionally types, or an array of these; an event matches an object if it has all of the tags and one of the types. If the event_ids of all events are stored, the condition is not checked. Raises MS409 with the position of the first event that matches, MS400 for an invalid argument or in a transaction that is not READ COMMITTED, and the errors of append_batch()');
SELECT msgstore._route('read', 'append_response_events', 'id text, events jsonb, worker_id text DEFAULT NULL::text', 'bigint', 'VOLATILE',
    'Appends an event, or an array of events, to those of a response and returns the sequence number of the last. An event without a sequence_number gets the next one. With a worker_id, the worker must hold the claim. Raises MS400 for an invalid event, MS404, MS409 without the claim');
SELECT msgstore._route('read', 'apply_snapshot_retention', 'max_count integer, max_age interval', 'integer', 'VOLATILE',
    'Deletes all but the max_count newest snapshots, and those older than max_age (null: no limit). Returns the number of deleted snapshots. Raises MS400 if a limit is not positive');
SELECT msgstore._route('read', 'branches', 'id text', 'TABLE(id text, deleted boolean, response jsonb)', 'VOLATILE STRICT',
    'Returns the responses that continue from this one, oldest first, deleted ones included and marked. Raises MS404');
SELECT msgstore._route('read', 'cancel_response', 'id text, delete_finished boolean DEFAULT true', 'jsonb', 'VOLATILE STRICT',
    'Cancels a queued or in-progress background response and returns it. Any other response is deleted, and the result is null; with delete_finished false it raises MS409 instead, unless the response is cancelled already. Raises MS404');
SELECT msgstore._route('read', 'causation_tree', 'root_id uuid, max_depth integer DEFAULT 100', 'TABLE(depth integer, caused_by uuid, stream text, version bigint, global_position bigint, event_id uuid, type text, data jsonb, metadata jsonb, created_at timestamp with time zone)', 'STABLE STRICT',
    'Returns an event and the events that it has caused, down to max_depth: those whose metadata names it in causation_id, and so on. Each event is followed by those it has caused');
SELECT msgstore._route('read', 'chain_items', 'id text, max_items integer DEFAULT NULL::integer, max_depth integer DEFAULT 1000', 'jsonb', 'VOLATILE',
    'Returns the items of a chain as one JSON array, oldest first, the input of each response before its output. At most the newest max_items items and max_depth steps; null means no limit. Raises a notice for a missing ancestor and for a chain that max_depth cut, MS400 for a cycle or a negative limit, MS404');
SELECT msgstore._route('all', 'channel_metrics', '', 'TABLE(tenant_id text, channel text, ingested bigint, duplicate bigint, processed bigint, error bigint, dead_letter bigint, sent bigint, queued bigint, dead_letters bigint, tenant_oldest_event_age_us bigint)', 'VOLATILE STRICT',
    'Returns counters since the server started and current queue and dead letter counts, one row per tenant and channel. The age of the oldest event (microseconds) is per tenant. Pairs beyond the limit of 1024 are added up in a row with an empty tenant and channel other');
SELECT msgstore._route('own', 'check', '', 'TABLE(finding text, subject text, detail text, repair text)', 'STABLE',
    NULL);
SELECT msgstore._route('read', 'claim', 'processor_id text, max_events integer DEFAULT 10', 'SETOF msgstore.inbound_events', 'VOLATILE',
    'Claims up to max_events due events for an external processor, oldest first, and returns them as rows of inbound_events. A claim ends with complete() or fail(), or expires msgstore.claim_timeout after the last heartbeat. Raises MS400 for an invalid argument, MS403 when called from a handler');
SELECT msgstore._route('read', 'claim_media', 'sender_id text, max_files integer DEFAULT 10, OUT attachment_id uuid, OUT tenant_id text, OUT account text, OUT attempt integer, OUT url text, OUT auth text, OUT secret_name text, OUT secret text, OUT timeout_ms integer, OUT max_bytes integer, OUT again boolean', 'SETOF record', 'VOLATILE',
    'For msgstore-sender: returns files that are to be fetched from providers, at once. auth is none if the secret must not be sent to the URL. Report each with record_media(). Raises MS400 for an invalid argument');
SELECT msgstore._route('read', 'claim_notifications', 'sender_id text, max_notifications integer DEFAULT 10, OUT notification_id uuid, OUT tenant_id text, OUT destination text, OUT attempt integer, OUT url text, OUT headers text, OUT body text, OUT timeout_ms integer, OUT again boolean', 'SETOF record', 'VOLATILE',
    'For msgstore-sender: claims notifications that are due, and returns the requests that deliver them, to be made at once. A row with again means that another claim may find more. Raises MS400 for an invalid argument');
SELECT msgstore._route('read', 'claim_outbound', 'sender_id text, max_messages integer DEFAULT 10, channels text[] DEFAULT NULL::text[]', 'TABLE(message_id uuid, tenant_id text, channel text, provider text, "from" text, "to" text, body text, attachments jsonb, "timestamp" timestamp with time zone, correlation_id text, attempt integer, payload jsonb)', 'VOLATILE',
    'Leases up to max_messages messages to the sender for msgstore.claim_timeout, oldest first, and returns what is needed to send them: from and to as they were given to send(), with display names, and the whole payload. attempt is 1 for the first attempt. channels: only messages of these channels. Raises MS400 for an invalid argument');
SELECT msgstore._route('read', 'claim_requests', 'sender_id text, max_requests integer DEFAULT 10, OUT message_id uuid, OUT tenant_id text, OUT account text, OUT attempt integer, OUT correlation_id text, OUT method text, OUT url text, OUT headers text, OUT body text, OUT auth text, OUT secret_name text, OUT secret text, OUT timeout_ms integer, OUT again boolean', 'SETOF record', 'VOLATILE',
    'For msgstore-sender: leases messages as claim_outbound() does, and returns the requests that send them, to be made at once. secret is null if the sender must look it up under secret_name. A row with again means that messages wait for their account, and another claim may find more. Report each answer with record_answer(). Raises MS400 for an invalid argument');
SELECT msgstore._route('read', 'claim_response', 'worker_id text', 'TABLE(id text, response jsonb, request jsonb)', 'VOLATILE STRICT',
    'Claims the oldest queued background response for a worker: moves it to in_progress and returns it with its request. No row if none is queued. Raises MS400 for an empty worker_id');
SELECT msgstore._route('read', 'cleanup_responses', 'cutoff bigint, batch integer DEFAULT NULL::integer', 'bigint', 'VOLATILE',
    'Removes completed, failed and cancelled background responses created before the cutoff, a time in Unix seconds: the oldest, at most batch of them (null: msgstore.response_cleanup_batch). Returns the number removed');
SELECT msgstore._route('read', 'compact_host', 'aggregate_id text, OUT events_before bigint, OUT events_after bigint, OUT version bigint, OUT event_version text', 'record', 'VOLATILE STRICT',
    'Replaces the events of a host with one HostCompacted event of the same version, if there are two or more. Returns the number of events before and after, and the number and version of the last event. Raises XX001 if an event is invalid, and keeps all of them');
SELECT msgstore._route('read', 'compact_stream', 'stream text, seed jsonb, expected_version bigint DEFAULT NULL::bigint, OUT events_before bigint, OUT events_after bigint, OUT version bigint', 'record', 'VOLATILE',
    'Replaces the events of a stream with one seed event of the same version, if there are two or more. Returns the number of events before and after, and the version. seed is an event (type, data and optionally metadata, event_id, created_by) or its data alone, which gets the type Compacted. Raises MS400 for an invalid argument, MS409 if the stream is not at expected_version (null: any) or the event_id belongs to another event');
SELECT msgstore._route('read', 'complete', 'processor_id text, event_ids uuid[]', 'integer', 'VOLATILE',
    'Creates the messages of all these claimed events, or raises an error and changes nothing. Returns the number of messages. Raises MS400 for an invalid argument, MS403 when called from a handler, MS409 if the processor does not hold every claim or, with strict_order, if an earlier event of the conversation is waiting');
SELECT msgstore._route('read', 'count_events', 'stream text', 'bigint', 'STABLE STRICT',
    'Returns the number of events of a stream');
SELECT msgstore._route('read', 'count_host_events', 'aggregate_id text', 'bigint', 'STABLE STRICT',
    'Returns the number of events of a host');
SELECT msgstore._route('write', 'create_account', 'name text, provider text, channels text[], secret text DEFAULT NULL::text, options jsonb DEFAULT ''{}''::jsonb, tenant text DEFAULT NULL::text, addresses text[] DEFAULT ''{}''::text[], source text DEFAULT NULL::text, base_url text DEFAULT NULL::text, secret_name text DEFAULT NULL::text, rate numeric DEFAULT NULL::numeric, resend boolean DEFAULT NULL::boolean, timeout interval DEFAULT ''00:00:30''::interval', 'void', 'VOLATILE',
    'Creates an account at a provider, through which msgstore-sender sends the messages of these channels. secret: key, token or user:password, kept in the database; if null, the sender looks it up under secret_name. source: the source that receives the provider''s status callbacks. rate: messages a second. resend: whether to send again when it is not known whether the provider has accepted a message. Raises MS400 for an invalid argument, MS403 for another tenant than the session''s, MS404 for a source that does not exist, MS409 if the tenant has an account with this name');
SELECT msgstore._route('write', 'create_destination', 'name text, url text, events text[] DEFAULT ''{message.received}''::text[], secret text DEFAULT NULL::text, tenant text DEFAULT NULL::text, timeout interval DEFAULT ''00:00:15''::interval, retry_after interval[] DEFAULT ''{00:00:05,00:05:00,00:30:00,02:00:00,05:00:00,10:00:00,14:00:00,20:00:00,24:00:00}''::interval[]', 'text', 'VOLATILE',
    'Creates a destination: msgstore-sender posts these events of the tenant to the URL, signed as Standard Webhooks. retry_after: how long to wait after each failed attempt. Returns the secret, which is made if it is null. Raises MS400 for an invalid argument, MS403 for another tenant than the session''s, MS409 if the tenant has a destination with this name');
SELECT msgstore._route('write', 'create_response_conversation', 'conversation jsonb DEFAULT ''{}''::jsonb', 'jsonb', 'VOLATILE STRICT',
    'Creates a conversation from an object with metadata, items and id, all optional, and returns it. Raises MS400, MS409 for an ID that is in use');
SELECT msgstore._route('write', 'create_subscription', 'name text, category text DEFAULT NULL::text, group_size bigint DEFAULT 1, after_position bigint DEFAULT 0', 'void', 'VOLATILE',
    'Creates a subscription to a category (null: all) with group_size consumers, beginning after a position. Raises MS400 if the name is empty, the category contains a hyphen, after_position is past the end of the log, or group_size is not between 1 and 1000, MS409 if the subscription already exists');
SELECT msgstore._route('read', 'delete_conversation_item', 'conversation text, id text', 'jsonb', 'VOLATILE STRICT',
    'Removes an item from a conversation and returns the conversation. Raises MS404');
SELECT msgstore._route('read', 'delete_response', 'id text', 'boolean', 'VOLATILE STRICT',
    'Deletes a response softly: get_response and lists no longer return it, chains do. Returns true. Raises MS404, also for a second delete');
SELECT msgstore._route('read', 'delete_response_conversation', 'id text', 'boolean', 'VOLATILE STRICT',
    'Removes a conversation with its items and returns true; its responses stay. Raises MS404');
SELECT msgstore._route('read', 'delete_snapshot', 'id text', 'void', 'VOLATILE',
    'Deletes a snapshot. Raises MS404 if it does not exist');
SELECT msgstore._route('read', 'drop_account', 'account text', 'void', 'VOLATILE',
    'Removes an account and its secret. Raises MS404 if there is no such account, MS409 if several tenants have one');
SELECT msgstore._route('read', 'drop_destination', 'destination text', 'void', 'VOLATILE',
    'Removes a destination, its secrets, and what waits for it. Raises MS404 if there is no such destination, MS409 if several tenants have one');
SELECT msgstore._route('read', 'drop_subscription', 'name text', 'void', 'VOLATILE STRICT',
    'Removes a subscription with its positions and parked events. Raises MS404 if it does not exist');
SELECT msgstore._route('read', 'erase_address', 'channel text, address text', 'TABLE(what text, removed bigint)', 'VOLATILE',
    'Removes all data of an address on a channel and the channels that share its threads: messages from and to it and in conversations that name it, conversations, events, attachments, refused events, dead letters, deliveries, and idempotency keys. Returns the number of rows for each table. Logs the call in operations_log, without the address. Raises MS400 for an unknown channel or a blank address');
SELECT msgstore._route('read', 'erase_events', 'stream text DEFAULT NULL::text, metadata jsonb DEFAULT NULL::jsonb, data jsonb DEFAULT NULL::jsonb', 'bigint', 'VOLATILE',
    'Overwrites data, metadata and author of all events of a stream, of those whose metadata or data contain these values, or of those for which all given conditions hold; their positions, versions, ids and types stay. Logs the operation without its values, and returns the number of events. Raises MS400 if nothing is given or the stream is one of msgstore itself');
SELECT msgstore._route('read', 'event_page', 'category text DEFAULT NULL::text, after_position bigint DEFAULT 0, max_events bigint DEFAULT 100, wait interval DEFAULT ''00:00:00''::interval', 'jsonb', 'VOLATILE',
    'Returns the events of a category (null: all) after a position as JSON, and the position for the next call. If there are none, waits for them. Stops at about 1 MB. Raises MS400 unless max_events is between 1 and 1000, or for a negative wait');
SELECT msgstore._route('read', 'fail', 'processor_id text, event_id uuid, error_code text, error_message text', 'text', 'VOLATILE',
    'Records a failed attempt of a claimed event and ends the claim. Error code MS400 makes it a dead letter at once. Returns the new status: error or dead_letter. Raises MS400 for an invalid argument, MS403 when called from a handler, MS409 if the processor does not hold the claim');
SELECT msgstore._route('read', 'fetch', 'name text, max_events bigint DEFAULT 100, member bigint DEFAULT 0', 'SETOF msgstore.stream_event', 'VOLATILE',
    'Returns the next events of a consumer (member, from 0), at most max_events, and locks the consumer until the transaction ends. Call ack() to advance. Raises MS400 if max_events is not positive, MS404 if the subscription or the member does not exist');
SELECT msgstore._route('read', 'fetch_attachment', 'id uuid', 'void', 'VOLATILE',
    'Fetches an attachment again that a provider keeps, from the first attempt on. Raises MS404 if there is no such attachment');
SELECT msgstore._route('read', 'fetch_page', 'name text, max_events bigint DEFAULT 100, member bigint DEFAULT 0, wait interval DEFAULT ''00:00:00''::interval', 'jsonb', 'VOLATILE',
    'Returns the next events of a subscription''s member as JSON, and the position to acknowledge (null: none). If there are none, waits for them without a lock. Stops at about 1 MB. Raises MS400 unless max_events is between 1 and 1000, or for a negative wait, MS404 if the subscription or the member does not exist');
SELECT msgstore._route('read', 'get_attachment', 'id uuid, OUT message_id uuid, OUT kind text, OUT name text, OUT media_type text, OUT disposition text, OUT size_bytes bigint, OUT url text, OUT content bytea, OUT problem text', 'record', 'STABLE',
    'Returns an attachment with its content, and the media type and disposition with which it can be served safely. content is null if it was too large to be kept, is at a URL, or has not been fetched; problem says which. Raises MS404 if there is no such attachment');
SELECT msgstore._route('read', 'get_conversation', 'conversation text, reader text DEFAULT NULL::text', 'jsonb', 'STABLE',
    'Returns a conversation, given by id or number, as an item of list_conversations(). Raises MS404 if it does not exist');
SELECT msgstore._route('read', 'get_conversation_item', 'conversation text, id text', 'jsonb', 'VOLATILE STRICT',
    'Returns an item of a conversation. Raises MS404');
SELECT msgstore._route('read', 'get_response', 'id text', 'jsonb', 'VOLATILE STRICT',
    'Returns the whole response. Raises MS404 if it does not exist, is deleted, or belongs to another tenant or owner');
SELECT msgstore._route('read', 'get_response_conversation', 'id text', 'jsonb', 'VOLATILE STRICT',
    'Returns a conversation: {id, object, created_at, metadata}. Raises MS404');
SELECT msgstore._route('read', 'get_response_for_chain', 'id text', 'jsonb', 'VOLATILE STRICT',
    'Returns the whole response, even if it is deleted. Raises MS404 if it does not exist or belongs to another tenant or owner');
SELECT msgstore._route('read', 'get_snapshot', 'id text', 'jsonb', 'STABLE',
    'Returns a snapshot as an object. Raises MS404 if it does not exist');
SELECT msgstore._route('read', 'heartbeat', 'processor_id text', 'integer', 'VOLATILE',
    'Renews all claims of the processor and returns their number');
SELECT msgstore._route('read', 'heartbeat_outbound', 'sender_id text', 'integer', 'VOLATILE',
    'Renews all leases of the sender and returns their number. Raises MS400 for an invalid argument');
SELECT msgstore._route('read', 'heartbeat_response', 'id text, worker_id text', 'boolean', 'VOLATILE STRICT',
    'Renews the claim of a worker on a response and returns true. Raises MS400 for an empty worker_id, MS404, MS409 if the worker no longer holds the claim');
SELECT msgstore._route('read', 'hold_response', 'id text, hold boolean DEFAULT true', 'boolean', 'VOLATILE STRICT',
    'Puts a response of the durable store under legal hold, or with false releases it. A response on hold is never removed. Returns whether it is on hold now. Raises MS404, MS400 in a session that uses the in-memory store');
SELECT msgstore._route('read', 'host_by_id', 'id text', 'msgstore.host_entry', 'STABLE',
    'Returns a host. Raises MS404 if it does not exist or is deleted, XX001 if one of its events is invalid');
SELECT msgstore._route('read', 'host_by_ip_and_hostname', 'ip_address text, hostname text', 'SETOF msgstore.host_entry', 'STABLE STRICT',
    'Returns the host with this address and name; no row if there is none or it is deleted. Raises XX001 if an event of a host is invalid');
SELECT msgstore._route('read', 'host_sequence', 'aggregate_id text', 'bigint', 'STABLE STRICT',
    'Returns the number of the last event of a host, 0 without events');
SELECT msgstore._route('read', 'host_version', 'aggregate_id text', 'text', 'STABLE STRICT',
    'Returns the version (text) of the last event of a host, null without events');
SELECT msgstore._route('read', 'hosts_at', 'at timestamp with time zone', 'SETOF msgstore.host_entry', 'STABLE STRICT',
    'Returns the hosts as of a time, from the events recorded until then. Raises XX001 if one of these is invalid');
SELECT msgstore._route('read', 'hosts_health', '', 'jsonb', 'STABLE STRICT',
    'Returns {"status": "ok", "backend": "postgresql"} if the tables for hosts can be read');
SELECT msgstore._route('read', 'index_messages', 'max_messages integer DEFAULT 10000', 'integer', 'VOLATILE',
    'Indexes at most so many messages for search_messages(), as the worker does, and returns their number. Raises MS400 for an invalid number, MS403 in a session of a tenant');
SELECT msgstore._route('read', 'index_responses', 'max_responses integer DEFAULT 1000', 'bigint', 'VOLATILE',
    'Indexes responses for search_responses(), as the worker does. Takes up to max_responses changes, and returns how many it took. Raises MS400 for an invalid number, MS403 in a session of a tenant');
SELECT msgstore._route('write', 'ingest', 'channel text, payload jsonb, idempotency_key text DEFAULT NULL::text, correlation_id text DEFAULT NULL::text, mock boolean DEFAULT false, OUT event_id uuid, OUT duplicate boolean', 'record', 'VOLATILE',
    'Stores an inbound event and wakes the worker at commit. payload: the provider''s JSON object. idempotency_key: remembered for two hours. mock: accept an event without a provider message id. Returns event_id and duplicate; if duplicate is true, nothing was stored and event_id is the id of the first event. Raises MS400 for an invalid argument, MS409 if the idempotency key was used with another payload, MS413 if the payload is too large');
SELECT msgstore._route('own', 'ingest_batch', 'items jsonb', 'TABLE(ordinal integer, event_id uuid, duplicate boolean, error_code text, error_message text, error_detail text)', 'VOLATILE STRICT',
    NULL);
SELECT msgstore._route('read', 'last_event', 'stream text, type text DEFAULT NULL::text', 'SETOF msgstore.stream_event', 'STABLE',
    'Returns the last event of a stream, or its last event of a type; no row if there is none');
SELECT msgstore._route('own', 'latency_histogram', '', 'TABLE(le_us bigint, count bigint)', 'VOLATILE STRICT',
    NULL);
SELECT msgstore._route('read', 'latest_event_id', '', 'uuid', 'VOLATILE STRICT',
    'Returns an id that increases whenever latest_position() does, whatever ids callers give to their events; if the id of the last event was generated, returns that one');
SELECT msgstore._route('read', 'latest_host_event_id', '', 'text', 'STABLE STRICT',
    'Returns the greatest event id of all hosts (ULID), 26 zeros without events. It increases with every commit that changes hosts');
SELECT msgstore._route('read', 'latest_position', '', 'bigint', 'VOLATILE STRICT',
    'Returns the global position of the last event that read_all() shows, 0 if there are none');
SELECT msgstore._route('all', 'list_accounts', '', 'TABLE(name text, tenant_id text, provider text, channels text[], addresses text[], options jsonb, base_url text, source text, secret_name text, has_secret boolean, rate numeric, resend boolean, failures integer, paused_until timestamp with time zone, last_error text, created_at timestamp with time zone)', 'STABLE',
    'Returns the accounts of the session''s tenant, or of all tenants for a session without one. has_secret: whether the database has the secret, which is not returned');
SELECT msgstore._route('read', 'list_conversation_items', 'conversation text, after text DEFAULT NULL::text, before text DEFAULT NULL::text, max_results integer DEFAULT 20, sort_order text DEFAULT ''desc''::text', 'jsonb', 'VOLATILE',
    'Returns one page of the items of a conversation, newest first, as {object, data, first_id, last_id, has_more}. Cursors and limits are those of list_responses. Raises MS400 for an invalid sort order, MS404');
SELECT msgstore._route('read', 'list_conversations', 'page integer DEFAULT 1, page_size integer DEFAULT 50, after text DEFAULT NULL::text, state text DEFAULT NULL::text, assignee text DEFAULT NULL::text, label text DEFAULT NULL::text, contact_name text DEFAULT NULL::text, reader text DEFAULT NULL::text, unread boolean DEFAULT false', 'jsonb', 'STABLE',
    'Returns a page of conversations as {"items", "meta": {page, page_size, total, next_cursor}}, most recent activity first. page_size: 1 to 50, anything else means 50. after: a next_cursor, takes precedence over page. Filters: state (open or closed), assignee (an empty string means nobody), label, contact_name (any part of it, in any case), and unread, what the reader has not read. With a reader, items have unread_count. meta has total_is_minimum: true if total counts only what was found among 10,000 conversations. Raises MS400 for an invalid cursor or filter, and for a page beyond the first 10,000 items');
SELECT msgstore._route('all', 'list_destinations', '', 'TABLE(name text, tenant_id text, url text, events text[], paused boolean, paused_until timestamp with time zone, failures integer, last_error text, waiting bigint, dead bigint, created_at timestamp with time zone)', 'STABLE',
    'Returns the destinations of the session''s tenant, or of all tenants for a session without one, with the numbers of notifications that wait and that were given up. Does not return secrets');
SELECT msgstore._route('read', 'list_host_ids', '', 'SETOF text', 'STABLE STRICT',
    'Returns the ids of all hosts that have events, including deleted ones');
SELECT msgstore._route('read', 'list_hosts', '', 'SETOF msgstore.host_entry', 'STABLE STRICT',
    'Returns all hosts that are not deleted, by address and name in byte order. Raises XX001 if an event of a host is invalid');
SELECT msgstore._route('read', 'list_members', 'name text', 'TABLE(member bigint, "position" bigint, last_fetch_at timestamp with time zone)', 'STABLE STRICT',
    'Returns the members of a subscription with their positions and the times of their last fetch(). Raises MS404 if it does not exist');
SELECT msgstore._route('read', 'list_messages', 'conversation bigint, page integer DEFAULT 1, page_size integer DEFAULT 50, after text DEFAULT NULL::text, newest_first boolean DEFAULT false', 'jsonb', 'STABLE',
    'Is list_messages() for a conversation that is given by its number');
SELECT msgstore._route('read', 'list_messages', 'conversation text, page integer DEFAULT 1, page_size integer DEFAULT 50, after text DEFAULT NULL::text, newest_first boolean DEFAULT false', 'jsonb', 'STABLE',
    'Returns a page of the messages of a conversation, given by id or number, oldest first unless newest_first is true, in the format of list_conversations(). Raises MS404 if the conversation does not exist, MS400 for an invalid cursor and for a page beyond the first 10,000 items');
SELECT msgstore._route('all', 'list_operations', '', 'TABLE(tenant_id text, operation text, phase text, done bigint, total bigint, started_at timestamp with time zone, pid integer)', 'VOLATILE',
    'Returns the long operations in scope that are in progress: replay, purge, erase, check, compact, verify_log, rebuild_projection, index_messages. done of total (null: unknown) events, messages, rows or steps of the phase are done; pid: the session, null if the worker does it step by step');
SELECT msgstore._route('read', 'list_parked', 'name text', 'TABLE(global_position bigint, reason text, parked_at timestamp with time zone)', 'STABLE STRICT',
    'Returns the parked events of a subscription, by position. Raises MS404 if it does not exist');
SELECT msgstore._route('all', 'list_projections', '', 'TABLE(tenant_id text, name text, category text, function text, state text, "position" bigint, head bigint, lag_events bigint, lag_seconds double precision, parked_events bigint, attempts integer, next_attempt_at timestamp with time zone, error_code text, error_message text, applied_at timestamp with time zone, rebuild_progress double precision)', 'STABLE',
    'Returns the projections of the session''s tenant, or of all tenants: their state (running, retrying, rebuilding, paused), position and lag as in list_subscriptions(), failed attempts of the next event with the last error, and the progress of the last rebuild from 0 to 1');
SELECT msgstore._route('all', 'list_response_usage', 'since date DEFAULT NULL::date, until date DEFAULT NULL::date', 'TABLE(tenant_id text, model text, day date, response_count bigint, input_tokens numeric, output_tokens numeric, total_tokens numeric)', 'STABLE',
    'Returns the number of responses and tokens by tenant, model and day (in UTC, on which the responses ended in the store), from the first to the last of these days; null means no limit. Counts responses of the durable store with a usage, also after they were removed');
SELECT msgstore._route('read', 'list_responses', 'after text DEFAULT NULL::text, before text DEFAULT NULL::text, max_results integer DEFAULT 20, sort_order text DEFAULT ''desc''::text, model text DEFAULT NULL::text, status text DEFAULT NULL::text, background boolean DEFAULT NULL::boolean', 'jsonb', 'VOLATILE',
    'Returns one page of responses by creation time and ID: {object, data, first_id, last_id, has_more}. The cursors after and before are IDs; after takes precedence. max_results is limited to 100, and 20 if it is null or less than 1; a page ends early where its documents exceed msgstore.max_response_bytes. Raises MS400 for an invalid sort order');
SELECT msgstore._route('read', 'list_snapshots', 'max_results integer DEFAULT NULL::integer, skip integer DEFAULT NULL::integer', 'TABLE(snapshot_id text, created_at timestamp with time zone, entry_count integer, trigger text, name text, event_log_position bigint)', 'STABLE',
    'Returns at most max_results (null: no limit) snapshots without hosts_content and entries, newest first, after skipping "skip" of them. Raises MS400 if an argument is negative');
SELECT msgstore._route('all', 'list_stream_retention', '', 'TABLE(tenant_id text, category text, max_age interval, max_count bigint, removed_events bigint)', 'STABLE',
    'Returns the retention of the session''s tenant, or of all tenants, and the number of events removed so far');
SELECT msgstore._route('read', 'list_streams', 'category text DEFAULT NULL::text, after text DEFAULT NULL::text, max_streams integer DEFAULT 1000', 'TABLE(stream text, version bigint)', 'STABLE',
    'Returns at most max_streams (null: no limit) streams of a category (null: all) with their versions, sorted by name, beginning after the stream "after". Raises MS400 if max_streams is negative or the category contains a hyphen');
SELECT msgstore._route('all', 'list_subscriptions', 'max_lag bigint DEFAULT 100000', 'TABLE(tenant_id text, name text, category text, members bigint, "position" bigint, head bigint, lag_events bigint, lag_seconds double precision, last_fetch_at timestamp with time zone, parked_events bigint, created_at timestamp with time zone)', 'STABLE',
    'Returns the subscriptions of the session''s tenant, or of all tenants: the position of the slowest member, the position of the last event (head), the number of events not yet acknowledged, counted up to max_lag (null: no limit), the age of the oldest of them, the time of the last fetch(), and the number of parked events');
SELECT msgstore._route('read', 'load_host_events', 'aggregate_id text', 'SETOF msgstore.host_events', 'STABLE',
    'Returns the events of a host, oldest first. Raises XX001 if one of them is invalid');
SELECT msgstore._route('read', 'mark_read', 'conversation text, reader text, message uuid DEFAULT NULL::uuid', 'jsonb', 'VOLATILE',
    'Notes that the reader has read the conversation, given by id or number, up to a message, or all of it if the message is null. Returns the conversation as get_conversation() does. Raises MS400 for an invalid reader, MS404 if the conversation does not exist or the message is not in it');
SELECT msgstore._route('read', 'mark_unread', 'conversation text, reader text', 'jsonb', 'VOLATILE',
    'Makes at least the last inbound message of the conversation, given by id or number, unread for the reader. Returns the conversation as get_conversation() does. Raises MS400 for an invalid reader, MS404 if the conversation does not exist');
SELECT msgstore._route('own', 'metrics', '', 'jsonb', 'VOLATILE STRICT',
    NULL);
SELECT msgstore._route('own', 'metrics_detail', '', 'jsonb', 'VOLATILE STRICT',
    NULL);
SELECT msgstore._route('write', 'opt_in', 'channel text, recipient text, sender text DEFAULT NULL::text', 'boolean', 'VOLATILE',
    'Records that a recipient wants messages again: from this sender, or with null ends the opt-out of all of the tenant''s. Returns false if there was no such opt-out. Raises MS400 for an invalid argument');
SELECT msgstore._route('write', 'opt_out', 'channel text, recipient text, sender text DEFAULT NULL::text, reason text DEFAULT ''manual''::text', 'boolean', 'VOLATILE',
    'Records that a recipient does not want messages from this sender, or with null from any of the tenant. reason: manual, unsubscribed or complaint. Returns false if that was recorded already. Raises MS400 for an invalid argument');
SELECT msgstore._route('read', 'park', 'name text, "position" bigint, reason text', 'void', 'VOLATILE',
    'Sets an event aside with a reason, so that the subscription can continue after it. Raises MS404 if the subscription does not exist or has no event at the position');
SELECT msgstore._route('read', 'pause_destination', 'destination text', 'void', 'VOLATILE',
    'Pauses a destination: its notifications wait. Raises MS404 if there is no such destination, MS409 if several tenants have one');
SELECT msgstore._route('read', 'pause_projection', 'name text', 'void', 'VOLATILE',
    'Stops the worker from applying events to a projection. Raises MS404 if it does not exist');
SELECT msgstore._route('read', 'process', 'max_events integer DEFAULT NULL::integer', 'integer', 'VOLATILE',
    'Processes the events that are due when the call begins, at most max_events (null: no limit), in the current transaction. Returns the number of events that became messages or dead letters. Raises MS400 if max_events is not positive, MS403 when called from a handler');
SELECT msgstore._route('read', 'purge', 'older_than interval, dry_run boolean DEFAULT false, kinds text[] DEFAULT ''{events,dead_letters}''::text[]', 'TABLE(kind text, removed bigint)', 'VOLATILE',
    'Removes data older than the given age and returns the number of rows for each kind. Kinds: payloads (empties the payloads of processed events), events (processed events with their attachments, failures and conflicts, delivery statuses, and refused events; messages stay), dead_letters (with their events; and notifications that were given up), consent_log (entries of consent_log; opt-outs stay). payloads and events also remove the payloads of outbound messages. Events and messages that are queued or claimed stay. With dry_run, only counts. Logs the call in operations_log. Raises MS400 for a negative age or an unknown kind');
SELECT msgstore._route('read', 'purge_responses', 'older_than interval', 'bigint', 'VOLATILE STRICT',
    'Removes deleted responses, and responses older than this that are neither queued nor in progress. Keeps ancestors of responses that stay. Returns the number removed');
SELECT msgstore._route('read', 'read_all', 'after_position bigint DEFAULT 0, max_events bigint DEFAULT 1000, consumer_member bigint DEFAULT NULL::bigint, consumer_size bigint DEFAULT NULL::bigint, types text[] DEFAULT NULL::text[], metadata jsonb DEFAULT NULL::jsonb', 'SETOF msgstore.stream_event', 'VOLATILE',
    'Like read_category(), for all categories. Raises MS400 for an invalid argument');
SELECT msgstore._route('read', 'read_category', 'category text, after_position bigint DEFAULT 0, max_events bigint DEFAULT 1000, consumer_member bigint DEFAULT NULL::bigint, consumer_size bigint DEFAULT NULL::bigint, types text[] DEFAULT NULL::text[], metadata jsonb DEFAULT NULL::jsonb', 'SETOF msgstore.stream_event', 'VOLATILE',
    'Returns at most max_events (null: no limit) committed events of a category after a position, in global order. An event that it does not return yet never gets a position below one that it has returned. With consumer_member (from 0) and consumer_size, returns only that consumer''s share of the streams. types and metadata as in read_stream(). Raises MS400 for an invalid argument');
SELECT msgstore._route('read', 'read_query', 'query jsonb, after_position bigint DEFAULT 0, max_events bigint DEFAULT 1000', 'SETOF msgstore.stream_event', 'VOLATILE',
    'Returns at most max_events (null: no limit) committed events that match the query of append_if(), after a position, in global order. Raises MS400 for an invalid argument');
SELECT msgstore._route('read', 'read_stream', 'stream text, from_version bigint DEFAULT 1, max_events bigint DEFAULT 1000, types text[] DEFAULT NULL::text[], metadata jsonb DEFAULT NULL::jsonb', 'SETOF msgstore.stream_event', 'STABLE',
    'Returns at most max_events (null: no limit) events of a stream from a version on, oldest first. With types, returns only events of these types; with metadata, only those whose metadata contains it. Raises MS400 if max_events is negative');
SELECT msgstore._route('read', 'read_stream_backwards', 'stream text, from_version bigint DEFAULT NULL::bigint, max_events bigint DEFAULT 1000, types text[] DEFAULT NULL::text[], metadata jsonb DEFAULT NULL::jsonb', 'SETOF msgstore.stream_event', 'STABLE',
    'Returns at most max_events (null: no limit) events of a stream from a version (null: the last one) backwards, newest first. types and metadata as in read_stream(). Raises MS400 if max_events is negative');
SELECT msgstore._route('own', 'readiness', 'max_event_age interval DEFAULT ''00:05:00''::interval', 'TABLE(finding text, severity text, detail text, hint text)', 'STABLE',
    NULL);
SELECT msgstore._route('read', 'reap_outbound', '', 'integer', 'VOLATILE STRICT',
    'Ends all expired leases. Each counts as a failed attempt with error_code MS504, and its message can be claimed again at once. Returns the number of leases');
SELECT msgstore._route('read', 'reap_responses', 'stale_after interval DEFAULT ''00:01:00''::interval', 'bigint', 'VOLATILE STRICT',
    'Releases claims without a heartbeat for this long. Queues the responses again, or fails those that were retried msgstore.max_retries times. Returns the number of responses');
SELECT msgstore._route('read', 'reap_stale', '', 'integer', 'VOLATILE STRICT',
    'Releases expired claims and returns their number. Each counts as a failed attempt with error code MS504; the event is due again at once. Workers call it themselves; call it only where no worker runs. Raises MS403 when called from a handler');
SELECT msgstore._route('read', 'rebuild_projection', 'name text', 'void', 'VOLATILE',
    'Calls the reset function of a projection and makes the worker apply all events again, from the first. Raises MS404 if it does not exist');
SELECT msgstore._route('read', 'rebuild_response_search', '', 'bigint', 'VOLATILE',
    'Empties the index of responses in scope and has it built again in the background. Returns the number of responses to be indexed');
SELECT msgstore._route('read', 'rebuild_search', '', 'bigint', 'VOLATILE',
    'Empties the index of messages in scope and has it built again in the background. Returns the number of messages to be indexed');
SELECT msgstore._route('own', 'receive_webhook', 'path text, method text, url text, headers jsonb, body bytea, correlation_id text DEFAULT NULL::text, mail jsonb DEFAULT NULL::jsonb, files bytea DEFAULT NULL::bytea, OUT status integer, OUT content_type text, OUT answer text, OUT outcome text, OUT reason text, OUT id uuid', 'record', 'VOLATILE',
    NULL);
SELECT msgstore._route('read', 'record_answer', 'sender_id text, message_id uuid, status integer, headers text, body bytea, failure text DEFAULT NULL::text, was_sent boolean DEFAULT true', 'text', 'VOLATILE',
    'For msgstore-sender: records the answer to a request of claim_requests(). status: that of HTTP or of the mail server, 0 for none. failure: why there is no answer. was_sent: whether the provider may have received the request. Returns the status of the message. Raises MS400 for an invalid argument, MS404 if there is no such message, MS409 if another sender holds it');
SELECT msgstore._route('read', 'record_media', 'sender_id text, attachment_id uuid, status integer, headers text, body bytea, failure text DEFAULT NULL::text', 'text', 'VOLATILE',
    'For msgstore-sender: records the answer to a request of claim_media(). status: that of HTTP, 0 for none, 413 if the file is larger than max_bytes. Returns stored, found (only the URL), waiting (for the next attempt), failed, or gone. Raises MS400 for an invalid argument');
SELECT msgstore._route('read', 'record_notification', 'sender_id text, notification_id uuid, status integer, failure text DEFAULT NULL::text', 'text', 'VOLATILE',
    'For msgstore-sender: records the answer to a request of claim_notifications(): its HTTP status, or 0 and the failure. Returns delivered, waiting or dead. Raises MS409 if the sender does not hold the notification');
SELECT msgstore._route('read', 'record_status', 'channel text, provider_message_id text, status text, detail jsonb DEFAULT NULL::jsonb, OUT callback_id uuid, OUT message_id uuid, OUT status text', 'record', 'VOLATILE',
    'Records a provider''s status callback for an outbound message. status: the provider''s word, which status_words maps to a status; an unknown word is recorded and counted, and changes no status. Returns callback_id, message_id (null until the sender has reported the message) and the current status, which never moves backwards. Raises MS400 for an invalid argument, MS409 if it is not clear which tenant''s message it is, MS413 if detail is too large');
SELECT msgstore._route('read', 'rename_subscription', 'name text, new_name text', 'void', 'VOLATILE',
    'Renames a subscription with its positions and parked events. Waits like seek(). Raises MS400 if the new name is empty, MS404 if the subscription does not exist, MS409 if the new name is in use');
SELECT msgstore._route('read', 'replay', 'filter jsonb DEFAULT ''{}''::jsonb, dry_run boolean DEFAULT false, OUT events integer, OUT added integer, OUT changed integer, OUT moved integer', 'record', 'VOLATILE',
    'Rebuilds the messages of processed events from the event log, with the same ids, and corrects the conversations that they leave and join. filter keys: channel, created_from, created_until, event_ids, conversation. Returns the number of events examined and of messages added, changed, and moved to another conversation. With dry_run, only counts. Logs the call in operations_log. Raises MS400 for an invalid filter or an unknown channel, MS404 for an unknown conversation');
SELECT msgstore._route('read', 'replay_parked', 'name text, max_events bigint DEFAULT 100, "position" bigint DEFAULT NULL::bigint', 'SETOF msgstore.stream_event', 'VOLATILE',
    'Unparks at most max_events (null: no limit) events, or the one at the position, in the caller''s transaction and returns them, by position, to be handled again. Raises MS404 if the subscription does not exist');
SELECT msgstore._route('read', 'requeue', 'event_id uuid', 'boolean', 'VOLATILE',
    'Requeues one dead letter with attempt_count reset to 0. Returns false if the id is not a dead letter');
SELECT msgstore._route('read', 'requeue_dead_letters', 'channel text DEFAULT NULL::text, error_code text DEFAULT NULL::text, died_from timestamp with time zone DEFAULT NULL::timestamp with time zone, died_until timestamp with time zone DEFAULT NULL::timestamp with time zone, event_ids uuid[] DEFAULT NULL::uuid[], dry_run boolean DEFAULT false', 'integer', 'VOLATILE',
    'Requeues the dead letters that match every argument that is not null, with attempt_count reset to 0, and returns their number. died_from is inclusive, died_until exclusive. With dry_run, only counts them. Logs the call in operations_log');
SELECT msgstore._route('read', 'resize_subscription', 'name text, group_size bigint', 'void', 'VOLATILE',
    'Changes the number of consumers of a subscription; no event is lost or handled twice. Waits for open transactions that have called fetch() or ack(). Raises MS400 if group_size is not between 1 and 1000, MS404 if the subscription does not exist, MS409 for a projection');
SELECT msgstore._route('read', 'response_chain', 'id text, max_items integer DEFAULT NULL::integer, max_depth integer DEFAULT 1000', 'TABLE(depth integer, id text, deleted boolean, response jsonb)', 'VOLATILE',
    'Returns a response and its ancestors, deleted ones included, oldest first; depth counts the steps back. At most max_items rows, the newest, and max_depth steps; null means no limit. A notice says that max_depth cut the chain. A missing ancestor is returned as the first row, with a null response. Raises MS400 for a cycle or a negative limit, MS404');
SELECT msgstore._route('read', 'response_event_stream', 'id text, starting_after bigint DEFAULT NULL::bigint', 'text', 'VOLATILE',
    'Returns the events of a response after a sequence number (null: from the first) as server-sent events, at most as many as msgstore.max_response_bytes holds. A response without events, or whose last event is missing, ends with an event that holds it. Raises MS404');
SELECT msgstore._route('read', 'response_events', 'id text, after bigint DEFAULT NULL::bigint, max_results integer DEFAULT 1000', 'TABLE(sequence_number bigint, event jsonb)', 'VOLATILE',
    'Returns the events of a response after a sequence number (null: from the first), at most max_results (null: all). Raises MS404');
SELECT msgstore._route('read', 'response_input_items', 'id text, after text DEFAULT NULL::text, before text DEFAULT NULL::text, max_results integer DEFAULT 20, sort_order text DEFAULT ''asc''::text', 'jsonb', 'VOLATILE',
    'Returns one page of the input items of a response, in the order they were saved, as {object, data, first_id, last_id, has_more}. Cursors and limits are those of list_responses. Raises MS400 for an invalid sort order, MS404');
SELECT msgstore._route('read', 'response_with_chain', 'id text', 'jsonb', 'VOLATILE STRICT',
    'Returns a response, deleted or not, with the rows of response_chain as chain, at most as many as msgstore.max_response_bytes holds. chain_truncated tells whether older ancestors are missing. Raises MS400 for a cycle, MS404');
SELECT msgstore._route('read', 'resubmit_refused', 'id uuid, OUT event_id uuid, OUT duplicate boolean', 'record', 'VOLATILE',
    'Passes a refused event to ingest() again, for the tenant that sent it, and removes it from refused_events. Returns what ingest() returns. Raises the error of ingest() and keeps the row if the event is refused again, MS404 if there is no such row, MS413 if its payload was not kept');
SELECT msgstore._route('read', 'resume_account', 'account text', 'void', 'VOLATILE',
    'Ends the pause of an account: its messages are sent at once. Raises MS404 if there is no such account, MS409 if several tenants have one');
SELECT msgstore._route('read', 'resume_destination', 'destination text, redrive boolean DEFAULT false', 'bigint', 'VOLATILE',
    'Ends the pause of a destination: what waits is delivered at once, with redrive also what was given up. Returns their number. Raises MS404 if there is no such destination, MS409 if several tenants have one');
SELECT msgstore._route('read', 'resume_projection', 'name text', 'void', 'VOLATILE',
    'Makes the worker go on with a projection that is paused, or try a failed event again at once. Raises MS404 if it does not exist');
SELECT msgstore._route('read', 'retry_parked', 'name text, max_events bigint DEFAULT 100, "position" bigint DEFAULT NULL::bigint', 'bigint', 'VOLATILE',
    'Applies at most max_events parked events of a projection, or the one at the position, in the caller''s transaction, and returns their number. Raises MS404 if it does not exist, and the error of the function');
SELECT msgstore._route('read', 'rotate_account_secret', 'account text, secret text', 'void', 'VOLATILE',
    'Replaces the secret of an account; null removes it from the database. Ends a pause. Raises MS400 for an invalid secret, MS404 if there is no such account, MS409 if several tenants have one');
SELECT msgstore._route('read', 'rotate_destination_secret', 'destination text, secret text DEFAULT NULL::text, overlap interval DEFAULT ''1 day''::interval', 'text', 'VOLATILE',
    'Adds a secret to a destination and returns it. For the time of the overlap, notifications are signed with the earlier ones, too. Raises MS400 for an invalid argument, MS404 if there is no such destination, MS409 if several tenants have one');
SELECT msgstore._route('write', 'save_background', 'response jsonb, request jsonb', 'text', 'VOLATILE STRICT',
    'Saves a queued background response with the request that its worker needs, and returns the ID. Raises the same errors as save_response');
SELECT msgstore._route('read', 'save_background_request', 'id text, request jsonb', 'boolean', 'VOLATILE STRICT',
    'Stores a request with a response. Returns false and does nothing if the response does not exist. Raises MS413');
SELECT msgstore._route('write', 'save_response', 'response jsonb', 'text', 'VOLATILE STRICT',
    'Saves a response and returns its ID. With "store": false saves nothing, returns null and raises a notice. Raises MS400 for an invalid document, MS409 for an ID that the tenant uses or has used, MS413 for a document that is too large, MS503 if the in-memory store is not available');
SELECT msgstore._route('write', 'save_snapshot', 'snapshot jsonb', 'text', 'VOLATILE',
    'Stores a snapshot and returns its id. Takes an object with hosts_content, entries, entry_count, trigger, name, event_log_position, created_at and snapshot_id, each optional. Replaces a snapshot with the same id, except for its created_at. Raises MS400 for an invalid field');
SELECT msgstore._route('read', 'seal_log', '', 'bigint', 'VOLATILE',
    'Seals all settled events of the session''s tenant and returns their number');
SELECT msgstore._route('read', 'search_conversations', 'query text, max_results integer DEFAULT 20, reader text DEFAULT NULL::text', 'jsonb', 'STABLE',
    'Finds conversations by a part of an address or of the contact name, or by words of a subject, and returns them as items of list_conversations(), most recent activity first, at most max_results: 1 to 50, anything else means 20. Raises MS400 if the query is blank');
SELECT msgstore._route('read', 'search_hosts', 'filter jsonb', 'SETOF msgstore.host_entry', 'STABLE',
    'Returns the hosts that match all fields of the filter: ip_pattern (address begins with it), hostname_pattern (name or an alias contains it), tags (has any of them), query (address, name, comment or a tag contains it). Raises MS400 for an invalid filter, XX001 if an event of a host is invalid');
SELECT msgstore._route('read', 'search_messages', 'query text, conversation text DEFAULT NULL::text, channel text DEFAULT NULL::text, direction text DEFAULT NULL::text, since timestamp with time zone DEFAULT NULL::timestamp with time zone, until timestamp with time zone DEFAULT NULL::timestamp with time zone, after text DEFAULT NULL::text, max_results integer DEFAULT 20, ranked boolean DEFAULT false', 'jsonb', 'STABLE',
    'Finds messages by words, "phrases", or, -excluded and prefix* in subject and body, by parts of numbers, and by characters of scripts without spaces. Returns {"items", "meta": {next_cursor, indexed_until}}, newest first or, if ranked, the best of the newest thousand hits first. since is included, until is not. after: a next_cursor. max_results: 1 to 50, anything else means 20. snippet is an array of pieces of the body; every second piece is a hit. Raises MS400 for an invalid argument or a query without a word, MS404 if the conversation does not exist');
SELECT msgstore._route('read', 'search_responses', 'query text, after text DEFAULT NULL::text, before text DEFAULT NULL::text, max_results integer DEFAULT 20, sort_order text DEFAULT ''desc''::text, model text DEFAULT NULL::text, status text DEFAULT NULL::text, background boolean DEFAULT NULL::boolean', 'jsonb', 'VOLATILE',
    'Finds responses of the durable store that have ended, by words of their input and output: a page of list_responses with those that match the query, which is one of search_messages. Raises MS400 for a query without a word, if msgstore.response_search is off, and in a session that uses the in-memory store');
SELECT msgstore._route('read', 'search_status', 'OUT waiting bigint, OUT indexed_until timestamp with time zone', 'record', 'STABLE',
    'Returns the number of messages in scope that are not indexed yet, and the time before which all messages have been: that of the call if none is waiting');
SELECT msgstore._route('read', 'seek', 'name text, "position" bigint', 'void', 'VOLATILE',
    'Moves all members of a subscription to a position, back or forward; the next fetch() continues after it. Waits for open transactions that have called fetch() or ack(). Raises MS400 for a position that no event has reached, MS404 if the subscription does not exist');
SELECT msgstore._route('write', 'send', 'channel text, payload jsonb, idempotency_key text DEFAULT NULL::text, correlation_id text DEFAULT NULL::text, OUT message_id uuid, OUT duplicate boolean', 'record', 'VOLATILE',
    'Stores an outbound message in its conversation and, if its channel has a provider, in the outbox. The payload is kept whole, with redacted values replaced. Without an idempotency key, a message with the same channel and payload is a duplicate; keys are remembered for two hours. Returns message_id and duplicate; if duplicate is true, nothing was stored and message_id is the id of the first message. Raises MS400 for an invalid argument, MS409 if the idempotency key was used with another payload, MS413 if the payload is too large');
SELECT msgstore._route('read', 'send_failed', 'message_id uuid, error_code text, error_message text, sender_id text DEFAULT NULL::text, permanent boolean DEFAULT false', 'text', 'VOLATILE',
    'Reports a failed attempt to send the message. permanent: do not retry. Returns queued if it will be retried, failed if it became a dead letter. Raises MS400 for an invalid argument, MS404 if there is no such outbound message, MS409 if it was sent, is not in the outbox, or is not leased by this sender');
SELECT msgstore._route('read', 'sent', 'message_id uuid, provider_message_id text, sender_id text DEFAULT NULL::text', 'text', 'VOLATILE',
    'Reports that the message was sent and what id the provider assigned to it, and removes it from the outbox. Returns the status of the message; repeating the report changes nothing. Raises MS400 for an invalid argument, MS404 if there is no such outbound message, MS409 if it was sent under another id, the id belongs to another message, or another sender holds the lease');
SELECT msgstore._route('write', 'set_search_configuration', 'configuration text, channel text DEFAULT NULL::text, tenant text DEFAULT NULL::text', 'bigint', 'VOLATILE',
    'Sets the text search configuration for a channel, or for all other channels if it is null, of a tenant, or of the session''s if it is null, and rebuilds the tenant''s index. Returns the number of messages to be indexed. Raises MS403 for another tenant than the session''s, MS404 for an unknown configuration or channel');
SELECT msgstore._route('write', 'set_stream_retention', 'category text, max_age interval DEFAULT NULL::interval, max_count bigint DEFAULT NULL::bigint', 'void', 'VOLATILE',
    'Makes the worker remove the events of a category that are older than max_age, or of which a stream has more than max_count, but never the last event of a stream. Null for both: keeps all. Raises MS400 for an invalid argument');
SELECT msgstore._route('read', 'stale_responses', 'stale_after interval DEFAULT NULL::interval', 'SETOF text', 'VOLATILE',
    'Returns the IDs of in-progress background responses without a heartbeat for this long (null: msgstore.response_stale_after), longest silence first');
SELECT msgstore._route('all', 'storage_by_tenant', 'sample_pages integer DEFAULT 10000', 'TABLE(tenant_id text, part text, row_count bigint, bytes bigint)', 'VOLATILE',
    'Returns the number of rows and the bytes that the responses and streams of each tenant take, with their share of all indexes, the largest first. Exact for tables of up to sample_pages pages, and for others estimated from about that many random pages. A session with a tenant gets its own. Raises MS400 for an invalid number');
SELECT msgstore._route('read', 'stream_page', 'stream text, from_version bigint DEFAULT NULL::bigint, max_events bigint DEFAULT 100, backwards boolean DEFAULT false', 'jsonb', 'STABLE',
    'Returns events of a stream as JSON with its version, from a version on, oldest or newest first. Stops at about 1 MB. Raises MS400 unless max_events is between 1 and 1000, MS404 if the stream has no events');
SELECT msgstore._route('read', 'stream_state', 'stream text, at timestamp with time zone DEFAULT NULL::timestamp with time zone', 'jsonb', 'STABLE',
    'Applies the data of a stream''s events in order as merge patches and returns the result, null without events. at limits it to events appended until then');
SELECT msgstore._route('read', 'stream_version', 'stream text', 'bigint', 'STABLE STRICT',
    'Returns the version of the last event of a stream, 0 if there are none');
SELECT msgstore._route('read', 'test_destination', 'destination text', 'uuid', 'VOLATILE',
    'Queues a test notification and returns its id. Raises MS404 if there is no such destination, MS409 if several tenants have one');
SELECT msgstore._route('read', 'test_source', 'source text, headers jsonb, body bytea, url text DEFAULT NULL::text', 'TABLE(item integer, kind text, channel text, provider_message_id text, status text, payload jsonb, problem text)', 'STABLE',
    'Returns what a webhook would become, without verifying or storing anything: for each item its kind (message, status or ignored; mail for a whole e-mail, which only the gateway decodes), channel, provider message id, the status, the payload of ingest_batch() or detail of record_status(), and the problem for which it would be refused. Raises MS400 for a body that cannot be decoded, MS404 if there is no such source, MS409 if several tenants have one');
SELECT msgstore._route('read', 'tombstone_stream', 'stream text, expected_version bigint DEFAULT NULL::bigint', 'bigint', 'VOLATILE',
    'Removes all events of a stream and ends it for ever by an event of type msgstore:Tombstone, after which none can be appended. Returns the number of removed events, 0 if it was ended before. Raises MS400 for a stream of msgstore itself, MS404 if the stream has no events, MS409 for another version than expected');
SELECT msgstore._route('read', 'trace', 'correlation_id text, max_events bigint DEFAULT 1000', 'TABLE(depth integer, caused_by uuid, stream text, version bigint, global_position bigint, event_id uuid, type text, data jsonb, metadata jsonb, created_at timestamp with time zone)', 'STABLE STRICT',
    'Returns the first max_events events whose metadata has this correlation_id, in global order. caused_by is the event that causation_id in the metadata names, if it belongs to the trace, and depth the number of causes above the event');
SELECT msgstore._route('read', 'truncate_stream', 'stream text, before_version bigint', 'bigint', 'VOLATILE',
    'Removes the events of a stream before a version, but not its last event, and returns their number. Raises MS400 for an invalid argument, MS404 if the stream has no events');
SELECT msgstore._route('read', 'update_conversation', 'conversation text, changes jsonb, reader text DEFAULT NULL::text', 'jsonb', 'VOLATILE',
    'Changes what people set for a conversation, given by id or number. changes is a JSON object with some of: state (open or closed), up_to (with state closed: stay open if there is a later inbound message than this one), assignee and contact_name (null clears them), labels, add_labels, remove_labels. Returns the conversation as get_conversation() does. Raises MS400 for an invalid change, MS404 if the conversation does not exist');
SELECT msgstore._route('read', 'update_response', 'id text, patch jsonb, worker_id text DEFAULT NULL::text', 'jsonb', 'VOLATILE',
    'Changes the fields in the patch and returns the response. The patch can hold status, output, error, usage, completed_at, worker_heartbeat and fields without a column. With a worker_id, the worker must hold the claim. Raises MS400 for an invalid patch, MS404, MS409 without the claim, MS413');
SELECT msgstore._route('read', 'update_response_conversation', 'id text, metadata jsonb', 'jsonb', 'VOLATILE STRICT',
    'Replaces the metadata of a conversation and returns it. Raises MS400, MS404');
SELECT msgstore._route('read', 'verify_log', 'known_hash bytea DEFAULT NULL::bytea, OUT intact boolean, OUT seals bigint, OUT events bigint, OUT removed bigint, OUT unsealed bigint, OUT "position" bigint, OUT problem text, OUT last_hash bytea', 'record', 'STABLE',
    'Compares the events of the session''s tenant with their seals: whether they are intact, the numbers of seals and events that were compared before the first difference, of events removed by functions of msgstore, and of events not yet sealed; the position of the first difference and what it is; and the hash of the last seal that was compared. With known_hash, a seal must have that hash');
SELECT msgstore._route('read', 'verify_signature', 'source text, headers jsonb, body bytea, url text DEFAULT NULL::text, at timestamp with time zone DEFAULT clock_timestamp(), OUT verified boolean, OUT reason text, OUT detail text', 'record', 'STABLE',
    'Verifies the signature of a webhook without storing anything. headers: an object; names in any case. url: what the provider called, with its query. at: the time to which the tolerance applies. Returns verified, and the reason if it is false: missing, malformed, mismatch, body_changed, expired, replayed or no_secret, with a description. Raises MS400 for a body that cannot be decoded if the signature is in it, MS404 if there is no such source, MS409 if several tenants have one');
SELECT msgstore._route('read', 'wait_for', 'subscription text, "position" bigint, timeout interval DEFAULT ''00:00:30''::interval', 'boolean', 'VOLATILE',
    'Waits until a subscription has acknowledged all its events up to the position, and returns true; returns false after the timeout (null: none). Raises MS400 if an argument is invalid or the transaction is not READ COMMITTED, MS404 if the subscription does not exist');
SELECT msgstore._route('read', 'wait_for_changes', 'after text DEFAULT NULL::text, timeout interval DEFAULT ''00:00:30''::interval, conversation text DEFAULT NULL::text, channel text DEFAULT NULL::text, kinds text[] DEFAULT NULL::text[]', 'jsonb', 'VOLATILE',
    'Returns {"changes": [...], "next": position}: what changed after the position "after", for the next call. Waits until something has changed, at most for the timeout; without "after" returns the present position at once. conversation (id or number), channel and kinds select changes; kinds: message, status, conversation, dead_letter, operation. A change of kind reset says that changes are missing: read again what you show. Raises MS400 for an invalid argument, MS404 for an unknown conversation');
SELECT msgstore._route('read', 'wait_for_events', 'category text, after_position bigint, timeout interval DEFAULT ''00:00:30''::interval', 'boolean', 'VOLATILE',
    'Waits until read_category() (read_all() if category is null) returns an event after the position, and returns true; returns false after the timeout (null: none). Raises MS400 if the timeout is negative or the transaction is not READ COMMITTED');

SELECT msgstore._refuse('_live_feed', 'after text, timeout_ms integer DEFAULT 0, upto text DEFAULT NULL::text, tenant text DEFAULT ''''::text', 'TABLE(tenant_id text, id text, kind text, conversation_id uuid, channel text, change jsonb)');
SELECT msgstore._refuse('add_handler', 'channel text, handler regproc', 'void');
SELECT msgstore._refuse('create_projection', 'name text, category text, function regproc, reset regproc DEFAULT NULL::regproc, after_position bigint DEFAULT 0, batch_size integer DEFAULT 100', 'void');
SELECT msgstore._refuse('install_message_store', '', 'void');
SELECT msgstore._refuse('pause_workers', 'reason text DEFAULT NULL::text', 'boolean');
SELECT msgstore._refuse('recount', '', 'void');
SELECT msgstore._refuse('remove_handler', 'channel text, handler text', 'boolean');
SELECT msgstore._refuse('resume_workers', '', 'boolean');

DROP FUNCTION msgstore._route, msgstore._refuse;

CREATE FUNCTION msgstore._answer_too_large(source msgstore.sources, provider msgstore.providers)
 RETURNS integer
 LANGUAGE sql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    SELECT CASE WHEN a.status >= 400 AND a.status <> 401 THEN a.status ELSE 413 END
    FROM (SELECT coalesce((source).answers -> 'refused' ->> 'status',
                          (provider).answers -> 'refused' ->> 'status', '413')::int
         ) AS a (status)
    $function$;
REVOKE ALL ON FUNCTION msgstore._answer_too_large(source msgstore.sources, provider msgstore.providers) FROM PUBLIC;
COMMENT ON FUNCTION msgstore._answer_too_large(source msgstore.sources, provider msgstore.providers) IS
    'Returns the HTTP status for a webhook that is too large';

CREATE FUNCTION msgstore._check_found(kind text, name text, n integer)
 RETURNS void
 LANGUAGE plpgsql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    IF n = 0 THEN
        RAISE EXCEPTION '% % does not exist', kind, coalesce('"' || left(name, 64) || '"', 'null')
            USING ERRCODE = 'MS404';
    ELSIF n > 1 THEN
        RAISE EXCEPTION '% "%" exists for several tenants', kind, name
            USING ERRCODE = 'MS409',
                  HINT = 'Set "msgstore.tenant_id" to the tenant that is meant.';
    END IF;
END
$function$;
REVOKE ALL ON FUNCTION msgstore._check_found(kind text, name text, n integer) FROM PUBLIC;
COMMENT ON FUNCTION msgstore._check_found(kind text, name text, n integer) IS
    'Raises MS404 if nothing of this kind has the name, MS409 if several tenants have one';

CREATE FUNCTION msgstore._check_name(field text, value text, most integer)
 RETURNS void
 LANGUAGE plpgsql
 IMMUTABLE PARALLEL SAFE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    IF value ~ '[^[:space:]]' AND length(value) <= most THEN
        RETURN;
    END IF;
    RAISE EXCEPTION '"%" in field "%" is not valid',
        left(coalesce(value, 'null'), 64), field
        USING ERRCODE = 'MS400',
              DETAIL = format('The field must be a non-blank string of at most %s characters.', most);
END
$function$;
REVOKE ALL ON FUNCTION msgstore._check_name(field text, value text, most integer) FROM PUBLIC;
COMMENT ON FUNCTION msgstore._check_name(field text, value text, most integer) IS
    'Raises MS400 if the value of the field is blank or longer than so many characters';

CREATE FUNCTION msgstore._check_name(kind text, name text)
 RETURNS void
 LANGUAGE plpgsql
 IMMUTABLE PARALLEL SAFE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    IF name IS NULL OR name !~ '^[a-z][a-z0-9_-]{0,62}$' THEN
        RAISE EXCEPTION 'invalid % name %', kind, coalesce('"' || left(name, 64) || '"', 'null')
            USING ERRCODE = 'MS400',
                  DETAIL = 'A name must be a lower-case letter, then lower-case letters, digits, "-" or "_", at most 63 in all.';
    END IF;
END
$function$;
REVOKE ALL ON FUNCTION msgstore._check_name(kind text, name text) FROM PUBLIC;
COMMENT ON FUNCTION msgstore._check_name(kind text, name text) IS
    'Raises MS400 for an invalid name of something of this kind';

CREATE FUNCTION msgstore._check_overlap(overlap interval)
 RETURNS void
 LANGUAGE plpgsql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    IF overlap IS NULL OR overlap < '0' THEN
        RAISE EXCEPTION 'value % of "overlap" is not a duration', coalesce(overlap::text, 'null')
            USING ERRCODE = 'MS400';
    END IF;
END
$function$;
REVOKE ALL ON FUNCTION msgstore._check_overlap(overlap interval) FROM PUBLIC;
COMMENT ON FUNCTION msgstore._check_overlap(overlap interval) IS
    'Raises MS400 if the time for which earlier secrets hold is not a duration';

CREATE FUNCTION msgstore._check_text(field text, value text, most_bytes integer)
 RETURNS void
 LANGUAGE plpgsql
 IMMUTABLE PARALLEL SAFE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    IF value ~ '[^[:space:]]' AND octet_length(value) <= most_bytes THEN
        RETURN;
    END IF;
    RAISE EXCEPTION 'field "%" %', field, CASE
            WHEN value IS NULL THEN 'is missing'
            WHEN value !~ '[^[:space:]]' THEN 'is blank'
            ELSE format('is longer than %s bytes', most_bytes)
        END
        USING ERRCODE = 'MS400',
              DETAIL = format('The field must be a non-blank string of at most %s bytes.',
                              most_bytes);
END
$function$;
REVOKE ALL ON FUNCTION msgstore._check_text(field text, value text, most_bytes integer) FROM PUBLIC;
COMMENT ON FUNCTION msgstore._check_text(field text, value text, most_bytes integer) IS
    'Raises MS400 if the value of the field is missing, blank or too long';

CREATE FUNCTION msgstore._gateway_functions()
 RETURNS TABLE(level text, severity text, name name)
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE ROWS 20
AS $function$
    SELECT g.level, g.severity, n.name
    FROM (VALUES
        ('ingest', 'error', '{ingest_batch,has_api_keys,authenticate,tenant_limit}'),
        ('ingest', 'warning', '{
            send,receive_webhook,webhook_limits,tenant_slot,_cluster_map,_check_slot_here,record_status,update_conversation,
            append_batch,save_response,cancel_response,
            create_response_conversation,update_response_conversation,
            delete_response_conversation,add_conversation_items,
            delete_conversation_item}'),
        ('read', 'warning', '{
            list_conversations,list_messages,get_conversation,mark_read,mark_unread,
            search_messages,search_conversations,
            get_attachment,_conversation_id,_live_feed,_live_wait,stream_page,event_page,list_subscriptions,
            get_response,response_with_chain,list_responses,
            search_responses,response_input_items,response_event_stream,
            get_response_conversation,list_conversation_items,
            get_conversation_item,metrics,metrics_detail,_sending_page}')
    ) AS g (level, severity, names),
    pg_catalog.unnest(g.names::name[]) AS n (name)
    $function$;
REVOKE ALL ON FUNCTION msgstore._gateway_functions() FROM PUBLIC;
COMMENT ON FUNCTION msgstore._gateway_functions() IS
    'Returns the functions that the gateway calls, the access level that includes them, and the severity of a missing privilege';

CREATE FUNCTION msgstore._is_hostname(name text)
 RETURNS boolean
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
RETURN COALESCE(((octet_length(name) <= 253) AND ((name COLLATE "C") ~ '^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*$'::text)), false);
REVOKE ALL ON FUNCTION msgstore._is_hostname(name text) FROM PUBLIC;
COMMENT ON FUNCTION msgstore._is_hostname(name text) IS
    'Returns whether the text is a valid hostname: at most 253 characters, in labels of 1 to 63 letters, digits and hyphens';

CREATE FUNCTION msgstore._is_ip_address(address text)
 RETURNS boolean
 LANGUAGE c
 IMMUTABLE PARALLEL SAFE STRICT
AS 'msgstore', $function$msgstore_is_ip_address$function$;
REVOKE ALL ON FUNCTION msgstore._is_ip_address(address text) FROM PUBLIC;
COMMENT ON FUNCTION msgstore._is_ip_address(address text) IS
    'Returns whether the text is an IPv4 or IPv6 address';

CREATE FUNCTION msgstore._library(OUT versions text[], OUT preloaded boolean, OUT processed_outside_at timestamp with time zone)
 RETURNS record
 LANGUAGE c
 PARALLEL RESTRICTED STRICT
AS 'msgstore', $function$msgstore_library$function$;
REVOKE ALL ON FUNCTION msgstore._library(OUT versions text[], OUT preloaded boolean, OUT processed_outside_at timestamp with time zone) FROM PUBLIC;
COMMENT ON FUNCTION msgstore._library(OUT versions text[], OUT preloaded boolean, OUT processed_outside_at timestamp with time zone) IS
    'Returns the versions of the extension that the loaded library supports, whether it was preloaded, and when a session other than a worker last called process() or claim()';

CREATE FUNCTION msgstore._readiness_of_role(role name)
 RETURNS TABLE(finding text, severity text, detail text, hint text)
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    RETURN QUERY
    SELECT 'missing privileges', g.severity,
           format('Role "%s" has no EXECUTE privilege on %s.', role,
                  string_agg(p.oid::regprocedure::text, ', '
                             ORDER BY p.oid::regprocedure::text COLLATE "C")),
           format('Run SELECT msgstore.grant_access(%L, %L).', quote_ident(role), g.level)
    FROM msgstore._gateway_functions() g
    JOIN pg_proc p ON p.proname = g.name
        AND p.pronamespace = 'msgstore'::regnamespace
    WHERE NOT has_function_privilege(role, p.oid, 'EXECUTE')
    GROUP BY g.level, g.severity
    ORDER BY g.level, g.severity;

    IF NOT has_parameter_privilege(role, 'msgstore.tenant_id', 'SET')
        AND msgstore.has_api_keys()
    THEN
        RETURN QUERY VALUES (
            'tenant cannot be set', 'error',
            format('There are API keys, but role "%s" may not set the tenant of a request.',
                   role),
            format('Run GRANT SET ON PARAMETER msgstore.tenant_id TO %I.', role));
    END IF;
END
$function$;
REVOKE ALL ON FUNCTION msgstore._readiness_of_role(role name) FROM PUBLIC;
COMMENT ON FUNCTION msgstore._readiness_of_role(role name) IS
    'Returns the findings of readiness() about the privileges of a role';

CREATE FUNCTION msgstore._source_of_path(path text)
 RETURNS msgstore.sources
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
#variable_conflict use_column
DECLARE
    scope CONSTANT text := msgstore._tenant_scope();
    chosen msgstore.sources;
BEGIN
    IF _source_of_path.path ~ '^wh_[0-9a-f]{40}$' THEN
        SELECT s.* INTO chosen FROM msgstore.sources s
        WHERE sha256(decode(substr(s.path, 4), 'hex'))
                  = sha256(decode(substr(_source_of_path.path, 4), 'hex'))
            AND scope IN ('', s.tenant_id);
    END IF;
    IF chosen.name IS NULL THEN
        RAISE EXCEPTION 'source does not exist' USING ERRCODE = 'MS404';
    END IF;
    RETURN chosen;
END
$function$;
REVOKE ALL ON FUNCTION msgstore._source_of_path(path text) FROM PUBLIC;
COMMENT ON FUNCTION msgstore._source_of_path(path text) IS
    'Returns the source with this path. Raises MS404 if there is none';

CREATE FUNCTION msgstore.merge_patch(target jsonb, patch jsonb)
 RETURNS jsonb
 LANGUAGE c
 IMMUTABLE PARALLEL SAFE
AS 'msgstore', $function$msgstore_merge_patch$function$;
REVOKE ALL ON FUNCTION msgstore.merge_patch(target jsonb, patch jsonb) FROM PUBLIC;
COMMENT ON FUNCTION msgstore.merge_patch(target jsonb, patch jsonb) IS
    'Returns the document with the JSON merge patch applied (RFC 7396). A null target is an absent document, a null patch changes nothing';

CREATE FUNCTION msgstore.new_ulid()
 RETURNS text
 LANGUAGE c
 PARALLEL RESTRICTED STRICT
AS 'msgstore', $function$msgstore_new_ulid$function$;
REVOKE ALL ON FUNCTION msgstore.new_ulid() FROM PUBLIC;
COMMENT ON FUNCTION msgstore.new_ulid() IS
    'Returns a ULID of the current time, greater than all that this session has generated';

CREATE FUNCTION msgstore.read_payload(payload text)
 RETURNS jsonb
 LANGUAGE c
 STABLE PARALLEL SAFE STRICT
AS 'msgstore', $function$msgstore_read_payload$function$;
REVOKE ALL ON FUNCTION msgstore.read_payload(payload text) FROM PUBLIC;
COMMENT ON FUNCTION msgstore.read_payload(payload text) IS
    'Converts JSON text to jsonb. Accepts a byte order mark in front. The characters that PostgreSQL cannot store, U+0000 and halves of surrogate pairs, are refused or replaced by U+FFFD (in databases with another encoding than UTF8, by a question mark), as msgstore.replace_invalid_text says. Raises MS400 for text that is not JSON or has such a character';

CREATE FUNCTION msgstore.stream_category(stream text)
 RETURNS text
 LANGUAGE c
 IMMUTABLE PARALLEL SAFE STRICT
AS 'msgstore', $function$msgstore_stream_category$function$;
REVOKE ALL ON FUNCTION msgstore.stream_category(stream text) FROM PUBLIC;
COMMENT ON FUNCTION msgstore.stream_category(stream text) IS
    'Returns the category of a stream: its name up to the first hyphen, or the whole name';

CREATE FUNCTION msgstore.ulid_after(ulid text)
 RETURNS text
 LANGUAGE c
 PARALLEL SAFE STRICT
AS 'msgstore', $function$msgstore_ulid_after$function$;
REVOKE ALL ON FUNCTION msgstore.ulid_after(ulid text) FROM PUBLIC;
COMMENT ON FUNCTION msgstore.ulid_after(ulid text) IS
    'Returns a ULID of the current time, or the next greater one if that is not greater than the argument. Raises MS400 for an invalid ULID or the greatest one';

CREATE FUNCTION msgstore.uuid7()
 RETURNS uuid
 LANGUAGE c
 PARALLEL RESTRICTED STRICT
AS 'msgstore', $function$msgstore_uuid7$function$;
COMMENT ON FUNCTION msgstore.uuid7() IS
    'Returns a new time-ordered UUID (version 7, RFC 9562), greater than all that this session has generated before';

CREATE FUNCTION msgstore.validate_host(host jsonb)
 RETURNS TABLE(field text, code text, message text)
 LANGUAGE plpgsql
 IMMUTABLE PARALLEL SAFE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    alias text;
    seen text[] := '{}';
BEGIN
    IF NOT coalesce(msgstore._is_ip_address(host ->> 'ip_address'), false) THEN
        RETURN QUERY VALUES ('ip_address', 'invalid_ip_address',
            format('"%s" is not an IPv4 or IPv6 address', left(host ->> 'ip_address', 64)));
    END IF;
    IF NOT msgstore._is_hostname(host ->> 'hostname') THEN
        RETURN QUERY VALUES ('hostname', 'invalid_hostname',
            format('"%s" is not a valid hostname', left(host ->> 'hostname', 64)));
    END IF;
    IF jsonb_typeof(host -> 'aliases') NOT IN ('array', 'null') THEN
        RETURN QUERY VALUES ('aliases', 'invalid_alias', 'aliases must be a list');
        RETURN;
    END IF;
    IF jsonb_array_length(nullif(host -> 'aliases', 'null')) > 50 THEN
        RETURN QUERY VALUES ('aliases', 'too_many_aliases',
            format('%s aliases exceed the limit of 50', jsonb_array_length(host -> 'aliases')));
    END IF;
    FOR alias IN SELECT jsonb_array_elements_text(nullif(host -> 'aliases', 'null')) LOOP
        IF msgstore._is_ip_address(alias) THEN
            RETURN QUERY VALUES ('aliases', 'alias_is_ip_address',
                format('alias "%s" is an IP address', left(alias, 64)));
        ELSIF NOT msgstore._is_hostname(alias) THEN
            RETURN QUERY VALUES ('aliases', 'invalid_alias',
                format('alias "%s" is not a valid hostname', left(alias, 64)));
        ELSIF lower(alias) = lower(host ->> 'hostname') THEN
            RETURN QUERY VALUES ('aliases', 'alias_matches_hostname',
                format('alias "%s" equals the hostname', alias));
        ELSIF lower(alias) = ANY (seen) THEN
            RETURN QUERY VALUES ('aliases', 'duplicate_alias',
                format('alias "%s" is repeated', alias));
        END IF;
        seen := seen || lower(alias);
    END LOOP;
END
$function$;
REVOKE ALL ON FUNCTION msgstore.validate_host(host jsonb) FROM PUBLIC;
COMMENT ON FUNCTION msgstore.validate_host(host jsonb) IS
    'Returns a row for each fault in ip_address, hostname and aliases of a host; no rows for a valid one';

CREATE FUNCTION msgstore.version()
 RETURNS text
 LANGUAGE c
 STABLE PARALLEL SAFE STRICT
AS 'msgstore', $function$msgstore_version$function$;
COMMENT ON FUNCTION msgstore.version() IS
    'Returns the release of the loaded library. The version of the SQL objects is in pg_extension.extversion';

CREATE FUNCTION msgstore.webhook_limits(path text, OUT tenant_id text, OUT max_body_bytes integer, OUT too_large_status integer, OUT requests_per_second integer, OUT burst integer, OUT source text)
 RETURNS record
 LANGUAGE plpgsql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
#variable_conflict use_column
DECLARE
    used CONSTANT msgstore.sources := msgstore._source_of_path(webhook_limits.path);
    provider CONSTANT msgstore.providers := msgstore._provider(used.provider);
BEGIN
    source := used.name;
    webhook_limits.tenant_id := used.tenant_id;
    webhook_limits.max_body_bytes :=
        coalesce(used.max_body_bytes, provider.max_body_bytes);
    too_large_status := msgstore._answer_too_large(used, provider);
    SELECT l.requests_per_second, l.burst
    INTO webhook_limits.requests_per_second, webhook_limits.burst
    FROM msgstore.tenant_limits l WHERE l.tenant_id = used.tenant_id;
END
$function$;
REVOKE ALL ON FUNCTION msgstore.webhook_limits(path text, OUT tenant_id text, OUT max_body_bytes integer, OUT too_large_status integer, OUT requests_per_second integer, OUT burst integer, OUT source text) FROM PUBLIC;
COMMENT ON FUNCTION msgstore.webhook_limits(path text, OUT tenant_id text, OUT max_body_bytes integer, OUT too_large_status integer, OUT requests_per_second integer, OUT burst integer, OUT source text) IS
    'Returns the limits of the source with this path: the tenant and its request limit (nulls for none), the greatest size of a body (null for that of the gateway) and the HTTP status for a larger one; and its name. Raises MS404 if there is no such source';
-- router: functions whose answer is made of the answers of all slots.

-- The last answer of each slot, so that the counters of a slot that does not answer
-- do not go back to 0. Unlogged: it is asked again after a crash.
CREATE UNLOGGED TABLE msgstore.slot_metrics (
    slot int NOT NULL,
    metrics jsonb NOT NULL,
    detail jsonb NOT NULL,
    CONSTRAINT slot_metrics_pkey PRIMARY KEY (slot)
);

SELECT pg_catalog.pg_extension_config_dump('msgstore.slot_metrics', 'WHERE false');

-- Asks each slot, and returns null for one that is not reachable.
CREATE FUNCTION msgstore._metrics_of_slots()
    RETURNS TABLE (slot int, up boolean, metrics jsonb, detail jsonb)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET client_min_messages = error
    AS $$
#variable_conflict use_column
DECLARE
    n int;
BEGIN
    FOR n IN SELECT s FROM msgstore._slots_of('') s LOOP
        slot := n;
        BEGIN
            metrics := msgstore._at_metrics(n, '', '', session_user);
            detail := msgstore._at_metrics_detail(n, '', '', session_user);
            up := true;
            IF NOT pg_is_in_recovery() THEN
                INSERT INTO msgstore.slot_metrics AS m (slot, metrics, detail)
                VALUES (n, _metrics_of_slots.metrics, _metrics_of_slots.detail)
                ON CONFLICT (slot) DO UPDATE
                SET metrics = excluded.metrics, detail = excluded.detail;
            END IF;
        EXCEPTION WHEN OTHERS THEN
            RAISE LOG 'slot % has no metrics: %', n, (msgstore._read_error(SQLSTATE, SQLERRM)).said;
            up := false;
            SELECT m.metrics, m.detail INTO metrics, detail
            FROM msgstore.slot_metrics m WHERE m.slot = n;
        END;
        RETURN NEXT;
    END LOOP;
END
$$;

CREATE FUNCTION msgstore._sum_latencies(details jsonb) RETURNS TABLE (le_us bigint, count bigint)
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT (b ->> 'le_us')::bigint, sum((b ->> 'count')::bigint)::bigint
    FROM jsonb_array_elements(details) d,
        jsonb_array_elements(coalesce(nullif(d -> 'latency', 'null'), '[]')) b
    GROUP BY 1 ORDER BY 1
    $$;

-- The smallest bound that so many hundredths of the events are not above.
CREATE FUNCTION msgstore._percentile(details jsonb, hundredths int) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT coalesce((
        SELECT l.le_us FROM msgstore._sum_latencies(details) l
        WHERE l.count > 0 AND l.count * 100 >= hundredths * (
            SELECT max(t.count) FROM msgstore._sum_latencies(details) t)
        ORDER BY l.le_us LIMIT 1), 0)
    $$;

-- Of the session's tenant: the answer of its slot.
CREATE FUNCTION msgstore._tenant_metrics(name text) RETURNS jsonb
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET client_min_messages = error
    AS $$
DECLARE
    tenant CONSTANT text := msgstore._tenant_scope();
    slot CONSTANT int := msgstore.tenant_slot(tenant);
    detail text;
    hint text;
BEGIN
    RETURN CASE name WHEN 'metrics' THEN msgstore._at_metrics(slot, tenant, '', session_user)
                     ELSE msgstore._at_metrics_detail(slot, tenant, '', session_user) END;
EXCEPTION WHEN OTHERS OR query_canceled THEN
    GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    PERFORM msgstore._raise_of_node(slot, SQLSTATE, SQLERRM, detail, hint, NULL);
    RETURN NULL;
END
$$;

CREATE FUNCTION msgstore.metrics() RETURNS jsonb
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    scope CONSTANT text := msgstore._tenant_scope();
    sums jsonb;
    details jsonb;
    total bigint;
    highest bigint;
BEGIN
    IF scope <> '' THEN
        RETURN msgstore._tenant_metrics('metrics');
    END IF;
    WITH answers AS MATERIALIZED (SELECT * FROM msgstore._metrics_of_slots()),
    numbers AS (
        SELECT e.key,
               CASE WHEN e.key IN ('ts_unix_ms', 'oldest_event_age_us', 'search_lag_us',
                                  'worker_latency_max_us')
                    THEN max(e.value::numeric) ELSE sum(e.value::numeric) END AS value
        FROM answers a, jsonb_each_text(a.metrics) e
        GROUP BY e.key)
    SELECT (SELECT jsonb_object_agg(n.key, n.value) FROM numbers n)
           || (SELECT jsonb_build_object('slots', count(*), 'slots_up', count(*) FILTER (WHERE a.up))
               FROM answers a),
           (SELECT coalesce(jsonb_agg(a.detail), '[]') FROM answers a WHERE a.detail IS NOT NULL)
    INTO sums, details;
    SELECT max(l.count) INTO total FROM msgstore._sum_latencies(details) l;
    -- The limit of a bucket can be above all events in it.
    highest := sums ->> 'worker_latency_max_us';
    RETURN sums || jsonb_build_object(
        'worker_latency_avg_us', CASE WHEN total > 0
            THEN ((sums ->> 'worker_latency_sum_us')::bigint / total) ELSE 0 END,
        'worker_latency_p50_us', least(msgstore._percentile(details, 50), highest),
        'worker_latency_p95_us', least(msgstore._percentile(details, 95), highest),
        'worker_latency_p99_us', least(msgstore._percentile(details, 99), highest));
END
$$;

-- A tenant that was moved has counters in two slots: they are added, for a list of
-- metrics must not have a line twice.
CREATE FUNCTION msgstore.metrics_detail() RETURNS jsonb
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    scope CONSTANT text := msgstore._tenant_scope();
BEGIN
    IF scope <> '' THEN
        RETURN msgstore._tenant_metrics('metrics_detail');
    END IF;
    RETURN (
        WITH answers AS MATERIALIZED (SELECT * FROM msgstore._metrics_of_slots())
        SELECT jsonb_build_object(
            'slots', (
                SELECT jsonb_agg(jsonb_build_object(
                    'slot', a.slot, 'up', a.up,
                    'queued', coalesce(a.metrics -> 'worker_queued', '0'),
                    'dead_letters', coalesce(a.metrics -> 'dead_letters', '0'),
                    'oldest_event_age_us', coalesce(a.metrics -> 'oldest_event_age_us', '0'),
                    'workers_running', coalesce(a.metrics -> 'workers_running', '0'))
                    ORDER BY a.slot)
                FROM answers a),
            'channels', (
                SELECT coalesce(jsonb_agg(c), '[]') FROM (
                    SELECT r.tenant_id, r.channel, sum(r.ingested) AS ingested,
                           sum(r.duplicate) AS duplicate, sum(r.processed) AS processed,
                           sum(r.error) AS error, sum(r.dead_letter) AS dead_letter,
                           sum(r.sent) AS sent, sum(r.queued) AS queued,
                           sum(r.dead_letters) AS dead_letters,
                           max(r.tenant_oldest_event_age_us) AS tenant_oldest_event_age_us
                    FROM answers a, jsonb_to_recordset(a.detail -> 'channels') AS r (
                        tenant_id text, channel text, ingested bigint, duplicate bigint,
                        processed bigint, error bigint, dead_letter bigint, sent bigint,
                        queued bigint, dead_letters bigint, tenant_oldest_event_age_us bigint)
                    GROUP BY r.tenant_id, r.channel
                    ORDER BY r.tenant_id COLLATE "C", r.channel COLLATE "C") c),
            'workers', (
                SELECT coalesce(jsonb_agg(w || jsonb_build_object('slot', a.slot)
                                ORDER BY a.slot, (w ->> 'worker')::int), '[]')
                FROM answers a, jsonb_array_elements(a.detail -> 'workers') w),
            'subscriptions', (
                SELECT coalesce(jsonb_agg(s.value), '[]') FROM (
                    SELECT DISTINCT ON (v ->> 'tenant_id', v ->> 'name') v AS value
                    FROM answers a, jsonb_array_elements(a.detail -> 'subscriptions') v
                    ORDER BY v ->> 'tenant_id', v ->> 'name', (v ->> 'last_fetch')::numeric DESC) s),
            'projections', (
                SELECT coalesce(jsonb_agg(p.value), '[]') FROM (
                    SELECT DISTINCT ON (v ->> 'tenant_id', v ->> 'name') v AS value
                    FROM answers a, jsonb_array_elements(a.detail -> 'projections') v
                    ORDER BY v ->> 'tenant_id', v ->> 'name') p),
            'latency', (
                SELECT coalesce(jsonb_agg(l ORDER BY l.le_us), '[]')
                FROM msgstore._sum_latencies((
                    SELECT coalesce(jsonb_agg(a.detail), '[]') FROM answers a
                    WHERE a.detail IS NOT NULL)) l)));
END
$$;

CREATE FUNCTION msgstore.latency_histogram() RETURNS TABLE (le_us bigint, count bigint)
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    RETURN QUERY SELECT l.le_us, l.count FROM msgstore._sum_latencies((
        SELECT jsonb_agg(m.detail) FROM msgstore._metrics_of_slots() m WHERE m.detail IS NOT NULL)) l;
END
$$;

-- The findings of each slot, with its number before the subject, and the slots that do
-- not have the map and the settings of the router.
CREATE FUNCTION msgstore.check()
    RETURNS TABLE (finding text, subject text, detail text, repair text)
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET client_min_messages = error
    AS $$
DECLARE
    scope CONSTANT text := msgstore._tenant_scope();
    n int;
BEGIN
    FOR n IN SELECT s FROM msgstore._slots_of(scope) s LOOP
        BEGIN
            RETURN QUERY
            SELECT c.finding, format('slot %s: %s', n, c.subject), c.detail, c.repair
            FROM msgstore._at_check(n, scope, '', session_user) c;
        EXCEPTION WHEN OTHERS THEN
            RAISE LOG 'slot % cannot be checked: %', n, (msgstore._read_error(SQLSTATE, SQLERRM)).said;
            RETURN QUERY
            SELECT CASE WHEN e.unreachable THEN 'slot not reachable' ELSE 'slot not checked' END,
                   format('slot %s', n), msgstore._describe_error(SQLSTATE, SQLERRM), NULL::text
            FROM msgstore._read_error(SQLSTATE, SQLERRM) e;
        END;
    END LOOP;
    IF scope = '' THEN
        RETURN QUERY
        SELECT 'slot differs from router', format('slot %s', s.slot), s.error,
               'SELECT * FROM msgstore.publish()'
        FROM msgstore.slots() s WHERE s.reachable AND s.error IS NOT NULL;
    END IF;
END
$$;

-- A slot that is not available concerns its tenants only: it is an error when no
-- slot is.
CREATE FUNCTION msgstore._readiness_of_slots(max_event_age interval)
    RETURNS TABLE (finding text, severity text, detail text, hint text)
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET client_min_messages = error
    AS $$
#variable_conflict use_column
DECLARE
    slots int := (SELECT c.slots FROM msgstore.cluster c);
    -- What keeps no event from being stored.
    harmless CONSTANT text[] := '{no worker}';
    found jsonb := '[]';
    failed int := 0;
    one jsonb;
    n int;
BEGIN
    IF slots IS NULL THEN
        RETURN QUERY VALUES ('no slots', 'error', 'The cluster has no slots.',
            'Create the foreign server "msgstore", and call msgstore.set_slots().');
        RETURN;
    END IF;
    FOR n IN 0 .. slots - 1 LOOP
        BEGIN
            SELECT coalesce(jsonb_agg(r), '[]') INTO one
            FROM msgstore._at_readiness(n, '', '', session_user, max_event_age) r;
        EXCEPTION WHEN OTHERS THEN
            RAISE LOG 'slot % is not ready: %', n, (msgstore._read_error(SQLSTATE, SQLERRM)).said;
            SELECT jsonb_build_array(jsonb_build_object(
                'finding', CASE WHEN e.unreachable THEN 'not reachable' ELSE 'not ready' END,
                'severity', 'error',
                'detail', msgstore._describe_error(SQLSTATE, SQLERRM),
                'hint', 'Look for the cause in the log of the router''s server.'))
            INTO one FROM msgstore._read_error(SQLSTATE, SQLERRM) e;
        END;
        failed := failed + (EXISTS (
            SELECT FROM jsonb_array_elements(one) o
            WHERE o ->> 'severity' = 'error' AND o ->> 'finding' <> ALL (harmless)))::int;
        found := found || (
            SELECT coalesce(jsonb_agg(o || jsonb_build_object('slot', n)), '[]')
            FROM jsonb_array_elements(one) o);
    END LOOP;
    RETURN QUERY
    SELECT format('slot %s: %s', o ->> 'slot', o ->> 'finding'),
           CASE WHEN o ->> 'finding' <> ALL (harmless) AND failed = slots
                THEN o ->> 'severity' ELSE 'warning' END,
           o ->> 'detail', o ->> 'hint'
    FROM jsonb_array_elements(found) o;
END
$$;

CREATE FUNCTION msgstore._readiness(role name, max_event_age interval)
    RETURNS TABLE (finding text, severity text, detail text, hint text)
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF NOT (msgstore._library()).preloaded THEN
        RETURN QUERY VALUES ('library not preloaded', 'error',
            'Without preloading, the tenant of a session cannot be set safely.',
            'Add msgstore to "shared_preload_libraries" and restart the server.');
    END IF;
    RETURN QUERY SELECT * FROM msgstore._readiness_of_slots(max_event_age);
    RETURN QUERY SELECT * FROM msgstore._readiness_of_role(role);
END
$$;

-- Not SECURITY DEFINER, so that current_user is the caller.
CREATE FUNCTION msgstore.readiness(max_event_age interval DEFAULT '5 minutes')
    RETURNS TABLE (finding text, severity text, detail text, hint text)
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    RETURN QUERY SELECT * FROM msgstore._readiness(current_user, max_event_age);
END
$$;

REVOKE ALL ON FUNCTION msgstore._metrics_of_slots() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._sum_latencies(jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._percentile(jsonb, int) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._tenant_metrics(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.metrics() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.metrics_detail() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.latency_histogram() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.check() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._readiness_of_slots(interval) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._readiness(name, interval) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.readiness(interval) FROM PUBLIC;

COMMENT ON TABLE msgstore.slot_metrics IS
    'The last metrics of each slot, which metrics() uses while the slot does not answer';
COMMENT ON COLUMN msgstore.slot_metrics.slot IS
    'Slot, from 0';
COMMENT ON COLUMN msgstore.slot_metrics.metrics IS
    'Its answer to metrics()';
COMMENT ON COLUMN msgstore.slot_metrics.detail IS
    'Its answer to metrics_detail()';
COMMENT ON FUNCTION msgstore._metrics_of_slots() IS
    'Returns the metrics of each slot; the last ones of a slot that does not answer, which is not up';
COMMENT ON FUNCTION msgstore._sum_latencies(jsonb) IS
    'Returns the sum of the latency histograms in an array of results of metrics_detail()';
COMMENT ON FUNCTION msgstore._percentile(jsonb, int) IS
    'Returns a percentile of the summed latency histograms, in microseconds';
COMMENT ON FUNCTION msgstore._tenant_metrics(text) IS
    'Returns the metrics, or metrics_detail, of the slot of the session''s tenant';
COMMENT ON FUNCTION msgstore.metrics() IS
    'Returns the sums of the metrics of all slots, their number (slots) and how many of them answer (slots_up); for a session with a tenant, the metrics of its slot. A slot that does not answer counts with its last values';
COMMENT ON FUNCTION msgstore.metrics_detail() IS
    'Returns the metrics of all slots by channel, worker, subscription and projection, the latency histogram, and the state of each slot; for a session with a tenant, those of its slot';
COMMENT ON FUNCTION msgstore.latency_histogram() IS
    'Returns the sum of the latency histograms of all slots: events up to each limit, in microseconds';
COMMENT ON FUNCTION msgstore.check() IS
    'Returns the findings of check() of all slots, or of the slot of the session''s tenant, and the slots that are not reachable';
COMMENT ON FUNCTION msgstore._readiness_of_slots(interval) IS
    'Returns the findings of readiness() of each slot. They are warnings while another slot can store events';
COMMENT ON FUNCTION msgstore._readiness(name, interval) IS
    'Returns the findings of readiness() for a role';
COMMENT ON FUNCTION msgstore.readiness(interval) IS
    'Returns one row for each reason why an event accepted now might not be stored and processed, as in one database, for each slot and for the router: whether the library is preloaded, and the calling role''s privileges. No rows: ready';
-- router: what the gateway shows to operators. With a tenant, the page of its slot;
-- without one, the pages of all slots, with the slot in each item.

-- Items with a time are sorted by it, and only the first 50 of all slots are shown.
CREATE FUNCTION msgstore._join_pages(pages jsonb, unreachable int[]) RETURNS jsonb
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    SET timezone = 'UTC'
    AS $$
    WITH items AS (
        SELECT i.item || jsonb_build_object('slot', p -> 'slot') AS item,
               coalesce(i.item ->> 'died_at', i.item ->> 'happened_at')::timestamptz AS at,
               (p ->> 'slot')::int AS slot, i.n
        FROM jsonb_array_elements(pages) p,
            jsonb_array_elements(p -> 'items') WITH ORDINALITY AS i (item, n)),
    sorted AS (
        SELECT s.item, s.at,
               row_number() OVER (ORDER BY s.at DESC, s.item ->> 'id' DESC, s.slot, s.n) AS place
        FROM items s)
    SELECT jsonb_build_object(
            'items', (SELECT coalesce(jsonb_agg(s.item ORDER BY s.place), '[]') FROM sorted s
                      WHERE s.at IS NULL OR s.place <= 50),
            'unreachable_slots', to_jsonb(unreachable))
        || coalesce((SELECT jsonb_build_object('total', sum((p ->> 'total')::bigint))
                     FROM jsonb_array_elements(pages) p HAVING bool_or(p ? 'total')), '{}')
        || coalesce((SELECT jsonb_build_object('paused', (jsonb_agg(p -> 'paused')
                         FILTER (WHERE p -> 'paused' <> 'null')) -> 0)
                     FROM jsonb_array_elements(pages) p HAVING bool_or(p ? 'paused')), '{}')
    $$;

-- The page of one slot, as the functions below want it.
CREATE FUNCTION msgstore._page_of(slot int, tenant text, page text, channel text, after uuid, before timestamptz)
    RETURNS jsonb
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF page IN ('outbox', 'reports') THEN
        RETURN msgstore._at__sending_page(slot, tenant, '', session_user, page);
    END IF;
    RETURN msgstore._at__operations_page(slot, tenant, '', session_user, page, channel, after, before);
END
$$;

CREATE FUNCTION msgstore._page(page text, channel text, after uuid, before timestamptz)
    RETURNS jsonb
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET client_min_messages = error
    AS $$
DECLARE
    scope CONSTANT text := msgstore._tenant_scope();
    pages jsonb := '[]';
    unreachable int[] := '{}';
    slot int;
    detail text;
    hint text;
BEGIN
    FOR slot IN SELECT s FROM msgstore._slots_of(scope) s LOOP
        BEGIN
            pages := pages || msgstore._page_of(slot, scope, page, channel, after, before);
            pages := jsonb_set(pages, ARRAY['-1', 'slot'], to_jsonb(slot));
        EXCEPTION WHEN OTHERS OR query_canceled THEN
            GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
            IF scope <> '' OR NOT (msgstore._read_error(SQLSTATE, SQLERRM)).unreachable THEN
                PERFORM msgstore._raise_of_node(slot, SQLSTATE, SQLERRM, detail, hint, NULL);
            END IF;
            RAISE LOG 'slot % is not reachable: %', slot, (msgstore._read_error(SQLSTATE, SQLERRM)).said;
            unreachable := unreachable || slot;
        END;
    END LOOP;
    IF scope <> '' THEN
        RETURN pages -> 0 #- '{slot}';
    END IF;
    RETURN msgstore._join_pages(pages, unreachable);
END
$$;

CREATE FUNCTION msgstore._operations_page(
    page text,
    channel text DEFAULT NULL,
    after uuid DEFAULT NULL,
    before timestamptz DEFAULT NULL)
    RETURNS jsonb
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET client_min_messages = error
    AS $$
DECLARE
    slot int;
    died_at timestamptz := before;
BEGIN
    IF after IS NOT NULL AND died_at IS NULL AND msgstore._tenant_scope() = '' THEN
        FOR slot IN SELECT s FROM msgstore._slots_of('') s LOOP
            died_at := msgstore._page_of(slot, '', 'died_at', NULL, after, NULL) #>> '{}';
            EXIT WHEN died_at IS NOT NULL;
        END LOOP;
    END IF;
    RETURN msgstore._page(page, channel, after, died_at);
END
$$;

CREATE FUNCTION msgstore._sending_page(page text) RETURNS jsonb
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    RETURN msgstore._page(page, NULL, NULL, NULL);
END
$$;

REVOKE ALL ON FUNCTION msgstore._join_pages(jsonb, int[]) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._page_of(int, text, text, text, uuid, timestamptz) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._page(text, text, uuid, timestamptz) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._operations_page(text, text, uuid, timestamptz) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._sending_page(text) FROM PUBLIC;

COMMENT ON FUNCTION msgstore._join_pages(jsonb, int[]) IS
    'Joins pages of slots to one, with the slots that did not answer';
COMMENT ON FUNCTION msgstore._page_of(int, text, text, text, uuid, timestamptz) IS
    'Returns a page of _operations_page() or _sending_page() of a slot';
COMMENT ON FUNCTION msgstore._page(text, text, uuid, timestamptz) IS
    'Returns a page of the slot of the session''s tenant, or of all slots without one';
COMMENT ON FUNCTION msgstore._operations_page(text, text, uuid, timestamptz) IS
    'Returns a page for operators: dead_letters, workers or operations';
COMMENT ON FUNCTION msgstore._sending_page(text) IS
    'Returns a page about sending: outbox or reports';
-- router: what the nodes are told: the map of tenants, channels, limits, keys and
-- sources.

-- A version belongs to one state of the settings: the row of the cluster is locked to
-- the end of the transaction that changes them.
CREATE FUNCTION msgstore._settings_changed() RETURNS trigger
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    UPDATE msgstore.cluster SET settings_version = settings_version + 1;
    RETURN NULL;
END
$$;

-- Not when a key is used.
DO $$
DECLARE
    target text;
BEGIN
    FOREACH target IN ARRAY '{
        channels,tenant_limits,api_keys,signature_schemes,providers,provider_rules,
        sources,source_secrets}'::text[]
    LOOP
        EXECUTE (
            SELECT pg_catalog.format(
                'CREATE TRIGGER settings_changed AFTER INSERT OR DELETE OR TRUNCATE OR UPDATE OF %s'
                ' ON msgstore.%I FOR EACH STATEMENT EXECUTE FUNCTION msgstore._settings_changed()',
                pg_catalog.string_agg(pg_catalog.quote_ident(a.attname), ', '), target)
            FROM pg_catalog.pg_attribute a
            WHERE a.attrelid = ('msgstore.' || target)::pg_catalog.regclass AND a.attnum > 0
                AND NOT a.attisdropped AND a.attname <> 'last_used_at');
    END LOOP;
END
$$;

CREATE FUNCTION msgstore._at_slot_map(
    int,
    OUT slot int,
    OUT slots int,
    OUT map_version bigint,
    OUT settings_version bigint)
    RETURNS record
    LANGUAGE plproxy VOLATILE PARALLEL UNSAFE
    AS $$
    CLUSTER 'msgstore';
    RUN ON $1;
    SELECT m.slot, m.slots, m.version AS map_version,
           coalesce((SELECT n.settings_version FROM msgstore.node_state n), 0) AS settings_version
    FROM msgstore.slot_map() m;
    $$;

CREATE FUNCTION msgstore._at_publish(int, bigint, jsonb, bigint, jsonb) RETURNS text
    LANGUAGE plproxy VOLATILE PARALLEL UNSAFE
    AS $$
    CLUSTER 'msgstore';
    RUN ON $1;
    SELECT pg_catalog.concat(msgstore.set_slot_map($2::bigint, $3::jsonb),
                             msgstore.publish_settings($4::bigint, $5::jsonb));
    $$;

-- Rows as the tables have them. Built-in rows are on every node.
CREATE FUNCTION msgstore.export_settings() RETURNS jsonb
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    PERFORM msgstore._check_no_tenant('settings');
    RETURN jsonb_build_object(
        'channels', (SELECT coalesce(jsonb_agg(r), '[]') FROM msgstore.channels r
                     WHERE r.origin <> 'built-in'),
        'tenant_limits', (SELECT coalesce(jsonb_agg(r), '[]') FROM msgstore.tenant_limits r),
        'api_keys', (SELECT coalesce(jsonb_agg(r), '[]') FROM msgstore.api_keys r),
        'signature_schemes', (SELECT coalesce(jsonb_agg(r), '[]') FROM msgstore.signature_schemes r
                              WHERE r.origin <> 'built-in'),
        'providers', (SELECT coalesce(jsonb_agg(r), '[]') FROM msgstore.providers r
                      WHERE r.origin <> 'built-in'),
        'provider_rules', (SELECT coalesce(jsonb_agg(r), '[]') FROM msgstore.provider_rules r
                           WHERE r.origin <> 'built-in'),
        'sources', (SELECT coalesce(jsonb_agg(r), '[]') FROM msgstore.sources r),
        'source_secrets', (SELECT coalesce(jsonb_agg(r), '[]') FROM msgstore.source_secrets r));
END
$$;

-- Nodes are sent committed rows only: they keep what they are sent, even if this
-- transaction is rolled back. Versions and rows are of one snapshot.
CREATE FUNCTION msgstore.publish()
    RETURNS TABLE (slot int, map_version bigint, settings_version bigint, error text)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET client_min_messages = error
    AS $$
#variable_conflict use_column
DECLARE
    sent record;
    n int;
BEGIN
    PERFORM msgstore._check_no_tenant('settings');
    IF pg_current_xact_id_if_assigned() IS NOT NULL THEN
        RAISE EXCEPTION 'cannot publish in a transaction that has changed rows'
            USING ERRCODE = 'MS400',
                  DETAIL = 'The slots would keep what is rolled back here.',
                  HINT = 'Commit first, and call publish() in the next transaction.';
    END IF;
    SELECT c.map_version, c.settings_version, msgstore._slot_map() AS map,
           msgstore.export_settings() AS settings
    INTO sent FROM msgstore.cluster c;
    FOR n IN SELECT s FROM msgstore._slots_of('') s LOOP
        slot := n;
        map_version := NULL;
        settings_version := NULL;
        error := NULL;
        BEGIN
            PERFORM msgstore._at_publish(n, sent.map_version, sent.map,
                sent.settings_version, sent.settings);
            map_version := sent.map_version;
            settings_version := sent.settings_version;
        EXCEPTION WHEN OTHERS THEN
            error := (msgstore._read_error(SQLSTATE, SQLERRM)).said;
        END;
        RETURN NEXT;
    END LOOP;
END
$$;

-- What a slot is and says. Passwords of connections are not shown.
CREATE FUNCTION msgstore.slots()
    RETURNS TABLE (
        slot int,
        connection text,
        reachable boolean,
        map_version bigint,
        settings_version bigint,
        error text)
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET client_min_messages = error
    AS $$
#variable_conflict use_column
DECLARE
    count CONSTANT int := msgstore._slots();
    known CONSTANT msgstore.cluster := (SELECT c FROM msgstore.cluster c);
    told record;
BEGIN
    PERFORM msgstore._check_no_tenant('slots');
    FOR n IN 0 .. count - 1 LOOP
        slot := n;
        connection := msgstore._slot_connection(n);
        reachable := false;
        map_version := NULL;
        settings_version := NULL;
        error := NULL;
        BEGIN
            told := msgstore._at_slot_map(n);
            reachable := true;
            map_version := told.map_version;
            settings_version := told.settings_version;
            IF told.slot IS DISTINCT FROM n OR told.slots IS DISTINCT FROM count THEN
                error := format('the database is slot %s of %s', coalesce(told.slot::text, 'null'),
                                coalesce(told.slots::text, 'null'));
            ELSIF told.map_version <> known.map_version THEN
                error := format('its map is %s than the router''s',
                    CASE WHEN told.map_version < known.map_version THEN 'older' ELSE 'newer' END);
            ELSIF told.settings_version <> known.settings_version THEN
                error := format('its settings are %s than the router''s',
                    CASE WHEN told.settings_version < known.settings_version THEN 'older' ELSE 'newer' END);
            END IF;
        EXCEPTION WHEN OTHERS THEN
            error := (msgstore._read_error(SQLSTATE, SQLERRM)).said;
        END;
        RETURN NEXT;
    END LOOP;
END
$$;

REVOKE ALL ON FUNCTION msgstore._settings_changed() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._at_slot_map(int) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._at_publish(int, bigint, jsonb, bigint, jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.export_settings() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.publish() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.slots() FROM PUBLIC;

COMMENT ON FUNCTION msgstore._settings_changed() IS
    'Trigger function that raises the version of the settings, so that slots() shows who has older ones';
COMMENT ON FUNCTION msgstore._at_slot_map(int) IS
    'Returns what a slot says of itself';
COMMENT ON FUNCTION msgstore._at_publish(int, bigint, jsonb, bigint, jsonb) IS
    'Sends a slot (1) a version (2) of the map (3), and a version (4) of the settings (5)';
COMMENT ON FUNCTION msgstore.export_settings() IS
    'Returns the channels, tenant limits, API keys and sources of the router, with their secrets, as publish_settings() of a node takes them. Raises MS403 in a session of a tenant';
COMMENT ON FUNCTION msgstore.publish() IS
    'Sends the map of tenants and the settings to all slots. Returns the versions that each slot now has, or why it does not; call it again then. Raises MS400 in a transaction that has changed rows, MS403 in a session of a tenant';
COMMENT ON FUNCTION msgstore.slots() IS
    'Returns the connection of each slot, whether it answers, the versions of its map and its settings, and what is wrong with it. Raises MS403 in a session of a tenant';
-- router: webhooks of providers, and events of several tenants.

-- The router knows the tenant of a path; the slot has the source, too.
CREATE FUNCTION msgstore.receive_webhook(
    path text,
    method text,
    url text,
    headers jsonb,
    body bytea,
    correlation_id text DEFAULT NULL,
    mail jsonb DEFAULT NULL,
    files bytea DEFAULT NULL,
    OUT status int,
    OUT content_type text,
    OUT answer text,
    OUT outcome text,
    OUT reason text,
    OUT id uuid)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET client_min_messages = warning
    AS $$
DECLARE
    slot CONSTANT int := msgstore.tenant_slot((msgstore._source_of_path($1)).tenant_id);
    detail text;
    hint text;
    context text;
BEGIN
    SELECT * INTO receive_webhook.status, receive_webhook.content_type,
        receive_webhook.answer, receive_webhook.outcome, receive_webhook.reason,
        receive_webhook.id
    FROM msgstore._at_receive_webhook(slot, msgstore._tenant_scope(), msgstore._owner_scope(),
        session_user, $1, $2, $3, $4, $5, $6, $7, $8);
EXCEPTION WHEN OTHERS OR query_canceled THEN
    GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT,
        context = PG_EXCEPTION_CONTEXT;
    PERFORM msgstore._raise_of_node(slot, SQLSTATE, SQLERRM, detail, hint, context);
END
$$;

-- The slots trust the router's role, so the caller is checked here. session_user
-- does not follow SET ROLE, and current_user is the owner.
CREATE FUNCTION msgstore._forbidden_items(items jsonb) RETURNS int[]
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    named CONSTANT int[] := (
        SELECT array_agg(i.n)
        FROM jsonb_array_elements(items) WITH ORDINALITY AS i (item, n)
        WHERE jsonb_typeof(i.item -> 'tenant_id') = 'string'
            AND octet_length(i.item ->> 'tenant_id') BETWEEN 1 AND 255);
BEGIN
    IF named IS NULL OR has_parameter_privilege(
        coalesce(nullif(current_setting('role'), 'none'), session_user),
        'msgstore.tenant_id', 'SET')
    THEN
        RETURN '{}';
    END IF;
    RETURN named;
END
$$;

-- Items that any slot refuses have none. It would not be a transaction if items were
-- sent to several slots: a slot that refuses its items would make the caller send those
-- of the others again.
CREATE FUNCTION msgstore._slot_of_items(items jsonb) RETURNS int
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    slots CONSTANT int[] := (
        SELECT array_agg(DISTINCT msgstore.tenant_slot(t.tenant))
        FROM (SELECT DISTINCT coalesce(i ->> 'tenant_id', '') AS tenant
              FROM jsonb_array_elements(items) i
              WHERE jsonb_typeof(i) = 'object'
                  AND coalesce(jsonb_typeof(i -> 'tenant_id'), 'null') IN ('string', 'null')
                  AND octet_length(coalesce(i ->> 'tenant_id', '')) <= 255) t);
BEGIN
    IF cardinality(slots) > 1 THEN
        RAISE EXCEPTION 'items of one batch belong to % slots', cardinality(slots)
            USING ERRCODE = 'MS400',
                  DETAIL = 'A batch is stored in one database, or not at all.',
                  HINT = 'Send the items of each slot by themselves; msgstore.tenant_slot() returns the slot of a tenant.';
    END IF;
    RETURN coalesce(slots[1], msgstore._slot_to_write(''));
END
$$;

CREATE FUNCTION msgstore._refusals_of_items(items jsonb, ordinals int[])
    RETURNS TABLE (
        ordinal int,
        event_id uuid,
        duplicate boolean,
        error_code text,
        error_message text,
        error_detail text)
    LANGUAGE sql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT o, NULL::uuid, NULL::boolean, 'MS403',
           format('permission denied for tenant "%s"', items -> (o - 1) ->> 'tenant_id'),
           'Only roles with SET on parameter msgstore.tenant_id can name the tenant of an item.'
    FROM unnest(ordinals) o
    $$;

CREATE FUNCTION msgstore.ingest_batch(items jsonb)
    RETURNS TABLE (
        ordinal int,
        event_id uuid,
        duplicate boolean,
        error_code text,
        error_message text,
        error_detail text)
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET client_min_messages = warning
    AS $$
DECLARE
    scope CONSTANT text := msgstore._tenant_scope();
    named CONSTANT boolean := scope = '' AND jsonb_typeof($1) = 'array';
    forbidden CONSTANT int[] := CASE WHEN named THEN msgstore._forbidden_items($1) ELSE '{}' END;
    -- The ordinals of the others.
    sent CONSTANT int[] := CASE WHEN forbidden <> '{}' THEN ARRAY(
        SELECT n FROM generate_series(1, jsonb_array_length($1)) n WHERE n <> ALL (forbidden)) END;
    items CONSTANT jsonb := CASE WHEN forbidden = '{}' THEN $1 ELSE (
        SELECT coalesce(jsonb_agg($1 -> (n - 1) ORDER BY n), '[]') FROM unnest(sent) n) END;
    slot CONSTANT int := CASE WHEN named THEN msgstore._slot_of_items(items)
                              ELSE msgstore._slot_to_write(scope) END;
    detail text;
    hint text;
    context text;
BEGIN
    IF forbidden = '{}' THEN
        RETURN QUERY SELECT * FROM msgstore._at_ingest_batch(
            slot, scope, msgstore._owner_scope(), session_user, items);
    ELSE
        RETURN QUERY
        SELECT * FROM (
            SELECT sent[b.ordinal] AS ordinal, b.event_id, b.duplicate, b.error_code,
                   b.error_message, b.error_detail
            FROM msgstore._at_ingest_batch(
                slot, scope, msgstore._owner_scope(), session_user, items) b
            UNION ALL
            SELECT * FROM msgstore._refusals_of_items($1, forbidden)) r
        ORDER BY r.ordinal;
    END IF;
EXCEPTION WHEN OTHERS OR query_canceled THEN
    GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT,
        context = PG_EXCEPTION_CONTEXT;
    PERFORM msgstore._raise_of_node(slot, SQLSTATE, SQLERRM, detail, hint, context);
END
$$;

REVOKE ALL ON FUNCTION msgstore.receive_webhook(text, text, text, jsonb, bytea, text, jsonb, bytea) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._forbidden_items(jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._refusals_of_items(jsonb, int[]) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._slot_of_items(jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.ingest_batch(jsonb) FROM PUBLIC;

COMMENT ON FUNCTION msgstore.receive_webhook(text, text, text, jsonb, bytea, text, jsonb, bytea) IS
    'Calls receive_webhook() in the slot of the source''s tenant. Raises MS404 if the router has no such source';
COMMENT ON FUNCTION msgstore._forbidden_items(jsonb) IS
    'Returns the ordinals of the items that name a tenant, if the caller may not set the tenant';
COMMENT ON FUNCTION msgstore._refusals_of_items(jsonb, int[]) IS
    'Returns what ingest_batch() returns for items whose tenant the caller may not name';
COMMENT ON FUNCTION msgstore._slot_of_items(jsonb) IS
    'Returns the slot of the items of a batch. Raises MS400 if they belong to several slots';
COMMENT ON FUNCTION msgstore.ingest_batch(jsonb) IS
    'Calls ingest_batch() in the slot of the session''s tenant; in a session without one, in that of the tenants that the items name. Raises MS400 if they belong to several slots';

CREATE FUNCTION msgstore._media_failed(tenant text, source text) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN NULL::bigint;

REVOKE ALL ON FUNCTION msgstore._media_failed(text, text) FROM PUBLIC;

COMMENT ON FUNCTION msgstore._media_failed(text, text) IS
    'Returns null: the files of a source are in the slot of its tenant';
-- router: row security for the tables that have a tenant. The functions run with
-- the rights of their owner, a superuser, and filter by themselves.
DO $$
DECLARE
    t regclass;
BEGIN
    FOR t IN
        SELECT c.oid::regclass
        FROM pg_catalog.pg_class c
        JOIN pg_catalog.pg_attribute a
            ON a.attrelid = c.oid AND a.attname = 'tenant_id'
        WHERE c.relnamespace = 'msgstore'::pg_catalog.regnamespace AND c.relkind = 'r'
        ORDER BY 1
    LOOP
        EXECUTE pg_catalog.format(
            'ALTER TABLE %s ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', t);
        EXECUTE pg_catalog.format(
            'CREATE POLICY tenant_scope ON %s'
            ' USING ((SELECT msgstore._tenant_scope()) IN ('''', tenant_id))', t);
    END LOOP;
END
$$;
