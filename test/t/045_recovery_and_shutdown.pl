# A standby is left alone until it is promoted, a binary upgrade altogether, and
# a shutdown does not wait for the worker.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::Bin/..";
use IPC::Run;
use MsgstoreServer;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $node = new_server('primary', 'msgstore.workers = 0', allows_streaming => 1);
$node->start;
add_database($node, 'store');
$node->safe_psql('store', "SELECT ingest_many('a', 100, 10)");

my $processes = "SELECT count(*) FROM pg_stat_activity
	WHERE backend_type LIKE 'msgstore%'";

# A standby has what the primary has, and no worker.
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->append_conf('postgresql.conf', 'msgstore.workers = 1');
$standby->start;
$node->wait_for_catchup($standby);
is(count_of($standby, 'store', 'msgstore.event_queue'), 100,
	'the standby has the events');
stays(sub { $standby->safe_psql('postgres', $processes) },
	0, 'and no process of ours');
my ($status, undef, $stderr) =
  $standby->psql('store', "SELECT ingest_many('b', 1)");
like($stderr, qr/cannot execute .* (in a read-only transaction|during recovery)/,
	'it takes no events');
is($standby->safe_psql('store', "SELECT msgstore.list_conversations() ->> 'items'"),
	'[]', 'but lists what there is');
unlike(log_of($standby), qr/msgstore worker|msgstore launcher/,
	'nothing of ours is in its log');

# After the promotion it works.
$standby->promote;
wait_for_workers($standby, 'store', 1, 'promoted, it has a worker');
wait_for_processed($standby, 'store', 'which finds what waited');
is(count_of($standby, 'store', 'msgstore.messages'), 100, 'all of it');
is(violations($standby, 'store'), '', 'all that always holds holds');
$standby->stop;

# A fast shutdown is not held up by a busy worker.
$node->append_conf('postgresql.conf', 'msgstore.workers = 2');
$node->restart;
wait_for_workers($node, 'store', 2);
$node->safe_psql('store', <<'SQL');
CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS
$$BEGIN PERFORM pg_sleep(0.005); RETURN NULL; END$$;
CREATE TRIGGER dawdle AFTER INSERT ON msgstore.messages
FOR EACH ROW EXECUTE FUNCTION dawdle();
SQL
my $script = PostgreSQL::Test::Utils::tempdir . '/load.sql';
append_to_file($script, join '',
	map { "SELECT ingest_many('load-$_-', 500, 50);\n" } 1 .. 1000);
my $load = IPC::Run::start [
	'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('store'),
	'-f', $script ], '>', \my $out, '2>', \my $err;
ok(eventually(sub { count_of($node, 'store', 'msgstore.event_queue') > 2000 }),
	'there is much to do');
my $begin = time;
$node->stop('fast');
cmp_ok(time - $begin, '<', 5, 'the server stops within 5 s');
$load->finish;

# In a binary upgrade nothing of ours runs.
command_ok([
		'pg_ctl', '-w', '-D', $node->data_dir, '-l', $node->logfile,
		'-o', '-b', 'start' ],
	'the server starts for a binary upgrade');
stays(sub { $node->safe_psql('postgres', $processes) },
	0, 'without a process of ours');
command_ok([ 'pg_ctl', '-w', '-D', $node->data_dir, '-m', 'fast', 'stop' ],
	'and stops');

# Nothing was left half done.
$node->start;
wait_for_workers($node, 'store', 2);
is(violations($node, 'store'), '', 'all that always holds holds');
$node->safe_psql('store', 'DROP TRIGGER dawdle ON msgstore.messages');
wait_for_processed($node, 'store', 'the work is taken up again');
is( count_of($node, 'store', 'msgstore.messages'),
	count_of($node, 'store', 'msgstore.event_log'),
	'one message for each event');
is(violations($node, 'store'), '', 'all that always holds holds');

$node->stop;
done_testing();
