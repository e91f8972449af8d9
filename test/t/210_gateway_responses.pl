# The Responses API over HTTP, with both stores: routes, replies, errors.
use strict;
use warnings FATAL => 'all';

use FindBin;
use JSON::PP;
use lib "$FindBin::Bin/..";
use MsgstoreGateway;
use Test::More;

my $node = start_cluster('responses');
my $gateway = MsgstoreGateway->new($node,
	env => { API_RATE_LIMIT_PER_IP_PER_MIN => 100000 });
my $answer;

sub sql { return $node->safe_psql('postgres', $_[0]) }

sub response
{
	my ($id, @more) = @_;
	return {
		id => $id,
		object => 'response',
		status => 'completed',
		model => 'model-1',
		created_at => 1730469600,
		input => [ { id => "in_$id", type => 'message', role => 'user' } ],
		output => [],
		@more
	};
}

# The API's code of an error about a field or parameter.
sub code_of
{
	my ($message) = @_;
	return
	    $message =~ /is missing$/ ? 'missing_required_parameter'
	  : $message =~ /^field .* is not an? / ? 'invalid_type'
	  :                                     'invalid_value';
}

# Tests that the reply is an error in the format of the Responses API.
sub refused
{
	my ($got, $status, $message, $param, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($type, $code) =
	    $status == 404 ? ('invalid_request_error', 'not_found')
	  : $status == 409 ? ('invalid_request_error', 'conflict')
	  : $status == 413 ? ('invalid_request_error', 'payload_too_large')
	  : $status == 405 ? ('invalid_request_error', 'method_not_allowed')
	  : $status == 415 ? ('invalid_request_error', 'unsupported_media_type')
	  : $status == 503 ? ('server_error', 'service_unavailable')
	  :                  ('invalid_request_error', defined $param ? code_of($message) : 'bad_request');
	is_deeply(
		[ $got->{status}, $got->{json} ],
		[   $status,
			{   error => {
					message => $message,
					type => $type,
					param => $param,
					code => $code
				}
			}
		],
		$name // "$status $message");
	return;
}

sub run_suite
{
	my ($store) = @_;

	# A response is stored and returned with all its fields.
	my $whole = response(
		'resp_A',
		metadata => { k => "h\x{e9}llo \x{1F44B}" },
		usage => { input_tokens => 1, output_tokens => 2, total_tokens => 3 });
	$answer = $gateway->post('/v1/responses', $whole);
	is($answer->{status}, 201, "$store: created");
	is_deeply($answer->{json}, $whole, 'and returned unchanged');
	$answer = $gateway->get('/v1/responses/resp_A');
	is($answer->{status}, 200, 'found');
	is_deeply($answer->{json}, $whole, 'with all its fields');
	refused($gateway->post('/v1/responses', $whole),
		409, 'response already exists', 'id');
	$answer = $gateway->post('/v1/responses',
		response('resp_not', store => JSON::PP::false));
	is($answer->{status}, 200, '"store": false creates nothing');
	is($answer->{json}{id}, 'resp_not', 'but the response is returned');
	refused($gateway->get('/v1/responses/resp_not'),
		404, 'response not found', undef);

	# A chain with a deleted response in the middle.
	$gateway->post('/v1/responses',
		response("resp_$_->[0]", previous_response_id => "resp_$_->[1]"))
	  for [ 'B', 'A' ], [ 'C', 'B' ];
	$answer = $gateway->request('DELETE', '/v1/responses/resp_B');
	is($answer->{status}, 200, 'deleted');
	is_deeply(
		$answer->{json},
		{   id => 'resp_B',
			object => 'response.deleted',
			deleted => JSON::PP::true
		},
		'with the deletion object');
	refused($gateway->get('/v1/responses/resp_B'),
		404, 'response not found', undef);
	refused($gateway->request('DELETE', '/v1/responses/resp_B'),
		404, 'response not found', undef, 'the second delete fails');
	$answer = $gateway->get('/v1/responses/resp_C?include_chain=true');
	is($answer->{json}{id}, 'resp_C', 'with its chain');
	is_deeply(
		[ map { [ @$_{qw(id deleted depth)} ] } @{ $answer->{json}{chain} } ],
		[   [ 'resp_A', JSON::PP::false, 2 ],
			[ 'resp_B', JSON::PP::true, 1 ],
			[ 'resp_C', JSON::PP::false, 0 ]
		],
		'oldest first, with deleted responses marked');
	is($answer->{json}{chain}[0]{response}{metadata}{k},
		"h\x{e9}llo \x{1F44B}", 'with whole documents');
	ok(!$answer->{json}{chain_truncated}, 'to its beginning');
	ok( !exists $gateway->get('/v1/responses/resp_C?include_chain=false')
		  ->{json}{chain},
		'include_chain=false omits it');

	# Lists.
	$gateway->post('/v1/responses', response("resp_$_", created_at => 1730469600 + $_))
	  for 1 .. 25;
	$answer = $gateway->get('/v1/responses');
	is(scalar @{ $answer->{json}{data} }, 20, 'the default page has twenty');
	is_deeply(
		[ @{ $answer->{json} }{qw(object first_id last_id has_more)} ],
		[ 'list', 'resp_25', 'resp_6', JSON::PP::true ],
		'newest first');
	$answer = $gateway->get('/v1/responses?after=resp_6&limit=3&order=desc');
	is_deeply([ map { $_->{id} } @{ $answer->{json}{data} } ],
		[ 'resp_5', 'resp_4', 'resp_3' ], 'after');
	$answer = $gateway->get('/v1/responses?before=resp_3&limit=2&order=asc');
	is_deeply([ map { $_->{id} } @{ $answer->{json}{data} } ],
		[ 'resp_1', 'resp_2' ], 'before, oldest first');
	is( scalar @{ $gateway->get('/v1/responses?model=other')->{json}{data} },
		0, 'by model');
	is( scalar @{
			$gateway->get('/v1/responses?status=completed&limit=500')
			  ->{json}{data}
		},
		27, 'by status');
	is( scalar @{
			$gateway->get('/v1/responses?background=true')->{json}{data} },
		0, 'by background');
	is_deeply(
		$gateway->get('/v1/responses?after=resp_unknown')->{json},
		{   object => 'list',
			data => [],
			first_id => '',
			last_id => '',
			has_more => JSON::PP::false
		},
		'after an unknown one');
	$answer = $gateway->get('/v1/responses/resp_A/input_items');
	is_deeply(
		$answer->{json},
		{   object => 'list',
			data => $whole->{input},
			first_id => 'in_resp_A',
			last_id => 'in_resp_A',
			has_more => JSON::PP::false
		},
		'input items');
	refused($gateway->get('/v1/responses/resp_B/input_items'),
		404, 'response not found', undef);

	# Cancel, and delete a response that is not finished.
	$gateway->post(
		'/v1/responses',
		response(
			"resp_bg$_",
			status => 'queued',
			background => JSON::PP::true,
			created_at => 1730460000)) for 1 .. 2;
	$answer = $gateway->request('POST', '/v1/responses/resp_bg1/cancel');
	is($answer->{status}, 200, 'cancelled');
	is($answer->{json}{status}, 'cancelled', 'and returned');
	is( $gateway->post('/v1/responses/resp_bg1/cancel', '{}')->{status},
		200, 'again, with a body');
	$answer = $gateway->request('DELETE', '/v1/responses/resp_bg2');
	is($answer->{json}{status},
		'cancelled', 'deleting a queued response cancels it');
	$answer = $gateway->request('DELETE', '/v1/responses/resp_bg2');
	is($answer->{json}{object}, 'response.deleted', 'deleting it again deletes it');
	refused($gateway->request('POST', '/v1/responses/resp_A/cancel'),
		409, 'cannot cancel response with status "completed"', undef);
	refused($gateway->request('POST', '/v1/responses/resp_B/cancel'),
		404, 'response not found', undef);
	return;
}

run_suite('durable');
is(sql('SELECT count(*) FROM msgstore.responses'), 30, 'in the table');

# Errors name the field or parameter.
refused($gateway->get("/v1/responses/$_->[0]"), 400, $_->[1], $_->[2])
  for [ 'a%20b', 'malformed response ID', 'response_id' ],
  [ 'resp_A?include_chain=yes', 'parameter "include_chain" is not true or false', 'include_chain' ],
  [ "%27%3B--", 'malformed response ID', 'response_id' ];
refused($gateway->get('/v1/responses/' . 'x' x 256), 400,
	'malformed response ID', 'response_id', 'a long id');
refused($gateway->get("/v1/responses?$_->[0]"), 400, $_->[1], $_->[2], $_->[0])
  for [ 'limit=0', 'parameter "limit" is not a positive number', 'limit' ],
  [ 'limit=-1', 'parameter "limit" is not a positive number', 'limit' ],
  [ 'limit=x', 'parameter "limit" is not a positive number', 'limit' ],
  [ 'limit=9999999999', 'parameter "limit" is not a positive number', 'limit' ],
  [ 'order=up', 'invalid sort order "up"', 'order' ],
  [ 'background=1', 'parameter "background" is not true or false', 'background' ],
  [ 'after=a&before=b', 'parameters "after" and "before" cannot be combined', 'before' ],
  [ 'after=%00', 'parameter "after" is not valid', undef ];
refused($gateway->post('/v1/responses', $_->[0]), 400, $_->[1], $_->[2])
  for [ '{}', 'field "id" is missing', 'id' ],
  [ '{"id":"a","status":"done","model":"m"}', 'invalid status "done"', 'status' ],
  [ '{"id":"a","status":"completed"}', 'field "model" is missing', 'model' ],
  [ '{"id":"a","status":"completed","model":"a\\u0000b"}', 'body has the character \\u0000 at position 42', undef ],
  [ '{"id":"a","status":"completed","model":"m","input":{}}', 'field "input" is not an array', 'input' ];
is($gateway->post('/v1/responses', '{')->{json}{error}{code}, 'bad_request', 'not JSON');
refused($gateway->request('POST', '/v1/responses', {}, '{}'), 415,
	'Content-Type must be application/json', undef);
$answer = $gateway->request('PATCH', '/v1/responses/resp_A');
refused($answer, 405, 'method is not allowed for this path', undef);
is($answer->{headers}{allow}, 'GET, HEAD, DELETE', 'Allow');
refused($gateway->get('/v1/nothing'), 404, 'path does not exist', undef);
is($gateway->post('/v1/responses', response('resp_big', text => 'x' x 300_000))->{status},
	201, 'a response may be larger than a message');
is($gateway->request('DELETE', '/v1/responses/resp_big')->{status}, 200, 'deleted');
$gateway->stop;
$gateway = MsgstoreGateway->new($node,
	env => { API_RATE_LIMIT_PER_IP_PER_MIN => 100000, RESPONSES_MAX_BODY_BYTES => 100_000 });
refused($gateway->post('/v1/responses', response('resp_big', text => 'x' x 300_000)),
	413, 'body is larger than 100000 bytes', undef);
is($gateway->request('HEAD', '/v1/responses/resp_A')->{status}, 200, 'HEAD');
is($gateway->get('/api/nothing')->{json}{code}, 'not_found', 'other routes keep their own error format');

# The setting of the database selects the store.
sql('ALTER DATABASE postgres SET msgstore.response_store = memory');
$gateway->stop;
$gateway = MsgstoreGateway->new($node,
	env => { API_RATE_LIMIT_PER_IP_PER_MIN => 100000 });
run_suite('memory');
refused($gateway->get('/v1/responses?q=zebra'), 400, 'responses in memory cannot be searched', undef, 'no search in memory');
is(sql('SET msgstore.response_store = durable; SELECT count(*) FROM msgstore.responses'),
	31, 'the table did not change');

# The role of the gateway needs the functions and no table.
my $grants = PostgreSQL::Test::Utils::slurp_file("$FindBin::Bin/../../docker/gateway_role.sql");
sql($grants);
my $other = MsgstoreGateway->new($node, user => 'msgstore_gateway');
is($other->post('/v1/responses', response('resp_role'))->{status}, 201, 'as the role: post');
is($other->get("/v1/responses$_")->{status}, 200, "as the role: GET $_")
  for '', '/resp_role', '/resp_role?include_chain=true', '/resp_role/input_items';
is($other->request('POST', '/v1/responses/resp_role/cancel')->{status}, 409, 'as the role: cancel');
is($other->request('DELETE', '/v1/responses/resp_role')->{status}, 200, 'as the role: delete');
$other->stop;

# The owner of a request: the one of its key, or the one that a header names.
sql('ALTER DATABASE postgres RESET msgstore.response_store');
sql('ALTER DATABASE postgres SET msgstore.response_search = on');
{
	my $owned = MsgstoreGateway->new($node, user => 'msgstore_gateway', env => { OWNER_HEADER => 'X-User' });
	my $as = sub { my ($method, $path, $user, $body) = @_;
		return $owned->request($method, $path, { 'X-User' => $user, $body ? ('Content-Type' => 'application/json') : () },
			$body ? encode_json($body) : ()) };

	is($as->('POST', '/v1/responses', 'ann', response('resp_ann', output => [ { content => 'A zebra, and more' } ]))->{status},
		201, 'saved by ann');
	sql('SELECT msgstore.index_responses()');
	my $find = sub { return [ map { $_->{id} } @{ $as->('GET', "/v1/responses?q=$_[1]", $_[0])->{json}{data} } ] };
	is_deeply($find->(@$_), [ 'resp_ann' ], "ann finds $_->[1]") for [ ann => 'zebra' ], [ ann => '%22and+more%22&status=completed' ];
	is_deeply($find->(@$_), [], "$_->[0] does not find $_->[1]") for [ ann => 'lion' ], [ ann => 'zebra&status=failed' ], [ bob => 'zebra' ];
	refused($as->('GET', '/v1/responses?q=-zebra', 'ann'), 400, 'query "-zebra" has no word to search for', undef, 'only an excluded word');
	is(sql(q{SELECT owner FROM msgstore.responses WHERE id = 'resp_ann'}), 'ann', 'who is its owner');
	is($as->('GET', '/v1/responses/resp_ann', 'ann')->{status}, 200, 'ann sees it');
	refused($as->('GET', '/v1/responses/resp_ann', 'bob'), 404, 'response not found', undef, 'bob does not');
	is_deeply([ map { $_->{id} } @{ $as->('GET', '/v1/responses?limit=100', 'bob')->{json}{data} } ],
		[ grep { $_ ne 'resp_ann' } map { $_->{id} } @{ $as->('GET', '/v1/responses?limit=100', 'ann')->{json}{data} } ],
		'nor in a list');
	for my $path ('/v1/responses/resp_ann', '/v1/responses')
	{
		refused($owned->get($path), 400, 'header "X-User" must name the owner of the request once', undef, "$path without an owner");
	}
	refused($as->('GET', '/v1/responses', ''), 400, 'header "X-User" must name the owner of the request once', undef, 'an empty one');
	is($owned->raw("GET /v1/responses HTTP/1.1\r\nHost: x\r\nX-User: ann\r\nX-User: bob\r\nConnection: close\r\n\r\n")->{status},
		400, 'two of them');
	is($owned->get('/api/conversations')->{status}, 200, 'other routes need no owner');
	$owned->stop;

	my %key = map { $_ => sql("SELECT msgstore.create_api_key('', '{responses}', owner => '$_')") } 'cid', '';
	$owned = MsgstoreGateway->new($node, user => 'msgstore_gateway', flags => [ '--auth', 'on' ], env => { OWNER_HEADER => 'X-User' });
	my $get = sub { return $owned->request('GET', '/v1/responses/resp_ann', { Authorization => "Bearer $key{$_[0]}", 'X-User' => 'ann' })->{status} };
	is($get->(''), 200, 'a key without an owner: the header');
	is($get->('cid'), 404, 'the owner of a key is before the header');
	$owned->stop;
}

# Without the database nothing is reported as stored.
$node->stop('fast');
refused($gateway->get('/v1/responses/resp_A'), 503, 'database is not reachable', undef);
is(($gateway->stop)[0], 0, 'exit code 0');
done_testing();
