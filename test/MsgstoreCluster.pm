# MsgstoreCluster.pm: a router and its slots, for test/t: databases of one server.
package MsgstoreCluster;

use strict;
use warnings FATAL => 'all';

use Exporter 'import';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;

our @EXPORT = qw(has_plproxy start_router slot_connection);

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

# The connection string of a slot, as an option of the foreign server.
sub slot_connection
{
	my ($node, $database) = @_;
	return "dbname=$database host=" . $node->host . ' port=' . $node->port
	  . q{ connect_timeout=5 options=''-c synchronous_commit=on -c statement_timeout=30s''};
}

1;
