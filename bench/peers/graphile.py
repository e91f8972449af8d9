"""graphile-worker, configured as its page on performance recommends: jobs created by
SQL, a local queue, and batched completions. Its tables are analyzed, because it is
slower without. The job key is the message's id."""
from peers import event, node
from peers.side import Side


class Graphile(Side):
    name = 'graphile-worker'
    most_drained = 10000

    def prepare(self, database):
        node.prepare_work(database)
        node.run(database, 'graphile.mjs', 'install')
        self.fill(database, 1000)
        database.sql('ANALYZE')
        database.sql('DELETE FROM graphile_worker._private_jobs')

    def single(self, payload):
        return f"SELECT id FROM graphile_worker.add_job('store', ({payload})::json, job_key := 'm-' || :id)"

    def batch(self):
        return f"SELECT count(*) FROM graphile_worker.add_jobs((SELECT {self.jobs()} FROM {event.batch_payloads()} p))"

    def jobs(self):
        return ("array_agg(('store', p, NULL, NULL, NULL, p ->> 'messaging_provider_id', NULL, NULL)"
                '::graphile_worker.job_spec)')

    def fill_statement(self):
        return f"PERFORM graphile_worker.add_jobs((SELECT {self.jobs()} FROM unnest(payloads) p))"

    def work(self, database, workers, mode):
        return node.start(database, 'graphile.mjs', mode, workers)
