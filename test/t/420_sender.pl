# msgstore-sender: what it sends to providers, what it makes of their answers, and that
# no crash loses or doubles a message.
use strict;
use warnings FATAL => 'all';
use utf8;

use FindBin;
use lib "$FindBin::Bin/..";
use MIME::Base64 qw(encode_base64);
use MsgstoreGateway;
use MsgstoreSender;
use PostgreSQL::Test::Utils;
use Test::More;

plan skip_all => 'python3 with aiosmtpd is not installed'
  if system('python3 -c "import aiosmtpd" 2>/dev/null') != 0;

my $node = start_cluster('sender',
	"msgstore.workers = 1\nmsgstore.backoff_base = 1ms\nmsgstore.backoff_max = 20ms\n");
my ($port, $mail_port, $log) = start_stand_in();
my $base = "http://127.0.0.1:$port";
my $serial = 0;

sub sql { return $node->safe_psql('postgres', $_[0]) }

sub account
{
	my ($name, $provider, $channels, %more) = @_;
	my %argument = (base_url => "'$base'", secret => "'user:pass'", %more);
	sql("SELECT msgstore.create_account('$name', '$provider', '{$channels}', "
		  . join(', ', map { "$_ => $argument{$_}" } sort keys %argument) . ')');
	return;
}

# Returns the id of the new message.
sub send_message
{
	my ($channel, %fields) = @_;
	my %all = (from => '+12016661234', to => '+18045551234', body => 'text ' . ++$serial,
		timestamp => '2024-11-01T14:00:00Z', %fields);
	my $payload = JSON::PP->new->ascii->canonical->encode(\%all);
	return sql("SELECT message_id FROM msgstore.send('$channel', \$payload\$$payload\$payload\$)");
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

# The requests whose body has this text.
sub requests_of
{
	my ($text) = @_;
	return grep { index($_->{raw} // '', $text) >= 0 } requests($log);
}

# Each provider gets what its documentation asks for.
my %auth = (
	basic => 'Basic ' . encode_base64('user:pass', ''),
	bearer => 'Bearer user:pass');
my @cases = (
	[ 'twilio', 'sms', '{"account_sid": "AC1"}', '/2010-04-01/Accounts/AC1/Messages.json', basic => {},
		{ To => ['+18045551234'], From => ['+12016661234'], Body => ['Hi & "bye" ü'] } ],
	[ 'twilio', 'whatsapp', '{"account_sid": "AC1"}', '/2010-04-01/Accounts/AC1/Messages.json', basic => {},
		{ To => ['whatsapp:+18045551234'], From => ['whatsapp:+12016661234'], Body => ['Hi & "bye" ü'] } ],
	[ 'telnyx', 'sms', '{"messaging_profile_id": "m1"}', '/v2/messages', bearer => {},
		{ to => '+18045551234', from => '+12016661234', text => 'Hi & "bye" ü', messaging_profile_id => 'm1' } ],
	[ 'vonage', 'sms', '{}', '/v1/messages', basic => {},
		{ channel => 'sms', message_type => 'text', to => '18045551234', from => '12016661234',
			text => 'Hi & "bye" ü', client_ref => 'ID', webhook_version => 'v1' } ],
	[ 'bandwidth', 'sms', '{"account_id": "9", "application_id": "app"}', '/api/v2/users/9/messages', basic => {},
		{ applicationId => 'app', to => ['+18045551234'], from => '+12016661234', text => 'Hi & "bye" ü', tag => 'ID' } ],
	[ 'whatsapp-cloud', 'sms', '{"phone_number_id": "77"}', '/v23.0/77/messages', bearer => {},
		{ messaging_product => 'whatsapp', recipient_type => 'individual', to => '18045551234', type => 'text',
			text => { body => 'Hi & "bye" ü' }, biz_opaque_callback_data => 'ID' } ],
	[ 'sendgrid', 'email', '{}', '/v3/mail/send', bearer => { cc => ['c@z.org'], in_reply_to => 'p@x' },
		{ personalizations => [ { to => [ { email => 'b@y.org', name => 'Ann' } ], cc => [ { email => 'c@z.org' } ] } ],
			from => { email => 'a@x.org' }, subject => 'Hello', custom_args => { message_id => 'ID' },
			content => [ { type => 'text/plain', value => 'Hi & "bye" ü' } ],
			headers => { 'In-Reply-To' => '<p@x>', References => '<p@x>' } } ],
	[ 'mailgun', 'email', '{"domain": "mg.example.com"}', '/v3/mg.example.com/messages', basic => { cc => ['c@z.org', 'd@z.org'] },
		{ from => ['a@x.org'], to => ['Ann <b@y.org>'], cc => ['c@z.org', 'd@z.org'], subject => ['Hello'],
			text => ['Hi & "bye" ü'], 'v:message_id' => ['ID'] } ],
	[ 'postmark', 'email', '{"message_stream": "out"}', '/email', 'x-postmark-server-token' => { body => 'Hi <b>x</b>', in_reply_to => 'p@x' },
		{ From => 'a@x.org', To => 'Ann <b@y.org>', Subject => 'Hello', TextBody => 'Hi x', HtmlBody => 'Hi <b>x</b>',
			MessageStream => 'out', Metadata => { message_id => 'ID' },
			Headers => [ { Name => 'In-Reply-To', Value => '<p@x>' }, { Name => 'References', Value => '<p@x>' } ] } ],
	[ 'generic', 'sms', '{}', '/', bearer => {},
		{ id => 'ID', channel => 'sms', to => '+18045551234', from => '+12016661234', body => 'Hi & "bye" ü',
			timestamp => '2024-11-01T14:00:00Z' } ]);
sql("SELECT msgstore.create_source('whatsapp', 'whatsapp-cloud', 'secret')");
my $sender = start_sender($node);
for my $case (@cases)
{
	my ($provider, $channel, $options, $path, $auth, $fields, $expected) = @$case;
	my $seen = requests($log);
	account('a', $provider, $channel, options => "'$options'");
	my $id = send_message($channel, body => 'Hi & "bye" ü',
		$channel eq 'email' ? (from => 'a@x.org', to => 'Ann <b@y.org>', subject => 'Hello') : (),
		timestamp => '2024-11-01T14:00:00Z', idempotency => "$provider $channel", %$fields);
	becomes($id, 'sent', "$provider: sent");
	my $request = (requests($log))[-1];
	my $body = $request->{body};
	$expected = decode(JSON::PP->new->utf8->encode($expected) =~ s/"ID"/"$id"/gr);
	is($request->{path}, $path, "$provider: path");
	is($auth{$auth} ? $request->{headers}{authorization} : $request->{headers}{$auth}, $auth{$auth} // 'user:pass', "$provider: secret");
	is_deeply($body, $expected, "$provider: body");
	is($request->{headers}{'idempotency-key'}, $provider eq 'generic' ? $id : undef, "$provider: idempotency key");
	like(sql("SELECT provider || ' ' || provider_message_id FROM msgstore.outbound_messages WHERE id = '$id'"),
		$provider eq 'mailgun' ? qr/^mailgun P-\d+\@mg\.example\.com$/ : qr/^$provider P-\d+$/, "$provider: its id is kept");
	sql("SELECT msgstore.drop_account('a')");
}
my ($line) = grep { ($_->{message} // '') eq 'sent' } $sender->log_lines;
is("$line->{status} $line->{answer} $line->{account} $line->{attempt}", 'sent 201 a 1', 'the log has the outcome');
unlike($sender->log_text, qr/user:pass|Hi &/, 'but no secret and no body');

# Final and passing errors.
account('a', 'twilio', 'sms', options => q('{"account_sid": "AC1"}'));
becomes(send_message('sms', body => 'one do=400'), 'failed 4711', '400 is final');
becomes(send_message('sms', body => 'two do=500,500,200'), 'sent', '500 is retried');
is(scalar requests_of('two do'), 3, 'until it is accepted');
becomes(send_message('sms', body => 'three do=429,200'), 'sent', '429 is retried after the time that the provider wants');
my $id = send_message('sms', body => 'four do=429,503,200');
becomes($id, 'sent', '503 likewise');
is(sql("SELECT attempt_count FROM msgstore.outbound_messages WHERE id = '$id'"), 0, 'neither counts as an attempt');
is(sql("SELECT failures, paused_until, last_error FROM msgstore.list_accounts()"), '0||', 'a success ends the pause');

# A secret that is refused stops the account, not the messages.
$id = send_message('sms', body => 'five do=401,200');
ok(eventually(sub { sql('SELECT last_error FROM msgstore.list_accounts()') =~ /told to fail/ }), '401 pauses the account');
is(status_of($id), 'queued', 'and the message waits');
sql("SELECT msgstore.rotate_account_secret('a', 'new:secret')");
becomes($id, 'sent', 'a new secret ends the pause');
is((requests_of('five do'))[-1]{headers}{authorization}, 'Basic ' . encode_base64('new:secret', ''), 'it is used at once');

# An account without a secret in the database.
sql("SELECT msgstore.rotate_account_secret('a', NULL)");
$id = send_message('sms', body => 'six');
ok(eventually(sub { sql('SELECT last_error FROM msgstore.list_accounts()') =~ /secret "a" is missing/ }), 'a missing secret is told');
is(($sender->stop)[0], 0, 'exit code 0');
$sender = start_sender($node, env => { SECRET_A => 'from:environment' });
sql("SELECT msgstore.resume_account('a')");
becomes($id, 'sent', 'a secret from the environment');
is((requests_of('six'))[-1]{headers}{authorization}, 'Basic ' . encode_base64('from:environment', ''), 'is used');
$sender->stop;
my $directory = PostgreSQL::Test::Utils::tempdir();
append_to_file("$directory/a", "from:file\nmore\n");
$sender = start_sender($node, env => { SECRET_A => 'x:y' }, flags => [ '--secrets-dir', $directory ]);
becomes(send_message('sms', body => 'seven'), 'sent', 'a secret from a file');
is((requests_of('seven'))[-1]{headers}{authorization}, 'Basic ' . encode_base64('from:file', ''), 'is preferred');
sql("SELECT msgstore.rotate_account_secret('a', 'user:pass')");

# Without an answer nobody knows. Twilio has no idempotency key, so a person decides.
sql("UPDATE msgstore.accounts SET timeout = '1 second'");
for my $case (qw(hang cut))
{
	$id = send_message('sms', body => "$case do=$case");
	becomes($id, 'uncertain uncertain', "$case: uncertain");
	is(scalar requests_of("$case do"), 1, "$case: and not sent again");
}
ok(!$node->psql('postgres', "SELECT msgstore.sent('$id', 'looked-up')"), 'a person can say that it was sent');
is(status_of($id), 'sent', 'and then it was');
# On a connection that was used before, where libcurl would repeat it.
my ($first, $second) = ('reuse one', 'reuse two do=cut');
becomes(send_message('sms', body => $first), 'sent', 'a connection is open');
becomes(send_message('sms', body => $second), 'uncertain uncertain', 'cut after the request');
is((requests_of($second))[0]{port}, (requests_of($first))[0]{port}, 'on the same connection');
is(scalar requests_of($second), 1, 'it was sent once');

# The account can say that it is sent again.
sql("UPDATE msgstore.accounts SET resend = true");
becomes(send_message('sms', body => 'again do=cut,200'), 'sent', 'sent again if the account says so');
sql("SELECT msgstore.drop_account('a')");
account('g', 'generic', 'sms', timeout => "'1 second'");
$id = send_message('sms', body => 'key do=cut,hang,200');
becomes($id, 'sent', 'and with an idempotency key');
is(join(' ', map { $_->{headers}{'idempotency-key'} } requests_of('key do')), "$id $id $id", 'which stays the same');

# A provider that cannot be reached: the attempt does not count.
sql("UPDATE msgstore.accounts SET base_url = 'http://127.0.0.1:1'");
$id = send_message('sms');
ok(eventually(sub { sql('SELECT failures FROM msgstore.list_accounts()') >= 4 }), 'a provider that is away pauses the account');
sql("UPDATE msgstore.accounts SET base_url = '$base'");
sql("SELECT msgstore.resume_account('g')");
becomes($id, 'sent', 'its messages are sent when it is back');
is(sql("SELECT attempt_count FROM msgstore.outbound_messages WHERE id = '$id'"), 0, 'without a failed attempt');

# No account: told, and repaired by a requeue.
sql("INSERT INTO msgstore.channels (name, address_kind, provider) VALUES ('fax', 'phone', 'x')");
$id = send_message('mms', attachments => ['https://example.com/a.png']);
is(status_of($id), 'queued', 'a channel without any account is left to other senders');
account('other', 'generic', 'mms', addresses => "'{+15550001111}'");
becomes($id, 'failed invalid_routing', 'a message without an account fails');
account('all', 'generic', 'mms');
is(sql("SELECT msgstore.requeue('$id')"), 't', 'requeued');
becomes($id, 'sent', 'and sent by the new account');
is((requests_of('a.png'))[-1]{body}{attachments}[0], 'https://example.com/a.png', 'with its attachment');
$sender->stop;

# The sender is killed while a provider does not answer. Its lease expires.
sql("ALTER DATABASE postgres SET msgstore.claim_timeout = '1s'");
sql("UPDATE msgstore.accounts SET timeout = '10 minutes'");
$sender = start_sender($node);
my $keyed = send_message('sms', body => 'killed key do=hang,200');
account('mail', 'smtp', 'email', base_url => "'smtp://127.0.0.1:$mail_port'", secret => 'NULL');
account('tw', 'twilio', 'sms', options => q('{"account_sid": "AC1"}'), addresses => "'{+15550002222}'", timeout => "'10 minutes'");
my $unkeyed = send_message('sms', from => '+15550002222', body => 'killed unkeyed do=hang,200');
ok(eventually(sub { requests_of('killed key') + requests_of('killed unkeyed') == 2 }), 'two requests are under way');
$sender->stop('KILL');
$sender = start_sender($node);
becomes($keyed, 'sent', 'the next sender sends again what has a key');
becomes($unkeyed, 'uncertain uncertain', 'and leaves to a person what has none');
is(scalar requests_of('killed unkeyed'), 1, 'which was sent once');
is(join(' ', map { $_->{headers}{'idempotency-key'} } requests_of('killed key')), "$keyed $keyed", 'the other with one key');

# A sender that lives keeps its lease, however long the provider takes.
$id = send_message('sms', from => '+15550002222', body => 'slow do=hang');
ok(eventually(sub { requests_of('slow do') == 1 }), 'a request is under way');
my $expiry = "SELECT next_attempt_at FROM msgstore.outbox WHERE message_id = '$id'";
my $before = sql($expiry);
ok(eventually(sub { sql("SELECT ($expiry) > '$before'::timestamptz + interval '2 s'") eq 't' }), 'its lease is renewed');
$sender->stop('KILL');

# At a stop, a request without an answer is reported as such.
$sender->stop('KILL');
sql("ALTER DATABASE postgres RESET msgstore.claim_timeout");
$sender = start_sender($node, env => { SENDER_STOP_TIMEOUT_SECS => 0 });
$id = send_message('sms', from => '+15550002222', body => 'stopped do=hang');
ok(eventually(sub { requests_of('stopped do') == 1 }), 'a request is under way');
is(($sender->stop)[0], 0, 'the sender stops');
is(status_of($id), 'uncertain uncertain', 'and says that it does not know');

# The database goes away while the provider works.
$sender = start_sender($node);
$node->stop('fast');
$node->start;
becomes(send_message('sms', body => 'after the restart'), 'sent', 'the sender is back after a restart of the database');
$sender->stop;
is(($sender->log_text =~ /"level":"error"/g) <= 3, 1, 'and did not fill its log');

done_testing();
