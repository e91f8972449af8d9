"""msgstore itself."""
import json

from harness.server import wait_until
from peers import event
from peers.side import Side


class Own(Side):
    name = 'msgstore'
    schema = 'msgstore'

    def prepare(self, database):
        pass

    def single(self, payload):
        return f"SELECT * FROM msgstore.ingest('sms', {payload})"

    def batch(self):
        items = json.dumps([{'channel': 'sms', 'payload': t} for t in event.TEMPLATES])
        return f'SELECT count(*) FROM msgstore.ingest_batch({event.renewed(items)}::jsonb)'

    def fill_statement(self):
        return """PERFORM count(*) FROM msgstore.ingest_batch((
            SELECT jsonb_agg(jsonb_build_object('channel', 'sms', 'payload', p)) FROM unnest(payloads) p))"""

    def work(self, database, workers, mode):
        self.server.set_workers(workers)
        return lambda: self.server.set_workers(0)

    def wait_for(self, database, before, events):
        """Reads the gauge, because counting the messages of a large store would take
        both processors from the worker. What the messages change is part of the work."""
        wait_until(600, 'all events are processed',
                   lambda: database.sql("SELECT msgstore.metrics() ->> 'worker_queued'") == '0', 0.2)
        wait_until(30, 'all changes are merged', lambda: database.sql(
            'SELECT EXISTS (SELECT FROM msgstore.conversation_changes)') == 'f', 0.2)
