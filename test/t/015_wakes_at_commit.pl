# The commit of an event wakes the worker. Without commits and due retries it
# does nothing at all.
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

# Many rounds of one event each. A lost wake-up would run into the timeout;
# polling would show in the median.
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
            EXIT WHEN (SELECT bool_and(state = 'idle' AND wait_event_type = 'Extension')
                       FROM pg_stat_activity
                       WHERE backend_type = 'msgstore worker');
            PERFORM pg_sleep(0.0005);
        END LOOP;
        SELECT event_id INTO event
        FROM msgstore.ingest('sms', public.event(kind || i));
        COMMIT;
        committed_at := clock_timestamp();
        WHILE NOT EXISTS (SELECT FROM msgstore.messages
                          WHERE id = event) LOOP
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
is(sql('SELECT count(*) FROM trips'), 100, 'a sleeping worker is woken every time');
is(sql($median), 't', 'without delay');
sql(q{TRUNCATE trips; SET statement_timeout = '60s';
	CALL round_trips('busy', 500, false)});
is(sql('SELECT count(*) FROM trips'), 500, 'a worker about to sleep is woken every time');
is(sql($median), 't', 'without delay');
is((worker_pids($node, 'store'))[0], $pid, 'by the same process');

# Statistics are flushed without further activity.
ok( eventually(
		sub {
			sql("SELECT n_tup_ins FROM pg_stat_user_tables
				WHERE relname = 'messages'") == 600;
		}),
	'statistics are flushed');

# What the messages changed is merged, a while after the last event.
sub all_is_merged
{
	return ok(
		eventually(
			sub {
				count_of($node, 'store', 'msgstore.conversation_changes') == 0
				  && count_of($node, 'store', 'msgstore.search_changes') == 0;
			}),
		'the changes of conversations are merged, the messages indexed');
}
all_is_merged();
is(sql('SELECT sum(message_count) FROM msgstore.conversation_activity'), 600, 'all of them');

# They wait for others for a second or more: a merge writes one row here.
is( sql(q{SELECT n_tup_ins + n_tup_upd
			<= 2 + extract(epoch FROM clock_timestamp() - pg_postmaster_start_time())
		FROM pg_stat_user_tables WHERE relname = 'conversation_activity'}),
	't',
	'many at once');

# An idle worker runs no queries and holds no locks.
ok(eventually(sub { worker("state = 'idle' AND wait_event_type = 'Extension'") eq 't' }),
	'the worker sleeps');
my $seen = q{query_start, state_change, state, xact_start IS NULL,
	backend_xid IS NULL, backend_xmin IS NULL,
	(SELECT count(*) FROM pg_locks l WHERE l.pid = pg_stat_activity.pid),
	(SELECT xact_commit + xact_rollback FROM pg_stat_database d
	 WHERE d.datid = pg_stat_activity.datid)};
my $before = settled(sub { worker($seen) });
like($before, qr/\|idle\|t\|t\|t\|0\|/, 'it has no transaction and no locks');
stays(sub { worker($seen) }, $before, 'and has run no query since');

# COMMIT PREPARED wakes the worker, also from another session.
sql(q{BEGIN; SELECT ingest_many('prepared', 5); PREPARE TRANSACTION 'p'});
is(sql('SELECT count(*) FROM msgstore.event_queue'), 0, 'a prepared event is not visible');
sql(q{COMMIT PREPARED 'p'});
wait_for_processed($node, 'store', 'COMMIT PREPARED wakes the worker');
sql(q{BEGIN; SELECT msgstore.send('sms', event(NULL)); PREPARE TRANSACTION 'p'});
sql(q{COMMIT PREPARED 'p'});
ok( eventually(
		sub { count_of($node, 'store', 'msgstore.conversation_changes') == 0 }),
	'and what it changed is merged');
is(count_of($node, 'store', 'msgstore.messages'), 606, 'all events are processed');

# A session that took events with process() and rolls back wakes the worker,
# however it does that. The worker starts after the events were taken.
sub given_back
{
	my ($how, $give_back) = @_;
	set_workers($node, 0, 'store');
	sql("SELECT ingest_many('$how', 5)");
	my $session = $node->background_psql('store');
	my $session_pid = $session->query_safe('SELECT pg_backend_pid()');
	$session->query_safe('BEGIN; SAVEPOINT before; SELECT msgstore.process()');
	($pid) = set_workers($node, 1, 'store');
	ok( eventually(
			sub { worker("state = 'idle' AND wait_event_type = 'Extension'") eq 't' }),
		'the worker sleeps');
	is(count_of($node, 'store', 'msgstore.event_queue'), 5, 'and the events are still queued');
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

# The worker sleeps until a retry is due, and then processes it without other
# activity.
all_is_merged();
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
ok(eventually(sub { worker("state = 'idle' AND wait_event_type = 'Extension'") eq 't' }),
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
	'the retry runs by itself');
is($woken_early, 0, 'not before it was due');
is(sql("SELECT processed_at >= '$due' FROM $event"), 't', 'nor processed earlier');
is(sql("SELECT attempt_count, error_code, next_attempt_at FROM $event"),
	'1|P0001|', 'the failure is still recorded');
is(violations($node, 'store'), '', 'all invariants hold');

$node->stop;
done_testing();
