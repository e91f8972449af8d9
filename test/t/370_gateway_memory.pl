# The memory of the gateway is bounded: clients that do not read their large
# answers, or do not finish their bodies, get 503 beyond the limit, shut nobody
# out, and leave nothing behind.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::Bin/..";
use MsgstoreGateway;
use PostgreSQL::Test::Utils;
use Socket qw(MSG_DONTWAIT MSG_PEEK SOL_SOCKET SO_RCVBUF);
use Test::More;
use Time::HiRes qw(sleep time);

use constant MB => 1 << 20;

my $node = start_cluster('memory', "msgstore.workers = 1\n");
my ($gateway, $answer);

# A page of 5 MB in conversation 1, and a small one in conversation 2.
$node->safe_psql('postgres', q{
	SELECT count(*) FROM generate_series(1, 50) AS g, msgstore.send('sms', jsonb_build_object(
		'from', '+15550001', 'to', '+15550002', 'body', repeat('x', 100000) || g, 'timestamp', '2024-11-01T14:00:00Z'))});
$node->safe_psql('postgres', q{
	SELECT msgstore.send('sms', '{"from": "+15550001", "to": "+15550003", "body": "small", "timestamp": "2024-11-01T14:00:00Z"}')});
my $large = "GET /api/conversations/1/messages HTTP/1.1\r\nHost: x\r\n";

# Resident memory in MB.
sub rss
{
	my ($kb) = slurp_file("/proc/$gateway->{pid}/status") =~ /^VmRSS:\s+(\d+) kB/m;
	return int($kb / 1024);
}

sub launch
{
	my ($count, $bytes) = @_;
	my @sockets;
	for my $i (1 .. $count)
	{
		my $socket = $gateway->connection;
		setsockopt $socket, SOL_SOCKET, SO_RCVBUF, 4096;
		MsgstoreGateway::syswrite_all($socket, ref $bytes ? $bytes->($i) : $bytes);
		push @sockets, $socket;
	}
	return @sockets;
}

# Watches it for that long; returns the highest value.
sub peak
{
	my ($seconds, $peak) = (@_, 0);
	my $end = time + $seconds;
	while (time < $end)
	{
		my $now = rss();
		$peak = $now if $now > $peak;
		sleep 0.05;
	}
	return $peak;
}

sub others_are_served
{
	my ($what) = @_;
	my $start = time;
	is($gateway->get('/healthz')->{status}, 200, "$what: probes are answered");
	is($gateway->post('/api/webhooks/sms', inbound_sms($what))->{status}, 202, "$what: webhooks");
	cmp_ok(time - $start, '<', 3, "$what: at once");
	return;
}

sub memory_comes_back
{
	my ($what, $before) = @_;
	ok(eventually(sub { $gateway->metrics->{http_buffer_bytes} == 0 }, 60), "$what: nothing is in flight")
	  or diag $gateway->metrics->{http_buffer_bytes};
	ok(eventually(sub { rss() < $before + 30 }, 10), "$what: memory is given back")
	  or diag 'MB: ' . rss() . ", before: $before";
	return;
}

# 120 clients that read nothing, with the default limit of 128 MB. In addition to
# it there are the results of calls, at most five at a time.
my %env = (HTTP_MAX_CONNECTIONS => 200, HTTP_REQUEST_TIMEOUT_SECS => 3);
my $bound = 128 + 5 * 15 + 60;
$gateway = MsgstoreGateway->new($node, env => \%env, url => 'acquire_timeout=150');
others_are_served('before');
my $before = rss();
my @mute = launch(120, "$large\r\n");
my $peak = peak(1);
others_are_served('120 clients that do not read');
cmp_ok($gateway->metrics->{http_buffer_bytes}, '<=', 128 * MB, 'metrics: bytes in flight');
ok( eventually(
		sub {
			my $now = rss();
			$peak = $now if $now > $peak;
			return $gateway->metrics->{http_buffer_refused} > 80;
		},
		150),
	'most are refused')
  or diag $gateway->metrics->{http_buffer_refused};
note "MB: $before before, $peak at most";
cmp_ok($peak, '<', $bound, "120 clients that do not read: less than $bound MB");
my $refused;
ok( eventually(
		sub {
			($refused) = grep {
				recv $_, my $begin, 12, MSG_PEEK | MSG_DONTWAIT;
				$begin eq 'HTTP/1.1 503';
			} @mute;
			return $refused;
		}),
	'they get 503');
$refused = $gateway->read_answer($refused);
is($refused->{json}{message}, 'too much data is in flight', 'and are told why');
cmp_ok($refused->{headers}{'retry-after'}, '>', 0, 'with Retry-After');
memory_comes_back('120 clients that do not read', $before);
@mute = ();

# A client that reads gets all of it, also while another one does not: half of
# the limit is left to it.
my $refusals = $gateway->metrics->{http_buffer_refused};
@mute = launch(15, "${large}X-Forwarded-For: 192.0.2.1\r\n\r\n");
ok(eventually(sub { $gateway->metrics->{http_buffer_refused} > $refusals }), 'one client takes its share');
$answer = $gateway->get('/api/conversations/1/messages', 'X-Forwarded-For' => '192.0.2.2');
is($answer->{status}, 200, 'another client gets a large answer');
is(scalar @{ $answer->{json}{items} }, 50, 'all of it');
memory_comes_back('a client with its share', $before);
@mute = ();

# The same over and over: memory does not grow.
for my $round (1 .. 3)
{
	@mute = launch(60, sub { "${large}X-Forwarded-For: 192.0.2.$_[0]\r\n\r\n" });
	cmp_ok(peak(1), '<', $bound, "round $round: less than $bound MB");
	@mute = ();
}
memory_comes_back('three rounds', $before);
is(($gateway->stop)[0], 0, 'exit code 0');

# A smaller limit; an answer that can never fit says what to do.
$gateway = MsgstoreGateway->new($node, env => { %env, HTTP_MAX_BUFFER_BYTES => 8 * MB });
$answer = $gateway->get('/api/conversations/1/messages');
is($answer->{status}, 503, 'an answer larger than the limit');
is($gateway->get('/api/conversations/1/messages?pageSize=5')->{status}, 200, 'a smaller page');
is(($gateway->stop)[0], 0, 'exit code 0');

# Large bodies that are never finished.
$gateway = MsgstoreGateway->new($node,
	env => { %env, API_MAX_BODY_BYTES => 16 * MB, HTTP_MAX_BUFFER_BYTES => 64 * MB });
others_are_served('before bodies');
$before = rss();
my $post = "POST /api/webhooks/sms HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
my $part = ' ' x (2 * MB);
@mute = launch(60, $post . 'Content-Length: ' . 15 * MB . "\r\n\r\n{$part");
$peak = peak(1);
others_are_served('bodies that are not finished');
note "MB: $before before, $peak at most";
cmp_ok($peak, '<', 64 + 2 * 60 + 60, 'bodies that are not finished: bounded');
memory_comes_back('bodies that are not finished', $before);
@mute = ();
is(($gateway->stop)[0], 0, 'exit code 0');

# 300 bodies of one byte, with the default limits: they lose their connections
# within a second or two. So do bodies of chunks, and larger ones that trickle.
$gateway = MsgstoreGateway->new($node);
my %slow = (
	'a byte' => [ $post . "Content-Length: 100\r\n\r\n{", '' ],
	'a chunk' => [ $post . "Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n", "1\r\n \r\n" ],
	'a body that trickles' => [ $post . "Content-Length: 200000\r\n\r\n{" . ' ' x 20000, ' ' ]);
for my $what (sort keys %slow)
{
	my ($first, $next) = @{ $slow{$what} };
	my $start = time;
	@mute = launch(300, $first);
	my $served = eventually(
		sub {
			local $SIG{PIPE} = 'IGNORE';
			length $next && syswrite $_, $next for @mute;
			my $socket = $gateway->connection;
			MsgstoreGateway::syswrite_all($socket,
				MsgstoreGateway::post_bytes('/api/webhooks/sms', inbound_sms("among $what")));
			my $got = $gateway->read_answer($socket, 2);
			return $got && $got->{status} == 202;
		},
		15);
	ok($served, "300 times $what: another client is served");
	cmp_ok(time - $start, '<', 4, "300 times $what: soon");
	@mute = ();
}
is(($gateway->stop)[0], 0, 'exit code 0');

# A body that arrives at a reasonable speed is accepted even then.
$gateway = MsgstoreGateway->new($node, env => { HTTP_MAX_CONNECTIONS => 2 });
my @idle = launch(1, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
my $bytes = MsgstoreGateway::post_bytes('/api/webhooks/sms', inbound_sms('steady', body => 'y' x 200000));
my $socket = $gateway->connection;
for (my $at = 0; $at < length $bytes; $at += 20000)
{
	MsgstoreGateway::syswrite_all($socket, substr $bytes, $at, 20000);
	sleep 0.15;
}
is($gateway->read_answer($socket)->{status}, 202, 'a steady body is accepted while the limit is reached');
is(($gateway->stop)[0], 0, 'exit code 0');
done_testing();
