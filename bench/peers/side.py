"""What each side of a comparison can be asked for. A side leaves out what it has not."""
import time

from harness.measure import Usage
from harness.server import Failed, wait_until
from peers import event


class Side:
    name = ''
    # Where its events wait for work, and how to take them from there.
    schema = 'work'
    # So many events at most are drained of it in a round: a slow one need not
    # have them all to show its rate.
    most_drained = 10 ** 9
    checks_key = True

    def __init__(self, server):
        self.server = server
        self.template = f'bench_{self.name.replace("-", "_")}'
        self.made = False

    def fresh(self):
        if not self.made:
            self.server.make_template(self.template, 'msgstore', self.prepare)
            self.made = True
        return self.server.fresh(self.template)

    def prepare(self, database):
        """What the template has: tables, queues."""
        raise NotImplementedError

    def single(self, payload):
        """The statement that stores one event."""
        raise NotImplementedError

    def batch(self):
        """The statement that stores event.BATCH events, in pgbench's words."""
        raise NotImplementedError

    def fill_statement(self):
        """In PL/pgSQL, stores the events of the array "payloads"."""
        raise NotImplementedError

    def fill(self, database, events):
        database.sql(event.filled(self.fill_statement(), events))

    def work(self, database, workers, mode):
        """Begins to process what waits, or comes, and returns how to end it."""
        raise Failed('it does no work of this kind')

    # What is measured.

    def ingest(self, sessions, seconds, batch=False):
        size = event.BATCH if batch else 1
        with self.fresh() as database:
            statement = self.batch() if batch else self.single(event.one())
            self.before_ingest(database)
            with Usage(self.server) as usage:
                rate, done = database.pgbench(event.DRAW + statement + ';\n', sessions, seconds)
        return {'rate': rate * size, **usage.of(done * size)}

    def before_ingest(self, database):
        """A queue that its library wants analyzed, for one."""

    def drain(self, events, workers):
        events = min(events, self.most_drained)
        with self.fresh() as database:
            self.fill(database, events)
            database.sql('VACUUM ANALYZE')
            self.server.admin.sql('CHECKPOINT')
            with Usage(self.server) as usage:
                stop = self.work(database, workers, 'drain')
                try:
                    self.wait_for(database, events)
                finally:
                    stop()
            # A message has the time at which its transaction began: those of the
            # last one came after the time between the first and the last.
            rate = database.number(f"""WITH times AS (
                SELECT min(created_at) AS first, max(created_at) AS last FROM {self.schema}.messages)
                SELECT count(*) FILTER (WHERE m.created_at < times.last)
                    / extract(epoch FROM min(times.last) - min(times.first))
                FROM {self.schema}.messages m, times""")
            counted = database.number(f'SELECT sum(message_count) FROM {self.schema}.conversations')
            if counted != events:
                raise Failed(f'the conversations count {counted:.0f} of {events} messages')
        return {'rate': rate, **usage.of(events)}

    def wait_for(self, database, events):
        """Until so many messages are there. To count them costs the server time,
        so it is done a few times: when they could be nearly done."""
        start = time.monotonic()
        pause = 0.5
        while True:
            time.sleep(pause)
            done = database.number(f'SELECT count(*) FROM {self.schema}.messages')
            if done >= events:
                return
            elapsed = time.monotonic() - start
            if elapsed > 300:
                raise Failed(f'{done:.0f} of {events} events were processed in {elapsed:.0f} s')
            pause = min(max((events - done) * elapsed / max(done, 1) * 0.9, 0.1), 20)
