# The gateway behind pgbouncer with transaction pooling: everything works, and no
# setting of a request is left behind in a server session that others use next.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::Bin/..";
use MsgstoreGateway;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my ($program) = grep { -x } '/usr/sbin/pgbouncer', '/usr/bin/pgbouncer';
plan skip_all => 'pgbouncer is not installed' if !$program;

my $node = start_cluster('pooler', "msgstore.workers = 1\n");
my $settings = join ', ',
  map { "current_setting('$_')" }
  qw(statement_timeout lock_timeout synchronous_commit msgstore.tenant_id);

# Stands for the server wherever MsgstoreGateway asks it for host and port.
package Pooler
{
	use IPC::Run;

	sub new
	{
		my ($class, $node, $size) = @_;
		my $self = bless {
			port => PostgreSQL::Test::Cluster::get_free_port(),
			directory => PostgreSQL::Test::Utils::tempdir()
		}, $class;
		my $user = getpwuid $<;
		my $host = $node->host;
		my $port = $node->port;
		PostgreSQL::Test::Utils::append_to_file("$self->{directory}/ini", <<"INI");
[databases]
postgres = host=$host port=$port user=$user pool_size=$size
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = $self->{port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
logfile = $self->{directory}/log
INI
		$self->{run} = IPC::Run::start([ $program, '-q', "$self->{directory}/ini" ],
			'>', '/dev/null', '2>&1');
		return $self;
	}
	sub host { return '127.0.0.1' }
	sub port { return $_[0]{port} }

	sub psql
	{
		my ($self, $sql) = @_;
		my ($out, $error);
		IPC::Run::run(
			[   'psql', '-XAtq', "host=127.0.0.1 port=$self->{port} dbname=postgres", '-c', $sql ],
			'>', \$out, '2>', \$error);
		chomp $out;
		return $error eq '' ? $out : undef;
	}
	sub DESTROY { local ($?, $@); $_[0]{run}->kill_kill if $_[0]{run} }
}

my $pooler = Pooler->new($node, 1);
ok(eventually(sub { defined $pooler->psql('SELECT 1') }), 'pgbouncer answers');
my $fresh = $pooler->psql("SELECT $settings");
my $gateway = MsgstoreGateway->new($pooler, env => { DATABASE_QUERY_TIMEOUT_SECS => 2 });

# One server session serves ten of the gateway.
my @answers = $gateway->parallel(
	map { MsgstoreGateway::post_bytes('/api/webhooks/sms', inbound_sms("p-$_")) }
	  1 .. 50);
is((grep { $_->{status} == 202 } @answers), 50, 'webhooks');
@answers = $gateway->parallel(
	map { MsgstoreGateway::post_bytes('/api/messages/sms', sms(body => "p $_")) }
	  1 .. 20);
is((grep { $_->{status} == 202 } @answers), 20, 'sends');
ok( eventually(
		sub {
			my $list = $gateway->get('/api/conversations')->{json}{items};
			return $list->[0]{message_count} == 70;
		}),
	'lists');
is($gateway->get('/readyz')->{status}, 200, 'ready');
is($gateway->metrics->{database_up}, 1, 'metrics');
is($node->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'msgstore-gateway%'"),
	1, 'through one session of the server');
is($pooler->psql("SELECT $settings"), $fresh, 'nothing is left behind in it');

# The time limit of statements applies all the same, and so does that of sends.
my $holder = $node->background_psql('postgres');
for my $case (
	[ event_log => '/api/webhooks/sms', inbound_sms('locked') ],
	[ conversations => '/api/messages/sms', sms(body => 'locked') ])
{
	my ($table, $path, $body) = @$case;
	$holder->query_safe("BEGIN; LOCK TABLE msgstore.$table");
	my $start = time;
	is($gateway->post($path, $body)->{status}, 503, "$table is locked: 503");
	cmp_ok(time - $start, '<', 4, "$table is locked: in time");
	$holder->query_safe('ROLLBACK');
	is($gateway->post($path, $body)->{status}, 202, "then $path is accepted");
}
is($pooler->psql("SELECT $settings"), $fresh, 'still nothing is left behind');

# Commits are durable where the default is that they are not.
$holder->quit;
$node->safe_psql('postgres', q{
	ALTER DATABASE postgres SET synchronous_commit = off;
	CREATE TABLE seen (setting text);
	CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
	    INSERT INTO public.seen VALUES (current_setting('synchronous_commit'));
	    RETURN NULL;
	END
	$$;
	CREATE TRIGGER see AFTER INSERT ON msgstore.event_log
	FOR EACH ROW EXECUTE FUNCTION see();
	SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
	WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()});
ok( eventually(
		sub { $gateway->post('/api/webhooks/sms', inbound_sms('durable'))->{status} == 202 }),
	'accepted');
is($node->safe_psql('postgres', 'SELECT DISTINCT setting FROM seen'), 'on', 'commits are durable');
like($pooler->psql("SELECT $settings"), qr/\|off\|/, 'and the default is as it was');
is(($gateway->stop)[0], 0, 'exit code 0');

# Tenants of keys are separate in shared sessions.
my $two = Pooler->new($node, 2);
my %key = map {
	$_ => $node->safe_psql('postgres',
		"SELECT msgstore.create_api_key('$_', ARRAY['ingest', 'send', 'read'])")
} qw(ann bob);
ok(eventually(sub { defined $two->psql('SELECT 1') }), 'another pgbouncer answers');
$gateway = MsgstoreGateway->new($two, env => { AUTH_ENABLED => 'on' });
@answers = $gateway->parallel(
	map {
		MsgstoreGateway::post_bytes(
			'/api/messages/sms',
			sms(body => "t $_"),
			Authorization => 'Bearer ' . $key{ $_ % 3 ? 'ann' : 'bob' })
	} 1 .. 30);
is((grep { $_->{status} == 202 } @answers), 30, 'sends of two tenants');
my %expected = (ann => 20, bob => 10);
for my $tenant (sort keys %expected)
{
	my $list = $gateway->get('/api/conversations', Authorization => "Bearer $key{$tenant}");
	is($list->{json}{items}[0]{message_count},
		$expected{$tenant}, "$tenant sees its own");
}
is($two->psql("SELECT current_setting('msgstore.tenant_id')"), '', 'no tenant is left behind');
is(($gateway->stop)[0], 0, 'exit code 0');
done_testing();
