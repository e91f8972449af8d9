-- Roles have no access by default, and each access level gives what it says.
\set QUIET on
SET client_min_messages = warning;
BEGIN;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS msgstore;
SELECT no_plan();

CREATE ROLE pgtap_nobody;
CREATE ROLE pgtap_gateway;

-- PUBLIC can call functions that only compute, and make an ID.
SELECT set_eq(
    $$SELECT proname FROM pg_proc
      WHERE pronamespace = 'msgstore'::regnamespace
        AND has_function_privilege('pgtap_nobody', oid, 'EXECUTE')$$,
    ARRAY['normalize_phone', 'normalize_email', 'normalize_address',
          'conversation_key', 'snippet', 'uuid7', 'version', '_tenant_scope', '_owner_scope',
          -- These read with the rights of the caller.
          '_pending_count', '_pending_inbound', '_pending_activity'],
    'PUBLIC can execute only functions that neither read nor write');
SELECT is_empty(
    $$SELECT c.oid::regclass FROM pg_class c
      WHERE c.relnamespace = 'msgstore'::regnamespace
        AND c.relkind IN ('r', 'p', 'v', 'm')
        AND has_table_privilege('pgtap_nobody', c.oid,
            'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')$$,
    'PUBLIC has no privilege on a table or view');
SELECT is_empty(
    $$SELECT c.oid::regclass FROM pg_class c
      WHERE c.relnamespace = 'msgstore'::regnamespace
        AND CASE c.relkind WHEN 'S' THEN has_sequence_privilege(
            'pgtap_nobody', c.oid, 'USAGE, SELECT, UPDATE') END$$,
    'nor on a sequence');
SELECT ok(NOT has_schema_privilege('pgtap_nobody', 'msgstore', 'CREATE'),
    'nor CREATE on the schema');

-- Runs a command as a role; pgTAP itself keeps its own.
CREATE FUNCTION pg_temp.as_role(role text, command text) RETURNS text
LANGUAGE sql
RETURN format('SET LOCAL ROLE %I; %s; RESET ROLE', role, command);
CREATE TEMP TABLE calls (what text, command text);
INSERT INTO calls VALUES
    ('ingest', $$SELECT msgstore.ingest('sms', '{"from": "+1", "to": "+2",
        "body": "a", "timestamp": "2024-11-01T14:00:00Z",
        "messaging_provider_id": "pgtap-2"}', 'a key', 'a trace')$$),
    ('ingest_batch', $$SELECT msgstore.ingest_batch('[{"channel": "sms",
        "idempotency_key": "another", "payload": {"from": "+1", "to": "+2",
        "body": "a", "timestamp": "2024-11-01T14:00:00Z",
        "messaging_provider_id": "pgtap-3"}}]')$$),
    ('resubmit_refused', $$DO 'BEGIN PERFORM msgstore.resubmit_refused(msgstore.uuid7());
        EXCEPTION WHEN SQLSTATE ''MS404'' THEN NULL; END'$$),
    ('read_payload', $$SELECT msgstore.read_payload('{"a": 1}')$$),
    ('send', $$SELECT msgstore.send('sms', '{"from": "+1", "to": "+2",
        "body": "b", "timestamp": "2024-11-01T14:00:00Z"}')$$),
    ('process', 'SELECT msgstore.process()'),
    ('claim', $$SELECT count(*) FROM msgstore.claim('pgtap')$$),
    ('heartbeat', $$SELECT msgstore.heartbeat('pgtap')$$),
    ('complete', $$SELECT msgstore.complete('pgtap', '{}')$$),
    ('fail', $$DO 'BEGIN PERFORM msgstore.fail(''pgtap'', msgstore.uuid7(), ''E'', ''no'');
        EXCEPTION WHEN SQLSTATE ''MS409'' THEN NULL; END'$$),
    ('reap_stale', 'SELECT msgstore.reap_stale()'),
    ('remove_handler', $$SELECT msgstore.remove_handler('sms', 'pg_temp.handle')$$),
    ('add_handler', $$DO 'BEGIN PERFORM msgstore.add_handler(''sms'', ''pg_catalog.now'');
        EXCEPTION WHEN SQLSTATE ''MS400'' THEN NULL; END'$$),
    ('requeue_dead_letters', 'SELECT msgstore.requeue_dead_letters()'),
    ('requeue', 'SELECT msgstore.requeue(msgstore.uuid7())'),
    ('replay', 'SELECT msgstore.replay()'),
    ('purge', $$SELECT msgstore.purge('1 day')$$),
    ('erase_address', $$SELECT msgstore.erase_address('sms', '+9')$$),
    ('check', 'SELECT msgstore.check()'),
    ('readiness', 'SELECT msgstore.readiness()'),
    ('claim_outbound', $$SELECT msgstore.claim_outbound('pgtap')$$),
    ('heartbeat_outbound', $$SELECT msgstore.heartbeat_outbound('pgtap')$$),
    ('sent', $$DO 'BEGIN PERFORM msgstore.sent(NULL, ''p-1'');
        EXCEPTION WHEN SQLSTATE ''MS404'' THEN NULL; END'$$),
    ('send_failed', $$DO 'BEGIN PERFORM msgstore.send_failed(NULL, ''E'', ''no'');
        EXCEPTION WHEN SQLSTATE ''MS404'' THEN NULL; END'$$),
    ('record_status', $$SELECT msgstore.record_status('sms', 'p-1', 'read')$$),
    ('reap_outbound', 'SELECT msgstore.reap_outbound()'),
    ('list_conversations', 'SELECT msgstore.list_conversations()'),
    ('search_messages', $$SELECT msgstore.search_messages('pgtap')$$),
    ('search_conversations', $$SELECT msgstore.search_conversations('pgtap')$$),
    ('search_status', 'SELECT msgstore.search_status()'),
    ('index_messages', 'SELECT msgstore.index_messages(1)'),
    ('rebuild_search', 'SELECT msgstore.rebuild_search()'),
    ('set_search_configuration', $$SELECT msgstore.set_search_configuration('simple')$$),
    ('get_conversation', $$DO 'BEGIN PERFORM msgstore.get_conversation(''0'');
        EXCEPTION WHEN SQLSTATE ''MS404'' THEN NULL; END'$$),
    ('update_conversation', $$DO 'BEGIN PERFORM msgstore.update_conversation(''0'', ''{}'');
        EXCEPTION WHEN SQLSTATE ''MS404'' THEN NULL; END'$$),
    ('mark_read', $$DO 'BEGIN PERFORM msgstore.mark_read(''0'', ''pgtap'');
        EXCEPTION WHEN SQLSTATE ''MS404'' THEN NULL; END'$$),
    ('mark_unread', $$DO 'BEGIN PERFORM msgstore.mark_unread(''0'', ''pgtap'');
        EXCEPTION WHEN SQLSTATE ''MS404'' THEN NULL; END'$$),
    ('list_messages', $$SELECT msgstore.list_messages(
        msgstore.list_conversations() #>> '{items,0,number}')$$),
    ('save_response', $$SELECT msgstore.save_response(
        '{"id": "pgtap", "status": "completed", "model": "m"}')$$),
    ('get_response', $$SELECT msgstore.get_response('pgtap')$$),
    ('get_response_for_chain', $$SELECT msgstore.get_response_for_chain('pgtap')$$),
    ('response_chain', $$SELECT msgstore.response_chain('pgtap')$$),
    ('chain_items', $$SELECT msgstore.chain_items('pgtap')$$),
    ('response_with_chain', $$SELECT msgstore.response_with_chain('pgtap')$$),
    ('branches', $$SELECT msgstore.branches('pgtap')$$),
    ('list_responses', 'SELECT msgstore.list_responses()'),
    ('search_responses', $$DO 'BEGIN PERFORM msgstore.search_responses(''pgtap'');
        EXCEPTION WHEN SQLSTATE ''MS400'' THEN NULL; END'$$),
    ('index_responses', 'SELECT msgstore.index_responses(1)'),
    ('rebuild_response_search', 'SELECT msgstore.rebuild_response_search()'),
    ('response_input_items', $$SELECT msgstore.response_input_items('pgtap')$$),
    ('update_response', $$SELECT msgstore.update_response('pgtap', '{}')$$),
    ('delete_response', $$SELECT msgstore.delete_response('pgtap')$$),
    ('save_background', $$SELECT msgstore.save_background(
        '{"id": "pgtap-2", "status": "queued", "model": "m", "background": true}', '{}')$$),
    ('save_background_request', $$SELECT msgstore.save_background_request('pgtap-2', '{}')$$),
    ('claim_response', $$SELECT msgstore.claim_response('w')$$),
    ('heartbeat_response', $$SELECT msgstore.heartbeat_response('pgtap-2', 'w')$$),
    ('cancel_response', $$SELECT msgstore.cancel_response('pgtap-2')$$),
    ('stale_responses', 'SELECT msgstore.stale_responses()'),
    ('reap_responses', 'SELECT msgstore.reap_responses()'),
    ('cleanup_responses', 'SELECT msgstore.cleanup_responses(0)'),
    ('purge_responses', $$SELECT msgstore.purge_responses('1 day')$$),
    ('create_response_conversation', $$SELECT msgstore.create_response_conversation(
        '{"id": "pgtap-c", "items": [{"id": "i"}]}')$$),
    ('get_response_conversation', $$SELECT msgstore.get_response_conversation('pgtap-c')$$),
    ('update_response_conversation', $$SELECT msgstore.update_response_conversation('pgtap-c', '{}')$$),
    ('add_conversation_items', $$SELECT msgstore.add_conversation_items('pgtap-c', '[]')$$),
    ('list_conversation_items', $$SELECT msgstore.list_conversation_items('pgtap-c')$$),
    ('get_conversation_item', $$SELECT msgstore.get_conversation_item('pgtap-c', 'i')$$),
    ('delete_conversation_item', $$SELECT msgstore.delete_conversation_item('pgtap-c', 'i')$$),
    ('delete_response_conversation', $$SELECT msgstore.delete_response_conversation('pgtap-c')$$),
    ('append_response_events', $$SELECT msgstore.append_response_events('pgtap-2', '{"type": "a"}')$$),
    ('response_events', $$SELECT msgstore.response_events('pgtap-2')$$),
    ('hold_response', $$SELECT msgstore.hold_response('pgtap-2', false)$$),
    ('list_response_usage', $$SELECT msgstore.list_response_usage()$$),
    ('response_event_stream', $$SELECT msgstore.response_event_stream('pgtap-2')$$),
    ('append', $$SELECT msgstore.append('pgtap-1', 'x', '{}')$$),
    ('append_batch', $$SELECT msgstore.append_batch('[{"stream": "pgtap-1",
        "type": "x", "data": {}}]')$$),
    ('append_if', $$SELECT msgstore.append_if('[{"stream": "pgtap-2",
        "type": "x", "data": {}}]', '{"tags": ["pgtap"]}')$$),
    ('read_query', $$SELECT msgstore.read_query('{"tags": ["pgtap"]}')$$),
    ('trace', $$SELECT msgstore.trace('pgtap')$$),
    ('causation_tree', 'SELECT msgstore.causation_tree(gen_random_uuid())'),
    ('read_stream', $$SELECT msgstore.read_stream('pgtap-1')$$),
    ('read_category', $$SELECT msgstore.read_category('pgtap')$$),
    ('stream_state', $$SELECT msgstore.stream_state('pgtap-1')$$),
    ('compact_stream', $$SELECT msgstore.compact_stream('pgtap-1', '{}')$$),
    ('save_snapshot', $$SELECT msgstore.save_snapshot('{"snapshot_id": "pgtap"}')$$),
    ('list_snapshots', 'SELECT msgstore.list_snapshots()'),
    ('append_host_events', $$SELECT msgstore.append_host_events('pgtap',
        '[{"type": "HostCreated", "ip_address": "::1", "hostname": "h"}]')$$),
    ('list_hosts', 'SELECT msgstore.list_hosts()'),
    ('load_host_events', $$SELECT msgstore.load_host_events('pgtap')$$),
    ('read_stream_backwards', $$SELECT msgstore.read_stream_backwards('pgtap-1')$$),
    ('read_all', 'SELECT msgstore.read_all()'),
    ('wait_for_events', $$SELECT msgstore.wait_for_events('pgtap', 0, '1 ms')$$),
    ('await_events', $$CALL msgstore.await_events('pgtap', 0, '1 ms')$$),
    ('wait_for_changes', 'SELECT msgstore.wait_for_changes()'),
    ('stream_version', $$SELECT msgstore.stream_version('pgtap-1')$$),
    ('stream_category', $$SELECT msgstore.stream_category('pgtap-1')$$),
    ('count_events', $$SELECT msgstore.count_events('pgtap-1')$$),
    ('last_event', $$SELECT msgstore.last_event('pgtap-1')$$),
    ('list_streams', 'SELECT msgstore.list_streams()'),
    ('latest_position', 'SELECT msgstore.latest_position()'),
    ('latest_event_id', 'SELECT msgstore.latest_event_id()'),
    ('merge_patch', $$SELECT msgstore.merge_patch('{}', '{}')$$),
    ('fold', $$SELECT msgstore.fold('{}')$$),
    ('last_known', 'SELECT msgstore.last_known(1)'),
    ('get_snapshot', $$SELECT msgstore.get_snapshot('pgtap')$$),
    ('delete_snapshot', $$SELECT msgstore.delete_snapshot('pgtap')$$),
    ('apply_snapshot_retention', 'SELECT msgstore.apply_snapshot_retention(1, NULL)'),
    ('create_subscription', $$SELECT msgstore.create_subscription('pgtap')$$),
    ('resize_subscription', $$SELECT msgstore.resize_subscription('pgtap', 1)$$),
    ('fetch', $$SELECT msgstore.fetch('pgtap')$$),
    ('ack', $$SELECT msgstore.ack('pgtap', 0)$$),
    ('park', $$DO 'BEGIN PERFORM msgstore.park(''pgtap'', 0, '''');
        EXCEPTION WHEN SQLSTATE ''MS404'' THEN NULL; END'$$),
    ('list_parked', $$SELECT msgstore.list_parked('pgtap')$$),
    ('replay_parked', $$SELECT msgstore.replay_parked('pgtap')$$),
    ('list_subscriptions', 'SELECT msgstore.list_subscriptions()'),
    ('list_members', $$SELECT msgstore.list_members('pgtap')$$),
    ('seek', $$SELECT msgstore.seek('pgtap', 0)$$),
    ('wait_for', $$SELECT msgstore.wait_for('pgtap', 0, '0')$$),
    ('stream_page', $$SELECT msgstore.stream_page('pgtap-1')$$),
    ('event_page', $$SELECT msgstore.event_page('pgtap')$$),
    ('fetch_page', $$SELECT msgstore.fetch_page('pgtap')$$),
    ('create_projection', $$DO 'BEGIN PERFORM msgstore.create_projection(''pgtap-p'', NULL, ''pg_catalog.pi'');
        EXCEPTION WHEN SQLSTATE ''MS400'' THEN NULL; END'$$),
    ('pause_projection', $$DO 'BEGIN PERFORM msgstore.pause_projection(''pgtap'');
        EXCEPTION WHEN SQLSTATE ''MS404'' THEN NULL; END'$$),
    ('resume_projection', $$DO 'BEGIN PERFORM msgstore.resume_projection(''pgtap'');
        EXCEPTION WHEN SQLSTATE ''MS404'' THEN NULL; END'$$),
    ('rebuild_projection', $$DO 'BEGIN PERFORM msgstore.rebuild_projection(''pgtap'');
        EXCEPTION WHEN SQLSTATE ''MS404'' THEN NULL; END'$$),
    ('retry_parked', $$DO 'BEGIN PERFORM msgstore.retry_parked(''pgtap'');
        EXCEPTION WHEN SQLSTATE ''MS404'' THEN NULL; END'$$),
    ('list_projections', 'SELECT msgstore.list_projections()'),
    ('set_stream_retention', $$SELECT msgstore.set_stream_retention('pgtap', max_count => 5)$$),
    ('list_stream_retention', 'SELECT msgstore.list_stream_retention()'),
    ('truncate_stream', $$SELECT msgstore.truncate_stream('pgtap-1', 1)$$),
    ('tombstone_stream', $$DO 'BEGIN PERFORM msgstore.tombstone_stream(''pgtap-1'', 99);
        EXCEPTION WHEN SQLSTATE ''MS409'' THEN NULL; END'$$),
    ('erase_events', $$SELECT msgstore.erase_events('pgtap-1')$$),
    ('seal_log', 'SELECT msgstore.seal_log()'),
    ('verify_log', 'SELECT msgstore.verify_log()'),
    ('rename_subscription', $$SELECT msgstore.rename_subscription('pgtap', 'pgtap')$$),
    ('drop_subscription', $$SELECT msgstore.drop_subscription('pgtap')$$),
    ('append_host_batch', $$SELECT msgstore.append_host_batch('[{"aggregate_id": "pgtap",
        "expected_version": "-1",
        "events": [{"type": "CommentUpdated", "new_comment": "c"}]}]')$$),
    ('new_ulid', 'SELECT msgstore.new_ulid()'),
    ('ulid_after', $$SELECT msgstore.ulid_after('01ARZ3NDEKTSV4RRFFQ69G5FAV')$$),
    ('validate_host', $$SELECT msgstore.validate_host('{"ip_address": "::1", "hostname": "h"}')$$),
    ('host_version', $$SELECT msgstore.host_version('pgtap')$$),
    ('host_sequence', $$SELECT msgstore.host_sequence('pgtap')$$),
    ('count_host_events', $$SELECT msgstore.count_host_events('pgtap')$$),
    ('list_host_ids', 'SELECT msgstore.list_host_ids()'),
    ('latest_host_event_id', 'SELECT msgstore.latest_host_event_id()'),
    ('host_by_id', $$SELECT msgstore.host_by_id('pgtap')$$),
    ('host_by_ip_and_hostname', $$SELECT msgstore.host_by_ip_and_hostname('::1', 'h')$$),
    ('search_hosts', $$SELECT msgstore.search_hosts('{}')$$),
    ('hosts_at', 'SELECT msgstore.hosts_at(now())'),
    ('hosts_health', 'SELECT msgstore.hosts_health()'),
    ('compact_host', $$SELECT msgstore.compact_host('pgtap')$$),
    ('metrics', 'SELECT msgstore.metrics()'),
    ('metrics_detail', 'SELECT msgstore.metrics_detail()'),
    ('channel_metrics', 'SELECT count(*) FROM msgstore.channel_metrics()'),
    ('storage_by_tenant', 'SELECT count(*) FROM msgstore.storage_by_tenant()'),
    ('latency_histogram', 'SELECT count(*) FROM msgstore.latency_histogram()'),
    ('recount', 'SELECT msgstore.recount()'),
    ('create_source', $$SELECT msgstore.create_source('pgtap', 'generic', scheme => 'none')$$),
    ('rotate_source_secret', $$SELECT msgstore.rotate_source_secret('pgtap', 'secret')$$),
    ('list_sources', 'SELECT msgstore.list_sources()'),
    ('verify_signature', $$SELECT msgstore.verify_signature('pgtap', '{}', '')$$),
    ('test_source', $$SELECT msgstore.test_source('pgtap', '{}', '')$$),
    ('receive_webhook', $$DO 'BEGIN PERFORM msgstore.receive_webhook(''wh_'', ''POST'', '''', ''{}'', '''');
        EXCEPTION WHEN SQLSTATE ''MS404'' THEN NULL; END'$$),
    ('webhook_limits', $$DO 'BEGIN PERFORM msgstore.webhook_limits(''wh_'');
        EXCEPTION WHEN SQLSTATE ''MS404'' THEN NULL; END'$$),
    ('get_attachment', $$DO 'BEGIN PERFORM msgstore.get_attachment(msgstore.uuid7());
        EXCEPTION WHEN SQLSTATE ''MS404'' THEN NULL; END'$$),
    ('fetch_attachment', $$DO 'BEGIN PERFORM msgstore.fetch_attachment(msgstore.uuid7());
        EXCEPTION WHEN SQLSTATE ''MS404'' THEN NULL; END'$$),
    ('claim_media', $$SELECT msgstore.claim_media('pgtap')$$),
    ('record_media', $$SELECT msgstore.record_media('pgtap', NULL, 200, '', '')$$),
    ('drop_source', $$SELECT msgstore.drop_source('pgtap')$$),
    ('opt_out', $$SELECT msgstore.opt_out('sms', '+3')$$),
    ('opt_in', $$SELECT msgstore.opt_in('sms', '+3')$$),
    ('create_destination', $$SELECT msgstore.create_destination('pgtap', 'http://x')$$),
    ('rotate_destination_secret', $$SELECT msgstore.rotate_destination_secret('pgtap')$$),
    ('test_destination', $$SELECT msgstore.test_destination('pgtap')$$),
    ('pause_destination', $$SELECT msgstore.pause_destination('pgtap')$$),
    ('resume_destination', $$SELECT msgstore.resume_destination('pgtap')$$),
    ('list_destinations', 'SELECT msgstore.list_destinations()'),
    ('claim_notifications', $$SELECT msgstore.claim_notifications('pgtap')$$),
    ('record_notification', $$DO 'BEGIN PERFORM msgstore.record_notification(''pgtap'', NULL, 200);
        EXCEPTION WHEN SQLSTATE ''MS409'' THEN NULL; END'$$),
    ('drop_destination', $$SELECT msgstore.drop_destination('pgtap')$$),
    ('create_account', $$SELECT msgstore.create_account('pgtap', 'generic', '{sms}', base_url => 'http://x')$$),
    ('rotate_account_secret', $$SELECT msgstore.rotate_account_secret('pgtap', 'secret')$$),
    ('resume_account', $$SELECT msgstore.resume_account('pgtap')$$),
    ('pause_workers', 'SELECT msgstore.pause_workers()'),
    ('list_operations', 'SELECT msgstore.list_operations()'),
    ('resume_workers', 'SELECT msgstore.resume_workers()'),
    ('list_accounts', 'SELECT msgstore.list_accounts()'),
    ('claim_requests', $$SELECT msgstore.claim_requests('pgtap')$$),
    ('record_answer', $$DO 'BEGIN PERFORM msgstore.record_answer(''pgtap'', NULL, 200, '''', '''');
        EXCEPTION WHEN SQLSTATE ''MS404'' THEN NULL; END'$$),
    ('drop_account', $$SELECT msgstore.drop_account('pgtap')$$),
    ('default_slot', $$SELECT msgstore.default_slot('', 4)$$),
    ('set_slot', 'SELECT msgstore.set_slot(NULL, NULL)'),
    ('set_slot_map', $$DO 'BEGIN PERFORM msgstore.set_slot_map(1, ''{}'');
        EXCEPTION WHEN SQLSTATE ''MS409'' THEN NULL; END'$$),
    ('slot_map', 'SELECT msgstore.slot_map()'),
    ('tenant_slot', $$SELECT msgstore.tenant_slot('')$$),
    ('fence_tenant', $$SELECT msgstore.fence_tenant('pgtap')$$),
    ('wait_for_fence', $$DO 'BEGIN PERFORM msgstore.wait_for_fence(''pgtap'');
        EXCEPTION WHEN SQLSTATE ''MS400'' THEN NULL; END'$$),
    ('tenant_publication', $$DO 'BEGIN PERFORM msgstore.tenant_publication(''pgtap'');
        EXCEPTION WHEN SQLSTATE ''MS409'' THEN NULL; END'$$),
    ('tenant_digest', $$SELECT msgstore.tenant_digest('pgtap')$$),
    ('export_tenant', $$SELECT msgstore.export_tenant('pgtap')$$),
    ('import_tenant', $$DO 'BEGIN PERFORM msgstore.import_tenant(''pgtap'', ''{}'');
        EXCEPTION WHEN SQLSTATE ''MS400'' THEN NULL; END'$$),
    ('align_sequences', $$SELECT msgstore.align_sequences('pgtap')$$),
    ('unfence_tenant', $$SELECT msgstore.unfence_tenant('pgtap')$$),
    ('drop_tenant', $$DO 'BEGIN CALL msgstore.drop_tenant(''pgtap'');
        EXCEPTION WHEN SQLSTATE ''MS409'' THEN NULL; END'$$),
    ('publish_settings', $$SELECT msgstore.publish_settings(1, '{}')$$),
    ('create_api_key', $$SELECT msgstore.create_api_key('', '{read}')$$),
    ('revoke_api_key', $$SELECT msgstore.revoke_api_key('')$$),
    ('list_api_keys', 'SELECT msgstore.list_api_keys()'),
    ('has_api_keys', 'SELECT msgstore.has_api_keys()'),
    ('authenticate', $$SELECT msgstore.authenticate('')$$),
    ('set_tenant_limit', $$SELECT msgstore.set_tenant_limit('', 1)$$),
    ('list_tenant_limits', 'SELECT msgstore.list_tenant_limits()'),
    ('tenant_limit', $$SELECT msgstore.tenant_limit('')$$);
CREATE TEMP TABLE kinds AS
SELECT c.what, CASE min(p.prokind) WHEN 'a' THEN 'aggregate' WHEN 'p' THEN 'procedure' ELSE 'function' END AS kind
FROM calls c
LEFT JOIN pg_proc p ON p.proname = c.what AND p.pronamespace = 'msgstore'::regnamespace
GROUP BY c.what;
CREATE TEMP TABLE touches (command text);
INSERT INTO touches
SELECT replace(command, 'TABLE', relation)
FROM unnest(ARRAY['msgstore.event_log', 'msgstore.event_queue',
        'msgstore.messages', 'msgstore.conversation_rows', 'msgstore.conversation_activity',
        'msgstore.conversation_changes', 'msgstore.conversation_states', 'msgstore.read_marks', 'msgstore.search_entries', 'msgstore.search_addresses', 'msgstore.search_changes', 'msgstore.search_configurations', 'msgstore.channels',
        'msgstore.stream_events', 'msgstore.stream_event_keys', 'msgstore.stream_subscriptions',
        'msgstore.stream_consumers', 'msgstore.parked_events', 'msgstore.projections', 'msgstore.stream_retention', 'msgstore.stream_seals', 'msgstore.stream_removals',
        'msgstore.snapshots', 'msgstore.host_entries', 'msgstore.host_log',
        'msgstore.dead_letters', 'msgstore.id_conflicts', 'msgstore.refused_events', 'msgstore.operations_log', 'msgstore.idempotency_keys',
        'msgstore.conversation_counts', 'msgstore.conversation_tallies', 'msgstore.event_claims', 'msgstore.conversation_holds',
        'msgstore.handlers', 'msgstore.responses', 'msgstore.outbox', 'msgstore.outbound_payloads', 'msgstore.deliveries',
        'msgstore.delivery_statuses', 'msgstore.sources', 'msgstore.source_secrets', 'msgstore.source_tokens', 'msgstore.attachments', 'msgstore.thread_ids', 'msgstore.message_parts',
        'msgstore.accounts', 'msgstore.account_secrets', 'msgstore.opt_outs', 'msgstore.consent_log',
        'msgstore.destinations', 'msgstore.destination_secrets', 'msgstore.destination_news', 'msgstore.notifications', 'msgstore.provider_apis', 'msgstore.provider_requests',
        'msgstore.providers', 'msgstore.live_changes', 'msgstore.live_horizon', 'msgstore.worker_pause', 'msgstore.api_keys', 'msgstore.tenant_limits', 'msgstore.node_state', 'msgstore.slot_exceptions', 'msgstore.tenant_fences']) relation,
    unnest(ARRAY['SELECT count(*) FROM TABLE', 'DELETE FROM TABLE']) command
UNION ALL VALUES ('SELECT count(*) FROM msgstore.inbound_events'),
    ('SELECT count(*) FROM msgstore.outbound_messages');

-- Without EXECUTE no function can be called, with or without USAGE.
SELECT throws_ok(
    pg_temp.as_role('pgtap_nobody', 'SELECT msgstore.uuid7()'),
    '42501', NULL, 'without USAGE no function can be called');
GRANT USAGE ON SCHEMA msgstore TO pgtap_nobody, pgtap_gateway;
SELECT lives_ok(
    pg_temp.as_role('pgtap_nobody', $$SELECT msgstore.uuid7(),
        msgstore.normalize_phone('+1'), msgstore.normalize_email('a@b.c'),
        msgstore.snippet('hello')$$),
    'with USAGE the functions for PUBLIC');
SELECT throws_ok(
    pg_temp.as_role('pgtap_nobody', command),
    '42501', format('permission denied for %s %s', kind, what),
    format('without EXECUTE no call of %s', what))
FROM calls JOIN kinds USING (what) WHERE what <> 'list_messages';

-- With all levels every function can be called, and no table be touched except
-- those of the read level.
SELECT set_eq('SELECT what FROM calls',
    $$SELECT name FROM msgstore._access_rights() WHERE kind = 'function' AND name !~ '^_'$$,
    'each function of a level is tested here');
SELECT msgstore.grant_access('pgtap_gateway', 'operate');
SELECT lives_ok(pg_temp.as_role('pgtap_gateway', command),
    format('all levels: call %s', what))
FROM calls;
SELECT throws_ok(pg_temp.as_role('pgtap_gateway', command),
    '42501', NULL, format('all levels: no %s', command))
FROM touches
WHERE command NOT IN (SELECT format('SELECT count(*) FROM msgstore.%s', name)
                      FROM msgstore._access_rights() WHERE kind = 'table');

-- The outcome of a call as a role, rolled back: 'may', or the error.
CREATE FUNCTION pg_temp.outcome(role text, command text) RETURNS text
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('role', role, true);
    EXECUTE command;
    RAISE EXCEPTION USING ERRCODE = 'MS000';
EXCEPTION
    WHEN insufficient_privilege THEN
        RETURN SQLERRM;
    WHEN OTHERS THEN
        IF SQLSTATE !~ '^MS' THEN
            RETURN SQLSTATE || ' ' || SQLERRM;
        END IF;
        RETURN 'may';
END
$$;

-- Each level alone: all that is in it, and nothing else.
CREATE TEMP TABLE levels AS
SELECT level, 'pgtap_' || level AS role
FROM unnest(ARRAY['ingest', 'read', 'process', 'operate']) level;
CREATE ROLE pgtap_ingest;
CREATE ROLE pgtap_read;
CREATE ROLE pgtap_process;
CREATE ROLE pgtap_operate;
SELECT msgstore.grant_access(role::regrole, level) FROM levels;
SELECT msgstore.revoke_access('pgtap_operate', level) FROM levels WHERE level <> 'operate';
SELECT is(pg_temp.outcome(l.role, c.command),
    CASE WHEN EXISTS (SELECT FROM msgstore._access_rights() r
                      WHERE r.level = l.level AND r.kind = 'function' AND r.name = c.what)
        THEN 'may' ELSE format('permission denied for %s %s', c.kind, c.what) END,
    format('%s: %s', l.level, c.what))
FROM levels l, (calls JOIN kinds USING (what)) c
-- This one calls another function before.
WHERE c.what <> 'list_messages';
-- The most important functions of each level, listed independently.
SELECT set_eq(
    $$SELECT l.level, p.proname FROM levels l, pg_proc p
      WHERE p.pronamespace = 'msgstore'::regnamespace
        AND p.proname IN ('ingest', 'ingest_batch', 'send', 'append', 'save_response',
            'list_conversations', 'list_messages', 'update_conversation', 'mark_read', 'read_all', 'get_response',
            'process', 'claim', 'complete', 'sent', 'requeue_dead_letters', 'replay',
            'purge', 'erase_address', 'add_handler', 'create_api_key', 'set_tenant_limit',
            'grant_access', 'install_message_store')
        AND has_function_privilege(l.role, p.oid, 'EXECUTE')$$,
    $$VALUES ('ingest', 'ingest'), ('ingest', 'ingest_batch'), ('ingest', 'send'), ('ingest', 'update_conversation'),
        ('ingest', 'append'), ('ingest', 'save_response'),
        ('read', 'list_conversations'), ('read', 'list_messages'), ('read', 'mark_read'), ('read', 'read_all'),
        ('read', 'get_response'),
        ('process', 'process'), ('process', 'claim'), ('process', 'complete'), ('process', 'sent'),
        ('operate', 'requeue_dead_letters'), ('operate', 'replay'), ('operate', 'purge'),
        ('operate', 'erase_address'), ('operate', 'add_handler'), ('operate', 'create_api_key'),
        ('operate', 'set_tenant_limit')$$,
    'each level has the functions it is for');
SELECT is(pg_temp.outcome(l.role, 'SELECT * FROM msgstore.' || c.relname) = 'may',
    EXISTS (SELECT FROM msgstore._access_rights() r
            WHERE r.level = l.level AND r.kind = 'table' AND r.name = c.relname),
    format('%s: read %s', l.level, c.relname))
FROM levels l, pg_class c
WHERE c.relnamespace = 'msgstore'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm');
SELECT is_empty(
    $$SELECT l.level, c.oid::regclass FROM levels l, pg_class c
      WHERE c.relnamespace = 'msgstore'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'S')
        AND CASE c.relkind WHEN 'S' THEN has_sequence_privilege(l.role, c.oid, 'USAGE, SELECT, UPDATE')
            ELSE has_table_privilege(l.role, c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER') END$$,
    'no level can write a table or use a sequence');
SELECT is_empty(
    $$SELECT l.level, s.name FROM levels l, pg_settings s
      WHERE s.name LIKE 'msgstore.%' AND s.context = 'superuser'
        AND has_parameter_privilege(l.role, s.name, 'SET')$$,
    'or set the tenant or a limit');

-- Callers cannot change limits.
SELECT throws_ok(
    pg_temp.as_role('pgtap_gateway', $$SET LOCAL msgstore.max_payload_bytes = 1024$$),
    '42501', NULL, 'a caller cannot change a limit');

-- Callers cannot change their identity.
SELECT throws_ok(
    pg_temp.as_role('pgtap_gateway', format('SET LOCAL msgstore.%s = on', setting)),
    '42501', NULL, format('a caller cannot set %s', setting))
FROM unnest(ARRAY['tenant_id', 'owner', 'admin']) setting;

SELECT * FROM finish();
ROLLBACK;
