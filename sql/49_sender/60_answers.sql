-- sender: what the answers of providers mean.

-- Header lines as an object with names in lower case.
CREATE FUNCTION msgstore._header_object(headers text) RETURNS jsonb
    LANGUAGE sql IMMUTABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT coalesce(jsonb_object_agg(lower(split_part(l.line, ':', 1)),
                                     btrim(substr(l.line, strpos(l.line, ':') + 1))), '{}')
    FROM regexp_split_to_table(headers, '\r?\n') AS l (line)
    WHERE strpos(l.line, ':') > 1
    $$;

-- {"status", "headers", "body"}; a body that is not JSON is a string.
CREATE FUNCTION msgstore._answer_document(status int, headers text, body bytea) RETURNS jsonb
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    decoded jsonb;
BEGIN
    BEGIN
        decoded := msgstore.read_payload(convert_from(body, 'UTF8'));
    EXCEPTION
        WHEN data_exception OR SQLSTATE 'MS400' THEN
            decoded := to_jsonb(regexp_replace(encode(left_bytes.b, 'escape'), '\\[0-9]{3}', '?', 'g'))
            FROM (SELECT substr(body, 1, 1000) AS b) left_bytes;
    END;
    RETURN jsonb_build_object('status', status, 'headers', msgstore._header_object(headers),
                              'body', decoded);
END
$$;

CREATE FUNCTION msgstore._first_of(document jsonb, paths text[]) RETURNS text
    LANGUAGE sql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT v.value #>> '{}'
    FROM unnest(paths) WITH ORDINALITY AS p (path, n)
    CROSS JOIN LATERAL (
        SELECT jsonb_path_query_first(document, p.path::jsonpath, silent => true) AS value) v
    WHERE jsonb_typeof(v.value) IN ('string', 'number') AND v.value #>> '{}' ~ '[^[:space:]]'
    ORDER BY p.n LIMIT 1
    $$;

CREATE FUNCTION msgstore._judge_answer(api msgstore.provider_apis, document jsonb) RETURNS text
    LANGUAGE sql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT coalesce(
        (SELECT o.rule ->> 'outcome'
         FROM jsonb_array_elements((api).outcomes) WITH ORDINALITY AS o (rule, n)
         WHERE jsonb_path_match(document, (o.rule ->> 'if')::jsonpath, silent => true)
         ORDER BY o.n LIMIT 1),
        CASE
            WHEN s.status BETWEEN 200 AND 299 THEN 'sent'
            WHEN s.status IN (429, 503) THEN 'limited'
            WHEN s.status IN (401, 402) THEN 'account'
            WHEN s.status IN (408, 502, 504) THEN 'unknown'
            WHEN s.status BETWEEN 500 AND 599 THEN 'retry'
            ELSE 'failed' END)
    FROM (SELECT (document ->> 'status')::int AS status) s
    $$;

-- Seconds or a date; at most a day.
CREATE FUNCTION msgstore._retry_after(document jsonb) RETURNS interval
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    told CONSTANT text := document -> 'headers' ->> 'retry-after';
BEGIN
    IF told ~ '^[0-9]{1,9}$' THEN
        RETURN least(told::int * interval '1 second', interval '1 day');
    ELSIF told ~ '^[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9:]{8} GMT$' THEN
        RETURN greatest(least(substr(told, 6)::timestamptz - clock_timestamp(),
                              interval '1 day'), interval '0');
    END IF;
    RETURN NULL;
EXCEPTION
    WHEN data_exception THEN
        RETURN NULL;
END
$$;

-- A success ends a series of failures. Rarely writes: most accounts have none.
CREATE FUNCTION msgstore._note_success(tenant text, account text) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    CASE (SELECT sign(a.failures - 2.5) FROM msgstore.accounts a
          WHERE a.tenant_id = tenant AND a.name = account AND a.failures > 0)
        WHEN 1 THEN
            PERFORM msgstore._resume_account(tenant, account);
        WHEN -1 THEN
            UPDATE msgstore.accounts a
            SET failures = 0, last_error = NULL,
                paused_until = CASE WHEN a.paused_until > clock_timestamp() THEN a.paused_until END
            WHERE a.tenant_id = tenant AND a.name = account;
        ELSE
            NULL;
    END CASE;
END
$$;

-- Returns when the account is used again.
CREATE FUNCTION msgstore._note_failure(
    tenant text, account text, rest interval, reason text)
    RETURNS timestamptz
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    ends timestamptz;
BEGIN
    UPDATE msgstore.accounts a
    SET failures = a.failures + 1, last_error = left(reason, 1000),
        -- From three failures on, paused_until is the end of the probe.
        paused_until = greatest(
            CASE WHEN a.failures < 3 THEN a.paused_until END,
            clock_timestamp() + greatest(rest, msgstore._rest_after(a.failures + 1, 3, '1 minute')))
    WHERE a.tenant_id = tenant AND a.name = account
    RETURNING a.paused_until INTO ends;
    RETURN coalesce(ends, clock_timestamp());
END
$$;

CREATE FUNCTION msgstore._may_resend(account msgstore.accounts) RETURNS boolean
    LANGUAGE sql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT coalesce(account.resend, (msgstore._provider_api(account.provider)).idempotency_header IS NOT NULL)
    $$;

-- Long, because it is the one place where an answer has its effect.
CREATE FUNCTION msgstore.record_answer(
    sender_id text,
    message_id uuid,
    status int,
    headers text,
    body bytea,
    failure text DEFAULT NULL,
    was_sent boolean DEFAULT true)
    RETURNS text
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off
    SET enable_bitmapscan = off
    SET jit = off
    AS $$
#variable_conflict use_column
DECLARE
    held record;
    used msgstore.accounts;
    api msgstore.provider_apis;
    document jsonb;
    outcome text;
    code text;
    reason text;
    told text;
    rest interval;
BEGIN
    PERFORM msgstore._check_scope_here();
    held := msgstore._hold_outbound(record_answer.message_id);
    PERFORM msgstore._check_text('sender_id', record_answer.sender_id, 255);
    SELECT a.* INTO used
    FROM msgstore.messages m
    CROSS JOIN LATERAL msgstore._account_for(m.tenant_id, m.channel, m."from") a
    WHERE m.tenant_id = held.tenant_id AND m.id = record_answer.message_id;
    IF used.name IS NULL THEN
        RAISE EXCEPTION 'message "%" has no account', record_answer.message_id
            USING ERRCODE = 'MS409';
    END IF;
    api := msgstore._provider_api(used.provider);
    document := msgstore._answer_document(status, headers, body);
    outcome := CASE WHEN status > 0 THEN msgstore._judge_answer(api, document)
                    WHEN was_sent THEN 'unknown' ELSE 'limited' END;
    code := left(coalesce(msgstore._first_of(document, api.error_code_paths),
                          CASE WHEN status > 0 THEN status::text ELSE 'no_answer' END), 255);
    reason := left(coalesce(msgstore._first_of(document, api.error_message_paths), failure,
                            format('provider "%s" answered %s', api.provider, status)), 1000);
    IF status BETWEEN 400 AND 599 AND code = ANY (api.opt_out_codes) THEN
        outcome := 'failed';
        PERFORM msgstore._note_consent(
            m.tenant_id, m.channel, m."to", m."from", 'out', 'provider', code, m.id)
        FROM msgstore.messages m
        WHERE m.tenant_id = held.tenant_id AND m.id = record_answer.message_id;
    ELSIF outcome = 'unknown' THEN
        outcome := CASE WHEN msgstore._may_resend(used) THEN 'retry' ELSE 'uncertain' END;
    END IF;

    IF outcome = 'sent' THEN
        told := msgstore.sent(record_answer.message_id, left(coalesce(
            btrim(msgstore._first_of(document, api.id_paths), '<> '),
            msgstore._mail_id(held.tenant_id, record_answer.message_id, api.protocol)), 510),
            record_answer.sender_id);
        UPDATE msgstore.deliveries d SET provider = api.provider
        WHERE d.tenant_id = held.tenant_id AND d.message_id = record_answer.message_id
            AND d.provider IS DISTINCT FROM api.provider;
        PERFORM msgstore._note_success(used.tenant_id, used.name);
        RETURN told;
    END IF;
    PERFORM msgstore._check_holder(
        record_answer.message_id, held.holder, record_answer.sender_id);
    IF outcome IN ('failed', 'uncertain') THEN
        told := msgstore.send_failed(
            record_answer.message_id, CASE outcome WHEN 'uncertain' THEN 'uncertain' ELSE code END,
            reason, record_answer.sender_id, permanent => true);
    ELSIF outcome = 'retry' THEN
        told := msgstore.send_failed(
            record_answer.message_id, code, reason, record_answer.sender_id);
    END IF;
    IF outcome = 'failed' THEN
        PERFORM msgstore._note_success(used.tenant_id, used.name);
        RETURN told;
    END IF;
    rest := CASE outcome
        WHEN 'limited' THEN coalesce(msgstore._retry_after(document), interval '1 second')
        WHEN 'account' THEN interval '5 seconds' * 2 ^ least(used.failures, 6)
        ELSE coalesce(msgstore._retry_after(document), interval '0') END;
    IF outcome IN ('limited', 'account') THEN
        PERFORM msgstore._postpone(
            held.tenant_id, record_answer.message_id,
            msgstore._note_failure(used.tenant_id, used.name, rest, code || ': ' || reason));
        PERFORM msgstore._watch_outbox();
        RETURN 'queued';
    END IF;
    PERFORM msgstore._note_failure(used.tenant_id, used.name, rest, code || ': ' || reason);
    RETURN told;
END
$$;

-- The id of a message for which the provider has none: by SMTP that of the mail.
CREATE FUNCTION msgstore._mail_id(tenant text, message uuid, protocol text) RETURNS text
    LANGUAGE sql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT CASE protocol WHEN 'smtp' THEN
        format('%s@%s', m.id, coalesce(substring(
            msgstore._party_of(coalesce(m.from_given, m."from")) ->> 'email'
            FROM '@([A-Za-z0-9.-]+)$'), 'localhost'))
        ELSE m.id::text END
    FROM msgstore.messages m
    WHERE m.tenant_id = tenant AND m.id = message
    $$;

REVOKE ALL ON FUNCTION msgstore._header_object(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._answer_document(int, text, bytea) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._first_of(jsonb, text[]) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._judge_answer(msgstore.provider_apis, jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._retry_after(jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._note_success(text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._note_failure(text, text, interval, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._may_resend(msgstore.accounts) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.record_answer(text, uuid, int, text, bytea, text, boolean) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._mail_id(text, uuid, text) FROM PUBLIC;

COMMENT ON FUNCTION msgstore._header_object(text) IS
    'Returns header lines as an object with names in lower case';
COMMENT ON FUNCTION msgstore._answer_document(int, text, bytea) IS
    'Returns an answer as an object of status, headers and body';
COMMENT ON FUNCTION msgstore._first_of(jsonb, text[]) IS
    'Returns the first string or number that one of the jsonpath expressions finds';
COMMENT ON FUNCTION msgstore._judge_answer(msgstore.provider_apis, jsonb) IS
    'Returns what an answer means: sent, retry, limited, failed, account or unknown';
COMMENT ON FUNCTION msgstore._retry_after(jsonb) IS
    'Returns how long an answer asks to wait; null if it does not';
COMMENT ON FUNCTION msgstore._note_success(text, text) IS
    'Ends a series of failures of an account';
COMMENT ON FUNCTION msgstore._note_failure(text, text, interval, text) IS
    'Counts a failure of an account; returns when it is used again';
COMMENT ON FUNCTION msgstore._may_resend(msgstore.accounts) IS
    'Returns whether a message is sent again if it is not known whether the provider has accepted it';
COMMENT ON FUNCTION msgstore.record_answer(text, uuid, int, text, bytea, text, boolean) IS
    'For msgstore-sender: records the answer to a request of claim_requests(). status: that of HTTP or of the mail server, 0 for none. failure: why there is no answer. was_sent: whether the provider may have received the request. Returns the status of the message. Raises MS400 for an invalid argument, MS404 if there is no such message, MS409 if another sender holds it';
COMMENT ON FUNCTION msgstore._mail_id(text, uuid, text) IS
    'Returns the provider message id of a message for which the provider tells none';
