# Crashes while messages are sent, claimed and reported: each message stays in one
# place, nothing acknowledged is lost, and in the end all are sent.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::Bin/..";
use IPC::Run;
use MsgstoreServer;
use PostgreSQL::Test::Utils;
use Test::More;

use constant { SUBMITTERS => 2, SENDERS => 3, MESSAGES => 1500 };

my $node = new_server('outbox_crash', <<'EOC');
msgstore.claim_timeout = 1s
msgstore.backoff_base = 10ms
msgstore.backoff_max = 50ms
msgstore.max_retries = 1000
EOC
$node->start;
add_database($node, 'store');

sub sql { return $node->safe_psql('store', $_[0]) }

# A sender that sometimes fails, forgets a message, or reports after the provider's
# callback. It logs each committed report.
sql(<<'SQL');
CREATE PROCEDURE send_all(sender text) LANGUAGE plpgsql AS $$
DECLARE
    claimed uuid[];
    message uuid;
    luck float8;
BEGIN
    FOR i IN 1 .. 100000 LOOP
        SELECT array_agg(message_id) INTO claimed
        FROM msgstore.claim_outbound(sender, 5);
        COMMIT;
        FOREACH message IN ARRAY coalesce(claimed, '{}') LOOP
            luck := random();
            BEGIN
                IF luck < 0.1 THEN
                    PERFORM msgstore.send_failed(message, 'E', 'no luck', sender);
                ELSIF luck < 0.2 THEN
                    CONTINUE;
                ELSIF luck < 0.6 THEN
                    PERFORM msgstore.record_status('sms', 'p-' || message, 'Delivered');
                    PERFORM msgstore.sent(message, 'p-' || message, sender);
                ELSE
                    PERFORM msgstore.sent(message, 'p-' || message, sender);
                    PERFORM msgstore.record_status('sms', 'p-' || message, 'Delivered');
                END IF;
            EXCEPTION WHEN SQLSTATE 'MS409' THEN
                luck := 0;
            END;
            COMMIT;
            IF luck >= 0.2 THEN
                RAISE NOTICE 'sent %', message;
            END IF;
        END LOOP;
    END LOOP;
END
$$;
CREATE VIEW misplaced AS
SELECT m.id, p.* FROM msgstore.messages m, LATERAL (
    SELECT (SELECT count(*) FROM msgstore.outbox o WHERE o.message_id = m.id) AS outbox,
        (SELECT count(*) FROM msgstore.dead_letters l WHERE l.event_id = m.id) AS dead,
        (SELECT count(*) FROM msgstore.deliveries d WHERE d.message_id = m.id) AS deliveries) p
WHERE outbox + dead + deliveries <> 1;
SQL

my $scratch = PostgreSQL::Test::Utils::tempdir;

sub start_client
{
	my ($name, $file) = @_;
	return IPC::Run::start(
		[ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('store'), '-f', $file ],
		'>', "$scratch/$name.out", '2>', "$scratch/$name.err");
}
sub start_submitter
{
	my ($name) = @_;
	my $file = "$scratch/$name.sql";
	append_to_file($file, join '', map {
		"SELECT message_id FROM msgstore.send('sms', event(NULL, '+1804555"
		  . sprintf('%04d', $_ % 7) . "', '$name $_'));\n" } 1 .. MESSAGES);
	return start_client($name, $file);
}
sub start_sender
{
	my ($name) = @_;
	my $file = "$scratch/$name.sql";
	append_to_file($file, "CALL send_all('$name');\n");
	return start_client($name, $file);
}

my @submitters;
my @senders;
for my $round (1 .. 4)
{
	my @names = map { "submitter-$round-$_" } 1 .. SUBMITTERS;
	my @senders_now = map { "sender-$round-$_" } 1 .. SENDERS;
	my @runs = (map { start_submitter($_) } @names);
	push @runs, map { start_sender($_) } @senders_now;
	my $before = count_of($node, 'store', 'msgstore.deliveries');
	eventually(
		sub {
			count_of($node, 'store', 'msgstore.deliveries') > $before + 100;
		});
	$node->stop('immediate');
	$node->start;
	$_->finish for @runs;
	push @submitters, @names;
	push @senders, @senders_now;
	is(sql('SELECT count(*) FROM misplaced'), 0, "round $round: each message is in one place");
}

sub ids_of
{
	my ($suffix, @names) = @_;
	return map { slurp_file("$scratch/$_.$suffix") =~ /([0-9a-f]{8}-[0-9a-f-]{27})$/gm } @names;
}
my @acknowledged = ids_of('out', @submitters);
my @sent = ids_of('err', @senders);
cmp_ok(scalar @acknowledged, '>', 100, 'messages were acknowledged');
cmp_ok(scalar @sent, '>', 100, 'and reported');
sub are_all
{
	my ($name, $is, @ids) = @_;
	is( sql("SELECT count(*) FROM (VALUES ('" . join("'), ('", @ids) . "')) s (id)
			LEFT JOIN msgstore.outbound_messages o ON o.id = s.id::uuid
			WHERE ($is) IS NOT TRUE"),
		0, $name);
	return;
}
are_all('acknowledged messages are stored', 'o.id IS NOT NULL', @acknowledged);
are_all('acknowledged reports and callbacks are stored', "o.status = 'delivered'", @sent);

# Another sender sends the rest, after the leases of the dead ones have expired.
my $last = start_sender('last');
ok(eventually(sub { count_of($node, 'store', 'msgstore.outbox') == 0 }), 'all messages are sent in the end');
$last->kill_kill;
$last->finish;
is(sql('SELECT count(*) FROM misplaced'), 0, 'each message is in one place');
is( sql("SELECT status, count(*) = (SELECT count(*) FROM msgstore.messages)
		FROM msgstore.outbound_messages GROUP BY 1"),
	'delivered|t', 'each is delivered');
is(sql('SELECT count(*) FROM msgstore.deliveries WHERE message_id IS NULL'), 0,
	'every callback is matched to its message');
is(violations($node, 'store'), '', 'the invariants hold');

$node->stop;
done_testing();
