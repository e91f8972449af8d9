# The server is stopped at 50 random moments while clients send, workers and
# external processors work, handlers fail and claims expire. After each stop
# every acknowledged event is in one place, and handlers have run once for each
# message. In the end no claim and no waiting event is left.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::Bin/..";
use MsgstoreLoad;
use MsgstoreServer;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);

use constant { STOPS => 50, CLIENTS => 3, EVENTS => 120, PROCESSORS => 2 };

# The moments are random; a seed repeats them.
my $seed = $ENV{CRASH_SEED} // int rand 2**31;
srand $seed;
note "CRASH_SEED=$seed";

my $node = new_server('stopped', <<'CONF');
msgstore.workers = 4
msgstore.batch_size = 25
msgstore.backoff_base = '10 ms'
msgstore.backoff_max = '100 ms'
msgstore.claim_timeout = '300 ms'
max_worker_processes = 16
CONF
$node->start;
add_database($node, 'store');

sub sql { return $node->safe_psql('store', $_[0]) }

# One channel has strict_order, the other does not. Both have the handler, which
# rejects some messages temporarily and bad ones permanently.
sql(<<'SQL');
UPDATE msgstore.channels SET strict_order = true WHERE name = 'sms';
INSERT INTO msgstore.channels (name, address_kind) VALUES ('chat', 'phone');

CREATE TABLE effects (
    message_id uuid PRIMARY KEY,
    place bigint GENERATED ALWAYS AS IDENTITY);

CREATE FUNCTION take_effect(message msgstore.messages) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.effects (message_id) VALUES (message.id);
    IF message.body = 'bad' OR random() < 0.05 THEN
        RAISE 'not this time';
    END IF;
END
$$;
SELECT msgstore.add_handler('sms', 'take_effect'),
    msgstore.add_handler('chat', 'take_effect');

-- What clients were told.
CREATE TABLE answers (provider_id text, id uuid);

CREATE VIEW losses AS
SELECT 'acknowledged and gone: ' || a.provider_id AS loss
FROM answers a
WHERE NOT EXISTS (
    SELECT FROM msgstore.event_log l
    WHERE l.id = a.id AND l.provider_message_id = a.provider_id)
UNION ALL
SELECT format('message %s, effect %s', m.id, e.message_id)
FROM msgstore.messages m FULL JOIN effects e ON e.message_id = m.id
WHERE m.id IS NULL OR e.message_id IS NULL;
SQL
add_outside_processor($node, 'store');

my $scratch = PostgreSQL::Test::Utils::tempdir;

# Each client has conversations of its own, so that their order is known.
append_to_file(
	"$scratch/send.sql",
	join '',
	map {
		my $channel = $_ % 3 ? 'sms' : 'chat';
		my $body = $_ % 29 ? 'hello' : 'bad';
		my $other = sprintf "'+18045' || :client || '%03d'", $_ % 5;
		"SELECT :'name' || '-$_ ' || event_id FROM msgstore.ingest('$channel',"
		  . " event(:'name' || '-$_', $other, '$body')"
		  . " || jsonb_build_object('timestamp', now()));\n"
	} 1 .. EVENTS);

sub start_load
{
	my ($round) = @_;
	return (
		(map {
			start_psql($node, 'store', "$scratch/$round-$_.out",
				'-v', "client=$_", '-v', "name=$round-$_", '-f', "$scratch/send.sql")
		} 1 .. CLIENTS),
		(map {
			start_psql($node, 'store', "$scratch/$round-p$_.out",
				'-c', "CALL process_outside('$round-$_-')")
		} 1 .. PROCESSORS));
}

my $answered = 0;
for my $round (1 .. STOPS)
{
	my @load = start_load($round);
	sleep 0.1 + rand 0.6;
	$node->stop('immediate');
	$_->finish for @load;
	$node->start;
	my @answers = map { "$scratch/$round-$_.out" } 1 .. CLIENTS;
	$answered += slurp_file($_) =~ tr/\n// for @answers;
	is( sql(join '',
			(map { "\\copy answers FROM '$_' DELIMITER ' '\n" } @answers),
			"BEGIN ISOLATION LEVEL REPEATABLE READ;\n",
			"SELECT * FROM violations UNION ALL SELECT * FROM losses LIMIT 5;\n",
			"COMMIT;"),
		'', "stop $round: all invariants hold, and nothing is lost");
}
cmp_ok($answered, '>', STOPS, 'many events were acknowledged');
cmp_ok($answered, '<', STOPS * CLIENTS * EVENTS, 'and clients were interrupted');
cmp_ok(
	count_of($node, 'store', 'msgstore.event_log') - $answered,
	'<=', STOPS * CLIENTS, 'and at most one other event per client and stop');

# No event waits for something that will not happen.
wait_for_workers($node, 'store', 4, 'all workers start after the last stop');
wait_for_processed($node, 'store', 'they process the remaining events');
is(violations($node, 'store'), '', 'all invariants hold');
is(sql('SELECT * FROM losses LIMIT 5'), '', 'nothing is lost or done twice');
is( count_of($node, 'store', 'msgstore.event_claims')
	  + count_of($node, 'store', 'msgstore.conversation_holds'),
	0, 'no claim and no waiting event is left');
is( count_of($node, 'store', "msgstore.messages WHERE body = 'bad'"),
	0, 'what the handler rejects permanently is a dead letter');
is( sql("SELECT count(*) FROM (
		SELECT e.place < lag(e.place) OVER (
			PARTITION BY conversation_id ORDER BY id) AS early
		FROM msgstore.messages m JOIN effects e ON e.message_id = m.id
		WHERE channel = 'sms') o WHERE early"),
	0, 'the events of each conversation were applied in their order');

# All of these have occurred.
my %kinds = (
	"error_message = 'not this time'" => 'a handler rejected a message',
	"error_message = 'failed outside'" => 'a processor failed',
	"error_code = 'MS504'" => 'a claim expired');
for my $kind (sort keys %kinds)
{
	cmp_ok(
		sql("SELECT count(*) FROM (
				SELECT attempts FROM msgstore.event_failures
				UNION ALL SELECT attempts FROM msgstore.dead_letters) f,
			jsonb_to_recordset(attempts) AS a (error_code text, error_message text)
			WHERE $kind"),
		'>', 10, $kinds{$kind});
}

$node->stop;
done_testing();
