# Each refusal of 110_gateway_refusals.pl is the same when the gateway calls the slots of
# a cluster directly.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::Bin/..";
use MsgstoreCluster;
use Test::More;

plan skip_all => 'PL/Proxy is not installed' unless has_plproxy();

our $through_router = 1;
our $direct_slots = 'true';
my $tests = "$FindBin::Bin/110_gateway_refusals.pl";
defined do $tests or die $@ || "$tests: $!";
