"""round_worker.py --model FOLDER --work round-work.json --prompts 16: a part of a round of
recipes/smollm2.lua in Python (transformers and a plain training loop), and the seconds of all of it
by proportion; prints one line of JSON.

sample: 5 answers of up to 96 tokens; prefer: the longer answer wins (a rule costs nothing);
train: SPPO steps of 8 prompts x 2 answers, with the reference log-probs computed before;
evaluate: 3 answers of held-out prompts; save: the new weights, once."""

import argparse
import json
import tempfile
import time

import torch
import torch.nn.functional as functional
from transformers import AutoModelForCausalLM

END, ETA, BATCH = 2, 1000, 8
SAMPLING = {'do_sample': True, 'temperature': 0.7, 'top_p': 0.9, 'top_k': 0, 'pad_token_id': END,
            'eos_token_id': END, 'max_new_tokens': 96}


@torch.inference_mode()
def sample(model, prompts, k):
    """k answers of each prompt, in one batch padded on the left."""
    longest = max(len(ids) for ids in prompts)
    ids = torch.tensor([[END] * (longest - len(p)) + p for p in prompts])
    mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts])
    out = model.generate(ids, attention_mask=mask, num_return_sequences=k, **SAMPLING)
    answers = []
    for row in out[:, longest:].tolist():
        answers.append(row[:row.index(END) + 1] if END in row else row)
    return [answers[i:i + k] for i in range(0, len(answers), k)]


def logprobs(model, rows):
    """Summed log-prob of each (prompt, answer), padded on the right; the head sees answers only."""
    longest = max(len(p) + len(a) for p, a in rows)
    ids = torch.full((len(rows), longest), END)
    mask, wanted = torch.zeros(len(rows), longest), torch.zeros(len(rows), longest - 1).bool()
    for i, (p, a) in enumerate(rows):
        ids[i, :len(p) + len(a)] = torch.tensor(p + a)
        mask[i, :len(p) + len(a)] = 1
        wanted[i, len(p) - 1:len(p) + len(a) - 1] = True
    hidden = model.model(ids, attention_mask=mask, use_cache=False).last_hidden_state[:, :-1]
    each = functional.cross_entropy(model.lm_head(hidden[wanted]), ids[:, 1:][wanted],
                                    reduction='none')
    owner = wanted.nonzero()[:, 0]
    return torch.zeros(len(rows)).index_add(0, owner, -each)


def train(model, rows):
    """rows: winner and loser of each prompt, one after the other."""
    with torch.no_grad():
        reference = [logprobs(model, rows[i:i + 2 * BATCH]) for i in range(0, len(rows), 2 * BATCH)]
    optimizer = torch.optim.RMSprop(model.parameters(), lr=2e-6)
    for number, given in enumerate(reference):
        batch = rows[2 * BATCH * number:2 * BATCH * (number + 1)]
        win = torch.tensor([0.95, 0.05]).repeat(len(batch) // 2)
        loss = (logprobs(model, batch) - given - ETA * (win - 0.5)).square().mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--model', required=True)
    parser.add_argument('--work', required=True)
    parser.add_argument('--prompts', type=int, default=16)
    parser.add_argument('--threads', type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(1)
    with open(options.work, encoding='utf-8') as file:
        work = json.load(file)
    part = options.prompts
    clock = [time.perf_counter()]

    def lap():
        clock.append(time.perf_counter())
        return clock[-1] - clock[-2]

    def ids(name):
        """Every n-th prompt, so that long and short ones are in the part."""
        return [p['ids'] for p in work[name][::max(1, len(work[name]) // part)][:part]]

    model = AutoModelForCausalLM.from_pretrained(options.model, dtype=torch.float32)
    stages = {'load': lap()}
    prompts = ids('prompts')
    answers = sample(model, prompts, 5)
    stages['sample'] = lap()
    rows = []
    for p, list_ in zip(prompts, answers):
        rows += [(p, max(list_, key=len)), (p, min(list_, key=len))]
    train(model, rows)
    stages['train'] = lap()
    sample(model, ids('held_out'), 3)
    stages['evaluate'] = lap()
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
    stages['save'] = lap()
    scale = {'load': 1, 'sample': len(work['prompts']) / part, 'train': work['rows'] / part,
             'evaluate': len(work['held_out']) / part, 'save': 1}
    seconds = {name: stages[name] * scale[name] for name in stages}
    print(json.dumps({'value': sum(seconds.values()), 'unit': 's', 'stages': seconds,
                      'measured': stages, 'scale': scale, 'part': part}))


main()
