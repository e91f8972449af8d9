# Extensions and databases can be dropped, renamed, copied and moved while the
# workers run.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::Bin/..";
use IPC::Run;
use MsgstoreServer;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('commands');
$node->start;

sub admin { return $node->safe_psql('postgres', $_[0]) }

# A test: the command succeeds at the first attempt.
sub works
{
	my ($command, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($status, undef, $stderr) = $node->psql('postgres', $command);
	return is($status == 0 ? '' : $stderr, '', $name // $command);
}

# After DROP EXTENSION the worker exits without an error.
add_database($node, 'store');
wait_for_workers($node, 'store', 1);
my $offset = -s $node->logfile;
for my $round (1 .. 2)
{
	$node->safe_psql('store', "SELECT ingest_many('a', 50, 5)");
	wait_for_processed($node, 'store', "round $round: events are processed");
	$node->safe_psql('store', 'DROP EXTENSION msgstore CASCADE');
	wait_for_workers($node, 'store', 0, "round $round: gone with the extension", 10);
	is( $node->safe_psql('store', "SELECT count(*) FROM pg_class c
			JOIN pg_namespace n ON n.oid = c.relnamespace
			WHERE n.nspname = 'msgstore'"),
		0, 'and the worker has exited');
	$node->safe_psql('store', 'DROP FUNCTION event');
	add_database($node, 'store');
	wait_for_workers($node, 'store', 1, "round $round: there again", 10);
}
$node->safe_psql('store', 'BEGIN; DROP EXTENSION msgstore CASCADE; ROLLBACK');
$node->safe_psql('store', "SELECT ingest_many('b', 50, 5)");
wait_for_processed($node, 'store', 'after a rolled back drop events are processed');

# Dropped while events are queued: the worker neither fails nor restarts.
$node->safe_psql('store', <<'SQL');
SELECT ingest_many('c', 2000, 50);
DROP EXTENSION msgstore CASCADE;
SQL
wait_for_workers($node, 'store', 0, 'gone in the middle of its work', 10);
stays(sub { scalar worker_pids($node, 'store') }, 0, 'and no worker starts');
unlike(log_of($node, $offset), qr/FATAL|PANIC|exit code|msgstore worker.*ERROR/,
	'no worker failed');
admin('DROP DATABASE store');

# Commands that need a database without connections: with an idle worker, and with
# queued events.
admin("SET allow_in_place_tablespaces = on; CREATE TABLESPACE place LOCATION ''");
add_database($node, 'store');
my $prefix = 'a';
my $sent = 0;
for my $busy (0, 1)
{
	my $how = $busy ? 'with work to do' : 'idle';
	my $work = sub {
		return unless $busy;
		$prefix++;
		$sent += 3000;
		$node->safe_psql('store', "SELECT ingest_many('$prefix-', 3000, 100)");
	};
	wait_for_workers($node, 'store', 1);
	$work->();
	works('ALTER DATABASE store RENAME TO shop', "renamed, $how");
	wait_for_workers($node, 'shop', 1, 'its worker restarts');
	works('ALTER DATABASE shop RENAME TO store', "and renamed again, $how");
	wait_for_workers($node, 'store', 1, 'its worker restarts');
	$work->();
	works('CREATE DATABASE copy TEMPLATE store', "copied, $how");
	wait_for_workers($node, 'store', 1, 'its worker restarts');
	$node->safe_psql('copy', "SELECT ingest_many('copy', 3000, 100)") if $busy;
	works('DROP DATABASE copy', "the copy dropped, $how");
	$work->();
	works('ALTER DATABASE store SET TABLESPACE place', "moved, $how");
	wait_for_workers($node, 'store', 1, 'its worker restarts');
	works('ALTER DATABASE store SET TABLESPACE pg_default', "moved back, $how");
	wait_for_workers($node, 'store', 1, 'its worker restarts');
	wait_for_processed($node, 'store', "events are processed in between, $how");
	is(violations($node, 'store'), '', 'all invariants hold');
}
is(count_of($node, 'store', 'msgstore.messages'), $sent, 'no event was lost');

# After a command that fails, the worker restarts.
my $session = $node->background_psql('store');
my ($status, undef, $stderr) = $node->psql('postgres', 'DROP DATABASE store');
like($stderr, qr/is being accessed by other users/,
	'a database in use is not dropped');
wait_for_workers($node, 'store', 1, 'and its worker restarts');
$session->query_safe("SELECT ingest_many('after', 10)");
wait_for_processed($node, 'store', 'which processes events');
($status, undef, $stderr) =
  $node->psql('postgres', 'ALTER DATABASE store RENAME TO postgres');
isnt($status, 0, 'renaming to an existing name fails');
wait_for_workers($node, 'store', 1, 'and the worker restarts');
$session->quit;

# DROP DATABASE with an idle worker and with queued events, with and without
# FORCE.
for my $round (1 .. 3)
{
	works($round == 2 ? 'DROP DATABASE store WITH (FORCE)' : 'DROP DATABASE store',
		"dropped, round $round");
	add_database($node, 'store');
	wait_for_workers($node, 'store', 1, "created again, round $round");
	$node->safe_psql('store', "SELECT ingest_many('d', 3000, 100)") if $round > 1;
}
works('DROP DATABASE store', 'dropped');

# While a handler runs, a command that needs a database without connections
# waits for some seconds. Then it fails, and nothing is lost. The handler ends when
# the file is there: a session that let it go would count as a connection.
my $file = PostgreSQL::Test::Utils::tempdir() . '/go';

sub add_handled_database
{
	unlink $file;
	add_database($node, 'store');
	wait_for_workers($node, 'store', 1);
	$node->safe_psql('store', <<"SQL");
CREATE TABLE effects (message_id uuid PRIMARY KEY);
CREATE FUNCTION linger(message msgstore.messages) RETURNS void
LANGUAGE plpgsql AS \$\$
BEGIN
    INSERT INTO public.effects VALUES (message.id);
    WHILE pg_stat_file('$file', true) IS NULL LOOP
        PERFORM pg_sleep(0.05);
    END LOOP;
END
\$\$;
SELECT msgstore.add_handler('sms', 'linger');
SELECT ingest_many('slow', 1);
SQL
	ok( eventually(
			sub {
				return admin("SELECT count(*) FROM pg_stat_activity
					WHERE backend_type = 'msgstore worker' AND wait_event = 'PgSleep'");
			}),
		'a handler runs');
	return;
}

# A test: the command waits for the handler, and succeeds when it has finished.
sub waits_for_handler
{
	my ($command, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $run = IPC::Run::start([ 'psql', '-XqAt', '-d', $node->connstr('postgres'), '-c', $command ],
		'2>', \my $stderr);
	eventually(
		sub {
			return admin("SELECT count(*) FROM pg_stat_activity
				WHERE query = '$command' AND state = 'active'");
		});
	append_to_file($file, '');
	$run->finish;
	return is($stderr, '', $name);
}

add_handled_database();
waits_for_handler('ALTER DATABASE store RENAME TO shop', 'renamed after the handler has finished');
wait_for_workers($node, 'shop', 1, 'its worker restarts');
is(count_of($node, 'shop', 'effects'), 1, 'the handler committed');
works('DROP DATABASE shop', 'dropped');
add_handled_database();
waits_for_handler('DROP DATABASE store', 'dropped after the handler has finished');
add_handled_database();
($status, undef, $stderr) = $node->psql('postgres', 'DROP DATABASE store');
like($stderr, qr/is being accessed by other users/,
	'not dropped while a handler keeps running');
append_to_file($file, '');
wait_for_processed($node, 'store', 'the event is processed');
is(count_of($node, 'store', 'effects'), 1, 'the handler was called once');
wait_for_workers($node, 'store', 1, 'the worker keeps running');
works('DROP DATABASE store', 'dropped afterwards');
unlike(log_of($node, $offset), qr/FATAL|PANIC|exit code|was terminated by/,
	'and no worker failed');
add_handled_database();
works('DROP DATABASE store WITH (FORCE)', 'dropped with FORCE');
$offset = -s $node->logfile;

# Nothing is left of a dropped database, even after the launcher has started a
# worker in another one.
add_database($node, 'postgres');
wait_for_workers($node, 'postgres', 1, 'the launcher starts workers in other databases');
is( admin("SELECT string_agg(DISTINCT coalesce(datname, 'a dropped one'), ' ') FROM pg_stat_activity
		WHERE backend_type = 'msgstore worker'"),
	'postgres', 'and none is left in the dropped one');
unlike(log_of($node, $offset), qr/FATAL|PANIC|exit code|was terminated by/,
	'and no worker failed');

$node->stop;
done_testing();
