# spin checks the models of the workers and of the positions of events,
# test/model/lanes.pml and positions.pml, in each of their scenarios, and finds an
# error in each of their broken variants.
#
# Needs no server. docs/model.md says what the models show.
use strict;
use warnings FATAL => 'all';

use File::Temp qw(tempdir);
use FindBin;
use Test::More;

my $models = "$FindBin::Bin/../model";
my %scenarios = (
	lanes => [qw(DEFAULTS RETRIES DEATH CHANGE LINE MIXED)],
	positions => [qw(DEFAULTS SHARED)]);

# What is broken, and the scenario that finds it.
my %broken = (
	lanes => {
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
		BROKEN_REAP => 'MIXED' },
	positions => {
		BROKEN_PUBLISH => 'DEFAULTS',
		BROKEN_SCOPE => 'DEFAULTS',
		BROKEN_SECOND => 'DEFAULTS',
		BROKEN_WITHDRAW => 'DEFAULTS',
		BROKEN_SAVEPOINT => 'DEFAULTS',
		BROKEN_RELEASE => 'DEFAULTS',
		BROKEN_ROLLBACK => 'DEFAULTS',
		BROKEN_LAST => 'DEFAULTS',
		BROKEN_SNAPSHOT => 'DEFAULTS',
		BROKEN_SHARED => 'SHARED' });

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
	my ($model, $defines, $compile, $run) = @_;

	my $output = `spin -a @{[map { "-D$_" } @$defines]} $models/$model.pml 2>&1`;
	$output .= `gcc -w -DMEMLIM=1000 $compile -o pan pan.c 2>&1`
	  if $? == 0;
	$output .= `./pan -m10000 $run 2>&1` if $? == 0;
	my ($errors) = $output =~ /errors: (\d+)$/m;
	my ($states) = $output =~ /^\s*(\S+) states, stored/m;
	return ($errors, $states, $output);
}

for my $model (sort keys %scenarios)
{
	for my $scenario (@{ $scenarios{$model} })
	{
		my ($errors, $states, $output) =
		  check($model, [$scenario], '-O2 -DSAFETY', '');
		ok( defined $errors
			  && $errors == 0
			  && $output !~ /not completed|too small|out of memory/,
			sprintf '%s %s: no error in %s states', $model, $scenario,
			$states // 'no')
		  or diag $output;
	}
}

# The states have no circle: every run ends, whatever the order of the steps.
{
	my ($errors, $states, $output) =
	  check('lanes', ['DEFAULTS'], '-O1 -DNP', '-l');
	ok( defined $errors && $errors == 0 && $output !~ /not completed|too small/,
		'lanes DEFAULTS: every run ends')
	  or diag $output;
}

for my $model (sort keys %broken)
{
	for my $variant (sort keys %{ $broken{$model} })
	{
		my $scenario = $broken{$model}{$variant};
		my ($errors, $states, $output) =
		  check($model, [ $scenario, $variant ], '-O0 -DSAFETY', '-w20');
		ok( $errors && $output =~ /^pan:1: assertion violated/m,
			sprintf '%s %s %s: found in %s states',
			$model, $scenario, $variant, $states // 'no')
		  or diag $output;
	}
}

done_testing();
