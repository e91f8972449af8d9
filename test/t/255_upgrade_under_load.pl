# ALTER EXTENSION … UPDATE, and DROP and CREATE EXTENSION, while clients send
# and workers run: they continue with the new tables.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::Bin/..";
use IPC::Run;
use MsgstoreInstallation;
use MsgstoreServer;
use PostgreSQL::Test::Utils;
use Test::More;

use constant { CLIENTS => 3, WORKERS => 2 };

my $version = slurp_file("$FindBin::Bin/../../msgstore.control") =~
  /default_version = '(.*)'/ ? $1 : die 'no version';

# The queue and the log first, in the order in which ingest locks them; workers
# do not conflict with any order.
my @tables = qw(event_queue event_log messages conversation_holds event_claims
  event_failures conversation_rows);
sub add_columns
{
	my ($name, @to) = @_;
	return join '', map {
		"ALTER TABLE msgstore.$_ ADD COLUMN $name text NOT NULL DEFAULT '$name';\n"
	} @to;
}
my $install = copy_installation(add => {
	"msgstore--$version--$version.a.sql" => add_columns('one', @tables),
	"msgstore--$version.a--$version.b.sql" => add_columns('two', @tables[0, 1], reverse @tables[2 .. 6])
	  . "CREATE FUNCTION msgstore.new_in_b() RETURNS int LANGUAGE sql RETURN 1;\n" });

my $node = new_server('upgraded', <<'CONF', install_path => $install);
msgstore.workers = 2
msgstore.batch_size = 50
msgstore.backoff_base = '10 ms'
msgstore.claim_timeout = '200 ms'
CONF
$node->start;

sub sql { return $node->safe_psql('store', $_[0]) }

# The handler records which columns its message has.
sub make_store
{
	add_database($node, 'store');
	sql(<<'SQL');
UPDATE msgstore.channels SET strict_order = true WHERE name = 'sms';
CREATE TABLE IF NOT EXISTS effects (message_id uuid PRIMARY KEY, columns jsonb);
CREATE OR REPLACE FUNCTION take_effect(message msgstore.messages) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.effects VALUES (message.id, to_jsonb(message));
    IF random() < 0.02 THEN
        RAISE 'not this time';
    END IF;
END
$$;
SELECT msgstore.add_handler('sms', 'take_effect');
SQL
	wait_for_workers($node, 'store', WORKERS);
	return;
}

# Clients send until they are told to stop, and record ids and errors.
my $scratch = PostgreSQL::Test::Utils::tempdir;

sub start_clients
{
	my ($round) = @_;
	return map {
		my $name = "$round-$_-";
		my $script = "$scratch/$name.sql";
		append_to_file($script, join '', map {
			"SELECT '$name$_ ' || event_id FROM msgstore.ingest('sms',"
			  . " event('$name$_', '+1804555' || lpad(($_ % 20)::text, 4, '0')));\n"
		} 1 .. 20_000);
		{
			answers => "$scratch/$name.out",
			errors => "$scratch/$name.err",
			run => scalar IPC::Run::start(
				[ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=0', '-d',
					$node->connstr('store'), '-f', $script ],
				'>', "$scratch/$name.out", '2>', "$scratch/$name.err") };
	} 1 .. CLIENTS;
}

sub answers_of
{
	my $n = 0;
	$n += slurp_file($_->{answers}) =~ tr/\n// for @_;
	return $n;
}

# Calls the code while clients send, which they also do before and after it.
sub under_load
{
	my ($round, $code) = @_;
	my @clients = start_clients($round);
	ok(eventually(sub { answers_of(@clients) > 300 }), "$round: clients send");
	$code->();
	my $before = answers_of(@clients);
	ok(eventually(sub { answers_of(@clients) > $before + 300 }), "$round: and continue");
	for my $client (@clients)
	{
		$client->{run}->signal('TERM');
		$client->{run}->finish;
	}
	return @clients;
}

sub is_complete
{
	my ($round, @clients) = @_;
	sql(join '', "CREATE TABLE answers (provider_id text, id uuid);\n",
		map { "\\copy answers FROM '$_->{answers}' DELIMITER ' '\n" } @clients);
	is( count_of($node, 'store', 'answers WHERE id NOT IN (
			SELECT inbound_event_id FROM msgstore.messages
			UNION ALL SELECT event_id FROM msgstore.dead_letters)'),
		0, "$round: every acknowledged event is processed");
	is( count_of($node, 'store',
			'msgstore.messages m FULL JOIN effects e ON e.message_id = m.id
			WHERE m.id IS NULL OR e.message_id IS NULL'),
		0, "$round: and its handler ran once");
	is(violations($node, 'store'), '', "$round: all invariants hold");
	sql('DROP TABLE answers');
	return;
}

# The update succeeds at the first attempt and disturbs nobody.
make_store();
my @workers = worker_pids($node, 'store');
my $offset = -s $node->logfile;
for my $step (qw(a b))
{
	my ($status, $stderr);
	my @clients = under_load(
		$step,
		sub {
			($status, undef, $stderr) = $node->psql('store',
				"ALTER EXTENSION msgstore UPDATE TO '$version.$step'");
		});
	is($status == 0 ? '' : $stderr, '', "$step: updated under load");
	is(join('', map { slurp_file($_->{errors}) } @clients), '',
		"$step: no client got an error");
	wait_for_processed($node, 'store', "$step: workers continue");
	is_complete($step, @clients);
}
is(sql('SELECT msgstore.new_in_b()'), 1, 'the new function exists');
is("@{[worker_pids($node, 'store')]}", "@workers", 'the workers are the same');
unlike(log_of($node, $offset), qr/\] (ERROR|FATAL|PANIC):/, 'and none of them has failed');
is( sql("SELECT columns ? 'one', columns ? 'two', count(*) > 100
		FROM effects GROUP BY 1, 2 ORDER BY 1, 2"),
	"f|f|t\nt|f|t\nt|t|t",
	'handlers get the columns before, between and after the updates');

# Dropped and created again: old events are gone, and new ones are processed by
# new workers. A client in the middle of a transaction can deadlock with the
# command.
sub does
{
	my ($commands) = @_;
	return eventually(sub { $node->psql('store', $commands) == 0 });
}

$offset = -s $node->logfile;
my @clients = under_load(
	'again',
	sub {
		ok(does('DROP EXTENSION msgstore CASCADE'), 'again: dropped');
		wait_for_workers($node, 'store', 0, 'again: no extension, no worker');
		ok(does('CREATE EXTENSION msgstore'), 'again: created');
	});
like(join('', map { slurp_file($_->{errors}) } @clients), qr/ERROR/,
	'again: clients got errors meanwhile');
wait_for_workers($node, 'store', WORKERS, 'again: workers start');
wait_for_processed($node, 'store', 'again: and process events');
cmp_ok(count_of($node, 'store', 'msgstore.messages'),
	'>', 300, 'again: those that were sent afterwards');

# In one transaction: other sessions always see the extension.
@workers = worker_pids($node, 'store');
@clients = under_load(
	'at once',
	sub {
		ok( does('BEGIN; DROP EXTENSION msgstore CASCADE; CREATE EXTENSION msgstore;
				COMMIT'),
			'at once: dropped and created');
	});
wait_for_workers($node, 'store', WORKERS, 'at once: workers start');
wait_for_processed($node, 'store', 'at once: and process events');
cmp_ok(count_of($node, 'store', 'msgstore.messages'),
	'>', 300, 'at once: those that were sent afterwards');
my %before = map { $_ => 1 } @workers;
is(scalar(grep { $before{$_} } worker_pids($node, 'store')),
	0, 'at once: they are new processes');
unlike(log_of($node, $offset), qr/\] (ERROR|FATAL|PANIC):/, 'no worker failed');

$node->stop;
done_testing();
