-- maintenance: repairs, which the statements that check() proposes call. Replay
-- and erasure use _recount_conversations(), too.

-- Every writer that adds a message locks its conversation's row first. Counts
-- taken after the lock therefore hold until the transaction ends.
CREATE FUNCTION msgstore._recount_conversations(tenants text[], conversation_ids uuid[])
    RETURNS int
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = 'force_custom_plan'
    AS $$
DECLARE
    removed int;
BEGIN
    PERFORM FROM (
        SELECT FROM unnest(tenants, conversation_ids) AS r (tenant_id, id)
        JOIN msgstore.conversations c USING (tenant_id, id)
        ORDER BY c.tenant_id, c.key
        FOR UPDATE OF c) locked;

    UPDATE msgstore.conversations c
    SET message_count = m.n, last_activity_at = m.last
    FROM unnest(tenants, conversation_ids) AS r (tenant_id, id)
    CROSS JOIN LATERAL (
        SELECT count(*)::int AS n, max(m."timestamp") AS last
        FROM msgstore.messages m
        WHERE m.tenant_id = r.tenant_id AND m.conversation_id = r.id) m
    WHERE c.tenant_id = r.tenant_id AND c.id = r.id AND m.n > 0
        AND (c.message_count, c.last_activity_at) IS DISTINCT FROM (m.n, m.last);

    DELETE FROM msgstore.conversations c
    USING unnest(tenants, conversation_ids) AS r (tenant_id, id)
    WHERE c.tenant_id = r.tenant_id AND c.id = r.id
        AND NOT EXISTS (
            SELECT FROM msgstore.messages m
            WHERE m.tenant_id = r.tenant_id AND m.conversation_id = r.id);
    GET DIAGNOSTICS removed = ROW_COUNT;
    RETURN removed;
END
$$;

-- An event that was held behind this one in its conversation becomes due.
CREATE FUNCTION msgstore._drop_work(tenant_id text, event_id uuid) RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
DECLARE
    held_key text;
BEGIN
    DELETE FROM msgstore.event_queue q
    WHERE q.tenant_id = _drop_work.tenant_id AND q.event_id = _drop_work.event_id;
    IF FOUND THEN
        PERFORM msgstore._move_all(
            'queued', ARRAY[_drop_work.tenant_id], ARRAY[_drop_work.event_id], -1);
    END IF;
    DELETE FROM msgstore.event_claims c
    WHERE c.tenant_id = _drop_work.tenant_id AND c.event_id = _drop_work.event_id;
    DELETE FROM msgstore.conversation_holds h
    WHERE h.tenant_id = _drop_work.tenant_id AND h.event_id = _drop_work.event_id
    RETURNING h.conversation_key INTO held_key;
    UPDATE msgstore.event_queue q
    SET next_attempt_at = now()
    FROM msgstore.conversation_holds h
    WHERE h.tenant_id = _drop_work.tenant_id AND h.conversation_key = held_key
        AND q.tenant_id = h.tenant_id AND q.event_id = h.event_id
        AND q.next_attempt_at = 'infinity'
        AND NOT EXISTS (
            SELECT FROM msgstore.event_claims c
            WHERE c.tenant_id = q.tenant_id AND c.event_id = q.event_id);
    PERFORM msgstore._announce();
END
$$;

CREATE FUNCTION msgstore._drop_dead_letter(tenant_id text, event_id uuid)
    RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
BEGIN
    DELETE FROM msgstore.dead_letters d
    WHERE d.tenant_id = _drop_dead_letter.tenant_id
        AND d.event_id = _drop_dead_letter.event_id;
    IF FOUND THEN
        PERFORM msgstore._move_all(
            'dead_letters', ARRAY[_drop_dead_letter.tenant_id],
            ARRAY[_drop_dead_letter.event_id], -1);
    END IF;
END
$$;

CREATE FUNCTION msgstore._rehome_message(tenant_id text, message_id uuid)
    RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
DECLARE
    message msgstore.messages;
    home uuid;
BEGIN
    SELECT m.* INTO message FROM msgstore.messages m
    WHERE m.tenant_id = _rehome_message.tenant_id
        AND m.id = _rehome_message.message_id
    FOR UPDATE;
    INSERT INTO msgstore.conversations AS c
        (tenant_id, channel, participant_a, participant_b, key, last_activity_at)
    SELECT message.tenant_id, split_part(message.conversation_key, ':', 1),
           least(message."from", message."to"),
           greatest(message."from", message."to"),
           message.conversation_key, message."timestamp"
    WHERE message.id IS NOT NULL
    ON CONFLICT (tenant_id, key) DO UPDATE SET message_count = c.message_count
    RETURNING c.id INTO home;
    UPDATE msgstore.messages m
    SET conversation_id = home
    WHERE m.tenant_id = message.tenant_id AND m.id = message.id;
    PERFORM msgstore._recount_conversations(
        ARRAY[message.tenant_id, message.tenant_id],
        ARRAY[home, message.conversation_id]);
END
$$;

-- For messages that replay() does not rebuild: outbound ones, and inbound ones
-- whose payload was purged.
CREATE FUNCTION msgstore._renormalize_message(tenant_id text, message_id uuid)
    RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
BEGIN
    UPDATE msgstore.messages m
    SET "from" = n."from",
        "to" = n."to",
        from_given = nullif(n.from_given, n."from"),
        to_given = nullif(n.to_given, n."to"),
        conversation_key = c.thread || ':' || least(n."from" COLLATE "C", n."to")
            || '<->' || greatest(n."from" COLLATE "C", n."to")
    FROM (
        SELECT o.tenant_id, o.id, o.channel, o.from_given, o.to_given,
               msgstore._identity(o.channel, o.from_given, o."from") AS "from",
               msgstore._identity(o.channel, o.to_given, o."to") AS "to"
        FROM (
            SELECT m.tenant_id, m.id, m.channel, m."from", m."to",
                   coalesce(m.from_given, m."from") AS from_given,
                   coalesce(m.to_given, m."to") AS to_given
            FROM msgstore.messages m
            WHERE m.tenant_id = _renormalize_message.tenant_id
                AND m.id = _renormalize_message.message_id
            FOR UPDATE) o) n
    JOIN msgstore.channels c ON c.name = n.channel
    WHERE m.tenant_id = n.tenant_id AND m.id = n.id;
    PERFORM msgstore._rehome_message(tenant_id, message_id);
END
$$;

REVOKE ALL ON FUNCTION msgstore._recount_conversations(text[], uuid[]) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._drop_work(text, uuid) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._drop_dead_letter(text, uuid) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._rehome_message(text, uuid) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._renormalize_message(text, uuid) FROM PUBLIC;

COMMENT ON FUNCTION msgstore._recount_conversations(text[], uuid[]) IS
    'Locks these conversations, recomputes message_count and last_activity_at, and deletes those without messages. Returns the number deleted';
COMMENT ON FUNCTION msgstore._drop_work(text, uuid) IS
    'Removes an event from the queue, with its claim and its hold on its conversation';
COMMENT ON FUNCTION msgstore._drop_dead_letter(text, uuid) IS
    'Removes a dead letter but not its event or message';
COMMENT ON FUNCTION msgstore._rehome_message(text, uuid) IS
    'Moves a message to the conversation with its conversation_key, creating it if needed';
COMMENT ON FUNCTION msgstore._renormalize_message(text, uuid) IS
    'Normalizes the addresses of a message by the present rules of its channel, and moves it to the conversation of the result';
