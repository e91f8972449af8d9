-- conversations: sending, and the lists that readers page through.

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
    SELECT min(c.tenant_id) INTO tenant FROM msgstore.conversation_rows c;
    WHILE tenant IS NOT NULL LOOP
        RETURN NEXT tenant;
        SELECT min(c.tenant_id) INTO tenant FROM msgstore.conversation_rows c
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

-- A page is found by its number by reading all that come before it, so only the
-- first ones are. A page after the last item needs no reading.
CREATE FUNCTION msgstore._is_in_reach(
    page int,
    page_size int,
    skip bigint,
    total bigint)
    RETURNS boolean
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    reach CONSTANT int := 10000;
BEGIN
    IF skip + page_size > reach AND skip < total THEN
        RAISE EXCEPTION 'page % of % items is not within the first % items',
            page, page_size, reach
            USING ERRCODE = 'MS400',
                  DETAIL = 'Pass the "next_cursor" of the page before as "after": it reaches every page, and is as fast on the last one as on the first.';
    END IF;
    RETURN skip < total;
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
    after text DEFAULT NULL,
    state text DEFAULT NULL,
    assignee text DEFAULT NULL,
    label text DEFAULT NULL,
    contact_name text DEFAULT NULL,
    reader text DEFAULT NULL,
    unread boolean DEFAULT false)
    RETURNS jsonb
    LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = 'force_custom_plan'
    SET timezone = 'UTC'
    AS $$
DECLARE
    place CONSTANT record := msgstore._read_page(page, page_size, after);
    filter CONSTANT jsonb := msgstore._read_list_filter(
        state, assignee, label, contact_name, reader, unread);
    counted CONSTANT record := msgstore._count_matching(filter);
    -- If that is only a minimum, it does not tell which pages there are.
    total CONSTANT bigint := CASE WHEN NOT counted.is_minimum THEN counted.total END;
    items jsonb[];
BEGIN
    IF NOT msgstore._is_in_reach(place.page, place.page_size, place.skip,
                                 coalesce(total, 9223372036854775807)) THEN
        RETURN msgstore._cut_page(items, place.page, place.page_size, total,
                                  'last_activity_at');
    END IF;

    SELECT array_agg(msgstore._show_conversation(
               c, n.message_count, n.inbound_count, n.last_activity_at, s,
               list_conversations.reader, r.inbound_count)
               ORDER BY n.last_activity_at DESC, n.conversation_id DESC)
    INTO items
    FROM (
        SELECT * FROM msgstore._newest_conversations(
            place.at, place.id, place.skip, place.page_size + 1)
        WHERE filter = '{}'
        UNION ALL
        SELECT * FROM msgstore._matching_conversations(
            filter, place.at, place.id, place.skip, place.page_size + 1, total)
        WHERE filter <> '{}') n
    -- LIMIT: one index probe for each, whatever the planner expects.
    CROSS JOIN LATERAL (
        SELECT * FROM msgstore.conversation_rows c
        WHERE c.tenant_id = n.tenant_id AND c.id = n.conversation_id
        LIMIT 1) c
    LEFT JOIN LATERAL (
        SELECT * FROM msgstore.conversation_states s
        WHERE s.tenant_id = n.tenant_id AND s.conversation_id = n.conversation_id
        LIMIT 1) s ON true
    LEFT JOIN LATERAL (
        SELECT * FROM msgstore.read_marks r
        WHERE r.tenant_id = n.tenant_id AND r.conversation_id = n.conversation_id
            AND r.reader = list_conversations.reader
        LIMIT 1) r ON true;

    RETURN jsonb_set(
        msgstore._cut_page(items, place.page, place.page_size, counted.total,
                           'last_activity_at'),
        '{meta,total_is_minimum}', to_jsonb(true), counted.is_minimum);
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
    after text DEFAULT NULL,
    newest_first boolean DEFAULT false)
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
    IF NOT msgstore._is_in_reach(place.page, place.page_size, place.skip,
                                 parent.message_count) THEN
        RETURN msgstore._cut_page(items, place.page, place.page_size,
                                  parent.message_count, 'timestamp');
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
                   WHEN l.error_code = 'uncertain' THEN 'uncertain'
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
        -- The planner drops the branch that is not asked for.
        (SELECT * FROM msgstore.messages m
         WHERE NOT newest_first
             AND m.tenant_id = parent.tenant_id
             AND m.conversation_id = parent.id
             AND (m."timestamp", m.id)
                 > (coalesce(place.at, '-infinity'),
                    coalesce(place.id, '00000000-0000-0000-0000-000000000000'))
         ORDER BY m."timestamp", m.id
         LIMIT place.page_size + 1 OFFSET place.skip)
        UNION ALL
        (SELECT * FROM msgstore.messages m
         WHERE newest_first
             AND m.tenant_id = parent.tenant_id
             AND m.conversation_id = parent.id
             AND (m."timestamp", m.id)
                 < (coalesce(place.at, 'infinity'),
                    coalesce(place.id, 'ffffffff-ffff-ffff-ffff-ffffffffffff'))
         ORDER BY m."timestamp" DESC, m.id DESC
         LIMIT place.page_size + 1 OFFSET place.skip)
    ) AS m
    LEFT JOIN msgstore.deliveries d
        ON d.tenant_id = m.tenant_id AND d.message_id = m.id
    LEFT JOIN msgstore.outbox o
        ON o.tenant_id = m.tenant_id AND o.message_id = m.id
    LEFT JOIN msgstore.dead_letters l
        ON l.tenant_id = m.tenant_id AND l.event_id = m.id;
    IF newest_first THEN
        SELECT array_agg(i.item ORDER BY i.n DESC) INTO items
        FROM unnest(items) WITH ORDINALITY i (item, n);
    END IF;

    RETURN msgstore._cut_page(items, place.page, place.page_size,
                              parent.message_count, 'timestamp');
END
$$;

CREATE FUNCTION msgstore.list_messages(
    conversation bigint,
    page int DEFAULT 1,
    page_size int DEFAULT 50,
    after text DEFAULT NULL,
    newest_first boolean DEFAULT false)
    RETURNS jsonb
    LANGUAGE sql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT msgstore.list_messages($1::text, $2, $3, $4, $5)
$$;

CREATE FUNCTION msgstore._identity(channel text, given text, stored text)
    RETURNS text
    LANGUAGE c STABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'msgstore_identity';

REVOKE ALL ON FUNCTION msgstore.send(text, jsonb, text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._tenants_in_scope() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._cursor(timestamptz, uuid) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._read_cursor(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._read_page(int, int, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._is_in_reach(int, int, bigint, bigint) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._cut_page(jsonb[], int, int, bigint, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._find_conversation(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.list_conversations(int, int, text, text, text, text, text, text, boolean) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.list_messages(text, int, int, text, boolean) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.list_messages(bigint, int, int, text, boolean) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._identity(text, text, text) FROM PUBLIC;

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
COMMENT ON FUNCTION msgstore._is_in_reach(int, int, bigint, bigint) IS
    'Returns whether the page has items, given how many rows precede it. Raises MS400 if it is too far from the first page to be asked for by number';
COMMENT ON FUNCTION msgstore._cut_page(jsonb[], int, int, bigint, text) IS
    'Returns the result of a list, given the items of the page and, if there are more, the item after them';
COMMENT ON FUNCTION msgstore.list_conversations(int, int, text, text, text, text, text, text, boolean) IS
    'Returns a page of conversations as {"items", "meta": {page, page_size, total, next_cursor}}, most recent activity first. page_size: 1 to 50, anything else means 50. after: a next_cursor, takes precedence over page. Filters: state (open or closed), assignee (an empty string means nobody), label, contact_name (any part of it, in any case), and unread, what the reader has not read. With a reader, items have unread_count. meta has total_is_minimum: true if total counts only what was found among 10,000 conversations. Raises MS400 for an invalid cursor or filter, and for a page beyond the first 10,000 items';
COMMENT ON FUNCTION msgstore._find_conversation(text) IS
    'Returns the conversation with this id or number among those that the session sees. Raises MS404';
COMMENT ON FUNCTION msgstore.list_messages(text, int, int, text, boolean) IS
    'Returns a page of the messages of a conversation, given by id or number, oldest first unless newest_first is true, in the format of list_conversations(). Raises MS404 if the conversation does not exist, MS400 for an invalid cursor and for a page beyond the first 10,000 items';
COMMENT ON FUNCTION msgstore.list_messages(bigint, int, int, text, boolean) IS
    'Is list_messages() for a conversation that is given by its number';
COMMENT ON FUNCTION msgstore._identity(text, text, text) IS
    'Returns the given address as the channel normalizes it now, or stored if the channel finds no valid address in it; null for a channel that does not exist';
