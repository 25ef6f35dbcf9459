"""A small neural-network library of the kind people write by hand, in NumPy, over an evening.

Three of these gradients are wrong. Which ones, and how, is what the audit finds out:

    gradverify audit examples/custom_layers.py
"""

from __future__ import annotations

import numpy as np


class Dense:
    def __init__(self, n_in, n_out, seed=0):
        rng = np.random.default_rng(seed)
        self.W = rng.normal(0.0, np.sqrt(2.0 / n_in), (n_in, n_out))
        self.b = np.zeros(n_out)
        self.dW = np.zeros_like(self.W)
        self.db = np.zeros_like(self.b)

    def forward(self, x):
        self.x = x
        return x @ self.W + self.b

    def backward(self, dout):
        self.dW = self.x.T @ dout
        self.db = np.mean(dout, axis=0)
        return dout @ self.W.T


class ReLU:
    def forward(self, x):
        self.mask = x > 0
        return np.where(self.mask, x, 0.0)

    def backward(self, dout):
        return dout * self.mask


class LeakyReLU:
    def __init__(self, alpha=0.01):
        self.alpha = alpha

    def forward(self, x):
        self.x = x
        return np.where(x > 0, x, self.alpha * x)

    def backward(self, grad_output):
        return np.where(self.x > 0, grad_output, self.alpha * grad_output)


class Sigmoid:
    def forward(self, x):
        # exp of a negative number only, so that large inputs do not overflow
        z = np.exp(-np.abs(x))
        self.out = np.where(x >= 0, 1.0 / (1.0 + z), z / (1.0 + z))
        return self.out

    def backward(self, dout):
        return dout * self.out * (1.0 - self.out)


class Softmax:
    def forward(self, logits):
        shifted = logits - logits.max(axis=-1, keepdims=True)
        e = np.exp(shifted)
        self.probs = e / e.sum(axis=-1, keepdims=True)
        return self.probs

    def backward(self, dout):
        return dout * self.probs * (1.0 - self.probs)


class Dropout:
    """Inverted dropout: what is kept is scaled up, so that evaluation needs no change."""

    def __init__(self, p=0.5, seed=1):
        self.p = p
        self.rng = np.random.default_rng(seed)
        self.training = True

    def eval(self):
        self.training = False

    def forward(self, x):
        if not self.training:
            self.mask = np.ones_like(x)
            return x
        self.mask = (self.rng.random(x.shape) >= self.p) / (1.0 - self.p)
        return x * self.mask

    def backward(self, dout):
        return dout * self.mask


class LayerNorm:
    def __init__(self, dim, eps=1e-5):
        self.eps = eps
        self.gamma = np.ones(dim)
        self.beta = np.zeros(dim)

    def forward(self, x):
        mu = x.mean(axis=-1, keepdims=True)
        var = ((x - mu) ** 2).mean(axis=-1, keepdims=True)
        self.inv_std = 1.0 / np.sqrt(var + self.eps)
        self.xhat = (x - mu) * self.inv_std
        return self.gamma * self.xhat + self.beta

    def backward(self, dout):
        self.dgamma = np.sum(dout * self.xhat, axis=0)
        self.dbeta = np.sum(dout, axis=0)
        dxhat = dout * self.gamma
        return (dxhat - dxhat.mean(axis=-1, keepdims=True)) * self.inv_std


class BatchNorm1d:
    def __init__(self, num_features, eps=1e-5, momentum=0.9):
        self.eps, self.momentum = eps, momentum
        self.params = {"gamma": np.ones(num_features), "beta": np.zeros(num_features)}
        self.grads = {}
        self.running_mean = np.zeros(num_features)
        self.running_var = np.ones(num_features)

    def forward(self, x, training=True):
        if training:
            mean, var = x.mean(axis=0), x.var(axis=0)
            self.running_mean = self.momentum * self.running_mean + (1 - self.momentum) * mean
            self.running_var = self.momentum * self.running_var + (1 - self.momentum) * var
        else:
            mean, var = self.running_mean, self.running_var
        self.std = np.sqrt(var + self.eps)
        self.xhat = (x - mean) / self.std
        return self.params["gamma"] * self.xhat + self.params["beta"]

    def backward(self, dout):
        n = dout.shape[0]
        self.grads["gamma"] = np.sum(dout * self.xhat, axis=0)
        self.grads["beta"] = np.sum(dout, axis=0)
        dxhat = dout * self.params["gamma"]
        shared = dxhat.sum(axis=0) + self.xhat * np.sum(dxhat * self.xhat, axis=0)
        return (n * dxhat - shared) / (n * self.std)


class Embedding:
    def __init__(self, vocab_size, dim, seed=2):
        self.W = 0.1 * np.random.default_rng(seed).standard_normal((vocab_size, dim))

    def forward(self, idx):
        self.idx = idx
        return self.W[idx]

    def backward(self, dout):
        self.dW = np.zeros_like(self.W)
        np.add.at(self.dW, self.idx, dout)


class RNNCell:
    """One step of a plain recurrent network: h' = tanh(x Wx + h Wh + b)."""

    def __init__(self, input_size, hidden_size, seed=3):
        rng = np.random.default_rng(seed)
        self.Wx = rng.normal(0, 0.5, (input_size, hidden_size))
        self.Wh = rng.normal(0, 0.5, (hidden_size, hidden_size))
        self.b = np.zeros(hidden_size)

    def forward(self, x, h_prev):
        self.cache = (x, h_prev, np.tanh(x @ self.Wx + h_prev @ self.Wh + self.b))
        return self.cache[2]

    def backward(self, dh):
        x, h_prev, h = self.cache
        da = dh * (1 - h * h)
        self.dWx, self.dWh, self.db = x.T @ da, h_prev.T @ da, da.sum(axis=0)
        return da @ self.Wx.T, da @ self.Wh.T


class SoftmaxCrossEntropy:
    def forward(self, logits, labels):
        shifted = logits - logits.max(axis=1, keepdims=True)
        log_z = np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        self.log_p = shifted - log_z
        self.labels = labels
        return -self.log_p[np.arange(len(labels)), labels].mean()

    def backward(self):
        n = len(self.labels)
        grad = np.exp(self.log_p)
        grad[np.arange(n), self.labels] -= 1.0
        return grad / n


def affine_forward(x, w, b):
    out = x.reshape(x.shape[0], -1) @ w + b
    return out, (x, w)


def affine_backward(dout, cache):
    x, w = cache
    dx = (dout @ w.T).reshape(x.shape)
    dw = x.reshape(x.shape[0], -1).T @ dout
    db = dout.sum(axis=0)
    return dx, dw, db


def conv_forward(x, w, b, stride=1, pad=1):
    """Images (N, C, H, W) with filters (F, C, KH, KW)."""
    n, _, height, width = x.shape
    f, _, kh, kw = w.shape
    xp = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    oh, ow = (height + 2 * pad - kh) // stride + 1, (width + 2 * pad - kw) // stride + 1
    out = np.zeros((n, f, oh, ow), dtype=np.result_type(x, w, b))
    for i in range(oh):
        for j in range(ow):
            patch = xp[:, :, i * stride : i * stride + kh, j * stride : j * stride + kw]
            out[:, :, i, j] = np.tensordot(patch, w, axes=([1, 2, 3], [1, 2, 3])) + b
    return out, (xp, w, stride, pad)


def conv_backward(dout, cache):
    xp, w, stride, pad = cache
    kh, kw = w.shape[2:]
    dxp, dw = np.zeros_like(xp), np.zeros_like(w)
    for i in range(dout.shape[2]):
        for j in range(dout.shape[3]):
            rows, cols = slice(i * stride, i * stride + kh), slice(j * stride, j * stride + kw)
            dw += np.tensordot(dout[:, :, i, j], xp[:, :, rows, cols], axes=([0], [0]))
            dxp[:, :, rows, cols] += np.tensordot(dout[:, :, i, j], w, axes=([1], [0]))
    h, wd = dxp.shape[2], dxp.shape[3]
    return dxp[:, :, pad : h - pad, pad : wd - pad], dw, dout.sum(axis=(0, 2, 3))


def max_pool_forward(x, size=2):
    n, c, h, w = x.shape
    windows = x.reshape(n, c, h // size, size, w // size, size).transpose(0, 1, 2, 4, 3, 5)
    flat = windows.reshape(n, c, h // size, w // size, size * size)
    # argmax keeps one winner of a tie, so a tied gradient is not counted twice
    winner = flat.argmax(axis=-1)
    out = np.take_along_axis(flat, winner[..., None], axis=-1)[..., 0]
    return out, (x.shape, winner, size)


def max_pool_backward(dout, cache):
    (n, c, h, w), winner, size = cache
    dflat = np.zeros((*winner.shape, size * size))
    np.put_along_axis(dflat, winner[..., None], dout[..., None], axis=-1)
    windows = dflat.reshape(n, c, h // size, w // size, size, size)
    return windows.transpose(0, 1, 2, 4, 3, 5).reshape(n, c, h, w)


def swish(x):
    return x / (1.0 + np.exp(-x))


def swish_prime(x):
    s = 1.0 / (1.0 + np.exp(-x))
    return s + x * s * (1.0 - s)


def mse(pred, target):
    return np.mean((pred - target) ** 2)


def mse_grad(pred, target):
    return 2.0 * (pred - target) / pred.size


class SGD:
    def __init__(self, lr=0.1):
        self.lr = lr

    def step(self, params, grads):
        for name, grad in grads.items():
            params[name] -= self.lr * grad

    def zero_grad(self, grads):
        for grad in grads.values():
            grad[...] = 0.0


def numerical_gradient(f, x, h=1e-6):
    """The slow way, kept for a rainy day."""
    grad = np.zeros_like(x)
    for i in np.ndindex(x.shape):
        old = x[i]
        x[i] = old + h
        up = f(x)
        x[i] = old - h
        grad[i] = (up - f(x)) / (2 * h)
        x[i] = old
    return grad
