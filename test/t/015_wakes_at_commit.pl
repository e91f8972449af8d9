# The commit of an event wakes the worker; without one, and without a retry
# that is due, it does nothing at all.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::Bin/..";
use MsgstoreServer;
use Test::More;

my $node = new_server('wakes', <<'EOC');
max_prepared_transactions = 5
msgstore.backoff_base = 2s
EOC
$node->start;
add_database($node, 'store');
my ($pid) = wait_for_workers($node, 'store', 1);

sub worker
{
	my ($what) = @_;
	return $node->safe_psql('postgres',
		"SELECT $what FROM pg_stat_activity WHERE pid = $pid");
}

sub sql { return $node->safe_psql('store', $_[0]) }

# Many rounds of one event each. A wake-up that is lost would end in the
# timeout; polling would show in the median.
sql(<<'SQL');
CREATE TABLE trips (round int, latency interval);
CREATE PROCEDURE round_trips(kind text, rounds int, asleep boolean)
LANGUAGE plpgsql AS $$
DECLARE
    committed_at timestamptz;
    event uuid;
BEGIN
    FOR i IN 1 .. rounds LOOP
        WHILE asleep LOOP
            PERFORM pg_stat_clear_snapshot();
            EXIT WHEN (SELECT bool_and(state = 'idle' AND wait_event = 'Extension')
                       FROM pg_stat_activity
                       WHERE backend_type = 'msgstore worker');
            PERFORM pg_sleep(0.0005);
        END LOOP;
        SELECT event_id INTO event
        FROM msgstore.ingest('sms', public.event(kind || i));
        COMMIT;
        committed_at := clock_timestamp();
        WHILE NOT EXISTS (SELECT FROM msgstore.messages
                          WHERE inbound_event_id = event) LOOP
            PERFORM pg_sleep(0.0005);
        END LOOP;
        INSERT INTO public.trips VALUES (i, clock_timestamp() - committed_at);
    END LOOP;
END
$$;
SQL
my $median = 'SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY latency)
	< interval \'100 ms\' FROM trips';
sql(q{SET statement_timeout = '60s'; CALL round_trips('asleep', 100, true)});
is(sql('SELECT count(*) FROM trips'), 100, 'a sleeping worker is woken, each time');
is(sql($median), 't', 'at once');
sql(q{TRUNCATE trips; SET statement_timeout = '60s';
	CALL round_trips('busy', 500, false)});
is(sql('SELECT count(*) FROM trips'), 500, 'one that is about to sleep as well');
is(sql($median), 't', 'at once');
is((worker_pids($node, 'store'))[0], $pid, 'by one and the same process');

# What it did is in the statistics without anything further happening.
ok( eventually(
		sub {
			sql("SELECT n_tup_ins FROM pg_stat_user_tables
				WHERE relname = 'messages'") == 600;
		}),
	'statistics are flushed');

# An idle worker runs nothing and holds nothing.
ok(eventually(sub { worker("state = 'idle' AND wait_event = 'Extension'") eq 't' }),
	'the worker sleeps');
my $seen = q{query_start, state_change, state, xact_start IS NULL,
	backend_xid IS NULL, backend_xmin IS NULL,
	(SELECT count(*) FROM pg_locks l WHERE l.pid = pg_stat_activity.pid),
	(SELECT xact_commit + xact_rollback FROM pg_stat_database d
	 WHERE d.datid = pg_stat_activity.datid)};
my $before = worker($seen);
like($before, qr/\|idle\|t\|t\|t\|0\|/, 'it has no transaction and no lock');
stays(sub { worker($seen) }, $before, 'and has run nothing since');

# COMMIT PREPARED wakes it, from a session that stored nothing itself.
sql(q{BEGIN; SELECT ingest_many('prepared', 5); PREPARE TRANSACTION 'p'});
is(sql('SELECT count(*) FROM msgstore.event_queue'), 0, 'prepared is not committed');
sql(q{COMMIT PREPARED 'p'});
wait_for_processed($node, 'store', 'COMMIT PREPARED wakes the worker');
is(count_of($node, 'store', 'msgstore.messages'), 605, 'all are processed');

# A session that worked by hand and gives its events back wakes it, however it
# does that. First the events are taken, then there is a worker.
sub given_back
{
	my ($how, $give_back) = @_;
	$node->safe_psql('postgres', 'ALTER SYSTEM SET msgstore.workers = 0');
	$node->reload;
	wait_for_workers($node, 'store', 0);
	sql("SELECT ingest_many('$how', 5)");
	my $session = $node->background_psql('store');
	my $session_pid = $session->query_safe('SELECT pg_backend_pid()');
	$session->query_safe('BEGIN; SAVEPOINT before; SELECT msgstore.process()');
	$node->safe_psql('postgres', 'ALTER SYSTEM SET msgstore.workers = 1');
	$node->reload;
	($pid) = wait_for_workers($node, 'store', 1);
	ok( eventually(
			sub { worker("state = 'idle' AND wait_event = 'Extension'") eq 't' }),
		'the worker sleeps');
	is(count_of($node, 'store', 'msgstore.event_queue'), 5, 'and leaves them alone');
	$give_back->($session, $session_pid);
	wait_for_processed($node, 'store', "they are processed $how", 15);
	eval { $session->quit };
	return;
}
given_back('after ROLLBACK', sub { $_[0]->query_safe('ROLLBACK') });
given_back('after ROLLBACK TO SAVEPOINT',
	sub { $_[0]->query_safe($_) for 'ROLLBACK TO before', 'COMMIT' });
given_back('after the session was terminated',
	sub { sql("SELECT pg_terminate_backend($_[1])") });

# A retry comes when it is due, without any other traffic, and the worker
# sleeps until then.
sql(<<'SQL');
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
$$BEGIN RAISE EXCEPTION 'not now'; END$$;
CREATE TRIGGER refuse BEFORE INSERT ON msgstore.messages
FOR EACH ROW EXECUTE FUNCTION refuse();
SELECT * FROM msgstore.ingest('sms', event('retry'));
SQL
my $event = "msgstore.inbound_events WHERE provider_message_id = 'retry'";
ok(eventually(sub { sql("SELECT attempt_count FROM $event") == 1 }),
	'the first attempt fails');
sql('DROP TRIGGER refuse ON msgstore.messages');
my $due = sql("SELECT next_attempt_at FROM $event");
ok(eventually(sub { worker("state = 'idle' AND wait_event = 'Extension'") eq 't' }),
	'the worker sleeps');
my $asleep = worker('query_start');
my $woken_early = 0;
ok( eventually(
		sub {
			my $now = sql("SELECT clock_timestamp() < '$due'");
			$woken_early++ if worker('query_start') ne $asleep && $now eq 't'
			  && sql("SELECT clock_timestamp() < '$due'") eq 't';
			return sql("SELECT status FROM $event") eq 'processed';
		}),
	'the retry comes by itself');
is($woken_early, 0, 'nothing was tried before it was due');
is( sql("SELECT processed_at >= '$due'
		AND processed_at < timestamptz '$due' + interval '1 s' FROM $event"),
	't',
	'but then at once');
is(sql("SELECT attempt_count, error_code, next_attempt_at FROM $event"),
	'1|P0001|', 'what had failed is still told');
is(violations($node, 'store'), '', 'all that always holds holds');

$node->stop;
done_testing();
