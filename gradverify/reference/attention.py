"""Attention: every query takes a mean of the values, weighted by how well their keys match it.

    s_qk = scale <query_q, key_k>,    p_q = softmax over the allowed k of s_q,    y_q = sum_k p_qk value_k

Backwards: dvalue = p^T dy, dp = dy value^T, ds = p (dp - sum_k p dp) row by row, dquery = scale ds key,
dkey = scale ds^T query.

**Masks** are booleans, True where a query may look. A query that may look nowhere has no weights to give: its
p, its output and all its gradients are zero, where a softmax over minus infinities would be NaN.
Source: Vaswani et al., *Attention is all you need* (2017), section 3.2.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradverify.reference.dense import Dense
from gradverify.reference.duals import push_forward
from gradverify.reference.layer import Array, Params, Pullback, require_size, shape_of
from gradverify.reference.softmax import masked_softmax
from gradverify.reference.trees import added

SOURCES = ("query", "key", "value")


def _transposed(a: Array) -> Array:
    return np.swapaxes(a, -1, -2)


@dataclass(frozen=True)
class Attention:
    """Scaled dot-product attention of a dict: query (..., q, d), key (..., k, d), value (..., k, e), mask (..., q, k).

    The mask may be absent, or have axes of length 1. `causal` allows only keys at or before the query's own
    place. `scale` is 1 / sqrt(d) where none is given. y (..., q, e).

    >>> one, two = np.ones((1, 1)), np.array([[10.0], [20.0]])
    >>> Attention().forward({}, {"query": one, "key": np.ones((2, 1)), "value": two})[0]
    array([[15.]])
    """

    causal: bool = False
    scale: float | None = None

    def init(self, rng: np.random.Generator) -> Params:  # noqa: ARG002 - a layer's signature
        return {}

    def forward(self, params: Params, x: Mapping[str, Array]) -> tuple[Array, Pullback]:  # noqa: ARG002
        query, key, value = (x[name] for name in SOURCES)
        scale = 1 / math.sqrt(shape_of(key)[-1]) if self.scale is None else self.scale
        p, product = masked_softmax(query @ _transposed(key) * scale, self._allowed(x))

        def pullback(dy: Array) -> tuple[Params, Any]:
            ds = product(dy @ _transposed(value)) * scale
            found = {"query": ds @ key, "key": _transposed(ds) @ query, "value": _transposed(p) @ dy}
            return {}, {name: found.get(name) for name in x}

        return p @ value, pullback

    pushforward = push_forward

    def _allowed(self, x: Mapping[str, Array]) -> np.ndarray:
        q, k = shape_of(x["query"]), shape_of(x["key"])
        if q[:-2] + q[-1:] != k[:-2] + k[-1:] or k[:-1] != shape_of(x["value"])[:-1] or len(k) < 2:
            shapes = {name: shape_of(x[name]) for name in SOURCES}
            raise ValueError(f"x of shapes {shapes}: must be (..., q, d), (..., k, d), (..., k, e)")
        shape = (*q[:-1], k[-2])
        allowed = np.broadcast_to(np.asarray(x["mask"], bool) if "mask" in x else np.array(True), shape)
        return allowed & (np.arange(k[-2]) <= np.arange(q[-2])[:, None]) if self.causal else allowed


@dataclass(frozen=True)
class MultiHeadAttention:
    """Attention of several heads, each in units / heads dimensions of its own, side by side, then mixed.

        y = concat_h(Attention(x_query W_q, x_key W_k, x_value W_v)_h) W_o   (each with a bias)

    x (n, steps, units) attends to itself; a dict may have "query" (needed), "key" (else the query), "value" (else
    the key), and "mask": (n, keys) for padding, True for what is there, or (n, queries, keys). Parameters are four
    `Dense`: query, key, value, out. dx has the form of x.
    """

    units: int
    heads: int
    causal: bool = False
    bias: bool = True

    def __post_init__(self) -> None:
        require_size("units", self.units)
        require_size("heads", self.heads)
        if self.units % self.heads:
            raise ValueError(f"heads={self.heads!r}: must divide units={self.units}")

    def init(self, rng: np.random.Generator) -> Params:
        return {name: self._dense.init(rng) for name in (*SOURCES, "out")}

    def forward(self, params: Params, x: Any) -> tuple[Array, Pullback]:
        given = x if isinstance(x, Mapping) else {"query": x}
        source = {"query": "query", "key": "key" if "key" in given else "query"}
        source["value"] = "value" if "value" in given else source["key"]
        projected = {name: self._dense.forward(params[name], given[source[name]]) for name in SOURCES}
        split = {name: self._split(a) for name, (a, _) in projected.items()}
        mask = {"mask": _over_heads(given["mask"])} if "mask" in given else {}
        heads, pull_heads = Attention(self.causal).forward({}, {**split, **mask})
        y, pull_out = self._dense.forward(params["out"], self._join(heads))

        def pullback(dy: Array) -> tuple[Params, Any]:
            dparams = dict.fromkeys(params)
            dparams["out"], djoined = pull_out(dy)
            dsplit = pull_heads(self._split(djoined))[1]
            dx: dict[str, Array] = dict.fromkeys(given)
            for name in SOURCES:
                dparams[name], back = projected[name][1](self._join(dsplit[name]))
                dx[source[name]] = added(dx[source[name]], back)
            return dparams, dx if isinstance(x, Mapping) else dx["query"]

        return y, pullback

    pushforward = push_forward

    @property
    def _dense(self) -> Dense:
        return Dense(self.units, self.units, self.bias)

    def _split(self, a: Array) -> Array:
        n, steps, units = shape_of(a)
        return np.swapaxes(np.reshape(a, (n, steps, self.heads, units // self.heads)), 1, 2)

    def _join(self, a: Array) -> Array:
        n, heads, steps, width = shape_of(a)
        return np.reshape(np.swapaxes(a, 1, 2), (n, steps, heads * width))


def _over_heads(mask: Array) -> np.ndarray:
    allowed: np.ndarray = np.asarray(mask, bool)
    return allowed[:, None, None, :] if allowed.ndim == 2 else allowed[:, None]
