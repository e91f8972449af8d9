# msgstore-sender: e-mail by SMTP, and certificates.
use strict;
use utf8;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::Bin/..";
use MsgstoreGateway;
use MsgstoreSender;
use PostgreSQL::Test::Utils;
use Test::More;

plan skip_all => 'python3 with aiosmtpd is not installed'
  if system('python3 -c "import aiosmtpd" 2>/dev/null') != 0;

my $node = start_cluster('mail', "msgstore.workers = 1\nmsgstore.backoff_base = 1ms\nmsgstore.backoff_max = 20ms\n");
my $directory = PostgreSQL::Test::Utils::tempdir();
system("openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost,IP:127.0.0.1"
	  . " -keyout $directory/key -out $directory/certificate 2>$directory/said") == 0
  or die slurp_file("$directory/said");
my ($port, $mail_port, $log) = start_stand_in();
my ($tls_port, $tls_mail_port, $tls_log) = start_stand_in("$directory/certificate", "$directory/key");
my $serial = 0;

sub sql { return $node->safe_psql('postgres', $_[0]) }

sub send_mail
{
	my (%fields) = @_;
	my %all = (from => 'Jörg "X" <j+tag@x.org>', to => 'Ann <ann@y.org>', body => 'text ' . ++$serial,
		timestamp => '2024-11-01T14:00:00Z', %fields);
	my $payload = JSON::PP->new->utf8->canonical->encode(\%all);
	return sql("SELECT message_id FROM msgstore.send('email', \$payload\$$payload\$payload\$)");
}

sub status_of
{
	return sql("SELECT status || CASE WHEN status IN ('failed', 'uncertain') THEN ' ' || error_code ELSE '' END FROM msgstore.outbound_messages WHERE id = '$_[0]'");
}

sub becomes
{
	my ($id, $status, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $last;
	eventually(sub { ($last = status_of($id)) eq $status }, 60);
	return is($last, $status, $what);
}

sql("SELECT msgstore.create_account('mail', 'smtp', '{email}', base_url => 'smtp://127.0.0.1:$mail_port')");
my $sender = start_sender($node);

# A mail with everything.
my $subject = 'Grüße aus Köln, und dies ist ein langer Betreff, der in mehrere Wörter zerfällt 😀';
my $id = send_mail(subject => $subject, body => "Hello <b>you</b>\n.\n..dots", cc => [ 'c@z.org', 'Dee <d@z.org>' ], bcc => 'secret@z.org',
	reply_to => 'r@x.org', in_reply_to => 'parent@y.org', references => [ '<root@y.org>', 'parent@y.org' ]);
becomes($id, 'sent', 'a mail is sent');
my ($mail) = requests($log);
is($mail->{from}, 'j+tag@x.org', 'sender of the envelope');
is(join(' ', sort @{ $mail->{to} }), 'ann@y.org c@z.org d@z.org secret@z.org', 'recipients of the envelope');
is($mail->{headers}{subject}, $subject, 'subject');
like($mail->{headers}{from}, qr/^"?Jörg .*<j\+tag\@x\.org>$/, 'from');
is($mail->{headers}{to}, 'Ann <ann@y.org>', 'to');
like($mail->{headers}{cc}, qr/^c\@z\.org, Dee <d\@z\.org>$/, 'cc');
ok(!exists $mail->{headers}{bcc}, 'no bcc');
unlike(JSON::PP->new->encode([ $mail->{headers}, $mail->{parts} ]), qr/secret/, 'nor its address');
is($mail->{headers}{'reply-to'}, 'r@x.org', 'reply-to');
is($mail->{headers}{'in-reply-to'}, '<parent@y.org>', 'in-reply-to');
is($mail->{headers}{references}, '<root@y.org> <parent@y.org>', 'references');
is($mail->{headers}{'message-id'}, "<$id\@x.org>", 'message id');
is(sql("SELECT provider_message_id FROM msgstore.outbound_messages WHERE id = '$id'"), "$id\@x.org", 'by which it is known');
like($mail->{headers}{date}, qr/^[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} [\d:]{8} \+0000$/, 'date');
is(join(' ', map { $_->[0] } @{ $mail->{parts} }), 'text/plain text/html', 'text and HTML');
is($mail->{parts}[1][1] =~ s/\r//gr, "Hello <b>you</b>\n.\n..dots", 'HTML as it was, with its dots');
like($mail->{parts}[0][1], qr/^Hello you/, 'text without tags');

# No header can be forged.
$id = send_mail(subject => "one\r\nBcc: evil\@z.org", body => 'x', in_reply_to => "a\r\nX-Evil: 1");
becomes($id, 'sent', 'a mail with line breaks in its fields');
$mail = (requests($log))[-1];
is($mail->{headers}{subject}, 'one Bcc: evil@z.org', 'has no other subject');
ok(!exists $mail->{headers}{bcc} && !exists $mail->{headers}{'x-evil'}, 'and no other header');

# Nor a command of SMTP.
for my $case ([ cc => ["c\@z.org>\r\nRCPT TO:<evil\@z.org"] ], [ bcc => "c\@z.org\r\nRCPT TO:<evil\@z.org" ], [ cc => ['c@z.org> NOTIFY=NEVER'] ],
	[ cc => ["c\@z.org\r\nMAIL FROM:<evil"] ])
{
	becomes(send_mail(@$case), 'failed invalid_request', "a mail whose $case->[0] is no address is refused");
}
is((requests($log))[-1]{headers}{subject}, 'one Bcc: evil@z.org', 'and not sent');

# Files: of the payload, and those that are stored here.
my $stored = sql("INSERT INTO msgstore.attachments (tenant_id, id, message_id, position, kind, name, media_type, size_bytes, content)
	VALUES ('', msgstore.uuid7(), msgstore.uuid7(), 1, 'attachment', 'scan.pdf', 'application/pdf; x=y', 6, '\\x255044460d0a') RETURNING id");
$id = send_mail(subject => 'files', files => [ { name => '../Grüße "x".txt', type => 'text/plain', content => 'Lg0KLg==' }, { name => 'empty', content => '' } ],
	attachments => ["/api/attachments/$stored"]);
becomes($id, 'sent', 'a mail with files');
is_deeply((requests($log))[-1]{files}, [ [ 'text/plain', 'Grüße x.txt', 'Lg0KLg==' ], [ 'application/octet-stream', 'empty', '' ],
		[ 'application/pdf', 'scan.pdf', 'JVBERg0K' ] ], 'has them, with names and types');
for my $case ([ 'a file that is not stored', attachments => [ '/api/attachments/' . ($stored =~ s/....$/0000/r) ] ],
	[ 'a file that is not base64', files => [ { name => 'x', content => '***' } ] ])
{
	my ($what, @fields) = @$case;
	becomes(send_mail(@fields), 'failed invalid_request', "$what: the mail is not sent without it");
}
like(sql("SELECT error_message FROM msgstore.outbound_messages WHERE error_message ~ '^attachment' LIMIT 1"),
	qr/^attachment ".*" has no content here$/, 'and says so');

# What the server answers.
becomes(send_mail(to => 'do=550@y.org'), 'failed 550', '550 is final');
becomes(send_mail(to => 'do=451_200@y.org'), 'sent', '451 is retried');
$id = send_mail(subject => 'do=cut');
becomes($id, 'uncertain uncertain', 'a mail without an answer is left to a person');
is(scalar(grep { $_->{headers}{'message-id'} eq "<$id\@x.org>" } requests($log)), 1, 'and was sent once');

# A password is not sent without TLS; a certificate is verified.
my $count = requests($log);
sql("SELECT msgstore.rotate_account_secret('mail', 'user:pass')");
$id = send_mail();
ok(eventually(sub { sql('SELECT failures FROM msgstore.list_accounts()') > 0 }), 'a password is refused without TLS');
is(scalar(requests($log)), $count, 'nothing was sent');
sql("UPDATE msgstore.accounts SET base_url = 'smtp://localhost:$tls_mail_port'; SELECT msgstore.resume_account('mail')");
ok(eventually(sub { sql('SELECT last_error FROM msgstore.list_accounts()') =~ /certificate/i }), 'an unknown certificate is refused');
is(status_of($id), 'queued', 'and the mail waits');
is(scalar(requests($tls_log)), 0, 'unsent');
$sender->stop;
$sender = start_sender($node, env => { SENDER_CA_FILE => "$directory/certificate" });
sql("SELECT msgstore.resume_account('mail')");
becomes($id, 'sent', 'a known one is accepted');
($mail) = requests($tls_log);
is("$mail->{tls} $mail->{user}", '1 user:pass', 'by STARTTLS, with the password');
sql("SELECT msgstore.rotate_account_secret('mail', 'user:wrong')");
$id = send_mail();
ok(eventually(sub { sql('SELECT failures FROM msgstore.list_accounts()') > 0 }), 'a wrong password pauses the account');
is(status_of($id), 'queued', 'and the mail waits');
sql("SELECT msgstore.rotate_account_secret('mail', 'user:pass')");
becomes($id, 'sent', 'for the right one');

# HTTPS likewise.
sql("SELECT msgstore.drop_account('mail');
	SELECT msgstore.create_account('web', 'generic', '{email}', 'token', base_url => 'https://localhost:$tls_port')");
becomes(send_mail(), 'sent', 'HTTPS with a known certificate');
$sender->stop;
$sender = start_sender($node);
$id = send_mail();
ok(eventually(sub { sql('SELECT last_error FROM msgstore.list_accounts()') =~ /certificate/i }), 'an unknown one is refused');
is(status_of($id), 'queued', 'and the message waits');
$sender->stop;

done_testing();
