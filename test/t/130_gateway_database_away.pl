# The database goes away: requests get 503 with Retry-After, and the gateway
# recovers when it is back. No acknowledged event is lost.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::Bin/..";
use MsgstoreGateway;
use Test::More;
use Time::HiRes qw(time);

my $node = start_cluster('away', "msgstore.workers = 1\n");
my $gateway = MsgstoreGateway->new($node);
my $answer;

sub stored
{
	return $node->safe_psql('postgres',
		"SELECT count(*) FROM msgstore.inbound_events WHERE provider_message_id LIKE '$_[0]'"
	);
}

sub unavailable
{
	my ($answer, $what) = @_;
	is($answer->{status}, 503, "$what: 503");
	is($answer->{json}{code}, 'service_unavailable', "$what: its code");
	cmp_ok($answer->{headers}{'retry-after'} // 0,
		'>', 0, "$what: Retry-After");
	return;
}

is($gateway->post('/api/webhooks/sms', inbound_sms('before'))->{status},
	202, 'accepted while the database is up');
my $known = $gateway->metrics;

# While the database is away, requests that need it fail fast.
$node->stop('fast');
for my $request (
	[ POST => '/api/webhooks/sms', inbound_sms('away') ],
	[ POST => '/api/messages/sms', sms() ],
	[ GET => '/api/conversations' ],
	[ GET => '/api/conversations/1/messages' ],
	[ GET => '/readyz' ])
{
	my ($method, $path, $body) = @$request;
	my $start = time;
	$answer =
		$method eq 'POST'
	  ? $gateway->post($path, $body)
	  : $gateway->get($path);
	unavailable($answer, $path);
	cmp_ok(time - $start, '<', 5, "$path: without waiting");
}
is($gateway->get('/healthz')->{status}, 200, 'liveness does not need the database');
my $metrics = $gateway->metrics;
is($metrics->{database_up}, 0, 'database_up is 0');
is( $metrics->{events_ingested},
	$known->{events_ingested},
	'other metrics keep their values');
my @answers = $gateway->parallel(
	map {
		MsgstoreGateway::post_bytes('/api/webhooks/sms',
			inbound_sms("away-$_"))
	} 1 .. 50);
is((grep { $_->{status} == 503 } @answers), 50, 'fifty requests fail at once');

# A gateway can start meanwhile.
my $second = MsgstoreGateway->new($node);
unavailable($second->post('/api/webhooks/sms', inbound_sms('away')),
	'started without database');

# When the database is back, requests succeed without a restart.
$node->start;
for my $one ($gateway, $second)
{
	ok(eventually(sub { $one->get('/readyz')->{status} == 200 }),
		'ready again');
	is( $one->post('/api/webhooks/sms', inbound_sms("back-$one->{port}"))
		  ->{status},
		202,
		'accepted again');
}
is(stored('away%'), 0, 'requests with 503 stored nothing');
like(
	$gateway->log_text,
	qr/database is reachable again/,
	'the log says that the database is back');
is(() = $gateway->log_text =~ /could not connect/g,
	1, 'and logged the failure once');

# Idle connections that the server closed fail no request.
$node->safe_psql('postgres',
	"SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE application_name = 'msgstore-gateway'"
);
is($gateway->post('/api/webhooks/sms', inbound_sms('ended'))->{status},
	202, 'idle connections are checked before use');
is(($second->stop)[0], 0, 'exit code 0');

# Crashes under load: every acknowledged event is stored once.
my (%accepted, %asked);
for my $round (1 .. 5)
{
	my @names = map { "crash-$round-$_" } 1 .. 60;
	my @sockets = map { $gateway->connection } @names;
	for my $i (0 .. $#names)
	{
		MsgstoreGateway::syswrite_all(
			$sockets[$i],
			MsgstoreGateway::post_bytes(
				'/api/webhooks/sms', inbound_sms($names[$i])));
		$node->stop('immediate') if $i == 10 + 8 * $round;
	}
	for my $i (0 .. $#names)
	{
		$answer = $gateway->read_answer($sockets[$i]);
		$asked{ $answer->{status} }++;
		$accepted{ $names[$i] } = $answer->{json}{id}
		  if $answer->{status} == 202;
	}
	$node->start;
	eventually(sub { $gateway->get('/readyz')->{status} == 200 });
}
note join ', ', map { "$_: $asked{$_}" } sort keys %asked;
is_deeply(
	[ sort keys %asked ],
	[ 202, 503 ],
	'every request was answered with 202 or 503');
cmp_ok(scalar keys %accepted, '>', 0, 'some were accepted');
my %rows = map { split /\|/ } split /\n/,
  $node->safe_psql('postgres',
	"SELECT provider_message_id, id FROM msgstore.inbound_events WHERE provider_message_id LIKE 'crash-%'"
  );
is((grep { ($rows{$_} // '') ne $accepted{$_} } keys %accepted),
	0, 'every acknowledged event is there');

# Requests that got 503 are retried, and each event is stored once.
for my $name (
	map {
		my $r = $_;
		map { "crash-$r-$_" } 1 .. 60
	} 1 .. 5)
{
	$answer = $gateway->post('/api/webhooks/sms', inbound_sms($name));
	is($answer->{json}{id}, $accepted{$name}, 'with the same id')
	  if $accepted{$name};
}
is(stored('crash-%'), 300, 'all events once');

# A hanging statement ends by its timeout; other requests continue.
$gateway->stop;
$gateway =
  MsgstoreGateway->new($node, env => { DATABASE_QUERY_TIMEOUT_SECS => 1 });
my $locker = $node->background_psql('postgres');
$locker->query_safe(
	'BEGIN; LOCK TABLE msgstore.event_log IN ACCESS EXCLUSIVE MODE');
my $start = time;
unavailable($gateway->post('/api/webhooks/sms', inbound_sms('locked')),
	'a call that hangs');
cmp_ok(time - $start, '<', 5, 'ends in time');
$locker->query_safe('ROLLBACK');
$locker->quit;
is($gateway->post('/api/webhooks/sms', inbound_sms('locked'))->{status},
	202, 'then it is accepted');

# A server that does not answer at all is given up.
my $pid = $node->safe_psql('postgres',
	"SELECT pid FROM pg_stat_activity WHERE application_name = 'msgstore-gateway' ORDER BY state_change DESC LIMIT 1"
);
kill 'STOP', $pid;
$start = time;
unavailable($gateway->post('/api/webhooks/sms', inbound_sms('silent')),
	'a silent server');
cmp_ok(time - $start, '<', 10, 'is given up in time');
is($gateway->post('/api/webhooks/sms', inbound_sms('silent-2'))->{status},
	202, 'another connection serves the request');
kill 'CONT', $pid;

# When all connections are busy, waiting for one has a time limit.
$gateway->stop;
$gateway = MsgstoreGateway->new(
	$node,
	url => 'max_connections=1&acquire_timeout=1',
	env => { DATABASE_QUERY_TIMEOUT_SECS => 5 });
$locker = $node->background_psql('postgres');
$locker->query_safe(
	'BEGIN; LOCK TABLE msgstore.conversations IN ACCESS EXCLUSIVE MODE');
my $socket = $gateway->connection;
MsgstoreGateway::syswrite_all($socket,
	"GET /api/conversations HTTP/1.1\r\nHost: x\r\n\r\n");
ok( eventually(
		sub {
			$node->safe_psql('postgres',
				"SELECT count(*) FROM pg_stat_activity WHERE application_name = 'msgstore-gateway' AND wait_event_type = 'Lock'"
			) == 1;
		}),
	'the only connection waits for a lock');
$answer = $gateway->post('/api/webhooks/sms', inbound_sms('no connection'));
unavailable($answer, 'no connection');
is( $answer->{json}{message},
	'all database connections are busy',
	'the answer says why');
$locker->query_safe('ROLLBACK');
$locker->quit;
is($gateway->read_answer($socket)->{status},
	200, 'the waiting request is answered');

# Idle connections are closed after a while and opened again.
$gateway->stop;
$gateway =
  MsgstoreGateway->new($node, url => 'min_connections=0&idle_timeout=1');
is($gateway->post('/api/webhooks/sms', inbound_sms('aging'))->{status},
	202, 'posted');
ok( eventually(
		sub {
			$node->safe_psql('postgres',
				"SELECT count(*) FROM pg_stat_activity WHERE application_name = 'msgstore-gateway'"
			) == 0;
		}),
	'the idle connection is closed');
is($gateway->post('/api/webhooks/sms', inbound_sms('aging-2'))->{status},
	202, 'and another one is opened');

# Without the extension the gateway is alive, but not ready.
$node->safe_psql('postgres', 'DROP EXTENSION msgstore');
ok(eventually(sub { $gateway->get('/readyz')->{status} == 503 }),
	'not ready without the extension');
unavailable($gateway->get('/readyz'), 'without the extension');
is($gateway->get('/healthz')->{status}, 200, 'alive');
is($gateway->post('/api/webhooks/sms', inbound_sms('none'))->{status},
	500, 'a post is an internal error');
$node->safe_psql('postgres', 'CREATE EXTENSION msgstore');
ok(eventually(sub { $gateway->get('/readyz')->{status} == 200 }),
	'ready when it is back');
is($gateway->post('/api/webhooks/sms', inbound_sms('none'))->{status},
	202, 'and accepting requests');

is(($gateway->stop)[0], 0, 'exit code 0');
done_testing();
