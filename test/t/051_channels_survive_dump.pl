# A restored dump has the same channels, each once: those added, those changed, and
# those that CREATE EXTENSION creates.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('channels');
$node->init(extra => [ '--encoding=UTF8', '--locale=C' ]);
$node->start;

my $all_rows = 'SELECT * FROM msgstore.channels ORDER BY name';

sub create_database
{
	my ($name) = @_;
	$node->safe_psql('postgres',
		"CREATE DATABASE $name TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C'");
}

# Restores a dump of the database into a new one; returns its channels.
sub restored_channels
{
	my ($database, $copy, @options) = @_;
	my $file = "$PostgreSQL::Test::Utils::tmp_check/$copy.sql";
	create_database($copy);
	$node->command_ok(
		[
			'pg_dump', @options, '-f', $file, '-d',
			$node->connstr($database)
		],
		"dump $database");
	$node->command_ok(
		[
			'psql', '-X', '-v', 'ON_ERROR_STOP=1', '-f', $file, '-d',
			$node->connstr($copy)
		],
		"restore it as $copy");
	return $node->safe_psql($copy, $all_rows);
}

create_database('source');
$node->safe_psql('source', 'CREATE EXTENSION msgstore');
is( restored_channels('source', 'untouched'),
	$node->safe_psql('source', $all_rows),
	'unchanged channels are restored once');

$node->safe_psql(
	'source', q{
	UPDATE msgstore.channels SET thread = 'sms' WHERE name = 'mms';
	INSERT INTO msgstore.channels (name, address_kind, types)
	VALUES ('whatsapp', 'phone', '{whatsapp,sms}');
});
my $expected = $node->safe_psql('source', $all_rows);
is(restored_channels('source', 'copied'), $expected, 'restored with COPY');
is(restored_channels('source', 'inserted', '--column-inserts'),
	$expected, 'restored with INSERT');
is(restored_channels('copied', 'again'),
	$expected, 'a dump of the copy restores them again');
is( $node->safe_psql(
		'copied', q{SELECT msgstore.conversation_key('mms', '2', '1')}),
	'sms:1<->2',
	'the changed channel is in effect');

$node->stop;
done_testing();
