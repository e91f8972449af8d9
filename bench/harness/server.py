"""Controls the private server that bench/bench started: sessions, settings, restarts.

bench/bench passes its location in the environment. Python's library has no driver
for PostgreSQL, so a session is a psql process that stays connected.
"""
import contextlib
import os
import pathlib
import re
import subprocess
import time


class Failed(Exception):
    """The reason why a side of a row has no figures."""


class Session:
    """A psql process that executes one statement after the other."""

    DONE = 'statement-is-done'

    def __init__(self, server, database):
        self.psql = subprocess.Popen(
            [server.program('psql'), '-XqAt', '-d', database],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def sql(self, statement):
        """Returns the first row as text; None if there is no row."""
        rows = self.rows(statement)
        return rows[0] if rows else None

    def number(self, statement):
        return float(self.sql(statement) or 0)

    def rows(self, statement):
        self.psql.stdin.write(f'{statement}\n;\n\\echo {self.DONE} :ERROR\n')
        self.psql.stdin.flush()
        lines = []
        for line in self.psql.stdout:
            if line.startswith(self.DONE):
                if line.split()[1] == 'true':
                    raise Failed(' '.join(lines)[:500])
                return lines
            lines.append(line.rstrip('\n'))
        raise Failed('the session ended: ' + ' '.join(lines)[:500])

    def close(self):
        self.psql.stdin.close()
        self.psql.wait()


class Server:
    def __init__(self):
        self.work = pathlib.Path(os.environ['BENCH_WORK'])
        self.data = self.work / 'data'
        self.bindir = pathlib.Path(os.environ['BENCH_BINDIR'])
        self.as_server = os.environ['BENCH_AS_SERVER'].split()
        self.workers = None
        self.admin = Session(self, 'postgres')
        self.version = self.admin.sql('SHOW server_version')

    def program(self, name):
        return str(self.bindir / name)

    def set(self, name, value):
        self.admin.sql(f"ALTER SYSTEM SET {name} = '{value}'")

    def reload(self):
        self.admin.sql('SELECT pg_reload_conf()')

    def restart(self, preload=None):
        """Restarts the server, optionally with a library in LD_PRELOAD."""
        self.admin.close()
        environment = dict(os.environ)
        if preload:
            environment['LD_PRELOAD'] = str(preload)
        subprocess.run(
            [*self.as_server, self.program('pg_ctl'), '-D', self.data, '-l', self.work / 'server.log',
             '-m', 'fast', '-w', 'restart'],
            env=environment, stdout=subprocess.DEVNULL, check=True)
        self.admin = Session(self, 'postgres')

    def set_workers(self, count):
        """Sets the number of workers per database that has the extension."""
        if count != self.workers:
            self.set('msgstore.workers', count)
            self.reload()
            self.workers = count

    def no_workers(self):
        """Stops the workers and waits until they are gone, so that databases can be dropped."""
        self.set_workers(0)
        wait_until(30, 'the workers stop', lambda: self.admin.sql(
            "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'msgstore worker'") == '0')

    @contextlib.contextmanager
    def fresh(self, template, strategy='wal_log'):
        """Creates a new copy of a template, without traces of earlier measurements. A
        large one is copied faster with the strategy file_copy."""
        self.admin.sql('DROP DATABASE IF EXISTS bench WITH (FORCE)')
        self.admin.sql(f'CREATE DATABASE bench TEMPLATE {template} STRATEGY {strategy}')
        self.admin.sql('CHECKPOINT')
        database = Database(self, 'bench')
        try:
            yield database
        finally:
            database.close()
            self.no_workers()
            self.admin.sql('DROP DATABASE bench WITH (FORCE)')

    def make_template(self, name, parent, fill):
        """Creates a template database whose contents fill(database) creates."""
        self.admin.sql(f'CREATE DATABASE {name} TEMPLATE {parent}')
        database = Database(self, name)
        try:
            fill(database)
        except Exception:
            database.close()
            self.admin.sql(f'DROP DATABASE {name} WITH (FORCE)')
            raise
        database.close()
        self.admin.sql(f'ALTER DATABASE {name} IS_TEMPLATE true')

    def wal_bytes(self):
        return self.admin.number("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')")

    def cpu_seconds(self):
        """Returns the CPU time of the server's processes, including exited ones."""
        postmaster = (self.data / 'postmaster.pid').read_text().split()[0]
        ticks = 0
        for process in pathlib.Path('/proc').glob('[0-9]*'):
            try:
                fields = fields_of(process)
            except OSError:
                continue
            if postmaster in (process.name, fields[1]):
                ticks += sum(int(field) for field in fields[11:15])
        return ticks / os.sysconf('SC_CLK_TCK')

    def worker_cpu_seconds(self):
        """Returns the CPU time of the workers that are running."""
        workers = self.admin.rows("SELECT pid FROM pg_stat_activity WHERE backend_type = 'msgstore worker'")
        ticks = sum(int(field) for pid in workers for field in fields_of(pathlib.Path('/proc', pid))[11:13])
        return ticks / os.sysconf('SC_CLK_TCK')


def fields_of(process):
    """Returns what follows the name in /proc/PID/stat."""
    return (process / 'stat').read_text().rpartition(')')[2].split()


class Database:
    def __init__(self, server, name):
        self.server = server
        self.name = name
        self.open()

    def open(self):
        self.session = Session(self.server, self.name)
        self.sql = self.session.sql
        self.number = self.session.number
        self.rows = self.session.rows

    def close(self):
        self.session.close()

    def environment(self, **more):
        return {**os.environ, 'PGDATABASE': self.name, **more}

    def run_file(self, path):
        subprocess.run([self.server.program('psql'), '-Xqo', '/dev/null', '-v', 'ON_ERROR_STOP=1', '-f', path],
                       env=self.environment(PGOPTIONS='-c client_min_messages=warning'), check=True)

    def pgbench(self, script, sessions, seconds, *options):
        """Runs the script; returns transactions per second and their number."""
        path = self.server.work / 'script.sql'
        path.write_text(script)
        run = subprocess.run(
            [self.server.program('pgbench'), '-n', '-M', 'prepared', '-c', str(sessions),
             '-j', str(min(sessions, 2)), '-T', str(seconds), *options, '-f', path],
            env=self.environment(), capture_output=True, text=True, check=False)
        rate = re.search(r'^tps = ([0-9.]+)', run.stdout, re.M)
        done = re.search(r'actually processed: ([0-9]+)', run.stdout)
        if run.returncode or not rate:
            raise Failed(run.stderr.strip()[-500:])
        return float(rate[1]), int(done[1])

    def pgbench_in_turns(self, script, sessions, turns, seconds):
        """Runs the script, and yields at the end of each turn its transactions per
        second, so that the caller can change what it compares: a load that goes on is
        disturbed less by the machine than loads one after the other."""
        path = self.server.work / 'script.sql'
        path.write_text(script)
        with subprocess.Popen(
                [self.server.program('pgbench'), '-n', '-M', 'prepared', '-c', str(sessions),
                 '-j', str(min(sessions, 2)), '-T', str(turns * seconds + 1), '-P', str(seconds), '-f', path],
                env=self.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as run:
            done = 0
            lines = []
            for line in run.stderr:
                lines.append(line)
                rate = re.match(r'progress: [0-9.]+ s, ([0-9.]+) tps', line)
                if rate and done < turns:
                    done += 1
                    yield float(rate[1])
        if run.returncode or done < turns:
            raise Failed(''.join(lines).strip()[-500:])


def wait_until(seconds, what, ready, pause=0.02):
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            raise Failed(f'timed out after {seconds} s waiting until {what}')
        time.sleep(pause)
