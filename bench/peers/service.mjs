// A service that a team might write instead of the gateway: Fastify, a schema for
// the body, a pool, one durable INSERT per request.
//
// service.mjs PORT [usual]: stores in a table with the columns of ours, or in a usual
// one that it creates itself.
import Fastify from 'fastify';
import pg from 'pg';

const [port, table = 'ours'] = process.argv.slice(2);
const pool = new pg.Pool({ max: 16 });
const app = Fastify({ logger: false });
const text = { type: 'string', minLength: 1 };
const schema = {
    body: {
        type: 'object',
        required: ['from', 'to', 'messaging_provider_id', 'body', 'timestamp'],
        properties: {
            from: text, to: text, type: text, messaging_provider_id: text, body: text,
            attachments: { type: ['array', 'null'] }, timestamp: text,
        },
    },
};
const inserts = {
    ours: {
        text: `INSERT INTO work.bare (channel, "from", "to", provider_message_id, payload)
            VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING RETURNING id`,
        values: (channel, body) => [channel, body.from, body.to, body.messaging_provider_id, body],
    },
    usual: {
        text: `INSERT INTO webhooks (channel, provider_message_id, payload)
            VALUES ($1, $2, $3) ON CONFLICT DO NOTHING RETURNING id`,
        values: (channel, body) => [channel, body.messaging_provider_id, body],
    },
};
const insert = inserts[table];

if (table === 'usual') {
    await pool.query(`CREATE TABLE webhooks (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        channel text NOT NULL,
        provider_message_id text NOT NULL,
        payload jsonb NOT NULL,
        received_at timestamptz NOT NULL DEFAULT now(),
        UNIQUE (channel, provider_message_id))`);
}

app.post('/api/webhooks/:channel', { schema }, async (request, reply) => {
    const { body, params } = request;
    const { rows } = await pool.query({
        name: 'insert',
        text: insert.text,
        values: insert.values(params.channel, body),
    });
    reply.code(202);
    return { status: 'accepted', id: rows[0]?.id ?? null };
});

await app.listen({ port: Number(port), host: '127.0.0.1' });
