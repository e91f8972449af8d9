# Settings and log: sources of values, invalid values, content of the log.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::Bin/..";
use MsgstoreGateway;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_cluster('settings', "log_statement = none\n");
my ($gateway, $answer, %settings);

sub settings
{
	my ($line) = grep { exists $_->{settings} } $_[0]->log_lines;
	return %{ $line->{settings} };
}

# Expects the start to fail, with this message in the log.
sub fails
{
	my ($what, $pattern, %option) = @_;
	my $gateway = MsgstoreGateway->new($node, %option, wait => 0);
	isnt($gateway->wait_exit, 0, "$what: does not start");
	like($gateway->log_text, $pattern, "$what: says why");
	return $gateway;
}

# Precedence is flag, environment, .env, default; the log shows the source.
my $directory = PostgreSQL::Test::Utils::tempdir();
append_to_file("$directory/.env", <<'END');
# a comment
HEALTH_PATH = status
export LOG_LEVEL="debug"
API_BREAKER_OPEN_SECS='7'
API_MAX_BODY_BYTES=1000
HOST=127.0.0.2
no equals sign
=nothing
END
$gateway = MsgstoreGateway->new(
	$node,
	directory => $directory,
	env => { API_MAX_BODY_BYTES => 2000, HOST => '127.0.0.3' },
	flags => [ '--host=127.0.0.1', '--no-batch', '--keep-alive', '5' ]);
%settings = settings($gateway);
is_deeply($settings{HOST}, { value => '127.0.0.1', source => 'flag' },
	'a flag comes first');
is_deeply(
	$settings{HTTP_KEEP_ALIVE_SECS},
	{ value => 5, source => 'flag' },
	'also with a space');
is_deeply(
	$settings{BATCH_ENABLED},
	{ value => JSON::PP::false, source => 'flag' },
	'a switch can be turned off');
is_deeply(
	$settings{API_MAX_BODY_BYTES},
	{ value => 2000, source => 'environment' },
	'then the environment');
is_deeply(
	$settings{API_BREAKER_OPEN_SECS},
	{ value => 7, source => '.env' },
	'then .env');
is_deeply(
	$settings{LOG_LEVEL},
	{ value => 'debug', source => '.env' },
	'quoted or not');
is_deeply(
	$settings{HTTP_REQUEST_TIMEOUT_SECS},
	{ value => 10, source => 'default' },
	'then the default');
is($gateway->get('/status')->{status}, 200, 'health path, with its slash added');
is($gateway->get('/healthz')->{status}, 404, 'which replaces the default');
is($gateway->get('/health')->{status}, 200, '/health stays');
$gateway = MsgstoreGateway->new($node, env => { HEALTH_PATH => '  ' });
is($gateway->get('/healthz')->{status},
	200, 'a blank health path is the default');

# A provider's unset values default to the common ones.
$gateway = MsgstoreGateway->new(
	$node,
	env => {
		API_PROVIDER_ERROR_PCT => 10,
		API_PROVIDER_SEED => 7,
		API_PROVIDER_SMS_ERROR_PCT => 20,
		API_PROVIDER_EMAIL_SEED => 8,
		MOCK_SENDER => 'on' });
%settings = settings($gateway);
is_deeply(
	[   map { $settings{"API_PROVIDER_$_"}{value} }
		  qw(SMS_ERROR_PCT EMAIL_ERROR_PCT SMS_SEED EMAIL_SEED) ],
	[ 20, 10, 7, 8 ],
	'settings of the providers');
is($settings{MOCK_SENDER}{value},
	JSON::PP::true, 'the environment enables the sender');
$gateway->stop;

# The limit of bodies can be raised and lowered.
$gateway = MsgstoreGateway->new($node, env => { API_MAX_BODY_BYTES => 500 });
is( $gateway->post('/api/webhooks/sms',
		inbound_sms('small', body => 'x' x 500))->{status},
	413,
	'limit of 500 bytes');
$gateway->stop;
$node->safe_psql('postgres',
	"ALTER DATABASE postgres SET msgstore.max_payload_bytes = '1MB'");
$gateway =
  MsgstoreGateway->new($node, env => { API_MAX_BODY_BYTES => 1000000 });
is( $gateway->post('/api/webhooks/sms',
		inbound_sms('large', body => 'x' x 300000))->{status},
	202,
	'limit of 1 MB');

# Security headers can be turned off and configured.
$gateway =
  MsgstoreGateway->new($node, env => { SECURITY_HEADERS_ENABLED => 'false' });
$answer = $gateway->get('/healthz');
ok(!exists $answer->{headers}{$_}, "without $_")
  for
  qw(x-frame-options x-content-type-options content-security-policy referrer-policy);
ok(exists $answer->{headers}{'x-request-id'}, 'the request id stays');
$gateway = MsgstoreGateway->new($node,
	env => { CSP_DEFAULT_SRC => "'none'", HSTS_ENABLED => 'on' });
$answer = $gateway->get('/healthz');
is( $answer->{headers}{'content-security-policy'},
	"default-src 'none'",
	'CSP is set');
is( $answer->{headers}{'strict-transport-security'},
	'max-age=63072000; includeSubDomains',
	'HSTS is on');

# The gateway uses the pool's parameters of the URL, libpq the others.
$gateway = MsgstoreGateway->new($node,
	url =>
	  'max_connections=2&application_name=mine&min_connections=2&max_lifetime=60&acquire_timeout=3&idle_timeout=9'
);
ok( eventually(
		sub {
			$node->safe_psql('postgres',
				"SELECT count(*) FROM pg_stat_activity WHERE application_name = 'mine'"
			) == 3;
		}),
	'min_connections and that of the probes are opened, with the given name');
my @answers = $gateway->parallel(
	map {
		MsgstoreGateway::post_bytes('/api/messages/sms',
			sms(body => "pool $_"))
	} 1 .. 20);
is((grep { $_->{status} == 202 } @answers), 20, 'twenty clients share them');
cmp_ok($gateway->metrics->{pool_connects},
	'==', 2, 'max_connections is not exceeded');
my %shown = settings($gateway);
like(
	$shown{DATABASE_URL}{value},
	qr/min_connections=2 max_connections=2 acquire_timeout=3 idle_timeout=9 max_lifetime=60/,
	'the parameters are shown');
$gateway->stop;

# A password is never shown, however it is given.
for my $url (
	'postgresql://joe:s3cret@localhost:1/db',
	'postgresql://joe@localhost:1/db?password=s3cret')
{
	$gateway = MsgstoreGateway->new($node, env => { DATABASE_URL => $url });
	is($gateway->get('/readyz')->{status}, 503, 'not reachable');
	like(
		$gateway->log_text,
		qr/user=joe password=\*\*\*/,
		'the password is masked');
	unlike($gateway->log_text, qr/s3cret/, 'and is nowhere else');
}
for my $url (
	'postgresql://joe:s3cret@[::1',
	'postgresql://joe:s3cret@x/?nonsense=1',
	'mysql://joe:s3cret@x/')
{
	my $failed =
	  fails($url, qr/DATABASE_URL/, env => { DATABASE_URL => $url });
	unlike($failed->log_text, qr/s3cret/, 'without its password');
}
fails("pool parameter $_", qr/DATABASE_URL/, url => $_)
  for 'max_connections=0', 'max_connections=x', 'idle_timeout=-1',
  'acquire_timeout=99999999999999999999', 'max_lifetime=',
  'min_connections=3&max_connections=2';

# An invalid value ends the start, and the error names the setting.
for my $port ('x', '0', '65536', '-1', '80 80', '99999999999999999999')
{
	fails("PORT $port", qr/PORT/, env => { PORT => $port });
}
fails('a log level', qr/LOG_LEVEL/, env => { LOG_LEVEL => 'loud' });
fails(
	'a rate of 0',
	qr/API_RATE_LIMIT_PER_IP_PER_MIN/,
	env => { API_RATE_LIMIT_PER_IP_PER_MIN => 0 });
fails('a switch', qr/BATCH_ENABLED/, env => { BATCH_ENABLED => 'maybe' });
fails("proxy $_", qr/TRUST_PROXY: must be true, false, or a list/, env => { TRUST_PROXY => $_ })
  for 'proxy.example.com', '10.0.0.0/33', '10.0.0.1,2001:db8::/129', '10.0.0/8', '10.0.0.1/', '::1/-1';
fails(
	'percentages',
	qr/more than 100/,
	env => { API_PROVIDER_ERROR_PCT => 60, API_PROVIDER_TIMEOUT_PCT => 60 });
fails(
	'percentages of a provider',
	qr/API_PROVIDER_SMS_ERROR_PCT.*more than 100/,
	env =>
	  { API_PROVIDER_SMS_ERROR_PCT => 60, API_PROVIDER_TIMEOUT_PCT => 60 });
fails(
	'percentages of another provider',
	qr/API_PROVIDER_EMAIL_TIMEOUT_PCT/,
	env => { API_PROVIDER_EMAIL_TIMEOUT_PCT => 101 });
fails(
	'an invalid switch for the sender',
	qr/MOCK_SENDER/,
	env => { MOCK_SENDER => 'perhaps' });
fails(
	'a line break in a header',
	qr/CSP_DEFAULT_SRC/,
	env => { CSP_DEFAULT_SRC => "x\r\nSet-Cookie: y" });
fails('an unknown flag', qr/--nonsense/, flags => ['--nonsense']);
fails('a flag without value', qr/--port.*needs a value/, flags => ['--port']);
fails(
	'more connections than files', qr/HTTP_MAX_CONNECTIONS/,
	env => { HTTP_MAX_CONNECTIONS => 10000 },
	files => 4096);
fails(
	'a body that never fits',
	qr/HTTP_MAX_BUFFER_BYTES of 134217728 must be at least four times API_MAX_BODY_BYTES of 50000000/,
	env => { API_MAX_BODY_BYTES => 50000000 });
fails(
	'an address of another host',
	qr/could not listen on/,
	env => { HOST => '203.0.113.1', INSECURE => 'on' });
$gateway = MsgstoreGateway->new($node);
fails(
	'a port in use',
	qr/could not listen on .*: Address already in use/,
	env => { PORT => $gateway->{port} });

# --help lists every setting and exits with 0.
$gateway = MsgstoreGateway->new($node, flags => ['--help'], wait => 0);
is($gateway->wait_exit, 0, '--help');
like($gateway->log_text, qr/environment variable \Q$_\E,/, "--help has $_")
  for sort keys %settings;

# The log has one JSON line per request, without secrets, bodies or queries.
$gateway = MsgstoreGateway->new($node);
my $word = 'xyzzy-secret';
$gateway->post(
	'/api/webhooks/sms',
	inbound_sms('logged', body => $word, from => "x\nFAKE"),
	Authorization => "Bearer $word",
	'X-Api-Key' => $word,
	Cookie => $word,
	'X-Request-Id' => 'logged');
$gateway->post('/api/webhooks/sms', inbound_sms('logged', body => $word));
$gateway->post('/api/messages/sms',
	sms(body => $word, n => JSON::PP->new->decode('[1]')));
$gateway->post('/api/webhooks/sms', qq({"body":"$word","n":1e400000}));
fail_on_marked($node);
is( $gateway->post('/api/webhooks/sms',
		inbound_sms('failed', body => $word, fail => $word))->{status},
	400,
	'an error of the database');
$gateway->post('/api/webhooks/sms', qq({"body":"$word));
$gateway->get("/api/conversations?page=1&nonsense=$word");
$gateway->raw("GET /a\"b%0aFAKE%c3( HTTP/1.1\r\nHost: x\r\nX-Request-Id: odd\r\n\r\n");
$gateway->raw("GET /\x01 HTTP/1.1\r\nHost: x\r\n\r\n");
is($gateway->log_line('odd')->{status}, 404, 'an unusual path is logged');
my @lines = $gateway->log_lines;
cmp_ok(scalar @lines, '>=', 10, 'every line is JSON');
ok( !(  grep {
			!/^\{"ts":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z","level":"(debug|info|warn|error)",/
		} split /\n/,
		$gateway->log_text),
	'and starts with time and level');
unlike($gateway->log_text, qr/\Q$word\E/,
	'no body, no credentials, no query');
unlike(PostgreSQL::Test::Utils::slurp_file($node->logfile),
	qr/\Q$word\E/, "nor in the server's log");
unlike($gateway->log_text, qr/^FAKE/m, 'no line can be forged');
$gateway->stop;
like(
	$gateway->log_text,
	qr/"message":"stopping on signal TERM"\}\n.*"message":"stopped"\}\n\z/s,
	'start and stop are logged');

# Lines are written in batches, but none is lost when a signal ends the process.
# The line of a request is added after its answer and before the next request.
for my $signal ('SEGV', 'ABRT', 'QUIT')
{
	# A shell starts programs in the background with QUIT ignored.
	local $SIG{$signal} = 'DEFAULT';
	$gateway = MsgstoreGateway->new($node);
	my $socket = $gateway->connection;
	for my $n (1 .. 10)
	{
		MsgstoreGateway::syswrite_all($socket, "GET /healthz HTTP/1.1\r\nHost: x\r\nX-Request-Id: $signal-$n\r\n\r\n");
		$gateway->read_answer($socket);
	}
	kill $signal, $gateway->{pid};
	cmp_ok($gateway->wait_exit, '>', 128, "$signal ends the gateway");
	is((grep { ($_->{request_id} // '') =~ /^$signal-[1-9]$/ } $gateway->log_lines), 9, 'its last lines are written');
}

# A level hides the lines below it.
$gateway =
  MsgstoreGateway->new($node, wait => 0, env => { LOG_LEVEL => 'ERROR' });
ok(eventually(sub { ($gateway->get('/healthz')->{status} // 0) == 200 }),
	'started');
$gateway->stop;
is($gateway->log_text, '', 'nothing is logged at level error');

done_testing();
