"""Chromium without a window, driven over a pipe (its DevTools protocol): pages from files, with
what they logged and asked of the network. Needs only Python's library; `find` says where it is.
"""

import base64
import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time

NAMES = ('chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable')


def find():
    """Path of a Chromium, or None; SPPO_CHROMIUM names one."""
    given = os.environ.get('SPPO_CHROMIUM')
    return given or next((p for p in map(shutil.which, NAMES) if p), None)


class Chromium:
    """A browser for a `with` block."""

    def __init__(self, path, seconds=60):
        self.seconds = seconds
        self.folder = tempfile.mkdtemp(prefix='sppo-chromium-')
        to_child, ours_out = os.pipe()
        ours_in, from_child = os.pipe()

        def pipe_files():
            # The browser reads file 3 and writes file 4, which may be ours now under those numbers.
            high = [os.dup2(to_child, 100, False), os.dup2(from_child, 101, False)]
            os.dup2(high[0], 3)
            os.dup2(high[1], 4)

        self.child = subprocess.Popen(
            [path, '--headless=new', '--no-sandbox', '--disable-gpu', '--remote-debugging-pipe',
             '--user-data-dir=' + self.folder, '--no-first-run', '--hide-scrollbars',
             '--disable-background-networking', '--disable-component-update', '--disable-sync',
             '--disable-default-apps', '--disable-dev-shm-usage', '--force-color-profile=srgb',
             '--font-render-hinting=none', 'about:blank'],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            close_fds=False, preexec_fn=pipe_files, start_new_session=True)
        os.close(to_child)
        os.close(from_child)
        self.out, self.inp = ours_out, ours_in
        self.buffer, self.number, self.events, self.session = b'', 0, [], None
        target = self.call('Target.createTarget', url='about:blank')['targetId']
        attached = self.call('Target.attachToTarget', targetId=target, flatten=True)
        self.session = attached['sessionId']
        for domain in ('Page', 'Runtime', 'Log', 'Network', 'DOM'):
            self.call(domain + '.enable')

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.killpg(self.child.pid, signal.SIGKILL)  # with the processes it started
        self.child.wait()
        os.close(self.out)
        os.close(self.inp)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _message(self, until):
        while b'\0' not in self.buffer:
            left = until - time.monotonic()
            if left <= 0 or not select.select([self.inp], [], [], left)[0]:
                raise TimeoutError('Chromium says nothing')
            block = os.read(self.inp, 1 << 20)
            if not block:
                raise EOFError('Chromium ended')
            self.buffer += block
        message, self.buffer = self.buffer.split(b'\0', 1)
        return json.loads(message)

    def call(self, method, **params):
        """The protocol's answer to a method; events that come before it are kept."""
        self.number += 1
        request = {'id': self.number, 'method': method, 'params': params}
        if self.session:
            request['sessionId'] = self.session
        data = json.dumps(request).encode() + b'\0'
        while data:
            data = data[os.write(self.out, data):]
        until = time.monotonic() + self.seconds
        while True:
            message = self._message(until)
            if message.get('id') == self.number:
                if 'error' in message:
                    raise RuntimeError('%s: %s' % (method, message['error']))
                return message['result']
            if 'method' in message:
                self.events.append(message)

    def _wait(self, method):
        until = time.monotonic() + self.seconds
        while not any(e['method'] == method for e in self.events):
            message = self._message(until)
            if 'method' in message:
                self.events.append(message)

    def screen(self, width, height=900, dark=False, scale=1):
        """The screen that pages are shown on from now."""
        self.call('Emulation.setDeviceMetricsOverride', width=width, height=height,
                  deviceScaleFactor=scale, mobile=width < 600)
        self.media('screen', dark)

    def media(self, media, dark=False):
        scheme = {'name': 'prefers-color-scheme', 'value': 'dark' if dark else 'light'}
        self.call('Emulation.setEmulatedMedia', media=media, features=[scheme])

    def open(self, path):
        """Loads a file and waits until it is drawn. Afterwards `events` are this page's."""
        self.events = []
        self.call('Page.navigate', url='file://' + os.path.abspath(path))
        self._wait('Page.loadEventFired')
        self.evaluate('''new Promise(f => { const wait = () => requestAnimationFrame(() =>
            performance.getEntriesByType('paint').length || performance.now() > 1e4 ? f() : wait())
            wait() })''')

    def evaluate(self, expression):
        """The value of JavaScript; the debugger's, which a page's policy does not stop."""
        result = self.call('Runtime.evaluate', expression=expression, awaitPromise=True,
                           returnByValue=True)
        if 'exceptionDetails' in result:
            raise RuntimeError(result['exceptionDetails'])
        return result['result'].get('value')

    def complaints(self):
        """What the page logged, and what failed in it."""
        found = []
        for event in self.events:
            params = event['params']
            if event['method'] == 'Runtime.consoleAPICalled':
                found.append('console.%s' % params['type'])
            elif event['method'] == 'Runtime.exceptionThrown':
                found.append(params['exceptionDetails']['text'])
            elif event['method'] == 'Log.entryAdded':
                found.append(params['entry']['text'])
            elif event['method'] == 'Page.javascriptDialogOpening':
                found.append('dialog: ' + params['message'])
        return found

    def requests(self):
        """Addresses that the page asked for, itself included."""
        return [e['params']['request']['url'] for e in self.events
                if e['method'] == 'Network.requestWillBeSent']

    def screenshot(self, path, whole=False, height=None):
        clip = {}
        if whole or height:
            size = self.call('Page.getLayoutMetrics')['cssContentSize']
            clip = {'captureBeyondViewport': True, 'clip': {
                'x': 0, 'y': 0, 'width': size['width'], 'height': height or size['height'],
                'scale': 1}}
        data = self.call('Page.captureScreenshot', format='png', **clip)['data']
        with open(path, 'wb') as f:
            f.write(base64.b64decode(data))
