# Addresses, keys and snippets are the same in every locale and in every encoding
# that has their characters; SQL_ASCII is refused.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('encodings');

# The result of the query. Texts here are bytes of UTF-8: the log takes no wide
# characters.
sub ask
{
	my ($database, $query) = @_;
	return $node->safe_psql($database, $query);
}

# The output of that regression test in the database.
sub run_room
{
	my ($database, $room) = @_;
	my ($out, $err) = ('', '');
	IPC::Run::run(
		[
			'psql', '-X', '-a', '-q', '-d', $node->connstr($database),
			'-f', "test/sql/$room.sql"
		],
		'>' => \$out,
		'2>' => \$err);
	return $out;
}

$ENV{PGCLIENTENCODING} = 'UTF8';
$node->init(extra => [ '--encoding=UTF8', '--locale=C' ]);
$node->start;

my %databases = (
	plain => q{ENCODING 'UTF8' LOCALE 'C'},
	icu => q{ENCODING 'UTF8' LOCALE_PROVIDER icu ICU_LOCALE 'en' LOCALE 'C'},
	latin1 => q{ENCODING 'LATIN1' LOCALE 'C'},
	euc_jp => q{ENCODING 'EUC_JP' LOCALE 'C'},
	ascii => q{ENCODING 'SQL_ASCII' LOCALE 'C'});
$node->safe_psql('postgres',
	"CREATE DATABASE $_ TEMPLATE template0 $databases{$_}")
  for sort keys %databases;

# Keys are the same in every locale, although ICU sorts "_" before letters.
is(ask('icu', q{SELECT 'a_z' < 'aZ'}), 't', 'the ICU database sorts by ICU rules');
is(run_room('icu', 'address'),
	run_room('plain', 'address'),
	'the results are the same under ICU and C');
like(run_room('icu', 'address'), qr/^email:a_b\@x\.io<->aa\@x\.io$/m,
	'and the test was run');

$node->safe_psql($_, 'CREATE EXTENSION msgstore') for qw(plain latin1 euc_jp);

# Characters of both Latin 1 and UTF-8.
for my $call (
	q{normalize_phone('+1 (555)·000')},
	q{normalize_phone(chr(160) || 'Müller' || chr(160))},
	q{normalize_email('Büro <Kontakt+ä@BÜCHER.example>')},
	q{normalize_email('JÖRG@Example.COM')},
	q{conversation_key('email', 'ä@x', 'a@BÜCHER.example')},
	q{snippet(' Grüße' || chr(160) || chr(160) || 'aus Köln', 7)},
	q{snippet(chr(160))})
{
	is( ask('latin1', "SELECT '[' || msgstore.$call || ']'"),
		ask('plain', "SELECT '[' || msgstore.$call || ']'"),
		"LATIN1: $call");
}

# Characters of both EUC-JP and UTF-8.
for my $call (
	q{normalize_phone('＋８１　９０－１２３４－５６７８')},
	q{normalize_phone('　山田　')},
	q{normalize_email('本社 <HQ@例え。テスト>')},
	q{conversation_key('sms', '山田', '０９０')},
	q{snippet('　日本語　　文字列', 5)})
{
	is( ask('euc_jp', "SELECT '[' || msgstore.$call || ']'"),
		ask('plain', "SELECT '[' || msgstore.$call || ']'"),
		"EUC_JP: $call");
}
is( ask('euc_jp', q{SELECT msgstore.normalize_phone('＋８１　９０')}),
	'+8190', 'full-width digits are digits in EUC_JP');
is( ask('latin1', q{SELECT msgstore.normalize_email('a@BÜCHER.example')}),
	'a@xn--bcher-kva.example', 'an internationalized domain in LATIN1');

# SQL_ASCII is refused by CREATE EXTENSION ...
my ($rc, $out, $err) = $node->psql('ascii', '\set VERBOSITY verbose
CREATE EXTENSION msgstore');
like(
	$err,
	qr/MS400: cannot create msgstore in a database with encoding "SQL_ASCII"/,
	'SQL_ASCII is refused by CREATE EXTENSION');

# ... and by the C functions, for text beyond ASCII.
$node->safe_psql('ascii',
	q{CREATE FUNCTION phone(text) RETURNS text LANGUAGE c STRICT
		AS 'msgstore', 'msgstore_normalize_phone'});
is($node->safe_psql('ascii', q{SELECT phone('tel:+1 555')}),
	'+1555', 'ASCII is accepted in SQL_ASCII');
($rc, $out, $err) = $node->psql('ascii', '\set VERBOSITY verbose
SELECT phone(E\'\xc3\xbc\')');
like(
	$err,
	qr/MS400: text beyond ASCII has no meaning in encoding "SQL_ASCII"/,
	'other bytes are refused in SQL_ASCII');

# A long value in an error message is cut between characters.
for my $database ('plain', 'latin1', 'euc_jp')
{
	my $letter = $database eq 'latin1' ? 'é' : 'あ';
	my $query = "SELECT error_message FROM msgstore.ingest_batch(jsonb_build_array("
	  . "jsonb_build_object('channel', 'sms', 'payload', jsonb_build_object("
	  . "'type', repeat('$letter', 100)))))";
	like(ask($database, $query),
		qr/^channel "sms" has no type "($letter){21,64}\.\.\." \(field "type"\)$/,
		"a long value is cut in $database");
}

# Characters that no database can store are replaced by one that this one has.
for my $pair ([ plain => "\xef\xbf\xbd" ], [ latin1 => '?' ], [ euc_jp => '?' ])
{
	my ($database, $sign) = @$pair;

	is( ask($database, q{SET msgstore.replace_invalid_text = 'replace';
			SELECT msgstore.read_payload('{"a": "\u0000\ud83d"}') ->> 'a'}),
		$sign x 2,
		"invalid characters are replaced in $database");
}
# Characters that its encoding does not have are refused as a bad request.
for my $json ('"\u65e5"', '["\ud83d\ude00"]', '{"\u20ac": 1}')
{
	($rc, $out, $err) = $node->psql('latin1', "\\set VERBOSITY verbose
SELECT msgstore.read_payload('$json')");
	like($err, qr/MS400: /, "$json is refused in latin1");
}

$node->stop;
done_testing();
