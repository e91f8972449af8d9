CREATE EXTENSION msgstore;
SET search_path = msgstore, public;
CREATE FUNCTION public.put(id text, body text DEFAULT 'Hello', other text DEFAULT '+15550001')
RETURNS boolean LANGUAGE sql AS
$$ SELECT duplicate FROM msgstore.ingest('sms', jsonb_build_object('from', other, 'to', '+15550002',
    'messaging_provider_id', id, 'body', body, 'timestamp', '2024-11-01T14:00:00Z')) $$;
CREATE FUNCTION public.refusal(command text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    message text;
    detail text;
    hint text;
BEGIN
    EXECUTE command;
    RETURN 'accepted';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    RETURN concat_ws(' | ', SQLSTATE || ' ' || message, nullif(detail, ''), nullif(hint, ''));
END $$;
CREATE VIEW public.places AS
SELECT provider_message_id AS event, status, attempt_count AS attempts, error_code, error_message
FROM msgstore.inbound_events ORDER BY id;
-- Records calls of handlers; the sequence also counts those rolled back.
CREATE TABLE public.notes (n serial, who text, event text, body text, extra text);
CREATE SEQUENCE public.calls;
-- Makes all waiting events due.
CREATE FUNCTION public.again() RETURNS int LANGUAGE plpgsql AS $$
BEGIN
    UPDATE msgstore.event_queue SET next_attempt_at = now() WHERE next_attempt_at < 'infinity';
    RETURN msgstore.process();
END $$;

-- A handler is called for each inbound message of its channel, in order, with
-- the row as stored in the table.
CREATE FUNCTION public.note(m msgstore.messages) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.notes (who, event, body, extra)
    SELECT 'note', m.provider_message_id, m.body,
        concat_ws(' ', m.direction, m.channel, m.conversation_key, m = s, c.message_count)
    FROM msgstore.messages s JOIN msgstore.conversations c ON c.id = s.conversation_id
    WHERE s.id = m.id;
END $$;
SELECT add_handler('sms', 'note');
SELECT channel, handler, registered_by::text = current_user AS mine, search_path FROM handlers;
SELECT count(put('m-' || n, 'number ' || n)) FROM generate_series(1, 3) n;
SELECT FROM ingest('email', '{"xillio_id": "e-1", "from": "a@x.io", "to": "b@x.io", "body": "not mine",
    "timestamp": "2024-11-01T14:00:00Z"}');
SELECT process();
SELECT who, event, body, extra FROM notes ORDER BY n;

-- It is called for messages added by complete(), but not for outbound messages.
SELECT put('claimed');
SELECT complete('p1', array_agg(id)) FROM claim('p1');
SELECT duplicate FROM send('sms', '{"from": "+15550002", "to": "+15550001", "body": "sent",
    "timestamp": "2024-11-01T14:00:00Z"}');
SELECT event FROM notes WHERE body NOT LIKE 'number%';

-- Registering it again changes nothing. Handlers are called in the order of
-- registration, also within one transaction.
CREATE FUNCTION public.also(m msgstore.messages) RETURNS void LANGUAGE sql AS
$$ INSERT INTO public.notes (who, event) VALUES ('also', m.provider_message_id) $$;
CREATE FUNCTION public.always_first(m msgstore.messages) RETURNS void LANGUAGE sql AS
$$ INSERT INTO public.notes (who, event) VALUES ('always_first', m.provider_message_id) $$;
SELECT remove_handler('sms', 'note');
SELECT add_handler('sms', 'note'), add_handler('sms', 'also'), add_handler('sms', 'always_first'),
    add_handler('sms', 'note');
SELECT put('order-1'), put('order-2');
SELECT process();
SELECT who, event FROM notes WHERE event LIKE 'order-%' ORDER BY n;

-- Whatever the session quotes, it is the same handler.
SET quote_all_identifiers = on;
SELECT add_handler('sms', 'note'), add_handler('sms', 'public.also');
RESET quote_all_identifiers;
SELECT handler FROM handlers ORDER BY created_at;
SET quote_all_identifiers = on;
SELECT remove_handler('sms', 'note'), remove_handler('sms', 'note'), add_handler('sms', 'note');
RESET quote_all_identifiers;
SELECT remove_handler('sms', '"note"("msgstore"."messages")'), add_handler('sms', 'note');

-- remove_handler() returns whether there was one, also for a full name.
SELECT remove_handler('sms', 'public.also(msgstore.messages)'), remove_handler('sms', 'also'),
    remove_handler('email', 'note'), remove_handler('sms', 'public.always_first');
SELECT handler FROM handlers;

-- A handler with a second argument gets the payload, redacted, also from complete().
CREATE FUNCTION public.whole(m msgstore.messages, payload jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.notes (who, event, extra) VALUES ('whole', m.provider_message_id, payload - 'timestamp' - 'from');
END $$;
SELECT add_handler('sms', 'whole');
SELECT handler FROM handlers ORDER BY created_at;
SELECT FROM ingest('sms', '{"messaging_provider_id": "w-1", "from": "tel:+1-555-0001", "to": "Bank24", "body": "x",
    "token": "abc", "cc": [1.0, null], "timestamp": "2024-11-01T14:00:00Z"}');
SELECT process();
SELECT put('w-2');
SELECT complete('p1', array_agg(id)) FROM claim('p1');
SELECT event, extra FROM notes WHERE who = 'whole' ORDER BY n;
SELECT who FROM notes WHERE event = 'w-1' ORDER BY n;
-- It is removed by its name, also when the function no longer exists.
SELECT remove_handler('sms', 'whole'), remove_handler('sms', 'whole'), add_handler('sms', 'whole');
ALTER FUNCTION whole RENAME TO elsewhere;
SELECT remove_handler('sms', 'public.whole'), remove_handler('sms', 'public.whole');
DROP FUNCTION elsewhere;
CREATE FUNCTION public.whole(m msgstore.messages) RETURNS void LANGUAGE sql AS '';
CREATE FUNCTION public.whole(m msgstore.messages, payload json) RETURNS void LANGUAGE sql AS '';
CREATE FUNCTION public.whole(m msgstore.messages, payload jsonb, n int) RETURNS void LANGUAGE sql AS '';
SELECT refusal($$SELECT msgstore.add_handler('sms', 'public.whole(msgstore.messages,json)'::regprocedure)$$);
SELECT refusal($$SELECT msgstore.add_handler('sms', 'public.whole(msgstore.messages,jsonb,int)'::regprocedure)$$);
DROP FUNCTION whole(messages), whole(messages, json), whole(messages, jsonb, int);

-- Functions that cannot be handlers are refused.
CREATE FUNCTION public.wrong(m msgstore.messages) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION public.many(m msgstore.messages) RETURNS SETOF void LANGUAGE sql AS '';
CREATE FUNCTION public.other(c msgstore.conversations) RETURNS void LANGUAGE sql AS '';
CREATE FUNCTION public.two(m msgstore.messages, n int) RETURNS void LANGUAGE sql AS '';
CREATE FUNCTION public.none() RETURNS void LANGUAGE sql AS '';
CREATE PROCEDURE public.procedure(m msgstore.messages) LANGUAGE sql AS '';
CREATE FUNCTION public.twin(m msgstore.messages) RETURNS void LANGUAGE sql AS '';
CREATE FUNCTION public.twin(n int) RETURNS void LANGUAGE sql AS '';
SELECT refusal(format('SELECT msgstore.add_handler(%L, %L)', 'sms', f))
FROM unnest('{wrong,many,other,two,none,procedure,twin,missing,"a b",nowhere.at.all}'::text[]) f;
SELECT refusal($$SELECT msgstore.add_handler('pigeon', 'note')$$);
-- Invalid names are refused in the same way by every version of the server.
SELECT name, refusal(format('SELECT msgstore.remove_handler(''sms'', %L)', name))
FROM unnest(ARRAY['a b', '', '.', 'a.', 'a.b.c', '"a', 'f(', 'f()', 'f(messages', 'f(messages) x',
    'f(a b)', 'f(messages,)', 'f(messages[1])', '(messages)', '""', '1f', 'f(', 'f,g', 'f()()']) name;
SELECT name, msgstore.remove_handler('sms', name)
FROM unnest(ARRAY['none', 'none(messages)', 'none ( messages , jsonb )', 'none(no_such_type)',
    'none(select)', 'no_such_schema.none', '"a b"."c(d"', '"a""b"', '"a,b"(no_such_schema."t)")']) name;
-- An overloaded function, and a name that needs quotes.
SELECT add_handler('sms', 'twin(msgstore.messages)'::regprocedure);
CREATE SCHEMA "My Schema";
CREATE FUNCTION "My Schema"."It's (""me"")"(m msgstore.messages) RETURNS void LANGUAGE sql AS
$$ INSERT INTO public.notes (who, event) VALUES ('quoted', m.provider_message_id) $$;
SELECT add_handler('sms', '"My Schema"."It''s (""me"")"'::regproc);
SELECT put('quoted');
SELECT process();
SELECT who FROM notes WHERE event = 'quoted' ORDER BY n;
SELECT handler FROM handlers ORDER BY created_at;
SELECT remove_handler('sms', 'twin'), remove_handler('sms', 'twin(msgstore.messages)');
SELECT remove_handler('sms', '"My Schema"."It''s (""me"")"(msgstore.messages)'), remove_handler('sms', 'note');
SELECT count(*) FROM handlers;

-- Either all effects of a message commit or none. A failure is retried, keeps the
-- function's SQLSTATE and message, and ends as a dead letter; other events are
-- not delayed.
CREATE FUNCTION public.picky(m msgstore.messages) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM nextval('public.calls');
    INSERT INTO public.notes (who, event) VALUES ('picky', m.provider_message_id);
    IF m.body = 'bad' THEN
        RAISE EXCEPTION 'cannot book %', m.provider_message_id USING ERRCODE = 'BK001', DETAIL = 'Full.';
    END IF;
END $$;
SELECT add_handler('sms', 'also'), add_handler('sms', 'picky');
SET msgstore.max_retries = 1;
SELECT count(put('p-' || n, CASE WHEN n % 3 = 0 THEN 'bad' ELSE 'good' END)) FROM generate_series(1, 7) n;
SELECT process();
SELECT * FROM places WHERE event LIKE 'p-%';
SELECT who, string_agg(event, ' ' ORDER BY n) FROM notes WHERE event LIKE 'p-%' GROUP BY 1;
SELECT count(*) FROM messages WHERE provider_message_id LIKE 'p-%';
SELECT again();
SELECT * FROM places WHERE event IN ('p-3', 'p-6');
SELECT count(*) FROM notes WHERE event IN ('p-3', 'p-6');
SELECT message_count = (SELECT count(*) FROM messages m WHERE m.conversation_id = c.id) AS counts_right
FROM conversations c;
-- MS400 raised by a handler is retried like any other error.
CREATE OR REPLACE FUNCTION public.picky(m msgstore.messages) RETURNS void LANGUAGE plpgsql AS
$$ BEGIN RAISE 'its own' USING ERRCODE = 'MS400'; END $$;
SELECT put('own');
SELECT process();
SELECT * FROM places WHERE event = 'own';
-- MS400 raised by msgstore for a later event still makes a dead letter at once.
CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE 'not this one' USING ERRCODE = 'MS400'; END $$;
CREATE TRIGGER refuse BEFORE INSERT ON messages FOR EACH ROW
    WHEN (NEW.body = 'ours') EXECUTE FUNCTION public.refuse();
SELECT put('own-2'), put('ours', 'ours');
SELECT process();
SELECT * FROM places WHERE event IN ('own-2', 'ours');
DROP TRIGGER refuse ON messages;
-- A full disk outside a handler still ends the call.
CREATE OR REPLACE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE SQLSTATE '53100'; END $$;
CREATE TRIGGER refuse BEFORE INSERT ON messages FOR EACH ROW
    WHEN (NEW.body = 'ours') EXECUTE FUNCTION public.refuse();
SELECT put('own-3'), put('full', 'ours');
SELECT refusal('SELECT msgstore.process()');
SELECT * FROM places WHERE event IN ('own-3', 'full');
DROP TRIGGER refuse ON messages;

-- In a handler, a full disk, deadlock or lock timeout is retried and the attempt
-- not counted.
CREATE FUNCTION public.with_code(m msgstore.messages) RETURNS void LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION USING ERRCODE = m.body, MESSAGE = 'raised ' || m.body; END $$;
SELECT remove_handler('sms', 'picky'), again(), add_handler('sms', 'with_code');
SELECT count(put('code-' || c, c, '+1555000' || n))
FROM unnest('{53100,53200,40P01,40001,55P03,57P01,XX001,25006,22012}'::text[])
    WITH ORDINALITY AS u (c, n);
SELECT process();
SELECT * FROM places WHERE event LIKE 'code-%';
-- In a session, a cancel ends the call.
SELECT put('code-57014', '57014');
\set VERBOSITY terse
SELECT process();
\set VERBOSITY default
SELECT remove_handler('sms', 'with_code'), again();

-- After the function is dropped, the events of its channel fail, others do not.
SELECT add_handler('email', 'note'), remove_handler('sms', 'also');
DROP FUNCTION public.note;
SELECT FROM ingest('email', '{"xillio_id": "e-2", "from": "a@x.io", "to": "b@x.io", "body": "x",
    "timestamp": "2024-11-01T14:00:00Z"}');
SELECT put('flows');
SELECT process();
SELECT * FROM places WHERE event IN ('e-2', 'flows');
-- They succeed when the function is created again.
CREATE FUNCTION public.note(m msgstore.messages) RETURNS void LANGUAGE sql AS
$$ INSERT INTO public.notes (who, event) VALUES ('new note', m.provider_message_id) $$;
SELECT again();
SELECT * FROM places WHERE event = 'e-2';
-- The handler of a dropped function is removed by its name.
DROP FUNCTION public.note;
SELECT remove_handler('email', 'note'), remove_handler('email', 'public.note');
SELECT count(*) FROM handlers;

-- A handler may send. It is not called for the reply, so it does not loop.
CREATE FUNCTION public.reply(m msgstore.messages) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM nextval('public.calls');
    PERFORM FROM msgstore.send(m.channel, jsonb_build_object('from', m."to", 'to', m."from",
        'body', 'You said: ' || m.body, 'timestamp', m."timestamp"));
END $$;
SELECT add_handler('sms', 'reply');
SELECT setval('calls', 1);
SELECT put('ask-1', 'one'), put('ask-2', 'two');
SELECT process(), process();
SELECT last_value - 1 AS calls FROM calls;
SELECT direction, body FROM messages WHERE body ~ '(one|two)$' ORDER BY id;
SELECT message_count = (SELECT count(*) FROM messages m WHERE m.conversation_id = c.id) AS counts_right
FROM conversations c;
-- A reply is rolled back with the message it answers.
CREATE FUNCTION public.too_late(m msgstore.messages) RETURNS void LANGUAGE plpgsql AS
$$ BEGIN RAISE 'too late'; END $$;
SELECT add_handler('sms', 'too_late');
SELECT put('ask-3', 'three');
SELECT process();
SELECT count(*) FROM messages WHERE body ~ 'three$';
SELECT remove_handler('sms', 'too_late');
SELECT again();
SELECT direction FROM messages WHERE body ~ 'three$' ORDER BY id;
SELECT remove_handler('sms', 'reply');

-- A handler may not call the functions that take events.
CREATE FUNCTION public.greedy(m msgstore.messages) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.notes (who, event, extra)
    SELECT 'greedy', m.provider_message_id, public.refusal(c)
    FROM unnest(ARRAY['SELECT msgstore.process()', 'SELECT count(*) FROM msgstore.claim(''p'')',
        'SELECT msgstore.complete(''p'', ''{}'')', 'SELECT msgstore.reap_stale()',
        format('SELECT msgstore.fail(''p'', %L, ''boom'', '''')', m.id),
        'SELECT msgstore.heartbeat(''p'')']) c;
END $$;
SELECT add_handler('sms', 'greedy');
SELECT put('greedy');
SELECT process();
SELECT extra FROM notes WHERE who = 'greedy' ORDER BY n;
SELECT remove_handler('sms', 'greedy');

-- A handler runs with the message's tenant and the search_path of the session
-- that registered it. Settings that it changes are reset after the call.
CREATE FUNCTION public.look(m msgstore.messages) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.notes (who, event, extra) VALUES ('look', m.provider_message_id,
        format('tenant "%s" path "%s" as %s', current_setting('msgstore.tenant_id'),
            current_setting('search_path'), current_user = session_user));
    SET search_path = nowhere;
    SET msgstore.tenant_id = 'nobody';
    PERFORM set_config('work_mem', '1MB', false), set_config('my.setting', 'left', false);
    SET LOCAL statement_timeout = 1;
    SET CONSTRAINTS ALL DEFERRED;
END $$;
SET search_path = "My Schema", msgstore, public;
SELECT add_handler('sms', 'look');
SET search_path = msgstore, public;
SET msgstore.tenant_id = 'acme';
SELECT put('look-1');
SET msgstore.tenant_id = 'other';
SELECT put('look-2');
RESET msgstore.tenant_id;
SELECT process();
SELECT event, extra FROM notes WHERE who = 'look' ORDER BY n;
SELECT current_setting('search_path'), current_setting('msgstore.tenant_id') AS tenant,
    current_setting('work_mem') AS work_mem, current_setting('my.setting', true) AS mine,
    current_setting('statement_timeout') AS timeout;
SELECT tenant_id, provider_message_id FROM messages WHERE provider_message_id LIKE 'look%' ORDER BY 2;

-- Deferrable constraints are checked immediately, so that the message that
-- violates one fails; also after a handler that deferred them.
CREATE TABLE public.seats (n int, event text, CONSTRAINT one_each UNIQUE (n) DEFERRABLE INITIALLY DEFERRED);
CREATE FUNCTION public.seat(m msgstore.messages) RETURNS void LANGUAGE sql AS
$$ INSERT INTO public.seats VALUES (length(m.body), m.provider_message_id) $$;
SELECT add_handler('sms', 'seat');
SELECT put('seat-1', 'a'), put('seat-2', 'bb'), put('seat-3', 'bb'), put('seat-4', 'cccc');
SELECT process();
SELECT * FROM places WHERE event LIKE 'seat%';
TABLE seats;
SELECT remove_handler('sms', 'look'), remove_handler('sms', 'seat'), again();

-- A handler runs with the rights of the role that registered it, and no more.
CREATE ROLE regress_clerk;
CREATE ROLE regress_rival;
GRANT USAGE ON SCHEMA msgstore TO regress_clerk, regress_rival;
CREATE SCHEMA clerk AUTHORIZATION regress_clerk;
CREATE SCHEMA rival AUTHORIZATION regress_rival;
SET ROLE regress_clerk;
SELECT msgstore.add_handler('sms', 'also');
SELECT msgstore.remove_handler('sms', 'also');
RESET ROLE;
GRANT EXECUTE ON FUNCTION add_handler, remove_handler, process TO regress_clerk, regress_rival;
SET ROLE regress_clerk;
SET search_path = clerk;
CREATE TABLE journal (n serial, event text, result text);
CREATE FUNCTION outcome(command text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE command;
    RETURN 'done';
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE || ' ' || SQLERRM;
END $$;
-- The argument's composite type gives no privilege on the table.
CREATE FUNCTION try(m msgstore.messages) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO journal (event, result)
    SELECT m.provider_message_id, format('%s: %s', c, outcome(c))
    FROM unnest(ARRAY[
        'INSERT INTO public.notes (who) VALUES (''clerk'')',
        'UPDATE msgstore.messages SET body = ''''',
        'DELETE FROM msgstore.handlers',
        'SET ROLE regress_rival', 'SET ROLE none', 'RESET ROLE',
        'SELECT set_config(''role'', ''none'', true)',
        'SET SESSION AUTHORIZATION DEFAULT', 'RESET SESSION AUTHORIZATION',
        'CREATE TEMP TABLE left_behind (n int)', 'LISTEN left_behind',
        'PREPARE left_behind AS SELECT 1',
        'DECLARE left_behind CURSOR WITH HOLD FOR SELECT 1',
        'SET msgstore.max_retries = 1000',
        'SELECT msgstore.process()',
        'SELECT pg_read_file(''/etc/hostname'')']) WITH ORDINALITY AS u (c, n) ORDER BY n;
    INSERT INTO journal (result) VALUES (format('as %s, of %s', current_user, current_setting('search_path')));
END $$;
SELECT msgstore.add_handler('sms', 'try');
RESET ROLE;
SET search_path = msgstore, public;
SELECT handler, registered_by, search_path FROM handlers;
SELECT put('try');
SELECT process();
SELECT * FROM places WHERE event = 'try';
SELECT result FROM clerk.journal ORDER BY n;
SELECT current_user = session_user AS unchanged;

-- A deferred trigger runs immediately and as the handler's role.
SET ROLE regress_clerk;
SET search_path = clerk;
CREATE FUNCTION later() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN INSERT INTO clerk.journal (result) VALUES ('later, as ' || current_user); RETURN NULL; END $$;
CREATE TABLE trap (n int);
CREATE CONSTRAINT TRIGGER later AFTER INSERT ON trap DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION later();
CREATE FUNCTION spring(m msgstore.messages) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO clerk.trap VALUES (1);
    INSERT INTO clerk.journal (result) VALUES ('after the trap');
    SET CONSTRAINTS ALL DEFERRED;
    INSERT INTO clerk.journal (result) VALUES (clerk.outcome('INSERT INTO clerk.trap VALUES (2)'));
END $$;
SELECT msgstore.remove_handler('sms', 'try'), msgstore.add_handler('sms', 'spring');
TRUNCATE journal;
RESET ROLE;
SET search_path = msgstore, public;
SELECT put('spring');
SELECT process();
SELECT result FROM clerk.journal ORDER BY n;
SELECT * FROM places WHERE event = 'spring';

-- Another role can neither replace nor remove a handler; a member of the role
-- and a superuser can.
SET ROLE regress_rival;
SELECT refusal($$SELECT msgstore.remove_handler('sms', 'clerk.spring(msgstore.messages)')$$);
RESET ROLE;
GRANT USAGE ON SCHEMA clerk TO regress_rival;
SET ROLE regress_rival;
SELECT refusal($$SELECT msgstore.add_handler('sms', 'clerk.spring')$$);
SELECT refusal($$SELECT msgstore.remove_handler('sms', 'clerk.spring')$$);
RESET ROLE;
SELECT registered_by FROM handlers;
GRANT regress_clerk TO regress_rival;
SET ROLE regress_rival;
SELECT msgstore.add_handler('sms', 'clerk.spring');
RESET ROLE;
SELECT registered_by FROM handlers;
SET ROLE regress_clerk;
SELECT refusal($$SELECT msgstore.remove_handler('sms', 'clerk.spring')$$);
RESET ROLE;
SELECT remove_handler('sms', 'clerk.spring');
REVOKE regress_clerk FROM regress_rival;

-- Registering requires EXECUTE on the function, and so does each call.
REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA clerk FROM PUBLIC;
SET ROLE regress_rival;
SELECT refusal($$SELECT msgstore.add_handler('sms', 'clerk.spring')$$);
RESET ROLE;
GRANT EXECUTE ON FUNCTION clerk.spring TO regress_rival;
SET ROLE regress_rival;
SELECT msgstore.add_handler('sms', 'clerk.spring');
RESET ROLE;
REVOKE EXECUTE ON FUNCTION clerk.spring FROM regress_rival;
SELECT put('lost-1');
SELECT process();
GRANT EXECUTE ON FUNCTION clerk.spring TO regress_rival;
REVOKE USAGE ON SCHEMA clerk FROM regress_rival;
SELECT put('lost-2');
SELECT process();
SELECT * FROM places WHERE event LIKE 'lost%';
SELECT remove_handler('sms', 'clerk.spring(msgstore.messages)'), again();

-- The caller's search_path has no effect on code that runs as the owner.
SET ROLE regress_rival;
SET search_path = rival, pg_catalog, msgstore;
CREATE FUNCTION pg_has_role(oid, oid, text) RETURNS boolean LANGUAGE plpgsql AS
$$ BEGIN RAISE 'called as %', current_user; END $$;
CREATE FUNCTION pg_has_role(oid, regrole, text) RETURNS boolean LANGUAGE plpgsql AS
$$ BEGIN RAISE 'called as %', current_user; END $$;
CREATE FUNCTION same(text, text) RETURNS boolean LANGUAGE plpgsql AS
$$ BEGIN RAISE 'called as %', current_user; END $$;
CREATE OPERATOR = (LEFTARG = text, RIGHTARG = text, FUNCTION = same);
CREATE FUNCTION mine(m msgstore.messages) RETURNS void LANGUAGE sql AS '';
SELECT add_handler('sms', 'mine');
SELECT add_handler('sms', 'mine');
SELECT remove_handler('sms', 'mine');
CREATE TYPE messages AS (n int);
CREATE FUNCTION fake(m rival.messages) RETURNS void LANGUAGE sql AS '';
SELECT add_handler('sms', 'fake');
SELECT add_handler('sms', 'mine');
RESET ROLE;
SET search_path = msgstore, public;
SELECT current_user = session_user AS unchanged, handler, registered_by FROM handlers;

-- If the role was dropped, the error says so and the events are retried.
SELECT remove_handler('sms', 'rival.mine');
CREATE ROLE regress_gone SUPERUSER;
SET ROLE regress_gone;
SELECT msgstore.add_handler('sms', 'public.also');
RESET ROLE;
DROP ROLE regress_gone;
SELECT put('gone');
SELECT process();
SELECT * FROM places WHERE event = 'gone';
SELECT handler, registered_by::text ~ '^\d+$' AS gone FROM handlers;
SELECT add_handler('sms', 'also'), again();
SELECT * FROM places WHERE event = 'gone';

-- Every event is in exactly one place.
SELECT status, count(*), count(m.id) AS messages
FROM inbound_events e LEFT JOIN messages m ON m.inbound_event_id = e.id
GROUP BY 1 ORDER BY 1;

SET client_min_messages = warning;
DROP OWNED BY regress_clerk, regress_rival CASCADE;
DROP SCHEMA "My Schema" CASCADE;
DROP EXTENSION msgstore CASCADE;
DROP VIEW IF EXISTS places;
DROP TABLE notes, seats;
DROP SEQUENCE calls;
DROP FUNCTION put, refusal, again, none, refuse;
DROP FUNCTION twin(int);
DROP ROLE regress_clerk, regress_rival;
