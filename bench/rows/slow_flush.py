"""Measures ingest, drain and HTTP on a disk that needs a millisecond longer to flush
the WAL. A fast disk hides the value of group commit."""
from harness.measure import EVENTS, FEW_ROUNDS
from rows import drain, http, ingest


def measure(report, sides, listeners):
    server = sides[0].server
    prefix = 'WAL flush + 1 ms: '
    server.restart(preload=server.work / 'slow_flush.so')
    try:
        ingest.measure(report, sides, prefix, singles=(1, 16), batches=(), rounds=FEW_ROUNDS)
        drain.measure(report, sides[:3], prefix, workers=(1,), events=EVENTS // 4)
        http.measure(report, listeners, prefix, connections=(64,), rounds=FEW_ROUNDS)
    finally:
        server.restart()
