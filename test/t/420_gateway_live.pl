# GET /api/events: changes as server-sent events and as long polls. A client that
# comes back continues where it was, without a gap and without a repeat.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::Bin/..";
use IO::Select;
use MsgstoreGateway;
use Test::More;
use Time::HiRes qw(time);

my $node = start_cluster('live');

sub sql { return $node->safe_psql('postgres', $_[0]) }

# Stores messages and processes them, in one transaction each.
sub receive
{
	my ($tenant, @names) = @_;
	sql("SET msgstore.tenant_id = '$tenant'; SELECT msgstore.ingest('sms', jsonb_build_object('from', '+1' || length(n), 'to', '+2',
		'body', n, 'messaging_provider_id', n, 'timestamp', '2024-11-01T14:00:00Z')) FROM unnest('{" . join(',', @names) . "}'::text[]) n;
		SELECT msgstore.process();");
	return;
}

# The names of these messages.
sub names
{
	my (@changes) = @_;
	my %name = map { split /\|/ } split /\n/, sql('SELECT id, body FROM msgstore.messages');
	return join ' ', sort map { $name{ $_->{id} // '' } // $_->{kind} } @changes;
}

package Stream
{
	use MsgstoreGateway;
	use Time::HiRes qw(time);

	sub new
	{
		my ($class, $gateway, $query, %headers) = @_;
		my $self = bless { socket => $gateway->connection, data => '' }, $class;
		%headers = (Host => 'x', Accept => 'text/event-stream', %headers);
		MsgstoreGateway::syswrite_all($self->{socket},
			"GET /api/events$query HTTP/1.1\r\n" . join('', map { "$_: $headers{$_}\r\n" } sort keys %headers) . "\r\n");
		$self->read_until(qr/\A(.*?)\r\n\r\n/s);
		($self->{head}) = $self->{data} =~ /\A(.*?)\r\n\r\n/s;
		$self->{data} =~ s/\A.*?\r\n\r\n//s;
		return $self;
	}

	# Returns false at the end of the stream, or at the deadline.
	sub read_until
	{
		my ($self, $pattern) = @_;
		my $end = time + MsgstoreGateway::DEADLINE;
		while ($self->{data} !~ $pattern)
		{
			my $left = $end - time;
			return 0 if $left <= 0 || !IO::Select->new($self->{socket})->can_read($left);
			return 0 if !sysread $self->{socket}, $self->{data}, 65536, length $self->{data};
		}
		return 1;
	}

	# The next event as a hash, or undef; heartbeats are left out.
	sub event
	{
		my ($self) = @_;
		my $end = time + MsgstoreGateway::DEADLINE;
		while (time < $end && $self->read_until(qr/\A.*?\n\n/s))
		{
			$self->{data} =~ s/\A(.*?)\n\n//s;
			my %event = map { /^(\w+): ?(.*)$/ ? ($1 => $2) : () } split /\n/, $1;
			next if !exists $event{data};
			$self->{id} = $event{id} if $event{id};
			$event{json} = MsgstoreGateway::decode($event{data});
			return \%event;
		}
		return undef;
	}

	# Reads changes until there are so many.
	sub changes
	{
		my ($self, $number) = @_;
		my @changes;
		while (@changes < $number && (my $event = $self->event))
		{
			push @changes, @{ $event->{json}{changes} };
		}
		return @changes;
	}
}

my $gateway = MsgstoreGateway->new($node, env => { HTTP_MAX_CONNECTIONS => 16 });

# The first event says where the stream begins.
my $stream = Stream->new($gateway, '');
like($stream->{head}, qr{\AHTTP/1.1 200 OK\r\n}, 'a stream begins');
like($stream->{head}, qr{^Content-Type: text/event-stream\r$}m, 'with its type');
unlike($stream->{head}, qr{^Content-Length}m, 'and has no length');
is($stream->event->{event}, 'ready', 'its first event tells that it is complete from now on');
receive('', 'a', 'bb');
is(names($stream->changes(2)), 'a bb', 'messages are told');
my $place = $stream->{id};
receive('', 'c');
is(names($stream->changes(1)), 'c', 'and later ones, on the same stream');

# Each change once, whatever was the last event that arrived.
close $stream->{socket};
receive('', 'd');
receive('', 'e', 'f');
$stream = Stream->new($gateway, '', 'Last-Event-ID' => $stream->{id});
$stream->event;
is(names($stream->changes(3)), 'd e f', 'a client that comes back gets what it has missed');
receive('', 'g');
is(names($stream->changes(1)), 'g', 'and what comes then');
my $again = Stream->new($gateway, "?after=$place");
is($again->event->{event}, 'ready', 'from any place');
is(names($again->changes(5)), 'c d e f g', 'a client gets all that followed');

# Filters.
my %filtered = map { $_ => Stream->new($gateway, "?$_") }
  ('conversation=' . sql("SELECT number FROM msgstore.conversations WHERE key LIKE '%+12%'"), 'channel=email', 'kinds=status,operation');
$_->event for values %filtered;
receive('', 'h', 'ii');
sql(q{UPDATE msgstore.channels SET provider = 'mock' WHERE name = 'sms'});
$gateway->post('/api/messages/sms', sms(body => 'j'));
$gateway->post('/api/messages/email', email(body => 'k'));
sql(q{SELECT msgstore.sent(message_id, 'p-1', 's') FROM msgstore.claim_outbound('s', 10)});
is(names($filtered{'channel=email'}->changes(1)), 'k', 'by channel');
like(join(' ', map { $_->{status} } $filtered{'kinds=status,operation'}->changes(1)), qr/^sent/, 'by kind');
is(names(map { $filtered{$_}->changes(1) } grep { /conversation/ } keys %filtered), 'ii', 'by conversation');

# Who follows one conversation gets its changes of a transaction in one event, in their order.
{
	my @followers = map { Stream->new($gateway, "?conversation=" . sql("SELECT number FROM msgstore.conversations WHERE key LIKE '%:+$_<%'")) } 11, 11, 12;
	$_->event for @followers;
	receive('', 'w', 'xx', 'y', 'zz');
	my @told = map { my $event = $_->event; join ' ', map { names($_) } @{ $event->{json}{changes} } } @followers;
	is_deeply(\@told, [ 'w y', 'w y', 'xx zz' ], 'several follow a conversation');
}

# Long polls.
my $poll = $gateway->get('/api/events')->{json};
is_deeply($poll->{changes}, [], 'a poll without a position returns the present one');
is_deeply($gateway->get("/api/events?after=$poll->{next}&timeout=0")->{json}{changes}, [], 'nothing has changed since');
my $waiting = $gateway->connection;
MsgstoreGateway::syswrite_all($waiting, "GET /api/events?after=$poll->{next}&timeout=60 HTTP/1.1\r\nHost: x\r\n\r\n");
receive('', 'l');
my $answer = $gateway->read_answer($waiting);
is($answer->{status}, 200, 'a poll that waits is answered');
is(names(@{ $answer->{json}{changes} }), 'l', 'with what has changed');
isnt($answer->{json}{next}, $poll->{next}, 'and the next position');
is_deeply($gateway->get("/api/events?after=$answer->{json}{next}&timeout=0")->{json}{changes}, [], 'after which nothing has changed');

# What is refused.
for my $query ('after=1', 'after=1:2', 'after=9:2:', 'after=2:9:9', 'after=2:9:4,3', 'after=2:9:,', 'after=0:9:', 'after=1:1234567890123456789:', 'kinds=x', 'kinds=reset', 'timeout=61', 'timeout=-1', 'conversation=x y', 'color=red')
{
	my $status = $query =~ /conversation/ ? 404 : 400;
	is($gateway->get('/api/events?' . $query =~ s/ /%20/r)->{status}, $status, "$query: $status");
}
is($gateway->request('HEAD', '/api/events')->{status}, 200, 'HEAD is answered at once');
is(names(@{ $gateway->get('/api/events?after=900000000:900000000:&timeout=0')->{json}{changes} }), 'reset',
	'a position of another time is answered with a reset');

# Listeners do not hold connections.
my @many = map { Stream->new($gateway, '?channel=chat') } 1 .. 100;
$_->event for @many;
is($gateway->get('/healthz')->{status}, 200, 'a hundred listeners leave room for requests');
ok(eventually(sub { $gateway->metrics->{listeners} == 105 }), 'and are counted');
is(sql(q{SELECT count(*) FROM pg_stat_activity WHERE application_name = 'msgstore-gateway live'}), 1, 'one database session serves all');
sql(q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'msgstore-gateway live'});
receive('', 'm');
$stream = Stream->new($gateway, '?kinds=message', 'Last-Event-ID' => $answer->{json}{next});
$stream->event;
is(names($stream->changes(1)), 'm', 'a lost session loses nothing');

# Idle listeners cost nothing: the session sleeps in one statement and holds no snapshot.
{
	my $live = q{FROM pg_stat_activity WHERE application_name = 'msgstore-gateway live'};
	my $next = $gateway->get('/api/events')->{json}{next};
	ok( eventually(
			sub {
				my $before = sql("SELECT query_start $live AND query LIKE 'CALL %' AND state = 'active'");
				$next = $gateway->get("/api/events?after=$next&timeout=1")->{json}{next};
				return $before && $before eq sql("SELECT query_start $live AND backend_xmin IS NULL AND backend_xid IS NULL");
			}),
		'idle listeners run no statement for a second, and hold no snapshot');
	sql(q{SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE application_name = 'msgstore-gateway live'});
	receive('', 'n');
	is(names($stream->changes(1)), 'n', 'a cancelled statement loses nothing');
}

sub send_many
{
	sql(q{SELECT msgstore.send('email', jsonb_build_object('from', 'a@x.org', 'to', 'b' || n || '@x.org', 'body', 'x' || random(),
		'timestamp', '2024-11-01T14:00:00Z')) FROM generate_series(1, 900) n});
	return;
}

# A client that does not read is dropped, and the others are served.
{
	my $deaf = Stream->new($gateway, '');
	$deaf->event;
	ok( eventually(
			sub {
				send_many();
				$stream->changes(900);
				return $gateway->metrics->{listeners_dropped} > 0;
			}, 120),
		'a client that does not read is dropped');
	receive('', 'o');
	ok((grep { names($_) eq 'o' } $stream->changes(1)), 'the others go on');
}

# Who has missed several pages gets each change once, and then what follows.
{
	my $late = $stream->{id};
	for (1 .. 3) { send_many(); $stream->changes(900); }
	my $back = Stream->new($gateway, '?kinds=message', 'Last-Event-ID' => $late);
	is($back->event->{event}, 'ready', 'a client comes back late');
	my %missed = map { $_->{id} => 1 } $back->changes(2700);
	is(keys %missed, 2700, 'and gets all that it has missed');
	receive('', 'oo');
	is(names($_->changes(1)), 'oo', 'before what follows') for $back, $stream;
}
close $_->{socket} for @many;
ok(eventually(sub { $gateway->metrics->{listeners} < 10 }), 'clients that have gone are forgotten');

# The server restarts.
$place = $stream->{id};
$node->restart;
receive('', 'p');
is(names($stream->changes(1)), 'p', 'a restart of the server loses nothing');
# A crash empties the list of changes. The stream has told all of them.
$node->stop('immediate');
$node->start;
receive('', 'q');
like(names($stream->changes(1)), qr/\A(reset|q)\z/, 'after a crash the stream goes on');
is(names(@{ $gateway->get("/api/events?after=$place&timeout=0")->{json}{changes} }), 'reset',
	'and who has not seen all changes is told');

# A gateway that stops ends its streams.
my ($code, $seconds) = $gateway->stop;
is($code, 0, 'the gateway stops');
is($stream->event, undef, 'and the stream ends');

# Keys: each tenant sees its own changes.
my %key = map { $_ => sql("SELECT msgstore.create_api_key('$_', '{read}')") } qw(x y);
$gateway = MsgstoreGateway->new($node, env => { AUTH_ENABLED => 'on', HTTP_MAX_LISTENERS => 2 });
is($gateway->get('/api/events')->{status}, 401, 'without a key: 401');
my %of = map { $_ => Stream->new($gateway, '', Authorization => "Bearer $key{$_}") } qw(x y);
$_->event for values %of;
is($gateway->get('/api/events', Authorization => "Bearer $key{x}")->{status}, 503, 'above the limit: 503');
receive('', 'r');
receive('x', 's');
receive('y', 't');
receive('x', 'u');
is(names($of{x}->changes(2)), 's u', 'a tenant sees its own changes');
is(names($of{y}->changes(1)), 't', 'and so does the other one');
sql(q{SELECT msgstore.revoke_api_key(prefix) FROM msgstore.list_api_keys() WHERE tenant_id = 'x'});
is($of{x}->event, undef, 'the stream of a revoked key ends');
receive('y', 'v');
is(names($of{y}->changes(1)), 'v', 'the others go on');
is(names(@{ $gateway->get("/api/events?after=$of{x}{id}&timeout=0", Authorization => "Bearer $key{y}")->{json}{changes} }), 'v',
	'the position of one tenant shows another one nothing of it');

done_testing();
