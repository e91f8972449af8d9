# A dump contains every row of every table and the position of every sequence, and
# pending work continues where it is restored.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::Bin/..";
use IPC::Run;
use MsgstoreServer;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('dump', "msgstore.workers = 0\nmsgstore.max_retries = 1\nmax_worker_processes = 20");
$node->start;
add_database($node, 'store');

sub sql { return $node->safe_psql($_[1] // 'store', $_[0]) }

my $handler = <<'SQL';
CREATE TABLE handled (n serial, event text);
CREATE FUNCTION handle(m msgstore.messages) RETURNS void LANGUAGE sql AS
$$ INSERT INTO public.handled (event) VALUES (m.provider_message_id) $$;
SQL
sql($handler);

# Rows of every kind: events processed, failed once, given up, queued and claimed,
# keys of each scope, channels added and changed, conversations of both kinds.
sql(<<'SQL');
INSERT INTO msgstore.channels (name, address_kind, thread)
VALUES ('whatsapp', 'phone', 'sms'), ('pigeon', 'opaque', NULL);
UPDATE msgstore.channels SET thread = 'sms' WHERE name = 'mms';
UPDATE msgstore.channels SET body_required = false WHERE name = 'email';

SELECT ingest_many('processed-', 100, 7);
SELECT msgstore.process();
SELECT * FROM msgstore.send('sms', event(NULL, '+18045550001', 'sent'));
SELECT * FROM msgstore.send('sms', event(NULL, '+18045550002', 'with a key'), 'key-1', 'trace-1');
SELECT * FROM msgstore.send('pigeon', event(NULL, 'loft 7', 'coo'));
SELECT * FROM msgstore.ingest('sms', event('keyed', '+18045550003'), 'key-2', 'trace-2');
-- A duplicate with different content, and a refused event.
SELECT * FROM msgstore.ingest('sms', event('keyed', '+18045550003', 'different'));
SET msgstore.keep_refused = on;
SELECT * FROM msgstore.ingest_batch('[{"channel": "fax", "payload": {"body": "ünïcode"}, "mock": true}]');

SELECT msgstore.append('account-1', 'Opened', '{"owner": "ann"}');
SELECT * FROM msgstore.append_batch('[{"stream": "account-2", "type": "Opened", "data": {"owner": "bob"},
    "metadata": {"by": "ünïcode"}, "event_id": "00000000-0000-4000-8000-000000000001"}]');
SELECT msgstore.save_snapshot('{"entries": [{"owner": "ann"}], "event_log_position": 1}');
SELECT msgstore.create_subscription('reader', 'account', 2);
SELECT msgstore.park('reader', 1, 'later');
SELECT msgstore.append_host_events('host-1', '[{"type": "HostCreated", "ip_address": "10.0.0.1",
    "hostname": "h", "tags": ["a", "b"], "comment": "ünïcode"}]');

SELECT msgstore.create_api_key('acme', '{ingest,read}'), msgstore.set_tenant_limit('acme', 10);

-- A message sent, one leased, a callback matched to its message and one that is not.
SELECT msgstore.sent(message_id, 'sent-1', 'a') FROM msgstore.claim_outbound('a', 1);
SELECT count(*) FROM msgstore.claim_outbound('b', 1);
SELECT * FROM msgstore.record_status('sms', 'sent-1', 'delivered', '{"carrier": "x"}');
SELECT * FROM msgstore.record_status('sms', 'sent-2', 'sent');

SELECT msgstore.save_response('{"id": "resp_1", "status": "completed", "model": "m", "metadata": {"a": 1}}');
SELECT msgstore.delete_response('resp_1');

CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
$$BEGIN RAISE EXCEPTION 'not this one: %', NEW.body; END$$;
CREATE TRIGGER refuse BEFORE INSERT ON msgstore.messages
FOR EACH ROW WHEN (NEW.body LIKE 'bad%') EXECUTE FUNCTION refuse();
SELECT * FROM msgstore.ingest('sms', event('dead', body => 'bad, ünïcode & ''quotes'' \'));
SELECT msgstore.process();
UPDATE msgstore.event_queue SET next_attempt_at = now();
SELECT msgstore.process();
SELECT * FROM msgstore.ingest('sms', event('failed', body => 'bad'));
SELECT msgstore.process();
SELECT ingest_many('queued-', 20, 3);

-- A claim of an external processor, and an event that waits behind it. The tenant
-- has no other events to claim.
UPDATE msgstore.channels SET strict_order = true WHERE name = 'whatsapp';
SELECT msgstore.add_handler('whatsapp', 'handle');
SET msgstore.tenant_id = 'acme';
SELECT * FROM msgstore.ingest('whatsapp', event('claimed', '+18045550004'));
SELECT * FROM msgstore.ingest('whatsapp', event('waiting', '+18045550004'));
SELECT count(*) FROM msgstore.claim('outside', 1);
SELECT msgstore.process();
RESET msgstore.tenant_id;

-- The log of operations, and the progress of the purge.
UPDATE msgstore.messages SET body = 'wrong' WHERE provider_message_id = 'processed-1';
SELECT * FROM msgstore.replay();
SELECT * FROM msgstore._purge_batch('events', '-infinity', 1);
INSERT INTO msgstore.purge_skipped
SELECT tenant_id, 'events', event_id FROM msgstore.event_queue LIMIT 1;
DROP TRIGGER refuse ON msgstore.messages;
DROP FUNCTION refuse;
SQL
is( sql('SELECT status, count(*) FROM msgstore.inbound_events
		GROUP BY 1 ORDER BY 1'),
	"dead_letter|1\nerror|1\nprocessed|101\nprocessing|1\nreceived|21",
	'there are events with every status');

# One line for each table and sequence, with a digest of its content.
sub content
{
	my ($database) = @_;
	my @tables = split /\n/, sql("SELECT c.oid::regclass FROM pg_class c
		WHERE relnamespace = 'msgstore'::regnamespace AND relkind = 'r'
		ORDER BY relname", $database);
	my @sequences = split /\n/, sql("SELECT c.oid::regclass FROM pg_class c
		WHERE relnamespace = 'msgstore'::regnamespace AND relkind = 'S'
		ORDER BY relname", $database);
	return join "\n",
	  (map { "$_ " . sql("SELECT count(*), md5(string_agg(t::text, E'\\n'
			ORDER BY t::text COLLATE \"C\")) FROM $_ t", $database) } @tables),
	  (map { "$_ " . sql("SELECT last_value, is_called FROM $_", $database) }
		@sequences);
}
my $content = content('store');
unlike($content, qr/ 0\|/, 'no table is empty') or diag($content);
like($content, qr/seq \d+\|t/, 'and sequences have advanced');

# The copy works like the original.
sub lives
{
	my ($database, $how) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is(content($database), $content, "$how: all rows and sequences are restored");
	is(violations($node, $database), '', "$how: the invariants hold");
	is(sql('SELECT * FROM msgstore.check()', $database), '', "$how: nothing is missing");
	is( sql("SELECT duplicate FROM msgstore.ingest('sms', event('processed-1'))
			UNION ALL SELECT duplicate FROM msgstore.send('sms',
				event(NULL, '+18045550001', 'sent'))
			UNION ALL SELECT duplicate FROM msgstore.send('sms',
				event(NULL, '+18045550002', 'with a key'), 'key-1')", $database),
		"t\nt\nt",
		"$how: duplicates are recognized");
	is( sql("SELECT msgstore.conversation_key('mms', '+1', '+2')", $database),
		'sms:+1<->+2', "$how: changed channels are in effect");
	sql("UPDATE msgstore.channels SET thread = 'mms' WHERE name = 'mms'", $database);
	is( sql("SELECT msgstore.conversation_key('mms', '+1', '+2')", $database),
		'mms:+1<->+2', "$how: and can be changed again");
	my $greatest = sql('SELECT max(number) FROM msgstore.conversations', $database);
	sql("SELECT * FROM msgstore.send('sms', event(NULL, '+18045559999', 'new'))",
		$database);
	cmp_ok(sql('SELECT max(number) FROM msgstore.conversations', $database),
		'>', $greatest, "$how: a new conversation has a new number");
	sql("SELECT ingest_many('new-', 10)", $database);
	is(sql('SELECT msgstore.process() >= 30', $database), 't',
		"$how: pending events are processed");
	is( sql("SELECT status, count(*) FROM msgstore.inbound_events
			GROUP BY 1 ORDER BY 1", $database),
		"dead_letter|1\nprocessed|132\nprocessing|1\nreceived|1",
		"$how: dead letters remain, and so do the claim and the event behind it");
	is( sql("SELECT msgstore.complete('outside', array_agg(event_id)) FROM msgstore.event_claims;
			SELECT msgstore.process();
			SELECT string_agg(event, ' ' ORDER BY n) FROM handled", $database),
		"1\n1\nclaimed waiting",
		"$how: the claim can be completed, the next event follows, the handler is called");
	is(violations($node, $database), '', "$how: the invariants hold");
	return;
}

my $dump = PostgreSQL::Test::Utils::tempdir . '/dump';
sub dump_as
{
	my (@options) = @_;
	command_ok(
		[ 'pg_dump', '-d', $node->connstr('store'), '-f', $dump, @options ],
		"pg_dump @options");
	return;
}
sub restore
{
	my ($database, @command) = @_;
	sql("CREATE DATABASE $database TEMPLATE template0", 'postgres')
	  unless sql("SELECT count(*) FROM pg_database WHERE datname = '$database'",
		'postgres');
	command_ok([ @command, '-d', $node->connstr($database) ],
		"restored into $database");
	return;
}

sql("UPDATE msgstore.event_queue SET next_attempt_at = now()
	WHERE next_attempt_at < 'infinity'");
$content = content('store');
dump_as();
restore('plain', 'psql', '-XqAt', '-o', '/dev/null', '-v', 'ON_ERROR_STOP=1', '-f', $dump);
lives('plain', 'psql');

dump_as('-Fc');
restore('custom', 'pg_restore', '-e', $dump);
lives('custom', 'pg_restore');

# Only the data, into a database with a fresh extension.
dump_as('-Fc', '--data-only', '-n', 'msgstore');
add_database($node, 'data');
sql($handler, 'data');
restore('data', 'pg_restore', '-e', '--data-only', $dump);
lives('data', 'only the data');

# As INSERTs.
dump_as('--column-inserts', '--rows-per-insert=10');
restore('inserts', 'psql', '-XqAt', '-o', '/dev/null', '-v', 'ON_ERROR_STOP=1', '-f', $dump);
lives('inserts', 'inserts');

# By parallel jobs, which load the tables in any order.
dump_as('-Fc');
restore('parallel', 'pg_restore', '-e', '-j', '4', $dump);
lives('parallel', 'four jobs');

# A dump of the copy is the same again.
command_ok([ 'pg_dump', '-d', $node->connstr('custom'), '-f', $dump ], 'dumped again');
$content = content('custom');
restore('again', 'psql', '-XqAt', '-o', '/dev/null', '-v', 'ON_ERROR_STOP=1', '-f', $dump);
is(content('again'), $content, 'the copy of the copy is the same');

# With workers running, the restored queue is processed once the first event
# arrives.
sql("SELECT ingest_many('late-', 50, 5)");
dump_as('-Fc');
sql("SELECT msgstore.complete('outside', array_agg(event_id)) FROM msgstore.event_claims");
$node->append_conf('postgresql.conf', 'msgstore.workers = 1');
$node->reload;
wait_for_processed($node, 'store', 'the worker is on');
restore('served', 'pg_restore', '-e', $dump);
wait_for_workers($node, 'served', 1, 'a restored database has a worker');
sql("SELECT ingest_many('first-', 1)", 'served');
wait_for_processed($node, 'served', 'which processes the events that the dump had queued');
is( sql('SELECT count(*) FROM msgstore.messages', 'served'),
	sql('SELECT count(*) + 1 FROM msgstore.messages'),
	'all of it');
is(violations($node, 'served'), '', 'the invariants hold');

# A dump taken under load. Its copy continues from there: claims expire, waiting
# events follow, handlers are called.
sql(<<'SQL');
INSERT INTO msgstore.channels (name, address_kind, strict_order)
VALUES ('parcel', 'opaque', true);
CREATE TABLE received (message_id uuid PRIMARY KEY);
CREATE FUNCTION receive(message msgstore.messages) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.received VALUES (message.id);
    PERFORM pg_sleep(0.002);
    IF random() < 0.1 THEN
        RAISE 'not this time';
    END IF;
END
$$;
SELECT msgstore.add_handler('parcel', 'receive');
SQL
$node->append_conf('postgresql.conf', "msgstore.claim_timeout = '1 s'
msgstore.backoff_base = '100 ms'
msgstore.max_retries = 50
msgstore.batch_size = 20");
$node->reload;
my $scratch = PostgreSQL::Test::Utils::tempdir;
append_to_file("$scratch/load.sql", join '', map {
	"SELECT FROM msgstore.ingest('parcel', event('load-$_', 'dock ' || $_ % 9));\n"
	  . ($_ % 10 ? '' : "SELECT FROM msgstore.claim('loader', 2);\n")
} 1 .. 20_000);
my $load = IPC::Run::start [
	'psql', '-XAtq', '-d', $node->connstr('store'), '-f', "$scratch/load.sql" ],
  '>', \my $out, '2>', \my $err;
ok(eventually(sub { count_of($node, 'store', 'msgstore.conversation_holds') > 10
		&& count_of($node, 'store', 'msgstore.event_claims') > 5 }),
	'there is enough work');
dump_as('-Fc');
$load->signal('TERM');
$load->finish;
$node->append_conf('postgresql.conf', 'msgstore.workers = 0');
$node->reload;
restore('working', 'pg_restore', '-e', $dump);
cmp_ok(count_of($node, 'working', 'msgstore.conversation_holds'), '>', 5, 'holds are restored');
cmp_ok(count_of($node, 'working', 'msgstore.event_claims'), '>', 0, 'claims are restored');
is(violations($node, 'working'), '', 'in one snapshot');
$node->append_conf('postgresql.conf', 'msgstore.workers = 2');
$node->reload;
for my $database (qw(store working))
{
	wait_for_processed($node, $database, "$database goes on");
	is(violations($node, $database), '', 'the invariants hold');
	is( sql("SELECT count(*) FROM (
				SELECT id FROM msgstore.messages WHERE channel = 'parcel') m
			FULL JOIN received e ON e.message_id = m.id
			WHERE m.id IS NULL OR e.message_id IS NULL", $database),
		0, 'each message had its effect once');
}

$node->stop;
done_testing();
