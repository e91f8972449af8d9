# The console in Chromium: see test/browser/console.mjs. With SCREENSHOTS set to a
# directory, keeps pictures there instead ("make screenshots").
use strict;
use warnings FATAL => 'all';

use Cwd qw(abs_path);
use FindBin;
use IPC::Open2;
use JSON::PP;
use lib "$FindBin::Bin/..";
use MsgstoreGateway;
use MsgstoreNpm;
use PostgreSQL::Test::Utils;
use Test::More;

my $screenshots = $ENV{SCREENSHOTS};
my ($chromium) = grep { -x } map { "/usr/bin/$_" } qw(chromium chromium-browser);

# In CI the test must run; elsewhere what it needs may be missing.
sub give_up
{
	my ($why) = @_;
	die "$why\n" if $ENV{CI} || $screenshots;
	plan skip_all => "$why: the console is not tested";
	return;
}
give_up('Chromium is not installed') if !$chromium;
my ($directory, $why) = install_from_npm(qw(playwright-core axe-core));
give_up($why) if $why;

my $node = start_cluster('console', "msgstore.workers = 1\nmsgstore.max_retries = 0\nmsgstore.max_payload_bytes = 4MB\n");

sub sql { return $node->safe_psql('postgres', $_[0]) }

my %key = map { $_ => sql("SELECT msgstore.create_api_key('$_', '{ingest,send,read,operate,consume}')") } qw(x y z);
$key{all} = sql("SELECT msgstore.create_api_key('', '{ingest,send,read,operate,consume}')");
my %option = (env => { AUTH_ENABLED => 'on', MOCK_SENDER => 'true', API_MAX_BODY_BYTES => 4194304 });
my $gateway = MsgstoreGateway->new($node, %option);
my $port = $gateway->{port};
$option{env}{PORT} = $port;

# What the browser asks for.
my $long;
my %do = (
	'stop gateway' => sub { $gateway->stop; },
	'start gateway' => sub { $gateway = MsgstoreGateway->new($node, %option); },
	'miss 60 messages' => sub {
		sql(<<'SQL');
SET msgstore.tenant_id = 'x';
SELECT count(*) FROM generate_series(1, 60) n, msgstore.ingest('sms', jsonb_build_object('from', '+15550500',
    'to', '+15550001', 'body', 'Missed ' || n, 'messaging_provider_id', 'missed-' || n, 'timestamp', now() + n * interval '1 ms'));
SQL
		$node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM msgstore.event_queue') or die;
	},
	'begin long operation' => sub {
		$long = $node->background_psql('postgres');
		$long->query_safe(q{SET msgstore.tenant_id = 'x'; BEGIN; SELECT count(*) FROM msgstore.check();});
	},
	'end long operation' => sub { $long->quit; },
	'make 100,000 conversations' => sub {
		sql(<<'SQL');
INSERT INTO msgstore.conversation_rows (tenant_id, channel, participant_a, participant_b, key)
SELECT 'z', 'sms', a, b, 'sms:' || a || '<->' || b
FROM (SELECT '+15550001' AS a, '+1556' || lpad(n::text, 7, '0') AS b FROM generate_series(1, 100000) n) n;
INSERT INTO msgstore.conversation_activity
SELECT c.tenant_id, c.id, 1, 1, '2024-01-01'::timestamptz + c.number * interval '1 s'
FROM msgstore.conversation_rows c WHERE c.tenant_id = 'z';
INSERT INTO msgstore.search_addresses
SELECT c.tenant_id, c.id, msgstore._address_terms(c.participant_a, c.participant_b)
FROM msgstore.conversation_rows c WHERE c.tenant_id = 'z';
SQL
	},
	# A trigger refuses an event once.
	'make dead letter' => sub {
		sql(<<'SQL');
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not now'; END $$;
CREATE TRIGGER refuse BEFORE INSERT ON msgstore.messages FOR EACH ROW EXECUTE FUNCTION refuse();
SET msgstore.tenant_id = 'x';
SELECT msgstore.ingest('sms', '{"from": "+15550600", "to": "+15550001", "body": "Refused", "messaging_provider_id": "dead",
    "timestamp": "2024-11-01T14:00:00Z"}');
SQL
		$node->poll_query_until('postgres', 'SELECT count(*) = 1 FROM msgstore.dead_letters') or die;
		sql('DROP TRIGGER refuse ON msgstore.messages; DROP FUNCTION refuse()');
	});
fill() if $screenshots;

my $settings = encode_json(
	{   url => "http://127.0.0.1:$port",
		keys => \%key,
		chromium => $chromium,
		$screenshots ? (screenshots => $screenshots) : ()
	});
my $script = abs_path("$FindBin::Bin/../browser/console.mjs");
my $tests = 0;
{
	local $ENV{HOME} = $directory;
	my $pid = open2(my $out, my $in, 'node', $script, "$directory/node_modules", $settings);
	while (<$out>)
	{
		if (/^do (.*)$/)
		{
			$do{$1}->();
			print {$in} "done\n";
			$in->flush;
		}
		elsif (/^ok (.*)$/) { pass($1); $tests++ }
		elsif (/^not ok (.*)$/) { fail($1); $tests++ }
		else { diag($_) }
	}
	waitpid $pid, 0;
	is($?, 0, 'the browser ends');
}
cmp_ok($tests, '>=', 22, 'all tests have run') if !$screenshots;
done_testing();

# Conversations that show what the console does.
sub fill
{
	my @lines = (
		[ 'in', 'Hi! Is the double room still free for the weekend of the 14th?' ],
		[ 'out', 'Good morning Ada! Yes, it is. Shall I reserve it for you?' ],
		[ 'in', 'Yes please, two nights. Can we check in late, around 23:00?' ],
		[ 'in', "And is there parking nearby?\nhttps://maps.example.com/hotel" ],
		[ 'out', 'Late check-in is fine: the code for the door is sent at noon. Parking is behind the house, 12 a night.' ]);
	my $minute = 50;
	for (@lines)
	{
		my ($way, $body) = @$_;
		$minute -= 7;
		my $at = sql("SELECT to_char((now() - interval '$minute min') AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')");
		my $sent = $way eq 'in'
		  ? $gateway->post('/api/webhooks/sms', inbound_sms("s-$minute", body => $body, timestamp => $at), Authorization => "Bearer $key{x}")
		  : $gateway->post('/api/messages/sms', sms(body => $body, timestamp => $at), Authorization => "Bearer $key{x}");
		die $sent->{content} if $sent->{status} != 202;
		$node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM msgstore.event_queue}) or die;
	}
	my @others = (
		[ '+4915112345678', 'Grace Hopper', 'Danke, bis morgen!', 'open', '{vip}' ],
		[ '+33612345678', undef, 'Est-ce que le petit-dejeuner est inclus ?', 'open', '{}' ],
		[ '+972501234567', "\x{5e0}\x{5d5}\x{5e2}\x{5d4}", "\x{5e9}\x{5dc}\x{5d5}\x{5dd}, \x{5d9}\x{5e9} \x{5d7}\x{5e0}\x{5d9}\x{5d4}?", 'open', '{}' ],
		[ '+18005550199', 'Alan Turing', 'The invoice has the wrong address.', 'open', '{invoice,urgent}' ],
		[ '+447700900123', 'Katherine Johnson', 'Perfect, thank you.', 'closed', '{}' ]);
	for (@others)
	{
		my ($from, $name, $body, $state, $labels) = @$_;
		$minute += 31;
		my $at = sql("SELECT to_char((now() - interval '$minute min') AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')");
		$gateway->post('/api/webhooks/sms', inbound_sms("o-$minute", from => $from, body => $body, timestamp => $at), Authorization => "Bearer $key{x}");
	}
	$gateway->post('/api/webhooks/email', inbound_email('e-1', from => 'Margaret Hamilton <margaret@example.org>', to => 'hotel@example.com',
		subject => 'Conference in May', body => '<p>Dear team,</p><p>we need <b>12 rooms</b> in May.</p>'), Authorization => "Bearer $key{x}");
	$node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM msgstore.event_queue}) or die;
	my %of = ('+18045551234' => [ 'Ada Lovelace', 'open', '{booking}' ], map { $_->[0] => [ @$_[ 1, 3, 4 ] ] } @others);
	for my $address (sort keys %of)
	{
		my ($name, $state, $labels) = @{ $of{$address} };
		my $id = sql("SELECT id FROM msgstore.conversations WHERE '$address' IN (participant_a, participant_b)");
		my $changes = encode_json({ state => $state, contact_name => $name, labels => [ $labels =~ /(\w+)/g ] });
		my $answer = $gateway->request('PATCH', "/api/conversations/$id",
			{ 'Content-Type' => 'application/json', Authorization => "Bearer $key{x}" }, $changes);
		die $answer->{content} if $answer->{status} != 200;
	}
	$do{'make dead letter'}->();
	return;
}
