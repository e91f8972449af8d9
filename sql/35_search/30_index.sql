-- search: fills the index.

CREATE FUNCTION msgstore._hold_search(wait boolean) RETURNS boolean
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'msgstore_hold_search';

-- Takes the latest row of search_changes: new messages are found soon, whatever else
-- there is to do. Its first changes, up to so many messages, are indexed; the others
-- stay for the next call.
CREATE FUNCTION msgstore._take_search_changes(
    most int,
    OUT tenant_id text,
    OUT conversation_ids uuid[],
    OUT counts int[])
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
DECLARE
    taken msgstore.search_changes;
    rest bytea;
BEGIN
    SELECT c.* INTO taken FROM msgstore.search_changes c
    WHERE NOT msgstore._is_elsewhere(c.tenant_id)
    ORDER BY c.id DESC LIMIT 1;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    tenant_id := taken.tenant_id;
    SELECT array_agg(r.conversation_id) FILTER (WHERE r.count_before < most),
           array_agg(least(r.message_count, most - r.count_before)::int)
               FILTER (WHERE r.count_before < most),
           string_agg(
               msgstore._write_change(
                   r.conversation_id,
                   least(r.message_count, r.message_count + r.count_before - most), 0,
                   r.last_activity_at), '')
               FILTER (WHERE r.message_count + r.count_before > most)
    INTO conversation_ids, counts, rest
    FROM (
        SELECT r.*, sum(r.message_count) OVER (ORDER BY r.n) - r.message_count
                   AS count_before
        FROM msgstore._read_changes(taken.changes) WITH ORDINALITY
            AS r (conversation_id, message_count, inbound_count,
                  last_activity_at, n)) r;
    IF rest IS NULL THEN
        DELETE FROM msgstore.search_changes c
        WHERE c.tenant_id = taken.tenant_id AND c.id = taken.id;
    ELSE
        UPDATE msgstore.search_changes c SET changes = rest
        WHERE c.tenant_id = taken.tenant_id AND c.id = taken.id;
    END IF;
END
$$;

-- Returns the number of messages indexed; -1 if another session indexes, and -2 if
-- nothing is left.
CREATE FUNCTION msgstore._index_batch(most int) RETURNS int
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    -- A word of more than two kilobytes is noticed, and left out.
    SET client_min_messages = warning
    -- A batch reads by index whatever the statistics say. What it must not find is a
    -- subquery for each row: for NOT EXISTS, the planner read all entries of the tenant
    -- in each batch as long as it took them to be few.
    SET enable_seqscan = off
    SET enable_bitmapscan = off
    SET enable_hashjoin = off
    SET enable_mergejoin = off
    SET jit = off
    AS $$
DECLARE
    taken record;
    indexed int;
BEGIN
    IF NOT msgstore._hold_search(false) THEN
        RETURN -1;
    END IF;
    taken := msgstore._take_search_changes(most);
    IF taken.tenant_id IS NULL THEN
        RETURN -2;
    END IF;
    INSERT INTO msgstore.search_entries (tenant_id, message_id, "timestamp", terms)
    SELECT m.tenant_id, m.id, m."timestamp",
           msgstore._terms_of(
               msgstore._search_configuration(m.tenant_id, m.channel),
               m.tenant_id, m.conversation_id, m.channel, m.direction,
               CASE WHEN m.subject IS NULL THEN ''
                    ELSE msgstore._fold_case(left(m.subject, 1024)) END,
               msgstore._fold_case(left(m.body, 16384)))
    FROM (SELECT u.conversation_id, sum(u.n)::int AS n
          FROM unnest(taken.conversation_ids, taken.counts) AS u (conversation_id, n)
          GROUP BY u.conversation_id) c
    CROSS JOIN LATERAL (
        SELECT m.* FROM msgstore.messages m
        WHERE m.tenant_id = taken.tenant_id
            AND m.conversation_id = c.conversation_id
            AND (SELECT e.message_id FROM msgstore.search_entries e
                 WHERE e.tenant_id = m.tenant_id AND e.message_id = m.id) IS NULL
        ORDER BY m."timestamp" DESC, m.id DESC
        LIMIT c.n) m
    ORDER BY m.tenant_id, m.id;
    GET DIAGNOSTICS indexed = ROW_COUNT;
    INSERT INTO msgstore.search_addresses (tenant_id, conversation_id, terms)
    SELECT c.tenant_id, c.id, msgstore._address_terms(c.participant_a, c.participant_b)
    FROM (SELECT DISTINCT unnest(taken.conversation_ids) AS id) t
    CROSS JOIN LATERAL (
        SELECT * FROM msgstore.conversation_rows c
        WHERE c.tenant_id = taken.tenant_id AND c.id = t.id
        LIMIT 1) c
    WHERE (SELECT a.conversation_id FROM msgstore.search_addresses a
           WHERE a.tenant_id = c.tenant_id AND a.conversation_id = c.id) IS NULL;
    RETURN indexed;
END
$$;

CREATE FUNCTION msgstore.index_messages(max_messages int DEFAULT 10000) RETURNS int
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    total int := 0;
    indexed int;
BEGIN
    PERFORM msgstore._check_no_tenant('messages to be indexed');
    IF coalesce(max_messages, 0) < 1 THEN
        RAISE EXCEPTION 'max_messages % is not positive',
            coalesce(max_messages::text, 'null')
            USING ERRCODE = 'MS400';
    END IF;
    -- After the worker's turns, so that nothing is left to them.
    PERFORM msgstore._hold_changes(true), msgstore._hold_search(true);
    WHILE msgstore._merge_changes(100000) > 0 LOOP
    END LOOP;
    WHILE total < max_messages LOOP
        indexed := msgstore._index_batch(least(max_messages - total, 1000));
        EXIT WHEN indexed < 0;
        total := total + indexed;
    END LOOP;
    RETURN total;
END
$$;

-- Of messages that were changed: their entries are made again.
CREATE FUNCTION msgstore._reindex(tenants text[], message_ids uuid[]) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = 'force_custom_plan'
    AS $$
BEGIN
    PERFORM msgstore._hold_search(true);
    DELETE FROM msgstore.search_entries e
    USING unnest(tenants, message_ids) AS d (tenant_id, id)
    WHERE e.tenant_id = d.tenant_id AND e.message_id = d.id;
    IF NOT current_setting('msgstore.search')::boolean THEN
        RETURN;
    END IF;
    PERFORM msgstore._ask_for_entries(c.tenants, c.ids, c.counts)
    FROM (
        SELECT array_agg(c.tenant_id) AS tenants, array_agg(c.conversation_id) AS ids,
               array_agg(c.n) AS counts
        FROM (
        SELECT m.tenant_id, m.conversation_id, count(*) AS n
        FROM unnest(tenants, message_ids) AS d (tenant_id, id)
        JOIN msgstore.messages m ON m.tenant_id = d.tenant_id AND m.id = d.id
        GROUP BY m.tenant_id, m.conversation_id) c) c
    WHERE c.ids IS NOT NULL;
END
$$;

-- A row of search_changes has at most 250 changes of at most 32,767 messages. Its id
-- tells that the messages were added at any time before.
CREATE FUNCTION msgstore._ask_for_entries(
    tenants text[],
    conversation_ids uuid[],
    counts bigint[])
    RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = 'force_custom_plan'
    AS $$
BEGIN
    INSERT INTO msgstore.search_changes (tenant_id, id, changes)
    SELECT c.tenant_id,
           overlay(msgstore.uuid7()::text PLACING '00000000-0000' FROM 1)::uuid,
           string_agg(msgstore._write_change(c.conversation_id, c.n, 0, 'epoch'), '')
    FROM (
        SELECT u.tenant_id, u.conversation_id,
               least(u.n - part, 32767) AS n,
               row_number() OVER (PARTITION BY u.tenant_id) / 250 AS row_of
        FROM unnest(tenants, conversation_ids, counts)
            AS u (tenant_id, conversation_id, n)
        CROSS JOIN generate_series(0, u.n - 1, 32767) AS part) c
    GROUP BY c.tenant_id, c.row_of;
    PERFORM msgstore._announce_search();
END
$$;

-- Makes the worker look at search_changes.
CREATE FUNCTION msgstore._announce_search() RETURNS void
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'msgstore_announce_search';

CREATE FUNCTION msgstore._rebuild_search(scope text) RETURNS bigint
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = 'force_custom_plan'
    AS $$
DECLARE
    asked bigint;
BEGIN
    PERFORM msgstore._hold_search(true);
    DELETE FROM msgstore.search_entries e WHERE scope IN ('', e.tenant_id);
    DELETE FROM msgstore.search_changes c WHERE scope IN ('', c.tenant_id);
    DELETE FROM msgstore.search_addresses a WHERE scope IN ('', a.tenant_id);
    -- What is not merged yet is handed on by the merge.
    SELECT coalesce(sum(a.message_count), 0) INTO asked
    FROM msgstore.conversation_activity a
    WHERE scope IN ('', a.tenant_id);
    IF asked > 0 THEN
        PERFORM msgstore._ask_for_entries(a.tenants, a.ids, a.counts)
        FROM (
            SELECT array_agg(a.tenant_id) AS tenants,
                   array_agg(a.conversation_id) AS ids,
                   array_agg(a.message_count::bigint) AS counts
            FROM msgstore.conversation_activity a
            WHERE scope IN ('', a.tenant_id)) a;
    END IF;
    RETURN asked;
END
$$;

CREATE FUNCTION msgstore.rebuild_search() RETURNS bigint
    LANGUAGE sql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT msgstore._check_all_here();
    SELECT msgstore._rebuild_search(msgstore._tenant_scope())
$$;

CREATE FUNCTION msgstore.set_search_configuration(
    configuration text,
    channel text DEFAULT NULL,
    tenant text DEFAULT NULL)
    RETURNS bigint
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
DECLARE
    owner CONSTANT text := coalesce(tenant, msgstore._tenant_scope());
BEGIN
    PERFORM msgstore._check_scope_here();
    PERFORM msgstore._check_tenant(owner);
    PERFORM msgstore._check_tenant_here(owner);
    IF NOT EXISTS (
        SELECT FROM pg_ts_config c
        WHERE c.cfgnamespace = 'pg_catalog'::regnamespace
            AND c.cfgname = configuration) THEN
        RAISE EXCEPTION 'text search configuration "%" does not exist',
            left(coalesce(configuration, 'null'), 64)
            USING ERRCODE = 'MS404',
                  DETAIL = 'The configuration must be one of the schema pg_catalog, as \dF lists them.';
    END IF;
    IF channel IS NOT NULL AND NOT EXISTS (
        SELECT FROM msgstore.channels c WHERE c.name = set_search_configuration.channel) THEN
        RAISE EXCEPTION 'channel "%" does not exist', left(channel, 64)
            USING ERRCODE = 'MS404';
    END IF;
    INSERT INTO msgstore.search_configurations (tenant_id, channel, configuration)
    VALUES (owner, coalesce(channel, ''), set_search_configuration.configuration)
    ON CONFLICT ON CONSTRAINT search_configurations_pkey DO UPDATE
    SET configuration = excluded.configuration;
    RETURN msgstore._rebuild_search(owner);
END
$$;

-- The change in scope that has waited longest; null if none is waiting. Ids that tell
-- no time, see _ask_for_entries(), come first.
CREATE FUNCTION msgstore._oldest_change(from_id uuid) RETURNS uuid
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = 'force_custom_plan'
    SET enable_seqscan = off
    SET enable_bitmapscan = off
    AS $$
DECLARE
    own CONSTANT text := msgstore._tenant_scope();
BEGIN
    IF own = '' THEN
        RETURN least(
            (SELECT c.id FROM msgstore.search_changes c
             WHERE c.id >= from_id ORDER BY c.id LIMIT 1),
            -- The first one of each tenant.
            (WITH RECURSIVE firsts AS (
                (SELECT c.tenant_id, c.id FROM msgstore.conversation_changes c
                 ORDER BY c.tenant_id, c.id LIMIT 1)
                UNION ALL
                SELECT n.tenant_id, n.id
                FROM firsts f
                CROSS JOIN LATERAL (
                    SELECT c.tenant_id, c.id FROM msgstore.conversation_changes c
                    WHERE c.tenant_id > f.tenant_id
                    ORDER BY c.tenant_id, c.id LIMIT 1) n)
             SELECT f.id FROM firsts f ORDER BY f.id LIMIT 1));
    END IF;
    RETURN least(
        (SELECT c.id FROM msgstore.search_changes c
         WHERE c.tenant_id = own AND c.id >= from_id
         ORDER BY c.tenant_id, c.id LIMIT 1),
        (SELECT c.id FROM msgstore.conversation_changes c
         WHERE c.tenant_id = own ORDER BY c.tenant_id, c.id LIMIT 1));
END
$$;

CREATE FUNCTION msgstore._indexed_until() RETURNS timestamptz
    LANGUAGE sql STABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT coalesce(msgstore._time_of_uuid7(msgstore._oldest_change(
        '00000000-0000-0000-0000-000000000000')), now())
$$;

-- What is indexed again, as after rebuild_search(), does not count.
CREATE FUNCTION msgstore._search_lag_us() RETURNS bigint
    LANGUAGE sql VOLATILE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT coalesce(greatest(extract(epoch FROM clock_timestamp()
            - msgstore._time_of_uuid7(c.id)) * 1000000, 0), 0)::bigint
    FROM msgstore._oldest_change('00000001-0000-0000-0000-000000000000') AS c (id)
$$;

CREATE FUNCTION msgstore._search_is_late() RETURNS boolean
    LANGUAGE sql VOLATILE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT msgstore._search_lag_us() > 600 * 1000000::bigint
$$;

CREATE FUNCTION msgstore.search_status(
    OUT waiting bigint,
    OUT indexed_until timestamptz)
    LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = 'force_custom_plan'
    AS $$
DECLARE
    own CONSTANT text := msgstore._tenant_scope();
BEGIN
    SELECT coalesce(sum(r.message_count), 0) INTO waiting
    FROM (
        SELECT c.changes FROM msgstore.conversation_changes c
        WHERE own IN ('', c.tenant_id)
        UNION ALL
        SELECT c.changes FROM msgstore.search_changes c
        WHERE own IN ('', c.tenant_id)) c
    CROSS JOIN msgstore._read_changes(c.changes) r;
    indexed_until := msgstore._indexed_until();
END
$$;

REVOKE ALL ON FUNCTION msgstore._hold_search(boolean) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._take_search_changes(int) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._index_batch(int) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.index_messages(int) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._reindex(text[], uuid[]) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._ask_for_entries(text[], uuid[], bigint[]) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._announce_search() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._rebuild_search(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.rebuild_search() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.set_search_configuration(text, text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._oldest_change(uuid) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._indexed_until() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._search_lag_us() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._search_is_late() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.search_status() FROM PUBLIC;

COMMENT ON FUNCTION msgstore._hold_search(boolean) IS
    'Locks the index of messages until the end of the transaction. Returns false if it is locked and wait is false';
COMMENT ON FUNCTION msgstore._take_search_changes(int) IS
    'Takes changes of about so many messages out of search_changes. Returns nulls if there are none';
COMMENT ON FUNCTION msgstore._index_batch(int) IS
    'Indexes at most so many messages. Returns their number; -1 if another session indexes, -2 if none is waiting';
COMMENT ON FUNCTION msgstore.index_messages(int) IS
    'Indexes at most so many messages for search_messages(), as the worker does, and returns their number. Raises MS400 for an invalid number, MS403 in a session of a tenant';
COMMENT ON FUNCTION msgstore._reindex(text[], uuid[]) IS
    'Removes the entries of these messages, and asks for new ones of those that exist';
COMMENT ON FUNCTION msgstore._ask_for_entries(text[], uuid[], bigint[]) IS
    'Notes that these conversations have so many messages that are not indexed';
COMMENT ON FUNCTION msgstore._announce_search() IS
    'Wakes the worker to index messages when the transaction commits';
COMMENT ON FUNCTION msgstore._rebuild_search(text) IS
    'Empties the index of a tenant, or of all if it is empty, and returns the number of messages to be indexed';
COMMENT ON FUNCTION msgstore.rebuild_search() IS
    'Empties the index of messages in scope and has it built again in the background. Returns the number of messages to be indexed';
COMMENT ON FUNCTION msgstore.set_search_configuration(text, text, text) IS
    'Sets the text search configuration for a channel, or for all other channels if it is null, of a tenant, or of the session''s if it is null, and rebuilds the tenant''s index. Returns the number of messages to be indexed. Raises MS403 for another tenant than the session''s, MS404 for an unknown configuration or channel';
COMMENT ON FUNCTION msgstore._oldest_change(uuid) IS
    'Returns the id, not lower than this, of the change in scope that has waited longest to be indexed; null if there is none';
COMMENT ON FUNCTION msgstore._indexed_until() IS
    'Returns the time before which all messages in scope are indexed';
COMMENT ON FUNCTION msgstore._search_lag_us() IS
    'Returns the age in microseconds of the oldest new message in scope that is not indexed, 0 if there is none';
COMMENT ON FUNCTION msgstore._search_is_late() IS
    'Returns whether a new message in scope has waited for longer than ten minutes to be indexed';
COMMENT ON FUNCTION msgstore.search_status() IS
    'Returns the number of messages in scope that are not indexed yet, and the time before which all messages have been: that of the call if none is waiting';
