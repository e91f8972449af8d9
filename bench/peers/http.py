"""The programs that webhooks are sent to, each with a copy of its template."""
import contextlib
import pathlib
import re
import socket
import subprocess

from harness.measure import Usage
from harness.server import Failed, wait_until
from peers import node

HERE = pathlib.Path(__file__).parent
PORT = 18480


class Listener:
    """A program that listens. side provides its database."""

    def __init__(self, name, side, command, environment=None):
        self.name = name
        self.side = side
        self.command = command
        self.environment = environment or (lambda database: {})

    @contextlib.contextmanager
    def running(self):
        command = self.command()
        server = self.side.server
        with self.side.fresh() as database, open(server.work / 'listener.log', 'w', encoding='utf-8') as log:
            process = subprocess.Popen(command, env=database.environment(**self.environment(database)),
                                       stdout=log, stderr=subprocess.STDOUT)
            try:
                wait_until(15, f'{self.name} listens', lambda: self.listens(process))
                yield database
            finally:
                process.terminate()
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()

    def listens(self, process):
        if process.poll() is not None:
            raise Failed((self.side.server.work / 'listener.log').read_text()[-300:] or f'{self.name} exited')
        with socket.socket() as probe:
            return probe.connect_ex(('127.0.0.1', PORT)) == 0

    def load(self, connections, seconds):
        with self.running(), Usage(self.side.server) as usage:
            accepted, figures = send(connections, seconds)
        return {**figures, **usage.of(accepted)}


def send(connections, seconds, script='webhooks.lua', *arguments):
    """Sends webhooks with wrk; returns their number and its figures, in milliseconds."""
    run = subprocess.run(
        ['wrk', '-t', str(min(connections, 2)), '-c', str(connections), '-d', f'{seconds}s', '--timeout', '10s',
         '-s', HERE / script, f'http://127.0.0.1:{PORT}', '--', *arguments],
        capture_output=True, text=True, check=False)
    found = re.search(r'^figures (\d+) (\d+) (\d+) (\d+) (\d+)$', run.stdout, re.M)
    if not found:
        raise Failed(f'wrk: {run.stderr.strip() or run.stdout.strip()}'[-300:])
    requests, duration, median, late, errors = map(int, found.groups())
    if errors:
        raise Failed(f'{errors} of {requests} requests failed')
    return requests, {'rate': requests * 1e6 / duration, 'p50_ms': median / 1000, 'p99_ms': late / 1000}


def constant(floor):
    return Listener(floor.name, floor, lambda: [floor.server.work / 'constant', str(PORT)])


def service(floor):
    return Listener('Fastify service', floor, lambda: [*node.program('service.mjs'), str(PORT)])


def usual_service(floor):
    return Listener('Fastify service, usual table', floor, lambda: [*node.program('service.mjs'), str(PORT), 'usual'])


def gateway(own, *flags):
    program = own.server.program('msgstore-gateway')

    def command():
        known = subprocess.run([program, '--help'], capture_output=True, text=True, check=False)
        for flag in flags:
            if flag not in (known.stdout + known.stderr).replace('[no-]', 'no-'):
                raise Failed(f'the gateway has no flag {flag}')
        return [*own.server.as_server, program, *flags]

    return Listener(
        ' '.join(['gateway', *flags]) if flags else 'msgstore', own, command,
        lambda database: {
            'DATABASE_URL': f'postgresql://msgstore_gateway@/{database.name}?host={own.server.work}&port=5432'
                            '&max_connections=32',
            'HOST': '127.0.0.1', 'PORT': str(PORT), 'HTTP_MAX_CONNECTIONS': '300',
            'HTTP_MAX_LISTENERS': '1100', 'LOG_LEVEL': 'warn'})
