# The gateway passes its tests when built with AddressSanitizer and
# UndefinedBehaviorSanitizer, and neither reports anything.
#
# "make test" runs the two files with the most requests. "make fuzz" runs all files
# that start a gateway, which SANITIZED_TESTS lists.
use strict;
use warnings FATAL => 'all';

use Cwd qw(abs_path);
use File::Basename qw(basename);
use File::Path qw(make_path rmtree);
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
	my $status = run_file($file, $directory);
	my @reports = glob "$work/report*";

	# Sanitizers are slow, and some tests have time limits. A failure without a
	# report is therefore retried once.
	if ($status != 0 && !@reports)
	{
		note "retrying $file: ", failures($directory);
		$status = run_file($file, $directory);
		@reports = glob "$work/report*";
	}
	is($status, 0, "$file passes with the sanitizers")
	  or diag failures($directory);
	is(scalar @reports, 0, 'without a report')
	  or diag map { slurp_file($_) } @reports;
	unlink @reports;
}

# Uses a directory of its own, so that the logs and data of the normal run stay.
sub run_file
{
	my ($file, $directory) = @_;
	rmtree($directory);
	make_path("$directory/tmp_check/log");
	local $ENV{TESTDIR} = $directory;
	local $ENV{TESTDATADIR} = "$directory/tmp_check";
	local $ENV{TESTLOGDIR} = "$directory/tmp_check/log";
	return system 'sh', '-c', 'exec "$@" >"$0" 2>&1',
	  "$directory/output", $^X, (map { "-I$_" } @INC),
	  "$FindBin::Bin/$file";
}

sub failures
{
	my ($directory) = @_;
	return grep { /^(#|not ok)/ } split /^/, slurp_file("$directory/output");
}

done_testing();
