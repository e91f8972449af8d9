-- destinations: services of the user that are told of what happens here.

CREATE TABLE msgstore.destinations (
    tenant_id text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    url text COLLATE "C" NOT NULL,
    events text[] COLLATE "C" NOT NULL,
    retry_after interval[] NOT NULL,
    timeout interval NOT NULL DEFAULT '15 seconds',
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    paused boolean NOT NULL DEFAULT false,
    failures int NOT NULL DEFAULT 0,
    paused_until timestamptz,
    last_error text,
    CONSTRAINT destinations_pkey PRIMARY KEY (tenant_id, name),
    CONSTRAINT destinations_name CHECK (name ~ '^[a-z][a-z0-9_-]{0,62}$'),
    CONSTRAINT destinations_url CHECK (url ~* '^https?://[^/?#@[:space:]]+([/?][^#[:space:]]*)?$'),
    CONSTRAINT destinations_events
        CHECK (cardinality(events) > 0
               AND events <@ '{message.received,message.status,conversation.created,event.dead}'),
    CONSTRAINT destinations_timeout CHECK (timeout BETWEEN '1 second' AND '1 minute')
) WITH (fillfactor = 50);

-- No foreign keys: parallel jobs of pg_restore load the tables in any order.
CREATE TABLE msgstore.destination_secrets (
    tenant_id text COLLATE "C" NOT NULL,
    destination text COLLATE "C" NOT NULL,
    id uuid NOT NULL,
    secret text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    not_after timestamptz,
    CONSTRAINT destination_secrets_pkey PRIMARY KEY (tenant_id, destination, id)
);

-- What a transaction has done, in one row for each tenant and event. Senders make
-- notifications of it, so that workers need not.
CREATE TABLE msgstore.destination_news (
    tenant_id text COLLATE "C" NOT NULL,
    id uuid NOT NULL DEFAULT msgstore.uuid7(),
    event text COLLATE "C" NOT NULL,
    subjects uuid[] NOT NULL,
    happened_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT destination_news_pkey PRIMARY KEY (tenant_id, id)
);

CREATE INDEX destination_news_id_idx ON msgstore.destination_news (id);

-- next_attempt_at is also the end of a lease, as in outbox.
CREATE TABLE msgstore.notifications (
    tenant_id text COLLATE "C" NOT NULL,
    destination text COLLATE "C" NOT NULL,
    id uuid NOT NULL DEFAULT msgstore.uuid7(),
    event text COLLATE "C" NOT NULL,
    subject_id uuid NOT NULL,
    line_id uuid NOT NULL,
    happened_at timestamptz NOT NULL,
    attempt_count int NOT NULL DEFAULT 0,
    next_attempt_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    sender_id text COLLATE "C",
    last_error text,
    dead_at timestamptz,
    CONSTRAINT notifications_pkey PRIMARY KEY (tenant_id, destination, id)
);

CREATE INDEX notifications_due_idx
    ON msgstore.notifications (next_attempt_at) WHERE dead_at IS NULL;
CREATE INDEX notifications_line_idx
    ON msgstore.notifications (tenant_id, destination, line_id, id) WHERE dead_at IS NULL;
CREATE INDEX notifications_id_idx ON msgstore.notifications (id);
CREATE INDEX notifications_dead_at_idx
    ON msgstore.notifications (dead_at) WHERE dead_at IS NOT NULL;

-- Queue rows are short-lived: see event_queue.
ALTER TABLE msgstore.destination_news SET (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000,
    autovacuum_vacuum_cost_delay = 0);
ALTER TABLE msgstore.notifications SET (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000,
    autovacuum_vacuum_cost_delay = 0);

SELECT pg_catalog.pg_extension_config_dump('msgstore.destinations', '');
SELECT pg_catalog.pg_extension_config_dump('msgstore.destination_secrets', '');
SELECT pg_catalog.pg_extension_config_dump('msgstore.destination_news', '');
SELECT pg_catalog.pg_extension_config_dump('msgstore.notifications', '');

COMMENT ON TABLE msgstore.destinations IS
    'Services that msgstore-sender tells of messages, statuses, conversations and dead letters. See create_destination() and list_destinations()';
COMMENT ON COLUMN msgstore.destinations.tenant_id IS
    'Tenant that owns it, and whose events it is told of';
COMMENT ON COLUMN msgstore.destinations.name IS
    'Name of the destination, unique in the tenant';
COMMENT ON COLUMN msgstore.destinations.url IS
    'URL to which notifications are posted';
COMMENT ON COLUMN msgstore.destinations.events IS
    'What it is told of: message.received, message.status, conversation.created, event.dead';
COMMENT ON COLUMN msgstore.destinations.retry_after IS
    'How long to wait after each failed attempt; after the last one, the notification is dead';
COMMENT ON COLUMN msgstore.destinations.timeout IS
    'How long a request may take';
COMMENT ON COLUMN msgstore.destinations.created_at IS
    'Creation time';
COMMENT ON COLUMN msgstore.destinations.paused IS
    'Whether it is paused until resume_destination() is called';
COMMENT ON COLUMN msgstore.destinations.failures IS
    'Number of requests in a row that failed';
COMMENT ON COLUMN msgstore.destinations.paused_until IS
    'Time until which it is paused because it kept failing; null for none';
COMMENT ON COLUMN msgstore.destinations.last_error IS
    'Why the last request failed';
COMMENT ON TABLE msgstore.destination_secrets IS
    'Secrets with which notifications are signed: a dump contains them';
COMMENT ON COLUMN msgstore.destination_secrets.tenant_id IS
    'Tenant that owns the destination';
COMMENT ON COLUMN msgstore.destination_secrets.destination IS
    'Name of the destination';
COMMENT ON COLUMN msgstore.destination_secrets.id IS
    'Id of the secret (UUID version 7)';
COMMENT ON COLUMN msgstore.destination_secrets.secret IS
    'The secret: whsec_ and a key in base64';
COMMENT ON COLUMN msgstore.destination_secrets.created_at IS
    'Creation time';
COMMENT ON COLUMN msgstore.destination_secrets.not_after IS
    'Time from which nothing is signed with it; null for no end';
COMMENT ON TABLE msgstore.destination_news IS
    'What happened, and has not become notifications yet';
COMMENT ON COLUMN msgstore.destination_news.tenant_id IS
    'Tenant to which it happened';
COMMENT ON COLUMN msgstore.destination_news.id IS
    'Id of the row (UUID version 7)';
COMMENT ON COLUMN msgstore.destination_news.event IS
    'message.received, message.status, event.dead or test';
COMMENT ON COLUMN msgstore.destination_news.subjects IS
    'Ids of the messages or events';
COMMENT ON COLUMN msgstore.destination_news.happened_at IS
    'Start of the transaction in which it happened';
COMMENT ON TABLE msgstore.notifications IS
    'Notifications that have not been delivered, one row for each destination';
COMMENT ON COLUMN msgstore.notifications.tenant_id IS
    'Tenant that owns the destination';
COMMENT ON COLUMN msgstore.notifications.destination IS
    'Name of the destination';
COMMENT ON COLUMN msgstore.notifications.id IS
    'Id of the notification (UUID version 7), sent as webhook-id';
COMMENT ON COLUMN msgstore.notifications.event IS
    'What it tells: message.received, message.status, conversation.created, event.dead or test';
COMMENT ON COLUMN msgstore.notifications.subject_id IS
    'Id of the message, conversation or event';
COMMENT ON COLUMN msgstore.notifications.line_id IS
    'Id of the conversation, in which later notifications wait for this one; its own subject if there is none';
COMMENT ON COLUMN msgstore.notifications.happened_at IS
    'Time at which it happened';
COMMENT ON COLUMN msgstore.notifications.attempt_count IS
    'Number of failed attempts so far';
COMMENT ON COLUMN msgstore.notifications.next_attempt_at IS
    'Time of the next attempt; for one that a sender has claimed, the time at which another may claim it';
COMMENT ON COLUMN msgstore.notifications.sender_id IS
    'Name of the sender that has claimed it';
COMMENT ON COLUMN msgstore.notifications.last_error IS
    'Why the last attempt failed';
COMMENT ON COLUMN msgstore.notifications.dead_at IS
    'Time at which it was given up; null while it is retried';
