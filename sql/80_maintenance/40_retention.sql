-- maintenance: retention, by purge() or by the worker in small batches.

-- The worker's purge scans the log once, in passes. A pass goes through the
-- tenants and reads from each the events that have become old since the last
-- pass. An event that is still queued or dead when the scan reaches it goes into
-- purge_skipped and is rechecked later, so that no batch reads again what an
-- earlier one has read.
CREATE TABLE msgstore.purge_progress (
    kind text COLLATE "C" NOT NULL,
    scanned_before uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
    pass_before uuid,
    walked_tenant text COLLATE "C",
    walked_id uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
    next_id uuid,
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

SELECT pg_catalog.pg_extension_config_dump('msgstore.purge_progress', '');
SELECT pg_catalog.pg_extension_config_dump('msgstore.purge_skipped', '');

CREATE FUNCTION msgstore._purge_events(
    kind text,
    tenants text[],
    event_ids uuid[])
    RETURNS int
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    removed int;
BEGIN
    IF kind = 'outbound_payloads' THEN
        DELETE FROM msgstore.outbound_payloads p
        USING unnest(tenants, event_ids) AS e (tenant_id, id)
        WHERE p.tenant_id = e.tenant_id AND p.message_id = e.id;
    ELSIF kind = 'payloads' THEN
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
    -- After the event: a session that records a conflict keeps it from going.
    IF kind = 'events' THEN
        DELETE FROM msgstore.id_conflicts c
        USING unnest(tenants, event_ids) AS e (tenant_id, id)
        WHERE c.tenant_id = e.tenant_id AND c.event_id = e.id;
        DELETE FROM msgstore.thread_ids t
        USING unnest(tenants, event_ids) AS e (tenant_id, id)
        WHERE t.tenant_id = e.tenant_id AND t.message_id = e.id;
        DELETE FROM msgstore.attachments a
        USING unnest(tenants, event_ids) AS e (tenant_id, id)
        WHERE a.tenant_id = e.tenant_id AND a.message_id = e.id;
    END IF;
    RETURN removed;
END
$$;

-- Scans the next events of one tenant after walked_id and below the id "before".
-- Returns how many events it met, how many it purged, and those that it skipped
-- because they are queued or dead letters.
CREATE FUNCTION msgstore._walk_tenant(
    kind text,
    tenant text,
    before uuid,
    most int,
    dry_run boolean,
    INOUT walked_id uuid,
    OUT met int,
    OUT removed int,
    OUT busy_ids uuid[])
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    free record;
BEGIN
    WITH walked AS MATERIALIZED (
        SELECT l.id,
               kind = 'events' OR l.payload <> '{}' AS counts,
               EXISTS (
                   SELECT FROM msgstore.event_queue q
                   WHERE q.tenant_id = l.tenant_id AND q.event_id = l.id)
               OR EXISTS (
                   SELECT FROM msgstore.dead_letters d
                   WHERE d.tenant_id = l.tenant_id AND d.event_id = l.id)
                   AS busy
        FROM msgstore.event_log l
        WHERE l.tenant_id = tenant AND l.id > walked_id AND l.id < before
        ORDER BY l.id
        LIMIT most)
    SELECT count(*) AS met,
           count(*) FILTER (WHERE w.counts AND NOT w.busy) AS n,
           (array_agg(w.id ORDER BY w.id DESC))[1] AS walked_id,
           array_agg(w.id) FILTER (WHERE NOT w.busy) AS ids,
           array_agg(w.id) FILTER (WHERE w.busy) AS busy_ids
    INTO free
    FROM walked w;
    met := free.met;
    busy_ids := coalesce(free.busy_ids, '{}');
    walked_id := coalesce(free.walked_id, walked_id);
    removed := CASE
        WHEN dry_run THEN free.n
        WHEN free.ids IS NULL THEN 0
        ELSE msgstore._purge_events(
            kind, array_fill(tenant, ARRAY[cardinality(free.ids)]), free.ids)
    END;
END
$$;

-- Continues a pass over the events with an id from "since" on and below "before",
-- after (walked_tenant, walked_id). Tenants come in descending order: the search
-- for the next one then finds its newest event, and does not have to pass the
-- index entries of all the events that were purged. Sets walked_tenant to null at
-- the end of the pass; next_id is the least remaining id from "before" on of the
-- tenants that it finished.
CREATE FUNCTION msgstore._walk_log(
    kind text,
    since uuid,
    before uuid,
    most int,
    dry_run boolean,
    INOUT walked_tenant text,
    INOUT walked_id uuid,
    INOUT next_id uuid,
    OUT removed int,
    OUT busy_tenants text[],
    OUT busy_ids uuid[])
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    left_over int := most;
    step record;
BEGIN
    removed := 0;
    busy_tenants := '{}';
    busy_ids := '{}';
    IF walked_tenant IS NULL THEN
        walked_tenant := msgstore._log_tenant_below(NULL);
        walked_id := since;
    END IF;
    WHILE walked_tenant IS NOT NULL AND left_over > 0 LOOP
        SELECT * INTO step
        FROM msgstore._walk_tenant(
            kind, walked_tenant, before, left_over, dry_run, walked_id);
        removed := removed + step.removed;
        busy_tenants := busy_tenants
            || array_fill(walked_tenant, ARRAY[cardinality(step.busy_ids)]);
        busy_ids := busy_ids || step.busy_ids;
        IF step.met < left_over THEN
            next_id := least(next_id, (
                SELECT l.id FROM msgstore.event_log l
                WHERE l.tenant_id = walked_tenant AND l.id >= before
                ORDER BY l.id LIMIT 1));
            walked_tenant := msgstore._log_tenant_below(walked_tenant);
            walked_id := since;
        ELSE
            walked_id := step.walked_id;
        END IF;
        -- A tenant without old events costs as much as an event.
        left_over := left_over - greatest(step.met, 1);
    END LOOP;
END
$$;

-- The same for the payloads of outbound messages, in time order. A payload is kept while
-- its message waits to be sent, or can be requeued.
CREATE FUNCTION msgstore._walk_outbound(
    before timestamptz,
    most int,
    dry_run boolean,
    INOUT walked_id uuid,
    OUT met int,
    OUT removed int,
    OUT busy_tenants text[],
    OUT busy_ids uuid[])
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    bound CONSTANT uuid := msgstore._least_uuid7(before);
    free record;
BEGIN
    WITH walked AS MATERIALIZED (
        SELECT p.tenant_id, p.message_id AS id,
               EXISTS (
                   SELECT FROM msgstore.outbox o
                   WHERE o.tenant_id = p.tenant_id AND o.message_id = p.message_id)
               OR EXISTS (
                   SELECT FROM msgstore.dead_letters d
                   WHERE d.tenant_id = p.tenant_id AND d.event_id = p.message_id)
                   AS busy
        FROM (
            SELECT next.*
            FROM msgstore._tenants_in_scope() t
            CROSS JOIN LATERAL (
                SELECT p.tenant_id, p.message_id
                FROM msgstore.outbound_payloads p
                WHERE p.tenant_id = t AND p.message_id > walked_id
                    AND p.message_id < bound
                ORDER BY p.message_id
                LIMIT most) next
            ORDER BY next.message_id
            LIMIT most) p)
    SELECT count(*) AS met,
           count(*) FILTER (WHERE NOT w.busy) AS n,
           (array_agg(w.id ORDER BY w.id DESC))[1] AS walked_id,
           array_agg(w.tenant_id) FILTER (WHERE NOT w.busy) AS tenants,
           array_agg(w.id) FILTER (WHERE NOT w.busy) AS ids,
           array_agg(w.tenant_id) FILTER (WHERE w.busy) AS busy_tenants,
           array_agg(w.id) FILTER (WHERE w.busy) AS busy_ids
    INTO free
    FROM walked w;
    met := free.met;
    busy_tenants := free.busy_tenants;
    busy_ids := free.busy_ids;
    walked_id := coalesce(free.walked_id, walked_id);
    removed := CASE
        WHEN dry_run THEN free.n
        ELSE msgstore._purge_events('outbound_payloads', free.tenants, free.ids)
    END;
END
$$;

-- A delivery that never matched a message goes with its last status. A locked one
-- stays: it is being reported on. Reports lock deliveries before statuses.
CREATE FUNCTION msgstore._purge_statuses(
    before timestamptz,
    most int,
    dry_run boolean)
    RETURNS int
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    scope CONSTANT text := msgstore._tenant_scope();
    gone record;
    free record;
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
    SELECT array_agg(l.tenant_id) AS tenants, array_agg(l.id) AS ids
    INTO free
    FROM (
        SELECT d.tenant_id, d.id
        FROM unnest(gone.tenants, gone.channels, gone.names)
            AS g (tenant_id, channel, provider_message_id)
        JOIN msgstore.deliveries d
            ON d.tenant_id = g.tenant_id AND d.channel = g.channel
            AND d.provider_message_id = g.provider_message_id
        WHERE d.message_id IS NULL
        FOR UPDATE OF d SKIP LOCKED) l;
    -- A statement of its own, which sees the statuses that came before the locks.
    DELETE FROM msgstore.deliveries d
    USING unnest(free.tenants, free.ids) AS f (tenant_id, id)
    WHERE d.tenant_id = f.tenant_id AND d.id = f.id
        AND NOT EXISTS (
            SELECT FROM msgstore.delivery_statuses s
            WHERE s.tenant_id = d.tenant_id AND s.channel = d.channel
                AND s.provider_message_id = d.provider_message_id);
    RETURN gone.n;
END
$$;

-- Rows of a table whose time is in the column "at", the oldest first if there is a
-- limit. SKIP LOCKED: a refused event that is being submitted again stays, and so
-- does a notification that is being redriven.
CREATE FUNCTION msgstore._purge_rows(
    of_table text,
    at text,
    before timestamptz,
    most int,
    dry_run boolean)
    RETURNS bigint
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    scope CONSTANT text := msgstore._tenant_scope();
    old CONSTANT text := format(
        'FROM msgstore.%I o WHERE o.%I < $1 AND $2 IN ('''', o.tenant_id)',
        of_table, at);
    removed bigint;
BEGIN
    IF dry_run THEN
        EXECUTE format('SELECT count(*) %s', old) INTO removed USING before, scope;
        RETURN removed;
    END IF;
    EXECUTE format(
        'DELETE FROM msgstore.%I r'
        ' USING (SELECT o.ctid %s %s FOR UPDATE SKIP LOCKED) old'
        ' WHERE r.ctid = old.ctid',
        of_table, old,
        CASE WHEN most IS NOT NULL THEN format('ORDER BY o.%I LIMIT %s', at, most) END)
    USING before, scope;
    GET DIAGNOSTICS removed = ROW_COUNT;
    RETURN removed;
END
$$;

-- SKIP LOCKED: a dead letter that is being requeued stays.
CREATE FUNCTION msgstore._purge_dead_letters(
    before timestamptz,
    most int,
    dry_run boolean)
    RETURNS int
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
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

CREATE FUNCTION msgstore._purge_log(
    kind text,
    before timestamptz,
    dry_run boolean)
    RETURNS bigint
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    nothing CONSTANT uuid := '00000000-0000-0000-0000-000000000000';
    tenant text;
    id uuid := nothing;
    met int;
    removed int;
    total bigint := 0;
BEGIN
    LOOP
        PERFORM msgstore._report_progress(
            'purge', CASE WHEN dry_run THEN 'counting ' ELSE 'removing ' END || kind, total);
        IF kind = 'outbound_payloads' THEN
            SELECT w.walked_id, w.met, w.removed
            INTO id, met, removed
            FROM msgstore._walk_outbound(before, 10000, dry_run, id) w;
            EXIT WHEN met = 0;
            total := total + removed;
        ELSE
            SELECT w.walked_tenant, w.walked_id, w.removed
            INTO tenant, id, removed
            FROM msgstore._walk_log(
                kind, nothing, msgstore._least_uuid7(before), 10000, dry_run,
                tenant, id, NULL) w;
            total := total + removed;
            EXIT WHEN tenant IS NULL;
        END IF;
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
    -- See _purge_turn().
    SET enable_seqscan = off
    SET enable_bitmapscan = off
    SET enable_hashjoin = off
    SET enable_mergejoin = off
    SET enable_sort = off
    SET jit = off
    AS $$
DECLARE
    before CONSTANT timestamptz := now() - older_than;
    only_count CONSTANT boolean := coalesce(dry_run, false);
    total bigint := 0;
    unknown text;
BEGIN
    PERFORM msgstore._check_all_here();
    IF older_than IS NULL OR older_than < interval '0' THEN
        RAISE EXCEPTION 'invalid older_than "%"',
            coalesce(older_than::text, 'null')
            USING ERRCODE = 'MS400',
                  DETAIL = 'The age must be a non-negative interval, such as ''30 days''.';
    END IF;
    SELECT coalesce(k, 'null') INTO unknown
    FROM unnest(coalesce(kinds, '{NULL}')) k
    WHERE k IS NULL OR k NOT IN ('payloads', 'events', 'dead_letters', 'consent_log');
    IF FOUND THEN
        RAISE EXCEPTION 'kind "%" does not exist', left(unknown, 64)
            USING ERRCODE = 'MS400',
                  DETAIL = 'Valid kinds are payloads, events, dead_letters, and consent_log.';
    END IF;
    -- Each kind goes through the log from its beginning. Excludes erasures, which
    -- hold rows that come earlier while they wait for a later one.
    LOCK TABLE msgstore.operations_log IN SHARE UPDATE EXCLUSIVE MODE;

    FOR kind IN SELECT DISTINCT k FROM unnest(kinds) k ORDER BY k LOOP
        removed := CASE kind
            WHEN 'dead_letters' THEN
                msgstore._purge_dead_letters(before, NULL, only_count)
                + msgstore._purge_rows('notifications', 'dead_at', before, NULL, only_count)
            WHEN 'consent_log' THEN
                -- Only by hand: the ledger of consent outlives what it is about.
                msgstore._purge_rows('consent_log', 'happened_at', before, NULL, only_count)
            ELSE msgstore._purge_log(kind, before, only_count)
        END;
        total := total + removed;
        RETURN NEXT;
        IF kind = 'events' THEN
            kind := 'delivery_statuses';
            removed := msgstore._purge_statuses(before, NULL, only_count);
            total := total + removed;
            RETURN NEXT;
            kind := 'refused_events';
            removed := msgstore._purge_rows(kind, 'received_at', before, NULL, only_count);
            total := total + removed;
            RETURN NEXT;
        END IF;
    END LOOP;
    -- What is kept of an outbound message beside it is its payload.
    IF kinds && '{payloads,events}' THEN
        kind := 'outbound_payloads';
        removed := msgstore._purge_log(kind, before, only_count);
        total := total + removed;
        RETURN NEXT;
    END IF;
    IF NOT only_count AND total > 0 THEN
        PERFORM msgstore._log_operation(
            'purge',
            jsonb_build_object('older_than', older_than, 'kinds', kinds),
            total, NULL);
    END IF;
END
$$;

REVOKE ALL ON FUNCTION msgstore._purge_events(text, text[], uuid[]) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._walk_tenant(text, text, uuid, int, boolean, uuid) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._walk_log(text, uuid, uuid, int, boolean, text, uuid, uuid) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._walk_outbound(timestamptz, int, boolean, uuid) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._purge_statuses(timestamptz, int, boolean) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._purge_rows(text, text, timestamptz, int, boolean) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._purge_dead_letters(timestamptz, int, boolean) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._purge_log(text, timestamptz, boolean) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.purge(interval, boolean, text[]) FROM PUBLIC;

COMMENT ON TABLE msgstore.purge_progress IS
    'Position of the worker''s purge in the event log and in outbound_payloads, one row for each kind';
COMMENT ON COLUMN msgstore.purge_progress.kind IS
    'payloads, events or outbound_payloads';
COMMENT ON COLUMN msgstore.purge_progress.scanned_before IS
    'All events with a lower id were scanned by earlier passes; not used for outbound_payloads';
COMMENT ON COLUMN msgstore.purge_progress.pass_before IS
    'Upper bound of the ids that the current pass scans; null between passes and for outbound_payloads';
COMMENT ON COLUMN msgstore.purge_progress.walked_tenant IS
    'Tenant that the current pass is scanning; null between passes and for outbound_payloads';
COMMENT ON COLUMN msgstore.purge_progress.walked_id IS
    'Id of the last event of that tenant, or of the last outbound message, that was scanned';
COMMENT ON COLUMN msgstore.purge_progress.next_id IS
    'Least id that the last pass left because it was not old enough; null if there was none';
COMMENT ON COLUMN msgstore.purge_progress.rechecked_tenant IS
    'tenant_id of the last row of purge_skipped rechecked; empty when the next recheck starts over';
COMMENT ON COLUMN msgstore.purge_progress.rechecked_id IS
    'event_id of the last row of purge_skipped rechecked';
COMMENT ON TABLE msgstore.purge_skipped IS
    'Events and outbound messages that were old enough but still queued or dead letters when the worker''s purge scanned them';
COMMENT ON COLUMN msgstore.purge_skipped.tenant_id IS
    'Tenant that owns the event';
COMMENT ON COLUMN msgstore.purge_skipped.kind IS
    'payloads, events or outbound_payloads';
COMMENT ON COLUMN msgstore.purge_skipped.event_id IS
    'Id of the event or message';
COMMENT ON FUNCTION msgstore._purge_events(text, text[], uuid[]) IS
    'Empties the payloads of these events, removes the events with their attachments, failures and conflicts, or removes the payloads of these outbound messages, depending on kind. Returns the number of rows';
COMMENT ON FUNCTION msgstore._walk_tenant(text, text, uuid, int, boolean, uuid) IS
    'Scans the next events of a tenant in the order of their ids, purges the processed ones, and returns the skipped ones';
COMMENT ON FUNCTION msgstore._walk_log(text, uuid, uuid, int, boolean, text, uuid, uuid) IS
    'Continues a pass over the log, tenant by tenant, with at most that many events, purges the processed ones, and returns the skipped ones';
COMMENT ON FUNCTION msgstore._walk_outbound(timestamptz, int, boolean, uuid) IS
    'Scans the next payloads of outbound messages in time order, purges those of finished messages, and returns the skipped ones';
COMMENT ON FUNCTION msgstore._purge_statuses(timestamptz, int, boolean) IS
    'Removes delivery statuses received before the given time, oldest first, and deliveries without a message that have no status left. Returns the number of statuses';
COMMENT ON FUNCTION msgstore._purge_rows(text, text, timestamptz, int, boolean) IS
    'Removes the rows of a table whose column has an earlier time, at most that many if given, oldest first. Returns their number';
COMMENT ON FUNCTION msgstore._purge_dead_letters(timestamptz, int, boolean) IS
    'Removes dead letters that died before the given time, oldest first, with their inbound events. Returns their number';
COMMENT ON FUNCTION msgstore._purge_log(text, timestamptz, boolean) IS
    'Scans the whole log from its first event, or all outbound payloads, and returns the number of rows purged';
COMMENT ON FUNCTION msgstore.purge(interval, boolean, text[]) IS
    'Removes data older than the given age and returns the number of rows for each kind. Kinds: payloads (empties the payloads of processed events), events (processed events with their attachments, failures and conflicts, delivery statuses, and refused events; messages stay), dead_letters (with their events; and notifications that were given up), consent_log (entries of consent_log; opt-outs stay). payloads and events also remove the payloads of outbound messages. Events and messages that are queued or claimed stay. With dry_run, only counts. Logs the call in operations_log. Raises MS400 for a negative age or an unknown kind';
