# A tenant cannot learn anything about another tenant, whatever it calls.
#
# Uses two databases: in one, tenant a is alone; in the other, tenant b has rows,
# under the same names and under names of its own. Tenant a then calls every
# function with b's names, IDs, keys and cursors. Both databases must print the
# same.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::Bin/..";
use MsgstoreServer;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('tenants', "msgstore.workers = 0\nmsgstore.keep_refused = on\nmsgstore.response_search = on");
$node->start;

sub sql { return $node->safe_psql($_[1], $_[0]) }

# What a session of the role prints, including its errors.
sub session
{
	my ($role, $database, $script, %variables) = @_;
	my $file = PostgreSQL::Test::Utils::tempdir() . '/script.sql';
	my $sets = join '', map { "\\set $_ '$variables{$_}'\n" } sort keys %variables;
	append_to_file($file, "\\set SHOW_CONTEXT always\n\\set VERBOSITY default\n$sets$script");
	local $ENV{PGHOST} = $node->host;
	local $ENV{PGPORT} = $node->port;
	local $ENV{PGOPTIONS} = $variables{options} // '';
	return scalar `psql -XAt -U $role -d $database -v ON_ERROR_STOP=0 < '$file' 2>&1`;
}

# Roles belong to the cluster, privileges to each database.
sql("CREATE ROLE tenant_$_ LOGIN; ALTER ROLE tenant_$_ SET msgstore.tenant_id = '$_'", 'postgres')
  for qw(a b);
for my $database (qw(alone shared))
{
	add_database($node, $database);
	sql("SELECT msgstore.grant_access('tenant_$_', 'operate')", $database) for qw(a b);
	sql("CREATE FUNCTION public.ignore_event(e msgstore.stream_event) RETURNS void LANGUAGE sql AS ''", $database);
	sql("INSERT INTO msgstore.channels (name, address_kind, strict_order) VALUES ('strict', 'opaque', true)", $database);
}

# Rows of every kind for tenant :t; half of the names are the same for a and b.
my $life = <<'SQL';
\o /dev/null
SELECT msgstore.ingest('sms', jsonb_build_object('from', '+15550001', 'to', '+15550002', 'timestamp', '2024-11-01T14:00:00Z',
    'body', 'secret of ' || :'t', 'messaging_provider_id', n), 'key-' || n, 'trace-' || :'t')
FROM unnest(ARRAY['p-1', 'p-2', 'only-' || :'t', 'dead-' || :'t']) n;
SELECT msgstore.ingest('sms', '{"from": "+15550001", "to": "+15550002", "timestamp": "2024-11-01T14:00:00Z", "body": "other", "messaging_provider_id": "p-1"}');
SELECT msgstore.ingest_batch(jsonb_build_array(jsonb_build_object('channel', 'sms', 'payload', jsonb_build_object('from', 'secret of ' || :'t'))));
SELECT msgstore.ingest('strict', jsonb_build_object('from', 'x', 'to', :'t', 'timestamp', '2024-11-01T14:00:00Z',
    'body', 'secret', 'messaging_provider_id', 'strict-' || n)) FROM generate_series(1, 3) n;
SELECT id AS dead FROM msgstore.claim('proc-' || :'t', 20) WHERE provider_message_id LIKE 'dead%' \gset
SELECT msgstore.fail('proc-' || :'t', :'dead', 'MS400', 'secret of ' || :'t');
SELECT msgstore.complete('proc-' || :'t', array_agg(id)) FROM msgstore.inbound_events
WHERE processor_id = 'proc-' || :'t' AND provider_message_id <> 'p-2' AND channel = 'sms';
SELECT msgstore.fail('proc-' || :'t', id, 'E', 'secret of ' || :'t') FROM msgstore.inbound_events
WHERE provider_message_id = 'strict-1';
SELECT msgstore.ingest('sms', jsonb_build_object('from', '+15550001', 'to', '+15550003', 'timestamp', '2024-11-01T14:00:00Z',
    'body', 'secret', 'messaging_provider_id', 'late-' || :'t'));
SELECT msgstore.send('sms', jsonb_build_object('from', '+15550002', 'to', '+15550001', 'timestamp', '2024-11-01T14:00:00Z',
    'body', 'secret ' || n), 'send-' || n) FROM generate_series(1, 5) n;
SELECT msgstore.send('email', jsonb_build_object('from', 'a@x.org', 'to', :'t' || '@x.org', 'timestamp', '2024-11-01T14:00:00Z', 'body', 'secret'));
SELECT msgstore.update_conversation(c ->> 'id', jsonb_build_object('assignee', 'ann', 'labels', ARRAY['vip', :'t'], 'contact_name', 'secret'), 'ann'),
    msgstore.mark_read(c ->> 'id', 'ann')
FROM jsonb_array_elements(msgstore.list_conversations() -> 'items') c;
SELECT msgstore.sent(message_id, 'prov-1', 'sender-' || :'t') FROM msgstore.claim_outbound('sender-' || :'t', 1);
SELECT msgstore.sent(message_id, 'prov-' || :'t', 'sender-' || :'t') FROM msgstore.claim_outbound('sender-' || :'t', 1);
SELECT msgstore.send_failed(message_id, 'E', 'secret', 'sender-' || :'t', true) FROM msgstore.claim_outbound('sender-' || :'t', 1);
SELECT msgstore.send_failed(message_id, 'E', 'secret', 'sender-' || :'t') FROM msgstore.claim_outbound('sender-' || :'t', 1);
SELECT msgstore.claim_outbound('sender-' || :'t', 1);
SELECT msgstore.record_status('sms', 'prov-' || :'t', 'read', '{"of": "secret"}');
SELECT msgstore.record_status('sms', 'prov-unknown-' || :'t', 'sent');
SELECT msgstore.append(s, 'Opened', jsonb_build_object('of', 'secret of ' || :'t'),
	metadata => '{"correlation_id": "shared"}', tags => ARRAY['shared', 'of ' || :'t']) FROM unnest(ARRAY['order-1', 'order-' || :'t', 'only' || :'t' || '-1']) s;
SELECT msgstore.append('order-1', 'Changed', '{"more": 1}', event_id => '11111111-1111-4111-8111-111111111111');
SELECT msgstore.create_subscription(s, 'order', 2) FROM unnest(ARRAY['sub', 'sub-' || :'t']) s;
SELECT msgstore.park('sub', msgstore.latest_position(), 'secret');
SELECT msgstore.set_stream_retention('kept' || :'t', '1 year');
SELECT msgstore.append('gone-1', 'x', '{}') FROM generate_series(1, 2);
SELECT msgstore.seal_log();
SELECT msgstore.truncate_stream('gone-1', 2);
SELECT msgstore.create_projection('projection-' || :'t', 'order', 'public.ignore_event');
SELECT msgstore.save_snapshot(jsonb_build_object('snapshot_id', s, 'hosts_content', 'secret')) FROM unnest(ARRAY['snap', 'snap-' || :'t']) s;
SELECT msgstore.append_host_events(h, jsonb_build_array(jsonb_build_object('type', 'HostCreated',
    'ip_address', a, 'hostname', h, 'comment', 'secret'))) FROM (VALUES ('host-1', '10.0.0.1'), ('host-' || :'t', '10.0.0.2')) v (h, a);
:responses
SELECT msgstore.requeue_dead_letters(dry_run => true), msgstore.erase_address('sms', '+19999999');
SELECT msgstore.create_api_key(:'t', '{ingest}');
SELECT msgstore.create_source('source-' || :'t', 'mailgun-routes', 'secret');
SELECT msgstore.create_account('account-' || :'t', 'generic', '{sms}', 'secret', base_url => 'http://x');
SELECT msgstore.create_destination('destination-' || :'t', 'http://x', '{message.status}');
SELECT msgstore.test_destination('destination-' || :'t');
SELECT msgstore.record_status('sms', 'prov-' || :'t', 'read');
SELECT msgstore.opt_out('sms', '+19999999'), msgstore.opt_out('sms', '+1888888' || CASE :'t' WHEN 'b' THEN 1 ELSE 2 END);
\o
SQL

# For responses, in both stores. They are listed by created_at, in seconds, and
# by id: here they never share a second.
my $life_of_responses = <<'SQL';
SELECT msgstore.save_response(jsonb_build_object('id', 'resp-' || n || :'t', 'status', 'completed', 'model', 'm',
    'created_at', extract(epoch FROM now())::bigint - 10 + n,
    'input', '[{"id": "item", "text": "secret"}]'::jsonb, 'previous_response_id', CASE n WHEN 2 THEN 'resp-1' || :'t' END)) FROM generate_series(1, 3) n;
SELECT msgstore.delete_response('resp-3' || :'t');
SELECT msgstore.save_background(jsonb_build_object('id', 'back-' || n || :'t', 'status', 'queued', 'model', 'm', 'background', true,
    'created_at', extract(epoch FROM now())::bigint - 5 + n), '{"of": "secret"}') FROM generate_series(1, 3) n;
SELECT msgstore.claim_response('worker-' || :'t') FROM generate_series(1, 2);
SELECT msgstore.update_response('back-2' || :'t', '{"status": "completed"}');
SELECT msgstore.create_response_conversation(jsonb_build_object('id', current_setting('msgstore.response_store') || :'t',
    'metadata', '{"of": "secret"}'::jsonb, 'items', '[{"id": "item", "text": "secret"}]'::jsonb)) IS NOT NULL;
SELECT msgstore.save_response(jsonb_build_object('id', 'turn' || :'t', 'status', 'in_progress', 'model', 'm',
    'created_at', extract(epoch FROM now())::bigint - 20, 'conversation', current_setting('msgstore.response_store') || :'t'));
SELECT msgstore.save_response(jsonb_build_object('id', 'used' || :'t', 'status', 'completed', 'model', 'secret' || :'t',
    'created_at', extract(epoch FROM now())::bigint - 30, 'usage', '{"total_tokens": 5}'::jsonb));
SELECT msgstore.append_response_events('turn' || :'t', '{"type": "secret"}') WHERE current_setting('msgstore.response_store') = 'durable';
SQL
my $probes_of_responses = <<'SQL';
SELECT msgstore.save_response('{"id": "resp-1b", "status": "completed", "model": "m", "created_at": 1}');
SELECT msgstore.get_response('resp-1b');
SELECT msgstore.get_response_conversation('durableb');
SELECT msgstore.create_response_conversation('{"id": "durableb"}') - 'created_at' WHERE current_setting('msgstore.response_store') = 'durable';
SELECT msgstore.list_conversation_items('durableb');
SELECT msgstore.save_response('{"id": "in-durableb", "status": "completed", "model": "m", "created_at": 1, "conversation": "durableb"}');
SELECT msgstore.delete_response_conversation('durableb'), msgstore.delete_response_conversation('durableb');
SELECT msgstore.get_conversation_item('memoryb', 'item');
SELECT msgstore.update_response_conversation('memoryb', '{}');
SELECT msgstore.add_conversation_items('memoryb', '[]');
SELECT msgstore.delete_conversation_item('memoryb', 'item');
SELECT msgstore.append_response_events('turnb', '{"type": "a"}');
SELECT msgstore.response_events('turnb');
SELECT msgstore.response_event_stream('turnb');
SELECT msgstore.response_with_chain('resp-2b');
SELECT model, response_count, total_tokens FROM msgstore.list_response_usage();
SELECT msgstore.hold_response('resp-2b');
SELECT msgstore.get_response('resp-1b');
SELECT msgstore.get_response_for_chain('resp-3b');
SELECT msgstore.response_chain('resp-2b');
SELECT msgstore.chain_items('resp-2b');
SELECT msgstore.branches('resp-1b');
SELECT msgstore.branches('resp-1a');
SELECT msgstore.response_chain('resp-2a');
SELECT msgstore.list_responses(), msgstore.list_responses('resp-1b'), msgstore.list_responses(NULL, 'resp-1b');
SELECT msgstore.response_input_items('resp-1b');
SELECT jsonb_path_query_array(msgstore.search_responses('secret'), '$.data[*].id');
SELECT msgstore.search_responses('secret', 'resp-1b');
SELECT msgstore.stale_responses('0 s');
SELECT msgstore.update_response('resp-1b', '{"status": "failed"}');
SELECT msgstore.delete_response('resp-1b');
SELECT msgstore.cancel_response('back-3b');
SELECT msgstore.save_background_request('back-3b', '{}');
SELECT msgstore.heartbeat_response('back-1b', 'worker-b');
SELECT id FROM msgstore.claim_response('worker-b');
SELECT id FROM msgstore.claim_response('worker-b');
SELECT msgstore.save_response('{"id": "leads-to-b", "status": "completed", "model": "m", "previous_response_id": "resp-1a"}');
SELECT msgstore.save_background('{"id": "back-4a", "status": "queued", "model": "m", "background": true}', '{}');
SELECT msgstore.cleanup_responses(10000000000), msgstore.purge_responses('-1 min');
SQL
sub in_both_stores
{
	my ($script, $responses) = @_;
	my $both = join '', map { "SET msgstore.response_store = $_;\n$responses" } qw(memory durable);
	return $script =~ s/^:responses\n/$both/mr;
}
$life = in_both_stores($life, $life_of_responses);

# All tenants draw numbers from one sequence: here each gets a range of its own.
session('tenant_b', 'shared', $life, t => 'b');
sql("SELECT setval('msgstore.conversations_number_seq', 500, false)", 'shared');
sql("UPDATE msgstore.conversation_rows SET number = number + 100000", 'shared');
sql("SELECT setval('msgstore.conversations_number_seq', 1, false)", 'shared');
sql("SELECT msgstore.set_tenant_limit('b', 7)", 'shared');
sql("INSERT INTO msgstore.slot_exceptions VALUES ('b', 1)", 'shared');
sql("SELECT msgstore._use_token(s, 'once', now() + interval '1 day') FROM msgstore.sources s", 'shared');
# Some changes of its conversations are merged, some are not.
sql('SELECT msgstore._merge_changes(2)', 'shared');
sql('SELECT msgstore._merge_usage()', 'shared');
sql("INSERT INTO msgstore.response_audit (tenant_id, event, caller, response_id, response_owner) VALUES ('b', 'secret', 'b', 'b', 'b')", 'shared');
sql("INSERT INTO msgstore.response_usage_changes SELECT 'b', gen_random_uuid(), 'secretb', current_date, 1, 1, 1, 1", 'shared');
session('tenant_b', 'shared', "SELECT msgstore.set_search_configuration('simple', 'sms')");
sql('SELECT msgstore._index_batch(1), msgstore._index_responses(1)', 'shared');
# Everything that b has in progress is overdue.
sql("UPDATE msgstore.event_claims SET expires_at = now() - interval '1 hour';
	UPDATE msgstore.outbox SET next_attempt_at = now() - interval '1 hour' WHERE next_attempt_at IS NOT NULL;
	UPDATE msgstore.responses SET worker_heartbeat = now() - interval '1 hour' WHERE worker_heartbeat IS NOT NULL;
	SELECT backdate('%', now() - interval '1 hour');
	UPDATE msgstore.dead_letters SET died_at = now() - interval '1 hour';
	UPDATE msgstore.delivery_statuses SET received_at = now() - interval '1 hour'", 'shared');
sql("INSERT INTO msgstore.attachments (tenant_id, id, message_id, position, kind, name, url, source, next_fetch_at)
	SELECT tenant_id, 'bbbbbbbb-bbbb-8bbb-8bbb-bbbbbbbbbbbb', id, 1, 'attachment', 'secret', 'http://x/secret', 'secret', now() FROM msgstore.event_log
	WHERE tenant_id = 'b' AND provider_message_id = 'only-b';
	INSERT INTO msgstore.message_parts VALUES ('b', 'secret', sha256('ref'), 1, 2, 'secret', 'secret', 'sms', '{}');
	INSERT INTO msgstore.thread_ids SELECT tenant_id, 'secret', sha256('secret'), id, true, 'secret', '{secret}', '{secret}'
	FROM msgstore.event_log WHERE tenant_id = 'b' AND provider_message_id = 'only-b'", 'shared');
my $problems = session('tenant_b', 'shared', "SELECT * FROM msgstore.check() WHERE finding <> 'old event in queue'");
is($problems, '', 'b has consistent data');
# From here on, b is fenced.
sql("SELECT msgstore.fence_tenant('b')", 'shared');
for my $database (qw(alone shared))
{
	is(session('tenant_a', $database, $life, t => 'a'), '', "a has the same data in database $database");
}
cmp_ok(sql("SELECT count(*) FROM msgstore.$_ WHERE tenant_id = 'b'", 'shared'), '>', 0, "b has rows in $_")
  for split /\n/, sql("SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND attname = 'tenant_id'
	WHERE relnamespace = 'msgstore'::regnamespace AND relkind = 'r'
		AND relname NOT IN ('purge_skipped', 'operations_log')", 'shared');

# What a knows: the names of everything that b has.
sub of_b { return sql($_[0], 'shared') }
my %b = (
	notification => of_b("SELECT id FROM msgstore.notifications WHERE tenant_id = 'b' LIMIT 1"),
	event => of_b("SELECT id FROM msgstore.event_log WHERE tenant_id = 'b' AND provider_message_id = 'only-b'"),
	refused => of_b("SELECT id FROM msgstore.refused_events WHERE tenant_id = 'b'"),
	claimed => of_b("SELECT event_id FROM msgstore.event_claims WHERE tenant_id = 'b' LIMIT 1"),
	dead => of_b("SELECT event_id FROM msgstore.dead_letters WHERE tenant_id = 'b' AND direction = 'inbound'"),
	message => of_b("SELECT message_id FROM msgstore.outbox WHERE tenant_id = 'b' AND sender_id IS NOT NULL"),
	went => of_b("SELECT message_id FROM msgstore.deliveries WHERE tenant_id = 'b' AND provider_message_id = 'prov-b'"),
	conversation => of_b("SELECT id FROM msgstore.conversations WHERE tenant_id = 'b' ORDER BY number LIMIT 1"),
	number => of_b("SELECT min(number) FROM msgstore.conversations WHERE tenant_id = 'b'"),
	prefix => of_b("SELECT prefix FROM msgstore.api_keys WHERE tenant_id = 'b'"),
	position => of_b("SELECT max(global_position) FROM msgstore.stream_events WHERE tenant_id = 'b' AND stream = 'order-b'"));
($b{page}) = session('tenant_b', 'shared', "SELECT msgstore.list_conversations(1, 1) #>> '{meta,next_cursor}'") =~ /(\S+)/;
($b{place}) = session('tenant_b', 'shared', "SELECT msgstore.list_messages('$b{number}', 1, 1) #>> '{meta,next_cursor}'") =~ /(\S+)/;
($b{key}) = session('tenant_b', 'shared', "SELECT msgstore.create_api_key('b', '{read}')") =~ /(mk_\w+)/;
is(join(' ', grep { $b{$_} !~ /^\S+$/ } sort keys %b), '', 'b has a row for each of them');

# b refers to rows of a, and the rows of b are damaged.
session('tenant_b', 'shared', <<'SQL');
SELECT msgstore.append(s, 'Late', '{}') FROM unnest(ARRAY['order-1', 'order-9', 'onlyb-9']) s;
SELECT msgstore.save_response('{"id": "branch-of-a", "status": "completed", "model": "secret", "previous_response_id": "resp-1a"}');
SET msgstore.response_store = memory;
SELECT msgstore.save_response('{"id": "branch-of-a", "status": "completed", "model": "secret", "previous_response_id": "resp-1a"}');
SQL
sql(<<'SQL', 'shared');
UPDATE msgstore.conversation_activity SET message_count = 99 WHERE tenant_id = 'b';
UPDATE msgstore.messages SET conversation_id = msgstore.uuid7() WHERE tenant_id = 'b' AND inbound_event_id IS NOT NULL;
DELETE FROM msgstore.event_queue WHERE event_id = (
    SELECT id FROM msgstore.event_log WHERE tenant_id = 'b' AND provider_message_id = 'strict-3');
INSERT INTO msgstore.event_queue (tenant_id, event_id) SELECT 'b', msgstore.uuid7();
INSERT INTO msgstore.event_queue (tenant_id, event_id) SELECT tenant_id, event_id FROM msgstore.dead_letters WHERE tenant_id = 'b' AND direction = 'inbound';
INSERT INTO msgstore.event_claims SELECT 'b', msgstore.uuid7(), 'p', now(), now(), now();
INSERT INTO msgstore.event_failures SELECT 'b', msgstore.uuid7(), 1, 'E', 'm', now(), '[]';
INSERT INTO msgstore.id_conflicts SELECT 'b', msgstore.uuid7(), '', '';
INSERT INTO msgstore.dead_letters SELECT 'b', msgstore.uuid7(), 'inbound', 1, 'E', 'm', now(), '[]';
INSERT INTO msgstore.outbox SELECT 'b', msgstore.uuid7();
INSERT INTO msgstore.deliveries SELECT 'b', msgstore.uuid7(), 'sms', 'x', msgstore.uuid7(), 'p', 'sent', now();
INSERT INTO msgstore.delivery_statuses SELECT 'b', msgstore.uuid7(), 'sms', 'y', 'sent', NULL, now();
SQL
cmp_ok(sql("SET msgstore.tenant_id = 'b'; SELECT count(DISTINCT finding) FROM msgstore.check()", 'shared'), '>', 8, 'check() has many findings for b');

sql('SELECT msgstore.index_responses()', $_) for qw(alone shared);

# a calls every function, first those that read.
my $probes = <<'SQL';
SELECT msgstore.list_conversations(), msgstore.list_conversations(1, 1), msgstore.list_conversations(1, 50, :'page');
SELECT msgstore.list_conversations(label => 'vip', reader => 'ann'), msgstore.list_conversations(state => 'open', assignee => 'ann');
SELECT msgstore.list_conversations(label => 'b'), msgstore.list_conversations(contact_name => 'secret', reader => 'ann', unread => true);
SELECT msgstore.search_messages('secret', max_results => 50) -> 'items', msgstore.search_conversations('1555') -> 'items';
SELECT msgstore.search_messages('secret', conversation => :'number');
SELECT waiting FROM msgstore.search_status();
SELECT msgstore.get_conversation(c, 'ann') FROM unnest(ARRAY[:'conversation', :'number']) c;
SELECT msgstore.list_messages(c) FROM unnest(ARRAY[:'conversation', :'number', 'nothing']) c;
SELECT msgstore.list_messages(:'conversation');
SELECT msgstore.list_messages('1', 1, 50, :'place');
SELECT msgstore.list_messages(:'number');
SELECT jsonb_strip_nulls(to_jsonb(e) - 'global_position') FROM msgstore.read_stream('order-1') e;
SELECT msgstore.read_stream('order-b'), msgstore.read_stream('onlyb-1');
SELECT msgstore.wait_for_changes() -> 'changes', msgstore.wait_for_changes('3:3:', '0') -> 'changes';
SELECT to_jsonb(e) - 'global_position' FROM msgstore.read_stream_backwards('order-1', 1) e;
SELECT msgstore.read_stream_backwards('order-b');
SELECT to_jsonb(e) - 'global_position' FROM msgstore.read_category('order') e;
SELECT to_jsonb(e) - 'global_position' FROM msgstore.read_category('order', 0, 100, 1, 2) e;
SELECT to_jsonb(e) - 'global_position' FROM msgstore.read_all() e;
SELECT to_jsonb(e) - 'global_position' FROM msgstore.read_query('{"tags": ["shared"]}') e;
SELECT count(*) FROM msgstore.read_query('{"tags": ["of b"]}');
SELECT stream, depth FROM msgstore.trace('shared');
SELECT stream, depth FROM msgstore.causation_tree('11111111-1111-4111-8111-111111111111');
SELECT stream, version FROM msgstore.append_if('[{"stream": "order-1", "type": "If", "data": {}}]', '{"tags": ["of b"]}');
SELECT msgstore.read_category('onlyb'), msgstore.wait_for_events('onlyb', 0, '10 ms');
CALL msgstore.await_events('onlyb', 0, '10 ms');
SELECT msgstore.event_page('onlyb'), (SELECT count(*) FROM jsonb_path_query(msgstore.event_page(), '$.events[*]'));
SELECT msgstore.stream_page('order-b');
SELECT msgstore.stream_page('order-1') ->> 'version';
SELECT tenant_id, name, category, members, lag_events, parked_events FROM msgstore.list_subscriptions();
SELECT member FROM msgstore.list_members('sub');
SELECT msgstore.list_members('sub-b');
SELECT msgstore.wait_for('sub-b', 0, '0');
SELECT msgstore.wait_for('sub', 0, '0');
SELECT msgstore.fetch_page('sub-b');
SELECT (SELECT count(*) FROM jsonb_path_query(msgstore.fetch_page('sub'), '$.events[*]'));
SELECT msgstore.stream_version(s), msgstore.count_events(s), msgstore.stream_state(s) FROM unnest(ARRAY['order-1', 'order-b', 'nothing-1']) s;
SELECT to_jsonb(e) - 'global_position' FROM msgstore.last_event('order-1', 'Opened') e;
SELECT msgstore.last_event('order-b');
SELECT msgstore.list_streams(), msgstore.list_streams('onlyb'), msgstore.list_streams(NULL, 'only');
SELECT msgstore.latest_position() = (SELECT max(global_position) FROM msgstore.read_all());
SELECT msgstore.latest_event_id() = (SELECT event_id FROM msgstore.read_all() ORDER BY global_position DESC LIMIT 1);
SELECT msgstore.stream_category('order-b'), msgstore.merge_patch('{}', '{}'), msgstore.fold('{}'), msgstore.last_known(1);
SELECT msgstore.get_snapshot('snap') - 'created_at';
SELECT msgstore.get_snapshot('snap-b');
SELECT snapshot_id FROM msgstore.list_snapshots();
SELECT to_jsonb(e) - ARRAY['global_position'] FROM msgstore.load_host_events('host-1') e;
SELECT msgstore.load_host_events('host-b');
SELECT msgstore.host_version('host-b'), msgstore.host_sequence('host-b'), msgstore.count_host_events('host-b'), msgstore.list_host_ids();
SELECT msgstore.latest_host_event_id(), msgstore.list_hosts();
SELECT msgstore.host_by_id('host-b');
SELECT msgstore.host_by_ip_and_hostname('10.0.0.2', 'host-b'), msgstore.search_hosts('{"query": "host"}');
SELECT msgstore.hosts_at(now()), msgstore.hosts_health(), msgstore.validate_host('{}');
SELECT msgstore.new_ulid() < msgstore.ulid_after(msgstore.new_ulid());
SELECT msgstore.metrics() - ARRAY['ts_unix_ms', 'oldest_event_age_us'];
SELECT jsonb_path_query_array(msgstore.metrics_detail(), '$.*');
SELECT to_jsonb(m) - 'tenant_oldest_event_age_us' FROM msgstore.channel_metrics() m;
SELECT tenant_id, part FROM msgstore.storage_by_tenant();
SELECT msgstore.latency_histogram();
SELECT msgstore.recount();
SELECT finding, severity FROM msgstore.readiness();
SELECT msgstore.read_payload('{"of": "a"}');
SELECT * FROM msgstore.check();
SELECT prefix = :'prefix', tenant_id FROM msgstore.list_api_keys();
SELECT msgstore.authenticate(:'key');
SELECT msgstore.has_api_keys();
SELECT msgstore.readiness();
SELECT msgstore.tenant_limit('b');
SELECT msgstore.list_tenant_limits();
SELECT msgstore.set_tenant_limit('b', 1);
SELECT msgstore.default_slot('b', 4), msgstore.tenant_slot('a');
SELECT msgstore.tenant_slot('b');
SELECT msgstore.slot_map();
SELECT msgstore.set_slot(0, 4);
SELECT msgstore.set_slot_map(1, '{"b": 2}');
SELECT msgstore.fence_tenant('b');
SELECT msgstore.wait_for_fence('b');
SELECT msgstore.unfence_tenant('b');
SELECT msgstore.tenant_publication('b');
SELECT msgstore.tenant_digest('b');
SELECT msgstore.export_tenant('b');
SELECT msgstore.import_tenant('b', '{}');
SELECT msgstore.align_sequences('b');
CALL msgstore.drop_tenant('b');
SELECT msgstore.publish_settings(1, '{"sources": []}');
SELECT msgstore.create_api_key('b', '{operate}');
SELECT msgstore.revoke_api_key(:'prefix');
SELECT msgstore.replay(jsonb_build_object('event_ids', jsonb_build_array(:'event')), true);
SELECT msgstore.replay(jsonb_build_object('conversation', :'number'), true);
SELECT msgstore.replay(jsonb_build_object('conversation', :'conversation'), true);
SELECT * FROM msgstore.purge('0 s', true);
SELECT msgstore.requeue_dead_letters(dry_run => true), msgstore.requeue_dead_letters(event_ids => ARRAY[:'dead'::uuid], dry_run => true);
-- What changes things.
SELECT msgstore.ingest('sms', '{"from": "+1555", "to": "+1556", "timestamp": "2024-11-01T14:00:00Z", "body": "b", "messaging_provider_id": "only-b"}', 'key-only-b');
SELECT * FROM msgstore.ingest_batch('[{"channel": "sms", "payload": {"from": "+1555", "to": "+1556", "timestamp": "2024-11-01T14:00:00Z", "body": "b", "messaging_provider_id": "late-b"}},
    {"channel": "sms", "payload": {"messaging_provider_id": "only-b"}}]');
SELECT msgstore.send('sms', '{"from": "+15550002", "to": "+15550001", "timestamp": "2024-11-01T14:00:00Z", "body": "secret 1"}', 'send-b');
SELECT msgstore.update_conversation(:'conversation', '{"state": "closed"}');
SELECT msgstore.update_conversation(:'number', '{"state": "closed"}');
SELECT msgstore.mark_read(:'conversation', 'ann');
SELECT msgstore.mark_unread(:'number', 'ann');
SELECT msgstore.read_payload('{}'), msgstore.resubmit_refused(:'refused');
SELECT msgstore.requeue(:'dead'), msgstore.requeue(:'event');
SELECT msgstore.requeue_dead_letters(event_ids => ARRAY[:'dead'::uuid]);
SELECT msgstore.heartbeat('proc-b'), msgstore.heartbeat_outbound('sender-b');
SELECT msgstore.complete('proc-b', ARRAY[:'claimed'::uuid]);
SELECT msgstore.complete('proc-a', ARRAY[:'claimed'::uuid]);
SELECT msgstore.fail('proc-b', :'claimed', 'E', 'no');
SELECT msgstore.fail('proc-b', :'event', 'E', 'no');
SELECT msgstore.sent(:'message', 'x', 'sender-b');
SELECT msgstore.sent(:'went', 'prov-b');
SELECT msgstore.send_failed(:'message', 'E', 'no', 'sender-b');
SELECT msgstore.record_answer('sender-b', :'message', 200, '', '{}');
SELECT msgstore.record_notification('sender-b', :'notification', 200);
SELECT msgstore.record_status('sms', 'prov-b', 'failed');
SELECT * FROM msgstore.record_status('sms', 'prov-unknown-b', 'failed');
SELECT msgstore.reap_stale(), msgstore.reap_outbound(), msgstore.reap_responses('1 s');
SELECT body FROM msgstore.claim_outbound('sender-b', 100) ORDER BY body;
SELECT provider_message_id FROM msgstore.claim('proc-b', 100) ORDER BY 1;
SELECT msgstore.heartbeat('proc-b');
SELECT msgstore.complete('proc-b', ARRAY(SELECT id FROM msgstore.inbound_events WHERE processor_id = 'proc-b' AND channel = 'sms'));
SELECT msgstore.process();
SELECT msgstore.append('order-b', 'Opened', '{}', 0), msgstore.append('order-1', 'Changed', '{"more": 1}', event_id => '11111111-1111-4111-8111-111111111111');
SELECT msgstore.append('onlyb-1', 'Opened', '{}', 1);
SELECT stream, version FROM msgstore.append_batch('[{"stream": "onlyb-1", "type": "Opened", "data": {}, "expected_version": 0}]');
SELECT * FROM msgstore.compact_stream('order-b', '{}');
SELECT * FROM msgstore.compact_stream('onlyb-2', '{}');
SELECT msgstore.seek('sub-b', 0);
SELECT msgstore.rename_subscription('sub-b', 'sub-c');
SELECT msgstore.list_projections() IS NOT NULL;
SELECT msgstore.list_stream_retention();
SELECT msgstore.set_stream_retention('keptb');
SELECT msgstore.truncate_stream('onlyb-1', 2);
SELECT msgstore.tombstone_stream('onlyb-1');
SELECT msgstore.erase_events('onlyb-1'), msgstore.erase_events(data => '{"of": "secret of b"}');
SELECT intact, seals, events, removed, unsealed, problem FROM msgstore.verify_log();
SELECT msgstore.seal_log();
SELECT msgstore.pause_projection('sub-b');
SELECT msgstore.resume_projection('sub');
SELECT msgstore.rebuild_projection('sub-b');
SELECT msgstore.retry_parked('sub');
SELECT msgstore.create_projection('projection-b', 'order', 'pg_catalog.now');
SELECT msgstore.seek('sub', 0);
SELECT msgstore.rename_subscription('sub', 'sub-b');
SELECT msgstore.rename_subscription('sub-b', 'sub');
SELECT msgstore.create_subscription('sub-b', 'order');
SELECT msgstore.drop_subscription('sub-b');
SELECT msgstore.drop_subscription('sub-b');
SELECT msgstore.resize_subscription('sub-b', 3);
SELECT to_jsonb(e) - 'global_position' FROM msgstore.fetch('sub', 100, 0) e;
SELECT msgstore.fetch('sub-b');
SELECT msgstore.ack('sub-b', 1);
SELECT msgstore.park('sub', :'position', 'of b');
SELECT msgstore.park('sub-b', 1, 'of b');
SELECT reason FROM msgstore.list_parked('sub');
SELECT msgstore.list_parked('sub-b');
SELECT to_jsonb(e) - 'global_position' FROM msgstore.replay_parked('sub') e;
SELECT msgstore.replay_parked('sub-b');
SELECT msgstore.save_snapshot('{"snapshot_id": "snap-b", "hosts_content": "of a"}');
SELECT msgstore.get_snapshot('snap-b') - 'created_at';
SELECT msgstore.delete_snapshot('snap-b'), msgstore.apply_snapshot_retention(1, NULL);
SELECT msgstore.delete_snapshot('snap-b');
SELECT msgstore.append_host_events('host-b', '[{"type": "CommentUpdated", "new_comment": "c"}]');
SELECT aggregate_id, seq FROM msgstore.append_host_events('host-b', '[{"type": "HostCreated", "ip_address": "10.0.0.9", "hostname": "host-b"}]', '0');
SELECT aggregate_id, seq FROM msgstore.append_host_batch('[{"aggregate_id": "host-b", "events": [{"type": "CommentUpdated", "new_comment": "c"}]}]');
SELECT events_before, events_after FROM msgstore.compact_host('host-b');
SELECT msgstore.compact_host('host-c');
:responses
SELECT name, provider, has_secret FROM msgstore.list_accounts();
SELECT msgstore.rotate_account_secret('account-b', 'stolen');
SELECT msgstore.resume_account('account-b');
SELECT msgstore.drop_account('account-b');
SELECT msgstore.create_account('account-b', 'generic', '{sms}', base_url => 'http://x'), msgstore.drop_account('account-b');
SELECT count(*) FROM msgstore.claim_requests('sender-a', 100);
SELECT name, waiting FROM msgstore.list_destinations();
SELECT msgstore.rotate_destination_secret('destination-b');
SELECT msgstore.pause_destination('destination-b');
SELECT msgstore.resume_destination('destination-b', true);
SELECT msgstore.test_destination('destination-b');
SELECT msgstore.drop_destination('destination-b');
SELECT count(*) FROM msgstore.claim_notifications('sender-a', 100) WHERE destination <> 'destination-a';
SELECT msgstore.opt_in('sms', '+18888881'), msgstore.opt_out('sms', '+18888881'), msgstore.opt_in('sms', '+18888881');
SELECT msgstore.create_destination('destination-b', 'http://x') ~ '^whsec_';
SELECT msgstore.drop_destination('destination-b');
SELECT name, provider, signed FROM msgstore.list_sources();
SELECT msgstore.verify_signature('source-b', '{}', '');
SELECT msgstore.test_source('source-b', '{}', '');
SELECT msgstore.rotate_source_secret('source-b', 'stolen');
SELECT msgstore.drop_source('source-b');
SELECT status FROM msgstore.receive_webhook('wh_' || repeat('0', 40), 'POST', 'http://x/', '{}', '');
SELECT msgstore.webhook_limits('wh_' || repeat('0', 40));
SELECT msgstore.get_attachment('bbbbbbbb-bbbb-8bbb-8bbb-bbbbbbbbbbbb');
SELECT msgstore.claim_media('sender-b');
SELECT msgstore.record_media('sender-b', 'bbbbbbbb-bbbb-8bbb-8bbb-bbbbbbbbbbbb', 200, '', 'of a');
SELECT msgstore.fetch_attachment('bbbbbbbb-bbbb-8bbb-8bbb-bbbbbbbbbbbb');
SELECT path ~ '^wh_' FROM msgstore.create_source('source-b', 'twilio', 'of a');
SELECT msgstore.drop_source('source-b');
SELECT msgstore.set_search_configuration('english', 'sms', 'b');
SELECT msgstore.set_search_configuration('english', 'sms') > 0;
SELECT msgstore.index_messages();
SELECT msgstore.index_responses();
SELECT operation, phase FROM msgstore.list_operations();
SELECT msgstore.pause_workers('of a');
SELECT msgstore.resume_workers();
SELECT msgstore.rebuild_response_search();
SELECT msgstore.rebuild_search() > 0;
SELECT msgstore.add_handler('sms', 'pg_catalog.now');
SELECT msgstore.remove_handler('sms', 'pg_catalog.now');
SELECT msgstore.requeue_dead_letters(), msgstore.process();
SELECT events, added, changed, moved FROM msgstore.replay();
SELECT * FROM msgstore.erase_address('sms', '+15550001');
SELECT * FROM msgstore.purge('0 s', false, '{payloads,events,dead_letters}');
SELECT operation, event_count FROM msgstore.operations_log ORDER BY id;
SELECT msgstore.grant_access('tenant_a', 'operate');
SELECT msgstore.revoke_access('tenant_b');
SELECT msgstore.install_message_store();
SQL
$probes = in_both_stores($probes, $probes_of_responses);
my @public = split /\n/, sql("SELECT DISTINCT name FROM msgstore._access_rights() WHERE kind = 'function' AND name !~ '^_'", 'alone');
is(join(' ', grep { $probes !~ /\b$_\(/ } @public), '', 'every function of every level is called');

# a reads every table and view: whole, with filters that would look at hidden
# rows, in joins, with EXPLAIN.
my $looks = <<'SQL';
CREATE FUNCTION pg_temp.leak(row_seen text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS
$$ BEGIN RAISE NOTICE 'seen: %', row_seen; RETURN true; END $$;
SQL
for my $relation (split /\n/, sql("SELECT relname FROM pg_class WHERE relnamespace = 'msgstore'::regnamespace
	AND relkind IN ('r', 'v', 'p') ORDER BY 1", 'alone'))
{
	my $seen = $relation eq 'installed_objects' ? '1' : '(to_jsonb(r) - ARRAY[\'number\', \'global_position\', \'stream\'])::text';
	$looks .= <<"SQL";
\\echo $relation
SELECT count(*), string_agg($seen, ' ' ORDER BY $seen) FROM msgstore.$relation r;
SELECT count(*) FROM msgstore.$relation r WHERE r::text LIKE '%of b%' OR r::text LIKE '%only-b%';
SELECT count(*) FROM msgstore.$relation r WHERE pg_temp.leak($seen);
SELECT count(*) FROM msgstore.$relation r WHERE (r.tenant_id = 'b') AND pg_temp.leak(r.tenant_id);
SELECT count(*) FROM msgstore.$relation r RIGHT JOIN (VALUES (1)) v ON pg_temp.leak($seen);
SELECT count(*) FROM msgstore.$relation r JOIN pg_catalog.pg_class c ON c.relname = 'pg_class' AND 1 / (length(r::text) - length(r::text) + 1) = 1;
INSERT INTO msgstore.$relation SELECT * FROM msgstore.$relation;
UPDATE msgstore.$relation SET tenant_id = 'a';
DELETE FROM msgstore.$relation WHERE tenant_id = 'b';
EXPLAIN (COSTS OFF) SELECT count(*) FROM msgstore.$relation r;
COPY msgstore.$relation TO '/dev/null';
SELECT array_agg(attname::text) FROM pg_stats WHERE schemaname = 'msgstore' AND tablename = '$relation';
SQL
}
$looks .= "SELECT last_value FROM msgstore.$_;\nSELECT nextval('msgstore.$_');\n"
  for qw(conversations_number_seq stream_events_position_seq);

# Replaces IDs and times, which differ between the databases, by placeholders.
sub comparable
{
	my ($text) = @_;
	$text =~ s/$_/<of b>/g for map { quotemeta } grep { length > 7 } values %b;
	$text =~ s/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/<id>/g;
	$text =~ s/\b[0-9A-HJKMNP-TV-Z]{26}\b/<ulid>/g;
	$text =~ s/\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?([+-]\d\d(:\d\d)?|Z)?/<time>/g;
	# The quotation marks are doubled in a row.
	$text =~ s/("+)(created_at|completed_at|attempt_count)\1: \d+/$1$2$1: <n>/g;
	$text =~ s/"(tenant_oldest_event_age_us|lag_seconds|last_fetch)": [\d.]+/"$1": <n>/g;
	$text =~ s/park\('sub', '\d+'/park('sub', <n>/g;
	$text =~ s/\bpg_temp_\d+\b/pg_temp/g;
	$text =~ s/at position \d+/at position <n>/g;
	$text =~ s/("+changes"+: "+)[\\x0-9a-f]+/$1<changes>/g;
	$text =~ s/("prefix": ")[0-9a-f]{16}/$1<prefix>/g;
	return $text;
}

# All retries are due, of both tenants.
for my $database (qw(alone shared))
{
	sql('ANALYZE', $database);
	ok(eventually(sub { return sql("SELECT count(*) FROM msgstore.event_queue
			WHERE next_attempt_at > clock_timestamp() AND next_attempt_at < 'infinity'", $database) == 0 }),
		"all retries are due in database $database");
}
for my $case ([ 'tables', $looks ], [ 'functions', $probes ], [ 'tables again', $looks ])
{
	my ($name, $script) = @$case;
	my %printed;
	# Where a is alone, b's stream position must be one that no event has.
	$printed{$_} = comparable(session('tenant_a', $_, "\\set ECHO queries\n$script", %b,
			$_ eq 'alone' ? (position => 999999) : ()))
	  for qw(alone shared);
	my ($last) = $script =~ /^([^\n]*)\n\z/m;
	isnt(index($printed{$_}, $last), -1, "$name: the script ran to the end in database $_") for qw(alone shared);
	my @alone = split /\n/, $printed{alone};
	my @shared = split /\n/, $printed{shared};
	my @differ = grep { ($alone[$_] // '') ne ($shared[$_] // '') } 0 .. ($#alone > $#shared ? $#alone : $#shared);
	is(join("\n", map { "$alone[$_]\n$shared[$_]" } grep { defined } @differ[0 .. ($#differ > 4 ? 4 : $#differ)]),
		'', "$name: the same output as without b");
	unlike($printed{shared}, qr/of b(?!>)(?!%)/, "$name: nothing of b") if $name ne 'functions';
	append_to_file("$PostgreSQL::Test::Utils::log_path/$name.$_", $printed{$_}) for keys %printed;
}

$node->stop;
done_testing();
