"""Writes tests/golden/decoders.json: small random decoders of each architecture, and what
`transformers` computes with them in float32.

Logits of a prompt, log-probs of answers to it, gradients of a sequence loss, a greedy decode, and
for Gemma-2 logits of weights rounded to bfloat16. The weights are not stored: `values` makes them
of a parameter's name, and tests/models/decoders_test.lua makes the same. With --folder PATH: prints
the logits of the last token that transformers computes from a folder that sppo wrote, for every
model saved below PATH (tests/models/decoders_test.lua, SPPO_DECODERS). Needs torch, transformers
(see requirements.txt)."""

import json
import math
import pathlib
import sys

import numpy as np
import torch
import transformers
from transformers import AutoModelForCausalLM

import common

torch.set_num_threads(1)

# Sizes that are all different, so that no mix-up fits; windows, caps and scalings that matter.
SIZES = dict(vocab_size=131, hidden_size=48, intermediate_size=72, num_hidden_layers=2,
             num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=128,
             bos_token_id=1, eos_token_id=2)
MODELS = {
    'llama3': ('Llama', dict(rms_norm_eps=1e-5, rope_parameters={
        'rope_type': 'default', 'rope_theta': 500000.0})),
    'llama31': ('Llama', dict(head_dim=16, rms_norm_eps=1e-5, rope_parameters={
        'rope_type': 'llama3', 'rope_theta': 10000.0, 'factor': 8.0, 'low_freq_factor': 1.0,
        'high_freq_factor': 4.0, 'original_max_position_embeddings': 64})),
    'llama_linear': ('Llama', dict(attention_bias=True, mlp_bias=True, tie_word_embeddings=True,
                                   rope_parameters={'rope_type': 'linear', 'rope_theta': 10000.0,
                                                    'factor': 4.0})),
    'mistral': ('Mistral', dict(head_dim=10, sliding_window=6, rope_parameters={
        'rope_type': 'default', 'rope_theta': 1000000.0})),
    'qwen2': ('Qwen2', dict(num_hidden_layers=3, use_sliding_window=True, sliding_window=5,
                            max_window_layers=1, tie_word_embeddings=True)),
    'gemma2': ('Gemma2', dict(num_hidden_layers=4, head_dim=20, query_pre_attn_scalar=13,
                              sliding_window=5, attn_logit_softcapping=3.0,
                              final_logit_softcapping=4.0)),
}
DECODED = 20
ROWS = [0, 7, 20, 39]  # of the prompt's logits
ENTRIES = 4  # stored of each gradient


def values(name, count):
    """`count` numbers in -1..1 from a parameter's name, in double precision."""
    state = 0
    for byte in name.encode():
        state = (state * 31 + byte) % 2147483647
    state = state % 2147483646 + 1
    result = np.empty(count)
    for i in range(-8, count):
        state = state * 16807 % 2147483647
        if i >= 0:
            result[i] = 2 * state / 2147483647 - 1
    return result


def fill(model, kind):
    with torch.no_grad():
        for name, param in model.named_parameters():
            v = values(name, param.numel())
            if param.ndim == 2:
                v = v * ((0.2 if kind == 'Gemma2' else 0.8) if 'embed' in name
                         else 2.5 / math.sqrt(param.shape[1]))
            elif 'norm' in name:
                v = v * 0.4 + (0 if kind == 'Gemma2' else 1)
            param.copy_(torch.from_numpy(v.reshape(param.shape).astype(np.float32)))


def build(kind, more):
    # Without a pad token: the row of one gets no gradient there.
    config = getattr(transformers, kind + 'Config')(**{**SIZES, **more}, pad_token_id=None,
                                                    attn_implementation='eager')
    model = getattr(transformers, kind + 'ForCausalLM')(config).float().eval()
    fill(model, kind)
    return model


def logprobs(model, prompt, answer):
    """log pi of each token of the answer after the prompt."""
    logits = model(torch.tensor([prompt + answer])).logits[0, len(prompt) - 1:-1]
    return logits.log_softmax(-1).gather(1, torch.tensor(answer)[:, None])[:, 0]


def gradients(model, rng):
    result = {}
    for name, param in model.named_parameters():
        grad = param.grad.detach().numpy().ravel()
        at = np.sort(rng.choice(grad.size, ENTRIES, replace=False))
        result[name] = {'norm': float(np.linalg.norm(grad.astype(np.float64))),
                        'at': at.tolist(), 'values': common.f32(grad[at])}
    return result


def greedy(model, prompt):
    """The likeliest tokens by the key/value cache, and the least lead of one over the next."""
    ids, lead, cache = [], math.inf, None
    step = torch.tensor([prompt])
    for _ in range(DECODED):
        out = model(step, past_key_values=cache, use_cache=True)
        cache = out.past_key_values
        best = out.logits[0, -1].topk(2)
        lead = min(lead, (best.values[0] - best.values[1]).item())
        ids.append(best.indices[0].item())
        step = torch.tensor([ids[-1:]])
    return ids, lead


def rounded_logits(model, prompt):
    """Logits of the last token with matrices, and the embedding's factor, in bfloat16's values."""
    with torch.no_grad():
        for param in model.parameters():
            if param.ndim == 2:
                param.copy_(param.bfloat16().float())
        scale = model.model.embed_tokens.embed_scale
        scale.copy_(scale.bfloat16().float())
        return common.f32(model(torch.tensor([prompt])).logits[0, -1].numpy())


def reference(name, kind, more):
    model = build(kind, more)
    rng = np.random.default_rng(sum(name.encode()))
    tokens = lambda n: rng.integers(0, SIZES['vocab_size'], n).tolist()
    prompt, answers, targets = tokens(40), [tokens(9), tokens(4)], [-40.0, -10.0]
    with torch.no_grad():
        logits = model(torch.tensor([prompt])).logits[0]
        decoded, lead = greedy(model, prompt)
    assert lead > 1e-3, (name, lead)
    each = [logprobs(model, prompt, answer) for answer in answers]
    loss = 0.01 * sum((x.sum() - t) ** 2 for x, t in zip(each, targets))
    loss.backward()
    result = {
        'name': name, 'config': json.loads(model.config.to_json_string()), 'prompt': prompt,
        'rows': ROWS, 'logits': [common.f32(logits[row].numpy()) for row in ROWS],
        'decoded': decoded, 'loss': loss.item(),
        'answers': [{'tokens': a, 'target': t, 'logprobs': common.f32(x.detach().numpy())}
                    for a, t, x in zip(answers, targets, each)],
        'gradient': gradients(model, rng),
    }
    if kind == 'Gemma2':
        result['bf16_logits'] = rounded_logits(model, prompt)
    return result


def compare_folders(path):
    """What transformers makes of folders that sppo wrote, against its own weights."""
    for name, (kind, more) in MODELS.items():
        own = build(kind, more)
        read, info = AutoModelForCausalLM.from_pretrained(
            pathlib.Path(path) / name, attn_implementation='eager', output_loading_info=True)
        prompt = torch.tensor([list(range(3, 43))])
        with torch.no_grad():
            far = (own(prompt).logits - read.float()(prompt).logits).abs().max().item()
        notes = {key: value for key, value in info.items() if value}
        print(f'{name}: {type(read).__name__}, largest difference of logits {far:.3g}, {notes}')


if sys.argv[1:2] == ['--folder']:
    compare_folders(sys.argv[2])
else:
    common.write('decoders.json', {
        **common.header(__file__, ['torch', 'transformers', 'numpy']),
        'note': 'float32, eager attention. loss: 0.01 * sum over answers of (sum of log-probs - '
                'target)^2; gradient: of the loss, "at" are flat row-major indices.',
        'models': [reference(name, *model) for name, model in MODELS.items()],
    })
