"""torch_worker.py MODE --model FOLDER ...: PyTorch and transformers at one piece of work; prints
one line of JSON. Each mode warms up once, then measures; `value` is the median.

    prefill    512 tokens, logits of the last one                        tokens/s
    generate   a batch of one prompt, sampled answers of one length      tokens/s after the prompt
    mixed      the prompts and answer lengths of a work file             sampled tokens/s
    train      an SPPO step, 4 prompts x 2 answers, 128 + 128 tokens     s a step
    rank       PairRM's module, random weights, pairs of one length      tokens/s (no --model)"""

import argparse
import json
import statistics
import time

import torch
import torch.nn.functional as functional
from transformers import (AutoModelForCausalLM, DebertaV2Config, DebertaV2Model,
                          StoppingCriteria, StoppingCriteriaList)

SAMPLING = {'do_sample': True, 'temperature': 0.7, 'top_p': 0.9, 'top_k': 0, 'pad_token_id': 2}
ETA = 1000


def random_ids(*shape):
    return torch.randint(3, 49152, shape)


def rate(work, seconds):
    """Median, lowest and highest of work / seconds."""
    rates = [work / s for s in seconds]
    return {'value': statistics.median(rates), 'low': min(rates), 'high': max(rates)}


def timed(repeats, run):
    run()
    seconds = []
    for _ in range(repeats):
        begin = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - begin)
    return seconds


@torch.inference_mode()
def prefill(model, options):
    ids = random_ids(1, options.prompt_tokens)
    seconds = timed(options.repeats, lambda: model(ids, logits_to_keep=1, use_cache=True).logits)
    return {**rate(options.prompt_tokens, seconds), 'unit': 'tokens/s'}


class Clock(StoppingCriteria):
    """Stops nothing; notes when each step's tokens were there."""

    def __init__(self):
        self.times = []

    def __call__(self, input_ids, scores, **_):
        self.times.append(time.perf_counter())
        return torch.zeros(input_ids.shape[0], dtype=torch.bool)


@torch.inference_mode()
def generate(model, options):
    ids = random_ids(1, options.prompt_tokens).repeat(options.batch, 1)
    model.generation_config.eos_token_id = None
    rates = []
    for number in range(options.repeats + 1):
        clock = Clock()
        new = options.new_tokens if number else 4
        model.generate(ids, attention_mask=torch.ones_like(ids), min_new_tokens=new,
                       max_new_tokens=new, stopping_criteria=StoppingCriteriaList([clock]),
                       **SAMPLING)
        # The first token comes with the prompt, which is not counted.
        rates.append(options.batch * (new - 1) / (clock.times[-1] - clock.times[0]))
    return {'value': statistics.median(rates[1:]), 'low': min(rates[1:]), 'high': max(rates[1:]),
            'unit': 'tokens/s'}


class Lengths(StoppingCriteria):
    """Each row ends at a length of its own, as if its stop token had come."""

    def __init__(self, prompt, lengths):
        self.prompt, self.lengths = prompt, torch.tensor(lengths)

    def __call__(self, input_ids, scores, **_):
        return self.lengths <= input_ids.shape[1] - self.prompt


@torch.inference_mode()
def mixed(model, options):
    """Whole seconds, prompts included, as for the others. Prompts are padded on the left and the
    batch runs to its longest answer; only the tokens that were wanted count."""
    with open(options.work, encoding='utf-8') as file:
        work = json.load(file)['prompts']
    model.generation_config.eos_token_id = None
    longest = max(len(p['ids']) for p in work)
    ids, mask, lengths = [], [], []
    for p in work:
        pad = longest - len(p['ids'])
        for length in p['lengths']:
            ids.append([2] * pad + p['ids'])
            mask.append([0] * pad + [1] * len(p['ids']))
            lengths.append(length)
    ids, mask = torch.tensor(ids), torch.tensor(mask)
    model.generate(ids, attention_mask=mask, max_new_tokens=2, **SAMPLING)
    begin = time.perf_counter()
    model.generate(ids, attention_mask=mask, max_new_tokens=max(lengths),
                   stopping_criteria=StoppingCriteriaList([Lengths(longest, lengths)]), **SAMPLING)
    seconds = time.perf_counter() - begin
    return {'value': sum(lengths) / seconds, 'unit': 'tokens/s', 'tokens': sum(lengths),
            'seconds': seconds}


def answer_logprobs(model, ids, prompt):
    """Summed log-prob of each row's answer; the head sees the answers only."""
    hidden = model.model(ids[:, :-1], use_cache=False).last_hidden_state[:, prompt - 1:]
    logits, answers = model.lm_head(hidden), ids[:, prompt:]
    each = functional.cross_entropy(logits.flatten(0, 1), answers.flatten(), reduction='none')
    return -each.view(answers.shape).sum(-1)


def train(model, options):
    model.train()
    if options.recompute:
        model.gradient_checkpointing_enable({'use_reentrant': False})
    if options.compile:
        model.model = torch.compile(model.model)
    prompt, answers = options.prompt_tokens, options.new_tokens
    prompts = random_ids(options.prompts, prompt).repeat_interleave(2, 0)
    ids = torch.cat([prompts, random_ids(2 * options.prompts, answers)], 1)
    win = torch.tensor([0.95, 0.05]).repeat(options.prompts)
    reference = torch.full((2 * options.prompts,), -1000.0)
    optimizer = torch.optim.RMSprop(model.parameters(), lr=0)

    def step():
        difference = answer_logprobs(model, ids, prompt) - reference
        loss = (difference - ETA * (win - 0.5)).square().mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    seconds = timed(options.repeats, step)
    return {'value': statistics.median(seconds), 'low': min(seconds), 'high': max(seconds),
            'unit': 's', 'tokens': ids.numel()}


class PairRM(torch.nn.Module):
    """The module of llm-blender at the size of llm-blender/PairRM, but for the table of words, which
    is only looked up: hidden states at three marks, a head for each candidate."""

    def __init__(self):
        super().__init__()
        self.body = DebertaV2Model(DebertaV2Config(
            vocab_size=1024, hidden_size=1024, num_hidden_layers=24, num_attention_heads=16,
            intermediate_size=4096, relative_attention=True, share_att_key=True,
            pos_att_type=['p2c', 'c2p'], norm_rel_ebd='layer_norm', position_biased_input=False,
            type_vocab_size=0, position_buckets=256, max_relative_positions=-1))
        self.head = torch.nn.Sequential(torch.nn.Linear(2048, 1024), torch.nn.Tanh(),
                                        torch.nn.Linear(1024, 1))

    def forward(self, ids, marks):
        hidden = self.body(ids, attention_mask=torch.ones_like(ids)).last_hidden_state
        source, first, second = (hidden[:, mark] for mark in marks)
        left, right = (self.head(torch.cat([source, x], -1)) for x in (first, second))
        return left - right


@torch.inference_mode()
def rank(_, options):
    model, n = PairRM().eval().to(getattr(torch, options.dtype)), options.prompt_tokens
    pairs = max(1, 2048 // n)
    ids = torch.randint(4, 1000, (pairs, n))
    seconds = timed(options.repeats, lambda: model(ids, (1, n // 2, 3 * n // 4)))
    return {**rate(pairs * n, seconds), 'unit': 'tokens/s'}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('mode', choices=['prefill', 'generate', 'mixed', 'train', 'rank'])
    parser.add_argument('--model')
    parser.add_argument('--work', help='work file of `mixed`')
    parser.add_argument('--dtype', default='float32')
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--batch', type=int, default=64)
    parser.add_argument('--prompts', type=int, default=4)
    parser.add_argument('--prompt-tokens', type=int, default=128)
    parser.add_argument('--new-tokens', type=int, default=128)
    parser.add_argument('--repeats', type=int, default=3)
    parser.add_argument('--recompute', action='store_true')
    parser.add_argument('--compile', action='store_true')
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(1)
    model = options.model and AutoModelForCausalLM.from_pretrained(
        options.model, dtype=getattr(torch, options.dtype)).eval()
    print(json.dumps(globals()[options.mode](model, options)))


main()
