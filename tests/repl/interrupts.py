"""Ctrl-C: what was typed, files of the user, recipes, scripts, and calls into C."""

import os
import signal
import subprocess
import sys
import time

import pexpect

from support import PROMPT, SECONDS, Session, write


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


COMPILED = """
local M = {}
function M.spin() local x = 0 for i = 1, 1e15 do x = x + i % 7 end return x end
return M
"""


def test_interrupt_of_files(home):
    """Loops in files of the user, which LuaJIT would compile."""
    write(home, 'spin.lua', COMPILED)
    write(home, 'whole.lua', 'local x = 0 for i = 1, 1e15 do x = x + i % 7 end')
    s = Session(home)
    s.stops("require('spin').spin()")
    s.stops("dofile 'spin.lua'.spin()")
    s.stops("dofile 'whole.lua'")
    s.stops("loadstring('while true do end')()")
    s.stops(':run whole.lua')
    s.stops(":time require('spin').spin()")
    s.stops(':timeit while true do end')
    s.stops('coroutine.wrap(function() while true do end end)()')
    s.stops('while true do pcall(function() while true do end end) end')
    s.stops('x = sppo.zeros { 256, 256 } while true do pcall(sppo.ops.exp, x) end')
    s.ask('1 + 1', r'\r\n2\r\n')
    s.quit()


def test_interrupt_of_a_recipe(home):
    write(home, 'slow.lua', """
      local r = require('sppo.selfplay.recipe').base 'recipes/tiny.lua'
      r.preference.prefer = function() local x = 0 for i = 1, 1e15 do x = x + i % 7 end end
      return r
    """)
    s = Session(home)
    s.ask(':open slow.lua', ':step runs the next stage')
    s.ask(':step 2', 'round 1: sample done')
    s.stops(':step')
    s.stops(':step')  # opened again, up to where it was
    s.ask(':open recipes/tiny.lua rounds=1', ':step runs')
    s.child.sendline(':step 9')
    s.expect('no stage left')
    s.expect(PROMPT)
    s.ask(':matrix 1 1', r'P\(row beats column\)')
    s.quit()


def test_interrupt_twice(home):
    """A call into C that no flag can stop: the second Ctrl-C leaves."""
    s = Session(home)
    s.child.sendline("(('a'):rep(60000)):find('.-.-.-.-b')")
    time.sleep(0.5)
    s.keys('\x03')
    s.expect('Ctrl-C once more leaves')
    s.keys('\x03')
    s.expect(pexpect.EOF)
    s.child.close()
    assert s.child.exitstatus == 130, s.child.exitstatus


def test_interrupt_of_a_script(home):
    env = {**os.environ, 'SPPO_HOME': home}
    for arguments, script in ((['-e', 'while true do end'], ''),
                              ([], 'while true do end\nprint("went on")\n')):
        p = subprocess.Popen([sys.argv[1], 'repl', *arguments], env=env, stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        p.stdin.write(script.encode())
        p.stdin.flush()
        time.sleep(1)
        p.send_signal(signal.SIGINT)
        out = p.communicate(timeout=SECONDS)[0]
        assert p.returncode == 130 and b'interrupted!' in out and b'went on' not in out, out
