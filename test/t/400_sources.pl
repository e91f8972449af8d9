# Webhooks of providers over HTTP: each is verified, stored once, and answered as
# its provider wants it.
use strict;
use warnings FATAL => 'all';

use Digest::SHA qw(hmac_sha1_base64 hmac_sha256_hex);
use FindBin;
use JSON::PP;
use MIME::Base64 qw(encode_base64);
use lib "$FindBin::Bin/..";
use MsgstoreGateway;
use Test::More;

my $node = start_cluster('sources');
my $gateway = MsgstoreGateway->new($node, env => { AUTH_ENABLED => 'on' });
my $form = 'application/x-www-form-urlencoded';
my %path;

sub sql { return $node->safe_psql('postgres', $_[0]) }
my $key = sql("SELECT msgstore.create_api_key('', 'operate')");

# Creates a source; returns its verify token. Arguments are SQL.
sub source
{
	my ($name, $arguments) = @_;
	my ($path, undef, $token) =
	  split /\|/, sql("SELECT * FROM msgstore.create_source('$name', $arguments)");
	$path{$name} = "/api/webhooks/$path";
	return $token;
}

sub deliver
{
	my ($name, $type, $body, %headers) = @_;
	return $gateway->request('POST', $path{$name},
		{ 'Content-Type' => $type, %headers }, $body);
}

sub deliver_json
{
	my ($name, $body, %headers) = @_;
	return deliver($name, 'application/json',
		ref $body ? JSON::PP->new->utf8->canonical->encode($body) : $body,
		%headers);
}

sub form
{
	my (%fields) = @_;
	return join '&',
	  map { MsgstoreGateway::escape($_) . '=' . MsgstoreGateway::escape($fields{$_}) } sort keys %fields;
}

sub padded { my ($digest) = @_; return $digest . '=' x (-length($digest) % 4) }

# As Twilio signs: the URL and the sorted parameters.
sub twilio
{
	my ($url, $token, %fields) = @_;
	return (
		'X-Twilio-Signature' => padded(
			hmac_sha1_base64(
				$url . join('', map { "$_$fields{$_}" } sort keys %fields), $token)));
}

sub events
{
	return sql("SELECT string_agg(concat_ws('|', channel, \"from\", \"to\", provider_message_id), "
		  . "E'\\n' ORDER BY id) FROM msgstore.inbound_events"
		  . ($_[0] ? " WHERE payload ->> 'source' = '$_[0]'" : ''));
}
sub stored { return sql('SELECT count(*) FROM msgstore.inbound_events') }
sub counter { return sql("SELECT value FROM msgstore._counters() WHERE name = '$_[0]'") }
sub payload { return decode(sql("SELECT payload FROM msgstore.inbound_events WHERE provider_message_id = '$_[0]'")) }

my $answer;
my $before;

## Twilio: a form with the account's secret, and a TwiML document as answer.
my $public = 'https://hooks.example.com';
source('twilio', "'twilio', 'auth token', '$public'");
my $url = "$public$path{twilio}";
my %message = (
	AccountSid => 'AC1',
	ApiVersion => '2010-04-01',
	Body => "Hi \x{c3}\x{a9}&=+ there",
	From => '+15551230001',
	MessageSid => 'SM1',
	MessagingServiceSid => 'MG1',
	NumMedia => '0',
	SmsStatus => 'received',
	To => '+15559870001');
$answer = deliver('twilio', $form, form(%message), twilio($url, 'auth token', %message));
is($answer->{status}, 200, 'a form of Twilio is accepted, also of a messaging service');
is($answer->{headers}{'content-type'}, 'text/xml', 'the answer is TwiML');
is($answer->{content}, '<?xml version="1.0" encoding="UTF-8"?><Response></Response>', 'without a reply');
is(events('twilio'), 'sms|+15551230001|+15559870001|SM1', 'the event');
is(payload('SM1')->{body}, "Hi \x{e9}&=+ there", 'its body');
is(payload('SM1')->{timestamp_from}, 'arrival', 'its timestamp is the time of arrival');
is(payload('SM1')->{original}{MessagingServiceSid}, 'MG1', 'and all that Twilio said');

# Again, and again with other content under the same id.
is(deliver('twilio', $form, form(%message), 'Idempotency-Key' => 'k',
		twilio($url, 'auth token', %message))->{status}, 200, 'delivered again');
is(counter('events_duplicate'), 1, 'it is a duplicate');
is(counter('events_conflicting'), 0, 'not a conflict, although its time of arrival differs');
$message{Body} = 'edited';
is(deliver('twilio', $form, form(%message), 'Idempotency-Key' => 'k',
		twilio($url, 'auth token', %message))->{status}, 200, 'other content under the same id');
is(stored(), 1, 'is not stored');
is(counter('events_conflicting'), 1, 'but counted');

# What is not signed, or signed by somebody else, stores nothing.
%message = (%message, MessageSid => 'SM2');
for (
	[ 'without a signature', form(%message) ],
	[ 'with a signature that is none', form(%message), 'X-Twilio-Signature' => '***' ],
	[ 'with another secret', form(%message), twilio($url, 'other', %message) ],
	[ 'for another URL', form(%message), twilio('https://other.example.com', 'auth token', %message) ],
	[ 'with a body that was changed', form(%message, Body => 'editeD'), twilio($url, 'auth token', %message) ],
	[ 'with a body that was added to', form(%message) . '&x=1', twilio($url, 'auth token', %message) ])
{
	my ($what, $body, %headers) = @$_;
	is(deliver('twilio', $form, $body, %headers)->{status}, 403, "403 for a webhook $what");
}
is(stored(), 1, 'nothing is stored');
is(sql('SELECT count(*) FROM msgstore.refused_events'), 0, 'not even as refused');
is(counter('source_unverified_missing'), 1, 'counted by reason: no signature');
is(counter('source_unverified_mismatch'), 5, 'and other ones');
is($gateway->get('/metrics', Accept => 'application/json', Authorization => "Bearer $key")->{json}{source_unverified_mismatch},
	5, 'the gateway shows it');
my ($shown) = $path{twilio} =~ /(wh_[0-9a-f]{8})/;
is(join(' ', sort $gateway->get('/metrics', Authorization => "Bearer $key")->{content}
		=~ /^msgstore_gateway_source_webhooks_total\{source="twilio",path="$shown",outcome="(\w+"\} \d+)$/mg),
	'accepted"} 3 refused"} 0 unverified"} 6', 'and counts by source');
is(deliver('twilio', $form, form(%message), twilio("$public:443$path{twilio}", 'auth token', %message))->{status},
	200, 'with the standard port in the URL');

# A JSON body is signed through its digest in the URL.
my $json = '{"MessageSid":"SM3","From":"+15551230001","To":"+15559870001","Body":"json"}';
my $query = '?bodySHA256=' . Digest::SHA::sha256_hex($json);
for ([ 200, $json, 'a JSON body' ], [ 403, "$json ", 'a JSON body that was changed' ])
{
	my ($status, $body, $what) = @$_;
	$answer = $gateway->request('POST', "$path{twilio}$query",
		{ 'Content-Type' => 'application/json', twilio("$url$query", 'auth token') }, $body);
	is($answer->{status}, $status, $what);
}
is(counter('source_unverified_body_changed'), 1, 'counted');

# Behind a proxy without a public URL: what a trusted proxy says.
source('twilio-proxied', "'twilio', 'auth token'");
my %seen = (%message, MessageSid => 'SM4');
for (
	[ 200, "https://proxy.example.org$path{'twilio-proxied'}",
		'X-Forwarded-Proto' => 'https', 'X-Forwarded-Host' => 'proxy.example.org' ],
	[ 200, "http://127.0.0.1:$gateway->{port}$path{'twilio-proxied'}" ],
	[ 403, "https://proxy.example.org$path{'twilio-proxied'}" ])
{
	my ($status, $signed, %headers) = @$_;
	is( deliver('twilio-proxied', $form, form(%seen), %headers, twilio($signed, 'auth token', %seen))->{status},
		$status, "$status for a signature of $signed");
}

# MMS: ten media, some without text; WhatsApp is a channel of its own.
my %mms = (%message, MessageSid => 'MM5', Body => '', NumMedia => 10);
@mms{ map { ("MediaUrl$_", "MediaContentType$_") } 0 .. 9 } =
  map { ("https://api.twilio.com/m/$_", 'image/jpeg') } 0 .. 9;
is(deliver('twilio', $form, form(%mms), twilio($url, 'auth token', %mms))->{status}, 200, 'ten media without text');
is(scalar @{ payload('MM5')->{attachments} }, 10, 'are all stored');
is_deeply(payload('MM5')->{media}[9], { url => 'https://api.twilio.com/m/9', type => 'image/jpeg' }, 'with their types');
my %whatsapp = (%message, MessageSid => 'SM6', From => 'whatsapp:+15551230001', To => 'whatsapp:+15559870001');
is(deliver('twilio', $form, form(%whatsapp), twilio($url, 'auth token', %whatsapp))->{status}, 200, 'WhatsApp');
my %blank = (%message, MessageSid => 'SM7', Body => '');
is(deliver('twilio', $form, form(%blank), twilio($url, 'auth token', %blank))->{status}, 200, 'a blank text');
my %text_only = (%message, MessageSid => 'MM8', Body => 'text only', NumMedia => '0');
is(deliver('twilio', $form, form(%text_only), twilio($url, 'auth token', %text_only))->{status}, 200, 'an mms of text only');
is(payload('MM8')->{body}, 'text only', 'its text');
sql('SELECT msgstore.process()');
is(sql(q{SELECT string_agg(key || ' ' || message_count, ', ' ORDER BY key COLLATE "C") FROM msgstore.conversations}),
	'mms:+15551230001<->+15559870001 1, sms:+15551230001<->+15559870001 6, whatsapp:+15551230001<->+15559870001 1',
	'conversations by channel');

# Status callbacks: the error code is on the message.
sub sent_as
{
	my ($id, %more) = @_;
	my $message = sql("SELECT message_id FROM msgstore.send('sms', '" . encode_json(sms(body => $id, %more)) . "')");
	sql("SELECT msgstore.sent('$message', '$id')");
	return $message;
}
sent_as('SM100');
for my $status ('accepted', 'sending', 'undelivered', 'sent')
{
	my %callback = (MessageSid => 'SM100', MessageStatus => $status, From => '+1', To => '+2', AccountSid => 'AC1',
		$status eq 'undelivered' ? (ErrorCode => '30003') : ());
	is(deliver('twilio', $form, form(%callback), twilio($url, 'auth token', %callback))->{status}, 200, $status);
}
is(sql("SELECT status, error_code FROM msgstore.outbound_messages WHERE provider_message_id = 'SM100'"),
	'undelivered|30003', 'the message has the status and the error code');

## Secrets can be rotated.
sql("SELECT msgstore.rotate_source_secret('twilio', 'new token')");
for ([ 200, 'auth token' ], [ 200, 'new token' ], [ 403, 'other token' ])
{
	my ($status, $token) = @$_;
	is(deliver('twilio', $form, form(%message), twilio($url, $token, %message))->{status}, $status, "rotation: $token");
}
sql("UPDATE msgstore.source_secrets SET not_after = now() WHERE not_after IS NOT NULL");
is(deliver('twilio', $form, form(%message), twilio($url, 'auth token', %message))->{status}, 403,
	'the old secret is not accepted after its end');

## Vonage: GET, Unix time and local time, a JSON Web Token with the digest of the body.
sub jwt
{
	my ($secret, %claims) = @_;
	my $encode = sub { my $text = encode_base64($_[0], ''); $text =~ tr{+/=}{-_}d; return $text };
	my $signed = $encode->('{"alg":"HS256","typ":"JWT"}') . '.' . $encode->(encode_json(\%claims));
	my $digest = Digest::SHA::hmac_sha256_base64($signed, $secret);
	$digest =~ tr{+/}{-_};
	return ('Authorization' => "Bearer $signed.$digest");
}
source('vonage', "'vonage', 'vonage secret', time_zone => 'America/New_York'");
my $sms = '{"msisdn":"447700900001","to":"447700900000","messageId":"0A1","text":"Hello","type":"text",'
  . '"keyword":"HELLO","message-timestamp":"2024-07-01 12:00:00"}';
my $hash = Digest::SHA::sha256_hex($sms);
is(deliver_json('vonage', $sms, jwt('vonage secret', iat => time, payload_hash => $hash))->{status}, 200, 'Vonage');
is(events('vonage'), 'sms|+447700900001|+447700900000|0A1', 'its numbers are international');
is(payload('0A1')->{timestamp}, '2024-07-01T16:00:00.000000Z', 'its time is in the zone of the source');
for (
	[ 'another secret', $sms, jwt('other', iat => time, payload_hash => $hash) ],
	[ 'another body', "$sms ", jwt('vonage secret', iat => time, payload_hash => $hash) ],
	[ 'no digest of the body', $sms, jwt('vonage secret', iat => time) ],
	[ 'an old token', $sms, jwt('vonage secret', iat => time - 200000, payload_hash => $hash) ],
	[ 'an expired token', $sms, jwt('vonage secret', iat => time, exp => time - 200000, payload_hash => $hash) ],
	[ 'no algorithm', $sms, Authorization => 'Bearer eyJhbGciOiJub25lIn0.e30.' ],
	[ 'half a token', $sms, Authorization => 'Bearer abc' ])
{
	my ($what, $body, %headers) = @$_;
	is(deliver_json('vonage', $body, %headers)->{status}, 401, "401 for Vonage with $what");
}
is(deliver_json('vonage', '{"a":1', jwt('vonage secret', iat => time, payload_hash => Digest::SHA::sha256_hex('{"a":1')))->{status},
	204, 'a body that can never be read is not delivered again');
is(counter('source_refused'), 1, 'but counted');
source('vonage-sms', "'vonage', 'sms secret', scheme => 'vonage-sms'");
my %get = (msisdn => '447700900001', to => '447700900000', messageId => '0A2', text => 'a & b=c', type => 'text',
	timestamp => time, nonce => 'n', 'message-timestamp' => '2024-07-01 12:00:00');
my $signed = join '', map { (my $v = $get{$_}) =~ tr/&=/_/; "&$_=$v" } sort keys %get;
require Digest::MD5;
my $sig = Digest::MD5::md5_hex($signed . 'sms secret');
is($gateway->get("$path{'vonage-sms'}?" . form(%get, sig => $sig))->{status}, 200, 'Vonage by GET');
is($gateway->get("$path{'vonage-sms'}?" . form(%get, sig => $sig, text => 'b'))->{status}, 401, 'a changed query');
is(payload('0A2')->{body}, 'a & b=c', 'its text');
is(deliver_json('vonage', '{"message_uuid":"u1","to":"447700900000","from":"447700900001","channel":"whatsapp","message_type":"image","image":{"url":"https://v.example/i.jpg","caption":"look"},"timestamp":"2024-07-01T10:00:00Z"}',
		jwt('vonage secret', iat => time, payload_hash => Digest::SHA::sha256_hex('{"message_uuid":"u1","to":"447700900000","from":"447700900001","channel":"whatsapp","message_type":"image","image":{"url":"https://v.example/i.jpg","caption":"look"},"timestamp":"2024-07-01T10:00:00Z"}')))->{status}, 200, 'the Messages API');
is(payload('u1')->{attachments}[0], 'https://v.example/i.jpg', 'its attachment');

## WhatsApp: a challenge, and several messages and statuses in nested arrays.
my $verify = source('whatsapp', "'whatsapp-cloud', 'app secret'");
$answer = $gateway->get("$path{whatsapp}?hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token=$verify");
is("$answer->{status} $answer->{content}", '200 1158201444', 'the challenge is answered');
like($answer->{headers}{'content-type'}, qr{^text/plain}, 'as text');
is($gateway->get("$path{whatsapp}?hub.mode=subscribe&hub.challenge=1&hub.verify_token=x")->{status}, 403,
	'not with another token');
my $value = sub {
	my (%more) = @_;
	return { field => 'messages', value => { messaging_product => 'whatsapp',
			metadata => { display_phone_number => '15559870002', phone_number_id => '1' }, %more } };
};
my $nested = JSON::PP->new->utf8->canonical->encode({
	object => 'whatsapp_business_account',
	entry => [
		{ id => '1', changes => [
			$value->(messages => [
				{ from => '15551230001', id => 'wamid.1', timestamp => '1720000000', type => 'text', text => { body => "caf\x{e9}" } },
				{ from => '15551230001', id => 'wamid.2', timestamp => '1720000001', type => 'image', image => { id => '9', mime_type => 'image/png', caption => 'see' } } ]),
			$value->(statuses => [ { id => 'wamid.3', status => 'failed', timestamp => '1720000002', errors => [ { code => 131026, title => 'undeliverable' } ] },
				{ id => 'wamid.4', status => 'read', timestamp => '1720000002' } ]) ] },
		{ id => '2', changes => [ $value->(messages => [
				{ from => '15551230003', id => 'wamid.5', timestamp => '1720000003', type => 'text', text => { body => 'three' } } ]) ] } ] });
for my $turn (1, 2)
{
	is(deliver_json('whatsapp', $nested, 'X-Hub-Signature-256' => 'sha256=' . hmac_sha256_hex($nested, 'app secret'))->{status},
		200, "nested entries, delivery $turn");
}
is(events('whatsapp'), "whatsapp|+15551230001|+15559870002|wamid.1\nwhatsapp|+15551230001|+15559870002|wamid.2\n"
	  . 'whatsapp|+15551230003|+15559870002|wamid.5', 'each message is stored once');
is(sql(q{SELECT string_agg(DISTINCT provider_message_id || ' ' || status, ', ') FROM msgstore.delivery_statuses WHERE channel = 'whatsapp'}),
	'wamid.3 failed, wamid.4 read', 'and the statuses');
is(deliver_json('whatsapp', $nested, 'X-Hub-Signature-256' => hmac_sha256_hex($nested, 'app secret'))->{status}, 401,
	'a signature without its prefix is none');

## Bandwidth: an array, each element by its kind, by Basic authentication.
source('bandwidth', "'bandwidth', 'user:password'");
my %basic = (Authorization => 'Basic ' . encode_base64('user:password', ''));
my @events = (
	{ type => 'message-received', time => '2024-07-01T10:00:00Z', to => '+15559870003', message => { id => 'bw1', time => '2024-07-01T10:00:00Z',
			to => [ '+15559870003' ], from => '+15551230001', text => 'one', owner => '+15559870003' } },
	{ type => 'message-failed', time => '2024-07-01T10:00:00Z', errorCode => 4720, description => 'invalid', message => { id => 'bw0' } },
	{ type => 'message-received', time => '2024-07-01T10:00:01Z', to => '+15559870003', message => { id => 'bw2', time => '2024-07-01T10:00:01Z',
			to => [ '+15559870003' ], from => '+15551230001', text => '', media => ['https://bw.example/1.png'], owner => '+15559870003' } },
	{ type => 'something-else', time => '2024-07-01T10:00:01Z' });
$before = counter('source_items_ignored');
is(deliver_json('bandwidth', \@events, %basic)->{status}, 200, 'an array');
is(events('bandwidth'), "sms|+15551230001|+15559870003|bw1\nmms|+15551230001|+15559870003|bw2", 'its messages');
is(sql("SELECT status, detail ->> 'error_code' FROM msgstore.delivery_statuses WHERE provider_message_id = 'bw0'"), 'failed|4720', 'its status');
is(counter('source_items_ignored') - $before, 1, 'and the rest is counted');
is(deliver_json('bandwidth', \@events)->{status}, 401, 'without a password');
is(deliver_json('bandwidth', \@events, Authorization => 'Basic ' . encode_base64('user:Password', ''))->{status}, 401, 'with another one');

## Mailgun: the signature is in the body and its token counts once; 406 stops retries.
source('mailgun', "'mailgun-routes', 'signing key'");
sub mailgun
{
	my ($token, $time) = @_;
	return (token => $token, timestamp => $time, signature => hmac_sha256_hex("$time$token", 'signing key'));
}
sub multipart
{
	my (@parts) = @_;
	return join('', map { my ($head, $content) = @$_; "--XyZ\r\nContent-Disposition: form-data; $head\r\n\r\n$content\r\n" } @parts)
	  . "--XyZ--\r\n";
}
my $parts = 'multipart/form-data; boundary=XyZ';
my %mail = (
	'Message-Id' => '<CA1@mail.example.com>', recipient => 'Support@Own.Example', sender => 'ann@mail.example.com',
	from => 'Ann <ann@mail.example.com>', subject => 'Hi', Date => 'Mon, 01 Jul 2024 12:00:00 +0200 (CEST)', 'body-plain' => '',
	'body-html' => '<html><head><style>p { color: red }</style></head><body><p>Dear&nbsp;team,</p><p>see <b>this</b></p></body></html>',
	'attachment-count' => 1);
sub mail_parts
{
	my (%fields) = @_;
	return multipart((map { [ "name=\"$_\"", $fields{$_} ] } sort keys %fields),
		[ "name=\"attachment-1\"; filename=\"r\x{c3}\x{a9}sum\x{c3}\x{a9}.pdf\"\r\nContent-Type: application/pdf", "%PDF\0\xff\r\n--XyZnot" ]);
}

is(deliver('mailgun', $parts, mail_parts(%mail, mailgun('t1', time)))->{status}, 200, 'an e-mail with HTML only and an attachment');
my $mail = payload('CA1@mail.example.com support@own.example');
is($mail->{body}, "Dear team,\nsee this", 'its text, without the style sheet');
delete $_->{attachment_id} for @{ $mail->{media} };
is_deeply($mail->{media}, [ { name => "r\x{e9}sum\x{e9}.pdf", type => 'application/pdf', size => '16' } ], 'its attachment');
is("$mail->{timestamp} $mail->{subject} $mail->{message_id}", '2024-07-01T10:00:00.000000Z Hi CA1@mail.example.com', 'time, subject, id');
ok(!exists $mail->{original}{signature} && !exists $mail->{original}{token}, 'without signature and token');
is(deliver('mailgun', $parts, mail_parts(%mail, mailgun('t1', time)))->{status}, 406, 'a token that was used');
is(counter('source_unverified_replayed'), 1, 'is counted');
is(deliver('mailgun', $parts, mail_parts(%mail, mailgun('t2', time)))->{status}, 200, 'the same e-mail with a new token');
is(counter('events_conflicting'), 1, 'is the same e-mail');
is(deliver('mailgun', $parts, mail_parts(%mail, mailgun('t3', time), recipient => 'sales@own.example'))->{status}, 200, 'for another mailbox');
is(events('mailgun'), "email|ann\@mail.example.com|support\@own.example|CA1\@mail.example.com support\@own.example\n"
	  . "email|ann\@mail.example.com|sales\@own.example|CA1\@mail.example.com sales\@own.example", 'is an event of its own');
is(deliver('mailgun', $parts, mail_parts(%mail, mailgun('t4', time - 100000)))->{status}, 401, 'an old signature');
is(counter('source_unverified_expired'), 3, 'is expired');
is(deliver('mailgun', $parts, mail_parts(%mail, mailgun('t5', time), token => 'other'))->{status}, 401, 'a changed token');
is(deliver('mailgun', 'multipart/form-data; boundary=Other', mail_parts(%mail, mailgun('t6', time)))->{status}, 406, 'a garbled body');
is(deliver('mailgun', $form, form(%mail, mailgun('t7', time), 'Message-Id' => '<CA2@x>', sender => '', from => ''))->{status}, 406,
	'an e-mail that can never be stored is not sent again');
is(deliver('mailgun', $form, form(%mail, mailgun('t8', time), 'Message-Id' => '<CA3@x>', 'body-html' => ''))->{status}, 200,
	'an e-mail with a blank body');
source('mailgun-events', "'mailgun-events', 'signing key'");
for (
	[ 't10', { event => 'failed', severity => 'temporary' }, 'sent' ],
	[ 't11', { event => 'failed', severity => 'permanent', 'delivery-status' => { code => 550, message => 'no such user' } }, 'failed' ])
{
	my ($token, $event, $status) = @$_;
	my %signature = mailgun($token, time);
	is(deliver_json('mailgun-events', { signature => \%signature, 'event-data' => { %$event, timestamp => 1529006854.329574,
				message => { headers => { 'message-id' => 'out1@own.example' } } } })->{status}, 200, "$event->{severity} failure");
	is(sql("SELECT status FROM msgstore.delivery_statuses WHERE provider_message_id = 'out1\@own.example' ORDER BY id DESC LIMIT 1"),
		$status, "is $status");
}

## SendGrid: the parsed form, with a charset for each field and JSON in fields.
source('sendgrid', "'sendgrid-inbound'");
is(sql("SELECT signed FROM msgstore.list_sources() WHERE name = 'sendgrid'"), 'f', 'a source without signatures says so');
my @fields = (
	[ 'name="headers"', "Received: by x\nMessage-ID: <sg1\@mail.example.com>\nDate: Mon, 1 Jul 2024 12:00:00 +0000\n" ],
	[ 'name="from"', "Ann <ann\@mail.example.com>" ], [ 'name="to"', 'A <a@own.example>, B <b@own.example>' ],
	[ 'name="subject"', "r\x{e9}sum\x{e9}" ], [ 'name="text"', "price: 5\x{80}" ],
	[ 'name="envelope"', '{"to":["a@own.example","b@own.example"],"from":"ann@mail.example.com"}' ],
	[ 'name="charsets"', '{"to":"UTF-8","subject":"ISO-8859-1","from":"UTF-8","text":"windows-1252"}' ]);
is(deliver('sendgrid', $parts, multipart(@fields))->{status}, 200, 'an e-mail to two mailboxes');
is(events('sendgrid'), join("\n", map { "email|ann\@mail.example.com|$_\@own.example|sg1\@mail.example.com $_\@own.example" } 'a', 'b'),
	'each has its event');
$mail = payload('sg1@mail.example.com a@own.example');
is("$mail->{subject} $mail->{body}", "r\x{e9}sum\x{e9} price: 5\x{20ac}", 'in UTF-8');
is($mail->{timestamp}, '2024-07-01T12:00:00.000000Z', 'with the time of its header');

## Postmark: JSON, by Basic authentication; only 403 stops its retries.
source('postmark', "'postmark', 'user:password'");
is(deliver_json('postmark', { MessageID => 'pm1', From => 'ann@mail.example.com', OriginalRecipient => 'c@own.example', Subject => 'S',
			TextBody => 'text', Date => 'Thu, 5 Apr 2012 16:59:01 +0200', Headers => [ { Name => 'Message-ID', Value => '<h1@mail.example.com>' } ],
			Attachments => [ { Name => 'a.png', ContentType => 'image/png', ContentLength => 4096, Content => 'AAAA' } ] }, %basic)->{status}, 200, 'Postmark');
$mail = payload('h1@mail.example.com c@own.example');
delete $_->{attachment_id} for @{ $mail->{media} };
is_deeply($mail->{media}, [ { name => 'a.png', type => 'image/png', size => '4096' } ], 'its attachment');
is(deliver_json('postmark', { RecordType => 'Bounce', MessageID => 'pm0', Type => 'HardBounce', Details => 'unknown user' }, %basic)->{status}, 200, 'a bounce');
is(deliver_json('postmark', { MessageID => 'pm2', TextBody => 'no sender' }, %basic)->{status}, 403, 'an e-mail without a sender');
is(deliver_json('postmark', {})->{status}, 401, 'without a password');

## Whoever knows no path gets nowhere.
is($gateway->post('/api/webhooks/wh_' . '0' x 40, {})->{status}, 404, 'an unknown path');
is($gateway->get($path{postmark})->{status}, 404, 'GET where the provider sends none');
is($gateway->request('PUT', $path{postmark})->{status}, 405, 'PUT');
is($gateway->post('/api/webhooks/sms', inbound_sms())->{status}, 401, 'a channel still needs a key');
unlike($gateway->log_text, qr/\Q$path{twilio}\E/, 'the log does not show the path');
like($gateway->log_text, qr{"path":"/api/webhooks/wh_[0-9a-f]{8}"}, 'only its beginning');
source('limited', "'sendgrid-inbound', max_body_bytes => 1000");
is(deliver('limited', $form, 'x=' . 'y' x 1000)->{status}, 413, 'a body that is larger than the source allows');
source('unlimited', "'generic', scheme => 'none'");
is(deliver('unlimited', $form, 'x=' . 'y' x 300000)->{status}, 413, 'or than the gateway allows');
is(deliver('sendgrid', $form, 'x=' . 'y' x 300000)->{status}, 200, 'e-mail may be larger');
is(deliver('sendgrid', $form, '')->{status}, 200, 'an empty body is acknowledged');

## A source's own answers, mapping and limit.
source('own', q{'generic', scheme => 'none', max_attachments => 2, answers => '{"accepted": {"status": 200, "type": "text/plain", "body": "ok"}, "refused": {"status": 406}}',
	mapping => '[{"kind": "message", "item_path": "$.items[*]", "channel": "sms", "fields": {"from": "$.who", "to": "$headers.\"x-number\"", "id": {"all": ["$outer.batch", "$.n"], "separator": "-"}, "body": "$.what", "attachments": "$.files[*]"}}]'});
$answer = deliver_json('own', { batch => 'b7', items => [ { n => 1, who => '+15551230009', what => 'a' }, { n => 2, who => '+15551230009', what => 'b' } ] }, 'X-Number' => '+15559870009');
is("$answer->{status} $answer->{content}", '200 ok', 'its answer');
is(events('own'), "sms|+15551230009|+15559870009|b7-1\nsms|+15551230009|+15559870009|b7-2", 'its mapping');
is(deliver_json('own', { batch => 'b8', items => [ { n => 1, who => '+15551230009', what => 'a', files => [ map { "https://x.example/$_" } 1 .. 3 ] } ] }, 'X-Number' => '+15559870009')->{status},
	406, 'its limit');

## Rows of a tenant's source belong to the tenant.
source('tenant', "'generic', scheme => 'none', tenant => 'acme'");
is(deliver_json('tenant', { from => '+15551230010', to => '+15559870010', body => 'x', id => 'acme-1' })->{status}, 202, 'a source of a tenant');
is(sql("SELECT tenant_id FROM msgstore.event_log WHERE provider_message_id = 'acme-1'"), 'acme', 'stores for the tenant');

sql("SELECT msgstore.set_tenant_limit('acme', 1, 2)");
ok(eventually(sub { deliver_json('tenant', { from => '+15551230010', to => '+15559870010', body => 'x', id => 'acme-1' })->{status} == 429 }),
	'the request limit of its tenant holds for it');
sql("SELECT msgstore.set_tenant_limit('acme', NULL)");

## Schemes that other services use; each is refused with one byte changed.
my $item = '{"from": "+15551230011", "to": "+15559870011", "body": "x", "id": "scheme-%s"}';
sub hmac { my ($digest, $signed, $key) = @_; no strict 'refs'; return &{"Digest::SHA::hmac_${digest}"}($signed, $key) }
sub hex_of { my ($bytes) = @_; return unpack 'H*', $bytes }
my $now = time;
my %scheme = (
	slack => [ "scheme => 'slack', secret => 'key'",
		sub { (my $body) = @_; return ('X-Slack-Request-Timestamp' => $now, 'X-Slack-Signature' => 'v0=' . hex_of(hmac('sha256', "v0:$now:$body", 'key'))) } ],
	token => [ "scheme => 'token', secret => 'the token'", sub { return ('X-Webhook-Token' => 'the token') } ],
	bearer => [ q{scheme => 'token', secret => 'the token', scheme_options => '{"header": "Authorization", "prefix": "Bearer "}'},
		sub { return (Authorization => 'Bearer the token') } ],
	hmac => [ "scheme => 'hmac', secret => 'key'", sub { return ('X-Signature' => hex_of(hmac('sha256', $_[0], 'key'))) } ],
	sha1 => [ q{scheme => 'hmac', secret => 'key', scheme_options => '{"header": "X-Sum", "digest": "sha1", "prefix": "sha1=", "encoding": "base64"}'},
		sub { return ('X-Sum' => 'sha1=' . encode_base64(hmac('sha1', $_[0], 'key'), '')) } ],
	sha512 => [ q{scheme => 'hmac', secret => '6b6579', scheme_options => '{"header": "X-Sum", "digest": "sha512", "secret": "hex", "signed": "{id}.{timestamp}.{body}", "id_header": "X-Id", "timestamp_header": "X-Time"}'},
		sub { return ('X-Id' => 'i', 'X-Time' => $now, 'X-Sum' => hex_of(hmac('sha512', "i.$now.$_[0]", 'key'))) } ]);
for my $name (sort keys %scheme)
{
	my ($arguments, $sign) = @{ $scheme{$name} };
	my $body = sprintf $item, $name;
	my %signed = $sign->($body);
	my $changed = $name =~ /token|bearer/ ? undef : $body =~ s/"x"/"y"/r;
	source("scheme-$name", "'generic', $arguments");
	is(deliver_json("scheme-$name", $body, %signed)->{status}, 202, "$name: accepted");
	is(deliver_json("scheme-$name", $changed, %signed)->{status}, 401, "$name: another body") if defined $changed;
	is(deliver_json("scheme-$name", $body)->{status}, 401, "$name: no signature");
	is(deliver_json("scheme-$name", $body, map { ($_ => $signed{$_} . 'x') } keys %signed)->{status}, 401, "$name: another signature");
	next if !grep { /time/i } keys %signed;
	my %old = map { ($_ => /time/i ? $now - 1000 : $signed{$_}) } keys %signed;
	is(deliver_json("scheme-$name", $body, %old)->{status}, 401, "$name: another time");
}
is(sql(q{SELECT count(*) FROM msgstore.inbound_events WHERE provider_message_id LIKE 'scheme-%'}), scalar keys %scheme, 'each is stored once');

## Telnyx: statuses in several forms; what is neither is acknowledged and counted.
source('telnyx', "'telnyx', scheme => 'none'");
my $number = 0;
for ([ 'message.sent', 'SMS', 'sent' ], [ 'message.finalized', 'SMS', 'delivered' ], [ 'message.finalized', 'SMS', 'delivery_failed' ], [ 'message.finalized', 'SMS', 'delivery_unconfirmed' ])
{
	my ($event, $type, $word) = @$_;
	my $id = 'tx-' . ++$number;
	is(deliver_json('telnyx', { data => { event_type => $event, occurred_at => '2024-07-01T10:00:00Z', payload => { id => $id, type => $type,
					to => [ { phone_number => '+15551230001', status => $word } ], errors => $word =~ /failed/ ? [ { code => '40001', title => 'Not routable' } ] : [] } } })->{status},
		200, "$event $word");
	my $stored = sql("SELECT concat_ws('|', status, detail ->> 'error_code') FROM msgstore.delivery_statuses WHERE provider_message_id = '$id'");
	is($stored, { sent => 'sent', delivered => 'delivered', delivery_failed => 'undelivered|40001', delivery_unconfirmed => $stored }->{$word}, "is $stored");
}
$before = counter('source_items_ignored');
is(deliver_json('telnyx', { data => { event_type => 'call.initiated', payload => { id => 'c1' } } })->{status}, 200, 'another event');
is(counter('source_items_ignored') - $before, 1, 'is acknowledged and counted');

## A database that is away is no refusal: the provider delivers again.
$node->stop('fast');
is(deliver('sendgrid', $parts, multipart(@fields))->{status}, 503, '503 without a database');
$node->start;
is((eventually(sub { my $again = deliver('sendgrid', $parts, multipart(@fields)); $again->{status} == 200 && $again }))->{status}, 200, 'then again');

is(($gateway->stop)[0], 0, 'exit code 0');
$node->stop;
done_testing();
