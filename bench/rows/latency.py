"""Measures the delay from the commit of an event to that of its message."""
from harness.measure import FEW_ROUNDS, SECONDS, announced, in_turn


def measure(report, own, peers):
    server = own.server
    server.set('track_commit_timestamp', 'on')
    server.restart()
    try:
        for rate, sides in ((200, [own, *peers]), (2000, [own])):
            row = f'commit to processed, {rate:,} events/s'
            with announced(row):
                report.add(row, 'ms', in_turn({
                    side.name: lambda side=side: side.delays(rate, SECONDS * 2) for side in sides},
                    FEW_ROUNDS), 'p50_ms')
    finally:
        server.set('track_commit_timestamp', 'off')
        server.restart()
