# Calls that wait in the database hold up only calls of their own class: sends,
# lists, webhooks and responses each keep connections that the others leave free,
# and probes need none of them.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::Bin/..";
use MsgstoreGateway;
use Test::More;
use Time::HiRes qw(time);

my $node = start_cluster('bulkheads', "msgstore.workers = 1\n");
my $gateway = MsgstoreGateway->new($node);
my $holder = $node->background_psql('postgres');
my $list = "GET /api/conversations HTTP/1.1\r\nHost: x\r\n\r\n";
my $response = "GET /v1/responses/resp_1 HTTP/1.1\r\nHost: x\r\n\r\n";
my $webhooks = 0;

# Requests whose answers are read later.
sub launch
{
	my (@requests) = @_;
	my @sockets = map { $gateway->connection } @requests;
	MsgstoreGateway::syswrite_all($sockets[$_], $requests[$_])
	  for 0 .. $#requests;
	return @sockets;
}

sub send_bytes { return MsgstoreGateway::post_bytes('/api/messages/sms', sms(@_)) }

sub webhook_bytes
{
	$webhooks++;
	return MsgstoreGateway::post_bytes('/api/webhooks/sms',
		inbound_sms("w-$webhooks", from => '+18045550000'));
}

# Each of these is answered with this status within a second and a half.
sub quick
{
	my ($what, %requests) = @_;
	my %status = (
		webhook => 202,
		list => 200,
		ready => 200,
		metrics => 200,
		send => 202,
		response => 404);
	for my $name (sort keys %requests)
	{
		my $start = time;
		my ($socket) = launch($requests{$name});
		my $answer = $gateway->read_answer($socket);
		is($answer->{status}, $status{$name}, "$what: $name");
		cmp_ok(time - $start, '<', 1.5, "$what: $name at once");
	}
	return;
}
my $ready = "GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n";
my $metrics = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";

sub wait_for_waiters
{
	my ($count) = @_;
	ok( eventually(
			sub {
				$node->safe_psql('postgres',
					"SELECT count(*) FROM pg_stat_activity WHERE application_name = 'msgstore-gateway' AND wait_event_type = 'Lock'"
				) >= $count;
			}),
		"$count calls wait for a lock");
	return;
}

is($gateway->post('/api/messages/sms', sms())->{status}, 202, 'a conversation');
ok(eventually(sub { $gateway->get('/readyz')->{status} == 200 }), 'ready');

# A session that has sent to a conversation and forgets to commit holds up nobody.
$holder->query_safe(
	q(BEGIN; SELECT msgstore.send('sms', '{"from": "+12016661234", "to": "+18045551234", "body": "open", "timestamp": "2024-11-01T14:00:00Z"}'))
);
quick('an open send', send => send_bytes(body => 'beside it'));
$holder->query_safe('ROLLBACK');

# One that removes the conversation, and forgets to commit, does.
$holder->query_safe('BEGIN; SELECT FROM msgstore.conversation_rows FOR UPDATE');
my $start = time;
my @sends = launch(map { send_bytes(body => "busy $_") } 1 .. 12);
wait_for_waiters(3);
quick('a held conversation',
	webhook => webhook_bytes(),
	list => $list,
	ready => $ready,
	metrics => $metrics,
	response => $response);
my $counts = $gateway->metrics;
cmp_ok($counts->{pool_send_in_use}, '>', 0, 'metrics: sends in use');
cmp_ok($counts->{pool_send_waiting}, '>', 0, 'metrics: sends waiting');
cmp_ok($counts->{pool_send_waits}, '>', 0, 'metrics: waits of sends');
is($counts->{pool_ingest_waits}, 0, 'metrics: webhooks did not wait');
is($counts->{pool_read_waits}, 0, 'metrics: lists did not wait');
my @answers = map { $gateway->read_answer($_) } @sends;
is((grep { $_->{status} == 503 } @answers), 12, 'the sends give up');
is((grep { $_->{json}{message} eq 'conversation is busy' } @answers),
	12, 'and say why');
is((grep { ($_->{headers}{'retry-after'} // 0) == 1 } @answers),
	12, 'with Retry-After');
cmp_ok(time - $start, '<', 8, 'after a brief wait');
$counts = $gateway->metrics;
is($counts->{pool_send_waiting}, 0, 'metrics: no sends are waiting');
cmp_ok($counts->{pool_send_wait_us}, '>', 100_000, 'metrics: they have waited');
$holder->query_safe('ROLLBACK');
is($gateway->post('/api/messages/sms', sms(body => 'busy 1'))->{status},
	202, 'then it is accepted');
is( $node->safe_psql('postgres',
		"SELECT count(*) FROM msgstore.messages WHERE body LIKE 'busy%'"),
	1,
	'and what was refused is not stored');

# The same for a send whose conversation is being created by a session that does
# not commit.
$holder->query_safe(
	q(BEGIN; SELECT msgstore.send('sms', '{"from": "+15550100", "to": "+15550101", "body": "x", "timestamp": "2024-11-01T14:00:00Z"}'))
);
my $answer =
  $gateway->post('/api/messages/sms', sms(from => '+15550100', to => '+15550101'));
is($answer->{status}, 503, 'a conversation that is being created');
is($answer->{json}{message}, 'conversation is busy', 'says why');
$holder->query_safe('ROLLBACK');

# A locked table is something else.
$holder->query_safe('BEGIN; LOCK TABLE msgstore.conversations');
$answer = $gateway->post('/api/messages/sms', sms(body => 'table'));
is($answer->{status}, 503, 'a locked table');
is($answer->{json}{message},
	'database is busy: a lock is held for too long', 'says why');
my @lists = launch(($list) x 12);
wait_for_waiters(3);
quick('lists that hang', webhook => webhook_bytes(), ready => $ready);
$holder->query_safe('ROLLBACK');
is((grep { $gateway->read_answer($_)->{status} == 200 } @lists),
	12, 'the lists continue');

# Webhooks that hang hold up neither lists nor sends, nor do responses.
$holder->query_safe('BEGIN; LOCK TABLE msgstore.event_queue');
my @hooks = launch(map { webhook_bytes() } 1 .. 20);
wait_for_waiters(1);
quick('webhooks that hang', list => $list, send => send_bytes(body => 'free'));
$holder->query_safe('ROLLBACK');
is((grep { $gateway->read_answer($_)->{status} == 202 } @hooks),
	20, 'the webhooks continue');
$holder->query_safe('BEGIN; LOCK TABLE msgstore.responses');
my @responses = launch(($response) x 12);
wait_for_waiters(3);
quick('responses that hang',
	list => $list,
	webhook => webhook_bytes(),
	ready => $ready,
	send => send_bytes(body => 'free too'));
$holder->query_safe('ROLLBACK');
is((grep { $gateway->read_answer($_)->{status} == 404 } @responses),
	12, 'the responses continue');

# In a small pool the webhooks come first; all classes work with one connection.
for my $max (1, 2, 3)
{
	$gateway->stop;
	$gateway = MsgstoreGateway->new($node, url => "max_connections=$max");
	quick("$max connections",
		webhook => webhook_bytes(),
		list => $list,
		send => send_bytes(body => "small $max"),
		metrics => $metrics,
		response => $response,
		ready => $ready);
	$holder->query_safe('BEGIN; LOCK TABLE msgstore.conversations');
	@lists = launch(($list) x 4);
	wait_for_waiters(1);
	quick("$max connections, lists that hang", ready => $ready);
	quick("$max connections, lists that hang", webhook => webhook_bytes())
	  if $max > 1;
	$holder->query_safe('ROLLBACK');
	is((grep { $gateway->read_answer($_)->{status} == 200 } @lists),
		4, "$max connections: the lists continue");
}

$holder->quit;
is(($gateway->stop)[0], 0, 'exit code 0');
done_testing();
