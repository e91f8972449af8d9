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
