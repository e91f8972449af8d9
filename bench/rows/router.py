"""Measures a cluster's router beside direct calls. The slots are databases of one
server on one machine, so that more slots should cost the same CPU time per event: what
grows with them would grow with servers, too."""
import contextlib
import json
import pathlib
import signal
import subprocess
import time

from harness.measure import SECONDS, announced, in_turn
from harness.server import Database, Failed, fields_of, wait_until
from peers import event, http

SLOTS = (1, 2, 4)
TENANTS = 64
CONNECTIONS = 64
DRAW = event.DRAW + f'\\set tenant random(1, {TENANTS})\n'
SET_TENANT = "SELECT set_config('msgstore.tenant_id', 'tenant-' || :tenant, true)"
# Until each session of the router has called each slot often enough to have its plans.
WARM_UP = 3
TURNS = 8
TURN = SECONDS / 4


class Routed:
    """Calls for many tenants: in the slots of a router, or directly in one database.

    A session of the router has one session in each slot, so that more slots have more
    sessions, on the same two cores. To tell what is due to these, a router can have
    several sessions in a slot: its map names the same database several times."""

    def __init__(self, server, slots, sessions=1):
        self.server = server
        self.slots = slots
        self.sessions = sessions
        self.name = f'router, {slots} slot{"s" * (slots > 1)}' if slots else 'direct'
        self.database_name = f'bench_router{slots}'
        self.names = [f'bench_slot{slots}_{n}' for n in range(slots)]
        if sessions > 1:
            self.name += f', as many sessions as {sessions} slots'
            self.database_name += 's'
            self.names = [f'{name}s' for name in self.names]

    @contextlib.contextmanager
    def running(self):
        admin = self.server.admin
        names = [self.database_name, *self.names]
        for name in names:
            admin.sql(f'DROP DATABASE IF EXISTS {name} WITH (FORCE)')
        for name in self.names or [self.database_name]:
            admin.sql(f'CREATE DATABASE {name} TEMPLATE msgstore')
        if self.slots:
            admin.sql(f'CREATE DATABASE {self.database_name}')
        self.database = Database(self.server, self.database_name)
        try:
            if self.slots:
                self.route()
            self.fill()
            yield
        finally:
            self.database.close()
            for name in names:
                admin.sql(f'DROP DATABASE {name} WITH (FORCE)')

    def route(self):
        map_of_slots = self.names * self.sessions
        # By their names, PL/Proxy takes the connections for different ones.
        options = ', '.join(f"p{n} 'dbname={name} host={self.server.work} port=5432 user=postgres "
                            f"application_name=slot{n}'" for n, name in enumerate(map_of_slots))
        if self.sessions == 1:
            for n, name in enumerate(self.names):
                self.run_in(name, f'SELECT msgstore.set_slot({n}, {self.slots})')
        for statement in (
                'CREATE EXTENSION msgstore_router CASCADE',
                f"CREATE SERVER msgstore FOREIGN DATA WRAPPER plproxy OPTIONS (modular_mapping '1', {options})",
                'CREATE USER MAPPING FOR PUBLIC SERVER msgstore',
                f'SELECT msgstore.set_slots({len(map_of_slots)})',
                # As in the other databases of the benchmark.
                "SELECT msgstore.grant_access('msgstore_gateway', level) FROM unnest('{ingest,read}'::text[]) level",
                'GRANT SET ON PARAMETER msgstore.tenant_id, msgstore.owner TO msgstore_gateway'):
            self.database.sql(statement)

    def run_in(self, name, statement):
        database = Database(self.server, name)
        try:
            database.sql(statement)
        finally:
            database.close()

    def fill(self, events=100):
        self.database.sql(f"""DO $do$ BEGIN
            FOR t IN 1..{TENANTS} LOOP
                PERFORM set_config('msgstore.tenant_id', 'tenant-' || t, true);
                PERFORM msgstore.ingest_batch((
                    SELECT jsonb_agg(jsonb_build_object('channel', 'sms', 'payload',
                        {event.one(peer='n', message_id="'f-' || n")})) FROM generate_series(1, {events}) n));
            END LOOP;
        END $do$""")
        for name in self.names or [self.database_name]:
            self.run_in(name, 'SELECT msgstore.process(100000)')
            self.run_in(name, 'VACUUM ANALYZE')
        self.keys = [self.database.sql(f"SELECT msgstore.create_api_key('tenant-{t}', '{{ingest,read}}')")
                     for t in range(1, TENANTS + 1)]

    def when_calm(self):
        """Sessions of the last load still have to exit."""
        wait_until(10, 'the sessions end', lambda: self.server.admin.sql(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name IN ('pgbench', 'msgstore-gateway')") == '0')
        # And those in the slots after them.
        time.sleep(0.5)
        return Moment(self.server)

    def over_http(self, script, connections, direct_slots='false'):
        """The gateway's CPU time counts, too."""
        gateway = http.gateway(self)
        command = gateway.command()
        environment = self.database.environment(**{
            **gateway.environment(self.database), 'AUTH_ENABLED': 'on', 'DIRECT_SLOTS_ENABLED': direct_slots,
            # Those of the warm-up may not be closed yet.
            'HTTP_MAX_CONNECTIONS': '600'})
        start = self.when_calm()
        with open(self.server.work / 'listener.log', 'w', encoding='utf-8') as log:
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
            try:
                http.wait_until(15, 'the gateway listens', lambda: gateway.listens(process))
                # With more slots, the same requests warm up more sessions.
                first, _ = http.send(connections, WARM_UP * max(self.slots // 2, 1), script, *self.keys)
                warm = Moment(self.server, process)
                accepted, figures = http.send(connections, SECONDS, script, *self.keys)
                end = Moment(self.server, process)
            finally:
                process.terminate()
                process.wait(10)
        cpu = (end.cpu - warm.cpu) / accepted
        return {**costs(warm, end, accepted), **figures, 'start_ms': (warm.cpu - start.cpu - first * cpu) * 1e3}


class Load:
    """Sessions that run a statement for a random tenant in each transaction. pgbench is
    stopped while it is not this load's turn, and logs the time of each transaction."""

    def __init__(self, side, statement, seconds, sessions=4):
        server = self.server = side.server
        self.name = side.name
        self.logs = server.work / f'calls_{side.database_name}'
        self.logs.mkdir(exist_ok=True)
        for old in self.logs.iterdir():
            old.unlink()
        script = server.work / 'script.sql'
        script.write_text(f'{DRAW}BEGIN\\;{SET_TENANT}\\;{statement}\\;COMMIT;\n')
        self.turns = []
        start = Moment(server)
        self.pgbench = subprocess.Popen(
            [server.program('pgbench'), '-n', '-M', 'simple', '-c', str(sessions), '-j', '2', '-T', str(round(seconds)),
             '-l', '--log-prefix', self.logs / 'log', '-f', script],
            env=side.database.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        time.sleep(WARM_UP)
        self.warm_up = start, Moment(server)
        self.pgbench.send_signal(signal.SIGSTOP)

    def take_turn(self):
        self.pgbench.send_signal(signal.SIGCONT)
        start = Moment(self.server)
        time.sleep(TURN)
        self.turns.append((start, Moment(self.server)))
        self.pgbench.send_signal(signal.SIGSTOP)

    def samples(self, size):
        """Waits for the end, after which the logs are complete."""
        self.pgbench.send_signal(signal.SIGCONT)
        errors = self.pgbench.communicate()[1]
        if self.pgbench.returncode:
            raise Failed(errors.strip()[-500:])
        # The fifth and sixth columns are the seconds and microseconds of the end.
        done = [int(line[4]) + int(line[5]) / 1e6 for file in self.logs.iterdir()
                for line in map(str.split, file.read_text().splitlines())]
        events = [size * sum(start.time <= at < end.time for at in done) for start, end in [self.warm_up, *self.turns]]
        if not any(events[1:]):
            raise Failed('no call has ended')
        cpu = sum(end.cpu - start.cpu for start, end in self.turns) / sum(events[1:])
        start, end = self.warm_up
        start_ms = (end.cpu - start.cpu - events[0] * cpu) * 1e3
        return [{**costs(*turn, count), 'start_ms': start_ms} for turn, count in zip(self.turns, events[1:]) if count]


def calls(sides, statement, size=1):
    """Measures the loads of all sides in short turns, so that what else the machine does
    is the same for all. Starting a load, which opens its connections to the slots and
    fills the caches of both ends, is not part of a turn: it is start_ms."""
    sides[0].when_calm()
    loads = []
    try:
        for n, side in enumerate(sides):
            loads.append(Load(side, statement, WARM_UP * (len(sides) - n) + TURN * TURNS * len(sides) + 10))
        for turn in range(TURNS):
            for load in loads if turn % 2 else reversed(loads):
                load.take_turn()
        return {load.name: load.samples(size) for load in loads}
    finally:
        for load in loads:
            if load.pgbench.poll() is None:
                load.pgbench.kill()


class Moment:
    """What the server has used so far, and processes besides it."""

    def __init__(self, server, *processes):
        self.time = time.time()
        self.cpu = server.cpu_seconds() + sum(map(cpu_seconds, processes))
        self.wal = server.wal_bytes()


def costs(start, end, events):
    return {'rate': events / (end.time - start.time), 'wal_bytes': (end.wal - start.wal) / events,
            'cpu_us': (end.cpu - start.cpu) / events * 1e6}


def cpu_seconds(process):
    user, system = fields_of(pathlib.Path('/proc', str(process.pid)))[11:13]
    return (int(user) + int(system)) / 100


@contextlib.contextmanager
def without_autovacuum(server):
    """It would come in the seconds of one side, by chance."""
    server.set('autovacuum', 'off')
    server.reload()
    try:
        yield
    finally:
        server.admin.sql('ALTER SYSTEM RESET autovacuum')
        server.reload()


def measure(report, server):
    sides = [Routed(server, slots) for slots in (0, *SLOTS)]
    as_many_sessions = Routed(server, 1, max(SLOTS))
    items = json.dumps([{'channel': 'sms', 'payload': t} for t in event.TEMPLATES])
    rows = {
        ('list_conversations, 4 sessions', 'calls/s'): ('SELECT msgstore.list_conversations()', 1),
        ('ingest, many tenants, 4 sessions', 'events/s'): (f"SELECT msgstore.ingest('sms', {event.one()})", 1),
        (f'ingest, many tenants, batches of {event.BATCH}, 4 sessions', 'events/s'):
            (f'SELECT count(*) FROM msgstore.ingest_batch({event.renewed(items)}::jsonb)', event.BATCH),
    }
    requests = {
        # As many connections for each slot, so that its batches are as large.
        (f'HTTP webhooks, {CONNECTIONS} connections for each slot', 'requests/s'):
            lambda side, *direct: side.over_http('webhooks.lua', CONNECTIONS * max(side.slots, 1), *direct),
        (f'HTTP lists, {CONNECTIONS} connections', 'requests/s'):
            lambda side, *direct: side.over_http('lists.lua', CONNECTIONS, *direct),
    }
    with contextlib.ExitStack() as stack:
        stack.enter_context(without_autovacuum(server))
        for side in [*sides, as_many_sessions]:
            stack.enter_context(side.running())
        server.admin.sql('CHECKPOINT')
        for (row, unit), (statement, size) in rows.items():
            with announced(f'router: {row}'):
                report.add(f'router: {row}', unit, calls([*sides, as_many_sessions], statement, size), base='direct')
        for (row, unit), run in requests.items():
            runs = {side.name: lambda side=side: run(side) for side in sides}
            runs.update({f'{side.name}, --direct-slots': lambda side=side: run(side, 'true')
                         for side in sides if side.slots})
            # One round: the sides differ by more than the rounds.
            with announced(f'router: {row}'):
                report.add(f'router: {row}', unit, in_turn(runs, rounds=1), base='direct')
