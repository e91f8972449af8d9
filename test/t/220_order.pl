# Conversations keep their order under random failures, with several workers,
# external processors, and workers that are terminated.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::Bin/..";
use IPC::Run;
use MsgstoreServer;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);

use constant { CLIENTS => 4, TRANSACTIONS => 120 };

my $node = new_server('order', <<'CONF');
max_worker_processes = 20
msgstore.workers = 4
msgstore.batch_size = 20
msgstore.backoff_base = 10ms
msgstore.backoff_max = 80ms
msgstore.max_retries = 2
msgstore.claim_timeout = 300ms
CONF
$node->start;
add_database($node, 'store');
wait_for_workers($node, 'store', 4);
my $scratch = PostgreSQL::Test::Utils::tempdir;

sub sql { return $node->safe_psql('store', $_[0]) }

# A sequence records the order in which events are applied. Failures are random.
sql(<<'SQL');
CREATE TABLE applied (n bigserial, event uuid, conversation text, pid int DEFAULT pg_backend_pid());
CREATE FUNCTION apply(m msgstore.messages) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF random() < 0.4 THEN
        RAISE EXCEPTION 'bad luck';
    END IF;
    INSERT INTO public.applied (event, conversation) VALUES (m.id, m.conversation_key);
END $$;
SELECT msgstore.add_handler('sms', 'apply');

-- A processor that completes most of what it claims, fails some and forgets
-- the rest.
CREATE PROCEDURE work_outside(name text, rounds int) LANGUAGE plpgsql AS $$
DECLARE
    ids uuid[];
    id uuid;
    chance float8;
BEGIN
    FOR i IN 1 .. rounds LOOP
        ids := ARRAY(SELECT c.id FROM msgstore.claim(name, 1 + (random() * 5)::int) c);
        COMMIT;
        FOREACH id IN ARRAY ids LOOP
            chance := random();
            BEGIN
                IF chance < 0.7 THEN
                    PERFORM msgstore.complete(name, ARRAY[id]);
                ELSIF chance < 0.9 THEN
                    PERFORM msgstore.fail(name, id, 'OUT01', 'bad luck outside');
                END IF;
            EXCEPTION WHEN SQLSTATE 'MS409' OR raise_exception OR deadlock_detected THEN
                NULL;
            END;
            COMMIT;
        END LOOP;
        PERFORM pg_sleep(0.01);
    END LOOP;
END $$;
SQL

# Each client has conversations of its own, so the order of acceptance is that
# of its transactions.
append_to_file("$scratch/load.sql", <<'SQL');
\set conversation :client_id * 5 + random(0, 4)
\set many random(1, 5)
SELECT count(*) FROM generate_series(1, :many) i, msgstore.ingest('sms',
    event(i || '-' || msgstore.uuid7(), '+1804555' || :conversation));
SQL

sub out_of_order
{
	my ($which) = @_;
	return sql("SELECT count(*) FROM (
		SELECT event, lag(event) OVER (PARTITION BY conversation ORDER BY n) AS before
		FROM applied a WHERE $which) o WHERE event < before");
}

# Tests: all events sent under load, with a given disturbance, are applied once
# or become dead letters.
sub run_load
{
	my ($how, $meanwhile, @others) = @_;
	sql('TRUNCATE applied');
	my $stored = -count_of($node, 'store', 'msgstore.event_log');
	my $dead = -count_of($node, 'store', 'msgstore.dead_letters');
	my @runs = map { IPC::Run::start(['psql', '-XAtq', '-d', $node->connstr('store'), '-c', $_],
			'>', \my $out, '2>', "$scratch/err") } @others;
	my $load = IPC::Run::start(
		[ 'pgbench', '-n', '-c', CLIENTS, '-j', 2, '-t', TRANSACTIONS, '-R', 150,
			'-f', "$scratch/load.sql", '-h', $node->host, '-p', $node->port, 'store' ],
		'>', \my $out, '2>', \my $err);
	$meanwhile->() while $load->pumpable && !eventually(sub { $load->pump_nb; !$load->pumpable }, 0.5);
	$load->finish;
	is($load->result(0), 0, "$how: the load ran") or diag($err);
	$_->finish for @runs;
	is(join('', map { $_->result(0) } @runs), '0' x @runs, "$how: the processors ran")
	  or diag(slurp_file("$scratch/err"));
	wait_for_processed($node, 'store', "$how: all is done with", 60);
	$stored += count_of($node, 'store', 'msgstore.event_log');
	$dead += count_of($node, 'store', 'msgstore.dead_letters');
	my $applied = $stored - $dead;
	is(sql('SELECT count(*), count(DISTINCT event) FROM applied'), "$applied|$applied",
		"$how: of $stored events $dead are dead letters, the others were applied once");
	cmp_ok(sql('SELECT count(DISTINCT pid) FROM applied'), '>', 1, "$how: several workers took part");
	cmp_ok(sql('SELECT count(*) FROM msgstore.event_failures JOIN applied ON event = event_id'),
		'>', 50, "$how: many were retried");
	is(count_of($node, 'store', 'msgstore.conversation_holds'), 0, "$how: no event is waiting");
	is(count_of($node, 'store', 'msgstore.event_claims'), 0, "$how: no claim is left");
	is(violations($node, 'store'), '', "$how: all invariants hold");
	return;
}

sub terminate_worker
{
	my @pids = worker_pids($node, 'store');
	sql("SELECT pg_terminate_backend($pids[ rand @pids ])") if @pids;
	return;
}

# Without strict_order, events that never failed keep their order.
run_load('as they come', sub { });
is(out_of_order('NOT EXISTS (SELECT FROM msgstore.event_failures f WHERE f.event_id = a.event)'),
	0, 'events that never failed keep their order');
cmp_ok(out_of_order('true'), '>', 0, 'events that failed lose their place');

# With strict_order all events do, whoever applies them.
sql("UPDATE msgstore.channels SET strict_order = true WHERE name = 'sms'");
run_load('strict', sub { });
is(out_of_order('true'), 0, 'with strict_order all keep their order');

run_load('strict, workers terminated', \&terminate_worker);
is(out_of_order('true'), 0, 'also when workers are terminated');

my @processors = map { "CALL work_outside('processor $_', 250)" } 1 .. 2;
run_load('strict, with processors', \&terminate_worker, @processors);
is(out_of_order('true'), 0, 'also with external processors');
cmp_ok(sql("SELECT count(*) FROM msgstore.event_failures f, jsonb_array_elements(attempts) a
		WHERE a ->> 'error_code' = 'MS504'"), '>', 5, 'and expired claims');

# Turning it off under load leaves no event waiting.
run_load('strict for a while', sub {
		sql("UPDATE msgstore.channels SET strict_order = NOT strict_order WHERE name = 'sms'");
	}, @processors);

unlike(log_of($node), qr/PANIC|TRAP|deadlock detected/, 'nothing went wrong');
$node->stop;
done_testing();
