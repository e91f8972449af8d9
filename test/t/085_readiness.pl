# readiness() names what keeps an event from being stored and processed, and how
# to mend it; CREATE EXTENSION and check() say that the library is not preloaded.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::Bin/..";
use MsgstoreServer;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('ready', 'msgstore.workers = 1', allows_streaming => 1);
$node->start;
add_database($node, 'store');
wait_for_workers($node, 'store', 1);

sub sql { return $node->safe_psql('store', $_[0]) }

# Findings with their severity, for a role or with settings.
sub findings
{
	my ($before, $argument) = @_;
	$argument //= '';
	return sql(($before // '') . "SELECT severity || ' ' || finding FROM msgstore.readiness($argument)");
}

is(findings(), '', 'nothing is missing');
# Orchestrators call it every few seconds. The first call of a session fills its caches.
my ($pages) = sql(<<'SQL') =~ /"Shared Hit Blocks": (\d+).*\z/s;
SELECT FROM msgstore.readiness();
SELECT FROM msgstore.readiness();
EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT FROM msgstore.readiness();
SQL
note("readiness() reads $pages pages");
cmp_ok($pages, '<', 500, 'it is cheap');

# Privileges. Each level may call it, and the hints are statements that help.
sql('CREATE ROLE nobody; GRANT USAGE ON SCHEMA msgstore TO nobody');
my ($rc, undef, $error) = $node->psql('store', 'SET ROLE nobody; SELECT msgstore.readiness()');
like($error, qr/permission denied for function readiness/, 'a role without a level cannot call it');
foreach my $level (qw(ingest read process operate))
{
	sql("CREATE ROLE \"Level $level\"");
	sql("SELECT msgstore.grant_access('\"Level $level\"', '$level')");
}
is(findings('SET ROLE "Level ingest";'), 'warning missing privileges', 'ingest: it cannot read');
is(findings('SET ROLE "Level read";'), "error missing privileges\nwarning missing privileges", 'read: it cannot store');
is( findings('SET ROLE "Level process";'),
	"error missing privileges\nwarning missing privileges\nwarning missing privileges",
	'process: neither');
is(findings('SET ROLE "Level operate";'), '', 'operate: includes the others');
is( sql('SET ROLE "Level ingest"; SELECT detail, hint FROM msgstore.readiness()'),
	'Role "Level ingest" has no EXECUTE privilege on '
	  . join(', ', sort(split(/\n/, sql(<<'SQL'))))
SELECT oid::regprocedure FROM pg_proc
WHERE pronamespace = 'msgstore'::regnamespace AND proname IN (SELECT name FROM msgstore._gateway_functions() WHERE level = 'read')
SQL
	  . ".|Run SELECT msgstore.grant_access('\"Level ingest\"', 'read').",
	'each function is named, and the level that grants it');
foreach my $level (qw(ingest read process))
{
	my $hints = sql("SET ROLE \"Level $level\"; SELECT string_agg(trim(trailing '.' FROM substr(hint, 5)), ';') FROM msgstore.readiness()");

	sql($hints);
	is(findings("SET ROLE \"Level $level\";"), '', "$level: after the hints, nothing");
}

# API keys need a role that may set the tenant.
sql("SELECT msgstore.create_api_key('acme', '{ingest}')");
is(findings('SET ROLE "Level ingest";'), 'error tenant cannot be set', 'there are keys');
sql('SET ROLE "Level ingest"; SELECT trim(trailing \'.\' FROM substr(hint, 5)) FROM msgstore.readiness()') =~ /^(GRANT .*)/
  or die 'no statement in the hint';
sql($1);
is(findings('SET ROLE "Level ingest";'), '', 'and the role may set the tenant');

# The list of the gateway's functions is what the gateway calls. The mock sender
# is not for production.
{
	my %called;
	foreach my $file (glob("$FindBin::Bin/../../gateway/*.c $FindBin::Bin/../../gateway/*/*.c"))
	{
		next if $file =~ m{/(?:mock|sender)/};
		$called{$_} = 1 foreach slurp_file($file) =~ /\bmsgstore\.([a-z_]+)\(/g;
	}
	# Readiness itself, and a statement in a message for the operator.
	delete @called{qw(readiness grant_access)};
	# A gateway without these levels answers 403 on their routes.
	delete @called{split /\n/, sql(<<'SQL')};
SELECT a.name FROM msgstore._access_rights() a GROUP BY a.name
HAVING bool_and(a.level IN ('process', 'operate'))
SQL
	is( join("\n", sort keys %called),
		sql('SELECT name FROM msgstore._gateway_functions() ORDER BY name COLLATE "C"'),
		'_gateway_functions() lists what the gateway calls');
}

# Old events. An id of version 7 begins with the time of acceptance.
sql(<<'SQL');
SELECT msgstore.process();
ALTER SYSTEM SET msgstore.workers = 0;
SELECT pg_reload_conf();
CREATE FUNCTION old_event(tenant text, due timestamptz DEFAULT NULL) RETURNS void LANGUAGE sql AS $$
WITH made AS (
    INSERT INTO msgstore.event_log
        (tenant_id, id, channel, "from", "to", provider_message_id, payload)
    SELECT tenant, overlay(gen_random_uuid()::text PLACING
        regexp_replace(lpad(to_hex(floor(extract(epoch FROM now() - interval '10 minutes') * 1000)::bigint), 12, '0'),
                       '^(.{8})', '\1-') || '-7' FROM 1 FOR 15)::uuid,
        'sms', '+1', '+2', md5(random()::text), '{}'
    RETURNING tenant_id, id)
INSERT INTO msgstore.event_queue (tenant_id, event_id, next_attempt_at)
SELECT tenant_id, id, due FROM made
$$;
SQL
eventually(sub { sql("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'msgstore worker'") }, 0, 'the worker stops');
is(findings(), 'warning no worker', 'no worker, but a session has called process()');
foreach my $case (
	[ "old_event('')", 'warning old event in queue', 'a new event of ten minutes ago' ],
	[ "old_event('b')", 'warning old event in queue', 'of a tenant' ],
	[ "old_event('', now() - interval '10 minutes')", 'warning old event in queue', 'a retry that was due then' ],
	[ "old_event('', now())", '', 'an old event that was requeued now' ],
	[ "old_event('', 'infinity')", '', 'an old event that is claimed or waits in line' ])
{
	my ($call, $expected, $name) = @$case;

	is( sql("BEGIN; SELECT $call; SELECT severity || ' ' || finding FROM msgstore.readiness() WHERE finding <> 'no worker'"),
		$expected eq '' ? '' : "\n$expected", $name);
	is(sql("BEGIN; SELECT $call; SELECT count(*) FROM msgstore.readiness('1 hour') WHERE finding <> 'no worker'"), "\n0", "$name: not with a limit of an hour");
	is( sql("BEGIN; SELECT $call; SET LOCAL msgstore.tenant_id = 'a'; SELECT count(*) FROM msgstore.readiness() WHERE finding <> 'no worker'"),
		"\n0", "$name: not for another tenant");
}
is( sql("BEGIN; SELECT old_event('', now() - interval '2 hours');
		SELECT finding, subject, repair IS NULL FROM msgstore.check()"),
	"\nold event in queue|table msgstore.event_queue|t", 'check() finds an event that has been due for hours');

# Without a worker, and without anybody who processes.
$node->restart;
is(findings(), 'error no worker', 'nobody processes');
sql("SELECT msgstore.claim('external')");
is(findings(), 'warning no worker', 'an external processor has asked for events');
$node->restart;
is(findings(), 'error no worker', 'nobody since the restart');
sql("SELECT ingest_many('c', 1)");
sql("SELECT msgstore.claim('external')");
$node->restart;
is(findings(), 'warning no worker', 'one holds a claim');
like(sql('SELECT hint FROM msgstore.readiness()'), qr/"msgstore.workers" to at least 1/, 'the setting is named');

# The server.
is(findings('SET default_transaction_read_only = on;'), "error read-only transactions\nwarning no worker", 'read-only transactions');
sql("UPDATE pg_extension SET extversion = '99.9' WHERE extname = 'msgstore'");
is( sql("SELECT finding, detail FROM msgstore.readiness() WHERE finding = 'unknown extension version'"),
	'unknown extension version|The library "msgstore" supports version "0.1"; the extension has version "99.9".',
	'an unknown version');
sql("UPDATE pg_extension SET extversion = '0.1' WHERE extname = 'msgstore'");
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
is($standby->safe_psql('store', 'SELECT severity, finding FROM msgstore.readiness()'), 'error|server in recovery', 'a standby');
$standby->stop;
$node->stop;

# Without preloading.
my $plain = new_server('plain', "shared_preload_libraries = ''");
$plain->start;
(undef, undef, $error) = $plain->psql('postgres', "\\set VERBOSITY verbose\nCREATE EXTENSION msgstore");
like($error, qr/^.*WARNING:  MS503: library "msgstore" is not preloaded$/m, 'CREATE EXTENSION warns');
like($error, qr/^HINT:  Add msgstore to "shared_preload_libraries" and restart the server\.$/m, 'and says what to do');
unlike($error, qr/ERROR/, 'but succeeds');
add_database($plain, 'store');
is($plain->safe_psql('store', 'SELECT severity, finding FROM msgstore.readiness()'), 'error|library not preloaded', 'nobody processes');
$plain->safe_psql('store', "SELECT ingest_many('a', 1)");
is($plain->safe_psql('store', 'SELECT severity, finding FROM msgstore.readiness()'), 'error|library not preloaded', 'nor an accepted event');
$plain->safe_psql('store', 'SELECT msgstore.process()');
is($plain->safe_psql('store', 'SELECT severity, finding FROM msgstore.readiness()'), 'warning|library not preloaded',
	'the last event was processed a moment ago');
is( $plain->safe_psql('store', 'SELECT finding, subject, repair IS NULL FROM msgstore.check()'),
	'library not preloaded|setting shared_preload_libraries|t', 'check() finds it, too');
$plain->stop;
done_testing();
