# The examples of the README and of docs/ produce the output that they show.
#
# Each page is one psql session in a database of its own, with a worker. Its sql
# blocks run from top to bottom, and so do sh blocks that begin with curl, against
# a gateway. A text block after a block is its exact output; blocks without one
# must not fail. Ids and white space at the ends of lines are not compared. Blocks
# marked "sql no-run" are not run.
use strict;
use warnings FATAL => 'all';

use File::Basename qw(basename dirname);
use FindBin;
use lib "$FindBin::Bin/..";
use MsgstoreDocs qw(blocks_of comparable run_blocks);
use MsgstoreGateway;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $root = "$FindBin::Bin/../..";
sub check_page
{
	my ($node, $file) = @_;
	my $page = basename($file, '.md');
	my $text = slurp_file($file);
	my @blocks = grep { $_->{kind} eq 'sql' || $_->{content} =~ /^curl / } blocks_of($text);
	my $database = lc "page_$page" =~ tr/-/_/r;
	my $gateway;

	return if !@blocks;
	$node->safe_psql('postgres', "CREATE DATABASE $database");
	$node->safe_psql($database, 'CREATE EXTENSION msgstore')
	  unless grep { $_->{content} =~ /^CREATE EXTENSION/m } @blocks;
	$gateway = MsgstoreGateway->new($node, url => "dbname=$database")
	  if grep { $_->{kind} eq 'sh' } @blocks;
	my @printed = do
	{
		local $ENV{PGHOST} = $node->host;
		local $ENV{PGPORT} = $node->port;
		run_blocks("psql -X -d $database", $gateway ? $gateway->{port} : 0, @blocks);
	};
	is(scalar @printed, scalar @blocks, "$page: all blocks ran");
	for my $i (0 .. $#blocks)
	{
		my $name = basename($file) . ", line $blocks[$i]{line}";
		my $got = comparable($printed[$i] // '');
		if (defined $blocks[$i]{prints})
		{
			is($got, comparable($blocks[$i]{prints}), $name);
		}
		else
		{
			unlike($got, qr/^ERROR:|^curl:/m, $name);
		}
	}
	$gateway->stop if $gateway;
	$node->safe_psql('postgres', "DROP DATABASE $database");
	for my $role (split /\n/, $node->safe_psql('postgres',
			"SELECT quote_ident(rolname) FROM pg_roles WHERE oid >= 16384"))
	{
		# Privileges on settings belong to the cluster.
		$node->safe_psql('postgres', "DROP OWNED BY $role; DROP ROLE $role");
	}
	return;
}

my $node = PostgreSQL::Test::Cluster->new('docs');
$node->init(extra => [ '--encoding=UTF8', '--locale=C' ]);
$node->append_conf('postgresql.conf',
	"shared_preload_libraries = 'msgstore'\ntimezone = 'UTC'\nlc_messages = 'C'\n");
$node->start;
for my $file ("$root/README.md", "$root/CHANGELOG.md", sort glob "$root/docs/*.md $root/docs/providers/*.md")
{
	check_page($node, $file);
	my @lost = grep { !-e dirname($file) . "/$_" }
	  slurp_file($file) =~ /\]\((?!https?:)([^)#]+)/g;
	is("@lost", '', basename($file) . ': its links have a target');
}

# The README shows the role of docker/gateway_role.sql.
my $readme = -e "$root/README.md" ? slurp_file("$root/README.md") : '';
my ($grants) = slurp_file("$root/docker/gateway_role.sql") =~ /^(CREATE ROLE.*)\z/ms;
isnt(index($readme, $grants), -1, 'the README shows the role of docker/');

$node->stop;
done_testing();
