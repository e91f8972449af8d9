# Workers share the lanes: each event is processed at once by the worker that
# owns its lane, also while workers start, stop and crash, and while sessions
# hold lanes.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::Bin/..";
use IPC::Run;
use MsgstoreServer;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);

my $node = new_server('lanes', "max_worker_processes = 20\nmsgstore.workers = 4\nmsgstore.batch_size = 20");
$node->start;
add_database($node, 'store');
wait_for_workers($node, 'store', 4);
my $scratch = PostgreSQL::Test::Utils::tempdir;

sub sql { return $node->safe_psql('store', $_[0]) }

# Records which worker applied an event of which lane. By a trigger: a worker that
# is terminated in a handler counts an attempt.
sql(<<'SQL');
CREATE TABLE applied (n bigserial, event uuid, lane int, conversation text, pid int DEFAULT pg_backend_pid());
CREATE FUNCTION apply() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.applied (event, lane, conversation)
    VALUES (NEW.id, msgstore._lane('', 'sms', NEW."from", NEW."to"), NEW.conversation_key);
    RETURN NULL;
END $$;
CREATE TRIGGER apply AFTER INSERT ON msgstore.messages FOR EACH ROW EXECUTE FUNCTION apply();
SQL

sub out_of_order
{
	return sql("SELECT count(*) FROM (
		SELECT event, lag(event) OVER (PARTITION BY conversation ORDER BY n) AS before
		FROM applied) o WHERE event < before");
}

# One event after the other, with sleeping workers.
my $processed = 0;
for my $i (1 .. 100)
{
	sql("SELECT msgstore.ingest('sms', event('single-$i', '+1804555$i'))");
	$processed++ if eventually(sub { sql("SELECT status FROM msgstore.inbound_events
			WHERE provider_message_id = 'single-$i'") eq 'processed' }, 30);
}
is($processed, 100, 'each of 100 events wakes a worker');
is(sql('SELECT count(DISTINCT pid) FROM applied'), 4, 'by all four workers');
cmp_ok(sql('SELECT count(DISTINCT lane) FROM applied'), '>', 40, 'in most lanes');
is(sql('SELECT max(n) FROM (SELECT count(DISTINCT pid) AS n FROM applied GROUP BY lane) l'),
	1, 'a lane is one worker\'s');

# Four idle workers run no queries.
my $transactions = "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = 'store'";
my $before = settled(sub { $node->safe_psql('postgres', $transactions) });
stays(sub { $node->safe_psql('postgres', $transactions) }, $before, 'idle workers run nothing');

# The number of workers changes under load, and workers are terminated. No event
# is left in the lanes of those that ended, although no later event arrives.
append_to_file("$scratch/load.sql", <<'SQL');
\set conversation :client_id * 20 + random(0, 19)
SELECT count(*) FROM generate_series(1, 5) i, msgstore.ingest('sms',
    event(i || '-' || msgstore.uuid7(), '+1804555' || :conversation));
SQL
sub under_load
{
	my ($how, $meanwhile, $then) = @_;
	sql('TRUNCATE applied');
	my $stored = -count_of($node, 'store', 'msgstore.event_log');
	my $load = IPC::Run::start(
		[ 'pgbench', '-n', '-c', 4, '-j', 2, '-T', 5, '-R', 200,
			'-f', "$scratch/load.sql", '-h', $node->host, '-p', $node->port, 'store' ],
		'>', \my $out, '2>', \my $err);
	while (!eventually(sub { $load->pump_nb; !$load->pumpable }, 0.3))
	{
		$meanwhile->();
	}
	$load->finish;
	$then->() if $then;
	is($load->result(0), 0, "$how: the load ran") or diag($err);
	wait_for_processed($node, 'store', "$how: all is processed", 30);
	$stored += count_of($node, 'store', 'msgstore.event_log');
	cmp_ok($stored, '>', 1000, "$how: $stored events");
	is(sql('SELECT count(*), count(DISTINCT event) FROM applied'), "$stored|$stored", "$how: each once");
	is(out_of_order(), 0, "$how: conversations are in order");
	is(violations($node, 'store'), '', "$how: all invariants hold");
	return;
}
my @numbers = (1, 4, 2, 3, 1, 0, 4);
my $turn = 0;
under_load('number of workers changed', sub { set_workers($node, $numbers[ $turn++ % @numbers ]) },
	sub { set_workers($node, 1) if $numbers[ ($turn - 1) % @numbers ] == 0 });
set_workers($node, 4, 'store');
under_load('workers terminated', sub {
		my @pids = worker_pids($node, 'store');
		sql("SELECT pg_terminate_backend($pids[ rand @pids ])") if @pids;
	});
is(count_of($node, 'store', 'msgstore.event_failures'), 0, 'no failed attempt is counted');

# With many events queued, three of four workers stop: the last one does the
# rest.
wait_for_workers($node, 'store', 4);
for my $round (1 .. 3)
{
	set_workers($node, 0, 'store');
	sql("SELECT ingest_many('rest-$round-$_-', 500, 200)") for 1 .. 4;
	set_workers($node, 4);
	eventually(sub { count_of($node, 'store', 'msgstore.event_queue') < 2000 });
	set_workers($node, 1);
	wait_for_processed($node, 'store', 'the last worker does what the others left', 30);
}

# The same if the remaining worker is asleep when the other one stops: all
# events are in the lanes of the other, which is slow.
set_workers($node, 2, 'store');
sql("CREATE FUNCTION linger(m msgstore.messages) RETURNS void LANGUAGE plpgsql AS
	\$\$ BEGIN PERFORM pg_sleep(0.02); END \$\$;
	SELECT msgstore.add_handler('sms', 'linger')");
for my $rank (0, 1)
{
	my ($kept) = sql("SELECT pid FROM pg_stat_activity WHERE application_name = 'msgstore worker 1'
		AND datname = 'store'");
	sql("SELECT count(*) FROM generate_series(1, 200) i,
			LATERAL (SELECT '+1804666' || i) o (other), msgstore.ingest('sms', event('odd-$rank-' || i, other))
		WHERE msgstore._lane('', 'sms', other, '+12016661234') % 2 = 1");
	set_workers($node, 1, 'store');
	wait_for_processed($node, 'store', 'a sleeping worker takes over the lanes', 20);
	is(sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'msgstore worker'
			AND datname = 'store'"), $kept, 'and it is the same process');
	set_workers($node, 2, 'store');
}
sql("SELECT msgstore.remove_handler('sms', 'linger')");

# A worker that crashes makes the server restart; then all events are processed.
set_workers($node, 4, 'store');
sql("SELECT ingest_many('killed-$_-', 500, 200)") for 1 .. 4;
my ($victim) = worker_pids($node, 'store');
kill 'KILL', $victim;
wait_for_restart($node, $victim, 'the server restarts when a worker is killed');
wait_for_processed($node, 'store', 'and the events are processed', 60);
is(sql("SELECT count(*), count(DISTINCT event) FROM applied JOIN msgstore.event_log ON id = event
	WHERE provider_message_id LIKE 'killed-%'"), '2000|2000', 'each event once');
is(out_of_order(), 0, 'conversations are in order');

# Events in a lane that a session holds must wait. The worker is woken after the
# lane is released, by a commit or a rollback, and not before.
my $session = $node->background_psql('store');
my $stuck = 0;
for my $i (1 .. 60)
{
	my $end = $i % 3 ? 'COMMIT' : 'ROLLBACK';
	$session->query_safe("BEGIN; SELECT msgstore.ingest('sms', event('first-$i'))");
	$session->query_safe('SELECT msgstore.process()');
	sql("SELECT msgstore.ingest('sms', event('second-$i'))");
	$session->query_safe($end);
	$stuck++ unless eventually(sub { count_of($node, 'store', 'msgstore.event_queue') == 0 }, 5);
}
is($stuck, 0, 'no event stays in a lane that a session held');
$session->quit;

is(violations($node, 'store'), '', 'all invariants hold');
$node->stop;
done_testing();
