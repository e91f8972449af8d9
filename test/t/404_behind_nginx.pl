# Webhooks through nginx: the signature holds, because nginx passes the URL and the bytes
# as they were; and nobody but a trusted proxy says what the URL was.
use strict;
use warnings FATAL => 'all';

use Digest::SHA qw(hmac_sha1_base64 hmac_sha256_hex);
use FindBin;
use lib "$FindBin::Bin/..";
use MsgstoreGateway;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Socket qw(inet_aton inet_ntoa);
use Test::More;

my ($program) = grep { -x } map { "$_/nginx" } split(/:/, $ENV{PATH}), '/usr/sbin';
plan skip_all => 'nginx is not installed' if !$program;

my $node = start_cluster('nginx');
my $gateway = MsgstoreGateway->new($node);
my $directory = PostgreSQL::Test::Utils::tempdir();
my $port = PostgreSQL::Test::Cluster::get_free_port();

# The configuration of docs/sources.md. This nginx has no certificate: in front of it
# would be one that says "https".
my ($location) = slurp_file("$FindBin::Bin/../../docs/sources.md") =~ /^```nginx\n(.*?)^```/ms;
ok($location =~ s/127\.0\.0\.1:8080/127.0.0.1:$gateway->{port}/ && $location =~ s/\$scheme/https/, 'the documentation has it');
append_to_file("$directory/nginx.conf", <<"CONF");
daemon off;
pid $directory/pid;
error_log $directory/error.log;
worker_processes 1;
events {}
http {
    access_log off;
    client_body_temp_path $directory/body;
    proxy_temp_path $directory/proxy;
    fastcgi_temp_path $directory/fastcgi;
    uwsgi_temp_path $directory/uwsgi;
    scgi_temp_path $directory/scgi;
    server {
        listen 127.0.0.1:$port;
$location
    }
}
CONF
my $nginx = fork() // die "fork: $!";
if ($nginx == 0) { exec $program, '-e', "$directory/error.log", '-c', "$directory/nginx.conf" or die "exec: $!" }
END { if ($nginx) { local $?; kill 'TERM', $nginx; waitpid $nginx, 0 } }
ok(eventually(sub { IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port) }), 'nginx listens')
  or diag(slurp_file("$directory/error.log"));

sub sql { return $node->safe_psql('postgres', $_[0]) }
sub stored { return sql("SELECT string_agg(provider_message_id, ' ' ORDER BY id) FROM msgstore.inbound_events") // '' }

# Raw, so that the request is what is written here. Returns the status.
sub deliver
{
	my ($where, $target, $body, %headers) = @_;
	my $socket = IO::Socket::INET->new(PeerAddr => $where->[0], PeerPort => $where->[1]) // die "connect: $!";
	my %all = (Host => 'hooks.example.com', 'Content-Length' => length $body, Connection => 'close', %headers);
	MsgstoreGateway::syswrite_all($socket, "POST $target HTTP/1.1\r\n" . join('', map { "$_: $all{$_}\r\n" } sort keys %all) . "\r\n$body");
	my $answer = $gateway->read_answer($socket);
	return $answer ? $answer->{status} : 'none';
}

sub twilio
{
	my ($url, %fields) = @_;
	my $digest = hmac_sha1_base64($url . join('', map { "$_$fields{$_}" } sort keys %fields), 'token');
	return ('Content-Type' => 'application/x-www-form-urlencoded', 'X-Twilio-Signature' => $digest . '=' x (-length($digest) % 4));
}
sub form { my (%fields) = @_; return join '&', map { "$_=" . MsgstoreGateway::escape($fields{$_}) } sort keys %fields }

my $through = [ '127.0.0.1', $port ];
my $path = '/api/webhooks/' . sql("SELECT path FROM msgstore.create_source('tw', 'twilio', 'token')");
my %message = (MessageSid => 'SM1', From => '+15551230001', To => '+15559870001', Body => 'Hi');

is(deliver($through, $path, form(%message), twilio("https://hooks.example.com$path", %message)), 200, 'a form, signed with its URL');
for my $query ("?a=it's%20one&b=%7E&c=d+e%2F", '?name=%C3%A9&x=//y/../z')
{
	my %other = (%message, MessageSid => 'SM' . length $query);
	is(deliver($through, "$path$query", form(%other), twilio("https://hooks.example.com$path$query", %other)), 200, "with the query $query");
}
is(stored(), 'SM1 SM28 SM23', 'are stored');
%message = (%message, MessageSid => 'SM3');
is(deliver($through, $path, form(%message), twilio("https://evil.example.com$path", %message), 'X-Forwarded-Host' => 'evil.example.com'),
	403, 'a client cannot say through nginx what the URL was');
is(deliver($through, $path, form(%message), twilio("http://hooks.example.com$path", %message), 'X-Forwarded-Proto' => 'http'), 403, 'nor its scheme');

my $github = '/api/webhooks/' . sql("SELECT path FROM msgstore.create_source('hub', 'generic', 'token', scheme => 'github')");
my $json = "\n{ \"id\":\"J1\" ,\t\"from\":\"+1\", \"to\": \"+2\", \"body\": \"caf\xc3\xa9 \\u00e9\", \"n\": 1.0 }\r\n";
is(deliver($through, $github, $json, 'Content-Type' => 'application/json', 'X-Hub-Signature-256' => 'sha256=' . hmac_sha256_hex($json, 'token')),
	202, 'a signed body, with its white space');
my $mail = '/api/webhooks/' . sql("SELECT path FROM msgstore.create_source('mail', 'mailgun-routes', 'token')");
my %fields = (recipient => 'a@own.example', from => 'b@y.example', 'Message-Id' => '<M1@y.example>', 'body-plain' => 'x' x 3_000_000,
	timestamp => time, token => 't1');
$fields{signature} = hmac_sha256_hex("$fields{timestamp}$fields{token}", 'token');
my $parts = join('', map { "--X\r\nContent-Disposition: form-data; name=\"$_\"\r\n\r\n$fields{$_}\r\n" } sort keys %fields) . "--X--\r\n";
is(deliver($through, $mail, $parts, 'Content-Type' => 'multipart/form-data; boundary=X'), 200, 'an e-mail of 3 MB');
is(stored(), 'SM1 SM28 SM23 J1 M1@y.example a@own.example', 'all of them once');
$gateway->stop;

# If the proxies are known, a client that begins X-Forwarded-For itself gets nowhere: the last
# address that is not a proxy's counts.
my $proxies = '10.0.0.0/9, 192.0.2.7 2001:db8:0:8000::/49,fd00::1';
my @chains = (
	[ '203.0.113.1', '203.0.113.1' ], [ '203.0.113.1, 198.51.100.2', '198.51.100.2' ],
	[ '203.0.113.1, 198.51.100.2, 10.127.255.255,192.0.2.7', '198.51.100.2' ],
	[ '203.0.113.1, 10.128.0.0', '10.128.0.0' ], [ '203.0.113.1, 192.0.2.8', '192.0.2.8' ],
	[ '203.0.113.1, ::ffff:10.0.0.1, 2001:db8:0:ffff::1, fd00::1, 127.0.0.1', '203.0.113.1' ],
	[ '203.0.113.1, 2001:db8:0:7fff::1', '2001:db8:0:7fff::1' ], [ '203.0.113.1, fd00::2', 'fd00::2' ],
	[ '10.0.0.2, 10.0.0.1', '10.0.0.2' ], [ '203.0.113.1, nonsense, 10.0.0.1', '10.0.0.1' ], [ '203.0.113.1, nonsense', '127.0.0.1' ],
	[ '', '127.0.0.1' ], [ ',', '127.0.0.1' ], [ [ '203.0.113.1', '198.51.100.2' ], '198.51.100.2' ]);
$gateway = MsgstoreGateway->new($node, env => { TRUST_PROXY => $proxies });
for my $chain (@chains)
{
	my $answer = $gateway->get('/healthz', 'X-Forwarded-For' => $chain->[0]);
	is($gateway->log_line($answer->{headers}{'x-request-id'})->{client}, $chain->[1], "client $chain->[1]");
}
$gateway->stop;

# From a peer on another address only TRUST_PROXY trusts the headers.
my $own = eval { inet_ntoa(inet_aton((split ' ', `hostname -I 2>/dev/null`)[0] // '')) } // '';
SKIP:
{
	my ($range, $first) = $own =~ /^((\d+)\.\d+\.)/;
	skip 'this machine has only the loopback address', 10 if $own eq '' || $own =~ /^127/;
	for my $setting ([ 'false', 0 ], [ 'true', 1 ], [ $own, 1 ], [ "192.0.2.1,${range}0.0/16", 1 ], [ ($first ^ 1) . '.0.0.0/8,::1', 0 ])
	{
		my ($trust, $trusted) = @$setting;
		$gateway = MsgstoreGateway->new($node, flags => [ '--insecure', "--trust-proxy=$trust" ], env => { HOST => '0.0.0.0' });
		my %other = (%message, MessageSid => "SM$trust");
		my @headers = (twilio("https://hooks.example.com$path", %other), 'X-Forwarded-Proto' => 'https');
		is(deliver([ $own, $gateway->{port} ], $path, form(%other), @headers), $trusted ? 200 : 403, "TRUST_PROXY=$trust");
		%other = (%other, MessageSid => "SM-$trust");
		is(deliver([ $own, $gateway->{port} ], $path, form(%other), twilio("http://hooks.example.com$path", %other)), 200,
			'without the headers, what the client says counts');
		$gateway->stop;
	}
}

$node->stop;
done_testing();
