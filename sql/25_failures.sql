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

-- The one place that decides what becomes of what failed. An event is known by
-- its queue's row, which the caller has locked.
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
    -- Bounded: an error's text is the user's, and retries may be many.
    kept_attempts CONSTANT int := 20;
    message CONSTANT text := left(_keep_failure.error_message, 1000);
    attempt CONSTANT jsonb := jsonb_strip_nulls(jsonb_build_object(
        'failed_at', clock_timestamp(),
        'error_code', _keep_failure.error_code,
        'error_message', message,
        'processor_id', _keep_failure.processor_id));
    most CONSTANT int := current_setting('msgstore.max_dead_letters')::int;
    retry_at timestamptz;
    queue_lane smallint;
BEGIN
    INSERT INTO msgstore.event_failures AS f
        (tenant_id, event_id, attempt_count, error_code, error_message,
         failed_at, attempts)
    VALUES
        (_keep_failure.tenant_id, _keep_failure.event_id, 1,
         _keep_failure.error_code, message,
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
    RETURNING f.attempt_count INTO attempt_count;

    dead := permanent
        OR attempt_count > current_setting('msgstore.max_retries')::int;
    wait := coalesce(wait, msgstore._backoff(attempt_count));
    IF dead AND msgstore._gauge('dead_letters') >= most THEN
        -- So many are no accident of theirs: they are tried on, seldom.
        dead := false;
        wait := msgstore._backoff(1000);
        RAISE WARNING 'event "%" is tried on: there are % dead letters', event_id, most
            USING HINT = 'Requeue or purge dead letters, or raise "msgstore.max_dead_letters".';
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
            PERFORM msgstore._wake_for_retry(retry_at, queue_lane);
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
END
$$;

REVOKE ALL ON FUNCTION msgstore._backoff(int) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._wake_for_retry(timestamptz, smallint) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._keep_failure(text, uuid, text, text, text, text, interval, boolean) FROM PUBLIC;

COMMENT ON TABLE msgstore.event_failures IS
    'Failed attempts of events and outbound messages that wait for a retry or succeeded later: how many, and the last error';
COMMENT ON TABLE msgstore.dead_letters IS
    'Events and outbound messages given up after msgstore.max_retries failed retries, or at once when they can never succeed';
COMMENT ON COLUMN msgstore.event_failures.attempts IS
    'The last 20 failed attempts, oldest first: objects of failed_at, error_code, error_message and, from outside, processor_id';
COMMENT ON COLUMN msgstore.dead_letters.event_id IS
    'Of the inbound event, or of the outbound message';
COMMENT ON COLUMN msgstore.dead_letters.attempts IS
    'The last 20 failed attempts, oldest first, as in event_failures';
COMMENT ON FUNCTION msgstore._backoff(int) IS
    'How long to wait after so many failed attempts: msgstore.backoff_base, doubled for each further one, at most msgstore.backoff_max, and by half more or less';
COMMENT ON FUNCTION msgstore._wake_for_retry(timestamptz, smallint) IS
    'At commit the worker of this lane hears of a retry that is due then';
COMMENT ON FUNCTION msgstore._keep_failure(text, uuid, text, text, text, text, interval, boolean) IS
    'Counts a failed attempt of a queued event (inbound) or message (outbound) and puts it off, by the backoff or as long as said; after msgstore.max_retries failed retries, or when the failure is permanent, moves it to the dead letters while these are fewer than msgstore.max_dead_letters';
