# Events that a prepared transaction has applied, claimed or completed are not
# touched until it ends, and then are done, or are processed at once. Events of
# other conversations are processed meanwhile, also after a crash.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::Bin/..";
use MsgstoreServer;
use Test::More;

my $node = new_server('prepared', <<'CONF');
msgstore.workers = 0
msgstore.backoff_base = '50 ms'
msgstore.claim_timeout = '500 ms'
max_prepared_transactions = 5
CONF
$node->start;
add_database($node, 'store');

sub sql { return $node->safe_psql('store', $_[0]) }

sql(<<'SQL');
UPDATE msgstore.channels SET strict_order = true WHERE name = 'sms';
INSERT INTO msgstore.channels (name, address_kind) VALUES ('chat', 'phone');
CREATE TABLE effects (message_id uuid PRIMARY KEY);
CREATE FUNCTION take_effect(message msgstore.messages) RETURNS void
LANGUAGE sql AS 'INSERT INTO public.effects VALUES (message.id)';
SELECT msgstore.add_handler('sms', 'take_effect'),
    msgstore.add_handler('chat', 'take_effect');

-- The number of the event's conversation is told by its peer.
CREATE FUNCTION put(channel text, peer int, id text) RETURNS uuid LANGUAGE sql
RETURN (SELECT event_id FROM msgstore.ingest(channel, event(id, '+1804555' || peer)));
CREATE VIEW stages AS
SELECT provider_message_id AS id, status FROM msgstore.inbound_events;
SQL

# An address whose conversation is in another lane than that of 1000.
my $elsewhere = sql("SELECT i FROM generate_series(1001, 1099) i
	WHERE msgstore._lane('', 'sms', '+1804555' || i, '+12016661234')
		<> msgstore._lane('', 'sms', '+18045551000', '+12016661234') LIMIT 1");

sub status_of
{
	my ($id) = @_;
	return sql("SELECT status FROM stages WHERE id = '$id'");
}

# What the prepared transaction does to an event, and the outcome for the event.
my %work = (
	process => 'SELECT msgstore.process()',
	claim => "SELECT count(*) FROM msgstore.claim('prepared')",
	complete => "SELECT msgstore.complete('before', array_agg(event_id))
		FROM msgstore.event_claims",
	fail => "SELECT msgstore.fail('before', event_id, 'P0001', 'failed')
		FROM msgstore.event_claims");

my $round = 0;
for my $channel (qw(sms chat))
{
	for my $work (sort keys %work)
	{
		for my $end ('COMMIT PREPARED', 'ROLLBACK PREPARED')
		{
			my $how = "$channel, $work, $end";
			my $id = 'e' . ++$round;
			set_workers($node, 0, 'store');
			sql("SELECT put('$channel', 1000, '$id')");
			sql("SELECT FROM msgstore.claim('before')") if $work =~ /complete|fail/;
			sql("BEGIN; $work{$work}; PREPARE TRANSACTION 'work'");
			set_workers($node, 2, 'store');

			# The claim expires, but it is not known whether it was completed.
			sql("SELECT put('$channel', $elsewhere, '$id-other')");
			ok( eventually(sub { status_of("$id-other") eq 'processed' }, 10),
				"$how: other conversations are processed");
			my $meanwhile = status_of($id);
			is( $meanwhile, $work =~ /complete|fail/ ? 'processing' : 'received',
				"$how: the event is not touched");
			if ($round % 4 == 0)
			{
				$node->stop('immediate');
				$node->start;
			}
			is(violations($node, 'store'), '', "$how: all invariants hold");

			sql("$end 'work'");
			ok(eventually(sub { status_of($id) eq 'processed' }, 10),
				"$how: processed after its end");
			is(violations($node, 'store'), '', "$how: all invariants hold");
		}
	}
}
is( count_of($node, 'store', 'msgstore.messages m
		FULL JOIN effects e ON e.message_id = m.id
		WHERE m.id IS NULL OR e.message_id IS NULL'),
	0, 'the handler ran once per message');
is(count_of($node, 'store', 'msgstore.messages'), 2 * $round, 'no event is lost');
is( count_of($node, 'store', 'msgstore.event_claims')
	  + count_of($node, 'store', 'msgstore.conversation_holds'),
	0, 'no claim and no waiting event is left');

# The end of the transaction wakes a worker, which does not find the event by
# chance.
set_workers($node, 0, 'store');
sql("SELECT put('sms', 1000, 'prompt')");
sql("BEGIN; SELECT msgstore.process(); PREPARE TRANSACTION 'work'");
set_workers($node, 1, 'store');
stays(sub { status_of('prompt') }, 'received', 'the event is not touched for a while');
sql("ROLLBACK PREPARED 'work'");
ok(eventually(sub { status_of('prompt') eq 'processed' }, 1),
	'and is processed within a second after its end');

$node->stop;
done_testing();
