# The Prometheus text of /metrics; the dashboard and the alert rules use only
# names that it has, and docs/stats.md tells them all.
use strict;
use warnings FATAL => 'all';

use File::Basename qw(dirname);
use FindBin;
use lib "$FindBin::Bin/..";
use IPC::Run;
use JSON::PP;
use MsgstoreGateway;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $docs = "$FindBin::Bin/../../docs";
my $node = start_cluster('prometheus', "msgstore.workers = 1\nmsgstore.backoff_base = '1 h'\n");
my $gateway = MsgstoreGateway->new($node);

sub sql { return $node->safe_psql('postgres', $_[0]) }

# Prometheus's own tool checks the text and the rules. It is taken out of the
# package without installing it, which would start a server. There may be no
# network.
sub find_promtool
{
	my $directory = PostgreSQL::Test::Utils::tempdir();
	return 'promtool' if system('command -v promtool >/dev/null 2>&1') == 0;
	system("cd '$directory' && apt-get -q download prometheus >apt.log 2>&1 &&
		dpkg-deb --fsys-tarfile prometheus_*.deb | tar -xO ./usr/bin/promtool >promtool &&
		chmod +x promtool") == 0
	  or return undef;
	return "$directory/promtool";
}
my $promtool = find_promtool();

sub promtool_accepts
{
	my ($what, $input, @arguments) = @_;
  SKIP:
	{
		skip "no promtool, and apt-get could not download it: $what", 1 if !$promtool;
		my ($out, $err) = ('', '');
		my $ok = IPC::Run::run([ $promtool, @arguments ], '<', \$input, '>', \$out, '2>', \$err);
		ok($ok && $err eq '', "promtool: $what") or diag("$out$err");
	}
	return;
}

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
	promtool_accepts('the text', $answer->{content}, 'check', 'metrics');
	return (\%samples, \%type);
}

# A new server has all names, and no samples of channels.
my ($samples, $type) = scrape();
is($samples->{msgstore_queued_events}, 0, 'a new server has an empty queue');
is($type->{msgstore_channel_events_ingested_total}, 'counter', 'names without samples');
is($samples->{'msgstore_event_latency_seconds_bucket{le="+Inf"}'},
	0, 'and an empty histogram');

# Counters by tenant and channel; a tenant's name may contain any character.
my $body = encode_json(inbound_sms('labels'));
sql(<<"SQL");
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
RESET msgstore.tenant_id;
SELECT msgstore.append('order-1', 'Placed', '{}') FROM generate_series(1, 3);
SELECT msgstore.create_subscription('mailer', 'order');
CREATE FUNCTION ignore_event(e msgstore.stream_event) RETURNS void LANGUAGE sql AS '';
SELECT msgstore.create_projection('totals', 'total', 'ignore_event'), msgstore.pause_projection('totals');
SELECT msgstore.park('mailer', 1, 'later'), msgstore.ack('mailer', 1);
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
	qq(channel_events_ingested_total{$odd}) => 1,
	qq(channel_events_duplicate_total{$odd}) => 1,
	qq(channel_events_processed_total{$odd}) => 1,
	qq(channel_queued_events{$odd}) => 0,
	'channel_events_processed_total{tenant="",channel="sms"}' => 1,
	'channel_events_failed_total{tenant="",channel="email"}' => 1,
	'channel_messages_sent_total{tenant="",channel="email"}' => 1,
	'channel_queued_events{tenant="",channel="email"}' => 1,
	'channel_queued_events{tenant="",channel="sms"}' => 0,
	'channel_dead_letters{tenant="",channel="email"}' => 0,
	'worker_events_processed_total{worker="1"}' => 2,
	'worker_events_failed_total{worker="1"}' => 1,
	'worker_up{worker="1"}' => 1,
	'subscription_lag_events{tenant="",subscription="mailer"}' => 2,
	'projection_paused{tenant="",subscription="totals"}' => 1,
	'projection_failed_attempts{tenant="",subscription="totals"}' => 0,
	'subscription_parked_events{tenant="",subscription="mailer"}' => 1,
	'subscription_last_fetch_timestamp_seconds{tenant="",subscription="mailer"}' => 0,
	'event_latency_seconds_count' => 2,
	'event_latency_seconds_bucket{le="+Inf"}' => 2,
	'events_failed_total' => 1,
	'events_refused_total{reason="body"}' => 0,
	'queued_events' => 1,
	'workers_running' => 1,
	'storage_rows{part="response_memory"}' => 0,
	'workers_paused' => 0,
	'dead_letters' => 0);
is($samples->{"msgstore_$_"}, $expected{$_}, $_) for sort keys %expected;
cmp_ok($samples->{"msgstore_storage_bytes{part=\"$_\"}"}, '>', 0, "bytes of $_") for qw(responses streams);
cmp_ok($samples->{'msgstore_tenant_oldest_event_age_seconds{tenant=""}'},
	'>', 0, 'the oldest event has an age');
cmp_ok($samples->{'msgstore_subscription_lag_seconds{tenant="",subscription="mailer"}'},
	'>=', 0, 'so has the lag of a subscription');
cmp_ok($samples->{msgstore_event_latency_seconds_sum}, '>', 0, 'latencies');
cmp_ok($samples->{'msgstore_worker_busy_seconds_total{worker="1"}'},
	'>', 0, 'the worker has worked');
my @buckets = map { $samples->{$_} }
  sort { ($a =~ /le="([\d.]+)/)[0] <=> ($b =~ /le="([\d.]+)/)[0] }
  grep { /_bucket\{le="[\d.]+"/ } keys %$samples;
is_deeply(\@buckets, [ sort { $a <=> $b } @buckets ], 'buckets are cumulative');
is($buckets[-1], 2, 'up to the total');

# The JSON object is flat with whole numbers. The page tells the name in the text
# of each of them, or that there is none, and every other name of the text.
my $json = $gateway->get('/metrics', Accept => 'application/json')->{json};
is_deeply([ grep { $json->{$_} !~ /^\d+$/ } sort keys %$json ],
	[], 'JSON: whole numbers only');
my (%sample_of, %told, @patterns);
for my $row (slurp_file("$docs/stats.md") =~ /^\| (.*) \|$/mg)
{
	my ($left, $right) = map { [ /`([^`]+)`/g ] } (split / \| /, $row)[ 0, 1 ];
	if (grep { /^msgstore_/ } @$left) { @told{@$left} = (1) x @$left }
	elsif (!@$left)                      { $told{ s/\{.*//r } = 1 for @$right }
	elsif ("@$left" =~ /\.\.\./)         { push @patterns, [ $left->[0], $right->[0] ] }
	else { $sample_of{ $left->[$_] } //= $right->[$_] for 0 .. $#$left }
}
for my $name (grep { !exists $sample_of{$_} } keys %$json)
{
	for my $pattern (@patterns)
	{
		my $matches = join '(\w+)', map { quotemeta } split /\.\.\./, $pattern->[0], 2;
		my ($variable) = $name =~ /^$matches$/ or next;
		$sample_of{$name} = $pattern->[1] =~ s/\.\.\./$variable/r;
	}
}
$told{ $_ =~ s/\{.*//r } = 1 for grep { defined } values %sample_of;
delete @sample_of{ grep { !exists $json->{$_} } keys %sample_of };
is_deeply([ grep { !exists $sample_of{$_} } sort keys %$json ],
	[], 'docs/stats.md has every name of JSON');
is_deeply([ grep { !exists $samples->{$_} } sort grep { defined } values %sample_of ],
	[], 'the text has what it says');
is_deeply([ grep { !$told{$_} } sort keys %$type ], [], 'it has every name of the text');
my %unlike = map { $_ => 1 } grep {
	my $unit = /_us$/ ? 1e6 : 1;
	my $sample = $sample_of{$_};
	defined $sample && abs($samples->{$sample} * $unit - $json->{$_}) > 0.5
} keys %$json;
delete @unlike{qw(http_responses_2xx oldest_event_age_us search_lag_us)};
delete @unlike{ grep { /^storage_/ } keys %unlike };
is_deeply([ sort keys %unlike ], [], 'both show the same values, unless reading changes them');
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

promtool_accepts('rules', '', 'check', 'rules', "$docs/alert-rules.yml");
promtool_accepts('tests of the rules', '', 'test', 'rules', "$FindBin::Bin/../alert-rules.yml");
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
is($samples->{msgstore_gateway_database_up}, 0, 'the database is away');
is($samples->{"msgstore_$_"}, $expected{$_}, "last known: $_")
  for sort grep { /[{]/ } keys %expected;
is_deeply([ sort keys %$samples ], [ sort keys %before ], 'no name is missing');

done_testing();
