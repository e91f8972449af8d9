# The official OpenAI client works with the gateway.
use strict;
use warnings FATAL => 'all';

use FindBin;
use JSON::PP;
use lib "$FindBin::Bin/..";
use MsgstoreGateway;
use PostgreSQL::Test::Utils;
use Test::More;

# Installs the client in a directory of its own; the registry may be unreachable.
my $directory = PostgreSQL::Test::Utils::tempdir();
plan skip_all => 'npm is not installed: the official client is not tested'
  if system('command -v npm node >/dev/null 2>&1') != 0;
append_to_file("$directory/package.json", '{"private": true, "type": "module"}');
{
	local $ENV{HOME} = $directory;
	my $said = `cd '$directory' && npm install --no-audit --no-fund --loglevel error openai 2>&1`;
	$said =~ s/\s+/ /g;
	plan skip_all => "npm could not install the client, so it is not tested: $said"
	  if !-d "$directory/node_modules/openai";
}
append_to_file("$directory/client.mjs", <<'JS');
import OpenAI from 'openai';

const client = new OpenAI({ apiKey: 'none', baseURL: process.argv[2], maxRetries: 0 });
const said = {};
const refusal = (call) => call.then(() => 'accepted',
    (e) => [e.constructor.name, e.status, e.code, e.param, e.type]);

said.retrieved = await client.responses.retrieve('resp_2');
said.unknown = await refusal(client.responses.retrieve('resp_unknown'));
said.malformed = await refusal(client.responses.retrieve('resp 1'));
said.items = [];
for await (const item of client.responses.inputItems.list('resp_1', { limit: 2, order: 'asc' }))
    said.items.push(item.id);
said.cancelled = (await client.responses.cancel('resp_3')).status;
said.finished = await refusal(client.responses.cancel('resp_1'));
await client.responses.delete('resp_1');
said.deleted = await refusal(client.responses.retrieve('resp_1'));
said.twice = await refusal(client.responses.delete('resp_1'));
console.log(JSON.stringify(said));
JS

my $node = start_cluster('openai');
my $gateway = MsgstoreGateway->new($node);
my $message = {
	id => 'msg_2',
	type => 'message',
	role => 'assistant',
	status => 'completed',
	content => [
		{ type => 'output_text', text => 'Loud ', annotations => [] },
		{ type => 'output_text', text => 'and clear.', annotations => [] }
	]
};
my %common = (object => 'response', model => 'gpt-5', created_at => 1730469600);
is($gateway->post('/v1/responses', { %common, %$_ })->{status}, 201, "$_->{id} is stored")
  for
  {   id => 'resp_1',
	status => 'completed',
	input => [ map { { id => "msg_in$_", type => 'message', role => 'user' } } 1 .. 5 ]
  },
  {   id => 'resp_2',
	status => 'completed',
	previous_response_id => 'resp_1',
	output => [$message]
  },
  { id => 'resp_3', status => 'queued', background => JSON::PP::true };

my $printed = `node '$directory/client.mjs' http://127.0.0.1:$gateway->{port}/v1 2>&1`;
my $said = eval { decode($printed) } // {};
diag($printed) if !%$said;

# The client reads the documents as it reads those of the OpenAI service.
is($said->{retrieved}{output_text}, 'Loud and clear.', 'retrieve');
is($said->{retrieved}{previous_response_id}, 'resp_1', 'with previous_response_id');
is_deeply($said->{items}, [ map { "msg_in$_" } 1 .. 5 ], 'input items of all pages');
is($said->{cancelled}, 'cancelled', 'cancel');
is_deeply(
	$said->{unknown},
	[ 'NotFoundError', 404, 'not_found', undef, 'invalid_request_error' ],
	'an unknown response raises NotFoundError');
is_deeply(
	$said->{malformed},
	[ 'BadRequestError', 400, 'bad_request', 'response_id', 'invalid_request_error' ],
	'a malformed ID raises BadRequestError');
is_deeply(
	$said->{finished},
	[ 'ConflictError', 409, 'conflict', undef, 'invalid_request_error' ],
	'a finished response cannot be cancelled');
is_deeply($said->{deleted}, $said->{unknown}, 'delete');
is_deeply($said->{twice}, $said->{unknown}, 'a second delete fails');

is(($gateway->stop)[0], 0, 'exit code 0');
$node->stop;
done_testing();
