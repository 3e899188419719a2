"""server_worker.py SERVER MODEL WORK [options of llama-server]: the answers of a work file from
llama.cpp's server, all of them asked for at once, each of a given length; prints one line of JSON.
The clock runs from the first request to the last answer."""

import concurrent.futures
import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

THREADS = 2


def post(port, path, body):
    request = urllib.request.Request(
        f'http://127.0.0.1:{port}{path}', json.dumps(body).encode(),
        {'Content-Type': 'application/json'})
    with urllib.request.urlopen(request, timeout=3600) as response:
        return json.load(response)


def ready(port, server):
    for _ in range(600):
        if server.poll() is not None:
            sys.exit('llama-server ended')
        try:
            with urllib.request.urlopen(f'http://127.0.0.1:{port}/health', timeout=5):
                return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.1)
    sys.exit('llama-server does not answer')


def answer(port, ids, length):
    result = post(port, '/completion', {
        'prompt': ids, 'n_predict': length, 'ignore_eos': True, 'temperature': 0.7, 'top_p': 0.9,
        'samplers': ['top_p', 'temperature'], 'cache_prompt': True, 'stream': False})
    return result['tokens_predicted']


def main():
    program, model, work = sys.argv[1:4]
    with open(work, encoding='utf-8') as file:
        prompts = json.load(file)['prompts']
    wanted = [(p['ids'], length) for p in prompts for length in p['lengths']]
    longest = max(len(ids) + length for ids, length in wanted)
    slot = -(-(longest + 1) // 256) * 256
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [program, '-m', model, '-t', str(THREADS), '-np', str(len(wanted)), '-c',
         str(slot * len(wanted)), '--host', '127.0.0.1', '--port', str(port), '--no-webui',
         *sys.argv[4:]], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL)
    try:
        ready(port, server)
        answer(port, wanted[0][0], 4)
        begin = time.perf_counter()
        with concurrent.futures.ThreadPoolExecutor(len(wanted)) as pool:
            tokens = sum(pool.map(lambda job: answer(port, *job), wanted))
        seconds = time.perf_counter() - begin
        with open(f'/proc/{server.pid}/status', encoding='utf-8') as file:
            rss = next(int(line.split()[1]) for line in file if line.startswith('VmHWM'))
    finally:
        server.terminate()
        server.wait(60)
    assert tokens == sum(length for _, length in wanted), 'answers of other lengths'
    print(json.dumps({'value': tokens / seconds, 'unit': 'tokens/s', 'tokens': tokens,
                      'seconds': seconds, 'rss_mib': rss / 1024}))


main()
