# What a death does not cost: events that are not its cause are not blamed, and
# without a death nothing more is written than before. Records that cannot be
# written or read do no harm, and a server that keeps crashing for an unknown
# reason is not made to crash faster.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::Bin/..";
use MsgstoreServer;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $node = new_server('blameless', <<'CONF');
msgstore.backoff_base = 20ms
msgstore.backoff_max = 50ms
full_page_writes = off
wal_level = minimal
max_wal_senders = 0
CONF
$node->start;
add_database($node, 'store');
my ($pid) = wait_for_workers($node, 'store', 1);
my $directory = $node->data_dir . '/pg_stat_tmp';

sub sql { return $node->safe_psql('store', $_[0]) }

# Returns the bytes of WAL that it takes to process 2000 events.
sub cost
{
	my ($name) = @_;
	my $position = "SELECT pg_current_wal_insert_lsn() - '0/0'";
	set_workers($node, 0, 'store');
	sql("SELECT ingest_many('$name-', 2000, 50)");
	my $before = settled(sub { sql($position) });
	set_workers($node, 1, 'store');
	wait_for_processed($node, 'store', "$name: events are processed");
	return settled(sub { sql($position) }) - $before;
}

sql(<<'SQL');
CREATE FUNCTION nothing(m msgstore.messages) RETURNS void LANGUAGE plpgsql AS
    $$ BEGIN END $$;
CREATE FUNCTION wait(m msgstore.messages) RETURNS void LANGUAGE plpgsql AS
    $$ BEGIN IF m.body = 'wait' THEN PERFORM pg_sleep(1000); END IF; END $$;
CREATE FUNCTION trigger_waits() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN IF NEW.body = 'wait' THEN PERFORM pg_sleep(1000); END IF; RETURN NULL; END $$;
SQL
cost('warm');
my $without = cost('without');
sql("SELECT msgstore.add_handler('sms', 'nothing')");
my $with = cost('with');
note "WAL: $without bytes without a handler, $with with one";
cmp_ok($with, '<', $without * 1.05, 'a handler that runs well costs no WAL');
cmp_ok($with, '>', $without * 0.8, 'and the comparison is fair');
is(count_of($node, 'store', 'msgstore.event_failures'), 0, 'nothing is recorded in a table');
sql("SELECT msgstore.remove_handler('sms', 'nothing')");

my $waiting = "SELECT pid FROM pg_stat_activity
	WHERE backend_type = 'msgstore worker' AND wait_event = 'PgSleep'";

# Leaves one event in its handler or trigger, and calls the code.
my $n = 0;
sub interrupt
{
	my ($what, $counted, $code) = @_;
	my $name = 'wait-' . ++$n;
	sql("SELECT ingest_many('$name-', 3);
		SELECT msgstore.ingest('sms', event('$name', body => 'wait'));
		SELECT ingest_many('$name+', 3)");
	my $worker;
	ok(eventually(sub { $worker = sql($waiting) }), "$what: an event is being applied");
	$code->($worker);
	ok(eventually(sub { answer_of($node, 'store', "$waiting AND pid <> $worker") }, 60),
		'it is applied again');
	is(sql("SELECT attempt_count, coalesce(error_code, '') FROM msgstore.inbound_events
			WHERE provider_message_id = '$name'"),
		$counted ? '1|MS500' : '0|', $counted ? 'and the death counts' : 'and no attempt is counted');
	is( sql("SELECT count(*) FROM msgstore.inbound_events
			WHERE attempt_count > 0 AND provider_message_id <> '$name'"),
		0, 'no other event is blamed');
	# Let it succeed.
	sql("UPDATE msgstore.event_log SET payload = payload || '{\"body\": \"done\"}' WHERE provider_message_id = '$name'");
	sql("SELECT pg_cancel_backend(pid) FROM ($waiting) w");
	wait_for_processed($node, 'store');
	sql('DELETE FROM msgstore.event_failures');
	return;
}

# A session that is killed takes the server with it.
sub kill_session
{
	my $session = $node->background_psql('postgres', on_error_stop => 0);
	my $victim = $session->query_safe('SELECT pg_backend_pid()');
	kill 'KILL', $victim;
	wait_for_restart($node, $victim, 'the server restarts');
	eval { $session->{run}->finish; };
	return;
}

sql("SELECT msgstore.add_handler('sms', 'wait')");
interrupt('a fast shutdown', 0, sub { $node->stop('fast'); $node->start });
interrupt('an immediate shutdown', 0, sub { $node->stop('immediate'); $node->start });
interrupt('a crash of another process', 0, \&kill_session);
interrupt('terminating a worker in a handler', 1, sub { sql("SELECT pg_terminate_backend($_[0])") });
interrupt('killing a worker in a handler', 1, sub {
	kill 'KILL', $_[0];
	wait_for_restart($node, $_[0], 'the server restarts');
});
sql(<<'SQL');
SELECT msgstore.remove_handler('sms', 'wait');
CREATE TRIGGER waits AFTER INSERT ON msgstore.messages FOR EACH ROW EXECUTE FUNCTION trigger_waits();
SQL
sql("SELECT msgstore.ingest('sms', event('slow', body => 'wait'))");
my $worker;
ok(eventually(sub { $worker = sql($waiting) }), 'a trigger waits');
# The session that terminates it is gone when the signal arrives.
kill 'STOP', $worker;
my $session = sql("SELECT pg_backend_pid() FROM pg_terminate_backend($worker)");
ok(eventually(sub { !kill 0, $session }), 'the session that terminates the worker ends');
kill 'CONT', $worker;
ok(eventually(sub { my $next = sql($waiting); $next && $next ne $worker }, 60), 'it is called again');
is(sql("SELECT attempt_count FROM msgstore.inbound_events WHERE provider_message_id = 'slow'"),
	0, 'terminating a worker in a trigger is not the fault of the event');
sql("SELECT pg_terminate_backend(pid) FROM ($waiting) w; DROP TRIGGER waits ON msgstore.messages");
wait_for_processed($node, 'store');

# Files that are no records, and records of databases that have no worker.
sql("SELECT msgstore.add_handler('sms', 'nothing')");
$node->safe_psql('postgres', 'CREATE DATABASE gone');
my ($oid, $template, $gone) = split /\n/,
  sql("SELECT oid FROM pg_database WHERE datname IN ('store', 'template1', 'gone')
	ORDER BY array_position('{store,template1,gone}', datname::text)");
append_to_file("$directory/msgstore_${oid}_1_$_", 'x' x (100 * $_)) for 1 .. 3;
append_to_file("$directory/msgstore_${template}_1_1", 'x');
append_to_file("$directory/msgstore_else", 'x');
$node->restart;
sql("SELECT ingest_many('files', 10)");
wait_for_processed($node, 'store', 'with files that are no records, events are processed');
append_to_file("$directory/msgstore_${gone}_1_1", 'x');
$node->safe_psql('postgres', 'DROP DATABASE gone');
is(join(' ', grep { /_1_\d$|else/ } sort(slurp_dir($directory))),
	'msgstore_else', 'invalid and unneeded records are removed, other files left alone');
unlink "$directory/msgstore_else";

# Without a record, a worker still works.
chmod 0500, $directory;
$node->restart;
sql("SELECT ingest_many('no-record', 10)");
wait_for_processed($node, 'store', 'if no record can be written, events are processed');
like(log_of($node), qr/could not create file "pg_stat_tmp\/msgstore_\d+_\d+_\d+": Permission denied/,
	'and the log says why');
chmod 0700, $directory;

# After the second crash in a row, workers wait.
for my $crash (1 .. 3)
{
	my ($idle) = wait_for_workers($node, 'store', 1);
	ok(eventually(sub { sql("SELECT state FROM pg_stat_activity WHERE pid = $idle") eq 'idle' }),
		'a worker is idle');
	kill 'KILL', $idle;
	wait_for_restart($node, $idle, "crash $crash");
}
wait_for_workers($node, 'store', 1);
my $started = 'LOG:  msgstore worker 1 of database "store" started';
my $log;
ok(eventually(sub { ($log = log_of($node)) =~ s/.*(\n.*? is ready to accept connections)/$1/s
	&& $log =~ /$started/ }), 'it starts');
my ($ready, $begun) = map { $_->[0] * 3600 + $_->[1] * 60 + $_->[2] }
	map { [ $log =~ /(\d+):(\d+):([\d.]+) [^\n]*$_/ ] }
	('ready to accept connections', $started);
$begun += 86400 if $begun < $ready;
cmp_ok($begun - $ready, '>', 1.5, 'after the third crash, the worker starts later');
is(violations($node, 'store'), '', 'all invariants hold');

$node->stop;
done_testing();
