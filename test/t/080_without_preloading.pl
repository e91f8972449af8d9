# Without preloading nothing runs by itself, and everything works by hand.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::Bin/..";
use MsgstoreServer;
use Test::More;

my $node = new_server('plain', "shared_preload_libraries = ''\nmax_prepared_transactions = 2");
$node->start;
add_database($node, 'store');

sub sql { return $node->safe_psql('store', $_[0]) }

# Events are stored and wait; process() does the worker's work.
sql("SELECT ingest_many('a', 50, 5)");
stays(
	sub {
		sql("SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'msgstore%'")
		  . ' ' . sql('SELECT count(*) FROM msgstore.event_queue');
	},
	'0 50',
	'no process of ours, and nothing moves');
is(sql('SELECT msgstore.process()'), 50, 'process() processes');
is(sql('SELECT msgstore.process()'), 0, 'once');
is(violations($node, 'store'), '', 'all that always holds holds');
is( sql("SELECT duplicate FROM msgstore.send('sms', event(NULL))"),
	'f', 'send() sends');
is( sql("SELECT msgstore.list_messages('1') -> 'meta' ->> 'total'"),
	10, 'lists are there');

# Metrics: a session knows what it did itself, and what there is.
is( sql("SELECT ingest_many('b', 7); SELECT msgstore.process(5);
		SELECT m ->> 'events_ingested', m ->> 'worker_processed', m ->> 'worker_queued'
		FROM msgstore.metrics() m"),
	"7\n5\n7|5|2",
	'metrics() counts this session, and what is queued');
is( sql("SELECT m ->> 'events_ingested', m ->> 'worker_queued'
		FROM msgstore.metrics() m"),
	'0|2', 'another one begins at zero');

# What wakes a worker elsewhere does no harm here.
sql("BEGIN; SELECT ingest_many('c', 3); PREPARE TRANSACTION 'p'");
sql("COMMIT PREPARED 'p'");
sql('BEGIN; SELECT msgstore.process(); ROLLBACK');
is(sql('SELECT msgstore.process()'), 5, 'prepared and rolled back');
sql('DROP EXTENSION msgstore CASCADE');
sql('CREATE EXTENSION msgstore');
$node->safe_psql('postgres', 'CREATE DATABASE copy TEMPLATE store');
$node->safe_psql('postgres', "DROP DATABASE $_") for qw(copy store);

# Preloaded after all, the worker takes up what is there.
add_database($node, 'store');
sql("SELECT ingest_many('d', 20)");
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'msgstore'");
$node->restart;
wait_for_workers($node, 'store', 1);
wait_for_processed($node, 'store', 'preloaded, the worker takes up what waited');

$node->stop;
done_testing();
