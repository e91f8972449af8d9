# Media that providers keep are fetched by msgstore-sender, with the secret of an account
# that goes to the provider's hosts only; what fails is tried again, and can be seen.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::Bin/..";
use MIME::Base64 qw(encode_base64);
use MsgstoreGateway;
use MsgstoreSender;
use PostgreSQL::Test::Utils;
use Test::More;

plan skip_all => 'python3 with aiosmtpd is not installed'
  if system('python3 -c "import aiosmtpd" 2>/dev/null') != 0;

my $node = start_cluster('media', "msgstore.workers = 1\n");
my $gateway = MsgstoreGateway->new($node);
my ($port, undef, $log) = start_stand_in();
my $base = "http://127.0.0.1:$port";
my $elsewhere = "http://localhost:$port";
my $basic = 'Basic ' . encode_base64('user:pass', '');

sub sql { return $node->safe_psql('postgres', $_[0]) }

sub source
{
	my ($name, $provider, $account) = @_;
	return sql("SELECT path FROM msgstore.create_source('$name', '$provider', scheme => 'none', media_account => '$account',
		max_attachment_bytes => 1000)");
}

# Receives an mms with these media; returns the ids of its attachments.
sub receive
{
	my ($path, $id, @urls) = @_;
	my $body = "MessageSid=$id&From=%2B15551230001&To=%2B15559870001&Body=x&NumMedia=" . @urls
	  . join '', map { "&MediaUrl$_=" . MsgstoreGateway::escape($urls[$_]) . "&MediaContentType$_=image/jpeg" } 0 .. $#urls;
	my $event = sql("SELECT id FROM msgstore.receive_webhook('$path', 'POST', 'http://x/', "
		  . "'{\"Content-Type\": \"application/x-www-form-urlencoded\"}', convert_to('$body', 'UTF8'))");
	return split /\n/, sql("SELECT id FROM msgstore.attachments WHERE message_id = '$event' ORDER BY position");
}

sub state_of
{
	return sql("SELECT concat_ws(' ', CASE WHEN content IS NOT NULL THEN 'stored' WHEN next_fetch_at IS NOT NULL THEN 'waits' ELSE 'failed' END,
		octet_length(content), media_type, fetch_error) FROM msgstore.attachments WHERE id = '$_[0]'");
}

sub becomes
{
	my ($id, $state, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $last = '';
	eventually(sub { ($last = state_of($id)) =~ $state });
	return like($last, $state, $what);
}

sub secrets_of { my ($path) = @_; return join ' ', map { $_->{headers}{authorization} // 'none' } grep { $_->{path} =~ /^\Q$path\E/ } requests($log) }

sql("SELECT msgstore.create_account('tw', 'twilio', '{mms}', 'user:pass', '{\"account_sid\": \"AC1\"}', base_url => '$base')");
my $twilio = source('tw', 'twilio', 'tw');
my $sender = start_sender($node, flags => ['--allow-private']);

# With the secret, and where the provider redirects to without it.
my @ids = receive($twilio, 'MM1', "$base/private/1?size=500&type=image/png", "$base/private/2?to=$elsewhere/redirected", "$elsewhere/other");
becomes($ids[0], qr{^stored 500 image/png$}, 'a file that needs the secret');
becomes($ids[1], qr{^stored 3 image/jpeg$}, 'a file that the provider has elsewhere');
becomes($ids[2], qr{^stored 3 image/jpeg$}, 'a file of another host');
is(secrets_of('/private/1'), $basic, 'the provider gets the secret');
is(secrets_of('/redirected') . ' ' . secrets_of('/other'), 'none none', 'nobody else does');
is(sql("SELECT payload ->> 'attachments' FROM msgstore.inbound_events WHERE provider_message_id = 'MM1'"),
	'[' . join(', ', map { "\"/api/attachments/$_\"" } @ids) . ']', 'the payload has their paths');
my $answer = $gateway->get("/api/attachments/$ids[0]");
is("$answer->{status} $answer->{headers}{'content-type'} " . length $answer->{content}, '200 image/png 500', 'where they are');
my $count = requests($log);
receive($twilio, 'MM1', "$base/private/1?size=500&type=image/png", "$base/private/2?to=$elsewhere/redirected", "$elsewhere/other");

# What cannot be fetched.
my ($large) = receive($twilio, 'MM2', "$base/large?size=1001");
becomes($large, qr{^failed image/jpeg the file has more than 1000 bytes$}, 'a file that is too large is given up');
is(scalar(requests($log)), $count + 1, 'a webhook that is delivered again fetches nothing');
$answer = $gateway->get("/api/attachments/$large");
is("$answer->{status} $answer->{json}{details}", '404 It could not be fetched: the file has more than 1000 bytes.', 'which is told');
is(sql("SELECT media_failed FROM msgstore.list_sources()"), 1, 'and counted by source');
my ($late) = receive($twilio, 'MM3', "$base/late?do=404,500,200&size=7");
becomes($late, qr{^waits image/jpeg the provider answered 404$}, 'a file that is not there yet waits');
my ($line) = grep { ($_->{attachment_id} // '') eq $late } $sender->log_lines;
is("$line->{message} $line->{status} $line->{answer} $line->{account}", 'could not fetch waiting 404 tw', 'the log has it');
sql("UPDATE msgstore.attachments SET next_fetch_at = now() WHERE id = '$late'; SELECT msgstore._watch_outbox()");
becomes($late, qr{^waits image/jpeg the provider answered 500$}, 'and is tried again when its time comes');
sql("SELECT msgstore.fetch_attachment('$late')");
becomes($late, qr{^stored 7 image/jpeg$}, 'or when somebody asks for it');
my $nobody = source('nobody', 'twilio', 'nobody');
my ($waits) = receive($nobody, 'MM4', "$base/private/4");
becomes($waits, qr{^waits image/jpeg account "nobody" does not exist$}, 'without the account it waits for it');

# WhatsApp tells the URL of an id.
sql("SELECT msgstore.create_account('wa', 'whatsapp-cloud', '{whatsapp}', 'token', '{\"phone_number_id\": \"1\"}', base_url => '$base')");
my $whatsapp = source('wa', 'whatsapp-cloud', 'wa');
sql(qq(SELECT msgstore.receive_webhook('$whatsapp', 'POST', '', '{"Content-Type": "application/json"}', '{"entry": [{"changes": [{"value": {
	"metadata": {"display_phone_number": "15559870002"}, "messages": [{"from": "15551230001", "id": "wamid.1", "timestamp": "1720000000",
	"type": "image", "image": {"id": "777", "mime_type": "image/jpeg"}}]}}]}]}')));
my $image = sql("SELECT id FROM msgstore.attachments WHERE content_id = '777'");
becomes($image, qr{^stored 3 image/jpeg$}, 'media of WhatsApp');
is(secrets_of('/v23.0/777') . ' ' . secrets_of('/private/found'), 'Bearer token Bearer token', 'are looked up by id');
$sender->stop;

# No webhook can make the sender call a private address.
$sender = start_sender($node);
my ($private) = receive($twilio, 'MM5', "$base/private/5");
becomes($private, qr{^waits image/jpeg the address is private}, 'a private address is refused');
is(secrets_of('/private/5'), '', 'and not called');
$sender->stop;

is(($gateway->stop)[0], 0, 'exit code 0');
done_testing();
