# msgstore-sender sends what the providers' own packages would send: the same method,
# path, credentials and body. Both send to a stand-in.
use strict;
use utf8;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::Bin/..";
use MsgstoreGateway;
use MsgstoreNpm;
use MsgstoreSender;
use PostgreSQL::Test::Utils;
use Test::More;

plan skip_all => 'python3 with aiosmtpd is not installed'
  if system('python3 -c "import aiosmtpd" 2>/dev/null') != 0;
my ($directory, $why) = install_from_npm(qw(twilio telnyx @vonage/auth @vonage/messages bandwidth-sdk
	  @sendgrid/mail mailgun.js postmark));
plan skip_all => "$why: the official packages are not tested" if $why;
append_to_file("$directory/send.mjs", <<'JS');
import { readFileSync } from 'node:fs';
import bandwidth from 'bandwidth-sdk';
import Mailgun from 'mailgun.js';
import { ServerClient } from 'postmark';
import sendgrid from '@sendgrid/mail';
import Telnyx from 'telnyx';
import twilio from 'twilio';
import { Auth } from '@vonage/auth';
import { Messages } from '@vonage/messages';

const { base, sid, callback, ids, text } = JSON.parse(readFileSync(0, 'utf8'));
const sms = { to: '+18045551234', from: '+12016661234' };
const media = ['https://example.com/a.png', 'https://example.com/b.png'];
class ToStandIn extends twilio.RequestClient {
    request(options) {
        return super.request({ ...options, uri: options.uri.replace('https://api.twilio.com', base) });
    }
}
const calls = {
    twilio: (id) => twilio(sid, 'pass', { httpClient: new ToStandIn() }).messages.create({
        ...sms, body: text, mediaUrl: media, statusCallback: callback + '?message_id=' + id }),
    telnyx: () => new Telnyx({ apiKey: 'user:pass', baseURL: base + '/v2' }).messages.send({
        ...sms, text, messaging_profile_id: 'm1', media_urls: media }),
    vonage: (id) => new Messages(new Auth({ apiKey: 'user', apiSecret: 'pass' }), { apiHost: base }).send({
        messageType: 'text', channel: 'sms', to: '18045551234', from: '12016661234', text, clientRef: id, webhookVersion: 'v1' }),
    bandwidth: (id) => new bandwidth.MessagesApi(new bandwidth.Configuration({ username: 'user', password: 'pass',
        basePath: base + '/api/v2' })).createMessage('9', { applicationId: 'app', ...sms, to: [sms.to], text, media, tag: id }),
    sendgrid: (id) => {
        sendgrid.setApiKey('SG.key');
        sendgrid.client.setDefaultRequest('baseUrl', base);
        return sendgrid.send({ to: { email: 'b@y.org', name: 'Ann' }, cc: ['c@z.org'], bcc: ['d@z.org'], from: 'a@x.org',
            replyTo: { email: 'r@x.org' }, subject: 'Hello', text, html: '<p>hi</p>', customArgs: { message_id: id },
            headers: { 'In-Reply-To': '<p@x>', References: '<p@x>' },
            attachments: [{ content: 'AAEC', filename: 'gr\u00fcn.bin', type: 'application/x-test', disposition: 'attachment' }] });
    },
    mailgun: (id) => new Mailgun(FormData).client({ username: 'user', key: 'pass', url: base }).messages.create('mg.example.com', {
        from: 'a@x.org', to: 'Ann <b@y.org>', cc: ['c@z.org', 'd@z.org'], subject: 'Hello', text, html: '<p>hi</p>',
        'h:Reply-To': 'r@x.org', 'v:message_id': id,
        attachment: [{ data: Buffer.from([0, 1, 2]), filename: 'a.bin' }] }),
    postmark: (id) => new ServerClient('user:pass', { requestHost: base.replace('http://', ''), useHttps: false }).sendEmail({
        From: 'a@x.org', To: 'Ann <b@y.org>', Cc: 'c@z.org, d@z.org', ReplyTo: 'r@x.org', Subject: 'Hello', TextBody: text,
        HtmlBody: '<p>hi</p>', MessageStream: 'out', Metadata: { message_id: id },
        Headers: [{ Name: 'In-Reply-To', Value: '<p@x>' }, { Name: 'References', Value: '<p@x>' }],
        Attachments: [{ Name: 'gr\u00fcn.bin', Content: 'AAEC', ContentType: 'application/x-test' }] }),
};
for (const name of Object.keys(ids))
    await calls[name](ids[name]);
JS

my $node = start_cluster('packages', "msgstore.workers = 1\n");
my ($port, undef, $log) = start_stand_in();
my $base = "http://127.0.0.1:$port";
my $text = 'Hi & "bye" ü';
my $sid = 'AC' . '0' x 32;
my $json = JSON::PP->new->utf8->canonical;

sub sql { return $node->safe_psql('postgres', $_[0]) }

my ($path, $callback) = split /\|/,
  sql("SELECT path, url FROM msgstore.create_source('status', 'twilio', 'x', 'https://hooks.example.com')");
my @mail = (from => 'a@x.org', to => 'Ann <b@y.org>', subject => 'Hello', html => '<p>hi</p>', reply_to => 'r@x.org');
my $media = [ 'https://example.com/a.png', 'https://example.com/b.png' ];
my $file = { name => 'grün.bin', type => 'application/x-test', content => 'AAEC' };
my @cases = (
	[ 'twilio', 'mms', qq({"account_sid": "$sid"}), [ attachments => $media ], secret => "$sid:pass", source => 'status' ],
	[ 'telnyx', 'mms', '{"messaging_profile_id": "m1"}', [ attachments => $media ] ],
	[ 'vonage', 'sms', '{}', [] ],
	[ 'bandwidth', 'mms', '{"account_id": "9", "application_id": "app"}', [ attachments => $media ] ],
	[ 'sendgrid', 'email', '{}', [ @mail, cc => ['c@z.org'], bcc => ['d@z.org'], in_reply_to => 'p@x', files => [$file] ], secret => 'SG.key' ],
	# The package knows no type of this file, and writes a name that is not ASCII as a browser does.
	[ 'mailgun', 'email', '{"domain": "mg.example.com"}', [ @mail, cc => [ 'c@z.org', 'd@z.org' ], files => [ { name => 'a.bin', content => 'AAEC' } ] ] ],
	[ 'postmark', 'email', '{"message_stream": "out"}', [ @mail, cc => [ 'c@z.org', 'd@z.org' ], in_reply_to => 'p@x', files => [$file] ] ]);

my $sender = start_sender($node);
my (%id, %ours);
for my $case (@cases)
{
	my ($provider, $channel, $options, $fields, %more) = @$case;
	my $secret = $more{secret} // 'user:pass';
	my $source = $more{source} ? "'$more{source}'" : 'NULL';
	sql("SELECT msgstore.create_account('a', '$provider', '{$channel}', '$secret', '$options', base_url => '$base', source => $source)");
	my $payload = $json->encode({ from => '+12016661234', to => '+18045551234', body => $text, timestamp => '2024-11-01T14:00:00Z',
			# Else the same content would be the same message.
			idempotency => $provider, @$fields });
	$id{$provider} = sql("SELECT message_id FROM msgstore.send('$channel', \$payload\$$payload\$payload\$)");
	my $status = '';
	eventually(sub { ($status = sql("SELECT status FROM msgstore.outbound_messages WHERE id = '$id{$provider}'")) ne 'queued' });
	is($status, 'sent', "$provider: sent");
	$ours{$provider} = (requests($log))[-1];
	sql("SELECT msgstore.drop_account('a')");
}
$sender->stop;

my $before = requests($log);
append_to_file("$directory/input.json",
	$json->encode({ base => $base, sid => $sid, callback => $callback, ids => \%id, text => $text }));
my $said = `cd '$directory' && node send.mjs <input.json 2>&1`;
is($said, '', 'the packages send without an error');
my @theirs = requests($log);
# In the order of the JSON's names.
my %theirs;
@theirs{ sort keys %id } = @theirs[ $before .. $#theirs ];
for my $provider (map { $_->[0] } @cases)
{
	my ($ours, $theirs) = ($ours{$provider}, $theirs{$provider});
	is("$ours->{method} $ours->{path}", "$theirs->{method} $theirs->{path}", "$provider: method and path");
	for my $header (qw(authorization x-postmark-server-token))
	{
		is($ours->{headers}{$header}, $theirs->{headers}{$header}, "$provider: $header");
	}
	is(media_type($ours), media_type($theirs), "$provider: content type");
	is_deeply($ours->{body}, $theirs->{body}, "$provider: body");
}

sub media_type { my ($request) = @_; return lc(($request->{headers}{'content-type'} // '') =~ s/;.*//r) }

done_testing();
