-- streams: seals, which tell whether somebody has changed the log.

-- Each seal covers the positions after the one before it and contains a hash of
-- each event and a hash of all that and of the seal before it. Removals by the
-- functions of msgstore are rows of their own, which the next seal covers.
CREATE TABLE msgstore.stream_seals (
    tenant_id text COLLATE "C" NOT NULL,
    seal bigint NOT NULL,
    last_position bigint NOT NULL,
    positions bigint[] NOT NULL,
    hashes bytea NOT NULL,
    last_removal bigint NOT NULL,
    hash bytea NOT NULL,
    sealed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT stream_seals_pkey PRIMARY KEY (tenant_id, seal),
    CONSTRAINT stream_seals_position_key UNIQUE (tenant_id, last_position)
);

CREATE TABLE msgstore.stream_removals (
    tenant_id text COLLATE "C" NOT NULL,
    id bigint NOT NULL,
    kind text COLLATE "C" NOT NULL,
    positions bigint[] NOT NULL,
    hashes bytea,
    removed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT stream_removals_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT stream_removals_kind
        CHECK (kind IN ('retention', 'truncate', 'tombstone', 'compaction', 'erasure'))
);

SELECT pg_catalog.pg_extension_config_dump('msgstore.stream_seals', '');
SELECT pg_catalog.pg_extension_config_dump('msgstore.stream_removals', '');

-- Independent of settings: times in microseconds, jsonb in its canonical text.
-- 16 of the 32 bytes are enough to tell that an event was changed.
CREATE FUNCTION msgstore._event_hash(e msgstore.stream_events) RETURNS bytea
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN substr(sha256(convert_to(jsonb_build_array(
        e.global_position, e.stream, e.version, e.event_id, e.type,
        (extract(epoch FROM e.created_at) * 1000000)::bigint,
        e.created_by, e.data, e.metadata,
        (extract(epoch FROM e.happened_at) * 1000000)::bigint, e.tags)::text, 'UTF8')), 1, 16);

CREATE FUNCTION msgstore._seal_hash(
    previous bytea,
    tenant text,
    last_position bigint,
    positions bigint[],
    hashes bytea,
    first_removal bigint,
    last_removal bigint)
    RETURNS bytea
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    RETURN sha256(previous || convert_to(jsonb_build_array(
            tenant, last_position, positions, encode(hashes, 'hex'), (
                SELECT jsonb_agg(jsonb_build_array(r.id, r.kind, r.positions,
                    encode(r.hashes, 'hex'),
                    (extract(epoch FROM r.removed_at) * 1000000)::bigint) ORDER BY r.id)
                FROM msgstore.stream_removals r
                WHERE r.tenant_id = tenant
                    AND r.id >= first_removal AND r.id <= last_removal)
        )::text, 'UTF8'));
END
$$;

-- For events that are sealed. The lock keeps a seal from passing by: it is taken
-- after the change, and by the one who seals before it reads.
CREATE FUNCTION msgstore._note_removal(tenant text, kind text, positions bigint[])
    RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = 'force_custom_plan'
    AS $$
DECLARE
    sealed bigint;
    noted bigint[];
BEGIN
    IF coalesce(cardinality(positions), 0) = 0 OR NOT msgstore._seals(tenant) THEN
        RETURN;
    END IF;
    LOCK TABLE msgstore.stream_seals IN SHARE UPDATE EXCLUSIVE MODE;
    SELECT max(s.last_position) INTO sealed FROM msgstore.stream_seals s
    WHERE s.tenant_id = tenant;
    SELECT array_agg(p ORDER BY p) INTO noted FROM unnest(positions) p WHERE p <= sealed;
    IF noted IS NULL THEN
        RETURN;
    END IF;
    INSERT INTO msgstore.stream_removals (tenant_id, id, kind, positions, hashes)
    SELECT tenant, coalesce((SELECT max(r.id) FROM msgstore.stream_removals r
                             WHERE r.tenant_id = tenant), 0) + 1, kind, noted,
        CASE kind WHEN 'erasure' THEN (
            SELECT string_agg(msgstore._event_hash(e), '' ORDER BY e.global_position)
            FROM msgstore.stream_events e
            WHERE e.tenant_id = tenant AND e.global_position = ANY (noted)) END;
END
$$;

CREATE FUNCTION msgstore._seals(tenant text) RETURNS boolean
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    RETURN current_setting('msgstore.seal_interval')::interval > '0'
        OR EXISTS (SELECT FROM msgstore.stream_seals s WHERE s.tenant_id = tenant);
END
$$;

-- Seals the next events of the session's tenant, at most "most". The caller holds
-- the lock. Returns the number of events; null if there was nothing to seal.
CREATE FUNCTION msgstore._seal_next(most int) RETURNS int
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = 'force_custom_plan'
    AS $$
DECLARE
    tenant CONSTANT text := msgstore._tenant_scope();
    settled CONSTANT bigint := msgstore._settled_position();
    previous msgstore.stream_seals;
    places bigint[];
    leaves bytea;
    removal bigint;
    reached bigint;
BEGIN
    SELECT s.* INTO previous FROM msgstore.stream_seals s
    WHERE s.tenant_id = tenant ORDER BY s.seal DESC LIMIT 1;
    SELECT coalesce(array_agg(p.global_position ORDER BY p.global_position), '{}'),
           coalesce(string_agg(p.hash, '' ORDER BY p.global_position), '')
    INTO places, leaves
    FROM (
        SELECT e.global_position, msgstore._event_hash(e) AS hash
        FROM msgstore.stream_events e
        WHERE e.tenant_id = tenant AND e.global_position <= settled
            AND e.global_position > coalesce(previous.last_position, 0)
        ORDER BY e.global_position LIMIT most) p;
    SELECT coalesce(max(r.id), 0) INTO removal FROM msgstore.stream_removals r
    WHERE r.tenant_id = tenant;
    IF cardinality(places) = 0 THEN
        RETURN NULL;
    END IF;
    reached := places[cardinality(places)];
    INSERT INTO msgstore.stream_seals
        (tenant_id, seal, last_position, positions, hashes, last_removal, hash)
    VALUES (tenant, coalesce(previous.seal, 0) + 1, reached, places, leaves, removal,
        msgstore._seal_hash(coalesce(previous.hash, ''), tenant, reached, places, leaves,
                            coalesce(previous.last_removal, 0) + 1, removal));
    RETURN cardinality(places);
END
$$;

-- The worker's turn: one seal of each tenant that has new events.
CREATE FUNCTION msgstore._seal_turn() RETURNS bigint
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET msgstore.tenant_id = ''
    AS $$
DECLARE
    most CONSTANT int := 1000;
    pause CONSTANT interval := current_setting('msgstore.seal_interval')::interval;
    tenant text;
    has_more boolean := false;
BEGIN
    BEGIN
        LOCK TABLE msgstore.stream_seals IN SHARE UPDATE EXCLUSIVE MODE NOWAIT;
    EXCEPTION WHEN lock_not_available THEN
        RETURN 1000;
    END;
    LOOP
        SELECT e.tenant_id INTO tenant FROM msgstore.stream_events e
        WHERE tenant IS NULL OR e.tenant_id > tenant
        ORDER BY e.tenant_id LIMIT 1;
        EXIT WHEN NOT FOUND;
        CONTINUE WHEN msgstore._is_elsewhere(tenant);
        PERFORM set_config('msgstore.tenant_id', tenant, true);
        has_more := has_more OR coalesce(msgstore._seal_next(most), 0) = most;
    END LOOP;
    RETURN CASE WHEN has_more THEN 0 ELSE extract(epoch FROM pause) * 1000 END;
END
$$;

CREATE FUNCTION msgstore.seal_log() RETURNS bigint
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    total bigint := 0;
    sealed int;
BEGIN
    PERFORM msgstore._check_own_tenant();
    LOCK TABLE msgstore.stream_seals IN SHARE UPDATE EXCLUSIVE MODE;
    LOOP
        sealed := msgstore._seal_next(1000);
        EXIT WHEN sealed IS NULL;
        total := total + sealed;
    END LOOP;
    RETURN total;
END
$$;

-- Compares the events that a seal covers with what it says. Who removed or erased
-- an event by a function of msgstore left a row in stream_removals.
CREATE FUNCTION msgstore._find_change(
    s msgstore.stream_seals,
    after_position bigint,
    OUT "position" bigint,
    OUT problem text)
    LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = 'force_custom_plan'
    AS $$
BEGIN
    WITH sealed AS (
        SELECT u.place, substr(s.hashes, (16 * (u.n - 1) + 1)::int, 16) AS hash
        FROM unnest(s.positions) WITH ORDINALITY AS u (place, n)
    ), actual AS (
        SELECT e.global_position AS place, msgstore._event_hash(e) AS hash
        FROM msgstore.stream_events e
        WHERE e.tenant_id = s.tenant_id AND e.global_position > after_position
            AND e.global_position <= s.last_position
    ), differing AS MATERIALIZED (
        SELECT coalesce(p.place, a.place) AS place, p.hash AS sealed, a.hash AS actual
        FROM sealed p FULL JOIN actual a ON a.place = p.place
        WHERE p.hash IS DISTINCT FROM a.hash
    ), removals AS (
        SELECT u.place, r.id, r.kind,
               substr(r.hashes, (16 * (u.n - 1) + 1)::int, 16) AS hash
        FROM msgstore.stream_removals r,
            unnest(r.positions) WITH ORDINALITY AS u (place, n)
        WHERE r.tenant_id = s.tenant_id AND r.positions[1] <= s.last_position
            AND r.positions[cardinality(r.positions)] > after_position
            AND EXISTS (SELECT FROM differing)
    ), latest AS (
        SELECT DISTINCT ON (r.place) r.place, r.kind, r.hash FROM removals r
        ORDER BY r.place, r.id DESC)
    SELECT d.place, CASE WHEN d.sealed IS NULL THEN 'event was inserted'
                         WHEN d.actual IS NULL THEN 'event is missing'
                         ELSE 'event was changed' END
    INTO "position", problem
    FROM differing d
    LEFT JOIN latest l ON l.place = d.place AND d.sealed IS NOT NULL
    WHERE CASE WHEN l.place IS NULL THEN true
               WHEN l.kind = 'erasure' THEN l.hash IS DISTINCT FROM d.actual
               ELSE d.actual IS NOT NULL END
    ORDER BY d.place LIMIT 1;
END
$$;

CREATE FUNCTION msgstore.verify_log(
    known_hash bytea DEFAULT NULL,
    OUT intact boolean,
    OUT seals bigint,
    OUT events bigint,
    OUT removed bigint,
    OUT unsealed bigint,
    OUT "position" bigint,
    OUT problem text,
    OUT last_hash bytea)
    LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = 'force_custom_plan'
    AS $$
DECLARE
    tenant CONSTANT text := msgstore._tenant_scope();
    s msgstore.stream_seals;
    place bigint := 0;
    removal bigint := 0;
    known boolean := known_hash IS NULL;
BEGIN
    seals := 0;
    events := 0;
    last_hash := '';
    FOR s IN SELECT r.* FROM msgstore.stream_seals r
             WHERE r.tenant_id = tenant ORDER BY r.seal
    LOOP
        IF s.seal <> seals + 1 OR s.hash IS DISTINCT FROM msgstore._seal_hash(
            last_hash, tenant, s.last_position, s.positions, s.hashes, removal + 1,
            s.last_removal)
        THEN
            "position" := place;
            problem := format('seal %s was changed or removed', seals + 1);
            EXIT;
        END IF;
        SELECT c.position, c.problem INTO "position", problem
        FROM msgstore._find_change(s, place) c;
        EXIT WHEN problem IS NOT NULL;
        seals := s.seal;
        events := events + cardinality(s.positions);
        PERFORM msgstore._report_progress(
            'verify_log', 'comparing events', events);
        place := s.last_position;
        removal := s.last_removal;
        last_hash := s.hash;
        known := known OR s.hash = known_hash;
    END LOOP;
    SELECT coalesce(sum(cardinality(r.positions)), 0) INTO removed
    FROM msgstore.stream_removals r WHERE r.tenant_id = tenant;
    SELECT count(*) INTO unsealed FROM msgstore.stream_events e
    WHERE e.tenant_id = tenant AND e.global_position > coalesce((
        SELECT max(r.last_position) FROM msgstore.stream_seals r
        WHERE r.tenant_id = tenant), 0);
    IF problem IS NULL AND NOT known THEN
        problem := 'no seal has the known hash';
    END IF;
    intact := problem IS NULL;
END
$$;

REVOKE ALL ON FUNCTION msgstore._event_hash(msgstore.stream_events) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._seal_hash(bytea, text, bigint, bigint[], bytea, bigint, bigint) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._note_removal(text, text, bigint[]) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._seals(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._seal_next(int) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._seal_turn() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.seal_log() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._find_change(msgstore.stream_seals, bigint) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.verify_log(bytea) FROM PUBLIC;

COMMENT ON TABLE msgstore.stream_seals IS
    'Hashes of the events of each range of positions, chained';
COMMENT ON COLUMN msgstore.stream_seals.tenant_id IS
    'Tenant that owns the events';
COMMENT ON COLUMN msgstore.stream_seals.seal IS
    'Number of the seal, counted from 1';
COMMENT ON COLUMN msgstore.stream_seals.last_position IS
    'Last position of the range, which begins after that of the seal before';
COMMENT ON COLUMN msgstore.stream_seals.positions IS
    'Positions of the events';
COMMENT ON COLUMN msgstore.stream_seals.hashes IS
    'First 16 bytes of the SHA-256 of each event';
COMMENT ON COLUMN msgstore.stream_seals.last_removal IS
    'Id of the last row of stream_removals that this seal or one before it covers';
COMMENT ON COLUMN msgstore.stream_seals.hash IS
    'SHA-256 of the hash before it, the events of the range, and the removals since the seal before';
COMMENT ON COLUMN msgstore.stream_seals.sealed_at IS
    'Time of the seal';
COMMENT ON TABLE msgstore.stream_removals IS
    'Sealed events that a function of msgstore has removed or erased';
COMMENT ON COLUMN msgstore.stream_removals.tenant_id IS
    'Tenant that owns the events';
COMMENT ON COLUMN msgstore.stream_removals.id IS
    'Number of the row, counted from 1 for each tenant';
COMMENT ON COLUMN msgstore.stream_removals.kind IS
    'retention, truncate, tombstone, compaction or erasure';
COMMENT ON COLUMN msgstore.stream_removals.positions IS
    'Positions of the events, in order';
COMMENT ON COLUMN msgstore.stream_removals.hashes IS
    'For an erasure: first 16 bytes of the SHA-256 of each event afterwards; otherwise null';
COMMENT ON COLUMN msgstore.stream_removals.removed_at IS
    'Time of the removal';
COMMENT ON FUNCTION msgstore._event_hash(msgstore.stream_events) IS
    'Returns the first 16 bytes of the SHA-256 of an event';
COMMENT ON FUNCTION msgstore._seal_hash(bytea, text, bigint, bigint[], bytea, bigint, bigint) IS
    'Returns the hash of a seal with these contents after one with the hash "previous"';
COMMENT ON FUNCTION msgstore._note_removal(text, text, bigint[]) IS
    'Notes the removal or erasure of those events that are sealed';
COMMENT ON FUNCTION msgstore._seals(text) IS
    'Returns whether the log of the tenant is sealed, or will be by the worker';
COMMENT ON FUNCTION msgstore._seal_next(int) IS
    'Seals the next settled events of the session''s tenant and returns their number, null if there are none';
COMMENT ON FUNCTION msgstore._seal_turn() IS
    'Seals at most 1000 events of each tenant. Returns the milliseconds until the next turn, 0 for at once';
COMMENT ON FUNCTION msgstore.seal_log() IS
    'Seals all settled events of the session''s tenant and returns their number';
COMMENT ON FUNCTION msgstore._find_change(msgstore.stream_seals, bigint) IS
    'Returns the first event of a seal that was changed, inserted or removed by other means than the functions of msgstore';
COMMENT ON FUNCTION msgstore.verify_log(bytea) IS
    'Compares the events of the session''s tenant with their seals: whether they are intact, the numbers of seals and events that were compared before the first difference, of events removed by functions of msgstore, and of events not yet sealed; the position of the first difference and what it is; and the hash of the last seal that was compared. With known_hash, a seal must have that hash';
