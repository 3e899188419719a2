"""Entries, completion, history, pastes, and terminals of other kinds and sizes."""

import os
import stat
import time

from support import MORE, PROMPT, Session, write


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
    s.ask('t', r'tensor \[2, 2\] f32 cpu\r\n.*min 1  mean 2.5  max 4  nonfinite 0\r\n.*1 2 3 4')
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


def test_paste(home):
    s = Session(home)
    # One entry: `local` holds to its end, nothing is completed by Tab or run by its newlines.
    s.keys('\x1b[200~local a = 20\rlocal b = 22\r\tpasted = a + b\x1b[201~')
    time.sleep(0.3)
    s.ask('', '')
    s.ask('pasted', r'\r\n42\r\n')
    s.keys('pasted = \x1b[200~"one"\x1b[201~')
    s.ask(' .. " line"', '')
    s.ask('pasted', 'one line')
    s.keys('pasted = \x1b[200~{ 1,\n2 }\n\x1b[201~')
    s.ask('', '')
    s.ask('#pasted', r'\r\n2\r\n')
    # What would be commands to the terminal, or to the editor, is dropped.
    s.keys('\x1b[200~x = "a\x1b]0;title\x07b\x15c"\x1b[201~')
    s.ask('', '')
    s.ask('x', r'"a]0;titlebc"')
    s.quit()


def test_paste_interrupted(home):
    s = Session(home)
    s.keys('\x1b[200~y = 1\rz = 2\r and it never ends')
    time.sleep(0.3)
    s.keys('\x03')
    s.expect(PROMPT)
    s.ask('y, z', r'\r\nnil\r\nnil\r\n')
    s.keys('\x1b[200~y = 1\rz = 2\x1b[201~')  # whole, and then given up
    time.sleep(0.3)
    s.keys('\x03')
    s.expect(PROMPT)
    s.ask('y, z', r'\r\nnil\r\nnil\r\n')
    s.keys('\x1b[200~y = 1\r')
    time.sleep(0.2)
    s.child.setwinsize(40, 120)  # a signal that is no Ctrl-C
    time.sleep(0.2)
    s.keys('z = 3\x1b[201~')
    s.ask('', '')
    s.ask('y, z', r'\r\n1\r\n3\r\n')
    s.quit()


def test_resize(home):
    s = Session(home)
    s.keys('x = "before')
    for rows, columns in ((10, 40), (50, 200), (3, 12), (30, 100)):
        s.child.setwinsize(rows, columns)
        time.sleep(0.1)
    s.keys(' and after"')
    s.ask('', '')
    s.ask('x', 'before and after')
    s.child.sendline('while true do end')
    s.child.setwinsize(20, 60)
    time.sleep(0.3)
    s.keys('\x03')
    s.expect('interrupted!')
    s.expect(PROMPT)
    s.quit()
