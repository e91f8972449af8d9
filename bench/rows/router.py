"""Measures a cluster's router beside direct calls. The slots are databases of one
server on one machine, so that more slots should cost the same CPU time per event: what
grows with them would grow with servers, too."""
import contextlib
import json
import subprocess

from harness.measure import SECONDS, Usage, announced, in_turn
from harness.server import Database
from peers import event, http

SLOTS = (1, 2, 4)
TENANTS = 64
DRAW = event.DRAW + f'\\set tenant random(1, {TENANTS})\n'
SET_TENANT = "SELECT set_config('msgstore.tenant_id', 'tenant-' || :tenant, true)"


class Routed:
    """Calls for many tenants: in the slots of a router, or directly in one database."""

    def __init__(self, server, slots):
        self.server = server
        self.slots = slots
        self.name = f'router, {slots} slot{"s" * (slots > 1)}' if slots else 'direct'

    @contextlib.contextmanager
    def running(self):
        names = [f'bench_slot{n}' for n in range(self.slots)]
        admin = self.server.admin
        for name in [*names, 'bench']:
            admin.sql(f'DROP DATABASE IF EXISTS {name} WITH (FORCE)')
        for name in names or ['bench']:
            admin.sql(f'CREATE DATABASE {name} TEMPLATE msgstore')
        if names:
            admin.sql('CREATE DATABASE bench')
        database = Database(self.server, 'bench')
        try:
            if names:
                self.route(database, names)
            self.run_in_slots(names or ['bench'], "SELECT 1")
            admin.sql('CHECKPOINT')
            yield database, names or ['bench']
        finally:
            database.close()
            self.server.no_workers()
            for name in ['bench', *names]:
                admin.sql(f'DROP DATABASE {name} WITH (FORCE)')

    def route(self, database, names):
        options = ', '.join(
            f"p{n} 'dbname={name} host={self.server.work} port=5432 user=postgres'" for n, name in enumerate(names))
        for n, name in enumerate(names):
            self.run_in_slots([name], f'SELECT msgstore.set_slot({n}, {self.slots})')
        database.sql('CREATE EXTENSION msgstore_router CASCADE')
        database.sql(f"CREATE SERVER msgstore FOREIGN DATA WRAPPER plproxy OPTIONS (modular_mapping '1', {options})")
        database.sql('CREATE USER MAPPING FOR PUBLIC SERVER msgstore')
        database.sql(f'SELECT msgstore.set_slots({self.slots})')
        # As in the other databases of the benchmark.
        for level in ('ingest', 'read'):
            database.sql(f"SELECT msgstore.grant_access('msgstore_gateway', '{level}')")
        database.sql('GRANT SET ON PARAMETER msgstore.tenant_id, msgstore.owner TO msgstore_gateway')

    def run_in_slots(self, names, statement):
        for name in names:
            slot = Database(self.server, name)
            try:
                slot.sql(statement)
            finally:
                slot.close()

    def calls(self, statement, sessions, size=1, fill=0):
        """Runs a statement for a random tenant in each transaction."""
        with self.running() as (database, names):
            if fill:
                database.sql(f"""DO $do$ BEGIN
                    FOR t IN 1..{TENANTS} LOOP
                        PERFORM set_config('msgstore.tenant_id', 'tenant-' || t, true);
                        PERFORM msgstore.ingest_batch((
                            SELECT jsonb_agg(jsonb_build_object('channel', 'sms', 'payload',
                                {event.one(peer='n', message_id="'f-' || n")})) FROM generate_series(1, {fill}) n));
                    END LOOP;
                END $do$""")
                self.run_in_slots(names, 'SELECT msgstore.process(100000)')
                self.run_in_slots(names, 'ANALYZE')
            with Usage(self.server) as usage:
                rate, done = database.pgbench(
                    f'{DRAW}BEGIN\\;{SET_TENANT}\\;{statement}\\;COMMIT;\n', sessions, SECONDS, '-M', 'simple')
            return {'rate': rate * size, **usage.of(done * size)}

    def over_http(self, connections):
        gateway = http.gateway(self)
        command = gateway.command()
        with self.running() as (database, _), open(self.server.work / 'listener.log', 'w', encoding='utf-8') as log:
            process = subprocess.Popen(command, env=database.environment(**gateway.environment(database)),
                                       stdout=log, stderr=subprocess.STDOUT)
            try:
                http.wait_until(15, 'the gateway listens', lambda: gateway.listens(process))
                with Usage(self.server) as usage:
                    accepted, figures = http.send(connections, SECONDS)
            finally:
                process.terminate()
                process.wait(10)
        return {**figures, **usage.of(accepted)}


def measure(report, server):
    sides = [Routed(server, slots) for slots in (0, *SLOTS)]
    items = json.dumps([{'channel': 'sms', 'payload': t} for t in event.TEMPLATES])
    rows = {
        ('ingest, many tenants, 4 sessions', 'events/s'):
            lambda side: side.calls(f"SELECT msgstore.ingest('sms', {event.one()})", 4),
        (f'ingest, many tenants, batches of {event.BATCH}, 4 sessions', 'events/s'):
            lambda side: side.calls(f'SELECT count(*) FROM msgstore.ingest_batch({event.renewed(items)}::jsonb)',
                                    4, event.BATCH),
        ('list_conversations, 4 sessions', 'calls/s'):
            lambda side: side.calls('SELECT msgstore.list_conversations()', 4, fill=100),
        ('HTTP webhooks, 64 connections, worker paused', 'requests/s'):
            lambda side: side.over_http(64),
    }
    for (row, unit), run in rows.items():
        row = f'router: {row}'
        with announced(row):
            report.add(row, unit, in_turn({side.name: lambda side=side: run(side) for side in sides}), base='direct')
