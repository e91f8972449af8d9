# Conversations of e-mails that reply to each other, in any order, and of groups.
use strict;
use warnings FATAL => 'all';

use FindBin;
use JSON::PP;
use lib "$FindBin::Bin/..";
use MsgstoreGateway;
use Test::More;

my $node = start_cluster('threads');
my %path;

sub sql { return $node->safe_psql('postgres', $_[0]) }

sub source
{
	my ($name, $arguments) = @_;
	$path{$name} = sql("SELECT path FROM msgstore.create_source('$name', $arguments)");
	return;
}
sub quoted { my ($text) = @_; $text =~ s/'/''/g; return "'$text'" }

# Delivers an e-mail as the gateway does once it has parsed it.
sub mail
{
	my ($source, %mail) = @_;
	my $query = '?to=' . delete $mail{mailbox};
	my $parsed = encode_json({ date => '2024-07-01T10:00:00Z', text => 'text', attachments => [], %mail });
	return sql("SELECT outcome FROM msgstore.receive_webhook('$path{$source}', 'POST', 'http://x/$query',
		'{\"content-type\": \"message/rfc822\"}', 'raw', mail => " . quoted($parsed) . ')');
}

# The conversation of each message.
sub keys_of
{
	my (@ids) = @_;
	sql('SELECT msgstore.process()');
	return join ' ', map { sql("SELECT conversation_key FROM msgstore.messages WHERE provider_message_id LIKE '$_ %'") || 'none' } @ids;
}

source('mail', "'raw-email', scheme => 'none'");
my ($ann, $bob, $eve, $desk) = ('ann@x.org', 'bob@x.org', 'eve@x.org', 'desk@own.org');
my $with_ann = "email:$ann<->$desk";
my $with_bob = "email:$bob<->$desk";

## A reply of somebody who was addressed joins the conversation.
mail('mail', mailbox => $desk, from => "Ann <$ann>", to => [$desk], cc => [$bob], message_id => 'a1');
mail('mail', mailbox => $desk, from => $bob, to => [$desk], message_id => 'a2', in_reply_to => '<a1>');
mail('mail', mailbox => $desk, from => $ann, to => [$desk], message_id => 'a3', references => '<other> <a1> <a2>');
is(keys_of('a1', 'a2', 'a3'), join(' ', ($with_ann) x 3), 'replies join the conversation of the message they name');
is(mail('mail', mailbox => $desk, from => $bob, to => [$desk], message_id => 'a2', in_reply_to => '<a1>'), 'accepted', 'delivered again');
is(sql("SELECT value FROM msgstore._counters() WHERE name = 'events_conflicting'"), 0, 'it is the same');
is(sql(q{SELECT message_count FROM msgstore.conversations}), 3, 'the conversation counts all of them');
mail('mail', mailbox => $desk, from => $bob, to => [$desk], message_id => 'b1');
is(keys_of('b1'), $with_bob, 'what names no message is in the conversation of its sender');

## Nobody writes into a conversation of others because he knows an id.
mail('mail', mailbox => $desk, from => $eve, to => [$desk], cc => [$ann], message_id => 'e1', in_reply_to => '<a1>', references => '<a1> <a2> <a3>');
is(keys_of('e1'), "email:$desk<->$eve", 'one who was not addressed has a conversation of his own');
mail('mail', mailbox => 'other@own.org', from => $bob, to => ['other@own.org'], message_id => 'o1', in_reply_to => '<a1>');
is(keys_of('o1'), "email:$bob<->other\@own.org", 'so has a message to another mailbox');
source('theirs', "'raw-email', scheme => 'none', tenant => 'acme'");
mail('theirs', mailbox => $desk, from => $bob, to => [$desk], message_id => 't1', in_reply_to => '<a1>');
is(keys_of('t1'), $with_bob, 'and one of another tenant');

## A parent that comes later joins the replies.
mail('mail', mailbox => $desk, from => $bob, to => [ $desk, $ann ], message_id => 'c2', in_reply_to => '<c1>');
mail('mail', mailbox => $desk, from => $ann, to => [$desk], cc => [$bob], message_id => 'c3', in_reply_to => '<c1>', references => '<c1>');
mail('mail', mailbox => $desk, from => $ann, to => [$desk], cc => [$bob], message_id => 'c1');
is(keys_of('c1', 'c2', 'c3'), join(' ', ($with_bob) x 3), 'replies, and then the message they name, are in one conversation');
mail('mail', mailbox => $desk, from => $bob, to => [$desk], message_id => 'f2', in_reply_to => '<f1>');
mail('mail', mailbox => $desk, from => $eve, to => [$desk], message_id => 'f1');
is(keys_of('f1'), "email:$desk<->$eve", 'but not one that was not for whoever replied to it');

## One Message-ID to two mailboxes: each has its thread.
mail('mail', mailbox => $_, from => $ann, to => [ $desk, 'sales@own.org' ], cc => [$bob], message_id => 'm1') for $desk, 'sales@own.org';
mail('mail', mailbox => $_, from => $bob, to => [ $desk, 'sales@own.org' ], message_id => 'm2', in_reply_to => '<m1>') for $desk, 'sales@own.org';
sql('SELECT msgstore.process()');
is(sql(q{SELECT string_agg(conversation_key, ' ' ORDER BY conversation_key) FROM msgstore.messages WHERE provider_message_id LIKE 'm2 %'}),
	"$with_ann email:$ann<->sales\@own.org", 'a reply to both');

## A reply to a message that was sent from here.
my $sent = sql("SELECT message_id FROM msgstore.send('email', '"
	  . encode_json({ from => $desk, to => $ann, cc => [$bob], body => 'b', timestamp => '2024-07-01T10:00:00Z' }) . "')");
sql("SELECT msgstore.sent('$sent', 's1\@own.org')");
mail('mail', mailbox => $desk, from => $bob, to => [$desk], message_id => 's2', in_reply_to => '<s1@own.org>');
mail('mail', mailbox => $desk, from => $eve, to => [$desk], message_id => 's3', in_reply_to => '<s1@own.org>');
is(keys_of('s2', 's3'), "$with_ann email:$desk<->$eve", 'joins its conversation, if it was addressed to the sender');

## Two sessions at once: whichever is first, both messages are in one conversation.
my @sessions = map { $node->background_psql('postgres', on_error_stop => 0) } 1 .. 2;
$sessions[0]->query_safe('BEGIN');
my $parsed = sub {
	my (%mail) = @_;
	return "SELECT outcome FROM msgstore.receive_webhook('$path{mail}', 'POST', 'http://x/?to=$desk', '{\"content-type\": \"message/rfc822\"}', 'raw', mail => "
	  . quoted(encode_json({ text => 't', attachments => [], date => '2024-07-01T10:00:00Z', %mail })) . ')';
};
is($sessions[0]->query_safe($parsed->(from => $bob, to => [ $desk, $ann ], message_id => 'r2', in_reply_to => '<r1>')), 'accepted', 'a reply is being stored');
$sessions[1]->query_until(qr/started/, "\\echo started\n" . $parsed->(from => $ann, to => [$desk], cc => [$bob], message_id => 'r1') . ";\n");
ok($node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'advisory'}), 'the message it names waits');
$sessions[0]->query_safe('COMMIT');
ok($node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM msgstore.event_log WHERE provider_message_id LIKE 'r1 %'}), 'and is stored');
$_->quit for @sessions;
is(keys_of('r1', 'r2'), "$with_bob $with_bob", 'in the same conversation');

## Groups: several recipients of an mms.
source('telnyx', "'telnyx', scheme => 'none', own_addresses => '{+15559870001}'");
sub telnyx
{
	my ($id, $from, @to) = @_;
	return sql("SELECT outcome FROM msgstore.receive_webhook('$path{telnyx}', 'POST', 'http://x/', '{\"content-type\": \"application/json\"}', "
		  . quoted(encode_json({ data => { event_type => 'message.received', payload => { id => $id, from => { phone_number => $from }, text => 'x',
						to => [ { phone_number => shift @to } ], cc => [ map { { phone_number => $_ } } @to ], media => [ { url => 'https://x.example/1' } ] } } })) . ')');
}
telnyx('g1', '+15551230001', '+15559870001', '+15551230002');
telnyx('g2', '+15551230002', '+15551230001', '+15559870001');
telnyx('g3', '+15551230002', '+15559870001');
sql('SELECT msgstore.process()');
is(sql(q{SELECT string_agg(conversation_key || ' ' || "to", ', ' ORDER BY provider_message_id) FROM msgstore.messages WHERE channel = 'mms'}),
	'mms:+15551230001<->+15551230002,+15559870001 +15559870001, mms:+15551230001<->+15551230002,+15559870001 +15559870001, mms:+15551230002<->+15559870001 +15559870001',
	'messages of a group are in one conversation, those between two in another');
sql(q{SELECT msgstore.send('mms', '{"from": "+15559870001", "to": "+15551230001", "body": "b", "timestamp": "2024-07-01T10:00:00Z",
	"attachments": ["https://x.example/1"], "conversation_participants": ["+1 555 123 0002", "+15559870001", "+15551230001"]}')});
is(sql(q{SELECT message_count FROM msgstore.conversations WHERE key LIKE '%,%'}), 3, 'what is sent can name the group');
for my $wrong ('["+15550000009"]', '[]', '[1, 2]', '["", "+1"]', '"+15550000009"', '{"a": 1}', '["+15550000009", "a,b;c<->d"]')
{
	sql(qq{SELECT msgstore.ingest('sms', jsonb_build_object('from', '+15550000001', 'to', '+15550000002', 'body', 'b', 'timestamp', '2024-07-01T10:00:00Z',
		'messaging_provider_id', '$wrong', 'conversation_participants', '$wrong'::jsonb))});
}
sql('SELECT msgstore.process()');
is(sql(q{SELECT message_count FROM msgstore.conversations WHERE key = 'sms:+15550000001<->+15550000002'}), 7, 'what is no group of addresses is ignored');

## Parts of a long sms, in any order, several times: one message.
source('vonage', "'vonage', scheme => 'none'");
sub part
{
	my ($reference, $part, $total, $text, %more) = @_;
	return sql("SELECT outcome FROM msgstore.receive_webhook('$path{vonage}', 'POST', 'http://x/', '{\"content-type\": \"application/json\"}', "
		  . quoted(encode_json({ msisdn => '447700900001', to => '447700900000', messageId => "$reference-$part", text => $text, concat => 'true',
					'concat-ref' => $reference, 'concat-part' => $part, 'concat-total' => $total, 'message-timestamp' => '2024-07-01 12:00:00', %more })) . ')');
}
sub texts { return sql(q{SELECT string_agg(provider_message_id || ' ' || (payload ->> 'body') || coalesce(' missing ' || (payload ->> 'parts_missing'), ''), ', ' ORDER BY provider_message_id) FROM msgstore.inbound_events WHERE payload ->> 'source' = 'vonage'}) }
is(part('p', 3, 3, 'three'), 'accepted', 'the last part is accepted');
is(part('p', 1, 3, 'one '), 'accepted', 'and the first');
is(part('p', 1, 3, 'one '), 'accepted', 'again');
is(texts(), '', 'the message waits for the other one');
is(part('p', 2, 3, 'two '), 'accepted', 'which comes');
is(texts(), 'p-1 one two three', 'it is one message');
is(part('p', $_, 3, 'again'), 'accepted', "part $_ is delivered again") for 1 .. 3;
is(part('q', 1, 2, 'other', msisdn => '447700900002'), 'accepted', 'a part of another sender');
is(part('q', 1, 1, 'whole'), 'accepted', 'a message of one part');
is(texts(), 'p-1 one two three, q-1 whole', 'is stored, and nothing twice');
part('r', 2, 3, 'two');
sql(q{UPDATE msgstore.message_parts SET received_at = received_at - interval '26 hours' WHERE payload ->> 'body' IN ('two', 'one ', 'two ', 'three')});
part('s', 1, 2, 'waits');
is(texts(), 'p-1 one two three, q-1 whole, r-2 two missing 2', 'what waited for too long is stored as it is');
is(sql('SELECT count(*) FROM msgstore.message_parts'), 3, 'old parts are gone');
sql(q{SELECT msgstore.erase_address('sms', '+447700900001')});
is(sql('SELECT count(*) FROM msgstore.message_parts'), 1, 'and those of an erased address');

## Replays and checks agree with that; an erasure takes along what names the address.
is(sql('SELECT count(*) FROM msgstore.check()'), 0, 'nothing is wrong');
is(sql('SELECT changed, added FROM msgstore.replay()'), '0|0', 'a replay changes nothing');
sql(q{DELETE FROM msgstore.messages WHERE provider_message_id = 'g2' OR provider_message_id LIKE 'a2 %'});
is(sql('SELECT added FROM msgstore.replay()'), 2, 'and adds what is missing');
sql('SELECT msgstore.recount()');
is(sql(q{SELECT string_agg(conversation_key, ' ' ORDER BY conversation_key) FROM msgstore.messages WHERE provider_message_id = 'g2' OR provider_message_id LIKE 'a2 %'}),
	"$with_ann mms:+15551230001<->+15551230002,+15559870001", 'where it was');
sql(q{UPDATE msgstore.messages SET conversation_id = msgstore.uuid7() WHERE provider_message_id = 'g1'});
sql('DO $$ DECLARE r text; BEGIN FOR r IN SELECT repair FROM msgstore.check() LOOP EXECUTE r; END LOOP; END $$') for 1 .. 2;
is(sql('SELECT count(*) FROM msgstore.check()'), 0, 'repairs work for groups');
sql("SELECT msgstore.erase_address('mms', '+15551230001'), msgstore.erase_address('email', '$ann')");
is(sql(q{SELECT count(*) FROM msgstore.messages m WHERE conversation_key ~ '15551230001|ann@'
	OR EXISTS (SELECT FROM msgstore.event_log l WHERE l.id = m.id AND l.payload ->> 'conversation_participants' ~ '15551230001|ann@')}), 0, 'nothing in a conversation with an erased address is left');
is(sql(q{SELECT count(*) FROM msgstore.conversation_rows WHERE key ~ '15551230001|ann@'}), 0, 'nor the conversation');
is(sql(q{SELECT count(*) FROM msgstore.thread_ids WHERE people::text || participants::text ~ 'ann@'}), 0, 'nor what threads know of it');
is(sql(q{SELECT count(*) FROM msgstore.messages WHERE provider_message_id LIKE 'b1 %' OR provider_message_id = 'g3'}), 2, 'others stay');
is(sql('SELECT count(*) FROM msgstore.check()'), 0, 'nothing is wrong');

$node->stop;
done_testing();
