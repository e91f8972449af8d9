-- maintenance: erasure of all data of one address.

-- Dead letters go first: the DELETE waits for a concurrent requeue, and the next
-- statement sees the queue rows that it added.
CREATE FUNCTION msgstore._erase_work(events uuid[], messages uuid[])
    RETURNS TABLE (what text, removed bigint)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = 'force_custom_plan'
    AS $$
DECLARE
    own CONSTANT text := msgstore._tenant_scope();
    gone record;
BEGIN
    what := 'dead_letters';
    WITH gone AS (
        DELETE FROM msgstore.dead_letters d
        WHERE d.event_id = ANY (events || messages) AND own IN ('', d.tenant_id)
        RETURNING d.tenant_id, d.event_id)
    SELECT array_agg(g.tenant_id) AS tenants, array_agg(g.event_id) AS ids,
           count(*) AS n
    INTO gone
    FROM gone g;
    PERFORM msgstore._move_all('dead_letters', gone.tenants, gone.ids, -1);
    removed := gone.n;
    RETURN NEXT;
    what := 'event_queue';
    WITH gone AS (
        DELETE FROM msgstore.event_queue q
        WHERE q.event_id = ANY (events) AND own IN ('', q.tenant_id)
        RETURNING q.tenant_id, q.event_id)
    SELECT array_agg(g.tenant_id) AS tenants, array_agg(g.event_id) AS ids,
           count(*) AS n
    INTO gone
    FROM gone g;
    PERFORM msgstore._move_all('queued', gone.tenants, gone.ids, -1);
    removed := gone.n;
    RETURN NEXT;
    what := 'event_claims';
    DELETE FROM msgstore.event_claims c
    WHERE c.event_id = ANY (events) AND own IN ('', c.tenant_id);
    GET DIAGNOSTICS removed = ROW_COUNT;
    RETURN NEXT;
    what := 'conversation_holds';
    WITH gone AS (
        DELETE FROM msgstore.conversation_holds h
        WHERE h.event_id = ANY (events) AND own IN ('', h.tenant_id)
        RETURNING h.tenant_id, h.conversation_key)
    SELECT array_agg(g.tenant_id) AS tenants, array_agg(g.conversation_key) AS keys,
           count(*) AS n
    INTO gone
    FROM gone g;
    removed := gone.n;
    -- An event that came in during the erasure may wait behind these.
    WITH due AS (
        UPDATE msgstore.event_queue q
        SET next_attempt_at = now()
        FROM (SELECT DISTINCT * FROM unnest(gone.tenants, gone.keys)) g
                 (tenant_id, conversation_key)
        JOIN msgstore.conversation_holds h
            ON h.tenant_id = g.tenant_id AND h.conversation_key = g.conversation_key
        WHERE q.tenant_id = h.tenant_id AND q.event_id = h.event_id
            AND q.next_attempt_at = 'infinity'
            AND NOT EXISTS (
                SELECT FROM msgstore.event_claims c
                WHERE c.tenant_id = q.tenant_id AND c.event_id = q.event_id)
        RETURNING q.lane)
    SELECT count(msgstore._wake_for_retry(now(), d.lane)) INTO gone FROM due d;
    RETURN NEXT;
    what := 'event_failures';
    DELETE FROM msgstore.event_failures f
    WHERE f.event_id = ANY (events || messages) AND own IN ('', f.tenant_id);
    GET DIAGNOSTICS removed = ROW_COUNT;
    RETURN NEXT;
    what := 'id_conflicts';
    DELETE FROM msgstore.id_conflicts c
    WHERE c.event_id = ANY (events) AND own IN ('', c.tenant_id);
    GET DIAGNOSTICS removed = ROW_COUNT;
    RETURN NEXT;
    what := 'outbox';
    DELETE FROM msgstore.outbox o
    WHERE o.message_id = ANY (messages) AND own IN ('', o.tenant_id);
    GET DIAGNOSTICS removed = ROW_COUNT;
    RETURN NEXT;
    what := 'outbound_payloads';
    DELETE FROM msgstore.outbound_payloads p
    WHERE p.message_id = ANY (messages) AND own IN ('', p.tenant_id);
    GET DIAGNOSTICS removed = ROW_COUNT;
    RETURN NEXT;
    what := 'idempotency_keys';
    -- A session that takes over an expired key may wait for a conversation that
    -- is locked here. Its key then belongs to something else, so it is skipped;
    -- if that session fails, the expired key is removed like any other.
    WITH own_keys AS MATERIALIZED (
        SELECT k.tenant_id, k.scope, k.key, k.expires_at
        FROM msgstore.idempotency_keys k
        WHERE k.result_id = ANY (events || messages) AND own IN ('', k.tenant_id)
    ), free AS MATERIALIZED (
        SELECT k.tenant_id, k.scope, k.key
        FROM own_keys o
        JOIN msgstore.idempotency_keys k
            ON k.tenant_id = o.tenant_id AND k.scope = o.scope AND k.key = o.key
        WHERE o.expires_at <= now()
        FOR UPDATE OF k SKIP LOCKED
    ), live AS MATERIALIZED (
        SELECT k.tenant_id, k.scope, k.key
        FROM own_keys o
        JOIN msgstore.idempotency_keys k
            ON k.tenant_id = o.tenant_id AND k.scope = o.scope AND k.key = o.key
        WHERE o.expires_at > now() OR o.expires_at IS NULL
        ORDER BY k.tenant_id, k.scope, k.key
        FOR UPDATE OF k)
    DELETE FROM msgstore.idempotency_keys k
    USING (SELECT * FROM free UNION ALL SELECT * FROM live) d
    WHERE k.tenant_id = d.tenant_id AND k.scope = d.scope AND k.key = d.key
        AND k.result_id = ANY (events || messages);
    GET DIAGNOSTICS removed = ROW_COUNT;
    RETURN NEXT;
END
$$;

CREATE FUNCTION msgstore._erase_messages(
    events uuid[],
    messages uuid[],
    tenants text[],
    conversation_ids uuid[],
    erased text)
    RETURNS TABLE (what text, removed bigint)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = 'force_custom_plan'
    AS $$
DECLARE
    own CONSTANT text := msgstore._tenant_scope();
    gone record;
BEGIN
    what := 'messages';
    WITH gone AS (
        DELETE FROM msgstore.messages m
        WHERE m.id = ANY (messages) AND own IN ('', m.tenant_id)
        RETURNING m.tenant_id, m.conversation_id)
    SELECT array_agg(g.tenant_id) AS tenants,
           array_agg(g.conversation_id) AS ids, count(*) AS n
    INTO gone
    FROM gone g;
    removed := gone.n;
    RETURN NEXT;
    what := 'conversations';
    removed := coalesce(msgstore._recount_held(
        tenants || gone.tenants, conversation_ids || gone.ids), 0);
    RETURN NEXT;
    what := 'search_entries';
    PERFORM msgstore._hold_search(true);
    DELETE FROM msgstore.search_entries e
    WHERE e.message_id = ANY (messages) AND own IN ('', e.tenant_id);
    GET DIAGNOSTICS removed = ROW_COUNT;
    DELETE FROM msgstore.search_addresses a
    USING unnest(tenants || gone.tenants, conversation_ids || gone.ids)
        AS c (tenant_id, id)
    WHERE a.tenant_id = c.tenant_id AND a.conversation_id = c.id
        AND NOT EXISTS (
            SELECT FROM msgstore.conversation_rows r
            WHERE r.tenant_id = c.tenant_id AND r.id = c.id);
    RETURN NEXT;
    -- Of conversations that are not empty: a message came after all.
    what := 'contact_names';
    UPDATE msgstore.conversation_states s
    SET contact_name = NULL
    FROM unnest(tenants, conversation_ids) AS c (tenant_id, id)
    WHERE s.tenant_id = c.tenant_id AND s.conversation_id = c.id
        AND s.contact_name IS NOT NULL;
    GET DIAGNOSTICS removed = ROW_COUNT;
    RETURN NEXT;
    what := 'deliveries';
    WITH gone AS (
        DELETE FROM msgstore.deliveries d
        WHERE d.message_id = ANY (messages) AND own IN ('', d.tenant_id)
        RETURNING d.tenant_id, d.channel, d.provider_message_id)
    SELECT array_agg(g.tenant_id) AS tenants, array_agg(g.channel) AS channels,
           array_agg(g.provider_message_id) AS ids, count(*) AS n
    INTO gone
    FROM gone g;
    removed := gone.n;
    RETURN NEXT;
    what := 'delivery_statuses';
    DELETE FROM msgstore.delivery_statuses s
    USING unnest(gone.tenants, gone.channels, gone.ids)
        AS g (tenant_id, channel, provider_message_id)
    WHERE s.tenant_id = g.tenant_id AND s.channel = g.channel
        AND s.provider_message_id = g.provider_message_id;
    GET DIAGNOSTICS removed = ROW_COUNT;
    RETURN NEXT;
    what := 'message_parts';
    DELETE FROM msgstore.message_parts p
    WHERE own IN ('', p.tenant_id) AND erased IN (p."from", p."to");
    GET DIAGNOSTICS removed = ROW_COUNT;
    RETURN NEXT;
    what := 'thread_ids';
    DELETE FROM msgstore.thread_ids t
    WHERE own IN ('', t.tenant_id)
        AND (t.message_id = ANY (events) OR erased = ANY (t.people || t.participants));
    GET DIAGNOSTICS removed = ROW_COUNT;
    RETURN NEXT;
    what := 'attachments';
    DELETE FROM msgstore.attachments a
    WHERE a.message_id = ANY (events) AND own IN ('', a.tenant_id);
    GET DIAGNOSTICS removed = ROW_COUNT;
    RETURN NEXT;
    what := 'event_log';
    DELETE FROM msgstore.event_log l
    WHERE l.id = ANY (events) AND own IN ('', l.tenant_id);
    GET DIAGNOSTICS removed = ROW_COUNT;
    RETURN NEXT;
END
$$;

-- An opt-out remains: without it, the next message to the address would be sent.
CREATE FUNCTION msgstore._erase_consent(channels text[], address text) RETURNS bigint
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    own CONSTANT text := msgstore._tenant_scope();
    removed bigint;
BEGIN
    DELETE FROM msgstore.consent_log l
    WHERE own IN ('', l.tenant_id) AND address IN (l.recipient, l.sender)
        AND l.channel IN (SELECT msgstore._consent_channel(c) FROM unnest(channels) c);
    GET DIAGNOSTICS removed = ROW_COUNT;
    RETURN removed;
END
$$;

-- Also by the given forms: a message may be stored under an identity of older
-- rules.
CREATE FUNCTION msgstore._names_address(
    channel text,
    sender text,
    recipient text,
    sender_given text,
    recipient_given text,
    address text)
    RETURNS boolean
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN address IN (sender, recipient)
        OR coalesce(address IN (
            msgstore.normalize_address(channel, sender_given),
            msgstore.normalize_address(channel, recipient_given)), false);

-- A key is channel:a<->b, or channel:a<->b,c for a group.
CREATE FUNCTION msgstore._key_names(key text, address text) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN strpos(key, address) > 0 AND (
        split_part(key, '<->', 2) = address
        OR address = ANY (string_to_array(split_part(key, '<->', 2), ','))
        OR substr(split_part(key, '<->', 1), strpos(key, ':') + 1) = address);

-- A refused event can have the address in any field, in a list, or in no object.
CREATE FUNCTION msgstore._erase_refused(
    channel_names text[],
    channel text,
    address text)
    RETURNS bigint
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    own CONSTANT text := msgstore._tenant_scope();
    erased CONSTANT text := msgstore.normalize_address(channel, address);
    removed bigint;
BEGIN
    DELETE FROM msgstore.refused_events r
    WHERE own IN ('', r.tenant_id)
        AND (r.channel = ANY (channel_names)
             OR r.channel IS NULL
             OR NOT EXISTS (
                 SELECT FROM msgstore.channels c WHERE c.name = r.channel))
        AND EXISTS (
            SELECT FROM jsonb_path_query(r.payload, '$.**') AS v,
                regexp_split_to_table(v #>> '{}', '[,;]') AS part
            WHERE jsonb_typeof(v) = 'string' AND erased IN (
                msgstore.normalize_address(_erase_refused.channel, v #>> '{}'),
                msgstore.normalize_address(_erase_refused.channel, part)));
    GET DIAGNOSTICS removed = ROW_COUNT;
    RETURN removed;
END
$$;

-- Locks rows in the order in which requeues, workers and senders lock them, and
-- searches for messages again once the events are locked: a message that a worker
-- made in between is erased as well. One function, so that the order of the locks
-- can be read in one place.
CREATE FUNCTION msgstore.erase_address(channel text, address text)
    RETURNS TABLE (what text, removed bigint)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = 'force_custom_plan'
    AS $$
DECLARE
    own CONSTANT text := msgstore._tenant_scope();
    erased CONSTANT text := msgstore.normalize_address(channel, address);
    channel_names text[];
    thread_names text[];
    events uuid[];
    messages uuid[];
    conversations record;
    total bigint := 0;
BEGIN
    PERFORM msgstore._check_all_here();
    IF channel IS NULL OR erased IS NULL OR erased = '' THEN
        RAISE EXCEPTION 'field "%" is blank',
            CASE WHEN channel IS NULL THEN 'channel' ELSE 'address' END
            USING ERRCODE = 'MS400',
                  DETAIL = 'The field must be a non-blank string.';
    END IF;
    -- Excludes replays (see replay()) and requeues: a message that came back from the
    -- dead letters, and failed again, would not be found in either table.
    LOCK TABLE msgstore.operations_log IN SHARE ROW EXCLUSIVE MODE;
    -- Channels with the same thread share their conversations.
    SELECT array_agg(c.name), array_agg(c.name) || array_agg(c.thread)
    INTO channel_names, thread_names
    FROM msgstore.channels c
    WHERE c.thread = (SELECT t.thread FROM msgstore.channels t
                      WHERE t.name = erase_address.channel);

    events := ARRAY(
        SELECT l.id FROM msgstore.event_log l
        WHERE l.channel = ANY (channel_names) AND own IN ('', l.tenant_id)
            AND (erased IN (l."from", l."to")
                 OR l.payload -> 'conversation_participants' ? erased
                 OR erased IN (
                     msgstore.normalize_address(l.channel, l.payload ->> 'from'),
                     msgstore.normalize_address(l.channel, l.payload ->> 'to'))));
    -- Workers and processors keep lines only while they hold the lane: no event
    -- shall join a line whose first event is erased.
    PERFORM msgstore._wait_for_lanes(array_agg(DISTINCT msgstore._lane(
        l.tenant_id, l.channel, l."from", l."to")))
    FROM msgstore.event_log l
    WHERE l.id = ANY (events) AND own IN ('', l.tenant_id)
        AND (EXISTS (
                SELECT FROM msgstore.event_queue q
                WHERE q.tenant_id = l.tenant_id AND q.event_id = l.id)
            OR EXISTS (
                SELECT FROM msgstore.dead_letters d
                WHERE d.tenant_id = l.tenant_id AND d.event_id = l.id));
    PERFORM FROM (
        SELECT FROM msgstore.dead_letters d
        WHERE d.event_id = ANY (events) AND own IN ('', d.tenant_id)
        ORDER BY d.tenant_id, d.event_id
        FOR UPDATE) locked;
    PERFORM FROM (
        SELECT FROM msgstore.event_queue q
        WHERE q.event_id = ANY (events) AND own IN ('', q.tenant_id)
        ORDER BY q.tenant_id, q.event_id
        FOR UPDATE) locked;
    SELECT array_agg(c.tenant_id) AS tenants, array_agg(c.id) AS ids,
           array_agg(c.key) AS keys
    INTO conversations
    FROM (
        SELECT c.tenant_id, c.id, c.key
        FROM msgstore.conversation_rows c
        WHERE own IN ('', c.tenant_id)
            AND (c.channel = ANY (thread_names)
                 AND msgstore._key_names(c.key, erased)
                 OR (c.tenant_id, c.id) IN (
                     SELECT m.tenant_id, m.conversation_id
                     FROM msgstore.messages m
                     WHERE m.id = ANY (events)
                             AND m.inbound_event_id = m.id
                         OR m.channel = ANY (channel_names)
                             AND msgstore._names_address(
                                 m.channel, m."from", m."to", m.from_given,
                                 m.to_given, erased)))
        ORDER BY c.tenant_id, c.key
        FOR UPDATE) c;
    -- See _hold_conversations().
    PERFORM msgstore._wait_for_adders(conversations.tenants, conversations.keys);
    -- A message whose conversation was created since then is like one that comes
    -- after the erasure: to lock its conversation now would be out of order.
    messages := ARRAY(
        SELECT m.id FROM msgstore.messages m
        WHERE own IN ('', m.tenant_id)
            AND (m.id = ANY (events) AND m.inbound_event_id = m.id
                 OR m.channel = ANY (channel_names)
                     AND (msgstore._names_address(
                              m.channel, m."from", m."to", m.from_given,
                              m.to_given, erased)
                          OR msgstore._key_names(m.conversation_key, erased)))
            AND ((m.tenant_id, m.conversation_id) IN (
                    SELECT * FROM unnest(conversations.tenants, conversations.ids))
                 OR NOT EXISTS (
                    SELECT FROM msgstore.conversation_rows c
                    WHERE c.tenant_id = m.tenant_id
                        AND c.id = m.conversation_id)));
    PERFORM FROM (
        SELECT FROM msgstore.outbox o
        WHERE o.message_id = ANY (messages) AND own IN ('', o.tenant_id)
        ORDER BY o.tenant_id, o.message_id
        FOR UPDATE) locked;
    -- After the outbox: no other message of these becomes a dead letter now.
    PERFORM FROM (
        SELECT FROM msgstore.dead_letters d
        WHERE d.event_id = ANY (messages) AND own IN ('', d.tenant_id)
        ORDER BY d.tenant_id, d.event_id
        FOR UPDATE) locked;
    PERFORM FROM (
        SELECT FROM msgstore.messages m
        WHERE m.id = ANY (messages) AND own IN ('', m.tenant_id)
        ORDER BY m.tenant_id, m.id
        FOR UPDATE) locked;
    -- Includes the events of messages that name the address when the event does not.
    events := ARRAY(
        SELECT e FROM unnest(events) e
        UNION
        SELECT m.inbound_event_id FROM msgstore.messages m
        WHERE m.id = ANY (messages) AND m.inbound_event_id IS NOT NULL);
    -- In the order in which a purge locks them: see _walk_log().
    PERFORM FROM (
        SELECT FROM msgstore.event_failures f
        JOIN msgstore.event_log l ON l.tenant_id = f.tenant_id AND l.id = f.event_id
        WHERE f.event_id = ANY (events) AND own IN ('', f.tenant_id)
        ORDER BY l.tenant_id DESC, l.id
        FOR UPDATE OF f) locked;
    PERFORM FROM (
        SELECT FROM msgstore.event_log l
        WHERE l.id = ANY (events) AND own IN ('', l.tenant_id)
        ORDER BY l.tenant_id DESC, l.id
        FOR UPDATE) locked;

    PERFORM msgstore._report_progress(
        'erase', 'removing events and messages', 0, cardinality(events || messages));
    FOR what, removed IN
        SELECT * FROM msgstore._erase_work(events, messages)
        UNION ALL
        SELECT * FROM msgstore._erase_messages(
            events, messages, conversations.tenants, conversations.ids, erased)
        UNION ALL
        SELECT 'refused_events', msgstore._erase_refused(
            channel_names, channel, address)
        UNION ALL
        SELECT 'consent_log', msgstore._erase_consent(channel_names, erased)
    LOOP
        total := total + CASE WHEN what IN ('messages', 'event_log', 'refused_events')
                              THEN removed ELSE 0 END;
        RETURN NEXT;
    END LOOP;
    IF total > 0 THEN
        PERFORM msgstore._log_operation(
            'erase', jsonb_build_object('channel', channel), total, NULL);
    END IF;
END
$$;

REVOKE ALL ON FUNCTION msgstore._erase_consent(text[], text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._erase_work(uuid[], uuid[]) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._erase_messages(uuid[], uuid[], text[], uuid[], text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._names_address(text, text, text, text, text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._key_names(text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._erase_refused(text[], text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.erase_address(text, text) FROM PUBLIC;

COMMENT ON FUNCTION msgstore._erase_consent(text[], text) IS
    'Removes the entries of the address from the record of consent. Returns their number';
COMMENT ON FUNCTION msgstore._erase_work(uuid[], uuid[]) IS
    'Removes these events and messages from the queue, the outbox, and the dead letters, with their claims, holds, failures, and idempotency keys. Returns the number of rows for each table';
COMMENT ON FUNCTION msgstore._erase_messages(uuid[], uuid[], text[], uuid[], text) IS
    'Removes these messages with their deliveries and delivery statuses, the conversations left empty, and the events with their attachments. Returns the number of rows for each table';
COMMENT ON FUNCTION msgstore._names_address(text, text, text, text, text, text) IS
    'Returns whether a message is from or to the normalized address, by its stored identity or by the present rules of its channel';
COMMENT ON FUNCTION msgstore._key_names(text, text) IS
    'Returns whether a conversation''s key names the normalized address';
COMMENT ON FUNCTION msgstore._erase_refused(text[], text, text) IS
    'Removes the refused events of these channels, and of no channel, that name the address. Returns their number';
COMMENT ON FUNCTION msgstore.erase_address(text, text) IS
    'Removes all data of an address on a channel and the channels that share its threads: messages from and to it and in conversations that name it, conversations, events, attachments, refused events, dead letters, deliveries, and idempotency keys. Returns the number of rows for each table. Logs the call in operations_log, without the address. Raises MS400 for an unknown channel or a blank address';
