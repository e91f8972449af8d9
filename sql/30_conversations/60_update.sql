-- conversations: the changes that people make.

CREATE FUNCTION msgstore._read_name(field text, value jsonb) RETURNS text
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF jsonb_typeof(value) NOT IN ('string', 'null') THEN
        RAISE EXCEPTION 'field "%" is not a string', field
            USING ERRCODE = 'MS400',
                  DETAIL = 'The field must be a string, or null.';
    END IF;
    IF value <> 'null' THEN
        PERFORM msgstore._check_name(field, value #>> '{}', 255);
    END IF;
    RETURN value #>> '{}';
END
$$;

CREATE FUNCTION msgstore._read_labels(field text, value jsonb) RETURNS text[]
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF jsonb_typeof(value) IS DISTINCT FROM 'array'
        OR jsonb_path_exists(value, '$[*] ? (@.type() != "string")') THEN
        RAISE EXCEPTION 'field "%" is not an array of strings', field
            USING ERRCODE = 'MS400',
                  DETAIL = 'The field must be an array of strings; [] for no label.';
    END IF;
    RETURN ARRAY(
        SELECT l FROM jsonb_array_elements_text(value) l,
            msgstore._check_name(field, l, 64));
END
$$;

-- Merges the changes into the row, as a JSON merge patch does: null clears a value.
CREATE FUNCTION msgstore._apply_changes(
    INOUT s msgstore.conversation_states,
    changes jsonb,
    parent msgstore.conversations)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    name text;
    value jsonb;
    up_to uuid;
BEGIN
    FOR name, value IN SELECT * FROM jsonb_each(changes) LOOP
        CASE name
            WHEN 'assignee' THEN
                s.assignee := msgstore._read_name(name, value);
            WHEN 'contact_name' THEN
                s.contact_name := msgstore._read_name(name, value);
            WHEN 'state', 'up_to' THEN
                NULL;
            WHEN 'labels', 'add_labels', 'remove_labels' THEN
                PERFORM msgstore._read_labels(name, value);
            ELSE
                RAISE EXCEPTION 'unknown field "%"', left(name, 64)
                    USING ERRCODE = 'MS400',
                          DETAIL = 'Valid fields are state, up_to, assignee, contact_name, labels, add_labels, and remove_labels.';
        END CASE;
    END LOOP;

    s.labels := ARRAY(
        SELECT l COLLATE "C" FROM unnest(CASE WHEN changes ? 'labels'
            THEN msgstore._read_labels('labels', changes -> 'labels')
            ELSE s.labels END) l
        UNION
        SELECT l COLLATE "C" FROM unnest(CASE WHEN changes ? 'add_labels'
            THEN msgstore._read_labels('add_labels', changes -> 'add_labels') END) l
        EXCEPT
        SELECT l COLLATE "C" FROM unnest(CASE WHEN changes ? 'remove_labels'
            THEN msgstore._read_labels('remove_labels', changes -> 'remove_labels') END) l
        ORDER BY 1);
    IF cardinality(s.labels) > 50 THEN
        RAISE EXCEPTION 'conversation has more than 50 labels'
            USING ERRCODE = 'MS400';
    END IF;

    IF changes ? 'up_to' AND changes ->> 'up_to'
        !~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' THEN
        RAISE EXCEPTION '"%" in field "up_to" is not the id of a message',
            left(changes ->> 'up_to', 64)
            USING ERRCODE = 'MS400';
    END IF;
    up_to := changes ->> 'up_to';
    IF changes -> 'state' = '"closed"' THEN
        s.closed_inbound_count := msgstore._inbound_up_to(parent, up_to);
        s.is_closed := s.closed_inbound_count
            >= msgstore._inbound_now(parent.tenant_id, parent.id);
    ELSIF changes -> 'state' = '"open"' THEN
        s.is_closed := false;
    ELSIF changes ? 'state' THEN
        RAISE EXCEPTION '"%" in field "state" is not valid',
            left(coalesce(changes ->> 'state', 'null'), 64)
            USING ERRCODE = 'MS400',
                  DETAIL = 'The state must be "open" or "closed".';
    END IF;
END
$$;

CREATE FUNCTION msgstore.update_conversation(
    conversation text,
    changes jsonb,
    reader text DEFAULT NULL)
    RETURNS jsonb
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
DECLARE
    parent msgstore.conversations;
    old msgstore.conversation_states;
    new msgstore.conversation_states;
BEGIN
    PERFORM msgstore._check_scope_here();
    IF jsonb_typeof(changes) IS DISTINCT FROM 'object' THEN
        RAISE EXCEPTION 'changes of a conversation are not a JSON object'
            USING ERRCODE = 'MS400';
    END IF;
    parent := msgstore._keep_conversation(conversation);
    INSERT INTO msgstore.conversation_states (tenant_id, conversation_id)
    VALUES (parent.tenant_id, parent.id)
    ON CONFLICT DO NOTHING;
    SELECT s.* INTO old FROM msgstore.conversation_states s
    WHERE s.tenant_id = parent.tenant_id AND s.conversation_id = parent.id
    FOR UPDATE;
    new := msgstore._apply_changes(old, changes, parent);
    UPDATE msgstore.conversation_states s
    SET is_closed = new.is_closed,
        closed_inbound_count = new.closed_inbound_count,
        assignee = new.assignee,
        contact_name = new.contact_name,
        labels = new.labels,
        updated_at = now()
    WHERE s.tenant_id = parent.tenant_id AND s.conversation_id = parent.id
        AND new IS DISTINCT FROM old;
    IF FOUND THEN
        PERFORM msgstore._note_changes(
            'conversation', ARRAY[parent.tenant_id], ARRAY[parent.id]);
    END IF;
    RETURN msgstore.get_conversation(parent.id::text, reader);
END
$$;

REVOKE ALL ON FUNCTION msgstore._read_name(text, jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._read_labels(text, jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._apply_changes(msgstore.conversation_states, jsonb, msgstore.conversations) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.update_conversation(text, jsonb, text) FROM PUBLIC;

COMMENT ON FUNCTION msgstore._read_name(text, jsonb) IS
    'Returns the name in a JSON string, null for null. Raises MS400';
COMMENT ON FUNCTION msgstore._read_labels(text, jsonb) IS
    'Returns the labels in a JSON array. Raises MS400';
COMMENT ON FUNCTION msgstore._apply_changes(msgstore.conversation_states, jsonb, msgstore.conversations) IS
    'Returns the row with the changes that update_conversation() was given. Raises MS400 or MS404';
COMMENT ON FUNCTION msgstore.update_conversation(text, jsonb, text) IS
    'Changes what people set for a conversation, given by id or number. changes is a JSON object with some of: state (open or closed), up_to (with state closed: stay open if there is a later inbound message than this one), assignee and contact_name (null clears them), labels, add_labels, remove_labels. Returns the conversation as get_conversation() does. Raises MS400 for an invalid change, MS404 if the conversation does not exist';
