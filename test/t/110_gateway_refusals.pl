# Refusals: each has its status and a JSON body, stores nothing, and does not
# affect other clients.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::Bin/..";
use MsgstoreCluster;
use MsgstoreGateway;
use Test::More;

# 512_router_refusals.pl and 514_direct_refusals.pl run the same with a router, which
# has no tables.
our $through_router;
my @databases = $through_router ? qw(slot0 slot1) : ('postgres');
my $node = $through_router ? start_router('refusals', 2) : start_cluster('refusals');
our $direct_slots;
my $gateway = MsgstoreGateway->new($node, env => { DIRECT_SLOTS_ENABLED => $direct_slots // 'false' });
eventually(sub { $gateway->log_text =~ /read the map of 2 slots/ }) or die 'no map' if $direct_slots;
my $answer;
my %codes = (
	400 => 'bad_request',
	405 => 'method_not_allowed',
	408 => 'request_timeout',
	409 => 'conflict',
	413 => 'payload_too_large',
	415 => 'unsupported_media_type');

sub stored
{
	my $stored = 0;
	$stored += $node->safe_psql($_,
			'SELECT (SELECT count(*) FROM msgstore.inbound_events)'
		  . ' + (SELECT count(*) FROM msgstore.messages)') for @databases;
	return $stored;
}

sub refused
{
	my ($answer, $status, $what) = @_;
	is($answer->{status}, $status, "$what is $status");
	is($answer->{json}{code}, $codes{$status}, 'it has its code');
	ok(length($answer->{json}{message} // ''), 'and a message');
	is($answer->{headers}{'x-content-type-options'},
		'nosniff', 'and headers');
	return;
}

# A body must have type application/json; parameters and case are ignored.
for my $type (
	'text/plain', 'application/jsonp',
	'application/x-www-form-urlencoded', 'application/',
	'')
{
	refused(
		$gateway->post(
			'/api/webhooks/sms', inbound_sms('type'),
			'Content-Type' => $type),
		415,
		"Content-Type \"$type\"");
}
refused(
	$gateway->raw(
		MsgstoreGateway::post_bytes(
			'/api/webhooks/sms', inbound_sms('type'),
			'Content-Type' => undef)),
	415,
	'no Content-Type');
refused($gateway->request('PUT', '/api/provider/mock/config', {}, '{}'),
	415, 'PUT without Content-Type');
is(stored(), 0, 'nothing was stored');
for my $type (
	'application/json',
	'Application/JSON; charset=utf-8',
	'application/json;charset=UTF-8')
{
	is( $gateway->post(
			'/api/webhooks/sms', inbound_sms('type'),
			'Content-Type' => $type)->{status},
		202,
		"Content-Type \"$type\"");
}
my $before = stored();

# The media type is checked before the body is read.
$answer = $gateway->raw("POST /api/webhooks/sms HTTP/1.1\r\nHost: x\r\n"
	  . "Content-Type: text/plain\r\nContent-Length: 1000\r\n\r\n");
refused($answer, 415, 'a body that never arrives');

# A body must be one JSON object as RFC 8259 defines it.
my %broken = (
	'nothing' => '',
	'a blank' => ' ',
	'an open brace' => '{',
	'an array' => '[]',
	'a string' => '"x"',
	'a number' => '1',
	'null' => 'null',
	'two objects' => '{}{}',
	'garbage behind it' => '{} x',
	'a comma too many' => '{"a":1,}',
	'a comma too few' => '{"a":1 "b":2}',
	'a name without quotes' => '{a:1}',
	'a name without value' => '{"a"}',
	'single quotes' => "{'a':1}",
	'an unknown word' => '{"a":nul}',
	'a leading zero' => '{"a":01}',
	'a bare minus' => '{"a":-}',
	'a bare point' => '{"a":1.}',
	'a bare exponent' => '{"a":1e}',
	'a number too long before the point' => '{"a":1e131072}',
	'a number too long behind the point' => '{"a":0.1e-16383}',
	'a fraction too long' => '{"a":0.' . ('0' x 16384) . '}',
	'a number with an exponent of 2^30' => '{"a":0e1073741824}',
	'an unknown escape' => '{"a":"\\x"}',
	'a short escape' => '{"a":"\\u12"}',
	'an open string' => '{"a":"b',
	'an open array' => '{"a":[1,2',
	'a wrong bracket' => '{"a":[1}',
	'a comment' => '{"a":1/**/}',
	'a raw line feed in a string' => "{\"a\":\"b\nc\"}",
	'a NUL' => "{\"a\":\"b\0c\"}",
	'a NUL behind it' => "{}\0",
	'half a surrogate pair' => '{"a":"\\ud800"}',
	'the other half' => '{"a":"\\udc00x"}',
	'the escape \\u0000' => '{"a":"\\u0000"}',
	'bytes that are not UTF-8' => "{\"a\":\"\xff\xfe\"}",
	'an overlong form' => "{\"a\":\"\xc0\xaf\"}",
	'a surrogate in UTF-8' => "{\"a\":\"\xed\xa0\x80\"}",
	'a deep nesting' => '{"a":' . ('[' x 600) . (']' x 600) . '}',
	'a very deep nesting' => '{"a":' x 40000,
	'not closed nesting' => '{"a":' . ('[' x 100000));
for my $what (sort keys %broken)
{
	refused($gateway->post('/api/webhooks/sms', $broken{$what}),
		400, "body of $what");
}

# A number that is too long for the database is refused by the gateway; the
# longest possible one is stored.
is($gateway->post('/api/webhooks/sms', '{"a":1e131072}')->{json}{message},
	'body has a number that is too long at position 6', 'a long number costs no batch');
like(
	$gateway->post('/api/webhooks/sms', "{\"a\":$_}")->{json}{message},
	qr/exceeds the limit|field "from" is missing/,
	"$_ is no too long number") for qw(1e131071 0.1e131072 1e-16383 0e131072);
is($gateway->post('/api/webhooks/sms', '{"a":0.' . ('0' x 16383) . '}')
	  ->{json}{message},
	'field "from" is missing',
	'nor is a fraction of 16383 digits');

# An error of the database has the same text in psql and over HTTP.
my %wrong = (
	'no from' => [ from => undef ],
	'a blank to' => [ to => ' ' ],
	'an unknown type' => [ type => 'fax' ],
	'a type that has to be escaped' => [ type => "f\ta\"\x01\x{7f}\\x" ],
	'a blank body' => [ body => '  ' ],
	'a body of a number' => [ body => 5 ],
	'attachments of a string' => [ attachments => 'x' ],
	'mms without attachments' => [ type => 'mms', attachments => [] ],
	'too many attachments' =>
	  [ type => 'mms', attachments => [ map { "https://x.org/$_" } 1 .. 9 ] ],
	'a time that is none' => [ timestamp => 'yesterday' ],
	'a blank provider id' => [ messaging_provider_id => '' ],
	'no provider id' => [ messaging_provider_id => undef ]);
for my $what (sort keys %wrong)
{
	refused(
		$gateway->post(
			'/api/webhooks/sms', inbound_sms('wrong', @{ $wrong{$what} })),
		400,
		"webhook with $what");
	refused($gateway->post('/api/messages/sms', sms(@{ $wrong{$what} })),
		400, "message with $what")
	  if $what !~ /provider/;
}
$answer = $gateway->post('/api/messages/sms', sms(type => 'fax'));
my $said = $node->psql(
	'postgres',
	q{SELECT msgstore.send('sms', '{"from":"+12016661234","to":"+18045551234","type":"fax","body":"x","timestamp":"2024-11-01T14:00:00Z"}')},
	stderr => \my $error);
like($error, qr/\Q$answer->{json}{message}\E/, 'psql and HTTP say the same');

# A number that is out of range for its type is a client error.
refused($gateway->post('/api/webhooks/sms', '{"a":1e400000}'),
	400, 'webhook with a number too large');
refused($gateway->post('/api/messages/sms', '{"a":1e400000}'),
	400, 'message with a number too large');

# A mock event must name an existing channel.
refused($gateway->post('/api/provider/mock/inbound', sms()),
	400, 'mock without channel');
refused($gateway->post('/api/provider/mock/inbound', sms(channel => 'fax')),
	400, 'mock of an unknown channel');
refused($gateway->post('/api/provider/mock/inbound', sms(channel => 5)),
	400, 'mock with a channel of a number');

# A body of exactly the limit is accepted, one more byte is not, with a length
# or in chunks.
sub sized
{
	my ($size) = @_;
	my $body =
	  '{"from":"+18045551234","to":"+12016661234","messaging_provider_id":"sized","timestamp":"2024-11-01T14:00:00Z","body":"';
	return $body . ('x' x ($size - length($body) - 2)) . '"}';
}

sub chunked
{
	my ($body, $size) = @_;
	my $bytes = MsgstoreGateway::post_bytes(
		'/api/webhooks/sms', '',
		'Content-Length' => undef,
		'Transfer-Encoding' => 'chunked');
	$bytes .= sprintf "%x\r\n%s\r\n", length $1, $1
	  while $body =~ /\G(.{1,$size})/gs;
	return $bytes . "0\r\n\r\n";
}
isnt($gateway->post('/api/webhooks/sms', sized(262144))->{status},
	413, '262144 bytes are accepted');
isnt($gateway->raw(chunked(sized(262144), 4000))->{status},
	413, 'also in chunks');
$before = stored();
refused($gateway->post('/api/webhooks/sms', sized(262145)),
	413, '262145 bytes');
refused($gateway->raw(chunked(sized(262145), 4000)),
	413, '262145 bytes in chunks');
refused(
	$gateway->raw(
		"POST /api/webhooks/sms HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99999999999\r\n\r\n"
	),
	413,
	'a length of 100 GB');
refused($gateway->post('/api/messages/sms', sized(5_000_000)), 413, '5 MB');
$answer = $gateway->raw(chunked('{"from":"a"}', 3));
refused($answer, 400, 'a small body in small chunks is read');

# Ambiguous requests are refused.
my $json = 'Content-Type: application/json';
my %ambiguous = (
	'length and chunks' =>
	  "$json\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	'two lengths' =>
	  "$json\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{} ",
	'a length with garbage' => "$json\r\nContent-Length: 2x\r\n\r\n{}",
	'a signed length' => "$json\r\nContent-Length: +2\r\n\r\n{}",
	'a negative length' => "$json\r\nContent-Length: -2\r\n\r\n{}",
	'an unknown coding' => "$json\r\nTransfer-Encoding: gzip\r\n\r\n{}",
	'two codings' =>
	  "$json\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	'a chunk without a size' =>
	  "$json\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
	'a chunk of the wrong size' =>
	  "$json\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{}\r\n0\r\n\r\n",
	'a hundred headers' => "$json\r\n"
	  . join('', map { "X-$_: 1\r\n" } 1 .. 100)
	  . "Content-Length: 2\r\n\r\n{}");
for my $what (sort keys %ambiguous)
{
	$answer = $gateway->raw(
		"POST /api/webhooks/sms HTTP/1.1\r\nHost: x\r\n$ambiguous{$what}");
	refused($answer, 400, "request with $what");
	is($answer->{headers}{connection}, 'close', 'and the connection is closed');
}

# Malformed HTTP gets the API's error body as well.
for my $bytes (
	"nonsense\r\n\r\n",
	"GET\r\n\r\n",
	"GET / HTTP/9.9\r\n\r\n",
	"BREW /pot HTTP/1.1\r\nHost: x\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n",
	"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
	"GET  http:// HTTP/1.1\r\nHost: x\r\n\r\n")
{
	refused($gateway->raw($bytes), 400, 'nonsense');
}
refused(
	$gateway->raw(
		"GET /healthz HTTP/1.1\r\nHost: x\r\nX: " . ('x' x 20000) . "\r\n\r\n"),
	400,
	'a header of 20 kB');
refused(
	$gateway->raw(
		"GET /healthz HTTP/1.1\r\nHost: x\r\nX: " . ('x' x 1000000) . "\r\n\r\n"),
	400,
	'a header of 1 MB');
refused($gateway->raw('GET /' . ('x' x 20000) . " HTTP/1.1\r\nHost: x\r\n\r\n"),
	400, 'a path of 20 kB');

# Invalid query parameters.
for my $query (
	'page=abc', 'pageSize=abc',
	'page=1.5', 'page=1e3',
	'page=--1', 'page=%00',
	'page=1%00', 'page=0x10',
	'page=' . ('1' x 100), 'after=%ff',
	'after=a%00b', 'after=' . ('x' x 2000),
	'after=nonsense')
{
	refused(
		$gateway->get("/api/conversations?$query"),
		400, substr $query,
		0, 20);
}

# The mock provider's configuration is checked as a whole.
for my $config (
	'{"timeout_pct":101}',
	'{"error_pct":-1}',
	'{"ratelimit_pct":"5"}',
	'{"error_pct":1.5}',
	'{"timeout_pct":50,"error_pct":40,"ratelimit_pct":11}',
	'{"seed":-1}',
	'{"seed":1.5}',
	'{"seed":"x"}',
	'{"seed":1e300}',
	'[]',
	'{"error_pct":null}')
{
	refused(
		$gateway->request(
			'PUT', '/api/provider/mock/config',
			{ 'Content-Type' => 'application/json' }, $config),
		400, $config);
}
is_deeply(
	$gateway->get('/api/provider/mock/config')->{json},
	{ timeout_pct => 0, error_pct => 0, ratelimit_pct => 0, seed => undef },
	'and stays unchanged');

is(stored(), $before, 'no refusal stored anything');
is($gateway->get('/healthz')->{status}, 200, 'the gateway is alive');

# An internal error reveals nothing; its details are in the log.
$node->safe_psql(
	$_, q{
	CREATE FUNCTION public.fail() RETURNS trigger LANGUAGE plpgsql AS
	$$BEGIN RAISE EXCEPTION 'secret detail of the inside'; END$$;
	CREATE TRIGGER fail BEFORE INSERT ON msgstore.event_log
	FOR EACH ROW EXECUTE FUNCTION public.fail()}) for @databases;
$answer = $gateway->post('/api/webhooks/sms', inbound_sms('inside'),
	'X-Request-Id' => 'inside');
is($answer->{status}, 500, 'a failing trigger is an internal error');
is($answer->{json}{code}, 'internal_error', 'it has its code');
is($answer->{json}{message}, 'internal error', 'and a generic message');
like(
	$gateway->log_text,
	qr/request inside: database error P0001: secret detail/,
	'the log has the details');
$node->safe_psql($_, 'DROP FUNCTION public.fail() CASCADE') for @databases;
is($gateway->post('/api/webhooks/sms', inbound_sms('inside'))->{status},
	202, 'accepted once the trigger is gone');

is(($gateway->stop)[0], 0, 'exit code 0');
done_testing();
