-- A claimed event's row in event_queue has next_attempt_at = infinity, so that
-- neither workers nor other claims find it.
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

-- The events of a strict_order conversation that wait in order: first the one
-- that failed, was postponed or is claimed, then those blocked by it, which have
-- next_attempt_at = infinity.
CREATE TABLE msgstore.conversation_holds (
    tenant_id text COLLATE "C" NOT NULL,
    conversation_key text COLLATE "C" NOT NULL,
    event_id uuid NOT NULL,
    CONSTRAINT conversation_holds_pkey
        PRIMARY KEY (tenant_id, conversation_key, event_id),
    CONSTRAINT conversation_holds_event_key UNIQUE (tenant_id, event_id)
);

-- Functions are stored by name and not by oid, so that handlers survive a dump
-- and the re-creation of their function.
CREATE TABLE msgstore.handlers (
    channel text COLLATE "C" NOT NULL,
    handler text COLLATE "C" NOT NULL,
    registered_by regrole NOT NULL,
    search_path text NOT NULL,
    -- Handlers are called in this order, so it must differ within a transaction.
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT handlers_pkey PRIMARY KEY (channel, handler)
);

SELECT pg_catalog.pg_extension_config_dump('msgstore.event_claims', '');
SELECT pg_catalog.pg_extension_config_dump('msgstore.conversation_holds', '');
-- One row while the workers are paused, none otherwise.
CREATE TABLE msgstore.worker_pause (
    single boolean NOT NULL DEFAULT true,
    paused_at timestamptz NOT NULL DEFAULT now(),
    paused_by text NOT NULL DEFAULT msgstore._actor(),
    reason text,
    CONSTRAINT worker_pause_pkey PRIMARY KEY (single),
    CONSTRAINT worker_pause_single CHECK (single)
);

SELECT pg_catalog.pg_extension_config_dump('msgstore.handlers', '');
SELECT pg_catalog.pg_extension_config_dump('msgstore.worker_pause', '');

CREATE FUNCTION msgstore._lane(
    tenant_id text,
    channel text,
    "from" text,
    "to" text)
    RETURNS smallint
    LANGUAGE c STABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'msgstore_lane';

CREATE FUNCTION msgstore._wait_for_lanes(lanes smallint[]) RETURNS void
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'msgstore_wait_for_lanes';

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
    ON m.tenant_id = l.tenant_id AND m.id = l.id AND m.inbound_event_id = l.id;

CREATE FUNCTION msgstore._claim(processor_id text, max_events int)
    RETURNS TABLE (tenant_id text, event_id uuid)
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'msgstore_claim';

-- Two statements, so that the second sees the claims of the first.
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
    PERFORM msgstore._check_scope_here();
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
    PERFORM msgstore._check_scope_here();
    -- Never earlier than before: workers have scheduled their check by the old
    -- expiry.
    -- A locked claim is skipped: whoever has locked it is ending or renewing it.
    WITH held AS MATERIALIZED (
        SELECT c.tenant_id, c.event_id FROM msgstore.event_claims c
        WHERE c.processor_id = heartbeat.processor_id
            AND (scope = '' OR c.tenant_id = scope)
        FOR UPDATE SKIP LOCKED)
    UPDATE msgstore.event_claims c
    SET renewed_at = clock_timestamp(),
        expires_at = greatest(c.expires_at, clock_timestamp() + timeout)
    FROM held
    WHERE c.tenant_id = held.tenant_id AND c.event_id = held.event_id;
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

-- Not SECURITY DEFINER: the handler will run with the caller's rights and
-- search_path, which would be hidden then.
CREATE FUNCTION msgstore.add_handler(channel text, handler regproc)
    RETURNS void
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'msgstore_add_handler';

CREATE FUNCTION msgstore.remove_handler(channel text, handler text)
    RETURNS boolean
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'msgstore_remove_handler';

-- The workers read the table when a commit tells them that something has changed.
CREATE FUNCTION msgstore.pause_workers(reason text DEFAULT NULL) RETURNS boolean
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_variable
BEGIN
    PERFORM msgstore._check_no_tenant('workers to be paused');
    IF length(reason) > 255 THEN
        RAISE EXCEPTION 'reason is longer than 255 characters'
            USING ERRCODE = 'MS400';
    END IF;
    INSERT INTO msgstore.worker_pause (reason) VALUES (reason)
    ON CONFLICT ON CONSTRAINT worker_pause_pkey DO NOTHING;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM msgstore._announce(), msgstore._log_operation(
        'pause', jsonb_strip_nulls(jsonb_build_object('reason', reason)), 0, NULL);
    RETURN true;
END
$$;

CREATE FUNCTION msgstore.resume_workers() RETURNS boolean
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    PERFORM msgstore._check_no_tenant('workers to be resumed');
    DELETE FROM msgstore.worker_pause;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM msgstore._announce(), msgstore._log_operation('resume', '{}', 0, NULL);
    RETURN true;
END
$$;

REVOKE ALL ON FUNCTION msgstore.pause_workers(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.resume_workers() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.process(int) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._announce() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._wait_for_lanes(smallint[]) FROM PUBLIC;
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
    'Events claimed by external processors';
COMMENT ON COLUMN msgstore.event_claims.tenant_id IS
    'Tenant that owns the event';
COMMENT ON COLUMN msgstore.event_claims.event_id IS
    'Id of the claimed event';
COMMENT ON COLUMN msgstore.event_claims.processor_id IS
    'Name of the processor, as passed to claim()';
COMMENT ON COLUMN msgstore.event_claims.claimed_at IS
    'Time of the claim';
COMMENT ON COLUMN msgstore.event_claims.renewed_at IS
    'Time of the last heartbeat, or of the claim';
COMMENT ON COLUMN msgstore.event_claims.expires_at IS
    'Time at which the claim expires without another heartbeat: msgstore.claim_timeout after renewed_at';
COMMENT ON TABLE msgstore.conversation_holds IS
    'Events of strict_order channels that block later events of their conversation, and the events blocked by them';
COMMENT ON COLUMN msgstore.conversation_holds.tenant_id IS
    'Tenant that owns the conversation';
COMMENT ON COLUMN msgstore.conversation_holds.conversation_key IS
    'Key of the conversation, as in conversations.key';
COMMENT ON COLUMN msgstore.conversation_holds.event_id IS
    'Id of the blocking or blocked event; the lowest id of a conversation blocks the others';
COMMENT ON TABLE msgstore.handlers IS
    'User-defined functions called for each inbound message of a channel';
COMMENT ON COLUMN msgstore.handlers.channel IS
    'Name of the channel';
COMMENT ON COLUMN msgstore.handlers.handler IS
    'Schema-qualified name of the function with its argument type, in the format of regprocedure';
COMMENT ON COLUMN msgstore.handlers.registered_by IS
    'Role that registered the handler and whose rights it runs with';
COMMENT ON COLUMN msgstore.handlers.search_path IS
    'search_path of the session that registered the handler, in effect while it runs';
COMMENT ON COLUMN msgstore.handlers.created_at IS
    'Time of registration; the handlers of a channel are called in this order';

COMMENT ON TABLE msgstore.worker_pause IS
    'Has one row while the workers of this database are paused; see pause_workers()';
COMMENT ON COLUMN msgstore.worker_pause.single IS
    'Always true';
COMMENT ON COLUMN msgstore.worker_pause.paused_at IS
    'Time of the call of pause_workers()';
COMMENT ON COLUMN msgstore.worker_pause.paused_by IS
    'Role that logged in to the session that called it';
COMMENT ON COLUMN msgstore.worker_pause.reason IS
    'Reason given in the call, at most 255 characters; null for none';

COMMENT ON FUNCTION msgstore.pause_workers(text) IS
    'Lets the workers of this database process no more events, also after a restart, until resume_workers() is called. A batch in progress is finished. Events are still accepted, process() and claim() still work, and periodic tasks still run. Returns false if the workers are paused already. Raises MS400 if the reason is longer than 255 characters, MS403 in a session of a tenant';
COMMENT ON FUNCTION msgstore.resume_workers() IS
    'Ends what pause_workers() began. Returns false if the workers are not paused. Raises MS403 in a session of a tenant';
COMMENT ON FUNCTION msgstore._wait_for_lanes(smallint[]) IS
    'Locks these lanes until the end of the transaction, waiting for sessions that process their events';
COMMENT ON FUNCTION msgstore._lane(text, text, text, text) IS
    'Returns the lane (0 to 63) of the conversation between these normalized addresses';
COMMENT ON FUNCTION msgstore.process(int) IS
    'Processes the events that are due when the call begins, at most max_events (null: no limit), in the current transaction. Returns the number of events that became messages or dead letters. Raises MS400 if max_events is not positive, MS403 when called from a handler';
COMMENT ON FUNCTION msgstore._claim(text, int) IS
    'Implements claim(): makes the claims and returns the keys of the claimed events';
COMMENT ON FUNCTION msgstore.claim(text, int) IS
    'Claims up to max_events due events for an external processor, oldest first, and returns them as rows of inbound_events. A claim ends with complete() or fail(), or expires msgstore.claim_timeout after the last heartbeat. Raises MS400 for an invalid argument, MS403 when called from a handler';
COMMENT ON FUNCTION msgstore.heartbeat(text) IS
    'Renews all claims of the processor and returns their number';
COMMENT ON FUNCTION msgstore.complete(text, uuid[]) IS
    'Creates the messages of all these claimed events, or raises an error and changes nothing. Returns the number of messages. Raises MS400 for an invalid argument, MS403 when called from a handler, MS409 if the processor does not hold every claim or, with strict_order, if an earlier event of the conversation is waiting';
COMMENT ON FUNCTION msgstore.fail(text, uuid, text, text) IS
    'Records a failed attempt of a claimed event and ends the claim. Error code MS400 makes it a dead letter at once. Returns the new status: error or dead_letter. Raises MS400 for an invalid argument, MS403 when called from a handler, MS409 if the processor does not hold the claim';
COMMENT ON FUNCTION msgstore.reap_stale() IS
    'Releases expired claims and returns their number. Each counts as a failed attempt with error code MS504; the event is due again at once. Workers call it themselves; call it only where no worker runs. Raises MS403 when called from a handler';
COMMENT ON FUNCTION msgstore.add_handler(text, regproc) IS
    'Registers a function for the inbound messages of a channel. The function takes the message (type msgstore.messages) and optionally its payload (jsonb), returns void, and runs in the transaction that adds the message, with the caller''s rights and search_path. Raises MS400 if the channel does not exist or the function does not qualify, MS403 if another role registered it or a tenant is set, 42501 without EXECUTE on the function';
COMMENT ON FUNCTION msgstore.remove_handler(text, text) IS
    'Unregisters a handler. Returns false if it was not registered. A function that was dropped must be given with its schema. Raises MS400 for an invalid name, MS403 if another role registered it or a tenant is set';
COMMENT ON FUNCTION msgstore._announce() IS
    'At commit, asks the launcher to look for the extension in this database';

COMMENT ON VIEW msgstore.inbound_events IS
    'Every accepted event with its status';
COMMENT ON COLUMN msgstore.inbound_events.id IS
    'Id of the event (UUID version 7), in order of acceptance';
COMMENT ON COLUMN msgstore.inbound_events.tenant_id IS
    'Tenant that owns the event';
COMMENT ON COLUMN msgstore.inbound_events.channel IS
    'Name of the channel';
COMMENT ON COLUMN msgstore.inbound_events."from" IS
    'Normalized address of the sender';
COMMENT ON COLUMN msgstore.inbound_events."to" IS
    'Normalized address of the recipient';
COMMENT ON COLUMN msgstore.inbound_events.provider_message_id IS
    'Message id assigned by the provider';
COMMENT ON COLUMN msgstore.inbound_events.payload IS
    'Payload as received, with redacted values replaced';
COMMENT ON COLUMN msgstore.inbound_events.status IS
    'received (queued), processing (claimed by an external processor), error (waiting for a retry), dead_letter or processed';
COMMENT ON COLUMN msgstore.inbound_events.attempt_count IS
    'Number of failed attempts so far';
COMMENT ON COLUMN msgstore.inbound_events.next_attempt_at IS
    'Time at which the event is due; null for a new, claimed, blocked or finished event';
COMMENT ON COLUMN msgstore.inbound_events.processor_id IS
    'External processor that holds the claim';
COMMENT ON COLUMN msgstore.inbound_events.error_code IS
    'SQLSTATE of the last failure, or the code that an external processor reported';
COMMENT ON COLUMN msgstore.inbound_events.error_message IS
    'Message of the last failure';
COMMENT ON COLUMN msgstore.inbound_events.correlation_id IS
    'Correlation id passed to ingest()';
COMMENT ON COLUMN msgstore.inbound_events.created_at IS
    'Time of acceptance';
COMMENT ON COLUMN msgstore.inbound_events.updated_at IS
    'Time of the last change of status, or of the last heartbeat of the claim';
COMMENT ON COLUMN msgstore.inbound_events.processed_at IS
    'Time at which the message was created';

-- Last, so that the launcher is told only if everything above succeeded.
SELECT msgstore._announce();
