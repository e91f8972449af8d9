# Destinations: notifications are signed, ordered, retried, given up and redriven, and go
# to no private address unless that is allowed.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::Bin/..";
use Digest::SHA qw(hmac_sha256_base64);
use MIME::Base64 qw(decode_base64);
use MsgstoreGateway;
use MsgstoreSender;
use PostgreSQL::Test::Utils;
use Test::More;

plan skip_all => 'python3 with aiosmtpd is not installed'
  if system('python3 -c "import aiosmtpd" 2>/dev/null') != 0;

my $node = start_cluster('destinations',
	"msgstore.workers = 1\nmsgstore.max_retries = 0\n");
my ($port, undef, $log) = start_stand_in();
my $secret = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw';
my $serial = 0;

sub sql { return $node->safe_psql('postgres', $_[0]) }

sub receive
{
	my ($body, %fields) = @_;
	my $payload = JSON::PP->new->canonical->encode({ from => '+18045551234', to => '+12016661234', body => $body,
		timestamp => '2024-11-01T14:00:00Z', messaging_provider_id => 'in-' . ++$serial, %fields });
	return sql("SELECT event_id FROM msgstore.ingest('sms', \$p\$$payload\$p\$)");
}

# The notifications that the stand-in got, whose body has this text.
sub told
{
	my ($text) = @_;
	return grep { index($_->{raw}, $text) >= 0 } requests($log);
}

sub waiting { return sql('SELECT coalesce(sum(waiting), 0) FROM msgstore.list_destinations()') }

# Without a destination nothing is written.
my $id = receive('before');
ok(eventually(sub { sql('SELECT count(*) FROM msgstore.messages') == 1 }), 'a message');
is(sql('SELECT count(*) FROM msgstore.destination_news'), 0, 'nobody is told');

sql("SELECT msgstore.create_destination('crm', 'http://127.0.0.1:$port/crm',
	'{message.received,message.status,conversation.created,event.dead}', '$secret', retry_after => '{10ms,10ms}')");
my $sender = start_sender($node, flags => ['--allow-private']);
$id = receive('Hello', from => '+18045550001');
ok(eventually(sub { waiting() == 0 && told($id) }), 'a message is told');
is(join(' ', map { $_->{body}{type} } requests($log)), 'conversation.created message.received', 'after its conversation');
my ($request) = told($id);
is("$request->{body}{data}{body} $request->{body}{data}{from}", 'Hello +18045550001', 'with its content');
is($request->{path}, '/crm', 'at the URL');
my $signed = join '.', $request->{headers}{'webhook-id'}, $request->{headers}{'webhook-timestamp'}, $request->{raw};
utf8::encode($signed);
my $signature = hmac_sha256_base64($signed, decode_base64(substr $secret, 6));
$signature .= '=' while length($signature) % 4;
is($request->{headers}{'webhook-signature'}, "v1,$signature", 'signed');

# Statuses and dead letters.
my $sent = sql(q(SELECT message_id FROM msgstore.send('sms', '{"from": "+12016661234", "to": "+18045550001", "body": "x", "timestamp": "2024-11-01T14:00:00Z"}')));
sql("SELECT msgstore.sent('$sent', 'P-1'); SELECT msgstore.record_status('sms', 'P-1', 'delivered')");
ok(eventually(sub { grep { $_->{body}{data}{status} eq 'delivered' } grep { $_->{body}{type} eq 'message.status' } told($sent) }), 'a status is told');
sql('CREATE FUNCTION fail(m msgstore.messages) RETURNS void LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION $e$no$e$; END$$');
sql(q(SELECT msgstore.add_handler('sms', 'fail')));
my $dead = receive('dies');
ok(eventually(sub { grep { $_->{body}{type} eq 'event.dead' } told($dead) }), 'a dead letter is told');
sql(q(SELECT msgstore.remove_handler('sms', 'fail')));

# A failure is retried, and later notifications of the conversation wait for it.
my @ids = map { receive($_, from => '+18045550002') } 'one do=500,500,200', 'two', 'three';
ok(eventually(sub { told($ids[2]) }), 'three messages are told');
my %of = map { my $n = $_; map { $_->{headers}{'webhook-id'} => $n } told($ids[$n]) } 0 .. 2;
is(join(' ', map { $of{ $_->{headers}{'webhook-id'} } } grep { exists $of{ $_->{headers}{'webhook-id'} } } requests($log)),
	'0 0 0 1 2', 'in the order of the conversation, the first one three times');
is(scalar(() = keys %of), 3, 'with one id each');

# Given up, and redriven.
@ids = map { receive($_, from => '+18045550003') } 'bad do=500,500,500,200', 'good';
ok(eventually(sub { told($ids[1]) }), 'a notification that was given up does not block the next one');
ok(eventually(sub { sql('SELECT waiting, dead FROM msgstore.list_destinations()') eq '0|1' }), 'it is dead');
is(sql(q(SELECT msgstore.resume_destination('crm', redrive => true))), 1, 'redriven');
ok(eventually(sub { told($ids[0]) == 4 && sql('SELECT dead + waiting FROM msgstore.list_destinations()') == 0 }), 'and delivered');

# 410 pauses; what happens meanwhile is kept.
$id = receive('gone do=410,200', from => '+18045550004');
ok(eventually(sub { sql('SELECT paused FROM msgstore.list_destinations()') eq 't' }), '410 pauses the destination');
my $later = receive('later', from => '+18045550005');
ok(eventually(sub { waiting() >= 3 }), 'notifications wait');
is(scalar told($later), 0, 'and are not sent');
sql(q(SELECT msgstore.resume_destination('crm')));
ok(eventually(sub { told($later) && waiting() == 0 }), 'until it is resumed');

# Rotation: two signatures; then a test.
my $new = sql(q(SELECT msgstore.rotate_destination_secret('crm')));
like($new, qr/^whsec_[A-Za-z0-9+\/]{32}$/, 'a new secret');
$id = sql(q(SELECT msgstore.test_destination('crm')));
$id =~ s/-//g;
ok(eventually(sub { grep { $_->{headers}{'webhook-id'} eq "msg_$id" } requests($log) }), 'a test is delivered');
($request) = grep { $_->{headers}{'webhook-id'} eq "msg_$id" } requests($log);
like($request->{headers}{'webhook-signature'}, qr/^v1,\S+ v1,\S+$/, 'with a signature by each secret');
is($request->{body}{type}, 'test', 'as a test');
is(($sender->stop)[0], 0, 'exit code 0');

# A sender that is killed: another one delivers, with the same id.
sql("UPDATE msgstore.destinations SET timeout = '1 minute'");
$sender = start_sender($node, flags => ['--allow-private']);
$id = receive('killed do=hang,200', from => '+18045550006');
ok(eventually(sub { told($id) == 1 }), 'a notification is under way');
$sender->stop('KILL');
sql('UPDATE msgstore.notifications SET next_attempt_at = now()');
$sender = start_sender($node, flags => ['--allow-private']);
ok(eventually(sub { told($id) == 2 && waiting() == 0 }), 'the next sender delivers it');
my %same = map { $_->{headers}{'webhook-id'} => 1 } told($id);
is(scalar keys %same, 1, 'with the same id');
$sender->stop;

# Private addresses are refused, by whatever name.
sql("SELECT msgstore.drop_destination('crm')");
my %urls = (v4 => "http://127.0.0.1:$port/x", name => "http://localhost:$port/x", mapped => "http://[::ffff:127.0.0.1]:$port/x",
	v6 => "http://[::1]:$port/x", nat64 => "http://[64:ff9b::7f00:1]:$port/x", local64 => "http://[64:ff9b:1::7f00:1]:$port/x",
	six => "http://[2002:7f00:1::1]:$port/x", teredo => "http://[2001::1]:$port/x", short => "http://127.1:$port/x", any => "http://0.0.0.0:$port/x", metadata => 'http://169.254.169.254/x');
sql("SELECT msgstore.create_destination('$_', '$urls{$_}')") for sort keys %urls;
my $count = requests($log);
# Nor through a proxy, which would reach them: what is elsewhere is called directly, in vain.
sql("SELECT msgstore.create_destination('public', 'http://203.0.113.1:9/x', timeout => '1 second')");
$sender = start_sender($node, env => { http_proxy => "http://127.0.0.1:$port", no_proxy => undef });
sql("SELECT msgstore.test_destination('$_')") for 'public', sort keys %urls;
ok(eventually(sub { sql('SELECT count(*) FROM msgstore.list_destinations() WHERE failures > 0') == 1 + keys %urls }), 'all fail');
is(sql("SELECT string_agg(name, ' ') FROM msgstore.list_destinations() WHERE last_error !~ 'the address is private'"),
	'public', 'because their addresses are private');
is(scalar(requests($log)), $count, 'no request was made');
$sender->stop;

done_testing();
