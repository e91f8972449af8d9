# Properties of normalization, on 100,000 generated addresses.
#
# The generator makes an identity first, and then writes it in one of the ways
# that docs/address.md says are the same address. So the right result is known
# without the code under test: two addresses may share an identity only if they
# were made from the same one. The seed is fixed.
use strict;
use warnings;
use utf8;
use open qw(:std :encoding(UTF-8));

use FindBin;
use lib "$FindBin::RealBin/..";
use MsgstoreServer;
use Test::More;

my $addresses = 100_000;

srand(20241101);

sub one_of { return $_[ int rand @_ ] }
sub maybe { return rand() < $_[0] }

sub some
{
	my ($min, $max, @from) = @_;
	return join '', map { one_of(@from) } 1 .. $min + int rand($max - $min + 1);
}

# Invisible format characters (category Cf), put anywhere.
sub with_invisible
{
	my ($text) = @_;
	for (1 .. int rand 3)
	{
		substr($text, int rand(length($text) + 1), 0) =
		  one_of("\x{200f}", "\x{feff}", "\x{ad}", "\x{200b}", "\x{2060}",
			"\x{202a}");
	}
	return $text;
}

sub with_space
{
	my ($text) = @_;
	my @space = ('', '', ' ', "\t", "\x{a0}", "\x{3000}", "\r\n ");
	return one_of(@space) . $text . one_of(@space);
}

sub percent_encode
{
	my ($text, $keep) = @_;
	utf8::encode($text);
	$text =~ s/([^A-Za-z0-9.\-_$keep])/sprintf one_of('%%%02X', '%%%02x'), ord $1/ge;
	return $text;
}

my @zeros = (0x30, 0x660, 0x6f0, 0x966, 0xe50, 0xff10, 0x1d7ce, 0x1e950);

sub phone_number
{
	my $digits = some(3, 15, 0 .. 9);
	my $plus = maybe(0.5) ? '+' : '';
	my $zero = maybe(0.7) ? 0x30 : one_of(@zeros);
	my @fill = (' ', '-', '.', '(', ')', ' (', ') ', "\x{2011}", "\x{a0}", '/');
	my $given =
	  $plus && maybe(0.1) ? one_of("\x{ff0b}", '(+)', "\x{fe62}") : $plus;

	for my $digit (split //, $digits)
	{
		$given .= one_of(@fill) if maybe(0.15);
		$given .= chr($zero + $digit);
	}
	my $identity = "$plus$digits";
	my $form = int rand 10;
	if ($form == 0 && !$plus)
	{
		$given = "$digits" . one_of('', ':3', '_1', '_1:22', '.0:1') .
		  one_of('@s.whatsapp.net', '@c.us', '@S.WhatsApp.Net');
	}
	elsif ($form == 1)
	{
		$given .= '/TYPE=PLMN';
	}
	elsif ($form <= 3)
	{
		my $extension = some(1, 5, 0 .. 9);
		$given .= one_of(" ext. $extension", ";ext=$extension",
			", extension $extension", " \x{434}\x{43e}\x{431}. $extension",
			' Ext:' . chr($zero + 4));
	}
	elsif ($form == 4 && length($digits) >= 7)
	{
		$given .= one_of(' x', ' #', 'X', '#') . some(1, 5, 0 .. 9);
	}
	$given = with_invisible($given) if maybe(0.2) && $given !~ /[a-z]/i;
	if ($form == 5)
	{
		$given = one_of('sip:', 'SIPS:') . $given .
		  one_of('@gw.example;user=phone', ' @192.0.2.1;a=b;User=Phone');
	}
	elsif (maybe(0.3))
	{
		$given = percent_encode($given, ' ()/,:;=#@') if maybe(0.3);
		$given = one_of('tel:', 'sms:', 'SMSTO:', 'whatsapp:', 'rcs:', 'mms: ',
			'sms://', 'tel:whatsapp:', 'callto:') . $given;
		$given .= ';isub=1;foo' if maybe(0.2) && $form > 3;
		$given .= '?body=1%2B2,3' if maybe(0.2);
	}
	$given = one_of('Ann <', '"Doe, Ann" <', '<', '+1 555 <') . "$given>"
	  if maybe(0.1) && $form != 0;
	return ('phone', with_space($given), $identity);
}

# A number that is local to a domain or a global prefix.
sub local_number
{
	my $digits = some(2, 8, 0 .. 9);
	my ($given_context, $context) = @{
		one_of(['example.com', 'example.com'],
			['PBX.Example.org', 'pbx.example.org'],
			['+1-914', '+1914'], ['+44', '+44']) };
	my $before = maybe(0.3) ? ';isub=5' : '';
	my $after = maybe(0.3) ? ';ext=5' : '';

	return (
		'phone',
		one_of('tel:', 'sms:', '') .
		  "$digits$before;phone-context=$given_context$after",
		"$digits;phone-context=$context");
}

my @letters = ('a' .. 'z', 'A' .. 'Z', qw(ä é ß Щ я Ω 山 田 ไ अ), "\x{1f6d2}");

sub sender_name
{
	my $name =
	  one_of(@letters) .
	  some(0, 8, @letters, 0 .. 9, 0 .. 9, ' ', '-', '_', '.', '&', '!', "'") .
	  some(1, 3, @letters, 0 .. 9);
	my $given = maybe(0.3) ? with_invisible($name) : $name;

	$given = one_of('rcs:', 'tel:', 'sms:') .
	  (maybe(0.5) ? percent_encode($name, '') : $name)
	  if maybe(0.2);
	return ('phone', with_space($given), $name);
}

my @hosts = (
	[ 'bücher.example', 'xn--bcher-kva.example' ],
	[ 'BÜCHER.example', 'xn--bcher-kva.example' ],
	[ "bu\x{308}cher.example", 'xn--bcher-kva.example' ],
	[ '例え。テスト', 'xn--r8jz45g.xn--zckzah' ],
	[ 'faß.example', 'xn--fa-hia.example' ],
	[ 'пример.example', 'xn--e1afmkfd.example' ]);

sub mail_address
{
	my ($kind) = @_;
	my @atoms = ('a' .. 'z', 0 .. 9, '_', '-', '.', '!', '#', '=');
	my $local = one_of('a' .. 'z', 0 .. 9) . some(0, 8, @atoms, qw(ä я 田));
	my $quoted = maybe(0.15);
	my ($given_host, $host);

	if ($quoted)
	{
		$local .= one_of(' ', '@', '+', '(', ',') . some(0, 3, 'a' .. 'z');
	}
	if (maybe(0.2))
	{
		($given_host, $host) = @{ one_of(@hosts) };
	}
	else
	{
		$host = some(1, 1, 'a' .. 'z') . some(0, 6, 'a' .. 'z', 0 .. 9) .
		  one_of('.example', '.example.com', '-1.example', '');
		$host = '[192.0.2.' . int(rand 256) . ']' if maybe(0.05);
		$given_host = $host;
	}
	my $identity = ($quoted ? qq("$local") : $local) . "\@$host";

	my $given_local = $quoted ? qq("$local") : $local;
	my $simple = !$quoted;
	if (!$quoted && maybe(0.2))
	{
		$given_local .= '+' . some(0, 4, 'a' .. 'z', 0 .. 9, '+');
	}
	elsif (!$quoted && maybe(0.1))
	{
		$given_local = qq("$local");
		$given_local =~ s/([a-z])/\\$1/ if maybe(0.3);
		$simple = 0;
	}
	$given_local =~ s/([a-z])/maybe(0.3) ? uc $1 : $1/ge;
	$given_host =~ s/([a-z])/maybe(0.3) ? uc $1 : $1/ge
	  if $given_host =~ /^[\x00-\x7f]*$/;
	$given_host .= '.' if maybe(0.1) && $host !~ /\]/;
	my $at = maybe(0.1) ? one_of(' @', '@ ', '(at)@', " \r\n @") : '@';
	$simple = 0 if $at ne '@';
	my $given = "$given_local$at$given_host";
	$given = with_invisible($given) if $simple && maybe(0.2);

	my $form = int rand 16;
	my $name = one_of('Ann', '"Doe, Ann"', 'Doe, Ann', '"a@b.example"', "O'Neil",
		'Ann (x <y>)', '=?utf-8?q?J=C3=B6rg?=', 'Re: Ann', '山田');
	if    ($form <= 2) { $given = "$name <$given>"; }
	elsif ($form == 3) { $given = "<$given>"; }
	elsif ($form == 4) { $given = "$given (Ann <b\@c.example>)"; }
	elsif ($form == 5) { $given = "(a (b\\) c)) $given"; }
	elsif ($form == 6 && $simple) { $given = "'$given'"; }
	elsif ($form == 7 && $simple) { $given = "\x{201c}$given\x{201d}"; }
	elsif ($form == 8 && $simple) { $given = qq("$given"); }
	elsif ($form == 9) { $given = "Team: $given;"; }
	elsif ($form == 10) { $given = "Team: $name <$given>;"; }
	elsif ($form == 11) { $given = "<\@x.example,\@y.example:$given>"; }
	elsif ($form == 12) { $given = one_of("$given,", "$given;", ", $given"); }
	elsif ($form == 13 && $simple)
	{
		$given = one_of('mailto:', 'MAILTO:') .
		  percent_encode($given, maybe(0.5) ? '@' : '') .
		  one_of('', '?subject=Hi,%20a@b');
	}
	return ($kind, with_space($given), $identity);
}

# What is not one address comes back trimmed.
sub no_address
{
	my ($kind, $text, $fault);
	my $form = int rand 8;

	if ($form <= 1)
	{
		($kind, $fault) = ('phone', 'holds more than one address');
		$text = join one_of(', ', ';', ' ; ', "\x{3001}"),
		  map { '+' . some(8, 14, 0 .. 9) } 1 .. 2 + int rand 3;
	}
	elsif ($form <= 3)
	{
		($kind, $fault) =
		  (one_of('phone', 'email'), 'holds more than one address');
		$text = join one_of(', ', ';', ' ,'),
		  map {
			(maybe(0.5) ? 'Ann <a' : '<b') . int(rand 100) . '@x.example>'
		  } 1 .. 2 + int rand 3;
	}
	elsif ($form == 4)
	{
		($kind, $fault) =
		  ('phone', 'holds a phone number of more than 15 digits');
		$text = one_of('', '+') . some(16, 60, 0 .. 9);
	}
	elsif ($form == 5)
	{
		($kind, $fault) = ('phone', 'holds no address');
		$text = some(1, 6, '+', '-', '(', ')', '*', '#', '.', '/', "\x{200f}");
	}
	else
	{
		($kind, $fault) = ('email', 'holds no address');
		my $word = some(1, 6, 'a' .. 'z', 'A' .. 'Z', 0 .. 9);
		$text = one_of("\@$word", "$word\@", "$word\@a..b", "$word\@a\@b",
			"$word\@.a", "<$word\@a", "\"$word\@a", "$word\@a (b",
			"$word\@a\\b", "$word\@[1.2", "Team: $word\@a", "a b\@$word");
	}
	return ($kind, with_space($text), $text, $fault);
}

sub quoted_for_copy
{
	my ($text) = @_;
	return '\N' if !defined $text;
	$text =~ s/([\\\t\r\n])/{ "\\" => '\\\\', "\t" => '\t', "\r" => '\r', "\n" => '\n' }->{$1}/ge;
	return $text;
}

my @makers = (
	(\&phone_number) x 7, (\&sender_name) x 3, \&local_number,
	(sub { mail_address('email') }) x 7, sub { mail_address('phone') },
	(\&no_address) x 2);
my $copy = "COPY given (kind, address, identity, fault) FROM stdin;\n";
for my $n (1 .. $addresses)
{
	my @row = one_of(@makers)->();
	$row[3] //= undef;
	# One in five has a character changed: what it is then is not known.
	if ($n % 5 == 0)
	{
		my $length = maybe(0.5) ? 1 : 0;
		substr($row[1], int rand length $row[1], $length) =
		  maybe(0.3)
		  ? ''
		  : one_of(split(//, q{+@<>()",;:.'\[]%#/x1 =?&}), "\x{200d}",
			"\x{661}", 'ü', "\x{ff1b}", 'tel:', 'mailto:', '%40');
		$row[2] = $row[3] = undef;
	}
	$copy .= join("\t", map { quoted_for_copy($_) } @row) . "\n";
}
$copy .= "\\.\n";
utf8::encode($copy);

$ENV{PGCLIENTENCODING} = 'UTF8';
my $node = new_server('address_properties');
$node->start;
add_database($node, 'properties');
$node->safe_psql('properties', q{
	CREATE TABLE given (
		kind text, address text, identity text, fault text,
		n int GENERATED ALWAYS AS IDENTITY);});
$node->safe_psql('properties', $copy);
$node->safe_psql('properties', q{
	INSERT INTO msgstore.channels (name, address_kind) VALUES ('opaque', 'opaque');});
$node->safe_psql('properties', q{
	CREATE TABLE result AS
	SELECT g.*, r.channel, r.once,
		msgstore.normalize_address(r.channel, r.once) AS twice,
		msgstore.normalize_address('opaque', g.address) AS trimmed,
		msgstore._address_fault(r.channel, g.address) AS said,
		msgstore._address_fault(r.channel, r.once) AS said_of_once
	FROM (SELECT g.*, CASE g.kind WHEN 'phone' THEN 'sms' ELSE 'email' END AS channel
		  FROM given g) AS g (kind, address, identity, fault, n, of_channel),
		LATERAL (SELECT of_channel,
			msgstore.normalize_address(of_channel, g.address)) AS r (channel, once);});

# The number of rows that the condition holds for, and the first of them.
sub none_of
{
	my ($condition, $name) = @_;
	my $rows = $node->safe_psql('properties', qq{
		SELECT format('%s: %s -> %s (%s), expected %s (%s), twice %s', kind,
			to_json(address), once, said, identity, fault, twice)
		FROM result WHERE $condition ORDER BY n LIMIT 5});
	utf8::decode($rows);
	is($rows, '', $name);
	return;
}

is($node->safe_psql('properties', 'SELECT count(*) FROM result'),
	$addresses, 'all addresses were normalized');
none_of('identity IS NOT NULL AND once <> identity',
	'each spelling has the identity that it was made from');
none_of('identity IS NOT NULL AND said IS DISTINCT FROM fault',
	'a single address has no fault, and anything else the right one');
none_of('twice <> once OR said_of_once IS DISTINCT FROM said',
	'normalizing twice is normalizing once, also for changed spellings');
none_of(q{said IS NOT NULL AND once NOT IN (trimmed, lower(trimmed COLLATE "C"))},
	'what is not a single address is only trimmed');
is( $node->safe_psql('properties', q{
		SELECT count(*) FROM (
			SELECT FROM result WHERE identity IS NOT NULL
			GROUP BY channel, once HAVING count(DISTINCT identity) > 1) shared}),
	0,
	'no two identities became one');
cmp_ok(
	$node->safe_psql('properties', q{
		SELECT count(*) FROM (
			SELECT FROM result WHERE identity IS NOT NULL AND said IS NULL
			GROUP BY channel, once HAVING count(DISTINCT address) > 1) shared}),
	'>', 100,
	'many identities were spelled in several ways');

# Time is linear: a megabyte of generated addresses takes milliseconds, and
# its square would be many minutes.
is( $node->safe_psql('properties', q{
		SET statement_timeout = '60s';
		SELECT count(msgstore.normalize_phone(long)) + count(msgstore.normalize_email(long))
		FROM (SELECT repeat(address, 1000000 / octet_length(address)) AS long
			FROM given WHERE n <= 200 AND address <> '') longer
		UNION ALL
		SELECT count(msgstore.normalize_phone(long)) + count(msgstore.normalize_email(long))
		FROM (SELECT string_agg(address, '' ORDER BY n) AS long
			FROM given GROUP BY n % 4) mixed
		ORDER BY 1 DESC}),
	"400\n8",
	'normalizing a megabyte takes linear time');

$node->stop;
done_testing();
