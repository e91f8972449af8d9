"""Writes the results to the terminal, results.json and results.md."""
import datetime
import json
import os
import pathlib
import platform

from harness import targets
from harness.measure import EVENTS, FEW_ROUNDS, ROUNDS, SECONDS, TIMES, summarize

OWN = targets.OWN
HERE = pathlib.Path(__file__).parent.parent


def figure(value):
    if value >= 100:
        return f'{value:,.0f}'
    return f'{value:.1f}' if value >= 10 else f'{value:.2f}'


class Report:
    """Collects rows. Each side of a row has figures, or the reason why it has none.
    Sides are compared by the row's main figure."""

    def __init__(self, server):
        self.server = server
        self.rows = []
        self.notes = []

    def add(self, row, unit, samples, main='rate', base=OWN):
        sides = {}
        for name, measured in samples.items():
            if isinstance(measured, str):
                sides[name] = {'reason': ' '.join(measured.split())}
            elif measured:
                sides[name] = {'figures': summarize(measured), 'samples': measured}
        self.rows.append({'row': row, 'unit': unit, 'main': main, 'base': base, 'sides': sides})
        print('\n'.join(self.text(self.rows[-1])), flush=True)
        self.write()

    def note(self, text):
        """Adds the output of a part that has a table of its own."""
        self.notes.append(text)
        self.write()

    def lines(self, row):
        """Yields side, median, spread, ratio of the base's median to it, other figures."""
        base = row['sides'].get(row['base'], {}).get('figures')
        for name, side in row['sides'].items():
            if 'reason' in side:
                yield name, side['reason'], None, None, {}
                continue
            main = side['figures'][row['main']]
            comparable = base and name != row['base'] and main['median']
            ratio = base[row['main']]['median'] / main['median'] if comparable else None
            others = {key: value['median'] for key, value in side['figures'].items() if key != row['main']}
            yield name, main['median'], (main['min'], main['max']), ratio, others

    def text(self, row):
        base = row['base']
        yield f"\n{row['row']} ({row['unit']})"
        for name, value, spread, ratio, others in self.lines(row):
            if spread is None:
                yield f'  {name:28} failed: {value}'
                continue
            yield (f'  {name:28} {figure(value):>9}  {figure(spread[0]):>8} – {figure(spread[1]):<8}'
                   f' {"" if ratio is None else f"{base} {ratio:.2f}×":24}'
                   + '  '.join(f'{key} {figure(other)}' for key, other in others.items()))

    def machine(self):
        model = next((line.partition(':')[2].strip() for line in open('/proc/cpuinfo', encoding='ascii')
                      if line.startswith('model name')), platform.machine())
        memory = next(int(line.split()[1]) for line in open('/proc/meminfo', encoding='ascii'))
        return {
            'date': datetime.datetime.now(datetime.timezone.utc).strftime('%Y-%m-%d %H:%M UTC'),
            'processor': model, 'cores': os.cpu_count(), 'memory_gib': round(memory / 2 ** 20),
            'system': f'{platform.system()} {platform.release()}', 'postgresql': self.server.version,
            'msgstore': os.environ.get('BENCH_REVISION', ''), 'peers': os.environ.get('BENCH_VERSIONS', ''),
            'settings': os.environ.get('BENCH_SETTINGS', ''),
            'rounds': ROUNDS, 'seconds': SECONDS, 'events': EVENTS,
        }

    def markdown(self):
        about = self.machine()
        yield '# Benchmark results\n'
        yield (f"{about['date']}: {about['processor']}, {about['cores']} cores, {about['memory_gib']} GiB, "
               f"{about['system']}; PostgreSQL {about['postgresql']}, {about['settings']}; msgstore {about['msgstore']}; "
               f"{about['peers']}. {ROUNDS} interleaved rounds of {SECONDS:g} s or {EVENTS:,} events, in long rows "
               f"{FEW_ROUNDS}; median, minimum and "
               "maximum. A ratio is the figure of msgstore, or of the smallest store, divided by the side's. WAL and CPU "
               "time are the server's, per event.\n")
        yield '## Targets\n'
        yield '| target | result | verdict |\n| --- | --- | --- |'
        for text, reached, verdict in targets.check(self.rows):
            yield f'| {text} | {reached} | {verdict} |'
        yield '\n## Summary\n'
        yield from self.pivot()
        yield '\n## Rows\n'
        yield '| row | side | median | spread | ratio | other figures |\n| --- | --- | ---: | --- | ---: | --- |'
        for row in self.rows:
            title = f"{row['row']} ({row['unit']})"
            for name, value, spread, ratio, others in self.lines(row):
                if spread is None:
                    yield f'| {title} | {name} | | failed: {value} | | |'
                else:
                    yield (f'| {title} | {name} | {figure(value)} | {figure(spread[0])} – {figure(spread[1])} | '
                           f'{"" if ratio is None else f"{ratio:.2f}×"} | '
                           + ', '.join(f'{key} {figure(other)}' for key, other in others.items()) + ' |')
                title = ''
        for note in self.notes:
            yield f'\n{note}'
        yield '\n## Time\n'
        yield '| row | seconds |\n| --- | ---: |'
        for what, seconds in TIMES:
            yield f'| {what} | {seconds:.0f} |'

    def pivot(self):
        """Yields a table for the README: a line per row, a column per side."""
        rows = [row for row in self.rows if row['base'] == OWN]
        sides = sorted({side for row in rows for side in row['sides']}, key=lambda side: (
            side != OWN, side != targets.FLOOR, side))
        yield '| | ' + ' | '.join(sides) + ' |'
        yield '| --- |' + ' ---: |' * len(sides)
        for row in rows:
            figures = [row['sides'].get(side, {}).get('figures') for side in sides]
            yield (f"| {row['row']}, {row['unit']} | "
                   + ' | '.join(figure(found[row['main']]['median']) if found else '' for found in figures) + ' |')

    def verdicts(self):
        """Prints the verdicts on the targets that were measured."""
        print('\ntargets')
        for text, reached, verdict in targets.check(self.rows):
            if verdict != 'not measured':
                print(f'  {verdict:12} {text}: {reached}')

    def write(self):
        (HERE / 'results.json').write_text(
            json.dumps({'machine': self.machine(), 'rows': self.rows, 'notes': self.notes}, indent=1) + '\n')
        (HERE / 'results.md').write_text('\n'.join(self.markdown()) + '\n')
