# Tables that another extension distributes are written by statements, or
# refused; what a dump contains of the changes that users make to the tables.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::Bin/..";
use MsgstoreServer;
use Test::More;

my $node = new_server('altered', "msgstore.workers = 0\nsession_preload_libraries = 'auto_explain'");
$node->start;
add_database($node, 'store');

sub sql { return $node->safe_psql('store', $_[0]) }

# Returns the tables that a call inserts into by statements, as auto_explain
# reports them, and its error.
sub inserted
{
	my ($call) = @_;
	my (undef, undef, $err) = $node->psql('store', <<"SQL");
SET auto_explain.log_nested_statements = on;
SET auto_explain.log_level = notice;
SET auto_explain.log_min_duration = 0;
SET client_min_messages = notice;
\\set VERBOSITY verbose
$call;
SQL
	my %tables = map { $_ => 1 } $err =~ /Insert on (?:msgstore\.)?(\w+)/g;
	delete @tables{qw(conversation_rows conversation_counts idempotency_keys)};
	return join ' ', (sort keys %tables), $err =~ /ERROR:  (\w{5}: .*)/;
}

my $n = 0;
sub ingest { $n++; return inserted("SELECT msgstore.ingest('sms', event('e-$n'))"); }
sub send_one { $n++; return inserted("SELECT msgstore.send('sms', event('s-$n', body => 'b $n'))"); }
sub append { return inserted("SELECT msgstore.append('s-1', 'x', '{}')"); }

is(ingest(), '', 'events are inserted without a statement');
is(send_one(), '', 'and so are messages');
is(inserted('SELECT msgstore.process()'), '', 'also by process()');
is(append(), '', 'and stream events');

# A stand-in for the catalog of Citus. Before a table is in it, nothing changes.
sql(<<'SQL');
SET allow_system_table_mods = on;
CREATE TABLE pg_catalog.pg_dist_partition (logicalrelid regclass PRIMARY KEY, partmethod "char");
SQL
is(ingest(), '', 'the catalog alone changes nothing');

# Citus invalidates the relation that it distributes, in open sessions as well.
sub distribute
{
	my ($table) = @_;
	return "INSERT INTO pg_catalog.pg_dist_partition VALUES ('msgstore.$table', 'h');
		COMMENT ON COLUMN msgstore.$table.tenant_id IS 'distributed';
		ALTER TABLE msgstore.$table ALTER tenant_id SET STATISTICS 100;";
}
my $session = $node->background_psql('store', on_error_stop => 0);
$session->query("SELECT msgstore.send('sms', event('open', body => 'open'))");
sql(distribute('messages') . distribute('outbound_payloads'));
is(send_one(), 'messages outbound_payloads', 'distributed tables are written by statements');
like(inserted('SELECT msgstore.process()'), qr/^messages/, 'also by process()');
$session->query('SET auto_explain.log_nested_statements = on; SET auto_explain.log_min_duration = 0');
my $offset = -s $node->logfile;
$session->query("SELECT msgstore.send('sms', event('open', body => 'still open'))");
like(log_of($node, $offset), qr/Insert on (msgstore\.)?messages/, 'also in a session that was open');
$session->quit;
sql(distribute('stream_events'));
is(append(), 'stream_events', 'stream events, too');

# The log and the queue are read without statements, which would find nothing.
sql(distribute('event_log'));
is(ingest(), 'MS503: table "msgstore.event_log" cannot be used', 'a distributed log is refused');
sql("DELETE FROM pg_dist_partition WHERE logicalrelid = 'msgstore.event_log'::regclass");
sql('ALTER TABLE msgstore.event_log ALTER tenant_id SET STATISTICS -1');
is(ingest(), '', 'until it is none');
sql(distribute('event_queue'));
is(inserted('SELECT msgstore.process()'), 'MS503: table "msgstore.event_queue" cannot be used', 'and so is a distributed queue');
sql("SET allow_system_table_mods = on; DROP TABLE pg_catalog.pg_dist_partition");

# pg_dump leaves out triggers on tables of an extension. Handlers are rows.
sql(<<'SQL');
CREATE TABLE seen (id uuid);
CREATE FUNCTION see(m msgstore.messages) RETURNS void LANGUAGE sql AS 'INSERT INTO public.seen VALUES (m.id)';
CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER look AFTER INSERT ON msgstore.messages FOR EACH ROW EXECUTE FUNCTION look();
SELECT msgstore.add_handler('sms', 'see');
SQL
$node->safe_psql('postgres', 'CREATE DATABASE copy');
my $dump = $node->basedir . '/dump.sql';
$node->command_ok([ 'pg_dump', '-f', $dump, $node->connstr('store') ], 'dump');
$node->command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('copy'), '-f', $dump ], 'restore');
is( $node->safe_psql('copy', "SELECT count(*) FROM pg_trigger WHERE tgname = 'look'"),
	0, 'a trigger is not in the dump, as docs/inbox.md says');
$node->safe_psql('copy', "SELECT msgstore.ingest('sms', event('copied')); SELECT msgstore.process()");
is($node->safe_psql('copy', 'SELECT count(*) > 0 FROM seen'), 't', 'a handler is, and is called');

$node->stop;
done_testing();
