-- Claims of processors outside the server. A claimed event's queue row has
-- next_attempt_at = infinity, so that nobody comes across it.
CREATE TABLE msgstore.event_claims (
    tenant_id text COLLATE "C" NOT NULL,
    event_id uuid NOT NULL,
    processor_id text COLLATE "C" NOT NULL,
    claimed_at timestamptz NOT NULL,
    renewed_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    CONSTRAINT event_claims_pkey PRIMARY KEY (tenant_id, event_id)
);

CREATE INDEX event_claims_processor_idx
    ON msgstore.event_claims (processor_id, event_id);
CREATE INDEX event_claims_expires_at_idx ON msgstore.event_claims (expires_at);

-- The line of a conversation of a channel with strict_order: first the event
-- that was tried or claimed and is not applied, then those that wait behind it
-- with next_attempt_at = infinity.
CREATE TABLE msgstore.conversation_holds (
    tenant_id text COLLATE "C" NOT NULL,
    conversation_key text COLLATE "C" NOT NULL,
    event_id uuid NOT NULL,
    CONSTRAINT conversation_holds_pkey
        PRIMARY KEY (tenant_id, conversation_key, event_id),
    CONSTRAINT conversation_holds_event_key UNIQUE (tenant_id, event_id)
);

-- A function is kept by its name, and not by its oid: a dump and a function
-- that is dropped and created again keep their handlers.
CREATE TABLE msgstore.handlers (
    channel text COLLATE "C" NOT NULL,
    handler text COLLATE "C" NOT NULL,
    registered_by regrole NOT NULL,
    search_path text NOT NULL,
    -- Of two registered in one transaction the first is called first.
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT handlers_pkey PRIMARY KEY (channel, handler)
);

SELECT pg_catalog.pg_extension_config_dump('msgstore.event_claims', '');
SELECT pg_catalog.pg_extension_config_dump('msgstore.conversation_holds', '');
SELECT pg_catalog.pg_extension_config_dump('msgstore.handlers', '');

CREATE FUNCTION msgstore._lane(
    tenant_id text,
    channel text,
    "from" text,
    "to" text)
    RETURNS smallint
    LANGUAGE c STABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'msgstore_lane';

CREATE FUNCTION msgstore.process(max_events int DEFAULT NULL) RETURNS int
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'msgstore_process';

CREATE FUNCTION msgstore._announce() RETURNS void
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'msgstore_announce';

CREATE VIEW msgstore.inbound_events WITH (security_invoker) AS
SELECT l.id,
       l.tenant_id,
       l.channel,
       l."from",
       l."to",
       l.provider_message_id,
       l.payload,
       CASE
           WHEN d.event_id IS NOT NULL THEN 'dead_letter'
           WHEN q.event_id IS NULL THEN 'processed'
           WHEN c.event_id IS NOT NULL THEN 'processing'
           WHEN f.event_id IS NOT NULL THEN 'error'
           ELSE 'received'
       END AS status,
       coalesce(d.attempt_count, f.attempt_count, 0) AS attempt_count,
       nullif(q.next_attempt_at, 'infinity') AS next_attempt_at,
       c.processor_id,
       coalesce(d.error_code, f.error_code) AS error_code,
       coalesce(d.error_message, f.error_message) AS error_message,
       l.correlation_id,
       l.created_at,
       coalesce(d.died_at, m.created_at, c.renewed_at, f.failed_at,
                l.created_at) AS updated_at,
       m.created_at AS processed_at
FROM msgstore.event_log l
LEFT JOIN msgstore.event_queue q
    ON q.tenant_id = l.tenant_id AND q.event_id = l.id
LEFT JOIN msgstore.dead_letters d
    ON d.tenant_id = l.tenant_id AND d.event_id = l.id
LEFT JOIN msgstore.event_claims c
    ON c.tenant_id = l.tenant_id AND c.event_id = l.id
LEFT JOIN msgstore.event_failures f
    ON f.tenant_id = l.tenant_id AND f.event_id = l.id
LEFT JOIN msgstore.messages m
    ON m.tenant_id = l.tenant_id AND m.inbound_event_id = l.id;

CREATE FUNCTION msgstore._claim(processor_id text, max_events int)
    RETURNS TABLE (tenant_id text, event_id uuid)
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'msgstore_claim';

-- Two statements: the second sees what the first has claimed.
CREATE FUNCTION msgstore.claim(processor_id text, max_events int DEFAULT 10)
    RETURNS SETOF msgstore.inbound_events
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = 'force_custom_plan'
    AS $$
DECLARE
    tenants text[];
    ids uuid[];
BEGIN
    SELECT array_agg(c.tenant_id), array_agg(c.event_id) INTO tenants, ids
    FROM msgstore._claim(processor_id, max_events) c;
    RETURN QUERY
    SELECT e.*
    FROM unnest(tenants, ids) AS c (tenant_id, event_id)
    JOIN msgstore.inbound_events e
        ON e.tenant_id = c.tenant_id AND e.id = c.event_id
    ORDER BY e.id;
END
$$;

CREATE FUNCTION msgstore.heartbeat(processor_id text) RETURNS int
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    scope CONSTANT text := msgstore._tenant_scope();
    timeout CONSTANT interval := current_setting('msgstore.claim_timeout');
    renewed int;
BEGIN
    -- Never sooner than before: workers have noted when to look.
    UPDATE msgstore.event_claims c
    SET renewed_at = clock_timestamp(),
        expires_at = greatest(c.expires_at, clock_timestamp() + timeout)
    WHERE c.processor_id = heartbeat.processor_id
        AND (scope = '' OR c.tenant_id = scope);
    GET DIAGNOSTICS renewed = ROW_COUNT;
    RETURN renewed;
END
$$;

CREATE FUNCTION msgstore.complete(processor_id text, event_ids uuid[])
    RETURNS int
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'msgstore_complete';

CREATE FUNCTION msgstore.fail(
    processor_id text,
    event_id uuid,
    error_code text,
    error_message text)
    RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'msgstore_fail';

CREATE FUNCTION msgstore.reap_stale() RETURNS int
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'msgstore_reap_stale';

-- Not SECURITY DEFINER: a handler runs with the rights and the search_path of
-- whoever registers it, and here they are still to be seen.
CREATE FUNCTION msgstore.add_handler(channel text, handler regproc)
    RETURNS void
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'msgstore_add_handler';

CREATE FUNCTION msgstore.remove_handler(channel text, handler text)
    RETURNS boolean
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'msgstore_remove_handler';

REVOKE ALL ON FUNCTION msgstore.process(int) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._announce() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._lane(text, text, text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._claim(text, int) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.claim(text, int) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.heartbeat(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.complete(text, uuid[]) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.fail(text, uuid, text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.reap_stale() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.add_handler(text, regproc) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.remove_handler(text, text) FROM PUBLIC;

COMMENT ON TABLE msgstore.event_claims IS
    'Events claimed by processors outside the server, until when';
COMMENT ON TABLE msgstore.conversation_holds IS
    'Events of channels with strict_order that hold back later ones of their conversation, or wait behind such';
COMMENT ON TABLE msgstore.handlers IS
    'Users'' functions that are called for each inbound message of a channel';
COMMENT ON COLUMN msgstore.event_claims.expires_at IS
    'Without a heartbeat before, the claim is stale: msgstore.claim_timeout after it was made or renewed';
COMMENT ON COLUMN msgstore.handlers.handler IS
    'The function with its schema, as regproc prints it';
COMMENT ON COLUMN msgstore.handlers.registered_by IS
    'With whose rights it runs';
COMMENT ON COLUMN msgstore.handlers.search_path IS
    'The setting of the session that registered it, under which it runs';
COMMENT ON FUNCTION msgstore._lane(text, text, text, text) IS
    'The lane (0 to 63) of the conversation between these normalized addresses';

COMMENT ON FUNCTION msgstore.process(int) IS
    'Does in this session and transaction what the worker does: applies the events that are due when the call begins, at most max_events (null: all). Returns how many left the queue, for a conversation or for the dead letters. Raises MS400';
COMMENT ON FUNCTION msgstore._claim(text, int) IS
    'What claim() does, and whose tenants'' events it claimed';
COMMENT ON FUNCTION msgstore.claim(text, int) IS
    'Claims at most max_events due events, oldest first, for a processor outside the server: until msgstore.claim_timeout after the last heartbeat nobody else gets them. Ends with complete or fail. Raises MS400';
COMMENT ON FUNCTION msgstore.heartbeat(text) IS
    'Renews all claims of the processor; returns how many it holds';
COMMENT ON FUNCTION msgstore.complete(text, uuid[]) IS
    'Makes the messages of events that the processor has claimed, all or none; returns how many. Raises MS409 when it does not hold one of the claims any more, or when a channel has strict_order and an earlier event of the conversation waits';
COMMENT ON FUNCTION msgstore.fail(text, uuid, text, text) IS
    'Ends a claim with a failure, which counts like one of the worker''s; error_code MS400 says that trying again is of no use. Returns the event''s new status: error or dead_letter. Raises MS400, MS409 when the processor does not hold the claim any more';
COMMENT ON FUNCTION msgstore.reap_stale() IS
    'Takes back the claims that expired, each of which counts as a failed attempt (error_code MS504); their events are due at once. Returns how many. The worker does so by itself';
COMMENT ON FUNCTION msgstore.add_handler(text, regproc) IS
    'Has a function (msgstore.messages) returning void called for each inbound message of the channel, in the transaction that adds it, with the caller''s rights and search_path. Raises MS400, MS403 when another role has registered it';
COMMENT ON FUNCTION msgstore.remove_handler(text, text) IS
    'Ends what add_handler began; returns whether there was such a handler. A function that was dropped is named with its schema. Raises MS403 when another role has registered it';
COMMENT ON FUNCTION msgstore._announce() IS
    'At commit the launcher looks at this database: the extension has come';
COMMENT ON VIEW msgstore.inbound_events IS
    'Every accepted event with its state: received, processing (claimed from outside), error (waits for a retry), dead_letter or processed';
COMMENT ON COLUMN msgstore.inbound_events.attempt_count IS
    'Failed attempts so far';

-- The last statement that can fail is behind us: tell the launcher.
SELECT msgstore._announce();
