-- conversations: message count and last activity.
--
-- Adding a message changes no row of its conversation: it adds the change to
-- conversation_changes. Merging adds the changes to conversation_activity, many at
-- once, and deletes them. Both in one transaction: the sum is exact in every
-- snapshot, and adding, merging and reading do not wait for each other.

-- Changes without the rows that hold them; the sum of a conversation's changes.
CREATE FUNCTION msgstore._read_changes(changes bytea)
    RETURNS TABLE (
        conversation_id uuid,
        message_count int,
        inbound_count int,
        last_activity_at timestamptz)
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE ROWS 100
    AS 'MODULE_PATHNAME', 'msgstore_read_changes';

-- One of the changes that _read_changes() reads, as C writes them.
CREATE FUNCTION msgstore._write_change(
    conversation_id uuid,
    message_count bigint,
    inbound_count bigint,
    last_activity_at timestamptz)
    RETURNS bytea
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN uuid_send(conversation_id) || int2send(message_count::int2)
        || int2send(inbound_count::int2) || timestamptz_send(last_activity_at);

CREATE FUNCTION msgstore._pending_count(tenant_id text, conversation_id uuid)
    RETURNS int
    LANGUAGE c STABLE STRICT PARALLEL SAFE COST 10
    AS 'MODULE_PATHNAME', 'msgstore_pending_count';

CREATE FUNCTION msgstore._pending_inbound(tenant_id text, conversation_id uuid)
    RETURNS int
    LANGUAGE c STABLE STRICT PARALLEL SAFE COST 10
    AS 'MODULE_PATHNAME', 'msgstore_pending_inbound';

CREATE FUNCTION msgstore._pending_activity(tenant_id text, conversation_id uuid)
    RETURNS timestamptz
    LANGUAGE c STABLE STRICT PARALLEL SAFE COST 10
    AS 'MODULE_PATHNAME', 'msgstore_pending_activity';

CREATE FUNCTION msgstore._newest_pending(
    scope text,
    before timestamptz,
    before_id uuid,
    most bigint)
    RETURNS TABLE (
        tenant_id text,
        conversation_id uuid,
        message_count int,
        inbound_count int,
        last_activity_at timestamptz)
    LANGUAGE c STABLE STRICT PARALLEL SAFE ROWS 50
    AS 'MODULE_PATHNAME', 'msgstore_newest_pending';

CREATE VIEW msgstore.conversations WITH (security_invoker) AS
SELECT c.tenant_id,
       c.id,
       c.number,
       c.channel,
       c.participant_a,
       c.participant_b,
       c.key,
       coalesce(a.message_count, 0)
           + msgstore._pending_count(c.tenant_id, c.id) AS message_count,
       greatest(a.last_activity_at,
                msgstore._pending_activity(c.tenant_id, c.id))
           AS last_activity_at,
       c.created_at,
       coalesce(a.inbound_count, 0)
           + msgstore._pending_inbound(c.tenant_id, c.id) AS inbound_count,
       CASE WHEN s.is_closed
                 AND s.closed_inbound_count
                     >= coalesce(a.inbound_count, 0)
                         + msgstore._pending_inbound(c.tenant_id, c.id)
            THEN 'closed' ELSE 'open' END AS state,
       s.assignee,
       s.contact_name,
       coalesce(s.labels, '{}') AS labels
FROM msgstore.conversation_rows c
LEFT JOIN msgstore.conversation_activity a
    ON a.tenant_id = c.tenant_id AND a.conversation_id = c.id
LEFT JOIN msgstore.conversation_states s
    ON s.tenant_id = c.tenant_id AND s.conversation_id = c.id;

-- A conversation is found by its pending changes if these are not older than what
-- was merged, and by conversation_activity otherwise. Of the latter only those
-- matter that come before the last one wanted of the former.
CREATE FUNCTION msgstore._newest_conversations(
    before timestamptz,
    before_id uuid,
    skip bigint,
    most int)
    RETURNS TABLE (
        tenant_id text,
        conversation_id uuid,
        message_count int,
        inbound_count int,
        last_activity_at timestamptz)
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    scope CONSTANT text := msgstore._tenant_scope();
    place CONSTANT timestamptz := coalesce(before, 'infinity');
    place_id CONSTANT uuid :=
        coalesce(before_id, 'ffffffff-ffff-ffff-ffff-ffffffffffff');
    wanted CONSTANT int := skip + most;
    looked_at bigint := wanted;
    pending record;
BEGIN
    LOOP
        SELECT count(*) AS found,
               array_agg(p.tenant_id) FILTER (WHERE p.leads) AS tenants,
               array_agg(p.conversation_id) FILTER (WHERE p.leads) AS ids,
               array_agg(p.message_count) FILTER (WHERE p.leads) AS counts,
               array_agg(p.inbound_count) FILTER (WHERE p.leads) AS inbound,
               array_agg(p.last_activity_at) FILTER (WHERE p.leads) AS times
        INTO pending
        FROM (
            SELECT n.tenant_id, n.conversation_id, n.last_activity_at,
                   coalesce(a.message_count, 0) + n.message_count AS message_count,
                   coalesce(a.inbound_count, 0) + n.inbound_count AS inbound_count,
                   n.last_activity_at
                       >= coalesce(a.last_activity_at, '-infinity') AS leads
            FROM msgstore._newest_pending(scope, place, place_id, looked_at) n
            LEFT JOIN msgstore.conversation_activity a
                ON a.tenant_id = n.tenant_id
                AND a.conversation_id = n.conversation_id
            ORDER BY n.last_activity_at DESC, n.conversation_id DESC) p;
        EXIT WHEN pending.found < looked_at OR cardinality(pending.ids) >= wanted;
        looked_at := 4 * looked_at;
    END LOOP;
    RETURN QUERY
    SELECT p.*
    FROM unnest(pending.tenants, pending.ids, pending.counts, pending.inbound,
                pending.times) AS p
    UNION ALL
    SELECT t, merged.conversation_id, merged.message_count, merged.inbound_count,
           merged.last_activity_at
    FROM msgstore._tenants_in_scope() t
    CROSS JOIN LATERAL (
        SELECT a.conversation_id, a.last_activity_at,
               a.message_count
                   + msgstore._pending_count(a.tenant_id, a.conversation_id)
                   AS message_count,
               a.inbound_count
                   + msgstore._pending_inbound(a.tenant_id, a.conversation_id)
                   AS inbound_count
        FROM msgstore.conversation_activity a
        WHERE a.tenant_id = t
            AND (a.last_activity_at, a.conversation_id) < (place, place_id)
            AND (a.last_activity_at, a.conversation_id)
                > (coalesce(pending.times[wanted], '-infinity'),
                   coalesce(pending.ids[wanted],
                            '00000000-0000-0000-0000-000000000000'))
            AND coalesce(a.last_activity_at
                         > msgstore._pending_activity(a.tenant_id, a.conversation_id),
                         true)
        ORDER BY a.last_activity_at DESC, a.conversation_id DESC
        LIMIT wanted) merged
    ORDER BY 5 DESC, 2 DESC
    LIMIT most OFFSET skip;
END
$$;

-- One session at a time merges or removes changes, until its transaction ends.
CREATE FUNCTION msgstore._hold_changes(wait boolean) RETURNS boolean
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'msgstore_hold_changes';

-- Of conversations with so many inbound messages. The tables are empty where nobody
-- closes and reads conversations.
CREATE FUNCTION msgstore._clear_flags(
    tenants text[],
    conversation_ids uuid[],
    inbound_counts int[])
    RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = 'force_custom_plan'
    AS $$
BEGIN
    IF EXISTS (SELECT FROM msgstore.conversation_states) THEN
        UPDATE msgstore.conversation_states s
        SET is_closed = false, updated_at = now()
        FROM unnest(tenants, conversation_ids, inbound_counts)
            AS m (tenant_id, conversation_id, inbound_count)
        WHERE s.tenant_id = m.tenant_id
            AND s.conversation_id = m.conversation_id
            AND s.is_closed AND s.closed_inbound_count < m.inbound_count;
    END IF;
    IF EXISTS (SELECT FROM msgstore.read_marks) THEN
        UPDATE msgstore.read_marks r
        SET is_current = false
        FROM unnest(tenants, conversation_ids, inbound_counts)
            AS m (tenant_id, conversation_id, inbound_count)
        WHERE r.tenant_id = m.tenant_id
            AND r.conversation_id = m.conversation_id
            AND r.is_current AND r.inbound_count < m.inbound_count;
    END IF;
END
$$;

CREATE FUNCTION msgstore._merge_changes(most int) RETURNS int
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    taken record;
    merged record;
BEGIN
    IF NOT msgstore._hold_changes(false) THEN
        RETURN -1;
    END IF;
    WITH gone AS (
        DELETE FROM msgstore.conversation_changes c
        USING (
            SELECT n.tenant_id, n.id,
                   sum(octet_length(n.changes)) OVER (
                       ORDER BY n.tenant_id, n.id)
                       - octet_length(n.changes) AS bytes_before
            FROM (
                SELECT * FROM msgstore.conversation_changes n
                WHERE NOT msgstore._is_elsewhere(n.tenant_id)
                ORDER BY n.tenant_id, n.id
                LIMIT most) n) n
        WHERE c.tenant_id = n.tenant_id AND c.id = n.id
            AND n.bytes_before < 28 * most
        RETURNING c.tenant_id, c.id, c.changes
    ), handed_on AS (
        INSERT INTO msgstore.search_changes (tenant_id, id, changes)
        SELECT g.* FROM gone g
        WHERE current_setting('msgstore.search')::boolean)
    SELECT coalesce(sum(octet_length(g.changes)) / 28, 0)::int AS n,
           array_agg(g.tenant_id) AS tenants,
           array_agg(g.changes) AS changes
    INTO taken
    FROM gone g;
    WITH merged AS (
        INSERT INTO msgstore.conversation_activity AS a
        SELECT t.tenant_id, c.conversation_id, sum(c.message_count),
               sum(c.inbound_count), max(c.last_activity_at)
        FROM unnest(taken.tenants, taken.changes) AS t (tenant_id, changes)
        CROSS JOIN msgstore._read_changes(t.changes) AS c
        GROUP BY t.tenant_id, c.conversation_id
        ORDER BY t.tenant_id, c.conversation_id
        ON CONFLICT ON CONSTRAINT conversation_activity_pkey DO UPDATE
        SET message_count = a.message_count + excluded.message_count,
            inbound_count = a.inbound_count + excluded.inbound_count,
            last_activity_at =
                greatest(a.last_activity_at, excluded.last_activity_at)
        RETURNING a.tenant_id, a.conversation_id, a.inbound_count)
    SELECT array_agg(m.tenant_id) AS tenants, array_agg(m.conversation_id) AS ids,
           array_agg(m.inbound_count) AS inbound
    INTO merged
    FROM merged m;
    PERFORM msgstore._clear_flags(merged.tenants, merged.ids, merged.inbound);
    RETURN taken.n;
END
$$;

-- Those who remove a conversation, or count its messages, lock its row first.
CREATE FUNCTION msgstore._wait_for_adders(tenants text[], keys text[]) RETURNS void
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'msgstore_wait_for_adders';

-- Whatever the snapshot of the transaction shows.
CREATE FUNCTION msgstore._is_empty_now(tenant_id text, conversation_id uuid)
    RETURNS boolean
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'msgstore_is_empty_now';

REVOKE ALL ON FUNCTION msgstore._read_changes(bytea) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._write_change(uuid, bigint, bigint, timestamptz) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._newest_pending(text, timestamptz, uuid, bigint) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._newest_conversations(timestamptz, uuid, bigint, int) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._wait_for_adders(text[], text[]) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._is_empty_now(text, uuid) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._hold_changes(boolean) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._clear_flags(text[], uuid[], int[]) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._merge_changes(int) FROM PUBLIC;
-- PUBLIC keeps EXECUTE on _pending_count(), _pending_inbound() and
-- _pending_activity(): the view calls them with the rights of the reader, and they read conversation_changes with
-- these rights.

COMMENT ON VIEW msgstore.conversations IS
    'One row per tenant, channel (thread) and pair of addresses; message_count, inbound_count and last_activity_at are exact in every snapshot';
COMMENT ON COLUMN msgstore.conversations.tenant_id IS
    'Tenant that owns the conversation; empty if tenants are not used';
COMMENT ON COLUMN msgstore.conversations.id IS
    'Id of the conversation (UUID version 7)';
COMMENT ON COLUMN msgstore.conversations.number IS
    'Short number, accepted wherever an id is. Numbering starts at 1 and may have gaps';
COMMENT ON COLUMN msgstore.conversations.channel IS
    'Name of the thread: the channel itself, or the one whose conversations it shares (channels.thread)';
COMMENT ON COLUMN msgstore.conversations.participant_a IS
    'Normalized address of the participant that sorts first in byte order';
COMMENT ON COLUMN msgstore.conversations.participant_b IS
    'Normalized address of the other participant';
COMMENT ON COLUMN msgstore.conversations.key IS
    'channel:participant_a<->participant_b, as conversation_key() returns it';
COMMENT ON COLUMN msgstore.conversations.message_count IS
    'Number of messages in the conversation';
COMMENT ON COLUMN msgstore.conversations.last_activity_at IS
    'Greatest timestamp of its messages';
COMMENT ON COLUMN msgstore.conversations.created_at IS
    'Start of the transaction that created the conversation';
COMMENT ON COLUMN msgstore.conversations.inbound_count IS
    'Number of inbound messages in the conversation';
COMMENT ON COLUMN msgstore.conversations.state IS
    'open or closed; an inbound message opens a closed conversation again';
COMMENT ON COLUMN msgstore.conversations.assignee IS
    'Who looks after the conversation; null for nobody';
COMMENT ON COLUMN msgstore.conversations.contact_name IS
    'Name of the person on the other side; null if unknown';
COMMENT ON COLUMN msgstore.conversations.labels IS
    'Labels in byte order';
COMMENT ON FUNCTION msgstore._write_change(uuid, bigint, bigint, timestamptz) IS
    'Returns a change of a conversation as conversation_changes and search_changes store it';
COMMENT ON FUNCTION msgstore._read_changes(bytea) IS
    'Returns the changes in a row of conversation_changes: messages added to a conversation and the greatest of their timestamps';
COMMENT ON FUNCTION msgstore._pending_count(text, uuid) IS
    'Returns the number of messages of this conversation in conversation_changes';
COMMENT ON FUNCTION msgstore._pending_inbound(text, uuid) IS
    'Returns the number of inbound messages of this conversation in conversation_changes';
COMMENT ON FUNCTION msgstore._pending_activity(text, uuid) IS
    'Returns the greatest timestamp of the messages of this conversation in conversation_changes, null if there are none';
COMMENT ON FUNCTION msgstore._newest_pending(text, timestamptz, uuid, bigint) IS
    'Returns the sums of conversation_changes for the conversations that follow the position in the list by last pending activity, at most so many. scope: a tenant, or empty for all';
COMMENT ON FUNCTION msgstore._newest_conversations(timestamptz, uuid, bigint, int) IS
    'Returns the conversations that follow a position in the list of those in scope, or its first ones, without the first skip, at most so many, most recent activity first';
COMMENT ON FUNCTION msgstore._hold_changes(boolean) IS
    'Locks conversation_changes against merging and removing until the end of the transaction. Returns false if it is locked and wait is false';
COMMENT ON FUNCTION msgstore._clear_flags(text[], uuid[], int[]) IS
    'Clears is_closed and is_current of these conversations where they have more inbound messages than that';
COMMENT ON FUNCTION msgstore._merge_changes(int) IS
    'Adds about so many changes of conversation_changes to conversation_activity and deletes them. Returns their number, -1 if another session merges';
COMMENT ON FUNCTION msgstore._wait_for_adders(text[], text[]) IS
    'Waits for the transactions that may have found one of these conversations, given by tenant and key, before its row was locked';
COMMENT ON FUNCTION msgstore._is_empty_now(text, uuid) IS
    'Returns whether no committed message is in the conversation, nor one of this transaction';
