# An event whose handler or trigger ends the worker's process, or the whole
# server, fails like any other: each death counts as an attempt, and the event
# becomes a dead letter. Other events are processed meanwhile, and ingest goes
# on.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::Bin/..";
use IPC::Run;
use MsgstoreServer;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

use constant { RETRIES => 2, NEIGHBOURS => 20 };

# Generous: it is a second or two on an idle machine.
use constant NEIGHBOURS_SECONDS => 20;

my $node = new_server('deadly', <<"CONF");
max_worker_processes = 16
msgstore.max_retries = ${\ RETRIES}
msgstore.backoff_base = 50ms
msgstore.backoff_max = 200ms
CONF
$node->start;
add_database($node, 'store');
wait_for_workers($node, 'store', 1);

sub sql { return $node->safe_psql('store', $_[0]) }

# Returns nothing if the server is restarting.
sub try_sql
{
	my $run = IPC::Run::start [ 'psql', '-XAtq', '-d', $node->connstr('store'), '-c', $_[0] ],
	  '<', '/dev/null', '>', \my $out, '2>', \my $err;
	return $run->finish && $out =~ /(.*)\n/ ? $1 : '';
}

my $log_at = 0;

sub new_log
{
	my $log = log_of($node, $log_at);
	$log_at += length $log;
	return $log;
}

# The files of processes that are gone.
sub records
{
	return sql("SELECT count(*) FROM pg_ls_dir('pg_stat_tmp') f WHERE f LIKE 'msgstore%'
		AND split_part(f, '_', 3)::int NOT IN (SELECT pid FROM pg_stat_activity)");
}

# The body of a message is a command.
sql(<<'SQL');
CREATE FUNCTION obey(command text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF command LIKE 'sql:%' THEN
        EXECUTE substr(command, 5);
    ELSIF command LIKE 'sh:%' THEN
        EXECUTE format('COPY (SELECT 1) TO PROGRAM %L', substr(command, 4));
        PERFORM pg_sleep(1);
    END IF;
END $$;
CREATE FUNCTION handle(m msgstore.messages) RETURNS void LANGUAGE plpgsql AS
    $$ BEGIN PERFORM public.obey(m.body); END $$;
CREATE FUNCTION trigger_obeys() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN PERFORM public.obey(NEW.body); RETURN NULL; END $$;
CREATE TABLE deadly (name text, body text);
SQL

# Ingests deadly events among others, and checks what becomes of them.
sub meet
{
	my ($name, $what, $body, %expect) = @_;
	my $deadly = $expect{deadly} // 1;
	new_log();
	sql(join ' ', 'BEGIN;',
		"SELECT ingest_many('$name-before-', " . NEIGHBOURS / 2 . ', 7);',
		(map { "SELECT msgstore.ingest('sms', event('$name-deadly-$_', '+1804666000$_', \$b\$$body\$b\$));" }
			1 .. $deadly),
		"SELECT ingest_many('$name-after-', " . NEIGHBOURS / 2 . ', 7);', 'COMMIT;');
	my $started = time;
	my $last = $started;
	my ($ingested, $tried, $longest, $seconds) = (0, 0, 0);
	eventually(
		sub {
			my $done = try_sql("SELECT count(*) FROM msgstore.inbound_events
				WHERE provider_message_id LIKE '$name-deadly-%' AND status = 'dead_letter'") eq $deadly;
			$seconds //= time - $started
			  if try_sql("SELECT count(*) FROM msgstore.messages WHERE provider_message_id
				~ '^$name-(before|after)-'") eq NEIGHBOURS;
			$tried++;
			my $stored = try_sql("SELECT event_id IS NOT NULL FROM
				msgstore.ingest('sms', event('$name-during-$tried', '+18047770000'))") eq 't';
			return 0 unless $stored;
			$ingested++;
			$longest = time - $last if $longest < time - $last;
			$last = time;
			return $done && $seconds;
		}, 90);
	cmp_ok($seconds // 999, '<', NEIGHBOURS_SECONDS, "$what: the other events are processed");
	wait_for_processed($node, 'store', 'and no event is left');
	is( sql("SELECT DISTINCT status, attempt_count, error_code, error_message
			FROM msgstore.inbound_events WHERE provider_message_id LIKE '$name-deadly-%'"),
		'dead_letter|' . (RETRIES + 1) . '|MS500|process died while applying the event',
		'the event becomes a dead letter, and each death counts');
	is( sql("SELECT count(*) FROM msgstore.inbound_events WHERE attempt_count > 0
			AND provider_message_id ~ '^$name-(before|after|during)-'"),
		0, 'no other event is blamed');
	is( sql("SELECT count(*) FROM msgstore.inbound_events WHERE status <> 'processed'
			AND provider_message_id ~ '^$name-(before|after|during)-'"),
		0, 'and all others are processed');
	cmp_ok($longest, '<', NEIGHBOURS_SECONDS, 'ingest goes on');
	is($ingested, $tried, 'without a failure') unless $expect{crashes};
	my $log = new_log();
	my @restarts = $log =~ /all server processes terminated; reinitializing/g;
	my $most = $expect{crashes} ? $deadly * (RETRIES + 1) + ($expect{more} // 0) : 0;
	cmp_ok(scalar @restarts, '<=', $most, "at most $most restarts of the server");
	cmp_ok(scalar @restarts, '>=', $expect{crashes} ? RETRIES + 1 : 0, 'and as many as expected');
	is(records(), 0, 'no record is left');
	is(violations($node, 'store'), '', 'all invariants hold');
	note "$name: neighbours after " . ($seconds // 'never') . " s, $ingested of $tried ingested";
	return;
}

my $suicide = 'sql:SELECT pg_terminate_backend(pg_backend_pid()), pg_sleep(1)';
sql("SELECT msgstore.add_handler('sms', 'handle')");
meet('self', 'a handler that terminates its process', $suicide);
meet('term', 'a handler that lets a command terminate it', 'sh:kill -TERM $PPID');
meet('kill', 'a handler whose process is killed', 'sh:kill -9 $PPID', crashes => 1);
meet('quit', 'a handler that ends like after a crash', 'sh:kill -QUIT $PPID', crashes => 1);
meet('five', 'five such events', $suicide, deadly => 5);

# A trigger does not tell which event of a batch it was: the event dies again
# alone, so that there can be twice as many deaths.
sql(<<'SQL');
SELECT msgstore.remove_handler('sms', 'handle');
CREATE TRIGGER obey AFTER INSERT ON msgstore.messages FOR EACH ROW EXECUTE FUNCTION trigger_obeys();
SQL
meet('trigger', 'a trigger that terminates the process', $suicide);
meet('row', 'a trigger whose process is killed', 'sh:kill -9 $PPID', crashes => 1, more => RETRIES + 1);
sql(<<'SQL');
DROP TRIGGER obey ON msgstore.messages;
CREATE CONSTRAINT TRIGGER obey AFTER INSERT ON msgstore.messages DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION trigger_obeys();
SQL
meet('late', 'a trigger that terminates the process at commit', $suicide);
sql('DROP TRIGGER obey ON msgstore.messages');

# The same with several workers, of which one settles what the others leave; and
# in a channel with strict_order.
set_workers($node, 4, 'store');
sql("UPDATE msgstore.channels SET strict_order = true WHERE name = 'sms';
	SELECT msgstore.add_handler('sms', 'handle')");
meet('four', 'with four workers and strict_order', $suicide, deadly => 3);
meet('crash', 'with four workers and strict_order, a crash', 'sh:kill -9 $PPID', crashes => 1);

$node->stop;
done_testing();
