# A tenant moves to another database while it is in use: what was accepted is there
# once, nothing is processed or sent twice, and both sides have the same digests.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::Bin/..";
use MsgstoreContent;
use MsgstoreLoad;
use MsgstoreServer;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('move', <<'CONF', allows_streaming => 'logical');
msgstore.workers = 0
msgstore.max_retries = 1
msgstore.claim_timeout = '1 h'
wal_level = logical
max_prepared_transactions = 5
max_worker_processes = 24
max_logical_replication_workers = 12
max_sync_workers_per_subscription = 8
max_replication_slots = 20
max_wal_senders = 20
CONF
$node->start;

sub sql { return $node->safe_psql($_[1] // 'source', $_[0]) }

# The tenant without a name moves; it has rows in every table. Its neighbor stays.
add_database($node, 'source');
add_database($node, 'target');
add_content($node, 'source');
add_handler_functions($node, 'target');
sql("SELECT msgstore.unfence_tenant('moving')");
my %map = (0 => '{"": 0, "acme": 0, "other": 1}', 1 => '{"": 1, "acme": 0, "other": 1}');
sub publish
{
	my ($version) = @_;
	sql("SELECT msgstore.set_slot_map(" . ($version + 10) . ", '$map{$version}')", $_) for qw(source target);
	return;
}
sql('SELECT msgstore.set_slot(0, 2)');
sql('SELECT msgstore.set_slot(1, 2)', 'target');
publish(0);

# The router's settings, by their rows.
my $settings = sql(q{SELECT 'SELECT jsonb_build_object('
	|| string_agg(format('%L, (SELECT coalesce(jsonb_agg(to_jsonb(t)), ''[]'') FROM msgstore.%I t)', name, name), ', ')
	|| ')' FROM msgstore._table_classes() WHERE class = 'published'});
$settings = sql($settings);
my $published = PostgreSQL::Test::Utils::tempdir . '/settings';
append_to_file($published, "SELECT msgstore.publish_settings(1, \$\$$settings\$\$)");
$node->command_ok([ 'psql', '-XqAt', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('target'), '-f', $published ],
	'settings are published');
my $rows_of_settings = sql(q{SELECT string_agg(format(
	'SELECT %L, md5(string_agg(to_jsonb(t)::text, '','' ORDER BY to_jsonb(t)::text COLLATE "C")) FROM msgstore.%I t', name, name), ' UNION ALL ')
	FROM msgstore._table_classes() WHERE class = 'published' AND name <> 'channels'});
is(sql($rows_of_settings, 'target'), sql($rows_of_settings), 'and are the same in both databases');
is( sql("SELECT name, thread, strict_order FROM msgstore.channels ORDER BY 1", 'target'),
	sql("SELECT name, thread, strict_order FROM msgstore.channels ORDER BY 1"), 'with the channels');
sql("SELECT msgstore.add_handler('whatsapp', 'handle')", 'target');

# The target has tenants of its own, and has drawn other numbers.
sql("SET msgstore.tenant_id = 'other'; SELECT ingest_many('other-', 30, 3); SELECT msgstore.process();
	SELECT msgstore.append('other-1', 'x', '{}')", 'target');

# The wait for a fence follows transactions that are prepared, and its time is limited.
sql("BEGIN; CREATE TABLE open (); PREPARE TRANSACTION 'open'");
sql("SELECT msgstore.fence_tenant('acme')");
my ($code, undef, $stderr) = $node->psql('source', "SELECT msgstore.wait_for_fence('acme', '0')");
like($stderr, qr/calls of tenant "acme" may still be open\nDETAIL:  .*prepared transaction "open"/,
	'a prepared transaction is waited for');
sql("COMMIT PREPARED 'open'");
is(sql("SELECT msgstore.wait_for_fence('acme', '1 hour'); SELECT msgstore.unfence_tenant('acme')"), "\nt", 'until it has ended');

# Clients of the tenant. They write until their calls are refused by MS421, and repeat
# those that are refused by MS503.
for my $database (qw(source target))
{
	sql(<<'SQL', $database);
CREATE TABLE accepted (n int PRIMARY KEY);
CREATE TABLE claimed (message_id uuid PRIMARY KEY, is_reported boolean NOT NULL DEFAULT false);
CREATE TABLE refused (code text, n bigint);
CREATE PROCEDURE write(first int, step int, most int) LANGUAGE plpgsql AS $$
DECLARE
	n int := first;
	code text;
	refusals bigint := 0;
BEGIN
	WHILE n < most LOOP
		BEGIN
			PERFORM msgstore.ingest('sms', event('load-' || n, '+180455500' || n % 50, 'load'), 'load-key-' || n);
			PERFORM msgstore.send('sms', event(NULL, '+180455500' || n % 50, 'answer ' || n));
			PERFORM msgstore.append('load-' || n % 7, 'x', to_jsonb(n));
			INSERT INTO accepted VALUES (n);
			n := n + step;
			code := NULL;
		EXCEPTION WHEN SQLSTATE 'MS503' OR SQLSTATE 'MS421' THEN
			code := SQLSTATE;
		END;
		COMMIT;
		EXIT WHEN code = 'MS421';
		PERFORM pg_sleep(0.002);
		refusals := refusals + (code IS NOT NULL)::int;
	END LOOP;
	INSERT INTO refused VALUES (coalesce(code, 'MS503'), refusals);
END
$$;
CREATE PROCEDURE work() LANGUAGE plpgsql AS $$
DECLARE
	id uuid;
	n int;
	is_last boolean;
BEGIN
	LOOP
		SELECT count(*) = 2 INTO is_last FROM refused;
		PERFORM msgstore.process(20);
		COMMIT;
		INSERT INTO claimed SELECT message_id FROM msgstore.claim_outbound('load', 5);
		GET DIAGNOSTICS n = ROW_COUNT;
		COMMIT;
		FOR id IN SELECT message_id FROM claimed WHERE NOT is_reported LOOP
			BEGIN
				PERFORM msgstore.sent(id, 'sent-' || id, 'load');
				UPDATE claimed SET is_reported = true WHERE message_id = id;
			EXCEPTION
				WHEN SQLSTATE 'MS503' THEN
				WHEN SQLSTATE 'MS404' OR SQLSTATE 'MS421' THEN EXIT;
			END;
		END LOOP;
		COMMIT;
		EXIT WHEN is_last AND n = 0;
	END LOOP;
END
$$;
SQL
}
is(sql("SELECT count(*) FROM msgstore.claim('outside', 3) WHERE tenant_id = ''"), 3, 'events are claimed outside');
my $output = PostgreSQL::Test::Utils::tempdir;
my @clients = map { start_psql($node, 'source', "$output/$_", '-c', "CALL write($_, 2, 1000000)") } 1, 2;
push @clients, start_psql($node, 'source', "$output/worker", '-c', 'CALL work()');
ok($node->poll_query_until('source', 'SELECT count(*) > 20 FROM accepted'), 'the tenant is in use');

# The copy. A subscription to the same server cannot create its slot by itself.
my $publication = sql("SELECT msgstore.tenant_publication('')");
sql("SELECT pg_create_logical_replication_slot('$publication', 'pgoutput')");
sql("CREATE SUBSCRIPTION moves CONNECTION \$\$" . $node->connstr('source') . "\$\$
	PUBLICATION $publication WITH (create_slot = false, slot_name = '$publication')", 'target');
ok( $node->poll_query_until('target', "SELECT bool_and(srsubstate = 'r') FROM pg_subscription_rel"),
	'the rows of the tenant are copied');
is(sql('SELECT count(*) FROM msgstore.event_queue', 'target'), 0, 'without the queue');
is(sql('SELECT msgstore._purge_turn()', 'target'), 1000, 'the purge of the target rests while rows arrive');
my $during = sql('SELECT max(n) FROM accepted');
ok($node->poll_query_until('source', "SELECT max(n) > $during + 20 FROM accepted"), 'while it is in use');

# The move.
sql("SELECT msgstore.fence_tenant('')");
sql("SELECT msgstore.wait_for_fence('', '1 hour')");
my $frozen = sql("SELECT count(*) FROM msgstore.event_log WHERE tenant_id = ''");
my $end = sql('SELECT pg_current_wal_insert_lsn()');
ok( $node->poll_query_until('source',
		"SELECT confirmed_flush_lsn >= '$end' FROM pg_replication_slots WHERE slot_name = '$publication'"),
	'the copy has caught up');
my $pages = "$output/pages";
sub export_and_import
{
	unlink $pages;
	sql("COPY (SELECT msgstore.export_tenant('')) TO '$pages'");
	return sql("CREATE TEMP TABLE pages (page jsonb); COPY pages FROM '$pages';
		SELECT sum(msgstore.import_tenant('', page)) FROM pages", 'target');
}
my $imported = export_and_import();
cmp_ok($imported, '>', 20, 'the queues are imported');
is(export_and_import(), $imported, 'and can be imported again');
my $digests = sql("SELECT * FROM msgstore.tenant_digest('')");
is(sql("SELECT * FROM msgstore.tenant_digest('')", 'target'), $digests, 'both sides have the same rows');
is(sql("SELECT count(*) FROM msgstore.event_log WHERE tenant_id = ''"), $frozen, 'which the fence has kept');
is( sql("SELECT msgstore.process(); SELECT count(*) FROM msgstore.claim_outbound('s'); SELECT count(*) FROM msgstore.claim('p')", 'target'),
	"0\n0\n0", 'the target does not touch them yet');
my $positions = sql("SELECT max(global_position) FROM msgstore.read_all(0, NULL)");
sql("SELECT msgstore.align_sequences('')", 'target');
sql("ALTER SUBSCRIPTION moves DISABLE; ALTER SUBSCRIPTION moves SET (slot_name = NONE)", 'target');
sql('DROP SUBSCRIPTION moves', 'target');
is(sql('SELECT msgstore._purge_turn()', 'target'), -1, 'and no longer when they are there');
$node->poll_query_until('source', "SELECT NOT active FROM pg_replication_slots WHERE slot_name = '$publication'");
sql("SELECT pg_drop_replication_slot('$publication')");
publish(1);
$_->finish for @clients;
is(join('', map { slurp_file($_) } glob "$output/*.err"), '', 'the clients have met no other error');
is(sql('SELECT count(*) FROM refused WHERE n > 0'), 2, 'they were refused meanwhile');

is( sql("SELECT msgstore.complete('outside', array_agg(event_id)) FROM msgstore.event_claims", 'target'),
	3, 'the claims are completed at the target');

# They go on at the target, where a sender reports what it had claimed at the source.
my $last = sql('SELECT max(n) FROM accepted') + 10;
for my $id (split /\n/, sql('SELECT message_id FROM claimed WHERE NOT is_reported'))
{
	sql("SELECT msgstore.sent('$id', 'sent-$id', 'load')", 'target');
}
@clients = map { start_psql($node, 'target', "$output/$_", '-c', "CALL write($_, 2, $last + 100)") } $last + 1, $last + 2;
push @clients, start_psql($node, 'target', "$output/worker", '-c', 'CALL work()');
$_->finish for @clients;
is(join('', map { slurp_file($_) } glob "$output/*.err"), '', 'they go on at the target');
sql("UPDATE msgstore.event_queue SET next_attempt_at = now() WHERE next_attempt_at < 'infinity'; SELECT msgstore.process()", 'target');

# Nothing is lost or doubled.
my %accepted = map { $_ => 1 } split /\n/, sql('SELECT n FROM accepted') . "\n" . sql('SELECT n FROM accepted', 'target');
my @stored = split /\n/, sql("SELECT substr(provider_message_id, 6) FROM msgstore.messages
	WHERE tenant_id = '' AND provider_message_id LIKE 'load-%'", 'target');
is(scalar @stored, scalar keys %accepted, 'each event that was accepted is a message');
is(scalar(grep { !$accepted{$_} } @stored), 0, 'and nothing else');
is( sql("SELECT count(*), count(DISTINCT data) FROM msgstore.stream_events WHERE tenant_id = '' AND stream LIKE 'load-%'", 'target'),
	@stored . '|' . @stored, 'so is each stream event');
my @sent = split /\n/, sql('SELECT message_id FROM claimed') . "\n" . sql('SELECT message_id FROM claimed', 'target');
my %sent = map { $_ => 1 } @sent;
is(scalar @sent, scalar keys %sent, 'no message was sent twice');
is(sql("SELECT count(*) FROM msgstore.outbox WHERE sender_id IS DISTINCT FROM 'b'", 'target'), 0, 'and none is left');
is(sql("SELECT count(*) FROM msgstore.deliveries WHERE provider_message_id LIKE 'sent-%-%'", 'target'),
	scalar @sent, 'all that were sent are known');
is(violations($node, 'target'), '', 'the invariants hold');
is( sql("SELECT min(global_position) > $positions FROM msgstore.stream_events
		WHERE stream LIKE 'load-%' AND (data::text)::int > $last", 'target'),
	't', 'stream positions continue after those of the source');
is(sql("SELECT max(global_position) = (SELECT max(global_position) FROM msgstore.stream_events WHERE tenant_id = '')
	FROM msgstore.read_all(0, NULL)", 'target'), 't', 'and readers see all events');
is( sql("SELECT duplicate FROM msgstore.ingest('sms', event('processed-1')) UNION ALL
		SELECT duplicate FROM msgstore.send('sms', event(NULL, '+18045550002', 'with a key'), 'key-1')", 'target'),
	"t\nt", 'duplicates of what was sent to the source are recognized');

# The source forgets the tenant, and keeps its neighbor.
my $acme = sql("SELECT * FROM msgstore.tenant_digest('acme')");
sql("SELECT msgstore.fence_tenant('acme')");
($code, undef, $stderr) = $node->psql('source', "SELECT msgstore.unfence_tenant('acme'); CALL msgstore.drop_tenant('acme')");
like($stderr, qr/tenant "acme" is in use in this database/, 'a tenant that is in use cannot be dropped');
sql("CALL msgstore.drop_tenant('')");
sql("SELECT msgstore.unfence_tenant('')");
is(sql("SELECT sum(row_count) FROM msgstore.tenant_digest('')"), 0, 'all rows of the tenant are removed');
is(sql('SELECT count(*) FROM pg_publication'), 0, 'and its publication');
is(sql("SELECT * FROM msgstore.tenant_digest('acme')"), $acme, 'its neighbor stays');
is(sql("SELECT * FROM msgstore.check()"), '', 'the source is consistent');

# Every table has a class, and what has a tenant but no class to move is known.
is( sql(q{SELECT string_agg(coalesce(c.relname, k.name), ' ') FROM msgstore._table_classes() k
		FULL JOIN (SELECT relname FROM pg_class WHERE relnamespace = 'msgstore'::regnamespace AND relkind = 'r') c
			ON c.relname = k.name
		WHERE c.relname IS NULL OR k.name IS NULL}),
	'', 'every table has one class');
is( sql(q{SELECT string_agg(k.name, ' ' ORDER BY k.name) FROM msgstore._table_classes() k
		JOIN pg_attribute a ON a.attrelid = ('msgstore.' || k.name)::regclass AND a.attname = 'tenant_id'
		WHERE k.name NOT IN (SELECT name FROM msgstore._tenant_tables())}),
	'api_keys slot_exceptions source_secrets sources tenant_fences tenant_limits',
	'tables with a tenant that does not move with it');

$node->stop;
done_testing();
