"""Measures ingest, processing and a page of each list in stores of different sizes.

ingest_batch and the worker fill a store. One event in fifty belongs to the same,
long conversation; the others are spread over one conversation per ten events. The
measured events touch the same number of conversations in each store, spread over all
of them."""
import contextlib
import os

from harness.measure import SECONDS, announced, in_turn, percentile
from harness.server import Database, wait_until
from peers import event

SIZES = [int(size) for size in os.environ.get('STORED', '10000,1000000,5000000').split(',')]
TOUCHED = 1000
DRAINED = 20000
PAGE = 50
# Items that a page number reaches.
REACH = 10000
# Calls per page, and the seconds after which there are no more.
CALLS = 100
LONGEST = 1


def label(size):
    return f'{size:,} stored'


def measure(report, own):
    with announced(f'stores of {", ".join(f"{size:,}" for size in SIZES)} events'):
        make_stores(own)
    with contextlib.ExitStack() as stack:
        stores = {}
        for size in SIZES:
            stores[size] = Database(own.server, f'store_{size}')
            stack.callback(stores[size].close)
        cost_of_events(report, own, stores)
        cost_of_pages(report, stores)
    own.server.no_workers()
    for size in SIZES:
        own.server.admin.sql(f'DROP DATABASE store_{size} WITH (FORCE)')


def make_stores(own):
    server = own.server
    server.set('synchronous_commit', 'off')
    server.set('msgstore.batch_size', 2000)
    server.reload()
    with own.fresh() as database:
        stored = 0
        for size in SIZES:
            peer = f'CASE WHEN random() < 0.02 THEN 0 ELSE (1 + random() * {size // 10 - 1})::int END'
            server.set_workers(2)
            own.fill(database, size - stored, peer)
            stored = size
            own.wait_for(database, 0, stored)
            server.no_workers()
            database.sql('VACUUM ANALYZE')
            database.close()
            server.admin.sql(f'CREATE DATABASE store_{size} TEMPLATE bench STRATEGY file_copy')
            database.open()
    server.admin.sql('ALTER SYSTEM RESET synchronous_commit')
    server.admin.sql('ALTER SYSTEM RESET msgstore.batch_size')
    server.reload()


def cost_of_events(report, own, stores):
    def drained(database, size):
        own.fill(database, DRAINED, f'(1 + random() * {TOUCHED - 1})::int * {step(size)}')
        return own.drained(database, DRAINED, 1)

    def ingested(database, size):
        draw = f'\\set peer random(1, {TOUCHED}) * {step(size)}\n\\set id random(1, 9000000000000000000)\n'
        sample = own.ingested(database, own.single(event.one()), 1, 4, SECONDS, draw)
        empty_queue(own, database)
        return sample

    def step(size):
        return max(size // 10 // TOUCHED, 1)

    for row, each in (('ingest, 4 sessions', ingested), (f'drain, 1 worker, {DRAINED:,} events', drained)):
        with announced(f'growth: {row}'):
            report.add(f'growth: {row}', 'events/s', in_turn({
                label(size): lambda size=size: each(stores[size], size) for size in stores}), base=label(SIZES[0]))


def empty_queue(own, database):
    """Lets the worker process what was ingested before the next measurement."""
    own.server.set_workers(1)
    wait_until(120, 'the queue is empty', lambda: database.number(
        'SELECT count(*) - (SELECT sum(message_count) FROM msgstore.conversations) FROM msgstore.event_log') == 0, 0.5)
    own.server.set_workers(0)


def cost_of_pages(report, stores):
    for name, find in (('list_conversations', all_conversations), ('list_messages', long_conversation)):
        lists = {size: find(database) for size, database in stores.items()}
        for place, way in (('first', 'page'), ('farthest', 'page'), ('middle', 'cursor'), ('last', 'cursor')):
            row = f'{name}, {place} page of {PAGE} by {way}'
            with announced(row):
                report.add(row, 'ms', in_turn({
                    label(size): lambda size=size: page_time(stores[size], *lists[size], place)
                    for size in stores}), 'p50_ms', base=label(SIZES[0]))


def all_conversations(database):
    """Returns the start of the call, the number of items, and the items in their order."""
    return ('msgstore.list_conversations(', database.number('SELECT count(*) FROM msgstore.conversations'),
            'SELECT last_activity_at, id FROM msgstore.conversations ORDER BY 1 DESC, 2 DESC')


def long_conversation(database):
    number, count = database.sql(
        'SELECT number, message_count FROM msgstore.conversations ORDER BY message_count DESC LIMIT 1').split('|')
    return (f"msgstore.list_messages('{number}', ", float(count),
            f"""SELECT m."timestamp", m.id FROM msgstore.messages m JOIN msgstore.conversations c
                ON c.tenant_id = m.tenant_id AND c.id = m.conversation_id WHERE c.number = {number} ORDER BY 1, 2""")


def page_time(database, call, total, items, place):
    """Measures the server's time for a page with its exact total. A cursor is that of
    the last item before the page."""
    # The last full page, because pages with fewer items are not comparable.
    last = int(total // PAGE)
    number = {'first': 1, 'farthest': min(last, REACH // PAGE), 'middle': last // 2 + 1, 'last': last}[place]
    arguments = f'page => {number}, page_size => {PAGE}'
    if place in ('middle', 'last'):
        cursor = database.sql('SELECT msgstore._cursor(i.at, i.id)'
                              f' FROM ({items} LIMIT 1 OFFSET {(number - 1) * PAGE - 1}) AS i (at, id)')
        arguments = f"page_size => {PAGE}, after => '{cursor}'"
    statement = f'EXPLAIN (ANALYZE, TIMING OFF, COSTS OFF) SELECT {call}{arguments})'
    times = []
    while len(times) < CALLS and (len(times) < 3 or sum(times) < LONGEST * 1000):
        times += [float(line.split()[2]) for line in database.rows(statement) if line.startswith('Execution Time')]
    return {'p50_ms': percentile(times, 0.5), 'p99_ms': percentile(times, 0.99)}
