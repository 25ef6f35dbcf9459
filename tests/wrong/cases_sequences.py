"""Convolution, pooling, recurrence, attention, embedding, scans: indices, windows, strides, tails, heads."""

from __future__ import annotations

import numpy as np
from catalogue import Right, Wrong

import gradverify as gv

RNG = np.random.default_rng(109)


def drawn(*shape):
    return RNG.normal(size=shape)


# One-dimensional convolution: x (time, channels), w (width, channels, out).
def windows(x, width, stride=1):
    return np.stack([x[i : i + width] for i in range(0, len(x) - width + 1, stride)])


def conv(x, w, b, *, stride=1, padding=0):
    padded = np.pad(x, ((padding, padding), (0, 0)))
    return np.einsum("twc,wco->to", windows(padded, len(w), stride), w) + b, (padded, w, stride, padding)


def conv_back(dy, cache, *, wrong=""):
    x, w, stride, padding = cache
    dx = np.zeros_like(x)
    for t in range(len(dy)):
        start = t if wrong == "stride" else t * stride
        kernel = w[::-1] if wrong == "flipped" else w
        term = np.einsum("o,wco->wc", dy[t], kernel)
        if wrong == "overwritten":
            dx[start : start + len(w)] = term
        else:
            dx[start : start + len(w)] += term
    dw = np.einsum("twc,to->wco", windows(x, len(w), stride), dy)
    first = 0 if wrong == "not cropped" else padding
    inner = dx[first : first + len(x) - 2 * padding]
    dw = dw[::-1] if wrong == "dw flipped" else dw
    return inner, dw, dy[:-1].sum(axis=0) if wrong == "bias" else dy.sum(axis=0)


def conv_case(**kwargs):
    return gv.pair(lambda x, w, b: conv(x, w, b, **kwargs), conv_back)


def conv_wrong(wrong, **kwargs):
    return gv.pair(lambda x, w, b: conv(x, w, b, **kwargs), lambda dy, c: conv_back(dy, c, wrong=wrong))


def mean_pool(x, width=2, stride=1):
    return windows(x, width, stride).mean(axis=1), (x.shape, width, stride)


def mean_pool_back(dy, cache, *, wrong=""):
    shape, width, stride = cache
    dx = np.zeros(shape)
    for t in range(len(dy)):
        share = dy[t] if wrong == "sum" else dy[t] / width
        if wrong == "overwritten":
            dx[t * stride : t * stride + width] = share
        else:
            dx[t * stride : t * stride + width] += share
    return dx


def max_pool(x, width=3, stride=2):
    blocks = windows(x, width, stride)
    return blocks.max(axis=1), (x, blocks.argmax(axis=1), stride)


def max_pool_back(dy, cache, *, add=True):
    x, best, stride = cache
    dx = np.zeros_like(x)
    for t, c in np.ndindex(dy.shape):
        if add:
            dx[t * stride + best[t, c], c] += dy[t, c]
        else:
            dx[t * stride + best[t, c], c] = dy[t, c]
    return dx


def upsample(x):
    return np.repeat(np.repeat(x, 2, axis=0), 2, axis=1), x


def upsample_back(dy, x):
    return dy.reshape(x.shape[0], 2, x.shape[1], 2).sum(axis=(1, 3))


def rnn(x, w, r):
    h = np.zeros((len(x) + 1, len(r)))
    for t in range(len(x)):
        h[t + 1] = np.tanh(x[t] @ w + h[t] @ r)
    return h[1:].copy(), (x, w, r, h)


def rnn_back(dy, cache, *, wrong=""):
    x, w, r, h = cache
    dx, dw, dr, dh = np.zeros_like(x), np.zeros_like(w), np.zeros_like(r), np.zeros(len(r))
    for t in range(len(x) - 1, -1, -1):
        dz = (dy[t] + (0 if wrong == "carry" else dh)) * (1 - h[t + 1] ** 2)
        dx[t] = dz @ w.T
        dw += np.outer(x[t], dz)
        dr += np.outer(h[t + 1] if wrong == "later state" else h[t], dz)
        dh = dz @ (r if wrong == "transposed" else r.T)
        if wrong == "truncated" and t == len(x) - 2:
            dh = 0 * dh
    return dx, dw, dr


def rnn_case(wrong=""):
    return gv.pair(rnn, lambda dy, c: rnn_back(dy, c, wrong=wrong))


def gate(x, h, w):
    z = 1 / (1 + np.exp(-x @ w))
    return z * h + (1 - z) * np.tanh(x), (x, h, w, z)


def gate_back(dy, cache, *, wrong=""):
    x, h, w, z = cache
    dz = dy * (h if wrong == "other branch" else h - np.tanh(x)) * z * (1 - z)
    dx = dz @ w.T + (0 if wrong == "direct" else dy * (1 - z) * (1 - np.tanh(x) ** 2))
    return dx, dy * ((1 - z) if wrong == "swapped" else z), x.T @ dz


def softmax(s):
    e = np.exp(s - s.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def attention(q, k, v, *, causal=False):
    s = q @ k.T / np.sqrt(q.shape[-1])
    s = np.where(np.tri(len(q), len(k)) > 0, s, -1e30) if causal else s
    p = softmax(s)
    return p @ v, (q, k, v, p)


def attention_back(dy, cache, *, wrong=""):
    q, k, v, p = cache
    dp = dy @ v.T
    ds = p * (dp - (dp * p).sum(axis=0 if wrong == "axis" else -1, keepdims=True))
    if wrong == "diagonal":
        ds = p * (1 - p) * dp
    if wrong == "no mask":
        ds = ds + 1e-2 * (p == 0)
    scale = 1 if wrong == "scale" else np.sqrt(q.shape[-1])
    dk = ds @ q if wrong == "dk" else ds.T @ q
    return ds @ k / scale, dk / scale, (p @ dy if wrong == "dv" else p.T @ dy)


def attend(wrong="", *, causal=False):
    return gv.pair(lambda q, k, v: attention(q, k, v, causal=causal), lambda dy, c: attention_back(dy, c, wrong=wrong))


def heads(x, w):
    q = (x @ w).reshape(len(x), 2, -1)
    return np.sin(q).transpose(1, 0, 2).reshape(2, -1), (x, w, q)


def heads_back(dy, cache, *, wrong=False):
    x, w, q = cache
    d = dy.reshape(q.shape) if wrong else dy.reshape(2, len(x), -1).transpose(1, 0, 2)
    dz = (d * np.cos(q)).reshape(len(x), -1)
    return dz @ w.T, x.T @ dz


def grouped(q, k):
    groups = len(q) // len(k)
    return q * np.repeat(k, groups, axis=0), (q, k, groups)


def grouped_back(dy, cache, *, wrong=False):
    q, k, groups = cache
    dk = np.zeros_like(k)
    for h in range(len(q)):
        dk[h % len(k) if wrong else h // groups] += dy[h] * q[h]
    return dy * np.repeat(k, groups, axis=0), dk


def embed(table, ids, padding=-1):
    return table[ids], (table.shape, ids, padding)


def embed_back(dy, cache, *, add=True):
    shape, ids, _ = cache
    g = np.zeros(shape)
    if add:
        np.add.at(g, ids, dy)
    else:
        g[ids] += dy
    return g


def embed_masked(table, ids):
    return np.where((ids == 0)[:, None], 0.0, table[ids]), (table.shape, ids, 0)


def cumsum_back(dy, x, *, reverse=True):
    return np.cumsum(dy[::-1])[::-1].copy() if reverse else np.cumsum(dy)


def scan(a, b):
    h = np.zeros(len(a) + 1)
    for t in range(len(a)):
        h[t + 1] = a[t] * h[t] + b[t]
    return h[1:].copy(), (a, b, h)


def scan_back(dy, cache, *, wrong=""):
    a, b, h = cache
    da, db, carry = np.zeros_like(a), np.zeros_like(b), 0.0
    for t in range(len(a) - 1, -1, -1):
        carry = dy[t] + carry
        db[t], da[t] = carry, carry * h[t + 1 if wrong == "state" else t]
        carry = carry * a[t]
        if wrong == "block" and t == 4:
            carry = 0.0
        if wrong == "first" and t == 1:
            carry = carry / a[t]
    return da, db


def segment_sum(x, ids):
    out = np.zeros((3, x.shape[1]))
    np.add.at(out, ids, x)
    return out, ids


def ragged(x, length):
    return np.where(np.arange(len(x))[:, None] < length, np.tanh(x), 0.0), (x, length)


def ragged_back(dy, cache, *, masked=True):
    x, length = cache
    g = dy * (1 - np.tanh(x) ** 2)
    return np.where(np.arange(len(x))[:, None] < length, g, 0.0) if masked else g


def interpolate(x, at):
    low = np.clip(np.floor(at).astype(int), 0, len(x) - 2)
    f = at - low
    return x[low] * (1 - f) + x[low + 1] * f, (x, low, f)


def interpolate_back(dy, cache, *, wrong=""):
    x, low, f = cache
    dx = np.zeros_like(x)
    np.add.at(dx, low, dy * (f if wrong == "weights" else 1 - f))
    np.add.at(dx, low + 1, dy * (1 - f if wrong == "weights" else f))
    return dx, dy * (x[low] - x[low + 1] if wrong == "sign" else x[low + 1] - x[low])


def fft_power(x):
    return np.abs(np.fft.rfft(x)) ** 2, x


def fft_power_back(dy, x, *, halves=True):
    full = np.concatenate([dy, dy[1:-1][::-1]])
    weight = full / 2 if halves else full
    weight[[0, len(x) // 2]] = full[[0, len(x) // 2]]
    return 2 * np.real(np.fft.ifft(weight * np.fft.fft(x))) * len(x)


IDS = np.array([0, 2, 2, 1, 2])
CONV = (drawn(7, 2), drawn(3, 2, 2), drawn(2))
SEQ = (drawn(5, 2), drawn(2, 3), drawn(3, 3))
QKV = (drawn(4, 3), drawn(4, 3), drawn(4, 3))
CROSS = (drawn(3, 2), drawn(5, 2), drawn(5, 4))
GATE = (drawn(4, 4), drawn(4, 4), drawn(4, 4))

CASES = [
    Right("convolution", conv_case(), CONV),
    Right("convolution, stride 2, padded", conv_case(stride=2, padding=1), CONV),
    Wrong("convolution: kernel flipped in dx", conv_wrong("flipped"), CONV, "x", "wrong-line"),
    Wrong("convolution: overlapping windows overwritten", conv_wrong("overwritten"), CONV, "x", "wrong-line"),
    Wrong("convolution: stride forgotten in dx", conv_wrong("stride", stride=2), CONV, "x", "wrong-line"),
    Wrong("convolution: padding not cropped", conv_wrong("not cropped", padding=1), CONV, "x", "wrong-line|permuted"),
    Wrong("convolution: dw flipped", conv_wrong("dw flipped"), CONV, "w", "permuted"),
    Wrong("convolution: last position left out of db", conv_wrong("bias"), CONV, "b", "not-summed"),
    Right("mean pooling, overlapping", gv.pair(mean_pool, mean_pool_back), drawn(5, 2)),
    Wrong("mean pooling: not divided", gv.pair(mean_pool, lambda dy, c: mean_pool_back(dy, c, wrong="sum")),
          drawn(5, 2), "x", "factor"),
    Wrong("mean pooling: overlaps overwritten",
          gv.pair(mean_pool, lambda dy, c: mean_pool_back(dy, c, wrong="overwritten")), drawn(5, 2),
          "x", "overwritten"),
    Right("max pooling, overlapping", gv.pair(max_pool, max_pool_back), drawn(7, 2)),
    Wrong("max pooling: a winner of two windows counted once",
          gv.pair(max_pool, lambda dy, c: max_pool_back(dy, c, add=False)),
          np.array([[0.1], [0.2], [5.0], [0.3], [0.4]]), "x", "overwritten"),
    Right("upsampling", gv.pair(upsample, upsample_back), drawn(2, 3)),
    Wrong("upsampling: every second entry picked", gv.pair(upsample, lambda dy, x: dy[::2, ::2]), drawn(2, 3), "x",
          "overwritten"),
    Wrong("upsampling: block averaged", gv.pair(upsample, lambda dy, x: upsample_back(dy, x) / 4), drawn(2, 3), "x",
          "factor"),
    Right("recurrence", rnn_case(), SEQ),
    Wrong("recurrence: carry forgotten", rnn_case("carry"), SEQ, "x", "missing-path"),
    Wrong("recurrence: state after for state before", rnn_case("later state"), SEQ, "r", "wrong-factor"),
    Wrong("recurrence: recurrent weights not transposed", rnn_case("transposed"), SEQ, "x", "wrong-factor"),
    Wrong("recurrence: truncated after two steps", rnn_case("truncated"), SEQ, "x", "truncated"),
    Right("gate", gv.pair(gate, gate_back), GATE),
    Wrong("gate: the other branch forgotten", gv.pair(gate, lambda dy, c: gate_back(dy, c, wrong="other branch")),
          GATE, "w", "missing-path"),
    Wrong("gate: direct path forgotten", gv.pair(gate, lambda dy, c: gate_back(dy, c, wrong="direct")), GATE, "x",
          "missing-path"),
    Wrong("gate: z and 1 - z swapped", gv.pair(gate, lambda dy, c: gate_back(dy, c, wrong="swapped")), GATE, "h",
          "wrong-factor"),
    Right("attention", attend(), QKV),
    Right("attention across", attend(), CROSS),
    Right("attention, causal", attend(causal=True), QKV),
    Wrong("attention: scale forgotten", attend("scale"), QKV, "q", "factor"),
    Wrong("attention: diagonal of the softmax", attend("diagonal"), QKV, "q", "diagonal-only"),
    Wrong("attention: softmax over the wrong axis backwards", attend("axis"), QKV, "q", "wrong-line"),
    Wrong("attention: dv not transposed", attend("dv"), QKV, "v", "not-transposed"),
    Wrong("attention: dk not transposed", attend("dk"), QKV, "k", "transposed"),
    Wrong("attention, causal: masked scores leak a little", attend("no mask", causal=True), QKV, "q", "nonlinear"),
    Right("heads", gv.pair(heads, heads_back), (drawn(3, 2), drawn(2, 4))),
    Wrong("heads: reshaped without the transpose", gv.pair(heads, lambda dy, c: heads_back(dy, c, wrong=True)),
          (drawn(3, 2), drawn(2, 4)),
          "x", "wrong-line"),
    Right("grouped heads", gv.pair(grouped, grouped_back), (drawn(6, 2), drawn(2, 2))),
    Wrong("grouped heads: remainder for quotient", gv.pair(grouped, lambda dy, c: grouped_back(dy, c, wrong=True)),
          (drawn(6, 2), drawn(2, 2)), "k", "wrong-line"),
    Right("embedding", gv.pair(embed, embed_back), (drawn(4, 2), IDS)),
    Wrong("embedding: repeated ids counted once", gv.pair(embed, lambda dy, c: embed_back(dy, c, add=False)),
          (drawn(4, 2), IDS), "table",
          "overwritten"),
    Wrong("embedding: padding row gets a gradient", gv.pair(embed_masked, embed_back), (drawn(4, 2), IDS), "table",
          "one-slice"),
    Right("cumulative sum", gv.pair(lambda x: (np.cumsum(x), x), cumsum_back), drawn(6)),
    Wrong("cumulative sum: not reversed",
          gv.pair(lambda x: (np.cumsum(x), x), lambda dy, x: cumsum_back(dy, x, reverse=False)), drawn(6),
          "x", "not-transposed"),
    Right("scan", gv.pair(scan, scan_back), (drawn(8), drawn(8))),
    Wrong("scan: carry lost between blocks", gv.pair(scan, lambda dy, c: scan_back(dy, c, wrong="block")),
          (drawn(8), drawn(8)), "b",
          "truncated"),
    Wrong("scan: carry lost between blocks, strong decay", gv.pair(scan, lambda dy, c: scan_back(dy, c, wrong="block")),
          (1e-3 * drawn(8), drawn(8)), "b", "truncated"),
    Wrong("scan: state after for state before", gv.pair(scan, lambda dy, c: scan_back(dy, c, wrong="state")),
          (drawn(8), drawn(8)), "a",
          "wrong-factor"),
    Wrong("scan: only the first entry wrong", gv.pair(scan, lambda dy, c: scan_back(dy, c, wrong="first")),
          (drawn(8), drawn(8)), "b",
          "one-slice"),
    Right("segment sum", gv.pair(segment_sum, lambda dy, ids: dy[ids]), (drawn(5, 2), IDS)),
    Wrong("segment sum: counted as a mean",
          gv.pair(segment_sum, lambda dy, ids: dy[ids] / np.bincount(ids)[ids][:, None]),
          (drawn(5, 2), IDS), "x", "wrong-line|row-factor"),
    Right("a ragged tail", gv.pair(ragged, ragged_back), (drawn(5, 2), 3)),
    Wrong("a ragged tail: not masked backwards", gv.pair(ragged, lambda dy, c: ragged_back(dy, c, masked=False)),
          (drawn(5, 2), 3), "x",
          "mask-forgotten"),
    Right("interpolation", gv.pair(interpolate, interpolate_back), (drawn(6), np.array([0.3, 2.6, 4.2]))),
    Wrong("interpolation: weights swapped",
          gv.pair(interpolate, lambda dy, c: interpolate_back(dy, c, wrong="weights")),
          (drawn(6), np.array([0.3, 2.6, 4.2])), "x", "permuted|unexplained"),
    Wrong("interpolation: sign of the position",
          gv.pair(interpolate, lambda dy, c: interpolate_back(dy, c, wrong="sign")),
          (drawn(6), np.array([0.3, 2.6, 4.2])), "at", "sign"),
    Right("power spectrum", gv.pair(fft_power, fft_power_back), drawn(8)),
    Wrong("power spectrum: both halves counted",
          gv.pair(fft_power, lambda dy, x: fft_power_back(dy, x, halves=False)), drawn(8), "x",
          "wrong-line"),
]
