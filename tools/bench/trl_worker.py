"""trl_worker.py --model FOLDER [--best]: TRL's DPOTrainer with its loss 'sppo_hard', on 4 prompts x
2 answers of 128 + 128 tokens a step; prints one line of JSON with seconds a step.

As it comes: bfloat16, recomputation, a second model for the reference log-probs in each step.
--f32, --no-recompute and --precomputed change one of these each; --best all of them."""

import argparse
import contextlib
import json
import random
import statistics
import sys
import tempfile
import time

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import DPOConfig, DPOTrainer

PAIRS, TOKENS, ETA = 4, 128, 1000


def words(tokenizer):
    """Texts of one token each that stay one token when they stand side by side."""
    return [tokenizer.decode([i]) for i in range(len(tokenizer))
            if (text := tokenizer.convert_ids_to_tokens(i)).startswith('\u0120')
            and text[1:].isascii() and text[1:].isalpha()]


def dataset(tokenizer, pairs):
    known, draw = words(tokenizer), random.Random(1)

    def text(tokens):
        return ''.join(draw.choice(known) for _ in range(tokens))

    # The trainer adds the end token to an answer.
    return Dataset.from_list([{'prompt': text(TOKENS), 'chosen': text(TOKENS - 1),
                               'rejected': text(TOKENS - 1)} for _ in range(pairs)])


class Clock(TrainerCallback):
    def __init__(self):
        self.times = []

    def on_step_end(self, args, state, control, **_):
        self.times.append(time.perf_counter())


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--model', required=True)
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--steps', type=int, default=2)
    for name in ('best', 'f32', 'no-recompute', 'precomputed'):
        parser.add_argument(f'--{name}', action='store_true')
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    changed = {}
    if options.f32 or options.best:
        changed['bf16'] = False
    if options.no_recompute or options.best:
        changed['gradient_checkpointing'] = False
    if options.precomputed or options.best:
        changed['precompute_ref_log_probs'] = True
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    model = AutoModelForCausalLM.from_pretrained(options.model, dtype=torch.float32)
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        arguments = DPOConfig(
            folder, loss_type='sppo_hard', beta=1 / ETA, optim='rmsprop', max_grad_norm=1.0,
            per_device_train_batch_size=PAIRS, learning_rate=0.0, num_train_epochs=1,
            save_strategy='no', report_to='none', disable_tqdm=True, use_cpu=True,
            max_length=2 * TOKENS, **changed)
        # The first step touches new memory and is not measured.
        trainer = DPOTrainer(model, args=arguments, processing_class=tokenizer, callbacks=[clock],
                             train_dataset=dataset(tokenizer, PAIRS * (options.steps + 1)))
        row = trainer.train_dataset[0]
        assert [len(row[key]) for key in ('prompt_ids', 'chosen_ids', 'rejected_ids')] \
            == [TOKENS] * 3
        trainer.train()
    seconds = [b - a for a, b in zip(clock.times, clock.times[1:])]
    print(json.dumps({
        'value': statistics.median(seconds), 'low': min(seconds), 'high': max(seconds),
        'unit': 's', 'settings': {
            'bf16': arguments.bf16, 'gradient_checkpointing': arguments.gradient_checkpointing,
            'precompute_ref_log_probs': arguments.precompute_ref_log_probs}}))


main()
