# Keys: requests without one are refused, a key grants its scopes for its tenant
# only, and stops working within five seconds of being revoked.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::Bin/..";
use MsgstoreGateway;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $node = start_cluster('keys');
$node->safe_psql(
	'postgres', q{
	CREATE ROLE gw LOGIN;
	SELECT msgstore.grant_access('gw', 'ingest'), msgstore.grant_access('gw', 'read'),
		msgstore.grant_access('gw', 'process');
	GRANT SET ON PARAMETER msgstore.tenant_id TO gw});

sub create_key
{
	my ($tenant, $scopes, $expires) = @_;
	my $end = $expires ? "clock_timestamp() + interval '$expires'" : 'NULL';
	return $node->safe_psql('postgres',
		"SELECT msgstore.create_api_key('$tenant', '{$scopes}', $end)");
}

sub bearer { return (Authorization => "Bearer $_[0]") }

sub count
{
	my ($what) = @_;
	return $node->safe_psql('postgres', "SELECT count(*) FROM msgstore.$what");
}

sub response
{
	my ($id, @more) = @_;
	return {
		id => $id,
		object => 'response',
		status => 'completed',
		model => 'm',
		created_at => 1730469600,
		input => [ { id => "in_$id", type => 'message', role => 'user' } ],
		output => [],
		@more
	};
}

# Expects the start to fail, with this message in the log.
sub fails
{
	my ($what, $pattern, %option) = @_;
	my $gateway = MsgstoreGateway->new($node, %option, wait => 0);
	is($gateway->wait_exit, 1, "$what: does not start");
	like($gateway->log_text, $pattern, "$what: says why");
	return;
}

# Beyond loopback keys are required by default, and the gateway does not start if
# there are none, unless --insecure is given.
fails('no keys yet', qr/requests require keys, but none exist: create one with/,
	user => 'gw', env => { HOST => '0.0.0.0' });
fails('authentication off', qr/anyone who can reach 0\.0\.0\.0 could read and write/,
	env => { HOST => '0.0.0.0', AUTH_ENABLED => 'off' });
fails('neither on nor off', qr/invalid value \\"maybe\\" for AUTH_ENABLED/,
	env => { AUTH_ENABLED => 'maybe' });
my $gateway =
  MsgstoreGateway->new($node, user => 'gw', flags => [ '--host', '0.0.0.0', '--insecure' ]);
is($gateway->get('/api/conversations')->{status}, 200, '--insecure: no key is asked for');
$gateway->stop;
$gateway = MsgstoreGateway->new($node, user => 'gw', flags => [ '--auth', 'on' ]);
like($gateway->log_text, qr/requests require keys, but none exist yet/,
	'on loopback it starts without keys and warns');
is($gateway->get('/api/conversations')->{status}, 401, 'and refuses requests without a key');
$gateway->stop;

my %key = map { $_ => create_key('', $_) } qw(ingest send read responses append consume operate);
$key{all} = create_key('', 'ingest,send,read,responses,append,consume,operate');
$node->safe_psql('postgres', q{SELECT msgstore.create_subscription('mailer', 'order')});
$gateway = MsgstoreGateway->new($node, user => 'gw', env => { HOST => '0.0.0.0' });
like($gateway->log_text, qr/keys are sent in clear text/, 'without TLS it warns');

# Each route, its scope, and its answer to a key with that scope.
my @routes = (
	[ send => 'POST', '/api/messages/sms', sms() ],
	[ send => 'POST', '/api/messages/email', email() ],
	[ ingest => 'POST', '/api/webhooks/sms', inbound_sms('a') ],
	[ ingest => 'POST', '/api/webhooks/email', inbound_email('b') ],
	[ ingest => 'POST', '/api/webhooks/status', { channel => 'sms', provider_message_id => 'x', status => 'read' } ],
	[ ingest => 'POST', '/api/provider/mock/inbound', sms(channel => 'sms', body => 'm') ],
	[ operate => 'GET', '/api/provider/mock/config' ],
	[ operate => 'PUT', '/api/provider/mock/config', { timeout_pct => 0, error_pct => 0, ratelimit_pct => 0 } ],
	[ read => 'GET', '/api/conversations' ],
	[ read => 'GET', '/api/conversations/1/messages' ],
	[ read => 'GET', '/api/conversations/1' ],
	[ read => 'GET', '/api/messages/search?q=hello' ],
	[ read => 'GET', '/api/conversations/search?q=hello' ],
	[ send => 'PATCH', '/api/conversations/1', { state => 'closed' } ],
	[ read => 'POST', '/api/conversations/1/read', { reader => 'ann' } ],
	[ read => 'POST', '/api/conversations/1/unread', { reader => 'ann' } ],
	[ responses => 'POST', '/v1/responses', response('resp_1') ],
	[ responses => 'GET', '/v1/responses' ],
	[ responses => 'GET', '/v1/responses/resp_1' ],
	[ responses => 'GET', '/v1/responses/resp_1/input_items' ],
	[ responses => 'DELETE', '/v1/responses/resp_1' ],
	[ responses => 'POST', '/v1/responses/resp_1/cancel', undef, 404 ],
	[ append => 'POST', '/streams/order-1', { type => 'x', data => {} } ],
	[ append => 'POST', '/streams', { events => [] } ],
	[ consume => 'GET', '/streams/order-1' ],
	[ consume => 'GET', '/streams?category=order' ],
	[ consume => 'GET', '/subscriptions' ],
	[ consume => 'POST', '/subscriptions/mailer/fetch', {} ],
	[ consume => 'POST', '/subscriptions/mailer/ack', { position => 0 } ],
	[ operate => 'GET', '/metrics' ]);

sub ask
{
	my ($route, @headers) = @_;
	my (undef, $method, $path, $body) = @$route;
	return $gateway->request(
		$method, $path,
		{ 'Content-Type' => 'application/json', @headers },
		$body && JSON::PP->new->utf8->canonical->encode($body));
}
my ($answer, $before);
$before = count('inbound_events') + count('messages');
for my $route (@routes)
{
	my ($scope, $method, $path) = @$route;
	$answer = ask($route);
	is($answer->{status}, 401, "$method $path: 401 without a key");
	is($answer->{headers}{'www-authenticate'}, 'Bearer', 'WWW-Authenticate is set');
	if ($path =~ m{^/v1/})
	{
		is($answer->{json}{error}{type}, 'authentication_error', 'in the format of /v1');
	}
	else
	{
		is($answer->{json}{code}, 'unauthorized', 'its code');
	}
	for my $other (grep { $_ ne $scope && $_ ne 'all' } sort keys %key)
	{
		is(ask($route, bearer($key{$other}))->{status}, 403, "403 with $other");
	}
}
is($answer->{status}, 401, 'the last was refused');
is(ask($routes[0], bearer($key{read}))->{json}{code}, 'forbidden', 'code of 403');
like(ask($routes[0], bearer($key{read}))->{headers}{'www-authenticate'}, qr/insufficient_scope/, 'its header');
is(count('inbound_events') + count('messages'), $before, 'nothing refused was stored');
for my $route (@routes)
{
	my ($scope, $method, $path, undef, $status) = @$route;
	$answer = ask($route, bearer($key{$scope}));
	is($answer->{status}, $status // ($answer->{success} ? $answer->{status} : 200), "$method $path with $scope");
}
cmp_ok(ask($_, bearer($key{all}))->{status}, '<', 405, "all scopes: $_->[2]") for $routes[0], $routes[8];

# Probes need no key, and neither does 404.
is($gateway->get($_)->{status}, 200, "$_ is open") for '/healthz', '/health', '/readyz', '/openapi.json';
is($gateway->get('/nothing')->{status}, 404, 'an unknown path');
is($gateway->request('DELETE', '/metrics')->{status}, 405, 'an unsupported method');

# Invalid keys.
my $good = $key{read};
my %bad = (
	'another scheme' => "Basic $good",
	'no scheme' => $good,
	'no key' => 'Bearer ',
	'a key with a blank in it' => "Bearer $good x",
	'two keys' => "Bearer $good, Bearer $good",
	'a key cut short' => 'Bearer ' . substr($good, 0, -1),
	'a key with more' => "Bearer ${good}0",
	'another secret' => 'Bearer ' . substr($good, 0, -8) . '00000000',
	'another prefix' => "Bearer mk_0000000000000000_" . ('0' x 48),
	'SQL' => "Bearer ' OR true --",
	'a long one' => 'Bearer ' . ('x' x 10000));
for my $what (sort keys %bad)
{
	$answer = $gateway->get('/api/conversations', Authorization => $bad{$what});
	is($answer->{status}, 401, "$what: 401");
	is($answer->{headers}{'www-authenticate'}, 'Bearer error="invalid_token"', 'like an invalid one');
}
is( $gateway->raw(
		"GET /api/conversations HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer $good\r\nAuthorization: Bearer $good\r\n\r\n")
	  ->{status},
	400, 'two headers: 400');
is($gateway->raw("GET /api/conversations HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \xff\xfe\r\n\r\n")->{status},
	401, 'bytes: 401');
is($gateway->get('/api/conversations', Authorization => "bearer  $good")->{status},
	200, 'the scheme has any case');
is($gateway->get("/api/conversations?access_token=$good")->{status}, 401,
	'a key in the query is ignored');
cmp_ok($gateway->metrics->{unauthorized} // -1, '==', -1, 'metrics require a key as well');
cmp_ok($gateway->get('/metrics', Accept => 'application/json', bearer($key{operate}))->{json}{unauthorized},
	'>', 50, 'refusals are counted');

# A key is never logged, only its prefix.
unlike($gateway->log_text, qr/\Q@{[ substr $_, 20 ]}\E/, 'key not in the log') for values %key;
my ($prefix) = $good =~ /^mk_([0-9a-f]+)_/;
ok((grep { ($_->{key} // '') eq $prefix } $gateway->log_lines), 'its prefix is');

# Tenants share one database connection, so each would see what another one
# left behind.
$gateway->stop;
my %tenant = map { $_ => create_key($_, 'ingest,send,read,responses,operate') } qw(acme bolt);
$gateway = MsgstoreGateway->new($node, user => 'gw', flags => [ '--auth', 'on' ],
	url => 'max_connections=1');
for my $round (1 .. 3)
{
	for my $name ('acme', 'bolt')
	{
		is($gateway->post('/api/webhooks/sms', inbound_sms("$name-$round"), bearer($tenant{$name}))->{status},
			202, "$name: webhook $round");
		is($gateway->post('/api/messages/sms', sms(body => "$name $round"), bearer($tenant{$name}))->{status},
			202, "$name: message $round");
	}
	is($gateway->post('/api/webhooks/sms', inbound_sms("nobody-$round"), bearer($key{ingest}))->{status},
		202, "a key of no tenant: webhook $round");
}
is( $node->safe_psql('postgres',
		"SELECT string_agg(DISTINCT tenant_id || ':' || split_part(provider_message_id, '-', 1), ' ') FROM msgstore.inbound_events WHERE provider_message_id ~ '-[123]\$'"
	),
	':nobody acme:acme bolt:bolt',
	'each event has the tenant of its key');
$node->safe_psql('postgres', 'SELECT msgstore.process()');
for my $name ('acme', 'bolt')
{
	my $items = $gateway->get('/api/conversations', bearer($tenant{$name}))->{json}{items};
	is(scalar @$items, 1, "$name sees one conversation");
	is($items->[0]{message_count}, 6, 'with its own messages');
	my $messages = $gateway->get("/api/conversations/$items->[0]{id}/messages", bearer($tenant{$name}))->{json};
	is((grep { ($_->{body} // '') =~ /^(acme|bolt) / && $1 ne $name } @{ $messages->{items} }), 0, 'and no other');
	my $other = $name eq 'acme' ? 'bolt' : 'acme';
	is( $gateway->get("/api/conversations/$items->[0]{id}/messages", bearer($tenant{$other}))->{status},
		404, "which does not exist for $other");
	is($gateway->post('/v1/responses',
			response("resp_$name"),
			bearer($tenant{$name}))->{status}, 201, "$name: response");
}
is($gateway->get('/v1/responses/resp_acme', bearer($tenant{acme}))->{status}, 200, 'a response of its tenant');
is($gateway->get('/v1/responses/resp_acme', bearer($tenant{bolt}))->{status}, 404, 'is invisible to other tenants');
# The same provider's id of two tenants is two events.
my @ids = map { $gateway->post('/api/webhooks/sms', inbound_sms('same'), bearer($tenant{$_}))->{json}{id} } qw(acme bolt acme);
isnt($ids[0], $ids[1], 'duplicates are per tenant');
is($ids[0], $ids[2], 'and are detected there');

# The session has no tenant after a failed request either.
is($gateway->post('/api/messages/sms', sms(body => ''), bearer($tenant{acme}))->{status}, 400, 'a request fails');
is($gateway->get('/v1/responses', bearer($key{responses}))->{status}, 200, 'a key without a tenant');
cmp_ok(scalar @{ $gateway->get('/api/conversations', bearer($key{read}))->{json}{items} }, '>', 2,
	'sees all tenants, as its role does');

# A tenant's operator key sees nothing about other tenants.
my $metrics = $gateway->get('/metrics', Accept => 'application/json', bearer($tenant{acme}))->{json};
is($metrics->{events_ingested}, 4, 'metrics of a tenant are its own');
ok(!exists $metrics->{http_requests}, 'without those of the gateway');
unlike($gateway->get('/metrics', bearer($tenant{acme}))->{content}, qr/bolt/, 'and without names of others');
is($gateway->request('PUT', '/api/provider/mock/config', { 'Content-Type' => 'application/json', bearer($tenant{acme}) },
		'{"error_pct":100}')->{status}, 403, 'the mock provider is not a tenant\'s');

# Many tenants in one batch: one transaction, each event with its tenant.
$gateway->stop;
$gateway = MsgstoreGateway->new($node, user => 'gw', flags => [ '--auth', 'on' ]);
$gateway->get('/api/conversations', bearer($_)) for values %tenant, $key{ingest};
my $locker = $node->background_psql('postgres');
$locker->query_safe('BEGIN; LOCK TABLE msgstore.event_log IN SHARE MODE');
my @names = ('acme', 'bolt', '');
my @posts = map {
	my $name = $names[ $_ % 3 ];
	MsgstoreGateway::post_bytes('/api/webhooks/sms', inbound_sms("batch-$name-$_"),
		bearer($name ? $tenant{$name} : $key{ingest}))
} 1 .. 60;
my @sockets = map { $gateway->connection } @posts;
MsgstoreGateway::syswrite_all($sockets[$_], $posts[$_]) for 0 .. $#posts;
ok(eventually(sub { $node->safe_psql('postgres',
	"SELECT count(*) FROM pg_stat_activity WHERE usename = 'gw' AND wait_event_type = 'Lock'") >= 1 }), 'they wait');
ok(eventually(sub { ($gateway->get('/metrics', Accept => 'application/json', bearer($key{operate}))->{json}{http_connections} // 0) >= 61 }),
	'all are stored');
$locker->query_safe('ROLLBACK');
$locker->quit;
my @answers = map { $gateway->read_answer($_) } @sockets;
is((grep { $_->{status} == 202 } @answers), 60, 'sixty posts of three tenants at once');
is( $node->safe_psql('postgres',
		q{SELECT count(*) FROM msgstore.inbound_events WHERE provider_message_id ~ '^batch-' AND tenant_id = split_part(provider_message_id, '-', 2)}),
	60, 'each event has its tenant');
cmp_ok( $node->safe_psql('postgres',
		q{SELECT max(n) FROM (SELECT count(DISTINCT tenant_id) AS n FROM msgstore.event_log WHERE payload->>'messaging_provider_id' ~ '^batch-' GROUP BY xmin::text) t}),
	'==', 3, 'events of three tenants share a transaction');
for my $i (0 .. $#answers)
{
	my $name = $names[ ($i + 1) % 3 ];
	next if $answers[$i]{json}{id} eq $node->safe_psql('postgres',
		"SELECT id FROM msgstore.inbound_events WHERE provider_message_id = 'batch-$name-" . ($i + 1) . "'");
	fail("answer $i has the id of its event");
}

# An event that fails the transaction does not affect other tenants.
$node->safe_psql('postgres', q{
	CREATE FUNCTION public.fail() RETURNS trigger LANGUAGE plpgsql AS
	$$BEGIN IF NEW.payload->>'body' = 'spoil' THEN RAISE EXCEPTION 'spoilt'; END IF; RETURN NEW; END$$;
	CREATE TRIGGER fail BEFORE INSERT ON msgstore.event_log FOR EACH ROW EXECUTE FUNCTION public.fail()});
@answers = $gateway->parallel(map {
	MsgstoreGateway::post_bytes('/api/webhooks/sms',
		inbound_sms("spoil-$_", body => $_ == 7 ? 'spoil' : 'good'), bearer($tenant{ $_ % 2 ? 'acme' : 'bolt' }))
} 1 .. 20);
is((grep { $_->{status} == 202 } @answers), 19, 'all but one are stored');
is($answers[6]{status}, 500, 'and the one is not');
$node->safe_psql('postgres', 'DROP FUNCTION public.fail() CASCADE');
is( $node->safe_psql('postgres',
		q{SELECT string_agg(DISTINCT tenant_id, ' ' ORDER BY tenant_id) FROM msgstore.inbound_events WHERE provider_message_id ~ '^spoil-'}),
	'acme bolt', 'each with its tenant');

# A revoked key and an expired key, both in constant use.
my $start = time;
my %ending = (revoked => create_key('acme', 'read'), expired => create_key('acme', 'read', '3 s'));
is($gateway->get('/api/conversations', bearer($ending{$_}))->{status}, 200, "$_ later: good now") for sort keys %ending;
my ($revoked) = $ending{revoked} =~ /^mk_([0-9a-f]+)_/;
$node->safe_psql('postgres', "SELECT msgstore.revoke_api_key('$revoked')");
my $end = time;
ok(eventually(sub { $gateway->get('/api/conversations', bearer($ending{revoked}))->{status} == 401 }), 'a revoked key stops working');
cmp_ok(time - $end, '<', 5, 'within five seconds');
ok(eventually(sub { $gateway->get('/api/conversations', bearer($ending{expired}))->{status} == 401 }), 'an expired key as well');
cmp_ok(time - $start, '<', 4.9, 'at its time, not at the next query, five seconds after the first');

# A key in constant use, valid or not, costs only a few queries.
my $asked = sub { $node->safe_psql('postgres',
	"SELECT coalesce(sum(calls), 0) FROM pg_stat_user_functions WHERE funcname = 'authenticate'") };
$node->safe_psql('postgres', "ALTER ROLE gw SET track_functions = 'all'");
$gateway->stop;
$gateway = MsgstoreGateway->new($node, user => 'gw', flags => [ '--auth', 'on' ], url => 'max_lifetime=1');
my $missing = 'mk_0123456789abcdef_' . ('a' x 48);
$start = time;
for (1 .. 100)
{
	$gateway->get('/api/conversations', bearer($tenant{acme}));
	$gateway->get('/api/conversations', bearer($missing));
}
my $spent = time - $start;
$gateway->stop;
cmp_ok($asked->(), '<=', 2 * (int($spent / 2) + 1), 'a hundred requests with two keys cause few queries');
cmp_ok($asked->(), '>=', 2, 'but some');

# While the database is away, cached and unknown keys get 503.
$gateway = MsgstoreGateway->new($node, user => 'gw', flags => [ '--auth', 'on' ]);
is($gateway->get('/api/conversations', bearer($tenant{acme}))->{status}, 200, 'good');
$node->stop('immediate');
for my $which ($tenant{acme}, $tenant{bolt}, $missing)
{
	$answer = $gateway->get('/api/conversations', bearer($which));
	is($answer->{status}, 503, 'database away: 503');
	cmp_ok($answer->{headers}{'retry-after'}, '>', 0, 'with Retry-After');
}
sleep 5;
is($gateway->get('/api/conversations', bearer($tenant{acme}))->{status}, 503, 'and later as well');
is($gateway->get('/api/conversations')->{status}, 401, 'without a key still 401');

# The gateway starts while the database is away.
my $early = MsgstoreGateway->new($node, user => 'gw', flags => [ '--host', '0.0.0.0' ]);
like($early->log_text, qr/could not check whether any exist/, 'it starts and warns');
is($early->get('/api/conversations')->{status}, 401, 'and refuses requests without a key');
$node->start;
ok(eventually(sub { $early->get('/api/conversations', bearer($tenant{acme}))->{status} == 200 }), 'keys work when the database is back');
ok(eventually(sub { $gateway->get('/api/conversations', bearer($tenant{acme}))->{status} == 200 }), 'for both');
$early->stop;

# If the role may not set the tenant, no tenant's request is served.
$node->safe_psql('postgres', 'REVOKE SET ON PARAMETER msgstore.tenant_id FROM gw');
$before = count('inbound_events');
is($gateway->post('/api/webhooks/sms', inbound_sms('unset'), bearer($tenant{acme}))->{status}, 500, 'no right to set the tenant: 500');
is($gateway->get('/api/conversations', bearer($tenant{acme}))->{status}, 500, 'nothing is read');
is(count('inbound_events'), $before, 'nothing is stored');
is(($gateway->stop)[0], 0, 'exit code 0');

# Without preloading, requests for a tenant are refused.
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$node->restart;
$gateway = MsgstoreGateway->new($node, flags => [ '--auth', 'on' ]);
is($gateway->get('/api/conversations', bearer($tenant{acme}))->{status}, 500, 'not preloaded: 500');
like($gateway->log_text, qr/is not in shared_preload_libraries: cannot serve requests for a tenant/, 'the log says why');
is($gateway->get('/api/conversations', bearer($key{read}))->{status}, 200, 'a key without a tenant is served');
is(($gateway->stop)[0], 0, 'exit code 0');

done_testing();
