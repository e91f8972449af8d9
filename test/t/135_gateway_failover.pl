# DATABASE_URL names several servers: the gateway finds the one that takes writes,
# passes over one that does not answer, and acknowledges nothing that a failover
# could lose.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::Bin/..";
use IO::Socket::INET;
use MsgstoreGateway;
use PostgreSQL::Test::Cluster;
use Test::More;

my $first = PostgreSQL::Test::Cluster->new('first');
$first->init(
	allows_streaming => 1,
	extra => [ '--encoding=UTF8', '--locale=C' ]);
$first->append_conf('postgresql.conf',
	"shared_preload_libraries = 'msgstore'\nmsgstore.workers = 1\n");
$first->start;
$first->safe_psql('postgres', 'CREATE EXTENSION msgstore');
$first->backup('copy');
my $second = PostgreSQL::Test::Cluster->new('second');
$second->init_from_backup($first, 'copy', has_streaming => 1);
$second->start;

# Its connections are accepted by the kernel and never answered.
my $silent = IO::Socket::INET->new(
	Listen => 100,
	LocalAddr => '127.0.0.1') // die "could not listen: $!";

sub url
{
	my (@servers) = @_;
	return
		'postgresql:///postgres?target_session_attrs=read-write&connect_timeout=1&host='
	  . join(',', map { MsgstoreGateway::escape($_->[0]) } @servers)
	  . '&port='
	  . join(',', map { $_->[1] } @servers);
}

sub stored
{
	my ($node, $id) = @_;
	return $node->safe_psql('postgres',
		"SELECT count(*) FROM msgstore.inbound_events WHERE provider_message_id = '$id'"
	);
}

my $gateway = MsgstoreGateway->new(
	$first,
	env => {
		DATABASE_URL => url(
			[ '127.0.0.1', $silent->sockport ],
			[ $second->host, $second->port ],
			[ $first->host, $first->port ])
	});

# One that does not answer comes first, a standby next.
my $answer;
ok( eventually(
		sub {
			$answer = $gateway->post('/api/webhooks/sms', inbound_sms('found'));
			return $answer->{status} == 202;
		}),
	'accepted behind a silent server and a standby');
is(stored($first, 'found'), 1, 'by the primary');
like($gateway->log_text, qr/could not connect to the database: no answer in time/,
	'the log tells of the silent server');

# A commit that waits for a synchronous standby is not acknowledged without it.
(my $unsafe, $answer) = $gateway->post_without_standby($first, 'postgres');
is($answer->{status}, 503, 'the webhook is not acknowledged');
like(
	$gateway->log_text,
	qr/a commit did not wait for the synchronous standby/,
	'the log says why');
$answer = $gateway->post('/api/webhooks/sms', inbound_sms($unsafe));
is($answer->{status}, 202, 'it is acknowledged when it is repeated');
ok($answer->{json}{duplicate}, 'and stored once');
$first->wait_for_catchup($second);

# The primary becomes read-only, as before a switchover, and another one takes over.
$first->append_conf('postgresql.conf', "default_transaction_read_only = on\n");
$first->reload;
$second->promote;
my $n = 0;
ok( eventually(
		sub {
			$answer =
			  $gateway->post('/api/webhooks/sms', inbound_sms('moved-' . $n++));
			return $answer->{status} == 202;
		}),
	'accepted after a switchover');
$n--;
is(stored($second, "moved-$n"), 1, 'by the new primary');
ok(eventually(sub { $gateway->get('/readyz')->{status} == 200 }), 'ready');
ok( $second->poll_query_until('postgres',
		"SELECT count(*) = 1 FROM msgstore.messages WHERE provider_message_id = 'moved-$n'"
	),
	'the worker of the new primary processes it');
is(($gateway->stop)[0], 0, 'exit code 0');

done_testing();
