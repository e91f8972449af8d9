# The mock sender: outbound messages are sent to their provider, get a status, and
# are retried after failures; crashes cause no second send.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::Bin/..";
use MsgstoreGateway;
use Test::More;
use Time::HiRes qw(sleep time);

my $node = start_cluster('sender',
	"msgstore.workers = 1\nmsgstore.backoff_base = 1ms\nmsgstore.backoff_max = 20ms\n"
	  . "wal_level = replica\nmax_wal_senders = 1\n");
my $serial = 0;
my ($gateway, $second, $answer, $metrics);

sub sql { return $node->safe_psql('postgres', $_[0]) }

# For sessions of gateways that start after this.
sub set { return sql("ALTER DATABASE postgres SET msgstore.$_[0] = '$_[1]'") }

sub sender
{
	my (%env) = @_;
	return MsgstoreGateway->new(
		$node,
		flags => ['--mock-sender'],
		env => { map { ("API_$_" => $env{$_}) } keys %env });
}

# Stores that many messages in one transaction, under the given name.
sub send_messages
{
	my ($count, $channel) = @_;
	my $name = 'run-' . ++$serial;
	my ($from, $to) =
		($channel // 'sms') eq 'email'
	  ? ('a@x.org', 'b@x.org')
	  : ('+12016661234', '+18045551234');
	sql(qq{SELECT msgstore.send('@{[$channel // 'sms']}', jsonb_build_object(
		'from', '$from', 'to', '$to', 'body', '$name',
		'timestamp', now() + i * interval '1 s'))
		FROM generate_series(1, $count) i});
	return $name;
}

# How many of them have that status.
sub count_of
{
	my ($name, $status) = @_;
	return sql(
		qq{SELECT count(*) FROM msgstore.outbound_messages
		JOIN msgstore.messages USING (tenant_id, id)
		WHERE body = '$name' AND status = '$status'});
}

# Tests that all of them get that status.
sub all_become
{
	my ($name, $status, $count, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $have;
	eventually(sub { return ($have = count_of($name, $status)) == $count },
		60);
	return is($have, $count, $what);
}

# A metric's sum over all running gateways.
sub successes
{
	my $sum = 0;
	$sum += $_->metrics->{dispatch_success} for @_;
	return $sum;
}

# The status and error code of each, in the order of sending.
sub outcomes
{
	my ($name) = @_;
	return split /\n/, sql(
		qq{SELECT coalesce(error_code, o.status)
		FROM msgstore.outbound_messages o
		JOIN msgstore.messages m USING (tenant_id, id)
		WHERE body = '$name' ORDER BY id});
}

# The outcomes of the documented recurrence.
sub expected
{
	use bigint;
	my ($seed, $timeout, $error, $ratelimit, $count) = @_;
	my $state = $seed + 0;
	return map {
		$state = ($state * 6364136223846793005 + 1) % (1 << 64);
		my $roll = $state % 100;
			$roll < $timeout ? 'timeout'
		  : $roll < $timeout + $error ? 'error'
		  : $roll < $timeout + $error + $ratelimit ? 'rate_limited'
		  : 'delivered';
	} 1 .. $count;
}

sub senders
{
	return sql(
		"SELECT count(*) FROM pg_stat_activity WHERE application_name = 'msgstore-sender'"
	);
}

# Without the flag nothing is sent.
$gateway = MsgstoreGateway->new($node);
is($gateway->post('/api/messages/sms', sms())->{status}, 202, 'a message');
is(senders(), 0, 'a gateway without the flag does not send');
is( $gateway->get('/api/conversations/1/messages')->{json}{items}[0]{status},
	'queued', 'so it is queued');
$gateway->stop;

# Queued, sent, delivered: for each channel through its provider.
$gateway = sender();
$answer = $gateway->post('/api/messages/sms',
	sms(type => 'mms', attachments => ['https://x.org/a']));
is($answer->{status}, 202, 'an mms');
$answer =
  $gateway->post('/api/messages/email', email(), 'X-Request-Id' => 'mail');
ok( eventually(
		sub {
			sql("SELECT count(*) FROM msgstore.outbound_messages WHERE status = 'delivered'"
			) == 3;
		}),
	'all are delivered');
is( $gateway->get('/api/conversations/1/messages')->{json}{items}[0]{status},
	'delivered', 'as clients see');
is( sql("SELECT string_agg(channel || ' ' || provider, ', ' ORDER BY channel) FROM msgstore.outbound_messages"
	),
	'email email, mms sms-mms, sms sms-mms',
	'by the provider of their channel');
$metrics = $gateway->metrics;
is_deeply(
	[   map { $metrics->{$_} + 0 }
		  qw(dispatch_attempts dispatch_success provider_sms_mms_attempts provider_sms_mms_success provider_email_attempts)
	],
	[ 3, 3, 2, 2, 1 ],
	'and counted for it');
is( sql("SELECT count(*), count(DISTINCT provider_message_id), min(status), min(detail->>'mock') FROM msgstore.delivery_statuses"
	),
	'3|3|delivered|true',
	'each delivery was reported by a callback');
my ($line) = grep { ($_->{message_id} // '') eq $answer->{json}{id} }
  $gateway->log_lines;
is($line->{request_id}, 'mail', 'the log has the request that sent it');
is( "$line->{message} $line->{status} $line->{provider} $line->{attempt}",
	'sent sent email 1',
	'and its outcome');
is($line->{mock}, JSON::PP::true, 'marked as mock');

# An idle sender waits on its socket and runs hardly any query.
my %seen;
my $end = time + 3;
while (time < $end)
{
	$seen{
		sql("SELECT query_start FROM pg_stat_activity WHERE application_name = 'msgstore-sender'"
		) }++;
	sleep 0.1;
}
cmp_ok(scalar keys %seen, '<=', 2, 'an idle sender runs few queries');

# A commit wakes the sender: none of five messages waits for its next poll.
my $start = time;
all_become(send_messages(1), 'delivered', 1, 'the next one') for 1 .. 5;
cmp_ok(time - $start, '<', 10, 'is sent at once');

# An unknown provider is counted and logged once, without a retry.
sql("INSERT INTO msgstore.channels (name, address_kind, provider) VALUES ('fax', 'phone', 'pigeon')"
);
my $fax = send_messages(1, 'fax');
all_become($fax, 'failed', 1, 'an unknown provider fails');
is(join(',', outcomes($fax)), 'invalid_routing', 'by its code');
is( sql("SELECT attempt_count FROM msgstore.outbound_messages WHERE channel = 'fax'"
	),
	1,
	'without a retry');
is($gateway->metrics->{invalid_routing}, 1, 'it is counted');
is(() = $gateway->log_text =~ /invalid_routing/g, 1, 'and logged once');
is($gateway->metrics->{dispatch_attempts}, 8, 'no provider was asked');
is(($gateway->stop)[0], 0, 'exit code 0');

# If the provider always fails, messages become dead letters after retries.
set('max_retries', 2);
for my $case (
	[ ERROR_PCT => 'error' ],
	[ TIMEOUT_PCT => 'timeout' ],
	[ RATELIMIT_PCT => 'rate_limited' ])
{
	my ($setting, $code) = @$case;
	$gateway = sender("PROVIDER_$setting" => 100);
	my $name = send_messages(3);
	all_become($name, 'failed', 3, "$code: failed in the end");
	is(join(' ', outcomes($name)), "$code $code $code", 'with its code');
	is( sql(qq{SELECT DISTINCT d.attempt_count || ' ' || jsonb_array_length(attempts) || ' ' || d.direction
			FROM msgstore.dead_letters d JOIN msgstore.messages m ON m.id = d.event_id
			WHERE body = '$name'}),
		'3 3 outbound',
		'after its retries, in the dead letters');
	$metrics = $gateway->metrics;
	is($metrics->{dispatch_attempts}, 9, 'each attempt is counted');
	is( $metrics->{
			$code eq 'rate_limited'
			? 'dispatch_rate_limited'
			: 'dispatch_error' },
		9,
		'as what it was');
	is($metrics->{dispatch_success}, 0, 'none succeeded');
	$gateway->stop;
}

# If the provider fails sometimes, retried messages are delivered.
set('max_retries', 20);
$gateway = sender(PROVIDER_ERROR_PCT => 50, PROVIDER_SEED => 7);
my $name = send_messages(20);
all_become($name, 'delivered', 20,
	'half of the attempts fail, all are delivered');
$metrics = $gateway->metrics;
is($metrics->{dispatch_success}, 20, 'each succeeded once');
cmp_ok($metrics->{dispatch_error}, '>', 5, 'after failures');

# The configuration route affects the sender.
is( $gateway->request(
		'PUT',
		'/api/provider/mock/config',
		{ 'Content-Type' => 'application/json' },
		'{"ratelimit_pct":100}')->{status},
	200,
	'configured over HTTP');
$name = send_messages(1);
ok(eventually(sub { $gateway->metrics->{dispatch_rate_limited} > 2 }),
	'it fails now');
$gateway->request('PUT', '/api/provider/mock/config',
	{ 'Content-Type' => 'application/json' }, '{}');
all_become($name, 'delivered', 1, 'and works again');
$gateway->stop;

# Two runs with one seed give the documented sequence, with the configured
# shares.
set('max_retries', 0);
my @expected = expected(42, 5, 25, 10, 300);
for my $run (1 .. 2)
{
	$gateway = sender(
		PROVIDER_TIMEOUT_PCT => 5,
		PROVIDER_ERROR_PCT => 25,
		PROVIDER_RATELIMIT_PCT => 10,
		PROVIDER_SEED => 42);
	$name = send_messages(300);
	ok( eventually(
			sub { count_of($name, 'queued') + count_of($name, 'sent') == 0 },
			60),
		"run $run is through");
	is_deeply([ outcomes($name) ], \@expected, "run $run: as its seed says");
	$gateway->stop if $run < 2;
}
$metrics = $gateway->metrics;
cmp_ok(abs($metrics->{dispatch_error} - 90),
	'<=', 15, "errors: $metrics->{dispatch_error} of 300");
cmp_ok(abs($metrics->{dispatch_rate_limited} - 30),
	'<=', 15, "rate limits: $metrics->{dispatch_rate_limited} of 300");
is( $metrics->{dispatch_attempts},
	$metrics->{dispatch_success} +
	  $metrics->{dispatch_error} +
	  $metrics->{dispatch_rate_limited},
	'the sums agree');
$gateway->stop;

# Each provider has its own settings and its own seed.
$gateway = sender(
	PROVIDER_ERROR_PCT => 100,
	PROVIDER_EMAIL_ERROR_PCT => 0,
	PROVIDER_SMS_ERROR_PCT => 40,
	PROVIDER_SMS_SEED => 9);
$name = send_messages(20);
my $mails = send_messages(20, 'email');
all_become($mails, 'delivered', 20, 'e-mail does not fail');
ok( eventually(
		sub { count_of($name, 'queued') + count_of($name, 'sent') == 0 }),
	'sms is delivered');
is_deeply(
	[ outcomes($name) ],
	[ expected(9, 0, 40, 0, 20) ],
	'as its own seed says');
$gateway->stop;

# Each provider has its own breaker.
$gateway = sender(
	PROVIDER_SMS_ERROR_PCT => 100,
	BREAKER_ERROR_THRESHOLD => 2,
	BREAKER_OPEN_SECS => 60);
$name = send_messages(5);
$mails = send_messages(5, 'email');
all_become($mails, 'delivered', 5, 'e-mail is delivered');
all_become($name, 'failed', 5, 'sms fails');
is( join(' ', outcomes($name)),
	'error error breaker_open breaker_open breaker_open',
	'and is not attempted any more after two');
$metrics = $gateway->metrics;
is_deeply(
	[   map { $metrics->{$_} + 0 }
		  qw(
		  provider_sms_mms_attempts provider_sms_mms_error
		  provider_sms_mms_breaker_transitions provider_email_attempts
		  provider_email_success provider_email_breaker_transitions) ],
	[ 5, 5, 1, 5, 5, 0 ],
	'a refusal by the breaker is an attempt, too');
$gateway->stop;

# A breaker opens for a while, a success closes it; a rate limit has no effect.
set('max_retries', 1000);
$gateway = sender(
	PROVIDER_RATELIMIT_PCT => 100,
	BREAKER_ERROR_THRESHOLD => 1,
	BREAKER_OPEN_SECS => 1);
$name = send_messages(1);
ok( eventually(
		sub { $gateway->metrics->{provider_sms_mms_rate_limited} > 5 }),
	'rate limits');
is($gateway->metrics->{provider_sms_mms_breaker_transitions},
	0, 'open no breaker');
my $put = sub {
	$gateway->request('PUT', '/api/provider/mock/config',
		{ 'Content-Type' => 'application/json' }, $_[0]);
};
$put->('{"error_pct":100}');
ok( eventually(
		sub { $gateway->metrics->{provider_sms_mms_breaker_transitions} >= 2 }
	),
	'errors open it, and again after its time');
$put->('{}');
all_become($name, 'delivered', 1, 'then it is delivered');
cmp_ok($gateway->metrics->{provider_sms_mms_breaker_transitions},
	'>=', 3, 'and it is closed');
$gateway->stop;

# A slow provider delays no HTTP answer. Its message is not claimed by another
# sender, though it takes longer than a lease. Shutdown does not wait for it.
set('claim_timeout', '500ms');
$gateway = sender(PROVIDER_LATENCY_MS => 600000);
$name = send_messages(1);
my $leased =
  'SELECT count(*) FROM msgstore.outbox WHERE sender_id IS NOT NULL';
ok(eventually(sub { sql($leased) == 1 }), 'it has claimed a message');
my $lease = sql('SELECT next_attempt_at FROM msgstore.outbox');
$second = sender();
is($gateway->post('/api/messages/sms', sms(body => 'meanwhile'))->{status},
	202, 'a post is answered meanwhile');
all_become('meanwhile', 'delivered', 1, 'and sent by another one');
ok( eventually(
		sub {
			sql("SELECT min(next_attempt_at) > '$lease'::timestamptz + interval '1 s' FROM msgstore.outbox"
			) eq 't';
		}),
	'the lease is renewed repeatedly');
my ($code, $took) = $gateway->stop;
is($code, 0, 'the slow one is stopped');
cmp_ok($took, '<', 5, 'in time');
is(count_of($name, 'delivered'), 1, 'and its message is delivered');
is( sql("SELECT attempt_count FROM msgstore.outbound_messages JOIN msgstore.messages USING (tenant_id, id) WHERE body = '$name'"
	),
	0,
	'at the first attempt');
is(successes($second), 1, 'not by the other one');
$second->stop;
$gateway = sender(PROVIDER_LATENCY_MS => 600000);
$name = send_messages(5);
ok(eventually(sub { sql($leased) == 5 }), 'it has claimed a batch');
$gateway->stop;
is(count_of($name, 'delivered'), 5, 'is sent as well');

# If a sender is killed, its lease expires, and another one sends.
$gateway = sender(PROVIDER_LATENCY_MS => 600000);
$name = send_messages(5);
ok(eventually(sub { sql($leased) == 5 }), 'it has claimed a batch');
$gateway->stop('KILL');
$gateway = sender();
all_become($name, 'delivered', 5, 'another one sends them');
is(successes($gateway), 5, 'each once');
is( sql(qq{SELECT string_agg(DISTINCT substr(o.provider_message_id, 42), ' ') FROM msgstore.outbound_messages o
	JOIN msgstore.messages m USING (tenant_id, id) WHERE body = '$name'}),
	'-2',
	'at the second attempt');
$gateway->stop;

# The answer is lost, but the call was committed: a commit that waits for a
# standby is terminated in its wait.
sub lose_answer
{
	my ($what, $code) = @_;
	my $waiting =
	  "FROM pg_stat_activity WHERE application_name = 'msgstore-sender' AND wait_event = 'SyncRep'";
	sql("ALTER SYSTEM SET synchronous_standby_names = 'nobody'");
	$node->reload;
	$code->();
	ok( eventually(
			sub {
				sql("SELECT count(pg_terminate_backend(pid, 10000)) $waiting")
				  == 1;
			}),
		$what);
	sql('ALTER SYSTEM RESET synchronous_standby_names');
	$node->reload;
	return;
}
$ENV{PGOPTIONS} = '-c synchronous_commit=local';

# If recording the answer was committed, the message is not sent again.
set('claim_timeout', '60s');
$gateway = sender(PROVIDER_LATENCY_MS => 3000);
$name = send_messages(1);
ok(eventually(sub { sql($leased) == 1 }), 'it has claimed a message');
lose_answer('that it was sent is written, and the answer lost', sub { });
all_become($name, 'delivered', 1, 'it is delivered');
is(successes($gateway), 1, 'and was sent once');
$gateway->stop;

# If a claim was committed, nobody knows of it: its lease expires, although the
# sender is alive and renews its other leases.
set('claim_timeout', '8s');
$gateway = sender(PROVIDER_LATENCY_MS => 600000);
ok(eventually(sub { senders() == 1 }), 'a sender');
lose_answer(
	'a claim is made, and the answer lost',
	sub { $name = send_messages(1) });
my $stray = sql('SELECT sender_id FROM msgstore.outbox');
send_messages(1);
ok(eventually(sub { sql("$leased AND sender_id <> '$stray'") == 1 }),
	'it claims again, under another id');
$second = sender();
all_become($name, 'delivered', 1,
	'the first claim is sent by another sender');
$second->stop;
$gateway->stop;
delete $ENV{PGOPTIONS};
set('claim_timeout', '60s');

# Two senders share the work, and each message is sent once.
$gateway = sender(PROVIDER_LATENCY_MS => 2);
$second = sender(PROVIDER_LATENCY_MS => 2);
$name = send_messages(300);
all_become($name, 'delivered', 300, 'two senders send all');
is(successes($gateway, $second), 300, 'each message once');
cmp_ok(successes($_), '>', 20, 'both sent some') for $gateway, $second;
is( sql(qq{SELECT count(*) FROM msgstore.delivery_statuses s
		JOIN msgstore.deliveries d USING (tenant_id, channel, provider_message_id)
		JOIN msgstore.messages m ON m.id = d.message_id WHERE body = '$name'}),
	300,
	'and each delivery reported once');
$second->stop;
$gateway->stop;

# After crashes and restarts of the server no message is sent twice, and all are
# delivered.
$gateway = sender(PROVIDER_LATENCY_MS => 3);
for my $how ('immediate', 'fast')
{
	my $before = successes($gateway);
	$name = send_messages(60);
	ok(eventually(sub { count_of($name, 'delivered') >= 10 }), 'on its way');
	$node->stop($how);
	$node->start;
	all_become($name, 'delivered', 60,
		"all are delivered after a stop -m $how");
	is(successes($gateway) - $before, 60, 'each was sent once');
}
like(
	$gateway->log_text,
	qr/mock sender: resumed/,
	'the log says that it is back');
$gateway->stop;

# The sender starts without a database and works when it is there.
$name = send_messages(1);
$node->stop('fast');
$gateway = sender();
is($gateway->get('/healthz')->{status}, 200, 'started without a database');
$node->start;
all_become($name, 'delivered', 1, 'sent when the database is there');

# A terminated session is opened again; shutdown works without the database.
sql("SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE application_name = 'msgstore-sender'"
);
all_become(send_messages(1), 'delivered', 1,
	'a terminated session is opened again');
$node->stop('fast');
($code, $took) = $gateway->stop;
is($code, 0, 'stopped without a database');
cmp_ok($took, '<', 5, 'in time');
$node->start;

# A hanging call does not delay the shutdown.
$gateway = sender();
ok(eventually(sub { senders() == 1 }), 'a sender');
my $locker = $node->background_psql('postgres');
$locker->query_safe(
	'BEGIN; LOCK TABLE msgstore.deliveries IN ACCESS EXCLUSIVE MODE');
$name = send_messages(1);
ok( eventually(
		sub {
			sql("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'msgstore-sender' AND wait_event_type = 'Lock'"
			) == 1;
		}),
	'it waits for a lock');
($code, $took) = $gateway->stop;
is($code, 0, 'stopped');
cmp_ok($took, '<', 5, 'in time');
$locker->query_safe('ROLLBACK');
$locker->quit;
like($gateway->log_text, qr/stopped with 1 claimed message/,
	'and logs how many messages are left');

done_testing();
