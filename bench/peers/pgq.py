"""PgQ, from Debian's package. A batch is the events between two ticks. It is processed
inside the server in one statement, which is the fastest way. It does not detect
duplicates."""
import pathlib

from harness.server import Failed, Session
from peers import event
from peers.side import Side

HERE = pathlib.Path(__file__).parent


class PgQ(Side):
    name = 'pgq'

    def prepare(self, database):
        if database.number("SELECT count(*) FROM pg_available_extensions WHERE name = 'pgq'") == 0:
            raise Failed('extension pgq is not installed: install the package postgresql-…-pgq3')
        database.run_file(HERE / 'work.sql')
        database.run_file(HERE / 'pgq.sql')

    def single(self, payload):
        return f"SELECT pgq.insert_event('events', 'sms', {payload}::text)"

    def batch(self):
        # Its documentation recommends to insert many events into the current table.
        return ('INSERT INTO pgq.event_1_0 (ev_time, ev_type, ev_data) '
                f"SELECT now(), 'sms', p FROM {event.batch_payloads('text')} p")

    def fill_statement(self):
        # Each transaction is followed by a tick, which its daemon would do.
        return """PERFORM pgq.ticker('events'); COMMIT;
            PERFORM pgq.insert_event('events', 'sms', p::text) FROM unnest(payloads) p"""

    def fill(self, database, events):
        super().fill(database, events)
        database.sql("SELECT pgq.force_tick('events')")
        database.sql("SELECT pgq.ticker('events')")

    def work(self, database, workers, mode):
        if workers > 1:
            raise Failed('PgQ supports one process per consumer; sharing batches needs another extension')
        if mode == 'drain':
            database.sql('CALL work.drain_queue()')
            return lambda: None
        sessions = [Session(self.server, database.name) for _ in range(2)]
        for session, call in zip(sessions, ('work.tick_on()', 'work.follow_queue()')):
            session.psql.stdin.write(f'CALL {call};\n')
            session.psql.stdin.flush()

        def stop():
            database.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query ~ '^CALL'")
            for session in sessions:
                session.close()
        return stop
