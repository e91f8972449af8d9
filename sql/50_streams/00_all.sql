CREATE SEQUENCE msgstore.stream_events_position_seq;

-- Columns of fixed width first: no event has padding.
CREATE TABLE msgstore.stream_events (
    global_position bigint NOT NULL,
    horizon bigint NOT NULL,
    version bigint NOT NULL,
    created_at timestamptz NOT NULL,
    event_id uuid NOT NULL,
    tenant_id text COLLATE "C" NOT NULL,
    stream text COLLATE "C" NOT NULL,
    category text COLLATE "C" NOT NULL,
    type text COLLATE "C" NOT NULL,
    created_by text COLLATE "C",
    data jsonb,
    metadata jsonb,
    CONSTRAINT stream_events_pkey PRIMARY KEY (tenant_id, stream, version),
    CONSTRAINT stream_events_event_id_key UNIQUE (tenant_id, event_id)
);

CREATE INDEX stream_events_position_idx
    ON msgstore.stream_events (tenant_id, global_position);
CREATE INDEX stream_events_category_idx
    ON msgstore.stream_events (tenant_id, category, global_position);

-- An event as readers get it.
CREATE TYPE msgstore.stream_event AS (
    stream text,
    version bigint,
    global_position bigint,
    event_id uuid,
    type text,
    data jsonb,
    metadata jsonb,
    created_at timestamptz,
    created_by text
);

CREATE TABLE msgstore.stream_subscriptions (
    tenant_id text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    category text COLLATE "C",
    generation int NOT NULL DEFAULT 1,
    group_size bigint NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT stream_subscriptions_pkey PRIMARY KEY (tenant_id, name),
    CONSTRAINT stream_subscriptions_size CHECK (group_size BETWEEN 1 AND 1000)
);

-- A row for each member of each generation: resizing a group begins a new one.
-- Positions of a former generation say what of the rest was handled already.
CREATE TABLE msgstore.stream_consumers (
    tenant_id text COLLATE "C" NOT NULL,
    subscription text COLLATE "C" NOT NULL,
    generation int NOT NULL,
    member bigint NOT NULL,
    group_size bigint NOT NULL,
    position bigint NOT NULL,
    CONSTRAINT stream_consumers_pkey
        PRIMARY KEY (tenant_id, subscription, generation, member)
) WITH (fillfactor = 50);

CREATE TABLE msgstore.parked_events (
    tenant_id text COLLATE "C" NOT NULL,
    subscription text COLLATE "C" NOT NULL,
    global_position bigint NOT NULL,
    reason text NOT NULL,
    parked_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT parked_events_pkey
        PRIMARY KEY (tenant_id, subscription, global_position)
);

CREATE TABLE msgstore.snapshots (
    tenant_id text COLLATE "C" NOT NULL,
    snapshot_id text COLLATE "C" NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    hosts_content text NOT NULL,
    entries jsonb,
    entry_count integer NOT NULL,
    trigger text NOT NULL,
    name text,
    event_log_position bigint,
    CONSTRAINT snapshots_pkey PRIMARY KEY (tenant_id, snapshot_id),
    CONSTRAINT snapshots_entry_count CHECK (entry_count >= 0)
);

CREATE INDEX idx_snapshots_created
    ON msgstore.snapshots (tenant_id, created_at DESC, snapshot_id DESC);

SELECT pg_catalog.pg_extension_config_dump('msgstore.stream_events_position_seq', '');
SELECT pg_catalog.pg_extension_config_dump('msgstore.stream_events', '');
SELECT pg_catalog.pg_extension_config_dump('msgstore.stream_subscriptions', '');
SELECT pg_catalog.pg_extension_config_dump('msgstore.stream_consumers', '');
SELECT pg_catalog.pg_extension_config_dump('msgstore.parked_events', '');
SELECT pg_catalog.pg_extension_config_dump('msgstore.snapshots', '');

-- What an insert is made of. The three belong together, in this order: the
-- table's columns are in the order in which they are to be called.
CREATE FUNCTION msgstore._take_position() RETURNS bigint
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'msgstore_take_position';

CREATE FUNCTION msgstore._horizon() RETURNS bigint
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'msgstore_horizon';

CREATE FUNCTION msgstore._event_id() RETURNS uuid
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'msgstore_event_id';

CREATE FUNCTION msgstore._settled_position() RETURNS bigint
    LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED
    AS 'MODULE_PATHNAME', 'msgstore_settled_position';

CREATE FUNCTION msgstore._consumer_of(stream text, group_size bigint) RETURNS bigint
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'msgstore_consumer_of';

CREATE FUNCTION msgstore._append_at(
    stream text,
    type text,
    data jsonb,
    expected_version bigint,
    metadata jsonb,
    event_id uuid,
    created_by text,
    created_at timestamptz)
    RETURNS bigint
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'msgstore_append';

CREATE FUNCTION msgstore.stream_category(stream text) RETURNS text
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'msgstore_stream_category';

CREATE FUNCTION msgstore.append(
    stream text,
    type text,
    data jsonb,
    expected_version bigint DEFAULT NULL,
    metadata jsonb DEFAULT NULL,
    event_id uuid DEFAULT NULL,
    created_by text DEFAULT NULL)
    RETURNS bigint
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'msgstore_append';

CREATE FUNCTION msgstore.append_batch(events jsonb)
    RETURNS TABLE (stream text, version bigint, global_position bigint)
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'msgstore_append_batch';

CREATE FUNCTION msgstore.read_stream(
    stream text,
    from_version bigint DEFAULT 1,
    max_events bigint DEFAULT 1000)
    RETURNS SETOF msgstore.stream_event
    LANGUAGE c STABLE PARALLEL RESTRICTED SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'msgstore_read_stream';

CREATE FUNCTION msgstore.read_stream_backwards(
    stream text,
    from_version bigint DEFAULT NULL,
    max_events bigint DEFAULT 1000)
    RETURNS SETOF msgstore.stream_event
    LANGUAGE c STABLE PARALLEL RESTRICTED SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'msgstore_read_stream_backwards';

-- These two take a snapshot of their own, after they have read how far events
-- are settled.
CREATE FUNCTION msgstore.read_category(
    category text,
    after_position bigint DEFAULT 0,
    max_events bigint DEFAULT 1000,
    consumer_member bigint DEFAULT NULL,
    consumer_size bigint DEFAULT NULL)
    RETURNS SETOF msgstore.stream_event
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'msgstore_read_category';

CREATE FUNCTION msgstore.read_all(
    after_position bigint DEFAULT 0,
    max_events bigint DEFAULT 1000,
    consumer_member bigint DEFAULT NULL,
    consumer_size bigint DEFAULT NULL)
    RETURNS SETOF msgstore.stream_event
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'msgstore_read_all';

CREATE FUNCTION msgstore.wait_for_events(
    category text,
    after_position bigint,
    timeout interval DEFAULT '30 s')
    RETURNS boolean
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'msgstore_wait_for_events';

CREATE FUNCTION msgstore.stream_version(stream text) RETURNS bigint
    LANGUAGE c STABLE STRICT PARALLEL RESTRICTED SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'msgstore_stream_version';

CREATE FUNCTION msgstore.count_events(stream text) RETURNS bigint
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    RETURN (
        SELECT count(*) FROM msgstore.stream_events e
        WHERE e.tenant_id = msgstore._tenant_scope()
            AND e.stream = count_events.stream);
END
$$;

CREATE FUNCTION msgstore.last_event(stream text, type text DEFAULT NULL)
    RETURNS SETOF msgstore.stream_event
    LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER ROWS 1
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = 'force_custom_plan'
    AS $$
BEGIN
    RETURN QUERY
        SELECT e.stream, e.version, e.global_position, e.event_id, e.type,
            e.data, e.metadata, e.created_at, e.created_by
        FROM msgstore.stream_events e
        WHERE e.tenant_id = msgstore._tenant_scope()
            AND e.stream = last_event.stream
            AND (last_event.type IS NULL OR e.type = last_event.type)
        ORDER BY e.version DESC
        LIMIT 1;
END
$$;

-- From one stream to the next by one index probe each.
CREATE FUNCTION msgstore.list_streams(
    category text DEFAULT NULL,
    after text DEFAULT NULL,
    max_streams int DEFAULT 1000)
    RETURNS TABLE (stream text, version bigint)
    LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = 'force_custom_plan'
    AS $$
#variable_conflict use_column
DECLARE
    tenant text := msgstore._tenant_scope();
BEGIN
    IF max_streams < 0 THEN
        RAISE EXCEPTION 'argument "max_streams" is negative: %', max_streams
            USING ERRCODE = 'MS400',
                  DETAIL = 'It is a number of streams, or null for no limit.';
    END IF;
    -- '-' is followed by '.': a category's streams are its own name and what
    -- stands between "category-" and "category.".
    RETURN QUERY
        WITH RECURSIVE streams AS (
            (SELECT e.stream, e.version, 1 AS n
             FROM msgstore.stream_events e
             WHERE e.tenant_id = tenant
                 AND e.stream > coalesce(after, '')
                 AND e.stream >= coalesce(list_streams.category, '')
             ORDER BY e.stream, e.version LIMIT 1)
            UNION ALL
            SELECT next.stream, next.version, s.n + 1
            FROM streams s
            CROSS JOIN LATERAL (
                SELECT e.stream, e.version
                FROM msgstore.stream_events e
                WHERE e.tenant_id = tenant AND e.stream > s.stream
                    AND (list_streams.category IS NULL
                        OR e.stream >= list_streams.category || '-')
                ORDER BY e.stream, e.version LIMIT 1) next
            WHERE list_streams.category IS NULL
                OR next.stream < list_streams.category || '.'
        )
        SELECT s.stream, (
            SELECT e.version FROM msgstore.stream_events e
            WHERE e.tenant_id = tenant AND e.stream = s.stream
            ORDER BY e.version DESC LIMIT 1)
        FROM streams s
        WHERE list_streams.category IS NULL
            OR msgstore.stream_category(s.stream) = list_streams.category
        LIMIT max_streams;
END
$$;

CREATE FUNCTION msgstore.latest_position() RETURNS bigint
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = 'force_custom_plan'
    AS $$
DECLARE
    settled bigint := msgstore._settled_position();
BEGIN
    RETURN coalesce((
        SELECT max(e.global_position) FROM msgstore.stream_events e
        WHERE e.tenant_id = msgstore._tenant_scope()
            AND e.global_position <= settled), 0);
END
$$;

-- The id of an event says its position only where it was made here; for
-- others an id is made that does, and that is the same each time.
CREATE FUNCTION msgstore.latest_event_id() RETURNS uuid
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = 'force_custom_plan'
    AS $$
DECLARE
    latest bigint := msgstore.latest_position();
    own text;
    prefix text;
BEGIN
    IF latest = 0 THEN
        RETURN '00000000-0000-0000-0000-000000000000';
    END IF;
    SELECT e.event_id INTO own FROM msgstore.stream_events e
    WHERE e.tenant_id = msgstore._tenant_scope()
        AND e.global_position = latest;
    prefix := lpad(to_hex(latest), 15, '0');
    prefix := left(prefix, 8) || '-' || substr(prefix, 9, 4) || '-8' || right(prefix, 3);
    IF own LIKE prefix || '%' THEN
        RETURN own;
    END IF;
    RETURN prefix || '-8' || substr(md5(own), 1, 3) || '-' || substr(md5(own), 4, 12);
END
$$;

CREATE FUNCTION msgstore.merge_patch(target jsonb, patch jsonb) RETURNS jsonb
    LANGUAGE c IMMUTABLE PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'msgstore_merge_patch';

CREATE AGGREGATE msgstore.fold(patch jsonb) (
    SFUNC = msgstore.merge_patch,
    STYPE = jsonb,
    PARALLEL = SAFE
);

CREATE FUNCTION msgstore._last_known(known anyelement, value anyelement)
    RETURNS anyelement
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'msgstore_last_known';

-- Strict: nulls are passed over, and the first value that is none begins.
CREATE AGGREGATE msgstore.last_known(value anyelement) (
    SFUNC = msgstore._last_known,
    STYPE = anyelement,
    PARALLEL = SAFE
);

CREATE FUNCTION msgstore.stream_state(stream text, at timestamptz DEFAULT NULL)
    RETURNS jsonb
    LANGUAGE c STABLE PARALLEL RESTRICTED SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'msgstore_stream_state';

CREATE FUNCTION msgstore._wake_at_commit(category text) RETURNS void
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'msgstore_wake_at_commit';

-- The event id is checked as that of any event: a seed that repeats an id of
-- another stream's event is a conflict.
CREATE FUNCTION msgstore._append_seed(stream text, version bigint, seed jsonb)
    RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
BEGIN
    IF jsonb_typeof(seed -> 'type') <> 'string' OR seed ->> 'type' = '' THEN
        RAISE EXCEPTION 'field "type" of the seed is not a name'
            USING ERRCODE = 'MS400';
    END IF;
    INSERT INTO msgstore.stream_events (global_position, horizon, version,
        created_at, event_id, tenant_id, stream, category, type, created_by,
        data, metadata)
    VALUES (msgstore._take_position(), msgstore._horizon(), _append_seed.version,
        coalesce((seed ->> 'created_at')::timestamptz, clock_timestamp()),
        coalesce((seed ->> 'event_id')::uuid, msgstore._event_id()),
        msgstore._tenant_scope(), _append_seed.stream,
        msgstore.stream_category(_append_seed.stream), seed ->> 'type',
        seed ->> 'created_by', seed -> 'data', seed -> 'metadata');
    PERFORM msgstore._wake_at_commit(msgstore.stream_category(_append_seed.stream));
EXCEPTION
    WHEN unique_violation THEN
        RAISE EXCEPTION 'event id "%" was used with different content',
            seed ->> 'event_id'
            USING ERRCODE = 'MS409',
                  DETAIL = 'An event id stands for one stream, type, data and metadata.',
                  HINT = 'Repeat the event as it was, or use another id.';
    WHEN invalid_text_representation OR invalid_datetime_format THEN
        RAISE EXCEPTION 'the seed has a field that cannot be read: %', SQLERRM
            USING ERRCODE = 'MS400';
END
$$;

-- Waits for who is compacting the same stream; that one leaves one event.
CREATE FUNCTION msgstore.compact_stream(
    stream text,
    seed jsonb,
    expected_version bigint DEFAULT NULL,
    OUT events_before bigint,
    OUT events_after bigint,
    OUT version bigint)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = 'force_custom_plan'
    AS $$
#variable_conflict use_column
DECLARE
    tenant text := msgstore._tenant_scope();
    locked bigint;
BEGIN
    IF stream IS NULL OR jsonb_typeof(seed) IS DISTINCT FROM 'object' THEN
        RAISE EXCEPTION 'argument "%" is not %',
            CASE WHEN stream IS NULL THEN 'stream' ELSE 'seed' END,
            CASE WHEN stream IS NULL THEN 'a name' ELSE 'a JSON object' END
            USING ERRCODE = 'MS400',
                  DETAIL = 'A seed has the fields type and data, and may have metadata, event_id and created_by; or it is the data.';
    END IF;
    IF starts_with(stream, 'msgstore:') THEN
        RAISE EXCEPTION 'stream "%" is kept by msgstore itself', stream
            USING ERRCODE = 'MS400',
                  HINT = 'Use the functions of the room that keeps it.';
    END IF;
    IF NOT seed ?& ARRAY['type', 'data'] THEN
        seed := jsonb_build_object('type', 'Compacted', 'data', seed);
    END IF;
    LOOP
        PERFORM FROM msgstore.stream_events e
        WHERE e.tenant_id = tenant AND e.stream = compact_stream.stream
        ORDER BY e.version FOR UPDATE;
        GET DIAGNOSTICS locked = ROW_COUNT;
        SELECT count(*), coalesce(max(e.version), 0)
        INTO events_before, version
        FROM msgstore.stream_events e
        WHERE e.tenant_id = tenant AND e.stream = compact_stream.stream;
        EXIT WHEN events_before = locked;
    END LOOP;
    IF expected_version <> version THEN
        RAISE EXCEPTION 'version conflict on stream "%": expected %, got %',
            stream, expected_version, version
            USING ERRCODE = 'MS409',
                  DETAIL = format('The stream is at version %s.', version),
                  HINT = 'Read what the stream has got since, and compact it with its version.';
    END IF;
    events_after := least(events_before, 1);
    IF events_before <= 1 THEN
        RETURN;
    END IF;
    DELETE FROM msgstore.stream_events e
    WHERE e.tenant_id = tenant AND e.stream = compact_stream.stream
        AND e.version <= compact_stream.version;
    PERFORM msgstore._append_seed(stream, version, seed);
END
$$;


-- Where a subscription stands, held until the transaction ends: a group is not
-- resized while a member is at work, and a member's work is not done twice.
CREATE FUNCTION msgstore._lock_consumer(
    subscription text,
    member bigint,
    OUT category text,
    OUT generation int,
    OUT group_size bigint,
    OUT "position" bigint)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    SELECT s.category, s.generation, s.group_size
    INTO category, generation, group_size
    FROM msgstore.stream_subscriptions s
    WHERE s.tenant_id = msgstore._tenant_scope() AND s.name = subscription
    FOR SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'subscription "%" does not exist', subscription
            USING ERRCODE = 'MS404',
                  HINT = 'Make it with create_subscription().';
    END IF;
    SELECT c.position INTO "position"
    FROM msgstore.stream_consumers c
    WHERE c.tenant_id = msgstore._tenant_scope()
        AND c.subscription = _lock_consumer.subscription
        AND c.generation = _lock_consumer.generation
        AND c.member = _lock_consumer.member
    FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'subscription "%" has no member %', subscription, member
            USING ERRCODE = 'MS404',
                  DETAIL = format('Its group has %s members; they count from 0.',
                                  group_size);
    END IF;
END
$$;

CREATE FUNCTION msgstore._check_group_size(group_size bigint) RETURNS void
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF group_size BETWEEN 1 AND 1000 THEN
        RETURN;
    END IF;
    RAISE EXCEPTION 'a consumer group of size % cannot be', coalesce(group_size::text, 'null')
        USING ERRCODE = 'MS400',
              DETAIL = 'A group has 1 to 1000 members.';
END
$$;

CREATE FUNCTION msgstore.create_subscription(
    name text,
    category text DEFAULT NULL,
    group_size bigint DEFAULT 1,
    after_position bigint DEFAULT 0)
    RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF coalesce(name, '') = '' THEN
        RAISE EXCEPTION 'argument "name" is empty' USING ERRCODE = 'MS400';
    END IF;
    PERFORM msgstore._check_group_size(group_size);
    INSERT INTO msgstore.stream_subscriptions (tenant_id, name, category, group_size)
    VALUES (msgstore._tenant_scope(), create_subscription.name,
            create_subscription.category, create_subscription.group_size)
    ON CONFLICT ON CONSTRAINT stream_subscriptions_pkey DO NOTHING;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'subscription "%" exists already', name
            USING ERRCODE = 'MS409',
                  HINT = 'Use it, or remove it with drop_subscription().';
    END IF;
    INSERT INTO msgstore.stream_consumers
        (tenant_id, subscription, generation, member, group_size, position)
    SELECT msgstore._tenant_scope(), create_subscription.name, 1, m,
        create_subscription.group_size, coalesce(after_position, 0)
    FROM generate_series(0, create_subscription.group_size - 1) m;
END
$$;

CREATE FUNCTION msgstore.drop_subscription(name text) RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    DELETE FROM msgstore.stream_subscriptions s
    WHERE s.tenant_id = msgstore._tenant_scope()
        AND s.name = drop_subscription.name;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'subscription "%" does not exist', name
            USING ERRCODE = 'MS404';
    END IF;
    DELETE FROM msgstore.stream_consumers c
    WHERE c.tenant_id = msgstore._tenant_scope()
        AND c.subscription = drop_subscription.name;
    DELETE FROM msgstore.parked_events p
    WHERE p.tenant_id = msgstore._tenant_scope()
        AND p.subscription = drop_subscription.name;
END
$$;

-- The new members begin where the slowest one was. What the others had handled
-- beyond that, their rows of the former generation go on saying.
CREATE FUNCTION msgstore.resize_subscription(name text, group_size bigint)
    RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    former int;
    lowest bigint;
BEGIN
    PERFORM msgstore._check_group_size(group_size);
    UPDATE msgstore.stream_subscriptions s
    SET generation = s.generation + 1, group_size = resize_subscription.group_size
    WHERE s.tenant_id = msgstore._tenant_scope()
        AND s.name = resize_subscription.name
    RETURNING s.generation - 1 INTO former;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'subscription "%" does not exist', name
            USING ERRCODE = 'MS404',
                  HINT = 'Make it with create_subscription().';
    END IF;
    SELECT min(c.position) INTO lowest
    FROM msgstore.stream_consumers c
    WHERE c.tenant_id = msgstore._tenant_scope()
        AND c.subscription = resize_subscription.name
        AND c.generation = former;
    DELETE FROM msgstore.stream_consumers c
    WHERE c.tenant_id = msgstore._tenant_scope()
        AND c.subscription = resize_subscription.name
        AND c.position <= lowest;
    INSERT INTO msgstore.stream_consumers
        (tenant_id, subscription, generation, member, group_size, position)
    SELECT msgstore._tenant_scope(), resize_subscription.name, former + 1, m,
        resize_subscription.group_size, lowest
    FROM generate_series(0, resize_subscription.group_size - 1) m;
END
$$;

-- What a former generation has handled is passed over, page by page, so that
-- an empty answer means that there is nothing.
CREATE FUNCTION msgstore.fetch(
    name text,
    max_events bigint DEFAULT 100,
    member bigint DEFAULT 0)
    RETURNS SETOF msgstore.stream_event
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    consumer record := msgstore._lock_consumer(name, member);
    own_member bigint := CASE WHEN consumer.group_size > 1 THEN member END;
    own_size bigint := CASE WHEN consumer.group_size > 1 THEN consumer.group_size END;
    place bigint := consumer.position;
    page msgstore.stream_event[];
    fresh msgstore.stream_event[];
BEGIN
    IF max_events IS NULL OR max_events < 1 THEN
        RAISE EXCEPTION 'argument "max_events" is not a positive number'
            USING ERRCODE = 'MS400';
    END IF;
    LOOP
        IF consumer.category IS NULL THEN
            SELECT array_agg(e ORDER BY e.global_position) INTO page
            FROM msgstore.read_all(place, max_events, own_member, own_size) e;
        ELSE
            SELECT array_agg(e ORDER BY e.global_position) INTO page
            FROM msgstore.read_category(consumer.category, place, max_events,
                                        own_member, own_size) e;
        END IF;
        EXIT WHEN page IS NULL;
        SELECT array_agg(e ORDER BY e.global_position) INTO fresh
        FROM unnest(page) e
        WHERE NOT EXISTS (
            SELECT FROM msgstore.stream_consumers c
            WHERE c.tenant_id = msgstore._tenant_scope()
                AND c.subscription = "fetch".name
                AND c.generation < consumer.generation
                AND c.member = msgstore._consumer_of(e.stream, c.group_size)
                AND c.position >= e.global_position);
        EXIT WHEN fresh IS NOT NULL;
        place := page[cardinality(page)].global_position;
    END LOOP;
    RETURN QUERY SELECT * FROM unnest(fresh);
END
$$;

CREATE FUNCTION msgstore.ack(name text, "position" bigint, member bigint DEFAULT 0)
    RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    consumer record := msgstore._lock_consumer(name, member);
BEGIN
    IF "position" IS NULL OR "position" > msgstore._settled_position() THEN
        RAISE EXCEPTION 'position % cannot be acknowledged', coalesce("position"::text, 'null')
            USING ERRCODE = 'MS400',
                  DETAIL = 'Nobody has read an event at this position yet.';
    END IF;
    IF "position" < consumer.position THEN
        RAISE EXCEPTION 'position % of subscription "%" was acknowledged before',
            "position", name
            USING ERRCODE = 'MS409',
                  DETAIL = format('Member %s is at position %s.', member,
                                  consumer.position);
    END IF;
    UPDATE msgstore.stream_consumers c
    SET position = ack.position
    WHERE c.tenant_id = msgstore._tenant_scope()
        AND c.subscription = ack.name
        AND c.generation = consumer.generation
        AND c.member = ack.member;
END
$$;

CREATE FUNCTION msgstore._check_subscription(name text) RETURNS text
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    category text;
BEGIN
    SELECT s.category INTO category FROM msgstore.stream_subscriptions s
    WHERE s.tenant_id = msgstore._tenant_scope()
        AND s.name = _check_subscription.name;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'subscription "%" does not exist', name
            USING ERRCODE = 'MS404',
                  HINT = 'Make it with create_subscription().';
    END IF;
    RETURN category;
END
$$;

CREATE FUNCTION msgstore.park(name text, "position" bigint, reason text)
    RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = 'force_custom_plan'
    AS $$
DECLARE
    subscribed text := msgstore._check_subscription(name);
BEGIN
    IF NOT EXISTS (
        SELECT FROM msgstore.stream_events e
        WHERE e.tenant_id = msgstore._tenant_scope()
            AND e.global_position = park.position
            AND (subscribed IS NULL OR e.category = subscribed))
    THEN
        RAISE EXCEPTION 'subscription "%" has no event at position %', name,
            coalesce("position"::text, 'null')
            USING ERRCODE = 'MS404';
    END IF;
    INSERT INTO msgstore.parked_events AS p
        (tenant_id, subscription, global_position, reason)
    VALUES (msgstore._tenant_scope(), park.name, park.position,
            coalesce(park.reason, ''))
    ON CONFLICT ON CONSTRAINT parked_events_pkey
        DO UPDATE SET reason = excluded.reason, parked_at = now();
END
$$;

CREATE FUNCTION msgstore.list_parked(name text)
    RETURNS TABLE (global_position bigint, reason text, parked_at timestamptz)
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
BEGIN
    PERFORM msgstore._check_subscription(name);
    RETURN QUERY
        SELECT p.global_position, p.reason, p.parked_at
        FROM msgstore.parked_events p
        WHERE p.tenant_id = msgstore._tenant_scope()
            AND p.subscription = list_parked.name
        ORDER BY p.global_position;
END
$$;

-- Events leave the parking with the caller's transaction: rolled back, they
-- stay. Two sessions get different ones. A compacted event is gone.
CREATE FUNCTION msgstore.replay_parked(name text, max_events bigint DEFAULT 100)
    RETURNS SETOF msgstore.stream_event
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = 'force_custom_plan'
    AS $$
BEGIN
    PERFORM msgstore._check_subscription(name);
    RETURN QUERY
        WITH chosen AS (
            SELECT p.global_position
            FROM msgstore.parked_events p
            WHERE p.tenant_id = msgstore._tenant_scope()
                AND p.subscription = replay_parked.name
            ORDER BY p.global_position
            LIMIT max_events
            FOR UPDATE SKIP LOCKED
        ), unparked AS (
            DELETE FROM msgstore.parked_events p
            USING chosen c
            WHERE p.tenant_id = msgstore._tenant_scope()
                AND p.subscription = replay_parked.name
                AND p.global_position = c.global_position
            RETURNING p.global_position
        )
        SELECT e.stream, e.version, e.global_position, e.event_id, e.type,
            e.data, e.metadata, e.created_at, e.created_by
        FROM unparked u
        JOIN msgstore.stream_events e
            ON e.tenant_id = msgstore._tenant_scope()
            AND e.global_position = u.global_position
        ORDER BY e.global_position;
END
$$;

-- The document of a snapshot, its fields checked.
CREATE FUNCTION msgstore._snapshot_row(snapshot jsonb) RETURNS msgstore.snapshots
    LANGUAGE plpgsql VOLATILE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    made msgstore.snapshots;
    field text;
    kind text;
BEGIN
    IF jsonb_typeof(snapshot) IS DISTINCT FROM 'object' THEN
        RAISE EXCEPTION 'argument "snapshot" is not a JSON object'
            USING ERRCODE = 'MS400';
    END IF;
    snapshot := jsonb_strip_nulls(snapshot - 'entries')
        || CASE WHEN snapshot -> 'entries' <> 'null'
                THEN jsonb_build_object('entries', snapshot -> 'entries')
                ELSE '{}' END;
    FOR field, kind IN VALUES ('snapshot_id', 'string'), ('created_at', 'string'),
        ('hosts_content', 'string'), ('trigger', 'string'), ('name', 'string'),
        ('entry_count', 'number'), ('event_log_position', 'number')
    LOOP
        IF jsonb_typeof(snapshot -> field) <> kind THEN
            RAISE EXCEPTION 'field "%" of the snapshot is not a %', field, kind
                USING ERRCODE = 'MS400';
        END IF;
    END LOOP;
    made.tenant_id := msgstore._tenant_scope();
    made.snapshot_id := coalesce(nullif(snapshot ->> 'snapshot_id', ''), msgstore.uuid7()::text);
    made.created_at := coalesce((snapshot ->> 'created_at')::timestamptz, now());
    made.hosts_content := coalesce(snapshot ->> 'hosts_content', '');
    made.entries := snapshot -> 'entries';
    made.entry_count := coalesce((snapshot ->> 'entry_count')::int,
        CASE jsonb_typeof(made.entries) WHEN 'array'
            THEN jsonb_array_length(made.entries) END, 0);
    made.trigger := coalesce(snapshot ->> 'trigger', 'manual');
    made.name := snapshot ->> 'name';
    made.event_log_position := (snapshot ->> 'event_log_position')::bigint;
    IF made.entry_count < 0 THEN
        RAISE EXCEPTION 'field "entry_count" of the snapshot is negative'
            USING ERRCODE = 'MS400';
    END IF;
    RETURN made;
EXCEPTION
    WHEN invalid_text_representation OR invalid_datetime_format
        OR datetime_field_overflow OR numeric_value_out_of_range THEN
        RAISE EXCEPTION 'the snapshot has a field that cannot be read: %', SQLERRM
            USING ERRCODE = 'MS400';
END
$$;

CREATE FUNCTION msgstore.save_snapshot(snapshot jsonb) RETURNS text
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    made msgstore.snapshots := msgstore._snapshot_row(snapshot);
BEGIN
    INSERT INTO msgstore.snapshots SELECT made.*
    ON CONFLICT ON CONSTRAINT snapshots_pkey DO UPDATE
    SET hosts_content = excluded.hosts_content,
        entries = excluded.entries,
        entry_count = excluded.entry_count,
        trigger = excluded.trigger,
        name = excluded.name,
        event_log_position = excluded.event_log_position;
    RETURN made.snapshot_id;
END
$$;

CREATE FUNCTION msgstore._raise_no_snapshot(id text) RETURNS void
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    RAISE EXCEPTION 'snapshot "%" not found', left(id, 64)
        USING ERRCODE = 'MS404',
              HINT = 'list_snapshots() has the ids of all there are.';
END
$$;

CREATE FUNCTION msgstore.get_snapshot(id text) RETURNS jsonb
    LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET timezone = 'UTC'
    AS $$
DECLARE
    found jsonb;
BEGIN
    SELECT to_jsonb(s) - 'tenant_id' INTO found
    FROM msgstore.snapshots s
    WHERE s.tenant_id = msgstore._tenant_scope()
        AND s.snapshot_id = get_snapshot.id;
    IF found IS NULL THEN
        PERFORM msgstore._raise_no_snapshot(coalesce(id, 'null'));
    END IF;
    RETURN found;
END
$$;

CREATE FUNCTION msgstore.list_snapshots(
    max_results int DEFAULT NULL,
    skip int DEFAULT NULL)
    RETURNS TABLE (
        snapshot_id text,
        created_at timestamptz,
        entry_count int,
        trigger text,
        name text,
        event_log_position bigint)
    LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
BEGIN
    IF max_results < 0 OR skip < 0 THEN
        RAISE EXCEPTION 'argument "%" is negative',
            CASE WHEN max_results < 0 THEN 'max_results' ELSE 'skip' END
            USING ERRCODE = 'MS400',
                  DETAIL = 'It is a number of snapshots, or null.';
    END IF;
    RETURN QUERY
        SELECT s.snapshot_id, s.created_at, s.entry_count, s.trigger, s.name,
            s.event_log_position
        FROM msgstore.snapshots s
        WHERE s.tenant_id = msgstore._tenant_scope()
        ORDER BY s.created_at DESC, s.snapshot_id DESC
        LIMIT max_results OFFSET skip;
END
$$;

CREATE FUNCTION msgstore.delete_snapshot(id text) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    DELETE FROM msgstore.snapshots s
    WHERE s.tenant_id = msgstore._tenant_scope()
        AND s.snapshot_id = delete_snapshot.id;
    IF NOT FOUND THEN
        PERFORM msgstore._raise_no_snapshot(coalesce(id, 'null'));
    END IF;
END
$$;

CREATE FUNCTION msgstore.apply_snapshot_retention(max_count int, max_age interval)
    RETURNS int
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    deleted int;
BEGIN
    IF max_count <= 0 OR max_age <= interval '0' THEN
        RAISE EXCEPTION 'retention limit "%" must be a positive integer or interval, not "%"',
            CASE WHEN max_count <= 0 THEN 'max_count' ELSE 'max_age' END,
            CASE WHEN max_count <= 0 THEN max_count::text ELSE max_age::text END
            USING ERRCODE = 'MS400',
                  DETAIL = 'Null is no limit.';
    END IF;
    DELETE FROM msgstore.snapshots s
    WHERE s.tenant_id = msgstore._tenant_scope()
        AND (s.created_at < now() - max_age
            OR s.snapshot_id IN (
                SELECT n.snapshot_id FROM msgstore.snapshots n
                WHERE n.tenant_id = msgstore._tenant_scope()
                    AND max_count IS NOT NULL
                ORDER BY n.created_at DESC, n.snapshot_id DESC
                OFFSET max_count));
    GET DIAGNOSTICS deleted = ROW_COUNT;
    RETURN deleted;
END
$$;

-- The other interface. Its objects are made where it is asked for and belong to
-- whoever asks, so that a dump has them; what they do is done here. A condition
-- is SQL of the caller and runs with the caller's rights, on a view that shows
-- one tenant's events and nothing before its own condition holds.
CREATE FUNCTION msgstore.install_message_store() RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET check_function_bodies = off
    AS $install$
BEGIN
    IF to_regnamespace('message_store') IS NOT NULL THEN
        RAISE EXCEPTION 'schema "message_store" exists already'
            USING ERRCODE = 'MS409',
                  HINT = 'Another message store is installed in this database.';
    END IF;
    EXECUTE $sql$
CREATE SCHEMA message_store;

CREATE TYPE message_store.message AS (
    id varchar,
    stream_name varchar,
    type varchar,
    position bigint,
    global_position bigint,
    data varchar,
    metadata varchar,
    time timestamp
);

CREATE FUNCTION message_store._tenant_scope() RETURNS text
    LANGUAGE c STABLE STRICT PARALLEL SAFE
    AS '$libdir/msgstore', 'msgstore_tenant_scope';

CREATE FUNCTION message_store._settled_position() RETURNS bigint
    LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS '$libdir/msgstore', 'msgstore_settled_position';

CREATE FUNCTION message_store._consumer_of(stream_name text, size bigint) RETURNS bigint
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    AS '$libdir/msgstore', 'msgstore_consumer_of';

CREATE FUNCTION message_store.write_message(
    id varchar,
    stream_name varchar,
    "type" varchar,
    data jsonb,
    metadata jsonb DEFAULT NULL,
    expected_version bigint DEFAULT NULL)
    RETURNS bigint
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS '$libdir/msgstore', 'msgstore_write_message';

CREATE FUNCTION message_store.message_store_version() RETURNS varchar
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN '1.3.0'::varchar;

CREATE FUNCTION message_store.hash_64(value varchar) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN left('x' || md5(value), 17)::bit(64)::bigint;

CREATE FUNCTION message_store.category(stream_name varchar) RETURNS varchar
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN split_part(stream_name, '-', 1)::varchar;

CREATE FUNCTION message_store.is_category(stream_name varchar) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN coalesce(strpos(stream_name, '-') = 0, true);

CREATE FUNCTION message_store.id(stream_name varchar) RETURNS varchar
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN strpos(stream_name, '-') > 0
        THEN substr(stream_name, strpos(stream_name, '-') + 1)::varchar END;

CREATE FUNCTION message_store.cardinal_id(stream_name varchar) RETURNS varchar
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN split_part(message_store.id(stream_name), '+', 1)::varchar;

-- Kept for those who call it: write_message() needs no lock.
CREATE FUNCTION message_store.acquire_lock(stream_name varchar) RETURNS bigint
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    hash bigint := message_store.hash_64(message_store.category(stream_name));
BEGIN
    PERFORM pg_advisory_xact_lock(hash);
    RETURN hash;
END
$$;

CREATE VIEW message_store.messages WITH (security_barrier) AS
SELECT e.global_position, e.version - 1 AS position,
    e.created_at AT TIME ZONE 'utc' AS time, e.stream AS stream_name, e.type,
    e.data, e.metadata, e.event_id AS id, e.category
FROM msgstore.stream_events e
WHERE e.tenant_id = message_store._tenant_scope();

CREATE FUNCTION message_store._columns() RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN 'SELECT id::varchar, stream_name::varchar, type::varchar, position,
        global_position, data::varchar, metadata::varchar, time
        FROM message_store.messages WHERE ';

CREATE FUNCTION message_store._condition(condition varchar) RETURNS text
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF condition IS NULL THEN
        RETURN '';
    END IF;
    IF coalesce(current_setting('message_store.sql_condition', true), '') NOT IN ('on', 'true', '1') THEN
        RAISE EXCEPTION 'Retrieval with SQL condition is not activated';
    END IF;
    RETURN format(' AND (%s)', condition);
END
$$;

CREATE FUNCTION message_store.stream_version(stream_name varchar) RETURNS bigint
    LANGUAGE sql STABLE
    BEGIN ATOMIC
        SELECT max(m.position) FROM message_store.messages m
        WHERE m.stream_name = stream_version.stream_name;
    END;

CREATE FUNCTION message_store.get_last_stream_message(
    stream_name varchar,
    type varchar DEFAULT NULL)
    RETURNS SETOF message_store.message
    LANGUAGE plpgsql VOLATILE
    AS $$
BEGIN
    RETURN QUERY EXECUTE message_store._columns()
        || 'stream_name = $1'
        || CASE WHEN type IS NULL THEN '' ELSE ' AND type = $2' END
        || ' ORDER BY position DESC LIMIT 1'
        USING stream_name, type;
END
$$;

CREATE FUNCTION message_store.get_stream_messages(
    stream_name varchar,
    "position" bigint DEFAULT 0,
    batch_size bigint DEFAULT 1000,
    condition varchar DEFAULT NULL)
    RETURNS SETOF message_store.message
    LANGUAGE plpgsql VOLATILE
    AS $$
BEGIN
    IF message_store.is_category(stream_name) THEN
        RAISE EXCEPTION 'Must be a stream name: %', stream_name;
    END IF;
    batch_size := coalesce(batch_size, 1000);
    RETURN QUERY EXECUTE message_store._columns()
        || 'stream_name = $1 AND position >= $2'
        || message_store._condition(condition)
        || ' ORDER BY position'
        || CASE WHEN batch_size = -1 THEN '' ELSE ' LIMIT $3' END
        USING stream_name, coalesce("position", 0), batch_size;
END
$$;

CREATE FUNCTION message_store.get_category_messages(
    category varchar,
    "position" bigint DEFAULT 1,
    batch_size bigint DEFAULT 1000,
    correlation varchar DEFAULT NULL,
    consumer_group_member bigint DEFAULT NULL,
    consumer_group_size bigint DEFAULT NULL,
    condition varchar DEFAULT NULL)
    RETURNS SETOF message_store.message
    LANGUAGE plpgsql VOLATILE
    AS $$
DECLARE
    place text := format('(Consumer Group Member: %s, Consumer Group Size: %s)',
        coalesce(consumer_group_member::text, '<NULL>'),
        coalesce(consumer_group_size::text, '<NULL>'));
    settled bigint;
BEGIN
    IF NOT message_store.is_category(category) THEN
        RAISE EXCEPTION 'Must be a category: %', category;
    END IF;
    IF strpos(correlation, '-') > 0 THEN
        RAISE EXCEPTION 'Correlation must be a category (Correlation: %)', correlation;
    END IF;
    IF (consumer_group_member IS NULL) <> (consumer_group_size IS NULL) THEN
        RAISE EXCEPTION 'Consumer group member and size must be specified %', place;
    ELSIF consumer_group_size < 1 THEN
        RAISE EXCEPTION 'Consumer group size must not be less than 1 %', place;
    ELSIF consumer_group_member < 0 THEN
        RAISE EXCEPTION 'Consumer group member must not be less than 0 %', place;
    ELSIF consumer_group_member >= consumer_group_size THEN
        RAISE EXCEPTION 'Consumer group member must be less than the group size %', place;
    END IF;
    batch_size := coalesce(batch_size, 1000);
    -- The query's snapshot comes after this.
    settled := message_store._settled_position();
    RETURN QUERY EXECUTE message_store._columns()
        || 'category = $1 AND global_position >= $2 AND global_position <= $7'
        || CASE WHEN correlation IS NULL THEN ''
            ELSE ' AND split_part(metadata ->> ''correlationStreamName'', ''-'', 1) = $4' END
        || CASE WHEN consumer_group_member IS NULL THEN ''
            ELSE ' AND strpos(stream_name, ''-'') > 0
                AND message_store._consumer_of(stream_name, $6) = $5' END
        || message_store._condition(condition)
        || ' ORDER BY global_position'
        || CASE WHEN batch_size = -1 THEN '' ELSE ' LIMIT $3' END
        USING category, coalesce("position", 1), batch_size, correlation,
            consumer_group_member, consumer_group_size, settled;
END
$$;

CREATE VIEW message_store.category_type_summary AS
SELECT category, type, message_count,
    round(message_count / sum(message_count) OVER () * 100, 2) AS percent
FROM (SELECT category, type, count(*) AS message_count
      FROM message_store.messages GROUP BY category, type) c
ORDER BY category, type;

CREATE VIEW message_store.type_category_summary AS
SELECT type, category, message_count,
    round(message_count / sum(message_count) OVER () * 100, 2) AS percent
FROM (SELECT type, category, count(*) AS message_count
      FROM message_store.messages GROUP BY type, category) c
ORDER BY type, category;

CREATE VIEW message_store.stream_summary AS
SELECT stream_name, message_count,
    round(message_count / sum(message_count) OVER () * 100, 2) AS percent
FROM (SELECT stream_name, count(*) AS message_count
      FROM message_store.messages GROUP BY stream_name) c
ORDER BY stream_name;

CREATE VIEW message_store.stream_type_summary AS
SELECT stream_name, type, message_count,
    round(message_count / sum(message_count) OVER () * 100, 2) AS percent
FROM (SELECT stream_name, type, count(*) AS message_count
      FROM message_store.messages GROUP BY stream_name, type) c
ORDER BY stream_name, type;

CREATE VIEW message_store.type_stream_summary AS
SELECT type, stream_name, message_count,
    round(message_count / sum(message_count) OVER () * 100, 2) AS percent
FROM (SELECT type, stream_name, count(*) AS message_count
      FROM message_store.messages GROUP BY type, stream_name) c
ORDER BY type, stream_name;

CREATE VIEW message_store.type_summary AS
SELECT type, message_count,
    round(message_count / sum(message_count) OVER () * 100, 2) AS percent
FROM (SELECT type, count(*) AS message_count
      FROM message_store.messages GROUP BY type) c
ORDER BY type;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA message_store FROM PUBLIC;
    $sql$;
    IF to_regrole('message_store') IS NOT NULL THEN
        EXECUTE $sql$
GRANT USAGE ON SCHEMA message_store TO message_store;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA message_store TO message_store;
GRANT SELECT ON ALL TABLES IN SCHEMA message_store TO message_store;
        $sql$;
    END IF;
END
$install$;

REVOKE ALL ON FUNCTION msgstore._take_position() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._horizon() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._event_id() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._settled_position() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._consumer_of(text, bigint) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._append_at(text, text, jsonb, bigint, jsonb, uuid, text, timestamptz) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.stream_category(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.append(text, text, jsonb, bigint, jsonb, uuid, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.append_batch(jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.read_stream(text, bigint, bigint) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.read_stream_backwards(text, bigint, bigint) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.read_category(text, bigint, bigint, bigint, bigint) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.read_all(bigint, bigint, bigint, bigint) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.wait_for_events(text, bigint, interval) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.stream_version(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.count_events(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.last_event(text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.list_streams(text, text, int) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.latest_position() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.latest_event_id() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.merge_patch(jsonb, jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.fold(jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._last_known(anyelement, anyelement) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.last_known(anyelement) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.stream_state(text, timestamptz) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._wake_at_commit(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._append_seed(text, bigint, jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.compact_stream(text, jsonb, bigint) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._lock_consumer(text, bigint) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._check_group_size(bigint) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.create_subscription(text, text, bigint, bigint) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.drop_subscription(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.resize_subscription(text, bigint) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.fetch(text, bigint, bigint) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.ack(text, bigint, bigint) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._check_subscription(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.park(text, bigint, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.list_parked(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.replay_parked(text, bigint) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._snapshot_row(jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.save_snapshot(jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._raise_no_snapshot(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.get_snapshot(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.list_snapshots(int, int) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.delete_snapshot(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.apply_snapshot_retention(int, interval) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.install_message_store() FROM PUBLIC;

COMMENT ON TABLE msgstore.stream_events IS
    'Events, only ever appended; compaction replaces those of one stream';
COMMENT ON TABLE msgstore.stream_subscriptions IS
    'Named readers of a category, or of all events where it is null';
COMMENT ON TABLE msgstore.stream_consumers IS
    'Where each member of a subscription''s group stands, by generation of the group';
COMMENT ON TABLE msgstore.parked_events IS
    'Events that a subscription has set aside';
COMMENT ON TABLE msgstore.snapshots IS
    'States kept beside the log, with the position of the log that they are of';
COMMENT ON SEQUENCE msgstore.stream_events_position_seq IS
    'Global positions; gaps are possible. CACHE must stay 1: positions are to be drawn in order';
COMMENT ON TYPE msgstore.stream_event IS
    'An event as the reading functions return it';
COMMENT ON COLUMN msgstore.stream_events.horizon IS
    'The next transaction id after the position was drawn, below 16 bits of the cluster''s identifier';
COMMENT ON FUNCTION msgstore._take_position() IS
    'Draws the next global position and publishes it until the transaction ends';
COMMENT ON FUNCTION msgstore._horizon() IS
    'What says, with a snapshot''s xmin, when all smaller positions than the one drawn last are settled';
COMMENT ON FUNCTION msgstore._event_id() IS
    'An id for the event whose position was drawn last; such ids sort as their positions';
COMMENT ON FUNCTION msgstore._settled_position() IS
    'Up to here all events are settled: what a newer snapshot does not show of them never will be';
COMMENT ON FUNCTION msgstore._consumer_of(text, bigint) IS
    'The member of a consumer group that has the stream: by the first 64 bits of the MD5 of its id up to the first +';
COMMENT ON FUNCTION msgstore._append_at(text, text, jsonb, bigint, jsonb, uuid, text, timestamptz) IS
    'append() at a given time';
COMMENT ON FUNCTION msgstore.stream_category(text) IS
    'What stands before the first - of a stream''s name, or all of it';
COMMENT ON FUNCTION msgstore.append(text, text, jsonb, bigint, jsonb, uuid, text) IS
    'Appends an event and returns the stream''s new version. expected_version is the version before it (0: no events) or null for any; an event_id seen before with the same content returns its version and stores nothing. Raises MS400, MS409';
COMMENT ON FUNCTION msgstore.append_batch(jsonb) IS
    'Appends events of any streams, all or none, in their order: objects with stream, type, data and perhaps metadata, expected_version, event_id, created_by. Raises MS400, MS409';
COMMENT ON FUNCTION msgstore.read_stream(text, bigint, bigint) IS
    'A stream''s events from a version on, oldest first';
COMMENT ON FUNCTION msgstore.read_stream_backwards(text, bigint, bigint) IS
    'A stream''s events from a version (null: the last) back, newest first';
COMMENT ON FUNCTION msgstore.read_category(text, bigint, bigint, bigint, bigint) IS
    'Committed events of a category in global order after a position; a later call never shows an event before one shown already. With consumer_member and consumer_size only the streams of that member of a group. Raises MS400';
COMMENT ON FUNCTION msgstore.read_all(bigint, bigint, bigint, bigint) IS
    'The same for all categories';
COMMENT ON FUNCTION msgstore.wait_for_events(text, bigint, interval) IS
    'Waits until read_category() (with a null category: read_all()) has an event after the position; false when the timeout passed before. Raises MS400';
COMMENT ON FUNCTION msgstore.stream_version(text) IS
    'The version of a stream''s last event, 0 without events';
COMMENT ON FUNCTION msgstore.count_events(text) IS
    'How many events a stream has';
COMMENT ON FUNCTION msgstore.last_event(text, text) IS
    'A stream''s last event, or its last one of a type; no row when there is none';
COMMENT ON FUNCTION msgstore.list_streams(text, text, int) IS
    'Streams by name, all or a category''s, after a name, with their versions. Raises MS400';
COMMENT ON FUNCTION msgstore.latest_position() IS
    'The position of the last event that read_all() shows; 0 without events';
COMMENT ON FUNCTION msgstore.latest_event_id() IS
    'An id that grows whenever latest_position() does, whatever ids callers gave their events; that of the last event where it was made here';
COMMENT ON FUNCTION msgstore.merge_patch(jsonb, jsonb) IS
    'The document with the patch applied, by RFC 7396; null is an absent document or patch';
COMMENT ON AGGREGATE msgstore.fold(jsonb) IS
    'Merge patches applied one after the other, by RFC 7396: fold(patch ORDER BY version)';
COMMENT ON FUNCTION msgstore._last_known(anyelement, anyelement) IS
    'Transition function of last_known()';
COMMENT ON AGGREGATE msgstore.last_known(anyelement) IS
    'The last value that is not null: last_known(value ORDER BY version)';
COMMENT ON FUNCTION msgstore.stream_state(text, timestamptz) IS
    'All merge patches of a stream''s events, up to a time, applied in order; null without events';
COMMENT ON FUNCTION msgstore._wake_at_commit(text) IS
    'At commit, wakes who waits for events of the category';
COMMENT ON FUNCTION msgstore._append_seed(text, bigint, jsonb) IS
    'The one event of a compacted stream';
COMMENT ON FUNCTION msgstore.compact_stream(text, jsonb, bigint) IS
    'Replaces a stream''s events by one seed event at the stream''s version. seed is an event (type, data, metadata, event_id, created_by) or its data alone. Raises MS400, MS409';
COMMENT ON FUNCTION msgstore._lock_consumer(text, bigint) IS
    'Where a member of a subscription stands, locked until the transaction ends. Raises MS404';
COMMENT ON FUNCTION msgstore._check_group_size(bigint) IS
    'Raises MS400 for a consumer group that cannot be';
COMMENT ON FUNCTION msgstore.create_subscription(text, text, bigint, bigint) IS
    'A named reader of a category (null: all events) that keeps its position, for a group of consumers. Raises MS400, MS409';
COMMENT ON FUNCTION msgstore.drop_subscription(text) IS
    'Forgets a subscription, its positions and parked events. Raises MS404';
COMMENT ON FUNCTION msgstore.resize_subscription(text, bigint) IS
    'Gives a subscription another number of members; no event is lost or handled twice. Waits for members at work. Raises MS400, MS404';
COMMENT ON FUNCTION msgstore.fetch(text, bigint, bigint) IS
    'The next events of a subscription''s member, which other sessions of the same member wait for until this transaction ends. Raises MS400, MS404';
COMMENT ON FUNCTION msgstore.ack(text, bigint, bigint) IS
    'Moves a member''s position, in the caller''s transaction. Raises MS400, MS404, MS409';
COMMENT ON FUNCTION msgstore._check_subscription(text) IS
    'The category of a subscription. Raises MS404';
COMMENT ON FUNCTION msgstore.park(text, bigint, text) IS
    'Sets an event aside, with the reason, so that the subscription can go on. Raises MS404';
COMMENT ON FUNCTION msgstore.list_parked(text) IS
    'What a subscription has parked. Raises MS404';
COMMENT ON FUNCTION msgstore.replay_parked(text, bigint) IS
    'Takes parked events out, in the caller''s transaction, to be handled again. Raises MS404';
COMMENT ON FUNCTION msgstore._snapshot_row(jsonb) IS
    'The row a snapshot''s document makes. Raises MS400';
COMMENT ON FUNCTION msgstore.save_snapshot(jsonb) IS
    'Stores a snapshot and returns its id: an object with hosts_content, entries, entry_count, trigger, name, event_log_position, created_at, snapshot_id, each optional. The same id again replaces all but created_at. Raises MS400';
COMMENT ON FUNCTION msgstore._raise_no_snapshot(text) IS
    'Raises MS404 for a snapshot that does not exist';
COMMENT ON FUNCTION msgstore.get_snapshot(text) IS
    'A snapshot as an object. Raises MS404';
COMMENT ON FUNCTION msgstore.list_snapshots(int, int) IS
    'Snapshots without their contents, newest first. Raises MS400';
COMMENT ON FUNCTION msgstore.delete_snapshot(text) IS
    'Removes a snapshot. Raises MS404';
COMMENT ON FUNCTION msgstore.apply_snapshot_retention(int, interval) IS
    'Removes snapshots beyond the newest max_count and older than max_age, null is no limit; returns how many. Raises MS400';
COMMENT ON FUNCTION msgstore.install_message_store() IS
    'Makes the schema message_store, whose functions are those of the widely used interface for message stores, over the same events. Raises MS409';
