# A dump contains every row of every table and the position of every sequence, and
# pending work continues where it is restored.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::Bin/..";
use IPC::Run;
use MsgstoreContent;
use MsgstoreServer;
use PostgreSQL::Test::Utils;
use Test::More;

# Claims expire when the test says so.
my $node = new_server('dump', "msgstore.workers = 0\nmsgstore.max_retries = 1\nmsgstore.claim_timeout = 1h\nmax_worker_processes = 20");
$node->start;
add_database($node, 'store');

sub sql { return $node->safe_psql($_[1] // 'store', $_[0]) }

add_content($node, 'store');
my $content = content_of($node, 'store');

my $dump = PostgreSQL::Test::Utils::tempdir . '/dump';
sub dump_as
{
	my (@options) = @_;
	command_ok(
		[ 'pg_dump', '-d', $node->connstr('store'), '-f', $dump, @options ],
		"pg_dump @options");
	return;
}
sub restore
{
	my ($database, @command) = @_;
	sql("CREATE DATABASE $database TEMPLATE template0", 'postgres')
	  unless sql("SELECT count(*) FROM pg_database WHERE datname = '$database'",
		'postgres');
	command_ok([ @command, '-d', $node->connstr($database) ],
		"restored into $database");
	return;
}

dump_as();
restore('plain', 'psql', '-XqAt', '-o', '/dev/null', '-v', 'ON_ERROR_STOP=1', '-f', $dump);
lives_on($node, 'plain', $content, 'psql');

dump_as('-Fc');
restore('custom', 'pg_restore', '-e', $dump);
lives_on($node, 'custom', $content, 'pg_restore');

# Only the data, into a database with a fresh extension.
dump_as('-Fc', '--data-only', '-n', 'msgstore');
add_database($node, 'data');
add_handler_functions($node, 'data');
restore('data', 'pg_restore', '-e', '--data-only', $dump);
lives_on($node, 'data', $content, 'only the data');

# As INSERTs.
dump_as('--column-inserts', '--rows-per-insert=10');
restore('inserts', 'psql', '-XqAt', '-o', '/dev/null', '-v', 'ON_ERROR_STOP=1', '-f', $dump);
lives_on($node, 'inserts', $content, 'inserts');

# By parallel jobs, which load the tables in any order.
dump_as('-Fc');
restore('parallel', 'pg_restore', '-e', '-j', '4', $dump);
lives_on($node, 'parallel', $content, 'four jobs');

# A dump of the copy is the same again.
command_ok([ 'pg_dump', '-d', $node->connstr('custom'), '-f', $dump ], 'dumped again');
$content = content_of($node, 'custom');
restore('again', 'psql', '-XqAt', '-o', '/dev/null', '-v', 'ON_ERROR_STOP=1', '-f', $dump);
is(content_of($node, 'again'), $content, 'the copy of the copy is the same');

# With workers running, the restored queue is processed once the first event
# arrives. Until the restore commits, the worker sees nothing of it. The claim has
# expired by then.
sql("SELECT ingest_many('late-', 50, 5); UPDATE msgstore.event_claims SET expires_at = now()");
dump_as('-Fc');
sql("SELECT msgstore.complete('outside', array_agg(event_id)) FROM msgstore.event_claims");
$node->append_conf('postgresql.conf', 'msgstore.workers = 1');
$node->reload;
wait_for_processed($node, 'store', 'the worker is on');
restore('served', 'pg_restore', '-e', '--single-transaction', $dump);
wait_for_workers($node, 'served', 1, 'a restored database has a worker');
sql("SELECT ingest_many('first-', 1)", 'served');
wait_for_processed($node, 'served', 'which processes the events that the dump had queued');
is( sql('SELECT count(*) FROM msgstore.messages', 'served'),
	sql('SELECT count(*) + 1 FROM msgstore.messages'),
	'all of it')
  or diag sql('SELECT error_code, error_message, attempts FROM msgstore.dead_letters', 'served');
is(violations($node, 'served'), '', 'the invariants hold');

# A dump taken under load. Its copy continues from there: claims expire, waiting
# events follow, handlers are called.
sql(<<'SQL');
INSERT INTO msgstore.channels (name, address_kind, strict_order)
VALUES ('parcel', 'opaque', true);
CREATE TABLE received (message_id uuid PRIMARY KEY);
CREATE FUNCTION receive(message msgstore.messages) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.received VALUES (message.id);
    PERFORM pg_sleep(0.002);
    IF random() < 0.1 THEN
        RAISE 'not this time';
    END IF;
END
$$;
SELECT msgstore.add_handler('parcel', 'receive');
SQL
$node->append_conf('postgresql.conf', "msgstore.claim_timeout = '1 s'
msgstore.backoff_base = '100 ms'
msgstore.max_retries = 50
msgstore.batch_size = 20");
$node->reload;
my $scratch = PostgreSQL::Test::Utils::tempdir;
append_to_file("$scratch/load.sql", join '', map {
	"SELECT FROM msgstore.ingest('parcel', event('load-$_', 'dock ' || $_ % 9));\n"
	  . ($_ % 10 ? '' : "SELECT FROM msgstore.claim('loader', 2);\n")
} 1 .. 20_000);
my $load = IPC::Run::start [
	'psql', '-XAtq', '-d', $node->connstr('store'), '-f', "$scratch/load.sql" ],
  '>', \my $out, '2>', \my $err;
ok(eventually(sub { count_of($node, 'store', 'msgstore.conversation_holds') > 10
		&& count_of($node, 'store', 'msgstore.event_claims') > 5 }),
	'there is enough work');
dump_as('-Fc');
$load->signal('TERM');
$load->finish;
$node->append_conf('postgresql.conf', 'msgstore.workers = 0');
$node->reload;
restore('working', 'pg_restore', '-e', $dump);
cmp_ok(count_of($node, 'working', 'msgstore.conversation_holds'), '>', 5, 'holds are restored');
cmp_ok(count_of($node, 'working', 'msgstore.event_claims'), '>', 0, 'claims are restored');
is(violations($node, 'working'), '', 'in one snapshot');
$node->append_conf('postgresql.conf', 'msgstore.workers = 2');
$node->reload;
for my $database (qw(store working))
{
	wait_for_processed($node, $database, "$database goes on");
	is(violations($node, $database), '', 'the invariants hold');
	is( sql("SELECT count(*) FROM (
				SELECT id FROM msgstore.messages WHERE channel = 'parcel') m
			FULL JOIN received e ON e.message_id = m.id
			WHERE m.id IS NULL OR e.message_id IS NULL", $database),
		0, 'each message had its effect once');
}

$node->stop;
done_testing();
