# The gateway with AddressSanitizer and UndefinedBehaviorSanitizer passes the
# tests over HTTP, and neither has anything to report.
#
# "make test" runs the two files with most of the requests, "make fuzz" all that
# start a gateway (SANITIZED_TESTS names them).
use strict;
use warnings FATAL => 'all';

use Cwd qw(abs_path);
use File::Basename qw(basename);
use File::Path qw(make_path);
use FindBin;
use PostgreSQL::Test::Utils;
use Test::More;

my $program = abs_path("$FindBin::Bin/../fuzz/build/msgstore-gateway");
plan skip_all => 'the gateway with sanitizers is not built'
  if !$program || !-x $program;

my @files = split ' ',
  $ENV{SANITIZED_TESTS} // '100_gateway_contract.pl 110_gateway_refusals.pl';
my $work = PostgreSQL::Test::Utils::tempdir();

$ENV{MSGSTORE_GATEWAY} = $program;
$ENV{ASAN_OPTIONS} = "log_path=$work/report:detect_leaks=1";
$ENV{UBSAN_OPTIONS} = "log_path=$work/report:print_stacktrace=1";
for my $file (@files)
{
	my $directory = "$work/" . basename($file, '.pl');

	# Logs and data of the same test without sanitizers stay what they are.
	make_path("$directory/tmp_check/log");
	local $ENV{TESTDIR} = $directory;
	local $ENV{TESTDATADIR} = "$directory/tmp_check";
	local $ENV{TESTLOGDIR} = "$directory/tmp_check/log";
	my $status = system 'sh', '-c', 'exec "$@" >"$0" 2>&1',
	  "$directory/output", $^X, (map { "-I$_" } @INC),
	  "$FindBin::Bin/$file";
	is($status, 0, "$file passes with the sanitizers")
	  or diag grep { /^(#|not ok)/ } split /^/, slurp_file("$directory/output");
	my @reports = glob "$work/report*";
	is(scalar @reports, 0, 'which report nothing')
	  or diag map { slurp_file($_) } @reports;
	unlink @reports;
}

done_testing();
