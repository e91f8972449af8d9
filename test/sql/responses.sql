-- Responses, in the durable and in the in-memory store: this file runs under two
-- names, and the name selects the store.
CREATE EXTENSION msgstore;
SELECT current_database() AS database, CASE current_setting('application_name')
    WHEN 'pg_regress/responses' THEN 'durable' ELSE 'memory' END AS store \gset
ALTER DATABASE :"database" SET msgstore.response_store = :'store';
\c
SET search_path = msgstore, public;
SHOW msgstore.response_store;

-- A response without the time that the server sets.
CREATE FUNCTION pg_temp.shown(response jsonb) RETURNS jsonb
LANGUAGE sql RETURN response - 'created_at';
-- The error of a call in one line.
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
-- The IDs of a list.
CREATE FUNCTION pg_temp.ids(list jsonb) RETURNS text LANGUAGE sql
RETURN (SELECT string_agg(d ->> 'id', ' ' ORDER BY n)
        FROM jsonb_array_elements(list -> 'data') WITH ORDINALITY d (d, n))
    || CASE WHEN (list ->> 'has_more')::boolean THEN ' ...' ELSE '' END;

--
-- Save and get
--

-- Every field comes back as it was saved, including those without a column.
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
-- Missing fields stay missing, except that input and output become empty arrays.
SELECT save_response('{"id": "resp_bare", "status": "completed", "model": "m"}');
SELECT pg_temp.shown(get_response('resp_bare'));
SELECT abs(extract(epoch FROM now()) - (get_response('resp_bare') ->> 'created_at')::bigint) < 100 AS made_now;
SELECT save_response('{"id": "resp_nulls", "status": "completed", "model": "m",
    "input": null, "output": null, "usage": null, "created_at": null, "background": null}');
SELECT pg_temp.shown(get_response('resp_nulls'));
-- A usage with details or of zeros comes back unchanged.
SELECT save_response('{"id": "resp_usage", "status": "completed", "model": "m",
    "usage": {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3, "input_tokens_details": {"cached_tokens": 1}}}');
SELECT get_response('resp_usage') -> 'usage';
SELECT save_response('{"id": "resp_zero", "status": "completed", "model": "m",
    "usage": {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}}');
SELECT get_response('resp_zero') -> 'usage';
-- An ID can be used once, and the first response stays unchanged.
SELECT save_response('{"id": "resp_bare", "status": "failed", "model": "other"}');
SELECT get_response('resp_bare') ->> 'model';
-- With "store": false nothing is stored, and a notice says so.
SELECT save_response('{"id": "resp_not", "status": "completed", "model": "m", "store": false}') IS NULL AS not_stored;
SELECT get_response('resp_not');
-- An invalid response is refused, and the error names the field.
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
    ('{"id": "a", "status": "completed", "model": "m", "input": {}}'),
    ('{"id": "a", "status": "completed", "model": "m", "output": 1}'),
    ('{"id": "a", "status": "completed", "model": "m", "usage": []}'),
    ('{"id": "a", "status": "completed", "model": "m", "usage": 3}'),
    ('{"id": "a", "status": "completed", "model": "m", "usage": {"input_tokens": "1"}}'),
    ('{"id": "a", "status": "completed", "model": "m", "usage": {"input_tokens": -1}}'),
    ('{"id": "a", "status": "completed", "model": "m", "usage": {"total_tokens": 9007199254740992}}'),
    ('{"id": "a", "status": "completed", "model": "m", "usage": {"total_tokens": 1.5}}'),
    ('{"id": "a", "status": "completed", "model": "m", "created_at": "now"}'),
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
-- An integer may be written with a fraction of zeros.
SELECT save_response('{"id": "resp_float", "status": "completed", "model": "m", "created_at": 1730469600.0}');
SELECT get_response('resp_float') -> 'created_at';
-- A time may have a fraction, and a number of tokens may exceed its column.
SELECT save_response('{"id": "resp_fraction", "status": "completed", "model": "m", "created_at": 1730469600.25,
    "completed_at": 1730469601.5, "usage": {"input_tokens": 3000000000, "output_tokens": 1, "total_tokens": 3000000001}}');
SELECT get_response('resp_fraction');
SELECT update_response('resp_fraction', '{"completed_at": 1730469602}') -> 'completed_at',
    get_response('resp_fraction') -> 'usage' -> 'total_tokens';
-- An input that is a string is one message of the user.
SELECT save_response('{"id": "resp_text", "status": "completed", "model": "m", "input": "Is this \"on\"?"}');
SELECT get_response('resp_text') -> 'input', response_input_items('resp_text') -> 'data';
-- A text that jsonb cannot hold is refused, or read as the setting says.
SELECT pg_temp.refusal($$SELECT save_response(read_payload('{"id": "nul", "status": "completed", "model": "a\u0000b"}'))$$);
-- Large documents are accepted up to the limit.
SELECT save_response(jsonb_build_object('id', 'resp_large', 'status', 'completed', 'model', 'm',
    'output', jsonb_build_array(jsonb_build_object('text', repeat('a 👋🏽', 1000000)))));
SELECT length(get_response('resp_large') #>> '{output,0,text}'),
    md5(get_response('resp_large') #>> '{output,0,text}') = md5(repeat('a 👋🏽', 1000000)) AS equal;
SET msgstore.max_response_bytes = '9MB';
SELECT regexp_replace(pg_temp.refusal($$SELECT save_response(jsonb_build_object('id', 'resp_larger',
    'status', 'completed', 'model', 'm', 'text', repeat('a', 10485760)))$$), 'of \d+', 'of n');
SELECT regexp_replace(pg_temp.refusal($$SELECT update_response('resp_bare',
    jsonb_build_object('output', jsonb_build_array(repeat('a', 10485760))))$$), 'of \d+', 'of n');
-- The limit counts numbers as printed: each of these takes 128 kB.
SELECT regexp_replace(pg_temp.refusal($$SELECT save_response(('{"id": "resp_larger", "status": "completed",
    "model": "m", "n": [' || repeat('1e131071,', 20000) || '0]}')::jsonb)$$), 'of \d+', 'of n');
-- An update that makes a response too large is refused.
SELECT regexp_replace(pg_temp.refusal($$SELECT update_response('resp_large', '{"metadata": {"a": 1}}')$$), 'of \d+', 'of n');
SELECT pg_temp.refusal($$SELECT update_response('resp_large', '{"output": []}')$$);
RESET msgstore.max_response_bytes;
SELECT get_response('resp_larger');

--
-- Chains
--

SELECT save_response(pg_temp.finished('A')), save_response(pg_temp.finished('B', 'A')),
    save_response(pg_temp.finished('C', 'B'));
-- A deleted response is in its chain, and nowhere else.
SELECT delete_response('B');
SELECT get_response('B');
SELECT get_response_for_chain('B') ->> 'previous_response_id';
SELECT get_response_for_chain('unknown');
SELECT depth, id, deleted, response -> 'output' FROM response_chain('C');
SELECT chain_items('C');
-- Deleting it again and saving with its ID are refused.
SELECT delete_response('B');
SELECT save_response(pg_temp.finished('B'));
SELECT delete_response('unknown');
-- The newest max_items, or max_depth steps.
SELECT depth, id FROM response_chain('C', 2);
SELECT depth, id FROM response_chain('C', max_depth => 1);
SELECT depth, id FROM response_chain('C', 0);
SELECT depth, id FROM response_chain('C', NULL, NULL);
SELECT chain_items('C', 3), chain_items('C', 0), chain_items('C', max_depth => 0);
SELECT pg_temp.refusal($$SELECT response_chain('C', -1)$$), pg_temp.refusal($$SELECT chain_items('C', 1, -1)$$);
SELECT * FROM response_chain('unknown');
SELECT chain_items('unknown');
SELECT count(*) FROM response_chain(NULL);
-- A missing ancestor ends the chain and is reported.
SELECT save_response(pg_temp.finished('orphan', 'gone'));
SELECT depth, id, deleted, response IS NULL AS missing FROM response_chain('orphan');
SELECT chain_items('orphan');
-- A cycle is an error.
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
-- A chain of a thousand ancestors.
SELECT count(save_response(pg_temp.finished('long' || i, 'long' || nullif(i - 1, -1)))) FROM generate_series(0, 1000) i;
SELECT count(*), max(depth), min(id) FILTER (WHERE depth = 1000) FROM response_chain('long1000');
SELECT count(*) FROM response_chain('long1000', max_depth => 999);
SELECT count(save_response(pg_temp.finished('long' || i, 'long' || i - 1))) FROM generate_series(1001, 1002) i;
-- A chain that is cut says so, unless it has as many responses or items as asked for.
SELECT count(*), min(id) FILTER (WHERE depth = 1000) FROM response_chain('long1002');
SELECT jsonb_array_length(chain_items('long1002')), jsonb_array_length(chain_items('long1002', 10)), count(*)
FROM response_chain('long1002', 10);
SELECT r -> 'chain_truncated', jsonb_array_length(r -> 'chain'), r -> 'chain' -> 0 ->> 'depth'
FROM response_with_chain('long1002') r;
SELECT r ->> 'id', r -> 'chain_truncated', (SELECT string_agg(concat(c ->> 'id', ' ', c ->> 'deleted'), ', ') FROM jsonb_array_elements(r -> 'chain') c)
FROM response_with_chain('C') r;
SELECT pg_temp.refusal($$SELECT response_with_chain('unknown')$$), pg_temp.refusal($$SELECT response_with_chain('ring1')$$);
SELECT jsonb_array_length(chain_items('long1000')), chain_items('long1000') -> 0, chain_items('long1000', 1);

--
-- Updates
--

SELECT save_response('{"id": "work", "status": "in_progress", "model": "m", "created_at": 1000,
    "output": [1], "usage": {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2, "details": 1}, "metadata": {"a": 1}}');
-- Only the given fields change.
SELECT update_response('work', '{"output": [2, 3]}');
SELECT update_response('work', '{"usage": {"input_tokens": 4, "output_tokens": 5, "total_tokens": 9}, "metadata": null}');
SELECT update_response('work', '{"error": {"code": "c"}, "completed_at": 1001, "worker_heartbeat": "2024-11-01T14:00:00Z"}');
SELECT update_response('work', '{"status": "completed", "output": []}');
SELECT get_response('work') = update_response('work', '{}') AS nothing;
-- A finished response stays finished, and an invalid patch changes nothing.
SELECT update_response('work', '{"status": "failed", "output": [9]}');
SELECT get_response('work') -> 'output';
SELECT p, pg_temp.refusal(format('SELECT update_response(%L, %L)', 'work', p)) FROM (VALUES
    ('[]'), ('1'), ('{"status": "completed"}'), ('{"status": "done"}'), ('{"status": null}'),
    ('{"output": {}}'), ('{"usage": 1}'), ('{"completed_at": "x"}'), ('{"worker_heartbeat": "yesterday"}'),
    ('{"id": "x"}'), ('{"tenant_id": "x"}'), ('{"owner": "x"}'), ('{"created_at": 1}'), ('{"input": []}'),
    ('{"model": "x"}'), ('{"previous_response_id": "A"}'), ('{"background": true}'), ('{"object": "response"}')) v (p);
SELECT update_response('unknown', '{}');
SELECT update_response('B', '{}');
-- A failed response has an error and no output.
SELECT save_response('{"id": "fails", "status": "in_progress", "model": "m", "output": [1], "created_at": 1000}');
SELECT update_response('fails', '{"status": "failed", "output": [2], "error": {"code": "server_error"}}');

--
-- Tenants and owners
--

SET msgstore.tenant_id = 'a';
SELECT save_response(pg_temp.finished('of_a'));
SELECT get_response('of_a') ->> 'id', pg_temp.ids(list_responses());
-- Responses without a tenant are visible only to sessions without one.
SELECT pg_temp.refusal($$SELECT get_response('A')$$);
SET msgstore.tenant_id = 'b';
SELECT c, pg_temp.refusal(format('SELECT %s', c)) FROM (VALUES
    ($$get_response('of_a')$$), ($$get_response_for_chain('of_a')$$), ($$delete_response('of_a')$$),
    ($$update_response('of_a', '{}')$$), ($$response_input_items('of_a')$$), ($$response_chain('of_a')$$),
    ($$chain_items('of_a')$$), ($$branches('of_a')$$), ($$cancel_response('of_a')$$),
    ($$heartbeat_response('of_a', 'w')$$), ($$get_response('unknown')$$)) v (c);
SELECT pg_temp.ids(list_responses()), pg_temp.ids(list_responses(after => 'of_a'));
-- Each tenant has IDs of its own.
SELECT save_response(pg_temp.finished('of_a') || '{"model": "b"}'), get_response('of_a') ->> 'model';
SELECT pg_temp.refusal($$SELECT save_response(pg_temp.finished('of_a'))$$);
-- A session without a tenant cannot tell which of them it means, unless one is
-- its own.
RESET msgstore.tenant_id;
SELECT pg_temp.refusal($$SELECT get_response('of_a')$$), pg_temp.refusal($$SELECT delete_response('of_a')$$),
    pg_temp.refusal($$SELECT response_chain('of_a')$$), pg_temp.refusal($$SELECT cancel_response('of_a')$$);
SELECT pg_temp.ids(list_responses(model => 'b'));
SELECT save_response(pg_temp.finished('of_a') || '{"model": "own"}'), get_response('of_a') ->> 'model';
SELECT update_response('of_a', '{"metadata": {"own": true}}') ->> 'model';
SET msgstore.tenant_id = 'b';
SELECT get_response('of_a') ->> 'model', delete_response('of_a');
SET msgstore.tenant_id = 'a';
SELECT get_response('of_a') ->> 'model', get_response('of_a') -> 'metadata' IS NULL AS unchanged, save_response(pg_temp.finished('only_a'));
SET msgstore.tenant_id = 'b';
-- A chain does not lead into another tenant: there the response is missing.
SELECT save_response(pg_temp.finished('of_b', 'only_a'));
SELECT * FROM response_chain('of_b');
SELECT save_background_request('of_a2', '{}');
RESET msgstore.tenant_id;
SELECT get_response('of_b') ->> 'id';

-- Whether a caller may read or write a response of an owner.
SELECT c.*, _owner_allows(caller, is_admin, stored, writing) FROM (VALUES
    ('', false, 'user-1', false), ('user-1', false, 'user-1', false), ('user-2', false, 'user-1', false),
    ('admin', true, 'user-1', false), ('admin', true, 'user-1', true), ('user-1', false, '', false),
    ('admin', true, '', false), ('admin', true, '', true)) c (caller, is_admin, stored, writing);
SET msgstore.tenant_id = 'a';
SET msgstore.owner = 'user-1';
SELECT save_response(pg_temp.finished('of_1') || '{"user": "user-2"}'), save_response(pg_temp.finished('also_1', 'of_1'));
SELECT pg_temp.ids(list_responses(sort_order => 'asc'));
SET msgstore.owner = 'user-2';
-- Another owner's responses do not exist; those without an owner are for all.
SELECT c, pg_temp.refusal(format('SELECT %s', c)) FROM (VALUES
    ($$get_response('of_1')$$), ($$get_response_for_chain('of_1')$$), ($$delete_response('of_1')$$),
    ($$update_response('of_1', '{}')$$), ($$response_input_items('of_1')$$), ($$get_response('of_a')$$),
    ($$update_response('of_a', '{}')$$), ($$branches('of_1')$$)) v (c);
SELECT save_response(pg_temp.finished('of_2', 'also_1'));
SELECT pg_temp.refusal($$SELECT response_chain('of_2')$$);
SELECT pg_temp.ids(list_responses(sort_order => 'asc'));
-- An administrator can read and delete, but not update.
SET msgstore.owner = 'boss';
SET msgstore.admin = on;
SELECT pg_temp.ids(list_responses(sort_order => 'asc'));
SELECT get_response('of_1') ->> 'user', pg_temp.refusal($$SELECT update_response('of_1', '{}')$$),
    pg_temp.refusal($$SELECT update_response('of_a', '{}')$$);
SELECT id FROM response_chain('of_2');
SELECT delete_response('of_1');
-- An administrator is limited to the tenant.
SET msgstore.tenant_id = 'b';
SELECT pg_temp.refusal($$SELECT get_response('also_1')$$), pg_temp.refusal($$SELECT delete_response('also_1')$$),
    pg_temp.ids(list_responses());
RESET msgstore.admin;
RESET msgstore.owner;
RESET msgstore.tenant_id;
-- A session without an owner sees all responses.
SELECT get_response('also_1') ->> 'id';

--
-- Lists
--

SET msgstore.tenant_id = 'list';
SELECT list_responses();
SELECT count(save_response(pg_temp.finished('r' || i, NULL, 1000 + i / 2)
    || jsonb_build_object('model', 'm' || i % 3, 'status', CASE i WHEN 4 THEN 'failed' ELSE 'completed' END)))
FROM generate_series(1, 7) i;
-- Lists are ordered by time, then by ID.
SELECT pg_temp.ids(list_responses()), pg_temp.ids(list_responses(sort_order => 'asc'));
SELECT list_responses(max_results => 1) #- '{data,0,input}' #- '{data,0,output}';
-- The page after a cursor, and the page that ends right before it.
SELECT pg_temp.ids(list_responses(max_results => 2)), pg_temp.ids(list_responses('r6', max_results => 2)),
    pg_temp.ids(list_responses(before => 'r4', max_results => 2)), pg_temp.ids(list_responses(before => 'r4', max_results => 3)),
    pg_temp.ids(list_responses('r2', max_results => 2)), pg_temp.ids(list_responses('r2', max_results => 1));
SELECT pg_temp.ids(list_responses('r2', sort_order => 'asc')), pg_temp.ids(list_responses(before => 'r6', sort_order => 'asc', max_results => 2));
-- Of two cursors, after takes precedence; an unknown cursor gives an empty page.
SELECT pg_temp.ids(list_responses('r6', 'r2')), list_responses('unknown'), list_responses(before => 'A');
-- An invalid sort order is refused.
SELECT pg_temp.refusal($$SELECT list_responses(sort_order => 'up')$$), pg_temp.refusal($$SELECT list_responses(sort_order => NULL)$$);
-- Filters.
SELECT pg_temp.ids(list_responses(model => 'm1')), pg_temp.ids(list_responses(status => 'failed')),
    pg_temp.ids(list_responses(background => true)), pg_temp.ids(list_responses(background => false, max_results => 3));
-- A deleted response is in no list, but can serve as a cursor.
SELECT delete_response('r5');
SELECT pg_temp.ids(list_responses()), pg_temp.ids(list_responses('r5'));
-- Paging returns every response once while others are added at the front.
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
-- A page and a chain end where their documents exceed msgstore.max_response_bytes.
SET msgstore.tenant_id = 'large';
SELECT count(save_response(pg_temp.finished('large' || i, 'large' || nullif(i - 1, 0), i) || jsonb_build_object('text', repeat('x', 50000))))
FROM generate_series(1, 5) i;
SET msgstore.max_response_bytes = 120000;
SELECT pg_temp.ids(list_responses()), pg_temp.ids(list_responses('large4')), pg_temp.ids(list_responses(before => 'large2')),
    pg_temp.ids(list_responses('large2'));
SELECT r -> 'chain_truncated', r #>> '{chain,0,id}' FROM response_with_chain('large5') r;
SET msgstore.max_response_bytes = 10000;
SELECT pg_temp.ids(list_responses()), pg_temp.ids(list_responses('large2'));
RESET msgstore.max_response_bytes;
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

-- All status transitions that are allowed.
SELECT f AS "from", t AS "to" FROM unnest(ARRAY['', 'queued', 'in_progress', 'completed', 'incomplete', 'failed', 'cancelled', 'requires_action']) WITH ORDINALITY f (f, n),
    unnest(ARRAY['queued', 'in_progress', 'completed', 'incomplete', 'failed', 'cancelled', 'requires_action']) WITH ORDINALITY t (t, m)
WHERE pg_temp.refusal(format('SELECT _check_response_move(%L, %L)', f, t)) = 'accepted' ORDER BY n, m;

CREATE FUNCTION pg_temp.queued(id text, made int DEFAULT 1000) RETURNS jsonb LANGUAGE sql
RETURN jsonb_build_object('id', id, 'status', 'queued', 'model', 'm', 'background', true, 'created_at', made);
-- A claim takes the oldest, of equal age the lowest ID, of all tenants.
SELECT save_background(pg_temp.queued('q3', 1002), '{"n": 3}'), save_background(pg_temp.queued('q2', 1001), '{"n": 2}');
SET msgstore.tenant_id = 'a';
SELECT save_background(pg_temp.queued('q1', 1001), '{"n": 1}');
RESET msgstore.tenant_id;
SELECT save_response(pg_temp.queued('q4', 1003));
SELECT id, response ->> 'status' AS status, request FROM claim_response('w1');
SELECT id, response ->> 'status' AS status, request FROM claim_response('w1');
SELECT id, response ->> 'status' AS status, request FROM claim_response('w2');
-- A request can be added later; for an unknown response nothing happens.
SELECT save_background_request('q4', '{"n": 4}'), save_background_request('unknown', '{}');
SELECT id, response, request FROM claim_response('w2');
SELECT * FROM claim_response('w2');
SELECT pg_temp.refusal($$SELECT claim_response('')$$);
SELECT pg_temp.refusal($$SELECT save_background(pg_temp.finished('q'), '{}')$$),
    pg_temp.refusal($$SELECT save_background(pg_temp.finished('q') || '{"background": true}', '{}')$$);
-- Only the worker that holds the claim can send heartbeats.
SELECT heartbeat_response('q1', 'w1');
SELECT heartbeat_response('q1', 'w2');
SELECT heartbeat_response('unknown', 'w1');
-- The same holds for an update with a worker_id.
SELECT pg_temp.refusal($$SELECT update_response('q1', '{"status": "completed"}', 'w2')$$);
SELECT update_response('q1', '{"status": "completed", "completed_at": 1009, "output": [1]}', 'w1');
SELECT pg_temp.refusal($$SELECT update_response('q1', '{"output": []}', 'w1')$$), pg_temp.refusal($$SELECT heartbeat_response('q1', 'w1')$$);
-- A cancelled response stays cancelled, whatever the worker reports later.
SELECT cancel_response('q2');
SELECT update_response('q2', '{"status": "completed"}');
SELECT pg_temp.refusal($$SELECT heartbeat_response('q2', 'w1')$$), get_response('q2') ->> 'status';
SELECT cancel_response('q2', false) ->> 'status';
-- Cancelling a finished response deletes it, or is refused.
SELECT pg_temp.refusal($$SELECT cancel_response('q1', false)$$), pg_temp.refusal($$SELECT cancel_response('A', false)$$);
SELECT cancel_response('q1');
SELECT cancel_response('q1');
-- A response is stale when its heartbeat is old; without one it never is.
SELECT save_response(pg_temp.queued('silent') || '{"status": "in_progress"}');
SELECT update_response('q3', '{"worker_heartbeat": "2024-11-01T14:00:00Z"}') ->> 'status';
SELECT * FROM stale_responses();
SELECT * FROM stale_responses('1000 years');
-- A stale response is queued again, and fails after the last retry.
SET msgstore.max_retries = 1;
SELECT reap_responses(), reap_responses(), get_response('q3') ->> 'status';
SELECT pg_temp.refusal($$SELECT heartbeat_response('q3', 'w2')$$);
SELECT id, request FROM claim_response('w3');
SELECT update_response('q3', '{"worker_heartbeat": "2024-11-01T14:00:00Z", "output": [1]}', 'w3') ->> 'status';
SELECT reap_responses();
SELECT get_response('q3');
RESET msgstore.max_retries;
-- The worker does not retry stale responses, and removes old finished ones.
SELECT update_response('q4', '{"worker_heartbeat": "2024-11-01T14:00:00Z"}') ->> 'status';
SET msgstore.response_ttl = 0;
SELECT _response_housekeeping(), get_response('q4') -> 'error';
SHOW msgstore.response_store;
-- The cleanup removes the oldest finished background responses, and no others.
SELECT save_response(pg_temp.queued('new', 1003) || '{"status": "completed"}'), save_response(pg_temp.queued('partial') || '{"status": "incomplete"}'),
    save_response(pg_temp.queued('waits'));
SELECT cleanup_responses(1003, 2), cleanup_responses(1003), cleanup_responses(1003);
SELECT c, pg_temp.refusal(format('SELECT get_response_for_chain(%L)', c)) FROM unnest(ARRAY['q1', 'q2', 'q3', 'q4', 'new', 'partial', 'waits', 'silent', 'A']) c;
RESET msgstore.response_ttl;
-- The time to live counts from the end in the store, not from the client's
-- created_at: these were created long ago and ended just now.
SELECT _response_housekeeping();
SELECT save_response(pg_temp.queued('old', 1) || '{"status": "completed", "completed_at": 2}'), save_response(pg_temp.queued('ends', 1));
SELECT id FROM claim_response('w');
SELECT update_response('ends', '{"status": "failed"}', 'w') ->> 'status';
SELECT _expire_responses(now() - interval '1 minute');
SELECT _expire_responses(clock_timestamp());
SELECT pg_temp.refusal('SELECT get_response(''ends'')'), pg_temp.refusal('SELECT get_response(''old'')');
SELECT cancel_response('waits') ->> 'status';

--
-- IDs and items that could not be read again are refused
--
SELECT i, pg_temp.refusal(format('SELECT save_response(jsonb_build_object(''id'', %L, ''status'', ''completed'', ''model'', ''m''))', i))
FROM unnest(ARRAY['a/b', 'a b', 'a?b', 'a#b', 'a%2Fb', 'a\b', E'a\tb', '.', '..', 'resp_a.b-c:d~e@f']) i;
SELECT pg_temp.refusal($$SELECT save_response('{"id": "chained", "status": "completed", "model": "m", "previous_response_id": "a/b"}')$$);
SELECT n, pg_temp.refusal(format('SELECT save_response(jsonb_build_object(''id'', ''items-%s'', ''status'', ''completed'', ''model'', ''m'', ''input'', %L::jsonb))', n, input))
FROM unnest(ARRAY['[{"id": "a"}, {"id": "b"}, {"id": "a"}]', '[{"id": "item_2"}, {}]', '[{}, {"id": "item_1"}, {"id": null}]',
    '["text"]', '[{"id": "a"}, 5]', '[[]]', '[{"id": 5}]', '[{"id": ""}]', '[{"id": "item_1"}, {"id": null}, {}]', '[{"id": "Ä"}, {"id": "ä"}]'])
    WITH ORDINALITY u (input, n);
-- Read one a page, each item comes once.
WITH RECURSIVE pages AS (
    SELECT 1 AS n, response_input_items('items-9', NULL, NULL, 1) AS page
    UNION ALL
    SELECT n + 1, response_input_items('items-9', page ->> 'last_id', NULL, 1)
    FROM pages WHERE (page ->> 'has_more')::boolean AND n < 10)
SELECT string_agg(page ->> 'last_id', ' ' ORDER BY n) FROM pages;

--
-- Purge
--

SET msgstore.tenant_id = 'purge';
SELECT count(save_response(pg_temp.finished(id, previous, made::int))) FROM (VALUES
    ('old1', NULL, 1000), ('old2', 'old1', 1000), ('kept', 'old2', extract(epoch FROM now())), ('old3', 'old2', 1000),
    ('old4', 'old3', 1000), ('leaf', 'kept', extract(epoch FROM now())), ('stem', NULL, extract(epoch FROM now())),
    ('bud', 'stem', extract(epoch FROM now()))) v (id, previous, made);
SELECT delete_response('leaf'), delete_response('stem');
-- A purge removes what no remaining response continues from: old3, old4 and leaf.
SELECT purge_responses('1 day');
SELECT depth, id, deleted FROM response_chain('kept');
SELECT depth, id, deleted FROM response_chain('bud');
SELECT c, pg_temp.refusal(format('SELECT get_response_for_chain(%L)', c)) FROM unnest(ARRAY['old3', 'old4', 'leaf']) c;
SELECT purge_responses('1 day'), purge_responses('-1 day');
RESET msgstore.tenant_id;
SELECT get_response('A') ->> 'id';

-- Only the durable store uses the table.
SELECT count(*) > 0 AS in_table FROM responses;

ALTER DATABASE :"database" RESET msgstore.response_store;
DROP EXTENSION msgstore;
