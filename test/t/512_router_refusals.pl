# Each refusal of 110_gateway_refusals.pl is the same through a router.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::Bin/..";
use MsgstoreCluster;
use Test::More;

plan skip_all => 'PL/Proxy is not installed' unless has_plproxy();

our $through_router = 1;
my $tests = "$FindBin::Bin/110_gateway_refusals.pl";
defined do $tests or die $@ || "$tests: $!";
