"""Weights by the formula of tests/support/formula.lua, so that golden files need not hold them.

Writes nothing by itself."""

import numpy as np

PRIME = 2147483647


def numbers(name, n):
    """The n numbers of `name`, in -1..1, float64."""
    state = 7
    for byte in name.encode():
        state = (state * 31 + byte) % (PRIME - 1)
    state += 1
    powers = np.array([16807], dtype=np.int64)
    while len(powers) < n:
        powers = np.concatenate([powers, powers * int(powers[-1]) % PRIME])
    return 2 * (powers[:n] * state % PRIME).astype(np.float64) / PRIME - 1


def parameter(name, shape):
    """A parameter's values, float32."""
    n = int(np.prod(shape))
    scale, offset = 1.7 / np.sqrt(shape[1] if len(shape) > 1 else 1), 0.0
    if 'embeddings.weight' in name:
        scale = 1.0
    if 'bias' in name:
        scale = 0.1
    elif len(shape) == 1:
        scale, offset = 0.2, 1.0
    return (offset + scale * numbers(name, n)).astype(np.float32).reshape(shape)


def fill(model):
    """Sets all parameters of a torch module."""
    import torch
    with torch.no_grad():
        for name, value in model.named_parameters():
            value.copy_(torch.from_numpy(parameter(name, tuple(value.shape))))
    return model
