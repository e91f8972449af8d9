# A crash during a batch leaves none of its events, and readers continue.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::Bin/..";
use IPC::Run qw(start);
use MsgstoreServer;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('crash', 'msgstore.workers = 0');
$node->start;
add_database($node, 'store');
sub sql { return $node->safe_psql('store', $_[0]) }

sql(q{SELECT msgstore.append('before-1', 'x', '{}');
	SELECT msgstore.append_host_events('h-1', '[{"type": "HostCreated", "ip_address": "10.0.0.1", "hostname": "h"}]')});

# A trigger stops the batch between two rows by waiting for a lock, when some rows
# are already in the table. Then the server is killed.
sql(q{
	CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS
	$$BEGIN PERFORM pg_advisory_xact_lock(42); RETURN NEW; END$$;
	CREATE TRIGGER hold BEFORE INSERT ON msgstore.stream_events
	FOR EACH ROW WHEN (NEW.data @> '{"n": 500}') EXECUTE FUNCTION hold()});
sub caught_and_killed
{
	my ($call, $how) = @_;
	my $holder = $node->background_psql('store');
	$holder->query_safe('SELECT pg_advisory_lock(42)');
	my $open = $node->background_psql('store');
	$open->query_safe(q{BEGIN; SELECT msgstore.append('open-1', 'x', '{}')});
	my $out = '';
	my $batch = start([ 'psql', '-XqAt', '-d', $node->connstr('store'), '-c', $call ],
		'>&', \$out);
	ok( $node->poll_query_until('store', "SELECT count(*) = 1 FROM pg_locks
			WHERE locktype = 'advisory' AND NOT granted"), "$how: stopped in the middle");
	$node->stop('immediate');
	eval { $batch->finish };
	eval { $_->quit } for $holder, $open;
	$node->start;
	return;
}

caught_and_killed(q{SELECT count(*) FROM msgstore.append_batch((
	SELECT jsonb_agg(jsonb_build_object('stream', 'batch-' || n % 7, 'type', 'x',
		'data', jsonb_build_object('n', n))) FROM generate_series(1, 1000) n))}, 'append_batch');
is( sql('SELECT stream, version FROM msgstore.read_all()'),
	"before-1|1\nmsgstore:host-h-1|1", 'append_batch: none of its events is stored');
is(sql("SELECT msgstore.append('batch-1', 'x', '{}', 0)"), 1, 'its streams are empty');
is( sql('SELECT stream FROM msgstore.read_all() WHERE global_position > 2'),
	'batch-1', 'readers continue and do not wait for the lost transaction');
is( sql(q{SELECT msgstore.wait_for_events('batch', 0, '0')}), 't', 'neither do waiting sessions');

sql(q{
	DROP TRIGGER hold ON msgstore.stream_events;
	CREATE TRIGGER hold BEFORE INSERT ON msgstore.stream_events
	FOR EACH ROW WHEN (NEW.data ->> 'new_comment' = '50') EXECUTE FUNCTION hold()});
caught_and_killed(q{SELECT count(*) FROM msgstore.append_host_events('h-1', (
	SELECT jsonb_agg(jsonb_build_object('type', 'CommentUpdated', 'new_comment', n::text))
	FROM generate_series(1, 100) n), '1')}, 'append_host_events');
is( sql(q{SELECT msgstore.host_sequence('h-1'), h.comment IS NULL, h.version = msgstore.host_version('h-1')
		FROM msgstore.host_by_id('h-1') h}),
	'1|t|t', 'append_host_events: neither the events nor the host have changed');

sql(q{DROP TRIGGER hold ON msgstore.stream_events;
	SELECT msgstore.append_batch('[{"stream": "c-1", "type": "x", "data": {"n": 1}}, {"stream": "c-1", "type": "x", "data": {"n": 2}}]');
	CREATE TRIGGER hold BEFORE INSERT ON msgstore.stream_events
	FOR EACH ROW WHEN (NEW.type = 'Compacted') EXECUTE FUNCTION hold()});
caught_and_killed(q{SELECT msgstore.compact_stream('c-1', '{"n": 2}')}, 'compact_stream');
is(sql(q{SELECT msgstore.count_events('c-1'), msgstore.stream_state('c-1')}),
	'2|{"n": 2}', 'compact_stream: the events are still there');
sql('DROP TRIGGER hold ON msgstore.stream_events');

# A canceled append stores nothing.
my $holder = $node->background_psql('store');
$holder->query_safe(q{BEGIN; SELECT msgstore.append('d-1', 'x', '{}')});
my ($code, $stdout, $stderr) = $node->psql('store',
	q{SET statement_timeout = '200 ms'; SELECT msgstore.append('d-1', 'x', '{}')});
like($stderr, qr/canceling statement due to statement timeout/, 'a waiting append can be canceled');
$holder->query_safe('COMMIT');
$holder->quit;
is(sql("SELECT msgstore.count_events('d-1')"), 1, 'a canceled append stores nothing');

# Of 30 sessions with the same expected version one succeeds, as does one of 20
# that create the same host. Event ids are in the order of commits.
sub at_once
{
	my ($n, $call) = @_;
	my @out = ('') x $n;
	my @running = map {
		my $i = $_;
		(my $own = $call) =~ s/\?/$i/g;
		start([ 'psql', '-XqAt', '-d', $node->connstr('store'), '-c', '\set VERBOSITY sqlstate',
				'-c', $own ], '>&', \$out[$i]);
	} 0 .. $n - 1;
	$_->finish for @running;
	my %count;
	$count{ /MS409/ ? 'conflict' : /^\d+$/m ? 'stored' : "other: $_" }++ for @out;
	return join ', ', map { "$count{$_} $_" } sort keys %count;
}
is( at_once(30, "SELECT msgstore.append('e-1', 'x', '{}', 0)"),
	'29 conflict, 1 stored', 'one of 30 sessions with the same expected version succeeds');
is( at_once(30, q{SELECT max(seq) FROM msgstore.append_host_events('h-1',
		'[{"type": "CommentUpdated", "new_comment": "?"}]', '1')}),
	'29 conflict, 1 stored', 'the same with hosts');
is( at_once(20, q{SELECT max(seq) FROM msgstore.append_host_events('new-?',
		'[{"type": "HostCreated", "ip_address": "10.0.0.9", "hostname": "new"}]')}),
	'19 conflict, 1 stored', 'one of 20 sessions that create the same host succeeds');
is( at_once(20, q{SELECT max(seq) FROM msgstore.append_host_events('own-?',
		'[{"type": "HostCreated", "ip_address": "10.0.1.?", "hostname": "new"}]')}),
	'20 stored', '20 sessions that create different hosts succeed');
is( sql(q{SELECT count(*) FROM (SELECT event_id COLLATE "C" <= lag(event_id COLLATE "C")
			OVER (ORDER BY global_position) AS back FROM msgstore.host_events) e WHERE back}),
	0, 'event ids increase in global order');
is( sql(q{SELECT count(*) FROM (TABLE msgstore.host_entries_current EXCEPT
		SELECT id, ip_address, hostname, comment, tags, created_at, updated_at, version, aliases
		FROM msgstore.hosts_at('infinity')) d}),
	0, 'the current hosts match the events');

# After a restart, ids continue above a latest id that is in the future.
sql(q{SELECT msgstore.append_host_events('future', jsonb_build_array(jsonb_build_object('event_id',
	'7ZZZZZZZZZ0000000000000001', 'event', jsonb_build_object('type', 'HostCreated',
	'ip_address', '::1', 'hostname', 'f'))))});
$node->restart;
sql(q{SELECT msgstore.append_host_events('future', '[{"type": "HostDeleted"}]', '1')});
is(sql('SELECT msgstore.latest_host_event_id()'), '7ZZZZZZZZZ0000000000000002', 'ids increase after a restart');

$node->stop;
done_testing();
