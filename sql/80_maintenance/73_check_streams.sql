-- maintenance: check of event streams. Their sequence is checked with the others.

CREATE FUNCTION msgstore._check_streams()
    RETURNS TABLE (finding text, subject text, detail text, repair text)
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
DECLARE
    scope CONSTANT text := msgstore._tenant_scope();
BEGIN
    -- The next events would be skipped. Those up to the end were acknowledged.
    RETURN QUERY
    SELECT 'checkpoint past the log', format('subscription %s', c.subscription),
           format('Member %s is at position %s, but the last position is %s.',
                  c.member, c.position, h.head),
           format('UPDATE msgstore.stream_consumers SET position = %s'
                  ' WHERE tenant_id = %L AND subscription = %L'
                  ' AND generation = %s AND member = %s',
                  h.head, c.tenant_id, c.subscription, c.generation, c.member)
    FROM msgstore.stream_consumers c
    CROSS JOIN LATERAL msgstore._head_position(c.tenant_id) h (head)
    WHERE c.position > h.head AND scope IN ('', c.tenant_id);

    RETURN QUERY
    SELECT 'event without its keys', format('tenant "%s"', e.tenant_id),
           format('%s keys of events are missing, the first one of the event at position %s.',
                  count(*), min(e.global_position)),
           format('INSERT INTO msgstore.stream_event_keys (tenant_id, key, global_position)'
                  ' SELECT e.tenant_id, k.key, e.global_position'
                  ' FROM msgstore.stream_events e'
                  ' CROSS JOIN LATERAL unnest(msgstore._event_keys(e.metadata, e.tags)) k (key)'
                  ' WHERE e.tenant_id = %L ON CONFLICT DO NOTHING', e.tenant_id)
    FROM msgstore.stream_events e
    CROSS JOIN LATERAL unnest(msgstore._event_keys(e.metadata, e.tags)) n (key)
    WHERE (e.tags IS NOT NULL OR e.metadata ?| ARRAY['correlation_id', 'causation_id'])
        AND scope IN ('', e.tenant_id)
        AND NOT EXISTS (
            SELECT FROM msgstore.stream_event_keys k
            WHERE k.tenant_id = e.tenant_id AND k.key = n.key
                AND k.global_position = e.global_position)
    GROUP BY e.tenant_id;

    -- No statement can tell what the event was.
    RETURN QUERY
    SELECT 'invalid host event', format('host %s', substr(e.stream, 15)),
           format('Event %s (number %s): %s.', msgstore._uuid_to_ulid(e.event_id), e.version,
                  msgstore._host_event_fault(e.type, e.data)),
           NULL::text
    FROM msgstore.stream_events e
    WHERE e.category = 'msgstore:host'
        AND msgstore._host_event_fault(e.type, e.data) IS NOT NULL
        AND scope IN ('', e.tenant_id);
END
$$;

REVOKE ALL ON FUNCTION msgstore._check_streams() FROM PUBLIC;

COMMENT ON FUNCTION msgstore._check_streams() IS
    'Finds checkpoints of subscriptions past the end of the log, events that cannot be found by their tags or traces, and invalid events of hosts';
