# Events that wait are processed when the obstacle is gone: a worker that
# stopped, strict_order that was turned off, a claim that was locked.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::Bin/..";
use MsgstoreServer;
use Test::More;

my $node = new_server('waits', <<'CONF');
msgstore.workers = 2
msgstore.batch_size = 20
msgstore.backoff_base = '100 ms'
msgstore.backoff_max = '100 ms'
CONF
$node->start;
add_database($node, 'store');

sub sql { return $node->safe_psql('store', $_[0]) }

sub set_server
{
	my ($setting, $value) = @_;
	$node->safe_psql('postgres', "ALTER SYSTEM SET msgstore.$setting = '$value'");
	$node->reload;
	return;
}

# Fewer workers: the remaining one sleeps, because its own lanes are empty, and
# takes over the lanes of the one that stops in the middle of its work.
wait_for_workers($node, 'store', 2);
sql(<<'SQL');
CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS
$$BEGIN PERFORM pg_sleep(0.01); RETURN NULL; END$$;
CREATE TRIGGER dawdle AFTER INSERT ON msgstore.messages
FOR EACH ROW EXECUTE FUNCTION dawdle();

SELECT count(*) FROM msgstore.ingest_batch((
    SELECT jsonb_agg(jsonb_build_object(
        'channel', 'sms', 'payload', event('second-' || n, peer)))
    FROM (
        SELECT '+1804555' || i AS peer
        FROM generate_series(1000, 1099) i
        WHERE msgstore._lane('', 'sms', '+1804555' || i, '+12016661234') % 2 = 1
        LIMIT 1) second,
    generate_series(1, 200) n));
SQL
ok(eventually(sub { count_of($node, 'store', 'msgstore.messages') > 0 }),
	'the second worker is processing');
set_server('workers', 1);
wait_for_workers($node, 'store', 1);
cmp_ok(count_of($node, 'store', 'msgstore.event_queue'),
	'>', 0, 'it leaves events behind');
wait_for_processed($node, 'store', 'which the first one takes over', 30);
sql('DROP TRIGGER dawdle ON msgstore.messages');

# Waiting events of a channel whose strict_order is turned off.
set_server('workers', 0);
wait_for_workers($node, 'store', 0);
sql(<<'SQL');
INSERT INTO msgstore.channels (name, address_kind, strict_order)
VALUES ('chat', 'phone', true);
CREATE TABLE applied (n serial, body text);
CREATE FUNCTION apply(message msgstore.messages) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF message.body = 'stuck' THEN
        RAISE 'not yet';
    END IF;
    INSERT INTO public.applied (body) VALUES (message.body);
END
$$;
SELECT msgstore.add_handler('chat', 'apply');
SELECT FROM msgstore.ingest('chat', event('l1', body => 'stuck'));
SELECT FROM msgstore.ingest('chat', event('l2', body => 'waits'));
SELECT FROM msgstore.ingest('chat', event('l3', body => 'waits'));
SELECT msgstore.process();
SQL
my $line = 'SELECT count(*), count(*) FILTER (WHERE isfinite(next_attempt_at))
	FROM msgstore.event_queue JOIN msgstore.conversation_holds
	USING (tenant_id, event_id)';
is(sql($line), '3|1', 'two events wait for a third');
sql("UPDATE msgstore.channels SET strict_order = false WHERE name = 'chat'");
is(violations($node, 'store'), '', 'all invariants hold');
set_server('max_retries', 0);
set_server('workers', 2);
wait_for_processed($node, 'store', 'they are released without strict_order');
is(sql("SELECT string_agg(body, ' ' ORDER BY n) FROM applied"),
	'waits waits', 'and processed');
is(count_of($node, 'store', 'msgstore.conversation_holds'),
	0, 'none of them is waiting');
is(violations($node, 'store'), '', 'all invariants hold');

# The same with a channel that is deleted.
set_server('workers', 0);
set_server('max_retries', 5);
wait_for_workers($node, 'store', 0);
sql(<<'SQL');
UPDATE msgstore.channels SET strict_order = true WHERE name = 'chat';
SELECT FROM msgstore.ingest('chat', event('d1', body => 'stuck'));
SELECT FROM msgstore.ingest('chat', event('d2', body => 'waits'));
SELECT msgstore.process();
SQL
is(sql($line), '2|1', 'one event waits for another');
sql("DELETE FROM msgstore.channels WHERE name = 'chat'");
set_server('workers', 2);
wait_for_processed($node, 'store', 'they are released without a channel');
is(count_of($node, 'store', 'msgstore.conversation_holds'),
	0, 'none of them is waiting');

# Two events of a conversation are due, the later one for a longer time.
set_server('workers', 0);
wait_for_workers($node, 'store', 0);
sql(<<'SQL');
TRUNCATE applied;
INSERT INTO msgstore.channels (name, address_kind, strict_order)
VALUES ('chat', 'phone', true);
SELECT FROM msgstore.ingest('chat', event('o1', body => 'first'));
SELECT FROM msgstore.ingest('chat', event('o2', body => 'second'));
SELECT count(msgstore.fail('processor', id, 'P0001', 'failed'))
FROM (SELECT id FROM msgstore.claim('processor') ORDER BY id DESC) c;
SELECT pg_sleep(0.5);
UPDATE msgstore.event_queue
SET next_attempt_at = next_attempt_at - interval '10 s'
WHERE event_id = (SELECT max(event_id::text)::uuid FROM msgstore.event_queue);
SELECT msgstore.process();
SQL
is(sql("SELECT string_agg(body, ' ' ORDER BY n) FROM applied"),
	'first second', 'they are processed in order');

# An expired claim that a transaction has locked.
set_server('claim_timeout', '100 ms');
sql("SELECT ingest_many('held-', 1); SELECT FROM msgstore.claim('slow')");
my $session = $node->background_psql('store');
$session->query_safe("BEGIN; SELECT msgstore.complete('slow', array_agg(event_id))
	FROM msgstore.event_claims");
set_server('workers', 1);
wait_for_workers($node, 'store', 1);
my $transactions = sub {
	return sql("SELECT pg_stat_clear_snapshot(); SELECT xact_commit
		FROM pg_stat_database WHERE datname = 'store'") =~ s/\s//gr;
};
my $before = $transactions->();
stays(sub { count_of($node, 'store', 'msgstore.event_claims') },
	1, 'it is not released');
# The test's own queries are counted, too.
cmp_ok($transactions->() - $before, '<', 100, 'the worker checks it rarely');
$session->query_safe('ROLLBACK');
ok(eventually(sub { count_of($node, 'store', 'msgstore.event_claims') == 0 }, 10),
	'and releases it when it is unlocked');
wait_for_processed($node, 'store', 'its event is processed');
is(violations($node, 'store'), '', 'all invariants hold');
$session->quit;

$node->stop;
done_testing();
