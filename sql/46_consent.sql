-- consent: who has opted out of whose messages.

CREATE TABLE msgstore.opt_outs (
    tenant_id text COLLATE "C" NOT NULL,
    channel text COLLATE "C" NOT NULL,
    recipient text COLLATE "C" NOT NULL,
    sender text COLLATE "C" NOT NULL DEFAULT '',
    reason text COLLATE "C" NOT NULL,
    word text,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT opt_outs_pkey PRIMARY KEY (tenant_id, channel, recipient, sender),
    CONSTRAINT opt_outs_reason
        CHECK (reason IN ('keyword', 'provider', 'unsubscribed', 'complaint', 'manual'))
);

CREATE TABLE msgstore.consent_log (
    tenant_id text COLLATE "C" NOT NULL,
    id uuid NOT NULL DEFAULT msgstore.uuid7(),
    channel text COLLATE "C" NOT NULL,
    recipient text COLLATE "C" NOT NULL,
    sender text COLLATE "C" NOT NULL,
    action text COLLATE "C" NOT NULL,
    reason text COLLATE "C" NOT NULL,
    word text,
    message_id uuid,
    performed_by text NOT NULL DEFAULT msgstore._actor(),
    happened_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT consent_log_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT consent_log_action CHECK (action IN ('out', 'in', 'help'))
);

CREATE INDEX consent_log_recipient_idx
    ON msgstore.consent_log (tenant_id, recipient, channel);

SELECT pg_catalog.pg_extension_config_dump('msgstore.opt_outs', '');
SELECT pg_catalog.pg_extension_config_dump('msgstore.consent_log', '');

-- A reply to a number is about its sms and its mms.
CREATE FUNCTION msgstore._consent_channel(channel text) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL UNSAFE
    RETURN CASE channel WHEN 'mms' THEN 'sms' ELSE channel END;

-- Returns whether anything changed. A request for help is only recorded.
CREATE FUNCTION msgstore._note_consent(
    tenant text,
    channel text,
    recipient text,
    sender text,
    action text,
    reason text,
    word text DEFAULT NULL,
    message_id uuid DEFAULT NULL)
    RETURNS boolean
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_variable
DECLARE
    place CONSTANT text := msgstore._consent_channel(channel);
BEGIN
    IF action = 'out' THEN
        INSERT INTO msgstore.opt_outs (tenant_id, channel, recipient, sender, reason, word)
        VALUES (tenant, place, recipient, sender, reason, left(word, 64))
        ON CONFLICT DO NOTHING;
    ELSIF action = 'in' THEN
        DELETE FROM msgstore.opt_outs o
        WHERE o.tenant_id = tenant AND o.channel = place
            AND o.recipient = recipient AND o.sender = sender;
    END IF;
    IF action <> 'help' AND NOT FOUND THEN
        RETURN false;
    END IF;
    INSERT INTO msgstore.consent_log
        (tenant_id, channel, recipient, sender, action, reason, word, message_id)
    VALUES (tenant, place, recipient, sender, action, reason, left(word, 64), message_id);
    RETURN true;
END
$$;

-- What the provider says counts, then what the words of the channel say.
CREATE FUNCTION msgstore._read_consent(
    tenant text,
    channel text,
    recipient text,
    sender text,
    word text,
    told text,
    message_id uuid)
    RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_variable
DECLARE
    action text := CASE lower(told) WHEN 'stop' THEN 'out' WHEN 'start' THEN 'in'
                                    WHEN 'help' THEN 'help' END;
    reason text := 'provider';
BEGIN
    IF action IS NULL THEN
        reason := 'keyword';
        SELECT CASE WHEN word = ANY (c.stop_words) THEN 'out'
                    WHEN word = ANY (c.start_words) THEN 'in'
                    WHEN word = ANY (c.help_words) THEN 'help' END
        INTO action
        FROM msgstore.channels c WHERE c.name = channel;
    END IF;
    IF action IS NOT NULL THEN
        PERFORM msgstore._note_consent(
            tenant, channel, recipient, sender, action, reason, coalesce(nullif(told, ''), word),
            message_id);
    END IF;
END
$$;

-- Raises MS403 for a message that its recipient does not want.
CREATE FUNCTION msgstore._refuse_opted_out(tenant text, channel text, recipient text, sender text)
    RETURNS void
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_variable
DECLARE
    found record;
BEGIN
    SELECT o.reason, o.word, o.created_at INTO found
    FROM msgstore.opt_outs o
    WHERE o.tenant_id = tenant AND o.channel = msgstore._consent_channel(channel)
        AND o.recipient = recipient AND o.sender IN (sender, '')
    ORDER BY o.created_at LIMIT 1;
    RAISE EXCEPTION 'recipient "%" has opted out of messages from "%"', recipient, sender
        USING ERRCODE = 'MS403',
              DETAIL = format('Reason: %s%s, since %s.', found.reason,
                              coalesce(' "' || found.word || '"', ''),
                              to_char(found.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')),
              HINT = 'If the recipient has agreed to messages again, call msgstore.opt_in().';
END
$$;

-- By hand: normalizes the addresses as a message would have them.
CREATE FUNCTION msgstore._change_consent(
    channel text, recipient text, sender text, action text, reason text)
    RETURNS boolean
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    changed boolean;
BEGIN
    PERFORM msgstore._check_own_tenant();
    PERFORM msgstore._check_text('recipient', recipient, 510);
    IF reason NOT IN ('unsubscribed', 'complaint', 'manual') THEN
        RAISE EXCEPTION 'invalid reason "%"', left(reason, 64)
            USING ERRCODE = 'MS400',
                  DETAIL = 'The reason must be "manual", "unsubscribed" or "complaint".';
    END IF;
    changed := msgstore._note_consent(
        msgstore._tenant_scope(), channel,
        msgstore.normalize_address(channel, recipient),
        CASE WHEN coalesce(sender, '') = '' THEN ''
             ELSE msgstore.normalize_address(channel, sender) END,
        action, coalesce(reason, 'manual'));
    RETURN changed;
END
$$;

CREATE FUNCTION msgstore.opt_out(
    channel text, recipient text, sender text DEFAULT NULL, reason text DEFAULT 'manual')
    RETURNS boolean
    LANGUAGE sql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$ SELECT msgstore._change_consent($1, $2, $3, 'out', $4) $$;

CREATE FUNCTION msgstore.opt_in(
    channel text, recipient text, sender text DEFAULT NULL)
    RETURNS boolean
    LANGUAGE sql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$ SELECT msgstore._change_consent($1, $2, $3, 'in', 'manual') $$;

REVOKE ALL ON FUNCTION msgstore._consent_channel(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._note_consent(text, text, text, text, text, text, text, uuid) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._read_consent(text, text, text, text, text, text, uuid) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._refuse_opted_out(text, text, text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._change_consent(text, text, text, text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.opt_out(text, text, text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore.opt_in(text, text, text) FROM PUBLIC;

COMMENT ON TABLE msgstore.opt_outs IS
    'Recipients who have opted out: messages to them are refused by send(), and queued ones are not sent';
COMMENT ON COLUMN msgstore.opt_outs.tenant_id IS
    'Tenant whose messages they do not want';
COMMENT ON COLUMN msgstore.opt_outs.channel IS
    'Channel; sms includes mms';
COMMENT ON COLUMN msgstore.opt_outs.recipient IS
    'Normalized address of the recipient';
COMMENT ON COLUMN msgstore.opt_outs.sender IS
    'Normalized address of the sender whose messages they do not want; empty for all of the tenant';
COMMENT ON COLUMN msgstore.opt_outs.reason IS
    'keyword (a message such as STOP), provider (told by the provider), unsubscribed, complaint or manual';
COMMENT ON COLUMN msgstore.opt_outs.word IS
    'The keyword, or the provider''s word or error code; null if there is none';
COMMENT ON COLUMN msgstore.opt_outs.created_at IS
    'Time of the opt-out';
COMMENT ON TABLE msgstore.consent_log IS
    'Every opt-out, opt-in and request for help';
COMMENT ON COLUMN msgstore.consent_log.tenant_id IS
    'Tenant, as in opt_outs';
COMMENT ON COLUMN msgstore.consent_log.id IS
    'Id of the entry (UUID version 7)';
COMMENT ON COLUMN msgstore.consent_log.channel IS
    'Channel; sms includes mms';
COMMENT ON COLUMN msgstore.consent_log.recipient IS
    'Normalized address of the recipient';
COMMENT ON COLUMN msgstore.consent_log.sender IS
    'Normalized address of the sender; empty for all of the tenant';
COMMENT ON COLUMN msgstore.consent_log.action IS
    'out, in or help';
COMMENT ON COLUMN msgstore.consent_log.reason IS
    'Reason, as in opt_outs';
COMMENT ON COLUMN msgstore.consent_log.word IS
    'The keyword, or the provider''s word or error code; null if there is none';
COMMENT ON COLUMN msgstore.consent_log.message_id IS
    'Message that says it, or that the provider refused or reported; null for a change by hand';
COMMENT ON COLUMN msgstore.consent_log.performed_by IS
    'Role of the session that recorded it';
COMMENT ON COLUMN msgstore.consent_log.happened_at IS
    'Time at which it was recorded';
COMMENT ON FUNCTION msgstore._consent_channel(text) IS
    'Returns the channel under which consent is kept';
COMMENT ON FUNCTION msgstore._note_consent(text, text, text, text, text, text, text, uuid) IS
    'Records an opt-out, opt-in or request for help; returns whether anything changed';
COMMENT ON FUNCTION msgstore._read_consent(text, text, text, text, text, text, uuid) IS
    'Records what an inbound message says about consent: told is what the provider made of it, word the message in lower case without white space and punctuation';
COMMENT ON FUNCTION msgstore._refuse_opted_out(text, text, text, text) IS
    'Raises MS403 with the reason of an opt-out';
COMMENT ON FUNCTION msgstore._change_consent(text, text, text, text, text) IS
    'Implements opt_out() and opt_in()';
COMMENT ON FUNCTION msgstore.opt_out(text, text, text, text) IS
    'Records that a recipient does not want messages from this sender, or with null from any of the tenant. reason: manual, unsubscribed or complaint. Returns false if that was recorded already. Raises MS400 for an invalid argument';
COMMENT ON FUNCTION msgstore.opt_in(text, text, text) IS
    'Records that a recipient wants messages again: from this sender, or with null ends the opt-out of all of the tenant''s. Returns false if there was no such opt-out. Raises MS400 for an invalid argument';
