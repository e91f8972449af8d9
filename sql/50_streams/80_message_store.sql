-- Compatibility with Message DB (@eventide/message-db 1.3), including its error
-- texts. The objects are created on request and belong to the caller, so that a
-- dump contains them. A condition is SQL from the client; it runs with the
-- client's rights, on a security-barrier view of one tenant's events. One long
-- function, because it is the script of another schema.
CREATE FUNCTION msgstore.install_message_store() RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET check_function_bodies = off
    AS $install$
DECLARE
    summary text;
    columns text;
    relation regclass;
BEGIN
    IF to_regnamespace('message_store') IS NOT NULL THEN
        RAISE EXCEPTION 'schema "message_store" already exists'
            USING ERRCODE = 'MS409',
                  DETAIL = 'This interface or Message DB itself is already installed in this database.';
    END IF;
    EXECUTE $sql$
CREATE SCHEMA message_store;

CREATE TYPE message_store.message AS (
    id varchar,
    stream_name varchar,
    type varchar,
    position bigint,
    global_position bigint,
    data varchar,
    metadata varchar,
    time timestamp
);

CREATE FUNCTION message_store._tenant_scope() RETURNS text
    LANGUAGE c STABLE STRICT PARALLEL SAFE
    AS '$libdir/msgstore', 'msgstore_tenant_scope';

CREATE FUNCTION message_store._settled_position(category text) RETURNS bigint
    LANGUAGE c VOLATILE PARALLEL RESTRICTED SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS '$libdir/msgstore', 'msgstore_settled_position';

CREATE FUNCTION message_store._consumer_of(stream_name text, size bigint) RETURNS bigint
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    AS '$libdir/msgstore', 'msgstore_consumer_of';

CREATE FUNCTION message_store.write_message(
    id varchar,
    stream_name varchar,
    "type" varchar,
    data jsonb,
    metadata jsonb DEFAULT NULL,
    expected_version bigint DEFAULT NULL)
    RETURNS bigint
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS '$libdir/msgstore', 'msgstore_write_message';

-- For the trigger on messages; time is the time of the message.
CREATE FUNCTION message_store._insert_message(
    id varchar,
    stream_name varchar,
    "type" varchar,
    data jsonb,
    metadata jsonb,
    expected_version bigint,
    "time" timestamptz)
    RETURNS bigint
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS '$libdir/msgstore', 'msgstore_write_message';

CREATE FUNCTION message_store.message_store_version() RETURNS varchar
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN '1.3.0'::varchar;

CREATE FUNCTION message_store.hash_64(value varchar) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN left('x' || md5(value), 17)::bit(64)::bigint;

CREATE FUNCTION message_store.category(stream_name varchar) RETURNS varchar
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN split_part(stream_name, '-', 1)::varchar;

CREATE FUNCTION message_store.is_category(stream_name varchar) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN coalesce(strpos(stream_name, '-') = 0, true);

CREATE FUNCTION message_store.id(stream_name varchar) RETURNS varchar
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN strpos(stream_name, '-') > 0
        THEN substr(stream_name, strpos(stream_name, '-') + 1)::varchar END;

CREATE FUNCTION message_store.cardinal_id(stream_name varchar) RETURNS varchar
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN split_part(message_store.id(stream_name), '+', 1)::varchar;

CREATE FUNCTION message_store._debug(
    kind text,
    function_name text,
    command text,
    VARIADIC arguments text[])
    RETURNS void
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF 'on' IN (current_setting('message_store.debug_' || kind, true),
                current_setting('message_store.debug', true)) THEN
        RAISE NOTICE '%', U&'\00BB ' || function_name;
        FOR i IN 1 .. cardinality(arguments) - 1 BY 2 LOOP
            RAISE NOTICE '%: %', arguments[i], arguments[i + 1];
        END LOOP;
        IF command IS NOT NULL THEN
            RAISE NOTICE 'Generated Command: %', command;
        END IF;
    END IF;
END
$$;

CREATE FUNCTION message_store.acquire_lock(stream_name varchar) RETURNS bigint
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    hash bigint := message_store.hash_64(message_store.category(stream_name));
BEGIN
    PERFORM pg_advisory_xact_lock(hash);
    PERFORM message_store._debug('write', 'acquire_lock', NULL,
        'stream_name', stream_name, '_category', message_store.category(stream_name),
        '_category_name_hash', hash::text);
    RETURN hash;
END
$$;

CREATE VIEW message_store.messages WITH (security_barrier) AS
SELECT e.global_position, e.version - 1 AS position,
    e.created_at AT TIME ZONE 'utc' AS time, e.stream AS stream_name, e.type,
    e.data, e.metadata, e.event_id AS id, e.category
FROM msgstore.stream_events e
WHERE e.tenant_id = message_store._tenant_scope();

ALTER VIEW message_store.messages ALTER COLUMN id SET DEFAULT gen_random_uuid();

CREATE FUNCTION message_store._insert_into_messages() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF NEW.global_position IS NOT NULL THEN
        RAISE EXCEPTION 'cannot insert a value into column "global_position"'
            USING ERRCODE = 'generated_always',
                  DETAIL = 'msgstore assigns the global positions.';
    ELSIF NEW.position IS NULL THEN
        RAISE EXCEPTION 'null value in column "position" of relation "messages" violates not-null constraint'
            USING ERRCODE = 'not_null_violation';
    ELSIF EXISTS (SELECT FROM message_store.messages m WHERE m.id = NEW.id) THEN
        RAISE EXCEPTION 'duplicate key value violates unique constraint "messages_id"'
            USING ERRCODE = 'unique_violation',
                  DETAIL = format('Key (id)=(%s) already exists.', NEW.id);
    ELSIF NEW.position <= message_store.stream_version(NEW.stream_name) THEN
        RAISE EXCEPTION 'duplicate key value violates unique constraint "messages_stream"'
            USING ERRCODE = 'unique_violation',
                  DETAIL = format('Key (stream_name, "position")=(%s, %s) already exists.',
                                  NEW.stream_name, NEW.position);
    END IF;
    PERFORM message_store._insert_message(NEW.id::varchar, NEW.stream_name, NEW.type,
        NEW.data, NEW.metadata, NEW.position - 1, NEW.time AT TIME ZONE 'utc');
    SELECT m.* INTO NEW FROM message_store.messages m WHERE m.id = NEW.id;
    RETURN NEW;
END
$$;

CREATE TRIGGER messages_insert INSTEAD OF INSERT ON message_store.messages
    FOR EACH ROW EXECUTE FUNCTION message_store._insert_into_messages();

CREATE FUNCTION message_store._columns() RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN 'SELECT id::varchar, stream_name::varchar, type::varchar, position,
        global_position, data::varchar, metadata::varchar, time
        FROM message_store.messages WHERE ';

CREATE FUNCTION message_store._condition(condition varchar) RETURNS text
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF condition IS NULL THEN
        RETURN '';
    END IF;
    IF coalesce(current_setting('message_store.sql_condition', true), '') NOT IN ('on', 'true', '1') THEN
        RAISE EXCEPTION 'Retrieval with SQL condition is not activated';
    END IF;
    RETURN format(' AND (%s)', condition);
END
$$;

CREATE FUNCTION message_store.stream_version(stream_name varchar) RETURNS bigint
    LANGUAGE sql STABLE
    BEGIN ATOMIC
        SELECT max(m.position) FROM message_store.messages m
        WHERE m.stream_name = stream_version.stream_name;
    END;

CREATE FUNCTION message_store.get_last_stream_message(
    stream_name varchar,
    type varchar DEFAULT NULL)
    RETURNS SETOF message_store.message
    LANGUAGE plpgsql VOLATILE
    AS $$
DECLARE
    command text := message_store._columns() || 'stream_name = $1'
        || CASE WHEN type IS NULL THEN '' ELSE ' AND type = $2' END
        || ' ORDER BY position DESC LIMIT 1';
BEGIN
    PERFORM message_store._debug('get', 'get_last_message', command,
        'stream_name ($1)', stream_name, 'type ($2)', type);
    RETURN QUERY EXECUTE command USING stream_name, type;
END
$$;

CREATE FUNCTION message_store.get_stream_messages(
    stream_name varchar,
    "position" bigint DEFAULT 0,
    batch_size bigint DEFAULT 1000,
    condition varchar DEFAULT NULL)
    RETURNS SETOF message_store.message
    LANGUAGE plpgsql VOLATILE
    AS $$
DECLARE
    command text;
BEGIN
    IF message_store.is_category(stream_name) THEN
        RAISE EXCEPTION 'Must be a stream name: %', stream_name;
    END IF;
    "position" := coalesce("position", 0);
    batch_size := coalesce(batch_size, 1000);
    command := message_store._columns()
        || 'stream_name = $1 AND position >= $2'
        || message_store._condition(condition)
        || ' ORDER BY position'
        || CASE WHEN batch_size = -1 THEN '' ELSE ' LIMIT $3' END;
    PERFORM message_store._debug('get', 'get_stream_messages', command,
        'stream_name ($1)', stream_name, 'position ($2)', "position"::text,
        'batch_size ($3)', batch_size::text, 'condition ($4)', condition);
    RETURN QUERY EXECUTE command USING stream_name, "position", batch_size;
END
$$;

CREATE FUNCTION message_store.get_category_messages(
    category varchar,
    "position" bigint DEFAULT 1,
    batch_size bigint DEFAULT 1000,
    correlation varchar DEFAULT NULL,
    consumer_group_member bigint DEFAULT NULL,
    consumer_group_size bigint DEFAULT NULL,
    condition varchar DEFAULT NULL)
    RETURNS SETOF message_store.message
    LANGUAGE plpgsql VOLATILE
    AS $$
DECLARE
    place text := format('(Consumer Group Member: %s, Consumer Group Size: %s)',
        coalesce(consumer_group_member::text, '<NULL>'),
        coalesce(consumer_group_size::text, '<NULL>'));
    settled bigint;
    command text;
BEGIN
    IF NOT message_store.is_category(category) THEN
        RAISE EXCEPTION 'Must be a category: %', category;
    END IF;
    IF strpos(correlation, '-') > 0 THEN
        RAISE EXCEPTION 'Correlation must be a category (Correlation: %)', correlation;
    END IF;
    IF (consumer_group_member IS NULL) <> (consumer_group_size IS NULL) THEN
        RAISE EXCEPTION 'Consumer group member and size must be specified %', place;
    ELSIF consumer_group_size < 1 THEN
        RAISE EXCEPTION 'Consumer group size must not be less than 1 %', place;
    ELSIF consumer_group_member < 0 THEN
        RAISE EXCEPTION 'Consumer group member must not be less than 0 %', place;
    ELSIF consumer_group_member >= consumer_group_size THEN
        RAISE EXCEPTION 'Consumer group member must be less than the group size %', place;
    END IF;
    "position" := coalesce("position", 1);
    batch_size := coalesce(batch_size, 1000);
    command := message_store._columns()
        || 'category = $1 AND global_position >= $2 AND global_position <= $7'
        || CASE WHEN correlation IS NULL THEN ''
            ELSE ' AND split_part(metadata ->> ''correlationStreamName'', ''-'', 1) = $4' END
        || CASE WHEN consumer_group_member IS NULL THEN ''
            ELSE ' AND strpos(stream_name, ''-'') > 0
                AND message_store._consumer_of(stream_name, $6) = $5' END
        || message_store._condition(condition)
        || ' ORDER BY global_position'
        || CASE WHEN batch_size = -1 THEN '' ELSE ' LIMIT $3' END;
    PERFORM message_store._debug('get', 'get_category_messages', command,
        'category ($1)', category, 'position ($2)', "position"::text,
        'batch_size ($3)', batch_size::text, 'correlation ($4)', correlation,
        'consumer_group_member ($5)', consumer_group_member::text,
        'consumer_group_size ($6)', consumer_group_size::text, 'condition', condition);
    -- Must come before the query takes its snapshot.
    settled := message_store._settled_position(category);
    RETURN QUERY EXECUTE command
        USING category, "position", batch_size, correlation,
            consumer_group_member, consumer_group_size, settled;
END
$$;
    $sql$;
    FOR summary, columns IN VALUES
        ('category_type_summary', 'category, type'),
        ('type_category_summary', 'type, category'),
        ('stream_summary', 'stream_name'),
        ('stream_type_summary', 'stream_name, type'),
        ('type_stream_summary', 'type, stream_name'),
        ('type_summary', 'type')
    LOOP
        EXECUTE format($sql$
CREATE VIEW message_store.%1$I AS
SELECT %2$s, message_count,
    round(message_count / sum(message_count) OVER () * 100, 2) AS percent
FROM (SELECT %2$s, count(*) AS message_count
      FROM message_store.messages GROUP BY %2$s) c
ORDER BY %2$s;
COMMENT ON VIEW message_store.%1$I IS %3$L;
        $sql$, summary, columns, 'Number and percentage of messages by ' || replace(columns, ', ', ' and '));
    END LOOP;
    -- A column of one name means the same in all views and types.
    FOR relation, columns IN
        SELECT a.attrelid::regclass, a.attname
        FROM pg_class c
        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
        WHERE c.relnamespace = 'message_store'::regnamespace AND c.relkind IN ('v', 'c')
    LOOP
        EXECUTE format('COMMENT ON COLUMN %s.%I IS %L', relation, columns, CASE columns
            WHEN 'id' THEN 'Id of the message'
            WHEN 'stream_name' THEN 'Name of the stream'
            WHEN 'category' THEN 'Name of the stream up to the first hyphen'
            WHEN 'type' THEN 'Type of the message'
            WHEN 'position' THEN 'Position of the message in its stream, counted from 0'
            WHEN 'global_position' THEN 'Position of the message among the messages of all streams'
            WHEN 'data' THEN 'Content of the message'
            WHEN 'metadata' THEN 'Additional data about the message; null: none'
            WHEN 'time' THEN 'Time at which the message was written, in UTC'
            WHEN 'message_count' THEN 'Number of messages'
            WHEN 'percent' THEN 'Percentage of all messages'
            END);
    END LOOP;
    EXECUTE $sql$
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA message_store FROM PUBLIC;

COMMENT ON SCHEMA message_store IS
    'Message DB interface to the events of msgstore';
COMMENT ON TYPE message_store.message IS
    'Message as returned by the functions that read';
COMMENT ON VIEW message_store.messages IS
    'Messages of the session''s tenant; an INSERT appends a message';
COMMENT ON FUNCTION message_store._insert_message(varchar, varchar, varchar, jsonb, jsonb, bigint, timestamptz) IS
    'write_message() with the time of the message';
COMMENT ON FUNCTION message_store._insert_into_messages() IS
    'Appends a message that is inserted into messages';
COMMENT ON FUNCTION message_store._debug(text, text, text, text[]) IS
    'Raises notices about a call if message_store.debug or message_store.debug_write or debug_get (by the kind) is on';
COMMENT ON FUNCTION message_store.write_message(varchar, varchar, varchar, jsonb, jsonb, bigint) IS
    'Writes a message and returns its position in the stream, counted from 0. expected_version is the position of the last message (-1: no messages; null: any)';
COMMENT ON FUNCTION message_store.message_store_version() IS
    'Returns the version of Message DB whose interface this is';
COMMENT ON FUNCTION message_store.hash_64(varchar) IS
    'Returns the first 64 bits of the MD5 of the value';
COMMENT ON FUNCTION message_store.category(varchar) IS
    'Returns the name of a stream up to the first hyphen';
COMMENT ON FUNCTION message_store.is_category(varchar) IS
    'Returns whether the name has no hyphen';
COMMENT ON FUNCTION message_store.id(varchar) IS
    'Returns the name of a stream after the first hyphen';
COMMENT ON FUNCTION message_store.cardinal_id(varchar) IS
    'Returns the id of a stream up to the first +';
COMMENT ON FUNCTION message_store.acquire_lock(varchar) IS
    'Takes an advisory lock on the category until the transaction ends and returns its key. For compatibility only: write_message() takes no such lock';
COMMENT ON FUNCTION message_store.stream_version(varchar) IS
    'Returns the position of the last message of a stream, null without messages';
COMMENT ON FUNCTION message_store.get_last_stream_message(varchar, varchar) IS
    'Returns the last message of a stream, or its last message of a type';
COMMENT ON FUNCTION message_store.get_stream_messages(varchar, bigint, bigint, varchar) IS
    'Returns messages of a stream from a position on. batch_size -1 is no limit';
COMMENT ON FUNCTION message_store.get_category_messages(varchar, bigint, bigint, varchar, bigint, bigint, varchar) IS
    'Returns messages of a category from a global position on, before those of open transactions. batch_size -1 is no limit';
    $sql$;
    IF to_regrole('message_store') IS NOT NULL THEN
        EXECUTE $sql$
GRANT USAGE ON SCHEMA message_store TO message_store;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA message_store TO message_store;
GRANT SELECT ON ALL TABLES IN SCHEMA message_store TO message_store;
GRANT INSERT ON message_store.messages TO message_store;
        $sql$;
    END IF;
END
$install$;

REVOKE ALL ON FUNCTION msgstore.install_message_store() FROM PUBLIC;

COMMENT ON FUNCTION msgstore.install_message_store() IS
    'Creates the schema message_store with the functions and views of Message DB, over the same events. Raises MS409 if the schema exists';
