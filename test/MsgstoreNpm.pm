# MsgstoreNpm.pm: packages from npm, for test/t.
package MsgstoreNpm;

use strict;
use warnings FATAL => 'all';

use Exporter 'import';
use PostgreSQL::Test::Utils;

our @EXPORT = qw(install_from_npm);

# What a newer node.js warns of, such as that a package calls a deprecated function,
# is not of interest here.
$ENV{NODE_NO_WARNINGS} = 1;

# Installs the packages in a directory of their own, and returns it and, if that
# failed, why: there may be no npm and no registry.
sub install_from_npm
{
	my @packages = @_;
	my $directory = PostgreSQL::Test::Utils::tempdir();
	return ($directory, 'npm is not installed') if system('command -v npm node >/dev/null 2>&1') != 0;
	append_to_file("$directory/package.json", '{"private": true, "type": "module"}');
	local $ENV{HOME} = $directory;
	# Without a network, npm would try again for minutes.
	my $said = `cd '$directory' && npm install --no-audit --no-fund --loglevel error --fetch-retries 1 @packages 2>&1`;
	my $failed = $? != 0;
	$said =~ s/\s+/ /g;
	return ($directory, $failed ? "npm could not install @packages: $said" : undef);
}

1;
