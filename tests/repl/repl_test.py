#!/usr/bin/env python3
"""The prompt under a terminal; the tests are in editing.py, commands.py and interrupts.py.

Usage: repl_test.py SPPO [NAME]: all tests, or those with NAME in theirs. Prints what failed and,
last, "N passed, N failed".
"""

import sys
import tempfile
import traceback

import commands
import editing
import interrupts


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    passed, failed = 0, 0
    tests = {**vars(editing), **vars(commands), **vars(interrupts)}
    for name, test in sorted(tests.items()):
        if not name.startswith('test_') or (len(sys.argv) == 3 and sys.argv[2] not in name):
            continue
        with tempfile.TemporaryDirectory() as home:
            try:
                test(home)
                passed += 1
            except Exception:
                failed += 1
                print('FAIL', name)
                traceback.print_exc(file=sys.stdout)
    print(f'{passed} passed, {failed} failed')
    return 1 if failed or not passed else 0


if __name__ == '__main__':
    sys.exit(main())
