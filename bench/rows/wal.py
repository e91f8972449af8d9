"""Lists the WAL of an event by the table or index that the records change, as read
with the server's pg_waldump."""
import collections
import re
import subprocess

from harness.measure import EVENTS as ALL_EVENTS
from harness.measure import announced

RECORD = re.compile(r'^rmgr: .*?len \(rec/tot\):\s+\d+/\s*(\d+)(?:.*?blkref #0: rel \d+/(\d+)/(\d+))?', re.M)

# The bytes hardly vary, so fewer events suffice.
EVENTS = max(ALL_EVENTS // 4, 500)


def measure(report, own):
    with announced('wal'), own.fresh() as database:
        start = position(database)
        own.fill(database, EVENTS, f'(1 + random() * {EVENTS // 10 - 1})::int')
        stored = position(database)
        stop = own.work(database, 1, 'drain')
        own.wait_for(database, 0, EVENTS)
        stop()
        end = position(database)
        names = dict(row.split('|') for row in database.rows("""SELECT pg_relation_filenode(oid), relname FROM pg_class
            WHERE relnamespace = 'msgstore'::regnamespace AND pg_relation_filenode(oid) IS NOT NULL"""))
        own_id = database.sql('SELECT oid FROM pg_database WHERE datname = current_database()')
        parts = [(name, records(own.server, start, end, own_id, names))
                 for name, start, end in (('ingest', start, stored), ('processing', stored, end))]
    lines = ['| part | table or index | bytes | records |', '| --- | --- | ---: | ---: |']
    for name, found in parts:
        lines += [f'| {name} | {where} | {size / EVENTS:.0f} | {count / EVENTS:.2f} |'
                  for where, (size, count) in sorted(found.items(), key=lambda item: -item[1][0])
                  if size / EVENTS >= 1]
        lines.append(f'| {name} | all | {sum(size for size, _ in found.values()) / EVENTS:.0f} | |')
    print('\n'.join(lines), flush=True)
    report.note('\n'.join(['## WAL of an event, in batches of 500\n', *lines]))


def position(database):
    return database.sql('SELECT pg_current_wal_insert_lsn()')


def records(server, start, end, own_id, names):
    """Returns the bytes and number of the records of each table and index."""
    run = subprocess.run(
        [*server.as_server, server.program('pg_waldump'), '-p', server.data / 'pg_wal', '-s', start, '-e', end],
        stdout=subprocess.PIPE, text=True, check=True)
    found = collections.defaultdict(lambda: (0, 0))
    for length, database, node in RECORD.findall(run.stdout):
        # Skips other databases and the system catalogs.
        if database not in ('', own_id) or database and node not in names:
            continue
        where = names.get(node, 'commits and others')
        size, count = found[where]
        found[where] = (size + int(length), count + 1)
    return found
