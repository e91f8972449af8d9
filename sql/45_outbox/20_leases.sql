-- outbox: leases. A sender claims messages, renews its leases by heartbeats, and
-- loses a message when its lease expires.

CREATE FUNCTION msgstore._wake_senders() RETURNS void
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'msgstore_wake_senders';

CREATE FUNCTION msgstore._watch_outbox() RETURNS void
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'msgstore_watch_outbox';

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
              DETAIL = format('The field must be a non-blank string of at most %s bytes.',
                              most_bytes);
END
$$;

-- What every claim of a sender checks first.
CREATE FUNCTION msgstore._check_claim(sender_id text, argument text, most int)
    RETURNS void
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    PERFORM msgstore._check_scope_here();
    PERFORM msgstore._check_text('sender_id', sender_id, 255);
    IF most IS NULL OR most < 1 THEN
        RAISE EXCEPTION '% % is not positive', argument, most
            USING ERRCODE = 'MS400';
    END IF;
END
$$;

-- A second after that many failures in a row, then doubled with each.
CREATE FUNCTION msgstore._rest_after(failures int, free int, longest interval)
    RETURNS interval
    LANGUAGE sql IMMUTABLE STRICT PARALLEL UNSAFE
    RETURN CASE WHEN failures < free THEN interval '0'
                ELSE least(interval '1 second' * 2 ^ least(failures - free, 20), longest) END;

-- Expensive, so that the planner checks it last, and only for messages that
-- nothing else holds back.
CREATE FUNCTION msgstore._has_provider(tenant_id text, message_id uuid)
    RETURNS boolean
    LANGUAGE sql STABLE STRICT PARALLEL SAFE COST 100000
    RETURN EXISTS (
        SELECT FROM msgstore.messages m
        JOIN msgstore.channels c ON c.name = m.channel
        WHERE m.tenant_id = _has_provider.tenant_id
            AND m.id = _has_provider.message_id
            AND c.provider IS NOT NULL);

-- Expensive for the same reason.
CREATE FUNCTION msgstore._is_on_channel(tenant_id text, message_id uuid, channels text[])
    RETURNS boolean
    LANGUAGE sql STABLE PARALLEL UNSAFE COST 100000
    RETURN channels IS NULL OR EXISTS (
        SELECT FROM msgstore.messages m
        WHERE m.tenant_id = _is_on_channel.tenant_id
            AND m.id = _is_on_channel.message_id
            AND m.channel = ANY (channels));

-- Messages that wait, and whose turn it is: where the order is kept, only the
-- earliest message of a conversation. A later one that is claimed along with it
-- could be sent although the earlier one fails.
CREATE VIEW msgstore._sendable_messages WITH (security_invoker) AS
SELECT o.tenant_id,
       o.message_id,
       o.next_attempt_at
FROM msgstore.outbox o
WHERE o.sender_id IS NULL
    AND NOT msgstore._is_elsewhere(o.tenant_id)
    AND (o.conversation_id IS NULL OR NOT EXISTS (
        SELECT FROM msgstore.outbox earlier
        WHERE earlier.tenant_id = o.tenant_id
            AND earlier.conversation_id = o.conversation_id
            AND earlier.message_id < o.message_id))
    AND msgstore._has_provider(o.tenant_id, o.message_id);

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
    PERFORM msgstore._check_scope_here();
    SELECT count(msgstore._fail_outbound(
        stale.tenant_id, stale.message_id,
        CASE WHEN stale.uncertain THEN 'uncertain' ELSE 'MS504' END,
        format('claim of sender "%s" expired without a heartbeat',
               stale.sender_id),
        stale.sender_id, interval '0', stale.uncertain))
    INTO reaped
    FROM (
        SELECT o.tenant_id, o.message_id, o.sender_id,
               msgstore._is_uncertain(o.tenant_id, o.message_id, o.account)
                   AS uncertain
        FROM msgstore.outbox o
        WHERE o.sender_id IS NOT NULL
            AND o.next_attempt_at <= due
            AND scope IN ('', o.tenant_id)
            AND NOT msgstore._is_elsewhere(o.tenant_id)
        -- In the order of erase_address(), because SKIP LOCKED waits for the next
        -- version of a row that was updated a moment ago. By a row value, because
        -- an index in this order would be read as a whole.
        ORDER BY ROW(o.tenant_id, o.message_id)
        FOR UPDATE SKIP LOCKED
    ) AS stale;
    IF reaped > 0 THEN
        PERFORM msgstore._wake_senders(), msgstore._watch_outbox();
    END IF;
    RETURN reaped;
END
$$;

-- Leased messages whose recipient has opted out since they were stored: dead letters,
-- which a requeue brings back here.
CREATE FUNCTION msgstore._fail_unwanted(sender_id text) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    PERFORM msgstore._fail_outbound(
        m.tenant_id, m.id, 'opted_out', format(
            'recipient "%s" has opted out of messages from "%s"', m."to", m."from"),
        o.sender_id, permanent => true)
    FROM msgstore.outbox o
    JOIN msgstore.messages m ON m.tenant_id = o.tenant_id AND m.id = o.message_id
    WHERE o.sender_id = _fail_unwanted.sender_id
        AND EXISTS (
            SELECT FROM msgstore.opt_outs x
            WHERE x.tenant_id = m.tenant_id AND x.recipient = m."to"
                AND x.channel = msgstore._consent_channel(m.channel)
                AND x.sender IN (m."from", ''));
    IF FOUND THEN
        -- Later messages of their conversations may be waiting for them.
        PERFORM msgstore._wake_senders();
    END IF;
END
$$;

-- Long, because it is one statement for finding, locking, leasing and returning:
-- another one would cost every sender a round of the executor.
CREATE FUNCTION msgstore.claim_outbound(
    sender_id text,
    max_messages int DEFAULT 10,
    channels text[] DEFAULT NULL)
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
        attempt int,
        payload jsonb)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    -- Rows are read by index whatever the tables' statistics say: a queue is
    -- mostly empty when it is analyzed.
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
    PERFORM msgstore._check_claim(claim_outbound.sender_id, 'max_messages', max_messages);
    PERFORM msgstore.reap_outbound();
    due := clock_timestamp();

    -- Retries take at most half, so that messages that keep failing do not hold
    -- back new ones.
    RETURN QUERY
    WITH claimed AS MATERIALIZED (
        SELECT * FROM (
            SELECT o.tenant_id, o.message_id FROM msgstore._sendable_messages o
            WHERE o.next_attempt_at <= due
                AND scope IN ('', o.tenant_id)
                AND msgstore._is_on_channel(
                    o.tenant_id, o.message_id, claim_outbound.channels)
            ORDER BY o.next_attempt_at, o.message_id
            LIMIT (max_messages::bigint + 1) / 2
            FOR UPDATE SKIP LOCKED) AS retry
        UNION ALL
        SELECT * FROM (
            SELECT o.tenant_id, o.message_id FROM msgstore._sendable_messages o
            WHERE o.next_attempt_at IS NULL
                AND scope IN ('', o.tenant_id)
                AND msgstore._is_on_channel(
                    o.tenant_id, o.message_id, claim_outbound.channels)
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
    SELECT m.id, m.tenant_id, m.channel, c.provider,
           coalesce(m.from_given, m."from"), coalesce(m.to_given, m."to"),
           m.body, m.attachments, m."timestamp", m.correlation_id,
           coalesce(f.attempt_count, 0) + 1, p.payload
    FROM leased
    JOIN msgstore.messages m
        ON m.tenant_id = leased.tenant_id AND m.id = leased.message_id
    JOIN msgstore.channels c ON c.name = m.channel
    LEFT JOIN msgstore.outbound_payloads p
        ON p.tenant_id = leased.tenant_id AND p.message_id = leased.message_id
    LEFT JOIN msgstore.event_failures f
        ON f.tenant_id = leased.tenant_id AND f.event_id = leased.message_id
    WHERE NOT EXISTS (
        SELECT FROM msgstore.opt_outs x
        WHERE x.tenant_id = m.tenant_id AND x.recipient = m."to"
            AND x.channel = msgstore._consent_channel(m.channel)
            AND x.sender IN (m."from", ''))
    ORDER BY m.id;
    IF FOUND THEN
        PERFORM msgstore._watch_outbox();
    END IF;
    IF EXISTS (SELECT FROM msgstore.opt_outs) THEN
        PERFORM msgstore._fail_unwanted(claim_outbound.sender_id);
    END IF;
END
$$;

-- A locked row is skipped: whoever has locked it is ending its lease.
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
    PERFORM msgstore._check_scope_here();
    PERFORM msgstore._check_text('sender_id', heartbeat_outbound.sender_id, 255);
    WITH held AS MATERIALIZED (
        SELECT o.tenant_id, o.message_id FROM msgstore.outbox o
        WHERE o.sender_id IS NOT NULL
            AND o.sender_id = heartbeat_outbound.sender_id
            AND scope IN ('', o.tenant_id)
        ORDER BY ROW(o.tenant_id, o.message_id)
        FOR UPDATE SKIP LOCKED)
    UPDATE msgstore.outbox o
    SET next_attempt_at = lease_ends
    FROM held
    WHERE o.tenant_id = held.tenant_id AND o.message_id = held.message_id;
    GET DIAGNOSTICS renewed = ROW_COUNT;
    -- A concurrent reaper has skipped these rows, and does not know their new
    -- expiry.
    PERFORM msgstore._watch_outbox();
    RETURN renewed;
END
$$;

REVOKE ALL ON FUNCTION msgstore._wake_senders() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._watch_outbox() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._check_text(text, text, int) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._check_claim(text, text, int) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._rest_after(int, int, interval) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._has_provider(text, uuid) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._is_on_channel(text, uuid, text[]) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._fail_outbound(text, uuid, text, text, text, interval, boolean) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.reap_outbound() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._fail_unwanted(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.claim_outbound(text, int, text[]) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.heartbeat_outbound(text) FROM PUBLIC;

COMMENT ON FUNCTION msgstore._wake_senders() IS
    'Has the worker notify senders that listen to msgstore_outbox once this transaction commits';
COMMENT ON FUNCTION msgstore._watch_outbox() IS
    'Has the worker look up the next retry or lease expiry of the outbox once this transaction commits';
COMMENT ON FUNCTION msgstore._check_text(text, text, int) IS
    'Raises MS400 if the value of the field is missing, blank or too long';
COMMENT ON FUNCTION msgstore._check_claim(text, text, int) IS
    'Raises MS400 if a claim has no valid sender, or a limit that is not positive';
COMMENT ON FUNCTION msgstore._rest_after(int, int, interval) IS
    'Returns how long to rest after that many failures in a row: not at all before the first that counts (free), then a second, doubled with each further failure';
COMMENT ON FUNCTION msgstore._has_provider(text, uuid) IS
    'Returns whether the channel of the message has a provider';
COMMENT ON FUNCTION msgstore._is_on_channel(text, uuid, text[]) IS
    'Returns whether the message is on one of the channels; true if they are null';
COMMENT ON VIEW msgstore._sendable_messages IS
    'Messages of the outbox that may be claimed, once they are due';
COMMENT ON FUNCTION msgstore._fail_outbound(text, uuid, text, text, text, interval, boolean) IS
    'Records a failed attempt to send a message of the outbox; returns whether it was the last one';
COMMENT ON FUNCTION msgstore.reap_outbound() IS
    'Ends all expired leases. Each counts as a failed attempt with error_code MS504, and its message can be claimed again at once. Returns the number of leases';
COMMENT ON FUNCTION msgstore._fail_unwanted(text) IS
    'Makes dead letters of the messages leased to this sender whose recipient has opted out';
COMMENT ON FUNCTION msgstore.claim_outbound(text, int, text[]) IS
    'Leases up to max_messages messages to the sender for msgstore.claim_timeout, oldest first, and returns what is needed to send them: from and to as they were given to send(), with display names, and the whole payload. attempt is 1 for the first attempt. channels: only messages of these channels. Raises MS400 for an invalid argument';
COMMENT ON FUNCTION msgstore.heartbeat_outbound(text) IS
    'Renews all leases of the sender and returns their number. Raises MS400 for an invalid argument';
