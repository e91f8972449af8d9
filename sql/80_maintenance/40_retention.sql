-- maintenance: replay, retention, erasure, and whether all is as it should be.

-- Who did what to many events at once.
CREATE TABLE msgstore.operations_log (
    tenant_id text COLLATE "C" NOT NULL,
    id uuid NOT NULL DEFAULT msgstore.uuid7(),
    happened_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    performed_by text NOT NULL DEFAULT session_user,
    operation text COLLATE "C" NOT NULL,
    filter jsonb NOT NULL,
    event_count bigint NOT NULL,
    event_ids uuid[],
    CONSTRAINT operations_log_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT operations_log_operation
        CHECK (operation IN ('requeue', 'replay', 'purge', 'erase'))
);

-- How far the workers' purge has come. It walks the log once, in the order of
-- time; an event that is still work when its time comes is noted, and looked
-- at again, so that no batch meets again what an earlier one has passed.
CREATE TABLE msgstore.purge_progress (
    kind text COLLATE "C" NOT NULL,
    walked_at timestamptz NOT NULL DEFAULT '-infinity',
    walked_id uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
    rechecked_tenant text COLLATE "C" NOT NULL DEFAULT '',
    rechecked_id uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
    CONSTRAINT purge_progress_pkey PRIMARY KEY (kind)
);

CREATE TABLE msgstore.purge_skipped (
    tenant_id text COLLATE "C" NOT NULL,
    kind text COLLATE "C" NOT NULL,
    event_id uuid NOT NULL,
    CONSTRAINT purge_skipped_pkey PRIMARY KEY (tenant_id, kind, event_id)
);

CREATE INDEX purge_skipped_kind_idx
    ON msgstore.purge_skipped (kind, tenant_id, event_id);

-- What the install script has made, and how to make it again; check() compares.
CREATE TABLE msgstore.installed_objects (
    type text COLLATE "C" NOT NULL,
    identity text COLLATE "C" NOT NULL,
    statements text[] NOT NULL,
    CONSTRAINT installed_objects_pkey PRIMARY KEY (type, identity)
);

SELECT pg_catalog.pg_extension_config_dump('msgstore.operations_log', '');
SELECT pg_catalog.pg_extension_config_dump('msgstore.purge_progress', '');
SELECT pg_catalog.pg_extension_config_dump('msgstore.purge_skipped', '');
-- CREATE EXTENSION makes it anew.
SELECT pg_catalog.pg_extension_config_dump(
    'msgstore.installed_objects', 'WHERE false');

CREATE FUNCTION msgstore._keep_operations() RETURNS trigger
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF current_user = (SELECT r.rolname FROM pg_roles r
                       JOIN pg_class c ON c.relowner = r.oid
                       WHERE c.oid = TG_RELID) THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION 'cannot change table "msgstore.operations_log"'
        USING ERRCODE = 'MS403',
              DETAIL = 'What was done stays on record; only the owner may remove it.';
END
$$;

CREATE TRIGGER keep_operations
BEFORE UPDATE OR DELETE OR TRUNCATE ON msgstore.operations_log
FOR EACH STATEMENT EXECUTE FUNCTION msgstore._keep_operations();

ALTER TABLE msgstore.operations_log ENABLE ALWAYS TRIGGER keep_operations;

CREATE FUNCTION msgstore._log_operation(
    operation text,
    filter jsonb,
    event_count bigint,
    event_ids uuid[])
    RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    INSERT INTO msgstore.operations_log
        (tenant_id, operation, filter, event_count, event_ids)
    VALUES
        (msgstore._tenant_scope(), operation, filter, event_count, event_ids);
END
$$;

CREATE VIEW msgstore.dead_letter_events WITH (security_invoker) AS
SELECT d.event_id AS id,
       d.tenant_id,
       d.direction,
       coalesce(l.channel, m.channel) AS channel,
       coalesce(l."from", m."from") AS "from",
       coalesce(l."to", m."to") AS "to",
       coalesce(m.body, l.payload ->> 'body') AS body,
       l.payload,
       coalesce(l.provider_message_id, m.provider_message_id)
           AS provider_message_id,
       coalesce(l.correlation_id, m.correlation_id) AS correlation_id,
       d.attempt_count,
       d.error_code,
       d.error_message,
       d.attempts,
       coalesce(l.created_at, m.created_at) AS created_at,
       d.died_at
FROM msgstore.dead_letters d
LEFT JOIN msgstore.event_log l
    ON d.direction = 'inbound'
    AND l.tenant_id = d.tenant_id AND l.id = d.event_id
LEFT JOIN msgstore.messages m
    ON d.direction = 'outbound'
    AND m.tenant_id = d.tenant_id AND m.id = d.event_id;

-- Replay, and whatever else changes messages in bulk.

-- Makes count and last activity of conversations right, and removes those
-- without messages. Nobody adds a message without the row's lock, and what is
-- counted after it was taken stays so until the end of the transaction.
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
        "timestamp" timestamptz)
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
    LANGUAGE plpgsql STABLE PARALLEL SAFE
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
                  DETAIL = 'A filter is a JSON object; an empty one means all events.';
    END IF;
    FOR name, value IN SELECT * FROM jsonb_each(filter) LOOP
        IF value = 'null' THEN
            expected := 'A key that is to say nothing is left out.';
            RAISE no_data_found;
        END IF;
        CASE name
            WHEN 'channel' THEN
                channel := value #>> '{}';
                PERFORM msgstore.normalize_address(channel, '');
            WHEN 'created_from' THEN
                expected := 'A time is a string such as "2024-11-01T14:00:00Z".';
                created_from := value #>> '{}';
            WHEN 'created_until' THEN
                expected := 'A time is a string such as "2024-11-01T14:00:00Z".';
                created_until := value #>> '{}';
            WHEN 'event_ids' THEN
                expected := 'Event ids are an array of UUIDs.';
                event_ids := ARRAY(SELECT jsonb_array_elements_text(value)::uuid);
            WHEN 'conversation' THEN
                parent := msgstore._find_conversation(value #>> '{}');
                conversation_tenant := parent.tenant_id;
                conversation_id := parent.id;
            ELSE
                RAISE EXCEPTION 'filter has no key "%"', left(name, 64)
                    USING ERRCODE = 'MS400',
                          DETAIL = 'Its keys are channel, created_from, created_until, event_ids and conversation.';
        END CASE;
    END LOOP;
EXCEPTION
    WHEN no_data_found OR data_exception THEN
        RAISE EXCEPTION '"%" is no value of key "%" of a filter',
            left(coalesce(value #>> '{}', 'null'), 64), name
            USING ERRCODE = 'MS400', DETAIL = expected;
END
$$;

-- Writes down, in a table of this transaction, what a replay is to change;
-- returns how many events it looked at.
CREATE FUNCTION msgstore._note_replay(filter jsonb) RETURNS int
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = 'force_custom_plan'
    -- Batches come out of a sort, which keeps to work_mem.
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
        attachments jsonb, "timestamp" timestamptz,
        message_id uuid, conversation_id uuid, moves boolean
    ) ON COMMIT DROP;
    FOR batch IN
        SELECT array_agg(e.tenant_id) AS tenants, array_agg(e.id) AS ids
        FROM (
            SELECT l.tenant_id, l.id, row_number() OVER () AS n
            FROM msgstore.event_log l
            WHERE (scope = '' OR l.tenant_id = scope)
                AND (wanted.channel IS NULL OR l.channel = wanted.channel)
                AND (wanted.created_from IS NULL
                     OR l.created_at >= wanted.created_from)
                AND (wanted.created_until IS NULL
                     OR l.created_at < wanted.created_until)
                AND (wanted.event_ids IS NULL OR l.id = ANY (wanted.event_ids))
                AND (wanted.conversation_id IS NULL
                     OR (l.tenant_id, l.id) IN (
                         SELECT m.tenant_id, m.inbound_event_id
                         FROM msgstore.messages m
                         WHERE m.tenant_id = wanted.conversation_tenant
                             AND m.conversation_id = wanted.conversation_id))
                -- Purged: there is nothing to make a message of.
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
                ON m.tenant_id = n.tenant_id AND m.inbound_event_id = n.id
            LEFT JOIN msgstore.conversations c
                ON c.tenant_id = n.tenant_id AND c.key = n.key
            WHERE m.id IS NULL
                OR (m.channel, m.conversation_key, m.conversation_id, m."from",
                    m."to", m.provider_message_id, m.correlation_id, m.body,
                    m.attachments, m."timestamp")
                   IS DISTINCT FROM
                   (n.channel, n.key, c.id, n."from",
                    n."to", n.provider_message_id, n.correlation_id, n.body,
                    n.attachments, n."timestamp"))
        SELECT count(*) INTO made FROM made;
        events := events + made;
    END LOOP;
    ANALYZE pg_temp.msgstore_replay;
    RETURN events;
END
$$;

-- The conversations that are touched are known before anything is changed, and
-- locked as everybody locks them: first those that are there, then new ones,
-- each in the order of their keys.
CREATE FUNCTION msgstore._apply_replay() RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    touched record;
BEGIN
    SELECT array_agg(c.tenant_id) AS tenants, array_agg(c.id) AS ids
    INTO touched
    FROM (
        SELECT c.tenant_id, c.id
        FROM msgstore.conversations c
        WHERE (c.tenant_id, c.key) IN (
                SELECT r.tenant_id, r.key FROM pg_temp.msgstore_replay r)
            OR (c.tenant_id, c.id) IN (
                SELECT r.tenant_id, r.conversation_id
                FROM pg_temp.msgstore_replay r)
        ORDER BY c.tenant_id, c.key
        FOR UPDATE) c;
    WITH made AS (
        INSERT INTO msgstore.conversations AS c (
            tenant_id, channel, participant_a, participant_b, key,
            last_activity_at)
        SELECT r.tenant_id, min(r.thread), min(least(r."from", r."to")),
               min(greatest(r."from", r."to")), r.key, max(r."timestamp")
        FROM pg_temp.msgstore_replay r
        WHERE NOT EXISTS (
            SELECT FROM msgstore.conversations c
            WHERE c.tenant_id = r.tenant_id AND c.key = r.key)
        GROUP BY r.tenant_id, r.key
        ORDER BY r.tenant_id, r.key
        ON CONFLICT (tenant_id, key) DO UPDATE
        SET message_count = c.message_count
        RETURNING c.tenant_id, c.id)
    SELECT touched.tenants || array_agg(m.tenant_id) AS tenants,
           touched.ids || array_agg(m.id) AS ids
    INTO touched
    FROM made m;

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
        "timestamp" = r."timestamp"
    FROM pg_temp.msgstore_replay r
    JOIN msgstore.conversations c
        ON c.tenant_id = r.tenant_id AND c.key = r.key
    WHERE m.tenant_id = r.tenant_id AND m.id = r.message_id;

    INSERT INTO msgstore.messages (
        tenant_id, id, inbound_event_id, direction, channel, "from", "to",
        provider_message_id, correlation_id, body, attachments, "timestamp",
        conversation_key, conversation_id)
    SELECT r.tenant_id, r.id, r.id, 'inbound', r.channel, r."from", r."to",
           r.provider_message_id, r.correlation_id, r.body, r.attachments,
           r."timestamp", r.key, c.id
    FROM pg_temp.msgstore_replay r
    JOIN msgstore.conversations c
        ON c.tenant_id = r.tenant_id AND c.key = r.key
    WHERE r.message_id IS NULL
    ORDER BY r.tenant_id, r.id;

    PERFORM msgstore._recount_conversations(touched.tenants, touched.ids);
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
    -- One at a time, and none beside an erasure: what is written down here
    -- must not come back after it was erased.
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

-- Retention.

-- Of the kind's rows, those of these events, which are processed.
CREATE FUNCTION msgstore._purge_events(
    kind text,
    tenants text[],
    event_ids uuid[])
    RETURNS int
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off
    SET enable_bitmapscan = off
    SET enable_hashjoin = off
    SET enable_mergejoin = off
    SET jit = off
    AS $$
DECLARE
    removed int;
BEGIN
    IF kind = 'payloads' THEN
        UPDATE msgstore.event_log l
        SET payload = '{}'
        FROM unnest(tenants, event_ids) AS e (tenant_id, id)
        WHERE l.tenant_id = e.tenant_id AND l.id = e.id AND l.payload <> '{}';
    ELSE
        DELETE FROM msgstore.event_failures f
        USING unnest(tenants, event_ids) AS e (tenant_id, id)
        WHERE f.tenant_id = e.tenant_id AND f.event_id = e.id;
        DELETE FROM msgstore.event_log l
        USING unnest(tenants, event_ids) AS e (tenant_id, id)
        WHERE l.tenant_id = e.tenant_id AND l.id = e.id;
    END IF;
    GET DIAGNOSTICS removed = ROW_COUNT;
    RETURN removed;
END
$$;

-- One step of a walk over the log in the order of time, from the place after
-- which it is to go on: how many events it met, how many of them it purged,
-- and those that it left alone because they are work.
CREATE FUNCTION msgstore._walk_log(
    kind text,
    before timestamptz,
    most int,
    dry_run boolean,
    INOUT walked_at timestamptz,
    INOUT walked_id uuid,
    OUT met int,
    OUT removed int,
    OUT busy_tenants text[],
    OUT busy_ids uuid[])
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off
    SET enable_bitmapscan = off
    SET enable_hashjoin = off
    SET enable_mergejoin = off
    SET enable_sort = off
    SET jit = off
    AS $$
DECLARE
    scope CONSTANT text := msgstore._tenant_scope();
    free record;
BEGIN
    WITH walked AS MATERIALIZED (
        SELECT l.tenant_id, l.id, l.created_at,
               kind = 'events' OR l.payload <> '{}' AS counts,
               EXISTS (
                   SELECT FROM msgstore.event_queue q
                   WHERE q.tenant_id = l.tenant_id AND q.event_id = l.id)
               OR EXISTS (
                   SELECT FROM msgstore.dead_letters d
                   WHERE d.tenant_id = l.tenant_id AND d.event_id = l.id)
                   AS busy
        FROM msgstore.event_log l
        WHERE (l.created_at, l.id) > (walked_at, walked_id)
            AND l.created_at < before
            AND scope IN ('', l.tenant_id)
        ORDER BY l.created_at, l.id
        LIMIT most)
    SELECT count(*) AS met,
           count(*) FILTER (WHERE w.counts AND NOT w.busy) AS n,
           max(w.created_at) AS walked_at,
           (array_agg(w.id ORDER BY w.created_at DESC, w.id DESC))[1] AS walked_id,
           array_agg(w.tenant_id) FILTER (WHERE NOT w.busy) AS tenants,
           array_agg(w.id) FILTER (WHERE NOT w.busy) AS ids,
           array_agg(w.tenant_id) FILTER (WHERE w.busy) AS busy_tenants,
           array_agg(w.id) FILTER (WHERE w.busy) AS busy_ids
    INTO free
    FROM walked w;
    met := free.met;
    busy_tenants := free.busy_tenants;
    busy_ids := free.busy_ids;
    IF met > 0 THEN
        walked_at := free.walked_at;
        walked_id := free.walked_id;
    END IF;
    removed := CASE
        WHEN dry_run THEN free.n
        ELSE msgstore._purge_events(kind, free.tenants, free.ids)
    END;
END
$$;

-- What senders were told of messages, oldest first; and what came for messages
-- that nobody knows, when nothing is left of it.
CREATE FUNCTION msgstore._purge_statuses(
    before timestamptz,
    most int,
    dry_run boolean)
    RETURNS int
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off
    SET enable_bitmapscan = off
    SET enable_hashjoin = off
    SET enable_mergejoin = off
    SET jit = off
    AS $$
DECLARE
    scope CONSTANT text := msgstore._tenant_scope();
    gone record;
BEGIN
    IF dry_run THEN
        RETURN (SELECT count(*) FROM msgstore.delivery_statuses s
                WHERE s.received_at < before AND scope IN ('', s.tenant_id));
    END IF;
    SELECT array_agg(s.tenant_id) AS tenants, array_agg(s.id) AS ids,
           array_agg(s.channel) AS channels,
           array_agg(s.provider_message_id) AS names,
           count(*) AS n
    INTO gone
    FROM (
        SELECT s.tenant_id, s.id, s.channel, s.provider_message_id
        FROM msgstore.delivery_statuses s
        WHERE s.received_at < before AND scope IN ('', s.tenant_id)
        ORDER BY s.received_at
        LIMIT most
        FOR UPDATE SKIP LOCKED) s;
    DELETE FROM msgstore.delivery_statuses s
    USING unnest(gone.tenants, gone.ids) AS g (tenant_id, id)
    WHERE s.tenant_id = g.tenant_id AND s.id = g.id;
    DELETE FROM msgstore.deliveries d
    USING unnest(gone.tenants, gone.channels, gone.names)
        AS g (tenant_id, channel, provider_message_id)
    WHERE d.tenant_id = g.tenant_id AND d.channel = g.channel
        AND d.provider_message_id = g.provider_message_id
        AND d.message_id IS NULL
        AND NOT EXISTS (
            SELECT FROM msgstore.delivery_statuses s
            WHERE s.tenant_id = d.tenant_id AND s.channel = d.channel
                AND s.provider_message_id = d.provider_message_id);
    RETURN gone.n;
END
$$;

-- With their events. One that is just being requeued is left to that.
CREATE FUNCTION msgstore._purge_dead_letters(
    before timestamptz,
    most int,
    dry_run boolean)
    RETURNS int
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off
    SET enable_bitmapscan = off
    SET enable_hashjoin = off
    SET enable_mergejoin = off
    SET jit = off
    AS $$
DECLARE
    scope CONSTANT text := msgstore._tenant_scope();
    gone record;
BEGIN
    IF dry_run THEN
        RETURN (SELECT count(*) FROM msgstore.dead_letters d
                WHERE d.died_at < before AND scope IN ('', d.tenant_id));
    END IF;
    SELECT array_agg(d.tenant_id) AS tenants, array_agg(d.event_id) AS ids,
           array_agg(d.direction) AS directions, count(*) AS n
    INTO gone
    FROM (
        SELECT d.tenant_id, d.event_id, d.direction
        FROM msgstore.dead_letters d
        WHERE d.died_at < before AND scope IN ('', d.tenant_id)
        ORDER BY d.died_at
        LIMIT most
        FOR UPDATE SKIP LOCKED) d;
    DELETE FROM msgstore.dead_letters d
    USING unnest(gone.tenants, gone.ids) AS g (tenant_id, event_id)
    WHERE d.tenant_id = g.tenant_id AND d.event_id = g.event_id;
    PERFORM msgstore._move_all('dead_letters', gone.tenants, gone.ids, -1);
    PERFORM msgstore._purge_events(
        'events', array_agg(g.tenant_id), array_agg(g.event_id))
    FROM unnest(gone.tenants, gone.ids, gone.directions)
        AS g (tenant_id, event_id, direction)
    WHERE g.direction = 'inbound';
    RETURN gone.n;
END
$$;

-- The whole walk at once, from the first event.
CREATE FUNCTION msgstore._purge_log(
    kind text,
    before timestamptz,
    dry_run boolean)
    RETURNS bigint
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    at timestamptz := '-infinity';
    id uuid := '00000000-0000-0000-0000-000000000000';
    met int;
    removed int;
    total bigint := 0;
BEGIN
    LOOP
        SELECT w.walked_at, w.walked_id, w.met, w.removed
        INTO at, id, met, removed
        FROM msgstore._walk_log(kind, before, 10000, dry_run, at, id) w;
        EXIT WHEN met = 0;
        total := total + removed;
    END LOOP;
    RETURN total;
END
$$;

CREATE FUNCTION msgstore.purge(
    older_than interval,
    dry_run boolean DEFAULT false,
    kinds text[] DEFAULT '{events,dead_letters}')
    RETURNS TABLE (kind text, removed bigint)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET intervalstyle = 'postgres'
    AS $$
DECLARE
    before CONSTANT timestamptz := now() - older_than;
    only_count CONSTANT boolean := coalesce(dry_run, false);
    total bigint := 0;
    unknown text;
BEGIN
    IF older_than IS NULL OR older_than < interval '0' THEN
        RAISE EXCEPTION 'older_than "%" is not an age',
            coalesce(older_than::text, 'null')
            USING ERRCODE = 'MS400',
                  DETAIL = 'An age is an interval that is not negative, such as ''30 days''.';
    END IF;
    SELECT coalesce(k, 'null') INTO unknown
    FROM unnest(coalesce(kinds, '{NULL}')) k
    WHERE k IS NULL OR k NOT IN ('payloads', 'events', 'dead_letters');
    IF FOUND THEN
        RAISE EXCEPTION 'kind "%" does not exist', left(unknown, 64)
            USING ERRCODE = 'MS400',
                  DETAIL = 'Kinds are payloads, events and dead_letters.';
    END IF;

    FOR kind IN SELECT DISTINCT k FROM unnest(kinds) k ORDER BY k LOOP
        removed := CASE kind
            WHEN 'dead_letters' THEN
                msgstore._purge_dead_letters(before, NULL, only_count)
            ELSE msgstore._purge_log(kind, before, only_count)
        END;
        total := total + removed;
        RETURN NEXT;
        IF kind = 'events' THEN
            kind := 'delivery_statuses';
            removed := msgstore._purge_statuses(before, NULL, only_count);
            total := total + removed;
            RETURN NEXT;
        END IF;
    END LOOP;
    IF NOT only_count AND total > 0 THEN
        PERFORM msgstore._log_operation(
            'purge',
            jsonb_build_object('older_than', older_than, 'kinds', kinds),
            total, NULL);
    END IF;
END
$$;

-- Events that were work when the walk came by, so many of them, and from the
-- first again when the last was seen.
CREATE FUNCTION msgstore._recheck_skipped(kind text, most int) RETURNS int
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off
    SET enable_bitmapscan = off
    SET enable_hashjoin = off
    SET enable_mergejoin = off
    SET enable_sort = off
    SET jit = off
    AS $$
DECLARE
    progress msgstore.purge_progress;
    free record;
BEGIN
    SELECT p.* INTO progress FROM msgstore.purge_progress p
    WHERE p.kind = _recheck_skipped.kind;
    WITH seen AS MATERIALIZED (
        SELECT s.tenant_id, s.event_id, row_number() OVER () AS n,
               EXISTS (
                   SELECT FROM msgstore.event_queue q
                   WHERE q.tenant_id = s.tenant_id AND q.event_id = s.event_id)
               OR EXISTS (
                   SELECT FROM msgstore.dead_letters d
                   WHERE d.tenant_id = s.tenant_id AND d.event_id = s.event_id)
                   AS busy
        FROM (
            SELECT s.tenant_id, s.event_id
            FROM msgstore.purge_skipped s
            WHERE s.kind = _recheck_skipped.kind
                AND (s.tenant_id, s.event_id)
                    > (progress.rechecked_tenant, progress.rechecked_id)
            ORDER BY s.tenant_id, s.event_id
            LIMIT most) s)
    SELECT array_agg(s.tenant_id) FILTER (WHERE NOT s.busy) AS tenants,
           array_agg(s.event_id) FILTER (WHERE NOT s.busy) AS ids,
           (array_agg(s.tenant_id ORDER BY s.n DESC))[1] AS last_tenant,
           (array_agg(s.event_id ORDER BY s.n DESC))[1] AS last_id,
           count(*) AS n
    INTO free
    FROM seen s;
    UPDATE msgstore.purge_progress p
    SET rechecked_tenant = CASE WHEN free.n < most THEN '' ELSE free.last_tenant END,
        rechecked_id = CASE
            WHEN free.n < most THEN '00000000-0000-0000-0000-000000000000'
            ELSE free.last_id
        END
    WHERE p.kind = _recheck_skipped.kind;
    DELETE FROM msgstore.purge_skipped s
    USING unnest(free.tenants, free.ids) AS f (tenant_id, event_id)
    WHERE s.tenant_id = f.tenant_id AND s.kind = _recheck_skipped.kind
        AND s.event_id = f.event_id;
    RETURN msgstore._purge_events(kind, free.tenants, free.ids);
END
$$;

-- One batch of the workers' purge. Whoever comes while another worker is at it
-- finds nothing to do.
CREATE FUNCTION msgstore._purge_batch(
    kind text,
    before timestamptz,
    most int,
    OUT removed int,
    OUT more boolean)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    progress msgstore.purge_progress;
    step record;
    statuses int;
BEGIN
    removed := 0;
    more := false;
    IF kind = 'dead_letters' THEN
        removed := msgstore._purge_dead_letters(before, most, false);
        more := removed >= most;
        RETURN;
    END IF;
    INSERT INTO msgstore.purge_progress (kind) VALUES (_purge_batch.kind)
    ON CONFLICT DO NOTHING;
    SELECT p.* INTO progress
    FROM msgstore.purge_progress p
    WHERE p.kind = _purge_batch.kind
    FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN;
    END IF;

    step := msgstore._walk_log(
        kind, before, most, false, progress.walked_at, progress.walked_id);
    removed := step.removed;
    more := step.met >= most;
    IF step.met > 0 THEN
        INSERT INTO msgstore.purge_skipped (tenant_id, kind, event_id)
        SELECT b.tenant_id, _purge_batch.kind, b.id
        FROM unnest(step.busy_tenants, step.busy_ids) AS b (tenant_id, id)
        ON CONFLICT DO NOTHING;
        UPDATE msgstore.purge_progress p
        SET walked_at = step.walked_at, walked_id = step.walked_id
        WHERE p.kind = _purge_batch.kind;
    END IF;
    IF NOT more THEN
        removed := removed + msgstore._recheck_skipped(kind, most);
    END IF;
    IF kind = 'events' THEN
        statuses := msgstore._purge_statuses(before, most, false);
        removed := removed + statuses;
        more := more OR statuses >= most;
    END IF;
END
$$;

-- When the first row of the kind will be old enough; null when there is none.
CREATE FUNCTION msgstore._next_purge(kind text, age interval)
    RETURNS timestamptz
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off
    SET enable_bitmapscan = off
    SET enable_sort = off
    SET jit = off
    AS $$
DECLARE
    progress msgstore.purge_progress;
BEGIN
    SELECT p.* INTO progress FROM msgstore.purge_progress p
    WHERE p.kind = _next_purge.kind;
    IF kind = 'dead_letters' THEN
        RETURN (SELECT min(d.died_at) FROM msgstore.dead_letters d) + age;
    END IF;
    RETURN least(
        (SELECT l.created_at
         FROM msgstore.event_log l
         WHERE (l.created_at, l.id) > (progress.walked_at, progress.walked_id)
         ORDER BY l.created_at, l.id LIMIT 1) + age,
        CASE WHEN kind = 'events' THEN
            (SELECT min(s.received_at) FROM msgstore.delivery_statuses s) + age
        END,
        -- Nobody tells when these are done; there is no hurry.
        CASE WHEN EXISTS (SELECT FROM msgstore.purge_skipped s
                          WHERE s.kind = _next_purge.kind) THEN
            clock_timestamp() + interval '1 hour'
        END);
END
$$;

-- What the worker calls: a batch of each kind that has an age. What goes wrong
-- is told, and is no reason for the worker to end.
CREATE FUNCTION msgstore._purge_turn() RETURNS bigint
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    most CONSTANT int := current_setting('msgstore.purge_batch_size')::int;
    next timestamptz;
    has_more boolean := false;
    kind text;
    age interval;
BEGIN
    FOREACH kind IN ARRAY '{payloads,events,dead_letters}'::text[] LOOP
        age := current_setting(format('msgstore.purge_%s_after', kind))::interval;
        CONTINUE WHEN age = interval '0';
        BEGIN
            has_more := has_more OR (msgstore._purge_batch(
                kind, clock_timestamp() - age, most)).more;
            next := least(next, msgstore._next_purge(kind, age),
                          clock_timestamp() + age);
        EXCEPTION WHEN OTHERS THEN
            RAISE WARNING 'could not purge %: %', kind, SQLERRM
                USING DETAIL = format('SQLSTATE %s.', SQLSTATE);
            next := least(next, clock_timestamp() + interval '1 minute');
        END;
    END LOOP;
    RETURN CASE
        WHEN next IS NULL THEN -1
        WHEN has_more THEN 0
        ELSE extract(epoch FROM least(
            greatest(next - clock_timestamp(), interval '1 minute'),
            interval '1 day')) * 1000
    END;
END
$$;

-- Erasure.

-- What waits to be done with these events and messages. Dead letters go first:
-- whoever is requeueing them is waited for, and what that has put back is seen.
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
    DELETE FROM msgstore.conversation_holds h
    WHERE h.event_id = ANY (events) AND own IN ('', h.tenant_id);
    GET DIAGNOSTICS removed = ROW_COUNT;
    RETURN NEXT;
    what := 'event_failures';
    DELETE FROM msgstore.event_failures f
    WHERE f.event_id = ANY (events || messages) AND own IN ('', f.tenant_id);
    GET DIAGNOSTICS removed = ROW_COUNT;
    RETURN NEXT;
    what := 'outbox';
    DELETE FROM msgstore.outbox o
    WHERE o.message_id = ANY (messages) AND own IN ('', o.tenant_id);
    GET DIAGNOSTICS removed = ROW_COUNT;
    RETURN NEXT;
    what := 'idempotency_keys';
    DELETE FROM msgstore.idempotency_keys k
    WHERE k.result_id = ANY (events || messages) AND own IN ('', k.tenant_id);
    GET DIAGNOSTICS removed = ROW_COUNT;
    RETURN NEXT;
END
$$;

-- The messages, what became of them, their conversations and their events.
CREATE FUNCTION msgstore._erase_messages(
    events uuid[],
    messages uuid[],
    tenants text[],
    conversation_ids uuid[])
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
    -- A conversation that came up meanwhile was not locked.
    what := 'conversations';
    removed := coalesce(msgstore._recount_conversations(
        tenants || gone.tenants, conversation_ids || gone.ids), 0);
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
    what := 'event_log';
    DELETE FROM msgstore.event_log l
    WHERE l.id = ANY (events) AND own IN ('', l.tenant_id);
    GET DIAGNOSTICS removed = ROW_COUNT;
    RETURN NEXT;
END
$$;

-- What requeues, workers and senders hold is waited for in the order in which
-- they take it, and looked for again once it is held: what a worker made of an
-- event in between is erased as well.
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
    IF channel IS NULL OR erased IS NULL OR erased = '' THEN
        RAISE EXCEPTION 'field "%" is blank',
            CASE WHEN channel IS NULL THEN 'channel' ELSE 'address' END
            USING ERRCODE = 'MS400',
                  DETAIL = 'The field is a string that is not blank.';
    END IF;
    -- Not beside a replay: see there.
    LOCK TABLE msgstore.operations_log IN SHARE UPDATE EXCLUSIVE MODE;
    -- Channels of one thread share their conversations.
    SELECT array_agg(c.name), array_agg(c.name) || array_agg(c.thread)
    INTO channel_names, thread_names
    FROM msgstore.channels c
    WHERE c.thread = (SELECT t.thread FROM msgstore.channels t
                      WHERE t.name = erase_address.channel);

    events := ARRAY(
        SELECT l.id FROM msgstore.event_log l
        WHERE l.channel = ANY (channel_names) AND own IN ('', l.tenant_id)
            AND (erased IN (l."from", l."to")
                 OR erased IN (
                     msgstore.normalize_address(l.channel, l.payload ->> 'from'),
                     msgstore.normalize_address(l.channel, l.payload ->> 'to'))));
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
    SELECT array_agg(c.tenant_id) AS tenants, array_agg(c.id) AS ids
    INTO conversations
    FROM (
        SELECT c.tenant_id, c.id
        FROM msgstore.conversations c
        WHERE own IN ('', c.tenant_id)
            AND (c.channel = ANY (thread_names)
                 AND erased IN (c.participant_a, c.participant_b)
                 OR (c.tenant_id, c.id) IN (
                     SELECT m.tenant_id, m.conversation_id
                     FROM msgstore.messages m
                     WHERE m.inbound_event_id = ANY (events)
                         OR m.channel = ANY (channel_names)
                             AND erased IN (m."from", m."to")))
        ORDER BY c.tenant_id, c.key
        FOR UPDATE) c;
    messages := ARRAY(
        SELECT m.id FROM msgstore.messages m
        WHERE own IN ('', m.tenant_id)
            AND (m.inbound_event_id = ANY (events)
                 OR m.channel = ANY (channel_names)
                     AND erased IN (m."from", m."to")));
    PERFORM FROM (
        SELECT FROM msgstore.outbox o
        WHERE o.message_id = ANY (messages) AND own IN ('', o.tenant_id)
        ORDER BY o.tenant_id, o.message_id
        FOR UPDATE) locked;
    PERFORM FROM (
        SELECT FROM msgstore.messages m
        WHERE m.id = ANY (messages) AND own IN ('', m.tenant_id)
        ORDER BY m.tenant_id, m.id
        FOR UPDATE) locked;
    -- Of messages whose event says something else.
    events := ARRAY(
        SELECT e FROM unnest(events) e
        UNION
        SELECT m.inbound_event_id FROM msgstore.messages m
        WHERE m.id = ANY (messages) AND m.inbound_event_id IS NOT NULL);
    -- And in the order in which a purge takes them: see _walk_log().
    PERFORM FROM (
        SELECT FROM msgstore.event_failures f
        JOIN msgstore.event_log l ON l.tenant_id = f.tenant_id AND l.id = f.event_id
        WHERE f.event_id = ANY (events) AND own IN ('', f.tenant_id)
        ORDER BY l.created_at, l.id
        FOR UPDATE OF f) locked;
    PERFORM FROM (
        SELECT FROM msgstore.event_log l
        WHERE l.id = ANY (events) AND own IN ('', l.tenant_id)
        ORDER BY l.created_at, l.id
        FOR UPDATE) locked;

    FOR what, removed IN
        SELECT * FROM msgstore._erase_work(events, messages)
        UNION ALL
        SELECT * FROM msgstore._erase_messages(
            events, messages, conversations.tenants, conversations.ids)
    LOOP
        total := total + CASE WHEN what IN ('messages', 'event_log')
                              THEN removed ELSE 0 END;
        RETURN NEXT;
    END LOOP;
    IF total > 0 THEN
        PERFORM msgstore._log_operation(
            'erase', jsonb_build_object('channel', channel), total, NULL);
    END IF;
END
$$;

-- Whether all is as it should be. Everything is read in the snapshot of the
-- call: the functions are STABLE.

-- An event leaves the queue for good; who waited behind it is due.
CREATE FUNCTION msgstore._drop_work(tenant_id text, event_id uuid) RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
DECLARE
    line text;
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
    RETURNING h.conversation_key INTO line;
    UPDATE msgstore.event_queue q
    SET next_attempt_at = now()
    FROM msgstore.conversation_holds h
    WHERE h.tenant_id = _drop_work.tenant_id AND h.conversation_key = line
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

-- Puts a message into the conversation that its own columns name.
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

-- The objects of the extension, each with the statements that make it. What is
-- not a member by itself comes with its table, in the order of its making.
CREATE FUNCTION msgstore._present_objects()
    RETURNS TABLE (type text, identity text, statements text[])
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    SET quote_all_identifiers = off
    AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH members AS (
        SELECT d.classid, d.objid, e.extconfig, e.extcondition
        FROM pg_extension e
        JOIN pg_depend d ON d.refclassid = 'pg_extension'::regclass
            AND d.refobjid = e.oid AND d.deptype = 'e'
        WHERE e.extname = 'msgstore'
    ), relations AS (
        SELECT c.*, m.extcondition[array_position(m.extconfig, c.oid)] AS dumped
        FROM members m
        JOIN pg_class c ON c.oid = m.objid
        WHERE m.classid = 'pg_class'::regclass AND c.relkind IN ('r', 'S', 'v')
    ), columns AS (
        SELECT a.attrelid,
               string_agg(format('%I %s%s%s%s', a.attname,
                   format_type(a.atttypid, a.atttypmod),
                   CASE WHEN a.attcollation <> t.typcollation
                        THEN ' COLLATE ' || a.attcollation::regcollation END,
                   ' DEFAULT ' || pg_get_expr(f.adbin, f.adrelid),
                   CASE WHEN a.attnotnull THEN ' NOT NULL' END),
                   ', ' ORDER BY a.attnum) AS list
        FROM pg_attribute a
        JOIN pg_type t ON t.oid = a.atttypid
        LEFT JOIN pg_attrdef f ON f.adrelid = a.attrelid AND f.adnum = a.attnum
        WHERE a.attnum > 0 AND NOT a.attisdropped
        GROUP BY a.attrelid
    ), objects AS (
        SELECT 'pg_class'::regclass AS class, r.oid,
            (ARRAY[
                CASE r.relkind
                    WHEN 'S' THEN format('CREATE SEQUENCE %s', r.oid::regclass)
                    -- Without its options it would show more than before.
                    WHEN 'v' THEN format('CREATE VIEW %s%s AS %s', r.oid::regclass,
                        ' WITH (' || array_to_string(r.reloptions, ', ') || ')',
                        pg_get_viewdef(r.oid))
                    ELSE format('CREATE TABLE %s (%s)%s', r.oid::regclass, c.list,
                        ' WITH (' || array_to_string(r.reloptions, ', ') || ')')
                END,
                format('ALTER EXTENSION msgstore ADD %s %s',
                       CASE r.relkind WHEN 'S' THEN 'SEQUENCE' WHEN 'v' THEN 'VIEW'
                                      ELSE 'TABLE' END,
                       r.oid::regclass),
                -- pg_extension_config_dump() works in an install script only.
                format('UPDATE pg_catalog.pg_extension SET'
                       ' extconfig = array_append(extconfig, %L::pg_catalog.regclass::oid),'
                       ' extcondition = array_append(extcondition, %L)'
                       ' WHERE extname = ''msgstore''',
                       r.oid::regclass, r.dumped)])
                [:CASE WHEN r.dumped IS NULL THEN 2 ELSE 3 END]
            || CASE WHEN r.relforcerowsecurity
                    THEN ARRAY[format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY,'
                                      ' FORCE ROW LEVEL SECURITY', r.oid::regclass)]
               END AS statements
        FROM relations r
        LEFT JOIN columns c ON c.attrelid = r.oid
        UNION ALL
        SELECT 'pg_proc'::regclass, p.oid,
            ARRAY[pg_get_functiondef(p.oid),
                  format('ALTER EXTENSION msgstore ADD FUNCTION %s',
                         p.oid::regprocedure)]
            || CASE WHEN p.proacl IS NOT NULL
                    THEN ARRAY[format('REVOKE ALL ON FUNCTION %s FROM PUBLIC',
                                      p.oid::regprocedure)]
               END
        FROM members m
        JOIN pg_proc p ON p.oid = m.objid
        -- The server has no definition of an aggregate to give.
        WHERE m.classid = 'pg_proc'::regclass AND p.prokind = 'f'
        UNION ALL
        SELECT 'pg_constraint'::regclass, k.oid,
            ARRAY[format('ALTER TABLE %s ADD CONSTRAINT %I %s', r.oid::regclass,
                         k.conname, pg_get_constraintdef(k.oid))]
        FROM relations r
        JOIN pg_constraint k ON k.conrelid = r.oid
        WHERE k.contype IN ('p', 'u', 'c', 'f', 'x')
        UNION ALL
        SELECT 'pg_class'::regclass, i.indexrelid,
            ARRAY[pg_get_indexdef(i.indexrelid)]
        FROM relations r
        JOIN pg_index i ON i.indrelid = r.oid
        WHERE NOT EXISTS (
            SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid
                AND k.contype IN ('p', 'u', 'x'))
        UNION ALL
        SELECT 'pg_trigger'::regclass, t.oid,
            ARRAY[pg_get_triggerdef(t.oid)]
            || CASE WHEN t.tgenabled = 'A'
                    THEN ARRAY[format('ALTER TABLE %s ENABLE ALWAYS TRIGGER %I',
                                      r.oid::regclass, t.tgname)]
               END
        FROM relations r
        JOIN pg_trigger t ON t.tgrelid = r.oid
        WHERE NOT t.tgisinternal
        UNION ALL
        -- All of them are for everybody and for every command.
        SELECT 'pg_policy'::regclass, y.oid,
            ARRAY[format('CREATE POLICY %I ON %s USING (%s)', y.polname,
                         r.oid::regclass, pg_get_expr(y.polqual, y.polrelid))]
        FROM relations r
        JOIN pg_policy y ON y.polrelid = r.oid)
    SELECT i.type, i.identity, o.statements
    FROM objects o, pg_identify_object(o.class, o.oid, 0) i;
END
$$;

-- To be called at the end of an install or upgrade script.
CREATE FUNCTION msgstore._note_objects() RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    DELETE FROM msgstore.installed_objects;
    INSERT INTO msgstore.installed_objects (type, identity, statements)
    SELECT p.type, p.identity, p.statements FROM msgstore._present_objects() p;
END
$$;

-- One statement of several.
CREATE FUNCTION msgstore._as_one_statement(statements text[]) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN CASE
        WHEN cardinality(statements) = 1 THEN statements[1]
        ELSE format('DO %L', 'BEGIN ' || (
            SELECT string_agg(format('EXECUTE %L; ', s), '' ORDER BY n)
            FROM unnest(statements) WITH ORDINALITY AS u (s, n)) || 'END')
    END;

CREATE FUNCTION msgstore._check_objects()
    RETURNS TABLE (finding text, subject text, detail text, repair text)
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
DECLARE
    numbered record;
    greatest_used bigint;
    given bigint;
BEGIN
    -- In the order in which they can be made again.
    RETURN QUERY
    SELECT 'missing object', format('%s %s', i.type, i.identity),
           'CREATE EXTENSION has made it, and it is not there.',
           msgstore._as_one_statement(i.statements)
    FROM msgstore.installed_objects i
    LEFT JOIN msgstore._present_objects() p USING (type, identity)
    WHERE p.type IS NULL
    ORDER BY array_position('{sequence,function,table,table constraint,index,trigger,policy,view}',
                            i.type), i.identity;

    RETURN QUERY
    SELECT 'row security is off', format('table %s', c.oid::regclass),
           'Whoever may read it reads the rows of all tenants.',
           format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY',
                  c.oid::regclass)
    FROM msgstore.installed_objects i
    JOIN pg_class c ON i.type = 'policy'
        AND c.oid = to_regclass(split_part(i.identity, ' on ', 2))
    WHERE NOT (c.relrowsecurity AND c.relforcerowsecurity)
    ORDER BY c.oid::regclass::text;

    RETURN QUERY
    SELECT 'view without its options', format('view %s', c.oid::regclass),
           'It may show the rows of other tenants.',
           format('ALTER VIEW %s SET (%s)', c.oid::regclass, o.options)
    FROM msgstore.installed_objects i
    JOIN pg_class c ON i.type = 'view' AND c.oid = to_regclass(i.identity)
    CROSS JOIN LATERAL (
        SELECT substring(i.statements[1] FROM '^CREATE VIEW \S+ WITH \(([^)]*)\)')
    ) AS o (options)
    WHERE NOT string_to_array(o.options, ', ') <@ coalesce(c.reloptions, '{}')
    ORDER BY c.oid::regclass::text;

    RETURN QUERY
    SELECT 'invalid index', x.indexrelid::regclass::text,
           'It is not used for queries, or not kept up to date.',
           format(CASE WHEN k.type IS NULL THEN 'DROP INDEX %s'
                       ELSE 'REINDEX INDEX %s' END, x.indexrelid::regclass)
    FROM pg_index x
    JOIN pg_class c ON c.oid = x.indexrelid
        AND c.relnamespace = 'msgstore'::regnamespace
    -- What a concurrent build left behind is no index of the extension.
    LEFT JOIN msgstore.installed_objects k
        ON k.identity IN (x.indexrelid::regclass::text,
                          c.relname || ' on ' || x.indrelid::regclass)
    WHERE NOT (x.indisvalid AND x.indisready AND x.indislive);

    FOR numbered IN
        SELECT s.oid::regclass::text AS sequence, t.oid::regclass::text AS relation,
               a.attname AS name
        FROM pg_class s
        JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = s.oid
            AND d.refclassid = 'pg_class'::regclass AND d.refobjsubid > 0
            AND d.deptype IN ('a', 'i')
        JOIN pg_class t ON t.oid = d.refobjid
            AND t.relnamespace = 'msgstore'::regnamespace
        JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = d.refobjsubid
        WHERE s.relkind = 'S'
    LOOP
        EXECUTE format('SELECT max(%I) FROM %s', numbered.name, numbered.relation)
            INTO greatest_used;
        EXECUTE format('SELECT last_value - (NOT is_called)::int FROM %s',
                       numbered.sequence)
            INTO given;
        CONTINUE WHEN greatest_used IS NULL OR greatest_used <= given;
        finding := 'sequence behind';
        subject := numbered.sequence;
        detail := format('It has given %s, and %s.%I has %s.', given,
                         numbered.relation, numbered.name, greatest_used);
        repair := format('SELECT setval(%L, %s)', numbered.sequence, greatest_used);
        RETURN NEXT;
    END LOOP;

    RETURN QUERY
    SELECT 'unusable handler', format('%s for channel %s', h.handler, h.channel),
           w.why,
           coalesce(w.grant_it, format(
               'DELETE FROM msgstore.handlers WHERE channel = %L AND handler = %L',
               h.channel, h.handler))
    FROM msgstore.handlers h
    CROSS JOIN LATERAL (
        SELECT CASE WHEN strpos(h.handler, '(') > 0
                    THEN to_regprocedure(h.handler) END AS oid) f
    LEFT JOIN pg_roles r ON r.oid = h.registered_by
    CROSS JOIN LATERAL (
        SELECT CASE
                   WHEN f.oid IS NULL THEN 'There is no such function.'
                   WHEN r.oid IS NULL THEN 'Who registered it is gone.'
                   WHEN NOT has_function_privilege(r.oid, f.oid, 'EXECUTE')
                       THEN 'Who registered it may not execute it.'
               END AS why,
               CASE
                   WHEN f.oid IS NOT NULL AND r.oid IS NOT NULL
                       THEN format('GRANT EXECUTE ON FUNCTION %s TO %I',
                                   f.oid::regprocedure, r.rolname)
               END AS grant_it) w
    WHERE w.why IS NOT NULL;
END
$$;

CREATE FUNCTION msgstore._check_conversations()
    RETURNS TABLE (finding text, subject text, detail text, repair text)
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
DECLARE
    scope CONSTANT text := msgstore._tenant_scope();
BEGIN
    RETURN QUERY
    SELECT CASE WHEN m.n IS NULL THEN 'conversation without messages'
                WHEN m.n <> c.message_count THEN 'wrong message count'
                ELSE 'wrong last activity' END,
           format('conversation %s', c.id),
           format('It says %s messages and %s; it has %s and %s.',
                  c.message_count, c.last_activity_at,
                  coalesce(m.n, 0), coalesce(m.last::text, 'none')),
           format('SELECT msgstore._recount_conversations(ARRAY[%L], ARRAY[%L::uuid])',
                  c.tenant_id, c.id)
    FROM msgstore.conversations c
    LEFT JOIN (
        SELECT m.tenant_id, m.conversation_id, count(*) AS n,
               max(m."timestamp") AS last
        FROM msgstore.messages m
        WHERE scope IN ('', m.tenant_id)
        GROUP BY m.tenant_id, m.conversation_id) m
        ON m.tenant_id = c.tenant_id AND m.conversation_id = c.id
    WHERE scope IN ('', c.tenant_id)
        AND (m.n, m.last) IS DISTINCT FROM
            (c.message_count::bigint, c.last_activity_at);

    RETURN QUERY
    SELECT 'wrong number of conversations', format('tenant "%s"', t.tenant_id),
           format('It says %s; there are %s.', sum(t.said), sum(t.n)),
           format('SELECT msgstore._recount_tenant(%L)', t.tenant_id)
    FROM (
        SELECT c.tenant_id, c.n AS said, 0 AS n
        FROM msgstore.conversation_counts c
        WHERE scope IN ('', c.tenant_id)
        UNION ALL
        SELECT c.tenant_id, 0, 1
        FROM msgstore.conversations c
        WHERE scope IN ('', c.tenant_id)) t
    GROUP BY t.tenant_id
    HAVING sum(t.said) <> sum(t.n);

    RETURN QUERY
    SELECT CASE WHEN c.id IS NULL THEN 'message without conversation'
                ELSE 'message in another conversation' END,
           format('message %s', m.id),
           format('It belongs to %s.', m.conversation_key),
           format('SELECT msgstore._rehome_message(%L, %L)', m.tenant_id, m.id)
    FROM msgstore.messages m
    LEFT JOIN msgstore.conversations c
        ON c.tenant_id = m.tenant_id AND c.id = m.conversation_id
    WHERE scope IN ('', m.tenant_id)
        AND c.key IS DISTINCT FROM m.conversation_key;
END
$$;

CREATE FUNCTION msgstore._check_events()
    RETURNS TABLE (finding text, subject text, detail text, repair text)
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
DECLARE
    scope CONSTANT text := msgstore._tenant_scope();
BEGIN
    RETURN QUERY
    SELECT 'event in no place', format('event %s', l.id),
           'It is neither queued nor dead, and has no message.',
           CASE WHEN l.payload <> '{}'
               THEN format('SELECT msgstore._enqueue(ARRAY[%L], ARRAY[%L::uuid])',
                           l.tenant_id, l.id)
               -- Purged: nothing is left to make a message of.
               ELSE format('DELETE FROM msgstore.event_log'
                           ' WHERE tenant_id = %L AND id = %L', l.tenant_id, l.id)
           END
    FROM msgstore.event_log l
    WHERE scope IN ('', l.tenant_id)
        AND NOT EXISTS (
            SELECT FROM msgstore.messages m
            WHERE m.tenant_id = l.tenant_id AND m.inbound_event_id = l.id)
        AND NOT EXISTS (
            SELECT FROM msgstore.event_queue q
            WHERE q.tenant_id = l.tenant_id AND q.event_id = l.id)
        AND NOT EXISTS (
            SELECT FROM msgstore.dead_letters d
            WHERE d.tenant_id = l.tenant_id AND d.event_id = l.id);

    RETURN QUERY
    SELECT w.finding, format('event %s', q.event_id), w.detail,
           CASE w.finding
               WHEN 'event in two places' THEN
                   CASE WHEN m.id IS NULL
                       THEN format('SELECT msgstore._drop_dead_letter(%L, %L)',
                                   q.tenant_id, q.event_id)
                       ELSE format('SELECT msgstore._drop_work(%L, %L)',
                                   q.tenant_id, q.event_id)
                   END
               WHEN 'event that waits for nothing' THEN
                   format('UPDATE msgstore.event_queue SET next_attempt_at = now()'
                          ' WHERE tenant_id = %L AND event_id = %L',
                          q.tenant_id, q.event_id)
               ELSE format('SELECT msgstore._drop_work(%L, %L)',
                           q.tenant_id, q.event_id)
           END
    FROM msgstore.event_queue q
    LEFT JOIN msgstore.event_log l
        ON l.tenant_id = q.tenant_id AND l.id = q.event_id
    LEFT JOIN msgstore.messages m
        ON m.tenant_id = q.tenant_id AND m.inbound_event_id = q.event_id
    LEFT JOIN msgstore.dead_letters d
        ON d.tenant_id = q.tenant_id AND d.event_id = q.event_id
    LEFT JOIN msgstore.event_claims c
        ON c.tenant_id = q.tenant_id AND c.event_id = q.event_id
    LEFT JOIN msgstore.conversation_holds h
        ON h.tenant_id = q.tenant_id AND h.event_id = q.event_id
    CROSS JOIN LATERAL (VALUES
        (m.id IS NOT NULL, 'event in two places',
         'It is queued, and has its message.'),
        (m.id IS NULL AND d.event_id IS NOT NULL, 'event in two places',
         'It is queued, and a dead letter.'),
        (m.id IS NULL AND l.id IS NULL, 'queue row without event',
         'The event is not in the log.'),
        (l.id IS NOT NULL AND m.id IS NULL AND c.event_id IS NULL
         AND q.next_attempt_at = 'infinity'
         AND NOT EXISTS (
             SELECT FROM msgstore.conversation_holds earlier
             WHERE earlier.tenant_id = h.tenant_id
                 AND earlier.conversation_key = h.conversation_key
                 AND earlier.event_id < h.event_id),
         'event that waits for nothing',
         'It is never due, though nobody has claimed it or stands before it.')
    ) AS w (holds, finding, detail)
    WHERE w.holds AND scope IN ('', q.tenant_id);

    RETURN QUERY
    SELECT CASE WHEN m.id IS NOT NULL THEN 'event in two places'
                ELSE 'dead letter without event' END,
           format('%s %s', CASE d.direction WHEN 'inbound' THEN 'event'
                                            ELSE 'message' END, d.event_id),
           CASE WHEN m.id IS NOT NULL THEN 'It is a dead letter, and has its message.'
                ELSE 'What it was made of is gone.' END,
           format('SELECT msgstore._drop_dead_letter(%L, %L)',
                  d.tenant_id, d.event_id)
    FROM msgstore.dead_letters d
    LEFT JOIN msgstore.event_log l
        ON l.tenant_id = d.tenant_id AND l.id = d.event_id
    LEFT JOIN msgstore.messages m ON d.direction = 'inbound'
        AND m.tenant_id = d.tenant_id AND m.inbound_event_id = d.event_id
    LEFT JOIN msgstore.messages o ON d.direction = 'outbound'
        AND o.tenant_id = d.tenant_id AND o.id = d.event_id
    WHERE scope IN ('', d.tenant_id)
        AND (m.id IS NOT NULL
             OR CASE d.direction WHEN 'inbound' THEN l.id ELSE o.id END IS NULL);

    RETURN QUERY
    SELECT w.finding, format('event %s', w.event_id), 'It is not in the queue.',
           format('SELECT msgstore._drop_work(%L, %L)', w.tenant_id, w.event_id)
    FROM (
        SELECT 'claim without queue row' AS finding, c.tenant_id, c.event_id
        FROM msgstore.event_claims c
        UNION ALL
        SELECT 'hold without queue row', h.tenant_id, h.event_id
        FROM msgstore.conversation_holds h) w
    WHERE scope IN ('', w.tenant_id)
        AND NOT EXISTS (
            SELECT FROM msgstore.event_queue q
            WHERE q.tenant_id = w.tenant_id AND q.event_id = w.event_id);

    RETURN QUERY
    SELECT 'failures without event', format('event or message %s', f.event_id),
           'It is neither in the log nor among the messages.',
           format('DELETE FROM msgstore.event_failures'
                  ' WHERE tenant_id = %L AND event_id = %L',
                  f.tenant_id, f.event_id)
    FROM msgstore.event_failures f
    WHERE scope IN ('', f.tenant_id)
        AND NOT EXISTS (
            SELECT FROM msgstore.event_log l
            WHERE l.tenant_id = f.tenant_id AND l.id = f.event_id)
        AND NOT EXISTS (
            SELECT FROM msgstore.messages m
            WHERE m.tenant_id = f.tenant_id AND m.id = f.event_id);
END
$$;

CREATE FUNCTION msgstore._check_outbox()
    RETURNS TABLE (finding text, subject text, detail text, repair text)
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
DECLARE
    scope CONSTANT text := msgstore._tenant_scope();
BEGIN
    RETURN QUERY
    SELECT w.finding, format('message %s', o.message_id), w.detail,
           format(CASE w.finding
                      WHEN 'message in two places' THEN
                          'SELECT msgstore._drop_dead_letter(%L, %L)'
                      ELSE
                          'DELETE FROM msgstore.outbox'
                          ' WHERE tenant_id = %L AND message_id = %L'
                  END, o.tenant_id, o.message_id)
    FROM msgstore.outbox o
    LEFT JOIN msgstore.messages m
        ON m.tenant_id = o.tenant_id AND m.id = o.message_id
        AND m.direction = 'outbound'
    LEFT JOIN msgstore.deliveries d
        ON d.tenant_id = o.tenant_id AND d.message_id = o.message_id
    LEFT JOIN msgstore.dead_letters l
        ON l.tenant_id = o.tenant_id AND l.event_id = o.message_id
    CROSS JOIN LATERAL (VALUES
        (m.id IS NULL, 'outbox row without message',
         'There is no such outbound message.'),
        (m.id IS NOT NULL AND d.id IS NOT NULL, 'sent message in the outbox',
         'It was sent, and waits to be sent.'),
        (m.id IS NOT NULL AND d.id IS NULL AND l.event_id IS NOT NULL,
         'message in two places', 'It waits to be sent, and is a dead letter.')
    ) AS w (holds, finding, detail)
    WHERE w.holds AND scope IN ('', o.tenant_id);

    RETURN QUERY
    SELECT 'delivery without message', format('message %s', d.message_id),
           'There is no such outbound message.',
           format('DELETE FROM msgstore.deliveries WHERE tenant_id = %L AND id = %L',
                  d.tenant_id, d.id)
    FROM msgstore.deliveries d
    WHERE d.message_id IS NOT NULL AND scope IN ('', d.tenant_id)
        AND NOT EXISTS (
            SELECT FROM msgstore.messages m
            WHERE m.tenant_id = d.tenant_id AND m.id = d.message_id
                AND m.direction = 'outbound');

    RETURN QUERY
    SELECT 'callback without delivery', format('callback %s', s.id),
           format('Nothing is known of "%s" of channel %s.',
                  s.provider_message_id, s.channel),
           format('DELETE FROM msgstore.delivery_statuses'
                  ' WHERE tenant_id = %L AND id = %L', s.tenant_id, s.id)
    FROM msgstore.delivery_statuses s
    WHERE scope IN ('', s.tenant_id)
        AND NOT EXISTS (
            SELECT FROM msgstore.deliveries d
            WHERE d.tenant_id = s.tenant_id AND d.channel = s.channel
                AND d.provider_message_id = s.provider_message_id);
END
$$;

CREATE FUNCTION msgstore.check()
    RETURNS TABLE (finding text, subject text, detail text, repair text)
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET timezone = 'UTC'
    SET datestyle = 'ISO'
    SET quote_all_identifiers = off
    AS $$
BEGIN
    IF msgstore._tenant_scope() = '' THEN
        RETURN QUERY SELECT * FROM msgstore._check_objects();
    END IF;
    -- The data is looked at by these objects.
    IF EXISTS (
        SELECT FROM msgstore.installed_objects i
        WHERE i.type = 'table' AND to_regclass(i.identity) IS NULL) THEN
        RETURN;
    END IF;
    RETURN QUERY SELECT * FROM msgstore._check_conversations();
    RETURN QUERY SELECT * FROM msgstore._check_events();
    RETURN QUERY SELECT * FROM msgstore._check_outbox();
END
$$;

REVOKE ALL ON FUNCTION msgstore._keep_operations() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._log_operation(text, jsonb, bigint, uuid[]) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._recount_conversations(text[], uuid[]) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._messages_of(text[], uuid[]) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._read_replay_filter(jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._note_replay(jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._apply_replay() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.replay(jsonb, boolean) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._purge_events(text, text[], uuid[]) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._walk_log(text, timestamptz, int, boolean, timestamptz, uuid) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._purge_statuses(timestamptz, int, boolean) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._purge_dead_letters(timestamptz, int, boolean) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._purge_log(text, timestamptz, boolean) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.purge(interval, boolean, text[]) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._recheck_skipped(text, int) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._purge_batch(text, timestamptz, int) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._next_purge(text, interval) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._purge_turn() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._erase_work(uuid[], uuid[]) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._erase_messages(uuid[], uuid[], text[], uuid[]) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.erase_address(text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._drop_work(text, uuid) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._drop_dead_letter(text, uuid) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._rehome_message(text, uuid) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._present_objects() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._note_objects() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._as_one_statement(text[]) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._check_objects() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._check_conversations() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._check_events() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._check_outbox() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.check() FROM PUBLIC;

COMMENT ON TABLE msgstore.operations_log IS
    'Who requeued, replayed, purged or erased what, and when; rows are only added';
COMMENT ON TABLE msgstore.purge_progress IS
    'How far the workers'' purge has come, for each kind';
COMMENT ON TABLE msgstore.purge_skipped IS
    'Events that were work when the workers'' purge passed them';
COMMENT ON TABLE msgstore.installed_objects IS
    'What CREATE EXTENSION has made, for check() to compare with what there is';
COMMENT ON COLUMN msgstore.operations_log.tenant_id IS
    'The tenant of the session that did it; empty: it worked on all of them';
COMMENT ON COLUMN msgstore.operations_log.event_count IS
    'How many events, or rows of a purge, it was done to';
COMMENT ON COLUMN msgstore.operations_log.event_ids IS
    'Which; of a replay at most 10000, of what is gone none';
COMMENT ON COLUMN msgstore.purge_progress.walked_at IS
    'With walked_id the place in event_log up to which it has been walked';
COMMENT ON COLUMN msgstore.purge_progress.rechecked_tenant IS
    'With rechecked_id the place in purge_skipped up to which it was looked at again';
COMMENT ON COLUMN msgstore.installed_objects.statements IS
    'What makes it again';
COMMENT ON VIEW msgstore.dead_letter_events IS
    'Every dead letter with the event or the outbound message that it is about';
COMMENT ON FUNCTION msgstore._keep_operations() IS
    'Trigger: MS403 for who would change what is on record and is not the table''s owner.';
COMMENT ON FUNCTION msgstore._log_operation(text, jsonb, bigint, uuid[]) IS
    'Writes a row into operations_log';
COMMENT ON FUNCTION msgstore._recount_conversations(text[], uuid[]) IS
    'Makes count and last activity of these conversations right, removes those without messages, and returns how many it removed';
COMMENT ON FUNCTION msgstore._messages_of(text[], uuid[]) IS
    'The messages that the worker would make of these events of the log now, with the addresses normalized anew; none for an event whose channel is gone';
COMMENT ON FUNCTION msgstore._read_replay_filter(jsonb) IS
    'What a filter of replay says. Raises MS400, MS404';
COMMENT ON FUNCTION msgstore._note_replay(jsonb) IS
    'What a replay is to change, in pg_temp.msgstore_replay; returns how many events it looked at';
COMMENT ON FUNCTION msgstore._apply_replay() IS
    'Changes what _note_replay has written down';
COMMENT ON FUNCTION msgstore.replay(jsonb, boolean) IS
    'Makes the messages of processed events again from what is stored of the events, with the same ids, and puts right the conversations they leave and join. filter: channel, created_from, created_until, event_ids, conversation. events: looked at; added: messages that were missing; changed: messages that differed; moved: those of them that went to another conversation. With dry_run only counts. Raises MS400, MS404';
COMMENT ON FUNCTION msgstore._purge_events(text, text[], uuid[]) IS
    'Empties the payloads of these events, or removes the events with their failures; returns how many';
COMMENT ON FUNCTION msgstore._walk_log(text, timestamptz, int, boolean, timestamptz, uuid) IS
    'One step over the log in the order of time: purges what is processed, and tells what is still work';
COMMENT ON FUNCTION msgstore._purge_statuses(timestamptz, int, boolean) IS
    'Removes what providers reported before this time, and what is left of messages that nobody knows';
COMMENT ON FUNCTION msgstore._purge_dead_letters(timestamptz, int, boolean) IS
    'Removes dead letters that died before this time, with their events';
COMMENT ON FUNCTION msgstore._purge_log(text, timestamptz, boolean) IS
    'The whole walk over the log at once; returns how many events it purged';
COMMENT ON FUNCTION msgstore.purge(interval, boolean, text[]) IS
    'Removes what is older than this, kind by kind, and returns how many rows: payloads (of processed events, which stay), events (processed, with their failures and with callbacks of that age; messages stay), dead_letters (with their events). Never what is still work. With dry_run only counts. Raises MS400';
COMMENT ON FUNCTION msgstore._recheck_skipped(text, int) IS
    'Purges events that were work when the walk passed them and no longer are';
COMMENT ON FUNCTION msgstore._purge_batch(text, timestamptz, int) IS
    'One batch of the workers'' purge of a kind; more says that there may be another';
COMMENT ON FUNCTION msgstore._next_purge(text, interval) IS
    'When the oldest row of the kind that the purge has not met will be of this age; null when there is none';
COMMENT ON FUNCTION msgstore._purge_turn() IS
    'A batch of each kind whose age is set; returns in how many milliseconds the next one is due: 0 at once, -1 never';
COMMENT ON FUNCTION msgstore._erase_work(uuid[], uuid[]) IS
    'Removes what waits to be done with these events and messages';
COMMENT ON FUNCTION msgstore._erase_messages(uuid[], uuid[], text[], uuid[]) IS
    'Removes these messages and events, what became of them, and the conversations if nothing is left in them';
COMMENT ON FUNCTION msgstore.erase_address(text, text) IS
    'Removes everything that is stored of a person''s address on a channel: messages from and to it, their conversations, events wherever they are, dead letters, deliveries and keys. Returns how many rows of which table. Raises MS400';
COMMENT ON FUNCTION msgstore._drop_work(text, uuid) IS
    'Takes an event out of the queue with its claim and its place in line';
COMMENT ON FUNCTION msgstore._drop_dead_letter(text, uuid) IS
    'Removes a dead letter, and nothing else of it';
COMMENT ON FUNCTION msgstore._rehome_message(text, uuid) IS
    'Puts a message into the conversation that its own columns name';
COMMENT ON FUNCTION msgstore._present_objects() IS
    'The tables, sequences, views, functions, constraints, indexes and triggers of the extension, with the statements that make them';
COMMENT ON FUNCTION msgstore._note_objects() IS
    'Keeps in installed_objects what there is; the last statement of an install or upgrade script';
COMMENT ON FUNCTION msgstore._as_one_statement(text[]) IS
    'One statement that executes these';
COMMENT ON FUNCTION msgstore._check_objects() IS
    'Objects that are missing or broken, sequences that are behind, handlers that cannot run';
COMMENT ON FUNCTION msgstore._check_conversations() IS
    'Conversations and messages that do not belong together';
COMMENT ON FUNCTION msgstore._check_events() IS
    'Events that are in no place or in two, and what is left of events that are gone';
COMMENT ON FUNCTION msgstore._check_outbox() IS
    'Outbound messages that are in two places, and what is left of such that are gone';
COMMENT ON FUNCTION msgstore.check() IS
    'Compares what is stored with what must always hold, in one snapshot: one row for each finding, with a statement that repairs it; none when all is well';

