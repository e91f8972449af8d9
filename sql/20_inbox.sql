-- inbox: inbound events are stored once in a log, and queued for the worker.

-- created_at is the time in the id, so the primary key finds the events of a
-- period tenant by tenant, and created_at needs no index: see _least_uuid7().
-- Of the columns, those that are aligned come first, to save padding, and those
-- that are mostly null last, where they take no space: see src/server/row_insert.c.
CREATE TABLE msgstore.event_log (
    created_at timestamptz NOT NULL DEFAULT now(),
    tenant_id text COLLATE "C" NOT NULL,
    id uuid NOT NULL,
    channel text COLLATE "C" NOT NULL,
    "from" text COLLATE "C" NOT NULL,
    "to" text COLLATE "C" NOT NULL,
    provider_message_id text COLLATE "C",
    identity text COLLATE "C" NOT NULL DEFAULT '',
    payload jsonb NOT NULL,
    correlation_id text,
    CONSTRAINT event_log_pkey PRIMARY KEY (tenant_id, id),
    -- Nulls are distinct: an event without a provider message id is never a
    -- duplicate.
    CONSTRAINT event_log_provider_message_key
        UNIQUE (tenant_id, provider_message_id, channel, identity)
);

-- A purge leaves dead rows at the rate of ingest. By default vacuum would wait
-- until a fifth of the log is dead, and then take minutes: see bench/rows/purge.py.
ALTER TABLE msgstore.event_log SET (
    autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_limit = 2000);

CREATE TABLE msgstore.event_queue (
    tenant_id text COLLATE "C" NOT NULL,
    event_id uuid NOT NULL,
    next_attempt_at timestamptz,
    lane smallint NOT NULL DEFAULT 0,
    CONSTRAINT event_queue_pkey PRIMARY KEY (tenant_id, event_id)
);

-- Only retries are indexed. New events are read through the primary key, tenant
-- by tenant in the order of their ids, which is time order; another index would
-- cost each of them one more entry.
CREATE INDEX event_queue_retry_idx
    ON msgstore.event_queue (next_attempt_at, event_id)
    WHERE next_attempt_at IS NOT NULL;

-- Queue rows live for milliseconds. Vacuum must remove dead rows early, however
-- large the table was at its peak.
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

CREATE TABLE msgstore.id_conflicts (
    tenant_id text COLLATE "C" NOT NULL,
    event_id uuid NOT NULL,
    stored_digest bytea NOT NULL,
    received_digest bytea NOT NULL,
    conflict_count bigint NOT NULL DEFAULT 1,
    first_seen_at timestamptz NOT NULL DEFAULT now(),
    last_seen_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT id_conflicts_pkey PRIMARY KEY (tenant_id, event_id)
);

CREATE TABLE msgstore.refused_events (
    tenant_id text COLLATE "C" NOT NULL,
    id uuid NOT NULL,
    channel text COLLATE "C",
    error_code text NOT NULL,
    error_message text NOT NULL,
    error_detail text,
    payload jsonb,
    payload_bytes bigint NOT NULL,
    idempotency_key text,
    correlation_id text,
    mock boolean NOT NULL DEFAULT false,
    received_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT refused_events_pkey PRIMARY KEY (tenant_id, id)
);

CREATE INDEX refused_events_received_at_idx
    ON msgstore.refused_events (received_at);

SELECT pg_catalog.pg_extension_config_dump('msgstore.event_log', '');
SELECT pg_catalog.pg_extension_config_dump('msgstore.event_queue', '');
SELECT pg_catalog.pg_extension_config_dump('msgstore.idempotency_keys', '');
SELECT pg_catalog.pg_extension_config_dump('msgstore.id_conflicts', '');
SELECT pg_catalog.pg_extension_config_dump('msgstore.refused_events', '');

CREATE FUNCTION msgstore.uuid7() RETURNS uuid
    LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED
    AS 'MODULE_PATHNAME', 'msgstore_uuid7';

-- A UUID of version 7 begins with its time: 48 bits of milliseconds, the version,
-- and 12 bits with the fraction of the millisecond. created_at >= at holds for the
-- ids from _least_uuid7(at) on, and only for them.
CREATE FUNCTION msgstore._least_uuid7(at timestamptz) RETURNS uuid
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN (
        SELECT (lpad(to_hex(t.ticks / 4096), 12, '0') || '7'
                || lpad(to_hex(t.ticks % 4096), 3, '0') || repeat('0', 16))::uuid
        FROM (SELECT ceil(least(greatest(extract(epoch FROM at) * 1000, 0),
                                2 ^ 48::numeric - 1) * 4096)::bigint AS ticks) t);

CREATE FUNCTION msgstore._time_of_uuid7(id uuid) RETURNS timestamptz
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN 'epoch'::timestamptz
        + ('x' || left(replace(id::text, '-', ''), 12))::bit(48)::bigint
        * interval '1 millisecond';

-- STABLE: the result depends on a setting.
CREATE FUNCTION msgstore.read_payload(payload text) RETURNS jsonb
    LANGUAGE c STABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'msgstore_read_payload';

-- ingest() and ingest_batch() pin search_path where names are looked up: see
-- src/server/search_path.h.
CREATE FUNCTION msgstore.ingest(
    channel text,
    payload jsonb,
    idempotency_key text DEFAULT NULL,
    correlation_id text DEFAULT NULL,
    mock boolean DEFAULT false,
    OUT event_id uuid,
    OUT duplicate boolean)
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    AS 'MODULE_PATHNAME', 'msgstore_ingest';

CREATE FUNCTION msgstore.ingest_batch(items jsonb)
    RETURNS TABLE (
        ordinal int,
        event_id uuid,
        duplicate boolean,
        error_code text,
        error_message text,
        error_detail text)
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE SECURITY DEFINER
    AS 'MODULE_PATHNAME', 'msgstore_ingest_batch';

CREATE FUNCTION msgstore._log_tenant_below(tenant text) RETURNS text
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    scope CONSTANT text := msgstore._tenant_scope();
BEGIN
    IF scope <> '' THEN
        RETURN CASE WHEN tenant IS NULL THEN scope END;
    ELSIF tenant IS NULL THEN
        RETURN (SELECT max(l.tenant_id) FROM msgstore.event_log l);
    END IF;
    RETURN (SELECT max(l.tenant_id) FROM msgstore.event_log l
            WHERE l.tenant_id < tenant);
END
$$;

CREATE FUNCTION msgstore._log_tenants() RETURNS SETOF text
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE ROWS 1
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    tenant text := msgstore._log_tenant_below(NULL);
BEGIN
    WHILE tenant IS NOT NULL LOOP
        RETURN NEXT tenant;
        tenant := msgstore._log_tenant_below(tenant);
    END LOOP;
END
$$;

-- The row goes first: of two sessions that submit it, the second does not find it.
CREATE FUNCTION msgstore.resubmit_refused(
    id uuid,
    OUT event_id uuid,
    OUT duplicate boolean)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    scope CONSTANT text := msgstore._tenant_scope();
    refused msgstore.refused_events;
BEGIN
    PERFORM msgstore._check_scope_here();
    DELETE FROM msgstore.refused_events r
    WHERE r.id = resubmit_refused.id AND scope IN ('', r.tenant_id)
    RETURNING r.* INTO refused;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'refused event % does not exist',
            coalesce('"' || resubmit_refused.id || '"', 'null')
            USING ERRCODE = 'MS404',
                  DETAIL = 'It was submitted again, or removed because of its age or of msgstore.max_refused.';
    END IF;
    IF refused.payload IS NULL AND refused.payload_bytes > 0 THEN
        RAISE EXCEPTION 'payload of refused event "%" was not kept', refused.id
            USING ERRCODE = 'MS413',
                  DETAIL = format('It has %s bytes, more than msgstore.max_payload_bytes allowed.', refused.payload_bytes);
    END IF;
    -- The event belongs to the tenant that sent it, whoever submits it again.
    PERFORM set_config('msgstore.tenant_id', refused.tenant_id, true);
    SELECT i.event_id, i.duplicate INTO event_id, duplicate
    FROM msgstore.ingest(refused.channel, refused.payload,
        refused.idempotency_key, refused.correlation_id, refused.mock) i;
    PERFORM set_config('msgstore.tenant_id', scope, true);
END
$$;

REVOKE ALL ON FUNCTION msgstore.resubmit_refused(uuid) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.read_payload(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._least_uuid7(timestamptz) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._time_of_uuid7(uuid) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._log_tenant_below(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._log_tenants() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.ingest(text, jsonb, text, text, boolean) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.ingest_batch(jsonb) FROM PUBLIC;

COMMENT ON TABLE msgstore.event_log IS
    'Accepted inbound events, one row each. Processing never updates a row';
COMMENT ON COLUMN msgstore.event_log.tenant_id IS
    'Tenant that owns the event; empty if tenants are not used';
COMMENT ON COLUMN msgstore.event_log.id IS
    'Id of the event (UUID version 7), in order of acceptance';
COMMENT ON COLUMN msgstore.event_log.channel IS
    'Name of the channel';
COMMENT ON COLUMN msgstore.event_log."from" IS
    'Normalized address of the sender';
COMMENT ON COLUMN msgstore.event_log."to" IS
    'Normalized address of the recipient';
COMMENT ON COLUMN msgstore.event_log.provider_message_id IS
    'Message id assigned by the provider, unique per tenant and channel, unless the channel has provider_id_fields; null for a mock event without one';
COMMENT ON COLUMN msgstore.event_log.identity IS
    'Values of the channel''s provider_id_fields, normalized: a JSON array of strings, or its SHA-256 digest if it has more than 510 bytes. Part of the event''s identity beside provider_message_id; empty if the channel has no such fields';
COMMENT ON COLUMN msgstore.event_log.correlation_id IS
    'Correlation id passed to ingest()';
COMMENT ON COLUMN msgstore.event_log.created_at IS
    'Time of acceptance, the same as in id';
COMMENT ON COLUMN msgstore.event_log.payload IS
    'Payload as received, with redacted values replaced; {} once it has been purged';
COMMENT ON TABLE msgstore.event_queue IS
    'Events that are waiting to be processed, one narrow row each. The row is deleted in the transaction that creates the message or the dead letter';
COMMENT ON COLUMN msgstore.event_queue.tenant_id IS
    'Tenant that owns the event';
COMMENT ON COLUMN msgstore.event_queue.event_id IS
    'Id of the event in event_log';
COMMENT ON COLUMN msgstore.event_queue.next_attempt_at IS
    'Time at which the event is due. Null: a new event, due at once. infinity: claimed by an external processor, or waiting for an earlier event of its conversation';
COMMENT ON COLUMN msgstore.event_queue.lane IS
    'Lane (0 to 63), a hash of the conversation; the events of one lane are processed by one session at a time';
COMMENT ON TABLE msgstore.idempotency_keys IS
    'Requests seen before: idempotency keys of the last two hours, and a digest of every outbound message sent without a key';
COMMENT ON COLUMN msgstore.idempotency_keys.tenant_id IS
    'Tenant that made the request';
COMMENT ON COLUMN msgstore.idempotency_keys.scope IS
    'inbound (a key passed to ingest), outbound (a key passed to send) or content (a message sent without a key)';
COMMENT ON COLUMN msgstore.idempotency_keys.key IS
    'The idempotency key; in scope content, request_digest in hexadecimal';
COMMENT ON COLUMN msgstore.idempotency_keys.request_digest IS
    'SHA-256 of channel and payload; payloads that are equal as jsonb have the same one. The same key with another digest is a conflict';
COMMENT ON COLUMN msgstore.idempotency_keys.result_id IS
    'Id of the event or message that the first request stored';
COMMENT ON COLUMN msgstore.idempotency_keys.expires_at IS
    'Time from which the key may be used again; null in scope content, where rows do not expire';
COMMENT ON TABLE msgstore.id_conflicts IS
    'Events that were received again under the same id with different content, one row for each event. The stored event is unchanged';
COMMENT ON COLUMN msgstore.id_conflicts.tenant_id IS
    'Tenant that owns the event';
COMMENT ON COLUMN msgstore.id_conflicts.event_id IS
    'Id of the stored event in event_log';
COMMENT ON COLUMN msgstore.id_conflicts.stored_digest IS
    'SHA-256 of the stored payload as text at the last conflict';
COMMENT ON COLUMN msgstore.id_conflicts.received_digest IS
    'SHA-256 of the payload that was received at the last conflict, as text after redaction';
COMMENT ON COLUMN msgstore.id_conflicts.conflict_count IS
    'Number of times that different content was received';
COMMENT ON COLUMN msgstore.id_conflicts.first_seen_at IS
    'Time of the first conflict';
COMMENT ON COLUMN msgstore.id_conflicts.last_seen_at IS
    'Time of the last conflict';
COMMENT ON TABLE msgstore.refused_events IS
    'Events that ingest_batch() refused while msgstore.keep_refused was on, at most msgstore.max_refused for each tenant';
COMMENT ON COLUMN msgstore.refused_events.tenant_id IS
    'Tenant that sent the event';
COMMENT ON COLUMN msgstore.refused_events.id IS
    'Id of the refused event (UUID version 7), in order of arrival';
COMMENT ON COLUMN msgstore.refused_events.channel IS
    'Channel in the request, at most 255 bytes; null if there is none';
COMMENT ON COLUMN msgstore.refused_events.error_code IS
    'SQLSTATE of the refusal';
COMMENT ON COLUMN msgstore.refused_events.error_message IS
    'Message of the refusal';
COMMENT ON COLUMN msgstore.refused_events.error_detail IS
    'What was expected; null if the message says it';
COMMENT ON COLUMN msgstore.refused_events.payload IS
    'Payload as received, with redacted values replaced; null if it is missing or larger than msgstore.max_payload_bytes';
COMMENT ON COLUMN msgstore.refused_events.payload_bytes IS
    'Size of the payload as JSON text, at least the limit if it is larger; 0 if it is missing';
COMMENT ON COLUMN msgstore.refused_events.idempotency_key IS
    'Idempotency key in the request; null if there is none or it is too long';
COMMENT ON COLUMN msgstore.refused_events.correlation_id IS
    'Correlation id in the request, at most 255 bytes';
COMMENT ON COLUMN msgstore.refused_events.mock IS
    'Whether the event may lack a provider message id';
COMMENT ON COLUMN msgstore.refused_events.received_at IS
    'Time of arrival: the start of the transaction that refused the event';
COMMENT ON FUNCTION msgstore.resubmit_refused(uuid) IS
    'Passes a refused event to ingest() again, for the tenant that sent it, and removes it from refused_events. Returns what ingest() returns. Raises the error of ingest() and keeps the row if the event is refused again, MS404 if there is no such row, MS413 if its payload was not kept';
COMMENT ON FUNCTION msgstore.uuid7() IS
    'Returns a new time-ordered UUID (version 7, RFC 9562), greater than all that this session has generated before';
COMMENT ON FUNCTION msgstore._least_uuid7(timestamptz) IS
    'Returns the least UUID of version 7 that has this time';
COMMENT ON FUNCTION msgstore._time_of_uuid7(uuid) IS
    'Returns the millisecond in which a UUID of version 7 was generated';
COMMENT ON FUNCTION msgstore._log_tenant_below(text) IS
    'Returns the last tenant that sorts before the given one, or the last of all for null, among those that this session sees and that have events; null if there is none';
COMMENT ON FUNCTION msgstore._log_tenants() IS
    'Returns the tenants that this session sees and that have events';
COMMENT ON FUNCTION msgstore.read_payload(text) IS
    'Converts JSON text to jsonb. Accepts a byte order mark in front. The characters that PostgreSQL cannot store, U+0000 and halves of surrogate pairs, are refused or replaced by U+FFFD (in databases with another encoding than UTF8, by a question mark), as msgstore.replace_invalid_text says. Raises MS400 for text that is not JSON or has such a character';
COMMENT ON FUNCTION msgstore.ingest(text, jsonb, text, text, boolean) IS
    'Stores an inbound event and wakes the worker at commit. payload: the provider''s JSON object. idempotency_key: remembered for two hours. mock: accept an event without a provider message id. Returns event_id and duplicate; if duplicate is true, nothing was stored and event_id is the id of the first event. Raises MS400 for an invalid argument, MS409 if the idempotency key was used with another payload, MS413 if the payload is too large';
COMMENT ON FUNCTION msgstore.ingest_batch(jsonb) IS
    'Stores an array of objects {channel, payload, idempotency_key, correlation_id, mock, relaxed, max_attachments, tenant_id} by the rules of ingest() in a few statements. tenant_id: in a session without a tenant, the tenant of the item. relaxed: body and attachments are optional in all channels, and max_attachments replaces the setting. Returns one row per item, in order. A refused item has error_code (the SQLSTATE that ingest() would raise), error_message and error_detail, and does not affect the others. Raises MS400 if items is not an array, MS421 or MS503, before anything is stored, if a tenant belongs to another slot or is fenced';
