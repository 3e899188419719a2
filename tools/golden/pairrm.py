"""Writes tests/golden/pairrm.json: what llm-blender computes with a small random PairRM: the ids it
reads, logits of all pairs, scores, ranks, its choices, and gradients of its loss.

Weights are those of formula.py; the tokenizer is a stand-in with one word a token. llm-blender wants
transformers below 5, so this runs in an environment of its own (see README.md)."""

import copy
import types

import numpy as np
import torch
from llm_blender.blender.blender import Blender
from llm_blender.pair_ranker.collator import CrossCompareCollator
from llm_blender.pair_ranker.config import RankerConfig
from llm_blender.pair_ranker.pairrm import DebertaV2PairRM
from llm_blender.pair_ranker.ranker import CrossCompareReranker
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import DebertaV2Config, DebertaV2Model, PreTrainedTokenizerFast

import common
import formula

WORDS, SOURCE, CANDIDATE = 150, 20, 12
SAMPLES = 12
CONFIG = dict(
    vocab_size=164, hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
    intermediate_size=48, position_buckets=8, max_position_embeddings=16, hidden_act='gelu',
    layer_norm_eps=1e-7, relative_attention=True, share_att_key=True,
    pos_att_type=['p2c', 'c2p'], norm_rel_ebd='layer_norm', position_biased_input=False,
    type_vocab_size=0, max_relative_positions=-1, pad_token_id=0)
DROPOUT = dict(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)

PROMPTS = [
    ('w1 w2 w3', ['w4 w5', 'w6 w7 w8 w9 w10', 'w11', 'w140 w3 w2']),
    ('w9 ' * 40, ['w20 ' * 30, 'w21 w22 ' * 9, 'w23 w24']),  # cut
    ('w30 [SEP] w31[SEP]', ['w32 w33 [SEP] w34', 'w35', 'w36 w37 ' * 12, 'w38', 'w39 w0']),
]
CONVERSATIONS = [
    [('USER', 'w1 w2'), ('ASSISTANT', 'w3'), ('USER', 'w4 w5'), ('ASSISTANT', 'w6 w7 w8')],
    [('USER', 'w1 w2'), ('ASSISTANT', 'w9'), ('USER', 'w4 w5'), ('ASSISTANT', 'w10')],
]


def tokenizer():
    vocab = {'[PAD]': 0, '[CLS]': 1, '[SEP]': 2, '[UNK]': 3}
    vocab.update({f'w{i}': 10 + i for i in range(WORDS)})
    for i in range(4, 10):  # so that ids have no holes
        vocab[f'<unused{i}>'] = i
    t = Tokenizer(models.WordLevel(vocab, unk_token='[UNK]'))
    t.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    t.post_processor = processors.TemplateProcessing(
        single='[CLS] $A [SEP]', special_tokens=[('[CLS]', 1), ('[SEP]', 2)])
    return PreTrainedTokenizerFast(tokenizer_object=t, pad_token='[PAD]', cls_token='[CLS]',
                                   sep_token='[SEP]', unk_token='[UNK]', model_max_length=512)


def blender():
    words = tokenizer()
    collator = CrossCompareCollator(SOURCE, words, CANDIDATE)
    encoder = DebertaV2Model(DebertaV2Config(**CONFIG, **DROPOUT))
    assert len(words) == CONFIG['vocab_size'], len(words)
    encoder.config.out_hidden_state_size = CONFIG['hidden_size']
    args = RankerConfig(ranker_type='pairranker', source_maxlength=SOURCE,
                        candidate_maxlength=CANDIDATE, drop_out=0.0, device='cpu')
    ranker = formula.fill(CrossCompareReranker(encoder, args, words).float().eval())
    b = Blender.__new__(Blender)
    b.ranker, b.ranker_config, b.ranker_collator = ranker, args, collator
    b.ranker_tokenizer = words
    b.blender_config = types.SimpleNamespace(use_tqdm=False, device='cpu')
    return b


def released_form(b, ids):
    """Logits by llm-blender's other module, that of PairRM-hf."""
    words = b.ranker_tokenizer
    model = DebertaV2PairRM(DebertaV2Config(
        **CONFIG, **DROPOUT, n_tasks=1, drop_out=0.0, sep_token_id=2,
        source_prefix_id=words.source_prefix_id, cand_prefix_id=words.cand_prefix_id,
        cand1_prefix_id=words.cand1_prefix_id, cand2_prefix_id=words.cand2_prefix_id))
    formula.fill(model.float().eval())
    ids = torch.tensor([ids])
    return model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.item()


def one(b, source, candidates):
    with torch.no_grad():
        batch = b.ranker_collator([{'source': source, 'candidates': candidates}])
        batch = {k: v for k, v in batch.items() if v is not None}
        seen = []
        inner = b.ranker.pretrained_model.forward

        def spy(*args, **kwargs):
            seen.append(kwargs['input_ids'][0].tolist())
            return inner(*args, **kwargs)
        b.ranker.pretrained_model.forward = spy
        logits = b.ranker._full_predict(**batch)['logits'][0]
        b.ranker.pretrained_model.forward = inner
        other = released_form(b, seen[0])
        assert abs(other - logits[0, 1].item()) < 1e-5, (other, logits[0, 1])
        permutation = torch.randperm
        torch.randperm = torch.arange  # the order given
        bubble = b.get_best_of_n([source], [list(candidates)], batch_size=1)[0]
        torch.randperm = permutation
    full = b.get_best_of_n([source], [list(candidates)], pairrm_cmp_type='full', batch_size=1)[0]
    run = lambda fn, **more: common.f32(fn([source], [list(candidates)], return_scores=True,
                                           batch_size=1, **more)[0])
    return {
        'prompt': source, 'answers': candidates, 'pair': seen[0],
        'logits': common.f32(logits.numpy()), 'scores': run(b.rank),
        'ranks': b.rank([source], [list(candidates)], batch_size=1)[0].tolist(),
        'with_ref': {mode: run(b.rank_with_ref, ref_mode=mode)
                     for mode in ('longest', 'shortest', 'median_length', 'first', 'last')},
        'best': {'bubble': candidates.index(bubble), 'full': candidates.index(full)},
        'compare': {mode: float(b.compare([source], [candidates[0]], [candidates[1]],
                                          return_logits=True, mode=mode)[0])
                    for mode in ('[A,B]', '[B,A]', '[A,B]+[B,A]')},
    }


def loss_of(b):
    """The mean loss of the first prompt's first pair, preferred answer first, in both orders."""
    source, candidates = PROMPTS[0]
    batch = b.ranker_collator([{'source': source, 'candidates': candidates[:2]}])
    ids, masks = batch['candidate_ids'], batch['candidate_attention_mask']
    good, bad = torch.tensor([[1.0]]), torch.tensor([[0.0]])
    total = 0.0
    for i, j, si, sj in ((0, 1, good, bad), (1, 0, bad, good)):
        total = total + b.ranker._forward(
            batch['source_ids'], batch['source_attention_mask'], ids[:, i], masks[:, i],
            ids[:, j], masks[:, j], si, sj)['loss']
    loss = total / 2
    loss.backward()
    result = {}
    for name, param in b.ranker.named_parameters():
        grad = param.grad.numpy().ravel()
        at = np.sort(np.random.default_rng(len(name)).choice(
            grad.size, min(SAMPLES, grad.size), replace=False))
        result[name] = {'norm': float(np.linalg.norm(grad.astype(np.float64))),
                        'at': at.tolist(), 'values': common.f32(grad[at])}
    return {'loss': loss.item(), 'gradient': result}


def conversations(b):
    turns = [[{'role': role, 'content': text} for role, text in c] for c in CONVERSATIONS]
    with torch.no_grad():
        logits = {mode: float(b.compare_conversations(
            [turns[0]], [turns[1]], return_logits=True, mode=mode)[0])
            for mode in ('[A,B]', '[B,A]', '[A,B]+[B,A]')}
    return {'a': turns[0], 'b': turns[1], 'logits': logits}


B = blender()
common.write('pairrm.json', {
    **common.header(__file__, ['torch', 'transformers', 'llm-blender', 'numpy']),
    'note': 'float32, weights of formula.py, batches of one prompt. pair: the ids that were read '
            'for the first two answers. best: indices from 0; bubble in the order given.',
    'config': {'model_type': 'deberta-v2', **CONFIG, 'n_tasks': 1, 'source_maxlength': SOURCE,
               'candidate_maxlength': CANDIDATE, 'cls_token_id': 1, 'sep_token_id': 2,
               'source_prefix_id': B.ranker_tokenizer.source_prefix_id,
               'cand1_prefix_id': B.ranker_tokenizer.cand1_prefix_id,
               'cand2_prefix_id': B.ranker_tokenizer.cand2_prefix_id},
    'prompts': [one(B, s.strip(), [x.strip() for x in c]) for s, c in PROMPTS],
    'training': loss_of(copy.copy(B)),
    'conversations': conversations(B),
})
