# Webhooks as providers deliver them when things go wrong: again and again, out of
# order, several at a time, and from three providers at once, while the server, its
# processes and the gateway are killed. Each is delivered until it is accepted. In the
# end each message is there once, each status is the latest, and nothing that was
# signed by somebody else.
#
# DELIVERIES is their number; "make soak" sets it.
use strict;
use warnings FATAL => 'all';

use Digest::SHA qw(hmac_sha1_base64 hmac_sha256_base64 hmac_sha256_hex);
use FindBin;
use HTTP::Tiny;
use JSON::PP;
use lib "$FindBin::Bin/..";
use MIME::Base64 qw(encode_base64);
use MsgstoreGateway ();
use MsgstoreServer;
use POSIX qw(_exit);
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

use constant { CLIENTS => 6, SECRET => 'the secret of all three sources', OWN => '+12016661234' };

my $deliveries = $ENV{DELIVERIES} // 900;
my $kills = $ENV{DELIVERIES} ? 20 : 3;
my $seed = $ENV{SOAK_SEED} // int rand 2**31;
srand $seed;
note "SOAK_SEED=$seed";

my $node = new_server('redelivered', "msgstore.workers = 1\nautovacuum = on\n");
$node->start;
add_database($node, 'postgres');
my $gateway = MsgstoreGateway->new($node);
my $port = $gateway->{port};
my $json = JSON::PP->new->utf8->canonical;

sub sql { return $node->safe_psql('postgres', $_[0]) }

# A status that goes back would be seen here, also if it came right again.
sql(<<'SQL');
CREATE TABLE backwards (channel text, id text, was text, became text);
CREATE FUNCTION note_backwards() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.backwards VALUES (NEW.channel, NEW.provider_message_id, OLD.status, NEW.status);
    RETURN NULL;
END
$$;
CREATE TRIGGER note_backwards AFTER UPDATE ON msgstore.deliveries FOR EACH ROW
WHEN (array_position('{queued,sent,delivered,read}', NEW.status)
      < array_position('{queued,sent,delivered,read}', OLD.status))
EXECUTE FUNCTION note_backwards();
SQL

# What each provider sends. A webhook is its path, body, content type, and how it is signed.
my %source = map {
	my $secret = $_ eq 'standard-webhooks' ? 'whsec_' . encode_base64(SECRET, '') : SECRET;
	($_ => sql("SELECT path FROM msgstore.create_source('$_', '$_', '$secret', 'https://hooks.example.com')"))
} qw(twilio whatsapp-cloud standard-webhooks);

sub sign
{
	my ($webhook, $secret) = @_;
	my $name = $webhook->{source};
	if ($name eq 'twilio')
	{
		my $fields = $webhook->{fields};
		my $digest = hmac_sha1_base64(
			"https://hooks.example.com/api/webhooks/$source{twilio}" . join('', map { "$_$fields->{$_}" } sort keys %$fields),
			$secret);
		return ('X-Twilio-Signature' => $digest . '=' x (-length($digest) % 4));
	}
	return ('X-Hub-Signature-256' => 'sha256=' . hmac_sha256_hex($webhook->{body}, $secret)) if $name eq 'whatsapp-cloud';
	my ($id, $at) = ('msg_' . int rand 2**31, int time);
	my $digest = hmac_sha256_base64("$id.$at.$webhook->{body}", $secret);
	return ('webhook-id' => $id, 'webhook-timestamp' => $at,
		'webhook-signature' => 'v1,' . $digest . '=' x (-length($digest) % 4));
}

# Items are messages [id, text] and statuses [id, status].
sub webhook
{
	my ($name, $messages, $statuses) = @_;
	my %webhook = (source => $name, type => 'application/json');
	if ($name eq 'twilio')
	{
		my %fields = (AccountSid => 'AC1', map { (MessageSid => $_->[0], From => OWN, To => number($_->[0]), MessageStatus => $_->[1]) } @$statuses);
		%fields = (AccountSid => 'AC1', MessageSid => $_->[0], From => number($_->[0]), To => OWN, Body => $_->[1], NumMedia => 0) for @$messages;
		$webhook{fields} = \%fields;
		$webhook{type} = 'application/x-www-form-urlencoded';
		$webhook{body} = join '&', map { "$_=" . MsgstoreGateway::escape($fields{$_}) } sort keys %fields;
	}
	elsif ($name eq 'whatsapp-cloud')
	{
		$webhook{body} = $json->encode({ object => 'whatsapp_business_account', entry => [ { id => '1', changes => [ { field => 'messages', value => {
							messaging_product => 'whatsapp', metadata => { display_phone_number => substr(OWN, 1) },
							messages => [ map { { id => $_->[0], from => substr(number($_->[0]), 1), timestamp => '1720000000', type => 'text', text => { body => $_->[1] } } } @$messages ],
							statuses => [ map { { id => $_->[0], status => $_->[1], timestamp => '1720000000' } } @$statuses ] } } ] } ] });
	}
	else
	{
		my ($data) = ((map { { id => $_->[0], from => number($_->[0]), to => [OWN], body => $_->[1], timestamp => '2024-07-03T10:00:00Z' } } @$messages),
			(map { { provider_message_id => $_->[0], status => $_->[1] } } @$statuses));
		$webhook{body} = $json->encode({ type => 'x', data => $data });
	}
	return \%webhook;
}

# Whose number it is follows from the id, so that a message is the same each time.
sub number { my ($id) = @_; return '+1804555' . sprintf '%04d', unpack('%32C*', $id) * 37 % 1000 }

my (%text, %status, %known, @queue, @forged);
my @words = qw(sent delivered read);
while (@queue < $deliveries)
{
	my $name = (sort keys %source)[ rand 3 ];
	# Only WhatsApp has several items in a webhook.
	my $batch = $name eq 'whatsapp-cloud' ? 1 + int rand 3 : 1;
	my (@messages, @statuses);
	for (1 .. $batch)
	{
		my $id = sprintf '%s-%d', $name, scalar(keys %text) + 1;
		$text{$id} = "text of $id";
		push @messages, [ $id, $text{$id} ];
	}
	for (1 .. $batch)
	{
		my $id = sprintf '%s-out-%d', $name, scalar(keys %status) + 1;
		my $last = int rand 3;
		$status{$id} = $words[$last];
		push @statuses, map { [ $id, $words[$_] ] } 0 .. $last;
	}
	my @bodies = $name eq 'whatsapp-cloud'
	  ? (webhook($name, \@messages, []), webhook($name, [ reverse @messages ], \@statuses), map { webhook($name, [], [$_]) } @statuses)
	  : ((map { webhook($name, [$_], []) } @messages), map { webhook($name, [], [$_]) } @statuses);
	push @queue, map { [ 1, $_ ] } (@bodies) x 3;
	# One in ten is signed by somebody else.
	next if @queue <= 9 * @forged;
	my $id = "$name-forged-" . @forged;
	push @forged, $id;
	push @queue, map { [ 0, $_ ] } webhook($name, [ [ $id, 'forged' ] ], []), webhook($name, [], [ [ $messages[0][0] =~ s/-\d/-out$&/r, 'failed' ] ]),
	  webhook($name, [], [ [ $id, 'failed' ] ]);
}
for my $i (reverse 1 .. $#queue)
{
	my $j = int rand $i + 1;
	@queue[ $i, $j ] = @queue[ $j, $i ];
}

# The messages that the statuses are about. Of a third the sender reports only in the end.
sub report_sent
{
	my ($condition) = @_;
	sql("SELECT msgstore.sent(o.message_id, o.id) FROM outgoing o WHERE $condition");
	return;
}
append_to_file($PostgreSQL::Test::Utils::tmp_check . '/outgoing', join '', map { "$_\n" } sort keys %status);
sql("CREATE TABLE outgoing (id text, n int GENERATED ALWAYS AS IDENTITY, message_id uuid);
	\\copy outgoing (id) FROM '$PostgreSQL::Test::Utils::tmp_check/outgoing'
	UPDATE outgoing SET message_id = (SELECT s.message_id FROM msgstore.send(
		CASE WHEN id LIKE 'whatsapp%' THEN 'whatsapp' ELSE 'sms' END, jsonb_build_object('from', '${\OWN}',
		'to', '+1804555' || lpad((n % 1000)::text, 4, '0'), 'body', id, 'timestamp', '2024-07-03T10:00:00Z')) s)");
report_sent('n % 3 > 0');

# A client delivers its part, each webhook until it is answered as it should be, and
# writes a byte for each.
sub deliver_part
{
	my ($part, $progress) = @_;
	my $http = HTTP::Tiny->new(timeout => 30);
	for (my $i = $part; $i < @queue; $i += CLIENTS)
	{
		my ($genuine, $webhook) = @{ $queue[$i] };
		my $end = time + 300;
		while (1)
		{
			my $answer = $http->post("http://127.0.0.1:$port/api/webhooks/$source{ $webhook->{source} }",
				{ headers => { 'Content-Type' => $webhook->{type}, sign($webhook, $genuine ? SECRET : 'other') }, content => $webhook->{body} });
			last if $answer->{status} =~ ($genuine ? qr/^20[02]$/ : qr/^40[13]$/);
			die "status $answer->{status}: $answer->{content}" if $answer->{status} !~ /^5/ || time > $end;
			sleep 0.05;
		}
		syswrite $progress, '.';
	}
	return;
}

pipe my $progress, my $writer or die "pipe: $!";
my %client;
for my $part (0 .. CLIENTS - 1)
{
	my $pid = fork() // die "fork: $!";
	if ($pid == 0)
	{
		close $progress;
		my $done = eval { deliver_part($part, $writer); 1 };
		print STDERR $@ if !$done;
		_exit($done ? 0 : 1);
	}
	$client{$pid} = 1;
}
close $writer;

# In turn, at certain numbers of deliveries.
my @kill = (
	[ 'a session' => sub { my $pid = sql("SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'msgstore-gateway%' LIMIT 1"); kill 'KILL', $pid if $pid } ],
	[ 'the gateway' => sub {
			$gateway->stop('KILL');
			$gateway = MsgstoreGateway->new($node, env => { PORT => $port });
			$gateway->{port} = $port;
		} ],
	[ 'the server' => sub { $node->stop('immediate'); $node->start } ]);
my %killed = map { ($_->[0] => 0) } @kill;
my $count = 0;
my $start = time;
my $next = 0;
while (1)
{
	my $got = sysread $progress, my $bytes, 65536;
	next if !defined $got && $!{EINTR};
	die "cannot read the progress: $!" if !defined $got;
	last if $got == 0;
	$count += $got;
	next if $next >= $kills || $count < ($next + 1) * @queue / ($kills + 1);
	my ($what, $code) = @{ $kill[ $next++ % @kill ] };
	$code->();
	ok(eventually(sub { answer_of($node, 'postgres', 'SELECT 1') }), "the server answers after the end of $what");
	$killed{$what}++;
}
my $seconds = time - $start;
my $failed = 0;
for (keys %client) { waitpid $_, 0; $failed++ if $? }
is($failed, 0, 'every client delivered everything');
is($count, scalar @queue, 'which is all of it');
is(join(' ', grep { !$killed{$_} } sort keys %killed), '', 'everything was killed');
report_sent('n % 3 = 0');

wait_for_processed($node, 'postgres');
my %stored = map { split /\|/, $_, 2 } split /\n/, sql("SELECT provider_message_id, body FROM msgstore.messages WHERE direction = 'inbound'");
is(sql("SELECT count(*) FROM msgstore.messages WHERE direction = 'inbound'"), scalar keys %text, 'each message is stored');
is_deeply(\%stored, \%text, 'once, with its text');
is(sql('SELECT count(*) || \' \' || count(DISTINCT provider_message_id) FROM msgstore.event_log'), join(' ', (scalar keys %text) x 2), 'from one event each');
is(sql('SELECT count(*) FROM msgstore.id_conflicts'), 0, 'none is taken for another one');
my %reached = map { split /\|/ } split /\n/, sql("SELECT provider_message_id, status FROM msgstore.outbound_messages");
is_deeply(\%reached, \%status, 'each status is the latest');
is(sql('SELECT * FROM backwards'), '', 'and never went back');
my $unverified = sql("SELECT (SELECT count(*) FROM msgstore.event_log WHERE payload::text LIKE '%forged%')
	+ (SELECT count(*) FROM msgstore.delivery_statuses WHERE status = 'failed' OR provider_message_id LIKE '%forged%')
	+ (SELECT count(*) FROM msgstore.deliveries WHERE provider_message_id LIKE '%forged%')
	+ (SELECT count(*) FROM msgstore.refused_events)");
is($unverified, 0, 'nothing unverified is stored');
is(violations($node, 'postgres'), '', 'check() finds nothing');

my $report = sprintf '%d deliveries in %d s (%d/s) of %d messages and %d statuses from three sources, %d forged, %s killed; '
  . 'lost %d, doubled %d, backwards %d, unverified stored %d',
  $count, $seconds, $count / ($seconds || 1), scalar keys %text, scalar keys %status, scalar(grep { !$_->[0] } @queue),
  join(', ', map { "$_ $killed{$_} times" } sort keys %killed),
  scalar(grep { !defined $stored{$_} } keys %text),
  sql('SELECT count(*) - count(DISTINCT provider_message_id) FROM msgstore.messages WHERE direction = \'inbound\''),
  sql('SELECT count(*) FROM backwards'), $unverified;
note $report;
append_to_file($ENV{SOAK_REPORT}, "$report\n") if $ENV{SOAK_REPORT};

is(($gateway->stop)[0], 0, 'exit code 0');
$node->stop;
done_testing();
