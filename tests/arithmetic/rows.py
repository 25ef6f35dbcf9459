"""Expressions that every wrapper array must carry, and those that every one must refuse."""

from __future__ import annotations

import math
import pickle

import numpy as np
from scipy import special

X = np.array([[0.7, -1.3, 2.1], [0.2, 0.9, -0.4]])
V = np.array([[1.0, 0.5, -2.0], [0.3, -1.1, 0.8]])
SQUARE = np.array([[2.0, 0.3, -0.5], [0.1, 1.5, 0.7], [-0.2, 0.4, 1.8]])

ROWS = {
    "arithmetic": lambda x: (2 - x) * x / (3 + x) - x**3 + 1 / x,
    "interp": lambda x: np.interp(x, [-1.5, 0.0, 0.5, 2.0], [1.0, 0.0, 3.0, 2.5]),
    "powers": lambda x: x**2 + x**-2 + np.abs(x) ** 0.7 + 2.0**x + np.float_power(x, 3),
    "power of two arrays": lambda x: np.abs(x) ** x,
    "exponentials": lambda x: np.exp(x) + np.expm1(x) + np.exp2(x),
    "sums of exponentials": lambda x: np.logaddexp(x, 1) + np.logaddexp2(0, x),
    "logarithms": lambda x: np.log(x * x) + np.log2(x * x) + np.log10(x * x) + np.log1p(x / 4),
    "square root": lambda x: np.sqrt(x * x + 1) / np.sqrt(x * x),
    "circular": lambda x: np.sin(x) + np.cos(x) * np.tan(x),
    "angles": lambda x: np.arctan(x) + np.arcsin(x / 4) - 2 * np.arccos(x / 4),
    "hyperbolic": lambda x: np.tanh(x) + np.sinh(x) / np.cosh(x) + np.arcsinh(x) + np.arctanh(x / 4),
    "arccosh": lambda x: np.arccosh(2 + x * x),
    "roots and angles": lambda x: np.cbrt(x) + np.hypot(x, 2 - x) + np.arctan2(x, x - 1) + np.deg2rad(x),
    "orders": lambda x: np.maximum(x, 0.5) * np.minimum(x, 0) + np.clip(x, -1, 1) ** 2 + np.fmax(x, 0.1),
    "signs": lambda x: np.abs(x) * x + np.sign(x) * x + np.copysign(x, -x) + np.fabs(x) + np.floor(x) * x,
    "remainders": lambda x: np.remainder(x, 0.6) + np.fmod(x, 0.6) * x + (x // 0.6) * x,
    "masks": lambda x: x * (x > 0) + np.where(x < 0.5, x**2, np.sin(x)),
    "layer norm": lambda x: (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5),
    "deviations": lambda x: np.var(x) + np.std(x, axis=0, ddof=1) + x.std(),
    "norms": lambda x: np.linalg.norm(x) + np.linalg.norm(x, axis=0) + np.linalg.norm(x, 1, axis=0),
    "other norms": lambda x: np.linalg.norm(x[0], 3) + np.linalg.norm(x[1], np.inf) * np.linalg.norm(x),
    "sums": lambda x: x.sum(0) + x.cumsum(1).mean() + np.prod(x) + np.cumprod(x, 0)[1] + np.diff(x).sum(),
    "extrema": lambda x: x.max(0) * x.min() + np.ptp(x) + x[0, np.argmax(x[0])] + np.max(x, axis=(0, 1)),
    "order statistics": lambda x: np.sort(x, axis=0) * np.median(x) + np.quantile(x, 0.3),
    "products": lambda x: x @ x.T + np.dot(x, x.T) + np.inner(x, x) + np.vdot(x, x) + np.tensordot(x, x),
    "einsum": lambda x: np.einsum("ij,kj->ik", x, x) + np.outer(x, x).sum() + np.kron(x, x).mean(),
    "mixed products": lambda x: x @ SQUARE + (SQUARE @ x.T).T + np.stack([x, x]) @ SQUARE,
    "vector products": lambda x: (x @ np.ones(3)) * (x[0] @ x[1]) + (x[:, 0] @ x)[:2] + np.vdot(x, x),
    "solve": lambda x: np.linalg.solve(SQUARE + x.T @ x, x.T) + np.linalg.inv(SQUARE + np.diag(x[0]))[:, :2],
    "determinants": lambda x: np.linalg.slogdet(-SQUARE + x.T @ x)[1] + np.linalg.det(SQUARE + x.T @ x),
    "cholesky": lambda x: np.linalg.cholesky(np.eye(3) + x.T @ x),
    "stacking": lambda x: np.concatenate([x, x[:1] ** 2]) * np.stack([x[0]] * 3) + np.vstack([x, x[1]]),
    "moving": lambda x: np.roll(x, 1) + np.flip(x) * np.tile(x[:1], (2, 1)) + np.repeat(x[1:], 2, 0),
    "padding": lambda x: np.pad(x, 1)[1:, 1:] * np.pad(x, ((1, 0), (0, 1)), mode="edge"),
    "taking": lambda x: x.take([0, 2], axis=1) * np.take_along_axis(x, np.argsort(x, 1)[:, ::-2], 1),
    "shapes": lambda x: x.T.reshape(2, 3) * x.ravel()[None].reshape((2, 3)) + np.moveaxis(x, 0, 1).size,
    "windows": lambda x: np.lib.stride_tricks.sliding_window_view(x, 2, axis=1).sum(-1) ** 2,
    "triangles": lambda x: np.triu(x) * np.tril(x) + np.trace(x) + np.diag(x).sum(),
    "averages": lambda x: np.average(x, axis=1, weights=[1.0, 2.0, 3.0]) + np.nansum(x) + np.nanmean(x),
    "signals": lambda x: np.convolve(x[0], x[1]) + np.gradient(x[0]).sum() + np.cross(x[0], x[1]).sum(),
    "sinc": np.sinc,
    "reductions": lambda x: np.add.reduce(x) + np.multiply.reduce(x, axis=0) + np.maximum.reduce(x)
        + np.multiply.outer(x[0], x[1]).sum() + np.add.accumulate(x)[1],
    "logistic": lambda x: special.expit(x) + special.log_expit(x) + special.logit(0.5 + x / 8),
    "x log y": lambda x: special.xlogy(2, x * x) + special.xlogy(x, x * x) + special.xlogy(x, 3.0),
    "error functions": lambda x: special.erf(x) + special.erfc(x) + special.ndtr(x) * special.log_ndtr(x),
    "gamma functions": lambda x: special.gammaln(x + 2) + special.psi(x + 2) + special.gamma(x + 2),
    "entropies": lambda x: special.entr(x * x) + special.rel_entr(x * x, 1 + x) * special.xlog1py(x, x / 4),
}

REFUSED = {
    "np.asarray": np.asarray,
    "np.array of entries": lambda x: np.array([x[0, 0], x[0, 1]]),
    "float": lambda x: float(x[0, 0]),
    "math": lambda x: math.exp(x[0, 0]),
    "np.float64": lambda x: np.float64(x[0, 0]),
    "int": lambda x: int(x[0, 0]),
    "narrower float": lambda x: x.astype(np.float32),
    "a narrow result": lambda x: np.sum(x, dtype=np.float32),
    "out= plain": lambda x: np.add(x, x, out=np.zeros(x.shape)),
    "sum into plain": lambda x: np.sum(x, axis=0, out=np.zeros(3)),
    "copyto plain": lambda x: np.copyto(np.zeros(x.shape), x),
    "adding at plain": lambda x: np.add.at(np.zeros(3), [0], x[0, 0]),
    "imaginary part": np.imag,
    "complex operand": lambda x: x * 1j,
    "longdouble operand": lambda x: x * np.longdouble(1) * np.ones(1, np.longdouble),
    "eigenvalues": lambda x: np.linalg.eigvalsh(x @ x.T),
    "singular values": np.linalg.svd,
    "nuclear norm": lambda x: np.linalg.norm(x, "nuc"),
    "fft": np.fft.fft,
    "interp with values beyond": lambda x: np.interp(x, [0.0, 1.0], [0.0, 1.0], left=2.0),
    "unlisted ufunc": np.spacing,
    "Bessel": special.j0,
    "Python ufunc": np.frompyfunc(abs, 1, 1),
    "pickle": pickle.dumps,
    "index": lambda x: np.arange(3)[x[0, 0]],
}
