# Projections: the worker applies the events of a category with a function of a
# user, exactly once, retries and parks those that fail, also when they kill the
# process, and keeps messages going meanwhile.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::Bin/..";
use MsgstoreServer;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('projections', <<'CONF');
msgstore.max_retries = 2
msgstore.backoff_base = 10ms
msgstore.backoff_max = 50ms
CONF
$node->start;
add_database($node, 'store');
wait_for_workers($node, 'store', 1);
sub sql { return $node->safe_psql('store', $_[0]) }
sub try_sql { my ($code, $out, $err) = $node->psql('store', $_[0]); return $code == 0 ? $out : $err }
sub becomes
{
	my ($query, $expected, $name) = @_;
	my $got = '';
	eventually(sub { $got = try_sql($query); return $got eq $expected });
	return is($got, $expected, $name);
}

# The data of an event is what happens: it is counted, fails, kills, or sleeps.
sql(<<'SQL');
CREATE ROLE owner;
GRANT CREATE ON SCHEMA public TO owner;
SELECT msgstore.grant_access('owner', 'operate');
CREATE TABLE counts (category text, n int);
CREATE TABLE broken (what text);
INSERT INTO broken VALUES ('fail'), ('kill'), ('sleep');
CREATE FUNCTION apply_one(e msgstore.stream_event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM broken b WHERE b.what = e.data ->> 'what') THEN
        CASE e.data ->> 'what'
            WHEN 'fail' THEN RAISE EXCEPTION 'event % fails', e.version;
            WHEN 'kill' THEN COPY (SELECT 1) TO PROGRAM 'kill -9 $PPID';
            ELSE NULL;
        END CASE;
        PERFORM pg_sleep(600);
    END IF;
    INSERT INTO counts VALUES (msgstore.stream_category(e.stream), e.version);
END $$;
CREATE FUNCTION apply_batch(events msgstore.stream_event[]) RETURNS void LANGUAGE sql AS
    $$ INSERT INTO counts SELECT msgstore.stream_category(e.stream), e.version FROM unnest(events) e $$;
CREATE FUNCTION reset_counts() RETURNS void LANGUAGE sql AS $$ DELETE FROM counts WHERE category = 'one' $$;
CREATE FUNCTION other(e msgstore.stream_event, n int) RETURNS void LANGUAGE sql AS '';
CREATE FUNCTION number(e msgstore.stream_event) RETURNS int LANGUAGE sql AS 'SELECT 1';
SQL

# Functions with other arguments or results are refused.
for my $function (qw(other number reset_counts))
{
	like(try_sql("SELECT msgstore.create_projection('p', 'one', '$function')"),
		qr/function "$function" cannot be a projection/, "$function cannot be a projection");
}
like(try_sql("SELECT msgstore.create_projection('p', 'one', 'apply_one', 'apply_one')"),
	qr/function "apply_one" cannot reset a projection/, 'nor reset one');
like(try_sql("SELECT msgstore.create_projection('p', 'one', 'apply_one', batch_size => 0)"),
	qr/invalid batch size/, 'the batch size is positive');
like(try_sql("SELECT msgstore.create_projection('p', 'one', NULL)"), qr/"function" is null/, 'a function is needed');

# The worker applies events that are there, and each that is appended.
sub append { my ($stream, @what) = @_; return sql(join ';', map { "SELECT msgstore.append('$stream', 'x', '{\"what\": \"$_\"}')" } @what) }
append('one-1', ('count') x 3);
sql("SELECT msgstore.create_projection('one', 'one', 'apply_one', 'reset_counts')");
sql("SELECT msgstore.create_projection('many', NULL, 'apply_batch', batch_size => 10)");
my $of_one = q{SELECT string_agg(n::text, ',' ORDER BY n) FROM (SELECT DISTINCT n FROM counts WHERE category = 'one') c};
is(sql("SELECT msgstore.wait_for('one', msgstore.latest_position(), '180 s'),
	msgstore.wait_for('many', msgstore.latest_position(), '180 s')"), 't|t', 'events that are there are applied');
is(sql("SELECT count(*), count(DISTINCT n) FROM counts"), '6|3', 'once by each projection');
append('one-1', 'count');
is(sql("SELECT msgstore.wait_for('one', msgstore.latest_position(), '180 s')"), 't', 'an append wakes the worker');
# The order of commits is not that of positions.
my $open = $node->background_psql('store');
$open->query_safe(q{BEGIN; SELECT msgstore.append('one-2', 'x', '{"what": "count"}')});
append('one-1', 'count');
$open->query_safe('COMMIT');
$open->quit;
is(sql("SELECT msgstore.wait_for('one', msgstore.latest_position(), '180 s')"), 't',
	'the end of an open append wakes it');
is(sql(q{SELECT count(*) FROM counts WHERE category = 'one'}), '12', 'no event is missing');
$open = $node->background_psql('store');
$open->query_safe(q{BEGIN; SELECT msgstore.append('else-1', 'x', '{}')});
append('one-3', 'count');
$open->query_safe('ROLLBACK');
$open->quit;
is(sql("SELECT msgstore.wait_for('one', msgstore.latest_position(), '180 s'),
	msgstore.wait_for('many', msgstore.latest_position(), '180 s')"), 't|t', 'so does that of an append to another category');
is(sql(q{SELECT name, state, lag_events, attempts FROM msgstore.list_projections()}),
	"many|running|0|0\none|running|0|0", 'both are running');

# A failing event is retried, parked, and holds up nothing but the later events of
# its projection meanwhile.
append('one-1', 'fail', 'count');
becomes(q{SELECT reason FROM msgstore.list_parked('one')}, 'P0001: event 6 fails', 'an event that keeps failing is parked');
becomes(q{SELECT state, lag_events, attempts, error_code, error_message FROM msgstore.list_projections() WHERE name = 'one'},
	'running|0|0|P0001|event 6 fails', 'the projection goes on behind it');
like(try_sql(q{SELECT msgstore.retry_parked('one')}), qr/event 6 fails/, 'it still fails');
is(sql(q{SELECT count(*) FROM msgstore.list_parked('one')}), 1, 'and remains parked');
sql(q{DELETE FROM broken WHERE what = 'fail'});
is(sql(q{SELECT msgstore.retry_parked('one')}), 1, 'after a repair it is applied');
is(sql(q{SELECT count(*) FROM msgstore.list_parked('one')}), 0, 'and no longer parked');

# An event that kills the process is parked too; messages are processed.
# The server may restart before it answers.
try_sql(q{SELECT count(*) FROM msgstore.append_batch('[{"stream": "one-1", "type": "x", "data": {"what": "kill"}},
	{"stream": "one-1", "type": "x", "data": {"what": "count"}}]')});
becomes(q{SELECT reason FROM msgstore.list_parked('one')},
	'MS500: the process ended while it applied the event', 'an event that kills the process is parked');
becomes(q{SELECT lag_events FROM msgstore.list_projections() WHERE name = 'one'}, '0', 'the projection goes on behind it');
# So is one that takes too long.
$node->append_conf('postgresql.conf', "msgstore.projection_timeout = '100ms'");
$node->reload;
append('one-1', 'sleep', 'count');
becomes(q{SELECT left(reason, 5) FROM msgstore.list_parked('one') ORDER BY global_position DESC LIMIT 1},
	'57014', 'an event that takes too long is parked');
$node->append_conf('postgresql.conf', "msgstore.projection_timeout = '60s'");
$node->reload;
is(sql(q{SELECT sum(n) - sum(distinct_n) FROM (SELECT count(*) AS n, 2 * count(DISTINCT n) AS distinct_n
	FROM counts WHERE category = 'one' GROUP BY n HAVING count(*) > 2 AND n > 1) c}), '', 'nothing is applied twice');

# Locks of a user hold up the projection only, and do not count as failures.
$open = $node->background_psql('store');
$open->query_safe('BEGIN; LOCK TABLE counts');
append('one-1', 'count');
sql(q{SELECT msgstore.ingest('sms', event('while-locked'))});
wait_for_processed($node, 'store', 'messages are processed while the table of a projection is locked');
$open->query_safe('COMMIT');
is(sql("SELECT msgstore.wait_for('one', msgstore.latest_position(), '180 s')"), 't', 'then it goes on');
is(sql(q{SELECT attempts FROM msgstore.list_projections() WHERE name = 'one'}), 0, 'without a failure');
$open->query_safe(q{BEGIN; SELECT msgstore.seek('one', position) FROM msgstore.list_projections() WHERE name = 'one'});
append('one-1', 'count');
sql(q{SELECT msgstore.ingest('sms', event('while-moved'))});
wait_for_processed($node, 'store', 'and while somebody moves it');
$open->query_safe('COMMIT');
is(sql("SELECT msgstore.wait_for('one', msgstore.latest_position(), '180 s')"), 't', 'then it goes on');

# Paused, and rebuilt.
sql(q{SELECT msgstore.pause_projection('one')});
append('one-1', 'count');
is(sql("SELECT msgstore.wait_for('many', msgstore.latest_position(), '180 s')"), 't', 'others continue');
is(sql(q{SELECT state, lag_events FROM msgstore.list_projections() WHERE name = 'one'}), 'paused|1', 'a paused projection waits');
sql(q{SELECT msgstore.resume_projection('one')});
is(sql("SELECT msgstore.wait_for('one', msgstore.latest_position(), '180 s')"), 't', 'until it is resumed');
sql(q{DELETE FROM broken; BEGIN; SELECT msgstore.rebuild_projection('one'); SELECT msgstore.pause_projection('one'); COMMIT});
is(sql(q{SELECT state, rebuild_progress, parked_events, (SELECT count(*) FROM counts WHERE category = 'one')
	FROM msgstore.list_projections() WHERE name = 'one'}), 'paused|0|0|0', 'a rebuild begins with an empty table');
sql(q{SELECT msgstore.resume_projection('one')});
is(sql("SELECT msgstore.wait_for('one', msgstore.latest_position(), '180 s')"), 't', 'all events are applied again');
becomes(q{SELECT state, rebuild_progress FROM msgstore.list_projections() WHERE name = 'one'}, 'running|1', 'and the rebuild is complete');
is(sql(q{SELECT (SELECT count(*) FROM counts WHERE category = 'one') = (SELECT count(*) FROM msgstore.read_category('one'))}),
	't', 'no event is missing');

# The function runs as the role that created it, which cannot become another one.
sql(<<'SQL');
SET ROLE owner;
CREATE TABLE who (name text);
CREATE FUNCTION note(e msgstore.stream_event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF e.type = 'escape' THEN
        RESET ROLE;
    END IF;
    INSERT INTO who VALUES (current_user || ' ' || current_setting('search_path') || ' ' || current_setting('msgstore.tenant_id'));
END $$;
SET search_path = public, pg_temp;
SELECT msgstore.create_projection('who', 'who', 'note');
RESET ROLE;
SET msgstore.tenant_id = 'acme';
SELECT msgstore.append('who-1', 'x', '{}');
RESET msgstore.tenant_id;
SELECT msgstore.append('who-1', 'x', '{}');
SELECT msgstore.append('who-1', 'escape', '{}');
SQL
becomes(q{SELECT left(reason, 6) FROM msgstore.list_parked('who')}, '42501:', 'RESET ROLE is refused');
is(sql('SELECT * FROM who'), 'owner public, pg_temp ', 'it has the role, the search_path and the tenant of its creator');
like(try_sql(q{SELECT msgstore.resize_subscription('who', 2)}), qr/cannot have several members/, 'it has one member');

# A renamed projection goes on; a dropped one is gone; a missing function is an error.
sql(q{SELECT msgstore.rename_subscription('one', 'uno')});
append('one-1', 'count');
is(sql("SELECT msgstore.wait_for('uno', msgstore.latest_position(), '180 s')"), 't', 'renamed');
sql(q{DROP FUNCTION apply_batch});
append('one-1', 'count');
becomes(q{SELECT error_code FROM msgstore.list_projections() WHERE name = 'many'}, '42883', 'a missing function');
is(sql(q{SELECT finding, subject FROM msgstore.check()}),
	'unusable projection|public.apply_batch(msgstore.stream_event[]) of projection many', 'is found by check()');
sql(q{SELECT msgstore.drop_subscription('many'), msgstore.drop_subscription('uno')});
is(sql(q{SELECT name FROM msgstore.list_projections()}), 'who', 'dropped');
is(violations($node, 'store'), '', 'all invariants hold');

# The worker seals the events of each tenant, and does not wait for who holds the seals.
$node->append_conf('postgresql.conf', "msgstore.seal_interval = '2s'");
$node->reload;
becomes(q{SELECT intact, events > 10, unsealed FROM msgstore.verify_log()}, 't|t|0', 'the worker seals the log');
becomes(q{SET msgstore.tenant_id = 'acme'; SELECT intact, events, unsealed FROM msgstore.verify_log()}, 't|1|0',
	'that of each tenant');
append('one-1', 'count');
becomes(q{SELECT intact, seals > 1, unsealed FROM msgstore.verify_log()}, 't|t|0', 'and what is appended later');
$node->append_conf('postgresql.conf', 'msgstore.workers = 0');
$node->reload;
becomes(q{SELECT count(*) FROM msgstore.stat_worker WHERE pid IS NOT NULL}, '0', 'the worker has stopped');
append('one-1', 'count');
$open->query_safe('BEGIN; LOCK TABLE msgstore.stream_seals IN SHARE UPDATE EXCLUSIVE MODE');
is(sql('SELECT msgstore._seal_turn(); SELECT unsealed FROM msgstore.verify_log()'), "1000\n1",
	'a turn comes again a second later');
$open->query_safe('COMMIT');
is(sql('SELECT msgstore._seal_turn(); SELECT unsealed FROM msgstore.verify_log()'), "2000\n0",
	'and seals when the seals are free');

# A lock that is not free is no failed attempt.
sql(<<'SQL');
CREATE TABLE held (version bigint);
CREATE FUNCTION put_held(e msgstore.stream_event) RETURNS void LANGUAGE sql AS 'INSERT INTO held VALUES (e.version)';
SELECT msgstore.create_projection('held', 'held', 'put_held'), msgstore.append('held-1', 'x', '{}');
SQL
my $state = q{SELECT state, attempts, lag_events, parked_events, error_code, (SELECT count(*) FROM held)
	FROM msgstore.list_projections() WHERE name = 'held'};
$open->query_safe('BEGIN; LOCK TABLE held IN EXCLUSIVE MODE');
sql('SELECT msgstore._projection_turn(false)') for 1 .. 2;
is(sql($state), 'running|0|1|0||0', 'a turn that waits for a lock is no failed attempt');
$open->query_safe('COMMIT');
# A turn that has used up its time leaves the rest to the next one.
becomes("DO 'BEGIN PERFORM msgstore._projection_turn(false); END'; $state", 'running|0|0|0||1', 'a later one applies the event');
$open->quit;
done_testing();
