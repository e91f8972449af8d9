-- responses: conversations of OpenAI's Conversations API.

CREATE FUNCTION msgstore._refuse_conversation(wanted text) RETURNS void
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    RAISE EXCEPTION 'conversation not found'
        USING ERRCODE = 'MS404',
              DETAIL = format('No conversation with the ID "%s" is visible to this session.',
                              left(wanted, 255));
END
$$;

-- Raises MS404 unless the session may read, or write, the conversation.
CREATE FUNCTION msgstore._find_response_conversation(wanted text, writing boolean)
    RETURNS msgstore.response_conversations
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    scope record := msgstore._response_scope();
    found_row msgstore.response_conversations;
    others boolean;
BEGIN
    SELECT c.* INTO found_row
    FROM msgstore.response_conversations c
    WHERE c.id = wanted AND (scope.tenant = '' OR c.tenant_id = scope.tenant)
        AND msgstore._owner_allows(scope.caller, scope.is_admin, c.owner, writing)
    ORDER BY c.tenant_id LIMIT 1;
    IF NOT FOUND THEN
        PERFORM msgstore._refuse_conversation(wanted);
    END IF;
    IF scope.tenant = '' THEN
        SELECT EXISTS (
            SELECT FROM msgstore.response_conversations c
            WHERE c.id = wanted AND c.tenant_id <> found_row.tenant_id)
        INTO others;
        IF others THEN
            RAISE EXCEPTION 'several tenants have a conversation with the ID "%"', wanted
                USING ERRCODE = 'MS409',
                      HINT = 'Set "msgstore.tenant_id".';
        END IF;
    END IF;
    RETURN found_row;
END
$$;

CREATE FUNCTION msgstore._conversation_document(
    conversation msgstore.response_conversations)
    RETURNS jsonb
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT jsonb_build_object(
        'id', conversation.id,
        'object', 'conversation',
        'created_at', extract(epoch FROM conversation.created_at)::bigint,
        'metadata', conversation.metadata)
    $$;

-- IDs are segments of a URL's path.
CREATE FUNCTION msgstore._is_path_id(id text) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT coalesce(octet_length($1) BETWEEN 1 AND 255
        AND $1 !~ '[[:space:][:cntrl:]/\\?#%]' AND $1 NOT IN ('.', '..'), false)
    $$;

-- The short forms of a message, written out as the API returns them.
CREATE FUNCTION msgstore._conversation_item(item jsonb) RETURNS jsonb
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT CASE
        WHEN coalesce(item ->> 'type', 'message') <> 'message' OR NOT item ? 'role'
        THEN item
        ELSE '{"type": "message", "status": "completed"}' || item
            || CASE WHEN jsonb_typeof(item -> 'content') = 'string' THEN
                jsonb_build_object('content', jsonb_build_array(
                    CASE item ->> 'role' WHEN 'assistant'
                        THEN '{"type": "output_text", "annotations": []}'::jsonb
                        ELSE '{"type": "input_text"}' END
                    || jsonb_build_object('text', item -> 'content')))
               ELSE '{}' END
    END
    $$;

CREATE FUNCTION msgstore._new_item_id(item jsonb) RETURNS text
    LANGUAGE sql VOLATILE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT CASE coalesce(item ->> 'type', 'message')
            WHEN 'message' THEN 'msg_'
            WHEN 'reasoning' THEN 'rs_'
            WHEN 'function_call' THEN 'fc_'
            ELSE 'item_' END
        || replace(gen_random_uuid()::text, '-', '')
    $$;

-- Adds items at the end and returns the position of the first. With from_client
-- an ID that is invalid or in use is an error; the items of a response that are
-- in the conversation already are skipped instead.
CREATE FUNCTION msgstore._add_items(
    tenant text,
    conversation text,
    items jsonb,
    response text,
    from_client boolean)
    RETURNS bigint
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    n int;
    added int;
    first bigint;
BEGIN
    IF jsonb_typeof(items) IS DISTINCT FROM 'array' OR EXISTS (
        SELECT FROM jsonb_array_elements(items) i
        WHERE jsonb_typeof(i) <> 'object' OR from_client AND i ? 'id'
            AND (jsonb_typeof(i -> 'id') NOT IN ('string', 'null')
                 OR jsonb_typeof(i -> 'id') = 'string'
                    AND NOT msgstore._is_path_id(i ->> 'id')))
    THEN
        RAISE EXCEPTION 'field "items" has an invalid item'
            USING ERRCODE = 'MS400',
                  DETAIL = 'The field must be an array of objects. An ID must have 1 to 255 bytes that a URL''s path can hold.',
                  COLUMN = 'items';
    END IF;
    n := jsonb_array_length(items);
    UPDATE msgstore.response_conversations c
    SET next_position = c.next_position + n
    WHERE c.tenant_id = tenant AND c.id = conversation
    RETURNING c.next_position - n INTO first;
    IF first IS NULL THEN
        PERFORM msgstore._refuse_conversation(conversation);
    END IF;
    INSERT INTO msgstore.response_conversation_items (
        tenant_id, conversation_id, position, id, item, response_id)
    SELECT tenant, conversation, first + i.n - 1, i.id,
        msgstore._conversation_item(i.item) || jsonb_build_object('id', i.id),
        response
    FROM (
        SELECT e.item, e.n,
            CASE WHEN jsonb_typeof(e.item -> 'id') = 'string'
                      AND msgstore._is_path_id(e.item ->> 'id')
                 THEN e.item ->> 'id'
                 ELSE msgstore._new_item_id(e.item) END AS id
        FROM jsonb_array_elements(items) WITH ORDINALITY e (item, n)
    ) i
    ON CONFLICT DO NOTHING;
    GET DIAGNOSTICS added = ROW_COUNT;
    IF from_client AND added < n THEN
        RAISE EXCEPTION 'item already exists'
            USING ERRCODE = 'MS409',
                  DETAIL = 'IDs of items are unique within a conversation.',
                  COLUMN = 'items';
    END IF;
    RETURN first;
END
$$;

CREATE FUNCTION msgstore.create_response_conversation(
    conversation jsonb DEFAULT '{}')
    RETURNS jsonb
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    scope record := msgstore._response_scope();
    id text := coalesce(conversation ->> 'id',
                        'conv_' || replace(gen_random_uuid()::text, '-', ''));
    created msgstore.response_conversations;
BEGIN
    PERFORM msgstore._check_own_tenant();
    IF jsonb_typeof(conversation) <> 'object'
        OR NOT msgstore._is_path_id(id)
        OR jsonb_typeof(conversation -> 'id') NOT IN ('string', 'null')
    THEN
        RAISE EXCEPTION 'invalid conversation'
            USING ERRCODE = 'MS400',
                  DETAIL = 'A conversation must be an object. Its "id", if any, must be a string of 1 to 255 bytes that a URL''s path can hold.',
                  COLUMN = 'id';
    END IF;
    INSERT INTO msgstore.response_conversations (tenant_id, id, owner, metadata)
    VALUES (scope.tenant, id, scope.caller,
            msgstore._conversation_metadata(conversation -> 'metadata'))
    ON CONFLICT DO NOTHING
    RETURNING * INTO created;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'conversation already exists'
            USING ERRCODE = 'MS409',
                  DETAIL = format('ID "%s" is in use.', id),
                  COLUMN = 'id';
    END IF;
    IF jsonb_typeof(conversation -> 'items') <> 'null' THEN
        PERFORM msgstore._add_items(
            created.tenant_id, created.id, conversation -> 'items', NULL, true);
    END IF;
    RETURN msgstore._conversation_document(created);
END
$$;

CREATE FUNCTION msgstore._conversation_metadata(metadata jsonb) RETURNS jsonb
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF metadata IS NULL OR jsonb_typeof(metadata) = 'null' THEN
        RETURN '{}';
    END IF;
    IF jsonb_typeof(metadata) <> 'object'
        OR msgstore._document_bytes(metadata) > msgstore._max_page_bytes()
    THEN
        RAISE EXCEPTION 'field "metadata" is not an object, or too large'
            USING ERRCODE = 'MS400',
                  DETAIL = 'The field must be an object of at most "msgstore.max_response_bytes".',
                  COLUMN = 'metadata';
    END IF;
    RETURN metadata;
END
$$;

CREATE FUNCTION msgstore.get_response_conversation(id text) RETURNS jsonb
    LANGUAGE sql VOLATILE STRICT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'SELECT msgstore._conversation_document(msgstore._find_response_conversation($1, false))';

CREATE FUNCTION msgstore.update_response_conversation(id text, metadata jsonb)
    RETURNS jsonb
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    conversation msgstore.response_conversations;
BEGIN
    PERFORM msgstore._check_scope_here();
    conversation := msgstore._find_response_conversation(id, true);
    UPDATE msgstore.response_conversations c
    SET metadata = msgstore._conversation_metadata(
        update_response_conversation.metadata)
    WHERE c.tenant_id = conversation.tenant_id AND c.id = conversation.id
    RETURNING c.* INTO conversation;
    IF NOT FOUND THEN
        PERFORM msgstore._refuse_conversation(id);
    END IF;
    RETURN msgstore._conversation_document(conversation);
END
$$;

CREATE FUNCTION msgstore.delete_response_conversation(id text) RETURNS boolean
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    conversation msgstore.response_conversations;
BEGIN
    PERFORM msgstore._check_scope_here();
    conversation := msgstore._find_response_conversation(id, false);
    DELETE FROM msgstore.response_conversations c
    WHERE c.tenant_id = conversation.tenant_id AND c.id = conversation.id;
    IF NOT FOUND THEN
        PERFORM msgstore._refuse_conversation(id);
    END IF;
    -- The first statement has waited for all who were adding to it.
    DELETE FROM msgstore.response_conversation_items i
    WHERE i.tenant_id = conversation.tenant_id
        AND i.conversation_id = conversation.id;
    DELETE FROM msgstore.response_turns t
    WHERE t.tenant_id = conversation.tenant_id
        AND t.conversation_id = conversation.id;
    RETURN true;
END
$$;

-- The statement differs by direction only. At least one item, so that a walk
-- over all pages comes to an end.
CREATE FUNCTION msgstore._item_page(
    conversation msgstore.response_conversations,
    place bigint,
    wanted int,
    descending boolean,
    OUT items jsonb[],
    OUT has_more boolean)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    found_row record;
    bytes bigint := 0;
BEGIN
    items := '{}';
    has_more := false;
    FOR found_row IN EXECUTE format(
        $q$ SELECT i.item FROM msgstore.response_conversation_items i
            WHERE i.tenant_id = $1 AND i.conversation_id = $2
                AND ($3 IS NULL OR i.position %1$s $3)
            ORDER BY i.position %2$s LIMIT $4 $q$,
        CASE WHEN descending THEN '<' ELSE '>' END,
        CASE WHEN descending THEN 'DESC' ELSE 'ASC' END)
        USING conversation.tenant_id, conversation.id, place, wanted + 1
    LOOP
        bytes := bytes + msgstore._document_bytes(found_row.item);
        has_more := cardinality(items) = wanted OR cardinality(items) > 0
            AND bytes > msgstore._max_page_bytes();
        EXIT WHEN has_more;
        items := items || found_row.item;
    END LOOP;
END
$$;

CREATE FUNCTION msgstore.list_conversation_items(
    conversation text,
    after text DEFAULT NULL,
    before text DEFAULT NULL,
    max_results int DEFAULT 20,
    sort_order text DEFAULT 'desc')
    RETURNS jsonb
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    page record := msgstore._response_page(max_results, sort_order);
    backwards boolean := after IS NULL AND before IS NOT NULL;
    place_id text := coalesce(after, before);
    whole msgstore.response_conversations :=
        msgstore._find_response_conversation(conversation, false);
    place bigint;
    found_page record;
BEGIN
    SELECT i.position INTO place
    FROM msgstore.response_conversation_items i
    WHERE i.tenant_id = whole.tenant_id AND i.conversation_id = whole.id
        AND i.id = place_id;
    IF place_id IS NOT NULL AND place IS NULL THEN
        RETURN msgstore._response_list('[]', false);
    END IF;
    found_page := msgstore._item_page(
        whole, place, page.size, page.descending <> backwards);
    RETURN msgstore._response_list(
        msgstore._in_order(found_page.items, backwards), found_page.has_more);
END
$$;

CREATE FUNCTION msgstore.add_conversation_items(conversation text, items jsonb)
    RETURNS jsonb
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    whole msgstore.response_conversations;
    first bigint;
BEGIN
    PERFORM msgstore._check_scope_here();
    whole := msgstore._find_response_conversation(conversation, true);
    first := msgstore._add_items(
        whole.tenant_id, whole.id, items, NULL, true);
    RETURN msgstore._response_list(coalesce((
        SELECT jsonb_agg(i.item ORDER BY i.position)
        FROM msgstore.response_conversation_items i
        WHERE i.tenant_id = whole.tenant_id AND i.conversation_id = whole.id
            AND i.position >= first), '[]'), false);
END
$$;

CREATE FUNCTION msgstore._refuse_item(wanted text) RETURNS void
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    RAISE EXCEPTION 'item not found'
        USING ERRCODE = 'MS404',
              DETAIL = format('The conversation has no item with the ID "%s".',
                              left(wanted, 255));
END
$$;

CREATE FUNCTION msgstore.get_conversation_item(conversation text, id text)
    RETURNS jsonb
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    whole msgstore.response_conversations :=
        msgstore._find_response_conversation(conversation, false);
    found_item jsonb;
BEGIN
    SELECT i.item INTO found_item
    FROM msgstore.response_conversation_items i
    WHERE i.tenant_id = whole.tenant_id AND i.conversation_id = whole.id
        AND i.id = get_conversation_item.id;
    IF NOT FOUND THEN
        PERFORM msgstore._refuse_item(id);
    END IF;
    RETURN found_item;
END
$$;

CREATE FUNCTION msgstore.delete_conversation_item(conversation text, id text)
    RETURNS jsonb
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    whole msgstore.response_conversations;
BEGIN
    PERFORM msgstore._check_scope_here();
    whole := msgstore._find_response_conversation(conversation, true);
    DELETE FROM msgstore.response_conversation_items i
    WHERE i.tenant_id = whole.tenant_id AND i.conversation_id = whole.id
        AND i.id = delete_conversation_item.id;
    IF NOT FOUND THEN
        PERFORM msgstore._refuse_item(id);
    END IF;
    RETURN msgstore._conversation_document(whole);
END
$$;

REVOKE ALL ON FUNCTION msgstore._refuse_conversation(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._find_response_conversation(text, boolean) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._conversation_document(msgstore.response_conversations) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._is_path_id(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._conversation_item(jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._new_item_id(jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._add_items(text, text, jsonb, text, boolean) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._conversation_metadata(jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.create_response_conversation(jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.get_response_conversation(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.update_response_conversation(text, jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.delete_response_conversation(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._item_page(msgstore.response_conversations, bigint, int, boolean) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.list_conversation_items(text, text, text, int, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.add_conversation_items(text, jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._refuse_item(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.get_conversation_item(text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.delete_conversation_item(text, text) FROM PUBLIC;

COMMENT ON FUNCTION msgstore._refuse_conversation(text) IS
    'Raises MS404 for a conversation';
COMMENT ON FUNCTION msgstore._find_response_conversation(text, boolean) IS
    'Returns a conversation that the session may read, or with writing change. Raises MS404, MS409 for an ID of several tenants in a session without a tenant';
COMMENT ON FUNCTION msgstore._conversation_document(msgstore.response_conversations) IS
    'Returns a conversation as the API does';
COMMENT ON FUNCTION msgstore._is_path_id(text) IS
    'Returns whether an ID can be a segment of a URL''s path';
COMMENT ON FUNCTION msgstore._conversation_item(jsonb) IS
    'Returns an item as the API does: a message with its type, status and content parts';
COMMENT ON FUNCTION msgstore._new_item_id(jsonb) IS
    'Returns a new ID for an item of this type';
COMMENT ON FUNCTION msgstore._add_items(text, text, jsonb, text, boolean) IS
    'Adds items at the end of a conversation and returns the position of the first. Raises MS400 for an invalid item, MS404, and for items of a client MS409 for an ID that is in use';
COMMENT ON FUNCTION msgstore._conversation_metadata(jsonb) IS
    'Returns the metadata to store. Raises MS400';
COMMENT ON FUNCTION msgstore.create_response_conversation(jsonb) IS
    'Creates a conversation from an object with metadata, items and id, all optional, and returns it. Raises MS400, MS409 for an ID that is in use';
COMMENT ON FUNCTION msgstore.get_response_conversation(text) IS
    'Returns a conversation: {id, object, created_at, metadata}. Raises MS404';
COMMENT ON FUNCTION msgstore.update_response_conversation(text, jsonb) IS
    'Replaces the metadata of a conversation and returns it. Raises MS400, MS404';
COMMENT ON FUNCTION msgstore.delete_response_conversation(text) IS
    'Removes a conversation with its items and returns true; its responses stay. Raises MS404';
COMMENT ON FUNCTION msgstore._item_page(msgstore.response_conversations, bigint, int, boolean) IS
    'Returns the items of a page, beyond the given position, and whether there are more';
COMMENT ON FUNCTION msgstore.list_conversation_items(text, text, text, int, text) IS
    'Returns one page of the items of a conversation, newest first, as {object, data, first_id, last_id, has_more}. Cursors and limits are those of list_responses. Raises MS400 for an invalid sort order, MS404';
COMMENT ON FUNCTION msgstore.add_conversation_items(text, jsonb) IS
    'Adds an array of items at the end of a conversation and returns them as a list. Raises MS400, MS404, MS409 for an ID that is in use';
COMMENT ON FUNCTION msgstore._refuse_item(text) IS
    'Raises MS404 for an item';
COMMENT ON FUNCTION msgstore.get_conversation_item(text, text) IS
    'Returns an item of a conversation. Raises MS404';
COMMENT ON FUNCTION msgstore.delete_conversation_item(text, text) IS
    'Removes an item from a conversation and returns the conversation. Raises MS404';
