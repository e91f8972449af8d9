# What reads bytes of strangers keeps its promises with the inputs that are kept
# in test/fuzz/corpus, and for two seconds with what libFuzzer makes of them.
#
# The order in which it does that is fixed: what "make test" finds is there to
# be found again. "make fuzz" goes further.
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

is($result{$_}, 'ok', "nothing is found in \"$_\"")
  for
  qw(address snippet json payload redaction timestamp request url);
is($status, 0, 'and the run ends well') or diag $output;

done_testing();
