CREATE TABLE msgstore.event_failures (
    tenant_id text COLLATE "C" NOT NULL,
    event_id uuid NOT NULL,
    attempt_count int NOT NULL,
    error_code text NOT NULL,
    error_message text NOT NULL,
    failed_at timestamptz NOT NULL,
    attempts jsonb NOT NULL,
    CONSTRAINT event_failures_pkey PRIMARY KEY (tenant_id, event_id)
);

CREATE TABLE msgstore.dead_letters (
    tenant_id text COLLATE "C" NOT NULL,
    event_id uuid NOT NULL,
    direction text COLLATE "C" NOT NULL,
    attempt_count int NOT NULL,
    error_code text NOT NULL,
    error_message text NOT NULL,
    died_at timestamptz NOT NULL,
    attempts jsonb NOT NULL,
    CONSTRAINT dead_letters_pkey PRIMARY KEY (tenant_id, event_id),
    CONSTRAINT dead_letters_direction CHECK (direction IN ('inbound', 'outbound'))
);

CREATE INDEX dead_letters_died_at_idx ON msgstore.dead_letters (died_at);

SELECT pg_catalog.pg_extension_config_dump('msgstore.event_failures', '');
SELECT pg_catalog.pg_extension_config_dump('msgstore.dead_letters', '');

CREATE FUNCTION msgstore._backoff(attempt_count int) RETURNS interval
    LANGUAGE c VOLATILE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'msgstore_backoff';

CREATE FUNCTION msgstore._wake_for_retry(at timestamptz, lane smallint)
    RETURNS void
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'msgstore_wake_for_retry';

-- Raises MS503 for a row that a trigger or rule suppressed.
CREATE FUNCTION msgstore._report_trigger(table_name text, operations text)
    RETURNS void
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'msgstore_report_trigger';

-- Adds a failed attempt and returns the number of failed attempts.
CREATE FUNCTION msgstore._record_attempt(
    tenant_id text,
    event_id uuid,
    error_code text,
    error_message text,
    processor_id text)
    RETURNS int
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
DECLARE
    -- Error texts come from user code and max_retries may be large: cap both.
    kept_attempts CONSTANT int := 20;
    message CONSTANT text := left(_record_attempt.error_message, 1000);
    attempt CONSTANT jsonb := jsonb_strip_nulls(jsonb_build_object(
        'failed_at', clock_timestamp(),
        'error_code', _record_attempt.error_code,
        'error_message', message,
        'processor_id', _record_attempt.processor_id));
    attempts_so_far int;
BEGIN
    INSERT INTO msgstore.event_failures AS f
        (tenant_id, event_id, attempt_count, error_code, error_message,
         failed_at, attempts)
    VALUES
        (_record_attempt.tenant_id, _record_attempt.event_id, 1,
         _record_attempt.error_code, message,
         clock_timestamp(), jsonb_build_array(attempt))
    ON CONFLICT (tenant_id, event_id) DO UPDATE
    SET attempt_count = f.attempt_count + 1,
        error_code = excluded.error_code,
        error_message = excluded.error_message,
        failed_at = excluded.failed_at,
        attempts = CASE
            WHEN jsonb_array_length(f.attempts) < kept_attempts THEN f.attempts
            ELSE f.attempts - 0
        END || excluded.attempts
    RETURNING f.attempt_count INTO attempts_so_far;
    IF NOT FOUND THEN
        PERFORM msgstore._report_trigger('event_failures', 'INSERT OR UPDATE');
    END IF;
    RETURN attempts_so_far;
END
$$;

-- The only place that decides between a retry and a dead letter, for events and
-- outbound messages, in one function so that no path can decide otherwise. The
-- caller has locked the row in the queue or the outbox.
CREATE FUNCTION msgstore._keep_failure(
    tenant_id text,
    event_id uuid,
    direction text,
    error_code text,
    error_message text,
    processor_id text DEFAULT NULL,
    wait interval DEFAULT NULL,
    permanent boolean DEFAULT false,
    OUT attempt_count int,
    OUT dead boolean)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
DECLARE
    most CONSTANT int := current_setting('msgstore.max_dead_letters')::int;
    retry_at timestamptz;
    queue_lane smallint;
BEGIN
    attempt_count := msgstore._record_attempt(
        tenant_id, event_id, error_code, error_message, processor_id);
    dead := permanent
        OR attempt_count > current_setting('msgstore.max_retries')::int;
    wait := coalesce(wait, msgstore._backoff(attempt_count));
    IF dead AND msgstore._gauge('dead_letters') >= most THEN
        -- That many failures are not the fault of single events: keep retrying,
        -- at the longest backoff.
        dead := false;
        wait := msgstore._backoff(1000);
        RAISE WARNING 'event "%" is retried because the limit of % dead letters is reached', event_id, most
            USING HINT = 'Requeue or purge dead letters, or increase "msgstore.max_dead_letters".';
    END IF;

    IF dead THEN
        WITH failure AS (
            DELETE FROM msgstore.event_failures f
            WHERE f.tenant_id = _keep_failure.tenant_id
                AND f.event_id = _keep_failure.event_id
            RETURNING f.*)
        INSERT INTO msgstore.dead_letters
            (tenant_id, event_id, direction, attempt_count, error_code,
             error_message, died_at, attempts)
        SELECT f.tenant_id, f.event_id, _keep_failure.direction,
               f.attempt_count, f.error_code, f.error_message, f.failed_at,
               f.attempts
        FROM failure f;
        IF NOT FOUND THEN
            PERFORM msgstore._report_trigger('dead_letters', 'INSERT');
        END IF;
        PERFORM msgstore._tell(
            tenant_id, CASE direction WHEN 'inbound' THEN 'event.dead' ELSE 'message.status' END,
            ARRAY[event_id]);
    END IF;
    retry_at := clock_timestamp() + wait;
    CASE
        WHEN direction = 'inbound' AND dead THEN
            DELETE FROM msgstore.event_queue q
            WHERE q.tenant_id = _keep_failure.tenant_id
                AND q.event_id = _keep_failure.event_id;
        WHEN direction = 'inbound' THEN
            UPDATE msgstore.event_queue q
            SET next_attempt_at = retry_at
            WHERE q.tenant_id = _keep_failure.tenant_id
                AND q.event_id = _keep_failure.event_id
            RETURNING q.lane INTO queue_lane;
        WHEN dead THEN
            DELETE FROM msgstore.outbox o
            WHERE o.tenant_id = _keep_failure.tenant_id
                AND o.message_id = _keep_failure.event_id;
        ELSE
            UPDATE msgstore.outbox o
            SET next_attempt_at = retry_at,
                sender_id = NULL
            WHERE o.tenant_id = _keep_failure.tenant_id
                AND o.message_id = _keep_failure.event_id;
    END CASE;
    IF NOT FOUND THEN
        PERFORM msgstore._report_trigger(
            CASE direction WHEN 'inbound' THEN 'event_queue' ELSE 'outbox' END,
            CASE WHEN dead THEN 'DELETE' ELSE 'UPDATE' END);
    END IF;
    PERFORM msgstore._wake_for_retry(retry_at, queue_lane);
END
$$;

-- Call it while event_log and messages still have the rows: the channel is
-- looked up there.
CREATE FUNCTION msgstore._move_all(
    gauge text,
    tenants text[],
    event_ids uuid[],
    sign int)
    RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = 'force_custom_plan'
    AS $$
BEGIN
    PERFORM msgstore._move(gauge, c.tenant_id, c.channel, sign * count(*))
    FROM (
        SELECT e.tenant_id, coalesce(l.channel, m.channel, 'other') AS channel
        FROM unnest(tenants, event_ids) AS e (tenant_id, id)
        LEFT JOIN msgstore.event_log l
            ON l.tenant_id = e.tenant_id AND l.id = e.id
        LEFT JOIN msgstore.messages m
            ON m.tenant_id = e.tenant_id AND m.id = e.id AND l.id IS NULL
    ) c
    GROUP BY c.tenant_id, c.channel;
END
$$;

-- With next_attempt_at set they count as retries, which take at most half of a
-- batch: requeueing many does not delay new events.
CREATE FUNCTION msgstore._enqueue(tenants text[], event_ids uuid[])
    RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    INSERT INTO msgstore.event_queue (tenant_id, event_id, next_attempt_at, lane)
    SELECT l.tenant_id, l.id, now(),
           msgstore._lane(l.tenant_id, l.channel, l."from", l."to")
    FROM unnest(tenants, event_ids) AS r (tenant_id, event_id)
    JOIN msgstore.event_log l
        ON l.tenant_id = r.tenant_id AND l.id = r.event_id;
    PERFORM msgstore._move_all('queued', tenants, event_ids, 1);
    PERFORM msgstore._announce();
END
$$;

-- A dead letter whose event or message is missing is left for check() to report.
CREATE FUNCTION msgstore._find_dead_letters(
    channel text,
    error_code text,
    died_from timestamptz,
    died_until timestamptz,
    event_ids uuid[])
    RETURNS TABLE (tenant_id text, event_id uuid)
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = 'force_custom_plan'
    AS $$
#variable_conflict use_column
DECLARE
    scope CONSTANT text := msgstore._tenant_scope();
BEGIN
    RETURN QUERY
    SELECT d.tenant_id, d.event_id
    FROM msgstore.dead_letters d
    LEFT JOIN msgstore.event_log l
        ON d.direction = 'inbound'
        AND l.tenant_id = d.tenant_id AND l.id = d.event_id
    LEFT JOIN msgstore.messages m
        ON d.direction = 'outbound'
        AND m.tenant_id = d.tenant_id AND m.id = d.event_id
    WHERE coalesce(l.channel, m.channel) IS NOT NULL
        AND (scope = '' OR d.tenant_id = scope)
        AND (_find_dead_letters.channel IS NULL
             OR coalesce(l.channel, m.channel) = _find_dead_letters.channel)
        AND (_find_dead_letters.error_code IS NULL
             OR d.error_code = _find_dead_letters.error_code)
        AND (died_from IS NULL OR d.died_at >= died_from)
        AND (died_until IS NULL OR d.died_at < died_until)
        AND (event_ids IS NULL OR d.event_id = ANY (event_ids));
END
$$;

-- Dead letters are locked in order so that concurrent calls do not deadlock, and
-- inbound ones first: an erasure holds them while it waits for outbound ones. The
-- second call no longer finds the rows that the first requeued.
CREATE FUNCTION msgstore.requeue_dead_letters(
    channel text DEFAULT NULL,
    error_code text DEFAULT NULL,
    died_from timestamptz DEFAULT NULL,
    died_until timestamptz DEFAULT NULL,
    event_ids uuid[] DEFAULT NULL,
    dry_run boolean DEFAULT false)
    RETURNS int
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    filter CONSTANT jsonb := jsonb_strip_nulls(jsonb_build_object(
        'channel', channel, 'error_code', error_code, 'died_from', died_from,
        'died_until', died_until, 'event_ids', to_jsonb(event_ids)));
    tenants text[];
    ids uuid[];
    directions text[];
BEGIN
    PERFORM msgstore._check_all_here();
    IF dry_run THEN
        RETURN (SELECT count(*) FROM msgstore._find_dead_letters(
                    channel, error_code, died_from, died_until, event_ids));
    END IF;
    -- Waits for an erasure, and an erasure for it: see erase_address().
    LOCK TABLE msgstore.operations_log IN ROW EXCLUSIVE MODE;
    SELECT array_agg(d.tenant_id), array_agg(d.event_id), array_agg(d.direction)
    INTO tenants, ids, directions
    FROM (
        SELECT d.tenant_id, d.event_id, d.direction
        FROM msgstore._find_dead_letters(
            channel, error_code, died_from, died_until, event_ids) f
        JOIN msgstore.dead_letters d USING (tenant_id, event_id)
        ORDER BY d.direction, d.tenant_id, d.event_id
        FOR UPDATE OF d) d;
    IF ids IS NULL THEN
        RETURN 0;
    END IF;

    DELETE FROM msgstore.dead_letters d
    USING unnest(tenants, ids) AS r (tenant_id, event_id)
    WHERE d.tenant_id = r.tenant_id AND d.event_id = r.event_id;
    PERFORM msgstore._move_all('dead_letters', tenants, ids, -1);
    PERFORM msgstore._enqueue(array_agg(r.tenant_id), array_agg(r.event_id))
    FROM unnest(tenants, ids, directions) AS r (tenant_id, event_id, direction)
    WHERE r.direction = 'inbound';
    IF 'outbound' = ANY (directions) THEN
        INSERT INTO msgstore.outbox
            (tenant_id, message_id, conversation_id, next_attempt_at)
        SELECT m.tenant_id, m.id,
               CASE WHEN c.strict_order THEN m.conversation_id END, now()
        FROM unnest(tenants, ids, directions)
            AS r (tenant_id, event_id, direction)
        JOIN msgstore.messages m
            ON m.tenant_id = r.tenant_id AND m.id = r.event_id
        LEFT JOIN msgstore.channels c ON c.name = m.channel
        WHERE r.direction = 'outbound';
        PERFORM msgstore._wake_senders();
    END IF;
    PERFORM msgstore._log_operation('requeue', filter, cardinality(ids), ids);
    RETURN cardinality(ids);
END
$$;

CREATE FUNCTION msgstore.requeue(event_id uuid) RETURNS boolean
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    PERFORM msgstore._check_all_here();
    RETURN msgstore.requeue_dead_letters(event_ids => ARRAY[event_id]) > 0;
END
$$;

REVOKE ALL ON FUNCTION msgstore._report_trigger(text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._backoff(int) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._wake_for_retry(timestamptz, smallint) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._report_trigger(text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._record_attempt(text, uuid, text, text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._keep_failure(text, uuid, text, text, text, text, interval, boolean) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._move_all(text, text[], uuid[], int) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._enqueue(text[], uuid[]) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._find_dead_letters(text, text, timestamptz, timestamptz, uuid[]) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.requeue_dead_letters(text, text, timestamptz, timestamptz, uuid[], boolean) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.requeue(uuid) FROM PUBLIC;

COMMENT ON TABLE msgstore.event_failures IS
    'Events and outbound messages with at least one failed attempt that are not dead letters: those waiting for a retry, and those that succeeded later';
COMMENT ON COLUMN msgstore.event_failures.tenant_id IS
    'Tenant that owns the event or message';
COMMENT ON COLUMN msgstore.event_failures.event_id IS
    'Id of the inbound event or outbound message';
COMMENT ON COLUMN msgstore.event_failures.attempt_count IS
    'Number of failed attempts';
COMMENT ON COLUMN msgstore.event_failures.error_code IS
    'SQLSTATE of the last failure, MS500 if the process died, MS504 if a claim or lease expired, or the code that an external processor or sender reported';
COMMENT ON COLUMN msgstore.event_failures.error_message IS
    'Message of the last failure, at most 1000 characters';
COMMENT ON COLUMN msgstore.event_failures.failed_at IS
    'Time of the last failure';
COMMENT ON COLUMN msgstore.event_failures.attempts IS
    'The last 20 failed attempts, oldest first: a JSON array of objects with failed_at, error_code, error_message and, for external processors and senders, processor_id';
COMMENT ON TABLE msgstore.dead_letters IS
    'Events and outbound messages that are no longer retried: msgstore.max_retries retries failed, or the failure was permanent';
COMMENT ON COLUMN msgstore.dead_letters.tenant_id IS
    'Tenant that owns the event or message';
COMMENT ON COLUMN msgstore.dead_letters.event_id IS
    'Id of the inbound event or outbound message';
COMMENT ON COLUMN msgstore.dead_letters.direction IS
    'inbound for an event, outbound for a message';
COMMENT ON COLUMN msgstore.dead_letters.attempt_count IS
    'Number of failed attempts';
COMMENT ON COLUMN msgstore.dead_letters.error_code IS
    'SQLSTATE of the last failure, MS500 if the process died, MS504 if a claim or lease expired, or the code that an external processor or sender reported';
COMMENT ON COLUMN msgstore.dead_letters.error_message IS
    'Message of the last failure, at most 1000 characters';
COMMENT ON COLUMN msgstore.dead_letters.died_at IS
    'Time of the last failure, which made it a dead letter';
COMMENT ON COLUMN msgstore.dead_letters.attempts IS
    'The last 20 failed attempts, oldest first, in the format of event_failures.attempts';
COMMENT ON FUNCTION msgstore._backoff(int) IS
    'Returns the delay before the next attempt: msgstore.backoff_base doubled for each failed attempt after the first, capped at msgstore.backoff_max, times a random factor of 0.5 to 1.5';
COMMENT ON FUNCTION msgstore._wake_for_retry(timestamptz, smallint) IS
    'At commit, tells the worker of the lane that a retry is due at the given time';
COMMENT ON FUNCTION msgstore._report_trigger(text, text) IS
    'Raises MS503 for a row of the table that was not written by an INSERT, UPDATE or DELETE, and names the triggers and rules that may have prevented it';
COMMENT ON FUNCTION msgstore._report_trigger(text, text) IS
    'Raises MS503 for a row of the table that was not written by an INSERT, UPDATE or DELETE, and names the triggers and rules that may have prevented it';
COMMENT ON FUNCTION msgstore._record_attempt(text, uuid, text, text, text) IS
    'Adds a failed attempt to event_failures and returns the number of failed attempts';
COMMENT ON FUNCTION msgstore._keep_failure(text, uuid, text, text, text, text, interval, boolean) IS
    'Records a failed attempt and schedules the retry after the given wait or the backoff. Moves the event or message to dead_letters when the failure is permanent or msgstore.max_retries retries have failed, unless there are already msgstore.max_dead_letters. The caller must have locked the queue or outbox row';
COMMENT ON FUNCTION msgstore._move_all(text, text[], uuid[], int) IS
    'At commit, adds sign (1 or -1) to a gauge for each of these events or messages';
COMMENT ON FUNCTION msgstore._enqueue(text[], uuid[]) IS
    'Queues these logged events for processing now, and wakes the worker at commit';
COMMENT ON FUNCTION msgstore._find_dead_letters(text, text, timestamptz, timestamptz, uuid[]) IS
    'Returns the dead letters of the session''s tenant (all tenants when unscoped) that match every argument that is not null';
COMMENT ON FUNCTION msgstore.requeue_dead_letters(text, text, timestamptz, timestamptz, uuid[], boolean) IS
    'Requeues the dead letters that match every argument that is not null, with attempt_count reset to 0, and returns their number. died_from is inclusive, died_until exclusive. With dry_run, only counts them. Logs the call in operations_log';
COMMENT ON FUNCTION msgstore.requeue(uuid) IS
    'Requeues one dead letter with attempt_count reset to 0. Returns false if the id is not a dead letter';
