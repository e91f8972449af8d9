# Webhooks that the providers' own packages sign are accepted, and refused with one
# byte changed.
use strict;
use warnings FATAL => 'all';

use FindBin;
use JSON::PP;
use MIME::Base64 qw(decode_base64);
use lib "$FindBin::Bin/..";
use MsgstoreGateway;
use MsgstoreNpm;
use PostgreSQL::Test::Utils;
use Test::More;

my ($directory, $why) = install_from_npm(qw(twilio standardwebhooks svix stripe
	  @octokit/webhooks-methods @sendgrid/eventwebhook telnyx @vonage/jwt));
plan skip_all => "$why: the official packages are not tested" if $why;
append_to_file("$directory/sign.mjs", <<'JS');
import crypto from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { sign } from '@octokit/webhooks-methods';
import { EventWebhook } from '@sendgrid/eventwebhook';
import { Webhook as Standard } from 'standardwebhooks';
import Stripe from 'stripe';
import { Webhook as Svix } from 'svix';
import Telnyx from 'telnyx';
import twilio from 'twilio';
const require = createRequire(import.meta.url);
const { verifySignature } = require('@vonage/jwt');

const { urls, secrets, keys } = JSON.parse(readFileSync(0, 'utf8'));
const now = Math.floor(Date.now() / 1000);
const json = '{"from":"+15551230001","to":"+15559870001","id":"ID","body":"caf\u00e9 \ud83d\ude00"}';
const requests = [];
const accepted = {};
function add(source, headers, body, url = urls[source]) {
    requests.push({ source, headers, body: Buffer.from(body).toString('base64'), url });
}
const as_json = (source) => json.replace('ID', source);

// twilio: a form, with every kind of URL, and JSON
const fields = { From: '+15551230001', To: '+15559870001', MessageSid: 'SMpkg', Body: "it's a <test> & caf\u00e9", Tag: ['b', 'a', 'b'] };
const form = new URLSearchParams();
for (const [name, value] of Object.entries(fields)) [value].flat().forEach((v) => form.append(name, v));
for (const query of ['', "?a=it's%20one&b=%7E&c=d+e", '?x=1'])
    for (const port of ['', ':443', ':8443']) {
        const url = urls.twilio + query;
        const signed = url.replace('hooks.example.com', 'hooks.example.com' + port);
        const signature = twilio.getExpectedTwilioSignature(secrets.twilio, signed, fields);
        const valid = twilio.validateRequest(secrets.twilio, signature, url, fields);
        requests.push({ source: 'twilio', url, headers: { 'content-type': 'application/x-www-form-urlencoded',
            'x-twilio-signature': signature }, body: Buffer.from(form.toString()).toString('base64'), valid });
    }
for (const encode of [(q) => q, (q) => q.replaceAll("'", '%27')]) {
    const url = urls.twilio + "?name=O'Hara";
    const signature = twilio.getExpectedTwilioSignature(secrets.twilio, encode(url), fields);
    requests.push({ source: 'twilio', url, headers: { 'content-type': 'application/x-www-form-urlencoded',
        'x-twilio-signature': signature }, body: Buffer.from(form.toString()).toString('base64'),
        valid: twilio.validateRequest(secrets.twilio, signature, url, fields) });
}
{
    const body = '{"MessageSid":"SMjson","From":"+15551230001","To":"+15559870001","Body":"x"}';
    const url = urls.twilio + '?bodySHA256=' + twilio.getExpectedBodyHash(body);
    const signature = twilio.getExpectedTwilioSignature(secrets.twilio, url, {});
    requests.push({ source: 'twilio', url, headers: { 'content-type': 'application/json', 'x-twilio-signature': signature },
        body: Buffer.from(body).toString('base64'), valid: twilio.validateRequestWithBody(secrets.twilio, signature, url, body) });
}

// Standard Webhooks and Svix, also with an older signature beside the new one
for (const [source, prefix, Kind] of [['standard', 'webhook', Standard], ['svix', 'svix', Svix]]) {
    const data = `{"type":"message.received","data":${as_json(source)}}`;
    const webhook = new Kind(secrets[source]);
    const other = new Kind('whsec_' + Buffer.from('another secret, of another time').toString('base64'));
    const head = (signature) => ({ 'content-type': 'application/json', [`${prefix}-id`]: 'msg_' + source,
        [`${prefix}-timestamp`]: String(now), [`${prefix}-signature`]: signature });
    const signed = (kind) => kind.sign('msg_' + source, new Date(now * 1000), data);
    add(source, head(signed(webhook)), data);
    add(source, head(signed(other) + ' ' + signed(webhook)), data);
}

add('stripe', { 'content-type': 'application/json', 'stripe-signature':
    Stripe.webhooks.generateTestHeaderString({ payload: as_json('stripe'), secret: secrets.stripe }) }, as_json('stripe'));
add('github', { 'content-type': 'application/json', 'x-hub-signature-256':
    await sign(secrets.github, as_json('github')) }, as_json('github'));

// These packages only verify: they must accept what is sent to the gateway.
{
    const body = '[{"event":"delivered","sg_message_id":"sgpkg.x","timestamp":1720000000}]';
    const signature = crypto.sign('sha256', Buffer.from(now + body), keys.sendgrid_private).toString('base64');
    const hook = new EventWebhook();
    accepted.sendgrid = hook.verifySignature(hook.convertPublicKeyToECDSA(secrets.sendgrid), body, signature, String(now));
    add('sendgrid', { 'content-type': 'application/json', 'x-twilio-email-event-webhook-signature': signature,
        'x-twilio-email-event-webhook-timestamp': String(now) }, body);
}
{
    const body = `{"data":{"event_type":"message.received","occurred_at":"2024-07-01T10:00:00Z","payload":{"id":"txpkg","type":"SMS",
        "from":{"phone_number":"+15551230001"},"to":[{"phone_number":"+15559870001"}],"cc":[],"media":[],"text":"caf\u00e9"}},"meta":{"attempt":1}}`;
    const signature = crypto.sign(null, Buffer.from(`${now}|${body}`), keys.telnyx_private).toString('base64');
    const headers = { 'content-type': 'application/json', 'telnyx-signature-ed25519': signature, 'telnyx-timestamp': String(now) };
    accepted.telnyx = await new Telnyx({ apiKey: 'none' }).webhooks
        .unwrap(body, { headers, key: secrets.telnyx }).then(() => true);
    add('telnyx', headers, body);
}
{
    const body = '{"message_uuid":"vpkg","to":"447700900000","from":"447700900001","channel":"sms","message_type":"text","text":"x"}';
    const encode = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
    const claims = encode({ alg: 'HS256', typ: 'JWT' }) + '.' + encode({ iat: now, jti: 'j', iss: 'Vonage',
        payload_hash: crypto.createHash('sha256').update(body).digest('hex'), api_key: 'k', application_id: 'a' });
    const token = claims + '.' + crypto.createHmac('sha256', secrets.vonage).update(claims).digest('base64url');
    accepted.vonage = verifySignature(token, secrets.vonage);
    add('vonage', { 'content-type': 'application/json', authorization: `Bearer ${token}` }, body);
}
console.log(JSON.stringify({ requests, accepted }));
JS

my $node = start_cluster('packages');
my $gateway = MsgstoreGateway->new($node);
my %secret = (
	twilio => 'auth token',
	standard => 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw',
	svix => 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw',
	stripe => 'whsec_plain',
	github => 'octocat',
	vonage => 'vonage secret');
my %keys;

# Keys of OpenSSL, as the consoles of SendGrid and Telnyx show the public ones.
for my $key ([ 'sendgrid', 'EC -pkeyopt ec_paramgen_curve:P-256' ], [ 'telnyx', 'ED25519' ])
{
	my ($name, $algorithm) = @$key;
	system("openssl genpkey -algorithm $algorithm -out '$directory/$name.pem' 2>/dev/null") == 0 or die;
	$keys{"${name}_private"} = slurp_file("$directory/$name.pem");
	my $public = `openssl pkey -in '$directory/$name.pem' -pubout -outform DER | base64 -w 0`;
	$secret{$name} = $name eq 'telnyx' ? MIME::Base64::encode_base64(substr(decode_base64($public), -32), '') : $public;
}
my %arguments = (
	twilio => "'twilio'",
	standard => "'standard-webhooks'",
	svix => "'standard-webhooks', scheme => 'svix'",
	stripe => "'generic', scheme => 'stripe'",
	github => "'generic', scheme => 'github'",
	vonage => "'vonage'",
	sendgrid => "'sendgrid-events'",
	telnyx => "'telnyx'");
my (%path, %url);
for my $name (sort keys %arguments)
{
	my $path = $node->safe_psql('postgres',
		"SELECT path FROM msgstore.create_source('$name', $arguments{$name}, secret => '$secret{$name}', public_url => 'https://hooks.example.com')");
	$path{$name} = "/api/webhooks/$path";
	$url{$name} = "https://hooks.example.com$path{$name}";
}
append_to_file("$directory/input.json", encode_json({ urls => \%url, secrets => \%secret, keys => \%keys }));
my $printed = `cd '$directory' && node sign.mjs < input.json 2>&1`;
my $signed = eval { decode($printed) } // {};
diag($printed) if !%$signed;
ok($signed->{accepted}{$_}, "the package of $_ accepts what is sent here") for qw(sendgrid telnyx vonage);

# Sends a request; returns the status.
sub deliver
{
	my ($request, $body) = @_;
	my ($query) = $request->{url} =~ /(\?.*)/;
	my $answer = $gateway->request('POST', $path{ $request->{source} } . ($query // ''), $request->{headers}, $body);
	return $answer->{status};
}
for my $request (@{ $signed->{requests} })
{
	my $body = decode_base64($request->{body});
	my $changed = $body;
	substr($changed, 20, 1) ^= "\1";
	my $what = "$request->{source} " . ($request->{url} =~ /(\?.*)/ ? $1 : '');
	if (exists $request->{valid} && !$request->{valid})
	{
		is(deliver($request, $body), 403, "$what: refused, as by the package");
		next;
	}
	like(deliver($request, $body), qr/^20[0-2]$/, "$what: accepted");
	like(deliver($request, $changed), qr/^40[13]$/, "$what: refused with one byte changed");
}
is($node->safe_psql('postgres', q{SELECT string_agg(provider_message_id, ' ' ORDER BY provider_message_id COLLATE "C") FROM msgstore.inbound_events}),
	'SMjson SMpkg github standard stripe svix txpkg vpkg', 'each message is stored once');
is($node->safe_psql('postgres', q{SELECT DISTINCT payload ->> 'body' FROM msgstore.inbound_events WHERE provider_message_id = 'github'}),
	"caf\x{c3}\x{a9} \x{f0}\x{9f}\x{98}\x{80}", 'with its text');

is(($gateway->stop)[0], 0, 'exit code 0');
$node->stop;
done_testing();
