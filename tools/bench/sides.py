"""What can be run: a command of sppo or of a peer, and how its output is read.

A side's `read` takes the program's output and gives { value, unit, ... }; `value` is tokens/s or
seconds."""

import dataclasses
import re
import statistics
from collections.abc import Callable

import common
import installation

@dataclasses.dataclass
class Side:
    name: str            # the program
    label: str           # and how it runs
    command: list
    read: Callable = None

    def run(self):
        result = common.run(self.command)
        text = result.pop('text')
        return {'name': self.name, 'label': self.label, **result, **self.read(text)}


class Sides:
    """Makes sides from the folder of `peers setup` and a build of sppo."""

    def __init__(self, folder, sppo):
        self.folder, self.sppo_program = folder, sppo

    # ---- peers ----

    def llama_bench(self, dtype, prompt=0, new=0, depth=0):
        def read(text):
            row = common.json_lines(text)[-1]
            samples = row['samples_ts']
            return {'value': statistics.median(samples), 'low': min(samples),
                    'high': max(samples), 'unit': 'tokens/s'}
        command = [installation.program(self.folder, 'llama-bench'), '-o', 'jsonl', '-r', 3,
                   '-t', common.THREADS, '-m', self.model(dtype), '-p', prompt, '-n', new,
                   '-d', depth]
        return Side('llama.cpp', f'llama-bench, {dtype}', command, read)

    def llama_batched(self, dtype, batch, *options, prompt=128, new=64):
        def read(text):
            row = common.json_lines(text)[-1]
            return {'value': row['speed_tg'], 'unit': 'tokens/s', 'prompt': row['speed_pp']}
        # Without a common store each sequence has a part of the context of its own.
        context = batch * (-(-(prompt + new) // 256) * 256)
        command = [installation.program(self.folder, 'llama-batched-bench'),
                   '-m', self.model(dtype), '-t', common.THREADS, '-c', context, '-pps',
                   '-npp', prompt, '-ntg', new, '-npl', batch, '--output-format', 'jsonl',
                   *options]
        return Side('llama.cpp', ' '.join(['llama-batched-bench,', dtype, *options]), command, read)

    def worker(self, worker, name, label, *options):
        command = [installation.python(self.folder), common.HERE / f'{worker}_worker.py', *options]
        return Side(name, label, command, lambda text: common.json_lines(text)[-1])

    def torch(self, mode, label, *options):
        return self.worker('torch', 'PyTorch', label, mode, '--model', self.model('hf'),
                           *options)

    def trl(self, label, *options):
        return self.worker('trl', 'TRL', label, '--model', self.model('hf'), *options)

    def llama_server(self, dtype, work, *options):
        return self.worker('server', 'llama.cpp', ' '.join(['llama-server,', dtype, *options]),
                           installation.program(self.folder, 'llama-server'),
                           self.model(dtype), work, *options)

    def model(self, kind):
        return installation.model(self.folder, kind)

    # ---- sppo ----

    def own(self, mode, label):
        return self.worker('own', 'sppo', label, mode, self.sppo_program, self.folder)

    def sppo(self, bench, label, *options):
        command = [self.sppo_program, 'bench', bench, '--json', '--threads', common.THREADS,
                   *options]
        return Side('sppo', label, command, lambda text: read_bench(text, bench))


SECONDS = ('s', 's/step', 's a step', 'seconds')


def read_bench(text, bench):
    """Of the JSON lines of `sppo bench`: the time of a step if there is one, or else the rate; the
    share of the limit; what it says of memory; all lines."""
    lines = [line for line in common.json_lines(text) if line.get('bench') == bench]
    if not lines:
        common.fail(f'sppo bench {bench} printed no measure')
    main = next((line for line in lines if line.get('unit') in SECONDS), None)
    main = main or next((line for line in lines if line.get('unit') == 'tokens/s'), None)
    if not main:
        common.fail(f'sppo bench {bench}: no line in s or tokens/s')
    result = {'value': main['value'], 'unit': main['unit']}
    if bench == 'train' and main['unit'] == 'tokens/s':
        seconds = re.search(r'([\d.]+) s a step', main.get('note') or '')
        if not seconds:
            common.fail('sppo bench train: no seconds a step')
        result = {'value': float(seconds[1])}
    result['unit'] = 's' if bench == 'train' else 'tokens/s'
    for key in ('limit', 'share'):
        result[key] = next((line[key] for line in [main, *lines] if line.get(key)), None)
    counted = [line for line in lines
               if 'memory' in line['name'] and line.get('unit') in ('MB', 'MiB', 'GiB', 'bytes')]
    if counted:
        scale = {'MB': 1e6 / 2**20, 'MiB': 1, 'GiB': 1024, 'bytes': 2**-20}[counted[0]['unit']]
        result['counted_mib'] = counted[0]['value'] * scale
    return {**result, 'lines': lines}
