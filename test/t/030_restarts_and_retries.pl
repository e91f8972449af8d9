# The worker comes back whatever ends it; a failing event is retried with
# growing pauses and ends in the dead letters, at no cost to its neighbours.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::Bin/..";
use MsgstoreServer;
use Test::More;

my $node = new_server('restarts');
$node->start;
add_database($node, 'store');
my ($pid) = wait_for_workers($node, 'store', 1);

sub sql { return $node->safe_psql('store', $_[0]) }

# A worker that is terminated is followed by another one within 10 s.
sql("SELECT pg_terminate_backend($pid)");
sql("SELECT ingest_many('a', 10)");
ok(eventually(sub { grep { $_ != $pid } worker_pids($node, 'store') }, 10),
	'another worker comes within 10 s');
wait_for_processed($node, 'store', 'and goes on with the events');
is(scalar worker_pids($node, 'store'), 1, 'it is alone');

# A launcher that is terminated comes back, and starts nothing twice.
my $launcher = "SELECT pid FROM pg_stat_activity
	WHERE backend_type = 'msgstore launcher'";
($pid) = worker_pids($node, 'store');
my $first = sql($launcher);
sql("SELECT pg_terminate_backend($first)");
ok( eventually(sub { my $next = sql($launcher); $next ne '' && $next ne $first }),
	'another launcher comes');
stays(sub { join ' ', worker_pids($node, 'store') },
	$pid, 'the worker works on, and is alone');
sql("SELECT pg_terminate_backend($pid)");
ok(eventually(sub { grep { $_ != $pid } worker_pids($node, 'store') }, 10),
	'the new launcher replaces a worker it has not started');
is(scalar worker_pids($node, 'store'), 1, 'by one');

# One event that always fails, among many that do not.
$node->safe_psql('postgres', "ALTER SYSTEM SET msgstore.backoff_base = '20 ms'");
$node->reload;
sql(<<'SQL');
-- A sequence remembers what is rolled back.
CREATE SEQUENCE tries;
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.body = 'poison' THEN
        PERFORM nextval('public.tries');
        RAISE EXCEPTION 'poisonous' USING ERRCODE = 'XX123';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER refuse BEFORE INSERT ON msgstore.messages
FOR EACH ROW EXECUTE FUNCTION refuse();
SQL
my $offset = -s $node->logfile;
sql(<<'SQL');
BEGIN;
SELECT ingest_many('before', 10);
SELECT * FROM msgstore.ingest('sms', event('bad', body => 'poison'), NULL, 'trace-1');
SELECT ingest_many('after', 10);
COMMIT;
SQL
ok( eventually(
		sub {
			sql("SELECT count(*) FROM msgstore.messages
				WHERE provider_message_id ~ '^(before|after)'") == 20;
		}),
	'the neighbours are processed');
my $bad = "msgstore.inbound_events WHERE provider_message_id = 'bad'";
is(sql("SELECT status IN ('error', 'dead_letter') FROM $bad"), 't',
	'while the event fails');
ok(eventually(sub { sql("SELECT status FROM $bad") eq 'dead_letter' }),
	'it ends in the dead letters');
is( sql("SELECT attempt_count, error_code, error_message, next_attempt_at,
		processed_at, updated_at > created_at FROM $bad"),
	'6|XX123|poisonous|||t',
	'with all its attempts and the last error');
is(count_of($node, 'store', 'msgstore.event_queue'), 0, 'nothing is left to do');
is(count_of($node, 'store', 'msgstore.event_failures'), 0, 'nor to remember');
my $id = sql("SELECT id FROM $bad");
my $log = log_of($node, $offset);
my @failed = $log =~ /LOG:  event "$id" \(correlation id "trace-1"\) failed on attempt (\d): poisonous\n.*SQLSTATE XX123\./g;
is("@failed", '1 2 3 4 5', 'the log names the event in each attempt');
my @moved = $log =~ /LOG:  moved event "$id" \(correlation id "trace-1"\) to dead letters after 6 attempts: poisonous/g;
is(scalar @moved, 1, 'and says that it was given up');
# The batch that failed as a whole, and six tries by itself.
my $tries = sql('SELECT last_value FROM tries');
stays(sub { sql('SELECT last_value FROM tries') }, $tries, 'it is not tried again');
is(scalar worker_pids($node, 'store'), 1, 'the worker is still the same');
unlike($log, qr/terminating|exited/, 'and did not end for it');

# After the n-th failure it waits base times 2 to the n-1, half to one and a
# half of it.
$node->safe_psql('postgres', "ALTER SYSTEM SET msgstore.backoff_base = '20 s'");
$node->safe_psql('postgres', "ALTER SYSTEM SET msgstore.backoff_max = '100 s'");
$node->reload;
ok(eventually(sub { sql("SELECT ingest_many('settled', 1)");
		sql('SHOW msgstore.backoff_base') eq '20s' }), 'the settings are reloaded');
wait_for_processed($node, 'store');
sql(q{SELECT count(*) FROM generate_series(1, 30) i,
	msgstore.ingest('sms', event('jitter-' || i, body => 'poison'))});
my $jitter = "FROM msgstore.inbound_events WHERE provider_message_id LIKE 'jitter-%'";
my @nominal = (20, 40, 80, 100);
for my $attempt (1 .. 4)
{
	ok( eventually(
			sub { sql("SELECT count(*) $jitter AND attempt_count = $attempt") == 30 }),
		"30 events failed in attempt $attempt");
	my $seconds = $nominal[ $attempt - 1 ];
	my $share = "(extract(epoch FROM next_attempt_at - updated_at) / $seconds)";
	is( sql("SELECT min($share) >= 0.5 AND max($share) < 1.51 $jitter"),
		't', "they wait $seconds s, more or less");
	is( sql("SELECT max($share) - min($share) > 0.3 AND count(DISTINCT $share) > 20
			$jitter"),
		't',
		'and not all the same');
	# They are due now.
	sql("UPDATE msgstore.event_queue SET next_attempt_at = now();
		SELECT ingest_many('nudge-$attempt', 1)");
}
is(sql("SELECT DISTINCT status $jitter"), 'error', 'they are in error until then');

# When what stopped them is gone, they are processed.
sql(q{DROP TRIGGER refuse ON msgstore.messages;
	UPDATE msgstore.event_queue SET next_attempt_at = now();
	SELECT ingest_many('last', 1)});
wait_for_processed($node, 'store', 'what failed before is processed in the end');
is(violations($node, 'store'), '', 'all that always holds holds');

$node->stop;
done_testing();
