# The worker's purge follows its settings and works in small batches. While events
# come in and two workers process them, replays, requeues, erasures and purges
# keep every invariant at every moment.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::Bin/..";
use IPC::Run;
use MsgstoreServer;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('maintenance', "msgstore.workers = 0\nmsgstore.backoff_base = 1ms");
$node->start;
add_database($node, 'store');

sub sql { return $node->safe_psql('store', $_[0]) }

# Returns when new sessions have the settings; a worker may still reload them.
sub set_to
{
	my (%settings) = @_;
	$node->safe_psql('postgres', "ALTER SYSTEM SET msgstore.$_ = '$settings{$_}'")
	  for sort keys %settings;
	$node->reload;
	for my $name (sort keys %settings)
	{
		$node->poll_query_until('store',
			"SELECT current_setting('msgstore.$name') = '$settings{$name}'");
	}
	return;
}
sub turn { return sql('SELECT msgstore._purge_turn()') }

# Ten events of each age, in one transaction each.
for my $age ('3 days', '2 days', '50 minutes')
{
	(my $name = $age) =~ tr/ /-/;
	sql("SELECT ingest_many('$name-', 10)");
	sql('SELECT msgstore.process()');
	sql("SELECT backdate('$name-%', now() - interval '$age')");
}
sub ages
{
	return sql("SELECT string_agg(n, ' ' ORDER BY n) FROM (
		SELECT left(provider_message_id, 6) || ' ' || count(*)
			|| CASE WHEN payload = '{}' THEN ' empty' ELSE '' END AS n
		FROM msgstore.event_log
		GROUP BY left(provider_message_id, 6), payload = '{}') g");
}

is(turn(), -1, 'without any age: never');
is(ages(), '2-days 10 3-days 10 50-min 10', 'and nothing is purged');

set_to(purge_payloads_after => '1d', purge_batch_size => 15);
is(turn(), 0, 'after a full batch: at once');
is( sql("SELECT count(*) FROM msgstore.event_log WHERE payload = '{}'"),
	15, 'a batch has at most purge_batch_size rows');
cmp_ok(turn(), '>', 22 * 3600 * 1000,
	'then when the oldest remaining payload reaches its age');
is(ages(), '2-days 10 empty 3-days 10 empty 50-min 10',
	'younger payloads stay');

set_to(purge_events_after => '1h', purge_batch_size => 1000);
my $next = turn();
cmp_ok($next, '<=', 10 * 60 * 1000, 'of several kinds, the earliest counts');
cmp_ok($next, '>', 9 * 60 * 1000, 'but not before it is due');
is(ages(), '50-min 10', 'old events are removed');
is(count_of($node, 'store', 'msgstore.messages'), 30, 'their messages stay');

set_to(purge_payloads_after => 0, purge_events_after => '51min');
sql("SELECT backdate('%', now() - interval '50 minutes 59 seconds'); DELETE FROM msgstore.purge_progress");
cmp_ok(turn(), '>=', 60_000, 'but never in less than a minute');
sql("SELECT backdate('50-%', now() - interval '40 minutes')");

# An event that reaches its age while it is queued is purged once processed.
sql("SELECT ingest_many('late-', 3)");
sql("SELECT backdate('late-%', now() - interval '2 hours'); DELETE FROM msgstore.purge_progress");
cmp_ok(turn(), '>', 0, 'queued events stay');
like(ages(), qr/late-1 1 late-2 1 late-3 1/, 'all of them');
sql('SELECT msgstore.process()');
turn();
unlike(ages(), qr/late/, 'and are removed once processed');

# Dead letters have an age of their own.
sql("SELECT ingest_many('dead-', 2)");
sql("SELECT msgstore._keep_failure('', event_id, 'inbound', 'E1', 'no', permanent => true)
	FROM msgstore.event_queue");
sql("UPDATE msgstore.dead_letters SET died_at = now() - interval '31 days'
	WHERE event_id = (SELECT id FROM msgstore.event_log WHERE provider_message_id = 'dead-1')");
# A kind with more to do does not keep the others from their turn.
set_to(purge_events_after => 0, purge_payloads_after => '1s', purge_dead_letters_after => '30d',
	purge_batch_size => 1);
is(turn(), 0, 'more payloads are due');
like(ages(), qr/dead-2 1/, 'a younger dead letter stays');
unlike(ages(), qr/dead-1/, 'an older one is removed with its event');
is(count_of($node, 'store', 'msgstore.dead_letters'), 1, 'and only that one');
set_to(purge_payloads_after => 0, purge_batch_size => 1000);
cmp_ok(turn(), '>=', 60_000, 'nothing else is due');

# The payloads of sent messages have the age of payloads, or that of events if it
# is less.
sql(q{SELECT count(msgstore.sent(message_id, 'p-' || n)) FROM generate_series(1, 2) n,
	msgstore.send('sms', jsonb_build_object('from', '+15550001', 'to', '+15550002', 'body', n::text,
		'timestamp', '2024-11-01T14:00:00Z'))});
sql(q{UPDATE msgstore.outbound_payloads SET message_id = msgstore._least_uuid7(now() - interval '2 days')
	WHERE payload ->> 'body' = '1'});
set_to(purge_payloads_after => '3d', purge_events_after => '4d');
turn();
is(count_of($node, 'store', 'msgstore.outbound_payloads'), 2, 'young payloads of sent messages stay');
set_to(purge_events_after => '1d');
turn();
is(sql('SELECT payload FROM msgstore.outbound_payloads') =~ /"body": "2"/, 1, 'old ones are removed with the events');
set_to(purge_payloads_after => 0, purge_events_after => 0);

# An error in one kind stops neither the other kinds nor the worker.
sql(<<'SQL');
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
$$BEGIN RAISE EXCEPTION 'these are kept'; END$$;
CREATE TRIGGER refuse BEFORE DELETE ON msgstore.event_log
FOR EACH ROW WHEN (OLD.provider_message_id LIKE '50%') EXECUTE FUNCTION refuse();
UPDATE msgstore.dead_letters SET died_at = now() - interval '31 days';
SELECT backdate('%', now() - interval '2 days');
DELETE FROM msgstore.purge_progress;
SQL
set_to(purge_events_after => '1d');
my $offset = -s $node->logfile;
my ($out, $err);
$node->psql('store', 'SELECT msgstore._purge_turn()', stdout => \$out, stderr => \$err);
like($err, qr/WARNING:  could not purge events: these are kept/, 'a warning says why');
cmp_ok($out, '>=', 60_000, 'the purge is retried later');
is(count_of($node, 'store', 'msgstore.dead_letters'), 0, 'the next kind is purged');
sql('DROP TRIGGER refuse ON msgstore.event_log');
is(sql('SELECT * FROM msgstore.check()'), '', 'check() finds nothing');

# Under load: three sessions store events and send messages, every fifth event
# fails at random, and two workers process; meanwhile an operator calls every
# function of maintenance, again and again. The sessions pause, so that the load
# lasts for several rounds without many events: their number proves nothing.
sql(<<'SQL');
CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
$$BEGIN
    IF random() < 0.2 THEN
        RAISE EXCEPTION 'not now' USING ERRCODE = CASE WHEN random() < 0.3
            THEN 'MS400' ELSE 'P0001' END;
    END IF;
    RETURN NEW;
END$$;
CREATE TRIGGER refuse BEFORE INSERT ON msgstore.messages FOR EACH ROW
WHEN (NEW.direction = 'inbound' AND NEW.provider_message_id LIKE '%5')
EXECUTE FUNCTION refuse();
SQL
set_to(purge_payloads_after => '1s', purge_events_after => '2s', purge_dead_letters_after => '3s',
	purge_batch_size => 50);
set_workers($node, 2, 'store');

my $directory = PostgreSQL::Test::Utils::tempdir();
my @sessions;
for my $n (1 .. 3)
{
	append_to_file("$directory/$n.sql", join "\n", map {
		"SELECT ingest_many('load-$n-$_-', 5, 5), pg_sleep(0.05) \\g /dev/null\n"
		  . "SELECT * FROM msgstore.send('sms', event(NULL, '+1804555000' || $_ % 5, 'answer $n $_')) \\g /dev/null"
	} 1 .. 100);
	push @sessions, IPC::Run::start(
		[ 'psql', '-XqAt', '-v', 'ON_ERROR_STOP=1',
			'-d', $node->connstr('store') . " application_name=load",
			'-f', "$directory/$n.sql" ]);
}
my @found;
my $rounds = 0;
my $end = time + $PostgreSQL::Test::Utils::timeout_default;
do
{
	$rounds++;
	push @found, sql('SELECT finding, subject, detail FROM msgstore.check()');
	sql("UPDATE msgstore.messages SET body = 'wrong' WHERE id IN (
		SELECT id FROM msgstore.messages WHERE direction = 'inbound' LIMIT 20 FOR UPDATE SKIP LOCKED)");
	sql('SELECT * FROM msgstore.replay()');
	sql('SELECT msgstore.requeue_dead_letters()');
	turn();
	sql("SELECT * FROM msgstore.erase_address('sms', '+1804555000" . $rounds % 5 . "')");
	sql("SELECT * FROM msgstore.purge('2 s')") if $rounds % 3 == 0;
} while (time < $end && count_of($node, 'store',
		"pg_stat_activity WHERE application_name = 'load'") > 0);
ok($_->finish, 'a session stored all its events') for @sessions;
is(join('', @found), '', "check() found nothing in $rounds rounds");
sql('DROP TRIGGER refuse ON msgstore.messages');
# A batch that met the trigger may commit its dead letters after it is dropped, so
# one requeue does not find all of them.
ok( eventually(
		sub {
			sql('SELECT msgstore.requeue_dead_letters()');
			return count_of($node, 'store', 'msgstore.event_queue') == 0
			  && count_of($node, 'store', 'msgstore.dead_letters') == 0;
		}),
	'all events are processed');
is(sql('SELECT * FROM msgstore.check()'), '', 'nor afterwards');
# A backend updates the gauges right after its commit became visible.
my $gauges;
eventually(
	sub {
		$gauges = sql("SELECT m ->> 'worker_queued', m ->> 'dead_letters' FROM msgstore.metrics() m");
		return $gauges eq '0|0';
	});
is($gauges, '0|0', 'and the gauges are right');
is( sql("SELECT count(*) FROM msgstore.operations_log WHERE operation = 'erase' AND filter::text LIKE '%555%'"),
	0, 'operations_log contains no erased address');

# An idle worker purges when a new setting tells it to.
set_to(purge_payloads_after => 0, purge_events_after => 0, purge_dead_letters_after => 0);
sql("SELECT ingest_many('aged-', 5)");
wait_for_processed($node, 'store');
# backdate() gives messages new ids, so none may be about to be indexed.
ok( eventually(
		sub {
			count_of($node, 'store', 'msgstore.conversation_changes') == 0
			  && count_of($node, 'store', 'msgstore.search_changes') == 0;
		}),
	'all messages are indexed');
# The scan must start over, because these events are now older than its position.
sql("SELECT backdate('%', now() - interval '1 day');
	DELETE FROM msgstore.purge_progress");
set_to(purge_events_after => '1h', purge_batch_size => 1000);
ok( $node->poll_query_until('store', 'SELECT count(*) = 0 FROM msgstore.event_log'),
	'the worker purges');
set_to(purge_events_after => 0);

# A dump keeps the rows of these tables; installed_objects is filled by the restore.
set_workers($node, 0, 'store');

# A pass of several batches is followed by the next one as soon as that is due.
set_to(purge_events_after => '1h', purge_batch_size => 4);
sql("SELECT ingest_many('busy-', 10); SELECT msgstore.process();
	SELECT backdate('busy-_', now() - interval '2 h'), backdate('busy-10', now() - interval '59 minutes');
	DELETE FROM msgstore.purge_progress");
is_deeply([ map { turn() } 1 .. 2 ], [ 0, 0 ], 'two full batches of nine events');
my $pause = turn();
ok($pause > 0 && $pause < 60_000, 'then a pause of less than a minute');
is(ages(), 'busy-1 1', 'and only the young event is left');
set_to(purge_events_after => 0, purge_batch_size => 1000);

sql("INSERT INTO msgstore.purge_skipped VALUES ('', 'events', msgstore.uuid7())");
my $rows = "SELECT md5(string_agg(t, '' ORDER BY t COLLATE \"C\")) FROM (
	SELECT o::text AS t FROM msgstore.operations_log o
	UNION ALL SELECT p::text FROM msgstore.purge_progress p
	UNION ALL SELECT s::text FROM msgstore.purge_skipped s
	UNION ALL SELECT i::text FROM msgstore.installed_objects i) rows";
command_ok([ 'pg_dump', '-Fc', '-d', $node->connstr('store'), '-f', "$directory/dump" ], 'dumped');
$node->safe_psql('postgres', 'CREATE DATABASE restored TEMPLATE template0');
command_ok([ 'pg_restore', '-e', '-d', $node->connstr('restored'), "$directory/dump" ], 'restored');
is($node->safe_psql('restored', $rows), sql($rows), 'all rows are restored');
is($node->safe_psql('restored', 'SELECT * FROM msgstore.check()'), '', 'and check() finds nothing');

$node->stop;
done_testing();
