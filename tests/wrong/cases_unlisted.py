"""Gradients wrong in ways that no list of bugs named: attention, gates, pooling, gathers, convolutions, norms."""

from __future__ import annotations

import numpy as np
from catalogue import Right, Wrong

import gradverify as gv
from tests.formulas import sigmoid, softmax

RNG = np.random.default_rng(116)


def drawn(*shape):
    return RNG.normal(size=shape)


CAUSAL = np.triu(np.full((4, 4), -np.inf), 1)


def attention(q, k, v):
    p = softmax(q @ k.T / np.sqrt(q.shape[-1]) + CAUSAL)
    return p @ v, (q, k, v, p)


def attention_back(dy, cache, *, wrong=""):
    q, k, v, p = cache
    dv = (p if wrong == "v" else softmax(q @ k.T / np.sqrt(q.shape[-1])).T if wrong == "mask" else p.T) @ dy
    dp = dy @ v.T
    ds = p * (dp - (0 if wrong == "softmax" else np.sum(dp * p, axis=-1, keepdims=True)))
    scale = 1 if wrong == "scale" else np.sqrt(q.shape[-1])
    dq, dk = ds @ k / scale, ds.T @ q / np.sqrt(q.shape[-1])
    return (dk, dq, dv) if wrong == "order" else (dq, dk, dv)


def attends(wrong=""):
    return gv.pair(attention, lambda dy, c: attention_back(dy, c, wrong=wrong))


QKV = drawn(4, 3), drawn(4, 3), drawn(4, 3)


def grouped(q, k):
    """Four heads of queries on two of keys."""
    return np.einsum("hd,hd->h", q, k[np.arange(4) // 2]), (q, k)


def grouped_back(dy, cache, *, head=lambda h: h // 2):
    q, k = cache
    dk = np.zeros_like(k)
    np.add.at(dk, head(np.arange(4)), dy[:, None] * q)
    return dy[:, None] * k[np.arange(4) // 2], dk


def rotary(x, sign=1):
    a, b, t = x[..., :2], x[..., 2:], sign * np.arange(1, x.shape[0] + 1)[:, None] * np.array([1.0, 0.1])
    return np.concatenate([a * np.cos(t) - b * np.sin(t), a * np.sin(t) + b * np.cos(t)], axis=-1)


def glu(x):
    a, b = np.split(x, 2, axis=-1)
    return a * sigmoid(b), (a, b)


def glu_back(dy, cache, *, wrong=""):
    a, b = cache
    s = sigmoid(b)
    da, db = dy * s, dy * a * s * (1 if wrong == "slope" else 1 - s)
    return np.concatenate([db, da] if wrong == "halves" else [da, db], axis=-1)


def gru(x, h, w, u):
    """A reset gate of x alone; the candidate sees the reset state."""
    r = sigmoid(x @ w)
    n = np.tanh(x + (r * h) @ u)
    return n, (x, h, w, u, r, n)


def gru_back(dy, cache, *, wrong=""):
    x, h, w, u, r, n = cache
    dn = dy * (1 - n**2)
    drh = dn @ u.T
    dr = drh * h * r * (1 - r)
    dx = dn + (0 if wrong == "reset" else dr @ w.T)
    return dx, drh * (1 if wrong == "gate" else r), x.T @ dr, (h if wrong == "state" else r * h).T @ dn


GRU = drawn(2, 3), drawn(2, 3), drawn(3, 3), drawn(3, 3)


def cell(c, o):
    return o * np.tanh(c), (c, o)


def overlapping_max(x):
    windows = np.lib.stride_tricks.sliding_window_view(x, 3)[::2]
    return windows.max(axis=-1), (x, windows.argmax(axis=-1) + 2 * np.arange(len(windows)))


def overlapping_max_back(dy, cache, *, accumulate=True):
    x, where = cache
    dx = np.zeros_like(x)
    if accumulate:
        np.add.at(dx, where, dy)
    else:
        dx[where] = dy
    return dx


PEAKS = np.array([0.1, 0.3, 2.0, -0.4, 0.2, 0.9, 1.5, 0.6, -1.0])


def average_pool(x):
    """Windows of three, one entry of padding on each side that does not count."""
    padded, ones = np.pad(x, 1), np.pad(np.ones_like(x), 1)
    counts = np.convolve(ones, np.ones(3), "valid")
    return np.convolve(padded, np.ones(3), "valid") / counts, counts


ROWS = np.array([2, 0, 2, 1, 2])
BAGS = np.array([0, 0, 0, 1, 1])


def gather(table):
    return table[ROWS], table


def gather_back(dy, table, *, wrong=""):
    dt = np.zeros_like(table)
    if wrong == "assigned":
        dt[ROWS] = dy
    else:
        np.add.at(dt, ROWS, dy)
    return dt / np.bincount(ROWS)[:, None] if wrong == "averaged" else dt


def strided_convolution(x, w):
    return np.lib.stride_tricks.sliding_window_view(x, 3)[::2] @ w, (x, w)


def strided_convolution_back(dy, cache, *, wrong=""):
    x, w = cache
    dx, stride = np.zeros_like(x), 1 if wrong == "stride" else 2
    for i, d in enumerate(dy):
        if wrong == "overwritten":
            dx[stride * i : stride * i + 3] = d * w
        else:
            dx[stride * i : stride * i + 3] += d * w
    windows = np.lib.stride_tricks.sliding_window_view(x, 3)[::2]
    return dx, (windows[:, ::-1] if wrong == "flipped" else windows).T @ dy


CONV = drawn(9), drawn(3)


def same_convolution(x):
    return np.convolve(np.pad(x, 1), KERNEL, "valid"), None


KERNEL = np.array([0.5, -1.2, 2.0])


def response_norm(x):
    s = 1 + 0.5 * np.sum(x**2, axis=-1, keepdims=True)
    return x / s, (x, s)


def response_norm_back(dy, cache, *, cross=True):
    x, s = cache
    return dy / s - (x * np.sum(dy * x, axis=-1, keepdims=True) / s**2 if cross else 0)


def unit_rows(x):
    n = np.linalg.norm(x, axis=-1, keepdims=True)
    return x / n, (x, n)


def unit_rows_back(dy, cache, *, project=True):
    x, n = cache
    return (dy - (x * np.sum(dy * x, axis=-1, keepdims=True) / n**2 if project else 0)) / n


def norm3d(x):
    m, s = x.mean(axis=-1, keepdims=True), x.std(axis=-1, keepdims=True)
    return (x - m) / s, ((x - m) / s, s)


def norm3d_back(dy, cache, *, axes=(-1,)):
    y, s = cache
    return (dy - dy.mean(axis=axes, keepdims=True) - y * (dy * y).mean(axis=axes, keepdims=True)) / s


def centred(x):
    """Of a batch of one nothing is left."""
    return 2 * (x - x.mean(axis=0)), None


def centred_back(dy, _, *, wrong=""):
    return 2 * (dy - (0 if wrong else dy.mean(axis=0)))


X = drawn(4, 3)

CASES = [
    Right("attention with a causal mask", attends(), QKV),
    Wrong("attention: scale forgotten for the queries", attends("scale"), QKV, "q", "factor"),
    Wrong("attention: softmax without its cross terms", attends("softmax"), QKV, "k", "missing-cross-terms"),
    Wrong("attention: values weighted by p, not its transpose", attends("v"), QKV, "v", "not-transposed"),
    Wrong("attention: mask forgotten in the backward", attends("mask"), QKV, "v", "setting-forgotten"),
    Wrong("attention: gradients of queries and keys exchanged", attends("order"), QKV, "q", "swapped-leaves"),
    Right("grouped queries", gv.pair(grouped, grouped_back), (drawn(4, 3), drawn(2, 3))),
    Wrong("grouped queries: head modulo instead of divided",
          gv.pair(grouped, lambda dy, c: grouped_back(dy, c, head=lambda h: h % 2)), (drawn(4, 3), drawn(2, 3)), "k",
          "unexplained"),
    Right("rotary positions", gv.pair(lambda x: (rotary(x), None), lambda dy, _: rotary(dy, -1)), drawn(3, 4)),
    Wrong("rotary positions: rotated the same way again", gv.pair(lambda x: (rotary(x), None), lambda dy, _: rotary(dy)),
          drawn(3, 4), "x", "not-transposed"),
    Right("gated linear unit", gv.pair(glu, glu_back), drawn(3, 4)),
    Wrong("gated linear unit: halves exchanged", gv.pair(glu, lambda dy, c: glu_back(dy, c, wrong="halves")),
          drawn(3, 4), "x", "permuted"),
    Wrong("gated linear unit: the gate's slope is s", gv.pair(glu, lambda dy, c: glu_back(dy, c, wrong="slope")),
          drawn(3, 4), "x", "last-block"),
    Right("gated recurrence", gv.pair(gru, gru_back), GRU),
    Wrong("gated recurrence: path through the reset gate", gv.pair(gru, lambda dy, c: gru_back(dy, c, wrong="reset")),
          GRU, "x", "missing-path"),
    Wrong("gated recurrence: reset gate itself", gv.pair(gru, lambda dy, c: gru_back(dy, c, wrong="gate")), GRU, "h",
          "wrong-factor"),
    Wrong("gated recurrence: the state that was not reset", gv.pair(gru, lambda dy, c: gru_back(dy, c, wrong="state")),
          GRU, "u", "wrong-factor"),
    Right("cell through its output gate", gv.pair(cell, lambda dy, c: (dy * c[1] * (1 - np.tanh(c[0]) ** 2),
                                                                    dy * np.tanh(c[0]))), (drawn(3), drawn(3))),
    Wrong("cell through its output gate: output gate forgotten",
          gv.pair(cell, lambda dy, c: (dy * (1 - np.tanh(c[0]) ** 2), dy * np.tanh(c[0]))), (drawn(3), drawn(3)), "c",
          "wrong-factor"),
    Right("overlapping maxima", gv.pair(overlapping_max, overlapping_max_back), PEAKS),
    Wrong("overlapping maxima: assigned",
          gv.pair(overlapping_max, lambda dy, c: overlapping_max_back(dy, c, accumulate=False)), PEAKS, "x",
          "one-slice|overwritten"),
    Right("average that counts no padding",
          gv.pair(average_pool, lambda dy, n: np.convolve(np.pad(dy / n, 1), np.ones(3), "valid")), drawn(5)),
    Wrong("average that counts no padding: divided by three everywhere",
          gv.pair(average_pool, lambda dy, n: np.convolve(np.pad(dy / 3, 1), np.ones(3), "valid")), drawn(5), "x",
          "unexplained"),
    Right("rows gathered, some twice", gv.pair(gather, gather_back), drawn(3, 2)),
    Wrong("rows gathered: assigned", gv.pair(gather, lambda dy, t: gather_back(dy, t, wrong="assigned")), drawn(3, 2),
          "table", "overwritten"),
    Wrong("rows gathered: divided by their counts", gv.pair(gather, lambda dy, t: gather_back(dy, t, wrong="averaged")),
          drawn(3, 2), "table", "averaged"),
    Right("strided convolution", gv.pair(strided_convolution, strided_convolution_back), CONV),
    Wrong("strided convolution: stride forgotten",
          gv.pair(strided_convolution, lambda dy, c: strided_convolution_back(dy, c, wrong="stride")), CONV, "x",
          "last-block|wrong-line"),
    Wrong("strided convolution: windows overwrite each other",
          gv.pair(strided_convolution, lambda dy, c: strided_convolution_back(dy, c, wrong="overwritten")), CONV, "x",
          "overwritten"),
    Wrong("strided convolution: kernel's gradient flipped",
          gv.pair(strided_convolution, lambda dy, c: strided_convolution_back(dy, c, wrong="flipped")), CONV, "w",
          "permuted"),
    Right("convolution of the same size", gv.pair(same_convolution,
          lambda dy, _: np.convolve(np.pad(dy, 1), KERNEL[::-1], "valid")), drawn(6)),
    Wrong("convolution of the same size: kernel not flipped", gv.pair(same_convolution,
          lambda dy, _: np.convolve(np.pad(dy, 1), KERNEL, "valid")), drawn(6), "x", "not-transposed"),
    Right("response normalisation", gv.pair(response_norm, response_norm_back), X),
    Wrong("response normalisation: across channels",
          gv.pair(response_norm, lambda dy, c: response_norm_back(dy, c, cross=False)), X, "x", "missing-norm-term"),
    Right("rows of unit length", gv.pair(unit_rows, unit_rows_back), X),
    Wrong("rows of unit length: not projected", gv.pair(unit_rows, lambda dy, c: unit_rows_back(dy, c, project=False)),
          X, "x", "missing-norm-term"),
    Right("layer norm of three axes", gv.pair(norm3d, norm3d_back), drawn(2, 3, 4)),
    Wrong("layer norm of three axes: means over the last two",
          gv.pair(norm3d, lambda dy, c: norm3d_back(dy, c, axes=(-2, -1))), drawn(2, 3, 4), "x",
          "unexplained|missing-statistics"),
    Right("centred, a batch of one", gv.pair(centred, centred_back), drawn(1, 3)),
    Wrong("centred, a batch of one: the mean a constant",
          gv.pair(centred, lambda dy, c: centred_back(dy, c, wrong="mean")), drawn(1, 3), "x", "spurious-gradient"),
]
