-- outbox: what senders report about messages they have claimed.

-- The status order is queued, sent, delivered, read; failed and undelivered are
-- final, but do not replace delivered or read.
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

-- A sender's report and a provider's callback change a delivery in the same way;
-- only the report knows the message and its provider. Returns nulls when another
-- message has the provider's id.
CREATE FUNCTION msgstore._record_delivery(
    tenant_id text,
    channel text,
    provider_message_id text,
    status text,
    at timestamptz,
    message_id uuid DEFAULT NULL,
    provider text DEFAULT NULL,
    error_code text DEFAULT NULL,
    error_message text DEFAULT NULL,
    OUT known_message_id uuid,
    OUT current_status text)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
BEGIN
    INSERT INTO msgstore.deliveries AS d
        (tenant_id, channel, provider_message_id, message_id, provider, status,
         status_at, error_code, error_message)
    VALUES (_record_delivery.tenant_id, _record_delivery.channel,
            _record_delivery.provider_message_id, _record_delivery.message_id,
            _record_delivery.provider, _record_delivery.status,
            _record_delivery.at, _record_delivery.error_code,
            _record_delivery.error_message)
    ON CONFLICT (tenant_id, channel, provider_message_id) DO UPDATE
    SET message_id = coalesce(d.message_id, excluded.message_id),
        provider = coalesce(d.provider, excluded.provider),
        status = msgstore._later_status(d.status, excluded.status),
        status_at = CASE
            WHEN msgstore._later_status(d.status, excluded.status) = d.status
            THEN d.status_at
            ELSE excluded.status_at
        END,
        -- The first callback of a failure need not be the one with its code.
        error_code = CASE msgstore._later_status(d.status, excluded.status)
            WHEN excluded.status THEN coalesce(d.error_code, excluded.error_code)
            ELSE d.error_code
        END,
        error_message = CASE msgstore._later_status(d.status, excluded.status)
            WHEN excluded.status
            THEN coalesce(d.error_message, excluded.error_message)
            ELSE d.error_message
        END
    WHERE d.message_id IS NULL
        OR excluded.message_id IS NULL
        OR d.message_id = excluded.message_id
    RETURNING d.message_id, d.status INTO known_message_id, current_status;
END
$$;

-- Locks an outbound message, so that reports about it are processed one after the
-- other: by its row in the outbox, or by its own row when it is not in the outbox
-- any more. A dead letter is locked before that row, as a requeue and an erasure
-- lock it; a requeue that ends meanwhile has added the row to the outbox. The
-- delivery must be read after the lock is taken.
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
                  DETAIL = 'An outbound message is identified by the message_id that send() and claim_outbound() return.';
    END IF;
    PERFORM msgstore._check_tenant_here(place.tenant_id);
    tenant_id := place.tenant_id;
    channel := place.channel;

    FOR attempt IN 1 .. 2 LOOP
        SELECT o.sender_id, o.next_attempt_at INTO holder, lease_ends
        FROM msgstore.outbox o
        WHERE o.tenant_id = place.tenant_id
            AND o.message_id = _hold_outbound.message_id
        FOR UPDATE;
        queued := FOUND;
        EXIT WHEN queued OR attempt = 2;
        PERFORM FROM msgstore.dead_letters l
        WHERE l.tenant_id = place.tenant_id
            AND l.event_id = _hold_outbound.message_id
        FOR UPDATE;
    END LOOP;
    IF NOT queued THEN
        PERFORM FROM msgstore.messages m
        WHERE m.tenant_id = place.tenant_id AND m.id = _hold_outbound.message_id
        FOR NO KEY UPDATE;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'message "%" does not exist', _hold_outbound.message_id
                USING ERRCODE = 'MS404',
                      DETAIL = 'The message was erased.';
        END IF;
    END IF;

    SELECT d.provider_message_id INTO provider_message_id
    FROM msgstore.deliveries d
    WHERE d.tenant_id = place.tenant_id
        AND d.message_id = _hold_outbound.message_id;
END
$$;

-- Unscoped sessions work for all tenants, but a provider's callback does not say
-- which tenant it is for. So a callback that such a session records before the
-- sender reports the message is kept under the empty tenant, and the report moves
-- it. Without this lock the two could miss each other.
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

-- Channels of one thread share conversations and often a provider's account, and
-- callbacks name the one or the other: sms for a message that was sent as mms. A
-- callback that comes before the sender's report is recorded under the channel
-- that it names, and the report moves it. Without this lock the two could miss
-- each other.
CREATE FUNCTION msgstore._meet_in_thread(
    tenant_id text,
    channel text,
    provider_message_id text,
    OUT others text[])
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
DECLARE
    own_thread text;
BEGIN
    SELECT c.thread INTO own_thread FROM msgstore.channels c
    WHERE c.name = _meet_in_thread.channel;
    SELECT array_agg(c.name) INTO others FROM msgstore.channels c
    WHERE c.thread = own_thread AND c.name <> _meet_in_thread.channel;
    IF others IS NOT NULL THEN
        PERFORM pg_advisory_xact_lock(hashtextextended(
            format('msgstore delivery %s of %s:%s', _meet_in_thread.tenant_id,
                   own_thread, _meet_in_thread.provider_message_id), 0));
    END IF;
END
$$;

-- Moves early callbacks of other channels of the thread to the channel of the
-- message.
CREATE FUNCTION msgstore._move_to_channel(
    tenant_id text,
    channel text,
    provider_message_id text)
    RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
DECLARE
    others CONSTANT text[] := msgstore._meet_in_thread(
        _move_to_channel.tenant_id, _move_to_channel.channel,
        _move_to_channel.provider_message_id);
BEGIN
    IF others IS NULL THEN
        RETURN;
    END IF;
    UPDATE msgstore.deliveries d
    SET channel = _move_to_channel.channel
    WHERE (d.tenant_id, d.id) = (
            SELECT early.tenant_id, early.id
            FROM msgstore.deliveries early
            WHERE early.tenant_id = _move_to_channel.tenant_id
                AND early.channel = ANY (others)
                AND early.provider_message_id =
                    _move_to_channel.provider_message_id
                AND early.message_id IS NULL
            ORDER BY early.id LIMIT 1)
        AND NOT EXISTS (
            SELECT FROM msgstore.deliveries own
            WHERE own.tenant_id = d.tenant_id
                AND own.channel = _move_to_channel.channel
                AND own.provider_message_id = d.provider_message_id);
    IF FOUND THEN
        UPDATE msgstore.delivery_statuses s
        SET channel = _move_to_channel.channel
        WHERE s.tenant_id = _move_to_channel.tenant_id
            AND s.channel = ANY (others)
            AND s.provider_message_id = _move_to_channel.provider_message_id;
    END IF;
END
$$;

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
        -- Not if the tenant has recorded callbacks of its own under this id.
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

-- Long, because the order of its steps is the point: lock the message, refuse,
-- take over early callbacks, record, and only then leave the outbox.
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
    PERFORM msgstore._check_scope_here();
    PERFORM msgstore._check_text(
        'provider_message_id', sent.provider_message_id, 510);
    held := msgstore._hold_outbound(sent.message_id);
    IF held.provider_message_id <> sent.provider_message_id THEN
        RAISE EXCEPTION 'message "%" was already sent as "%"',
            sent.message_id, held.provider_message_id
            USING ERRCODE = 'MS409',
                  DETAIL = format('It cannot be reported again as "%s".', sent.provider_message_id);
    END IF;
    -- Not refused because the sender's own lease has expired: the message has
    -- been sent.
    IF held.provider_message_id IS NULL
        AND held.holder <> sent.sender_id
        AND held.lease_ends > clock_timestamp()
    THEN
        RAISE EXCEPTION 'message "%" is claimed by sender "%"',
            sent.message_id, held.holder
            USING ERRCODE = 'MS409',
                  DETAIL = format('Sender "%s" does not hold the claim.', sent.sender_id);
    END IF;

    IF held.tenant_id <> '' AND msgstore._tenant_scope() = '' THEN
        PERFORM msgstore._take_over_callbacks(
            held.tenant_id, held.channel, sent.provider_message_id);
    END IF;
    PERFORM msgstore._move_to_channel(
        held.tenant_id, held.channel, sent.provider_message_id);
    new_status := current_status FROM msgstore._record_delivery(
        held.tenant_id, held.channel, sent.provider_message_id, 'sent',
        clock_timestamp(), sent.message_id,
        (SELECT c.provider FROM msgstore.channels c
         WHERE c.name = held.channel));
    IF new_status IS NULL THEN
        RAISE EXCEPTION 'provider message id "%" belongs to another message',
            sent.provider_message_id
            USING ERRCODE = 'MS409',
                  DETAIL = 'A provider message id must be unique within its channel.';
    END IF;

    IF NOT held.queued THEN
        -- A dead letter that was sent after all must not be sent again.
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
    PERFORM msgstore._tell(held.tenant_id, 'message.status', ARRAY[sent.message_id]);
    RETURN new_status;
END
$$;

-- A report without a sender is believed: it comes from a person.
CREATE FUNCTION msgstore._check_holder(message uuid, holder text, sender text)
    RETURNS void
    LANGUAGE plpgsql IMMUTABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF sender IS NOT NULL AND holder IS DISTINCT FROM sender THEN
        RAISE EXCEPTION 'message "%" is %', message,
            coalesce('claimed by sender "' || holder || '"', 'not claimed')
            USING ERRCODE = 'MS409',
                  DETAIL = format('Sender "%s" does not hold the claim.', sender);
    END IF;
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
    PERFORM msgstore._check_scope_here();
    PERFORM msgstore._check_text('error_code', error_code, 255);
    held := msgstore._hold_outbound(message_id);
    IF held.provider_message_id IS NOT NULL THEN
        RAISE EXCEPTION 'message "%" was already sent as "%"',
            message_id, held.provider_message_id
            USING ERRCODE = 'MS409',
                  HINT = 'Use record_status() to record what the provider reports.';
    END IF;
    IF NOT held.queued THEN
        RAISE EXCEPTION 'message "%" is not in the outbox', message_id
            USING ERRCODE = 'MS409',
                  DETAIL = 'It is a dead letter, or its channel had no provider when it was stored.';
    END IF;
    PERFORM msgstore._check_holder(message_id, held.holder, sender_id);

    dead := msgstore._fail_outbound(
        held.tenant_id, message_id, error_code, coalesce(error_message, ''),
        coalesce(sender_id, held.holder),
        permanent => coalesce(permanent, false));
    IF dead THEN
        -- Later messages of its conversation may be waiting for it.
        PERFORM msgstore._wake_senders();
        RETURN 'failed';
    END IF;
    PERFORM msgstore._watch_outbox();
    RETURN 'queued';
END
$$;

REVOKE ALL ON FUNCTION msgstore._later_status(text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._record_delivery(text, text, text, text, timestamptz, uuid, text, text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._hold_outbound(uuid) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._meet_without_tenant(text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._meet_in_thread(text, text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._move_to_channel(text, text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._take_over_callbacks(text, text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.sent(uuid, text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._check_holder(uuid, text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.send_failed(uuid, text, text, text, boolean) FROM PUBLIC;

COMMENT ON FUNCTION msgstore._later_status(text, text) IS
    'Returns the status after another one was reported: never an earlier one';
COMMENT ON FUNCTION msgstore._record_delivery(text, text, text, text, timestamptz, uuid, text, text, text) IS
    'Inserts or advances the delivery with this provider message id; returns its message and current status';
COMMENT ON FUNCTION msgstore._hold_outbound(uuid) IS
    'Locks an outbound message until the end of the transaction and returns its state. Raises MS404';
COMMENT ON FUNCTION msgstore._meet_without_tenant(text, text) IS
    'Waits for other unscoped sessions that report on the same provider message id';
COMMENT ON FUNCTION msgstore._meet_in_thread(text, text, text) IS
    'Waits for other sessions that report on the same provider message id of the channel''s thread. Returns the other channels of the thread; null, without waiting, if there are none';
COMMENT ON FUNCTION msgstore._move_to_channel(text, text, text) IS
    'Moves callbacks recorded under another channel of the thread to the channel of the message';
COMMENT ON FUNCTION msgstore._take_over_callbacks(text, text, text) IS
    'Moves the callbacks recorded without a tenant to the tenant that owns the message';
COMMENT ON FUNCTION msgstore.sent(uuid, text, text) IS
    'Reports that the message was sent and what id the provider assigned to it, and removes it from the outbox. Returns the status of the message; repeating the report changes nothing. Raises MS400 for an invalid argument, MS404 if there is no such outbound message, MS409 if it was sent under another id, the id belongs to another message, or another sender holds the lease';
COMMENT ON FUNCTION msgstore._check_holder(uuid, text, text) IS
    'Raises MS409 if another sender, or none, holds the lease of the message';
COMMENT ON FUNCTION msgstore.send_failed(uuid, text, text, text, boolean) IS
    'Reports a failed attempt to send the message. permanent: do not retry. Returns queued if it will be retried, failed if it became a dead letter. Raises MS400 for an invalid argument, MS404 if there is no such outbound message, MS409 if it was sent, is not in the outbox, or is not leased by this sender';
