# Each fuzz target runs all inputs of test/fuzz/corpus, and for two seconds those
# that libFuzzer derives from them.
#
# The seed is fixed, so that a failure of "make test" is reproducible. "make fuzz"
# runs longer.
use strict;
use warnings FATAL => 'all';

use FindBin;
use Test::More;

use constant SECONDS => 2;

chdir "$FindBin::Bin/../.." or die "could not change directory: $!";
plan skip_all => 'the fuzz targets are not built'
  if !-e 'test/fuzz/build/msgstore_fuzz.so';

my $output = `FUZZ_FLAGS=-seed=1 test/fuzz/run @{[SECONDS]} 2>&1`;
my $status = $?;
my %result = map { /^((?:not )?ok) (\w+)/ ? ($2 => $1) : () } split /\n/,
  $output;

is($result{$_}, 'ok', "target \"$_\" finds nothing")
  for
  qw(address snippet form json payload redaction timestamp request stream url mail);
is($status, 0, 'the run succeeds') or diag $output;

done_testing();
