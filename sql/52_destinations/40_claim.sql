-- destinations: claims and answers, for msgstore-sender.

CREATE FUNCTION msgstore._hmac_sha256(key bytea, message bytea) RETURNS bytea
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    padded CONSTANT bytea := rpad_bytes.b
        FROM (SELECT CASE WHEN octet_length(key) > 64 THEN sha256(key) ELSE key END AS short) s,
             LATERAL (SELECT s.short || decode(repeat('00', 64 - octet_length(s.short)), 'hex') AS b) rpad_bytes;
    inner_key bytea := padded;
    outer_key bytea := padded;
BEGIN
    FOR i IN 0 .. 63 LOOP
        inner_key := set_byte(inner_key, i, get_byte(padded, i) # 54);
        outer_key := set_byte(outer_key, i, get_byte(padded, i) # 92);
    END LOOP;
    RETURN sha256(outer_key || sha256(inner_key || message));
END
$$;

-- Standard Webhooks: a signature by each secret that is in force.
CREATE FUNCTION msgstore._webhook_headers(notification msgstore.notifications, body text)
    RETURNS text
    LANGUAGE sql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT format(E'Content-Type: application/json\nwebhook-id: %s\nwebhook-timestamp: %s\nwebhook-signature: %s',
                  w.id, w.at, (
        SELECT string_agg('v1,' || encode(msgstore._hmac_sha256(
                   decode(substr(s.secret, 7) || repeat('=', -length(substr(s.secret, 7)) & 3), 'base64'),
                   convert_to(format('%s.%s.%s', w.id, w.at, body), 'UTF8')), 'base64'),
                   ' ' ORDER BY s.id DESC)
        FROM msgstore.destination_secrets s
        WHERE s.tenant_id = notification.tenant_id
            AND s.destination = notification.destination
            AND coalesce(s.not_after, 'infinity') > clock_timestamp()))
    FROM (SELECT 'msg_' || replace(notification.id::text, '-', '') AS id,
                 extract(epoch FROM clock_timestamp())::bigint AS at) w
    $$;

-- The earliest of its line that is not dead; a destination that is paused gets
-- nothing, and what is about something that is gone is dropped.
CREATE FUNCTION msgstore.claim_notifications(
    sender_id text,
    max_notifications int DEFAULT 10,
    OUT notification_id uuid,
    OUT tenant_id text,
    OUT destination text,
    OUT attempt int,
    OUT url text,
    OUT headers text,
    OUT body text,
    OUT timeout_ms int,
    OUT again boolean)
    RETURNS SETOF record
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off
    SET enable_bitmapscan = off
    SET jit = off
    AS $$
#variable_conflict use_column
DECLARE
    scope CONSTANT text := msgstore._tenant_scope();
    due CONSTANT timestamptz := clock_timestamp();
    one msgstore.notifications;
    used msgstore.destinations;
    document jsonb;
    skipped boolean := false;
BEGIN
    PERFORM msgstore._check_claim(
        claim_notifications.sender_id, 'max_notifications', max_notifications);
    PERFORM msgstore._spread_news();
    FOR one IN
        SELECT n.* FROM msgstore.notifications n
        WHERE n.dead_at IS NULL AND n.next_attempt_at <= due
            AND scope IN ('', n.tenant_id)
            AND NOT msgstore._is_elsewhere(n.tenant_id)
            AND NOT EXISTS (
                SELECT FROM msgstore.notifications e
                WHERE e.tenant_id = n.tenant_id AND e.destination = n.destination
                    AND e.line_id = n.line_id AND e.id < n.id AND e.dead_at IS NULL)
        ORDER BY n.next_attempt_at LIMIT max_notifications
        FOR UPDATE OF n SKIP LOCKED
    LOOP
        SELECT d.* INTO used FROM msgstore.destinations d
        WHERE d.tenant_id = one.tenant_id AND d.name = one.destination;
        document := msgstore._notification_data(one);
        IF used.name IS NULL OR document IS NULL THEN
            DELETE FROM msgstore.notifications n
            WHERE n.tenant_id = one.tenant_id AND n.destination = one.destination AND n.id = one.id;
            skipped := true;
            CONTINUE;
        ELSIF used.paused OR used.paused_until > due THEN
            UPDATE msgstore.notifications n
            SET next_attempt_at = CASE WHEN used.paused THEN 'infinity' ELSE used.paused_until END,
                sender_id = NULL
            WHERE n.tenant_id = one.tenant_id AND n.destination = one.destination AND n.id = one.id;
            skipped := true;
            CONTINUE;
        END IF;
        UPDATE msgstore.notifications n
        SET sender_id = claim_notifications.sender_id,
            next_attempt_at = due + used.timeout + interval '30 seconds'
        WHERE n.tenant_id = one.tenant_id AND n.destination = one.destination AND n.id = one.id;
        notification_id := one.id;
        tenant_id := one.tenant_id;
        destination := one.destination;
        attempt := one.attempt_count + 1;
        url := used.url;
        body := jsonb_build_object('type', one.event, 'timestamp', one.happened_at, 'data', document);
        headers := msgstore._webhook_headers(one, body);
        timeout_ms := extract(epoch FROM used.timeout) * 1000;
        again := false;
        RETURN NEXT;
    END LOOP;
    IF skipped OR EXISTS (
            SELECT FROM msgstore.destination_news w WHERE NOT msgstore._is_elsewhere(w.tenant_id)) THEN
        SELECT NULL, true, NULL, NULL INTO notification_id, again, body, headers;
        RETURN NEXT;
    END IF;
    PERFORM msgstore._watch_outbox();
END
$$;

-- Returns delivered, waiting or dead. A destination that answers 410 wants no more.
CREATE FUNCTION msgstore.record_notification(
    sender_id text,
    notification_id uuid,
    status int,
    failure text DEFAULT NULL)
    RETURNS text
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off
    SET enable_bitmapscan = off
    SET jit = off
    AS $$
#variable_conflict use_column
DECLARE
    scope CONSTANT text := msgstore._tenant_scope();
    reason CONSTANT text := left(coalesce(failure, 'answered ' || record_notification.status), 1000);
    one msgstore.notifications;
    used msgstore.destinations;
BEGIN
    PERFORM msgstore._check_scope_here();
    SELECT n.* INTO one FROM msgstore.notifications n
    WHERE n.id = record_notification.notification_id AND scope IN ('', n.tenant_id)
    FOR UPDATE;
    IF NOT FOUND OR one.sender_id IS DISTINCT FROM record_notification.sender_id THEN
        RAISE EXCEPTION 'notification "%" is not claimed by sender "%"',
            record_notification.notification_id, record_notification.sender_id
            USING ERRCODE = 'MS409';
    END IF;
    PERFORM msgstore._check_tenant_here(one.tenant_id);
    SELECT d.* INTO used FROM msgstore.destinations d
    WHERE d.tenant_id = one.tenant_id AND d.name = one.destination FOR UPDATE;
    PERFORM msgstore._watch_outbox();
    IF record_notification.status BETWEEN 200 AND 299 THEN
        DELETE FROM msgstore.notifications n
        WHERE n.tenant_id = one.tenant_id AND n.destination = one.destination AND n.id = one.id;
        UPDATE msgstore.destinations d SET failures = 0, paused_until = NULL, last_error = NULL
        WHERE d.tenant_id = one.tenant_id AND d.name = one.destination AND d.failures > 0;
        -- The next one of its line is due.
        PERFORM msgstore._wake_senders();
        RETURN 'delivered';
    END IF;
    UPDATE msgstore.destinations d
    SET failures = d.failures + 1, last_error = reason,
        paused = d.paused OR record_notification.status = 410,
        paused_until = clock_timestamp() + nullif(
            msgstore._rest_after(d.failures + 1, 10, '1 hour'), '0')
    WHERE d.tenant_id = one.tenant_id AND d.name = one.destination;
    UPDATE msgstore.notifications n
    SET attempt_count = n.attempt_count + 1, last_error = reason, sender_id = NULL,
        next_attempt_at = clock_timestamp() + coalesce(
            used.retry_after[n.attempt_count + 1], interval '0') * (1 + random() / 10),
        dead_at = CASE WHEN n.attempt_count >= cardinality(used.retry_after)
                       THEN clock_timestamp() END
    WHERE n.tenant_id = one.tenant_id AND n.destination = one.destination AND n.id = one.id
    RETURNING n.* INTO one;
    IF one.dead_at IS NOT NULL THEN
        PERFORM msgstore._wake_senders();
        RETURN 'dead';
    END IF;
    RETURN 'waiting';
END
$$;

REVOKE ALL ON FUNCTION msgstore._hmac_sha256(bytea, bytea) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._webhook_headers(msgstore.notifications, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.claim_notifications(text, int) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.record_notification(text, uuid, int, text) FROM PUBLIC;

COMMENT ON FUNCTION msgstore._hmac_sha256(bytea, bytea) IS
    'Returns the HMAC-SHA-256 of a message';
COMMENT ON FUNCTION msgstore._webhook_headers(msgstore.notifications, text) IS
    'Returns the headers of a notification, with its signatures';
COMMENT ON FUNCTION msgstore.claim_notifications(text, int) IS
    'For msgstore-sender: claims notifications that are due, and returns the requests that deliver them, to be made at once. A row with again means that another claim may find more. Raises MS400 for an invalid argument';
COMMENT ON FUNCTION msgstore.record_notification(text, uuid, int, text) IS
    'For msgstore-sender: records the answer to a request of claim_notifications(): its HTTP status, or 0 and the failure. Returns delivered, waiting or dead. Raises MS409 if the sender does not hold the notification';
