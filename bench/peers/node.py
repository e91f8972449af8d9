"""Runs the peers that are Node.js programs, in the directory of their packages."""
import os
import pathlib
import subprocess

from harness.server import Failed

HERE = pathlib.Path(__file__).parent
INSTALLED = pathlib.Path(os.environ['BENCH_WORK']) / 'peers'


def program(script):
    if not (INSTALLED / script).exists():
        raise Failed(os.environ.get('BENCH_PEERS_FAILED') or 'the npm packages are not installed')
    return [INSTALLED / 'node', INSTALLED / script]


def prepare_work(database):
    database.run_file(HERE / 'work.sql')


def run(database, script, *arguments):
    done = subprocess.run([*program(script), *arguments], env=database.environment(),
                          capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(f'{script}: {done.stderr.strip()[-400:]}')
    return done.stdout


def start(database, script, mode, count=1):
    """Starts processes of the script; returns a function that stops them."""
    with open(INSTALLED / f'{script}.log', 'w', encoding='utf-8') as log:
        processes = [subprocess.Popen([*program(script), mode], env=database.environment(),
                                      stdout=log, stderr=subprocess.STDOUT)
                     for _ in range(count)]

    def stop():
        for process in processes:
            process.kill()
        for process in processes:
            process.wait()
    return stop
