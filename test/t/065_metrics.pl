# Metrics agree with a count under load, after restarts and on a standby. The
# totals of workers survive their processes.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::Bin/..";
use JSON::PP;
use MsgstoreServer;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('metrics', 'msgstore.workers = 0', allows_streaming => 1);
$node->start;
add_database($node, 'store');

sub sql { return $node->safe_psql('store', $_[0]) }

sub metrics
{
	my ($on) = @_;
	return decode_json(
		($on // $node)->safe_psql('store', 'SELECT msgstore.metrics()'));
}

# All gauges beside a count of the rows; they must agree.
sub gauges
{
	return sql(<<'SQL');
SELECT string_agg(format('%s %s', what, n), ', ' ORDER BY what, n)
FROM (
    SELECT DISTINCT what, n FROM (
        SELECT 'queued', msgstore._gauge('queued')
        UNION ALL SELECT 'queued', (msgstore.metrics() ->> 'worker_queued')::bigint
        UNION ALL SELECT 'queued', sum(queued) FROM msgstore.channel_metrics()
        UNION ALL SELECT 'queued', count(*) FROM msgstore.event_queue
        UNION ALL SELECT 'dead', msgstore._gauge('dead_letters')
        UNION ALL SELECT 'dead', (msgstore.metrics() ->> 'dead_letters')::bigint
        UNION ALL SELECT 'dead', sum(dead_letters) FROM msgstore.channel_metrics()
        UNION ALL SELECT 'dead', count(*) FROM msgstore.dead_letters) g (what, n)) d
SQL
}

sub wrong_channels
{
	return sql(<<'SQL');
SELECT coalesce(string_agg(format('%s/%s: %s, not %s', tenant_id, channel, m.queued, c.n), '; '), '')
FROM msgstore.channel_metrics() m
FULL JOIN (
    SELECT l.tenant_id, l.channel, count(*) AS n
    FROM msgstore.event_queue q JOIN msgstore.event_log l ON l.id = q.event_id
    GROUP BY 1, 2) c USING (tenant_id, channel)
WHERE coalesce(m.queued, 0) <> coalesce(c.n, 0)
SQL
}

# With the worker off, seven events add seven.
sql("SELECT ingest_many('before', 10)");
my $before = metrics()->{worker_queued};
sql("SELECT ingest_many('seven', 7)");
is(metrics()->{worker_queued} - $before, 7, 'seven events add seven');

# Sessions store, process, roll back and fail while others call recount(). A
# base that is wrong by one stays so until the next count, because the queue is
# never empty. So there are many rounds.
sql(<<'SQL');
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.body = 'poison' THEN RAISE 'poisonous'; END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER refuse BEFORE INSERT ON msgstore.messages
FOR EACH ROW EXECUTE FUNCTION refuse();
CREATE FUNCTION put(id text, tenant int, body text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('msgstore.tenant_id', 'tenant ' || tenant, true);
    PERFORM msgstore.ingest(CASE WHEN tenant = 1 THEN 'email' ELSE 'sms' END, jsonb_build_object(
        'from', tenant || '@x.org', 'to', '1' || '@x.org', 'body', body,
        'timestamp', '2024-11-01T14:00:00Z', 'messaging_provider_id', id, 'xillio_id', id));
END
$$;
CREATE SEQUENCE ids;
SELECT put('fixed ' || n, 2, 'later') FROM generate_series(1, 500) n;
UPDATE msgstore.event_queue SET next_attempt_at = 'infinity';
ALTER SYSTEM SET msgstore.max_retries = 0;
SELECT pg_reload_conf();
SQL
my $directory = PostgreSQL::Test::Utils::tempdir();
my %scripts = (
	store => <<'SQL',
\set tenant random(1, 3)
\set n random(1, 4)
BEGIN;
SELECT put('a' || nextval('ids'), :tenant, 'hello') FROM generate_series(1, :n);
SAVEPOINT s;
SELECT put('b' || nextval('ids'), :tenant, 'hello');
ROLLBACK TO s;
SELECT put('c' || nextval('ids'), :tenant, 'hello');
RELEASE s;
COMMIT;
SQL
	undo => <<'SQL',
\set tenant random(1, 3)
BEGIN;
SELECT put('d' || nextval('ids'), :tenant, 'hello');
SELECT msgstore.process(1);
ROLLBACK;
SQL
	fail => "SELECT put('e' || nextval('ids'), 3, 'poison');\n",
	apply => "SELECT msgstore.process(5);\n",
	count => <<'SQL');
SELECT msgstore.recount();
SELECT msgstore.metrics();
SELECT count(*) FROM msgstore.channel_metrics();
SQL
my @load = (
	'pgbench', '-n', '-c', '8', '-t', '20', '-p', $node->port, '-h', $node->host);
for my $name (sort keys %scripts)
{
	append_to_file("$directory/$name.sql", $scripts{$name});
	push @load, '-f', "$directory/$name.sql\@" . ($name eq 'store' ? 3 : 1);
}
my ($now, @wrong);
for my $round (1 .. 10)
{
	PostgreSQL::Test::Utils::system_or_bail(@load, 'store');
	$now = gauges();
	push @wrong, $now, wrong_channels()
	  if $now !~ /^dead \d+, queued \d+$/ || wrong_channels() ne '';
}
is("@wrong", '', 'under load all numbers agree, in total and by channel');
like($now, qr/^dead [1-9]\d*, queued [1-9]\d\d+$/, "and there is much: $now");
sql('SELECT msgstore.recount()');
is(gauges(), $now, 'a count gives the same');

# TRUNCATE is noticed without recount().
sql('BEGIN; TRUNCATE msgstore.dead_letters; ROLLBACK');
is(gauges(), $now, 'a truncation that was rolled back changes nothing');
sql('TRUNCATE msgstore.dead_letters');
like(gauges(), qr/^dead 0, queued \d+$/, 'one that was committed does');

# The base is counted again after a restart and after a crash.
my ($queued) = $now =~ /queued (\d+)/;
$node->restart;
is(gauges(), "dead 0, queued $queued", 'right after a restart');
is(wrong_channels(), '', 'also by channel');
is(metrics()->{events_ingested}, 0, 'counters start at 0');
sql("SELECT ingest_many('after', 5)");
$node->stop('immediate');
$node->start;
sql("SELECT ingest_many('crash', 2)");
is(gauges(), 'dead 0, queued ' . ($queued + 7), 'right after a crash');
is(wrong_channels(), '', 'also by channel');

# A standby counts the rows: replay does not update the gauges.
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('metrics_standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
is(metrics($standby)->{worker_queued}, $queued + 7, 'a standby gives the same numbers');
sql("SELECT ingest_many('replayed', 3)");
$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
is(metrics($standby)->{worker_queued},
	$queued + 10, 'and counts each time');
$standby->promote;
$standby->safe_psql('store', "SELECT ingest_many('promoted', 1)");
is(metrics($standby)->{worker_queued}, $queued + 11, 'also after promotion');
$standby->stop;

# Two workers process everything. Their totals survive a restart of the process.
$node->append_conf('postgresql.conf', "msgstore.workers = 2\n");
sql('UPDATE msgstore.event_queue SET next_attempt_at = NULL');
$node->reload;
wait_for_workers($node, 'store', 2);
wait_for_processed($node, 'store');

sub workers
{
	my ($what) = @_;
	return sql("SELECT $what FROM msgstore.stat_worker");
}

sub idle_workers
{
	return eventually(
		sub { workers("count(*) FILTER (WHERE state = 'idle')") == 2 });
}
ok(idle_workers(), 'both workers are idle');
is( workers('string_agg(worker::text, \' \' ORDER BY worker)'),
	'1 2',
	'each worker has a row');
is(workers('sum(processed)'), metrics()->{worker_processed}, 'processed');
is( workers('sum(claimed) >= sum(processed) AND sum(batches) > 0 AND max(batch) = 0'),
	't', 'claimed');
is( workers('bool_and(busy_us > 0 AND idle_us > 0 AND started_at < now())'),
	't', 'times');
is( sql('SELECT bool_and(a.pid = w.pid) FROM msgstore.stat_worker w
	LEFT JOIN pg_stat_activity a ON a.pid = w.pid'),
	't', 'pids');
is(metrics()->{workers_running}, 2, 'two workers run');
is(metrics()->{worker_queued}, 0, 'and nothing is queued');

sql("SELECT put('last', 1, 'poison')");
wait_for_processed($node, 'store', 'a bad event becomes a dead letter');
ok(idle_workers(), 'both are idle again');
is(workers('sum(dead_letters)'), metrics()->{worker_dead_letter}, 'counted by its worker');
is( workers("bool_or(last_error = 'poisonous' AND last_error_at < now() + interval '1 min')"),
	't', 'with its error message');

my $processed = workers('sum(processed)');
my $histogram = sql('SELECT array_agg(h) FROM msgstore.latency_histogram() h');
my ($pid) = worker_pids($node, 'store');
my $started = workers("max(started_at)");
sql("SELECT pg_terminate_backend($pid)");
ok( eventually(
		sub { workers("count(*) FILTER (WHERE pid <> $pid AND state = 'idle')") == 2 }),
	'a terminated worker restarts');
is(workers('sum(processed)'), $processed, 'and keeps its totals');
is(workers("max(started_at) > '$started'"), 't', 'with a new start time');
is(metrics()->{worker_processed}, $processed, 'as do the database\'s');
is(sql('SELECT array_agg(h) FROM msgstore.latency_histogram() h'),
	$histogram, 'and the same histogram');

# A worker that was stopped keeps its row, without a process.
$node->append_conf('postgresql.conf', "msgstore.workers = 1\n");
$node->reload;
ok( eventually(
		sub { workers("count(*) FILTER (WHERE state = 'stopped' AND pid IS NULL)") == 1 }),
	'a worker that has exited is shown as stopped');
is(metrics()->{workers_running}, 1, 'one runs');
is(workers('sum(processed)'), $processed, 'and no totals are lost');

# What is stored is measured while a session rewrites the tables.
my $rewriting = $node->background_psql('store');
$rewriting->query_safe('BEGIN; LOCK TABLE msgstore.responses, msgstore.stream_events');
is( sql("SET lock_timeout = '1min';
	SELECT count(*) FROM jsonb_object_keys(msgstore.metrics()) k WHERE k LIKE 'storage\_%'"),
	6, 'metrics() waits for no table lock');
$rewriting->quit;

$node->stop;
done_testing();
