-- outbox: outbound messages wait for a sender, a process outside the server that
-- passes them to the provider of their channel. What the provider reports about
-- them is their delivery.

-- A row with a sender_id is leased; any other message waits. next_attempt_at is
-- the time to look at the row again in both cases: the end of the lease, or the
-- time of a retry. So one index serves retries and expired leases.
CREATE TABLE msgstore.outbox (
    tenant_id text COLLATE "C" NOT NULL,
    message_id uuid NOT NULL,
    conversation_id uuid,
    next_attempt_at timestamptz,
    sender_id text COLLATE "C",
    account text COLLATE "C",
    CONSTRAINT outbox_pkey PRIMARY KEY (tenant_id, message_id),
    CONSTRAINT outbox_lease_ends
        CHECK (sender_id IS NULL OR next_attempt_at IS NOT NULL)
);

-- New messages have null, so that they follow in the order of their ids, which
-- is time order.
CREATE INDEX outbox_due_idx ON msgstore.outbox (next_attempt_at, message_id);
-- Few messages are leased at a time, and most channels keep no order: these two
-- indexes stay small, and send() usually writes to neither.
CREATE INDEX outbox_leases_idx
    ON msgstore.outbox (next_attempt_at) WHERE sender_id IS NOT NULL;
CREATE INDEX outbox_conversation_idx
    ON msgstore.outbox (tenant_id, conversation_id, message_id)
    WHERE conversation_id IS NOT NULL;

-- Queue rows are short-lived: see event_queue.
ALTER TABLE msgstore.outbox SET (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000,
    autovacuum_vacuum_cost_delay = 0);

-- The sender's report and the provider's callbacks arrive in any order. The first
-- to arrive inserts the row, and the others find it by the provider's id.
CREATE TABLE msgstore.deliveries (
    tenant_id text COLLATE "C" NOT NULL,
    id uuid NOT NULL DEFAULT msgstore.uuid7(),
    channel text COLLATE "C" NOT NULL,
    provider_message_id text COLLATE "C" NOT NULL,
    message_id uuid,
    provider text COLLATE "C",
    status text COLLATE "C" NOT NULL,
    status_at timestamptz NOT NULL,
    error_code text,
    error_message text,
    CONSTRAINT deliveries_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT deliveries_provider_message_key
        UNIQUE (tenant_id, channel, provider_message_id),
    CONSTRAINT deliveries_message_key UNIQUE (tenant_id, message_id),
    CONSTRAINT deliveries_status
        CHECK (status IN ('queued', 'sent', 'delivered', 'read', 'failed',
                          'undelivered'))
) WITH (fillfactor = 80);

CREATE TABLE msgstore.delivery_statuses (
    tenant_id text COLLATE "C" NOT NULL,
    id uuid NOT NULL DEFAULT msgstore.uuid7(),
    channel text COLLATE "C" NOT NULL,
    provider_message_id text COLLATE "C" NOT NULL,
    status text COLLATE "C",
    detail jsonb,
    received_at timestamptz NOT NULL,
    word text,
    CONSTRAINT delivery_statuses_word CHECK (status IS NOT NULL OR word IS NOT NULL),
    CONSTRAINT delivery_statuses_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT delivery_statuses_status
        CHECK (status IN ('queued', 'sent', 'delivered', 'read', 'failed',
                          'undelivered')),
    CONSTRAINT delivery_statuses_detail_object
        CHECK (jsonb_typeof(detail) = 'object')
);

CREATE INDEX delivery_statuses_provider_message_idx
    ON msgstore.delivery_statuses (tenant_id, channel, provider_message_id, id);
CREATE INDEX delivery_statuses_received_at_idx
    ON msgstore.delivery_statuses (received_at);

-- Apart from messages, which lists read, and from outbox, whose rows are
-- short-lived. The id tells the time, so retention needs no index of its own.
CREATE TABLE msgstore.outbound_payloads (
    tenant_id text COLLATE "C" NOT NULL,
    message_id uuid NOT NULL,
    payload jsonb NOT NULL,
    CONSTRAINT outbound_payloads_pkey PRIMARY KEY (tenant_id, message_id)
);

SELECT pg_catalog.pg_extension_config_dump('msgstore.outbox', '');
SELECT pg_catalog.pg_extension_config_dump('msgstore.outbound_payloads', '');
SELECT pg_catalog.pg_extension_config_dump('msgstore.deliveries', '');
SELECT pg_catalog.pg_extension_config_dump('msgstore.delivery_statuses', '');

COMMENT ON TABLE msgstore.outbox IS
    'Outbound messages that are waiting to be sent, one narrow row each. The row is deleted when the message is sent or becomes a dead letter';
COMMENT ON COLUMN msgstore.outbox.tenant_id IS
    'Tenant that owns the message';
COMMENT ON COLUMN msgstore.outbox.message_id IS
    'Id of the message in messages';
COMMENT ON COLUMN msgstore.outbox.conversation_id IS
    'Conversation in which later messages wait for this one; null unless the channel had strict_order when the message was queued';
COMMENT ON COLUMN msgstore.outbox.next_attempt_at IS
    'Null for a new message. For a leased one, the time at which the lease expires without a heartbeat; otherwise the time of the next attempt';
COMMENT ON COLUMN msgstore.outbox.sender_id IS
    'Name of the sender that holds the lease; null if the message is not leased';
COMMENT ON COLUMN msgstore.outbox.account IS
    'Account of msgstore-sender that the message waits for, or while it is leased is passed to; null if msgstore-sender has not claimed it';
COMMENT ON TABLE msgstore.outbound_payloads IS
    'Payloads of outbound messages, whole; a row is removed when its payload is purged';
COMMENT ON COLUMN msgstore.outbound_payloads.tenant_id IS
    'Tenant that owns the message';
COMMENT ON COLUMN msgstore.outbound_payloads.message_id IS
    'Id of the message in messages';
COMMENT ON COLUMN msgstore.outbound_payloads.payload IS
    'Payload passed to send(), with redacted values replaced';
COMMENT ON TABLE msgstore.deliveries IS
    'Delivery of outbound messages, one row per message id assigned by a provider';
COMMENT ON COLUMN msgstore.deliveries.tenant_id IS
    'Tenant that owns the message; empty if tenants are not used, or until an unscoped callback is matched to its message';
COMMENT ON COLUMN msgstore.deliveries.id IS
    'Id of the row (UUID version 7)';
COMMENT ON COLUMN msgstore.deliveries.channel IS
    'Name of the channel';
COMMENT ON COLUMN msgstore.deliveries.provider_message_id IS
    'Message id assigned by the provider, unique per tenant and channel';
COMMENT ON COLUMN msgstore.deliveries.message_id IS
    'Id of the message in messages; null until the sender has reported it';
COMMENT ON COLUMN msgstore.deliveries.provider IS
    'Provider of the channel when the sender reported the message; null until then';
COMMENT ON COLUMN msgstore.deliveries.status IS
    'Current status: queued, sent, delivered, read, failed or undelivered; it never moves backwards';
COMMENT ON COLUMN msgstore.deliveries.status_at IS
    'Time at which it became the current status';
COMMENT ON COLUMN msgstore.deliveries.error_code IS
    'Error code that the provider gave with failed or undelivered; null for another status, or if it gave none';
COMMENT ON COLUMN msgstore.deliveries.error_message IS
    'Error message that the provider gave with failed or undelivered; null for another status, or if it gave none';
COMMENT ON TABLE msgstore.delivery_statuses IS
    'Every status callback of a provider, in the order of receipt';
COMMENT ON COLUMN msgstore.delivery_statuses.tenant_id IS
    'Tenant that owns the message, as in deliveries';
COMMENT ON COLUMN msgstore.delivery_statuses.id IS
    'Id of the callback (UUID version 7)';
COMMENT ON COLUMN msgstore.delivery_statuses.channel IS
    'Name of the channel';
COMMENT ON COLUMN msgstore.delivery_statuses.provider_message_id IS
    'Message id assigned by the provider';
COMMENT ON COLUMN msgstore.delivery_statuses.status IS
    'Status that the callback reported: queued, sent, delivered, read, failed or undelivered; null if status_words has no status for its word';
COMMENT ON COLUMN msgstore.delivery_statuses.detail IS
    'Other data of the callback as a JSON object, with redacted values replaced';
COMMENT ON COLUMN msgstore.delivery_statuses.received_at IS
    'Time at which the callback was recorded';
COMMENT ON COLUMN msgstore.delivery_statuses.word IS
    'The provider''s own word, as it was reported; null if it is the status';
