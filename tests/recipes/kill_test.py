#!/usr/bin/env python3
"""Kills runs of recipes/tiny.lua with SIGKILL at random moments, lets them go on, and compares every
byte of what they end with (answers, preference, rows, evaluation, weights, metrics.jsonl) with a run
that was not disturbed.

Usage: kill_test.py SPPO [N] [SEED]      N kills, 40; half of the runs are killed twice

Prints what failed and, last, "N passed, N failed"."""

import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import time

RECIPE = pathlib.Path(__file__).resolve().parents[2] / 'recipes' / 'tiny.lua'


def start(sppo, out):
    return subprocess.Popen([sppo, 'run', str(RECIPE), f'out={out}', '--quiet'],
                            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                            stderr=subprocess.PIPE)


def run(sppo, out):
    """To the end; seconds."""
    begin = time.monotonic()
    process = start(sppo, out)
    _, err = process.communicate(timeout=300)
    if process.returncode:
        raise AssertionError(f'exit code {process.returncode}: {err.decode(errors="replace").strip()}')
    return time.monotonic() - begin


def kill(sppo, out, after):
    """SIGKILL after so many seconds; whether it was still running."""
    process = start(sppo, out)
    time.sleep(after)
    process.kill()
    process.communicate()
    return process.returncode < 0


def result(out):
    """Everything in the run folder but clocks, machines and logs."""
    files = {}
    for path in sorted(out.rglob('*')):
        name = path.relative_to(out).as_posix()
        if path.is_file() and name not in ('perf.jsonl', 'log.txt', 'report.html', 'LOCK'):
            files[name] = path.read_bytes().replace(str(out).encode(), b'OUT')
    return files


def difference(got, want):
    for name in sorted(set(got) | set(want)):
        if name not in got:
            return f'{name} is missing'
        if name not in want:
            return f'{name} is left over'
        if got[name] != want[name]:
            at = next((i for i, (a, b) in enumerate(zip(got[name], want[name])) if a != b),
                      min(len(got[name]), len(want[name])))
            return (f'{name} differs at byte {at} ({len(got[name])} bytes, '
                    f'undisturbed {len(want[name])})')
    return None


def one(sppo, folder, want, moments):
    """What is wrong, and whether every kill came before the end."""
    out = folder / 'run'
    shutil.rmtree(out, ignore_errors=True)
    in_time = all([kill(sppo, out, moment) for moment in moments])
    run(sppo, out)
    return difference(result(out), want), in_time


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    sppo = os.path.abspath(sys.argv[1])
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 40
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else random.SystemRandom().randrange(10 ** 6)
    draw = random.Random(seed)
    passed = failed = tries = 0
    with tempfile.TemporaryDirectory(prefix='sppo-kill-') as name:
        folder = pathlib.Path(name)
        seconds = run(sppo, folder / 'whole')
        want = result(folder / 'whole')
        seconds = min(seconds, run(sppo, folder / 'again'))
        assert difference(result(folder / 'again'), want) is None, 'two runs differ'
        assert {'metrics.jsonl', 'round-3/weights/model.safetensors', 'round-3/answers.msgpack',
                'round-3/rows.msgpack', 'round-3/preference.msgpack',
                'round-3/evaluation.msgpack'} <= want.keys(), sorted(want)
        print(f'{count} kills, seed {seed}, of a run that takes {seconds:.2f} s', flush=True)
        while passed + failed < count:
            i, tries = passed + failed, tries + 1
            moments = [draw.uniform(0, seconds)]
            if i % 2:  # again while it makes up for what was left
                moments.append(draw.uniform(0, max(seconds - moments[0], 0.02 * seconds)))
            text = ' and '.join(f'{moment:.3f} s' for moment in moments)
            try:
                wrong, in_time = one(sppo, folder, want, moments)
            except (AssertionError, subprocess.TimeoutExpired) as err:
                wrong, in_time = str(err), True
            if not wrong and not in_time and tries < 5 * count:
                continue  # drawn again: the run was over first
            if wrong:
                failed += 1
                print(f'FAIL kill {i + 1} (after {text}): {wrong}', flush=True)
                print(f'      again: {sys.argv[0]} {sys.argv[1]} {count} {seed}', flush=True)
            else:
                passed += 1
    print(f'{tries - count} more came after the end and were drawn again')
    print(f'{passed} passed, {failed} failed')
    sys.exit(failed > 0 or passed == 0)


if __name__ == '__main__':
    main()
