-- maintenance: check of the indexes of messages and of responses.

CREATE FUNCTION msgstore._check_search()
    RETURNS TABLE (finding text, subject text, detail text, repair text)
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
DECLARE
    scope CONSTANT text := msgstore._tenant_scope();
BEGIN
    RETURN QUERY
    SELECT 'search entry without message', format('message %s', e.message_id),
           'The index of messages has it, but the message does not exist.',
           format('SELECT msgstore._reindex(ARRAY[%L], ARRAY[%L::uuid])',
                  e.tenant_id, e.message_id)
    FROM msgstore.search_entries e
    WHERE scope IN ('', e.tenant_id)
        AND NOT EXISTS (
            SELECT FROM msgstore.messages m
            WHERE m.tenant_id = e.tenant_id AND m.id = e.message_id);

    RETURN QUERY
    SELECT 'search entry without response', format('response %s', e.response_id),
           'The index of responses has it, but the response does not exist.',
           format('DELETE FROM msgstore.response_search_entries'
                  ' WHERE tenant_id = %L AND response_id = %L',
                  e.tenant_id, e.response_id)
    FROM msgstore.response_search_entries e
    WHERE scope IN ('', e.tenant_id)
        AND NOT EXISTS (
            SELECT FROM msgstore.responses r
            WHERE r.tenant_id = e.tenant_id AND r.id = e.response_id);

    IF current_setting('msgstore.response_search')::boolean THEN
        RETURN QUERY
        SELECT 'responses not in search', format('tenant "%s"', r.tenant_id),
               format('Not indexed and not waiting to be indexed: %s responses.', count(*)),
               format('INSERT INTO msgstore.response_search_changes (tenant_id, response_id)'
                      ' SELECT r.tenant_id, r.id FROM msgstore.responses r'
                      ' WHERE r.tenant_id = %L AND r.ended_at IS NOT NULL AND NOT EXISTS'
                      ' (SELECT FROM msgstore.response_search_entries e'
                      ' WHERE e.tenant_id = r.tenant_id AND e.response_id = r.id)',
                      r.tenant_id)
        FROM msgstore.responses r
        WHERE scope IN ('', r.tenant_id) AND r.ended_at IS NOT NULL
            AND NOT EXISTS (
                SELECT FROM msgstore.response_search_entries e
                WHERE e.tenant_id = r.tenant_id AND e.response_id = r.id)
            AND NOT EXISTS (
                SELECT FROM msgstore.response_search_changes c
                WHERE c.tenant_id = r.tenant_id AND c.response_id = r.id)
        GROUP BY r.tenant_id;
    END IF;

    IF NOT current_setting('msgstore.search')::boolean THEN
        RETURN;
    END IF;
    -- One finding for each conversation with fewer messages waiting than missing.
    RETURN QUERY
    SELECT 'messages not in search', format('conversation %s', m.conversation_id),
           format('Not indexed: %s messages. Waiting to be indexed: %s.',
                  count(*), coalesce(w.n, 0)),
           format('SELECT msgstore._reindex(array_agg(m.tenant_id), array_agg(m.id)) FROM msgstore.messages m WHERE m.tenant_id = %L AND m.conversation_id = %L',
                  m.tenant_id, m.conversation_id)
    FROM msgstore.messages m
    LEFT JOIN (
        SELECT c.tenant_id, r.conversation_id, sum(r.message_count) AS n
        FROM (
            SELECT * FROM msgstore.conversation_changes
            UNION ALL
            SELECT * FROM msgstore.search_changes) c
        CROSS JOIN msgstore._read_changes(c.changes) r
        GROUP BY c.tenant_id, r.conversation_id) w
        ON w.tenant_id = m.tenant_id AND w.conversation_id = m.conversation_id
    WHERE scope IN ('', m.tenant_id)
        AND NOT EXISTS (
            SELECT FROM msgstore.search_entries e
            WHERE e.tenant_id = m.tenant_id AND e.message_id = m.id)
    GROUP BY m.tenant_id, m.conversation_id, w.n
    HAVING count(*) > coalesce(w.n, 0);
END
$$;

REVOKE ALL ON FUNCTION msgstore._check_search() FROM PUBLIC;

COMMENT ON FUNCTION msgstore._check_search() IS
    'Finds entries of the indexes without a message or response, and messages and responses that are neither indexed nor waiting to be';
