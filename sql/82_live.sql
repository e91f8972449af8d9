-- live: what changed, for readers that follow it.
--
-- A position is a snapshot. A reader gets the changes of the transactions that are
-- visible now and were not in its position, so it neither misses one that commits
-- late nor sees one twice, and no transaction in progress makes it wait.

-- Unlogged: rows cost no WAL. After a crash of the server both tables are empty,
-- and live_horizon begins again at that time.
CREATE UNLOGGED TABLE msgstore.live_changes (
    tenant_id text COLLATE "C" NOT NULL,
    xid xid8 NOT NULL,
    id uuid NOT NULL,
    kind text COLLATE "C" NOT NULL,
    ids bytea NOT NULL,
    CONSTRAINT live_changes_pkey PRIMARY KEY (tenant_id, xid, id),
    CONSTRAINT live_changes_kind CHECK (
        kind IN ('message', 'status', 'conversation', 'dead_letter', 'operation')),
    CONSTRAINT live_changes_length
        CHECK (octet_length(ids) > 0 AND octet_length(ids) % 16 = 0)
) WITH (autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0.1);

-- Ids are not worth compressing.
ALTER TABLE msgstore.live_changes
    ALTER COLUMN tenant_id SET STORAGE PLAIN,
    ALTER COLUMN kind SET STORAGE PLAIN,
    ALTER COLUMN ids SET STORAGE PLAIN;

CREATE INDEX live_changes_xid_idx ON msgstore.live_changes (xid);

-- One row. A position that does not show all of "purged" is too old.
CREATE UNLOGGED TABLE msgstore.live_horizon (
    single boolean NOT NULL DEFAULT true,
    purged pg_snapshot NOT NULL,
    reading pg_snapshot NOT NULL,
    read_at timestamptz NOT NULL,
    CONSTRAINT live_horizon_pkey PRIMARY KEY (single),
    CONSTRAINT live_horizon_single CHECK (single)
);

CREATE FUNCTION msgstore._note_changes(kind text, tenant_ids text[], ids uuid[])
    RETURNS void
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'msgstore_note_changes';

CREATE FUNCTION msgstore._live_ids(ids bytea) RETURNS SETOF uuid
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE ROWS 100
    AS 'MODULE_PATHNAME', 'msgstore_live_ids';

CREATE FUNCTION msgstore._live_count() RETURNS bigint
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'msgstore_live_count';

CREATE FUNCTION msgstore._live_sleep(count bigint, milliseconds int) RETURNS void
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'msgstore_live_sleep';

-- To be called outside of a transaction block: it then waits without a snapshot.
CREATE PROCEDURE msgstore._live_wait(count bigint, milliseconds int)
    LANGUAGE c
    AS 'MODULE_PATHNAME', 'msgstore_live_wait';

-- For every table whose changes are told.
CREATE FUNCTION msgstore._tell_changes() RETURNS trigger
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    tenants text[];
    ids uuid[];
BEGIN
    CASE TG_TABLE_NAME
        WHEN 'deliveries' THEN
            SELECT array_agg(c.tenant_id), array_agg(c.message_id) INTO tenants, ids
            FROM changed c WHERE c.message_id IS NOT NULL;
            PERFORM msgstore._note_changes('status', tenants, ids);
        WHEN 'dead_letters' THEN
            SELECT array_agg(c.tenant_id), array_agg(c.event_id) INTO tenants, ids
            FROM changed c;
            PERFORM msgstore._note_changes('dead_letter', tenants, ids);
            SELECT array_agg(c.tenant_id), array_agg(c.event_id) INTO tenants, ids
            FROM changed c WHERE c.direction = 'outbound';
            PERFORM msgstore._note_changes('status', tenants, ids);
        WHEN 'operations_log' THEN
            SELECT array_agg(c.tenant_id), array_agg(c.id) INTO tenants, ids
            FROM changed c;
            PERFORM msgstore._note_changes('operation', tenants, ids);
    END CASE;
    RETURN NULL;
END
$$;

CREATE TRIGGER tell_new_status AFTER INSERT ON msgstore.deliveries
    REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION msgstore._tell_changes();
CREATE TRIGGER tell_status AFTER UPDATE ON msgstore.deliveries
    REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION msgstore._tell_changes();
CREATE TRIGGER tell_dead AFTER INSERT ON msgstore.dead_letters
    REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION msgstore._tell_changes();
CREATE TRIGGER tell_requeued AFTER DELETE ON msgstore.dead_letters
    REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION msgstore._tell_changes();
CREATE TRIGGER tell_operation AFTER INSERT ON msgstore.operations_log
    REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION msgstore._tell_changes();

-- The position after a transaction, for a reader that came from "seen", gets what
-- "now" shows in the order of the transactions, and has come to this one.
CREATE FUNCTION msgstore._live_position(seen pg_snapshot, now pg_snapshot, xid xid8)
    RETURNS text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT coalesce(min(t)::text, max(top)::text) || ':' || max(top) || ':'
        || coalesce(string_agg(t::text, ',' ORDER BY t), '')
    FROM (SELECT greatest(pg_snapshot_xmax(seen)::text::bigint,
                          xid::text::bigint + 1)) AS e (top)
    LEFT JOIN (
        SELECT s.x::text::bigint FROM pg_snapshot_xip(seen) s (x) WHERE s.x > xid
        UNION
        SELECT n.x::text::bigint FROM pg_snapshot_xip(now) n (x) WHERE n.x <= xid
    ) AS open (t) ON true
    $$;

CREATE FUNCTION msgstore._read_position(after text) RETURNS pg_snapshot
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF after ~ '^[0-9]{1,19}:[0-9]{1,19}:[0-9,]*$' THEN
        RETURN after::pg_snapshot;
    END IF;
    RAISE invalid_text_representation;
EXCEPTION
    WHEN invalid_text_representation OR numeric_value_out_of_range THEN
        RAISE EXCEPTION '"%" in field "after" is not a position', left(after, 64)
            USING ERRCODE = 'MS400',
                  DETAIL = 'A position must be the "next" or the id of an earlier answer.';
END
$$;

-- Whether all changes after the position are still there.
CREATE FUNCTION msgstore._is_in_history(seen pg_snapshot) RETURNS boolean
    LANGUAGE sql STABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT EXISTS (
        SELECT FROM msgstore.live_horizon h
        WHERE pg_snapshot_xmax(seen) >= pg_snapshot_xmax(h.purged)
            AND pg_snapshot_xmax(seen) <= pg_snapshot_xmax(pg_current_snapshot())
            AND NOT EXISTS (
                SELECT FROM pg_snapshot_xip(seen) x
                WHERE pg_visible_in_snapshot(x, h.purged)))
    $$;

CREATE FUNCTION msgstore._start_history() RETURNS void
    LANGUAGE sql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    INSERT INTO msgstore.live_horizon (purged, reading, read_at)
    SELECT pg_current_snapshot(), pg_current_snapshot(), clock_timestamp()
    WHERE NOT EXISTS (SELECT FROM msgstore.live_horizon)
    ON CONFLICT DO NOTHING
    $$;

SELECT msgstore._start_history();

-- Deletes what every reader could see for as long as the history lasts: rows that
-- were visible when the last purge read, and not those that committed since.
CREATE FUNCTION msgstore._purge_live() RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    history CONSTANT interval := current_setting('msgstore.live_history')::interval;
    h msgstore.live_horizon;
BEGIN
    PERFORM msgstore._start_history();
    SELECT * INTO h FROM msgstore.live_horizon FOR UPDATE SKIP LOCKED;
    IF h IS NULL OR h.read_at > clock_timestamp() - history THEN
        RETURN;
    END IF;
    DELETE FROM msgstore.live_changes c
    WHERE c.xid < pg_snapshot_xmax(h.reading)
        AND pg_visible_in_snapshot(c.xid, h.reading);
    UPDATE msgstore.live_horizon
    SET purged = h.reading, reading = pg_current_snapshot(),
        read_at = clock_timestamp();
END
$$;

CREATE FUNCTION msgstore._has_changes(scope text, seen pg_snapshot)
    RETURNS boolean
    LANGUAGE sql STABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT EXISTS (
        SELECT FROM msgstore.live_changes c
        WHERE c.xid >= pg_snapshot_xmin(seen)
            AND NOT pg_visible_in_snapshot(c.xid, seen)
            AND scope IN ('', c.tenant_id))
    $$;

-- The changes of whole transactions, about "most" of them, that are visible now, or
-- in "upto", and not in "seen". The last row has no kind, and the position after
-- all of them.
CREATE FUNCTION msgstore._live_page(
    scope text,
    seen pg_snapshot,
    upto pg_snapshot,
    most int)
    RETURNS TABLE (
        tenant_id text,
        id text,
        kind text,
        conversation_id uuid,
        channel text,
        change jsonb)
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = 'force_custom_plan'
    SET timezone = 'UTC'
    AS $$
#variable_conflict use_column
DECLARE
    now CONSTANT pg_snapshot := coalesce(upto, pg_current_snapshot());
    -- A transaction with more changes is told as one that changed everything.
    largest CONSTANT int := 1000;
BEGIN
    RETURN QUERY
    -- Each row has a change at least: what follows so many rows is for a later page.
    WITH beyond AS MATERIALIZED (
        SELECT c.xid
        FROM msgstore.live_changes c
        WHERE c.xid >= pg_snapshot_xmin(seen)
            AND NOT pg_visible_in_snapshot(c.xid, seen)
            AND pg_visible_in_snapshot(c.xid, now)
            AND scope IN ('', c.tenant_id)
        ORDER BY c.xid OFFSET most LIMIT 1
    ), rows AS MATERIALIZED (
        SELECT c.tenant_id, c.xid, c.id, c.kind, c.ids,
            sum(octet_length(c.ids) / 16) OVER (ORDER BY c.xid
                RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS until_here,
            sum(octet_length(c.ids) / 16) OVER (PARTITION BY c.xid, c.tenant_id) AS size
        FROM msgstore.live_changes c
        WHERE c.xid >= pg_snapshot_xmin(seen)
            AND NOT pg_visible_in_snapshot(c.xid, seen)
            AND pg_visible_in_snapshot(c.xid, now)
            AND scope IN ('', c.tenant_id)
            AND c.xid <= coalesce((SELECT b.xid FROM beyond b),
                                  '18446744073709551615'::xid8)
    ), page AS MATERIALIZED (
        SELECT * FROM rows r
        WHERE r.until_here <= most
            OR r.xid = (SELECT min(f.xid) FROM rows f)
    ), positions AS MATERIALIZED (
        SELECT x.xid, msgstore._live_position(seen, now, x.xid) AS id
        FROM (SELECT DISTINCT p.xid FROM page p) x
    ), items AS (
        SELECT p.tenant_id, p.xid, p.id AS row_id, p.kind, i.id, i.n
        FROM page p
        CROSS JOIN LATERAL msgstore._live_ids(p.ids) WITH ORDINALITY i (id, n)
        WHERE p.size <= largest
    ), told AS (
        SELECT i.tenant_id, i.xid, i.row_id, i.n, i.kind, t.conversation_id, t.channel,
            t.change
        FROM items i
        CROSS JOIN LATERAL (
            SELECT m.conversation_id, m.channel, jsonb_build_object(
                'kind', i.kind, 'id', m.id, 'conversation_id', m.conversation_id,
                'channel', m.channel, 'direction', m.direction,
                'timestamp', m."timestamp")
            FROM msgstore.messages m
            WHERE i.kind = 'message' AND m.tenant_id = i.tenant_id AND m.id = i.id
            UNION ALL
            SELECT m.conversation_id, m.channel, jsonb_strip_nulls(jsonb_build_object(
                'kind', i.kind, 'id', m.id, 'conversation_id', m.conversation_id,
                'channel', m.channel,
                'status', coalesce(d.status, CASE WHEN l.event_id IS NULL
                                             THEN 'queued' ELSE 'failed' END),
                'error_code', coalesce(d.error_code, l.error_code)))
            FROM msgstore.messages m
            LEFT JOIN msgstore.deliveries d
                ON d.tenant_id = m.tenant_id AND d.message_id = m.id
            LEFT JOIN msgstore.dead_letters l
                ON l.tenant_id = m.tenant_id AND l.event_id = m.id
            WHERE i.kind = 'status' AND m.tenant_id = i.tenant_id AND m.id = i.id
            UNION ALL
            SELECT c.id, c.channel, jsonb_build_object(
                'kind', i.kind, 'conversation_id', c.id, 'channel', c.channel)
            FROM msgstore.conversation_rows c
            WHERE i.kind = 'conversation' AND c.tenant_id = i.tenant_id AND c.id = i.id
            UNION ALL
            SELECT NULL, l.channel, jsonb_build_object(
                'kind', i.kind, 'id', i.id, 'channel', l.channel,
                'present', EXISTS (
                    SELECT FROM msgstore.dead_letters d
                    WHERE d.tenant_id = i.tenant_id AND d.event_id = i.id))
            FROM (SELECT e.channel FROM msgstore.event_log e
                  WHERE e.tenant_id = i.tenant_id AND e.id = i.id
                  UNION ALL
                  SELECT m.channel FROM msgstore.messages m
                  WHERE m.tenant_id = i.tenant_id AND m.id = i.id
                  LIMIT 1) l
            WHERE i.kind = 'dead_letter'
            UNION ALL
            SELECT NULL, NULL, jsonb_build_object(
                'kind', i.kind, 'id', o.id, 'operation', o.operation,
                'event_count', o.event_count)
            FROM msgstore.operations_log o
            WHERE i.kind = 'operation' AND o.tenant_id = i.tenant_id AND o.id = i.id
        ) t (conversation_id, channel, change)
        UNION ALL
        SELECT DISTINCT p.tenant_id, p.xid, NULL::uuid, 0::bigint, 'reset', NULL::uuid,
            NULL, '{"kind": "reset"}'::jsonb
        FROM page p WHERE p.size > largest
    ), answer AS (
        SELECT t.tenant_id, o.id, t.kind, t.conversation_id, t.channel, t.change,
            t.xid, t.row_id, t.n
        FROM told t JOIN positions o ON o.xid = t.xid
        UNION ALL
        SELECT NULL,
            CASE WHEN (SELECT count(*) FROM page) < (SELECT count(*) FROM rows)
                     OR EXISTS (SELECT FROM beyond)
                 THEN (SELECT o.id FROM positions o ORDER BY o.xid DESC LIMIT 1)
                 ELSE now::text END,
            NULL, NULL, NULL, NULL, NULL, NULL, NULL
    )
    SELECT a.tenant_id, a.id, a.kind, a.conversation_id, a.channel, a.change
    FROM answer a
    ORDER BY a.xid, a.tenant_id, a.row_id, a.n;
END
$$;

-- For one reader that fans out. Without "after" returns the present position. With
-- "upto" does not wait, and returns what is visible there. The change in the last row
-- is the count with which to call _live_wait() next: it is read before the changes.
CREATE FUNCTION msgstore._live_feed(
    after text,
    timeout_ms int DEFAULT 0,
    upto text DEFAULT NULL,
    tenant text DEFAULT '')
    RETURNS TABLE (
        tenant_id text,
        id text,
        kind text,
        conversation_id uuid,
        channel text,
        change jsonb)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
DECLARE
    scope CONSTANT text := coalesce(nullif(msgstore._tenant_scope(), ''), tenant);
    deadline CONSTANT timestamptz := clock_timestamp() + timeout_ms * interval '1 ms';
    seen pg_snapshot := msgstore._read_position(after);
    count bigint := msgstore._live_count();
    left_ms int;
BEGIN
    PERFORM msgstore._start_history();
    IF seen IS NULL OR NOT msgstore._is_in_history(seen) THEN
        id := coalesce(upto, pg_current_snapshot()::text);
        IF seen IS NOT NULL THEN
            kind := 'reset';
            change := '{"kind": "reset"}';
            tenant_id := nullif(scope, '');
            RETURN NEXT;
        END IF;
        tenant_id := NULL;
        kind := NULL;
        change := to_jsonb(count);
        RETURN NEXT;
        RETURN;
    END IF;
    LOOP
        count := msgstore._live_count();
        left_ms := extract(epoch FROM deadline - clock_timestamp()) * 1000;
        EXIT WHEN upto IS NOT NULL OR left_ms <= 0
            OR msgstore._has_changes(scope, seen);
        PERFORM msgstore._live_sleep(count, left_ms);
    END LOOP;
    RETURN QUERY
    SELECT p.tenant_id, p.id, p.kind, p.conversation_id, p.channel,
           coalesce(p.change, to_jsonb(count))
    FROM msgstore._live_page(
        scope, seen, msgstore._read_position(upto), 1000) p;
END
$$;

CREATE FUNCTION msgstore.wait_for_changes(
    after text DEFAULT NULL,
    timeout interval DEFAULT '30 s',
    conversation text DEFAULT NULL,
    channel text DEFAULT NULL,
    kinds text[] DEFAULT NULL)
    RETURNS jsonb
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_variable
DECLARE
    deadline CONSTANT timestamptz := clock_timestamp() + timeout;
    parent uuid;
    left_ms int;
    changes jsonb;
    next text := after;
BEGIN
    IF timeout IS NULL OR timeout < interval '0' OR timeout > interval '1 day' THEN
        RAISE EXCEPTION 'invalid timeout %', coalesce('"' || timeout || '"', 'null')
            USING ERRCODE = 'MS400',
                  DETAIL = 'The timeout must be an interval from 0 to one day.';
    END IF;
    IF NOT kinds <@ '{message,status,conversation,dead_letter,operation}' THEN
        RAISE EXCEPTION 'unknown kind of change in %', kinds
            USING ERRCODE = 'MS400',
                  DETAIL = 'Kinds are "message", "status", "conversation", "dead_letter" and "operation".';
    END IF;
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'cannot wait for changes in a transaction that is not READ COMMITTED'
            USING ERRCODE = 'MS400',
                  DETAIL = 'Its snapshot does not show changes that are committed after its first statement.';
    END IF;
    IF conversation IS NOT NULL THEN
        parent := (msgstore._find_conversation(conversation)).id;
    END IF;
    LOOP
        left_ms := greatest(0, extract(epoch FROM deadline - clock_timestamp()) * 1000);
        SELECT jsonb_agg(f.change) FILTER (WHERE f.kind = 'reset' OR (
                    f.kind = ANY (coalesce(kinds, ARRAY[f.kind]))
                    AND f.conversation_id IS NOT DISTINCT FROM coalesce(parent, f.conversation_id)
                    AND f.channel IS NOT DISTINCT FROM coalesce(channel, f.channel))),
               min(f.id) FILTER (WHERE f.kind IS NULL)
        INTO changes, next
        FROM msgstore._live_feed(next, CASE WHEN next IS NULL THEN 0 ELSE left_ms END) f;
        EXIT WHEN changes IS NOT NULL OR left_ms = 0 OR after IS NULL;
    END LOOP;
    RETURN jsonb_build_object('changes', coalesce(changes, '[]'), 'next', next);
END
$$;

CREATE FUNCTION msgstore._conversation_id(conversation text) RETURNS uuid
    LANGUAGE sql STABLE PARALLEL SAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT (msgstore._find_conversation(conversation)).id
    $$;

REVOKE ALL ON FUNCTION msgstore._note_changes(text, text[], uuid[]) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._live_ids(bytea) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._live_count() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._live_sleep(bigint, int) FROM PUBLIC;
REVOKE ALL ON PROCEDURE msgstore._live_wait(bigint, int) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._tell_changes() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._live_position(pg_snapshot, pg_snapshot, xid8) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._read_position(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._is_in_history(pg_snapshot) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._start_history() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._purge_live() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._has_changes(text, pg_snapshot) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._live_page(text, pg_snapshot, pg_snapshot, int) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._live_feed(text, int, text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.wait_for_changes(text, interval, text, text, text[]) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._conversation_id(text) FROM PUBLIC;

COMMENT ON TABLE msgstore.live_changes IS
    'What transactions changed, one row for each kind and tenant of a transaction, or several if it changed much; kept for msgstore.live_history. A crash of the server empties it';
COMMENT ON COLUMN msgstore.live_changes.tenant_id IS
    'Tenant that owns what changed; empty if tenants are not used';
COMMENT ON COLUMN msgstore.live_changes.xid IS
    'Id of the transaction that made the changes';
COMMENT ON COLUMN msgstore.live_changes.id IS
    'Id of the row (UUID version 7)';
COMMENT ON COLUMN msgstore.live_changes.kind IS
    'message (added), status (of an outbound message), conversation (changed by a person), dead_letter (added or removed) or operation (logged)';
COMMENT ON COLUMN msgstore.live_changes.ids IS
    'Ids of what changed, 16 bytes each';
COMMENT ON TABLE msgstore.live_horizon IS
    'How far live_changes has been purged, in its only row';
COMMENT ON COLUMN msgstore.live_horizon.single IS
    'Always true';
COMMENT ON COLUMN msgstore.live_horizon.purged IS
    'Changes of transactions that are visible in this snapshot may have been removed';
COMMENT ON COLUMN msgstore.live_horizon.reading IS
    'Snapshot at read_at: what the next purge removes';
COMMENT ON COLUMN msgstore.live_horizon.read_at IS
    'Time of the last purge';
COMMENT ON FUNCTION msgstore._note_changes(text, text[], uuid[]) IS
    'Adds what changed to live_changes, given a tenant and an id for each change, and wakes readers at commit';
COMMENT ON FUNCTION msgstore._live_ids(bytea) IS
    'Returns the ids of a row of live_changes';
COMMENT ON FUNCTION msgstore._live_count() IS
    'Returns a count that commits with changes increase; 0 if the library is not preloaded';
COMMENT ON FUNCTION msgstore._live_sleep(bigint, int) IS
    'Sleeps until that count is another one, at most for so many milliseconds';
COMMENT ON PROCEDURE msgstore._live_wait(bigint, int) IS
    'Sleeps as _live_sleep() does; commits first, so that it holds no snapshot';
COMMENT ON FUNCTION msgstore._tell_changes() IS
    'Trigger that adds the rows of a statement to live_changes';
COMMENT ON FUNCTION msgstore._live_position(pg_snapshot, pg_snapshot, xid8) IS
    'Returns the position of a reader that came from the first snapshot and has the changes of the second one up to this transaction';
COMMENT ON FUNCTION msgstore._read_position(text) IS
    'Returns the snapshot that a position stands for. Raises MS400';
COMMENT ON FUNCTION msgstore._is_in_history(pg_snapshot) IS
    'Returns whether live_changes still has all changes after this position';
COMMENT ON FUNCTION msgstore._start_history() IS
    'Adds the row of live_horizon if there is none';
COMMENT ON FUNCTION msgstore._purge_live() IS
    'Removes changes that are older than msgstore.live_history';
COMMENT ON FUNCTION msgstore._has_changes(text, pg_snapshot) IS
    'Returns whether a tenant, or any if empty, has changes after this position';
COMMENT ON FUNCTION msgstore._live_page(text, pg_snapshot, pg_snapshot, int) IS
    'Returns the changes after a position in the order of their transactions, and as the last row the position after them';
COMMENT ON FUNCTION msgstore._live_feed(text, int, text, text) IS
    'Returns the changes after a position, and the position after them; waits for changes for so many milliseconds. Raises MS400 for an invalid position';
COMMENT ON FUNCTION msgstore.wait_for_changes(text, interval, text, text, text[]) IS
    'Returns {"changes": [...], "next": position}: what changed after the position "after", for the next call. Waits until something has changed, at most for the timeout; without "after" returns the present position at once. conversation (id or number), channel and kinds select changes; kinds: message, status, conversation, dead_letter, operation. A change of kind reset says that changes are missing: read again what you show. Raises MS400 for an invalid argument, MS404 for an unknown conversation';
COMMENT ON FUNCTION msgstore._conversation_id(text) IS
    'Returns the id of the conversation with this id or number. Raises MS404';
