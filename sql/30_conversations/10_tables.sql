-- conversations: messages of both directions, grouped by channel and pair of
-- addresses; sending, and the lists that readers page through.

CREATE SEQUENCE msgstore.conversations_number_seq;

-- A row never changes: nothing that an event does waits for a conversation, and
-- nobody who holds an old snapshot makes its row grow. See 30_activity.sql for its
-- count of messages and its last activity.
CREATE TABLE msgstore.conversation_rows (
    tenant_id text COLLATE "C" NOT NULL DEFAULT '',
    id uuid NOT NULL DEFAULT msgstore.uuid7(),
    number bigint NOT NULL
        DEFAULT nextval('msgstore.conversations_number_seq'),
    channel text COLLATE "C" NOT NULL,
    participant_a text COLLATE "C" NOT NULL,
    participant_b text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT conversation_rows_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT conversation_rows_number_key UNIQUE (tenant_id, number),
    CONSTRAINT conversation_rows_key_key UNIQUE (tenant_id, key),
    -- With this, conversation_rows_key_key also makes channel and participants
    -- unique: none of them contains a separator, see conversation_rows_separator.
    CONSTRAINT conversation_rows_key_parts
        CHECK (key = channel || ':' || participant_a || '<->' || participant_b),
    CONSTRAINT conversation_rows_separator
        CHECK (strpos(participant_a, '<->') = 0
               AND strpos(participant_b, '<->') = 0),
    CONSTRAINT conversation_rows_participant_order
        CHECK (participant_a <= participant_b)
);

ALTER SEQUENCE msgstore.conversations_number_seq
    OWNED BY msgstore.conversation_rows.number;

-- What was merged until now of the changes that messages make to the count and the
-- last activity of their conversation; no row until the first merge.
CREATE TABLE msgstore.conversation_activity (
    tenant_id text COLLATE "C" NOT NULL,
    conversation_id uuid NOT NULL,
    message_count int NOT NULL,
    inbound_count int NOT NULL,
    last_activity_at timestamptz NOT NULL,
    CONSTRAINT conversation_activity_pkey
        PRIMARY KEY (tenant_id, conversation_id),
    CONSTRAINT conversation_activity_message_count CHECK (message_count >= 0),
    CONSTRAINT conversation_activity_inbound_count
        CHECK (inbound_count BETWEEN 0 AND message_count)
);

CREATE INDEX conversation_activity_order_idx
    ON msgstore.conversation_activity
    (tenant_id, last_activity_at DESC, conversation_id DESC);

-- Changes that are not merged yet. Rows are only added, each for many
-- conversations; whoever reads an activity adds them, see _read_changes(). PLAIN
-- keeps them in their row: they are not worth compressing.
CREATE TABLE msgstore.conversation_changes (
    tenant_id text COLLATE "C" NOT NULL,
    id uuid NOT NULL,
    changes bytea NOT NULL,
    CONSTRAINT conversation_changes_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT conversation_changes_length
        CHECK (octet_length(changes) > 0 AND octet_length(changes) % 28 = 0)
) WITH (autovacuum_vacuum_threshold = 200, autovacuum_vacuum_scale_factor = 0);

ALTER TABLE msgstore.conversation_changes
    ALTER COLUMN tenant_id SET STORAGE PLAIN,
    ALTER COLUMN changes SET STORAGE PLAIN;

-- A tenant has as many conversations as its rows here add up to; every page of
-- a list says how many. A writer updates a row that nobody holds or inserts
-- another one, so that writers never wait for each other, and merges the rows if
-- it finds several. Triggers maintain them, also while a dump is restored, so
-- that the table need not be dumped.
CREATE TABLE msgstore.conversation_counts (
    tenant_id text COLLATE "C" NOT NULL,
    part bigint GENERATED ALWAYS AS IDENTITY,
    n bigint NOT NULL,
    CONSTRAINT conversation_counts_pkey PRIMARY KEY (tenant_id, part)
) WITH (fillfactor = 50);

-- No foreign keys: a session that inserts a message has just created its
-- conversation or keeps it from being removed, and holds the queue row of its
-- event. A foreign key to event_log would lock rows of it, that is write to a
-- table that processing never writes to: a third more WAL per event. One to
-- conversations cost a seventh of the worker's throughput, and made pg_restore
-- with several jobs fail, because pg_dump records no order in which to load an
-- extension's tables.
-- The order of the columns saves space, as that of event_log.
CREATE TABLE msgstore.messages (
    "timestamp" timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    tenant_id text COLLATE "C" NOT NULL DEFAULT '',
    id uuid NOT NULL DEFAULT msgstore.uuid7(),
    conversation_id uuid NOT NULL,
    inbound_event_id uuid,
    direction text COLLATE "C" NOT NULL,
    channel text COLLATE "C" NOT NULL,
    conversation_key text COLLATE "C" NOT NULL,
    "from" text COLLATE "C" NOT NULL,
    "to" text COLLATE "C" NOT NULL,
    provider_message_id text COLLATE "C",
    body text NOT NULL DEFAULT '',
    correlation_id text,
    attachments jsonb,
    from_given text,
    to_given text,
    subject text,
    CONSTRAINT messages_pkey PRIMARY KEY (tenant_id, id),
    -- So the primary key also says that an event makes at most one message.
    CONSTRAINT messages_inbound_event CHECK (inbound_event_id = id),
    CONSTRAINT messages_direction CHECK (direction IN ('inbound', 'outbound')),
    CONSTRAINT messages_attachments_array
        CHECK (jsonb_typeof(attachments) = 'array')
);

-- The conversation says the tenant. It comes first because each message is compared
-- with twenty entries, and nearly always the first column decides.
CREATE INDEX messages_conversation_idx
    ON msgstore.messages (conversation_id, tenant_id, "timestamp", id);
-- Messages arrive about in the order of their time, so a summary of ranges of
-- pages finds them by time; a B-tree cost 67 bytes of WAL for each message.
CREATE INDEX messages_timestamp_idx
    ON msgstore.messages USING brin ("timestamp") WITH (pages_per_range = 32);

SELECT pg_catalog.pg_extension_config_dump('msgstore.conversation_rows', '');
SELECT pg_catalog.pg_extension_config_dump('msgstore.conversations_number_seq', '');
SELECT pg_catalog.pg_extension_config_dump('msgstore.conversation_activity', '');
SELECT pg_catalog.pg_extension_config_dump('msgstore.conversation_changes', '');
SELECT pg_catalog.pg_extension_config_dump('msgstore.messages', '');

COMMENT ON SEQUENCE msgstore.conversations_number_seq IS
    'Numbers of the conversations of all tenants';
COMMENT ON TABLE msgstore.conversation_rows IS
    'One row per tenant, channel (thread) and pair of addresses. The view conversations adds message_count and last_activity_at';
COMMENT ON COLUMN msgstore.conversation_rows.tenant_id IS
    'Tenant that owns the conversation; empty if tenants are not used';
COMMENT ON COLUMN msgstore.conversation_rows.id IS
    'Id of the conversation (UUID version 7)';
COMMENT ON COLUMN msgstore.conversation_rows.number IS
    'Short number, accepted wherever an id is. Numbering starts at 1 and may have gaps';
COMMENT ON COLUMN msgstore.conversation_rows.channel IS
    'Name of the thread: the channel itself, or the one whose conversations it shares (channels.thread)';
COMMENT ON COLUMN msgstore.conversation_rows.participant_a IS
    'Normalized address of the participant that sorts first in byte order';
COMMENT ON COLUMN msgstore.conversation_rows.participant_b IS
    'Normalized address of the other participant';
COMMENT ON COLUMN msgstore.conversation_rows.key IS
    'channel:participant_a<->participant_b, as conversation_key() returns it';
COMMENT ON COLUMN msgstore.conversation_rows.created_at IS
    'Start of the transaction that created the conversation';
COMMENT ON TABLE msgstore.conversation_activity IS
    'Message count and last activity of conversations, without what is in conversation_changes';
COMMENT ON COLUMN msgstore.conversation_activity.tenant_id IS
    'Tenant that owns the conversation; empty if tenants are not used';
COMMENT ON COLUMN msgstore.conversation_activity.conversation_id IS
    'Id of the conversation';
COMMENT ON COLUMN msgstore.conversation_activity.message_count IS
    'Number of messages merged';
COMMENT ON COLUMN msgstore.conversation_activity.inbound_count IS
    'Number of inbound messages merged';
COMMENT ON COLUMN msgstore.conversation_activity.last_activity_at IS
    'Greatest timestamp of the messages merged';
COMMENT ON TABLE msgstore.conversation_changes IS
    'Messages added since conversation_activity was last brought up to date, by conversation';
COMMENT ON COLUMN msgstore.conversation_changes.tenant_id IS
    'Tenant that owns the conversations; empty if tenants are not used';
COMMENT ON COLUMN msgstore.conversation_changes.id IS
    'Id of the row (UUID version 7)';
COMMENT ON COLUMN msgstore.conversation_changes.changes IS
    'Changes of conversations, of 28 bytes each, by conversation id: see _read_changes';
COMMENT ON TABLE msgstore.conversation_counts IS
    'Number of conversations of each tenant: the sum of n over its rows, exact in every snapshot';
COMMENT ON COLUMN msgstore.conversation_counts.tenant_id IS
    'Tenant whose conversations are counted';
COMMENT ON COLUMN msgstore.conversation_counts.part IS
    'Number of the row; a tenant has several when sessions count at the same time';
COMMENT ON COLUMN msgstore.conversation_counts.n IS
    'Conversations counted in this row; may be negative';
COMMENT ON TABLE msgstore.messages IS
    'Messages of both directions';
COMMENT ON COLUMN msgstore.messages.tenant_id IS
    'Tenant that owns the message; empty if tenants are not used';
COMMENT ON COLUMN msgstore.messages.id IS
    'Id of the message (UUID version 7); an inbound message has the id of its event';
COMMENT ON COLUMN msgstore.messages.conversation_id IS
    'Id of the conversation';
COMMENT ON COLUMN msgstore.messages.inbound_event_id IS
    'Id of the event in event_log; null for an outbound message';
COMMENT ON COLUMN msgstore.messages."timestamp" IS
    'Time given in the payload, or the time of acceptance if that is further in the future than msgstore.max_clock_skew';
COMMENT ON COLUMN msgstore.messages.created_at IS
    'Start of the transaction that added the message';
COMMENT ON COLUMN msgstore.messages.direction IS
    'inbound or outbound';
COMMENT ON COLUMN msgstore.messages.channel IS
    'Name of the channel';
COMMENT ON COLUMN msgstore.messages.conversation_key IS
    'Key of the conversation, as in conversations.key';
COMMENT ON COLUMN msgstore.messages."from" IS
    'Normalized address of the sender: its identity';
COMMENT ON COLUMN msgstore.messages."to" IS
    'Normalized address of the recipient: its identity';
COMMENT ON COLUMN msgstore.messages.provider_message_id IS
    'Message id assigned by the provider of an inbound message; that of an outbound message is in deliveries';
COMMENT ON COLUMN msgstore.messages.correlation_id IS
    'Correlation id passed to ingest() or send()';
COMMENT ON COLUMN msgstore.messages.body IS
    'Text of the message; empty if the payload has none';
COMMENT ON COLUMN msgstore.messages.attachments IS
    'JSON array of URLs; null if the payload has no such field';
COMMENT ON COLUMN msgstore.messages.from_given IS
    'Address of the sender as given in the payload, with display name; null if it equals "from"';
COMMENT ON COLUMN msgstore.messages.to_given IS
    'Address of the recipient as given in the payload, with display name; null if it equals "to"';
COMMENT ON COLUMN msgstore.messages.subject IS
    'Subject given in the payload; null if there is none';
