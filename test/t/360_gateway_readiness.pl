# /readyz is true: ready only if a webhook posted now would be stored and
# processed. What is missing is named, in the answer and in the log, with the
# statement that mends it; and a start that fails ends with its reason.
use strict;
use warnings FATAL => 'all';

use FindBin;
use IO::Socket::INET;
use lib "$FindBin::Bin/..";
use MsgstoreGateway;
use Test::More;
use Time::HiRes qw(time);

my $node = start_cluster('readiness', "msgstore.workers = 1\n");
my $gateway = MsgstoreGateway->new($node);
my $answer;

sub sql { return $node->safe_psql('postgres', $_[0]) }

# Polls until /readyz has that status and state; the state of a 503 is
# "not ready".
sub becomes
{
	my ($what, $status, $state) = @_;
	ok( eventually(
			sub {
				$answer = $gateway->get('/readyz');
				return $answer->{status} == $status
				  && ($answer->{json}{status} // 'not ready') eq $state;
			},
			15),
		"$what: $status, $state");
	return;
}

sub findings { return join ', ', map { $_->{finding} } @{ $answer->{json}{findings} // [] } }

sub is_logged
{
	my ($what, $pattern) = @_;
	ok(eventually(sub { $gateway->log_text =~ $pattern }, 10), "$what: in the log")
	  or diag $gateway->log_text;
	return;
}

becomes('all is well', 200, 'ready');
is_deeply($answer->{json}, { status => 'ready' }, 'and nothing else is said');
is(sql("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'msgstore-gateway-probe'"),
	1, 'probes have a connection of their own');

# Nobody processes events.
sql('ALTER SYSTEM SET msgstore.workers = 0');
sql('SELECT pg_reload_conf()');
becomes('no worker', 200, 'degraded');
is(findings(), 'no worker', 'no worker: the finding');
like($answer->{json}{findings}[0]{hint}, qr/Set "msgstore\.workers" to at least 1/, 'no worker: what to do');
is($answer->{json}{findings}[0]{severity}, 'error', 'no worker: its severity');
is_logged('no worker', qr/"level":"warn","message":"degraded: no worker\. No worker .* Set \\"msgstore\.workers\\" to at least 1/);
is($gateway->post('/api/webhooks/sms', inbound_sms('degraded'))->{status},
	202, 'no worker: webhooks are stored');
my $strict = MsgstoreGateway->new($node, flags => ['--strict-readiness']);
# The first check of a busy server can take longer than the gateway waits.
eventually(sub { ($answer = $strict->get('/readyz'))->{json}{message} eq 'no worker' });
is($answer->{status}, 503, 'no worker: 503 if so configured');
is($answer->{json}{code}, 'service_unavailable', 'with its code');
is($answer->{json}{message}, 'no worker', 'and its reason');
is(findings(), 'no worker', 'and the finding');
$strict->stop;
sql('SELECT msgstore.process()');
ok( eventually(
		sub {
			$answer = $gateway->get('/readyz');
			return ($answer->{json}{findings}[0]{severity} // '') eq 'warning';
		},
		15),
	'processed by hand: a warning');
is($answer->{status}, 200, 'processed by hand: 200');
sql('ALTER SYSTEM RESET msgstore.workers');
sql('SELECT pg_reload_conf()');
becomes('the worker is back', 200, 'ready');
is_logged('the worker is back', qr/"message":"ready"/);

# The server accepts nothing.
my $user = sql('SELECT quote_ident(current_user)');
sql("ALTER ROLE $user SET default_transaction_read_only = on");
my $other = MsgstoreGateway->new($node);
$answer = $other->get('/readyz');
is($answer->{status}, 503, 'read-only: 503');
is($answer->{json}{message}, 'read-only transactions', 'read-only: says why');
sql("BEGIN READ WRITE; ALTER ROLE $user RESET default_transaction_read_only; COMMIT");
$other->stop;

# The extension is missing. The hints are statements: executed, they mend it.
sql('DROP EXTENSION msgstore');
becomes('without the extension', 503, 'not ready');
is($answer->{json}{message}, 'extension "msgstore" does not exist', 'says why');
is_logged('without the extension', qr/not ready: extension \\"msgstore\\" does not exist.*Run CREATE EXTENSION msgstore\./);
mend('without the extension');
becomes('with the extension', 200, 'ready');

sub mend
{
	my ($what) = @_;
	for my $finding (@{ $answer->{json}{findings} })
	{
		my @statements = $finding->{hint} =~ /((?:CREATE EXTENSION|GRANT|SELECT) .*?)(?:\.$| and,|\.\z)/g;
		ok(scalar @statements, "$what: the hint has a statement");
		sql($_) for @statements;
	}
	return;
}

# The role has no rights: none at all, or not those of webhooks or lists.
sql('CREATE ROLE "a gateway" LOGIN');
$gateway->stop;
$gateway = MsgstoreGateway->new($node, user => 'a%20gateway');
becomes('no rights', 503, 'not ready');
is(findings(), 'missing privileges', 'no rights: the finding');
like($answer->{json}{findings}[0]{detail}, qr/Role "a gateway" has no USAGE privilege on schema msgstore/, 'no rights: which');
is_logged('no rights', qr/not ready: missing privileges\. Role \\"a gateway\\" has no USAGE/);
mend('no rights');
becomes('with rights', 200, 'ready');
sql('REVOKE EXECUTE ON FUNCTION msgstore.ingest_batch(jsonb) FROM "a gateway"');
becomes('not allowed to store', 503, 'not ready');
like($answer->{json}{findings}[0]{detail}, qr/no EXECUTE privilege on msgstore\.ingest_batch\(jsonb\)/, 'not allowed to store: which');
mend('not allowed to store');
becomes('allowed to store', 200, 'ready');
sql('REVOKE EXECUTE ON FUNCTION msgstore.list_messages(text, int, int, text, boolean) FROM "a gateway"');
becomes('not allowed to list', 200, 'degraded');
like($answer->{json}{findings}[0]{detail}, qr/list_messages/, 'not allowed to list: which');
mend('not allowed to list');
becomes('allowed to list', 200, 'ready');

# Keys need a privilege on the tenant. Clients without a key learn no names.
$gateway->stop;
sql(q{SELECT msgstore.create_api_key('acme', ARRAY['ingest'])});
$gateway = MsgstoreGateway->new($node, user => 'a%20gateway', flags => [ '--auth', 'on' ]);
becomes('no tenant', 503, 'not ready');
is_deeply($answer->{json}{findings}, [ { finding => 'tenant cannot be set', severity => 'error' } ],
	'no tenant: neither role nor statement is shown');
is_logged('no tenant', qr/not ready: tenant cannot be set.*Run GRANT SET ON PARAMETER msgstore\.tenant_id TO \\"a gateway\\"\./);
sql('GRANT SET ON PARAMETER msgstore.tenant_id TO "a gateway"');
becomes('with the tenant', 200, 'ready');

# A database that does not answer: the last answer counts for a while, and no
# probe waits for longer than its own time limit.
my $locker = $node->background_psql('postgres');
$locker->query_safe('BEGIN; LOCK TABLE pg_catalog.pg_extension');
my ($seen, $slowest) = (200, 0);
ok( eventually(
		sub {
			my $start = time;
			$seen = $gateway->get('/readyz')->{status};
			$slowest = time - $start if time - $start > $slowest;
			return $seen == 503;
		}),
	'a check that hangs: 503 after a while');
cmp_ok($slowest, '<', 2, 'a check that hangs: each probe is answered in time');
$locker->query_safe('ROLLBACK');
$locker->quit;
becomes('the check goes on', 200, 'ready');

# Many probes at once, and a session that was ended.
sql("SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE application_name = 'msgstore-gateway-probe'");
ok( eventually(
		sub {
			$gateway->get('/readyz');
			return sql("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'msgstore-gateway-probe'") == 1;
		}),
	'a lost session is opened again');
my @answers = $gateway->parallel(("GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n") x 100);
is((grep { $_->{status} == 200 } @answers), 100, 'a hundred probes');
is(sql("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'msgstore-gateway-probe'"),
	1, 'and one session');
is(($gateway->stop)[0], 0, 'exit code 0');

# Without preloading events are stored, but not for the tenant of a key.
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$node->restart;
$gateway = MsgstoreGateway->new($node);
becomes('not preloaded', 200, 'degraded');
is(findings(), 'library not preloaded', 'not preloaded: the finding');
is($gateway->post('/api/webhooks/sms', inbound_sms('by hand'))->{status}, 202, 'not preloaded: stored');
$gateway->stop;
$gateway = MsgstoreGateway->new($node, flags => [ '--auth', 'on' ]);
becomes('not preloaded, with keys', 503, 'not ready');
is(($gateway->stop)[0], 0, 'exit code 0');

# A start that fails: the last line is the reason, and it comes at once, also if
# the database does not answer, or refuses.
my $silent = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 5) or die $!;
my $silent_url = 'postgresql://x@127.0.0.1:' . $silent->sockport . '/postgres';
my $taken = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 5) or die $!;
my %database = (
	there => {},
	silent => { DATABASE_URL => $silent_url },
	away => { DATABASE_URL => 'postgresql://x@127.0.0.1:1/postgres' },
	'without that role' => { DATABASE_URL => 'postgresql://nobody@/postgres?port=' . $node->port . '&host=' . MsgstoreGateway::escape($node->host) });
my %mistake = (
	'a port in use' => [ qr/^could not listen on 127\.0\.0\.1:\d+: Address already in use$/, PORT => $taken->sockport ],
	'a host elsewhere' => [ qr/^could not listen on 203\.0\.113\.1:\d+: Cannot assign requested address$/, HOST => '203.0.113.1', INSECURE => 'on' ],
	'no such host' => [ qr/^could not listen on nonsense:\d+: "nonsense" is not an address of this machine/, HOST => 'nonsense', INSECURE => 'on' ],
	'no certificate' => [ qr/^could not read TLS certificate "\/none": No such file/, TLS_CERT => '/none', TLS_KEY => '/none' ],
	'no key' => [ qr/^could not read TLS key "\/none": No such file/, TLS_CERT => '/etc/passwd', TLS_KEY => '/none' ]);
for my $database (sort keys %database)
{
	for my $mistake (sort keys %mistake)
	{
		my ($pattern, %env) = @{ $mistake{$mistake} };
		my $start = time;
		my $one = MsgstoreGateway->new($node, env => { %{ $database{$database} }, %env }, wait => 0);
		is($one->wait_exit, 1, "$mistake, database $database: does not start");
		cmp_ok(time - $start, '<', 4, "$mistake, database $database: in time");
		my $last = ($one->log_lines)[-1];
		like($last->{message}, $pattern, "$mistake, database $database: the last line is the reason");
		is($last->{level}, 'error', "$mistake, database $database: an error");
	}
}
$node->stop;
done_testing();
