# A gateway that calls the slots of a cluster without the router: it answers as through
# the router, also with an old map, and while a slot is down.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::Bin/..";
use MsgstoreCluster;
use MsgstoreGateway;
use MsgstoreSender;
use PostgreSQL::Test::Utils;
use Test::More;

plan skip_all => 'PL/Proxy is not installed' unless has_plproxy();

my $node = start_router('direct_slots', 2);
my %slot_of = (acme => 0, umbrella => 0, globex => 1, initech => 1);
my %key = map {
	$_ => router("SELECT msgstore.create_api_key('$_', '{ingest,send,read,responses,append,operate}')")
} keys %slot_of;
router(q{CREATE ROLE gateway LOGIN});
for my $database (qw(postgres slot0 slot1))
{
	$node->safe_psql($database, $_) for "SELECT msgstore.grant_access('gateway', 'operate')",
	  'GRANT SET ON PARAMETER msgstore.tenant_id, msgstore.owner TO gateway';
}
is(router('SELECT string_agg(error, $$,$$) FROM msgstore.publish()'), '', 'published');
my $routed = MsgstoreGateway->new($node, user => 'gateway', env => { AUTH_ENABLED => 'on' });
my $direct = MsgstoreGateway->new($node, user => 'gateway',
	env => { AUTH_ENABLED => 'on', DIRECT_SLOTS_ENABLED => 'true',
		API_BREAKER_ERROR_THRESHOLD => 1000000 });
ok(eventually(sub { $direct->log_text =~ /read the map of 2 slots/ }), 'the gateway has the map');

sub router { return $node->safe_psql('postgres', $_[0]) }
sub with_key { return (Authorization => "Bearer $key{ $_[0] }") }

my $ids = 0;
sub webhook
{
	my ($gateway, $tenant) = @_;
	return $gateway->post('/api/webhooks/sms', inbound_sms('direct' . $ids++), with_key($tenant));
}

sub stored
{
	my ($tenant) = @_;
	return join '|', map {
		$node->safe_psql("slot$_", "SELECT count(*) FROM msgstore.event_log WHERE tenant_id = '$tenant'")
	} 0 .. 1;
}

# What a client sees, without what differs between two requests.
sub seen
{
	my ($answer) = @_;
	return join "\n", $answer->{status}, $answer->{content},
	  map { "$_: " . ($answer->{headers}{$_} // '') } qw(content-type retry-after allow www-authenticate);
}

sub same
{
	my ($what, $method, $path, $headers, $body) = @_;
	my ($one, $other) = map { $_->request($method, $path, $headers, $body) } $routed, $direct;
	is(seen($other), seen($one), "$what: the same answer");
	return $one;
}

# The gateway computes the slot as the router does.
{
	my $root = "$FindBin::Bin/../..";
	my $directory = PostgreSQL::Test::Utils::tempdir();
	my ($include) = run_command([ 'pg_config', '--includedir' ]);
	my $exception = router(q{
		SELECT msgstore.add_exception('tenant é 7', 0); SELECT msgstore._cluster_map()});
	append_to_file("$directory/slot.c", <<'C');
#include <stdio.h>
#include <string.h>
#include "db/map.h"
int
main(int argc, char **argv)
{
	char name[300];
	SlotMap *map = map_parse(argv[argc - 1]);

	while (map != NULL && fgets(name, sizeof(name), stdin) != NULL)
	{
		name[strcspn(name, "\n")] = '\0';
		printf("%d\n", map_tenant_slot(map, name));
	}
	map_free(map);
	return 0;
}
C
	my $compiled = system("cc -D_GNU_SOURCE -I$root/gateway -I$include -o $directory/slot $directory/slot.c"
		  . " $root/gateway/db/map.c $root/gateway/text.c -lcjson -lpq -lcrypto") == 0;
	ok($compiled, 'the map is compiled');
	my ($map) = $exception =~ /^(\{.*)/m;
	my $names = 'SELECT CASE WHEN n > 1 THEN \'tenant é \' || n ELSE \'\' END AS tenant FROM generate_series(1, 1000) n ORDER BY n';
	append_to_file("$directory/names", router($names) . "\n");
	append_to_file("$directory/map", $map);
	my $slots = `$directory/slot "\$(cat $directory/map)" <$directory/names`;
	chomp $slots;
	is($slots, router("SELECT msgstore.tenant_slot(tenant) FROM ($names) t"), 'of 1,000 tenants');
	router(q{SELECT msgstore.drop_exception('tenant é 7')});
}

# Calls for a tenant do not need the router's functions.
router("REVOKE EXECUTE ON ROUTINE $_ FROM gateway") for 'msgstore.ingest_batch', 'msgstore.list_conversations', 'msgstore.send';
for my $tenant (sort keys %key)
{
	is(webhook($direct, $tenant)->{status}, 202, "an event of $tenant, directly");
	is(stored($tenant), $slot_of{$tenant} ? '0|1' : '1|0', 'is in its slot');
	is($direct->get('/api/conversations', with_key($tenant))->{status}, 200, 'a list');
	is($direct->post('/api/messages/sms', sms(), with_key($tenant))->{status}, 202, 'a message');
	isnt(webhook($routed, $tenant)->{status}, 202, 'and not through the router');
}
router("GRANT EXECUTE ON ROUTINE $_ TO gateway") for 'msgstore.ingest_batch', 'msgstore.list_conversations', 'msgstore.send';

# Answers and refusals.
my $json = { 'Content-Type' => 'application/json', with_key('globex') };
same($_->[0], 'POST', '/api/webhooks/' . ($_->[2] // 'sms'), $json, $_->[1]) for
  [ 'no JSON', '{' ], [ 'no object', '[]' ], [ 'no fields', '{}' ],
  [ 'a wrong type', '{"from": 1, "to": "+1", "type": "sms", "body": "x"}' ],
  [ 'an invalid time', '{"from": "+12016661234", "to": "+18045551234", "type": "sms", "messaging_provider_id": "t1", "body": "x", "timestamp": "never"}' ],
  [ 'a character that cannot be stored', '{"from": "+12016661234", "to": "+18045551234", "type": "sms", "messaging_provider_id": "t2", "body": "\u0000", "timestamp": "2024-11-01T14:00:00Z"}' ],
  [ 'an unknown channel', '{"from": "+12016661234"}', 'pigeon' ];
same("a message: $_", 'POST', '/api/messages/sms', $json, $_) for '{}', '{"from": "+1", "to": "", "body": "x"}';
same($_, 'GET', $_, {with_key('globex')}) for '/api/conversations?page=0', '/api/conversations?cursor=x',
  '/api/conversations/x1', '/api/conversations/018f0000-0000-7000-8000-000000000000/messages',
  '/v1/responses/resp_unknown', '/api/search/messages?q=', '/api/streams/unknown-1', '/api/nothing';
same('a status that is none', 'POST', '/api/webhooks/status', $json,
	'{"channel": "sms", "provider_message_id": "none", "status": 1}');
same('a key of nobody', 'GET', '/api/conversations', { Authorization => 'Bearer x' });
my $both = $routed->post('/api/webhooks/sms', inbound_sms('both'), with_key('globex'));
my $again = $direct->post('/api/webhooks/sms', inbound_sms('both'), with_key('globex'));
is($again->{json}{id}, $both->{json}{id}, 'an event that the router has stored');
ok($again->{json}{duplicate}, 'is a duplicate');

# Webhooks of a source are received by the slot of its tenant.
my ($path) = split /\|/, router(q{
	SELECT path FROM msgstore.create_source('forms', 'generic', tenant => 'initech', scheme => 'none')});
router('SELECT msgstore.publish()');
router('REVOKE EXECUTE ON ROUTINE msgstore.receive_webhook FROM gateway');
my $answer = $direct->post("/api/webhooks/$path", '{"id": 1}');
is($answer->{status}, 202, 'a webhook of a source reaches the slot');
router('GRANT EXECUTE ON ROUTINE msgstore.receive_webhook TO gateway');

# A status callback carries the tenant of its key to the slot that has the message.
my $id = $direct->post('/api/messages/sms', sms(body => 'called back'), with_key('globex'))->{json}{id};
$node->safe_psql('slot1', qq{
	SET msgstore.tenant_id = 'globex';
	SELECT msgstore.claim_outbound('test', 100);
	SELECT msgstore.sent('$id', 'pm-1')});
sub status_of_message { return $node->safe_psql('slot1', "SELECT status FROM msgstore.outbound_messages WHERE id = '$id'") }
for my $case ([ $routed, 'delivered', 'through the router' ], [ $direct, 'read', 'directly' ])
{
	my ($gateway, $status, $how) = @$case;
	is($gateway->post('/api/webhooks/status', { channel => 'sms', provider_message_id => 'pm-1', status => $status },
			with_key('globex'))->{status}, 202, "a status, $how");
	is(status_of_message(), $status, 'reaches the message');
}

# Changes of a tenant are those of its slot.
sub events
{
	my ($gateway, $tenant, $query) = @_;
	return $gateway->get("/api/events?timeout=20$query", with_key($tenant));
}
$node->safe_psql("slot$_", 'SELECT msgstore.process()') for 0 .. 1;
my $place = events($direct, 'globex', '')->{json}{next};
like($place, qr{^1/\d+:\d+:}, 'a position says its slot');
is(webhook($direct, 'globex')->{status}, 202, 'an event');
is(webhook($direct, 'initech')->{status}, 202, 'and one of another tenant');
$node->safe_psql("slot$_", 'SELECT msgstore.process()') for 0 .. 1;
my $changes = events($direct, 'globex', "&after=$place")->{json}{changes};
is_deeply([ map { $_->{kind} } @$changes ], ['message'], 'its change is told');
my $follower = $direct->connection;
MsgstoreGateway::syswrite_all($follower,
	"GET /api/events HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\nAuthorization: Bearer $key{globex}\r\n\r\n");
my $told = '';
eventually(sub { sysread $follower, $told, 65536, length $told; return $told =~ /event: ready/ });
like($told, qr{^id: 1/.*\nevent: ready}m, 'a client follows the tenant');

# A tenant that is being moved.
$node->safe_psql('slot1', q{SELECT msgstore.fence_tenant('globex')});
$answer = same('a fenced tenant', 'POST', '/api/webhooks/sms', $json,
	JSON::PP->new->utf8->encode(inbound_sms('fenced')));
is($answer->{status}, 503, 'is refused');
is($direct->get('/api/conversations', with_key('globex'))->{status}, 200, 'and can be read');
is(webhook($direct, 'initech')->{status}, 202, 'other tenants are served');
$node->safe_psql('slot1', q{SELECT msgstore.unfence_tenant('globex')});

# The slot knows that the tenant has left before the router does, then the router
# knows, too. The gateway's map is old in both cases.
$node->safe_psql('slot1', 'SELECT msgstore.process()');
my $old_rows = $direct->get('/api/conversations', with_key('globex'))->{json}{meta}{total};
my $version = router(q{SELECT map_version + 1 FROM msgstore.cluster});
$node->safe_psql('slot1', qq{SELECT msgstore.set_slot_map($version, '{"globex": 0}')});
$answer = webhook($direct, 'globex');
is($answer->{status}, 503, 'a tenant that has left, while the router does not know');
is($answer->{json}{message}, webhook($routed, 'globex')->{json}{message}, 'is refused as through the router');
is(webhook($direct, 'initech')->{status}, 202, 'other tenants are served');
router(q{SELECT msgstore.add_exception('globex', 0)});
is(router('SELECT string_agg(error, $$,$$) FROM msgstore.publish()'), '', 'the map is published');
is($direct->get('/api/conversations', with_key('globex'))->{json}{meta}{total}, 0,
	'a list is not that of the slot that it has left');
cmp_ok($old_rows, '>', 0, 'which still has rows');
is(webhook($direct, 'globex')->{status}, 202, 'an event is accepted at once');
is($node->safe_psql('slot0', q{SELECT count(*) FROM msgstore.event_log WHERE tenant_id = 'globex'}),
	1, 'by the new slot');
router("REVOKE EXECUTE ON ROUTINE msgstore.ingest_batch FROM gateway");
ok(eventually(sub { webhook($direct, 'globex')->{status} == 202 }), 'and directly, once the map is read again');
router("GRANT EXECUTE ON ROUTINE msgstore.ingest_batch TO gateway");

# Who follows the tenant begins again in its new slot.
ok(eventually(sub { my $got = sysread $follower, $told, 65536; return defined $got && $got == 0 }),
	'who follows the tenant is sent to its new slot');
$changes = events($direct, 'globex', "&after=$place")->{json};
is_deeply([ map { $_->{kind} } @{ $changes->{changes} } ], ['reset'], 'where its old position is not known');
like($changes->{next}, qr{^0/}, 'and it gets a new one');

# A connection that is lost during a call: it may have been committed.
{
	my $lock = $node->background_psql('slot1');
	$lock->query_safe('BEGIN; LOCK TABLE msgstore.event_log IN ACCESS EXCLUSIVE MODE');
	my $client = $direct->connection;
	my $request = MsgstoreGateway::post_bytes('/api/webhooks/sms', inbound_sms('lost'), with_key('initech'));
	MsgstoreGateway::syswrite_all($client, $request);
	my $waiting = q{FROM pg_stat_activity WHERE datname = 'slot1' AND wait_event_type = 'Lock'
		AND application_name = 'msgstore-gateway'};
	ok($node->poll_query_until('postgres', "SELECT count(*) = 1 $waiting"), 'a call waits');
	router("SELECT pg_terminate_backend(pid) $waiting");
	my $lost = $direct->read_answer($client);
	is($lost->{status}, 503, 'its connection is lost');
	is($lost->{json}{message}, 'slot 1 is not reachable', 'with the message of the router');
	$lock->quit;
	my $before = stored('initech');
	is($direct->raw($request)->{status}, 202, 'it can be repeated');
	isnt(stored('initech'), $before, 'and is stored then');
}

# A slot that is down.
router('ALTER DATABASE slot1 ALLOW_CONNECTIONS false');
router(q{SELECT pg_terminate_backend(pid, 30000) FROM pg_stat_activity WHERE datname = 'slot1'});
my (%accepted, @tenants, @requests);
for my $tenant ((sort keys %key) x 10)
{
	push @tenants, $tenant;
	push @requests, MsgstoreGateway::post_bytes('/api/webhooks/sms', inbound_sms('down' . $ids++), with_key($tenant));
}
my @answers = $direct->parallel(@requests);
$accepted{ $tenants[$_] } += $answers[$_]{status} == 202 for 0 .. $#answers;
is_deeply(\%accepted, { acme => 10, umbrella => 10, globex => 10, initech => 0 },
	'while a slot is down, the tenants of the other are served');
my ($refused) = grep { $_->{status} != 202 } @answers;
is($refused->{json}{message}, 'slot 1 is not reachable', 'and the others learn why');
ok($refused->{headers}{'retry-after'}, 'and when to try again');
same('a list while the slot is down', 'GET', '/api/conversations', {with_key('initech')});
router('ALTER DATABASE slot1 ALLOW_CONNECTIONS true');
is(webhook($direct, 'initech')->{status}, 202, 'it is back');

# A sender works in one slot, also if it knows only the router.
my $sender = start_sender($node, user => 'gateway', flags => [ '--slot', '1' ]);
ok( $node->poll_query_until('postgres', q{
		SELECT count(*) = 1 FROM pg_stat_activity WHERE datname = 'slot1' AND application_name = 'msgstore-sender'}),
	'a sender finds its slot by the map of the router');
is(($sender->stop)[0], 0, 'exit code 0');
$node->safe_psql('postgres', 'CREATE DATABASE alone');
$node->safe_psql('alone', 'CREATE EXTENSION msgstore');
for my $case (
	[ '2', 'postgres', qr/slot 2 does not exist: the cluster has 2 slots/ ],
	[ '0', 'slot1', qr/could not connect to slot 0: this database is slot 1/ ],
	[ '0', 'alone', qr/could not connect to slot 0: this database has no slot/ ])
{
	my ($slot, $database, $refusal) = @$case;
	my $refused = start_sender($node, flags => [ '--check', '--slot', $slot ], ends => 1,
		env => { DATABASE_URL => "postgresql:///$database?port=" . $node->port . '&host=' . MsgstoreGateway::escape($node->host) });
	is($refused->wait_exit, 1, "slot $slot is not in database $database");
	like($refused->log_text, $refusal, 'with the reason');
}

is(($_->stop)[0], 0, 'exit code 0') for $routed, $direct;

done_testing();
