"""Runs the parts named by arguments or $ONLY; by default all but the long ones."""
import os
import pathlib
import subprocess
import sys
import time

from harness.measure import SECONDS, announced
from harness.report import Report
from harness.server import Server
from peers import http as listeners
from peers.boss import Boss
from peers.floor import Floor
from peers.graphile import Graphile
from peers.own import Own
from peers.pgq import PgQ
from rows import (
    drain, growth, held, http, ingest, latency, live, projections, purge, router, search, slow_flush, sources, wal)


HERE = pathlib.Path(__file__).parent

# With LONG=1 only, or when named: all others take less than half an hour.
LONG = ('streams', 'responses')


def script(report, name, **more):
    """Runs a script that starts a server of its own and prints a table."""
    with announced(name):
        run = subprocess.run(
            [HERE / name], env={**os.environ, 'SECONDS_EACH': str(max(SECONDS // 2, 1)), **more},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    text = run.stdout.strip()
    if run.returncode:
        text = f'failed: {text[:500]}'
    print(f'\n{name}\n{text}', flush=True)
    report.note(f'## bench/{name}\n\n```text\n{text}\n```')


def main():
    started = time.monotonic()
    server = Server()
    server.admin.sql('ALTER DATABASE msgstore IS_TEMPLATE true')
    server.no_workers()
    report = Report(server)
    own, floor, pgq, graphile, boss = (side(server) for side in (Own, Floor, PgQ, Graphile, Boss))
    constant, service = listeners.constant(floor), listeners.service(floor)
    gateway, one_by_one = listeners.gateway(own), listeners.gateway(own, '--no-batch')
    parts = {
        'ingest': lambda: ingest.measure(report, [floor, own, pgq, graphile, boss]),
        'drain': lambda: drain.measure(report, [floor, own, pgq, graphile, boss]),
        'wal': lambda: wal.measure(report, own),
        'held': lambda: held.measure(report, own),
        'live': lambda: live.measure(report, gateway),
        'search': lambda: search.measure(report, own),
        'purge': lambda: purge.measure(report, own),
        'projections': lambda: projections.measure(report, own),
        'latency': lambda: latency.measure(report, own, [graphile, boss, pgq]),
        'http': lambda: http.measure(report, [constant, gateway, one_by_one, service],
                                     at_64=[listeners.usual_service(floor)]),
        'sustained': lambda: http.sustain(report, gateway, service),
        'router': lambda: router.measure(report, server),
        'sources': lambda: sources.measure(report, gateway),
        'growth': lambda: growth.measure(report, own),
        'flush': lambda: slow_flush.measure(report, [floor, own, pgq, graphile, boss], [gateway, one_by_one, service]),
        'streams': lambda: script(report, 'streams', EVENTS=os.environ.get('EVENTS', '100000')),
        'responses': lambda: script(report, 'responses'),
    }
    named = sys.argv[1:] or os.environ.get('ONLY', '').replace(',', ' ').split()
    for part in named:
        if part not in parts:
            sys.exit(f'bench: unknown part "{part}"; parts are: {", ".join(parts)}')
    for part in named or parts:
        if not named and part in LONG and not os.environ.get('LONG'):
            report.note(f'## bench/{part}\n\nnot run, because it takes long; run it with ONLY={part} or LONG=1')
            continue
        try:
            parts[part]()
        # An error in one part must not stop the others.
        except Exception as reason:
            report.add(part, 'part', {part: repr(reason)})
    report.verdicts()
    report.write()
    print(f'\n{(time.monotonic() - started) / 60:.0f} minutes; see bench/results.md and bench/results.json')


main()
