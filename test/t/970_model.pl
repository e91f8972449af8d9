# spin checks the model of the workers, test/model/lanes.pml, in each of its
# scenarios, and finds an error in each of its broken variants.
#
# Needs no server. docs/model.md says what the model shows.
use strict;
use warnings FATAL => 'all';

use File::Temp qw(tempdir);
use FindBin;
use Test::More;

my $model = "$FindBin::Bin/../model/lanes.pml";
my @scenarios = qw(DEFAULTS RETRIES DEATH CHANGE LINE MIXED);

# What is broken, and the scenario that finds it.
my %broken = (
	BROKEN_SEARCH => 'DEFAULTS',
	BROKEN_RESUME => 'RETRIES',
	BROKEN_ARRIVAL => 'DEFAULTS',
	BROKEN_NEWS => 'DEFAULTS',
	BROKEN_WAKE => 'DEFAULTS',
	BROKEN_SLEEP => 'DEFAULTS',
	BROKEN_LOCK => 'DEFAULTS',
	BROKEN_RELEASE => 'DEFAULTS',
	BROKEN_SHARE => 'DEATH',
	BROKEN_DETACH => 'CHANGE',
	BROKEN_LINE => 'LINE',
	BROKEN_DEAD_LINE => 'LINE',
	BROKEN_HOLDER => 'LINE',
	BROKEN_REAP => 'MIXED');

if (system('command -v spin >/dev/null') != 0)
{
	# "make test" installs it before.
	die "spin is not installed\n" if $ENV{MSGSTORE_REQUIRE_SPIN};
	plan skip_all => 'spin is not installed';
}
chdir tempdir(CLEANUP => 1) or die "could not change directory: $!";

# Each variant of the model is a C program that visits all of its states. It
# stores them whole: hashes would save memory and miss some.
sub check
{
	my ($defines, $compile, $run) = @_;

	my $output = `spin -a @{[map { "-D$_" } @$defines]} $model 2>&1`;
	$output .= `gcc -w -DMEMLIM=1000 $compile -o pan pan.c 2>&1`
	  if $? == 0;
	$output .= `./pan -m10000 $run 2>&1` if $? == 0;
	my ($errors) = $output =~ /errors: (\d+)$/m;
	my ($states) = $output =~ /^\s*(\S+) states, stored/m;
	return ($errors, $states, $output);
}

for my $scenario (@scenarios)
{
	my ($errors, $states, $output) = check([$scenario], '-O1 -DSAFETY', '');
	ok( defined $errors
		  && $errors == 0
		  && $output !~ /not completed|too small|out of memory/,
		sprintf '%s: no error in %s states', $scenario, $states // 'no')
	  or diag $output;
}

# The states have no circle: every run ends, whatever the order of the steps.
{
	my ($errors, $states, $output) = check(['DEFAULTS'], '-O1 -DNP', '-l');
	ok( defined $errors && $errors == 0 && $output !~ /not completed|too small/,
		'DEFAULTS: every run ends')
	  or diag $output;
}

for my $variant (sort keys %broken)
{
	my ($errors, $states, $output) =
	  check([ $broken{$variant}, $variant ], '-O0 -DSAFETY', '-w20');
	ok( $errors && $output =~ /^pan:1: assertion violated/m,
		sprintf '%s %s: found in %s states',
		$broken{$variant}, $variant, $states // 'no')
	  or diag $output;
}

done_testing();
