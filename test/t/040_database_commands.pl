# The worker is in nobody's way: extensions and databases can be dropped,
# renamed, copied and moved while it works.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::Bin/..";
use MsgstoreServer;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('commands');
$node->start;

sub admin { return $node->safe_psql('postgres', $_[0]) }

# A test: the command works at the first try.
sub works
{
	my ($command, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($status, undef, $stderr) = $node->psql('postgres', $command);
	return is($status == 0 ? '' : $stderr, '', $name // $command);
}

# DROP EXTENSION: the worker ends, without a word of failure.
add_database($node, 'store');
wait_for_workers($node, 'store', 1);
my $offset = -s $node->logfile;
for my $round (1 .. 3)
{
	$node->safe_psql('store', "SELECT ingest_many('a', 50, 5)");
	wait_for_processed($node, 'store', "round $round: the worker works");
	$node->safe_psql('store', 'DROP EXTENSION msgstore CASCADE');
	wait_for_workers($node, 'store', 0, "round $round: gone with the extension", 10);
	is( $node->safe_psql('store', "SELECT count(*) FROM pg_class c
			JOIN pg_namespace n ON n.oid = c.relnamespace
			WHERE n.nspname = 'msgstore'"),
		0, 'and nothing is left of it');
	$node->safe_psql('store', 'DROP FUNCTION event');
	add_database($node, 'store');
	wait_for_workers($node, 'store', 1, "round $round: there again", 10);
}
$node->safe_psql('store', 'BEGIN; DROP EXTENSION msgstore CASCADE; ROLLBACK');
$node->safe_psql('store', "SELECT ingest_many('b', 50, 5)");
wait_for_processed($node, 'store', 'a drop that is rolled back stops nothing');

# Dropped while there is work: it neither fails nor comes back.
$node->safe_psql('store', <<'SQL');
SELECT ingest_many('c', 2000, 50);
DROP EXTENSION msgstore CASCADE;
SQL
wait_for_workers($node, 'store', 0, 'gone in the middle of its work', 10);
stays(sub { scalar worker_pids($node, 'store') }, 0, 'and does not come back');
unlike(log_of($node, $offset), qr/FATAL|PANIC|exit code|msgstore worker.*ERROR/,
	'no worker failed');
admin('DROP DATABASE store');

# Commands that need the database to themselves, time and again: idle, and with
# work to do.
admin("SET allow_in_place_tablespaces = on; CREATE TABLESPACE place LOCATION ''");
add_database($node, 'store');
my $prefix = 'a';
my $sent = 0;
for my $busy (0, 0, 1, 1)
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
	wait_for_workers($node, 'shop', 1, 'its worker is back');
	works('ALTER DATABASE shop RENAME TO store', "and renamed again, $how");
	wait_for_workers($node, 'store', 1, 'its worker is back');
	$work->();
	works('CREATE DATABASE copy TEMPLATE store', "copied, $how");
	wait_for_workers($node, 'store', 1, 'its worker is back');
	$node->safe_psql('copy', "SELECT ingest_many('copy', 3000, 100)") if $busy;
	works('DROP DATABASE copy', "the copy dropped, $how");
	$work->();
	works('ALTER DATABASE store SET TABLESPACE place', "moved, $how");
	wait_for_workers($node, 'store', 1, 'its worker is back');
	works('ALTER DATABASE store SET TABLESPACE pg_default', "moved back, $how");
	wait_for_workers($node, 'store', 1, 'its worker is back');
	wait_for_processed($node, 'store', "events are processed in between, $how");
	is(violations($node, 'store'), '', 'all that always holds holds');
}
is(count_of($node, 'store', 'msgstore.messages'), $sent, 'none was lost');

# A command that fails has its worker back.
my $session = $node->background_psql('store');
my ($status, undef, $stderr) = $node->psql('postgres', 'DROP DATABASE store');
like($stderr, qr/is being accessed by other users/,
	'a database in use is not dropped');
wait_for_workers($node, 'store', 1, 'and has its worker back');
$session->query_safe("SELECT ingest_many('after', 10)");
wait_for_processed($node, 'store', 'which goes on');
($status, undef, $stderr) =
  $node->psql('postgres', 'ALTER DATABASE store RENAME TO postgres');
isnt($status, 0, 'a name that is taken is refused');
wait_for_workers($node, 'store', 1, 'and the worker is back');
$session->quit;

# Dropped idle, and with work to do; by force, and not.
for my $round (1 .. 3)
{
	works($round == 2 ? 'DROP DATABASE store WITH (FORCE)' : 'DROP DATABASE store',
		"dropped, round $round");
	add_database($node, 'store');
	wait_for_workers($node, 'store', 1, "made again, round $round");
	$node->safe_psql('store', "SELECT ingest_many('d', 3000, 100)") if $round > 1;
}
works('DROP DATABASE store', 'dropped');

# While a handler is at work: a command that needs the database to itself waits
# for it, for some seconds. Then it is refused, and nothing is lost.
sub add_handled_database
{
	my ($seconds) = @_;
	add_database($node, 'store');
	wait_for_workers($node, 'store', 1);
	$node->safe_psql('store', <<"SQL");
CREATE TABLE effects (message_id uuid PRIMARY KEY);
CREATE FUNCTION linger(message msgstore.messages) RETURNS void
LANGUAGE plpgsql AS \$\$
BEGIN
    INSERT INTO public.effects VALUES (message.id);
    PERFORM pg_sleep($seconds);
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
		"a handler works for $seconds s");
	return;
}

add_handled_database(2);
works('ALTER DATABASE store RENAME TO shop', 'renamed after the handler is done');
wait_for_workers($node, 'shop', 1, 'its worker is back');
is(count_of($node, 'shop', 'effects'), 1, 'what the handler did is done');
works('DROP DATABASE shop', 'dropped');
add_handled_database(2);
works('DROP DATABASE store', 'dropped after the handler is done');
add_handled_database(14);
($status, undef, $stderr) = $node->psql('postgres', 'DROP DATABASE store');
like($stderr, qr/is being accessed by other users/,
	'not dropped while a handler takes its time');
wait_for_processed($node, 'store', 'which it is given');
is(count_of($node, 'store', 'effects'), 1, 'it was called once');
wait_for_workers($node, 'store', 1, 'the worker goes on');
works('DROP DATABASE store', 'dropped then');
unlike(log_of($node, $offset), qr/FATAL|PANIC|exit code|was terminated by/,
	'and none failed');
add_handled_database(60);
works('DROP DATABASE store WITH (FORCE)', 'dropped by force all the same');
$offset = -s $node->logfile;

# Nothing of a database that is gone is left behind.
stays(
	sub {
		admin("SELECT count(*) FROM pg_stat_activity
			WHERE backend_type = 'msgstore worker'");
	},
	0,
	'no worker is left');
unlike(log_of($node, $offset), qr/FATAL|PANIC|exit code|was terminated by/,
	'and none failed');
add_database($node, 'postgres');
wait_for_workers($node, 'postgres', 1, 'the launcher serves other databases');

$node->stop;
done_testing();
