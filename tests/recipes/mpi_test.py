#!/usr/bin/env python3
"""Runs recipes/tiny.lua as several processes under mpirun: what is drawn and judged must have the
bytes of one process, what is trained be near, the same command give the same bytes, also after
processes were killed, and one that fails end all.

Usage: mpi_test.py SPPO

Prints each test and, last, "N passed, N failed"; exits 77 with a reason where there is no mpirun."""

import json
import os
import pathlib
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time

from kill_test import RECIPE, difference, result

ROOT = RECIPE.parents[1]
# OpenMPI refuses root (containers are), and spins while it waits.
ENVIRONMENT = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT='1', OMPI_ALLOW_RUN_AS_ROOT_CONFIRM='1',
                   OMPI_MCA_mpi_yield_when_idle='1')

# Largest distance of a weight after a round on 2 or 3 processes from one process's: seen were 6e-6
# and 3e-6; 0.1 where the gradients of one process were left out.
NEAR = 1e-4


def start(sppo, processes, out, *overrides, recipe=RECIPE, environment=()):
    command = [sppo, 'run', str(recipe), f'out={out}', *overrides, '--threads', '1', '--quiet']
    if processes > 1:
        command = ['mpirun', '--oversubscribe', '-n', str(processes)] + command
    return subprocess.Popen(command, cwd=ROOT, env=dict(ENVIRONMENT, **dict(environment)),
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE)


def run(sppo, processes, out, *overrides, code=0, **more):
    """To its end; what it said on stderr."""
    process = start(sppo, processes, out, *overrides, **more)
    _, err = process.communicate(timeout=300)
    err = err.decode(errors='replace')
    assert process.returncode == code, f'exit code {process.returncode}, not {code}: {err}'
    return err


def weights(out, round_):
    """Values of a round's weights, by name."""
    data = (out / f'round-{round_}' / 'weights' / 'model.safetensors').read_bytes()
    size, = struct.unpack('<Q', data[:8])
    values = {}
    for name, entry in json.loads(data[8:8 + size]).items():
        if name == '__metadata__':
            continue
        begin, end = entry['data_offsets']
        assert entry['dtype'] == 'F32', entry
        values[name] = struct.unpack(f'<{(end - begin) // 4}f', data[8 + size + begin:8 + size + end])
    return values


def distance(a, b):
    """Largest difference of two sets of weights."""
    assert a.keys() == b.keys()
    return max(abs(x - y) for name in a for x, y in zip(a[name], b[name]))


def lines(out, name, key=None):
    rows = [json.loads(row) for row in (out / name).read_text().splitlines()]
    return [row for row in rows if key is None or key in row]


def alike(got, want, names):
    for name in names:
        assert (got / name).read_bytes() == (want / name).read_bytes(), f'{name} differs'


DRAWN = ['round-0/evaluation.msgpack', 'round-1/answers.msgpack', 'round-1/preference.msgpack',
         'round-1/rows.msgpack']


class Tests:
    def __init__(self, sppo, folder):
        self.sppo, self.folder, self.known = sppo, folder, {}

    def whole(self, processes, *overrides):
        """An undisturbed run, made once."""
        key = (processes,) + overrides
        if key not in self.known:
            out = self.folder / f'whole-{len(self.known)}'
            run(self.sppo, processes, out, *overrides)
            self.known[key] = out
        return self.known[key]

    def children(self, process):
        """Those that mpirun has started."""
        found = subprocess.run(['pgrep', '-P', str(process.pid)], capture_output=True)
        return [int(pid) for pid in found.stdout.split()]

    def seconds(self):
        """That a run of two processes takes now."""
        begin = time.monotonic()
        run(self.sppo, 2, self.folder / f'timed-{begin}')
        return time.monotonic() - begin

    def equal_to_one(self, processes, *overrides):
        overrides = ('rounds=1', 'train.batch=5') + (overrides or ('train.micro_tokens=32',))
        one, several = self.whole(1, *overrides), self.whole(processes, *overrides)
        alike(several, one, DRAWN)
        moved = distance(weights(several, 1), weights(one, 1))
        assert moved <= NEAR, f'weights differ by {moved}'
        first, want = lines(several, 'metrics.jsonl', 'loss')[0], lines(one, 'metrics.jsonl', 'loss')[0]
        assert first['loss'] == want['loss'], (first['loss'], want['loss'])
        assert first['num_tokens'] == want['num_tokens']
        assert abs(first['grad_norm'] / want['grad_norm'] - 1) < 1e-6
        return moved

    def test_two_processes(self):
        return f'weights within {self.equal_to_one(2):.1e}'

    def test_three_processes(self):
        return f'weights within {self.equal_to_one(3):.1e}'

    def test_coupled_loss(self):
        return f'weights within {self.equal_to_one(3, "train.loss=kto_pair", "train.micro_tokens=32"):.1e}'

    def test_more_processes_than_work(self):
        """Seven processes for micro-batches that are four at most: gradients of nothing."""
        return f'weights within {self.equal_to_one(7, "train.micro_tokens=64"):.1e}'

    def test_same_bytes_again(self):
        again = self.folder / 'again'
        run(self.sppo, 2, again)
        wrong = difference(result(again), result(self.whole(2)))
        assert not wrong, wrong

    def test_memory_and_traffic(self):
        """Each process keeps its part of the optimizer's state; the plan says which and how much it
        sends."""
        whole = None
        for processes in 1, 2, 3:
            out = self.whole(processes, 'rounds=1', 'train.optimizer=adamw',
                             'train.checkpoint_seconds=1000')
            train = [row for row in lines(out, 'perf.jsonl') if row['stage'] == 'train'][0]
            each = [p['memory']['optimizer'] for p in train.get('processes', [train])]
            whole = whole or each[0]
            assert sum(each) == whole and len(each) == processes, (each, whole)
            # A sixteenth is more than the largest of its tensors.
            assert max(each) <= whole / processes + whole / 16, (each, whole)
            if processes == 1:
                continue
            plan = subprocess.run([self.sppo, 'plan', str(RECIPE), f'gpus={processes}', '--json',
                                   '--hardware', 'h100', 'train.optimizer=adamw'], cwd=ROOT,
                                  capture_output=True, check=True)
            gpus = json.loads(plan.stdout)['gpus']
            planned = [s for s in gpus['stages'] if s.get('sharded')][0]['memory']['kinds']
            assert planned['optimizer'] == max(each), (planned, each)
            steps = len(lines(out, 'metrics.jsonl', 'loss'))
            sent = max(p['sent'] for p in train['processes']) / steps
            # Beside the tensors: losses and sums of a step.
            assert gpus['sent'] <= sent < 1.1 * gpus['sent'], (sent, gpus['sent'])
        return f'optimizer state of three: {each} of {whole} bytes'

    def test_killed(self):
        """SIGKILL to mpirun or to a process at moments of the run: the same command goes on."""
        want = result(self.whole(2))
        seconds, killed = self.seconds(), 0
        for i, part in enumerate((0.3, 0.5, 0.7, 0.85)):
            out = self.folder / f'killed-{i}'
            process = start(self.sppo, 2, out)
            time.sleep(part * seconds)
            if i % 2:  # the second process alone
                for pid in self.children(process)[-1:]:
                    os.kill(pid, signal.SIGKILL)
            else:
                process.kill()
            process.communicate()
            killed += process.returncode != 0
            deadline = time.monotonic() + 60
            while True:  # processes that mpirun left behind end when they find that out
                try:
                    run(self.sppo, 2, out)
                    break
                except AssertionError as err:
                    if 'LOCK' not in str(err) or time.monotonic() > deadline:
                        raise
                    time.sleep(0.2)
            wrong = difference(result(out), want)
            assert not wrong, f'killed after {part} of {seconds:.1f} s: {wrong}'
        assert killed >= 2, f'{killed} of 4 were killed before the end'
        return f'{killed} of 4 before the end'

    def test_stopped(self):
        """SIGTERM to one of the processes stops all: exit code 75, and the same command goes on to
        the same bytes."""
        want, stopped = result(self.whole(2)), 0
        for after in 0, 0.1:
            out = self.folder / f'stopped-{after}'
            process = start(self.sppo, 2, out)
            while process.poll() is None and not (out / 'manifest.json').exists():
                time.sleep(0.005)
            time.sleep(after)
            for pid in self.children(process)[-1:]:
                os.kill(pid, signal.SIGTERM)
            _, err = process.communicate(timeout=120)
            assert process.returncode in (0, 75), err.decode(errors='replace')
            stopped += process.returncode == 75
            assert (process.returncode == 75) == (b'the same command goes on from here' in err), err
            run(self.sppo, 2, out)
            wrong = difference(result(out), want)
            assert not wrong, wrong
        assert stopped, 'none was stopped before the end'
        return f'{stopped} of 2 before the end'

    def test_goes_on_with_fewer(self):
        """What two processes have begun, one ends; nothing that was written is made again."""
        out = self.folder / 'fewer'
        run(self.sppo, 2, out, 'rounds=1')
        answers = (out / 'round-1/answers.msgpack').read_bytes()
        run(self.sppo, 1, out)
        assert (out / 'round-1/answers.msgpack').read_bytes() == answers
        assert (out / 'round-3/weights/COMPLETE').exists()

    def test_one_fails(self):
        """All end, with the message of the one that failed, once."""
        recipe = self.folder / 'fails.lua'
        recipe.write_text('''
local base = dofile('recipes/tiny.lua')
local prefer = base.preference.prefer
base.preference.prefer = function(prompt, answers)
  if os.getenv('OMPI_COMM_WORLD_RANK') == os.getenv('FAILS') then error('the judge broke') end
  return prefer(prompt, answers)
end
return base
''')
        for rank in '0', '1', '2':
            err = run(self.sppo, 3, self.folder / f'fails-{rank}', recipe=recipe, code=2,
                      environment={'FAILS': rank})
            assert err.count('the judge broke') == 1, err
            assert f'sppo: process {rank} of 3: ' in err, err

    def test_all_fail(self):
        """What all fail with is said once."""
        err = run(self.sppo, 3, self.folder / 'none', recipe='recipes/none.lua', code=2)
        assert err.count('sppo: process 0 of 3: recipes/none.lua: cannot open') == 1, err
        assert err.count('cannot open') == 1, err

    def test_other_inputs(self):
        """Processes whose recipes differ are told apart before anything is drawn."""
        recipe = self.folder / 'differs.lua'
        recipe.write_text('''
local base = dofile('recipes/tiny.lua')
base.sample.k = 2 + tonumber(os.getenv('OMPI_COMM_WORLD_RANK'))
return base
''')
        err = run(self.sppo, 2, self.folder / 'differs', recipe=recipe, code=1)
        assert 'round-1/sample has other inputs in process 1 than in process 0' in err, err

    def test_refused(self):
        """A loop of a recipe's own is one process's."""
        err = run(self.sppo, 2, self.folder / 'own', recipe='recipes/compare.lua', code=2)
        assert 'mpirun started 2 processes' in err and 'start it without mpirun' in err, err
        assert not (self.folder / 'own').exists()


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    if not shutil.which('mpirun'):
        print('skipped: there is no mpirun (openmpi-bin)')
        sys.exit(77)
    passed = failed = 0
    with tempfile.TemporaryDirectory(prefix='sppo-mpi-') as name:
        tests = Tests(os.path.abspath(sys.argv[1]), pathlib.Path(name))
        for test in [t for t in dir(tests) if t.startswith('test_')]:
            if len(sys.argv) > 2 and sys.argv[2] not in test:
                continue
            begin = time.monotonic()
            try:
                note = getattr(tests, test)()
                passed += 1
                print(f'ok   {test[5:]} ({time.monotonic() - begin:.1f} s{"; " if note else ""}'
                      f'{note or ""})', flush=True)
            except (AssertionError, subprocess.TimeoutExpired) as err:
                failed += 1
                print(f'FAIL {test[5:]}: {err}', flush=True)
    print(f'{passed} passed, {failed} failed')
    sys.exit(failed > 0 or passed == 0)


if __name__ == '__main__':
    main()
