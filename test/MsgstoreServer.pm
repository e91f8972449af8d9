# MsgstoreServer.pm: a temporary server with running workers, for test/t.
#
# Tests poll for what takes time, with a deadline that only a broken server
# exceeds. To test that something does not happen, see stays().
package MsgstoreServer;

use strict;
use warnings FATAL => 'all';

use Exporter 'import';
use File::Basename;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

our @EXPORT = qw(new_server add_database eventually stays settled worker_pids
  set_workers wait_for_workers wait_for_processed wait_for_restart violations
  count_of log_of answer_of);

# How long stays() watches.
use constant WATCHED_SECONDS => 2;
use constant SETTLED_SECONDS => 3;

# Returns a server that is initialized but not started, with the library
# preloaded unless the settings say otherwise. Like a real server it restarts
# after a crash. install_path selects another installation.
sub new_server
{
	my ($name, $settings, %init) = @_;
	my $install = delete $init{install_path};
	my $node = PostgreSQL::Test::Cluster->new($name,
		$install ? (install_path => $install) : ());
	$node->init(extra => [ '--encoding=UTF8', '--locale=C' ], %init);
	$node->append_conf(
		'postgresql.conf', join "\n",
		"shared_preload_libraries = 'msgstore'", 'restart_after_crash = on',
		'log_statement = none', 'log_replication_commands = off',
		'autovacuum = off', 'max_connections = 150',
		$settings // '', '');
	return $node;
}

# Creates the database if needed, the extension, and the functions for tests.
sub add_database
{
	my ($node, $database) = @_;
	my $there = $node->safe_psql('postgres',
		"SELECT count(*) FROM pg_database WHERE datname = '$database'");
	$node->safe_psql('postgres', "CREATE DATABASE $database") unless $there;
	$node->safe_psql($database, 'CREATE EXTENSION msgstore;');
	$node->safe_psql($database, slurp_file(dirname(__FILE__) . '/backdate.sql') . <<'SQL');
CREATE FUNCTION event(
    provider_id text,
    other text DEFAULT '+18045551234',
    body text DEFAULT 'hello') RETURNS jsonb
LANGUAGE sql IMMUTABLE
RETURN jsonb_build_object(
    'from', other, 'to', '+12016661234', 'body', body,
    'timestamp', '2024-11-01T14:00:00Z', 'messaging_provider_id', provider_id);

-- Ingests n events from the given number of addresses. Returns how many are new.
CREATE FUNCTION ingest_many(prefix text, n int, pairs int DEFAULT 1)
RETURNS bigint
LANGUAGE sql
RETURN (
    SELECT count(*) FILTER (WHERE NOT duplicate)
    FROM msgstore.ingest_batch((
        SELECT jsonb_agg(jsonb_build_object('channel', 'sms', 'payload',
            event(prefix || i, '+1804555' || lpad((i % pairs)::text, 4, '0'))))
        FROM generate_series(1, n) i)));

-- Findings of msgstore.check(), if it exists.
CREATE OR REPLACE FUNCTION store_check() RETURNS SETOF text
LANGUAGE plpgsql AS $$
BEGIN
    IF to_regprocedure('msgstore.check()') IS NOT NULL THEN
        RETURN QUERY EXECUTE 'SELECT c::text FROM msgstore.check() c';
    END IF;
END
$$;

-- Violations of the invariants.
CREATE VIEW violations AS
SELECT 'count or last activity of ' || c.key AS violation
FROM msgstore.conversations c
LEFT JOIN (
    SELECT tenant_id, conversation_id, count(*), max("timestamp")
    FROM msgstore.messages GROUP BY 1, 2) m
    ON m.tenant_id = c.tenant_id AND m.conversation_id = c.id
WHERE (c.message_count, c.last_activity_at)
    IS DISTINCT FROM (m.count::int, m.max)
UNION ALL
SELECT 'message without conversation ' || m.id FROM msgstore.messages m
WHERE NOT EXISTS (
    SELECT FROM msgstore.conversations c
    WHERE c.tenant_id = m.tenant_id AND c.id = m.conversation_id
        AND c.key = m.conversation_key)
UNION ALL
SELECT format('event %s is in %s places', id, n)
FROM (
    SELECT l.id,
        (SELECT count(*) FROM msgstore.event_queue q
         WHERE q.tenant_id = l.tenant_id AND q.event_id = l.id)
        + (SELECT count(*) FROM msgstore.dead_letters d
           WHERE d.tenant_id = l.tenant_id AND d.event_id = l.id)
        + (SELECT count(*) FROM msgstore.messages m
           WHERE m.tenant_id = l.tenant_id AND m.id = l.id
               AND m.inbound_event_id = l.id) AS n
    FROM msgstore.event_log l) places
WHERE n <> 1
UNION ALL
SELECT 'work without event ' || id
FROM (
    SELECT event_id AS id FROM msgstore.event_queue
    UNION ALL
    SELECT event_id FROM msgstore.dead_letters WHERE direction = 'inbound'
    EXCEPT SELECT id FROM msgstore.event_log) orphans
UNION ALL
-- Where no events are purged: a message stays when its event goes.
SELECT 'message without event ' || id
FROM (
    SELECT inbound_event_id AS id FROM msgstore.messages
    WHERE inbound_event_id IS NOT NULL
    EXCEPT SELECT id FROM msgstore.event_log) purged
UNION ALL
SELECT 'claimed event is not reserved ' || c.event_id
FROM msgstore.event_claims c
WHERE NOT EXISTS (
    SELECT FROM msgstore.event_queue q
    WHERE q.tenant_id = c.tenant_id AND q.event_id = c.event_id
        AND q.next_attempt_at = 'infinity')
UNION ALL
SELECT 'hold without queued event ' || h.event_id
FROM msgstore.conversation_holds h
WHERE NOT EXISTS (
    SELECT FROM msgstore.event_queue q
    WHERE q.tenant_id = h.tenant_id AND q.event_id = h.event_id)
UNION ALL
-- An event that is never due must wait for a claim or an earlier event.
SELECT 'waits forever ' || q.event_id
FROM msgstore.event_queue q
WHERE q.next_attempt_at = 'infinity'
    AND NOT EXISTS (
        SELECT FROM msgstore.event_claims c
        WHERE c.tenant_id = q.tenant_id AND c.event_id = q.event_id)
    AND NOT EXISTS (
        SELECT FROM msgstore.conversation_holds h
        JOIN msgstore.conversation_holds before
            ON before.tenant_id = h.tenant_id
            AND before.conversation_key = h.conversation_key
            AND before.event_id < h.event_id
        WHERE h.tenant_id = q.tenant_id AND h.event_id = q.event_id)
UNION ALL
SELECT store_check();
SQL
	return;
}

# Calls the code until it returns true. Returns its last result.
sub eventually
{
	my ($code, $seconds) = @_;
	my $end = time + ($seconds // $PostgreSQL::Test::Utils::timeout_default);
	my $result;
	until ($result = $code->())
	{
		last if time > $end;
		sleep 0.02;
	}
	return $result;
}

# A test: the code keeps returning the same.
sub stays
{
	my ($code, $expected, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $end = time + WATCHED_SECONDS;
	my $result;
	do
	{
		$result = $code->();
		return is($result, $expected, $name) if $result ne $expected;
		sleep 0.1;
	} while (time < $end);
	return is($result, $expected, $name);
}

# Returns the result of the code once it has not changed for SETTLED_SECONDS, which
# is longer than the second after which workers merge the last changes, and then
# index them, and after which sessions report their statistics.
sub settled
{
	my ($code) = @_;
	my $result = '';
	my $since = 0;
	eventually(
		sub {
			my $last = $result;
			$result = $code->();
			$since = time if $result ne $last;
			return time - $since >= SETTLED_SECONDS;
		});
	return $result;
}

sub count_of
{
	my ($node, $database, $what) = @_;
	return $node->safe_psql($database, "SELECT count(*) FROM $what");
}

sub worker_pids
{
	my ($node, $database) = @_;
	return split /\n/, $node->safe_psql(
		'postgres', "SELECT pid FROM pg_stat_activity
		WHERE backend_type = 'msgstore worker' AND datname = '$database'
			AND application_name LIKE 'msgstore worker%' ORDER BY pid");
}

# Sets the number of workers for each database. Tests that these databases get so
# many; returns the pids of their workers.
sub set_workers
{
	my ($node, $n, @databases) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$node->safe_psql('postgres', "ALTER SYSTEM SET msgstore.workers = $n");
	$node->reload;
	return map { wait_for_workers($node, $_, $n) } @databases;
}

# A test: waits until the database has this number of workers.
sub wait_for_workers
{
	my ($node, $database, $n, $name, $seconds) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my @pids;
	eventually(
		sub { @pids = worker_pids($node, $database); return @pids == $n },
		$seconds);
	is(scalar @pids, $n, $name // "$n workers in database $database");
	return @pids;
}

# A test: waits until every event has become a message or a dead letter.
sub wait_for_processed
{
	my ($node, $database, $name, $seconds) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $queued;
	eventually(
		sub {
			$queued = count_of($node, $database, 'msgstore.event_queue');
			return $queued == 0;
		},
		$seconds);
	return is($queued, 0, $name // "all events of $database are processed");
}

# A test: waits until the server has restarted after this process was killed.
# Until the postmaster notices, sessions can still connect, and see the process.
sub wait_for_restart
{
	my ($node, $pid, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return ok(
		eventually(
			sub {
				return (answer_of($node, 'postgres',
						"SELECT count(*) FROM pg_stat_activity WHERE pid = $pid") // '') eq '0';
			}),
		$name);
}

# Returns the result of a query, undef if there is none. A server that starts or stops
# can end psql before it has read the query, and IPC::Run dies of that.
sub answer_of
{
	my ($node, $database, $query) = @_;
	my ($status, $result) = eval { $node->psql($database, $query) };
	return defined $status && $status == 0 ? $result : undef;
}

# Returns the first violations of the invariants, an empty string if none.
sub violations
{
	my ($node, $database, $condition) = @_;
	$condition //= 'true';
	return $node->safe_psql($database, <<"SQL");
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT * FROM violations WHERE $condition LIMIT 5;
COMMIT;
SQL
}

# Returns the server's log, starting at the offset if given.
sub log_of
{
	my ($node, $offset) = @_;
	return slurp_file($node->logfile, $offset // 0);
}

1;
