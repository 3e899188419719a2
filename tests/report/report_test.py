#!/usr/bin/env python3
"""The report in a browser: it draws at once, on any screen, asks for nothing, and text stays text.

Usage: report_test.py SPPO. Prints what failed and, last, "N passed, N failed[, N skipped]". All is
skipped where there is no Chromium: with what it needs it is 640 MB of packages, so tools/setup does
not install it ("apt-get install --no-install-recommends chromium" does).
"""

import os
import re
import subprocess
import sys
import tempfile
import traceback

import chromium

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SECOND = 1000 * float(os.environ.get('REPORT_TEST_SECONDS', '1'))
SCREENS = (('light', 1100, False), ('dark', 1100, True), ('narrow', 390, False),
           ('narrow dark', 390, True))

# Every element, and every element with each attribute it has.
ELEMENTS = """[...new Set([...document.querySelectorAll('*')].flatMap(e =>
    [e.tagName, ...[...e.attributes].map(a => e.tagName + ' ' + a.name)]))]"""
OPEN_ALL = "document.querySelectorAll('details').forEach(d => { d.open = true })"
DRAWN = """[performance.getEntriesByType('navigation')[0].loadEventEnd,
    Math.max(...performance.getEntriesByType('paint').map(p => p.startTime))]"""


def sppo(program, *arguments):
    env = dict(os.environ, SPPO_LUA=ROOT)
    done = subprocess.run([program, *arguments], env=env, capture_output=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr.decode()


def make_pages(program, folder):
    """A run of recipes/tiny.lua, two of them side by side, and what tests/support makes up."""
    for seed in ('1', '2'):
        sppo(program, 'run', 'recipes/tiny.lua', 'seed=' + seed, 'out=%s/tiny-%s' % (folder, seed))
    sppo(program, 'report', '--compare', folder + '/tiny-1', folder + '/tiny-2', '-o',
         folder + '/compare.html')
    sppo(program, 'repl', '-e', "package.path = '%s/tests/?.lua;' .. package.path "
         "require('support.report_runs').all('%s')" % (ROOT, folder))


def assert_quiet(browser, path):
    assert browser.complaints() == [], browser.complaints()
    assert browser.requests() == ['file://' + path], browser.requests()


def assert_fits(browser):
    """Nothing stands out at the right, opened or not."""
    for opening in ('', OPEN_ALL):
        browser.evaluate(opening)
        wide, screen = browser.evaluate('[document.documentElement.scrollWidth, innerWidth]')
        assert wide <= screen, '%d px wide on a screen of %d' % (wide, screen)
        out = browser.evaluate("""[...document.querySelectorAll('main *')].filter(e =>
            !e.closest('.scroll') && !e.closest('svg') && e.getClientRects().length &&
            e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 99))""")
        assert out == [], out


def look(browser, name, path):
    """A page on every screen: quiet, within its width, its figures there, drawn within a second."""
    for screen, width, dark in SCREENS:
        browser.screen(width, dark=dark)
        browser.open(path)
        loaded, painted = browser.evaluate(DRAWN)
        print('%-10s %-12s %5.0f kB  loaded %4.0f ms, painted %4.0f ms' % (
            name, screen, os.path.getsize(path) / 1e3, loaded, painted))
        assert max(loaded, painted) < SECOND, (loaded, painted)
        assert_quiet(browser, path)
        shown, boxes = browser.evaluate("""(() => { const all =
            [...document.querySelectorAll('svg')].map(s => s.getBoundingClientRect());
            return [all.filter(b => b.width > 100 && b.height > 50).length, all.length] })()""")
        assert shown == boxes and shown > 0, (shown, boxes)
        page = browser.evaluate('getComputedStyle(document.body).backgroundColor')
        light = sum(map(int, re.findall(r'\d+', page)[:3])) > 3 * 128
        assert light != dark, page
        assert_fits(browser)
    return shown


def test_a_run(browser, folder):
    assert look(browser, 'tiny', folder + '/tiny-1/report.html') >= 12


def test_side_by_side(browser, folder):
    assert look(browser, 'compare', folder + '/compare.html') >= 3


def test_quickstart_size(browser, folder):
    path = folder + '/quickstart/report.html'
    assert os.path.getsize(path) < 2 << 20
    look(browser, 'quickstart', path)


def test_large(browser, folder):
    path = folder + '/large/report.html'
    assert os.path.getsize(path) < 2 << 20
    look(browser, 'large', path)


def test_printed(browser, folder):
    """On paper, answers and matrices are open, whatever was clicked, and it is light."""
    browser.screen(794, dark=True)
    browser.open(folder + '/tiny-1/report.html')
    shown = "[...document.querySelectorAll('.answer')].filter(e => e.checkVisibility(" \
        "{ contentVisibilityAuto: true })).length"
    before = browser.evaluate(shown)
    browser.media('print', dark=True)
    after, every = browser.evaluate('[%s, document.querySelectorAll(".answer").length]' % shown)
    assert before < after == every, (before, after, every)
    assert browser.evaluate('getComputedStyle(document.body).backgroundColor') == \
        'rgb(255, 255, 255)'
    assert_fits(browser)
    browser.media('screen')


def test_tables_have_headings(browser, folder):
    """Each cell can be read out with its row and column; each figure has its table."""
    browser.screen(1100)
    browser.open(folder + '/tiny-1/report.html')
    assert browser.evaluate("""[...document.querySelectorAll('table')].every(t =>
        t.querySelectorAll('thead th[scope=col]').length > 1 &&
        [...t.querySelectorAll('tbody tr')].every(r => r.querySelector('th[scope=row]')))""")
    assert browser.evaluate("""[...document.querySelectorAll('figure')].every(f =>
        f.querySelector('svg[role=img]').getAttribute('aria-label') &&
        f.querySelector('details table caption'))""")
    assert browser.evaluate("document.documentElement.lang === 'en' && "
                            "document.querySelectorAll('h1').length === 1")


def visible(data):
    """What a page shows of bytes: by the rules of lua/sppo/escape.lua, told a second time."""
    text = data.decode('utf-8', 'replace')
    out = []
    for c in text:
        n = ord(c)
        if n < 32 and c not in '\t\n\r' or 0x7F <= n <= 0x9F or n & 0xFFFE == 0xFFFE:
            out.append('\N{REPLACEMENT CHARACTER}')
        elif n in (0xAD, 0x61C, 0x180E, 0x200B, 0x200E, 0x200F, 0xFEFF) or \
                0x2028 <= n <= 0x202E or 0x2060 <= n <= 0x206F or 0xE0000 <= n <= 0xE007F:
            out.append('⟨U+%04X⟩' % n)
        else:
            out.append(c)
    return ''.join(out).replace('\r\n', '\n').replace('\r', '\n').rstrip(' \t\n')


def test_hostile_texts(browser, folder):
    browser.screen(390)
    browser.open(folder + '/clean/report.html')
    allowed = set(browser.evaluate(ELEMENTS))
    with open(folder + '/hostile.hex') as f:
        wanted = [bytes.fromhex(line) for line in f.read().split('\n')[:-1]]
    assert len(wanted) >= 200
    pages = sorted(n for n in os.listdir(folder) if n.startswith('hostile-'))
    seen = set()
    for name in pages:
        path = '%s/%s/report.html' % (folder, name)
        browser.open(path)
        extra = set(browser.evaluate(ELEMENTS)) - allowed
        assert not extra, extra
        title = browser.evaluate('document.title')
        assert title != 'ran' and title.startswith('</title></style>'), title
        assert_quiet(browser, path)
        assert_fits(browser)
        assert 'script' not in browser.evaluate(
            "[...document.querySelectorAll('*')].map(e => e.localName)")
        seen.update(browser.evaluate(
            "[...document.querySelectorAll('.answer')].map(e => e.textContent)"))
        # Whatever would run on a click, a hover or a change of focus does nothing, either.
        browser.evaluate("""document.querySelectorAll('body *').forEach(e => { for (const t of
            ['click', 'mouseover', 'focus', 'toggle', 'error', 'load'])
            e.dispatchEvent(new Event(t, { bubbles: true })) })""")
        assert browser.evaluate('document.title') != 'ran'
    missing = [w for w in wanted if visible(w) not in seen]
    assert not missing, (len(missing), missing[:5])
    print('%d hostile texts on %d pages are text only' % (len(wanted), len(pages)))


def test_a_script_would_be_seen(browser, folder):
    """That the checks above can fail: a page with a script, a request and a wide element."""
    path = folder + '/bad.html'
    with open(path, 'w') as f:
        f.write('<!doctype html><main><p style="width:2000px">x<img src="file:///nothing.png" '
                'onerror="document.title=\'ran\'"><script>console.log(1)</script></main>')
    browser.screen(390)
    browser.open(path)
    assert browser.evaluate('document.title') == 'ran'
    assert 'console.log' in browser.complaints()
    assert len(browser.requests()) == 2
    try:
        assert_fits(browser)
    except AssertionError:
        return
    raise AssertionError('a wide element was not seen')


def main():
    tests = [(n, f) for n, f in sorted(globals().items()) if n.startswith('test_')]
    path = chromium.find()
    if not path:
        print('skip  report in a browser: no chromium (apt-get install chromium, 640 MB)')
        print('0 passed, 0 failed, %d skipped' % len(tests))
        return 0
    failed = 0
    with tempfile.TemporaryDirectory() as folder, chromium.Chromium(path) as browser:
        make_pages(os.path.abspath(sys.argv[1]), folder)
        for name, test in tests:
            try:
                test(browser, folder)
            except Exception:
                failed += 1
                print('FAIL  report %s' % name)
                traceback.print_exc(file=sys.stdout)
    print('%d passed, %d failed' % (len(tests) - failed, failed))
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
