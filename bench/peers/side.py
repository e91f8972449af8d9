"""Base class of the sides of a comparison. A side implements what it supports."""
import time

from harness.measure import Usage
from harness.server import Failed, wait_until
from peers import event


class Side:
    name = ''
    # Schema of the messages and conversations that it creates.
    schema = 'work'
    # Maximum events drained in a round; a slow side shows its rate with fewer.
    most_drained = 10 ** 9

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
        """Creates tables and queues in the template."""
        raise NotImplementedError

    def single(self, payload):
        """Returns the statement that stores one event."""
        raise NotImplementedError

    def batch(self):
        """Returns the pgbench statement that stores event.BATCH events."""
        raise NotImplementedError

    def fill_statement(self):
        """Returns PL/pgSQL code that stores the events of the array "payloads"."""
        raise NotImplementedError

    def fill(self, database, events, peer=event.ANY_PEER):
        database.sql(event.filled(self.fill_statement(), events, peer))

    def work(self, database, workers, mode):
        """Starts processing of events and returns a function that stops it."""
        raise Failed('it does not process events')

    # What is measured.

    def ingest(self, sessions, seconds, batch=False):
        size = event.BATCH if batch else 1
        with self.fresh() as database:
            statement = self.batch() if batch else self.single(event.one())
            return self.ingested(database, statement, size, sessions, seconds)

    def ingested(self, database, statement, size, sessions, seconds, draw=event.DRAW):
        with Usage(self.server) as usage:
            rate, done = database.pgbench(f'{draw}{statement};\n', sessions, seconds)
        return {'rate': rate * size, **usage.of(done * size)}

    def drain(self, events, workers):
        events = min(events, self.most_drained)
        with self.fresh() as database:
            self.fill(database, events)
            return self.drained(database, events, workers)

    def drained(self, database, events, workers):
        """Measures the rate at which the waiting events are processed."""
        # A checkpoint would add full pages to the WAL that are no cost of an event.
        database.sql('VACUUM ANALYZE')
        start = database.sql('SELECT clock_timestamp()')
        before = database.number(f'SELECT count(*) FROM {self.schema}.messages')
        with Usage(self.server) as usage:
            stop = self.work(database, workers, 'drain')
            try:
                self.wait_for(database, before, events)
            finally:
                stop()
        # created_at is the start of a transaction. The messages of the last one
        # were made after the measured interval, so they are not counted.
        rate = database.number(f"""WITH made AS (
                SELECT created_at, count(*) AS messages FROM {self.schema}.messages
                WHERE created_at > '{start}' GROUP BY created_at),
            in_order AS (SELECT *, max(created_at) OVER () AS last FROM made)
            SELECT sum(messages) FILTER (WHERE created_at < last) / extract(epoch FROM min(last) - min(created_at))
            FROM in_order""")
        counted = database.number(f'SELECT sum(message_count) FROM {self.schema}.conversations')
        if counted != before + events:
            raise Failed(f'the conversations count {counted:.0f} instead of {before + events:.0f} messages')
        return {'rate': rate, **usage.of(events)}

    def delays(self, rate, seconds):
        """Measures the milliseconds from the commit of an event to that of its message.
        The server tracks commit times; an event's body is its transaction id."""
        with self.fresh() as database:
            statement = self.single_for_delays(event.one('pg_current_xact_id()::text'))
            stop = self.work(database, 1, 'delays')
            try:
                # Warm up first: startup does not count.
                database.pgbench(event.DRAW + statement + ';\n', 1, 1, '-R', '50')
                wait_until(20, 'the first events are processed', lambda: database.number(
                    f'SELECT count(*) FROM {self.schema}.messages') > 20)
                begin = database.sql('SELECT pg_current_xact_id()')
                with Usage(self.server) as usage:
                    _, done = database.pgbench(event.DRAW + statement + ';\n', 4, seconds, '-R', str(rate))
                    made = f"FROM {self.schema}.messages WHERE body::xid8 > '{begin}'"
                    wait_until(60, 'all events are processed',
                               lambda: database.number(f'SELECT count(*) {made}') >= done, 0.5)
            finally:
                stop()
            delays = database.sql(f"""SELECT percentile_disc('{{0.5,0.95,0.99,1}}'::float[]) WITHIN GROUP (ORDER BY
                1000 * extract(epoch FROM pg_xact_commit_timestamp(xmin)
                    - pg_xact_commit_timestamp(body::xid8::xid))::float) {made}""")
        names = ('p50_ms', 'p95_ms', 'p99_ms', 'max_ms')
        return {**dict(zip(names, map(float, delays.strip('{}').split(',')))), **usage.of(done)}

    def single_for_delays(self, payload):
        return self.single(payload)

    def wait_for(self, database, before, events):
        """Waits until all events are processed. Counting messages costs the server time,
        so it counts only when the events could be nearly done."""
        start = time.monotonic()
        pause = 0.5
        while True:
            time.sleep(pause)
            done = database.number(f'SELECT count(*) FROM {self.schema}.messages') - before
            if done >= events:
                return
            elapsed = time.monotonic() - start
            if elapsed > 300:
                raise Failed(f'{done:.0f} of {events} events were processed in {elapsed:.0f} s')
            pause = min(max((events - done) * elapsed / max(done, 1) * 0.9, 0.1), elapsed)
