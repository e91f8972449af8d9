-- conversations: one conversation, and what a reader has read of it.

-- Whatever the snapshot of the transaction shows.
CREATE FUNCTION msgstore._inbound_now(tenant_id text, conversation_id uuid)
    RETURNS int
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'msgstore_inbound_now';

CREATE FUNCTION msgstore._share_changes() RETURNS void
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'msgstore_share_changes';

-- The name is for errors.
CREATE FUNCTION msgstore._check_name(field text, value text, most int)
    RETURNS void
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF value ~ '[^[:space:]]' AND length(value) <= most THEN
        RETURN;
    END IF;
    RAISE EXCEPTION '"%" in field "%" is not valid',
        left(coalesce(value, 'null'), 64), field
        USING ERRCODE = 'MS400',
              DETAIL = format('The field must be a non-blank string of at most %s characters.', most);
END
$$;

-- A text, because a parsed body would keep its tables from being altered.
-- unread_count is null if nobody asks for it; jsonb_strip_nulls would remove others.
CREATE FUNCTION msgstore._show_conversation(
    c msgstore.conversation_rows,
    message_count int,
    inbound_count int,
    last_activity_at timestamptz,
    s msgstore.conversation_states,
    reader text,
    read_count int)
    RETURNS jsonb
    LANGUAGE sql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT jsonb_build_object(
        'id', (c).id,
        'number', (c).number,
        'key', (c).key,
        'channel', (c).channel,
        'participant_a', (c).participant_a,
        'participant_b', (c).participant_b,
        'message_count', message_count,
        'inbound_count', inbound_count,
        'last_activity_at', last_activity_at,
        'state', CASE WHEN (s).is_closed
                           AND (s).closed_inbound_count >= inbound_count
                      THEN 'closed' ELSE 'open' END,
        'assignee', (s).assignee,
        'contact_name', (s).contact_name,
        'labels', to_jsonb(coalesce((s).labels, '{}')))
        || CASE WHEN reader IS NULL THEN '{}' ELSE jsonb_build_object(
            'unread_count', greatest(inbound_count - coalesce(read_count, 0), 0))
        END
    $$;

CREATE FUNCTION msgstore.get_conversation(
    conversation text,
    reader text DEFAULT NULL)
    RETURNS jsonb
    LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = 'force_custom_plan'
    SET timezone = 'UTC'
    AS $$
DECLARE
    parent CONSTANT msgstore.conversations :=
        msgstore._find_conversation(conversation);
BEGIN
    RETURN (
        SELECT msgstore._show_conversation(
                   c, parent.message_count, parent.inbound_count,
                   parent.last_activity_at, s, get_conversation.reader,
                   r.inbound_count)
        FROM msgstore.conversation_rows c
        LEFT JOIN msgstore.conversation_states s
            ON s.tenant_id = c.tenant_id AND s.conversation_id = c.id
        LEFT JOIN msgstore.read_marks r
            ON r.tenant_id = c.tenant_id AND r.conversation_id = c.id
            AND r.reader = get_conversation.reader
        WHERE c.tenant_id = parent.tenant_id AND c.id = parent.id);
END
$$;

-- Finds the conversation, keeps it from being removed and its changes from being
-- merged.
CREATE FUNCTION msgstore._keep_conversation(conversation text)
    RETURNS msgstore.conversations
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = 'force_custom_plan'
    AS $$
DECLARE
    parent CONSTANT msgstore.conversations :=
        msgstore._find_conversation(conversation);
BEGIN
    PERFORM msgstore._check_tenant_here(parent.tenant_id);
    PERFORM FROM msgstore.conversation_rows c
    WHERE c.tenant_id = parent.tenant_id AND c.id = parent.id
    FOR KEY SHARE;
    PERFORM msgstore._share_changes();
    -- It raises MS404 if the conversation was removed meanwhile.
    RETURN msgstore._find_conversation(parent.id::text);
END
$$;

-- Inbound messages up to the given one, in the order of list_messages(); all if it
-- is null.
CREATE FUNCTION msgstore._inbound_up_to(
    parent msgstore.conversations,
    message uuid)
    RETURNS int
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = 'force_custom_plan'
    AS $$
DECLARE
    up_to msgstore.messages;
BEGIN
    IF message IS NULL THEN
        RETURN parent.inbound_count;
    END IF;
    SELECT m.* INTO up_to FROM msgstore.messages m
    WHERE m.tenant_id = parent.tenant_id AND m.id = message
        AND m.conversation_id = parent.id;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'message "%" is not in conversation %', message, parent.number
            USING ERRCODE = 'MS404';
    END IF;
    -- One snapshot for both.
    RETURN (
        SELECT c.inbound_count - (
            SELECT count(*) FROM msgstore.messages m
            WHERE m.tenant_id = parent.tenant_id
                AND m.conversation_id = parent.id
                AND (m."timestamp", m.id) > (up_to."timestamp", up_to.id)
                AND m.direction = 'inbound')
        FROM msgstore.conversations c
        WHERE c.tenant_id = parent.tenant_id AND c.id = parent.id);
END
$$;

CREATE FUNCTION msgstore.mark_read(
    conversation text,
    reader text,
    message uuid DEFAULT NULL)
    RETURNS jsonb
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
DECLARE
    parent msgstore.conversations;
    read_count int;
    inbound_now int;
BEGIN
    PERFORM msgstore._check_scope_here();
    PERFORM msgstore._check_name('reader', mark_read.reader, 255);
    parent := msgstore._keep_conversation(conversation);
    read_count := msgstore._inbound_up_to(parent, message);
    inbound_now := msgstore._inbound_now(parent.tenant_id, parent.id);
    INSERT INTO msgstore.read_marks AS r (
        tenant_id, reader, conversation_id, inbound_count, is_current)
    VALUES (parent.tenant_id, mark_read.reader, parent.id, read_count,
            read_count >= inbound_now)
    ON CONFLICT ON CONSTRAINT read_marks_pkey DO UPDATE
    SET inbound_count = greatest(r.inbound_count, excluded.inbound_count),
        is_current = greatest(r.inbound_count, excluded.inbound_count)
            >= inbound_now,
        read_at = excluded.read_at
    WHERE r.inbound_count < excluded.inbound_count
        OR NOT r.is_current AND r.inbound_count >= inbound_now;
    IF FOUND THEN
        PERFORM msgstore._note_changes(
            'conversation', ARRAY[parent.tenant_id], ARRAY[parent.id]);
    END IF;
    RETURN msgstore.get_conversation(parent.id::text, mark_read.reader);
END
$$;

CREATE FUNCTION msgstore.mark_unread(conversation text, reader text)
    RETURNS jsonb
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
DECLARE
    parent msgstore.conversations;
BEGIN
    PERFORM msgstore._check_scope_here();
    PERFORM msgstore._check_name('reader', mark_unread.reader, 255);
    parent := msgstore._keep_conversation(conversation);
    UPDATE msgstore.read_marks r
    SET inbound_count = least(r.inbound_count,
                              greatest(parent.inbound_count - 1, 0)),
        is_current = parent.inbound_count = 0
    WHERE r.tenant_id = parent.tenant_id AND r.reader = mark_unread.reader
        AND r.conversation_id = parent.id;
    IF FOUND THEN
        PERFORM msgstore._note_changes(
            'conversation', ARRAY[parent.tenant_id], ARRAY[parent.id]);
    END IF;
    RETURN msgstore.get_conversation(parent.id::text, mark_unread.reader);
END
$$;

REVOKE ALL ON FUNCTION msgstore._inbound_now(text, uuid) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._share_changes() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._check_name(text, text, int) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._show_conversation(msgstore.conversation_rows, int, int, timestamptz, msgstore.conversation_states, text, int) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.get_conversation(text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._keep_conversation(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._inbound_up_to(msgstore.conversations, uuid) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.mark_read(text, text, uuid) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.mark_unread(text, text) FROM PUBLIC;

COMMENT ON FUNCTION msgstore._inbound_now(text, uuid) IS
    'Returns the number of inbound messages of a conversation that are committed, or of this transaction';
COMMENT ON FUNCTION msgstore._share_changes() IS
    'Keeps conversation_changes from being merged until the end of the transaction, while others can do the same';
COMMENT ON FUNCTION msgstore._check_name(text, text, int) IS
    'Raises MS400 if the value of the field is blank or longer than so many characters';
COMMENT ON FUNCTION msgstore._show_conversation(msgstore.conversation_rows, int, int, timestamptz, msgstore.conversation_states, text, int) IS
    'Returns an item of list_conversations(), with unread_count if a reader is given';
COMMENT ON FUNCTION msgstore.get_conversation(text, text) IS
    'Returns a conversation, given by id or number, as an item of list_conversations(). Raises MS404 if it does not exist';
COMMENT ON FUNCTION msgstore._keep_conversation(text) IS
    'Returns the conversation with this id or number, and keeps it from being removed and its changes from being merged until the end of the transaction. Raises MS404';
COMMENT ON FUNCTION msgstore._inbound_up_to(msgstore.conversations, uuid) IS
    'Returns how many inbound messages the conversation has up to this one, or in all if the message is null. Raises MS404 if the message is not in the conversation';
COMMENT ON FUNCTION msgstore.mark_read(text, text, uuid) IS
    'Notes that the reader has read the conversation, given by id or number, up to a message, or all of it if the message is null. Returns the conversation as get_conversation() does. Raises MS400 for an invalid reader, MS404 if the conversation does not exist or the message is not in it';
COMMENT ON FUNCTION msgstore.mark_unread(text, text) IS
    'Makes at least the last inbound message of the conversation, given by id or number, unread for the reader. Returns the conversation as get_conversation() does. Raises MS400 for an invalid reader, MS404 if the conversation does not exist';
