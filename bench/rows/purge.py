"""Measures what the purge of old events costs, alone and beside ingest.

The log is filled without ingest, so that a large store is made in minutes. Its events
are old enough to be purged at once, and their number is what one worker removes in
some seconds. With PURGE_MINUTES the store is in its steady state instead: events
arrive at PURGE_RATE and grow old at the same rate."""
import os
import threading

from harness.measure import SECONDS, Usage, announced, in_turn
from harness.server import wait_until
from peers import event

MINUTES = float(os.environ.get('PURGE_MINUTES', 0))
RATE = int(os.environ.get('PURGE_RATE', 10000))
# In the steady state, all that is purged comes from the fill: no events have the times
# between the fill and the measurement.
STORED = max(int(os.environ.get('PURGE_STORED', 500000)), int(RATE * MINUTES * 60))
SESSIONS = 4
UNIT = 'events/s'
TEMPLATE = 'bench_purge'

# An event's time is in its id.
FILL = f"""INSERT INTO msgstore.event_log
    (tenant_id, id, channel, "from", "to", provider_message_id, created_at, payload)
SELECT '', overlay(gen_random_uuid()::text PLACING left(msgstore._least_uuid7(at)::text, 18) FROM 1 FOR 18)::uuid,
    'sms', '+1555' || peer, '+12016661234', 'm-' || id, at,
    {event.one(peer='peer', message_id="'m-' || id").replace('now()', 'at')}
FROM (SELECT n % 100000 AS peer, md5(n::text) AS id, now() - n * interval '1 s' / {RATE} AS at
      FROM generate_series({STORED}, 1, -1) n) made"""


def measure(report, own):
    with announced(f'a log of {STORED:,} events'):
        own.server.make_template(TEMPLATE, 'msgstore', fill)
    if MINUTES:
        steady(report, own)
        return
    with announced('purge'):
        report.add('purge, 1 worker', UNIT, in_turn({own.name: lambda: alone(own)}))
    row = f'purge: ingest, batches of {event.BATCH}, {SESSIONS} sessions, 1 worker'
    with announced(row):
        report.add(row, UNIT, in_turn({
            'no purge': lambda: beside(own, 0), 'purge': lambda: beside(own, 1)}), base='no purge')


# A key of random names is built at once in a fraction of the time that its entries take.
KEYS = """SELECT conname || ' ' || pg_get_constraintdef(oid) FROM pg_constraint
    WHERE conrelid = 'msgstore.event_log'::regclass AND contype IN ('p', 'u') ORDER BY conname"""
# Its pages are filled as if the names had come one by one: two thirds, by random splits.
SETTLED = 'fillfactor = 67'


def fill(database):
    keys = database.rows(KEYS)
    for key in keys:
        database.sql(f'ALTER TABLE msgstore.event_log DROP CONSTRAINT {key.split()[0]}')
    database.sql(FILL)
    database.sql("SET maintenance_work_mem = '1GB'")
    for key in keys:
        name, definition = key.split(' ', 1)
        random = definition.startswith('UNIQUE')
        database.sql(f'ALTER TABLE msgstore.event_log ADD CONSTRAINT {key}' + f' WITH ({SETTLED})' * random)
        if random:
            database.sql(f'ALTER INDEX msgstore.{name} RESET (fillfactor)')
    database.sql('VACUUM ANALYZE msgstore.event_log')


def purge_after(own, seconds):
    own.server.set('msgstore.purge_events_after', f'{seconds}s')
    own.server.reload()


def alone(own):
    with own.server.fresh(TEMPLATE) as database:
        purge_after(own, 1)
        with Usage(own.server) as usage:
            start = database.number('SELECT extract(epoch FROM clock_timestamp())')
            own.server.set_workers(1)
            wait_until(120, 'the log is empty', lambda: database.sql(
                'SELECT EXISTS (SELECT FROM msgstore.event_log WHERE tenant_id = \'\' ORDER BY id DESC LIMIT 1)') == 'f')
            taken = database.number('SELECT extract(epoch FROM clock_timestamp())') - start
        purge_after(own, 0)
        return {'rate': STORED / taken, **usage.of(STORED)}


def beside(own, age):
    """The events that arrive are processed, and with an age of a second also purged."""
    with own.server.fresh(TEMPLATE) as database:
        purge_after(own, age)
        own.server.set_workers(1)
        rate, _ = database.pgbench(f'{event.DRAW}{own.batch()};\n', SESSIONS, SECONDS)
        purge_after(own, 0)
        removed = STORED - database.number("SELECT count(*) FROM msgstore.event_log WHERE provider_message_id LIKE 'm-%'")
        return {'rate': rate * event.BATCH, 'removed_per_s': removed / SECONDS}


def steady(report, own):
    with own.server.fresh(TEMPLATE, 'file_copy') as database:
        own.server.set_workers(1)
        samples = {}
        row = f'purge: {RATE:,} events/s for {MINUTES:g} minutes in a log of {STORED:,}; for one minute without purge'
        with announced(row):
            samples['no purge'] = [paced(own, database, 60)]
            oldest = database.number('SELECT extract(epoch FROM now() - min(created_at)) FROM msgstore.event_log')
            purge_after(own, int(oldest))
            samples['purge'] = [paced(own, database, int(MINUTES * 60))]
            purge_after(own, 0)
        report.add(row, UNIT, samples, base='no purge')


SIZES = """SELECT round(pg_total_relation_size('msgstore.event_log') / 1e6),
    round(pg_table_size('msgstore.event_log') / 1e6)"""


def paced(own, database, seconds):
    """Also watches the size of the log."""
    sizes = []
    done = threading.Event()

    def watch():
        while True:
            sizes.append([float(size) for size in database.sql(SIZES).split('|')])
            if done.wait(5):
                return

    def counted():
        found = database.sql("""SELECT n_tup_del, vacuum_count + autovacuum_count FROM pg_stat_user_tables
            WHERE relid = 'msgstore.event_log'::regclass""")
        return [int(number) for number in found.split('|')]

    before = counted()
    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        with Usage(own.server) as usage:
            rate, transactions = database.pgbench(
                f'{event.DRAW}{own.batch()};\n', SESSIONS, seconds, '-R', str(RATE / event.BATCH))
    finally:
        done.set()
        watcher.join()
    removed, vacuums = (now - earlier for now, earlier in zip(counted(), before))
    whole, rows = zip(*sizes)
    return {'rate': rate * event.BATCH, **usage.of(transactions * event.BATCH),
            'removed_per_s': removed / seconds, 'vacuums': vacuums,
            'first_mb': whole[0], 'middle_mb': whole[len(whole) // 2], 'most_mb': max(whole), 'last_mb': whole[-1],
            'first_rows_mb': rows[0], 'last_rows_mb': rows[-1]}
