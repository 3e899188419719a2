"""Writes tests/golden/trl_losses.json: losses of a batch by TRL's own DPOTrainer, in float64.

The trainer's loss runs on log-probs that are given to it instead of a model's. Each loss is stored
with its derivatives by the summed log-probs of the answers. Needs torch and trl
(tools/bench/requirements.txt)."""

import collections
import sys
import types

import numpy as np
import torch
from trl import DPOTrainer

import common

PROMPT, LENGTHS = 2, [(3, 5), (7, 2), (4, 4)]  # tokens; of chosen and rejected answers
BETA = 0.05


class Given:
    """A model whose log-probs are known."""

    def __init__(self, log_probs):
        self.outputs = types.SimpleNamespace(
            log_probs=log_probs, entropy=torch.zeros_like(log_probs),
            mean_logits=torch.zeros_like(log_probs), is_top1=torch.zeros_like(log_probs).bool())

    def __call__(self, **_):
        return self.outputs


def same(x):
    return x


def trainer(loss_type):
    return types.SimpleNamespace(
        model=types.SimpleNamespace(training=False), aux_loss_enabled=False, ld_alpha=None,
        accelerator=types.SimpleNamespace(device='cpu', gather=same, gather_for_metrics=same),
        precompute_ref_logps=True, f_divergence_type='reverse_kl', loss_types=[loss_type],
        loss_weights=[1.0], beta=BETA, label_smoothing=0.0, use_weighting=False,
        _metrics=collections.defaultdict(lambda: collections.defaultdict(list)),
        _total_train_tokens=0, _tp_size=1)


def batch():
    rng = np.random.default_rng(5)
    lengths = [chosen for chosen, _ in LENGTHS] + [rejected for _, rejected in LENGTHS]
    width = PROMPT + max(lengths)
    mask = torch.zeros(len(lengths), width, dtype=torch.long)
    log_probs = torch.zeros(len(lengths), width - 1, dtype=torch.float64)
    for i, n in enumerate(lengths):
        mask[i, PROMPT:PROMPT + n] = 1
        log_probs[i, PROMPT - 1:PROMPT - 1 + n] = torch.from_numpy(-rng.exponential(2, n))
    reference = log_probs.sum(1) + torch.from_numpy(rng.normal(0, 6, len(lengths)))
    return lengths, mask, log_probs, reference


def main():
    lengths, mask, log_probs, reference = batch()
    pairs = len(LENGTHS)
    inputs = {'input_ids': torch.ones_like(mask), 'attention_mask': torch.ones_like(mask),
              'completion_mask': mask, 'ref_chosen_logps': reference[:pairs],
              'ref_rejected_logps': reference[pairs:]}
    losses = {}
    for name in ('sppo_hard', 'sigmoid', 'hinge', 'ipo'):
        given = log_probs.clone().requires_grad_()
        loss = DPOTrainer._compute_loss(trainer(name), Given(given), inputs, False)
        loss.backward()
        # The same for each token of an answer.
        slopes = [given.grad[i, PROMPT - 1].item() for i in range(2 * pairs)]
        losses[name] = {'loss': loss.item(), 'derivatives': slopes}
    common.write('trl_losses.json', {
        **common.header(__file__, ['torch', 'trl', 'numpy']),
        'note': 'chosen answers, then rejected ones. derivatives: by the summed log-prob.',
        'beta': BETA, 'lengths': lengths, 'logprobs': log_probs.sum(1).tolist(),
        'reference': reference.tolist(), 'losses': losses,
    })


sys.exit(main())
