-- sender: how msgstore-sender passes messages to providers. The database writes the
-- requests and judges the answers; the program only carries them.

-- Rows of an installation win over the built-in rows of the same name, so that a
-- dump needs only the former.
CREATE TABLE msgstore.provider_apis (
    provider text COLLATE "C" NOT NULL,
    protocol text COLLATE "C" NOT NULL DEFAULT 'http',
    base_url text COLLATE "C",
    auth text COLLATE "C" NOT NULL DEFAULT 'bearer',
    defaults jsonb NOT NULL DEFAULT '{}',
    id_paths text[] NOT NULL DEFAULT '{}',
    error_code_paths text[] NOT NULL DEFAULT '{}',
    error_message_paths text[] NOT NULL DEFAULT '{}',
    outcomes jsonb NOT NULL DEFAULT '[]',
    opt_out_codes text[] NOT NULL DEFAULT '{}',
    idempotency_header text COLLATE "C",
    media_hosts text[] COLLATE "C" NOT NULL DEFAULT '{}',
    media_url text COLLATE "C",
    page text,
    page_date date,
    origin text COLLATE "C" NOT NULL DEFAULT 'custom',
    CONSTRAINT provider_apis_pkey PRIMARY KEY (provider, origin),
    CONSTRAINT provider_apis_provider CHECK (provider ~ '^[a-z][a-z0-9_-]{0,62}$'),
    CONSTRAINT provider_apis_protocol CHECK (protocol IN ('http', 'smtp')),
    CONSTRAINT provider_apis_base_url
        CHECK (base_url ~* '^https?://[^/?#[:space:]]+(/[^?#[:space:]]*)?$'),
    CONSTRAINT provider_apis_auth CHECK (auth ~ '^[A-Za-z0-9-]{1,63}$'),
    CONSTRAINT provider_apis_idempotency_header
        CHECK (idempotency_header ~ '^[A-Za-z0-9-]{1,63}$'),
    CONSTRAINT provider_apis_defaults CHECK (jsonb_typeof(defaults) = 'object'),
    CONSTRAINT provider_apis_outcomes CHECK (jsonb_typeof(outcomes) = 'array'),
    CONSTRAINT provider_apis_origin CHECK (origin IN ('built-in', 'custom'))
);

CREATE TABLE msgstore.provider_requests (
    provider text COLLATE "C" NOT NULL,
    position int NOT NULL,
    condition jsonpath,
    method text COLLATE "C" NOT NULL DEFAULT 'POST',
    url text COLLATE "C" NOT NULL DEFAULT '{base}',
    headers jsonb NOT NULL DEFAULT '{}',
    content text COLLATE "C" NOT NULL DEFAULT 'json',
    body jsonb NOT NULL DEFAULT '{}',
    origin text COLLATE "C" NOT NULL DEFAULT 'custom',
    CONSTRAINT provider_requests_pkey PRIMARY KEY (provider, position, origin),
    CONSTRAINT provider_requests_method CHECK (method IN ('GET', 'POST', 'PUT')),
    CONSTRAINT provider_requests_headers CHECK (jsonb_typeof(headers) = 'object'),
    CONSTRAINT provider_requests_content CHECK (content IN ('json', 'form', 'multipart')),
    CONSTRAINT provider_requests_body CHECK (jsonb_typeof(body) = 'object'),
    CONSTRAINT provider_requests_origin CHECK (origin IN ('built-in', 'custom'))
);

-- failures, paused_until, next_slot_at and queued_until change with the messages; the other
-- columns are configuration.
CREATE TABLE msgstore.accounts (
    tenant_id text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    provider text COLLATE "C" NOT NULL,
    channels text[] COLLATE "C" NOT NULL,
    addresses text[] COLLATE "C" NOT NULL DEFAULT '{}',
    options jsonb NOT NULL DEFAULT '{}',
    base_url text COLLATE "C",
    source text COLLATE "C",
    secret_name text COLLATE "C" NOT NULL,
    rate numeric,
    resend boolean,
    timeout interval NOT NULL DEFAULT '30 seconds',
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    failures int NOT NULL DEFAULT 0,
    paused_until timestamptz,
    next_slot_at timestamptz,
    queued_until timestamptz,
    last_error text,
    CONSTRAINT accounts_pkey PRIMARY KEY (tenant_id, name),
    CONSTRAINT accounts_name CHECK (name ~ '^[a-z][a-z0-9_-]{0,62}$'),
    CONSTRAINT accounts_channels CHECK (cardinality(channels) > 0),
    CONSTRAINT accounts_options CHECK (jsonb_typeof(options) = 'object'),
    CONSTRAINT accounts_base_url
        CHECK (base_url ~* '^(https?|smtps?)://[^/?#[:space:]]+(/[^?#[:space:]]*)?$'),
    CONSTRAINT accounts_secret_name CHECK (secret_name ~ '^[a-z][a-z0-9_-]{0,62}$'),
    CONSTRAINT accounts_rate CHECK (rate > 0),
    CONSTRAINT accounts_timeout CHECK (timeout BETWEEN '1 second' AND '10 minutes')
) WITH (fillfactor = 50);

-- No foreign key: parallel jobs of pg_restore load the tables in any order.
CREATE TABLE msgstore.account_secrets (
    tenant_id text COLLATE "C" NOT NULL,
    account text COLLATE "C" NOT NULL,
    secret text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT account_secrets_pkey PRIMARY KEY (tenant_id, account),
    CONSTRAINT account_secrets_secret
        CHECK (secret <> '' AND octet_length(secret) <= 4096)
);

SELECT pg_catalog.pg_extension_config_dump(
    'msgstore.provider_apis', $$WHERE origin = 'custom'$$);
SELECT pg_catalog.pg_extension_config_dump(
    'msgstore.provider_requests', $$WHERE origin = 'custom'$$);
SELECT pg_catalog.pg_extension_config_dump('msgstore.accounts', '');
SELECT pg_catalog.pg_extension_config_dump('msgstore.account_secrets', '');

COMMENT ON TABLE msgstore.provider_apis IS
    'How providers are called and what their answers mean. Insert a row, and rows into provider_requests, to add one';
COMMENT ON COLUMN msgstore.provider_apis.provider IS
    'Name of the provider, as passed to create_account()';
COMMENT ON COLUMN msgstore.provider_apis.protocol IS
    'http or smtp';
COMMENT ON COLUMN msgstore.provider_apis.base_url IS
    'Scheme and host of the API, unless the account has its own; null if each account must have one';
COMMENT ON COLUMN msgstore.provider_apis.auth IS
    'How the secret of the account is sent: basic (user:password), bearer, none, or the name of a header';
COMMENT ON COLUMN msgstore.provider_apis.defaults IS
    'Options of accounts that have a default';
COMMENT ON COLUMN msgstore.provider_apis.id_paths IS
    'Where an answer has the id of the message: jsonpath expressions on an object of status, headers (names in lower case) and body; the first that finds something counts';
COMMENT ON COLUMN msgstore.provider_apis.error_code_paths IS
    'Where an answer has an error code, likewise';
COMMENT ON COLUMN msgstore.provider_apis.error_message_paths IS
    'Where an answer has an error message, likewise';
COMMENT ON COLUMN msgstore.provider_apis.outcomes IS
    'What an answer means: an array of objects with "if" (a jsonpath predicate) and "outcome" (sent, retry, limited, failed, account or unknown). The first that holds counts; without one, the status decides';
COMMENT ON COLUMN msgstore.provider_apis.opt_out_codes IS
    'Error codes, in answers and status callbacks, by which the provider says that the recipient has opted out';
COMMENT ON COLUMN msgstore.provider_apis.idempotency_header IS
    'Header in which the provider accepts a key, so that it accepts a message once however often it is sent; null if it has none';
COMMENT ON COLUMN msgstore.provider_apis.media_hosts IS
    'Hosts to which the secret of the account is sent when media are fetched, beside that of base_url; only by HTTPS';
COMMENT ON COLUMN msgstore.provider_apis.media_url IS
    'Where to look up the URL of media that have only an id, with the placeholders {base}, {options...} and {id}: the answer is JSON with a member "url"; null if media have URLs';
COMMENT ON COLUMN msgstore.provider_apis.page IS
    'Page of the provider''s documentation';
COMMENT ON COLUMN msgstore.provider_apis.page_date IS
    'Date on which the page was read; null if the fields come from the provider''s package or samples';
COMMENT ON COLUMN msgstore.provider_apis.origin IS
    'built-in for rows of the extension, which dumps leave out; custom for rows of the installation, which are preferred';
COMMENT ON TABLE msgstore.provider_requests IS
    'Templates of the requests that send a message. The first whose condition holds is used. If an installation has rows for a provider, they replace the built-in ones';
COMMENT ON COLUMN msgstore.provider_requests.provider IS
    'Name of the provider';
COMMENT ON COLUMN msgstore.provider_requests.position IS
    'Order of the rows of a provider';
COMMENT ON COLUMN msgstore.provider_requests.condition IS
    'Predicate on the values of the message that selects the row; null selects every message';
COMMENT ON COLUMN msgstore.provider_requests.method IS
    'HTTP method';
COMMENT ON COLUMN msgstore.provider_requests.url IS
    'URL, with placeholders such as {base} and {options.account_sid}';
COMMENT ON COLUMN msgstore.provider_requests.headers IS
    'Further headers, an object of names and values with placeholders';
COMMENT ON COLUMN msgstore.provider_requests.content IS
    'Form of the body: json, form (application/x-www-form-urlencoded), or multipart (multipart/form-data, in which an object with name, type and content is a file)';
COMMENT ON COLUMN msgstore.provider_requests.body IS
    'Body with placeholders. A member whose placeholder has no value is left out';
COMMENT ON COLUMN msgstore.provider_requests.origin IS
    'built-in for rows of the extension, which dumps leave out; custom for rows of the installation, which are preferred';
COMMENT ON TABLE msgstore.accounts IS
    'Accounts at providers, through which msgstore-sender sends messages. See create_account() and list_accounts()';
COMMENT ON COLUMN msgstore.accounts.tenant_id IS
    'Tenant whose messages it sends; empty for those of every tenant that has no account of its own for the channel';
COMMENT ON COLUMN msgstore.accounts.name IS
    'Name of the account, unique in the tenant';
COMMENT ON COLUMN msgstore.accounts.provider IS
    'Provider: a name in provider_apis';
COMMENT ON COLUMN msgstore.accounts.channels IS
    'Channels whose messages it sends';
COMMENT ON COLUMN msgstore.accounts.addresses IS
    'Senders'' addresses whose messages it sends; empty for those that no other account has';
COMMENT ON COLUMN msgstore.accounts.options IS
    'Values for the placeholders {options...} of the templates';
COMMENT ON COLUMN msgstore.accounts.base_url IS
    'Scheme and host of the API, if not the provider''s; smtp://host:port for SMTP';
COMMENT ON COLUMN msgstore.accounts.source IS
    'Source whose URL is passed to the provider for status callbacks; null for none';
COMMENT ON COLUMN msgstore.accounts.secret_name IS
    'Name under which the sender looks up the secret, if account_secrets has none';
COMMENT ON COLUMN msgstore.accounts.rate IS
    'Greatest number of messages a second; null for no limit';
COMMENT ON COLUMN msgstore.accounts.resend IS
    'Whether a message is sent again if it is not known whether the provider has accepted it; null: only if the provider accepts an idempotency key';
COMMENT ON COLUMN msgstore.accounts.timeout IS
    'How long a request may take';
COMMENT ON COLUMN msgstore.accounts.created_at IS
    'Creation time';
COMMENT ON COLUMN msgstore.accounts.failures IS
    'Number of requests in a row that failed for a reason other than their message';
COMMENT ON COLUMN msgstore.accounts.paused_until IS
    'Time until which no message is sent, because of such failures or because the provider asked for it; null for none';
COMMENT ON COLUMN msgstore.accounts.next_slot_at IS
    'Time at which the next message may be sent, if there is a rate';
COMMENT ON COLUMN msgstore.accounts.queued_until IS
    'Time at which the last of the messages that wait for their turn comes due, if there is a rate';
COMMENT ON COLUMN msgstore.accounts.last_error IS
    'Why the account was paused';
COMMENT ON TABLE msgstore.account_secrets IS
    'Secrets of accounts that are kept in the database, as they were given: a dump contains them';
COMMENT ON COLUMN msgstore.account_secrets.tenant_id IS
    'Tenant that owns the account';
COMMENT ON COLUMN msgstore.account_secrets.account IS
    'Name of the account';
COMMENT ON COLUMN msgstore.account_secrets.secret IS
    'The secret';
COMMENT ON COLUMN msgstore.account_secrets.created_at IS
    'Creation time';
