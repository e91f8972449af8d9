-- Conversations of responses, their turns, and the events of responses.
CREATE EXTENSION msgstore;
SET search_path = msgstore, public;

-- The error of a call in one line, with its field and code.
CREATE FUNCTION pg_temp.refusal(command text) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    field text;
    code text;
BEGIN
    EXECUTE command;
    RETURN 'accepted';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS field = COLUMN_NAME, code = CONSTRAINT_NAME;
    RETURN concat_ws(' ', SQLSTATE, SQLERRM, '[' || nullif(field, '') || ']', nullif(code, ''));
END
$$;
CREATE FUNCTION pg_temp.ids(list jsonb) RETURNS text LANGUAGE sql
RETURN (SELECT string_agg(regexp_replace(d ->> 'id', '[0-9a-f]{32}', 'NEW'), ' ' ORDER BY n)
        FROM jsonb_array_elements(list -> 'data') WITH ORDINALITY d (d, n))
    || CASE WHEN (list ->> 'has_more')::boolean THEN ' ...' ELSE '' END;
CREATE FUNCTION pg_temp.response(id text, conversation text, status text DEFAULT 'completed')
RETURNS jsonb LANGUAGE sql
RETURN jsonb_build_object('id', id, 'status', status, 'model', 'm', 'created_at', 1000, 'conversation', conversation,
    'input', jsonb_build_array(jsonb_build_object('id', 'in_' || id, 'role', 'user', 'content', 'Is this on?')),
    'output', jsonb_build_array(jsonb_build_object('id', 'out_' || id, 'type', 'message', 'role', 'assistant',
        'content', jsonb_build_array(jsonb_build_object('type', 'output_text', 'text', 'Yes.')))));

--
-- Conversations
--

-- An ID is made unless one is given; metadata and items are optional.
SELECT c ->> 'id' ~ '^conv_[0-9a-f]{32}$' AS id, c - 'id' - 'created_at' AS rest,
    abs(extract(epoch FROM now()) - (c ->> 'created_at')::bigint) < 100 AS made_now
FROM create_response_conversation() c;
SELECT create_response_conversation('{"id": "conv_1", "metadata": {"topic": "sound"},
    "items": [{"id": "msg_1", "role": "user", "content": "Hello"}, {"type": "function_call", "name": "f"}]}') - 'created_at';
SELECT get_response_conversation('conv_1') - 'created_at';
SELECT update_response_conversation('conv_1', '{"topic": "light"}') - 'created_at', update_response_conversation('conv_1', 'null') -> 'metadata';
SELECT c, pg_temp.refusal(c) FROM unnest(ARRAY[
    $$SELECT create_response_conversation('[]')$$,
    $$SELECT create_response_conversation('{"id": 5}')$$,
    $$SELECT create_response_conversation('{"id": "a/b"}')$$,
    $$SELECT create_response_conversation('{"id": "conv_1"}')$$,
    $$SELECT create_response_conversation('{"metadata": []}')$$,
    $$SELECT create_response_conversation('{"items": {}}')$$,
    $$SELECT create_response_conversation('{"items": ["text"]}')$$,
    $$SELECT update_response_conversation('conv_1', '5')$$,
    $$SELECT get_response_conversation('unknown')$$,
    $$SELECT update_response_conversation('unknown', '{}')$$,
    $$SELECT delete_response_conversation('unknown')$$]) c;

-- Items: the short forms of a message are written out, and IDs are made.
SELECT jsonb_pretty(list_conversation_items('conv_1', sort_order => 'asc') #- '{data,1,id}' #- '{last_id}');
SELECT pg_temp.ids(add_conversation_items('conv_1', '[{"id": "msg_2", "role": "assistant", "content": "Hi"},
    {"type": "reasoning"}, {"id": null, "role": "user", "content": []}, {"type": "other"}]'));
SELECT get_conversation_item('conv_1', 'msg_2');
SELECT pg_temp.ids(list_conversation_items('conv_1')), pg_temp.ids(list_conversation_items('conv_1', max_results => 2)),
    pg_temp.ids(list_conversation_items('conv_1', 'msg_2')), pg_temp.ids(list_conversation_items('conv_1', before => 'msg_1', max_results => 2)),
    pg_temp.ids(list_conversation_items('conv_1', 'msg_2', sort_order => 'asc', max_results => 2)), list_conversation_items('conv_1', 'unknown');
SELECT delete_conversation_item('conv_1', 'msg_2') ->> 'id', pg_temp.ids(list_conversation_items('conv_1', sort_order => 'asc'));
SELECT c, pg_temp.refusal(c) FROM unnest(ARRAY[
    $$SELECT add_conversation_items('conv_1', '[{"id": "msg_1", "role": "user"}]')$$,
    $$SELECT add_conversation_items('conv_1', '[{"id": "a b", "role": "user"}]')$$,
    $$SELECT add_conversation_items('conv_1', '{}')$$,
    $$SELECT add_conversation_items('unknown', '[]')$$,
    $$SELECT get_conversation_item('conv_1', 'msg_2')$$,
    $$SELECT get_conversation_item('unknown', 'msg_2')$$,
    $$SELECT delete_conversation_item('conv_1', 'msg_2')$$,
    $$SELECT list_conversation_items('unknown')$$,
    $$SELECT list_conversation_items('conv_1', sort_order => 'up')$$]) c;
-- A page ends where its items exceed msgstore.max_response_bytes.
SELECT create_response_conversation('{"id": "large"}') ->> 'id';
SELECT pg_temp.ids(add_conversation_items('large', (SELECT jsonb_agg(jsonb_build_object('id', 'large' || i, 'text', repeat('x', 50000))) FROM generate_series(1, 5) i)));
SET msgstore.max_response_bytes = 120000;
SELECT pg_temp.ids(list_conversation_items('large')), pg_temp.ids(list_conversation_items('large', 'large2')), pg_temp.ids(list_conversation_items('large', before => 'large2'));
RESET msgstore.max_response_bytes;
-- A conversation takes its items with it.
SELECT delete_response_conversation('large');
SELECT pg_temp.refusal($$SELECT list_conversation_items('large')$$), (SELECT count(*) FROM response_conversation_items WHERE conversation_id = 'large');

--
-- Responses in a conversation
--

SELECT create_response_conversation('{"id": "conv_2"}') ->> 'id';
-- A response that has ended adds its input and output; the API shows the
-- conversation as an object.
SELECT save_response(pg_temp.response('r1', 'conv_2'));
SELECT get_response('r1') -> 'conversation', pg_temp.ids(list_conversation_items('conv_2', sort_order => 'asc'));
SELECT item -> 'id', response_id, item - 'id' FROM response_conversation_items WHERE conversation_id = 'conv_2' ORDER BY position;
-- One that is in progress adds them when it ends; meanwhile no other can start.
SELECT save_response(pg_temp.response('r2', 'conv_2', 'in_progress') || '{"conversation": {"id": "conv_2"}}');
SELECT pg_temp.refusal($$SELECT save_response(pg_temp.response('r3', 'conv_2'))$$), pg_temp.refusal($$SELECT save_response(pg_temp.response('r3', 'conv_2', 'queued'))$$), pg_temp.refusal($$SELECT get_response('r3')$$);
SELECT pg_temp.ids(list_conversation_items('conv_2', sort_order => 'asc'));
SELECT update_response('r2', '{"status": "completed", "output": [{"id": "out_r2"}]}') ->> 'status', pg_temp.ids(list_conversation_items('conv_2', sort_order => 'asc'));
-- An item that is there already is not added twice.
SELECT save_response(pg_temp.response('r3', 'conv_2', 'incomplete') || '{"input": [{"id": "in_r1"}, {"id": "in_r3"}]}');
SELECT pg_temp.ids(list_conversation_items('conv_2', sort_order => 'asc'));
-- A response that fails, is cancelled or deleted gives the turn back and adds nothing.
SELECT save_response(pg_temp.response('r4', 'conv_2', 'in_progress'));
SELECT update_response('r4', '{"status": "failed"}') ->> 'status';
SELECT save_background(pg_temp.response('r5', 'conv_2', 'queued') || '{"background": true}', '{}');
SELECT cancel_response('r5') ->> 'status';
SELECT save_response(pg_temp.response('r6', 'conv_2', 'in_progress'));
SELECT delete_response('r6');
SELECT pg_temp.ids(list_conversation_items('conv_2', sort_order => 'asc')), (SELECT count(*) FROM response_turns);
-- The turn of a response that is silent for too long is free, and what it says
-- later is refused. A heartbeat, an update and an event keep it.
SELECT save_background(pg_temp.response('r7', 'conv_2', 'queued') || '{"background": true}', '{}');
SELECT id FROM claim_response('w');
UPDATE response_turns SET renewed_at = now() - interval '1 hour';
SELECT heartbeat_response('r7', 'w');
SELECT renewed_at >= now() - interval '30 minutes' AS renewed FROM response_turns;
UPDATE response_turns SET renewed_at = now() - interval '1 hour';
SELECT update_response('r7', '{"metadata": {}}', 'w') ->> 'id';
SELECT renewed_at >= now() - interval '30 minutes' AS renewed FROM response_turns;
UPDATE response_turns SET renewed_at = now() - interval '1 hour';
SELECT append_response_events('r7', '{"type": "response.in_progress"}', 'w');
SELECT renewed_at >= now() - interval '30 minutes' AS renewed FROM response_turns;
SELECT pg_temp.refusal($$SELECT save_response(pg_temp.response('r8', 'conv_2', 'in_progress'))$$);
UPDATE response_turns SET renewed_at = now() - interval '1 hour';
SELECT save_response(pg_temp.response('r8', 'conv_2', 'in_progress'));
SELECT pg_temp.refusal($$SELECT update_response('r7', '{"status": "completed"}', 'w')$$);
SELECT update_response('r7', '{"status": "failed"}', 'w') ->> 'status';
SELECT response_id FROM response_turns;
-- A conversation can be removed during a turn; the response ends without it.
SELECT delete_response_conversation('conv_2');
SELECT update_response('r8', '{"status": "completed"}') ->> 'status', get_response('r1') ->> 'id';
-- The conversation must exist, and a response continues from one thing only.
SELECT d, pg_temp.refusal(format('SELECT save_response(%L)', '{"id": "r9", "status": "completed", "model": "m"}'::jsonb || d::jsonb)) FROM unnest(ARRAY[
    '{"conversation": "unknown"}', '{"conversation": {"id": "unknown"}}', '{"conversation": {}}', '{"conversation": 5}',
    '{"conversation": []}', '{"conversation": "a/b"}', '{"conversation": "conv_1", "previous_response_id": "r1"}', '{"conversation": null}']) d;
SELECT pg_temp.refusal($$SELECT update_response('r8', '{"conversation": "conv_1"}')$$);
-- Responses in memory add to conversations as well.
SET msgstore.response_store = memory;
SELECT save_response(pg_temp.response('m1', 'conv_1', 'in_progress'));
SELECT pg_temp.refusal($$SELECT save_response(pg_temp.response('m2', 'conv_1'))$$), pg_temp.refusal($$SELECT get_response('m2')$$);
SELECT update_response('m1', '{"status": "completed"}') -> 'conversation', pg_temp.ids(list_conversation_items('conv_1'));
RESET msgstore.response_store;

--
-- Tenants and owners
--

SET msgstore.tenant_id = 'a';
SET msgstore.owner = 'ann';
SELECT create_response_conversation('{"id": "conv_1"}') ->> 'id', create_response_conversation('{"id": "conv_ann", "items": [{"id": "i"}]}') ->> 'id';
SET msgstore.owner = 'bob';
CREATE TEMP TABLE calls AS SELECT * FROM unnest(ARRAY[
    $$SELECT get_response_conversation('conv_ann')$$, $$SELECT list_conversation_items('conv_ann')$$, $$SELECT get_conversation_item('conv_ann', 'i')$$,
    $$SELECT update_response_conversation('conv_ann', '{}')$$, $$SELECT add_conversation_items('conv_ann', '[]')$$,
    $$SELECT save_response(pg_temp.response('bob', 'conv_ann'))$$, $$SELECT delete_conversation_item('conv_ann', 'i')$$,
    $$SELECT delete_response_conversation('conv_ann')$$]) WITH ORDINALITY c (c, n);
SELECT c, pg_temp.refusal(c) FROM calls ORDER BY n;
-- An administrator reads and removes, and writes nothing.
SET msgstore.admin = on;
SELECT c, pg_temp.refusal(c) FROM calls ORDER BY n LIMIT 7;
RESET msgstore.admin;
RESET msgstore.owner;
SET msgstore.tenant_id = 'b';
SELECT count(pg_temp.refusal(c)) FILTER (WHERE pg_temp.refusal(c) = 'MS404 conversation not found') FROM calls;
RESET msgstore.tenant_id;
-- The same ID in two tenants: a session without a tenant cannot tell which.
SELECT pg_temp.refusal($$SELECT get_response_conversation('conv_1')$$), get_response_conversation('conv_ann') ->> 'id';

--
-- Events
--

SELECT save_response('{"id": "e1", "status": "in_progress", "model": "m", "created_at": 1000}');
-- Numbers are given by the client or follow on, and never go back.
SELECT append_response_events('e1', '[{"type": "response.created", "sequence_number": 0}, {"type": "response.in_progress"}]'),
    append_response_events('e1', '{"type": "response.output_text.delta", "sequence_number": 5, "delta": "Ye"}'),
    append_response_events('e1', '[]'), append_response_events('e1', '{"type": "response.output_text.delta", "delta": "s."}');
SELECT * FROM response_events('e1');
SELECT sequence_number FROM response_events('e1', 1, 1);
SELECT pg_temp.refusal(format('SELECT append_response_events(%L, %L)', 'e1', e)) FROM unnest(ARRAY[
    '{"type": "x", "sequence_number": 6}', '{"type": "x", "sequence_number": -1}', '{"type": "x", "sequence_number": "7"}',
    '{"type": "a b"}', '{}', '5', '[[]]', '[{"type": "x"}, {"type": 5, "sequence_number": 1.5}]']) e;
SELECT count(*) FROM response_events('e1');
-- A stream of a response in progress has what is stored.
SELECT response_event_stream('e1', 1);
-- It ends with the response, even if its last event is missing.
SELECT update_response('e1', '{"status": "completed"}') ->> 'status';
SELECT response_event_stream('e1', 5);
SELECT response_event_stream('e1', 7) = '' AS nothing;
SELECT append_response_events('e1', '{"type": "response.completed"}'), response_event_stream('e1', 6), response_event_stream('e1', 7) = '' AS nothing;
-- A response without events is one event.
SELECT save_response('{"id": "e2", "status": "failed", "model": "m", "created_at": 1000}'), save_response('{"id": "e3", "status": "in_progress", "model": "m", "created_at": 1000}');
SELECT response_event_stream('e2'), response_event_stream('e3'), response_event_stream('e2', 0) = '' AS nothing;
-- A worker must hold the claim; other owners see nothing.
SELECT save_background('{"id": "e4", "status": "queued", "model": "m", "background": true}', '{}');
SELECT id FROM claim_response('w1');
SELECT append_response_events('e4', '{"type": "a"}', 'w1'), pg_temp.refusal($$SELECT append_response_events('e4', '{"type": "a"}', 'w2')$$);
SET msgstore.tenant_id = 'a';
SELECT c, pg_temp.refusal(c) FROM unnest(ARRAY[$$SELECT append_response_events('e1', '{"type": "a"}')$$,
    $$SELECT * FROM response_events('e1')$$, $$SELECT response_event_stream('e1')$$]) c;
RESET msgstore.tenant_id;
SET msgstore.response_store = memory;
SELECT pg_temp.refusal($$SELECT append_response_events('m1', '{"type": "a"}')$$), response_event_stream('m1') LIKE 'event: response.completed%' AS ends;
RESET msgstore.response_store;
-- The events go with their response.
SELECT delete_response('e1'), purge_responses('1 hour') > 0 AS purged;
SELECT count(*) FROM response_events WHERE response_id = 'e1';

DROP EXTENSION msgstore;
