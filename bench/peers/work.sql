-- work: the handler of an event for users of other queues, with the tables that they
-- would write: the message count and the last activity are columns of the conversation,
-- and an index lists conversations by activity. Columns, checks and other indexes are
-- those of msgstore.
CREATE SCHEMA work;
CREATE SEQUENCE work.conversations_number_seq;
CREATE TABLE work.conversations (
    tenant_id text COLLATE "C" NOT NULL DEFAULT '',
    id uuid NOT NULL DEFAULT msgstore.uuid7(),
    number bigint NOT NULL DEFAULT nextval('work.conversations_number_seq'),
    channel text COLLATE "C" NOT NULL,
    participant_a text COLLATE "C" NOT NULL,
    participant_b text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    message_count int NOT NULL DEFAULT 0,
    last_activity_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, number),
    UNIQUE (tenant_id, key),
    CHECK (key = channel || ':' || participant_a || '<->' || participant_b),
    CHECK (strpos(participant_a, '<->') = 0 AND strpos(participant_b, '<->') = 0),
    CHECK (participant_a <= participant_b),
    CHECK (message_count >= 0)
) WITH (fillfactor = 80);
CREATE INDEX ON work.conversations (tenant_id, last_activity_at DESC, id DESC);
CREATE TABLE work.messages (LIKE msgstore.messages INCLUDING ALL);

-- Applies a batch in one statement: the conversations, then the messages.
CREATE FUNCTION work.apply(payloads jsonb[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    WITH batch AS MATERIALIZED (
        SELECT msgstore.uuid7() AS event_id, p ->> 'from' AS "from", p ->> 'to' AS "to",
            least(p ->> 'from', p ->> 'to') AS a, greatest(p ->> 'from', p ->> 'to') AS b,
            'sms:' || least(p ->> 'from', p ->> 'to') || '<->' || greatest(p ->> 'from', p ->> 'to') AS key,
            p ->> 'messaging_provider_id' AS provider_message_id,
            (p ->> 'timestamp')::timestamptz AS at, p ->> 'body' AS body,
            nullif(p -> 'attachments', 'null') AS attachments
        FROM unnest(payloads) p
    ), touched AS (
        INSERT INTO work.conversations AS c (channel, participant_a, participant_b, key, message_count, last_activity_at)
        SELECT 'sms', a, b, key, count(*), max(at) FROM batch GROUP BY key, a, b ORDER BY key
        ON CONFLICT (tenant_id, key) DO UPDATE SET
            message_count = c.message_count + excluded.message_count,
            last_activity_at = greatest(c.last_activity_at, excluded.last_activity_at)
        RETURNING id, key
    )
    INSERT INTO work.messages (id, conversation_id, inbound_event_id, "timestamp", direction, channel,
        conversation_key, "from", "to", provider_message_id, body, attachments)
    SELECT event_id, t.id, event_id, at, 'inbound', 'sms', key, "from", "to", provider_message_id, body, attachments
    FROM batch JOIN touched t USING (key);
END $$;

-- Applies one event.
CREATE FUNCTION work.apply_one(p jsonb) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    a text := least(p ->> 'from', p ->> 'to');
    b text := greatest(p ->> 'from', p ->> 'to');
    named text := 'sms:' || a || '<->' || b;
    conversation uuid;
    event uuid := msgstore.uuid7();
BEGIN
    INSERT INTO work.conversations AS c (channel, participant_a, participant_b, key, message_count, last_activity_at)
    VALUES ('sms', a, b, named, 1, (p ->> 'timestamp')::timestamptz)
    ON CONFLICT (tenant_id, key) DO UPDATE SET
        message_count = c.message_count + 1,
        last_activity_at = greatest(c.last_activity_at, excluded.last_activity_at)
    RETURNING c.id INTO conversation;
    INSERT INTO work.messages (id, conversation_id, inbound_event_id, "timestamp", direction, channel,
        conversation_key, "from", "to", provider_message_id, body, attachments)
    VALUES (event, conversation, event, (p ->> 'timestamp')::timestamptz, 'inbound', 'sms', named,
        p ->> 'from', p ->> 'to', p ->> 'messaging_provider_id', p ->> 'body', nullif(p -> 'attachments', 'null'));
END $$;
