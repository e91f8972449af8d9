"""Measures what clients cost that follow changes: the worker processes events of many
conversations while a thousand clients each follow one of them, and one follows all.
First the events come in at a steady rate, then the worker drains a full queue."""
import contextlib
import select
import socket
import threading

from harness.measure import EVENTS, FEW_ROUNDS, SECONDS, Usage, announced, in_turn
from harness.server import Failed, wait_until
from peers import event, http

LISTENERS = 1000
CONVERSATIONS = 1000
AT_ONCE = 100
RATE = 2000
PEER = f'(1 + random() * {CONVERSATIONS - 1})::int'
PROCESSED = 'SELECT count(*) FROM msgstore.messages'


def measure(report, gateway):
    clients = f'while {LISTENERS:,} clients follow a conversation each'
    for row, measured in ((f'{RATE:,} events/s come in, {clients}', steady), (f'drain, {EVENTS:,} events, {clients}', drained)):
        with announced(row):
            report.add(row, 'events/s', in_turn({
                'nobody follows': lambda measured=measured: measured(gateway, 0),
                'followed': lambda measured=measured: measured(gateway, LISTENERS)},
                FEW_ROUNDS), base='nobody follows')


def steady(gateway, listeners):
    """Measures the rate of processing while events come in at the given rate."""
    own = gateway.side
    with followed(gateway, listeners) as (database, told):
        before = database.number(PROCESSED)
        start = database.sql('SELECT clock_timestamp()')
        stop = own.work(database, 1, 'steady')
        try:
            with Usage(own.server) as usage:
                statement = own.single(event.one(peer=PEER))
                _, events = database.pgbench(f'{event.DRAW}{statement};\n', 4, 3 * SECONDS, '-R', str(RATE))
                wait_until(60, 'all events are processed', lambda: database.number(PROCESSED) >= before + events)
                wait_until_told(told, events, listeners)
        finally:
            stop()
        seconds = database.number(f"""SELECT extract(epoch FROM max(created_at) - min(created_at))
            FROM msgstore.messages WHERE created_at > '{start}'""")
        return {'rate': events / seconds, **usage.of(events)}


def drained(gateway, listeners):
    own = gateway.side
    with followed(gateway, listeners) as (database, told):
        own.fill(database, EVENTS, PEER)
        figures = own.drained(database, EVENTS, 1)
        wait_until_told(told, EVENTS, listeners)
        return figures


@contextlib.contextmanager
def followed(gateway, listeners):
    """Yields a database with conversations that so many clients follow."""
    own = gateway.side
    with gateway.running() as database:
        own.fill(database, CONVERSATIONS * 10, PEER)
        own.drained(database, CONVERSATIONS * 10, 1)
        numbers = database.rows('SELECT number FROM msgstore.conversation_rows ORDER BY number')
        with followers(numbers[:listeners]) as told:
            yield database, told


def wait_until_told(told, events, listeners):
    if listeners:
        wait_until(30, 'the clients are told', lambda: told.changes >= events)


class Told:
    """What the client that follows everything has been told. Like a browser, it connects
    again when the gateway has dropped it, and continues after the last change it got."""

    def __init__(self):
        self.changes = 0
        self.last_id = ''
        self.rest = b''

    def read(self, data):
        lines = (self.rest + data).split(b'\n')
        self.rest = lines.pop()
        for line in lines:
            self.changes += line.count(b'"kind"')
            if line.startswith(b'id: '):
                self.last_id = line[4:].decode()

    def connect_again(self):
        self.rest = b''
        return connect('', self.last_id)


@contextlib.contextmanager
def followers(numbers):
    told = Told()
    sockets = connected([f'?conversation={number}' for number in numbers] + [''] * bool(numbers))
    ended = threading.Event()
    reader = threading.Thread(target=read, args=(sockets, told, ended))
    reader.start()
    try:
        yield told
    finally:
        ended.set()
        reader.join()
        for each in sockets:
            each.close()


def connected(queries):
    """Returns listeners. Until it is ready, each counts as a connection of the gateway."""
    sockets = []
    for first in range(0, len(queries), AT_ONCE):
        sockets += [connect(query) for query in queries[first:first + AT_ONCE]]
        for each in sockets[first:]:
            wait_until_ready(each)
    return sockets


def connect(query, after=''):
    each = socket.create_connection(('127.0.0.1', http.PORT), 30)
    each.sendall((f'GET /api/events{query} HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n'
                  + f'Last-Event-ID: {after}\r\n' * bool(after) + '\r\n').encode())
    return each


def wait_until_ready(each):
    answer = b''
    while b'event: ready' not in answer:
        data = each.recv(65536)
        if not data:
            raise Failed(f'a listener was refused: {answer[:200]}')
        answer += data
    each.setblocking(False)


def read(sockets, told, ended):
    poll = select.epoll()
    by_file = {each.fileno(): each for each in sockets}
    for file in by_file:
        poll.register(file, select.EPOLLIN)
    everything = sockets[-1].fileno() if sockets else None
    while not ended.is_set():
        for file, _ in poll.poll(0.1):
            data = received(by_file[file])
            if file == everything:
                told.read(data)
            if data:
                continue
            poll.unregister(file)
            if file == everything:
                sockets[-1].close()
                sockets[-1] = told.connect_again()
                everything = sockets[-1].fileno()
                by_file[everything] = sockets[-1]
                poll.register(everything, select.EPOLLIN)
    poll.close()


def received(each):
    try:
        return each.recv(1 << 20)
    except ConnectionError:
        return b''
