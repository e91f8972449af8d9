-- conversations: messages of both directions, grouped by channel and pair of
-- addresses; sending, and the lists that readers page through.

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
    -- With this, conversations_key_key also makes channel and participants
    -- unique: none of them contains a separator, see conversations_separator.
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

-- A tenant has as many conversations as its rows here add up to; every page of
-- a list says how many. A writer updates a row that nobody holds or inserts
-- another one, so that writers never wait for each other, and merges the rows if
-- it finds several. Triggers maintain them, also while a dump is restored, so
-- that the table need not be dumped.
CREATE TABLE msgstore.conversation_counts (
    tenant_id text COLLATE "C" NOT NULL,
    part bigint GENERATED ALWAYS AS IDENTITY,
    n bigint NOT NULL,
    CONSTRAINT conversation_counts_pkey PRIMARY KEY (tenant_id, part)
) WITH (fillfactor = 50);

-- No foreign keys: a session that inserts a message has just created or locked
-- its conversation and holds the queue row of its event. A foreign key to
-- event_log would lock rows of it, that is write to a table that processing
-- never writes to: a third more WAL per event. One to conversations cost a
-- seventh of the worker's throughput, and made pg_restore with several jobs
-- fail, because pg_dump records no order in which to load an extension's tables.
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
    from_given text,
    to_given text,
    subject text,
    CONSTRAINT messages_pkey PRIMARY KEY (tenant_id, id),
    -- So the primary key also says that an event makes at most one message.
    CONSTRAINT messages_inbound_event CHECK (inbound_event_id = id),
    CONSTRAINT messages_direction CHECK (direction IN ('inbound', 'outbound')),
    CONSTRAINT messages_attachments_array
        CHECK (jsonb_typeof(attachments) = 'array')
);

CREATE INDEX messages_conversation_idx
    ON msgstore.messages (tenant_id, conversation_id, "timestamp", id);
-- Messages arrive about in the order of their time, so a summary of ranges of
-- pages finds them by time; a B-tree cost 67 bytes of WAL for each message.
CREATE INDEX messages_timestamp_idx
    ON msgstore.messages USING brin ("timestamp") WITH (pages_per_range = 32);

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
    -- With a transaction-wide snapshot, to lock a row that another transaction
    -- has changed is an error.
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

-- The table lock keeps others from creating or deleting conversations meanwhile.
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

-- All tenants are found with one index probe for each.
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

-- A cursor is a position in a list that is ordered by time and id.
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
DECLARE
    -- The beginning of the range of timestamptz. Its end has more digits than
    -- a cursor.
    earliest CONSTANT bigint := -210866803200000000;
    microseconds bigint;
BEGIN
    IF value IS NULL THEN
        RETURN;
    END IF;
    IF value ~ '^-?[0-9]{1,18}~[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' THEN
        microseconds := split_part(value, '~', 1);
    END IF;
    IF microseconds >= earliest THEN
        at := 'epoch'::timestamptz + microseconds * interval '1 microsecond';
        id := split_part(value, '~', 2)::uuid;
        RETURN;
    END IF;
    RAISE EXCEPTION '"%" in field "after" is not a cursor', left(value, 64)
        USING ERRCODE = 'MS400',
              DETAIL = 'A cursor must be the next_cursor of an earlier page.';
END
$$;

-- An invalid page or page size is corrected rather than refused.
CREATE FUNCTION msgstore._read_page(
    INOUT page int,
    INOUT page_size int,
    after text,
    OUT skip bigint,
    OUT at timestamptz,
    OUT id uuid)
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    page := greatest(coalesce(page, 1), 1);
    page_size := CASE WHEN page_size BETWEEN 1 AND 50 THEN page_size ELSE 50 END;
    SELECT c.at, c.id INTO at, id FROM msgstore._read_cursor(after) c;
    skip := CASE WHEN at IS NULL THEN (page - 1)::bigint * page_size ELSE 0 END;
END
$$;

-- One item more than the page holds means that there is a next page. Its cursor
-- is the position of the last item of this page.
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

-- Lists are planned at every call: a session that first read empty tables would
-- keep a plan for empty tables.
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
    place CONSTANT record := msgstore._read_page(page, page_size, after);
    total bigint;
    items jsonb[];
BEGIN
    SELECT coalesce(sum(c.n), 0) INTO total
    FROM msgstore.conversation_counts c
    WHERE msgstore._tenant_scope() IN ('', c.tenant_id);

    -- The newest conversations of each tenant, and of these the newest. One more
    -- than the page holds shows whether there is another page.
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
            LIMIT place.skip + place.page_size + 1
        ) AS newest
        ORDER BY newest.last_activity_at DESC, newest.id DESC
        LIMIT place.page_size + 1 OFFSET place.skip
    ) AS c;

    RETURN msgstore._cut_page(items, place.page, place.page_size, total,
                              'last_activity_at');
END
$$;

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
                  DETAIL = 'A conversation is identified by its id or its number.';
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
    place CONSTANT record := msgstore._read_page(page, page_size, after);
    items jsonb[];
BEGIN
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
               -- A key without a value would say that there is another form.
               || jsonb_strip_nulls(jsonb_build_object(
                   'from_given', m.from_given,
                   'to_given', m.to_given,
                   'subject', m.subject,
                   'error_code', coalesce(d.error_code, l.error_code)))
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
        LIMIT place.page_size + 1 OFFSET place.skip
    ) AS m
    LEFT JOIN msgstore.deliveries d
        ON d.tenant_id = m.tenant_id AND d.message_id = m.id
    LEFT JOIN msgstore.outbox o
        ON o.tenant_id = m.tenant_id AND o.message_id = m.id
    LEFT JOIN msgstore.dead_letters l
        ON l.tenant_id = m.tenant_id AND l.event_id = m.id;

    RETURN msgstore._cut_page(items, place.page, place.page_size,
                              parent.message_count, 'timestamp');
END
$$;

CREATE FUNCTION msgstore.list_messages(
    conversation bigint,
    page int DEFAULT 1,
    page_size int DEFAULT 50,
    after text DEFAULT NULL)
    RETURNS jsonb
    LANGUAGE sql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT msgstore.list_messages($1::text, $2, $3, $4)
$$;

CREATE FUNCTION msgstore._identity(channel text, given text, stored text)
    RETURNS text
    LANGUAGE c STABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'msgstore_identity';

REVOKE ALL ON FUNCTION msgstore._add_to_count(text, bigint) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._count_conversations() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._recount_tenant(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.send(text, jsonb, text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._tenants_in_scope() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._cursor(timestamptz, uuid) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._read_cursor(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._read_page(int, int, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._cut_page(jsonb[], int, int, bigint, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._find_conversation(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.list_conversations(int, int, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.list_messages(text, int, int, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.list_messages(bigint, int, int, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._identity(text, text, text) FROM PUBLIC;

COMMENT ON SEQUENCE msgstore.conversations_number_seq IS
    'Numbers of the conversations of all tenants';
COMMENT ON TABLE msgstore.conversations IS
    'One row per tenant, channel (thread) and pair of addresses; message_count and last_activity_at are exact in every snapshot';
COMMENT ON COLUMN msgstore.conversations.tenant_id IS
    'Tenant that owns the conversation; empty if tenants are not used';
COMMENT ON COLUMN msgstore.conversations.id IS
    'Id of the conversation (UUID version 7)';
COMMENT ON COLUMN msgstore.conversations.number IS
    'Short number, accepted wherever an id is. Numbering starts at 1 and may have gaps';
COMMENT ON COLUMN msgstore.conversations.channel IS
    'Name of the thread: the channel itself, or the one whose conversations it shares (channels.thread)';
COMMENT ON COLUMN msgstore.conversations.participant_a IS
    'Normalized address of the participant that sorts first in byte order';
COMMENT ON COLUMN msgstore.conversations.participant_b IS
    'Normalized address of the other participant';
COMMENT ON COLUMN msgstore.conversations.key IS
    'channel:participant_a<->participant_b, as conversation_key() returns it';
COMMENT ON COLUMN msgstore.conversations.message_count IS
    'Number of messages in the conversation';
COMMENT ON COLUMN msgstore.conversations.last_activity_at IS
    'Greatest timestamp of its messages';
COMMENT ON COLUMN msgstore.conversations.created_at IS
    'Start of the transaction that created the conversation';
COMMENT ON TABLE msgstore.conversation_counts IS
    'Number of conversations of each tenant: the sum of n over its rows, exact in every snapshot';
COMMENT ON COLUMN msgstore.conversation_counts.tenant_id IS
    'Tenant whose conversations are counted';
COMMENT ON COLUMN msgstore.conversation_counts.part IS
    'Number of the row; a tenant has several when sessions count at the same time';
COMMENT ON COLUMN msgstore.conversation_counts.n IS
    'Conversations counted in this row; may be negative';
COMMENT ON TABLE msgstore.messages IS
    'Messages of both directions';
COMMENT ON COLUMN msgstore.messages.tenant_id IS
    'Tenant that owns the message; empty if tenants are not used';
COMMENT ON COLUMN msgstore.messages.id IS
    'Id of the message (UUID version 7); an inbound message has the id of its event';
COMMENT ON COLUMN msgstore.messages.conversation_id IS
    'Id of the conversation';
COMMENT ON COLUMN msgstore.messages.inbound_event_id IS
    'Id of the event in event_log; null for an outbound message';
COMMENT ON COLUMN msgstore.messages."timestamp" IS
    'Time given in the payload, or the time of acceptance if that is further in the future than msgstore.max_clock_skew';
COMMENT ON COLUMN msgstore.messages.created_at IS
    'Start of the transaction that added the message';
COMMENT ON COLUMN msgstore.messages.direction IS
    'inbound or outbound';
COMMENT ON COLUMN msgstore.messages.channel IS
    'Name of the channel';
COMMENT ON COLUMN msgstore.messages.conversation_key IS
    'Key of the conversation, as in conversations.key';
COMMENT ON COLUMN msgstore.messages."from" IS
    'Normalized address of the sender: its identity';
COMMENT ON COLUMN msgstore.messages."to" IS
    'Normalized address of the recipient: its identity';
COMMENT ON COLUMN msgstore.messages.provider_message_id IS
    'Message id assigned by the provider of an inbound message; that of an outbound message is in deliveries';
COMMENT ON COLUMN msgstore.messages.correlation_id IS
    'Correlation id passed to ingest() or send()';
COMMENT ON COLUMN msgstore.messages.body IS
    'Text of the message; empty if the payload has none';
COMMENT ON COLUMN msgstore.messages.attachments IS
    'JSON array of URLs; null if the payload has no such field';
COMMENT ON COLUMN msgstore.messages.from_given IS
    'Address of the sender as given in the payload, with display name; null if it equals "from"';
COMMENT ON COLUMN msgstore.messages.to_given IS
    'Address of the recipient as given in the payload, with display name; null if it equals "to"';
COMMENT ON COLUMN msgstore.messages.subject IS
    'Subject given in the payload; null if there is none';
COMMENT ON FUNCTION msgstore._add_to_count(text, bigint) IS
    'Adds change to the tenant''s number of conversations without waiting for other sessions';
COMMENT ON FUNCTION msgstore._count_conversations() IS
    'Trigger that maintains conversation_counts';
COMMENT ON FUNCTION msgstore._recount_tenant(text) IS
    'Corrects the tenant''s conversation_counts; waits for transactions that create conversations';
COMMENT ON FUNCTION msgstore.send(text, jsonb, text, text) IS
    'Stores an outbound message in its conversation and, if its channel has a provider, in the outbox. The payload is kept whole, with redacted values replaced. Without an idempotency key, a message with the same channel and payload is a duplicate; keys are remembered for two hours. Returns message_id and duplicate; if duplicate is true, nothing was stored and message_id is the id of the first message. Raises MS400 for an invalid argument, MS409 if the idempotency key was used with another payload, MS413 if the payload is too large';
COMMENT ON FUNCTION msgstore._tenants_in_scope() IS
    'Returns the tenants that this session sees: that of msgstore.tenant_id, or all';
COMMENT ON FUNCTION msgstore._cursor(timestamptz, uuid) IS
    'Returns the cursor for a position in a list: microseconds since 1970 and an id';
COMMENT ON FUNCTION msgstore._read_cursor(text) IS
    'Returns the position that a cursor stands for, nulls for null. Raises MS400';
COMMENT ON FUNCTION msgstore._read_page(int, int, text) IS
    'Returns the valid page and page size, the cursor''s position, and how many rows precede the page. Raises MS400';
COMMENT ON FUNCTION msgstore._cut_page(jsonb[], int, int, bigint, text) IS
    'Returns the result of a list, given the items of the page and, if there are more, the item after them';
COMMENT ON FUNCTION msgstore.list_conversations(int, int, text) IS
    'Returns a page of conversations as {"items", "meta": {page, page_size, total, next_cursor}}, most recent activity first. page_size: 1 to 50, anything else means 50. after: a next_cursor, takes precedence over page. Raises MS400 for an invalid cursor';
COMMENT ON FUNCTION msgstore._find_conversation(text) IS
    'Returns the conversation with this id or number among those that the session sees. Raises MS404';
COMMENT ON FUNCTION msgstore.list_messages(text, int, int, text) IS
    'Returns a page of the messages of a conversation, given by id or number, oldest first, in the format of list_conversations(). Raises MS404 if the conversation does not exist, MS400 for an invalid cursor';
COMMENT ON FUNCTION msgstore.list_messages(bigint, int, int, text) IS
    'Is list_messages() for a conversation that is given by its number';
COMMENT ON FUNCTION msgstore._identity(text, text, text) IS
    'Returns the given address as the channel normalizes it now, or stored if the channel finds no valid address in it; null for a channel that does not exist';
