# HTTP as the standards say: request targets, chunks, Host, codings, media
# types, parameters; and what an answer tells about a refusal.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::Bin/..";
use Compress::Zlib ();
use MsgstoreGateway;
use Test::More;

my $node = start_cluster('http');
my $gateway = MsgstoreGateway->new($node);
my $path = '/api/webhooks/sms';
my $answer;

sub query { return $node->safe_psql('postgres', $_[0]) }

sub stored
{
	return query("SELECT count(*) FROM msgstore.inbound_events WHERE provider_message_id = '$_[0]'");
}

sub json { return JSON::PP->new->utf8->canonical->encode($_[0]) }

# A POST with these header lines, as bytes.
sub post
{
	my ($body, @lines) = @_;
	return join("\r\n",
		"POST $path HTTP/1.1", 'Content-Type: application/json', @lines, '',
		$body);
}

sub sized { return ("Host: x", 'Content-Length: ' . length $_[0]) }

# The statuses of all answers on one connection until it is closed or silent. The
# bytes are sent in the given pieces.
sub statuses
{
	my @pieces = @_;
	my $socket = $gateway->connection;
	my $data = '';
	while (@pieces)
	{
		MsgstoreGateway::syswrite_all($socket, shift @pieces);
		select undef, undef, undef, 0.001 if @pieces;
	}
	while (IO::Select->new($socket)->can_read($data eq '' ? 10 : 0.5))
	{
		last if !sysread $socket, $data, 65536, length $data;
	}
	return join ' ', $data =~ m{HTTP/1\.1 (\d+)}g;
}

# A request target can be an absolute URI (RFC 9112, 3.2.2), or "*".
my $next = "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
my %targets = (
	'http://host/healthz' => 200,
	'http://host:8080/healthz' => 200,
	'HTTPS://127.0.0.1/healthz' => 200,
	'http://[::1]:8080/healthz' => 200,
	'http://user@host/healthz' => 200,
	'http://host/api/conversations?page=1' => 200,
	'http://host/api/conversations?page=x' => 400,
	'http://a/../healthz' => 404,
	'http://host/nothing' => 404,
	'http://host' => 404,
	'http://host?page=1' => 404,
	'http://host/' => 404,
	'*' => 404);
for my $target (sort keys %targets)
{
	my $bytes = "GET $target HTTP/1.1\r\nHost: x\r\n\r\n$next";
	is(statuses($bytes), "$targets{$target} 200", "GET $target");
	is(statuses(split //, $bytes), "$targets{$target} 200", 'byte by byte') if length $target < 30;
}
is(statuses("OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"), '404', 'OPTIONS *');
is(statuses((map { "$_ http://host/metrics HTTP/1.1\r\nHost: x\r\n\r\n" } 'HEAD', 'POST'), $next), '200 405 200', 'other methods');
$answer = $gateway->raw(
	MsgstoreGateway::post_bytes("http://host$path", inbound_sms('absolute'), 'X-Request-Id' => 'absolute'));
is($answer->{status}, 202, 'a POST to an absolute URI');
is($gateway->log_line('absolute')->{path}, $path, 'the log has the path');
is(statuses("GET $_ HTTP/1.1\r\nHost: x\r\n\r\n"), '400', "GET $_: invalid")
  for 'http:///healthz', 'http://', 'http:/healthz', 'httpss://host/healthz', 'ftp://host/healthz', 'ws://host/healthz',
  'wss://host/healthz', 'x/healthz', '*/healthz', '**', "http://ho\x7fst/healthz", 'http://host#/healthz', 'http', 'host:80';
is(statuses("GET $_\r\nHost: x\r\n\r\n"), '400', 'no version behind it') for 'http', 'http://host', '*';
is(statuses("CONNECT host:80 HTTP/1.1\r\nHost: x\r\n\r\n"), '400', 'CONNECT');

# Extensions of chunks are ignored (RFC 9112, 7.1.1), and trailers discarded (6.5);
# the next request on the connection is found behind both.
my $extended = 0;
sub chunks
{
	my ($body, $extension, @lines) = @_;
	my $bytes = "POST $path HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
	$bytes .= sprintf "%x%s\r\n%s\r\n", length $_, $extension, $_ for $body =~ /(.{1,100})/sg;
	return join "\r\n", $bytes . "0$extension", @lines, '', $next;
}
for my $extension ('', ';x', ';x=y', '; x="a;b\\"" ;y', " \t;x", ';' . ('x' x 1000))
{
	for my $trailer ([], ['X-Checksum: 1'], [ 'A: b', 'Content-Length: 5', "C:\td" ])
	{
		my $id = 'chunks-' . $extended++;
		my $what = sprintf 'extension "%.10s", %d trailer lines', $extension, scalar @$trailer;
		my $bytes = chunks(json(inbound_sms($id)), $extension, @$trailer);
		is(statuses($bytes), '202 200', $what);
		is(stored($id), 1, 'is stored');
		is(statuses($bytes =~ /(.{1,7})/sg), '202 200', 'in small pieces') if length $extension < 20;
	}
}
is(statuses(split //, chunks(json(inbound_sms('bytes')), ';x=y', 'A: b')), '202 200', 'byte by byte');
my $zipped = Compress::Zlib::memGzip(json(inbound_sms('zipped')));
is(statuses(chunks($zipped, ';x') =~ s/Host/Content-Encoding: gzip\r\nHost/r), '202 200', 'compressed and chunked');
for my $wrong (';x\n', ";\0", ' ', "\t", ' x', ';' . ('x' x 10_000))
{
	like(statuses(chunks(json(inbound_sms('wrong')), $wrong =~ s/\\n/\n/r)), qr/\A400\z/, sprintf 'extension "%.5s" is refused', $wrong =~ s/[^ -~]/?/gr);
}
is(stored('wrong'), 0, 'and nothing stored');
for my $wrong (" folded: x", "A: b\nC: d", ('A: ' . ('x' x 10_000)))
{
	like(statuses(chunks(json(inbound_sms('trailer')), '', $wrong)), qr/\A(202|400)\z/, 'behind an invalid trailer the connection is closed');
}
is(statuses("POST $path HTTP/1.0\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
	'400', 'HTTP/1.0 has no chunks');

# HTTP/1.1 requires one valid Host header (RFC 9112, 3.2); HTTP/1.0 does not.
for my $lines ([], ['Host: a b'], ['Host: http://x/'], ['Host: x', 'Host: x'], ["Host: \xff"])
{
	my $body = json(inbound_sms('host'));
	$answer = $gateway->raw(post($body, @$lines, 'Content-Length: ' . length $body));
	is($answer->{status}, 400, 'refused with ' . (join(', ', @$lines) || 'no Host'));
	like($answer->{json}{message}, qr/"Host" is|ambiguous/, 'the message says why');
	is($answer->{headers}{connection}, 'close', 'and the connection is closed');
}
is(stored('host'), 0, 'nothing is stored');
for my $line ('Host:', 'Host: example.org', 'host: [::1]:8080', 'HOST: a.example:80 ')
{
	is($gateway->raw("GET /healthz HTTP/1.1\r\n$line\r\n\r\n")->{status}, 200, $line);
}
is($gateway->raw("GET /healthz HTTP/1.0\r\n\r\n")->{status}, 200, 'HTTP/1.0 without Host');

# An interim answer is for clients of HTTP/1.1 that ask for it (RFC 9110, 10.1.1).
sub interim
{
	my ($version, $expect) = @_;
	my $body = json(inbound_sms('expect'));
	my $socket = $gateway->connection;
	MsgstoreGateway::syswrite_all($socket,
		"POST $path HTTP/$version\r\nHost: x\r\nContent-Type: application/json\r\n"
		  . "Expect: $expect\r\nContent-Length: " . length($body) . "\r\n\r\n");
	my $early = IO::Select->new($socket)->can_read($version eq '1.0' ? 0.3 : 5);
	MsgstoreGateway::syswrite_all($socket, $body);
	sysread $socket, my $data, 1024;
	return $early ? $data : "late: $data";
}
like(interim('1.1', $_), qr{\AHTTP/1\.1 100 Continue\r\n\r\n}, "$_: 100") for '100-continue', '100-Continue';
like(interim('1.0', $_), qr{\Alate: HTTP/1\.1 202 }, "HTTP/1.0 with $_: no 100") for '100-continue', '100-Continue';

# A compressed body is decoded within the size limit, or its coding is named.
my %coded = (
	gzip => sub { Compress::Zlib::memGzip($_[0]) },
	'X-GZIP' => sub { Compress::Zlib::memGzip($_[0]) },
	deflate => sub { Compress::Zlib::compress($_[0]) },
	identity => sub { $_[0] },
	' gzip, identity' => sub { Compress::Zlib::memGzip($_[0]) });
for my $coding (sort keys %coded)
{
	my $id = 'coded ' . $coding;
	$answer = $gateway->post($path, $coded{$coding}->(json(inbound_sms($id, body => 'y' x 100_000))),
		'Content-Encoding' => $coding);
	is($answer->{status}, 202, "Content-Encoding: $coding");
	is(query("SELECT length(payload->>'body') FROM msgstore.event_log WHERE provider_message_id = '$id'"),
		100_000, 'the content is stored');
}
my $halves = join '', map { Compress::Zlib::memGzip($_) } json(inbound_sms('parts')) =~ /\A(.{20})(.*)\z/s;
is($gateway->post($path, $halves, 'Content-Encoding' => 'gzip')->{status}, 202, 'gzip of two parts');
for my $coding ('br', 'zstd', 'compress', 'gzip, gzip', 'deflate, br')
{
	$answer = $gateway->post($path, json(inbound_sms('br')), 'Content-Encoding' => $coding);
	is($answer->{status}, 415, "$coding is not supported");
	is($answer->{json}{code}, 'unsupported_media_type', 'its code');
	is($answer->{json}{message}, "content coding \"$coding\" is not supported", 'the coding is named');
	is($answer->{headers}{'accept-encoding'}, 'gzip, deflate', 'with those that are');
}
my $bomb = Compress::Zlib::memGzip('{"body":"' . ('x' x 50_000_000) . '"}');
for my $case (
	[ $bomb, 413, 'body is larger than 262144 bytes' ],
	[ substr(Compress::Zlib::memGzip(json(inbound_sms('cut'))), 0, 100), 400, 'body is not valid gzip' ],
	[ '', 400, 'body is not a JSON object' ],
	[ json(inbound_sms('plain')), 400, 'body is not valid gzip' ],
	[ Compress::Zlib::memGzip('{}') . 'x', 400, 'body is not valid gzip' ],
	[ Compress::Zlib::compress('{}'), 400, 'body is not valid gzip' ])
{
	$answer = $gateway->post($path, $case->[0], 'Content-Encoding' => 'gzip');
	is($answer->{status}, $case->[1], $case->[2]);
	is($answer->{json}{message}, $case->[2], 'the message');
}

# A byte order mark in front is no part of the JSON (RFC 8259, 8.1).
my $mark = "\xef\xbb\xbf";
is($gateway->post($path, $mark . json(inbound_sms('mark')))->{status}, 202, 'a byte order mark');
is($gateway->post('/api/messages/sms', $mark . json(sms(body => 'mark')))->{status}, 202, 'on other routes');
is($gateway->post($path, Compress::Zlib::memGzip($mark . json(inbound_sms('both'))), 'Content-Encoding' => 'gzip')->{status},
	202, 'in a compressed body');
is($gateway->post($path, $_)->{status}, 400, 'but not elsewhere')
  for "$mark$mark" . json(inbound_sms('marks')), ' ' . $mark . '{}', '{}' . $mark, $mark, "\xef\xbb{}";

# Media types with the suffix +json are JSON (RFC 6839).
for my $type ('application/cloudevents+json', 'application/vnd.api+json; charset=utf-8', 'Application/Problem+JSON')
{
	is($gateway->post($path, inbound_sms("type $type"), 'Content-Type' => $type)->{status}, 202, $type);
}
is($gateway->post($path, inbound_sms('type'), 'Content-Type' => $_)->{status}, 415, $_)
  for 'application/+json', 'application/x+jsonp', 'application/cloudevents-batch+xml', 'text/plain+json';

# A header that decides has one line.
for my $name ('Idempotency-Key', 'Content-Type', 'Authorization')
{
	my $body = json(inbound_sms('twice'));
	my $first = $name eq 'Content-Type' ? 'application/json' : 'one';
	$answer = $gateway->raw(post($body, sized($body), "$name: $first", lc($name) . ": $first"));
	is($answer->{status}, 400, "two lines $name");
	is($answer->{json}{message}, "header \"$name\" is repeated", 'the message names it');
}
is(stored('twice'), 0, 'nothing is stored');

# An unknown parameter is named; a blank one is like none.
for my $case (
	[ '/api/conversations', 'foo=1', 'foo' ],
	[ '/api/conversations', 'page=1&pagesiz=2', 'pagesiz' ],
	[ '/api/conversations', 'limit=10', 'limit' ],
	[ '/api/conversations', 'cursor', 'cursor' ],
	[ '/api/conversations', '=1', '' ],
	[ '/api/conversations/1/messages', 'sort=asc', 'sort' ],
	[ '/v1/responses', 'page=1', 'page' ],
	[ '/v1/responses/resp_x', 'streams=true', 'streams' ],
	[ '/v1/responses/resp_x/input_items', 'page=2', 'page' ],
	[ '/api/provider/mock/config', 'x=1', 'x' ],
	[ '/metrics', 'name=x', 'name' ],
	[ '/healthz', 'x', 'x' ],
	[ '/readyz', 'verbose', 'verbose' ])
{
	$answer = $gateway->get("$case->[0]?$case->[1]");
	is($answer->{status}, 400, "$case->[0]?$case->[1]");
	my $error = $answer->{json}{error} // $answer->{json};
	is($error->{message}, "parameter \"$case->[2]\" is unknown", 'names the parameter');
}
for my $query ('', 'after=', 'after=%20', 'page=&pageSize=&after=', '&&', 'PAGE=1', 'page')
{
	is($gateway->get("/api/conversations?$query")->{status}, 200, "?$query");
}
is($gateway->get('/v1/responses?after=&before=&limit=&order=&model=')->{status}, 200, 'also for responses');
for my $case (
	[ POST => '/api/messages/sms', sms(body => 'parameter') ],
	[ POST => '/api/messages/email', {} ],
	[ POST => '/api/provider/mock/inbound', sms() ],
	[ PUT => '/api/provider/mock/config', { error_pct => 100 } ],
	[ POST => '/v1/responses', {} ],
	[ POST => '/v1/responses/resp_x/cancel', {} ],
	[ DELETE => '/v1/responses/resp_x' ])
{
	my ($method, $target, $body) = @$case;
	$answer = $gateway->request($method, "$target?dry_run=1", { $body ? ('Content-Type' => 'application/json') : () },
		$body ? json($body) : ());
	is($answer->{status}, 400, "$method $target?dry_run=1");
	is(($answer->{json}{error} // $answer->{json})->{message}, 'parameter "dry_run" is unknown', 'names the parameter');
}
is(query(q{SELECT count(*) FROM msgstore.messages WHERE body = 'parameter'}), 0, 'nothing is sent');
is($gateway->get('/api/provider/mock/config')->{json}{error_pct}, 0, 'nothing is configured');
is($gateway->request('POST', "$path?token=x", { 'Content-Type' => 'application/json' }, json(inbound_sms('query')))->{status},
	202, 'the URL that a provider posts to may have a query');

# A refusal of the body says where, how much, and what was expected.
my %said = (
	'{"a":1,}' => 'body is not JSON at position 8',
	"{\n \"\x{c3}\x{a9}\": nul}" => 'body is not JSON at position 9',
	'{"a":"b' => 'body ends inside a JSON value at position 8',
	'{} {}' => 'body has more than one JSON value at position 4',
	'{"a":"\\x"}' => 'body has an invalid escape at position 7',
	"{\"a\":\"\xff\"}" => 'body is not UTF-8 at position 7',
	"$mark\{\"a\":01}" => 'body is not JSON at position 7',
	'{"\\u0000":1}' => 'body has the character \\u0000 at position 3',
	'{"a":"b\\ud83d"}' => 'body has half a surrogate pair at position 8',
	'[]' => 'body is not a JSON object');
is($gateway->post($path, $_)->{json}{message}, $said{$_}, $said{$_}) for sort keys %said;
is($gateway->post($path, '{"a":"' . ('x' x 262144) . '"}')->{json}{message}, 'body is larger than 262144 bytes', 'the limit');
is($gateway->raw(post('', 'Host: x', 'Content-Length: 5000000'))->{json}{message},
	'body is larger than 262144 bytes', 'also before the body is read');
for my $more ([ timestamp => 'yesterday' ], [ from => '+15550001234, +15550004321' ], [ type => 'fax' ], [ body => 5 ])
{
	my ($in, $out) = ($gateway->post($path, inbound_sms('details', @$more))->{json},
		$gateway->post('/api/messages/sms', sms(@$more))->{json});
	is_deeply($in, $out, "webhook and message say the same about $more->[0]");
	ok(length($in->{details} // ''), 'with details');
}
my $batch = MsgstoreGateway->new($node, flags => ['--no-batch']);
ok(exists $batch->post($path, inbound_sms('details', timestamp => 'x'))->{json}{details}, 'also without batches');
$batch->stop;

# Refused webhooks are counted by reason.
sub refusals
{
	my $all = $gateway->metrics;
	return { map { /^webhooks_refused_(.*)/ ? ($1 => $all->{$_}) : () } keys %$all };
}
my $before = refusals();
my %refused = (
	malformed => sub { $gateway->post($path, '{') },
	invalid => sub { $gateway->post($path, inbound_sms('x', timestamp => 'x')) },
	unknown_channel => sub { $gateway->post('/api/webhooks/fax', inbound_sms('x')) },
	conflict => sub { $gateway->post($path, inbound_sms("c$_"), 'Idempotency-Key' => 'same') for 1 .. 2 },
	too_large => sub { $gateway->post($path, 'x' x 300_000) },
	media_type => sub { $gateway->post($path, '{}', 'Content-Type' => 'text/plain') });
$refused{$_}->() for sort keys %refused;
$gateway->post('/api/webhooks/status', '{}');
$gateway->post($path, inbound_sms('counted'));
$gateway->post('/api/messages/sms', '{');
my $after = refusals();
is_deeply(
	{ map { $_ => $after->{$_} - $before->{$_} } keys %$after },
	{ (map { $_ => 1 } keys %refused), invalid => 2, rate_limited => 0, unauthorized => 0 },
	'one for each reason');
my $keyed = MsgstoreGateway->new($node, flags => [ '--auth', 'on' ]);
$keyed->post($path, inbound_sms('x'));
$keyed->post($path, inbound_sms('x'), Authorization => 'Bearer x');
my $key = query(q{SELECT msgstore.create_api_key('', '{operate}')});
is($keyed->get('/metrics', Accept => 'application/json', Authorization => "Bearer $key")->{json}{webhooks_refused_unauthorized},
	2, 'without a key');
$keyed->stop;
my $limited = MsgstoreGateway->new($node, env => { API_RATE_LIMIT_PER_IP_PER_MIN => 1 });
$limited->post($path, inbound_sms('limited')) for 1 .. 3;
is($limited->metrics->{webhooks_refused_rate_limited}, 2, 'by a rate limit');
$limited->stop;

# Characters that the server cannot store: its setting decides, as in SQL.
my %odd = (nul => '\\u0000', half => '\\ud83d', 'other half' => '\\udc00');
sub odd { my ($id) = @_; return json(inbound_sms($id, body => 'HERE')) =~ s/HERE/a$odd{$id}b/r }
for my $id (sort keys %odd)
{
	$answer = $gateway->post($path, odd($id));
	is($answer->{status}, 400, "$id is refused");
	like($answer->{json}{details}, qr/msgstore\.replace_invalid_text/, 'the details name the setting');
}
query("ALTER DATABASE postgres SET msgstore.replace_invalid_text = 'replace'");
my $replacing = MsgstoreGateway->new($node);
for my $id (sort keys %odd)
{
	is($replacing->post($path, odd($id))->{status}, 202, "$id is accepted with replace");
	is(query("SELECT payload->>'body' = U&'a\\FFFDb' FROM msgstore.event_log WHERE provider_message_id = '$id'"),
		't', 'as U+FFFD');
}
is($replacing->post('/api/messages/sms', '{"from":"+15550001","to":"+15550002","body":"\\u0000","timestamp":"2024-11-01T14:00:00Z"}')
	  ->{status}, 202, 'messages likewise');
$answer = $replacing->post($path, '{"a\\u0000":1,}');
is($answer->{json}{message}, 'body is not JSON at position 14', 'JSON that is broken otherwise is refused');
$replacing->stop;
query('ALTER DATABASE postgres RESET msgstore.replace_invalid_text');

is(($gateway->stop)[0], 0, 'exit code 0');
done_testing();
