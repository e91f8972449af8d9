"""Measures what the worker does with the events of streams: it applies them to a
projection, beside messages, and seals them. The same events are handled by a client
that fetches, applies and acknowledges them in batches."""
from harness.measure import EVENTS, Usage, announced, in_turn
from harness.server import wait_until

BATCH = 100
UNIT = 'events/s'
TEMPLATE = 'bench_projections'
STORED = max(EVENTS // 2, 1)
# Messages that a worker processes beside a rebuild.
MESSAGES = max(EVENTS // 10, 1)

FILL = f"""
CREATE TABLE totals (account text PRIMARY KEY, n bigint);
CREATE FUNCTION apply_events(events msgstore.stream_event[]) RETURNS void LANGUAGE sql AS $$
    INSERT INTO totals AS t SELECT stream, count(*) FROM unnest(events) GROUP BY stream
    ON CONFLICT (account) DO UPDATE SET n = t.n + excluded.n $$;
CREATE FUNCTION apply_event(e msgstore.stream_event) RETURNS void LANGUAGE sql AS $$
    INSERT INTO totals AS t VALUES (e.stream, 1) ON CONFLICT (account) DO UPDATE SET n = t.n + 1 $$;
CREATE PROCEDURE apply_all() LANGUAGE plpgsql AS $$
DECLARE
    events msgstore.stream_event[];
BEGIN
    LOOP
        SELECT array_agg(e ORDER BY e.global_position) INTO events FROM msgstore.fetch('client', {BATCH}) e;
        EXIT WHEN events IS NULL;
        PERFORM apply_events(events);
        PERFORM msgstore.ack('client', events[cardinality(events)].global_position);
        COMMIT;
    END LOOP;
END $$;
SELECT msgstore.create_subscription('client', 'account');
SELECT count(*) FROM (SELECT msgstore.append_batch(jsonb_agg(jsonb_build_object('stream', 'account-' || n % 1000,
    'type', 'Deposited', 'data', jsonb_build_object('amount', n)))) FROM generate_series(1, {STORED}) n GROUP BY n / 1000) a
"""


def measure(report, own):
    with announced(f'a log of {STORED:,} events'):
        own.server.make_template(TEMPLATE, 'msgstore', fill)
    row = f'projection of {STORED:,} events, batches of {BATCH}'
    with announced(row):
        report.add(row, UNIT, in_turn({
            'client': lambda: by_client(own),
            'worker': lambda: by_worker(own, 'apply_events'),
            'worker, one by one': lambda: by_worker(own, 'apply_event')}), base='client')
    row = f'drain of {MESSAGES:,} events, 1 worker'
    with announced(row):
        report.add(row, UNIT, in_turn({
            'alone': lambda: drained(own, False),
            'beside a rebuild': lambda: drained(own, True)}), base='alone')
    with announced('seals'):
        report.add('seal, 1 worker', UNIT, in_turn({own.name: lambda: sealed(own)}))


def fill(database):
    database.sql(FILL)
    database.sql('VACUUM ANALYZE msgstore.stream_events')


def by_client(own):
    with own.server.fresh(TEMPLATE) as database, Usage(own.server) as usage:
        taken = timed(database, lambda: database.sql('CALL apply_all()'))
    return {'rate': STORED / taken, **usage.of(STORED)}


def by_worker(own, function):
    with own.server.fresh(TEMPLATE) as database:
        own.server.set_workers(1)
        try:
            with Usage(own.server) as usage:
                taken = timed(database, lambda: database.sql(
                    f"SELECT msgstore.create_projection('p', 'account', '{function}', batch_size => {BATCH});"
                    " SELECT msgstore.wait_for('p', msgstore.latest_position(), NULL)"))
            return {'rate': STORED / taken, **usage.of(STORED)}
        finally:
            own.server.no_workers()


def drained(own, rebuilds):
    with own.server.fresh(TEMPLATE) as database:
        own.fill(database, MESSAGES, '(random() * 1000)::int')
        if rebuilds:
            database.sql("SELECT msgstore.create_projection('p', 'account', 'apply_events')")
        return own.drained(database, MESSAGES, 1)


def sealed(own):
    with own.server.fresh(TEMPLATE) as database:
        own.server.set('msgstore.seal_interval', '1s')
        own.server.reload()
        try:
            with Usage(own.server) as usage:
                start = database.number('SELECT extract(epoch FROM clock_timestamp())')
                own.server.set_workers(1)
                wait_until(120, 'the log is sealed', lambda: database.sql(
                    'SELECT max(last_position) = msgstore.latest_position() FROM msgstore.stream_seals') == 't')
                taken = database.number('SELECT extract(epoch FROM max(sealed_at)) FROM msgstore.stream_seals') - start
            return {'rate': STORED / taken, **usage.of(STORED)}
        finally:
            own.server.no_workers()
            own.server.set('msgstore.seal_interval', '0')
            own.server.reload()


def timed(database, act):
    start = database.number('SELECT extract(epoch FROM clock_timestamp())')
    act()
    return database.number('SELECT extract(epoch FROM clock_timestamp())') - start
