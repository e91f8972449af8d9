"""Runs the rows that are asked for: main.py [ROW]... or $ONLY; all without a word."""
import os
import sys

from harness.report import Report
from harness.server import Server
from peers import http as listeners
from peers.boss import Boss
from peers.floor import Floor
from peers.graphile import Graphile
from peers.own import Own
from peers.pgq import PgQ
from rows import drain, growth, held, http, ingest, latency, slow_flush


def main():
    server = Server()
    server.admin.sql('ALTER DATABASE msgstore IS_TEMPLATE true')
    server.workers = 1
    server.no_workers()
    report = Report(server)
    own, floor, pgq, graphile, boss = (side(server) for side in (Own, Floor, PgQ, Graphile, Boss))
    constant, service = listeners.constant(floor), listeners.service(floor)
    gateway, one_by_one = listeners.gateway(own), listeners.gateway(own, '--no-batch')
    parts = {
        'ingest': lambda: ingest.measure(report, [floor, own, pgq, graphile, boss]),
        'drain': lambda: drain.measure(report, [floor, own, pgq, graphile, boss]),
        'held': lambda: held.measure(report, own),
        'latency': lambda: latency.measure(report, own, [graphile, boss, pgq]),
        'http': lambda: http.measure(report, [constant, gateway, one_by_one, service]),
        'growth': lambda: growth.measure(report, own),
        'flush': lambda: slow_flush.measure(report, [floor, own, pgq, graphile, boss], [gateway, one_by_one, service]),
        'sustained': lambda: http.sustain(report, gateway, service),
    }
    asked = sys.argv[1:] or os.environ.get('ONLY', '').replace(',', ' ').split() or list(parts)
    for part in asked:
        if part not in parts:
            sys.exit(f'bench: there is nothing to measure called "{part}"; there are: {", ".join(parts)}')
    for part in asked:
        parts[part]()


main()
