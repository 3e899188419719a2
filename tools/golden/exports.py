#!/usr/bin/env python3
"""exports.py SPPO LLAMA_SERVER: what llama.cpp and transformers make of models that sppo exported.

Random models of each architecture as GGUF (tests/lua/export_test.lua writes them): the likeliest
tokens after a prompt by llama.cpp against those of sppo. SmolLM2, fetched before: the greedy texts
of some prompts by llama.cpp (f32) and the logits by transformers (a folder in f32) against those of
sppo. Prints a line for each and fails if one differs. Needs torch and transformers
(requirements.txt) and llama.cpp's server (tools/bench/peers setup builds one)."""

import contextlib
import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODEL = 'smollm2-135m-instruct'
PROMPTS = ['The capital of France is', 'def add(a, b):\n', 'Once upon a time', 'Water boils at',
           '1, 2, 3, 4,', 'Dear Sir or Madam,', 'The three primary colours are', 'In the year 1969']
LENGTH = 40

LOGITS = """
local ids, model = {IDS}, assert(require('sppo.model').open '{PATH}')
local at = require('sppo.segments').new { { count = #ids } }
local logits = model.net.lm_head(model.net(require('sppo.tensor').ints(ids), at))
print(require('sppo.json').encode(logits:narrow(1, #ids - 1, 1):tolist()))
"""


def post(port, path, body):
    request = urllib.request.Request(f'http://127.0.0.1:{port}{path}', json.dumps(body).encode(),
                                     {'Content-Type': 'application/json'})
    with urllib.request.urlopen(request, timeout=600) as response:
        return json.load(response)


@contextlib.contextmanager
def served(program, model):
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    # One slot, no flash attention's f16 accumulation, keys and values as computed.
    server = subprocess.Popen(
        [program, '-m', model, '-t', '2', '-np', '1', '-c', '512', '-fa', 'off', '-ctk', 'f32',
         '-ctv', 'f32', '--host', '127.0.0.1', '--port', str(port), '--no-webui'],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        for _ in range(600):
            if server.poll() is not None:
                sys.exit(f'llama-server ended: {server.stderr.read()[-2000:]}')
            try:
                with urllib.request.urlopen(f'http://127.0.0.1:{port}/health', timeout=5):
                    break
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.1)
        yield port
    finally:
        server.terminate()
        server.communicate(timeout=60)


def completion(port, prompt, length):
    return post(port, '/completion', {
        'prompt': prompt, 'n_predict': length, 'temperature': 0, 'samplers': ['temperature'],
        'return_tokens': True, 'cache_prompt': False, 'stream': False})


def random_models(sppo, program, folder):
    environment = dict(os.environ, SPPO_EXPORTS=str(folder), SPPO_LUA=str(ROOT))
    subprocess.run([sppo, 'test', 'lua/export.gguf_reads_back'], env=environment, check=True,
                   stdout=subprocess.DEVNULL, cwd=ROOT)
    expected = json.loads((folder / 'expected.json').read_text())
    wrong = 0
    for name, cases in sorted(expected.items()):
        tokens = same = 0
        with served(program, folder / f'{name}.gguf') as port:
            for case in cases:
                got = completion(port, case['prompt'], len(case['tokens']))['tokens']
                same += got == case['tokens']
                tokens += len(got)
                if got != case['tokens']:
                    print(f'{name}: {case["prompt"]} gives {got}, sppo {case["tokens"]}')
        wrong += len(cases) - same
        print(f'{name}, random, f32 GGUF, llama.cpp: {same} of {len(cases)} answers of '
              f'{tokens} likeliest tokens are the same', flush=True)
    return wrong


def real_model(sppo, program, folder):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    gguf, hub = folder / 'smollm2.gguf', folder / 'smollm2'
    for path in (gguf, hub):
        subprocess.run([sppo, 'export', MODEL, path, '--dtype', 'f32'], check=True,
                       stdout=subprocess.DEVNULL)
    same = 0
    with served(program, gguf) as port:
        for prompt in PROMPTS:
            theirs = completion(port, prompt, LENGTH)['content']
            ours = subprocess.run(
                [sppo, 'gen', gguf, prompt, '--raw', '--temperature', '0', '--max-new-tokens',
                 str(LENGTH)], check=True, capture_output=True, text=True).stdout[:-1]
            same += theirs == ours
            if theirs != ours:
                print(f'{prompt!r}: llama.cpp {theirs!r}, sppo {ours!r}')
    print(f'SmolLM2, f32 GGUF, llama.cpp: {same} of {len(PROMPTS)} greedy texts of {LENGTH} tokens '
          'are the same', flush=True)
    tokenizer = AutoTokenizer.from_pretrained(hub)
    model = AutoModelForCausalLM.from_pretrained(hub, dtype=torch.float32)
    furthest = 0
    for prompt in PROMPTS:
        ids = tokenizer(prompt)['input_ids']
        code = LOGITS.replace('{IDS}', '{' + ','.join(map(str, ids)) + '}').replace(
            '{PATH}', str(hub))
        ours = json.loads(subprocess.run([sppo, 'repl', '-e', code], check=True, text=True,
                                         capture_output=True).stdout)
        with torch.no_grad():
            theirs = model(torch.tensor([ids])).logits[0, -1]
        furthest = max(furthest, (theirs - torch.tensor(ours)).abs().max().item())
    print(f'SmolLM2, f32 folder, transformers: largest difference of {len(PROMPTS)} x '
          f'{model.config.vocab_size} logits {furthest:.2g}', flush=True)
    return len(PROMPTS) - same + (furthest > 1e-3)


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    sppo, program = (os.path.abspath(path) for path in sys.argv[1:])
    with tempfile.TemporaryDirectory(prefix='sppo-exports-') as name:
        folder = pathlib.Path(name)
        wrong = random_models(sppo, program, folder) + real_model(sppo, program, folder)
    sys.exit(wrong > 0)


main()
