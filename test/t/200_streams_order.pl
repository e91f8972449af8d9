# Readers by global position never miss an event, with many writers, delays and
# rollbacks: preloaded, not preloaded, and on a standby.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::Bin/..";
use IPC::Run qw(start);
use MsgstoreServer;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $settings = "msgstore.workers = 0\nmax_prepared_transactions = 2";
my $directory = PostgreSQL::Test::Utils::tempdir();

# Each round is a transaction that appends to two streams with a delay in between,
# one in four of which is rolled back, and another that appends a batch.
append_to_file("$directory/writer.sql", <<'SQL');
\set id random(1, 40)
\set delay random(0, 15)
\set fate random(1, 4)
BEGIN;
SELECT msgstore.append('s-' || :id, 'x', '{}');
SELECT pg_sleep(:delay / 1000.0);
SELECT msgstore.append('t-' || :id, 'x', '{}');
\if :fate = 1
ROLLBACK;
\else
COMMIT;
\endif
SELECT count(*) FROM msgstore.append_batch('[{"stream": "u-1", "type": "x", "data": {}},
    {"stream": "s-1", "type": "x", "data": {}}]');
SQL

# Reads until there is no new event for two seconds, and stores what it read.
my $reader = <<'SQL';
CREATE TABLE seen (n bigserial, reader text, global_position bigint);
CREATE PROCEDURE read_on(reader text, category text, most int) LANGUAGE plpgsql AS $$
DECLARE
    place bigint := 0;
    last bigint;
BEGIN
    LOOP
        EXIT WHEN NOT msgstore.wait_for_events(category, place, '2 s');
        IF category IS NULL THEN
            INSERT INTO seen (reader, global_position)
            SELECT read_on.reader, global_position FROM msgstore.read_all(place, most);
        ELSE
            INSERT INTO seen (reader, global_position)
            SELECT read_on.reader, global_position FROM msgstore.read_category(category, place, most);
        END IF;
        SELECT max(s.global_position) INTO last FROM seen s WHERE s.reader = read_on.reader;
        place := coalesce(last, 0);
        COMMIT;
    END LOOP;
END
$$;
SQL

sub new_store
{
	my ($node) = @_;
	add_database($node, 'store');
	$node->safe_psql('store', $reader);
	return;
}

sub start_pgbench
{
	my ($node, $seconds) = @_;
	my $out = '';
	return start([ 'pgbench', '-n', '-c', 20, '-j', 2, '-T', $seconds,
			'-f', "$directory/writer.sql", $node->connstr('store') ],
		'>&', \$out);
}

sub start_reader
{
	my ($node, $name, $category, $most) = @_;
	my $out = '';
	return start([ 'psql', '-XqAt', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('store'),
			'-c', "CALL read_on('$name', $category, $most)" ], '>&', \$out);
}

# Compares the stored events with the table: none is missing, none occurs twice,
# and all are in order.
sub check_readers
{
	my ($node, $how, %categories) = @_;
	for my $name (sort keys %categories)
	{
		my $condition = $categories{$name} eq 'NULL' ? 'true' : "category = $categories{$name}";
		is( $node->safe_psql('store', "
				SELECT (SELECT count(*) FROM (SELECT global_position FROM msgstore.stream_events
						WHERE $condition EXCEPT
						SELECT global_position FROM seen WHERE reader = '$name') m) || ' missing, '
					|| (SELECT count(*) - count(DISTINCT global_position) FROM seen
						WHERE reader = '$name') || ' twice, '
					|| (SELECT count(*) FROM (SELECT global_position
							< lag(global_position) OVER (ORDER BY n) AS back
						FROM seen WHERE reader = '$name') o WHERE back) || ' out of order'"),
			'0 missing, 0 twice, 0 out of order',
			"$how: reader $name reads every event once, in order");
	}
	is( $node->safe_psql('store', 'SELECT count(*) FROM (
			SELECT global_position < lag(global_position) OVER (PARTITION BY stream ORDER BY version)
				OR version <> row_number() OVER (PARTITION BY stream ORDER BY version) AS bad
			FROM msgstore.stream_events) e WHERE bad'),
		0, "$how: versions of a stream have no gaps, and positions increase with them");
	return;
}

sub stress
{
	my ($node, $seconds, $how) = @_;
	my %readers = (all => 'NULL', s => "'s'", t => "'t'", few => 'NULL');
	my $writers = start_pgbench($node, $seconds);
	my @running = map { start_reader($node, $_, $readers{$_}, $_ eq 'few' ? 3 : 100) }
	  grep { $_ ne 'few' } keys %readers;
	$writers->finish;
	ok(!$writers->result, "$how: writers succeed");
	push @running, start_reader($node, 'few', 'NULL', 3000);
	$_->finish for @running;
	my $events = count_of($node, 'store', 'msgstore.stream_events');
	cmp_ok($events, '>', 300, "$how: there were many events ($events)");
	check_readers($node, $how, %readers);
	return;
}

# Preloaded.
my $node = new_server('primary', $settings, allows_streaming => 1);
$node->start;
new_store($node);
stress($node, 8, 'preloaded');

# A long transaction in another database, or without appends, does not stall readers.
$node->safe_psql('postgres', 'CREATE DATABASE other');
$node->safe_psql('other', 'CREATE EXTENSION msgstore');
my $elsewhere = $node->background_psql('other');
$elsewhere->query_safe(q{BEGIN; SELECT msgstore.append('s-1', 'x', '{}'); SELECT pg_current_xact_id()});
my $idle = $node->background_psql('store');
$idle->query_safe('BEGIN; CREATE TABLE idle (); SELECT pg_current_xact_id()');
is( $node->safe_psql('store', q{SELECT msgstore.append('idle-1', 'x', '{}');
		SELECT count(*) FROM msgstore.read_category('idle');
		SELECT msgstore.wait_for_events('idle', 0, '0')}),
	"1\n1\nt", 'a transaction in another database, or without appends, does not stall readers');
# A transaction that has appended stalls the readers of its category and those of
# all categories of its tenant; its end wakes waiting sessions.
my $open = $node->background_psql('store');
$open->query_safe(q{BEGIN; SELECT msgstore.append('idle-2', 'x', '{}')});
is( $node->safe_psql('store', q{SELECT msgstore.append('idle-1', 'x', '{}');
		SELECT count(*) FROM msgstore.read_category('idle');
		SELECT msgstore.wait_for_events('idle', (SELECT max(global_position)
			FROM msgstore.read_category('idle')), '10 ms')}),
	"2\n1\nf", 'readers stop before an open append');
is( $node->safe_psql('store', q{SELECT msgstore.append('calm-1', 'x', '{}');
		SELECT count(*) FROM msgstore.read_category('calm');
		SELECT count(*) FROM msgstore.read_all(0, NULL) WHERE stream = 'calm-1';
		SET msgstore.tenant_id = 'other'; SELECT msgstore.append('calm-1', 'x', '{}');
		SELECT count(*) FROM msgstore.read_all()}),
	"1\n1\n0\n1\n1", 'readers of other categories and tenants are not stalled');
sub wait_in_background
{
	my ($category) = @_;
	my $place = $node->safe_psql('store', "SELECT max(global_position)
		FROM msgstore.read_category('$category')") || 0;
	my $waiting = $node->background_psql('store');
	$waiting->query_until(qr/started/, "\\echo started
		SELECT msgstore.wait_for_events('$category', $place, '60 s');\n");
	ok( $node->poll_query_until('store', "SELECT count(*) = 1 FROM pg_stat_activity
			WHERE query LIKE '%wait_for_events(''$category''%' AND wait_event_type = 'Extension'"),
		"a session waits for $category");
	return $waiting;
}
sub woken
{
	my ($waiting, $name) = @_;
	my $start = time;
	$waiting->query_until(qr/^t$/m, "\n");
	cmp_ok(time - $start, '<', 20, $name);
	$waiting->quit;
	return;
}
my $waiting = wait_in_background('idle');
$open->query_safe('ROLLBACK');
woken($waiting, 'a rollback wakes a session that waited behind the open append');
$waiting = wait_in_background('fresh');
$open->query_safe(q{BEGIN; SELECT msgstore.append('fresh-1', 'x', '{}')});
$open->query_safe('COMMIT');
woken($waiting, 'a commit wakes a session that waits for its category');

# After a rollback to a savepoint, nobody waits for what was appended in it, and
# what the transaction appended before stays in the way.
$open->query_safe(q{BEGIN; SELECT msgstore.append('outer-1', 'x', '{}');
	SAVEPOINT s; SELECT msgstore.append('save-1', 'x', '{}'), msgstore.append('outer-2', 'x', '{}')});
is($node->safe_psql('store', q{SELECT msgstore.append('save-2', 'x', '{}'), msgstore.append('outer-3', 'x', '{}');
		SELECT count(*) FROM msgstore.read_category('save')}),
	"1|1\n0", 'an append in a savepoint stalls readers');
$waiting = wait_in_background('save');
$open->query_safe('ROLLBACK TO s');
woken($waiting, 'a rollback to the savepoint wakes a session that waited behind it');
is($node->safe_psql('store', q{SELECT count(*) FROM msgstore.read_category('save');
		SELECT count(*) FROM msgstore.read_category('outer')}),
	"1\n0", 'what was appended before the savepoint still stalls readers');
# A savepoint that is kept belongs to the transaction.
$open->query_safe(q{SAVEPOINT t; SELECT msgstore.append('save-1', 'x', '{}'); RELEASE t; SAVEPOINT u; ROLLBACK TO u});
is($node->safe_psql('store', q{SELECT msgstore.append('save-2', 'x', '{}');
		SELECT count(*) FROM msgstore.read_category('save')}),
	"2\n1", 'an append in a released savepoint stalls readers');
$open->query_safe('ROLLBACK');
is($node->safe_psql('store', q{SELECT count(*) FROM msgstore.read_category('save');
		SELECT count(*) FROM msgstore.read_category('outer')}),
	"2\n1", 'until the transaction ends');

# A transaction that appends to more categories than it has bounds for stalls its
# tenant, and one that appends for many tenants all of them.
$open->query_safe(q{BEGIN; SELECT msgstore.append('many' || n || '-1', 'x', '{}') FROM generate_series(1, 6) n});
is($node->safe_psql('store', q{SELECT msgstore.append('many' || n || '-2', 'x', '{}') FROM generate_series(1, 6) n;
		SELECT sum((SELECT count(*) FROM msgstore.read_category('many' || n))) FROM generate_series(1, 6) n;
		SET msgstore.tenant_id = 'other'; SELECT count(*) FROM msgstore.read_all()}),
	"1\n1\n1\n1\n1\n1\n0\n1", 'readers of all its categories stop, those of another tenant do not');
$open->query_safe(q{SET LOCAL msgstore.tenant_id = 'third'; SELECT msgstore.append('wide-1', 'x', '{}')});
is($node->safe_psql('store', q{SET msgstore.tenant_id = 'third'; SELECT msgstore.append('wide-2', 'x', '{}');
		SELECT count(*) FROM msgstore.read_category('wide')}),
	"1\n0", 'readers of another tenant that it appends for stop');
$open->query_safe('COMMIT');
is($node->safe_psql('store', q{SELECT sum((SELECT count(*) FROM msgstore.read_category('many' || n))) FROM generate_series(1, 6) n;
		SET msgstore.tenant_id = 'third'; SELECT count(*) FROM msgstore.read_category('wide')}),
	"12\n2", 'until it ends');

# A terminated session leaves no position behind.
$waiting = wait_in_background('gone');
$open->query_safe(q{BEGIN; SELECT msgstore.append('gone-2', 'x', '{}')});
$node->safe_psql('store', q{SELECT msgstore.append('gone-1', 'x', '{}');
	SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE state = 'idle in transaction'
	AND query LIKE '%gone-2%'});
woken($waiting, 'a terminated session does not stall others');
$_->quit for $elsewhere, $idle;

# A transaction that has appended cannot be prepared.
my ($code, $stdout, $stderr) = $node->psql('store',
	q{BEGIN; SELECT msgstore.append('p-1', 'x', '{}'); PREPARE TRANSACTION 'p'});
like($stderr, qr/cannot prepare a transaction that has appended events/, 'PREPARE TRANSACTION is refused');
is($node->safe_psql('store', "SELECT msgstore.stream_version('p-1')"), 0, 'and the transaction is rolled back');

# A standby returns events in a reliable order, too.
my $backup = 'backup';
$node->backup($backup);
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, $backup, has_streaming => 1);
$standby->start;
my $writers = start_pgbench($node, 6);
my @read;
my $place = 0;
my $until = time + 7;
while (time < $until)
{
	push @read, split /\n/, $standby->safe_psql('store',
		"SELECT global_position FROM msgstore.read_all($place, 500)");
	$place = $read[-1] if @read;
}
$writers->finish;
ok(!$writers->result, 'writers succeed while a standby reads');
$node->wait_for_catchup($standby);
push @read, split /\n/, $standby->safe_psql('store',
	"SELECT global_position FROM msgstore.read_all($place, NULL)");
is( join(' ', @read),
	join(' ', split /\n/, $node->safe_psql('store',
			'SELECT global_position FROM msgstore.read_all(0, NULL)')),
	'a standby returns every event once, in order');

# An event can have a horizon beyond all transactions that the standby has seen. It
# still waits for an earlier one that is open.
{
	my ($early, $late, @others) = map { $node->background_psql('store') } 1 .. 5;
	$place = $read[-1];
	$early->query_safe(q{BEGIN; SELECT msgstore.append('before-1', 'x', '{}')});
	$late->query_safe('BEGIN; SELECT pg_current_xact_id()');
	$_->query_safe('BEGIN; SELECT pg_current_xact_id()') for @others;
	$late->query_safe(q{SELECT msgstore.append('after-1', 'x', '{}'); COMMIT});
	$node->wait_for_catchup($standby);
	my $seen = "SELECT string_agg(stream, ' ' ORDER BY global_position) FROM msgstore.read_all($place, NULL)";
	is($standby->safe_psql('store', $seen), '', 'a standby waits for an earlier event');
	$early->query_safe('COMMIT');
	$_->query_safe($_ == $others[0] ? 'ROLLBACK' : 'COMMIT') for @others;
	# The ends of transactions that changed nothing are sent by the WAL writer.
	ok($standby->poll_query_until('store', $seen, 'before-1 after-1'),
		'and returns both without a later transaction');
	$_->quit for $early, $late, @others;
}
is( $standby->safe_psql('store', q{SELECT msgstore.wait_for_events('s', 0, '1 s'),
		msgstore.wait_for_events('none', 0, '200 ms')}),
	't|f', 'sessions can wait on a standby');
$standby->stop;

# Transactions with an older snapshot stop at what that snapshot settles.
my $old = $node->background_psql('store');
$old->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM msgstore.read_all()');
$open = $node->background_psql('store');
$open->query_safe(q{BEGIN; SELECT msgstore.append('late-1', 'x', '{}')});
$node->safe_psql('store', q{SELECT msgstore.append('late-2', 'x', '{}')});
my $second = $node->background_psql('store');
$second->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1');
$open->query_safe('COMMIT');
is($second->query_safe(q{SELECT count(*) FROM msgstore.read_category('late')}), 0,
	'a snapshot that sees only the later event returns neither');
is($old->query_safe(q{SELECT count(*) FROM msgstore.read_category('late')}), 0,
	'an older snapshot returns neither');
is($node->safe_psql('store', q{SELECT count(*) FROM msgstore.read_category('late')}), 2,
	'a newer snapshot returns both');
$_->quit for $old, $open, $second;
$node->stop;

# Not preloaded: readers use xmin, and waiting sessions check at intervals.
$node = new_server('plain', "$settings\nshared_preload_libraries = ''");
$node->start;
new_store($node);
stress($node, 5, 'not preloaded');
$open = $node->background_psql('store');
$open->query_safe(q{BEGIN; SELECT msgstore.append('open-1', 'x', '{}')});
is( $node->safe_psql('store', q{SELECT msgstore.append('idle-1', 'x', '{}');
		SELECT count(*) FROM msgstore.read_category('idle')}),
	"1\n0", 'not preloaded: readers stop before an open append');
$open->query_safe('COMMIT');
is($node->safe_psql('store', q{SELECT count(*) FROM msgstore.read_category('idle')}),
	1, 'not preloaded: readers continue after it ends');
# Events with the horizon of another cluster are settled.
$node->safe_psql('store', 'UPDATE msgstore.stream_events
	SET horizon = (horizon # (1::bigint << 50)) | ((1::bigint << 48) - 1)');
$open->query_safe('BEGIN; SELECT pg_current_xact_id()');
is( $node->safe_psql('store', q{SELECT count(*) > 0 FROM msgstore.read_category('idle')}),
	't', 'restored events are settled');
$open->quit;
$node->stop;
done_testing();
