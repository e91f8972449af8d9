# Many concurrent sessions: one conversation per pair of addresses, one row per
# event, exact counts, and no errors.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::Bin/..";
use IPC::Run;
use MsgstoreServer;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('sessions', 'msgstore.workers = 3');
$node->start;
add_database($node, 'store');
wait_for_workers($node, 'store', 3);
my $scratch = PostgreSQL::Test::Utils::tempdir;

sub sql { return $node->safe_psql('store', $_[0]) }

# A test: the given number of sessions run the script the given number of times
# each, and none fails.
sub run_at_once
{
	my ($name, $sessions, $times, $script) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $file = "$scratch/script.sql";
	unlink $file;
	append_to_file($file, $script);
	my ($stdout, $stderr) = run_command(
		[ 'pgbench', '-n', '-c', $sessions, '-j', 2, '-t', $times,
			'--max-tries', 1, '-f', $file, '-h', $node->host,
			'-p', $node->port, 'store' ]);
	my $all = $sessions * $times;
	like($stdout, qr{transactions actually processed: $all/$all\b},
		"$name: $sessions sessions, none fails")
	  or diag($stderr);
	return;
}

sub conversations
{
	my ($pattern) = @_;
	return sql("SELECT count(*), min(message_count), max(message_count)
		FROM msgstore.conversations WHERE key LIKE '$pattern'");
}

# 100 messages of one pair, outbound and inbound.
run_at_once('send', 100, 1, <<'SQL');
SELECT * FROM msgstore.send('sms', event(NULL, '+901', ':client_id'));
SQL
is(conversations('%+901'), '1|100|100', 'one conversation of 100 messages');
run_at_once('ingest', 100, 1, <<'SQL');
SELECT * FROM msgstore.ingest('sms', event('one-:client_id', '+901'));
SQL
wait_for_processed($node, 'store');
is(conversations('%+901'), '1|200|200', 'the same conversation, another 100');

# 50 messages over five pairs.
run_at_once('five pairs', 50, 1, <<'SQL');
\set pair :client_id % 5
SELECT * FROM msgstore.send('sms', event(NULL, '+200:pair', ':client_id'));
SQL
is(conversations('%+200_'), '5|10|10', 'five conversations of ten messages');

# The same event from 20 sessions is stored once, and all get the same id.
sql('CREATE TABLE answers (what text, id uuid, duplicate boolean)');
run_at_once('one provider id', 20, 5, <<'SQL');
INSERT INTO answers SELECT 'event', * FROM msgstore.ingest('sms', event('the one'));
SQL
run_at_once('one idempotency key', 20, 5, <<'SQL');
INSERT INTO answers SELECT 'key', *
FROM msgstore.ingest('sms', event(NULL), 'the key', mock => true);
SQL
run_at_once('one message without a key', 20, 5, <<'SQL');
INSERT INTO answers SELECT 'content', * FROM msgstore.send('sms', event(NULL));
SQL
run_at_once('one message with a key', 20, 5, <<'SQL');
INSERT INTO answers SELECT 'sent', * FROM msgstore.send('sms', event(NULL), 'the key');
SQL
is( sql('SELECT what, count(*), count(DISTINCT id), count(*) FILTER (WHERE NOT duplicate)
		FROM answers GROUP BY 1 ORDER BY 1'),
	"content|100|1|1\nevent|100|1|1\nkey|100|1|1\nsent|100|1|1",
	'each was stored once, and has one id');
wait_for_processed($node, 'store');
is(conversations('%+18045551234'), '1|4|4', 'each made one message');

# Concurrent batches with the same events in different orders, with and without
# idempotency keys, do not deadlock.
my $deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = 'store'";
run_at_once('batches', 16, 20, <<'SQL');
\set batch random(1, 40)
SELECT count(*) / (count(event_id) = 20)::int
FROM msgstore.ingest_batch((
    SELECT jsonb_agg(jsonb_build_object('channel', 'sms',
        'payload', event('batch-:batch-' || i, '+300' || i % 4)) ORDER BY random())
    FROM generate_series(1, 20) i));
SQL
run_at_once('batches with keys', 16, 20, <<'SQL');
\set batch random(1, 40)
SELECT count(*) / (count(event_id) = 20)::int
FROM msgstore.ingest_batch((
    SELECT jsonb_agg(jsonb_build_object('channel', 'sms',
        'idempotency_key', 'key-:batch-' || i,
        'payload', event('keyed-:batch-' || i, '+300' || i % 4)) ORDER BY random())
    FROM generate_series(1, 20) i));
SQL
is(sql($deadlocks), 0, 'no deadlock');
wait_for_processed($node, 'store');

# Concurrent ingest, send, process and reads.
sql("SELECT ingest_many('mixed-', 2000, 30)");
run_at_once('everything', 16, 30, <<'SQL');
\set n random(1, 200)
SELECT count(*) FROM msgstore.ingest('sms', event('mixed-' || :n, '+400' || :n % 9));
SELECT count(*) FROM msgstore.send('sms', event(NULL, '+400' || :n % 9, ':n'));
SELECT msgstore.process(50);
SELECT 1 / (msgstore.list_conversations() -> 'meta' ->> 'total')::int;
SQL
wait_for_processed($node, 'store');
is(violations($node, 'store'), '', 'message counts and last activities are exact');
is( count_of($node, 'store', 'msgstore.dead_letters')
	  + count_of($node, 'store', 'msgstore.event_failures'),
	0, 'concurrency causes no failed attempts');
is( sql('SELECT count(*) = count(DISTINCT number) FROM msgstore.conversations'),
	't', 'each conversation has a number of its own');

# The invariants hold in every snapshot while others write, and not only in the
# end. Each snapshot must have new messages, however fast the machine is.
use constant SNAPSHOTS => 5;
my $file = "$scratch/writers.sql";
append_to_file($file, <<'SQL');
\set n random(1, 1000000)
SELECT count(*) FROM msgstore.send('sms', event(NULL, '+50' || :n % 3, ':n'));
SELECT count(*) FROM msgstore.ingest('sms', event('snapshot-:n', '+50' || :n % 3));
SQL
my $writers = IPC::Run::start [
	'pgbench', '-n', '-c', 8, '-j', 2, '-T', 3600, '-f', $file,
	'-h', $node->host, '-p', $node->port, 'store' ], '>', \my $out, '2>', \my $err;
my ($snapshots, $messages, $wrong) = (0, 0, '');
for (1 .. SNAPSHOTS)
{
	last unless eventually(
		sub {
			my $now = count_of($node, 'store', 'msgstore.messages');
			return $now > $messages && ($messages = $now);
		});
	$wrong = violations($node, 'store');
	last if $wrong ne '';
	$snapshots++;
}
ok($writers->pumpable, 'the writers are still running') or diag($err);
$writers->kill_kill;
is($wrong, '', 'the invariants hold in every snapshot');
is($snapshots, SNAPSHOTS, 'each of the snapshots has new messages');

$node->stop;
done_testing();
