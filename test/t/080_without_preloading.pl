# Without preloading there are no workers, and process() does their work.
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

# Events are queued until process() is called.
sql("SELECT ingest_many('a', 50, 5)");
stays(
	sub {
		sql("SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'msgstore%'")
		  . ' ' . sql('SELECT count(*) FROM msgstore.event_queue');
	},
	'0 50',
	'no launcher or worker, and the events wait');
is(sql('SELECT msgstore.process()'), 50, 'process() processes the events');
is(sql('SELECT msgstore.process()'), 0, 'once');
is( violations($node, 'store'),
	'("library not preloaded","setting shared_preload_libraries","Without preloading, no worker processes events.",)',
	'all invariants hold, and check() finds that the library is not preloaded');
is( sql("SELECT duplicate FROM msgstore.send('sms', event(NULL))"),
	'f', 'send() stores a message');
is( sql("SELECT msgstore.list_messages('1') -> 'meta' ->> 'total'"),
	10, 'lists work');

# Sessions merge the changes of conversations.
sql("SELECT count(msgstore.send('sms', event(NULL, body => n::text))) FROM generate_series(1, 300) n");
cmp_ok(sql('SELECT count(*) FROM msgstore.conversation_changes'), '<', 100,
	'what messages change does not pile up');
is( sql('SELECT sum(message_count), (SELECT count(*) FROM msgstore.messages) FROM msgstore.conversations'),
	'351|351', 'and is counted once');

# Metrics: a session sees its own counts, and the current numbers of rows.
is( sql("SELECT ingest_many('b', 7); SELECT msgstore.process(5);
		SELECT m ->> 'events_ingested', m ->> 'worker_processed', m ->> 'worker_queued'
		FROM msgstore.metrics() m"),
	"7\n5\n7|5|2",
	'metrics() counts this session, and what is queued');
is( sql("SELECT m ->> 'events_ingested', m ->> 'worker_queued'
		FROM msgstore.metrics() m"),
	'0|2', 'another session starts at zero');

# Commands that would wake a worker do no harm.
sql("BEGIN; SELECT ingest_many('c', 3); PREPARE TRANSACTION 'p'");
sql("COMMIT PREPARED 'p'");
sql('BEGIN; SELECT msgstore.process(); ROLLBACK');
is(sql('SELECT msgstore.process()'), 5, 'after PREPARE TRANSACTION and a rollback');
sql('DROP EXTENSION msgstore CASCADE');
sql('CREATE EXTENSION msgstore');
$node->safe_psql('postgres', 'CREATE DATABASE copy TEMPLATE store');
$node->safe_psql('postgres', "DROP DATABASE $_") for qw(copy store);

# When preloaded later, the worker processes the waiting events.
add_database($node, 'store');
sql("SELECT ingest_many('d', 20)");
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'msgstore'");
$node->restart;
wait_for_workers($node, 'store', 1);
wait_for_processed($node, 'store', 'when preloaded, the worker processes the waiting events');

$node->stop;
done_testing();
