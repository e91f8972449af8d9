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
use MsgstoreGateway;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $root = "$FindBin::Bin/../..";
my $mark = '=== next block ===';

# Before each block, wait until the worker runs and has tried every event once, as
# it will have when a person types the next block. This is a separate session, so
# that \g still repeats the page's last query.
my $wait = <<'SQL';
DO $$
DECLARE
    deadline timestamptz := clock_timestamp() + interval '30 s';
BEGIN
    WHILE to_regclass('msgstore.event_queue') IS NOT NULL
        AND clock_timestamp() < deadline
    LOOP
        EXIT WHEN NOT EXISTS (
                SELECT FROM msgstore.event_queue WHERE next_attempt_at IS NULL)
            AND (SELECT array_agg((datname, application_name)::text)
                     = ARRAY[(current_database(), 'msgstore worker 1')::text]
                 FROM pg_stat_activity WHERE backend_type = 'msgstore worker');
        PERFORM pg_stat_clear_snapshot(), pg_sleep(0.01);
    END LOOP;
END
$$;
SQL

# Returns the blocks of a page that are run, with their expected output if any.
sub blocks_of
{
	my ($text) = @_;
	my @blocks;
	my $line = 1;
	my $last;

	while ($text =~ /\G(.*?)^```(\w*)([^\n]*)\n(.*?)^```[^\S\n]*\n/gsm)
	{
		my ($before, $kind, $mark, $content) = ($1, $2, $3, $4);
		my $run = ($kind eq 'sql' && $mark !~ /no-run/)
		  || ($kind eq 'sh' && $content =~ /^curl /);

		$line += ($before =~ tr/\n//) + 1;
		if ($kind eq 'text' && $last && $before =~ /^\s*$/)
		{
			$last->{prints} = $content;
		}
		$last = undef;
		if ($run)
		{
			$last = { kind => $kind, line => $line, content => $content };
			push @blocks, $last;
		}
		$line += ($content =~ tr/\n//) + 1;
	}
	return @blocks;
}

sub comparable
{
	my ($text) = @_;
	my $hex = '[0-9a-f]';
	$text =~ s/$hex{8}-$hex{4}-$hex{4}-$hex{4}-$hex{12}/<id>/g;
	$text =~ s/[^\S\n]+$//gm;
	$text =~ s/\A\n+|\n+\z//g;
	return $text;
}

# Runs the blocks in one session and returns the output of each.
sub run_blocks
{
	my ($node, $database, $port, @blocks) = @_;
	my $directory = PostgreSQL::Test::Utils::tempdir();
	my $script = "\\encoding UTF8\n\\set SHOW_CONTEXT never\n";
	my $next = "\\! psql -Xq -f '$directory/wait.sql' 2>&1\n\\! printf '\\n$mark\\n'\n";
	my $n = 0;
	my $output;

	for my $block (@blocks)
	{
		my $content = $block->{content};
		if ($block->{kind} eq 'sh')
		{
			my $file = "$directory/" . $n++ . '.sh';
			$content =~ s/127\.0\.0\.1:8080/127.0.0.1:$port/g;
			append_to_file($file, $content);
			$content = "\\! bash $file 2>&1\n";
		}
		$script .= $next . $content;
	}
	append_to_file("$directory/page.sql", $script);
	append_to_file("$directory/wait.sql", $wait);
	{
		local $ENV{PGHOST} = $node->host;
		local $ENV{PGPORT} = $node->port;
		local $ENV{PGDATABASE} = $database;
		$output = `psql -X < '$directory/page.sql' 2>&1`;
	}
	my (undef, @printed) = split /^\Q$mark\E\n/m, $output, -1;
	return @printed;
}

sub check_page
{
	my ($node, $file) = @_;
	my $page = basename($file, '.md');
	my $text = slurp_file($file);
	my @blocks = blocks_of($text);
	my $database = lc "page_$page";
	my $gateway;

	return if !@blocks;
	$node->safe_psql('postgres', "CREATE DATABASE $database");
	$node->safe_psql($database, 'CREATE EXTENSION msgstore')
	  unless grep { $_->{content} =~ /^CREATE EXTENSION/m } @blocks;
	$gateway = MsgstoreGateway->new($node, url => "dbname=$database")
	  if grep { $_->{kind} eq 'sh' } @blocks;
	my @printed = run_blocks($node, $database, $gateway ? $gateway->{port} : 0, @blocks);
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
for my $file ("$root/README.md", "$root/CHANGELOG.md", sort glob "$root/docs/*.md")
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
