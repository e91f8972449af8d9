"""Defines the targets, most of them ratios of medians within one run, and checks them."""

OWN = 'msgstore'
KEYED = ('graphile-worker', 'pg-boss')
FLOOR = 'floor'
# PgQ does not detect duplicates, so its ingest is not comparable.
WITHOUT_KEY = ('pgq', 'ingest')
SMALL, LARGE, LARGEST = '10,000 stored', '1,000,000 stored', '5,000,000 stored'


class Missing(Exception):
    """A figure that was not measured."""


class Rows:
    def __init__(self, rows):
        self.rows = rows

    def median(self, row, side=OWN, figure=None):
        for found in self.rows:
            if found['row'].startswith(row) and 'figures' in found['sides'].get(side, {}):
                return found['sides'][side]['figures'][figure or found['main']]['median']
        raise Missing(f'{side} in {row}')

    def ratio(self, row, other, side=OWN, figure=None):
        divisor = self.median(row, other, figure=figure)
        if divisor == 0:
            raise Missing(f'{other} in {row} is 0')
        return self.median(row, side, figure) / divisor

    def wal(self, side):
        return (self.median('ingest, batches of 100, 4 sessions', side, 'wal_bytes')
                + self.median('drain, 1 worker', side, 'wal_bytes'))

    def best(self, row, sides):
        """Returns the highest median of these sides."""
        found = []
        for side in sides:
            try:
                found.append(self.median(row, side))
            except Missing:
                pass
        if not found:
            raise Missing(row)
        return max(found)


def targets():
    """Yields for each target its text, its computation, and its bound."""
    for sessions in ('1 session', '4 sessions', '16 sessions'):
        yield from against_floor(f'ingest, {sessions}', 0.85)
    for sessions, least in (('1 session', 0.75), ('4 sessions', 0.85)):
        yield from against_floor(f'ingest, batches of 100, {sessions}', least)
    for other, least in (('floor', 1.5), ('pgq', 1.25), ('graphile-worker', 12)):
        yield (f'drain, one worker, {other}',
               lambda rows, other=other: rows.ratio('drain, 1 worker', other), '>=', least)
    yield ('drain, two workers, one worker',
           lambda rows: rows.median('drain, 2 workers') / rows.median('drain, 1 worker'), '>=', 1.4)
    yield 'WAL bytes of an event that is stored in a batch and processed', lambda rows: rows.wal(OWN), '<=', 1450
    for other, most in (('pgq', 1.05), ('graphile-worker', 1), ('pg-boss', 1)):
        yield (f'WAL of ingest in batches and processing, {other}',
               lambda rows, other=other: rows.wal(OWN) / rows.wal(other), '<=', most)
    yield ('HTTP webhooks of a source, verified, not verified',
           lambda rows: rows.ratio('HTTP webhooks of a source', 'not verified', 'verified'), '>=', 0.8)
    yield ('CPU of the worker while a snapshot is held, none',
           lambda rows: rows.ratio('worker, ', 'none is held', 'held', 'cpu_us'), '<=', 1.2)
    yield ('send while another to the same conversation is not committed, p50 in ms',
           lambda rows: rows.median('send, while', 'open', 'p50_ms'), '<=', 10)
    yield ('2,000 events/s while 1,000 clients follow changes, while nobody does',
           lambda rows: rows.ratio('2,000 events/s come in, ', 'nobody follows', 'followed'), '>=', 0.9)
    steady = 'purge: 10,000 events/s'
    yield 'ingest at 10,000/s with purge, without', lambda rows: rows.ratio(steady, 'no purge', 'purge'), '>=', 0.9
    yield ('events that a purge removes, events that arrive',
           lambda rows: rows.median(steady, 'purge', 'removed_per_s') / rows.median(steady, 'purge'), '>=', 0.95)
    # Until the first vacuums have ended, rows that are dead take space.
    yield ('size of the log at the end of a steady purge, in its middle',
           lambda rows: rows.median(steady, 'purge', 'last_mb') / rows.median(steady, 'purge', 'middle_mb'), '<=', 1.05)
    yield ('size of the log at the end of a steady purge, before',
           lambda rows: rows.median(steady, 'purge', 'last_mb') / rows.median(steady, 'purge', 'first_mb'), '<=', 1.2)
    for row in ('drain', 'ingest'):
        yield (f'{row} while messages are indexed, while they are not',
               lambda rows, row=row: rows.ratio(f'{row}, ', 'not indexed', 'indexed'), '>=', 0.95)
    for side in ('search_messages', 'search_messages, ranked'):
        yield (f'{side} in 1,000,000 messages, p95 in ms',
               lambda rows, side=side: rows.median('search in 1,000,000 ', side), '<=', 50)
    yield ('search in 1,000,000 messages, LIKE to search_messages',
           lambda rows: rows.ratio('search in 1,000,000 ', 'search_messages', 'LIKE'), '>=', 5)
    for figure in ('p50_ms', 'p99_ms'):
        yield (f'commit to processed at 200/s, {figure[:3]}, graphile-worker',
               lambda rows, figure=figure: rows.ratio('commit to processed, 200 ', 'graphile-worker', figure=figure),
               '<=', 0.8)
    yield ('commit to processed at 2,000/s, p99 in ms',
           lambda rows: rows.median('commit to processed, 2,000 ', figure='p99_ms'), '<=', 25)
    for count, other, least in (
            ('64 connections', 'Fastify service', 5), ('64 connections', 'Fastify service, usual table', 5),
            ('64 connections', FLOOR, 0.35), ('64 connections', 'gateway --no-batch', 1.8),
            ('1 connection', 'gateway --no-batch', 1)):
        yield (f'HTTP, {count}, {"constant response" if other == FLOOR else other}',
               lambda rows, count=count, other=other: rows.ratio(f'HTTP webhooks, {count}, worker paused', other),
               '>=', least)
    yield ('HTTP, sustained, accepted and processed, Fastify service that only stores',
           lambda rows: rows.ratio('sustained: HTTP webhooks', 'Fastify service'), '>=', 1.3)
    for function in ('list_conversations', 'list_messages'):
        for place in ('first', 'middle', 'last'):
            row = f'{function}, {place} page of 50 by {"page" if place == "first" else "cursor"}'
            yield (f'{row}, 1,000,000 stored to 10,000',
                   lambda rows, row=row: rows.ratio(row, SMALL, LARGE), '<=', 1.5)
        yield (f'{function}, first page with total at 1,000,000, p99 in ms',
               lambda rows, function=function: rows.median(f'{function}, first page of 50 by page', LARGE, 'p99_ms'),
               '<=', 3)
    for row, least in (('ingest', 0.8), ('drain', 0.75)):
        yield (f'{row} at 5,000,000 stored to 10,000',
               lambda rows, row=row: rows.ratio(f'growth: {row}', SMALL, LARGEST), '>=', least)


def against_floor(row, least):
    yield f'{row}, bare INSERT', lambda rows: rows.ratio(row, 'floor'), '>=', least
    yield (f'{row}, best peer that checks a key',
           lambda rows: rows.median(row) / rows.best(row, KEYED), '>', 1)


def check(measured):
    """Yields text, result and verdict of each target."""
    rows = Rows(measured)
    for text, compute, sign, bound in targets():
        wanted = f'{text} {sign.replace(">=", "≥").replace("<=", "≤")} {bound:g}'
        try:
            reached = compute(rows)
        except Missing as missing:
            yield wanted, f'{missing}', 'not measured'
            continue
        met = {'>=': reached >= bound, '<=': reached <= bound, '>': reached > bound}[sign]
        yield wanted, f'{reached:.2f}', 'met' if met else 'not met'
    behind = [(row['row'], name) for row in measured for name in ahead_of_us(row)]
    keyless = [pair for pair in behind if pair[1] == WITHOUT_KEY[0] and WITHOUT_KEY[1] in pair[0]]
    if measured:
        yield ('no peer that does the same work is ahead in any row',
               '; '.join(f'{row}: {name}' for row, name in behind if (row, name) not in keyless) or 'none',
               'met' if len(behind) == len(keyless) else 'not met')
        yield ('rows in which PgQ, which does not detect duplicates, is ahead', '; '.join(row for row, _ in keyless) or 'none', '—')


def ahead_of_us(row):
    """Yields the peers with a better median: a lower time or a higher rate."""
    own = row['sides'].get(OWN, {}).get('figures')
    if row['base'] != OWN or own is None:
        return
    for name, side in row['sides'].items():
        if name in (OWN, FLOOR) or 'figures' not in side:
            continue
        difference = side['figures'][row['main']]['median'] - own[row['main']]['median']
        if (difference < 0) == (row['unit'] == 'ms') and difference != 0:
            yield name
