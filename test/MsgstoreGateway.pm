# MsgstoreGateway.pm: a gateway in front of a temporary server.
#
# Nothing here sleeps for a fixed time: conditions are polled until a deadline
# that only a broken gateway exceeds.
package MsgstoreGateway;

use strict;
use warnings FATAL => 'all';

use Cwd qw(abs_path);
use Exporter 'import';
use File::Basename qw(dirname);
use HTTP::Tiny;
use IO::Select;
use IO::Socket::INET;
use JSON::PP;
use MsgstoreServer qw(eventually);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More ();
use Time::HiRes qw(time);

our @EXPORT = qw(start_cluster fail_on_marked sms email inbound_sms inbound_email
  decode eventually);

use constant DEADLINE => 30;

my $program = $ENV{MSGSTORE_GATEWAY}
  // abs_path(dirname(__FILE__) . '/../gateway/msgstore-gateway');
my $runs = 0;

# Starts a server with the extension in database postgres. The worker is off
# unless the settings turn it on.
sub start_cluster
{
	my ($name, $settings) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);
	$node->init(extra => [ '--encoding=UTF8', '--locale=C' ]);
	$node->append_conf('postgresql.conf',
		"shared_preload_libraries = 'msgstore'\nmsgstore.workers = 0\n"
		  . ($settings // ''));
	$node->start;
	$node->safe_psql('postgres', 'CREATE EXTENSION msgstore');
	return $node;
}

# Makes each call that stores an event with a field "fail" fail as a whole, as if
# a value could not be stored.
sub fail_on_marked
{
	my ($node) = @_;
	$node->safe_psql('postgres', <<'SQL');
CREATE FUNCTION fail_on_marked() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = '22003', MESSAGE = 'out of range';
END
$$;
CREATE TRIGGER fail_on_marked BEFORE INSERT ON msgstore.event_log
FOR EACH ROW WHEN (NEW.payload ? 'fail') EXECUTE FUNCTION fail_on_marked();
SQL
	return;
}

# Options: env (a hash), flags (a list), url (the query of DATABASE_URL), user,
# wait (0: do not wait until it answers), directory to start in, files (the
# maximum number of open files), program (another one than the installed one).
sub new
{
	my ($class, $node, %option) = @_;
	my $self = bless {
		node => $node,
		port => PostgreSQL::Test::Cluster::get_free_port(),
		log => $PostgreSQL::Test::Utils::tmp_check
		  . "/gateway_$$" . '_'
		  . $runs++ . '.log',
	}, $class;
	my $url =
		'postgresql://'
	  . ($option{user} ? "$option{user}\@" : '')
	  . '/postgres?port='
	  . $node->port
	  . '&host='
	  . escape($node->host)
	  . ($option{url} ? "&$option{url}" : '');
	my %env = (
		DATABASE_URL => $url,
		PORT => $self->{port},
		%{ $option{env} // {} });

	my $program = $option{program} // $program;
	$self->{pid} = fork() // die "could not fork: $!";
	if ($self->{pid} == 0)
	{
		chdir $option{directory} if $option{directory};
		delete $ENV{$_}
		  for grep { /^(API_|HTTP_|LOG_|HEALTH_|MOCK_|PG)/ } keys %ENV;
		for (keys %env)
		{
			defined $env{$_} ? ($ENV{$_} = $env{$_}) : delete $ENV{$_};
		}
		open STDERR, '>', $self->{log} or die "could not open log: $!";
		open STDOUT, '>&', \*STDERR    or die;
		exec 'sh', '-c', "ulimit -n $option{files}; exec \"\$@\"", 'sh',
		  $program
		  if $option{files};
		exec $program, @{ $option{flags} // [] } or die "could not exec: $!";
	}
	if ($option{wait} // 1)
	{
		eventually(sub { $self->log_text =~ /listening on/ })
		  or die 'gateway did not start: ' . $self->log_text;
	}
	return $self;
}

sub escape
{
	my ($text) = @_;
	$text =~ s/([^A-Za-z0-9._-])/sprintf '%%%02X', ord $1/ge;
	return $text;
}

sub log_text { return -e $_[0]{log} ? slurp_file($_[0]{log}) : '' }

# The log's lines as hashes; dies if a line is not JSON. Ignores a line that is
# being written.
sub log_lines
{
	my ($whole) = $_[0]->log_text =~ /\A(.*\n)/s;
	return map { decode($_) } split /\n/, $whole // '';
}

# The log line of the request with that id; it is written after the answer.
sub log_line
{
	my ($self, $id) = @_;
	my $line;
	eventually(
		sub {
			($line) =
			  grep { ($_->{request_id} // '') eq $id } $self->log_lines;
			return $line;
		});
	return $line;
}

sub decode { return JSON::PP->new->utf8->decode($_[0]) }

# One request; headers are a hash. Returns what HTTP::Tiny returns, and "json"
# if the body is JSON.
sub request
{
	my ($self, $method, $path, $headers, $content) = @_;
	my $http = $self->{http} //=
	  HTTP::Tiny->new(timeout => 60, max_redirect => 0);
	my $answer = $http->request(
		$method,
		"http://127.0.0.1:$self->{port}$path",
		{   headers => $headers // {},
			defined $content ? (content => $content) : ()
		});
	$answer->{json} = scalar eval { decode($answer->{content}) };
	check_end($answer) if $answer->{status} != 599;
	return $answer;
}

# Each answer ends with a newline, so that it does not share a terminal's line
# with the next prompt; except for files, and texts that a provider wants exactly so.
# HTTP::Tiny's own failures are no answers.
sub check_end
{
	my ($answer) = @_;
	return if ($answer->{content} // '') =~ /(\A|\n)\z/;
	return if ($answer->{headers}{'content-type'} // '') =~ m{^text/(xml|plain)$};
	return if $answer->{headers}{'content-disposition'};
	Test::More::fail("answer $answer->{status} ends with a newline");
	return;
}

sub get
{
	my ($self, $path, %headers) = @_;
	return $self->request('GET', $path, \%headers);
}

# A body that is not a string is encoded as JSON.
sub post
{
	my ($self, $path, $body, %headers) = @_;
	$body = JSON::PP->new->utf8->canonical->encode($body) if ref $body;
	return $self->request('POST', $path,
		{ 'Content-Type' => 'application/json', %headers }, $body);
}

sub connection
{
	my ($self) = @_;
	return IO::Socket::INET->new(
		PeerAddr => '127.0.0.1',
		PeerPort => $self->{port},
		Timeout => DEADLINE) // die "could not connect: $!";
}

# One raw answer from a socket: status, headers and content; undef if the
# connection is closed before a status line.
sub read_answer
{
	my ($self, $socket, $seconds, $head) = @_;
	my $data = '';
	my $end = time + ($seconds // DEADLINE);
	my $select = IO::Select->new($socket);
	while (1)
	{
		if ($data =~ /\A(.*?)\r\n\r\n(.*)\z/s)
		{
			my ($top, $content) = ($1, $2);
			my ($length) = $top =~ /^Content-Length: (\d+)/mi;
			my ($status) = $top =~ m{\AHTTP/1\.1 (\d+)};
			if ($status == 100) { $data = $content; next }
			if ($head || length $content >= ($length // 0))
			{
				my %headers = map { /^([^:]+): (.*)$/ ? (lc $1 => $2) : () }
				  split /\r\n/, $top;
				my $answer = {
					status => $status,
					headers => \%headers,
					content => $content,
					json => scalar eval { decode($content) }
				};
				check_end($answer);
				return $answer;
			}
		}
		my $left = $end - time;
		return undef if $left <= 0;
		my ($got, $part);
		$got = sysread $socket, $part, 65536 if $select->can_read($left);
		next if !defined $got && $!{EINTR};
		return undef if !$got;
		$data .= $part;
	}
}

# Sends raw bytes on a new connection.
sub raw
{
	my ($self, $bytes, $seconds) = @_;
	my $socket = $self->connection;
	syswrite_all($socket, $bytes);
	return $self->read_answer($socket, $seconds);
}

sub syswrite_all
{
	my ($socket, $bytes) = @_;
	local $SIG{PIPE} = 'IGNORE';
	my $sent = 0;
	while ($sent < length $bytes)
	{
		my $n = syswrite $socket, $bytes, length($bytes) - $sent, $sent;
		return 0 if !$n;
		$sent += $n;
	}
	return 1;
}

# The bytes of a POST with a body of JSON.
sub post_bytes
{
	my ($path, $body, %headers) = @_;
	$body = JSON::PP->new->utf8->canonical->encode($body) if ref $body;
	my %all = (
		Host => 'x',
		'Content-Type' => 'application/json',
		'Content-Length' => length $body,
		%headers);
	return "POST $path HTTP/1.1\r\n"
	  . join('',
		map { defined $all{$_} ? "$_: $all{$_}\r\n" : () } sort keys %all)
	  . "\r\n$body";
}

# Makes the server wait for a synchronous standby that there is not. The wait begins
# when the checkpointer has read the setting, so webhooks are sent until the commit of
# one waits. Cancels the wait; returns the id of the webhook and its answer.
sub post_without_standby
{
	my ($self, $node, $database, %headers) = @_;
	$node->append_conf('postgresql.conf', "synchronous_standby_names = 'nobody'\n");
	$node->reload;
	for my $n (1 .. 100)
	{
		my $socket = $self->connection;
		my $select = IO::Select->new($socket);
		syswrite_all($socket, post_bytes('/api/webhooks/sms', inbound_sms("unsafe$n"), %headers));
		my $cancelled;
		do
		{
			$cancelled = $node->safe_psql('postgres', qq{
				SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity
				WHERE wait_event = 'SyncRep' AND datname = '$database' AND backend_type = 'client backend'});
		} until $cancelled || $select->can_read(0.1);
		my $answer = $self->read_answer($socket);
		next if !$cancelled;
		$node->append_conf('postgresql.conf', "synchronous_standby_names = ''\n");
		$node->reload;
		return ("unsafe$n", $answer);
	}
	die 'no commit waits for a standby';
}

# Sends all requests before it reads the first answer.
sub parallel
{
	my ($self, @requests) = @_;
	my @sockets = map { $self->connection } @requests;
	syswrite_all($sockets[$_], $requests[$_]) for 0 .. $#requests;
	return map { $self->read_answer($_) } @sockets;
}

sub metrics
{
	my ($self) = @_;
	my $answer = $self->get('/metrics', Accept => 'application/json');
	return $answer->{json} // die "metrics: $answer->{status} $answer->{content}";
}

# Stops it with a signal. Returns the exit code and the time it took.
sub stop
{
	my ($self, $signal) = @_;
	my $start = time;
	return unless $self->{pid};
	kill $signal // 'TERM', $self->{pid};
	return ($self->wait_exit, time - $start);
}

sub wait_exit
{
	my ($self) = @_;
	my $pid = $self->{pid};
	my $done = eventually(sub { waitpid($pid, 1) == $pid });
	my $status = $?;
	if (!$done)
	{
		kill 'KILL', $pid;
		waitpid $pid, 0;
		$status = -1;
	}
	delete $self->{pid};
	return
		$status < 0   ? -1
	  : $status & 127 ? 128 + ($status & 127)
	  :                 $status >> 8;
}

sub DESTROY
{
	my ($self) = @_;
	local ($?, $@, $!);
	if ($self->{pid}) { kill 'KILL', $self->{pid}; waitpid $self->{pid}, 0 }
}

# The four bodies of the API; arguments replace fields of the body.
sub sms
{
	return {
		from => '+12016661234',
		to => '+18045551234',
		type => 'sms',
		body => 'Hello! This is a test SMS message.',
		attachments => undef,
		timestamp => '2024-11-01T14:00:00Z',
		@_
	};
}

sub email
{
	return {
		from => 'user@usehatchapp.com',
		to => 'contact@gmail.com',
		body => 'Hello! <b>HTML</b>',
		attachments => ['https://example.com/document.pdf'],
		timestamp => '2024-11-01T14:00:00Z',
		@_
	};
}

sub inbound_sms
{
	my ($id, @more) = @_;
	return sms(
		from => '+18045551234',
		to => '+12016661234',
		messaging_provider_id => $id,
		@more);
}

sub inbound_email
{
	my ($id, @more) = @_;
	return email(
		from => 'contact@gmail.com',
		to => 'user@usehatchapp.com',
		xillio_id => $id,
		@more);
}

1;
