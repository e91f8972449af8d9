CREATE SEQUENCE msgstore.conversations_number_seq;

CREATE TABLE msgstore.conversations (
    tenant_id text COLLATE "C" NOT NULL DEFAULT '',
    id uuid NOT NULL DEFAULT msgstore.uuid7(),
    number bigint NOT NULL
        DEFAULT nextval('msgstore.conversations_number_seq'),
    channel text COLLATE "C" NOT NULL,
    participant_a text COLLATE "C" NOT NULL,
    participant_b text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    message_count int NOT NULL DEFAULT 0,
    last_activity_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT conversations_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT conversations_number_key UNIQUE (tenant_id, number),
    CONSTRAINT conversations_key_key UNIQUE (tenant_id, key),
    -- Makes the key's uniqueness that of channel and participants as well:
    -- neither holds the separators, see conversations_separator.
    CONSTRAINT conversations_key_parts
        CHECK (key = channel || ':' || participant_a || '<->' || participant_b),
    CONSTRAINT conversations_separator
        CHECK (strpos(participant_a, '<->') = 0
               AND strpos(participant_b, '<->') = 0),
    CONSTRAINT conversations_participant_order
        CHECK (participant_a <= participant_b),
    CONSTRAINT conversations_message_count CHECK (message_count >= 0)
) WITH (fillfactor = 80);

ALTER SEQUENCE msgstore.conversations_number_seq
    OWNED BY msgstore.conversations.number;

CREATE INDEX conversations_activity_idx
    ON msgstore.conversations (tenant_id, last_activity_at DESC, id DESC);

-- How many conversations a tenant has is the sum of these: a list says it on
-- each page. Writers take a row that nobody holds, or add one, so that nobody
-- waits; whoever comes across more than one makes them one. Triggers keep them,
-- also while a dump is read, so that they need not be dumped.
CREATE TABLE msgstore.conversation_counts (
    tenant_id text COLLATE "C" NOT NULL,
    part bigint GENERATED ALWAYS AS IDENTITY,
    n bigint NOT NULL,
    CONSTRAINT conversation_counts_pkey PRIMARY KEY (tenant_id, part)
) WITH (fillfactor = 50);

-- No foreign keys: who adds a message has just made or locked its conversation
-- and holds its event's row of the queue. A key to the log would lock, and so
-- write to, a log that is never rewritten: a third more WAL for each event. One
-- to the conversations took a seventh of the worker's rate, and pg_restore with
-- several jobs fails on it, because pg_dump does not tell it in which order the
-- tables of an extension are to be filled.
CREATE TABLE msgstore.messages (
    tenant_id text COLLATE "C" NOT NULL DEFAULT '',
    id uuid NOT NULL DEFAULT msgstore.uuid7(),
    conversation_id uuid NOT NULL,
    inbound_event_id uuid,
    "timestamp" timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    direction text COLLATE "C" NOT NULL,
    channel text COLLATE "C" NOT NULL,
    conversation_key text COLLATE "C" NOT NULL,
    "from" text COLLATE "C" NOT NULL,
    "to" text COLLATE "C" NOT NULL,
    provider_message_id text COLLATE "C",
    correlation_id text,
    body text NOT NULL DEFAULT '',
    attachments jsonb,
    CONSTRAINT messages_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT messages_inbound_event_key UNIQUE (tenant_id, inbound_event_id),
    CONSTRAINT messages_direction CHECK (direction IN ('inbound', 'outbound')),
    CONSTRAINT messages_attachments_array
        CHECK (jsonb_typeof(attachments) = 'array')
);

CREATE INDEX messages_conversation_idx
    ON msgstore.messages (tenant_id, conversation_id, "timestamp", id);
CREATE INDEX messages_timestamp_idx ON msgstore.messages ("timestamp");

SELECT pg_catalog.pg_extension_config_dump('msgstore.conversations', '');
SELECT pg_catalog.pg_extension_config_dump('msgstore.conversations_number_seq', '');
SELECT pg_catalog.pg_extension_config_dump('msgstore.messages', '');

CREATE FUNCTION msgstore._add_to_count(tenant_id text, change bigint)
    RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off
    AS $$
#variable_conflict use_column
BEGIN
    -- With a snapshot that stays, a row that others have changed is an error.
    IF current_setting('transaction_isolation') = 'read committed' THEN
        WITH free AS MATERIALIZED (
            SELECT c.part, c.n
            FROM msgstore.conversation_counts c
            WHERE c.tenant_id = _add_to_count.tenant_id
            ORDER BY c.part LIMIT 4
            FOR UPDATE SKIP LOCKED
        ), kept AS MATERIALIZED (
            SELECT min(f.part) AS part, sum(f.n) AS n FROM free f
        ), merged AS (
            DELETE FROM msgstore.conversation_counts c
            USING free f, kept k
            WHERE c.tenant_id = _add_to_count.tenant_id
                AND c.part = f.part AND f.part <> k.part)
        UPDATE msgstore.conversation_counts c SET n = k.n + change
        FROM kept k
        WHERE c.tenant_id = _add_to_count.tenant_id AND c.part = k.part;
        IF FOUND THEN
            RETURN;
        END IF;
    END IF;
    INSERT INTO msgstore.conversation_counts (tenant_id, n)
    VALUES (_add_to_count.tenant_id, change);
END
$$;

CREATE FUNCTION msgstore._count_conversations() RETURNS trigger
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        DELETE FROM msgstore.conversation_counts;
    ELSE
        PERFORM msgstore._add_to_count(
            c.tenant_id, CASE TG_OP WHEN 'DELETE' THEN -c.n ELSE c.n END)
        FROM (SELECT c.tenant_id, count(*) AS n
              FROM changed c GROUP BY c.tenant_id ORDER BY c.tenant_id) c;
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER count_inserted AFTER INSERT ON msgstore.conversations
    REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION msgstore._count_conversations();
CREATE TRIGGER count_deleted AFTER DELETE ON msgstore.conversations
    REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION msgstore._count_conversations();
CREATE TRIGGER count_truncated AFTER TRUNCATE ON msgstore.conversations
    FOR EACH STATEMENT EXECUTE FUNCTION msgstore._count_conversations();

-- Nobody makes or removes a conversation meanwhile.
CREATE FUNCTION msgstore._recount_tenant(tenant_id text) RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
BEGIN
    LOCK TABLE msgstore.conversations IN SHARE MODE;
    PERFORM msgstore._add_to_count(
        _recount_tenant.tenant_id,
        (SELECT count(*) FROM msgstore.conversations c
         WHERE c.tenant_id = _recount_tenant.tenant_id)
        - (SELECT coalesce(sum(c.n), 0) FROM msgstore.conversation_counts c
           WHERE c.tenant_id = _recount_tenant.tenant_id)::bigint);
END
$$;

CREATE FUNCTION msgstore.send(
    channel text,
    payload jsonb,
    idempotency_key text DEFAULT NULL,
    correlation_id text DEFAULT NULL,
    OUT message_id uuid,
    OUT duplicate boolean)
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'msgstore_send';

-- A list is planned at each call: a session that met the tables when they were
-- empty would go on with a plan for empty tables.

-- The tenants whose conversations this session sees: its own, or all there
-- are, found by one index probe for each.
CREATE FUNCTION msgstore._tenants_in_scope() RETURNS SETOF text
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE ROWS 1
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    tenant text := msgstore._tenant_scope();
BEGIN
    IF tenant <> '' THEN
        RETURN NEXT tenant;
        RETURN;
    END IF;
    SELECT min(c.tenant_id) INTO tenant FROM msgstore.conversations c;
    WHILE tenant IS NOT NULL LOOP
        RETURN NEXT tenant;
        SELECT min(c.tenant_id) INTO tenant FROM msgstore.conversations c
        WHERE c.tenant_id > tenant;
    END LOOP;
END
$$;

-- A place in a list that is ordered by a time and an id.
CREATE FUNCTION msgstore._cursor(at timestamptz, id uuid) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN (extract(epoch FROM at) * 1000000)::bigint || '~' || id;

CREATE FUNCTION msgstore._read_cursor(
    value text,
    OUT at timestamptz,
    OUT id uuid)
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF value IS NULL THEN
        RETURN;
    END IF;
    IF value !~ '^-?[0-9]{1,18}~[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' THEN
        RAISE EXCEPTION '"%" in field "after" is not a cursor', left(value, 64)
            USING ERRCODE = 'MS400',
                  DETAIL = 'A cursor is the next_cursor of an earlier page.';
    END IF;
    at := 'epoch'::timestamptz
        + split_part(value, '~', 1)::bigint * interval '1 microsecond';
    id := split_part(value, '~', 2)::uuid;
EXCEPTION
    WHEN datetime_field_overflow OR interval_field_overflow THEN
        RAISE EXCEPTION '"%" in field "after" is not a cursor', left(value, 64)
            USING ERRCODE = 'MS400',
                  DETAIL = 'A cursor is the next_cursor of an earlier page.';
END
$$;

-- What is wrong with a page or its size is put right, not refused.
CREATE FUNCTION msgstore._page_meta(
    INOUT page int,
    INOUT page_size int,
    OUT skip bigint)
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    page := greatest(coalesce(page, 1), 1);
    page_size := CASE WHEN page_size BETWEEN 1 AND 50 THEN page_size ELSE 50 END;
    skip := (page - 1)::bigint * page_size;
END
$$;

-- A list's answer. An item more than the page holds says that there is a next
-- one; the cursor to it is the place of the page's last item.
CREATE FUNCTION msgstore._cut_page(
    items jsonb[],
    page int,
    page_size int,
    total bigint,
    time_field text)
    RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    next_cursor text;
BEGIN
    IF cardinality(items) > page_size THEN
        items := items[:page_size];
        next_cursor := msgstore._cursor(
            (items[page_size] ->> time_field)::timestamptz,
            (items[page_size] ->> 'id')::uuid);
    END IF;
    RETURN jsonb_build_object(
        'items', coalesce(to_jsonb(items), '[]'),
        'meta', jsonb_build_object(
            'page', page, 'page_size', page_size,
            'total', total, 'next_cursor', next_cursor));
END
$$;

CREATE FUNCTION msgstore.list_conversations(
    page int DEFAULT 1,
    page_size int DEFAULT 50,
    after text DEFAULT NULL)
    RETURNS jsonb
    LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = 'force_custom_plan'
    SET timezone = 'UTC'
    AS $$
DECLARE
    meta record := msgstore._page_meta(page, page_size);
    place record := msgstore._read_cursor(after);
    total bigint;
    items jsonb[];
BEGIN
    SELECT coalesce(sum(c.n), 0) INTO total
    FROM msgstore.conversation_counts c
    WHERE msgstore._tenant_scope() IN ('', c.tenant_id);
    IF place.at IS NOT NULL THEN
        meta.skip := 0;
    END IF;

    -- Each tenant gives its newest ones; the newest of these are the page. One
    -- more than the page says whether there is another.
    SELECT array_agg(jsonb_build_object(
               'id', c.id,
               'number', c.number,
               'key', c.key,
               'channel', c.channel,
               'participant_a', c.participant_a,
               'participant_b', c.participant_b,
               'message_count', c.message_count,
               'last_activity_at', c.last_activity_at)
               ORDER BY c.last_activity_at DESC, c.id DESC)
    INTO items
    FROM (
        SELECT newest.*
        FROM msgstore._tenants_in_scope() t
        CROSS JOIN LATERAL (
            SELECT * FROM msgstore.conversations c
            WHERE c.tenant_id = t
                AND (c.last_activity_at, c.id)
                    < (coalesce(place.at, 'infinity'),
                       coalesce(place.id, 'ffffffff-ffff-ffff-ffff-ffffffffffff'))
            ORDER BY c.last_activity_at DESC, c.id DESC
            LIMIT meta.skip + meta.page_size + 1
        ) AS newest
        ORDER BY newest.last_activity_at DESC, newest.id DESC
        LIMIT meta.page_size + 1 OFFSET meta.skip
    ) AS c;

    RETURN msgstore._cut_page(items, meta.page, meta.page_size, total, 'last_activity_at');
END
$$;

-- A conversation by its id or its number.
CREATE FUNCTION msgstore._find_conversation(conversation text)
    RETURNS msgstore.conversations
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    found msgstore.conversations;
BEGIN
    IF conversation ~ '^[0-9]{1,18}$' THEN
        SELECT c.* INTO found
        FROM msgstore._tenants_in_scope() t
        JOIN msgstore.conversations c ON c.tenant_id = t
        WHERE c.number = conversation::bigint;
    ELSIF conversation ~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' THEN
        SELECT c.* INTO found
        FROM msgstore._tenants_in_scope() t
        JOIN msgstore.conversations c ON c.tenant_id = t
        WHERE c.id = conversation::uuid;
    END IF;
    IF found.id IS NULL THEN
        RAISE EXCEPTION 'conversation "%" does not exist', left(conversation, 64)
            USING ERRCODE = 'MS404',
                  DETAIL = 'A conversation is named by its id or its number.';
    END IF;
    RETURN found;
END
$$;

CREATE FUNCTION msgstore.list_messages(
    conversation text,
    page int DEFAULT 1,
    page_size int DEFAULT 50,
    after text DEFAULT NULL)
    RETURNS jsonb
    LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = 'force_custom_plan'
    SET timezone = 'UTC'
    AS $$
DECLARE
    parent msgstore.conversations := msgstore._find_conversation(conversation);
    meta record := msgstore._page_meta(page, page_size);
    place record := msgstore._read_cursor(after);
    items jsonb[];
BEGIN
    IF place.at IS NOT NULL THEN
        meta.skip := 0;
    END IF;
    SELECT array_agg(jsonb_build_object(
               'id', m.id,
               'conversation_id', m.conversation_id,
               'direction', m.direction,
               'channel', m.channel,
               'type', m.channel,
               'from', m."from",
               'to', m."to",
               'body', m.body,
               'snippet', msgstore.snippet(
                   m.body, current_setting('msgstore.snippet_length')::int),
               'attachments', m.attachments,
               'timestamp', m."timestamp",
               'created_at', m.created_at,
               'provider_message_id',
               coalesce(m.provider_message_id, d.provider_message_id),
               'status', CASE
                   WHEN m.direction = 'inbound' THEN 'received'
                   WHEN d.message_id IS NOT NULL THEN d.status
                   WHEN l.event_id IS NOT NULL THEN 'failed'
                   WHEN o.message_id IS NOT NULL THEN 'queued'
               END)
               ORDER BY m."timestamp", m.id)
    INTO items
    FROM (
        SELECT * FROM msgstore.messages m
        WHERE m.tenant_id = parent.tenant_id
            AND m.conversation_id = parent.id
            AND (m."timestamp", m.id)
                > (coalesce(place.at, '-infinity'),
                   coalesce(place.id, '00000000-0000-0000-0000-000000000000'))
        ORDER BY m."timestamp", m.id
        LIMIT meta.page_size + 1 OFFSET meta.skip
    ) AS m
    LEFT JOIN msgstore.deliveries d
        ON d.tenant_id = m.tenant_id AND d.message_id = m.id
    LEFT JOIN msgstore.outbox o
        ON o.tenant_id = m.tenant_id AND o.message_id = m.id
    LEFT JOIN msgstore.dead_letters l
        ON l.tenant_id = m.tenant_id AND l.event_id = m.id;

    RETURN msgstore._cut_page(items, meta.page, meta.page_size,
                              parent.message_count, 'timestamp');
END
$$;

REVOKE ALL ON FUNCTION msgstore._add_to_count(text, bigint) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._count_conversations() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._recount_tenant(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.send(text, jsonb, text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._tenants_in_scope() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._cursor(timestamptz, uuid) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._read_cursor(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._page_meta(int, int) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._cut_page(jsonb[], int, int, bigint, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._find_conversation(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.list_conversations(int, int, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.list_messages(text, int, int, text) FROM PUBLIC;

COMMENT ON TABLE msgstore.conversations IS
    'One row per channel (thread) and pair of addresses; participant_a is the smaller one by byte order. message_count and last_activity_at (greatest timestamp) are right in every snapshot';
COMMENT ON TABLE msgstore.conversation_counts IS
    'How many conversations each tenant has: the sum of n of its rows, in every snapshot';
COMMENT ON TABLE msgstore.messages IS
    'Messages of both directions; an inbound one has the id of its event';
COMMENT ON COLUMN msgstore.conversations.number IS
    'A short name, accepted wherever an id is; the first conversation has 1';
COMMENT ON COLUMN msgstore.messages."timestamp" IS
    'The instant the source gave: received inbound, sent outbound';
COMMENT ON FUNCTION msgstore._add_to_count(text, bigint) IS
    'So many conversations of the tenant came, or went when negative; does not wait for others that count';
COMMENT ON FUNCTION msgstore._count_conversations() IS
    'Trigger: keeps conversation_counts';
COMMENT ON FUNCTION msgstore._recount_tenant(text) IS
    'Puts a tenant''s conversation_counts right; waits for those who make conversations';
COMMENT ON FUNCTION msgstore.send(text, jsonb, text, text) IS
    'Stores an outbound message in its conversation, and in the outbox when its channel has a provider. Without idempotency_key the same channel, addresses, body, attachments and timestamp again are a duplicate of the first; a key is remembered for two hours. Raises MS400, MS409, MS413';
COMMENT ON FUNCTION msgstore.list_conversations(int, int, text) IS
    'A page of conversations, newest activity first: {"items", "meta": {page, page_size, total, next_cursor}}. page_size is held to 1..50, 0 is 50; after is a next_cursor and wins over page. Raises MS400 for a bad cursor';
COMMENT ON FUNCTION msgstore.list_messages(text, int, int, text) IS
    'A page of the messages of a conversation (id or number), oldest first, in the same shape. Raises MS404 for an unknown conversation, MS400 for a bad cursor';
COMMENT ON FUNCTION msgstore._tenants_in_scope() IS
    'The tenants this session sees: the one of msgstore.tenant_id, or all';
COMMENT ON SEQUENCE msgstore.conversations_number_seq IS
    'Numbers of conversations; gaps are possible';
COMMENT ON FUNCTION msgstore._cursor(timestamptz, uuid) IS
    'The text of a place in a list: microseconds since 1970 and an id';
COMMENT ON FUNCTION msgstore._read_cursor(text) IS
    'The place a cursor stands for; nulls for null. Raises MS400';
COMMENT ON FUNCTION msgstore._page_meta(int, int) IS
    'A page and its size put right, and how many rows stand before it';
COMMENT ON FUNCTION msgstore._cut_page(jsonb[], int, int, bigint, text) IS
    'A list''s answer from its items, one more than the page holds if there are more';
COMMENT ON FUNCTION msgstore._find_conversation(text) IS
    'The conversation with this id or number among those this session sees. Raises MS404';
