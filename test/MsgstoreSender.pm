# MsgstoreSender.pm: msgstore-sender, and a stand-in for providers that it sends to.
package MsgstoreSender;

use strict;
use warnings FATAL => 'all';

use Cwd qw(abs_path);
use Exporter 'import';
use File::Basename qw(dirname);
use IPC::Open2;
use MsgstoreGateway;
use PostgreSQL::Test::Utils;

our @EXPORT = qw(start_sender start_stand_in requests);

my $root = abs_path(dirname(__FILE__) . '/..');
my $runs = 0;
my @children;

# Starts the program. Options: env (a hash), flags (a list), ends (1: it only prints
# something, or logs no start, so do not wait for that).
sub start_sender
{
	my ($node, %option) = @_;
	my $sender = MsgstoreGateway->new(
		$node, %option,
		program => "$root/gateway/msgstore-sender",
		env => { PORT => undef, %{ $option{env} // {} } },
		wait => 0);
	eventually(sub { $sender->log_text =~ /"message":"starting"/ }) || die 'the sender does not start' if !$option{ends};
	return $sender;
}

# Starts a stand-in; returns the port of HTTP, that of SMTP, and its log.
sub start_stand_in
{
	my (@certificate) = @_;
	my $log = PostgreSQL::Test::Utils::tempdir() . '/requests' . $runs++;
	append_to_file($log, '');
	my $pid = open2(my $out, my $in, "$root/test/provider_stand_in", $log, @certificate);
	my ($http, $smtp) = split ' ', scalar(<$out>) // die 'the stand-in did not start';
	push @children, [ $pid, $in, $out ];
	return ($http, $smtp, $log);
}

# The requests in the log of a stand-in.
sub requests
{
	my ($log) = @_;
	return map { decode($_) } grep { /\}$/ } split /\n/, slurp_file($log);
}

END
{
	local $?;
	for (@children) { kill 'KILL', $_->[0]; waitpid $_->[0], 0 }
}

1;
