"""Measures what clients cost that follow changes: the worker drains a queue of many
conversations while a thousand clients each follow one of them, and one follows all."""
import contextlib
import select
import socket
import threading

from harness.measure import EVENTS, announced, in_turn
from harness.server import Failed, wait_until
from peers import http

LISTENERS = 1000
CONVERSATIONS = 1000
AT_ONCE = 100
PEER = f'(1 + random() * {CONVERSATIONS - 1})::int'


def measure(report, gateway):
    row = f'drain, {EVENTS:,} events, while {LISTENERS:,} clients follow a conversation each'
    with announced(row):
        report.add(row, 'events/s', in_turn({
            'nobody follows': lambda: drained(gateway, 0), 'followed': lambda: drained(gateway, LISTENERS)}),
            base='nobody follows')


def drained(gateway, listeners):
    own = gateway.side
    with gateway.running() as database:
        # Makes the conversations that are followed.
        own.fill(database, CONVERSATIONS * 10, PEER)
        own.drained(database, CONVERSATIONS * 10, 1)
        numbers = database.rows('SELECT number FROM msgstore.conversation_rows ORDER BY number')
        own.fill(database, EVENTS, PEER)
        with followers([row[0] for row in numbers][:listeners]) as told:
            figures = own.drained(database, EVENTS, 1)
            if listeners:
                wait_until(30, 'the clients are told', lambda: told.changes >= EVENTS)
        return figures


class Told:
    """What the client that follows everything has been told."""

    def __init__(self):
        self.changes = 0


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


def connect(query):
    each = socket.create_connection(('127.0.0.1', http.PORT), 30)
    each.sendall(f'GET /api/events{query} HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n'.encode())
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
            data = by_file[file].recv(1 << 20)
            if not data:
                poll.unregister(file)
            elif file == everything:
                told.changes += data.count(b'"kind"')
    poll.close()
