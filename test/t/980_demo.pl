# "make demo" runs to its end: it checks its own results.
use strict;
use warnings FATAL => 'all';

use FindBin;
use Test::More;

chdir "$FindBin::Bin/../.." or die "could not enter the tree: $!";
my $output = `test/demo 2>&1 </dev/null`;
is($?, 0, 'the demo succeeds');
like($output, qr/^acknowledged \d\d+, refused \d+, lost 0, doubled 0$/m, 'a crash loses and doubles nothing');
like($output, qr/^  make run  .*\n.*README\.md.*\n.*docs\/inbox\.md.*\n\z/m, 'it ends with what to type next');
diag($output) if !Test::More->builder->is_passing;

done_testing();
