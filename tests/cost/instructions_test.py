#!/usr/bin/env python3
"""instructions_test.py SPPO [--update]: instructions of a decode step, a training step and the loss
head on tiny shapes (work.lua), counted by callgrind, within 5 % of tests/golden/instructions.json.

Seconds depend on the neighbours of a machine, instructions do not. They are counted with the AVX2
kernels, since valgrind 3.19 knows no AVX-512, and for one compiler: with another the test is skipped.
A figure is the difference of a long and a short run, so what start and first step cost is not in it."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
FIGURES = HERE.parent / 'golden' / 'instructions.json'
WORK = ('decode', 'decode_q8_0', 'train', 'head')
SHORT, LONG = 1, 2
MOST = 0.05


def instructions(sppo, work, times, folder):
    out = pathlib.Path(folder) / 'callgrind.out'
    command = ['valgrind', '--tool=callgrind', f'--callgrind-out-file={out}', sppo, 'repl',
               str(HERE / 'work.lua')]
    environment = {**os.environ, 'SPPO_CPU': 'avx2', 'WORK': work, 'TIMES': str(times)}
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    counted = re.search(r'Collected\s*:\s*(\d+)', run.stderr)
    if run.returncode or not counted:
        sys.exit(f'FAIL {work}: exit status {run.returncode}\n{run.stdout}{run.stderr}')
    return int(counted[1])


def compiler(sppo):
    text = subprocess.run([sppo, 'version'], capture_output=True, text=True, check=True).stdout
    return re.search(r'compiler\s+([^,\n]*)', text)[1]


def main():
    sppo, update = sys.argv[1], '--update' in sys.argv
    if not shutil.which('valgrind'):
        print('skip  instructions: valgrind is not installed')
        print('0 passed, 0 failed, 1 skipped')
        return 0
    known = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    if not update and known['compiler'] != compiler(sppo):
        print(f'skip  instructions: counted with {known["compiler"]}, this is {compiler(sppo)}')
        print('0 passed, 0 failed, 1 skipped')
        return 0
    failed, figures = 0, {}
    with tempfile.TemporaryDirectory() as folder:
        for work in WORK:
            short, long = (instructions(sppo, work, n, folder) for n in (SHORT, LONG))
            figures[work] = (long - short) // (LONG - SHORT)
            if update:
                print(f'{work}: {figures[work]}')
                continue
            change = figures[work] / known['instructions'][work] - 1
            bad = abs(change) > MOST
            failed += bad
            print(f'{"FAIL" if bad else "ok  "}  {work}: {figures[work]} instructions, '
                  f'{100 * change:+.1f} %')
    if update:
        FIGURES.write_text(json.dumps({'compiler': compiler(sppo), 'instructions': figures},
                                      indent=1) + '\n')
        return 0
    if failed:
        print('If that is wanted: tests/cost/instructions_test.py SPPO --update, and say why')
    print(f'{len(WORK) - failed} passed, {failed} failed')
    return 1 if failed else 0


sys.exit(main())
