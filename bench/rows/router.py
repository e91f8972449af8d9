"""Measures a cluster's router beside direct calls. The slots are databases of one
server on one machine, so that more slots should cost the same CPU time per event: what
grows with them would grow with servers, too."""
import contextlib
import json
import pathlib
import subprocess

from harness.measure import SECONDS, Usage, announced, in_turn
from harness.server import Database, fields_of
from peers import event, http

SLOTS = (1, 2, 4)
TENANTS = 64
CONNECTIONS = 64
DRAW = event.DRAW + f'\\set tenant random(1, {TENANTS})\n'
SET_TENANT = "SELECT set_config('msgstore.tenant_id', 'tenant-' || :tenant, true)"
WARM_UP = 1


class Routed:
    """Calls for many tenants: in the slots of a router, or directly in one database."""

    def __init__(self, server, slots):
        self.server = server
        self.slots = slots
        self.name = f'router, {slots} slot{"s" * (slots > 1)}' if slots else 'direct'
        self.database_name = f'bench_router{slots}'
        self.names = [f'bench_slot{slots}_{n}' for n in range(slots)]

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
        options = ', '.join(f"p{n} 'dbname={name} host={self.server.work} port=5432 user=postgres'"
                            for n, name in enumerate(self.names))
        for n, name in enumerate(self.names):
            self.run_in(name, f'SELECT msgstore.set_slot({n}, {self.slots})')
        for statement in (
                'CREATE EXTENSION msgstore_router CASCADE',
                f"CREATE SERVER msgstore FOREIGN DATA WRAPPER plproxy OPTIONS (modular_mapping '1', {options})",
                'CREATE USER MAPPING FOR PUBLIC SERVER msgstore',
                f'SELECT msgstore.set_slots({self.slots})',
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

    def calls(self, statement, size=1, sessions=4):
        """Runs a statement for a random tenant in each transaction. Two runs of different
        length are compared, so that starting the sessions and their connections to the
        slots does not count."""
        runs = []
        for seconds in (WARM_UP, WARM_UP + SECONDS):
            with Usage(self.server) as usage:
                _, done = self.database.pgbench(
                    f'{DRAW}BEGIN\\;{SET_TENANT}\\;{statement}\\;COMMIT;\n', sessions, seconds, '-M', 'simple')
            runs.append((done, usage))
        (start, short), (done, usage) = runs
        events = (done - start) * size
        return {'rate': events / SECONDS, 'wal_bytes': (usage.wal - short.wal) / events,
                'cpu_us': (usage.cpu - short.cpu) * 1e6 / events}

    def over_http(self, script, direct_slots='false'):
        """As many connections for each slot; the gateway's CPU time counts, too."""
        gateway = http.gateway(self)
        command = gateway.command()
        connections = CONNECTIONS * max(self.slots, 1)
        environment = self.database.environment(**{
            **gateway.environment(self.database), 'AUTH_ENABLED': 'on', 'DIRECT_SLOTS_ENABLED': direct_slots,
            # Those of the warm-up may not be closed yet.
            'HTTP_MAX_CONNECTIONS': '600'})
        with open(self.server.work / 'listener.log', 'w', encoding='utf-8') as log:
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
            try:
                http.wait_until(15, 'the gateway listens', lambda: gateway.listens(process))
                http.send(connections, WARM_UP, script, *self.keys)
                own = cpu_seconds(process)
                with Usage(self.server) as usage:
                    accepted, figures = http.send(connections, SECONDS, script, *self.keys)
                usage.cpu += cpu_seconds(process) - own
            finally:
                process.terminate()
                process.wait(10)
        return {**figures, **usage.of(accepted)}


def cpu_seconds(process):
    user, system = fields_of(pathlib.Path('/proc', str(process.pid)))[11:13]
    return (int(user) + int(system)) / 100


def measure(report, server):
    sides = [Routed(server, slots) for slots in (0, *SLOTS)]
    items = json.dumps([{'channel': 'sms', 'payload': t} for t in event.TEMPLATES])
    rows = {
        ('list_conversations, 4 sessions', 'calls/s'):
            lambda side: side.calls('SELECT msgstore.list_conversations()'),
        ('ingest, many tenants, 4 sessions', 'events/s'):
            lambda side: side.calls(f"SELECT msgstore.ingest('sms', {event.one()})"),
        (f'ingest, many tenants, batches of {event.BATCH}, 4 sessions', 'events/s'):
            lambda side: side.calls(f'SELECT count(*) FROM msgstore.ingest_batch({event.renewed(items)}::jsonb)',
                                    event.BATCH),
        (f'HTTP webhooks, {CONNECTIONS} connections for each slot', 'requests/s'):
            lambda side, *direct: side.over_http('webhooks.lua', *direct),
        (f'HTTP lists, {CONNECTIONS} connections for each slot', 'requests/s'):
            lambda side, *direct: side.over_http('lists.lua', *direct),
    }
    with contextlib.ExitStack() as stack:
        for side in sides:
            stack.enter_context(side.running())
        server.admin.sql('CHECKPOINT')
        for (row, unit), run in rows.items():
            runs = {side.name: lambda side=side: run(side) for side in sides}
            if row.startswith('HTTP'):
                runs.update({f'{side.name}, --direct-slots': lambda side=side: run(side, 'true')
                             for side in sides if side.slots})
            # One round: the sides differ by more than the rounds.
            with announced(f'router: {row}'):
                report.add(f'router: {row}', unit, in_turn(runs, rounds=1), base='direct')
