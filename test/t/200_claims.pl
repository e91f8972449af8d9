# Claims of external processors: a worker releases the claims of a processor
# that died when they expire, and does nothing until then.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::Bin/..";
use MsgstoreServer;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);

my $node = new_server('claims', "max_worker_processes = 20\nmsgstore.workers = 2");
$node->start;
add_database($node, 'store');
wait_for_workers($node, 'store', 2);

sub sql { return $node->safe_psql('store', $_[0]) }

# Number of transactions in the database, read from another database.
my $transactions = "SELECT xact_commit + xact_rollback FROM pg_stat_database
	WHERE datname = 'store'";
sub transactions { return $node->safe_psql('postgres', $transactions) }

sub event
{
	my ($columns, $name) = @_;
	return sql("SELECT $columns FROM msgstore.inbound_events
		WHERE provider_message_id = '$name'");
}

# A processor that ingests and claims in one transaction, before a worker can.
sub processor
{
	my ($name, $timeout, @events) = @_;
	my $session = $node->background_psql('store');
	my $channel = $name =~ /strict/ ? 'strict' : 'sms';
	$session->query_safe("SET msgstore.claim_timeout = '$timeout'");
	$session->query_safe(join ';', 'BEGIN',
		(map { "SELECT msgstore.ingest('$channel', event('$_'))" } @events),
		"SELECT count(*) FROM msgstore.claim('$name', 10)", 'COMMIT');
	return $session;
}

# A processor is killed between claim and complete.
my $session = processor('doomed', '3 s', 'orphan-1', 'orphan-2');
my $expiry = sql('SELECT max(expires_at) FROM msgstore.event_claims');
is(event('status, processor_id', 'orphan-1'), 'processing|doomed', 'a processor claims');
$session->{run}->kill_kill(grace => 0);
ok( eventually(
		sub { sql("SELECT count(*) FROM pg_stat_activity
			WHERE query LIKE '%doomed%' AND pid <> pg_backend_pid()") == 0 }),
	'and is terminated');
sql("SELECT ingest_many('other-', 5, 5)");
ok( eventually(sub { sql("SELECT count(*) FROM msgstore.messages
		WHERE provider_message_id LIKE 'other-%'") == 5 }),
	'other events are processed meanwhile');
# The workers only wait for the expiry.
stays(
	sub {
		sql("SELECT count(*) FROM msgstore.inbound_events WHERE status <> 'processing'
			AND provider_message_id LIKE 'orphan-%' AND clock_timestamp() < '$expiry'")
	},
	0, 'the claimed ones are left alone');
wait_for_processed($node, 'store', 'then its events come back by themselves', 30);
is( event("attempt_count, error_code, error_message, status,
		processed_at >= '$expiry'", $_),
	'1|MS504|claim of processor "doomed" expired without a heartbeat|processed|t',
	"$_: not before the expiry") for qw(orphan-1 orphan-2);
is(sql("SELECT count(*), count(DISTINCT provider_message_id) FROM msgstore.messages
		WHERE provider_message_id LIKE 'orphan%'"), '2|2', 'processed once');
my ($ret, $out, $err) = $node->psql('store', "SELECT msgstore.complete('doomed',
	(SELECT array_agg(id) FROM msgstore.event_log WHERE provider_message_id LIKE 'orphan%'))");
like($err, qr/is not claimed by processor "doomed"/, 'a late complete() is refused');

# A heartbeat keeps a claim, here of two seconds for an hour.
$session = processor('lively', '2 s', 'kept');
is($session->query_safe("SET msgstore.claim_timeout = '1 h'; SELECT msgstore.heartbeat('lively')"),
	1, 'a heartbeat in time');
ok( eventually(sub { sql("SELECT clock_timestamp() > created_at + interval '3 s'
		FROM msgstore.inbound_events WHERE provider_message_id = 'kept'") eq 't' }),
	'the time of the claim is over');
is(event('status, attempt_count', 'kept'), 'processing|0', 'the claim does not expire');
is($session->query_safe("SELECT msgstore.complete('lively', array_agg(event_id))
	FROM msgstore.event_claims"), 1, 'and is completed');
$session->quit;

# While claims are open the workers sleep and run no transaction.
$session = processor('slow', '1 h', map { "slow-$_" } 1 .. 3);
processor('quick', '2 s', 'quick-1')->quit;
ok(eventually(sub { event('status', 'quick-1') eq 'processed' }),
	'a later claim that expires earlier is released first');
my $before = settled(\&transactions);
stays(sub { transactions() }, $before, 'idle workers run nothing while claims are open');
is($session->query_safe("SELECT msgstore.complete('slow', array_agg(event_id))
	FROM msgstore.event_claims"), 3, 'the long claims are completed');
$session->quit;

# After a rollback of claim(), workers get the events at once.
$session = $node->background_psql('store');
$session->query_safe("SELECT msgstore.ingest('sms', event('back'))");
wait_for_processed($node, 'store');
set_workers($node, 0, 'store');
sql("SELECT ingest_many('back-', 5)");
$session->query_safe("BEGIN; SELECT count(*) FROM msgstore.claim('undecided')");
set_workers($node, 2, 'store');
is(count_of($node, 'store', 'msgstore.event_queue'), 5, 'events of an uncommitted claim are not taken');
$session->query_safe('ROLLBACK');
wait_for_processed($node, 'store', 'its rollback wakes the workers', 15);
$session->quit;

# More claims than one statement releases.
sql("BEGIN; SELECT ingest_many('many-', 1200, 100);
	SET LOCAL msgstore.claim_timeout = '500 ms';
	SELECT count(*) FROM msgstore.claim('bulk', 2000); COMMIT");
wait_for_processed($node, 'store', 'however many claims run out, all come back', 60);
is(sql("SELECT count(*) FROM msgstore.messages WHERE provider_message_id LIKE 'many-%'"),
	1200, 'each event once');

# With strict_order, a worker can neither process events nor release claims in a
# lane that is locked, here by an uncommitted complete(). It does not keep
# trying, and continues when the lane is released.
sql("INSERT INTO msgstore.channels (name, address_kind, strict_order)
	VALUES ('strict', 'phone', true)");
my $neighbour = sql("SELECT min(other) FROM generate_series(1, 9999) n,
	LATERAL (SELECT '+1804555' || lpad(n::text, 4, '0')) o (other)
	WHERE n <> 1234 AND msgstore._lane('', 'strict', other, '+12016661234')
		= msgstore._lane('', 'strict', '+18045551234', '+12016661234')");
for my $end ('COMMIT', 'ROLLBACK')
{
	my $holder = processor("strict-$end", '1 h', "held-$end");
	# A new event, and nothing else that the worker would wait for.
	my $complete = "BEGIN; SELECT msgstore.complete('strict-$end', array_agg(event_id))
		FROM msgstore.event_claims WHERE processor_id = 'strict-$end'";
	$holder->query_safe($complete);
	sql("SELECT msgstore.ingest('strict', event('early-$end', '$neighbour'))");
	stays(sub { event('status', "early-$end") }, 'received', 'an event in a locked lane waits');
	$holder->query_safe('ROLLBACK');
	ok(eventually(sub { event('status', "early-$end") eq 'processed' }, 10),
		'and is processed when the lane is released');
	# With a claim that expires meanwhile.
	sql("BEGIN; SET LOCAL msgstore.claim_timeout = '1 s';
		SELECT msgstore.ingest('strict', event('stale-$end', '$neighbour'));
		SELECT count(*) FROM msgstore.claim('doomed'); COMMIT");
	$holder->query_safe($complete);
	sql("SELECT msgstore.ingest('strict', event('late-$end', '$neighbour'))");
	# Those that look once a second, that merge and that index.
	$before = transactions();
	stays(sub { transactions() <= $before + 50 ? 'few' : 'many' }, 'few',
		'a worker that found a lane locked sleeps');
	is(event('status', "late-$end"), 'received', 'the event in it waits');
	is(event('status', "stale-$end"), 'processing', 'and the expired claim is not released');
	$holder->query_safe($end);
	ok(eventually(sub { event('status', "late-$end") eq 'processed' }, 10),
		"both are processed after the $end");
	is(event('status, error_code', "stale-$end"), 'processed|MS504', 'in their order');
	$holder->quit;
	sql("UPDATE msgstore.event_claims SET expires_at = now(); SELECT msgstore.reap_stale()");
	wait_for_processed($node, 'store');
}

is(count_of($node, 'store', 'msgstore.event_claims'), 0, 'no claim is left');
is(count_of($node, 'store', 'msgstore.conversation_holds'), 0, 'and no waiting event');
is(violations($node, 'store'), '', 'all invariants hold');
unlike(log_of($node), qr/ERROR: (?!.*is not claimed)|FATAL: (?!.*terminating)|PANIC/,
	'and nothing failed');

$node->stop;
done_testing();
