"""Writes tests/golden/sppo_loss.json: one 5 x 5 matrix of pair logits with its aggregations,
and the losses of one pair, in float64.

The numbers under "stated" were worked out apart from this file; the writer computes each from
its formula and stops where they differ. Needs numpy (see requirements.txt)."""

import numpy as np

import common

# Row i: the logit of candidate i, shown first, against candidate j.
L = np.array([[0, 1.2, -0.5, 0.3, 2.0], [-0.8, 0, 2.0, 0.1, -1.1], [0.9, -1.5, 0, 0.4, 0.2],
              [-0.2, 0.3, -0.6, 0, 1.7], [-1.9, 1.0, -0.1, -1.4, 0]])
BETA, LW, LL = 0.001, -3.0, -5.0  # 1 / eta; log pi / pi_t of the chosen and of the rejected

STATED = {
    'code': {'scores': [1.000000, -0.160000, -0.160000, 0.360000, -1.040000],
             'winner': 0, 'loser': 4, 'chosen_probs': 0.884933,
             'chosen_probs_win': 0.712470, 'chosen_probs_lose': 0.279848},
    'paper': {'scores': [0.600000, 0.040000, 0.000000, 0.240000, -0.480000],
              'win_rates': [0.620261, 0.493108, 0.508379, 0.544897, 0.406801]},
    'losses': {'sppo': 46359.0138, 'sppo_single': 147420.7542},
}


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def close(found, stated, where=''):
    if isinstance(stated, dict):
        for key in stated:
            close(found[key], stated[key], f'{where}.{key}')
    else:  # as many digits as are stated
        digits = 4 if np.max(np.abs(stated)) > 1000 else 6
        wrong = np.max(np.abs(np.subtract(found, stated)))
        assert wrong <= 0.5001 * 10.0 ** -digits, (where, found, stated)


# The official code: both orders averaged into one score each, then Bradley-Terry.
s = (L - L.T).mean(axis=1)
prob = sigmoid(s[:, None] - s[None, :])
w, l = int(s.argmax()), int(s.argmin())
code = {'scores': s.tolist(), 'matrix': prob.tolist(), 'winner': w, 'loser': l,
        'chosen_probs': float(prob[w, l]), 'chosen_probs_win': float(prob[w].mean()),
        'chosen_probs_lose': float(prob[l].mean())}

# The paper: the pair model's own probabilities, 1/2 against oneself.
P = sigmoid(L)
np.fill_diagonal(P, 0.5)
paper = {'scores': L.mean(axis=1).tolist(), 'matrix': P.tolist(),
         'win_rates': P.mean(axis=1).tolist()}


def losses(lw, ll, beta, p, p_win, p_lose):
    """Each loss of one pair, and its derivatives by lw and ll."""
    eta, h = 1 / beta, lw - ll
    tw, tl, t = eta * (p_win - 0.5), eta * (p_lose - 0.5), eta * (p - 0.5)
    dpo, kto_w, kto_l = sigmoid(-beta * h), sigmoid(beta * (lw - max(ll, 0))), \
        sigmoid(beta * (max(lw, 0) - ll))
    kto_w, kto_l = [(k, beta * k * (1 - k) / 2) for k in (kto_w, kto_l)]  # and its slope
    return {
        'sppo': [0.5 * ((lw - tw) ** 2 + (ll - tl) ** 2), lw - tw, ll - tl],
        'sppo_single': [0.5 * ((lw - t) ** 2 + (ll + t) ** 2), lw - t, ll + t],
        'sppo_hard': [(lw - eta / 2) ** 2 + (ll + eta / 2) ** 2,
                      2 * (lw - eta / 2), 2 * (ll + eta / 2)],
        'dpo': [-np.log(sigmoid(beta * h)), -beta * dpo, beta * dpo],
        'ipo': [(h - eta / 2) ** 2, 2 * (h - eta / 2), -2 * (h - eta / 2)],
        'hinge': [max(0, 1 - beta * h), *((-beta, beta) if beta * h < 1 else (0, 0))],
        # The mean of the pair's two terms; of one pair the divergences are its own log-ratios.
        'kto_pair': [(1 - kto_w[0] + 1 - kto_l[0]) / 2, -kto_w[1] - (lw > 0) * kto_l[1],
                     kto_l[1] + (ll > 0) * kto_w[1]],
    }


def case(lw, ll, beta, p, p_win, p_lose):
    values = losses(lw, ll, beta, p, p_win, p_lose)
    step = 1e-4
    for name, (_, dw, dl) in values.items():  # the derivatives, by differences
        if name == 'kto_pair' and 0 in (lw, ll):  # where its clamp has two slopes
            continue
        for slope, up, down in ((dw, (lw + step, ll), (lw - step, ll)),
                                (dl, (lw, ll + step), (lw, ll - step))):
            high = losses(*up, beta, p, p_win, p_lose)[name][0]
            low = losses(*down, beta, p, p_win, p_lose)[name][0]
            assert abs((high - low) / (2 * step) - slope) <= 1e-5 * max(1, abs(slope)), name
    return {'lw': lw, 'll': ll, 'beta': beta, 'eta': 1 / beta, 'p': p, 'p_win': p_win,
            'p_lose': p_lose,
            'losses': {name: {'loss': float(a), 'dlw': float(b), 'dll': float(c)}
                       for name, (a, b, c) in values.items()}}


first = case(LW, LL, BETA, code['chosen_probs'], code['chosen_probs_win'],
             code['chosen_probs_lose'])
close({'code': code, 'paper': paper,
       'losses': {name: value['loss'] for name, value in first['losses'].items()}}, STATED)

common.write('sppo_loss.json', {
    **common.header(__file__, ['numpy']),
    'note': 'lw, ll: summed log-prob minus that of pi_t. sppo is half the sum of two squares; '
            'dlw and dll are the derivatives of one pair. kto_pair: mean of two terms, which the '
            'divergences max(ll, 0) and max(lw, 0) are part of.',
    'logits': L.tolist(), 'code': code, 'paper': paper, 'stated': STATED,
    'pairs': [first, case(0.0, 0.0, 0.001, 0.95, 0.846, 0.154),
              case(2.5, -7.25, 0.1, 0.7, 0.64, 0.31), case(12.0, -30.0, 0.05, 0.6, 0.58, 0.5),
              case(3.0, 4.5, 0.2, 0.9, 0.8, 0.4)],
})
