CREATE TABLE msgstore.event_log (
    tenant_id text COLLATE "C" NOT NULL,
    id uuid NOT NULL,
    channel text COLLATE "C" NOT NULL,
    "from" text COLLATE "C" NOT NULL,
    "to" text COLLATE "C" NOT NULL,
    provider_message_id text COLLATE "C",
    correlation_id text,
    created_at timestamptz NOT NULL DEFAULT now(),
    payload jsonb NOT NULL,
    CONSTRAINT event_log_pkey PRIMARY KEY (tenant_id, id),
    -- An event without a provider's id is never a duplicate: nulls are distinct.
    CONSTRAINT event_log_provider_message_key
        UNIQUE (tenant_id, channel, provider_message_id)
);

-- With the id, so that a walk in the order of time can go on after any event,
-- also among the many of one transaction.
CREATE INDEX event_log_created_at_idx ON msgstore.event_log (created_at, id);

CREATE TABLE msgstore.event_queue (
    tenant_id text COLLATE "C" NOT NULL,
    event_id uuid NOT NULL,
    next_attempt_at timestamptz,
    lane smallint NOT NULL DEFAULT 0,
    CONSTRAINT event_queue_pkey PRIMARY KEY (tenant_id, event_id)
);

-- New events are taken by the primary key, tenant by tenant in the order of
-- their ids and so of time. An index on what they all have in common would be
-- one entry more for each of them.
CREATE INDEX event_queue_retry_idx
    ON msgstore.event_queue (next_attempt_at, event_id)
    WHERE next_attempt_at IS NOT NULL;

-- A queue's rows live for milliseconds: its dead ones are to be found early,
-- whatever its size was at its peak.
ALTER TABLE msgstore.event_queue SET (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000,
    autovacuum_vacuum_cost_delay = 0);

CREATE TABLE msgstore.idempotency_keys (
    tenant_id text COLLATE "C" NOT NULL,
    scope text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    request_digest bytea NOT NULL,
    result_id uuid NOT NULL,
    expires_at timestamptz,
    CONSTRAINT idempotency_keys_pkey PRIMARY KEY (tenant_id, scope, key),
    CONSTRAINT idempotency_keys_scope
        CHECK (scope IN ('inbound', 'outbound', 'content'))
);

CREATE INDEX idempotency_keys_expires_at_idx
    ON msgstore.idempotency_keys (expires_at) WHERE expires_at IS NOT NULL;

SELECT pg_catalog.pg_extension_config_dump('msgstore.event_log', '');
SELECT pg_catalog.pg_extension_config_dump('msgstore.event_queue', '');
SELECT pg_catalog.pg_extension_config_dump('msgstore.idempotency_keys', '');

CREATE FUNCTION msgstore.uuid7() RETURNS uuid
    LANGUAGE c VOLATILE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'msgstore_uuid7';

CREATE FUNCTION msgstore.ingest(
    channel text,
    payload jsonb,
    idempotency_key text DEFAULT NULL,
    correlation_id text DEFAULT NULL,
    mock boolean DEFAULT false,
    OUT event_id uuid,
    OUT duplicate boolean)
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'msgstore_ingest';

CREATE FUNCTION msgstore.ingest_batch(items jsonb)
    RETURNS TABLE (
        ordinal int,
        event_id uuid,
        duplicate boolean,
        error_code text,
        error_message text)
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'msgstore_ingest_batch';

REVOKE ALL ON FUNCTION msgstore.ingest(text, jsonb, text, text, boolean) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.ingest_batch(jsonb) FROM PUBLIC;

COMMENT ON TABLE msgstore.event_log IS
    'Append-only: one row per accepted inbound event, written once';
COMMENT ON TABLE msgstore.event_queue IS
    'The work left: one narrow row per event that is not yet processed';
COMMENT ON TABLE msgstore.idempotency_keys IS
    'Requests seen: by the caller''s key for two hours (inbound, outbound), by content for good (outbound messages without a key)';
COMMENT ON COLUMN msgstore.event_queue.next_attempt_at IS
    'Not to be tried before; null on a fresh event means now, infinity until something else happens';
COMMENT ON COLUMN msgstore.event_queue.lane IS
    'Of its conversation, by a hash: the events of a lane are applied by one session at a time';
COMMENT ON COLUMN msgstore.idempotency_keys.request_digest IS
    'SHA-256 of channel and payload: the same key with another one is a conflict';
COMMENT ON FUNCTION msgstore.uuid7() IS
    'A new time-ordered UUID (version 7, RFC 9562), greater than those this session made before';
COMMENT ON FUNCTION msgstore.ingest(text, jsonb, text, text, boolean) IS
    'Stores an inbound event once and wakes the worker at commit. payload: the provider''s JSON. idempotency_key: remembered for two hours. mock: an injected event, may lack the provider''s message id. duplicate: nothing was stored, event_id is the first one''s. Raises MS400, MS409 (same key, other payload), MS413';
COMMENT ON FUNCTION msgstore.ingest_batch(jsonb) IS
    'Stores an array of objects {channel, payload, idempotency_key, correlation_id, mock} with the rules of ingest in a few statements. One row per item, in order; a refused item has error_code (SQLSTATE) and error_message and costs its neighbours nothing. Raises MS400 when items is not an array';
