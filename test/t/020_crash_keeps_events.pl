# An acknowledged event survives any crash, an unacknowledged one is stored
# completely or not at all, and each makes one message.
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

# A client stores events, one per transaction, and records the returned ids.
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

# Calls the code after a random number of events were acknowledged.
sub crash_under_load
{
	my ($round, $how, $code) = @_;
	my @names = map { "$round-$_" } 1 .. CLIENTS;
	my @runs = map { start_client($_, "$scratch/$_.out") } @names;
	# Early, so that the clients are still running on a slow machine.
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
	cmp_ok($answered, '<', CLIENTS * EVENTS, "$how: clients were interrupted");
	push @clients, @names;
	return;
}

sub kill_worker
{
	my ($pid) = worker_pids($node, 'store');
	kill 'KILL', $pid;
	wait_for_restart($node, $pid, 'the server restarts after the crash');
	return;
}

my %crashes = (
	'immediate stop' => sub { $node->stop('immediate'); $node->start },
	'worker killed' => \&kill_worker,
	'postmaster killed' => sub {
		$node->kill9;
		# Its children must notice first and release the shared memory.
		ok( eventually(
				sub {
					return 1 if $node->start(fail_ok => 1);
					$node->stop('fast', fail_ok => 1);
					return 0;
				}),
			'the server starts after the crash');
	});
my $round = 0;
for my $how ('worker killed', 'immediate stop', 'worker killed',
	'postmaster killed', 'immediate stop')
{
	crash_under_load(++$round, $how, $crashes{$how});
}
wait_for_workers($node, 'store', 1, 'a worker after the last crash');
wait_for_processed($node, 'store', 'it processes the remaining events');

# Every acknowledged event is stored, with the id that was returned.
sql('CREATE TABLE answers (provider_id text, id uuid)');
sub load
{
	my ($file) = @_;
	$node->safe_psql('store', "\\copy answers FROM '$file' DELIMITER ' '");
	return;
}
load("$scratch/$_.out") for @clients;
cmp_ok(count_of($node, 'store', 'answers'), '>', 1000, 'many events were acknowledged');
is( count_of(
		$node, 'store', 'answers a WHERE NOT EXISTS (
			SELECT FROM msgstore.event_log l
			WHERE l.id = a.id AND l.provider_message_id = a.provider_id)'),
	0,
	'every acknowledged event is stored');
cmp_ok(
	count_of($node, 'store', 'msgstore.event_log') - count_of($node, 'store', 'answers'),
	'<=', @clients, 'and at most one other event per client');
is(violations($node, 'store'), '', 'all invariants hold');

# The clients repeat all events, as a provider would: nothing is stored twice.
my @runs = map { start_client($_, "$scratch/$_.again") } @clients;
$_->finish for @runs;
load("$scratch/$_.again") for @clients;
wait_for_processed($node, 'store');
is( sql('SELECT count(DISTINCT provider_id), count(DISTINCT id) FROM answers'),
	@clients * EVENTS . '|' . @clients * EVENTS,
	'repeated events return the first id');
is(count_of($node, 'store', 'msgstore.messages'), @clients * EVENTS,
	'one message for each event');
is(violations($node, 'store'), '', 'all invariants hold');

# The worker and sessions in process() are terminated every 200 ms.
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
wait_for_processed($node, 'store', 'all events are processed');
is(count_of($node, 'store', 'msgstore.messages') - $before,
	1000, '1000 events, 1000 messages');
is( count_of($node, 'store', 'msgstore.event_failures')
	  + count_of($node, 'store', 'msgstore.dead_letters'),
	0, 'no failed attempt is counted');
is(violations($node, 'store'), '', 'all invariants hold');

$node->stop;
done_testing();
