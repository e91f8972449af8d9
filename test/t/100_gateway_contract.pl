# The gateway's HTTP contract: every route, its answers and its headers.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::Bin/..";
use MsgstoreGateway;
use Test::More;

my $node = start_cluster('contract');
my $gateway = MsgstoreGateway->new($node);
my $uuid = qr/^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
my $answer;

sub count
{
	return $node->safe_psql('postgres',
		"SELECT count(*) FROM msgstore.$_[0]");
}

# An empty database returns an empty array.
$answer = $gateway->get('/api/conversations');
is($answer->{status}, 200, 'empty list is 200');
like($answer->{content}, qr/"items": ?\[\]/, 'no rows are [], not null');
is($answer->{json}{meta}{total}, 0, 'total is 0');

# The five POST routes of the API return 202 and an id.
my %posts = (
	'/api/messages/sms' => sms(),
	'/api/messages/email' => email(),
	'/api/webhooks/sms' => inbound_sms('message-1'),
	'/api/webhooks/email' => inbound_email('message-3'),
	'/api/provider/mock/inbound' => sms(channel => 'sms', body => 'mock'));
my %ids;
for my $path (sort keys %posts)
{
	$answer = $gateway->post($path, $posts{$path});
	is($answer->{status}, 202, "$path is accepted");
	is($answer->{json}{status}, 'accepted', "$path says so");
	like($answer->{json}{id}, $uuid, "$path gives an id");
	$ids{$path} = $answer->{json}{id};
}
is(count('inbound_events'), 3, 'webhooks and mock are inbound events');
is(count('messages'), 2, 'messages are stored before the answer');

# An mms is an sms with attachments, on the same path.
$answer = $gateway->post('/api/messages/sms',
	sms(type => 'mms', attachments => ['https://example.com/image.jpg']));
is($answer->{status}, 202, 'mms is accepted on the sms route');
$answer = $gateway->post(
	'/api/webhooks/sms',
	inbound_sms(
		'message-2',
		type => 'mms',
		attachments => ['https://example.com/image.jpg']));
is($answer->{status}, 202, 'an mms webhook is accepted on the sms route');
is( $node->safe_psql(
		'postgres',
		"SELECT channel FROM msgstore.inbound_events WHERE id = '$answer->{json}{id}'"
	),
	'mms',
	'its channel comes from its type');

# A repeated webhook gets the same answer and stores no second row.
$answer = $gateway->post('/api/webhooks/sms', $posts{'/api/webhooks/sms'});
is($answer->{status}, 202, 'a repeated webhook is accepted');
is($answer->{json}{id}, $ids{'/api/webhooks/sms'}, 'with the first id');
is($answer->{json}{duplicate}, JSON::PP::true, 'marked as a duplicate');
for my $path (grep { !/mock/ } sort keys %posts)
{
	$answer = $gateway->post($path, $posts{$path});
	is_deeply($answer->{json},
		{ status => 'accepted', id => $ids{$path}, duplicate => JSON::PP::true },
		"$path again is a duplicate");
}
is(count('inbound_events'), 4, 'and is stored once');

# Every channel has both routes; the error about an unknown one lists them.
$node->safe_psql('postgres',
	q{INSERT INTO msgstore.channels (name, address_kind) VALUES ('whatsapp', 'phone'), ('chat', 'opaque')});
for my $channel (qw(whatsapp chat mms))
{
	my @media = $channel eq 'mms' ? (type => 'mms', attachments => ['https://example.com/image.jpg']) : (type => undef);
	$answer = $gateway->post("/api/webhooks/$channel", inbound_sms("to-$channel", @media));
	is($answer->{status}, 202, "webhook of $channel");
	is( $node->safe_psql('postgres', "SELECT channel FROM msgstore.inbound_events WHERE id = '$answer->{json}{id}'"),
		$channel, 'is stored under it');
	is($gateway->post("/api/messages/$channel", sms(body => $channel, @media))->{status}, 202, "message of $channel");
}
for my $channel (qw(fax SMS sms%20 %22), 'x' x 100)
{
	for my $path ("/api/webhooks/$channel", "/api/messages/$channel")
	{
		$answer = $gateway->post($path, inbound_sms('nowhere'));
		is($answer->{status}, 404, "$path is 404");
		is($answer->{json}{code}, 'not_found', 'with its code');
		like($answer->{json}{message}, qr/^channel ".*" does not exist$/, 'names the channel');
		like($answer->{json}{details}, qr/chat.*email.*mms.*sms.*whatsapp/, 'and lists all of them');
	}
}
is($gateway->post('/api/webhooks/status', inbound_sms('x'))->{json}{message}, 'field "channel" is missing',
	'the route of status callbacks is not a channel\'s');
is($gateway->post('/api/provider/mock/inbound', sms(channel => 'fax'))->{status}, 400, 'in a body an unknown channel is 400');
$node->safe_psql('postgres', q{UPDATE msgstore.channels SET types = '{chat,room}' WHERE name = 'chat'});
is($gateway->post('/api/webhooks/chat', inbound_sms('x', type => 'room'))->{status}, 400, 'so is a type that is no channel');
is($gateway->get("/api/$_/whatsapp")->{status}, 405, "GET of $_ is 405") for qw(webhooks messages);

# The body is stored and returned unchanged.
my $odd =
  "<script>alert(1)</script> '; DROP TABLE msgstore.messages; -- \x{1F468}";
$answer = $gateway->post('/api/messages/sms', sms(body => $odd));
is($answer->{status}, 202, 'a body of markup and SQL is accepted');

# Lists show both directions once the events are processed.
$node->safe_psql('postgres', 'SELECT msgstore.process()');
$answer = $gateway->get('/api/conversations');
is($answer->{status}, 200, 'list of conversations');
is($answer->{json}{meta}{page}, 1, 'page 1');
is($answer->{json}{meta}{page_size}, 50, 'of 50');
my @bodies;
for my $item (@{ $answer->{json}{items} })
{
	ok( !(  grep { !exists $item->{$_} }
			qw(id number key channel participant_a
			participant_b message_count last_activity_at)),
		'a conversation has its fields');
	my $messages =
	  $gateway->get("/api/conversations/$item->{id}/messages")->{json};
	is($messages->{meta}{total}, $item->{message_count}, 'its id can be used in a path');
	push @bodies, map { $_->{body} } @{ $messages->{items} };
}
$answer = $gateway->get('/api/conversations/1/messages');
is($answer->{status}, 200, 'the number 1 names the first conversation');
my %directions = map { $_->{direction} => 1 } @{ $answer->{json}{items} };
is_deeply(
	[ sort keys %directions ],
	[qw(inbound outbound)],
	'both directions');
ok( !(  grep { !exists $answer->{json}{items}[0]{$_} }
		qw(id direction channel
		type from to body snippet attachments timestamp)),
	'a message has its fields');
ok((grep { $_ eq $odd } @bodies),
	'markup and SQL come back as they were sent');

# The database does the paging: parameters are passed on under all names.
for my $name (qw(pageSize page_size per_page))
{
	is( $gateway->get("/api/conversations?page=2&$name=1")
		  ->{json}{meta}{page_size},
		1, "$name is the page's size");
}
$answer = $gateway->get('/api/conversations?page=2&pageSize=1');
is(scalar @{ $answer->{json}{items} }, 1, 'page 2 of size 1 has one');
$answer = $gateway->get(
	"/api/conversations?pageSize=1&after="
	  . MsgstoreGateway::escape(
		$gateway->get('/api/conversations?pageSize=1')
		  ->{json}{meta}{next_cursor}));
is($answer->{status}, 200, 'a cursor is taken');
is(scalar @{ $answer->{json}{items} }, 1, 'and continues after it');
my %sizes = (
	0 => 50,
	500 => 50,
	-1 => 50,
	'' => 50,
	'99999999999999999999' => 50,
	10 => 10);
for my $size (sort keys %sizes)
{
	$answer = $gateway->get("/api/conversations?pageSize=$size");
	is($answer->{json}{meta}{page_size}, $sizes{$size}, "pageSize \"$size\"");
}
for my $page (qw(4294967295 -4294967295 0 99))
{
	is($gateway->get("/api/conversations?page=$page")->{status},
		200, "page $page is no error");
}

# Unknown paths and ids get 404 with the error body.
for my $path (
	'/api/conversations/999999/messages',
	'/api/conversations/abc/messages',
	'/nope',
	'/',
	'/api',
	'/api/conversations/',
	'/api/conversations/1/',
	'/api/conversations//messages',
	'/api/conversations/1/messages/',
	'/api/conversations/1/2/messages',
	'/api/conversations/%00/messages',
	'/api/conversations/%ff/messages',
	'/../x',
	'/..%2fx',
	'/.env',
	'/api/conversations/' . ('9' x 300) . '/messages')
{
	$answer = $gateway->raw("GET $path HTTP/1.1\r\nHost: x\r\n\r\n");
	is($answer->{status}, 404, "$path is 404");
	is($answer->{json}{code}, 'not_found', "$path says not_found");
}

# An unsupported method gets 405 with the supported ones in Allow.
my %allowed = (
	'/api/conversations' => 'GET, HEAD',
	'/api/webhooks/sms' => 'POST',
	'/api/provider/mock/config' => 'GET, HEAD, PUT',
	'/metrics' => 'GET, HEAD',
	'/openapi.json' => 'GET, HEAD');
for my $path (sort keys %allowed)
{
	for my $method (qw(DELETE PATCH OPTIONS))
	{
		$answer = $gateway->request($method, $path);
		is($answer->{status}, 405, "$method $path is 405");
		is($answer->{headers}{allow}, $allowed{$path}, 'Allow is there');
		is($answer->{json}{code}, 'method_not_allowed', 'code is there');
	}
}
is($gateway->get('/api/webhooks/sms')->{status}, 405, 'GET of a POST route');

# HEAD answers like GET without a body, and the connection stays usable.
for my $path ('/healthz', '/api/conversations', '/metrics')
{
	my $socket = $gateway->connection;
	MsgstoreGateway::syswrite_all($socket,
		"HEAD $path HTTP/1.1\r\nHost: x\r\n\r\n");
	$answer = $gateway->read_answer($socket, undef, 1);
	is($answer->{status}, 200, "HEAD $path");
	is($answer->{content}, '', 'has no body');
	cmp_ok($answer->{headers}{'content-length'}, '>', 0, 'but its length');
	MsgstoreGateway::syswrite_all($socket,
		"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
	is($gateway->read_answer($socket)->{json}{status},
		'ok', 'the next answer is whole');
}

# Liveness needs no database; readiness needs database and extension.
for my $path ('/healthz', '/health')
{
	$answer = $gateway->get($path);
	is($answer->{status}, 200, $path);
	is_deeply($answer->{json}, { status => 'ok' }, "$path is ok");
}
is($gateway->get('/readyz')->{status}, 200, 'ready');

# An Accept header that excludes JSON gets 406.
for my $accept (
	'*/*',
	'application/json',
	'application/*',
	'*/*;q=0.8',
	'text/html, application/json;q=0.9',
	'text/html;q=1, */*;q=0.1',
	'APPLICATION/JSON',
	'text/plain,  application/json ; q=0.5',
	'')
{
	is($gateway->get('/api/conversations', Accept => $accept)->{status},
		200, "Accept: $accept");
}
for my $accept (
	'text/plain', 'application/json;q=0',
	'text/*', 'application/jsonx',
	'application/json;q=0, */*', 'application/xml, text/html')
{
	for my $path ('/api/conversations', '/api/conversations/1/messages')
	{
		$answer = $gateway->get($path, Accept => $accept);
		is($answer->{status}, 406, "Accept: $accept");
		is($answer->{json}{code}, 'not_acceptable', 'with its code');
	}
}

# Metrics are Prometheus text, or JSON for clients that prefer it.
for my $accept (undef, '*/*', 'text/plain',
	'text/plain, application/json;q=0.9')
{
	$answer =
	  $gateway->get('/metrics', defined $accept ? (Accept => $accept) : ());
	like(
		$answer->{headers}{'content-type'},
		qr{^text/plain; version=0\.0\.4},
		'metrics are text for ' . ($accept // 'nothing'));
}
# 190_gateway_metrics.pl looks into the text.
for my $accept (
	'application/json',
	'text/plain;q=0.5, application/json',
	'application/json, */*')
{
	$answer = $gateway->get('/metrics', Accept => $accept);
	is($answer->{headers}{'content-type'},
		'application/json', "JSON for $accept");
}
is($gateway->get('/metrics', Accept => 'image/png')->{status},
	406, 'no picture of it');
my $metrics = $answer->{json};
for my $name (
	qw(ts_unix_ms rate_limited breaker_open dispatch_attempts
	dispatch_success dispatch_rate_limited dispatch_error
	provider_sms_mms_attempts provider_sms_mms_success
	provider_sms_mms_rate_limited provider_sms_mms_error
	provider_email_attempts provider_email_success provider_email_rate_limited
	provider_email_error breaker_transitions
	provider_sms_mms_breaker_transitions provider_email_breaker_transitions
	worker_claimed worker_processed worker_error worker_dead_letter
	worker_latency_avg_us worker_latency_max_us invalid_routing
	conversations_created conversations_reused conversations_failures
	worker_queued worker_latency_p50_us worker_latency_p95_us
	worker_latency_p99_us))
{
	like($metrics->{$name}, qr/^\d+$/, "metric $name is a whole number");
}
my $sql = MsgstoreGateway::decode(
	$node->safe_psql('postgres', 'SELECT msgstore.metrics()'));
is($metrics->{$_}, $sql->{$_}, "SQL and HTTP agree about $_")
  for grep { !/_us$|^ts_/ } sort keys %$sql;

# Every answer, also a refusal, has security headers and a request id.
for my $request (
	[ GET => '/healthz' ],
	[ GET => '/nope' ],
	[ DELETE => '/api/conversations' ],
	[ POST => '/api/webhooks/sms', {}, '{' ],
	[
		POST => '/api/webhooks/sms',
		{ 'Content-Type' => 'application/json' }, '{'
	],
	[ GET => '/api/conversations', { Accept => 'text/plain' } ])
{
	$answer = $gateway->request(@$request);
	my $headers = $answer->{headers};
	my $what = "$answer->{status} of $request->[0] $request->[1]";
	is($headers->{'x-content-type-options'}, 'nosniff', "$what: nosniff");
	is($headers->{'x-frame-options'}, 'DENY', "$what: no frames");
	is($headers->{'referrer-policy'}, 'no-referrer', "$what: no referrer");
	is( $headers->{'content-security-policy'},
		"default-src 'self'",
		"$what: CSP");
	is($headers->{'cache-control'}, 'no-store', "$what: not cached");
	is($headers->{'content-type'}, 'application/json', "$what: is JSON");
	like($headers->{'x-request-id'}, $uuid, "$what: has an id");
	ok(!exists $headers->{server}, "$what: no banner");
	ok(!exists $headers->{'strict-transport-security'}, "$what: no HSTS");
}

# A request id is returned, stored and logged; a trace id is returned and
# logged.
my $trace = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
$answer = $gateway->post(
	'/api/webhooks/sms', inbound_sms('traced'),
	'X-Request-Id' => "order '; DROP 42",
	traceparent => $trace);
is($answer->{headers}{'x-request-id'}, "order '; DROP 42", 'id is returned');
is($answer->{headers}{traceparent}, $trace, 'trace is returned');
is( $node->safe_psql(
		'postgres',
		"SELECT correlation_id FROM msgstore.inbound_events WHERE id = '$answer->{json}{id}'"
	),
	"order '; DROP 42",
	'id is stored as correlation id');
my $line = $gateway->log_line("order '; DROP 42");
is($line->{status}, 202, 'id is in the log line');
is($line->{traceparent}, $trace, 'and so is the trace');
is($line->{path}, '/api/webhooks/sms', 'with the path');
is($line->{method}, 'POST', 'and the method');
is($line->{client}, '127.0.0.1', 'and the client');
like($line->{duration_us}, qr/^\d+$/, 'and the duration');
$answer = $gateway->get('/healthz', 'X-Request-Id' => '   ');
like($answer->{headers}{'x-request-id'}, $uuid, 'a blank id is ignored');
$answer = $gateway->get('/healthz', 'X-Request-Id' => 'x' x 1000);
is($answer->{headers}{'x-request-id'}, 'x' x 128, 'a long id is truncated');
$answer =
  $gateway->raw("GET /healthz HTTP/1.1\r\nHost: x\r\nX-Request-Id: a\x80\xffb\r\n\r\n");
is($answer->{headers}{'x-request-id'}, 'ab', 'non-ASCII characters are dropped');

for my $bad ('x', "$trace-00", uc $trace,
	'00-' . ('0' x 32) . '-b7ad6b7169203331-01')
{
	$answer = $gateway->get('/healthz', traceparent => $bad);
	ok(!exists $answer->{headers}{traceparent}, "trace $bad is not returned");
}

# A forwarded client address is trusted from a peer on this machine.
my %clients = (
	'203.0.113.7, 10.0.0.1' => '203.0.113.7',
	'2001:db8::1' => '2001:db8::1',
	'nonsense' => '127.0.0.1',
	"1.2.3.4\"}" => '127.0.0.1');
for my $sent (sort keys %clients)
{
	$answer = $gateway->get('/healthz', 'X-Forwarded-For' => $sent);
	is($gateway->log_line($answer->{headers}{'x-request-id'})->{client},
		$clients{$sent}, "X-Forwarded-For: $sent");
}
$answer = $gateway->get('/healthz', 'X-Real-IP' => '203.0.113.8');
is($gateway->log_line($answer->{headers}{'x-request-id'})->{client},
	'203.0.113.8', 'X-Real-IP');

# HTTP/1.0 and "Connection: close" close the connection; the answer says so.
for my $request ("GET /healthz HTTP/1.0\r\n\r\n",
	"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
{
	$answer = $gateway->raw($request);
	is($answer->{headers}{connection}, 'close', 'the answer announces the close');
}

# Pipelined requests are answered in order.
my $socket = $gateway->connection;
MsgstoreGateway::syswrite_all(
	$socket,
	MsgstoreGateway::post_bytes(
		'/api/webhooks/sms', inbound_sms('pipe-1'),
		'X-Request-Id' => 'one')
	  . MsgstoreGateway::post_bytes(
		'/api/webhooks/sms', inbound_sms('pipe-2'),
		'X-Request-Id' => 'two'));
is($gateway->read_answer($socket)->{headers}{'x-request-id'},
	'one', 'first of two');
is( eventually(
		sub {
			$node->safe_psql('postgres',
				"SELECT count(*) FROM msgstore.inbound_events WHERE provider_message_id LIKE 'pipe-%'"
			) == 2;
		}),
	1,
	'both of two are stored');

# A client that expects 100 Continue gets it.
$socket = $gateway->connection;
my $bytes =
  MsgstoreGateway::post_bytes('/api/webhooks/sms', inbound_sms('expect'),
	Expect => '100-continue');
my ($head, $body) = $bytes =~ /\A(.*?\r\n\r\n)(.*)\z/s;
MsgstoreGateway::syswrite_all($socket, $head);
sysread $socket, my $interim, 1024;
is($interim, "HTTP/1.1 100 Continue\r\n\r\n", '100 Continue');
MsgstoreGateway::syswrite_all($socket, $body);
is($gateway->read_answer($socket)->{status}, 202, 'then the answer');

is(($gateway->stop)[0], 0, 'exit code 0');
done_testing();
