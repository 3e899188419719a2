"""Writes tests/golden/deberta.json: hidden states and gradients of small random DeBERTa-v3 encoders
by `transformers` in float32, and some hidden states of one of deberta-v3-large's size.

Weights are those of formula.py. Texts of different lengths stand in one padded batch. Needs torch
and transformers (see requirements.txt), and 3 GB of memory for the large one."""

import numpy as np
import torch
from transformers import DebertaV2Config, DebertaV2Model

import common
import formula

torch.set_num_threads(2)

SWITCHES = dict(
    hidden_act='gelu', layer_norm_eps=1e-7, relative_attention=True, share_att_key=True,
    pos_att_type=['p2c', 'c2p'], norm_rel_ebd='layer_norm', position_biased_input=False,
    type_vocab_size=0, max_relative_positions=-1, hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0, pad_token_id=0)
SAMPLES = 12  # entries stored of each gradient


def config(vocab, hidden, layers, heads, intermediate, buckets, positions):
    return dict(vocab_size=vocab, hidden_size=hidden, num_hidden_layers=layers,
                num_attention_heads=heads, intermediate_size=intermediate,
                position_buckets=buckets, max_position_embeddings=positions)


def build(sizes):
    model = DebertaV2Model(DebertaV2Config(**sizes, **SWITCHES), )
    model.config._attn_implementation = 'eager'
    return formula.fill(model.float().eval())


def text(name, n, vocab):
    """n token ids other than 0, the padding."""
    return (1 + np.floor((formula.numbers(name, n) + 1) / 2 * (vocab - 1))).astype(int).tolist()


def hidden_of(model, texts):
    longest = max(map(len, texts))
    ids = torch.tensor([t + [0] * (longest - len(t)) for t in texts])
    mask = torch.tensor([[1] * len(t) + [0] * (longest - len(t)) for t in texts])
    out = model(input_ids=ids, attention_mask=mask).last_hidden_state
    return [out[i, :len(t)] for i, t in enumerate(texts)]


def gradients(model):
    result = {}
    for name, param in model.named_parameters():
        grad = param.grad.numpy().ravel()
        rng = np.random.default_rng(len(name))
        at = np.sort(rng.choice(grad.size, min(SAMPLES, grad.size), replace=False))
        result[name] = {'norm': float(np.linalg.norm(grad.astype(np.float64))),
                        'at': at.tolist(), 'values': common.f32(grad[at])}
    return result


def case(sizes, lengths, rows=None):
    """rows: of the last text, whose hidden states are stored; all of all texts if absent."""
    model = build(sizes)
    texts = [text(f'text {i}', n, sizes['vocab_size']) for i, n in enumerate(lengths)]
    hidden = hidden_of(model, texts)
    flat = torch.cat(hidden)
    weight = torch.from_numpy(formula.numbers('loss', flat.numel()).astype(np.float32))
    loss = (flat.ravel() * weight).sum()
    loss.backward()
    stored = flat.detach().numpy()
    if rows is not None:
        stored = stored[np.array(rows) + len(flat) - lengths[-1]]
    return {'config': {'model_type': 'deberta-v2', **sizes, **SWITCHES}, 'texts': texts,
            'rows': rows, 'hidden': common.f32(stored), 'loss': loss.item(),
            'gradient': gradients(model)}


def large():
    sizes = config(1024, 1024, 24, 16, 4096, 256, 512)
    ids = text('large', 300, sizes['vocab_size'])
    with torch.no_grad():
        hidden = hidden_of(build(sizes), [ids])[0].numpy()
    rows = [0, 1, 150, 299]
    return {'config': {'model_type': 'deberta-v2', **sizes, **SWITCHES}, 'tokens': ids,
            'rows': rows, 'hidden': common.f32(hidden[rows][:, :16])}


common.write('deberta.json', {
    **common.header(__file__, ['torch', 'transformers', 'numpy']),
    'note': 'float32, eager attention, weights of formula.py. loss: the sum of the hidden states, '
            'each times the number of formula.numbers("loss") at its place; gradient: of it; "at" '
            'are flat row-major indices. large: the first 16 columns of some rows.',
    'cases': [
        case(config(67, 32, 2, 2, 48, 8, 16), [1, 9, 37]),
        case(config(41, 24, 3, 3, 40, 32, 64), [70, 5]),
        case(config(50, 16, 1, 2, 20, 256, 512), [700], [0, 1, 129, 350, 698, 699]),
    ],
    'large': large(),
})
