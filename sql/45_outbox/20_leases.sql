-- outbox: outbound messages wait for a sender, a process outside the server
-- that hands them to their channel's provider; what the provider then says of
-- them is their delivery.

-- A leased message's row says who has it; otherwise the message waits. When it
-- is to be looked at again stands in one column, whatever for: a retry that is
-- due, or a lease that ended.
CREATE TABLE msgstore.outbox (
    tenant_id text COLLATE "C" NOT NULL,
    message_id uuid NOT NULL,
    conversation_id uuid,
    next_attempt_at timestamptz,
    sender_id text COLLATE "C",
    CONSTRAINT outbox_pkey PRIMARY KEY (tenant_id, message_id),
    CONSTRAINT outbox_lease_ends
        CHECK (sender_id IS NULL OR next_attempt_at IS NOT NULL)
);

-- New messages stand under null, in the order of their ids and so of time.
CREATE INDEX outbox_due_idx ON msgstore.outbox (next_attempt_at, message_id);
-- Few messages are leased at a time, and most channels keep no order: these
-- two stay small, and a send writes to neither.
CREATE INDEX outbox_leases_idx
    ON msgstore.outbox (next_attempt_at) WHERE sender_id IS NOT NULL;
CREATE INDEX outbox_conversation_idx
    ON msgstore.outbox (tenant_id, conversation_id, message_id)
    WHERE conversation_id IS NOT NULL;

-- A queue's rows are short-lived: see event_queue.
ALTER TABLE msgstore.outbox SET (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000,
    autovacuum_vacuum_cost_delay = 0);

-- Sender and provider may tell of a message in any order: whoever comes first
-- makes the row, and the other one finds it by the provider's id.
CREATE TABLE msgstore.deliveries (
    tenant_id text COLLATE "C" NOT NULL,
    id uuid NOT NULL DEFAULT msgstore.uuid7(),
    channel text COLLATE "C" NOT NULL,
    provider_message_id text COLLATE "C" NOT NULL,
    message_id uuid,
    provider text COLLATE "C",
    status text COLLATE "C" NOT NULL,
    status_at timestamptz NOT NULL,
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
    status text COLLATE "C" NOT NULL,
    detail jsonb,
    received_at timestamptz NOT NULL,
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

SELECT pg_catalog.pg_extension_config_dump('msgstore.outbox', '');
SELECT pg_catalog.pg_extension_config_dump('msgstore.deliveries', '');
SELECT pg_catalog.pg_extension_config_dump('msgstore.delivery_statuses', '');

CREATE FUNCTION msgstore._wake_senders() RETURNS void
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'msgstore_wake_senders';

CREATE FUNCTION msgstore._watch_outbox() RETURNS void
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'msgstore_watch_outbox';

CREATE FUNCTION msgstore._clean_detail(detail jsonb) RETURNS jsonb
    LANGUAGE c STABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'msgstore_clean_detail';

CREATE FUNCTION msgstore._check_text(field text, value text, most_bytes int)
    RETURNS void
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF value ~ '[^[:space:]]' AND octet_length(value) <= most_bytes THEN
        RETURN;
    END IF;
    RAISE EXCEPTION 'field "%" %', field, CASE
            WHEN value IS NULL THEN 'is missing'
            WHEN value !~ '[^[:space:]]' THEN 'is blank'
            ELSE format('is longer than %s bytes', most_bytes)
        END
        USING ERRCODE = 'MS400',
              DETAIL = format('The field is a string of at most %s bytes that is not blank.',
                              most_bytes);
END
$$;

CREATE FUNCTION msgstore._later_status(known text, reported text) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN CASE
        WHEN known IN ('failed', 'undelivered') THEN known
        WHEN reported IN ('failed', 'undelivered')
            AND known IN ('delivered', 'read') THEN known
        WHEN reported IN ('failed', 'undelivered') THEN reported
        WHEN array_position('{queued,sent,delivered,read}'::text[], reported)
            > array_position('{queued,sent,delivered,read}'::text[], known)
            THEN reported
        ELSE known
    END;

-- Costly, so that it is asked last: of messages that nothing else holds back.
CREATE FUNCTION msgstore._has_provider(tenant_id text, message_id uuid)
    RETURNS boolean
    LANGUAGE sql STABLE STRICT PARALLEL SAFE COST 100000
    RETURN EXISTS (
        SELECT FROM msgstore.messages m
        JOIN msgstore.channels c ON c.name = m.channel
        WHERE m.tenant_id = _has_provider.tenant_id
            AND m.id = _has_provider.message_id
            AND c.provider IS NOT NULL);

-- A failed attempt. Says whether it was the last one.
CREATE FUNCTION msgstore._fail_outbound(
    tenant_id text,
    message_id uuid,
    error_code text,
    error_message text,
    sender_id text,
    wait interval DEFAULT NULL,
    permanent boolean DEFAULT false)
    RETURNS boolean
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    kept CONSTANT record := msgstore._keep_failure(
        tenant_id, message_id, 'outbound', error_code, error_message,
        sender_id, wait, permanent);
BEGIN
    IF kept.dead THEN
        PERFORM msgstore._move_all(
            'dead_letters', ARRAY[tenant_id], ARRAY[message_id], 1);
        RAISE LOG 'moved message "%" to dead letters after % attempt(s): %',
            message_id, kept.attempt_count, left(error_message, 1000)
            USING DETAIL = format('Error code %s.', error_code);
    END IF;
    RETURN kept.dead;
END
$$;

CREATE FUNCTION msgstore.reap_outbound() RETURNS int
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off
    SET enable_bitmapscan = off
    SET jit = off
    AS $$
DECLARE
    scope CONSTANT text := msgstore._tenant_scope();
    due CONSTANT timestamptz := clock_timestamp();
    reaped int;
BEGIN
    SELECT count(msgstore._fail_outbound(
        stale.tenant_id, stale.message_id, 'MS504',
        format('claim of sender "%s" expired without a heartbeat',
               stale.sender_id),
        stale.sender_id, interval '0'))
    INTO reaped
    FROM (
        SELECT o.tenant_id, o.message_id, o.sender_id
        FROM msgstore.outbox o
        WHERE o.sender_id IS NOT NULL
            AND o.next_attempt_at <= due
            AND scope IN ('', o.tenant_id)
        ORDER BY o.next_attempt_at
        FOR UPDATE SKIP LOCKED
    ) AS stale;
    IF reaped > 0 THEN
        PERFORM msgstore._wake_senders(), msgstore._watch_outbox();
    END IF;
    RETURN reaped;
END
$$;

CREATE FUNCTION msgstore.claim_outbound(
    sender_id text,
    max_messages int DEFAULT 10)
    RETURNS TABLE (
        message_id uuid,
        tenant_id text,
        channel text,
        provider text,
        "from" text,
        "to" text,
        body text,
        attachments jsonb,
        "timestamp" timestamptz,
        correlation_id text,
        attempt int)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    -- Rows are found by index whatever the tables' statistics say: a queue is
    -- empty whenever it is analyzed.
    SET enable_seqscan = off
    SET enable_bitmapscan = off
    SET enable_hashjoin = off
    SET enable_mergejoin = off
    SET enable_sort = off
    SET jit = off
    AS $$
#variable_conflict use_column
DECLARE
    scope CONSTANT text := msgstore._tenant_scope();
    due timestamptz;
BEGIN
    PERFORM msgstore._check_text('sender_id', claim_outbound.sender_id, 255);
    IF max_messages IS NULL OR max_messages < 1 THEN
        RAISE EXCEPTION 'max_messages % is not positive', max_messages
            USING ERRCODE = 'MS400';
    END IF;
    PERFORM msgstore.reap_outbound();
    due := clock_timestamp();

    -- Retries take at most half, so that messages that keep failing do not
    -- hold back those that never did. Where the order is kept, the earliest
    -- message of a conversation goes alone: a later one that is claimed beside
    -- it might go out though it fails.
    RETURN QUERY
    WITH claimed AS MATERIALIZED (
        SELECT * FROM (
            SELECT o.tenant_id, o.message_id FROM msgstore.outbox o
            WHERE o.next_attempt_at <= due
                AND o.sender_id IS NULL
                AND scope IN ('', o.tenant_id)
                AND (o.conversation_id IS NULL OR NOT EXISTS (
                    SELECT FROM msgstore.outbox earlier
                    WHERE earlier.tenant_id = o.tenant_id
                        AND earlier.conversation_id = o.conversation_id
                        AND earlier.message_id < o.message_id))
                AND msgstore._has_provider(o.tenant_id, o.message_id)
            ORDER BY o.next_attempt_at, o.message_id
            LIMIT (max_messages::bigint + 1) / 2
            FOR UPDATE SKIP LOCKED) AS retry
        UNION ALL
        SELECT * FROM (
            SELECT o.tenant_id, o.message_id FROM msgstore.outbox o
            WHERE o.next_attempt_at IS NULL
                AND scope IN ('', o.tenant_id)
                AND (o.conversation_id IS NULL OR NOT EXISTS (
                    SELECT FROM msgstore.outbox earlier
                    WHERE earlier.tenant_id = o.tenant_id
                        AND earlier.conversation_id = o.conversation_id
                        AND earlier.message_id < o.message_id))
                AND msgstore._has_provider(o.tenant_id, o.message_id)
            ORDER BY o.next_attempt_at, o.message_id
            LIMIT max_messages
            FOR UPDATE SKIP LOCKED) AS new
        LIMIT max_messages
    ), leased AS (
        UPDATE msgstore.outbox o
        SET sender_id = claim_outbound.sender_id,
            next_attempt_at =
                due + current_setting('msgstore.claim_timeout')::interval
        FROM claimed
        WHERE o.tenant_id = claimed.tenant_id
            AND o.message_id = claimed.message_id
        RETURNING o.tenant_id, o.message_id)
    SELECT m.id, m.tenant_id, m.channel, c.provider, m."from", m."to", m.body,
           m.attachments, m."timestamp", m.correlation_id,
           coalesce(f.attempt_count, 0) + 1
    FROM leased
    JOIN msgstore.messages m
        ON m.tenant_id = leased.tenant_id AND m.id = leased.message_id
    JOIN msgstore.channels c ON c.name = m.channel
    LEFT JOIN msgstore.event_failures f
        ON f.tenant_id = leased.tenant_id AND f.event_id = leased.message_id
    ORDER BY m.id;
    IF FOUND THEN
        PERFORM msgstore._watch_outbox();
    END IF;
END
$$;

-- Whoever has a row locked is just ending its lease.
CREATE FUNCTION msgstore.heartbeat_outbound(sender_id text) RETURNS int
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off
    SET enable_bitmapscan = off
    SET enable_hashjoin = off
    SET enable_mergejoin = off
    SET jit = off
    AS $$
#variable_conflict use_column
DECLARE
    scope CONSTANT text := msgstore._tenant_scope();
    lease_ends CONSTANT timestamptz := clock_timestamp()
        + current_setting('msgstore.claim_timeout')::interval;
    renewed int;
BEGIN
    PERFORM msgstore._check_text('sender_id', heartbeat_outbound.sender_id, 255);
    WITH held AS MATERIALIZED (
        SELECT o.tenant_id, o.message_id FROM msgstore.outbox o
        WHERE o.sender_id IS NOT NULL
            AND o.sender_id = heartbeat_outbound.sender_id
            AND scope IN ('', o.tenant_id)
        FOR UPDATE SKIP LOCKED)
    UPDATE msgstore.outbox o
    SET next_attempt_at = lease_ends
    FROM held
    WHERE o.tenant_id = held.tenant_id AND o.message_id = held.message_id;
    GET DIAGNOSTICS renewed = ROW_COUNT;
    -- A reaper that has just passed these by does not know when they end.
    PERFORM msgstore._watch_outbox();
    RETURN renewed;
END
$$;

-- Finds an outbound message and sees to it that what senders report of it is
-- taken one after the other: by its row of the outbox, and by its own when it
-- is not there any more. The delivery is looked for after that.
CREATE FUNCTION msgstore._hold_outbound(
    message_id uuid,
    OUT tenant_id text,
    OUT channel text,
    OUT queued boolean,
    OUT holder text,
    OUT lease_ends timestamptz,
    OUT provider_message_id text)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
DECLARE
    place record;
BEGIN
    SELECT m.tenant_id, m.channel INTO place
    FROM msgstore._tenants_in_scope() t
    JOIN msgstore.messages m
        ON m.tenant_id = t AND m.id = _hold_outbound.message_id
    WHERE m.direction = 'outbound';
    IF NOT FOUND THEN
        RAISE EXCEPTION 'message "%" does not exist', _hold_outbound.message_id
            USING ERRCODE = 'MS404',
                  DETAIL = 'An outbound message is named by the id that send and claim_outbound return.';
    END IF;
    tenant_id := place.tenant_id;
    channel := place.channel;

    SELECT o.sender_id, o.next_attempt_at INTO holder, lease_ends
    FROM msgstore.outbox o
    WHERE o.tenant_id = place.tenant_id
        AND o.message_id = _hold_outbound.message_id
    FOR UPDATE;
    queued := FOUND;
    IF NOT queued THEN
        PERFORM FROM msgstore.messages m
        WHERE m.tenant_id = place.tenant_id AND m.id = _hold_outbound.message_id
        FOR NO KEY UPDATE;
    END IF;

    SELECT d.provider_message_id INTO provider_message_id
    FROM msgstore.deliveries d
    WHERE d.tenant_id = place.tenant_id
        AND d.message_id = _hold_outbound.message_id;
END
$$;

-- Sessions without a tenant work for all of them, but a provider does not say
-- which one it speaks of. So a callback that such a session records before
-- such a sender reported the message waits without a tenant, and the sender
-- moves it; this lock keeps them from passing each other unseen.
CREATE FUNCTION msgstore._meet_without_tenant(
    channel text,
    provider_message_id text)
    RETURNS void
    LANGUAGE sql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT pg_advisory_xact_lock(hashtextextended(
        'msgstore delivery ' || channel || ':' || provider_message_id, 0))
$$;

-- What waits without a tenant becomes the tenant's.
CREATE FUNCTION msgstore._take_over_callbacks(
    tenant_id text,
    channel text,
    provider_message_id text)
    RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
BEGIN
    PERFORM msgstore._meet_without_tenant(
        _take_over_callbacks.channel, _take_over_callbacks.provider_message_id);
    UPDATE msgstore.deliveries d
    SET tenant_id = _take_over_callbacks.tenant_id
    WHERE d.tenant_id = ''
        AND d.channel = _take_over_callbacks.channel
        AND d.provider_message_id = _take_over_callbacks.provider_message_id
        AND d.message_id IS NULL
        -- Whoever has told the tenant's own callbacks apart goes on with them.
        AND NOT EXISTS (
            SELECT FROM msgstore.deliveries own
            WHERE own.tenant_id = _take_over_callbacks.tenant_id
                AND own.channel = d.channel
                AND own.provider_message_id = d.provider_message_id);
    IF FOUND THEN
        UPDATE msgstore.delivery_statuses s
        SET tenant_id = _take_over_callbacks.tenant_id
        WHERE s.tenant_id = ''
            AND s.channel = _take_over_callbacks.channel
            AND s.provider_message_id = _take_over_callbacks.provider_message_id;
    END IF;
END
$$;

-- The tenant a callback is of.
CREATE FUNCTION msgstore._callback_tenant(
    channel text,
    provider_message_id text)
    RETURNS text
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
DECLARE
    tenants text[];
BEGIN
    IF msgstore._tenant_scope() <> '' THEN
        RETURN msgstore._tenant_scope();
    END IF;
    PERFORM msgstore._meet_without_tenant(
        _callback_tenant.channel, _callback_tenant.provider_message_id);
    SELECT array_agg(d.tenant_id) INTO tenants
    FROM msgstore._tenants_in_scope() t
    JOIN msgstore.deliveries d
        ON d.tenant_id = t
        AND d.channel = _callback_tenant.channel
        AND d.provider_message_id = _callback_tenant.provider_message_id
    WHERE d.message_id IS NOT NULL;
    IF cardinality(tenants) > 1 THEN
        RAISE EXCEPTION 'provider message id "%" belongs to % tenants',
            _callback_tenant.provider_message_id, cardinality(tenants)
            USING ERRCODE = 'MS409',
                  HINT = 'Set "msgstore.tenant_id" to the tenant the callback is for.';
    END IF;
    RETURN coalesce(tenants[1], '');
END
$$;

CREATE FUNCTION msgstore.sent(
    message_id uuid,
    provider_message_id text,
    sender_id text DEFAULT NULL)
    RETURNS text
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off
    SET enable_bitmapscan = off
    SET jit = off
    AS $$
#variable_conflict use_column
DECLARE
    held record;
    given_up bigint;
    kept_order uuid;
    new_status text;
BEGIN
    PERFORM msgstore._check_text(
        'provider_message_id', sent.provider_message_id, 510);
    held := msgstore._hold_outbound(sent.message_id);
    IF held.provider_message_id <> sent.provider_message_id THEN
        RAISE EXCEPTION 'message "%" was sent as "%"',
            sent.message_id, held.provider_message_id
            USING ERRCODE = 'MS409',
                  DETAIL = format('It was reported again as "%s".', sent.provider_message_id);
    END IF;
    -- A lease that ended is no reason to refuse: the message has gone out.
    IF held.provider_message_id IS NULL
        AND held.holder <> sent.sender_id
        AND held.lease_ends > clock_timestamp()
    THEN
        RAISE EXCEPTION 'message "%" is claimed by sender "%"',
            sent.message_id, held.holder
            USING ERRCODE = 'MS409',
                  DETAIL = format('Sender "%s" has no claim on it.', sent.sender_id);
    END IF;

    IF held.tenant_id <> '' AND msgstore._tenant_scope() = '' THEN
        PERFORM msgstore._take_over_callbacks(
            held.tenant_id, held.channel, sent.provider_message_id);
    END IF;
    INSERT INTO msgstore.deliveries AS d
        (tenant_id, channel, provider_message_id, message_id, provider, status,
         status_at)
    SELECT held.tenant_id, held.channel, sent.provider_message_id,
           sent.message_id, c.provider, 'sent', clock_timestamp()
    FROM (SELECT) AS one
    LEFT JOIN msgstore.channels c ON c.name = held.channel
    ON CONFLICT (tenant_id, channel, provider_message_id) DO UPDATE
    SET message_id = excluded.message_id,
        provider = coalesce(d.provider, excluded.provider),
        status = msgstore._later_status(d.status, excluded.status),
        status_at = CASE
            WHEN msgstore._later_status(d.status, excluded.status) = d.status
            THEN d.status_at
            ELSE excluded.status_at
        END
    WHERE d.message_id IS NULL OR d.message_id = excluded.message_id
    RETURNING d.status INTO new_status;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'provider message id "%" belongs to another message',
            sent.provider_message_id
            USING ERRCODE = 'MS409',
                  DETAIL = 'A provider''s message id names one message of a channel.';
    END IF;

    IF NOT held.queued THEN
        -- Given up, and yet it has gone out: nobody is to send it again. Who
        -- requeues it at this moment is waited for, so the outbox comes last.
        WITH late AS (
            DELETE FROM msgstore.dead_letters l
            WHERE l.tenant_id = held.tenant_id
                AND l.event_id = sent.message_id
                AND l.direction = 'outbound'
            RETURNING l.*
        ), kept AS (
            INSERT INTO msgstore.event_failures
                (tenant_id, event_id, attempt_count, error_code, error_message,
                 failed_at, attempts)
            SELECT late.tenant_id, late.event_id, late.attempt_count,
                   late.error_code, late.error_message, late.died_at, late.attempts
            FROM late
            ON CONFLICT DO NOTHING)
        SELECT count(*) INTO STRICT given_up FROM late;
        PERFORM msgstore._move(
            'dead_letters', held.tenant_id, held.channel, -given_up);
    END IF;
    DELETE FROM msgstore.outbox o
    WHERE o.tenant_id = held.tenant_id AND o.message_id = sent.message_id
    RETURNING o.conversation_id INTO kept_order;
    IF kept_order IS NOT NULL THEN
        PERFORM msgstore._wake_senders();
    END IF;
    RETURN new_status;
END
$$;

CREATE FUNCTION msgstore.send_failed(
    message_id uuid,
    error_code text,
    error_message text,
    sender_id text DEFAULT NULL,
    permanent boolean DEFAULT false)
    RETURNS text
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off
    SET enable_bitmapscan = off
    SET jit = off
    AS $$
DECLARE
    held record;
    dead boolean;
BEGIN
    PERFORM msgstore._check_text('error_code', error_code, 255);
    held := msgstore._hold_outbound(message_id);
    IF held.provider_message_id IS NOT NULL THEN
        RAISE EXCEPTION 'message "%" was sent as "%"',
            message_id, held.provider_message_id
            USING ERRCODE = 'MS409',
                  HINT = 'What its provider says of it is recorded by record_status.';
    END IF;
    IF NOT held.queued THEN
        RAISE EXCEPTION 'message "%" is not in the outbox', message_id
            USING ERRCODE = 'MS409',
                  DETAIL = 'It was given up, or its channel has no provider.';
    END IF;
    IF sender_id IS NOT NULL AND held.holder IS DISTINCT FROM sender_id THEN
        RAISE EXCEPTION 'message "%" is claimed by %', message_id,
            coalesce('sender "' || held.holder || '"', 'nobody')
            USING ERRCODE = 'MS409',
                  DETAIL = format('Sender "%s" has no claim on it.', sender_id);
    END IF;

    dead := msgstore._fail_outbound(
        held.tenant_id, message_id, error_code, coalesce(error_message, ''),
        coalesce(sender_id, held.holder),
        permanent => coalesce(permanent, false));
    IF dead THEN
        -- Later messages of its conversation may have waited for it.
        PERFORM msgstore._wake_senders();
        RETURN 'failed';
    END IF;
    PERFORM msgstore._watch_outbox();
    RETURN 'queued';
END
$$;

-- The body of record_status: plpgsql does not take a name that is both IN and
-- OUT.
CREATE FUNCTION msgstore._record_status(
    channel text,
    provider_message_id text,
    reported text,
    detail jsonb,
    OUT callback_id uuid,
    OUT message_id uuid,
    OUT status text)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off
    SET enable_bitmapscan = off
    SET jit = off
    AS $$
#variable_conflict use_column
DECLARE
    received_at CONSTANT timestamptz := clock_timestamp();
    word CONSTANT text := lower(btrim(reported, E' \t\n\r'));
    tenant text;
BEGIN
    PERFORM msgstore._check_text('channel', _record_status.channel, 63);
    IF NOT EXISTS (SELECT FROM msgstore.channels c
                   WHERE c.name = _record_status.channel) THEN
        RAISE EXCEPTION 'channel "%" does not exist', _record_status.channel
            USING ERRCODE = 'MS400',
                  HINT = 'Insert a row for it into msgstore.channels.';
    END IF;
    PERFORM msgstore._check_text(
        'provider_message_id', _record_status.provider_message_id, 510);
    IF word IN ('queued', 'sent', 'delivered', 'read', 'failed', 'undelivered')
    THEN
        NULL;
    ELSE
        RAISE EXCEPTION 'status % is unknown',
            coalesce('"' || left(reported, 64) || '"', 'null')
            USING ERRCODE = 'MS400',
                  DETAIL = 'A status is one of "queued", "sent", "delivered", "read", "failed", "undelivered".';
    END IF;
    IF jsonb_typeof(detail) NOT IN ('object', 'null') THEN
        RAISE EXCEPTION 'field "detail" is not an object'
            USING ERRCODE = 'MS400',
                  DETAIL = 'A detail is null or the provider''s JSON object.';
    END IF;

    tenant := msgstore._callback_tenant(
        _record_status.channel, _record_status.provider_message_id);
    INSERT INTO msgstore.deliveries AS d
        (tenant_id, channel, provider_message_id, status, status_at)
    VALUES (tenant, _record_status.channel, _record_status.provider_message_id,
            word, received_at)
    ON CONFLICT (tenant_id, channel, provider_message_id) DO UPDATE
    SET status = msgstore._later_status(d.status, excluded.status),
        status_at = CASE
            WHEN msgstore._later_status(d.status, excluded.status) = d.status
            THEN d.status_at
            ELSE excluded.status_at
        END
    RETURNING d.message_id, d.status
    INTO _record_status.message_id, _record_status.status;
    INSERT INTO msgstore.delivery_statuses AS s
        (tenant_id, channel, provider_message_id, status, detail, received_at)
    VALUES (tenant, _record_status.channel, _record_status.provider_message_id,
            word, msgstore._clean_detail(nullif(detail, 'null')), received_at)
    RETURNING s.id INTO callback_id;
END
$$;

CREATE FUNCTION msgstore.record_status(
    channel text,
    provider_message_id text,
    status text,
    detail jsonb DEFAULT NULL,
    OUT callback_id uuid,
    OUT message_id uuid,
    OUT status text)
    LANGUAGE sql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT r.callback_id, r.message_id, r.status
    FROM msgstore._record_status($1, $2, $3, $4) r
$$;

CREATE VIEW msgstore.outbound_messages WITH (security_invoker) AS
SELECT m.id,
       m.tenant_id,
       m.channel,
       coalesce(d.provider, c.provider) AS provider,
       m."from",
       m."to",
       CASE
           WHEN d.message_id IS NOT NULL THEN d.status
           WHEN l.event_id IS NOT NULL THEN 'failed'
           WHEN o.message_id IS NOT NULL THEN 'queued'
       END AS status,
       d.provider_message_id,
       coalesce(l.attempt_count, f.attempt_count, 0) AS attempt_count,
       o.next_attempt_at,
       o.sender_id,
       coalesce(l.error_code, f.error_code) AS error_code,
       coalesce(l.error_message, f.error_message) AS error_message,
       m.correlation_id,
       m.created_at,
       coalesce(d.status_at, l.died_at, f.failed_at, m.created_at) AS updated_at
FROM msgstore.messages m
LEFT JOIN msgstore.channels c ON c.name = m.channel
LEFT JOIN msgstore.deliveries d
    ON d.tenant_id = m.tenant_id AND d.message_id = m.id
LEFT JOIN msgstore.outbox o
    ON o.tenant_id = m.tenant_id AND o.message_id = m.id
LEFT JOIN msgstore.dead_letters l
    ON l.tenant_id = m.tenant_id AND l.event_id = m.id
LEFT JOIN msgstore.event_failures f
    ON f.tenant_id = m.tenant_id AND f.event_id = m.id
WHERE m.direction = 'outbound';

REVOKE ALL ON FUNCTION msgstore._wake_senders() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._watch_outbox() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._clean_detail(jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._check_text(text, text, int) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._later_status(text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._has_provider(text, uuid) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._fail_outbound(text, uuid, text, text, text, interval, boolean) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._hold_outbound(uuid) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._meet_without_tenant(text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._take_over_callbacks(text, text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._callback_tenant(text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._record_status(text, text, text, jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.reap_outbound() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.claim_outbound(text, int) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.heartbeat_outbound(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.sent(uuid, text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.send_failed(uuid, text, text, text, boolean) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.record_status(text, text, text, jsonb) FROM PUBLIC;

COMMENT ON TABLE msgstore.outbox IS
    'The sending left: one narrow row per outbound message that is neither sent nor given up';
COMMENT ON TABLE msgstore.deliveries IS
    'What is known of outbound messages at their providers: one row per provider''s message id';
COMMENT ON TABLE msgstore.delivery_statuses IS
    'Append-only: every callback of a provider, as it came';
COMMENT ON COLUMN msgstore.outbox.conversation_id IS
    'Where later messages wait for this one: of channels that had strict_order when it was sent; else null';
COMMENT ON COLUMN msgstore.outbox.next_attempt_at IS
    'Null: new. Of a message that waits: when it is to be tried again. Of a leased one: when the lease ends without a heartbeat';
COMMENT ON COLUMN msgstore.outbox.sender_id IS
    'Who has leased it; null: nobody';
COMMENT ON COLUMN msgstore.deliveries.message_id IS
    'Null while only the provider has spoken of it';
COMMENT ON COLUMN msgstore.deliveries.provider IS
    'Who carried it; null as message_id';
COMMENT ON COLUMN msgstore.deliveries.status IS
    'The current one: queued < sent < delivered < read, or failed or undelivered for good; never goes backwards';
COMMENT ON COLUMN msgstore.deliveries.status_at IS
    'When it became the current one';
COMMENT ON COLUMN msgstore.delivery_statuses.detail IS
    'What else the provider said, without the values of msgstore.redact_keys';
COMMENT ON VIEW msgstore.outbound_messages IS
    'Every outbound message with its status: queued, sent, delivered, read, failed or undelivered; null when its channel had no provider and nothing is known';
COMMENT ON COLUMN msgstore.outbound_messages.attempt_count IS
    'Failed attempts so far';
COMMENT ON FUNCTION msgstore._wake_senders() IS
    'At commit, the worker tells senders that listen to msgstore_outbox that there is something to claim';
COMMENT ON FUNCTION msgstore._watch_outbox() IS
    'At commit, the worker looks when something in the outbox is due';
COMMENT ON FUNCTION msgstore._clean_detail(jsonb) IS
    'The object without the values of msgstore.redact_keys. Raises MS413 beyond msgstore.max_payload_bytes';
COMMENT ON FUNCTION msgstore._check_text(text, text, int) IS
    'Raises MS400 when the field''s value is missing, blank or too long';
COMMENT ON FUNCTION msgstore._later_status(text, text) IS
    'The status after another one was reported: never an earlier one';
COMMENT ON FUNCTION msgstore._has_provider(text, uuid) IS
    'Whether somebody carries the messages of this one''s channel';
COMMENT ON FUNCTION msgstore._fail_outbound(text, uuid, text, text, text, interval, boolean) IS
    'Counts a failed attempt of a message of the outbox; true: it was the last one';
COMMENT ON FUNCTION msgstore._hold_outbound(uuid) IS
    'Locks an outbound message until the end of the transaction and says what is known of it. Raises MS404';
COMMENT ON FUNCTION msgstore._meet_without_tenant(text, text) IS
    'Waits for other sessions without a tenant that speak of the same delivery';
COMMENT ON FUNCTION msgstore._take_over_callbacks(text, text, text) IS
    'Gives callbacks that wait without a tenant to the tenant whose message they are of';
COMMENT ON FUNCTION msgstore._callback_tenant(text, text) IS
    'The tenant of a callback: the session''s, or the one whose message it is of, or none. Raises MS409 when that is not clear';
COMMENT ON FUNCTION msgstore._record_status(text, text, text, jsonb) IS
    'Does what record_status does';
COMMENT ON FUNCTION msgstore.claim_outbound(text, int) IS
    'Leases at most max_messages messages that are to be sent, the oldest first, to this sender for msgstore.claim_timeout. attempt: 1 for the first one. Raises MS400';
COMMENT ON FUNCTION msgstore.heartbeat_outbound(text) IS
    'Renews all leases of this sender; returns how many there are. Raises MS400';
COMMENT ON FUNCTION msgstore.sent(uuid, text, text) IS
    'The message has gone out and the provider knows it by this id: it leaves the outbox. Returns its status; the same again changes nothing. Raises MS400, MS404, MS409 (sent under another id, the id is another message''s, leased by another sender)';
COMMENT ON FUNCTION msgstore.send_failed(uuid, text, text, text, boolean) IS
    'The attempt to send failed; permanent: there is no use in trying again. Returns queued when the message will be tried again, failed when it went to the dead letters. Raises MS400, MS404, MS409 (not leased by this sender, sent, not in the outbox)';
COMMENT ON FUNCTION msgstore.reap_outbound() IS
    'Ends the leases that had no heartbeat for msgstore.claim_timeout; each is a failed attempt (MS504), and its message can be claimed at once. Returns how many';
COMMENT ON FUNCTION msgstore.record_status(text, text, text, jsonb) IS
    'Keeps a provider''s callback on an outbound message and moves its status on, never back. status: queued, sent, delivered, read, failed or undelivered, in any case; the current one comes back. message_id: null until the sender has reported the message. Raises MS400, MS409, MS413';
