# Workers start by themselves in every database that has the extension, and in
# no other.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::Bin/..";
use MsgstoreServer;
use Test::More;

my $node = new_server('starts');
$node->start;

sub log_lines { return scalar(my @lines = split /\n/, log_of($node)) }

sub probes_are_over
{
	return $node->safe_psql('postgres', "SELECT count(*) = 1
		AND bool_and(backend_type = 'msgstore launcher'
			AND wait_event_type = 'Extension')
		FROM pg_stat_activity WHERE backend_type LIKE 'msgstore%'") eq 't';
}

# Preloaded without the extension in any database: no worker and no log lines.
ok(eventually(\&probes_are_over), 'only the launcher runs');
my $lines = log_lines();
my $transactions = "SELECT sum(xact_commit + xact_rollback)
	FROM pg_stat_database WHERE datname = 'template1'";
stays(
	sub { log_lines() . ' ' . $node->safe_psql('postgres', $transactions) },
	"$lines " . $node->safe_psql('postgres', $transactions),
	'no database is probed and nothing is logged without the extension');
my ($release) = PostgreSQL::Test::Utils::slurp_file("$FindBin::Bin/../../META.json") =~ /"version": "([^"]+)"/;
is_deeply(
	[ log_of($node) =~ /^.*LOG:  (.*msgstore.*)$/mg ],
	["msgstore launcher of release $release started"],
	'the log has the release, once, and mentions msgstore nowhere else');

# CREATE EXTENSION starts a worker in each of the databases.
add_database($node, $_) for qw(one two);
is($node->safe_psql('one', 'SELECT msgstore.version()'), $release, 'version() returns it');
wait_for_workers($node, $_, 1, "a worker right after CREATE EXTENSION in $_")
  for qw(one two);
$node->safe_psql($_, "SELECT ingest_many('a', 10)") for qw(one two);
wait_for_processed($node, $_) for qw(one two);
is(count_of($node, $_, 'msgstore.messages'), 10, "messages in $_") for qw(one two);

# CREATE EXTENSION that is rolled back leaves no worker.
$node->safe_psql('postgres', 'BEGIN; CREATE EXTENSION msgstore; ROLLBACK');
stays(sub { scalar worker_pids($node, 'postgres') },
	0, 'no worker after CREATE EXTENSION was rolled back');

# Workers also start after a restart, without a list of databases.
$node->restart;
wait_for_workers($node, $_, 1, "a worker after restart in $_") for qw(one two);
is(scalar worker_pids($node, 'postgres'), 0, 'no worker without the extension');
$node->safe_psql('one', "SELECT ingest_many('b', 10)");
wait_for_processed($node, 'one');

# A database with the extension from its template gets a worker with its first
# event.
$node->safe_psql('postgres', "CREATE DATABASE mold IS_TEMPLATE true");
add_database($node, 'mold');
$node->safe_psql('postgres', 'CREATE DATABASE cast1 TEMPLATE mold');
$node->safe_psql('cast1', "SELECT ingest_many('a', 10)");
wait_for_processed($node, 'cast1', 'a copy of a template processes its events');
wait_for_workers($node, 'cast1', 1, 'and has a worker');
is(scalar worker_pids($node, 'mold'), 0, 'the template itself has none');

# A reload is enough to change the number of workers.
set_workers($node, 0, qw(one two cast1));
$node->safe_psql('one', "SELECT ingest_many('c', 10)");
stays(sub { count_of($node, 'one', 'msgstore.event_queue') },
	10, 'without a worker events wait');
is($node->safe_psql('one',
		"SELECT DISTINCT status FROM msgstore.inbound_events
		WHERE provider_message_id LIKE 'c%'"),
	'received', 'and have status received');
set_workers($node, 1, qw(one two cast1));
wait_for_processed($node, 'one', 'a new worker processes the waiting events');

# With too few background workers, the log says so once, with a hint.
set_workers($node, 0, qw(one two cast1));
my $offset = -s $node->logfile;
$node->safe_psql('postgres', 'ALTER SYSTEM SET msgstore.workers = 64');
$node->reload;
ok( eventually(sub { log_of($node, $offset) =~ /no background worker slot is free/ }),
	'too few background workers are reported');
like(
	log_of($node, $offset),
	qr/WARNING: .*could not start worker \d+ for database.*\n.*HINT: .*"max_worker_processes" \(currently 8\)/,
	'with a hint');
stays(sub { scalar(my @all = log_of($node, $offset) =~ /no background worker/g) },
	1, 'and only once');
$node->safe_psql('one', "SELECT ingest_many('d', 10)");
wait_for_processed($node, 'one', 'the existing workers process the events');

# Three workers share the queue; no event is processed twice.
$node->append_conf('postgresql.conf', 'max_worker_processes = 20');
$node->safe_psql('postgres', 'ALTER SYSTEM SET msgstore.workers = 3');
$node->safe_psql('postgres', 'ALTER SYSTEM SET msgstore.batch_size = 10');
$node->stop;
$offset = -s $node->logfile;
$node->start;
wait_for_workers($node, $_, 3) for qw(one two cast1);
$node->safe_psql('one', <<'SQL');
CREATE TABLE doers (pid int, message uuid);
CREATE FUNCTION note_doer() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.doers VALUES (pg_backend_pid(), NEW.id);
    PERFORM pg_sleep(0.001);
    RETURN NULL;
END
$$;
CREATE TRIGGER note_doer AFTER INSERT ON msgstore.messages
FOR EACH ROW EXECUTE FUNCTION note_doer();
SQL
$node->safe_psql('one', "SELECT ingest_many('e', 500, 50)");
wait_for_processed($node, 'one', 'three workers process 500 events');
is($node->safe_psql('one', 'SELECT count(*), count(DISTINCT message) FROM doers'),
	'500|500', 'each once');
is($node->safe_psql('one', 'SELECT count(DISTINCT pid) FROM doers'),
	3, 'and by all three workers');
is(violations($node, 'one'), '', 'all invariants hold');

# Workers beyond the setting exit without an error.
set_workers($node, 1, qw(one two cast1));
unlike(log_of($node, $offset), qr/FATAL|PANIC|terminated by|exit code/,
	'workers exit without an error');

$node->stop;
done_testing();
