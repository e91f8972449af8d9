# Handlers in workers: failures, dropped functions, roles and channels, a
# handler that hangs, and what handlers must not leave behind.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::Bin/..";
use MsgstoreServer;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('handlers', <<'CONF');
max_worker_processes = 20
msgstore.workers = 4
msgstore.batch_size = 50
msgstore.backoff_base = 20ms
msgstore.backoff_max = 100ms
msgstore.max_retries = 3
CONF
$node->start;
add_database($node, 'store');
wait_for_workers($node, 'store', 4);

sub sql { return $node->safe_psql('store', $_[0]) }

sub event
{
	my ($columns, $name) = @_;
	return sql("SELECT $columns FROM msgstore.inbound_events
		WHERE provider_message_id = '$name'");
}

sub dead_letters
{
	my ($prefix) = @_;
	return sql("SELECT error_code, attempt_count, count(*) FROM msgstore.inbound_events
		WHERE provider_message_id LIKE '$prefix%' AND status = 'dead_letter' GROUP BY 1, 2");
}

# A handler that fails on every third message, with four workers. It always
# fails on these, so that they are retried as often as possible.
sql(<<'SQL');
CREATE TABLE bookings (pid int DEFAULT pg_backend_pid(), event text);
CREATE FUNCTION book(m msgstore.messages) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.bookings (event) VALUES (m.provider_message_id);
    IF substring(m.provider_message_id FROM '\d+$')::int % 3 = 0 THEN
        RAISE EXCEPTION 'fully booked' USING ERRCODE = 'BK001';
    END IF;
END $$;
SELECT msgstore.add_handler('sms', 'book');
SQL
sql("SELECT ingest_many('a$_-', 600, 120)") for 1 .. 3;
ok( eventually(sub { count_of($node, 'store', 'bookings') == 1200 }),
	'two thirds of 1800 events are booked');
wait_for_processed($node, 'store', 'and no event is left');
is(sql('SELECT count(*), count(DISTINCT event) FROM bookings'), '1200|1200', 'none of them twice');
is(dead_letters('a'), 'BK001|4|600', 'the others are dead letters, with its own SQLSTATE');
is(sql("SELECT DISTINCT error_message FROM msgstore.dead_letters"), 'fully booked', 'and error message');
is(sql('SELECT count(*) FROM msgstore.messages WHERE provider_message_id NOT IN
	(SELECT event FROM bookings)'), 0, 'it committed with the messages');
cmp_ok(sql('SELECT count(DISTINCT pid) FROM bookings'), '>', 1, 'several workers took part');
is(violations($node, 'store'), '', 'all invariants hold');

# With handlers registered, an idle worker runs no queries.
my $transactions = "SELECT xact_commit + xact_rollback FROM pg_stat_database
	WHERE datname = 'store'";
my $before = settled(sub { $node->safe_psql('postgres', $transactions) });
stays(sub { $node->safe_psql('postgres', $transactions) }, $before, 'idle workers run nothing');

# The function is dropped while workers call it: its events fail, others do not,
# and the workers keep running.
my @pids = worker_pids($node, 'store');
sql(<<'SQL');
CREATE FUNCTION slow(m msgstore.messages) RETURNS void LANGUAGE plpgsql AS
    $$ BEGIN PERFORM pg_sleep(0.02); END $$;
SELECT msgstore.remove_handler('sms', 'book'), msgstore.add_handler('sms', 'slow');
INSERT INTO msgstore.channels (name, address_kind) VALUES ('pigeon', 'opaque');
SQL
sql("SELECT ingest_many('drop-', 400, 100)");
ok(eventually(sub { sql("SELECT count(*) > 20 FROM msgstore.messages
	WHERE provider_message_id LIKE 'drop-%'") eq 't' }), 'workers are processing');
sql('DROP FUNCTION slow');
sql("SELECT count(*) FROM generate_series(1, 50) i,
	msgstore.ingest('pigeon', event('pigeon-' || i, 'loft ' || i))");
wait_for_processed($node, 'store', 'after a function is dropped, the queue is still processed');
like(dead_letters('drop-'), qr/^42883\|4\|\d+$/, 'its events fail with 42883');
is(dead_letters('pigeon-'), '', 'the other channel is not affected');
is(sql("SELECT count(*) FROM msgstore.inbound_events WHERE provider_message_id LIKE 'drop-%'
	AND (status = 'processed' OR error_message =
		'function \"public.slow(msgstore.messages)\" does not exist')"), 400, 'all events are accounted for');
is(sql("SELECT msgstore.remove_handler('sms', 'public.slow')"), 't', 'it can still be removed');

# The role is dropped.
sql(<<'SQL');
CREATE ROLE clerk;
GRANT USAGE ON SCHEMA msgstore TO clerk;
GRANT EXECUTE ON FUNCTION msgstore.add_handler TO clerk;
CREATE FUNCTION slow(m msgstore.messages) RETURNS void LANGUAGE plpgsql AS
    $$ BEGIN PERFORM pg_sleep(0.02); END $$;
SET ROLE clerk;
SELECT msgstore.add_handler('sms', 'slow');
SQL
sql("SELECT ingest_many('role-', 400, 100)");
ok(eventually(sub { sql("SELECT count(*) > 20 FROM msgstore.messages
	WHERE provider_message_id LIKE 'role-%'") eq 't' }), 'workers are processing');
sql('BEGIN; DROP OWNED BY clerk; DROP ROLE clerk; COMMIT');
wait_for_processed($node, 'store', 'after a role is dropped, the queue is still processed');
like(dead_letters('role-'), qr/^42704\|4\|\d+$/, 'the rest of its events fail with 42704');
sql("SELECT msgstore.remove_handler('sms', 'slow')");

# The channel is dropped.
sql("SELECT msgstore.add_handler('pigeon', 'slow')");
sql("SELECT count(*) FROM generate_series(1, 400) i,
	msgstore.ingest('pigeon', event('gone-' || i, 'loft ' || i))");
ok(eventually(sub { sql("SELECT count(*) > 20 FROM msgstore.messages
	WHERE provider_message_id LIKE 'gone-%'") eq 't' }), 'workers are processing');
sql("DELETE FROM msgstore.channels WHERE name = 'pigeon'");
wait_for_processed($node, 'store', 'after a channel is deleted, the queue is still processed');
like(dead_letters('gone-'), qr/^(MS400\|1\|\d+)?$/, 'the rest of its events are dead letters at once');
is(sql("SELECT count(*) FROM msgstore.inbound_events WHERE provider_message_id LIKE 'gone-%'
	AND status IN ('processed', 'dead_letter')"), 400, 'all events are accounted for');

# A handler that hangs is ended by cancelling the worker once. This is a failed
# attempt of the event; the worker continues with the other events.
sql(<<'SQL');
CREATE FUNCTION hang(m msgstore.messages) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF m.body = 'hang' THEN
        PERFORM pg_sleep(3600);
    END IF;
END $$;
SELECT msgstore.add_handler('sms', 'hang');
ALTER SYSTEM SET msgstore.backoff_base = '1 h';
ALTER SYSTEM SET msgstore.backoff_max = '1 h';
SELECT pg_reload_conf();
SQL
sql("BEGIN; SELECT ingest_many('before-', 5);
	SELECT msgstore.ingest('sms', event('hang', '+18045550000', 'hang'));
	SELECT ingest_many('after-', 5); COMMIT");
my $hung = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'msgstore worker'
	AND datname = 'store' AND wait_event = 'PgSleep'";
my $pid;
ok(eventually(sub { $pid = sql($hung) }), 'a handler hangs');
sql("SELECT pg_cancel_backend($pid)");
ok(eventually(sub { event('status', 'hang') eq 'error' }, 20), 'its worker is cancelled once');
is(event('attempt_count, error_code, error_message', 'hang'),
	'1|57014|canceling statement due to user request', 'which is a failed attempt');
ok( eventually(sub { sql("SELECT count(*) FROM msgstore.messages
		WHERE provider_message_id ~ '^(before|after)-'") == 10 }, 20),
	'the other events are processed');
is(join(' ', worker_pids($node, 'store')), "@pids", 'by the same worker processes');
sql("UPDATE msgstore.event_queue SET next_attempt_at = 'infinity';
	SELECT msgstore.remove_handler('sms', 'hang');
	UPDATE msgstore.event_queue SET next_attempt_at = now();
	SELECT ingest_many('nudge-', 64, 64)");
wait_for_processed($node, 'store', 'without the handler it is processed');
sql("ALTER SYSTEM RESET msgstore.backoff_base; ALTER SYSTEM RESET msgstore.backoff_max;
	SELECT pg_reload_conf()");

# In a worker, a handler has the rights of its role and no more, and leaves
# nothing behind: no lock, setting, or temporary table, and nothing that runs
# later.
sql(<<'SQL');
CREATE ROLE clerk;
GRANT USAGE ON SCHEMA msgstore TO clerk;
GRANT EXECUTE ON FUNCTION msgstore.add_handler TO clerk;
CREATE SCHEMA clerk AUTHORIZATION clerk;
SET ROLE clerk;
SET search_path = clerk;
CREATE TABLE journal (n serial, result text);
CREATE FUNCTION outcome(command text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE command;
    RETURN 'done';
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE;
END $$;
CREATE FUNCTION later() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN INSERT INTO clerk.journal (result) VALUES ('later as ' || current_user); RETURN NULL; END $$;
CREATE TABLE trap (n int);
CREATE CONSTRAINT TRIGGER later AFTER INSERT ON trap DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION later();
CREATE FUNCTION try(m msgstore.messages) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO journal (result) VALUES ('as ' || current_user || ' for ' || current_setting('msgstore.tenant_id')
        || ', ' || (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()
            AND objsubid <= 2) || ' locks, setting ' || coalesce(nullif(current_setting('my.setting', true), ''), 'none'));
    INSERT INTO journal (result) SELECT c || ': ' || outcome(c)
    FROM unnest('{SET ROLE none,RESET ROLE,RESET SESSION AUTHORIZATION,CREATE TEMP TABLE t (n int),'
        'LISTEN x,DELETE FROM msgstore.messages,SELECT pg_advisory_lock(42),'
        'SET my.setting = left,INSERT INTO clerk.trap VALUES (1)}'::text[]) c;
END $$;
SELECT msgstore.add_handler('sms', 'try');
SQL
for my $tenant ('acme', 'other')
{
	sql("SET msgstore.tenant_id = '$tenant'; SELECT msgstore.ingest('sms', event('try'))");
	wait_for_processed($node, 'store');
	is(event('DISTINCT status', 'try'), 'processed', "the handler is called for $tenant");
	my $journal = sql('SELECT result FROM clerk.journal ORDER BY n; TRUNCATE clerk.journal');
	is($journal, <<"JOURNAL" =~ s/\n\z//r, 'with the rights of its role, and no more');
as clerk for $tenant, 0 locks, setting none
SET ROLE none: 42501
RESET ROLE: 42501
RESET SESSION AUTHORIZATION: 42501
CREATE TEMP TABLE t (n int): 42501
LISTEN x: 42501
DELETE FROM msgstore.messages: 42501
SELECT pg_advisory_lock(42): done
SET my.setting = left: done
later as clerk
INSERT INTO clerk.trap VALUES (1): done
JOURNAL
	is(sql('SELECT pg_try_advisory_lock(42)'), 't', 'its lock was released');
}
sql("SELECT msgstore.remove_handler('sms', 'clerk.try')");

# In a database with a tenant set, the worker still serves all tenants.
$node->safe_psql('postgres', "ALTER DATABASE store SET msgstore.tenant_id = 'acme'");
sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity
	WHERE backend_type = 'msgstore worker' AND datname = 'store'");
ok(eventually(sub { my %old = map { $_ => 1 } @pids; 4 == grep { !$old{$_} } worker_pids($node, 'store') }),
	'new workers');
sql("SET msgstore.tenant_id = 'third'; SELECT msgstore.ingest('sms', event('third'))");
wait_for_processed($node, 'store', 'workers work for all tenants, whatever the database is set to', 30);
$node->safe_psql('postgres', 'ALTER DATABASE store RESET msgstore.tenant_id');

# A commit during a handler that sleeps still wakes the worker, although the
# handler waits on the same latch and resets it.
set_workers($node, 1, 'store');
sql("CREATE TABLE alarms (id text);
	CREATE FUNCTION nap(m msgstore.messages) RETURNS void LANGUAGE plpgsql AS
	\$\$ BEGIN
	    WHILE NOT EXISTS (SELECT FROM public.alarms WHERE id = m.provider_message_id) LOOP
	        PERFORM pg_sleep(0.1);
	    END LOOP;
	END \$\$;
	SELECT msgstore.add_handler('sms', 'nap')");
for my $i (1 .. 5)
{
	sql("SELECT msgstore.ingest('sms', event('nap-$i'))");
	ok(eventually(sub { sql($hung) }, 20), 'a handler sleeps');
	sql("SELECT msgstore.ingest('email', '{\"xillio_id\": \"during-$i\", \"from\": \"a\@x.io\",
		\"to\": \"b\@x.io\", \"body\": \"x\", \"timestamp\": \"2024-11-01T14:00:00Z\"}')");
	sql("INSERT INTO alarms VALUES ('nap-$i')");
	wait_for_processed($node, 'store', 'what comes meanwhile is processed then', 10);
}
sql("SELECT msgstore.remove_handler('sms', 'nap'), msgstore.remove_handler('pigeon', 'slow')");

is(count_of($node, 'store', 'msgstore.handlers'), 0, 'no handler is left');
is(violations($node, 'store'), '', 'all invariants hold');
unlike(log_of($node), qr/ERROR: (?!.*statement due)|FATAL: (?!.*terminating)|PANIC/,
	'and only events failed');

$node->stop;
done_testing();
