# Sessions that wait for a subscription or for events: they are woken by the
# commit, and a waiting procedure holds no snapshot. A reader that waits while
# subscriptions change places reads the new one.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::Bin/..";
use MsgstoreServer;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('subscriptions', 'msgstore.workers = 0');
$node->start;
add_database($node, 'store');
sub sql { return $node->safe_psql('store', $_[0]) }

sql(q{SELECT msgstore.append('order-1', 'x', jsonb_build_object('n', n)) FROM generate_series(1, 3) n;
	SELECT msgstore.create_subscription('blue', 'order');
	SELECT msgstore.create_subscription('green', 'order', after_position => 2)});

# Starts a statement in a session and returns it once the condition holds for it.
sub started
{
	my ($statement, $condition) = @_;
	my $session = $node->background_psql('store');
	my $pid = $session->query_safe('SELECT pg_backend_pid()');
	$session->query_until(qr/started/, "\\echo started\n$statement;\n");
	ok( $node->poll_query_until('store',
			"SELECT $condition FROM pg_stat_activity WHERE pid = $pid"),
		"waits: $statement");
	return $session;
}
sub returns
{
	my ($session, $result, $name) = @_;
	like($session->query_until(qr/^\Q$result\E$/m, "\n"), qr/^\Q$result\E$/m, $name);
	$session->quit;
	return;
}

my $waits = "wait_event_type = 'Extension'";
my $waiting = started(q{SELECT msgstore.wait_for('blue', 3, '180 s')}, $waits);
sql(q{SELECT msgstore.ack('blue', 2)});
sql(q{SELECT msgstore.ack('blue', 3)});
returns($waiting, 't', 'ack() wakes a session that waits for its position');

# An event that is not settled may still become the subscription's.
my $open = $node->background_psql('store');
$open->query_safe(q{BEGIN; SELECT msgstore.append('order-2', 'x', '{}')});
sql(q{SELECT msgstore.append('other-1', 'x', '{}')});
is(sql(q{SELECT msgstore.wait_for('blue', 5, '0')}), 'f', 'wait_for() waits for events that are not settled');
$waiting = started(q{SELECT msgstore.wait_for('blue', 5, '180 s')}, $waits);
$open->query_safe('ROLLBACK');
returns($waiting, 't', 'the end of an open append wakes it');

# A function holds the snapshot of its statement, the procedure none.
$waiting = started(q{CALL msgstore.await_events('order', 3, '180 s')}, "$waits AND backend_xmin IS NULL");
my $holding = started(q{SELECT msgstore.wait_for_events('order', 3, '180 s')}, "$waits AND backend_xmin IS NOT NULL");
sql(q{SELECT msgstore.append('order-3', 'x', '{}')});
returns($waiting, 't', 'an append wakes the procedure');
returns($holding, 't', 'and the function');

# Blue and green change places while a reader waits.
$open->query_safe(q{BEGIN; SELECT msgstore.rename_subscription('blue', 'old');
	SELECT msgstore.rename_subscription('green', 'blue')});
$waiting = started(q{SELECT global_position FROM msgstore.fetch('blue', 1)}, "wait_event_type = 'Lock'");
$open->query_safe('COMMIT');
returns($waiting, '3', 'a reader that waited reads the new subscription');
$open->quit;

done_testing();
