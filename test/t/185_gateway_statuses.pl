# Delivery status callbacks: each one is stored, and a message's status only
# advances.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::Bin/..";
use MsgstoreGateway;
use Test::More;

my $node = start_cluster('statuses');
my $gateway = MsgstoreGateway->new($node);
my $path = '/api/webhooks/status';
my $uuid = qr/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
my $answer;

sub sql { return $node->safe_psql('postgres', $_[0]) }

sub report
{
	my ($id, $status, @more) = @_;
	return $gateway->post(
		$path,
		{   channel => 'sms',
			provider_message_id => $id,
			status => $status,
			@more });
}

sub stored { return sql('SELECT count(*) FROM msgstore.delivery_statuses') }

# A message as a client sees it, by its id.
sub status_of
{
	my ($id) = @_;
	for my $number (
		1 .. $gateway->get('/api/conversations')->{json}{meta}{total})
	{
		my $list =
		  $gateway->get("/api/conversations/$number/messages")->{json};
		for my $message (@{ $list->{items} })
		{
			return $message->{status} if $message->{id} eq $id;
		}
	}
	return 'not found';
}

# A message that a sender passed to its provider, which gave it that id.
sub sent_as
{
	my ($provider_id, %more) = @_;
	my $id =
	  $gateway->post('/api/messages/sms', sms(body => $provider_id, %more))
	  ->{json}{id};
	sql("SELECT msgstore.sent('$id', '$provider_id')");
	return $id;
}

# A callback is stored under the returned id and updates the list.
my $id = $gateway->post('/api/messages/sms', sms())->{json}{id};
is(status_of($id), 'queued', 'a new message is queued');
sql("SELECT msgstore.sent('$id', 'first')");
is(status_of($id), 'sent', 'then sent');
$answer =
  report('first', 'delivered', detail => { price => 1, token => 'x' });
is($answer->{status}, 202, 'a callback is accepted');
is_deeply(
	[ sort keys %{ $answer->{json} } ],
	[ 'id', 'status' ],
	'its answer');
is($answer->{json}{status}, 'accepted', 'says so');
like($answer->{json}{id}, $uuid, 'and has an id');
is( sql("SELECT provider_message_id, status, detail FROM msgstore.delivery_statuses WHERE id = '$answer->{json}{id}'"
	),
	'first|delivered|{"price": 1, "token": "***"}',
	'the stored callback, without secrets');
is(status_of($id), 'delivered', 'and the message is delivered');

# Provider ids are separate for each channel.
my $mail = $gateway->post('/api/messages/email', email())->{json}{id};
sql("SELECT msgstore.sent('$mail', 'first')");
is(report('first', 'read', channel => 'email')->{status}, 202,
	'of an e-mail');
is(status_of($mail), 'read', 'the e-mail is read');
is(status_of($id), 'delivered', 'the sms is not');

# Callbacks out of order: the status never goes back, and all are stored.
$id = sent_as('order');
for my $step (
	[ read => 'read' ],
	[ delivered => 'read' ],
	[ sent => 'read' ],
	[ queued => 'read' ],
	[ failed => 'read' ])
{
	is(report('order', $step->[0])->{status}, 202, "$step->[0] is accepted");
	is(status_of($id), $step->[1], "then it is $step->[1]");
}
is( sql("SELECT string_agg(status, ' ' ORDER BY id) FROM msgstore.delivery_statuses WHERE provider_message_id = 'order'"
	),
	'read delivered sent queued failed',
	'every callback is stored');
$id = sent_as('lost');
report('lost', 'undelivered');
report('lost', 'read');
is(status_of($id), 'undelivered', 'undelivered is final');

# A callback that arrives before its message is known is applied later.
is(report('early', 'delivered')->{status}, 202, 'an early callback');
$id = sent_as('early');
is(status_of($id), 'delivered', 'is applied when the message is sent');

# An unknown word is stored and moves nothing; a known one stands for a status.
$id = sent_as('words');
is(report('words', 'teleported')->{status}, 202, 'an unknown status is accepted');
is(status_of($id), 'sent', 'and changes no status');
report('words', 'Bounced', detail => { ErrorCode => 30003 });
is(sql("SELECT status, error_code FROM msgstore.outbound_messages WHERE id = '$id'"), 'undelivered|30003',
	'a provider\'s word stands for a status, and its error code is on the message');

# Concurrent callbacks: none is lost, and the most advanced status wins.
$id = sent_as('crowd');
my @answers = $gateway->parallel(
	map {
		MsgstoreGateway::post_bytes(
			$path,
			{   channel => 'sms',
				provider_message_id => 'crowd',
				status => (qw(queued sent delivered read))[ $_ % 4 ] })
	} 1 .. 40);
is((grep { $_->{status} == 202 } @answers), 40, 'concurrent callbacks are accepted');
is( sql("SELECT count(*) FROM msgstore.delivery_statuses WHERE provider_message_id = 'crowd'"
	),
	40,
	'and stored');
is(status_of($id), 'read', 'the most advanced status wins');

# An idempotency key is checked, but has no effect.
my $before = stored();
my @ids = map {
	$gateway->post(
		$path,
		{   channel => 'sms',
			provider_message_id => 'crowd',
			status => 'read' },
		'Idempotency-Key' => 'callback')->{json}{id}
} 1 .. 2;
isnt($ids[0], $ids[1], 'the same key is another callback');
is(stored() - $before, 2, 'which is stored as well');
is($gateway->post($path, '{}', 'Idempotency-Key' => 'x' x 256)->{status},
	400, 'a key that is too long');

# A detail may be null or missing.
is(report('order', 'sent', detail => undef)->{status}, 202, 'null detail');
is( sql("SELECT count(*) FROM msgstore.delivery_statuses WHERE detail = 'null'"
	),
	0,
	'is stored as none');

# Refusals name the field and store nothing.
my %good = (channel => 'sms', provider_message_id => 'x', status => 'read');
$before = stored();
for my $case (
	[ { channel => undef }, 'field "channel" is missing' ],
	[ { channel => '' }, 'field "channel" is blank' ],
	[ { channel => 'pigeon' }, 'channel "pigeon" does not exist' ],
	[ { channel => 5 }, 'field "channel" is not a string' ],
	[   { provider_message_id => undef },
		'field "provider_message_id" is missing' ],
	[   { provider_message_id => ' ' },
		'field "provider_message_id" is blank' ],
	[   { provider_message_id => 'x' x 511 },
		'field "provider_message_id" is longer than 510 bytes' ],
	[   { provider_message_id => {} },
		'field "provider_message_id" is not a string' ],
	[ { status => undef }, 'field "status" is missing' ],
	[ { status => 'x' x 65 }, 'field "status" is longer than 64 bytes' ],
	[ { status => ['read'] }, 'field "status" is not a string' ],
	[ { detail => ['x'] }, 'field "detail" is not an object' ],
	[ { detail => 'x' }, 'field "detail" is not an object' ])
{
	my ($change, $message) = @$case;
	$answer = $gateway->post($path, { %good, %$change });
	is($answer->{status}, 400, "$message: 400");
	is($answer->{json}{code}, 'bad_request', 'its code');
	is($answer->{json}{message}, $message, 'its message');
}
is( $gateway->post($path, '{}')->{json}{message},
	'field "channel" is missing',
	'an empty object');
is($gateway->post($path, '[]')->{status}, 400, 'not an object');
is( $gateway->post($path,
		'{"channel":"sms","provider_message_id":"x","status":"read","detail":{"n":1e400000}}'
	)->{status},
	400,
	'a value that cannot be stored');
is( $gateway->post($path, { %good, detail => { x => 'x' x 300000 } })
	  ->{status},
	413,
	'a body that is too large');
is($gateway->post($path, \%good, 'Content-Type' => 'text/plain')->{status},
	415, 'another media type');
$answer = $gateway->get($path);
is($answer->{status}, 405, 'GET');
is($answer->{headers}{allow}, 'POST', 'the allowed methods');
is(stored(), $before, 'nothing is stored');

# Client input is data.
my $evil = q{'; DROP TABLE msgstore.messages; --};
is(report($evil, 'read', detail => { $evil => $evil })->{status}, 202, 'SQL');
is( sql("SELECT count(*) FROM msgstore.delivery_statuses WHERE provider_message_id LIKE '%DROP%'"
	),
	1,
	'is stored unchanged');

# Callbacks count for the rate limit, and the route has its own breaker.
$gateway = MsgstoreGateway->new(
	$node,
	env => {
		API_RATE_LIMIT_PER_IP_PER_MIN => 5,
		API_BREAKER_ERROR_THRESHOLD => 2,
		API_BREAKER_OPEN_SECS => 60 });
sql(q{
	CREATE FUNCTION public.fail() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'broken'; END$$;
	CREATE TRIGGER fail BEFORE INSERT ON msgstore.delivery_statuses FOR EACH ROW EXECUTE FUNCTION public.fail()}
);
is(report('x', 'read')->{status}, 500, 'an internal error') for 1 .. 2;
$answer = report('x', 'read');
is($answer->{status}, 503, 'opens the breaker');
cmp_ok($answer->{headers}{'retry-after'}, '>', 50, 'for its time');
is($gateway->post('/api/webhooks/sms', inbound_sms('other'))->{status},
	202, 'of this route only');
sql('DROP FUNCTION public.fail() CASCADE');
$gateway =
  MsgstoreGateway->new($node, env => { API_RATE_LIMIT_PER_IP_PER_MIN => 5 });
is(report('x', 'read')->{status}, 202, 'within the limit') for 1 .. 5;
is(report('x', 'read')->{status}, 429, 'above it');

# The request id is returned and logged; 503 while the database is away.
$gateway = MsgstoreGateway->new($node);
$answer = $gateway->post($path, \%good, 'X-Request-Id' => 'callback-1');
is($answer->{headers}{'x-request-id'}, 'callback-1', 'request id');
is($gateway->log_line('callback-1')->{path}, $path, 'in the log');
$node->stop('fast');
$answer = report('x', 'read');
is($answer->{status}, 503, 'the database is away');
cmp_ok($answer->{headers}{'retry-after'}, '>', 0, 'Retry-After');
$node->start;
ok(eventually(sub { report('x', 'read')->{status} == 202 }), 'and back');

is(($gateway->stop)[0], 0, 'exit code 0');
done_testing();
