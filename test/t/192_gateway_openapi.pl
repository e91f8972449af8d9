# GET /openapi.json is a valid OpenAPI 3.1 document, and the gateway does what it
# says: every operation is called as declared, and wrongly in every way that the
# document foresees. Each answer must have a declared status, type and body.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::Bin/..";
use MsgstoreGateway;
use MsgstoreNpm;
use PostgreSQL::Test::Utils;
use Test::More;

my ($directory, $why) = install_from_npm(qw(@seriousme/openapi-schema-validator ajv ajv-formats));
plan skip_all => "$why: the OpenAPI document is not tested" if $why;
append_to_file("$directory/client.mjs", <<'JS');
import { Validator } from '@seriousme/openapi-schema-validator';
import Ajv from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';

const [base, phase, key, readKey, sendKey] = process.argv.slice(2);
const wrong = [];
let calls = 0;
const doc = await (await fetch(base + '/openapi.json')).json();
const report = (what, why) => wrong.push(`${what}: ${why}`);

const ajv = new Ajv({ strict: false, allErrors: true });
addFormats(ajv);
ajv.addSchema({ $id: 'doc', ...doc });
const schemaOf = (content) => content?.schema.$ref?.split('/').pop();
const isValid = (name, value) => {
    const check = ajv.compile({ $ref: `doc#/components/schemas/${name}` });
    return check(value) ? '' : ajv.errorsText(check.errors) + ' in ' + JSON.stringify(value);
};
const requiredOf = (name) => {
    const schema = doc.components.schemas[name];
    return [...(schema.required ?? []),
        ...(schema.allOf ?? []).flatMap((part) => requiredOf(part.$ref.split('/').pop()))];
};

// Calls an operation as declared, except for what the options replace. An answer
// must be declared, and have one of the expected statuses.
async function call(op, what, expected, options = {}) {
    const name = `${op.operationId} ${what}`;
    let path = op.path;
    const query = new URLSearchParams(options.query ?? []);
    const headers = { Authorization: `Bearer ${options.key ?? key}`, ...options.headers };
    for (const p of op.parameters) {
        if (p.in === 'path')
            path = path.replace(`{${p.name}}`, options.path ?? p.example);
        else if (p.in === 'query' && p.example !== undefined && !options.query)
            query.append(p.name, p.example);
        else if (p.in === 'header' && p.name !== 'Idempotency-Key' && p.example !== undefined)
            headers[p.name] = p.example;
    }
    if (options.key === '')
        delete headers.Authorization;
    let body;
    if (op.body) {
        headers['Content-Type'] ??= 'application/json';
        body = options.body ?? JSON.stringify(op.example);
    }
    const search = query.size > 0 ? '?' + query : '';
    const answer = await fetch(base + path + search, { method: op.method, headers, body });
    const text = await answer.text();
    calls++;
    if (!expected.includes(answer.status))
        return report(name, `${answer.status} instead of ${expected}: ${text}`);
    const declared = op.responses[answer.status];
    if (!declared)
        return report(name, `status ${answer.status} is not declared`);
    const type = answer.headers.get('Content-Type').split(';')[0];
    const content = declared.content[type] ?? declared.content['*/*'];
    if (!content)
        return report(name, `type ${type} is not declared for ${answer.status}`);
    if (type === 'application/json') {
        const why = isValid(schemaOf(content), JSON.parse(text));
        if (why !== '')
            report(name, why);
    }
    if (declared.headers?.['Retry-After'] && !/^\d+$/.test(answer.headers.get('Retry-After') ?? ''))
        report(name, 'no Retry-After');
}

// As declared, and with each parameter of its query alone.
async function callWell(op) {
    const good = Object.keys(op.responses).filter((s) => s < 300).map(Number);
    await call(op, 'as declared', good);
    if (op.method === 'GET')
        for (const p of op.parameters.filter((p) => p.in === 'query' && p.example !== undefined))
            await call(op, `with ${p.name}`, good, { query: [[p.name, p.example], ...(op.path.endsWith('/search') && p.name !== 'q' ? [['q', 'hello']] : [])] });
    if (op.responses[200]?.content['text/plain'])
        await call(op, 'as JSON', good, { headers: { Accept: 'application/json' } });
}

async function callWrongly(op) {
    if (op.security) {
        await call(op, 'without a key', [401], { key: '' });
        const needed = op.security[0].key[0];
        await call(op, 'with a key for something else', [403],
            { key: needed === 'read' ? sendKey : readKey });
    }
    if (op.method === 'GET' && op.responses[406])
        await call(op, 'for a picture', [406], { headers: { Accept: 'image/png' } });
    if (!op.operationId.match(/^(receive(?!Mock)|recordStatus)/))
        await call(op, 'with an unknown parameter', [400], { query: [['no', 'such']] });
    // Appending creates a stream.
    if (op.path.includes('{') && op.operationId !== 'appendEvent')
        await call(op, 'for what is not there', [404], { path: '999999' });
    if (op.path.includes('{response_id}'))
        await call(op, 'for a malformed id', [400], { path: 'a%20b' });
    if (!op.body)
        return;
    await call(op, 'as text', [415], { headers: { 'Content-Type': 'text/plain' } });
    await call(op, 'with half a body', [400], { body: '{' });
    await call(op, 'with a large body', [413],
        { body: JSON.stringify({ ...op.example, large: 'x'.repeat(300000) }) });
    for (const member of requiredOf(op.body)) {
        const { [member]: _, ...rest } = op.example;
        await call(op, `without ${member}`, [400], { body: JSON.stringify(rest) });
        if (isValid(op.body, rest) === '')
            report(op.operationId, `the schema does not require ${member}`);
    }
}

// What the document does not declare is not there.
async function callUndeclared(path) {
    const declared = Object.keys(doc.paths[path]).map((m) => m.toUpperCase());
    for (const method of ['GET', 'POST', 'PUT', 'DELETE', 'PATCH']) {
        // POST /api/messages/search is a message of the channel "search".
        if (declared.includes(method) || method !== 'GET' && path.endsWith('/search'))
            continue;
        const answer = await fetch(base + path.replace(/\{[^}]*\}/g, '1'), { method });
        const allowed = (answer.headers.get('Allow') ?? '').split(', ').filter((m) => m !== 'HEAD');
        calls++;
        if (answer.status !== 405 || allowed.sort().join() !== declared.sort().join())
            report(`${method} ${path}`, `${answer.status}, allowed: ${allowed}`);
    }
}

const operations = Object.entries(doc.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, op]) => {
        const body = schemaOf(op.requestBody?.content['application/json']);
        return { ...op, path, method: method.toUpperCase(), body,
            example: body && doc.components.schemas[body].examples[0] };
    }));
const rank = { GET: 0, POST: 1, DELETE: 2 };
// What is inside of something else is deleted first.
const reads = operations.filter((op) => !op.body).sort((a, b) => rank[a.method] - rank[b.method]
    || (a.method === 'DELETE' ? b.path.length - a.path.length : 0));
const writes = operations.filter((op) => op.body);

if (phase === 'write') {
    const validity = await new Validator().validate(structuredClone(doc));
    if (!validity.valid)
        report('document', JSON.stringify(validity.errors));
    if (new Set(operations.map((op) => op.operationId)).size !== operations.length)
        report('document', 'an operationId is repeated');
    for (const op of operations)
        for (const p of op.parameters)
            if (!p.schema)
                report(op.operationId, `parameter ${p.name} has no schema`);
    for (const op of writes) {
        const why = isValid(op.body, op.example);
        if (why !== '')
            report(op.operationId, 'its example: ' + why);
        await callWrongly(op);
        await callWell(op);
        if (op.parameters.some((p) => p.name === 'Idempotency-Key')) {
            const headers = { 'Idempotency-Key': op.operationId };
            const other = JSON.stringify({ ...op.example, more: 'different' });
            await call(op, 'with an idempotency key', [202], { headers });
            await call(op, 'with its key again', [409], { headers, body: other });
        }
    }
}
else if (phase === 'read') {
    for (const op of reads)
        await callWrongly(op);
    for (const op of reads)
        await callWell(op);
    for (const path of Object.keys(doc.paths))
        await callUndeclared(path);
}
else
    for (const op of operations)
        // These need only the key, which is remembered for some seconds.
        await call(op, 'without a database',
            op.operationId.match(/MockConfiguration|getMetrics|(get|create)Session/) ? [200, 503]
                : op.security || op.operationId === 'getReadiness' ? [503] : [200]);
console.log(JSON.stringify({ calls, wrong, operations: operations.length }));
JS

my $node = start_cluster('openapi', 'msgstore.response_search = on');
my $gateway = MsgstoreGateway->new($node, flags => [ '--auth', 'on' ], env => { RESPONSES_MAX_BODY_BYTES => 262144 });
my $key = $node->safe_psql('postgres',
	"SELECT msgstore.create_api_key('', '{ingest,send,read,responses,append,consume,operate}')");

# Keys that are good for one scope only: an operation is called with the first
# whose scope it does not need.
$node->safe_psql('postgres', q{SELECT msgstore.create_subscription('mailer', 'order')});
$node->safe_psql('postgres', q{INSERT INTO msgstore.attachments (tenant_id, id, message_id, position, kind, size_bytes, content)
	VALUES ('', '0191c0de-0000-8000-8000-000000000001', msgstore.uuid7(), 1, 'attachment', 1, 'x')});
my %poor = map { $_ => $node->safe_psql('postgres', "SELECT msgstore.create_api_key('', '{$_}')") }
  qw(read send);

sub run_phase
{
	my ($phase) = @_;
	my $printed = `node '$directory/client.mjs' http://127.0.0.1:$gateway->{port} $phase '$key' '$poor{read}' '$poor{send}' 2>&1`;
	my $said = eval { decode($printed) } // {};
	diag($printed) if !%$said;
	is(join("\n", @{ $said->{wrong} // ['no answer'] }), '', "$phase: as the document says");
	return $said;
}

my $said = run_phase('write');
cmp_ok($said->{operations}, '>', 20, 'it has all operations');
cmp_ok($said->{calls}, '>', 80, 'and all that can be wrong with them was tried');
$node->safe_psql('postgres', 'SELECT msgstore.process()');
$said = run_phase('read');
cmp_ok($said->{calls}, '>', 100, 'reads, wrong ones, and what is not there');
$node->stop('fast');
run_phase('away');

# Without keys no operation asks for one.
$gateway->stop;
$gateway = MsgstoreGateway->new($node, flags => [ '--health-path', '/health' ]);
my $document = $gateway->get('/openapi.json')->{json};
is_deeply([ grep { exists $_->{security} } map { values %$_ } values %{ $document->{paths} } ],
	[], 'without keys the document has no security');
ok(!exists $document->{paths}{'/healthz'}, 'it has the path of the liveness probe');
is(($gateway->stop)[0], 0, 'exit code 0');
done_testing();
