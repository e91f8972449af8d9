-- maintenance: replay, which rebuilds messages from the event log.

CREATE FUNCTION msgstore._messages_of(tenants text[], event_ids uuid[])
    RETURNS TABLE (
        tenant_id text,
        id uuid,
        channel text,
        thread text,
        key text,
        "from" text,
        "to" text,
        provider_message_id text,
        correlation_id text,
        body text,
        attachments jsonb,
        "timestamp" timestamptz,
        from_given text,
        to_given text,
        subject text)
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'msgstore_messages_of';

CREATE FUNCTION msgstore._read_replay_filter(
    filter jsonb,
    OUT channel text,
    OUT created_from timestamptz,
    OUT created_until timestamptz,
    OUT event_ids uuid[],
    OUT conversation_tenant text,
    OUT conversation_id uuid)
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    name text;
    value jsonb;
    expected text;
    parent msgstore.conversations;
BEGIN
    IF jsonb_typeof(filter) IS DISTINCT FROM 'object' THEN
        RAISE EXCEPTION 'filter is not a JSON object'
            USING ERRCODE = 'MS400',
                  DETAIL = 'The filter must be a JSON object; {} selects all events.';
    END IF;
    FOR name, value IN SELECT * FROM jsonb_each(filter) LOOP
        IF value = 'null' THEN
            expected := 'Omit a key instead of setting it to null.';
            RAISE no_data_found;
        END IF;
        CASE name
            WHEN 'channel' THEN
                channel := value #>> '{}';
                PERFORM msgstore.normalize_address(channel, '');
            WHEN 'created_from' THEN
                expected := 'The value must be a timestamp string such as "2024-11-01T14:00:00Z".';
                created_from := value #>> '{}';
            WHEN 'created_until' THEN
                expected := 'The value must be a timestamp string such as "2024-11-01T14:00:00Z".';
                created_until := value #>> '{}';
            WHEN 'event_ids' THEN
                expected := 'The value must be an array of UUIDs.';
                event_ids := ARRAY(SELECT jsonb_array_elements_text(value)::uuid);
            WHEN 'conversation' THEN
                parent := msgstore._find_conversation(value #>> '{}');
                conversation_tenant := parent.tenant_id;
                conversation_id := parent.id;
            ELSE
                RAISE EXCEPTION 'unknown filter key "%"', left(name, 64)
                    USING ERRCODE = 'MS400',
                          DETAIL = 'Valid keys are channel, created_from, created_until, event_ids, and conversation.';
        END CASE;
    END LOOP;
EXCEPTION
    WHEN no_data_found OR data_exception THEN
        RAISE EXCEPTION 'invalid value "%" for filter key "%"',
            left(coalesce(value #>> '{}', 'null'), 64), name
            USING ERRCODE = 'MS400', DETAIL = expected;
END
$$;

-- Long, because its loop is one query: select, rebuild, and compare a batch.
CREATE FUNCTION msgstore._note_replay(filter jsonb) RETURNS int
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = 'force_custom_plan'
    -- The sort that then groups the batches stays within work_mem.
    SET enable_hashagg = off
    AS $$
DECLARE
    wanted CONSTANT record := msgstore._read_replay_filter(filter);
    scope CONSTANT text := msgstore._tenant_scope();
    events int := 0;
    batch record;
    made int;
BEGIN
    CREATE TEMP TABLE msgstore_replay (
        tenant_id text COLLATE "C", id uuid, channel text, thread text COLLATE "C",
        key text COLLATE "C", "from" text COLLATE "C", "to" text COLLATE "C",
        provider_message_id text, correlation_id text, body text,
        attachments jsonb, "timestamp" timestamptz, from_given text,
        to_given text, subject text,
        message_id uuid, conversation_id uuid, moves boolean
    ) ON COMMIT DROP;
    FOR batch IN
        SELECT array_agg(e.tenant_id) AS tenants, array_agg(e.id) AS ids
        FROM (
            SELECT l.tenant_id, l.id, row_number() OVER () AS n
            FROM msgstore._log_tenants() t
            JOIN msgstore.event_log l ON l.tenant_id = t
            WHERE (wanted.channel IS NULL OR l.channel = wanted.channel)
                -- created_at is the time in the id.
                AND (wanted.created_from IS NULL
                     OR l.id >= msgstore._least_uuid7(wanted.created_from))
                AND (wanted.created_until IS NULL
                     OR l.id < msgstore._least_uuid7(wanted.created_until))
                AND (wanted.event_ids IS NULL OR l.id = ANY (wanted.event_ids))
                AND (wanted.conversation_id IS NULL
                     OR (l.tenant_id, l.id) IN (
                         SELECT m.tenant_id, m.inbound_event_id
                         FROM msgstore.messages m
                         WHERE m.tenant_id = wanted.conversation_tenant
                             AND m.conversation_id = wanted.conversation_id))
                -- An empty payload was purged.
                AND l.payload <> '{}'
                AND NOT EXISTS (
                    SELECT FROM msgstore.event_queue q
                    WHERE q.tenant_id = l.tenant_id AND q.event_id = l.id)
                AND NOT EXISTS (
                    SELECT FROM msgstore.dead_letters d
                    WHERE d.tenant_id = l.tenant_id AND d.event_id = l.id)
        ) e
        GROUP BY (e.n - 1) / 1000
    LOOP
        WITH made AS MATERIALIZED (
            SELECT * FROM msgstore._messages_of(batch.tenants, batch.ids)
        ), noted AS (
            INSERT INTO pg_temp.msgstore_replay
            SELECT n.*, m.id, m.conversation_id,
                   m.conversation_id IS DISTINCT FROM c.id
            FROM made n
            LEFT JOIN msgstore.messages m
                ON m.tenant_id = n.tenant_id AND m.id = n.id
                AND m.inbound_event_id = n.id
            LEFT JOIN msgstore.conversation_rows c
                ON c.tenant_id = n.tenant_id AND c.key = n.key
            WHERE m.id IS NULL
                OR (m.channel, m.conversation_key, m.conversation_id, m."from",
                    m."to", m.provider_message_id, m.correlation_id, m.body,
                    m.attachments, m."timestamp", m.from_given, m.to_given,
                    m.subject)
                   IS DISTINCT FROM
                   (n.channel, n.key, c.id, n."from",
                    n."to", n.provider_message_id, n.correlation_id, n.body,
                    n.attachments, n."timestamp", n.from_given, n.to_given,
                    n.subject))
        SELECT count(*) INTO made FROM made;
        events := events + made;
        PERFORM msgstore._report_progress(
            'replay', 'reading events', events, cardinality(wanted.event_ids));
    END LOOP;
    ANALYZE pg_temp.msgstore_replay;
    RETURN events;
END
$$;

-- All affected conversations are locked before anything changes: those that
-- messages leave, and those that they join.
CREATE FUNCTION msgstore._apply_replay() RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    touched CONSTANT record := msgstore._hold_conversations(
        ARRAY(SELECT r.tenant_id FROM pg_temp.msgstore_replay r
              WHERE r.message_id IS NOT NULL ORDER BY r.message_id),
        ARRAY(SELECT r.conversation_id FROM pg_temp.msgstore_replay r
              WHERE r.message_id IS NOT NULL ORDER BY r.message_id),
        ARRAY(
            SELECT ROW(r.tenant_id, NULL, NULL, min(r.thread),
                       split_part(substr(r.key, length(min(r.thread)) + 2), '<->', 1),
                       split_part(r.key, '<->', 2),
                       r.key, NULL)::msgstore.conversation_rows
            FROM pg_temp.msgstore_replay r
            GROUP BY r.tenant_id, r.key));
BEGIN
    PERFORM msgstore._report_progress(
        'replay', 'changing messages', 0,
        (SELECT count(*) FROM pg_temp.msgstore_replay));
    UPDATE msgstore.messages m
    SET channel = r.channel,
        conversation_key = r.key,
        conversation_id = c.id,
        "from" = r."from",
        "to" = r."to",
        provider_message_id = r.provider_message_id,
        correlation_id = r.correlation_id,
        body = r.body,
        attachments = r.attachments,
        "timestamp" = r."timestamp",
        from_given = r.from_given,
        to_given = r.to_given,
        subject = r.subject
    FROM pg_temp.msgstore_replay r
    JOIN msgstore.conversation_rows c
        ON c.tenant_id = r.tenant_id AND c.key = r.key
    WHERE m.tenant_id = r.tenant_id AND m.id = r.message_id;

    INSERT INTO msgstore.messages (
        tenant_id, id, inbound_event_id, direction, channel, "from", "to",
        provider_message_id, correlation_id, body, attachments, "timestamp",
        from_given, to_given, subject, conversation_key, conversation_id)
    SELECT r.tenant_id, r.id, r.id, 'inbound', r.channel, r."from", r."to",
           r.provider_message_id, r.correlation_id, r.body, r.attachments,
           r."timestamp", r.from_given, r.to_given, r.subject, r.key, c.id
    FROM pg_temp.msgstore_replay r
    JOIN msgstore.conversation_rows c
        ON c.tenant_id = r.tenant_id AND c.key = r.key
    WHERE r.message_id IS NULL
    ORDER BY r.tenant_id, r.id;

    PERFORM msgstore._recount_held(touched.tenants, touched.conversation_ids);
    PERFORM msgstore._reindex(r.tenants, r.ids)
    FROM (SELECT array_agg(r.tenant_id) AS tenants, array_agg(r.id) AS ids
          FROM pg_temp.msgstore_replay r) r;
END
$$;

CREATE FUNCTION msgstore.replay(
    filter jsonb DEFAULT '{}',
    dry_run boolean DEFAULT false,
    OUT events int,
    OUT added int,
    OUT changed int,
    OUT moved int)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    PERFORM msgstore._check_all_here();
    -- Excludes other replays and erasures: messages noted here must not be
    -- inserted after an erasure removed them.
    LOCK TABLE msgstore.operations_log IN SHARE UPDATE EXCLUSIVE MODE;
    events := msgstore._note_replay(filter);
    SELECT count(*) FILTER (WHERE r.message_id IS NULL),
           count(r.message_id),
           count(r.message_id) FILTER (WHERE r.moves)
    INTO added, changed, moved
    FROM pg_temp.msgstore_replay r;
    IF NOT coalesce(dry_run, false) AND added + changed > 0 THEN
        PERFORM msgstore._apply_replay();
        PERFORM msgstore._log_operation('replay', filter, added + changed,
            ARRAY(SELECT r.id FROM pg_temp.msgstore_replay r LIMIT 10000));
    END IF;
    DROP TABLE pg_temp.msgstore_replay;
END
$$;

REVOKE ALL ON FUNCTION msgstore._messages_of(text[], uuid[]) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._read_replay_filter(jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._note_replay(jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._apply_replay() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.replay(jsonb, boolean) FROM PUBLIC;

COMMENT ON FUNCTION msgstore._messages_of(text[], uuid[]) IS
    'Returns the messages that the worker would make of these logged events now, with addresses normalized again from the payload. Skips events whose channel no longer exists';
COMMENT ON FUNCTION msgstore._read_replay_filter(jsonb) IS
    'Parses the filter argument of replay. Raises MS400 or MS404';
COMMENT ON FUNCTION msgstore._note_replay(jsonb) IS
    'Fills the temporary table msgstore_replay with the messages that a replay must add or change, and returns the number of events examined';
COMMENT ON FUNCTION msgstore._apply_replay() IS
    'Makes the changes that _note_replay noted';
COMMENT ON FUNCTION msgstore.replay(jsonb, boolean) IS
    'Rebuilds the messages of processed events from the event log, with the same ids, and corrects the conversations that they leave and join. filter keys: channel, created_from, created_until, event_ids, conversation. Returns the number of events examined and of messages added, changed, and moved to another conversation. With dry_run, only counts. Logs the call in operations_log. Raises MS400 for an invalid filter or an unknown channel, MS404 for an unknown conversation';
