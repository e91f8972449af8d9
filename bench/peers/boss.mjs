// pg-boss: install | drain | delays
import { PgBoss } from 'pg-boss';
import pg from 'pg';

const mode = process.argv[2];
const pool = new pg.Pool({ max: 4 });
const options = { host: process.env.PGHOST, port: 5432, user: process.env.PGUSER, database: process.env.PGDATABASE };

// Stores a whole batch in one statement.
async function store(jobs) {
    await pool.query({
        name: 'store',
        text: 'SELECT work.apply(array(SELECT jsonb_array_elements($1::jsonb)))',
        values: [JSON.stringify(jobs.map((job) => job.data))],
    });
}

const boss = new PgBoss({ ...options, max: 8, useListenNotify: mode === 'delays' });
boss.on('error', (error) => console.error(error));
await boss.start();
if (mode === 'install') {
    // One queue that notifies its workers of each job, and one that does not.
    const statements = [];
    const db = {
        executeSql: async (text) => {
            statements.push(text);
            return { rows: [{ id: null }] };
        },
    };
    await boss.createQueue('events');
    await boss.createQueue('events_notified', { notify: true });
    for (const queue of ['events', 'events_notified']) {
        await boss.send(queue, {}, { db });
    }
    console.log(statements.join('\0'));
    await boss.stop();
    await pool.end();
} else if (mode === 'drain') {
    await boss.work('events', { batchSize: 500, pollingIntervalSeconds: 0.5, burstWhenBatchFull: true }, store);
} else {
    await boss.work('events_notified', { batchSize: 50, pollingIntervalSeconds: 0.5 }, store);
}
