-- The row of an event with its unique key.
CREATE TABLE work.bare (
    tenant_id text COLLATE "C" NOT NULL DEFAULT '',
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    channel text COLLATE "C" NOT NULL,
    "from" text COLLATE "C" NOT NULL,
    "to" text COLLATE "C" NOT NULL,
    provider_message_id text COLLATE "C",
    correlation_id text,
    created_at timestamptz NOT NULL DEFAULT now(),
    payload jsonb NOT NULL,
    UNIQUE (tenant_id, channel, provider_message_id)
);

-- One session reads a plain table in order and advances a position with each batch.
-- There are no retries and no other consumers.
CREATE TABLE work.log (
    position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_id uuid NOT NULL DEFAULT msgstore.uuid7(),
    "from" text COLLATE "C" NOT NULL,
    "to" text COLLATE "C" NOT NULL,
    provider_message_id text COLLATE "C",
    payload jsonb NOT NULL
);
CREATE TABLE work.reader (position bigint NOT NULL);
INSERT INTO work.reader VALUES (0);

CREATE PROCEDURE work.drain_log(batch_size int) LANGUAGE plpgsql AS $$
DECLARE
    place bigint := 0;
BEGIN
    LOOP
        WITH batch AS MATERIALIZED (
            SELECT position, event_id, "from", "to", provider_message_id,
                least("from", "to") AS a, greatest("from", "to") AS b,
                'sms:' || least("from", "to") || '<->' || greatest("from", "to") AS key,
                (payload ->> 'timestamp')::timestamptz AS at, payload ->> 'body' AS body,
                nullif(payload -> 'attachments', 'null') AS attachments
            FROM work.log WHERE position > place ORDER BY position LIMIT batch_size
        ), touched AS (
            INSERT INTO work.conversations AS c (channel, participant_a, participant_b, key, message_count, last_activity_at)
            SELECT 'sms', a, b, key, count(*), max(at) FROM batch GROUP BY key, a, b ORDER BY key
            ON CONFLICT (tenant_id, key) DO UPDATE SET
                message_count = c.message_count + excluded.message_count,
                last_activity_at = greatest(c.last_activity_at, excluded.last_activity_at)
            RETURNING id, key
        ), made AS (
            INSERT INTO work.messages (id, conversation_id, inbound_event_id, "timestamp", direction, channel,
                conversation_key, "from", "to", provider_message_id, body, attachments)
            SELECT event_id, t.id, event_id, at, 'inbound', 'sms', key, "from", "to", provider_message_id, body, attachments
            FROM batch JOIN touched t USING (key)
        )
        UPDATE work.reader SET position = (SELECT max(position) FROM batch)
        WHERE EXISTS (SELECT FROM batch) RETURNING position INTO place;
        EXIT WHEN place IS NULL;
        COMMIT;
    END LOOP;
END $$;
