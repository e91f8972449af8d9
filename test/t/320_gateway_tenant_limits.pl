# Rate limits of tenants: stored in the database, enforced by the gateway, separate
# for each tenant. A limited client waits a moment, not a minute.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::Bin/..";
use MsgstoreGateway;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $node = start_cluster('tenant_limits');
my ($gateway, $answer);

sub create_key
{
	return $node->safe_psql('postgres',
		"SELECT msgstore.create_api_key('$_[0]', '{ingest,send,read,responses,operate}')");
}

sub set_limit
{
	my ($tenant, $rate, $burst) = @_;
	$node->safe_psql('postgres', "SELECT msgstore.set_tenant_limit('$tenant', $rate, $burst)");
	return;
}

sub stored
{
	return $node->safe_psql('postgres', "SELECT count(*) FROM msgstore.inbound_events WHERE tenant_id = '$_[0]'");
}

my %key = map { $_ => [ Authorization => 'Bearer ' . create_key($_) ] } qw(acme bolt);
set_limit('acme', 1, 5);

# A burst is accepted at once, the next request must wait.
$gateway = MsgstoreGateway->new($node, flags => [ '--auth', 'on' ]);
my $start = time;
my @answers = $gateway->parallel(
	map { MsgstoreGateway::post_bytes('/api/webhooks/sms', inbound_sms("burst-$_"), @{ $key{acme} }) } 1 .. 30);
my $accepted = grep { $_->{status} == 202 } @answers;
cmp_ok($accepted, '>=', 5, 'the burst is accepted');
cmp_ok($accepted, '<=', 5 + 1 + (time - $start), 'and not much more');
is((grep { $_->{status} == 429 } @answers), 30 - $accepted, 'the rest gets 429');
is(stored('acme'), $accepted, 'and is not stored');
($answer) = grep { $_->{status} == 429 } @answers;
is($answer->{json}{code}, 'rate_limited', 'its code');
is($answer->{headers}{'retry-after'}, 1, 'Retry-After: a moment');
is($answer->{headers}{'x-ratelimit-limit'}, 1, 'X-RateLimit-Limit');
is($answer->{headers}{connection}, 'keep-alive', 'the connection stays open');
$answer = $gateway->get('/v1/responses', @{ $key{acme} });
is($answer->{status}, 429, 'all routes share it');
is($answer->{json}{error}{type}, 'rate_limit_error', 'in the format of /v1');

# The limit applies to one tenant, and not to probes and metrics.
is($gateway->get('/api/conversations', @{ $key{bolt} })->{status}, 200, 'another tenant has none')
  for 1 .. 20;
is($gateway->get($_)->{status}, 200, "$_ has none") for ('/healthz', '/readyz') x 10;
is($gateway->get('/metrics', @{ $key{acme} })->{status}, 200, 'nor have metrics') for 1 .. 10;
is($gateway->post('/api/webhooks/sms', '{', @{ $key{acme} })->{status}, 400, 'refused requests do not count') for 1 .. 3;

# After Retry-After, one request is accepted.
sleep 1.1;
is($gateway->get('/api/conversations', @{ $key{acme} })->{status}, 200, 'one more after a second');
is($gateway->get('/api/conversations', @{ $key{acme} })->{status}, 429, 'and one only');

# A changed or removed limit takes effect within seconds.
set_limit('acme', 1000, 1000);
$start = time;
ok(eventually(sub {
	20 == grep { $gateway->get('/api/conversations', @{ $key{acme} })->{status} == 200 } 1 .. 20
}), 'a limit is raised');
cmp_ok(time - $start, '<', 5, 'within five seconds');
cmp_ok($gateway->get('/metrics', Accept => 'application/json', @{ $key{bolt} })->{status}, '==', 200, 'metrics');
is(($gateway->stop)[0], 0, 'exit code 0');

# A gateway without keys applies the limit of its role's tenant.
$node->safe_psql('postgres', q{
	CREATE ROLE gw LOGIN;
	SELECT msgstore.grant_access('gw', 'ingest'), msgstore.grant_access('gw', 'read');
	ALTER ROLE gw SET msgstore.tenant_id = 'own'});
set_limit('own', 1, 3);
$gateway = MsgstoreGateway->new($node, user => 'gw');
ok(eventually(sub { $gateway->get('/api/conversations')->{status} == 429 }), 'without keys: the limit of the tenant of its role');
is($gateway->post('/api/webhooks/sms', inbound_sms('own'))->{status}, 429, 'for all its requests');
$node->safe_psql('postgres', q{SELECT msgstore.set_tenant_limit('own', NULL)});
ok(eventually(sub {
	20 == grep { $gateway->get('/api/conversations')->{status} == 200 } 1 .. 20
}), 'until it is removed');
is(($gateway->stop)[0], 0, 'exit code 0');

# If the role may not call tenant_limit, there is no limit.
$node->safe_psql('postgres', q{SELECT msgstore.set_tenant_limit('own', 1, 1); REVOKE EXECUTE ON FUNCTION msgstore.tenant_limit FROM gw});
$gateway = MsgstoreGateway->new($node, user => 'gw');
is((grep { $gateway->get('/api/conversations')->{status} == 200 } 1 .. 30), 30, 'a role without that privilege');
is(($gateway->stop)[0], 0, 'exit code 0');

done_testing();
