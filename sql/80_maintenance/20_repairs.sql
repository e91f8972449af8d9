-- maintenance: repairs, which the statements that check() proposes call. Replay
-- and erasure use some of them, too.

-- The conversations that a session locks to move messages between them. Existing
-- ones are locked first, by key. A session that adds messages locks the row, too,
-- or may have found it before and is waited for: see src/conversations/find.c. The
-- missing ones are created then, also by key. A session that creates a conversation
-- holds existing ones, so it must not wait for one that another session has created
-- meanwhile: then it starts over, and locks that one with the others.
-- conversations_add() does the same.
CREATE FUNCTION msgstore._hold_conversations(
    INOUT tenants text[],
    INOUT conversation_ids uuid[],
    wanted msgstore.conversation_rows[])
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = 'force_custom_plan'
    AS $$
DECLARE
    held record;
    made record;
    complete boolean;
BEGIN
    LOOP
        BEGIN
            SELECT array_agg(c.tenant_id) AS tenants, array_agg(c.id) AS ids,
                   array_agg(c.key) AS keys
            INTO held
            FROM (
                SELECT c.tenant_id, c.id, c.key
                FROM msgstore.conversation_rows c
                WHERE (c.tenant_id, c.id) IN (
                        SELECT * FROM unnest(tenants, conversation_ids))
                    OR (c.tenant_id, c.key) IN (
                        SELECT w.tenant_id, w.key FROM unnest(wanted) w)
                ORDER BY c.tenant_id, c.key
                FOR UPDATE) c;
            PERFORM msgstore._wait_for_adders(held.tenants, held.keys);
            WITH made AS (
                INSERT INTO msgstore.conversation_rows AS c (
                    tenant_id, channel, participant_a, participant_b, key)
                SELECT w.tenant_id, w.channel, w.participant_a, w.participant_b,
                       w.key
                FROM unnest(wanted) w
                WHERE NOT EXISTS (
                    SELECT FROM msgstore.conversation_rows c
                    WHERE c.tenant_id = w.tenant_id AND c.key = w.key)
                ORDER BY w.tenant_id, w.key
                ON CONFLICT (tenant_id, key) DO NOTHING
                RETURNING c.tenant_id, c.id)
            SELECT array_agg(m.tenant_id) AS tenants, array_agg(m.id) AS ids
            INTO made
            FROM made m;
            complete := NOT EXISTS (
                SELECT w.tenant_id, c.id
                FROM unnest(wanted) w
                LEFT JOIN msgstore.conversation_rows c
                    ON c.tenant_id = w.tenant_id AND c.key = w.key
                EXCEPT
                SELECT * FROM unnest(held.tenants || made.tenants,
                                     held.ids || made.ids));
            IF NOT complete THEN
                -- Releases the locks.
                RAISE EXCEPTION USING ERRCODE = 'MS409';
            END IF;
        EXCEPTION WHEN SQLSTATE 'MS409' THEN
        END;
        EXIT WHEN complete;
    END LOOP;
    tenants := held.tenants || made.tenants;
    conversation_ids := held.ids || made.ids;
END
$$;

-- Removes the changes of these conversations that are not merged. A row has
-- changes of others, too, which stay. Search learns of them as from a merge.
CREATE FUNCTION msgstore._drop_changes(tenants text[], conversation_ids uuid[])
    RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = 'force_custom_plan'
    AS $$
BEGIN
    PERFORM msgstore._hold_changes(true);
    WITH gone AS (
        DELETE FROM msgstore.conversation_changes c
        WHERE EXISTS (
            SELECT FROM msgstore._read_changes(c.changes) r
            WHERE (c.tenant_id, r.conversation_id) IN (
                SELECT * FROM unnest(tenants, conversation_ids)))
        RETURNING c.tenant_id, c.id, c.changes
    ), handed_on AS (
        INSERT INTO msgstore.search_changes (tenant_id, id, changes)
        SELECT g.tenant_id, g.id,
               string_agg(msgstore._write_change(
                   r.conversation_id, r.message_count, r.inbound_count,
                   r.last_activity_at), '')
        FROM gone g
        CROSS JOIN msgstore._read_changes(g.changes) r
        WHERE current_setting('msgstore.search')::boolean
            AND (g.tenant_id, r.conversation_id) IN (
                SELECT * FROM unnest(tenants, conversation_ids))
        GROUP BY g.tenant_id, g.id)
    INSERT INTO msgstore.conversation_changes (tenant_id, id, changes)
    SELECT g.tenant_id, msgstore.uuid7(),
           string_agg(msgstore._write_change(
               r.conversation_id, r.message_count, r.inbound_count,
               r.last_activity_at), '')
    FROM gone g
    CROSS JOIN msgstore._read_changes(g.changes) r
    WHERE (g.tenant_id, r.conversation_id) NOT IN (
        SELECT * FROM unnest(tenants, conversation_ids))
    GROUP BY g.tenant_id, g.id;
END
$$;

-- Messages that were removed were read and answered: without this, as many new ones
-- would not open their conversation again.
CREATE FUNCTION msgstore._fit_states(tenants text[], conversation_ids uuid[])
    RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = 'force_custom_plan'
    AS $$
DECLARE
    counted record;
BEGIN
    SELECT array_agg(r.tenant_id) AS tenants, array_agg(r.id) AS ids,
           array_agg(coalesce(a.inbound_count, 0)) AS inbound
    INTO counted
    FROM (SELECT DISTINCT * FROM unnest(tenants, conversation_ids)) AS r (tenant_id, id)
    LEFT JOIN msgstore.conversation_activity a
        ON a.tenant_id = r.tenant_id AND a.conversation_id = r.id;
    UPDATE msgstore.conversation_states s
    SET closed_inbound_count = c.inbound_count
    FROM unnest(counted.tenants, counted.ids, counted.inbound)
        AS c (tenant_id, conversation_id, inbound_count)
    WHERE s.tenant_id = c.tenant_id AND s.conversation_id = c.conversation_id
        AND s.closed_inbound_count > c.inbound_count;
    UPDATE msgstore.read_marks r
    SET inbound_count = c.inbound_count
    FROM unnest(counted.tenants, counted.ids, counted.inbound)
        AS c (tenant_id, conversation_id, inbound_count)
    WHERE r.tenant_id = c.tenant_id AND r.conversation_id = c.conversation_id
        AND r.inbound_count > c.inbound_count;
    PERFORM msgstore._clear_flags(counted.tenants, counted.ids, counted.inbound);
END
$$;

-- Counts the messages of conversations that the session holds: nobody adds any
-- until the transaction ends.
CREATE FUNCTION msgstore._recount_held(tenants text[], conversation_ids uuid[])
    RETURNS int
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = 'force_custom_plan'
    AS $$
DECLARE
    removed int;
BEGIN
    PERFORM msgstore._drop_changes(tenants, conversation_ids);

    INSERT INTO msgstore.conversation_activity AS a
    SELECT c.tenant_id, c.id, m.n, m.inbound, m.last
    FROM (SELECT DISTINCT * FROM unnest(tenants, conversation_ids)) AS r (tenant_id, id)
    JOIN msgstore.conversation_rows c USING (tenant_id, id)
    CROSS JOIN LATERAL (
        SELECT count(*)::int AS n,
               (count(*) FILTER (WHERE m.direction = 'inbound'))::int AS inbound,
               max(m."timestamp") AS last
        FROM msgstore.messages m
        WHERE m.tenant_id = c.tenant_id AND m.conversation_id = c.id) m
    WHERE m.n > 0
    ON CONFLICT ON CONSTRAINT conversation_activity_pkey DO UPDATE
    SET message_count = excluded.message_count,
        inbound_count = excluded.inbound_count,
        last_activity_at = excluded.last_activity_at
    WHERE (a.message_count, a.inbound_count, a.last_activity_at) IS DISTINCT FROM
          (excluded.message_count, excluded.inbound_count,
           excluded.last_activity_at);

    PERFORM msgstore._fit_states(tenants, conversation_ids);
    DELETE FROM msgstore.conversation_activity a
    USING unnest(tenants, conversation_ids) AS r (tenant_id, id)
    WHERE a.tenant_id = r.tenant_id AND a.conversation_id = r.id
        AND (NOT EXISTS (
                SELECT FROM msgstore.messages m
                WHERE m.tenant_id = r.tenant_id AND m.conversation_id = r.id)
            OR NOT EXISTS (
                SELECT FROM msgstore.conversation_rows c
                WHERE c.tenant_id = r.tenant_id AND c.id = r.id));
    DELETE FROM msgstore.conversation_rows c
    USING unnest(tenants, conversation_ids) AS r (tenant_id, id)
    WHERE c.tenant_id = r.tenant_id AND c.id = r.id
        AND NOT EXISTS (
            SELECT FROM msgstore.messages m
            WHERE m.tenant_id = r.tenant_id AND m.conversation_id = r.id)
        AND msgstore._is_empty_now(c.tenant_id, c.id);
    GET DIAGNOSTICS removed = ROW_COUNT;
    DELETE FROM msgstore.conversation_states s
    USING unnest(tenants, conversation_ids) AS r (tenant_id, id)
    WHERE s.tenant_id = r.tenant_id AND s.conversation_id = r.id
        AND NOT EXISTS (
            SELECT FROM msgstore.conversation_rows c
            WHERE c.tenant_id = r.tenant_id AND c.id = r.id);
    DELETE FROM msgstore.read_marks m
    USING unnest(tenants, conversation_ids) AS r (tenant_id, id)
    WHERE m.tenant_id = r.tenant_id AND m.conversation_id = r.id
        AND NOT EXISTS (
            SELECT FROM msgstore.conversation_rows c
            WHERE c.tenant_id = r.tenant_id AND c.id = r.id);
    RETURN removed;
END
$$;

CREATE FUNCTION msgstore._recount_conversations(tenants text[], conversation_ids uuid[])
    RETURNS int
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    PERFORM msgstore._hold_conversations(tenants, conversation_ids, '{}');
    RETURN msgstore._recount_held(tenants, conversation_ids);
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
    held record;
BEGIN
    -- Excludes replays and erasures, which lock conversations before messages.
    LOCK TABLE msgstore.operations_log IN SHARE UPDATE EXCLUSIVE MODE;
    SELECT m.* INTO message FROM msgstore.messages m
    WHERE m.tenant_id = _rehome_message.tenant_id
        AND m.id = _rehome_message.message_id
    FOR UPDATE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    held := msgstore._hold_conversations(
        ARRAY[message.tenant_id], ARRAY[message.conversation_id],
        ARRAY[ROW(message.tenant_id, NULL, NULL,
                  split_part(message.conversation_key, ':', 1),
                  split_part(substr(message.conversation_key,
                                    strpos(message.conversation_key, ':') + 1), '<->', 1),
                  split_part(message.conversation_key, '<->', 2),
                  message.conversation_key, NULL)::msgstore.conversation_rows]);
    UPDATE msgstore.messages m
    SET conversation_id = c.id
    FROM msgstore.conversation_rows c
    WHERE m.tenant_id = message.tenant_id AND m.id = message.id
        AND c.tenant_id = message.tenant_id AND c.key = message.conversation_key;
    PERFORM msgstore._recount_held(held.tenants, held.conversation_ids);
    PERFORM msgstore._reindex(ARRAY[message.tenant_id], ARRAY[message.id]);
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
    -- See _rehome_message().
    LOCK TABLE msgstore.operations_log IN SHARE UPDATE EXCLUSIVE MODE;
    UPDATE msgstore.messages m
    SET "from" = n."from",
        "to" = n."to",
        from_given = nullif(n.from_given, n."from"),
        to_given = nullif(n.to_given, n."to"),
        -- Not that of a group, or of another conversation that it replies to.
        conversation_key = CASE WHEN m.conversation_key
                = c.thread || ':' || least(m."from", m."to") || '<->' || greatest(m."from", m."to")
            THEN c.thread || ':' || least(n."from" COLLATE "C", n."to")
                 || '<->' || greatest(n."from" COLLATE "C", n."to")
            ELSE m.conversation_key END
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

REVOKE ALL ON FUNCTION msgstore._hold_conversations(text[], uuid[], msgstore.conversation_rows[]) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._drop_changes(text[], uuid[]) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._fit_states(text[], uuid[]) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._recount_held(text[], uuid[]) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._recount_conversations(text[], uuid[]) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._drop_work(text, uuid) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._drop_dead_letter(text, uuid) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._rehome_message(text, uuid) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._renormalize_message(text, uuid) FROM PUBLIC;

COMMENT ON FUNCTION msgstore._hold_conversations(text[], uuid[], msgstore.conversation_rows[]) IS
    'Locks these conversations and, creating them if needed, those with the tenants and keys of the wanted ones. Returns the keys of all of them';
COMMENT ON FUNCTION msgstore._drop_changes(text[], uuid[]) IS
    'Deletes the changes of these conversations from conversation_changes';
COMMENT ON FUNCTION msgstore._fit_states(text[], uuid[]) IS
    'Brings conversation_states and read_marks of these conversations in line with their recounted messages';
COMMENT ON FUNCTION msgstore._recount_held(text[], uuid[]) IS
    'Recomputes counts and last activity of these conversations, which the transaction holds, and deletes those without messages. Returns the number deleted';
COMMENT ON FUNCTION msgstore._recount_conversations(text[], uuid[]) IS
    'Locks these conversations, recomputes counts and last activity, and deletes those without messages. Returns the number deleted';
COMMENT ON FUNCTION msgstore._drop_work(text, uuid) IS
    'Removes an event from the queue, with its claim and its hold on its conversation';
COMMENT ON FUNCTION msgstore._drop_dead_letter(text, uuid) IS
    'Removes a dead letter but not its event or message';
COMMENT ON FUNCTION msgstore._rehome_message(text, uuid) IS
    'Moves a message to the conversation with its conversation_key, creating it if needed';
COMMENT ON FUNCTION msgstore._renormalize_message(text, uuid) IS
    'Normalizes the addresses of a message by the present rules of its channel, and moves it to the conversation of the result';
