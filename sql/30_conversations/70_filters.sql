-- conversations: the list with filters. A filter is a JSON object with some of state,
-- assignee ('' means nobody), label, contact_name, reader, and unread.

CREATE FUNCTION msgstore._read_list_filter(
    state text,
    assignee text,
    label text,
    contact_name text,
    reader text,
    unread boolean)
    RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF state NOT IN ('open', 'closed') THEN
        RAISE EXCEPTION '"%" in field "state" is not valid', left(state, 64)
            USING ERRCODE = 'MS400',
                  DETAIL = 'The state must be "open" or "closed".';
    END IF;
    IF unread AND reader IS NULL THEN
        RAISE EXCEPTION 'field "reader" is missing'
            USING ERRCODE = 'MS400',
                  DETAIL = 'What is unread depends on the reader.';
    END IF;
    RETURN jsonb_strip_nulls(jsonb_build_object(
        'state', state,
        'assignee', assignee,
        'label', label,
        'contact_name', lower(contact_name),
        'reader', CASE WHEN unread THEN reader END));
END
$$;

-- Numbers of those that match, in their order.
CREATE FUNCTION msgstore._matches(
    filter jsonb,
    tenants text[],
    conversation_ids uuid[],
    inbound_counts int[])
    RETURNS SETOF int
    LANGUAGE plpgsql STABLE PARALLEL SAFE ROWS 100
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = 'force_custom_plan'
    AS $$
DECLARE
    wanted_state CONSTANT text := filter ->> 'state';
    wanted_assignee CONSTANT text := filter ->> 'assignee';
    wanted_label CONSTANT text := filter ->> 'label';
    wanted_name CONSTANT text := filter ->> 'contact_name';
    unread_by CONSTANT text := filter ->> 'reader';
BEGIN
    RETURN QUERY
    SELECT n.ordinal::int
    FROM unnest(tenants, conversation_ids, inbound_counts) WITH ORDINALITY
        AS n (tenant_id, id, inbound_count, ordinal)
    LEFT JOIN msgstore.conversation_states s
        ON s.tenant_id = n.tenant_id AND s.conversation_id = n.id
    LEFT JOIN msgstore.read_marks r
        ON r.tenant_id = n.tenant_id AND r.reader = unread_by
        AND r.conversation_id = n.id
    WHERE (wanted_state IS NULL
           OR (wanted_state = 'closed')
              = coalesce(s.is_closed AND s.closed_inbound_count >= n.inbound_count,
                         false))
        AND (wanted_assignee IS NULL OR wanted_assignee = coalesce(s.assignee, ''))
        AND (wanted_label IS NULL OR wanted_label = ANY (s.labels))
        AND (wanted_name IS NULL OR strpos(lower(s.contact_name), wanted_name) > 0)
        AND (unread_by IS NULL OR n.inbound_count > coalesce(r.inbound_count, 0))
    ORDER BY n.ordinal;
END
$$;

-- By the indexes of what people set.
CREATE FUNCTION msgstore._named_conversations(filter jsonb)
    RETURNS TABLE (tenant_id text, conversation_id uuid)
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = 'force_custom_plan'
    AS $$
#variable_conflict use_column
DECLARE
    scope CONSTANT text := msgstore._tenant_scope();
    wanted_assignee CONSTANT text := nullif(filter ->> 'assignee', '');
    wanted_label CONSTANT text := filter ->> 'label';
    wanted_name CONSTANT text := filter ->> 'contact_name';
BEGIN
    RETURN QUERY
    SELECT s.tenant_id, s.conversation_id
    FROM msgstore.conversation_states s
    WHERE (scope = '' OR s.tenant_id = scope)
        AND (wanted_assignee IS NULL OR s.assignee = wanted_assignee)
        AND (wanted_label IS NULL OR s.labels @> ARRAY[wanted_label] COLLATE "C")
        AND (wanted_name IS NULL
             OR s.contact_name IS NOT NULL
                AND strpos(lower(s.contact_name), wanted_name) > 0);
END
$$;

CREATE FUNCTION msgstore._count_matching(filter jsonb) RETURNS bigint
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = 'force_custom_plan'
    AS $$
DECLARE
    n record;
BEGIN
    IF filter ?| '{label,contact_name}' OR filter ->> 'assignee' <> '' THEN
        SELECT array_agg(c.tenant_id) AS tenants, array_agg(c.id) AS ids,
               array_agg(c.inbound_count) AS inbound
        INTO n
        FROM msgstore._named_conversations(filter) f
        JOIN msgstore.conversations c
            ON c.tenant_id = f.tenant_id AND c.id = f.conversation_id;
    ELSE
        SELECT array_agg(c.tenant_id) AS tenants, array_agg(c.id) AS ids,
               array_agg(c.inbound_count) AS inbound
        INTO n
        FROM msgstore._tenants_in_scope() t
        JOIN msgstore.conversations c ON c.tenant_id = t;
    END IF;
    RETURN (SELECT count(*) FROM msgstore._matches(
                filter, n.tenants, n.ids, n.inbound));
END
$$;

-- Reads the list in its order until it has as many as wanted. Few that people named
-- are found by name instead.
CREATE FUNCTION msgstore._matching_conversations(
    filter jsonb,
    before timestamptz,
    before_id uuid,
    skip bigint,
    most int,
    total bigint)
    RETURNS TABLE (
        tenant_id text,
        conversation_id uuid,
        message_count int,
        inbound_count int,
        last_activity_at timestamptz)
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = 'force_custom_plan'
    AS $$
#variable_conflict use_column
DECLARE
    few CONSTANT int := 2000;
    by_name CONSTANT boolean := total <= few AND (
        filter ?| '{label,contact_name}'
        OR coalesce(filter ->> 'assignee', '') <> '');
    wanted CONSTANT int := skip + most;
    looked_at int := greatest(wanted, 100);
    place timestamptz := before;
    place_id uuid := before_id;
    n record;
    chosen int[];
    tenants text[] := '{}';
    ids uuid[] := '{}';
    counts int[] := '{}';
    inbound int[] := '{}';
    times timestamptz[] := '{}';
BEGIN
    LOOP
        SELECT array_agg(c.tenant_id) AS tenants,
               array_agg(c.conversation_id) AS ids,
               array_agg(c.message_count) AS counts,
               array_agg(c.inbound_count) AS inbound,
               array_agg(c.last_activity_at) AS times,
               count(*) AS n
        INTO n
        FROM (
            SELECT c.*
            FROM msgstore._newest_conversations(place, place_id, 0, looked_at) c
            WHERE NOT by_name
            UNION ALL
            (SELECT c.tenant_id, c.id, c.message_count, c.inbound_count,
                    c.last_activity_at
             FROM msgstore._named_conversations(filter) f
             JOIN msgstore.conversations c
                 ON c.tenant_id = f.tenant_id AND c.id = f.conversation_id
             WHERE by_name AND (place IS NULL
                 OR (c.last_activity_at, c.id) < (place, place_id))
             ORDER BY c.last_activity_at DESC, c.id DESC)) c;
        chosen := ARRAY(
            SELECT m FROM msgstore._matches(filter, n.tenants, n.ids, n.inbound) m
            LIMIT wanted - cardinality(ids));
        tenants := tenants || ARRAY(SELECT n.tenants[i] FROM unnest(chosen) i);
        ids := ids || ARRAY(SELECT n.ids[i] FROM unnest(chosen) i);
        counts := counts || ARRAY(SELECT n.counts[i] FROM unnest(chosen) i);
        inbound := inbound || ARRAY(SELECT n.inbound[i] FROM unnest(chosen) i);
        times := times || ARRAY(SELECT n.times[i] FROM unnest(chosen) i);
        EXIT WHEN by_name OR cardinality(ids) >= least(wanted, total)
            OR n.n < looked_at;
        place := n.times[n.n];
        place_id := n.ids[n.n];
        looked_at := least(looked_at * 4, 10000);
    END LOOP;
    RETURN QUERY
    SELECT * FROM unnest(tenants, ids, counts, inbound, times)
    OFFSET skip;
END
$$;

REVOKE ALL ON FUNCTION msgstore._read_list_filter(text, text, text, text, text, boolean) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._matches(jsonb, text[], uuid[], int[]) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._named_conversations(jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._count_matching(jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._matching_conversations(jsonb, timestamptz, uuid, bigint, int, bigint) FROM PUBLIC;

COMMENT ON FUNCTION msgstore._read_list_filter(text, text, text, text, text, boolean) IS
    'Returns the filter of a call of list_conversations(), {} if it has none. Raises MS400';
COMMENT ON FUNCTION msgstore._matches(jsonb, text[], uuid[], int[]) IS
    'Returns which of these conversations, which have so many inbound messages, match the filter, as numbers from 1';
COMMENT ON FUNCTION msgstore._named_conversations(jsonb) IS
    'Returns the conversations in scope that have the filter''s assignee, label and contact name';
COMMENT ON FUNCTION msgstore._count_matching(jsonb) IS
    'Returns the number of conversations in scope that match the filter';
COMMENT ON FUNCTION msgstore._matching_conversations(jsonb, timestamptz, uuid, bigint, int, bigint) IS
    'Returns the conversations that match the filter, as _newest_conversations() does. total: how many there are';
