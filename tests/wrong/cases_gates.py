"""An LSTM over time, its gates by a helper used three times: wrong in one gate, in every step."""

from __future__ import annotations

import numpy as np
from catalogue import Right, Wrong

import gradverify as gv
from tests.formulas import sigmoid

RNG = np.random.default_rng(119)


def drawn(*shape):
    return 0.6 * RNG.normal(size=shape)


def lstm(x, w, r, b):
    h = c = np.zeros((x.shape[1], r.shape[0]))
    steps, out = [], []
    for row in x:
        z = row @ w + h @ r + b
        i, f, o, g = sigmoid(z[:, :3]), sigmoid(z[:, 3:6]), sigmoid(z[:, 6:9]), np.tanh(z[:, 9:])
        after = f * c + i * g
        steps.append((row, h, c, i, f, o, g, after))
        h, c = o * np.tanh(after), after
        out.append(h)
    return np.stack(out), (x, w, r, b, steps)


def lstm_back(dy, cache, *, wrong=""):
    x, w, r, b, steps = cache
    dx, dw, dr, db = np.zeros_like(x), np.zeros_like(w), np.zeros_like(r), np.zeros_like(b)
    dh = dc = np.zeros_like(steps[0][1])
    for t in range(len(x) - 1, -1, -1):
        row, h, c, i, f, o, g, after = steps[t]
        d = dy[t] + dh
        dc = (0 if wrong == "cell" else dc) + d * o * (1 - np.tanh(after) ** 2)
        gates = (
            dc * g * i * (1 - i),
            dc * (after if wrong == "forget" else c) * f * (1 - f),
            d * np.tanh(after) * (o if wrong == "slope" else o * (1 - o)),
            dc * i * (1 - g**2),
        )
        dz = np.concatenate(gates, axis=1)
        dc, dh = dc * (i if wrong == "carry" else f), dz @ r.T
        dx[t], dw, dr, db = dz @ w.T, dw + row.T @ dz, dr + h.T @ dz, db + dz.sum(axis=0)
    return dx, dw, dr, db


def case(wrong=""):
    return gv.pair(lstm, lambda dy, c: lstm_back(dy, c, wrong=wrong))


INPUTS = drawn(4, 2, 2), drawn(2, 12), drawn(3, 12), drawn(12)

CASES = [
    Right("LSTM over four steps", case(), INPUTS),
    Wrong("LSTM: nothing through the cell", case("cell"), INPUTS, "w", "missing-path"),
    Wrong("LSTM: forget gate times the cell after, not before", case("forget"), INPUTS, "x", "wrong-factor"),
    Wrong("LSTM: the output gate's slope is the gate", case("slope"), INPUTS, "r", "wrong-slope"),
    Wrong("LSTM: carried by the input gate instead of the forget gate", case("carry"), INPUTS, "b", "wrong-factor"),
]
