"""Formulas that many tests differentiate, with their vector-Jacobian products by hand."""

from __future__ import annotations

import numpy as np


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def softmax_vjp(x, dy):
    y = softmax(x)
    return y * (dy - (dy * y).sum(axis=-1, keepdims=True))


def layernorm(x, eps=1e-5):
    return (x - x.mean(axis=-1, keepdims=True)) / np.sqrt(np.var(x, axis=-1, keepdims=True) + x.dtype.type(eps))


def layernorm_vjp(x, dy, eps=1e-5):
    inv = 1 / np.sqrt(np.var(x, axis=-1, keepdims=True) + x.dtype.type(eps))
    h = (x - x.mean(axis=-1, keepdims=True)) * inv
    return inv * (dy - dy.mean(axis=-1, keepdims=True) - h * (dy * h).mean(axis=-1, keepdims=True))
