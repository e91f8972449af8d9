# Many sessions at once: one conversation for a pair, one row for an event,
# exact counts, and nobody fails.
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

# A test: so many sessions run the script so many times each, and none fails.
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

# One event from 20 sessions: one row, one id for all of them.
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
	'one id for each, and one session that stored it');
wait_for_processed($node, 'store');
is(conversations('%+18045551234'), '1|4|4', 'and one message');

# Batches that share their events, each in an order of its own, with and
# without keys: nobody waits in a circle.
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

# Everything at once: storing, sending, working by hand, reading.
sql("SELECT ingest_many('mixed-', 2000, 30)");
run_at_once('everything', 16, 30, <<'SQL');
\set n random(1, 200)
SELECT count(*) FROM msgstore.ingest('sms', event('mixed-' || :n, '+400' || :n % 9));
SELECT count(*) FROM msgstore.send('sms', event(NULL, '+400' || :n % 9, ':n'));
SELECT msgstore.process(50);
SELECT 1 / (msgstore.list_conversations() -> 'meta' ->> 'total')::int;
SQL
wait_for_processed($node, 'store');
is(violations($node, 'store'), '', 'counts and last activities are exact');
is( count_of($node, 'store', 'msgstore.dead_letters')
	  + count_of($node, 'store', 'msgstore.event_failures'),
	0, 'no event was blamed for the crowd');
is( sql('SELECT count(*) = count(DISTINCT number) FROM msgstore.conversations'),
	't', 'each conversation has a number of its own');

# In every snapshot, not only in the end: counts match while others write.
my $file = "$scratch/writers.sql";
append_to_file($file, <<'SQL');
\set n random(1, 1000000)
SELECT count(*) FROM msgstore.send('sms', event(NULL, '+50' || :n % 3, ':n'));
SELECT count(*) FROM msgstore.ingest('sms', event('snapshot-:n', '+50' || :n % 3));
SQL
my $writers = IPC::Run::start [
	'pgbench', '-n', '-c', 8, '-j', 2, '-T', 4, '-f', $file,
	'-h', $node->host, '-p', $node->port, 'store' ], '>', \my $out, '2>', \my $err;
my ($looks, $wrong) = (0, '');
while ($writers->pumpable && $wrong eq '')
{
	$wrong = violations($node, 'store');
	$looks++;
	$writers->pump_nb;
}
$writers->finish;
is($wrong, '', 'what always holds holds in every snapshot');
cmp_ok($looks, '>', 5, 'of many');

$node->stop;
done_testing();
