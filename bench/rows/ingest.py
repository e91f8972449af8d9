"""Measures storing events, one and a hundred per transaction."""
from harness.measure import ROUNDS, SECONDS, announced, in_turn
from peers import event

UNIT = 'events/s'


def measure(report, sides, prefix='', singles=(1, 4, 16), batches=(1, 4), rounds=ROUNDS):
    for sessions in singles:
        one_row(report, f'{prefix}ingest, {counted(sessions)}', sides, sessions, False, rounds)
    for sessions in batches:
        one_row(report, f'{prefix}ingest, batches of {event.BATCH}, {counted(sessions)}', sides, sessions, True, rounds)


def counted(sessions):
    return f'{sessions} session{"s" * (sessions > 1)}'


def one_row(report, row, sides, sessions, batch, rounds):
    with announced(row):
        report.add(row, UNIT, in_turn({
            side.name: lambda side=side: side.ingest(sessions, SECONDS, batch) for side in sides}, rounds))
