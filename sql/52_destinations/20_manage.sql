-- destinations: creation, secrets, pauses, the list.

CREATE FUNCTION msgstore._destination(name text) RETURNS msgstore.destinations
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
DECLARE
    scope CONSTANT text := msgstore._tenant_scope();
    chosen msgstore.destinations[];
BEGIN
    chosen := ARRAY(
        SELECT d FROM msgstore.destinations d
        WHERE d.name = _destination.name AND scope IN ('', d.tenant_id) LIMIT 2);
    PERFORM msgstore._check_found('destination', _destination.name, cardinality(chosen));
    RETURN chosen[1];
END
$$;

-- Returns the secret: the given one, or a new one.
CREATE FUNCTION msgstore._add_destination_secret(tenant text, destination text, secret text)
    RETURNS text
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    secret := coalesce(secret, 'whsec_' || encode(decode(msgstore._random_hex(24), 'hex'), 'base64'));
    IF secret !~ '^whsec_[A-Za-z0-9+/]{32,128}={0,2}$'
        OR length(rtrim(substr(secret, 7), '=')) % 4 = 1
    THEN
        RAISE EXCEPTION 'invalid secret for destination "%"', destination
            USING ERRCODE = 'MS400',
                  DETAIL = 'A secret must be "whsec_" and a key of at least 24 bytes in base64.';
    END IF;
    INSERT INTO msgstore.destination_secrets (tenant_id, destination, id, secret)
    VALUES (tenant, destination, msgstore.uuid7(), secret);
    RETURN secret;
END
$$;

CREATE FUNCTION msgstore.create_destination(
    name text,
    url text,
    events text[] DEFAULT '{message.received}',
    secret text DEFAULT NULL,
    tenant text DEFAULT NULL,
    timeout interval DEFAULT '15 seconds',
    retry_after interval[] DEFAULT '{5s,5min,30min,2h,5h,10h,14h,20h,24h}')
    RETURNS text
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_variable
DECLARE
    owner CONSTANT text := coalesce(tenant, msgstore._tenant_scope());
    known CONSTANT text[] := '{message.received,message.status,conversation.created,event.dead}';
BEGIN
    PERFORM msgstore._check_scope_here();
    PERFORM msgstore._check_tenant(owner);
    PERFORM msgstore._check_tenant_here(owner);
    PERFORM msgstore._check_name('destination', name);
    IF url IS NULL OR url !~* '^https?://[^/?#@[:space:]]+([/?][^#[:space:]]*)?$' THEN
        RAISE EXCEPTION 'invalid URL % of destination "%"',
            coalesce('"' || left(url, 200) || '"', 'null'), name
            USING ERRCODE = 'MS400',
                  DETAIL = 'The URL must begin with http:// or https:// and a host, and must have neither a user nor a fragment.';
    ELSIF coalesce(cardinality(events), 0) = 0 OR NOT events <@ known THEN
        RAISE EXCEPTION 'invalid events of destination "%"', name
            USING ERRCODE = 'MS400',
                  DETAIL = format('The events are %s.', array_to_string(known, ', '));
    ELSIF timeout IS NULL OR timeout NOT BETWEEN interval '1 second' AND interval '1 minute'
        OR coalesce(cardinality(retry_after), 0) = 0 OR array_position(retry_after, NULL) > 0
        OR interval '0' > ANY (retry_after)
    THEN
        RAISE EXCEPTION 'invalid settings of destination "%"', name
            USING ERRCODE = 'MS400',
                  DETAIL = 'The timeout must be 1 second to 1 minute, and retry_after an array of durations.';
    END IF;
    INSERT INTO msgstore.destinations (tenant_id, name, url, events, timeout, retry_after)
    VALUES (owner, name, url, events, timeout, retry_after)
    ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'destination "%" already exists', name USING ERRCODE = 'MS409';
    END IF;
    RETURN msgstore._add_destination_secret(owner, name, secret);
END
$$;

CREATE FUNCTION msgstore.rotate_destination_secret(
    destination text,
    secret text DEFAULT NULL,
    overlap interval DEFAULT '1 day')
    RETURNS text
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_variable
DECLARE
    used msgstore.destinations;
BEGIN
    PERFORM msgstore._check_scope_here();
    used := msgstore._destination(destination);
    PERFORM msgstore._check_overlap(overlap);
    DELETE FROM msgstore.destination_secrets s
    WHERE s.tenant_id = used.tenant_id AND s.destination = used.name
        AND s.not_after <= clock_timestamp();
    UPDATE msgstore.destination_secrets s
    SET not_after = least(s.not_after, clock_timestamp() + overlap)
    WHERE s.tenant_id = used.tenant_id AND s.destination = used.name;
    RETURN msgstore._add_destination_secret(used.tenant_id, used.name, secret);
END
$$;

CREATE FUNCTION msgstore.pause_destination(destination text) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_variable
DECLARE
    used msgstore.destinations;
BEGIN
    PERFORM msgstore._check_scope_here();
    used := msgstore._destination(destination);
    UPDATE msgstore.destinations d SET paused = true
    WHERE d.tenant_id = used.tenant_id AND d.name = used.name;
END
$$;

-- With redrive, also notifications that were given up. Returns how many are due.
CREATE FUNCTION msgstore.resume_destination(destination text, redrive boolean DEFAULT false)
    RETURNS bigint
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_variable
DECLARE
    used msgstore.destinations;
    due bigint;
BEGIN
    PERFORM msgstore._check_scope_here();
    used := msgstore._destination(destination);
    UPDATE msgstore.notifications n
    SET next_attempt_at = clock_timestamp(), dead_at = NULL,
        attempt_count = CASE WHEN n.dead_at IS NULL THEN n.attempt_count ELSE 0 END
    WHERE n.tenant_id = used.tenant_id AND n.destination = used.name
        AND n.sender_id IS NULL AND (n.dead_at IS NULL OR redrive);
    GET DIAGNOSTICS due = ROW_COUNT;
    UPDATE msgstore.destinations d
    SET paused = false, failures = 0, paused_until = NULL, last_error = NULL
    WHERE d.tenant_id = used.tenant_id AND d.name = used.name;
    PERFORM msgstore._wake_senders();
    RETURN due;
END
$$;

CREATE FUNCTION msgstore.drop_destination(destination text) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_variable
DECLARE
    used msgstore.destinations;
BEGIN
    PERFORM msgstore._check_scope_here();
    used := msgstore._destination(destination);
    DELETE FROM msgstore.destinations d
    WHERE d.tenant_id = used.tenant_id AND d.name = used.name;
    DELETE FROM msgstore.destination_secrets s
    WHERE s.tenant_id = used.tenant_id AND s.destination = used.name;
    DELETE FROM msgstore.notifications n
    WHERE n.tenant_id = used.tenant_id AND n.destination = used.name;
END
$$;

CREATE FUNCTION msgstore.test_destination(destination text) RETURNS uuid
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_variable
DECLARE
    used msgstore.destinations;
    made uuid := msgstore.uuid7();
BEGIN
    PERFORM msgstore._check_scope_here();
    used := msgstore._destination(destination);
    INSERT INTO msgstore.notifications
        (tenant_id, destination, id, event, subject_id, line_id, happened_at)
    VALUES (used.tenant_id, used.name, made, 'test', made, made, now());
    PERFORM msgstore._wake_senders();
    RETURN made;
END
$$;

CREATE FUNCTION msgstore.list_destinations()
    RETURNS TABLE (
        name text,
        tenant_id text,
        url text,
        events text[],
        paused boolean,
        paused_until timestamptz,
        failures int,
        last_error text,
        waiting bigint,
        dead bigint,
        created_at timestamptz)
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE SECURITY DEFINER ROWS 100
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
DECLARE
    scope CONSTANT text := msgstore._tenant_scope();
BEGIN
    RETURN QUERY
    SELECT d.name, d.tenant_id, d.url, d.events, d.paused,
           CASE WHEN d.paused_until > clock_timestamp() THEN d.paused_until END, d.failures,
           d.last_error, n.waiting, n.dead, d.created_at
    FROM msgstore.destinations d
    CROSS JOIN LATERAL (
        SELECT count(*) FILTER (WHERE n.dead_at IS NULL) AS waiting,
               count(*) FILTER (WHERE n.dead_at IS NOT NULL) AS dead
        FROM msgstore.notifications n
        WHERE n.tenant_id = d.tenant_id AND n.destination = d.name) n
    WHERE scope IN ('', d.tenant_id)
    ORDER BY d.tenant_id, d.name;
END
$$;

REVOKE ALL ON FUNCTION msgstore._destination(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._add_destination_secret(text, text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.create_destination(text, text, text[], text, text, interval, interval[]) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.rotate_destination_secret(text, text, interval) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.pause_destination(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.resume_destination(text, boolean) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.drop_destination(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.test_destination(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.list_destinations() FROM PUBLIC;

COMMENT ON FUNCTION msgstore._destination(text) IS
    'Returns the destination with this name that the session can see. Raises MS404 if there is none, MS409 if several tenants have one';
COMMENT ON FUNCTION msgstore._add_destination_secret(text, text, text) IS
    'Adds a secret to a destination and returns it; makes one if it is null. Raises MS400 if it is invalid';
COMMENT ON FUNCTION msgstore.create_destination(text, text, text[], text, text, interval, interval[]) IS
    'Creates a destination: msgstore-sender posts these events of the tenant to the URL, signed as Standard Webhooks. retry_after: how long to wait after each failed attempt. Returns the secret, which is made if it is null. Raises MS400 for an invalid argument, MS403 for another tenant than the session''s, MS409 if the tenant has a destination with this name';
COMMENT ON FUNCTION msgstore.rotate_destination_secret(text, text, interval) IS
    'Adds a secret to a destination and returns it. For the time of the overlap, notifications are signed with the earlier ones, too. Raises MS400 for an invalid argument, MS404 if there is no such destination, MS409 if several tenants have one';
COMMENT ON FUNCTION msgstore.pause_destination(text) IS
    'Pauses a destination: its notifications wait. Raises MS404 if there is no such destination, MS409 if several tenants have one';
COMMENT ON FUNCTION msgstore.resume_destination(text, boolean) IS
    'Ends the pause of a destination: what waits is delivered at once, with redrive also what was given up. Returns their number. Raises MS404 if there is no such destination, MS409 if several tenants have one';
COMMENT ON FUNCTION msgstore.drop_destination(text) IS
    'Removes a destination, its secrets, and what waits for it. Raises MS404 if there is no such destination, MS409 if several tenants have one';
COMMENT ON FUNCTION msgstore.test_destination(text) IS
    'Queues a test notification and returns its id. Raises MS404 if there is no such destination, MS409 if several tenants have one';
COMMENT ON FUNCTION msgstore.list_destinations() IS
    'Returns the destinations of the session''s tenant, or of all tenants for a session without one, with the numbers of notifications that wait and that were given up. Does not return secrets';
