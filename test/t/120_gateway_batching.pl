# Batches: concurrent requests share a commit, but each has its own key, answer
# and error.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::Bin/..";
use MsgstoreGateway;
use Test::More;

my $node = start_cluster('batching');
fail_on_marked($node);

sub query { return $node->safe_psql('postgres', $_[0]) }

# The number of distinct ids in the answers.
sub ids
{
	my %seen = map { ($_->{json}{id} // 'none') => 1 } @_;
	return scalar keys %seen;
}

sub webhook { return MsgstoreGateway::post_bytes('/api/webhooks/sms', @_) }

# The same tests with batches and without.
for my $flag ('--batch', '--no-batch')
{
	my $gateway = MsgstoreGateway->new($node, flags => [$flag]);
	my $tag = $flag eq '--batch' ? 'b' : 'n';
	my $events = query('SELECT count(*) FROM msgstore.inbound_events');
	my @answers;

	# Fifty concurrent posts of one event store one row and get equal answers.
	@answers =
	  $gateway->parallel(map { webhook(inbound_sms("$tag-one")) } 1 .. 50);
	is((grep { $_->{status} == 202 } @answers),
		50, "$flag: all of one event are accepted");
	is(ids(@answers), 1, "$flag: with one id");
	is( query(
			"SELECT count(*) FROM msgstore.inbound_events WHERE provider_message_id = '$tag-one'"
		),
		1,
		"$flag: one row");

	# The same with one idempotency key for events without a provider's id.
	@answers = $gateway->parallel(
		map {
			webhook(inbound_sms("$tag-key"), 'Idempotency-Key' => "$tag-key")
		} 1 .. 50);
	is((grep { $_->{status} == 202 } @answers),
		50, "$flag: all with one key are accepted");
	is(ids(@answers), 1, "$flag: with one id");
	@answers = $gateway->parallel(
		map {
			MsgstoreGateway::post_bytes(
				'/api/messages/sms',
				sms(body => $tag),
				'Idempotency-Key' => "$tag-out")
		} 1 .. 50);
	is((grep { $_->{status} == 202 } @answers),
		50, "$flag: all messages with one key are accepted");
	is(ids(@answers), 1, "$flag: with one id");
	is(query("SELECT count(*) FROM msgstore.messages WHERE body = '$tag'"),
		1, "$flag: one message");

	# Each of several concurrent events gets its own row and id.
	@answers =
	  $gateway->parallel(map { webhook(inbound_sms("$tag-many-$_")) }
		  1 .. 100);
	is(ids(@answers), 100, "$flag: a hundred events have a hundred ids");
	my %stored = map { split /\|/ } split /\n/,
	  query(
		"SELECT id, provider_message_id FROM msgstore.inbound_events WHERE provider_message_id LIKE '$tag-many-%'"
	  );
	is( (   grep {
				($stored{ $answers[ $_ - 1 ]{json}{id} } // '') eq
				  "$tag-many-$_"
			} 1 .. 100),
		100,
		"$flag: each answer has its own row's id");

	# Bad events are refused alone: those that the gateway refuses, those that the
	# database refuses, and those that make a whole call fail.
	my @bad = (
		'{"a":"\\u0000"}',
		inbound_sms('', body => 'no provider id'),
		inbound_sms('x', fail => 1));
	@answers = $gateway->parallel(
		map {
			$_ % 10 == 5
			  ? webhook($bad[ $_ / 10 % 3 ])
			  : webhook(inbound_sms("$tag-neighbour-$_"))
		} 0 .. 99);
	is( (   grep { $answers[$_]{status} == 400 }
			grep { $_ % 10 == 5 } 0 .. 99),
		10,
		"$flag: the bad are refused");
	is( (   grep { $answers[$_]{status} == 202 }
			grep { $_ % 10 != 5 } 0 .. 99),
		90,
		"$flag: their neighbours are not");
	is( query(
			"SELECT count(*) FROM msgstore.inbound_events WHERE provider_message_id LIKE '$tag-neighbour-%'"
		),
		90,
		"$flag: and are stored");

	# Large bodies in one batch are stored complete.
	@answers = $gateway->parallel(
		map { webhook(inbound_sms("$tag-large-$_", body => 'x' x 250_000)) }
		  1 .. 40);
	is((grep { $_->{status} == 202 } @answers),
		40, "$flag: 10 MB of bodies at once");
	is( query(
			"SELECT count(*) FROM msgstore.inbound_events WHERE provider_message_id LIKE '$tag-large-%' AND length(payload->>'body') = 250000"
		),
		40,
		"$flag: all whole");

	my $metrics = $gateway->metrics;
	my $posts =
	  query('SELECT count(*) FROM msgstore.inbound_events') - $events;
	if ($flag eq '--batch')
	{
		cmp_ok($metrics->{batches}, '<', $posts,
			"$posts events came in fewer batches");
		cmp_ok($metrics->{batches_split},
			'>', 0, 'a batch that failed was split');
	}
	else
	{
		cmp_ok($metrics->{batches}, '>=', $posts,
			'without batches each request has its own call');
	}
	is(($gateway->stop)[0], 0, "$flag: exit code 0");
}

# While a call is in flight, answers are sent by the thread that makes the next
# one. A connection's requests are still answered in order, also after the client
# has sent all that it has to send; and a client that leaves disturbs nobody.
my $gateway = MsgstoreGateway->new($node);
my $locker = $node->background_psql('postgres');
$locker->query_safe('BEGIN; LOCK TABLE msgstore.event_log IN ACCESS EXCLUSIVE MODE');
my $first = $gateway->connection;
MsgstoreGateway::syswrite_all($first, webhook(inbound_sms('in-flight')));
ok($node->poll_query_until('postgres', "SELECT count(*) = 1 FROM pg_stat_activity WHERE application_name = 'msgstore-gateway' AND wait_event_type = 'Lock'"), 'one call is in flight');
my $pipeline = $gateway->connection;
MsgstoreGateway::syswrite_all(
	$pipeline,
	join '',
	map {
		$_ == 3
		  ? "GET /healthz HTTP/1.1\r\nHost: x\r\nX-Request-Id: pipe-3\r\n\r\n"
		  : $_ == 4 ? webhook('{}', 'X-Request-Id' => 'pipe-4')
		  : webhook(inbound_sms("pipe-$_"), 'X-Request-Id' => "pipe-$_", Connection => $_ == 6 ? 'close' : undef)
	} 1 .. 6);
my $half = $gateway->connection;
MsgstoreGateway::syswrite_all($half, webhook(inbound_sms('half-closed')));
shutdown($half, 1);
my $gone = $gateway->connection;
MsgstoreGateway::syswrite_all($gone, webhook(inbound_sms('gone')));
close $gone;
ok($node->poll_query_until('postgres', "SELECT count(*) > 1 FROM pg_stat_activity WHERE application_name = 'msgstore-gateway' AND wait_event_type = 'Lock'"), 'others are in flight');
$locker->query_safe('ROLLBACK');
$locker->quit;
is($gateway->read_answer($first)->{status}, 202, 'the first is answered');
is($gateway->read_answer($half)->{status}, 202, 'so is one whose client sends no more');
my $all = do { local $/; <$pipeline> };
is(join(' ', $all =~ m{HTTP/1\.1 (\d+)}g), '202 202 200 400 202 202', 'pipelined requests have their answers');
is(join(' ', $all =~ /^X-Request-Id: pipe-(\d)/mg), '1 2 3 4 5 6', 'in order');
ok($node->poll_query_until('postgres', "SELECT count(*) = 1 FROM msgstore.inbound_events WHERE provider_message_id = 'gone'"), 'the event of the client that left is stored');
is(($gateway->stop)[0], 0, 'exit code 0');

# Webhooks gather while a large call is in flight, but one that is stuck does not
# hold up the others: a free batch thread soon makes a call for few.
$gateway = MsgstoreGateway->new($node);
sub lock_ids
{
	my $session = $node->background_psql('postgres');
	$session->query_safe('BEGIN');
	$session->query_safe(q{SELECT msgstore.ingest('sms', '} . JSON::PP->new->encode(inbound_sms($_)) . q{')}) for @_;
	return $session;
}
my $behind = sub {
	return $node->poll_query_until('postgres', "SELECT count(*) = $_[0] FROM pg_stat_activity WHERE application_name = 'msgstore-gateway' AND wait_event_type = 'Lock'");
};
my $one = lock_ids(map { "stuck-$_" } 1 .. 3);
my $other = lock_ids('stuck-all');
my @stuck;
for my $n (1 .. 3)
{
	push @stuck, $gateway->connection;
	MsgstoreGateway::syswrite_all($stuck[-1], webhook(inbound_sms("stuck-$n")));
	ok($behind->($n), "$n calls are in flight");
}
my @gathered = map { $gateway->connection } 1 .. 30;
MsgstoreGateway::syswrite_all($gathered[$_], webhook(inbound_sms($_ == 0 ? 'stuck-all' : "gathered-$_"))) for 0 .. $#gathered;
ok(eventually(sub { $gateway->metrics->{batch_waiting} == @gathered }), 'others gather');
$one->query_safe('ROLLBACK');
$one->quit;
is($gateway->read_answer($_)->{status}, 202, 'a small call is answered') for @stuck;
ok($behind->(1), 'those that have gathered are in one call');
is($gateway->post('/api/webhooks/sms', inbound_sms('beside'))->{status}, 202, 'a webhook beside it is answered');
ok($behind->(1), 'while it is still in flight');
$other->query_safe('ROLLBACK');
$other->quit;
is((grep { $gateway->read_answer($_)->{status} == 202 } @gathered), 30, 'then all are');
is(($gateway->stop)[0], 0, 'exit code 0');

# The statement is prepared, and a new version of the extension that returns other
# types does not fail a request.
$gateway = MsgstoreGateway->new($node);
is($gateway->post('/api/webhooks/sms', inbound_sms("prepared-$_"))->{status}, 202, 'stored') for 1 .. 2;
like(PostgreSQL::Test::Utils::slurp_file($node->logfile), qr/execute msgstore_gateway: SELECT ordinal/, 'by a prepared statement');
query(
	q{ALTER EXTENSION msgstore DROP FUNCTION msgstore.ingest_batch(jsonb);
	ALTER FUNCTION msgstore.ingest_batch(jsonb) RENAME TO ingest_batch_before;
	CREATE FUNCTION msgstore.ingest_batch(items jsonb)
		RETURNS TABLE (ordinal int, event_id text, duplicate boolean, error_code text, error_message text, error_detail text)
		LANGUAGE sql AS $$SELECT ordinal, event_id::text, duplicate, error_code, error_message, error_detail FROM msgstore.ingest_batch_before(items)$$});
is($gateway->post('/api/webhooks/sms', inbound_sms("changed-$_"))->{status}, 202, 'stored by the new version') for 1 .. 2;
query(
	q{DROP FUNCTION msgstore.ingest_batch(jsonb);
	ALTER FUNCTION msgstore.ingest_batch_before(jsonb) RENAME TO ingest_batch;
	ALTER EXTENSION msgstore ADD FUNCTION msgstore.ingest_batch(jsonb)});
is($gateway->post('/api/webhooks/sms', inbound_sms('changed-back'))->{status}, 202, 'and by the old one');
is(($gateway->stop)[0], 0, 'exit code 0');

# Idempotency keys work on four POST routes, and across a restart.
$gateway = MsgstoreGateway->new($node);
my %posts = (
	'/api/messages/sms' => sms(body => 'keyed'),
	'/api/messages/email' => email(body => 'keyed'),
	'/api/webhooks/sms' => inbound_sms('keyed'),
	'/api/webhooks/email' => inbound_email('keyed'));
my %first;
for my $path (sort keys %posts)
{
	my $answer =
	  $gateway->post($path, $posts{$path}, 'idempotency-KEY' => "k'; $path");
	is($answer->{status}, 202, "$path with a key");
	$first{$path} = $answer->{json};
	ok(!exists $answer->{json}{duplicate}, 'no duplicate');
}
$gateway->stop;
$gateway = MsgstoreGateway->new($node);
for my $path (sort keys %posts)
{
	my %key = ('Idempotency-Key' => "k'; $path");
	my $answer = $gateway->post($path, $posts{$path}, %key);
	is($answer->{status}, 202, "$path with its key again");
	is_deeply($answer->{json}, { %{ $first{$path} }, duplicate => JSON::PP::true }, 'has the same answer, as a duplicate');
	my %other = (%{ $posts{$path} }, body => 'something else');
	$answer = $gateway->post($path, \%other, %key);
	is($answer->{status}, 409, "$path with another body is a conflict");
	is($answer->{json}{code}, 'conflict', 'and says so');
}

# An empty key is ignored; 255 bytes are accepted, more are not.
my $before = query('SELECT count(*) FROM msgstore.messages');
for my $key ('', ' ')
{
	$gateway->post(
		'/api/messages/sms',
		sms(body => "empty key $key$_"),
		'Idempotency-Key' => $key) for 1 .. 2;
}
is(query('SELECT count(*) FROM msgstore.messages') - $before,
	4, 'an empty key is ignored');
is( $gateway->post(
		'/api/messages/sms',
		sms(body => 'long'),
		'Idempotency-Key' => 'k' x 255)->{status},
	202,
	'a key of 255 bytes');
for my $key ('k' x 256, 'k' x 5000)
{
	my $answer = $gateway->post(
		'/api/messages/sms',
		sms(body => 'too long'),
		'Idempotency-Key' => $key);
	is($answer->{status}, 400, 'a longer key is refused');
}

# A refused request does not use up its key.
is( $gateway->post(
		'/api/webhooks/sms',
		inbound_sms('unburnt', body => ''),
		'Idempotency-Key' => 'unburnt')->{status},
	400,
	'refused with a key');
is( $gateway->post(
		'/api/webhooks/sms', inbound_sms('unburnt'),
		'Idempotency-Key' => 'unburnt')->{status},
	202,
	'the key can still be used');

# An acknowledged event is on disk, whatever the server's default is.
$node->safe_psql('postgres',
	'ALTER SYSTEM SET synchronous_commit = off; SELECT pg_reload_conf()');
$gateway->stop;
$gateway = MsgstoreGateway->new($node);
$node->safe_psql(
	'postgres', q{
	CREATE TABLE public.seen (setting text);
	CREATE FUNCTION public.note() RETURNS trigger LANGUAGE plpgsql AS
	$$BEGIN INSERT INTO public.seen VALUES (current_setting('synchronous_commit')); RETURN NEW; END$$;
	CREATE TRIGGER note BEFORE INSERT ON msgstore.event_log FOR EACH ROW EXECUTE FUNCTION public.note()}
);
is($gateway->post('/api/webhooks/sms', inbound_sms('durable'))->{status},
	202, 'posted');
is(query('SELECT DISTINCT setting FROM public.seen'),
	'on', 'its commit waits for the disk');

is(($gateway->stop)[0], 0, 'exit code 0');
done_testing();
