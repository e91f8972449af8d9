-- streams: retention, truncation, tombstones and erasure.

-- The positions are the ends of the walks through the category. What was before
-- aged_position and counted_position has been removed or was the last event of
-- its stream. An event that followed such a last one is after followed_position.
CREATE TABLE msgstore.stream_retention (
    tenant_id text COLLATE "C" NOT NULL,
    category text COLLATE "C" NOT NULL,
    max_age interval,
    max_count bigint,
    aged_position bigint NOT NULL DEFAULT 0,
    counted_position bigint NOT NULL DEFAULT 0,
    followed_position bigint NOT NULL DEFAULT 0,
    removed_events bigint NOT NULL DEFAULT 0,
    CONSTRAINT stream_retention_pkey PRIMARY KEY (tenant_id, category),
    CONSTRAINT stream_retention_limit
        CHECK (max_age IS NOT NULL OR max_count IS NOT NULL)
);

SELECT pg_catalog.pg_extension_config_dump('msgstore.stream_retention', '');

CREATE FUNCTION msgstore.set_stream_retention(
    category text,
    max_age interval DEFAULT NULL,
    max_count bigint DEFAULT NULL)
    RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    PERFORM msgstore._check_own_tenant();
    IF coalesce(category, '') = '' OR starts_with(category, 'msgstore:') OR strpos(category, '-') > 0 THEN
        RAISE EXCEPTION 'invalid category %', coalesce('"' || left(category, 64) || '"', 'null')
            USING ERRCODE = 'MS400',
                  DETAIL = 'A category is the name of streams up to their first hyphen. Those of msgstore itself have no retention.';
    END IF;
    IF max_age < '0' OR max_count < 1 THEN
        RAISE EXCEPTION 'argument "%" is not positive',
            CASE WHEN max_count < 1 THEN 'max_count' ELSE 'max_age' END
            USING ERRCODE = 'MS400';
    END IF;
    DELETE FROM msgstore.stream_retention r
    WHERE r.tenant_id = msgstore._tenant_scope()
        AND r.category = set_stream_retention.category
        AND set_stream_retention.max_age IS NULL
        AND set_stream_retention.max_count IS NULL;
    IF max_age IS NOT NULL OR max_count IS NOT NULL THEN
        INSERT INTO msgstore.stream_retention AS r (tenant_id, category, max_age, max_count)
        VALUES (msgstore._tenant_scope(), set_stream_retention.category,
                set_stream_retention.max_age, set_stream_retention.max_count)
        ON CONFLICT ON CONSTRAINT stream_retention_pkey DO UPDATE
        SET max_age = excluded.max_age, max_count = excluded.max_count,
            aged_position = 0, counted_position = 0, followed_position = 0;
    END IF;
    PERFORM msgstore._announce();
END
$$;

CREATE FUNCTION msgstore.list_stream_retention()
    RETURNS TABLE (
        tenant_id text,
        category text,
        max_age interval,
        max_count bigint,
        removed_events bigint)
    LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
        SELECT r.tenant_id, r.category, r.max_age, r.max_count, r.removed_events
        FROM msgstore.stream_retention r
        WHERE msgstore._tenant_scope() IN ('', r.tenant_id)
        ORDER BY r.tenant_id, r.category;
END
$$;

-- Removes the events of streams up to a version each, but the last event of each
-- stream stays: the next version follows from it.
CREATE FUNCTION msgstore._remove_events(
    tenant text,
    kind text,
    streams text[],
    versions bigint[])
    RETURNS bigint
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = 'force_custom_plan'
    AS $$
DECLARE
    removed bigint[];
    total bigint := 0;
BEGIN
    -- The first round waits for a compaction that is open, the second removes its
    -- seed. Retention finds the seed later, at its new position.
    FOR round IN 1 .. CASE kind WHEN 'retention' THEN 1 ELSE 2 END LOOP
        WITH removed AS (
            DELETE FROM msgstore.stream_events e
            USING unnest(streams, versions) AS s (stream, version),
                LATERAL (
                    SELECT l.version AS last FROM msgstore.stream_events l
                    WHERE l.tenant_id = tenant AND l.stream = s.stream
                    ORDER BY l.version DESC LIMIT 1) l
            WHERE e.tenant_id = tenant AND e.stream = s.stream
                AND e.version <= s.version AND e.version < l.last
            RETURNING e.global_position)
        SELECT array_agg(r.global_position ORDER BY r.global_position) INTO removed
        FROM removed r;
        PERFORM msgstore._note_removal(tenant, kind, removed);
        total := total + coalesce(cardinality(removed), 0);
    END LOOP;
    RETURN total;
END
$$;

-- One step of a walk: the next events of the category, at most so many, that are
-- old enough. max_count null: all but the last of each stream are removed.
CREATE FUNCTION msgstore._walk_category(
    tenant text,
    category text,
    after_position bigint,
    until_position bigint,
    older_than timestamptz,
    max_count bigint,
    most int,
    OUT "position" bigint,
    OUT removed bigint,
    OUT more boolean,
    OUT next_at timestamptz)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = 'force_custom_plan'
    AS $$
DECLARE
    streams text[];
    versions bigint[];
    seen int;
BEGIN
    WITH page AS MATERIALIZED (
        SELECT e.stream, e.version, e.global_position, e.created_at
        FROM msgstore.stream_events e
        WHERE e.tenant_id = tenant AND e.category = _walk_category.category
            AND e.global_position > after_position
            AND e.global_position <= until_position
        ORDER BY e.global_position LIMIT most
    ), young AS (
        SELECT p.global_position AS first, p.created_at FROM page p
        WHERE p.created_at >= older_than
        ORDER BY p.global_position LIMIT 1
    ), due AS (
        SELECT p.* FROM page p
        WHERE p.global_position < coalesce((SELECT y.first FROM young y), until_position + 1)
    ), heads AS (
        SELECT d.stream, max(d.version) AS version FROM due d GROUP BY d.stream)
    SELECT array_agg(h.stream), array_agg(h.version - coalesce(max_count, 0)),
        coalesce((SELECT max(d.global_position) FROM due d), after_position),
        (SELECT count(*) FROM due d), (SELECT y.created_at FROM young y)
    INTO streams, versions, "position", seen, next_at
    FROM heads h;
    removed := CASE WHEN streams IS NULL THEN 0
        ELSE msgstore._remove_events(tenant, 'retention', streams, versions) END;
    more := seen >= most;
END
$$;

-- One step of a walk through all events of the category. When the first event of a
-- stream became old, it may have been the last one as well, and so have stayed.
CREATE FUNCTION msgstore._remove_followed(
    tenant text,
    category text,
    after_position bigint,
    until_position bigint,
    older_than timestamptz,
    most int,
    OUT "position" bigint,
    OUT removed bigint,
    OUT more boolean)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = 'force_custom_plan'
    AS $$
DECLARE
    streams text[];
    versions bigint[];
    seen int;
BEGIN
    WITH page AS MATERIALIZED (
        SELECT e.stream, e.global_position
        FROM msgstore.stream_events e
        WHERE e.tenant_id = tenant AND e.category = _remove_followed.category
            AND e.global_position > after_position
            AND e.global_position <= until_position
        ORDER BY e.global_position LIMIT most
    ), old AS (
        SELECT s.stream, f.version
        FROM (SELECT DISTINCT p.stream FROM page p) s
        CROSS JOIN LATERAL (
            SELECT e.version, e.created_at FROM msgstore.stream_events e
            WHERE e.tenant_id = tenant AND e.stream = s.stream
            ORDER BY e.version LIMIT 1) f
        WHERE f.created_at < older_than)
    SELECT array_agg(o.stream), array_agg(o.version),
        coalesce((SELECT max(p.global_position) FROM page p), after_position),
        (SELECT count(*) FROM page)
    INTO streams, versions, "position", seen
    FROM old o;
    removed := CASE WHEN streams IS NULL THEN 0
        ELSE msgstore._remove_events(tenant, 'retention', streams, versions) END;
    more := seen >= most;
END
$$;

-- The worker's turn: one batch of each policy. Returns milliseconds until the
-- next, 0 for at once, -1 for never.
CREATE FUNCTION msgstore._retention_turn() RETURNS bigint
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET msgstore.tenant_id = ''
    SET enable_seqscan = off
    SET enable_bitmapscan = off
    SET jit = off
    -- Messages must not wait for a session that erases or compacts.
    SET lock_timeout = '200ms'
    AS $$
DECLARE
    most CONSTANT int := current_setting('msgstore.purge_batch_size')::int;
    r msgstore.stream_retention;
    step record;
    settled bigint;
    next timestamptz;
    has_more boolean := false;
BEGIN
    FOR r IN
        SELECT s.* FROM msgstore.stream_retention s
        WHERE NOT msgstore._is_elsewhere(s.tenant_id)
        ORDER BY s.tenant_id, s.category FOR UPDATE SKIP LOCKED
    LOOP
        PERFORM set_config('msgstore.tenant_id', r.tenant_id, true);
        settled := msgstore._settled_position();
        -- Something is due within a minute, or when an event becomes old.
        next := least(next, clock_timestamp() + interval '1 minute');
        BEGIN
            IF r.max_age IS NOT NULL THEN
                step := msgstore._walk_category(r.tenant_id, r.category, r.aged_position,
                    settled, clock_timestamp() - r.max_age, NULL, most);
                UPDATE msgstore.stream_retention s
                SET aged_position = step.position, removed_events = s.removed_events + step.removed
                WHERE s.tenant_id = r.tenant_id AND s.category = r.category
                    AND step.position > r.aged_position;
                has_more := has_more OR step.more;
                next := least(next, greatest(step.next_at + r.max_age,
                                             clock_timestamp() + interval '1 s'));
                step := msgstore._remove_followed(r.tenant_id, r.category, r.followed_position,
                    settled, clock_timestamp() - r.max_age, most);
                UPDATE msgstore.stream_retention s
                SET followed_position = step.position, removed_events = s.removed_events + step.removed
                WHERE s.tenant_id = r.tenant_id AND s.category = r.category
                    AND step.position > r.followed_position;
                has_more := has_more OR step.more;
            END IF;
            IF r.max_count IS NOT NULL THEN
                step := msgstore._walk_category(r.tenant_id, r.category, r.counted_position,
                    settled, NULL, r.max_count, most);
                UPDATE msgstore.stream_retention s
                SET counted_position = step.position, removed_events = s.removed_events + step.removed
                WHERE s.tenant_id = r.tenant_id AND s.category = r.category
                    AND step.position > r.counted_position;
                has_more := has_more OR step.more;
            END IF;
        EXCEPTION
        WHEN lock_not_available THEN
            next := least(next, clock_timestamp() + interval '1 s');
        WHEN OTHERS THEN
            RAISE WARNING 'could not remove events of category "%": %', r.category, SQLERRM
                USING DETAIL = format('SQLSTATE %s.', SQLSTATE);
        END;
    END LOOP;
    RETURN CASE
        WHEN has_more THEN 0
        WHEN next IS NULL THEN -1
        ELSE greatest(extract(epoch FROM next - clock_timestamp()) * 1000, 1)
    END;
END
$$;

CREATE FUNCTION msgstore._check_removable(stream text) RETURNS void
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF starts_with(stream, 'msgstore:') THEN
        RAISE EXCEPTION 'stream name "%" is reserved for msgstore', stream
            USING ERRCODE = 'MS400';
    END IF;
    IF NOT EXISTS (SELECT FROM msgstore.stream_events e
                   WHERE e.tenant_id = msgstore._tenant_scope()
                       AND e.stream = _check_removable.stream) THEN
        RAISE EXCEPTION 'stream "%" has no events', coalesce(stream, 'null')
            USING ERRCODE = 'MS404';
    END IF;
END
$$;

CREATE FUNCTION msgstore.truncate_stream(stream text, before_version bigint)
    RETURNS bigint
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    PERFORM msgstore._check_own_tenant();
    IF before_version IS NULL THEN
        RAISE EXCEPTION 'argument "before_version" is null' USING ERRCODE = 'MS400';
    END IF;
    PERFORM msgstore._check_removable(stream);
    RETURN msgstore._remove_events(msgstore._tenant_scope(), 'truncate', ARRAY[stream],
                                   ARRAY[greatest(before_version, 1) - 1]);
END
$$;

-- The tombstone takes the next version, as an append does: it waits for an append
-- that is open, and an open tombstone lets appends wait, which then find it.
CREATE FUNCTION msgstore.tombstone_stream(stream text, expected_version bigint DEFAULT NULL)
    RETURNS bigint
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    tenant CONSTANT text := msgstore._tenant_scope();
    category CONSTANT text := msgstore.stream_category(stream);
    tombstone CONSTANT text := 'msgstore:Tombstone';
    last record;
    seen bigint;
BEGIN
    PERFORM msgstore._check_own_tenant();
    PERFORM msgstore._check_removable(stream);
    LOOP
        SELECT e.version, e.type INTO last FROM msgstore.stream_events e
        WHERE e.tenant_id = tenant AND e.stream = tombstone_stream.stream
        ORDER BY e.version DESC LIMIT 1;
        IF last.type = tombstone THEN
            RETURN 0;
        ELSIF last.version <> expected_version THEN
            RAISE EXCEPTION 'version conflict on stream "%": expected %, got %', stream,
                expected_version, last.version
                USING ERRCODE = 'MS409',
                      DETAIL = format('The stream is at version %s.', last.version);
        ELSIF last.version = seen THEN
            PERFORM msgstore._report_trigger('stream_events', 'INSERT');
        END IF;
        seen := last.version;
        INSERT INTO msgstore.stream_events (global_position, horizon, version,
            created_at, event_id, tenant_id, stream, category, type, data)
        VALUES (msgstore._take_position(category), msgstore._horizon(), seen + 1,
            clock_timestamp(), msgstore._event_id(), tenant, tombstone_stream.stream,
            category, tombstone, '{}')
        ON CONFLICT ON CONSTRAINT stream_events_pkey DO NOTHING;
        EXIT WHEN FOUND;
    END LOOP;
    PERFORM msgstore._wake_at_commit(category);
    RETURN msgstore._remove_events(tenant, 'tombstone', ARRAY[stream], ARRAY[seen]);
END
$$;

-- The positions and versions of the events stay, and so do their ids and types.
CREATE FUNCTION msgstore.erase_events(
    stream text DEFAULT NULL,
    metadata jsonb DEFAULT NULL,
    data jsonb DEFAULT NULL)
    RETURNS bigint
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = 'force_custom_plan'
    AS $$
DECLARE
    tenant CONSTANT text := msgstore._tenant_scope();
    erased bigint[];
BEGIN
    PERFORM msgstore._check_own_tenant();
    IF stream IS NULL AND metadata IS NULL AND data IS NULL THEN
        RAISE EXCEPTION 'no events are named'
            USING ERRCODE = 'MS400',
                  HINT = 'Give a stream, or what the metadata or the data of the events contain.';
    END IF;
    IF starts_with(stream, 'msgstore:') THEN
        RAISE EXCEPTION 'stream name "%" is reserved for msgstore', stream
            USING ERRCODE = 'MS400';
    END IF;
    WITH changed AS (
        UPDATE msgstore.stream_events e
        SET data = '{}', metadata = '{"erased": true}', created_by = NULL, tags = NULL
        WHERE e.tenant_id = tenant
            AND (erase_events.stream IS NULL OR e.stream = erase_events.stream)
            AND (erase_events.metadata IS NULL OR e.metadata @> erase_events.metadata)
            AND (erase_events.data IS NULL OR e.data @> erase_events.data)
            AND NOT starts_with(e.stream, 'msgstore:')
            AND e.metadata IS DISTINCT FROM '{"erased": true}'
        RETURNING e.global_position)
    SELECT array_agg(c.global_position ORDER BY c.global_position) INTO erased
    FROM changed c;
    PERFORM msgstore._note_removal(tenant, 'erasure', erased);
    PERFORM msgstore._log_operation('erase',
        jsonb_build_object('events', CASE WHEN stream IS NOT NULL THEN 'stream' ELSE 'content' END),
        coalesce(cardinality(erased), 0), NULL);
    RETURN coalesce(cardinality(erased), 0);
END
$$;

REVOKE ALL ON FUNCTION msgstore.set_stream_retention(text, interval, bigint) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.list_stream_retention() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._remove_events(text, text, text[], bigint[]) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._walk_category(text, text, bigint, bigint, timestamptz, bigint, int) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._remove_followed(text, text, bigint, bigint, timestamptz, int) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._retention_turn() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._check_removable(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.truncate_stream(text, bigint) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.tombstone_stream(text, bigint) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.erase_events(text, jsonb, jsonb) FROM PUBLIC;

COMMENT ON TABLE msgstore.stream_retention IS
    'Categories whose old events the worker removes';
COMMENT ON COLUMN msgstore.stream_retention.tenant_id IS
    'Tenant that owns the streams';
COMMENT ON COLUMN msgstore.stream_retention.category IS
    'Category of the streams';
COMMENT ON COLUMN msgstore.stream_retention.max_age IS
    'Age at which events are removed; null: no limit';
COMMENT ON COLUMN msgstore.stream_retention.max_count IS
    'Number of events that a stream keeps; null: no limit';
COMMENT ON COLUMN msgstore.stream_retention.aged_position IS
    'Position up to which events have been removed by age';
COMMENT ON COLUMN msgstore.stream_retention.counted_position IS
    'Position up to which events have been counted';
COMMENT ON COLUMN msgstore.stream_retention.followed_position IS
    'Position up to which events have been looked at for old ones before them in their streams';
COMMENT ON COLUMN msgstore.stream_retention.removed_events IS
    'Number of events removed so far';
COMMENT ON FUNCTION msgstore.set_stream_retention(text, interval, bigint) IS
    'Makes the worker remove the events of a category that are older than max_age, or of which a stream has more than max_count, but never the last event of a stream. Null for both: keeps all. Raises MS400 for an invalid argument';
COMMENT ON FUNCTION msgstore.list_stream_retention() IS
    'Returns the retention of the session''s tenant, or of all tenants, and the number of events removed so far';
COMMENT ON FUNCTION msgstore._remove_events(text, text, text[], bigint[]) IS
    'Removes the events of streams up to a version each, except the last event of each stream, and returns their number';
COMMENT ON FUNCTION msgstore._walk_category(text, text, bigint, bigint, timestamptz, bigint, int) IS
    'Looks at the next events of a category, at most "most", that are older than a time (null: any), and removes what precedes them in their streams (max_count events stay; null: only the last event of the stream). Returns the position reached, the number of events removed, whether there may be more, and the time of the first event that is not old enough';
COMMENT ON FUNCTION msgstore._remove_followed(text, text, bigint, bigint, timestamptz, int) IS
    'Looks at the next events of a category, at most "most", and removes the first event of their streams if it is older than a time and not the last. Returns the position reached, the number of events removed, and whether there may be more';
COMMENT ON FUNCTION msgstore._retention_turn() IS
    'Removes one batch of events for each category with a retention. Returns the milliseconds until the next batch is due: 0 for at once, -1 for never';
COMMENT ON FUNCTION msgstore._check_removable(text) IS
    'Raises MS400 for a stream of msgstore itself, MS404 for one without events';
COMMENT ON FUNCTION msgstore.truncate_stream(text, bigint) IS
    'Removes the events of a stream before a version, but not its last event, and returns their number. Raises MS400 for an invalid argument, MS404 if the stream has no events';
COMMENT ON FUNCTION msgstore.tombstone_stream(text, bigint) IS
    'Removes all events of a stream and ends it for ever by an event of type msgstore:Tombstone, after which none can be appended. Returns the number of removed events, 0 if it was ended before. Raises MS400 for a stream of msgstore itself, MS404 if the stream has no events, MS409 for another version than expected';
COMMENT ON FUNCTION msgstore.erase_events(text, jsonb, jsonb) IS
    'Overwrites data, metadata and author of all events of a stream, of those whose metadata or data contain these values, or of those for which all given conditions hold; their positions, versions, ids and types stay. Logs the operation without its values, and returns the number of events. Raises MS400 if nothing is given or the stream is one of msgstore itself';
