# The versions agree, the archive of "make dist" builds and works, and a release is
# made by "make release". Each upgrade script leads to the objects of a fresh
# install: the database of the oldest release is upgraded to the newest version.
use strict;
use warnings FATAL => 'all';

use File::Basename qw(basename);
use FindBin;
use lib "$FindBin::Bin/..";
use MsgstoreCluster qw(has_plproxy);
use MsgstoreGateway;
use MsgstoreInstallation;
use MsgstoreServer qw(new_server);
use PostgreSQL::Test::Utils;
use Test::More;

my $tree = "$FindBin::Bin/../..";
my $scratch = PostgreSQL::Test::Utils::tempdir();

$ENV{$_} = 'msgstore tests' for qw(GIT_AUTHOR_NAME GIT_COMMITTER_NAME);
$ENV{$_} = 'tests@localhost' for qw(GIT_AUTHOR_EMAIL GIT_COMMITTER_EMAIL);
$ENV{GIT_CONFIG_GLOBAL} = $ENV{GIT_CONFIG_SYSTEM} = '/dev/null';
# For "make" in other trees than that of "make installcheck".
delete @ENV{qw(MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES)};

# Runs a command of the shell in that directory; returns its exit code and output.
sub in_directory
{
	my ($directory, $command) = @_;
	my $output = `cd '$directory' && { $command ; } 2>&1 </dev/null`;
	return ($? >> 8, $output);
}

sub succeeds
{
	my ($directory, $command, $name) = @_;
	my ($code, $output) = in_directory($directory, $command);
	is($code, 0, $name // $command) or BAIL_OUT("$command: $output");
	return $output;
}

sub fails_with
{
	my ($directory, $command, $pattern, $name) = @_;
	my ($code, $output) = in_directory($directory, $command);
	isnt($code, 0, "$name fails");
	like($output, $pattern, "$name: why");
	return;
}

sub version_of
{
	my ($directory) = @_;
	return slurp_file("$directory/msgstore.control") =~ /^default_version = '(.*)'$/m ? $1 : '';
}

# A version is X.Y in msgstore.control, and X.Y.Z in META.json.
my $version = version_of($tree);
my $meta = decode(slurp_file("$tree/META.json"));
like($meta->{version}, qr/^\Q$version\E\.\d+$/, 'META.json has the version of msgstore.control');
is($meta->{provides}{msgstore}{version}, $meta->{version}, 'for the extension too');
my ($title) = slurp_file("$tree/CHANGELOG.md") =~ /^## (\S+), /m;
is($title, $meta->{version} =~ s/\.0$//r, 'CHANGELOG.md begins with it');

# A clone without build products. The tree of the tests may be no repository.
succeeds($tree, "mkdir '$scratch/copy' && tar -c --exclude=./.git --exclude='./tmp_check*' --exclude=./test/fuzz/build
	--exclude='*.o' --exclude='*.bc' . | tar -x -C '$scratch/copy'" =~ s/\n\s*/ /r, 'copied the tree');
succeeds("$scratch/copy", 'git init -q && git add -A && git commit -q -m copied', 'committed the copy');
succeeds($scratch, 'git clone -q copy clone', 'cloned it');
my $clone = "$scratch/clone";

# An archive is what was committed.
append_to_file("$clone/new", '');
fails_with($clone, 'make -s dist', qr/not committed.*\?\? new/s, 'an archive of a tree with a new file');
unlink "$clone/new";
append_to_file("$clone/META.json", "\n");
fails_with($clone, 'make -s dist', qr/not committed.* M META\.json/s, 'an archive of a changed tree');
fails_with($clone, 'make -s release', qr/not committed/, 'a release of a changed tree');
succeeds($clone, 'git checkout -q .');
succeeds($clone, 'make -s dist', 'make dist');

my $archive = "$scratch/msgstore-$meta->{version}";
succeeds($scratch, "unzip -q clone/msgstore-$meta->{version}.zip", 'unpacked the archive');
is(succeeds($archive, 'find . ! -type d | LC_ALL=C sort'),
	succeeds($clone, 'git ls-files | sed "s#^#./#" | LC_ALL=C sort') , 'it has all files');

# It builds, installs the same files as the tree, and works. Not optimized, which
# takes half the time.
my $fast = 'with_llvm=no CFLAGS=-O0';
succeeds($archive, "make -s -j2 $fast && make -s install $fast DESTDIR='$scratch/installed'", 'built the archive');
succeeds($tree, "make -s install with_llvm=no DESTDIR='$scratch/expected'", 'installed the tree');
is(succeeds("$scratch/installed", 'find . -type f | LC_ALL=C sort'),
	succeeds("$scratch/expected", 'find . -type f | LC_ALL=C sort'), 'the same files are installed');
is( succeeds($scratch, "diff -r expected installed | grep -v '^Binary files' || true", 'compared'),
	'', 'with the same content');
ok(-s place_in("$scratch/installed", 'sharedir') . "/msgstore/$_", "$_ is installed")
  for qw(alert-rules.yml grafana-dashboard.json);
my $program = place_in("$scratch/installed", 'bindir') . '/msgstore-gateway';
is( succeeds($scratch, "'$program' --help", 'the gateway runs'),
	succeeds($scratch, "'$tree/gateway/msgstore-gateway' --help"), 'and is the same');
is(succeeds($scratch, "'$program' --version"), "msgstore-gateway $meta->{version}\n", 'of this version');

# A release freezes the SQL; the next version begins with an upgrade script.
sub begin_next
{
	my ($major, $minor) = split /\./, version_of($clone);
	my $next = "$major." . ($minor + 1);
	succeeds($clone, "make -s begin VERSION=$next");
	return $next;
}
my $frozen = "sql/msgstore--$version.sql";
my $released = -e "$clone/$frozen";
if ($released)
{
	succeeds($clone, "make -s -B msgstore--$version.sql && cmp msgstore--$version.sql $frozen",
		"the SQL of $version is as it was released");
	my $router = "msgstore_router--$version.sql";
	succeeds("$clone/router", "make -s -B $router && cmp $router sql/$router", 'and that of the router');
	# The tag is not in the copy.
	succeeds($clone, "git tag v$meta->{version}");
	$version = begin_next();
}
fails_with($clone, 'make -s begin VERSION=99.0', qr/release $version\.\d+ first/, 'to begin another version')
  if !$released;
my $said = succeeds($clone, 'make -s release');
like($said, qr/^Released $version\.\d+/, 'it says so');
is(slurp_file("$clone/sql/msgstore--$version.sql"),
	slurp_file("$clone/msgstore--$version.sql"), 'its SQL is frozen');
is(slurp_file("$clone/router/sql/msgstore_router--$version.sql"),
	slurp_file("$clone/router/msgstore_router--$version.sql"), 'and that of the router');
like(slurp_file("$clone/CHANGELOG.md"), qr/^## $version, \d{4}-\d\d-\d\d$/m, 'CHANGELOG.md is dated');
is(decode(slurp_file("$clone/META.json"))->{release_status}, 'stable', 'META.json says that it is stable');
is(succeeds($clone, 'git status --porcelain'), '', 'all is committed');
is(succeeds($clone, 'git describe --exact-match'), "v$version.0\n", 'and tagged') if !$released;
fails_with($clone, 'make -s release', qr/no section|released already/, 'the same release again');

my $next = begin_next();
is(version_of($clone), $next, 'the next version has begun');
like(slurp_file("$clone/CHANGELOG.md"), qr/^## $next, not released\n\n## $version, /m, 'with a section of CHANGELOG.md');
is(decode(slurp_file("$clone/META.json"))->{'meta-spec'}{version}, '1.0.0', 'and a META.json whose format is the same');

# The new version has one more column, function, row and comment.
my $change = <<'SQL';
ALTER TABLE msgstore.messages ADD COLUMN colour text;
COMMENT ON COLUMN msgstore.messages.colour IS 'Colour of the ink';
CREATE FUNCTION msgstore.colours() RETURNS int LANGUAGE sql RETURN 1;
REVOKE ALL ON FUNCTION msgstore.colours() FROM PUBLIC;
INSERT INTO msgstore.channels (name, address_kind) VALUES ('ink', 'opaque');
SELECT msgstore._note_objects();
SQL
my $change_of_router = <<'SQL';
CREATE FUNCTION msgstore.colours() RETURNS int LANGUAGE sql RETURN 1;
COMMENT ON FUNCTION msgstore.colours() IS 'Number of colours';
SQL
my @scripts = glob "$clone/sql/msgstore--*.sql $clone/router/sql/msgstore_router--*.sql";
append_to_file("$clone/sql/99_change.sql", $change);
append_to_file("$clone/sql/msgstore--$version--$next.sql", $change);
append_to_file("$clone/router/sql/$_", $change_of_router)
  for '99_change.sql', "msgstore_router--$version--$next.sql";
succeeds($clone, "make -s msgstore--$next.sql router/msgstore_router--$next.sql");
# A fresh install of a version that forgot its upgrade script.
append_to_file("$clone/sql/99_change.sql", <<'SQL');
COMMENT ON FUNCTION msgstore.colours() IS 'Changed';
GRANT EXECUTE ON FUNCTION msgstore.colours() TO PUBLIC;
UPDATE msgstore.channels SET address_kind = 'phone' WHERE name = 'ink';
SQL
succeeds($clone, "mv msgstore--$next.sql '$scratch' && make -s msgstore--$next.sql && mv msgstore--$next.sql '$scratch/msgstore--$next.forgot.sql'");

my $install = copy_installation(
	replace => [
		"$clone/msgstore.control", "$clone/router/msgstore_router.control",
		place_in("$scratch/installed", 'pkglibdir') . '/msgstore.so',
		"$scratch/msgstore--$next.sql", "$scratch/msgstore--$next.forgot.sql",
		"$clone/router/msgstore_router--$next.sql",
		@scripts ]);
my $node = new_server('released', 'msgstore.workers = 0', install_path => $install);
$node->start;

# All that an extension has, as lines: what check() compares, and what it does not.
sub catalogs_of
{
	my ($database) = @_;
	return split /\n/, $node->safe_psql($database, <<'SQL');
SELECT replace(line, E'\n', ' ') FROM (
    SELECT format('%s %s: %s', type, identity, statements) FROM msgstore._present_objects()
    UNION ALL
    SELECT 'member ' || pg_describe_object(classid, objid, 0)
    FROM pg_depend
    WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e'
        AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'msgstore')
    UNION ALL
    SELECT format('comment on %s: %s', pg_describe_object(classoid, objoid, objsubid), description)
    FROM pg_description
    WHERE (pg_identify_object(classoid, objoid, objsubid)).identity ~ '\mmsgstore\M'
    UNION ALL
    SELECT format('function %s: %s', oid::regprocedure, proacl)
    FROM pg_proc WHERE pronamespace = 'msgstore'::regnamespace
    UNION ALL
    SELECT format('relation %s: %s %s %s', oid::regclass, relkind, relacl, reloptions)
    FROM pg_class WHERE relnamespace = 'msgstore'::regnamespace AND relkind NOT IN ('i', 't')
    UNION ALL
    SELECT format('column %s.%s: %s %s', attrelid::regclass, attname, attstorage, attcompression)
    FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
    WHERE relnamespace = 'msgstore'::regnamespace AND relkind = 'r' AND attnum > 0 AND NOT attisdropped
    UNION ALL
    SELECT format('type %s: %s', oid::regtype, enum_range)
    FROM pg_type t, LATERAL (
        SELECT array_agg(enumlabel ORDER BY enumsortorder) AS enum_range
        FROM pg_enum WHERE enumtypid = t.oid) e
    WHERE typnamespace = 'msgstore'::regnamespace AND typtype <> 'b'
    UNION ALL
    SELECT 'channel ' || to_jsonb(c)::text FROM msgstore.channels c
    UNION ALL
    SELECT 'status word ' || to_jsonb(w)::text FROM msgstore.status_words w) AS l (line)
ORDER BY line COLLATE "C"
SQL
}

# Lines that only one of two databases has.
sub differences
{
	my ($one, $other) = @_;
	my %in_one = map { $_ => 1 } catalogs_of($one);
	my %in_other = map { $_ => 1 } catalogs_of($other);
	return (
		(map { "- $_" } grep { !$in_other{$_} } sort keys %in_one),
		(map { "+ $_" } grep { !$in_one{$_} } sort keys %in_other));
}

# The same of the router, whose functions call those of another database.
sub objects_of_router
{
	my ($database) = @_;
	return $node->safe_psql($database, <<'SQL');
SELECT format('%s: %s %s %s', oid::regprocedure, proacl, md5(pg_get_functiondef(oid)), obj_description(oid, 'pg_proc'))
FROM pg_proc WHERE pronamespace = 'msgstore'::regnamespace AND prokind <> 'a'
UNION ALL
SELECT format('%s.%s: %s %s %s', attrelid::regclass, attname, atttypid::regtype, relacl, col_description(attrelid, attnum))
FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
WHERE relnamespace = 'msgstore'::regnamespace AND relkind IN ('r', 'v', 'c') AND attnum > 0 AND NOT attisdropped
ORDER BY 1
SQL
}

# Numbers of versions, not text.
my ($oldest) = sort {
	my ($x, $y) = map { [ split /\./ ] } $a, $b;
	$x->[0] <=> $y->[0] || $x->[1] <=> $y->[1]
} map { /msgstore--([\d.]+)\.sql$/ && basename($_) !~ /--.*--/ ? $1 : () } @scripts;
$node->safe_psql('postgres', "CREATE DATABASE $_") for qw(fresh upgraded forgot);
$node->safe_psql('fresh', 'CREATE EXTENSION msgstore');
$node->safe_psql('forgot', "CREATE EXTENSION msgstore VERSION '$next.forgot'");
$node->safe_psql('upgraded', "CREATE EXTENSION msgstore VERSION '$oldest'");
my $event = '{"messaging_provider_id": "1", "from": "+18045551234", "to": "+12016661234",
	"body": "hello", "timestamp": "2024-11-01T14:00:00Z"}';
$node->safe_psql('upgraded', "SELECT msgstore.ingest('sms', '$event')");
cmp_ok(scalar(() = differences('upgraded', 'fresh')), '>=', 6, "$oldest is not $next");
$node->safe_psql('upgraded', 'ALTER EXTENSION msgstore UPDATE');
is(join("\n", differences('upgraded', 'fresh')), '', "$oldest, upgraded, has the objects of $next");
is($node->safe_psql('upgraded', 'SELECT msgstore.process()'), '1', 'and processes what it had');
is($node->safe_psql('upgraded', 'SELECT msgstore.version()'), $meta->{version}, 'version() is that of the library');
is($node->safe_psql('upgraded', 'SELECT count(*) FROM msgstore.check()'), '0', 'check() finds nothing');
is(scalar(() = differences('upgraded', 'forgot')), 5,
	'a comment, a privilege or a row that an upgrade forgot is found');

SKIP:
{
	skip 'PL/Proxy is not installed', 2 unless has_plproxy();
	$node->safe_psql('postgres', "CREATE DATABASE $_") for qw(fresh_router upgraded_router);
	$node->safe_psql('fresh_router', 'CREATE EXTENSION msgstore_router CASCADE');
	$node->safe_psql('upgraded_router', "CREATE EXTENSION msgstore_router VERSION '$oldest' CASCADE");
	isnt(objects_of_router('upgraded_router'), objects_of_router('fresh_router'), "the router of $oldest is not that of $next");
	$node->safe_psql('upgraded_router', 'ALTER EXTENSION msgstore_router UPDATE');
	is(objects_of_router('upgraded_router'), objects_of_router('fresh_router'), 'upgraded, it has the same objects');
}

$node->stop;
done_testing();
