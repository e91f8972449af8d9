// graphile-worker: install | drain | delays
import { run, runMigrations } from 'graphile-worker';
import pg from 'pg';

const mode = process.argv[2];
const pgPool = new pg.Pool({ max: 26 });

// One statement per event, prepared once per connection.
async function store(payload, helpers) {
    await helpers.withPgClient((client) =>
        client.query({ name: 'store', text: 'SELECT work.apply_one($1::jsonb)', values: [payload] }));
}

if (mode === 'install') {
    await runMigrations({ pgPool });
    await pgPool.end();
} else {
    // Batches give the highest rate, no batches the shortest delay.
    const batches = { localQueue: { size: 500 }, completeJobBatchDelay: 0, failJobBatchDelay: 0 };
    await run({
        pgPool,
        taskList: { store },
        preset: { worker: { concurrentJobs: mode === 'drain' ? 24 : 10, maxPoolSize: 26, ...(mode === 'drain' ? batches : {}) } },
        logger: undefined,
    });
}
