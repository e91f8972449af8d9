# The worker is restarted, whatever ends it. A failing event is retried with
# growing delays and becomes a dead letter, without affecting other events.
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

# A terminated worker is restarted within 10 s.
sql("SELECT pg_terminate_backend($pid)");
sql("SELECT ingest_many('a', 10)");
ok(eventually(sub { grep { $_ != $pid } worker_pids($node, 'store') }, 10),
	'the worker is restarted within 10 s');
wait_for_processed($node, 'store', 'and processes the events');
is(scalar worker_pids($node, 'store'), 1, 'there is one worker');

# A terminated launcher is restarted and starts no duplicate workers.
my $launcher = "SELECT pid FROM pg_stat_activity
	WHERE backend_type = 'msgstore launcher'";
($pid) = worker_pids($node, 'store');
my $first = sql($launcher);
sql("SELECT pg_terminate_backend($first)");
ok( eventually(sub { my $next = sql($launcher); $next ne '' && $next ne $first }),
	'the launcher is restarted');
stays(sub { join ' ', worker_pids($node, 'store') },
	$pid, 'the worker keeps running, and there is only one');
sql("SELECT pg_terminate_backend($pid)");
ok(eventually(sub { grep { $_ != $pid } worker_pids($node, 'store') }, 10),
	'the new launcher replaces a worker that it did not start');
is(scalar worker_pids($node, 'store'), 1, 'by one worker');

# One event that always fails, among many that succeed.
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
	'the other events are processed');
my $bad = "msgstore.inbound_events WHERE provider_message_id = 'bad'";
is(sql("SELECT status IN ('error', 'dead_letter') FROM $bad"), 't',
	'while the bad event fails');
ok(eventually(sub { sql("SELECT status FROM $bad") eq 'dead_letter' }),
	'it becomes a dead letter');
is( sql("SELECT attempt_count, error_code, error_message, next_attempt_at,
		processed_at, updated_at > created_at FROM $bad"),
	'6|XX123|poisonous|||t',
	'with all its attempts and the last error');
is(count_of($node, 'store', 'msgstore.event_queue'), 0, 'the queue is empty');
is(count_of($node, 'store', 'msgstore.event_failures'), 0, 'and event_failures too');
my $id = sql("SELECT id FROM $bad");
my $log = log_of($node, $offset);
my @failed = $log =~ /LOG:  event "$id" \(correlation id "trace-1"\) failed on attempt (\d): poisonous\n.*SQLSTATE XX123\./g;
is("@failed", '1 2 3 4 5', 'the log names the event at each attempt');
my @moved = $log =~ /LOG:  moved event "$id" \(correlation id "trace-1"\) to dead letters after 6 attempts: poisonous/g;
is(scalar @moved, 1, 'and when it becomes a dead letter');
# The batch as a whole, and six attempts of the event alone.
my $tries = sql('SELECT last_value FROM tries');
stays(sub { sql('SELECT last_value FROM tries') }, $tries, 'it is not tried again');
is(scalar worker_pids($node, 'store'), 1, 'the worker is still the same');
unlike($log, qr/terminating|exited/, 'and has not exited');

# After failure n the delay is base × 2^(n-1), times 0.5 to 1.5.
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
		"30 events failed on attempt $attempt");
	my $seconds = $nominal[ $attempt - 1 ];
	my $share = "(extract(epoch FROM next_attempt_at - updated_at) / $seconds)";
	is( sql("SELECT min($share) >= 0.5 AND max($share) < 1.51 $jitter"),
		't', "they wait about $seconds s");
	is( sql("SELECT max($share) - min($share) > 0.3 AND count(DISTINCT $share) > 20
			$jitter"),
		't',
		'but not all the same time');
	# Make them due.
	sql("UPDATE msgstore.event_queue SET next_attempt_at = now();
		SELECT ingest_many('nudge-$attempt', 1)");
}
is(sql("SELECT DISTINCT status $jitter"), 'error', 'their status is error until then');

# They are processed once the cause is fixed.
sql(q{DROP TRIGGER refuse ON msgstore.messages;
	UPDATE msgstore.event_queue SET next_attempt_at = now();
	SELECT ingest_many('last', 1)});
wait_for_processed($node, 'store', 'they are processed');

# Operators pause the workers, also over a restart, and let them go on.
my $state = 'SELECT state FROM msgstore.stat_worker';
is(sql("SELECT msgstore.pause_workers('upgrade'), msgstore.pause_workers()"), 't|f', 'the workers are paused once');
ok(eventually(sub { sql($state) eq 'paused' }), 'the worker notices');
for my $when ('', ' after a restart')
{
	my $busy = sql('SELECT busy_us FROM msgstore.stat_worker');
	sql("SELECT ingest_many('paused$when', 10)");
	ok(eventually(sub { sql("$state WHERE busy_us <> $busy") eq 'paused' }), "it looks, and waits$when");
	is(sql(q{SELECT count(*) FROM msgstore.inbound_events WHERE status = 'received'}), $when ? 20 : 10, "events wait, too$when");
	$node->restart if !$when;
}
is(sql(q{SELECT msgstore.metrics() ->> 'workers_paused'}), 1, 'the metric says so');
like(sql(q{SELECT detail FROM msgstore.readiness() WHERE finding = 'workers paused'}), qr/upgrade/, 'readiness says so');
is(sql('SELECT msgstore.process(1)'), 1, 'process() works');
is(sql('SELECT msgstore.resume_workers()'), 't', 'they are resumed');
wait_for_processed($node, 'store', 'and process what has waited');
is(sql('SELECT msgstore.resume_workers()'), 'f', 'once');
is(sql(q{SELECT string_agg(operation, ' ' ORDER BY happened_at) FROM msgstore.operations_log WHERE operation IN ('pause', 'resume')}), 'pause resume', 'both is logged');
is(violations($node, 'store'), '', 'all invariants hold');

$node->stop;
done_testing();
