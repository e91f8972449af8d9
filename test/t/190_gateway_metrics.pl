# The Prometheus text of /metrics; the dashboard and the alert rules use only
# names that it has.
use strict;
use warnings FATAL => 'all';

use File::Basename qw(dirname);
use FindBin;
use lib "$FindBin::Bin/..";
use JSON::PP;
use MsgstoreGateway;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $docs = "$FindBin::Bin/../../docs";
my $node = start_cluster('prometheus', "msgstore.workers = 1\n");
my $gateway = MsgstoreGateway->new($node);

sub sql { return $node->safe_psql('postgres', $_[0]) }

# The samples by name and labels, and the HELP and TYPE of each name. Fails on
# anything that is not in the format.
sub scrape
{
	my $answer = $gateway->get('/metrics', Accept => 'text/plain');
	my (%samples, %type, %seen);
	is($answer->{status}, 200, 'metrics');
	my @wrong;
	for my $line (split /\n/, $answer->{content})
	{
		if ($line =~ /^# HELP (msgstore_[a-z0-9_]+) \S/)
		{
			push @wrong, "second: $line" if $seen{$1}++;
		}
		elsif ($line =~ /^# TYPE (\S+) (counter|gauge|histogram)$/)
		{
			push @wrong, "no help: $line" if !$seen{$1};
			$type{$1} = $2;
		}
		elsif ($line =~
			/^((msgstore_[a-z0-9_]+?)(?:_bucket|_sum|_count)?(?:\{(?:[a-z]+="(?:[^"\\]|\\[\\"n])*",?)*\})?) (-?\d+(?:\.\d+)?)$/
		  )
		{
			my ($sample, $base, $value) = ($1, $2, $3);
			my ($name) = $sample =~ /^(\w+)/;
			push @wrong, "no type: $line" if !$type{$name} && !$type{$base};
			push @wrong, "twice: $line"   if exists $samples{$sample};
			$samples{$sample} = $value;
		}
		else { push @wrong, $line }
	}
	is("@wrong", '', 'in the format');
	return (\%samples, \%type);
}

# A new server has all names, and no samples of channels.
my ($samples, $type) = scrape();
is($samples->{msgstore_worker_queued}, 0, 'a new server has an empty queue');
is($type->{msgstore_channel_events_total}, 'counter', 'names without samples');
is($samples->{'msgstore_worker_latency_seconds_bucket{le="+Inf"}'},
	0, 'and an empty histogram');

# Counters by tenant and channel; a tenant's name may contain any character.
my $body = encode_json(inbound_sms('labels'));
sql(<<"SQL");
ALTER DATABASE postgres SET msgstore.backoff_base = '1 h';
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS \$\$
BEGIN
    IF NEW.body = 'poison' THEN RAISE 'poisonous'; END IF;
    RETURN NEW;
END
\$\$;
CREATE TRIGGER refuse BEFORE INSERT ON msgstore.messages
FOR EACH ROW EXECUTE FUNCTION refuse();
SET msgstore.tenant_id = E'a "quoted" \\\\ one\\nof two lines \\u00fc';
SELECT msgstore.ingest('sms', '$body');
SELECT msgstore.ingest('sms', '$body');
SQL
is($gateway->post('/api/webhooks/sms', inbound_sms('s-1'))->{status}, 202, 'sms');
is( $gateway->post('/api/webhooks/email', inbound_email('e-1', body => 'poison'))->{status},
	202, 'email');
is($gateway->post('/api/messages/email', email())->{status}, 202, 'a send');
ok( eventually(
		sub {
			my $m = $gateway->metrics;
			$m->{worker_processed} == 2 && $m->{worker_error} == 1;
		}),
	'two are processed, one failed');
ok( eventually(
		sub {
			sql("SELECT count(*) FROM msgstore.stat_worker WHERE state = 'idle'")
			  == 1;
		}),
	'and the worker waits');
($samples, $type) = scrape();
my $odd = 'tenant="a \"quoted\" \\\\ one\nof two lines ' . "\xc3\xbc" . '",channel="sms"';
my %expected = (
	qq(channel_events_total{$odd,outcome="ingested"}) => 1,
	qq(channel_events_total{$odd,outcome="duplicate"}) => 1,
	qq(channel_events_total{$odd,outcome="processed"}) => 1,
	qq(queue_depth{$odd}) => 0,
	'channel_events_total{tenant="",channel="sms",outcome="processed"}' => 1,
	'channel_events_total{tenant="",channel="email",outcome="error"}' => 1,
	'channel_events_total{tenant="",channel="email",outcome="sent"}' => 1,
	'queue_depth{tenant="",channel="email"}' => 1,
	'queue_depth{tenant="",channel="sms"}' => 0,
	'channel_dead_letters{tenant="",channel="email"}' => 0,
	'worker_events_total{worker="1",outcome="processed"}' => 2,
	'worker_events_total{worker="1",outcome="error"}' => 1,
	'worker_up{worker="1"}' => 1,
	'worker_latency_seconds_count' => 2,
	'worker_latency_seconds_bucket{le="+Inf"}' => 2,
	'worker_queued' => 1,
	'workers_running' => 1,
	'dead_letters' => 0);
is($samples->{"msgstore_$_"}, $expected{$_}, $_) for sort keys %expected;
cmp_ok($samples->{'msgstore_tenant_oldest_event_age_seconds{tenant=""}'},
	'>', 0, 'the oldest event has an age');
cmp_ok($samples->{msgstore_worker_latency_seconds_sum}, '>', 0, 'latencies');
cmp_ok($samples->{'msgstore_worker_busy_seconds_total{worker="1"}'},
	'>', 0, 'the worker has worked');
my @buckets = map { $samples->{$_} }
  sort { ($a =~ /le="([\d.]+)/)[0] <=> ($b =~ /le="([\d.]+)/)[0] }
  grep { /_bucket\{le="[\d.]+"/ } keys %$samples;
is_deeply(\@buckets, [ sort { $a <=> $b } @buckets ], 'buckets are cumulative');
is($buckets[-1], 2, 'up to the total');

# The JSON object is flat with whole numbers; the text has all of them.
my $json = $gateway->get('/metrics', Accept => 'application/json')->{json};
is_deeply([ grep { $json->{$_} !~ /^\d+$/ } sort keys %$json ],
	[], 'JSON: whole numbers only');
is_deeply([ grep { !exists $samples->{"msgstore_$_"} } sort keys %$json ],
	[], 'the text has every name of them');
is($json->{$_}, decode(sql('SELECT msgstore.metrics()'))->{$_}, "one truth: $_")
  for qw(worker_queued dead_letters worker_processed events_ingested
  worker_latency_sum_us workers_running);

# Dashboard and alert rules use existing names.
sub is_there
{
	my ($name) = @_;
	return $type->{$name}
	  || ($name =~ /^(.*)_(?:bucket|sum|count)$/
		&& ($type->{$1} // '') eq 'histogram');
}

sub names_in
{
	my ($text) = @_;
	my @names = $text =~ /\b(msgstore_[a-z0-9_]+)/g;
	return @names;
}

my $dashboard = decode(slurp_file("$docs/grafana-dashboard.json"));
my @panels = @{ $dashboard->{panels} };
my @queries = map { $_->{expr} } map { @{ $_->{targets} } } @panels;
cmp_ok(scalar @queries, '>', 15, 'the dashboard has queries');
is_deeply([ grep { !names_in($_) } @queries ], [], 'each query uses a metric');
my @variables = map { $_->{query} } @{ $dashboard->{templating}{list} };
is_deeply([ grep { !is_there($_) } map { names_in($_) } @queries, @variables ],
	[], 'that exists');
my %ids = map { $_->{id} => 1 } @panels;
is(scalar keys %ids, scalar @panels, 'panel ids are unique');

my $rules = slurp_file("$docs/alert-rules.yml");
$rules =~ s/^\s*#.*$//mg;
my @rules = split /^\s*- alert: /m, $rules;
shift @rules;
cmp_ok(scalar @rules, '>', 4, 'there are rules');
for my $rule (@rules)
{
	my ($name) = $rule =~ /^(\w+)/;
	my ($expr) = $rule =~ /^\s+expr: (.*?)^\s+(?:for|labels):/ms;
	my @names = names_in($expr // '');
	ok(@names && !grep({ !is_there($_) } @names), "rule $name asks for what is there");
}

# While the database is away all metrics keep their last values.
my %before = %$samples;
$node->stop('fast');
($samples) = scrape();
is($samples->{msgstore_database_up}, 0, 'the database is away');
is($samples->{"msgstore_$_"}, $expected{$_}, "last known: $_")
  for sort grep { /[{]/ } keys %expected;
is_deeply([ sort keys %$samples ], [ sort keys %before ], 'no name is missing');

done_testing();
