-- Search of responses.
CREATE EXTENSION msgstore;
SET search_path = msgstore, public;
SET client_min_messages = warning;

CREATE FUNCTION pg_temp.refusal(command text) RETURNS text
LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE command;
    RETURN 'accepted';
EXCEPTION WHEN OTHERS THEN
    RETURN concat_ws(' ', SQLSTATE, SQLERRM);
END
$$;
CREATE FUNCTION pg_temp.response(id text, question text, answer text, more jsonb DEFAULT '{}') RETURNS jsonb LANGUAGE sql
RETURN jsonb_build_object('id', id, 'status', 'completed', 'model', 'm', 'created_at', 1000 + length(id),
    'input', jsonb_build_array(jsonb_build_object('role', 'user', 'content', question)),
    'output', jsonb_build_array(jsonb_build_object('content', jsonb_build_array(jsonb_build_object('type', 'output_text', 'text', answer))))) || more;
-- The IDs of what is found, in their order.
CREATE FUNCTION pg_temp.found(page jsonb) RETURNS text LANGUAGE sql
AS $$SELECT string_agg(r ->> 'id', ' ' ORDER BY n) FROM jsonb_array_elements(page -> 'data') WITH ORDINALITY d (r, n)$$;

-- Nothing is noted without the setting, and a search says so.
SELECT save_response(pg_temp.response('before', 'shop', 'open'));
SELECT count(*) FROM response_search_changes;
SELECT pg_temp.refusal($$SELECT search_responses('shop')$$);
SET msgstore.response_search = on;

-- The worker's turn indexes what has ended, and comes back soon.
SELECT save_response(pg_temp.response('a', 'When does the shop open?', 'At nine, call (555) 867-5309.')),
    save_response(pg_temp.response('bb', 'And the other shop?', 'It is closed.', '{"model": "n"}')),
    save_response(pg_temp.response('runs', 'shop', '', '{"status": "in_progress"}'));
SELECT _response_turn(), _response_turn();
SELECT count(*) FROM response_search_changes;
SELECT pg_temp.found(search_responses('shop'));
SELECT pg_temp.found(search_responses('shop -closed')), pg_temp.found(search_responses('"other shop"')), pg_temp.found(search_responses('clos*')),
    pg_temp.found(search_responses('8675309')), pg_temp.found(search_responses('nothing'));
-- With the parameters of a list.
SELECT pg_temp.found(search_responses('shop', sort_order => 'asc')), pg_temp.found(search_responses('shop', model => 'n')),
    pg_temp.found(search_responses('shop', status => 'failed')), search_responses('shop', max_results => 1) ->> 'has_more' AS has_more,
    pg_temp.found(search_responses('shop', after => 'bb')), pg_temp.found(search_responses('shop', before => 'a'));
SELECT pg_temp.refusal($$SELECT search_responses('-shop')$$);
SELECT pg_temp.refusal($$SELECT search_responses(NULL)$$);

-- A response is found by what it is now.
SELECT update_response('runs', '{"status": "completed", "output": [{"arguments": "{\"city\": \"Zürich\"}"}]}') ->> 'status';
SELECT update_response('bb', '{"output": [{"output": "It is moving."}]}') ->> 'status';
SELECT index_responses();
SELECT pg_temp.found(search_responses('zürich')), pg_temp.found(search_responses('closed')), pg_temp.found(search_responses('moving'));
SELECT delete_response('runs');
SELECT pg_temp.found(search_responses('zürich'));

-- What removes a response removes its entry.
SELECT purge_responses('1000 years');
SELECT response_id FROM response_search_entries ORDER BY 1;
SET msgstore.response_max_age = '1d';
UPDATE responses SET ended_at = ended_at - interval '2 days' WHERE id = 'bb';
SELECT _response_housekeeping();
SELECT response_id FROM response_search_entries ORDER BY 1;
RESET msgstore.response_max_age;
-- A change of a response that is no longer there.
INSERT INTO response_search_changes (tenant_id, response_id) VALUES ('', 'bb');
SELECT index_responses();
SELECT count(*) FROM response_search_changes;

-- A tenant and an owner find only their own, and an owner what has none.
SET msgstore.tenant_id = 't';
SET msgstore.owner = 'ann';
SELECT save_response(pg_temp.response('of-ann', 'shop', ''));
SET msgstore.owner = 'bob';
SELECT save_response(pg_temp.response('of-bob', 'shop', ''));
RESET msgstore.owner;
SELECT save_response(pg_temp.response('of-none', 'shop', ''));
SELECT pg_temp.refusal($$SELECT index_responses()$$);
RESET msgstore.tenant_id;
SELECT index_responses();
SELECT pg_temp.found(search_responses('shop'));
SET msgstore.tenant_id = 't';
SELECT pg_temp.found(search_responses('shop'));
SET msgstore.owner = 'ann';
SELECT pg_temp.found(search_responses('shop'));
RESET msgstore.owner;
SET msgstore.tenant_id = 'other';
SELECT pg_temp.found(search_responses('shop'));
RESET msgstore.tenant_id;

-- Entries are made again, also of what was saved before.
SET msgstore.tenant_id = 't';
SELECT rebuild_response_search();
RESET msgstore.tenant_id;
SELECT pg_temp.found(search_responses('shop'));
SELECT rebuild_response_search();
SELECT index_responses(2), index_responses();
SELECT pg_temp.found(search_responses('shop'));
-- In the configuration of the tenant.
SET msgstore.tenant_id = 't';
SELECT set_search_configuration('english');
SELECT rebuild_response_search();
RESET msgstore.tenant_id;
SELECT index_responses();
SET msgstore.tenant_id = 't';
SELECT pg_temp.found(search_responses('shops'));
RESET msgstore.tenant_id;

-- A search for a rare word does not read each response.
CREATE FUNCTION pg_temp.entries_read() RETURNS bigint LANGUAGE sql
AS $$SELECT sum(pg_stat_get_xact_tuples_returned(indexrelid)) FROM pg_index WHERE indrelid = 'msgstore.responses'::regclass$$;
BEGIN;
SELECT count(save_response(pg_temp.response('more' || i, 'common', CASE i WHEN 7 THEN 'rare ÜBERSCHUSS' ELSE '' END))) FROM generate_series(1, 500) i;
SELECT index_responses();
ANALYZE responses, response_search_entries;
SET LOCAL enable_seqscan = off;
SELECT pg_temp.entries_read() AS before \gset
SELECT pg_temp.found(search_responses('rare'));
SELECT pg_temp.entries_read() - :before < 100 AS few;
-- In any case, whatever the locale of the database.
SELECT pg_temp.found(search_responses('überschuss'));
ROLLBACK;

-- check() finds an entry without a response, and its repair helps.
DELETE FROM responses WHERE id = 'of-bob';
SELECT finding, subject, detail FROM msgstore.check();
SELECT repair FROM msgstore.check() \gexec
SELECT count(*) FROM msgstore.check();

-- It also finds a response without an entry.
DELETE FROM response_search_entries WHERE response_id = 'of-ann';
SELECT finding, subject, detail FROM msgstore.check();
SELECT repair FROM msgstore.check() \gexec
SELECT count(*) FROM msgstore.check();
SELECT index_responses();

-- The worker looks once a minute, also if nothing waits.
SELECT _response_turn(), _response_turn() - 60000 AS later;

-- Responses in memory are not searched.
SET msgstore.response_store = memory;
SELECT save_response(pg_temp.response('m', 'shop', ''));
SELECT pg_temp.refusal($$SELECT search_responses('shop')$$);
RESET msgstore.response_store;
SELECT count(*) FROM response_search_changes;
SELECT pg_temp.refusal($$SELECT index_responses(0)$$);

DROP EXTENSION msgstore;
