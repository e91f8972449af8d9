-- How long responses of the durable store stay, and what they used.
CREATE EXTENSION msgstore;
SET search_path = msgstore, public;

CREATE FUNCTION pg_temp.refusal(command text) RETURNS text
LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE command;
    RETURN 'accepted';
EXCEPTION WHEN OTHERS THEN
    RETURN concat_ws(' ', SQLSTATE, SQLERRM);
END
$$;
CREATE FUNCTION pg_temp.response(id text, status text DEFAULT 'completed', previous text DEFAULT NULL) RETURNS jsonb LANGUAGE sql
RETURN jsonb_strip_nulls(jsonb_build_object('id', id, 'status', status, 'model', 'm', 'created_at', 1000, 'previous_response_id', previous));
-- The IDs of all responses.
CREATE FUNCTION pg_temp.there() RETURNS text LANGUAGE sql
AS $$SELECT string_agg(id, ' ' ORDER BY id) FROM msgstore.responses$$;

--
-- Two ages, and legal hold
--
SELECT save_response(pg_temp.response('a')), save_response(pg_temp.response('b', previous => 'a')),
    save_response(pg_temp.response('c', previous => 'b')), save_response(pg_temp.response('held', previous => 'a')),
    save_response(pg_temp.response('runs', 'in_progress'));
SELECT id, ended_at IS NOT NULL AS ended, last_used_at IS NOT NULL AS used, on_hold FROM responses ORDER BY id;
SELECT hold_response('held');
SELECT pg_temp.refusal($$SELECT hold_response('unknown')$$);
-- Nothing goes by default.
UPDATE responses SET ended_at = ended_at - interval '10 days';
SELECT _response_housekeeping(), pg_temp.there();
-- The age from the end; the worker comes again.
SET msgstore.response_max_age = '11d';
SELECT _response_turn(), pg_temp.there();
-- A read is a use, as part of a chain, too. It is noted again only after an
-- eighth of the time, and not in a transaction that must not write.
SET msgstore.response_max_idle = '8d';
BEGIN READ ONLY;
SELECT get_response('c') ->> 'id';
COMMIT;
SELECT get_response('b') ->> 'id', (SELECT count(*) FROM response_chain('b'));
SELECT id, last_used_at > now() - interval '1 hour' AS used FROM responses ORDER BY id;
UPDATE responses SET last_used_at = now() - interval '23 hours' WHERE id = 'b';
SELECT get_response('b') ->> 'id';
SELECT last_used_at < now() - interval '22 hours' AS noted_before FROM responses WHERE id = 'b';
-- What was not used leaves, unless it is held or has not ended. Both ages count.
SELECT _response_housekeeping();
SELECT pg_temp.there();
RESET msgstore.response_max_idle;
SET msgstore.response_max_age = '9d';
SELECT _response_housekeeping();
SELECT pg_temp.there();
-- A response on hold survives everything.
SELECT delete_response('held');
SELECT purge_responses('-1 minute'), cleanup_responses(9999999999), pg_temp.there();
SELECT hold_response('held', false);
SELECT purge_responses('-1 minute'), pg_temp.there();
RESET msgstore.response_max_age;
-- A held response keeps its ancestors in a purge.
SELECT save_response(pg_temp.response('root')), save_response(pg_temp.response('leaf', previous => 'root'));
SELECT hold_response('leaf'), purge_responses('-1 minute');
SELECT pg_temp.there();
-- Also if it is put on hold after it was chosen for removal.
SELECT _remove_responses('{""}', '{leaf}'), pg_temp.there();
SELECT hold_response('leaf', false), purge_responses('-1 minute');
-- The time to live of background responses spares it, too.
SELECT save_response(pg_temp.response('back') || '{"background": true}');
SELECT hold_response('back'), _expire_responses(now() + interval '1 day'), cleanup_responses(9999999999);
SELECT pg_temp.there();
SELECT hold_response('back', false), _expire_responses(now() + interval '1 day');
-- More than one batch: the worker comes again soon.
SET msgstore.response_cleanup_batch = 2;
SET msgstore.response_max_age = '1d';
SELECT count(save_response(pg_temp.response('many' || i))) FROM generate_series(1, 3) i;
UPDATE responses SET ended_at = ended_at - interval '10 days' WHERE id LIKE 'many%';
SELECT _response_turn(), _response_turn();
SELECT pg_temp.there();
RESET msgstore.response_cleanup_batch;
RESET msgstore.response_max_age;
-- Looking for what is due reads nothing else, however many responses there are.
CREATE FUNCTION pg_temp.entries_read() RETURNS bigint LANGUAGE sql
AS $$SELECT sum(pg_stat_get_xact_tuples_returned(indexrelid)) FROM pg_index WHERE indrelid = 'msgstore.responses'::regclass$$;
BEGIN;
SELECT count(save_response(pg_temp.response('new' || i))) FROM generate_series(1, 100) i;
UPDATE responses SET last_used_at = now() WHERE id LIKE 'new%0';
SET LOCAL enable_seqscan = off;
SELECT pg_temp.entries_read() AS before \gset
SELECT _expire_by_age('1 day', '2 days'), _expire_responses(now() - interval '1 day');
SELECT pg_temp.entries_read() - :before < 50 AS few;
ROLLBACK;
-- Only the tenant's responses; in memory nothing can be held.
SET msgstore.tenant_id = 'a';
SELECT pg_temp.refusal($$SELECT hold_response('runs')$$);
RESET msgstore.tenant_id;
SET msgstore.response_store = memory;
SELECT pg_temp.refusal($$SELECT hold_response('runs')$$);
RESET msgstore.response_store;

--
-- Usage
--
CREATE FUNCTION pg_temp.used(id text, input bigint, output bigint, status text DEFAULT 'completed') RETURNS jsonb LANGUAGE sql
RETURN pg_temp.response(id, status) || jsonb_build_object('usage',
    jsonb_build_object('input_tokens', input, 'output_tokens', output, 'total_tokens', input + output));
-- It counts when a response ends, once, and with what it has then.
SELECT save_response(pg_temp.used('u1', 10, 5)), save_response(pg_temp.used('u2', 1, 1, 'in_progress')), save_response(pg_temp.response('u3')),
    save_response(pg_temp.used('u4', 3000000000, 1) || '{"model": "large"}');
SELECT model, day = (now() AT TIME ZONE 'UTC')::date AS today, response_count, input_tokens, output_tokens, total_tokens FROM list_response_usage();
SELECT update_response('u2', '{"status": "completed", "usage": {"input_tokens": 20, "output_tokens": 2, "total_tokens": 22}}') ->> 'status',
    update_response('u2', '{"metadata": {}}') ->> 'status', update_response('u4', '{"metadata": {}}') ->> 'status',
    update_response('u3', '{"usage": {"input_tokens": 4, "output_tokens": 0, "total_tokens": 4}}') ->> 'status',
    update_response('u1', '{"usage": null}') ->> 'status';
SELECT model, response_count, input_tokens, output_tokens, total_tokens FROM list_response_usage();
-- The worker merges the changes; the sums stay the same, also without the responses.
SELECT count(*) > 0 AS changes FROM response_usage_changes;
SELECT _response_turn(), _response_turn();
SELECT (SELECT count(*) FROM response_usage_changes) AS changes, (SELECT count(*) FROM response_usage) AS sums;
SELECT delete_response('u2'), purge_responses('-1 minute') > 0 AS purged;
SELECT save_response(pg_temp.used('u5', 1, 1));
SELECT model, response_count, input_tokens, output_tokens, total_tokens FROM list_response_usage();
SELECT _merge_usage();
SELECT model, response_count, input_tokens, output_tokens, total_tokens FROM list_response_usage(current_date - 1, current_date + 1);
SELECT count(*) FROM list_response_usage(until => current_date - 2);
-- Each tenant sees its own.
SET msgstore.tenant_id = 'a';
SELECT save_response(pg_temp.used('u1', 7, 7));
SELECT tenant_id, response_count, total_tokens FROM list_response_usage();
RESET msgstore.tenant_id;
SELECT tenant_id, sum(total_tokens) FROM list_response_usage() GROUP BY 1 ORDER BY 1;
-- Responses in memory are not counted.
SET msgstore.response_store = memory;
SELECT save_response(pg_temp.used('m1', 1000, 1000));
SELECT sum(total_tokens) FROM list_response_usage();
RESET msgstore.response_store;

DROP EXTENSION msgstore;
