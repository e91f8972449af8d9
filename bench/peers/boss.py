"""pg-boss, with jobs fetched and processed in batches. Jobs are created by the
statement of its own send and insert, without the Node.js around it. The job's id is
derived from the message's id, so that duplicates are refused."""
from peers import event, node
from peers.side import Side


class Boss(Side):
    name = 'pg-boss'
    most_drained = 20000

    def prepare(self, database):
        node.prepare_work(database)
        self.statement = {}
        statements = node.run(database, 'boss.mjs', 'install').split('\0')
        for queue, statement in zip(('events', 'events_notified'), statements):
            self.statement[queue] = statement.strip()

    def insert(self, jobs, queue='events'):
        return ' '.join(self.statement[queue].replace('$1::json', f'({jobs})').split())

    def single(self, payload):
        return self.insert(f"json_build_array(json_build_object('id', md5('m-' || :id)::uuid, 'data', {payload}))")

    def single_for_delays(self, payload):
        return self.insert(f"json_build_array(json_build_object('id', md5('m-' || :id)::uuid, 'data', {payload}))",
                           'events_notified')

    def jobs(self):
        return "json_agg(json_build_object('id', md5(p ->> 'messaging_provider_id')::uuid, 'data', p))"

    def batch(self):
        return self.insert(f'SELECT {self.jobs()} FROM {event.batch_payloads()} p')

    def fill_statement(self):
        statement = self.statement['events'].replace('$1::json', f'(SELECT {self.jobs()} FROM unnest(payloads) p)')
        return f'PERFORM FROM ({statement}) s' if not statement.lstrip().upper().startswith('INSERT') else \
            statement.replace('RETURNING id', '')

    def work(self, database, workers, mode):
        return node.start(database, 'boss.mjs', mode, workers)
