"""Writes tests/golden/optim.json: ten steps of PyTorch's RMSprop, AdamW and SGD on one small
float32 vector with given gradients, and clip_grad_norm_ on three tensors.

Every number is a float32 value written exactly. Needs torch (see requirements.txt)."""

import numpy as np
import torch

import common

torch.set_num_threads(1)

STEPS, SIZE = 10, 9
rng = np.random.default_rng(20240501)
START = rng.normal(0, 0.5, SIZE).astype(np.float32)
GRADS = rng.normal(0, 1, (STEPS, SIZE)).astype(np.float32)
GRADS[:, 1] = 0                     # never a gradient
GRADS[1:, 2] = 0                    # one gradient, then none
GRADS[:, 3] *= np.float32(1e-6)     # near eps
GRADS[:, 4] *= np.float32(1e4)
GRADS[:, 5] = np.abs(GRADS[:, 5])   # always the same sign
START[6] = 0

WARM_UP = [1e-2 * min((step + 1) / 4, (STEPS - step) / (STEPS - 4)) for step in range(STEPS)]

CASES = [
    ('rmsprop', dict(lr=1e-2)),
    ('rmsprop', dict(lr=5e-7)),
    ('rmsprop', dict(lr=1e-2, momentum=0.0, weight_decay=0.1)),
    ('rmsprop', dict(lr=1e-3, alpha=0.9, eps=1e-4)),
    ('rmsprop', dict(lr=WARM_UP)),
    ('adamw', dict(lr=1e-2)),
    ('adamw', dict(lr=5e-7, weight_decay=0.0)),
    ('adamw', dict(lr=1e-2, weight_decay=0.1)),
    ('adamw', dict(lr=1e-3, betas=(0.9, 0.95), eps=1e-5, weight_decay=0.0)),
    ('adamw', dict(lr=WARM_UP, weight_decay=0.1)),
    ('sgd', dict(lr=1e-2)),
    ('sgd', dict(lr=1e-2, weight_decay=0.1)),
    ('sgd', dict(lr=1e-2, momentum=0.9)),
    ('sgd', dict(lr=WARM_UP, momentum=0.9, weight_decay=0.1)),
]
CLASSES = {'rmsprop': torch.optim.RMSprop, 'adamw': torch.optim.AdamW, 'sgd': torch.optim.SGD}
USED = {'rmsprop': ['alpha', 'eps', 'momentum', 'weight_decay', 'centered'],
        'adamw': ['betas', 'eps', 'weight_decay'],
        'sgd': ['momentum', 'dampening', 'nesterov', 'weight_decay']}


def run(name, options):
    rates = options['lr'] if isinstance(options['lr'], list) else [options['lr']] * STEPS
    param = torch.nn.Parameter(torch.from_numpy(START.copy()))
    optimizer = CLASSES[name]([param], **{**options, 'lr': rates[0]}, foreach=False)
    group, after = optimizer.param_groups[0], []
    for rate, grad in zip(rates, GRADS):
        group['lr'] = rate
        param.grad = torch.from_numpy(grad.copy())
        optimizer.step()
        after.append(common.f32(param.detach().numpy()))
    settings = {key: list(group[key]) if key == 'betas' else group[key] for key in USED[name]}
    state = {key: common.f32(value.numpy()) for key, value in optimizer.state[param].items()
             if torch.is_tensor(value) and value.ndim}
    return {'optimizer': name, 'options': settings, 'lr': rates, 'after': after,
            'state_at_end': state}


def clip(max_norm, scale):
    shapes = [(2, 3), (4,), (1,)]
    grads = [(rng.normal(0, 1, shape) * scale).astype(np.float32) for shape in shapes]
    params = [torch.nn.Parameter(torch.zeros(shape)) for shape in shapes]
    for param, grad in zip(params, grads):
        param.grad = torch.from_numpy(grad.copy())
    norm = torch.nn.utils.clip_grad_norm_(params, max_norm, foreach=False)
    return {'max_norm': max_norm, 'grads': [common.f32(g.ravel()) for g in grads],
            'norm': common.f32(norm.numpy()),
            'clipped': [common.f32(p.grad.numpy().ravel()) for p in params]}


common.write('optim.json', {
    **common.header(__file__, ['torch', 'numpy']),
    'note': 'after[i]: the parameter after step i, with gradient grads[i] and rate lr[i]. '
            'clip: all tensors by one norm; coefficient min(1, max_norm / (norm + 1e-6)).',
    'start': common.f32(START), 'grads': common.f32(GRADS),
    'cases': [run(*case) for case in CASES],
    'clip': [clip(1.0, 100.0), clip(1.0, 0.05)],
})
