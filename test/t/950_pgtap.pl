# The tests of test/pgtap, which describe the public interface.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::Bin/..";
use MsgstoreServer;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('pgtap');
$node->start;
plan skip_all => 'pgTAP is not installed'
  unless $node->safe_psql('postgres',
	"SELECT count(*) FROM pg_available_extensions WHERE name = 'pgtap'");

# In a database with the extension, and in one without.
$node->safe_psql('postgres', 'CREATE DATABASE bare');
add_database($node, 'store');
$ENV{PGHOST} = $node->host;
$ENV{PGPORT} = $node->port;
for my $database (qw(store bare))
{
	for my $file (sort glob "$FindBin::Bin/../pgtap/*.sql")
	{
		my ($name) = $file =~ m{([^/]+)\.sql$};
		my ($stdout, $stderr) =
		  run_command([ 'pg_prove', '--verbose', '-d', $database, $file ]);
		ok($stdout =~ /^Result: PASS$/m, "$name in database $database")
		  or diag(grep { !/^ok/ } map { "$_\n" } split /\n/, "$stdout\n$stderr");
	}
}

$node->stop;
done_testing();
