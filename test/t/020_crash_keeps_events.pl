# An acknowledged event survives any crash, an unacknowledged one is stored
# whole or not at all, and each makes one message, whatever crashes.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::Bin/..";
use IPC::Run;
use MsgstoreServer;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);

use constant { CLIENTS => 4, EVENTS => 1500 };

my $node = new_server('crash', 'msgstore.batch_size = 20');
$node->start;
add_database($node, 'store');
wait_for_workers($node, 'store', 1);

sub sql { return $node->safe_psql('store', $_[0]) }

# A client's events, one transaction each; it notes the ids it is answered.
my $scratch = PostgreSQL::Test::Utils::tempdir;
my @clients;

sub start_client
{
	my ($name, $output) = @_;
	my $script = "$scratch/$name.sql";
	append_to_file(
		$script,
		join '',
		map {
			my $other = '+1804555' . sprintf '%04d', $_ % 7;
			"SELECT '$name-$_ ' || event_id"
			  . " FROM msgstore.ingest('sms', event('$name-$_', '$other'));\n"
		} 1 .. EVENTS) unless -e $script;
	return IPC::Run::start [
		'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d',
		$node->connstr('store'), '-f', $script ],
	  '>', $output, '2>', "$output.err";
}

# Calls the code when the clients have been answered so many times.
sub crash_under_load
{
	my ($round, $how, $code) = @_;
	my @names = map { "$round-$_" } 1 .. CLIENTS;
	my @runs = map { start_client($_, "$scratch/$_.out") } @names;
	# Early, so that they are still at it when a slow machine gets to it.
	my $enough = (0.05 + rand 0.2) * CLIENTS * EVENTS;
	my $answers = sub {
		my $all = '';
		$all .= slurp_file("$scratch/$_.out") for grep { -e "$scratch/$_.out" } @names;
		return $all =~ tr/\n//;
	};
	eventually(sub { $answers->() >= $enough });
	$code->();
	$_->finish for @runs;
	my $answered = $answers->();
	cmp_ok($answered, '<', CLIENTS * EVENTS, "$how: the clients were cut off");
	push @clients, @names;
	return;
}

sub kill_worker
{
	my ($pid) = worker_pids($node, 'store');
	kill 'KILL', $pid;
	# Until the postmaster has noticed, sessions come and go as ever.
	ok( eventually(
			sub {
				my ($status, $seen) = $node->psql('store',
					"SELECT count(*) FROM pg_stat_activity WHERE pid = $pid");
				return $status == 0 && $seen eq '0';
			}),
		'the server recovers by itself');
	return;
}

my %crashes = (
	'immediate stop' => sub { $node->stop('immediate'); $node->start },
	'worker killed' => \&kill_worker,
	'postmaster killed' => sub {
		$node->kill9;
		# Its children notice, and only then let go of the shared memory.
		ok( eventually(
				sub {
					return 1 if $node->start(fail_ok => 1);
					$node->stop('fast', fail_ok => 1);
					return 0;
				}),
			'the server starts again');
	});
my $round = 0;
for my $how ('worker killed', 'immediate stop', 'worker killed',
	'postmaster killed', 'immediate stop')
{
	crash_under_load(++$round, $how, $crashes{$how});
}
wait_for_workers($node, 'store', 1, 'a worker after the last crash');
wait_for_processed($node, 'store', 'it finishes what the others began');

# What clients were told is there, under the id that they were told.
sql('CREATE TABLE answers (provider_id text, id uuid)');
sub load
{
	my ($file) = @_;
	$node->safe_psql('store', "\\copy answers FROM '$file' DELIMITER ' '");
	return;
}
load("$scratch/$_.out") for @clients;
cmp_ok(count_of($node, 'store', 'answers'), '>', 1000, 'many were acknowledged');
is( count_of(
		$node, 'store', 'answers a WHERE NOT EXISTS (
			SELECT FROM msgstore.event_log l
			WHERE l.id = a.id AND l.provider_message_id = a.provider_id)'),
	0,
	'every acknowledged event is there');
cmp_ok(
	count_of($node, 'store', 'msgstore.event_log') - count_of($node, 'store', 'answers'),
	'<=', @clients, 'of others only those that were on their way');
is(violations($node, 'store'), '', 'each has one message, counts are right');

# The clients repeat everything, as a provider does: nothing is doubled.
my @runs = map { start_client($_, "$scratch/$_.again") } @clients;
$_->finish for @runs;
load("$scratch/$_.again") for @clients;
wait_for_processed($node, 'store');
is( sql('SELECT count(DISTINCT provider_id), count(DISTINCT id) FROM answers'),
	@clients * EVENTS . '|' . @clients * EVENTS,
	'repeated events are answered with their first ids');
is(count_of($node, 'store', 'msgstore.messages'), @clients * EVENTS,
	'one message for each event');
is(violations($node, 'store'), '', 'all that always holds holds');

# Everybody who processes is terminated every 200 ms: the worker, and sessions
# that work by hand.
sql(<<'SQL');
CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS
$$BEGIN PERFORM pg_sleep(0.005); RETURN NULL; END$$;
CREATE TRIGGER dawdle AFTER INSERT ON msgstore.messages
FOR EACH ROW EXECUTE FUNCTION dawdle();
SQL
my $before = count_of($node, 'store', 'msgstore.messages');
sql("SELECT ingest_many('killed', 1000, 20)");
my $kills = 0;
my $deadline = time + $PostgreSQL::Test::Utils::timeout_default;
while (count_of($node, 'store', 'msgstore.event_queue') > 0 && time < $deadline)
{
	my $by_hand = IPC::Run::start [
		'psql', '-XAtq', '-d', $node->connstr('store'), '-c',
		'SELECT msgstore.process(' . (5 + int rand 40) . ')' ],
	  '>', \my $out, '2>', \my $err;
	sleep 0.2;
	$kills += $node->safe_psql('postgres', "SELECT count(pg_terminate_backend(pid))
		FROM pg_stat_activity WHERE datname = 'store'");
	$by_hand->finish;
}
cmp_ok($kills, '>', 3, 'processes were terminated while they worked');
wait_for_processed($node, 'store', 'the events are processed all the same');
is(count_of($node, 'store', 'msgstore.messages') - $before,
	1000, '1000 events, 1000 messages');
is( count_of($node, 'store', 'msgstore.event_failures')
	  + count_of($node, 'store', 'msgstore.dead_letters'),
	0, 'no event is blamed for it');
is(violations($node, 'store'), '', 'all that always holds holds');

$node->stop;
done_testing();
