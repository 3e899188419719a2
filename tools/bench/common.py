"""What the parts of `peers` share: folders, running a program and what it cost, medians."""

import contextlib
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
THREADS = 2
MODEL = 'smollm2-135m-instruct'


def default_folder():
    cache = os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache')
    return pathlib.Path(cache) / 'sppo-peers'


def model_file():
    """Where tools/fetch-model puts SmolLM2."""
    data = os.environ.get('XDG_DATA_HOME') or os.path.expanduser('~/.local/share')
    home = os.environ.get('SPPO_HOME') or os.path.join(data, 'sppo')
    path = pathlib.Path(home) / 'models' / MODEL / 'model.gguf'
    if not path.is_file():
        fail(f'no model in {path.parent}. Try: tools/fetch-model smollm2')
    return path


def fail(text):
    sys.exit(f'peers: {text}')


def say(text):
    print(text, file=sys.stderr, flush=True)


def environment():
    """Both threads are the program's own business; nothing from outside tunes a library."""
    kept = {key: value for key, value in os.environ.items()
            if not key.startswith(('OMP_', 'GOMP_', 'KMP_', 'MKL_', 'OPENBLAS_', 'ATEN_', 'TORCH'))}
    return {**kept, 'OMP_NUM_THREADS': str(THREADS), 'TOKENIZERS_PARALLELISM': 'false',
            'HF_HUB_OFFLINE': '1', 'HF_HUB_DISABLE_TELEMETRY': '1', 'PYTHONDONTWRITEBYTECODE': '1'}


def busy():
    """Processor seconds that all programs, and other machines on the same processors, have used."""
    with open('/proc/stat', encoding='utf-8') as file:
        user, nice, system, _, _, irq, softirq, steal = map(int, file.readline().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf('SC_CLK_TCK')


def run(command, timeout=3600):
    """Runs a program; its output, seconds, the most memory it held, and what share of the
    processors others used meanwhile. Ends this program with the last lines of its errors if it
    fails."""
    command = [str(part) for part in command]
    with tempfile.TemporaryFile('w+') as out, tempfile.TemporaryFile('w+') as err:
        begin, used = time.monotonic(), busy()
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                                 env=environment())
        try:
            status, usage = wait(child, begin + timeout)
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                child.kill()
            raise
        seconds, used = time.monotonic() - begin, busy() - used
        out.seek(0)
        err.seek(0)
        text, errors = out.read(), err.read()
    if status != 0:
        lines = (errors or text).strip().splitlines()[-15:]
        fail(f'exit status {status} of {" ".join(command)}\n' + '\n'.join(lines))
    others = (used - usage.ru_utime - usage.ru_stime) / seconds / os.cpu_count()
    return {'text': text, 'seconds': seconds, 'rss_mib': usage.ru_maxrss / 1024,
            'others': max(0, round(others, 3)), 'command': command}


def wait(child, stop):
    while True:
        pid, status, usage = os.wait4(child.pid, os.WNOHANG)
        if pid:
            child.returncode = os.waitstatus_to_exitcode(status)
            return child.returncode, usage
        if time.monotonic() > stop:
            fail(f'no end after an hour: {" ".join(child.args)}')
        time.sleep(0.02)


def json_lines(text):
    """The lines of a text that are JSON objects."""
    rows = []
    for line in text.splitlines():
        if line.startswith('{'):
            with contextlib.suppress(json.JSONDecodeError):
                rows.append(json.loads(line))
    return rows


def append(path, value):
    with open(path, 'a', encoding='utf-8') as file:
        file.write(json.dumps(value) + '\n')


def read_lines(path):
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text(encoding='utf-8').splitlines()]


def spread(values):
    """Median, lowest and highest."""
    return statistics.median(values), min(values), max(values)
