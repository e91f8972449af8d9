"""Measures what a transaction that is held open costs others.

An old snapshot prevents the removal of dead rows: the worker processes many events of
few conversations, and is measured with the next ones. A session that has sent a message
and is idle in its transaction is measured by the time of another send to the same
conversation."""
import contextlib
import time

from harness.measure import EVENTS, ROUNDS, announced, in_turn, percentile
from harness.server import Session

MEASURED = EVENTS * 3 // 10
PILED_UP = 4 * MEASURED
CONVERSATIONS = max(MEASURED // 12, 1)
SENDS = 200
# The same message again would be a duplicate.
SEND = """SELECT message_id FROM msgstore.send('sms', jsonb_build_object('from', '+12016661234', 'to', '+15551',
    'type', 'sms', 'body', random()::text, 'attachments', null, 'timestamp', now()))"""


def measure(report, own):
    row = (f'worker, {MEASURED:,} events of {CONVERSATIONS:,} conversations after {PILED_UP:,}, '
           'while a snapshot is held')
    with announced(row):
        report.add(row, 'CPU µs/event', in_turn({
            'none is held': lambda: cost(own, False), 'held': lambda: cost(own, True)},
            rounds=min(ROUNDS, 2)), 'cpu_us', base='none is held')
    row = 'send, while a transaction that sent to the same conversation is open'
    with announced(row):
        report.add(row, 'ms', in_turn({
            'none is open': lambda: sends(own, False), 'open': lambda: sends(own, True)}), 'p50_ms',
            base='none is open')


def cost(own, held):
    peer = f'(1 + random() * {CONVERSATIONS - 1})::int'
    with own.fresh() as database, old_transaction(database) if held else contextlib.nullcontext():
        own.fill(database, PILED_UP, peer)
        own.drained(database, PILED_UP, 1)
        own.fill(database, MEASURED, peer)
        database.sql('VACUUM ANALYZE')
        return worker_cost(own, database)


def worker_cost(own, database):
    """Other processes are not counted: autovacuum, which tries in vain to remove dead
    rows once a minute, and the session that asks whether everything is processed."""
    stop = own.work(database, 1, 'drain')
    try:
        own.wait_for(database, PILED_UP, MEASURED)
        return {'cpu_us': own.server.worker_cpu_seconds() * 1e6 / MEASURED}
    finally:
        stop()


@contextlib.contextmanager
def old_transaction(database):
    session = Session(database.server, database.name)
    session.sql('BEGIN ISOLATION LEVEL REPEATABLE READ')
    session.sql('SELECT count(*) FROM msgstore.channels')
    try:
        yield
    finally:
        session.close()


def sends(own, is_open):
    with own.fresh() as database, contextlib.closing(Session(database.server, database.name)) as other:
        database.sql(SEND)
        if is_open:
            other.sql('BEGIN')
            other.sql(SEND)
        times = []
        for _ in range(SENDS):
            start = time.monotonic()
            database.sql(SEND)
            times.append((time.monotonic() - start) * 1000)
        return {'p50_ms': percentile(times, 0.5), 'p99_ms': percentile(times, 0.99)}
