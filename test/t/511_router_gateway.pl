# A gateway in front of a router: tenants of several slots, a slot that is down, a
# tenant that is being moved, and a router that restarts.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::Bin/..";
use MsgstoreCluster;
use MsgstoreGateway;
use PostgreSQL::Test::Utils;
use Test::More;

plan skip_all => 'PL/Proxy is not installed' unless has_plproxy();

# Without WAL senders, no commit waits for a standby.
my $node = start_router('router_gateway', 2, "wal_level = replica\nmax_wal_senders = 2\n");
# Tenants of slot 0 and of slot 1.
my %key = map {
	$_ => $node->safe_psql('postgres',
		"SELECT msgstore.create_api_key('$_', '{ingest,send,read,append,operate}')")
} qw(acme umbrella globex initech);
my %slot_of = (acme => 0, umbrella => 0, globex => 1, initech => 1);
$node->safe_psql('postgres', q{
	CREATE ROLE gateway LOGIN;
	SELECT msgstore.grant_access('gateway', 'operate');
	GRANT SET ON PARAMETER msgstore.tenant_id, msgstore.owner TO gateway});
my $gateway = MsgstoreGateway->new($node, user => 'gateway',
	env => { AUTH_ENABLED => 'on' });

sub with_key { return (Authorization => "Bearer $key{ $_[0] }") }

sub stored
{
	my ($tenant) = @_;
	return join '|', map {
		$node->safe_psql("slot$_", "SELECT count(*) FROM msgstore.event_log WHERE tenant_id = '$tenant'")
	} 0 .. 1;
}

# Each tenant's events are in its slot.
for my $tenant (sort keys %key)
{
	my $answer = $gateway->post('/api/webhooks/sms', inbound_sms($tenant), with_key($tenant));
	is($answer->{status}, 202, "an event of $tenant");
	$answer = $gateway->post('/api/webhooks/sms', inbound_sms($tenant), with_key($tenant));
	is($answer->{status}, 202, 'and the same again');
	is(stored($tenant), $slot_of{$tenant} ? '0|1' : '1|0', 'is stored once');
}
$node->safe_psql("slot$_", 'SELECT msgstore.process()') for 0 .. 1;
is($gateway->get('/api/conversations', with_key('globex'))->{json}{meta}{total}, 1, 'a list of a tenant');
is($gateway->post('/api/messages/sms', sms(), with_key('globex'))->{status}, 202, 'a message of a tenant');
is($gateway->get('/api/conversations/x1', with_key('globex'))->{status}, 404, 'an unknown conversation');
ok(eventually(sub { $gateway->get('/readyz')->{status} == 200 }), 'ready');

# Concurrent requests of all tenants share batches, each of one slot. While one slot
# refuses what it gets, the items of the other are stored once.
my $ids = 0;
sub post_mixed
{
	my ($rounds) = @_;
	my (@tenants, @requests);
	for (1 .. $rounds)
	{
		for my $tenant (sort keys %key)
		{
			push @tenants, $tenant;
			push @requests, MsgstoreGateway::post_bytes('/api/webhooks/sms',
				inbound_sms('mixed' . $ids++), with_key($tenant));
		}
	}
	my @answers = $gateway->parallel(@requests);
	my %accepted;
	$accepted{ $tenants[$_] } += $answers[$_]{status} == 202 for 0 .. $#answers;
	return (\%accepted, @answers);
}

sub count_all
{
	my ($tenant) = @_;
	my ($zero, $one) = split /\|/, stored($tenant);
	return $zero + $one;
}
my %before = map { $_ => count_all($_) } keys %key;
my ($accepted) = post_mixed(40);
is_deeply($accepted, { map { $_ => 40 } keys %key }, 'all of a mixed load are accepted');
is(count_all($_), $before{$_} + 40, "those of $_ are stored once") for sort keys %key;
is(stored($_), $slot_of{$_} ? '0|' . count_all($_) : count_all($_) . '|0', "in its slot") for sort keys %key;

# Waits for requests to gather behind a lock, so that batches are mixed for certain.
sub end_connections
{
	my ($database) = @_;
	$node->safe_psql('postgres', "ALTER DATABASE $database ALLOW_CONNECTIONS false");
	$node->safe_psql('postgres', qq{
		SELECT pg_terminate_backend(pid, 30000) FROM pg_stat_activity WHERE datname = '$database'});
}
end_connections('slot1');
%before = map { $_ => $node->safe_psql('slot0', "SELECT count(*) FROM msgstore.event_log WHERE tenant_id = '$_'") } qw(acme umbrella);
my @answers;
($accepted, @answers) = post_mixed(20);
is_deeply($accepted, { acme => 20, umbrella => 20, globex => 0, initech => 0 },
	'while a slot is down, the tenants of the other are served');
is( $node->safe_psql('slot0', "SELECT count(*) FROM msgstore.event_log WHERE tenant_id = '$_'"),
	$before{$_} + 20, "and the items of $_ are stored once") for qw(acme umbrella);
my ($refused) = grep { $_->{status} != 202 } @answers;
is($refused->{status}, 503, 'the others get 503');
is($refused->{json}{message}, 'slot 1 is not reachable', 'with the reason');
ok($refused->{headers}{'retry-after'}, 'and the time to try again');
is((grep { $_->{status} !~ /^(202|503)$/ } @answers), 0, 'and nothing else');
my $answer = $gateway->get('/api/conversations', with_key('globex'));
is($answer->{status}, 503, 'a list of a tenant of the slot is 503, too');
$answer = eventually(sub {
	my $ready = $gateway->get('/readyz');
	return $ready->{content} =~ /slot 1: not reachable/ ? $ready : undef;
});
is($answer->{status}, 200, 'a slot that is down does not make the gateway unready');
is($answer->{json}{status}, 'degraded', 'but degraded');
# Pages for operators have the slot in each item, and say who did not answer.
my $all = $node->safe_psql('postgres', q{SELECT msgstore.create_api_key('', '{operate,read,consume}')});
sub page { return $gateway->get($_[0], Authorization => "Bearer $all") }
is_deeply([ map { page("/api/$_")->{json}{unreachable_slots} } qw(dead-letters workers outbox status-reports operations) ],
	[ ([1]) x 5 ], 'pages without the slot that is down');
my ($found) = grep { $_->{subject} eq 'slot 1' } @{ page('/api/checks')->{json}{items} };
is($found->{finding}, 'slot not reachable', 'so does the check');
my $metrics = $gateway->get('/metrics', Accept => 'text/plain', with_key('acme'));
unlike($metrics->{content}, qr/slot_up/, 'a tenant does not see the slots');
my $sums = $node->safe_psql('postgres', q{SELECT m ->> 'slots_up' FROM msgstore.metrics() m});
is($sums, 1, 'metrics say how many slots are up');
is($node->safe_psql('postgres', 'SELECT count(*) FROM msgstore.slots() s WHERE NOT s.reachable AND s.slot = 1'),
	1, 'slots says which is not');

# It comes back without a restart of anything.
$node->safe_psql('postgres', 'ALTER DATABASE slot1 ALLOW_CONNECTIONS true');
is($gateway->post('/api/webhooks/sms', inbound_sms('back'), with_key('globex'))->{status},
	202, 'a slot that is back is used at once');

# Pages of all slots, and of a tenant.
for my $slot (0 .. 1)
{
	$node->safe_psql("slot$slot", qq{
		INSERT INTO msgstore.dead_letters
		SELECT (CASE $slot WHEN 0 THEN '{acme,umbrella}' ELSE '{globex,initech}' END::text[])[1 + n % 2], msgstore.uuid7(), 'inbound', 1, 'P0001', 'no',
		       '2024-01-01'::timestamptz + 2 * n * interval '1 s' + $slot * interval '1 s', '[]'
		FROM generate_series(1, 30) n;
		INSERT INTO msgstore.operations_log (tenant_id, operation, filter, event_count)
		SELECT 'globex', 'requeue', '{}', 0 WHERE $slot = 1});
}
my $letters = page('/api/dead-letters')->{json};
is($letters->{total}, 60, 'dead letters of all slots');
is(join(',', map { $_->{slot} } @{ $letters->{items} }), join(',', (1, 0) x 25), 'the latest first');
my $rest = page("/api/dead-letters?after=$letters->{items}[-1]{id}")->{json};
is(join(',', map { $_->{slot} } @{ $rest->{items} }), join(',', (1, 0) x 5), 'and those after them');
$letters = $gateway->get('/api/dead-letters', with_key('globex'))->{json};
is(scalar @{ $letters->{items} } . " of $letters->{total}", '15 of 15', 'dead letters of a tenant');
is(page('/api/dead-letters?after=00000000-0000-0000-0000-000000000000')->{json}{total}, 60, 'after one that does not exist');
is_deeply(page('/api/outbox')->{json}{items}[0]{slot}, 1, 'an outbox has its slot');
my ($operation) = @{ page('/api/operations')->{json}{items} };
is($operation->{slot}, 1, 'an operation, too');
is(page("/$_")->{status}, 200, "GET /$_")
  for qw(api/workers api/status-reports api/sources api/checks api/operations/running subscriptions metrics);
for my $refused ([ 'api/workers/pause', {} ], [ 'api/workers/resume', {} ], [ 'api/dead-letters/requeue', {} ])
{
	$answer = $gateway->post("/$refused->[0]", $refused->[1], Authorization => "Bearer $all");
	is($answer->{status}, 400, "POST /$refused->[0]");
	like($answer->{content}, qr/not available on the router|needs a tenant/, 'says why');
}
is(page('/api/conversations')->{status}, 400, 'a list needs a tenant');
$node->safe_psql("slot$_", 'TRUNCATE msgstore.dead_letters') for 0 .. 1;

# A commit that did not wait for the slot's standby is not acknowledged.
my ($unsafe, $unsafe_answer) = $gateway->post_without_standby($node, 'slot1', with_key('globex'));
is($unsafe_answer->{status}, 503, 'a commit whose wait is cancelled is not acknowledged');
like($gateway->log_text, qr/a commit did not wait for the synchronous standby/, 'the log says why');
$answer = $gateway->post('/api/webhooks/sms', inbound_sms($unsafe), with_key('globex'));
is($answer->{status}, 202, 'it is acknowledged when it is repeated');
ok($answer->{json}{duplicate}, 'and stored once');

# A node whose map is newer than the router's refuses the tenant. Nothing is stored,
# and the client is told to try again.
my $version = $node->safe_psql('postgres', q{SELECT map_version + 1 FROM msgstore.cluster});
$node->safe_psql('slot1', qq{SELECT msgstore.set_slot_map($version, '{"globex": 0}')});
$answer = $gateway->post('/api/webhooks/sms', inbound_sms('moving'), with_key('globex'));
is($answer->{status}, 503, 'a tenant that the slot does not have any more is 503');
ok($answer->{headers}{'retry-after'}, 'to be tried again');
is($gateway->post('/api/webhooks/sms', inbound_sms('staying'), with_key('initech'))->{status},
	202, 'other tenants of the slot are served');
$node->safe_psql('postgres', q{SELECT msgstore.add_exception('globex', 0)});
is($node->safe_psql('postgres', 'SELECT string_agg(error, $$,$$) FROM msgstore.publish()'),
	'', 'the map is published');
is($gateway->post('/api/webhooks/sms', inbound_sms('moved'), with_key('globex'))->{status},
	202, 'and the tenant is served by its new slot');
is($node->safe_psql('slot0', q{SELECT count(*) FROM msgstore.event_log WHERE tenant_id = 'globex'}),
	1, 'which has the event');
($accepted) = post_mixed(10);
is_deeply($accepted, { map { $_ => 10 } keys %key }, 'a mixed load with a moved tenant');

# A tenant that is fenced does not affect others in the same batch.
$node->safe_psql('slot0', q{SELECT msgstore.fence_tenant('umbrella')});
($accepted) = post_mixed(10);
is_deeply($accepted, { acme => 10, globex => 10, initech => 10, umbrella => 0 },
	'a tenant that is being moved is refused alone');
$node->safe_psql('slot0', q{SELECT msgstore.unfence_tenant('umbrella')});

# Sources are created in the router, and known to all slots once published.
my ($path) = split /\|/, $node->safe_psql('postgres', q{
	SELECT path FROM msgstore.create_source('forms', 'generic', tenant => 'initech', scheme => 'none')});
is($node->safe_psql('postgres', 'SELECT string_agg(error, $$,$$) FROM msgstore.publish()'), '', 'published');
is($node->safe_psql('slot1', q{SELECT count(*) FROM msgstore.list_sources()}), 1, 'the slot has the source');
$answer = $gateway->post("/api/webhooks/$path", '{}');
isnt($answer->{status}, 404, 'a webhook to its path reaches the slot');
is($gateway->post('/api/webhooks/wh_' . '0' x 40, '{}')->{status}, 404, 'another path is 404');

# Changes are told by the slots: a listener is sent away, and the next one told why.
$gateway->get('/api/events?timeout=1', with_key('initech'));
$answer = eventually(sub {
	my $told = $gateway->get('/api/events?timeout=1', with_key('initech'));
	return $told->{content} =~ /slots of a cluster/ ? $told : undef;
});
is($answer->{status}, 503, 'no live changes of a router');

# Sums and slots in the text for Prometheus, for who has no tenant.
$metrics = $gateway->get('/metrics', Accept => 'text/plain', Authorization => "Bearer $all");
like($metrics->{content}, qr/^msgstore_slot_up\{slot="1"\} 1$/m, 'metrics have a line for each slot');
my %seen;
is_deeply([ grep { $seen{$_}++ } $metrics->{content} =~ /^(msgstore_\S+) /mg ], [], 'and none twice');

# The router restarts; the gateway goes on.
$node->restart;
ok( eventually(sub {
		$gateway->post('/api/webhooks/sms', inbound_sms('again' . $ids++), with_key('initech'))->{status} == 202;
	}),
	'a restarted router is used again');
is(($gateway->stop)[0], 0, 'exit code 0');

# A slot hangs: its connections stay open, new ones are accepted, and nothing is answered.
my ($port, $relay) = start_relay($node);
$node->safe_psql('postgres',
	"ALTER SERVER msgstore OPTIONS (SET p1 '" . slot_connection($node, 'slot1', $port) . q{')});

sub start_with_timeout
{
	$gateway = MsgstoreGateway->new($node, user => 'gateway',
		env => { AUTH_ENABLED => 'on', DATABASE_QUERY_TIMEOUT_SECS => $_[0] });
	ok(eventually(sub { $gateway->log_text =~ /read the map of 2 slots/ }), 'the gateway has the map');
	return is($gateway->get('/api/conversations', with_key('initech'))->{status}, 200, 'the slot is served');
}

# Calls of the gateway that the router has not answered.
sub unanswered
{
	return $node->safe_psql('postgres', qq{
		SELECT count(*) FROM pg_stat_activity
		WHERE application_name = 'msgstore-gateway' AND state = 'active' AND query LIKE '%$_[0]%'});
}

# As many calls as are made for one batch at the same time.
start_with_timeout(60);
kill 'STOP', -$relay;
my @waiting = map { $gateway->connection } 1 .. 3;
for my $n (1 .. 3)
{
	MsgstoreGateway::syswrite_all($waiting[ $n - 1 ],
		MsgstoreGateway::post_bytes('/api/webhooks/sms', inbound_sms("hung$n"), with_key('initech')));
	ok(eventually(sub { unanswered('ingest_batch') == $n }), 'an event waits for the slot that hangs');
}
is($gateway->post('/api/webhooks/sms', inbound_sms('running'), with_key('acme'))->{status},
	202, 'those of another slot do not wait behind it');
kill 'CONT', -$relay;
for my $socket (@waiting)
{
	my $answer = $gateway->read_answer($socket);
	is($answer->{status}, 202, 'it is stored when the slot goes on') or diag $gateway->log_text;
}
# Now one connection to the router has called slot 0, and three others slot 1. Each goes on
# with its slot, so that no session of the router needs one in each slot.
for (1 .. 3)
{
	$gateway->post('/api/webhooks/sms', inbound_sms('own' . $ids++), with_key($_)) for qw(acme initech);
}
is( $node->safe_psql('postgres', q{
		SELECT count(*) FROM pg_stat_activity WHERE datname = 'slot0' AND query LIKE '%ingest_batch%'}),
	1, 'events of a slot are sent by the connection that has called it');
$gateway->stop;

# A call that got no answer in time is given up, by the router, too; and then the slot does
# not get all connections again.
start_with_timeout(1);
kill 'STOP', -$relay;
my $list = "GET /api/conversations HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer $key{initech}\r\n\r\n";
@answers = $gateway->parallel(($list) x 8);
is_deeply([ map { $_->{status} } @answers ], [ (503) x 8 ], 'lists of a slot that hangs');
ok((grep { $_->{content} =~ /slot 1 is not reachable/ } @answers) > 0, 'are refused once one was not answered');
like($gateway->log_text, qr/slot 1 does not answer/, 'the log says so');
is($gateway->get('/api/conversations', with_key('acme'))->{status}, 200, 'another slot is served');
ok(eventually(sub { unanswered('list_conversations') == 0 }), 'no session of the router waits for the slot any more');
kill 'CONT', -$relay;
ok(eventually(sub { $gateway->get('/api/conversations', with_key('initech'))->{status} == 200 }), 'the slot answers again');
like($gateway->log_text, qr/slot 1 answers again/, 'the log says so');
is(($gateway->stop)[0], 0, 'exit code 0');

done_testing();
