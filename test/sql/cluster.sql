-- A database is a slot of a cluster, and tenants are moved between slots.
CREATE EXTENSION msgstore;

CREATE FUNCTION sqlstate_of(statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE statement;
    RETURN 'accepted';
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE;
END
$$;
CREATE FUNCTION text_message(id text) RETURNS jsonb LANGUAGE sql AS $$
SELECT jsonb_build_object('from', '+12016661234', 'to', '+18045551234', 'body', 'Hello!',
    'timestamp', '2024-11-01T14:00:00Z', 'messaging_provider_id', id)
$$;

-- A database outside of a cluster takes all tenants.
SELECT * FROM msgstore.slot_map();
SELECT msgstore.tenant_slot('acme') IS NULL AS no_slot;

-- The slot is the first 63 bits of the digest of the name in UTF-8, modulo the slots.
SELECT msgstore.default_slot('acme', 16) AS acme, msgstore.default_slot('', 16) AS none,
       msgstore.default_slot(U&'\00e9', 1000) AS accented;
SELECT bool_and(n BETWEEN 600 AND 1400) AS even
FROM (SELECT count(*) AS n FROM generate_series(1, 16000) t
      GROUP BY msgstore.default_slot('tenant-' || t, 16)) s;
SELECT msgstore.default_slot('acme', 0);

-- Invalid slots and maps.
SELECT msgstore.set_slot(4, 4);
SELECT msgstore.set_slot(0, NULL);
SELECT msgstore.set_slot_map(1, '{}');
SELECT msgstore.set_slot(3, 4);
SELECT msgstore.set_slot_map(7, '{"acme": 4}');
SELECT msgstore.set_slot_map(7, '{"acme": "3"}');
SELECT msgstore.set_slot_map(7, '[]');
SELECT msgstore.set_slot_map(7, '{"here": 3, "foreign": 2}');
SELECT msgstore.set_slot_map(6, '{}');
SELECT * FROM msgstore.slot_map();
SELECT msgstore.tenant_slot('here') AS here, msgstore.tenant_slot('foreign') AS foreign,
       msgstore.tenant_slot('acme') = msgstore.default_slot('acme', 4) AS by_default;

-- A tenant of another slot is refused, and its slot is told. Others are not.
SET msgstore.tenant_id = 'foreign';
SELECT msgstore.ingest('sms', text_message('m-1'));
SELECT msgstore.set_slot(NULL, NULL);
SET msgstore.tenant_id = 'here';
SELECT duplicate FROM msgstore.ingest('sms', text_message('m-1'));

RESET msgstore.tenant_id;

-- Items name their tenants in a session without one. If one is foreign, nothing is stored.
SELECT ordinal, duplicate, error_code FROM msgstore.ingest_batch(jsonb_build_array(
    jsonb_build_object('channel', 'sms', 'payload', text_message('m-3'), 'tenant_id', 'here'),
    jsonb_build_object('channel', 'sms', 'payload', text_message('m-3'), 'tenant_id', 'foreign')));
SELECT msgstore.set_slot_map(8, '{"here": 3, "there": 3, "": 3, "foreign": 2}');
SELECT ordinal, duplicate, error_code, error_message FROM msgstore.ingest_batch(jsonb_build_array(
    jsonb_build_object('channel', 'sms', 'payload', text_message('m-4'), 'tenant_id', 'there'),
    jsonb_build_object('channel', 'sms', 'payload', text_message('m-4')),
    jsonb_build_object('channel', 'sms', 'payload', text_message('m-4'), 'tenant_id', 'here'),
    jsonb_build_object('channel', 'sms', 'payload', text_message('m-4'), 'tenant_id', 'there'),
    jsonb_build_object('channel', 'fax', 'payload', text_message('m-4'), 'tenant_id', 'here'),
    jsonb_build_object('channel', 'sms', 'payload', text_message('m-5'), 'tenant_id', 7),
    jsonb_build_object('channel', 'sms', 'payload', text_message('m-5'), 'tenant_id', repeat('x', 256))));
SELECT tenant_id, provider_message_id FROM msgstore.event_log
WHERE provider_message_id IN ('m-3', 'm-4', 'm-5') ORDER BY 1;
SHOW msgstore.tenant_id;

-- An item without a valid tenant is refused alone, also in a slot that does not
-- have the empty tenant. It is not kept, because it may belong elsewhere.
SELECT msgstore.set_slot_map(9, '{"here": 3, "there": 3, "": 2, "foreign": 2}');
SET msgstore.keep_refused = on;
SELECT ordinal, duplicate, error_code, error_message FROM msgstore.ingest_batch(jsonb_build_array(
    jsonb_build_object('channel', 'sms', 'payload', text_message('m-1'), 'tenant_id', 'here'),
    jsonb_build_object('channel', 'sms', 'payload', text_message('m-8'), 'tenant_id', 7),
    jsonb_build_object('channel', 'sms', 'payload', text_message('m-8'), 'tenant_id', repeat('x', 256)), 8));
SELECT ordinal, error_code FROM msgstore.ingest_batch('[8]');
SELECT ordinal, error_code FROM msgstore.ingest_batch('[8, {"channel": "sms", "payload": {}}]');
SELECT ordinal, error_code FROM msgstore.ingest_batch('[{"tenant_id": "foreign", "mock": "yes"}]');
SELECT ordinal, error_code FROM msgstore.ingest_batch('[{"tenant_id": "here", "mock": "yes"}]');
SELECT tenant_id, error_message FROM msgstore.refused_events;
DELETE FROM msgstore.refused_events;
RESET msgstore.keep_refused;
SELECT msgstore.set_slot_map(10, '{"here": 3, "there": 3, "": 3, "foreign": 2}');

SET msgstore.tenant_id = 'here';
SELECT ordinal, duplicate, error_code, error_message FROM msgstore.ingest_batch(jsonb_build_array(
    jsonb_build_object('channel', 'sms', 'payload', text_message('m-6'), 'tenant_id', 'there'),
    jsonb_build_object('channel', 'sms', 'payload', text_message('m-6'), 'tenant_id', 'here')));
RESET msgstore.tenant_id;

-- Whoever may not set the tenant of the session may not name one in an item.
CREATE ROLE regress_ingest;
SELECT msgstore.grant_access('regress_ingest', 'ingest');
SET ROLE regress_ingest;
SELECT ordinal, duplicate, error_code, error_message, error_detail FROM msgstore.ingest_batch(jsonb_build_array(
    jsonb_build_object('channel', 'sms', 'payload', public.text_message('m-7'), 'tenant_id', 'there'),
    jsonb_build_object('channel', 'sms', 'payload', public.text_message('m-7'), 'tenant_id', '')));
RESET ROLE;
GRANT SET ON PARAMETER msgstore.tenant_id TO regress_ingest;
SET ROLE regress_ingest;
SELECT ordinal, duplicate, error_code FROM msgstore.ingest_batch(jsonb_build_array(
    jsonb_build_object('channel', 'sms', 'payload', public.text_message('m-7'), 'tenant_id', 'there')));
RESET ROLE;
DROP OWNED BY regress_ingest;
REVOKE SET ON PARAMETER msgstore.tenant_id FROM regress_ingest;
DROP ROLE regress_ingest;

-- The first settings of a router remove no rows that a database has of its own.
SELECT msgstore.set_tenant_limit('own', 5);
SELECT msgstore.publish_settings(1, '{"tenant_limits": []}');
SELECT msgstore.publish_settings(1, '{"tenant_limits": [{"tenant_id": "own", "requests_per_second": 6, "burst": 6}]}');
SELECT requests_per_second FROM msgstore.tenant_limit('own');
SELECT msgstore.publish_settings(2, '{"tenant_limits": []}');
SELECT count(*) FROM msgstore.tenant_limits;
-- From then on they are changed on the router only.
SELECT msgstore.set_tenant_limit('own', 5);
\set VERBOSITY sqlstate
SELECT msgstore.create_api_key('here', 'read');
SELECT msgstore.revoke_api_key('none');
SELECT msgstore.create_source('s', 'generic', 'secret');
\set VERBOSITY default

-- Every function that can write refuses the tenant of another slot before it does
-- anything else, and a fenced one. A new function must do the same, or be listed here
-- with those that write no rows of a tenant.
CREATE FUNCTION refusals(code text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    f record;
    call text;
    found text;
BEGIN
    FOR f IN
        SELECT p.oid, p.proname, p.pronargs - p.pronargdefaults AS needed,
               p.proargtypes::oid[] AS types
        FROM pg_proc p
        WHERE p.pronamespace = 'msgstore'::regnamespace AND p.proname !~ '^_'
            AND p.provolatile = 'v' AND p.prokind = 'f'
            AND p.prorettype <> 'trigger'::regtype
            AND p.proname <> ALL ('{
                uuid7,new_ulid,ulid_after,version,recount,index_messages,index_responses,
                search_responses,
                read_category,read_all,read_query,wait_for_events,wait_for,wait_for_changes,
                latest_position,latest_event_id,event_page,
                get_response,get_response_for_chain,response_chain,chain_items,
                response_with_chain,branches,list_responses,response_input_items,
                get_response_conversation,list_conversation_items,get_conversation_item,
                response_events,response_event_stream,stale_responses,
                metrics,metrics_detail,channel_metrics,storage_by_tenant,latency_histogram,
                grant_access,revoke_access,install_message_store,authenticate,
                create_api_key,revoke_api_key,set_tenant_limit,
                create_source,rotate_source_secret,drop_source,receive_webhook,
                add_handler,remove_handler,list_operations,pause_workers,resume_workers,
                set_slot,set_slot_map,fence_tenant,wait_for_fence,unfence_tenant,
                publish_settings,tenant_publication,export_tenant,import_tenant,
                align_sequences,drop_tenant}'::text[])
        ORDER BY p.proname, p.pronargs
    LOOP
        SELECT format('SELECT msgstore.%I(%s)', f.proname, string_agg(
                   CASE t.oid::regtype::text
                       WHEN 'text' THEN '''sms'''
                       WHEN 'jsonb' THEN CASE WHEN f.proname IN (
                           'ingest_batch', 'append_batch', 'append_host_batch') OR t.n > 1 AND f.proname ~ 'items|events'
                           THEN '''[]''' ELSE '''{}''' END
                       WHEN 'uuid' THEN '''00000000-0000-0000-0000-000000000000'''
                       WHEN 'boolean' THEN 'true'
                       WHEN 'interval' THEN '''1 s'''
                       WHEN 'regproc' THEN '''pg_catalog.now'''
                       WHEN 'bytea' THEN ''''''
                       WHEN 'timestamp with time zone' THEN 'now()'
                       WHEN 'text[]' THEN '''{sms}'''
                       WHEN 'uuid[]' THEN '''{}'''
                       ELSE '1' END || '::' || t.oid::regtype, ', ' ORDER BY t.n))
        INTO call
        FROM unnest(f.types) WITH ORDINALITY t (oid, n)
        WHERE t.n <= f.needed;
        call := coalesce(call, format('SELECT msgstore.%I()', f.proname));
        found := sqlstate_of(call);
        IF found <> code THEN
            RETURN NEXT format('%s: %s', call, found);
        END IF;
    END LOOP;
END
$$;
SET msgstore.tenant_id = 'foreign';
SELECT refusals('MS421');
RESET msgstore.tenant_id;
SELECT msgstore.fence_tenant('here');
SET msgstore.tenant_id = 'here';
SELECT refusals('MS503');
SELECT msgstore.ingest('sms', text_message('m-7'));
RESET msgstore.tenant_id;

-- Workers, claims and senders pass a fenced tenant over, also in sessions for all.
SELECT msgstore.process() AS processed;
SELECT tenant_id, count(*) FROM msgstore.event_queue GROUP BY 1 ORDER BY 1;
SELECT tenant_id FROM msgstore.claim('p');
SELECT sqlstate_of($$SELECT msgstore.requeue_dead_letters()$$) AS requeue,
       sqlstate_of($$SELECT msgstore.erase_address('sms', '+12016661234')$$) AS erase,
       sqlstate_of($$SELECT msgstore.replay()$$) AS replay,
       sqlstate_of($$SELECT msgstore.purge('1 day')$$) AS purge;
SELECT msgstore.unfence_tenant('here') AS was_fenced, msgstore.unfence_tenant('here') AS is_fenced;
SELECT tenant_id FROM msgstore.claim('p');
-- A claim that was made before the fence cannot be completed during it.
SELECT msgstore.fence_tenant('here');
SELECT msgstore.complete('p', array_agg(event_id)) FROM msgstore.event_claims;
UPDATE msgstore.event_claims SET expires_at = '-infinity';
SELECT msgstore.reap_stale() AS reaped;
SELECT msgstore.unfence_tenant('here');
SELECT msgstore.complete('p', array_agg(event_id)) AS completed FROM msgstore.event_claims;

-- The same for messages, found by their id in a session for all tenants.
SET msgstore.tenant_id = 'here';
SELECT duplicate FROM msgstore.send('sms', '{"from": "+18045551234", "to": "+12016661234",
    "body": "Hello!", "timestamp": "2024-11-01T14:00:00Z"}');
RESET msgstore.tenant_id;
SELECT msgstore.fence_tenant('here');
SELECT count(*) FROM msgstore.claim_outbound('s');
SELECT msgstore.unfence_tenant('here');
SELECT count(*) FROM msgstore.claim_outbound('s');
SELECT msgstore.fence_tenant('here');
SELECT msgstore.sent(message_id, 'p-1') FROM msgstore.outbox;
SELECT msgstore.mark_read(id::text, 'me') FROM msgstore.conversations WHERE tenant_id = 'here';
SELECT msgstore.unfence_tenant('here');
SELECT msgstore.sent(message_id, 'p-1') FROM msgstore.outbox;

-- The merge leaves the changes of a fenced tenant alone, and goes on after the fence.
SELECT msgstore.fence_tenant('here');
SELECT msgstore._merge_changes(1000) >= 0 AS merged;
SELECT EXISTS (SELECT FROM msgstore.conversation_changes WHERE tenant_id = 'here') AS kept;
SELECT msgstore.unfence_tenant('here');
SELECT msgstore._merge_changes(1000) > 0 AS merged;
SELECT EXISTS (SELECT FROM msgstore.conversation_changes) AS kept;

-- An import names the field that a table refuses.
CREATE FUNCTION import_page(name text, rows jsonb) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    RETURN msgstore.import_tenant('here', jsonb_build_object(
        'format', 1, 'tenant', 'here', 'table', name, 'rows', rows));
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE || ' ' || SQLERRM;
END
$$;
SELECT msgstore.fence_tenant('here');
SELECT n, import_page('event_queue', rows::jsonb) FROM (VALUES
    (1, '[{"tenant_id": "here", "event_id": "x", "lane": 0}]'),
    (2, '[{"tenant_id": "here", "event_id": null, "lane": 0}]'),
    (3, '[{"event_id": "00000000-0000-7000-8000-000000000001", "lane": 0}]'),
    (4, '[{"tenant_id": "here", "event_id": "00000000-0000-7000-8000-000000000001", "lane": 70000}]'),
    (5, '[{"tenant_id": "here", "event_id": "00000000-0000-7000-8000-000000000001", "lane": 0, "next_attempt_at": "soon"}]'),
    (6, '[{"tenant_id": "here", "event_id": "00000000-0000-7000-8000-000000000001", "lane": 0},
          {"tenant_id": "here", "event_id": "00000000-0000-7000-8000-000000000001", "lane": 0}]'),
    (7, '{"tenant_id": "here"}'), (8, '5'), (9, '[5]'), (10, '[[]]'), (11, 'null'), (12, '[]')) AS v (n, rows);
SELECT msgstore.unfence_tenant('here');

-- The removal of old responses and audits waits for the fence.
SET msgstore.tenant_id = 'here';
SELECT msgstore.save_response('{"id": "old", "status": "completed", "model": "m", "created_at": 1}');
RESET msgstore.tenant_id;
UPDATE msgstore.responses SET ended_at = now() - interval '2 days';
INSERT INTO msgstore.response_audit (tenant_id, happened_at, event, caller, response_id, response_owner)
VALUES ('here', now() - interval '2 days', 'resource.deleted', '', 'gone', '');
SET msgstore.response_max_age = '1d';
SET msgstore.response_audit_max_age = '1d';
SELECT msgstore.fence_tenant('here');
SELECT msgstore._response_turn();
SELECT (SELECT count(*) FROM msgstore.responses) AS responses,
       (SELECT count(*) FROM msgstore.response_audit) AS audits;
SELECT msgstore.unfence_tenant('here');
SELECT msgstore._response_turn();
SELECT (SELECT count(*) FROM msgstore.responses) AS responses,
       (SELECT count(*) FROM msgstore.response_audit) AS audits;
RESET msgstore.response_max_age;
RESET msgstore.response_audit_max_age;

-- A status of a message that is not here: MS421, unless this slot has the tenant
-- without a name.
SELECT message_id IS NULL AS unknown FROM msgstore.record_status('sms', 'p-2', 'delivered');
SELECT msgstore.set_slot_map(11, '{"here": 3, "": 0}');
SELECT msgstore.record_status('sms', 'p-2', 'delivered');
SELECT message_id IS NOT NULL AS known FROM msgstore.record_status('sms', 'p-1', 'delivered');

-- A wait for the fence.
SELECT msgstore.wait_for_fence('here');
SELECT msgstore.fence_tenant('here');
SELECT msgstore.wait_for_fence('here', NULL);
BEGIN;
SELECT msgstore.fence_tenant('other');
SELECT msgstore.wait_for_fence('here');
ROLLBACK;
SELECT msgstore.wait_for_fence('here');
SELECT msgstore.unfence_tenant('here');

-- A fence that its command has left behind.
SELECT msgstore.fence_tenant('here');
SELECT count(*) FROM msgstore.check() WHERE finding = 'old fence';
UPDATE msgstore.tenant_fences SET fenced_at = '2024-11-01 14:00:00+00';
SELECT * FROM msgstore.check() WHERE finding = 'old fence';
SELECT msgstore.unfence_tenant('here');
-- The rows of a tenant that has moved take longer to remove.
SELECT msgstore.fence_tenant('there');
UPDATE msgstore.tenant_fences SET fenced_at = clock_timestamp() - interval '20 hours';
SELECT count(*) FROM msgstore.check() WHERE finding = 'old fence';
UPDATE msgstore.tenant_fences SET fenced_at = clock_timestamp() - interval '2 days';
SELECT count(*) FROM msgstore.check() WHERE finding = 'old fence';
SELECT msgstore.unfence_tenant('there');

-- A rolled back fence is none.
BEGIN;
SELECT msgstore.fence_tenant('here');
SELECT sqlstate_of($$SELECT set_config('msgstore.tenant_id', 'here', true);
    SELECT msgstore.ingest('sms', text_message('m-8'))$$) AS within;
ROLLBACK;
SET msgstore.tenant_id = 'here';
SELECT duplicate FROM msgstore.ingest('sms', text_message('m-8'));
RESET msgstore.tenant_id;

-- Outside of a cluster again, the map is forgotten.
SELECT msgstore.set_slot(NULL, NULL);
SELECT * FROM msgstore.slot_map();
SET msgstore.tenant_id = 'foreign';
SELECT duplicate FROM msgstore.ingest('sms', text_message('m-1'));
RESET msgstore.tenant_id;
SELECT count(*) AS findings FROM msgstore.check();
DROP FUNCTION refusals(text);
DROP FUNCTION text_message(text);
DROP FUNCTION sqlstate_of(text);
DROP EXTENSION msgstore;
