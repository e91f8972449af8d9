# Event streams and subscriptions over HTTP: preconditions, pages, and waiting.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::Bin/..";
use MsgstoreGateway;
use Test::More;

my $node = start_cluster('streams', "msgstore.workers = 0\n");
my $gateway = MsgstoreGateway->new($node,
	url => 'dbname=postgres', env => { DATABASE_QUERY_TIMEOUT_SECS => 200 });
sub sql { return $node->safe_psql('postgres', $_[0]) }
sub append { my ($stream, $body, @headers) = @_; return $gateway->post("/streams/$stream", $body, @headers) }
my $event = { type => 'Placed', data => { n => 1 } };

# If-None-Match: * is a stream without events, If-Match its version.
my $answer = append('order-1', $event, 'If-None-Match' => '*');
is($answer->{status}, 201, 'appended');
is($answer->{headers}{etag}, '"1"', 'ETag is the version');
is_deeply($answer->{json}, { stream => 'order-1', version => 1, position => 1 }, 'version and position');
$answer = append('order-1', $event, 'If-None-Match' => '*');
is($answer->{status}, 412, 'the stream has events');
is($answer->{json}{code}, 'precondition_failed', 'its code');
is($answer->{json}{details}, 'The stream is at version 1.', 'tells the version');
is(append('order-1', $event, 'If-Match' => '"1"')->{json}{version}, 2, 'If-Match');
is(append('order-1', $event, 'If-Match' => '2')->{json}{version}, 3, 'without quotes');
is(append('order-1', $event, 'If-Match' => '"1"')->{status}, 412, 'an old version');
for my $tag ('*', '"x"', '"1', '1"', '', 'W/"1"', '"1", "2"', '-1', '9999999999999999999')
{
	is(append('order-1', $event, 'If-Match' => $tag)->{status}, 400, "If-Match: $tag is no version");
}
is(append('order-1', $event, 'If-Match' => '"3"', 'If-None-Match' => '*')->{status}, 400, 'both headers');
is(append('order-1', { %$event, expected_version => 1 })->{status}, 409, 'expected_version in the body is 409');
my %once = (%$event, event_id => '00000000-0000-4000-8000-000000000001');
is(append('order-1', \%once)->{json}{version}, 4, 'an event with an id');
is(append('order-1', \%once, 'If-Match' => '"3"')->{json}{version}, 4, 'is stored once, also with an old version');
is(append('order-1', { %once, data => {} }, 'If-Match' => '"3"')->{status}, 409, 'with other content it is a conflict');
is(append('order-1', { type => 'x' })->{status}, 400, 'no data');
is(append('msgstore:x', $event)->{status}, 400, 'a reserved name');
is(append('caf%C3%A9%2F1-2', $event)->{json}{stream}, "caf\x{e9}/1-2", 'a name with escapes');

# Several streams, all or none.
$answer = $gateway->post('/streams', { events => [
	{ %$event, stream => 'order-2', expected_version => 0 }, { %$event, stream => 'other-1' } ] });
is_deeply([ map { "$_->{stream}\@$_->{version}" } @{ $answer->{json}{events} } ], [ 'order-2@1', 'other-1@1' ],
	'two streams in the given order');
is($gateway->post('/streams', { events => [ { %$event, stream => 'order-3' },
	{ %$event, stream => 'order-2', expected_version => 0 } ] })->{status}, 409, 'a conflict');
is($gateway->get('/streams/order-3')->{status}, 404, 'stores none of them');
is($gateway->post('/streams', { events => 1 })->{status}, 400, 'no array');
is($gateway->post('/streams', {})->{status}, 400, 'no events');

# Pages.
sub versions { return join ',', map { $_->{version} } @{ $_[0]{json}{events} } }
$answer = $gateway->get('/streams/order-1?from_version=2&max_events=2');
is(versions($answer), '2,3', 'a page of a stream');
is($answer->{headers}{etag}, '"4"', 'with its version');
is(versions($gateway->get('/streams/order-1?backwards=true&max_events=2')), '4,3', 'backwards');
$answer = $gateway->get('/streams?category=order&max_events=4');
is(versions($answer), '1,2,3,4', 'a page of a category');
is(versions($gateway->get("/streams?category=order&after_position=$answer->{json}{next}")), '1', 'and the next');
is(scalar @{ $gateway->get('/streams')->{json}{events} }, 7, 'all events');
for my $query ('max_events=0', 'max_events=1001', 'max_events=x', 'after_position=1.5', 'wait=-1', 'wait=1.2.3', 'x=1')
{
	is($gateway->get("/streams?$query")->{status}, 400, $query);
}
is($gateway->get('/streams/order-1?backwards=maybe')->{status}, 400, 'backwards=maybe');
# A page ends at about 1 MB.
sql(q{SELECT msgstore.append('large-1', 'x', jsonb_build_object('x', repeat('x', 400000))) FROM generate_series(1, 4)});
$answer = $gateway->get('/streams?category=large');
is(versions($answer), '1,2', 'large events');
is(versions($gateway->get("/streams?category=large&after_position=$answer->{json}{next}")), '3,4', 'the others follow');

# Subscriptions.
is($gateway->post('/subscriptions/mailer/fetch', {})->{status}, 404, 'no such subscription');
sql(q{SELECT msgstore.create_subscription('mailer', 'order')});
$answer = $gateway->post('/subscriptions/mailer/fetch', { max_events => 2 });
is(versions($answer), '1,2', 'fetch');
is($gateway->post('/subscriptions/mailer/ack', { position => $answer->{json}{next} })->{json}{position},
	$answer->{json}{next}, 'ack');
is($gateway->post('/subscriptions/mailer/ack', { position => 1 })->{status}, 409, 'not backwards');
is($gateway->post('/subscriptions/mailer/ack', {})->{status}, 400, 'no position');
is($gateway->post('/subscriptions/mailer/fetch', { member => 1 })->{status}, 404, 'no such member');
$answer = $gateway->get('/subscriptions')->{json}{subscriptions}[0];
is("$answer->{name} $answer->{lag_events}", 'mailer 3', 'list');
$answer = $gateway->post('/subscriptions/mailer/fetch', {});
$gateway->post('/subscriptions/mailer/ack', { position => $answer->{json}{next} });
is($gateway->post('/subscriptions/mailer/fetch', {})->{json}{next}, undef, 'at the end');

# A waiting request is woken by the commit and holds no lock. Answers come in the
# order of the events, whenever the requests begin to wait.
sub waits
{
	my ($n, $name) = @_;
	ok( $node->poll_query_until('postgres', "SELECT count(*) = $n FROM pg_stat_activity
			WHERE application_name = 'msgstore-gateway' AND wait_event_type = 'Extension'"), $name);
	return;
}
my $head = sql('SELECT msgstore.latest_position()');
my $page = $gateway->connection;
my $long = sub { my ($body) = @_; return "POST /subscriptions/mailer/fetch HTTP/1.1\r\nHost: x\r\n"
	. "Content-Type: application/json\r\nContent-Length: " . length($body) . "\r\n\r\n$body" };
syswrite $page, "GET /streams?category=order&after_position=$head&wait=180 HTTP/1.1\r\nHost: x\r\n\r\n";
my $fetch = $gateway->connection;
syswrite $fetch, $long->('{"wait": 180}');
waits(2, 'two requests wait');
sql(q{SELECT msgstore.append('other-1', 'x', '{}')});
is(sql(q{SELECT msgstore.seek('mailer', position) FROM msgstore.list_subscriptions(); SELECT 1}), "\n1",
	'meanwhile the subscription can be moved');
sql(q{SELECT msgstore.append('order-9', 'x', '{}')});
is(versions($gateway->read_answer($page)), '1', 'the append ends the wait for a category');
is(versions($gateway->read_answer($fetch)), '1', 'and for a subscription');

# A fifth of the connections may wait; more requests are answered at once.
$head = sql('SELECT msgstore.latest_position()');
my @waiting = map { $gateway->connection } 1 .. 2;
syswrite $_, "GET /streams?after_position=$head&wait=180 HTTP/1.1\r\nHost: x\r\n\r\n" for @waiting;
waits(2, 'two of ten connections wait');
$answer = $gateway->get("/streams?after_position=$head&wait=180");
is_deeply($answer->{json}, { events => [], next => $head }, 'one more does not wait');
is($answer->{headers}{'retry-after'}, 1, 'it says when to ask again');
sql(q{SELECT msgstore.append('order-9', 'x', '{}')});
is(versions($gateway->read_answer($_)), '2', 'the others are answered') for @waiting;
is(($gateway->stop)[0], 0, 'exit code 0');
done_testing();
