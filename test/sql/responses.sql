-- The responses room, in the table and in memory: this file is run under two
-- names, and by its name it knows which store is meant.
CREATE EXTENSION msgstore;
SELECT current_database() AS database, CASE current_setting('application_name')
    WHEN 'pg_regress/responses' THEN 'durable' ELSE 'memory' END AS store \gset
ALTER DATABASE :"database" SET msgstore.response_store = :'store';
\c
SET search_path = msgstore, public;
SHOW msgstore.response_store;

-- A response without what the server fills in.
CREATE FUNCTION pg_temp.shown(response jsonb) RETURNS jsonb
LANGUAGE sql RETURN response - 'created_at';
-- How the call ends, for refusals that come in many forms.
CREATE FUNCTION pg_temp.refusal(command text) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    field text;
BEGIN
    EXECUTE command;
    RETURN 'accepted';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS field = COLUMN_NAME;
    RETURN concat_ws(' ', SQLSTATE, SQLERRM, '[' || nullif(field, '') || ']');
END
$$;
-- A small finished response.
CREATE FUNCTION pg_temp.finished(id text, previous text DEFAULT NULL, made int DEFAULT 1000)
RETURNS jsonb LANGUAGE sql
RETURN jsonb_strip_nulls(jsonb_build_object(
    'id', id, 'status', 'completed', 'model', 'm', 'created_at', made,
    'previous_response_id', previous,
    'input', jsonb_build_array(jsonb_build_object('id', 'in_' || id)),
    'output', jsonb_build_array(jsonb_build_object('id', 'out_' || id))));
-- The ids of a list.
CREATE FUNCTION pg_temp.ids(list jsonb) RETURNS text LANGUAGE sql
RETURN (SELECT string_agg(d ->> 'id', ' ' ORDER BY n)
        FROM jsonb_array_elements(list -> 'data') WITH ORDINALITY d (d, n))
    || CASE WHEN (list ->> 'has_more')::boolean THEN ' ...' ELSE '' END;

--
-- Save and get
--

-- Every field comes back as it was saved, also those that have no column.
CREATE TEMP TABLE whole AS SELECT '{
    "id": "resp_whole", "object": "response", "status": "completed",
    "model": "model-1", "previous_response_id": null, "created_at": 1730469600,
    "completed_at": 1730469605, "background": false, "error": null,
    "input": [{"id": "msg_1", "type": "message", "role": "user", "content": "héllo 👋🏽 \" \\ \u0001"}],
    "output": [{"id": "msg_2", "type": "message", "role": "assistant", "content": []}],
    "usage": {"input_tokens": 5, "output_tokens": 7, "total_tokens": 12},
    "incomplete_details": null, "conversation_id": "conv_1",
    "instructions": "Be brief.", "tools": [{"type": "function", "name": "f"}],
    "tool_choice": "auto", "truncation": "disabled",
    "parallel_tool_calls": true, "text": {"format": {"type": "text"}},
    "top_p": 1.0, "presence_penalty": 0, "frequency_penalty": 0.5,
    "top_logprobs": 0, "temperature": 0.7, "reasoning": {"effort": null},
    "max_output_tokens": null, "max_tool_calls": 3, "store": true,
    "service_tier": "default", "metadata": {"k": "v"}, "user": "user-2",
    "safety_identifier": "s", "prompt_cache_key": "p", "": "empty"}'::jsonb AS document;
SELECT save_response(document) FROM whole;
SELECT get_response('resp_whole') = document AS equal FROM whole;
-- What is missing stays missing; lists become empty ones.
SELECT save_response('{"id": "resp_bare", "status": "completed", "model": "m"}');
SELECT pg_temp.shown(get_response('resp_bare'));
SELECT abs(extract(epoch FROM now()) - (get_response('resp_bare') ->> 'created_at')::bigint) < 100 AS made_now;
SELECT save_response('{"id": "resp_nulls", "status": "completed", "model": "m",
    "input": null, "output": null, "usage": null, "created_at": null, "background": null}');
SELECT pg_temp.shown(get_response('resp_nulls'));
-- Usage with details, or of zeros, is kept as it was.
SELECT save_response('{"id": "resp_usage", "status": "completed", "model": "m",
    "usage": {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3, "input_tokens_details": {"cached_tokens": 1}}}');
SELECT get_response('resp_usage') -> 'usage';
SELECT save_response('{"id": "resp_zero", "status": "completed", "model": "m",
    "usage": {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}}');
SELECT get_response('resp_zero') -> 'usage';
-- An id is used once, and the first response stays as it was.
SELECT save_response('{"id": "resp_bare", "status": "failed", "model": "other"}');
SELECT get_response('resp_bare') ->> 'model';
-- "store": false stores nothing and says so.
SELECT save_response('{"id": "resp_not", "status": "completed", "model": "m", "store": false}') IS NULL AS not_stored;
SELECT get_response('resp_not');
-- What is not a response is refused, and the field is named.
SELECT d, pg_temp.refusal(format('SELECT save_response(%L)', d)) FROM (VALUES
    ('[]'), ('"a"'), ('null'), ('{}'),
    ('{"id": "a"}'), ('{"id": "a", "status": "completed"}'),
    ('{"id": 1, "status": "completed", "model": "m"}'),
    ('{"id": "", "status": "completed", "model": "m"}'),
    ('{"id": null, "status": "completed", "model": "m"}'),
    ('{"id": "a", "status": "done", "model": "m"}'),
    ('{"id": "a", "status": "", "model": "m"}'),
    ('{"id": "a", "status": null, "model": "m"}'),
    ('{"id": "a", "status": "completed", "model": 5}'),
    ('{"id": "a", "status": "completed", "model": "m", "object": "message"}'),
    ('{"id": "a", "status": "completed", "model": "m", "input": "hi"}'),
    ('{"id": "a", "status": "completed", "model": "m", "input": {}}'),
    ('{"id": "a", "status": "completed", "model": "m", "output": 1}'),
    ('{"id": "a", "status": "completed", "model": "m", "usage": []}'),
    ('{"id": "a", "status": "completed", "model": "m", "usage": 3}'),
    ('{"id": "a", "status": "completed", "model": "m", "usage": {"input_tokens": "1"}}'),
    ('{"id": "a", "status": "completed", "model": "m", "usage": {"input_tokens": -1}}'),
    ('{"id": "a", "status": "completed", "model": "m", "usage": {"total_tokens": 2147483648}}'),
    ('{"id": "a", "status": "completed", "model": "m", "created_at": "now"}'),
    ('{"id": "a", "status": "completed", "model": "m", "created_at": 1.5}'),
    ('{"id": "a", "status": "completed", "model": "m", "created_at": 1e30}'),
    ('{"id": "a", "status": "completed", "model": "m", "created_at": -1}'),
    ('{"id": "a", "status": "completed", "model": "m", "completed_at": 0}'),
    ('{"id": "a", "status": "completed", "model": "m", "background": 1}'),
    ('{"id": "a", "status": "completed", "model": "m", "previous_response_id": ""}'),
    ('{"id": "a", "status": "completed", "model": "m", "previous_response_id": 1}'),
    ('{"id": "a", "status": "completed", "model": "m", "previous_response_id": "a"}'),
    ('{"id": "a", "status": "queued", "model": "m", "background": true, "store": false}'),
    ('{"id": "a", "status": "queued", "model": "m", "background": true, "stream": true}')) v (d);
SELECT pg_temp.refusal(format('SELECT save_response(%L)', pg_temp.finished(repeat('é', 128))));
SELECT pg_temp.refusal(format('SELECT save_response(%L)', pg_temp.finished(repeat('i', 255))));
SELECT pg_temp.refusal($$SELECT get_response(repeat('i', 256))$$);
SELECT pg_temp.refusal($$SELECT get_response('a')$$);
SELECT save_response(NULL), get_response(NULL), delete_response(NULL), update_response('a', NULL);
-- A whole number is one however it is written.
SELECT save_response('{"id": "resp_float", "status": "completed", "model": "m", "created_at": 1730469600.0}');
SELECT get_response('resp_float') -> 'created_at';
-- Large documents are kept, up to the limit.
SELECT save_response(jsonb_build_object('id', 'resp_large', 'status', 'completed', 'model', 'm',
    'output', jsonb_build_array(jsonb_build_object('text', repeat('a 👋🏽', 1000000)))));
SELECT length(get_response('resp_large') #>> '{output,0,text}'),
    md5(get_response('resp_large') #>> '{output,0,text}') = md5(repeat('a 👋🏽', 1000000)) AS equal;
SET msgstore.max_response_bytes = '9MB';
SELECT regexp_replace(pg_temp.refusal($$SELECT save_response(jsonb_build_object('id', 'resp_larger',
    'status', 'completed', 'model', 'm', 'text', repeat('a', 10485760)))$$), 'of \d+', 'of n');
SELECT regexp_replace(pg_temp.refusal($$SELECT update_response('resp_bare',
    jsonb_build_object('output', jsonb_build_array(repeat('a', 10485760))))$$), 'of \d+', 'of n');
-- Numbers count as they are printed: each of these has 128 kB.
SELECT regexp_replace(pg_temp.refusal($$SELECT save_response(('{"id": "resp_larger", "status": "completed",
    "model": "m", "n": [' || repeat('1e131071,', 20000) || '0]}')::jsonb)$$), 'of \d+', 'of n');
-- So is what becomes too large by a change.
SELECT regexp_replace(pg_temp.refusal($$SELECT update_response('resp_large', '{"metadata": {"a": 1}}')$$), 'of \d+', 'of n');
SELECT pg_temp.refusal($$SELECT update_response('resp_large', '{"output": []}')$$);
RESET msgstore.max_response_bytes;
SELECT get_response('resp_larger');

--
-- Chains
--

SELECT save_response(pg_temp.finished('A')), save_response(pg_temp.finished('B', 'A')),
    save_response(pg_temp.finished('C', 'B'));
-- B is deleted: get does not find it, the chain does.
SELECT delete_response('B');
SELECT get_response('B');
SELECT get_response_for_chain('B') ->> 'previous_response_id';
SELECT get_response_for_chain('unknown');
SELECT depth, id, deleted, response -> 'output' FROM response_chain('C');
SELECT chain_items('C');
-- A second delete, and a save with the id, are refused.
SELECT delete_response('B');
SELECT save_response(pg_temp.finished('B'));
SELECT delete_response('unknown');
-- The newest, or so many steps.
SELECT depth, id FROM response_chain('C', 2);
SELECT depth, id FROM response_chain('C', max_depth => 1);
SELECT depth, id FROM response_chain('C', 0);
SELECT depth, id FROM response_chain('C', NULL, NULL);
SELECT chain_items('C', 3), chain_items('C', 0), chain_items('C', max_depth => 0);
SELECT pg_temp.refusal($$SELECT response_chain('C', -1)$$), pg_temp.refusal($$SELECT chain_items('C', 1, -1)$$);
SELECT * FROM response_chain('unknown');
SELECT chain_items('unknown');
SELECT count(*) FROM response_chain(NULL);
-- A missing ancestor ends the chain and is told.
SELECT save_response(pg_temp.finished('orphan', 'gone'));
SELECT depth, id, deleted, response IS NULL AS missing FROM response_chain('orphan');
SELECT chain_items('orphan');
-- A circle is detected, not followed.
SELECT save_response(pg_temp.finished('ring1', 'ring3')), save_response(pg_temp.finished('ring2', 'ring1')),
    save_response(pg_temp.finished('ring3', 'ring2'));
SELECT * FROM response_chain('ring2');
SELECT chain_items('ring2');
SELECT depth, id FROM response_chain('ring2', 3);
-- The responses that continue from one.
SELECT save_response(pg_temp.finished('B2', 'A', 900));
SELECT id, deleted, response ->> 'previous_response_id' AS previous FROM branches('A');
SELECT id FROM branches('C');
SELECT id FROM branches('unknown');
-- A chain of a thousand.
SELECT count(save_response(pg_temp.finished('long' || i, 'long' || nullif(i - 1, -1)))) FROM generate_series(0, 1000) i;
SELECT count(*), max(depth), min(id) FILTER (WHERE depth = 1000) FROM response_chain('long1000');
SELECT count(*) FROM response_chain('long1000', max_depth => 999);
SELECT jsonb_array_length(chain_items('long1000')), chain_items('long1000') -> 0, chain_items('long1000', 1);

--
-- Updates
--

SELECT save_response('{"id": "work", "status": "in_progress", "model": "m", "created_at": 1000,
    "output": [1], "usage": {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2, "details": 1}, "metadata": {"a": 1}}');
-- Only what is given changes.
SELECT update_response('work', '{"output": [2, 3]}');
SELECT update_response('work', '{"usage": {"input_tokens": 4, "output_tokens": 5, "total_tokens": 9}, "metadata": null}');
SELECT update_response('work', '{"error": {"code": "c"}, "completed_at": 1001, "worker_heartbeat": "2024-11-01T14:00:00Z"}');
SELECT update_response('work', '{"status": "completed", "output": []}');
SELECT get_response('work') = update_response('work', '{}') AS nothing;
-- What was finished is not changed back, and a bad patch changes nothing at all.
SELECT update_response('work', '{"status": "failed", "output": [9]}');
SELECT get_response('work') -> 'output';
SELECT p, pg_temp.refusal(format('SELECT update_response(%L, %L)', 'work', p)) FROM (VALUES
    ('[]'), ('1'), ('{"status": "completed"}'), ('{"status": "done"}'), ('{"status": null}'),
    ('{"output": {}}'), ('{"usage": 1}'), ('{"completed_at": "x"}'), ('{"worker_heartbeat": "yesterday"}'),
    ('{"id": "x"}'), ('{"tenant_id": "x"}'), ('{"owner": "x"}'), ('{"created_at": 1}'), ('{"input": []}'),
    ('{"model": "x"}'), ('{"previous_response_id": "A"}'), ('{"background": true}'), ('{"object": "response"}')) v (p);
SELECT update_response('unknown', '{}');
SELECT update_response('B', '{}');
-- A response that failed has an error and no output.
SELECT save_response('{"id": "fails", "status": "in_progress", "model": "m", "output": [1], "created_at": 1000}');
SELECT update_response('fails', '{"status": "failed", "output": [2], "error": {"code": "server_error"}}');

--
-- Tenants and owners
--

SET msgstore.tenant_id = 'a';
SELECT save_response(pg_temp.finished('of_a'));
SELECT get_response('of_a') ->> 'id', pg_temp.ids(list_responses());
-- Rows without a tenant are for callers without one.
SELECT pg_temp.refusal($$SELECT get_response('A')$$);
SET msgstore.tenant_id = 'b';
SELECT c, pg_temp.refusal(format('SELECT %s', c)) FROM (VALUES
    ($$get_response('of_a')$$), ($$get_response_for_chain('of_a')$$), ($$delete_response('of_a')$$),
    ($$update_response('of_a', '{}')$$), ($$response_input_items('of_a')$$), ($$response_chain('of_a')$$),
    ($$chain_items('of_a')$$), ($$branches('of_a')$$), ($$cancel_response('of_a')$$),
    ($$heartbeat_response('of_a', 'w')$$), ($$get_response('unknown')$$)) v (c);
SELECT pg_temp.ids(list_responses()), pg_temp.ids(list_responses(after => 'of_a'));
-- Ids are those of all tenants.
SELECT pg_temp.refusal($$SELECT save_response(pg_temp.finished('of_a'))$$);
-- A chain does not lead out of the tenant.
SELECT save_response(pg_temp.finished('of_b', 'of_a'));
SELECT * FROM response_chain('of_b');
SELECT save_background_request('of_a', '{}');
RESET msgstore.tenant_id;
SELECT get_response('of_a') ->> 'id';

-- The rule of owners: caller, is he an administrator, whose is it, is it written.
SELECT c.*, _owner_allows(caller, is_admin, stored, writing) FROM (VALUES
    ('', false, 'user-1', false), ('user-1', false, 'user-1', false), ('user-2', false, 'user-1', false),
    ('admin', true, 'user-1', false), ('admin', true, 'user-1', true), ('user-1', false, '', false),
    ('admin', true, '', false), ('admin', true, '', true)) c (caller, is_admin, stored, writing);
SET msgstore.tenant_id = 'a';
SET msgstore.owner = 'user-1';
SELECT save_response(pg_temp.finished('of_1') || '{"user": "user-2"}'), save_response(pg_temp.finished('also_1', 'of_1'));
SELECT pg_temp.ids(list_responses(sort_order => 'asc'));
SET msgstore.owner = 'user-2';
-- Another's is not there, nobody's is everybody's.
SELECT c, pg_temp.refusal(format('SELECT %s', c)) FROM (VALUES
    ($$get_response('of_1')$$), ($$get_response_for_chain('of_1')$$), ($$delete_response('of_1')$$),
    ($$update_response('of_1', '{}')$$), ($$response_input_items('of_1')$$), ($$get_response('of_a')$$),
    ($$update_response('of_a', '{}')$$), ($$branches('of_1')$$)) v (c);
SELECT save_response(pg_temp.finished('of_2', 'also_1'));
SELECT pg_temp.refusal($$SELECT response_chain('of_2')$$);
SELECT pg_temp.ids(list_responses(sort_order => 'asc'));
-- An administrator reads and deletes, and does not write.
SET msgstore.owner = 'boss';
SET msgstore.admin = on;
SELECT pg_temp.ids(list_responses(sort_order => 'asc'));
SELECT get_response('of_1') ->> 'user', pg_temp.refusal($$SELECT update_response('of_1', '{}')$$),
    pg_temp.refusal($$SELECT update_response('of_a', '{}')$$);
SELECT id FROM response_chain('of_2');
SELECT delete_response('of_1');
-- His tenant is his limit.
SET msgstore.tenant_id = 'b';
SELECT pg_temp.refusal($$SELECT get_response('also_1')$$), pg_temp.refusal($$SELECT delete_response('also_1')$$),
    pg_temp.ids(list_responses());
RESET msgstore.admin;
RESET msgstore.owner;
RESET msgstore.tenant_id;
-- Who is nobody sees everything.
SELECT get_response('also_1') ->> 'id';

--
-- Lists
--

SET msgstore.tenant_id = 'list';
SELECT list_responses();
SELECT count(save_response(pg_temp.finished('r' || i, NULL, 1000 + i / 2)
    || jsonb_build_object('model', 'm' || i % 3, 'status', CASE i WHEN 4 THEN 'failed' ELSE 'completed' END)))
FROM generate_series(1, 7) i;
-- By time, then by id.
SELECT pg_temp.ids(list_responses()), pg_temp.ids(list_responses(sort_order => 'asc'));
SELECT list_responses(max_results => 1) #- '{data,0,input}' #- '{data,0,output}';
-- A page after, and the page that ends right before.
SELECT pg_temp.ids(list_responses(max_results => 2)), pg_temp.ids(list_responses('r6', max_results => 2)),
    pg_temp.ids(list_responses(before => 'r4', max_results => 2)), pg_temp.ids(list_responses(before => 'r4', max_results => 3)),
    pg_temp.ids(list_responses('r2', max_results => 2)), pg_temp.ids(list_responses('r2', max_results => 1));
SELECT pg_temp.ids(list_responses('r2', sort_order => 'asc')), pg_temp.ids(list_responses(before => 'r6', sort_order => 'asc', max_results => 2));
-- Of two cursors after wins; an unknown one gives an empty page.
SELECT pg_temp.ids(list_responses('r6', 'r2')), list_responses('unknown'), list_responses(before => 'A');
-- Limits are put right, an order is not.
SELECT pg_temp.refusal($$SELECT list_responses(sort_order => 'up')$$), pg_temp.refusal($$SELECT list_responses(sort_order => NULL)$$);
-- Filters.
SELECT pg_temp.ids(list_responses(model => 'm1')), pg_temp.ids(list_responses(status => 'failed')),
    pg_temp.ids(list_responses(background => true)), pg_temp.ids(list_responses(background => false, max_results => 3));
-- A deleted response is in no list, but a walk goes on from it.
SELECT delete_response('r5');
SELECT pg_temp.ids(list_responses()), pg_temp.ids(list_responses('r5'));
-- A walk meets every response once, while others are added at the front.
SELECT count(save_response(pg_temp.finished('w' || i, NULL, 2000 + i / 7))) FROM generate_series(1, 250) i;
DO $$
DECLARE
    page jsonb := list_responses(max_results => 33);
    seen text[] := '{}';
    n int := 0;
BEGIN
    LOOP
        seen := seen || ARRAY(SELECT d ->> 'id' FROM jsonb_array_elements(page -> 'data') d);
        EXIT WHEN NOT (page ->> 'has_more')::boolean;
        n := n + 1;
        PERFORM save_response(jsonb_build_object('id', 'new' || n, 'status', 'completed', 'model', 'm', 'created_at', 3000 + n));
        page := list_responses(page ->> 'last_id', max_results => 33);
    END LOOP;
    RAISE INFO '% pages, % responses, % of them distinct', n + 1, cardinality(seen),
        (SELECT count(DISTINCT s) FROM unnest(seen) s);
END
$$;
SELECT jsonb_array_length(list_responses(max_results => n) -> 'data') FROM unnest(ARRAY[NULL, -1, 0, 1, 100, 500]) n;
RESET msgstore.tenant_id;

-- Input items, in the order they were saved.
SELECT save_response('{"id": "items", "status": "completed", "model": "m", "input": [{"id": "i1"}, {"id": "i2"}, {"role": "user"}, {"id": "i4"}]}');
SELECT response_input_items('items');
SELECT pg_temp.ids(response_input_items('items', max_results => 2)), pg_temp.ids(response_input_items('items', 'i2')),
    pg_temp.ids(response_input_items('items', 'item_3')),
    pg_temp.ids(response_input_items('items', before => 'i4', max_results => 2)),
    pg_temp.ids(response_input_items('items', sort_order => 'desc')),
    pg_temp.ids(response_input_items('items', 'i2', sort_order => 'desc'));
SELECT response_input_items('items', 'unknown'), response_input_items('resp_bare');
SELECT response_input_items('unknown');
SELECT response_input_items('B');
SELECT pg_temp.refusal($$SELECT response_input_items('items', sort_order => 'up')$$);

--
-- Background responses
--

-- Status moves: all that are allowed.
SELECT f AS "from", t AS "to" FROM unnest(ARRAY['', 'queued', 'in_progress', 'completed', 'incomplete', 'failed', 'cancelled', 'requires_action']) WITH ORDINALITY f (f, n),
    unnest(ARRAY['queued', 'in_progress', 'completed', 'incomplete', 'failed', 'cancelled', 'requires_action']) WITH ORDINALITY t (t, m)
WHERE pg_temp.refusal(format('SELECT _check_response_move(%L, %L)', f, t)) = 'accepted' ORDER BY n, m;

CREATE FUNCTION pg_temp.queued(id text, made int DEFAULT 1000) RETURNS jsonb LANGUAGE sql
RETURN jsonb_build_object('id', id, 'status', 'queued', 'model', 'm', 'background', true, 'created_at', made);
-- The oldest first, then the lower id; of all tenants.
SELECT save_background(pg_temp.queued('q3', 1002), '{"n": 3}'), save_background(pg_temp.queued('q2', 1001), '{"n": 2}');
SET msgstore.tenant_id = 'a';
SELECT save_background(pg_temp.queued('q1', 1001), '{"n": 1}');
RESET msgstore.tenant_id;
SELECT save_response(pg_temp.queued('q4', 1003));
SELECT id, response ->> 'status' AS status, request FROM claim_response('w1');
SELECT id, response ->> 'status' AS status, request FROM claim_response('w1');
SELECT id, response ->> 'status' AS status, request FROM claim_response('w2');
-- A request can come later; for an unknown response it is nothing.
SELECT save_background_request('q4', '{"n": 4}'), save_background_request('unknown', '{}');
SELECT id, response, request FROM claim_response('w2');
SELECT * FROM claim_response('w2');
SELECT pg_temp.refusal($$SELECT claim_response('')$$);
SELECT pg_temp.refusal($$SELECT save_background(pg_temp.finished('q'), '{}')$$),
    pg_temp.refusal($$SELECT save_background(pg_temp.finished('q') || '{"background": true}', '{}')$$);
-- A heartbeat is that of the claim's worker.
SELECT heartbeat_response('q1', 'w1');
SELECT heartbeat_response('q1', 'w2');
SELECT heartbeat_response('unknown', 'w1');
-- So is a change that says whose it is.
SELECT pg_temp.refusal($$SELECT update_response('q1', '{"status": "completed"}', 'w2')$$);
SELECT update_response('q1', '{"status": "completed", "completed_at": 1009, "output": [1]}', 'w1');
SELECT pg_temp.refusal($$SELECT update_response('q1', '{"output": []}', 'w1')$$), pg_temp.refusal($$SELECT heartbeat_response('q1', 'w1')$$);
-- Cancelled is cancelled, whatever the worker says later.
SELECT cancel_response('q2');
SELECT update_response('q2', '{"status": "completed"}');
SELECT pg_temp.refusal($$SELECT heartbeat_response('q2', 'w1')$$), get_response('q2') ->> 'status';
SELECT cancel_response('q2', false) ->> 'status';
-- What is finished is deleted instead, or refused.
SELECT pg_temp.refusal($$SELECT cancel_response('q1', false)$$), pg_temp.refusal($$SELECT cancel_response('A', false)$$);
SELECT cancel_response('q1');
SELECT cancel_response('q1');
-- Stale is what was not heard of; what never said anything is not.
SELECT save_response(pg_temp.queued('silent') || '{"status": "in_progress"}');
SELECT update_response('q3', '{"worker_heartbeat": "2024-11-01T14:00:00Z"}') ->> 'status';
SELECT * FROM stale_responses();
SELECT * FROM stale_responses('1000 years');
-- It is queued again, as often as it may be retried, and then it has failed.
SET msgstore.max_retries = 1;
SELECT reap_responses(), reap_responses(), get_response('q3') ->> 'status';
SELECT pg_temp.refusal($$SELECT heartbeat_response('q3', 'w2')$$);
SELECT id, request FROM claim_response('w3');
SELECT update_response('q3', '{"worker_heartbeat": "2024-11-01T14:00:00Z", "output": [1]}', 'w3') ->> 'status';
SELECT reap_responses();
SELECT get_response('q3');
RESET msgstore.max_retries;
-- The housekeeping does not retry, and removes what finished long ago.
SELECT update_response('q4', '{"worker_heartbeat": "2024-11-01T14:00:00Z"}') ->> 'status';
SET msgstore.response_ttl = 0;
SELECT _response_housekeeping(), get_response('q4') -> 'error';
SHOW msgstore.response_store;
-- The cleanup takes the oldest background responses that are finished, and no more.
SELECT save_response(pg_temp.queued('new', 1003) || '{"status": "completed"}'), save_response(pg_temp.queued('partial') || '{"status": "incomplete"}'),
    save_response(pg_temp.queued('waits'));
SELECT cleanup_responses(1003, 2), cleanup_responses(1003), cleanup_responses(1003);
SELECT c, pg_temp.refusal(format('SELECT get_response_for_chain(%L)', c)) FROM unnest(ARRAY['q1', 'q2', 'q3', 'q4', 'new', 'partial', 'waits', 'silent', 'A']) c;
RESET msgstore.response_ttl;
SELECT _response_housekeeping();
SELECT cancel_response('waits') ->> 'status';

--
-- Purge
--

SET msgstore.tenant_id = 'purge';
SELECT count(save_response(pg_temp.finished(id, previous, made::int))) FROM (VALUES
    ('old1', NULL, 1000), ('old2', 'old1', 1000), ('kept', 'old2', extract(epoch FROM now())), ('old3', 'old2', 1000),
    ('old4', 'old3', 1000), ('leaf', 'kept', extract(epoch FROM now())), ('stem', NULL, extract(epoch FROM now())),
    ('bud', 'stem', extract(epoch FROM now()))) v (id, previous, made);
SELECT delete_response('leaf'), delete_response('stem');
-- What nothing that stays continues from: old3 and old4, and the deleted leaf.
SELECT purge_responses('1 day');
SELECT depth, id, deleted FROM response_chain('kept');
SELECT depth, id, deleted FROM response_chain('bud');
SELECT c, pg_temp.refusal(format('SELECT get_response_for_chain(%L)', c)) FROM unnest(ARRAY['old3', 'old4', 'leaf']) c;
SELECT purge_responses('1 day'), purge_responses('-1 day');
RESET msgstore.tenant_id;
SELECT get_response('A') ->> 'id';

-- The table is the durable store's, and only its.
SELECT count(*) > 0 AS in_table FROM responses;

ALTER DATABASE :"database" RESET msgstore.response_store;
DROP EXTENSION msgstore;
