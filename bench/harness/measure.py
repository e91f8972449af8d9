"""Measures the sides of a row in turn, with their usage of the server."""
import contextlib
import os
import statistics
import sys
import time

from harness.server import Failed

ROUNDS = int(os.environ.get('ROUNDS', 3))
# Of rows that take long, or whose sides differ by more than the rounds.
FEW_ROUNDS = min(ROUNDS, 2)
SECONDS = int(os.environ.get('SECONDS_EACH', 2))
EVENTS = int(os.environ.get('ROWS', 200000))
CONVERSATIONS = max(EVENTS // 10, 1)
# What has been measured, and the seconds it took.
TIMES = []


class Usage:
    """Measures the server's WAL and CPU time during a with block."""

    def __init__(self, server):
        self.server = server

    def __enter__(self):
        self.wal = self.server.wal_bytes()
        self.cpu = self.server.cpu_seconds()
        return self

    def __exit__(self, *_):
        # Sessions that were just closed still have to exit.
        time.sleep(0.2)
        self.cpu = self.server.cpu_seconds() - self.cpu
        self.wal = self.server.wal_bytes() - self.wal

    def of(self, events):
        return {'wal_bytes': self.wal / max(events, 1), 'cpu_us': self.cpu * 1e6 / max(events, 1)}


def in_turn(sides, rounds=ROUNDS):
    """Measures the sides in the order A B A B. sides maps names to functions that
    return a sample, a dict of figures. Returns for each name its samples, or the
    reason why it has none."""
    samples = {name: [] for name in sides}
    for _ in range(rounds):
        for name, measure in sides.items():
            if isinstance(samples[name], str):
                continue
            try:
                samples[name].append(measure())
            # An error on one side must not stop the others.
            except Exception as reason:
                samples[name] = str(reason) if isinstance(reason, Failed) else repr(reason)
    return samples


def summarize(samples):
    """Returns median, minimum and maximum of each figure."""
    return {figure: {'median': statistics.median(values), 'min': min(values), 'max': max(values)}
            for figure in samples[0]
            for values in [[sample[figure] for sample in samples if figure in sample]]}


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


@contextlib.contextmanager
def announced(what):
    start = time.monotonic()
    print(f'… {what}', end='', file=sys.stderr, flush=True)
    yield
    TIMES.append((what, time.monotonic() - start))
    print(f' {TIMES[-1][1]:.0f} s', file=sys.stderr, flush=True)
