# The functions of message_store return what those of Message DB return, shown by
# the same calls in both. The interfaces of msgstore and Message DB show the same
# events.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::Bin/..";
use MsgstoreServer;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $directory = PostgreSQL::Test::Utils::tempdir();
my $tool = "$FindBin::Bin/../../bench/message_db";
my $node = new_server('message_store', 'msgstore.workers = 0');
$node->start;
add_database($node, 'store');
$node->safe_psql('store', 'CREATE ROLE message_store; SELECT msgstore.install_message_store()');

sub sql { return $node->safe_psql('store', $_[0]) }

# Both interfaces show the same events.
sql(q{SELECT msgstore.append('account-1', 'Opened', '{"a": 1}');
	SELECT message_store.write_message('00000000-0000-4000-8000-000000000001', 'account-1', 'Paid', '{"b": 2}', '{"m": 1}', 0)});
is( sql(q{SELECT position, type, data FROM message_store.get_stream_messages('account-1')}),
	qq(0|Opened|{"a": 1}\n1|Paid|{"b": 2}), 'an appended event is a message');
is( sql(q{SELECT version, event_id, metadata FROM msgstore.last_event('account-1')}),
	'2|00000000-0000-4000-8000-000000000001|{"m": 1}', 'a written message is an event');
my ($code, $stdout, $stderr) = $node->psql('store', 'SELECT msgstore.install_message_store()');
like($stderr, qr/schema "message_store" already exists/, 'a second installation is refused');

# The role message_store has all rights that clients need. A condition is SQL of
# the client and runs with the client's rights.
is( sql(q{SET ROLE message_store; SET search_path = message_store;
		SELECT write_message(gen_random_uuid()::varchar, 'role-1', 'x', '{}');
		SELECT count(*) FROM get_category_messages('role');
		SELECT count(*) FROM type_summary}),
	"0\n1\n3", 'the role message_store can use the interface');
for my $condition ('(SELECT count(*) FROM msgstore.stream_events) > 0', 'pg_read_file(\'/etc/passwd\') IS NULL')
{
	($code, $stdout, $stderr) = $node->psql('store', "SET ROLE message_store;
		SET message_store.sql_condition = on;
		SELECT message_store.get_stream_messages('role-1', condition => \$c\$$condition\$c\$)");
	like($stderr, qr/permission denied/, "a condition has only the rights of the caller: $condition");
}
# A condition cannot read events of another tenant.
is( sql(q{SET msgstore.tenant_id = 'a'; SET message_store.sql_condition = on;
		SELECT count(*) FROM message_store.get_stream_messages('account-1', condition => 'true) OR (true')}),
	0, 'a condition cannot read events of another tenant');
# Readers of a category stop before an open transaction.
my $open = $node->background_psql('store');
$open->query_safe(q{BEGIN; SELECT message_store.write_message(gen_random_uuid()::varchar, 'role-2', 'x', '{}')});
is( sql(q{SELECT message_store.write_message(gen_random_uuid()::varchar, 'role-3', 'x', '{}');
		SELECT count(*) FROM message_store.get_category_messages('role')}),
	"0\n1", 'readers of a category stop before an open transaction');
$open->quit;

# Differences that docs/streams.md lists.
for my $refused (
	[ q{INSERT INTO message_store.messages (stream_name, position, type) VALUES ('gap-1', 7, 'x')},
		qr/Wrong expected version: 6 \(Stream: gap-1, Stream Version: -1\)/ ],
	[ q{INSERT INTO message_store.messages (stream_name, position, type, global_position) VALUES ('gap-1', 0, 'x', 7)},
		qr/cannot insert a value into column "global_position"/ ],
	[ 'TRUNCATE message_store.messages', qr/"messages" is not a table/ ])
{
	($code, $stdout, $stderr) = $node->psql('store', $refused->[0]);
	like($stderr, $refused->[1], "refused: $refused->[0]");
}

# Notices.
($code, $stdout, $stderr) = $node->psql('store', q{SET message_store.debug_write = on;
	SELECT message_store.write_message('00000000-0000-4000-8000-0000000000d0', 'debug-1', 'x', '{"a": 1}', NULL, -1);
	SELECT message_store.get_last_stream_message('debug-1')});
like($stderr, qr/ write_message\n.*id \(\$1\): 00000000-0000-4000-8000-0000000000d0\n.*stream_name \(\$2\): debug-1\n.*data \(\$4\): \{"a": 1\}\n.*metadata \(\$5\): <NULL>\n.*expected_version \(\$6\): -1\n.*_stream_version: -1\n.*_next_position: 0/s,
	'debug_write shows what is written');
unlike($stderr, qr/get_last_message/, 'and not what is read');
($code, $stdout, $stderr) = $node->psql('store', q{SET message_store.debug = on;
	SELECT message_store.get_last_stream_message('debug-1');
	SELECT message_store.get_stream_messages('debug-1');
	SELECT message_store.get_category_messages('debug');
	SELECT message_store.acquire_lock('debug-1')});
like($stderr, qr/ get_last_message.* get_stream_messages.*condition \(\$4\): <NULL>.*Generated Command: SELECT.* get_category_messages.* acquire_lock.*_category: debug/s,
	'debug shows all calls');

# The same calls to both.
my $calls = <<'SQL';
SET search_path = message_store, public;
SET timezone = 'UTC';
SELECT write_message('00000000-0000-4000-8000-000000000011', 'someStream-1', 'A', '{"n": 1, "s": "ünïcode"}');
SELECT write_message('00000000-0000-4000-8000-000000000012', 'someStream-1', 'B', '{"n": 2}', '{"correlationStreamName": "other-7"}');
SELECT write_message('00000000-0000-4000-8000-000000000013', 'someStream-2+x', 'A', '{"n": 3}', NULL, -1);
SELECT write_message('00000000-0000-4000-8000-000000000014', 'someStream-2+y', 'A', '{"n": 4}', '{}', -1);
SELECT write_message('00000000-0000-4000-8000-000000000015', 'someStream-1', 'A', '{"n": 5}', NULL, 1);
SELECT write_message('00000000-0000-4000-8000-000000000016', 'someStream-1', 'A', '{"n": 6}', NULL, 1);
SELECT write_message('00000000-0000-4000-8000-000000000016', 'someStream-1', 'A', '{"n": 6}', NULL, -1);
SELECT write_message('00000000-0000-4000-8000-000000000016', 'none-1', 'A', '{"n": 6}', NULL, 7);
SELECT write_message('00000000-0000-4000-8000-000000000017', 'someStream', 'C', '{"n": 7}');
SELECT write_message('00000000-0000-4000-8000-000000000018', 'other-1', 'C', NULL);
SELECT * FROM get_stream_messages('someStream-1');
SELECT * FROM get_stream_messages('someStream-1', 1, 1);
SELECT * FROM get_stream_messages('someStream-1', 1, -1);
SELECT * FROM get_stream_messages('someStream-1', NULL, NULL);
SELECT * FROM get_stream_messages('someStream');
SELECT * FROM get_stream_messages('none-1');
SELECT * FROM get_stream_messages('someStream-1', condition => 'position = 0');
SELECT * FROM get_category_messages('someStream');
SELECT * FROM get_category_messages('someStream', 2, 2);
SELECT * FROM get_category_messages('someStream', batch_size => -1);
SELECT * FROM get_category_messages('someStream', correlation => 'other');
SELECT * FROM get_category_messages('someStream', correlation => 'other-7');
SELECT * FROM get_category_messages('someStream', consumer_group_member => 0, consumer_group_size => 2);
SELECT * FROM get_category_messages('someStream', consumer_group_member => 1, consumer_group_size => 2);
SELECT * FROM get_category_messages('someStream', consumer_group_member => 2, consumer_group_size => 3);
SELECT * FROM get_category_messages('someStream', consumer_group_member => 0);
SELECT * FROM get_category_messages('someStream', consumer_group_size => 1);
SELECT * FROM get_category_messages('someStream', consumer_group_member => 0, consumer_group_size => 0);
SELECT * FROM get_category_messages('someStream', consumer_group_member => -1, consumer_group_size => 1);
SELECT * FROM get_category_messages('someStream', consumer_group_member => 1, consumer_group_size => 1);
SELECT * FROM get_category_messages('someStream-1');
SELECT * FROM get_category_messages('none');
SELECT * FROM get_category_messages('someStream', condition => 'position = 0');
SET message_store.sql_condition = on;
SELECT * FROM get_stream_messages('someStream-1', condition => 'position = 0');
SELECT * FROM get_category_messages('someStream', condition => 'data->>''n'' = ''3''');
SET message_store.sql_condition = off;
SELECT * FROM get_category_messages('someStream', condition => 'position = 0');
SELECT * FROM get_last_stream_message('someStream-1');
SELECT * FROM get_last_stream_message('someStream-1', 'B');
SELECT * FROM get_last_stream_message('someStream-1', 'X');
SELECT * FROM get_last_stream_message('none-1');
SELECT stream_version('someStream-1'), stream_version('none-1');
SELECT s, category(s), is_category(s), id(s), cardinal_id(s), hash_64(s)
FROM unnest(ARRAY['a-1', 'a-1+2', 'a', 'a-', '-', '', 'a-b-c+d+e', 'ä-ü', NULL]) s;
SELECT acquire_lock('someStream-1'), message_store_version();
SELECT * FROM category_type_summary;
SELECT * FROM type_category_summary;
SELECT * FROM stream_summary;
SELECT * FROM stream_type_summary;
SELECT * FROM type_stream_summary;
SELECT * FROM type_summary;
SELECT write_message('00000000-0000-4000-8000-000000000011', 'someStream-9', 'A', '{}');
SELECT write_message('x', 'someStream-9', 'A', '{}');
SELECT write_message(NULL, 'someStream-9', 'A', '{}');
SELECT write_message(NULL, 'someStream-1', 'A', '{}', NULL, 77);
SELECT write_message('00000000-0000-4000-8000-000000000019', NULL, 'A', '{}');
SELECT write_message('00000000-0000-4000-8000-000000000019', 'someStream-9', NULL, '{}', NULL, -1);
INSERT INTO messages (id, stream_name, position, type, data, time)
VALUES ('00000000-0000-4000-8000-000000000019', 'inserted-1', 0, 'A', '{"n": 8}', '2020-01-01') RETURNING id, position, time, global_position > 0;
INSERT INTO messages (stream_name, position, type) VALUES ('inserted-1', 1, 'B');
INSERT INTO messages (id, stream_name, position, type) VALUES ('00000000-0000-4000-8000-000000000019', 'inserted-1', 2, 'B');
INSERT INTO messages (stream_name, position, type) VALUES ('inserted-1', 1, 'B');
INSERT INTO messages (id, stream_name, position, type) VALUES (NULL, 'inserted-1', 2, 'B');
INSERT INTO messages (stream_name, position, type) VALUES ('inserted-1', NULL, 'B');
INSERT INTO messages (stream_name, position, type) VALUES ('inserted-1', 2, NULL);
SELECT position, type, data, metadata, extract(year FROM time) > 2020 AS recent, id IS NOT NULL AS has_id FROM get_stream_messages('inserted-1');
SQL

# The output of the calls, including errors, without times.
sub answers
{
	my ($database) = @_;
	my $script = join "\n", map { "$_;\n\\echo ---" } split /;\n/, $calls;
	append_to_file("$directory/$database.sql", "\\set VERBOSITY terse\n$script");
	my ($stdout) = run_command([ 'bash', '-c',
			"psql -XqAt -d '" . $node->connstr($database) . "' -f $directory/$database.sql 2>&1" ]);
	$stdout =~ s/\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?/(time)/g;
	$stdout =~ s/^psql:[^ ]+ //gm;
	return $stdout;
}

SKIP:
{
	skip 'Message DB is not available', 1
	  if system("$tool unpack $directory/reference >/dev/null 2>&1") != 0;
	$node->safe_psql('postgres', 'CREATE DATABASE reference');
	$node->safe_psql('postgres', 'CREATE DATABASE own');
	$node->safe_psql('own', 'CREATE EXTENSION msgstore; SELECT msgstore.install_message_store()');
	{
		local $ENV{PGHOST} = $node->host;
		local $ENV{PGPORT} = $node->port;
		local $ENV{PGDATABASE} = 'reference';
		system_or_bail($tool, 'install', "$directory/reference");
	}
	my @own = split /^---$/m, answers('own');
	my @reference = split /^---$/m, answers('reference');
	my @calls = split /;\n/, $calls;
	cmp_ok(scalar @own, '>', 50, 'all calls were made');
	for my $i (0 .. $#reference)
	{
		is($own[$i], $reference[$i], 'same result as Message DB: ' . ($calls[$i] // 'all'));
	}
}

# A dump contains the interface.
command_ok([ 'pg_dump', '-d', $node->connstr('store'), '-f', "$directory/dump" ], 'dumped');
$node->safe_psql('postgres', 'CREATE DATABASE copy TEMPLATE template0');
command_ok([ 'psql', '-XqAt', '-o', '/dev/null', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('copy'),
		'-f', "$directory/dump" ], 'restored');
is( $node->safe_psql('copy', q{SELECT count(*) FROM message_store.get_stream_messages('account-1')}),
	2, 'the interface works in the restored database');
$node->stop;
done_testing();
