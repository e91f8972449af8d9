# A commit that puts something into the outbox is told to who listens, by the
# worker and not by the commit; nothing else is.
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

# Notifications that have come, each with the process that sent it.
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
	eventually(sub { worker("state = 'idle' AND wait_event = 'Extension'") eq 't' });
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
is_told('a send is told, by the worker');
is_not_told('once');
sql("BEGIN; SELECT * FROM msgstore.send('sms', event(NULL, '+1')); ROLLBACK");
sql("SELECT ingest_many('inbound', 5)");
sql("INSERT INTO msgstore.channels (name, address_kind) VALUES ('pigeon', 'opaque')");
sql("SELECT * FROM msgstore.send('pigeon', event(NULL, 'loft'))");
is_not_told('no rollback, no inbound event, no channel without a provider');
sql("SELECT * FROM msgstore.send('sms', event(NULL, '+2'))", 'other');
ok( eventually(
		sub {
			$elsewhere->query_safe('SELECT') =~ /notification "msgstore_outbox"/;
		}),
	'another database is told of its own');
is_not_told('and this one not');

# However the transaction ends well.
sql("BEGIN; SELECT * FROM msgstore.send('sms', event(NULL, '+3'));
	PREPARE TRANSACTION 'p'");
is_not_told('prepared is not committed');
sql("COMMIT PREPARED 'p'");
is_told('COMMIT PREPARED is told');
sql("BEGIN; SAVEPOINT s; SELECT * FROM msgstore.send('sms', event(NULL, '+4'));
	RELEASE s; COMMIT");
is_told('so is a subtransaction');

# What comes by itself: the end of a lease, and a retry.
sql("SET msgstore.claim_timeout = '500ms'; SELECT * FROM msgstore.claim_outbound('a', 1)");
is_told('the end of a lease is told');
is(sql('SELECT error_code FROM msgstore.event_failures'), 'MS504', 'and it was reaped');
sql("SELECT msgstore.send_failed(message_id, 'E', 'no') FROM msgstore.claim_outbound('a', 1)");
is_told('so is a retry that is due');

# A reply that a handler sends in the worker's own transaction.
sql(q{CREATE FUNCTION reply(m msgstore.messages) RETURNS void LANGUAGE sql AS
	$$ SELECT msgstore.send('sms', event(NULL, m."from", 'reply')) $$;
	SELECT msgstore.add_handler('sms', 'reply')});
sql("SELECT ingest_many('asks', 1)");
is_told('a reply of a handler is told');

# What is idle runs nothing, after its last look at a lease that had ended.
my $seen = 'query_start, state_change, state';
my $before = '';
eventually(sub { my $last = $before; sleep 2; ($before = worker($seen)) eq $last });
stays(sub { worker($seen) }, $before, 'an idle worker has run nothing since');

# A worker that was killed is no reason to miss anything.
sql("SELECT pg_terminate_backend($pid)");
sql("SELECT * FROM msgstore.send('sms', event(NULL, '+5'))");
eventually(sub { my @pids = worker_pids($node, 'store'); @pids == 1 && $pids[0] != $pid });
($pid) = worker_pids($node, 'store');
is_told('the next worker tells');

# Many at once: the last one is always told after it.
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
is($lost, 0, 'whoever claims only when told');
is($sent, 800, 'sends all there is');

$listener->quit;
$elsewhere->quit;
$node->stop;
done_testing();
