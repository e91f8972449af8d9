-- conversations: what people set: state, assignee, labels, contact name, and what
-- they have read.
--
-- Adding a message writes none of it. A closed conversation knows how many inbound
-- messages it had when it was closed, and a read mark how many were read: one more
-- opens the conversation again and is unread, in the snapshot that shows it. The
-- merge of changes then clears is_closed and is_current, which serve indexes and
-- counts. Whoever sets one of them shares the changes until the end of the
-- transaction, so that no merge comes in between.

CREATE TABLE msgstore.conversation_states (
    tenant_id text COLLATE "C" NOT NULL,
    conversation_id uuid NOT NULL,
    is_closed boolean NOT NULL DEFAULT false,
    closed_inbound_count int NOT NULL DEFAULT 0,
    assignee text COLLATE "C",
    contact_name text,
    labels text[] COLLATE "C" NOT NULL DEFAULT '{}',
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT conversation_states_pkey PRIMARY KEY (tenant_id, conversation_id),
    CONSTRAINT conversation_states_closed_inbound_count
        CHECK (closed_inbound_count >= 0),
    CONSTRAINT conversation_states_assignee CHECK (assignee ~ '[^[:space:]]'),
    CONSTRAINT conversation_states_contact_name
        CHECK (contact_name ~ '[^[:space:]]')
);

CREATE INDEX conversation_states_closed_idx
    ON msgstore.conversation_states (tenant_id, conversation_id)
    WHERE is_closed;
CREATE INDEX conversation_states_assignee_idx
    ON msgstore.conversation_states (tenant_id, assignee)
    WHERE assignee IS NOT NULL;
CREATE INDEX conversation_states_contact_idx
    ON msgstore.conversation_states (tenant_id)
    WHERE contact_name IS NOT NULL;
CREATE INDEX conversation_states_labels_idx
    ON msgstore.conversation_states USING gin (labels);

CREATE TABLE msgstore.read_marks (
    tenant_id text COLLATE "C" NOT NULL,
    reader text COLLATE "C" NOT NULL,
    conversation_id uuid NOT NULL,
    inbound_count int NOT NULL,
    is_current boolean NOT NULL,
    read_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT read_marks_pkey PRIMARY KEY (tenant_id, reader, conversation_id),
    CONSTRAINT read_marks_inbound_count CHECK (inbound_count >= 0),
    CONSTRAINT read_marks_reader CHECK (reader ~ '[^[:space:]]')
);

CREATE INDEX read_marks_conversation_idx
    ON msgstore.read_marks (tenant_id, conversation_id);

SELECT pg_catalog.pg_extension_config_dump('msgstore.conversation_states', '');
SELECT pg_catalog.pg_extension_config_dump('msgstore.read_marks', '');

COMMENT ON TABLE msgstore.conversation_states IS
    'What people have set for conversations; a conversation without a row is open';
COMMENT ON COLUMN msgstore.conversation_states.tenant_id IS
    'Tenant that owns the conversation; empty if tenants are not used';
COMMENT ON COLUMN msgstore.conversation_states.conversation_id IS
    'Id of the conversation';
COMMENT ON COLUMN msgstore.conversation_states.is_closed IS
    'Whether the conversation was closed. It is open again if it has more inbound messages than closed_inbound_count; the worker then clears the flag';
COMMENT ON COLUMN msgstore.conversation_states.closed_inbound_count IS
    'Number of inbound messages when the conversation was closed';
COMMENT ON COLUMN msgstore.conversation_states.assignee IS
    'Who looks after the conversation, at most 255 characters; null for nobody';
COMMENT ON COLUMN msgstore.conversation_states.contact_name IS
    'Name of the person on the other side, at most 255 characters; null if unknown';
COMMENT ON COLUMN msgstore.conversation_states.labels IS
    'Labels in byte order, at most 50 of 64 characters';
COMMENT ON COLUMN msgstore.conversation_states.updated_at IS
    'Start of the transaction that last changed the row';
COMMENT ON TABLE msgstore.read_marks IS
    'How much of a conversation a reader has read; no row means nothing';
COMMENT ON COLUMN msgstore.read_marks.tenant_id IS
    'Tenant that owns the conversation; empty if tenants are not used';
COMMENT ON COLUMN msgstore.read_marks.reader IS
    'Name of the reader, at most 255 characters';
COMMENT ON COLUMN msgstore.read_marks.conversation_id IS
    'Id of the conversation';
COMMENT ON COLUMN msgstore.read_marks.inbound_count IS
    'Number of inbound messages read';
COMMENT ON COLUMN msgstore.read_marks.is_current IS
    'Whether all inbound messages were read when the worker last looked';
COMMENT ON COLUMN msgstore.read_marks.read_at IS
    'Start of the transaction that set the mark';
