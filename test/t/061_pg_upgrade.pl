# pg_upgrade moves a database with rows of every kind to another server, by copies
# and by links: all of it is there, and work goes on. By default both servers are
# of this version; OLD_PG_CONFIG is the pg_config of another old one.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::Bin/..";
use MsgstoreContent;
use MsgstoreServer;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

sub bindir_of
{
	my ($config) = @_;
	my ($bindir) = run_command([ $config, '--bindir' ]);
	return $bindir;
}
my $new_bindir = bindir_of('pg_config');
my $old_bindir = bindir_of($ENV{OLD_PG_CONFIG} // 'pg_config');
(my $old_install = $old_bindir) =~ s{/bin/?$}{};

# Workers are on while pg_upgrade runs, and must not start: there is work for them.
my $settings = 'msgstore.max_retries = 1';
my $old = new_server('old', "$settings\nmsgstore.workers = 0",
	$old_bindir eq $new_bindir ? () : (install_path => $old_install));
$old->start;
add_database($old, 'store');
add_content($old, 'store');

# Roles and their privileges are not in the database, but go along. The handler of
# a role is called with its rights.
$old->safe_psql('store', <<'SQL');
CREATE ROLE agent LOGIN;
SELECT msgstore.grant_access('agent', 'operate');
CREATE SCHEMA agent AUTHORIZATION agent;
SET ROLE agent;
CREATE TABLE agent.seen (body text, role name);
CREATE FUNCTION agent.see(message msgstore.messages) RETURNS void LANGUAGE sql
    AS 'INSERT INTO agent.seen VALUES (message.body, current_user)';
SELECT msgstore.add_handler('pigeon', 'agent.see');
RESET ROLE;
-- What users add to the extension's tables is in no dump but in an upgrade.
CREATE INDEX messages_body ON msgstore.messages (md5(body));
CREATE TABLE inserted (body text);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
$$BEGIN INSERT INTO public.inserted VALUES (NEW.body); RETURN NEW; END$$;
CREATE TRIGGER note AFTER INSERT ON msgstore.messages
FOR EACH ROW WHEN (NEW.body LIKE 'coo%') EXECUTE FUNCTION note();
SQL
my $content = content_of($old, 'store');
my $lists = 'SELECT msgstore.list_conversations();
	SELECT msgstore.list_messages(id::text) FROM msgstore.conversations ORDER BY id;
	SELECT * FROM msgstore.read_stream(\'account-1\');
	SELECT channel, handler, registered_by FROM msgstore.handlers ORDER BY 1, 2';
my $answers = $old->safe_psql('store', $lists);
$old->stop;
$old->append_conf('postgresql.conf', 'msgstore.workers = 2');

# Newer servers have checksums unless told otherwise; both must agree.
my @checksums;
{
	my ($control) = run_command([ "$old_bindir/pg_controldata", $old->data_dir ]);
	my ($help) = run_command([ 'initdb', '--help' ]);
	push @checksums, '--no-data-checksums'
	  if $control =~ /checksum version:\s+0/ && $help =~ /--no-data-checksums/;
}

sub upgraded
{
	my ($name, @options) = @_;
	my $new = new_server($name, "$settings\nmsgstore.workers = 2",
		extra => [ '--encoding=UTF8', '--locale=C', @checksums ]);
	my $directory = PostgreSQL::Test::Utils::tempdir;

	# It writes to its working directory.
	command_ok(
		[
			'sh', '-c', 'cd "$0" && exec pg_upgrade "$@"', $directory,
			'-b', $old_bindir, '-B', $new_bindir,
			'-d', $old->data_dir, '-D', $new->data_dir,
			'-p', $old->port, '-P', $new->port, '-s', $new->host, '--no-sync', @options
		],
		"pg_upgrade to a server that is $name");
	return $new;
}

foreach my $way ([ copied => () ], [ linked => '--link' ])
{
	my ($name, @options) = @$way;
	my $new = upgraded($name, @options);

	$new->append_conf('postgresql.conf', 'msgstore.workers = 0');
	$new->start;
	is($new->safe_psql('store', $lists), $answers, "$name: the same answers");
	lives_on($new, 'store', $content, $name);
	is( $new->safe_psql('store', 'SELECT DISTINCT body, role FROM agent.seen'),
		'', "$name: no handler was called yet");
	$new->append_conf('postgresql.conf', 'msgstore.workers = 2');
	$new->reload;
	wait_for_workers($new, 'store', 2, "$name: workers start");
	$new->safe_psql('store', "SET ROLE agent;
		SELECT FROM msgstore.ingest('pigeon', event('after', 'loft 8', 'coo again'))");
	wait_for_processed($new, 'store', "$name: they process what is new");
	is( $new->safe_psql('store', 'SELECT body, role FROM agent.seen'),
		'coo again|agent', "$name: with the handler, by its role");
	is( $new->safe_psql('store', "SELECT body FROM inserted UNION ALL
			SELECT indexrelid::regclass::text FROM pg_index
			WHERE indrelid = 'msgstore.messages'::regclass AND indexrelid::regclass::text LIKE '%body'"),
		"coo again\nmsgstore.messages_body", "$name: triggers and indexes of users came along");
	is($new->safe_psql('store', 'SELECT * FROM msgstore.check()'), '', "$name: check() finds nothing");
	is(violations($new, 'store'), '', "$name: the invariants hold");
	$new->stop;
}

done_testing();
