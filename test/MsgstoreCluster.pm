# MsgstoreCluster.pm: a router and its slots, for test/t: databases of one server.
package MsgstoreCluster;

use strict;
use warnings FATAL => 'all';

use Exporter 'import';
use IO::Select;
use IO::Socket::INET;
use IO::Socket::UNIX;
use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;

our @EXPORT = qw(has_plproxy start_router slot_connection start_relay);

my @relays;
END { kill 'KILL', map { -$_ } @relays if @relays }

# PL/Proxy is not packaged for every version of the server.
sub has_plproxy
{
	my ($directory) = run_command([ 'pg_config', '--sharedir' ]);
	return -e "$directory/extension/plproxy.control";
}

# Starts a server with databases slot0, slot1 and so on, and the router in database
# postgres. Workers are off unless the settings turn them on.
sub start_router
{
	my ($name, $slots, $settings) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);
	$node->init(extra => [ '--encoding=UTF8', '--locale=C' ]);
	$node->append_conf('postgresql.conf',
		"shared_preload_libraries = 'msgstore'\nmsgstore.workers = 0\n"
		  . "restart_after_crash = on\nmax_connections = 150\n"
		  . ($settings // ''));
	$node->start;
	for my $slot (0 .. $slots - 1)
	{
		$node->safe_psql('postgres', "CREATE DATABASE slot$slot");
		$node->safe_psql("slot$slot", 'CREATE EXTENSION msgstore');
		$node->safe_psql("slot$slot", "SELECT msgstore.set_slot($slot, $slots)");
	}
	my $options = join ', ',
	  map { "p$_ '" . slot_connection($node, "slot$_") . "'" } 0 .. $slots - 1;
	$node->safe_psql('postgres', <<"SQL");
CREATE EXTENSION msgstore_router CASCADE;
CREATE SERVER msgstore FOREIGN DATA WRAPPER plproxy OPTIONS (modular_mapping '1', $options);
CREATE USER MAPPING FOR CURRENT_USER SERVER msgstore OPTIONS (user 'postgres');
SELECT msgstore.set_slots($slots);
SELECT * FROM msgstore.publish();
SQL
	return $node;
}

# The connection string of a slot, as an option of the foreign server; a port is that of
# a relay.
sub slot_connection
{
	my ($node, $database, $port) = @_;
	my $address = $port ? "host=127.0.0.1 port=$port" : 'host=' . $node->host . ' port=' . $node->port;
	return "dbname=$database $address"
	  . q{ connect_timeout=5 options=''-c synchronous_commit=on -c statement_timeout=30s -c client_connection_check_interval=2s''};
}

# Passes connections on to the server. Returns its port, and its process group: while that
# is stopped, it is a server that hangs, which accepts connections and says nothing.
sub start_relay
{
	my ($node) = @_;
	my $listener = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 100) // die "could not listen: $!";
	my $pid = fork // die "could not fork: $!";
	if ($pid == 0)
	{
		setpgrp;
		$SIG{CHLD} = 'IGNORE';
		while (1)
		{
			my $client = $listener->accept // next;
			next if fork;
			relay($client, IO::Socket::UNIX->new($node->host . '/.s.PGSQL.' . $node->port));
			POSIX::_exit(0);
		}
	}
	setpgrp $pid, $pid;
	push @relays, $pid;
	return ($listener->sockport, $pid);
}

sub relay
{
	my ($client, $server) = @_;
	my $select = IO::Select->new($client, $server);
	while (1)
	{
		for my $from ($select->can_read)
		{
			my $to = $from == $client ? $server : $client;
			return unless sysread $from, my $data, 65536;
			while (length $data)
			{
				my $written = syswrite($to, $data) // return;
				substr($data, 0, $written) = '';
			}
		}
	}
	return;
}

1;
