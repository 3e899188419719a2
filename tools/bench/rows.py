"""What is compared with what, and the goals."""

import dataclasses


@dataclasses.dataclass
class Row:
    title: str
    goal: float | None = None    # times as fast as the peer
    share: float | None = None   # of the limit of the machine, in %
    limit: str = ''
    pairs: int | None = None     # fewer than usual, for what takes long
    ours: callable = None
    peers: callable = None       # the best of them is measured in pairs
    work: str = ''               # sppo runs once before, and leaves this work for the peers


DRAM, FMA = 'memory bandwidth', 'f32 multiply-adds'
TYPES = ('f32', 'bf16', 'q8_0')


def decode(batch, dtype, goal, share=None, limit=''):
    def ours(s):
        return s.sppo('decode', dtype, '--dtype', dtype, '--batch', batch, '--prompts', 1,
                      '--prompt-tokens', 128, '--new-tokens', 64)

    def one(s):
        return [s.llama_bench(dtype, new=64, depth=128), s.llama_batched(dtype, 1)]

    def many(s):
        """Whatever type and setting of a peer is fastest."""
        return [s.llama_batched(t, batch, *options) for t in TYPES
                for options in ((), ('-kvu',), ('-fa', 'off'))] + [
            s.torch('generate', f'generate, {t}', '--dtype', t, '--batch', batch,
                    '--new-tokens', 64, '--repeats', 1) for t in ('float32', 'bfloat16')]
    title = f'decode, {dtype}, batch {batch}' + (', one prompt' if batch > 1 else '')
    return Row(title, goal, share, limit, ours=ours, peers=one if batch == 1 else many)


def rank(tokens, *types):
    """In f32 both compute the same; in bf16 PyTorch rounds what it multiplies."""
    title = f'PairRM, pairs of {tokens} tokens, f32'
    return Row(title if len(types) == 1 else f'{title}; PyTorch in any type', 1.0, 60, FMA,
               ours=lambda s: s.sppo('rank', 'f32', '--dtype', 'f32', '--prompt-tokens', tokens),
               peers=lambda s: [s.worker('torch', 'PyTorch', f'transformers DeBERTa, {t}', 'rank',
                                         '--dtype', t, '--prompt-tokens', tokens, '--repeats', 2)
                                for t in types])


def mixed_peers(s):
    work = s.folder / 'mixed-work.json'
    return [s.llama_server(t, work, *options) for t in TYPES for options in ((), ('-kvu',))] + [
        s.torch('mixed', f'generate, padded, {t}', '--dtype', t, '--work', work)
        for t in ('float32', 'bfloat16')]


def train_ours(*options):
    label = 'f32, recomputation' if options else 'f32'
    return lambda s: s.sppo('train', label, '--repeats', 2, *options)


def torch_train(s):
    return s.torch('train', 'f32', '--repeats', 2)


def torch_recompute(s):
    return s.torch('train', 'f32, recomputation', '--repeats', 2, '--recompute')


ROWS = {
    'decode_1_f32': decode(1, 'f32', 1.05, 90, DRAM),
    'decode_1_bf16': decode(1, 'bf16', 1.4, 85, DRAM),
    'decode_1_q8_0': decode(1, 'q8_0', 1.5, 75, DRAM),
    'decode_8_bf16': decode(8, 'bf16', 2.5),
    'decode_8_q8_0': decode(8, 'q8_0', 3.5),
    'decode_64_f32': decode(64, 'f32', 3.0, 55, FMA),
    'decode_64_bf16': decode(64, 'bf16', 3.0, 55, FMA),
    'decode_64_q8_0': decode(64, 'q8_0', 4.5),
    'decode_mixed': Row(
        'decode, 64 answers of 16 prompts, different lengths, with the prompts', 3.0,
        ours=lambda s: s.own('mixed', 'bf16'), peers=mixed_peers, work='mixed'),
    'prefill_512_f32': Row(
        'prefill, 512 tokens, f32', 1.2, 80, FMA,
        ours=lambda s: s.sppo('prefill', 'f32', '--dtype', 'f32', '--prompt-tokens', 512),
        peers=lambda s: [s.torch('prefill', 'f32', '--prompt-tokens', 512, '--repeats', 5),
                         s.llama_bench('f32', prompt=512)]),
    'train_step': Row(
        'SPPO training step, 8 x (128 + 128) tokens', 1.75, 60, FMA, ours=train_ours(),
        peers=lambda s: [torch_train(s), torch_recompute(s)]),
    'train_step_recompute': Row(
        'the same, both with recomputation', ours=train_ours('--recompute'),
        peers=lambda s: [torch_recompute(s)]),
    'train_trl': Row(
        'the same against TRL as it comes', 4.5, ours=train_ours(),
        peers=lambda s: [s.trl('DPOTrainer sppo_hard, defaults')]),
    'train_trl_best': Row(
        'the same against TRL with the best settings found', ours=train_ours(),
        peers=lambda s: [s.trl('sppo_hard, f32, no recomputation, reference precomputed', '--best'),
                         s.trl('sppo_hard, no recomputation, reference precomputed',
                               '--no-recompute', '--precomputed'),
                         s.trl('sppo_hard, f32, reference precomputed', '--f32',
                               '--precomputed')]),
    'rank_128_f32': rank(128, 'float32'),
    'rank_512_f32': rank(512, 'float32'),
    'rank_128': rank(128, 'float32', 'bfloat16'),
    'round': Row(
        'a round of recipes/smollm2.lua', 4.0, pairs=1, ours=lambda s: s.own('round', 'f32'),
        peers=lambda s: [s.worker('round', 'PyTorch', 'transformers generate, training loop',
                                  '--model', s.model('hf'), '--work',
                                  s.folder / 'round-work.json')],
        work='round'),
}

# The most that a row's processes held: sppo's in the first row, the smallest peer's in all of them.
MEMORY = {
    'memory, training step': ('train_step', 'train_step_recompute'),
    'memory, training step with recomputation': ('train_step_recompute', 'train_step'),
    'memory, decode, bf16, batch 64': ('decode_64_bf16',),
    'memory, round': ('round',),
}
MEMORY_GOAL = 0.6   # of the smaller peer
COUNT_GOAL = 5      # % between what sppo counts and what it holds
HEAD_GOAL = 'at most 32 MB, at most 5 % slower than with all logits at once'
