# The router: calls are made in the slot of the tenant, and answer as if they were
# made there.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::Bin/..";
use MsgstoreCluster;
use MsgstoreGateway;
use PostgreSQL::Test::Utils;
use Test::More;

plan skip_all => 'PL/Proxy is not installed' unless has_plproxy();

my $node = start_router('router', 2);
# Their default slots.
my %slot_of = (acme => 0, globex => 1);

# Runs SQL for a tenant and returns what psql prints: rows, or SQLSTATE and message,
# DETAIL, HINT and the fields of an error.
sub said
{
	my ($database, $tenant, $sql) = @_;
	my ($out, $error);
	$node->psql($database,
		"\\set VERBOSITY verbose\n\\set SHOW_CONTEXT never\n"
		  . "SET msgstore.tenant_id = '$tenant';\n$sql",
		stdout => \$out, stderr => \$error, on_error_stop => 0);
	my @lines = grep { /^(psql:.*(ERROR|NOTICE|WARNING):|DETAIL|HINT|COLUMN NAME|CONSTRAINT NAME)/ }
	  split /\n/, $error;
	s/^psql:\S+ // for @lines;
	return join "\n", grep { length } $out, @lines;
}
sub through_router { return said('postgres', @_) }
sub directly { return said("slot$slot_of{$_[0]}", @_) }

sub payload
{
	my ($id, $body) = @_;
	return qq('{"from":"+12016661234","to":"+18045551234","body":"$body","timestamp":"2024-11-01T14:00:00Z","messaging_provider_id":"$id"}');
}

# The generated functions are those of this msgstore, and each has a class.
my ($generated, $complaint) =
  run_command([ 'router/generate', $node->connstr('slot0') ]);
is($complaint, '', 'each public function has a class in router/classes');
is($generated, slurp_file('router/sql/50_functions.sql') =~ s/\n\z//r,
	'router/sql/50_functions.sql is up to date: router/generate prints it');

# Names, arguments, result types, comments and privileges of PUBLIC.
my $catalog = q|
	SELECT p.proname, pg_get_function_arguments(p.oid), pg_get_function_result(p.oid),
	       %s p.proacl IS NULL OR p.proacl::text ~ '[{,]=X'
	FROM pg_proc p
	WHERE p.pronamespace = 'msgstore'::regnamespace AND p.proname !~ '^_'
	    AND p.proname <> ALL ('%s') ORDER BY 1, 2|;
my @absent = map { /^(\w+)\tabsent/ ? $1 : () } split /\n/, slurp_file('router/classes');
my $own = join ',', qw(set_slots add_exception drop_exception export_settings publish slots tenant_slot default_slot);
my $nodes_own = join ',', @absent;
is( $node->safe_psql('postgres', sprintf $catalog, '', "{$own}"),
	$node->safe_psql('slot0', sprintf $catalog, '', "{$own,$nodes_own}"),
	'the router has the functions of a node');
is( $node->safe_psql('postgres', q|
	SELECT p.oid::regprocedure FROM pg_proc p
	WHERE p.pronamespace = 'msgstore'::regnamespace
	    AND (obj_description(p.oid, 'pg_proc') IS NULL
	         OR p.proname ~ '^_at_' AND p.proacl::text ~ '[{,]=X')|),
	'', 'functions have comments, and nobody may call a slot without the router');
is($node->safe_psql('postgres', q{
	SELECT c.relname FROM pg_class c
	WHERE c.relnamespace = 'msgstore'::regnamespace AND c.relkind = 'r'
	    AND c.relname ~ 'event|message|conversation|outbox|response'}),
	'', 'the router has no tables of messages');
like($node->safe_psql('postgres', q{
	SELECT path FROM msgstore.create_source('gone', 'generic', 'key', scheme => 'github');
	SELECT msgstore.rotate_source_secret('gone', 'new');
	SELECT msgstore.drop_source('gone');
	SELECT 'left ' || count(*) FROM msgstore.list_sources() WHERE name = 'gone'}),
	qr/^left 0$/m, 'a source can be created, rotated and dropped there');

# The nodes get committed rows only, and slots() shows who has older ones.
sub versions
{
	return $node->safe_psql('postgres', q{
		SELECT string_agg(map_version || ' ' || settings_version, ',' ORDER BY slot) FROM msgstore.slots()});
}
my $versions = versions();
$node->psql('postgres', q{
	BEGIN;
	SELECT msgstore.add_exception('rolled back', 1);
	SELECT * FROM msgstore.publish()}, stderr => \my $uncommitted);
like($uncommitted, qr/cannot publish in a transaction that has changed rows.*Commit first/s,
	'a transaction that may be rolled back is not published');
is(versions(), $versions, 'and no node has heard of it');
is($node->safe_psql('postgres', q{
	BEGIN;
	SELECT count(*) FROM msgstore.publish() WHERE error IS NULL;
	ROLLBACK;
	UPDATE msgstore.api_keys SET last_used_at = now();
	SELECT count(*) FROM msgstore.slots() s CROSS JOIN msgstore.cluster c
	WHERE s.map_version = c.map_version AND s.settings_version = c.settings_version;
	SELECT msgstore.set_tenant_limit('limited', 5);
	SELECT string_agg(error, ',' ORDER BY slot) FROM msgstore.slots();
	SELECT count(*) FROM msgstore.publish();
	SELECT string_agg(error, ',' ORDER BY slot) FROM msgstore.slots();
	SELECT msgstore.set_tenant_limit('limited', NULL)}),
	"2\n2\n\nits settings are older than the router's,its settings are older than the router's\n2\n\n",
	'a change must be published');
$node->safe_psql('postgres', q{
	SELECT msgstore.create_source('kept', 'generic', 'key', scheme => 'github');
	SELECT * FROM msgstore.publish()});
for my $change (q{create_api_key('acme', 'read')}, q{rotate_source_secret('kept', 'new')}, q{drop_source('kept')})
{
	$node->psql('slot0', "SELECT msgstore.$change", stderr => \my $refused);
	like($refused, qr/settings of slot 0 are kept by the router.*Call the function on the router/s,
		"a slot refuses what the next publish() would undo: $change");
}

# slots() shows no password.
$node->safe_psql('postgres', q{
	SELECT format('ALTER SERVER msgstore OPTIONS (SET p1 %L)',
	              o.option_value || ' password=hidden1 sslpassword = ''hidden\\'' 2'' password=hidden3')
	FROM pg_foreign_server s, pg_options_to_table(s.srvoptions) o
	WHERE s.srvname = 'msgstore' AND o.option_name = 'p1' \\gexec});
is($node->safe_psql('postgres', q{
	SELECT reachable, substring(connection FROM ' password=.*') FROM msgstore.slots() WHERE slot = 1}),
	't| password=*** sslpassword=*** password=***', 'slots() shows no password');

# A tenant's events are in its slot, and nowhere else.
for my $tenant (sort keys %slot_of)
{
	like(through_router($tenant, "SELECT duplicate FROM msgstore.ingest('sms', " . payload(1, $tenant) . ')'),
		qr/^SET\nf$|^f$/, "an event of $tenant");
	like(through_router($tenant, "SELECT duplicate FROM msgstore.ingest('sms', " . payload(1, $tenant) . ')'),
		qr/t$/, 'it is a duplicate the second time');
}
for my $tenant (sort keys %slot_of)
{
	is( $node->safe_psql("slot$slot_of{$tenant}", q{SELECT tenant_id, payload ->> 'body' FROM msgstore.event_log}),
		"$tenant|$tenant", "slot $slot_of{$tenant} has the event of $tenant");
	$node->safe_psql("slot$slot_of{$tenant}", 'SELECT msgstore.process()');
}

# What is called through the router answers as in the slot.
my @calls = (
	q{SELECT msgstore.list_conversations()},
	q{SELECT msgstore.list_messages('1')},
	q{SELECT msgstore.list_messages(1)},
	q{SELECT msgstore.get_conversation('1')},
	q{SELECT msgstore.get_conversation('99')},
	q{SELECT msgstore.list_conversations(after => 'nonsense')},
	q{SELECT * FROM msgstore.ingest('sms', '{"from":"x"}')},
	q{SELECT * FROM msgstore.ingest('fax', '{}')},
	q{SELECT * FROM msgstore.ingest(NULL, NULL)},
	q{SELECT * FROM msgstore.ingest('sms', '{"a":1}', idempotency_key => '')},
	q{SELECT ordinal, error_code, error_message, error_detail FROM msgstore.ingest_batch('[{"channel":"fax"}, 5, {"channel":"sms","payload":{}}]')},
	q{SELECT msgstore.ingest_batch('{}')},
	q{SELECT msgstore.ingest_batch(NULL)},
	q{SELECT * FROM msgstore.send('sms', '{"from":"+12016661234","to":"+18045551234","type":"fax","body":"x","timestamp":"2024-11-01T14:00:00Z"}')},
	q{SELECT msgstore.append('a-1', 'T', '{"x":1}', 0)},
	q{SELECT msgstore.append('a-1', 'T', '{"x":1}', 7)},
	q{SELECT stream, version, type, data FROM msgstore.read_stream('a-1')},
	q{SELECT stream, version FROM msgstore.append_batch('[{"stream":"b-1","type":"T","data":{}}]')},
	q{SELECT msgstore.create_subscription('s', 'a')},
	q{SELECT msgstore.create_subscription('s', 'a')},
	q{SELECT name, category, members FROM msgstore.list_subscriptions()},
	q{SELECT msgstore.save_response('{"id":5}')},
	q{SELECT msgstore.save_response('{"id":"resp_1","object":"response","status":"bogus"}')},
	q{SELECT msgstore.get_response('resp_none')},
	q{SELECT msgstore.list_responses(sort_order => 'up')},
	q{SELECT msgstore.add_conversation_items('conv_none', '[]')},
	q{SELECT msgstore.host_by_id('none')},
	q{SELECT * FROM msgstore.search_hosts('{"x":1}')},
	q{SELECT msgstore.delete_snapshot('none')},
	q{SELECT msgstore.requeue('00000000-0000-0000-0000-000000000000')},
	q{SELECT * FROM msgstore.replay('{"x":1}', true)},
	q{SELECT * FROM msgstore.purge('-1 day')},
	q{SELECT msgstore.opt_out('sms', '+18045551234')},
	q{SELECT msgstore.drop_account('none')},
	q{SELECT count(*) FROM msgstore.claim('p')},
	q{SELECT msgstore.complete('p', '{00000000-0000-0000-0000-000000000000}')},
	q{SELECT msgstore.normalize_phone('+1 (555) 000-1234'), msgstore.normalize_address('sms', 'tel:+15550001234')},
	q{SELECT * FROM msgstore.validate_host('{}')},
	q{SELECT msgstore.wait_for_changes('x')},
	q{SELECT msgstore.check()});
# The same calls before: both databases are in the same state then.
for my $call (@calls)
{
	my $expected = directly('acme', $call);
	my $got = through_router('globex', $call);
	s/acme|globex/TENANT/g, s/[0-9a-f]{8}-[0-9a-f-]{27}/ID/g, s/slot 1: //g,
	  s/\d{4}-\d\d-\d\d[T ][0-9:.]+(Z|\+00(:00)?)/TIME/g
	  for $expected, $got;
	is($got, $expected, $call);
}

# Nothing of a call remains in the connection to the slot.
$node->safe_psql('postgres', q{
	SET msgstore.tenant_id = 'acme';
	SET msgstore.owner = 'o';
	SELECT msgstore.save_response('{"id":"resp_o","object":"response","status":"completed","model":"m"}');
	SELECT msgstore.ingest('sms', } . payload('kept', 'a') . q{);
	RESET msgstore.tenant_id;
	RESET msgstore.owner;
	SELECT msgstore.ingest('sms', } . payload('none', 'b') . q{)});
is($node->safe_psql('slot0', q{
	SELECT string_agg(tenant_id, ',' ORDER BY provider_message_id) FROM msgstore.event_log
	WHERE provider_message_id IN ('kept', 'none')}) . '|'
	. $node->safe_psql('slot1', q{SELECT string_agg(tenant_id, ',') FROM msgstore.event_log WHERE provider_message_id = 'none'}),
	$node->safe_psql('postgres', q{SELECT CASE msgstore.tenant_slot('') WHEN 0 THEN 'acme,|' ELSE 'acme|' END}),
	'a call without a tenant follows one with a tenant');

# A tenant is needed to read.
like(through_router('', 'SELECT msgstore.list_conversations()'),
	qr/ERROR:  MS400: function "list_conversations" needs a tenant/, 'no list without a tenant');
like(through_router('', q{SELECT msgstore.add_handler('sms', 'now')}),
	qr/ERROR:  MS400: function "add_handler" is not available on the router/, 'no handlers on the router');
like(through_router('', q{SELECT msgstore.ingest_batch('[{"tenant_id":"acme"},{"tenant_id":"globex"}]')}),
	qr/ERROR:  MS400: items of one batch belong to 2 slots/, 'no batch of two slots');

# A log of a slot says who has called the router, and only a router says so.
$node->safe_psql('postgres', q{
	CREATE ROLE operator LOGIN;
	SELECT msgstore.grant_access('operator', 'operate')});
$node->safe_psql('slot0', q{SELECT msgstore.grant_access('operator', 'operate')});
$node->safe_psql('postgres', q{
	SET msgstore.tenant_id = 'acme';
	SET SESSION AUTHORIZATION operator;
	SELECT msgstore.opt_out('sms', '+18045550000');
	SELECT msgstore.ingest('sms', } . (payload('erased', 'e') =~ s/\+12016661234/+12016669999/r) . q{);
	SELECT * FROM msgstore.erase_address('sms', '+12016669999')});
is($node->safe_psql('slot0', q{
	SELECT string_agg(performed_by, ',') FROM (
		SELECT performed_by FROM msgstore.consent_log WHERE recipient = '+18045550000'
		UNION ALL SELECT performed_by FROM msgstore.operations_log) l}),
	'operator,operator', 'logs have the caller of the router');
$node->psql('slot0', q{SELECT msgstore._enter('', '', 'somebody')},
	extra_params => [ '-U', 'operator' ], stderr => \my $posing);
like($posing, qr/permission denied to set parameter/, 'which an operator of the slot cannot choose');

# PL/pgSQL looks at a function when it is called for the first time.
is($node->safe_psql('postgres', q{
	SELECT count(plpgsql_validator(p.oid)) > 100 FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
	WHERE p.pronamespace = 'msgstore'::regnamespace AND l.lanname = 'plpgsql'}),
	't', 'each function compiles');

# Sums.
is($node->safe_psql('postgres', q{
	SELECT m ->> 'slots', m ->> 'slots_up' FROM msgstore.metrics() m}),
	'2|2', 'metrics count the slots');
is($node->safe_psql('postgres', q{SELECT (msgstore.metrics() ->> 'events_ingested')::int}),
	$node->safe_psql('slot0', q{SELECT (msgstore.metrics() ->> 'events_ingested')::int})
	+ $node->safe_psql('slot1', q{SELECT (msgstore.metrics() ->> 'events_ingested')::int}),
	'metrics are sums');
is($node->safe_psql('postgres', q{
	SELECT string_agg(msgstore._percentile('[
		{"latency": [{"le_us": 64, "count": 0}, {"le_us": 128, "count": 90}, {"le_us": 256, "count": 94}]},
		{"latency": [{"le_us": 64, "count": 0}, {"le_us": 128, "count": 2}, {"le_us": 256, "count": 6}]}]', n)::text, ' ')
	FROM unnest('{50,92,93,99}'::int[]) n}), '128 128 256 256', 'percentiles are those of all events');
is($node->safe_psql('postgres', q{
	SELECT bool_and((m ->> ('worker_latency_p' || n || '_us'))::bigint <= (m ->> 'worker_latency_max_us')::bigint)
	FROM msgstore.metrics() m, unnest('{50,95,99}'::int[]) n}), 't', 'and none is above the maximum');
my @counts = map { [ split /\n/, $node->safe_psql($_, 'SELECT count FROM msgstore.latency_histogram() ORDER BY le_us') ] }
  qw(postgres slot0 slot1);
is_deeply($counts[0], [ map { $counts[1][$_] + $counts[2][$_] } 0 .. $#{ $counts[1] } ], 'so is the histogram');

# The same slot in SQL of router and node; even slots for many tenants. A random
# assignment of 1,000 to 16 is seldom within 20 % for each; of these names it is.
is( $node->safe_psql('postgres', q{SELECT string_agg(msgstore.default_slot(n, 7)::text, '' ORDER BY n) FROM unnest('{"",a,acme,globex,é,€uro}'::text[]) n}),
	$node->safe_psql('slot0', q{SELECT string_agg(msgstore.default_slot(n, 7)::text, '' ORDER BY n) FROM unnest('{"",a,acme,globex,é,€uro}'::text[]) n}),
	'router and node agree on the slot');
is($node->safe_psql('postgres', q{
	SELECT count(*), bool_and(n BETWEEN 50 AND 75) FROM (
		SELECT count(*) AS n FROM generate_series(1, 1000) i
		GROUP BY msgstore.default_slot('tenant-' || to_char(i, 'FM0000'), 16)) s}),
	'16|t', '1,000 tenants are spread evenly over 16 slots');

# Who may not set the tenant cannot choose it, and nobody reads keys.
$node->safe_psql('postgres', q{
	CREATE ROLE app LOGIN;
	SELECT msgstore.grant_access('app', 'ingest'), msgstore.grant_access('app', 'read');
	ALTER ROLE app SET msgstore.tenant_id = 'acme'});
$node->psql('postgres', q{SET msgstore.tenant_id = 'globex'}, extra_params => [ '-U', 'app' ], stderr => \my $refused);
like($refused, qr/permission denied/, 'a role cannot choose its tenant');
is( scalar $node->safe_psql('postgres', q{SELECT msgstore.list_conversations() -> 'meta' ->> 'total'}, extra_params => [ '-U', 'app' ]),
	'1', 'a role reads its tenant');
$node->psql('postgres', q{SELECT msgstore._at_ingest_batch(1, 'globex', '', '', '[]')}, extra_params => [ '-U', 'app' ], stderr => \$refused);
like($refused, qr/permission denied for function _at_ingest_batch/, 'nor call a slot directly');
$node->safe_psql('postgres', q{
	CREATE ROLE loader LOGIN;
	SELECT msgstore.grant_access('loader', 'ingest')});

# A refused item is an answer: it does not end the connection to the slot.
my ($before, $after) = grep { /^pid/ } split /\n/, $node->safe_psql('postgres', q{
	SELECT count(*) FROM msgstore.ingest_batch('[{"channel":"fax"}]');
	SELECT 'pid ' || (array_agg(pid ORDER BY backend_start DESC))[1] FROM pg_stat_activity WHERE datname ~ '^slot' AND backend_type = 'client backend';
	SELECT count(*) FROM msgstore.ingest_batch('[{"channel":"fax"}]');
	SELECT 'pid ' || (array_agg(pid ORDER BY backend_start DESC))[1] FROM pg_stat_activity WHERE datname ~ '^slot' AND backend_type = 'client backend'});
is($after, $before, 'a refused item keeps the connection');

# Items of all kinds are answered as in the slot: alone, with others, to a role that may
# name tenants, and to one that may not.
my ($named) = grep { $slot_of{$_} == $node->safe_psql('postgres', q{SELECT msgstore.tenant_slot('')}) } sort keys %slot_of;
my $good = '"from":"+12016661234","to":"+18045551234","body":"b","timestamp":"2024-11-01T14:00:00Z"';
my @kinds = (
	'5', 'null', '"x"', '[]', '{}', 'true',
	'{"channel":null,"payload":{}}', '{"channel":5,"payload":{}}', '{"channel":"","payload":{}}',
	'{"channel":"fax","payload":{}}', '{"channel":["sms"],"payload":{}}', '{"channel":"sms"}',
	(map { qq({"channel":"sms","payload":$_}) } 'null', '5', '"x"', '[]', '{}', '{"from":5}',
		"{$good}", qq({$good,"messaging_provider_id":""}), qq({$good,"messaging_provider_id":7}),
		qq({$good,"messaging_provider_id":"f1","attachments":"x"}), qq({$good,"messaging_provider_id":"f2","attachments":[[[]]]}),
		qq({"from":"","to":"+18045551234","body":"b","timestamp":"2024-11-01T14:00:00Z","messaging_provider_id":"f3"}),
		qq({"from":{"a":1},"to":null,"body":[],"timestamp":0,"messaging_provider_id":{}}),
		qq({$good,"messaging_provider_id":") . 'x' x 3000 . '"}',
		qq({$good,"body":") . 'x' x 300000 . '","messaging_provider_id":"f4"}'),
	(map { qq({"channel":"sms","payload":{$good,"messaging_provider_id":"g"},$_}) }
		# As a name, 8 would be in the other slot.
		'"tenant_id":7', '"tenant_id":8', '"tenant_id":null', '"tenant_id":""', '"tenant_id":true', '"tenant_id":["acme"]',
		'"tenant_id":{"a":"acme"}', '"tenant_id":"' . 'x' x 256 . '"', qq("tenant_id":"$named"),
		'"idempotency_key":""', '"idempotency_key":5', '"idempotency_key":"' . 'k' x 300 . '"',
		'"correlation_id":5', '"correlation_id":"' . 'c' x 300 . '"', '"unknown":1'));
cmp_ok(scalar @kinds, '>=', 40, 'kinds of items');
my @batches = ((map { "[$_]" } @kinds), '[' . join(',', @kinds, @kinds[18 .. 21]) . ']', '"x"', '5', 'null', '{}', '[]', '[[]]');
sub answers
{
	my ($database, $setup) = @_;
	my $out = said($database, '', "$setup;\n" . join "\n",
		map { "SELECT ordinal, duplicate, error_code, error_message, error_detail FROM msgstore.ingest_batch('$_');" } @batches);
	$node->safe_psql("slot$slot_of{$named}", q{
		TRUNCATE msgstore.event_log, msgstore.event_queue, msgstore.idempotency_keys, msgstore.id_conflicts});
	return $out;
}
$node->safe_psql("slot$slot_of{$named}", q{SELECT msgstore.grant_access('loader', 'ingest')});
answers("slot$slot_of{$named}", 'SELECT 1');
for my $setup ('SELECT 1', "SET msgstore.tenant_id = '$named'", 'SET SESSION AUTHORIZATION loader')
{
	my $direct = answers("slot$slot_of{$named}", $setup);
	is(answers('postgres', $setup), $direct, "items of all kinds: $setup");
}
$node->psql('postgres', q{SELECT * FROM pg_user_mappings; CREATE FUNCTION f() RETURNS int LANGUAGE plproxy AS $$ CLUSTER 'msgstore'; RUN ON 0; SELECT 1; $$},
	extra_params => [ '-U', 'app' ], stderr => \$refused);
like($refused, qr/permission denied/, 'nor write a function that does');

done_testing();
