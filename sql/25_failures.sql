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

-- Says for the gauges that rows of these events or messages come or go. To be
-- called while it can still be found out of which channels they are.
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

-- Puts events of the log into the queue, where those stand whose time has come.
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

-- One whose event or message is gone stays where it is, for check() to find.
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

-- Dead letters are locked in the order of their keys, so that two calls do not
-- wait for each other; who comes second no longer finds them.
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
    IF dry_run THEN
        RETURN (SELECT count(*) FROM msgstore._find_dead_letters(
                    channel, error_code, died_from, died_until, event_ids));
    END IF;
    SELECT array_agg(d.tenant_id), array_agg(d.event_id), array_agg(d.direction)
    INTO tenants, ids, directions
    FROM (
        SELECT d.tenant_id, d.event_id, d.direction
        FROM msgstore._find_dead_letters(
            channel, error_code, died_from, died_until, event_ids) f
        JOIN msgstore.dead_letters d USING (tenant_id, event_id)
        ORDER BY d.tenant_id, d.event_id
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
    RETURN msgstore.requeue_dead_letters(event_ids => ARRAY[event_id]) > 0;
END
$$;

REVOKE ALL ON FUNCTION msgstore._backoff(int) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._wake_for_retry(timestamptz, smallint) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._keep_failure(text, uuid, text, text, text, text, interval, boolean) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._move_all(text, text[], uuid[], int) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._enqueue(text[], uuid[]) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._find_dead_letters(text, text, timestamptz, timestamptz, uuid[]) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.requeue_dead_letters(text, text, timestamptz, timestamptz, uuid[], boolean) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.requeue(uuid) FROM PUBLIC;

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
COMMENT ON FUNCTION msgstore._move_all(text, text[], uuid[], int) IS
    'For the gauges: the rows of these events or messages come (1) or go (-1) when the transaction commits';
COMMENT ON FUNCTION msgstore._enqueue(text[], uuid[]) IS
    'Puts these events of the log into the queue, due now, and wakes the worker at commit';
COMMENT ON FUNCTION msgstore._find_dead_letters(text, text, timestamptz, timestamptz, uuid[]) IS
    'The dead letters of this session''s tenants that answer to every argument that is not null';
COMMENT ON FUNCTION msgstore.requeue_dead_letters(text, text, timestamptz, timestamptz, uuid[], boolean) IS
    'Puts the dead letters that answer to every argument that is not null back to be tried, with no attempt counted, and returns how many; with dry_run only counts. died_from is included, died_until is not. Who did it stands in operations_log';
COMMENT ON FUNCTION msgstore.requeue(uuid) IS
    'Puts one dead letter back to be tried, with no attempt counted; false when it is none';
