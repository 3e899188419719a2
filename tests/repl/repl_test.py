#!/usr/bin/env python3
"""The prompt under a terminal: completion, entries over lines, Ctrl-C, Ctrl-D, history.

Usage: repl_test.py SPPO. Prints what failed and, last, "N passed, N failed".
"""

import os
import stat
import sys
import tempfile
import time
import traceback

import pexpect

PROMPT = 'sppo> '
MORE = r'\.\.\.\.> '
SECONDS = float(os.environ.get('REPL_TEST_SECONDS', '20'))


class Session:
    def __init__(self, home, term='xterm'):
        env = dict(os.environ, SPPO_HOME=home, TERM=term, LC_ALL='C.UTF-8')
        self.child = pexpect.spawn(sys.argv[1], ['repl'], env=env, encoding='utf-8',
                                   timeout=SECONDS, dimensions=(30, 100))
        self.child.delaybeforesend = 0.05
        self.child.expect(PROMPT)

    def ask(self, line, answer):
        self.child.sendline(line)
        self.child.expect(answer)
        self.child.expect(PROMPT)

    def keys(self, text):
        self.child.send(text)

    def expect(self, pattern):
        self.child.expect(pattern)

    def quit(self):
        self.child.sendeof()
        self.child.expect(pexpect.EOF)
        self.child.close()
        assert self.child.exitstatus == 0, self.child.exitstatus


def test_values(home):
    s = Session(home)
    s.ask('20 + 22', r'\r\n42\r\n')
    s.ask('_ + 1', r'\r\n43\r\n')
    s.ask('x = 7', '')
    s.ask('{ x, name = "a" }', r'\{ 7, name = "a" \}')
    s.ask('x .. nothing', 'attempt to concatenate')
    s.quit()


def test_tensors_live_on(home):
    s = Session(home)
    s.ask('t = sppo.tensor{{1, 2}, {3, 4}}', '')
    s.ask('t', r'tensor \[2, 2\] f32 cpu\r\n.*min 1  mean 2.5  max 4  NaN 0\r\n.*1 2 3 4')
    s.ask('u = t.shape; error("after")', 'after')
    s.ask('t:sise(1)', 'attempt to call method')
    s.quit()


def test_entries_over_lines(home):
    s = Session(home)
    s.child.sendline('for i = 1, 3 do')
    s.expect(MORE)
    s.child.sendline('  print("line", i)')
    s.expect(MORE)
    s.child.sendline('end')
    s.expect('line\t?\\s*1\r\n')
    s.expect('line\t?\\s*3\r\n')
    s.expect(PROMPT)
    s.child.sendline('f = function(')
    s.expect(MORE)
    s.keys('\x03')  # gives up the entry
    s.expect(PROMPT)
    s.ask('1 + 1', r'\r\n2\r\n')
    s.quit()


def test_completion(home):
    s = Session(home)
    s.keys('sppo.tens\t')
    s.expect('or')
    s.keys('\x15')
    s.keys('sppo.op\t')
    s.expect(r'ops +optim')
    s.keys('s.log_sof\t')
    s.expect('tmax')
    s.keys('\x15')  # clears the line
    s.ask('t = sppo.zeros({2})', '')
    s.keys('t:requ\t')
    s.expect('ires_grad_')
    s.keys('\x15')
    s.keys('string.re\t')
    s.expect('rep')
    s.expect('reverse')
    s.keys('\x15')
    with open(os.path.join(home, 'a-file-with-a-name.txt'), 'w') as f:
        f.write('x')
    s.keys('y = "' + home + '/a-fi\t')
    s.expect('le-with-a-name.txt')
    s.keys('\x15')
    s.ask('3', r'\r\n3\r\n')
    s.quit()


def test_interrupt(home):
    s = Session(home)
    s.child.sendline('while true do end')
    time.sleep(0.5)
    s.keys('\x03')
    s.expect('interrupted!')
    s.expect(PROMPT)
    s.child.sendline('i = 0 while true do i = i + 1 end')
    time.sleep(0.5)
    s.keys('\x03')
    s.expect('interrupted!')
    s.expect(PROMPT)
    s.ask('i > 1000', 'true')
    s.child.sendline('local x = sppo.zeros({8}) while true do x = sppo.ops.exp(x) end')
    time.sleep(0.5)
    s.keys('\x03')
    s.expect('nterrupted')
    s.expect(PROMPT)
    s.ask('sppo.zeros({2}) + 1', r'\[2\] f32')
    s.keys('some text')
    s.keys('\x03')
    s.expect(PROMPT)
    s.ask('5', r'\r\n5\r\n')
    s.quit()


def test_history(home):
    s = Session(home)
    s.ask('first = 11', '')
    s.ask('first = 11', '')
    s.ask('café = nil', '')
    s.keys('\x1b[A\x1b[A')
    s.expect('first = 11')
    s.keys('\x15')
    s.quit()
    path = os.path.join(home, 'history')
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    with open(path, encoding='utf-8') as f:
        lines = f.read().split('\n')
    assert lines.count('first = 11') == 1, lines
    assert 'café = nil' in lines, lines
    s = Session(home)
    s.keys('\x1b[A')
    s.expect('café = nil')
    s.keys('\x15')
    s.quit()


def test_wide_characters(home):
    s = Session(home)
    s.ask('s = "naïve 日本"', '')
    s.ask('#s', r'\r\n13\r\n')
    s.quit()


def test_dumb_terminal(home):
    s = Session(home, term='dumb')
    s.ask('6 * 7', '42')
    s.child.sendline('while true do end')
    time.sleep(0.5)
    s.keys('\x03')
    s.expect('interrupted!')
    s.expect(PROMPT)
    s.keys('\x03')
    s.expect(PROMPT)
    s.ask('8', '8')
    s.quit()


def test_commands(home):
    s = Session(home)
    s.ask(':mem', 'tensors .* MiB')
    s.ask(':time 1 + 1', r'2\r\n.* ms')
    s.ask(':hlep', "did you mean ':help'")
    s.ask('? sppo.ops.softmax', 'softmax')
    s.child.sendline(':quit')
    s.expect(pexpect.EOF)


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    passed, failed = 0, 0
    for name, test in sorted(globals().items()):
        if not name.startswith('test_'):
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
