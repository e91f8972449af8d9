-- responses: the tables of conversations, which responses add their items to.
--
-- Foreign keys would make a parallel restore fail, whose jobs load the tables in
-- any order. What removes a conversation removes its items and its turn.

CREATE TABLE msgstore.response_conversations (
    tenant_id text COLLATE "C" NOT NULL DEFAULT '',
    id text COLLATE "C" NOT NULL,
    owner text COLLATE "C" NOT NULL DEFAULT '',
    metadata jsonb NOT NULL DEFAULT '{}',
    next_position bigint NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT response_conversations_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT response_conversations_id_length
        CHECK (octet_length(id) BETWEEN 1 AND 255),
    CONSTRAINT response_conversations_metadata_object
        CHECK (jsonb_typeof(metadata) = 'object')
);

-- Serves sessions without a tenant.
CREATE INDEX response_conversations_id_idx
    ON msgstore.response_conversations (id);

CREATE TABLE msgstore.response_conversation_items (
    tenant_id text COLLATE "C" NOT NULL DEFAULT '',
    conversation_id text COLLATE "C" NOT NULL,
    position bigint NOT NULL,
    id text COLLATE "C" NOT NULL,
    item jsonb NOT NULL,
    response_id text COLLATE "C",
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT response_conversation_items_pkey
        PRIMARY KEY (tenant_id, conversation_id, position),
    CONSTRAINT response_conversation_items_id_key
        UNIQUE (tenant_id, conversation_id, id),
    CONSTRAINT response_conversation_items_item_object
        CHECK (jsonb_typeof(item) = 'object')
);

-- A row is the turn of a response that is queued or in progress.
CREATE TABLE msgstore.response_turns (
    tenant_id text COLLATE "C" NOT NULL DEFAULT '',
    conversation_id text COLLATE "C" NOT NULL,
    response_id text COLLATE "C" NOT NULL,
    renewed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT response_turns_pkey PRIMARY KEY (tenant_id, conversation_id)
);

SELECT pg_catalog.pg_extension_config_dump('msgstore.response_conversations', '');
SELECT pg_catalog.pg_extension_config_dump('msgstore.response_conversation_items', '');
SELECT pg_catalog.pg_extension_config_dump('msgstore.response_turns', '');

COMMENT ON TABLE msgstore.response_conversations IS
    'Conversations of OpenAI''s Conversations API. The conversations of messages are in msgstore.conversations';
COMMENT ON COLUMN msgstore.response_conversations.tenant_id IS
    'Tenant; empty for a conversation without a tenant';
COMMENT ON COLUMN msgstore.response_conversations.id IS
    'ID, 1 to 255 bytes, unique within the tenant';
COMMENT ON COLUMN msgstore.response_conversations.owner IS
    'Value of msgstore.owner when the conversation was created; empty for a conversation without an owner';
COMMENT ON COLUMN msgstore.response_conversations.metadata IS
    'Metadata of the client, a JSON object';
COMMENT ON COLUMN msgstore.response_conversations.next_position IS
    'Position of the next item';
COMMENT ON COLUMN msgstore.response_conversations.created_at IS
    'Time at which the conversation was created';
COMMENT ON TABLE msgstore.response_conversation_items IS
    'Items of conversations: added by clients, or the input and output of a response that ended';
COMMENT ON COLUMN msgstore.response_conversation_items.tenant_id IS
    'Tenant of the conversation';
COMMENT ON COLUMN msgstore.response_conversation_items.conversation_id IS
    'ID of the conversation';
COMMENT ON COLUMN msgstore.response_conversation_items.position IS
    'Order of the items; positions can be missing';
COMMENT ON COLUMN msgstore.response_conversation_items.id IS
    'ID of the item, unique within the conversation';
COMMENT ON COLUMN msgstore.response_conversation_items.item IS
    'The item, a JSON object, with its ID';
COMMENT ON COLUMN msgstore.response_conversation_items.response_id IS
    'ID of the response that the item is from; null for an item that a client added';
COMMENT ON COLUMN msgstore.response_conversation_items.created_at IS
    'Time at which the item was added';
COMMENT ON TABLE msgstore.response_turns IS
    'The response of each conversation that is queued or in progress; another one cannot start before it ends';
COMMENT ON COLUMN msgstore.response_turns.tenant_id IS
    'Tenant of the conversation';
COMMENT ON COLUMN msgstore.response_turns.conversation_id IS
    'ID of the conversation';
COMMENT ON COLUMN msgstore.response_turns.response_id IS
    'ID of the response';
COMMENT ON COLUMN msgstore.response_turns.renewed_at IS
    'Time of the last save, claim, heartbeat or update of the response. Another response can take the turn msgstore.response_stale_after later';
