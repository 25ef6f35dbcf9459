"""Memory: upstream gradients and inputs that are expanded, strided, transposed or read-only."""

from __future__ import annotations

import numpy as np
from catalogue import QUICK, Right, Wrong
from numpy.lib.stride_tricks import as_strided

import gradverify as gv

RNG = np.random.default_rng(105)
A = RNG.normal(size=(3, 4))
FORTRAN = np.asfortranarray(RNG.normal(size=(3, 4)))
STRIDED = RNG.normal(size=(6, 8))[::2, ::2]
BACKWARDS = RNG.normal(size=(3, 4))[::-1]
READ_ONLY = RNG.normal(size=(3, 4))
READ_ONLY.setflags(write=False)


def flat(x):
    """The numbers as they lie in memory, whatever the strides say."""
    return as_strided(x, (x.size,), (x.itemsize,)).copy()


def sine(x):
    return np.sin(x), x


def reads_memory(dy, x):
    return flat(dy).reshape(dy.shape) * np.cos(x)


def reads_memory_if_not_expanded(dy, x):
    expanded = any(s == 0 for s in dy.strides)
    return (dy if expanded or dy.flags.f_contiguous else flat(dy).reshape(dy.shape)) * np.cos(x)


def takes_expanded_for_ones(dy, x):
    return np.cos(x) if 0 in dy.strides else dy * np.cos(x)


def ravels_in_memory_order(dy, x):
    return dy.ravel(order="K").reshape(dy.shape) * np.cos(x)


def reshapes_as_fortran(dy, x):
    return (dy.reshape(-1, order="F") * np.cos(x).reshape(-1)).reshape(x.shape)


def view_of_upstream(dy, x):
    return np.multiply(dy, np.cos(x), out=np.empty_like(dy))


def input_in_memory_order(x):
    return np.sin(x), x


def cos_in_memory_order(dy, x):
    return dy * np.cos(x.ravel(order="K")).reshape(x.shape)


def writes_into_its_input(x):
    return x * 2.0, x


def transpose(x):
    return x.T, x


def swap(x):
    return np.transpose(x, (1, 2, 0)), x


CUBE = RNG.normal(size=(3, 3, 3))

CASES = [
    Right("sine", gv.pair(sine, lambda dy, x: dy * np.cos(x)), A),
    Wrong("upstream gradient read from its memory", gv.pair(sine, reads_memory), A, "x", "upstream-layout", QUICK),
    Wrong("strided upstream gradient read as contiguous", gv.pair(sine, reads_memory_if_not_expanded), A, "x",
          "upstream-layout", QUICK),
    Wrong("expanded upstream gradient taken for ones", gv.pair(sine, takes_expanded_for_ones), A, "x",
          "upstream-layout", QUICK),
    Wrong("upstream gradient ravelled in memory order", gv.pair(sine, ravels_in_memory_order), A, "x",
          "upstream-layout", QUICK),
    Wrong("upstream gradient reshaped in Fortran order", gv.pair(sine, reshapes_as_fortran), A, "x",
          "permuted|unexplained"),
    Right("result allocated like the upstream gradient", gv.pair(sine, view_of_upstream), A),
    Right("Fortran-ordered input", gv.pair(sine, lambda dy, x: dy * np.cos(x)), FORTRAN),
    Wrong("Fortran-ordered input read in memory order", gv.pair(input_in_memory_order, cos_in_memory_order), FORTRAN,
          "x",
          "wrong-line|permuted|input-layout"),
    Wrong("input read in memory order, given contiguous", gv.pair(input_in_memory_order, cos_in_memory_order), A, "x",
          "input-layout", QUICK),
    Right("strided input", gv.pair(sine, lambda dy, x: dy * np.cos(x)), STRIDED),
    Right("input with a negative stride", gv.pair(sine, lambda dy, x: dy * np.cos(x)), BACKWARDS),
    Right("read-only input", gv.pair(sine, lambda dy, x: dy * np.cos(x)), READ_ONLY),
    Right("transpose", gv.pair(transpose, lambda dy, x: dy.T), A),
    Wrong("transpose, backward reshapes", gv.pair(transpose, lambda dy, x: dy.reshape(x.shape)), A, "x",
          "permuted|unexplained"),
    Wrong("transpose, square, backward forgets", gv.pair(transpose, lambda dy, x: dy), A[:, :3], "x", "transposed"),
    Right("axes permuted", gv.pair(swap, lambda dy, x: np.transpose(dy, (2, 0, 1))), CUBE),
    Wrong("axes permuted, the same permutation backwards", gv.pair(swap, lambda dy, x: np.transpose(dy, (1, 2, 0))),
          CUBE, "x",
          "not-transposed"),
    Wrong("flip forgotten in the backward", gv.pair(lambda x: (x[:, ::-1] * 2, x), lambda dy, x: 2 * dy), A, "x",
          "permuted"),
    Right("flip", gv.pair(lambda x: (x[:, ::-1] * 2, x), lambda dy, x: 2 * dy[:, ::-1]), A),
    Wrong("roll in the same direction",
          gv.pair(lambda x: (np.roll(x, 1, axis=1), x), lambda dy, x: np.roll(dy, 1, axis=1)), A, "x",
          "not-transposed"),
    Right("roll", gv.pair(lambda x: (np.roll(x, 1, axis=1), x), lambda dy, x: np.roll(dy, -1, axis=1)), A),
    Wrong("split put together in the wrong order",
          gv.pair(lambda x: ((x[:, :2] ** 2, x[:, 2:] ** 3), x),
                  lambda dy, x: np.concatenate([3 * dy[1] * x[:, 2:] ** 2, 2 * dy[0] * x[:, :2]], axis=1)),
          A, "x", "permuted|unexplained"),
    Right("split",
          gv.pair(lambda x: ((x[:, :2] ** 2, x[:, 2:] ** 3), x),
                  lambda dy, x: np.concatenate([2 * dy[0] * x[:, :2], 3 * dy[1] * x[:, 2:] ** 2], axis=1)),
          A),
    Wrong("gather: repeated indices overwritten",
          gv.pair(lambda x: (x[[0, 0, 2]], x), lambda dy, x: _scatter(dy, x, add=False)), A, "x",
          "overwritten"),
    Right("gather", gv.pair(lambda x: (x[[0, 0, 2]], x), lambda dy, x: _scatter(dy, x, add=True)), A),
]


def _scatter(dy, x, *, add):
    g = np.zeros_like(x)
    if add:
        np.add.at(g, [0, 0, 2], dy)
    else:
        g[[0, 0, 2]] = dy
    return g
