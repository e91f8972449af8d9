-- channels: what is known of each kind of message. A new channel is a row.

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
    CONSTRAINT channels_pkey PRIMARY KEY (name),
    CONSTRAINT channels_name_is_word
        CHECK (name ~ '^[a-z][a-z0-9_-]{0,62}$'),
    -- Nothing in front of a conversation key's first colon has a colon.
    CONSTRAINT channels_thread_is_word
        CHECK (thread ~ '^[a-z][a-z0-9_-]{0,62}$'),
    CONSTRAINT channels_address_kind_known
        CHECK (address_kind IN ('phone', 'email', 'opaque')),
    CONSTRAINT channels_provider_id_field_not_blank
        CHECK (provider_id_field ~ '[^[:space:]]'),
    CONSTRAINT channels_types_are_words
        -- Nulls, a second dimension and anything quoted look different.
        CHECK (types::text
               ~ '^\{[a-z][a-z0-9_-]{0,62}(,[a-z][a-z0-9_-]{0,62})*\}$'),
    CONSTRAINT channels_attachments_known
        CHECK (attachments IN ('none', 'optional', 'required')),
    CONSTRAINT channels_origin_known
        CHECK (origin IN ('built-in', 'changed', 'added')),
    CONSTRAINT channels_provider_is_word
        CHECK (provider ~ '^[a-z][a-z0-9_-]{0,62}$')
);

INSERT INTO msgstore.channels
    (name, address_kind, thread, provider_id_field,
     types, body_required, attachments, origin, provider)
VALUES
    ('sms', 'phone', 'sms', 'messaging_provider_id',
     '{sms,mms}', true, 'none', 'built-in', 'sms-mms'),
    ('mms', 'phone', 'mms', 'messaging_provider_id',
     '{mms}', false, 'required', 'built-in', 'sms-mms'),
    ('email', 'email', 'email', 'xillio_id',
     NULL, true, 'optional', 'built-in', 'email');

-- A dump leaves out the rows that CREATE EXTENSION makes again.
SELECT pg_catalog.pg_extension_config_dump(
    'msgstore.channels', $$WHERE origin <> 'built-in'$$);

CREATE FUNCTION msgstore._complete_channel() RETURNS trigger
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    NEW.thread := coalesce(NEW.thread, NEW.name);
    IF TG_OP = 'INSERT' THEN
        -- A dump has the built-in channels that were changed. When it is
        -- restored, CREATE EXTENSION has just made them as they were.
        IF NEW.origin = 'changed' THEN
            DELETE FROM msgstore.channels AS c
            WHERE c.name = NEW.name AND c.origin = 'built-in';
        ELSIF NEW.origin = 'built-in' THEN
            -- No dump would have it.
            NEW.origin := 'added';
        END IF;
        RETURN NEW;
    END IF;
    IF OLD.origin <> 'added' AND NEW.name <> OLD.name THEN
        RAISE EXCEPTION 'cannot rename built-in channel "%"', OLD.name
            USING ERRCODE = 'MS400',
                  DETAIL = 'A restored dump would have it again under its old name.',
                  HINT = 'Insert a row for a new channel.';
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
                  DETAIL = 'A restored dump would have the built-in channels again.',
                  HINT = 'Delete the channels that were added.';
    END IF;
    -- Within a trigger it is _complete_channel that makes room.
    IF OLD.origin = 'added' OR pg_trigger_depth() > 1 THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'cannot delete built-in channel "%"', OLD.name
        USING ERRCODE = 'MS400',
              DETAIL = 'A restored dump would have it again.';
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

-- For each row: the apply worker of a subscription fires no others.
CREATE TRIGGER invalidate_channels
AFTER INSERT OR UPDATE OR DELETE ON msgstore.channels
FOR EACH ROW EXECUTE FUNCTION msgstore._invalidate_channels();

-- ALWAYS: a restore in the role of a replica needs them as well.
ALTER TABLE msgstore.channels ENABLE ALWAYS TRIGGER complete_channel;
ALTER TABLE msgstore.channels ENABLE ALWAYS TRIGGER keep_channel;
ALTER TABLE msgstore.channels ENABLE ALWAYS TRIGGER keep_channels;
ALTER TABLE msgstore.channels ENABLE ALWAYS TRIGGER invalidate_channels;

REVOKE ALL ON FUNCTION msgstore._complete_channel() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._keep_channel() FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._invalidate_channels() FROM PUBLIC;

COMMENT ON TABLE msgstore.channels IS
'One row for each channel; a new channel is one INSERT. Every backend keeps a copy that a change replaces at once. The built-in channels sms, mms and email can be changed but not deleted.';
COMMENT ON COLUMN msgstore.channels.name IS
'what ingest, send and the other functions call the channel';
COMMENT ON COLUMN msgstore.channels.address_kind IS
'how its addresses are normalized: phone, email, or opaque (only trimmed)';
COMMENT ON COLUMN msgstore.channels.thread IS
'what its conversation keys begin with; channels of one thread share their conversations; null becomes the channel''s name';
COMMENT ON COLUMN msgstore.channels.provider_id_field IS
'field of the payload that holds the provider''s message id';
COMMENT ON COLUMN msgstore.channels.types IS
'values that the payload''s field "type" may have, each the name of the channel the event then belongs to, compared without regard to case; null: the field is not looked at';
COMMENT ON COLUMN msgstore.channels.body_required IS
'whether a message must have a body that is not blank';
COMMENT ON COLUMN msgstore.channels.attachments IS
'whether a message has attachments: none, optional or required';
COMMENT ON COLUMN msgstore.channels.origin IS
'built-in, changed (built-in and then updated) or added; kept by the table itself';
COMMENT ON COLUMN msgstore.channels.strict_order IS
'whether later events of a conversation wait while an earlier one waits for its retry or is claimed from outside';
COMMENT ON COLUMN msgstore.channels.provider IS
'who carries its outbound messages; null: nobody, they are not sent';
COMMENT ON FUNCTION msgstore._complete_channel() IS
'Trigger: fills in thread and origin; MS400 where a built-in channel would be renamed.';
COMMENT ON FUNCTION msgstore._keep_channel() IS
'Trigger: MS400 where a built-in channel would be deleted or the table truncated.';
COMMENT ON FUNCTION msgstore._invalidate_channels() IS
'Trigger: makes every backend read the channels again.';
