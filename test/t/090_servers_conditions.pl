# The worker runs in a database with unsuitable settings, and does not count a
# full disk as a failure of events.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::Bin/..";
use MsgstoreServer;
use Test::More;

my $node = new_server('conditions');
$node->start;
add_database($node, 'store');
wait_for_workers($node, 'store', 1);

sub sql { return $node->safe_psql('store', $_[0]) }

# Workers override settings of the database.
my %settings = (
	bytea_output => 'escape',
	datestyle => "'SQL, DMY'",
	default_transaction_deferrable => 'on',
	default_transaction_isolation => 'serializable',
	default_transaction_read_only => 'on',
	idle_in_transaction_session_timeout => "'1ms'",
	idle_session_timeout => "'1ms'",
	lock_timeout => "'1ms'",
	quote_all_identifiers => 'on',
	row_security => 'off',
	search_path => "''",
	statement_timeout => "'1ms'",
	timezone => "'Asia/Kathmandu'",
	transform_null_equals => 'on',
	xmloption => 'document');
$ENV{PGOPTIONS} = '-c default_transaction_read_only=off -c search_path=public'
  . ' -c statement_timeout=0 -c lock_timeout=0 -c idle_session_timeout=0'
  . ' -c idle_in_transaction_session_timeout=0';
$node->safe_psql('postgres',
	join '', map { "ALTER DATABASE store SET $_ = $settings{$_};" } sort keys %settings);
$node->restart;
my ($pid) = wait_for_workers($node, 'store', 1);
sql(q{BEGIN; SET TRANSACTION ISOLATION LEVEL READ COMMITTED;
	SELECT ingest_many('a', 100, 10); COMMIT});
wait_for_processed($node, 'store', 'the worker overrides the settings');
is((worker_pids($node, 'store'))[0], $pid, 'and did not restart');

# Users may run serializable transactions: these can fail, but never the worker.
sql("SELECT ingest_many('b', 100, 10)");
wait_for_processed($node, 'store');
is((worker_pids($node, 'store'))[0], $pid, 'serializable transactions do not make the worker fail');
is(violations($node, 'store'), '', 'all invariants hold');
$node->safe_psql('postgres', 'ALTER DATABASE store RESET ALL');
$node->restart;
wait_for_workers($node, 'store', 1);

# A trigger simulates a full disk.
my $offset = -s $node->logfile;
sql(<<'SQL');
CREATE FUNCTION fill_up() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'could not extend file: No space left on device'
        USING ERRCODE = '53100';
END
$$;
CREATE TRIGGER fill_up BEFORE INSERT ON msgstore.messages
FOR EACH ROW EXECUTE FUNCTION fill_up();
SELECT ingest_many('c', 20, 5);
SQL
my $errors = sub { scalar(() = log_of($node, $offset) =~ /No space left/g) };
ok(eventually(sub { $errors->() >= 3 }), 'the worker keeps trying');
cmp_ok($errors->(), '<', 6, 'with pauses');
is( sql("SELECT DISTINCT status, attempt_count FROM msgstore.inbound_events
		WHERE provider_message_id LIKE 'c%'"),
	'received|0',
	'the events wait, and no attempt is counted');
is(count_of($node, 'store', 'msgstore.dead_letters'), 0, 'none becomes a dead letter');
# A session in process() gets the error.
my ($status, undef, $stderr) = $node->psql('store', 'SELECT msgstore.process()');
isnt($status, 0, 'process() fails');
like($stderr, qr/No space left on device/, 'with the reason');
sql('DROP TRIGGER fill_up ON msgstore.messages');
wait_for_processed($node, 'store', 'when there is room again, it goes on by itself', 15);
is(violations($node, 'store'), '', 'all invariants hold');

# A session that locks a conversation, as an erasure does, delays that conversation,
# and no other.
my $session = $node->background_psql('store');
$session->query_safe("BEGIN;
	SELECT FROM msgstore.conversation_rows
	WHERE '+18045550000' IN (participant_a, participant_b) FOR UPDATE");
sql("SELECT ingest_many('d', 20, 20)");
my $others = "SELECT count(*) FROM msgstore.messages
	WHERE provider_message_id LIKE 'd%'";
ok(eventually(sub { sql($others) == 19 }, 15),
	'events of other conversations are processed')
  or diag(sql($others) . ' of 19');
$session->query_safe('ROLLBACK');
wait_for_processed($node, 'store', 'all events are processed after the lock is released');
is(count_of($node, 'store', 'msgstore.event_failures'), 0, 'no attempt is counted');

$node->stop;
done_testing();
