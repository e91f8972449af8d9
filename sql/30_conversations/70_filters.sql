-- conversations: the list with filters. A filter is a JSON object with some of state,
-- assignee ('' means nobody), label, contact_name, reader, and unread.

-- lower() and text search compare letters as the database's locale defines it. With the
-- locale C those are only the ASCII ones; this makes the others small, by ICU.
CREATE FUNCTION msgstore._fold_case(value text) RETURNS text
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF octet_length(value) = length(value) OR getdatabaseencoding() <> 'UTF8' THEN
        RETURN value;
    END IF;
    IF lower(chr(196)) <> chr(196)
        OR to_regcollation('pg_catalog."und-x-icu"') IS NULL THEN
        RETURN value;
    END IF;
    RETURN lower(value COLLATE pg_catalog."und-x-icu");
END
$$;

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
        'contact_name', lower(msgstore._fold_case(contact_name)),
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
        AND (wanted_name IS NULL
             OR strpos(lower(msgstore._fold_case(s.contact_name)), wanted_name) > 0)
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
                AND strpos(lower(msgstore._fold_case(s.contact_name)), wanted_name) > 0);
END
$$;

CREATE FUNCTION msgstore._count_all() RETURNS bigint
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    RETURN (SELECT coalesce(sum(c.n), 0) FROM msgstore.conversation_counts c
            WHERE msgstore._tenant_scope() IN ('', c.tenant_id));
END
$$;

CREATE FUNCTION msgstore._tally(kind text, name text DEFAULT NULL) RETURNS bigint
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = 'force_custom_plan'
    AS $$
#variable_conflict use_column
DECLARE
    own CONSTANT text := msgstore._tenant_scope();
BEGIN
    RETURN (SELECT coalesce(sum(t.n), 0) FROM msgstore.conversation_tallies t
            WHERE own IN ('', t.tenant_id) AND t.kind = _tally.kind
                AND (_tally.name IS NULL OR t.name = _tally.name));
END
$$;

-- Conversations that changes that are not merged have opened again.
CREATE FUNCTION msgstore._count_reopened(filter jsonb) RETURNS bigint
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = 'force_custom_plan'
    AS $$
#variable_conflict use_column
DECLARE
    own CONSTANT text := msgstore._tenant_scope();
    wanted_assignee CONSTANT text := filter ->> 'assignee';
    wanted_label CONSTANT text := filter ->> 'label';
BEGIN
    RETURN (
        SELECT count(*)
        FROM (SELECT c.tenant_id, r.conversation_id, sum(r.inbound_count) AS inbound_count
              FROM msgstore.conversation_changes c
              CROSS JOIN msgstore._read_changes(c.changes) r
              WHERE own IN ('', c.tenant_id)
              GROUP BY c.tenant_id, r.conversation_id) p
        JOIN msgstore.conversation_states s
            ON s.tenant_id = p.tenant_id AND s.conversation_id = p.conversation_id
        LEFT JOIN msgstore.conversation_activity a
            ON a.tenant_id = p.tenant_id AND a.conversation_id = p.conversation_id
        WHERE s.is_closed
            AND s.closed_inbound_count < coalesce(a.inbound_count, 0) + p.inbound_count
            AND (wanted_assignee IS NULL OR wanted_assignee = coalesce(s.assignee, ''))
            AND (wanted_label IS NULL OR wanted_label = ANY (s.labels)));
END
$$;

-- Null if the tallies do not tell.
CREATE FUNCTION msgstore._count_by_tallies(filter jsonb) RETURNS bigint
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    label CONSTANT text := filter ->> 'label';
    assignee CONSTANT text := nullif(filter ->> 'assignee', '');
    n bigint;
    closed bigint;
BEGIN
    CASE
        WHEN filter = '{}' THEN
            RETURN msgstore._count_all();
        WHEN filter ?| '{contact_name,reader}' OR filter ?& '{assignee,label}' THEN
            RETURN NULL;
        WHEN label IS NOT NULL THEN
            n := msgstore._tally('label', label);
            closed := msgstore._tally('closed_label', label);
        WHEN assignee IS NOT NULL THEN
            n := msgstore._tally('assignee', assignee);
            closed := msgstore._tally('closed_assignee', assignee);
        ELSE
            n := msgstore._count_all();
            closed := msgstore._tally('closed');
            IF filter ? 'assignee' THEN
                n := n - msgstore._tally('assignee');
                closed := closed - msgstore._tally('closed_assignee');
            END IF;
    END CASE;
    IF NOT filter ? 'state' THEN
        RETURN n;
    END IF;
    closed := CASE WHEN closed = 0 THEN 0
                   ELSE closed - msgstore._count_reopened(filter) END;
    RETURN CASE filter ->> 'state' WHEN 'closed' THEN closed ELSE n - closed END;
END
$$;

-- What the tallies do not tell is counted among a limited number of conversations:
-- those that people named, or else the newest.
CREATE FUNCTION msgstore._count_matching(
    filter jsonb,
    OUT total bigint,
    OUT is_minimum boolean)
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = 'force_custom_plan'
    AS $$
DECLARE
    most CONSTANT int := 10000;
    n record;
BEGIN
    total := msgstore._count_by_tallies(filter);
    is_minimum := false;
    IF total IS NOT NULL THEN
        RETURN;
    END IF;
    IF filter ?| '{label,contact_name}' OR filter ->> 'assignee' <> '' THEN
        SELECT array_agg(c.tenant_id) AS tenants, array_agg(c.id) AS ids,
               array_agg(c.inbound_count) AS inbound
        INTO n
        FROM (SELECT * FROM msgstore._named_conversations(filter) LIMIT most + 1) f
        JOIN msgstore.conversations c
            ON c.tenant_id = f.tenant_id AND c.id = f.conversation_id;
    ELSE
        SELECT array_agg(c.tenant_id) AS tenants,
               array_agg(c.conversation_id) AS ids,
               array_agg(c.inbound_count) AS inbound
        INTO n
        FROM msgstore._newest_conversations(NULL, NULL, 0, most + 1) c;
    END IF;
    total := (SELECT count(*) FROM msgstore._matches(
                  filter, n.tenants, n.ids, n.inbound));
    is_minimum := coalesce(cardinality(n.ids), 0) > most;
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
    by_name CONSTANT boolean := coalesce(total <= few, false) AND (
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

REVOKE ALL ON FUNCTION msgstore._fold_case(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._read_list_filter(text, text, text, text, text, boolean) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._matches(jsonb, text[], uuid[], int[]) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._named_conversations(jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._count_all() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._tally(text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._count_reopened(jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._count_by_tallies(jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._count_matching(jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._matching_conversations(jsonb, timestamptz, uuid, bigint, int, bigint) FROM PUBLIC;

COMMENT ON FUNCTION msgstore._fold_case(text) IS
    'Returns the text with small letters where lower() does not know them, in databases with the locale C';
COMMENT ON FUNCTION msgstore._read_list_filter(text, text, text, text, text, boolean) IS
    'Returns the filter of a call of list_conversations(), {} if it has none. Raises MS400';
COMMENT ON FUNCTION msgstore._matches(jsonb, text[], uuid[], int[]) IS
    'Returns which of these conversations, which have so many inbound messages, match the filter, as numbers from 1';
COMMENT ON FUNCTION msgstore._named_conversations(jsonb) IS
    'Returns the conversations in scope that have the filter''s assignee, label and contact name';
COMMENT ON FUNCTION msgstore._count_all() IS
    'Returns the number of conversations in scope';
COMMENT ON FUNCTION msgstore._tally(text, text) IS
    'Returns a number of conversation_tallies for the conversations in scope; without a name, of all names together';
COMMENT ON FUNCTION msgstore._count_reopened(jsonb) IS
    'Returns how many conversations with is_closed and with the filter''s assignee and label are open again';
COMMENT ON FUNCTION msgstore._count_by_tallies(jsonb) IS
    'Returns the number of conversations in scope that match the filter, null if conversation_tallies does not have it';
COMMENT ON FUNCTION msgstore._count_matching(jsonb) IS
    'Returns the number of conversations in scope that match the filter, and whether it is only a minimum';
COMMENT ON FUNCTION msgstore._matching_conversations(jsonb, timestamptz, uuid, bigint, int, bigint) IS
    'Returns the conversations that match the filter, as _newest_conversations() does. total: how many there are, null if unknown';
