"""Measures the worker while an idle transaction, older than the events, prevents the
removal of dead rows: with these events, and then with a quarter as many more."""
import contextlib

from harness.measure import EVENTS, announced, in_turn
from harness.server import Session

UNIT = 'events/s'


def measure(report, own):
    row = 'drain, 1 worker, beside a transaction that is held'
    with announced(row):
        samples = in_turn({held: lambda held=held: rates(own, held) for held in (False, True)})
    for which, words in enumerate((row, f'{row}, a quarter more after them')):
        report.add(words, UNIT, {
            name: samples[held] if isinstance(samples[held], str) else [pair[which] for pair in samples[held]]
            for held, name in ((False, 'none is held'), (True, 'held'))}, base='none is held')


def rates(own, held):
    with own.fresh() as database, old_transaction(database) if held else contextlib.nullcontext():
        own.fill(database, EVENTS)
        first = own.drained(database, EVENTS, 1)
        own.fill(database, EVENTS // 4)
        return first, own.drained(database, EVENTS // 4, 1)


@contextlib.contextmanager
def old_transaction(database):
    session = Session(database.server, database.name)
    session.sql('BEGIN ISOLATION LEVEL REPEATABLE READ')
    session.sql('SELECT count(*) FROM msgstore.channels')
    try:
        yield
    finally:
        session.close()
