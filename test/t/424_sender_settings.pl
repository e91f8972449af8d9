# msgstore-sender: its settings, --check, --help and SIGHUP.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::Bin/..";
use MsgstoreGateway;
use MsgstoreSender;
use PostgreSQL::Test::Utils;
use Test::More;

my $root = "$FindBin::Bin/../..";
my $node = start_cluster('settings', "log_statement = none\n");
my $directory = PostgreSQL::Test::Utils::tempdir();

sub sql { return $node->safe_psql('postgres', $_[0]) }

# Runs it to its end: exit code and output.
sub run
{
	my (%option) = @_;
	my $sender = start_sender($node, %option, ends => 1);
	my $code = $sender->wait_exit;
	return ($code, $sender->log_text);
}

# --help and the documentation have the same settings.
my ($code, $help) = run(flags => ['--help']);
is($code, 0, '--help');
my %documented = map { /^\| `(\w+)` \| `--([\w-]+)` \| `?([^`|]*?)`? \| (yes)? ?\|/ ? ($1 => "$2 " . ($4 // 'no')) : () }
  split /\n/, slurp_file("$root/docs/sender.md");
my %helped;
while ($help =~ /^  --(?:\[no-\])?([\w-]+)(?: VALUE)?\n(?:      .*\n)*?      environment variable (\w+), default (.*)$/mg)
{
	my ($flag, $variable, $rest) = ($1, $2, $3);
	$helped{$variable} = "$flag " . ($rest =~ /, reloads/ ? 'yes' : 'no');
}
is_deeply(\%documented, \%helped, 'the documentation has all settings');
($code, my $version) = run(flags => ['--version']);
like($version, qr/^msgstore-sender \d+\.\d+\.\d+$/, '--version');

# Invalid settings end the start.
for my $case ([ SENDER_CONNECTIONS => 0 ], [ SENDER_STOP_TIMEOUT_SECS => 'x' ], [ LOG_LEVEL => 'loud' ], [ DATABASE_URL => 'mysql://x' ])
{
	($code, my $log) = run(env => { $case->[0] => $case->[1] });
	isnt($code, 0, "$case->[0]: not started");
	like($log, qr/$case->[0]/, "$case->[0]: named");
}
($code, my $log) = run(flags => ['--nonsense']);
like($log, qr/unknown option \\"--nonsense\\"/, 'an unknown option');

# --check: the database, and the secrets.
($code, $log) = run(flags => ['--check']);
is($code, 0, '--check without accounts');
like($log, qr/there are no accounts/, 'says so');
sql(q(SELECT msgstore.create_account('twilio-main', 'twilio', '{sms}', options => '{"account_sid": "x"}'),
	msgstore.create_account('mail', 'smtp', '{email}', base_url => 'smtp://localhost')));
($code, $log) = run(flags => ['--check']);
is($code, 1, '--check without a secret');
like($log, qr/secret "twilio-main" of account "twilio-main" is missing/, 'names it');
like($log, qr/^not ready/m, 'and the result');
append_to_file("$directory/sender.conf", "SECRET_TWILIO_MAIN='a:b'\nNONSENSE=1\nLOG_LEVEL=error\n");
($code, $log) = run(flags => [ '--check', "--config=$directory/sender.conf" ]);
is($code, 0, '--check with a secret in the file');
like($log, qr/"NONSENSE" in ".*" is not a setting of the sender/, 'a setting that does not exist');
unlike($log, qr/SECRET_|a:b/, 'a secret is neither');
($code, $log) = run(flags => ['--check'], env => { DATABASE_URL => 'postgresql:///x?host=/nowhere' });
is($code, 1, '--check without a database');

# The role of a sender: the level "process" is enough.
sql('CREATE ROLE courier LOGIN');
sql("SELECT msgstore.grant_access('courier', 'process')");
($code, $log) = run(user => 'courier', flags => ['--check'], env => { SECRET_TWILIO_MAIN => 'a:b' });
is($code, 0, 'the level "process" is enough') or diag $log;

# SIGHUP reads the file again.
my $sender = start_sender($node, flags => ["--config=$directory/sender.conf"], ends => 1);
ok($node->poll_query_until('postgres', "SELECT count(*) = 1 FROM pg_stat_activity WHERE application_name = 'msgstore-sender'"),
	'a sender without log lines');
append_to_file("$directory/sender.conf", "LOG_LEVEL=info\nSENDER_CONNECTIONS=7\nDATABASE_QUERY_TIMEOUT_SECS=3\n");
kill 'HUP', $sender->{pid};
ok(eventually(sub { $sender->log_text =~ /reloaded settings; some need a restart/ }), 'reloaded');
my ($line) = grep { ($_->{message} // '') =~ /reloaded/ } $sender->log_lines;
is_deeply([ sort keys %{ $line->{changed} } ], [ 'LOG_LEVEL', 'SENDER_CONNECTIONS' ], 'what has changed');
is_deeply($line->{need_restart}, ['DATABASE_QUERY_TIMEOUT_SECS'], 'and what needs a restart');
append_to_file("$directory/sender.conf", "SENDER_CONNECTIONS=none\n");
kill 'HUP', $sender->{pid};
ok(eventually(sub { $sender->log_text =~ /still using the old settings/ }), 'an invalid setting changes nothing');
is(($sender->stop)[0], 0, 'exit code 0');

done_testing();
