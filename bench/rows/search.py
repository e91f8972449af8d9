"""Measures what the index of messages costs ingest and the worker, and search_messages
in a large store beside what PostgreSQL offers without it: a GIN index on the table of
messages, and LIKE.

Words occur as in a natural language: the second most frequent half as often as the
first, the third a third. One message in twenty is in a script without spaces, and one
in four has a number. SQL fills the store, because only the messages and their index
are read."""
import os
import random
import threading

from harness.measure import EVENTS, ROUNDS, SECONDS, announced, in_turn, percentile
from harness.server import Database
from peers import event

MESSAGES = int(os.environ.get('SEARCHED', 1000000))
WORDS = 50000
CHARACTERS = 3000
PAGE = 20
# Bodies are made of two of these each: a word for each of a million would take long.
HALVES = 100000
# Searches, and the milliseconds after which a side has no more of them.
SEARCHES = 200
LONGEST = 2000
# Events that are indexed, in the second row while others are ingested.
INDEXED = EVENTS // 2
# Seconds of a turn of ingest, in which the worker merges twice.
BESIDE = 10 * SECONDS
WITHOUT, WITH = 'not indexed', 'indexed'

# A word for each number. The letters of frequent ones do not look alike.
WORD = "translate(to_hex(({0})::int * 7919 % 65536), '0123456789', 'ghijklmnop')"
HALF = f"""SELECT n, n % 20 = 0 AS unspaced, CASE WHEN n % 20 = 0
        THEN string_agg(chr(19968 + power({CHARACTERS}, random())::int), '')
        ELSE string_agg({WORD.format(f'power({WORDS}, random())')}, ' ') END AS text
    FROM generate_series(1, {HALVES}) n CROSS JOIN generate_series(1, 4 + n % 4)
    GROUP BY n"""
FILL = f"""
SELECT setseed(0.5);
CREATE TABLE halves AS {HALF};
INSERT INTO msgstore.conversation_rows (tenant_id, channel, participant_a, participant_b, key)
SELECT '', 'sms', a, b, 'sms:' || a || '<->' || b
FROM (SELECT '+12016661234' AS a, '+1804' || lpad(n::text, 7, '0') AS b
      FROM generate_series(1, {MESSAGES // 20}) n) p;
CREATE TABLE numbered AS SELECT row_number() OVER () AS i, * FROM msgstore.conversation_rows;
INSERT INTO msgstore.messages (tenant_id, conversation_id, "timestamp", direction, channel,
    conversation_key, "from", "to", body)
SELECT '', c.id, '2024-01-01'::timestamptz + k * interval '10 s', 'outbound', 'sms', c.key,
    c.participant_a, c.participant_b,
    a.text || CASE WHEN a.unspaced THEN '' ELSE ' ' || b.text || CASE WHEN k % 4 = 0
        THEN ' ' || 1000000000 + k * 7919::bigint % 8999999999 ELSE '' END END
FROM generate_series(1, {MESSAGES}) k
JOIN numbered c ON c.i = 1 + k % {MESSAGES // 20}
JOIN halves a ON a.n = 1 + (k * 7919::bigint) % {HALVES}
JOIN halves b ON b.n = 1 + (k * 104729::bigint + k / {HALVES}) % {HALVES}
ORDER BY k
"""
ENTRIES = """INSERT INTO msgstore.search_entries (tenant_id, message_id, "timestamp", terms)
    SELECT m.tenant_id, m.id, m."timestamp", msgstore._terms_of(
        'simple', m.tenant_id, m.conversation_id, m.channel, m.direction, '', m.body)
    FROM msgstore.messages m"""
INDEX = 'msgstore.search_entries_terms_idx'
PLAIN_INDEX = "CREATE INDEX plain_idx ON msgstore.messages USING gin (to_tsvector('simple', body))"

SEARCH = "SELECT msgstore.search_messages('{0}', max_results => {1}, ranked => {2})"
PLAIN = """SELECT m.id, m.body FROM msgstore.messages m WHERE m.tenant_id = '' AND {0}
    ORDER BY m."timestamp" DESC, m.id DESC LIMIT {1}"""


def measure(report, own):
    cost_of_indexing(report, own)
    own.server.set('maintenance_work_mem', '1GB')
    own.server.set('synchronous_commit', 'off')
    own.server.reload()
    with own.fresh() as database:
        with announced(f'a store of {MESSAGES:,} messages'):
            fill(database)
        time_of_searches(report, database)
    for name in ('maintenance_work_mem', 'synchronous_commit'):
        own.server.admin.sql(f'ALTER SYSTEM RESET {name}')
    own.server.reload()


def cost_of_indexing(report, own):
    """Measures the worker, and ingest beside it, with and without the index."""
    row = f'drain, {INDEXED:,} events, while messages are indexed'
    with announced(row):
        report.add(row, 'events/s', in_turn({
            WITHOUT: lambda: drained(own, 'off'), WITH: lambda: drained(own, 'on')}), base=WITHOUT)
    row = 'ingest, 4 sessions, while messages are processed and indexed'
    with announced(row):
        report.add(row, 'events/s', ingested(own), base=WITHOUT)


def switch(server, index):
    server.set('msgstore.search', index)
    server.reload()


def drained(own, index):
    switch(own.server, index)
    try:
        return own.drain(INDEXED, 1)
    finally:
        switch(own.server, 'on')


def ingested(own):
    """Measures both sides in one load that goes on, in the order A B B A: loads one after
    the other differed by more than the index can cost. There are always messages that
    are not indexed yet."""
    server = own.server
    samples = {WITHOUT: [], WITH: []}
    sides = [WITHOUT, WITH, WITH, WITHOUT] * max(ROUNDS // 2, 1)
    with own.fresh() as database:
        own.fill(database, INDEXED)
        stop = own.work(database, 1, 'ingest')
        try:
            own.wait_for(database, 0, INDEXED)
            load = database.pgbench_in_turns(f'{event.DRAW}{own.single(event.one())};\n', 4, len(sides), BESIDE)
            for side in sides:
                switch(server, 'on' if side == WITH else 'off')
                wal, cpu = server.wal_bytes(), server.cpu_seconds()
                rate = next(load)
                events = rate * BESIDE
                samples[side].append({'rate': rate, 'wal_bytes': (server.wal_bytes() - wal) / events,
                                      'cpu_us': (server.cpu_seconds() - cpu) * 1e6 / events})
            # The end of pgbench.
            next(load, None)
        finally:
            stop()
            switch(server, 'on')
    return samples


def fill(database):
    """Builds both indexes at once, when all is there: entry by entry takes longer."""
    definition = database.sql(f"SELECT pg_get_indexdef('{INDEX}'::regclass)")
    database.sql(f'DROP INDEX {INDEX}')
    for statement in FILL.strip().split(';\n'):
        database.sql(statement)
    plain = threading.Thread(target=execute, args=(database, PLAIN_INDEX))
    plain.start()
    database.sql(ENTRIES)
    database.sql(definition)
    plain.join()
    database.sql('VACUUM ANALYZE')


def execute(database, statement):
    other = Database(database.server, database.name)
    other.sql(statement)
    other.close()


def time_of_searches(report, database):
    searches = make_searches(database)
    row = f'search in {MESSAGES:,} messages, page of {PAGE}'
    with announced(row):
        report.add(row, 'ms', in_turn({
            'search_messages': lambda: times(database, [SEARCH.format(q, PAGE, False) for q, _, _ in searches]),
            'search_messages, ranked': lambda: times(database, [SEARCH.format(q, PAGE, True) for q, _, _ in searches]),
            'GIN index on messages': lambda: times(database, [
                PLAIN.format(f"to_tsvector('simple', m.body) @@ {plain}", PAGE) for _, plain, _ in searches if plain]),
            'LIKE': lambda: times(database, [PLAIN.format(like, PAGE) for _, _, like in searches]),
        }), 'p95_ms', base='search_messages')


def make_searches(database):
    """Returns for each search the query of search_messages(), the tsquery, or None where
    an index of words has no answer, and the condition with LIKE. Every kind is as
    frequent: a word as frequent as any, a rare one, two words, a phrase, the beginning
    of a word, a part of a number, two characters of a script without spaces."""
    chance = random.Random(18)
    bodies = database.rows('SELECT body FROM msgstore.messages '
                           f'TABLESAMPLE bernoulli ({min(100, 500000 / MESSAGES)}) REPEATABLE (18)')
    spaced = [body.split() for body in bodies if ' ' in body]
    numbers = [words[-1] for words in spaced if words[-1].isdigit()]
    unspaced = [body for body in bodies if ' ' not in body]

    def word(least):
        return database.sql(f"SELECT {WORD.format(int(least * (WORDS / least) ** chance.random()))}")

    def words(*each):
        return ' '.join(each), f"to_tsquery('simple', '{' & '.join(each)}')", ' AND '.join(map(like, each))

    def phrase():
        text = ' '.join(chance.choice(spaced)[1:3])
        return f'"{text}"', f"phraseto_tsquery('simple', '{text}')", like(text)

    def beginning():
        start = word(1)[:3]
        return f'{start}*', f"to_tsquery('simple', '{start}:*')", like(start)

    def part(text, length):
        return text[2:2 + length], None, like(text[2:2 + length])

    kinds = [lambda: words(word(1)), lambda: words(word(WORDS // 10)), lambda: words(word(1), word(1)), phrase,
             beginning, lambda: part(chance.choice(numbers), 6), lambda: part(chance.choice(unspaced), 2)]
    return [kinds[n % len(kinds)]() for n in range(SEARCHES)]


def like(text):
    return f"m.body LIKE '%{text}%'"


def times(database, statements):
    """Measures the server's time of these calls, or of the first ones if it is long."""
    taken = []
    for statement in statements:
        if sum(taken) > LONGEST:
            break
        taken += [float(line.split()[2]) for line in database.rows(
            f'EXPLAIN (ANALYZE, TIMING OFF, COSTS OFF) {statement}') if line.startswith('Execution Time')]
    return {'p95_ms': percentile(taken, 0.95), 'p50_ms': percentile(taken, 0.5), 'calls': len(taken)}
