# A session cannot choose its tenant; API keys appear in no log; privileges,
# policies and keys survive a dump and exist on a standby.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::Bin/..";
use MsgstoreServer;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('access', 'msgstore.workers = 0', allows_streaming => 1);
$node->start;
add_database($node, 'store');

sub sql { return $node->safe_psql($_[1] // 'store', $_[0]) }

# The output and the messages of a login's session. A session that options refuse does not
# read its input, and IPC::Run can die of that, so the script is an argument then.
sub as
{
	my ($role, $script, %options) = @_;
	my ($out, $err) = ('', '');
	local $ENV{PGOPTIONS} = $options{options} // '';
	($options{node} // $node)->psql(
		$options{database} // 'store', $options{options} ? undef : $script,
		stdout => \$out, stderr => \$err, on_error_stop => 0,
		extra_params => [ '-U', $role, $options{options} ? ('-c', $script) : () ]);
	$err =~ s/^psql:<stdin>:\d+: //gm;
	return "$out$err";
}

sql(<<'SQL');
CREATE ROLE tenant_a LOGIN;
CREATE ROLE gateway LOGIN;
CREATE ROLE anybody LOGIN;
ALTER ROLE tenant_a SET msgstore.tenant_id = 'a';
ALTER ROLE tenant_a SET msgstore.owner = 'ann';
GRANT SET ON PARAMETER msgstore.tenant_id, msgstore.owner TO gateway;
SELECT msgstore.grant_access('tenant_a', 'read'), msgstore.grant_access('tenant_a', 'ingest'),
    msgstore.grant_access('gateway', 'read'), msgstore.grant_access('gateway', 'ingest'),
    msgstore.grant_access('anybody', 'read');
SET msgstore.tenant_id = 'a';
SELECT msgstore.send('sms', event(NULL, '+1801', 'of a'));
SET msgstore.tenant_id = 'b';
SELECT msgstore.send('sms', event(NULL, '+1802', 'of b'));
SET msgstore.tenant_id = '';
SELECT msgstore.send('sms', event(NULL, '+1803', 'of nobody'));
SQL

my $mine = "SELECT string_agg(body, ', ' ORDER BY body) FROM msgstore.messages;
SELECT msgstore.list_conversations() #>> '{meta,total}';";

# The tenant comes from the settings of the role.
is(as('tenant_a', $mine), "of a\n1", 'a login sees its tenant');
is(as('gateway', $mine), "of a, of b, of nobody\n3", 'a login without a tenant sees all tenants');
is(as('anybody', $mine), "of a, of b, of nobody\n3", 'if it has the read level');

# An ordinary role cannot change the settings in any way.
for my $setting (qw(tenant_id owner admin))
{
	for my $command ("SET msgstore.$setting = 'on'", "SET LOCAL msgstore.$setting = ''",
		"RESET msgstore.$setting", "SET msgstore.$setting TO DEFAULT",
		"SELECT set_config('msgstore.$setting', 'on', false)",
		"ALTER ROLE tenant_a SET msgstore.$setting = 'on'",
		"ALTER ROLE tenant_a RESET msgstore.$setting",
		"CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql SET msgstore.$setting = 'on' AS 'SELECT 1'",
		"UPDATE pg_settings SET setting = 'on' WHERE name = 'msgstore.$setting'")
	{
		like(as('tenant_a', "BEGIN; $command"), qr/permission denied|must be owner/, "no $command");
	}
	like(as('tenant_a', 'SELECT 1', options => "-c msgstore.$setting=on"),
		qr/permission denied to set parameter "msgstore.$setting"/, "nor $setting in the connection");
}
is(as('tenant_a', "ALTER ROLE tenant_a RESET ALL; RESET ALL; DISCARD ALL; $mine"), "of a\n1", 'nor with RESET and DISCARD');
is(as('tenant_a', $mine), "of a\n1", 'nor in the next session');
is(as('tenant_a', "SET SESSION AUTHORIZATION DEFAULT; RESET ROLE; SET msgstore.response_store = 'durable'; $mine"),
	"of a\n1", 'resetting the role keeps the tenant');

# A role with SET on the parameter chooses the tenant of a transaction.
is(as('gateway', "BEGIN; SET LOCAL msgstore.tenant_id = 'a'; $mine COMMIT; $mine"),
	"of a\n1\nof a, of b, of nobody\n3", 'a gateway works for a tenant, until its transaction ends');
is(as('gateway', "BEGIN; SELECT set_config('msgstore.tenant_id', 'a', true); SAVEPOINT s; SET LOCAL msgstore.tenant_id = 'b';
	ROLLBACK TO s; $mine ROLLBACK; $mine"), "a\nof a\n1\nof a, of b, of nobody\n3", 'also if it is rolled back');

# The policies apply to any grant besides the levels, and to an owner that is not
# a superuser.
sql(<<'SQL');
SELECT msgstore.save_response(jsonb_build_object('id', 'plain', 'status', 'completed', 'model', 'm'));
SET msgstore.tenant_id = 'a';
SET msgstore.owner = 'ann';
SELECT msgstore.save_response(jsonb_build_object('id', 'of-ann', 'status', 'completed', 'model', 'm'));
SET msgstore.owner = 'bob';
SELECT msgstore.save_response(jsonb_build_object('id', 'of-bob', 'status', 'completed', 'model', 'm'));
SET msgstore.owner = '';
SELECT msgstore.save_response(jsonb_build_object('id', 'of-all', 'status', 'completed', 'model', 'm'));
GRANT ALL ON ALL TABLES IN SCHEMA msgstore TO tenant_a;
SQL
is(as('tenant_a', "SELECT string_agg(id, ', ' ORDER BY id) FROM msgstore.responses"), 'of-all, of-ann',
	'a response is read by its owner, and by all when it has none');
is(sql("SET msgstore.admin = on; SET msgstore.owner = 'ann'; SET msgstore.tenant_id = 'a'; SET ROLE tenant_a;
	SELECT string_agg(id, ', ' ORDER BY id) FROM msgstore.responses"), 'of-all, of-ann, of-bob', 'an administrator sees all owners');
is(as('tenant_a', "UPDATE msgstore.tenant_limits SET burst = 1; DELETE FROM msgstore.conversation_rows WHERE tenant_id = 'b';
	DELETE FROM msgstore.responses WHERE id = 'of-bob'; SELECT count(*) FROM msgstore.responses"), 2, 'rows of others cannot be changed');
is(sql("SELECT count(*) FROM msgstore.responses WHERE id = 'of-bob' UNION ALL SELECT count(*) FROM msgstore.conversations"), "1\n3", 'and were not');
like(as('tenant_a', $_), qr/new row violates row-level security policy/, $_)
  for "INSERT INTO msgstore.tenant_limits VALUES ('b', 1, 1)", "INSERT INTO msgstore.tenant_limits VALUES ('', 1, 1)",
  "INSERT INTO msgstore.tenant_limits VALUES ('a', 1, 1) ON CONFLICT (tenant_id) DO UPDATE SET tenant_id = 'b';
	UPDATE msgstore.tenant_limits SET tenant_id = 'b'";
sql(<<'SQL');
DELETE FROM msgstore.tenant_limits;
REVOKE ALL ON ALL TABLES IN SCHEMA msgstore FROM tenant_a;
SELECT msgstore.grant_access('tenant_a', 'read');
CREATE ROLE keeper LOGIN;
SQL
my $owner = sql("SELECT relowner::regrole FROM pg_class WHERE oid = 'msgstore.messages'::regclass");
sql("ALTER TABLE msgstore.messages OWNER TO keeper; GRANT USAGE ON SCHEMA msgstore TO keeper");
is(sql("SET msgstore.tenant_id = 'a'; SET ROLE keeper; SELECT count(*) FROM msgstore.messages"), 1, 'the policy applies to the owner of the table');
sql("ALTER TABLE msgstore.messages OWNER TO $owner; DROP OWNED BY keeper; DROP ROLE keeper");

# Functions with the owner's rights append rows without a statement, in spite of
# row security. The statement log shows which way they took.
my $offset = -s $node->logfile;
my $traced = "SET session_preload_libraries = 'auto_explain'";
sql("ALTER ROLE tenant_a $traced; ALTER ROLE tenant_a SET auto_explain.log_min_duration = 0;
	ALTER ROLE tenant_a SET auto_explain.log_nested_statements = on;");
as('tenant_a', "SELECT msgstore.append('fast-1', 'Opened', '{}');
	SELECT msgstore.ingest('sms', public.event('fast'))");
unlike(log_of($node, $offset), qr/INSERT INTO msgstore\.(stream_events|event_log)/, 'append and ingest need no statement');
is(sql("SELECT tenant_id FROM msgstore.stream_events UNION ALL SELECT tenant_id FROM msgstore.event_log"), "a\na", 'and the rows belong to the tenant');
sql("CREATE RULE r AS ON INSERT TO msgstore.stream_events WHERE false DO INSTEAD NOTHING");
as('tenant_a', "SELECT msgstore.append('fast-1', 'Opened', '{}')");
like(log_of($node, $offset), qr/INSERT INTO msgstore\.stream_events/, 'which the log would show');
sql("DROP RULE r ON msgstore.stream_events");

# No statement that the server can log contains the secret of a key.
$offset = -s $node->logfile;
my $logged = "LOAD 'auto_explain'; SET auto_explain.log_min_duration = 0; SET auto_explain.log_nested_statements = on;
	SET auto_explain.log_analyze = on; SET log_statement = 'all'; SET log_min_messages = debug1; SET debug_print_plan = on;";
my $key = (split /\n/, sql("$logged CREATE TEMP TABLE k AS SELECT msgstore.create_api_key('a', '{ingest,read}') AS key;
	SELECT a.tenant_id, k.key FROM k, msgstore.authenticate(k.key) a"))[-1];
my ($secret) = $key =~ /^a\|mk_[0-9a-f]{16}_([0-9a-f]{48})$/;
isnt($secret, undef, 'a key');
$key =~ s/^a\|//;
like(log_of($node, $offset), qr/msgstore\.api_keys/, 'the statements of the function are logged');
unlike(log_of($node, $offset), qr/$secret/, 'the secret is not');
sql("SELECT msgstore.set_tenant_limit('a', 5, 9)");
my $asks = "SELECT tenant_id, scopes, requests_per_second, burst FROM msgstore.authenticate('$key')";
is(as('gateway', $asks), 'a|{ingest,read}|5|9', 'a gateway can authenticate a key');
like(as('gateway', 'SELECT * FROM msgstore.list_api_keys()'), qr/permission denied/, 'but cannot list keys');
like(as('gateway', 'SELECT * FROM msgstore.api_keys'), qr/permission denied/, 'nor read their hashes');

# Concurrent sessions do not wait for each other to record the use of a key.
sql('UPDATE msgstore.api_keys SET last_used_at = NULL');
my $holder = $node->background_psql('store');
$holder->query_safe("BEGIN; SELECT * FROM msgstore.authenticate('$key')");
is(sql("SET statement_timeout = '20s'; SELECT count(*) FROM msgstore.authenticate('$key')"), 1, 'authenticate does not wait');
$holder->query_safe('COMMIT');
$holder->quit;
isnt(sql('SELECT last_used_at FROM msgstore.list_api_keys()'), '', 'the use is recorded');
my $serial = $node->background_psql('store');
sql('UPDATE msgstore.api_keys SET last_used_at = NULL');
$serial->query_safe('BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT count(*) FROM msgstore.list_api_keys()');
sql("SELECT * FROM msgstore.authenticate('$key')");
is($serial->query_safe("SELECT tenant_id FROM msgstore.authenticate('$key')"), 'a', 'a serialization conflict does not fail the call');
$serial->quit;

# On a standby, keys work and their use is not recorded.
sql('UPDATE msgstore.api_keys SET last_used_at = NULL');
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
is(as('gateway', $asks, node => $standby), 'a|{ingest,read}|5|9', 'the key works on a standby');
is(as('tenant_a', $mine, node => $standby), "of a\n1", 'and the policies apply');
$standby->stop;

# A dump contains privileges, policies and keys.
my $guards = <<'SQL';
SELECT tablename, policyname, permissive, roles, cmd, qual, with_check FROM pg_policies WHERE schemaname = 'msgstore' ORDER BY 1, 2;
SELECT relname, relrowsecurity, relforcerowsecurity, reloptions FROM pg_class WHERE relnamespace = 'msgstore'::regnamespace ORDER BY 1;
SELECT rolname, msgstore._levels_of(oid) FROM pg_roles WHERE rolname IN ('tenant_a', 'gateway', 'anybody') ORDER BY 1;
SELECT p.oid::regprocedure, a.* FROM pg_proc p, aclexplode(p.proacl) a WHERE p.pronamespace = 'msgstore'::regnamespace ORDER BY 1::text, 3, 4;
SQL
for my $format (qw(plain custom))
{
	my $file = "$PostgreSQL::Test::Utils::tmp_check/access.$format";
	$node->command_ok([ 'pg_dump', "--format=$format", '-f', $file, $node->connstr('store') ], "dump as $format");
	sql("CREATE DATABASE from_$format");
	$node->command_ok($format eq 'plain'
		? [ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-f', $file, $node->connstr("from_$format") ]
		: [ 'pg_restore', '--exit-on-error', '-d', $node->connstr("from_$format"), $file ], 'restore it');
	is(sql($guards, "from_$format"), sql($guards), 'every policy and privilege is restored');
	is(as('gateway', $asks, database => "from_$format"), 'a|{ingest,read}|5|9', 'the key works');
	is(as('tenant_a', $mine, database => "from_$format"), "of a\n1", 'and a tenant sees its rows');
}

# Without preloading, the server accepts any value for a setting that it does not
# know yet. That must not give access.
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$node->restart;
is(as('tenant_a', $mine), "of a\n1", 'without preloading a login sees its tenant');
like(as('tenant_a', "SET msgstore.tenant_id = 'b'; $mine"), qr/^of a\n1WARNING/, 'a value set before the module is loaded is discarded');
like(as('tenant_a', "BEGIN; SET LOCAL msgstore.tenant_id = ''; $mine"), qr/^of a\n1WARNING/, 'so is an empty value');
like(as('tenant_a', "RESET msgstore.tenant_id; $mine"), qr/^of a\n1/, 'and RESET does not remove the tenant of the role');
for my $value ('tenant_id=b', 'tenant_id=', 'tenant_id=a', 'Tenant_Id=', 'tenant-id=')
{
	like(as('tenant_a', $mine, options => "-c msgstore.$value"),
		qr/^(psql:.*)?FATAL:  permission denied to set parameter "msgstore.tenant_id"/m,
		"a value from the connection, $value, ends the session");
}
like(as('tenant_a', $mine, options => '-c msgstore.owner=bob'),
	qr/FATAL:  permission denied to set parameter "msgstore.owner"/, 'the same for the owner');
sql("ALTER ROLE tenant_a SET session_preload_libraries = 'msgstore'");
like(as('tenant_a', $mine, options => '-c msgstore.tenant_id='),
	qr/FATAL:  permission denied to set parameter/, 'at once if the session preloads the module');
is(as('tenant_a', $mine), "of a\n1", 'and otherwise sees its tenant');
sql("ALTER ROLE tenant_a RESET session_preload_libraries");
sql("ALTER ROLE tenant_a RESET msgstore.tenant_id; ALTER DATABASE store SET msgstore.tenant_id = 'b'");
is(as('tenant_a', $mine), "of b\n1", 'a database can have a tenant');
like(as('tenant_a', $mine, options => '-c msgstore.tenant_id='),
	qr/FATAL:  permission denied to set parameter/, 'and the connection cannot remove it');
is(as('gateway', $mine, options => '-c msgstore.tenant_id=a'), "of a\n1", 'a role with SET can choose it in the connection, too');

$node->stop;
done_testing();
