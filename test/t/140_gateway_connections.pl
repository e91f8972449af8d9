# Connections: within the limit every client is served, above it clients get 503
# at once. Slow clients and shutdown have time limits.
use strict;
use warnings FATAL => 'all';

use Cwd qw(abs_path);
use FindBin;
use lib "$FindBin::Bin/..";
use MsgstoreGateway;
use PostgreSQL::Test::Utils qw(append_to_file);
use Test::More;
use Time::HiRes qw(time);

my $node = start_cluster('connections');
my $gateway = MsgstoreGateway->new($node);
my $health = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
my ($answer, $start);

sub send_on { return MsgstoreGateway::syswrite_all(@_) }

# As many kept-alive connections as allowed, each with several requests.
my @kept;
for (1 .. 256)
{
	my $socket = $gateway->connection;
	send_on($socket, $health);
	$answer = $gateway->read_answer($socket);
	last if ($answer->{status} // 0) != 200;
	push @kept, $socket;
}
is(scalar @kept, 256, 'all connections within the limit are served');
for my $round (1 .. 3)
{
	$start = time;
	send_on(
		$kept[$_],
		MsgstoreGateway::post_bytes(
			'/api/webhooks/sms', inbound_sms("kept-$round-$_"))
	) for 0 .. $#kept;
	my @statuses = map { $gateway->read_answer($_)->{status} } @kept;
	is((grep { $_ == 202 } @statuses),
		256, "round $round: all of them are answered");
	cmp_ok(time - $start,
		'<', 20, 'and none waits for another one to disconnect');
}
is( $node->safe_psql(
		'postgres',
		"SELECT count(*) FROM msgstore.inbound_events WHERE provider_message_id LIKE 'kept-%'"
	),
	768,
	'and all events are stored');

# Further connections get 503 at once.
for (1 .. 44)
{
	$start = time;
	my $socket = $gateway->connection;
	send_on($socket, $health);
	$answer = $gateway->read_answer($socket);
	is($answer->{status}, 503, 'above the limit: 503');
	is($answer->{json}{code}, 'service_unavailable', 'with its code');
	cmp_ok($answer->{headers}{'retry-after'}, '>', 0, 'and Retry-After');
	is($answer->{headers}{connection},
		'close', 'and the connection is closed');
	cmp_ok(time - $start, '<', 10, 'at once');
}
send_on($kept[0], $health);
is($gateway->read_answer($kept[0])->{status}, 200, 'connections within the limit continue');

# A closed connection makes room for another one.
close pop @kept for 1 .. 10;
ok( eventually(
		sub {
			my $socket = $gateway->connection;
			send_on($socket, $health);
			return $gateway->read_answer($socket)->{status} == 200;
		}),
	'another connection is accepted');
cmp_ok($gateway->metrics->{http_connections_refused},
	'>=', 44, 'refused connections are counted');
@kept = ();

# An idle connection is closed after a while.
is(($gateway->stop)[0], 0, 'exit code 0');
$gateway = MsgstoreGateway->new(
	$node,
	env => {
		HTTP_KEEP_ALIVE_SECS => 1,
		HTTP_REQUEST_TIMEOUT_SECS => 2,
		HTTP_MAX_CONNECTIONS => 12
	});
my $socket = $gateway->connection;
send_on($socket, $health);
is($gateway->read_answer($socket)->{status}, 200, 'answered');
$start = time;
is(sysread($socket, my $nothing, 1), 0, 'an idle connection is closed');
cmp_ok(time - $start, '<', 5, 'after its time');

# Slow clients: silence, half a header, one header at a time, half a body, a body
# byte by byte. Others are served meanwhile, and each is cut off in time.
my $post =
  "POST /api/webhooks/sms HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
my %slow = (
	'nothing' => [ '', '' ],
	'half a header' => [ "GET /healthz HT", '' ],
	'a header that trickles' => [ "GET /healthz HTTP/1.1\r\nHost: x\r\n", "X: y\r\n" ],
	'half a body' => [ $post . "Content-Length: 100\r\n\r\n{", '' ],
	'a body that trickles' =>
	  [ $post . "Content-Length: 262144\r\n\r\n{", ' ' ],
	'chunks that trickle' =>
	  [ $post . "Transfer-Encoding: chunked\r\n\r\n", "1\r\n \r\n" ]);
my %left = map { $_ => $gateway->connection } keys %slow;
my %ended;
my $served = 1;
$start = time;
send_on($left{$_}, $slow{$_}[0]) for keys %left;
while (%left && time - $start < 15)
{
	my $readable = IO::Select->new(values %left);
	$readable->remove($readable->can_read(0.2));
	for my $what (keys %left)
	{
		# The expected answer when the time is over, or a closed connection.
		my $over = !$readable->exists($left{$what})
		  || (length $slow{$what}[1] && !send_on($left{$what}, $slow{$what}[1]));
		$ended{$what} = { socket => delete $left{$what}, after => time - $start } if $over;
	}
	$served &&= ($gateway->raw($health) // {})->{status} == 200;
}
ok($served, 'others are served meanwhile');
for my $what (sort keys %slow)
{
	cmp_ok($ended{$what}{after} // 15, '<', 6, "$what: ends in time");
	if ($what =~ /body|chunks/)
	{
		$answer = $gateway->read_answer($ended{$what}{socket});
		is($answer->{status}, 408, "$what: 408");
		is($answer->{json}{code}, 'request_timeout', "$what: its code");
	}
}
is( $node->safe_psql(
		'postgres',
		"SELECT count(*) FROM msgstore.inbound_events WHERE payload->>'body' IS NULL"
	),
	0,
	'nothing of it was stored');

# Connections held by slow bodies become free again.
my @slow = map { $gateway->connection } 1 .. 12;
send_on($_, $post . "Content-Length: 100\r\n\r\n{") for @slow;
ok( eventually(
		sub {
			my $one = $gateway->connection;
			send_on($one, $health);
			return ($gateway->read_answer($one) // {})->{status} == 200;
		}),
	'slow clients lose their connections');
@slow = ();

# A client that reads its answer slowly is cut off as well.
$node->safe_psql(
	'postgres', q{
	SELECT count(*) FROM generate_series(1, 50) AS g, msgstore.send('sms', jsonb_build_object(
		'from', '+15550001', 'to', '+15550002', 'body', repeat('x', 200000) || g, 'timestamp', '2024-11-01T14:00:00Z'))}
);
my ($large) =
  map  { $_->{id} }
  grep { $_->{message_count} == 50 }
  @{ $gateway->get('/api/conversations')->{json}{items} };
is( length $gateway->get("/api/conversations/$large/messages")->{content} >
	  10_000_000,
	1,
	'an answer of 10 MB is complete');
$socket = $gateway->connection;
send_on($socket,
	"GET /api/conversations/$large/messages HTTP/1.1\r\nHost: x\r\nX-Request-Id: reader\r\n\r\n"
);
$start = time;

until (grep { ($_->{request_id} // '') eq 'reader' } $gateway->log_lines)
{
	last if time - $start > 300;
	IO::Select->new($socket)->can_read(1) && sysread $socket, my $part, 1;
	Time::HiRes::sleep(0.1);
}
cmp_ok(time - $start, '<', 250, 'a client that reads byte by byte is cut off');

# A client that disconnects before its answer does no harm.
for (1 .. 20)
{
	my $gone = $gateway->connection;
	send_on(
		$gone,
		MsgstoreGateway::post_bytes(
			'/api/webhooks/sms', inbound_sms("gone-$_")));
	close $gone;
}
ok(eventually(sub { $gateway->get('/healthz')->{status} == 200 }),
	'the gateway is alive');
is(($gateway->stop)[0], 0, 'exit code 0');

# SIGTERM: requests in flight are answered, new ones are refused, and the gateway
# exits within five seconds. It does not depend on the end of civetweb's waits for
# input, two seconds each, which are endless here.
my $endless = abs_path(PostgreSQL::Test::Utils::tempdir()) . '/endless';
append_to_file("$endless.c", <<'EOF');
#define _GNU_SOURCE
#include <poll.h>
int poll(struct pollfd *files, nfds_t n, int timeout)
{
	struct timespec wait = {timeout / 1000, timeout % 1000 * 1000000L};
	return ppoll(files, n, timeout < 0 || timeout == 2000 ? 0 : &wait, 0);
}
EOF
is(system("cc -O1 -shared -fPIC -o $endless.so $endless.c"), 0, 'endless waits are built');
for my $signal ('TERM', 'INT')
{
	$gateway = MsgstoreGateway->new($node, env => { LD_PRELOAD => "$endless.so" });
	my ($idle, $silent) = map { $gateway->connection } 1 .. 2;
	for my $one ($idle, $silent)
	{
		send_on($one, $health);
		$gateway->read_answer($one);
	}
	my $locker = $node->background_psql('postgres');
	$locker->query_safe(
		'BEGIN; LOCK TABLE msgstore.event_log IN ACCESS EXCLUSIVE MODE');
	my @flying = map { $gateway->connection } 1 .. 10;
	send_on(
		$flying[$_],
		MsgstoreGateway::post_bytes(
			'/api/webhooks/sms', inbound_sms("flying-$signal-$_"))
	) for 0 .. $#flying;
	ok( eventually(
			sub {
				$node->safe_psql('postgres',
					"SELECT count(*) > 0 FROM pg_stat_activity WHERE application_name = 'msgstore-gateway' AND wait_event_type = 'Lock'"
				) eq 't';
			}),
		"$signal: requests are in flight");
	$start = time;
	kill $signal, $gateway->{pid};
	ok( eventually(
			sub { $gateway->log_text =~ /stopping on signal $signal/ }),
		"$signal: stopping is logged");
	send_on(
		$idle,
		MsgstoreGateway::post_bytes(
			'/api/webhooks/sms', inbound_sms("late-$signal")));
	$answer = $gateway->read_answer($idle);
	is($answer->{status}, 503, "$signal: a new request is refused");
	$locker->query_safe('ROLLBACK');
	$locker->quit;
	is( (grep { ($gateway->read_answer($_) // {})->{status} == 202 } @flying),
		10,
		"$signal: those in flight are answered");
	is($gateway->wait_exit, 0, "$signal: exit code 0");
	cmp_ok(time - $start, '<', 5, "$signal: within five seconds");
	like($gateway->log_text, qr/"message":"stopped"\}\n\z/,
		"$signal: the last line says so");
	is( $node->safe_psql(
			'postgres',
			"SELECT count(*) FROM msgstore.inbound_events WHERE provider_message_id LIKE 'flying-$signal-%'"
		),
		10,
		"$signal: they are stored");
}

# A hanging request, and those that wait for it, do not delay the shutdown.
$gateway = MsgstoreGateway->new($node);
my $locker = $node->background_psql('postgres');
$locker->query_safe(
	'BEGIN; LOCK TABLE msgstore.event_log IN ACCESS EXCLUSIVE MODE');
$socket = $gateway->connection;
send_on($socket,
	MsgstoreGateway::post_bytes('/api/webhooks/sms', inbound_sms('hanging')));
my @more = map { $gateway->connection } 1 .. 20;
ok( eventually(
		sub {
			$node->safe_psql('postgres',
				"SELECT count(*) > 0 FROM pg_stat_activity WHERE application_name = 'msgstore-gateway' AND wait_event_type = 'Lock'"
			) eq 't';
		}),
	'a request hangs');
send_on(
	$more[$_],
	MsgstoreGateway::post_bytes(
		'/api/webhooks/sms', inbound_sms("hanging-$_"))) for 0 .. $#more;
my ($code, $took) = $gateway->stop;
is($code, 0, 'the exit code is still 0');
cmp_ok($took, '<', 5, 'within five seconds');
is( (   grep { ($gateway->read_answer($_) // {})->{status} == 503 } $socket,
		@more),
	21,
	'and every client gets an answer');
$locker->query_safe('ROLLBACK');
$locker->quit;

done_testing();
