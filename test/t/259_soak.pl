# Everything at once, while processes die: events come in by SQL and over HTTP,
# messages are sent, workers and external processors apply events, handlers fail
# or end their process, a sender reports, addresses are erased, the log is purged
# and replayed, dead letters are requeued, slow clients read, and backends,
# workers and whole servers are killed at random. In the end every acknowledged
# event is in one place and made at most one message, every acknowledged message
# is there, and check() finds nothing. What was erased is excepted.
#
# SOAK_SECONDS is the time under load. "make soak" sets it.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::Bin/..";
use HTTP::Tiny;
use IO::Socket::INET;
use IPC::Run;
use JSON::PP;
use MsgstoreGateway ();
use MsgstoreLoad;
use MsgstoreServer;
use POSIX qw(_exit);
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

use constant { ADDRESSES => 20, SLOW_READERS => 5 };

my $seconds = $ENV{SOAK_SECONDS} // 40;
my $seed = $ENV{SOAK_SEED} // int rand 2**31;
srand $seed;
note "SOAK_SEED=$seed";

my $node = new_server('soak', <<'CONF');
msgstore.workers = 3
msgstore.batch_size = 25
msgstore.backoff_base = '10 ms'
msgstore.backoff_max = '500 ms'
msgstore.max_retries = 3
msgstore.claim_timeout = '500 ms'
deadlock_timeout = '50 ms'
max_worker_processes = 16
CONF
$node->start;
add_database($node, 'postgres');

sub sql { return $node->safe_psql('postgres', $_[0]) }

# One channel has strict_order, one has a provider. The body of a message says
# what its handler does.
sql(<<'SQL');
UPDATE msgstore.channels SET strict_order = true WHERE name = 'sms';
INSERT INTO msgstore.channels (name, address_kind, provider)
VALUES ('chat', 'phone', 'mock');

CREATE TABLE effects (message_id uuid PRIMARY KEY);
CREATE FUNCTION take_effect(message msgstore.messages) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.effects VALUES (message.id);
    IF message.body = 'bad' OR random() < 0.05 THEN
        RAISE 'not this time';
    ELSIF message.body = 'die' THEN
        PERFORM pg_terminate_backend(pg_backend_pid()), pg_sleep(5);
    ELSIF message.body = 'crash' THEN
        COPY (SELECT 1) TO PROGRAM 'kill -9 $PPID';
        PERFORM pg_sleep(5);
    END IF;
END
$$;
SELECT msgstore.add_handler('sms', 'take_effect'),
    msgstore.add_handler('chat', 'take_effect');

-- What was removed, and by whom.
CREATE TABLE removed (kind text, id uuid, remover text);
CREATE FUNCTION note_removal() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    INSERT INTO public.removed
    SELECT TG_TABLE_NAME, gone.id, current_setting('application_name') FROM gone;
    RETURN NULL;
END
$$;
CREATE TRIGGER note_removal AFTER DELETE ON msgstore.event_log
REFERENCING OLD TABLE AS gone
FOR EACH STATEMENT EXECUTE FUNCTION note_removal();
CREATE TRIGGER note_removal AFTER DELETE ON msgstore.messages
REFERENCING OLD TABLE AS gone
FOR EACH STATEMENT EXECUTE FUNCTION note_removal();

CREATE TABLE answers (kind text, name text, id uuid);

CREATE VIEW erased AS
SELECT kind, id FROM removed WHERE remover = 'erase';
-- An event and its message have the same id.
CREATE VIEW places AS
SELECT event_id, count(*) AS n
FROM (
    SELECT event_id FROM msgstore.event_queue
    UNION ALL
    SELECT event_id FROM msgstore.dead_letters WHERE direction = 'inbound'
    UNION ALL
    SELECT inbound_event_id FROM msgstore.messages WHERE direction = 'inbound'
) p
GROUP BY event_id;
CREATE VIEW lost AS
SELECT a.kind || ' ' || a.name AS loss
FROM answers a LEFT JOIN places p ON p.event_id = a.id
WHERE a.kind = 'event' AND p.n IS DISTINCT FROM 1
    AND NOT EXISTS (SELECT FROM erased e WHERE e.id = a.id)
UNION ALL
SELECT a.kind || ' ' || a.name FROM answers a
WHERE a.kind = 'message'
    AND NOT EXISTS (
        SELECT FROM msgstore.messages m
        WHERE m.id = a.id AND m.direction = 'outbound')
    AND NOT EXISTS (SELECT FROM erased e WHERE e.id = a.id)
UNION ALL
SELECT 'message without the effect of its handler ' || m.id
FROM msgstore.messages m LEFT JOIN effects e ON e.message_id = m.id
WHERE m.direction = 'inbound' AND e.message_id IS NULL;
CREATE VIEW doubled AS
SELECT format('%s messages of event %s', count(*), provider_message_id) AS doubled
FROM msgstore.messages WHERE direction = 'inbound'
GROUP BY provider_message_id HAVING count(*) > 1
UNION ALL
SELECT format('%s messages of request %s', count(*), body)
FROM msgstore.messages WHERE direction = 'outbound'
GROUP BY body HAVING count(*) > 1
UNION ALL
SELECT 'effect without a message ' || e.message_id FROM effects e
WHERE NOT EXISTS (SELECT FROM msgstore.messages m WHERE m.id = e.message_id)
    AND NOT EXISTS (SELECT FROM erased r WHERE r.id = e.message_id);
SQL

add_outside_processor($node, 'postgres');
add_actors($node, 'postgres', <<'SQL');
CREATE FUNCTION phone() RETURNS text LANGUAGE sql VOLATILE
RETURN '+180455500' || lpad(floor(random() * 20)::text, 2, '0');
CREATE FUNCTION step_deliver() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    m record;
BEGIN
    FOR m IN SELECT * FROM msgstore.claim_outbound('sender', 5) LOOP
        IF random() < 0.9 THEN
            PERFORM msgstore.sent(m.message_id, 'mock ' || m.message_id, 'sender');
        ELSE
            PERFORM msgstore.send_failed(m.message_id, 'P0001', 'not sent', 'sender');
        END IF;
    END LOOP;
    PERFORM pg_sleep(0.02);
END
$$;
CREATE FUNCTION step_purge() RETURNS void LANGUAGE sql BEGIN ATOMIC
    SELECT pg_sleep(1);
    SELECT msgstore.purge('25 s', kinds => '{payloads,events}');
END;
CREATE FUNCTION step_erase() RETURNS void LANGUAGE sql BEGIN ATOMIC
    SELECT pg_sleep(2);
    SELECT msgstore.erase_address(CASE WHEN random() < 0.5 THEN 'sms' ELSE 'chat' END, phone());
END;
CREATE FUNCTION step_replay() RETURNS void LANGUAGE sql BEGIN ATOMIC
    SELECT pg_sleep(2);
    SELECT msgstore.replay(jsonb_build_object('created_from', now() - interval '10 s'));
    INSERT INTO steps VALUES ('replay', 1, 0);
END;
CREATE FUNCTION step_requeue() RETURNS void LANGUAGE sql BEGIN ATOMIC
    SELECT pg_sleep(1.5);
    SELECT msgstore.requeue_dead_letters(error_code => 'P0001')
        + msgstore.requeue_dead_letters(error_code => 'MS504');
END;
CREATE FUNCTION step_report() RETURNS void LANGUAGE sql BEGIN ATOMIC
    SELECT pg_sleep(0.05);
    SELECT msgstore.record_status('chat', 'mock ' || id, 'delivered')
    FROM msgstore.messages WHERE direction = 'outbound' ORDER BY random() LIMIT 1;
END;
SQL

my $gateway = MsgstoreGateway->new($node);
my $scratch = PostgreSQL::Test::Utils::tempdir;
my $end = time + $seconds;
my %started;

# Runs the code in a process of its own until the end.
sub in_background
{
	my ($name, $code) = @_;
	my $pid = fork() // die "could not fork: $!";
	if ($pid == 0)
	{
		srand($seed + keys %started);
		eval { $code->(); 1 } or warn "$name: $@";
		_exit($@ ? 1 : 0);
	}
	$started{$pid} = $name;
	return;
}

sub phone { return sprintf '+180455500%02d', int rand ADDRESSES }

# What the handler shall do with the nth event.
sub body_of
{
	my ($n) = @_;
	return
		$n % 997 == 500 ? 'crash'
	  : $n % 211 == 100 ? 'die'
	  : $n % 41 == 20   ? 'bad'
	  :                   'hello';
}

sub note_answer
{
	my ($file, @fields) = @_;
	append_to_file($file, join("\t", @fields) . "\n");
	return;
}

# Statements of one session. The next session begins with the first that had no
# answer.
sub ingest_by_sql
{
	my ($name) = @_;
	my $n = 1;
	while (time < $end)
	{
		my @calls = map {
			"SELECT event_id FROM msgstore.ingest('"
			  . ($_ % 3 ? 'sms' : 'chat')
			  . "', event('$name-$_', '" . phone() . "', '" . body_of($_)
			  . "') || jsonb_build_object('timestamp', now()));\n"
		} $n .. $n + 99;
		my $output = "$scratch/$name.out";
		unlink "$scratch/$name.sql";
		append_to_file("$scratch/$name.sql",
			join "SELECT pg_sleep(0.01) \\g /dev/null\n", @calls);
		my $ended = start_psql($node, 'postgres', $output,
			'-f', "$scratch/$name.sql")->finish;
		my $out = slurp_file($output);
		for my $id ($out =~ /^([0-9a-f-]{36})$/mg)
		{
			note_answer("$scratch/$name.answers", 'event', "$name-$n", $id);
			$n++;
		}
		sleep 0.1 unless $ended;
	}
	return;
}

# Repeats each request until it is acknowledged.
sub post_all
{
	my ($name, $kind) = @_;
	my $http = HTTP::Tiny->new(timeout => 10);
	my $path = $kind eq 'event' ? '/api/webhooks/sms' : '/api/messages/chat';
	for (my $n = 1; time < $end; $n++)
	{
		my $message = $kind eq 'event'
		  ? { from => phone(), to => '+12016661234', type => 'sms',
			messaging_provider_id => "$name-$n", body => body_of($n) }
		  : { from => '+12016661234', to => phone(), body => "$name-$n" };
		$message->{timestamp} = POSIX::strftime('%Y-%m-%dT%H:%M:%SZ', gmtime);
		while (time < $end)
		{
			my $answer = $http->post(
				"http://127.0.0.1:$gateway->{port}$path",
				{   headers => {
						'Content-Type' => 'application/json',
						$kind eq 'event' ? () : ('Idempotency-Key' => "$name-$n")
					},
					content => encode_json($message)
				});
			if ($answer->{status} == 202)
			{
				my ($id) = $answer->{content} =~ /"(?:event|message)_id"\s*:\s*"([^"]+)"/;
				($id) = $answer->{content} =~ /([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})/
				  unless $id;
				note_answer("$scratch/$name.answers", $kind, "$name-$n", $id);
				last;
			}
			# Anything but an outage would be repeated for ever.
			die "status $answer->{status}: $answer->{content}"
			  if $answer->{status} =~ /^4/ && $answer->{status} !~ /^4(?:08|29)$/;
			sleep 0.1;
		}
		sleep 0.01;
	}
	return;
}

# Keeps a session with this statement.
sub repeat_session
{
	my ($name, $statement) = @_;
	local $ENV{PGAPPNAME} = $name;
	while (time < $end)
	{
		start_psql($node, 'postgres', "$scratch/$name.out", '-c', $statement)
		  ->finish;
		sleep 0.1;
	}
	return;
}

sub read_slowly
{
	while (time < $end)
	{
		my @sockets = grep { $_ } map {
			IO::Socket::INET->new(PeerAddr => '127.0.0.1',
				PeerPort => $gateway->{port})
		} 1 .. SLOW_READERS;
		local $SIG{PIPE} = 'IGNORE';
		print $_ "GET /api/conversations HTTP/1.1\r\nHost: x\r\n\r\n" x 20
		  for @sockets;
		for (1 .. 30)
		{
			for my $socket (@sockets)
			{
				$socket->blocking(0);
				sysread $socket, my $bytes, 10;
			}
			sleep 0.1;
		}
	}
	return;
}

my $until = "now() + interval '" . int($seconds + 1) . " s'";
in_background("sql$_", sub { ingest_by_sql("sql$$") }) for 1 .. 2;
in_background("http$_", sub { post_all("http$$", 'event') }) for 1 .. 2;
in_background("send$_", sub { post_all("send$$", 'message') }) for 1 .. 2;
in_background($_, sub { read_slowly() }) for 'slow';
for my $n (1 .. 2)
{
	in_background("outside$n",
		sub { repeat_session("outside$n", "CALL process_outside('outside$n-', $until)") });
}
for my $step (qw(deliver purge erase replay requeue report))
{
	in_background($step, sub { repeat_session($step, "CALL act('$step', $until)") });
}

# The processes of the server, the first of which is the postmaster. None while
# the server is down: it stops when the process that recovers it is killed.
sub server_pids
{
	my $file = $node->data_dir . '/postmaster.pid';
	my ($postmaster) = -e $file ? slurp_file($file) =~ /\A(\d+)/ : ();
	return unless $postmaster && kill 0, $postmaster;
	my @children;
	for my $file (glob '/proc/[0-9]*/status')
	{
		open my $status, '<', $file or next;
		my $text = do { local $/ = undef; <$status> } // '';
		push @children, $1
		  if $text =~ /^PPid:\t$postmaster$/m && $text =~ /^Pid:\t(\d+)$/m;
	}
	return ($postmaster, @children);
}

# A start that fails leaves the id of the server that was just ending.
sub start_again
{
	# For a moment after a crash the postmaster is the only process.
	my ($postmaster) = server_pids();
	return 1 if $postmaster;
	return eventually(
		sub {
			$node->{_pid} = undef;
			return $node->start(fail_ok => 1);
		});
}

my %kills = (
	'a process' => sub {
		my (undef, @children) = server_pids();
		return @children ? kill('KILL', $children[ rand @children ]) : 0;
	},
	'a session' => sub {
		return defined answer_of($node, 'postgres',
			"SELECT pg_terminate_backend(pid) FROM pg_stat_activity
			WHERE pid <> pg_backend_pid() AND datname = 'postgres'
			ORDER BY random() LIMIT 1");
	},
	'a worker' => sub {
		return defined answer_of($node, 'postgres',
			"SELECT pg_terminate_backend(pid) FROM pg_stat_activity
			WHERE backend_type = 'msgstore worker' ORDER BY random() LIMIT 1");
	},
	'the server' => sub {
		my @pids = server_pids();
		kill 'KILL', @pids;
		return eventually(sub { !kill 0, @pids });
	});
my %killed = map { $_ => 0 } keys %kills;
# Most leave the server running, so that something is done between the crashes.
my @choices = (('a session') x 4, ('a worker') x 4, ('a process') x 2, 'the server');
while (time < $end)
{
	sleep 0.5 + rand 2;
	my $choice = $choices[ rand @choices ];
	$killed{$choice}++ if $kills{$choice}->();
	start_again() or die 'the server does not start';
}
start_again() or die 'the server does not start';

my @failed;
while (%started)
{
	my $pid = waitpid -1, 0;
	last if $pid < 0;
	push @failed, $started{$pid} if $started{$pid} && $?;
	delete $started{$pid};
}
is("@failed", '', 'the clients ran to the end');
ok(eventually(sub { answer_of($node, 'postgres', 'SELECT 1') }), 'the server answers');
ok(eventually(sub { $gateway->get('/readyz')->{status} == 200 }), 'so does the gateway');
# A backlog drains slowly while its events fail and crash the server. From now on
# only those fail that always did; an event may still crash it before that.
ok( eventually(
		sub {
			return defined answer_of($node, 'postgres', <<'SQL');
CREATE OR REPLACE FUNCTION take_effect(message msgstore.messages) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.effects VALUES (message.id);
    IF message.body <> 'hello' THEN
        RAISE 'not this time';
    END IF;
END
$$
SQL
		}),
	'handlers recover');
# A long time under load leaves a backlog that takes its time, but shrinks.
my $shrunk = time;
my $least;
ok( eventually(
		sub {
			my $queued = answer_of($node, 'postgres', 'SELECT count(*) FROM msgstore.event_queue') // return 0;
			$shrunk = time, $least = $queued if !defined $least || $queued < $least;
			return $queued == 0 || time - $shrunk > 120;
		}, 24 * 60 * 60) && $least == 0,
	'no event is left in the queue');

my @files = glob "$scratch/*.answers";
sql(join '', (map { "\\copy answers FROM '$_'\n" } @files), 'ANALYZE;');
my $lost = sql('SELECT * FROM lost');
my $doubled = sql('SELECT * FROM doubled');
my $findings = sql('SELECT * FROM violations
	WHERE violation NOT LIKE \'message without event%\'
	UNION ALL SELECT c::text FROM msgstore.check() c');
is($lost, '', 'nothing acknowledged is lost');
is($doubled, '', 'nothing is doubled');
is($findings, '', 'check() finds nothing');
is(sql("SELECT DISTINCT step, code, message FROM faults WHERE code NOT LIKE '57%'"),
	'', 'no call failed unexpectedly');
is(count_of($node, 'postgres', 'msgstore.event_claims'), 0, 'no claim is left');

# All of it has happened.
my %acknowledged = map { split /\|/ } split /\n/,
  sql('SELECT kind, count(*) FROM answers GROUP BY kind');
cmp_ok($acknowledged{$_} // 0, '>', $seconds, "many acknowledged: $_") for qw(event message);
my %operations = map { split /\|/ } split /\n/,
  sql('SELECT kind, count(*) FROM (
		SELECT operation AS kind FROM msgstore.operations_log WHERE operation <> \'replay\'
		UNION ALL SELECT \'death\' FROM msgstore.dead_letters WHERE error_code = \'MS500\'
		UNION ALL SELECT step FROM steps WHERE step = \'replay\'
		UNION ALL SELECT \'erased\' FROM erased) o GROUP BY kind');
cmp_ok($operations{$_} // 0, '>', 0, "some: $_") for qw(erase death);
my $crashes = () = log_of($node) =~ /all server processes terminated; reinitializing/g;

my $report = sprintf
  '%d s: %d events and %d messages acknowledged, %d kills (%s), %d crashes, '
  . '%d erasures, %d purges, %d replays, %d deadly events; lost %d, doubled %d, findings %d',
  $seconds, $acknowledged{event} // 0, $acknowledged{message} // 0,
  eval { my $n = 0; $n += $_ for values %killed; $n },
  join(', ', map { "$_ $killed{$_}" } sort keys %killed), $crashes,
  map({ $operations{$_} // 0 } qw(erase purge replay death)),
  map { scalar(() = /\n?[^\n]+/g) } $lost, $doubled, $findings;
note $report;
append_to_file($ENV{SOAK_REPORT}, "$report\n") if $ENV{SOAK_REPORT};

$gateway->stop;
$node->stop;
done_testing();
