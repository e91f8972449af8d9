# Rate limits and breakers: off or unnoticed by default, exact if enabled.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::Bin/..";
use MsgstoreGateway;
use Test::More;
use Time::HiRes qw(sleep);

my $node = start_cluster('limits');
my ($gateway, $answer);

sub stored
{
	return $node->safe_psql('postgres',
		'SELECT count(*) FROM msgstore.inbound_events');
}

sub limited
{
	my ($answer, $limit, $what) = @_;
	is($answer->{status}, 429, "$what: 429");
	is($answer->{json}{code}, 'rate_limited', 'its code');
	cmp_ok($answer->{headers}{'retry-after'}, '>', 0, 'Retry-After');
	cmp_ok($answer->{headers}{'retry-after'}, '<=', 60, 'within the window');
	is($answer->{headers}{'x-ratelimit-limit'}, $limit, 'X-RateLimit-Limit');
	is( $answer->{headers}{'x-ratelimit-reset'},
		$answer->{headers}{'retry-after'},
		'X-RateLimit-Reset');
	return;
}

# There is no limit by default.
$gateway = MsgstoreGateway->new($node);
is( (   grep {
			$gateway->post('/api/webhooks/sms', inbound_sms("free-$_"))
			  ->{status} == 202
		} 1 .. 150),
	150,
	'no limit by default');

# Sixty accepted posts per sender, from any address.
$gateway = MsgstoreGateway->new($node,
	env => { API_RATE_LIMIT_PER_SENDER_PER_MIN => 60 });
my $sent = 0;
for my $n (1 .. 60)
{
	$answer = $gateway->post(
		'/api/webhooks/email',
		inbound_email("sender-$n"),
		'X-Forwarded-For' => "203.0.113.$n");
	$sent++ if $answer->{status} == 202;

	# Refused requests do not count.
	$gateway->post(
		'/api/webhooks/email',
		inbound_email('', body => ''),
		'X-Forwarded-For' => "203.0.113.$n") if $n % 10 == 5;
}
is($sent, 60, 'sixty are accepted');
my $before = stored();
limited(
	$gateway->post(
		'/api/webhooks/email', inbound_email('sender-61'),
		'Idempotency-Key' => 'limited'),
	60,
	'the next post of the sender');
limited($gateway->post('/api/webhooks/email', inbound_email("burst-$_")),
	60, 'a burst')
  for 1 .. 5;
is(stored(), $before, 'nothing is stored');
is( $gateway->post('/api/webhooks/email',
		inbound_email('other', from => 'other@gmail.com'))->{status},
	202,
	'another sender is not limited');
is($gateway->metrics->{rate_limited}, 6, 'each 429 is counted');
is($gateway->get('/api/conversations')->{status},
	200, 'reading has no sender');

# A limited request does not use up its key: another gateway accepts it.
$gateway =
  MsgstoreGateway->new($node, flags => [ '--rate-limit-per-ip', '5' ]);
$answer = $gateway->post(
	'/api/webhooks/email',
	inbound_email('sender-61', body => 'changed'),
	'Idempotency-Key' => 'limited');
is($answer->{status}, 202, 'a 429 uses up no key');

# Requests per address, on all routes; each address has its own budget.
$gateway->get('/api/conversations') for 1 .. 3;
is($gateway->post('/api/messages/sms', sms(from => '+1555'))->{status},
	202, 'the fifth of an address');
limited($gateway->post('/api/messages/sms', sms(from => '+1666')),
	5, 'the sixth, of another sender');
limited($gateway->get('/api/conversations'), 5, 'reading counts as well');
is( $gateway->get('/api/conversations', 'X-Forwarded-For' => '203.0.113.1')
	  ->{status},
	200,
	'another address');
is( $gateway->get('/api/conversations', 'X-Real-IP' => '203.0.113.2')
	  ->{status},
	200,
	'and another');
is( $gateway->get('/api/conversations', 'X-Forwarded-For' => 'x' x 300)
	  ->{status},
	429,
	'an invalid address is ignored');

for my $path ('/healthz', '/readyz', '/metrics')
{
	is($gateway->get($path)->{status}, 200, "$path has no limit");
}

# Requests that fail an earlier check do not count either.
my @headers = ('X-Forwarded-For' => '203.0.113.9');
$gateway->post('/api/webhooks/sms', '{', @headers) for 1 .. 20;
is( $gateway->post('/api/webhooks/sms', inbound_sms('unlimited'), @headers)
	  ->{status},
	202,
	'refused requests use up nothing');

# Of many concurrent requests, exactly the limit is accepted.
my @answers = $gateway->parallel(
	map {
		MsgstoreGateway::post_bytes('/api/webhooks/sms',
			inbound_sms("crowd-$_"), 'X-Forwarded-For' => '198.51.100.1')
	} 1 .. 100);
is((grep { $_->{status} == 202 } @answers),
	5, 'exactly the limit is accepted');
is((grep { $_->{status} == 429 } @answers), 95, 'the others get 429');

# Many addresses do not exhaust the table.
$gateway->get('/api/conversations', 'X-Forwarded-For' => "10.$_.0.1")
  for 0 .. 255;
is($gateway->get('/healthz')->{status}, 200, 'many addresses');

# A breaker opens after consecutive internal errors, for its route only.
$gateway = MsgstoreGateway->new($node,
	env => { API_BREAKER_ERROR_THRESHOLD => 20, API_BREAKER_OPEN_SECS => 2 });
$node->safe_psql(
	'postgres', q{
	CREATE FUNCTION public.fail() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'broken'; END$$;
	CREATE TRIGGER fail BEFORE INSERT ON msgstore.event_log FOR EACH ROW EXECUTE FUNCTION public.fail()}
);
$before = stored();
$gateway->post('/api/webhooks/sms', inbound_sms("broken-$_")) for 1 .. 19;
$gateway->post('/api/webhooks/sms', inbound_sms('', body => ''));
is($gateway->post('/api/webhooks/sms', inbound_sms("broken"))->{status},
	500, 'nineteen, a 400 and one more are not twenty in a row');
$gateway->post('/api/webhooks/sms', inbound_sms("broken-$_")) for 1 .. 19;
$answer = $gateway->post('/api/webhooks/sms', inbound_sms('broken'));
is($answer->{status}, 503, 'after twenty the breaker is open');
is($answer->{json}{code}, 'service_unavailable', 'its code');
is($answer->{headers}{'retry-after'}, 2, 'Retry-After is what is left');
is(stored(), $before, 'nothing is stored');
my $metrics = $gateway->metrics;
is($metrics->{breaker_open}, 1, 'one request refused');
is($metrics->{breaker_transitions}, 1, 'one transition');
is($gateway->get('/healthz')->{status}, 200, 'liveness is not affected');
is($gateway->post('/api/webhooks/email', inbound_email('b'))->{status},
	500, 'another route has its own breaker');
is($gateway->get('/api/conversations')->{status}, 200, 'and so has reading');

# Half-open: one attempt; a failure opens it again, a success closes it.
ok( eventually(
		sub {
			$gateway->post('/api/webhooks/sms', inbound_sms('broken'))
			  ->{status} == 500;
		}),
	'after its time one request is tried');
is($gateway->post('/api/webhooks/sms', inbound_sms('broken'))->{status},
	503, 'it failed: open again');
$node->safe_psql('postgres', 'DROP FUNCTION public.fail() CASCADE');
ok( eventually(
		sub {
			$gateway->post('/api/webhooks/sms', inbound_sms('repaired'))
			  ->{status} == 202;
		}),
	'repaired: the next attempt succeeds');
is( $gateway->post('/api/webhooks/sms', inbound_sms('repaired-2'))->{status},
	202,
	'and it is closed');
is($gateway->metrics->{breaker_transitions}, 3, 'three transitions');

# A database that is away opens no breaker and is used as soon as it is back.
$node->stop('fast');
$gateway->post('/api/webhooks/sms', inbound_sms('away')) for 1 .. 50;
$node->start;
ok(eventually(sub { $gateway->get('/readyz')->{status} == 200 }),
	'the database is back');
is($gateway->post('/api/webhooks/sms', inbound_sms('away'))->{status},
	202, 'and used at once');
is($gateway->metrics->{breaker_transitions}, 3, 'no breaker changed');

# With several successes required, a failure among them opens the breaker again.
$gateway->stop;
$gateway = MsgstoreGateway->new(
	$node,
	env => {
		API_BREAKER_ERROR_THRESHOLD => 1,
		API_BREAKER_OPEN_SECS => 1,
		API_BREAKER_HALF_OPEN_SUCCESSES => 3 });
$node->safe_psql(
	'postgres', q{
	CREATE FUNCTION public.fail() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		IF NEW.payload->>'body' = 'fail' THEN RAISE EXCEPTION 'broken'; END IF;
		RETURN NEW;
	END$$;
	CREATE TRIGGER fail BEFORE INSERT ON msgstore.event_log FOR EACH ROW EXECUTE FUNCTION public.fail()}
);
my $unsteady = 0;
my $probe = sub {
	return $gateway->post('/api/webhooks/sms',
		inbound_sms('unsteady-' . $unsteady++, body => $_[0]))->{status};
};
is($probe->('fail'), 500, 'one error opens it');
for my $round (1, 2)
{
	ok(eventually(sub { $probe->('good') == 202 }),
		"round $round: it is tried again");
	is($probe->('good'), 202, 'and once more');
	is($probe->('fail'), 500, 'a failure among them');
	is($probe->('good'), 503, 'opens it again');
}
is($gateway->metrics->{breaker_transitions}, 3, 'it was never closed');
ok(eventually(sub { $probe->('good') == 202 }), 'it is tried again');
is($probe->('good'), 202, 'and again') for 1 .. 2;
is($gateway->metrics->{breaker_transitions}, 4,
	'the third success closes it');

is(($gateway->stop)[0], 0, 'exit code 0');
done_testing();
