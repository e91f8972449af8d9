# Everything that locks several rows runs at once, in tight loops on a few
# conversations of a few addresses, with deadlock_timeout at 10 ms. No session and
# no worker meets a deadlock: all take their locks in the order that
# docs/architecture.md lists. Meanwhile all invariants hold in every snapshot.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::Bin/..";
use MsgstoreLoad;
use MsgstoreServer;
use PostgreSQL::Test::Utils;
use Test::More;

my $seconds = $ENV{LOCK_SECONDS} // 15;

my $node = new_server('locks', <<'CONF');
msgstore.workers = 2
msgstore.batch_size = 20
msgstore.backoff_base = '5 ms'
msgstore.backoff_max = '20 ms'
msgstore.max_retries = 2
msgstore.claim_timeout = '100 ms'
msgstore.purge_events_after = '1 s'
msgstore.purge_payloads_after = '1 s'
msgstore.purge_dead_letters_after = '1 s'
msgstore.purge_batch_size = 100
deadlock_timeout = '10 ms'
log_lock_waits = on
fsync = off
# Space that is used again mixes the order of the rows in their tables.
autovacuum = on
autovacuum_naptime = '1 s'
max_worker_processes = 16
CONF
$node->start;
add_database($node, 'store');

sub sql { return $node->safe_psql('store', $_[0]) }

# One channel keeps the order, two share their conversations, one has a provider.
sql(<<'SQL');
UPDATE msgstore.channels SET strict_order = true WHERE name = 'sms';
INSERT INTO msgstore.channels (name, address_kind, thread, provider)
VALUES ('chat', 'phone', 'chat', 'mock'), ('voice', 'phone', 'chat', 'mock');

CREATE FUNCTION now_and_then(message msgstore.messages) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF random() < 0.2 THEN
        RAISE 'not this time';
    END IF;
END
$$;
SELECT msgstore.add_handler('sms', 'now_and_then'),
    msgstore.add_handler('chat', 'now_and_then');

CREATE FUNCTION phone() RETURNS text LANGUAGE sql VOLATILE
RETURN '+1804555000' || floor(random() * 4)::int;

CREATE FUNCTION one_of(choices text[]) RETURNS text LANGUAGE sql VOLATILE
RETURN choices[1 + floor(random() * cardinality(choices))::int];

CREATE FUNCTION outbound() RETURNS uuid LANGUAGE sql VOLATILE
BEGIN ATOMIC
    SELECT id FROM msgstore.messages WHERE direction = 'outbound'
    ORDER BY random() LIMIT 1;
END;
SQL

add_actors($node, 'store', <<'SQL');
CREATE FUNCTION step_ingest() RETURNS void LANGUAGE sql BEGIN ATOMIC
    SELECT msgstore.ingest_batch((
        SELECT jsonb_agg(jsonb_build_object(
            'channel', one_of('{sms,chat,voice}'),
            'idempotency_key', 'key ' || (random() * 30)::int,
            'payload', event('p' || (random() * 1000)::int, phone())))
        FROM generate_series(1, 1 + (random() * 8)::int)));
END;
CREATE FUNCTION step_send() RETURNS void LANGUAGE sql BEGIN ATOMIC
    SELECT msgstore.send(one_of('{chat,voice}'),
        event('', phone(), 'hello ' || (random() * 100)::int)
            - 'messaging_provider_id',
        'key ' || (random() * 200)::int);
END;
CREATE FUNCTION step_process() RETURNS void LANGUAGE sql BEGIN ATOMIC
    SELECT msgstore.process(10);
END;
-- Several sessions work under one name.
CREATE FUNCTION step_finish() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    ids uuid[];
BEGIN
    SELECT array_agg(event_id ORDER BY random()) INTO ids
    FROM msgstore.event_claims WHERE random() < 0.7;
    IF random() < 0.7 THEN
        PERFORM msgstore.complete('outside', ids);
    ELSE
        PERFORM msgstore.fail('outside', ids[1], 'P0001', 'failed outside');
    END IF;
END
$$;
CREATE FUNCTION step_claim() RETURNS void LANGUAGE sql BEGIN ATOMIC
    SELECT msgstore.claim('outside', 8);
END;
CREATE FUNCTION step_heartbeat() RETURNS void LANGUAGE sql BEGIN ATOMIC
    SELECT msgstore.heartbeat('outside'), msgstore.heartbeat_outbound('sender');
END;
CREATE FUNCTION step_reap() RETURNS void LANGUAGE sql BEGIN ATOMIC
    SELECT msgstore.reap_stale(), msgstore.reap_outbound();
END;
CREATE FUNCTION step_requeue() RETURNS void LANGUAGE sql BEGIN ATOMIC
    SELECT msgstore.requeue_dead_letters();
END;
CREATE FUNCTION step_claim_outbound() RETURNS void LANGUAGE sql BEGIN ATOMIC
    SELECT msgstore.claim_outbound('sender', 8);
END;
CREATE FUNCTION step_report() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    message uuid := outbound();
BEGIN
    CASE (random() * 3)::int
        WHEN 0 THEN PERFORM msgstore.sent(message, 'mock ' || message);
        WHEN 1 THEN PERFORM msgstore.send_failed(
            message, 'P0001', 'not sent', permanent => random() < 0.5);
        ELSE PERFORM msgstore.record_status('chat', 'mock ' || message, 'delivered');
    END CASE;
END
$$;
CREATE FUNCTION step_purge() RETURNS void LANGUAGE sql BEGIN ATOMIC
    SELECT msgstore.purge('0', kinds => ARRAY[
        one_of('{events,payloads,dead_letters}'), 'events', 'dead_letters']);
END;
-- What the first worker does now and then.
CREATE FUNCTION step_purge_turn() RETURNS void LANGUAGE sql BEGIN ATOMIC
    SELECT msgstore._purge_turn();
END;
CREATE FUNCTION step_erase() RETURNS void LANGUAGE sql BEGIN ATOMIC
    SELECT msgstore.erase_address(one_of('{sms,chat}'), phone());
END;
CREATE FUNCTION step_replay() RETURNS void LANGUAGE sql BEGIN ATOMIC
    SELECT msgstore.replay();
END;
CREATE FUNCTION step_repair() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    m record;
BEGIN
    SELECT * INTO m FROM msgstore.messages ORDER BY random() LIMIT 1;
    CASE (random() * 2)::int
        WHEN 0 THEN PERFORM msgstore._rehome_message(m.tenant_id, m.id);
        WHEN 1 THEN PERFORM msgstore._renormalize_message(m.tenant_id, m.id);
        ELSE PERFORM msgstore._recount_conversations(
            array_agg(tenant_id), array_agg(id)) FROM msgstore.conversations;
    END CASE;
END
$$;
SQL

my @steps = qw(ingest ingest send process claim finish finish heartbeat reap
  requeue claim_outbound report report purge purge_turn purge_turn erase erase replay
  repair);
my $scratch = PostgreSQL::Test::Utils::tempdir;
my $n = 0;
# Purges take events whose messages stay.
sub broken { return violations($node, 'store', q(violation NOT LIKE 'message without event%')) }

my @actors = map {
	start_psql($node, 'store', "$scratch/" . $n++,
		'-c', "CALL act('$_', now() + interval '$seconds s')")
} @steps;
my $broken = '';
$broken = broken() while $broken eq '' && grep { $_->pumpable } @actors;
$_->finish for @actors;

is( sql('SELECT DISTINCT step, code, message, context FROM faults LIMIT 10'),
	'', 'no session meets a deadlock or another error');
is( sql('SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()'),
	0, 'nor does a worker');
note sql('SELECT step, sum(done), sum(refused) FROM steps GROUP BY step ORDER BY step');
is(sql("SELECT count(*) FROM steps WHERE done = 0"), 0, 'all of them ran');
is(sql('SELECT count(*) FROM steps'), scalar @steps, 'to the end');
is($broken, '', 'all invariants hold meanwhile');
is(broken(), '', 'and at the end');

$node->stop;
done_testing();
