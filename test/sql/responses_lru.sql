-- The in-memory store: eviction, bounds and transactions.
CREATE EXTENSION msgstore;
SET search_path = msgstore, public;
SET msgstore.response_store = memory;
CREATE FUNCTION pg_temp.save(id text, more jsonb DEFAULT '{}') RETURNS text LANGUAGE sql
RETURN save_response(jsonb_build_object('id', id, 'status', 'completed', 'model', 'm', 'created_at', 1000) || more);
-- The responses in memory, without counting as a use.
CREATE FUNCTION pg_temp.kept() RETURNS text LANGUAGE sql
RETURN (SELECT string_agg(r.id, ' ' ORDER BY r.id) FROM _memory_responses() r);

-- The defaults.
RESET msgstore.response_store;
SHOW msgstore.response_store;
SHOW msgstore.memory_max_responses;
SHOW msgstore.memory_size;
SHOW msgstore.owner;
SHOW msgstore.admin;
SHOW msgstore.max_response_bytes;
SHOW msgstore.response_stale_after;
SHOW msgstore.response_ttl;
SHOW msgstore.response_cleanup_batch;
SET msgstore.response_store = nowhere;
SET msgstore.response_store = memory;

-- The fourth response evicts the least recently used.
SET msgstore.memory_max_responses = 3;
SELECT pg_temp.save('a'), pg_temp.save('b'), pg_temp.save('c');
SELECT get_response('a') ->> 'id', get_response('b') ->> 'id', get_response('c') ->> 'id';
SELECT pg_temp.save('d');
SELECT pg_temp.kept();
-- An evicted response is missing from chains, too.
SELECT get_response('a');
SELECT get_response_for_chain('a');
-- A get, a get for a chain and an update each count as a use.
SELECT get_response('b') ->> 'id';
SELECT pg_temp.save('e');
SELECT pg_temp.kept();
SELECT get_response_for_chain('d') ->> 'id';
SELECT pg_temp.save('f');
SELECT pg_temp.kept();
SELECT update_response('d', '{}') ->> 'id';
SELECT pg_temp.save('g');
SELECT pg_temp.kept();
-- Reading a chain uses all of its responses.
SET msgstore.memory_max_responses = 4;
SELECT pg_temp.save('x', '{"previous_response_id": "f"}');
SELECT id FROM response_chain('x');
SELECT pg_temp.save('y');
SELECT pg_temp.kept();
SELECT jsonb_array_length(chain_items('x'));
SELECT pg_temp.save('z');
SELECT pg_temp.kept();
SELECT update_response('f', '{}') ->> 'id';
SET msgstore.memory_max_responses = 3;
SELECT pg_temp.save('g'), pg_temp.save('d');
SELECT pg_temp.kept();
-- A list is no use, and neither is a get of a response that is not visible.
SET msgstore.tenant_id = 'other';
SELECT get_response('f');
RESET msgstore.tenant_id;
SELECT jsonb_array_length(list_responses() -> 'data');
SELECT pg_temp.save('h');
SELECT pg_temp.kept();
-- A refused duplicate evicts nothing.
SELECT pg_temp.save('g');
SELECT pg_temp.kept();
-- Deleted responses count.
SET msgstore.memory_max_responses = 2;
SELECT pg_temp.save('i'), pg_temp.save('j');
SELECT delete_response('i');
SELECT pg_temp.save('k');
SELECT pg_temp.kept();
SELECT pg_temp.save('l');
SELECT pg_temp.kept();
-- An evicted response can be saved again.
SELECT pg_temp.save('a');
SELECT pg_temp.kept();
-- The limit can be 1; 0 means no limit.
SET msgstore.memory_max_responses = 1;
SELECT pg_temp.save('m'), pg_temp.save('n'), pg_temp.kept();
SET msgstore.memory_max_responses = 0;
SELECT count(pg_temp.save('u' || i)) FROM generate_series(1, 100) i;
SELECT count(*) FROM _memory_responses();
SET msgstore.memory_max_responses = -1;

-- The memory is bounded, too: large responses evict others, and freed blocks
-- are reused.
SELECT count(pg_temp.save('large' || i, jsonb_build_object('text', repeat('x', 15000000)))) FROM generate_series(1, 20) i;
SELECT pg_temp.kept();
SELECT bool_and(get_response('large' || i) ->> 'text' = repeat('x', 15000000)) FROM generate_series(17, 20) i;
SELECT count(pg_temp.save('small' || i, jsonb_build_object('text', repeat('y', i)))) FROM generate_series(1, 5000) i;
SELECT count(*) FILTER (WHERE length(get_response('small' || i) ->> 'text') = i) FROM generate_series(1, 5000) i;
-- An update that needs more room evicts others.
SELECT length(update_response('small1', jsonb_build_object('output', jsonb_build_array(repeat('z', 15000000)))) #>> '{output,0}');
SELECT length(get_response('small1') #>> '{output,0}');

-- Documents of every length around the size of a block come back unchanged.
SET msgstore.memory_max_responses = 10;
SELECT count(*) FILTER (WHERE pg_temp.save('e' || i, jsonb_build_object('text', repeat('b', i))) IS NOT NULL
    AND get_response('e' || i) ->> 'text' = repeat('b', i)) FROM generate_series(500, 2700) i;

-- The in-memory store is not transactional.
BEGIN;
SELECT pg_temp.save('rolled');
ROLLBACK;
SELECT get_response('rolled') ->> 'id';

-- The two stores are separate.
SET msgstore.response_store = durable;
SELECT pg_temp.save('rolled');
SELECT delete_response('rolled');
SET msgstore.response_store = memory;
SELECT get_response('rolled') ->> 'id';

-- The worker's periodic task maintains both stores.
SELECT save_background('{"id": "done", "status": "queued", "model": "m", "background": true, "created_at": 1000}', '{}');
SELECT id FROM claim_response('w');
SELECT update_response('done', '{"status": "completed"}') ->> 'status';
RESET msgstore.response_store;
SELECT save_background('{"id": "done", "status": "queued", "model": "m", "background": true, "created_at": 1000}', '{}');
SELECT cancel_response('done') ->> 'status';
SELECT _response_housekeeping() AS too_early;
UPDATE responses SET ended_at = ended_at - interval '2 days' WHERE id = 'done';
SET msgstore.response_store = memory;
SELECT _expire_responses(clock_timestamp());
RESET msgstore.response_store;
SELECT _response_housekeeping();

-- Each database has its own store, and so has a recreated extension.
SELECT pg_temp.save('rolled2');
SELECT current_database() AS home \gset
CREATE DATABASE regression_responses TEMPLATE template0 ENCODING 'UTF8';
\c regression_responses
CREATE EXTENSION msgstore;
SET msgstore.response_store = memory;
SELECT msgstore.get_response('rolled');
SELECT count(*) FROM msgstore._memory_responses();
SELECT msgstore.save_response('{"id": "rolled", "status": "completed", "model": "there"}');
\c :home
SET msgstore.response_store = memory;
SELECT msgstore.get_response('rolled') ->> 'model';
DROP DATABASE regression_responses;
DROP EXTENSION msgstore;
CREATE EXTENSION msgstore;
SELECT msgstore.get_response('rolled');
DROP EXTENSION msgstore;

-- An ordinary user can choose the store, but no identity and no limit.
CREATE ROLE regress_responses;
SET ROLE regress_responses;
SET msgstore.owner = 'me';
SET msgstore.admin = on;
SET msgstore.memory_max_responses = 0;
SET msgstore.max_response_bytes = '1GB';
SET msgstore.response_store = memory;
RESET ROLE;
DROP ROLE regress_responses;
