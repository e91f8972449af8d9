# Attacks over HTTP, as listed in docs/security.md. None of them may return data,
# store anything, or keep other clients out.
use strict;
use warnings FATAL => 'all';

use FindBin;
use IPC::Open2;
use lib "$FindBin::Bin/..";
use MsgstoreGateway;
use Test::More;
use Time::HiRes qw(time);

my $node = start_cluster('attacks');
my $gateway = MsgstoreGateway->new($node);
my $hidden = "GET /healthz HTTP/1.1\r\nHost: x\r\nX-Request-Id: hidden\r\n\r\n";
my $answer;

sub stored
{
	return $node->safe_psql('postgres', 'SELECT count(*) FROM msgstore.inbound_events');
}

# All answers on one connection until it is closed or silent.
sub answers
{
	my ($bytes) = @_;
	my $socket = $gateway->connection;
	my $data = '';
	MsgstoreGateway::syswrite_all($socket, $bytes);
	while (IO::Select->new($socket)->can_read($data eq '' ? 10 : 0.5))
	{
		last if !sysread $socket, $data, 65536, length $data;
	}
	return $data;
}

sub statuses { return join ' ', answers($_[0]) =~ m{HTTP/1\.1 (\d+)}g }

# Request smuggling: two parsers would disagree about where the first request
# ends. The hidden request is never answered, and nothing is stored.
my $event = JSON::PP->new->encode(inbound_sms('smuggled'));
my $length = length $event;
my $chunked = sprintf("%x\r\n%s\r\n0\r\n\r\n", $length, $event);
my $top = "POST /api/webhooks/sms HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
my %smuggled = (
	'two lengths' => "Content-Length: $length\r\nContent-Length: 0\r\n\r\n$event",
	'two equal lengths' => "Content-Length: $length\r\nContent-Length: $length\r\n\r\n$event",
	'a list of lengths' => "Content-Length: $length, 0\r\n\r\n$event",
	'a length and chunks' => "Content-Length: $length\r\nTransfer-Encoding: chunked\r\n\r\n$chunked",
	'chunks and a length' => "Transfer-Encoding: chunked\r\nContent-Length: $length\r\n\r\n$chunked",
	'a length with a blank before its colon' => "Content-Length : $length\r\n\r\n$event",
	'chunks with a blank before the colon' => "Transfer-Encoding : chunked\r\n\r\n$chunked",
	'chunks with a tab before the colon' => "Transfer-Encoding\t: chunked\r\n\r\n$chunked",
	'a coding of no name' => "Transfer-Encoding:\r\n chunked\r\n\r\n$chunked",
	'identity' => "Transfer-Encoding: identity\r\n\r\n$event",
	'identity and a length' => "Transfer-Encoding: identity\r\nContent-Length: $length\r\n\r\n$event",
	'a coding like chunked' => "Transfer-Encoding: xchunked\r\n\r\n$chunked",
	'a list of codings' => "Transfer-Encoding: chunked, identity\r\n\r\n$chunked",
	'a length behind a folded line' => "X: y\r\n z\r\nContent-Length: $length\r\n\r\n$event",
	'a length behind a line without a name' => "X: y\r\n: z\r\nContent-Length: $length\r\n\r\n$event",
	'a folded length' => "Content-Length:\r\n $length\r\n\r\n$event",
	'a length behind a bare line feed' => "X: y\nContent-Length: $length\r\n\r\n$event",
	'a length behind a bare carriage return' => "X: y\rContent-Length: $length\r\n\r\n$event",
	'a length with a sign' => "Content-Length: +$length\r\n\r\n$event",
	'a length in hex' => sprintf("Content-Length: 0x%x\r\n\r\n%s", $length, $event),
	'a length of 2^64 and more' => "Content-Length: 18446744073709551616\r\n\r\n$event",
	'chunks with a sign' => "Transfer-Encoding: chunked\r\n\r\n+$chunked",
	'chunks with 0x' => "Transfer-Encoding: chunked\r\n\r\n0x$chunked",
	'chunks with a blank' => "Transfer-Encoding: chunked\r\n\r\n $chunked",
	'chunks of 2^64 and more' => "Transfer-Encoding: chunked\r\n\r\n1000000000000000$chunked",
	'chunks with an extension that hides a line' => "Transfer-Encoding: chunked\r\n\r\n" . $chunked =~ s/\r\n/;x\n5\r\n/r,
	'chunks with an endless extension' => "Transfer-Encoding: chunked\r\n\r\n" . $chunked =~ s/\r\n/';' . ('x' x 20_000) . "\r\n"/er,
	'chunks with bare line feeds' => "Transfer-Encoding: chunked\r\n\r\n" . $chunked =~ s/\r\n/\n/gr);
for my $what (sort keys %smuggled)
{
	like(statuses($top . $smuggled{$what} . $hidden), qr/\A4(00|13)\z/, "$what: refused, and nothing else");
}
like(statuses("POST /api/webhooks/sms HTTP/1.1\r\n Content-Length: $length\r\nHost: x\r\n\r\n$event$hidden"),
	qr/\A400\z/, 'a folded first line');
is(statuses("GET /healthz HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n$hidden"), '400', 'two Host headers');
is(statuses("GET /healthz HTTP/1.1\nHost: x\n\n"), '400', 'bare line feeds');
is(stored(), 0, 'nothing is stored');

# An unexpected body is not taken for the next request.
is(statuses("$_ HTTP/1.1\r\nHost: x\r\nContent-Length: " . length($hidden) . "\r\n\r\n$hidden") =~ tr/ //, 0,
	"$_ with a body: one answer")
  for 'GET /healthz', 'DELETE /v1/responses/resp_x', 'POST /v1/responses/resp_x/cancel', 'GET /nothing', 'OPTIONS /healthz';
is(statuses($top =~ s{webhooks/sms}{nothing}r . "Transfer-Encoding: chunked\r\n\r\n$chunked$hidden"), '404', 'nor chunks');

# Valid pipelined requests are answered in order.
is(statuses($hidden x 20), join(' ', (200) x 20), 'pipelining');
is(statuses($top . "Content-Length: $length\r\n\r\n$event$hidden"), '202 200', 'also behind a body');
is(statuses($top . "Transfer-Encoding: Chunked\r\n\r\n$chunked"), '202', 'and chunks are read');
is(stored(), 1, 'stored once');

# A path is compared as sent: a proxy that filters by path sees the same.
for my $path (
	'/../metrics', '/./metrics', '//metrics', '/x/../metrics', '/metrics/', '/metrics/.', '/%6detrics',
	'/%2e%2e/metrics', '/x/%2e%2e/metrics', '/..%2fmetrics', '/metrics%00', '/metrics%20', '/metrics;x', '/metrics%3f',
	'/METRICS', '/..\\metrics', '/api//conversations', '/api/../api/conversations', '/../../../../etc/passwd',
	'/%c0%ae%c0%ae/metrics', '/.htpasswd', '/cgi-bin/sh', '/index.html')
{
	is(statuses("GET $path HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"), '404', "$path: 404");
}
for my $segment ('..', '%2e%2e', '..%2f..%2fmetrics', 'a%00b', '%ff%fe', '%', '%zz', 'x' x 300, '1;2', "1'--")
{
	is(statuses("GET /api/conversations/$segment/messages HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"), '404', 'id ' . substr($segment, 0, 20));
}
is(statuses("GET $_ HTTP/1.1\r\nHost: x\r\n\r\n"), '400', 'no path') for "/a\0b", "/\xff", 'metrics', '\\metrics';
is(answers("$_ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n") =~ m{HTTP/1\.1 2} ? 1 : 0, 0, "$_: nothing")
  for 'GET http://127.0.0.1/../metrics', 'GET ftp://127.0.0.1/metrics', 'OPTIONS *', 'CONNECT 127.0.0.1:1', 'TRACE /healthz', 'PUT /file', 'MKCOL /dir', 'PROPFIND /', 'get /healthz', 'PRI *';
unlike(answers("GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: $_\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: eA==\r\n\r\n"),
	qr/HTTP.* 101/, "no upgrade to $_") for 'websocket', 'h2c';

# Headers: NUL bytes, too many, too large.
is(statuses("GET /healthz HTTP/1.1\r\nHost: x\r\n$_\r\n\r\n"), '400', 'header refused')
  for "X: a\0b", "X\0Y: a", 'no colon', 'X: ' . ('x' x 20000), join("\r\n", map { "X-$_: y" } 1 .. 70);
like(answers("GET /healthz HTTP/1.1\r\nHost: x\r\nX-Request-Id: a\xff\xfeb\r\nConnection: close\r\n\r\n"), qr/X-Request-Id: ab\r\n/,
	'the returned id is printable');
$answer = $gateway->post('/api/webhooks/sms', inbound_sms('key'), 'Idempotency-Key' => 'ab');
is(statuses($top . "Idempotency-Key: \xff\xfe\r\nContent-Length: $length\r\n\r\n$event"), '400', 'a key that is not UTF-8');

# Bodies. Of duplicate members the last one counts, as in the database.
my $before = stored();
for my $body (
	'{"a":' x 40000,
	'{"a":' . ('[' x 600) . (']' x 600) . '}',
	"{\"body\":\"\xc3\x28\"}", "{\"body\":\"\xed\xa0\x80\"}", "{\"body\":\"\xf8\x88\x80\x80\x80\"}",
	"{\"body\":\"\0\"}", '{"body":"\\u0000"}', "{}\0", "\xff\xfe{\0}\0")
{
	is($gateway->post('/api/webhooks/sms', $body)->{status}, 400, 'a body that cannot be stored');
}
is(stored(), $before, 'is not stored');
my $limited = MsgstoreGateway->new($node, env => { API_RATE_LIMIT_PER_SENDER_PER_MIN => 2 });
sub twice
{
	my ($n) = @_;
	my $body = JSON::PP->new->canonical->encode(inbound_sms("twice-$n", from => '+15550007777'));
	$body =~ s/^\{/{"from":"+1555000$n","channel":"email",/;
	return $limited->post('/api/webhooks/sms', $body)->{status};
}
is_deeply([ map { twice($_) } 1 .. 4 ], [ 202, 202, 429, 429 ], 'a duplicate sender is limited by the stored name');
is( $node->safe_psql('postgres',
		q{SELECT DISTINCT channel || ' ' || "from" FROM msgstore.inbound_events WHERE provider_message_id ~ '^twice'}),
	'sms +15550007777', 'which is the last one; the path determines the channel');
$limited->stop;
is($gateway->get('/api/conversations?page=1&page=x')->{status}, 200, 'the first of duplicate parameters counts');

# Ten thousand connections that send nothing or almost nothing: other clients are
# served, at the latest when they retry.
sub crowd
{
	my ($bytes) = @_;
	my $code = 'use IO::Socket::INET; my @s; $SIG{PIPE} = q(IGNORE); $| = 1;'
	  . "while (\@s < 10000) { my \$s = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $gateway->{port}, Blocking => 0) or last; push \@s, \$s }"
	  . "select(undef, undef, undef, 0.2); my \$end = time + 20;"
	  . "syswrite(\$_, '$bytes') for \@s;"
	  . 'print scalar(@s), "\n"; <STDIN>;';
	my $pid = open2(my $out, my $in, 'sh', '-c', 'ulimit -n $(ulimit -Hn) 2>/dev/null; exec "$0" -e "$1"', $^X, $code);
	my $count = <$out>;
	return { pid => $pid, in => $in, count => $count };
}
for my $bytes ('', 'GET /healthz HT')
{
	my $crowd = crowd($bytes);
	my ($served, $worst) = (0, 0);
	cmp_ok($crowd->{count}, '>', 512, sprintf '%d connections%s', $crowd->{count}, $bytes ? ' with half a header' : '');
	my $start = time;
	while ($served < 5 && time - $start < 60)
	{
		my $asked = time;
		$answer = $gateway->raw($hidden =~ s/hidden/client\r\nConnection: close/r, 30) // { status => 0 };
		my $took = time - $asked;
		$worst = $took if $took > $worst;
		$served++ if $answer->{status} == 200;
	}
	is($served, 5, 'another client is served meanwhile');
	cmp_ok($worst, '<', 15, 'and always answered soon') or diag $worst;
	cmp_ok(time - $start, '<', 30, 'whatever the attackers do');
	close $crowd->{in};
	waitpid $crowd->{pid}, 0;
	$gateway->{http} = undef;
}

# A client in use keeps its connection, if it has a key where one is required.
is(($gateway->stop)[0], 0, 'exit code 0');
my $key = $node->safe_psql('postgres', q{SELECT msgstore.create_api_key('', '{read}')});
$gateway = MsgstoreGateway->new($node, flags => [ '--auth', 'on' ], env => { HTTP_MAX_CONNECTIONS => 4 });
my @strangers = map { $gateway->connection } 1 .. 3;
my $known = $gateway->connection;
my $good = "GET /api/conversations HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer $key\r\n\r\n";
MsgstoreGateway::syswrite_all($_, $hidden) for @strangers;
is($gateway->read_answer($_)->{status}, 200, 'a client without a key is served') for @strangers;
MsgstoreGateway::syswrite_all($known, $good);
is($gateway->read_answer($known)->{status}, 200, 'and so is one with a key');
ok(eventually(sub {
	my $answer = $gateway->raw($good);
	return $answer && $answer->{status} == 200;
}), 'at the limit, clients without a key are disconnected');
MsgstoreGateway::syswrite_all($known, $good);
is($gateway->read_answer($known)->{status}, 200, 'and a client with a key is not');
is(($gateway->stop)[0], 0, 'exit code 0');

done_testing();
