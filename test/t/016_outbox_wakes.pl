# The worker notifies listening senders when a commit adds to the outbox, when a
# retry is due and when a lease expires, and at no other time.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::Bin/..";
use MsgstoreServer;
use Test::More;

my $node = new_server('outbox', "max_prepared_transactions = 5");
$node->start;
add_database($node, 'store');
add_database($node, 'other');
my ($pid) = wait_for_workers($node, 'store', 1);

sub sql { return $node->safe_psql($_[1] // 'store', $_[0]) }

sub worker
{
	my ($what) = @_;
	return $node->safe_psql('postgres',
		"SELECT $what FROM pg_stat_activity WHERE pid = $pid");
}

my $listener = $node->background_psql('store');
$listener->query_safe('LISTEN msgstore_outbox');
my $elsewhere = $node->background_psql('other');
$elsewhere->query_safe('LISTEN msgstore_outbox');

# Counts the notifications received from the worker.
sub notifications
{
	my ($session) = @_;
	return scalar(() = $session->query_safe('SELECT') =~
		  /notification "msgstore_outbox" received from server process with PID $pid\b/g);
}
sub is_told
{
	my ($name) = @_;
	ok(eventually(sub { notifications($listener) > 0 }), $name);
	eventually(sub { worker("state = 'idle' AND wait_event_type = 'Extension'") eq 't' });
	notifications($listener);
	return;
}
sub is_not_told
{
	my ($name) = @_;
	stays(sub { notifications($listener) }, 0, $name);
	return;
}
notifications($listener);

sql("SELECT * FROM msgstore.send('sms', event(NULL))");
is_told('the worker notifies of a send');
is_not_told('only once');
sql("BEGIN; SELECT * FROM msgstore.send('sms', event(NULL, '+1')); ROLLBACK");
sql("SELECT ingest_many('inbound', 5)");
sql("INSERT INTO msgstore.channels (name, address_kind) VALUES ('pigeon', 'opaque')");
sql("SELECT * FROM msgstore.send('pigeon', event(NULL, 'loft'))");
is_not_told('not of a rollback, an inbound event, or a channel without a provider');
sql("SELECT * FROM msgstore.send('sms', event(NULL, '+2'))", 'other');
ok( eventually(
		sub {
			$elsewhere->query_safe('SELECT') =~ /notification "msgstore_outbox"/;
		}),
	'listeners in another database are notified of its messages');
is_not_told('and those in this one are not');

# Prepared transactions and subtransactions.
sql("BEGIN; SELECT * FROM msgstore.send('sms', event(NULL, '+3'));
	PREPARE TRANSACTION 'p'");
is_not_told('not at PREPARE TRANSACTION');
sql("COMMIT PREPARED 'p'");
is_told('at COMMIT PREPARED');
sql("BEGIN; SAVEPOINT s; SELECT * FROM msgstore.send('sms', event(NULL, '+4'));
	RELEASE s; COMMIT");
is_told('after a subtransaction');

# Events in time: the expiry of a lease, and a retry.
sql("SET msgstore.claim_timeout = '500ms'; SELECT * FROM msgstore.claim_outbound('a', 1)");
is_told('when a lease expires');
is(sql('SELECT error_code FROM msgstore.event_failures'), 'MS504', 'and the lease was reaped');
sql("SELECT msgstore.send_failed(message_id, 'E', 'no') FROM msgstore.claim_outbound('a', 1)");
is_told('when a retry is due');

# A reply that a handler sends in the worker's own transaction.
sql(q{CREATE FUNCTION reply(m msgstore.messages) RETURNS void LANGUAGE sql AS
	$$ SELECT msgstore.send('sms', event(NULL, m."from", 'reply')) $$;
	SELECT msgstore.add_handler('sms', 'reply')});
sql("SELECT ingest_many('asks', 1)");
is_told('of a reply that a handler sends');

# An idle worker runs nothing, once it has checked the last expired lease.
my $seen = 'query_start, state_change, state';
my $before = '';
eventually(sub { my $last = $before; sleep 2; ($before = worker($seen)) eq $last });
stays(sub { worker($seen) }, $before, 'an idle worker runs nothing');

# A killed worker does not cause missed notifications.
sql("SELECT pg_terminate_backend($pid)");
sql("SELECT * FROM msgstore.send('sms', event(NULL, '+5'))");
eventually(sub { my @pids = worker_pids($node, 'store'); @pids == 1 && $pids[0] != $pid });
($pid) = worker_pids($node, 'store');
is_told('by the next worker');

# Many sends at the same time: there is always a notification after the last one.
sql("SELECT count(msgstore.sent(message_id, message_id::text))
	FROM msgstore.claim_outbound('a', 1000)");
my @senders = map {
	IPC::Run::start(
		[
			'psql', '-XqAt', '-d', $node->connstr('store'), '-c',
			"DO \$\$ BEGIN FOR i IN 1 .. 200 LOOP
				PERFORM FROM msgstore.send('sms', event(NULL, '+99$_' || i)); COMMIT;
			END LOOP; END \$\$" ]);
} 1 .. 4;
my $sent = 0;
my $lost = 0;
while ($sent < 800)
{
	my $told = eventually(sub { notifications($listener) > 0 }, 30);
	$lost++ if !$told;
	last if !$told;
	$sent += sql("SELECT count(msgstore.sent(message_id, message_id::text))
		FROM msgstore.claim_outbound('a', 1000)");
}
$_->finish for @senders;
is($lost, 0, 'no notification is missing');
is($sent, 800, 'a sender that claims only after notifications sends all messages');

$listener->quit;
$elsewhere->quit;
$node->stop;
done_testing();
