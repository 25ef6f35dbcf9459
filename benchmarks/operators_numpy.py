"""Right derivatives of common NumPy operators, at ordinary points and at their special values: none may fail.

    python benchmarks/operators_numpy.py

Writes reports/operators-numpy.md. At ordinary points every operator must pass, whatever regimes the check adds of
its own; at zeros, ties, saturation and the edges of domains none may fail. The peer on the same points is
`torch.autograd.gradcheck`, the same formulas in a `torch.autograd.Function`.
"""

from __future__ import annotations

import collections
import sys
import time
from pathlib import Path

import numpy as np
import torch
from scipy import special as sp

import gradverify as gv

sys.path.insert(0, str(Path(__file__).parents[1]))  # the same formulas as the tests

from tests.formulas import softmax, softmax_vjp

RNG = np.random.default_rng(21)
X = RNG.normal(size=(4, 6))
P = np.abs(X) + 0.1
UNIT = RNG.uniform(-0.9, 0.9, size=(4, 6))
SHARES = RNG.dirichlet(np.ones(6), size=4)
ZEROS, ONES = np.zeros((4, 6)), np.ones((4, 6))
MIXED = np.where(RNG.random((4, 6)) < 0.5, 0.0, X)
TIES = np.round(X)
WIDE = np.where(RNG.random((4, 6)) < 0.5, RNG.choice([12.0, -12.0, 30.0, -30.0, 700.0, -700.0], (4, 6)), X)
TINY = 1e-9 * X
EDGE = np.where(RNG.random((4, 6)) < 0.5, 0.0, P)


def sigmoid(x):
    return sp.expit(x)


def d_sigmoid(x):
    return sp.expit(x) * sp.expit(-x)


def softplus(x):
    return np.logaddexp(0, x)


def phi(x):
    return np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)


def gelu_tanh(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def d_gelu_tanh(x):
    t = np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))
    return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * np.sqrt(2 / np.pi) * (1 + 3 * 0.044715 * x**2)


def mish(x):
    return x * np.tanh(softplus(x))


def d_mish(x):
    t = np.tanh(softplus(x))
    return t + x * (1 - t * t) * sigmoid(x)


def sinc(x):
    return np.sinc(x / np.pi)


def d_sinc(x):
    small = np.abs(x) < 1e-2
    safe = np.where(small, 1.0, x)
    series = x * (-1 / 3 + x**2 * (1 / 30 + x**2 * (-1 / 840 + x**2 / 45360)))
    return np.where(small, series, np.cos(safe) / safe - np.sin(safe) / safe**2)


ALL, LINE = (X, ZEROS, MIXED, TIES, WIDE, TINY), (X, ZEROS, MIXED, TIES, TINY)
# name, f, f', points; the first point is an ordinary one
ELEMENTWISE = [
    ("exp", np.exp, np.exp, ALL), ("expm1", np.expm1, np.exp, ALL), ("exp2", np.exp2, lambda x: np.log(2) * np.exp2(x), ALL),
    ("log", np.log, lambda x: 1 / x, (P, 1e-9 * P, 1e9 * P)), ("log1p", np.log1p, lambda x: 1 / (1 + x), (P, ZEROS, EDGE)),
    ("log2", np.log2, lambda x: 1 / (x * np.log(2)), (P,)), ("log10", np.log10, lambda x: 1 / (x * np.log(10)), (P,)),
    ("sqrt", np.sqrt, lambda x: 0.5 / np.sqrt(x), (P, 1e-12 * P)), ("cbrt", np.cbrt, lambda x: 1 / (3 * np.cbrt(x) ** 2), (P, -P)),
    ("square", np.square, lambda x: 2 * x, ALL), ("cube", lambda x: x**3, lambda x: 3 * x**2, LINE),
    ("reciprocal", lambda x: 1 / x, lambda x: -1 / x**2, (P, 1e6 * P)), ("rsqrt", lambda x: x**-0.5, lambda x: -0.5 * x**-1.5, (P,)),
    ("power 2.5", lambda x: x**2.5, lambda x: 2.5 * x**1.5, (P, EDGE)), ("sin", np.sin, np.cos, LINE), ("cos", np.cos, lambda x: -np.sin(x), LINE),
    ("tan", np.tan, lambda x: 1 / np.cos(x) ** 2, (UNIT, ZEROS)), ("arcsin", np.arcsin, lambda x: 1 / np.sqrt(1 - x**2), (UNIT, ZEROS)),
    ("arccos", np.arccos, lambda x: -1 / np.sqrt(1 - x**2), (UNIT, ZEROS)), ("arctan", np.arctan, lambda x: 1 / (1 + x**2), ALL),
    ("sinh", np.sinh, np.cosh, LINE), ("cosh", np.cosh, np.sinh, LINE), ("tanh", np.tanh, lambda x: 1 / np.cosh(x) ** 2, ALL),
    ("tanh by its output", np.tanh, lambda x: 1 - np.tanh(x) ** 2, ALL),
    ("arcsinh", np.arcsinh, lambda x: 1 / np.hypot(1, x), LINE), ("arccosh", np.arccosh, lambda x: 1 / np.sqrt(x**2 - 1), (1 + P,)),
    ("arctanh", np.arctanh, lambda x: 1 / (1 - x**2), (UNIT, ZEROS)), ("sigmoid", sigmoid, d_sigmoid, ALL),
    ("sigmoid by its output", sigmoid, lambda x: sigmoid(x) * (1 - sigmoid(x)), ALL), ("softplus", softplus, sigmoid, ALL),
    ("log sigmoid", lambda x: -softplus(-x), lambda x: sigmoid(-x), ALL), ("silu", lambda x: x * sigmoid(x), lambda x: sigmoid(x) + x * d_sigmoid(x), ALL),
    ("gelu (erf)", lambda x: x * sp.ndtr(x), lambda x: sp.ndtr(x) + x * phi(x), ALL), ("gelu (tanh)", gelu_tanh, d_gelu_tanh, ALL),
    ("mish", mish, d_mish, ALL), ("erf", sp.erf, lambda x: 2 / np.sqrt(np.pi) * np.exp(-(x**2)), ALL), ("erfc", sp.erfc, lambda x: -2 / np.sqrt(np.pi) * np.exp(-(x**2)), LINE),
    ("gammaln", sp.gammaln, sp.digamma, (P,)), ("digamma", sp.digamma, lambda x: sp.polygamma(1, x), (P,)), ("xlogx", lambda x: sp.xlogy(x, x), lambda x: np.log(x) + 1, (P,)),
    ("sinc", sinc, d_sinc, LINE), ("relu", lambda x: np.maximum(x, 0), lambda x: (x > 0) * 1.0, ALL),
    ("leaky relu", lambda x: np.where(x > 0, x, 0.1 * x), lambda x: np.where(x > 0, 1, 0.1), ALL),
    ("elu", lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))), lambda x: np.where(x > 0, 1, np.exp(np.minimum(x, 0))), ALL),
    ("relu6", lambda x: np.clip(x, 0, 6), lambda x: ((x > 0) & (x < 6)) * 1.0, (*ALL, 6 * ONES)),
    ("hard sigmoid", lambda x: np.clip(x / 6 + 0.5, 0, 1), lambda x: (np.abs(x) < 3) / 6, (*ALL, 3 * ONES)),
    ("hard swish", lambda x: x * np.clip(x / 6 + 0.5, 0, 1), lambda x: np.where(np.abs(x) < 3, x / 3 + 0.5, x >= 3), (*ALL, 3 * ONES, -3 * ONES)),
    ("softsign", lambda x: x / (1 + np.abs(x)), lambda x: 1 / (1 + np.abs(x)) ** 2, ALL), ("abs", np.abs, np.sign, ALL),
    ("sign", np.sign, np.zeros_like, ALL), ("floor", np.floor, np.zeros_like, (X, TIES)), ("round", np.round, np.zeros_like, (X, TIES)),
    ("huber", lambda x: np.where(np.abs(x) < 1, 0.5 * x**2, np.abs(x) - 0.5), lambda x: np.clip(x, -1, 1), (*ALL, ONES, -ONES)),
    ("soft threshold", lambda x: np.sign(x) * np.maximum(np.abs(x) - 0.5, 0), lambda x: (np.abs(x) > 0.5) * 1.0, (*ALL, 0.5 * ONES)),
    ("heaviside", lambda x: np.heaviside(x, 0.5), np.zeros_like, (X, MIXED)), ("exp(-1/x^2)", lambda x: np.exp(-1 / np.where(x == 0, np.inf, x) ** 2), lambda x: np.where(x == 0, 0, 2 * np.exp(-1 / np.where(x == 0, 1, x) ** 2) / np.where(x == 0, 1, x) ** 3), (X, MIXED)),
    ("x |x|", lambda x: x * np.abs(x), lambda x: 2 * np.abs(x), ALL), ("guarded sqrt", lambda x: np.where(x > 0, np.sqrt(np.where(x > 0, x, 1)), 0), lambda x: np.where(x > 0, 0.5 / np.sqrt(np.where(x > 0, x, 1)), 0), (X, MIXED)),
    ("identity", lambda x: x.copy(), np.ones_like, ALL), ("constant", lambda x: 0 * x + 3, np.zeros_like, (X, ZEROS)),
]  # fmt: skip


def first_max(x, dy):
    hit = np.zeros(x.shape)
    np.put_along_axis(hit, x.argmax(axis=-1)[:, None], 1.0, axis=-1)
    return hit * dy[:, None]


def shared_max(x, dy):
    hit = x == x.max(axis=-1, keepdims=True)
    return hit / hit.sum(axis=-1, keepdims=True) * dy[:, None]


def normed(x, eps=1e-5):
    c = x - x.mean(axis=-1, keepdims=True)
    return c / np.sqrt((c * c).mean(axis=-1, keepdims=True) + eps)


def normed_back(x, dy, eps=1e-5):
    c = x - x.mean(axis=-1, keepdims=True)
    inv = 1 / np.sqrt((c * c).mean(axis=-1, keepdims=True) + eps)
    h = c * inv
    return inv * (dy - dy.mean(axis=-1, keepdims=True) - h * (dy * h).mean(axis=-1, keepdims=True))


def rms(x, eps=1e-6):
    return x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + eps)


def rms_back(x, dy, eps=1e-6):
    inv = 1 / np.sqrt((x * x).mean(axis=-1, keepdims=True) + eps)
    return inv * dy - x * inv**3 * (x * dy).mean(axis=-1, keepdims=True)


def unit(x):
    n = np.sqrt((x * x).sum(axis=-1, keepdims=True))
    return x / np.where(n > 0, n, 1)


def unit_back(x, dy):
    n = np.sqrt((x * x).sum(axis=-1, keepdims=True))
    n = np.where(n > 0, n, 1)
    y = x / n
    return (dy - y * (dy * y).sum(axis=-1, keepdims=True)) / n


def prod_back(x, dy):
    others = [np.prod(np.delete(x, j, axis=1), axis=1) for j in range(x.shape[1])]
    return np.stack(others, axis=1) * dy[:, None]


def sort_back(x, dy):
    g = np.zeros_like(x)
    np.put_along_axis(g, np.argsort(x, axis=-1, kind="stable"), dy, axis=-1)
    return g


def std(x):
    return x.std(axis=-1)


def std_back(x, dy):
    s = x.std(axis=-1, keepdims=True)
    return np.where(s > 0, (x - x.mean(axis=-1, keepdims=True)) / np.where(s > 0, s, 1) / x.shape[-1], 0) * dy[:, None]


REDUCTIONS = [
    ("sum", lambda x: x.sum(axis=-1), lambda x, dy: dy[:, None] * np.ones_like(x), ALL), ("mean", lambda x: x.mean(axis=0), lambda x, dy: np.ones_like(x) * dy / len(x), ALL),
    ("max, to the first", lambda x: x.max(axis=-1), first_max, ALL), ("max, shared", lambda x: x.max(axis=-1), shared_max, ALL),
    ("min, to the first", lambda x: x.min(axis=-1), lambda x, dy: first_max(-x, dy), ALL), ("prod", lambda x: x.prod(axis=-1), prod_back, LINE),
    ("var", lambda x: x.var(axis=-1), lambda x, dy: 2 * (x - x.mean(axis=-1, keepdims=True)) / x.shape[-1] * dy[:, None], LINE), ("std", std, std_back, (X, TIES, MIXED)),
    ("norm", lambda x: np.linalg.norm(x, axis=-1), lambda x, dy: unit(x) * dy[:, None], (X, ZEROS, TIES, TINY)), ("logsumexp", lambda x: sp.logsumexp(x, axis=-1), lambda x, dy: softmax(x) * dy[:, None], ALL),
    ("softmax", softmax, softmax_vjp, ALL), ("log softmax", lambda x: x - sp.logsumexp(x, axis=-1, keepdims=True), lambda x, dy: dy - softmax(x) * dy.sum(axis=-1, keepdims=True), ALL),
    ("layer norm", normed, normed_back, LINE), ("rms norm", rms, rms_back, LINE), ("l2 normalise", unit, unit_back, (X, TIES)),
    ("cumsum", lambda x: x.cumsum(axis=-1), lambda x, dy: dy[:, ::-1].cumsum(axis=-1)[:, ::-1], ALL), ("sort", lambda x: np.sort(x, axis=-1), sort_back, ALL),
    ("entropy", lambda x: -(x * np.log(x)).sum(axis=-1), lambda x, dy: -(np.log(x) + 1) * dy[:, None], (SHARES,)),
    ("mean absolute", lambda x: np.abs(x).mean(), lambda x, dy: np.sign(x) * dy / x.size, ALL), ("sum of squares", lambda x: (x * x).sum(), lambda x, dy: 2 * x * dy, ALL),
]  # fmt: skip


def targets():
    for name, f, d, points in ELEMENTWISE:
        yield name, gv.function(f, derivative=d), f, lambda x, dy, d=d: d(x) * dy, points
    for name, f, back, points in REDUCTIONS:
        yield name, gv.function(f, vjp=back), f, back, points


def gradcheck(f, back, x):
    class Wrapped(torch.autograd.Function):
        @staticmethod
        def forward(ctx, t):
            ctx.save_for_backward(t)
            return torch.as_tensor(np.asarray(f(t.numpy()), dtype=float).copy())

        @staticmethod
        def backward(ctx, dy):
            return torch.as_tensor(np.array(back(ctx.saved_tensors[0].numpy(), dy.numpy()), dtype=float))

    try:
        return "pass" if torch.autograd.gradcheck(Wrapped.apply, torch.tensor(x, requires_grad=True)) else "fail"
    except Exception:
        return "fail"


def main():
    rows, counts, bad = [], collections.Counter(), []
    for name, target, f, back, points in targets():
        for i, x in enumerate(points):
            started = time.process_time()
            with np.errstate(all="ignore"):
                report = gv.check(target, x)
                peer = gradcheck(f, back, x)
            kind = "ordinary" if i == 0 else "special"
            counts[kind, report.verdict.value] += 1
            counts[kind, "gradcheck " + peer] += 1
            reasons = ", ".join(sorted({c.reason for c in report.checks if c.reason}))
            if report.verdict is gv.Verdict.FAIL or (i == 0 and not report.ok):
                bad.append(f"{name} at point {i}:\n{report}")
            rows.append(f"| {name} | {kind} {i} | {report.verdict.value} | {reasons} | {peer} | {time.process_time() - started:.2f} |")
    lines = ["# Right operators, ordinary and special points", "", "`python benchmarks/operators_numpy.py`", ""]
    lines += [f"{len(ELEMENTWISE) + len(REDUCTIONS)} operators.", "", "| points | gradverify | gradcheck |", "|---|---|---|"]
    for kind in ("ordinary", "special"):
        ours = ", ".join(f"{counts[kind, v]} {v}" for v in ("pass", "inconclusive", "fail"))
        lines.append(f"| {kind} | {ours} | {counts[kind, 'gradcheck pass']} pass, {counts[kind, 'gradcheck fail']} fail |")
    lines += ["", "| operator | point | verdict | reason | gradcheck | seconds of processor |", "|---|---|---|---|---|---|", *rows]
    Path("reports/operators-numpy.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines[:10]), *bad, sep="\n")


if __name__ == "__main__":
    main()
