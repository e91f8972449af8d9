# Tenants take turns: one tenant's backlog delays another tenant's event by at
# most a batch, in the workers as well as in process() and claim().
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::Bin/..";
use MsgstoreServer;
use Test::More;

my $node = new_server('turns', "msgstore.workers = 0\nmsgstore.batch_size = 500");
$node->start;
add_database($node, 'store');

sub sql { return $node->safe_psql('store', $_[0]) }

sub ingest
{
	my ($tenant, $from, $until) = @_;
	return sql("SET msgstore.tenant_id = '$tenant';
		SELECT count(*) FROM generate_series($from, $until, 1000) s, msgstore.ingest_batch((
			SELECT jsonb_agg(jsonb_build_object('channel', 'sms',
				'payload', event('$tenant-' || i, '+1804555' || i % 1000)))
			FROM generate_series(s, least(s + 999, $until)) i))");
}

# Some tenants come before, some after the one with the backlog in the order of
# names.
is(ingest('m', 1, 100_000), 100_000, 'one tenant has a backlog');
ingest($_, 1, 1) for qw(a b y z);

my $first = sql('SELECT msgstore.process(500)');
is($first, 500, 'a batch is full');
is(sql("SELECT string_agg(tenant_id || ' ' || n, ', ' ORDER BY tenant_id) FROM (
		SELECT tenant_id, count(*) AS n FROM msgstore.messages GROUP BY 1) m"),
	'a 1, b 1, m 496, y 1, z 1', 'it has the events of all, and of the backlog what is left');
is(sql("SELECT count(*) FROM (
		SELECT id, lag(id) OVER (ORDER BY created_at, ctid) AS before
		FROM msgstore.messages WHERE tenant_id = 'm') o WHERE id < before"),
	0, 'a tenant\'s events are taken in their order');

# Claims of a few events take them from one tenant after the other.
ingest($_, 2, 9) for qw(a z);
is(sql("SELECT string_agg(DISTINCT tenant_id, ',' ORDER BY tenant_id) FROM msgstore.claim('outside', 5)"),
	'a,m,z', 'a claim has events of all tenants');
is(sql("SELECT string_agg(tenant, ',' ORDER BY tenant)
		FROM generate_series(1, 3) n, LATERAL (
			SELECT c.tenant_id AS tenant FROM msgstore.claim('outside' || left('', n), 1) c) s"),
	'a,m,z', 'so have claims of one event, one after the other');

# With a worker running, for a tenant before and one after the backlog's.
set_workers($node, 1, 'store');
for my $tenant (qw(c x))
{
	ingest($tenant, 1, 1);
	my $committed_at = sql('SELECT clock_timestamp()');
	ok(eventually(sub { sql("SELECT EXISTS (SELECT FROM msgstore.messages WHERE tenant_id = '$tenant')") eq 't' }),
		"the event of tenant $tenant is processed");
	# A batch that was running at the commit may come first, but no later one.
	is(sql("SELECT count(*) FROM msgstore.messages m
			WHERE m.tenant_id = 'm' AND m.created_at > '$committed_at'
			AND m.created_at < (SELECT e.processed_at FROM msgstore.inbound_events e
				WHERE e.tenant_id = '$tenant')"),
		0, 'by the first batch that starts after its commit');
}
cmp_ok(sql("SELECT count(*) FROM msgstore.event_queue"), '>', 0, 'while the backlog lasts');

# More tenants than the size of a batch, and than places that a search keeps.
set_workers($node, 0, 'store');
# Discard the backlog.
sql('TRUNCATE msgstore.event_log, msgstore.event_queue, msgstore.event_claims,
	msgstore.messages, msgstore.conversation_rows,
	msgstore.conversation_activity, msgstore.conversation_changes,
	msgstore.search_changes, msgstore.search_entries, msgstore.search_addresses');
sql("DO \$\$ BEGIN
		FOR i IN 1..2500 LOOP
			PERFORM set_config('msgstore.tenant_id', 't' || i, true),
				msgstore.ingest('sms', event('turn-1', '+18045551111')),
				msgstore.ingest('sms', event('turn-2', '+18045551111'));
		END LOOP;
	END \$\$");
is(sql("SELECT sum(msgstore.process(500)) FROM generate_series(1, 3)"), 1500, 'three batches');
is(sql("SELECT max(n) FROM (SELECT count(*) AS n FROM msgstore.messages GROUP BY tenant_id) m"), 1,
	'of one session are of different tenants');
set_workers($node, 1);
ok(eventually(sub { sql('SELECT NOT EXISTS (SELECT FROM msgstore.event_queue)') eq 't' }),
	'a worker gets to all of them');
is(violations($node, 'store'), '', 'nothing is out of place');

$node->stop;
done_testing();
