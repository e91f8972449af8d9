# A copy of the log, made by logical replication or a restore, is read in order, and
# no position is drawn twice: two servers, and two databases of one server.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::Bin/..";
use MsgstoreServer;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);

my $settings = "msgstore.workers = 0\nwal_level = logical\nmax_prepared_transactions = 0";
my $node = new_server('publisher', $settings, allows_streaming => 'logical');
$node->start;
add_database($node, 'store');
my $copy = new_server('subscriber', $settings);
$copy->start;

sub subscribe
{
	my ($to, $database, $name) = @_;
	add_database($to, $database);
	my $connection = $node->connstr('store');
	# A subscription to the same server cannot create its slot by itself.
	$node->safe_psql('store', "SELECT pg_create_logical_replication_slot('$name', 'pgoutput')");
	$to->safe_psql($database, "CREATE SUBSCRIPTION $name CONNECTION \$\$$connection\$\$ PUBLICATION log
		WITH (create_slot = false, slot_name = '$name')");
	return;
}

# Reads pages from the copy until the events of the publisher are there; the
# order of what it read is that of the publisher.
sub positions
{
	my ($on, $database) = @_;
	return $on->safe_psql($database,
		q{SELECT string_agg(global_position::text, ' ' ORDER BY global_position) FROM msgstore.read_all(0, NULL)});
}
sub level
{
	my ($on, $database, $name) = @_;
	my $expected = positions($node, 'store');
	ok( $on->poll_query_until($database,
			q{SELECT string_agg(global_position::text, ' ' ORDER BY global_position) FROM msgstore.read_all(0, NULL)},
			$expected),
		$name) or diag("expected $expected");
	return;
}

# The publisher goes on appending, because what is behind a missing position is
# read when a later transaction has arrived.
sub copied
{
	my ($on, $database, $name) = @_;
	my $expected = positions($node, 'store') . ' ';
	my $seen = '';
	for my $round (0 .. 1800)
	{
		$node->safe_psql('store', q{SELECT msgstore.append('tick-1', 'x', '{}')}) if $round % 10 == 0;
		$seen = positions($on, $database) . ' ';
		last if index($seen, $expected) == 0;
		sleep 0.1;
	}
	is(substr($seen, 0, length $expected), $expected, $name);
	return;
}

$node->safe_psql('store', q{CREATE PUBLICATION log FOR TABLE msgstore.stream_events;
	SELECT msgstore.append('s-' || n % 3, 'x', '{}') FROM generate_series(1, 20) n;
	SET msgstore.tenant_id = 'a'; SELECT msgstore.append('s-1', 'x', '{}')});
my @copies = ([ $copy, 'copy' ], [ $node, 'neighbor' ]);
subscribe(@$_, "copy_of_$_->[1]") for @copies;
level(@$_, "$_->[1]: readers see all events that were there before") for @copies;

# Later events, with positions of other tenants and of rolled back appends between
# them. What is behind the last rollback is read when another transaction follows.
$node->safe_psql('store', q{SET msgstore.tenant_id = 'a'; SELECT msgstore.append('s-1', 'x', '{}');
	RESET msgstore.tenant_id; SELECT msgstore.append('s-1', 'x', '{}');
	BEGIN; SELECT msgstore.append('s-1', 'x', '{}'); ROLLBACK;
	SELECT msgstore.append('s-1', 'x', '{}'); SELECT msgstore.append('s-1', 'x', '{}')});
copied(@$_, "$_->[1]: readers see later events") for @copies;

# A transaction that commits later than one with a greater position.
my $first = $node->safe_psql('store', 'SELECT msgstore.latest_position() + 1');
my $open = $node->background_psql('store');
$open->query_safe(q{BEGIN; SELECT msgstore.append('s-1', 'late', '{}')});
$node->safe_psql('store', q{SELECT msgstore.append('t-1', 'early', '{}');
	SELECT msgstore.append('t-1', 'early', '{}')});
for (@copies)
{
	my ($on, $database) = @$_;
	ok( $on->poll_query_until($database,
			"SELECT count(*) = 2 FROM msgstore.stream_events WHERE type = 'early'"),
		"$database: the later positions arrive first");
	is($on->safe_psql($database, "SELECT count(*) FROM msgstore.read_all($first - 1)"),
		0, "$database: but are not read yet");
	is($on->safe_psql($database, "BEGIN ISOLATION LEVEL REPEATABLE READ;
			SELECT count(*) FROM msgstore.read_all($first - 1)"),
		0, "$database: nor in a REPEATABLE READ transaction");
}
$open->query_safe('COMMIT');
copied(@$_, "$_->[1]: readers see both in order") for @copies;

level(@$_, "$_->[1]: and all that was appended since") for @copies;

# A subscription works on the copy.
is( $copy->safe_psql('copy', q{SELECT msgstore.create_subscription('all');
		SELECT count(*) FROM msgstore.fetch('all', 1000)}),
	"\n" . $node->safe_psql('store', 'SELECT count(*) FROM msgstore.read_all(0, NULL)'),
	'a subscription of the copy fetches the events');

# The copy is promoted: positions continue after those of the log, in each tenant.
for (@copies)
{
	my ($on, $database) = @$_;
	$on->safe_psql($database, "ALTER SUBSCRIPTION copy_of_$database DISABLE;
		ALTER SUBSCRIPTION copy_of_$database SET (slot_name = NONE)");
	$on->safe_psql($database, "DROP SUBSCRIPTION copy_of_$database");
	my $last = $on->safe_psql($database, 'SELECT max(global_position) FROM msgstore.stream_events');
	is( $on->safe_psql($database, "SELECT msgstore.append('s-1', 'own', '{}'), msgstore.append('u-1', 'own', '{}');
			SELECT string_agg((global_position - $last)::text, ' ') FROM msgstore.read_all($last)"),
		($on->safe_psql($database, "SELECT msgstore.stream_version('s-1')")) . "|1\n1 2",
		"$database: new events follow those of the log");
	is( $on->safe_psql($database, "SET msgstore.tenant_id = 'a'; SELECT msgstore.append('u-1', 'own', '{}');
			SELECT count(*) FROM msgstore.read_all(0, NULL)"),
		"1\n3", "$database: in each tenant");
	is( $on->safe_psql($database, 'SELECT count(*) - count(DISTINCT global_position) FROM msgstore.stream_events'),
		0, "$database: no position occurs twice");
}

# A sequence that was set back, before and while sessions append.
my $session = $copy->background_psql('copy');
$session->query_safe(q{SELECT msgstore.append('s-1', 'own', '{}')});
$copy->safe_psql('copy', q{SELECT setval('msgstore.stream_events_position_seq', 5)});
is( $copy->safe_psql('copy', q{SELECT subject FROM msgstore.check()}),
	'msgstore.stream_events_position_seq', 'check() finds a sequence that is behind the log');
is( $copy->safe_psql('copy', q{SELECT max(global_position) = (SELECT max(global_position) FROM msgstore.stream_events
			WHERE tenant_id = '') FROM msgstore.read_all(0, NULL)}),
	't', 'it hides no event');
$session->query_safe(q{SELECT msgstore.append('s-1', 'own', '{}')});
$copy->safe_psql('copy', q{SELECT msgstore.append('s-1', 'own', '{}')});
is( $copy->safe_psql('copy', q{SELECT count(*) - count(DISTINCT global_position) FROM msgstore.stream_events;
		SELECT bool_and(up) FROM (SELECT global_position > lag(global_position, 1, 0::bigint)
			OVER (PARTITION BY tenant_id, stream ORDER BY version) AS up FROM msgstore.stream_events) e}),
	"0\nt", 'no session draws a position twice, and positions increase with versions');
is( $copy->safe_psql('copy', q{SELECT setval('msgstore.stream_events_position_seq', 5);
		UPDATE msgstore.stream_events SET global_position = 1000000 WHERE stream = 'u-1' AND tenant_id = '';
		SELECT repair FROM msgstore.check()}),
	"5\nSELECT setval('msgstore.stream_events_position_seq', 1000000)", 'check() proposes a repair');
is( $copy->safe_psql('copy', q{SELECT msgstore.append('far-1', 'x', '{}');
		SELECT global_position > 1000000 FROM msgstore.read_category('far');
		SELECT count(*) FROM msgstore.check()}),
	"1\nt\n0", 'an append passes a log that is far ahead');
$session->quit;

# Checkpoints past the end of the log.
my ($code, $stdout, $stderr) = $copy->psql('copy', q{SELECT msgstore.create_subscription('ahead', NULL, 1,
	(SELECT last_value + 1 FROM msgstore.stream_events_position_seq))});
like($stderr, qr/position \d+ is past the end of the log/, 'a subscription cannot begin past the end of the log');
$copy->safe_psql('copy', q{SELECT msgstore.create_subscription('ahead');
	UPDATE msgstore.stream_consumers SET position = 900000000 WHERE subscription = 'ahead'});
is($copy->safe_psql('copy', q{SELECT finding, subject FROM msgstore.check()}),
	'checkpoint past the log|subscription ahead', 'check() finds such a checkpoint');
$copy->safe_psql('copy', $copy->safe_psql('copy', 'SELECT repair FROM msgstore.check()'));
is( $copy->safe_psql('copy', q{SELECT count(*) FROM msgstore.check(); SELECT msgstore.append('far-1', 'x', '{}');
		SELECT count(*) FROM msgstore.fetch('ahead')}),
	"0\n2\n1", 'and its repair sets it to the end of the log');

$node->safe_psql('store', q{SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots});
$_->stop for $copy, $node;
done_testing();
