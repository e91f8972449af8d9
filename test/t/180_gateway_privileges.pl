# The gateway needs no privilege on any table.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::Bin/..";
use MsgstoreGateway;
use Test::More;

my $node = start_cluster('privileges');
$node->safe_psql(
	'postgres', q{
	CREATE ROLE gw LOGIN;
	GRANT USAGE ON SCHEMA msgstore TO gw;
	GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA msgstore TO gw});
my $gateway = MsgstoreGateway->new($node, user => 'gw');

sub as_gw { return $node->psql('postgres', "SET ROLE gw; $_[0]") }

# Every route works with this role.
# The first check of a busy server can take longer than the gateway waits.
ok(eventually(sub { $gateway->get('/readyz')->{status} == 200 }), 'ready');
is( $node->safe_psql(
		'postgres',
		"SELECT DISTINCT usename FROM pg_stat_activity WHERE application_name = 'msgstore-gateway'"
	),
	'gw',
	'with this role');
is($gateway->post('/api/messages/sms', sms())->{status}, 202, 'message');
is($gateway->post('/api/messages/email', email())->{status}, 202, 'e-mail');
is($gateway->post('/api/webhooks/sms', inbound_sms('a'))->{status},
	202, 'webhook');
is($gateway->post('/api/webhooks/email', inbound_email('b'))->{status},
	202, 'webhook of e-mail');
is( $gateway->post('/api/provider/mock/inbound',
		sms(channel => 'sms', body => 'm'))->{status},
	202, 'mock');
is($gateway->get('/api/conversations')->{status}, 200, 'list');
is($gateway->get('/api/conversations/1/messages')->{status}, 200, 'messages');
is( $gateway->post('/api/webhooks/status',
		{ channel => 'sms', provider_message_id => 'x', status => 'read' })
	  ->{status},
	202,
	'callback');
my $metrics = $gateway->metrics;
is($metrics->{database_up}, 1, 'metrics');
is($metrics->{messages_sent}, 2, "with the database's counters");

# So does the mock sender.
my $sender =
  MsgstoreGateway->new($node, user => 'gw', flags => ['--mock-sender']);
ok( eventually(
		sub {
			$node->safe_psql('postgres',
				"SELECT count(*) FROM msgstore.outbound_messages WHERE status = 'delivered'"
			) == 2;
		}),
	'the sender works');
$sender->stop;

# Client input is data wherever it is used.
my $evil = q{'; DROP TABLE msgstore.messages; --};
my $answer = $gateway->post(
	'/api/webhooks/sms', inbound_sms($evil, body => $evil),
	'Idempotency-Key' => $evil,
	'X-Request-Id' => $evil);
is($answer->{status}, 202, 'SQL in every field');
is( $gateway->get(
		'/api/conversations/' . MsgstoreGateway::escape($evil) . '/messages'
	)->{status},
	404,
	'and in the path');
is( $gateway->get(
		'/api/conversations?after=' . MsgstoreGateway::escape($evil)
	)->{status},
	400,
	'and in the query');
is( $node->safe_psql(
		'postgres',
		"SELECT provider_message_id = correlation_id AND payload->>'body' = correlation_id FROM msgstore.inbound_events WHERE id = '$answer->{json}{id}'"
	),
	't',
	'is stored unchanged');

# The role cannot access the tables directly.
isnt(as_gw("DELETE FROM msgstore.$_"), 0, "no right on $_")
  for qw(messages conversations event_log event_queue outbox deliveries);

# If the role lacks a privilege, clients see an internal error only.
$node->safe_psql('postgres',
	'REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA msgstore FROM gw, PUBLIC');
$answer = $gateway->post('/api/webhooks/sms', inbound_sms('c'));
is($answer->{status}, 500, 'without privileges');
is($answer->{json}{message}, 'internal error', 'reveals no details');

is(($gateway->stop)[0], 0, 'exit code 0');
done_testing();
