-- responses: turns. A response that is queued or in progress has the turn of its
-- conversation, and gives it back in the transaction in which it ends. If its
-- process died without that, another response takes the turn once it has been
-- silent for msgstore.response_stale_after.

CREATE FUNCTION msgstore._begin_turn(
    tenant text,
    conversation text,
    response text,
    patience interval,
    stale_after interval)
    RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    scope record := msgstore._response_scope();
    deadline CONSTANT timestamptz := clock_timestamp() + patience;
BEGIN
    PERFORM FROM msgstore.response_conversations c
    WHERE c.tenant_id = tenant AND c.id = conversation
        AND msgstore._owner_allows(scope.caller, scope.is_admin, c.owner, true)
    FOR KEY SHARE;
    IF NOT FOUND THEN
        PERFORM msgstore._refuse_conversation(conversation);
    END IF;
    LOOP
        DELETE FROM msgstore.response_turns t
        WHERE t.tenant_id = tenant AND t.conversation_id = conversation
            AND t.renewed_at < clock_timestamp() - stale_after;
        INSERT INTO msgstore.response_turns (
            tenant_id, conversation_id, response_id)
        VALUES (tenant, conversation, response)
        ON CONFLICT DO NOTHING;
        EXIT WHEN FOUND;
        IF clock_timestamp() >= deadline THEN
            RAISE EXCEPTION 'another response is in progress in this conversation'
                USING ERRCODE = 'MS409',
                      DETAIL = 'A conversation has one response in progress at a time.',
                      HINT = 'Try again when it has ended, or raise "msgstore.conversation_wait".',
                      COLUMN = 'conversation',
                      CONSTRAINT = 'conversation_locked';
        END IF;
        PERFORM pg_sleep(0.02);
    END LOOP;
END
$$;

CREATE FUNCTION msgstore._end_turn(
    tenant text,
    conversation text,
    response text,
    items jsonb)
    RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    DELETE FROM msgstore.response_turns t
    WHERE t.tenant_id = tenant AND t.conversation_id = conversation
        AND t.response_id = response;
    IF items IS NULL THEN
        RETURN;
    END IF;
    IF FOUND THEN
        PERFORM msgstore._add_items(tenant, conversation, items, response, false);
    ELSIF EXISTS (
        SELECT FROM msgstore.response_conversations c
        WHERE c.tenant_id = tenant AND c.id = conversation)
    THEN
        RAISE EXCEPTION 'response "%" has lost its turn in the conversation', response
            USING ERRCODE = 'MS409',
                  DETAIL = 'It was silent for "msgstore.response_stale_after", and another response took the turn. It can fail or be cancelled.',
                  COLUMN = 'status',
                  CONSTRAINT = 'conversation_locked';
    END IF;
END
$$;

CREATE FUNCTION msgstore._renew_turn(tenant text, conversation text, response text)
    RETURNS void
    LANGUAGE sql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    UPDATE msgstore.response_turns t
    SET renewed_at = clock_timestamp()
    WHERE t.tenant_id = $1 AND t.conversation_id = $2 AND t.response_id = $3
    $$;

REVOKE ALL ON FUNCTION msgstore._begin_turn(text, text, text, interval, interval) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._end_turn(text, text, text, jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._renew_turn(text, text, text) FROM PUBLIC;

COMMENT ON FUNCTION msgstore._begin_turn(text, text, text, interval, interval) IS
    'Gives a response the turn of its conversation. Waits for patience, then raises MS409; takes a turn that was not renewed for stale_after. Raises MS404';
COMMENT ON FUNCTION msgstore._end_turn(text, text, text, jsonb) IS
    'Ends the turn of a response and adds its items to the conversation; null adds nothing. Raises MS409 if the turn was lost';
COMMENT ON FUNCTION msgstore._renew_turn(text, text, text) IS
    'Notes that a response with the turn is alive';
