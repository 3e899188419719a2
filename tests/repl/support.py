"""A session of the prompt under a terminal, for the tests beside this file."""

import os
import sys
import time

import pexpect

PROMPT = 'sppo> '
MORE = r'\.\.\.\.> '
SECONDS = float(os.environ.get('REPL_TEST_SECONDS', '20'))


class Session:
    def __init__(self, home, term='xterm', arguments=(), **more):
        env = {**os.environ, 'SPPO_HOME': home, 'TERM': term, 'LC_ALL': 'C.UTF-8', **more}
        self.child = pexpect.spawn(os.path.abspath(sys.argv[1]), ['repl', *arguments], env=env,
                                   encoding='utf-8', timeout=SECONDS, dimensions=(30, 100),
                                   cwd=home)
        self.child.delaybeforesend = 0.05
        self.child.expect(PROMPT)

    def ask(self, line, answer):
        self.child.sendline(line)
        self.expect(answer)
        self.child.expect(PROMPT)

    def stops(self, line):
        """The line runs until Ctrl-C."""
        self.child.sendline(line)
        time.sleep(0.5)
        self.keys('\x03')
        self.expect('interrupted!')
        self.child.expect(PROMPT)

    def keys(self, text):
        self.child.send(text)

    def expect(self, pattern):
        # Before what an entry writes, the terminal is told that pastes are not marked any more.
        if isinstance(pattern, str) and pattern.startswith(r'\r\n'):
            pattern = r'\r\n(?:\x1b\[\?2004l)?' + pattern[4:]
        self.child.expect(pattern)

    def quit(self):
        self.child.sendeof()
        self.child.expect(pexpect.EOF)
        self.child.close()
        assert self.child.exitstatus == 0, self.child.exitstatus


def write(home, name, text):
    with open(os.path.join(home, name), 'w', encoding='utf-8') as f:
        f.write(text)
