"""Measures what the verification of webhooks costs: the same webhooks of a source over
HTTP, with a signature that is verified and one that is not."""
import hashlib
import hmac
import json

from harness.measure import SECONDS, Usage, announced, in_turn
from peers import http

SECRET = 'secret'
WEBHOOKS = 50000


def measure(report, gateway):
    row = 'HTTP webhooks of a source, 16 connections, worker paused'
    with announced(row):
        report.add(row, 'requests/s', in_turn({
            'not verified': lambda: load(gateway, 'none'), 'verified': lambda: load(gateway, 'github')}),
            base='not verified')


def load(gateway, scheme):
    """The requests are the same on both sides, with their signatures."""
    server = gateway.side.server
    webhooks = server.work / 'webhooks.txt'
    webhooks.write_text(''.join(f'{sign(body)} {body}\n' for body in map(make_body, range(WEBHOOKS))))
    with gateway.running() as database:
        secret = f", secret => '{SECRET}'" if scheme != 'none' else ''
        path = database.sql(f"SELECT path FROM msgstore.create_source('bench', 'generic', scheme => '{scheme}'{secret})")
        with Usage(server) as usage:
            accepted, figures = http.send(16, SECONDS, 'sources.lua', f'/api/webhooks/{path}', str(webhooks))
    return {**figures, **usage.of(accepted)}


def make_body(number):
    return json.dumps({'from': f'+1555{number % 20000:07}', 'to': '+12016661234', 'id': f'bench-{number}',
                       'body': 'Hello! This is a test SMS message.', 'timestamp': '2024-11-01T14:00:00Z'})


def sign(body):
    return 'sha256=' + hmac.new(SECRET.encode(), body.encode(), hashlib.sha256).hexdigest()
