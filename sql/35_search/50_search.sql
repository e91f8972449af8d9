-- search: search_messages() and search_conversations().

-- The newest entries in the order of the list: for terms that are in many messages,
-- this is faster than to read all that the index has. Ranks are those by words, null
-- if it is null. A branch for each tenant, because the order is that of its entries.
CREATE FUNCTION msgstore._search_newest(
    tenants text[],
    wanted tsquery,
    words tsquery,
    since timestamptz,
    before timestamptz,
    before_id uuid,
    most int,
    looked_at bigint)
    RETURNS TABLE (tenant_id text, message_id uuid, rank real)
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    SET enable_bitmapscan = off
    SET enable_seqscan = off
    SET enable_sort = off
    SET jit = off
    AS $$
DECLARE
    branches CONSTANT text := string_agg(format(
        '(SELECT e.* FROM msgstore.search_entries e
          WHERE e.tenant_id = $1[%s] AND e."timestamp" >= $4
            AND (e."timestamp", e.message_id) < ($5, $6)
          ORDER BY e."timestamp" DESC, e.message_id DESC)', i), ' UNION ALL ')
        FROM generate_series(1, cardinality(tenants)) i;
BEGIN
    RETURN QUERY EXECUTE '
    SELECT h.tenant_id, h.message_id, ts_rank_cd(h.terms, $3)
    FROM (
        SELECT n.tenant_id, n.message_id, n.terms
        FROM (
            SELECT * FROM (' || branches || ') e
            ORDER BY e."timestamp" DESC, e.message_id DESC
            LIMIT $8) n
        WHERE n.terms @@ $2
        LIMIT $7) h'
    USING tenants, wanted, words, since, before, before_id, most, looked_at;
END
$$;

CREATE FUNCTION msgstore._search_all(
    wanted tsquery,
    words tsquery,
    since timestamptz,
    before timestamptz,
    before_id uuid,
    most int)
    RETURNS TABLE (tenant_id text, message_id uuid, rank real)
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = 'force_custom_plan'
    SET enable_indexscan = off
    SET enable_seqscan = off
    SET jit = off
    AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT h.tenant_id, h.message_id, ts_rank_cd(h.terms, words)
    FROM (
        SELECT e.* FROM msgstore.search_entries e
        WHERE e.terms @@ wanted AND e."timestamp" >= since
            AND (e."timestamp", e.message_id) < (before, before_id)
        ORDER BY e."timestamp" DESC, e.message_id DESC
        LIMIT most) h;
END
$$;

-- The query as the index answers it, which does not know where words are: each hit
-- has to be read. Only for an estimate: it may spoil a word that has such an operator.
CREATE FUNCTION msgstore._without_phrases(query tsquery) RETURNS tsquery
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN regexp_replace(query::text, '<([0-9]+|-)>', '&', 'g')::tsquery;

-- Newest first. Unless the session sees many tenants, entries are tried in the order of
-- the list first, and tell how many of them would have to be looked at, and how many
-- the index has.
CREATE FUNCTION msgstore._search_hits(
    wanted tsquery,
    words tsquery,
    since timestamptz,
    before timestamptz,
    before_id uuid,
    most int)
    RETURNS TABLE (tenant_id text, message_id uuid, rank real)
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
DECLARE
    tried CONSTANT int := 2000;
    most_tenants CONSTANT int := 50;
    -- What the index has is read all over the table, which takes so many times as long
    -- as an entry in the order of the list.
    dearer CONSTANT int := 6;
    loose CONSTANT tsquery := msgstore._without_phrases(wanted);
    tenants CONSTANT text[] := ARRAY(
        SELECT t FROM msgstore._tenants_in_scope() t LIMIT most_tenants + 1);
    entries float8;
    hits int := 0;
    owners text[];
    ids uuid[];
    ranks real[];
    -- Of the entries that were tried.
    candidates int;
    looked_at float8;
BEGIN
    IF cardinality(tenants) BETWEEN 1 AND most_tenants THEN
        SELECT array_agg(n.tenant_id), array_agg(n.message_id), array_agg(n.rank), count(*)
        INTO owners, ids, ranks, hits
        FROM msgstore._search_newest(
            tenants, wanted, words, since, before, before_id, most, tried) n;
        IF hits < most THEN
            candidates := CASE WHEN loose = wanted THEN hits ELSE (
                SELECT count(*) FROM msgstore._search_newest(
                    tenants, loose, NULL, since, before, before_id, tried, tried)) END;
            SELECT greatest(c.reltuples, 0) INTO entries FROM pg_class c
            WHERE c.oid = 'msgstore.search_entries'::regclass;
            looked_at := least(most::float8 * tried / nullif(hits, 0), entries);
            IF looked_at < dearer * entries * candidates / tried THEN
                -- Twice as many, because the share of the newest is an estimate.
                SELECT array_agg(n.tenant_id), array_agg(n.message_id), array_agg(n.rank),
                       count(*)
                INTO owners, ids, ranks, hits
                FROM msgstore._search_newest(
                    tenants, wanted, words, since, before, before_id, most,
                    (2 * looked_at)::bigint) n;
            END IF;
        END IF;
    END IF;
    IF hits >= most THEN
        RETURN QUERY SELECT * FROM unnest(owners, ids, ranks);
    ELSE
        RETURN QUERY SELECT * FROM msgstore._search_all(
            wanted, words, since, before, before_id, most);
    END IF;
END
$$;

-- The best of the newest thousand hits; the newest of those with the same rank.
CREATE FUNCTION msgstore._search_best(
    wanted tsquery,
    words tsquery,
    since timestamptz,
    before timestamptz,
    skip int,
    most int)
    RETURNS TABLE (tenant_id text, message_id uuid)
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT h.tenant_id, h.message_id
    FROM msgstore._search_hits(
        wanted, words, since, before, '00000000-0000-0000-0000-000000000000', 1000)
        WITH ORDINALITY AS h (tenant_id, message_id, rank, n)
    ORDER BY h.rank DESC, h.n
    LIMIT most OFFSET skip;
END
$$;

CREATE FUNCTION msgstore._read_rank_cursor(after text) RETURNS int
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF after ~ '^[0-9]{1,4}$' OR after IS NULL THEN
        RETURN coalesce(after::int, 0);
    END IF;
    RAISE EXCEPTION '"%" in field "after" is not a cursor', left(after, 64)
        USING ERRCODE = 'MS400',
              DETAIL = 'A cursor must be the next_cursor of an earlier page of the same search.';
END
$$;

-- All configurations that messages in scope may have been indexed with.
CREATE FUNCTION msgstore._search_configurations() RETURNS text[]
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    own CONSTANT text := msgstore._tenant_scope();
BEGIN
    RETURN ARRAY(
        SELECT c.configuration FROM msgstore.search_configurations c
        WHERE own IN ('', c.tenant_id)
        UNION
        SELECT 'simple'
        WHERE own = '' OR NOT EXISTS (
            SELECT FROM msgstore.search_configurations c
            WHERE c.tenant_id = own AND c.channel = ''));
END
$$;

CREATE FUNCTION msgstore._search_filter(
    conversation text,
    channel text,
    direction text)
    RETURNS tsquery
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    -- An empty query is noticed.
    SET client_min_messages = warning
    AS $$
DECLARE
    own CONSTANT text := msgstore._tenant_scope();
    parent msgstore.conversations;
    result tsquery := '';
    term text;
BEGIN
    IF direction NOT IN ('inbound', 'outbound') THEN
        RAISE EXCEPTION '"%" in field "direction" is not valid', left(direction, 64)
            USING ERRCODE = 'MS400',
                  DETAIL = 'The direction must be "inbound" or "outbound".';
    END IF;
    IF conversation IS NOT NULL THEN
        parent := msgstore._find_conversation(conversation);
    END IF;
    FOREACH term IN ARRAY ARRAY[
        E'\x01t' || nullif(own, ''), E'\x01c' || parent.id, E'\x01h' || channel,
        E'\x01d' || direction]
    LOOP
        IF term IS NOT NULL THEN
            result := result && msgstore._quote_term(term)::tsquery;
        END IF;
    END LOOP;
    RETURN result;
END
$$;

CREATE FUNCTION msgstore.search_messages(
    query text,
    conversation text DEFAULT NULL,
    channel text DEFAULT NULL,
    direction text DEFAULT NULL,
    since timestamptz DEFAULT NULL,
    until timestamptz DEFAULT NULL,
    after text DEFAULT NULL,
    max_results int DEFAULT 20,
    ranked boolean DEFAULT false)
    RETURNS jsonb
    LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = 'force_custom_plan'
    SET timezone = 'UTC'
    AS $$
DECLARE
    words CONSTANT tsquery := msgstore._read_query(
        msgstore._search_configurations(), query);
    wanted CONSTANT tsquery := msgstore._search_filter(
        conversation, channel, direction) && words;
    size CONSTANT int := CASE WHEN max_results BETWEEN 1 AND 50 THEN max_results
                              ELSE 20 END;
    from_time CONSTANT timestamptz := coalesce(since, '-infinity');
    to_time CONSTANT timestamptz := coalesce(until, 'infinity');
    by_rank CONSTANT boolean := coalesce(ranked, false);
    skip CONSTANT int := CASE WHEN by_rank THEN msgstore._read_rank_cursor(after) END;
    place CONSTANT record := msgstore._read_cursor(CASE WHEN NOT by_rank THEN after END);
    hits record;
    items jsonb[];
    next_cursor text;
BEGIN
    SELECT array_agg(h.tenant_id) AS tenants, array_agg(h.message_id) AS ids
    INTO hits
    FROM (
        SELECT * FROM msgstore._search_best(
            wanted, words, from_time, to_time, skip, size + 1)
        WHERE by_rank
        UNION ALL
        SELECT h.tenant_id, h.message_id FROM msgstore._search_hits(
            wanted, NULL, from_time, least(to_time, place.at),
            CASE WHEN place.at < to_time THEN place.id
                 ELSE '00000000-0000-0000-0000-000000000000' END, size + 1) h
        WHERE NOT by_rank) h;
    SELECT array_agg(jsonb_build_object(
               'id', m.id,
               'conversation_id', m.conversation_id,
               'conversation_number', c.number,
               'direction', m.direction,
               'channel', m.channel,
               'from', m."from",
               'to', m."to",
               'subject', m.subject,
               'timestamp', m."timestamp",
               'snippet', msgstore._hit_snippet(
                   msgstore._search_configuration(m.tenant_id, m.channel),
                   m.body, words))
               ORDER BY h.n)
    INTO items
    FROM unnest(hits.tenants[:size], hits.ids[:size]) WITH ORDINALITY
        AS h (tenant_id, message_id, n)
    CROSS JOIN LATERAL (
        SELECT * FROM msgstore.messages m
        WHERE m.tenant_id = h.tenant_id AND m.id = h.message_id
        LIMIT 1) m
    LEFT JOIN LATERAL (
        SELECT c.number FROM msgstore.conversation_rows c
        WHERE c.tenant_id = m.tenant_id AND c.id = m.conversation_id
        LIMIT 1) c ON true;
    IF cardinality(hits.ids) > size THEN
        next_cursor := CASE WHEN by_rank THEN (skip + size)::text ELSE (
            SELECT msgstore._cursor(e."timestamp", e.message_id)
            FROM msgstore.search_entries e
            WHERE e.tenant_id = hits.tenants[size] AND e.message_id = hits.ids[size])
        END;
    END IF;
    RETURN jsonb_build_object(
        'items', coalesce(to_jsonb(items), '[]'),
        'meta', jsonb_build_object(
            'next_cursor', next_cursor,
            'indexed_until', msgstore._indexed_until()));
END
$$;

-- Addresses are indexed with the messages of their conversation.
CREATE FUNCTION msgstore._address_query(value text) RETURNS tsquery
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT msgstore._parts_query(
        left(CASE WHEN value ~ '^[+(]?[0-9][0-9 ().-]*$'
                  THEN regexp_replace(value, '[^0-9]', '', 'g')
                  ELSE lower(value) END, 255), E'\x02', 3)
$$;

-- Every word with the weight of subjects.
CREATE FUNCTION msgstore._subject_query(words tsquery) RETURNS tsquery
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT regexp_replace(
        words::text, '(''(?:[^''\\]|''''|\\.)*'')(?::([*]?))?', '\1:\2A', 'g')::tsquery
$$;

CREATE FUNCTION msgstore._found_conversations(value text)
    RETURNS TABLE (tenant_id text, conversation_id uuid)
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = 'force_custom_plan'
    AS $$
#variable_conflict use_column
DECLARE
    own CONSTANT text := msgstore._tenant_scope();
    subject tsquery;
BEGIN
    RETURN QUERY
    SELECT a.tenant_id, a.conversation_id
    FROM msgstore.search_addresses a
    WHERE a.terms @@ msgstore._address_query(value) AND own IN ('', a.tenant_id)
    UNION
    SELECT * FROM msgstore._named_conversations(
        msgstore._read_list_filter(NULL, NULL, NULL, value, NULL, NULL));
    subject := msgstore._subject_query(msgstore._parse_query(
        msgstore._search_configurations(), value));
    -- It has no word that a subject can have.
    IF subject IS NULL THEN
        RETURN;
    END IF;
    RETURN QUERY
    SELECT m.tenant_id, m.conversation_id
    FROM msgstore._search_hits(
        msgstore._search_filter(NULL, NULL, NULL) && subject, NULL,
        '-infinity', 'infinity', '00000000-0000-0000-0000-000000000000', 1000) h
    CROSS JOIN LATERAL (
        SELECT m.tenant_id, m.conversation_id FROM msgstore.messages m
        WHERE m.tenant_id = h.tenant_id AND m.id = h.message_id
        LIMIT 1) m;
END
$$;

CREATE FUNCTION msgstore.search_conversations(
    query text,
    max_results int DEFAULT 20,
    reader text DEFAULT NULL)
    RETURNS jsonb
    LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = 'force_custom_plan'
    SET timezone = 'UTC'
    AS $$
DECLARE
    size CONSTANT int := CASE WHEN max_results BETWEEN 1 AND 50 THEN max_results
                              ELSE 20 END;
    items jsonb[];
BEGIN
    IF query IS NULL OR query !~ '[^[:space:]]' THEN
        RAISE EXCEPTION 'field "query" is blank'
            USING ERRCODE = 'MS400',
                  DETAIL = 'The field must be a non-blank string.';
    END IF;
    SELECT array_agg(msgstore._show_conversation(
               c, v.message_count, v.inbound_count, v.last_activity_at, s,
               search_conversations.reader, r.inbound_count)
               ORDER BY v.last_activity_at DESC, v.id DESC)
    INTO items
    FROM (
        SELECT v.tenant_id, v.id, v.message_count, v.inbound_count,
               v.last_activity_at
        FROM (SELECT DISTINCT * FROM msgstore._found_conversations(trim(query))) f
        JOIN msgstore.conversations v
            ON v.tenant_id = f.tenant_id AND v.id = f.conversation_id
        ORDER BY v.last_activity_at DESC, v.id DESC
        LIMIT size) v
    JOIN msgstore.conversation_rows c
        ON c.tenant_id = v.tenant_id AND c.id = v.id
    LEFT JOIN msgstore.conversation_states s
        ON s.tenant_id = v.tenant_id AND s.conversation_id = v.id
    LEFT JOIN msgstore.read_marks r
        ON r.tenant_id = v.tenant_id AND r.conversation_id = v.id
        AND r.reader = search_conversations.reader;
    RETURN jsonb_build_object(
        'items', coalesce(to_jsonb(items), '[]'),
        'meta', jsonb_build_object(
            'indexed_until', msgstore._indexed_until()));
END
$$;

REVOKE ALL ON FUNCTION msgstore._search_newest(text[], tsquery, tsquery, timestamptz, timestamptz, uuid, int, bigint) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._search_all(tsquery, tsquery, timestamptz, timestamptz, uuid, int) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._without_phrases(tsquery) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._search_hits(tsquery, tsquery, timestamptz, timestamptz, uuid, int) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._search_best(tsquery, tsquery, timestamptz, timestamptz, int, int) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._read_rank_cursor(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._search_configurations() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._search_filter(text, text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.search_messages(text, text, text, text, timestamptz, timestamptz, text, int, boolean) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._address_query(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._subject_query(tsquery) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._found_conversations(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.search_conversations(text, int, text) FROM PUBLIC;

COMMENT ON FUNCTION msgstore._search_newest(text[], tsquery, tsquery, timestamptz, timestamptz, uuid, int, bigint) IS
    'Returns the newest hits, with their ranks, among the newest entries, so many, of these tenants that precede a position';
COMMENT ON FUNCTION msgstore._search_all(tsquery, tsquery, timestamptz, timestamptz, uuid, int) IS
    'Returns the newest hits that precede a position, with their ranks';
COMMENT ON FUNCTION msgstore._without_phrases(tsquery) IS
    'Returns the query with AND for each phrase operator';
COMMENT ON FUNCTION msgstore._search_hits(tsquery, tsquery, timestamptz, timestamptz, uuid, int) IS
    'Returns the newest hits in scope that precede a position, with their ranks';
COMMENT ON FUNCTION msgstore._search_best(tsquery, tsquery, timestamptz, timestamptz, int, int) IS
    'Returns the newest thousand hits by rank, without the first skip';
COMMENT ON FUNCTION msgstore._read_rank_cursor(text) IS
    'Returns how many hits precede the page. Raises MS400';
COMMENT ON FUNCTION msgstore._search_configurations() IS
    'Returns the text search configurations of the tenants in scope';
COMMENT ON FUNCTION msgstore._search_filter(text, text, text) IS
    'Returns the query for tenant, conversation, channel and direction. Raises MS400 or MS404';
COMMENT ON FUNCTION msgstore.search_messages(text, text, text, text, timestamptz, timestamptz, text, int, boolean) IS
    'Finds messages by words, "phrases", or, -excluded and prefix* in subject and body, by parts of numbers, and by characters of scripts without spaces. Returns {"items", "meta": {next_cursor, indexed_until}}, newest first or, if ranked, the best of the newest thousand hits first. since is included, until is not. after: a next_cursor. max_results: 1 to 50, anything else means 20. snippet is an array of pieces of the body; every second piece is a hit. Raises MS400 for an invalid argument or a query without a word, MS404 if the conversation does not exist';
COMMENT ON FUNCTION msgstore._address_query(text) IS
    'Returns the query for a part of an address';
COMMENT ON FUNCTION msgstore._subject_query(tsquery) IS
    'Returns the query for words of subjects only';
COMMENT ON FUNCTION msgstore._found_conversations(text) IS
    'Returns conversations in scope by a part of an address or contact name, or words of a subject';
COMMENT ON FUNCTION msgstore.search_conversations(text, int, text) IS
    'Finds conversations by a part of an address or of the contact name, or by words of a subject, and returns them as items of list_conversations(), most recent activity first, at most max_results: 1 to 50, anything else means 20. Raises MS400 if the query is blank';
