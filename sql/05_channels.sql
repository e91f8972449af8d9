-- channels: the rules of each kind of message. A new channel is a row.

CREATE TABLE msgstore.channels
(
    name text COLLATE "C" NOT NULL,
    address_kind text NOT NULL,
    thread text COLLATE "C" NOT NULL,
    provider_id_field text NOT NULL DEFAULT 'messaging_provider_id',
    types text[] COLLATE "C",
    body_required boolean NOT NULL DEFAULT false,
    attachments text NOT NULL DEFAULT 'optional',
    origin text NOT NULL DEFAULT 'added',
    strict_order boolean NOT NULL DEFAULT false,
    provider text COLLATE "C",
    plus_tags text NOT NULL DEFAULT 'strip',
    provider_id_fields text[] COLLATE "C" NOT NULL DEFAULT '{}',
    volatile_fields text[] COLLATE "C" NOT NULL DEFAULT '{}',
    stop_words text[] COLLATE "C" NOT NULL,
    start_words text[] COLLATE "C" NOT NULL,
    help_words text[] COLLATE "C" NOT NULL,
    CONSTRAINT channels_pkey PRIMARY KEY (name),
    CONSTRAINT channels_name_is_word
        CHECK (name ~ '^[a-z][a-z0-9_-]{0,62}$'),
    -- The gateway's paths of status callbacks and of sources.
    CONSTRAINT channels_name_not_reserved
        CHECK (name <> 'status' AND name NOT LIKE 'wh\_%'),
    -- No colon: the first colon of a conversation key ends the thread.
    CONSTRAINT channels_thread_is_word
        CHECK (thread ~ '^[a-z][a-z0-9_-]{0,62}$'),
    CONSTRAINT channels_address_kind_known
        CHECK (address_kind IN ('phone', 'email', 'opaque')),
    CONSTRAINT channels_provider_id_field_not_blank
        CHECK (provider_id_field ~ '[^[:space:]]'),
    CONSTRAINT channels_types_are_words
        -- Rejects nulls, a second dimension and quoted elements.
        CHECK (types::text
               ~ '^\{[a-z][a-z0-9_-]{0,62}(,[a-z][a-z0-9_-]{0,62})*\}$'),
    CONSTRAINT channels_attachments_known
        CHECK (attachments IN ('none', 'optional', 'required')),
    CONSTRAINT channels_origin_known
        CHECK (origin IN ('built-in', 'changed', 'added')),
    CONSTRAINT channels_provider_is_word
        CHECK (provider ~ '^[a-z][a-z0-9_-]{0,62}$'),
    CONSTRAINT channels_plus_tags_known
        CHECK (plus_tags IN ('strip', 'keep')),
    CONSTRAINT channels_provider_id_fields_named
        -- Rejects nulls, blank names and a second dimension.
        CHECK (cardinality(provider_id_fields) = 0
               OR array_ndims(provider_id_fields) = 1
                   AND cardinality(provider_id_fields) <= 16
                   AND (E'\n' || array_to_string(provider_id_fields, E'\n', '') || E'\n')
                       !~ '\n\s*\n'),
    CONSTRAINT channels_volatile_fields_named
        CHECK (cardinality(volatile_fields) = 0
               OR array_ndims(volatile_fields) = 1
                   AND cardinality(volatile_fields) <= 16
                   AND (E'\n' || array_to_string(volatile_fields, E'\n', '') || E'\n')
                       !~ '\n\s*\n'),
    -- Rejects nulls, a second dimension, and characters that are not compared.
    CONSTRAINT channels_stop_words_plain
        CHECK (stop_words::text ~ '^\{([^{}", [:punct:]A-Z]+(,[^{}", [:punct:]A-Z]+)*)?\}$'),
    CONSTRAINT channels_start_words_plain
        CHECK (start_words::text ~ '^\{([^{}", [:punct:]A-Z]+(,[^{}", [:punct:]A-Z]+)*)?\}$'),
    CONSTRAINT channels_help_words_plain
        CHECK (help_words::text ~ '^\{([^{}", [:punct:]A-Z]+(,[^{}", [:punct:]A-Z]+)*)?\}$')
);

-- Keywords that carriers demand of senders of text messages.
CREATE FUNCTION msgstore._default_words(
    address_kind text,
    OUT stop_words text[],
    OUT start_words text[],
    OUT help_words text[])
    LANGUAGE sql IMMUTABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT CASE address_kind WHEN 'phone' THEN
               '{stop,stopall,unsubscribe,cancel,end,quit,revoke,optout}'::text[] ELSE '{}' END,
           CASE address_kind WHEN 'phone' THEN '{start,unstop,yes}'::text[] ELSE '{}' END,
           CASE address_kind WHEN 'phone' THEN '{help,info}'::text[] ELSE '{}' END
    $$;

INSERT INTO msgstore.channels
    (name, address_kind, thread, provider_id_field,
     types, body_required, attachments, origin, provider, stop_words, start_words,
     help_words)
SELECT c.*, w.stop_words, w.start_words, w.help_words
FROM (VALUES
    ('sms', 'phone', 'sms', 'messaging_provider_id',
     '{sms,mms}'::text[], true, 'none', 'built-in', 'sms-mms'),
    ('mms', 'phone', 'mms', 'messaging_provider_id',
     '{mms}', false, 'required', 'built-in', 'sms-mms'),
    ('email', 'email', 'email', 'xillio_id',
     NULL, true, 'optional', 'built-in', 'email')) AS c (name, kind)
CROSS JOIN LATERAL msgstore._default_words(c.kind) w;

-- A dump omits the rows that CREATE EXTENSION inserts again.
SELECT pg_catalog.pg_extension_config_dump(
    'msgstore.channels', $$WHERE origin <> 'built-in'$$);

CREATE FUNCTION msgstore._complete_channel() RETURNS trigger
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    NEW.thread := coalesce(NEW.thread, NEW.name);
    SELECT coalesce(NEW.stop_words, w.stop_words), coalesce(NEW.start_words, w.start_words),
           coalesce(NEW.help_words, w.help_words)
    INTO NEW.stop_words, NEW.start_words, NEW.help_words
    FROM msgstore._default_words(NEW.address_kind) w;
    IF TG_OP = 'INSERT' THEN
        -- A dump contains the built-in channels that were changed. When it is
        -- restored, CREATE EXTENSION has just inserted their defaults.
        IF NEW.origin = 'changed' THEN
            DELETE FROM msgstore.channels AS c
            WHERE c.name = NEW.name AND c.origin = 'built-in';
        ELSIF NEW.origin = 'built-in' THEN
            -- A dump would omit it.
            NEW.origin := 'added';
        END IF;
        RETURN NEW;
    END IF;
    IF OLD.origin <> 'added' AND NEW.name <> OLD.name THEN
        RAISE EXCEPTION 'cannot rename built-in channel "%"', OLD.name
            USING ERRCODE = 'MS400',
                  DETAIL = 'A restored dump would contain the channel under its old name again.',
                  HINT = 'Insert a row for the new channel.';
    END IF;
    NEW.origin := CASE OLD.origin
                      WHEN 'built-in' THEN 'changed'
                      ELSE OLD.origin
                  END;
    RETURN NEW;
END
$$;

CREATE FUNCTION msgstore._keep_channel() RETURNS trigger
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        RAISE EXCEPTION 'cannot truncate table "msgstore.channels"'
            USING ERRCODE = 'MS400',
                  DETAIL = 'A restored dump would contain the built-in channels again.',
                  HINT = 'Delete the channels that were added.';
    END IF;
    -- Nested, this is the DELETE of _complete_channel.
    IF OLD.origin = 'added' OR pg_trigger_depth() > 1 THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'cannot delete built-in channel "%"', OLD.name
        USING ERRCODE = 'MS400',
              DETAIL = 'A restored dump would contain the channel again.';
END
$$;

CREATE FUNCTION msgstore._invalidate_channels() RETURNS trigger
LANGUAGE c VOLATILE
AS 'MODULE_PATHNAME', 'msgstore_invalidate_channels';

CREATE TRIGGER complete_channel
BEFORE INSERT OR UPDATE ON msgstore.channels
FOR EACH ROW EXECUTE FUNCTION msgstore._complete_channel();

CREATE TRIGGER keep_channel
BEFORE DELETE ON msgstore.channels
FOR EACH ROW EXECUTE FUNCTION msgstore._keep_channel();

CREATE TRIGGER keep_channels
BEFORE TRUNCATE ON msgstore.channels
FOR EACH STATEMENT EXECUTE FUNCTION msgstore._keep_channel();

-- FOR EACH ROW: the apply worker of a subscription fires only row triggers.
CREATE TRIGGER invalidate_channels
AFTER INSERT OR UPDATE OR DELETE ON msgstore.channels
FOR EACH ROW EXECUTE FUNCTION msgstore._invalidate_channels();

-- ALWAYS: a restore with session_replication_role = replica needs them, too.
ALTER TABLE msgstore.channels ENABLE ALWAYS TRIGGER complete_channel;
ALTER TABLE msgstore.channels ENABLE ALWAYS TRIGGER keep_channel;
ALTER TABLE msgstore.channels ENABLE ALWAYS TRIGGER keep_channels;
ALTER TABLE msgstore.channels ENABLE ALWAYS TRIGGER invalidate_channels;

REVOKE ALL ON FUNCTION msgstore._default_words(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._complete_channel() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._keep_channel() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._invalidate_channels() FROM PUBLIC;

COMMENT ON TABLE msgstore.channels IS
'One row per channel. Insert a row to add a channel; every session sees a change as soon as it is committed. The built-in channels sms, mms and email can be changed but not deleted or renamed.';
COMMENT ON COLUMN msgstore.channels.name IS
'Name of the channel, as passed to ingest, send and the other functions';
COMMENT ON COLUMN msgstore.channels.address_kind IS
'How addresses are normalized: phone, email, or opaque (only trimmed)';
COMMENT ON COLUMN msgstore.channels.thread IS
'First part of the conversation keys. Channels with the same thread share conversations. Null becomes the name of the channel';
COMMENT ON COLUMN msgstore.channels.provider_id_field IS
'Payload field that holds the provider''s message id';
COMMENT ON COLUMN msgstore.channels.types IS
'Allowed values of the payload field "type", compared without regard to case. Each is the name of the channel that the event is stored under. If null, the field is ignored';
COMMENT ON COLUMN msgstore.channels.body_required IS
'Whether a message must have a non-blank body';
COMMENT ON COLUMN msgstore.channels.attachments IS
'Whether a message may or must have attachments: none, optional or required';
COMMENT ON COLUMN msgstore.channels.origin IS
'built-in, changed (a built-in channel that was updated) or added. Maintained by a trigger';
COMMENT ON COLUMN msgstore.channels.strict_order IS
'Whether later events of a conversation wait while an earlier one waits for a retry or is claimed by an external processor';
COMMENT ON COLUMN msgstore.channels.provider IS
'Provider that carries the outbound messages of the channel. If null, they are not sent';
COMMENT ON COLUMN msgstore.channels.plus_tags IS
'Whether the tag of an e-mail address (user+tag@example.com) is part of the identity of a participant: strip or keep';
COMMENT ON COLUMN msgstore.channels.provider_id_fields IS
'Further payload fields whose values identify an event beside the provider''s message id. from and to count as normalized addresses';
COMMENT ON COLUMN msgstore.channels.volatile_fields IS
'Payload fields that the provider changes when it delivers an event again. They are ignored when a duplicate is compared with the stored event';
COMMENT ON COLUMN msgstore.channels.stop_words IS
'Messages by which a recipient opts out, in lower case and without punctuation and white space; null becomes the default: that of phone numbers, or none';
COMMENT ON COLUMN msgstore.channels.start_words IS
'Messages by which a recipient opts in again, likewise';
COMMENT ON COLUMN msgstore.channels.help_words IS
'Messages by which a recipient asks for help, likewise';
COMMENT ON FUNCTION msgstore._default_words(text) IS
'Returns the keywords of a new channel.';
COMMENT ON FUNCTION msgstore._complete_channel() IS
'Trigger function that fills in thread, origin and keywords. Raises MS400 if a built-in channel is renamed.';
COMMENT ON FUNCTION msgstore._keep_channel() IS
'Trigger function that raises MS400 if a built-in channel is deleted or the table is truncated.';
COMMENT ON FUNCTION msgstore._invalidate_channels() IS
'Trigger function that makes every session read the channels again.';
