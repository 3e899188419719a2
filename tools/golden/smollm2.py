"""Writes tests/golden/smollm2.json: four conversations with SmolLM2-135M-Instruct, computed by
`transformers` in float32 from the GGUF that tools/fetch-model fetches.

Each: prompt text and ids by the chat template, the five likeliest next tokens, up to 32 greedy
tokens, and the log-prob of every token of a given answer and of its end.
`smollm2.py --check FILE` also compares with an older file of this kind. Needs torch,
transformers, accelerate, gguf (see requirements.txt), 2 GB of memory and about a minute."""

import argparse
import json

import torch
from transformers import AutoModelForCausalLM

import common
import smollm2_tokenizer

torch.set_num_threads(1)

END = 2  # <|im_end|>
DAY = ('Day {}: The lighthouse keeper wrote the weather down every morning: wind, tide, cloud, '
       'and the number of gulls on the rail. ')


def user(text):
    return {'role': 'user', 'content': text}


def assistant(text):
    return {'role': 'assistant', 'content': text}


CASES = {
    'capital': ([user('What is the capital of France?')], 'The capital of France is Paris.'),
    'unicode_emoji': (
        [user('Überprüfe bitte: naïve café, 東京, Привет — was bedeutet 🚀🎉👩\u200d💻?')],
        'Das sind Emojis: 🚀 Rakete, 🎉 Konfetti, 👩\u200d💻 Programmiererin. 東京 = Tokyo.'),
    'multi_turn': (
        [{'role': 'system', 'content': 'You are a terse assistant.'},
         user('Give me a prime number.'), assistant('7'),
         user('And a larger one, below 20?'), assistant('19'), user('Add them.')],
        '7 + 19 = 26.'),
    'long': (
        [user('Read the following log and answer the question after it.\n\n'
              + ''.join(DAY.format(day) for day in range(1, 20))
              + '\n\nQuestion: what did the lighthouse keeper count on the rail?')],
        'The keeper counted the number of gulls on the rail.'),
}


def log_softmax(logits):
    return logits.double().log_softmax(-1)


def greedy(model, prompt, count=32):
    """Tokens, the end included, and how close the second best logit came."""
    tokens, gap, cache, step = [], float('inf'), None, torch.tensor([prompt])
    while len(tokens) < count and (not tokens or tokens[-1] != END):
        result = model(step, past_key_values=cache, use_cache=True)
        cache, best = result.past_key_values, result.logits[0, -1].topk(2)
        tokens.append(best.indices[0].item())
        gap = min(gap, (best.values[0] - best.values[1]).item())
        step = torch.tensor([tokens[-1:]])
    return tokens, gap


def case(model, tokenizer, plain, messages, answer):
    text, prompt = smollm2_tokenizer.chat_ids(tokenizer, messages)
    ids = smollm2_tokenizer.text_ids(tokenizer, answer)
    assert prompt == smollm2_tokenizer.chat_ids(plain, messages)[1]
    assert ids == smollm2_tokenizer.text_ids(plain, answer)
    logits = model(torch.tensor([prompt + ids])).logits[0, len(prompt) - 1:]
    logprobs = log_softmax(logits)
    top = logprobs[0].topk(5)
    tokens, gap = greedy(model, prompt)
    each = [row[token].item() for row, token in zip(logprobs, ids + [END])]
    return {'messages': messages, 'prompt': text, 'prompt_ids': prompt,
            'top': [{'id': i, 'logprob': p}
                    for i, p in zip(top.indices.tolist(), top.values.tolist())],
            'greedy_ids': tokens, 'greedy_text': tokenizer.decode(tokens),
            'greedy_least_gap': gap,  # of the two best logits, over all steps
            'answer': answer, 'answer_ids': ids, 'answer_logprobs': each[:-1],
            'end_logprob': each[-1]}


def check(cases, path):
    """Differences with an older file; files that were not made here name some things otherwise."""
    with open(path, encoding='utf-8') as file:
        old = json.load(file)
    assert old['gguf_sha256'] == sha256, 'another model file'
    for name in [name for name in cases if name in old['cases']]:
        new, was = cases[name], old['cases'][name]
        for key in ('messages', 'prompt_ids', 'greedy_ids', 'greedy_text', 'answer', 'answer_ids'):
            assert new[key] == was[key], (name, key)
        top = was['top'] if 'top' in was else was['top5']
        end = was['end_logprob'] if 'end_logprob' in was else was['eot_logprob']
        assert [t['id'] for t in new['top']] == [t['id'] for t in top], name
        ours = new['answer_logprobs'] + [new['end_logprob']] + [t['logprob'] for t in new['top']]
        theirs = was['answer_logprobs'] + [end] + [t['logprob'] for t in top]
        worst = max(abs(a - b) for a, b in zip(ours, theirs, strict=True))
        print(f'{name}: the same ids; log-probs differ by at most {worst:.1e}')


parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument('--check', metavar='FILE')
options = parser.parse_args()

folder = common.model_folder()
sha256 = common.sha256(folder / 'model.gguf')
tokenizer, plain = smollm2_tokenizer.load()
model = AutoModelForCausalLM.from_pretrained(
    folder, gguf_file='model.gguf', dtype=torch.float32, attn_implementation='eager').eval()
with torch.no_grad():
    cases = {name: case(model, tokenizer, plain, *value) for name, value in CASES.items()}
if options.check:
    check(cases, options.check)

common.write('smollm2.json', {
    **common.header(__file__, ['torch', 'transformers', 'tokenizers', 'gguf', 'numpy']),
    'model': 'SmolLM2-135M-Instruct, GGUF Q4_1, all weights as float32',
    'gguf_sha256': sha256, 'end_id': END,
    'note': 'float32, eager attention; log-softmax in float64. answer_logprobs are of answer_ids, '
            'end_logprob of end_id after them. Greedy text: mind greedy_least_gap.',
    'cases': cases,
})
