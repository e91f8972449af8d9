"""Measures how fast waiting events become messages in their conversations."""
from harness.measure import CONVERSATIONS, EVENTS, FEW_ROUNDS, ROUNDS, announced, in_turn

UNIT = 'events/s'


def measure(report, sides, prefix='', workers=(1, 2), events=EVENTS):
    for count in workers:
        row = f'{prefix}drain, {count} worker{"s" * (count > 1)}, {events:,} events of {CONVERSATIONS:,} conversations'
        with announced(row):
            report.add(row, UNIT, in_turn({
                side.name: lambda side=side: side.drain(events, count) for side in sides},
                ROUNDS if count == 1 and not prefix else FEW_ROUNDS))
