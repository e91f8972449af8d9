"""Measures webhooks accepted over HTTP, each durable before its response. wrk sends
them from the same cores."""
import os
import time

from harness.measure import ROUNDS, SECONDS, Usage, announced, in_turn
from harness.server import Failed
from peers import http

UNIT = 'requests/s'
SUSTAINED = int(os.environ.get('SUSTAINED', 15))


def measure(report, listeners, prefix='', connections=(1, 16, 64, 256), at_64=(), rounds=ROUNDS):
    """at_64 are listeners for which one row is enough."""
    for count in connections:
        sides = [*listeners, *(at_64 if count == 64 else ())]
        row = f'{prefix}HTTP webhooks, {count} connection{"s" * (count > 1)}, worker paused'
        with announced(row):
            report.add(row, UNIT, in_turn({
                listener.name: lambda listener=listener: listener.load(count, SECONDS) for listener in sides}, rounds))


def sustain(report, gateway, service):
    """Measures webhooks accepted and processed at the same time, and a service that only
    stores; one round, because it takes long."""
    row = f'sustained: HTTP webhooks, 64 connections, {SUSTAINED} s, worker on; the service only stores'
    with announced(row):
        report.add(row, UNIT, in_turn({
            gateway.name: lambda: accepted_and_processed(gateway),
            service.name: lambda: service.load(64, SUSTAINED)}, rounds=1))


def accepted_and_processed(gateway):
    server = gateway.side.server
    with gateway.running() as database:
        server.set_workers(1)
        start = time.monotonic()
        with Usage(server) as usage:
            accepted, figures = http.send(64, SUSTAINED)
            processed = database.number('SELECT count(*) FROM msgstore.messages')
            elapsed = time.monotonic() - start
    if processed == 0:
        raise Failed('the worker processed nothing')
    return {**figures, 'rate': processed / elapsed, 'accepted/s': figures['rate'], **usage.of(accepted)}
