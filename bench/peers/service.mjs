// A service that a team might write instead of the gateway: Fastify, a schema for
// the body, a pool, one durable INSERT per request.
import Fastify from 'fastify';
import pg from 'pg';

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
const insert = {
    name: 'insert',
    text: `INSERT INTO work.bare (channel, "from", "to", provider_message_id, payload)
        VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING RETURNING id`,
};

app.post('/api/webhooks/:channel', { schema }, async (request, reply) => {
    const { body, params } = request;
    const { rows } = await pool.query({
        ...insert,
        values: [params.channel, body.from, body.to, body.messaging_provider_id, body],
    });
    reply.code(202);
    return { status: 'accepted', id: rows[0]?.id ?? null };
});

await app.listen({ port: Number(process.argv[2]), host: '127.0.0.1' });
