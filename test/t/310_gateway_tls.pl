# TLS to clients and to the database: versions, reloading the certificate, and
# verifying the database's certificate.
use strict;
use warnings FATAL => 'all';

use FindBin;
use IPC::Open2;
use lib "$FindBin::Bin/..";
use MsgstoreGateway;
use MsgstoreServer qw(eventually);
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $directory = PostgreSQL::Test::Utils::tempdir();
my $node = start_cluster('tls');
my ($gateway, $answer);

sub run
{
	my (@command) = @_;
	system("@command >>'$directory/log' 2>&1") == 0
	  or die "@command: " . slurp_file("$directory/log");
	return;
}

# A certificate of a temporary CA, for a name and an address, and its key.
sub certify
{
	my ($name, $alternative, $ca) = @_;
	my $file = "$directory/$name";
	append_to_file("$file.ext", "subjectAltName=$alternative\n");
	run("openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=$name -keyout $file.key -out $file.csr");
	run("openssl x509 -req -in $file.csr -CA $directory/$ca.crt -CAkey $directory/$ca.key -CAcreateserial -days 2 -extfile $file.ext -out $file.crt");
	chmod 0600, "$file.key";
	return;
}

run("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=ca$_ -days 2 -keyout $directory/ca$_.key -out $directory/ca$_.crt") for 1, 2;
certify('one', 'IP:127.0.0.1,DNS:localhost', 'ca1');
certify('two', 'IP:127.0.0.1,DNS:localhost', 'ca2');
certify('database', 'IP:127.0.0.1', 'ca1');
certify('elsewhere', 'DNS:elsewhere.example', 'ca1');

# The gateway's certificate and key are in these two files.
sub install
{
	my ($name) = @_;
	for my $kind ('crt', 'key')
	{
		unlink "$directory/gateway.$kind";
		append_to_file("$directory/gateway.$kind", slurp_file("$directory/$name.$kind"));
	}
	return;
}
my %files = (TLS_CERT => "$directory/gateway.crt", TLS_KEY => "$directory/gateway.key");

# One request by curl; returns the answer, or curl's exit code.
sub curl
{
	my (@more) = @_;
	my $output = `curl -sS --max-time 20 @more 2>&1`;
	chomp $output;
	return $? == 0 ? $output : 'exit ' . ($? >> 8) . ": $output";
}

sub trusting { return "--cacert $directory/$_[0].crt https://127.0.0.1:$gateway->{port}/healthz" }

sub fails
{
	my ($what, $pattern, %env) = @_;
	my $gateway = MsgstoreGateway->new($node, env => \%env, wait => 0);
	is($gateway->wait_exit, 1, "$what: does not start");
	like($gateway->log_text, $pattern, "$what: says why");
	return;
}

# Invalid files end the start.
install('one');
fails('a certificate without a key', qr/TLS_CERT and TLS_KEY must be set together/, TLS_CERT => $files{TLS_CERT});
fails('no such certificate', qr/could not read TLS certificate \\".*none\\": No such file/, %files, TLS_CERT => "$directory/none");
fails('no such key', qr/could not read TLS key \\".*none\\": No such file/, %files, TLS_KEY => "$directory/none");
append_to_file("$directory/nonsense", "nonsense\n");
fails('a certificate of nonsense', qr/TLS certificate \\".*nonsense\\" cannot be used: /, %files, TLS_CERT => "$directory/nonsense");
fails('a key of nonsense', qr/TLS key \\".*nonsense\\" cannot be used/, %files, TLS_KEY => "$directory/nonsense");
fails('the key of another certificate', qr/TLS key \\".*two\.key\\" cannot be used with this certificate: key values mismatch/, %files, TLS_KEY => "$directory/two.key");
run("openssl ec -in $directory/one.key -aes256 -passout pass:x -out $directory/locked.key");
fails('a key with a password', qr/TLS key \\".*locked\.key\\" cannot be used/, %files, TLS_KEY => "$directory/locked.key");

# HTTPS only, with TLS 1.2 or later.
$gateway = MsgstoreGateway->new($node, env => \%files);
is(curl(trusting('ca1')), '{"status":"ok"}', 'a client that trusts the CA is answered');
like(curl(trusting('ca2')), qr/^exit 60/, 'a client that trusts another CA is not');
is(curl('--tls-max 1.2', trusting('ca1')), '{"status":"ok"}', 'TLS 1.2');
is(curl('--tlsv1.3', trusting('ca1')), '{"status":"ok"}', 'TLS 1.3');
like(curl('--tlsv1.0 --tls-max 1.1 --ciphers DEFAULT@SECLEVEL=0', trusting('ca1')), qr/^exit 35.*protocol version/s, 'TLS 1.1 is refused by the gateway');
unlike(curl("http://127.0.0.1:$gateway->{port}/healthz"), qr/status/, 'plain HTTP gets no answer');
my $body = "-H 'Content-Type: application/json' -d '"
  . '{"from":"+18045551234","to":"+12016661234","type":"sms","messaging_provider_id":"tls","body":"hi","attachments":null,"timestamp":"2024-11-01T14:00:00Z"}'
  . "' --cacert $directory/ca1.crt https://127.0.0.1:$gateway->{port}/api/webhooks/sms";
like(curl($body), qr/"status":"accepted"/, 'a webhook');
is(curl('--request-target https://host/healthz', trusting('ca1')), '{"status":"ok"}', 'an absolute URI as the target');
is(curl('--request-target https://host', trusting('ca1')) =~ s/.*"code":"(\w+)".*/$1/sr, 'not_found', 'also without a path');
sub raw
{
	my ($bytes) = @_;
	my $pid = open2(my $out, my $in, 'openssl', 's_client', '-quiet', '-verify_quiet', '-CAfile', "$directory/ca1.crt", '-connect', "127.0.0.1:$gateway->{port}");
	print $in $bytes;
	$in->flush;
	my $answers = do { local $/; <$out> };
	waitpid $pid, 0;
	return join ' ', $answers =~ m{HTTP/1\.1 (\d+)}g;
}
my $event = JSON::PP->new->encode(inbound_sms('chunks'));
is(raw("POST /api/webhooks/sms HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
	  . sprintf("%x;x=y\r\n%s\r\n0;z\r\nA: b\r\n\r\n", length $event, $event)
	  . "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
	'202 200', 'chunks with extensions and a trailer, and the next request');
like(curl("-H 'Content-Type: application/json' -H 'Expect:' --data-binary \@$directory/log.large --cacert $directory/ca1.crt https://127.0.0.1:$gateway->{port}/api/webhooks/sms"),
	qr/payload_too_large/, 'a body that is too large gets its error')
  if append_to_file("$directory/log.large", 'x' x 300000) // 1;

# Changes are told through TLS as well.
my $events = "--cacert $directory/ca1.crt https://127.0.0.1:$gateway->{port}/api/events";
like(curl($events), qr/^\{"changes":\[\],"next":"[0-9:,]+"\}$/, 'a poll for changes');
{
	my $pid = open(my $stream, '-|', "exec curl -sN -H 'Accept: text/event-stream' $events 2>&1") // die;
	my $told = '';
	my $read = sub {
		my ($pattern) = @_;
		my $end = time + MsgstoreGateway::DEADLINE;
		while ($told !~ $pattern && time < $end && defined(my $line = <$stream>)) { $told .= $line }
		return $told;
	};
	like($read->(qr/event: ready/), qr/event: ready/, 'a stream of changes begins');
	$node->safe_psql('postgres', 'SELECT msgstore.process()');
	like($read->(qr/"kind": "message"/), qr/"direction": "inbound"/, 'and tells them');
	kill 'TERM', $pid;
	close $stream;
}

# Connections without TLS or without any data are closed in time and do not keep
# other clients out.
my @mute = map { $gateway->connection } 1 .. 40;
MsgstoreGateway::syswrite_all($_, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n") for @mute[ 0 .. 9 ];
MsgstoreGateway::syswrite_all($_, "\x16\x03\x01\x02\x00\x01") for @mute[ 10 .. 19 ];
my $start = time;
is(curl(trusting('ca1')), '{"status":"ok"}', 'others are served');
for my $socket (@mute)
{
	IO::Select->new($socket)->can_read(30);
	1 while sysread $socket, my $alert, 1000;
}
cmp_ok(time - $start, '<', 20, 'they are closed');

# SIGHUP loads a new certificate; open connections continue.
my $kept = start_client();
install('two');
kill 'HUP', $gateway->{pid};
ok(eventually(sub { $gateway->log_text =~ /reloaded TLS certificate/ }), 'SIGHUP reloads the certificate');
is(curl(trusting('ca2')), '{"status":"ok"}', 'new connections get the new certificate');
like(curl(trusting('ca1')), qr/^exit 60/, 'and not the old one');
like(ask_client($kept), qr/\{"status":"ok"\}/, 'an open connection continues');
unlink $files{TLS_KEY};
kill 'HUP', $gateway->{pid};
ok(eventually(sub { $gateway->log_text =~ /could not read TLS key .*still using the old certificate/ }), 'a missing file is logged');
is(curl(trusting('ca2')), '{"status":"ok"}', 'and the old certificate stays in use');
install('one');
unlink $files{TLS_KEY};
append_to_file($files{TLS_KEY}, slurp_file("$directory/two.key"));
kill 'HUP', $gateway->{pid};
ok(eventually(sub { $gateway->log_text =~ /key values mismatch; still using the old/ }), 'so is a key that does not match');
is(curl(trusting('ca2')), '{"status":"ok"}', 'which is not used');
$kept = undef;
is(($gateway->stop)[0], 0, 'exit code 0');

# TLS 1.2 has forward secrecy: a key that encrypts or signs is not enough to read
# what was recorded.
run("openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=rsa -addext subjectAltName=IP:127.0.0.1 -days 2 -keyout $directory/rsa.key -out $directory/rsa.crt");
install('rsa');
$gateway = MsgstoreGateway->new($node, env => \%files);
is(curl("--tls-max 1.2 --ciphers $_", trusting('rsa')), '{"status":"ok"}', "TLS 1.2 with $_")
  for qw(ECDHE-RSA-AES256-GCM-SHA384 ECDHE-RSA-CHACHA20-POLY1305 DHE-RSA-AES128-GCM-SHA256);
like(curl("--tls-max 1.2 --ciphers $_", trusting('rsa')), qr/^exit 35/, "TLS 1.2 with $_ is refused")
  for qw(AES256-GCM-SHA384 AES128-SHA256 AES128-SHA RSA);
is(curl('--tlsv1.3', trusting('rsa')), '{"status":"ok"}', 'TLS 1.3');
is(($gateway->stop)[0], 0, 'exit code 0');

# HTTPS works if everything is built with hidden visibility, as the flags of
# PostgreSQL 16 and later do for modules.
SKIP:
{
	my $root = "$FindBin::Bin/../..";
	my @objects = grep { !m{/tls_library|/sender/} } glob "$root/gateway/*.o $root/gateway/*/*.o";
	skip 'the gateway was built elsewhere', 2 if !@objects;
	my $include = `pg_config --includedir`;
	chomp $include;
	run("cc -O1 -D_GNU_SOURCE -fvisibility=hidden -I$root/gateway -I$include -c -o $directory/tls_library.o $root/gateway/http/tls_library.c");
	my ($symbols) = slurp_file("$root/gateway/Makefile") =~ /^EXPORTS = (.*)$/m;
	my $exports = join ' ', map { "-Wl,--export-dynamic-symbol=$_" } split ' ', $symbols;
	run("cc $exports -o $directory/hidden @objects $root/src/inbox/json_text.o $directory/tls_library.o -lcivetweb -lcjson -lpq -lssl -lcrypto -lz -lpthread \$(pkg-config --libs gmime-3.0)");
	my $other = MsgstoreGateway->new($node, env => \%files, program => "$directory/hidden");
	is(curl("--cacert $directory/rsa.crt https://127.0.0.1:$other->{port}/healthz"), '{"status":"ok"}', 'hidden visibility: HTTPS');
	is(($other->stop)[0], 0, 'exit code 0');
}

# Without TLS the signal does nothing.
$gateway = MsgstoreGateway->new($node);
kill 'HUP', $gateway->{pid};
is($gateway->get('/healthz')->{status}, 200, 'SIGHUP without a certificate');
is(($gateway->stop)[0], 0, 'exit code 0');

# The certificate of the database is verified.
sub serve_database
{
	my ($name) = @_;
	$node->append_conf('postgresql.conf',
		"listen_addresses = '127.0.0.1'\nssl = on\nssl_cert_file = '$directory/$name.crt'\nssl_key_file = '$directory/$name.key'");
	$node->restart;
	return;
}

# A gateway that has just started may not be connected yet.
sub connected
{
	my ($ca, $expected) = @_;
	my $url = 'postgresql://127.0.0.1:' . $node->port . "/postgres?sslmode=verify-full&sslrootcert=$directory/$ca.crt";
	my $gateway = MsgstoreGateway->new($node, env => { DATABASE_URL => $url });
	my $status;
	eventually(sub { ($status = $gateway->get('/readyz')->{status}) == $expected });
	my $secret = $status == 200
	  && $node->safe_psql('postgres',
		"SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = 'msgstore-gateway'");
	$gateway->stop;
	return ($status, $secret || '', $gateway->log_text);
}
my $user = (getpwuid $>)[0];
$node->append_conf('pg_hba.conf', "hostssl all $user 127.0.0.1/32 trust");
serve_database('database');
is_deeply([ (connected('ca1', 200))[ 0, 1 ] ], [ 200, 't' ], 'verify-full: connected and encrypted');
my ($status, undef, $log) = connected('ca2', 503);
is($status, 503, 'a certificate of another CA: not connected');
like($log, qr/certificate verify failed/, 'the log says why');
serve_database('elsewhere');
($status, undef, $log) = connected('ca1', 503);
is($status, 503, 'a certificate of another host: not connected');
like($log, qr/does not match host name/, 'the log says why');

done_testing();

# A client that keeps its connection open: two pipes to openssl s_client.
sub start_client
{
	my $pid = IPC::Open2::open2(my $out, my $in,
		"openssl s_client -quiet -connect 127.0.0.1:$gateway->{port} 2>/dev/null");
	my $client = { pid => $pid, in => $in, out => $out };
	like(ask_client($client), qr/\{"status":"ok"\}/, 'a connection is kept open');
	return $client;
}

sub ask_client
{
	my ($client) = @_;
	my $data = '';
	syswrite $client->{in}, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
	while ($data !~ /\}/ && IO::Select->new($client->{out})->can_read(10))
	{
		last if !sysread $client->{out}, $data, 4096, length $data;
	}
	return $data;
}
