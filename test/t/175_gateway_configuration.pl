# The command line: --version, --config, --check; SIGHUP applies a changed file.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::Bin/..";
use MsgstoreGateway;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_cluster('configuration');
my $directory = PostgreSQL::Test::Utils::tempdir();
my $file = "$directory/gateway.conf";
my $port = PostgreSQL::Test::Cluster::get_free_port();
my %none = (DATABASE_URL => undef, PORT => undef);
my ($gateway, %settings);

sub write_file
{
	my (@lines) = @_;
	unlink $file;
	append_to_file($file, join '', map { "$_\n" } @lines);
	return;
}

# Where the server is, and a port, as lines of the file.
my @where = (
	'PGHOST=' . $node->host, 'PGPORT=' . $node->port,
	'PGDATABASE=postgres', "PORT=$port");

# Starts a gateway that has nothing but the file.
sub start
{
	my (%option) = @_;
	my $gateway = MsgstoreGateway->new(
		$node,
		env => { %none, %{ $option{env} // {} } },
		flags => [ "--config=$file", @{ $option{flags} // [] } ],
		wait => $option{wait} // 1);
	$gateway->{port} = $port;
	return $gateway;
}

# Runs it to its end; returns the exit code and the output.
sub run
{
	my ($env, @flags) = @_;
	my $gateway = MsgstoreGateway->new($node, env => $env, flags => \@flags, wait => 0);
	return ($gateway->wait_exit, $gateway->log_text);
}

sub settings_of
{
	my ($line) = grep { exists $_->{settings} } $_[0]->log_lines;
	return map { $_ => join ' ', $line->{settings}{$_}{value} // '', $line->{settings}{$_}{source} }
	  keys %{ $line->{settings} };
}

# Sends SIGHUP, and returns the line of the log that answers it.
sub reload
{
	my $before = () = $gateway->log_lines;
	my @answers;
	kill 'HUP', $gateway->{pid};
	eventually(
		sub {
			my @lines = $gateway->log_lines;
			@answers = grep { $_->{message} && $_->{message} =~ /^reloaded settings|still using/ } @lines[ $before .. $#lines ];
			return scalar @answers;
		});
	return $answers[0];
}

# --version, in the log as well.
my ($release) = slurp_file("$FindBin::Bin/../../META.json") =~ /"version": "([^"]+)"/;
is_deeply([ run({}, '--version') ], [ 0, "msgstore-gateway $release\n" ], '--version');
is_deeply([ run({ PORT => 'x' }, '-V') ], [ 0, "msgstore-gateway $release\n" ], 'it needs no valid settings');

# The table of settings in the documentation says of each one whether it reloads.
my $manual = slurp_file("$FindBin::Bin/../../docs/gateway.md");
my $help = (run({}, '--help'))[1];
my %reloads = map { /^environment variable (\w+), default .*?(, reloads)?$/ ? ($1 => $2 ? 'yes' : '') : () } map { s/^ +//r } split /\n/, $help;
cmp_ok(scalar keys %reloads, '>', 30, '--help lists the settings');
for my $row ($manual =~ /^(\| `[A-Z_]+`.*)$/mg)
{
	my (undef, $names, undef, undef, $reload) = split / ?\| ?/, $row;
	for my $name (grep { exists $reloads{$_} } $names =~ /`(\w+)`/g)
	{
		is($reload, delete $reloads{$name}, "docs: reload of $name");
	}
}
is_deeply([ grep { !/^API_PROVIDER_(SMS|EMAIL)/ } keys %reloads ], [], 'docs: every setting');

# The syntax is that of systemd's environment files. The environment overrides
# the file, and a flag both. A file .env is not read.
append_to_file("$directory/.env", "HEALTH_PATH=/dotenv\n");
write_file(
	@where,
	'# a comment', '; another one', '',
	'CSP_DEFAULT_SRC="\'self\' \"x\" \\\\ \\$y \\z"',
	"AUTH_ENABLED='of'f  ",
	'LOG_LEVEL = de\\',
	'bug',
	'HEALTH_PATH=/twice', 'HEALTH_PATH=/a\\ b\\"#c',
	'API_MAX_BODY_BYTES=1000', 'API_BREAKER_OPEN_SECS=7', 'HTTP_KEEP_ALIVE_SECS=',
	'BATCH_ENABEL=false');
$gateway = MsgstoreGateway->new(
	$node,
	directory => $directory,
	env => { %none, API_MAX_BODY_BYTES => 2000, API_BREAKER_OPEN_SECS => 8 },
	flags => [ '--config', $file, '--breaker-open', '9' ]);
$gateway->{port} = $port;
%settings = settings_of($gateway);
is_deeply(
	{ map { $_ => $settings{$_} } qw(PORT CSP_DEFAULT_SRC AUTH_ENABLED LOG_LEVEL HEALTH_PATH API_MAX_BODY_BYTES API_BREAKER_OPEN_SECS HTTP_KEEP_ALIVE_SECS) },
	{   PORT => "$port file",
		CSP_DEFAULT_SRC => '\'self\' "x" \\ $y \\z file',
		AUTH_ENABLED => 'off file',
		LOG_LEVEL => 'debug file',
		HEALTH_PATH => '/a b"#c file',
		API_MAX_BODY_BYTES => '2000 environment',
		API_BREAKER_OPEN_SECS => '9 flag',
		HTTP_KEEP_ALIVE_SECS => '60 default'
	},
	'settings of a file');
ok(eventually(sub { $gateway->get('/readyz')->{status} == 200 }), 'libpq gets its variables from the file');
like($gateway->log_text, qr/"warn","message":"\\"BATCH_ENABEL\\" in \\".*\\" is not a setting of the gateway"/, 'an unknown name is reported');
unlike($gateway->log_text, qr/\\"PGHOST\\" in/, 'but not those of libpq');
like($gateway->log_text, qr/"message":"starting","version":"\Q$release\E"/, 'the log has the version');
$gateway->stop;

# A file that is not valid ends the start, and its content is not shown.
for (
	[ 'a line without =', qr/line 3 of \\".*gateway.conf\\" must be NAME=VALUE"/, '# a', 'PORT=1', 's3cret' ],
	[ 'a line without a name', qr/line 1 of/, '=s3cret' ],
	[ 'a wrong value', qr/invalid value \\"maybe\\" for BATCH_ENABLED in \\".*gateway.conf\\"/, 'BATCH_ENABLED=maybe' ])
{
	my ($what, $pattern, @lines) = @$_;
	write_file(@lines);
	my ($status, $output) = run(\%none, "--config=$file");
	is($status, 1, "$what: does not start");
	like($output, $pattern, "$what: says why");
	unlike($output, qr/s3cret/, "$what: does not show it");
}
like((run(\%none, "--config=$directory/none"))[1], qr/could not read \\".*none\\": No such file/, 'no such file');
like((run(\%none, "--config=$directory"))[1], qr/could not read \\".*\\": Is a directory/, 'a directory');
like((run(\%none, '--config'))[1], qr/\\"--config\\" needs a value/, 'no name');
unlink $file;
append_to_file($file, "# a\n" x 20000);
like((run(\%none, "--config=$file"))[1], qr/could not read \\".*\\": File too large/, 'a file that is too large');

# --check says what the log of a gateway would, and exits with its result.
write_file(@where);
my $before = $node->safe_psql('postgres', 'SELECT count(*) FROM msgstore.event_log');
is_deeply(
	[ run(\%none, "--config=$file", '--check') ],
	[ 0, "warn: degraded: no worker. No worker of this database is running. No other session has processed events for 00:03:00. Set \"msgstore.workers\" to at least 1, or process events with process() or claim().\ndegraded: webhooks can be stored\n" ],
	'--check: degraded');
is((run(\%none, "--config=$file", '--check', '--strict-readiness'))[0], 1, 'strict: fails');
$node->safe_psql('postgres', 'ALTER SYSTEM SET msgstore.workers = 1');
$node->reload;
ok(eventually(sub { (run(\%none, '--check', "--config=$file"))[1] eq "ready\n" }), 'ready');
$node->safe_psql('postgres', 'CREATE ROLE weak LOGIN');
my ($status, $output) = run({ %none, DATABASE_URL => 'postgresql://weak@' }, "--config=$file", '--check');
is($status, 1, 'missing privileges: fails');
like($output, qr/^error: not ready: missing privileges\. .* Run SELECT msgstore\.grant_access\('weak', 'ingest'\)/, 'with the statement');
like($output, qr/\nnot ready: webhooks cannot be stored\n\z/, 'and the verdict');
($status, $output) = run({ %none, DATABASE_URL => 'postgresql:///nowhere' }, "--config=$file", '--check');
is($status, 1, 'no such database: fails');
like($output, qr/^error: could not connect to the database: .*database "nowhere" does not exist\nnot ready/, 'says why');
($status, $output) = run({ %none, PORT => 'x' }, "--config=$file", '--check');
is_deeply([ $status, $output ], [ 1, "error: invalid value \"x\" for PORT (PORT): must be a number from 1 to 65535\n" ], 'an invalid setting: fails');
($status, $output) = run({ %none, TLS_CERT => '/nonsense', TLS_KEY => '/nonsense' }, "--config=$file", '--check');
is($status, 1, 'no certificate: fails');
like($output, qr{^error: could not read TLS certificate "/nonsense"}, 'says why');
($status, $output) = run({ %none, HOST => '0.0.0.0' }, "--config=$file", '--check');
is($status, 1, 'no keys: fails');
like($output, qr/^error: requests require keys, but none exist: create one with msgstore.create_api_key/m, 'says what to do');
$gateway = start();
is((run(\%none, "--config=$file", '--check'))[0], 0, 'beside a gateway that has the port');
$gateway->stop;

# SIGHUP applies what can change, and says what needs a restart.
write_file(@where);
$gateway = start();
is_deeply(reload()->{changed}, {}, 'nothing has changed');
is($gateway->get('/healthz')->{status}, 200, 'the health path');
write_file(@where, 'LOG_LEVEL=warn', 'HEALTH_PATH=/new', 'API_MAX_BODY_BYTES=500', 'HTTP_MAX_CONNECTIONS=7', 'DATABASE_URL=postgresql://joe:s3cret@x/',
	'API_RATE_LIMIT_PER_SENDER_PER_MIN=1', 'CSP_DEFAULT_SRC=new', 'TLS_CERT=/c', 'TLS_KEY=/k', 'PGOPTIONS=-c work_mem=1MB');
my $line = reload();
is($line->{message}, 'reloaded settings; some need a restart', 'settings are reloaded');
is($line->{level}, 'warn', 'with a warning');
is_deeply(
	$line->{changed},
	{   LOG_LEVEL => { value => 'warn', source => 'file' },
		HEALTH_PATH => { value => '/new', source => 'file' },
		API_MAX_BODY_BYTES => { value => 500, source => 'file' },
		API_RATE_LIMIT_PER_SENDER_PER_MIN => { value => 1, source => 'file' },
		CSP_DEFAULT_SRC => { value => 'new', source => 'file' }
	},
	'with what changed');
is_deeply(
	[ sort @{ $line->{need_restart} } ],
	[ 'DATABASE_URL', 'HTTP_MAX_CONNECTIONS', 'TLS_CERT', 'TLS_KEY', 'variables of libpq' ],
	'and what needs a restart');
my $answer = $gateway->get('/new', 'X-Request-Id' => 'quiet');
is($answer->{status}, 200, 'the new health path');
is($answer->{headers}{'content-security-policy'}, 'default-src new', 'a new header');
is($gateway->post('/api/webhooks/sms', inbound_sms('large', body => 'x' x 500))->{status}, 413, 'the new limit of a body');
is($gateway->post('/api/webhooks/sms', inbound_sms('one'))->{status}, 202, 'the old database');
is($gateway->post('/api/webhooks/sms', inbound_sms('two'))->{status}, 429, 'the new rate limit');
unlike($gateway->log_text, qr/"quiet"/, 'the new level');
unlike($gateway->log_text, qr/s3cret/, 'no password');

# A file that is not valid changes nothing.
for (
	[ 'an invalid value', qr/^invalid value "x" for LOG_LEVEL.*; still using the old settings$/, 'LOG_LEVEL=x', 'API_MAX_BODY_BYTES=1000' ],
	[ 'an invalid line', qr/^line 5 of ".*" must be NAME=VALUE; still using/, 'nonsense', 'API_MAX_BODY_BYTES=1000' ],
	[ 'a body that would never fit', qr/^HTTP_MAX_BUFFER_BYTES of 134217728 must be at least/, 'HTTP_MAX_BUFFER_BYTES=1000000000', 'API_MAX_BODY_BYTES=60000000' ])
{
	my ($what, $pattern, @lines) = @$_;
	write_file(@where, @lines);
	$line = reload();
	like($line->{message}, $pattern, "$what: is logged");
	is($line->{level}, 'error', "$what: as an error");
	is($gateway->post('/api/webhooks/sms', inbound_sms('large', body => 'x' x 500))->{status}, 413, "$what: nothing has changed");
}
unlink $file;
like(reload()->{message}, qr/^could not read/, 'no file: is logged');
is($gateway->get('/new')->{status}, 200, 'no file: nothing has changed');

# The environment and flags stay in force.
$gateway->stop;
write_file(@where);
$gateway = start(env => { HEALTH_PATH => '/mine' }, flags => [ '--csp-default-src', 'flag' ]);
write_file(@where, 'HEALTH_PATH=/file', 'CSP_DEFAULT_SRC=file', 'LOG_LEVEL=debug');
is_deeply(reload()->{changed}, { LOG_LEVEL => { value => 'debug', source => 'file' } }, 'only what the file decides');
write_file(@where);
is_deeply(reload()->{changed}, { LOG_LEVEL => { value => 'info', source => 'default' } }, 'a line that is gone means the default');

# While requests run.
for my $round (1 .. 30)
{
	write_file(@where, 'CSP_DEFAULT_SRC=' . 'x' x $round, "API_RATE_LIMIT_PER_IP_PER_MIN=" . (100000 + $round));
	my @sockets = map { $gateway->connection } 1 .. 10;
	MsgstoreGateway::syswrite_all($_, "GET /mine HTTP/1.1\r\nHost: x\r\n\r\n") for @sockets;
	kill 'HUP', $gateway->{pid};
	is((grep { ($gateway->read_answer($_) // {})->{status} == 200 } @sockets), 10, "round $round");
}
is(($gateway->stop)[0], 0, 'exit code 0');

# IPv6, or a plain word that this civetweb has none.
for my $host ('::1', '[::1]', '0:0:0:0:0:0:0:1')
{
	(my $shown = $host) =~ tr/[]//d;
	my $other = PostgreSQL::Test::Cluster::get_free_port();
	$gateway = MsgstoreGateway->new($node, env => { HOST => $host, PORT => $other }, wait => 0);
	ok(eventually(sub { $gateway->log_text =~ /listening on|could not listen/ }), 'starts or says why not');
	like($gateway->log_text,
		qr/listening on \[\Q$shown\E\]:$other|could not listen on \[\Q$shown\E\]:$other: civetweb was built without IPv6: listen on an IPv4 address behind a proxy/,
		"HOST=$host");
	unlike($gateway->log_text, qr/require keys/, 'is loopback');
	$gateway->stop;
}

done_testing();
