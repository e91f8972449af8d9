-- sender: claims. A message is claimed, gets its account, waits if the account is
-- paused or its rate used up, and becomes a request.

-- An account of the tenant before one for all tenants, one with the address of the
-- sender before one for the rest.
CREATE FUNCTION msgstore._account_for(tenant text, channel text, address text)
    RETURNS SETOF msgstore.accounts
    LANGUAGE sql STABLE PARALLEL UNSAFE ROWS 1
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT a.*
    FROM msgstore.accounts a
    WHERE a.tenant_id IN (tenant, '')
        AND _account_for.channel = ANY (a.channels)
        AND (a.addresses = '{}' OR address = ANY (a.addresses))
    ORDER BY a.tenant_id <> tenant, a.addresses = '{}', a.name
    LIMIT 1
    $$;

-- Whether nobody knows if the provider has the message: its sender is gone, and the
-- account does not send again on suspicion.
CREATE FUNCTION msgstore._is_uncertain(tenant text, message uuid, account text)
    RETURNS boolean
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_variable
BEGIN
    RETURN account IS NOT NULL AND coalesce((
        SELECT NOT msgstore._may_resend(a)
        FROM msgstore.messages m
        CROSS JOIN LATERAL msgstore._account_for(m.tenant_id, m.channel, m."from") a
        WHERE m.tenant_id = tenant AND m.id = message), true);
END
$$;

-- Gives a message back without counting an attempt.
CREATE FUNCTION msgstore._postpone(tenant text, message uuid, until timestamptz)
    RETURNS void
    LANGUAGE sql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    UPDATE msgstore.outbox o
    SET next_attempt_at = until, sender_id = NULL
    WHERE o.tenant_id = tenant AND o.message_id = message
    $$;

-- Returns when the account lets the message through: null for now. At a rate, a
-- message takes its turn when it comes due; until then it has a place in the queue,
-- which ends at queued_until. The caller has locked the account. waited: the message
-- has had a place before.
CREATE FUNCTION msgstore._account_turn(
    INOUT account msgstore.accounts, waited boolean, OUT until timestamptz)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_variable
DECLARE
    now CONSTANT timestamptz := clock_timestamp();
    step CONSTANT interval := interval '1 second' / account.rate;
BEGIN
    IF account.paused_until > now THEN
        until := account.paused_until;
        RETURN;
    ELSIF account.failures >= 3 THEN
        -- One message finds out whether the provider is back; the others wait for it.
        account.paused_until := now + account.timeout;
    END IF;
    IF account.rate IS NOT NULL THEN
        IF account.next_slot_at > now + greatest(step, interval '100 ms')
            OR (account.queued_until > now AND NOT waited)
        THEN
            account.queued_until := greatest(account.queued_until, account.next_slot_at, now) + step;
            until := account.queued_until;
        ELSE
            account.next_slot_at := greatest(account.next_slot_at, now) + step;
        END IF;
    END IF;
    UPDATE msgstore.accounts a
    SET paused_until = account.paused_until, next_slot_at = account.next_slot_at,
        queued_until = account.queued_until
    WHERE a.tenant_id = account.tenant_id AND a.name = account.name
        AND (account.rate IS NOT NULL OR account.failures >= 3);
END
$$;

CREATE FUNCTION msgstore._build_request(message msgstore.messages, payload jsonb, account msgstore.accounts)
    RETURNS jsonb
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    api CONSTANT msgstore.provider_apis := msgstore._provider_api(account.provider);
    filling CONSTANT jsonb := msgstore._message_values(message, payload, account, api);
BEGIN
    IF filling ? 'problem' THEN
        RETURN filling;
    ELSIF api.protocol = 'smtp' THEN
        RETURN msgstore._mail_request(account, api, filling) || jsonb_build_object('auth', api.auth);
    END IF;
    RETURN msgstore._http_request(account, api, filling) || jsonb_build_object('auth', api.auth);
EXCEPTION
    WHEN data_exception OR syntax_error THEN
        RETURN jsonb_build_object('problem', format(
            'a template of provider "%s" is invalid: %s', account.provider, SQLERRM));
END
$$;

-- The channels whose messages msgstore-sender may claim; null for all of them, which
-- is the faster claim.
CREATE FUNCTION msgstore._account_channels() RETURNS text[]
    LANGUAGE sql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT CASE WHEN EXISTS (
            SELECT FROM msgstore.channels c
            WHERE c.provider IS NOT NULL AND c.name <> ALL (served.names))
        THEN served.names END
    FROM (
        SELECT ARRAY(
            SELECT DISTINCT n FROM msgstore.accounts a, unnest(a.channels) n
            WHERE msgstore._tenant_scope() IN ('', a.tenant_id) OR a.tenant_id = '') AS names
    ) served
    $$;

-- Long, because a message is claimed, matched, checked and handed out in one place.
CREATE FUNCTION msgstore.claim_requests(
    sender_id text,
    max_requests int DEFAULT 10,
    OUT message_id uuid,
    OUT tenant_id text,
    OUT account text,
    OUT attempt int,
    OUT correlation_id text,
    OUT method text,
    OUT url text,
    OUT headers text,
    OUT body text,
    OUT auth text,
    OUT secret_name text,
    OUT secret text,
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
    claimed record;
    item record;
    used msgstore.accounts;
    turn record;
    request jsonb;
    postponed boolean := false;
BEGIN
    PERFORM msgstore._check_scope_here();
    PERFORM msgstore._check_text('sender_id', claim_requests.sender_id, 255);
    IF msgstore._account_channels() = '{}' THEN
        RETURN;
    END IF;
    SELECT array_agg(c.tenant_id) AS tenants, array_agg(c.message_id) AS ids INTO claimed
    FROM msgstore.claim_outbound(
        claim_requests.sender_id, max_requests, msgstore._account_channels()) c;
    -- In one order, so that two claims do not deadlock.
    PERFORM FROM msgstore.accounts a
    WHERE (a.rate IS NOT NULL OR a.failures > 0 OR a.paused_until IS NOT NULL)
        AND (a.tenant_id = '' OR a.tenant_id = ANY (claimed.tenants))
    ORDER BY a.tenant_id, a.name FOR UPDATE;

    FOR item IN
        SELECT m AS message, p.payload, o.account IS NOT NULL AS waited,
               coalesce(f.attempt_count, 0) + 1 AS attempt
        FROM unnest(claimed.tenants, claimed.ids) AS q (tenant, id)
        JOIN msgstore.outbox o ON o.tenant_id = q.tenant AND o.message_id = q.id
        JOIN msgstore.messages m ON m.tenant_id = q.tenant AND m.id = q.id
        LEFT JOIN msgstore.outbound_payloads p ON p.tenant_id = q.tenant AND p.message_id = q.id
        LEFT JOIN msgstore.event_failures f ON f.tenant_id = q.tenant AND f.event_id = q.id
        ORDER BY o.message_id
    LOOP
        message_id := (item.message).id;
        tenant_id := (item.message).tenant_id;
        SELECT * INTO used FROM msgstore._account_for(
            tenant_id, (item.message).channel, (item.message)."from");
        IF used.name IS NULL THEN
            PERFORM msgstore._fail_outbound(
                tenant_id, message_id, 'invalid_routing', format(
                    'no account sends messages of channel "%s" from "%s"',
                    (item.message).channel, (item.message)."from"),
                claim_requests.sender_id, permanent => true);
            CONTINUE;
        END IF;
        UPDATE msgstore.outbox o SET account = used.name
        WHERE o.tenant_id = (item.message).tenant_id AND o.message_id = (item.message).id
            AND o.account IS DISTINCT FROM used.name;
        SELECT t.account, t.until INTO turn FROM msgstore._account_turn(used, item.waited) t;
        IF turn.until IS NOT NULL THEN
            PERFORM msgstore._postpone(tenant_id, message_id, turn.until);
            postponed := true;
            CONTINUE;
        END IF;
        request := msgstore._build_request(item.message, item.payload, used);
        IF request ? 'problem' THEN
            PERFORM msgstore._fail_outbound(
                tenant_id, message_id, 'invalid_request', request ->> 'problem',
                claim_requests.sender_id, permanent => true);
            CONTINUE;
        END IF;
        account := used.name;
        attempt := item.attempt;
        correlation_id := (item.message).correlation_id;
        method := request ->> 'method';
        url := request ->> 'url';
        headers := request ->> 'headers';
        body := request ->> 'body';
        auth := request ->> 'auth';
        secret_name := used.secret_name;
        secret := (SELECT s.secret FROM msgstore.account_secrets s
                   WHERE s.tenant_id = used.tenant_id AND s.account = used.name);
        timeout_ms := extract(epoch FROM used.timeout) * 1000;
        again := false;
        RETURN NEXT;
    END LOOP;
    -- The lease of a message that was given back leaves room for another one.
    IF postponed THEN
        SELECT NULL, true, NULL, NULL INTO message_id, again, secret, body;
        RETURN NEXT;
    END IF;
END
$$;

REVOKE ALL ON FUNCTION msgstore._account_for(text, text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._is_uncertain(text, uuid, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._postpone(text, uuid, timestamptz) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._account_turn(msgstore.accounts, boolean) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._build_request(msgstore.messages, jsonb, msgstore.accounts) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._account_channels() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.claim_requests(text, int) FROM PUBLIC;

COMMENT ON FUNCTION msgstore._account_for(text, text, text) IS
    'Returns the account that sends a message of this tenant, channel and sender''s address';
COMMENT ON FUNCTION msgstore._is_uncertain(text, uuid, text) IS
    'Returns whether a message whose sender is gone is left to a person, because its provider may have it';
COMMENT ON FUNCTION msgstore._postpone(text, uuid, timestamptz) IS
    'Ends the lease of a message, which can be claimed again from then on. Counts no attempt';
COMMENT ON FUNCTION msgstore._account_turn(msgstore.accounts, boolean) IS
    'Returns until when a message must wait for its account, by a pause or the rate; null if it can be sent now';
COMMENT ON FUNCTION msgstore._build_request(msgstore.messages, jsonb, msgstore.accounts) IS
    'Returns the request that sends the message, or a problem';
COMMENT ON FUNCTION msgstore._account_channels() IS
    'Returns the channels that have an account; null if these are all channels that have a provider';
COMMENT ON FUNCTION msgstore.claim_requests(text, int) IS
    'For msgstore-sender: leases messages as claim_outbound() does, and returns the requests that send them, to be made at once. secret is null if the sender must look it up under secret_name. A row with again means that messages wait for their account, and another claim may find more. Report each answer with record_answer(). Raises MS400 for an invalid argument';
