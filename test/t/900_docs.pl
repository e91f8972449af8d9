# The examples of the README and of docs/ produce the output that they show.
#
# Each page is one psql session in a database of its own, with a worker. Its sql
# blocks run from top to bottom, and so do sh blocks that begin with curl, against
# a gateway. A text block after a block is its exact output; blocks without one
# must not fail. Ids and white space at the ends of lines are not compared. Blocks
# marked "sql no-run" are not run. The messages that the page of a provider sends
# reach a stand-in for its API.
use strict;
use warnings FATAL => 'all';

use File::Basename qw(basename dirname);
use FindBin;
use lib "$FindBin::Bin/..";
use MsgstoreDocs qw(blocks_of comparable run_blocks);
use MsgstoreGateway;
use MsgstoreSender;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $root = "$FindBin::Bin/../..";
my ($port, $mail_port) = system('python3 -c "import aiosmtpd" 2>/dev/null') == 0 ? start_stand_in() : ();

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
	check_sending($node, $database, $page) if $port && $file =~ m{/docs/providers/};
	$node->safe_psql('postgres', "DROP DATABASE $database");
	for my $role (split /\n/, $node->safe_psql('postgres',
			"SELECT quote_ident(rolname) FROM pg_roles WHERE oid >= 16384"))
	{
		# Privileges on settings belong to the cluster.
		$node->safe_psql('postgres', "DROP OWNED BY $role; DROP ROLE $role");
	}
	return;
}

# A mail server without TLS gets no password.
sub check_sending
{
	my ($node, $database, $page) = @_;
	my $statuses = sub { return $node->safe_psql($database, 'SELECT DISTINCT status FROM msgstore.outbound_messages') };
	$node->safe_psql($database, <<"SQL");
UPDATE msgstore.accounts SET base_url = 'http://127.0.0.1:$port' WHERE provider <> 'smtp';
UPDATE msgstore.accounts SET base_url = 'smtp://127.0.0.1:$mail_port' WHERE provider = 'smtp';
DELETE FROM msgstore.account_secrets USING msgstore.accounts
WHERE account = name AND provider = 'smtp';
SQL
	my $sender = start_sender($node, url => "dbname=$database");
	eventually(sub { $statuses->() ne 'queued' });
	is($statuses->(), 'sent', "$page: its message reaches the provider");
	$sender->stop;
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

# MS001 never leaves the function that raises it.
my %raised = map { $_ => 1 } map { slurp_file($_) =~ /\b(MS(?!001)\d{3})\b/g }
  glob("$root/sql/*.sql $root/sql/*/*.sql $root/src/*/*.[ch]");
my %listed = map { $_ => 1 } $readme =~ /`(MS\d{3})`/g;
is_deeply([ sort keys %listed ], [ sort keys %raised ], 'the README lists all SQLSTATEs');

$node->stop;
done_testing();
