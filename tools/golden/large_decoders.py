"""Writes tests/golden/large_decoders.json: logits by `transformers` in float32 of random models of
the sizes that the paper trains, cut to two layers (tests/support/large_model.lua).

Usage: tools/golden/large_decoders.py [SPPO]

The weights are those that the engine draws, so they come from folders that the program writes, one
after the other below TMPDIR: 3 GB each, and 8 GB of memory. Needs torch and transformers."""

import json
import pathlib
import subprocess
import sys
import tempfile

import torch
from transformers import AutoModelForCausalLM

import common

ROOT = pathlib.Path(__file__).resolve().parents[2]
ROWS = [0, 20, 47]
STEP = 997

WRITE = """
package.path = '{root}/tests/?.lua;' .. package.path
require('sppo.cli.test').root = '{root}'
local large_model = require 'support.large_model'
local model = large_model.open('{name}')
require('sppo.model').save(model, '{folder}', 'bf16')
print(require('sppo.json').encode(large_model.prompt(model.config)))
"""


def case(sppo, name):
    with tempfile.TemporaryDirectory() as below:
        folder, script = pathlib.Path(below) / 'model', pathlib.Path(below) / 'write.lua'
        script.write_text(WRITE.format(root=ROOT, name=name, folder=folder))
        done = subprocess.run([sppo, 'repl', script], check=True, stdout=subprocess.PIPE, text=True,
                              cwd=ROOT)
        prompt = json.loads(done.stdout.splitlines()[-1])
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16,
                                                     attn_implementation='eager').float().eval()
    scale = getattr(model.model.embed_tokens, 'embed_scale', None)
    if scale is not None:
        scale.copy_(scale.bfloat16().float())
    with torch.no_grad():
        hidden = model.model(torch.tensor([prompt])).last_hidden_state[0, ROWS]
        logits = model.lm_head(hidden)
        cap = getattr(model.config, 'final_logit_softcapping', None)
        if cap:
            logits = cap * torch.tanh(logits / cap)
    return {'prompt': prompt, 'logits': common.f32(logits[:, ::STEP].numpy())}


def main():
    sppo = sys.argv[1] if len(sys.argv) > 1 else str(ROOT / 'build' / 'sppo')
    names = ['llama3-8b', 'mistral-7b', 'gemma2-9b']
    common.write('large_decoders.json', {
        **common.header(__file__, ['torch', 'transformers']),
        'note': f'rows {ROWS} of the prompt, logits of every {STEP}th token',
        'rows': ROWS, 'models': {name: case(sppo, name) for name in names},
    })


if __name__ == '__main__':
    torch.set_num_threads(2)
    main()
