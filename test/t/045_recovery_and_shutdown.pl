# Nothing runs on a standby until it is promoted, nor in a binary upgrade. A
# shutdown does not wait for the worker.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::Bin/..";
use IPC::Run;
use MsgstoreServer;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $node = new_server('primary', <<'CONF', allows_streaming => 1);
msgstore.workers = 0
msgstore.claim_timeout = '1 s'
msgstore.backoff_base = '100 ms'
CONF
$node->start;
add_database($node, 'store');

# Events of every kind: new, waiting behind one that a handler rejected once,
# and claimed.
$node->safe_psql('store', <<'SQL');
INSERT INTO msgstore.channels (name, address_kind, strict_order)
VALUES ('chat', 'phone', true);
CREATE TABLE effects (message_id uuid PRIMARY KEY, body text);
CREATE FUNCTION take_effect(message msgstore.messages) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF message.body = 'late' AND NOT EXISTS (SELECT FROM msgstore.event_failures) THEN
        RAISE 'not this time';
    END IF;
    INSERT INTO public.effects VALUES (message.id, message.body);
END
$$;
SELECT msgstore.add_handler('chat', 'take_effect');
SELECT FROM msgstore.ingest('chat', event('c1', body => 'late'));
SELECT FROM msgstore.ingest('chat', event('c2'));
SELECT msgstore.process();
SELECT FROM msgstore.ingest('chat', event('c3', '+18045550000'));
SELECT FROM msgstore.claim('processor');
SELECT ingest_many('a', 98, 10);
SQL

my $processes = "SELECT count(*) FROM pg_stat_activity
	WHERE backend_type LIKE 'msgstore%'";

# A standby has the data of the primary and no worker.
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->append_conf('postgresql.conf', 'msgstore.workers = 1');
$standby->start;
$node->wait_for_catchup($standby);
is(count_of($standby, 'store', 'msgstore.event_queue'), 101,
	'the standby has the events');
is( $standby->safe_psql('store', 'SELECT (SELECT count(*) FROM msgstore.event_claims),
		(SELECT count(*) FROM msgstore.conversation_holds),
		(SELECT count(*) FROM msgstore.handlers)'),
	'1|3|1', 'the claim, the waiting events and the handler');
stays(sub { $standby->safe_psql('postgres', $processes) },
	0, 'and neither launcher nor workers');
my ($status, undef, $stderr) =
  $standby->psql('store', "SELECT ingest_many('b', 1)");
like($stderr, qr/cannot execute .* (in a read-only transaction|during recovery)/,
	'it accepts no events');

# Functions that write say so, before they look at anything else.
foreach my $server ([ $standby, '', 'on a standby' ],
	[ $node, 'SET default_transaction_read_only = on;', 'in a read-only transaction' ])
{
	my ($where, $settings, $name) = @$server;

	foreach my $call (
		'ingest(NULL, NULL)',
		"ingest_batch('[]')",
		"ingest_batch('{}')",
		'send(NULL, NULL)',
		'process()',
		'process(0)',
		"claim('p')",
		"heartbeat('p')",
		"complete('p', '{}')",
		"fail('p', msgstore.uuid7(), 'E', 'm')",
		'reap_stale()',
		"requeue(msgstore.uuid7())",
		'requeue_dead_letters()',
		"claim_outbound('s')",
		"append('s-1', 'x', '{}')",
		"append_batch('[{\"stream\": \"s-1\", \"type\": \"x\", \"data\": {}}]')",
		"purge('1 day')",
		'replay()',
		"erase_address('sms', '+1')")
	{
		my (undef, undef, $error) =
		  $where->psql('store', "\\set VERBOSITY verbose\n${settings}SELECT msgstore.$call");
		like($error, qr/^psql:.*ERROR:  25006: /m, "$call $name: 25006");
	}
}
is($standby->safe_psql('store', "SELECT msgstore.list_conversations() ->> 'items'"),
	'[]', 'but it can be read');
unlike(log_of($standby), qr/msgstore worker|msgstore launcher/,
	'its log does not mention msgstore');

# After promotion it has a worker.
$standby->promote;
wait_for_workers($standby, 'store', 1, 'a promoted standby has a worker');
wait_for_processed($standby, 'store', 'which processes the waiting events');
is(count_of($standby, 'store', 'msgstore.messages'), 101, 'all of them');
is(count_of($standby, 'store', 'effects'), 3, 'handlers are called');
is( $standby->safe_psql('store',
		"SELECT status, error_code, attempt_count FROM msgstore.inbound_events
		WHERE channel = 'chat' AND error_code IS NOT NULL ORDER BY id"),
	"processed|P0001|1\nprocessed|MS504|1",
	'waiting events are released, and claims expire');
is( count_of($standby, 'store', 'msgstore.event_claims')
	  + count_of($standby, 'store', 'msgstore.conversation_holds'),
	0, 'none of them is left');
$standby->safe_psql('store', "SELECT ingest_many('b', 10)");
wait_for_processed($standby, 'store', 'the queue is processed');
is(violations($standby, 'store'), '', 'all invariants hold');
$standby->stop;

# A busy worker does not delay a fast shutdown.
$node->append_conf('postgresql.conf', 'msgstore.workers = 2');
$node->restart;
wait_for_workers($node, 'store', 2);
$node->safe_psql('store', <<'SQL');
CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS
$$BEGIN PERFORM pg_sleep(0.005); RETURN NULL; END$$;
CREATE TRIGGER dawdle AFTER INSERT ON msgstore.messages
FOR EACH ROW EXECUTE FUNCTION dawdle();
SQL
my $script = PostgreSQL::Test::Utils::tempdir . '/load.sql';
append_to_file($script, join '',
	map { "SELECT ingest_many('load-$_-', 500, 50);\n" } 1 .. 1000);
my $load = IPC::Run::start [
	'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('store'),
	'-f', $script ], '>', \my $out, '2>', \my $err;
ok(eventually(sub { count_of($node, 'store', 'msgstore.event_queue') > 2000 }),
	'many events are queued');
my $begin = time;
$node->stop('fast');
cmp_ok(time - $begin, '<', 5, 'the server stops within 5 s');
$load->finish;

# Nor do handlers that run in each of the workers and catch errors.
$node->start;
wait_for_workers($node, 'store', 2);
$node->safe_psql('store', <<'SQL');
CREATE FUNCTION linger(message msgstore.messages) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_sleep(60);
EXCEPTION
    WHEN OTHERS OR query_canceled THEN
        PERFORM pg_sleep(60);
END
$$;
INSERT INTO msgstore.channels (name, address_kind) VALUES ('slow', 'phone');
SELECT msgstore.add_handler('slow', 'linger');
SELECT FROM generate_series(1, 20) i, msgstore.ingest('slow', event('s' || i, '+1804555000' || i));
SQL
ok( eventually(
		sub {
			return $node->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity
				WHERE backend_type = 'msgstore worker' AND wait_event = 'PgSleep'") == 2;
		}),
	'handlers are running');
$begin = time;
$node->stop('fast');
cmp_ok(time - $begin, '<', 5, 'the server stops within 5 s');
$node->start;
wait_for_workers($node, 'store', 2);
is(count_of($node, 'store', "msgstore.messages WHERE channel = 'slow'"),
	0, 'nothing is partly done');
is( count_of($node, 'store', "msgstore.inbound_events
		WHERE channel = 'slow' AND status = 'received'"),
	20, 'and no failed attempt is counted');
$begin = time;
$node->stop('fast');
cmp_ok(time - $begin, '<', 5, 'and again');

# In a binary upgrade neither launcher nor workers run.
command_ok([
		'pg_ctl', '-w', '-D', $node->data_dir, '-l', $node->logfile,
		'-o', '-b', 'start' ],
	'the server starts for a binary upgrade');
stays(sub { $node->safe_psql('postgres', $processes) },
	0, 'without launcher or workers');
command_ok([ 'pg_ctl', '-w', '-D', $node->data_dir, '-m', 'fast', 'stop' ],
	'and stops');

# No event is partly processed.
$node->start;
wait_for_workers($node, 'store', 2);
is(violations($node, 'store'), '', 'all invariants hold');
# The workers in the trigger have locked table messages.
$node->safe_psql('store', "SELECT msgstore.remove_handler('slow', 'linger')");
$node->safe_psql('postgres', "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
	WHERE backend_type = 'msgstore worker'");
$node->safe_psql('store', 'DROP TRIGGER dawdle ON msgstore.messages');
wait_for_processed($node, 'store', 'the remaining events are processed');
is( count_of($node, 'store', 'msgstore.messages'),
	count_of($node, 'store', 'msgstore.event_log'),
	'one message for each event');
is(violations($node, 'store'), '', 'all invariants hold');

$node->stop;
done_testing();
