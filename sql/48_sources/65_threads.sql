-- sources: conversations of e-mails that reply to each other, and of groups.

-- For each mailbox the message ids that its e-mails have or refer to, and the
-- conversation that those who refer to them join. No text: only digests of ids.
CREATE TABLE msgstore.thread_ids (
    tenant_id text COLLATE "C" NOT NULL,
    mailbox text COLLATE "C" NOT NULL,
    digest bytea NOT NULL,
    message_id uuid NOT NULL,
    is_here boolean NOT NULL,
    sender text COLLATE "C" NOT NULL,
    people text[] COLLATE "C" NOT NULL,
    participants text[] COLLATE "C" NOT NULL,
    CONSTRAINT thread_ids_pkey PRIMARY KEY (tenant_id, mailbox, digest),
    CONSTRAINT thread_ids_digest_length CHECK (octet_length(digest) = 32)
);

CREATE INDEX thread_ids_message_idx ON msgstore.thread_ids (tenant_id, message_id);

SELECT pg_catalog.pg_extension_config_dump('msgstore.thread_ids', '');

-- The addresses in values such as "Ann <a@x.org>, b@x.org", normalized and sorted.
CREATE FUNCTION msgstore._addresses_in(channel text, given jsonb) RETURNS text[]
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
BEGIN
    RETURN (
        SELECT coalesce(array_agg(DISTINCT a.address COLLATE "C" ORDER BY a.address COLLATE "C"), '{}')
        FROM jsonb_array_elements_text(coalesce(given, '[]')) v
        CROSS JOIN LATERAL (
            SELECT msgstore.normalize_address(channel, m.address[1])
            FROM regexp_matches(left(v, 20000), CASE WHEN strpos(v, '@') > 0
                THEN '[^[:space:]<>,;:"()]+@[^[:space:]<>,;:"()]+' ELSE '^.*$' END, 'g')
                AS m (address)) AS a (address)
        WHERE a.address <> '');
END
$$;

-- Everybody whom a message names: all of its senders and recipients.
CREATE FUNCTION msgstore._people(channel text, payload jsonb) RETURNS text[]
    LANGUAGE sql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT msgstore._addresses_in(channel,
        jsonb_build_array(payload -> 'from', payload -> 'to')
        || coalesce(payload -> 'recipients', '[]') || coalesce(payload -> 'cc', '[]'))
    $$;

-- The conversation that an e-mail joins, as its participants: that of the nearest
-- message that it refers to, or of messages that refer to it, if the one who sends
-- was among the people of the other. So whoever knows a message id cannot write into
-- the conversation of others. Null for the conversation of sender and mailbox.
CREATE FUNCTION msgstore._find_thread(
    tenant text, channel text, mailbox text, sender text, people text[],
    own_id text, referred text[])
    RETURNS text[]
    LANGUAGE sql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT f.participants
    FROM (
        -- The message itself, delivered again.
        SELECT 0 AS near, t.participants
        FROM msgstore.thread_ids t
        WHERE t.tenant_id = tenant AND t.mailbox = $3 AND t.is_here
            AND t.digest = sha256(convert_to(own_id, 'UTF8'))
        UNION ALL
        SELECT cardinality(referred) - r.n + 1, t.participants
        FROM unnest(referred) WITH ORDINALITY AS r (id, n)
        JOIN msgstore.thread_ids t ON t.tenant_id = tenant AND t.mailbox = $3
            AND t.digest = sha256(convert_to(r.id, 'UTF8'))
        WHERE $4 = ANY (t.people) OR (NOT t.is_here AND t.sender = ANY ($5))
        UNION ALL
        -- One that was sent from here.
        SELECT cardinality(referred) - r.n + 1,
               string_to_array(substr(m.conversation_key, strpos(m.conversation_key, ':') + 1),
                               '<->')
        FROM unnest(referred) WITH ORDINALITY AS r (id, n)
        JOIN msgstore.deliveries d ON d.tenant_id = tenant AND d.channel = $2
            AND d.provider_message_id IN (r.id, '<' || r.id || '>')
        JOIN msgstore.messages m ON m.tenant_id = tenant AND m.id = d.message_id
        LEFT JOIN msgstore.outbound_payloads p
            ON p.tenant_id = tenant AND p.message_id = m.id
        WHERE m."from" = $3
            AND $4 = ANY (ARRAY[m."from", m."to"]
                          || msgstore._people($2, coalesce(p.payload, '{}')))
        UNION ALL
        SELECT 1000, t.participants
        FROM msgstore.thread_ids t
        WHERE t.tenant_id = tenant AND t.mailbox = $3 AND NOT t.is_here
            AND t.digest = sha256(convert_to(own_id, 'UTF8'))
            AND t.sender = ANY ($5)) f
    ORDER BY f.near LIMIT 1
    $$;

-- Sessions that receive messages of one thread at the same time take turns, so that
-- the second one sees the first. In the order of the locks, so that they do not
-- deadlock.
CREATE FUNCTION msgstore._lock_threads(source msgstore.sources, messages jsonb)
    RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    lock bigint;
BEGIN
    FOR lock IN
        SELECT DISTINCT hashtextextended('msgstore ' || (source).tenant_id || ' ' || i.id, 0)
        FROM jsonb_array_elements(messages) m
        CROSS JOIN LATERAL (
            SELECT m -> 'payload' ->> 'message_id'
            UNION ALL
            SELECT jsonb_array_elements_text(coalesce(m -> 'payload' -> 'references', '[]'))
            UNION ALL
            SELECT jsonb_array_elements_text(coalesce(m -> 'payload' -> 'in_reply_to', '[]'))
        ) AS i (id)
        WHERE i.id IS NOT NULL
        ORDER BY 1
    LOOP
        PERFORM pg_advisory_xact_lock(lock);
    END LOOP;
END
$$;

-- The message with "conversation_participants", if its conversation is not that of its
-- sender and recipient.
CREATE FUNCTION msgstore._join_thread(source msgstore.sources, message jsonb)
    RETURNS jsonb
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    channel CONSTANT text := message ->> 'channel';
    payload CONSTANT jsonb := message -> 'payload';
    sender CONSTANT text := msgstore.normalize_address(channel, payload ->> 'from');
    mailbox CONSTANT text := msgstore.normalize_address(channel, payload ->> 'to');
    people CONSTANT text[] := msgstore._people(channel, payload);
    found text[];
BEGIN
    IF payload ? 'message_id' THEN
        found := msgstore._find_thread(
            (source).tenant_id, channel, mailbox, sender, people,
            payload ->> 'message_id', ARRAY(
                SELECT jsonb_array_elements_text(coalesce(payload -> 'references', '[]'))
                UNION ALL
                SELECT jsonb_array_elements_text(coalesce(payload -> 'in_reply_to', '[]'))));
        IF found @> ARRAY[sender, mailbox] THEN
            found := NULL;
        END IF;
    ELSIF payload ? 'recipients' AND cardinality(people) > 2 THEN
        found := people;
    END IF;
    IF found IS NULL THEN
        RETURN message;
    END IF;
    RETURN jsonb_set(message, '{payload,conversation_participants}', to_jsonb(found));
END
$$;

-- Once it is stored.
CREATE FUNCTION msgstore._note_thread(
    source msgstore.sources, event_id uuid, message jsonb)
    RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
DECLARE
    place CONSTANT text := message ->> 'channel';
    payload CONSTANT jsonb := message -> 'payload';
    origin CONSTANT text := msgstore.normalize_address(place, payload ->> 'from');
    owner CONSTANT text := msgstore.normalize_address(place, payload ->> 'to');
BEGIN
    INSERT INTO msgstore.thread_ids AS t
        (tenant_id, mailbox, digest, message_id, is_here, sender, people, participants)
    SELECT (source).tenant_id, owner, sha256(convert_to(i.id, 'UTF8')),
           _note_thread.event_id, bool_or(i.is_here), origin,
           msgstore._people(place, payload),
           CASE WHEN payload ? 'conversation_participants' THEN ARRAY(
                    SELECT jsonb_array_elements_text(payload -> 'conversation_participants'))
                ELSE ARRAY[origin, owner] END
    FROM (
        SELECT payload ->> 'message_id' AS id, true AS is_here
        UNION ALL
        SELECT jsonb_array_elements_text(coalesce(payload -> 'references', '[]')), false
        UNION ALL
        SELECT jsonb_array_elements_text(coalesce(payload -> 'in_reply_to', '[]')), false) i
    GROUP BY i.id
    ORDER BY 3
    ON CONFLICT (tenant_id, mailbox, digest) DO UPDATE
    SET message_id = excluded.message_id, is_here = true, sender = excluded.sender,
        people = excluded.people
    WHERE excluded.is_here AND NOT t.is_here;
END
$$;

REVOKE ALL ON FUNCTION msgstore._addresses_in(text, jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._people(text, jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._find_thread(text, text, text, text, text[], text, text[]) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._lock_threads(msgstore.sources, jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._join_thread(msgstore.sources, jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._note_thread(msgstore.sources, uuid, jsonb) FROM PUBLIC;

COMMENT ON TABLE msgstore.thread_ids IS
    'Message ids of e-mails, by mailbox: those that are here, and those that others refer to. An e-mail joins the conversation of the one that it refers to';
COMMENT ON COLUMN msgstore.thread_ids.tenant_id IS
    'Tenant that owns the message';
COMMENT ON COLUMN msgstore.thread_ids.mailbox IS
    'Normalized address of the mailbox that received the message';
COMMENT ON COLUMN msgstore.thread_ids.digest IS
    'SHA-256 of the Message-ID';
COMMENT ON COLUMN msgstore.thread_ids.message_id IS
    'Id of the message that has this Message-ID, or that was the first to refer to it';
COMMENT ON COLUMN msgstore.thread_ids.is_here IS
    'Whether the message with this Message-ID was received; false if others only refer to it';
COMMENT ON COLUMN msgstore.thread_ids.sender IS
    'Normalized sender of that message';
COMMENT ON COLUMN msgstore.thread_ids.people IS
    'Normalized addresses of all whom that message names as sender or recipient';
COMMENT ON COLUMN msgstore.thread_ids.participants IS
    'Participants of its conversation';
COMMENT ON FUNCTION msgstore._addresses_in(text, jsonb) IS
    'Returns the addresses in an array of strings, normalized for the channel and sorted';
COMMENT ON FUNCTION msgstore._people(text, jsonb) IS
    'Returns the addresses that a payload names as sender, recipient or cc';
COMMENT ON FUNCTION msgstore._find_thread(text, text, text, text, text[], text, text[]) IS
    'Returns the participants of the conversation that an e-mail joins; null for that of its sender and mailbox';
COMMENT ON FUNCTION msgstore._lock_threads(msgstore.sources, jsonb) IS
    'Locks the message ids that messages have or refer to until the end of the transaction';
COMMENT ON FUNCTION msgstore._join_thread(msgstore.sources, jsonb) IS
    'Returns a message with conversation_participants if it joins another conversation than that of its sender and recipient';
COMMENT ON FUNCTION msgstore._note_thread(msgstore.sources, uuid, jsonb) IS
    'Records the message ids of a message that was stored';
