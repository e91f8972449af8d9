# The official OpenAI client works with the gateway: the newest version, and the
# newest one of the major version before.
use strict;
use warnings FATAL => 'all';

use FindBin;
use JSON::PP;
use lib "$FindBin::Bin/..";
use MsgstoreGateway;
use MsgstoreNpm;
use PostgreSQL::Test::Utils;
use Test::More;

my ($directory, $why) = install_from_npm('openai');
my %version;
sub version_of
{
	my ($name) = @_;
	return decode(PostgreSQL::Test::Utils::slurp_file("$directory/node_modules/$name/package.json"))->{version};
}
if (!$why)
{
	my $before = (version_of('openai') =~ /^(\d+)/)[0] - 1;
	($directory, $why) = install_from_npm('openai', "before\@npm:openai\@$before");
}
plan skip_all => "$why: the official client is not tested" if $why;
$version{$_} = version_of($_) for qw(openai before);

append_to_file("$directory/client.mjs", <<'JS');
const [base, module] = process.argv.slice(2);
const { default: OpenAI } = await import(module);

const client = new OpenAI({ apiKey: 'none', baseURL: base, maxRetries: 0 });
const said = {};
const refusal = (call) => Promise.resolve(call).then(() => 'accepted',
    (e) => [e.constructor.name, e.status, e.code, e.param, e.type]);
const all = async (pages) => { const ids = []; for await (const item of pages) ids.push(item.id); return ids; };
const events = async (stream) => {
    const seen = [];
    for await (const e of await stream)
        seen.push([e.type, e.sequence_number, e.delta ?? e.response?.status ?? null]);
    return seen;
};

said.retrieved = await client.responses.retrieve('resp_2');
said.unknown = await refusal(client.responses.retrieve('resp_unknown'));
said.malformed = await refusal(client.responses.retrieve('resp 1'));
said.items = await all(client.responses.inputItems.list('resp_1', { limit: 2, order: 'asc' }));
said.newest = await all(client.responses.inputItems.list('resp_1'));
said.cancelled = (await client.responses.cancel('resp_3')).status;
said.finished = await refusal(client.responses.cancel('resp_1'));

// A finished response, with a string as its input, and with its events.
const finished = { id: 'resp_4', object: 'response', status: 'completed', model: 'gpt-5', created_at: 1730469600.5,
    input: 'Is this on?', output: [{ id: 'msg_4', type: 'message', role: 'assistant', status: 'completed',
        content: [{ type: 'output_text', text: 'Yes.', annotations: [] }] }] };
said.created = await client.responses.create(finished);
said.input = (await client.responses.inputItems.list('resp_4')).data;
said.again = await refusal(client.responses.create(finished));
said.incomplete = await refusal(client.responses.create({ model: 'gpt-5', input: 'Hello' }));
said.streamed = await events(client.responses.create({ ...finished, id: 'resp_5', stream: true }));

// Stored events, from the beginning or after one of them.
said.replayed = await events(client.responses.retrieve('resp_stream', { stream: true }));
said.resumed = await events(client.responses.retrieve('resp_stream', { stream: true, starting_after: 1 }));
said.plain = await events(client.responses.retrieve('resp_2', { stream: true }));
said.nothing = await refusal(client.responses.retrieve('resp_unknown', { stream: true }));
said.after = await refusal(client.responses.retrieve('resp_2', { starting_after: 1 }));

// Conversations.
const conversation = await client.conversations.create({ metadata: { topic: 'sound' },
    items: [{ type: 'message', role: 'user', content: 'Hello' }] });
const id = conversation.id;
said.conversation = [id.slice(0, 5), conversation.object, conversation.metadata, typeof conversation.created_at];
said.same = (await client.conversations.retrieve(id)).id === id;
said.updated = (await client.conversations.update(id, { metadata: { topic: 'light' } })).metadata;
const added = await client.conversations.items.create(id, { items: [
    { id: 'msg_one', type: 'message', role: 'user', content: [{ type: 'input_text', text: 'One' }] },
    { id: 'msg_two', type: 'message', role: 'assistant', content: 'Two' }] });
said.added = added.data.map((item) => item.id);
said.item = await client.conversations.items.retrieve('msg_two', { conversation_id: id });
said.descending = (await all(client.conversations.items.list(id, { limit: 2 }))).slice(0, 2);
said.ascending = (await all(client.conversations.items.list(id, { limit: 2, order: 'asc' }))).slice(1);
said.removed = (await client.conversations.items.delete('msg_one', { conversation_id: id })).id === id;
said.gone = await refusal(client.conversations.items.retrieve('msg_one', { conversation_id: id }));

// A response adds its items; while one is in progress there is no other.
const busy = { ...finished, id: 'resp_turn', status: 'in_progress', output: [], conversation: id };
await client.responses.create({ ...finished, id: 'resp_in', conversation: id });
said.grown = (await all(client.conversations.items.list(id, { order: 'asc' }))).slice(-1);
said.of = (await client.responses.retrieve('resp_in')).conversation.id === id;
await client.responses.create(busy);
said.locked = await refusal(client.responses.create({ ...busy, id: 'resp_late' }));
await client.responses.delete('resp_turn');
said.free = await refusal(client.responses.create({ ...busy, id: 'resp_late' }));
said.nowhere = await refusal(client.responses.create({ ...finished, id: 'resp_x', conversation: 'conv_unknown' }));
said.dropped = await client.conversations.delete(id);
said.missing = await refusal(client.conversations.retrieve(id));

// What needs a model. Older clients have no functions for it.
const body = { model: 'gpt-5', input: 'Hello' };
said.compact = await refusal(client.responses.compact?.(body) ?? client.post('/responses/compact', { body }));
said.tokens = await refusal(client.responses.inputTokens?.count(body) ?? client.post('/responses/input_tokens', { body }));

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

sub prepare
{
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
	  { id => 'resp_3', status => 'queued', background => JSON::PP::true },
	  { id => 'resp_stream', status => 'in_progress' };
	$node->safe_psql('postgres', q{
		SELECT msgstore.append_response_events('resp_stream', '[{"type": "response.created"},
			{"type": "response.output_text.delta", "delta": "Ye"}, {"type": "response.output_text.delta", "delta": "s."}]');
		SELECT msgstore.update_response('resp_stream', '{"status": "completed"}')});
	return;
}

sub run_client
{
	my ($module) = @_;
	my $printed = `node '$directory/client.mjs' http://127.0.0.1:$gateway->{port}/v1 $module 2>&1`;
	my $said = eval { decode($printed) } // {};
	diag($printed) if !%$said;
	note "openai $version{$module}";

	# The client reads the documents as it reads those of the OpenAI service.
	is($said->{retrieved}{output_text}, 'Loud and clear.', 'retrieve');
	is($said->{retrieved}{previous_response_id}, 'resp_1', 'with previous_response_id');
	is_deeply($said->{items}, [ map { "msg_in$_" } 1 .. 5 ], 'input items of all pages');
	is_deeply($said->{newest}, [ map { "msg_in$_" } reverse 1 .. 5 ], 'newest first by default');
	is($said->{cancelled}, 'cancelled', 'cancel');
	my $not_found = [ 'NotFoundError', 404, 'not_found', undef, 'invalid_request_error' ];
	is_deeply($said->{unknown}, $not_found, 'an unknown response raises NotFoundError');
	is_deeply(
		$said->{malformed},
		[ 'BadRequestError', 400, 'invalid_value', 'response_id', 'invalid_request_error' ],
		'a malformed ID raises BadRequestError');
	is_deeply(
		$said->{finished},
		[ 'ConflictError', 409, 'conflict', undef, 'invalid_request_error' ],
		'a finished response cannot be cancelled');
	is_deeply($said->{deleted}, $not_found, 'delete');
	is_deeply($said->{twice}, $not_found, 'a second delete fails');

	is($said->{created}{output_text}, 'Yes.', 'create stores a finished response');
	is($said->{created}{created_at}, 1730469600.5, 'at a time with a fraction');
	is_deeply(
		$said->{input},
		[   {   id => 'item_1', type => 'message', role => 'user',
				content => [ { type => 'input_text', text => 'Is this on?' } ]
			}
		],
		'its input is a message');
	is_deeply($said->{again}, [ 'ConflictError', 409, 'conflict', 'id', 'invalid_request_error' ], 'and cannot be created again');
	is_deeply(
		$said->{incomplete},
		[ 'BadRequestError', 400, 'missing_required_parameter', 'id', 'invalid_request_error' ],
		'a request for a model is refused');
	is_deeply($said->{streamed}, [ [ 'response.completed', 0, 'completed' ] ], 'create as a stream');

	my @deltas = map { [ 'response.output_text.delta', @$_ ] } [ 1, 'Ye' ], [ 2, 's.' ];
	my $end = [ 'response.completed', 3, 'completed' ];
	is_deeply($said->{replayed}, [ [ 'response.created', 0, undef ], @deltas, $end ], 'stored events are replayed');
	is_deeply($said->{resumed}, [ $deltas[1], $end ], 'starting after one of them');
	is_deeply($said->{plain}, [ [ 'response.completed', 0, 'completed' ] ], 'a response without events is one');
	is_deeply($said->{nothing}, $not_found, 'the stream of an unknown response');
	is_deeply(
		$said->{after},
		[ 'BadRequestError', 400, 'invalid_value', 'starting_after', 'invalid_request_error' ],
		'starting_after without stream');

	is_deeply($said->{conversation}, [ 'conv_', 'conversation', { topic => 'sound' }, 'number' ], 'conversations.create');
	ok($said->{same}, 'retrieve');
	is_deeply($said->{updated}, { topic => 'light' }, 'update');
	is_deeply($said->{added}, [ 'msg_one', 'msg_two' ], 'items.create');
	is_deeply(
		$said->{item},
		{   id => 'msg_two', type => 'message', role => 'assistant', status => 'completed',
			content => [ { type => 'output_text', text => 'Two', annotations => [] } ]
		},
		'items.retrieve');
	is_deeply($said->{descending}, [ 'msg_two', 'msg_one' ], 'items.list, newest first');
	is_deeply($said->{ascending}, [ 'msg_one', 'msg_two' ], 'or oldest first');
	ok($said->{removed}, 'items.delete');
	is_deeply($said->{gone}, $not_found, 'it is gone');
	is_deeply($said->{grown}, ['msg_4'], 'a response adds its items');
	ok($said->{of}, 'and names its conversation');
	is_deeply(
		$said->{locked},
		[ 'ConflictError', 409, 'conversation_locked', 'conversation', 'invalid_request_error' ],
		'one response in progress at a time');
	is($said->{free}, 'accepted', 'a deleted response is not in progress');
	is_deeply($said->{nowhere}, [ 'NotFoundError', 404, 'not_found', undef, 'invalid_request_error' ], 'an unknown conversation');
	is($said->{dropped}{object}, 'conversation.deleted', 'conversations.delete');
	is_deeply($said->{missing}, $not_found, 'it is gone');

	my $refused = [ 'InternalServerError', 501, 'not_implemented', undef, 'server_error' ];
	is_deeply($said->{compact}, $refused, 'compact is not implemented');
	is_deeply($said->{tokens}, $refused, 'nor is input_tokens');
	return;
}

for my $module ('openai', 'before')
{
	prepare();
	run_client($module);
	$node->safe_psql('postgres', 'DELETE FROM msgstore.responses; DELETE FROM msgstore.response_events');
}

is(($gateway->stop)[0], 0, 'exit code 0');
$node->stop;
done_testing();
