"""Commands of the prompt, and what they need a terminal for."""



import pexpect

from support import PROMPT, Session, write


def test_commands(home):
    s = Session(home)
    s.ask(':mem', 'tensors .* MiB')
    s.ask(':time 1 + 1', r'2\r\n.* us, tensors')
    s.ask(':hlep', "did you mean ':help'")
    s.ask('tensor { 1 }', 'there is sppo.tensor')
    s.ask('t:sise()', r'attempt to index global')
    s.ask('t = sppo.zeros { 2 }', '')
    s.ask('t:sise(1)', r'\^\r\n.*a tensor has :size')
    s.ask('g = function(a) return a end', '')
    s.ask(':src g', 'g = function')
    s.ask(':who', 't +tensor')
    s.ask('? sppo.ops.softmax', 'softmax')
    s.child.sendline(':quit')
    s.expect(pexpect.EOF)


BRAILLE = '[\u2801-\u28ff]'


def test_plots(home):
    s = Session(home)
    s.ask(':plot { 1, 4, 2, 8 }', BRAILLE)
    s.ask(':hist { 1, 1, 2 }', BRAILLE)
    s.quit()
    for more in ({'term': 'dumb'}, {'NO_COLOR': '1'}, {'LC_ALL': 'C'}):
        s = Session(home, **more)
        s.child.sendline(':plot { 1, 4, 2, 8 }')
        s.child.expect(r'1 +4\r\n')
        assert '*' in s.child.before and not any(ord(c) > 127 for c in s.child.before)
        s.expect(PROMPT)
        s.quit()


def test_recipe_and_run_folder(home):
    s = Session(home)
    s.keys(':op\t')
    s.expect('en')
    s.keys('recipes/tiny.lua train.lo\t')
    s.expect('ss=')
    s.keys('\x15')
    s.ask(':step', 'type :open recipes/tiny.lua')
    s.ask(':open recipes/tiny.lua rounds=1 out=mine', '1 round into mine')
    s.ask(':step 3', 'round 1: prefer done')
    s.ask(':answers 1 1', r'\[1\] win rate')
    s.ask(':step 9', 'no stage left')
    s.ask(':open min', 'no such file|not a run folder|No such file')
    s.ask(':open mine', 'eval/win_rate')
    s.ask(':compare 0 1 1', r'round 1: [\d{]')
    s.ask(':plot run:metric "loss"', BRAILLE)
    s.ask(':answers 7 1', r'round must be an integer in 0\.\.1, got 7')
    s.quit()


def test_file_and_stay(home):
    write(home, 'mine.lua', 'value = 40 function add(x) return value + x end')
    s = Session(home, arguments=['-i', 'mine.lua'])
    s.ask('add(2)', r'\r\n42\r\n')
    s.quit()
    s = Session(home, arguments=['-i', '-e', 'value = 7'])
    s.ask('value', r'\r\n7\r\n')
    s.quit()


def test_reload(home):
    write(home, 'part.lua', 'return { f = function() return 1 end }')
    s = Session(home)
    s.ask("part = require 'part' part.f()", '')
    s.ask('part.f()', r'\r\n1\r\n')
    s.ask(':reload', 'no file of a loaded module has changed')
    write(home, 'part.lua', 'return { f = function() return 2 end }')
    s.ask(':reload', r'part from \./part\.lua')
    s.ask('part.f()', r'\r\n2\r\n')
    write(home, 'part.lua', 'return {')
    s.ask(':reload part', 'part.lua:1:')
    s.ask('part.f()', r'\r\n2\r\n')  # what was loaded stays
    s.ask(':reload prt', "did you mean 'part'")
    s.quit()
