-- search: an index of the words in messages, filled behind the hot path.
--
-- Whoever merges the changes of conversations hands them on: search_changes says how
-- many messages of which conversations are not indexed yet. One session at a time
-- indexes them, newest first in each conversation, and deletes what it has done, all
-- in one transaction.

CREATE TABLE msgstore.search_changes (
    tenant_id text COLLATE "C" NOT NULL,
    id uuid NOT NULL,
    changes bytea NOT NULL,
    CONSTRAINT search_changes_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT search_changes_length
        CHECK (octet_length(changes) > 0 AND octet_length(changes) % 28 = 0)
) WITH (autovacuum_vacuum_threshold = 200, autovacuum_vacuum_scale_factor = 0);

-- As conversation_changes, where the changes come from.
ALTER TABLE msgstore.search_changes
    ALTER COLUMN tenant_id SET STORAGE PLAIN,
    ALTER COLUMN changes SET STORAGE PLAIN;

CREATE INDEX search_changes_order_idx ON msgstore.search_changes (id);

CREATE TABLE msgstore.search_entries (
    tenant_id text COLLATE "C" NOT NULL,
    message_id uuid NOT NULL,
    "timestamp" timestamptz NOT NULL,
    terms tsvector NOT NULL,
    CONSTRAINT search_entries_pkey PRIMARY KEY (tenant_id, message_id)
);

-- The list of entries that are not sorted in yet is read by every search.
CREATE INDEX search_entries_terms_idx ON msgstore.search_entries
    USING gin (terms) WITH (gin_pending_list_limit = 512);
CREATE INDEX search_entries_order_idx ON msgstore.search_entries
    (tenant_id, "timestamp", message_id);

CREATE TABLE msgstore.search_addresses (
    tenant_id text COLLATE "C" NOT NULL,
    conversation_id uuid NOT NULL,
    terms tsvector NOT NULL,
    CONSTRAINT search_addresses_pkey PRIMARY KEY (tenant_id, conversation_id)
);

CREATE INDEX search_addresses_terms_idx ON msgstore.search_addresses
    USING gin (terms) WITH (gin_pending_list_limit = 512);

CREATE TABLE msgstore.search_configurations (
    tenant_id text COLLATE "C" NOT NULL,
    channel text COLLATE "C" NOT NULL,
    configuration text NOT NULL,
    CONSTRAINT search_configurations_pkey PRIMARY KEY (tenant_id, channel)
);

SELECT pg_catalog.pg_extension_config_dump('msgstore.search_changes', '');
SELECT pg_catalog.pg_extension_config_dump('msgstore.search_entries', '');
SELECT pg_catalog.pg_extension_config_dump('msgstore.search_addresses', '');
SELECT pg_catalog.pg_extension_config_dump('msgstore.search_configurations', '');

COMMENT ON TABLE msgstore.search_changes IS
    'How many messages of which conversations are not in search_entries yet';
COMMENT ON COLUMN msgstore.search_changes.tenant_id IS
    'Tenant that owns the conversations; empty if tenants are not used';
COMMENT ON COLUMN msgstore.search_changes.id IS
    'Id of the row (UUID version 7), with the time at which the messages were added';
COMMENT ON COLUMN msgstore.search_changes.changes IS
    'Changes of conversations, as in conversation_changes';
COMMENT ON TABLE msgstore.search_entries IS
    'Index of messages for search_messages()';
COMMENT ON COLUMN msgstore.search_entries.tenant_id IS
    'Tenant that owns the message; empty if tenants are not used';
COMMENT ON COLUMN msgstore.search_entries.message_id IS
    'Id of the message';
COMMENT ON COLUMN msgstore.search_entries."timestamp" IS
    'Timestamp of the message';
COMMENT ON COLUMN msgstore.search_entries.terms IS
    'Words of subject (weight A) and body, parts of numbers and of scripts without spaces, and what the search filters by';
COMMENT ON TABLE msgstore.search_addresses IS
    'Index of the addresses of conversations for search_conversations()';
COMMENT ON COLUMN msgstore.search_addresses.tenant_id IS
    'Tenant that owns the conversation; empty if tenants are not used';
COMMENT ON COLUMN msgstore.search_addresses.conversation_id IS
    'Id of the conversation';
COMMENT ON COLUMN msgstore.search_addresses.terms IS
    'Parts of three characters of both addresses';
COMMENT ON TABLE msgstore.search_configurations IS
    'Text search configurations by tenant and channel; simple is used where there is none';
COMMENT ON COLUMN msgstore.search_configurations.tenant_id IS
    'Tenant whose messages are indexed so; empty for messages without a tenant';
COMMENT ON COLUMN msgstore.search_configurations.channel IS
    'Name of the channel; empty for all other channels of the tenant';
COMMENT ON COLUMN msgstore.search_configurations.configuration IS
    'Name of a text search configuration of the server, such as english';
