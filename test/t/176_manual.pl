# The man pages are valid, and have what the program and the documentation say.
use strict;
use warnings FATAL => 'all';

use FindBin;
use PostgreSQL::Test::Utils;
use Test::More;

my $root = "$FindBin::Bin/../..";
my $directory = PostgreSQL::Test::Utils::tempdir();

plan skip_all => 'lowdown is not installed' if system('command -v lowdown >/dev/null') != 0;
is(system("$root/docs/manual", "$root/gateway", $directory), 0, 'the pages are made');

# As plain text; fails if there is a warning.
sub formatted
{
	my ($page, @command) = @_;
	my $text = `LC_ALL=C.UTF-8 MANWIDTH=200 @command $directory/$page 2>$directory/warnings`;
	is(slurp_file("$directory/warnings"), '', "$page: no warnings of $command[0]");
	$text =~ s/.\x08//g;
	$text =~ s/\e\[[\d;]*m//g;
	return $text;
}

my %commands = (man => 'man --warnings --encoding=UTF-8 --local-file', mandoc => 'mandoc -Tutf8 -W error,stop -O width=200');
my $tried = 0;
for my $command (grep { system("command -v $_ >/dev/null") == 0 } sort keys %commands)
{
	my $gateway = formatted('msgstore-gateway.1', $commands{$command});
	my $extension = formatted('msgstore.7', $commands{$command});
	my $sender = formatted('msgstore-sender.1', $commands{$command});
	my $cluster = formatted('msgstore-cluster.1', $commands{$command});
	my @options = join("", `$root/gateway/msgstore-gateway --help`) =~ /^  (--\S+)/mg;
	my @of_sender = join("", `$root/gateway/msgstore-sender --help`) =~ /^  (--\S+)/mg;
	my @of_cluster = join("", `$root/router/msgstore-cluster --help`) =~ /^  (--\S+)/mg;
	my @names = slurp_file("$root/README.md") =~ /^\| `(msgstore\.\w+)`/mg;

	cmp_ok(scalar @options, '>', 30, 'options are found');
	is_deeply([ grep { $gateway !~ /^ +\Q$_\E( |$)/m } @options ], [], "$command: all options");
	cmp_ok(scalar @of_sender, '>', 8, 'options of the sender are found');
	is_deeply([ grep { $sender !~ /^ +\Q$_\E( |$)/m } @of_sender ], [], "$command: all options of the sender");
	cmp_ok(scalar @of_cluster, '>', 5, 'options of msgstore-cluster are found');
	is_deeply([ grep { $cluster !~ /^ +\Q$_\E( |$)/m } @of_cluster ], [], "$command: all options of msgstore-cluster");
	cmp_ok(scalar @names, '>', 20, 'settings are found');
	is_deeply([ grep { $extension !~ /^ +\Q$_\E/m } @names ], [], "$command: all settings of the server");
	like($gateway, qr/^ +curl -s -H 'Accept: application\/json'/m, "$command: examples keep their lines");
	unlike("$gateway$sender$cluster$extension", qr/^ *\||```|\]\(/m, "$command: no Markdown is left");
	$tried++;
}
cmp_ok($tried, '>', 0, 'man or mandoc is installed');

done_testing();
