-- sources: long sms that a provider delivers in parts.

-- Parts wait here until the last one has arrived, and stay for a day, so that one that
-- is delivered again is known.
CREATE TABLE msgstore.message_parts (
    tenant_id text COLLATE "C" NOT NULL,
    source text COLLATE "C" NOT NULL,
    reference bytea NOT NULL,
    part int NOT NULL,
    total int NOT NULL,
    "from" text COLLATE "C" NOT NULL,
    "to" text COLLATE "C" NOT NULL,
    channel text COLLATE "C" NOT NULL,
    payload jsonb NOT NULL,
    joined boolean NOT NULL DEFAULT false,
    received_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT message_parts_pkey PRIMARY KEY (tenant_id, source, reference, part),
    CONSTRAINT message_parts_reference_length CHECK (octet_length(reference) = 32),
    CONSTRAINT message_parts_part CHECK (part BETWEEN 1 AND total)
);

CREATE INDEX message_parts_received_at_idx
    ON msgstore.message_parts (tenant_id, source, received_at);

SELECT pg_catalog.pg_extension_config_dump('msgstore.message_parts', '');

-- One message of the parts that are here, under the id of the first. What is missing
-- is told by "parts_missing".
CREATE FUNCTION msgstore._join_parts(
    source msgstore.sources, reference bytea)
    RETURNS jsonb
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_variable
DECLARE
    joined record;
BEGIN
    UPDATE msgstore.message_parts p SET joined = true
    WHERE p.tenant_id = (source).tenant_id AND p.source = (source).name
        AND p.reference = _join_parts.reference;
    SELECT string_agg(p.payload ->> 'body', '' ORDER BY p.part) AS body,
           (array_agg(p.payload ORDER BY p.part))[1] AS payload,
           min(p.channel) AS channel, max(p.total) - count(*) AS missing
    INTO joined
    FROM msgstore.message_parts p
    WHERE p.tenant_id = (source).tenant_id AND p.source = (source).name
        AND p.reference = _join_parts.reference;
    RETURN jsonb_build_object('kind', 'message', 'channel', joined.channel, 'files', '[]'::jsonb,
        'payload', joined.payload - 'part' || jsonb_build_object('body', joined.body)
            || CASE WHEN joined.missing > 0
                    THEN jsonb_build_object('parts_missing', joined.missing)
                    ELSE '{}' END);
END
$$;

-- Keeps a part. Returns the message if it was the last one, else null.
CREATE FUNCTION msgstore._take_part(source msgstore.sources, message jsonb)
    RETURNS jsonb
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_variable
DECLARE
    channel CONSTANT text := message ->> 'channel';
    payload CONSTANT jsonb := message -> 'payload';
    given CONSTANT jsonb := payload -> 'part';
    sender CONSTANT text := msgstore.normalize_address(channel, payload ->> 'from');
    recipient CONSTANT text := msgstore.normalize_address(channel, payload ->> 'to');
    key CONSTANT bytea := sha256(convert_to(jsonb_build_array(
        sender, recipient, given -> 'reference', given -> 'total')::text, 'UTF8'));
BEGIN
    -- Two parts that arrive at once: the second one sees the first.
    PERFORM pg_advisory_xact_lock(hashtextextended(
        'msgstore part ' || (source).tenant_id || encode(key, 'hex'), 0));
    INSERT INTO msgstore.message_parts
        (tenant_id, source, reference, part, total, "from", "to", channel, payload)
    VALUES ((source).tenant_id, (source).name, key, (given ->> 'number')::int,
            (given ->> 'total')::int, sender, recipient, channel, payload)
    ON CONFLICT DO NOTHING;
    IF (SELECT count(*) = (given ->> 'total')::int AND NOT bool_or(p.joined)
        FROM msgstore.message_parts p
        WHERE p.tenant_id = (source).tenant_id AND p.source = (source).name
            AND p.reference = key)
    THEN
        RETURN msgstore._join_parts(source, key);
    END IF;
    RETURN NULL;
END
$$;

-- The messages whose parts have waited for more than an hour. Removes what was joined
-- a day ago; providers deliver again for that long.
CREATE FUNCTION msgstore._give_up_parts(source msgstore.sources) RETURNS jsonb
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_variable
BEGIN
    DELETE FROM msgstore.message_parts p
    USING (SELECT o.reference, o.part FROM msgstore.message_parts o
           WHERE o.tenant_id = (source).tenant_id AND o.source = (source).name AND o.joined
               AND o.received_at < clock_timestamp() - interval '25 hours'
           ORDER BY o.received_at LIMIT 10 FOR UPDATE SKIP LOCKED) o
    WHERE p.tenant_id = (source).tenant_id AND p.source = (source).name
        AND p.reference = o.reference AND p.part = o.part;
    RETURN (
        SELECT coalesce(jsonb_agg(msgstore._join_parts(source, w.reference)), '[]')
        FROM (SELECT p.reference FROM msgstore.message_parts p
              WHERE p.tenant_id = (source).tenant_id AND p.source = (source).name
                  AND NOT p.joined
                  AND p.received_at < clock_timestamp() - interval '1 hour'
                  AND pg_try_advisory_xact_lock(hashtextextended(
                      'msgstore part ' || (source).tenant_id || encode(p.reference, 'hex'), 0))
              GROUP BY p.reference ORDER BY p.reference) w);
END
$$;

-- The messages to store: those that are whole, and those that parts have made whole.
CREATE FUNCTION msgstore._complete_messages(source msgstore.sources, messages jsonb)
    RETURNS jsonb
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    complete jsonb := '[]';
    message jsonb;
BEGIN
    IF NOT jsonb_path_exists(messages, '$[*].payload.part') THEN
        RETURN messages;
    END IF;
    complete := msgstore._give_up_parts(source);
    FOR message IN SELECT jsonb_array_elements(messages) LOOP
        -- One without addresses is refused like any other.
        IF message #> '{payload,part}' IS NOT NULL
            AND message #> '{payload,from}' IS NOT NULL
            AND message #> '{payload,to}' IS NOT NULL
        THEN
            message := msgstore._take_part(source, message);
        END IF;
        IF message IS NOT NULL THEN
            complete := complete || jsonb_build_array(message);
        END IF;
    END LOOP;
    RETURN complete;
END
$$;

REVOKE ALL ON FUNCTION msgstore._join_parts(msgstore.sources, bytea) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._take_part(msgstore.sources, jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._give_up_parts(msgstore.sources) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._complete_messages(msgstore.sources, jsonb) FROM PUBLIC;

COMMENT ON TABLE msgstore.message_parts IS
    'Parts of long messages, until all have arrived, and for a day after that';
COMMENT ON COLUMN msgstore.message_parts.tenant_id IS
    'Tenant that owns the source';
COMMENT ON COLUMN msgstore.message_parts.source IS
    'Name of the source';
COMMENT ON COLUMN msgstore.message_parts.reference IS
    'SHA-256 of sender, recipient, and the provider''s reference and number of parts';
COMMENT ON COLUMN msgstore.message_parts.part IS
    'Number of the part, from 1';
COMMENT ON COLUMN msgstore.message_parts.total IS
    'Number of parts of the message';
COMMENT ON COLUMN msgstore.message_parts."from" IS
    'Normalized sender';
COMMENT ON COLUMN msgstore.message_parts."to" IS
    'Normalized recipient';
COMMENT ON COLUMN msgstore.message_parts.channel IS
    'Name of the channel';
COMMENT ON COLUMN msgstore.message_parts.payload IS
    'Payload of the part';
COMMENT ON COLUMN msgstore.message_parts.joined IS
    'Whether the message was stored';
COMMENT ON COLUMN msgstore.message_parts.received_at IS
    'Time of arrival';
COMMENT ON FUNCTION msgstore._join_parts(msgstore.sources, bytea) IS
    'Returns the message that the parts with this reference make, and marks them as joined';
COMMENT ON FUNCTION msgstore._take_part(msgstore.sources, jsonb) IS
    'Keeps a part of a message. Returns the whole message if it was the last one, else null';
COMMENT ON FUNCTION msgstore._give_up_parts(msgstore.sources) IS
    'Returns the messages of the source of which parts have been missing for an hour';
COMMENT ON FUNCTION msgstore._complete_messages(msgstore.sources, jsonb) IS
    'Returns the messages to store: keeps parts, and returns what they complete';
