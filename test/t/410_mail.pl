# E-mail as providers deliver it: whole messages (MIME) and parsed ones. Texts become
# UTF-8, attachments are stored with their bytes, and can be fetched safely.
use strict;
use warnings FATAL => 'all';

use Digest::SHA qw(hmac_sha256_hex);
use FindBin;
use MIME::Base64 qw(encode_base64);
use lib "$FindBin::Bin/..";
use MsgstoreGateway;
use Test::More;

my $node = start_cluster('mail');
my $gateway = MsgstoreGateway->new($node, env => { AUTH_ENABLED => 'on' });
my %path;

sub sql { return $node->safe_psql('postgres', $_[0]) }
my $key = sql("SELECT msgstore.create_api_key('', 'read')");
my $ingest = sql("SELECT msgstore.create_api_key('', 'ingest')");

sub source
{
	my ($name, $arguments) = @_;
	$path{$name} = '/api/webhooks/' . sql("SELECT path FROM msgstore.create_source('$name', $arguments)");
	return;
}

sub deliver
{
	my ($name, $type, $body, %headers) = @_;
	my $query = delete $headers{query} // '';
	return $gateway->request('POST', $path{$name} . $query, { 'Content-Type' => $type, %headers }, $body)->{status};
}

sub multipart
{
	my (@parts) = @_;
	return join('', map { my ($head, $content) = @$_; "--XyZ\r\nContent-Disposition: form-data; $head\r\n\r\n$content\r\n" } @parts)
	  . "--XyZ--\r\n";
}
my $parts = 'multipart/form-data; boundary=XyZ';
my $form = 'application/x-www-form-urlencoded';

sub form
{
	my (%fields) = @_;
	return join '&', map { MsgstoreGateway::escape($_) . '=' . MsgstoreGateway::escape($fields{$_}) } sort keys %fields;
}
sub payload { return decode(sql("SELECT payload FROM msgstore.inbound_events WHERE provider_message_id = '$_[0]'")) }
sub file { return $gateway->get($_[0], Authorization => 'Bearer ' . ($_[1] // $key)) }
sub crlf { my ($text) = @_; $text =~ s/\n/\r\n/g; return $text }

## A whole message: encoded words, windows-1252, quoted-printable, alternatives, an
## image in the HTML, an attachment with a long name, a message in the message.
my $png = "\x89PNG\r\n\x1a\n\0\0" . join '', map { chr } 0 .. 255;
my $mime = crlf(<<"MIME");
Received: from relay.example.net by mx.own.example; Mon, 1 Jul 2024 12:00:05 +0200
From: =?windows-1252?Q?J=F6rg_M=FCller?= <joerg\@mail.example.com>
To: =?utf-8?B?U3VwcG9ydCDinIk=?= <support\@own.example>, sales\@own.example
Cc: Team: bob\@mail.example.com, carol\@mail.example.com;
Subject: =?iso-8859-1?Q?R=E9sum=E9?= =?utf-8?B?IOKCrCA=?=
Message-ID: <mime1\@mail.example.com>
In-Reply-To: <parent\@own.example>
References: <root\@own.example>
 <parent\@own.example>
Date: Mon, 01 Jul 2024 12:00:00 +0200
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary=outer

This is a message in MIME format.
--outer
Content-Type: multipart/alternative; boundary=inner

--inner
Content-Type: text/plain; charset=windows-1252
Content-Transfer-Encoding: quoted-printable

Preis: 5 =80 =96 na=EFve =
line

--inner
Content-Type: multipart/related; boundary=related

--related
Content-Type: text/html; charset=utf-8

<html><head><style>p { color: red }</style></head><body><p>Preis</p><img src="cid:logo\@x"></body></html>
--related
Content-Type: image/png; name=logo.png
Content-ID: <logo\@x>
Content-Disposition: inline
Content-Transfer-Encoding: base64

@{[encode_base64($png)]}
--related--
--inner--
--outer
Content-Type: application/pdf
Content-Disposition: attachment; filename*0*=UTF-8''r%C3%A9sum%C3%A9%20; filename*1=of.pdf
Content-Transfer-Encoding: base64

@{[encode_base64("%PDF\0\xff")]}
--outer
Content-Type: message/rfc822

From: dave\@mail.example.com
Subject: forwarded

the inner text
--outer--
MIME

source('raw', "'sendgrid-inbound'");
my $raw = multipart(
	[ 'name="email"', $mime ],
	[ 'name="envelope"', '{"to":["support@own.example","sales@own.example"],"from":"bounce@mail.example.com"}' ],
	[ 'name="to"', 'support@own.example' ]);
is(deliver('raw', $parts, $raw), 200, 'a whole message');
is(deliver('raw', $parts, $raw), 200, 'delivered again');
is(sql(q{SELECT string_agg(concat_ws('|', "from", "to", provider_message_id), E'\n' ORDER BY id) FROM msgstore.inbound_events}),
	join("\n", map { "joerg\@mail.example.com|$_\@own.example|mime1\@mail.example.com $_\@own.example" } 'support', 'sales'),
	'each mailbox has its event, once');
is(sql("SELECT value FROM msgstore._counters() WHERE name = 'events_conflicting'"), 0, 'the second delivery is the same');
my $mail = payload('mime1@mail.example.com support@own.example');
is($mail->{subject}, "R\x{e9}sum\x{e9} \x{20ac} ", 'encoded words');
is($mail->{from}, "J\x{f6}rg M\x{fc}ller <joerg\@mail.example.com>", 'in the sender\'s name, too');
is($mail->{body} =~ s/\r//gr, "Preis: 5 \x{20ac} \x{2013} na\x{ef}ve line\n", 'windows-1252, quoted-printable');
is_deeply($mail->{cc}, [ 'bob@mail.example.com', 'carol@mail.example.com' ], 'a group of recipients');
is("$mail->{message_id} $mail->{timestamp}", 'mime1@mail.example.com 2024-07-01T10:00:00.000000Z', 'id and time');
is_deeply($mail->{references}, [ 'root@own.example', 'parent@own.example' ], 'references');
is_deeply($mail->{in_reply_to}, ['parent@own.example'], 'the message that is replied to');
my %header = map { @$_ } @{ $mail->{original}{email}{headers} };
is($header{Received}, 'from relay.example.net by mx.own.example; Mon, 1 Jul 2024 12:00:05 +0200', 'headers are kept');
ok(!exists $mail->{original}{email}{text} && !exists $mail->{original}{email}{html}, 'texts are not stored twice');
my $inner = crlf("From: dave\@mail.example.com\nSubject: forwarded\n\nthe inner text");
my $html = '<html><head><style>p { color: red }</style></head><body><p>Preis</p><img src="cid:logo@x"></body></html>';
my @media = map { my %file = %$_; delete $file{attachment_id}; \%file } @{ $mail->{media} };
is_deeply(\@media, [
		{ name => 'logo.png', type => 'image/png', size => length $png, id => 'logo@x' },
		{ name => "r\x{e9}sum\x{e9} of.pdf", type => 'application/pdf', size => 6 },
		{ name => 'forwarded.eml', type => 'message/rfc822', size => length $inner } ],
	'attachments: an image, a file, a message');
is(sql(q{SELECT string_agg(concat_ws('|', position, kind, name, media_type, size_bytes, octet_length(sha256)), E'\n' ORDER BY position)
	FROM msgstore.attachments a JOIN msgstore.inbound_events e ON e.id = a.message_id WHERE e."to" = 'sales@own.example'}),
	"1|inline|logo.png|image/png|@{[length $png]}|32\n2|attachment|r\x{c3}\x{a9}sum\x{c3}\x{a9} of.pdf|application/pdf|6|32\n"
	  . "3|attachment|forwarded.eml|message/rfc822|@{[length $inner]}|32\n4|html|text/html; charset=utf-8|@{[length $html]}|32",
	'they are stored for each mailbox, with the HTML');

# Fetched with a type that cannot run in a browser.
is(scalar @{ $mail->{attachments} }, 3, 'the message names them');
my $answer = file($mail->{attachments}[0]);
is("$answer->{status} $answer->{headers}{'content-type'} $answer->{headers}{'content-disposition'}",
	'200 image/png inline; filename="logo.png"', 'an image is shown');
ok($answer->{content} eq $png, 'byte by byte');
is($answer->{headers}{'x-content-type-options'}, 'nosniff', 'as what it is only');
$answer = file($mail->{attachments}[1]);
is($answer->{headers}{'content-disposition'}, q{attachment; filename="r_sum_ of.pdf"; filename*=UTF-8''r%C3%A9sum%C3%A9%20of.pdf}, 'a file is downloaded');
ok($answer->{content} eq "%PDF\0\xff", 'byte by byte');
$answer = file($mail->{html});
is("$answer->{headers}{'content-type'} $answer->{headers}{'content-disposition'}", 'application/octet-stream attachment', 'HTML is not shown');
is(file($mail->{html}, $ingest)->{status}, 403, 'a key needs the scope read');
is($gateway->get($mail->{html})->{status}, 401, 'nobody without a key');
is(file("/api/attachments/$_")->{status}, 404, "no attachment: $_") for 'x', '00000000-0000-8000-8000-000000000000', '-' x 36;
sql('SELECT msgstore.process()');
my $list = file('/api/conversations/1/messages')->{json};
like(join(' ', @{ $list->{items}[0]{attachments} }), qr{^(/api/attachments/[0-9a-f-]{36} ?){3}$}, 'the list of messages has the paths');
is($list->{items}[0]{snippet}, "Preis: 5 \x{20ac} \x{2013} na\x{ef}ve line", 'the snippet is of the text');

## What is odd in a whole message.
my %odd = (
	'without anything' => [ '', 406 ],
	'that is garbage' => [ "\0\xff\0" x 100, 406 ],
	'without a sender' => [ "To: a\@own.example\r\n\r\nx", 406 ],
	'with 8-bit text and no charset' => [ "From: a\@x.example\r\nTo: odd1\@own.example\r\nSubject: na\xefve\r\n\r\ncaf\xe9", 200, 'odd1', "caf\x{e9}" ],
	'with an unknown charset' => [ "From: a\@x.example\r\nTo: odd2\@own.example\r\nContent-Type: text/plain; charset=klingon\r\n\r\ncaf\xe9", 200, 'odd2', "caf\x{e9}" ],
	'with a wrong charset' => [ "From: a\@x.example\r\nTo: odd3\@own.example\r\nContent-Type: text/plain; charset=utf-8\r\n\r\ncaf\xe9", 200, 'odd3', "caf\x{e9}" ],
	'with HTML only' => [ "From: a\@x.example\r\nTo: odd4\@own.example\r\nContent-Type: text/html\r\n\r\n<style>x</style>Hi&nbsp;<b>you</b>", 200, 'odd4', 'Hi you' ],
	'without an end' => [ "From: a\@x.example\r\nTo: odd5\@own.example\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\ncut", 200, 'odd5', 'cut' ],
	'with thousands of levels' => [ "From: a\@x.example\r\nTo: odd6\@own.example\r\n"
		  . join('', map { "Content-Type: multipart/mixed; boundary=b$_\r\n\r\n--b$_\r\n" } 1 .. 3000) . "\r\ndeep", 200, 'odd6', '' ],
	'with a NUL' => [ "From: a\@x.example\r\nTo: odd7\@own.example\r\nSubject: a\0b\r\n\r\na\0b", 200, 'odd7', 'a' ],
	'in UTF-16' => [ "From: a\@x.example\r\nTo: odd8\@own.example\r\nContent-Type: text/plain; charset=utf-16be\r\nContent-Transfer-Encoding: base64\r\n\r\n"
		  . encode_base64("\0H\0i\x20\xac"), 200, 'odd8', "Hi\x{20ac}" ]);
source('smtp', q{'raw-email', 'mta:secret', answers => '{"refused": {"status": 406}}'});
my %basic = (Authorization => 'Basic ' . encode_base64('mta:secret', ''));
for my $what (sort keys %odd)
{
	my ($message, $status, $to, $text) = @{ $odd{$what} };
	is(deliver('smtp', 'message/rfc822', $message, %basic), $status, "a message $what: $status");
	next if !defined $to;
	utf8::encode($text);
	is(sql(qq{SELECT payload ->> 'body' FROM msgstore.inbound_events WHERE "to" = '$to\@own.example'}), $text, 'its text');
}
is(deliver('smtp', 'message/rfc822', $odd{'with HTML only'}[0]), 401, 'nobody without the password');
is(deliver('smtp', 'message/rfc822', $mime, %basic, query => '?to=box@own.example'), 200, 'the recipient of the envelope');
ok(payload('mime1@mail.example.com box@own.example')->{attachments}, 'is that of the query');

## Mailgun: the whole message in a form that is signed, and the parsed one with files.
sub mailgun
{
	my ($token) = @_;
	my $time = time;
	return (token => $token, timestamp => $time, signature => hmac_sha256_hex("$time$token", 'key'));
}
sub fields { my (%fields) = @_; return map { [ "name=\"$_\"", $fields{$_} ] } sort keys %fields }
source('mailgun', "'mailgun-routes', 'key', max_body_bytes => 400000");
my %common = (recipient => 'help@own.example', sender => 'joerg@mail.example.com');
is(deliver('mailgun', $form, form(%common, 'body-mime' => $mime, mailgun('t1'))), 200, 'a whole message in a form');
ok(file(payload('mime1@mail.example.com help@own.example')->{attachments}[0])->{content} eq $png, 'byte by byte');
is(deliver('mailgun', $form, form(%common, 'body-mime' => $mime, mailgun('t1'))), 406, 'its token counts once');
is(deliver('mailgun', $form, form(%common, 'body-mime' => $mime, mailgun('t2'), token => 't3')), 401, 'a wrong signature');
is(deliver('mailgun', $parts, multipart(fields(%common, mailgun('t4'), 'body-mime' => $mime =~ s/mime1/mime2/r))), 200, 'a whole message in parts');
ok(payload('mime2@mail.example.com help@own.example')->{attachments}, 'with its attachments');
is(deliver('mailgun', $parts, multipart(
			fields(recipient => 'help@own.example', from => 'ann@mail.example.com', 'Message-Id' => '<parsed@mail.example.com>',
				'body-plain' => 'x' x 60000, 'body-html' => '<p>x</p>', References => '<a@x> <b@x>', mailgun('t6')),
			[ "name=\"attachment-1\"; filename=\"a.png\"\r\nContent-Type: image/png", $png ],
			[ "name=\"attachment-2\"; filename=\"evil.svg\"\r\nContent-Type: image/svg+xml", '<svg onload="alert(1)"/>' ])), 200, 'a parsed message with files');
$mail = payload('parsed@mail.example.com help@own.example');
ok(file($mail->{attachments}[0])->{content} eq $png, 'its file, byte by byte');
$answer = file($mail->{attachments}[1]);
is("$answer->{headers}{'content-type'} $answer->{headers}{'content-disposition'}", 'application/octet-stream attachment; filename="evil.svg"', 'an image that can run code is not shown');
is(length $mail->{body}, 50000, 'a long text is cut in the payload');
is(length file($mail->{full_text})->{content}, 60000, 'and kept as a file');
is_deeply($mail->{references}, [ 'a@x', 'b@x' ], 'references');
is(deliver('mailgun', $parts, 'x' x 400001), 406, 'more than the source allows, as Mailgun stops on it');
source('small', "'sendgrid-inbound', max_body_bytes => 1000, max_attachment_bytes => 10");
is(deliver('small', $parts, $raw), 413, 'or 413');
sql("UPDATE msgstore.sources SET max_body_bytes = NULL WHERE name = 'small'");
ok(eventually(sub { deliver('small', $parts, $raw =~ s/mime1/mime3/r) == 200 }), 'once the limit is raised, it is accepted');
is(sql(q{SELECT string_agg(a.size_bytes || ' ' || (a.content IS NOT NULL), ', ' ORDER BY a.position) FROM msgstore.attachments a
	JOIN msgstore.inbound_events e ON e.id = a.message_id WHERE e.provider_message_id = 'mime3@mail.example.com sales@own.example' AND a.kind <> 'html'}),
	length($png) . ' false, 6 true, ' . length($inner) . ' false', 'a larger attachment is listed, but not kept');
is(file(payload('mime3@mail.example.com sales@own.example')->{attachments}[0])->{status}, 404, 'and cannot be fetched');

## Many megabytes, as whole message.
source('large', "'sendgrid-inbound'");
my $large = pack 'N*', map { $_ * 2654435761 % 4294967296 } 1 .. 3_500_000;
my $message = "From: a\@x.example\r\nMessage-ID: <large\@x>\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n" . encode_base64($large);
is(deliver('large', $parts, multipart([ 'name="email"', $message ], [ 'name="envelope"', '{"to":["large@own.example"]}' ])), 200, 'a message of 19 MB');
$answer = file(payload('large@x large@own.example')->{attachments}[0]);
ok($answer->{content} eq $large, 'its attachment, byte by byte');

## Postmark: files in base64.
source('postmark', "'postmark', 'mta:secret'");
is($gateway->post($path{postmark}, { MessageID => 'pm1', From => 'ann@mail.example.com', OriginalRecipient => 'c@own.example', TextBody => 'text', HtmlBody => '<p>text</p>',
			Headers => [ { Name => 'Message-ID', Value => '<pm@mail.example.com>' }, { Name => 'References', Value => '<a@x> <b@x>' } ],
			Attachments => [ { Name => 'a.png', ContentType => 'image/png', ContentLength => length $png, Content => encode_base64($png, '') },
				{ Name => 'broken', ContentType => 'image/png', ContentLength => 3, Content => '!' } ] }, %basic)->{status}, 200, 'Postmark');
$mail = payload('pm@mail.example.com c@own.example');
ok(file($mail->{attachments}[0])->{content} eq $png, 'its file, byte by byte');
is(file($mail->{attachments}[1])->{status}, 404, 'not one that cannot be read');
is_deeply($mail->{references}, [ 'a@x', 'b@x' ], 'references');

## A tenant's files are the tenant's.
source('tenant', "'sendgrid-inbound', tenant => 'acme'");
is(deliver('tenant', $parts, $raw), 200, 'a source of a tenant');
my $theirs = sql(q{SELECT payload -> 'attachments' ->> 0 FROM msgstore.event_log WHERE tenant_id = 'acme' LIMIT 1});
my %key_of = map { $_ => sql("SELECT msgstore.create_api_key('$_', 'read')") } 'acme', 'other';
is(file($theirs, $key_of{acme})->{status}, 200, 'read by it');
is(file($theirs, $key_of{other})->{status}, 404, 'not by another one');

## Erasure and retention take the files along.
sql('SELECT msgstore.process()');
is(sql('SELECT count(*) FROM msgstore.check()'), 0, 'nothing is wrong');
is(sql(q{SELECT removed > 0 FROM msgstore.erase_address('email', 'joerg@mail.example.com') WHERE what = 'attachments'}), 't', 'erasure removes attachments');
is(sql(q{SELECT count(*) FROM msgstore.attachments a JOIN msgstore.event_log l ON l.id = a.message_id WHERE l."from" LIKE 'joerg%'}), 0, 'all of them');
isnt(sql('SELECT count(*) FROM msgstore.attachments'), 0, 'but not those of others');
sql(q{SELECT msgstore.purge('0 seconds')});
is(sql('SELECT count(*) FROM msgstore.attachments'), 0, 'a purge of events removes the rest');
sql(q{INSERT INTO msgstore.attachments (tenant_id, id, message_id, position, kind) VALUES ('', msgstore.uuid7(), msgstore.uuid7(), 1, 'attachment')});
is(sql('SELECT finding FROM msgstore.check()'), 'attachment without event', 'check() finds one without its event');

is(($gateway->stop)[0], 0, 'exit code 0');
$node->stop;
done_testing();
