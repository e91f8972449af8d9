# MsgstoreContent.pm: a database with rows of every kind, for tests that copy it.
package MsgstoreContent;

use strict;
use warnings FATAL => 'all';

use Exporter 'import';
use MsgstoreServer;
use Test::More;

our @EXPORT = qw(add_handler_functions add_content content_of lives_on);

# What the handlers and projections of the database need besides the extension.
sub add_handler_functions
{
	my ($node, $database) = @_;
	$node->safe_psql($database, <<'SQL');
CREATE TABLE handled (n serial, event text);
CREATE FUNCTION handle(m msgstore.messages) RETURNS void LANGUAGE sql AS
$$ INSERT INTO public.handled (event) VALUES (m.provider_message_id) $$;
CREATE FUNCTION ignore_event(e msgstore.stream_event) RETURNS void LANGUAGE sql AS '';
SQL
	return;
}

# Adds rows to every table: events processed, failed once, given up, queued and
# claimed, keys of each scope, channels added and changed, conversations of both
# kinds. Needs msgstore.workers = 0 and msgstore.max_retries = 1.
sub add_content
{
	my ($node, $database) = @_;
	add_handler_functions($node, $database);
	$node->safe_psql($database, <<'SQL');
INSERT INTO msgstore.channels (name, address_kind, thread)
VALUES ('whatsapp', 'phone', 'sms'), ('pigeon', 'opaque', NULL);
UPDATE msgstore.channels SET thread = 'sms' WHERE name = 'mms';
UPDATE msgstore.channels SET body_required = false WHERE name = 'email';

SELECT ingest_many('processed-', 100, 7);
SELECT msgstore.process();
SELECT * FROM msgstore.send('sms', event(NULL, '+18045550001', 'sent'));
SELECT * FROM msgstore.send('sms', event(NULL, '+18045550002', 'with a key'), 'key-1', 'trace-1');
SELECT * FROM msgstore.send('pigeon', event(NULL, 'loft 7', 'coo'));
SELECT msgstore.update_conversation('1', '{"state": "closed", "assignee": "ann", "labels": ["vip"], "contact_name": "ünïcode"}');
SELECT msgstore.mark_read('1', 'ann');
SELECT msgstore.set_search_configuration('english', 'email');
SELECT msgstore.index_messages();
SELECT * FROM msgstore.ingest('sms', event('keyed', '+18045550003'), 'key-2', 'trace-2');
-- A duplicate with different content, and a refused event.
SELECT * FROM msgstore.ingest('sms', event('keyed', '+18045550003', 'different'));
SET msgstore.keep_refused = on;
SELECT * FROM msgstore.ingest_batch('[{"channel": "fax", "payload": {"body": "ünïcode"}, "mock": true}]');

SELECT msgstore.append('account-1', 'Opened', '{"owner": "ann"}', tags => '{account}');
SELECT * FROM msgstore.append_batch('[{"stream": "account-2", "type": "Opened", "data": {"owner": "bob"},
    "metadata": {"by": "ünïcode"}, "event_id": "00000000-0000-4000-8000-000000000001"}]');
SELECT msgstore.save_snapshot('{"entries": [{"owner": "ann"}], "event_log_position": 1}');
SELECT msgstore.create_subscription('reader', 'account', 2);
SELECT msgstore.create_projection('ignored', 'account', 'ignore_event');
SELECT msgstore.pause_projection('ignored');
SELECT msgstore.set_stream_retention('account', '1 year');
SELECT msgstore.append('gone-1', 'x', '{}'), msgstore.append('gone-1', 'x', '{}');
SELECT msgstore.seal_log();
SELECT msgstore.truncate_stream('gone-1', 2);
SELECT msgstore.park('reader', 1, 'later');
SELECT msgstore.append_host_events('host-1', '[{"type": "HostCreated", "ip_address": "10.0.0.1",
    "hostname": "h", "tags": ["a", "b"], "comment": "ünïcode"}]');

SELECT msgstore.create_api_key('acme', '{ingest,read}'), msgstore.set_tenant_limit('acme', 10);
SELECT msgstore.create_source('chat', 'whatsapp-cloud', 'secret', tenant => 'acme');
SELECT msgstore.rotate_source_secret('chat', 'another');
INSERT INTO msgstore.attachments (tenant_id, id, message_id, position, kind, name, size_bytes, sha256, content)
SELECT tenant_id, id, id, 1, 'attachment', 'ünïcode', 4, sha256('\x00ff0a5c'), '\x00ff0a5c' FROM msgstore.event_log ORDER BY id LIMIT 1;
INSERT INTO msgstore.message_parts VALUES ('', 'chat', sha256('ref'), 1, 2, '+1', '+2', 'sms', '{"body": "ünïcode"}', false, '2100-01-01');
INSERT INTO msgstore.thread_ids SELECT tenant_id, 'a@x', sha256('id'), id, true, 'b@x', '{a@x,b@x}', '{a@x,b@x}' FROM msgstore.event_log ORDER BY id LIMIT 1;
INSERT INTO msgstore.source_tokens SELECT 'acme', 'chat', sha256('token'), '2100-01-01';
INSERT INTO msgstore.provider_apis (provider, base_url) VALUES ('own', 'http://x');
INSERT INTO msgstore.provider_requests (provider, position) VALUES ('own', 1);
SELECT msgstore.create_account('own', 'own', '{pigeon}', 'secret', tenant => 'acme');
SELECT msgstore.opt_out('sms', '+18045559999');
SELECT msgstore.create_destination('crm', 'http://127.0.0.1:1/', '{message.received,message.status,event.dead}');
SELECT msgstore.test_destination('crm');
INSERT INTO msgstore.signature_schemes (name, method) VALUES ('own', 'token');
INSERT INTO msgstore.providers (name, scheme) VALUES ('own', 'own');
INSERT INTO msgstore.provider_rules (provider, position, kind, channel) VALUES ('own', 1, 'message', 'sms');

-- A message sent, one leased, a callback matched to its message and one that is not.
SELECT msgstore.sent(message_id, 'sent-1', 'a') FROM msgstore.claim_outbound('a', 1);
SELECT count(*) FROM msgstore.claim_outbound('b', 1);
SELECT * FROM msgstore.record_status('sms', 'sent-1', 'delivered', '{"carrier": "x"}');
SELECT * FROM msgstore.record_status('sms', 'sent-2', 'sent');

SELECT msgstore.save_response('{"id": "resp_1", "status": "completed", "model": "m", "metadata": {"a": 1}}');
SELECT msgstore.delete_response('resp_1');
SELECT msgstore.create_response_conversation('{"id": "conv_1", "items": [{"role": "user", "content": "ünïcode"}]}');
SELECT msgstore.save_response('{"id": "resp_2", "status": "in_progress", "model": "m", "conversation": "conv_1"}');
SELECT msgstore.save_response('{"id": "resp_3", "status": "completed", "model": "m", "usage": {"total_tokens": 3}}');
SELECT msgstore._merge_usage();
SET msgstore.response_search = on;
SELECT msgstore.save_response('{"id": "resp_6", "status": "completed", "model": "m", "input": "ünïcode"}');
SELECT msgstore._index_responses(1);
SET msgstore.response_audit = on;
SELECT msgstore.save_response('{"id": "resp_5", "status": "completed", "model": "m"}');
SELECT msgstore.delete_response('resp_5');
SELECT msgstore.save_response('{"id": "resp_4", "status": "completed", "model": "m", "usage": {"total_tokens": 4}}');
SELECT msgstore.append_response_events('resp_2', '{"type": "response.created", "text": "ünïcode"}');

CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
$$BEGIN RAISE EXCEPTION 'not this one: %', NEW.body; END$$;
CREATE TRIGGER refuse BEFORE INSERT ON msgstore.messages
FOR EACH ROW WHEN (NEW.body LIKE 'bad%') EXECUTE FUNCTION refuse();
SELECT * FROM msgstore.ingest('sms', event('dead', body => 'bad, ünïcode & ''quotes'' \'));
SELECT msgstore.process();
UPDATE msgstore.event_queue SET next_attempt_at = now();
SELECT msgstore.process();
SELECT * FROM msgstore.ingest('sms', event('failed', body => 'bad'));
SELECT msgstore.process();
SELECT ingest_many('queued-', 20, 3);

-- A claim of an external processor, and an event that waits behind it. The tenant
-- has no other events to claim.
UPDATE msgstore.channels SET strict_order = true WHERE name = 'whatsapp';
SELECT msgstore.add_handler('whatsapp', 'handle');
SET msgstore.tenant_id = 'acme';
SELECT * FROM msgstore.ingest('whatsapp', event('claimed', '+18045550004'));
SELECT * FROM msgstore.ingest('whatsapp', event('waiting', '+18045550004'));
SELECT count(*) FROM msgstore.claim('outside', 1);
SELECT msgstore.process();
RESET msgstore.tenant_id;

-- The log of operations, and the progress of the purge.
UPDATE msgstore.messages SET body = 'wrong' WHERE provider_message_id = 'processed-1';
SELECT * FROM msgstore.replay();
SELECT * FROM msgstore._purge_batch('events', '-infinity', 1);
INSERT INTO msgstore.purge_skipped
SELECT tenant_id, 'events', event_id FROM msgstore.event_queue LIMIT 1;
DROP TRIGGER refuse ON msgstore.messages;
DROP FUNCTION refuse;
SELECT msgstore.set_slot(1, 4), msgstore.set_slot_map(3, '{"": 1, "acme": 1, "other": 2}'),
    msgstore.fence_tenant('moving');
SQL
	is( $node->safe_psql($database, 'SELECT status, count(*) FROM msgstore.inbound_events
			GROUP BY 1 ORDER BY 1'),
		"dead_letter|1\nerror|1\nprocessed|101\nprocessing|1\nreceived|21",
		'there are events with every status');
	my $content = content_of($node, $database);
	# The events that are left are processed later, so the workers are not paused.
	unlike($content =~ s/^msgstore\.worker_pause\|0\|$//mr, qr/\|0\|/, 'no table is empty') or diag($content);
	like($content, qr/seq\|\d+\|t/, 'and sequences have advanced');
	$node->safe_psql($database, "UPDATE msgstore.event_queue SET next_attempt_at = now()
		WHERE next_attempt_at < 'infinity'");
	return;
}

# One line for each table and sequence, with a digest of its content.
sub content_of
{
	my ($node, $database) = @_;
	my $of_kind = sub {
		return split /\n/, $node->safe_psql($database, "SELECT oid::regclass
			FROM pg_class WHERE relnamespace = 'msgstore'::regnamespace
				AND relkind = '$_[0]' AND relpersistence = 'p' ORDER BY relname");
	};
	my @tables = map { "SELECT '$_', count(*), md5(string_agg(t::text, E'\\n'
		ORDER BY t::text COLLATE \"C\")) FROM $_ t" } $of_kind->('r');
	my @sequences = map { "SELECT '$_', last_value, is_called FROM $_" } $of_kind->('S');
	return $node->safe_psql($database, join ';', @tables, @sequences);
}

# Tests that a copy of the database works like the original, whose content is given.
sub lives_on
{
	my ($node, $database, $content, $how) = @_;
	my $sql = sub { return $node->safe_psql($database, $_[0]) };
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is(content_of($node, $database), $content, "$how: all rows and sequences are restored");
	is(violations($node, $database), '', "$how: the invariants hold");
	is($sql->('SELECT * FROM msgstore.check()'), '', "$how: nothing is missing");
	is( $sql->("SELECT duplicate FROM msgstore.ingest('sms', event('processed-1'))
			UNION ALL SELECT duplicate FROM msgstore.send('sms',
				event(NULL, '+18045550001', 'sent'))
			UNION ALL SELECT duplicate FROM msgstore.send('sms',
				event(NULL, '+18045550002', 'with a key'), 'key-1')"),
		"t\nt\nt",
		"$how: duplicates are recognized");
	is( $sql->("SELECT msgstore.conversation_key('mms', '+1', '+2')"),
		'sms:+1<->+2', "$how: changed channels are in effect");
	$sql->("UPDATE msgstore.channels SET thread = 'mms' WHERE name = 'mms'");
	is( $sql->("SELECT msgstore.conversation_key('mms', '+1', '+2')"),
		'mms:+1<->+2', "$how: and can be changed again");
	my $greatest = $sql->('SELECT max(number) FROM msgstore.conversations');
	$sql->("SELECT * FROM msgstore.send('sms', event(NULL, '+18045559999', 'new'))");
	cmp_ok($sql->('SELECT max(number) FROM msgstore.conversations'),
		'>', $greatest, "$how: a new conversation has a new number");
	$sql->("SELECT ingest_many('new-', 10)");
	is($sql->('SELECT msgstore.process() >= 30'), 't',
		"$how: pending events are processed");
	is( $sql->("SELECT status, count(*) FROM msgstore.inbound_events
			GROUP BY 1 ORDER BY 1"),
		"dead_letter|1\nprocessed|132\nprocessing|1\nreceived|1",
		"$how: dead letters remain, and so do the claim and the event behind it");
	is( $sql->("SELECT msgstore.complete('outside', array_agg(event_id)) FROM msgstore.event_claims;
			SELECT msgstore.process();
			SELECT string_agg(event, ' ' ORDER BY n) FROM handled"),
		"1\n1\nclaimed waiting",
		"$how: the claim can be completed, the next event follows, the handler is called");
	is(violations($node, $database), '', "$how: the invariants hold");
	return;
}

1;
