# msgstore-cluster is killed in each step of a move and of a split, while webhooks
# arrive, and run again. Nothing that was acknowledged is lost or stored twice.
use strict;
use warnings FATAL => 'all';

use Cwd qw(abs_path);
use FindBin;
use lib "$FindBin::Bin/..";
use MsgstoreGateway;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

plan skip_all => 'PL/Proxy is not installed'
  if !-e (split /\n/, `pg_config --sharedir`)[0] . '/extension/plproxy.control';

my $program = abs_path("$FindBin::Bin/../../router/msgstore-cluster");
my $webhooks = abs_path("$FindBin::Bin/../webhooks");
my $directory = PostgreSQL::Test::Utils::tempdir();
my %nodes;
for my $name (qw(router one))
{
	my $node = PostgreSQL::Test::Cluster->new($name);
	$node->init(
		allows_streaming => 'logical',
		extra => [ '--encoding=UTF8', '--locale=C' ]);
	$node->append_conf('postgresql.conf',
		"shared_preload_libraries = 'msgstore'\nmax_worker_processes = 24\n"
		  . "max_connections = 150\nmax_wal_senders = 10\nmax_replication_slots = 10\n");
	$node->start;
	$nodes{$name} = $node;
}
my $one = 'host=' . $nodes{one}->host . ' port=' . $nodes{one}->port;
my $two = 'host='
  . $nodes{one}->host
  . ' port='
  . PostgreSQL::Test::Cluster::get_free_port();
$ENV{MSGSTORE_ROUTER} =
  'host=' . $nodes{router}->host . ' port=' . $nodes{router}->port . ' dbname=postgres';

sub router_sql { return $nodes{router}->safe_psql('postgres', $_[0]) }

# Starts the command in a process group of its own; returns its pid and its output.
sub start_command
{
	my (@arguments) = @_;
	my $pid = open(my $out, '-|') // die "could not fork: $!";
	if ($pid == 0)
	{
		setpgrp;
		open STDERR, '>&', \*STDOUT or die;
		exec $program, @arguments or die "could not exec: $!";
	}
	return ($pid, $out);
}

sub command
{
	my (@arguments) = @_;
	my ($pid, $out) = start_command(@arguments);
	my $text = do { local $/; <$out> };
	close $out;
	return ($?, $text // '');
}

# Kills the command at this step; returns what it has printed.
sub kill_at_step
{
	my ($step, @arguments) = @_;
	my ($pid, $out) = start_command(@arguments);
	my $text = '';
	while (my $line = <$out>)
	{
		$text .= $line;
		kill 'KILL', -$pid if $line =~ /^step \d+: \Q$step\E/;
	}
	close $out;
	return $text;
}

# Kills the command at its first step, runs it again, kills it at the next step that is
# not done, and so on until it ends by itself. Returns the number of kills.
sub kill_in_each_step
{
	my (@arguments) = @_;
	my $next = 1;
	my $kills = 0;
	while (1)
	{
		my ($pid, $out) = start_command(@arguments);
		my $killed = 0;
		my $text = '';
		while (my $line = <$out>)
		{
			$text .= $line;
			next if $killed || $line !~ /^step (\d+): / || $1 < $next || $line =~ /already done$/;
			$next = $1 + 1;
			kill 'KILL', -$pid;
			$killed = 1;
			$kills++;
		}
		close $out;
		note $text;
		next if $killed;
		is($?, 0, "$arguments[0]: ends after $kills kills");
		return $kills;
	}
}

# Rows of a statement in all slots.
sub in_slots
{
	my ($statement) = @_;
	my @rows;
	for my $connection (
		split /\n/,
		router_sql(
			"SELECT o.option_value FROM pg_foreign_server s, pg_options_to_table(s.srvoptions) o WHERE s.srvname = 'msgstore' AND o.option_name ~ '^p[0-9]+\$'"
		))
	{
		push @rows, split /\n/, $nodes{one}->safe_psql('', $statement, connstr => $connection);
	}
	return @rows;
}

# An interrupted init continues, too.
is(kill_in_each_step('init', '--slots', 4, $one), 6, 'init: killed in each step');
router_sql(<<'SQL');
CREATE ROLE gateway LOGIN;
SELECT msgstore.grant_access('gateway', 'ingest'), msgstore.grant_access('gateway', 'read');
GRANT SET ON PARAMETER msgstore.tenant_id, msgstore.owner TO gateway;
SQL
my %key = map { $_ => router_sql("SELECT msgstore.create_api_key('$_', '{ingest,read}')") } qw(acme globex);
router_sql('SELECT count(*) FROM msgstore.publish()');
my $gateway = MsgstoreGateway->new($nodes{router}, user => 'gateway', flags => [ '--auth', 'on' ]);
my @loads;
for my $tenant (sort keys %key)
{
	my $pid = fork() // die "could not fork: $!";
	if ($pid == 0)
	{
		open STDOUT, '>', "$directory/$tenant.summary" or die;
		exec $webhooks, "http://127.0.0.1:$gateway->{port}", $directory, $tenant, 1, $key{$tenant} or die;
	}
	push @loads, $pid;
}

sub acknowledged
{
	my ($tenant) = @_;
	my $text = -e "$directory/$tenant.1" ? slurp_file("$directory/$tenant.1") : '';
	return scalar(() = $text =~ / \S+ \S+\n/g);
}

# Webhooks of both tenants are acknowledged from now on.
sub is_served
{
	my ($what) = @_;
	my %before = map { $_ => acknowledged($_) } keys %key;
	ok( eventually(sub { !grep { acknowledged($_) < $before{$_} + 20 } keys %key }, 60),
		"$what: webhooks are acknowledged");
	return;
}

is_served('before');
my $slot = router_sql("SELECT msgstore.tenant_slot('acme')");
my $target = ($slot + 1) % 4;
my ($status, $text) = command('--dry-run', 'move-tenant', 'acme', $target);
is($status, 0, 'a dry run of a move');
like($text, qr/would publish the tenant.*would fence the tenant.*would remove the tenant/s, 'says what it would do');
is(router_sql("SELECT msgstore.tenant_slot('acme')"), $slot, 'and moves nothing');

# A copy that is damaged is found, and the tenant stays in use.
my $fenced = "SELECT tenant_id FROM msgstore.tenant_fences";
my $copy = $nodes{one}->safe_psql("slot$target", "SELECT msgstore._publication_name('acme')");
like(kill_at_step('wait for the changes since', 'move-tenant', 'acme', $target), qr/wait for the changes/, 'a move with a copy');
$nodes{one}->safe_psql("slot$target", "DELETE FROM msgstore.messages WHERE id = (SELECT min(id::text)::uuid FROM msgstore.messages WHERE tenant_id = 'acme')");
my $holder = $nodes{one}->background_psql("slot$slot");
$holder->query_safe('BEGIN; SELECT 1');
($status, $text) = command('move-tenant', 'acme', $target, '--standstill', 1);
isnt($status, 0, 'a move while a transaction stays open');
like($text, qr/process \d+ \([^)]*user \w+, idle in transaction, for 00:.*nothing was moved.*accepting them again/s, 'says which, and ends');
$holder->quit;
is_deeply([ in_slots($fenced) ], [], 'without the fence');
($status, $text) = command('move-tenant', 'acme', $target);
isnt($status, 0, 'a move whose copy differs');
like($text, qr/[<>] messages\|.*differs.*--restart/s, 'says where, and what to do');
is_deeply([ in_slots($fenced) ], [], 'and removes the fence');
# As by a failover of the old server.
$nodes{one}->safe_psql("slot$target", "ALTER SUBSCRIPTION $copy DISABLE");
$nodes{one}->safe_psql("slot$slot", "SELECT pg_terminate_backend(active_pid, 60000), pg_drop_replication_slot(slot_name)
	FROM pg_replication_slots WHERE slot_name = '$copy'");
($status, $text) = command('move-tenant', 'acme', $target);
isnt($status, 0, 'a move whose replication slot is lost');
like($text, qr/has lost the replication slot.*--restart/, 'says what to do');
$holder = $nodes{router}->background_psql('postgres');
$holder->query_safe('SELECT pg_advisory_lock(7886761049174799474)');
($status, $text) = command('move-tenant', 'acme', $target, '--restart', '--wait', 1);
isnt($status, 0, 'two commands at a time');
like($text, qr/another msgstore-cluster is running.*process \d+/, 'are refused');
$holder->quit;
kill_at_step('publish', 'move-tenant', 'acme', $target, '--restart');
is($nodes{one}->safe_psql('', 'SELECT count(*) FROM pg_subscription', connstr => "$one dbname=postgres"), 0, 'a copy is discarded');

# A step that only waits can be done before it begins.
cmp_ok(kill_in_each_step('move-tenant', 'acme', $target), '>=', 10, 'move-tenant: killed in each step');
is(router_sql("SELECT msgstore.tenant_slot('acme')"), $target, 'the tenant is in its new slot');
is_served('after the move');
($status, $text) = command('move-tenant', 'acme', $target);
is($status, 0, 'once more');
like($text, qr/is in slot $target/, 'there is nothing to do');

# The connection to the router is lost at the moment when the map changes.
my $psql = (split /\n/, `pg_config --bindir`)[0] . '/psql';
mkdir "$directory/bin";
append_to_file("$directory/bin/psql", <<"SH");
#!/bin/bash
for last; do :; done
[[ \$* == *ON_ERROR_STOP* ]] || exec '$psql' "\$@"
[ ! -e '$directory/lost' ] || [ "\$last" != "\$MSGSTORE_ROUTER" ] || exit 2
[ -p /dev/stdin ] || [ -f /dev/stdin ] || exec '$psql' "\$@"
text=\$(cat; echo x)
'$psql' "\$@" <<<"\${text%x}" || exit
[[ \$text != *add_exception* ]] || { touch '$directory/lost'; exit 2; }
SH
chmod 0755, "$directory/bin/psql";
{
	local $ENV{PATH} = "$directory/bin:$ENV{PATH}";
	($status, $text) = command('move-tenant', 'acme', $slot);
}
isnt($status, 0, 'a move whose router is lost when the map changes');
like($text, qr/stays fenced: run the command again/, 'says what to do');
is_deeply([ in_slots($fenced) ], ['acme'], 'and leaves the fence');
($status, $text) = command('move-tenant', 'acme', $target);
isnt($status, 0, 'a move back before that is finished');
like($text, qr/is being moved to slot $slot: finish that first/, 'is refused');
($status, $text) = command('move-tenant', 'acme', $slot);
is($status, 0, 'the move is finished');
is_deeply([ in_slots($fenced) ], [], 'and the fence is gone');
# As if it had been interrupted after the end of the subscription.
$nodes{one}->safe_psql("slot$target", "SELECT msgstore.fence_tenant('acme')");
($status, $text) = command('move-tenant', 'acme', $target);
isnt($status, 0, 'a move back before the tenant is removed');
like($text, qr/has just been moved from slot $target: run "msgstore-cluster move-tenant acme $slot" first/, 'is refused');
($status, $text) = command('move-tenant', 'acme', $slot);
is($status, 0, 'the removal is repeated');
is_deeply([ in_slots($fenced) ], [], 'and the fence is gone');
is_served('after the second move');

($status, $text) = command('--dry-run', 'split', $one, $two, '--data', "$directory/two");
is($status, 0, 'a dry run of a split');
like($text, qr/would copy.*would close the slots.*would promote.*would drop/s, 'says what it would do');
ok(!-e "$directory/two", 'and copies nothing');
($status, $text) = command('split', $one, $one =~ s{ port}{/ port}r);
isnt($status, 0, 'a split to the same server by another name');
like($text, qr/ is not a copy of /, 'is refused');
cmp_ok(kill_in_each_step('split', $one, $two, '--data', "$directory/two"), '>=', 10, 'split: killed in each step');
is_served('after the split');
($status, $text) = command('status');
is($status, 0, 'status');
is(() = $text =~ /^ +\d+ +\Q$two\E .* up /mg, 2, 'two slots are on the new server');

($status, $text) = command('drain-server', $one, $two);
isnt($status, 0, 'a drain to a server that has been split off');
like($text, qr/already has slots: use a new copy/, 'is refused');

# By another name than that of the map, a server has databases that are in use.
my @databases = map { "slot$_" } 0 .. 3;
for my $name ($one, $two)
{
	command('split', $name =~ s{ port}{/ port}r, $two);
}
is_deeply([ in_slots('SELECT current_database()') ], \@databases, 'a server by another name keeps its databases');
($status, $text) = command('find-primaries');
is($status, 0, 'servers with one host have no other primary');

append_to_file("$directory/stop", '');
for (@loads) { waitpid $_, 0; is($?, 0, 'the load has ended') }
ok(eventually(sub { !in_slots('SELECT 1 FROM msgstore.event_queue LIMIT 1') }, 60), 'all events are processed');
my %stored;
$stored{$_}++ for in_slots("SELECT provider_message_id || ' ' || id FROM msgstore.messages");
my @accepted = map { split /\n/, slurp_file("$directory/$_.acknowledged") } sort keys %key;
cmp_ok(scalar @accepted, '>', 100, 'webhooks were acknowledged');
is((grep { !$stored{$_} } @accepted), 0, 'none is lost');
my %ids;
$ids{ (split)[0] }++ for keys %stored;
is((grep { $_ > 1 } values %ids, values %stored), 0, 'none is stored twice');
is_deeply([ in_slots('SELECT count(*) FROM msgstore.check()') ], [ 0, 0, 0, 0 ], 'check() finds nothing');
is(($gateway->stop)[0], 0, 'the gateway stops');

END
{
	local $?;
	kill 'KILL', @loads if @loads;
	# Not set if the tests are skipped.
	system "pg_ctl -D '$directory/two' -m immediate stop >/dev/null 2>&1"
	  if $directory && -e "$directory/two/postmaster.pid";
}

done_testing();
