# The mock provider fails as often as configured; with a seed its outcomes are
# repeatable.
use strict;
use warnings FATAL => 'all';

use bigint;
use FindBin;
use lib "$FindBin::Bin/..";
use MsgstoreGateway;
use Test::More;

my $node = start_cluster('mock');
my $gateway = MsgstoreGateway->new($node);
my $serial = 0;
my $answer;

sub configure
{
	return $gateway->request('PUT', '/api/provider/mock/config',
		{ 'Content-Type' => 'application/json' }, $_[0]);
}

# The statuses of the next posts of a channel.
sub statuses
{
	my ($channel, $count) = @_;
	my $body = $channel eq 'email' ? email(channel => 'email') : sms(
		channel => $channel,
		type => $channel,
		attachments => $channel eq 'mms' ? ['https://x.org/a'] : undef);
	return map {
		$gateway->post(
			'/api/provider/mock/inbound',
			{ %$body, body => 'n' . $serial++ })->{status}
	} 1 .. $count;
}

# The outcomes of the documented recurrence: timeout, error, rate limit, success.
sub expected
{
	my ($seed, $timeout, $error, $ratelimit, $count) = @_;
	my $state = $seed + 0;
	return map {
		$state = ($state * 6364136223846793005 + 1) % (1 << 64);
		my $roll = $state % 100;
			$roll < $timeout                       ? 504
		  : $roll < $timeout + $error              ? 500
		  : $roll < $timeout + $error + $ratelimit ? 429
		  :                                          202;
	} 1 .. $count;
}

sub stored
{
	return $node->safe_psql('postgres',
		'SELECT count(*) FROM msgstore.inbound_events');
}

# By default it always succeeds, for all three channels, without a provider's id.
is_deeply(
	$gateway->get('/api/provider/mock/config')->{json},
	{ timeout_pct => 0, error_pct => 0, ratelimit_pct => 0, seed => undef },
	'never fails by default');
is_deeply(
	[ map { statuses($_, 1) } qw(sms mms email) ],
	[ 202, 202, 202 ],
	'all channels are accepted');
is(stored(), 3, 'and stored');
is( $node->safe_psql(
		'postgres',
		"SELECT string_agg(channel, ' ' ORDER BY channel) FROM msgstore.inbound_events"
	),
	'email mms sms',
	'under their channels');
$node->safe_psql('postgres', 'SELECT msgstore.process()');
is($node->safe_psql('postgres', 'SELECT count(*) FROM msgstore.messages'),
	3, 'and become messages');
is_deeply(
	[
		map { $gateway->metrics->{$_} + 0 }
		  qw(dispatch_attempts dispatch_success provider_sms_mms_attempts provider_email_attempts)
	],
	[ 3, 3, 2, 1 ],
	'and are counted by provider');

# PUT returns the configuration that GET shows from then on.
$answer =
  configure('{"timeout_pct":10,"error_pct":20,"ratelimit_pct":30,"seed":42}');
is($answer->{status}, 200, 'configured');
my $config =
  { timeout_pct => 10, error_pct => 20, ratelimit_pct => 30, seed => 42 };
is_deeply($answer->{json}, $config, 'PUT returns it');
is_deeply($gateway->get('/api/provider/mock/config')->{json},
	$config, 'GET shows it');

# The outcomes follow the recurrence, with one sequence for each provider.
my $before = stored();
my @sms = statuses('sms', 60);
is_deeply(
	\@sms,
	[ expected(42, 10, 20, 30, 60) ],
	'sms-mms rolls as documented');
is_deeply(
	[ statuses('email', 60) ],
	[ expected(42, 10, 20, 30, 60) ],
	'email has its own sequence');
is_deeply(
	[ sort keys %{ { map { $_ => 1 } @sms } } ],
	[ 202, 429, 500, 504 ],
	'all four outcomes occurred');
is(stored() - $before, 2 * (grep { $_ == 202 } @sms), 'only success stores');
configure('{"timeout_pct":10,"error_pct":20,"ratelimit_pct":30,"seed":42}');
is_deeply([ statuses('mms', 60) ], \@sms, 'the same seed, the same outcomes');
my $metrics = $gateway->metrics;

for my $provider (qw(dispatch provider_sms_mms provider_email))
{
	is( $metrics->{"${provider}_attempts"},
		$metrics->{"${provider}_success"} +
		  $metrics->{"${provider}_error"} +
		  $metrics->{"${provider}_rate_limited"},
		"$provider: outcomes add up");
}
is( $metrics->{dispatch_attempts},
	$metrics->{provider_sms_mms_attempts} +
	  $metrics->{provider_email_attempts},
	'the providers add up');
is($metrics->{rate_limited}, 0, 'a simulated 429 does not count as rate_limited');

# Failures look like a provider's, with the API's error body, and open no breaker.
for my $case (
	[ 'timeout_pct', 504, 'gateway_timeout' ],
	[ 'error_pct', 500, 'internal_error' ],
	[ 'ratelimit_pct', 429, 'rate_limited' ])
{
	my ($name, $status, $code) = @$case;
	configure(qq({"$name":100}));
	$before = stored();
	is_deeply(
		[ statuses('sms', 30) ],
		[ ($status) x 30 ],
		"$name 100: $status each time");
	$answer =
	  $gateway->post('/api/provider/mock/inbound', sms(channel => 'sms'));
	is($answer->{json}{code}, $code, 'with its code');
	is( $answer->{headers}{'retry-after'},
		$status == 429 ? 1 : undef,
		'Retry-After for a rate limit');
	is(stored(), $before, 'nothing is stored');
}
is($gateway->post('/api/webhooks/sms', inbound_sms('real'))->{status},
	202, 'real webhooks do not fail');
configure('{}');
is_deeply([ statuses('sms', 20) ], [ (202) x 20 ], 'and turned off again');

# Without a seed the shares are about right.
configure('{"error_pct":30,"ratelimit_pct":10}');
my %count = (500 => 0, 429 => 0);
$count{$_}++ for statuses('sms', 1000);
cmp_ok(abs($count{500} - 300),
	'<', 75, "errors: $count{500} of 1000, 300 expected");
cmp_ok(abs($count{429} - 100),
	'<', 50, "rate limits: $count{429} of 1000, 100 expected");

# A channel without a provider is counted; the database decides on it.
$gateway->post('/api/provider/mock/inbound', sms(channel => 'fax'));
is($gateway->metrics->{invalid_routing}, 1, 'invalid routing');

# Mock requests are marked in the log.
$answer = $gateway->post(
	'/api/provider/mock/inbound',
	sms(channel => 'email'),
	'X-Request-Id' => 'marked');
is($gateway->log_line('marked')->{mock}, JSON::PP::true, 'mock is marked');
$gateway->post('/api/webhooks/sms', inbound_sms('unmarked'),
	'X-Request-Id' => 'unmarked');
ok(!exists $gateway->log_line('unmarked')->{mock}, 'other requests are not');
$gateway->stop;

# The environment can configure it, too.
$gateway = MsgstoreGateway->new(
	$node,
	env => {
		API_PROVIDER_TIMEOUT_PCT => 10,
		API_PROVIDER_ERROR_PCT => 20,
		API_PROVIDER_RATELIMIT_PCT => 30,
		API_PROVIDER_SEED => 42
	});
is_deeply($gateway->get('/api/provider/mock/config')->{json},
	$config, 'from the environment');
is_deeply([ statuses('sms', 60) ], \@sms, 'with the same outcomes');

is(($gateway->stop)[0], 0, 'exit code 0');
done_testing();
