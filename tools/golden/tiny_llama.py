"""Writes tests/golden/tiny_llama.json and two .safetensors files beside it: two random two-layer
Llamas, and what `transformers` computes with them in float32.

Logits of two prompts, log-probs of answers to them, gradients of the sum of those log-probs, and
the SPPO loss of one pair with its gradients. Needs torch, transformers, safetensors (see
requirements.txt)."""

import math

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

import common

torch.set_num_threads(1)

MODELS = {
    'tiny_llama': dict(
        vocab_size=131, hidden_size=48, intermediate_size=80, num_hidden_layers=2,
        num_attention_heads=6, num_key_value_heads=2, head_dim=8, rms_norm_eps=1e-5,
        rope_theta=10000.0, max_position_embeddings=64, tie_word_embeddings=True),
    'tiny_llama_untied': dict(  # heads * head_dim is not hidden_size here
        vocab_size=131, hidden_size=32, intermediate_size=88, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=1, head_dim=16, rms_norm_eps=1e-6,
        rope_theta=500000.0, max_position_embeddings=64, tie_word_embeddings=False),
}
ETA = 1000.0
SAMPLES = 16  # entries stored of each gradient


def build(config, seed):
    rng = np.random.default_rng(seed)
    settings = {key: value for key, value in config.items() if key != 'rope_theta'}
    model = LlamaForCausalLM(LlamaConfig(
        **settings, rope_parameters={'rope_type': 'default', 'rope_theta': config['rope_theta']},
        attn_implementation='eager')).float().eval()
    with torch.no_grad():
        for name, param in model.named_parameters():
            shape = tuple(param.shape)
            if param.ndim == 1:  # a norm
                values = 1 + 0.2 * rng.normal(size=shape)
            else:  # large enough that attention and the next token are far from uniform
                values = rng.normal(size=shape) * (0.5 if 'embed' in name else 1.5 / shape[1] ** .5)
            param.copy_(torch.from_numpy(values.astype(np.float32)))
    return model


def logprobs(model, prompt, answer):
    """log pi of each token of the answer after the prompt."""
    logits = model(torch.tensor([prompt + answer])).logits[0, len(prompt) - 1:-1]
    return logits.log_softmax(-1).gather(1, torch.tensor(answer)[:, None])[:, 0]


def gradients(model, rng):
    """The gradients that are there now: norm of all, and of each its norm and some entries."""
    result, squares = {}, 0.0
    for name, param in model.named_parameters():
        grad = param.grad.detach().numpy().ravel()
        norm = float(np.linalg.norm(grad.astype(np.float64)))
        squares += norm * norm
        at = np.sort(rng.choice(grad.size, min(SAMPLES, grad.size), replace=False))
        result[name] = {'norm': norm, 'at': at.tolist(), 'values': common.f32(grad[at])}
    model.zero_grad()
    return {'norm': math.sqrt(squares), 'parameters': result}


def sppo(model, pair, offsets, rng):
    """The official loss of one pair, in float64 after the float32 log-probs."""
    prompt, chosen, rejected = pair
    p_win, p_lose = 0.86, 0.21
    logp_w = logprobs(model, prompt, chosen).double().sum()
    logp_l = logprobs(model, prompt, rejected).double().sum()
    ref_w, ref_l = logp_w.item() - offsets[0], logp_l.item() - offsets[1]
    lw, ll = logp_w - ref_w, logp_l - ref_l
    loss = 0.5 * ((lw - ETA * (p_win - 0.5)) ** 2 + (ll - ETA * (p_lose - 0.5)) ** 2)
    loss.backward()
    return {'eta': ETA, 'prompt': prompt, 'chosen': chosen, 'rejected': rejected,
            'p_win': p_win, 'p_lose': p_lose, 'ref_chosen': ref_w, 'ref_rejected': ref_l,
            'chosen_logprob': logp_w.item(), 'rejected_logprob': logp_l.item(),
            'loss': loss.item(), 'gradient': gradients(model, rng)}


def reference(name, config, seed):
    model = build(config, seed)
    rng = np.random.default_rng(seed + 1)
    tokens = lambda n: rng.integers(0, config['vocab_size'], n).tolist()
    prompts = [tokens(1), tokens(23)]
    answers = [(0, tokens(6)), (1, tokens(9)), (1, tokens(4)), (1, tokens(1))]

    with torch.no_grad():
        logits = [common.f32(model(torch.tensor([p])).logits[0].numpy()) for p in prompts]
    scored, total = [], 0.0
    for index, answer in answers:
        each = logprobs(model, prompts[index], answer)
        total = total + each.sum()
        scored.append({'prompt': index, 'tokens': answer,
                       'logprobs': common.f32(each.detach().numpy())})
    total.backward()
    grad = gradients(model, rng)

    pair = (prompts[1], answers[1][1], answers[2][1])
    losses = [sppo(model, pair, (0.0, 0.0), rng), sppo(model, pair, (12.5, -4.75), rng)]

    state = {key: value.contiguous() for key, value in model.state_dict().items()
             if not (config['tie_word_embeddings'] and key == 'lm_head.weight')}
    file = f'{name}.safetensors'
    save_file(state, common.OUT / file, metadata={'format': 'pt'})
    (common.OUT / file).chmod(0o644)
    print(f'{file}: {(common.OUT / file).stat().st_size} bytes')
    return {'weights': file, 'sha256': common.sha256(common.OUT / file),
            'config': {'model_type': 'llama', 'architectures': ['LlamaForCausalLM'],
                       'hidden_act': 'silu', 'torch_dtype': 'float32', **config},
            'prompts': [{'tokens': p, 'logits': l} for p, l in zip(prompts, logits)],
            'answers': scored, 'sum_of_logprobs': total.item(), 'gradient': grad,
            'sppo': losses}


common.write('tiny_llama.json', {
    **common.header(__file__, ['torch', 'transformers', 'safetensors', 'numpy']),
    'note': 'float32, eager attention. gradient: of the sum of the log-probs of all answers; '
            '"at" are flat row-major indices. sppo: half the sum of two squares.',
    'models': [reference(name, config, 7 * (i + 1))
               for i, (name, config) in enumerate(MODELS.items())],
})
