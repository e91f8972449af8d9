-- The audit of responses: refusals, and what administrators do.
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
CREATE FUNCTION pg_temp.response(id text, more jsonb DEFAULT '{}') RETURNS jsonb LANGUAGE sql
RETURN jsonb_build_object('id', id, 'status', 'completed', 'model', 'm', 'created_at', 1000) || more;
CREATE TEMP TABLE calls AS SELECT * FROM unnest(ARRAY[
    $$SELECT get_response('ann')$$, $$SELECT response_chain('ann')$$, $$SELECT update_response('ann', '{}')$$,
    $$SELECT delete_response('ann')$$, $$SELECT cancel_response('ann')$$, $$SELECT heartbeat_response('ann', 'w')$$,
    $$SELECT get_response('unknown')$$, $$SELECT get_response('of_b')$$, $$SELECT get_response('deleted')$$]) WITH ORDINALITY c (c, n);

-- Each store, and off by default.
SET msgstore.tenant_id = 'b';
SELECT save_response(pg_temp.response('of_b'));
SET msgstore.response_store = memory;
SELECT save_response(pg_temp.response('of_b'));
SET msgstore.tenant_id = 'a';
SET msgstore.owner = 'ann';
SELECT save_response(pg_temp.response('ann')), save_response(pg_temp.response('deleted')), delete_response('deleted');
SET msgstore.response_store = durable;
SELECT save_response(pg_temp.response('ann')), save_response(pg_temp.response('deleted')), delete_response('deleted'),
    save_response(pg_temp.response('back', '{"status": "queued", "background": true}'));
SET msgstore.owner = 'bob';
SELECT count(pg_temp.refusal(c)) FROM calls;
SELECT _record_refusals(), (SELECT count(*) FROM response_audit);

-- A refusal is recorded although its transaction rolls back; what does not exist
-- for the session is not one.
SET msgstore.response_audit = on;
SELECT c, pg_temp.refusal(c) FROM calls ORDER BY n;
SELECT get_response('ann');
SET msgstore.response_store = memory;
SELECT count(*) FILTER (WHERE pg_temp.refusal(c) = 'MS404 response not found') FROM calls;
SET msgstore.response_store = durable;
SELECT _response_turn();
SELECT tenant_id, event, caller, operation, response_id, response_owner, count(*) FROM response_audit
GROUP BY 1, 2, 3, 4, 5, 6 ORDER BY 4;
SELECT _record_refusals();

-- A refusal of a tenant that is being moved is recorded when the move ends.
SELECT get_response('ann');
RESET msgstore.tenant_id;
SELECT fence_tenant('a');
SELECT _record_refusals();
SELECT unfence_tenant('a');
SELECT _record_refusals();
SET msgstore.tenant_id = 'a';

-- What is deleted or cancelled, and what an administrator did of another's.
SET msgstore.owner = 'boss';
SET msgstore.admin = on;
DELETE FROM response_audit;
SELECT delete_response('ann'), cancel_response('back') ->> 'status', save_response(pg_temp.response('own')), delete_response('own');
SELECT event, caller, operation, response_id, response_owner FROM response_audit ORDER BY id;
-- In the same transaction.
SELECT save_response(pg_temp.response('other'));
BEGIN;
SELECT delete_response('other');
ROLLBACK;
SELECT count(*) FROM response_audit WHERE response_id = 'other';
RESET msgstore.response_audit;
SELECT delete_response('other');
SELECT count(*) FROM response_audit WHERE response_id = 'other';

-- Old rows stay, unless the setting says otherwise. The worker comes again for more.
UPDATE response_audit SET happened_at = happened_at - interval '2 days';
INSERT INTO response_audit (event, caller, response_id, response_owner) VALUES ('resource.deleted', '', 'new', '');
SELECT count(*) > 2 AS several FROM response_audit;
SELECT _response_turn() = 1000 AS more;
SELECT count(*) > 2 AS several FROM response_audit;
SET msgstore.response_audit_max_age = '1d';
SET msgstore.response_cleanup_batch = 1;
SELECT _response_turn();
RESET msgstore.response_cleanup_batch;
SELECT _response_turn();
SELECT response_id FROM response_audit;

DROP EXTENSION msgstore;
