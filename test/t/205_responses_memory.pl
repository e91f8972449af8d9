# The in-memory store of responses: many sessions, limits, crashes, restarts.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::Bin/..";
use MsgstoreServer;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);

my $node = new_server('memory', "msgstore.workers = 0\nmsgstore.memory_size = 4MB");
$node->start;
$node->safe_psql('postgres', q{
	CREATE DATABASE store;
	ALTER DATABASE store SET msgstore.response_store = memory});
my $helpers = q{
	CREATE FUNCTION save(id text, text text DEFAULT '') RETURNS text LANGUAGE sql
	RETURN msgstore.save_response(jsonb_build_object('id', id, 'status', 'completed',
		'model', 'm', 'text', text, 'digest', md5(text)));
	CREATE FUNCTION tried(command text) RETURNS text LANGUAGE plpgsql AS $$
	BEGIN
		EXECUTE command;
		RETURN 'done';
	EXCEPTION WHEN OTHERS THEN
		IF SQLSTATE NOT LIKE 'MS%' THEN RAISE; END IF;
		RETURN SQLSTATE || ' ' || SQLERRM;
	END $$;
	CREATE TABLE outcomes (outcome text);
	CREATE TABLE claims (id text);
};
sub make_store { $node->safe_psql('store', "CREATE EXTENSION msgstore; $helpers"); return }
make_store();

sub sql { return $node->safe_psql('store', $_[0]) }
sub kept { return sql('SELECT count(*) FROM msgstore._memory_responses()') }

# Starts sessions that run the script repeatedly. Returns a function that waits
# for them and returns their errors.
sub sessions
{
	my ($n, $times, $script, %more) = @_;
	my $file = PostgreSQL::Test::Utils::tempdir() . '/script.sql';
	append_to_file($file, $script);
	my $harness = IPC::Run::start(
		[   'pgbench', '-n', '-c', $n, '-j', 2, @{ $more{options} // [] },
			$times =~ /s$/ ? ('-T', $times =~ s/s$//r) : ('-t', $times),
			'-h', $node->host, '-p', $node->port, '-f', $file, $more{database} // 'store'
		],
		'>', \my $stdout, '2>', \my $stderr);
	return sub { $harness->finish; return $stderr };
}

# A hundred sessions save at once, and at most fifty responses are kept.
sql('ALTER DATABASE store SET msgstore.memory_max_responses = 50');
my $finish = sessions(100, 100,
	"\\set id random(1, 1000000000)\n"
	  . "SELECT tried(format('SELECT save(%L, repeat(''é'', %s))', 'r' || :id, :id % 3000));\n"
	  . "SELECT tried(format('SELECT msgstore.get_response(%L)', 'r' || :id));\n"
	  . "SELECT tried(format('SELECT msgstore.update_response(%L, jsonb_build_object(''output'', jsonb_build_array(repeat(''x'', %s))))', 'r' || :id, :id % 4000));\n"
	  . "SELECT tried(format('SELECT msgstore.delete_response(%L)', 'r' || :id)) WHERE :id % 5 = 0;\n");
my $most = 0;
for (1 .. 100)
{
	my $now = kept();
	$most = $now if $now > $most;
	sleep 0.02;
}
like($finish->(), qr/\A(?!.*(ERROR|FATAL|aborted)).*\z/s, 'a hundred sessions at once');
cmp_ok($most, '<=', 50, 'never more than the limit');
is(kept(), 50, 'as many as the limit in the end');
is( sql(q{SELECT count(*) FROM msgstore._memory_responses() r,
		LATERAL (SELECT msgstore.get_response_for_chain(r.id) AS d) g
		WHERE d ->> 'id' = r.id AND md5(d ->> 'text') = d ->> 'digest'}),
	50,
	'each of them complete');

# The memory is limited, too: 4 MB, whatever the number of responses.
sql('ALTER DATABASE store SET msgstore.memory_max_responses = 0');
sql(q{SELECT save('s' || i, repeat('x', 100000)) FROM generate_series(1, 200) i});
cmp_ok(kept(), '<', 42, 'no more than fit into the memory');
cmp_ok(kept(), '>', 35, 'about as many as fit');
is(sql(q{SELECT min(length(msgstore.get_response('s' || i) ->> 'text')) FROM generate_series(170, 200) i}),
	100000, 'the newest are kept');
like( sql(q{SELECT tried($$SELECT save('large', repeat('x', 5000000))$$)}),
	qr/^MS413 response of \d+ bytes exceeds the in-memory store of \d+ bytes$/,
	'a response that does not fit into the empty store is refused');
cmp_ok(kept(), '>', 35, 'and evicts nothing');
is( $node->psql('store', 'SET msgstore.memory_size = 1024'), 3, 'a session cannot change the size');

# Twenty sessions save one ID: one succeeds.
for my $store (qw(memory durable))
{
	my $set = "SET msgstore.response_store = $store;\n";
	sql('TRUNCATE outcomes, claims');
	$finish = sessions(20, 1, $set . q{INSERT INTO outcomes SELECT tried($$SELECT save('same')$$);});
	is($finish->() =~ /ERROR/ ? 1 : 0, 0, "$store: twenty sessions save one id");
	is( sql('SELECT outcome, count(*) FROM outcomes GROUP BY 1 ORDER BY 1'),
		"MS409 response already exists|19\ndone|1", 'one succeeds');

	# Ten workers claim a hundred queued responses, each once.
	sql($set . q{SELECT count(msgstore.save_response(jsonb_build_object('id', 'q' || i, 'status', 'queued',
		'model', 'm', 'background', true))) FROM generate_series(1, 100) i});
	$finish = sessions(10, 20, $set . q{INSERT INTO claims SELECT id FROM msgstore.claim_response('w' || :client_id);});
	is($finish->() =~ /ERROR/ ? 1 : 0, 0, 'ten workers claim');
	is(sql('SELECT count(*), count(DISTINCT id) FROM claims'), '100|100', 'each once');
}

# The in-memory store writes no WAL.
my ($before, $after) = split /\n/, sql(q{
	SELECT pg_current_wal_insert_lsn();
	DO $$ BEGIN PERFORM save('w' || i, 'text'), msgstore.update_response('w' || i, '{"output": [1]}'),
		msgstore.get_response('w' || i), msgstore.delete_response('w' || i) FROM generate_series(1, 1000) i; END $$;
	SELECT pg_current_wal_insert_lsn()});
is($after, $before, 'a thousand responses write no WAL');

# A crash of a session empties the in-memory store and nothing else.
$finish = sessions(10, '60s', "\\set id random(1, 1000000000)\nSELECT save('c' || :id, repeat('x', 1000));\n");
my $pid = eventually(
	sub {
		return sql(q{SELECT pid FROM pg_stat_activity
			WHERE query LIKE 'SELECT save(''c''%' AND pid <> pg_backend_pid() LIMIT 1});
	});
kill 'KILL', $pid;
$finish->();
eventually(sub { answer_of($node, 'store', 'SELECT 1') });
is(kept(), 0, 'empty after a crash');
is(sql(q{SELECT save('new')}), 'new', 'and usable');
is(sql(q{SET msgstore.response_store = durable; SELECT count(*) FROM msgstore.responses}), 101, 'the table kept its rows');
$node->restart;
is(kept(), 0, 'empty after a restart');
is( sql(q{SELECT tried($$SELECT msgstore.get_response('new')$$)}), 'MS404 response not found', 'the lost response is not found');

# A dump contains the durable store.
my $dump = PostgreSQL::Test::Utils::tempdir() . '/dump.sql';
$node->command_ok([ 'pg_dump', '-p', $node->port, '-h', $node->host, '-f', $dump, 'store' ], 'dumped');
$node->safe_psql('postgres', 'CREATE DATABASE copy');
$node->command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-p', $node->port, '-h', $node->host, '-f', $dump, 'copy' ], 'restored');
is( $node->safe_psql('copy', 'SELECT count(msgstore.get_response_for_chain(r.id)) FROM msgstore.responses r'),
	101, 'with all responses');

# The worker keeps looking after the responses in memory, whatever its own
# setting, and stops when there are none.
sql('ALTER DATABASE store RESET msgstore.response_store');
my $memory = 'SET msgstore.response_store = memory;';
sql('DELETE FROM msgstore.responses WHERE background');
is(sql("$memory SELECT count(*) FROM msgstore._memory_responses() WHERE background"), 0, 'nothing in the background');
is(sql('SELECT msgstore._response_turn()'), -1, 'the worker has nothing to do');
sql(qq{$memory SELECT save('plain'), msgstore.save_background('{"id": "waits", "status": "queued", "model": "m", "background": true}', '{}')});
is(sql('SELECT msgstore._response_turn()'), 60000, 'it looks again in a minute');
sql("$memory SELECT msgstore.cancel_response('waits')");
is(sql("$memory SELECT msgstore._forget_response(tenant_id, id, version) FROM msgstore._memory_responses() WHERE id = 'waits'"), 't', 'removed');
is(sql('SELECT msgstore._response_turn()'), -1, 'and no more');
sql('ALTER DATABASE store SET msgstore.response_store = memory');

# The worker fails stale responses in both stores.
$node->safe_psql('postgres', $_)
  for 'ALTER SYSTEM SET msgstore.workers = 1', q{ALTER SYSTEM SET msgstore.response_stale_after = '1s'};
$node->reload;
wait_for_workers($node, 'store', 1);
for my $store (qw(memory durable))
{
	my $in = "SET msgstore.response_store = $store;";
	sql(qq{$in SELECT msgstore.save_background('{"id": "silent-$store", "status": "queued", "model": "m",
		"background": true}', '{}')});
	sql("$in SELECT id FROM msgstore.claim_response('dies')");
	# It checks once a minute, and whenever something else wakes it.
	ok( eventually(
			sub {
				sql('SELECT msgstore._announce()');
				return sql("$in SELECT msgstore.get_response('silent-$store') ->> 'status'") eq 'failed';
			}),
		"$store: what is silent is failed by the worker");
}
$node->safe_psql('postgres', $_)
  for 'ALTER SYSTEM SET msgstore.workers = 0', q{ALTER SYSTEM RESET msgstore.response_stale_after};
$node->reload;
wait_for_workers($node, 'store', 0);

# Without preloading, the in-memory store reports an error and the table works.
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$node->restart;
for my $call (
	q{save('x')}, q{msgstore.get_response('x')}, q{msgstore.list_responses()}, q{msgstore.delete_response('x')},
	q{msgstore.claim_response('w')}, q{msgstore.response_chain('x')}, q{msgstore.purge_responses('1 day')})
{
	is(sql("SELECT tried(\$\$SELECT $call\$\$)"),
		'MS503 in-memory response store is not available', "not preloaded: $call");
}
my ($code, undef, $said) = $node->psql('store', q{SELECT save('x')});
like($said, qr/DETAIL:  The store needs shared memory.*HINT:  Add msgstore to "shared_preload_libraries"/s, 'and the error says what to do');
is(sql(q{SET msgstore.response_store = durable; SELECT save('x')}), 'x', 'the table works');
is(sql('SELECT msgstore._response_housekeeping()'), 0, 'and so does the periodic task of the worker');

$node->stop;
done_testing();
